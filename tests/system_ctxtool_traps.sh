#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Nobody can make ctxtool wait: a process shows what looks like a context table and is a FIFO, or a file of a file system
# whose server never answers, or keeps its memory locked. ctxtool looks at all processes, ends, and shows the good ones.
# Each trap is open for a moment only, since ps(1) and others do wait for some of them.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
export CTXD_SOCKET=$work/none
mkfifo "$work/feed"
for program in trap faked_table; do
	${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -pthread -Iinclude -Ilib/base -Ilib/table -Itests tests/support/programs/$program.c \
		tests/support/table_writer.c -o "$work/$program" || fail "$program does not compile"
done
unshare -Urm true 2>/dev/null || unshare -m true 2>/dev/null || { echo "no mount name space can be had"; exit 77; }
failed=0

# The tables that there are to be seen, for as long as descriptor 8 is open.
mkfifo "$work/life"
exec 8<>"$work/life"
"$work/faked_table" sample <&8 8<&- >"$work/good.out" &
good=$!
children+=("$good")
await_line "$work/good.out" "ready"

# spring KIND WRAPPER...: sets the trap; false: not to be had here.
spring() {
	local kind=$1
	shift
	"$@" "$work/trap" "$kind" <&8 8<&- >"$work/$kind.out" 2>"$work/$kind.err" &
	trap_pid=$!
	children+=("$trap_pid")
	until_true 30 written_or_gone "$work/$kind.out" "$trap_pid"
	if [[ -s $work/$kind.out ]]; then
		read -r server <"$work/$kind.out"
		[[ $server == 0 ]] || children=("$server" "${children[@]}")
		return
	fi
	status=0
	wait "$trap_pid" || status=$?
	forget "$trap_pid"
	[[ $status == 77 ]] || fail "the trap $kind is not set: $(<"$work/$kind.err")"
	echo "$kind: not tested, $(<"$work/$kind.err")"
	return 1
}

# look ARGUMENT...: ctxtool ends by itself, with $status and $out. What hangs is let go by the end of the trap.
look() {
	timeout -s KILL 60 $ctxtool "$@" >"$work/look.out" 2>"$work/look.err" 8<&- &
	local pid=$!
	if ! until_true 30 gone "$pid"; then
		echo "FAILED: ctxtool $* hangs on $kind"
		failed=1
	fi
	# The server first: what waits for it is let go then.
	[[ $server == 0 ]] || kill -KILL "$server"
	forget "$server"
	kill -KILL "$trap_pid" 2>/dev/null
	wait "$trap_pid" 2>/dev/null
	forget "$trap_pid"
	status=0
	wait "$pid" 2>/dev/null || status=$?
	out=$(<"$work/look.out")
}

# count_threads: ctxtool, repeating, keeps no thread of each round. On a busy machine some others may be slow to answer too.
rounds_done() { (($(grep -c '^$' "$work/rounds.out") >= 20)); }
count_threads() {
	$ctxtool ls --watch=0.01 >"$work/rounds.out" 2>/dev/null 8<&- &
	local pid=$!
	children+=("$pid")
	if until_true 30 rounds_done; then
		threads=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
		((threads < 15)) || { echo "FAILED: ctxtool ls --watch has $threads threads beside $kind"; failed=1; }
	else
		echo "FAILED: ctxtool ls --watch hangs on $kind"
		failed=1
	fi
	leave "$pid"
}

# Its owner may have no rights at all.
kind=lease
if command -v setpriv >/dev/null && [[ $(id -u) == 0 ]]; then
	chmod 755 "$work"
	ordinary=(setpriv --reuid=65035 --regid=65035 --clear-groups)
else
	ordinary=()
fi
if spring lease "${ordinary[@]}"; then
	look ls
	[[ $out == *"$good:1.1"* ]] || { echo "FAILED: $kind hides others: $out"; failed=1; }
	grep -q "process $trap_pid.*lease" "$work/look.err" ||
		{ echo "FAILED: nothing is said of $kind: $(<"$work/look.err")"; failed=1; }
fi

for kind in fifo file mapping lock; do
	spring $kind $(unshare -Urm true 2>/dev/null && [[ -w /dev/fuse || $kind == fifo ]] && echo unshare -Urm || echo unshare -m) || continue
	[[ $kind != lock ]] || count_threads
	look ls
	[[ $out == *"$good:1.1"*"$good:2.1"*"GET /live"* ]] || { echo "FAILED: $kind hides others: $out"; failed=1; }
	if [[ $kind == lock ]]; then
		grep -q "process $trap_pid.*cannot read its memory map" "$work/look.err" ||
			[[ $out == *"$trap_pid:1.1"* ]] || { echo "FAILED: nothing is said of $kind: $(<"$work/look.err")"; failed=1; }
	fi
done
if kind=words && spring words unshare -m; then
	look cancel --dry-run --yes "no such label"
	[[ $status == 1 ]] || { echo "FAILED: cancel beside words: $status $(<"$work/look.err")"; failed=1; }
fi

# The namer waits for the program of a place, and ctxtool does not wait for the namer.
if kind=code && spring code unshare -m; then
	look show "$trap_pid:1.1"
	[[ $status == 0 && $out == *", at code+0x10"* ]] || { echo "FAILED: show of $kind: $status $out $(<"$work/look.err")"; failed=1; }
fi

# Core files that are none, and that nobody writes to.
mkfifo "$work/core"
for kind in "$work/core" /dev/tty /dev/zero "$work"; do
	status=0
	timeout 20 $ctxtool ls --core "$kind" >/dev/null 2>"$work/look.err" || status=$?
	[[ $status == 3 ]] && grep -q "not a regular file" "$work/look.err" ||
		{ echo "FAILED: --core $kind: $status $(<"$work/look.err")"; failed=1; }
done
[[ $failed == 0 ]] && echo "ctxtool: none of the traps holds it"
exit $failed
