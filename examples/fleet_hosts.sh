# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: MIT
#
# A fleet of hosts on one machine, for the demo, the tests and the benchmark of ctxd-fleet: hosts a, b and c, each with
# a ctxd and a ctxd-fleet, and a host "engine" with a Redis master, a replica and Sentinel. Each host is a network
# namespace with a cable (a veth pair) to one bridge, to which the script itself belongs as well.
#
# A script calls enter_network before it sources lib.sh:
#
#	. examples/fleet_hosts.sh
#	enter_network "$@"
#	. examples/lib.sh
#	fleet_begin
#
# enter_network runs the script again in a network namespace of its own. So several runs do not see each other, and
# nothing is left when the last process has ended: all processes end with the script, even when that is killed.
#
# Without the right to make namespaces, or with FLEET_NETWORK=loopback, $network is "loopback". Hosts are then
# addresses of 127.0.0.0/8, and the cable is a relay for each host on the way to the engine, which is stopped to pull it.
# What then differs: only the way to the engine is cut, not that between programs; there is no Sentinel, so it is the
# script that makes the replica the master; and all hosts share the kernel's host name, so each has its own configured.

#
# FLEET_LOGS=FOLDER keeps what all processes have printed.

hosts=(a b c)
declare -A holder=() members=() address=() cable=() cable_pids=() redis_pids=() ctxd_pids=() bridge_pids=() bridge_log=()
starts=0 # makes the names of logs differ
sentinel_port=26379
fleet_name=demo
# Lines of ctxd.conf(5) that all hosts have.
fleet_settings=("fleet_lease = 1500ms" "fleet_grace = 30s")

may_make_namespaces() {
	local test='ip link set lo up && ip link add fleet type bridge && ip link add one type veth peer name two &&
		unshare --net --uts -- hostname a'
	# shellcheck disable=SC2086
	unshare $1 --net -- sh -c "$test" >/dev/null 2>&1
}

