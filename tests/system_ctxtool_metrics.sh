#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool stats: its counters as text, and as metrics, which --listen serves. Both formats are read by the parsers of Prometheus's
# client library: counters rise, histograms add up, odd labels come through, and what the dashboard asks for is there.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
command -v curl >/dev/null || { echo "curl is missing"; exit 77; }
$ctxtool stats --listen=x 2>&1 | grep -q "built without" && { echo "ctxtool was built without libmicrohttpd"; exit 77; }
skip_without_uring
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/metrics_target.c build/libctxring.a -luring -pthread \
	-o "$work/target" || fail "the target does not compile"
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -Iinclude -Ilib/base -Ilib/table -Itests tests/support/programs/faked_table.c \
	tests/support/table_writer.c -o "$work/earlier" || fail "the table does not compile"
export CTXD_SOCKET=$work/none

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
run() { status=0; out=$("$@" 2>&1 </dev/null) || status=$?; }

mkfifo "$work/life" "$work/rounds"
exec 8<>"$work/life" 9<>"$work/rounds"
"$work/target" <&9 8<&- 9<&- >"$work/target.out" &
children+=("$!")
target=$!
# A library that does not count yet, and a table that cannot be read.
"$work/earlier" sample <&8 8<&- 9<&- >"$work/earlier.out" &
children+=("$!")
earlier=$!
"$work/earlier" garbage <&8 8<&- 9<&- >"$work/garbage.out" &
children+=("$!")
garbage=$!
for name in target earlier garbage; do
	await_line "$work/$name.out" "ready"
done

echo "text"
echo >&9
await_line "$work/target.out" "round 1"
run $ctxtool stats --pid "$target" --pid "$earlier"
is "text: status" "$status" 0
grep -Eq "^target +$target +/slow\?\* +0 +5 +5 +3 +2 +0 +3 +3 +[0-9.]+[mun]?s +[0-9.]+[mun]?s +[0-9.]+[mun]?s$" <<<"$out" || fail "the counters: $out"
grep -Eq "^target +$target +kept +1 +1 +0 +0 +0 +1 +0 +0 +- +- +-$" <<<"$out" || fail "what is in flight: $out"
grep -Eq "^earlier +$earlier +server +1 +- +- +- +- +[0-9]+ +- +- +- +- +-$" <<<"$out" || fail "a library that does not count: $out"
run $ctxtool stats --pid "$target" --no-header --columns=label,ops-begun --sort=-ops-begun,label
is "columns" "$(head -n 2 <<<"$out" | tr -s ' \n' ' ')" "/slow?* 3 kept 1 "
run $ctxtool stats --pid "$target" 'label=kept'
has "a selection" "$out" "contexts    1 live"
grep -q '^PROCESS' <<<"$out" && fail "the process of a single one is named: $out"
names() { run $ctxtool stats --no-header --columns=label --pid "$target" "$@"; tr '\n' ' ' <<<"$out"; }
is "labels that have no context now" "$(names 'label=/slow*' or 'label=kept')" "/slow?* kept "
is "counters have no state" "$(names 'label=/slow*,kept' and state=live)" "kept "
is "a process by its name" "$(names comm=nobody)" " "

echo "the command line"
for given in x 65536 127.0.0.1: :80 ::1:80 "[::1]" $'\033'; do
	run $ctxtool stats --listen="$given"
	[[ $status == 2 && $out != *$'\033'* ]] || fail "--listen=$(cat -v <<<"$given"): $status $out"
done
for given in --json --openmetrics --watch --count=1 --core=x --columns=label --no-header; do
	run $ctxtool stats --listen=0 "$given"
	is "--listen with $given" "$status" 2
done
run $ctxtool stats --listen=192.0.2.1:0
is "an address of others: status" "$status" 4
has "an address of others" "$out" "cannot listen on 192.0.2.1 port 0"

