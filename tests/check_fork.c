/* SPDX-License-Identifier: MIT */
/* What a forked child finds: contexts of its own kind, a table of its own, and its parent's end. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/contexts.h"
#include "table_format.h"

/* In children: assertions of Check belong to the parent. */
#define EXPECT(condition)                      \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 256; \
	} while (0)

static int use_everything(void *data)
{
	struct ctx_context *inherited = data, *made, *timed;
	struct ctx_cause cause;

	EXPECT(ctx_err(inherited) == 0);
	EXPECT(ctx_id(inherited) == 0);
	EXPECT(ctx_with_cancel(inherited, "in the child", &made) == 0);
	EXPECT(ctx_with_timeout(made, 3 * MILLISECOND, "timed", &timed) == 0);
	/* Its own timer thread: the parent's did not come along. */
	EXPECT(ctx_wait(timed, 10 * NS_PER_SECOND) == 0);
	EXPECT(ctx_err(timed) == -ETIME);
	EXPECT(ctx_cancel_cause(inherited, -EPIPE, "by the child") == 0);
	EXPECT(ctx_err(made) == -ECANCELED);
	EXPECT(ctx_get_cause(made, &cause) == 0 && cause.error == -EPIPE && cause.pid == getpid());
	ctx_finish(timed);
	ctx_finish(made);
	ctx_finish(inherited);
	return 0;
}

START_TEST(child_uses_inherited_contexts_without_touching_the_parents)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);

	ck_assert_int_eq(test_in_child(use_everything, ctx), 0);
	ck_assert_live(ctx);
	ctx_finish(ctx);
}
END_TEST

/* Both tables are there under their own pids, and the child's holds only what the child made. */
static int have_a_fresh_table(void *data)
{
	struct ctx_context *made;

	EXPECT(test_own_table() == NULL);
	EXPECT(ctx_with_cancel(data, "fresh", &made) == 0);
	struct ctx_table_header *table = test_own_table();
	EXPECT(table != NULL && table->pid == getpid());
	EXPECT(ctx_id(made) != 0);
	EXPECT(test_count_contexts() == 1);
	ctx_finish(made);
	EXPECT(test_count_contexts() == 0);
	return 0;
}

START_TEST(child_gets_a_fresh_table)
{
	struct ctx_context *ctx = child_of(ctx_background());
	unsigned before = test_count_contexts();

	ck_assert_int_eq(test_in_child(have_a_fresh_table, ctx), 0);
	ck_assert_uint_eq(test_count_contexts(), before);
	ctx_finish(ctx);
}
END_TEST

static int fork_again(void *data)
{
	EXPECT(test_in_child(have_a_fresh_table, data) == 0);
	return have_a_fresh_table(data);
}

START_TEST(grandchild_gets_a_fresh_table_too)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_int_eq(test_in_child(fork_again, ctx), 0);
	ctx_finish(ctx);
}
END_TEST

/* ---- the done descriptor across fork */

struct family {
	struct ctx_context *ctx;
	int fd, ready[2];
};

static int see_the_parents_end(void *data)
{
	struct family *family = data;
	struct pollfd entry = {.fd = family->fd, .events = 0};

	EXPECT(poll(&entry, 1, 0) == 0);
	EXPECT(write(family->ready[1], "x", 1) == 1);
	EXPECT(poll(&entry, 1, 30000) == 1 && entry.revents & POLLHUP);
	return 0;
}

START_TEST(child_sees_the_parents_end_through_the_done_fd)
{
	struct family family = {.ctx = child_of(ctx_background())};
	char byte;
	int status;

	family.fd = ctx_done_fd(family.ctx);
	ck_assert_ok(pipe2(family.ready, O_CLOEXEC));
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(see_the_parents_end(&family));
	ck_assert_int_eq(read(family.ready[0], &byte, 1), 1);
	ck_assert_ok(ctx_cancel(family.ctx));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(family.ready[0]);
	close(family.ready[1]);
	ctx_finish(family.ctx);
}
END_TEST

/* Goal: a child that lives on does not keep the pipe open. Method: the parent's reader sees the end
 * nevertheless. */
