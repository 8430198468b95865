/* SPDX-License-Identifier: MIT */
/*
 * Global ids in W3C tracestate: the list of members as text, and what ctx_inject and ctx_extract do with it
 * beside a service that the test plays.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "carrier.h"
#include "client.h"
#include "context.h"
#include "support/fleet_played.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

#define TRACEPARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/* ---- the list */

static const struct {
	const char *state, *value, *written;
} lists[] = {
	{"", "1", "me=1"},
	{"", NULL, ""},
	{"a=1,b=2", "1", "me=1,a=1,b=2"},
	{"a=1,me=0,b=2,me=3", "1", "me=1,a=1,b=2"},
	{"me=0,a=1", NULL, "a=1"},
	{" a=1 ,\t,b= 2,", "1", "me=1,a=1,b= 2"},
	{"t@v=x!y,0a/b*c-d_e=~", "1", "me=1,t@v=x!y,0a/b*c-d_e=~"},
	{"A=1,_a=1,a,=1,a=,a=b=c,a b=1,ok=1", "1", "me=1,ok=1"},
	{"not a list", "1", "me=1"},
	{"mean=1,m=2,me2=3", "1", "me=1,mean=1,m=2,me2=3"},
};

START_TEST(the_member_goes_to_the_front)
{
	char state[CARRIER_TRACESTATE_SIZE];

	carrier_write_tracestate(lists[_i].state, "me", lists[_i].value, state);
	ck_assert_str_eq(state, lists[_i].written);
}
END_TEST

static const struct {
	const char *state, *found; /* NULL: nothing is */
} finds[] = {
	{"", NULL},
	{"me=1", "1"},
	{"a=1, me=x y ,b=2", "x y"},
	{"me=1,me=2", "1"},
	{"me=,me=2", NULL},
	{"me,a=1", NULL},
	{"me =1", NULL},
	{"Me=1,mea=2,m=3", NULL},
	{"me=1234567", "1234567"},
	{"me=12345678", NULL},
};

START_TEST(a_member_is_found_by_its_whole_name)
{
	char value[8] = "none";
	bool found = carrier_find_state(finds[_i].state, "me", value, sizeof(value));

	ck_assert_int_eq(found, finds[_i].found != NULL);
	ck_assert_str_eq(value, found ? finds[_i].found : "none");
}
END_TEST

START_TEST(keys_and_values_have_at_most_256_bytes)
{
	char state[600], value[300];

	for (size_t length = 255; length <= 257; length++) {
		memset(state, 'v', sizeof(state));
		memcpy(state, "me=", 3);
		state[3 + length] = '\0';
		ck_assert_int_eq(carrier_find_state(state, "me", value, sizeof(value)), length <= 256);
		struct carrier_member member;
		const char *at = state;
		memset(state, 'k', length);
		strcpy(state + length, "=1");
		ck_assert_int_eq(carrier_next_state(&at, &member), 1);
		ck_assert_int_eq(member.malformed, length > 256);
		ck_assert_int_eq(carrier_next_state(&at, &member), 0);
	}
}
END_TEST

