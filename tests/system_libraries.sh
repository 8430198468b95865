#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the examples for other people's libraries against the real ones: work that
# comes to its end, work that the deadline ends, and a context that was done before.
# Servers are the example server, a name server of ours and, if it is installed,
# PostgreSQL, each on a port or path that nobody else has.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
need $bin/{httpd,upstream} $ctxtool
skip_without_uring
checks=0
missing=()

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

# run COMMAND...: sets $out (both streams) and $status. The bound is far below what the work would take.
run() {
	status=0
	out=$(timeout 30 "$@" 2>&1) || status=$?
}

# expect NAME STATUS PATTERN COMMAND...
expect() {
	run "${@:4}"
	is "$1: status, with output \"$out\"" "$status" "$2"
	has "$1: output" "$out" "$3"
}

try_curl() {
	start_servers ordinary
	expect "curl: answered" 0 $'curl: answered with status 200\nThat took a while.' "$1" "$url/slow?ms=5" 20000
	expect "curl: not found" 0 "curl: answered with status 404*" "$1" "$url/nothing" 20000
	# More than the start takes on a busy machine, and than 200 ms, when libcurl looks up by itself, so that it is the descriptor that ends the wait.
	expect "curl: deadline" 1 "curl: ended: Timer expired (no answer within 2000 ms)" "$1" "$url/slow?ms=90000" 2000
	await_line "$log" 'event=end status=499 .*client hung up'
	expect "curl: done before" 1 "curl: ended: Timer expired*" "$1" "$url/slow?ms=90000" 0
	expect "curl: fails" 2 "curl: Unsupported protocol" "$1" "none://127.0.0.1/" 20000
	stop_servers
}

try_sqlite() {
	expect "sqlite: counted" 0 "counted 1000 rows" "$1" 1000 20000
	expect "sqlite: deadline" 1 $'ended: Timer expired (not counted within 100 ms)\ncounted 3 rows' \
		"$1" 1000000000000 100
	# The interrupt comes before the query has begun.
	expect "sqlite: done before" 1 $'ended: Timer expired*\ncounted 3 rows' "$1" 1000000000000 0
}

# try_ticks EXAMPLE NAME: a loop with a timer.
try_ticks() {
	expect "$2: work ends" 0 "20 ticks" "$1" 20 20000
	expect "$2: deadline" 1 $'*[1-9]* tick*\nended: Timer expired (not all ticks within 2000 ms)' "$1" 1000000 2000
	expect "$2: done before" 1 $'* tick*\nended: Timer expired*' "$1" 1000000 0
}
try_glib() { try_ticks "$1" glib; }
try_uv() { try_ticks "$1" uv; }

try_libevent() {
	local keep

	mkfifo "$work/fifo"
	exec {keep}<>"$work/fifo"
	echo line >&"$keep"
	expect "libevent: deadline" 1 $'line\nended: Timer expired (nobody types for ever)' "$1" 2000 <"$work/fifo"
	expect "libevent: done before" 1 "ended: Timer expired*" "$1" 0 <"$work/fifo"
	expect "libevent: work ends" 0 $'hello\nend of input' "$1" 20000 < <(echo hello)
	expect "libevent: a file" 2 "*must be a pipe*" "$1" 20000 <README.md
	exec {keep}>&-
}

try_resolve() {
	local server

	${CC:-gcc} -std=gnu11 -D_GNU_SOURCE tests/support/programs/name_server.c -o "$work/name_server" ||
		fail "the name server does not compile"
	start names "$work/name_server"
	await_line "$work/names.out" "port="
	server=127.0.0.1:${line#*=}
	expect "resolve: answered" 0 "192.0.2.7" "$1" host.example.test. 20000 "$server"
	expect "resolve: no such name" 2 "no address: *" "$1" none.example.test. 20000 "$server"
	expect "resolve: deadline" 1 "ended: Timer expired" "$1" silent.example.test. 2000 "$server"
	await_line "$work/names.out" "asked for silent"
	expect "resolve: done before" 1 "ended: Timer expired" "$1" silent.example.test. 0 "$server"
	leave "$started"
}

try_postgres() {
	local at

	start_postgres || { missing+=("postgres ($missing_postgres)"); return; }
	at=$conninfo
	expect "postgres: answered" 0 "42" "$1" "$at" 20000 "SELECT 40 + 2"
	expect "postgres: fails" 2 "postgres: *ERROR: *division by zero*" "$1" "$at" 20000 "SELECT 1 / 0"
	expect "postgres: COPY" 2 "postgres: *" "$1" "$at" 20000 "COPY (SELECT 1) TO STDOUT"
	expect "postgres: no server" 2 "postgres: *connection *" "$1" "host=$work/none" 20000 "SELECT 1"
	expect "postgres: deadline" 1 $'ended: Timer expired\nthe next query' "$1" "$at" 2000 "SELECT pg_sleep(90)"
	expect "postgres: done before" 1 $'ended: Timer expired\n*the next query' "$1" "$at" 0 "SELECT pg_sleep(90)"
	expect "postgres: nothing goes on in the server" 0 "0" "$1" "$at" 20000 \
		"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
	stop_postgres
	is "postgres: status of the server" "$status" 0
}

# tests/system_postgres_pool.sh tries it.
try_postgres_pool() { :; }

for source in examples/libraries/*.c; do
	name=$(basename "$source" .c)
	if [[ -x $bin/libraries/$name ]]; then
		"try_$name" $bin/libraries/"$name"
	else
		[[ -z ${CI:-} ]] || fail "$name is not built: its library or its line in the Makefile is missing"
		missing+=("$name (no library)")
	fi
done
# On the last line, which is all that make check shows of a test that passed.
echo "$checks checks of other people's libraries passed${missing[*]:+, not tried: $(printf '%s ' "${missing[@]}")}"
