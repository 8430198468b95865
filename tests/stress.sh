#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The passes of tests/run.sh again and again on a machine that is busy: one process for each processor computes
# meanwhile. `make check-stress` calls it: stress.sh [ROUNDS [PASS...]], by default five rounds of normal, plain,
# asan, tsan and faults. What failed in a round is kept in build/stress/ROUND. The last line is
# "N passed, N failed" or "N passed, N failed, N skipped", summed up over the rounds.

set -u
cd "$(dirname "$0")/.." || exit
rounds=${1:-5}
shift
passes=${*:-normal plain asan tsan faults}
export CTX_TEST_FULL=1
passed=0 failed=0 skipped=0
busy=()

trap '[[ ${#busy[@]} -eq 0 ]] || kill "${busy[@]}" 2>/dev/null' EXIT
trap 'exit 130' INT TERM
for _ in $(seq "$(nproc)"); do
	sh -c 'while :; do :; done' &
	busy+=($!)
done
rm -rf build/stress
for round in $(seq "$rounds"); do
	echo "-- round $round of $rounds: $passes"
	# shellcheck disable=SC2086 # a list of words
	tests/run.sh $passes >build/stress.log 2>&1
	read -r p _ f _ s _ < <(tail -n 1 build/stress.log)
	if [[ $p =~ ^[0-9]+$ ]]; then
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
	else
		failed=$((failed + 1))
	fi
	grep -E '^(FAILED|skipped|-- pass)' build/stress.log | grep -v 'skipped: denied'
	if [[ $f != 0 ]]; then
		mkdir -p build/stress
		mv build/results "build/stress/$round"
		mv build/stress.log "build/stress/$round/run.log"
	fi
	tail -n 1 build/stress.log 2>/dev/null || tail -n 1 "build/stress/$round/run.log"
done
rm -f build/stress.log
if [[ $skipped -gt 0 ]]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[[ $failed == 0 && $passed -gt 0 ]]
