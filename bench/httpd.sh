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
quick='' json=/dev/null filter=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--json) json=$2 && shift ;;
	*) filter=$1 ;;
	esac
	shift
done
seconds=4 turns=5
[ "$quick" ] && seconds=1 turns=3

skip() {
	echo "httpd: skipped: $*" >&2
	exit 0
}

fail() {
	echo "httpd: $*" >&2
	exit 1
}

command -v wrk >/dev/null || skip "wrk is not installed"
for program in build/examples/httpd build/examples/upstream build/bench/leave; do
	[ -x $program ] || skip "$program is not built"
done

children=()
work=$(mktemp -d) || exit 1
cleanup() {
	for pid in "${children[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# start NAME PROGRAM...: starts a server and sets $port to its port.
start() {
	local file=$work/$1.port
	shift
	rm -f "$file"
	"$@" --port 0 --port-file "$file" >"$work/log" 2>&1 </dev/null &
	children+=("$!")
	for _ in {1..200}; do
		port=$(cat "$file" 2>/dev/null)
		[ "$port" ] && return
		kill -0 "$!" 2>/dev/null || fail "$1 ended: $(cat "$work/log")"
		sleep 0.02
	done
	fail "$1 does not say its port"
}

stop_last() {
	kill "${children[-1]}" 2>/dev/null
	wait "${children[-1]}" 2>/dev/null
	unset 'children[-1]'
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

median() {
	sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
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
