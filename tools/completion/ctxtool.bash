# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# bash completion for ctxtool: commands and options as its help lists them, and the contexts and processes that there are now,
# each with what it is.

# Each function prints lines of a candidate and, after a tab, what it is.
_ctxtool_commands() { ctxtool --help 2>/dev/null | sed -nE 's/^  ([a-z]+) +(.*)/\1\t\2/p'; }
# An option that wants a value ends with =.
_ctxtool_options() {
	ctxtool ${1:+"$1"} --help 2>/dev/null |
		sed -nE 's/^ +(-[a-zA-Z], )?(--[a-z][a-z-]*)(\[?=?)[^ ]*( +(.*))?$/\2\3\t\5/; s/^(--[a-z-]+)\[=/\1/; /^--/p'
}
_ctxtool_ids() { ctxtool ls --no-header --columns=id,label state=live 2>/dev/null | sed -E 's/ +/\t/; s/\t-$//'; }
# The contexts of all hosts of the fleet.
_ctxtool_fleet_ids() { ctxtool ls --fleet 2>/dev/null | awk 'NR > 1 && $2 == "live" {print $1 "\t"}'; }
_ctxtool_pids() {
	ctxtool ls --no-header --columns=pid,process 2>/dev/null | sort -un | sed -E 's/^ +//; s/ +/\t/'
}

# _ctxtool_offer WORD: offers those of the lines on standard input that begin with WORD. What they are is shown where several are
# listed; readline then replaces the word by what all have in common, which ends within the candidates.
_ctxtool_offer() {
	local candidate what width=0 listed=() whats=() i
	while IFS=$'\t' read -r candidate what; do
		[[ $candidate == "$1"* ]] || continue
		listed+=("$candidate") whats+=("$what")
		((${#candidate} > width)) && width=${#candidate}
	done
	COMPREPLY=("${listed[@]}")
	((${#listed[@]} > 1)) && [[ ${COMP_TYPE:-37} =~ ^(9|33|63|64)$ ]] || return 0
	for i in "${!listed[@]}"; do
		[[ -z ${whats[i]} ]] || printf -v "COMPREPLY[$i]" '%-*s  (%s)' "$width" "${listed[i]}" "${whats[i]}"
	done
	return 0
}

# _ctxtool_list WORD NAMES: offers the names for the last one in WORD, which may be a list with commas. Those before it stay.
_ctxtool_list() {
	local before=
	[[ $1 == *,* ]] && before=${1%,*},
	mapfile -t COMPREPLY < <(compgen -P "$before" -W "$2" -- "${1##*,}")
}
# The columns that stats, history, or ls and leaks have, for --columns and --sort.
_ctxtool_columns() {
	if [[ ${1:-} == stats ]]; then
		echo process pid user label live begun ended cancelled expired ops ops-begun ops-finished ops-cancelled \
			age-p50 age-p99 cancel-p50 cancel-p99
		return
	fi
	if [[ ${1:-} == history ]]; then
		echo time id process user label state ops took cause pid uid site
		return
	fi
	echo id state age left ops user process label cause pid uid kind parent children depth thread site
}

# _ctxtool_values OPTION WORD: offers values that begin with WORD. 1: none are known.
_ctxtool_values() {
	case $1 in
	--pid | pid) _ctxtool_offer "$2" < <(_ctxtool_pids) ;;
	state) _ctxtool_list "$2" "$(_ctxtool_states)" ;;
	--core | --report | --output) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
	--columns | --sort | -C) _ctxtool_list "$2" "$(_ctxtool_columns "${COMP_WORDS[1]}")" ;;
	kind) _ctxtool_list "$2" "cancel deadline value detached merged joined source" ;;
	cause) _ctxtool_list "$2" "call deadline signal hangup process pressure owner service fd host unreachable" ;;
	op) _ctxtool_list "$2" "READ WRITE RECV SEND RECVMSG SENDMSG ACCEPT CONNECT POLL_ADD TIMEOUT" ;;
	user | --user) mapfile -t COMPREPLY < <(compgen -u -- "$2") ;;
	--by) _ctxtool_list "$2" "process label user" ;;
	--theme) _ctxtool_list "$2" "dark light mono" ;;
	--format) _ctxtool_offer "$2" < <(printf '%s\t\n' html trace otlp) ;;
	--signal) mapfile -t COMPREPLY < <(compgen -A signal -- "SIG${2#SIG}") ;;
	*) return 1 ;;
	esac
}

# What a selection can begin with, and the values of those of its keys that have names.
_ctxtool_tests() {
	printf '%s\t\n' pid= comm= user= id= label= state= kind= cause= error= older= younger= left=none op= ops= fd=
}
_ctxtool_states() { echo live cancelled expired done due draining stuck; }

_ctxtool() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} option=
	if [[ $COMP_CWORD -eq 1 ]]; then
		_ctxtool_offer "$word" < <(_ctxtool_commands; _ctxtool_options "")
		return
	fi
	# readline divides words at "=". Without that only an option that must have a value takes the next word.
	if [[ $word == "=" ]]; then
		word='' option=$before
	elif [[ $before == "=" ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $before == --* ]]; then
		_ctxtool_options "$command" | grep -q -- "^$before=" && option=$before
	elif [[ $command == run ]]; then
		[[ $before == -s ]] && option=--signal
	else
		case $before in
		-p) option=--pid ;;
		-b) option=--by ;;
		-T) option=--theme ;;
		-c) option=--core ;;
		-o) [[ $command == record ]] && option=--output ;;
		esac
	fi
	[[ -n $option ]] && _ctxtool_values "$option" "$word" && return
	if [[ $word != -* && $command == run ]]; then
		mapfile -t COMPREPLY < <(compgen -c -f -- "$word")
		return
	fi
	if [[ $word != -* && $command =~ ^(show|cancel)$ ]]; then
		if [[ $command == cancel && " ${COMP_WORDS[*]} " =~ " "(--fleet|-F)" " ]]; then
			_ctxtool_offer "$word" < <(_ctxtool_fleet_ids)
		else
			_ctxtool_offer "$word" < <(_ctxtool_ids)
		fi
		# readline divides words at colons and replaces only what follows the last one.
		declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$word"
		return
	fi
	if [[ $word != -* && $command =~ ^(ls|tree|stats|leaks|top|watch|record|history)$ ]]; then
		_ctxtool_offer "$word" < <(_ctxtool_tests)
	else
		_ctxtool_offer "$word" < <(_ctxtool_options "$command")
	fi
	[[ ${COMPREPLY[0]:-} == *= ]] && compopt -o nospace 2>/dev/null
	return 0
}
complete -F _ctxtool ctxtool
