# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: MIT
#
# Starts PostgreSQL for a script that has sourced examples/lib.sh.

# as_other COMMAND...: PostgreSQL refuses root. The command replaces this shell, so that its pid is known.
as_other() {
	[[ $EUID == 0 ]] || exec "$@"
	exec setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@"
}

# start_postgres: starts a server in $work. Sets $postgres to its pid and $conninfo to what libpq needs to find it; or
# returns 1 and sets $missing_postgres to the reason why there is none.
start_postgres() {
	local initdb home=$work/postgres

	initdb=$(command -v initdb || printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
	[[ -x $initdb ]] || { missing_postgres="no server"; return 1; }
	# Whoever runs the server must get to it.
	chmod 711 "$work"
	mkdir "$home"
	[[ $EUID == 0 ]] && chown nobody "$home"
	(as_other test -w "$home") 2>/dev/null || { missing_postgres="nobody may not use $home"; return 1; }
	(as_other "$initdb" -D "$home/data" -U tester -A trust -E UTF8 --locale=C --no-sync) \
		>"$work/initdb.log" 2>&1 </dev/null || fail "initdb: $(tail -n 3 "$work/initdb.log")"
	initdb=$(readlink -f "$initdb")
	as_other "${initdb%/*}/postgres" -D "$home/data" -k "$home" -c listen_addresses= -c fsync=off \
		>"$work/postgres.out" 2>"$work/postgres.err" </dev/null &
	postgres=$!
	children+=("$postgres")
	until_true 60 found "$work/postgres.err" "ready to accept connections" ||
		fail "PostgreSQL does not start: $(tail -n 3 "$work/postgres.err")"
	conninfo="host=$home user=tester dbname=postgres"
}

# stop_postgres: by a fast shutdown, which does not wait for clients. Sets $status.
stop_postgres() {
	kill -INT "$postgres"
	ended "$postgres"
}