# enter_network ARGUMENT...: the arguments are those of the script. Sets $network.
enter_network() {
	local script=$PWD/${0#"$PWD"/} rights
	[[ -x $script ]] || script=$PWD/$(basename "$(dirname "$0")")/$(basename "$0")
	network=${FLEET_NETWORK:-}
	[[ -z $network ]] || return 0
	export FLEET_NETWORK=namespaces
	for rights in "" "--user --map-root-user"; do
		# shellcheck disable=SC2086
		may_make_namespaces "$rights" && exec unshare $rights --net -- "$script" "$@"
	done
	network=loopback
	export FLEET_NETWORK=loopback
}

# lacks_engine: true, with the reason in $reason, where the fleet cannot run.
lacks_engine() {
	local program
	for program in redis-server redis-cli; do
		command -v $program >/dev/null || { reason="$program is missing"; return 0; }
	done
	[[ -x build/ctxd-fleet ]] || { reason="ctxd-fleet was not built: hiredis is missing"; return 0; }
	return 1
}

# ---- the network

fleet_begin() {
	local host number=0 run=$((RANDOM % 250 + 1)).$((RANDOM % 250 + 1))
	trap fleet_end EXIT
	for host in "${hosts[@]}" engine; do
		number=$((number + 1))
		mkdir -p "$work/$host"
		members[$host]=
		if [[ $network == namespaces ]]; then
			address[$host]=10.77.0.$number
		else
			address[$host]=127.$run.$number
			cable[$host]=127.$run.$((number + 100))
		fi
	done
	if [[ $network == namespaces ]]; then
		ip link set lo up && ip link add fleet type bridge && ip link set fleet up &&
			ip address add 10.77.0.254/24 dev fleet || fail "the bridge cannot be made"
		for host in "${hosts[@]}" engine; do
			make_namespace "$host"
		done
	fi
}

make_namespace() {
	local host=$1
	start "$host" setpriv --pdeathsig KILL unshare --net --uts -- \
		sh -c 'hostname "$0" && ip link set lo up && echo up && exec sleep infinity' "$host"
	holder[$host]=$started
	await_line "$work/$host.out" up
	ip link add "cable-$host" type veth peer name eth0 netns "${holder[$host]}" &&
		ip link set "cable-$host" master fleet up &&
		on "$host" ip address add "${address[$host]}/24" dev eth0 && on "$host" ip link set eth0 up ||
		fail "host $host cannot be made"
}

# All processes are ended at once, those that are stopped as well.
fleet_end() {
	local pid left=()
	trap '' INT TERM
	for pid in "${children[@]}"; do
		kill -KILL "$pid" 2>/dev/null
	done
	for pid in "${children[@]}"; do
		wait "$pid" 2>/dev/null
		gone "$pid" || left+=("$pid")
	done
	[[ ${#left[@]} == 0 ]] || echo "left behind: ${left[*]}" >&2
	children=()
	[[ -z ${FLEET_LOGS:-} ]] || cp -r "$work" "$FLEET_LOGS"
	cleanup
}

# on HOST COMMAND...: runs a command there, and waits for it.
on() {
	enter "$1"
	"${entered[@]}" "${@:2}"
}

# enter HOST: sets $entered to what runs a command there.
enter() {
	entered=(env "CTXD_SOCKET=$work/$1/ctxd.sock")
	[[ $network == loopback ]] || entered+=(nsenter --target "${holder[$1]}" --net --uts --)
}

# start_on HOST NAME COMMAND...: starts it there, with its output in $work/HOST.NAME.out and .err. Sets $started.
start_on() {
	local host=$1 name=$2
	shift 2
	enter "$host"
	start "$host.$name" setpriv --pdeathsig KILL "${entered[@]}" "$@"
	members[$host]+=" $started"
}

# cable_out HOST, cable_in HOST
cable_out() {
	if [[ $network == namespaces ]]; then
		ip link set "cable-$1" down
	else
		kill -STOP ${cable_pids[$1]}
	fi
}
cable_in() {
	if [[ $network == namespaces ]]; then
		ip link set "cable-$1" up
	else
		kill -CONT ${cable_pids[$1]}
	fi
}

# know_neighbours: hosts keep the hardware addresses of each other when their cables are pulled. Without that the kernel
# asks for them again, once a second, so that what is sent after the cable is back may wait for up to a second.
know_neighbours() {
	local host other mac
	[[ $network == namespaces ]] || return 0
	for host in "${hosts[@]}" engine; do
		mac=$(on "$host" ip -o link show eth0 | sed "s/.*ether //; s/ .*//")
		for other in "${hosts[@]}" engine; do
			[[ $other == "$host" ]] ||
				on "$other" ip neighbour replace "${address[$host]}" lladdr "$mac" dev eth0 nud permanent
		done
	done
}

# kill_host HOST: as when its power fails: nobody is told by a closed connection.
kill_host() {
	local pid
	cable_out "$1"
	for pid in ${members[$1]}; do
		leave "$pid"
	done
	members[$1]=
}

# pause HOST, resume HOST: all its processes.
pause() { kill -STOP ${members[$1]}; }
resume() { kill -CONT ${members[$1]}; }

# ---- the engine

# start_redis NAME PORT OPTION...: sets $started.
start_redis() {
	local name=$1 port=$2
	shift 2
	start_on engine "$name" redis-server --port "$port" --bind "${address[engine]}" --protected-mode no --save '' \
		--appendonly no --repl-diskless-sync yes --repl-diskless-sync-delay 0 --dir "$work/engine" "$@"
	until_true 30 answers "$port" || fail "redis-server does not start: $(tail -n 3 "$work/engine.$name.out")"
}

redis() { redis-cli -h "${address[engine]}" -p "$1" "${@:2}"; }
answers() { [[ $(redis "$1" ping 2>/dev/null) == PONG ]]; }
is_master() { [[ $(redis "$1" role 2>/dev/null | head -n 1) == master ]]; }
is_replica() { [[ $(redis "$1" info replication 2>/dev/null) == *master_link_status:up* ]]; }
knows_replica() {
	local said
	said=$(redis $sentinel_port sentinel ckquorum fleet 2>&1; redis $sentinel_port sentinel replicas fleet 2>&1)
	[[ $said == OK*"$1"* ]]
}

# start_engine "" OPTION...: one Redis. start_engine failover OPTION...: a master, a replica, and Sentinel.
start_engine() {
	local host
	start_redis master-$((starts += 1)) 6379 "${@:2}"
	redis_pids[6379]=$started
	master=6379 replica=
	if [[ ${1:-} == failover ]]; then
		start_replica 6380 6379
		[[ $network == loopback ]] || start_sentinel
	fi
	[[ $network == namespaces ]] && return
	for host in "${hosts[@]}"; do
		cable_pids[$host]=
		start_relay "$host" 6379
		[[ -z $replica ]] || start_relay "$host" 6380
	done
}

# start_replica PORT MASTER_PORT
start_replica() {
	local name=replica-$((starts += 1))
	start_redis $name "$1" --replicaof "${address[engine]} $2"
	redis_pids[$1]=$started
	replica=$1
	until_true 30 is_replica "$1" || fail "the replica does not follow: $(tail -n 3 "$work/engine.$name.out")"
}

start_sentinel() {
	cat >"$work/engine/sentinel.conf" <<-END
		port $sentinel_port
		bind ${address[engine]}
		protected-mode no
		dir $work/engine
		sentinel monitor fleet ${address[engine]} 6379 1
		sentinel down-after-milliseconds fleet 1000
		sentinel failover-timeout fleet 5000
	END
	start_on engine sentinel redis-server "$work/engine/sentinel.conf" --sentinel
	sentinel_pid=$started
	until_true 30 knows_replica "$replica" || fail "Sentinel does not see the replica: $(tail -n 3 "$work/engine.sentinel.out")"
}

start_relay() {
	start "$1.relay-$2" $bin/fleet_relay "${cable[$1]}:$2" "${address[engine]}:$2"
	cable_pids[$1]+=" $started"
	await_line "$work/$1.relay-$2.out" ready
}

# kill_master: the replica becomes the master: see await_promotion.
kill_master() {
	leave "${redis_pids[$master]}"
	members[engine]=${members[engine]/ ${redis_pids[$master]}/}
	old_master=$master master=$replica replica=
	[[ $network == namespaces ]] || redis "$master" replicaof no one >/dev/null
}
await_promotion() { until_true 30 is_master "$master" || fail "the replica was not made the master"; }

# engine_address HOST: how that host reaches the engine.
engine_address() {
	local at=${address[engine]}
	[[ $network == namespaces ]] || at=${cable[$1]}
	if [[ -z $replica ]]; then
		echo "redis://$at:$master"
	elif [[ $network == namespaces ]]; then
		echo "sentinel://fleet@$at:$sentinel_port"
	else
		echo "redis://$at:6379,$at:6380"
	fi
}

# ---- ctxd and ctxd-fleet

# configure HOST LINE...
configure() {
	local host=$1
	shift
	{
		echo "fleet_engine = $(engine_address "$host")"
		echo "fleet_name = $fleet_name"
		[[ $network == namespaces ]] || echo "fleet_host = $host"
		printf '%s\n' "${fleet_settings[@]}" "$@"
	} >"$work/$host/ctxd.conf"
}

start_ctxd() {
	local name=ctxd-$((starts += 1))
	start_on "$1" $name $ctxd -c "$work/$1/ctxd.conf" -s "$work/$1/ctxd.sock"
	ctxd_pids[$1]=$started
	await_line "$work/$1.$name.err" "event=start "
}

start_bridge() {
	local name=ctxd-fleet-$((starts += 1))
	start_on "$1" $name build/ctxd-fleet -c "$work/$1/ctxd.conf" -s "$work/$1/ctxd.sock" \
		--state="$work/$1" -l "${fleet_log_level:-info}"
	bridge_pids[$1]=$started
	bridge_log[$1]=$work/$1.$name.err
}

has_lease() { [[ $(redis "$master" exists "$(lease_key "$1")" 2>/dev/null) == 1 ]]; }
lease_key() { echo "ctx:$fleet_name:lease:$1"; }
await_lease() {
	until_true 30 has_lease "$1" || fail "the bridge of $1 takes no lease: $(tail -n 3 "${bridge_log[$1]}")"
}

# kill_member HOST PID: one process of a host, with SIGKILL.
kill_member() {
	leave "$2"
	members[$1]=${members[$1]/ $2/}
}

# start_hosts HOST...: ctxd and ctxd-fleet of each, until all have leases.
start_hosts() {
	local host
	for host; do
		[[ -e $work/$host/ctxd.conf ]] || configure "$host"
		start_ctxd "$host"
		start_bridge "$host"
	done
	for host; do
		await_lease "$host"
	done
}

# ---- times

# The wall clock in microseconds, as the programs of the fleet write it into their logs.
now_us() { echo "${EPOCHREALTIME/[.,]/}"; }
# ms_between FROM_US TO_US
ms_between() { awk -v us=$(($2 - $1)) 'BEGIN { printf "%.1f", us / 1000 }'; }
