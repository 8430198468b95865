/* SPDX-License-Identifier: MIT */
/*
 * How the time of an action grows: its time at four times the size, divided by its time at the size. Linear
 * work shows 4, and quadratic work 16. There is one case for each kind of loop whose length a program
 * decides.
 *
 * The question is how much work is done, not how fast the machine is. So processor time is measured, the
 * shortest of several turns counts for each size, and the sizes are such that the memory fits the caches of
 * the machine.
 */
#include "bench.h"
#include "ctxring.h"

#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define TURNS 15
#define HOUR_NS 3600000000000u

static struct ctx_context *child(const struct ctx_context *parent)
{
	struct ctx_context *ctx;

	bench_check(ctx_with_cancel(parent, NULL, &ctx), "ctx_with_cancel");
	return ctx;
}

static struct ctx_context *movable(const struct ctx_context *parent, uint64_t deadline_ns)
{
	struct ctx_context *ctx;

	bench_check(ctx_with_movable_deadline(parent, deadline_ns, NULL, &ctx), "ctx_with_movable_deadline");
	return ctx;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t in_hours(unsigned hours)
{
	return bench_now_ns() + hours * HOUR_NS;
}

static struct ctx_ring *ring_new(unsigned entries)
{
	struct ctx_ring *ring;

	bench_check(ctx_ring_open(entries, NULL, &ring), "ctx_ring_open");
	return ring;
}

static void ring_end(struct ctx_ring *ring)
{
	bench_check(ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL), "ctx_ring_close");
}

static struct ctx_op *ops_new(unsigned count)
{
	struct ctx_op *ops = bench_allocate(count, sizeof(*ops));

	for (unsigned i = 0; i < count; i++)
		ctx_op_init(&ops[i], NULL, 0);
	return ops;
}

static void release_all(struct ctx_context **contexts, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ctx_unref(contexts[i]);
	free(contexts);
}

/* ---- the tree */

/* Two merged contexts on each level, each a child of both contexts above: 2^levels ways lead from top to
 * bottom. */
static struct ctx_context **lattice(struct ctx_context *top, unsigned levels)
{
	struct ctx_context **contexts = bench_allocate(2 * levels, sizeof(struct ctx_context *));

	for (unsigned i = 0; i < 2 * levels; i++) {
		unsigned above = i / 2 * 2;
		const struct ctx_context *parents[2] = {top, top};
		if (above) {
			parents[0] = contexts[above - 2];
			parents[1] = contexts[above - 1];
		}
		bench_check(ctx_merge(parents, 2, NULL, &contexts[i]), "ctx_merge");
	}
	return contexts;
}

static double cancel_lattice(unsigned levels)
{
	struct ctx_context *top = child(ctx_background()), **contexts = lattice(top, levels);
	uint64_t start_ns = now_ns();

	ctx_cancel(top);
	double took = (double)(now_ns() - start_ns);
	release_all(contexts, 2 * levels);
	ctx_unref(top);
	return took;
}

static double move_lattice(unsigned levels)
{
	struct ctx_context *top = movable(ctx_background(), in_hours(1)), **contexts = lattice(top, levels);
	uint64_t start_ns = now_ns();

	bench_check(ctx_set_deadline(top, in_hours(2)), "ctx_set_deadline");
	double took = (double)(now_ns() - start_ns);
	release_all(contexts, 2 * levels);
	ctx_finish(top);
	return took;
}

static double drain_lattice(unsigned levels)
{
	struct ctx_context *top = child(ctx_background()), **contexts = lattice(top, levels);
	struct ctx_ring *ring = ring_new(8);
	uint64_t start_ns = now_ns();

	bench_check(ctx_ring_drain(ring, top, 0, NULL, 0, NULL), "ctx_ring_drain");
	double took = (double)(now_ns() - start_ns);
	release_all(contexts, 2 * levels);
	ctx_finish(top);
	ring_end(ring);
	return took;
}

/* Moves the deadline of all parents of a merged context at once. */
static double move_parents(unsigned count)
{
	struct ctx_context *top = movable(ctx_background(), in_hours(1)), *merged;
	struct ctx_context **parents = bench_allocate(count, sizeof(struct ctx_context *));

	for (unsigned i = 0; i < count; i++)
		parents[i] = child(top);
	bench_check(ctx_merge((const struct ctx_context *const *)parents, count, NULL, &merged), "ctx_merge");
	uint64_t start_ns = now_ns();
	bench_check(ctx_set_deadline(top, in_hours(2)), "ctx_set_deadline");
	double took = (double)(now_ns() - start_ns);
	ctx_finish(merged);
	release_all(parents, count);
	ctx_finish(top);
	return took;
}

