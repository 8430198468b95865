/* SPDX-License-Identifier: MIT */
/*
 * A first program. This line builds it:
 *
 *	cc first.c -o first $(pkg-config --cflags --libs ctxring liburing)
 *
 * It waits for a line of input, under a context that ends after a minute. While it
 * waits, look at it from another terminal:
 *
 *	ctxtool tree
 */
#include <ctxring.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MINUTE_NS UINT64_C(60000000000)

/* Called when the read has completed, with data or because its context has ended. */
static void read_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	if (completion->end == CTX_OP_DEADLINE)
		printf("The minute is over.\n");
	else if (completion->res < 0)
		printf("The read failed: %s\n", strerror(-completion->res));
	else
		printf("Read %d byte%s.\n", completion->res, completion->res == 1 ? "" : "s");
}

int main(void)
{
	struct ctx_context *ctx;
	struct ctx_ring *ring;
	struct ctx_op op;
	char line[256], reason[256];
	int error;

	/* The ring: an io_uring whose operations belong to contexts. */
	error = ctx_ring_open(8, NULL, &ring);
	if (error) {
		ctx_ring_explain(error, reason, sizeof(reason));
		fprintf(stderr, "first: %s\n", reason);
		return 1;
	}
	/* The context: a minute from now, everything under it ends. */
	error = ctx_with_timeout(ctx_background(), MINUTE_NS, "first program", &ctx);
	if (error) {
		fprintf(stderr, "first: %s\n", strerror(-error));
		return 1;
	}
	/* The operation: prepared as with plain liburing, under the context. */
	ctx_op_init(&op, read_done, 0);
	io_uring_prep_read(ctx_ring_get_sqe(ring, ctx, &op), STDIN_FILENO, line, sizeof(line), 0);

	printf("Process %d waits for a line. See it with: ctxtool tree\n", (int)getpid());
	fflush(stdout);

	/* Submits, waits, calls read_done; returns when nothing is in flight. */
	error = ctx_ring_run(ring, NULL);
	ctx_finish(ctx);
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	return error ? 1 : 0;
}
