#!/bin/bash
# SPDX-License-Identifier: MIT
#
# zsh itself, on a terminal of its own, completes the commands and options of ctxtool, and those of ctxd and ctxd-fleet: those
# that --help lists. In place of adding what matches, compadd prints it.

set -u
cd "$(dirname "$0")/.." || exit
command -v zsh >/dev/null || { echo "there is no zsh"; exit 77; }
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool

cat >"$work/inside.zsh" <<'END'
PROMPT= RPROMPT=
path=($PWD/build $path)
# The whole of the completion system takes a second to load.
fpath=($PWD/tools/completion ${(M)fpath:#*/Completion(|/Base)})
autoload -Uz compinit
compinit -u -D
bindkey '^I' complete-word
bindkey '^U' kill-buffer
zstyle ':completion:*' insert-tab false
# Each is called once.
mark-begin () { print -r -- "=mark="; compprefuncs=(mark-begin) }
mark-end () { print -r -- "=mark="; comppostfuncs=(mark-end) }
mark-begin
mark-end
compadd () {
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
		builtin compadd "$@"
		return
	fi
	typeset -a hits
	builtin compadd -A hits "$@"
	(( $#hits )) && print -rl -- "=hit= "$^hits
}
print ready
END
cat >"$work/ask.zsh" <<'END'
# ask.zsh DIRECTORY LINE...: prints "LINE hit" for each hit of each line.
zmodload zsh/zpty
directory=$1
shift
zpty shell "TERM=dumb zsh -f -i"
zpty -w shell "source $directory/inside.zsh"
until [[ $answer == *ready[[:space:]]* && $answer != *source* ]]; do zpty -r shell answer || exit 1; done
for line; do
	zpty -w -n shell $'\C-u'"$line"$'\t'
	marks=0
	while ((marks < 2)) && zpty -r shell answer; do
		[[ $answer == *=mark=* ]] && ((marks++))
		[[ $answer == *"=hit= "* ]] && print -r -- "$line	${${answer##*=hit= }%%[[:space:]]*}"
	done
done
zpty -d shell
END

commands=$($ctxtool --help | sed -nE 's/^  ([a-z]+) .*/\1/p' | sort)
lines=("ctxtool ")
for command in $commands; do lines+=("ctxtool $command --"); done
daemons=()
for program in ctxd ctxd-fleet; do [[ ! -x build/$program ]] || daemons+=("$program"); done
for program in "${daemons[@]}"; do lines+=("$program --"); done
timeout 60 zsh -f "$work/ask.zsh" "$work" "${lines[@]}" >"$work/hits" 2>"$work/err" </dev/null || fail "zsh: status $?: $(<"$work/err")"

failed=0
# same WHAT EXPECTED LINE: what zsh offers for the line.
same() {
	local difference
	difference=$(diff <(sort -u <<<"$2") <(sed -nE "s/^$3\t(-*[a-z-]+).*/\1/p" "$work/hits" | sort -u) | sed -n 's/^</missing:/p; s/^>/not there:/p')
	[[ -z $difference ]] || { echo "FAILED: $1:"; echo "$difference"; failed=1; }
}
options_of() { "$@" --help | sed -nE 's/^ +(-[a-zA-Z], )?(--[a-z-]+).*/\2/p'; }
same "commands" "$commands" "ctxtool "
for command in $commands; do same "options of $command" "$(options_of $ctxtool "$command")" "ctxtool $command --"; done
for program in "${daemons[@]}"; do same "options of $program" "$(options_of "build/$program")" "$program --"; done
[[ $failed == 0 ]] && echo "zsh offers the commands and options that there are"
exit $failed
