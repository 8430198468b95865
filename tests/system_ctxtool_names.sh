#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool names places in the code by function, file and line, of a live process and of a core file, from the program, from the
# file that /usr/lib/debug has under its build id, and of a program that was replaced while it runs. What it cannot know it does not
# name, a file that never answers does not hold it, and commands that list many contexts do not look. Of a source it says what
# is watched.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
grep -q 'libdw\.so\.1' $ctxtool || { echo "ctxtool was built without the headers of libdw"; exit 77; }
export CTXD_SOCKET=$work/none
ctxtool=$PWD/$ctxtool
failed=0
wrong() { echo "FAILED: $*"; failed=1; }
has() { [[ $out == *"$1"* ]] || wrong "no '$1' in: $out"; }
hasnt() { [[ $out != *"$1"* ]] || wrong "'$1' in: $out"; }

cat >"$work/named.c" <<'END'
/* SPDX-License-Identifier: MIT */
#include <ctxring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((noinline)) void make_request(const struct ctx_context *parent, struct ctx_context **ret)
{
	if (ctx_with_cancel(parent, "request", ret)) /* made here */
		exit(1);
}

__attribute__((noinline)) void end_request(struct ctx_context *request)
{
	if (ctx_cancel_cause(request, -5, "gone")) /* ended here */
		exit(1);
}

static void watch(const struct ctx_context *parent)
{
	struct ctx_pressure pressure = {.resource = CTX_RESOURCE_MEMORY, .stall_ns = 150000000, .window_ns = 2000000000};
	struct ctx_context *ctx;
	int pair[2], ends[2];
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR2); /* a shell lets SIGINT be ignored in the background */
	sigaddset(&signals, SIGUSR1);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pipe(ends) ||
	    ctx_with_signals(parent, NULL, &signals, "signals", &ctx) ||
	    ctx_with_hangup(parent, NULL, pair[0], 0, "peer", &ctx) ||
	    ctx_with_fd(parent, NULL, ends[0], POLLIN, "pipe", &ctx) ||
	    ctx_with_process(parent, NULL, (int)syscall(SYS_pidfd_open, getppid(), 0), "process", &ctx))
		exit(1);
	if (ctx_with_pressure(parent, NULL, &pressure, "memory", &ctx))
		puts("no pressure");
}

int main(int argc, char **argv)
{
	struct ctx_context *root, *request;

	(void)argv;
	if (ctx_with_cancel(ctx_background(), "root", &root))
		return 1;
	make_request(root, &request);
	end_request(request);
	watch(root);
	puts("ready");
	fflush(stdout);
	if (argc > 1)
		abort();
	return (int)read(0, &request, 1);
}
END
line_of() { grep -n "$1" "$work/named.c" | cut -d: -f1; }
made=$(line_of "made here")
ended=$(line_of "ended here")
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -g -O1 -Iinclude "$work/named.c" build/libctxring.a -luring -pthread -Wl,--build-id -o "$work/named" ||
	fail "the program does not compile"
mkfifo "$work/life"
exec 8<>"$work/life"
# launch PROGRAM [ARGUMENT...]: starts it; $pid.
launch() {
	: >"$work/named.out"
	"$@" <&8 8<&- >"$work/named.out" 2>&1 &
	pid=$!
	children+=("$pid")
	await_line "$work/named.out" ready
}
look() { out=$(timeout 30 "${before[@]}" "$ctxtool" "$@" 8<&- 2>&1) || wrong "$* exits with $?: $out"; }
before=()
named() {
	has ", at make_request+0x"
	has " (named.c:$made)"
	has ", at end_request+0x"
	has " (named.c:$ended)"
}

launch "$work/named"
look show "$pid:2.1"
named
look show "$pid:2.1" --json
has '"function": "make_request"'
has "/named.c\", \"line\": $made}"
look leaks --older=0.000001 --pid "$pid"
has "main+0x"
look leaks --older=0.000001 --pid "$pid" --json
has '"function": "main"'
# Many contexts are listed without a look into programs.
for command in ls "ls --json" "tree --json" top "stats --json"; do
	# shellcheck disable=SC2086 # words
	timeout 60 strace -f -e trace=openat -o "$work/trace" "$ctxtool" $command --pid "$pid" --count=1 >/dev/null 2>&1 8<&-
	grep -q libdw "$work/trace" && wrong "$command looks up names"
