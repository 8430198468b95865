#!/bin/bash
# SPDX-License-Identifier: MIT
#
# One language of selection in all commands of ctxtool, on real processes: what it selects is the same in ls, tree, stats, leaks,
# cancel and watch; columns and their order; and what is said about mistakes.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
skip_without_uring
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/tool_target.c build/libctxring.a -luring -pthread \
	-o "$work/target_one" || fail "the target does not compile"
cp "$work/target_one" "$work/target_two"
export CTXD_SOCKET=$work/ctxd.sock CTXRING_PUBLISH=1

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
lacks() { [[ $2 != *"$3"* ]] || fail "$1: \"$2\" has \"$3\""; }
run() { status=0; out=$("$@" 2>&1 </dev/null) || status=$?; }

start ctxd $ctxd
service=$started
await_line "$work/ctxd.err" "event=start "
for name in one two; do
	start $name "$work/target_$name"
	await_line "$work/$name.out" "ready"
	[[ $name == one ]] && one=$started || two=$started
done
both="pid=$one,$two"
published() { [[ $(timeout 30 $ctxtool watch --initial --count 2 "$both" 2>/dev/null | grep -c connected) == 2 ]]; }
until_true 20 published || fail "the targets are not published"

# Each target has "program" > "conn" > "GET a", "GET b" with 30 receives each; and "twin" twice below "program".
labels() { $ctxtool ls --no-header --columns=label --sort=label "$@" 2>"$work/labels.err" | tr '\n' ' '; }

echo "what is selected"
is "a process" "$(labels "pid=$one")" "GET a GET b conn program twin twin "
is "a number alone" "$(labels "$one")" "GET a GET b conn program twin twin "
is "two numbers" "$(labels "$one" "$two" | wc -w)" 16
is "a glob" "$(labels "$both" and "label=GET*" and comm=target_one)" "GET a GET b "
is "a label with a blank" "$(labels "pid=$one" 'label="GET a"')" "GET a "
is "several values" "$(labels "pid=$one" "label=conn,twin")" "conn twin twin "
is "an id" "$(labels "$($ctxtool ls -NC id "pid=$one" label=conn)")" "conn "
is "an opcode" "$(labels "pid=$one" op=recv)" "GET a GET b "
is "not" "$(labels "pid=$one" and not '(op=RECV or label=twin)')" "conn program "
is "a count" "$(labels "pid=$one" "ops>29" "label!=GET?b")" "GET a "
is "a descriptor" "$(labels "pid=$one" "fd~unix" "label~b")" "GET b "
is "another descriptor" "$(labels "pid=$one" "fd~:5432")" ""
is "a user" "$(labels "pid=$one" "user=$(id -un)" "user=$(id -u)" label=conn)" "conn "
is "an age" "$(labels "pid=$one" older=0 younger=1h 'left!=none')" ""
is "a state" "$(labels "pid=$one" 'state=live|stuck' kind=cancel left=none label=conn)" "conn "
is "cause" "$(labels "pid=$one" cause=call,deadline or "pid=$one" error!=ECANCELED label=conn)" "conn "

echo "the same in every command"
is "a pattern alone" "$($ctxtool cancel -n --pid "$one" "GET*" | wc -l)" 2
expression=("$both" and '(label=GET*' or 'label=twin)' and not "pid=$two")
is "ls" "$($ctxtool ls -N "${expression[@]}" | wc -l)" 4
is "tree" "$($ctxtool tree -j "${expression[@]}" | grep -c '"selected": true')" 4
is "stats" "$($ctxtool stats -j "${expression[@]}" | grep -o '"live": [0-9]*' | head -n 1)" '"live": 4'
has "stats" "$($ctxtool stats -j "${expression[@]}")" '"operations": 60, '
is "leaks" "$($ctxtool leaks -N --older=0.000001 "${expression[@]}" | wc -l)" 4
run $ctxtool cancel --dry-run "${expression[@]}"
is "cancel" "$(grep -c "would end" <<<"$out")" 4
is "show of ls --json" "$($ctxtool ls -j "${expression[@]}" | grep -c '"label"')" 4

