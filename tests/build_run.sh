#!/bin/bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016 # what is quoted is for another shell
#
# tests/run.sh counts each test program right, also one that dies before it has counted its tests.

set -eu
cd "$(dirname "$0")/.."
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/tests" "$tree/build/tests"
cp -r tests/run.sh tests/run "$tree/tests"

# program NAME LINE...
program() {
	local file=$tree/build/tests/$1
	shift
	printf '%s\n' '#!/bin/sh' "$@" >"$file"
	chmod 755 "$file"
}

# with LAST LINE...: what run.sh says last of two programs, one in order and one that is these lines.
with() {
	local expected=$1 said
	shift
	program check_it "$@"
	said=$(env -u CI MAKE=true "$tree/tests/run.sh" normal 2>&1 | tail -n 1)
	[[ $said == "$expected" ]] && return
	echo "of \"$*\" run.sh says \"$said\" and not \"$expected\""
	exit 1
}

program check_fine 'echo 1 0 0 >$CTX_TEST_TOTALS'
with '3 passed, 0 failed' 'echo 2 0 0 >$CTX_TEST_TOTALS'
with '2 passed, 1 failed, 1 skipped' 'echo 1 1 1 for a reason >$CTX_TEST_TOTALS' 'exit 1'
with '1 passed, 0 failed' 'exit 0' # it has no tests for this pass
with '1 passed, 1 failed' 'exit 1'
with '1 passed, 1 failed' 'kill -SEGV $$'
with '1 passed, 1 failed' ': >$CTX_TEST_TOTALS' 'exit 1'
with '1 passed, 1 failed' 'echo 5 0 0 >$CTX_TEST_TOTALS' 'exit 1'
rm "$tree/build/tests/check_fine"
with '0 passed, 1 failed' 'exit 0'
echo 'tests/run.sh counts right'
