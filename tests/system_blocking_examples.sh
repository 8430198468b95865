#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the examples of blocking calls and task groups: what they do, how they stop, and that they leave
# nothing behind when they do.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/{copy,fanout,httpd,upstream} $ctxtool
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

# ---- copying

to=$work/to
mkdir -p "$to" "$work/from"
left_behind() { find "$to" -name '.copy.*' | wc -l; }
writes_part() { [[ -n $(find "$to" -name '.copy.*' -size +0) ]]; }

for i in {1..9}; do head -c $((i * 100001)) /dev/urandom >"$work/from/file $i"; done
: >"$work/from/empty"
chmod 640 "$work/from/file 1"
run $bin/copy "$work/from"/* "$to"
is "copy: status" "$status" 0
is "copy: output" "$out" ""
diff -r "$work/from" "$to" || fail "copy: the copies differ"
is "copy: permissions" "$(stat -c %a "$to/file 1")" 640
is "copy: nothing left behind" "$(left_behind)" 0
run $bin/copy --jobs 1 --progress "$work/from/file 1" "$to/file 2"
is "copy, replaces: status" "$status" 0
has "copy: progress" "$out" "*1 of 1 files, 0.1 of 0.1 MB*"
cmp "$work/from/file 1" "$to/file 2" || fail "copy: the target was not replaced"
run $bin/copy "$work/from/file 1" "$work/from/file 1"
is "copy, onto itself: status" "$status" 1
mkfifo "$work/device"
run $bin/copy "$work/from/file 1" "$work/device"
is "copy, to a device: status" "$status" 1
[[ -p $work/device ]] || fail "copy, to a device: it was replaced"
run $bin/copy "$work/none" "$to"
is "copy, no source: status" "$status" 1
has "copy, no source: output" "$out" "copy: *none: No such file or directory"
run $bin/copy "$work/from"/* "$work/nowhere"
is "copy, no directory: status" "$status" 1
for options in "" "x" "--timeout 0 a b" "--timeout 1x a b" "--jobs 0 a b" "--other a b"; do
	# shellcheck disable=SC2086
	run $bin/copy $options
	is "copy $options: status" "$status" 2
done

# A source that never ends: a FIFO whose other end we hold.
mkfifo "$work/fifo"
exec {keep}<>"$work/fifo"
echo before >"$to/fifo"

echo part >&"$keep"
run $bin/copy --timeout 0.2 "$work/fifo" "$to"
is "copy, deadline: status" "$status" 124
is "copy, deadline: output" "$out" "copy: the time is over; files copied: 0 of 1"
is "copy, deadline: nothing left behind" "$(left_behind)" 0
is "copy, deadline: the target" "$(<"$to/fifo")" before

# The first that fails ends the others.
run $bin/copy "$work/fifo" "$work/from" "$to"
is "copy, one fails: status" "$status" 1
is "copy, one fails: output" "$out" "copy: $work/from: read: Is a directory"
is "copy, one fails: nothing left behind" "$(left_behind)" 0
is "copy, one fails: the target" "$(<"$to/fifo")" before

# Of a program in the background a shell without job control has SIGINT ignored.
for signal in INT TERM HUP; do
	echo part >&"$keep"
	start copy env --default-signal=INT $bin/copy "$work/fifo" "$to"
	until_true 30 writes_part || fail "copy: writes nothing"
	kill -$signal "$started"
	ended "$started"
	is "copy, SIG$signal: status" "$status" $((128 + $(kill -l $signal)))
	has "copy, SIG$signal: output" "$(<"$work/copy.err")" "copy: stopped by *; files copied: 0 of 1"
	is "copy, SIG$signal: nothing left behind" "$(left_behind)" 0
	is "copy, SIG$signal: the target" "$(<"$to/fifo")" before
done

# What is ignored stays so.
echo part >&"$keep"
start copy $bin/copy --timeout 30 "$work/fifo" "$to"
until_true 30 writes_part || fail "copy: writes nothing"
kill -INT "$started"
kill -TERM "$started"
ended "$started"
is "copy, SIGINT ignored: status" "$status" 143
exec {keep}>&-

if [[ -x build/tests/deny_uring ]]; then
	run build/tests/deny_uring $bin/copy "$work/from"/* "$to"
	is "copy, io_uring forbidden: status" "$status" 0
	cmp "$work/from/file 9" "$to/file 9" || fail "copy, io_uring forbidden: the copies differ"
fi

# Memory for two rings, for eight threads. Root is above the limit.
narrow=$work/narrow
mkdir "$narrow"
chmod 711 "$work" && chmod 777 "$narrow" && chmod -R a+rX "$work/from"
bounded=(prlimit --memlock=16384:16384)
[[ $EUID == 0 ]] && bounded+=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
cp $bin/copy "$work/copy.program"
if "${bounded[@]}" test -w "$narrow" 2>/dev/null; then
	run "${bounded[@]}" "$work/copy.program" --jobs 8 "$work/from"/* "$narrow"
	is "copy, no rings left: output" "$out" ""
	is "copy, no rings left: status" "$status" 0
	diff -r "$work/from" "$narrow" || fail "copy, no rings left: the copies differ"
fi

# ---- fanning out. The server that is asked needs io_uring.

run $bin/fanout
is "fanout, usage: status" "$status" 2
run $bin/fanout localhost:x
is "fanout, bad address: status" "$status" 2
skip_without_uring

# A port where nobody listens: that of a server which has ended.
start closed $bin/upstream --port-file "$work/closed.port"
await_file "$work/closed.port" "$started"
closed=127.0.0.1:$text
kill -TERM "$started"
ended "$started"

start_servers ordinary
server=${url#http://}
for form in --timeout=10000 --ring; do
	run $bin/fanout $form --path "/slow?ms=5" "$server" "$server" "$server"
	is "fanout $form: status" "$status" 0
	is "fanout $form: answers" "$(grep -c "^$server: status 200, [1-9][0-9]* bytes$" <<<"$out")" 3
	begun=$SECONDS
	run $bin/fanout $form --timeout 60000 --path "/slow?ms=60000" "$server" "$closed" "$server"
	is "fanout $form, one fails: status" "$status" 1
	has "fanout $form, one fails: output" "$out" "*$closed: Connection refused*"
	has "fanout $form, one fails: cause" "$(grep '^fanout:' <<<"$out")" "fanout: *: Connection refused"
	[[ $(grep -c "^$server: " <<<"$out") == 2 ]] || fail "fanout $form: not all are reported: $out"
	[[ $((SECONDS - begun)) -lt 30 ]] || fail "fanout $form: the others were waited for"
	run $bin/fanout $form --timeout 100 --path "/slow?ms=20000" "$server" "$server"
	is "fanout $form, deadline: status" "$status" 1
	is "fanout $form, deadline: output" "$(grep '^fanout:' <<<"$out")" "fanout: Timer expired"
	run $bin/fanout $form --timeout 15000 --path "/nothing" "$server" "$server"
	is "fanout $form, bad answer: status" "$status" 1
	has "fanout $form, bad answer: cause" "$(grep '^fanout:' <<<"$out")" \
		"fanout: $server answered with status 404: Bad message"
done
run build/tests/deny_uring $bin/fanout --path "/slow?ms=5" "$server" "$server"
is "fanout, io_uring forbidden: status" "$status" 0
run build/tests/deny_uring $bin/fanout --ring "$server"
is "fanout --ring, io_uring forbidden: status" "$status" 1
has "fanout --ring, io_uring forbidden: output" "$out" "fanout: no io_uring: *"
stop_servers
echo "$checks checks of the blocking examples passed"
