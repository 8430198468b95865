#!/bin/bash
# SPDX-License-Identifier: MIT
# What README.md and bench/RESULTS.md say is so: results.awk makes the right tables of a few figures and has made the
# committed page; README.md counts the proxies' lines rightly, quotes them exactly and names only files that exist.
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

# ---- the generator

cat >"$work/bench.jsonl" <<'END'
{"run":"bench/run.sh --quick","date":"2026-01-02","kernel":"Linux 6.18 x86_64","processor":"A|B","processors":2,"load":"0.10","liburing":"2.3","missing":"Go,wrk"}
{"bench":"cancel","case":"recv, 4096 pending, defer","value":516.776,"unit":"ns/op","ratio":0.030,"against":"raw ANY|ALL","goal":"<= 0.1"}
{"bench":"cancel","case":"raw ANY|ALL","value":21658.955,"unit":"ns/op","ratio":null,"against":"recv, 4096 pending, defer","goal":null}
{"bench":"cancel","case":"one recv of 60000 pending, defer","value":1034.000,"unit":"ns/op","ratio":2.737,"against":"one of 256 pending","goal":"<= 2.0"}
{"bench":"cancel","case":"io_uring_enter calls, group of 256, defer","value":1.000,"unit":"calls","ratio":null,"against":null,"goal":"<= 1"}
{"bench":"context","case":"children that two threads make of one parent","value":3.970,"unit":"M/s","ratio":0.919,"against":"one thread","goal":">= 1.5"}
{"bench":"flood","case":"LIST of 65,000: p99","value":203.630,"unit":"ms","ratio":null,"against":null,"goal":"<= 50"}
{"bench":"flood","case":"LIST of 65,000: p50","value":8.870,"unit":"ms","ratio":null,"against":null,"goal":null}
{"bench":"fleet","case":"cancel across hosts, own dispatch, p50","value":660096.000,"unit":"ns","ratio":1.574,"against":"engine and two across","goal":"<= 1.3"}
{"bench":"fleet","case":"owner cut off for 1 s, seen after that, median","value":158.600,"unit":"ms","ratio":null,"against":null,"goal":null}
{"bench":"fleet","case":"2000 joined, their parent cancelled: XADD commands","value":12,"unit":"commands","ratio":null,"against":null,"goal":"<= 400"}
{"bench":"goodput","case":"load 120 %, 30 % leave, neither: good","value":0.0,"unit":"/s","ratio":0.000,"against":"of those who stay","goal":null}
{"bench":"goodput","case":"load 120 %, 30 % leave, neither: p99","value":2117.3,"unit":"ms","ratio":null,"against":null,"goal":null}
{"bench":"goodput","case":"load 120 %, 30 % leave, neither: for nobody","value":31.2,"unit":"%","ratio":null,"against":null,"goal":null}
{"bench":"goodput","case":"load 120 %, 30 % leave, both: good","value":110.2,"unit":"/s","ratio":0.977,"against":"of those who stay","goal":">= 0.99"}
{"bench":"goodput","case":"load 120 %, 30 % leave, both: p99","value":98.1,"unit":"ms","ratio":null,"against":null,"goal":null}
{"bench":"goodput","case":"PostgreSQL, load 120 %, 60 % leave, Go: good","value":32.0,"unit":"/s","ratio":0.500,"against":"of those who stay","goal":null}
{"bench":"another","case":"of tomorrow","value":7.000,"unit":"ms","ratio":null,"against":null,"goal":null}
END
page=$work/RESULTS.md
awk -f bench/results.awk "$work/bench.jsonl" >"$page" || fail "results.awk: status $?"
has "$page" "# What was measured"
has "$page" '| Machine | A\|B, 2 processors |'
has "$page" "| Not installed, so not compared with | Go, wrk |"
has "$page" "## Missed goals: 5 of 8"
has "$page" "| cancel: one recv of 60000 pending, defer | one of 256 pending | 2.74 | at most 2.0 |"
has "$page" "| context: children that two threads make of one parent | one thread | 0.92 | at least 1.5 |"
has "$page" "| flood: LIST of 65,000: p99 |  | 204 ms | at most 50 ms |"
has "$page" '| recv, 4096 pending, defer | 517 ns/op | raw ANY\|ALL, 21.7 us/op | 0.030 | at most 0.1 |'
has "$page" "| one recv of 60000 pending, defer | 1.03 us/op | one of 256 pending | 2.74 | at most 2.0, missed |"
has "$page" "| io_uring_enter calls, group of 256, defer | 1 calls |  |  | at most 1 |"
has "$page" "| children that two threads make of one parent | 3.97 M/s | one thread | 0.92 | at least 1.5, missed |"
has "$page" "| cancel across hosts, own dispatch, p50 | 660 us | engine and two across | 1.57 | at most 1.3, missed |"
has "$page" "| owner cut off for 1 s, seen after that, median | 159 ms |  |  |  |"
has "$page" "| 2000 joined, their parent cancelled: XADD commands | 12 commands |  |  | at most 400 |"
has "$page" "| LIST of 65,000 | 8.87 | 204 (missed: at most 50) |  |  |  |"
has "$page" "| Higher is better | neither | both | Go |"
has "$page" "| load 120 %, 30 % leave | 0 (0 %) | 110 (98 %) (missed: at least 0.99) |  |"
has "$page" "| PostgreSQL, load 120 %, 60 % leave |  |  | 32 (50 %) |"
has "$page" "| load 120 %, 30 % leave | 2117 | 98.1 |  |"
has "$page" "| load 120 %, 30 % leave | 31.2 |  |  |"
has "$page" "## What else was measured?"
has "$page" "| of tomorrow | 7 ms |  |  |  |"
[[ $(grep -c '^| raw ANY' "$page") == 0 ]] || fail "the value of a comparison has a row of its own"
# The direction stands in the head of each table that has one.
[[ $(grep -A 2 'one parent get in each other' "$page" | tail -n 1) == "| Higher is better "* ]] || fail "more throughput is not better"
[[ $(grep -c '^| Lower is better ' "$page") == 9 ]] || fail "not 9 tables of which lower is better"
# Without a missed goal there is no table of these.
grep -v '"<= 50"\|>= 1.5\|<= 2.0\|<= 1.3\|>= 0.99' "$work/bench.jsonl" | awk -f bench/results.awk >"$page" || fail "results.awk: status $?"
has "$page" "## Missed goals: 0 of 3"

