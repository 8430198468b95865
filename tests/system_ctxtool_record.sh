#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool record on the example server: all three formats have the client that left and its 200 operations, and follow the
# rules of those who read them. Then what the command line refuses, limits, selections, and a command that is started.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{httpd,upstream,first} $ctxtool $ctxd
skip_without_uring
command -v python3 >/dev/null || { echo "there is no python3"; exit 77; }

examples/picture.sh "$work/all.json" >"$work/said" 2>&1 || fail "$(<"$work/said")"
python3 tests/support/check_spans.py trace "$work/all.json" 200 || exit 1
grep -q '/all.json: .* of 1 process in ' "$work/said" || fail "the summary is $(<"$work/said")"
grep -q '"name":"GET /fan?n=200&ms=20000"' "$work/all.json" || fail "the request is not in the trace"

# One recording as spans, of those below one request only, while others run.
selection='label=*n=200*' examples/picture.sh "$work/some.otlp.json" >"$work/said" 2>&1 || fail "$(<"$work/said")"
python3 tests/support/check_spans.py otlp "$work/some.otlp.json" 200 || exit 1
grep -q 'ctxring.cause' "$work/some.otlp.json" || fail "no span has a cause"
grep -q 'n=8&' "$work/some.otlp.json" && fail "what was not selected is there, too"

# refused CODE WORDS ARGUMENT...
refused() {
	local status=0
	$ctxtool record "${@:3}" >"$work/out" 2>"$work/err" </dev/null || status=$?
	[[ $status == "$1" && $(<"$work/err") == *"$2"* ]] || fail "record ${*:3}: status $status: $(<"$work/err")"
}
refused 2 "-o FILE says where to write" --for 1s
refused 2 "does not end with .html" -o "$work/x.txt"
refused 2 "not a time such as" -o "$work/x.html" --for soon
refused 2 "not a format" -o "$work/x.html" --format svg
refused 2 "not a number from 1" -o "$work/x.html" --max 0
refused 2 "there is no command after" -o "$work/x.html" --
refused 2 "^" -o "$work/x.html" label=
refused 2 "left" -o "$work/x.html" "left<1s"
refused 4 "cannot write" -o "$work/no/x.html"
# What can never be a file is noticed before anything is recorded.
for path in "" "$work/none/" "$work/early/x.html/"; do
	refused 4 "cannot write $path: No such file" -o "$path" --format html -- touch "$work/ran"
	[[ ! -e $work/ran ]] || fail "\"$path\": the command was started"
done
[[ ! -e $work/x.html ]] || fail "a refused command line has made a file"

# A process without a table is named; nothing was recorded.
sleep 60 &
other=$!
children+=("$other")
status=0
$ctxtool record --pid "$other" --for 20ms -o "$work/none.html" 2>"$work/err" || status=$?
[[ $status == 1 && $(<"$work/err") == *"no process with contexts"* && -s $work/none.html ]] || fail "nothing: $status $(<"$work/err")"

# A command is recorded until it ends, standard output is a file as well, and no more is kept than asked for.
start_servers defer
status=0
$ctxtool record -q --format otlp -o - --for 300ms --max 1 --pid "$httpd_pid" >"$work/max" 2>"$work/err" || status=$?
[[ $status == 3 && $(<"$work/err") == *"beyond the first 1 were not kept"* ]] || fail "--max: $status $(<"$work/err")"
python3 tests/support/check_spans.py otlp "$work/max" || exit 1