echo "a tree keeps what the selected contexts stand below"
tree=$($ctxtool tree "pid=$one" 'label=GET a' 2>&1)
has "a value with a blank" "$tree" "'and' or 'or' is missing here"
tree=$($ctxtool tree "pid=$one" 'label="GET a"')
has "tree" "$tree" "1 of 6 contexts, 1 live, 30 operations in flight"
is "tree: operations" "$(grep -c RECV <<<"$tree")" 30
has "tree: above" "$tree" '"conn" live'
lacks "tree: beside" "$tree" twin
lacks "tree: beside" "$tree" "GET b"

echo "columns"
run $ctxtool ls --columns=label,process,pid,uid --sort=-label "pid=$one" label!=twin
is "columns" "$(head -n 2 <<<"$out" | tr -s ' ')" $'LABEL PROCESS PID UID\nprogram target_one '"$one $(id -u)"
is "order" "$(awk 'NR > 1 {print $1}' <<<"$out" | tr '\n' ' ')" "program conn GET GET "
has "default columns" "$($ctxtool ls "pid=$one" | head -n 1)" "USER"
run $ctxtool ls --columns=lable
is "no such column: status" "$status" 2
has "no such column" "$out" "there is no column 'lable'; did you mean 'label'?"
run $ctxtool leaks --sort=hue
has "no such column to sort by" "$out" "there are id, state, age, left, ops, user, process, label, cause, "

echo "the service's own contexts"
is "left out" "$(labels "comm=ctxd" "pid=$service")" ""
[[ -n $(labels --all "comm=ctxd" "pid=$service") ]] || fail "--all shows no context of ctxd"

echo "mistakes"
run $ctxtool ls "$both" and 'lable=/slow'
is "an unknown key: status" "$status" 2
is "an unknown key" "$(head -n 3 <<<"$out")" "ctxtool ls: unknown key 'lable'; did you mean 'label'?
  $both and lable=/slow
  ${both//?/ }     ^"
for command in tree stats leaks "cancel --yes" watch; do
	# shellcheck disable=SC2086
	run $ctxtool $command 'state=alive'
	is "$command: status" "$status" 2
	has "$command" "$out" $'\'alive\' is no state; did you mean \'live\'?\n  state=alive\n        ^'
done
run $ctxtool watch op=RECV
has "what the service does not know" "$out" "'op' is not known of an event"
run $ctxtool ls "pid=$one" label=nothing
is "nothing selected: status" "$status" 1
has "nothing selected" "$out" "nothing is selected by: pid=$one label=nothing"

echo "watch"
run timeout 20 $ctxtool watch --initial --utc --count 1 "comm=target_two" and "pid=$two"
is "watch: status" "$status" 0
[[ $out =~ ^[0-9:]{8}Z\ connected.*\ $two\ target_two$ ]] || fail "watch: $out"

echo "cancel"
run $ctxtool cancel "pid=$one" label=GET*
is "unasked: status" "$status" 2
has "unasked" "$out" "\"GET a\""
has "unasked" "$out" "\"GET b\""
has "unasked" "$out" "this ends several contexts"
run $ctxtool cancel --pid "$one" --yes state=live
is "everything: status" "$status" 2
has "everything" "$out" "this selects every live context there is"
run $ctxtool cancel --yes --wait --cause "by selection" "$both" and label=GET*
is "cancel: status" "$status" 0
is "cancel" "$(grep -c "30 operations reaped" <<<"$out")" 4
is "their cause" "$(labels "pid=$one" 'cause~"by selection"' state=done)" "GET a GET b "
run $ctxtool cancel --pid "$one" --yes --all state=live
is "everything with --all: status" "$status" 0
is "one root ends all" "$(grep -c " ended in " <<<"$out")" 1
is "nothing lives" "$(labels "pid=$one" state=live)" ""
echo "all commands select alike"
