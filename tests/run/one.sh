# shellcheck shell=bash disable=SC2016,SC2154,SC2206 # what is quoted is for another shell; $apart is several words
# SPDX-License-Identifier: MIT
#
# One test program, or script, in one pass; and several of them at a time. Sourced by tests/run.sh.

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
		wrapper=(timeout 420 $apart ${apart:+sh -c '{ sleep 410; echo "still running:"; ps -e --forest -o pid,etime,args; } & "$0"; exit $?'})
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
