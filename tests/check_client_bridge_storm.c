/* SPDX-License-Identifier: MIT */
/*
 * Joins of contexts of other hosts while the service, the bridge and the contexts come and go in any order: a
 * context ends when that of the other host has ended, with its cause, and not before; and nothing is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "support/bridge.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define SOON (30 * NS_PER_SECOND)
#define NUMBERS 400
#define CONTEXTS 24
#define MIRRORS 512
#define STEPS 800

static unsigned below(unsigned limit)
{
	return (unsigned)rand() % limit;
}

/* ---- the bridge */

static struct service service;
static struct raw_client bridge = {.fd = -1};
/* Which contexts of the other host have ended; each has a number. */
static bool ended[NUMBERS];
static unsigned last_number;

static struct held {
	struct ctx_context *ctx;
	unsigned number;
} contexts[CONTEXTS];

static struct mirror {
	struct wire_message message; /* its MIRROR */
	int ends[2];
	struct ctxd_id id;
	uint64_t serial; /* of the MIRROR that is not answered yet; else 0 */
	bool used;
} mirrors[MIRRORS];

/* The FETCHes that are answered later. */
static struct wire_message put_off[MIRRORS];
static unsigned put_off_count;

static const struct wire_cause far_cause = {
	.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .time_ns = 1, .text = "the client left", .host = "far"};

static void mirror_close(struct mirror *mirror)
{
	if (!mirror->used)
		return;
	close(mirror->ends[0]);
	if (mirror->ends[1] >= 0)
		close(mirror->ends[1]);
	mirror->used = false;
}

static void mirror_end(struct mirror *mirror)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	size_t size = wire_pack_last_words(&far_cause, bytes);

	if (mirror->ends[1] < 0)
		return;
	ck_assert_int_eq(write(mirror->ends[1], bytes, size), (ssize_t)size);
	close(mirror->ends[1]);
	mirror->ends[1] = -1;
	if (mirror->id.number && bridge.fd >= 0)
		fleet_say(&bridge,
			  (struct wire_message){.type = WIRE_ENDED, .ended = {mirror->id, far_cause}});
}

static void answer(const struct wire_message *fetch)
{
	struct wire_message message = fleet_mirror_of(fetch);
	unsigned number = (unsigned)fetch->fetch.global.id.number;

	if (ended[number]) {
		message.mirror.error = -ECANCELED;
		message.mirror.cause = far_cause;
		fleet_say(&bridge, message);
		return;
	}
	for (unsigned i = 0; i < MIRRORS; i++)
		if (!mirrors[i].used) {
			mirrors[i] = (struct mirror){.message = message, .used = true};
			ck_assert_ok(pipe2(mirrors[i].ends, O_CLOEXEC));
			fleet_say_with(&bridge, message, mirrors[i].ends[0]);
			mirrors[i].serial = bridge.serial;
			return;
		}
	abort();
}

static void bridge_take(void)
{
	switch (bridge.got.type) {
	case WIRE_FETCH:
		if (below(3))
			answer(&bridge.got);
		else
			put_off[put_off_count++] = bridge.got;
		break;
	case WIRE_RESULT:
		for (unsigned i = 0; i < MIRRORS; i++)
			if (mirrors[i].used && mirrors[i].serial == bridge.got.serial) {
				mirrors[i].serial = 0;
				if (bridge.got.result.error) {
					mirror_close(&mirrors[i]);
					continue;
				}
				mirrors[i].id = bridge.got.result.id;
				if (ended[mirrors[i].message.mirror.global.id.number])
					mirror_end(&mirrors[i]);
			}
		break;
	case WIRE_UNWANTED:
		/* Without an id it is a FETCH that is unwanted. Mirrors that are not answered yet have none,
		 * too. */
		for (unsigned i = 0; bridge.got.id.number && i < MIRRORS; i++)
			if (mirrors[i].used && wire_id_equal(mirrors[i].id, bridge.got.id))
				mirror_close(&mirrors[i]);
		break;
	default:
		break;
	}
}

static void bridge_pump(void)
{
	struct pollfd in = {.fd = bridge.fd, .events = POLLIN};

	while (bridge.fd >= 0 && poll(&in, 1, 0) == 1) {
		if (!raw_receive_fds(bridge.fd, &bridge.got, bridge.fds)) {
			close(bridge.fd);
			bridge.fd = -1;
			return;
		}
		bridge_take();
	}
}

static void bridge_stop(bool dies)
{
	if (bridge.fd >= 0)
		close(bridge.fd);
	bridge.fd = -1;
	put_off_count = 0;
	for (unsigned i = 0; i < MIRRORS; i++) {
		/* One that was not registered yet is not held on to. */
		if (dies || mirrors[i].serial)
			mirror_close(&mirrors[i]);
		mirrors[i].id = (struct ctxd_id){0};
	}
}

