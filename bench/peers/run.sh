#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Other libraries beside this one: make bench-peers, or make bench-peers-quick for less of it in 90 s.
#
#   bench/peers/run.sh [--quick] [--rounds N] [--more] [WORK...]
#
# work.h says what the works are (idle, tree, token, stay, leave) and what is the same for all programs. The systems take
# turns: a round runs each of them once for each size, every second round in the opposite order. A figure is the
# median of all rounds. --more adds rounds to those of the run before; WORK: only these.
#
# Prints tables, and writes build/peers.jsonl (a line for each figure, and for each that is missing with the reason),
# build/PEERS.md, and build/peers/idle and tree as .svg and .png where gnuplot is. bench/PEERS.md and bench/peers/*.svg
# are copies of that from one machine, made by hand.
#
# What is not the same, and cannot be:
#   - A program has one thread that does input and output: Asio is built without support for threads, Go has
#     GOMAXPROCS=1. Only "threads" has one for each receive.
#   - liburing, libuv and Asio have no contexts. A group is a loop over all receives there, or one request that matches all.
#   - ctxring's contexts, Go's and nsync's may be used from any thread and take locks or atomics for that. So does
#     GCancellable. Asio's signals and libuv's handles belong to one thread.
#   - The contexts of ctxring are in a table that other processes read, and keep who ended them, when and why.
#   - uv_read_stop() has no callback, and leaves the socket in the epoll set.
#   - Where RLIMIT_NOFILE is below 60,128, several receives of ctxring, liburing and Asio share a socket, and the others
#     have no figure for so many.

set -u
cd "$(dirname "$0")/../.." || exit
quick='' rounds=7 more='' works=()
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 rounds=3 ;;
	--rounds) rounds=$2; shift ;;
	--more) more=1 ;;
	idle | tree | token | stay | leave) works+=("$1") ;;
	*)
		echo "usage: bench/peers/run.sh [--quick] [--rounds N] [--more] [idle|tree|token|stay|leave...]" >&2
		exit 2
		;;
	esac
	shift
done
[ ${#works[@]} -gt 0 ] || works=(idle tree token stay leave)
programs=build/bench/peers values=build/peers.values
started=$SECONDS
mkdir -p build/peers

# name | program | form | works | the most receives of idle that are measured, in quick runs and in others, as the
# time of these forms grows with the square | the package
systems=(
	"ctxring, parked|ctxring|parked|idle tree token stay leave|||"
	"ctxring, pending, DEFER_TASKRUN|ctxring|defer|idle stay leave|||"
	"ctxring, pending|ctxring|pending|idle stay leave|||"
	"liburing, newest first|liburing|newest|idle stay leave|||"
	"liburing, oldest first|liburing|order|idle|4096||"
	"liburing, an enter each|liburing|enters|idle|4096||"
	"liburing, ANY and ALL|liburing|any|idle|4096|16384|"
	"Asio on epoll|asio-epoll||idle token stay leave|||libboost-dev"
	"Asio on io_uring|asio-uring||idle stay leave|||libboost1.81-dev or newer"
	"Go|go||idle tree token stay leave|||golang-go"
	"GLib|glib||idle tree token stay leave|||libglib2.0-dev"
	"libuv, uv_read_stop|libuv|stop|idle stay leave|||libuv1-dev"
	"libuv, uv_close|libuv|close|idle|||libuv1-dev"
	"nsync|nsync||tree token|||libnsync-dev"
	"threads and eventfd|threads||idle token stay leave|||"
	"the machine alone|limit||idle tree token|||"
)

sizes_of() {
	case $1 in
	idle) [ -n "$quick" ] && echo 16 256 4096 60000 || echo 16 256 4096 16384 60000 ;;
	tree) echo 10 100 1000 10000 100000 ;;
	token) echo 10000 ;;
	*) echo 64 ;;
	esac
}

describe() {
	local processor version=''
	processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1 | tr -d '"\\|')
	local header=/usr/include/boost/version.hpp
	[ -e $header ] && version+="Boost $(sed -n 's/^#define BOOST_LIB_VERSION "\(.*\)"/\1/p' $header | tr _ .), "
	command -v go >/dev/null && version+="Go $(go env GOVERSION | tr -d a-z), "
	version+="GLib $(pkg-config --modversion glib-2.0 2>/dev/null || echo -), "
	version+="libuv $(pkg-config --modversion libuv 2>/dev/null || echo -), "
	version+="nsync $(dpkg-query -W -f '${Version}' libnsync-dev 2>/dev/null || echo -), "
	version+="liburing $(pkg-config --modversion liburing)"
	printf 'R\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -I)" "$(uname -sr) $(uname -m)" "${processor:-not known}" "$(nproc)" \
		"$(cut -d' ' -f1 /proc/loadavg)" "$version" "$(ulimit -Hn)"
}

if [ -z "$more" ] || [ ! -e $values ]; then
	describe >$values
	for system in "${systems[@]}"; do
		printf 'S\t%s\n' "${system%%|*}" >>$values
	done
fi

# measure WORK SIZE SYSTEM: a line for each turn, or for the reason that there is none.
measure() {
	local name program form can quick_max max package output status turns=1
	IFS='|' read -r name program form can quick_max max package <<<"$3"
	[[ " $can " == *" $1 "* ]] || return 0
	# Short works have more turns for each round.
	case $1 in
	idle | tree) [ "$2" -gt 1000 ] || turns=3 ;;
	*) turns=5 ;;
	esac
	[ -z "$quick" ] || max=${quick_max:-$max}
	if [ ! -x $programs/"$program" ]; then
		output="$package is missing" status=77
	elif [ "$1" = idle ] && [ -n "$max" ] && [ "$2" -gt "$max" ]; then
		output="takes a time that grows with the square" status=77
	else
		output=$($programs/"$program" "$1" "$2" $turns ${form:+"$form"})
		status=$?
	fi
	case $status in
	0) printf "V\t$1\t$2\t$name\t%s\n" $output >>$values ;;
	77) printf 'K\t%s\t%s\t%s\t%s\n' "$1" "$2" "$name" "$output" >>$values ;;
	*)
		echo "$name, $1 of $2: status $status" >&2
		failed=1
		;;
	esac
}

failed=''
for ((round = 1; round <= rounds; round++)); do
	echo "round $round of $rounds, $((SECONDS - started)) s" >&2
	for work in "${works[@]}"; do
		for size in $(sizes_of "$work"); do
			for ((k = 0; k < ${#systems[@]}; k++)); do
				measure "$work" "$size" "${systems[round % 2 ? k : ${#systems[@]} - 1 - k]}"
			done
		done
	done
done

awk -f bench/peers/report.awk -v json=build/peers.jsonl -v page=build/PEERS.md -v plots=build/peers $values || failed=1
if command -v gnuplot >/dev/null; then
	for plot in idle tree; do
		[ -e build/peers/$plot.gp ] || continue
		gnuplot build/peers/$plot.gp || failed=1
		# Where that font is not, a browser is to take another without serifs.
		sed -i 's/font-family="DejaVu Sans"/font-family="DejaVu Sans, Verdana, sans-serif"/' build/peers/$plot.svg
	done
	echo "plots in build/peers/*.svg and *.png"
else
	echo "no gnuplot here (gnuplot-nox): no plots"
fi
echo "took $((SECONDS - started)) s; figures in build/peers.jsonl, tables in build/PEERS.md"
echo "to publish them: cp build/PEERS.md bench/ && cp build/peers/*.svg bench/peers/"
[ -z "$failed" ]
