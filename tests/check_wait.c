/* SPDX-License-Identifier: MIT */
/* Waiting for the end: ctx_wait, ctx_wait_fd and the done descriptor in every kind of loop. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

struct waiter {
	pthread_t thread;
	const struct ctx_context *ctx;
	uint64_t timeout_ns;
	unsigned ready, wakes;
	int result;
};

static void *wait_once(void *data)
{
	struct waiter *waiter = data;

	__atomic_store_n(&waiter->ready, 1, __ATOMIC_RELEASE);
	waiter->result = ctx_wait(waiter->ctx, waiter->timeout_ns);
	__atomic_fetch_add(&waiter->wakes, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void waiter_start(struct waiter *waiter, const struct ctx_context *ctx)
{
	*waiter = (struct waiter){.ctx = ctx, .timeout_ns = CTX_FOREVER};
	ck_assert_ok(pthread_create(&waiter->thread, NULL, wait_once, waiter));
	while (!__atomic_load_n(&waiter->ready, __ATOMIC_ACQUIRE))
		sched_yield();
}

START_TEST(every_waiter_wakes_exactly_once)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct waiter waiters[4];

	for (int i = 0; i < 4; i++)
		waiter_start(&waiters[i], i % 2 ? child : parent);
	ck_assert_ok(ctx_cancel(parent));
	for (int i = 0; i < 4; i++) {
		ck_assert_ok(pthread_join(waiters[i].thread, NULL));
		ck_assert_ok(waiters[i].result);
		ck_assert_uint_eq(waiters[i].wakes, 1);
	}
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

START_TEST(a_done_context_is_not_waited_for)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_wait(ctx, 0));
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	ctx_finish(ctx);
}
END_TEST

START_TEST(wait_is_bounded_by_its_timeout)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t before = clock_now_ns();

	ck_assert_int_eq(ctx_wait(ctx, 20 * MILLISECOND), -ETIMEDOUT);
	ck_assert_uint_ge(clock_now_ns() - before, 20 * MILLISECOND);
	ck_assert_int_eq(ctx_wait(ctx_background(), 5 * MILLISECOND), -ETIMEDOUT);
	ck_assert_live(ctx);
	ctx_finish(ctx);
}
END_TEST

static void ignore_signal(int signo)
{
	(void)signo;
}

START_TEST(signals_do_not_interrupt_a_wait)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct sigaction action = {.sa_handler = ignore_signal};
	struct waiter waiter;

	ck_assert_ok(sigaction(SIGUSR1, &action, NULL));
	waiter_start(&waiter, ctx);
	for (int i = 0; i < 100; i++) {
		ck_assert_ok(pthread_kill(waiter.thread, SIGUSR1));
		sched_yield();
	}
	ck_assert_uint_eq(__atomic_load_n(&waiter.wakes, __ATOMIC_RELAXED), 0);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(pthread_join(waiter.thread, NULL));
	ck_assert_ok(waiter.result);
	ctx_finish(ctx);
}
END_TEST

static short poll_now(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};

	ck_assert_int_ge(poll(&entry, 1, 0), 0);
	return entry.revents;
}

START_TEST(done_fd_is_the_same_one_and_stays_readable_for_ever)
{
	struct ctx_context *ctx = child_of(ctx_background());
	int fd = ctx_done_fd(ctx);
	char buffer[64];

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ctx_done_fd(ctx), fd);
	ck_assert_int_eq(poll_now(fd), 0);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert(poll_now(fd) & POLLHUP);
	/* Nobody can drain it. */
	for (int i = 0; i < 5; i++)
		ck_assert_int_ge(read(fd, buffer, sizeof(buffer)), 0);
	ck_assert(poll_now(fd) & POLLHUP);
	ck_assert_int_eq(ctx_done_fd(ctx), fd);
	ctx_finish(ctx);
}
END_TEST

static bool fd_is_closed(void *fd)
{
	return fcntl(*(int *)fd, F_GETFD) == -1 && errno == EBADF;
}

