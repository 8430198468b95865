/* SPDX-License-Identifier: MIT */
/* Task groups on threads: limits, failures and their consequences, and that nothing outlives a wait. */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/contexts.h"
#include "support/threads.h"
#include "taskgroup.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static struct ctx_taskgroup *group_of(unsigned limit)
{
	struct ctx_taskgroup *group = NULL;

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), limit, "group", &group));
	ck_assert_ptr_nonnull(group);
	return group;
}

/* ---- tasks */

static int count_up(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	__atomic_fetch_add((unsigned *)data, 1, __ATOMIC_RELAXED);
	return 0;
}

/* Ends with its context. */
static int wait_for_end(const struct ctx_context *ctx, void *data)
{
	if (data)
		sem_post(data);
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	return ctx_err(ctx);
}

struct hold {
	sem_t begun, go;
	int result;
};

static void hold_init(struct hold *hold, int result)
{
	sem_init(&hold->begun, 0, 0);
	sem_init(&hold->go, 0, 0);
	hold->result = result;
}

/* Ends when it is told to, whatever its context does. */
static int hold_up(const struct ctx_context *ctx, void *data)
{
	struct hold *hold = data;

	(void)ctx;
	sem_post(&hold->begun);
	sem_wait(&hold->go);
	return hold->result;
}

/* ---- */

START_TEST(every_task_has_run_when_wait_returns)
{
	struct ctx_taskgroup *group = group_of((unsigned)_i);
	unsigned count = 0;

	for (unsigned round = 1; round <= 5; round++) {
		for (int i = 0; i < 100; i++)
			ck_assert_ok(ctx_taskgroup_start(group, count_up, &count, "task"));
		ck_assert_ok(ctx_taskgroup_wait(group));
		ck_assert_uint_eq(count, round * 100);
	}
	ck_assert_int_eq(ctx_taskgroup_failures(group, NULL, 0), 0);
	ck_assert_live(ctx_taskgroup_context(group));
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(the_first_failure_ends_the_others_and_is_the_cause)
{
	struct ctx_taskgroup *group = group_of(10);
	const struct ctx_context *ctx = ctx_ref(ctx_taskgroup_context(group));
	struct ctx_failure failures[12];
	struct hold hold;
	sem_t begun;

	sem_init(&begun, 0, 0);
	hold_init(&hold, -ECONNREFUSED);
	for (int i = 0; i < 5; i++)
		ck_assert_ok(ctx_taskgroup_start(group, wait_for_end, &begun, "other"));
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, "upstream 3"));
	for (int i = 0; i < 5; i++)
		sem_wait(&begun);
	sem_post(&hold.go);
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECONNREFUSED);
	struct ctx_cause cause = cause_of(ctx);
	ck_assert_cancelled(ctx);
	ck_assert_int_eq(cause.error, -ECONNREFUSED);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_str_eq(cause.text, "upstream 3");
	ck_assert(!cause.inherited);
	ck_assert_ptr_nonnull(cause.site);
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 12), 6);
	ck_assert_int_eq(failures[0].error, -ECONNREFUSED);
	ck_assert(!failures[0].consequence);
	ck_assert_str_eq(failures[0].text, "upstream 3");
	for (int i = 1; i < 6; i++) {
		ck_assert_int_eq(failures[i].error, -ECANCELED);
		ck_assert(failures[i].consequence);
		ck_assert_str_eq(failures[i].text, "other");
	}
	/* It stays so, and nothing can be started any more. */
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECONNREFUSED);
	ck_assert_int_eq(ctx_taskgroup_start(group, hold_up, &hold, NULL), -ECANCELED);
	ck_assert_int_eq(ctx_taskgroup_try_start(group, hold_up, &hold, NULL), -ECANCELED);
	ctx_taskgroup_free(group);
	ctx_unref(ctx);
}
END_TEST

