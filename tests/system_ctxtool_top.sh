#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool top in a real terminal, which tmux keeps: what is on the screen at three sizes, each key, the filter and its
# mistakes, panes, tabs, trees, the mouse, cancelling, resizing, and the terminal afterwards.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxd $ctxtool
skip_without_uring
command -v tmux >/dev/null || { echo "no tmux(1)"; exit 77; }
export CTXD_SOCKET=$work/ctxd.sock LC_ALL=C.UTF-8
unset NO_COLOR COLORFGBG COLUMNS LINES TMUX

tm() { tmux -S "$work/tmux" -f /dev/null "$@"; }
trap 'tm kill-server 2>/dev/null; cleanup' EXIT
screen() { tm capture-pane -p -t top "$@"; }
# shows_now PATTERN: whether a line of the screen matches. The shell compares, because looks are many.
shows_now() {
	local line
	while IFS= read -r line; do
		[[ $line =~ $1 ]] && return
	done < <(screen)
	return 1
}
# until_shown COMMAND...: as until_true of 30 seconds, and asks less often, since each look at the screen starts a program.
until_shown() {
	local end=$((SECONDS + 30))
	until "$@"; do
		((SECONDS <= end)) || return 1
		sleep 0.05
	done
}
shows() { until_shown shows_now "$1" || fail "${2:-the screen} does not show \"$1\": $(screen)"; }
hides_now() { ! shows_now "$1"; }
hides() { until_shown hides_now "$1" || fail "${2:-the screen} still shows \"$1\": $(screen)"; }
press() { tm send-keys -t top "$@"; }
# line N: the N-th line of the screen, from 1 on.
line() { screen | sed -n "$1p"; }
line_now() {
	local lines
	mapfile -t lines < <(screen)
	[[ ${lines[$1 - 1]-} =~ $2 ]]
}
line_shows() { until_shown line_now "$1" "$2" || fail "line $1 does not show \"$2\": $(screen)"; }
# click X Y, wheel_down X Y: the mouse at a column and line, from 1 on, in the bytes that terminals of TERM=screen send.
mouse() { printf -v bytes '\\x%02x' "$1" $(($2 + 32)) $(($3 + 32)); press -l "$(printf '\e[M%b' "$bytes")"; }
click() { mouse 32 "$@"; mouse 35 "$@"; }
wheel_down() { mouse 97 "$@"; }
# at WORD: the column of the word in the line of titles.
at() { local before; before=$(line 4); before=${before%%"$1"*}; echo $((${#before} + 1)); }
resize() { tm resize-window -t top -x "$1" -y "$2"; }
# run_top OPTION...: runs it in a shell of the terminal, which goes on after it.
run_top() { press -l "$ctxtool top --pid $pid --watch=0.2 $*; echo status=\$?"; press Enter; }

${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/tool_target.c build/libctxring.a -luring -pthread \
	-o "$work/tool_target" || fail "the target does not compile"
start ctxd $ctxd --loop=poll
await_line "$work/ctxd.err" "event=start "
start target env CTXRING_PUBLISH=1 "$work/tool_target"
pid=$started
await_line "$work/target.out" "ready"
published() { $ctxtool stats | grep -q "1 published"; }
until_true 30 published || fail "it is not published"
tm new-session -d -s top -x 80 -y 24 "PS1='\$ ' exec bash --norc --noprofile -i" || fail "tmux does not start"
tm set-option -q -t top status off
shows '^\$ *$'
press -l "stty -g >$work/before"
press Enter
run_top

# ---- three sizes: at each of them the operation shows
shows "GET a +RECV fd"
line_shows 1 "1 process +1 ring +6 contexts +6 live"
line_shows 2 "60 in flight +[▁▂▃▄▅▆▇█]+ +.* ends/s"
line_shows 3 "1 Contexts +2 Processes +3 Labels +4 Users"
line_shows 4 "ID .*STATE.* OPS▼ +WAIT LABEL +OLDEST OPERATION"
line_shows 5 "live .* 30 .*GET [ab] +RECV fd"
line_shows 24 "Enter details"
hides "PROCESS"
resize 100 30
shows "ID +PROCESS .* OPS▼ +WAIT LABEL +OLDEST OPERATION"
shows "tool_ta.*GET a +RECV fd"
line_shows 30 "Enter details"
resize 200 50
shows "ID +PROCESS +USER +STATE +AGE +LEFT +OPS▼ +WAIT LABEL +OLDEST OPERATION"
shows "tool_target +$(id -un) .*GET a +RECV fd [0-9]+ unix"
line_shows 50 "Enter details"
resize 44 9
shows "OPS▼ .*LABEL +OLDEST"
shows "GET a"
resize 30 7
line_shows 1 "30x7 is too small: 40x8"
resize 80 24
shows "GET a +RECV fd"

# ---- order
press s
line_shows 4 "WAIT▼"
press S
line_shows 4 "WAIT▲"
click "$(at AGE)" 4
line_shows 4 "AGE▼"
click "$(at AGE)" 4
line_shows 4 "AGE▲"
click "$(at OPS)" 4
line_shows 4 "OPS▼"

# ---- the bar, details and help
line_shows 5 "GET a"
press j Enter
shows "^Details"
shows "context $pid:.* \"GET b\""
press End
shows "RECV fd.* on ring fd"
press Escape
hides "^Details"
click 20 5
press Enter
shows "context $pid:.* \"GET a\""
press q
hides "^Details"
press ?
shows "^Help"
shows "arrows j k PgUp PgDn"
hides "freed, per second"
press End
shows "freed, per second"
press Home
shows "arrows j k PgUp PgDn"
wheel_down 10 10
hides "arrows j k PgUp PgDn"
press ?
hides "^Help"

# ---- filter
press / 'label="GET b"' Enter
shows 'filter: label="GET b"'
hides "GET a"
press Escape
shows "GET a"
press / 'label=x andd op=RECV' Enter
shows "at [0-9]+: "
press BSpace
hides "at [0-9]+: "
press C-u 'colour=red' Enter
shows "at 1: unknown key 'colour'"
press C-u 'ops>0' Enter
hides "twin"
shows "GET b"
press Escape
shows "twin"

# ---- trees: a folded row has the sums of what it hides
press t
line_shows 3 " trees"
shows "▾conn"
line_shows 5 " 0 .*▾program"
press Home ' '
shows "▸program \(5 below\) +RECV fd"
line_shows 5 " 60 "
hides "GET a"
press ' '
shows "GET a"
press t
line_shows 3 "Users *$"

# ---- tabs
press 2
line_shows 4 "PID +PROCESS.*LIVE +OPS▼"
line_shows 5 "$pid +tool_target .* 6 +60 "
press Enter
shows "^Details"
shows "process $pid tool_target"
press Escape
press Tab
line_shows 4 "^LABEL +LIVE +OPS▼ .*WAIT +BEGUN/s +ENDED/s"
line_shows 5 "^GET [*a] +[12] +[36]0 "
press Enter
shows 'filter: label="GET [*a]"'
line_shows 5 "GET a"
hides "twin"
press Escape
click 40 3
line_shows 4 "^USER +LIVE +OPS▼"
line_shows 5 "^$(id -un) +6 +60 "
press Enter
shows "filter: user="
press Escape
hides "filter:"

# ---- cancel
press / '"GET b"' Enter
hides "GET a"
press c
line_shows 24 'End .*GET b.*30 operations'
press n
line_shows 24 "not cancelled"
press c
line_shows 24 "y/N"
press y
line_shows 24 "ended in 1 process; 30 operations reaped: 30 cancelled"
shows "cancelle.*GET b .* ECANCELED"
press p
line_shows 3 "paused"

# ---- stopping, going on, and ending
press C-z
shows "Stopped"
press -l 'fg' 
press Enter
shows "1 Contexts"
line_shows 3 "paused"
press q
hides "1 Contexts"
press C-l
press -l 'echo after=$?'
press Enter
shows "after=0"
ends_by() {
	press C-l
	run_top
	shows "1 Contexts"
	"$@"
	shows "status=0" "after $*, the screen"
	hides "1 Contexts"
}
ends_by press C-c
signal_top() { kill "-$1" "$(pgrep -x ctxtool -P "$(tm display-message -p -t top '#{pane_pid}')")"; }
ends_by signal_top TERM
ends_by signal_top HUP
press -l "stty -g >$work/after"
press Enter
until_true 30 test -s "$work/after" || fail "the shell does not answer: $(screen)"
cmp "$work/before" "$work/after" || fail "the terminal is not as before"

# ---- other terminals and locales
press C-l
run_top --count=1 --theme=mono
shows "status=0"
press C-l
press -l "export LC_ALL=C"
press Enter
run_top --by=label --theme=light "'ops>0'"
line_shows 3 "filter: ops>0"
line_shows 4 "^LABEL +LIVE +OPSv"
press q
shows "status=0"
for term in dumb ''; do
	press C-l
	press -l "TERM=$term $ctxtool top; echo status=\$?"
	press Enter
	shows "ctxtool ls --watch"
	shows "status=2"
done

# ---- in a pipe
COLUMNS=80 $ctxtool top --pid "$pid" -n 1 >"$work/plain"
grep -q -E "GET a +RECV fd" "$work/plain" || fail "in a pipe: $(cat "$work/plain")"
awk 'length > 80 { bad = 1 } END { exit bad }' "$work/plain" || fail "wider than 80: $(cat "$work/plain")"
! grep -q $'\e' "$work/plain" || fail "the cursor is moved in a pipe: $(cat -v "$work/plain")"
$ctxtool top --pid "$pid" -n 1 | grep -q -E "PROCESS +USER +STATE.*OLDEST" || fail "a pipe without width has not all columns"
$ctxtool top --by=user --pid "$pid" -n 1 | grep -q -E "^$(id -un) +[0-9]+ +30 " || fail "no sums by user"
! $ctxtool top --pid "$pid" -n 1 'label="GET a"' | grep -q twin || fail "the selection selects nothing"
! $ctxtool top --by=day -n 1 >/dev/null 2>"$work/err" || fail "--by=day is taken"
grep -q "process, label or user" "$work/err" || fail "--by=day: $(cat "$work/err")"
! $ctxtool top --theme=pink -n 1 >/dev/null 2>&1 || fail "--theme=pink is taken"
echo "top: as its manual says"
