/* SPDX-License-Identifier: MIT */
/* The memory of a context and of an operation in flight: heap, as malloc counts it, and a record in the
 * table. */
#include "ours.h"
#include "table_format.h"

#include <malloc.h>

#define CONTEXTS 10000u
#define OPERATIONS 4096u

static size_t heap_used(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static void measure_contexts(const char *name, bool deadline, const char *goal)
{
	struct ctx_context *parent, **children = bench_allocate(CONTEXTS, sizeof(*children));
	if (!bench_wanted(name))
		goto out;
	bench_check(ctx_with_cancel(ctx_background(), "parent", &parent), "ctx_with_cancel");
	/* the first deadline starts the timer thread, whose memory is not to be counted */
	bench_check(ctx_with_timeout(parent, 3600000000000u, NULL, &children[0]), "ctx_with_timeout");
	ctx_finish(children[0]);
	size_t before = heap_used();
	for (unsigned i = 0; i < CONTEXTS; i++)
		bench_check(deadline ? ctx_with_timeout(parent, 3600000000000u, "request", &children[i])
				     : ctx_with_cancel(parent, "request", &children[i]),
			    "making a context");
	double heap = (double)(heap_used() - before) / CONTEXTS;
	double record = ctx_id(children[0]) ? sizeof(struct ctx_table_context) : 0;
	for (unsigned i = 0; i < CONTEXTS; i++)
		ctx_unref(children[i]);
	ctx_finish(parent);
	bench_report(name, heap + record, "bytes", NAN, NULL, goal);
	bench_report("heap", heap, "bytes", NAN, name, NULL);
out:
	free(children);
}

/*
 * The tables of the ring grow with the largest number of operations that were ever in flight. They are
 * reported beside the memory of an operation, divided by the number of operations.
 */
static void measure_operations(unsigned setup_flags)
{
	const size_t record = sizeof(struct ctx_table_operation);
	struct load load = {.kind = LOAD_RECV, .pending = OPERATIONS, .victims = OPERATIONS};
	struct ctx_context *ctx;
	struct ours ours;
	char name[64], goal[32];
	snprintf(name, sizeof(name), "operation in flight, %s", setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	bench_check(ctx_with_cancel(ctx_background(), NULL, &ctx), "ctx_with_cancel");
	ours_open(&ours, OPERATIONS, setup_flags, 0, OPERATIONS);
	size_t before = heap_used();
	ours_fill(&ours, &load, (struct ctx_context *[]){NULL, ctx});
	double heap = (double)heap_used() - (double)before;
	ours_cancel(&ours, ctx, OPERATIONS);
	ctx_unref(ctx);
	ours_close(&ours);
	snprintf(goal, sizeof(goal), "<= %zu", 192 + record);
	bench_report(name, (double)(sizeof(struct ctx_op) + record), "bytes", NAN, NULL, goal);
	bench_report("tables of the ring", heap / OPERATIONS, "bytes", NAN, name, NULL);
}

int main(int count, char **arguments)
{
	bench_start("memory", count, arguments);
	load_open(64);
	measure_contexts("context", false, "<= 256");
	measure_contexts("context with deadline", true, NULL);
	measure_operations(LOAD_RING_ORDINARY);
	measure_operations(LOAD_RING_DEFER);
	load_close();
	return 0;
}