START_TEST(a_parents_end_is_no_failure)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct ctx_taskgroup *group;
	struct ctx_failure failure;
	struct hold hold;

	hold_init(&hold, 0);
	ck_assert_ok(ctx_taskgroup_new(parent, 2, NULL, &group));
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "client left"));
	sem_post(&hold.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_cancelled(ctx_taskgroup_context(group));
	ck_assert_int_eq(ctx_taskgroup_failures(group, &failure, 1), 0);
	ctx_taskgroup_free(group);

	/* Of a task that gives it back it is one, as a consequence. */
	struct ctx_context *other = child_of(ctx_background());
	sem_t begun;
	sem_init(&begun, 0, 0);
	ck_assert_ok(ctx_taskgroup_new(other, 2, NULL, &group));
	ck_assert_ok(ctx_taskgroup_start(group, wait_for_end, &begun, NULL));
	sem_wait(&begun);
	ck_assert_ok(ctx_cancel_cause(other, -EPIPE, "client left"));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECANCELED);
	ck_assert_int_eq(ctx_taskgroup_failures(group, &failure, 1), 1);
	ck_assert(failure.consequence);
	ck_assert_str_eq(failure.text, "");
	ck_assert_str_eq(cause_of(ctx_taskgroup_context(group)).text, "client left");
	ctx_taskgroup_free(group);
	ctx_finish(other);
	ctx_finish(parent);
}
END_TEST

START_TEST(a_deadline_of_the_parent_ends_the_tasks)
{
	struct ctx_context *parent = timed_child_of(ctx_background(), HOUR);
	struct ctx_taskgroup *group;

	ck_assert_ok(ctx_taskgroup_new(parent, 2, NULL, &group));
	ck_assert_ok(ctx_taskgroup_start(group, wait_for_end, NULL, NULL));
	ck_assert_ok(ctx_set_deadline(parent, clock_now_ns() + 10 * MILLISECOND));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ETIME);
	ck_assert_int_eq(ctx_taskgroup_start(group, wait_for_end, NULL, NULL), -ETIME);
	ctx_taskgroup_free(group);
	ctx_finish(parent);
}
END_TEST

struct crowd {
	unsigned limit, now, most, ran;
};

static int join_crowd(const struct ctx_context *ctx, void *data)
{
	struct crowd *crowd = data;
	unsigned now = __atomic_add_fetch(&crowd->now, 1, __ATOMIC_SEQ_CST);
	unsigned most = __atomic_load_n(&crowd->most, __ATOMIC_RELAXED);

	(void)ctx;
	while (now > most && !__atomic_compare_exchange_n(&crowd->most, &most, now, false, __ATOMIC_RELAXED,
							  __ATOMIC_RELAXED))
		;
	sched_yield();
	__atomic_fetch_add(&crowd->ran, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&crowd->now, 1, __ATOMIC_SEQ_CST);
	return 0;
}

