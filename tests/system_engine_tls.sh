#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The engine of a fleet over TLS, as it is set up where hiredis has none: a redis-server that speaks TLS only, with a
# certificate made here, and a stunnel on a unix socket, which is the address of the engine. tests/check_engine is run with
# that address; then a certificate that is not trusted is no link.
set -eu
cd "$(dirname "$0")/.."
skip() {
	echo "$1"
	exit 77
}
for program in redis-server stunnel4 openssl; do
	command -v $program >/dev/null || skip "$program is not installed"
done
[ -x build/tests/engine_talk ] || skip "without hiredis there is no engine"

work=$(mktemp -d)
pids=()
end() {
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap end EXIT
# Programs that have ended when bash is told to wait for them are waited for by end().

# await WHAT COMMAND...: for half a minute.
await() {
	local i
	for ((i = 0; i < 300; i++)); do
		! "${@:2}" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	echo "$1 never happened"
	cat "$work"/*.log
	exit 1
}
