#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Measures ctxd, and ctxtool with many contexts and processes:
#
#   bench/service.sh [--quick] [--json FILE] [FILTER]
#
# It starts a ctxd for this. All processes that it starts end with it.

set -u
cd "$(dirname "$0")/.." || exit
options=() quick='' json=/dev/null filter=''
while [[ $# -gt 0 ]]; do
	case $1 in
	--quick) quick=1 options+=(--quick) ;;
	--json) json=$2 options+=(--json "$2") && shift ;;
	*) filter=$1 options+=("$1") ;;
	esac
	shift
done
work=$(mktemp -d) || exit
export CTXD_SOCKET=$work/ctxd.sock
children=()
cleanup() {
	trap '' INT TERM
	[[ ${#children[@]} -eq 0 ]] || kill -TERM "${children[@]}" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# report CASE VALUE UNIT
report() {
	printf '%-8s %-46s %12.2f %-9s %9s %-30s \n' service "$1" "$2" "$3" - -
	printf '{"bench":"service","case":"%s","value":%s,"unit":"%s","ratio":null,"against":null,"goal":null}\n' \
		"$1" "$2" "$3" >>"$json"
}
wanted() { [[ "service/$1" == *"$filter"* ]] && echo "  service/$1" >&2; }
seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'; }
rss_kb() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }
cpu_ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }

# hold ARGUMENT...: starts build/bench/service with these arguments, which has what they say until release is called.
# Sets $holder and $writer.
hold() {
	local name
	name=$(mktemp -u "$work/XXXXXX")
	mkfifo "$name.in"
	build/bench/service "$@" <"$name.in" >"$name.out" &
	holder=$!
	children+=("$holder")
	exec {writer}>"$name.in"
	until grep -q held "$name.out"; do
		kill -0 "$holder" 2>/dev/null || { echo "service: cannot hold $*" >&2; exit 1; }
		sleep 0.05
	done
}
release() {
	exec {writer}>&-
	wait "$holder"
}

printf 'connections = 1000\ncontexts = 20000\nfds = 100000\n' >"$work/ctxd.conf"
build/ctxd --config "$work/ctxd.conf" --log-level warning 2>"$work/ctxd.err" &
ctxd=$!
children+=("$ctxd")
until [[ -S $CTXD_SOCKET ]]; do
	kill -0 $ctxd 2>/dev/null || { cat "$work/ctxd.err" >&2; exit 1; }
	sleep 0.02
done

build/bench/service "${options[@]}" 2> >(grep -v '^  service/' >&2) || exit 1

if wanted "held: 500 clients, 10,000 contexts"; then
	before=$(rss_kb $ctxd) ticks=$(cpu_ticks $ctxd)
	ulimit -n "$(ulimit -Hn)"
	# Each context has a pipe: one process does not have enough descriptors for all of them.
	hold hold 250 5000
	first=$holder first_writer=$writer
	hold hold 250 5000
	report "ctxd, memory at 500 clients, 10,000 contexts" "$(($(rss_kb $ctxd) - before))" KiB
	report "ctxd, CPU to take them on" "$((($(cpu_ticks $ctxd) - ticks) * 1000 / $(getconf CLK_TCK)))" ms
	ticks=$(cpu_ticks $ctxd)
	sleep "$([[ $quick ]] && echo 1 || echo 5)"
	report "ctxd, CPU while nothing happens" "$((($(cpu_ticks $ctxd) - ticks) * 1000 / $(getconf CLK_TCK)))" ms
	release
	holder=$first writer=$first_writer
	release
fi

# From here on without ctxd: ctxtool finds contexts through /proc.
kill -TERM $ctxd && wait $ctxd
if wanted "ctxtool tree over 100,000 contexts"; then
	hold contexts 100000
	for form in "" --json; do
		begun=$EPOCHREALTIME
		build/ctxtool tree $form --pid "$holder" >"$work/tree" || exit 1
		report "ctxtool tree${form:+ $form}, 100,000 contexts" "$(seconds "$begun" "$EPOCHREALTIME")" s
	done
	release
fi
if wanted "ctxtool ls among 2,000 processes"; then
	for _ in {1..2000}; do
		sleep 60 &
		children+=($!)
	done
	begun=$EPOCHREALTIME
	build/ctxtool ls >/dev/null 2>&1
	report "ctxtool ls, 2,000 processes, none of ours" "$(seconds "$begun" "$EPOCHREALTIME")" s
fi
exit 0
