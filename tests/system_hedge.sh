#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The example of hedged requests with real servers: the first answer counts, the work of the others stops at
# their servers, and a replica that fails has the next one asked at once.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/hedge
skip_without_uring

# expect STATUS LINES WORK...: runs the example. The order of its lines counts.
expect() {
	local wanted_status=$1 wanted=$2 out status=0
	shift 2
	out=$(timeout 50 $bin/hedge "$@" 2>&1) || status=$?
	[[ $status == "$wanted_status" && $out == "$wanted" ]] ||
		fail "hedge $*: status $status, wanted $wanted_status; printed:"$'\n'"$out"$'\n'"wanted:"$'\n'"$wanted"
	echo "hedge $*: as promised"
}

gone="stopped its work, since its client had gone"

# The replicas that lose would work for a minute, which is longer than this test may take.
expect 0 "asks replica 1
asks replica 2
asks replica 3
replica 3 was first: answer
replica 1 $gone
replica 2 $gone
replica 3 answered"

# The second is asked by time, and the third is not: its turn, which comes 20 ms after that, is behind the answer
# unless this machine is very slow. So only what is certain is looked at.
out=$(timeout 50 $bin/hedge 60000 0 60000) || fail "hedge, second answers: status $?: $out"
[[ $out == *"replica 2 was first: answer"* && $out == *"replica 1 $gone"* && $out == *"replica 2 answered"* ]] ||
	fail "hedge, second answers: $out"
[[ $out == *"replica 3 was not asked"* || $out == *"replica 3 $gone"* || $out == *"replica 3 got no question"* ]] ||
	fail "hedge, second answers, the third: $out"
echo "hedge, second answers: as promised"

# Failures end nothing, and start the next one.
out=$(timeout 50 $bin/hedge fails fails 0) || fail "hedge, two fail: status $?: $out"
for line in "failed: replica 1: no answer" "failed: replica 2: no answer" "replica 3 was first: answer" \
	"replica 1 closed the connection" "replica 2 closed the connection" "replica 3 answered"; do
	[[ $out == *"$line"* ]] || fail "hedge, two fail: no line \"$line\": $out"
done
echo "hedge, two fail: as promised"

out=$(timeout 50 $bin/hedge fails fails fails) && fail "hedge, all fail: status 0: $out"
[[ $out == *"no answer: Broken pipe"* && $out == *"failed: replica 3: no answer"* ]] || fail "hedge, all fail: $out"
echo "hedge, all fail: as promised"
