#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The example postgres_pool beside a real PostgreSQL: answers, deadlines, clients that leave, and a storm of clients, half
# of which leave just when their queries end. No cancel may hit a query whose client has stayed. The same storm on a copy
# of the example without its first rule has to show such hits: else the storm would prove nothing.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=tests/support/postgres.sh
. tests/support/postgres.sh
example=examples/libraries/postgres_pool
need $ctxtool
skip_without_uring
if [[ ! -x build/$example ]]; then
	[[ -z ${CI:-} ]] || fail "$example is not built: libpq or its line in the Makefile is missing"
	echo "libpq is missing"
	exit 77
fi
checks=0

# is NAME GOT WANTED
is() {
	[[ $2 == "$3" ]] || fail "$1: got \"$2\", wanted \"$3\""
	checks=$((checks + 1))
}

# start_pool NAME PROGRAM OPTION...: starts a pool of two connections. Sets $pool to its pid and $port.
start_pool() {
	rm -f "$work/pool.port"
	start "$1" "$2" --pool 2 --port-file "$work/pool.port" "${@:3}" "$conninfo"
	pool=$started
	await_file "$work/pool.port" "$pool"
	port=$text
}

# stop_pool: sends SIGTERM, and the program has to exit with 0. Sets $line to what it says at its end.
stop_pool() {
	kill -TERM "$pool" || fail "the pool ended by itself"
	ended "$pool"
	is "status of the pool" "$status" 0
	await_line "$work/$1.out" "^end: "
}

# ask SQL: on a connection of its own. Sets $answer to the line that comes.
ask() {
	local connection
	exec {connection}<>"/dev/tcp/127.0.0.1/$port" || fail "no connection"
	echo "$1" >&"$connection"
	answer=
	read -r -t 30 answer <&"$connection"
	exec {connection}>&-
}

running() { ask "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '$1%'"; }
none_runs() { running "$1"; [[ $answer == "ok 0" ]]; }
one_runs() { running "$1"; [[ $answer == "ok 1" ]]; }

try_answers() {
	local connections=() connection i

	start_pool answers build/$example --deadline 20000
	ask "SELECT 40 + 2"
	is "a value" "$answer" "ok 42"
	ask "SELECT 1 / 0"
	is "an error" "$answer" "error division by zero"
	ask "COPY (SELECT generate_series(1, 100000)) TO STDOUT"
	is "rows that come" "$answer" "ok"
	ask "CREATE TEMP TABLE t (v int); COPY t FROM STDIN"
	is "rows that are wanted" "$answer" "error COPY from stdin failed: clients send no rows"
	# A client leaves while its query runs.
	exec {connection}<>"/dev/tcp/127.0.0.1/$port"
	echo "SELECT pg_sleep(91)" >&"$connection"
	until_true 30 one_runs "SELECT pg_sleep(91" || fail "the long query does not begin"
	exec {connection}>&-
	until_true 30 none_runs "SELECT pg_sleep(91" || fail "the query of a client that left goes on"
	# Clients leave at once, in the queue and before PostgreSQL has begun: no place may stay behind.
	for i in {1..20}; do
		exec {connection}<>"/dev/tcp/127.0.0.1/$port"
		echo "SELECT pg_sleep(92)" >&"$connection"
		exec {connection}>&-
	done
	for i in {1..4}; do
		ask "SELECT $i"
		is "after clients that left" "$answer" "ok $i"
	done
	until_true 30 none_runs "SELECT pg_sleep(92" || fail "a query of the clients that left goes on"
	# The program ends while queries run and one waits in the queue.
	for i in {1..3}; do
		exec {connection}<>"/dev/tcp/127.0.0.1/$port"
		echo "SELECT pg_sleep(93)" >&"$connection"
		connections+=("$connection")
	done
	stop_pool answers
	for connection in "${connections[@]}"; do
		exec {connection}>&-
	done

	start_pool deadline build/$example --deadline 1500
	is "nothing goes on after the end" "$(running "SELECT pg_sleep(93" && echo "$answer")" "ok 0"
	ask "SELECT pg_sleep(94)"
	is "a deadline" "$answer" "error deadline"
	until_true 30 none_runs "SELECT pg_sleep(94" || fail "the query goes on after its deadline"
	connections=()
	for i in {1..3}; do
		exec {connection}<>"/dev/tcp/127.0.0.1/$port"
		connections+=("$connection")
	done
	for connection in "${connections[@]}"; do
		read -r -t 30 answer <&"$connection"
		is "the deadline of a client that asks nothing" "$answer" "error deadline"
		exec {connection}>&-
	done
	ask "SELECT 7"
	is "after clients that asked nothing" "$answer" "ok 7"
	stop_pool deadline
}

# storm NAME PROGRAM: short queries of clients that stay, and longer ones of clients that leave when they end. Sets
# $stay to how many stayed, $hit to how many of these were answered by an error, and $cancels.
storm() {
	local leaving

	start_pool "$1" "$2"
	"$work/clients" "$port" 150 0 2 100 $'SELECT pg_sleep(0.009)\n' ok >"$work/leaving" &
	leaving=$!
	"$work/clients" "$port" 250 0 2 0 $'SELECT pg_sleep(0.002)\n' ok >"$work/staying" || fail "the clients failed"
	wait "$leaving" || fail "the leaving clients failed"
	stop_pool "$1"
	cancels=$(field cancels)
	line=" $(<"$work/staying")"
	stay=$(field stay) hit=$(field refused)
	is "$1: clients without an answer" "$(field silent)" 0
}

start_postgres || { echo "postgres_pool was not tried: $missing_postgres"; exit 0; }
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 bench/goodput.c -lm -o "$work/clients" || fail "the clients do not compile"
try_answers

storm rule build/$example
[[ $cancels -ge 50 ]] || fail "only $cancels cancels: this was no storm"
is "wrong hits" "$hit" 0
stayed=$stay stayed_cancels=$cancels

# Without the rule a place is free when the result has been read, whether a cancel is under way or not.
sed -e 's/ || place->cancelling//' -e '/^\tcancels_begin(pool);$/{n;/place_check_free/d}' $example.c |
	sed 's|"\.\./example.h"|"'"$PWD"'/examples/example.h"|' >"$work/hasty.c"
[[ $(diff $example.c "$work/hasty.c" | grep -c '^[<>]') == 5 ]] || fail "the rule does not stand where this test removes it"
# shellcheck disable=SC2046
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O1 -Iinclude $(pkg-config --cflags libpq) "$work/hasty.c" build/libctxring.a \
	$(pkg-config --libs libpq) -luring -pthread -o "$work/hasty" || fail "the copy without the rule does not compile"
for _ in {1..10}; do
	storm hasty "$work/hasty"
	[[ $hit == 0 ]] || break
done
[[ $hit -gt 0 ]] || fail "without the rule no query was hit, so the storm proves nothing"
stop_postgres
is "status of PostgreSQL" "$status" 0
echo "$checks checks: of $stayed queries none was hit by $stayed_cancels cancels for others, without the rule $hit of $stay"
