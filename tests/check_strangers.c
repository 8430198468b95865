/* SPDX-License-Identifier: MIT */
/*
 * Text that strangers wrote, as they do: what of it refuses the work, what is only left out, and what is
 * passed on. Each request is extracted as a server does, and injected again as that server would ask the next
 * one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_PLAIN);

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define FFFD "\xef\xbf\xbd"

static int format_text(const void *value, char *buffer, size_t size)
{
	return snprintf(buffer, size, "%s", (const char *)value);
}

static int parse_text(const char *text, void **ret_value)
{
	*ret_value = strdup(text);
	return *ret_value ? 0 : -ENOMEM;
}

static const struct ctx_key user = {"user", free, format_text};
static const struct ctx_key sent_only = {"other", NULL, format_text};
static const struct ctx_carried carried[] = {{&user, parse_text}, {&sent_only, NULL}};

/* The pair that came, or that goes out. */
struct pair_of_text {
	const char *name, *value;
};

static const char *get_pair(const char *name, void *data)
{
	const struct pair_of_text *pair = data;

	return strcasecmp(name, pair->name) == 0 ? pair->value : NULL;
}

static int extract_from(enum ctx_carrier carrier, const char *name, const char *value,
			struct ctx_context **ret_ctx)
{
	struct pair_of_text pair = {name, value};

	*ret_ctx = NULL;
	return ctx_extract(ctx_background(), carrier, carried, 2, get_pair, &pair, NULL, ret_ctx);
}

static struct ctx_context *accepted(enum ctx_carrier carrier, const char *name, const char *value)
{
	struct ctx_context *ctx;

	ck_assert_msg(extract_from(carrier, name, value, &ctx) == 0, "%s: %.60s is refused", name, value);
	return ctx;
}

static void expect_refused(enum ctx_carrier carrier, const char *name, const char *value)
{
	struct ctx_context *ctx;

	ck_assert_int_eq(extract_from(carrier, name, value, &ctx), -EINVAL);
	ck_assert_ptr_null(ctx);
}

static const char *user_of(const struct ctx_context *ctx)
{
	void *value;

	return ctx_value(ctx, &user, &value) ? NULL : value;
}

struct wanted {
	const char *name;
	char value[CTX_CARRIER_MAX + 1];
};

static int note_wanted(const char *name, const char *value, void *data)
{
	struct wanted *wanted = data;

	if (strcmp(name, wanted->name) == 0)
		snprintf(wanted->value, sizeof(wanted->value), "%s", value);
	return 0;
}

/* What goes out under that name; "" if nothing does. */
static const char *injected(const struct ctx_context *ctx, enum ctx_carrier carrier, const char *name)
{
	static struct wanted wanted;

	wanted.name = name;
	wanted.value[0] = '\0';
	ck_assert_ok(ctx_inject(ctx, carrier, carried, 2, note_wanted, &wanted));
	return wanted.value;
}

/* ---- traceparent */