static double move_each(unsigned count)
{
	struct ctx_context *top = child(ctx_background());
	struct ctx_context **contexts = bench_allocate(count, sizeof(struct ctx_context *));

	for (unsigned i = 0; i < count; i++)
		contexts[i] = movable(top, in_hours(1) + i);
	uint64_t later_ns = in_hours(2);
	uint64_t start_ns = now_ns();
	for (unsigned i = 0; i < count; i++)
		bench_check(ctx_set_deadline(contexts[i], later_ns + i), "ctx_set_deadline");
	double took = (double)(now_ns() - start_ns);
	release_all(contexts, count);
	ctx_finish(top);
	return took;
}

static double release_deep(unsigned count)
{
	struct ctx_context *bottom = child(ctx_background());

	for (unsigned i = 1; i < count; i++) {
		struct ctx_context *below = child(bottom);
		ctx_unref(bottom);
		bottom = below;
	}
	uint64_t start_ns = now_ns();
	ctx_unref(bottom);
	return (double)(now_ns() - start_ns);
}

static double cancel_deep(unsigned count)
{
	struct ctx_context *top = child(ctx_background()), *bottom = child(top);

	for (unsigned i = 1; i < count; i++) {
		struct ctx_context *below = child(bottom);
		ctx_unref(bottom);
		bottom = below;
	}
	uint64_t start_ns = now_ns();
	ctx_cancel(top);
	double took = (double)(now_ns() - start_ns);
	ctx_unref(bottom);
	ctx_unref(top);
	return took;
}

static unsigned runs;

static void count_run(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	(void)data;
	runs++;
}

/* Runs callbacks, half of which are bound to a ring. */
static double mixed_callbacks(unsigned count)
{
	struct ctx_context *ctx = child(ctx_background());
	struct ctx_callback *callbacks = bench_allocate(count, sizeof(*callbacks));
	struct ctx_ring *ring = ring_new(8);

	for (unsigned i = 0; i < count; i++)
		bench_check(i % 2 ? ctx_callback_add(ctx, &callbacks[i], count_run, NULL, NULL)
				  : ctx_callback_add_on_ring(ctx, ring, &callbacks[i], count_run, NULL, NULL),
			    "ctx_callback_add");
	runs = 0;
	uint64_t start_ns = now_ns();
	ctx_cancel(ctx);
	while (runs < count)
		bench_check(ctx_ring_dispatch(ring, 0), "ctx_ring_dispatch");
	double took = (double)(now_ns() - start_ns);
	ctx_unref(ctx);
	ring_end(ring);
	free(callbacks);
	return took;
}

static double stop_callbacks(unsigned count)
{
	struct ctx_context *ctx = child(ctx_background());
	struct ctx_callback *callbacks = bench_allocate(count, sizeof(*callbacks));
	uint64_t *ids = bench_allocate(count, sizeof(*ids));

	for (unsigned i = 0; i < count; i++)
		bench_check(ctx_callback_add(ctx, &callbacks[i], count_run, NULL, &ids[i]),
			    "ctx_callback_add");
	uint64_t start_ns = now_ns();
	for (unsigned i = count; i--;)
		ctx_callback_stop(ids[i]);
	double took = (double)(now_ns() - start_ns);
	ctx_finish(ctx);
	free(callbacks);
	free(ids);
	return took;
}

/* ---- rings */

static double cancel_staged(unsigned count)
{
	struct ctx_context *ctx = child(ctx_background());
	struct ctx_ring *ring = ring_new(8);
	struct ctx_op *ops = ops_new(count);

	for (unsigned i = 0; i < count; i++)
		io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &ops[i]));
	uint64_t start_ns = now_ns();
	for (unsigned i = count; i--;)
		bench_check(ctx_op_cancel(ring, &ops[i]), "ctx_op_cancel");
	double took = (double)(now_ns() - start_ns);
	ring_end(ring);
	ctx_finish(ctx);
	free(ops);
	return took;
}

