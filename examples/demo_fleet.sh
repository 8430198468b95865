#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo-fleet: three hosts on this machine, see fleet_hosts.sh. A server on host a asks backends on b and c, and a
# client leaves a; then cables are pulled, the engine fails over, and host a dies. Everything that it prints has been
# checked. It ends within 60 seconds: with 0, or with another status and a reason.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/fleet_hosts.sh
. examples/fleet_hosts.sh
enter_network "$@"
: "${time_max:=58}"
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{fleet_server,fleet_backend,fleet_relay} $ctxtool $ctxd
lacks_engine && fail "$reason: make deps"
command -v curl >/dev/null || fail "curl is missing: make deps"

say() { printf '  %s\n' "$*"; }
show() { cut -c 1-150 | sed 's/^/      | /'; }

start_fleet() {
	# Whose cancels from other hosts are obeyed.
	fleet_settings+=("fleet_cancel = $(id -un)")
	fleet_begin
	start_engine failover
	start_hosts a b c
	start_programs b c
	start_server
	echo "== hosts a, b and c, each with ctxd and ctxd-fleet, and a host with Redis"
	if [[ $network == namespaces ]]; then
		say "each is a network namespace with a cable to one bridge; Redis has a replica, and Sentinel"
	else
		say "this user may not make network namespaces, so all is on loopback. Left out: Sentinel, this script makes the"
		say "replica the master; and pulled cables cut only the way to Redis, not that between the servers."
	fi
}

# start_programs HOST...: a backend on each.
start_programs() {
	local host
	declare -gA port
	for host; do
		start_on "$host" backend $bin/fleet_backend "$work/$host/port" "${address[$host]}"
		await_file "$work/$host/port" "$started"
		port[$host]=$text
	done
}

start_server() {
	rm -f "$work/a/port"
	start_on a server $bin/fleet_server "$work/a/port" "${address[a]}" "${address[b]}:${port[b]}" "${address[c]}:${port[c]}"
	await_file "$work/a/port" "$started"
	url=http://${address[a]}:$text
	server_log=$work/a.server.err
}

# ask COUNT [OPTION...]: a client asks the server, and waits until COUNT operations are pending on b and on c. Sets
# $client, $trace and $id.
ask() {
	local count=$1
	shift
	begun=$(grep -c "event=begin" "$server_log")
	start client curl -s --max-time 50 "$@" "$url/work?n=$count"
	client=$started
	until_true 30 has_begun || fail "the server does not begin: $(tail -n 2 "$server_log" "$work/client.err")"
	line=$(grep "event=begin" "$server_log" | tail -n 1)
	trace=$(field trace) id=$(field id)
	await_line "$work/b.backend.err" "event=begin trace=$trace .*operations=$count "
	await_line "$work/c.backend.err" "event=begin trace=$trace .*operations=$count "
}
has_begun() { [[ $(grep -c "event=begin" "$server_log") -gt $begun ]]; }

# client_leaves: kills the client. Sets $left_us.
client_leaves() {
	left_us=$(now_us)
	leave "$client"
}

# backend_ended HOST CAUSE FROM HOST_OF_CAUSE OPERATIONS: waits for the line that says so. Prints it, with the time
# since FROM. HOST_OF_CAUSE may be "", for any.
backend_ended() {
	await_line "$work/$1.backend.err" "event=end trace=$trace "
	[[ $(field cause) == "$2" && $line == *"host=\"$4"* ]] || fail "$1 saw another cause than $2 of \"$4\": $line"
	[[ $(field operations) == "$5" ]] || fail "$1 stopped $(field operations) operations, not $5: $line"
	took=$(ms_between "$3" "$(field at_us)")
	say "$1 stopped its $5 operations after $took ms: $(sed 's/.*cause=/cause=/' <<<"$line")"
}
# A join is optimistic: the work begins before host a knows of it.
both_have_joined() {
	on b $ctxtool tree --fleet >"$work/tree" 2>&1
	grep -A 4 "^${id%-*} " "$work/tree" >"$work/request"
	[[ $(grep -c "live.* joined there" "$work/request") == 2 ]]
}
works_on() { ! found "$work/$1.backend.err" "event=end trace=$trace "; }
faster() { awk -v ms="$took" -v max="$1" 'BEGIN { exit !(ms <= max) }'; }

