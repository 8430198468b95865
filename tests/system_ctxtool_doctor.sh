#!/bin/bash
# SPDX-License-Identifier: MIT
# ctxtool doctor where io_uring works, where seccomp denies it and where limits are low:
# the verdict, the exit code, and that each obstacle comes with something to type.
set -u
cd "$(dirname "$0")/.."
tool=build/ctxtool
deny=build/tests/deny_uring
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
fail() { echo "FAILED: $*"; failed=1; }
has() { grep -q -- "$1" "$dir/out" || fail "no '$1' in: $(cat "$dir/out")"; }

timeout 30 $tool doctor >"$dir/out" 2>&1
usable=$?
case $usable in
0)
	has "io_uring is usable here"
	has "ASYNC_CANCEL\|NOP to"
	has "RLIMIT_MEMLOCK"
	;;
1)
	has "io_uring is not usable here"
	has "^    "
	;;
*) fail "doctor: exit $usable" ;;
esac
# Each problem is followed by a command, which a shell can take and whose program is one that such a system has.
commands() {
	local problems tries command
	# A problem is the line before "try:"; after an empty line comes nothing else than a problem.
	tries=$(grep -c '^    try: ' "$dir/out")
	problems=$(awk '/^$/ { after = 1; next } after { after = 0; if (!/^Without io_uring|^the fleet /) count++ } END { print count + 0 }' "$dir/out")
	[[ $tries == "$problems" ]] || fail "$problems problems and $tries commands: $(cat "$dir/out")"
	[[ $tries -ge ${1:-0} ]] || fail "less than $1 problems: $(cat "$dir/out")"
	while IFS= read -r command; do
		bash -nc "$command" 2>/dev/null || fail "no shell takes: $command"
		[[ ${command%% *} =~ ^(sudo|ulimit|unset|grep|uname|systemctl|docker|podman|systemd-run)$ ]] || fail "no command: $command"
	done < <(sed -n 's/^    try: //p' "$dir/out")
}
commands
timeout 30 $tool doctor --json >"$dir/out" 2>&1
[[ $? == "$usable" ]] || fail "--json has another exit code"
if command -v python3 >/dev/null; then
	python3 - "$dir/out" "$usable" <<'P' || fail "the JSON is not as expected"
import json, sys
document = json.load(open(sys.argv[1]))
assert document["usable"] == (sys.argv[2] == "0")
if document["usable"]:
    assert document["opcodes"]["LINK_TIMEOUT"] and "DEFER_TASKRUN" in document["setup_flags"]
P
fi

if [[ -x $deny ]]; then
	timeout 30 $deny $tool doctor >"$dir/out" 2>&1
	[[ $? == 1 ]] || fail "denied by seccomp, and the exit code is not 1"
	has "not usable here"
	has "seccomp filter"
	has "--security-opt seccomp="
	has "SystemCallFilter="
	commands 1
	timeout 30 $deny $tool doctor --json >"$dir/out" 2>&1
	[[ $? == 1 ]] || fail "denied by seccomp with --json, and the exit code is not 1"
	has '"usable": false'
	has '"error": "EPERM"'
	has '"command": "'
else
	fail "build/tests/deny_uring is not built"
fi

(ulimit -n 100 && exec timeout 30 $tool doctor) >"$dir/out" 2>&1
[[ $? == "$usable" ]] || fail "a low limit changes the verdict"
has "RLIMIT_NOFILE is 100"
has "ulimit -n 65536"
commands 1
CTXRING_TABLE=0 timeout 30 $tool doctor >"$dir/out" 2>&1
has "unset CTXRING_TABLE"
commands 1
timeout 30 $tool doctor --nonsense >"$dir/out" 2>&1
[[ $? == 2 ]] || fail "a wrong option is not exit 2"
timeout 30 $tool doctor operand >"$dir/out" 2>&1
[[ $? == 2 ]] || fail "an operand is not exit 2"

[[ $failed == 0 ]] && echo "doctor says what stands in the way and what to type"
exit $failed