START_TEST(done_fd_is_closed_with_the_last_reference)
{
	struct ctx_context *ctx = child_of(ctx_background());
	const struct ctx_context *second = ctx_ref(ctx);
	int fd = ctx_done_fd(ctx);

	ctx_finish(ctx);
	ck_assert(!fd_is_closed(&fd));
	ck_assert(poll_now(fd) & POLLHUP);
	ctx_unref(second);
	ck_assert(test_until(fd_is_closed, &fd));
}
END_TEST

START_TEST(done_fd_of_a_done_context_is_ready_at_once)
{
	struct ctx_context *ctx = child_of(ctx_background()), *child = child_of(ctx);

	ck_assert_ok(ctx_cancel(ctx));
	ck_assert(poll_now(ctx_done_fd(ctx)) & POLLHUP);
	ck_assert(poll_now(ctx_done_fd(child)) & POLLHUP);
	ctx_finish(child);
	ctx_finish(ctx);
}
END_TEST

START_TEST(done_fd_of_an_endless_context_is_never_ready)
{
	const struct ctx_context *detached = detached_child_of(ctx_background());
	int fd = ctx_done_fd(ctx_background());

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ctx_done_fd(ctx_todo()), fd);
	ck_assert_int_eq(poll_now(fd), 0);
	ck_assert_int_eq(poll_now(ctx_done_fd(detached)), 0);
	ctx_unref(detached);
	ck_assert(!fd_is_closed(&fd));
}
END_TEST

START_TEST(done_fds_of_a_tree_hang_up_together)
{
	struct ctx_context *parent = child_of(ctx_background()), *children[20];

	for (int i = 0; i < 20; i++) {
		children[i] = child_of(i % 2 ? children[i - 1] : parent);
		ck_assert_int_eq(poll_now(ctx_done_fd(children[i])), 0);
	}
	ck_assert_ok(ctx_cancel(parent));
	for (int i = 0; i < 20; i++) {
		ck_assert(poll_now(ctx_done_fd(children[i])) & POLLHUP);
		ctx_finish(children[i]);
	}
	ctx_finish(parent);
}
END_TEST

START_TEST(expiry_hangs_the_done_fd_up)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 5 * MILLISECOND);
	struct pollfd entry = {.fd = ctx_done_fd(ctx), .events = 0};

	ck_assert_int_eq(poll(&entry, 1, -1), 1);
	ck_assert(entry.revents & POLLHUP);
	ck_assert_expired(ctx);
	ctx_finish(ctx);
}
END_TEST

static void *cancel_it(void *ctx)
{
	ck_assert_ok(ctx_cancel(ctx));
	return NULL;
}

/* Goal: one done fd among many in epoll, as in a server. Method: idle pipes, then a cancel from another
 * thread. */
START_TEST(one_done_fd_among_many_in_epoll_and_select)
{
	enum {
		MANY = 50
	};
	int pipes[MANY][2], epoll = epoll_create1(EPOLL_CLOEXEC);
	struct ctx_context *ctx = child_of(ctx_background());
	struct epoll_event event = {.events = EPOLLIN, .data.fd = ctx_done_fd(ctx)}, ready[MANY];
	pthread_t thread;
	fd_set set;

	ck_assert_ok(epoll_ctl(epoll, EPOLL_CTL_ADD, ctx_done_fd(ctx), &event));
	for (int i = 0; i < MANY; i++) {
		ck_assert_ok(pipe2(pipes[i], O_CLOEXEC));
		event.data.fd = pipes[i][0];
		ck_assert_ok(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[i][0], &event));
	}
	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
	ck_assert_int_eq(epoll_wait(epoll, ready, MANY, -1), 1);
	ck_assert_int_eq(ready[0].data.fd, ctx_done_fd(ctx));
	ck_assert_int_eq(epoll_wait(epoll, ready, MANY, 0), 1);
	FD_ZERO(&set);
	FD_SET(ctx_done_fd(ctx), &set);
	ck_assert_int_eq(select(ctx_done_fd(ctx) + 1, &set, NULL, NULL, NULL), 1);
	ck_assert_ok(pthread_join(thread, NULL));
	for (int i = 0; i < MANY; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	close(epoll);
	ctx_finish(ctx);
}
END_TEST

