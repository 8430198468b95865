#!/bin/bash
# SPDX-License-Identifier: MIT
# bench/peers/report.awk makes the right tables, lines of JSON and scripts for gnuplot of a few figures: medians, what has no figure
# and why, and where another system is faster. The page and the plots that are committed have what it makes.
set -u
cd "$(dirname "$0")/.." || exit
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT

fail() {
	echo "FAILED: $*"
	exit 1
}

# has FILE LINE: the file has exactly this line.
has() { grep -qxF -- "$2" "$1" || fail "$1 has no line \"$2\""; }

tr '|' '\t' >"$work/values" <<'END'
R|2026-01-02|Linux 6.18 x86_64|A processor|2|0.10|Go 1.19|20000
S|ctxring, parked
S|ctxring, pending, DEFER_TASKRUN
S|liburing, newest first
S|Go
S|libuv, uv_read_stop
S|the machine alone
V|idle|256|ctxring, parked|9
V|idle|256|ctxring, parked|7
V|idle|256|ctxring, parked|8
V|idle|256|ctxring, pending, DEFER_TASKRUN|300
V|idle|256|liburing, newest first|290
V|idle|256|Go|1234.5
V|idle|256|libuv, uv_read_stop|5
V|idle|60000|ctxring, parked|12.34
K|idle|60000|Go|too few descriptors
V|idle|256|the machine alone|2
V|tree|10000|ctxring, parked|8
V|tree|10000|Go|80
V|token|10000|ctxring, parked|70
V|stay|64|ctxring, parked|4000
V|leave|64|ctxring, parked|5000
END
awk -f bench/peers/report.awk -v json="$work/json" -v page="$work/page" -v plots="$work" "$work/values" >"$work/printed" ||
	fail "report.awk: status $?"
page=$work/page
has "$page" "| Lower is better, N is | 16 | 256 | 4,096 | 16,384 | 60,000 |"
has "$page" "| ctxring, parked | - | 8.00 | - | - | 12.3 |"
has "$page" "| Go | - | 1234 | - | - | - |"
has "$page" "| ctxring | - | - | - | 8.00 | - |"
has "$page" "| ctxring | 70.0 |"
has "$page" "| ctxring, parked | 250,000 | 200,000 | 0.80 |"
has "$page" "Without a figure:"
has "$page" "- too few descriptors: Go"
grep -q '^- \*\*idle, libuv, uv_read_stop\*\*: 5.00 to 8.00 ns at 256\. It takes' "$page" || fail "a faster system is not named"
grep -q '^- \*\*idle, liburing, newest first\*\*: 290 to 300 ns at 256\. Compared' "$page" || fail "liburing is not compared with pending"
[[ $(grep -c '^- \*\*' "$page") == 2 ]] || fail "not two systems are faster"
has "$work/json" '{"bench":"peers","work":"idle","n":256,"system":"ctxring, parked","ns":8.000,"least":7.000,"most":9.000,"turns":3}'
has "$work/json" '{"bench":"peers","work":"idle","n":60000,"system":"Go","skipped":"too few descriptors"}'
for plot in idle tree; do
	grep -q '^plot .*linespoints' "$work/$plot.gp" || fail "no script for the plot $plot"
	[ -s bench/peers/$plot.svg ] || fail "bench/peers/$plot.svg is not there"
	grep -q "(peers/$plot.svg)" bench/PEERS.md || fail "bench/PEERS.md does not show $plot.svg"
done
for name in "ctxring, parked" liburing Asio Go GLib libuv nsync threads; do
	grep -q "^| $name" bench/PEERS.md || fail "bench/PEERS.md has no $name"
done
grep -q 'Not explained yet' bench/PEERS.md && fail "bench/PEERS.md does not explain why a system is faster"
echo "other libraries: the tables and plots are as the figures say"
