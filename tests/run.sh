#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs every test in every pass and sums up. `make check` calls it; so may you, from
# the top of the tree, with the names of passes as arguments:
#
#   normal   tests/check_*.c as they are
#   asan     under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer; without those of the pass tsan, unless the passes
#            are named: all passes together are to take less than 20 minutes
#   tsan     those that say TEST_TSAN, under ThreadSanitizer
#   denied   with io_uring_setup(2) forbidden by seccomp: ring tests are skipped there
#   plain    with every optional kernel feature switched off; as in the pass before, without programs that have no rings
#   faults   tests/check_faults*.c, in the tree of asan: the k-th system call or allocation fails
#   build    tests/build_*.sh: compilers, installed copy, exports, includes; build_cross.sh, which compiles library and programs for
#            another machine, only if the passes are named
#   system   tests/system_*.sh: the real programs
#   kernels  some of tests/check_*.c on Debian 12's own kernel, in a virtual machine: tests/kernels. Where that
#            cannot be had it says why, and counts nothing.
#   soak     twenty seconds of the random storm of make soak, half of them under each sanitizer; counts as one test
#
# A script exits with 0 (passed), 77 (skipped, the reason is its last line) or anything
# else (failed). With CI set, a skip is a failure, but for the passes denied and
# kernels, and for those that need a cross compiler or a browser.
# The last line is "N passed, N failed", or "N passed, N failed, N skipped".

set -u
cd "$(dirname "$0")/.."
named=$*
# Set where all passes run: what runs under ThreadSanitizer does not run under AddressSanitizer, too.
sanitized_once=$([[ $named ]] || echo 1)
passes=${*:-normal asan tsan denied plain faults build kernels system soak}
results=build/results
parallel=$(nproc)
export MAKE=${MAKE:-make}
unset MAKEFLAGS MFLAGS MAKELEVEL
rm -rf $results
mkdir -p $results/bin
started=$SECONDS
# The python3 of pyenv(1) is a script, which takes a second to find the real one.
[[ ! -x /usr/bin/python3 ]] || ln -s /usr/bin/python3 $results/bin
PATH=$PWD/$results/bin:$PATH

runs() { [[ " $passes " == *" $1 "* ]]; }

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

# run_one PASS PROGRAM: one test program in one pass; prints its output as a whole.
run_one() {
	local pass=$1 program=$2 name log wrapper=() status=0 failed=0 at=${EPOCHREALTIME/.} TIMEFORMAT='%U %S' used
	name=$(basename "$program" .sh)
	log=$results/$pass.$name
	export CTX_TEST_MODE=$pass CTX_TEST_TOTALS=$log.totals
	export ASAN_OPTIONS=detect_stack_use_after_return=1:${ASAN_OPTIONS:-}
	export UBSAN_OPTIONS=print_stacktrace=1:${UBSAN_OPTIONS:-}
	export TSAN_OPTIONS=halt_on_error=1:die_after_fork=0:atexit_sleep_ms=0:second_deadlock_stack=1:${TSAN_OPTIONS:-}
	case $pass in
	denied) wrapper=(build/tests/deny_uring) ;;
	plain) export CTXRING_FEATURES=none ;;
	# Address space randomised by more bits than ThreadSanitizer copes with.
	tsan) wrapper=(setarch "$(uname -m)" -R) ;;
	# In the process group of those behind the tests, for which this can take long.
	build) wrapper=(timeout --foreground 1500) ;;
	# The first process is not the script, which would be the parent of all that lose theirs. What hangs is named before its end.
	system)
		export wait_min=120
		wrapper=(timeout 600 $apart ${apart:+sh -c '{ sleep 590; echo "still running:"; ps -e --forest -o pid,etime,args; } & "$0"; exit $?'})
		;;
	esac
	{ time "${wrapper[@]}" "$program" >"$log.log" 2>&1 </dev/null; } 2>"$log.time" || status=$?
	if [[ $pass == build || $pass == system ]]; then
		case $status in
		0) echo "1 0 0" ;;
		77) echo "0 0 1 $(tail -n 1 "$log.log")" ;;
		*) echo "0 1 0" ;;
		esac >"$log.totals"
	elif [[ $status != 0 ]]; then
		[[ ! -e $log.totals ]] || read -r _ failed _ <"$log.totals"
		if [[ ${failed:-0} == 0 ]]; then # it died before it had counted
			echo "0 1 0" >"$log.totals"
			echo "$name: ended with status $status" >>"$log.log"
		fi
	fi
	used=$(awk 'END { printf "%d", 1000 * ($1 + $2) }' "$log.time")
	rm "$log.time"
	[[ -e $log.totals ]] || return 0
	echo "$(((${EPOCHREALTIME/.} - at) / 1000)) ms, of a processor $used ms: $pass $name" >"$log.time"
	printf -- '-- %s %s%s\n%s\n' "$pass" "$name" \
		"$([[ $pass == build || $pass == system ]] && { [[ $status == 0 ]] && echo ': ok' || echo ": $status"; })" \
		"$(if [[ $status == 0 && ($pass == build || $pass == system) ]]; then tail -n 1 "$log.log"; else cat "$log.log"; fi)"
}
export -f run_one
# What gives a command processes of its own; nothing, where that cannot be had.
apart='unshare --pid --fork --kill-child --mount-proc'
$apart true 2>/dev/null || apart=
export results apart

