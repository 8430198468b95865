/* SPDX-License-Identifier: MIT */
/* The headers with the time left that are written and read beside grpc-timeout when the program asks for
 * them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "carrier.h"
#include "support/contexts.h"

#define GRPC "grpc-timeout"
#define ENVOY "x-envoy-expected-rq-timeout-ms"
#define CONNECT "connect-timeout-ms"
#define WITH(flags) ((enum ctx_carrier)(CTX_CARRIER_HEADERS | (flags)))
#define WITH_BOTH WITH(CTX_CARRIER_ENVOY | CTX_CARRIER_CONNECT)

/* ---- the text form */

START_TEST(milliseconds_are_read)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} cases[] = {
		{"1", MILLISECOND},
		{"250", 250 * MILLISECOND},
		{"0015000", 15 * NS_PER_SECOND},
		{"9999999999", 9999999999 * MILLISECOND},
	};
	uint64_t ns;

	ck_assert_ok(carrier_read_milliseconds(cases[_i].text, &ns));
	ck_assert_uint_eq(ns, cases[_i].ns);
}
END_TEST

START_TEST(malformed_milliseconds_are_refused)
{
	static const char *const texts[] = {"",	     "0",   "0000000000",  "-1",  "+1",
					    "1.5",   "1e3", "1ms",	   " 15", "15 ",
					    "15,20", "0x1", "10000000000", "soon"};
	uint64_t ns = 7;

	ck_assert_int_eq(carrier_read_milliseconds(texts[_i], &ns), -EINVAL);
	ck_assert_uint_eq(ns, 7);
}
END_TEST

START_TEST(milliseconds_are_written_rounded_down_and_never_as_none)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{0, "1"},
		{999999, "1"},
		{MILLISECOND, "1"},
		{2 * MILLISECOND - 1, "1"},
		{15 * NS_PER_SECOND, "15000"},
		{UINT64_MAX - 1, "9999999999"},
	};
	char text[CARRIER_MILLISECONDS_SIZE];

	carrier_write_milliseconds(cases[_i].ns, text);
	ck_assert_str_eq(text, cases[_i].text);
}
END_TEST

/* ---- contexts */

struct pairs {
	unsigned count;
	char names[8][40], values[8][64];
	const char *asked; /* a name whose asking is noted */
	unsigned asked_count;
};

static int add_pair(const char *name, const char *value, void *data)
{
	struct pairs *pairs = data;

	ck_assert_uint_lt(pairs->count, 8);
	snprintf(pairs->names[pairs->count], sizeof(pairs->names[0]), "%s", name);
	snprintf(pairs->values[pairs->count++], sizeof(pairs->values[0]), "%s", value);
	return 0;
}

static const char *get_pair(const char *name, void *data)
{
	struct pairs *pairs = data;

	pairs->asked_count += pairs->asked && strcmp(name, pairs->asked) == 0;
	for (unsigned i = 0; i < pairs->count; i++)
		if (strcasecmp(pairs->names[i], name) == 0)
			return pairs->values[i];
	return NULL;
}

static struct pairs written(const struct ctx_context *ctx, enum ctx_carrier carrier)
{
	struct pairs pairs = {0};

	ck_assert_ok(ctx_inject(ctx, carrier, NULL, 0, add_pair, &pairs));
	return pairs;
}

/* Reads pairs. Returns the deadline after now, CTX_FOREVER for none. */
static uint64_t time_left_of(struct pairs *pairs, enum ctx_carrier carrier)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctx_extract(ctx_background(), carrier, NULL, 0, get_pair, pairs, NULL, &ctx));
	uint64_t left_ns = ctx_time_left_ns(ctx);
	ctx_finish(ctx);
	return left_ns;
}

START_TEST(only_the_headers_of_the_flags_are_written)
{
	static const enum ctx_carrier carriers[] = {CTX_CARRIER_HEADERS, WITH(CTX_CARRIER_ENVOY),
						    WITH(CTX_CARRIER_CONNECT), WITH_BOTH};
	struct ctx_context *timed = timed_child_of(ctx_background(), HOUR),
			   *free = child_of(ctx_background());
	struct pairs pairs = written(timed, carriers[_i]);

	ck_assert_ptr_nonnull(get_pair(GRPC, &pairs));
	ck_assert_int_eq(get_pair(ENVOY, &pairs) != NULL, _i == 1 || _i == 3);
	ck_assert_int_eq(get_pair(CONNECT, &pairs) != NULL, _i >= 2);
	/* Without a deadline there is no time left. */
	pairs = written(free, carriers[_i]);
	ck_assert_ptr_null(get_pair(GRPC, &pairs));
	ck_assert_ptr_null(get_pair(ENVOY, &pairs));
	ck_assert_ptr_null(get_pair(CONNECT, &pairs));
	ctx_finish(timed);
	ctx_finish(free);
}
END_TEST

