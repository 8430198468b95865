#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The demo of the fleet ends by itself in time with what it promises, in namespaces where they may be made and on
# loopback; says why when it cannot; and leaves no process, not even when it is interrupted.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=examples/fleet_hosts.sh
. examples/fleet_hosts.sh
need $bin/{fleet_server,fleet_backend,fleet_relay} $ctxtool $ctxd
skip_without_uring
if lacks_engine; then
	echo "$reason"
	exit 77
fi

# What a demo starts has the folder of that demo in its environment: TMPDIR.
none_left() { ! grep -qzxF "TMPDIR=$work/$1" /proc/[0-9]*/environ 2>/dev/null; }

# demo NAME [VARIABLE=VALUE...]: starts it in the background.
demo() {
	mkdir -p "$work/$1"
	start "$1" env -u FLEET_NETWORK time_max=250 TMPDIR="$work/$1" "${@:2}" examples/demo_fleet.sh
}

# whole NAME [VARIABLE=VALUE...]
whole() {
	local at=$SECONDS what
	demo "$@"
	until_true 250 gone "$started" || fail "the demo does not end: $(tail -n 3 "$work/$1.out")"
	ended "$started"
	[[ $status == 0 ]] || fail "$1: status $status: $(tail -n 5 "$work/$1.out" "$work/$1.err")"
	for what in "2 of 2 backends" "works on" "is the master" "cause=host host=\"a\"" "everything that was claimed"; do
		grep -q -- "$what" "$work/$1.out" || fail "$1: the demo does not say \"$what\""
	done
	[[ ! -s $work/$1.err ]] || fail "$1: the demo complains: $(<"$work/$1.err")"
	until_true 30 none_left "$1" || fail "$1: the demo left processes"
	[[ -z $(ls "$work/$1") ]] || fail "$1: the demo left files: $(ls "$work/$1")"
	echo "$1: $((SECONDS - at)) s"
}

begun=$SECONDS
whole usual
whole loopback FLEET_NETWORK=loopback
grep -q "may not make network namespaces" "$work/loopback.out" || fail "on loopback it does not say what it leaves out"

demo interrupted
await_line "$work/interrupted.out" "^2\. "
kill -TERM "$started"
ended "$started"
[[ $status != 0 ]] || fail "an interrupted demo ended with success"
until_true 30 none_left interrupted || fail "the interrupted demo left processes"

# The kernel ends what a killed demo has started.
demo killed
await_line "$work/killed.out" "^== hosts"
leave "$started"
until_true 30 none_left killed || fail "the killed demo left processes"
echo "demo of the fleet: twice whole, interrupted, killed: $((SECONDS - begun)) s"
