#!/bin/bash
# SPDX-License-Identifier: MIT
# The examples of man pages that are whole functions compile, with warnings as errors.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What an example takes for granted. A page that is not here shows fragments.
prelude() {
	case $1 in
	ctx_callback) echo 'struct query; int query_run(struct query *query); void query_abandon(struct query *query);
		int run(const struct ctx_context *ctx, struct query *query);' ;;
	ctx_taskgroup) echo 'struct source { const char *name; };
		int fetch_all(const struct ctx_context *ctx, struct source *sources, unsigned count);
		int fetch_first(const struct ctx_context *ctx, struct source *replicas, unsigned count, void **ret_source);' ;;
	*) return 1 ;;
	esac
}

# What an example declares and leaves out.
epilogue() {
	case $1 in
	ctx_taskgroup) echo 'int fetch(const struct ctx_context *ctx, void *data) { return data ? ctx_err(ctx) : 0; }' ;;
	esac
}

# The text between .EX and .EE of EXAMPLES, as a reader sees it.
example() {
	sed -n '/^\.SH EXAMPLES/,$p' "$1" | sed -n '/^\.EX/,/^\.EE/p' | sed -e '/^\.E[XE]/d' -e 's/\\-/-/g' -e 's/\\e/\\/g'
}

count=0
for page in man/*.3; do
	name=$(basename "$page" .3)
	prelude "$name" >"$work/prelude" || continue
	{
		printf '#include <errno.h>\n#include <stdlib.h>\n#include <ctxring.h>\n'
		cat "$work/prelude"
		example "$page"
		epilogue "$name"
	} >"$work/$name.c"
	grep -q '^}' "$work/$name.c" || { echo "$page: has no example"; exit 1; }
	for cc in gcc clang; do
		$cc -std=gnu11 -D_GNU_SOURCE -Iinclude -Wall -Wextra -Wno-unused-parameter -Wshadow \
			-Wconversion -Werror -c "$work/$name.c" -o "$work/$name.o" 2>"$work/log" ||
			{ cat "$work/log"; echo "$page: see above"; exit 1; }
	done
	count=$((count + 1))
done
[ $count -ge 2 ]
echo "the examples of $count pages compile"
