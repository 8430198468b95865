# SPDX-License-Identifier: MIT
#
# For benchmarks of servers: options, the servers that a script starts, and their end with the script. A script sets $bench, its
# name, and then sources this file from the top of the tree.

quick='' json=/dev/null filter=''
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--json) json=$2 && shift ;;
	*) filter=$1 ;;
	esac
	shift
done

fail() {
	echo "$bench: $*" >&2
	exit 1
}

children=()
work=$(mktemp -d) || exit 1
cleanup() {
	for pid in "${children[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# await_port NAME FILE: sets $port to what the server that was started last writes into FILE.
await_port() {
	for _ in {1..200}; do
		port=$(cat "$2" 2>/dev/null)
		[ "$port" ] && return
		kill -0 "${children[-1]}" 2>/dev/null || fail "$1 ended: $(cat "$work/log")"
		sleep 0.02
	done
	fail "$1 does not say its port"
}

stop_last() {
	kill "${children[-1]}" 2>/dev/null
	wait "${children[-1]}" 2>/dev/null
	unset 'children[-1]'
}

median() {
	sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
