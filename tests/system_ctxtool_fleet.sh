#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool and the fleet: fleet, tree and ls with --fleet, cancel --fleet, doctor; what they print, and their exit codes. A program
# plays the service of a host, whose fleet has a scene for each case: tests/support/programs/fake_fleet.c.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $ctxtool
skip_without_uring
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude -Ilib/wire -Idaemon/util tests/support/programs/fake_fleet.c lib/wire/*.c \
	daemon/util/record_file.c -o "$work/fake_fleet" || fail "the fake service does not compile"
export CTXD_SOCKET=$work/ctxd.sock

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
lacks() { [[ $2 != *"$3"* ]] || fail "$1: \"$2\" has \"$3\""; }
run() { status=0; out=$("$@" 2>"$work/errors" </dev/null) || status=$?; errors=$(<"$work/errors"); }
json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($2)" <<<"$1" || fail "not JSON, or not so: $1"; }
served=
scene() {
	[[ -z $served ]] || { kill "$served"; ended "$served"; }
	: >"$work/fake.out"
	start fake "$work/fake_fleet" "$CTXD_SOCKET" "$@"
	served=$started
	await_line "$work/fake.out" "ready"
}

echo "without a service, a fleet or a bridge"
for command in fleet "ls --fleet" "tree --fleet" "cancel --fleet a/4-12"; do
	# shellcheck disable=SC2086
	run $ctxtool $command
	is "$command without a service: status" "$status" 4
	has "$command without a service" "$errors" "start ctxd"
done
scene none
for command in fleet "ls --fleet" "tree --fleet" "cancel --fleet a/4-12"; do
	# shellcheck disable=SC2086
	run $ctxtool $command
	is "$command without a fleet: status" "$status" 4
	has "$command without a fleet" "$errors" "fleet_engine"
done
run $ctxtool doctor
is "doctor without a fleet: status" "$status" 0
lacks "doctor without a fleet" "$out" "fleet"
run $ctxtool doctor --json
is "doctor --json without a fleet" "$(json "$out" 'd["fleet"]')" None
scene alone
for command in fleet "ls --fleet" "tree --fleet" "cancel --fleet a/4-12"; do
	# shellcheck disable=SC2086
	run $ctxtool $command
	is "$command without a bridge: status" "$status" 4
	has "$command without a bridge" "$errors" "ctxd-fleet(8) does not run on this host"
done
run $ctxtool doctor
is "doctor without a bridge: status" "$status" 1
has "doctor without a bridge" "$out" "systemctl start ctxd-fleet"

echo "hosts that are well"
scene quiet
run $ctxtool fleet
is "fleet: status" "$status" 0
is "fleet: this host is first" "$(awk 'NR == 2 {print $1, $2, $3}' <<<"$out")" "a this host"
is "fleet: what is known of b" "$(awk '$1 == "b" {print $2, $4, $5, $6, $7, $8, $9, $10}' <<<"$out")" \
	"alive $(awk '$1 == "b" {print $4}' <<<"$out") 1ms 3 2 7 5 4096"
is "fleet: errors" "$errors" ""
run $ctxtool fleet --json
is "fleet --json" "$(json "$out" '[(h["host"], h["state"], h["dropped"], h["round_trip_ns"]) for h in d["hosts"]]')" \
	"[('a', 'self', 4096, 1500000), ('b', 'alive', 4096, 1500000)]"
run $ctxtool tree --fleet
is "tree: status" "$status" 0
# Of the copy on b its ids, its depth, and what is below it.
is "tree" "$(sed 's/, [0-9.]*m\?s old//; s/, [0-9ms]* left//; s/[0-9]* contexts\?, //' <<<"$out")" \
"a (this host): 0 joined from other hosts
a/4-12 \"GET /x\" live, of 1234 server (uid 1000), as \"req\"
  b/7-3 \"GET /x\" live, joined there
    joined by 4321 worker (uid 1000)
    b/7-4 \"part\" live, of 1234 worker\\x1b (uid 1000)
b (alive): 2 joined from other hosts
b/7-9 \"over\" cancelled, joined from gone/1-1: host ECANCELED"
run $ctxtool tree --fleet --json
is "tree --json: parents" "$(json "$out" '[(e["kind"], e["id"], e["parent"], e["depth"]) for e in d["entries"]]')" \
	"[('shared', 'a/4-12', None, 0), ('joined', 'a/4-12', 'a/4-12', 1), ('shared', 'b/7-3', 'a/4-12', 1), "\
"('joined', 'b/7-3', 'b/7-3', 2), ('shared', 'b/7-4', 'b/7-3', 2), ('shared', 'b/7-9', None, 0)]"
is "tree --json: a cause" "$(json "$out" '[e["cause"]["kind"] for e in d["entries"] if e.get("cause")]')" "['host']"
run $ctxtool ls --fleet
is "ls: status" "$status" 0
is "ls: ids" "$(awk 'NR > 1 {print $1, $2}' <<<"$out")" $'a/4-12 live\nb/7-3 live\nb/7-4 live\nb/7-9 cancelled'
lacks "ls: a list that began anew" "$out" "stale"
has "ls: where it is from" "$out" "joined from a/4-12"
run $ctxtool ls --fleet 'label=part' or 'state=cancelled'
is "ls: selected" "$(awk 'NR > 1 {print $1, $2}' <<<"$out")" $'b/7-4 live\nb/7-9 cancelled'
run $ctxtool tree --fleet label=part
is "tree: what is above the selected one" "$(grep -o '[ab]/[0-9-]* .*' <<<"$out" | sed 's/, [0-9.]*s old//')" \
	$'a/4-12 "GET /x" live\nb/7-3 "GET /x" live\nb/7-4 "part" live, of 1234 worker\\x1b (uid 1000)'
run $ctxtool ls --fleet op=RECV
is "ls: operations are not known: status" "$status" 2
has "ls: operations are not known" "$errors" "'op' is not known of contexts of the fleet"
run $ctxtool ls --fleet=b --json
is "ls of one host" "$(json "$out" '[h["host"] for h in d["hosts"]]')" "['b']"
run $ctxtool tree --fleet --watch=0.01 --count=2 --json
is "repeated: status" "$status" 0
while read -r document; do
	json "$document" 'len(d["hosts"])' >/dev/null
done <<<"$out"
is "repeated" "$(wc -l <<<"$out")" 2

run $ctxtool ls --fleet=/
is "not a host: status" "$status" 2
has "not a host" "$errors" "not the name of a host: /"

echo "hosts that are not"
scene broken
run $ctxtool fleet
is "fleet: status" "$status" 1
has "fleet: the silent one" "$errors" "host c did not answer"
has "fleet: the one that is gone" "$errors" "host d is gone"
run $ctxtool fleet --json --timeout=0.5
is "fleet --json: status" "$status" 1
is "fleet --json: states" "$(json "$out" '[h["state"] for h in d["hosts"]]')" "['self', 'alive', 'silent', 'gone']"
for command in tree ls; do
	run $ctxtool $command --fleet
	is "$command: status" "$status" 3
	for host in "c did not answer" "d is gone" "e does not tell"; do
		has "$command names host $host" "$errors" "$host"
	done
	has "$command: what the others told" "$out" "b/7-4"
done

echo "cancel"
run $ctxtool cancel --fleet --wait a/4-12 -v
is "one host silent: status" "$status" 3
has "one host silent" "$errors" "host b did not answer"
has "one host silent: the sum" "$out" "on 1 host: ended in 2 processes; 100 operations reaped"
scene quiet
run $ctxtool cancel --fleet --wait a/4-12
is "all: status" "$status" 0
has "all: the sum" "$out" "a/4-12, on 2 hosts: ended in 4 processes; 200 operations reaped: 199 cancelled, 1 finished first"
is "all: one line" "$(wc -l <<<"$out")" 1
run $ctxtool cancel --fleet --wait --verbose a/4-12
has "each host" "$out" "  b: ended in 2 processes; 100 operations reaped"
run $ctxtool cancel --fleet --dry-run a/4-12-5eccce7
is "dry run, by a global id: status" "$status" 0
is "dry run, by a global id" "$out" "a/4-12 would end in 4 processes on 2 hosts"
run $ctxtool cancel --fleet --json --wait a/4-12
is "cancel --json" "$(json "$out" '[(v["target"], v["error"], v["ended"], v["hosts_silent"], [(h["host"], h["answered"],
	h["operations"]) for h in v["hosts"]]) for v in d]')" "[('a/4-12', None, 4, 0, [('a', True, 100), ('b', True, 100)])]"
# The fake service answers an id with the error of its epoch: ENOENT 2, EPERM 1, EALREADY 114, ESTALE 116, EHOSTUNREACH 113.
error() {
	run $ctxtool cancel --fleet "$1"
	is "$1: status" "$status" "$2"
	has "$1" "$errors" "$3"
}
error a/2-1 1 "no such context"
error a/1-1 1 "fleet_cancel"
error a/72-1 1 "ended already"
error a/74-1 1 "earlier life"
error a/71-1 3 "did not answer"
run $ctxtool cancel --fleet a/2-1 a/4-12
is "one of two: status" "$status" 3
for operands in "a" "a/" "/4-1" "a/4" "a/4-x" "a/4-1-" "a/4-1-X" "a/4-1 --pid=1" "a/4-1 --all"; do
	# shellcheck disable=SC2086
	run $ctxtool cancel --fleet $operands
	is "\"$operands\": status" "$status" 2
done
run $ctxtool cancel a/4-12
is "an id of another host without --fleet: status" "$status" 2
has "an id of another host without --fleet" "$errors" "needs --fleet"
for wrong in "ls --fleet --pid=1" "tree --fleet --core=x" "ls --fleet --operations" "ls --timeout=1" "tree --fleet --timeout=0" \
	"fleet x" "fleet --timeout=x" "cancel --verbose x"; do
	# shellcheck disable=SC2086
	run $ctxtool $wrong
	is "$wrong: status" "$status" 2
done

echo "doctor"
run $ctxtool doctor
is "doctor: status" "$status" 0
has "doctor" "$out" "the fleet works"
has "doctor: a warning" "$out" "grace: 30s, less than a failover of 32s
    try: man 5 ctxd.conf
         set fleet_grace = 1m there"
scene engine
run $ctxtool doctor
is "doctor with an error: status" "$status" 1
has "doctor with an error" "$out" "rights: XADD is denied
    try: redis-cli ACL SETUSER a +xadd
         then ACL SAVE"
run $ctxtool doctor --json
is "doctor --json: status" "$status" 1
is "doctor --json" "$(json "$out" '(d["usable"], d["fleet"]["works"], [f["severity"] for f in d["fleet"]["findings"]])')" \
	"(True, False, ['ok', 'ok', 'warning', 'error'])"

echo "many"
scene many 30 300
run $ctxtool tree --fleet --json
is "many: status" "$status" 0
is "many: contexts, and those below one of another host" \
	"$(json "$out" 'len(d["entries"]), sum(1 for e in d["entries"] if e["parent"] and e["parent"].split("/")[0] != e["host"])')" \
	"9000 4500"
echo "ctxtool and the fleet: as its manual says"
