#!/bin/bash
# SPDX-License-Identifier: MIT
# The public headers compile alone: in strict C11 and C++17, with warnings as errors.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Iinclude)

echo '#include "ctxring.h"' >"$work/c.c"
printf '#include "ctxring.h"\n#include "ctxring.hpp"\n#include "ctxring.hpp"\n' >"$work/cc.cc"
for cc in gcc clang; do
	# -D_POSIX_C_SOURCE: clockid_t is not ISO C.
	$cc -std=c11 -D_POSIX_C_SOURCE=200809L "${warnings[@]}" -c "$work/c.c" -o "$work/c.o"
	$cc -std=gnu11 "${warnings[@]}" -c "$work/c.c" -o "$work/c.o"
done
for cxx in g++ clang++; do
	$cxx -std=c++17 "${warnings[@]}" -c "$work/cc.cc" -o "$work/cc.o"
	$cxx -std=c++20 "${warnings[@]}" -c "$work/cc.cc" -o "$work/cc.o"
done
echo "ctxring.h: C11, gnu11; ctxring.hpp: C++17, C++20"
