#!/bin/bash
# SPDX-License-Identifier: MIT
# The whole tree compiles without a warning with gcc and with clang. (gcc's half is
# the ordinary build, whose flags include -Werror. clang's warnings come before it optimizes.)
set -eu
cd "$(dirname "$0")/.."
"$MAKE" --no-print-directory -j"$(nproc)" CC=gcc TOGETHER=1 all tests benches

# The commands of all folders, from one call of make: each is that for the first file of its folder.
folders=(lib/* daemon daemon/* tools tools/* tests tests/soak bench examples)
firsts=()
for folder in "${folders[@]}"; do
	sources=("$folder"/*.c)
	[[ ! -e ${sources[0]} ]] || firsts+=("${sources[0]}")
done
rm -rf build/clang
objects=("${firsts[@]/#/build/clang/}")
commands=$("$MAKE" -n --no-print-directory VARIANT=clang CFLAGS=-O0 "${objects[@]/%.c/.o}")

# with_clang WHAT FILE...: files that are compiled with the flags of the first one; WHAT is -fsyntax-only, or -c to generate code as
# well. The start of clang takes longer than most files, so the compiler itself, which its driver starts as clang -cc1, gets
# many at a time.
with_clang() {
	local what=$1 command words=() kept=() word=0
	shift
	command=$(sed -n "s|^\(clang .*\) -c $1 .*|\1|p" <<<"$commands")
	eval "words=($($command "$what" '-###' -o /dev/null "$1" 2>&1 | tail -n 1))"
	for ((; word < ${#words[@]} - 1; word++)); do
		case ${words[word]} in
		# Of one file; and what keeps all memory until the end.
		-main-file-name | -dependency-file | -MT) ((++word)) ;;
		-MP | -sys-header-deps | -disable-free) ;;
		*) kept+=("${words[word]}") ;;
		esac
	done
	[[ " ${kept[*]} " == *" -cc1 "*" -Werror "* ]] || { echo "not the command of a compiler: ${kept[*]}"; exit 1; }
	printf '%s\0' "$@" | xargs -0 -n 20 -P "$(nproc)" "${kept[@]}"
	files=$((files + $#))
}

files=0
for first in "${firsts[@]}"; do
	folder=${first%/*}
	case $folder in
	tests) with_clang -fsyntax-only tests/*.c tests/support/*.c tests/support/programs/*.c ;;
	examples) with_clang -fsyntax-only examples/*.c examples/server/*.c ;;
	bench | tests/soak) with_clang -fsyntax-only "$folder"/*.c ;;
	*) with_clang -c "$folder"/*.c ;;
	esac
done
# Each of these has flags of its own.
objects=(examples/libraries/*.c)
objects=("${objects[@]/#/build/clang/}")
"$MAKE" --no-print-directory -j"$(nproc)" VARIANT=clang CFLAGS='-O0 -fsyntax-only' "${objects[@]/%.c/.o}"
[[ $files -gt 400 ]] || { echo "only $files files were found"; exit 1; }
echo "gcc and clang: no warnings in $files files"
