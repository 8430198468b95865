/* SPDX-License-Identifier: MIT */
/* Values: who sees which, and when they are released. */
#include <stdio.h>
#include <string.h>

#include "support/contexts.h"

static unsigned released;

static void release_counted(void *value)
{
	ck_assert_ptr_nonnull(value);
	released++;
}

static int format_number(const void *value, char *buffer, size_t size)
{
	return snprintf(buffer, size, "number %d", *(const int *)value);
}

static const struct ctx_key first = {"first", NULL, NULL};
static const struct ctx_key second = {"second", NULL, NULL};
static const struct ctx_key counted = {"counted", release_counted, format_number};

static void *value_of(const struct ctx_context *ctx, const struct ctx_key *key)
{
	void *value = NULL;

	ck_assert_ok(ctx_value(ctx, key, &value));
	return value;
}

START_TEST(unset_value_is_enoent)
{
	struct ctx_context *ctx = child_of(ctx_background());
	int untouched;
	void *value = &untouched;

	ck_assert_int_eq(ctx_value(ctx, &first, &value), -ENOENT);
	ck_assert_int_eq(ctx_value(ctx_background(), &first, &value), -ENOENT);
	ck_assert_int_eq(ctx_value(ctx_todo(), &first, &value), -ENOENT);
	ck_assert_ptr_eq(value, &untouched);
	ctx_finish(ctx);
}
END_TEST

START_TEST(nearest_value_wins_and_null_shadows)
{
	int numbers[2];
	void *value = numbers;
	const struct ctx_context *outer = value_child_of(ctx_background(), &first, &numbers[0]);
	const struct ctx_context *other = value_child_of(outer, &second, &numbers[1]);
	const struct ctx_context *inner = value_child_of(other, &first, &numbers[1]);
	const struct ctx_context *shadow = value_child_of(inner, &first, NULL);

	ck_assert_ptr_eq(value_of(outer, &first), &numbers[0]);
	ck_assert_int_eq(ctx_value(outer, &second, &value), -ENOENT);
	ck_assert_ptr_eq(value_of(other, &first), &numbers[0]);
	ck_assert_ptr_eq(value_of(inner, &first), &numbers[1]);
	ck_assert_ptr_eq(value_of(inner, &second), &numbers[1]);
	ck_assert_ok(ctx_value(shadow, &first, &value));
	ck_assert_ptr_null(value);
	ctx_unref(shadow);
	ctx_unref(inner);
	ctx_unref(other);
	ctx_unref(outer);
}
END_TEST

START_TEST(lookup_walks_every_kind_of_ancestor)
{
	int number;
	const struct ctx_context *value = value_child_of(ctx_background(), &first, &number);
	struct ctx_context *cancel = child_of(value), *timed = timed_child_of(cancel, HOUR), *merged;
	const struct ctx_context *detached = detached_child_of(timed);

	ck_assert_ok(ctx_merge(&detached, 1, NULL, &merged));
	ck_assert_ptr_eq(value_of(merged, &first), &number);
	ctx_unref(value);
	ctx_finish(timed);
	ctx_finish(cancel);
	ctx_unref(detached);
	ck_assert_ptr_eq(value_of(merged, &first), &number);
	ctx_finish(merged);
}
END_TEST

START_TEST(values_are_readable_before_and_after_the_end)
{
	int number;
	struct ctx_context *parent = child_of(ctx_background());
	const struct ctx_context *value = value_child_of(parent, &first, &number);

	ck_assert_ptr_eq(value_of(value, &first), &number);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_cancelled(value);
	ck_assert_ptr_eq(value_of(value, &first), &number);
	const struct ctx_context *born_done = value_child_of(value, &second, &number);
	ck_assert_ptr_eq(value_of(born_done, &second), &number);
	ctx_unref(born_done);
	ctx_unref(value);
	ctx_finish(parent);
}
END_TEST

