#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A server, a backend and ctxd, while others keep ctxd busy: it is killed and started again, and ctxtool shows the same
# tree; ids of its earlier life are refused; a stopped owner is listed, and who joined it can be cancelled. Once
# more with a ctxd that may not use io_uring.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=examples/across.sh
. examples/across.sh
need $bin/{across_server,across_backend} $ctxtool $ctxd build/tests/deny_uring
skip_without_uring
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/busy.c build/libctxring.a -luring -pthread \
	-o "$work/busy" || fail "the load does not compile"
say() { printf '  %s\n' "$*"; }
run() { status=0; out=$(timeout 60 "$@" 2>&1 </dev/null) || status=$?; }

# What is shared and joined, without what changes by itself: times, and the ids that a life of ctxd gives.
tree() {
	timeout 60 $ctxtool tree --pid "$server_pid" --pid "$backend_pid" 2>&1 | grep -E "live|shared|joined by" |
		sed -E 's/, [^,]* old//; s/\([0-9a-f]+-[0-9a-f]+\)/(ID)/; s/table .* old//'
}
is_same() { [[ $(tree) == "$before" ]]; }

restart() {
	before=$(tree)
	[[ $before == *"$request"*"shared as"*"1 joined"* ]] || fail "the tree before: $before"
	old_id=$id
	leave "$ctxd_pid"
	[[ $(tree) == *"$request"* ]] || fail "without ctxd nothing is shown"
	start "ctxd$1" "$ctxd"
	ctxd_pid=$started
	until_true 30 is_same || fail "the tree before: $before; and after: $(tree)"
	run $ctxtool cancel "$old_id"
	[[ $status == 1 && $out == *"earlier life"* ]] || fail "the old id: $status $out"
	say "the same tree after ctxd was started again"
}

stopped_owner() {
	kill -STOP "$server_pid"
	grep -q "\"$request\" live.* shared as .*1 joined" <<<"$(tree)" || fail "a stopped owner is not listed: $(tree)"
	run $ctxtool cancel "$context" --cause "its owner hangs"
	[[ $out == *"1 did not answer"* ]] || fail "cancel of a stopped owner's: $status $out"
	await_line "$work/backend.err" "event=end request=$id .*its owner hangs"
	say "who joined a stopped process was cancelled"
	kill -CONT "$server_pid"
	await_line "$server_log" "event=end request=$request .*its owner hangs"
	gone_client
}

# The id that the shared request has now.
new_id() { $ctxtool tree --pid "$server_pid" | grep -oE '\([0-9a-f]+-[0-9a-f]+\)' | tr -d '()' | tail -n 1; }

all() {
	local busy=() pid
	rm -f "$work/backend.port"
	start_across
	for i in 1 2 3; do
		start "busy$i" nice -n 10 "$work/busy"
		busy+=("$started")
		await_line "$work/busy$i.out" ready
	done
	ask 20
	for i in 1 2 3; do
		restart "$i"
	done
	stopped_owner
	for pid in "${busy[@]}"; do
		gone "$pid" && fail "the load ended: an end did not arrive"
		leave "$pid"
	done
	leave "$server_pid"
	stop_across
}

echo "ctxd on its ring"
all
echo "ctxd that may not use io_uring"
printf '#!/bin/sh\nexec %q %q\n' "$PWD/build/tests/deny_uring" "$PWD/$ctxd" >"$work/denied"
chmod +x "$work/denied"
ctxd=$work/denied
all
grep -q "loop=poll reason=" "$work/ctxd.err" "$work/ctxd1.err" || fail "it does not say how it serves: $(<"$work/ctxd1.err")"
echo "ctxd: killed and started again under load"
