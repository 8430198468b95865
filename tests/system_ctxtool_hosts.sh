#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxtool on three real hosts, see examples/fleet_hosts.sh: what fleet, tree, ls, cancel and doctor say of a request that runs on
# two of them, and of hosts that stop or die. tests/system_ctxtool_fleet.sh has the rest of what they print.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/fleet_hosts.sh
. examples/fleet_hosts.sh
enter_network "$@"
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=tests/support/fleet_actors.sh
. tests/support/fleet_actors.sh
need $bin/{fleet_server,fleet_backend,fleet_relay} $ctxtool $ctxd
skip_without_fleet
compile_actor
user=$(id -un)
fleet_settings=("fleet_lease = 1500ms" "fleet_grace = 3s" "fleet_cancel = $user")

is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
# run HOST ARGUMENT...: ctxtool there.
run() { status=0; out=$(on "$1" $ctxtool "${@:2}" 2>"$work/errors" </dev/null) || status=$?; errors=$(<"$work/errors"); }
json() { python3 -c "import json, sys; d = json.load(sys.stdin); print($2)" <<<"$1" || fail "not JSON, or not so: $1"; }
# local_id GLOBAL_ID: without the secret.
local_id() { echo "${1%-*}"; }

all_hosts_answer() {
	run b fleet
	is "fleet: status ($errors)" "$status" 0
	is "fleet: hosts" "$(awk 'NR > 1 {print $1, $2}' <<<"$out")" $'b this\na alive\nc alive'
	run b fleet --json
	is "fleet --json" "$(json "$out" 'all(h["round_trip_ns"] for h in d["hosts"][1:])')" True
}

a_request_is_one_tree_over_hosts() {
	local request part
	shares a request
	request=$(local_id "$id")
	must b join here "$id" wait
	shares b part
	part=$(local_id "$id")
	must c join there "$id" wait
	run c tree --fleet --json
	is "tree: status ($errors)" "$status" 0
	is "tree" "$(json "$out" 'sorted((e["depth"], e["host"], e["origin"]) for e in d["entries"]
		if e["kind"] == "shared" and e["id"].split("/")[0] in "abc" and (e["origin"] or e["id"]) in
			["'"$request"'", "'"$part"'"])')" \
		"[(0, 'a', None), (0, 'b', None), (1, 'b', '$request'), (1, 'c', '$part')]"
	run c tree --fleet
	has "tree as text" "$out" "$request \"request\" live"
	has "tree as text: the joiner" "$out" "joined by ${actor_pids[b]} actor"
	run a ls --fleet=b
	is "ls of one host: status" "$status" 0
	has "ls of one host" "$out" "joined from $request"
	must a cancel request
	must b cancel part
}

# The backend on b runs operations for the request on a; c ends it, and knows that they have stopped.
a_cancel_reaches_the_work_on_another_host() {
	local url
	start_on b backend $bin/fleet_backend "$work/b/port" "${address[b]}"
	await_file "$work/b/port" "$started"
	start_on a server $bin/fleet_server "$work/a/port" "${address[a]}" "${address[b]}:$text"
	await_file "$work/a/port" "$started"
	url=http://${address[a]}:$text
	start client curl -s --max-time 60 "$url/work?n=20"
	await_line "$work/a.server.err" "event=begin .*id=a/" && id=$(field id)
	await_line "$work/b.backend.err" "event=begin .*operations=20"
	run c cancel --fleet --dry-run "$(local_id "$id")"
	is "dry run: status ($errors)" "$status" 0
	has "dry run" "$out" "would end in 2 processes on 2 hosts"
	run c cancel --fleet --wait --json --cause "by hand" "$(local_id "$id")"
	is "cancel: status ($errors)" "$status" 0
	# On a busy machine one of both may have ended by the other before its own cancel came.
	is "cancel" "$(json "$out" '(d[0]["error"], d[0]["hosts_silent"], d[0]["ended"] in (1, 2),
		d[0]["ended"] < 2 or d[0]["operations"] >= 20, [h["host"] for h in d[0]["hosts"]])')" \
		"(None, 0, True, True, ['a', 'b'])"
	await_line "$work/b.backend.err" "event=end .*operations=20 cause=service"
	run c cancel --fleet --wait "$(local_id "$id")"
	is "again: status" "$status" 1
	has "again" "$errors" "ended already"
	run c cancel --fleet --wait "a/123-4"
	is "none: status" "$status" 1
}

doctor_finds_the_engine_well() {
	run a doctor --json
	is "doctor: status ($out)" "$status" 0
	is "doctor" "$(json "$out" 'd["fleet"]["works"], len(d["fleet"]["findings"]) > 5')" "True True"
}

a_host_that_hangs_is_named() {
	shares a hangs
	must c join hangs "$id" wait
	kill -STOP "${bridge_pids[c]}"
	run a fleet --timeout=0.3
	is "fleet: status" "$status" 1
	has "fleet" "$errors" "host c"
	run a tree --fleet --timeout=0.3
	is "tree: status" "$status" 1
	has "tree" "$errors" "host c"
	has "tree: what the others told" "$out" "$(local_id "$id") \"hangs\""
	run b cancel --fleet --wait=0.3 "$(local_id "$id")"
	is "cancel: status" "$status" 3
	has "cancel" "$errors" "host c did not answer"
	kill -CONT "${bridge_pids[c]}"
	# The end began where the cancel was asked for.
	ended_as c hangs service b
}

# Here the bridge decides who may: the user of the cancel is not in fleet_cancel of the owner's host.
an_owner_decides_who_may_cancel() {
	shares c guarded
	run a cancel --fleet "$(local_id "$id")"
	is "not allowed: status" "$status" 1
	has "not allowed" "$errors" "fleet_cancel"
	lives c guarded
	must c cancel guarded
}

without_a_bridge_it_says_so() {
	kill_member a "${bridge_pids[a]}"
	until_true 30 has_no_bridge || fail "the service still has a bridge: $errors"
	run a doctor
	is "doctor: status" "$status" 1
	has "doctor" "$out" "ctxd-fleet does not run"
	start_bridge a
	await_lease a
}
has_no_bridge() { run a fleet && [[ $status == 4 && $errors == *"does not run"* ]]; }

fleet_begin
start_engine
configure c "fleet_cancel = nobody"
sed -i "0,/^fleet_cancel = $user/{/^fleet_cancel = $user/d}" "$work/c/ctxd.conf"
start_hosts a b c
for host in a b c; do
	start_actor $host $host
done
run_tests all_hosts_answer a_request_is_one_tree_over_hosts a_cancel_reaches_the_work_on_another_host \
	doctor_finds_the_engine_well an_owner_decides_who_may_cancel a_host_that_hangs_is_named without_a_bridge_it_says_so
echo "ctxtool on hosts of a fleet ($network): hosts, trees, cancels, doctor"