/* Ends contexts one after the other that have one staged operation each. */
static double end_staged(unsigned count)
{
	struct ctx_context **contexts = bench_allocate(count, sizeof(struct ctx_context *));
	struct ctx_ring *ring = ring_new(8);
	struct ctx_op *ops = ops_new(count);

	for (unsigned i = 0; i < count; i++) {
		contexts[i] = child(ctx_background());
		io_uring_prep_nop(ctx_ring_get_sqe(ring, contexts[i], &ops[i]));
	}
	uint64_t start_ns = now_ns();
	for (unsigned i = count; i--;)
		ctx_cancel(contexts[i]);
	double took = (double)(now_ns() - start_ns);
	ring_end(ring);
	release_all(contexts, count);
	free(ops);
	return took;
}

/* Receives that are pending in the kernel, each under a context of its own. */
struct pending {
	struct ctx_ring *ring;
	struct ctx_op *ops;
	struct ctx_context **contexts;
	int pair[2];
	char sink[8];
};

static void pending_start(struct pending *pending, unsigned count)
{
	*pending = (struct pending){.ring = ring_new(1024), .ops = ops_new(count)};
	pending->contexts = bench_allocate(count, sizeof(struct ctx_context *));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pending->pair))
		bench_fail("socketpair: %s", strerror(errno));
	for (unsigned i = 0; i < count; i++) {
		pending->contexts[i] = child(ctx_background());
		io_uring_prep_recv(ctx_ring_get_sqe(pending->ring, pending->contexts[i], &pending->ops[i]),
				   pending->pair[0], pending->sink, sizeof(pending->sink), 0);
	}
	bench_check(ctx_ring_submit(pending->ring), "ctx_ring_submit");
}

static void pending_end(struct pending *pending, unsigned count)
{
	ring_end(pending->ring);
	release_all(pending->contexts, count);
	free(pending->ops);
	close(pending->pair[0]);
	close(pending->pair[1]);
}

/* Ends each context in a batch of its own. All batches are under way until the ring is dispatched. */
static double many_batches(unsigned count)
{
	struct pending pending;
	struct ctx_completion completion;

	pending_start(&pending, count);
	uint64_t start_ns = now_ns();
	for (unsigned i = count; i--;)
		ctx_cancel(pending.contexts[i]);
	while (ctx_op_result(&pending.ops[0], &completion))
		bench_check(ctx_ring_dispatch(pending.ring, 0), "ctx_ring_dispatch");
	double took = (double)(now_ns() - start_ns);
	pending_end(&pending, count);
	return took;
}

static double cancel_pending(unsigned count, bool last_first)
{
	struct pending pending;
	struct ctx_completion completion;

	pending_start(&pending, count);
	uint64_t start_ns = now_ns();
	for (unsigned i = 0; i < count; i++)
		bench_check(ctx_op_cancel(pending.ring, &pending.ops[last_first ? count - 1 - i : i]),
			    "ctx_op_cancel");
	for (unsigned i = 0; i < count; i++)
		while (ctx_op_result(&pending.ops[i], &completion))
			bench_check(ctx_ring_dispatch(pending.ring, 0), "ctx_ring_dispatch");
	double took = (double)(now_ns() - start_ns);
	pending_end(&pending, count);
	return took;
}

static double cancel_last_first(unsigned count)
{
	return cancel_pending(count, true);
}

static double cancel_first_first(unsigned count)
{
	return cancel_pending(count, false);
}

/* ---- descriptors */

struct counters {
	struct ctx_ring *ring;
	struct ctx_op *ops;
	struct ctx_context **contexts;
	uint64_t *values;
	int *fds;
	unsigned count;
};

static void counters_start(struct counters *counters, unsigned count)
{
	*counters = (struct counters){.ring = ring_new(1024), .ops = ops_new(count), .count = count};
	counters->contexts = bench_allocate(count, sizeof(struct ctx_context *));
	counters->values = bench_allocate(count, sizeof(*counters->values));
	counters->fds = bench_allocate(count, sizeof(*counters->fds));
	for (unsigned i = 0; i < count; i++) {
		counters->fds[i] = eventfd(0, EFD_CLOEXEC);
		if (counters->fds[i] < 0)
			bench_fail("eventfd: %s", strerror(errno));
		counters->contexts[i] = child(ctx_background());
		io_uring_prep_read(ctx_ring_get_sqe(counters->ring, counters->contexts[i], &counters->ops[i]),
				   counters->fds[i], &counters->values[i], sizeof(uint64_t), 0);
	}
	bench_check(ctx_ring_submit(counters->ring), "ctx_ring_submit");
}

