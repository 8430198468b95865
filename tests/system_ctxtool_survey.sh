#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Processes that begin and end while ctxtool looks are no error, and processes of others get no line: every command that
# looks at all of them ends with 0 and says nothing, while hundreds come and go.

set -u
cd "$(dirname "$0")/.." || exit
# Among processes of its own: other tests make tables that are broken.
if [[ ${SURVEY_ALONE:-} != 1 ]]; then
	unshare --pid --fork --mount-proc true 2>/dev/null || { echo "no process name space can be had"; exit 77; }
	SURVEY_ALONE=1 exec unshare --pid --fork --kill-child --mount-proc bash "$PWD/tests/${0##*/}"
fi
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
export CTXD_SOCKET=$work/none
cat >"$work/brief.c" <<'END'
/* SPDX-License-Identifier: MIT */
#include <ctxring.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Until the script ends: processes that make a context and end at once, by exit or as they are, and children. */
int main(int argc, char **argv)
{
	struct ctx_context *ctx;
	(void)argv;
	if (argc > 1)
		return ctx_with_timeout(ctx_background(), 1000000000u, "brief", &ctx) != 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0;; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			if (i % 2)
				execl("/proc/self/exe", "brief", "exec", (char *)0);
			if (ctx_with_timeout(ctx_background(), 1000000000u, "brief", &ctx))
				_exit(1);
			_exit(0);
		}
		if (pid > 0)
			waitpid(pid, 0, 0);
	}
}
END
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude "$work/brief.c" build/libctxring.a -luring -pthread -o "$work/brief" ||
	fail "the processes do not compile"
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -Iinclude -Ilib/base -Ilib/table -Itests tests/support/programs/faked_table.c tests/support/table_writer.c \
	-o "$work/faked_table" || fail "the table does not compile"
mkfifo "$work/life"
exec 8<>"$work/life"
"$work/faked_table" sample <&8 8<&- >"$work/good.out" &
children+=("$!")
good=$!
await_line "$work/good.out" "ready"
"$work/faked_table" beginning <&8 8<&- >"$work/beginning.out" &
children+=("$!")
await_line "$work/beginning.out" "ready"
start brief1 "$work/brief"
start brief2 "$work/brief"

failed=0
# quiet WRAPPER... -- COMMAND...: status 0, nothing said of a process, however often.
quiet() {
	local round command
	for ((round = 0; round < rounds; round++)); do
		for command in ls tree "leaks --older=0.000001" stats "show $good:2.1" "ls --json"; do
			status=0
			# shellcheck disable=SC2086
			timeout 60 "$@" $command >"$work/look.out" 2>"$work/look.err" || status=$?
			if [[ $status != 0 || -s $work/look.err ]]; then
				failed=$((failed + 1))
				echo "FAILED: $command: $status $(head -n 2 "$work/look.err")"
			fi
		done
	done
}
rounds=${ROUNDS:-10}
quiet $ctxtool

if command -v setpriv >/dev/null; then
	echo "an ordinary user, beside processes of others"
	chmod 755 "$work"
	cp $ctxtool "$work/ctxtool"
	user=(setpriv --reuid=65031 --regid=65031 --clear-groups)
	"${user[@]}" "$work/faked_table" sample <&8 8<&- >"$work/own.out" &
	good=$!
	children+=("$good")
	await_line "$work/own.out" "ready"
	# Of another user, with a thread that has the library's name.
	setpriv --reuid=65032 --regid=65032 --clear-groups "$work/faked_table" undumpable <&8 8<&- >"$work/other.out" &
	children+=("$!")
	await_line "$work/other.out" "ready"
	rounds=3
	quiet "${user[@]}" "$work/ctxtool"
fi
[[ $failed == 0 ]] || fail "$failed of the looks were no good"
echo "ctxtool: processes may come and go"
