#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool with the service: cancel in all its forms, watch, stats, leaks, last; and what each says when something is missing.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
skip_without_uring
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/tool_target.c build/libctxring.a -luring -pthread \
	-o "$work/tool_target" || fail "the target does not compile"
export CTXD_SOCKET=$work/ctxd.sock

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
run() { status=0; out=$("$@" 2>&1 </dev/null) || status=$?; }
is_json() { python3 -m json.tool >/dev/null 2>&1 <<<"$1"; }

echo "without the service"
for command in "cancel x" watch last; do
	# shellcheck disable=SC2086
	run $ctxtool $command
	is "$command: status" "$status" 4
	has "$command" "$out" "start ctxd"
done
start ctxd $ctxd
await_line "$work/ctxd.err" "event=start "

# A target: "program" > "conn" > "GET a", "GET b" with 30 operations each; "twin" twice.
target() {
	start "target$1" env ${2:+CTXRING_PUBLISH=1} "$work/tool_target"
	await_line "$work/target$1.out" "ready"
	pid=$started
}
target 0 ""
run $ctxtool cancel "GET a"
is "not published: status" "$status" 1
has "not published" "$out" "CTXRING_PUBLISH=1"
leave "$pid"
target 1 published
published() { $ctxtool stats | grep -q "1 published"; }
until_true 30 published || fail "it is not published"
id_of() { $ctxtool ls --pid "$pid" | awk -v label="$1" '$0 ~ label {print $1; exit}'; }

echo "cancel"
run $ctxtool cancel
is "no operand" "$status" 2
run $ctxtool cancel "no such label"
is "unknown label" "$status" 1
run $ctxtool cancel --error=ENOTHING x
is "unknown error" "$status" 2
run $ctxtool cancel twin
is "two of a label: status" "$status" 2
has "two of a label" "$out" "several contexts have the label"
run $ctxtool cancel "$(id_of program)"
is "a root unasked: status" "$status" 2
has "a root unasked" "$out" "--yes"
run $ctxtool cancel --dry-run "GET a"
is "dry run: status" "$status" 0
has "dry run" "$out" "would end: 1 context with 30 operations in flight, in 1 process"
$ctxtool show "GET a" | grep -q "state *live" || fail "the dry run ended it"
a=$(id_of "GET a")
run $ctxtool cancel "$a" --wait --cause "by hand" --error=EPIPE
is "cancel: status" "$status" 0
has "cancel" "$out" "30 operations reaped: 30 cancelled, 0 finished first; 30 cancel SQEs in 1 system call"
has "its cause" "$($ctxtool show "$a")" 'service EPIPE "by hand"'
grep -q 'event=cancel .*context=\|event=cancel .*target=.*cause="by hand".*operations=30' "$work/ctxd.err" ||
	fail "no audit record: $(grep event=cancel "$work/ctxd.err")"
run $ctxtool cancel "$a"
is "twice: status" "$status" 1
run $ctxtool cancel --json --wait "GET b"
is "json: status" "$status" 0
is_json "$out" || fail "not JSON: $out"
has "json" "$out" '"operations": 30'
run $ctxtool cancel --all --yes twin
is "--all: status" "$status" 0
is "--all" "$(grep -c ended <<<"$out")" 2
run $ctxtool cancel --subtree --yes conn
is "--subtree of what has nothing live below: status" "$status" 1
run $ctxtool cancel --subtree --yes program
is "--subtree: status" "$status" 0
has "what is above lives" "$($ctxtool show "$(id_of program)")" "live"
run $ctxtool cancel --pid "$pid" --yes
is "--pid: status" "$status" 0
run $ctxtool cancel "$pid:99.1"
is "no such slot: status" "$status" 1
run $ctxtool cancel 1234567-1
is "an id of another life: status" "$status" 1
has "an id of another life" "$out" "earlier life"
leave "$pid"

