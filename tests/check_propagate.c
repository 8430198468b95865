/* SPDX-License-Identifier: MIT */
/* Contexts that travel as text: to children, to other machines, and from strangers. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "support/contexts.h"

#include "identity.h"
#include "table_format.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static unsigned released;

static void release_counted(void *value)
{
	released++;
	free(value);
}

static int format_text(const void *value, char *buffer, size_t size)
{
	return snprintf(buffer, size, "%s", (const char *)value);
}

static int parse_text(const char *text, void **ret_value)
{
	if (strcmp(text, "refuse me") == 0)
		return -EDOM;
	*ret_value = strdup(text);
	return *ret_value ? 0 : -ENOMEM;
}

static const struct ctx_key user = {"user", release_counted, format_text};
static const struct ctx_key shard = {"shard", release_counted, format_text};
static const struct ctx_key silent = {"silent", NULL, NULL};
static const struct ctx_carried carried[] = {{&user, parse_text}, {&shard, parse_text}, {&silent, NULL}};

/* Some pairs, as a request would hold them. */
struct pairs {
	unsigned count;
	char names[8][32];
	char values[8][CTX_CARRIER_MAX + 1];
};

static int add_pair(const char *name, const char *value, void *data)
{
	struct pairs *pairs = data;

	ck_assert_uint_lt(pairs->count, 8);
	snprintf(pairs->names[pairs->count], 32, "%s", name);
	snprintf(pairs->values[pairs->count++], CTX_CARRIER_MAX + 1, "%s", value);
	return 0;
}

static const char *get_pair(const char *name, void *data)
{
	struct pairs *pairs = data;

	for (unsigned i = 0; i < pairs->count; i++)
		if (strcasecmp(pairs->names[i], name) == 0)
			return pairs->values[i];
	return NULL;
}

static struct pairs pairs; /* too large for a stack */

static const struct ctx_table_identity *shown_identity(const struct ctx_context *ctx)
{
	return (const struct ctx_table_identity *)((const char *)test_own_table() +
						   test_own_table()->identities.offset) +
	       (uint32_t)ctx_id(ctx);
}

static void hex_of(const uint8_t *bytes, size_t count, char *text)
{
	for (size_t i = 0; i < count; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
}

static struct ctx_context *extracted(enum ctx_carrier carrier, const char *label)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_extract(ctx_background(), carrier, carried, 3, get_pair, &pairs, label, &ctx));
	return ctx;
}

static const char *text_of(const struct ctx_context *ctx, const struct ctx_key *key)
{
	void *value;

	return ctx_value(ctx, key, &value) ? NULL : value;
}

static void label_of(const struct ctx_context *ctx, char *buffer, size_t size)
{
	ck_assert_int_gt(ctx_format(ctx, buffer, size), 0);
}

/* Goal: deadline, values and identity arrive, by both carriers. */
START_TEST(a_context_arrives_as_it_was_sent)
{
	struct ctx_context *timed;
	struct ctx_identity sent, received;

	ck_assert_ok(ctx_with_timeout(ctx_background(), HOUR, "a label; with = signs", &timed));
	const struct ctx_context *with_user = value_child_of(timed, &user, strdup("ada & co, \xc3\xa4;"));
	const struct ctx_context *ctx = value_child_of(with_user, &silent, &pairs);
	ck_assert_ok(ctx_inject(ctx, (enum ctx_carrier)_i, carried, 3, add_pair, &pairs));
	struct ctx_context *there = extracted((enum ctx_carrier)_i, NULL);
	ck_assert_str_eq(text_of(there, &user), "ada & co, \xc3\xa4;");
	ck_assert_ptr_null(text_of(there, &shard));
	ck_assert_ptr_null(text_of(there, &silent));
	uint64_t late_ns = ctx_deadline_ns(there) - ctx_deadline_ns(timed);
	if (_i == CTX_CARRIER_ENVIRONMENT) {
		char text[256];
		ck_assert_uint_eq(late_ns, 0); /* the same clock */
		label_of(there, text, sizeof(text));
		ck_assert_ptr_nonnull(strstr(text, "a label; with = signs"));
	} else {
		/* Rounded down to milliseconds, counted from the receipt. */
		ck_assert(late_ns + MILLISECOND * 1000 < 61 * NS_PER_SECOND);
	}
	ck_assert_ok(ctx_get_identity(ctx, &sent));
	ck_assert_ok(ctx_get_identity(there, &received));
	ck_assert_str_eq(sent.trace, received.trace);
	ck_assert_str_eq(received.sender, sent.span);
	ck_assert_str_ne(received.span, sent.span);
	ck_assert_uint_eq(received.sender_id, _i == CTX_CARRIER_ENVIRONMENT ? ctx_id(timed) : 0);
	unsigned before = released;
	ctx_finish(there);
	ck_assert_uint_eq(released, before + 1);
	ctx_unref(ctx);
	ctx_unref(with_user);
	ctx_finish(timed);
}
END_TEST