# run_some PASS HOW_MANY_AT_A_TIME PROGRAM...
run_some() {
	local pass=$1 at_a_time=$2
	shift 2
	[[ $# -eq 0 ]] || printf '%s\0' "$@" | xargs -0 -n 1 -P "$at_a_time" bash -c 'run_one "$0" "$1"' "$pass"
}

# run_build: the longest come first.
run_build() {
	local at=$SECONDS
	run_some build "$parallel" $(printf '%s\n' tests/build_{cross,warnings,fuzz,install}.sh tests/build_*.sh |
		awk -v named="$named" '!seen[$0]++ && (named || !/build_cross/)')
	echo "-- pass build: $((SECONDS - at)) s"
}

# run_system: three at a time, the longest first, each with processes of its own: what looks at all processes of the machine
# then sees those of no other. Where there are no process name spaces they run one after the other.
run_system() {
	local at=$SECONDS
	run_some system "$([[ -n $apart ]] && echo 3 || echo 1)" $(printf '%s\n' \
		tests/system_{fleet,ctxtool_timeout,fleet_demo,fleet_failover,fleet_engine,ctxtool_run,examples,postgres_pool}.sh tests/system_*.sh |
		awk '!seen[$0]++')
	echo "-- pass system: $((SECONDS - at)) s"
}

ringless='/check_(fleet.*|engine.*|bridge.*|forest|wire|config|map|reader|tracestate)$'

# run_programs PASS DIRECTORY: races alone, for both sides of one want a processor each; of the others those that
# take longest come first, so that none of them is left to run alone at the end.
run_programs() {
	local all races long at=$SECONDS
	all=$(find "$2" -maxdepth 1 -name 'check_*' -executable ! -type d 2>/dev/null | sort)
	# Those in which calls fail are built where the sanitizers find what that breaks, and are a pass of their own.
	all=$(grep $([[ $1 == faults ]] || echo -v) '/check_faults' <<<"$all")
	races=$(grep -E '/check_race' <<<"$all")
	all=$(grep -vE '/check_race' <<<"$all")
	# These have no rings: a pass for kernels without one says nothing of them.
	[[ $1 != denied && $1 != plain ]] || all=$(grep -vE "$ringless" <<<"$all")
	# tests/build_fuzz.sh runs what these test under AddressSanitizer.
	[[ $1 != asan || ! $sanitized_once ]] || all=$(for program in $all; do
		grep -qs TEST_TSAN "tests/${program##*/}.c" || echo "$program"
	done)
	[[ $1 != asan ]] || all=$(grep -vE '/check_(carrier|wire|reader|config|forest|fleet_list)$' <<<"$all")
	long='/check_(fork(_storm)?|denied_calls|park_table|owner|growth|find|engine|bridge_limits|op|op_timeout|fleet|harness|'
	long+='spawn(_start)?|source.*|blocking(_results)?|service.*|faults(_service|_taskgroup)?)$'
	run_some "$1" 1 $races
	# Most tests wait most of the time.
	run_some "$1" $((parallel * 5 / 2)) $(grep -E "$long" <<<"$all") $(grep -vE "$long" <<<"$all")
	echo "-- pass $1: $((SECONDS - at)) s"
}

# run_kernels: in the virtual machine, and its counts beside those of the other passes.
run_kernels() {
	local at=$SECONDS log=$results/kernels.log name counts
	if ! "$MAKE" --no-print-directory deps-kernels >"$log" 2>&1; then
		echo "-- pass kernels: not run, for want of packages: $(grep -v '^make' "$log" | tail -n 1)"
		return
	fi
	rm -f build/kernels/6.1.totals
	tests/kernels/run.sh 6.1 >"$log" 2>&1
	if [[ $? == 77 ]]; then
		echo "-- pass kernels: not run: $(tail -n 1 "$log")"
		return
	fi
	cat "$log"
	[[ -s build/kernels/6.1.totals ]] || echo 'the_machine 0 1 0' >build/kernels/6.1.totals
	while read -r name counts; do
		echo "$counts" >"$results/kernels.$name.totals"
		[[ $name != the_machine ]] || cp "$log" "$results/kernels.$name.log"
	done <build/kernels/6.1.totals
	# What each of them printed stands before "-- NAME: N s".
	awk -v results="$results" '/^-- check_[a-z_]*: [0-9]+ s$/ {
		name = substr($2, 1, length($2) - 1)
		print said >(results "/kernels." name ".log")
		print $3 * 1000 " ms: kernels " name >(results "/kernels." name ".time")
		said = ""
		next
	} { said = said $0 "\n" }' "$log"
	echo "-- pass kernels: $((SECONDS - at)) s"
}

# run_soak: ends with the first sanitizer under which something breaks. The storm's own watchdog looks at its
# threads; whatever else hangs ends here.
run_soak() {
	local log=$results/soak.storm variant service status=0 at=$SECONDS
	for variant in asan tsan; do
		[[ $variant == asan ]] && service=build/asan/ctxd || service=build/ctxd
		timeout --foreground -k 10 300 tests/soak.sh build/$variant/tests/storm --service $service 10 >>"$log.log" 2>&1 || status=$?
		[[ $status == 0 ]] || break
	done
	case $status in
	0) echo "1 0 0" ;;
	77) echo "0 0 1 $(tail -n 1 "$log.log")" ;;
	*) echo "0 1 0" ;;
	esac >"$log.totals"
	printf -- '-- soak: %s\n' "$(tail -n 1 "$log.log")"
	echo "$((1000 * (SECONDS - at))) ms: soak storm" >"$log.time"
	echo "-- pass soak: $((SECONDS - at)) s"
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

