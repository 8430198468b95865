#!/bin/bash
# SPDX-License-Identifier: MIT
# ctxtool on processes whose tables are made by hand: good ones, broken ones, odd ones,
# stopped and dead ones. What it prints, what it says, and its exit codes.
set -u
cd "$(dirname "$0")/.."
tool=build/ctxtool
[[ -x $tool ]] || { echo "build/ctxtool is not built"; exit 1; }
dir=$(mktemp -d)
pids=()
cleanup() {
	local pid
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
	rm -rf "$dir"
}
trap cleanup EXIT
failed=0
fail() { echo "FAILED: $*"; failed=1; }

${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -Iinclude -Ilib/base -Ilib/table -Itests tests/support/programs/faked_table.c \
	tests/support/table_writer.c -o "$dir/faked_table" || exit 1

mkfifo "$dir/feed" "$dir/said"
# launch COMMAND...: sets pid and port; descriptor 3 holds its standard input open.
launch() {
	(cd "$dir" && exec "$@" <feed >said) &
	pid=$!
	pids+=("$pid")
	exec 3<>"$dir/feed" 4<>"$dir/said"
	read -r -t 20 -u 4 ready port && [[ $ready == ready ]] || { fail "$* did not start"; exit 1; }
}
start() { launch ./faked_table "$@"; }
stop() {
	exec 3>&- 4>&-
	wait "$pid" 2>/dev/null
}
# run CODE ARGUMENT...: output in $out, complaints in $err; the exit code must be CODE.
run() {
	local expected=$1 status
	shift
	timeout 30 $tool "$@" >"$dir/out" 2>"$dir/err"
	status=$?
	out=$(cat "$dir/out") err=$(cat "$dir/err")
	[[ $status == "$expected" ]] || fail "ctxtool $*: exit $status, not $expected: $err"
}
has() { [[ $out == *"$1"* ]] || fail "no '$1' in the output: $out"; }
says() { [[ $err == *"$1"* ]] || fail "no '$1' in: $err"; }

# A good table, in every view.
start sample
run 0 ls --pid "$pid"
has "$pid:2.1"
has "GET /live"
has 'call ECONNRESET "client went away"'
has expired
run 0 ls --pid "$pid" --operations
has "RECV fd"
has "tcp 127.0.0.1:$port LISTEN"
run 0 tree --pid "$pid"
[[ $out != *DEFER_TASKRUN* ]] || fail "tree shows rings unasked: $out"
run 0 tree --rings --pid "$pid"
has "DEFER_TASKRUN"
has "2 operations, 2 cancel SQEs, 1 enter"
has "  $pid:2.1 \"GET /live\" live"
has "POLL_ADD fd 1 $dir/said for"
has "being cancelled"
[[ $out != *$'\033'* && $out != *└* ]] || fail "colours or lines in a pipe"
run 0 show --pid "$pid" 4.1
has "from $pid:3.1 \"GET /gone\""
has "by thread 7"
run 0 show "$pid:2.1"
has "59m"
run 0 show --pid "$pid" "GET /live"
has "$pid:2.1"
run 0 show "$pid"
has "version 1"
run 1 show "$pid:2.9"
says "generation 1"
run 1 show --pid "$pid" "no such label"
run 0 top --pid "$pid" --count=2 --watch=0.01
has "2 operations in flight"
run 0 ls --pid "$pid" --watch=0.01 --count=3
[[ $(grep -c "GET /live" "$dir/out") == 3 ]] || fail "--count=3 did not repeat three times"
run 0 tree --pid "$pid" --json
python=$(command -v python3 || true)
if [[ -n $python ]]; then
	$python - "$dir/out" "$pid" "$port" <<'P' || fail "the JSON is not as expected"
import json, sys
document = json.load(open(sys.argv[1]))
process, = document["processes"]
pid = int(sys.argv[2])
assert process["pid"] == pid
contexts = {c["id"]: c for c in process["contexts"]}
assert len(contexts) == 5
gone = contexts[f"{pid}:4.1"]
assert gone["parent"] == f"{pid}:3.1" and gone["state"] == "cancelled"
assert gone["cause"]["inherited"] and gone["cause"]["text"] == "client went away"
operation, = contexts[f"{pid}:2.1"]["operations"]
assert operation["opcode"] == "RECV" and sys.argv[3] in operation["target"]
assert process["rings"][0]["last_batch"]["sqes"] == 2
P
fi
# It is found without being named, too.
timeout 30 $tool ls >"$dir/out" 2>/dev/null
grep -q "^$pid:1.1 " "$dir/out" || fail "the scan did not find the process"
# A stopped process is read like any other.
kill -STOP "$pid"
run 0 tree --pid "$pid"
has "GET /live"
kill -CONT "$pid"
# The reader of the output goes away: no noise, no hang.
$tool ls --pid "$pid" --watch=0.01 2>"$dir/err" | head -n 2 >/dev/null
[[ ! -s $dir/err ]] || fail "a closed pipe: $(cat "$dir/err")"
timeout 30 $tool ls --pid "$pid" >/dev/full 2>"$dir/err"
[[ $? == 4 ]] || fail "a full disk is not exit 4"
# Ctrl-C ends a view that repeats with the code of what it showed, at once.
$tool ls --pid "$pid" --watch=100 >"$dir/watched" 2>&1 &
watcher=$!
pids+=("$watcher")
until [[ -s $dir/watched ]]; do kill -0 "$watcher" || break; done
kill -TERM "$watcher"
wait "$watcher"
[[ $? == 0 ]] || fail "a watch that is ended does not exit with 0"
# top on a terminal gives the screen back.
if command -v script >/dev/null; then
	TERM=xterm LC_ALL=C.UTF-8 timeout 30 script -qec "$tool top --pid $pid --count=2 --watch=0.05" /dev/null \
		</dev/null >"$dir/out" 2>&1
	grep -q $'\033\[?1049h' "$dir/out" && tail -c 40 "$dir/out" | grep -q $'\033\[?1049l' ||
		fail "top does not leave its screen"
	# Ctrl-C and q end it at once and restore the modes of the terminal.
	mkfifo "$dir/keys"
	for key in '\003' q; do
		: >"$dir/top"
		TERM=xterm script -qec "$tool top --pid $pid --watch=100; echo code \$?; stty -a" /dev/null \
			<"$dir/keys" >"$dir/top" 2>&1 &
		watcher=$!
		pids+=("$watcher")
		exec 5>"$dir/keys"
		until grep -q "GET /live" "$dir/top"; do kill -0 "$watcher" || break; done
		printf '%b' "$key" >&5
		# Kept open until then: at its end script(1) would send an end of file too.
		wait "$watcher"
		exec 5>&-
		grep -q "code 0" "$dir/top" && grep -q " icanon" "$dir/top" && grep -q " echo " "$dir/top" ||
			fail "top does not end well on $key: $(cat -v "$dir/top")"
	done
	TERM=xterm LC_ALL=C.UTF-8 script -qec "$tool tree --pid $pid" /dev/null </dev/null >"$dir/out" 2>&1
	grep -q "└─" "$dir/out" && grep -q $'\033\[32m' "$dir/out" || fail "no lines or colours on a terminal"
	NO_COLOR=1 TERM=xterm script -qec "$tool tree --pid $pid" /dev/null </dev/null >"$dir/out" 2>&1
	grep -q $'\033' "$dir/out" && fail "colours in spite of NO_COLOR"
fi
stop
run 1 ls --pid "$pid"
says "no such process"

# Broken tables are named with the reason.
bad() {
	start "$1"
	run 3 ls --pid "$pid"
	says "process $pid"
	says "$2"
	run 3 tree --json --pid "$pid"
	stop
}
bad newer "version 2"
bad garbage "not a context table"
bad unfinished "not finished"
bad unsealed "lacks the seals"
bad foreign "belongs to pid 1"
bad truncated "truncated"

# Labels and numbers of an enemy are harmless.
start hostile
run 0 tree --pid "$pid"
has '\x1b]0;owned\x07\xff\x0a\xe2\x80\xae'
has "OP_250"
says "circle"
[[ $out != *$'\033'* ]] || fail "an escape sequence got through"
run 0 ls --json --pid "$pid"
stop

# A forked child shows its parent's descriptor: the table counts once, for the parent.
start forked
timeout 30 $tool ls >"$dir/out" 2>/dev/null
[[ $(grep -c "GET /live" "$dir/out") == 1 ]] || fail "a forked child's table is not told apart: $(cat "$dir/out")"
grep -q "^$pid:2.1" "$dir/out" || fail "the table is not shown as the parent's"
stop

# Without a descriptor the mapping itself is opened, by root.
start closed
if [[ $(id -u) == 0 ]] && ls "/proc/$pid/map_files/" >/dev/null 2>&1; then
	timeout 30 $tool ls --pid "$pid" >"$dir/out" 2>"$dir/err"
	case $? in
	0) grep -q "GET /live" "$dir/out" || fail "map_files: wrong output" ;;
	3) grep -q "cannot read its table" "$dir/err" || fail "map_files: $(cat "$dir/err")" ;;
	*) fail "map_files: $(cat "$dir/err")" ;;
	esac
