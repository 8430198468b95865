#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Programs that a script starts with "&", for which a shell without job control ignores SIGINT: they start, leave it
# ignored, and end with SIGTERM. The first one is the example of ctx_with_hangup(3).

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{httpd,upstream} $ctxtool $ctxd
export CTXD_SOCKET=$work/ctxd.sock
unset CTXRING_CONTEXT CTXRING_PUBLISH

# ignores PID: SIGINT, as the kernel says.
ignores() { ((0x$(sed -n 's/^SigIgn:\t*//p' "/proc/$1/status") & 1 << 1)); }

# The lines from "sigset_t signals;" to the call.
{
	printf '#include <ctxring.h>\n#include <signal.h>\n#include <stdio.h>\nint main(void)\n{\n'
	sed -n '/^sigset_t signals;$/,/^ctx_with_signals(/p' man/ctx_with_hangup.3 |
		sed 's/^ctx_with_signals(.*/if (&)/; s/;)$/)/'
	printf 'return 1;\nputs("ready"); fflush(stdout);\nctx_wait(program, CTX_FOREVER);\n'
	printf 'struct ctx_cause cause;\nctx_get_cause(program, &cause);\nreturn cause.code;\n}\n'
} >"$work/example.c"
grep -q 'if (ctx_with_signals' "$work/example.c" || fail "ctx_with_hangup(3) has no such example"
${CC:-gcc} -D_GNU_SOURCE -pthread -Iinclude "$work/example.c" build/libctxring.a -luring -o "$work/example" ||
	fail "the example of ctx_with_hangup(3) does not compile"

start example "$work/example"
await_line "$work/example.out" ready
ignores "$started" || fail "the example: SIGINT is not ignored"
kill -INT "$started"
kill -TERM "$started"
ended "$started"
[[ $status == 15 ]] || fail "the example: ended by $status, not by SIGTERM"

# As from a terminal it ends with either.
start example env --default-signal=INT "$work/example"
await_line "$work/example.out" ready
kill -INT "$started"
ended "$started"
[[ $status == 2 ]] || fail "the example: ended by $status, not by SIGINT"

start ctxd $ctxd
until_true 30 test -S "$CTXD_SOCKET" || fail "ctxd does not listen"
kill -INT "$started"
kill -TERM "$started"
ended "$started"
[[ $status == 0 ]] || fail "ctxd: status $status: $(tail -n 3 "$work/ctxd.err")"
[[ $(grep -c 'stop signal=' "$work/ctxd.err") == 1 ]] && grep -q 'stop signal=15 ' "$work/ctxd.err" ||
	fail "ctxd: not stopped by SIGTERM alone: $(tail -n 3 "$work/ctxd.err")"

doctor=0
$ctxtool doctor >/dev/null 2>&1 || doctor=$?
if [[ $doctor -ne 1 ]]; then
	start_servers ordinary
	kill -INT "$httpd_pid" "$upstream_pid"
	curl -sf --max-time 60 "$url/slow?ms=1" >/dev/null || fail "httpd: no answer after SIGINT"
	stop_servers
	grep -q 'reason="Terminated"' "$log" || fail "httpd: $(tail -n 1 "$log")"
fi
echo "started in the background, SIGINT stays ignored"
