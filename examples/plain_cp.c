/* SPDX-License-Identifier: MIT */
/*
 * Copies a file with plain liburing, up to DEPTH blocks at once. Each block is read and then written.
 * adopt_cp.c is this program with a ctx ring round its io_uring. Compare the two programs to see what that
 * takes.
 *
 *	plain_cp FROM TO
 */
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
	struct copy *copy;
	bool writing;
	unsigned long long offset; /* position of the block in the file */
	unsigned length;
	unsigned done; /* bytes of the block that have been read, or written */
	char data[BLOCK_BYTES];
};

struct copy {
	struct io_uring uring;
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
	struct io_uring_sqe *sqe = io_uring_get_sqe(&copy->uring);
	char *data = block->data + block->done;
	unsigned left = block->length - block->done;

	if (block->writing)
		io_uring_prep_write(sqe, copy->to, data, left, block->offset + block->done);
	else
		io_uring_prep_read(sqe, copy->from, data, left, block->offset + block->done);
	io_uring_sqe_set_data(sqe, block);
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

static void block_done(struct block *block, int res)
{
	struct copy *copy = block->copy;

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
		block_next(&copy->blocks[i]);
	}
	for (;;) {
		io_uring_submit(&copy->uring);
		if (!copy->in_flight)
			return copy->error;
		if (io_uring_wait_cqe(&copy->uring, &cqe))
			continue;
		block_done(io_uring_cqe_get_data(cqe), cqe->res);
		io_uring_cqe_seen(&copy->uring, cqe);
	}
}

int main(int argc, char **argv)
{
	static struct copy copy;
	struct stat status;
	int error;

	if (argc != 3) {
		fprintf(stderr, "Usage: %s FROM TO\n", argv[0]);
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
	if (!error) {
		error = copy_run(&copy);
		io_uring_queue_exit(&copy.uring);
	}
	if (error)
		fprintf(stderr, "%s: %s\n", argv[0], strerror(-error));
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
