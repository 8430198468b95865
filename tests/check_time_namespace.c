/* SPDX-License-Identifier: MIT */
/* Deadlines in a time namespace, whose clock is ahead of the host's or behind it. */
#include <sched.h>
#include <sys/wait.h>

#include "support/forked.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

TEST_MODES(TEST_NORMAL | TEST_PLAIN);

/* The loop variable: whether the clock is ahead, and the form of deadlines. */
static const unsigned forms[] = {CTX_RING_LINKED_TIMEOUTS, CTX_RING_ONE_TIMER};

/* Children of this process have another clock from here on. False: that may not be done here. */
static bool begin_clock(bool ahead)
{
	long long offset = ahead ? 1000 : -(long long)(clock_now_ns() / NS_PER_SECOND);
	int fd = unshare(CLONE_NEWTIME) ? -1 : open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	bool begun = dprintf(fd, "monotonic %lld 0", offset) > 0;
	close(fd);
	return begun;
}

/* An operation waits for a deadline, and another for a timeout of its own, which is later. */
static int wait_on_ring(struct ctx_ring *ring, const struct ctx_context *ctx, struct pair pair)
{
	struct probe timed, own;
	char sink[8];

	probe_recv(ring, ctx, &timed, pair.near, sink, sizeof(sink));
	probe_recv(ring, ctx_background(), &own, pair.near, sink, sizeof(sink));
	EXPECT(!ctx_op_set_timeout(&own.op, 40 * MILLISECOND));
	await_probes(ring, &timed, 1);
	EXPECT(timed.last.res == -ECANCELED && timed.last.end == CTX_OP_DEADLINE);
	EXPECT(clock_now_ns() >= ctx_deadline_ns(ctx) && ctx_err(ctx) == -ETIME);
	await_probes(ring, &own, 1);
	EXPECT(own.last.res == -ECANCELED && own.last.end == CTX_OP_TIMEOUT);
	return 0;
}

static int wait_for_deadlines(unsigned form)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 20 * MILLISECOND);
	struct ctx_ring_options options = {.flags = form};
	struct pair pair = pair_new();
	struct ctx_ring *ring;
	char byte;

	EXPECT(!ctx_ring_open(8, &options, &ring));
	int failed = wait_on_ring(ring, ctx, pair);
	if (failed)
		return failed;
	ring_end(ring);
	ctx_finish(ctx);
	ctx = timed_child_of(ctx_background(), 20 * MILLISECOND);
	EXPECT(ctxio_recv(ctx, pair.near, &byte, 1, 0) == -ETIME);
	EXPECT(clock_now_ns() >= ctx_deadline_ns(ctx));
	ctx_finish(ctx);
	return 0;
}

START_TEST(deadlines_are_times_of_the_clock_of_the_namespace)
{
	int status;

	if (!begin_clock(_i % 2))
		test_skip("a time namespace cannot be made here");
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		be_bounded();
		_exit(wait_for_deadlines(forms[_i / 2]));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("time namespace");
	TCase *deadlines = test_case_ring(suite, "deadlines");

	tcase_add_loop_test(deadlines, deadlines_are_times_of_the_clock_of_the_namespace, 0, 4);
	return suite;
}
