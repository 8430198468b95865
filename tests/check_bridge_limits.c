/* SPDX-License-Identifier: MIT */
/*
 * The bridge at its limits: what ctxd refuses, no descriptors, names that are taken, thousands of contexts,
 * and the tables by which it finds them.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lookup.h"
#include "support/bridge_pair.h"
#include "support/calm_clock.h"

TEST_ALONE("defines clock_gettime");

TEST_MODES(TEST_NORMAL | TEST_ASAN);

static struct pair *pair;
static struct pair_context context;

static void set_up(void)
{
	pair = pair_new();
}

static void take_down(void)
{
	pair_close(&context);
	pair_free(pair);
}

/* ---- refusals */

static bool is_over(void *data)
{
	return ((struct pair_host *)data)->exit != BRIDGE_GO_ON;
}

static void start_again(struct pair_host *host, int error)
{
	pair_bridge_stop(host);
	pair_run(pair, 2 * PAIR_LEASE_NS);
	pair_bridge_start(host);
	pair_ctxd_greet(host, error);
}

/* What only a person can mend ends the bridge, before ctxd has taken it for the first time. */
START_TEST(a_bridge_that_may_not_be_it_exits)
{
	static const int errors[] = {-EPERM, -EINVAL, -ENOTSUP};

	start_again(&pair->b, errors[_i]);
	pair_await(pair, is_over, &pair->b);
	ck_assert_int_eq(pair->b.exit, BRIDGE_CONFIGURATION);
}
END_TEST

/* The one before may not be gone yet. */
START_TEST(a_bridge_waits_for_another_to_go)
{
	start_again(&pair->b, -EBUSY);
	close(pair->b.ctxd);
	pair_ctxd_greet(&pair->b, 0);
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	ck_assert_int_eq(pair->b.exit, BRIDGE_GO_ON);
}
END_TEST

/* After the first time the same refusal is for a while. */
START_TEST(a_bridge_that_is_known_tries_again)
{
	pair_join(pair, &context, 1, CTX_FOREVER, WIRE_SURVIVE);
	pair_ctxd_stop(&pair->b);
	pair_ctxd_start(&pair->b);
	pair_ctxd_greet(&pair->b, -EPERM);
	close(pair->b.ctxd);
	pair_ctxd_greet(&pair->b, 0);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, NULL);
	ck_assert_uint_eq(mirror.mirror.fetch, 0);
	ck_assert_int_eq(pair->b.exit, BRIDGE_GO_ON);
}
END_TEST

/* Without a kept incarnation the lease of its own life before is that of a stranger. */
START_TEST(a_name_that_is_taken_ends_the_bridge)
{
	pair_bridge_stop(&pair->b);
	pair_bridge_start(&pair->b);
	pair_await(pair, is_over, &pair->b);
	ck_assert_int_eq(pair->b.exit, BRIDGE_NAME_TAKEN);
}
END_TEST

/* The owner's ctxd has no room: the other host has no answer until there is, and then all goes on. */
START_TEST(what_is_refused_for_want_of_room_is_asked_for_again)
{
	pair_fetch(pair, &context, 1, WIRE_SURVIVE);
	struct wire_message join = pair_hear(&pair->a, WIRE_JOIN_GLOBAL, NULL);
	pair_result(&pair->a, join.serial, -EDQUOT, 0);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	pair_take_mirror(pair, &context);
	pair_end(&context, "in the end");
	ck_assert_str_eq(pair_words(pair, &context).text, "in the end");
}
END_TEST

/* A mirror that ctxd does not take, since nobody waits for it any more, is left. */
START_TEST(a_mirror_that_nobody_waits_for_goes)
{
	pair_fetch(pair, &context, 1, 0);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, &context.mirror);
	pair_result(&pair->b, mirror.serial, -ENOENT, 0);
	close(context.mirror);
	context.mirror = -1;
	pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
}
END_TEST

