#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The two proxies of examples/, by hand and with ctxring, have to do the same: relay both ways, end their
# sessions for each reason and leave nothing open. tests/support/programs/proxy_peers.py has the cases.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{proxy,proxy_by_hand,httpd,upstream} $ctxtool
skip_without_uring
for command in curl python3; do
	command -v $command >/dev/null || { echo "$command is missing"; exit 77; }
done
${CC:-cc} -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -shared -fPIC tests/support/programs/count_sockets.c \
	-o "$work/count_sockets.so" || fail "count_sockets.c does not compile"

# Both at once: they mostly wait.
pids=()
for program in proxy proxy_by_hand; do
	timeout 140 python3 tests/support/programs/proxy_peers.py $bin/$program "$work/count_sockets.so" >"$work/$program.peers" 2>&1 &
	pids+=("$!")
	children+=("$!")
done
for i in 0 1; do
	status=0
	wait "${pids[i]}" || status=$?
	forget "${pids[i]}"
	[[ $status == 0 ]] || fail "$(cat "$work"/*.peers)"
done

# HTTP through each of them: 20 clients at a time ask for a file.
root=$work/files
mkdir "$root"
head -c 1000003 /dev/urandom >"$root/file"
start_servers ordinary
for program in proxy proxy_by_hand; do
	start $program $bin/$program --port-file "$work/$program.port" "${url#http://}"
	proxy_pid=$started
	await_file "$work/$program.port" "$proxy_pid"
	seq 20 | xargs -P 20 -I{} curl -sf --max-time 60 -o "$work/$program.{}" "http://127.0.0.1:$text/file?path=file" ||
		fail "$program: curl: status $?"
	for i in {1..20}; do
		cmp "$root/file" "$work/$program.$i" || fail "$program: file $i came different"
	done
	kill -TERM "$proxy_pid"
	ended "$proxy_pid"
	[[ $status == 0 ]] || fail "$program: status $status: $(tail -n 3 "$work/$program.err")"
	[[ $(grep -c ', both sides closed$' "$work/$program.out") == 20 ]] || fail "$program: $(cat "$work/$program.out")"
done
stop_servers

for program in proxy proxy_by_hand; do
	for arguments in "" "127.0.0.1" "--idle 0 127.0.0.1:1" "--port 70000 127.0.0.1:1" "127.0.0.1:1 more"; do
		status=0
		# shellcheck disable=SC2086
		$bin/$program $arguments >/dev/null 2>&1 || status=$?
		[[ $status == 2 ]] || fail "$program $arguments: status $status"
	done
	$bin/$program --help | grep -q "^Usage: $program .*HOST:PORT" || fail "$program --help"
done
echo "both proxies: $(cat "$work/proxy.peers"), and 20 files over HTTP"
