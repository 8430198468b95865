#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What cancellation is worth: the example server before an upstream that works for four requests at a time, 30 ms for
# each, so for 133 a second. Clients arrive at 80 % and at 120 % of that rate, and 0, 30 or 60 % of them leave after
# 10 ms. An answer within 500 ms is good. What ends a request early:
#
#   neither    nothing: httpd --no-cancel
#   deadline   its deadline after 500 ms
#   cancel     that its client leaves
#   both       either
#   Go         either, in a server on net/http with the same queue: bench/go/pool.go
#
# Those of one share of leavers run at the same time, each with an upstream and clients of its own: nearly all of the time
# is spent in waiting, so they do not disturb each other, and whatever disturbs them disturbs all.
#
# Beside that, PostgreSQL with four connections, where it is installed: examples/libraries/postgres_pool, and the same in
# Go with lib/pq, bench/go/postgres.go.
#
# Where gnuplot is installed, it draws build/goodput.svg and build/goodput.png.
#
#   bench/goodput.sh [--quick] [--json FILE] [FILTER]

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
# Until the count begins the queue of a server that does more than it can must have grown beyond 500 ms.
warm=5 seconds=15
[ "$quick" ] && warm=4 seconds=4
places=4 service_ms=30
systems=(neither deadline cancel both)

say() { echo "goodput: $*" >&2; }

fail() {
	say "$*"
	exit 1
}

for program in build/examples/httpd build/examples/upstream build/bench/goodput; do
	[ -x $program ] || { say "skipped: $program is not built"; exit 0; }
done

children=()
work=$(mktemp -d) || exit 1
cleanup() {
	stop_all
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# start NAME PROGRAM...: starts a server and sets $port to its port.
start() {
	local file=$work/$1.port name=$1
	shift
	rm -f "$file"
	"$@" --port 0 --port-file "$file" >"$work/$name.out" 2>"$work/$name.err" </dev/null &
	children+=("$!")
	for _ in {1..500}; do
		port=$(cat "$file" 2>/dev/null)
		[ "$port" ] && return
		kill -0 "$!" 2>/dev/null || fail "$name ended: $(cat "$work/$name.err")"
		sleep 0.02
	done
	fail "$name does not say its port"
}

# Servers before their upstreams.
stop_all() {
	local i
	for ((i = ${#children[@]} - 1; i >= 0; i--)); do
		kill "${children[i]}" 2>/dev/null
		wait "${children[i]}" 2>/dev/null
	done
	children=()
}

# figure NAME LINE: the value of NAME=value.
figure() {
	local value=${2#*"$1"=}
	echo "${value%% *}"
}

# report CASE VALUE UNIT RATIO AGAINST GOAL
report() {
	printf '%-8s %-46s %12.2f %-9s %9s %-30s %s\n' goodput "$1" "$2" "$3" "${4:--}" "${5:--}" "${6:-}"
	printf '{"bench":"goodput","case":"%s","value":%s,"unit":"%s","ratio":%s,"against":%s,"goal":%s}\n' \
		"$1" "$2" "$3" "${4:-null}" "${5:+\"}${5:-null}${5:+\"}" "${6:+\"}${6:-null}${6:+\"}" >>"$json"
}

# rate LOAD: clients a second.
rate() { awk "BEGIN { printf \"%.2f\", $places * 1000 / $service_ms * $1 / 100 }"; }

# begin SYSTEM LOAD LEAVING: a server with its upstream, and then its clients. Adds them to $clients.
begin() {
	local name=$1-$2 request="GET /fan?n=1&ms=$service_ms HTTP/1.1"$'\r\n'"Host: localhost"$'\r\n' options=(--quiet)
	start "up-$name" build/examples/upstream --places $places
	local upstream=127.0.0.1:$port upstream_pid=${children[-1]} program=build/examples/httpd
	case $1 in
	neither | deadline) options+=(--no-cancel) ;;
	Go) program=build/bench/go-pool options=() ;;
	esac
	[[ $1 == neither || $1 == cancel ]] || request+=$'X-Deadline-Ms: 500\r\n'
	start "$name" $program "${options[@]}" --pool $places --upstream "$upstream"
	# The upstream ends with the clients: later than that it would work only for nobody.
	(build/bench/goodput "$port" "$(rate "$2")" $warm $seconds "$3" "$request"$'\r\n' "HTTP/1.1 200" \
		>"$work/$name.clients" && kill "$upstream_pid") &
	clients+=("$!")
}

# tell SYSTEM LOAD LEAVING: what came of it.
tell() {
	local line done answered stay good goal='' name="load $2 %, $3 % leave, $1"
	line=$(cat "$work/$1-$2.clients")
	done=$(figure 'answered' "$(cat "$work/up-$1-$2.out")")
	answered=$(figure answered "$line") stay=$(figure stay "$line") good=$(figure good "$line")
	[[ $1 == both && $2 == 120 && $3 != 0 ]] && goal=">= 0.99"
	report "$name: good" "$(awk "BEGIN { printf \"%.1f\", $good / $seconds }")" "/s" \
		"$(awk "BEGIN { printf \"%.3f\", $good / $stay }")" "of those who stay" "$goal"
	report "$name: p99" "$(figure p99_ms "$line")" ms
	report "$name: for nobody" "$(awk "BEGIN { printf \"%.1f\", 100 * ($done - $answered) / $done }")" %
}

# The clients of one share of leavers.
measure() {
	local leaving=$1 system load pid clients=()
	for load in 80 120; do
		for system in "${systems[@]}"; do
			begin "$system" $load "$leaving"
		done
	done
	for pid in "${clients[@]}"; do
		wait "$pid" || fail "clients ended with status $?"
	done
	stop_all
	for load in 80 120; do
		for system in "${systems[@]}"; do
			tell "$system" $load "$leaving"
		done
	done
}

if ! command -v go >/dev/null; then
	say "no go here: measured without Go"
elif GO111MODULE=off GOPROXY=off GOFLAGS='' go build -o build/bench/go-pool bench/go/pool.go; then
	systems+=(Go)
else
	fail "bench/go/pool.go does not compile"
fi
for leaving in 0 30 60; do
	name="$leaving % leave"
	[[ "goodput/$name" == *"$filter"* ]] || continue
	echo "  goodput/$name" >&2
	measure $leaving
done
