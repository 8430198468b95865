/* SPDX-License-Identifier: MIT */
/* Joins of contexts of other hosts by the library and the real ctxd, beside a bridge that the test plays. */
#include <stdio.h>
#include <strings.h>

#include "support/bridge.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)
#define FAR_ID "far/4d-1-3e9" /* fleet_far(1) */

static struct service started(int loop)
{
	struct service service = {.loop = SERVICE_LOOP(loop)};

	service_start(&service, FLEET_CONFIGURATION);
	return service;
}

static void end_far(int pipe_end)
{
	struct wire_cause cause = {.error = -ECANCELED,
				   .kind = CTX_CAUSE_CALL,
				   .pid = 77,
				   .time_ns = 1,
				   .text = "the client left",
				   .host = "far"};
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	size_t size = wire_pack_last_words(&cause, bytes);

	ck_assert_int_eq(write(pipe_end, bytes, size), (ssize_t)size);
	close(pipe_end);
}

/* Answers the FETCH that comes next: it is live. */
static int fetched(struct raw_client *bridge, struct ctxd_id *ret_id)
{
	struct wire_message fetch = *fleet_expect(bridge, WIRE_FETCH);

	return fleet_answer_live(bridge, &fetch, ret_id);
}

static void end_by_words(struct ctx_context *ctx, int pipe_end)
{
	ck_assert_live(ctx);
	end_far(pipe_end);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_str_eq(cause_of(ctx).text, "the client left");
	ck_assert_str_eq(cause_of(ctx).host, "far");
	ctx_finish(ctx);
}

/* ---- of another host */

START_TEST(a_join_waits_for_a_bridge_and_lives_meanwhile)
{
	struct service service = started(_i);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx;
	struct ctxd_id id;

	ck_assert_ok(ctxd_join_remote(client, FAR_ID, NULL, 0, &ctx));
	ck_assert_live(ctx);
	struct raw_client bridge = fleet_bridge(&service);
	int pipe_end = fetched(&bridge, &id);
	ck_assert(await_listed(client, CTXD_JOINED, 1));
	struct listing joins = list_of(client, CTXD_JOINED);
	ck_assert_str_eq(joins.entries[0].host, "far");
	ck_assert_uint_eq(joins.entries[0].origin.epoch, 77);
	end_by_words(ctx, pipe_end);
	fleet_expect(&bridge, WIRE_UNWANTED);
	ctxd_close(client);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

START_TEST(a_bridge_that_comes_back_is_asked_again)
{
	struct service service = started(_i);
	struct raw_client bridge = fleet_bridge(&service);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx;
	struct ctxd_id id;

	ck_assert_ok(ctxd_join_remote(client, FAR_ID, NULL, 0, &ctx));
	int pipe_end = fetched(&bridge, &id);
	ck_assert(await_listed(client, CTXD_JOINED, 1));
	for (int i = 0; i < 3; i++) {
		close(pipe_end);
		close(bridge.fd);
		bridge = fleet_client(&service);
		do { /* it may still have the other one */
			fleet_say(&bridge,
				  (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}});
			fleet_expect(&bridge, WIRE_RESULT);
		} while (bridge.got.result.error == -EBUSY);
		ck_assert_int_eq(bridge.got.result.error, 0);
		pipe_end = fetched(&bridge, &id);
		ck_assert_live(ctx);
	}
	end_by_words(ctx, pipe_end);
	ctxd_close(client);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* The bridge has its pipe, and claims what the client has registered again by it. */
START_TEST(a_service_that_comes_back_has_the_join_again)
{
	struct service service = started(_i);
	struct raw_client bridge = fleet_bridge(&service);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx;
	int ends[2];

	ck_assert_ok(ctxd_join_remote(client, FAR_ID, NULL, 0, &ctx));
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH), mirror = fleet_mirror_of(&fetch);
	ck_assert_ok(pipe2(ends, O_CLOEXEC));
	fleet_say_with(&bridge, mirror, ends[0]);
	fleet_expect(&bridge, WIRE_RESULT);
	ck_assert(await_listed(client, CTXD_JOINED, 1));
	service_kill(&service);
	close(bridge.fd);
	service_restart(&service);
	bridge = fleet_bridge(&service);
	mirror.mirror.fetch = 0;
	fleet_say_with(&bridge, mirror, ends[0]);
	fleet_expect(&bridge, WIRE_RESULT);
	ck_assert_int_eq(bridge.got.result.error, 0);
	close(ends[0]);
	struct ctxd_client *other = client_of(&service);
	ck_assert(await_listed(other, CTXD_JOINED, 1));
	end_by_words(ctx, ends[1]);
	ctxd_close(client);
	ctxd_close(other);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

START_TEST(what_the_owner_says_arrives)
{
	static const struct {
		int error, kind;
	} words[] = {{-ENOENT, CTX_CAUSE_HOST}, {-ECANCELED, CTX_CAUSE_CALL}};
	struct service service = started(_i % 2);
	struct raw_client bridge = fleet_bridge(&service);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx;
	const int turn = _i / 2;

	ck_assert_ok(ctxd_join_remote(client, FAR_ID, NULL, 0, &ctx));
	struct wire_message fetch = *fleet_expect(&bridge, WIRE_FETCH), mirror = fleet_mirror_of(&fetch);
	mirror.mirror.error = words[turn].error;
	mirror.mirror.deadline_ns = 0;
	mirror.mirror.label[0] = '\0';
	memset(mirror.mirror.label, 0, sizeof(mirror.mirror.label));
	if (words[turn].error == -ECANCELED)
		mirror.mirror.cause =
			(struct wire_cause){.error = -EPIPE, .kind = CTX_CAUSE_CALL, .host = "far"};
	fleet_say(&bridge, mirror);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, words[turn].kind);
	ck_assert_str_eq(cause_of(ctx).host, "far");
	ctx_finish(ctx);
	ctxd_close(client);
	close(bridge.fd);
	service_end(&service);
}
END_TEST