START_TEST(each_header_alone_bounds_the_work)
{
	static const char *const names[] = {ENVOY, CONNECT};
	static const enum ctx_carrier carriers[] = {WITH(CTX_CARRIER_ENVOY), WITH(CTX_CARRIER_CONNECT)};
	struct pairs pairs = {0};

	add_pair(names[_i], "3600000", &pairs);
	uint64_t left_ns = time_left_of(&pairs, carriers[_i]);
	ck_assert_uint_le(left_ns, HOUR);
	ck_assert_uint_gt(left_ns, HOUR / 2);
	ck_assert_uint_le(time_left_of(&pairs, WITH_BOTH), HOUR);
	/* It is not read, nor asked for, without its flag. */
	pairs.asked = names[_i];
	pairs.asked_count = 0;
	ck_assert_uint_eq(time_left_of(&pairs, CTX_CARRIER_HEADERS), CTX_FOREVER);
	ck_assert_uint_eq(time_left_of(&pairs, carriers[!_i]), CTX_FOREVER);
	ck_assert_uint_eq(pairs.asked_count, 0);
}
END_TEST

START_TEST(the_shortest_of_several_counts)
{
	static const char *const names[] = {GRPC, ENVOY, CONNECT};
	static const char *const hours[] = {"3H", "10800000", "10800000"}, *const hour[] = {"1H", "3600000",
											    "3600000"};
	struct pairs pairs = {0};

	for (int i = 0; i < 3; i++)
		add_pair(names[i], i == _i ? hour[i] : hours[i], &pairs);
	uint64_t left_ns = time_left_of(&pairs, WITH_BOTH);
	ck_assert_uint_le(left_ns, HOUR);
	ck_assert_uint_gt(left_ns, HOUR / 2);
}
END_TEST

START_TEST(a_malformed_header_refuses_the_request)
{
	static const char *const names[] = {ENVOY, CONNECT};
	struct ctx_context *ctx = NULL;
	struct pairs pairs = {0};

	add_pair(GRPC, "1H", &pairs);
	add_pair(names[_i], "15s", &pairs);
	ck_assert_int_eq(ctx_extract(ctx_background(), WITH_BOTH, NULL, 0, get_pair, &pairs, NULL, &ctx),
			 -EINVAL);
	ck_assert_ptr_null(ctx);
	/* Who does not ask for it is not bothered by it. */
	ck_assert_uint_le(time_left_of(&pairs, CTX_CARRIER_HEADERS), HOUR);
}
END_TEST

START_TEST(what_is_written_is_read_as_no_later)
{
	struct ctx_context *timed = timed_child_of(ctx_background(), HOUR);
	struct pairs pairs = written(timed, WITH_BOTH);
	uint64_t before_ns = clock_now_ns();
	struct ctx_context *there;

	ck_assert_ok(ctx_extract(ctx_background(), WITH_BOTH, NULL, 0, get_pair, &pairs, NULL, &there));
	uint64_t after_ns = clock_now_ns();
	ck_assert_uint_le(ctx_deadline_ns(there), after_ns + HOUR);
	ck_assert_uint_gt(ctx_deadline_ns(there), before_ns + HOUR / 2);
	ctx_finish(there);
	ctx_finish(timed);
}
END_TEST

static int refuse_milliseconds(const char *name, const char *value, void *data)
{
	(void)value;
	return strcmp(name, data) == 0 ? -EDOM : 0;
}

START_TEST(a_refusal_of_the_program_ends_the_writing)
{
	struct ctx_context *timed = timed_child_of(ctx_background(), HOUR);

	ck_assert_int_eq(ctx_inject(timed, WITH_BOTH, NULL, 0, refuse_milliseconds, (void *)ENVOY), -EDOM);
	ck_assert_int_eq(ctx_inject(timed, WITH_BOTH, NULL, 0, refuse_milliseconds, (void *)CONNECT), -EDOM);
	ck_assert_ok(ctx_inject(timed, CTX_CARRIER_HEADERS, NULL, 0, refuse_milliseconds, (void *)CONNECT));
	ctx_finish(timed);
}
END_TEST

START_TEST(unknown_carriers_are_refused)
{
	static const int carriers[] = {2, 3, CTX_CARRIER_ENVOY, CTX_CARRIER_CONNECT,
				       CTX_CARRIER_HEADERS | 1 << 7};
	const enum ctx_carrier carrier = (enum ctx_carrier)carriers[_i];
	struct ctx_context *ctx = NULL;
	struct pairs pairs = {0};

	ck_assert_int_eq(ctx_inject(ctx_background(), carrier, NULL, 0, add_pair, &pairs), -EINVAL);
	ck_assert_int_eq(ctx_extract(ctx_background(), carrier, NULL, 0, get_pair, &pairs, NULL, &ctx),
			 -EINVAL);
	ck_assert_ptr_null(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("time_left_headers");
	TCase *text = test_case(suite, "text"), *contexts = test_case(suite, "contexts");

	tcase_add_loop_test(text, milliseconds_are_read, 0, 4);
	tcase_add_loop_test(text, malformed_milliseconds_are_refused, 0, 14);
	tcase_add_loop_test(text, milliseconds_are_written_rounded_down_and_never_as_none, 0, 6);
	tcase_add_loop_test(contexts, only_the_headers_of_the_flags_are_written, 0, 4);
	tcase_add_loop_test(contexts, each_header_alone_bounds_the_work, 0, 2);
	tcase_add_loop_test(contexts, the_shortest_of_several_counts, 0, 3);
	tcase_add_loop_test(contexts, a_malformed_header_refuses_the_request, 0, 2);
	tcase_add_test(contexts, what_is_written_is_read_as_no_later);
	tcase_add_test(contexts, a_refusal_of_the_program_ends_the_writing);
	tcase_add_loop_test(contexts, unknown_carriers_are_refused, 0, 5);
	return suite;
}
