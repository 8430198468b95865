#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the benchmarks: make bench, or make bench-quick for less of it, in fewer turns.
#
#   bench/run.sh [--quick] [FILTER]      FILTER: part of "bench/case"; FULL=1: see bench/fleet.sh
#
# Prints a table, writes build/bench.jsonl, a line for each figure, and from that build/RESULTS.md, a table for
# each question. bench/RESULTS.md is a copy of that from one machine, made by hand.
#
# All goals are ratios taken in one run, or bytes and counts. A missed goal is reported and is no failure; a
# benchmark that cannot run is one.

set -u
cd "$(dirname "$0")/.." || exit
options=() filter=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick) options+=(--quick) ;;
	-*)
		echo "usage: bench/run.sh [--quick] [FILTER]" >&2
		exit 2
		;;
	*) filter=$1 ;;
	esac
	shift
done
json=$PWD/build/bench.jsonl
started=$SECONDS
failed=()

# Describes the run, for the head of RESULTS.md.
describe() {
	local processor missing=()
	processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1 | tr -d '"\\')
	command -v go >/dev/null || missing+=("Go")
	command -v wrk >/dev/null || missing+=("wrk")
	PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing+=("nginx")
	[ -e /usr/include/boost/asio.hpp ] || missing+=("Boost.Asio")
	[ -e /usr/share/gocode/src/github.com/lib/pq ] || missing+=("lib/pq")
	local IFS=,
	printf '{"run":"bench/run.sh%s%s","date":"%s","kernel":"%s %s","processor":"%s","processors":%s,' \
		"${options:+ --quick}" "${filter:+ $filter}" "$(date -I)" "$(uname -sr)" "$(uname -m)" \
		"${processor:-not known}" "$(nproc)"
	printf '"load":"%s","liburing":"%s","missing":"%s"}\n' "$(cut -d' ' -f1 /proc/loadavg)" \
		"$(pkg-config --modversion liburing)" "${missing[*]}"
}
describe >"$json" || exit

# The same measurements of Go's contexts and goroutines, where Go is installed.
peer=() task_peer=()
build_peer() {
	GO111MODULE=off GOPROXY=off GOFLAGS='' go build -o "build/bench/go-$1" "bench/go/$1.go" && return
	failed+=("go $1")
	return 1
}
if command -v go >/dev/null; then
	build_peer context && peer=(--peer build/bench/go-context)
	build_peer taskgroup && task_peer=(--peer build/bench/go-taskgroup)
else
	echo "no go here: contexts and task groups are measured without Go beside them" >&2
fi

run() {
	local name=$1
	shift
	"$@" "${options[@]}" --json "$json" ${filter:+"$filter"} || failed+=("$name")
}

printf '%-8s %-46s %12s %-9s %9s %-30s %s\n' BENCH CASE VALUE UNIT RATIO AGAINST GOAL
run context build/bench/context "${peer[@]}"
run memory build/bench/memory
run submit build/bench/submit
run deadline build/bench/deadline
run growth build/bench/growth
run taskgroup build/bench/taskgroup "${task_peer[@]}"
run source build/bench/source
run blocking build/bench/blocking
run cancel build/bench/cancel
run park build/bench/park
run churn build/bench/churn
run httpd bench/httpd.sh
run goodput bench/goodput.sh
run http bench/http_peers.sh
run idle build/bench/idle
run service bench/service.sh
run flood build/bench/flood
run fleet bench/fleet.sh
run spawn build/bench/spawn

# Which goals were met: a goal is for the ratio, or for the value where there is no ratio.
awk '
function field(name,    rest) {
	if (!match($0, "\"" name "\":"))
		return ""
	rest = substr($0, RSTART + RLENGTH)
	if (rest ~ /^"/)
		return substr(rest, 2, index(substr(rest, 2), "\"") - 1)
	match(rest, /^[^,}]*/)
	return substr(rest, 1, RLENGTH)
}
/"run":/ { next }
{
	goal = field("goal")
	if (goal == "null")
		next
	ratio = field("ratio")
	split(goal, part, " ")
	value = ratio == "null" ? field("value") : ratio
	met = part[1] == "<=" ? value + 0 <= part[2] + 0 : value + 0 >= part[2] + 0
	line = sprintf("  %-46s %-24s %9s  goal %s", field("bench") ": " field("case"), field("against"), value, goal)
	if (met)
		good[++goods] = line
	else
		bad[++bads] = line
}
END {
	printf "\ngoals met: %d\n", goods
	for (i = 1; i <= goods; i++)
		print good[i]
	printf "goals missed: %d\n", bads
	for (i = 1; i <= bads; i++)
		print bad[i]
}' "$json"
awk -f bench/results.awk "$json" >build/RESULTS.md || failed+=(results)
echo "took $((SECONDS - started)) s; figures in build/bench.jsonl, tables in build/RESULTS.md"
echo "to publish them: cp build/RESULTS.md bench/"
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed: ${failed[*]}" >&2
	exit 1
fi
