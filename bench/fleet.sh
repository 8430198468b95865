#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Measures the fleet: hosts in network namespaces, see examples/fleet_hosts.sh, with the real engine:
#
#   bench/fleet.sh [--quick] [--json FILE] [FILTER]
#
# FULL=1: 200 failovers of the engine instead of a few. RUNS=, FAILOVERS= and CROWD= say how often cables, hosts and the
# engine fail, and how many hosts the tree has. A figure that is the worst of several runs says so.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/fleet_hosts.sh
. examples/fleet_hosts.sh
enter_network "$@"
options=() quick='' json=/dev/null filter=''
while [[ $# -gt 0 ]]; do
	case $1 in
	--quick) quick=1 options+=(--quick) ;;
	--json) json=$2 options+=(--json "$2") && shift ;;
	*) filter=$1 options+=("$1") ;;
	esac
	shift
done
time_max=100000
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=tests/support/fleet_actors.sh
. tests/support/fleet_actors.sh
need $ctxtool $ctxd build/bench/fleet
lacks_engine && fail "$reason"
compile_actor
runs=${RUNS:-$([[ $quick ]] && echo 3 || echo 9)}
failovers=${FAILOVERS:-$([[ $quick ]] && echo 2 || echo 10)}
[[ -z ${FULL:-} ]] || failovers=200
# A process that shares a context has two descriptors for it.
many=$([[ $quick ]] && echo 2000 || echo 10000)
[[ $many -le $((($(ulimit -Hn) - 1000) / 2)) ]] || many=$((($(ulimit -Hn) - 1000) / 2))
fleet_settings=("fleet_lease = 1500ms" "fleet_grace = 6s" "contexts = 30000" "joins = 30000" "fds = 100000"
	"remote_contexts = 30000" "remote_joins = 30000")

# report CASE VALUE UNIT [GOAL]
report() {
	printf '%-8s %-46s %12.2f %-9s %9s %-30s %s\n' fleet "$1" "$2" "$3" - - "${4:-}"
	printf '{"bench":"fleet","case":"%s","value":%s,"unit":"%s","ratio":null,"against":null,"goal":%s}\n' "$1" "$2" "$3" \
		"$([[ -n ${4:-} ]] && echo "\"$4\"" || echo null)" >>"$json"
}
wanted() { [[ "fleet/$1" == *"$filter"* ]] && echo "  fleet/$1" >&2; }

# report_times CASE GOAL MS...: the median, and the worst, which has the goal.
report_times() {
	local name=$1 goal=$2 sorted
	shift 2
	mapfile -t sorted < <(printf '%s\n' "$@" | sort -g)
	report "$name, median" "${sorted[$#/2]}" ms
	report "$name, worst of $#" "${sorted[$#-1]}" ms "$goal"
}

# seen_after FROM_US ACTOR NAME CAUSE: waits for the end, and sets $took to the time since then in ms.
seen_after() {
	ended_as "$2" "$3" "$4" a
	took=$(ms_between "$1" "$(field at_us)")
}

run_number=0
# joined: a context of a that b has joined. Sets $name.
joined() {
	name=run$((run_number += 1))
	shares a $name
	must b join $name "$id" wait
}

# begin_fleet [failover]: a fleet whose hosts have actors.
begin_fleet() {
	local host
	start_engine "$@"
	start_hosts a b c
	for host in a b c; do
		start_actor $host $host
	done
}
end_fleet() {
	local host pid
	for host in "${hosts[@]}" engine; do
		for pid in ${members[$host]}; do
			leave "$pid"
		done
		members[$host]=
		rm -f "$work/$host/"ctxd.*
	done
}

# ---- while all works

across() {
	FLEET_SOCKET_A=$work/a/ctxd.sock FLEET_SOCKET_B=$work/b/ctxd.sock FLEET_ENGINE=${address[engine]}:$master \
		build/bench/fleet "$@"
}

