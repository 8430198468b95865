/* SPDX-License-Identifier: MIT */
/* Blocking calls under a context of another process. */
#include "support/blockers.h"
#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

/* In the other process: a call that waits under what it joined. */
static int read_under_joined(int channel, void *data)
{
	static struct caller caller;
	struct ctxd_client *client = client_of(data);
	struct ctx_context *joined;

	if (ctxd_join_name(client, (uid_t)-1, "job", &joined) || !scene_prepare(&caller.scene, &blockers[0]))
		return 1;
	caller_start(&caller, &blockers[0], joined);
	caller_await_sleep(&caller);
	tell(channel, 'r');
	ssize_t result = caller_end(&caller);
	scene_end(&caller.scene);
	ctx_unref(joined);
	ctxd_close(client);
	return result == -ECANCELED ? 0 : 2;
}

START_TEST(an_end_in_another_process_ends_a_read)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct ctx_context *ctx = child_of(ctx_background());

	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_share(client, ctx, "job", 0, NULL));
	struct other other = other_start(read_under_joined, &service);
	expect(other.channel, 'r');
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(other_end(&other), 0);
	ctx_unref(ctx);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* The report of a cancel counts what waited, and does not wait for a thread that is between its calls. */
START_TEST(a_cancel_through_the_service_reports_calls)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	static struct caller caller;
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();
	struct ctxd_target target = {0};
	struct ctxd_report report = {0};
	char byte;

	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_share(client, ctx, "job", 0, &target.id));
	/* This thread has made a call under it, and makes none now. */
	ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
	ck_assert(scene_prepare(&caller.scene, &blockers[0]));
	caller_start(&caller, &blockers[0], ctx);
	caller_await_sleep(&caller);
	ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "enough", SOON, &report));
	ck_assert_int_eq(caller_end(&caller), -ECANCELED);
	ck_assert_uint_eq(report.silent, 0);
	ck_assert_uint_eq(report.ended, 1);
	ck_assert_uint_eq(report.operations, test_no_uring() ? 0 : 1);
	scene_end(&caller.scene);
	pair_end(pipe);
	ctx_unref(ctx);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("blocking service");
	TCase *other = test_case_calls(suite, "another process");

	ON_EACH_LOOP(other, an_end_in_another_process_ends_a_read);
	ON_EACH_LOOP(other, a_cancel_through_the_service_reports_calls);
	return suite;
}
