/* SPDX-License-Identifier: MIT */
/* Short ways to make contexts that tests need by the dozen, and to count the library's memory. */
#ifndef TEST_CONTEXTS_H
#define TEST_CONTEXTS_H

#include "clock.h"
#include "support/harness.h"

#define MILLISECOND 1000000ull
#define HOUR (3600 * NS_PER_SECOND)

static inline struct ctx_context *child_of(const struct ctx_context *parent)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_cancel(parent, NULL, &ctx));
	ck_assert_ptr_nonnull(ctx);
	return ctx;
}

static inline struct ctx_context *timed_child_of(const struct ctx_context *parent, uint64_t timeout_ns)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_timeout(parent, timeout_ns, NULL, &ctx));
	return ctx;
}

static inline const struct ctx_context *value_child_of(const struct ctx_context *parent,
						       const struct ctx_key *key, void *value)
{
	const struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_value(parent, key, value, NULL, &ctx));
	return ctx;
}

static inline const struct ctx_context *detached_child_of(const struct ctx_context *parent)
{
	const struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_without_cancel(parent, NULL, &ctx));
	return ctx;
}

static inline struct ctx_cause cause_of(const struct ctx_context *ctx)
{
	struct ctx_cause cause;

	ck_assert_ok(ctx_get_cause(ctx, &cause));
	return cause;
}

#define ck_assert_live(ctx) ck_assert_int_eq(ctx_err(ctx), 0)
#define ck_assert_cancelled(ctx) ck_assert_int_eq(ctx_err(ctx), -ECANCELED)
#define ck_assert_expired(ctx) ck_assert_int_eq(ctx_err(ctx), -ETIME)

/*
 * Makes the library use an allocator that counts, which must come before its first
 * allocation: for test_case_cold().
 */
void counting_allocator_use(void);
/* Blocks and bytes that are allocated now. */
unsigned counting_allocator_blocks(void);
size_t counting_allocator_bytes(void);

#endif
