#!/bin/bash
# SPDX-License-Identifier: MIT
# ctxtool on a process that uses the library with real operations pending: running, stopped
# and crashed, on both kinds of ring.
set -u
cd "$(dirname "$0")/.."
tool=build/ctxtool
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
if ! why=$($tool doctor); then
	echo "${why%%$'\n'*}"
	exit 77
fi
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -g -Iinclude tests/support/programs/publisher.c build/libctxring.a -luring -pthread \
	-o "$dir/publisher" || exit 1
mkfifo "$dir/feed" "$dir/said"
# start ARGUMENT...: sets pid and port; descriptor 3 holds its standard input open.
start() {
	(cd "$dir" && exec ./publisher "$@" <feed >said) &
	pid=$!
	pids+=("$pid")
	exec 3<>"$dir/feed" 4<>"$dir/said"
	read -r -t 20 -u 4 ready port && [[ $ready == ready ]] || { fail "publisher $* did not start"; exit 1; }
}
stop() {
	exec 3>&- 4>&-
	wait "$pid" 2>/dev/null
}
run() {
	local expected=$1 status
	shift
	timeout 30 $tool "$@" >"$dir/out" 2>"$dir/err"
	status=$?
	out=$(cat "$dir/out")
	[[ $status == "$expected" ]] || fail "ctxtool $*: exit $status, not $expected: $(cat "$dir/err")"
}
has() { [[ $out == *"$1"* ]] || fail "no '$1' in the output: $out"; }
hasnt() { [[ $out != *"$1"* ]] || fail "'$1' in the output: $out"; }

check_tree() {
	has '"server" live'
	has '"GET /live" live'
	has "59m"
	has '"GET /gone" cancelled'
	has 'call ECONNRESET "client went away"'
	has '"late" expired'
	has 'deadline ETIME'
	has "SQ 64, CQ 128"
	has "3 in flight"
	has "3 operations, 3 cancel SQEs"
	has "3 cancelled"
	has "RECV fd"
	has "POLL_ADD fd"
	has "TIMEOUT for"
}

for kind in ordinary defer; do
	start $kind
	run 0 tree --rings --pid "$pid"
	check_tree
	has "RECV fd"
	has "tcp 127.0.0.1:$port -> 127.0.0.1:"
	has "ESTABLISHED"
	[[ $kind == ordinary ]] && has "ordinary" || has "DEFER_TASKRUN"
	running=$out
	kill -STOP "$pid"
	run 0 tree --rings --pid "$pid"
	check_tree
	run 0 show --pid "$pid" "GET /gone"
	has "publisher"
	grep -qE ", at (publisher\+0x|[a-z_]+\+0x[0-9a-f]+ \(publisher)" <<<"$out" || fail "no place in the code: $out"
	has "by thread $pid"
	has "operations  0"
	run 0 ls --pid "$pid" --json
	kill -CONT "$pid"
	stop
	run 1 ls --pid "$pid"
done

pattern=$(cat /proc/sys/kernel/core_pattern)
ulimit -c unlimited 2>/dev/null
if [[ $pattern == "|"* || $pattern == /* ]]; then
	echo "core files: not tested, core_pattern sends them elsewhere: $pattern"
elif [[ $(ulimit -c) == 0 ]]; then
	echo "core files: not tested, RLIMIT_CORE is 0"
else
	start ordinary crash
	crashed=$pid
	stop 2>/dev/null
	core=$(find "$dir" -maxdepth 1 -name 'core*' | head -n 1)
	if [[ -z $core ]]; then
		fail "no core file with core_pattern $pattern"
	else
		run 0 tree --rings --core "$core"
		has "$crashed publisher"
		check_tree
		run 0 show --core "$core" "GET /gone"
		has "publisher"
		grep -qE ", at (publisher\+0x|[a-z_]+\+0x[0-9a-f]+ \(publisher)" <<<"$out" || fail "no place in the code: $out"
		# The table is reserved at its greatest size; a core holds the part in use.
		[[ $(du -m "$core" | cut -f 1) -lt 64 ]] || fail "the core takes $(du -m "$core" | cut -f 1) MiB"
	fi
fi

[[ $failed == 0 ]] && echo "ctxtool shows what the library publishes, running, stopped and crashed"
exit $failed
