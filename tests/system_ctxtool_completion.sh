#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What bash and zsh complete for ctxtool is what it takes: the commands, and of each command the long options, are those
# that --help lists, and each command has these options and no others: it names all when it is asked for one with an empty name.
# bash is asked; the file for zsh is read as text, so that the test needs no zsh.
#
# To start a process takes most of the time here, so what can be asked at once is asked at once.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
# shellcheck source=tools/completion/ctxtool.bash
. tools/completion/ctxtool.bash
# shellcheck source=tools/completion/ctxd.bash
. tools/completion/ctxd.bash
# The completion calls it by this name.
ctxtool() { "$ctxtool" "$@"; }
zsh_file=tools/completion/_ctxtool
helps=
failed=0

# same WHAT EXPECTED FOUND: both are sorted lists of lines.
same() {
	local difference
	difference=$(diff <(echo "$2") <(echo "$3") | sed -n 's/^</missing:/p; s/^>/not there:/p')
	[[ -z $difference ]] || { echo "FAILED: $1:"; echo "$difference"; failed=1; }
}

options_in() { grep -oE -- '--[a-z][a-z-]*' | sort -u; }

of_bash() {
	COMP_WORDS=(ctxtool "$@") COMP_CWORD=$# COMP_TYPE=37
	COMPREPLY=()
	_ctxtool 2>/dev/null
	printf '%s\n' "${COMPREPLY[@]}"
}

# The lines from NAME) to the next ;; with each $LIST replaced by the lines of LIST=(...).
of_zsh() {
	awk -v command="$1" '
		/^\t[a-z]+=\(/ { name = $1; sub(/=.*/, "", name); inside = 1 }
		inside { list[name] = list[name] $0 "\n" }
		inside && /\)$/ && !/\([^)]*\)$/ { inside = 0 }
		/^\t[a-z |]+\)/ {
			names = $0; sub(/\).*/, "", names)
			taken = (" " names " ") ~ "[ \t]" command " "
		}
		taken { text = text $0 "\n" }
		taken && /;;$/ { taken = 0 }
		END {
			printf "%s", text
			for (name in list) if (index(text, "$" name)) printf "%s", list[name]
		}' $zsh_file
}

# Sets $given to the option with the value that it wants, if it wants one.
give() {
	given=$1
	case $1 in
	--since | --until) given+==1s ;;
	--pid | --count | --older | --for | --max | --timeout | --kill-after | --grace) given+==1 ;;
	--core | --label | --cause) given+==x ;;
	--error) given+==EIO ;;
	--format) given+==html ;;
	--output) given+==x.html ;;
	--sort | --columns) given+==label ;;
	--listen) given+==0 ;;
	--signal) given+==TERM ;;
	--by) given+==label ;;
	--theme) given+==dark ;;
	esac
}

# -p of run has no value: what follows it is the command, here one of the words that bash knows, and no pid.
_ctxtool_pids() { echo 4711; }
[[ $(of_bash ls -p "") == 4711 && $(of_bash ls --pid = 47) == 4711 && $(of_bash leaks --pid "") == 4711 ]] || { echo "FAILED: no pid is offered after ls -p"; failed=1; }
[[ $(of_bash run -p tru) == *true* ]] || { echo "FAILED: no command is offered after run -p"; failed=1; }

# A list has labels beside the ids, and names beside the pids; what is inserted has not.
eval "$(declare -f ctxtool | sed '1s/ctxtool/real_ctxtool/')"
ctxtool() {
	[[ $1 == ls ]] || { real_ctxtool "$@"; return; }
	printf '%-7s  %s\n' 12:2.1 "GET /a b" 12:10.1 -
}
listed() {
	COMP_WORDS=(ctxtool "$@") COMP_CWORD=$# COMP_TYPE=63
	COMPREPLY=()
	_ctxtool 2>/dev/null
	printf '%s|' "${COMPREPLY[@]}"
}
[[ $(listed show "") == "12:2.1   (GET /a b)|12:10.1|" ]] || { echo "FAILED: ids are listed as $(listed show "")"; failed=1; }
[[ $(listed cancel 12:2) == "12:2.1|" ]] || { echo "FAILED: an id is completed as $(listed cancel 12:2)"; failed=1; }
unset -f _ctxtool_pids
# shellcheck source=tools/completion/ctxtool.bash
. tools/completion/ctxtool.bash
ctxtool() {
	[[ $1 == ls ]] || { real_ctxtool "$@"; return; }
	printf '%7s  %s\n' 12 nginx 12 nginx 1234 "my server"
}
[[ $(listed ls --pid = "") == "12    (nginx)|1234  (my server)|" ]] || { echo "FAILED: pids are listed as $(listed ls --pid = "")"; failed=1; }
eval "$(declare -f real_ctxtool | sed '1s/real_ctxtool/ctxtool/')"