START_TEST(never_more_than_the_limit_run)
{
	const unsigned count = test_scaled(5000);
	struct crowd crowd = {.limit = (unsigned)_i};
	struct ctx_taskgroup *group = group_of(crowd.limit);

	for (unsigned i = 0; i < count; i++)
		ck_assert_ok(ctx_taskgroup_start(group, join_crowd, &crowd, NULL));
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_uint_eq(crowd.ran, count);
	ck_assert_uint_le(crowd.most, crowd.limit);
	ck_assert_uint_le(count_threads("ctx-task"), crowd.limit);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(without_a_limit_it_is_the_processors)
{
	struct ctx_taskgroup *group = group_of(0);
	struct hold hold;
	unsigned started = 0;
	cpu_set_t set;

	hold_init(&hold, 0);
	ck_assert_ok(sched_getaffinity(0, sizeof(set), &set));
	while (ctx_taskgroup_try_start(group, hold_up, &hold, NULL) == 0)
		started++;
	ck_assert_int_eq((int)started, CPU_COUNT(&set));
	for (unsigned i = 0; i < started; i++)
		sem_post(&hold.go);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(trying_does_not_wait)
{
	struct ctx_taskgroup *group = group_of(1);
	struct hold hold;

	hold_init(&hold, 0);
	ck_assert_ok(ctx_taskgroup_try_start(group, hold_up, &hold, NULL));
	ck_assert_int_eq(ctx_taskgroup_try_start(group, hold_up, &hold, NULL), -EAGAIN);
	sem_post(&hold.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_ok(ctx_taskgroup_try_start(group, hold_up, &hold, NULL));
	sem_post(&hold.go);
	ctx_taskgroup_free(group);
}
END_TEST

struct start {
	struct ctx_taskgroup *group;
	unsigned ran, *turn; /* turn, or NULL: counts those that ran */
	int result;
	pid_t tid;
};

static int take_turn(const struct ctx_context *ctx, void *data)
{
	struct start *start = data;

	(void)ctx;
	start->ran = ++*start->turn;
	return 0;
}

static void *start_one(void *data)
{
	struct start *start = data;

	__atomic_store_n(&start->tid, gettid(), __ATOMIC_RELEASE);
	if (start->turn)
		start->result = ctx_taskgroup_start(start->group, take_turn, start, NULL);
	else
		start->result = ctx_taskgroup_start(start->group, count_up, &start->ran, NULL);
	return NULL;
}

/* While a task of the group, whose limit is 1, holds its place. */
static void fill_queue(struct ctx_taskgroup *group, unsigned *ran)
{
	for (unsigned i = 0; i < TASK_QUEUE_MAX; i++)
		ck_assert_ok(ctx_taskgroup_start(group, count_up, ran, NULL));
}

/* Goal: who waits for room in the queue is let go when the context ends, and its task never runs. Those that
 * are in the queue do. */
START_TEST(a_start_that_waits_ends_with_the_context)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct start starts[4] = {0};
	struct ctx_taskgroup *group;
	unsigned queued_ran = 0;
	pthread_t threads[4];
	struct hold hold;

	hold_init(&hold, 0);
	ck_assert_ok(ctx_taskgroup_new(parent, 1, NULL, &group));
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
	sem_wait(&hold.begun);
	fill_queue(group, &queued_ran);
	for (int i = 0; i < 4; i++) {
		starts[i].group = group;
		ck_assert_ok(pthread_create(&threads[i], NULL, start_one, &starts[i]));
	}
	for (int i = 0; _i && i < 4; i++) /* else most likely before they wait */
		ck_assert(test_until(test_thread_sleeps, &starts[i].tid));
	ck_assert_ok(ctx_cancel(parent));
	for (int i = 0; i < 4; i++) {
		ck_assert_ok(pthread_join(threads[i], NULL));
		ck_assert_int_eq(starts[i].result, -ECANCELED);
		ck_assert_uint_eq(starts[i].ran, 0);
	}
	ck_assert_uint_eq(queued_ran, 0);
	sem_post(&hold.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_uint_eq(queued_ran, TASK_QUEUE_MAX);
	ctx_taskgroup_free(group);
	ctx_finish(parent);
}
END_TEST

START_TEST(starts_that_wait_are_served_in_turn)
{
	struct start starts[4] = {0};
	struct ctx_taskgroup *group = group_of(1);
	unsigned turn = 0, queued_ran = 0;
	pthread_t threads[4];
	struct hold hold;

	hold_init(&hold, 0);
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
	sem_wait(&hold.begun);
	fill_queue(group, &queued_ran);
	for (int i = 0; i < 4; i++) {
		starts[i].group = group;
		starts[i].turn = &turn;
		ck_assert_ok(pthread_create(&threads[i], NULL, start_one, &starts[i]));
		ck_assert(test_until(test_thread_sleeps, &starts[i].tid));
	}
	sem_post(&hold.go);
	for (int i = 0; i < 4; i++) {
		ck_assert_ok(pthread_join(threads[i], NULL));
		ck_assert_ok(starts[i].result);
	}
	ck_assert_ok(ctx_taskgroup_wait(group));
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(starts[i].ran, i + 1);
	ck_assert_uint_eq(queued_ran, TASK_QUEUE_MAX);
	ctx_taskgroup_free(group);
}
END_TEST

/* ---- from inside */

struct tree {
	struct ctx_taskgroup *group;
	unsigned depth, *ran;
};

static int grow_tree(const struct ctx_context *ctx, void *data)
{
	struct tree tree = *(struct tree *)data;

	free(data);
	count_up(ctx, tree.ran);
	for (int i = 0; tree.depth && i < 2; i++) {
		struct tree *branch = malloc(sizeof(*branch));
		*branch = (struct tree){tree.group, tree.depth - 1, tree.ran};
		int error = ctx_taskgroup_start(tree.group, grow_tree, branch, "branch");
		if (error)
			return error;
	}
	return 0;
}

START_TEST(tasks_start_tasks)
{
	struct ctx_taskgroup *group = group_of(127);
	unsigned ran = 0;
	struct tree *root = malloc(sizeof(*root));

	*root = (struct tree){group, 6, &ran};
	ck_assert_ok(ctx_taskgroup_start(group, grow_tree, root, "root"));
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_uint_eq(ran, 127);
	ctx_taskgroup_free(group);
}
END_TEST

static int wait_inside(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	return ctx_taskgroup_wait(data) == -EDEADLK ? 0 : -EPROTO;
}

static int wait_for_another(const struct ctx_context *ctx, void *data)
{
	struct ctx_taskgroup *group;
	unsigned ran = 0;

	(void)data;
	if (ctx_taskgroup_new(ctx, 2, NULL, &group) || ctx_taskgroup_start(group, count_up, &ran, NULL) ||
	    ctx_taskgroup_wait(group) || ran != 1)
		return -EPROTO;
	ctx_taskgroup_free(group);
	return 0;
}

START_TEST(a_task_cannot_wait_for_its_own_group)
{
	struct ctx_taskgroup *group = group_of(2);

	ck_assert_ok(ctx_taskgroup_start(group, wait_inside, group, NULL));
	ck_assert_ok(ctx_taskgroup_start(group, wait_for_another, NULL, NULL));
	ck_assert_ok(ctx_taskgroup_wait(group));
	ctx_taskgroup_free(group);
}
END_TEST

struct freer {
	struct ctx_taskgroup *group;
	sem_t *other_begun, *freed;
};

static int free_inside(const struct ctx_context *ctx, void *data)
{
	struct freer *freer = data;

	sem_wait(freer->other_begun);
	ctx_taskgroup_free(freer->group);
	int error = ctx_err(ctx);
	sem_post(freer->freed);
	return error;
}

static bool no_contexts(void *unused)
{
	(void)unused;
	return test_count_contexts() == 0;
}

START_TEST(a_task_that_frees_its_group_leaves_that_to_the_last)
{
	struct freer freer = {.group = group_of(4)};
	sem_t begun, freed;

	sem_init(&begun, 0, 0);
	sem_init(&freed, 0, 0);
	freer.other_begun = &begun;
	freer.freed = &freed;
	ck_assert_ok(ctx_taskgroup_start(freer.group, wait_for_end, &begun, NULL));
	ck_assert_ok(ctx_taskgroup_start(freer.group, free_inside, &freer, NULL));
	sem_wait(&freed);
	ck_assert(test_until(no_contexts, NULL));
}
END_TEST

static int fail_alone(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	(void)data;
	return -EPIPE;
}

static void wait_and_free(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct freer *freer = data;

	(void)callback;
	(void)ctx;
	ck_assert_int_eq(ctx_taskgroup_wait(freer->group), -EDEADLK);
	ctx_taskgroup_free(freer->group);
	sem_post(freer->freed);
}

/* Goal: a callback of the context, which the failing task's thread runs, is as the task: it does not wait for
 * it. */
START_TEST(a_callback_of_the_context_can_free_the_group)
{
	struct freer freer = {.group = group_of(4)};
	struct ctx_callback callback = {0};
	sem_t freed;

	sem_init(&freed, 0, 0);
	freer.freed = &freed;
	ck_assert_ok(
		ctx_callback_add(ctx_taskgroup_context(freer.group), &callback, wait_and_free, &freer, NULL));
	ck_assert_ok(ctx_taskgroup_start(freer.group, fail_alone, NULL, NULL));
	sem_wait(&freed);
	ck_assert(test_until(no_contexts, NULL));
}
END_TEST

/* ---- failures */

static int report(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	return ctx_taskgroup_fail(data, -EBADMSG, "answer %d is %s", 5, "nonsense");
}

START_TEST(a_failure_can_be_reported_with_a_text)
{
	struct ctx_taskgroup *group = group_of(2);
	struct ctx_failure failures[3];

	ck_assert_ok(ctx_taskgroup_start(group, report, group, "task"));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EBADMSG);
	ck_assert_str_eq(cause_of(ctx_taskgroup_context(group)).text, "answer 5 is nonsense");
	ck_assert_ok(ctx_taskgroup_fail(group, -EIO, NULL));
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 3), 2);
	ck_assert_str_eq(failures[0].text, "answer 5 is nonsense");
	ck_assert_int_eq(failures[1].error, -EIO);
	ck_assert(failures[1].consequence);
	ck_assert_str_eq(failures[1].text, "");
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(of_many_failures_64_are_kept_and_all_counted)
{
	struct ctx_taskgroup *group = group_of(1);
	struct ctx_failure failures[100];

	memset(failures, 0x55, sizeof(failures));
	for (int i = 1; i <= 100; i++)
		ck_assert_ok(ctx_taskgroup_fail(group, -i, "number %d", i));
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 100), 100);
	for (int i = 1; i <= 64; i++) {
		char text[32];
		snprintf(text, sizeof(text), "number %d", i);
		ck_assert_int_eq(failures[i - 1].error, -i);
		ck_assert_str_eq(failures[i - 1].text, text);
		ck_assert_int_eq(failures[i - 1].consequence, i > 1);
	}
	ck_assert_int_eq(failures[64].error, 0x55555555);
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 1), 100);
	ck_assert_int_eq(ctx_taskgroup_wait(group), -1);
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(long_names_and_texts_are_cut)
{
	struct ctx_taskgroup *group = group_of(1);
	struct ctx_failure failures[2];
	char name[1000], wanted[CTX_CAUSE_TEXT_MAX];
	struct hold hold;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	hold_init(&hold, -EIO);
	sem_post(&hold.go);
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, name));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EIO);
	ck_assert_ok(ctx_taskgroup_fail(group, -EIO, "%s", name));
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 2), 2);
	snprintf(wanted, sizeof(wanted), "%.*s", CTX_LABEL_MAX, name);
	ck_assert_str_eq(failures[0].text, wanted);
	snprintf(wanted, sizeof(wanted), "%.*s", CTX_CAUSE_TEXT_MAX - 1, name);
	ck_assert_str_eq(failures[1].text, wanted);
	ctx_taskgroup_free(group);
}
END_TEST

