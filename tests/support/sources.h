/* SPDX-License-Identifier: MIT */
/* What tests of sources share: each runs on the poller and on both kinds of rings. */
#ifndef TEST_SOURCES_H
#define TEST_SOURCES_H

#include "support/rings.h"

/* What the loop variable stands for. */
enum backend {
	WATCHER,
	ON_ORDINARY_RING,
	ON_DEFER_RING,
	BACKENDS
};

/* Runs test once for each backend that can be had in this pass, which is _i in it. */
#define ON_EACH_BACKEND(test_case, test) tcase_add_loop_test(test_case, test, 0, backends_here())

static inline int backends_here(void)
{
	if (test_mode() == TEST_TSAN || test_mode() == TEST_DENIED || test_no_uring())
		return ON_ORDINARY_RING;
	return test_mode() == TEST_PLAIN ? ON_DEFER_RING : BACKENDS;
}

/* NULL: the poller. */
static inline struct ctx_ring *backend_ring(int backend)
{
	return backend == WATCHER ? NULL : ring_of(backend == ON_DEFER_RING ? RING_DEFER : RING_ORDINARY);
}

static inline void backend_end(struct ctx_ring *ring)
{
	if (ring)
		ring_end(ring);
}

/* Until ctx is done, as a program on that backend waits. */
static inline void await_end(struct ctx_ring *ring, const struct ctx_context *ctx)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	while (ring && !ctx_err(ctx)) {
		int delivered = ctx_ring_dispatch(ring, 100 * MILLISECOND);
		if (delivered != -EINTR)
			ck_assert_int_ge(delivered, 0);
		ck_assert_msg(clock_now_ns() < end_ns, "the context does not end");
	}
	ck_assert_ok(ctx_wait(ctx, SOON));
}

static inline struct ctx_context *hangup_of(struct ctx_ring *ring, int fd, unsigned flags)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_hangup(ctx_background(), ring, fd, flags, "peer", &ctx));
	ck_assert_ptr_nonnull(ctx);
	return ctx;
}

static inline struct ctx_context *fd_of(struct ctx_ring *ring, int fd, short events)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_fd(ctx_background(), ring, fd, events, "fd", &ctx));
	ck_assert_ptr_nonnull(ctx);
	return ctx;
}

/* Has the backend handle all events that have come: another one behind them must have ended its context. */
static inline void handle_what_came(struct ctx_ring *ring)
{
	struct pair pair = pipe_new();
	struct ctx_context *ctx = fd_of(ring, pair.near, POLLIN);

	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_end(ring, ctx);
	ctx_finish(ctx);
	pair_end(pair);
}

/* A fixture: the poller's descriptors are the process's for good. */
static inline void warm_poller(void)
{
	struct ctx_context *ctx;
	struct pair pair = pipe_new();

	ck_assert_ok(ctx_with_fd(ctx_background(), NULL, pair.near, POLLIN, NULL, &ctx));
	ctx_finish(ctx);
	pair_end(pair);
	test_baseline();
}

static inline TCase *source_case(Suite *suite, const char *name)
{
	TCase *tests = test_case(suite, name);

	tcase_add_checked_fixture(tests, warm_poller, NULL);
	return tests;
}

#endif