finishes() {
	local out
	echo "1. A request that finishes: a asks b and c over HTTP, with the headers that ctx_inject writes."
	out=$(curl -s --max-time 20 "$url/work?n=5&ms=50")
	[[ $out == "2 of 2 backends have answered" ]] || fail "the server answers \"$out\""
	say "$out"
}

leaves() {
	echo "2. A client that leaves a, while 20 operations pend on b and 20 on c."
	ask 20 -H "grpc-timeout: 40S"
	say "the header tracestate has the id of the request: ctxring=${id%-*}-..."
	line=$(grep "event=begin trace=$trace" "$work/b.backend.err")
	[[ $(field left_ms) -gt 0 ]] || fail "b knows no deadline: $line"
	say "b also knows how much time is left: $(field left_ms) ms"
	say "ctxtool tree --fleet, on b:"
	until_true 30 both_have_joined || fail "not both joined contexts are shown: $(<"$work/tree")"
	show <"$work/request"
	client_leaves
	backend_ended b hangup "$left_us" a 20
	backend_ended c hangup "$left_us" a 20
}

comes_late() {
	echo "3. A question that reaches c only now, with the header of that request: its work is over as soon as it begins."
	trace=$(tr 0-9a-f 1-9a-f0 <<<"$trace")
	curl -s --max-time 20 -o /dev/null -H "traceparent: 00-$trace-0123456789abcdef-01" -H "tracestate: other=1,ctxring=$id" \
		"http://${address[c]}:${port[c]}/work?n=20"
	await_line "$work/c.backend.err" "event=begin trace=$trace "
	backend_ended c hangup "$(field at_us)" a 20
}

cancels() {
	local cancelled_us
	echo "4. ctxtool cancel --fleet, on c, ends a request of a on all hosts, and says when the work has stopped."
	ask 20
	until_true 30 both_have_joined || fail "not both have joined: $(<"$work/tree")"
	cancelled_us=$(now_us)
	on c $ctxtool cancel --fleet --wait --verbose --yes --cause "operator said so" "${id%-*}" >"$work/cancel" 2>&1 ||
		fail "ctxtool cancel: $(<"$work/cancel")"
	show <"$work/cancel"
	# The server on a may be done, because the backends are, before it is told.
	grep -q "on 3 hosts: ended in [1-3] process" "$work/cancel" || fail "not all hosts are reported"
	backend_ended b service "$cancelled_us" "" 20
	backend_ended c service "$cancelled_us" "" 20
	leave "$client"
}

cable_of_b() {
	local in_us
	echo "5. The cable of b is pulled out; the client leaves; a second later the cable is put back."
	ask 20
	cable_out b
	client_leaves
	backend_ended c hangup "$left_us" a 20
	sleep 1
	works_on b || fail "b stopped without being told: $line"
	say "b has heard nothing, and works on"
	cable_in b
	in_us=$(now_us)
	backend_ended b hangup "$in_us" a 20
	say "(counted from when the cable was back)"
}

master_killed() {
	local killed_us
	echo "6. The Redis master is killed, and the client leaves at once."
	ask 20
	killed_us=$(now_us)
	kill_master
	client_leaves
	await_promotion
	say "the replica is the master after $(ms_between "$killed_us" "$(now_us)") ms"
	backend_ended b hangup "$killed_us" a 20
	backend_ended c hangup "$killed_us" a 20
}

host_killed() {
	local killed_us
	echo "7. Host a loses its power, while its client waits. Its lease is 1.5 s."
	ask 20
	killed_us=$(now_us)
	kill_host a
	backend_ended b host "$killed_us" a 20
	backend_ended c host "$killed_us" a 20
	leave "$client"
}

start_fleet
finishes
leaves
comes_late
cancels
cable_of_b
master_killed
host_killed
echo "== report, after $SECONDS s"
say "a client that left, a late join, ctxtool cancel, a cable, a failover of the engine, a host that died"
echo "  everything that was claimed was checked"
