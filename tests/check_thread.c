/* SPDX-License-Identifier: MIT */
/* The library's own threads in a program with many thread-local variables, which lie on the stacks of
 * threads. */
#include <pthread.h>
#include <semaphore.h>

#include "support/rings.h"
#include "thread.h"

/* More than the timer's stack is to have. */
#define LOCALS (512 * 1024)

static __thread char locals[LOCALS];

struct room {
	size_t left;
	sem_t seen;
};

/* How far it is from here to the end of the stack. */
static void *measure(void *data)
{
	struct room *room = data;
	pthread_attr_t attributes;
	void *lowest;
	size_t size;

	locals[LOCALS - 1] = 1;
	if (pthread_getattr_np(pthread_self(), &attributes) ||
	    pthread_attr_getstack(&attributes, &lowest, &size))
		abort();
	pthread_attr_destroy(&attributes);
	room->left = (size_t)((char *)__builtin_frame_address(0) - (char *)lowest);
	sem_post(&room->seen);
	return NULL;
}

START_TEST(a_thread_has_the_room_that_it_asks_for)
{
	static const size_t wishes[] = {64 * 1024, 256 * 1024, 0};
	struct room room = {0};

	ck_assert_ok(sem_init(&room.seen, 0, 0));
	ck_assert_ok(thread_start(measure, &room, wishes[_i]));
	while (sem_wait(&room.seen))
		;
	/* The C library's own data lie there, too. */
	ck_assert_uint_ge(room.left + 16 * 1024, wishes[_i] ? wishes[_i] : 1024 * 1024);
}
END_TEST

START_TEST(deadlines_come)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), MILLISECOND);

	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_expired(ctx);
	ctx_unref(ctx);
}
END_TEST

static void note_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	sem_post(data);
}

START_TEST(callbacks_of_deadlines_run)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), MILLISECOND);
	struct ctx_callback callback = {0};
	uint64_t id;
	sem_t called;

	ck_assert_ok(sem_init(&called, 0, 0));
	ck_assert_ok(ctx_callback_add(ctx, &callback, note_call, &called, &id));
	while (sem_wait(&called))
		;
	ctx_callback_stop_wait(id);
	ctx_unref(ctx);
}
END_TEST

START_TEST(sources_are_watched)
{
	struct ctx_context *ctx;
	struct pair pair = pair_new();

	ck_assert_ok(ctx_with_hangup(ctx_background(), NULL, pair.near, 0, NULL, &ctx));
	test_keep_fd(); /* the poller's two */
	test_keep_fd();
	close(pair.far);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_cancelled(ctx);
	ctx_unref(ctx);
	close(pair.near);
}
END_TEST

static int fail_at_once(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	(void)data;
	return -EIO;
}

START_TEST(tasks_run)
{
	struct ctx_taskgroup *group;

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), 1, NULL, &group));
	ck_assert_ok(ctx_taskgroup_start(group, fail_at_once, NULL, "task"));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EIO);
	ctx_taskgroup_free(group);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("thread");
	TCase *threads = test_case(suite, "thread");

	tcase_add_loop_test(threads, a_thread_has_the_room_that_it_asks_for, 0, 3);
	tcase_add_test(threads, deadlines_come);
	tcase_add_test(threads, callbacks_of_deadlines_run);
	tcase_add_test(threads, sources_are_watched);
	tcase_add_test(threads, tasks_run);
	return suite;
}
