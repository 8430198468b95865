#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool run, and a link named timeout to ctxtool, beside timeout(1) of coreutils: the scenarios are in
# support/programs/beside_timeout.py. Then what needs a terminal, another locale, or an installed copy.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE tests/support/programs/terminal.c -o "$work/terminal" || fail "terminal does not compile"
export CTXD_SOCKET=$work/none.sock
unset CTXRING_CONTEXT CTXRING_PUBLISH
mkdir "$work/link"
ln -s "$PWD/$ctxtool" "$work/link/timeout"
link=$work/link/timeout

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }

TMPDIR=$work python3 tests/support/programs/beside_timeout.py $ctxtool || fail "it differs from timeout(1)"
# That bounds its own waits, and takes minutes on a machine with other work.
SECONDS=0

echo "at a terminal"
terminal() { status=0; out=$("$work/terminal" "$@" 2>&1) || status=$?; }
# In the background of an interactive shell, a command that reads from the terminal is stopped, and ended in time.
for subject in timeout "$link" "$ctxtool run"; do
	PS1='$ ' terminal '=$' "+$subject 0.3 cat & wait -f \$!; echo status=\$?"$'\n' '=status=124' $'+exit\n' \
		-- bash --norc --noprofile -i
	is "$subject: reads in the background: status" "$status" 0
done
# In a script that has the terminal, only one in its caller's group may read from it.
for subject in "timeout --foreground" "$link --foreground" "$ctxtool run"; do
	terminal $'+hello\n' =hello =got:hello -- sh -c "$subject 30 sh -c 'read line; echo got:\$line'; exit \$?"
	is "$subject: reads in the foreground: status" "$status" 0
done
for subject in timeout "$link" "$ctxtool run"; do
	terminal =ready $'+\x03' -- bash -ic "exec $subject 30 sh -c 'echo ready; exec sleep 30'"
	is "$subject: Ctrl-C: status" "$status" 130
done

echo "what it says, and in what language"
for name in de_DE.UTF-8 de_DE.utf8 fr_FR.UTF-8; do
	[[ $(LC_ALL=$name locale decimal_point 2>/dev/null) == , ]] || continue
	for number in 0,05 0.05; do
		status=0
		LC_ALL=$name "$link" $number sleep 30 || status=$?
		is "$number in $name: status" "$status" 124
	done
	break
done
has "help" "$("$link" --help)" "Usage: timeout"
has "version" "$("$link" --version)" "timeout (ctxtool)"
status=0
out=$($ctxtool run 5x none 2>&1) || status=$?
is "neither duration nor command: status" "$status" 125
has "neither duration nor command" "$out" "invalid time interval '5x', and there is no such command"
status=0
out=$($ctxtool run 10 2>&1) || status=$?
is "duration alone: status" "$status" 125
has "duration alone" "$out" "give a command"
is "a command that is a number" "$(cd "$work" && printf '#!/bin/sh\necho it\n' >10 && chmod +x 10 && "$OLDPWD/$ctxtool" run -t 0 ./10)" it

echo "what is not printed as it is"
odd=$'\e[31m\u200b'
for subject in "$link 30 $odd" "$link --none$odd 30 true" "$link -s $odd 30 true" "$link $odd true" "$ctxtool run $odd" \
	"$ctxtool run -j $odd" "$ctxtool run --none$odd true" "$ctxtool run -r/none/$odd true" "$ctxtool run 5x$odd true"; do
	# shellcheck disable=SC2086
	out=$($subject 2>&1 </dev/null)
	has "$subject" "$out" '\x1b[31m\xe2\x80\x8b'
	[[ $out != *"$odd"* ]] || fail "$subject: it is printed as it is: $(printf %q "$out")"
done

if unshare --pid --fork --mount-proc true 2>/dev/null; then
	echo "as the first process: its group is not all that there are"
	out=$(unshare --pid --fork --kill-child --mount-proc "$link" -s USR1 30 bash -c '
		trap "grep ^ShdPnd /proc/\$other/status; exit 3" USR1
		setsid env --block-signal=USR1 sleep 60 & other=$!
		until grep -q "^SigBlk:.*2..$" /proc/$other/status && [[ $(</proc/$other/comm) == sleep ]]; do :; done
		kill -ALRM 1; while :; do sleep 0.05; done')
	has "first process" "$out" 0000000000000000
fi

echo "reports"
status=0
out=$($ctxtool run -r 1 sleep 30 2>&1) || status=$?
has "deadline" "$out" "stopped: deadline; SIGTERM"
start alarm $ctxtool run -r sh -c 'echo ready; exec sleep 30'
await_line "$work/alarm.out" ready
kill -ALRM "$started"
ended "$started"
is "SIGALRM: status" "$status" 124
has "SIGALRM" "$(<"$work/alarm.err")" "SIGALRM from process $$"
out=$($ctxtool run -r -s 0 -k 0.05 1 sleep 30 2>&1)
has "no signal" "$out" "stopped: deadline; no signal, after the grace SIGKILL"
echo "timeout: all as it should be"
