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
[ "$quick" ] && warm=3.5 seconds=3.5
places=4 service_ms=30
systems=(neither deadline cancel both)

say() { echo "goodput: $*" >&2; }

for program in build/examples/httpd build/examples/upstream build/bench/goodput; do
	[ -x $program ] || { say "skipped: $program is not built"; exit 0; }
done
time_max=600
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh

# serve NAME PROGRAM...: starts a server and sets $port to its port.
serve() {
	rm -f "$work/$1.port"
	start "$1" "$2" --port-file "$work/$1.port" "${@:3}"
	servers+=("$started")
	await_file "$work/$1.port" "$started"
	port=$text
}

# stop_servers: ends those of a round, the last one first.
stop_servers() {
	local i
	for ((i = ${#servers[@]} - 1; i >= 0; i--)); do
		kill "${servers[i]}" 2>/dev/null
		ended "${servers[i]}"
	done
	servers=()
}

# report CASE VALUE UNIT RATIO AGAINST GOAL
report() {
	printf '%-8s %-46s %12.2f %-9s %9s %-30s %s\n' goodput "$1" "$2" "$3" "${4:--}" "${5:--}" "${6:-}"
	printf '{"bench":"goodput","case":"%s","value":%s,"unit":"%s","ratio":%s,"against":%s,"goal":%s}\n' \
		"$1" "$2" "$3" "${4:-null}" "${5:+\"}${5:-null}${5:+\"}" "${6:+\"}${6:-null}${6:+\"}" >>"$json"
}

# rate LOAD: clients a second.
rate() { awk "BEGIN { printf \"%.2f\", $places * 1000 / $service_ms * $1 / 100 }"; }

# come NAME LOAD LEAVING REQUEST ANSWER [PID]: the clients of the server at $port, in the background. When they have gone
# the process PID ends.
come() {
	# An upstream would only work for nobody then.
	(build/bench/goodput "$port" "$(rate "$2")" $warm $seconds "$3" "$4" "$5" >"$work/$1.clients" &&
		{ [ $# -lt 6 ] || kill "$6"; }) &
	clients+=("$!")
	children+=("$!")
}

# await_clients: until all have gone.
await_clients() {
	local pid
	for pid in "${clients[@]}"; do
		ended "$pid"
		[ "$status" = 0 ] || fail "clients ended with status $status"
	done
	clients=()
}

# begin SYSTEM LOAD LEAVING: a server with its upstream, and then its clients.
begin() {
	local name=$1-$2 request="GET /fan?n=1&ms=$service_ms HTTP/1.1"$'\r\n'"Host: localhost"$'\r\n'
	local program=build/examples/httpd upstream options=(--quiet)
	case $1 in
	neither | deadline) options+=(--no-cancel) ;;
	Go) program=build/bench/go-pool options=() ;;
	esac
	[[ $1 == neither || $1 == cancel ]] || request+=$'X-Deadline-Ms: 500\r\n'
	serve "up-$name" build/examples/upstream --places $places
	upstream=$started
	serve "$name" $program "${options[@]}" --pool $places --upstream "127.0.0.1:$port"
	come "$name" "$2" "$3" "$request"$'\r\n' "HTTP/1.1 200" "$upstream"
}

# tell_clients NAME CASE GOAL: what the clients say. Sets $line.
tell_clients() {
	line=" $(<"$work/$1.clients")"
	report "$2: good" "$(awk "BEGIN { printf \"%.1f\", $(field good) / $seconds }")" "/s" \
		"$(awk "BEGIN { printf \"%.3f\", $(field good) / $(field stay) }")" "of those who stay" "$3"
	report "$2: p99" "$(field p99_ms)" ms
}

# tell SYSTEM LOAD LEAVING: what came of it.
tell() {
	local answered name="load $2 %, $3 % leave, $1" goal=''
	[[ $1 == both && $2 == 120 && $3 != 0 ]] && goal=">= 0.99"
	tell_clients "$1-$2" "$name" "$goal"
	echo "load $2 %, $3 % leave|$1|$(field good)|$(field stay)" >>"$work/plotted"
	answered=$(field answered)
	await_line "$work/up-$1-$2.out" "^end: "
	report "$name: for nobody" "$(awk "BEGIN { all = $(field answered); printf \"%.1f\", 100 * (all - $answered) / all }")" %
}

# The clients of one share of leavers.
measure() {
	local system load
	for load in 80 120; do
		for system in "${systems[@]}"; do
			begin "$system" $load "$1"
		done
	done
	await_clients
	stop_servers
	for load in 80 120; do
		for system in "${systems[@]}"; do
			tell "$system" $load "$1"
		done
	done
}

# Queries that sleep, so that the figures do not depend on how many processors there are.
measure_postgres() {
	local leaving system goal sql="SELECT pg_sleep(0.0$service_ms)" pool=build/examples/libraries/postgres_pool
	[ -x $pool ] || { say "without PostgreSQL: $pool is not built"; return; }
	start_postgres || { say "without PostgreSQL: $missing_postgres"; return; }
	for leaving in 30 60; do
		serve pg-neither-$leaving $pool --pool $places --no-cancel "$conninfo"
		come pg-neither-$leaving 120 $leaving "$sql"$'\n' ok
		serve pg-both-$leaving $pool --pool $places --deadline 500 "$conninfo"
		come pg-both-$leaving 120 $leaving "$sql"$'\n' ok
		[ -x "$go_postgres" ] || continue
		serve pg-Go-$leaving "$go_postgres" --pool $places "$conninfo"
		come pg-Go-$leaving 120 $leaving "GET /query?sql=${sql// /+} HTTP/1.1"$'\r\nHost: localhost\r\n\r\n' "HTTP/1.1 200"
	done
	await_clients
	stop_servers
	stop_postgres
	for leaving in 30 60; do
		for system in neither both Go; do
			goal=''
			[ $system-$leaving != both-60 ] || goal=">= 0.99"
			[ ! -e "$work/pg-$system-$leaving.clients" ] ||
				tell_clients pg-$system-$leaving "PostgreSQL, load 120 %, $leaving % leave, $system" "$goal"
		done
	done
}

# plot: bars for the answers of each system, in a group for each load and share.
plot() {
	local place of=build/goodput
	command -v gnuplot >/dev/null || { say "no gnuplot here (gnuplot-nox): no plots"; return; }
	sort -s -k 2,2n "$work/plotted" | awk -F '|' -v systems="${systems[*]}" '
		{ share[$1, $2] = $4 ? 100 * $3 / $4 : 0; if (!($1 in seen)) { seen[$1] = 1; row[++rows] = $1 } }
		END {
			columns = split(systems, column, " ")
			for (r = 1; r <= rows; r++) {
				label = row[r]
				sub(/load /, "", label)
				sub(/, /, "\\n", label)
				printf "\"%s\"", label
				for (c = 1; c <= columns; c++)
					printf " %.1f", share[row[r], column[c]]
				printf "\n"
			}
		}' >$of.dat
	cat >$of.gp <<'END'
set label 'Of the clients that stay, how many are answered within 500 ms' at graph 0, screen 0.955 left font ',15'
set ylabel 'percent'
set yrange [0:105]
set border 3 lc rgb '#444444'
set tics nomirror scale 0.5
set grid ytics lc rgb '#E4E4E4' lw 1 dt 1
set key outside right center vertical reverse Left samplen 1.5 spacing 1.4
set style data histograms
set style histogram clustered gap 1.2
set style fill solid 0.9 border rgb '#FFFFFF'
set xlabel 'load, in percent of what the upstream can do, and share of the clients that leave' offset 0,-1.3
set tmargin 3.5
set bmargin 5.5
END
	{
		printf "plot '%s.dat' using 2:xtic(1) title 'neither' lc rgb '#999999'" $of
		printf ", '' using 3 title 'deadline' lc rgb '#D98200', '' using 4 title 'cancellation' lc rgb '#56B4E9'"
		printf ", '' using 5 title 'both' lc rgb '#0072B2'"
		[[ " ${systems[*]} " != *" Go "* ]] || printf ", '' using 6 title 'both, Go' lc rgb '#009E73'"
	} >"$work/plot"
	for place in "svg size 880,440 font 'DejaVu Sans,12' background '#ffffff'" \
		"pngcairo size 1760,880 font 'DejaVu Sans,12' fontscale 1.9 background '#ffffff'"; do
		printf "set terminal %s\nset output '%s.%s'\n" "$place" $of "${place:0:3}"
		cat "$work/plot"
		echo
	done >>$of.gp
	gnuplot $of.gp || fail "gnuplot failed"
	say "plots: $of.svg, $of.png"
}

# build_go PROGRAM SOURCE: with the packages of the system only.
build_go() {
	GO111MODULE=off GOPROXY=off GOFLAGS='' GOPATH=/usr/share/gocode go build -o "$1" "$2" || fail "$2 does not compile"
}

servers=() clients=() go_postgres=''
if ! command -v go >/dev/null; then
	say "no go here: measured without Go"
else
	build_go build/bench/go-pool bench/go/pool.go
	systems+=(Go)
	if [ -d /usr/share/gocode/src/github.com/lib/pq ]; then
		go_postgres=build/bench/go-postgres
		build_go $go_postgres bench/go/postgres.go
	else
		say "no golang-github-lib-pq-dev here: PostgreSQL is measured without Go"
	fi
fi
: >"$work/plotted"
for leaving in 0 30 60; do
	name="$leaving % leave"
	[[ "goodput/$name" == *"$filter"* ]] || continue
	echo "  goodput/$name" >&2
	measure $leaving
done
[ ! -s "$work/plotted" ] || plot
if [[ "goodput/PostgreSQL" == *"$filter"* ]]; then
	echo "  goodput/PostgreSQL" >&2
	measure_postgres
fi
