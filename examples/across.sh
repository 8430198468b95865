# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: MIT
#
# The part of the demo with several processes: ctxd, a server, a backend, and clients that leave. demo.sh sources it
# and has the functions that it uses.

start_across() {
	export CTXD_SOCKET=$work/ctxd.sock
	start ctxd $ctxd
	ctxd_pid=$started
	await_line "$work/ctxd.err" "event=start "
	start backend $bin/across_backend "$work/backend.port"
	backend_pid=$started
	await_file "$work/backend.port" "$backend_pid"
	backend_port=$text
	start_across_server
}

start_across_server() {
	rm -f "$work/server.port"
	start "server" $bin/across_server "$work/server.port" "127.0.0.1:$backend_port"
	server_pid=$started
	server_log=$work/server.err
	await_file "$work/server.port" "$server_pid"
	server_port=$text
}

# ask COUNT: starts a client and waits until its work is pending in both processes. Sets $client, $request, $id and
# $context.
ask() {
	start asking bash -c "exec 3<>/dev/tcp/127.0.0.1/$server_port; echo $1 >&3; exec cat <&3"
	client=$started
	await_line "$server_log" "event=begin .*operations=$1"
	line=$(grep "event=begin " "$server_log" | tail -n 1)
	request=$(field request) id=$(field id) context=$(field context)
	await_line "$work/backend.err" "event=joined request=$id"
}

# ended_in WHO LOG NAME: waits for the line that the process logs when its part has ended. Sets $line.
ended_in() {
	await_line "$2" "event=end request=$3 "
	say "the $1 stopped $(field operations) operations: $(sed 's/.*cause=/cause=/' <<<"$line")"
}

leave_across() {
	echo "6. Three processes: a client asks a server, which shares the request and asks a backend. ctxtool tree:"
	ask 20
	$ctxtool tree --pid "$server_pid" --pid "$backend_pid" >"$work/tree" 2>&1
	grep -q "\"$request\" live.* shared as .*1 joined" "$work/tree" || fail "the shared request is not shown: $(<"$work/tree")"
	grep -q "joined from $context " "$work/tree" || fail "the joined one is not shown: $(<"$work/tree")"
	grep -v "RECV\|POLL_ADD\|ACCEPT\|ring fd" "$work/tree" | show
	leave "$client"
	ended_in server "$server_log" "$request"
	[[ $line == *"cause=call by=$server_pid text=\"the client left\""* ]] || fail "server: $line"
	ended_in backend "$work/backend.err" "$id"
	[[ $line == *"operations=20 cause=call by=$server_pid text=\"the client left\""* ]] || fail "backend: $line"
}

cancel_across() {
	echo "7. ctxtool cancel ends a request with 200 operations pending in each of two processes:"
	ask 200
	$ctxtool cancel "$context" --wait --yes --cause "operator said so" >"$work/cancel" 2>&1 ||
		fail "ctxtool cancel: $(<"$work/cancel")"
	show <"$work/cancel"
	grep -q "ended in 2 processes; 401 operations reaped" "$work/cancel" || fail "not all is reported"
	grep -q "event=cancel .*target=$id .*asked=2 ended=2 .*operations=401 " "$work/ctxd.err" ||
		fail "no audit record: $(grep event=cancel "$work/ctxd.err")"
	ended_in backend "$work/backend.err" "$id"
	[[ $line == *"operations=200 cause=service "*"operator said so"* ]] || fail "backend: $line"
	gone_client
}

gone_client() {
	until_true 30 gone "$client" || fail "the client still waits"
	wait "$client" 2>/dev/null
	forget "$client"
}

kill_across() {
	echo "8. ctxd is killed; the server then ends a request: it reaches the backend all the same."
	ask 30
	leave "$ctxd_pid"
	leave "$client"
	ended_in backend "$work/backend.err" "$id"
	[[ $line == *"cause=call by=$server_pid text=\"the client left\""* ]] || fail "backend: $line"
	start ctxd2 $ctxd
	ctxd_pid=$started
	await_line "$work/ctxd2.err" "event=start "
	say "ctxd starts again, and both come back by themselves:"
	until_true 30 both_are_back || fail "they do not come back"
	$ctxtool stats | grep service | show

	echo "9. kill -9 of the server, which owns the request:"
	ask 40
	leave "$server_pid"
	ended_in backend "$work/backend.err" "$id"
	[[ $line == *"operations=40 cause=owner by=$server_pid "* ]] || fail "backend: $line"
	gone_client
	until_true 30 recorded || fail "the flight recorder has nothing"
	say "what the server was doing then, from ctxtool last $server_pid:"
	grep "request-" "$work/last" | show
}

both_are_back() { $ctxtool stats | grep -q "service .* 2 published"; }
recorded() { $ctxtool last "$server_pid" >"$work/last" 2>/dev/null; }

stop_across() {
	kill -TERM "$ctxd_pid"
	ended "$ctxd_pid"
	[[ $status == 0 ]] || fail "ctxd ended with status $status"
	leave "$backend_pid"
	unset CTXD_SOCKET
}

across() {
	start_across
	echo "== across processes: ctxd is process $ctxd_pid, the server $server_pid, the backend $backend_pid"
	leave_across
	cancel_across
	kill_across
	stop_across
	report+=("across processes: a client that left, ctxtool cancel, ctxd killed, the owner killed")
}