/* ---- of this host */

START_TEST(a_context_of_this_host_is_joined_by_its_global_id)
{
	struct service service = started(_i);
	struct ctxd_client *owner = client_of(&service), *joiner = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background()), *at_once, *waited, *wrong;
	char id[CTXD_GLOBAL_ID_TEXT], again[CTXD_GLOBAL_ID_TEXT];

	ck_assert_ok(ctxd_share(owner, ctx, NULL, CTXD_FLEET, NULL));
	ck_assert_ok(ctxd_global_id_of(owner, ctx, id));
	ck_assert_ok(ctxd_join_remote(joiner, id, NULL, 0, &at_once));
	ck_assert_ok(ctxd_join_remote(joiner, id, "mine", CTXD_JOIN_WAIT, &waited));
	ck_assert_ok(ctxd_global_id_of(joiner, at_once, again));
	ck_assert_str_eq(again, id);
	char *last = id + strlen(id) - 1;
	*last = *last == '1' ? '2' : '1';
	ck_assert_int_eq(ctxd_join_remote(joiner, id, NULL, CTXD_JOIN_WAIT, &wrong), -ENOENT);
	ck_assert_ok(ctxd_join_remote(joiner, id, NULL, 0, &wrong));
	ck_assert_ok(ctx_wait(wrong, SOON));
	ck_assert_int_eq(cause_of(wrong).kind, CTX_CAUSE_HOST);
	ctx_cancel_cause(ctx, 0, "over");
	ck_assert_ok(ctx_wait(at_once, SOON));
	ck_assert_ok(ctx_wait(waited, SOON));
	ck_assert_str_eq(cause_of(at_once).text, "over");
	ck_assert_str_eq(cause_of(at_once).host, "");
	ctx_finish(wrong);
	ctx_finish(at_once);
	ctx_finish(waited);
	ctx_finish(ctx);
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

