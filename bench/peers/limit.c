/* SPDX-License-Identifier: MIT */
/*
 * The limit of the machine: the least that any library can do for the work, without a kernel and without a
 * library. For idle it walks N records and calls the callback that each has; for tree it walks a list of N
 * records and writes the state of each; for token it takes memory and gives it back. Records have the size of
 * what ctxring has for the same: 192 bytes for an operation, 256 for a context.
 */
#include "work.h"

struct operation {
	void (*complete)(struct operation *operation, int result);
	char rest[192 - sizeof(void *)];
};

struct context {
	struct context *next;
	int state;
	char rest[256 - 2 * sizeof(void *)];
};

static struct operation *operations;
static struct context *contexts, *first;

static void complete(struct operation *operation, int result)
{
	operation->rest[0] = 0;
	work_done(result);
}

static void open_operations(unsigned count)
{
	operations = work_allocate(count, sizeof(*operations));
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
	contexts = work_allocate(children, sizeof(*contexts));
	first = NULL;
	for (unsigned i = children; i--;) {
		contexts[i].next = first;
		first = &contexts[i];
	}
}

static void tree_end(void)
{
	for (struct context *context = first; context; context = context->next)
		context->state = ECANCELED;
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
