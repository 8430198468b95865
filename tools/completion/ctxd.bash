# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# bash completion for ctxd and ctxd-fleet: options as their help lists them, and the values of those that have some.

_ctxd() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	if [[ $word == "=" ]]; then
		word=
	elif [[ $before == "=" ]]; then
		before=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	case $before in
	-s | --socket | -c | --config) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	--state) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
	-l | --log-level) mapfile -t COMPREPLY < <(compgen -W "error warning info debug" -- "$word") ;;
	--loop) mapfile -t COMPREPLY < <(compgen -W "ring poll" -- "$word") ;;
	*)
		mapfile -t COMPREPLY < <(compgen -W "$("$1" --help 2>/dev/null |
			sed -nE 's/^ +(-[a-zA-Z], )?(--[a-z][a-z-]*=?).*/\2/p')" -- "$word")
		;;
	esac
	[[ ${COMPREPLY[0]:-} == *= ]] && compopt -o nospace 2>/dev/null
	return 0
}
complete -F _ctxd ctxd ctxd-fleet
