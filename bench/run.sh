#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the benchmarks: make bench, or make bench-quick for about two minutes.
#
#   bench/run.sh [--quick] [FILTER]      FILTER: part of "bench/case"
#
# Prints a table and writes build/bench.jsonl. All goals are ratios taken in one run
# (or bytes and counts); a missed one is reported and is no failure, a benchmark that
# cannot run is.

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
: >"$json" || exit
started=$SECONDS
failed=()

# Go's context beside ours, when there is a Go to build it with.
peer=()
if command -v go >/dev/null; then
	if GO111MODULE=off GOPROXY=off GOFLAGS='' go build -o build/bench/go-context bench/go/context.go; then
		peer=(--peer build/bench/go-context)
	else
		failed+=(go)
	fi
else
	echo "no go here: contexts are measured without Go beside them" >&2
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
run taskgroup build/bench/taskgroup
run source build/bench/source
run blocking build/bench/blocking
run cancel build/bench/cancel
run park build/bench/park
run httpd bench/httpd.sh
run idle build/bench/idle
run service bench/service.sh
run flood build/bench/flood
run spawn build/bench/spawn

# A goal is for the ratio; where there is none, for the value.
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
echo "took $((SECONDS - started)) s; results in build/bench.jsonl"
if [ ${#failed[@]} -gt 0 ]; then
	echo "failed: ${failed[*]}" >&2
	exit 1
fi