if runs normal || runs denied || runs plain || runs kernels || runs system || runs soak; then
	build normal TOGETHER=1 all tests
	await_built normal
fi
set -m # a process group of its own, which can be ended as a whole
run_behind &
behind=$!
set +m
trap '[[ -z $behind ]] || kill -- -"$behind" 2>/dev/null' EXIT
for pass in normal denied plain; do
	runs $pass && run_programs $pass build/tests
done
runs asan && await_built asan && run_programs asan build/asan/tests
runs tsan && await_built tsan && run_programs tsan build/tsan/tests
runs faults && await_built asan && run_programs faults build/asan/tests
runs system && run_system
runs kernels && run_kernels
runs soak && await_built soak_asan && await_built soak_tsan && run_soak
while kill -0 "$behind" 2>/dev/null; do
	set_policy --other
	sleep 0.2
done
behind=

echo "slowest:"
sort -rn $results/*.time | head -n 10 | sed 's/^/  /'
passed=0 failed=0 skipped=0 denied_skips=0 bad_skips=0 broken=()
for file in $results/*.totals; do
	[[ -e $file ]] || continue
	read -r p f s reason <"$file"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	run=$(basename "$file" .totals)
	[[ $f -gt 0 ]] && broken+=("$run")
	case $run in
	denied.*) denied_skips=$((denied_skips + s)) ;;
	*) [[ $s -gt 0 ]] && echo "skipped: $run: $s: $reason" ;;&
	kernels.*) ;;             # what another kernel does not have
	build.build_cross) ;; # what needs a compiler that make check does not install
	system.system_ctxtool_record_page) ;; # what needs a browser, which make check installs where it can
	*) bad_skips=$((bad_skips + s)) ;;
	esac
done
[[ $denied_skips -gt 0 ]] && echo "skipped: denied: $denied_skips: ring tests, for this pass forbids io_uring"
if [[ -n ${CI:-} && $bad_skips -gt 0 ]]; then
	echo "CI is set: $bad_skips skipped tests count as failed"
	failed=$((failed + bad_skips)) skipped=$((skipped - bad_skips))
fi
[[ $((passed + failed)) -gt 0 ]] || failed=1
# What went wrong stands at the end: often the end of a log is all that is left of it.
for run in "${broken[@]}"; do
	echo "FAILED: $run, see $results/$run.log, which says:"
	{ grep -E ':[FE]:|ERROR: |SUMMARY: |WARNING: Thread|runtime error:' "$results/$run.log" || tail -n 20 "$results/$run.log"; } | head -n 20 | sed 's/^/  /'
done
echo "took $((SECONDS - started)) s"
if [[ $skipped -gt 0 ]]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[[ $failed == 0 ]]