START_TEST(null_arguments_are_refused)
{
	const struct ctx_context *ctx = ctx_background();
	void *value;

	ck_assert_int_eq(ctx_with_value(ctx_background(), NULL, &value, NULL, &ctx), -EINVAL);
	ck_assert_int_eq(ctx_with_value(NULL, &first, &value, NULL, &ctx), -EINVAL);
	ck_assert_int_eq(ctx_with_value(ctx_background(), &first, &value, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_value(NULL, &first, &value), -EINVAL);
	ck_assert_int_eq(ctx_value(ctx, NULL, &value), -EINVAL);
	ck_assert_int_eq(ctx_value(ctx, &first, NULL), -EINVAL);
	ck_assert_ptr_eq(ctx, ctx_background());
}
END_TEST

START_TEST(value_is_released_once_with_its_context)
{
	int number = 5;
	const struct ctx_context *value = value_child_of(ctx_background(), &counted, &number);
	struct ctx_context *child = child_of(value);

	released = 0;
	ctx_unref(value);
	ck_assert_uint_eq(released, 0);
	ck_assert_int_eq(ctx_cancel(child), 0);
	ck_assert_uint_eq(released, 0);
	ctx_unref(child);
	ck_assert_uint_eq(released, 1);
	const struct ctx_context *refused = NULL;
	ck_assert_int_eq(ctx_with_value(NULL, &counted, &number, NULL, &refused), -EINVAL);
	ck_assert_uint_eq(released, 1);
}
END_TEST

static void release_context(void *value)
{
	released++;
	ctx_finish(value);
}

/* A release function may use the library: here it frees a second context. */
START_TEST(release_may_release_another_context)
{
	static const struct ctx_key holder = {"holder", release_context, NULL};
	const struct ctx_context *value =
		value_child_of(ctx_background(), &holder, child_of(ctx_background()));

	released = 0;
	ctx_unref(value);
	ck_assert_uint_eq(released, 1);
}
END_TEST

START_TEST(value_context_cannot_be_cancelled)
{
	const struct ctx_context *value = value_child_of(ctx_background(), &first, NULL);

	ck_assert_int_lt(ctx_cancel((struct ctx_context *)value), 0);
	ck_assert_live(value);
	ctx_unref(value);
}
END_TEST

START_TEST(format_uses_the_keys_own_function)
{
	int number = 42;
	char text[300];
	const struct ctx_context *value = value_child_of(ctx_background(), &counted, &number);

	ck_assert_int_gt(ctx_format(value, text, sizeof(text)), 0);
	ck_assert_ptr_nonnull(strstr(text, "counted"));
	ck_assert_ptr_nonnull(strstr(text, "number 42"));
	ctx_unref(value);
}
END_TEST

/* Lookup skips nodes without values, and a deep chain is no deep stack. */
START_TEST(value_is_found_across_a_deep_tree)
{
	int number;
	const struct ctx_context *ctx = value_child_of(ctx_background(), &first, &number);
	unsigned depth = test_scaled(100000);

	for (unsigned i = 0; i < depth; i++) {
		const struct ctx_context *next = child_of(ctx);
		ctx_unref(ctx);
		ctx = next;
	}
	ck_assert_ptr_eq(value_of(ctx, &first), &number);
	ctx_unref(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("value");
	TCase *value = test_case(suite, "value");

	tcase_add_test(value, unset_value_is_enoent);
	tcase_add_test(value, nearest_value_wins_and_null_shadows);
	tcase_add_test(value, lookup_walks_every_kind_of_ancestor);
	tcase_add_test(value, values_are_readable_before_and_after_the_end);
	tcase_add_test(value, null_arguments_are_refused);
	tcase_add_test(value, value_is_released_once_with_its_context);
	tcase_add_test(value, release_may_release_another_context);
	tcase_add_test(value, value_context_cannot_be_cancelled);
	tcase_add_test(value, format_uses_the_keys_own_function);
	tcase_add_test(value, value_is_found_across_a_deep_tree);
	return suite;
}