[[ $(of_bash ls --columns = id,la) == id,label ]] || { echo "FAILED: no column is offered"; failed=1; }
[[ $(of_bash ls state = du) == due ]] || { echo "FAILED: no state is offered"; failed=1; }
for command in ls stats history; do
	columns=$(_ctxtool_columns $command)
	columns=${columns// /,}
	"$ctxtool" $command --columns="$columns" --sort="$columns" --pid=4194304 >"$work/err" 2>&1
	[[ $? == 1 ]] || { echo "FAILED: the columns of $command are not $columns: $(<"$work/err")"; failed=1; }
done
# The message about a column that does not exist names those that do.
same "columns" "$("$ctxtool" ls --columns=xxxxxxxxxx 2>&1 | grep -oE '[a-z]+(, [a-z]+)+' | tail -n 1 | tr -d ' ' | tr , '\n' | sort)" \
	"$(_ctxtool_columns | tr ' ' '\n' | sort)"
same "columns of history" "$("$ctxtool" history --help | sed -nE 's/^A COLUMN is one of (.*)\.$/\1/p' | tr -d ' ' | tr , '\n' | sort)" \
	"$(_ctxtool_columns history | tr ' ' '\n' | sort)"
for key in kind cause op; do
	values=$(of_bash ls "$key" = "")
	"$ctxtool" ls --pid=4194304 "$key=${values//$'\n'/,}" >"$work/err" 2>&1
	[[ $? == 1 && $values == *$'\n'* ]] || { echo "FAILED: $key=$values: $(<"$work/err")"; failed=1; }
done

# The same of the daemons.
zsh_file=tools/completion/_ctxd
for program in ctxd ctxd-fleet; do
	[[ -x build/$program ]] || continue
	COMP_WORDS=(build/$program --) COMP_CWORD=1
	_ctxd build/$program 2>/dev/null
	same "$program in bash" "$(build/$program --help | grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | options_in)" \
		"$(printf '%s\n' "${COMPREPLY[@]}" | options_in)"
	same "$program in zsh" "$(build/$program --help | grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | options_in)" \
		"$( (sed -n '/both=(/,/)$/p' $zsh_file; grep "	$program) " $zsh_file) | options_in)"
done
zsh_file=tools/completion/_ctxtool

commands=$($ctxtool --help | sed -nE 's/^  ([a-z]+) .*/\1/p' | sort)
[[ $(wc -l <<<"$commands") -ge 11 ]] || fail "the commands are not seen in --help: $commands"
same "commands in bash" "$commands" "$(of_bash "" | grep -v -- '^--' | sort)"
same "commands in zsh" "$commands" "$(sed -nE "s/^\t\t'([a-z]+):.*/\1/p" $zsh_file | sort)"
for command in $commands; do
	help=$($ctxtool "$command" --help)
	helps+=$(sed -nE "s/^ +-([a-zA-Z]), --([a-z-]+).*/\1 \2 $command/p" <<<"$help")$'\n'
	real=$(sed -nE 's/^ +(-[a-zA-Z], |    )(--[a-z-]+).*/\2/p' <<<"$help" | sort -u)
	[[ -n $real ]] || { echo "FAILED: no options in the help of $command"; failed=1; }
	same "$command in bash" "$real" "$(of_bash "$command" -- | options_in)"
	same "$command in zsh" "$real" "$(of_zsh "$command" | options_in)"
	same "options that $command has" "$real" "$($ctxtool "$command" --= 2>&1 | sed -n 's/.* begin with --=://p' | options_in)"
	all=()
	for option in $real; do
		give "$option"
		[[ $option == --help || $option == --version ]] || all+=("$given")
	done
	$ctxtool "$command" "${all[@]}" --help >/dev/null 2>"$work/err" || { echo "FAILED: $command ${all[*]}: $(<"$work/err")"; failed=1; }
	refused=2
	[[ $command == run ]] && refused=125
	$ctxtool "$command" --absent=1 >/dev/null 2>"$work/err"
	[[ $? == "$refused" && $(<"$work/err") == "ctxtool $command: "*": --absent=1"* ]] ||
		{ echo "FAILED: $command --absent is not refused: $(<"$work/err")"; failed=1; }
done
# The manual lists the letters that stand for different options of different commands.
same "letters with several meanings" \
	"$(sed '/^$/d' <<<"$helps" | sort -u |
		awk '{ if (!(($1 " " $2) in by)) options[$1]++; by[$1 " " $2] = by[$1 " " $2] " " $3 }
			END { for (key in by) if (options[substr(key, 1, 1)] > 1) print key by[key] }' | sort)" \
	"$(sed -nE 's/^\.It Fl (.) Ta Fl -([a-z-]+) Ta Cm (.*)/\1 \2 \3/p' man/ctxtool.1 | sed 's/ ,//g' | sort)"
[[ $failed == 0 ]] && echo "both completions offer what ctxtool takes, and each command has the options that its help lists"
exit $failed
