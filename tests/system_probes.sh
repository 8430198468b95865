#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The static probes: the shared library and a program that is linked statically name the six of them with their arguments,
# and the scripts in examples/bpftrace/ say of a real program what it did. That part needs a kernel and a user that may
# use BPF; without them it says so, and the rest counts.

set -u
cd "$(dirname "$0")/.." || exit
time_max=400
# shellcheck source=examples/lib.sh
. examples/lib.sh

cat >"$work/program.c" <<'END'
/* Ends the context "/slow", with 20 reads below it, three times; then one by its deadline. Each time stdin has a line. */
#include <ctxring.h>
#include <liburing.h>
#include <stdio.h>
#include <unistd.h>
static struct ctx_op ops[20];
static char bytes[20];
int main(void)
{
	struct ctx_context *ctx;
	struct ctx_ring *ring;
	char line[10];
	int fds[2];
	if (pipe(fds) || ctx_ring_open(64, NULL, &ring))
		return 1;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		for (int round = 0; round < 3; round++) {
			if (ctx_with_cancel(ctx_background(), "/slow", &ctx))
				return 1;
			for (int i = 0; i < 20; i++) {
				ctx_op_init(&ops[i], NULL, 0);
				io_uring_prep_read(ctx_ring_get_sqe(ring, ctx, &ops[i]), fds[0], &bytes[i], 1, -1);
			}
			ctx_ring_submit(ring);
			ctx_cancel(ctx);
			ctx_ring_run(ring, NULL);
			ctx_unref(ctx);
		}
		if (ctx_with_timeout(ctx_background(), 1000000, "/late", &ctx))
			return 1;
		ctx_wait(ctx, CTX_FOREVER);
		ctx_unref(ctx);
		puts("done");
		fflush(stdout);
	}
	return 0;
}
END
${CC:-gcc} -D_GNU_SOURCE -pthread -Iinclude "$work/program.c" build/libctxring.a -luring -o "$work/program" ||
	fail "the program does not compile"

wanted="batch_begin 4
batch_end 5
context_begin 5
context_end 5
operation_complete 6
operation_submit 6"
for file in build/libctxring.so "$work/program"; do
	# Lines such as "Provider: ctxring", "Name: batch_end", "Location: ...", "Arguments: 8@%rax -4@16(%rbp)".
	named=$(LC_ALL=C readelf -nW "$file" 2>/dev/null | awk '/Provider:/ { ours = $NF == "ctxring" } ours && /Name:/ { name = $2 }
		ours && /Arguments:/ { print name, NF - 1 }' | sort -u)
	[[ -n $named ]] || { echo "the library was built without <sys/sdt.h>"; exit 77; }
	[[ $named == "$wanted" ]] || fail "$file names these probes: $named"
done

# ---- the scripts

if ! command -v bpftrace >/dev/null; then
	echo "the probes are named; bpftrace is missing, so its scripts were not run"
	exit 0
fi
mkfifo "$work/input"
"$work/program" <"$work/input" >"$work/program.out" &
program=$!
children+=("$program")
exec 3>"$work/input"
await_line "$work/program.out" ready

# Probes of user programs may need tracefs, which is mounted here for bpftrace alone.
trace=(unshare -m sh -c 'mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec bpftrace "$@"' sh)
has_lines() { (($(grep -cE -- "$2" "$1" 2>/dev/null) >= $3)); }
await_lines() { until_true 30 has_lines "$@" || fail "\"$2\" did not appear $3 times in $(<"$1")"; }
if ! timeout 60 "${trace[@]}" -p "$program" -e 'usdt:*:ctxring:context_end { exit(); } interval:ms:1 { exit(); }' >"$work/try" 2>&1 </dev/null; then
	echo "the probes are named; bpftrace cannot be used here: $(grep -v '^$' "$work/try" | tail -n 1)"
	exit 0
fi
lines=0
for name in slow_cancels ends; do
	start "$name" "${trace[@]}" -B line -p "$program" "examples/bpftrace/$name.bt"
	tracer=$started
	await_line "$work/$name.out" "Waiting for|^CONTEXT"
	echo >&3
	lines=$((lines + 1))
	await_lines "$work/program.out" done $lines
	if [[ $name == ends ]]; then
		await_lines "$work/ends.out" '/slow  *[0-9]*  call' 3
		await_line "$work/ends.out" '/late  *[0-9]*  deadline'
		grep -q " call  *$program  *125$" "$work/ends.out" || fail "ends.bt: $(<"$work/ends.out")"
	fi
	kill -INT "$tracer"
	ended "$tracer"
done
grep -q '^@cancelled\[/slow\]: 60$' "$work/slow_cancels.out" || fail "slow_cancels.bt: $(<"$work/slow_cancels.out")"
grep -q '^@microseconds\[/slow\]' "$work/slow_cancels.out" || fail "slow_cancels.bt: $(<"$work/slow_cancels.out")"
echo "the probes are named, and bpftrace tells by them what a program did"
