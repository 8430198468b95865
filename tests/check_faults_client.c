/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation or system call of a client fails, for each k: every call gives a result that its
 * contract names, nothing leaks, and afterwards the same client, or a new one, can do everything. The client
 * dispatches by itself, so that calls come in one order.
 */
#include <poll.h>
#include <string.h>

#include "client.h"
#include "support/faults.h"
#include "support/service.h"

TEST_MODES(TEST_FAULTS);

#define SOON (30 * NS_PER_SECOND)
/* What waits is asked again; a socket that fails is a service that is away. */
#define FAULTS (FAULTS_RESOURCES & ~(FAULT(SYS_CALL_MMAP) | FAULT(SYS_CALL_MEMFD_CREATE)))

static void documented(int result, const char *what)
{
	static const int errors[] = {0,	      -ENOMEM,	 -EMFILE,    -ENOTCONN, -ECONNREFUSED,
				     -EAGAIN, -EALREADY, -ETIMEDOUT, -ENOENT,	-ESTALE};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (result == errors[i])
			return;
	ck_abort_msg("%s: %d is not what its contract says", what, result);
}

/* One way through everything; what fails is left out. */
static void go_through(const struct service *service, struct ctxd_client *other)
{
	struct ctxd_options options = {.socket = service->socket,
				       .flags = CTXD_OWN_DISPATCH | CTXD_PUBLISH,
				       .timeout_ns = NS_PER_SECOND / 5};
	struct ctxd_client *client = NULL;
	struct ctx_context *ctx = NULL, *joined = NULL;
	struct ctxd_id id, far;
	int result = ctxd_connect(&options, &client);

	documented(result, "ctxd_connect");
	if (result)
		return;
	result = ctx_with_cancel(ctx_background(), "faulty", &ctx);
	documented(result, "ctx_with_cancel");
	if (!result) {
		documented(ctxd_share(client, ctx, "faulty", 0, &id), "ctxd_share");
		documented(ctxd_unshare(client, ctx), "ctxd_unshare");
		documented(ctxd_share(client, ctx, "faulty", 0, &id), "ctxd_share again");
	}
	struct listing listing = list_of(other, CTXD_SHARED);
	for (unsigned i = 0; i < listing.count; i++)
		if (strcmp(listing.entries[i].label, "lasting") == 0)
			far = listing.entries[i].id;
	result = ctxd_join(client, far, &joined);
	documented(result, "ctxd_join");
	struct ctxd_target target = {.id = far};
	documented(ctxd_cancel(client, &target, CTXD_DRY_RUN, 0, NULL, 0, NULL), "ctxd_cancel");
	int fd;
	if (!ctxd_table(client, CTXD_PROCESS, getpid(), NULL, &fd))
		close(fd);
	for (int i = 0; i < 3; i++)
		ctxd_dispatch(client, 0);
	ctx_finish(ctx);
	ctx_finish(joined);
	for (int i = 0; i < 3; i++)
		ctxd_dispatch(client, 0);
	ctxd_close(client);
}

START_TEST(each_call_that_fails_is_told_and_leaves_nothing)
{
	struct service service = {.loop = "poll"};
	service_start(&service, NULL);
	struct ctxd_client *other = client_of(&service);
	struct ctx_context *lasting;
	unsigned k = 1, before;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "lasting", &lasting));
	ck_assert_ok(ctxd_share(other, lasting, NULL, 0, NULL));
	go_through(&service, other); /* what is made once is made */
	ck_assert(await_listed(other, CTXD_PROCESS, 1));
	before = test_count_fds();
	for (;; k++) {
		faults_arm(FAULTS, k, false, 0);
		go_through(&service, other);
		if (!faults_disarm())
			break;
		ck_assert_uint_lt(k, 2000);
		/* What a failed call leaves of descriptors that were received, a thread closes. */
		ck_assert_msg(test_until(test_has_few_fds, &before),
			      "call %u failed, and %u descriptors became %u", k, before, test_count_fds());
		ck_assert_live(lasting);
	}
	ck_assert_uint_gt(k, 40);
	go_through(&service, other);
	ctx_finish(lasting);
	ctxd_close(other);
	service_end(&service);
}
END_TEST

/* The kernel does not say when it has room for descriptors in flight again: it is asked now and then. */
START_TEST(who_cannot_send_tries_again_but_not_without_a_pause)
{
	struct service service = {.loop = "poll"};
	service_start(&service, NULL);
	struct ctxd_options options = {
		.socket = service.socket, .flags = CTXD_OWN_DISPATCH, .timeout_ns = SOON};
	struct ctxd_client *client;
	struct ctx_context *ctx, *other;

	ck_assert_ok(ctxd_connect(&options, &client));
	ck_assert_ok(ctx_with_cancel(ctx_background(), NULL, &ctx));
	ck_assert_ok(ctx_with_cancel(ctx_background(), NULL, &other));
	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, NULL));
	faults_arm(FAULT(SYS_CALL_SENDMSG), 1, true, ETOOMANYREFS);
	client->options.timeout_ns = NS_PER_SECOND / 5;
	ck_assert_int_eq(ctxd_share(client, other, NULL, 0, NULL), -ETIMEDOUT);
	client->options.timeout_ns = SOON;
	ck_assert_uint_le(faults_count(SYS_CALL_SENDMSG), 30);
	ctx_cancel(ctx);
	uint64_t end_ns = clock_now_ns() + NS_PER_SECOND / 5;
	for (uint64_t now_ns; (now_ns = clock_now_ns()) < end_ns;)
		ck_assert_int_ge(ctxd_dispatch(client, end_ns - now_ns), 0);
	ck_assert_uint_le(faults_count(SYS_CALL_SENDMSG), 90);
	ck_assert(faults_disarm());
	while (ctxd_dispatch(client, NS_PER_SECOND / 20) > 0)
		;
	ck_assert_ok(ctxd_share(client, other, NULL, 0, NULL));
	ctx_finish(ctx);
	ctx_finish(other);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* A service that dies between connect(2) and the greeting is one that is not there. */
START_TEST(who_hangs_up_before_the_greeting_is_no_service)
{
	struct service service = {.loop = "poll"};
	service_start(&service, NULL);
	struct ctxd_options options = {.socket = service.socket, .flags = CTXD_OWN_DISPATCH};
	struct ctxd_client *client;

	faults_arm(FAULT(SYS_CALL_SENDMSG), 1, false, EPIPE);
	ck_assert_int_eq(ctxd_connect(&options, &client), -ECONNREFUSED);
	ck_assert_uint_eq(faults_disarm(), 1);
	ck_assert_ok(ctxd_connect(&options, &client));
	ctxd_close(client);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client faults");
	TCase *faults = test_case(suite, "faults");

	tcase_set_timeout(faults, 240);
	tcase_add_test(faults, who_hangs_up_before_the_greeting_is_no_service);
	tcase_add_test(faults, who_cannot_send_tries_again_but_not_without_a_pause);
	tcase_add_test(faults, each_call_that_fails_is_told_and_leaves_nothing);
	return suite;
}