fi
stop

# A process that is not dumpable, seen by its own user.
if [[ $(id -u) == 0 ]] && command -v setpriv >/dev/null; then
	chmod 755 "$dir" "$dir/faked_table"
	cp $tool "$dir/ctxtool"
	launch setpriv --reuid 65534 --regid 65534 --clear-groups ./faked_table undumpable
	setpriv --reuid 65534 --regid 65534 --clear-groups "$dir/ctxtool" ls >"$dir/out" 2>"$dir/err"
	[[ $? == 3 ]] && grep -q "process $pid ctx-timer: cannot read its memory map" "$dir/err" ||
		fail "a process that is not dumpable: $(cat "$dir/err")"
	stop
fi

# A process in another pid namespace is found by its pid here, though its table says 1.
if [[ $(id -u) == 0 ]] && unshare --pid --fork true 2>/dev/null; then
	launch unshare --pid --fork --kill-child ./faked_table sample
	read -r child _ <"/proc/$pid/task/$pid/children"
	pids+=("$child")
	run 0 ls --pid "$child"
	has "$child:2.1"
	run 0 ls --json --pid "$child"
	has '"pid_inside": 1,'
	stop
fi

# 100,000 contexts, wide and deep; run bounds the time.
for shape in many deep; do
	start $shape 100000
	run 0 tree --pid "$pid"
	[[ $(wc -l <"$dir/out") == 100001 ]] || fail "$shape: not all of the contexts are there"
	stop
