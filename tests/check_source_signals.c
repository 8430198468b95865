/* SPDX-License-Identifier: MIT */
/*
 * Contexts that end with signals. Each test runs in a child of its own, whose masks and end are its own: it
 * returns the line of what did not hold, or is killed, as is expected of it.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "support/sources.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED | TEST_PLAIN);

#define KILLED_BY(signo) (256 + (signo))

#define EXPECT(condition)                      \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 256; \
	} while (0)

static sigset_t set_of(int first, int second)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, first);
	if (second)
		sigaddset(&set, second);
	return set;
}

static int make(struct ctx_ring *ring, int first, int second, struct ctx_context **ret_ctx)
{
	sigset_t set = set_of(first, second);

	return ctx_with_signals(ctx_background(), ring, &set, "signals", ret_ctx);
}

/* As await_end(), without assertions. */
static bool ended(struct ctx_ring *ring, const struct ctx_context *ctx)
{
	return ring ? ctx_ring_run(ring, ctx) == 0 : ctx_wait(ctx, SOON) == 0;
}

static struct ctx_ring *open_ring(int backend)
{
	struct ctx_ring_options options = {
		.setup_flags = setup_flags_of(backend == ON_DEFER_RING ? RING_DEFER : RING_ORDINARY)};
	struct ctx_ring *ring = NULL;

	if (backend != WATCHER && ctx_ring_open(8, &options, &ring))
		abort();
	return ring;
}

/* For ever: until the signal that was sent has killed this process. */
static __attribute__((noreturn)) int await_death(void)
{
	alarm(100);
	for (;;)
		pause();
}

struct job {
	int (*function)(void *backend);
	int backend;
};