start kept env CTXRING_PUBLISH=1 "$work/tool_target" kept
await_line "$work/kept.out" "ready"
until_true 30 published || fail "it is not published"
run $ctxtool cancel --dry-run --yes conn audit
has "what is kept from the end of conn is no part of it" "$out" "would end: 3 contexts with 60 operations"
run $ctxtool cancel --yes conn audit
is "both: status" "$status" 0
is "both" "$(grep -c ended <<<"$out")" 2
leave "$started"

start shared "$work/tool_target" shared
await_line "$work/shared.out" "ready"
id=$(sed -n 's/shared as //p' "$work/shared.out")
run $ctxtool cancel "$id"
is "a shared root unasked, by the service's id: status" "$status" 2
has "a shared root unasked, by the service's id" "$out" "6 contexts with 60 operations"
run $ctxtool cancel --yes "$id"
is "a shared root by the service's id: status" "$status" 0
leave "$started"

echo "watch"
start watch $ctxtool watch --all --initial
watcher=$started
start watch-json $ctxtool watch --json
json_watcher=$started
await_line "$work/watch.out" "connected.* $json_watcher ctxtool"
target 2 published
await_line "$work/watch.out" "connected.* $pid tool_target"
leave "$pid"
await_line "$work/watch.out" "disconnected.* $pid tool_target"
await_line "$work/watch.out" "died.* $pid tool_target"
for watching in "$watcher" "$json_watcher"; do
	kill -TERM "$watching"
	ended "$watching"
	is "watch: status" "$status" 0
done
grep -q '"event":"connected"' "$work/watch-json.out" || fail "watch --json: $(<"$work/watch-json.out")"
while read -r document; do
	is_json "$document" || fail "watch: not JSON: $document"
done <"$work/watch-json.out"

run $ctxtool watch --pid=4294967297
is "watch: a process id out of range" "$status" 2

echo "last"
kept() { $ctxtool last "$pid" >"$work/last" 2>&1; }
until_true 30 kept || fail "nothing is kept: $(<"$work/last")"
has "last" "$(<"$work/last")" '"GET b" live'
is "its operations" "$(grep -c RECV "$work/last")" 60
$ctxtool last | grep -q "^$pid tool_target" || fail "last does not list it"
run $ctxtool last --json "$pid"
is_json "$out" || fail "last --json: $out"
cp "$work/tool_target" "$work/odd\"name\\"
start odd env CTXRING_PUBLISH=1 "$work/odd\"name\\"
await_line "$work/odd.out" "ready"
pid=$started
until_true 30 published || fail "the one with an odd name is not published"
leave "$pid"
until_true 30 kept || fail "nothing is kept of the one with an odd name: $(<"$work/last")"
run $ctxtool last --json
is_json "$out" || fail "last --json: $out"
run $ctxtool last 1
is "nothing kept: status" "$status" 1
# One that exits in order is not among the dead, and one that crashes after it is.
start exits env CTXRING_PUBLISH=1 "$work/tool_target" exits
await_line "$work/exits.out" "ready"
exits=$started
until_true 30 published || fail "the one that exits is not published"
kill -TERM "$exits"
ended "$exits"
is "exit in order: status" "$status" 0
target 4 published
until_true 30 published || fail "it is not published"
leave "$pid"
until_true 30 kept || fail "nothing is kept of the one that died after an exit"
run $ctxtool last
[[ $out != *"$exits tool_target"* ]] || fail "an exit in order is called a death: $out"
run $ctxtool last "$exits"
is "after an exit in order: status" "$status" 1
has "after an exit in order" "$out" "ended by exit(3)"