# ---- the page that is committed

published=bench/RESULTS.md
has $published "# What was measured"
grep -q '^`bench/run.sh' $published || fail "$published does not say which command made it"
for what in Date Kernel Machine "Load average when the run began" liburing "Not installed, so not compared with"; do
	grep -q "^| $what | .* |$" $published || fail "$published does not say: $what"
done
grep -q '^## Missed goals: [0-9]* of [0-9]*$' $published || fail "$published does not count missed goals"
[[ $(grep -c '^| \(Lower\|Higher\) is better ' $published) -ge 15 ]] || fail "$published has too few tables"

# ---- README.md

# Its rows about what cancellation is worth are those of the page.
grep -E '^[|] (PostgreSQL, )?load [0-9]+ %' README.md >"$work/rows"
[[ $(wc -l <"$work/rows") == 4 ]] || fail "README.md has not four rows of what cancellation is worth"
if grep -q '^## What is cancellation worth' $published; then
	while read -r row; do
		grep -qxF -- "$row" $published || fail "$published has not this row of README.md: $row"
	done <"$work/rows"
fi

for program in proxy_by_hand proxy; do
	lines=$(gcc -fpreprocessed -dD -E -P examples/$program.c | wc -l)
	counted+=" $lines |"
done
grep -q "^| Lines of code, .* |$counted\$" README.md || fail "README.md does not say that the proxies have$counted lines"
# Its quotations from examples/proxy*.c, but for blanks at the ends of lines.
awk '/^```c$/ {inside = 1; text = ""; next} /^```/ {inside = 0; if (text ~ /^static/) print text; next} inside {text = text $0 "\n"}' \
	README.md >"$work/quoted"
[[ -s $work/quoted ]] || fail "README.md quotes no function of the proxies"
proxies=$(cat examples/proxy_by_hand.c examples/proxy.c)
[[ $proxies == *"$(<"$work/quoted")"* ]] || fail "README.md quotes otherwise than the program is: $(<"$work/quoted")"
while read -r path; do
	[[ -e $path ]] || fail "README.md names $path, which does not exist"
done < <(grep -o '`\(lib\|bench\|daemon\|examples\|fuzz\|include\|man\|tests\|tools\)/[A-Za-z0-9_./]*`' README.md | tr -d '`' | grep -v NAME | sort -u)
for folder in lib/*/ daemon tools tests bench examples fuzz include; do
	grep -qF "\`${folder%/}/\`" README.md || fail "README.md does not name ${folder%/}/"
done
echo "results and README: as they say"