/* Goal: a received "ff" is not passed on, by either carrier to either. */
START_TEST(only_flags_that_are_defined_go_out)
{
	static const char *const flags[][2] = {{"ff", "01"}, {"fe", "00"}, {"03", "01"}, {"00", "00"}};
	char received[128];

	for (unsigned i = 0; i < 4; i++) {
		for (int carrier = 0; carrier < 2; carrier++) {
			bool headers = carrier == CTX_CARRIER_HEADERS;
			snprintf(received, sizeof(received), "%s00-" TRACE "-" SPAN "-%s",
				 headers ? "" : "v=1;trace=", flags[i][0]);
			struct ctx_context *ctx =
				accepted((enum ctx_carrier)carrier,
					 headers ? "traceparent" : "CTXRING_CONTEXT", received);
			const char *out = injected(ctx, CTX_CARRIER_HEADERS, "traceparent");
			ck_assert_int_eq(strncmp(out, "00-" TRACE "-", 36), 0);
			ck_assert_str_eq(out + 53, flags[i][1]);
			out = strstr(injected(ctx, CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT"), ";trace=00-");
			ck_assert_ptr_nonnull(out);
			ck_assert_str_eq(out + 7 + 53, flags[i][1]);
			ctx_finish(ctx);
		}
	}
}
END_TEST

/* W3C Trace Context, "Versioning of traceparent": what a later version appends is not looked at. */
START_TEST(a_later_version_is_read_and_goes_out_as_00)
{
	static const char *const later[] = {"cc-" TRACE "-" SPAN "-ff",
					    "01-" TRACE "-" SPAN "-01-what.is-new",
					    "fe-" TRACE "-" SPAN "-01-"};
	struct ctx_identity identity;

	for (unsigned i = 0; i < 3; i++) {
		struct ctx_context *ctx = accepted(CTX_CARRIER_HEADERS, "traceparent", later[i]);
		const char *out = injected(ctx, CTX_CARRIER_HEADERS, "traceparent");
		ck_assert_ok(ctx_get_identity(ctx, &identity));
		ck_assert_str_eq(identity.trace, TRACE);
		ck_assert_str_eq(identity.sender, SPAN);
		ck_assert_uint_eq(strlen(out), 55);
		ck_assert_int_eq(strncmp(out, "00-", 3), 0);
		ck_assert_str_eq(out + 52, "-01");
		ctx_finish(ctx);
	}
}
END_TEST

/* The same standard: a traceparent that is invalid is to be ignored, and the trace begins anew. */
START_TEST(a_malformed_traceparent_begins_a_new_trace)
{
	static const char *const malformed[] = {
		"",
		"00-x",
		"00-" TRACE "-" SPAN "-01-",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"ff-" TRACE "-" SPAN "-01",
		"cc-" TRACE "-" SPAN "-01.x",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
	};
	struct ctx_identity identity;
	char variable[128];

	for (unsigned i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		struct ctx_context *ctx = accepted(CTX_CARRIER_HEADERS, "traceparent", malformed[i]);
		ck_assert_ok(ctx_get_identity(ctx, &identity));
		ck_assert_str_eq(identity.sender, "");
		ck_assert_str_ne(identity.trace, TRACE);
		ctx_finish(ctx);
		/* And takes nothing else with it. */
		snprintf(variable, sizeof(variable), "v=1;trace=%s;left=%llu", malformed[i], HOUR);
		ctx = accepted(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", variable);
		ck_assert_ok(ctx_get_identity(ctx, &identity));
		ck_assert_str_eq(identity.sender, "");
		ck_assert_uint_ne(ctx_deadline_ns(ctx), CTX_FOREVER);
		ctx_finish(ctx);
	}
}
END_TEST

/* Several pairs, as one request has them. */
static const char *get_of_several(const char *name, void *data)
{
	for (const struct pair_of_text *pair = data; pair->name; pair++)
		if (strcasecmp(name, pair->name) == 0)
			return pair->value;
	return NULL;
}

static struct ctx_context *with_state(const char *traceparent, const char *state)
{
	struct pair_of_text pairs[] = {{"traceparent", traceparent}, {"tracestate", state}, {NULL, NULL}};
	struct ctx_context *ctx;

	ck_assert_ok(ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_of_several, pairs, NULL,
				 &ctx));
	return ctx;
}

/* Goal: tracestate is other people's, and goes out as it came; through a child process as well. */
START_TEST(tracestate_goes_out_as_it_came)
{
	static const char *const states[] = {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1, ,b=;%20 2\t",
					     "fw529a3039@dt=FfAA~!\"#'", "not even a list"};
	const char traceparent[] = "00-" TRACE "-" SPAN "-01";

	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct ctx_context *ctx = with_state(traceparent, states[i]), *below = child_of(ctx);
		ck_assert_str_eq(injected(below, CTX_CARRIER_HEADERS, "tracestate"), states[i]);
		struct ctx_context *child =
			accepted(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT",
				 injected(below, CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT"));
		ck_assert_str_eq(injected(child, CTX_CARRIER_HEADERS, "tracestate"), states[i]);
		ctx_finish(child);
		ctx_finish(below);
		ctx_finish(ctx);
	}
}
END_TEST

/* Goal: no byte goes out that would end a header; and none for a trace that begins here. */
START_TEST(tracestate_that_cannot_go_out_does_not)
{
	static const char *const states[] = {"a=1\r\nHost: b", "a=\x7f", "a=\xc3\xa4",
					     "a=\x01",	       "",	 " , ,\t"};
	const char traceparent[] = "00-" TRACE "-" SPAN "-01";
	struct ctx_context *ctx;

	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		ctx = with_state(traceparent, states[i]);
		ck_assert_str_eq(injected(ctx, CTX_CARRIER_HEADERS, "tracestate"), "");
		ctx_finish(ctx);
	}
	ctx = with_state("00-malformed", "a=1");
	ck_assert_str_eq(injected(ctx, CTX_CARRIER_HEADERS, "tracestate"), "");
	ctx_finish(ctx);
	ctx = accepted(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT",
		       "v=1;state=a%0D%0Ab;trace=00-" TRACE "-" SPAN "-01");
	ck_assert_str_eq(injected(ctx, CTX_CARRIER_HEADERS, "tracestate"), "");
	ctx_finish(ctx);
	ctx = accepted(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", "v=1;state=a%3D1");
	ck_assert_str_eq(injected(ctx, CTX_CARRIER_HEADERS, "tracestate"), "");
	ctx_finish(ctx);
}
END_TEST

/* The standard has everybody pass on 512 characters; of more, whole members go first. */
START_TEST(a_long_tracestate_loses_members_at_its_end)
{
	const char traceparent[] = "00-" TRACE "-" SPAN "-01";
	char state[700], expected[700];

	memset(state, 'x', sizeof(state) - 1);
	state[sizeof(state) - 1] = '\0';
	memcpy(state, "first=1,b=", 10);
	for (size_t comma = 100; comma < 690; comma += 118) {
		struct ctx_context *ctx;
		state[comma] = ',';
		for (size_t length = 511; length < 515; length++) {
			snprintf(expected, sizeof(expected), "%.*s", (int)length, state);
			ctx = with_state(traceparent, expected);
			if (length > 512) /* not longer than up to the last member that is whole */
				*strrchr(expected, ',') = '\0';
			ck_assert_str_eq(injected(ctx, CTX_CARRIER_HEADERS, "tracestate"), expected);
			ctx_finish(ctx);
		}
	}
	/* A member that ends where the bound is. */
	memset(state, 'x', sizeof(state) - 1);
	state[512] = ',';
	struct ctx_context *whole = with_state(traceparent, state);
	ck_assert_uint_eq(strlen(injected(whole, CTX_CARRIER_HEADERS, "tracestate")), 512);
	ctx_finish(whole);
	/* And one that is too long by itself. */
	state[512] = 'x';
	struct ctx_context *none = with_state(traceparent, state);
	ck_assert_str_eq(injected(none, CTX_CARRIER_HEADERS, "tracestate"), "");
	ctx_finish(none);
}
END_TEST

/* ---- baggage */

START_TEST(a_malformed_member_that_nobody_asks_for_refuses_nothing)
{
	static const char *const strangers[] = {
		"other",     "other=%zz",   "other=%",	  "other=%00", "other=\"x\"", "other=x y", "=1",
		"o ther=1",  "o\xc3\xa4=1", "other=\xff", "",	       " ",	      "(=1",	   ";",
		"other;p=q", "user2=%zz",   "other=a\\b",
	};
	char list[256];

	for (unsigned i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		static const char *const places[] = {"%s,user=ada", "user=ada,%s",
						     "a=1, %s ,user=ada;p=1,b=2"};
		for (unsigned place = 0; place < 3; place++) {
			snprintf(list, sizeof(list), places[place], strangers[i]);
			struct ctx_context *ctx = accepted(CTX_CARRIER_HEADERS, "baggage", list);
			ck_assert_str_eq(user_of(ctx), "ada");
			ctx_finish(ctx);
		}
		struct ctx_context *alone = accepted(CTX_CARRIER_HEADERS, "baggage", strangers[i]);
		ck_assert_ptr_null(user_of(alone));
		ctx_finish(alone);
	}
}
END_TEST

START_TEST(a_malformed_member_that_is_asked_for_refuses_the_request)
{
	static const char *const members[] = {"user",	     "user=%zz",	  "user=%",    "user=%00",
					      "user=\"x\"",  "user=x y",	  "user=\xff", "user;p",
					      " user =\x01", "user=a\\b,user=ada"};
	char list[64];

	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		expect_refused(CTX_CARRIER_HEADERS, "baggage", members[i]);
		snprintf(list, sizeof(list), "a=%%zz,%s,b=2", members[i]);
		expect_refused(CTX_CARRIER_HEADERS, "baggage", list);
	}
	ck_assert_uint_eq(test_count_contexts(), 0);
}
END_TEST

/* W3C Baggage, "value": what does not match UTF-8 has to be replaced. */
START_TEST(baggage_that_is_not_utf8_is_replaced)
{
	static const char *const cases[][2] = {
		{"%ff", FFFD},
		{"a%ff%FEb", "a" FFFD FFFD "b"},
		{"%c3%a4", "\xc3\xa4"},
		{"%c3x", FFFD "x"},
		{"%e2%82", FFFD},
		{"%c0%af", FFFD FFFD},
		{"%ed%a0%80", FFFD FFFD FFFD},
	};
	char list[64];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(list, sizeof(list), "user=%s", cases[i][0]);
		struct ctx_context *ctx = accepted(CTX_CARRIER_HEADERS, "baggage", list);
		ck_assert_str_eq(user_of(ctx), cases[i][1]);
		ctx_finish(ctx);
	}
}
END_TEST

/* As long as any: each byte comes as three, and is replaced by three. */
START_TEST(the_longest_value_that_is_not_utf8_fits)
{
	static char list[CTX_CARRIER_MAX + 1];
	size_t length = 5;

	memcpy(list, "user=", length);
	for (; length + 3 <= CTX_CARRIER_MAX; length += 3)
		memcpy(list + length, "%ff", 4);
	struct ctx_context *ctx = accepted(CTX_CARRIER_HEADERS, "baggage", list);
	ck_assert_uint_eq(strlen(user_of(ctx)), length - 5);
	ctx_finish(ctx);
}
END_TEST

/* A value of the program's own, too: what goes out as baggage is UTF-8. To a child bytes go as they are. */
START_TEST(what_goes_out_as_baggage_is_utf8)
{
	const struct ctx_context *ctx = value_child_of(ctx_background(), &user, strdup("caf\xe9 \xc3\xa4"));

	ck_assert_str_eq(injected(ctx, CTX_CARRIER_HEADERS, "baggage"), "user=caf%EF%BF%BD%20%C3%A4");
	const char *variable = injected(ctx, CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT");
	ck_assert_ptr_nonnull(strstr(variable, ";val.user=caf%E9%20%C3%A4"));
	struct ctx_context *child = accepted(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", variable);
	ck_assert_str_eq(user_of(child), "caf\xe9 \xc3\xa4");
	ctx_finish(child);
	ctx_unref(ctx);
}
END_TEST

/*
 * Goal: what others put into the list does not refuse a request because there is much of it; but a value that
 * is asked for is not taken for one that nobody sent.
 */
START_TEST(of_baggage_beyond_the_bound_what_was_read_counts)
{
	static char list[3 * CTX_CARRIER_MAX];

	memset(list, 'x', sizeof(list) - 1);
	memcpy(list, "user=ada,other=", 15);
	struct ctx_context *ctx = accepted(CTX_CARRIER_HEADERS, "baggage", list);
	ck_assert_str_eq(user_of(ctx), "ada");
	ctx_finish(ctx);
	/* Not asked for: nothing is missing. */
	struct pair_of_text pair = {"baggage", list};
	ck_assert_ok(
		ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_pair, &pair, NULL, &ctx));
	ctx_finish(ctx);
	/* Behind the bound, across it, and with nothing read at all. */
	memcpy(list, "other=xxxxxxxxxxxx", 15);
	memcpy(list + CTX_CARRIER_MAX, ",user=ada,", 10);
	expect_refused(CTX_CARRIER_HEADERS, "baggage", list);
	memset(list, 'x', sizeof(list) - 1);
	memcpy(list + CTX_CARRIER_MAX - 7, ",user=ada,", 10);
	expect_refused(CTX_CARRIER_HEADERS, "baggage", list);
	memset(list, 'x', sizeof(list) - 1);
	memcpy(list, "user=", 5);
	expect_refused(CTX_CARRIER_HEADERS, "baggage", list);
}
END_TEST

/* ---- the environment variable */

/* Goal: the time that is left bounds the program, whatever is wrong beside it. */
START_TEST(what_only_describes_the_sender_refuses_nothing)
{
	static const char *const fields[] = {
		"label=%zz",
		"label=%00",
		"label=0123456789012345678901234567890123456789",
		"label=a;label=b",
		"id=xyz",
		"id=00112233445566778899",
		"id=1;id=2",
		"trace=00-1-2-3",
		"trace=",
		"val.other=%zz",
		"val.nobody=%",
		"val.=1",
		"new=%zz",
		"label=;id=;trace=;val.user2=%",
	};
	char variable[256];

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		static const char *const places[] = {"v=1;%s;left=%llu;val.user=ada",
						     "v=1;left=%2$llu;val.user=ada;%1$s"};
		for (unsigned place = 0; place < 2; place++) {
			snprintf(variable, sizeof(variable), places[place], fields[i], HOUR);
			struct ctx_context *ctx =
				accepted(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", variable);
			ck_assert_uint_ne(ctx_deadline_ns(ctx), CTX_FOREVER);
			ck_assert_str_eq(user_of(ctx), "ada");
			ctx_finish(ctx);
		}
	}
}
END_TEST

START_TEST(what_bounds_the_work_is_read_strictly)
{
	static const char *const fields[] = {"left=", "left=-1",   "left=1h", "left=1;left=1",
					     "at=x",  "at=1;at=1", "boot=x",  "boot=1;boot=1",
					     "left",  "left=1;;",  "v=1",     "v=2"};
	char variable[128];

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		snprintf(variable, sizeof(variable), "v=1;%s", fields[i]);
		expect_refused(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", variable);
	}
	expect_refused(CTX_CARRIER_ENVIRONMENT, "CTXRING_CONTEXT", "v=1;val.user=%zz");
	expect_refused(CTX_CARRIER_HEADERS, "grpc-timeout", "1h");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("strangers");
	TCase *trace = test_case(suite, "traceparent"), *baggage = test_case(suite, "baggage"),
	      *variable = test_case(suite, "variable");

	tcase_add_test(trace, only_flags_that_are_defined_go_out);
	tcase_add_test(trace, a_later_version_is_read_and_goes_out_as_00);
	tcase_add_test(trace, a_malformed_traceparent_begins_a_new_trace);
	tcase_add_test(trace, tracestate_goes_out_as_it_came);
	tcase_add_test(trace, tracestate_that_cannot_go_out_does_not);
	tcase_add_test(trace, a_long_tracestate_loses_members_at_its_end);
	tcase_add_test(baggage, a_malformed_member_that_nobody_asks_for_refuses_nothing);
	tcase_add_test(baggage, a_malformed_member_that_is_asked_for_refuses_the_request);
	tcase_add_test(baggage, baggage_that_is_not_utf8_is_replaced);
	tcase_add_test(baggage, the_longest_value_that_is_not_utf8_fits);
	tcase_add_test(baggage, what_goes_out_as_baggage_is_utf8);
	tcase_add_test(baggage, of_baggage_beyond_the_bound_what_was_read_counts);
	tcase_add_test(variable, what_only_describes_the_sender_refuses_nothing);
	tcase_add_test(variable, what_bounds_the_work_is_read_strictly);
	return suite;
}