/* Before the owner's host has answered. */
START_TEST(a_fetch_that_is_taken_back_goes)
{
	struct wire_message unwanted = {.type = WIRE_UNWANTED};
	struct pair_context second;

	pair_fetch(pair, &context, 1, 0);
	unwanted.serial = context.fetch + 1;
	pair_say(&pair->b, &unwanted, NULL, 0);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	pair_take_mirror(pair, &context);
	unwanted.serial = context.fetch;
	pair_say(&pair->b, &unwanted, NULL, 0);
	pair_run(pair, PAIR_LEASE_NS / 10);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 1);

	pair_fetch(pair, &second, 2, 0);
	unwanted.serial = second.fetch;
	pair_say(&pair->b, &unwanted, NULL, 0);
	pair_run(pair, PAIR_LEASE_NS / 10);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 1);
	ck_assert(pair_is_quiet(&pair->b));
}
END_TEST

/* b's ctxd asks for a context of a host that nobody knows. Returns the error of MIRROR, 0: there is none yet.
 */
static int fetch_made_up(unsigned number, uint32_t uid)
{
	struct wire_message fetch = {.type = WIRE_FETCH, .serial = 5000 + number};

	fetch.fetch = (struct wire_fetch){
		.global = {.id = {77, 1}, .secret = 5}, .flags = WIRE_SURVIVE, .uid = uid};
	snprintf(fetch.fetch.global.host, sizeof(fetch.fetch.global.host), "made-up-%u", number);
	pair_say(&pair->b, &fetch, NULL, 0);
	for (unsigned i = 0; i < 3; i++)
		pair_turn(pair);
	if (pair_is_quiet(&pair->b))
		return 0;
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, NULL);
	ck_assert_uint_eq(mirror.mirror.fetch, fetch.serial);
	return mirror.mirror.error;
}

/* A user who makes up hosts is told to ask again later. Others get to hosts that are new. */
START_TEST(made_up_hosts_of_a_user_keep_no_other_out)
{
	unsigned number = 0, users;

	for (; fetch_made_up(number, 666) == 0; number++)
		ck_assert_uint_lt(number, 1000);
	ck_assert_uint_eq(number, 102);
	ck_assert_int_eq(fetch_made_up(number, 666), -EDQUOT);
	/* Of hosts that it waits for already it may join more. */
	ck_assert_int_eq(fetch_made_up(0, 666), 0);
	/* Together with others it does not use up what each one may have. */
	for (users = 0; users < 50; users++)
		while (fetch_made_up(++number, 1000 + users) == 0)
			ck_assert_uint_lt(number, 1000);
	ck_assert_int_eq(fetch_made_up(++number, 5000), 0);
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	/* What answers is no stranger any more. */
	ck_assert_int_eq(fetch_made_up(++number, context.mirrored.mirror.uid), 0);
}
END_TEST

/* A user of b asks for a host that never answers. Returns the error of TELL, 0: there is none yet. */
static int ask_silent(uint64_t serial, uint32_t uid)
{
	struct wire_message asked = {.type = WIRE_ASKED, .serial = serial};

	asked.ask = (struct wire_ask){
		.question = WIRE_ASK_HOSTS, .wait_ns = 3600 * NS_PER_SECOND, .uid = uid, .host = "silent"};
	pair_say(&pair->b, &asked, NULL, 0);
	pair_turn(pair);
	if (pair_is_quiet(&pair->b))
		return 0;
	struct wire_message told = pair_hear(&pair->b, WIRE_TELL, NULL);
	ck_assert_uint_eq(told.serial, asked.serial);
	return told.told.error;
}

/* All users share a number of questions, and none can have them all. */
START_TEST(a_user_who_asks_without_end_keeps_no_other_out)
{
	unsigned number = 0;

	for (; ask_silent(1000 + number, 666) == 0; number++)
		ck_assert_uint_lt(number, 1000);
	ck_assert_uint_eq(number, 51);
	ck_assert_int_eq(ask_silent(2000, 666), -EDQUOT);
	for (unsigned uid = 1000; uid < 1010; uid++)
		for (unsigned i = 0; ask_silent(3000 + 100 * uid + i, uid) == 0; i++)
			ck_assert_uint_lt(i, 1000);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(ask_silent(2001 + i, 5000), 0);
}
END_TEST

/* ---- descriptors */

/* Lets the process have no more descriptors than it has. */
static struct rlimit use_up_fds(void)
{
	struct rlimit before, now;
	int next = dup(0);

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &before));
	now = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
	close(next);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &now));
	return before;
}

