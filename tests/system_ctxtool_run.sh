#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool run: beside timeout(1), nesting, reports, signals, a terminal, cancel with and without the service, and
# that nothing is left.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE tests/support/programs/terminal.c -o "$work/terminal" || fail "terminal does not compile"
export CTXD_SOCKET=$work/ctxd.sock
unset CTXRING_CONTEXT CTXRING_PUBLISH

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
run() { status=0; out=$("$@" 2>&1 </dev/null) || status=$?; }
is_json() { python3 -m json.tool >/dev/null 2>&1 <<<"$1"; }
# Processes whose command line has this mark, which each test chooses for itself.
marked() { pgrep -f "[s]leep $1" >/dev/null; }
none() { ! marked "$1"; }
mark() { echo "1$((RANDOM + 32768))$((RANDOM + 32768)).$1"; }

echo "exit codes, beside timeout(1)"
printf 'no program\n' >"$work/file"
mkdir "$work/directory"
same() {
	local ours=0 theirs=0
	timeout "$@" >/dev/null 2>&1 </dev/null || theirs=$?
	local duration kill=()
	while [[ $1 == -[ks] ]]; do
		kill+=("$1" "$2")
		shift 2
	done
	duration=$1
	shift
	$ctxtool run "${kill[@]}" -t "$duration" "$@" >/dev/null 2>&1 </dev/null || ours=$?
	is "exit code of $duration ${kill[*]} $*" "$ours" "$theirs"
}
same 10 true
same 10 false
same 0 sh -c 'exit 42'
same 0.2 sleep 10
same .2s sleep 10
same 10 "$work/none"
same 10 "$work/file"
same 10 "$work/directory"
same 10 none-of-that-name
same 10 sh -c 'kill -TERM $$'
same 10 sh -c 'kill -KILL $$'
same 10 sh -c 'kill -USR1 $$'
same 0.2 sh -c 'trap "exit 3" TERM; sleep 10 & wait'
same -s CONT -k 0.2 0.2 sleep 10
same -s KILL 0.2 sleep 10
same -s INT 0.2 sleep 10
same nonsense true
same -- true
run $ctxtool run
is "no command" "$status" 125
run $ctxtool run --none true
is "unknown option" "$status" 125
run $ctxtool run --signal=NONE true
is "unknown signal" "$status" 125
run $ctxtool run --report="$work/none/file" true
is "report that cannot be written" "$status" 125
run $ctxtool run "$work/file"
has "no rights" "$out" "chmod +x"
run $ctxtool run -- none-of-that-name
has "no program" "$out" "\$PATH"

echo "durations"
for duration in 30 30.5 .5m 30s 2m 1h 1d 0 0.5h 1h30m 1d2h3m4s5ms 30250ms 30000000us 1m.5s 1e2m30s inf 99999999d; do
	run $ctxtool run -t "$duration" true
	is "duration $duration" "$status" 0
done
for duration in "" s 5x 1m1h 1h30 1ms1ms -1 nan 1..5 "5 s" 1hh "1h 30m" 1h+30m 1h-30m; do
	run $ctxtool run -t "$duration" true
	is "duration \"$duration\"" "$status" 125
	has "duration \"$duration\"" "$out" "ctxtool run: "
done
run $ctxtool run -t 1ms sleep 10
is "a millisecond" "$status" 124

echo "nesting"
# The outer one only says hello at the deadline: so it is the inner one that ends the command.
run $ctxtool run -t 2 -s CONT -k 60 $ctxtool run -r -t 20 sleep 20
is "outer deadline: status" "$status" 124
has "outer deadline" "$out" "deadline of the run around it"
run $ctxtool run -r -t 20 sh -c "$ctxtool run -r -t 1 sleep 20; exit 6"
is "inner deadline: status" "$status" 6
has "inner deadline" "$out" "sleep: stopped: deadline; SIGTERM"
has "inner deadline" "$out" "sh: exited with 6"
run env CTXRING_CONTEXT='v=1;nonsense' $ctxtool run true
is "hostile context: status" "$status" 0
has "hostile context" "$out" "not understood"
# What only describes whoever started it does not make it forget the time; and what goes on to the command is well-formed.
trace=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7
run env CTXRING_CONTEXT="v=1;label=%zz;left=2000000000;trace=$trace-ff;id=-;state=a%0D%0Ab;val.user=%zz" \
	$ctxtool run -r sh -c 'echo $CTXRING_CONTEXT; sleep 20'
