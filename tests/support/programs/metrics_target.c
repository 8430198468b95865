/* SPDX-License-Identifier: MIT */
/*
 * Something to measure. It has live contexts with odd labels, and "kept" with a receive in flight. For each
 * line of standard input it makes five contexts "/slow?x=N": three are cancelled with a receive in flight,
 * two expire. Then it prints "round N".
 */
#include <ctxring.h>
#include <liburing.h>
#include <stdio.h>
#include <sys/socket.h>

#define SECOND_NS 1000000000ull

static int pair[2];
static char sink[16];

static unsigned completed;

static void count_completion(struct ctx_ring *ring, struct ctx_op *op,
			     const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	(void)completion;
	completed++;
}

static void receive(struct ctx_ring *ring, const struct ctx_context *ctx, struct ctx_op *op)
{
	ctx_op_init(op, count_completion, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, op), pair[0], sink, sizeof(sink), 0);
	ctx_ring_submit(ring);
}

static int end_five(struct ctx_ring *ring, unsigned *number)
{
	for (int i = 0; i < 5; i++) {
		struct ctx_context *ctx;
		struct ctx_op op;
		char label[32];
		int error;

		snprintf(label, sizeof(label), "/slow?x=%u", (*number)++);
		if (i >= 3) {
			error = ctx_with_timeout(ctx_background(), 1000, label, &ctx);
			if (error || ctx_wait(ctx, 30 * SECOND_NS))
				return 1;
		} else {
			if (ctx_with_cancel(ctx_background(), label, &ctx))
				return 1;
			receive(ring, ctx, &op);
			ctx_cancel(ctx);
			for (unsigned before = completed; completed == before;)
				if (ctx_ring_dispatch(ring, 30 * SECOND_NS) < 0)
					return 1;
		}
		ctx_unref(ctx);
	}
	return 0;
}

int main(void)
{
	static const char *const labels[] = {"a\"b",  "back\\slash", "two\nlines", "\xff",
					     "\\xff", "{x=\"1\"} 2", "other",	   ""};
	struct ctx_context *kept;
	struct ctx_ring *ring;
	struct ctx_op op;
	char line[64];
	unsigned number = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || ctx_ring_open(64, NULL, &ring))
		return 1;
	for (size_t i = 0; i < sizeof(labels) / sizeof(*labels); i++)
		if (ctx_with_cancel(ctx_background(), labels[i], &(struct ctx_context *){NULL}))
			return 1;
	if (ctx_with_cancel(ctx_background(), "kept", &kept))
		return 1;
	receive(ring, kept, &op);
	puts("ready");
	fflush(stdout);
	for (unsigned rounds = 1; fgets(line, sizeof(line), stdin); rounds++) {
		if (end_five(ring, &number))
			return 1;
		printf("round %u\n", rounds);
		fflush(stdout);
	}
	return 0;
}
