#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs each of the small examples and asks the example server everything that it
# promises; checks what they print and how they end.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{chain,call100,values,outlive,epoll,first,httpd,upstream} $ctxtool
skip_without_uring
command -v curl >/dev/null || { echo "curl is missing"; exit 77; }
checks=0

# is NAME GOT WANTED
is() {
	[[ $2 == "$3" ]] || fail "$1: got \"$2\", wanted \"$3\""
	checks=$((checks + 1))
}

# has NAME GOT PATTERN
has() {
	# shellcheck disable=SC2053
	[[ $2 == $3 ]] || fail "$1: got \"$2\", wanted $3"
	checks=$((checks + 1))
}

# run COMMAND...: sets $out (both streams) and $status.
run() {
	status=0
	out=$(timeout 30 "$@" 2>&1) || status=$?
}

# ---- two dependent operations

run $bin/chain "$work/record" "$work/mark"
is "chain: status" "$status" 0
is "chain: output" "$out" $'record: 20 bytes\nmark: 8 bytes'
is "chain: record" "$(<"$work/record")" "an important record"
is "chain: mark" "$(<"$work/mark")" "written"
run $bin/chain /dev/full "$work/mark"
is "chain, first fails: status" "$status" 1
is "chain, first fails: output" "$out" $'record: No space left on device\nmark: cancelled'
is "chain, first fails: mark" "$(<"$work/mark")" ""

# ---- values

run $bin/values
is "values: status" "$status" 0
is "values: lines" "$(grep '^\[' <<<"$out")" "[-] nobody: starts
[7f3a] ada: reads a block
[7f3a] system: reads a block
[7f3a] ada: is done
[7f3a] ada: is cancelled"
has "values: format" "$out" "*request*ada*"

# ---- a context kept alive past its creator

run $bin/outlive "$work/audit"
is "outlive: status" "$status" 0
is "outlive: output" "$(sort <<<"$out")" $'answer: cancelled\naudit of request 42: 29 bytes'
is "outlive: record" "$(<"$work/audit")" "somebody asked for something"

# ---- a done descriptor in an epoll loop

status=0
out=$(printf 'hello\n' | timeout 30 $bin/epoll 10000) || status=$?
is "epoll, input ends: status" "$status" 0
is "epoll, input ends: output" "$out" $'hello\nend of input'
mkfifo "$work/fifo"
exec {keep}<>"$work/fifo"
echo line >&"$keep"
status=0
out=$(timeout 30 $bin/epoll 100 <"$work/fifo") || status=$?
is "epoll, deadline: status" "$status" 0
is "epoll, deadline: output" "$out" $'line\nended: Timer expired (nobody types for ever)'

# ---- a first program, built as its comment says

"${MAKE:-make}" --no-print-directory install DESTDIR="$work/root" PREFIX=/usr >"$work/install.log" 2>&1 ||
	fail "make install: $(tail -n 3 "$work/install.log")"
cp examples/first.c "$work"
(
	cd "$work" || exit
	export PKG_CONFIG_PATH=$work/root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root
	# Within the sysroot these are not the system's own directories.
	export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
	# shellcheck disable=SC2046
	cc first.c -o first $(pkg-config --cflags --libs ctxring liburing)
) || fail "first: does not build"
LD_LIBRARY_PATH=$work/root/usr/lib "$work/first" <"$work/fifo" >"$work/first.out" 2>"$work/first.err" &
first=$!
children+=("$first")
await_line "$work/first.out" "waits for a line"
is "first: line" "$line" "Process $first waits for a line. See it with: ctxtool tree"
shows_read() { $ctxtool tree --pid "$first" 2>&1 | grep -qi read; }
until_true 30 shows_read || fail "first: ctxtool shows no read: $($ctxtool tree --pid "$first" 2>&1)"
has "first: ctxtool" "$($ctxtool tree --pid "$first" 2>&1)" "*first program*"
echo hello >&"$keep"
ended "$first"
is "first: status" "$status" 0
has "first: end" "$(<"$work/first.out")" "*Read 6 bytes."
exec {keep}>&-

# ---- the server

