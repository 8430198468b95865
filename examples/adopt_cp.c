/* SPDX-License-Identifier: MIT */
/*
 * plain_cp.c with a ctx ring round its io_uring. The copy can have a deadline now, and ends with no block in
 * flight. Compare the two programs to see what that takes.
 *
 *	adopt_cp FROM TO [MS]
 */
#include <ctxring.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 32
#define BLOCK_BYTES 65536u

struct copy;

struct block {
	struct ctx_op op;
	struct copy *copy;
	bool writing;
	unsigned long long offset; /* position of the block in the file */
	unsigned length;
	unsigned done; /* bytes of the block that have been read, or written */
	char data[BLOCK_BYTES];
};

struct copy {
	struct io_uring uring;
	struct ctx_ring *ring; /* the ctx ring round uring */
	struct ctx_context *ctx;
	int from, to;
	unsigned long long size, next;
	unsigned in_flight;
	int error; /* the first error; no block is begun after it */
	struct block blocks[DEPTH];
};

/* Reads or writes what is left of the block. */
static void block_begin(struct block *block)
{
	struct copy *copy = block->copy;
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(copy->ring, copy->ctx, &block->op);
	char *data = block->data + block->done;
	unsigned left = block->length - block->done;

	if (block->writing)
		io_uring_prep_write(sqe, copy->to, data, left, block->offset + block->done);
	else
		io_uring_prep_read(sqe, copy->from, data, left, block->offset + block->done);
	copy->in_flight++;
}

static void block_next(struct block *block)
{
	struct copy *copy = block->copy;
	unsigned long long left = copy->size - copy->next;

	if (!left)
		return;
	block->writing = false;
	block->done = 0;
	block->offset = copy->next;
	block->length = left < BLOCK_BYTES ? (unsigned)left : BLOCK_BYTES;
	copy->next += block->length;
	block_begin(block);
}

static void block_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct block *block = (struct block *)op->data;
	struct copy *copy = block->copy;
	int res = completion->end == CTX_OP_DEADLINE ? -ETIME : completion->res;

	(void)ring;
	copy->in_flight--;
	if (res <= 0 && !copy->error)
		copy->error = res ? res : -EIO;
	if (copy->error)
		return;
	block->done += (unsigned)res;
	if (block->done == block->length && block->writing) {
		block_next(block);
		return;
	}
	if (block->done == block->length) {
		block->writing = true;
		block->done = 0;
	}
	block_begin(block);
}

static int copy_run(struct copy *copy)
{
	struct io_uring_cqe *cqe;

	for (unsigned i = 0; i < DEPTH; i++) {
		copy->blocks[i].copy = copy;
		ctx_op_init(&copy->blocks[i].op, block_done, (uintptr_t)&copy->blocks[i]);
		block_next(&copy->blocks[i]);
	}
	for (;;) {
		/* Submits, and delivers operations that were refused because their context has ended. */
		while (ctx_ring_dispatch(copy->ring, 0) > 0)
			;
		if (!copy->in_flight)
			return copy->error;
		if (io_uring_wait_cqe(&copy->uring, &cqe))
			continue;
		ctx_ring_filter(copy->ring, cqe, NULL, NULL);
		io_uring_cqe_seen(&copy->uring, cqe);
	}
}

int main(int argc, char **argv)
{
	static struct copy copy;
	struct stat status;
	int error;

	if (argc < 3) {
		fprintf(stderr, "Usage: %s FROM TO [MS]\n", argv[0]);
		return 2;
	}
	copy.from = open(argv[1], O_RDONLY | O_CLOEXEC);
	copy.to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (copy.from < 0 || copy.to < 0 || fstat(copy.from, &status) < 0) {
		perror(argv[0]);
		return EXIT_FAILURE;
	}
	copy.size = (unsigned long long)status.st_size;
	error = io_uring_queue_init(DEPTH, &copy.uring, 0);
	if (!error)
		error = ctx_ring_adopt(&copy.uring, NULL, &copy.ring);
	if (!error && argc > 3)
		error = ctx_with_timeout(ctx_background(), strtoull(argv[3], NULL, 10) * 1000000, "copy",
					 &copy.ctx);
	else if (!error)
		error = ctx_with_cancel(ctx_background(), "copy", &copy.ctx);
	if (!error) {
		error = copy_run(&copy);
		ctx_finish(copy.ctx);
		ctx_ring_close(copy.ring, CTX_FOREVER, NULL, 0, NULL);
		io_uring_queue_exit(&copy.uring);
	}
	if (error)
		fprintf(stderr, "%s: %s\n", argv[0], strerror(-error));
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