static int fail_at_once(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	return -(int)(intptr_t)data;
}

/* Goal: whoever is first, the cause, the result and the first that is read are one and the same. */
START_TEST(racing_failures_agree_on_the_first)
{
	for (unsigned round = 0; round < test_scaled(500); round++) {
		struct ctx_taskgroup *group = group_of(8);
		struct ctx_failure failures[8];
		for (intptr_t i = 1; i <= 8; i++)
			if (ctx_taskgroup_start(group, fail_at_once, (void *)i, NULL))
				break;
		int error = ctx_taskgroup_wait(group);
		int count = ctx_taskgroup_failures(group, failures, 8);
		ck_assert_int_gt(count, 0);
		ck_assert_int_eq(failures[0].error, error);
		ck_assert_int_eq(cause_of(ctx_taskgroup_context(group)).error, error);
		for (int i = 0; i < count; i++)
			ck_assert_int_eq(failures[i].consequence, i > 0);
		ctx_taskgroup_free(group);
	}
}
END_TEST

/* ---- threads */

START_TEST(threads_serve_one_group_after_the_other)
{
	unsigned ran = 0;

	for (int round = 0; round < 50; round++) {
		struct ctx_taskgroup *group = group_of(5);
		struct hold hold;
		hold_init(&hold, 0);
		for (int i = 0; i < 5; i++)
			ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
		for (int i = 0; i < 5; i++)
			sem_post(&hold.go);
		ck_assert_ok(ctx_taskgroup_wait(group));
		ck_assert_ok(ctx_taskgroup_start(group, count_up, &ran, NULL));
		ctx_taskgroup_free(group);
		ck_assert_uint_eq(count_threads("ctx-task"), 5);
	}
}
END_TEST