# commands: how many commands of the bridges the engine has served, but those by which they read their inboxes: these
# wait at the engine, for 400 ms at most.
commands() {
	redis "$master" info commandstats | awk -F '[:=,]' '/^cmdstat/ && !/info|ping|role|xread/ { n += $3 } END { print n + 0 }'
}
reads() { redis "$master" info commandstats | awk -F '[:=,]' '/^cmdstat_xread/ { n = $3 } END { print n + 0 }'; }
xadds() { redis "$master" info commandstats | awk -F '[:=,]' '/^cmdstat_xadd/ { n = $3 } END { print n + 0 }'; }
rss_bytes() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$1/status"; }
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# hold KIND COUNT: starts build/bench/fleet with that, until release is called. Sets $holder and $writer.
hold() {
	rm -f "$work/hold".*
	mkfifo "$work/hold.in"
	across "$@" <"$work/hold.in" >"$work/hold.out" &
	holder=$!
	children+=("$holder")
	exec {writer}>"$work/hold.in"
	until_true 120 grep -qE "held|joined" "$work/hold.out" || fail "cannot hold $*"
}
release() {
	echo >&"$writer"
	exec {writer}>&-
	wait "$holder" || fail "the holder ended with $?"
	forget "$holder"
}

shared_by_nobody_else() {
	local beats=12 before before_reads with with_reads without
	before=$(commands)
	sleep $((beats / 2))
	without=$(($(commands) - before))
	hold share "$many"
	before=$(commands) before_reads=$(reads)
	sleep $((beats / 2))
	with=$(($(commands) - before)) with_reads=$(($(reads) - before_reads))
	report "$many shared, none joined: commands a host and beat" \
		"$(awk -v n=$with -v beats=$beats 'BEGIN { printf "%.2f", n / 3 / beats }')" commands "<= 3"
	report "without them: commands a host and beat" \
		"$(awk -v n=$without -v beats=$beats 'BEGIN { printf "%.2f", n / 3 / beats }')" commands
	report "reads that wait in the inbox, a host and second" \
		"$(awk -v n=$with_reads -v beats=$beats 'BEGIN { printf "%.2f", n / 3 / beats * 2 }')" commands
	release
}

joined_by_one_host() {
	local bytes_a bytes_b ticks before goal=400
	bytes_a=$(rss_bytes "${bridge_pids[a]}") bytes_b=$(rss_bytes "${bridge_pids[b]}")
	hold join "$many"
	report "bridge of the owner, memory for each of $many joined" \
		$((($(rss_bytes "${bridge_pids[a]}") - bytes_a) / many)) "bytes" "<= 400"
	report "bridge of the joiner, memory for each of $many joined" \
		$((($(rss_bytes "${bridge_pids[b]}") - bytes_b) / many)) "bytes" "<= 400"
	ticks=$(($(cpu_ticks "${bridge_pids[a]}") + $(cpu_ticks "${bridge_pids[b]}")))
	sleep "$([[ $quick ]] && echo 2 || echo 6)"
	report "both bridges, CPU while $many joined contexts live, for a second" \
		"$(awk -v t=$(($(cpu_ticks "${bridge_pids[a]}") + $(cpu_ticks "${bridge_pids[b]}") - ticks)) \
			-v hz="$(getconf CLK_TCK)" -v s="$([[ $quick ]] && echo 2 || echo 6)" 'BEGIN { printf "%.2f", t / hz / s * 1000 }')" ms
	before=$(xadds)
	release
	said=$(grep p99 "$work/hold.out")
	report "$many joined, their parent cancelled: XADD commands" $(($(xadds) - before)) "commands" "<= $goal"
	report "$many joined, their parent cancelled: all seen, p50" "$(awk '{ print $4 }' <<<"$said")" ms
	report "$many joined, their parent cancelled: all seen, p99" "$(awk '{ print $6 }' <<<"$said")" ms "<= 100"
	hold local "$many"
	release
	said=$(grep p99 "$work/hold.out")
	report "$many joined on the same host: all seen, p99" "$(awk '{ print $6 }' <<<"$said")" ms
}

# ---- cables

# cut HOST SECONDS GOAL WHAT: that host is cut off while the context is cancelled.
cut() {
	local host=$1 seconds=$2 goal=$3 at times=()
	for ((run = 0; run < runs; run++)); do
		joined
		cable_out "$host"
		must a cancel $name
		sleep "$seconds"
		at=$(now_us)
		cable_in "$host"
		seen_after "$at" b $name call
		times+=("$took")
		crosses a b "$name-after"
	done
	report_times "$4 cut off for $seconds s, seen after that" "$goal" "${times[@]}"
}