/* With the signals as a shell starts a program: the harness handles some. */
static int run_job(void *data)
{
	struct job *job = data;
	sigset_t none;

	for (int signo = 1; signo < SIGRTMIN; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	return job->function(&job->backend);
}

#define IN_CHILD(name, outcome)                                          \
	START_TEST(name)                                                 \
	{                                                                \
		struct job job = {do_##name, _i};                        \
		ck_assert_int_eq(test_in_child(run_job, &job), outcome); \
	}                                                                \
	END_TEST

static int do_the_first_one_ends_it_and_the_second_kills(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *ctx;
	struct ctx_cause cause;

	EXPECT(make(ring, SIGINT, SIGTERM, &ctx) == 0);
	EXPECT(kill(getpid(), SIGINT) == 0);
	EXPECT(ended(ring, ctx));
	EXPECT(ctx_err(ctx) == -ECANCELED);
	EXPECT(ctx_get_cause(ctx, &cause) == 0 && cause.kind == CTX_CAUSE_SIGNAL && cause.code == SIGINT);
	EXPECT(strcmp(cause.text, "signal 2 (Interrupt)") == 0);
	/* The other one of the set, too. */
	kill(getpid(), SIGTERM);
	return await_death();
}
IN_CHILD(the_first_one_ends_it_and_the_second_kills, KILLED_BY(SIGTERM))

static int do_two_contexts_end_with_one_signal(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *first, *second, *other, *watched;

	EXPECT(make(ring, SIGINT, SIGTERM, &first) == 0);
	EXPECT(make(ring, SIGINT, SIGHUP, &second) == 0);
	EXPECT(make(ring, SIGUSR1, 0, &other) == 0);
	/* And one that the library's thread watches. */
	EXPECT(make(NULL, SIGINT, 0, &watched) == 0);
	EXPECT(kill(getpid(), SIGINT) == 0);
	EXPECT(ended(ring, first) && ended(ring, second) && ended(NULL, watched));
	EXPECT(ctx_err(other) == 0);
	EXPECT(kill(getpid(), SIGUSR1) == 0);
	EXPECT(ended(ring, other));
	ctx_finish(first);
	ctx_finish(second);
	ctx_finish(other);
	ctx_finish(watched);
	return ctx_ring_close(ring, SOON, NULL, 0, NULL);
}
IN_CHILD(two_contexts_end_with_one_signal, 0)

/* Goal: what another context waits for is caught, although a context with it has ended. */
static int do_a_signal_that_is_waited_for_still_does_not_kill(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *both, *one;

	EXPECT(make(ring, SIGINT, SIGTERM, &both) == 0);
	EXPECT(make(ring, SIGTERM, 0, &one) == 0);
	EXPECT(kill(getpid(), SIGINT) == 0);
	EXPECT(ended(ring, both));
	EXPECT(ctx_err(one) == 0);
	EXPECT(kill(getpid(), SIGTERM) == 0);
	EXPECT(ended(ring, one));
	kill(getpid(), SIGINT);
	return await_death();
}
IN_CHILD(a_signal_that_is_waited_for_still_does_not_kill, KILLED_BY(SIGINT))

static int do_released_before_any_came_the_default_is_back(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *ctx;

	EXPECT(make(ring, SIGTERM, 0, &ctx) == 0);
	ctx_unref(ctx);
	kill(getpid(), SIGTERM);
	return await_death();
}
IN_CHILD(released_before_any_came_the_default_is_back, KILLED_BY(SIGTERM))

/* Goal: a thread that took the signals back gives them up again before the call returns. */
static int do_made_again_it_catches_again(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);

	for (int i = 0; i < 50; i++) {
		struct ctx_context *ctx;
		EXPECT(make(ring, SIGTERM, SIGINT, &ctx) == 0);
		EXPECT(kill(getpid(), i & 1 ? SIGTERM : SIGINT) == 0);
		EXPECT(ended(ring, ctx));
		ctx_finish(ctx);
	}
	return ctx_ring_close(ring, SOON, NULL, 0, NULL);
}
IN_CHILD(made_again_it_catches_again, 0)

static void handler(int signo)
{
	(void)signo;
}

static int do_what_is_the_programs_own_is_refused(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *ctx;
	sigset_t set = set_of(SIGUSR2, 0), empty, now;

	sigemptyset(&empty);
	signal(SIGUSR1, handler);
	signal(SIGHUP, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	EXPECT(make(ring, SIGUSR1, 0, &ctx) == -EBUSY);
	EXPECT(make(ring, SIGHUP, SIGUSR1, &ctx) == -EBUSY);
	EXPECT(make(ring, SIGUSR2, 0, &ctx) == -EBUSY);
	EXPECT(make(ring, SIGKILL, 0, &ctx) == -EINVAL);
	EXPECT(make(ring, SIGSTOP, SIGTERM, &ctx) == -EINVAL);
	EXPECT(ctx_with_signals(ctx_background(), ring, &empty, NULL, &ctx) == -EINVAL);
	EXPECT(ctx_with_signals(ctx_background(), ring, NULL, NULL, &ctx) == -EINVAL);
	/* Nothing was blocked by what failed. */
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	EXPECT(!sigismember(&now, SIGTERM) && !sigismember(&now, SIGUSR1));
	return ctx_ring_close(ring, SOON, NULL, 0, NULL);
}
IN_CHILD(what_is_the_programs_own_is_refused, 0)

/*
 * Goal: a program starts as others do where some signals are ignored: under nohup(1), or with "&" in a
 * script, and they stay so. Those that are not ignored end its context, and what was ignored then neither
 * kills nor ends it later.
 */
static int do_what_is_ignored_stays_so(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *ctx, *again;
	struct sigaction action;
	sigset_t now, pending;

	signal(SIGINT, SIG_IGN);
	EXPECT(make(ring, SIGINT, SIGTERM, &ctx) == 0);
	/* In the order in which the kernel gives them, the ignored one would be first. */
	EXPECT(kill(getpid(), SIGINT) == 0);
	EXPECT(kill(getpid(), SIGTERM) == 0);
	EXPECT(ended(ring, ctx));
	struct ctx_cause cause;
	EXPECT(ctx_get_cause(ctx, &cause) == 0 && cause.code == SIGTERM);
	ctx_finish(ctx);
	EXPECT(sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	EXPECT(!sigismember(&now, SIGINT));
	/* Nor is it kept for whoever takes it later. */
	EXPECT(sigpending(&pending) == 0 && !sigismember(&pending, SIGINT));
	signal(SIGINT, SIG_DFL);
	EXPECT(make(ring, SIGINT, SIGTERM, &again) == 0);
	EXPECT(kill(getpid(), SIGINT) == 0);
	EXPECT(ended(ring, again));
	ctx_finish(again);
	return ctx_ring_close(ring, SOON, NULL, 0, NULL);
}
IN_CHILD(what_is_ignored_stays_so, 0)

static int do_without_one_that_is_not_ignored_it_is_refused(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *ctx;
	sigset_t now;

	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	EXPECT(make(ring, SIGINT, SIGHUP, &ctx) == -EBUSY);
	EXPECT(make(ring, SIGINT, 0, &ctx) == -EBUSY);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	EXPECT(!sigismember(&now, SIGINT) && !sigismember(&now, SIGHUP));
	kill(getpid(), SIGINT);
	return ctx_ring_close(ring, SOON, NULL, 0, NULL);
}
IN_CHILD(without_one_that_is_not_ignored_it_is_refused, 0)

static int die_of_it(void *data)
{
	(void)data;
	kill(getpid(), SIGTERM);
	return await_death();
}

/* A child of fork(2) has nobody to wait for them, so they are not blocked in it. */
static int do_a_forked_child_is_killed_as_ever(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *ctx;

	EXPECT(make(ring, SIGTERM, 0, &ctx) == 0);
	EXPECT(test_in_child(die_of_it, NULL) == KILLED_BY(SIGTERM));
	EXPECT(ctx_err(ctx) == 0);
	EXPECT(kill(getpid(), SIGTERM) == 0);
	EXPECT(ended(ring, ctx));
	ctx_finish(ctx);
	return ctx_ring_close(ring, SOON, NULL, 0, NULL);
}
IN_CHILD(a_forked_child_is_killed_as_ever, 0)

static int do_under_a_done_parent_nothing_is_blocked(void *data)
{
	struct ctx_ring *ring = open_ring(*(int *)data);
	struct ctx_context *parent, *ctx;
	sigset_t set = set_of(SIGTERM, 0);

	EXPECT(ctx_with_cancel(ctx_background(), NULL, &parent) == 0);
	ctx_cancel(parent);
	EXPECT(ctx_with_signals(parent, ring, &set, NULL, &ctx) == 0);
	EXPECT(ctx_err(ctx) == -ECANCELED);
	kill(getpid(), SIGTERM);
	return await_death();
}
IN_CHILD(under_a_done_parent_nothing_is_blocked, KILLED_BY(SIGTERM))

Suite *test_suite(void)
{
	Suite *suite = suite_create("source_signals");
	/* No thread of the library's runs when a test forks: AddressSanitizer's allocator may be locked by
	 * it. */
	TCase *tests = test_case_cold(suite, "signals");
	ON_EACH_BACKEND(tests, the_first_one_ends_it_and_the_second_kills);
	ON_EACH_BACKEND(tests, two_contexts_end_with_one_signal);
	ON_EACH_BACKEND(tests, a_signal_that_is_waited_for_still_does_not_kill);
	ON_EACH_BACKEND(tests, released_before_any_came_the_default_is_back);
	ON_EACH_BACKEND(tests, made_again_it_catches_again);
	ON_EACH_BACKEND(tests, what_is_the_programs_own_is_refused);
	ON_EACH_BACKEND(tests, what_is_ignored_stays_so);
	ON_EACH_BACKEND(tests, without_one_that_is_not_ignored_it_is_refused);
	ON_EACH_BACKEND(tests, a_forked_child_is_killed_as_ever);
	ON_EACH_BACKEND(tests, under_a_done_parent_nothing_is_blocked);
	return suite;
}
