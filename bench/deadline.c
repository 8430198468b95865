/* SPDX-License-Identifier: MIT */
/* The two forms that a deadline has on a ring: a linked timeout with each operation, or one timer and a
 * batch. */
#include "ours.h"

#define BATCH 32u
#define EXPIRY_NS 60000000u
#define EXPIRY_NS_MAX 960000000u

struct side {
	unsigned setup_flags, flags;
	unsigned pending; /* how many operations are pending when the deadline passes; 0: none */
	bool waits; /* the operations are receives that pend until something is sent to them; else NOPs */
	struct ours ours;
	struct ctx_context *ctx;
};

static unsigned rounds;

/* Submits BATCH operations at a time. They complete long before the deadline. */
static double run_submit(void *data)
{
	struct side *side = data;
	uint64_t start_ns = bench_now_ns();
	for (unsigned round = 0; round < rounds; round++) {
		side->ours.completed = 0;
		for (unsigned i = 0; i < BATCH; i++) {
			struct io_uring_sqe *sqe = ours_get_sqe(&side->ours, side->ctx, i);
			if (side->waits)
				io_uring_prep_recv(sqe, load_files.pairs[i][0], load_buffer, 1, 0);
			else
				io_uring_prep_nop(sqe);
		}
		bench_check(ctx_ring_submit(side->ours.ring), "ctx_ring_submit");
		for (unsigned i = 0; i < BATCH && side->waits; i++)
			if (write(load_files.pairs[i][1], "x", 1) != 1)
				bench_fail("write: %s", strerror(errno));
		ours_reap(&side->ours, BATCH);
	}
	return (double)(bench_now_ns() - start_ns) / rounds / BATCH;
}

/* Measures the time from the deadline to the last completion. 0: submitting took longer than until the
 * deadline. */
static uint64_t expire(const struct side *side, uint64_t timeout_ns)
{
	struct load load = {.kind = LOAD_RECV,
			    .setup_flags = side->setup_flags,
			    .pending = side->pending,
			    .victims = side->pending};
	struct ctx_context *ctx;
	struct ours ours;
	ours_open(&ours, load_entries(&load), side->setup_flags, side->flags, side->pending);
	uint64_t deadline_ns = bench_now_ns() + timeout_ns;
	bench_check(ctx_with_deadline(ctx_background(), deadline_ns, NULL, &ctx), "ctx_with_deadline");
	ours_fill(&ours, &load, (struct ctx_context *[]){NULL, ctx});
	bool late = bench_now_ns() > deadline_ns;
	ours_reap(&ours, side->pending);
	uint64_t took_ns = bench_now_ns() - deadline_ns;
	ctx_unref(ctx);
	ours_close(&ours);
	return late ? 0 : took_ns;
}

/* The time of expire(), divided by the number of operations. On a busy machine it takes a longer timeout. */
static double run_expiry(void *data)
{
	const struct side *side = data;
	for (uint64_t timeout_ns = EXPIRY_NS; timeout_ns <= EXPIRY_NS_MAX; timeout_ns *= 2) {
		uint64_t took_ns = expire(side, timeout_ns);
		if (took_ns)
			return (double)took_ns / side->pending;
	}
	bench_fail("submitting takes longer than %u ms", EXPIRY_NS_MAX / 1000000);
}

static void report(const char *name, const struct bench_turns *turns, bool plain, const char *goal)
{
	bench_report(name, bench_turns_median(turns, 0), "ns/op", bench_turns_ratio(turns, 0, 1), "one timer",
		     goal);
	bench_report("one timer", bench_turns_median(turns, 1), "ns/op", NAN, name, NULL);
	if (!plain)
		return;
	bench_report(name, bench_turns_median(turns, 0), "ns/op", bench_turns_ratio(turns, 0, 2),
		     "no deadline", NULL);
	bench_report("no deadline", bench_turns_median(turns, 2), "ns/op", NAN, name, NULL);
}

static void compare_submit(const char *what, bool waits, unsigned setup_flags)
{
	struct side sides[3];
	const bench_side functions[] = {run_submit, run_submit, run_submit};
	void *data[] = {&sides[0], &sides[1], &sides[2]};
	struct bench_turns turns;
	char name[64];
	snprintf(name, sizeof(name), "linked: %s, %s", what, setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	for (unsigned i = 0; i < 3; i++) {
		sides[i] = (struct side){.setup_flags = setup_flags,
					 .waits = waits,
					 .flags = i == 0 ? CTX_RING_LINKED_TIMEOUTS : CTX_RING_ONE_TIMER};
		ours_open(&sides[i].ours, 128, setup_flags, sides[i].flags, BATCH);
		if (i < 2)
			bench_check(ctx_with_timeout(ctx_background(), 3600000000000u, NULL, &sides[i].ctx),
				    "ctx_with_timeout");
		else
			bench_check(ctx_with_cancel(ctx_background(), NULL, &sides[i].ctx),
				    "ctx_with_cancel");
	}
	rounds = 300;
	bench_take_turns(&turns, bench.quick ? 11 : 31, 3, functions, data);
	report(name, &turns, true, NULL);
	for (unsigned i = 0; i < 3; i++) {
		ctx_finish(sides[i].ctx);
		ours_close(&sides[i].ours);
	}
}

static void compare_expiry(unsigned pending, unsigned setup_flags)
{
	struct side sides[2];
	const bench_side functions[] = {run_expiry, run_expiry};
	void *data[] = {&sides[0], &sides[1]};
	struct bench_turns turns;
	char name[64];
	snprintf(name, sizeof(name), "linked: %u expire, %s", pending, setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	for (unsigned i = 0; i < 2; i++)
		sides[i] = (struct side){.setup_flags = setup_flags,
					 .pending = pending,
					 .flags = i == 0 ? CTX_RING_LINKED_TIMEOUTS : CTX_RING_ONE_TIMER};
	bench_take_turns(&turns, bench.quick ? 3 : 9, 2, functions, data);
	report(name, &turns, false, pending == 4096 ? "<= 1.1" : NULL);
}

int main(int count, char **arguments)
{
	static const unsigned flags[] = {LOAD_RING_ORDINARY, LOAD_RING_DEFER};
	bench_start("deadline", count, arguments);
	load_open(4096);
	for (unsigned r = 0; r < 2; r++) {
		compare_submit("NOP, batch 32", false, flags[r]);
		compare_submit("recv that pends, batch 32", true, flags[r]);
		compare_expiry(256, flags[r]);
		compare_expiry(4096, flags[r]);
	}
	load_close();
	return 0;
}
