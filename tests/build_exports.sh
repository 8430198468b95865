#!/bin/bash
# SPDX-License-Identifier: MIT
# The shared library exports the functions that the public header declares and no
# others; the static one defines no other global name; each function has a man page.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$MAKE" --no-print-directory -j"$(nproc)" library >/dev/null

# After the preprocessor: comments and macros are gone, a declaration is NAME( at depth 0.
gcc -E -P -Iinclude -D_GNU_SOURCE include/ctxring.h | tr '\n' ' ' | sed 's/[;{}]/\n/g' |
	grep -v typedef | grep -oE '\bctx[a-z]*_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$work/declared"
[ "$(wc -l <"$work/declared")" -gt 40 ]
nm -D --defined-only build/libctxring.so.? build/libctxring.so | awk 'NF == 3 && $2 != "A" {print $3}' |
	sed 's/@.*//' | sort -u >"$work/exported"
nm -g --defined-only build/libctxring.a | awk 'NF == 3 {print $3}' | sort -u >"$work/archived"
diff -u "$work/declared" "$work/exported"
diff -u "$work/declared" "$work/archived"
readelf -d build/libctxring.so | grep SONAME | grep -q '\[libctxring\.so\.[0-9]*\]'

undocumented=
if ls man/*.3 >/dev/null 2>&1; then
	while read -r name; do
		grep -qw -- "$name" man/*.3 || undocumented+=" $name"
	done <"$work/declared"
	[ -z "$undocumented" ] || { echo "in no man page:$undocumented"; exit 1; }
	for page in man/*.[137]; do
		mandoc -T lint -W warning "$page" || { echo "$page: see above"; exit 1; }
	done
fi
echo "$(wc -l <"$work/declared") functions, declared and exported alike"