echo "metrics"
start listen $ctxtool stats --listen=0 --pid "$target" --pid "$earlier" --pid "$garbage"
listener=$started
await_line "$work/listen.out" "^listening on http://127\.0\.0\.1:[0-9]+/metrics$"
url=${line#listening on }
is "a warning about loopback" "$(<"$work/listen.err")" ""
openmetrics="application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
get() { curl --silent --show-error --max-time 30 "$@"; }
# scrape FORMAT ACCEPT: gets the metrics as $work/FORMAT, and prints their content type.
scrape() { get -o "$work/$1" -w '%{content_type}' -H "Accept: $2" "$url"; }
plain="text/plain; version=0.0.4; charset=utf-8"
is "what Prometheus asks for" "$(scrape openmetrics "$openmetrics")" "application/openmetrics-text; version=1.0.0; charset=utf-8"
is "rather plain" "$(scrape plain "application/openmetrics-text;q=0.1, text/plain")" "$plain"
is "nothing" "$(scrape other "")" "$plain"
is "no OpenMetrics" "$(scrape other "*/*, application/openmetrics-text;q=0")" "$plain"
is "a later version" "$(scrape other "application/openmetrics-text; version=9.9.9")" "$plain"
python3 tests/support/check_metrics.py "$work/openmetrics" "$work/plain" examples/grafana/ctxring.json >"$work/check.out" 2>&1
status=$?
[[ $status != 77 ]] || { cat "$work/check.out"; exit 77; }
[[ $status == 0 ]] || fail "$(tail -n 1 "$work/check.out")"
# sample FORMAT NAME [LABEL=VALUE...] VALUE: it is there, with the labels of the target in front.
sample() {
	local labels="process='target' pid='$target' ${*:3}"
	grep -Fxq -- "$2 $labels" "$work/$1.samples" || fail "$1: no $2 $labels, but $(grep "^$2.*pid='$target'" "$work/$1.samples")"
}
for format in plain openmetrics; do
	sample $format ctxring_contexts_begun_total "label='/slow?*'" 5
	sample $format ctxring_contexts_ended_total "label='/slow?*'" "cause='call'" 3
	sample $format ctxring_contexts_ended_total "label='/slow?*'" "cause='deadline'" 2
	sample $format ctxring_context_age_seconds_bucket "label='/slow?*'" "le='+Inf'" 5
	sample $format ctxring_cancel_seconds_bucket "label='/slow?*'" "le='+Inf'" 3
	sample $format ctxring_operations_in_flight "label='kept'" 1
	grep -Fxq "ctxring_unreadable_processes 1" $work/$format.samples || fail "what cannot be read is not counted"
done
for label in "'a\"b'" "'two\\\\x0alines'" "'\\\\xff'" "'\\\\\\\\xff'" "'back\\\\\\\\slash'" "'{x=\"*\"} *'" "'other'" "''"; do
	sample plain ctxring_live_contexts "label=$label" 1
done
grep -Fxq "ctxring_live_contexts process='earlier' pid='$earlier' label='server' 1" "$work/plain.samples" || fail "a library that does not count"
! grep -q "^ctxring_contexts_begun_total .*pid='$earlier'" "$work/plain.samples" || fail "counts of a library that does not count"
$ctxtool stats --openmetrics --pid "$target" | python3 tests/support/openmetrics.py || fail "not OpenMetrics"

echo "counters rise"
echo >&9
await_line "$work/target.out" "round 2"
# The metrics are made anew once a second, so asking more often is of no use.
risen() {
	get "$url" >"$work/plain"
	grep -Fxq "ctxring_contexts_begun_total{process=\"target\",pid=\"$target\",label=\"/slow?*\"} 10" "$work/plain" ||
		read -rt 0.3 <>"$work/.never"
}
until_true 30 risen || fail "they do not: $(grep ctxring_contexts_begun "$work/plain")"
grep -Fxq "ctxring_context_age_seconds_count{process=\"target\",pid=\"$target\",label=\"/slow?*\"} 10" "$work/plain" || fail "the ages do not"
grep -Fxq "ctxring_operations_cancelled_total{process=\"target\",pid=\"$target\",label=\"/slow?*\"} 6" "$work/plain" || fail "operations do not"

echo "other requests"
is "HEAD" "$(get -I "$url" | tr -d '\r' | grep -ciE '^(HTTP/1.1 200|content-length: [1-9])')" 2
is "the root" "$(get -w ' %{http_code}' "${url%metrics}" | grep -c '/metrics.*' )" 1
is "another path" "$(get -o "$work/body" -w '%{http_code}' "${url}x")" 404
is "POST" "$(get -o "$work/body" -w '%{http_code}' -d x "$url")" 405
is "DELETE" "$(get -i -X DELETE "$url" | tr -d '\r' | grep -cE '^(HTTP/1.1 405.*|Allow: GET, HEAD)$')" 2
printf 'X-Long: %060000d\n' 0 >"$work/long"
[[ $(get -o "$work/body" -w '%{http_code}' -H "@$work/long" "$url" 2>/dev/null) != 200 ]] || fail "a long header is taken"

echo "many at once, some of which say nothing"
port=${url%/metrics} port=${port##*:}
for descriptor in {20..39}; do
	eval "exec $descriptor<>/dev/tcp/127.0.0.1/$port"
done
printf 'GET /met' >&20
pids=()
for i in {1..8}; do
	get -o /dev/null -w '%{http_code}\n' "$url" >"$work/code.$i" &
	pids+=("$!")
done
wait "${pids[@]}"
is "all of them" "$(cat "$work"/code.* | grep -c '^200$')" 8
for descriptor in {20..39}; do
	eval "exec $descriptor>&-"
done

echo "its end"
kill -TERM "$listener"
ended "$listener"
is "SIGTERM" "$status" 0
start everywhere $ctxtool stats --listen='[::]:0' --pid "$target"
if until_true 30 written_or_gone "$work/everywhere.out" "$started" && [[ -s $work/everywhere.out ]]; then
	grep -q "^ctxtool: warning: .*no loopback" "$work/everywhere.err" || fail "no warning: $(<"$work/everywhere.err")"
	kill -INT "$started"
	kill -TERM "$started"
	ended "$started"
	is "the end of the other" "$status" 0
fi
echo "ctxtool stats serves what Prometheus reads"