done

# Core files.
run 3 ls --core tests/system_ctxtool_tables.sh
says "not an ELF core"
run 3 ls --core "$dir/nothing"
run 3 ls --core "$dir"
run 3 ls --core $tool
pattern=$(cat /proc/sys/kernel/core_pattern)
ulimit -c unlimited 2>/dev/null
if [[ $pattern == "|"* || $pattern == /* ]]; then
	echo "core files: not tested, core_pattern sends them elsewhere: $pattern"
elif [[ $(ulimit -c) == 0 ]]; then
	echo "core files: not tested, RLIMIT_CORE is 0"
else
	start crash
	crashed=$pid
	stop 2>/dev/null
	core=$(find "$dir" -maxdepth 1 -name 'core*' | head -n 1)
	if [[ -z $core ]]; then
		fail "no core file with core_pattern $pattern"
	else
		run 0 tree --core "$core"
		has "$crashed faked_table"
		has "GET /live"
		has 'client went away'
		has "RECV fd"
		run 0 show --core "$core" 3.1
		run 0 ls --json --core "$core"
		# Cut at many places: never a crash, never a hang.
		size=$(stat -c %s "$core")
		for part in 1 10 63 64 100 1000 4096 10000 $((size / 2)) $((size - 5000)) $((size - 1)); do
			head -c "$part" "$core" >"$dir/cut"
			timeout 30 $tool tree --core "$dir/cut" >/dev/null 2>&1
			[[ $? == 0 || $? == 1 || $? == 3 ]] || fail "a core cut to $part bytes"
		done
	fi
fi

# Usage.
run 2
run 2 nonsense
run 2 ls --pid 0
run 2 ls --pid 12x
run 2 ls --watch=-1
run 2 ls --nonsense
run 2 ls operand=x
run 2 show
run 2 ls --core x --pid 1
run 2 top --core x
run 0 --version
for command in "" ls tree show top doctor; do
	# shellcheck disable=SC2086 # empty is no argument
	run 0 $command --help
	has "Usage: ctxtool"
	has "Exit"
done

[[ $failed == 0 ]] && echo "ctxtool reads good tables and says what is wrong with others"
exit $failed
