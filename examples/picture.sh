#!/bin/bash
# SPDX-License-Identifier: MIT
#
# picture.sh FILE: records the example server with ctxtool record while requests finish, one runs into its deadline, and a
# client leaves whose request has 200 operations in flight. FILE is a page, a trace or spans, as ctxtool record writes them.

set -u
out=$(realpath -m "$1")
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{httpd,upstream} $ctxtool
command -v curl >/dev/null || fail "curl is missing: make deps"

# begin PATH OPERATIONS: starts a client and waits until its operations are pending. Sets $client and $request.
begin() {
	start "curl$((++clients))" curl -s --max-time 20 "$url$1"
	client=$started
	await_line "$log" "event=begin .*path=\"${1//\?/\\?}\""
	request=$(field req)
	await_line "$log" " req=$request event=waiting operations=$2"
}
clients=0

start_servers "${ring:-defer}"
start recorder $ctxtool record --pid "$httpd_pid" --for 20s -o "$out" ${selection:+"$selection"}
recorder=$started
await_line "$work/recorder.err" "^recording 1 process"

curl -s --max-time 10 -o /dev/null "$url/slow?ms=120" &
quick=$!
await_line "$log" 'event=begin .*path="/slow'
curl -s --max-time 10 -o /dev/null -H "X-Deadline-Ms: 400" "$url/fan?n=8&ms=20000" &
late=$!
await_line "$log" 'event=begin .*path="/fan.n=8&'
begin "/fan?n=200&ms=20000" 200
leaver=$client asked=$request
curl -s --max-time 10 -o /dev/null "$url/fan?n=12&ms=180"
wait "$quick" "$late"
leave "$leaver"
await_line "$log" " req=$asked event=end "
curl -s --max-time 10 -o /dev/null "$url/fan?n=6&ms=90"
# Ends the recording early, as Ctrl-C does.
kill -TERM "$recorder"
ended "$recorder"
[[ $status == 0 ]] || fail "ctxtool record: $(<"$work/recorder.err")"
tail -n 1 "$work/recorder.err"
stop_servers
