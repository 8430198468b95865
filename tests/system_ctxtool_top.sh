#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The screen of ctxtool top, in a terminal of its own: keys, filter, trees, folding, cancelling, and the terminal afterwards.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
skip_without_uring
command -v script >/dev/null || { echo "no script(1)"; exit 77; }
export CTXD_SOCKET=$work/ctxd.sock TERM=xterm
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/tool_target.c build/libctxring.a -luring -pthread \
	-o "$work/tool_target" || fail "the target does not compile"
start ctxd $ctxd --loop=poll
await_line "$work/ctxd.err" "event=start "
start target env CTXRING_PUBLISH=1 "$work/tool_target"
pid=$started
await_line "$work/target.out" "ready"
published() { $ctxtool stats | grep -q "1 published"; }
until_true 30 published || fail "it is not published"

mkfifo "$work/keys"
script -qefc "stty rows 30 cols 120; $PWD/$ctxtool top --pid $pid --watch=0.2; echo status=\$?; stty -a" "$work/screen" \
	<"$work/keys" >/dev/null 2>&1 &
screen=$!
children+=("$screen")
exec {keys}>"$work/keys"
# shows TEXT: since the last key was pressed.
since=0
shows_now() { tail -c "+$((since + 1))" "$work/screen" 2>/dev/null | grep -q -a -- "$1"; }
shows() { until_true 30 shows_now "$1" || fail "the screen does not show \"$1\": $(tail -c 1500 "$work/screen" | cat -v)"; }
press() {
	since=$(stat -c %s "$work/screen")
	printf '%b' "$1" >&"$keys"
}

shows "GET a"
shows "by operations"
press s
shows "age"
press s
shows "time left"
press S
shows "reversed"
press t
shows "trees"
press ' '
shows '+program'
press ' '
press h
shows "fold or unfold"
press h
press '/GET b\n'
shows "only with GET b"
press c
shows 'End .*GET b.*30 operations'
press n
shows "not cancelled"
press c
shows "y/N"
press y
shows "reaped: 30 cancelled" # what stood there before is not sent again
$ctxtool show "GET b" | grep -q "cancelled in ctxtool top" || fail "it was not cancelled"
press p
shows "paused"
press q
shows "status=0"
shows " echo "
ended "$screen"

TERM=dumb script -qec "$PWD/$ctxtool top --pid $pid --count=1" "$work/dumb" </dev/null >/dev/null 2>&1
grep -q -a "GET a" "$work/dumb" || fail "TERM=dumb: nothing is shown"
! grep -q -a $'\e' "$work/dumb" || fail "TERM=dumb: the cursor is moved: $(cat -v "$work/dumb")"
echo "top: as its manual says"
