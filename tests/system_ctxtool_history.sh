#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool history: of live processes, of one that died (from the service), of a core file; and watch with contexts that nobody shares.

set -u
cd "$(dirname "$0")/.." || exit
time_max=100
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
skip_without_uring
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/tool_target.c build/libctxring.a -luring -pthread \
	-o "$work/tool_target" || fail "the target does not compile"
export CTXD_SOCKET=$work/ctxd.sock

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
lacks() { [[ $2 != *"$3"* ]] || fail "$1: \"$2\" has \"$3\""; }
run() { status=0; out=$("$@" 2>&1 </dev/null) || status=$?; }
is_json() { python3 -m json.tool >/dev/null 2>&1 <<<"$1"; }

echo "usage"
for wrong in --since=soon --pid=x --count=0 "label=" "left<1s"; do
	run $ctxtool history "$wrong"
	is "$wrong: status" "$status" 2
done
for wrong in --columns=time,hue --sort=-hue "--follow --sort=id" "--json --columns=id" "--json --sort=id"; do
	# shellcheck disable=SC2086 # several words
	run $ctxtool history $wrong
	is "$wrong: status" "$status" 2
done
run $ctxtool history -f -s id
has "--follow with --sort" "$out" "--follow prints ends as they happen: leave out --sort"
run $ctxtool history -C tim
has "a column that there is not" "$out" "there is no column 'tim'; did you mean 'time'?"
run $ctxtool history --pid $$
is "a process without a table: status" "$status" 1

start ctxd $ctxd
ctxd_pid=$started
await_line "$work/ctxd.err" "event=start "
start target env CTXRING_PUBLISH=1 "$work/tool_target"
await_line "$work/target.out" "ready"
pid=$started
published() { $ctxtool stats | grep -q "1 published"; }
until_true 30 published || fail "it is not published"
run $ctxtool history --pid "$pid"
is "nothing ended yet: status" "$status" 1

echo "live"
# Of several processes that are named, each is watched. What either prints first shows that it has read what was there before.
start watch $ctxtool watch --initial --pid="$pid" --pid=$$
watcher=$started
await_line "$work/watch.out" "connected.* $pid tool_target"
start follow $ctxtool history --follow --count=1 --pid="$pid" "label=GET*"
follower=$started
await_line "$work/follow.out" "TIME"
a=$($ctxtool ls --pid "$pid" | awk '/GET a/ {print $1; exit}')
run $ctxtool cancel "$a" --wait --cause "by hand" --error=EPIPE
is "cancel: status ($out)" "$status" 0
ended "$follower"
is "--follow: status" "$status" 0
has "--follow" "$(<"$work/follow.out")" 'service EPIPE "by hand"'
await_line "$work/watch.out" 'cancelled.*"GET a": service EPIPE "by hand" by process'
ends() { $ctxtool history --pid "$pid" --since=1m "$@"; }
seen() { ends | grep -q "GET a.*cancelled *30 "; }
until_true 30 seen || fail "no line of the end with its operations: $(ends 2>&1)"
out=$(ends)
has "who" "$out" "by process"
has "the process" "$out" "tool_target"
is "a selection" "$(ends --no-header 'label="GET b"' | wc -l)" 0
is "another" "$(ends --no-header 'label=GET* and cause=service and ops>20' | wc -l)" 1
is "by time" "$($ctxtool history --no-header --pid "$pid" --until=1h | wc -l)" 0
out=$(ends --json)
is_json "$out" || fail "--json: $out"
has "--json" "$out" '"text":"by hand"'
has "--json" "$out" '"operations":30'
[[ $(ends --no-header --utc) == *Z\ * ]] || fail "--utc: $(ends --no-header --utc)"

echo "columns and order"
start columns $ctxtool history --follow -n 1 -C label,ops,pid --pid="$pid" 'label="GET b"'
follower=$started
await_line "$work/columns.out" "LABEL"
run $ctxtool cancel "$($ctxtool ls --no-header --columns=id --pid "$pid" 'label="GET b"')" --cause "by hand"
is "cancel: status ($out)" "$status" 0
ended "$follower"
is "--follow --columns" "$(tr -s ' ' <"$work/columns.out")" "LABEL OPS PID
GET b 30 $pid"
labels() { ends --no-header --columns=label "$@" | tr '\n' ' '; }
is "no order" "$(labels)" "GET a GET b "
is "--sort=-time" "$(labels --sort=-time)" "GET b GET a "
is "--sort of equal lines" "$(labels --sort=ops,user,-pid,state)" "GET a GET b "
is "--sort by two columns" "$(labels --sort=ops,-label)" "GET b GET a "
is "-s and --count" "$(labels -s label -n 1)" "GET b "
for column in time id process user label state ops took cause pid uid site; do
	is "--sort=$column" "$(labels --sort="$column,label" | wc -w)" 4
done
out=$(ends --columns=pid,uid,user,process,state,site | head -n 1 | tr -s ' ')
is "the headings of other columns" "$out" " PID UID USER PROCESS STATE ENDED AT"
kill -TERM "$watcher"
ended "$watcher"
lacks "watch has no line of ctxtool itself" "$(<"$work/watch.out")" "ctxtool"

echo "dead"
kill -KILL "$pid"
ended "$pid"
dead() { $ctxtool last | grep -q "^$pid "; }
until_true 30 dead || fail "its table is not kept"
out=$(ends)
has "of a dead process" "$out" 'service EPIPE "by hand"'
lacks_service() { [[ $($ctxtool history --since=1m) != *" ctxd "* && $($ctxtool history --all --since=1m) == *" ctxd "* ]]; }
lacks_service || fail "the ends of the service are listed: $($ctxtool history --since=1m)"
has "of all, the dead one, too" "$($ctxtool history --since=1m)" "$pid:"
has "as JSON" "$(ends --json)" '"dead":true'
leave "$ctxd_pid"

echo "core"
pattern=$(cat /proc/sys/kernel/core_pattern)
if [[ $pattern == [\|/]* || $(ulimit -H -c) == 0 ]]; then
	echo "not tested: core_pattern is $pattern, and the limit of core files $(ulimit -H -c)"
	exit 0
fi
cat >"$work/dies.c" <<'END'
#include <ctxring.h>
#include <signal.h>
#include <errno.h>
int main(void)
{
	struct ctx_context *ctx;
	ctx_with_cancel(ctx_background(), "last request", &ctx);
	ctx_cancel_cause(ctx, -EIO, "before the crash");
	raise(SIGSEGV);
}
END
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude "$work/dies.c" build/libctxring.a -luring -pthread -o "$work/dies" ||
	fail "the dying program does not compile"
(cd "$work" && ulimit -c unlimited && echo 0x7f >/proc/self/coredump_filter && ./dies) >"$work/dies.out" 2>&1
core=$(find "$work" -maxdepth 1 -name 'core*' | head -n 1)
[[ -n $core ]] || fail "no core file with core_pattern $pattern"
run $ctxtool history --core "$core"
is "--core: status" "$status" 0
has "--core" "$out" 'call EIO "before the crash"'
has "--core" "$out" "last request"
