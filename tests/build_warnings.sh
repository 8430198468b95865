#!/bin/bash
# SPDX-License-Identifier: MIT
# The whole tree compiles without a warning with gcc and with clang. (gcc's half is
# the ordinary build, whose flags include -Werror. clang's warnings come before it optimizes.)
set -eu
cd "$(dirname "$0")/.."
jobs=-j$(nproc)
"$MAKE" --no-print-directory "$jobs" CC=gcc TOGETHER=1 all tests benches
# Of tests, benchmarks and examples clang only checks the sources: the programs of this variant are never run.
objects=(tests/*.c tests/support/*.c tests/support/programs/*.c bench/*.c examples/*.c examples/*/*.c)
objects=("${objects[@]/#/build/clang/}")
"$MAKE" --no-print-directory "$jobs" VARIANT=clang CFLAGS='-O0 -fsyntax-only' "${objects[@]/%.c/.o}"
"$MAKE" --no-print-directory "$jobs" VARIANT=clang CFLAGS=-O0 library tools
echo "gcc and clang: no warnings"