/* 32 members, and 512 bytes, of which long members go first, and then the last ones. */
START_TEST(a_list_that_becomes_too_long_loses_members)
{
	char state[CARRIER_TRACESTATE_SIZE] = "", written[CARRIER_TRACESTATE_SIZE],
	     expected[2 * CARRIER_TRACESTATE_SIZE], longest[CARRIER_TRACESTATE_SIZE];

	for (int i = 0; i < 32; i++)
		snprintf(state + strlen(state), 16, "%sk%d=1", i ? "," : "", i);
	carrier_write_tracestate(state, "me", "1", written);
	snprintf(expected, sizeof(expected), "me=1,%s", state);
	*strrchr(expected, ',') = '\0';
	ck_assert_str_eq(written, expected);
	carrier_write_tracestate(state, "me", NULL, written);
	ck_assert_str_eq(written, state);

	/* first=, 200 bytes, second=, 200 bytes, last: 512 bytes. */
	memset(longest, 'x', sizeof(longest));
	snprintf(state, sizeof(state), "first=1,a=%.198s,second=2,b=%.198s,c=%.86s,d=1", longest, longest,
		 longest);
	ck_assert_uint_le(strlen(state), 512);
	carrier_write_tracestate(state, "me", "12345678", written);
	snprintf(expected, sizeof(expected), "me=12345678,first=1,a=%.198s,second=2,c=%.86s,d=1", longest,
		 longest);
	ck_assert_str_eq(written, expected);

	/* One that has exactly 512 bytes without the member keeps them all. */
	snprintf(state, sizeof(state), "a=%.120s,b=%.120s,c=%.120s,d=%.120s,e=%.18s", longest, longest,
		 longest, longest, longest);
	ck_assert_uint_eq(strlen(state), 512);
	carrier_write_tracestate(state, "me", NULL, written);
	ck_assert_str_eq(written, state);

	/* None is long: the last ones go. */
	snprintf(state, sizeof(state), "a=%.120s,b=%.120s,c=%.120s,d=%.120s,e=1", longest, longest, longest,
		 longest);
	carrier_write_tracestate(state, "me", "12345678901234567890", written);
	snprintf(expected, sizeof(expected), "me=12345678901234567890,a=%.120s,b=%.120s,c=%.120s", longest,
		 longest, longest);
	ck_assert_str_eq(written, expected);
}
END_TEST

/* ---- pairs */

struct pairs {
	unsigned count;
	char names[4][32], values[4][1000];
};

static int add_pair(const char *name, const char *value, void *data)
{
	struct pairs *pairs = data;

	ck_assert_uint_lt(pairs->count, 4);
	snprintf(pairs->names[pairs->count], 32, "%s", name);
	snprintf(pairs->values[pairs->count++], 1000, "%s", value);
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

static struct pairs injected(const struct ctx_context *ctx, unsigned carrier)
{
	struct pairs pairs = {0};

	ck_assert_ok(ctx_inject(ctx, (enum ctx_carrier)carrier, NULL, 0, add_pair, &pairs));
	return pairs;
}

/* The tracestate that goes out; "": none does. */
static const char *state_of(const struct ctx_context *ctx, unsigned carrier)
{
	static char state[1000];
	struct pairs pairs = injected(ctx, carrier);
	const char *found = get_pair("tracestate", &pairs);

	snprintf(state, sizeof(state), "%s", found ? found : "");
	return state;
}

static struct ctx_context *with_state(const struct ctx_context *parent, unsigned carrier, const char *state)
{
	struct pairs pairs = {0};
	struct ctx_context *ctx = NULL;

	add_pair("traceparent", TRACEPARENT, &pairs);
	add_pair("tracestate", state, &pairs);
	ck_assert_ok(
		ctx_extract(parent, (enum ctx_carrier)carrier, NULL, 0, get_pair, &pairs, "request", &ctx));
	return ctx;
}

/* ---- sending */

static void answer_share(struct stage *stage)
{
	say_shared(stage, hear(stage, WIRE_SHARE).serial, 1, 0xdef);
}

START_TEST(the_nearest_global_id_is_sent)
{
	struct stage stage;
	struct ctx_context *above = child_of(ctx_background()), *ctx = child_of(above),
			   *below = child_of(ctx), *joined;

	stage_open(&stage, HOUR, 0);
	ck_assert_str_eq(state_of(below, CTX_CARRIER_HEADERS), "");
	stage_answer(&stage, answer_share);
	ck_assert_ok(ctxd_share(stage.client, ctx, NULL, CTXD_FLEET, NULL));
	stage_answered(&stage);
	ck_assert_str_eq(state_of(ctx, CTX_CARRIER_HEADERS), "ctxring=here/7-1-def");
	ck_assert_str_eq(state_of(below, CTX_CARRIER_HEADERS), "ctxring=here/7-1-def");
	ck_assert_str_eq(state_of(below, CTX_CARRIER_HEADERS | CTX_CARRIER_NO_JOIN), "");
	ck_assert_str_eq(state_of(above, CTX_CARRIER_HEADERS), "");
	struct pairs variable = injected(below, CTX_CARRIER_ENVIRONMENT);
	ck_assert_ptr_nonnull(strstr(variable.values[0], ";state=ctxring%3Dhere%2F7-1-def"));
	variable = injected(below, CTX_CARRIER_ENVIRONMENT | CTX_CARRIER_NO_JOIN);
	ck_assert_ptr_null(strstr(variable.values[0], "state="));

	/* The end of a shared context reaches nothing below a detached one, so its id is not sent there. */
	const struct ctx_context *detached = detached_child_of(below);
	ck_assert_str_eq(state_of(detached, CTX_CARRIER_HEADERS), "");
	ctx_unref(detached);

	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &joined));
	struct ctx_context *under = child_of(joined);
	ck_assert_str_eq(state_of(under, CTX_CARRIER_HEADERS), "ctxring=" FAR_ID);
	ctx_finish(under);
	ctx_finish(joined);

	/* What has ended is joined by nobody. */
	ctx_cancel(ctx);
	ck_assert_str_eq(state_of(below, CTX_CARRIER_HEADERS), "");
	ctx_finish(below);
	ctx_finish(ctx);
	ctx_finish(above);
	stage_close(&stage);
}
END_TEST

