#!/bin/bash
# SPDX-License-Identifier: MIT
#
# make play: the example server and its upstream, left running. Ctrl-C ends them.

set -u
cd "$(dirname "$0")/.." || exit
time_max=1000000
# shellcheck source=examples/lib.sh
. examples/lib.sh
need $bin/httpd $bin/upstream
root=$PWD
start_servers "${1:-ordinary}"
cat <<END
The server runs on $url/ (process $httpd_pid). Try, in other terminals:

  curl '$url/fan?n=200&ms=30000'
  $ctxtool tree --pid $httpd_pid
  curl -H 'X-Deadline-Ms: 500' '$url/slow?ms=5000'

End the first one with Ctrl-C and see here what becomes of its 200 operations.
Ctrl-C here ends the server.

END
# The log to the terminal; tail ends with the server.
tail -n +1 -f --pid="$httpd_pid" "$log" &
children+=("$!")
wait "$httpd_pid"