START_TEST(wait_fd_returns_the_events_of_the_fd)
{
	struct ctx_context *ctx = child_of(ctx_background());
	int pipes[2];

	ck_assert_ok(pipe2(pipes, O_CLOEXEC));
	ck_assert_int_eq(ctx_wait_fd(ctx, pipes[0], POLLIN, 0), -ETIMEDOUT);
	ck_assert_int_eq(ctx_wait_fd(ctx, pipes[0], POLLIN, 2 * MILLISECOND), -ETIMEDOUT);
	ck_assert_int_eq(ctx_wait_fd(ctx, pipes[1], POLLOUT, CTX_FOREVER), POLLOUT);
	ck_assert_int_eq(write(pipes[1], "x", 1), 1);
	ck_assert_int_eq(ctx_wait_fd(ctx, pipes[0], POLLIN, CTX_FOREVER), POLLIN);
	ck_assert_int_eq(ctx_wait_fd(ctx_background(), pipes[0], POLLIN, CTX_FOREVER), POLLIN);
	/* The end wins over a ready descriptor. */
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctx_wait_fd(ctx, pipes[0], POLLIN, CTX_FOREVER), -ECANCELED);
	close(pipes[0]);
	close(pipes[1]);
	ctx_finish(ctx);
}
END_TEST

START_TEST(wait_fd_ends_with_its_context)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_context *timed = timed_child_of(ctx_background(), 5 * MILLISECOND);
	pthread_t thread;
	int pipes[2];

	ck_assert_ok(pipe2(pipes, O_CLOEXEC));
	ck_assert_int_eq(ctx_wait_fd(timed, pipes[0], POLLIN, CTX_FOREVER), -ETIME);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_it, ctx));
	ck_assert_int_eq(ctx_wait_fd(ctx, pipes[0], POLLIN, CTX_FOREVER), -ECANCELED);
	ck_assert_ok(pthread_join(thread, NULL));
	close(pipes[0]);
	close(pipes[1]);
	ctx_finish(timed);
	ctx_finish(ctx);
}
END_TEST

START_TEST(wait_fd_is_interrupted_by_a_signal)
{
	struct sigaction action = {.sa_handler = ignore_signal};
	struct ctx_context *ctx = child_of(ctx_background());
	/* Fires again and again, so that one that comes too early is no loss. */
	struct itimerspec often = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 1000000};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	timer_t timer;
	int pipes[2], result;

	ck_assert_ok(pipe2(pipes, O_CLOEXEC));
	ck_assert_ok(sigaction(SIGUSR1, &action, NULL));
	ck_assert_ok(timer_create(CLOCK_MONOTONIC, &event, &timer));
	ck_assert_ok(timer_settime(timer, 0, &often, NULL));
	result = ctx_wait_fd(ctx, pipes[0], POLLIN, CTX_FOREVER);
	ck_assert_ok(timer_delete(timer));
	ck_assert_int_eq(result, -EINTR);
	close(pipes[0]);
	close(pipes[1]);
	ctx_finish(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("wait");
	TCase *wait = test_case(suite, "wait");

	tcase_add_test(wait, every_waiter_wakes_exactly_once);
	tcase_add_test(wait, a_done_context_is_not_waited_for);
	tcase_add_test(wait, wait_is_bounded_by_its_timeout);
	tcase_add_test(wait, signals_do_not_interrupt_a_wait);
	tcase_add_test(wait, wait_fd_returns_the_events_of_the_fd);
	tcase_add_test(wait, wait_fd_ends_with_its_context);
	tcase_add_test(wait, wait_fd_is_interrupted_by_a_signal);
	TCase *done_fd = test_case(suite, "done fd");
	tcase_add_test(done_fd, done_fd_is_the_same_one_and_stays_readable_for_ever);
	tcase_add_test(done_fd, done_fd_is_closed_with_the_last_reference);
	tcase_add_test(done_fd, done_fd_of_a_done_context_is_ready_at_once);
	tcase_add_test(done_fd, done_fd_of_an_endless_context_is_never_ready);
	tcase_add_test(done_fd, done_fds_of_a_tree_hang_up_together);
	tcase_add_test(done_fd, expiry_hangs_the_done_fd_up);
	tcase_add_test(done_fd, one_done_fd_among_many_in_epoll_and_select);
	return suite;
}