/* The owner's answer is on its way for two seconds, in which the descriptors are used up. */
START_TEST(without_a_descriptor_a_fetch_is_unreachable)
{
	const struct engine_chaos slow = {.delay_min_ns = 2 * NS_PER_SECOND,
					  .delay_max_ns = 2 * NS_PER_SECOND};
	const struct engine_chaos calm = {0};

	pair_fetch(pair, &context, 1, WIRE_SURVIVE);
	pair_run(pair, 10 * PAIR_MS);
	engine_fake_chaos(pair->fake, &slow);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	for (unsigned i = 0; i < 10; i++)
		pair_turn(pair);
	engine_fake_chaos(pair->fake, &calm);
	struct rlimit before = use_up_fds();
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, NULL);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &before));
	ck_assert_int_eq(mirror.mirror.error, -ECANCELED);
	ck_assert_int_eq(mirror.mirror.cause.kind, CTX_CAUSE_UNREACHABLE);
	ck_assert_str_eq(mirror.mirror.cause.host, "a");
	ck_assert_ptr_nonnull(strstr(mirror.mirror.cause.text, "descriptor"));
}
END_TEST

/* The descriptors of JOINED are lost on the way: the bridge leaves, and joins again later. */
START_TEST(without_descriptors_a_join_is_tried_again)
{
	pair_fetch(pair, &context, 1, WIRE_SURVIVE);
	pair_run(pair, 10 * PAIR_MS);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	struct rlimit before = use_up_fds();
	struct wire_message leave = pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &before));
	ck_assert_uint_eq(leave.attach.id.number, context.local);
	close(context.pipe);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	pair_take_mirror(pair, &context);
	ck_assert_uint_eq(bridge_counts(pair->a.bridge).owned, 1);
}
END_TEST

/* ---- many */

#define MANY 300u

