/* SPDX-License-Identifier: MIT */
/*
 * Contexts that end when a peer closes its socket. Measured are the time from the peer's close(2) until
 * another thread sees the end, beside a poll(2) of the same socket; and what it costs to make and release
 * such a context, beside a plain one.
 */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>

#include "bench.h"
#include "ctxring.h"

enum how {
	BY_POLLER, /* the thread of the library that waits for the events of all contexts */
	BY_RING,
	BY_POLL /* no context: poll(2) */
};

/* The thread that waits for the end, once in each round. */
struct waiter {
	enum how how;
	unsigned rounds;
	int near;
	sem_t ready, go;
	uint64_t seen_ns;
	struct ctx_context *ctx;
};

static void wait_for_end(struct waiter *waiter, struct ctx_ring *ring)
{
	struct pollfd fd = {.fd = waiter->near, .events = POLLRDHUP};

	switch (waiter->how) {
	case BY_POLLER:
		bench_check(ctx_wait(waiter->ctx, CTX_FOREVER), "ctx_wait");
		break;
	case BY_RING:
		bench_check(ctx_ring_run(ring, waiter->ctx), "ctx_ring_run");
		break;
	case BY_POLL:
		if (poll(&fd, 1, -1) != 1)
			bench_fail("poll: %s", strerror(errno));
		break;
	}
	waiter->seen_ns = bench_now_ns();
}

static void *run_waiter(void *data)
{
	struct waiter *waiter = data;
	struct ctx_ring *ring = NULL;

	if (waiter->how == BY_RING)
		bench_check(ctx_ring_open(8, NULL, &ring), "ctx_ring_open");
	for (unsigned round = 0; round < waiter->rounds; round++) {
		sem_wait(&waiter->go);
		if (waiter->how != BY_POLL)
			bench_check(
				ctx_with_hangup(ctx_background(), ring, waiter->near, 0, NULL, &waiter->ctx),
				"ctx_with_hangup");
		sem_post(&waiter->ready);
		wait_for_end(waiter, ring);
		if (waiter->how != BY_POLL)
			ctx_finish(waiter->ctx);
		sem_post(&waiter->ready);
	}
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	return NULL;
}

/* Median over the rounds. In each of them the waiting thread has had time to fall asleep. */
static double run_wake(void *data)
{
	const unsigned rounds = bench.quick ? 101 : 301;
	struct waiter waiter = {.how = *(enum how *)data, .rounds = rounds};
	double *took = bench_allocate(rounds, sizeof(*took));
	pthread_t thread;

	sem_init(&waiter.ready, 0, 0);
	sem_init(&waiter.go, 0, 0);
	if (pthread_create(&thread, NULL, run_waiter, &waiter))
		bench_fail("no thread");
	for (unsigned round = 0; round < rounds; round++) {
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
			bench_fail("socketpair: %s", strerror(errno));
		waiter.near = fds[0];
		sem_post(&waiter.go);
		sem_wait(&waiter.ready);
		usleep(200);
		uint64_t start_ns = bench_now_ns();
		close(fds[1]);
		sem_wait(&waiter.ready);
		took[round] = (double)(waiter.seen_ns - start_ns) / 1000;
		close(fds[0]);
	}
	pthread_join(thread, NULL);
	double median = bench_median(took, rounds);
	free(took);
	return median;
}

struct maker {
	struct ctx_ring *ring;
	bool plain;
	int fd;
};

static double run_make(void *data)
{
	const struct maker *maker = data;
	const unsigned rounds = 5000;
	uint64_t start_ns = bench_now_ns();

	for (unsigned round = 0; round < rounds; round++) {
		struct ctx_context *ctx;
		bench_check(maker->plain ? ctx_with_cancel(ctx_background(), NULL, &ctx)
					 : ctx_with_hangup(ctx_background(), maker->ring, maker->fd, 0, NULL,
							   &ctx),
			    "make");
		ctx_unref(ctx);
		if (maker->ring && round % 32 == 31)
			bench_check(ctx_ring_dispatch(maker->ring, 0), "ctx_ring_dispatch");
	}
	return (double)(bench_now_ns() - start_ns) / rounds;
}

static void compare_wakes(void)
{
	static enum how hows[] = {BY_POLLER, BY_RING, BY_POLL};
	const bench_side sides[] = {run_wake, run_wake, run_wake};
	void *data[] = {&hows[0], &hows[1], &hows[2]};
	struct bench_turns turns;

	if (!bench_wanted("peer closes"))
		return;
	bench_take_turns(&turns, bench.quick ? 5 : 15, 3, sides, data);
	bench_report("peer closes, seen by the shared thread", bench_turns_median(&turns, 0), "us",
		     bench_turns_ratio(&turns, 0, 2), "poll(2) of the socket", NULL);
	bench_report("peer closes, seen on a ring", bench_turns_median(&turns, 1), "us",
		     bench_turns_ratio(&turns, 1, 2), "poll(2) of the socket", NULL);
	bench_report("peer closes, seen by poll(2)", bench_turns_median(&turns, 2), "us", NAN, NULL, NULL);
}

static void compare_making(void)
{
	const bench_side sides[] = {run_make, run_make, run_make};
	struct maker makers[3] = {{0}, {0}, {.plain = true}};
	void *data[] = {&makers[0], &makers[1], &makers[2]};
	struct bench_turns turns;
	int fds[2];

	if (!bench_wanted("make and release"))
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		bench_fail("socketpair: %s", strerror(errno));
	makers[0].fd = makers[1].fd = fds[0];
	bench_check(ctx_ring_open(64, NULL, &makers[1].ring), "ctx_ring_open");
	bench_take_turns(&turns, bench.quick ? 11 : 31, 3, sides, data);
	bench_report("make and release, shared thread", bench_turns_median(&turns, 0), "ns",
		     bench_turns_ratio(&turns, 0, 2), "plain context", NULL);
	bench_report("make and release, ring", bench_turns_median(&turns, 1), "ns",
		     bench_turns_ratio(&turns, 1, 2), "plain context", NULL);
	ctx_ring_close(makers[1].ring, CTX_FOREVER, NULL, 0, NULL);
	close(fds[0]);
	close(fds[1]);
}

int main(int count, char **arguments)
{
	bench_start("source", count, arguments);
	compare_wakes();
	compare_making();
	return 0;
}
