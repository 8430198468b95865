/* SPDX-License-Identifier: MIT */
/*
 * Two operations, of which the second depends on the first: a record is written, and, only if that succeeded,
 * a mark in another file. IOSQE_IO_LINK makes them one chain, which is submitted at once. When the first one
 * fails, the kernel cancels the second one without running it.
 *
 *	chain FILE MARK		FILE may be /dev/full, where every write fails
 */
#include <ctxring.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char record[] = "an important record\n";
static const char mark[] = "written\n";

static void show(const char *name, const struct ctx_op *op)
{
	struct ctx_completion completion;
	int error = ctx_op_result(op, &completion);

	if (error)
		printf("%s: not complete: %s\n", name, strerror(-error));
	else if (completion.end == CTX_OP_CANCELLED)
		printf("%s: cancelled\n", name);
	else if (completion.res < 0)
		printf("%s: %s\n", name, strerror(-completion.res));
	else
		printf("%s: %d byte%s\n", name, completion.res, completion.res == 1 ? "" : "s");
}

/* Returns 0 when both were written. The operations have their results. */
static int write_chain(struct ctx_ring *ring, const struct ctx_context *ctx, int file, int mark_file)
{
	struct ctx_op write_record, write_mark;
	struct ctx_completion completion;
	struct io_uring_sqe *sqe;
	int error;

	/* No callbacks: ctx_op_result tells the results. */
	ctx_op_init(&write_record, NULL, 0);
	ctx_op_init(&write_mark, NULL, 0);

	sqe = ctx_ring_get_sqe(ring, ctx, &write_record);
	io_uring_prep_write(sqe, file, record, sizeof(record) - 1, 0);
	sqe->flags |= IOSQE_IO_LINK;
	sqe = ctx_ring_get_sqe(ring, ctx, &write_mark);
	io_uring_prep_write(sqe, mark_file, mark, sizeof(mark) - 1, 0);

	/* Waits until nothing is in flight: both operations are on the stack of this function. */
	error = ctx_ring_run(ring, NULL);
	if (error)
		abort();
	show("record", &write_record);
	show("mark", &write_mark);
	ctx_op_result(&write_mark, &completion);
	return completion.res < 0 ? completion.res : 0;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	struct ctx_ring *ring;
	char reason[256];
	int file, mark_file, error;

	if (argc != 3) {
		fprintf(stderr, "Usage: chain FILE MARK\n");
		return 2;
	}
	file = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	mark_file = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0 || mark_file < 0) {
		perror("chain");
		return EXIT_FAILURE;
	}
	error = ctx_ring_open(8, NULL, &ring);
	if (error) {
		ctx_ring_explain(error, reason, sizeof(reason));
		fprintf(stderr, "chain: %s\n", reason);
		return EXIT_FAILURE;
	}
	error = ctx_with_cancel(ctx_background(), "chain", &ctx);
	if (!error)
		error = write_chain(ring, ctx, file, mark_file);
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	close(file);
	close(mark_file);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
