#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Requests per second of the example server beside nginx with one worker and Go's net/http with one processor. wrk asks
# all of them for the same short text: with 64 connections that stay, and with a new connection for each request. The
# servers take turns, each for itself.
#
#   bench/http_peers.sh [--quick] [--json FILE] [FILTER]
#
# A server of which the package is missing is named as skipped.

set -u
cd "$(dirname "$0")/.." || exit
bench=http
# shellcheck source=bench/servers.sh
. bench/servers.sh
seconds=3 turns=5 connections=64
[ "$quick" ] && seconds=1 turns=3

skip() {
	echo "http: skipped: $*" >&2
}

start_httpd() {
	rm -f "$work/port"
	build/examples/httpd --quiet "$@" --port 0 --port-file "$work/port" >"$work/log" 2>&1 </dev/null &
	children+=("$!")
	await_port httpd "$work/port"
}

start_go() {
	rm -f "$work/port"
	GOMAXPROCS=1 build/bench/go-http "$work/text" >"$work/port" 2>"$work/log" </dev/null &
	children+=("$!")
	await_port go-http "$work/port"
}

# nginx cannot choose a free port by itself: tries some, until one is free. The answer is as long as the others.
start_nginx() {
	local text
	text=$(sed ':a;N;$!ba;s/\n/\\n/g' "$work/text")
	mkdir -p "$work/nginx"
	for _ in {1..20}; do
		port=$((20000 + RANDOM % 12000))
		cat >"$work/nginx/nginx.conf" <<-END
			worker_processes 1;
			daemon off;
			pid $work/nginx/pid;
			error_log $work/nginx/error.log;
			events { worker_connections 1024; }
			http {
				access_log off;
				default_type text/plain;
				keepalive_requests 100000000;
				client_body_temp_path $work/nginx/body;
				proxy_temp_path $work/nginx/proxy;
				fastcgi_temp_path $work/nginx/fastcgi;
				uwsgi_temp_path $work/nginx/uwsgi;
				scgi_temp_path $work/nginx/scgi;
				server {
					listen 127.0.0.1:$port;
					location / { return 200 "$text\n"; }
				}
			}
		END
		"$nginx" -p "$work/nginx" -c "$work/nginx/nginx.conf" >"$work/log" 2>&1 </dev/null &
		children+=("$!")
		for _ in {1..100}; do
			kill -0 "${children[-1]}" 2>/dev/null || break
			(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
			sleep 0.02
		done
		wait "${children[-1]}" 2>/dev/null
		unset 'children[-1]'
		grep -q 'Address already in use' "$work/log" || fail "nginx ended: $(cat "$work/log")"
	done
	fail "nginx finds no port"
}

# turn SERVER WAY: appends the requests that the server answered in a second to the results of this way.
turn() {
	local header=()
	[ "$2" = close ] && header=(-H 'Connection: close')
	case $1 in
	httpd) start_httpd ;;
	defer) start_httpd --ring defer ;;
	*) "start_$1" ;;
	esac
	wrk -t1 -c$connections -d"${seconds}s" "${header[@]}" "http://127.0.0.1:$port/" >"$work/wrk" ||
		fail "wrk: $(cat "$work/wrk")"
	stop_last
	grep -q 'Non-2xx' "$work/wrk" && fail "$1: $(cat "$work/wrk")"
	awk '/^Requests\/sec/ { print $2 }' "$work/wrk" >>"$work/$1.$2"
}

# report CASE VALUE RATIO AGAINST GOAL; - for what there is not.
report() {
	local ratio=$3 against=$4 goal=$5
	printf '%-8s %-46s %12.2f %-9s %9s %-30s %s\n' http "$1" "$2" req/s "$ratio" "$against" "${goal#-}"
	[ "$ratio" = - ] && ratio=null
	[ "$against" = - ] && against=null || against="\"$against\""
	[ "$goal" = - ] && goal=null || goal="\"$goal\""
	printf '{"bench":"http","case":"%s","value":%s,"unit":"req/s","ratio":%s,"against":%s,"goal":%s}\n' \
		"$1" "$2" "$ratio" "$against" "$goal" >>"$json"
}

# compare CASE SERVER PEER WAY NAME GOAL
compare() {
	local ratio
	ratio=$(paste "$work/$2.$4" "$work/$3.$4" | awk '{ print $1 / $2 }' | median)
	report "$1" "$(median <"$work/$2.$4")" "$ratio" "$5" "$6"
	report "$5" "$(median <"$work/$3.$4")" - "$1" -
}

command -v wrk >/dev/null || { skip "wrk is not installed"; exit 0; }
[ -x build/examples/httpd ] || { skip "build/examples/httpd is not built"; exit 0; }
peers=()
if nginx=$(PATH=$PATH:/usr/sbin:/sbin command -v nginx); then
	peers+=(nginx)
else
	skip "nginx is not installed"
fi
if ! command -v go >/dev/null; then
	skip "Go is not installed"
elif GO111MODULE=off GOPROXY=off GOFLAGS='' go build -o build/bench/go-http bench/go/http.go; then
	peers+=(go)
else
	fail "bench/go/http.go does not build"
fi
[ ${#peers[@]} -gt 0 ] || exit 0

# The text of the example server, which the others answer, too.
start_httpd
exec 3<>"/dev/tcp/127.0.0.1/$port" || fail "httpd does not answer"
printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
sed '1,/^\r$/d' <&3 >"$work/text"
exec 3>&-
stop_last
[ -s "$work/text" ] || fail "httpd answers nothing"

for way in keep close; do
	what="connections that stay"
	[ $way = close ] && what="a connection for each request"
	[[ "http/$what" == *"$filter"* ]] || continue
	echo "  http/$what" >&2
	for ((i = 0; i < turns; i++)); do
		order=(httpd defer "${peers[@]}")
		for ((k = 0; k < ${#order[@]}; k++)); do
			turn "${order[i % 2 ? ${#order[@]} - 1 - k : k]}" $way
		done
	done
	for server in httpd defer; do
		name="$what, $([ $server = defer ] && echo defer || echo ordinary)"
		for peer in "${peers[@]}"; do
			case $peer in
			nginx) compare "$name" $server nginx $way "nginx, one worker" ">= 1.0" ;;
			go) compare "$name" $server go $way "Go net/http, one processor" - ;;
			esac
		done
	done
done