START_TEST(an_id_that_came_is_replaced_or_passed_on)
{
	struct stage stage;
	const char *came = "a=1,ctxring=" FAR_ID ",b=2";
	struct ctx_context *passing = with_state(ctx_background(), CTX_CARRIER_HEADERS, came);

	/* Without a service it goes on as it came; but not to where no id may go. */
	ck_assert_str_eq(state_of(passing, CTX_CARRIER_HEADERS), came);
	ck_assert_str_eq(state_of(passing, CTX_CARRIER_HEADERS | CTX_CARRIER_NO_JOIN), "a=1,b=2");
	stage_open(&stage, HOUR, 0);
	stage_answer(&stage, answer_share);
	ck_assert_ok(ctxd_share(stage.client, passing, NULL, CTXD_FLEET, NULL));
	stage_answered(&stage);
	ck_assert_str_eq(state_of(passing, CTX_CARRIER_HEADERS), "ctxring=here/7-1-def,a=1,b=2");
	ctx_finish(passing);
	stage_close(&stage);
}
END_TEST

/* ---- receiving */

START_TEST(what_was_sent_is_joined_below_the_parent)
{
	struct stage stage;
	struct ctx_context *parent = child_of(ctx_background());

	stage_open(&stage, HOUR, 0);
	struct ctx_context *ctx = with_state(parent, CTX_CARRIER_HEADERS, "a=1,ctxring=" FAR_ID);
	ck_assert_live(ctx);
	struct wire_message join = hear(&stage, WIRE_JOIN_GLOBAL);
	ck_assert_uint_eq(join.join_global.flags, 0);
	say_joined(&stage, join.serial, 1, CTX_FOREVER);
	hear(&stage, WIRE_ATTACH);
	ck_assert_str_eq(state_of(ctx, CTX_CARRIER_HEADERS), "ctxring=" FAR_ID ",a=1");
	if (_i == 0) {
		say_last_words(&stage, "the client left", CTX_CAUSE_CALL, "far.example");
		ck_assert_ok(ctx_wait(ctx, SOON));
		ck_assert_str_eq(cause_of(ctx).text, "the client left");
		ck_assert_str_eq(cause_of(ctx).host, "far.example");
		ck_assert_live(parent);
	} else {
		ctx_cancel(parent);
		ck_assert_cancelled(ctx);
	}
	hear(&stage, WIRE_LEAVE);
	ctx_finish(ctx);
	ctx_finish(parent);
	stage_close(&stage);
}
END_TEST