static bool has_other_id(void *data)
{
	void **parts = data;
	char text[CTXD_GLOBAL_ID_TEXT];

	return !ctxd_global_id_of(parts[0], parts[1], text) && strcmp(text, parts[2]) != 0;
}

START_TEST(a_restart_gives_a_share_another_global_id)
{
	struct service service = started(_i);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background()), *joined;
	char before[CTXD_GLOBAL_ID_TEXT], after[CTXD_GLOBAL_ID_TEXT];

	ck_assert_ok(ctxd_share(client, ctx, NULL, CTXD_FLEET, NULL));
	ck_assert_ok(ctxd_global_id_of(client, ctx, before));
	service_kill(&service);
	service_restart(&service);
	ck_assert(test_until(has_other_id, (void *[]){client, ctx, before}));
	ck_assert_ok(ctxd_global_id_of(client, ctx, after));
	struct ctxd_client *other = client_of(&service);
	ck_assert_int_eq(ctxd_join_remote(other, before, NULL, CTXD_JOIN_WAIT, &joined), -ESTALE);
	ck_assert_ok(ctxd_join_remote(other, after, NULL, CTXD_JOIN_WAIT, &joined));
	ck_assert_live(joined);
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(other);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- with a request */

struct header {
	char name[32], value[700];
};

static int add_header(const char *name, const char *value, void *data)
{
	struct header *headers = data;

	while (headers->name[0])
		headers++;
	snprintf(headers->name, sizeof(headers->name), "%s", name);
	snprintf(headers->value, sizeof(headers->value), "%s", value);
	return 0;
}

static const char *get_header(const char *name, void *data)
{
	for (struct header *headers = data; headers->name[0]; headers++)
		if (strcasecmp(headers->name, name) == 0)
			return headers->value;
	return NULL;
}

/* The sender's context is another than the receiver's request is made below: only the id connects them. */
START_TEST(the_end_of_a_request_reaches_its_receiver)
{
	struct service service = started(_i);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *sent = child_of(ctx_background()), *below = child_of(sent), *received;
	struct header headers[5] = {0};

	ck_assert_ok(ctxd_share(client, sent, NULL, CTXD_FLEET, NULL));
	ck_assert_ok(ctx_inject(below, CTX_CARRIER_HEADERS, NULL, 0, add_header, headers));
	ck_assert_ok(ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_header, headers, NULL,
				 &received));
	ck_assert_live(received);
	ck_assert(await_listed(client, CTXD_JOINED, 1));
	ctx_cancel_cause(sent, 0, "the client left");
	ck_assert_ok(ctx_wait(received, SOON));
	ck_assert_str_eq(cause_of(received).text, "the client left");
	ctx_finish(received);
	/* What had ended before is born live, and ends as soon as that is known. */
	ck_assert_ok(ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_header, headers, NULL,
				 &received));
	ck_assert_ok(ctx_wait(received, SOON));
	ctx_finish(received);
	ctx_finish(below);
	ctx_finish(sent);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client_bridge");
	TCase *far = test_case(suite, "far"), *here = test_case(suite, "here"),
	      *requests = test_case(suite, "requests");

	ON_EACH_LOOP(far, a_join_waits_for_a_bridge_and_lives_meanwhile);
	ON_EACH_LOOP(far, a_bridge_that_comes_back_is_asked_again);
	ON_EACH_LOOP(far, a_service_that_comes_back_has_the_join_again);
	tcase_add_loop_test(far, what_the_owner_says_arrives, test_no_uring() ? 1 : 0, 4);
	ON_EACH_LOOP(here, a_context_of_this_host_is_joined_by_its_global_id);
	ON_EACH_LOOP(here, a_restart_gives_a_share_another_global_id);
	ON_EACH_LOOP(requests, the_end_of_a_request_reaches_its_receiver);
	return suite;
}
