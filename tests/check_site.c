/* SPDX-License-Identifier: MIT */
/*
 * Where a context was made and where it was ended: the program's call, by whichever function of the library.
 * Method: all functions here that call one are in a section of their own, in which the address has to lie.
 */
#include <signal.h>
#include <sys/syscall.h>

#include "support/service.h"
#include "support/sources.h"
#include "table_format.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED | TEST_PLAIN);

#define CALLER __attribute__((noinline, section("site_callers")))
extern const char __start_site_callers[], __stop_site_callers[];

static bool is_a_caller(uintptr_t address)
{
	return address >= (uintptr_t)__start_site_callers && address < (uintptr_t)__stop_site_callers;
}

static uintptr_t site_of(const struct ctx_context *ctx)
{
	const struct ctx_table_header *header = test_own_table();
	uint32_t slot = (uint32_t)ctx_id(ctx);

	ck_assert_ptr_nonnull(header);
	ck_assert_uint_ne(slot, 0);
	const char *records = (const char *)header + header->contexts.offset;
	return ((const struct ctx_table_context *)(records + (size_t)slot * header->contexts.record_size))
		->site;
}

/* What some of them need. */
struct made {
	struct pair pair;
	struct ctx_ring *ring; /* NULL: none here */
	struct ctx_taskgroup *group;
};

/* ---- how contexts are made */

static CALLER void by_cancel(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_with_cancel(ctx_background(), NULL, ret_ctx));
}

static CALLER void by_timeout(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_with_timeout(ctx_background(), HOUR, NULL, ret_ctx));
}

static CALLER void by_deadline(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_with_deadline(ctx_background(), clock_now_ns() + HOUR, NULL, ret_ctx));
}

static CALLER void by_deadline_at(struct made *made, struct ctx_context **ret_ctx)
{
	struct timespec at = {.tv_sec = INT32_MAX};

	(void)made;
	ck_assert_ok(ctx_with_deadline_at(ctx_background(), CLOCK_MONOTONIC, &at, NULL, ret_ctx));
}

static CALLER void by_movable_deadline(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), CTX_FOREVER, NULL, ret_ctx));
}

static const struct ctx_key key = {.name = "key"};

static CALLER void by_value(struct made *made, struct ctx_context **ret_ctx)
{
	ck_assert_ok(
		ctx_with_value(ctx_background(), &key, made, "listed", (const struct ctx_context **)ret_ctx));
}

static CALLER void by_without_cancel(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_without_cancel(ctx_background(), NULL, (const struct ctx_context **)ret_ctx));
}

static CALLER void by_merge(struct made *made, struct ctx_context **ret_ctx)
{
	const struct ctx_context *parents[] = {ctx_background(), ctx_todo()};

	(void)made;
	ck_assert_ok(ctx_merge(parents, 2, NULL, ret_ctx));
}

static CALLER void by_taskgroup(struct made *made, struct ctx_context **ret_ctx)
{
	ck_assert_ok(ctx_taskgroup_new(ctx_background(), 1, NULL, &made->group));
	*ret_ctx = (struct ctx_context *)ctx_ref(ctx_taskgroup_context(made->group));
}

static CALLER void by_taskgroup_on_ring(struct made *made, struct ctx_context **ret_ctx)
{
	if (!made->ring)
		return;
	ck_assert_ok(ctx_taskgroup_new_on_ring(ctx_background(), made->ring, NULL, &made->group));
	*ret_ctx = (struct ctx_context *)ctx_ref(ctx_taskgroup_context(made->group));
}

static CALLER void by_taskgroup_with_options(struct made *made, struct ctx_context **ret_ctx)
{
	const struct ctx_taskgroup_options options = {.flags = CTX_TASKGROUP_FIRST};

	ck_assert_ok(ctx_taskgroup_new_with_options(ctx_background(), &options, NULL, &made->group));
	*ret_ctx = (struct ctx_context *)ctx_ref(ctx_taskgroup_context(made->group));
}