/* With the last of the work the join is left, and no descriptor stays. */
START_TEST(a_request_that_is_done_leaves_its_join)
{
	struct stage stage;

	stage_open(&stage, HOUR, 0);
	unsigned before = test_count_fds();
	struct ctx_context *ctx = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	struct ctx_context *below = child_of(ctx);
	say_joined(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, 1, CTX_FOREVER);
	hear(&stage, WIRE_ATTACH);
	ctx_finish(ctx);
	ctx_finish(below);
	hear(&stage, WIRE_LEAVE);
	ck_assert(test_until(test_has_few_fds, &before));
	stage_close(&stage);
}
END_TEST

static const struct {
	unsigned carrier;
	const char *state;
} refusals[] = {
	{CTX_CARRIER_HEADERS | CTX_CARRIER_NO_JOIN, "ctxring=" FAR_ID},
	{CTX_CARRIER_HEADERS, "ctxring=far.example/9-5"},
	{CTX_CARRIER_HEADERS, "ctxring=far.example/9-5-ABC"},
	{CTX_CARRIER_HEADERS, "ctxring=-far/9-5-abc"},
	{CTX_CARRIER_HEADERS, "ctxring=" FAR_ID "=1"},
	{CTX_CARRIER_HEADERS, "ctxrings=" FAR_ID},
	{CTX_CARRIER_HEADERS, "ctxring"},
};

/* The next message is about something else. */
static void hear_nothing(struct stage *stage)
{
	say_order(stage, 99);
	ck_assert_int_eq(hear(stage, WIRE_OBEYED).obeyed.result, -ENOENT);
}

