# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: MIT
#
# What the scripts that run the examples share: they start programs, wait for what these print, and end them. Bash
# scripts source it from the top of the tree.
#
# Nothing here sleeps for a fixed time. Each wait ends when what it waits for is seen, or fails with a reason when
# its time is over.

bin=build/examples
ctxtool=build/ctxtool
ctxd=build/ctxd
work=$(mktemp -d "${TMPDIR:-/tmp}/ctxring.XXXXXX") || exit 1
# Nothing is ever written to it: a read from it is a pause that starts no process.
mkfifo "$work/.never" || exit 1
children=()
# Seconds after which every wait gives up.
: "${time_max:=28}"
# Seconds that each wait has at least. tests/run.sh gives more, for machines that are busy.
: "${wait_min:=0}"

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# Ends the processes that were started here, by pid. Runs also after a failure and Ctrl-C.
cleanup() {
	local pid
	trap '' INT TERM
	for pid in "${children[@]}"; do
		kill -TERM "$pid" 2>/dev/null
	done
	for pid in "${children[@]}"; do
		for _ in {1..100}; do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.02
		done
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: starts the command, with its output in $work/NAME.out and .err. Sets $started to its pid.
start() {
	local name=$1
	shift
	"$@" >"$work/$name.out" 2>"$work/$name.err" </dev/null &
	started=$!
	children+=("$started")
}

# forget PID: takes a process that has been waited for out of those that are ended at exit.
forget() {
	local pid kept=()
	for pid in "${children[@]}"; do
		[[ $pid == "$1" ]] || kept+=("$pid")
	done
	children=("${kept[@]}")
}

# until_true SECONDS COMMAND...: runs the command again and again until it succeeds.
until_true() {
	local end=$((SECONDS + ($1 > wait_min ? $1 : wait_min))) pause=2
	shift
	until "$@"; do
		if ((SECONDS >= time_max)); then
			echo "no wait goes on after $time_max s, which have passed" >&2
			return 1
		fi
		((SECONDS <= end)) || return 1
		read -r -t 0.0$pause <>"$work/.never" || :
		# What takes longer is asked for less often: each time costs more of a processor than most of what is waited for.
		((pause < 9 && pause++)) || :
	done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# ended PID: waits until the process has ended. Sets $status.
ended() {
	until_true 30 gone "$1" || fail "process $1 does not end"
	status=0
	wait "$1" 2>/dev/null || status=$?
	forget "$1"
}

# leave PID: kills a client, as an impatient user does.
leave() {
	kill -KILL "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	forget "$1"
}

newest() {
	local file last=$1
	for file; do [[ $file -nt $last ]] && last=$file; done
	echo "$last"
}
written_or_gone() { [[ -s $1 ]] || gone "$2"; }

# await_file FILE PID: waits until the process has written the file. Sets $text to its content.
await_file() {
	until_true 30 written_or_gone "$@" || fail "process $2 writes no $(basename "$1")"
	[[ -s $1 ]] || fail "process $2 did not start: $(tail -q -n 3 "$(newest "$work"/*.err)")"
	text=$(<"$1")
}

found() { line=$(grep -m 1 -E -- "$2" "$1" 2>/dev/null); }

# await_line FILE PATTERN: waits until a line of the file matches. Sets $line.
await_line() {
	until_true 30 found "$1" "$2" || fail "\"$2\" never appeared in $(basename "$1")"
}

# field NAME: the value of NAME=value in $line.
field() {
	local value=${line#* "$1"=}
	echo "${value%% *}"
}

# need FILE...: fails when a program has not been built.
need() {
	local file
	for file; do
		[[ -x $file ]] || fail "$file is not built: type make"
	done
}

# For tests: exits as skipped where io_uring is forbidden.
skip_without_uring() {
	local doctor status=0
	doctor=$($ctxtool doctor 2>&1) || status=$?
	[[ $status -ne 1 ]] || { echo "no io_uring: $(grep -m 1 -i io_uring <<<"$doctor")"; exit 77; }
}

# start_servers KIND [OPTION]: starts upstream and httpd on free ports, httpd with a ring of that kind.
# Sets $upstream_pid, $httpd_pid, $url and $log.
start_servers() {
	local name=httpd-$1${2:-}
	rm -f "$work"/*.port
	start upstream $bin/upstream --port-file "$work/upstream.port"
	upstream_pid=$started
	await_file "$work/upstream.port" "$upstream_pid"
	start "$name" $bin/httpd --port-file "$work/httpd.port" --upstream "127.0.0.1:$text" \
		--root "${root:-$work}" --ring "$@"
	httpd_pid=$started
	log=$work/$name.err
	await_file "$work/httpd.port" "$httpd_pid"
	url=http://127.0.0.1:$text
}

# stop_servers: sends SIGTERM to both. Both have to exit with 0.
stop_servers() {
	local pid
	for pid in "$httpd_pid" "$upstream_pid"; do
		kill -TERM "$pid" || fail "process $pid ended by itself: $(tail -n 3 "$log")"
		ended "$pid"
		[[ $status == 0 ]] || fail "process $pid ended with status $status: $(tail -n 3 "$log")"
	done
}
