/* SPDX-License-Identifier: MIT */
/*
 * Contexts as text when the k-th allocation or system call fails: the error is a documented one, no context
 * is made, and nothing is left behind, also no value that was parsed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/contexts.h"
#include "support/faults.h"

TEST_MODES(TEST_FAULTS);

int __lsan_do_recoverable_leak_check(void);

static unsigned values;

static void release_counted(void *value)
{
	values--;
	free(value);
}

static int format_text(const void *value, char *buffer, size_t size)
{
	return snprintf(buffer, size, "%s", (const char *)value);
}

static int parse_text(const char *text, void **ret_value)
{
	*ret_value = strdup(text);
	values++;
	return 0;
}

static const struct ctx_key user = {"user", release_counted, format_text};
static const struct ctx_key shard = {"shard", release_counted, format_text};
static const struct ctx_carried carried[] = {{&user, parse_text}, {&shard, parse_text}};

static const char *const pairs[][2] = {
	{"grpc-timeout", "1H"},
	{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	{"baggage", "user=anna,shard=7"},
	{"CTXRING_CONTEXT", "v=1;label=sent;left=3600000000000;val.user=anna;val.shard=7"},
};

static const char *get_pair(const char *name, void *data)
{
	(void)data;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (!strcmp(pairs[i][0], name))
			return pairs[i][1];
	return NULL;
}

static int count_pair(const char *name, const char *value, void *data)
{
	ck_assert_ptr_nonnull(name);
	ck_assert_ptr_nonnull(value);
	++*(unsigned *)data;
	return 0;
}

static void ck_assert_documented(int result)
{
	ck_assert_msg(result == 0 || result == -ENOMEM || result == -EAGAIN, "unexpected error: %s",
		      strerror(-result));
}

/* What all extracting needs, then extracting and injecting. */
static unsigned run(enum ctx_carrier carrier, uint64_t calls, unsigned k, bool for_ever)
{
	struct ctx_context *parent = child_of(ctx_background()), *ctx = NULL;
	unsigned written = 0, failed;

	faults_arm(calls, k, for_ever, 0);
	int error = ctx_extract(parent, carrier, carried, 2, get_pair, NULL, NULL, &ctx);
	ck_assert_documented(error);
	ck_assert_int_eq(error == 0, ctx != NULL);
	ck_assert_uint_eq(values, error ? 0 : 2);
	int result = ctx_inject(ctx ? ctx : parent, carrier, carried, 2, count_pair, &written);
	ck_assert_documented(result);
	if (result)
		ck_assert_uint_eq(written, 0);
	else
		ck_assert_uint_eq(written, carrier == CTX_CARRIER_ENVIRONMENT ? 1 : ctx ? 3 : 1);
	failed = faults_disarm();
	ctx_finish(ctx);
	ctx_finish(parent);
	ck_assert_uint_eq(values, 0);
	ck_assert_uint_eq(test_count_contexts(), 0);
	ck_assert_int_eq(__lsan_do_recoverable_leak_check(), 0);
	return failed;
}

static void each_k(int carrier, uint64_t calls, bool for_ever)
{
	unsigned k = 1;

	while (run((enum ctx_carrier)carrier, calls, k, for_ever))
		ck_assert_uint_lt(k++, 1000);
	ck_assert_uint_gt(
		k, 7); /* room for text, value and list, identity, two values, context; those of inject */
}

START_TEST(any_resource_fails_once)
{
	each_k(_i, FAULTS_RESOURCES, false);
}
END_TEST

START_TEST(any_resource_fails_from_then_on)
{
	each_k(_i, FAULTS_RESOURCES, true);
}
END_TEST

START_TEST(memory_fails_from_the_kth_allocation_on)
{
	each_k(_i, FAULT(SYS_CALL_ALLOCATE), true);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_propagate");
	TCase *tests = test_case(suite, "carriers");

	tcase_add_loop_test(tests, any_resource_fails_once, 0, 2);
	tcase_add_loop_test(tests, any_resource_fails_from_then_on, 0, 2);
	tcase_add_loop_test(tests, memory_fails_from_the_kth_allocation_on, 0, 2);
	return suite;
}
