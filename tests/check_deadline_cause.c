/* SPDX-License-Identifier: MIT */
/* A deadline that has its cause from the beginning, and whose end it was. */
#include <string.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static void ck_assert_cause(const struct ctx_context *ctx, int error, const char *text)
{
	struct ctx_cause cause;

	ck_assert_ok(ctx_get_cause(ctx, &cause));
	ck_assert_int_eq(ctx_err(ctx), -ETIME);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_DEADLINE);
	ck_assert_int_eq(cause.error, error);
	ck_assert_str_eq(cause.text, text);
}

/* Method: from deadlines that are over to such as the timer thread may take before the call returns. */
START_TEST(it_is_there_however_soon_the_deadline_is)
{
	static const uint64_t timeouts_ns[] = {0, 1, 1000, 10000, 50000, 100000};

	for (size_t i = 0; i < sizeof(timeouts_ns) / sizeof(timeouts_ns[0]); i++)
		for (unsigned n = 0; n < test_scaled(500); n++) {
			struct ctx_context *by_timeout, *by_deadline, *child;
			ck_assert_ok(ctx_with_timeout_cause(ctx_background(), timeouts_ns[i], NULL,
							    &by_timeout, -EBUSY, "slower than %d ms", 7));
			ck_assert_ok(ctx_with_deadline_cause(ctx_background(),
							     clock_now_ns() + timeouts_ns[i], NULL,
							     &by_deadline, 0, NULL));
			ck_assert_ok(ctx_with_cancel(by_timeout, NULL, &child));
			ck_assert_ok(ctx_wait(by_timeout, CTX_FOREVER));
			ck_assert_ok(ctx_wait(by_deadline, CTX_FOREVER));
			ck_assert_ok(ctx_wait(child, CTX_FOREVER));
			ck_assert_cause(by_timeout, -EBUSY, "slower than 7 ms");
			ck_assert_cause(child, -EBUSY, "slower than 7 ms");
			ck_assert_cause(by_deadline, -ETIME, "");
			ctx_unref(child);
			ctx_unref(by_timeout);
			ctx_unref(by_deadline);
		}
}
END_TEST

START_TEST(another_end_has_its_own_cause)
{
	struct ctx_context *ctx, *parent = child_of(ctx_background()), *born;
	struct ctx_cause cause;

	ck_assert_ok(ctx_with_timeout_cause(parent, 3600 * NS_PER_SECOND, NULL, &ctx, -EBUSY, "slow"));
	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "gone"));
	ck_assert_ok(ctx_get_cause(ctx, &cause));
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_str_eq(cause.text, "gone");
	ck_assert_ok(ctx_with_timeout_cause(parent, 0, NULL, &born, -EBUSY, "slow"));
	ck_assert_ok(ctx_get_cause(born, &cause));
	ck_assert_str_eq(cause.text, "gone");
	ctx_unref(born);
	ctx_unref(ctx);
	ctx_unref(parent);
}
END_TEST

START_TEST(what_makes_no_sense_is_refused)
{
	struct ctx_context *ctx = NULL;

	ck_assert_int_eq(ctx_with_timeout_cause(NULL, 0, NULL, &ctx, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_timeout_cause(ctx_background(), 0, NULL, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_timeout_cause(ctx_background(), 0, NULL, &ctx, 1, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline_cause(NULL, 0, NULL, &ctx, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline_cause(ctx_background(), 0, NULL, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline_cause(ctx_background(), 0, NULL, &ctx, 1, NULL), -EINVAL);
	ck_assert_ptr_null(ctx);
}
END_TEST

static void whose_end_it_was(void)
{
	struct ctx_context *outer = child_of(ctx_background()), *scope, *inner, *other, *merged;

	ck_assert_ok(ctx_with_timeout(outer, 0, NULL, &scope));
	ck_assert_ok(ctx_with_cancel(scope, NULL, &inner));
	other = child_of(outer);
	const struct ctx_context *parents[] = {other, scope};
	ck_assert_ok(ctx_merge(parents, 2, NULL, &merged));
	ck_assert(ctx_ended_by(scope, scope));
	ck_assert(ctx_ended_by(inner, scope));
	ck_assert(!ctx_ended_by(inner, inner));
	ck_assert(!ctx_ended_by(inner, outer));
	ck_assert(ctx_ended_by(merged, scope));
	ck_assert(!ctx_ended_by(other, other));
	ck_assert(!ctx_ended_by(other, scope));
	ck_assert_ok(ctx_cancel(outer));
	ck_assert(ctx_ended_by(other, outer));
	ck_assert(!ctx_ended_by(other, other));
	ck_assert(!ctx_ended_by(inner, outer));
	ck_assert(!ctx_ended_by(NULL, NULL));
	ck_assert(!ctx_ended_by(NULL, outer));
	ck_assert(!ctx_ended_by(outer, NULL));
	ck_assert(!ctx_ended_by(ctx_background(), ctx_background()));
	ctx_unref(merged);
	ctx_unref(other);
	ctx_unref(inner);
	ctx_unref(scope);
	ctx_unref(outer);
}

START_TEST(whose_end_it_was_is_known)
{
	whose_end_it_was();
}
END_TEST

START_TEST(whose_end_it_was_is_known_without_the_table)
{
	test_setenv("CTXRING_TABLE", "0");
	struct ctx_context *ctx = child_of(ctx_background());
	ck_assert_uint_eq(ctx_id(ctx), 0);
	ctx_unref(ctx);
	whose_end_it_was();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("deadline_cause");
	TCase *cause = test_case(suite, "cause");
	TCase *cold = test_case_cold(suite, "without the table");

	tcase_add_test(cause, it_is_there_however_soon_the_deadline_is);
	tcase_add_test(cause, another_end_has_its_own_cause);
	tcase_add_test(cause, what_makes_no_sense_is_refused);
	tcase_add_test(cause, whose_end_it_was_is_known);
	tcase_add_test(cold, whose_end_it_was_is_known_without_the_table);
	return suite;
}
