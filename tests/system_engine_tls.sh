#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The engine of a fleet over TLS: a redis-server that speaks TLS only, with a certificate made here. Where hiredis has no TLS
# there is a tunnel, stunnel on a unix socket, which is the address of the engine; and rediss:// is refused with a reason. A
# certificate that is not trusted is no link, either way.
set -eu
cd "$(dirname "$0")/.."
talk=build/tests/engine_talk
skip() {
	echo "$1"
	exit 77
}
for program in redis-server stunnel4 openssl; do
	command -v $program >/dev/null || skip "$program is not installed"
done
[ -x $talk ] || skip "without hiredis there is no engine"

work=$(mktemp -d)
pids=()
end() {
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap end EXIT
fail() {
	echo "$1"
	cat "$work"/*.log
	exit 1
}
# await WHAT COMMAND...: for half a minute.
await() {
	local i
	for ((i = 0; i < 300; i++)); do
		! "${@:2}" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	fail "$1 never happened"
}

# An authority, a certificate of it for localhost, and another authority.
certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
		-keyout "$work/$1.key" -out "$work/$1.pem" 2>/dev/null
}
certificate authority
certificate stranger
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout "$work/server.key" \
	-out "$work/server.csr" 2>/dev/null
openssl x509 -req -in "$work/server.csr" -CA "$work/authority.pem" -CAkey "$work/authority.key" -CAcreateserial -days 2 \
	-extfile <(echo subjectAltName=DNS:localhost) -out "$work/server.pem" 2>/dev/null

# A port that is free now; another one if somebody was faster.
start_server() {
	port=$((20000 + RANDOM % 12000))
	redis-server --port 0 --tls-port $port --bind 127.0.0.1 -::1 --save "" --dir "$work" --tls-cert-file "$work/server.pem" \
		--tls-key-file "$work/server.key" --tls-ca-cert-file "$work/authority.pem" --tls-auth-clients no \
		>"$work/redis.log" 2>&1 &
	server=$!
	pids+=($server)
	while kill -0 $server 2>/dev/null; do
		! grep -q 'Ready to accept' "$work/redis.log" || return 0
		sleep 0.05
	done
	return 1
}
for ((tries = 0; tries < 5; tries++)); do
	! start_server || break
	! grep -qi 'bad directive' "$work/redis.log" || skip "this redis-server has no TLS"
done
kill -0 $server || fail "redis-server did not start"

# tunnel NAME AUTHORITY: a unix socket that leads to the server, if the authority says that it is localhost.
tunnel() {
	cat >"$work/$1.conf" <<-END
		foreground = yes
		syslog = no
		pid =
		[redis]
		client = yes
		accept = $work/$1.socket
		connect = 127.0.0.1:$port
		verifyChain = yes
		CAfile = $work/$2.pem
		checkHost = localhost
	END
	stunnel4 "$work/$1.conf" >"$work/$1.log" 2>&1 &
	pids+=($!)
	await "the socket of stunnel" test -S "$work/$1.socket"
}
tunnel trusted authority
tunnel untrusted stranger

said=$($talk "unix:$work/trusted.socket" 200) || fail "no link by stunnel: $said"
grep -q '^messages=200 ' <<<"$said" || fail "no messages by stunnel: $said"
echo "by stunnel: $said"
! said=$($talk "unix:$work/untrusted.socket" 1) || fail "a link by a certificate that is not trusted: $said"
grep -q '^trouble: .*the connection is lost' <<<"$said" || fail "the reason is another: $said"

if said=$($talk "rediss://localhost:$port" 1 "$work/authority.pem") || grep -q ^trouble <<<"$said"; then
	said=$($talk "rediss://localhost:$port" 200 "$work/authority.pem") || fail "no link by hiredis_ssl: $said"
	grep -q '^messages=200 ' <<<"$said" || fail "no messages by hiredis_ssl: $said"
	echo "by hiredis_ssl: $said"
	! said=$($talk "rediss://localhost:$port" 1 "$work/stranger.pem") || fail "a stranger was trusted: $said"
	grep -qi 'certificate' <<<"$said" || fail "the reason is another: $said"
	! said=$($talk "rediss://127.0.0.1:$port" 1 "$work/authority.pem") || fail "the name was not compared: $said"
	grep -qi 'mismatch' <<<"$said" || fail "the reason is another: $said"
else
	grep -q 'this build has no TLS' <<<"$said" || fail "rediss:// is refused for another reason: $said"
fi
echo "TLS: trusted by its authority, and not by another"