START_TEST(the_identity_passes_on_over_several_hops)
{
	struct ctx_identity first, second, third, again;
	struct ctx_context *begun = extracted(CTX_CARRIER_HEADERS, "no pair"), *child = child_of(begun);

	ck_assert_ok(ctx_get_identity(child, &first));
	ck_assert_ok(ctx_get_identity(child, &again));
	ck_assert_mem_eq(&first, &again, sizeof(first));
	ck_assert_str_eq(first.sender, "");
	ck_assert_ok(ctx_inject(child, CTX_CARRIER_HEADERS, NULL, 0, add_pair, &pairs));
	struct ctx_context *there = extracted(CTX_CARRIER_HEADERS, NULL);
	ck_assert_ok(ctx_get_identity(there, &second));
	pairs.count = 0;
	ck_assert_ok(ctx_inject(there, CTX_CARRIER_ENVIRONMENT, NULL, 0, add_pair, &pairs));
	struct ctx_context *further = extracted(CTX_CARRIER_ENVIRONMENT, NULL);
	ck_assert_ok(ctx_get_identity(further, &third));
	ck_assert_str_eq(second.trace, first.trace);
	ck_assert_str_eq(third.trace, first.trace);
	ck_assert_str_eq(third.sender, second.span);
	ctx_finish(further);
	ctx_finish(there);
	ctx_finish(child);
	ctx_finish(begun);
}
END_TEST

/* Goal: a reader of the table computes what ctx_get_identity returns, for contexts with and without a trace.
 */
START_TEST(the_table_shows_identities)
{
	struct ctx_identity identity;
	uint8_t trace[16], span[8];
	char text[33];

	struct ctx_context *plain = child_of(ctx_background());
	struct ctx_context *begun = extracted(CTX_CARRIER_HEADERS, "no pair");
	ck_assert_ok(ctx_inject(plain, CTX_CARRIER_HEADERS, NULL, 0, add_pair, &pairs));
	struct ctx_context *there = extracted(CTX_CARRIER_HEADERS, NULL);
	uint64_t number = test_own_table()->identity_number;
	ck_assert_uint_ne(number, 0);

	ck_assert_ok(ctx_get_identity(plain, &identity));
	identity_trace(number, ctx_id(plain), trace);
	identity_span(number, ctx_id(plain), span);
	hex_of(trace, 16, text);
	ck_assert_str_eq(text, identity.trace);
	hex_of(span, 8, text);
	ck_assert_str_eq(text, identity.span);
	ck_assert_uint_ne(shown_identity(plain)->generation, ctx_id(plain) >> 32);

	ck_assert_ok(ctx_get_identity(there, &identity));
	ck_assert_uint_eq(shown_identity(there)->generation, ctx_id(there) >> 32);
	hex_of(shown_identity(there)->trace, 16, text);
	ck_assert_str_eq(text, identity.trace);
	hex_of(shown_identity(there)->sender, 8, text);
	ck_assert_str_eq(text, identity.sender);
	identity_span(number, ctx_id(there), span);
	hex_of(span, 8, text);
	ck_assert_str_eq(text, identity.span);
	ctx_finish(there);
	ctx_finish(begun);
	ctx_finish(plain);
}
END_TEST

