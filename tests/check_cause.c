/* SPDX-License-Identifier: MIT */
/* Causes: which one a context shows, for every order of ending it and its relatives. */
#include <string.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static void assert_cause(const struct ctx_context *ctx, int error, const char *text, bool inherited)
{
	struct ctx_cause cause = cause_of(ctx);

	ck_assert_int_eq(cause.error, error);
	ck_assert_str_eq(cause.text, text);
	ck_assert_int_eq(cause.inherited, inherited);
}

START_TEST(root_and_live_contexts_have_no_cause)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_int_eq(cause_of(ctx_background()).kind, CTX_CAUSE_NONE);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_NONE);
	assert_cause(ctx, 0, "", false);
	ctx_finish(ctx);
}
END_TEST

START_TEST(plain_cancel_is_its_own_cause)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t before = clock_now_ns();

	ck_assert_ok(ctx_cancel(ctx));
	struct ctx_cause cause = cause_of(ctx);
	assert_cause(ctx, -ECANCELED, "", false);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_uint_eq(cause.ctx_id, ctx_id(ctx));
	ck_assert_int_eq(cause.pid, getpid());
	ck_assert_int_eq(cause.tid, gettid());
	ck_assert_uint_eq(cause.uid, getuid());
	ck_assert_ptr_nonnull(cause.site);
	ck_assert_uint_ge(cause.time_ns + NS_PER_SECOND, before);
	ck_assert_uint_le(cause.time_ns, clock_now_ns());
	ctx_finish(ctx);
}
END_TEST

START_TEST(cancel_with_a_cause_keeps_error_and_text)
{
	struct ctx_context *ctx = child_of(ctx_background()), *plain = child_of(ctx_background());

	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "peer %s left after %d", "alice", 3));
	ck_assert_cancelled(ctx);
	assert_cause(ctx, -EPIPE, "peer alice left after 3", false);
	ck_assert_ok(ctx_cancel_cause(plain, 0, NULL));
	assert_cause(plain, -ECANCELED, "", false);
	ctx_finish(ctx);
	ctx_finish(plain);
}
END_TEST

START_TEST(long_text_is_cut)
{
	struct ctx_context *ctx = child_of(ctx_background());
	char longer[2 * CTX_CAUSE_TEXT_MAX];

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_ok(ctx_cancel_cause(ctx, -EIO, "%s", longer));
	ck_assert_uint_eq(strlen(cause_of(ctx).text), CTX_CAUSE_TEXT_MAX - 1);
	ctx_finish(ctx);
}
END_TEST

START_TEST(parent_first_then_child_keeps_the_parents)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent),
			   *leaf = child_of(child);

	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "c1"));
	ck_assert_int_eq(ctx_cancel_cause(child, -EIO, "c2"), -EALREADY);
	assert_cause(parent, -EPIPE, "c1", false);
	assert_cause(child, -EPIPE, "c1", true);
	assert_cause(leaf, -EPIPE, "c1", true);
	ck_assert_uint_eq(cause_of(leaf).ctx_id, ctx_id(parent));
	ctx_finish(leaf);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

START_TEST(child_first_then_parent_keeps_the_childs)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct ctx_context *leaf = child_of(child), *sibling = child_of(parent);

	ck_assert_ok(ctx_cancel_cause(child, -EIO, "c2"));
	assert_cause(parent, 0, "", false);
	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "c1"));
	assert_cause(child, -EIO, "c2", false);
	assert_cause(leaf, -EIO, "c2", true);
	assert_cause(parent, -EPIPE, "c1", false);
	assert_cause(sibling, -EPIPE, "c1", true);
	ctx_finish(sibling);
	ctx_finish(leaf);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

START_TEST(plain_first_stays_plain)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctx_cancel_cause(ctx, -EIO, "late"), -EALREADY);
	assert_cause(ctx, -ECANCELED, "", false);
	ctx_finish(ctx);
}
END_TEST

START_TEST(cause_outlives_the_context_where_it_began)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	uint64_t id = ctx_id(parent);

	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "gone"));
	ctx_unref(parent);
	assert_cause(child, -EPIPE, "gone", true);
	ck_assert_uint_eq(cause_of(child).ctx_id, id);
	ctx_finish(child);
}
END_TEST

START_TEST(expiry_has_the_deadline_as_cause)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), MILLISECOND);

	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	assert_cause(ctx, -ETIME, "", false);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_DEADLINE);
	ck_assert_ptr_null(cause_of(ctx).site);
	ctx_finish(ctx);
}
END_TEST

START_TEST(deadline_cause_is_shown_when_it_fires)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR), *child = child_of(ctx);

	ck_assert_ok(ctx_set_deadline_cause(ctx, -EHOSTDOWN, "backend %d is slow", 4));
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + MILLISECOND));
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	ck_assert_expired(ctx);
	assert_cause(ctx, -EHOSTDOWN, "backend 4 is slow", false);
	assert_cause(child, -EHOSTDOWN, "backend 4 is slow", true);
	ck_assert_int_eq(ctx_cancel_cause(ctx, -EIO, "late"), -EALREADY);
	assert_cause(ctx, -EHOSTDOWN, "backend 4 is slow", false);
	ck_assert_int_eq(ctx_set_deadline_cause(ctx, -EIO, "later"), -EALREADY);
	ctx_finish(child);
	ctx_finish(ctx);
}
END_TEST

START_TEST(deadline_cause_is_not_shown_when_cancelled_early)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);

	ck_assert_ok(ctx_set_deadline_cause(ctx, -EHOSTDOWN, "slow"));
	ck_assert_ok(ctx_set_deadline_cause(ctx, -EHOSTDOWN, "slower"));
	ck_assert_ok(ctx_cancel(ctx));
	assert_cause(ctx, -ECANCELED, "", false);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_CALL);
	ctx_finish(ctx);
}
END_TEST

START_TEST(deadline_cause_is_not_shown_when_the_parents_deadline_fires)
{
	struct ctx_context *parent = timed_child_of(ctx_background(), HOUR),
			   *child = timed_child_of(parent, 2 * HOUR);

	ck_assert_ok(ctx_set_deadline_cause(child, -EHOSTDOWN, "the child's"));
	ck_assert_ok(ctx_set_deadline_cause(parent, -ENOSR, "the parent's"));
	ck_assert_ok(ctx_set_deadline(parent, 1));
	ck_assert_ok(ctx_wait(child, CTX_FOREVER));
	assert_cause(child, -ENOSR, "the parent's", true);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("cause");
	TCase *cause = test_case(suite, "cause");

	tcase_add_test(cause, root_and_live_contexts_have_no_cause);
	tcase_add_test(cause, plain_cancel_is_its_own_cause);
	tcase_add_test(cause, cancel_with_a_cause_keeps_error_and_text);
	tcase_add_test(cause, long_text_is_cut);
	tcase_add_test(cause, parent_first_then_child_keeps_the_parents);
	tcase_add_test(cause, child_first_then_parent_keeps_the_childs);
	tcase_add_test(cause, plain_first_stays_plain);
	tcase_add_test(cause, cause_outlives_the_context_where_it_began);
	tcase_add_test(cause, expiry_has_the_deadline_as_cause);
	tcase_add_test(cause, deadline_cause_is_shown_when_it_fires);
	tcase_add_test(cause, deadline_cause_is_not_shown_when_cancelled_early);
	tcase_add_test(cause, deadline_cause_is_not_shown_when_the_parents_deadline_fires);
	return suite;
}
