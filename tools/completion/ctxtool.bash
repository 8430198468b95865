# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# bash completion for ctxtool: commands, options, and the contexts and processes that there are now.

_ctxtool_ids() { ctxtool ls 2>/dev/null | awk 'NR > 1 && $2 == "live" {print $1}'; }
# The contexts of all hosts of the fleet.
_ctxtool_fleet_ids() { ctxtool ls --fleet 2>/dev/null | awk 'NR > 1 && $2 == "live" {print $1}'; }
_ctxtool_pids() { ctxtool ls 2>/dev/null | awk -F: 'NR > 1 {print $1}' | sort -u; }

_ctxtool() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words
	local view="--pid= --core= --json --watch --count= --help"
	if [[ $COMP_CWORD -eq 1 ]]; then
		mapfile -t COMPREPLY < <(compgen -W "ls tree show top watch stats leaks last fleet cancel run doctor --help --version" -- "$word")
		return
	fi
	# To run, -p is another option, which has no value.
	if [[ ($before == -p || $before == --pid) && ${COMP_WORDS[1]} != run ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_ctxtool_pids)" -- "$word")
		return
	fi
	case ${COMP_WORDS[1]} in
	ls) words="$view --fleet --timeout= --operations" ;;
	tree) words="$view --fleet --timeout=" ;;
	fleet) words="--timeout= --json --help" ;;
	top) words="${view/--core= /} --by= --theme=" ;;
	show) words="$view" ;;
	watch) words="--initial --pid= --label= --count= --json --help" ;;
	stats) words="$view --openmetrics" ;;
	leaks) words="$view --older=" ;;
	last) words="--json --help" ;;
	cancel) words="--pid= --subtree --all --cause= --error= --wait --fleet --verbose --dry-run --yes --json --help" ;;
	run)
		words="--timeout= --signal= --kill-after= --grace= --preserve-status --verbose --foreground --label= --report --json"
		words+=" --no-cgroup --version --help"
		;;
	doctor) words="--json --help" ;;
	esac
	if [[ $word != -* && ${COMP_WORDS[1]} =~ ^(show|cancel)$ ]]; then
		words=$(_ctxtool_ids)
		[[ ${COMP_WORDS[1]} == cancel && " ${COMP_WORDS[*]} " =~ " "(--fleet|-F)" " ]] && words=$(_ctxtool_fleet_ids)
		# readline divides words at colons and replaces only what follows the last one.
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
		declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$word"
		return
	fi
	if [[ $word != -* && ${COMP_WORDS[1]} == run ]]; then
		mapfile -t COMPREPLY < <(compgen -c -f -- "$word")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	[[ ${COMPREPLY[0]:-} == *= ]] && compopt -o nospace 2>/dev/null
}
complete -F _ctxtool ctxtool