START_TEST(two_requests_have_two_identities)
{
	struct ctx_identity one, two;
	struct ctx_context *first = child_of(ctx_background()), *second = child_of(ctx_background());

	ck_assert_ok(ctx_get_identity(first, &one));
	ck_assert_ok(ctx_get_identity(second, &two));
	ck_assert_str_ne(one.trace, two.trace);
	ck_assert_str_ne(one.span, two.span);
	ctx_finish(first);
	ctx_finish(second);
	/* Also when one takes the place of the other. */
	first = child_of(ctx_background());
	ck_assert_ok(ctx_get_identity(first, &one));
	ck_assert_str_ne(one.trace, two.trace);
	ctx_finish(first);
}
END_TEST

START_TEST(without_pairs_it_is_a_plain_child)
{
	struct ctx_context *ctx = extracted((enum ctx_carrier)_i, "plain");

	ck_assert_uint_eq(ctx_deadline_ns(ctx), CTX_FOREVER);
	ck_assert_live(ctx);
	ctx_finish(ctx);
}
END_TEST

START_TEST(the_parents_earlier_deadline_stays)
{
	struct ctx_context *parent = timed_child_of(ctx_background(), HOUR), *ctx;

	add_pair("Grpc-Timeout", "9H", &pairs);
	ck_assert_ok(ctx_extract(parent, CTX_CARRIER_HEADERS, NULL, 0, get_pair, &pairs, NULL, &ctx));
	ck_assert_uint_eq(ctx_deadline_ns(ctx), ctx_deadline_ns(parent));
	ctx_finish(ctx);
	ctx_finish(parent);
}
END_TEST

START_TEST(a_timeout_that_is_over_makes_a_context_that_is_done)
{
	add_pair("grpc-timeout", "0n", &pairs);
	struct ctx_context *ctx = extracted(CTX_CARRIER_HEADERS, NULL);

	ck_assert_expired(ctx);
	ctx_finish(ctx);
}
END_TEST

/* Goal: what is read late has less left. Method: the variable as it was ten seconds ago, on this boot and
 * another. */
START_TEST(time_that_passed_on_the_way_counts_on_the_same_boot)
{
	struct ctx_context *sender = timed_child_of(ctx_background(), HOUR);
	char text[512];

	ck_assert_ok(ctx_inject(sender, CTX_CARRIER_ENVIRONMENT, NULL, 0, add_pair, &pairs));
	const char *boot = strstr(pairs.values[0], ";boot=");
	ck_assert_ptr_nonnull(boot);
	uint64_t now_ns = clock_now_ns();
	snprintf(text, sizeof(text), "v=1;left=%llu;at=%llu;boot=%.16s", (unsigned long long)HOUR,
		 (unsigned long long)(now_ns - 10 * NS_PER_SECOND), _i ? "0123456789abcdef" : boot + 6);
	pairs.count = 0;
	add_pair("CTXRING_CONTEXT", text, &pairs);
	struct ctx_context *ctx = extracted(CTX_CARRIER_ENVIRONMENT, NULL);
	if (_i)
		ck_assert_uint_ge(ctx_deadline_ns(ctx), now_ns + HOUR);
	else
		ck_assert_uint_eq(ctx_deadline_ns(ctx), now_ns + HOUR - 10 * NS_PER_SECOND);
	ctx_finish(ctx);
	/* A point in time that is still to come gives nobody more. */
	snprintf(text, sizeof(text), "v=1;left=1000;at=%llu;boot=%.16s", (unsigned long long)(now_ns + HOUR),
		 boot + 6);
	pairs.count = 0;
	add_pair("CTXRING_CONTEXT", text, &pairs);
	ctx = extracted(CTX_CARRIER_ENVIRONMENT, NULL);
	ck_assert_uint_lt(ctx_deadline_ns(ctx), now_ns + HOUR);
	ctx_finish(ctx);
	ctx_finish(sender);
}
END_TEST

static int expect_refused(enum ctx_carrier carrier, const char *name, const char *value)
{
	struct ctx_context *ctx = NULL;

	pairs.count = 0;
	add_pair(name, value, &pairs);
	int result = ctx_extract(ctx_background(), carrier, carried, 3, get_pair, &pairs, NULL, &ctx);
	ck_assert_ptr_null(ctx);
	return result;
}

