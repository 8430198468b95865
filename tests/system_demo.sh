#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The demo ends by itself in time with what it promises, says why when it cannot,
# and leaves no process, not even when it is interrupted; so does what make play runs.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{httpd,upstream} $ctxtool
skip_without_uring
command -v curl >/dev/null || { echo "curl is missing"; exit 77; }

# servers_of FILE: the processes that it names.
servers_of() { grep -oE 'process [0-9]+|upstream [0-9]+' "$1" | grep -oE '[0-9]+' | sort -u; }
none_left() {
	local pid
	for pid in $(servers_of "$1"); do
		[[ $(readlink "/proc/$pid/exe") != "$PWD/$bin/"* ]] || return 1
	done
}

echo "the demo, whole"
begun=$SECONDS
start demo env time_max=250 examples/demo.sh
demo=$started
until_true 250 gone "$demo" || fail "the demo does not end"
ended "$demo"
[[ $status == 0 ]] || fail "status $status: $(tail -n 5 "$work/demo.out" "$work/demo.err")"
for what in "200 operations reaped by" "linked timeouts fired" "== report" "defer ring:" "everything that was claimed"; do
	grep -q -- "$what" "$work/demo.out" || fail "the demo does not say \"$what\""
done
[[ ! -s $work/demo.err ]] || fail "the demo complains: $(<"$work/demo.err")"
none_left "$work/demo.out" || fail "the demo left processes"

echo "the demo, its programs published by the environment, too"
start published env time_max=250 CTXRING_PUBLISH=1 examples/demo.sh
published=$started
until_true 250 gone "$published" || fail "the published demo does not end"
ended "$published"
[[ $status == 0 ]] || fail "published: status $status: $(tail -n 5 "$work/published.out" "$work/published.err")"
none_left "$work/published.out" || fail "the published demo left processes"

echo "the demo, interrupted"
start interrupted examples/demo.sh
await_line "$work/interrupted.out" "== ordinary ring"
kill -TERM "$started"
ended "$started"
[[ $status -ne 0 ]] || fail "an interrupted demo ended with success"
none_left "$work/interrupted.out" || fail "the interrupted demo left processes"

echo "the demo, without a server that works"
mkdir -p "$work/broken/examples" "$work/broken/build/examples"
cp examples/*.sh "$work/broken/examples"
ln -s /bin/false "$work/broken/build/examples/httpd"
ln -s /bin/false "$work/broken/build/examples/upstream"
ln -s /bin/true "$work/broken/build/ctxtool"
start broken "$work/broken/examples/demo.sh"
ended "$started"
[[ $status -ne 0 ]] || fail "a demo without servers ended with success"
grep -q "^FAILED: " "$work/broken.err" || fail "it does not say why: $(<"$work/broken.err")"

echo "play"
start play examples/play.sh
play=$started
await_line "$work/play.out" "^The server runs on"
url=${line#*runs on }
url=${url%%/ *}
[[ $(curl -s --max-time 30 -o /dev/null -w '%{http_code}' "$url/slow?ms=1") == 200 ]] || fail "play does not serve"
await_line "$work/play.out" "event=end status=200"
kill -TERM "$play"
ended "$play"
none_left "$work/play.out" || fail "play left processes"
echo "demo: whole in $((SECONDS - begun)) s, interrupted, broken; play"
