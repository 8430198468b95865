/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation or system call of a client fails while it joins by a global id, for each k: the join is
 * made all the same or refused with an error of its contract, it hears of the end, and nothing leaks. The
 * owner is on this host, so that the real ctxd answers.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "client.h"
#include "support/bridge.h"
#include "support/faults.h"

TEST_MODES(TEST_FAULTS);

#define SOON (30 * NS_PER_SECOND)
#define FAULTS (FAULTS_RESOURCES & ~(FAULT(SYS_CALL_MMAP) | FAULT(SYS_CALL_MEMFD_CREATE)))

static void documented(int result, const char *what)
{
	static const int errors[] = {0,		-ENOMEM,       -EMFILE,	  -EAGAIN,
				     -ENOTCONN, -EHOSTUNREACH, -EALREADY, -ETIMEDOUT};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (result == errors[i])
			return;
	ck_abort_msg("%s: %d is not what its contract says", what, result);
}

static struct ctxd_client *own_client(const struct service *service)
{
	struct ctxd_options options = {
		.socket = service->socket, .flags = CTXD_OWN_DISPATCH, .timeout_ns = SOON};
	struct ctxd_client *client = NULL;

	ck_assert_ok(ctxd_connect(&options, &client));
	client->options.timeout_ns = NS_PER_SECOND / 5;
	return client;
}

/* Dispatches until the join is known, or some turns brought nothing. */
static void dispatch_some(struct ctxd_client *client, const struct ctx_context *joined)
{
	struct ctxd_id id;

	for (int idle = 0; idle < 2 && (!joined || ctxd_id_of(client, joined, &id)); idle++)
		while (ctxd_dispatch(client, NS_PER_SECOND / 50) > 0)
			;
}

static void await_end(struct ctxd_client *client, const struct ctx_context *joined)
{
	for (uint64_t end_ns = clock_now_ns() + SOON; !ctx_err(joined) && clock_now_ns() < end_ns;)
		ctxd_dispatch(client, NS_PER_SECOND / 10);
	ck_assert_int_ne(ctx_err(joined), 0);
}

/* Joins while the k-th call fails. Returns whether one did. */
static bool join_with_fault(const struct service *service, struct ctxd_client *owner, unsigned k,
			    unsigned flags)
{
	struct ctx_context *shared = child_of(ctx_background()), *joined = NULL;
	struct ctxd_client *client = own_client(service);
	char id[CTXD_GLOBAL_ID_TEXT];

	ck_assert_ok(ctxd_share(owner, shared, NULL, CTXD_FLEET, NULL));
	ck_assert_ok(ctxd_global_id_of(owner, shared, id));
	faults_arm(FAULTS, k, false, 0);
	int result = ctxd_join_remote(client, id, NULL, flags, &joined);
	dispatch_some(client, joined);
	bool failed = faults_disarm();
	documented(result, "ctxd_join_remote");
	if (result) {
		ck_assert(failed);
		ck_assert_ptr_null(joined);
	} else {
		ck_assert_live(joined);
		dispatch_some(client, joined);
		ctx_cancel(shared);
		await_end(client, joined);
		ctx_finish(joined);
	}
	ctx_finish(shared);
	ctxd_close(client);
	return failed;
}

START_TEST(a_join_by_a_global_id_survives_each_failure)
{
	struct service service = {.loop = "poll"};
	unsigned flags = _i ? CTXD_JOIN_WAIT : 0, k = 1;

	service_start(&service, FLEET_CONFIGURATION);
	struct ctxd_client *owner = client_of(&service);
	join_with_fault(&service, owner, 100000, flags); /* what is made once is made */
	unsigned before = test_count_fds();
	while (join_with_fault(&service, owner, k, flags)) {
		ck_assert_uint_lt(++k, 1000);
		ck_assert_msg(test_until(test_has_few_fds, &before),
			      "call %u failed, and %u descriptors became %u", k, before, test_count_fds());
	}
	ck_assert_uint_gt(k, 10);
	ctxd_close(owner);
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

/* A request is made without the join where that failed, and fails only for want of memory itself. */
START_TEST(a_request_survives_each_failure_of_its_join)
{
	struct service service = {.loop = "poll"};
	struct ctx_context *shared = child_of(ctx_background());
	struct header headers[5] = {0};
	unsigned k = 1, joins = 0;

	service_start(&service, FLEET_CONFIGURATION);
	struct ctxd_client *client = own_client(&service);
	ck_assert_ok(ctxd_share(client, shared, NULL, CTXD_FLEET, NULL));
	ck_assert_ok(ctx_inject(shared, CTX_CARRIER_HEADERS, NULL, 0, add_header, headers));
	for (;; k++) {
		struct ctx_context *ctx = NULL;
		faults_arm(FAULTS, k, false, 0);
		int result = ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_header, headers,
					 NULL, &ctx);
		bool failed = faults_disarm();
		ck_assert(result == 0 || (failed && result == -ENOMEM));
		if (!result) {
			ck_assert_live(ctx);
			lock_acquire(&client->lock);
			joins += !list_empty(&client->joins);
			lock_release(&client->lock);
			ctx_finish(ctx);
		}
		while (ctxd_dispatch(client, 0) > 0)
			;
		if (!failed)
			break;
		ck_assert_uint_lt(k, 1000);
	}
	ck_assert_uint_gt(joins, 0);
	ck_assert_uint_lt(joins, k);
	ctx_finish(shared);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* What another thread does with a client that has just heard of its fleet. */
struct taker {
	_Atomic bool taken, connected, over, early;
};

static void *take_client(void *data)
{
	struct taker *taker = data;
	struct ctxd_client *client = NULL;

	while (!client && !taker->over)
		client = client_take_fleet();
	if (!client)
		return NULL;
	taker->taken = true;
	for (int i = 0; i < 20 && !taker->connected; i++)
		poll(NULL, 0, 1);
	taker->early = taker->connected;
	client_give_back(client);
	return NULL;
}

/* Its own thread cannot be made, after the service has told the terms. */
START_TEST(a_client_that_fails_to_begin_stays_for_who_has_taken_it)
{
	struct service service = {.loop = "poll"};
	struct taker taker = {0};
	pthread_t thread;

	service_start(&service, FLEET_CONFIGURATION);
	struct ctxd_options options = {.socket = service.socket};
	ck_assert_ok(pthread_create(&thread, NULL, take_client, &taker));
	for (uint64_t end_ns = clock_now_ns() + SOON; !taker.taken && clock_now_ns() < end_ns;) {
		struct ctxd_client *client = NULL;
		taker.connected = false;
		faults_arm(FAULT(SYS_CALL_THREAD_CREATE), 1, false, 0);
		ck_assert_int_eq(ctxd_connect(&options, &client), -EAGAIN);
		taker.connected = true;
		ck_assert(faults_disarm());
	}
	taker.over = true;
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert(taker.taken);
	ck_assert(!taker.early);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client remote faults");
	TCase *faults = test_case(suite, "faults");

	tcase_set_timeout(faults, 240);
	tcase_add_loop_test(faults, a_join_by_a_global_id_survives_each_failure, 0, 2);
	tcase_add_test(faults, a_request_survives_each_failure_of_its_join);
	tcase_add_test(faults, a_client_that_fails_to_begin_stays_for_who_has_taken_it);
	return suite;
}