START_TEST(hostile_text_is_refused_and_nothing_is_made)
{
	static const char *const variables[] = {
		"",
		"v=2",
		"v=1;v",
		"v=1;v=1",
		"left=5;v=1",
		"v=1;left=-5",
		"v=1;left=5;left=6",
		"v=1;left=99999999999999999999999",
		"v=1;val.user=%zz",
		"v=1;val.user=%zz;val.user=ada",
		"v=1;val.user=a;boot=00112233445566778899",
	};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		ck_assert_int_eq(expect_refused(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", variables[i]),
				 -EINVAL);
	ck_assert_int_eq(expect_refused(CTX_CARRIER_HEADERS, "grpc-timeout", "soon"), -EINVAL);
	ck_assert_int_eq(expect_refused(CTX_CARRIER_HEADERS, "baggage", "user=%zz,user=ada"), -EINVAL);
	ck_assert_int_eq(expect_refused(CTX_CARRIER_HEADERS, "baggage", "user"), -EINVAL);
	ck_assert_int_eq(expect_refused(CTX_CARRIER_HEADERS, "baggage", "user=\"ada\""), -EINVAL);
	ck_assert_int_eq(expect_refused(CTX_CARRIER_HEADERS, "baggage", "user=refuse%20me"), -EDOM);
	ck_assert_uint_eq(test_count_contexts(), 0);
}
END_TEST

static char endless[3 * CTX_CARRIER_MAX];

static const char *get_endless(const char *name, void *data)
{
	return strcmp(name, data) == 0 ? endless : NULL;
}

START_TEST(text_beyond_the_bound_is_refused)
{
	struct ctx_context *ctx;

	memset(endless, 'a', sizeof(endless) - 1);
	ck_assert_int_eq(ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_endless,
				     (void *)"grpc-timeout", NULL, &ctx),
			 -EINVAL);
	memcpy(endless, "v=1;k=", 6);
	ck_assert_int_eq(ctx_extract(ctx_background(), CTX_CARRIER_ENVIRONMENT, NULL, 0, get_endless,
				     (void *)"CTXRING_CONTEXT", NULL, &ctx),
			 -EINVAL);
	const struct ctx_context *big = value_child_of(ctx_background(), &user, strdup(endless));
	for (int carrier = 0; carrier < 2; carrier++)
		ck_assert_int_eq(ctx_inject(big, (enum ctx_carrier)carrier, carried, 3, add_pair, &pairs),
				 -EMSGSIZE);
	ck_assert_uint_eq(pairs.count, 0);
	ctx_unref(big);
}
END_TEST

static int refuse_pair(const char *name, const char *value, void *data)
{
	(void)name;
	(void)value;
	(void)data;
	return -ENOSPC;
}

START_TEST(misuse_is_refused)
{
	static const struct ctx_key blank = {"two words", NULL, format_text};
	const struct ctx_carried bad[] = {{&blank, NULL}};
	struct ctx_context *ctx = NULL;
	struct ctx_identity identity;

	ck_assert_int_eq(ctx_inject(NULL, CTX_CARRIER_HEADERS, NULL, 0, add_pair, &pairs), -EINVAL);
	ck_assert_int_eq(ctx_inject(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_inject(ctx_background(), CTX_CARRIER_HEADERS, NULL, 1, add_pair, &pairs),
			 -EINVAL);
	ck_assert_int_eq(ctx_inject(ctx_background(), CTX_CARRIER_HEADERS, bad, 1, add_pair, &pairs),
			 -EINVAL);
	ck_assert_int_eq(ctx_inject(ctx_background(), (enum ctx_carrier)7, NULL, 0, add_pair, &pairs),
			 -EINVAL);
	ck_assert_int_eq(ctx_inject(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, refuse_pair, NULL),
			 -ENOSPC);
	ck_assert_int_eq(ctx_extract(NULL, CTX_CARRIER_HEADERS, NULL, 0, get_pair, &pairs, NULL, &ctx),
			 -EINVAL);
	ck_assert_int_eq(ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, NULL, NULL, NULL, &ctx),
			 -EINVAL);
	ck_assert_int_eq(
		ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_pair, &pairs, NULL, NULL),
		-EINVAL);
	ck_assert_int_eq(ctx_get_identity(NULL, &identity), -EINVAL);
	ck_assert_int_eq(ctx_get_identity(ctx_background(), NULL), -EINVAL);
	ck_assert_ptr_null(ctx);
}
END_TEST

/* ---- the environment of a process */