START_TEST(what_is_no_id_is_not_joined)
{
	struct stage stage;

	stage_open(&stage, HOUR, 0);
	struct ctx_context *ctx = with_state(ctx_background(), refusals[_i].carrier, refusals[_i].state);
	ck_assert_live(ctx);
	hear_nothing(&stage);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* A made-up host, of which nobody has heard: the request goes on without the join. */
START_TEST(a_host_that_says_nothing_ends_no_request)
{
	struct stage stage;

	stage_open(&stage, 0, _i ? HOUR : 50 * MILLISECOND);
	struct ctx_context *ctx = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	uint64_t serial = hear(&stage, WIRE_JOIN_GLOBAL).serial;
	/* Given up after the time of a call; or, the bridge says that there is no such host. */
	if (_i)
		say_ended(&stage, serial, _i == 1 ? CTX_CAUSE_HOST : CTX_CAUSE_UNREACHABLE);
	else
		ck_assert_uint_eq(hear(&stage, WIRE_WITHDRAW).serial, serial);
	lock_acquire(&stage.client->lock);
	/* It leaves the list before it is freed, which ends the count. */
	while (!list_empty(&stage.client->joins) || stage.client->unheard) {
		lock_release(&stage.client->lock);
		usleep(1000);
		lock_acquire(&stage.client->lock);
	}
	lock_release(&stage.client->lock);
	ck_assert_live(ctx);
	ck_assert_str_eq(state_of(ctx, CTX_CARRIER_HEADERS), "ctxring=" FAR_ID);
	ctx_finish(ctx);
	hear_nothing(&stage);
	stage_close(&stage);
}
END_TEST

/* Once the host has said that it is live, it is a join like others. */
START_TEST(a_host_that_was_heard_counts)
{
	struct stage stage;

	stage_open(&stage, 50 * MILLISECOND, 0);
	struct ctx_context *ctx = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	uint64_t serial = hear(&stage, WIRE_JOIN_GLOBAL).serial;
	if (_i == 0) {
		say_joined(&stage, serial, 1, CTX_FOREVER);
		hear(&stage, WIRE_ATTACH);
		stage_hang_up(&stage);
	} else {
		say_result(&stage, serial, -ENOENT);
	}
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, _i == 0 ? CTX_CAUSE_UNREACHABLE : CTX_CAUSE_HOST);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* More than a process asks about at a time go on without a join. */
START_TEST(a_flood_of_made_up_ids_is_bounded)
{
	struct stage stage;
	struct ctx_context *first;

	stage_open(&stage, HOUR, 0);
	lock_acquire(&stage.client->lock);
	stage.client->unheard += 4095;
	lock_release(&stage.client->lock);
	first = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	hear(&stage, WIRE_JOIN_GLOBAL);
	struct ctx_context *second = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	hear_nothing(&stage);
	ck_assert_live(second);
	ctx_finish(second);
	ctx_finish(first);
	lock_acquire(&stage.client->lock);
	stage.client->unheard -= 4095;
	lock_release(&stage.client->lock);
	stage_close(&stage);
}
END_TEST

/* The oldest client whose service belongs to a fleet; without any, there is no join. */
START_TEST(the_first_client_with_a_fleet_joins)
{
	struct stage none, first, second;

	stage_open(&none, HOUR, 0);
	struct wire_message terms = {.type = WIRE_TERMS};
	say(&none, &terms);
	hear_nothing(&none);
	struct ctx_context *ctx = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	hear_nothing(&none);
	ctx_finish(ctx);
	stage_open(&first, HOUR, 0);
	stage_open(&second, HOUR, 0);
	ctx = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	hear(&first, WIRE_JOIN_GLOBAL);
	ctx_finish(ctx);
	stage_close(&first);
	ctx = with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
	hear(&second, WIRE_JOIN_GLOBAL);
	ctx_finish(ctx);
	stage_close(&second);
	stage_close(&none);
}
END_TEST

/* ctx_extract in other threads while the client is closed. */
static void *extract_much(void *data)
{
	_Atomic bool *stop = data;

	while (!atomic_load(stop)) {
		struct ctx_context *ctx =
			with_state(ctx_background(), CTX_CARRIER_HEADERS, "ctxring=" FAR_ID);
		ck_assert_live(ctx);
		ctx_finish(ctx);
	}
	return NULL;
}

static void *hear_out(void *data)
{
	struct stage *stage = data;
	char bytes[WIRE_SIZE_MAX];

	while (read(stage->played.fd, bytes, sizeof(bytes)) > 0)
		;
	return NULL;
}

START_TEST(closing_a_client_waits_for_joins_that_begin)
{
	pthread_t extracting[2], hearing;
	_Atomic bool stop = false;
	struct stage stage;

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(pthread_create(&hearing, NULL, hear_out, &stage));
	for (int i = 0; i < 2; i++)
		ck_assert_ok(pthread_create(&extracting[i], NULL, extract_much, (void *)&stop));
	usleep(20000);
	ctxd_close(stage.client);
	stage.client = NULL;
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		ck_assert_ok(pthread_join(extracting[i], NULL));
	ck_assert_ok(pthread_join(hearing, NULL));
	stage_close(&stage);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	Suite *suite = suite_create("tracestate");
	TCase *list = test_case(suite, "list"), *sending = test_case(suite, "sending"),
	      *receiving = test_case(suite, "receiving");

	tcase_add_loop_test(list, the_member_goes_to_the_front, 0, COUNT(lists));
	tcase_add_loop_test(list, a_member_is_found_by_its_whole_name, 0, COUNT(finds));
	tcase_add_test(list, keys_and_values_have_at_most_256_bytes);
	tcase_add_test(list, a_list_that_becomes_too_long_loses_members);
	tcase_add_test(sending, the_nearest_global_id_is_sent);
	tcase_add_test(sending, an_id_that_came_is_replaced_or_passed_on);
	tcase_add_loop_test(receiving, what_was_sent_is_joined_below_the_parent, 0, 2);
	tcase_add_test(receiving, a_request_that_is_done_leaves_its_join);
	tcase_add_loop_test(receiving, what_is_no_id_is_not_joined, 0, COUNT(refusals));
	tcase_add_loop_test(receiving, a_host_that_says_nothing_ends_no_request, 0, 3);
	tcase_add_loop_test(receiving, a_host_that_was_heard_counts, 0, 2);
	tcase_add_test(receiving, a_flood_of_made_up_ids_is_bounded);
	tcase_add_test(receiving, the_first_client_with_a_fleet_joins);
	tcase_add_test(receiving, closing_a_client_waits_for_joins_that_begin);
	return suite;
}
