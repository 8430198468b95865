#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Three hosts, see examples/fleet_hosts.sh, with the real engine, and what becomes of contexts when something fails:
# programs, ctxd, ctxd-fleet, a host, or what the engine keeps. tests/system_fleet_failover.sh has cables and failovers.

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
fleet_settings=("fleet_lease = 2500ms" "fleet_grace = 10s" "fleet_cancel = $(id -un)")

# ---- what works

an_end_reaches_all_who_joined() {
	shares a end
	must b join end "$id"
	must c join end "$id" wait
	must a cancel end enough
	ended_as b end call a
	[[ $line == *'text="enough"'* ]] || fail "the text does not cross: $line"
	ended_as c end call a
}

a_late_join_is_born_done() {
	shares a late
	must a cancel late over
	must b join late "$id" wait
	ended_as b late call a
	must c join late "$id"
	ended_as c late call a
}

an_owner_that_dies_ends_all() {
	start_actor mortal a
	shares mortal dies
	must b join dies "$id" wait
	kill_actor mortal a
	ended_as b dies owner a
}

deadlines_cross_and_are_never_earlier() {
	local left
	shares a bounded 60000
	must b join bounded "$id" wait
	must b left bounded
	left=$answer
	must a left bounded
	# What is left can only become less: b was asked first.
	[[ $left -ge $answer && $left -le 60000 ]] || fail "the deadline of the joiner is earlier: $left ms before $answer ms"
	must a move bounded 600000
	until_true 30 has_moved || fail "the deadline was not moved: $left"
	must a move bounded 1
	# b may see the deadline itself, before it is told.
	await_line "${actor_log[b]}" "event=done name=bounded cause=deadline "
}
has_moved() { must b left bounded && left=$answer && [[ $left -gt 60000 ]]; }