static CALLER void by_hangup(struct made *made, struct ctx_context **ret_ctx)
{
	ck_assert_ok(ctx_with_hangup(ctx_background(), NULL, made->pair.near, 0, NULL, ret_ctx));
}

static CALLER void by_hangup_on_ring(struct made *made, struct ctx_context **ret_ctx)
{
	if (made->ring)
		ck_assert_ok(
			ctx_with_hangup(ctx_background(), made->ring, made->pair.near, 0, NULL, ret_ctx));
}

static CALLER void by_fd(struct made *made, struct ctx_context **ret_ctx)
{
	ck_assert_ok(ctx_with_fd(ctx_background(), NULL, made->pair.near, POLLIN, NULL, ret_ctx));
}

static CALLER void by_process(struct made *made, struct ctx_context **ret_ctx)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	(void)made;
	ck_assert_ok(ctx_with_process(ctx_background(), NULL, pidfd, NULL, ret_ctx));
	close(pidfd);
}

static CALLER void by_signals(struct made *made, struct ctx_context **ret_ctx)
{
	sigset_t signals;

	(void)made;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR2);
	ck_assert_ok(ctx_with_signals(ctx_background(), NULL, &signals, NULL, ret_ctx));
}

static CALLER void by_pressure(struct made *made, struct ctx_context **ret_ctx)
{
	const struct ctx_pressure pressure = {.resource = CTX_RESOURCE_MEMORY};

	(void)made;
	/* Not on every machine, and not for every user. */
	if (ctx_with_pressure(ctx_background(), NULL, &pressure, NULL, ret_ctx))
		*ret_ctx = NULL;
}

static const char *get_time(const char *name, void *data)
{
	(void)data;
	return strcmp(name, "grpc-timeout") == 0 ? "1H" : NULL;
}

static const char *get_nothing(const char *name, void *data)
{
	(void)name;
	(void)data;
	return NULL;
}

static CALLER void by_extract(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_nothing, NULL, NULL,
				 ret_ctx));
}

static CALLER void by_extract_with_time(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(
		ctx_extract(ctx_background(), CTX_CARRIER_HEADERS, NULL, 0, get_time, NULL, NULL, ret_ctx));
}

static CALLER void by_environment(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	ck_assert_ok(ctx_from_environment(NULL, 0, NULL, ret_ctx));
}

static CALLER void by_environment_with_time(struct made *made, struct ctx_context **ret_ctx)
{
	(void)made;
	test_setenv("CTXRING_CONTEXT", "v=1;left=3600000000000");
	ck_assert_ok(ctx_from_environment(NULL, 0, NULL, ret_ctx));
}

static void (*const makers[])(struct made *made, struct ctx_context **ret_ctx) = {
	by_cancel,
	by_timeout,
	by_deadline,
	by_deadline_at,
	by_movable_deadline,
	by_value,
	by_without_cancel,
	by_merge,
	by_taskgroup,
	by_taskgroup_on_ring,
	by_taskgroup_with_options,
	by_hangup,
	by_hangup_on_ring,
	by_fd,
	by_process,
	by_signals,
	by_pressure,
	by_extract,
	by_extract_with_time,
	by_environment,
	by_environment_with_time,
};
#define MAKERS ((int)(sizeof(makers) / sizeof(makers[0])))

START_TEST(a_context_names_the_call_that_made_it)
{
	struct made made = {.pair = pair_new()};
	struct ctx_context *ctx = NULL;

	if (!test_no_uring())
		made.ring = ring_of(RING_ORDINARY);
	makers[_i](&made, &ctx);
	if (ctx)
		ck_assert_msg(is_a_caller(site_of(ctx)), "it names %#lx, outside of %p to %p",
			      (unsigned long)site_of(ctx), (const void *)__start_site_callers,
			      (const void *)__stop_site_callers);
	ctx_unref(ctx);
	ctx_taskgroup_free(made.group);
	if (made.ring)
		ring_end(made.ring);
	pair_end(made.pair);
}
END_TEST