static void bridge_start(void)
{
	if (bridge.fd >= 0)
		return;
	bridge = fleet_bridge(&service);
	for (unsigned i = 0; i < MIRRORS; i++) {
		if (!mirrors[i].used)
			continue;
		if (mirrors[i].ends[1] < 0) {
			mirror_close(&mirrors[i]);
			continue;
		}
		mirrors[i].message.mirror.fetch = 0;
		fleet_say_with(&bridge, mirrors[i].message, mirrors[i].ends[0]);
		mirrors[i].serial = bridge.serial;
	}
}

static void end_number(unsigned number)
{
	if (ended[number])
		return;
	ended[number] = true;
	for (unsigned i = 0; i < MIRRORS; i++)
		if (mirrors[i].used && !mirrors[i].serial &&
		    mirrors[i].message.mirror.global.id.number == number)
			mirror_end(&mirrors[i]);
}

static void check_contexts(void)
{
	for (unsigned i = 0; i < CONTEXTS; i++)
		if (contexts[i].ctx && ctx_err(contexts[i].ctx)) {
			struct ctx_cause cause = cause_of(contexts[i].ctx);
			ck_assert_msg(ended[contexts[i].number], "number %u: %d %s", contexts[i].number,
				      cause.kind, cause.text);
			ck_assert_str_eq(cause.text, "the client left");
		}
}

static void answer_put_off(void)
{
	while (put_off_count && bridge.fd >= 0)
		answer(&put_off[--put_off_count]);
}

/* ---- the service and the contexts */

static void restart_service(void)
{
	service_kill(&service);
	bridge_stop(below(2));
	poll(NULL, 0, (int)below(30));
	service_restart(&service);
}

/* Joins one of the latest contexts, or one that was not joined before. */
static void join_some(struct held *held, struct ctxd_client *client)
{
	char id[CTXD_GLOBAL_ID_TEXT];

	if (!last_number || (below(2) && last_number + 1 < NUMBERS))
		last_number++;
	held->number = last_number - below(last_number < 4 ? last_number : 4);
	struct wire_global far = fleet_far(held->number);
	wire_global_format(&far, id);
	ck_assert_ok(ctxd_join_remote(client, id, NULL, below(2) ? CTXD_JOIN_SURVIVE : 0, &held->ctx));
}

static void finish(struct held *held)
{
	if (held->ctx)
		ctx_finish(held->ctx);
	held->ctx = NULL;
}

static void step(struct ctxd_client *clients[2])
{
	struct held *held = &contexts[below(CONTEXTS)];
	unsigned choice = below(72);

	if (choice < 3) {
		bridge_pump();
		bridge_stop(true);
	} else if (choice < 6) {
		bridge_start();
	} else if (choice < 7) {
		restart_service();
	} else if (choice < 10) {
		end_number(last_number ? 1 + below(last_number) : 0);
	} else if (choice < 16) {
		answer_put_off();
	} else if (choice < 19) {
		poll(NULL, 0, (int)below(20));
	} else if (choice < 28) {
		finish(held);
	} else if (choice < 46) {
		if (!held->ctx)
			join_some(held, clients[below(2)]);
	} else {
		bridge_pump();
		check_contexts();
	}
}

static unsigned count_live(void)
{
	unsigned live = 0;

	for (unsigned i = 0; i < CONTEXTS; i++)
		live += contexts[i].ctx && !ctx_err(contexts[i].ctx);
	return live;
}

START_TEST(each_end_arrives_in_spite_of_all_that_comes_and_goes)
{
	srand(test_seed() + (unsigned)_i);
	service_start(&service, "fleet_engine = redis://nowhere\nfleet_host = here\nfleet_grace = forever\n");
	unsigned fds = test_count_fds();
	struct ctxd_client *clients[2] = {client_of(&service), client_of(&service)};

	for (unsigned i = 0; i < STEPS; i++)
		step(clients);
	for (unsigned i = 1; i <= last_number; i++)
		end_number(i);
	for (uint64_t end_ns = clock_now_ns() + SOON; count_live() && clock_now_ns() < end_ns;) {
		bridge_start();
		bridge_pump();
		answer_put_off();
		poll(NULL, 0, 1);
	}
	ck_assert_uint_eq(count_live(), 0);
	check_contexts();
	for (unsigned i = 0; i < CONTEXTS; i++)
		finish(&contexts[i]);
	ck_assert(await_listed(clients[0], CTXD_JOINED, 0));
	ctxd_close(clients[0]);
	ctxd_close(clients[1]);
	bridge_stop(true);
	ck_assert_uint_eq(test_count_fds(), fds);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client bridge storm");
	TCase *storms = test_case(suite, "storm");

	tcase_set_timeout(storms, 180);
	tcase_add_loop_test(storms, each_end_arrives_in_spite_of_all_that_comes_and_goes, 0, 2);
	return suite;
}
