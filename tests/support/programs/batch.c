/* SPDX-License-Identifier: MIT */
/*
 * batch ordinary|defer: cancels 256 pending receives between two calls of getppid(2), which
 * whoever traces it recognises, and prints what the library counted.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctxring.h"

#define COUNT 256

static struct ctx_op ops[COUNT];
static char sink[COUNT];

static int run(struct ctx_ring *ring, struct ctx_context *ctx)
{
	struct ctx_batch batch;
	struct ctx_completion completion;
	int fds[2], cancelled = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return 1;
	for (int i = 0; i < COUNT; i++) {
		ctx_op_init(&ops[i], NULL, 0);
		io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &ops[i]), fds[0], &sink[i], 1, 0);
	}
	if (ctx_ring_submit(ring) != COUNT)
		return 1;
	syscall(SYS_getppid);
	ctx_cancel(ctx);
	syscall(SYS_getppid);
	if (ctx_ring_run(ring, NULL) < 0 || ctx_ring_last_batch(ring, &batch) < 0)
		return 1;
	for (int i = 0; i < COUNT; i++)
		cancelled += ctx_op_result(&ops[i], &completion) == 0 && completion.res == -ECANCELED;
	printf("cancelled %d sqes %u enters %u\n", cancelled, batch.sqes, batch.enters);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

int main(int argc, char **argv)
{
	struct ctx_ring_options options = {0};
	struct ctx_ring *ring;
	struct ctx_context *ctx;

	if (argc > 1 && !strcmp(argv[1], "defer"))
		options.setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	int error = ctx_ring_open(256, &options, &ring);
	if (error) {
		printf("ctx_ring_open: %s\n", strerror(-error));
		return 77;
	}
	if (ctx_with_cancel(ctx_background(), "batch", &ctx) < 0)
		return 1;
	int status = run(ring, ctx);
	ctx_finish(ctx);
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	return status;
}
