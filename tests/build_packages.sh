#!/bin/bash
# SPDX-License-Identifier: MIT
# .ci/install-missing installs nothing when it is told so by NO_INSTALL, or cannot: it names the packages and exits with 2.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() {
	local wanted=$1 status=0
	shift
	"$@" >"$work/out" 2>&1 || status=$?
	[ "$status" = "$wanted" ] || { cat "$work/out"; echo "$*: status $status, not $wanted"; exit 1; }
}

expect 0 env NO_INSTALL=1 .ci/install-missing libc6-dev=stdio.h gcc=gcc root=/
expect 2 env NO_INSTALL=1 .ci/install-missing gcc=gcc ctxring-no-such-package=ctxring-no-such-command
grep -q ctxring-no-such-package "$work/out"
! grep -qw gcc "$work/out"

# A system without apt: a PATH that has the shell's tools only.
mkdir "$work/bin"
for tool in sh sed tr id; do ln -s "$(command -v $tool)" "$work/bin/$tool"; done
expect 2 env -u NO_INSTALL PATH="$work/bin" .ci/install-missing ctxring-no-such-package=ctxring-no-such-command
grep -q ctxring-no-such-package "$work/out"
echo "packages: refusals name what is missing"