is "partly hostile context: status" "$status" 124
has "partly hostile context" "$out" ";trace=${trace:0:36}"
[[ $out =~ \;trace=[0-9a-f-]{53}01 && $out != *state=* && $out != *zz* ]] || fail "partly hostile context: $out"

echo "nothing is left behind"
for how in "" --no-cgroup; do
	m=$(mark 1)
	start tree $ctxtool run $how -r -k 0.3 sh -c "(setsid sleep $m &); (setsid sh -c 'trap \"\" TERM; echo ready; sleep $m; sleep $m' &); sleep $m"
	await_line "$work/tree.out" ready
	kill -ALRM "$started"
	ended "$started"
	is "tree $how: status" "$status" 124
	has "tree $how" "$(<"$work/tree.err")" "after the grace SIGKILL"
	none "$m" || fail "a descendant is left ($how)"
	run $ctxtool run $how -r sh -c "setsid sleep $m & setsid sleep $m & exit 4"
	is "left behind $how: status" "$status" 4
	has "left behind $how" "$out" "left 2 processes behind, ended"
	none "$m" || fail "what was left behind is left ($how)"
	m=$(mark 2)
	start "killed$how" $ctxtool run $how sh -c "(setsid sleep $m &); sleep $m"
	until_true 30 marked "$m" || fail "it does not start"
	kill -KILL "$started"
	ended "$started"
	until_true 30 none "$m" || fail "its tree outlives a killed run ($how)"
	m=$(mark 3)
	run $ctxtool run -t 0.4 -k 0.3 $how $ctxtool run $how -k 20 sh -c "trap '' TERM; setsid sleep $m; sleep $m" -k 20
	none "$m" || fail "a nested tree is left ($how)"
done
run $ctxtool run -k 0 -t 0.1 sh -c 'trap "exit 9" USR1; trap "sleep 0.2; kill -USR1 $$" TERM; while :; do sleep 0.05; done'
is "grace of 0 is no SIGKILL" "$status" 124

echo "reports"
run $ctxtool run --report="$work/report" --json -l 'a "label"' -t 1 sleep 20
is "JSON: nothing else is said" "$out" ""
is_json "$(<"$work/report")" || fail "not JSON: $(<"$work/report")"
python3 - "$work/report" <<'P' || fail "report: $(<"$work/report")"
import json, sys
report = json.load(open(sys.argv[1]))
assert report["result"] == "deadline" and report["exit"] == 124 and report["signal"] == "TERM"
assert report["label"] == 'a "label"' and report["stopped"] and not report["killed"]
assert report["cause"]["kind"] == "deadline" and report["cause"]["error"] == "ETIME"
assert 1e9 <= report["elapsed_ns"] < 30e9 and report["max_rss_kib"] > 0
P
run $ctxtool run --json none-of-that-name
is_json "$(tail -n 1 <<<"$out")" || fail "not JSON: $out"
has "not started" "$out" '"result":"not started","error":"ENOENT"'
run $ctxtool run --report sh -c 'exit 3'
has "report" "$out" "ctxtool run: sh: exited with 3 after "
is "standard input goes through" "$(echo through | $ctxtool run cat)" through

echo "signals"
# A shell starts what is in the background with SIGINT ignored, nohup(1) with SIGHUP.
start signals env --default-signal=INT,HUP $ctxtool run -r bash -c 'trap "echo usr1" USR1; trap "echo hup" HUP; trap "echo int; exit 8" INT; echo ready
	while :; do sleep 0.02; done'
await_line "$work/signals.out" ready
for signal in USR1 HUP INT; do
	kill -$signal "$started"
	await_line "$work/signals.out" "${signal,,}"
done
ended "$started"
is "passed on: status" "$status" 8
is "each once" "$(tr '\n' ' ' <"$work/signals.out")" "ready usr1 hup int "
start term $ctxtool run -r sh -c 'echo ready; exec sleep 20'
await_line "$work/term.out" ready
kill -TERM "$started"
ended "$started"
is "SIGTERM: status" "$status" 143
has "SIGTERM" "$(<"$work/term.err")" "SIGTERM from process $$"
run sh -c "trap '' HUP; exec $ctxtool run sh -c 'kill -HUP \$\$; exit 5'"
is "what is ignored stays so" "$status" 5

run perl -e 'alarm 1; exec @ARGV' $ctxtool run sleep 20
is "an alarm that was set before is the timeout" "$status" 124
run sh -c "exec $ctxtool run -r sh -c 'exit 3' <&- >&- 2>&-"
is "without descriptors: status" "$status" 3