START_TEST(living_child_does_not_hold_back_the_parents_hang_up)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pollfd entry = {.fd = ctx_done_fd(ctx), .events = 0};
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		for (;;)
			pause();
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(poll(&entry, 1, 30000), 1);
	ck_assert(entry.revents & POLLHUP);
	ck_assert_ok(kill(pid, SIGKILL));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ctx_finish(ctx);
}
END_TEST

static int cancel_does_not_reach_the_parent(void *data)
{
	struct family *family = data;

	EXPECT(ctx_cancel(family->ctx) == 0);
	ctx_unref(family->ctx);
	return 0;
}

START_TEST(end_in_the_child_does_not_reach_the_parent)
{
	struct family family = {.ctx = child_of(ctx_background())};
	struct pollfd entry = {.fd = ctx_done_fd(family.ctx), .events = POLLIN};

	ck_assert_int_eq(test_in_child(cancel_does_not_reach_the_parent, &family), 0);
	ck_assert_live(family.ctx);
	ck_assert_int_eq(poll(&entry, 1, 0), 0);
	ctx_finish(family.ctx);
}
END_TEST

/* What the child ends, and what it waits for, is its own copy, whatever the inherited pipe shows. */
static int wait_for_its_own_copy(void *data)
{
	struct family *family = data;
	struct pollfd quiet = {.fd = family->ready[0], .events = POLLIN}, own = {.events = POLLIN};

	own.fd = ctx_done_fd(family->ctx);
	EXPECT(own.fd >= 0 && own.fd != family->fd && ctx_done_fd(family->ctx) == own.fd);
	EXPECT(ctx_wait_fd(family->ctx, quiet.fd, POLLIN, MILLISECOND) == -ETIMEDOUT);
	EXPECT(poll(&own, 1, 0) == 0);
	EXPECT(ctx_cancel(family->ctx) == 0);
	EXPECT(poll(&own, 1, 0) == 1 && own.revents & POLLHUP);
	EXPECT(ctx_wait_fd(family->ctx, quiet.fd, POLLIN, CTX_FOREVER) == -ECANCELED);
	ctx_unref(family->ctx);
	/* Both are closed with it. */
	EXPECT(fcntl(own.fd, F_GETFD) < 0 && fcntl(family->fd, F_GETFD) < 0);
	return 0;
}

START_TEST(child_waits_for_the_end_of_its_own_copy)
{
	struct family family = {.ctx = child_of(ctx_background())};

	family.fd = ctx_done_fd(family.ctx);
	ck_assert_ok(pipe2(family.ready, O_CLOEXEC));
	ck_assert_int_eq(test_in_child(wait_for_its_own_copy, &family), 0);
	ck_assert_live(family.ctx);
	close(family.ready[0]);
	close(family.ready[1]);
	ctx_finish(family.ctx);
}
END_TEST

/* The parent's end shows in the inherited descriptor, and is no end of the child's copy. */
static int hear_of_the_parents_end_only(void *data)
{
	struct family *family = data;
	struct pollfd parents = {.fd = family->fd, .events = 0};

	EXPECT(write(family->ready[1], "x", 1) == 1);
	EXPECT(poll(&parents, 1, 30000) == 1 && parents.revents & POLLHUP);
	EXPECT(ctx_wait_fd(family->ctx, family->fd, 0, CTX_FOREVER) & POLLHUP);
	EXPECT(ctx_err(family->ctx) == 0);
	return 0;
}

START_TEST(parents_end_is_not_the_end_of_the_childs_copy)
{
	struct family family = {.ctx = child_of(ctx_background())};
	char byte;
	int status;

	family.fd = ctx_done_fd(family.ctx);
	ck_assert_ok(pipe2(family.ready, O_CLOEXEC));
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(hear_of_the_parents_end_only(&family));
	ck_assert_int_eq(read(family.ready[0], &byte, 1), 1);
	ck_assert_ok(ctx_cancel(family.ctx));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(family.ready[0]);
	close(family.ready[1]);
	ctx_finish(family.ctx);
}
END_TEST

/* ---- a program that closes what it did not open */

