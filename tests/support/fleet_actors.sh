# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: MIT
#
# What the tests of a whole fleet share: programs on its hosts that do what a test says, see
# tests/support/programs/fleet_actor.c, and waiting for what they see. Sourced after examples/fleet_hosts.sh and
# examples/lib.sh.

declare -A actor_pids=() actor_in=() actor_out=() actor_log=()
actors=0

say() { printf '  %s\n' "$*"; }

# Exits as skipped where the fleet cannot run.
skip_without_fleet() {
	skip_without_uring
	if lacks_engine; then
		echo "$reason"
		exit 77
	fi
}

compile_actor() {
	${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -Iinclude tests/support/programs/fleet_actor.c build/libctxring.a -luring -pthread \
		-o "$work/actor" || fail "the actor does not compile"
}

# start_actor ACTOR HOST: a program with that name for the test.
start_actor() {
	local name=$1 host=$2 file
	actors=$((actors + 1))
	file=$work/$host.$name-$actors
	mkfifo "$file.in" "$file.out"
	enter "$host"
	setpriv --pdeathsig KILL "${entered[@]}" "$work/actor" <"$file.in" >"$file.out" 2>"$file.err" &
	actor_pids[$name]=$!
	children+=("$!")
	members[$host]+=" $!"
	exec {in}>"$file.in" {out}<"$file.out"
	actor_in[$name]=$in actor_out[$name]=$out actor_log[$name]=$file.err
	read -r -t 30 -u "$out" line || fail "actor $name does not start"
	[[ $line == ok ]] || fail "actor $name: $line"
}

# tell ACTOR COMMAND...: sets $answer to the line that it answers. say_to and hear_from do one half of that each.
tell() {
	say_to "$@"
	hear_from "$1"
}
say_to() { echo "${*:2}" >&"${actor_in[$1]}"; }
hear_from() { read -r -t 30 -u "${actor_out[$1]}" answer || fail "actor $1 does not answer"; }

# must ACTOR COMMAND...: fails unless it answers "ok". Sets $answer to what follows that.
must() {
	tell "$@"
	[[ $answer == ok* ]] || fail "$*: $answer"
	answer=${answer#ok}
	answer=${answer# }
}

# refused ERRNO ACTOR COMMAND...
refused() {
	tell "${@:2}"
	[[ $answer == "error $1" ]] || fail "${*:2}: $answer, not $1"
}

# kill_actor ACTOR HOST: with SIGKILL.
kill_actor() { kill_member "$2" "${actor_pids[$1]}"; }

# shares ACTOR NAME [MS]: sets $id.
shares() {
	must "$1" share "${@:2}"
	id=$answer
}

# ended_as ACTOR NAME CAUSE HOST: waits until that context has ended, with that cause. Sets $line.
ended_as() {
	await_line "${actor_log[$1]}" "event=done name=$2 "
	[[ $(field cause) == "$3" && $line == *"host=\"$4\""* ]] || fail "$2 ended otherwise than by $3 of \"$4\": $line"
}
# lives ACTOR NAME: fails if it has ended.
lives() { ! found "${actor_log[$1]}" "event=done name=$2 " || fail "$2 has ended: $line"; }

# joins_again ACTOR GLOBAL_ID: joins it until it is live there. Sets $again to its name.
joins_again() {
	tries=0
	until_true 30 joins_live "$@" || fail "$2 cannot be joined by $1 any more: $answer"
}
joins_live() {
	again=again-$((tries += 1))-${EPOCHREALTIME/[.,]/}
	tell "$1" join "$again" "$2" wait
	[[ $answer == ok* ]] || return 1
	must "$1" state "$again"
	[[ $answer == live ]]
}

# crosses OWNER JOINER NAME: a new context of one is joined by the other, and its end gets there. So what was sent
# before that has arrived, too. Sets $id.
crosses() {
	shares "$1" "$3"
	must "$2" join "$3" "$id" wait
	must "$1" cancel "$3" probe
	ended_as "$2" "$3" call "$(host_of "$id")"
}
host_of() { echo "${1%%/*}"; }

# run_tests NAME...: each is a function. Prints how long it took. TESTS="NAME..." runs only these.
run_tests() {
	local name at
	# shellcheck disable=SC2086
	for name in ${TESTS:-"$@"}; do
		at=$(now_us)
		$name
		say "$name: ok, $(ms_between "$at" "$(now_us)") ms"
	done
}
