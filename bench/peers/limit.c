/* SPDX-License-Identifier: MIT */
/*
 * The limit of the machine: the least that any library can do for the work, without a kernel and without a
 * library. For idle it calls the callback of N records, for tree it writes the state of N records, each one
 * cache line that has to be there; for token it takes 64 bytes of memory and gives them back.
 */
#include "work.h"

struct operation {
	void (*complete)(struct operation *operation, int result);
	int result;
} __attribute__((aligned(64)));

struct context {
	int state;
} __attribute__((aligned(64)));

static struct operation *operations;
static struct context *contexts;

static void complete(struct operation *operation, int result)
{
	operation->result = result;
	work_done(result);
}

static void open_operations(unsigned count)
{
	operations = aligned_alloc(64, count * sizeof(*operations));
	if (!operations)
		work_fail("aligned_alloc");
}

static void receive(unsigned i)
{
	operations[i].complete = complete;
}

static void group_end(void)
{
}

static void run_until(unsigned done)
{
	while (work.cancelled < done) {
		struct operation *operation = &operations[work.cancelled];
		operation->complete(operation, -ECANCELED);
	}
}

static void tree_make(unsigned children)
{
	contexts = aligned_alloc(64, children * sizeof(*contexts));
	if (!contexts)
		work_fail("aligned_alloc");
	memset(contexts, 0, children * sizeof(*contexts));
}

static void tree_end(void)
{
	for (unsigned i = 0; i < work.count; i++)
		contexts[i].state = ECANCELED;
}

static unsigned tree_ended(void)
{
	unsigned ended = 0;
	for (unsigned i = 0; i < work.count; i++)
		ended += contexts[i].state != 0;
	return ended;
}

static void tree_free(void)
{
	free(contexts);
}

static void token(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		void *volatile memory = malloc(sizeof(struct context));
		free(memory);
	}
}

const struct peer peer = {
	.open = open_operations,
	.receive = receive,
	.group_end = group_end,
	.wait = run_until,
	.tree_make = tree_make,
	.tree_end = tree_end,
	.tree_ended = tree_ended,
	.tree_free = tree_free,
	.token = token,
};
