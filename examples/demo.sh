#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make demo: a server and clients, and what happens to the operations in flight when a client leaves or a deadline
# passes, on both kinds of ring. Everything that it prints has been checked. It ends within 30 seconds: with 0, or
# with another status and a reason.

set -u
cd "$(dirname "$0")/.." || exit
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=examples/across.sh
. examples/across.sh
need $bin/{httpd,upstream,across_server,across_backend} $ctxtool $ctxd
command -v curl >/dev/null || fail "curl is missing: make deps"

say() { printf '  %s\n' "$*"; }
show() { cut -c 1-150 | sed 's/^/      | /'; }

# get [OPTION...] PATH: sends one request. Sets $code and $took (ms). The body is in $work/body.
get() {
	local out
	out=$(curl -s --max-time 10 -o "$work/body" -w '%{http_code} %{time_total}' "${@:1:$#-1}" "$url${*: -1}")
	code=${out% *}
	took=$(awk -v s="${out#* }" 'BEGIN { printf "%d", s * 1000 }')
}

# begin PATH OPERATIONS: starts a client and waits until its operations are pending. Sets $client and $request.
begin() {
	start "curl" curl -s --max-time 20 "$url$1"
	client=$started
	await_line "$log" "event=begin .*path=\"${1//\?/\\?}\""
	request=$(field req)
	await_line "$log" " req=$request event=waiting operations=$2"
}

# tree PID: prints the contexts of a process, which does not take part in that.
tree() { $ctxtool tree --pid "$1" 2>&1; }
tree_lacks() { ! tree "$1" | grep -q -- "$2"; }

# leaves OPERATIONS: kills the client of $request and checks the batch of its operations.
leaves() {
	local operations sqes enters submit reap
	leave "$client"
	await_line "$log" " req=$request event=batch "
	operations=$(field operations) sqes=$(field sqes) enters=$(field enters)
	submit=$(field submit_us) reap=$(field reap_us)
	[[ $operations -ge $1 ]] || fail "the batch had $operations operations, not $1: $line"
	[[ $enters -eq 1 ]] || fail "the batch took $enters system calls, not 1: $line"
	[[ $(($(field cancelled) + $(field finished))) -eq $operations ]] || fail "not all came back: $line"
	await_line "$log" " req=$request event=end "
	until_true 30 tree_lacks "$httpd_pid" "GET /" || fail "ctxtool still shows the request"
	reaped=$((reaped + operations))
	say "the client left: $operations operations reaped by $sqes cancel SQEs in $enters system call," \
		"$submit us to submit, $reap us until the last was back"
}

finishes() {
	get "/slow?ms=100"
	[[ $code == 200 && $took -ge 100 ]] || fail "/slow?ms=100: status $code after $took ms"
	say "GET /slow?ms=100: $code after $took ms"
	get "/fan?n=20&ms=50"
	[[ $code == 200 && $(<"$work/body") == "20 asked, 20 answered" ]] || fail "/fan: $code $(<"$work/body")"
	say "GET /fan?n=20: asked the upstream 20 times at once: $code after $took ms"
}

# deadline PATH OPERATIONS: it answers 504 in time; counts who ended the operations.
deadline() {
	local ended answer sqes=0
	get -H "X-Deadline-Ms: 150" "$1"
	answer="$code after $took ms"
	[[ $code == 504 ]] || fail "$1 with a deadline: status $code"
	[[ $took -ge 150 && $took -lt 2000 ]] || fail "$1: the deadline of 150 ms came after $took ms"
	await_line "$log" "event=begin .*path=\"${1//\?/\\?}\" deadline_ms=150"
	request=$(field req)
	await_line "$log" " req=$request event=end "
	ended=$(field by_deadline)
	[[ $ended -eq $2 ]] || fail "$1: the deadline ended $ended operations, not $2"
	# One more request: what the server had to say of this one is in the log when it is answered.
	get /
	found "$log" " req=$request event=batch " && sqes=$(field sqes)
	by_deadline=$((by_deadline + ended))
	deadline_sqes=$((deadline_sqes + sqes))
	say "GET $1 with X-Deadline-Ms: 150: $answer, $ended operations ended, $sqes cancel SQEs"
}

run_on() {
	local kind=$1 receives
	by_deadline=0 deadline_sqes=0 reaped=0
	start_servers "$kind"
	echo "== $kind ring: httpd is process $httpd_pid, its upstream $upstream_pid"

	echo "1. Requests that finish."
	finishes

	echo "2. A client that disconnects from one slow operation."
	begin "/slow?ms=20000" 1
	leaves 1

	echo "3. A client that disconnects while 200 operations pend under its request. ctxtool tree before:"
	begin "/fan?n=200&ms=20000" 200
	tree "$httpd_pid" >"$work/before"
	grep -q "GET /fan" "$work/before" || fail "ctxtool does not show the request: $(<"$work/before")"
	receives=$(grep -c "RECV" "$work/before")
	[[ $receives -ge 200 ]] || fail "ctxtool shows $receives receives, not 200: $(head -n 20 "$work/before")"
	awk 'NR <= 12; END { if (NR > 12) printf "... and %d lines like the last\n", NR - 12 }' "$work/before" | show
	leaves 200
	echo "   and after:"
	tree "$httpd_pid" | show

	echo "4. Requests that run into their deadline."
	deadline "/slow?ms=20000&late=1" 1
	deadline "/fan?n=50&ms=20000" 50
	fired=$((by_deadline - deadline_sqes))
	if [[ $kind == ordinary ]]; then
		[[ $fired -gt 0 ]] || fail "no linked timeout fired: $deadline_sqes cancel SQEs went"
		say "linked timeouts fired by the kernel itself: $fired of $by_deadline"
	else
		say "linked timeouts fired: $fired of $by_deadline (a deferring ring is served by a batch at the deadline)"
	fi

	echo "5. SIGTERM while a request runs: one context ends, and everything below it."
	begin "/fan?n=30&ms=20000" 30
	stop_servers
	wait "$client" 2>/dev/null
	forget "$client"
	await_line "$log" "event=stop"
	say "both servers ended with status 0"
	report+=("$kind: $reaped operations of clients that left, $by_deadline of deadlines, $fired by linked timeouts")
}

report=()
run_on ordinary
run_on defer
across
echo "== report, after $SECONDS s"
printf '  %s\n' "${report[@]}"
echo "  everything that was claimed was checked"