# dead [blink]: host a is killed, and started again for the next run. With blink b is cut off for 0.5 s meanwhile.
dead() {
	local blink=${1:-} at times=()
	for ((run = 0; run < runs; run++)); do
		joined
		at=$(now_us)
		kill_host a
		if [[ $blink ]]; then
			sleep 0.3
			cable_out b
			sleep 0.5
			cable_in b
		fi
		seen_after "$at" b $name host
		times+=("$took")
		cable_in a
		redis "$master" del "$(lease_key a)" >/dev/null
		start_hosts a
		start_actor a a
		crosses a b "$name-after"
	done
	report_times "owner's host killed, lease 1.5 s${blink:+, the joiner cut off meanwhile}" \
		"$([[ $blink ]] && echo "<= 4300" || echo "<= 2800")" "${times[@]}"
}

# ---- the engine

# Counts contexts that have ended and were not cancelled.
live=20
join_live() {
	local i
	for ((i = 0; i < live; i++)); do
		shares a "live$1-$i"
		must b join "live$1-$i" "$id" wait
	done
}
false_ends() { grep -c "name=live$1-" "${actor_log[b]}"; }

# The port of the master as Sentinel names it.
is_named() { [[ $(redis $sentinel_port sentinel get-master-addr-by-name fleet | tail -n 1) == "$master" ]]; }

failover() {
	local early at promoted killed times=() seen=() late=() name2
	join_live failover
	for ((run = 0; run < failovers; run++)); do
		joined
		early=$name
		joined
		name2=$name
		killed=$(now_us)
		kill_master
		sleep 0.05
		must a cancel "$early"
		sleep 0.5
		must a cancel "$name2"
		until is_master "$master"; do :; done
		promoted=$(now_us)
		until is_named; do :; done
		at=$(now_us)
		seen_after "$at" b "$early" call
		times+=("$took")
		seen_after "$at" b "$name2" call
		times+=("$took")
		late+=("$(ms_between "$promoted" "$(field at_us)")")
		seen+=("$(ms_between "$killed" "$(field at_us)")")
		start_replica "$old_master" "$master"
		until_true 60 knows_replica "$old_master" || fail "Sentinel does not see the replica"
	done
	report_times "master killed, cancels seen after Sentinel names another" "<= 600" "${times[@]}"
	report_times "master killed, cancels seen after its replica is one" "" "${late[@]}"
	report_times "master killed, cancels seen after that" "" "${seen[@]}"
	report "live contexts that ended in $failovers failovers" "$(false_ends failover)" contexts "<= 0"
}

comes_back_empty() {
	local at times=()
	join_live empty
	for ((run = 0; run < runs; run++)); do
		joined
		leave "${redis_pids[$master]}"
		must a cancel $name
		sleep 1
		at=$(now_us)
		start_redis "empty$run" "$master"
		redis_pids[$master]=$started
		seen_after "$at" b $name call
		times+=("$took")
		crosses a b "$name-after"
	done
	report_times "engine away for 1 s, comes back empty, cancels seen after that" "" "${times[@]}"
	report "live contexts that ended, the engine away $runs times" "$(false_ends empty)" contexts "<= 0"
}

away_for_good() {
	local at
	joined
	at=$(now_us)
	leave "${redis_pids[$master]}"
	seen_after "$at" b $name unreachable
	report "engine away for longer than the grace of 6 s: ended after" "$took" ms "<= 6100"
}

# ---- many hosts: all in the network of this script, since only the tree is measured

# start_crowd COUNT CONTEXTS: hosts h1, h2, ..., each with a ctxd, a ctxd-fleet and a process that shares contexts.
start_crowd() {
	local i at
	for ((i = 1; i <= $1; i++)); do
		at=$work/h$i
		mkdir -p "$at"
		{
			printf '%s\n' "${fleet_settings[@]}" "fleet_engine = redis://${address[engine]}:$master" "fleet_name = $fleet_name"
			printf '%s\n' "fleet_host = h$i" "fleet_list = all"
		} | sed 's/^fleet_lease.*/fleet_lease = 6s/' >"$at/ctxd.conf"
		start "h$i.ctxd" $ctxd -c "$at/ctxd.conf" -s "$at/ctxd.sock"
	done
	for ((i = 1; i <= $1; i++)); do
		await_line "$work/h$i.ctxd.err" "event=start "
		start "h$i.ctxd-fleet" build/ctxd-fleet -c "$work/h$i/ctxd.conf" -s "$work/h$i/ctxd.sock"
		bridge_pids[h$i]=$started bridge_log[h$i]=$work/h$i.ctxd-fleet.err
		mkfifo "$work/h$i/in"
		FLEET_SOCKET_A=$work/h$i/ctxd.sock build/bench/fleet share "$2" <>"$work/h$i/in" >"$work/h$i.share.out" 2>&1 &
		children+=("$!")
	done
	for ((i = 1; i <= $1; i++)); do
		await_line "$work/h$i.share.out" held
		await_lease "h$i"
	done
}