static int wait_in_child(void *data)
{
	struct ctx_taskgroup *inherited = data, *own;
	unsigned ran = 0;

	if (ctx_taskgroup_wait(inherited) != -EPERM ||
	    ctx_taskgroup_start(inherited, count_up, &ran, NULL) != -EPERM ||
	    ctx_taskgroup_fail(inherited, -EIO, NULL) != -EPERM ||
	    ctx_taskgroup_failures(inherited, NULL, 0) != -EPERM)
		return 1;
	if (ctx_taskgroup_new(ctx_taskgroup_context(inherited), 2, NULL, &own) ||
	    ctx_taskgroup_start(own, count_up, &ran, NULL) || ctx_taskgroup_wait(own) || ran != 1)
		return 2;
	ctx_taskgroup_free(own);
	ctx_taskgroup_free(inherited);
	return 0;
}

START_TEST(a_forked_child_leaves_the_parents_group_alone)
{
	struct ctx_taskgroup *group = group_of(1);
	struct hold hold;

	hold_init(&hold, 0);
	ck_assert_ok(ctx_taskgroup_start(group, hold_up, &hold, NULL));
	sem_wait(&hold.begun);
	ck_assert_int_eq(test_in_child(wait_in_child, group), 0);
	ck_assert_live(ctx_taskgroup_context(group));
	sem_post(&hold.go);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ctx_taskgroup_free(group);
}
END_TEST