echo "seen, and cancelled, without the service"
start alone $ctxtool run -r -l lonely sleep 20
seen() { $ctxtool tree --pid "$started" | grep -q "\"$1\" live"; }
until_true 30 seen lonely || fail "it is not in the tree"
run $ctxtool cancel --dry-run lonely
is "dry run: status" "$status" 0
kill -0 "$started" || fail "the dry run ended it"
run $ctxtool cancel lonely
is "cancel: status" "$status" 0
ended "$started"
is "cancelled: status" "$status" 143
has "cancelled" "$(<"$work/alone.err")" "stopped: call ECANCELED \"SIGTERM from process"

start around $ctxtool run -l around sh -c "$ctxtool run sh -c 'echo ready; exec sleep 20'"
await_line "$work/around.out" ready
run $ctxtool cancel around
is "cancel of a run around another: status" "$status" 0
ended "$started"
is "cancelled around another: status" "$status" 143

echo "with the service, which comes later"
start late $ctxtool run -r -l late sleep 20
late=$started
started=$late
until_true 30 seen late || fail "it is not in the tree"
start ctxd $ctxd
await_line "$work/ctxd.err" "event=start "
published() { $ctxtool stats | grep -q "1 published"; }
until_true 30 published || fail "it is not published"
run $ctxtool cancel late --cause "by hand" --error=EPIPE
is "cancel: status" "$status" 0
ended "$late"
is "cancelled: status" "$status" 143
has "cancelled" "$(<"$work/late.err")" "stopped: service EPIPE \"by hand\""

echo "at a terminal"
terminal() { status=0; out=$("$work/terminal" "$@" 2>&1) || status=$?; }
terminal $'+hello\n' =hello =hello $'+\x04' -- $ctxtool run cat
is "cat: status" "$status" 0
terminal =ready $'+\x03' =caught "~." =1 -- $ctxtool run bash -c \
	'n=0; trap "n=\$((n + 1)); echo caught" INT; echo ready; until read -n 1 -t 0.3 key; do :; done; echo; exec echo $n'
is "Ctrl-C reaches it once: status" "$status" 0
[[ $out == *caught*caught* ]] && fail "Ctrl-C came twice: $out"
terminal =ready $'+\x03' -- $ctxtool run sh -c 'echo ready; exec sleep 20'
is "Ctrl-C ends it: status" "$status" 130
PS1='$ ' terminal '=$' $'+echo $((6 * 7))\n' =42 $'+exit 5\n' -- $ctxtool run bash --norc --noprofile -i
is "an interactive shell: status" "$status" 5
# The command says when it runs, which is not to be mistaken for the echo of what was typed.
up="sh -c \"echo u''p; exec cat\""
PS1='$ ' terminal '=$' "+$ctxtool run $up"$'\n' =up $'+one\n' =one =one $'+\x1a' =Stopped '=$ ' $'~fg\n' '=fg' \
	'=exec cat' $'+two\n' =two =two $'+\x04' '=$' $'+echo status=$?\n' '=status=0' $'+exit\n' -- bash --norc --noprofile -i
is "Ctrl-Z and fg: status" "$status" 0
PS1='$ ' terminal '=$' "+$ctxtool run -r -t 3 $up"$'\n' =up $'+\x1a' =Stopped '=$ ' \
	'=deadline; SIGTERM' $'~\n' '=Exit 124' $'+exit 0\n' \
	-- bash --norc --noprofile -i
is "a deadline while it is stopped: status" "$status" 0
seq 1 500 >"$work/lines"
if command -v less >/dev/null; then
	TERM=xterm terminal =5 +G =500 +q -- $ctxtool run less "$work/lines"
	is "less: status" "$status" 0
fi

echo "help"
run $ctxtool run --help
is "help: status" "$status" 0
has "help" "$out" "Usage: ctxtool run"
compgen_has() {
	PATH=$(dirname "$ctxtool"):$PATH bash -c 'source tools/completion/ctxtool.bash; COMP_WORDS=(ctxtool "$@"); COMP_CWORD=$#; _ctxtool; printf "%s\n" "${COMPREPLY[@]}"' \
		_ "$@"
}
has "completion" "$(compgen_has run --)" "--timeout"
left=$(compgen -G "/sys/fs/cgroup/*/ctxring-*" || true)
for directory in $left; do
	[[ $(cat "$directory/cgroup.procs") ]] || fail "the cgroup $directory is left"
done
echo "ctxtool run: all as it should be"