root=$work/files
mkdir -p "$root/sub"
head -c 3000001 /dev/urandom >"$root/sub/big file"
: >"$root/empty"
truncate -s 200M "$root/huge"
echo secret >"$work/secret"
ln -s ../secret "$root/link"
ln -s /etc "$root/etc"

# status OPTION... PATH: of one request.
status_of() { curl -s --max-time 60 -o "$work/body" -w '%{http_code}' "${@:1:$#-1}" "$url${*: -1}"; }
descriptors() { find "/proc/$httpd_pid/fd" -mindepth 1 2>/dev/null | wc -l; }
few_descriptors() { [[ $(descriptors) -le $1 ]]; }

# raw REQUEST...: all of them in one write on one connection; prints what comes until it is closed.
raw() {
	local connection port=${url##*:} IFS=
	exec {connection}<>"/dev/tcp/127.0.0.1/$port" || fail "no connection"
	printf '%b' "$*" >&"$connection"
	timeout 30 cat <&"$connection"
	exec {connection}>&-
}

ask_everything() {
	local kind=$1 many ids lines before connection answer

	start_servers "$kind"
	is "/" "$(status_of /)" 200
	before=$(descriptors)
	is "unknown path" "$(status_of /nothing)" 404
	is "a longer path" "$(status_of /slower?ms=1)" 404
	is "POST" "$(status_of -d x /)" 405
	is "HEAD" "$(status_of -I /)" 200
	is "HEAD: no body" "$(curl -sI --max-time 60 "$url/" | tr -d '\r' | tail -n 1)" ""
	is "slow without time" "$(status_of /slow)" 400
	is "slow with nonsense" "$(status_of /slow?ms=1e9)" 400
	is "slow" "$(status_of '/slow?x=%zz&ms=5')" 200
	is "deadline of nonsense" "$(status_of -H 'X-Deadline-Ms: soon' /)" 400
	is "deadline of 0" "$(status_of -H 'X-Deadline-Ms: 0' /)" 400
	is "deadline not reached" "$(status_of -H 'X-Deadline-Ms: 30000' /slow?ms=5)" 200
	is "deadline" "$(status_of -H 'X-Deadline-Ms: 50' /slow?ms=9000)" 504
	is "long path" "$(status_of "/$(head -c 3000 /dev/zero | tr '\0' x)")" 414
	is "long header" "$(status_of -H "X-Long: $(head -c 20000 /dev/zero | tr '\0' x)" /)" 431
	head -c 2000000 /dev/zero >"$work/zeros"
	is "big body" "$(status_of -H Expect: --data-binary "@$work/zeros" /)" 413
	is "big chunked body" "$(status_of -H Expect: -H 'Transfer-Encoding: chunked' --data-binary "@$work/zeros" /)" 413
	has "not HTTP" "$(raw 'nonsense\r\n\r\n')" "HTTP/1.1 400 *"
	has "HTTP/1.1 without Host" "$(raw 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n')" "HTTP/1.1 400 *"
	has "HTTP/2 by name" "$(raw 'GET / HTTP/2.0\r\n\r\n')" "HTTP/1.1 505 *"

	is "file" "$(status_of '/file?path=sub/big%20file')" 200
	cmp "$work/body" "$root/sub/big file" || fail "the file came different"
	is "empty file" "$(status_of '/file?path=empty')" 200
	is "no such file" "$(status_of '/file?path=none')" 404
	is "directory" "$(status_of '/file?path=sub')" 403
	is "dots" "$(status_of '/file?path=../secret')" 403
	is "encoded dots" "$(status_of '/file?path=%2e%2e%2fsecret')" 403
	is "absolute" "$(status_of '/file?path=/etc/passwd')" 403
	is "link out of the root" "$(status_of '/file?path=link')" 403
	is "directory link out of the root" "$(status_of '/file?path=etc/passwd')" 403
	is "name with a zero byte" "$(status_of '/file?path=empty%00')" 400
	is "no path" "$(status_of '/file')" 400

	# More than fits the socket's buffers: sends pend when the deadline passes and when the client leaves.
	exec {connection}<>"/dev/tcp/127.0.0.1/${url##*:}"
	printf 'GET /file?path=huge HTTP/1.1\r\nHost: a\r\nX-Deadline-Ms: 200\r\n\r\n' >&"$connection"
	await_line "$log" 'event=end status=200 .*by_deadline=1 reason="deadline"'
	exec {connection}>&-
	exec {connection}<>"/dev/tcp/127.0.0.1/${url##*:}"
	printf 'GET /file?path=huge&leaves HTTP/1.1\r\nHost: a\r\n\r\n' >&"$connection"
	read -r -t 30 answer <&"$connection"
	is "huge file: begins" "${answer%$'\r'}" "HTTP/1.1 200 OK"
	exec {connection}>&-
	await_line "$log" 'event=begin .*leaves'
	await_line "$log" " req=$(field req) event=end status=200 .*reason=\"(client hung up|Broken pipe|Connection reset)"

	is "fan" "$(status_of '/fan?n=50&ms=20')" 200
	is "fan: body" "$(<"$work/body")" "50 asked, 50 answered"
	is "fan of none" "$(status_of '/fan?n=0')" 400

	is "one connection for two requests" \
		"$(curl -s --max-time 60 -o /dev/null -o /dev/null -w '%{num_connects}' "$url/" "$url/slow?ms=1")" 10
	many=$(raw 'GET /slow?ms=80 HTTP/1.1\r\nHost: a\r\n\r\nGET /slow?ms=1 HTTP/1.1\r\nHost: a\r\n\r\n' \
		'GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
	is "pipelined, in order" "$(grep -o 'HTTP/1.1 [0-9]*' <<<"$many" | tr '\n' ' ')" \
		"HTTP/1.1 200 HTTP/1.1 200 HTTP/1.1 404 "
	ids=$(tr -d '\r' <<<"$many" | sed -n 's/^X-Request-Id: //p' | tr '\n' ' ')
	is "pipelined, ids in order" "$ids" "$(tr ' ' '\n' <<<"$ids" | sort -n | grep . | tr '\n' ' ')"
	has "HTTP/1.0 is closed after the reply" "$(raw 'GET / HTTP/1.0\r\n\r\n')" "HTTP/1.1 200 *Connection: close*"
	has "an offered upgrade is declined" \
		"$(raw 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n')" "HTTP/1.1 200 *"

	# 100 clients at once, 50 of which leave early.
	many=()
	for i in {1..100}; do
		curl -s --max-time 60 -o /dev/null "$url/slow?ms=$((i % 2 ? 90000 : 300))" &
		many+=("$!")
		children+=("$!")
	done
	all_wait() { [[ $(grep -c 'event=begin .*ms=90000' "$log") -eq 50 ]]; }
	until_true 30 all_wait || fail "50 clients never arrived"
	for i in "${!many[@]}"; do
		((i % 2 == 0)) && leave "${many[i]}"
	done
	for i in "${!many[@]}"; do
		((i % 2 == 0)) && continue
		ended "${many[i]}"
		is "a patient client: status" "$status" 0
	done
	all_left() { [[ $(grep -c 'event=end status=499 .*client hung up' "$log") -eq 50 ]]; }
	until_true 30 all_left || fail "not every client that left was noticed"

	until_true 30 few_descriptors "$before" || fail "$(descriptors) descriptors remain of $before"
	lines=$(grep -cE 'event=(begin|end|waiting|hangup|deadline) ' "$log")
	is "each of its lines names the request" \
		"$(grep -cE ' conn=[0-9]+ req=[0-9]+ event=(begin|end|waiting|hangup|deadline) ' "$log")" "$lines"
	is "each request that began has ended" "$(grep -c ' event=begin ' "$log")" "$(grep -c ' event=end ' "$log")"
	stop_servers
}

# in_kernel: operations of httpd that wait there, as far as the kernel lists them.
in_kernel() {
	local fd
	for fd in "/proc/$httpd_pid/fd"/*; do
		[[ $(readlink "$fd") != *io_uring* ]] || grep -c '^  op=' "/proc/$httpd_pid/fdinfo/${fd##*/}"
	done
}
# The kernel shows no list while the ring is busy.
some_in_kernel() { waiting=$(in_kernel) && [[ $waiting -gt 0 ]]; }
few_in_kernel() { some_in_kernel && [[ $waiting -le $1 ]]; }

# ask PATH: on the kept connection $connection; sets $answer to the first line of what comes.
ask() {
	local line length=0
	printf 'GET %s HTTP/1.1\r\nHost: a\r\n%b\r\n' "$1" "${2:-}" >&"$connection"
	read -r -t 30 answer <&"$connection"
	while read -r -t 30 line <&"$connection" && [[ $line != $'\r' ]]; do
		[[ $line != Content-Length:* ]] || length=${line//[^0-9]/}
	done
	[[ $length == 0 ]] || read -r -t 30 -N "$length" line <&"$connection"
	answer=${answer%$'\r'}
}

# The same server, where what its connections wait for is parked.
ask_parked() {
	local connection connections=() before empty status_line="HTTP/1.1 200 OK" answer many i

	start_servers "$1" --park
	is "parked: /" "$(status_of /)" 200
	before=$(descriptors)
	until_true 30 some_in_kernel || fail "parked: nothing of the server waits in the kernel"
	empty=$waiting
	is "parked: file" "$(status_of '/file?path=sub/big%20file')" 200
	cmp "$work/body" "$root/sub/big file" || fail "parked: the file came different"
	is "parked: fan" "$(status_of '/fan?n=50&ms=20')" 200
	is "parked: fan: body" "$(<"$work/body")" "50 asked, 50 answered"
	has "parked: not HTTP" "$(raw 'nonsense\r\n\r\n')" "HTTP/1.1 400 *"
	many=$(raw 'GET /slow?ms=80 HTTP/1.1\r\nHost: a\r\n\r\nGET /slow?ms=1 HTTP/1.1\r\nHost: a\r\n\r\n' \
		'GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
	is "parked: pipelined, in order" "$(grep -o 'HTTP/1.1 [0-9]*' <<<"$many" | tr '\n' ' ')" \
		"HTTP/1.1 200 HTTP/1.1 200 HTTP/1.1 404 "

	# Each kept connection has had requests for which the kernel watched it.
	for i in {1..10}; do
		exec {connection}<>"/dev/tcp/127.0.0.1/${url##*:}"
		connections+=("$connection")
		ask "/slow?ms=1"
		is "parked: kept connection" "$answer" "$status_line"
		ask "/slow?ms=1"
		is "parked: kept connection, again" "$answer" "$status_line"
	done
	ask "/slow?ms=9000" 'X-Deadline-Ms: 50\r\n'
	is "parked: deadline" "$answer" "HTTP/1.1 504 Gateway Timeout"
	ask /
	is "parked: after a deadline" "$answer" "$status_line"
	# A receive of an idle connection waits in the kernel first, and is parked then. Without connections the ring
	# waits for other things than with idle ones, but not for more than one.
	until_true 30 few_in_kernel $((empty + 1)) ||
		fail "parked: $(in_kernel) operations in the kernel with idle connections, $empty without"

	# One leaves while it is idle, one in the middle of a request.
	connection=${connections[0]}
	exec {connection}>&-
	connection=${connections[1]}
	printf 'GET /slow?ms=9000&leaves HTTP/1.1\r\nHost: a\r\n\r\n' >&"$connection"
	await_line "$log" 'event=begin .*leaves'
	exec {connection}>&-
	await_line "$log" " req=$(field req) event=end status=499 .*client hung up"
	until_true 30 few_descriptors $((before + 8)) || fail "parked: $(descriptors) descriptors remain of $before + 8"

	# The end: what is idle goes without the kernel, what is not with a cancel.
	connection=${connections[2]}
	printf 'GET /slow?ms=9000&stays HTTP/1.1\r\nHost: a\r\n\r\n' >&"$connection"
	await_line "$log" 'event=begin .*stays'
	stop_servers
	await_line "$log" ' conn=- req=- event=batch '
	is "parked: ended without the kernel" "$(field unsent)" 7
	for i in "${connections[@]:2}"; do
		connection=$i
		exec {connection}>&-
	done
}

# ask_behind PATH OPTION...: a client in the background, which waits in the queue when this returns. Sets $started.
ask_behind() {
	start "client-${1##*&}" curl -s --max-time 20 -o /dev/null -w '%{http_code}' "${@:2}" "$url$1"
	await_line "$log" "event=begin .*${1##*&}\""
	await_line "$log" " req=$(field req) event=queued "
}

# One place at the upstream, and a queue before it.
ask_pool() {
	local served late stays

	start_servers ordinary --pool 1
	start served curl -s --max-time 20 -o /dev/null "$url/fan?n=1&ms=19000"
	served=$started
	await_line "$log" "event=waiting operations=1"
	# Half of this is enough to come to the queue, on a busy machine, too.
	ask_behind "/fan?n=1&ms=19000&late" -H "X-Deadline-Ms: 2000"
	late=$started
	ask_behind "/fan?n=1&ms=19000&leaves"
	leave "$started"
	ask_behind "/fan?n=1&ms=5&stays"
	stays=$started
	ended "$late"
	is "pool: half of a deadline in the queue" "$(<"$work/client-late.out")" 503
	await_line "$log" 'event=end status=499 .*client hung up'
	# Those before it in the queue are gone, and so is now the one at the upstream.
	leave "$served"
	ended "$stays"
	is "pool: the next one is answered" "$(<"$work/client-stays.out")" 200
	# The server ends with one request at the upstream and one in the queue.
	start served curl -s --max-time 60 -o /dev/null "$url/fan?n=2&ms=19000"
	await_line "$log" "event=waiting operations=2"
	ask_behind "/fan?n=1&ms=19000&waits"
	stop_servers
	await_line "$work/upstream.out" answered=
	is "pool: done by the upstream" "$(field answered)" 1

	# Without cancellation the upstream answers also those that leave, before the one that stays. It does nothing until
	# all have come.
	start_servers ordinary --pool 1 --no-cancel
	kill -STOP "$upstream_pid"
	start served curl -s --max-time 20 -o /dev/null "$url/fan?n=1&ms=5"
	served=$started
	await_line "$log" "event=waiting operations=1"
	ask_behind "/fan?n=1&ms=5&leaves"
	leave "$started"
	ask_behind "/fan?n=1&ms=5&stays"
	stays=$started
	leave "$served"
	kill -CONT "$upstream_pid"
	ended "$stays"
	is "pool, no cancel: answered" "$(<"$work/client-stays.out")" 200
	stop_servers
	await_line "$work/upstream.out" answered=
	is "pool, no cancel: done by the upstream" "$(field answered)" 3
}

# The upstream itself has one place: a client that leaves makes room for the next.
ask_upstream() {
	local waiting answer

	start upstream $bin/upstream --port-file "$work/places.port" --places 1
	await_file "$work/places.port" "$started"
	exec {waiting}<>"/dev/tcp/127.0.0.1/$text"
	printf '19000\n' >&"$waiting"
	exec {answer}<>"/dev/tcp/127.0.0.1/$text"
	printf '1\n' >&"$answer"
	! read -r -t 0.1 <&"$answer" || fail "upstream: answers without a place"
	exec {waiting}>&-
	read -r -t 30 <&"$answer" || fail "upstream: no answer, though there is a place"
	exec {answer}>&-
	kill -TERM "$started"
	ended "$started"
	await_line "$work/upstream.out" answered=
	is "upstream: answered, left" "$line" "end: answered=1 left=1"
}

answered_call() { run $bin/call100 "${url##*:}" "/slow?ms=5" && [[ $status == 0 ]]; }
ask_call100() {
	start_servers ordinary
	# It takes 100 ms at most, which a busy machine may not have.
	until_true 30 answered_call || fail "call100: status $status: $out"
	has "call100: answer" "$out" "*That took a while.*"
	has "call100: end" "$out" "*call100: answered after*"
	run $bin/call100 "${url##*:}" "/slow?ms=9000"
	is "call100, deadline: status" "$status" 1
	has "call100, deadline: output" "$out" "call100: Timer expired after [1-9][0-9][0-9]* ms"
	stop_servers
}

ask_call100
ask_pool
ask_upstream
ask_parked ordinary
ask_parked defer
ask_everything ordinary
ask_everything defer
run $bin/httpd --ring round
is "httpd: bad option" "$status" 1
run $bin/httpd --port 70000
is "httpd: bad port" "$status" 2
run $bin/httpd --pool 0
is "httpd: bad pool" "$status" 2
run $bin/httpd --help
is "httpd: help" "$status" 0
has "httpd: help" "$out" "*--park *"
echo "$checks checks of the examples passed"