static CALLER struct ctx_context *join(struct ctxd_client *client, struct ctxd_id id)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctxd_join(client, id, &ctx));
	return ctx;
}

static CALLER struct ctx_context *join_name(struct ctxd_client *client, const char *name)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, name, &ctx));
	return ctx;
}

/* It is made when the answer comes, by a thread of the library. */
START_TEST(a_joined_context_names_the_call_that_joined_it)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct ctx_context *shared = child_of(ctx_background());
	struct ctxd_id id;

	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_share(client, shared, "shared", 0, &id));
	struct ctx_context *live = join(client, id), *named = join_name(client, "shared");
	ck_assert(is_a_caller(site_of(live)));
	ck_assert(is_a_caller(site_of(named)));
	ctx_cancel(shared);
	struct ctx_context *ended = join(client, id);
	ck_assert(is_a_caller(site_of(ended)));
	ctx_finish(ended);
	ctx_finish(named);
	ctx_finish(live);
	ctx_finish(shared);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- how they are ended */

static CALLER void end_by_cancel(struct ctx_context *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
}

static CALLER void end_by_cause(struct ctx_context *ctx)
{
	ck_assert_ok(ctx_cancel_cause(ctx, -EIO, "words"));
}

static CALLER void end_by_finish(struct ctx_context *ctx)
{
	ctx_finish(ctx);
	ck_assert_int_ne(is_a_caller(0), 1); /* so that it returns to here */
}

static CALLER void end_by_scope(struct ctx_context *ctx)
{
	CTX_AUTO_FINISH struct ctx_context *scope = ctx;

	ck_assert_live(scope);
}

static CALLER void end_by_signal_handler(struct ctx_context *ctx)
{
	ck_assert_ok(ctx_signal_prepare(ctx));
	ck_assert_ok(ctx_cancel_from_signal(ctx, SIGUSR1));
	ck_assert_ok(ctx_wait(ctx, SOON));
}

static void (*const enders[])(struct ctx_context *ctx) = {
	end_by_cancel, end_by_cause, end_by_finish, end_by_scope, end_by_signal_handler,
};
#define ENDERS ((int)(sizeof(enders) / sizeof(enders[0])))

START_TEST(a_cause_names_the_call_that_ended_it)
{
	struct ctx_context *ctx = child_of(ctx_background()), *below = child_of(ctx);
	bool releases = enders[_i] == end_by_finish || enders[_i] == end_by_scope;

	enders[_i](ctx);
	ck_assert(is_a_caller((uintptr_t)cause_of(below).site));
	ctx_finish(below);
	if (!releases)
		ctx_finish(ctx);
}
END_TEST

static CALLER void fail_group(struct ctx_taskgroup *group)
{
	ck_assert_ok(ctx_taskgroup_fail(group, -EIO, "words"));
}

static CALLER void free_group(struct ctx_taskgroup *group)
{
	ctx_taskgroup_free(group);
	ck_assert_int_ne(is_a_caller(0), 1); /* so that it returns to here */
}

START_TEST(a_group_names_the_call_that_ended_it)
{
	struct ctx_taskgroup *group;

	for (int how = 0; how < 2; how++) {
		ck_assert_ok(ctx_taskgroup_new(ctx_background(), 1, NULL, &group));
		struct ctx_context *below = child_of(ctx_taskgroup_context(group));
		if (how)
			fail_group(group);
		free_group(group);
		ck_assert(is_a_caller((uintptr_t)cause_of(below).site));
		ctx_finish(below);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("site");
	TCase *made = source_case(suite, "made"), *ended = test_case(suite, "ended");

	tcase_add_loop_test(made, a_context_names_the_call_that_made_it, 0, MAKERS);
	if (test_mode() != TEST_PLAIN)
		ON_EACH_LOOP(made, a_joined_context_names_the_call_that_joined_it);
	tcase_add_loop_test(ended, a_cause_names_the_call_that_ended_it, 0, ENDERS);
	tcase_add_test(ended, a_group_names_the_call_that_ended_it);
	return suite;
}
