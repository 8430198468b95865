/* SPDX-License-Identifier: MIT */
/* A ctxd that reads nothing, refuses what it took before, or dies in the middle of it. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/bridge_pair.h"
#include "support/calm_clock.h"

TEST_ALONE("defines clock_gettime");

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

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

static void start_ctxd_again(struct pair_host *host)
{
	pair_ctxd_stop(host);
	pair_ctxd_start(host);
	pair_ctxd_greet(host, 0);
}

/* Sends orders, whose answers are not read, until the bridge reads no more of them. */
static void fill_queue(struct pair_host *host)
{
	struct wire_message order = {.type = WIRE_ORDER};
	uint8_t bytes[WIRE_SIZE_MAX];
	unsigned refused = 0;

	order.order.id = (struct ctxd_id){host->epoch, 4711};
	while (refused < 20) {
		order.serial++;
		if (send(host->ctxd, bytes, wire_pack(&order, bytes), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
			refused = 0;
			continue;
		}
		ck_assert_int_eq(errno, EAGAIN);
		refused++;
		pair_turn(pair);
	}
}

/* ctxd hangs until the bridge reads no more, and is then killed: the bridge connects to the next one. */
START_TEST(a_ctxd_that_hung_can_be_killed)
{
	fill_queue(&pair->b);
	start_ctxd_again(&pair->b);
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	pair_end(&context, "at last");
	ck_assert_str_eq(pair_words(pair, &context).text, "at last");
}
END_TEST

/* Asks from the other host for what b has, and gets no answer in time. */
static void ask_for_list(void)
{
	static const struct wire_message asked = {.type = WIRE_ASKED,
						  .serial = 7,
						  .ask = {.question = WIRE_ASK_LIST,
							  .kinds = CTXD_SHARED,
							  .wait_ns = 10 * PAIR_MS,
							  .host = "b"}};

	pair_say(&pair->a, &asked, NULL, 0);
	ck_assert_uint_eq(pair_hear(&pair->a, WIRE_TELL, NULL).serial, asked.serial);
}

/* Reads all that the bridge has for ctxd. The number of LISTs. */
static unsigned drain_queue(struct pair_host *host)
{
	struct wire_message message;
	uint8_t bytes[WIRE_SIZE_MAX];
	unsigned lists = 0;

	for (unsigned quiet = 0; quiet < 20;) {
		ssize_t size = recv(host->ctxd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (size < 0) {
			quiet++;
			pair_turn(pair);
			continue;
		}
		quiet = 0;
		ck_assert_ok(wire_unpack(bytes, (size_t)size, 0, false, &message));
		lists += message.type == WIRE_LIST;
	}
	return lists;
}

/* While ctxd hangs, other hosts go on asking: that is not queued for it. */
START_TEST(what_hosts_ask_is_not_queued_for_a_ctxd_that_hangs)
{
	fill_queue(&pair->b);
	for (unsigned i = 0; i < 10; i++)
		ask_for_list();
	ck_assert_uint_eq(drain_queue(&pair->b), 0);
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
}
END_TEST

/* As many requests as may wait for their answers at once. */
#define MANY 128u

/* The programs leave mirrors, which ctxd refused before, while it is asked for them again. */
START_TEST(mirrors_can_be_left_while_they_are_registered)
{
	static struct pair_context many[MANY];
	uint64_t serials[MANY];

	for (unsigned i = 0; i < MANY; i++)
		pair_join(pair, &many[i], i + 1, CTX_FOREVER, WIRE_SURVIVE);
	start_ctxd_again(&pair->b);
	for (unsigned i = 0; i < MANY; i++)
		pair_result(&pair->b, pair_hear(&pair->b, WIRE_MIRROR, NULL).serial, -ENOMEM, 0);
	pair_run(pair, 10 * PAIR_MS);
	start_ctxd_again(&pair->b);
	for (unsigned i = 0; i < MANY; i++)
		serials[i] = pair_hear(&pair->b, WIRE_MIRROR, NULL).serial;
	for (unsigned i = 0; i < MANY; i++) {
		close(many[i].mirror);
		many[i].mirror = -1;
	}
	pair_run(pair, 10 * PAIR_MS);
	for (unsigned i = 0; i < MANY; i++)
		pair_result(&pair->b, serials[i], -ENOMEM, 0);
	pair_run(pair, 10 * PAIR_MS);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
	for (unsigned i = 0; i < MANY; i++) {
		pair_hear(&pair->a, WIRE_LEAVE, NULL);
		pair_close(&many[i]);
	}
	pair_join(pair, &context, MANY + 1, CTX_FOREVER, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("bridge_stuck");
	TCase *stuck = test_case(suite, "stuck");

	tcase_add_checked_fixture(stuck, set_up, take_down);
	tcase_add_test(stuck, a_ctxd_that_hung_can_be_killed);
	tcase_add_test(stuck, what_hosts_ask_is_not_queued_for_a_ctxd_that_hangs);
	tcase_add_test(stuck, mirrors_can_be_left_while_they_are_registered);
	return suite;
}
