#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Two programs written for plain liburing, and the same two with a ctx ring round
# their io_uring: how much differs, and that both do their job.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{plain,adopt}_{cp,echo} $ctxtool
skip_without_uring

# ---- how little changes

for job in cp echo; do
	changed=$(diff "examples/plain_$job.c" "examples/adopt_$job.c" | grep -c '^[<>]')
	total=$(wc -l <"examples/plain_$job.c")
	echo "$job: $changed lines differ, of $total"
	[[ $changed -gt 0 && $changed -le 60 ]] || fail "$job: more than 60 lines differ"
done

# ---- a file copy

head -c 20000003 /dev/urandom >"$work/from"
: >"$work/nothing"
for program in plain_cp adopt_cp; do
	$bin/$program "$work/from" "$work/to" || fail "$program: status $?"
	cmp "$work/from" "$work/to" || fail "$program: the copy differs"
	$bin/$program "$work/nothing" "$work/to" || fail "$program, empty file: status $?"
	cmp "$work/nothing" "$work/to" || fail "$program: the empty copy differs"
	$bin/$program "$work/from" /dev/full 2>"$work/error" && fail "$program: no error from a full device"
	grep -q "No space left" "$work/error" || fail "$program, full device: $(<"$work/error")"
done
$bin/adopt_cp "$work/from" "$work/to" 60000 || fail "adopt_cp with time enough: status $?"
cmp "$work/from" "$work/to" || fail "adopt_cp with time enough: the copy differs"
$bin/adopt_cp "$work/from" "$work/to" 0 2>"$work/error" && fail "adopt_cp: the deadline did not end it"
grep -q "Timer expired" "$work/error" || fail "adopt_cp, deadline: $(<"$work/error")"
echo "file copy: both copy; the adopted one is ended by its deadline"

# ---- an echo server

port=
# converse COUNT: opens that many connections, and has each echo its own lines. Sets connections.
converse() {
	local connection i answer
	connections=()
	for ((i = 0; i < $1; i++)); do
		exec {connection}<>"/dev/tcp/127.0.0.1/$port" || fail "no connection $i"
		connections+=("$connection")
	done
	for round in 1 2 3; do
		for connection in "${connections[@]}"; do
			echo "round $round of $connection" >&"$connection"
		done
		for connection in "${connections[@]}"; do
			read -r -t 30 answer <&"$connection" || fail "no echo"
			[[ $answer == "round $round of $connection" ]] || fail "echo of another: $answer"
		done
	done
}

# hang_up N...: closes our end.
hang_up() {
	local connection
	for connection; do
		exec {connection}>&-
	done
}

for program in plain_echo adopt_echo; do
	start $program $bin/$program
	server=$started
	await_file "$work/$program.out" "$server"
	port=$text
	converse 100
	hang_up "${connections[@]:90}"
	converse_left=("${connections[@]:0:90}")
	# The ten that left must be gone before the rest is ended: their count is checked below.
	ninety() { [[ $(find "/proc/$server/fd" -lname 'socket:*' | wc -l) -eq 91 ]]; }
	until_true 30 ninety || fail "$program: connections that left are still open"
	kill -TERM "$server"
	for connection in "${converse_left[@]}"; do
		read -r -t 30 rest <&"$connection" && fail "$program: unasked data: $rest"
		[[ $? -eq 1 ]] || fail "$program: a connection was not ended"
	done
	ended "$server"
	[[ $status == 0 ]] || fail "$program: status $status: $(tail -n 3 "$work/$program.err")"
	hang_up "${converse_left[@]}"
done
grep -q "ends 90 connections" "$work/adopt_echo.out" || fail "adopt_echo: $(<"$work/adopt_echo.out")"
grep -q "left with 0 connections" "$work/adopt_echo.out" || fail "adopt_echo left some: $(<"$work/adopt_echo.out")"
grep -q "left with 90 connections" "$work/plain_echo.out" || fail "plain_echo: $(<"$work/plain_echo.out")"
echo "echo: 100 connections; one cancel ended the 90 that remained, and each operation was back before the end"
