/* SPDX-License-Identifier: MIT */
/*
 * Work that outlives the request that began it: an audit record that must be written although the client has
 * left.
 *
 * There are three wrong ways. An operation under the request is cancelled with it. One under ctx_background()
 * has no values of the request and no bound in time. A request that is kept from ending for the record keeps
 * all else that belongs to it. The right way is a context of ctx_without_cancel, which has the values of the
 * request but neither its end nor its deadline, and below it a context with a deadline of its own. Each
 * operation holds a reference to its context, so the program need not keep one.
 *
 *	outlive FILE
 */
#include "example.h"
#include <fcntl.h>

static const struct ctx_key request_key = {.name = "req"};

struct audit {
	struct ctx_op op;
	const struct ctx_context *ctx; /* a reference of our own, for the callback */
	char text[64];
};

static void audit_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct audit *audit = container_of(op, struct audit, op);
	void *id = NULL;

	(void)ring;
	ctx_value(audit->ctx, &request_key, &id);
	printf("audit of request %zu: %d byte%s\n", (size_t)id, completion->res,
	       completion->res == 1 ? "" : "s");
	ctx_unref(audit->ctx);
	free(audit);
}

static int audit_begin(struct ctx_ring *ring, const struct ctx_context *request, int fd)
{
	CTX_AUTO_UNREF const struct ctx_context *detached = NULL;
	struct ctx_context *ctx;
	struct audit *audit;
	int error;

	error = ctx_without_cancel(request, "background", &detached);
	if (!error)
		error = ctx_with_timeout(detached, 5 * NSEC_PER_SEC, "audit", &ctx);
	if (error)
		return error;
	audit = calloc(1, sizeof(*audit));
	if (!audit) {
		ctx_finish(ctx);
		return -ENOMEM;
	}
	audit->ctx = ctx; /* the callback releases this reference */
	snprintf(audit->text, sizeof(audit->text), "somebody asked for something\n");
	ctx_op_init(&audit->op, audit_done, 0);
	io_uring_prep_write(ctx_ring_get_sqe(ring, ctx, &audit->op), fd, audit->text,
			    (unsigned)strlen(audit->text), 0);
	return 0;
}

static void answer_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	printf("answer: %s\n", completion->end == CTX_OP_CANCELLED ? "cancelled" : "sent");
}

int main(int argc, char **argv)
{
	CTX_AUTO_UNREF const struct ctx_context *tagged = NULL;
	struct ctx_context *request;
	struct ctx_op answer;
	struct ctx_ring *ring;
	int fd = argc == 2 ? open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || !(ring = open_ring(8, NULL)) ||
	    ctx_with_cancel(ctx_background(), "request", &request) ||
	    ctx_with_value(request, &request_key, (void *)42, NULL, &tagged)) {
		fprintf(stderr, "Usage: outlive FILE\n");
		return 2;
	}
	ctx_op_init(&answer, answer_done, 0);
	io_uring_prep_write(ctx_ring_get_sqe(ring, tagged, &answer), STDOUT_FILENO, "the answer\n", 11, 0);
	if (audit_begin(ring, tagged, fd))
		return EXIT_FAILURE;
	/* The client leaves before either operation has been submitted. */
	ctx_finish(request);
	if (ctx_ring_run(ring, NULL))
		return EXIT_FAILURE;
	close(fd);
	return ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL) ? EXIT_FAILURE : EXIT_SUCCESS;
}