/* Hundreds of contexts at once are joined, and end, whatever the sockets take. */
START_TEST(many_contexts_cross)
{
	static struct pair_context many[MANY];
	const unsigned count = MANY;
	const int small = 1;

	ck_assert_ok(setsockopt(pair->b.ctxd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	for (unsigned i = 0; i < count; i++)
		pair_join(pair, &many[i], i + 1, CTX_FOREVER, 0);
	pair_run(pair, 10 * PAIR_MS);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, count);
	for (unsigned i = 0; i < count; i++)
		pair_end(&many[i], "all of them");
	for (unsigned i = 0; i < count; i++)
		ck_assert_str_eq(pair_words(pair, &many[i]).text, "all of them");
	for (unsigned i = 0; i < count; i++) {
		pair_hear(&pair->b, WIRE_ENDED, NULL);
		pair_hear(&pair->a, WIRE_LEAVE, NULL);
		pair_close(&many[i]);
	}
	ck_assert_uint_eq(bridge_counts(pair->a.bridge).owned, 0);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
}
END_TEST

/* Both services are started again while hundreds of contexts are joined: all are registered again. */
START_TEST(many_contexts_are_registered_again)
{
	static struct pair_context many[MANY];
	const unsigned count = MANY;

	for (unsigned i = 0; i < count; i++)
		pair_join(pair, &many[i], i + 1, CTX_FOREVER, WIRE_SURVIVE);
	pair_ctxd_stop(&pair->a);
	pair_ctxd_stop(&pair->b);
	pair_ctxd_start(&pair->a);
	pair_ctxd_start(&pair->b);
	pair_ctxd_greet(&pair->a, 0);
	pair_ctxd_greet(&pair->b, 0);
	for (unsigned i = 0; i < count; i++) {
		pair_result(&pair->a, pair_hear(&pair->a, WIRE_REJOIN, NULL).serial, 0, i + 1);
		pair_result(&pair->b, pair_hear(&pair->b, WIRE_MIRROR, NULL).serial, 0, i + 1);
	}
	for (unsigned i = 0; i < count; i++) {
		pair_end(&many[i], "heard");
		ck_assert_str_eq(pair_words(pair, &many[i]).text, "heard");
		pair_close(&many[i]);
	}
}
END_TEST

/*
 * A joined context costs less than 400 bytes of memory on either side, beside its descriptors: measured over
 * as many as the descriptors of this process allow, with both bridges in it.
 */
START_TEST(a_joined_context_costs_little)
{
	struct pair_context *many = calloc(4096, sizeof(*many));
	struct rlimit limit;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
	unsigned count = limit.rlim_max > 20000 ? 4096 : (unsigned)(limit.rlim_max / 5);
	for (unsigned i = 0; i < 64; i++)
		pair_join(pair, &many[i], i + 1, clock_now_ns() + 3600 * NS_PER_SECOND, WIRE_SURVIVE);
	size_t before = mallinfo2().uordblks;
	for (unsigned i = 64; i < count; i++)
		pair_join(pair, &many[i], i + 1, clock_now_ns() + 3600 * NS_PER_SECOND, WIRE_SURVIVE);
	size_t each = (mallinfo2().uordblks - before) / (count - 64);
	printf("%zu bytes for a context on both sides, of %u\n", each, count);
	ck_assert_uint_le(each, 2 * 400);
	for (unsigned i = 0; i < count; i++)
		pair_close(&many[i]);
	free(many);
}
END_TEST

/* ---- the tables */

struct item {
	uint32_t next_free;
	uint32_t is_used;
	uint64_t number;
	struct store_link link;
};

static uint64_t number_of(const void *structure)
{
	return ((const struct item *)structure)->number;
}

static unsigned count_found(const struct lookup *lookup, uint64_t number)
{
	unsigned count = 0;
	uint32_t at = 0, slot;

	while (lookup_next(lookup, number, &at, &slot))
		count++;
	return count;
}

/* Slots come and go at random, with numbers of which many are the same; all that are there are found. */
START_TEST(slots_are_found_by_their_numbers)
{
	enum {
		NUMBERS = 97
	};
	struct store store;
	struct lookup lookup;
	struct store_list list;
	unsigned seed = test_seed(), counts[NUMBERS] = {0}, linked = 0;

	store_init(&store, sizeof(struct item));
	lookup_init(&lookup, &store, number_of);
	store_list_init(&list, offsetof(struct item, link));
	for (unsigned i = 0; i < test_scaled(100000); i++) {
		bool grows = (unsigned)rand_r(&seed) % 1000 < (i / 20000 % 2 ? 400u : 600u);
		if (grows || !store.count) {
			uint32_t slot = store_take(&store);
			struct item *item = store_at(&store, slot);
			ck_assert_uint_eq(item->is_used, 0);
			item->is_used = 1;
			item->number = (unsigned)rand_r(&seed) % NUMBERS;
			ck_assert_ok(lookup_add(&lookup, slot));
			store_list_append(&store, &list, slot);
			counts[item->number]++;
			linked++;
		} else {
			uint32_t slot = (unsigned)rand_r(&seed) % store.used;
			struct item *item = store_at(&store, slot);
			if (!item->is_used)
				continue;
			counts[item->number]--;
			lookup_remove(&lookup, slot);
			store_list_remove(&store, &list, slot);
			store_release(&store, slot);
			linked--;
		}
		uint64_t number = (unsigned)rand_r(&seed) % NUMBERS;
		if (i % 64 == 0)
			ck_assert_uint_eq(count_found(&lookup, number), counts[number]);
	}
	for (unsigned number = 0; number < NUMBERS; number++)
		ck_assert_uint_eq(count_found(&lookup, number), counts[number]);
	for (uint32_t slot = list.first; slot != STORE_NONE;
	     slot = ((struct item *)store_at(&store, slot))->link.next)
		linked--;
	ck_assert_uint_eq(linked, 0);
	lookup_free(&lookup);
	store_free(&store);
}
END_TEST

/* ---- lists of many hosts */

#define SILENT_HOSTS 40u

/* A host that has a lease and answers nothing. */
struct silent_host {
	struct engine *engine;
	bool is_asked;
};

static unsigned silent_asked;
/* Of each that was asked, in that order: between these times. */
static struct {
	uint64_t after_ns, before_ns;
} asked_times[SILENT_HOSTS];
static uint64_t turn_ns; /* When the turn of the bridges began. */

static void silent_message(void *link, const uint8_t *bytes, size_t size)
{
	struct silent_host *host = link;

	(void)bytes;
	(void)size;
	if (host->is_asked)
		return;
	host->is_asked = true;
	asked_times[silent_asked].after_ns = turn_ns;
	asked_times[silent_asked++].before_ns = clock_now_ns();
}

static void silent_up(void *link, bool fresh)
{
	struct engine *engine = ((struct silent_host *)link)->engine;

	(void)fresh;
	engine->calls->lease_take(engine, 7);
}

static void silent_link(void *link)
{
	(void)link;
}

static void silent_own_lease(void *link, uint64_t incarnation)
{
	(void)link;
	(void)incarnation;
}

static void silent_lease(void *link, const char *host, uint64_t incarnation)
{
	(void)link;
	(void)host;
	(void)incarnation;
}

/* Sixteen hosts are asked at once; when they say nothing for a quarter of a second, the next are. */
START_TEST(silent_hosts_are_asked_a_few_at_a_time)
{
	static struct silent_host hosts[SILENT_HOSTS];
	struct wire_message asked = {.type = WIRE_ASKED, .serial = 9};
	struct engine_events events = {.message = silent_message,
				       .up = silent_up,
				       .down = silent_link,
				       .writable = silent_link,
				       .own_lease = silent_own_lease,
				       .lease = silent_lease};
	uint64_t end_ns = clock_now_ns() + 30 * NS_PER_SECOND;
	char name[16];

	for (unsigned i = 0; i < SILENT_HOSTS; i++) {
		snprintf(name, sizeof(name), "silent-%u", i);
		events.link = &hosts[i];
		hosts[i].engine = engine_fake_open(pair->fake, name, &events);
		ck_assert_ptr_nonnull(hosts[i].engine);
		while (!engine_fake_has_lease(pair->fake, name))
			hosts[i].engine->calls->dispatch(hosts[i].engine, clock_now_ns());
	}
	asked.ask = (struct wire_ask){
		.question = WIRE_ASK_LIST, .kinds = CTXD_SHARED, .wait_ns = 60 * NS_PER_SECOND};
	pair_say(&pair->b, &asked, NULL, 0);
	while (silent_asked < SILENT_HOSTS) {
		turn_ns = clock_now_ns();
		ck_assert_uint_lt(turn_ns, end_ns);
		pair_turn(pair);
		for (unsigned i = 0; i < SILENT_HOSTS; i++) {
			hosts[i].engine->calls->dispatch(hosts[i].engine, clock_now_ns());
			/* The lease does not end. */
			hosts[i].engine->calls->lease_renew(hosts[i].engine, 7);
		}
	}
	for (unsigned i = 16; i < SILENT_HOSTS; i++)
		ck_assert_uint_ge(asked_times[i].before_ns - asked_times[i - 16].after_ns, 250 * PAIR_MS);
	for (unsigned i = 0; i < SILENT_HOSTS; i++)
		hosts[i].engine->calls->close(hosts[i].engine);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("bridge_limits");
	TCase *refusals = test_case(suite, "refusals");
	TCase *descriptors = test_case(suite, "descriptors");
	TCase *many = test_case(suite, "many");
	TCase *tables = test_case(suite, "tables");

	tcase_add_checked_fixture(refusals, set_up, take_down);
	tcase_add_loop_test(refusals, a_bridge_that_may_not_be_it_exits, 0, 3);
	tcase_add_test(refusals, a_bridge_waits_for_another_to_go);
	tcase_add_test(refusals, a_bridge_that_is_known_tries_again);
	tcase_add_test(refusals, a_name_that_is_taken_ends_the_bridge);
	tcase_add_test(refusals, what_is_refused_for_want_of_room_is_asked_for_again);
	tcase_add_test(refusals, a_mirror_that_nobody_waits_for_goes);
	tcase_add_test(refusals, a_fetch_that_is_taken_back_goes);
	tcase_add_test(refusals, made_up_hosts_of_a_user_keep_no_other_out);
	tcase_add_test(refusals, silent_hosts_are_asked_a_few_at_a_time);
	tcase_add_test(refusals, a_user_who_asks_without_end_keeps_no_other_out);
	tcase_add_checked_fixture(descriptors, set_up, take_down);
	tcase_add_test(descriptors, without_a_descriptor_a_fetch_is_unreachable);
	tcase_add_test(descriptors, without_descriptors_a_join_is_tried_again);
	tcase_add_checked_fixture(many, set_up, take_down);
	tcase_add_test(many, many_contexts_cross);
	tcase_add_test(many, many_contexts_are_registered_again);
	/* The allocator of a sanitizer takes more. */
	if (test_mode() == TEST_NORMAL)
		tcase_add_test(many, a_joined_context_costs_little);
	tcase_add_test(tables, slots_are_found_by_their_numbers);
	return suite;
}