static int put_variable(const char *name, const char *value, void *data)
{
	(void)data;
	return setenv(name, value, 1);
}

static int read_environment(void *deadline)
{
	struct ctx_context *ctx;

	if (ctx_from_environment(carried, 3, "from above", &ctx))
		return 1;
	bool same = ctx_deadline_ns(ctx) == *(uint64_t *)deadline && strcmp(text_of(ctx, &user), "ada") == 0;
	ctx_finish(ctx);
	return same ? 0 : 2;
}

START_TEST(a_child_process_has_what_is_left)
{
	struct ctx_context *timed = timed_child_of(ctx_background(), HOUR), *plain;
	const struct ctx_context *ctx = value_child_of(timed, &user, strdup("ada"));
	uint64_t deadline_ns = ctx_deadline_ns(ctx);

	ck_assert_ok(ctx_inject(ctx, CTX_CARRIER_ENVIRONMENT, carried, 3, put_variable, NULL));
	ck_assert_ok(test_in_child(read_environment, &deadline_ns));
	ck_assert_ok(unsetenv("CTXRING_CONTEXT"));
	ck_assert_ok(ctx_from_environment(NULL, 0, NULL, &plain));
	ck_assert_uint_eq(ctx_deadline_ns(plain), CTX_FOREVER);
	ctx_finish(plain);
	ctx_unref(ctx);
	ctx_finish(timed);
}
END_TEST

static int read_time_left(void *data)
{
	struct ctx_context *ctx;

	(void)data;
	if (ctx_from_environment(NULL, 0, NULL, &ctx))
		return 1;
	uint64_t left_ns = ctx_time_left_ns(ctx);
	ctx_finish(ctx);
	return left_ns > HOUR / 2 && left_ns <= HOUR ? 0 : 2;
}

#define NOT_ALLOWED 77

/* Children of the caller have a clock that is a day ahead. */
static int read_time_left_elsewhere(void *data)
{
	/* Who is not root may have one below a user namespace. */
	bool made = !unshare(CLONE_NEWTIME) || !unshare(CLONE_NEWUSER | CLONE_NEWTIME);
	int fd = made ? open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC) : -1;

	if (fd < 0 || write(fd, "monotonic 86400 0", 17) != 17)
		return NOT_ALLOWED;
	close(fd);
	return test_in_child(read_time_left, data);
}

/* Goal: a time on another clock says nothing, also when it is of the same boot: as in a container. */
START_TEST(in_another_time_namespace_what_is_left_counts_from_the_call)
{
	struct ctx_context *timed = timed_child_of(ctx_background(), HOUR);

	ck_assert_ok(ctx_inject(timed, CTX_CARRIER_ENVIRONMENT, NULL, 0, put_variable, NULL));
	int result = test_in_child(read_time_left_elsewhere, NULL);
	ck_assert_ok(unsetenv("CTXRING_CONTEXT"));
	ctx_finish(timed);
	if (result == NOT_ALLOWED)
		test_skip("no time namespaces here, or not for this user");
	ck_assert_ok(result);
}
END_TEST

static void clear_pairs(void)
{
	pairs.count = 0;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("propagate");
	TCase *text = test_case(suite, "text");

	tcase_add_checked_fixture(text, clear_pairs, NULL);
	tcase_add_loop_test(text, a_context_arrives_as_it_was_sent, 0, 2);
	tcase_add_test(text, the_identity_passes_on_over_several_hops);
	tcase_add_test(text, the_table_shows_identities);
	tcase_add_test(text, two_requests_have_two_identities);
	tcase_add_loop_test(text, without_pairs_it_is_a_plain_child, 0, 2);
	tcase_add_test(text, the_parents_earlier_deadline_stays);
	tcase_add_test(text, a_timeout_that_is_over_makes_a_context_that_is_done);
	tcase_add_loop_test(text, time_that_passed_on_the_way_counts_on_the_same_boot, 0, 2);
	tcase_add_test(text, hostile_text_is_refused_and_nothing_is_made);
	tcase_add_test(text, text_beyond_the_bound_is_refused);
	tcase_add_test(text, misuse_is_refused);
	tcase_add_test(text, a_child_process_has_what_is_left);
	tcase_add_test(text, in_another_time_namespace_what_is_left_counts_from_the_call);
	return suite;
}