static void counters_end(struct counters *counters)
{
	ring_end(counters->ring);
	for (unsigned i = 0; i < counters->count; i++)
		if (counters->fds[i] >= 0)
			close(counters->fds[i]);
	release_all(counters->contexts, counters->count);
	free(counters->ops);
	free(counters->values);
	free(counters->fds);
}

static double close_each(unsigned count)
{
	struct counters counters;

	counters_start(&counters, count);
	uint64_t start_ns = now_ns();
	for (unsigned i = count; i--; counters.fds[i] = -1)
		bench_check(ctx_ring_close_fd(counters.ring, counters.fds[i]), "ctx_ring_close_fd");
	double took = (double)(now_ns() - start_ns);
	counters_end(&counters);
	return took;
}

/* Writes to one descriptor after the other, each when the completion of the one before has been taken out of
 * the queue. */
static void *write_each(void *data)
{
	struct counters *counters = data;
	const struct io_uring *uring = ctx_ring_uring(counters->ring);
	const uint64_t one = 1;

	for (unsigned i = 0; i < counters->count; i++) {
		unsigned head = io_uring_smp_load_acquire(uring->cq.khead);
		if (write(counters->fds[i], &one, sizeof(one)) != sizeof(one))
			bench_fail("write: %s", strerror(errno));
		while (io_uring_smp_load_acquire(uring->cq.khead) == head)
			sched_yield();
	}
	return NULL;
}

/* Drains a context whose operations end one by one, so that each of them wakes the drain. */
static double drain_each(unsigned count)
{
	struct counters counters;
	pthread_t thread;

	counters_start(&counters, count);
	uint64_t start_ns = now_ns();
	if (pthread_create(&thread, NULL, write_each, &counters))
		bench_fail("pthread_create");
	bench_check(ctx_ring_drain(counters.ring, ctx_background(), CTX_FOREVER, NULL, 0, NULL),
		    "ctx_ring_drain");
	double took = (double)(now_ns() - start_ns);
	pthread_join(thread, NULL);
	counters_end(&counters);
	return took;
}

/* ---- */

static const struct kind {
	const char *name;
	double (*run)(unsigned count); /* ns */
	unsigned count;		       /* the smaller size */
} kinds[] = {
	{"levels of merged contexts, cancelled", cancel_lattice, 500},
	{"levels of merged contexts, deadline moved", move_lattice, 500},
	{"levels of merged contexts, drained", drain_lattice, 500},
	{"parents of a merged context, deadline moved", move_parents, 1000},
	{"deadlines, each moved", move_each, 3000},
	{"contexts in a line, cancelled", cancel_deep, 500},
	{"contexts in a line, released", release_deep, 1000},
	{"callbacks, plain and of a ring, run", mixed_callbacks, 2000},
	{"callbacks, stopped last first", stop_callbacks, 2000},
	{"operations staged, cancelled last first", cancel_staged, 1000},
	{"operations staged, contexts ended last first", end_staged, 500},
	{"operations pending, contexts ended last first", many_batches, 500},
	{"operations pending, cancelled last first", cancel_last_first, 4000},
	{"operations pending, cancelled first first", cancel_first_first, 4000},
	{"descriptors, each closed", close_each, 1000},
	{"contexts, drained one by one", drain_each, 1000},
};

static double run_size(void *data)
{
	const struct kind *kind = data;

	return kind->run(kind->count);
}

static double run_four_sizes(void *data)
{
	const struct kind *kind = data;

	return kind->run(4 * kind->count);
}

static double shortest(const struct bench_turns *turns, unsigned side)
{
	double least = turns->results[side][0];

	for (unsigned i = 1; i < turns->count; i++)
		if (turns->results[side][i] < least)
			least = turns->results[side][i];
	return least;
}

static void measure(const struct kind *kind)
{
	const bench_side sides[] = {run_four_sizes, run_size};
	void *const data[] = {(void *)kind, (void *)kind};
	struct bench_turns turns;

	if (!bench_wanted(kind->name))
		return;
	bench_take_turns(&turns, bench.quick ? 5 : TURNS, 2, sides, data);
	double large = shortest(&turns, 0), small = shortest(&turns, 1);
	bench_report(kind->name, large / (4.0 * kind->count), "ns each", large / small, "a fourth of them",
		     "<= 5");
}

static void raise_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	bench_start("growth", argc, argv);
	raise_limit();
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		measure(&kinds[i]);
	return 0;
}
