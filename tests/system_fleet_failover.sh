#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Three hosts and an engine with a replica and Sentinel, see examples/fleet_hosts.sh: cables are pulled and put back, the
# engine's master is killed, and the engine goes away for a while and for good. tests/system_fleet.sh has the rest.

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
need $bin/fleet_relay $ctxtool $ctxd
skip_without_fleet
compile_actor
# The grace is longer than a failover.
fleet_settings=("fleet_lease = 3s" "fleet_grace = 10s")

# Shares a context as NAME, which b joins; what comes before has arrived then.
joined() {
	shares a "$1"
	must b join "$1" "$id" wait
}

a_joiner_that_was_cut_off_hears_of_ends() {
	joined cut_b
	joined cut_b_live
	cable_out b
	must a cancel cut_b
	crosses a c meanwhile_b
	lives b cut_b
	cable_in b
	ended_as b cut_b call a
	crosses a b after_cut_b
	lives b cut_b_live
	must a cancel cut_b_live
	ended_as b cut_b_live call a
}

# It is cut off for less than a lease.
an_owner_that_was_cut_off_tells_its_ends() {
	joined cut_a
	joined cut_a_live
	cable_out a
	must a cancel cut_a
	cable_in a
	ended_as b cut_a call a
	crosses a b after_cut_a
	lives b cut_a_live
	must a cancel cut_a_live
	ended_as b cut_a_live call a
}

a_host_without_network_counts_as_dead() {
	local lost_id
	joined lost_a
	lost_id=$id
	must c join lost_a "$id" survive
	cable_out a
	ended_as b lost_a host a
	crosses b c without_a
	lives a lost_a
	lives c lost_a
	cable_in a
	joins_again b "$lost_id"
	must a cancel lost_a
	ended_as b "$again" call a
	ended_as c lost_a call a
}

# Cancels before the replica is the master, and after.
a_master_that_is_killed_ends_nothing() {
	joined early
	joined late
	joined lasting
	kill_master
	must a cancel early
	await_promotion
	must a cancel late
	ended_as b early call a
	ended_as b late call a
	crosses a b after_failover
	crosses c a after_failover_c
	lives b lasting
	must a cancel lasting
	ended_as b lasting call a
}

# Both servers are killed, and what was the replica comes back without anything.
an_engine_that_comes_back_empty_ends_nothing() {
	joined early_empty
	joined lasting_empty
	leave "${redis_pids[$master]}"
	must a cancel early_empty
	start_redis empty "$master"
	redis_pids[$master]=$started
	ended_as b early_empty call a
	crosses a b after_empty
	lives b lasting_empty
	must a cancel lasting_empty
	ended_as b lasting_empty call a
}

# Its grace is over for b while the owner's host is fine.
a_joiner_that_is_cut_off_for_longer_than_the_grace_gives_up() {
	joined alone
	must b join brave "$id" survive
	cable_out b
	ended_as b alone unreachable a
	lives b brave
	cable_in b
	lives a alone
	must a cancel alone
	ended_as b brave call a
}

an_engine_that_is_gone_for_good_ends_what_was_joined() {
	joined last
	must b join last_brave "$id" survive
	leave "${redis_pids[$master]}"
	say_to c join never "$id" wait
	ended_as b last unreachable a
	lives b last_brave
	lives a last
	hear_from c
	[[ $answer == "error EHOSTUNREACH" ]] || fail "c has joined without an engine: $answer"
}

fleet_begin
start_engine failover
start_hosts a b c
for host in a b c; do
	start_actor $host $host
done
run_tests a_joiner_that_was_cut_off_hears_of_ends an_owner_that_was_cut_off_tells_its_ends \
	a_host_without_network_counts_as_dead a_master_that_is_killed_ends_nothing \
	an_engine_that_comes_back_empty_ends_nothing a_joiner_that_is_cut_off_for_longer_than_the_grace_gives_up \
	an_engine_that_is_gone_for_good_ends_what_was_joined
echo "fleet ($network): cables, a failover, an engine that is away for a while and for good"
