#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ctxd-fleet as who looks after it meets it: options, exit codes, files, signals, and a name that is taken. With a real
# Redis, on a unix socket.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
fleet=build/ctxd-fleet
[[ -x $fleet ]] || { echo "ctxd-fleet is not built: hiredis is missing"; exit 77; }
command -v redis-server >/dev/null || { echo "redis-server is not installed"; exit 77; }
need $ctxd $ctxtool
unset CTXD_SOCKET XDG_RUNTIME_DIR XDG_STATE_HOME STATE_DIRECTORY

# is WHAT GOT WANTED
is() { [[ $2 == "$3" ]] || fail "$1: \"$2\", not \"$3\""; }
# has WHAT TEXT PART
has() { [[ $2 == *"$3"* ]] || fail "$1: \"$2\" lacks \"$3\""; }
# run COMMAND...: sets $out (both streams) and $status.
run() { status=0; out=$(timeout 60 "$@" 2>&1 </dev/null) || status=$?; }
# end PID: ends it as a service manager does.
end() {
	kill -TERM "$1"
	ended "$1"
	is "status at its end" "$status" 0
}

run $fleet --help
is "--help" "$status" 0
has "--help" "$out" "Usage: ctxd-fleet"
while read -r option; do
	grep -q -- "Fl .*$option" man/ctxd-fleet.8 || fail "ctxd-fleet(8) lacks --$option"
done < <(grep -o -- '--[a-z-]*' <<<"$out" | sed 's/^--//')
run $fleet --version
has "--version" "$out" "ctxd-fleet 0."
for bad in --nothing --log-level=loud --socket="$(printf 'x%.0s' {1..120})" operand; do
	run $fleet "$bad"
	is "$bad" "$status" 2
	has "$bad" "$out" "--help"
done

# configure NAME LINE...
configure() {
	local file=$work/$1.conf
	shift
	printf '%s\n' "$@" >"$file"
}
engine="fleet_engine = unix:$work/redis.sock"
configure none "depth = 3"
configure address "fleet_engine = gopher://x"
configure file "$engine" "fleet_password_file = /nowhere/password"
for pair in "none=fleet_engine is not set" "address=fleet_engine: it begins with none of" \
	"file=fleet_password_file: /nowhere/password"; do
	run $fleet --config="$work/${pair%%=*}.conf"
	is "${pair%%=*}" "$status" 3
	has "${pair%%=*}" "$out" "${pair#*=}"
done
configure a "$engine" "fleet_host = a" "fleet_lease = 2s" "fleet_key_file = $work/key"
echo short >"$work/key"
chmod 600 "$work/key"
run $fleet --check-config --config="$work/a.conf"
is "--check-config" "$status" 0
run $fleet --config="$work/a.conf" --socket="$work/a.sock"
is "a short key" "$status" 3
has "a short key" "$out" "32 to 64 bytes"
[[ $out != *short* ]] || fail "the log has the key"
printf '%064d\n' 1 >"$work/key"

start redis redis-server --port 0 --unixsocket "$work/redis.sock" --save '' --appendonly no --dir "$work"
start ctxd $ctxd --socket="$work/a.sock" --config="$work/a.conf"
until_true 30 test -S "$work/redis.sock" || fail "Redis does not start"
mkdir "$work/state"
# bridge NAME: starts one for host a.
bridge() {
	start "$1" $fleet --socket="$work/a.sock" --config="$work/a.conf" --state="$work/state"
	log=$work/$1.err
}

echo "serving, reloading, ending"
bridge first
await_line "$log" "event=lease host=a"
await_line "$log" "event=service state=ready host=a"
until_true 30 test -s "$work/state/incarnation" || fail "it keeps no incarnation"
is "who may read the state" "$(stat -c %a "$work/state/incarnation")" 600
until_true 30 env CTXD_SOCKET="$work/a.sock" $ctxtool fleet >/dev/null || fail "ctxtool fleet fails"
configure a "$engine" "fleet_host = a" "fleet_lease = 3s" "fleet_key_file = $work/key" "fleet_grace = 5s" "log_level = debug"
kill -HUP "$started"
await_line "$log" 'event=reload settings="fleet_lease" remedy="restart ctxd-fleet"'
await_line "$log" "event=reload level=7"
echo "nonsense" >"$work/a.conf"
kill -HUP "$started"
await_line "$log" "event=config .*line 1"
configure a "$engine" "fleet_host = a" "fleet_lease = 2s" "fleet_key_file = $work/key"
end "$started"

echo "one that crashed, and a name that is taken"
bridge second
await_line "$log" "event=lease host=a"
second=$started
leave "$second"
bridge third
await_line "$log" "event=lease host=a"
third=$started
# Another one with the same name, as on a machine that was cloned, knows no incarnation of it.
start clone $fleet --socket="$work/a.sock" --config="$work/a.conf"
ended "$started"
is "a name that is taken" "$status" 4
await_line "$work/clone.err" "event=name host=a .*another bridge has this name"
kill -0 "$third" || fail "the one that has the name ended"

echo "ctxd that has another name for the host"
configure b "$engine" "fleet_host = b" "fleet_key_file = $work/key"
run $fleet --socket="$work/a.sock" --config="$work/b.conf" --state="$work/state"
is "another name" "$status" 3
has "another name" "$out" "another name for this host"
end "$third"

echo "a password that the engine does not take"
echo wrong >"$work/password"
chmod 600 "$work/password"
configure refused "$engine" "fleet_host = a" "fleet_lease = 2s" "fleet_user = web" "fleet_password_file = $work/password" \
	"fleet_key_file = $work/key"
start refused $fleet --socket="$work/a.sock" --config="$work/refused.conf"
refused=$started
await_line "$work/refused.err" "event=service state=ready host=a"
await_line "$work/refused.err" "event=engine .*WRONGPASS"
run env CTXD_SOCKET="$work/a.sock" $ctxtool doctor
has "a wrong password: the link" "$out" "down, has not been up yet"
has "a wrong password: the remedy" "$out" "compare fleet_user and fleet_password_file"
[[ $out != *"all that are needed"* ]] || fail "doctor knows of rights, though the engine was never reached"
run env CTXD_SOCKET="$work/a.sock" $ctxtool fleet
is "a wrong password: ctxtool fleet" "$status" 1
has "a wrong password: ctxtool fleet" "$out" "this host has no link to the engine"
end "$refused"
[[ $(cat "$work"/*.err) != *0000000001* ]] || fail "a log has the key"
echo "ctxd-fleet starts, reloads, ends, and says why it does not run"
