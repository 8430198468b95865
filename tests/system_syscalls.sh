#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Counts from outside, with strace(1), the system calls that cancelling 256 pending
# receives takes, on both kinds of ring: one io_uring_enter(2), and nothing else.

set -u
cd "$(dirname "$0")/.." || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
	echo "$*"
	exit 1
}

command -v strace >/dev/null || { echo "no strace"; exit 77; }
cc=${CC:-gcc}
$cc -std=gnu11 -D_GNU_SOURCE -pthread -Iinclude tests/support/programs/batch.c build/libctxring.a -luring \
	-o "$work/batch" || fail "the program does not build"
strace -o "$work/probe" true 2>/dev/null || { echo "ptrace(2) is not allowed here"; exit 77; }

for kind in ordinary defer; do
	strace -o "$work/trace" "$work/batch" $kind >"$work/out" 2>&1
	status=$?
	[[ $status == 77 ]] && { cat "$work/out"; exit 77; }
	[[ $status == 0 ]] || fail "$kind: the program ended with $status: $(<"$work/out")"
	[[ $(<"$work/out") == "cancelled 256 sqes 256 enters 1" ]] || fail "$kind: $(<"$work/out")"
	calls=$(awk '/^getppid/ { inside = !inside; next } inside' "$work/trace")
	enters=$(grep -c '^io_uring_enter(' <<<"$calls")
	all=$(grep -c . <<<"$calls")
	[[ $(grep -c '^getppid' "$work/trace") == 2 ]] || fail "$kind: the marks are missing"
	[[ $enters == 1 ]] || fail "$kind: $enters calls of io_uring_enter: $calls"
	[[ $all == 1 ]] || fail "$kind: $all system calls: $calls"
	[[ $calls == *", 256, "* ]] || fail "$kind: not all in one: $calls"
done
echo "256 operations, 1 system call, on both kinds of ring"
