/* SPDX-License-Identifier: MIT */
/* What tests of forked children share: contexts that a child inherits, and what is expected of it. */
#ifndef TEST_FORKED_H
#define TEST_FORKED_H

#include <signal.h>

#include "node.h"
#include "support/rings.h"

/* In children: assertions of Check belong to the parent. */
#define EXPECT(condition)                      \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 256; \
	} while (0)

/* A child that waits for ever is ended by its alarm, and does not outlive the test's own time. */
static inline void be_bounded(void)
{
	signal(SIGALRM, SIG_DFL); /* Check has a handler */
	alarm(100);
}

/* What a child finds: a context with one below it. */
struct inherited {
	struct ctx_context *ctx, *below;
	struct ctx_callback callback;
	uint64_t id; /* of the callback */
	void *more;
};

static inline struct inherited inherited_of(uint64_t timeout_ns)
{
	struct inherited inherited = {.ctx = timed_child_of(ctx_background(), timeout_ns)};

	inherited.below = child_of(inherited.ctx);
	ck_assert_ptr_nonnull(node_extend(inherited.ctx));
	return inherited;
}

static inline void inherited_end(struct inherited *inherited)
{
	ctx_finish(inherited->below);
	ctx_finish(inherited->ctx);
}

static inline void note_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	__atomic_fetch_add((int *)data, 1, __ATOMIC_RELEASE);
}

static inline bool was_called(void *data)
{
	return __atomic_load_n((int *)data, __ATOMIC_ACQUIRE) != 0;
}

static inline int wait_for_the_end(const struct ctx_context *ctx, void *data)
{
	(void)data;
	ctx_wait(ctx, CTX_FOREVER);
	return 0;
}

#endif