static int descriptors_are_open(void *data)
{
	int *fds = data;

	for (int i = 0; i < 8; i++)
		EXPECT(fcntl(fds[i], F_GETFD) >= 0);
	return 0;
}

static int close_all_and_open_others(void *data)
{
	struct ctx_context *ctx = data;
	struct pollfd entry = {.events = POLLIN};
	int fds[8];

	EXPECT(ctx_done_fd(ctx) >= 0);
	EXPECT(close_range(3, ~0u, 0) == 0);
	for (int i = 0; i < 8; i += 2)
		EXPECT(pipe(fds + i) == 0);
	EXPECT(test_in_child(descriptors_are_open, fds) == 0);
	/* Neither closed nor written to. */
	ctx_finish(ctx);
	EXPECT(descriptors_are_open(fds) == 0);
	for (int i = 0; i < 8; i += 2) {
		entry.fd = fds[i];
		EXPECT(poll(&entry, 1, 0) == 0);
	}
	return 0;
}

START_TEST(numbers_that_became_other_files_are_left_alone)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_int_eq(test_in_child(close_all_and_open_others, ctx), 0);
	ctx_finish(ctx);
}
END_TEST

/* ---- inherited deadlines: the timer thread did not come along */

static void note_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	int *written = data;

	(void)callback;
	if (ctx_err(ctx) == -ETIME && write(written[1], "x", 1) != 1)
		abort();
}

static int be_called_at_the_deadline(void *data)
{
	static struct ctx_callback callback;
	struct ctx_context *ctx = data;
	struct pollfd entry = {.events = POLLIN};
	int called[2];

	EXPECT(pipe2(called, O_CLOEXEC) == 0);
	entry.fd = called[0];
	EXPECT(ctx_callback_add(ctx, &callback, note_call, called, NULL) == 0);
	EXPECT(poll(&entry, 1, 30000) == 1);
	return 0;
}

/* Looks without a wait: nothing but the derivation may have started the timer. */
static int derive_and_look(void *data)
{
	struct ctx_context *ctx = data, *child;
	uint64_t until_ns = clock_now_ns() + 20 * NS_PER_SECOND;

	EXPECT(ctx_with_cancel(ctx, NULL, &child) == 0);
	while (!ctx_err(child) && clock_now_ns() < until_ns)
		sched_yield();
	EXPECT(ctx_err(child) == -ETIME && ctx_err(ctx) == -ETIME);
	return 0;
}

static int merge_and_look(void *data)
{
	const struct ctx_context *parents[] = {data, ctx_background()};
	struct ctx_context *merged;
	uint64_t until_ns = clock_now_ns() + 20 * NS_PER_SECOND;

	EXPECT(ctx_merge(parents, 2, NULL, &merged) == 0);
	while (!ctx_err(merged) && clock_now_ns() < until_ns)
		sched_yield();
	EXPECT(ctx_err(merged) == -ETIME);
	return 0;
}

START_TEST(inherited_deadline_fires_in_a_child_that_uses_it)
{
	static int (*const uses[])(void *) = {be_called_at_the_deadline, derive_and_look, merge_and_look};

	struct ctx_context *ctx = timed_child_of(ctx_background(), 30 * MILLISECOND);
	ck_assert_int_eq(test_in_child(uses[_i], ctx), 0);
	ctx_finish(ctx);
}
END_TEST

/* ---- fork inside a callback */

/* Two calls of one callback at once: the second runs on another thread while the first forks. */
struct two_calls {
	struct ctx_callback callback;
	uint64_t ids[2];
	struct ctx_context *first, *second;
	pthread_t thread;
	sem_t begun, over;
	pid_t child;
};

static void run_second(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct two_calls *calls = data;

	(void)callback, (void)ctx;
	sem_post(&calls->begun);
	while (sem_wait(&calls->over))
		;
}

static void *end_second(void *data)
{
	struct two_calls *calls = data;

	if (ctx_callback_add(calls->second, &calls->callback, run_second, calls, &calls->ids[1]) ||
	    ctx_cancel(calls->second))
		abort();
	return NULL;
}

