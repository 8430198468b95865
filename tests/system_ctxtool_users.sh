#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Several users of one ctxd that has no rights of its own: one user's contexts are not there for another one, whatever he asks
# with ctxtool, also from a user name space where he is root; who may see them sees the shared part; root sees and ends all.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
# shellcheck source=examples/across.sh
. examples/across.sh
need $bin/{across_server,across_backend} $ctxtool $ctxd
skip_without_uring
[[ $(id -u) == 0 ]] || { echo "needs root, to be several users"; exit 77; }
command -v setpriv >/dev/null || { echo "setpriv is missing"; exit 77; }

run() { status=0; out=$("$@" 2>&1 </dev/null) || status=$?; }
service=0 owner=65021 stranger=65022

# Where all of them find it; the tree may be closed to them.
chmod 755 "$work"
mkdir -p "$work/bin" "$work/served" "$work/owned"
cp $ctxd $ctxtool $bin/{across_server,across_backend} "$work/bin"
cat >"$work/bin/as_user" <<'END'
#!/bin/sh
user=$1
shift
exec setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all --bounding-set=-all "$@"
END
chmod 755 "$work/bin/as_user"
PATH=$work/bin:$PATH
chown $service "$work/served"
chown $owner "$work/owned"
export CTXD_SOCKET=$work/served/ctxd.sock

start ctxd as_user $service "$work/bin/ctxd"
ctxd_pid=$started
await_line "$work/ctxd.err" "event=start "
chmod 666 "$CTXD_SOCKET"
start backend as_user $owner "$work/bin/across_backend" "$work/owned/backend.port"
backend_pid=$started
await_file "$work/owned/backend.port" "$backend_pid"
start server as_user $owner "$work/bin/across_server" "$work/owned/server.port" "127.0.0.1:$text"
server_pid=$started
await_file "$work/owned/server.port" "$server_pid"
server_port=$text server_log=$work/server.err
ask 20
shown="\"$request\" live"

echo "the same user"
run as_user $owner "$work/bin/ctxtool" tree
[[ $out == *"$shown"*"shared as"* ]] || fail "the owner does not see it: $out"
run as_user $owner "$work/bin/ctxtool" cancel --dry-run "$id"
[[ $status == 0 && $out == *"in 2 processes"* ]] || fail "the owner may not end it: $status $out"

echo "another user"
# nothing WHO...: a user, and how he comes to ctxtool, who finds and ends nothing.
nothing() {
	local command guessed=${id%-*}-ffff
	for command in ls tree stats "stats --openmetrics" "leaks --older=0.000001" last "top --count=1" "ls --json" \
		"show $request" "show $server_pid" "last $server_pid"; do
		# shellcheck disable=SC2086
		run "$@" "$work/bin/ctxtool" $command
		[[ $out != *"$request"* && $out != *"$id"* ]] || fail "$command shows it to another user: $out"
	done
	for command in "$id" "$context" "$request" "--pid=$server_pid"; do
		run "$@" "$work/bin/ctxtool" cancel --yes "$command"
		# Where root is not known by name nobody is asked.
		[[ $status == 1 || ($status == 4 && $out == *"neither as root nor as this user"*) ]] || fail "cancel $command by another user: $status $out"
	done
	# What is forbidden is not told from what is not there.
	run "$@" "$work/bin/ctxtool" cancel --yes "$guessed"
	forbidden=${out//$guessed/ID}
	run "$@" "$work/bin/ctxtool" cancel --yes "$id"
	[[ ${out//$id/ID} == "$forbidden" ]] || fail "it is told: \"$out\", \"$forbidden\""
	run as_user $owner "$work/bin/ctxtool" tree --pid "$server_pid"
	[[ $out == *"$shown"* ]] || fail "it was ended by another user: $out"
}
nothing as_user $stranger
start watch as_user $stranger "$work/bin/ctxtool" watch --initial --all
watcher=$started
await_line "$work/watch.out" "connected.* $watcher ctxtool"

if as_user $stranger unshare --user --map-root-user true 2>/dev/null; then
	echo "another user who is root in a name space of his own"
	nothing as_user $stranger unshare --user --map-root-user
fi
if unshare --pid --fork true 2>/dev/null; then
	echo "the same user in another process name space"
	run unshare --pid --fork setpriv --reuid=$owner --regid=$owner --clear-groups "$work/bin/ctxtool" cancel \
		--dry-run "$id"
	[[ $status == 0 && $out == *"in 2 processes"* ]] || fail "from another process name space: $status $out"
fi

echo "root"
run $ctxtool tree
[[ $out == *"$shown"* ]] || fail "root does not see it: $out"
run $ctxtool cancel "$id" --wait --cause "by root"
[[ $status == 0 && $out == *"ended in 2 processes"* ]] || fail "root cannot end it: $status $out"
await_line "$work/backend.err" "event=end request=$id .*by root"
await_line "$work/ctxd.err" "event=cancel uid=0 .*by root"
gone_client
leave "$server_pid"
leave "$backend_pid"
died() { $ctxtool last "$server_pid" >/dev/null 2>&1; }
until_true 30 died || fail "its table is not kept"
run as_user $stranger "$work/bin/ctxtool" last "$server_pid"
[[ $status == 1 ]] || fail "another user gets what died: $status $out"
kill -TERM "$watcher"
ended "$watcher"
! grep -q "across_server\|$request" "$work/watch.out" || fail "another user was told: $(<"$work/watch.out")"
kill -TERM "$ctxd_pid"
ended "$ctxd_pid"
[[ $status == 0 ]] || fail "ctxd ended with status $status: $(<"$work/ctxd.err")"
echo "ctxtool: each user sees what is his"