# FILE is replaced when the recording is complete, and not before; a link is not followed.
record() { status=0; $ctxtool record --for 20ms --pid "$httpd_pid" "$@" 2>"$work/err" || status=$?; }
echo "before" >"$work/old.json"
ln -s old.json "$work/link.json"
(ulimit -f 1; trap '' XFSZ; record -o "$work/old.json"; [[ $status == 4 && $(<"$work/err") == *"cannot write"*"too large"* ]]) || fail "a full disk: $(<"$work/err")"
[[ $(<"$work/old.json") == before && $(<"$work/err") != *contexts* ]] || fail "a recording that failed has changed its file"
record -o "$work/link.json"
[[ $status == 0 && ! -L $work/link.json && $(<"$work/old.json") == before ]] || fail "a link was followed: $status $(<"$work/err")"
python3 tests/support/check_spans.py trace "$work/link.json" || exit 1
mkfifo "$work/pipe.json"
cat "$work/pipe.json" >"$work/piped.json" &
record -o "$work/pipe.json"
wait $!
[[ $status == 0 && -p $work/pipe.json ]] || fail "a pipe: $status $(<"$work/err")"
python3 tests/support/check_spans.py trace "$work/piped.json" || exit 1
[[ -z $(compgen -G "$work/*.json.*") ]] || fail "a temporary file is left: $(compgen -G "$work/*.json.*")"
stop_servers

# The service is left out unless it is asked for.
export CTXD_SOCKET=$work/ctxd.sock
start ctxd $ctxd
await_line "$work/ctxd.err" "event=start "
for all in "" --all "--pid=$started"; do
	$ctxtool record -q --for 20ms -o "$work/service.json" ${all:+"$all"} 2>"$work/err"
	[[ $(grep -c "\"pid\":$started," "$work/service.json") -gt 0 && $all || $(grep -c "\"pid\":$started," "$work/service.json") == 0 && -z $all ]] ||
		fail "the service with '$all': $(<"$work/err")"
done
unset CTXD_SOCKET

status=0
$ctxtool record -o "$work/command.json" -- $bin/first 2>"$work/err" >"$work/out" || status=$?
[[ $status == 0 || $status == 1 ]] || fail "a command: status $status: $(<"$work/err")"
python3 tests/support/check_spans.py trace "$work/command.json" || exit 1
# A command that writes down what it does from its first context on, before anybody can have found its table.
cat >"$work/early.c" <<'END'
#include <ctxring.h>
#include <poll.h>
int main(void)
{
	struct ctx_context *ctx;
	ctx_with_cancel(ctx_background(), "first of all", &ctx);
	ctx_finish(ctx);
	poll(NULL, 0, 300);
}
END
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude "$work/early.c" build/libctxring.a -luring -pthread -o "$work/early" || fail "early does not compile"
$ctxtool record -q -o "$work/early.json" -- "$work/early" || fail "early: status $?"
grep -q '"name":"first of all"' "$work/early.json" || fail "the first context of a command is not recorded"

# A command that cannot start has the exit code that it has in run, and FILE stays.
for found in "127 no such program" "126 old.json"; do
	refused "${found%% *}" "${found#* }" -o "$work/old.json" -- "$work/${found#* }"
	[[ $(<"$work/old.json") == before ]] || fail "$found: FILE was replaced"
done

# A signal ends the recording also while the command is being started, and a command that has not started.
cat >"$work/slow.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int execvp(const char *file, char *const arguments[])
{
	FILE *to = fopen(getenv("STARTING"), "w");
	fprintf(to, "%d\n", (int)getpid());
	fclose(to);
	pause();
	return -1;
}
END
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -shared -fPIC "$work/slow.c" -o "$work/slow.so" || fail "slow does not compile"
start slow env LD_PRELOAD="$work/slow.so" STARTING="$work/starting" $ctxtool record -o "$work/slow.json" -- true
slow=$started
await_line "$work/starting" "[0-9]"
kill -TERM "$slow"
ended "$slow"
[[ $status == 1 ]] || fail "a signal before the command had started: status $status: $(<"$work/slow.err")"
starting=$line
is_over() { [[ ! -e /proc/$starting/exe ]]; }
kill -TERM "$starting"
until_true 30 is_over || { kill -KILL "$starting"; fail "a command that has not started does not end"; }

can_unname() { python3 -c 'import os, sys; os.open(sys.argv[1], os.O_TMPFILE | os.O_WRONLY)' "$work" 2>/dev/null; }

# A name that is as long as can be does not keep FILE from being replaced, where the file system can make files without names.
long=$work/$(printf '%0250d' 0).html
echo before >"$long"
if can_unname; then
	$ctxtool record -q -o "$long" -- true 2>"$work/err" && fail "true has contexts"
	[[ $(<"$long") == *"</html>"* ]] || fail "a long name: $(<"$work/err")"
fi

# A recorder that is killed leaves nothing, where the file system can make files without names.
if can_unname; then
	start killed $ctxtool record -o "$work/killed.json" --for 60s --pid "$$"
	await_line "$work/killed.err" "recording"
	leave "$started"
	[[ -z $(compgen -G "$work/killed.json*") ]] || fail "a recorder that was killed leaves $(compgen -G "$work/killed.json*")"
fi
echo "recordings are what was done, and follow the rules of their formats"
