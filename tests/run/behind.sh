# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: MIT
#
# What is compiled, and what runs behind the tests. Sourced by tests/run.sh.

# build NAME ARGUMENT...: make, whose end is noted under that name.
build() {
	local name=$1 at=$SECONDS status=0
	shift
	"$MAKE" --no-print-directory -j"$parallel" "$@" >"$results/build.$name.log" 2>&1 || status=$?
	echo "$status $((SECONDS - at)) s, make $*" >"$results/build.$name.part"
	mv "$results/build.$name.part" "$results/build.$name.end"
}

# set_policy OPTION: how the processes behind the tests are scheduled. On a machine that is always busy they would never end.
set_policy() {
	local pid
	for pid in $(pgrep -g "$behind"); do
		chrt "$1" --pid 0 "$pid" 2>/dev/null
	done
}

# await_built NAME: ends the run if it could not be built.
await_built() {
	local status rest at=$SECONDS
	until [[ -e $results/build.$1.end ]] || ! kill -0 "$behind" 2>/dev/null; do
		set_policy --other
		sleep 0.2
	done
	[[ -z $behind ]] || set_policy --idle
	read -r status rest <"$results/build.$1.end"
	if [[ ${status:-1} != 0 ]]; then
		cat "$results/build.$1.log"
		echo "${rest:-$1}: failed"
		echo "0 passed, 1 failed"
		[[ -z $behind ]] || kill -- -"$behind"
		exit 1
	fi
	echo "-- built $1: $rest, waited for $((SECONDS - at)) s"
}

# What the tests leave of the processors, most of which wait most of the time, goes to the compilers: they build the trees
# of later passes, and then do what the pass build does. They run with the policy of sched(7) for which there is no lower one,
# so that what a test does next never waits for them.
behind=
run_behind() {
	chrt --idle --pid 0 $BASHPID 2>/dev/null || renice -n 19 -p $BASHPID >/dev/null
	runs asan || runs faults && build asan VARIANT=asan TOGETHER=1 ${sanitized_once:+APART=1} tests
	runs tsan && build tsan VARIANT=tsan TOGETHER=1 tests
	runs soak && build soak_asan VARIANT=asan build/asan/tests/storm build/asan/ctxd
	runs soak && build soak_tsan VARIANT=tsan build/tsan/tests/storm
	runs build && run_build
}
