#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Requests per second of the example server with ten clients. Nine are connections of wrk. Each request of the tenth
# keeps 32 operations of the server pending. The tenth client either waits for its answers or leaves after the time
# that an answer takes, so that the 32 operations are cancelled. Both are measured in turns.
#
#   bench/httpd.sh [--quick] [--json FILE] [FILTER]

set -u
cd "$(dirname "$0")/.." || exit
bench=httpd
# shellcheck source=bench/servers.sh
. bench/servers.sh
seconds=4 turns=5
[ "$quick" ] && seconds=1 turns=3

skip() {
	echo "httpd: skipped: $*" >&2
	exit 0
}

command -v wrk >/dev/null || skip "wrk is not installed"
for program in build/examples/httpd build/examples/upstream build/bench/leave; do
	[ -x $program ] || skip "$program is not built"
done

# start NAME PROGRAM...: starts a server and sets $port to its port.
start() {
	local name=$1
	shift
	rm -f "$work/$name.port"
	"$@" --port 0 --port-file "$work/$name.port" >"$work/log" 2>&1 </dev/null &
	children+=("$!")
	await_port "$name" "$work/$name.port"
}

# turn LEAVE_MS PATH: prints how many requests a second the nine clients had answered.
turn() {
	build/bench/leave "$port" "$seconds" "$1" "$2" >"$work/leave" &
	local leaver=$!
	wrk -t1 -c9 -d"${seconds}s" "http://127.0.0.1:$port/" >"$work/wrk" || fail "wrk: $(cat "$work/wrk")"
	wait "$leaver" || fail "the tenth client failed"
	grep -q 'Non-2xx' "$work/wrk" && fail "$(cat "$work/wrk")"
	awk '/^Requests\/sec/ { print $2 }' "$work/wrk"
}

# report CASE VALUE UNIT RATIO AGAINST
report() {
	printf '%-8s %-46s %12.2f %-9s %9s %-30s \n' httpd "$1" "$2" "$3" "${4:--}" "${5:--}"
	printf '{"bench":"httpd","case":"%s","value":%s,"unit":"%s","ratio":%s,"against":%s,"goal":null}\n' \
		"$1" "$2" "$3" "${4:-null}" "${5:+\"}${5:-null}${5:+\"}" >>"$json"
}

start upstream build/examples/upstream
upstream=$port
for ring in ordinary defer; do
	name="1 of 10 clients leaves, $ring"
	[[ "httpd/$name" == *"$filter"* ]] || continue
	echo "  httpd/$name" >&2
	start httpd build/examples/httpd --quiet --upstream "127.0.0.1:$upstream" --ring "$ring"
	for ((i = 0; i < turns; i++)); do
		left=$(turn 5 "/fan?n=32&ms=10000") && stayed=$(turn 0 "/fan?n=32&ms=5") || exit 1
		echo "$left" >>"$work/$ring.left"
		echo "$stayed" >>"$work/$ring.stayed"
		awk "BEGIN { print $left / $stayed }" >>"$work/$ring.ratio"
	done
	stop_last
	report "$name" "$(median <"$work/$ring.left")" req/s "$(median <"$work/$ring.ratio")" "all stay"
	report "all stay" "$(median <"$work/$ring.stayed")" req/s "" "$name"
done