/* Goal: without threads it is -EAGAIN, and what was running goes on. Method: no process may be had. */
static int start_without_threads(void *unused)
{
	struct rlimit none = {0, 0};
	struct ctx_taskgroup *group;
	struct hold hold;
	unsigned ran = 0;

	(void)unused;
	hold_init(&hold, 0);
	if (ctx_taskgroup_new(ctx_background(), 4, NULL, &group) ||
	    ctx_taskgroup_start(group, hold_up, &hold, NULL))
		return 1;
	sem_wait(&hold.begun);
	if (setrlimit(RLIMIT_NPROC, &none) || setuid(65534))
		return 77;
	if (ctx_taskgroup_start(group, count_up, &ran, NULL) != -EAGAIN ||
	    ctx_err(ctx_taskgroup_context(group)))
		return 2;
	sem_post(&hold.go);
	if (ctx_taskgroup_wait(group) || ran)
		return 3;
	/* The one thread that there is serves. */
	if (ctx_taskgroup_start(group, count_up, &ran, NULL) || ctx_taskgroup_wait(group) || ran != 1)
		return 4;
	ctx_taskgroup_free(group);
	return 0;
}

START_TEST(no_thread_to_be_had_is_said)
{
	int status = test_in_child(start_without_threads, NULL);

	if (status == 77)
		test_skip("needs to be root, to become another user");
	ck_assert_int_eq(status, 0);
}
END_TEST

/* Goal: ends of tasks, starts, waits and ends of the context at once, with ThreadSanitizer looking. */
static int start_more(const struct ctx_context *ctx, void *data)
{
	struct start *start = data;

	for (int i = 0; i < 3 && !ctx_err(ctx); i++)
		ctx_taskgroup_try_start(start->group, count_up, &start->ran, "more");
	return 0;
}

static void *cancel_it(void *data)
{
	sched_yield();
	ctx_cancel(data);
	return NULL;
}