# tree TIMEOUT_OPTION...: sets $took, $status and $missing, the number of hosts that did not answer, or not with all.
tree() {
	local at
	at=$(now_us)
	CTXD_SOCKET=$work/h1/ctxd.sock $ctxtool tree --fleet "$@" >"$work/tree" 2>"$work/tree.err"
	status=$?
	took=$(ms_between "$at" "$(now_us)")
	missing=$(grep -c "^ctxtool: host" "$work/tree.err")
}

tree_of_all() {
	local count=$1 contexts=$2 times=() missing_max=0 found
	start_crowd "$count" "$contexts"
	for ((run = 0; run < runs; run++)); do
		tree --timeout=30
		times+=("$took")
		[[ $missing -le $missing_max ]] || missing_max=$missing
		found=$(grep -c "one of many" "$work/tree")
		[[ $missing -gt 0 || $found == $((count * contexts)) ]] || fail "the tree shows $found contexts: $(head -n 3 "$work/tree.err")"
	done
	report_times "ctxtool tree --fleet, $count hosts with $contexts contexts" "<= 2000" "${times[@]}"
	report "ctxtool tree --fleet, $count hosts: most that were missing" "$missing_max" hosts "<= 0"
	kill -STOP "${bridge_pids[h2]}" "${bridge_pids[h3]}"
	tree
	report "ctxtool tree --fleet, two of $count hosts are silent" "$took" ms "<= 2000"
	[[ $status == 1 ]] && grep -qw h2 "$work/tree.err" && grep -qw h3 "$work/tree.err" ||
		fail "silent hosts: status $status: $(tail -n 3 "$work/tree.err")"
}

# The core over a fake engine that loses, doubles and reorders messages and is cut, by seed. It is one of the tests.
storms() {
	local seconds status=0
	seconds=$([[ $quick ]] && echo 5 || echo 60)
	if [[ ! -x build/tests/check_fleet_model ]]; then
		echo "fleet: build/tests/check_fleet_model is not built, so the core is not run through storms" >&2
		return
	fi
	CTX_FLEET_SECONDS=$seconds build/tests/check_fleet_model >"$work/storms" 2>&1 || status=$?
	[[ $status == 0 ]] || cat "$work/storms" >&2 # it names the seed
	report "storms over a fake engine in $seconds s" "$(sed -n 's/^\([0-9]*\) storms$/\1/p' "$work/storms")" storms
	report "storms after which an end was missing, or wrong" "$((status != 0))" storms "<= 0"
}

# any CASE...: whether the filter lets one of them run.
any() {
	local name
	for name; do
		[[ "fleet/$name" != *"$filter"* ]] || return 0
	done
	return 1
}

of_three_hosts=(across shared joined "host killed" "engine empty" "engine away")
any "${of_three_hosts[@]}" "joiner cut off" "owner cut off" failover storms tree || exit 0
fleet_begin
if any "${of_three_hosts[@]}"; then
	begin_fleet
	across "${options[@]}" || fail "the cancels across hosts"
	wanted "shared" && shared_by_nobody_else
	wanted "joined" && joined_by_one_host
	wanted "host killed" && dead && dead blink
	wanted "engine empty" && comes_back_empty
	wanted "engine away" && away_for_good
	end_fleet
fi
if any "joiner cut off" "owner cut off"; then
	fleet_settings[0]="fleet_lease = 6s"
	begin_fleet
	wanted "joiner cut off" && cut b 2 "" "joiner, that then asks for hardware addresses,"
	know_neighbours
	wanted "joiner cut off" && cut b 2 "<= 700" "joiner"
	wanted "owner cut off" && cut a 1 "<= 1000" "owner"
	end_fleet
	fleet_settings[0]="fleet_lease = 1500ms"
fi
if [[ $network == loopback ]]; then
	echo "fleet: no namespaces can be made here, so no failover by Sentinel is measured" >&2
elif wanted "failover"; then
	# The grace must not be over before Sentinel has found another master.
	fleet_settings[1]="fleet_grace = 30s"
	begin_fleet failover
	failover
	end_fleet
fi
wanted "storms" && storms
if wanted "tree"; then
	start_engine
	tree_of_all "${CROWD:-$([[ $quick ]] && echo 20 || echo 100)}" 1000
fi
exit 0
