#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Ways to the engine, see examples/fleet_hosts.sh: a user of the engine with few rights and a password, a unix socket; and
# which hosts hear each other: those of one fleet, with one key.

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
fleet_settings=("fleet_lease = 2500ms" "fleet_grace = 10s")

# start_all: with what configure has written.
start_all() {
	local host
	start_hosts a b c
	for host in a b c; do
		start_actor $host $host
	done
}
end_all() {
	local host pid
	for host in a b c; do
		for pid in ${members[$host]}; do
			leave "$pid"
		done
		members[$host]=
		rm -f "$work/$host/ctxd.conf" "$work/$host/ctxd.sock"
		redis "$master" del "$(lease_key $host)" >/dev/null
	done
}

# Each host has a user who may read its own inbox and write its own lease, and no more. b comes by a unix socket.
few_rights_and_a_socket_are_enough() {
	local host
	for host in a b c; do
		redis "$master" acl setuser "$host" on ">secret-$host" resetkeys "%W~ctx:$fleet_name:in:*" \
			"%RW~ctx:$fleet_name:in:$host" "%RW~ctx:$fleet_name:lease:$host" "%R~ctx:$fleet_name:lease:*" \
			-@all +xadd +xread +xtrim +set +mget +ping +role +pexpire >/dev/null
		echo "secret-$host" >"$work/$host/password"
		chmod 600 "$work/$host/password"
		configure "$host" "fleet_user = $host" "fleet_password_file = $work/$host/password"
	done
	sed -i "s|^fleet_engine.*|fleet_engine = unix:$work/engine/redis.sock|" "$work/b/ctxd.conf"
	# Nobody else may do anything.
	redis "$master" acl setuser default on nopass allkeys -@all +ping +role +exists +acl +del +@connection >/dev/null
	start_all
	crosses a b by_user
	crosses b a by_user_back
	crosses c b by_user_c
	redis "$master" acl setuser default on nopass allkeys +@all >/dev/null
	end_all
}

a_wrong_password_is_told() {
	configure a "fleet_user = a" "fleet_password_file = $work/a/password"
	echo wrong >"$work/a/password"
	start_ctxd a
	start_bridge a
	await_line "${bridge_log[a]}" "WRONGPASS|password"
	end_all
}

# c has another key than a and b, so it can neither ask nor end anything.
a_key_keeps_others_out() {
	local host
	for host in a b c; do
		head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$work/$host/key"
		chmod 600 "$work/$host/key"
		configure $host "fleet_key_file = $work/$host/key"
	done
	cp "$work/a/key" "$work/b/key"
	start_all
	crosses a b with_key
	shares a locked
	must b join locked "$id" wait
	refused EHOSTUNREACH c join locked "$id" wait
	lives b locked
	must a cancel locked
	ended_as b locked call a
	end_all
}

# c is in another fleet, on the same engine.
a_fleet_does_not_hear_another() {
	configure a
	configure b
	configure c
	sed -i "s|^fleet_name.*|fleet_name = other|" "$work/c/ctxd.conf"
	start_hosts a b
	start_ctxd c
	start_bridge c
	until_true 30 has_other_lease || fail "the bridge of the other fleet takes no lease"
	start_actor a a
	start_actor b b
	start_actor c c
	shares a ours
	must b join ours "$id" wait
	# In its fleet there is no host a.
	must c join ours "$id" wait
	ended_as c ours host a
	lives b ours
	end_all
}
has_other_lease() { [[ $(redis "$master" exists ctx:other:lease:c) == 1 ]]; }

fleet_begin
start_engine "" --unixsocket "$work/engine/redis.sock"
run_tests few_rights_and_a_socket_are_enough a_wrong_password_is_told a_key_keeps_others_out a_fleet_does_not_hear_another
echo "fleet ($network): users, a unix socket, keys and names of fleets"