echo "stats and leaks"
target 3 published
until_true 30 published || fail "it is not published"
run $ctxtool stats --pid "$pid"
has "stats" "$out" "60 in flight, RECV 60"
run $ctxtool stats --json --pid "$pid"
is_json "$out" || fail "stats --json: $out"
run $ctxtool stats --openmetrics --pid "$pid"
has "openmetrics" "$out" 'ctxring_operations{opcode="RECV"} 60'
has "bounded labels" "$out" "ctxring_live_contexts{process=\"tool_target\",pid=\"$pid\",label=\"GET a\"} 1"
is "its end" "$(tail -n 1 <<<"$out")" "# EOF"
run $ctxtool leaks --pid "$pid"
is "no leaks: status" "$status" 1
run $ctxtool leaks --older=0.000001 --pid "$pid"
is "leaks: status" "$status" 0
[[ $out =~ (tool_target|child)\+0x ]] || fail "the place: $out"
run $ctxtool leaks --older=0.000001 --json --pid "$pid"
is_json "$out" || fail "leaks --json: $out"
out=$($ctxtool leaks --json --pid $$ 2>/dev/null)
is "leaks --json of a process without contexts" "$out" "[]"
start labels "$work/tool_target" labels
await_line "$work/labels.out" "ready"
run $ctxtool stats --openmetrics --pid "$started"
has "a label that is called as the rest is" "$out" 'label="other"} 14'
is "series that are there twice" "$(grep -v '^#' <<<"$out" | sed 's/ [^ ]*$//' | sort | uniq -d)" ""
leave "$started"
for bytes in '\xff' '\\xff' '"' '\\' $'a\\nb' '\xe2\x80\x8b' '\xe2\x80\x8e' '\xd8\x9c' '\xef\xbb\xbf' '\xf3\xa0\x81\xa1' '\xc2\x9b' ''; do
	printf '%b\n' "$bytes"
done >"$work/odd-labels"
start odd-labels "$work/tool_target" "labels=$work/odd-labels"
await_line "$work/odd-labels.out" "ready"
run $ctxtool stats --openmetrics --pid "$started"
python3 tests/support/openmetrics.py <<<"$out" || fail "not OpenMetrics: $out"
is "a byte and the text that it looks like" "$(grep -c '^ctxring_live_contexts.*xff' <<<"$out")" 2
run $ctxtool ls --pid "$started"
LC_ALL=C grep -q $'\xe2\x80\x8b\|\xe2\x80\x8e\|\xd8\x9c\|\xef\xbb\xbf\|\xf3\xa0\|\xc2\x9b' <<<"$out" && fail "what is not seen is shown: $out"
run $ctxtool leaks --older=0.000001 --json --pid "$started"
is_json "$out" || fail "leaks --json of odd labels: $out"
leave "$started"

echo "what the command line says"
for command in $'no\033[31m' $'ls \033[31m' $'ls --\033' $'ls -\033' $'show \033[31m' $'show 1\033' $'cancel --yes \033[31m' $'cancel --pid=\033' \
	$'ls --core=\033[31m' $'watch pid=\033' $'doctor \033' $'last \033' $'leaks --older=\033' $'top --\033' $'stats -\033'; do
	# shellcheck disable=SC2086
	run $ctxtool $command
	[[ $status != 0 && $out != *$'\033'* ]] || fail "$(cat -v <<<"$command") is not escaped: $(cat -v <<<"$out")"
done

echo "a stopped process"
kill -STOP "$pid"
run $ctxtool cancel "GET a"
is "stopped: status" "$status" 3
has "stopped" "$out" "1 did not answer"
kill -CONT "$pid"
has_ended() { $ctxtool show "$(id_of "GET a")" | grep -q "cause *service"; }
until_true 30 has_ended || fail "it did not end when it went on"

echo "bash completion"
# shellcheck disable=SC1091
. tools/completion/ctxtool.bash
PATH=$PWD/build:$PATH
COMP_WORDS=(ctxtool can) COMP_CWORD=1
_ctxtool
is "a command" "${COMPREPLY[*]}" cancel
COMP_WORDS=(ctxtool show "$pid:") COMP_CWORD=2
_ctxtool
[[ ${#COMPREPLY[@]} -ge 3 ]] || fail "no ids: ${COMPREPLY[*]}"
if command -v zsh >/dev/null; then
	zsh -n tools/completion/_ctxtool || fail "the completion of zsh is not zsh"
fi
echo "ctxtool with the service: as its manual says"