strangers_are_refused() {
	local secret local_id
	shares a secret
	secret=${id##*-}
	refused ENOENT b join wrong_secret "${id%-*}-$(tr 0-9a-f 1-9a-f0 <<<"$secret")" wait
	must a keep local
	local_id=$answer
	refused ENOENT b join not_shared "a/$local_id-$secret" wait
	# Without wait it is live until the owner's host has said no.
	must b join not_shared "a/$local_id-$secret"
	ended_as b not_shared host a
	refused EINVAL b join broken "a/$local_id" wait
	must a cancel secret
}

# A mirror serves a second program on the same host, and the last that leaves leaves for all.
what_is_withdrawn_is_joined_by_no_further_host() {
	shares a withdrawn
	must b join withdrawn "$id" wait
	must a unshare withdrawn
	# ctxd tells ctxd-fleet of it after it has answered.
	until_true 30 cannot_join c "$id" || fail "another host joins what is withdrawn"
	lives b withdrawn
	must a cancel withdrawn
	ended_as b withdrawn call a
}
cannot_join() { tell "$1" join withdrawn-$((tries += 1)) "$2" wait && [[ $answer == *ENOENT* ]]; }
tries=0

programs_of_a_host_join_one_mirror() {
	start_actor second b
	shares a twice
	must b join twice "$id" wait
	must second join twice "$id" wait
	must second release twice
	must a cancel twice
	ended_as b twice call a
	kill_actor second b
}

two_tiers_of_http() {
	local url at
	start_on b backend $bin/fleet_backend "$work/b/port" "${address[b]}"
	await_file "$work/b/port" "$started"
	at=${address[b]}:$text
	start_on a server $bin/fleet_server "$work/a/port" "${address[a]}" "$at"
	await_file "$work/a/port" "$started"
	url=http://${address[a]}:$text
	[[ $(curl -s --max-time 30 "$url/work?n=3&ms=1") == "1 of 1 backends have answered" ]] || fail "no answer over two tiers"
	# A client that leaves the first tier ends the second.
	start client curl -s --max-time 60 -H "grpc-timeout: 60S" -H "tracestate: vendor=1" "$url/work?n=20"
	await_line "$work/a.server.err" "event=begin .*id=a/" && id=$(field id)
	until_true 30 found "$work/b.backend.err" "event=begin .*operations=20 left_ms=[0-9]{5}" || fail "the deadline does not cross"
	leave "$started"
	await_line "$work/b.backend.err" "event=end .*operations=20 cause=hangup host=\"a\""
	# The id in a header that was made by hand, among members of others.
	start other_client curl -s --max-time 60 "$url/work?n=21"
	client=$started
	await_line "$work/b.backend.err" "event=begin .*operations=21"
	id=$(grep "event=begin" "$work/a.server.err" | tail -n 1 | sed 's/.*id=//')
	start by_hand curl -s --max-time 60 -H "traceparent: 00-$(printf 1%.0s {1..32})-0123456789abcdef-01" \
		-H "tracestate: vendor=1,ctxring=$id,other=2" "http://$at/work?n=22"
	await_line "$work/b.backend.err" "event=begin .*operations=22"
	leave "$client"
	await_line "$work/b.backend.err" "event=end .*operations=22 cause=hangup host=\"a\""
}

# Each from a host that is not the owner's.
ctxtool_sees_and_cancels_on_all_hosts() {
	local out status
	shares a shown
	must b join shown "$id" wait
	must c join shown "$id" wait
	out=$(on b $ctxtool fleet) || fail "ctxtool fleet: status $?: $out"
	[[ $(grep -cE "^(a|c) +alive|^b +this host" <<<"$out") == 3 ]] || fail "not three hosts: $out"
	out=$(on b $ctxtool tree --fleet) || fail "ctxtool tree --fleet: status $?: $out"
	[[ $out == *"${id%-*} \"shown\" live"*"b/"*joined*"c/"*joined* ]] || fail "the tree lacks something: $out"
	out=$(on c $ctxtool cancel --fleet --wait --yes --cause "by operator" "${id%-*}") || fail "cancel: status $?: $out"
	# On a busy machine the end itself may be faster than a cancel that counts.
	[[ $out == *"on 3 hosts: ended in "[1-3]" process"* ]] || fail "not all have reported: $out"
	for host in a b c; do
		await_line "${actor_log[$host]}" "event=done name=shown cause=service .*by operator"
	done
	# A host that does not answer is named.
	kill -STOP "${bridge_pids[c]}"
	status=0
	out=$(on b $ctxtool tree --fleet 2>&1) || status=$?
	kill -CONT "${bridge_pids[c]}"
	[[ $status == 1 && $out == *"host c did not answer"* ]] || fail "a silent host: status $status: $out"
	crosses b c after_silence
}

# ---- what the engine keeps

# Entries of an inbox that are no messages, and one that is cut.
broken_messages_are_ignored() {
	local key="ctx:$fleet_name:in:b"
	shares a sound
	must b join sound "$id" wait
	redis "$master" xadd "$key" '*' m garbage >/dev/null
	redis "$master" xadd "$key" '*' other field >/dev/null
	redis "$master" xadd "$key" '*' m "" >/dev/null
	head -c 5000 /dev/urandom | redis "$master" -x xadd "$key" '*' m >/dev/null
	crosses a b after_garbage
	lives b sound
	must a cancel sound
	ended_as b sound call a
}

# As when the wall clock of the engine jumps: the lease of a live host looks gone.
a_lease_that_looks_gone_ends_nothing() {
	local at
	shares a leased
	must b join leased "$id" wait
	for at in 1 2 3; do
		redis "$master" del "$(lease_key a)" >/dev/null
		await_lease a
	done
	crosses a b after_leases
	lives b leased
	must a cancel leased
	ended_as b leased call a
}

an_emptied_engine_ends_nothing() {
	shares a emptied
	must b join emptied "$id" wait
	redis "$master" flushall >/dev/null
	await_lease a
	await_lease b
	crosses a b after_flush
	crosses b a after_flush_back
	lives b emptied
	must a cancel emptied
	ended_as b emptied call a
}

a_second_host_of_one_name_is_refused() {
	local status
	mkdir -p "$work/twin"
	sed '/^fleet_host/d' "$work/a/ctxd.conf" >"$work/twin/ctxd.conf"
	echo "fleet_host = a" >>"$work/twin/ctxd.conf"
	start_on c twin-ctxd $ctxd -c "$work/twin/ctxd.conf" -s "$work/twin/ctxd.sock"
	await_line "$work/c.twin-ctxd.err" "event=start "
	start_on c twin-bridge build/ctxd-fleet -c "$work/twin/ctxd.conf" -s "$work/twin/ctxd.sock"
	ended "$started"
	[[ $status != 0 ]] || fail "the second bridge with that name ended with status 0"
	crosses a b after_twin
}

# ---- daemons

# Nothing ends, ends go through the pipes, and what the bridge has joined goes on after the restart.
ctxd_of_the_owner_is_killed() {
	local first
	shares a before
	first=$id
	must b join before "$first" wait
	shares a meanwhile
	must b join meanwhile "$id" wait
	kill_member a "${ctxd_pids[a]}"
	must a cancel meanwhile
	ended_as b meanwhile call a
	lives b before
	start_ctxd a
	until_true 30 shares_again || fail "the actor does not come back"
	must c join again "$id" wait
	must a cancel before
	ended_as b before call a
	must a cancel again
	ended_as c again call a
}
shares_again() { tell a share again && id=${answer#ok } && [[ $answer == ok* ]]; }

ctxd_of_the_joiner_is_killed() {
	shares a joined
	must b join joined "$id" wait
	kill_member b "${ctxd_pids[b]}"
	shares a other
	start_ctxd b
	joins_again b "$id"
	lives b joined
	must a cancel joined
	ended_as b joined call a
	must a cancel other
	ended_as b "$again" call a
}

bridge_of_the_owner_is_killed() {
	shares a before_a
	must b join before_a "$id" wait
	shares a missed_a
	must b join missed_a "$id" wait
	kill_member a "${bridge_pids[a]}"
	must a cancel missed_a
	start_bridge a
	ended_as b missed_a call a
	crosses a b after_a
	lives b before_a
	must a cancel before_a
	ended_as b before_a call a
}

bridge_of_the_joiner_is_killed() {
	shares a before_b
	must b join before_b "$id" wait
	shares a missed_b
	must b join missed_b "$id" wait
	kill_member b "${bridge_pids[b]}"
	must a cancel missed_b
	start_bridge b
	ended_as b missed_b call a
	crosses a b after_b
	lives b before_b
	must a cancel before_b
	ended_as b before_b call a
}

# ---- hosts

# Its owner's contexts go on, those who joined ended, and it can be joined anew.
a_paused_host_comes_back() {
	shares a paused
	must b join paused "$id" wait
	must c join paused "$id" survive
	pause a
	ended_as b paused host a
	resume a
	lives a paused
	lives c paused
	joins_again b "$id"
	must a cancel paused
	ended_as b "$again" call a
	ended_as c paused call a
}

a_dead_host_ends_what_was_joined() {
	shares a orphan
	must b join orphan "$id" wait
	must c join orphan "$id" wait
	kill_host a
	ended_as b orphan host a
	ended_as c orphan host a
	# What is joined only now is born done.
	must b join after_death "$id" wait
	ended_as b after_death host a
	crosses b c without_a
}

# The bridge of the owner joins what others have joined: a descriptor for each.
a_dead_joiner_is_forgotten() {
	local i before
	crosses b c to_dead
	before=$(descriptors_of "${bridge_pids[b]}")
	for i in {1..20}; do
		shares b "kept$i"
		must c join "kept$i" "$id" wait
	done
	[[ $(descriptors_of "${bridge_pids[b]}") -ge $((before + 20)) ]] || fail "the bridge of b has joined nothing"
	kill_host c
	until_true 30 has_at_most "$before" || fail "the bridge of b still has $(descriptors_of "${bridge_pids[b]}") descriptors"
	lives b kept1
}
descriptors_of() { find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l; }
has_at_most() { [[ $(descriptors_of "${bridge_pids[b]}") -le $1 ]]; }

fleet_begin
start_engine
start_hosts a b c
for host in a b c; do
	start_actor $host $host
done
run_tests an_end_reaches_all_who_joined a_late_join_is_born_done an_owner_that_dies_ends_all \
	deadlines_cross_and_are_never_earlier strangers_are_refused \
	what_is_withdrawn_is_joined_by_no_further_host programs_of_a_host_join_one_mirror two_tiers_of_http \
	ctxtool_sees_and_cancels_on_all_hosts \
	broken_messages_are_ignored a_lease_that_looks_gone_ends_nothing an_emptied_engine_ends_nothing \
	a_second_host_of_one_name_is_refused ctxd_of_the_owner_is_killed ctxd_of_the_joiner_is_killed \
	bridge_of_the_owner_is_killed bridge_of_the_joiner_is_killed a_paused_host_comes_back \
	a_dead_host_ends_what_was_joined a_dead_joiner_is_forgotten
echo "fleet ($network): ends, deadlines, headers; programs, daemons, hosts and what the engine keeps fail"
