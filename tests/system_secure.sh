#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Programs with privileges that their caller lacks, by a set-user-ID bit or by capabilities of the file: no variable of the
# caller's says where they connect, what they publish, what they do without, or how the service is configured.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd
[[ $(id -u) == 0 ]] || { echo "needs root, to be several users"; exit 77; }
command -v setpriv >/dev/null || { echo "setpriv is missing"; exit 77; }

privileged=65031 caller=65032
as_caller() { setpriv --reuid=$caller --regid=$caller --clear-groups --bounding-set=+all "$@"; }

# Says what the variables did: whether there is a context table, and a connection.
cat >"$work/program.c" <<'END'
#include <ctxring.h>
#include <stdio.h>
#include <sys/auxv.h>
int main(void)
{
	struct ctx_context *ctx;
	struct ctxd_client *client = NULL;
	if (ctx_with_cancel(ctx_background(), "program", &ctx))
		return 1;
	int result = ctxd_connect(NULL, &client);
	printf("secure=%lu table=%d connected=%d\n", getauxval(AT_SECURE), ctx_id(ctx) != 0, result == 0);
	ctx_err(NULL); /* explained on stderr with CTXRING_DEBUG=1 */
	return 0;
}
END
${CC:-gcc} -D_GNU_SOURCE -pthread -Iinclude "$work/program.c" build/libctxring.a -luring -o "$work/plain" ||
	fail "the program does not compile"

chmod 755 "$work"
mkdir "$work/caller"
chown $caller "$work/caller"
# Where no bit of a file counts there is nothing to be seen.
[[ $(findmnt -no OPTIONS -T "$work" 2>/dev/null) != *nosuid* ]] || { echo "$work is mounted nosuid"; exit 77; }
cp "$work/plain" "$work/setuid"
chown $privileged "$work/setuid"
chmod 4755 "$work/setuid"
programs=(setuid)
cp "$work/plain" "$work/capable"
if setcap cap_net_bind_service+ep "$work/capable" 2>/dev/null; then
	programs+=(capable)
fi

start service setpriv --reuid=$caller --regid=$caller --clear-groups "$PWD/$ctxd" --socket="$work/caller/ctxd.sock" --log-level=debug
service=$started
await_line "$work/service.err" "event=start "
chmod 666 "$work/caller/ctxd.sock"
[[ ! -e /run/ctxd.sock ]] || { echo "there is a service of root"; exit 77; }

# says PROGRAM VARIABLE...: what it says when the caller sets these.
says() { as_caller env "${@:2}" "$work/$1"; }
socket=CTXD_SOCKET=$work/caller/ctxd.sock
[[ $(says plain "$socket" CTXRING_TABLE=0) == "secure=0 table=0 connected=1" ]] || fail "the variables do nothing"
explained="ctxring: ctx_err returned -EINVAL: argument ctx is NULL; called at 0x"
says plain CTXRING_DEBUG=1 2>"$work/explained" >&2
grep -qx "$explained[0-9a-f]*" "$work/explained" || fail "CTXRING_DEBUG=1 does nothing: $(<"$work/explained")"
for program in "${programs[@]}"; do
	says "$program" CTXRING_DEBUG=1 2>"$work/explained" >"$work/out"
	[[ ! -s $work/explained ]] || fail "$program explains to its caller: $(<"$work/explained")"
	for variables in "$socket" "XDG_RUNTIME_DIR=$work/caller" "CTXRING_TABLE=0" "CTXRING_PUBLISH=1 $socket"; do
		# shellcheck disable=SC2086
		out=$(says "$program" $variables)
		[[ $out == "secure=1 table=1 connected=0" ]] || fail "$program with $variables: $out"
	done
	# Nobody but the plain one came.
	[[ $(grep -c event=connected "$work/service.err") == 1 ]] || fail "$program connected to its caller's service"
done

cp $ctxd "$work/setuid-ctxd"
chown $privileged "$work/setuid-ctxd"
chmod 4755 "$work/setuid-ctxd"
echo "nonsense" >"$work/caller/ctxd.conf"
status=0
as_caller env XDG_CONFIG_HOME="$work/caller" "$work/setuid-ctxd" --check-config >/dev/null 2>"$work/check" || status=$?
[[ $status == 0 ]] || fail "ctxd reads the configuration of its caller: $status $(<"$work/check")"

kill -TERM "$service"
ended "$service"
[[ $status == 0 ]] || fail "ctxd ended with status $status"
echo "${programs[*]}: the caller's variables do nothing"
