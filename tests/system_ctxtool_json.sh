#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The JSON of every command of ctxtool is what share/ctxring/schemas says: with nothing found and with much, of processes, of the
# service, of dead processes and of a fleet, once and on each line. A command that has --json and no schema, or a member that the
# schema does not name, fails.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
skip_without_uring
python3 -c 'import jsonschema; jsonschema.Draft202012Validator' 2>/dev/null || { echo "no jsonschema for python3"; exit 77; }
for program in tool_target fake_fleet; do
	sources=tests/support/programs/$program.c
	[[ $program == tool_target ]] || sources+=" lib/wire/*.c daemon/util/record_file.c"
	# shellcheck disable=SC2086 # several words
	${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude -Ilib/wire -Idaemon/util $sources build/libctxring.a -luring -pthread \
		-o "$work/$program" || fail "$program does not compile"
done
cat >"$work/sources.c" <<'END'
/* SPDX-License-Identifier: MIT */
#include <ctxring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	const struct ctx_context *root = ctx_background();
	struct ctx_pressure pressure = {.resource = CTX_RESOURCE_MEMORY};
	struct ctx_context *ctx, *ended;
	int pair[2];
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || ctx_with_signals(root, NULL, &signals, "", &ctx) ||
	    ctx_with_hangup(root, NULL, pair[0], 0, "peer \\ \"quoted\" \n", &ctx) ||
	    ctx_with_fd(root, NULL, pair[1], POLLIN, "fd", &ctx) ||
	    ctx_with_process(root, NULL, (int)syscall(SYS_pidfd_open, getppid(), 0), "process", &ctx) ||
	    ctx_with_timeout(root, 1, "expired", &ctx) || ctx_with_cancel(root, "parent", &ended) ||
	    ctx_with_cancel(ended, "child", &ctx) || ctx_cancel_cause(ended, -5, "gone"))
		return 1;
	(void)ctx_with_pressure(root, NULL, &pressure, "memory", &ctx);
	puts("ready");
	fflush(stdout);
	return (int)read(0, pair, 1);
}
END
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -g -Iinclude "$work/sources.c" build/libctxring.a -luring -pthread -o "$work/sources" ||
	fail "the sources do not compile"
export CTXD_SOCKET=$work/ctxd.sock
mkdir "$work/out"
failed=0 serial=0
# json COMMAND ARGUMENT...: keeps what the command prints with --json.
json() {
	# In the redirection the shell would count in a process of its own.
	((++serial))
	timeout 60 $ctxtool "$1" --json "${@:2}" >"$work/out/$1.$serial" 2>>"$work/complaints" </dev/null
}
published() { $ctxtool stats | grep -q "1 published"; }

# Nothing is found, and there is no service.
for command in ls tree top stats leaks; do
	json $command --pid 4194304 --count=1
done
json show 4194304:1.1
json leaks --older=31536000
json history --pid 4194304
json doctor
(ulimit -n 100 && CTXRING_TABLE=0 timeout 60 $ctxtool doctor --json >"$work/out/doctor.limits")
[[ ! -x build/tests/deny_uring ]] || build/tests/deny_uring $ctxtool doctor --json >"$work/out/doctor.denied"

# Processes, and the service.
start ctxd $ctxd
await_line "$work/ctxd.err" "event=start "
start watch $ctxtool watch --json --initial
watch=$started
json last
mkfifo "$work/life"
exec 8<>"$work/life"
"$work/sources" <&8 8<&- >"$work/sources.out" &
children+=("$!")
sources=$!
start target env CTXRING_PUBLISH=1 "$work/tool_target" kept
target=$started
await_line "$work/sources.out" "ready"
await_line "$work/target.out" "ready"
until_true 30 published || fail "the target is not published"
for command in ls tree top stats leaks; do
	json $command --count=1
	json $command --count=2 --watch=0.01
	json $command --pid "$target" --count=1
done
json ls
json tree --pid "$sources"
json leaks --older=0.000001
json leaks --older=0.000001 --count=2 --watch=0.01
for label in "expired" "child" "process" "fd"; do
	json show --pid "$sources" "$label"
done
json show "$target"
json cancel --dry-run "GET a"
json cancel --wait --cause='a \ "text"' "GET a"
json cancel --yes "no such label"
json cancel --all --yes twin
json run --report="$work/out/run.exited" -- true
json run --report="$work/out/run.deadline" --timeout=0.01 -- sleep 100
json run --report="$work/out/run.nothing" -- "$work/nothing"
json run --report="$work/out/run.signal" -- sh -c 'kill -9 $$'
json history --pid "$target"
leave "$target"
died() { $ctxtool last | grep -q "^$target "; }
until_true 30 died || fail "the table of the dead process is not kept"
json last
json last "$target"
await_line "$work/watch.out" '"died"'
leave "$watch"
cp "$work/watch.out" "$work/out/watch.0"

# A fleet.
for scene in quiet broken engine alone none; do
	start "fake-$scene" "$work/fake_fleet" "$work/fake.sock" $scene
	await_line "$work/fake-$scene.out" "ready"
	export CTXD_SOCKET=$work/fake.sock
	json fleet
	json ls --fleet
	json tree --fleet --count=2 --watch=0.01
	json cancel --fleet --wait a/4-12 a/2-1
	json doctor
	leave "$started"
	rm -f "$work/fake.sock"
done

# The commands that have --json.
commands=()
for command in $($ctxtool --help | sed -nE 's/^  ([a-z]+) .*/\1/p'); do
	$ctxtool "$command" --help | grep -q -- '--json' && commands+=("$command")
done
((${#commands[@]} >= 12)) || fail "the commands are not seen in --help"
/usr/bin/env python3 tests/support/validate.py share/ctxring/schemas "$work/out" "${commands[@]}" || failed=1
exit $failed