done
timeout 60 strace -f -e trace=openat,connect -o "$work/trace" env DEBUGINFOD_URLS=http://127.0.0.1:1/ "$ctxtool" show "$pid:2.1" \
	>/dev/null 2>&1 8<&-
grep -q libdw "$work/trace" || wrong "show does not look up names"
grep -q AF_INET "$work/trace" && wrong "show asks a server for names: $(grep AF_INET "$work/trace")"

# What the sources watch.
look show --pid "$pid" signals
has "SIGUSR1 or SIGUSR2"
look show --pid "$pid" peer
has "the end of sending by the peer of fd "
has "unix stream CONNECTED"
look show --pid "$pid" pipe
has " pipe:["
has "becoming readable"
look show --pid "$pid" process
has "the end of process $$ system_ctxtool"
if ! grep -q "no pressure" "$work/named.out"; then
	look show --pid "$pid" memory
	has "memory pressure: some 150 ms in 2 s, by fd "
	has " /proc/pressure/memory"
fi

# The program is replaced while it runs, then deleted.
cp "$work/named" "$work/copy"
launch "$work/copy"
cp "$work/named" "$work/other"
mv "$work/other" "$work/copy"
look show "$pid:2.1"
named
rm "$work/copy"
look show "$pid:2.1"
named

# Stripped: nothing is known, until /usr/lib/debug has the rest.
objcopy --only-keep-debug "$work/named" "$work/named.debug"
strip -o "$work/stripped" "$work/named"
launch "$work/stripped"
look show "$pid:2.1"
has ", at stripped+0x"
hasnt named.c
id=$(readelf -n "$work/named" | sed -n 's/.*Build ID: //p')
if [[ -d /usr/lib/debug ]] && unshare -m true 2>/dev/null; then
	mkdir -p "$work/debug/.build-id/${id:0:2}"
	cp "$work/named.debug" "$work/debug/.build-id/${id:0:2}/${id:2}.debug"
	# shellcheck disable=SC2016 # for the inner shell
	before=(unshare -m sh -c 'mount --bind "$0" /usr/lib/debug && exec "$@"' "$work/debug")
	look show "$pid:2.1"
	named
	before=()
fi

# Root looks at another user's process, whose files root itself need not be able to read.
if [[ $(id -u) == 0 ]] && command -v setpriv >/dev/null; then
	chmod 755 "$work"
	cp "$work/named" "$work/foreign"
	chown 65035:65035 "$work/foreign"
	chmod 500 "$work/foreign"
	launch setpriv --reuid=65035 --regid=65035 --clear-groups "$work/foreign"
	look show "$pid:2.1"
	named
fi

# A core file; then another program has the path, whose build id is not that of the dead one.
pattern=$(</proc/sys/kernel/core_pattern)
ulimit -c unlimited 2>/dev/null
if [[ $pattern == "|"* || $pattern == */* || $(ulimit -c) == 0 ]]; then
	echo "core files: not tested, core_pattern is $pattern, the limit $(ulimit -c)"
else
	mkdir "$work/cores"
	cp "$work/named" "$work/cores/crasher"
	# shellcheck disable=SC2016 # for the inner shell
	(cd "$work/cores" && exec ./crasher crash >/dev/null 2>&1 </dev/null) 2>/dev/null
	core=$(find "$work/cores" -type f -name 'core*' | head -n 1)
	[[ -n $core ]] || wrong "no core file with the pattern $pattern"
	look show --core "$core" 2.1
	named
	sed 's/"root"/"trunk"/' "$work/named.c" >"$work/trunk.c"
	${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -g -O1 -Iinclude "$work/trunk.c" build/libctxring.a -luring -pthread -Wl,--build-id \
		-o "$work/cores/crasher"
	look show --core "$core" 2.1
	has ", at crasher+0x"
	hasnt named.c
fi
[[ $failed == 0 ]] && echo "ctxtool names places in programs and core files, and what sources watch"
exit $failed
