#!/bin/bash
# SPDX-License-Identifier: MIT
# The public headers compile alone: in strict C11 and C++17, with warnings as errors. And what a context names as the
# place where it was made, and where it was ended, is in the program and not in ctxring.hpp: without the optimizer, too,
# no other function than the program's calls what makes or ends one. The table of contents of ctxring.h names the
# sections of the file, in their order.
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
cat >"$work/user.cc" <<'C'
#include <csignal>
#include "ctxring.hpp"
static const ctx_key key = {"key", nullptr, nullptr};
void user(int fd, const sigset_t &signals, const ctx_pressure &pressure, ctx::client &client)
{
	ctx::context cancel(ctx::background()), timeout(cancel, std::chrono::seconds(1));
	ctx::context deadline(cancel, std::chrono::steady_clock::now()), hangup = ctx::with_hangup(cancel, fd);
	ctx::context ready = ctx::with_fd(cancel, fd, 1), process = ctx::with_process(cancel, fd);
	ctx::context signal = ctx::with_signals(cancel, signals), stall = ctx::with_pressure(cancel, pressure);
	ctx::context late(cancel, std::chrono::seconds(1), -5, "words");
	ctx::context later(cancel, std::chrono::steady_clock::now(), -5, "words");
	ctx::reference value = ctx::with_value(cancel, key, nullptr), detached = ctx::without_cancel(cancel);
	timeout.cancel();
	deadline.cancel(-5, "words");
	cancel = std::move(ready);
	ctx::context merged = ctx::merge({cancel, timeout});
	ctx::context movable = ctx::with_movable_deadline(cancel, std::chrono::steady_clock::now());
	ctx::context joined = client.join({1, 2}), named = client.join(0, "name"), far = client.join_remote("host/1-2-3");
	ctx::taskgroup threads(cancel), first(cancel, ctx_taskgroup_options{});
	auto task = [](ctx::view) { return 0; };
	threads.start(task);
	threads.fail(-5, "words");
	first = std::move(threads);
}
C
callers() {
	objdump -dr --no-show-raw-insn "$1" | awk '/^[0-9a-f]+ <.*>:$/ { name = $2 }
		/R_[A-Z0-9_]+[ \t]+(ctx_(with_|without_|merge|cancel|finish|taskgroup_(new|fail|free))|ctxd_join)/ { print name }' | sort -u
}
for cxx in g++ clang++; do
	$cxx -std=c++17 -O0 "${warnings[@]}" -c "$work/user.cc" -o "$work/user.o"
	called=$(callers "$work/user.o")
	# As <_Z4useri...>, and <_Z4useri... (.cold)> where the compiler takes apart what handles exceptions.
	[[ -n $called ]] && ! grep -v '^<_Z4user' <<<"$called" ||
		{ echo "$cxx: contexts do not name the program as the place of a call"; exit 1; }
done
# A line of the table is " *   NAME  what is in it"; a section begins with a line of dashes and one with its name.
sed -n '/^ \* Contents, in this order:$/,/^ \*$/p' include/ctxring.h | sed -n 's/^ \*   \(.*[^ ]\)  .*/\1/p' |
	sed 's/  .*//' >"$work/contents"
sed -n '/^\/\* --*- \*\/$/{n; s/^\/\* *\(.*[^ ]\) *\*\/$/\1/p}' include/ctxring.h >"$work/sections"
[ "$(wc -l <"$work/sections")" -ge 10 ]
diff -u "$work/contents" "$work/sections" || { echo "ctxring.h: its contents are not its sections"; exit 1; }
echo "ctxring.h: C11, gnu11; ctxring.hpp: C++17, C++20"
