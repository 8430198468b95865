#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxd as its users meet it: options, files, signals, a socket that is taken, activation, and no descriptor lost.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
unset CTXD_SOCKET XDG_RUNTIME_DIR
socket=$work/ctxd.sock

# is WHAT GOT WANTED
is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
# has WHAT TEXT PART
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
# run COMMAND...: sets $out (both streams) and $status.
run() { status=0; out=$(timeout 60 "$@" 2>&1 </dev/null) || status=$?; }
reloaded_twice() { [[ $(grep -c event=reload "$log") == 2 ]]; }
serve() {
	start "$@"
	log=$work/$1.err
	until_true 30 grep -q "event=start" "$log" || fail "it does not start: $(<"$log")"
}
end() {
	kill -TERM "$1"
	ended "$1"
	is "status at its end" "$status" 0
	[[ ! -e $socket && ! -e $socket.lock ]] || fail "it left its socket"
}

run $ctxd --help
is "--help" "$status" 0
has "--help" "$out" "Usage: ctxd"
run $ctxd --version
has "--version" "$out" "ctxd 0."
for bad in --nothing --loop=fast --log-level=loud operand; do
	run $ctxd "$bad"
	is "$bad" "$status" 2
	has "$bad" "$out" "--help"
done
run $ctxd --socket="$work/none/x"
is "no such directory" "$status" 1
has "no such directory" "$out" "No such file"
run $ctxd --socket="$work/$(printf 'x%.0s' {1..120})"
is "a path too long" "$status" 1
touch "$work/file"
run $ctxd --socket="$work/file"
is "no socket there" "$status" 1
has "no socket there" "$out" "not a socket"
printf 'depth = 3\ncancel = nobody\n' >"$work/bad.conf"
run $ctxd --socket="$socket" --config="$work/bad.conf"
is "bad configuration" "$status" 3
has "bad configuration" "$out" "line 2: expected owner or root"
printf 'depth = 3\n' >"$work/good.conf"
run $ctxd --check-config --config="$work/good.conf"
is "--check-config" "$status" 0

echo "serving, reloading, ending; on each loop"
for loop in ring poll; do
	[[ $loop == poll ]] || $ctxtool doctor >/dev/null 2>&1 || continue
	serve "ctxd-$loop" $ctxd --socket="$socket" --config="$work/good.conf" --loop=$loop
	pid=$started
	grep -q "loop=$loop" "$log" || fail "it does not say how it waits"
	run $ctxd --socket="$socket"
	is "a socket that is served" "$status" 1
	has "a socket that is served" "$out" "another service listens at"
	printf 'connections = 2\n' >"$work/good.conf"
	kill -HUP "$pid"
	await_line "$log" "event=reload"
	printf 'nonsense\n' >"$work/good.conf"
	kill -HUP "$pid"
	await_line "$log" "event=config .*line 1"
	printf '' >"$work/good.conf"
	kill -HUP "$pid"
	until_true 30 reloaded_twice || fail "it does not reload again: $(<"$log")"
	fds() { find "/proc/$pid/fd" | wc -l; }
	# With --all it prints its own connection first; without, it would wait for another client.
	served() { CTXD_SOCKET=$socket timeout 60 $ctxtool watch --all --initial --count=1 >/dev/null || fail "a client is not served"; }
	served
	until_true 30 test "$(fds)" -le 20
	before=$(fds)
	for _ in {1..50}; do served; done
	back() { [[ $(fds) -le $before ]]; }
	until_true 30 back || fail "descriptors: $before, then $(fds)"
	end "$pid"
done

echo "a socket that a dead one left"
serve killed $ctxd --socket="$socket"
leave "$started"
[[ -S $socket ]] || fail "there is no socket left"
serve again $ctxd --socket="$socket"
end "$started"

echo "where it listens without being told"
mkdir "$work/run"
XDG_RUNTIME_DIR=$work/run serve runtime $ctxd
[[ -S $work/run/ctxd.sock ]] || fail "not in XDG_RUNTIME_DIR"
XDG_RUNTIME_DIR=$work/run timeout 60 $ctxtool stats | grep -q "1 client," || fail "not found there"
kill -TERM "$started"
ended "$started"

if command -v systemd-socket-activate >/dev/null && ldd $ctxd | grep -q libsystemd; then
	echo "a socket that systemd gives; where it is the socket says, and not what ctxd was told"
	for told in CTXD_SOCKET="$socket" XDG_RUNTIME_DIR="$work/run"; do
		start activated systemd-socket-activate --setenv="$told" --seqpacket --listen="$work/given.sock" \
			$ctxd --socket="$work/other.sock"
		until_true 30 test -S "$work/given.sock" || fail "nobody listens"
		CTXD_SOCKET=$work/given.sock timeout 60 $ctxtool stats | grep -q "1 client," || fail "the given socket is not served"
		await_line "$work/activated.err" "event=start"
		has "what is said of it" "$line " "event=start socket=$work/given.sock "
		kill -TERM "$started"
		ended "$started"
		is "status" "$status" 0
		[[ ! -e $work/other.sock && -S $work/given.sock ]] || fail "it removed, or made, another one's socket"
		rm "$work/given.sock"
	done
fi
echo "ctxd: as its manual says"