START_TEST(everything_at_once)
{
	for (unsigned round = 0; round < test_scaled(500); round++) {
		struct ctx_context *parent = child_of(ctx_background());
		struct start start = {0};
		pthread_t canceller, starter;
		ck_assert_ok(ctx_taskgroup_new(parent, 2, NULL, &start.group));
		ck_assert_ok(pthread_create(&starter, NULL, start_one, &start));
		for (int i = 0; i < 4; i++)
			ck_assert_ok(ctx_taskgroup_start(start.group, start_more, &start, NULL));
		ck_assert_ok(pthread_create(&canceller, NULL, cancel_it, parent));
		while (ctx_taskgroup_start(start.group, start_more, &start, NULL) == 0)
			;
		ck_assert_ok(pthread_join(starter, NULL));
		ck_assert_ok(ctx_taskgroup_wait(start.group));
		ck_assert_ok(pthread_join(canceller, NULL));
		ctx_taskgroup_free(start.group);
		ctx_finish(parent);
	}
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
	struct ctx_taskgroup *group = group_of(1);
	struct ctx_failure failure;

	ck_assert_int_eq(ctx_taskgroup_new(NULL, 1, NULL, &group), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new(ctx_background(), 1, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_start(NULL, count_up, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_start(group, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_try_start(group, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_fail(group, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_fail(group, 5, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_fail(NULL, -5, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_wait(NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_failures(NULL, &failure, 1), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_failures(group, NULL, 1), -EINVAL);
	ck_assert_ptr_null(ctx_taskgroup_context(NULL));
	ck_assert_ptr_null(ctx_taskgroup_get_sqe(NULL, NULL));
	ck_assert_ptr_null(ctx_taskgroup_get_sqe(group, NULL));
	ctx_taskgroup_free(NULL);
	ck_assert_live(ctx_taskgroup_context(group));
	ctx_taskgroup_free(group);
}
END_TEST

START_TEST(freeing_ends_and_waits)
{
	struct ctx_taskgroup *group = group_of(3);
	sem_t begun;

	sem_init(&begun, 0, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_ok(ctx_taskgroup_start(group, wait_for_end, &begun, NULL));
	ctx_taskgroup_free(group);
	for (int i = 0; i < 3; i++)
		ck_assert_ok(sem_trywait(&begun));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("taskgroup");
	TCase *run = test_case(suite, "run"), *failures = test_case(suite, "failures"),
	      *threads = test_case(suite, "threads");

	tcase_add_loop_test(run, every_task_has_run_when_wait_returns, 0, 4);
	tcase_add_loop_test(run, never_more_than_the_limit_run, 1, 5);
	tcase_add_test(run, without_a_limit_it_is_the_processors);
	tcase_add_test(run, trying_does_not_wait);
	tcase_add_loop_test(run, a_start_that_waits_ends_with_the_context, 0, 2);
	tcase_add_test(run, starts_that_wait_are_served_in_turn);
	tcase_add_test(run, tasks_start_tasks);
	tcase_add_test(run, a_task_cannot_wait_for_its_own_group);
	tcase_add_test(run, a_task_that_frees_its_group_leaves_that_to_the_last);
	tcase_add_test(run, a_callback_of_the_context_can_free_the_group);
	tcase_add_test(run, freeing_ends_and_waits);
	tcase_add_test(run, bad_arguments_are_refused);
	tcase_add_test(failures, the_first_failure_ends_the_others_and_is_the_cause);
	tcase_add_test(failures, a_parents_end_is_no_failure);
	tcase_add_test(failures, a_deadline_of_the_parent_ends_the_tasks);
	tcase_add_test(failures, a_failure_can_be_reported_with_a_text);
	tcase_add_test(failures, of_many_failures_64_are_kept_and_all_counted);
	tcase_add_test(failures, long_names_and_texts_are_cut);
	tcase_add_test(failures, racing_failures_agree_on_the_first);
	tcase_add_test(threads, threads_serve_one_group_after_the_other);
	tcase_add_test(threads, a_forked_child_leaves_the_parents_group_alone);
	tcase_add_test(threads, no_thread_to_be_had_is_said);
	tcase_add_test(threads, everything_at_once);
	return suite;
}