static void run_first(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct two_calls *calls = data;

	(void)callback, (void)ctx;
	if (pthread_create(&calls->thread, NULL, end_second, calls))
		abort();
	while (sem_wait(&calls->begun))
		;
	calls->child = fork();
}

/* Goal: in the child the call that forked ends, and the other one, which is not there, is not waited for. */
START_TEST(fork_inside_a_callback_keeps_that_call_alone)
{
	struct two_calls calls = {.first = child_of(ctx_background()), .second = child_of(ctx_background())};
	int status;

	ck_assert_ok(sem_init(&calls.begun, 0, 0));
	ck_assert_ok(sem_init(&calls.over, 0, 0));
	ck_assert_ok(ctx_callback_add(calls.first, &calls.callback, run_first, &calls, &calls.ids[0]));
	ck_assert_ok(ctx_cancel(calls.first));
	if (calls.child == 0) {
		alarm(100);
		_exit(ctx_callback_stop_wait(calls.ids[0]) || ctx_callback_stop_wait(calls.ids[1]));
	}
	ck_assert_int_eq(waitpid(calls.child, &status, 0), calls.child);
	ck_assert_int_eq(status, 0);
	ck_assert_ok(sem_post(&calls.over));
	ck_assert_ok(pthread_join(calls.thread, NULL));
	ctx_finish(calls.first);
	ctx_finish(calls.second);
}
END_TEST

/* ---- fork while other threads are inside the library */

static void *churn(void *stop)
{
	while (!__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE)) {
		struct ctx_context *ctx, *timed;
		if (ctx_with_cancel(ctx_background(), "churn", &ctx))
			abort();
		if (ctx_with_timeout(ctx, HOUR, NULL, &timed) || ctx_done_fd(timed) < 0)
			abort();
		ctx_finish(timed);
		ctx_finish(ctx);
	}
	return NULL;
}

static int make_some(void *data)
{
	(void)data;
	for (int i = 0; i < 10; i++) {
		struct ctx_context *ctx, *timed;
		EXPECT(ctx_with_cancel(ctx_background(), "child", &ctx) == 0);
		EXPECT(ctx_with_timeout(ctx, HOUR, NULL, &timed) == 0);
		EXPECT(ctx_done_fd(timed) >= 0);
		EXPECT(ctx_cancel(ctx) == 0 && ctx_err(timed) == -ECANCELED);
		ctx_finish(timed);
		ctx_finish(ctx);
	}
	return 0;
}

/* Goal: no lock is inherited held. Method: fork often amid two busy threads; each child uses all of it. */
START_TEST(fork_amid_busy_threads_leaves_no_lock_held)
{
	pthread_t threads[2];
	int stop = 0;

	for (int i = 0; i < 2; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, churn, &stop));
	for (unsigned i = 0; i < test_scaled(200); i++)
		ck_assert_int_eq(test_in_child(make_some, NULL), 0);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fork");
	TCase *forks = test_case(suite, "fork");

	tcase_add_test(forks, child_uses_inherited_contexts_without_touching_the_parents);
	tcase_add_test(forks, child_gets_a_fresh_table);
	tcase_add_test(forks, grandchild_gets_a_fresh_table_too);
	tcase_add_test(forks, child_sees_the_parents_end_through_the_done_fd);
	tcase_add_test(forks, living_child_does_not_hold_back_the_parents_hang_up);
	tcase_add_test(forks, end_in_the_child_does_not_reach_the_parent);
	tcase_add_test(forks, child_waits_for_the_end_of_its_own_copy);
	tcase_add_test(forks, parents_end_is_not_the_end_of_the_childs_copy);
	tcase_add_loop_test(forks, inherited_deadline_fires_in_a_child_that_uses_it, 0, 3);
	tcase_add_test(forks, fork_inside_a_callback_keeps_that_call_alone);
	tcase_add_test(forks, numbers_that_became_other_files_are_left_alone);
	/* AddressSanitizer's allocator does not guard its own locks across fork(2): its child hangs in
	 * malloc(3). */
	if (test_mode() != TEST_ASAN)
		tcase_add_test(forks, fork_amid_busy_threads_leaves_no_lock_held);
	return suite;
}
