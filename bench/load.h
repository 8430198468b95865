/* SPDX-License-Identifier: MIT */
/*
 * Pending operations: of which kind they are, how many, and which of them are the victims, those that are
 * cancelled. The same load is put on a ctx ring and on a plain io_uring.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

#define LOAD_RING_ORDINARY 0u
#define LOAD_RING_DEFER (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
#define LOAD_ENTRIES_MAX 32768u
#define LOAD_PAIRS_MAX 8000u
#define LOAD_GROUPS_MAX 16u

enum load_kind {
	LOAD_RECV,	  /* on socketpairs that nobody writes to; more than LOAD_PAIRS_MAX share sockets */
	LOAD_POLL,	  /* on the same socketpairs */
	LOAD_TIMEOUT,	  /* an hour away, each a timeout of its own */
	LOAD_QUEUED_READ, /* of a regular file, waiting for the only worker, which is busy */
	LOAD_WORKER,	  /* openat(2) of a FIFO: sleeps in a worker thread of its own */
};

enum load_victims {
	LOAD_NEWEST,
	LOAD_OLDEST,
	LOAD_RANDOM
};

struct load {
	enum load_kind kind;
	unsigned setup_flags;
	unsigned pending; /* victims included */
	unsigned victims; /* in one group; each group is cancelled and measured by itself */
	unsigned groups;
	enum load_victims which;
	unsigned repeats;	 /* in one turn, on one ring */
	bool one_fd;		 /* all on one descriptor, which is how FD|ALL makes a group */
	const uint8_t *group_of; /* the group of each operation, counted from 1; 0: it is not cancelled. NULL:
				    all are in group 1 */
	const unsigned *members; /* numbers of the operations of group 1, then of group 2 and so on, each in
				    submission order */
};

struct load_files {
	int (*pairs)[2];
	unsigned pair_count;
	int regular;
	char directory[32], fifo[48], file[48];
};

static struct load_files load_files;
static char load_buffer[4096];
static struct __kernel_timespec load_hour = {.tv_sec = 3600};

static inline void load_open_pairs(unsigned count)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		bench_fail("getrlimit: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		bench_fail("setrlimit: %s", strerror(errno));
	if (limit.rlim_cur / 2 - 64 < count)
		count = (unsigned)(limit.rlim_cur / 2 - 64);
	if (count > LOAD_PAIRS_MAX)
		count = LOAD_PAIRS_MAX;
	load_files.pairs = bench_allocate(count, sizeof(*load_files.pairs));
	for (unsigned i = 0; i < count; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, load_files.pairs[i]))
			bench_fail("socketpair: %s", strerror(errno));
	load_files.pair_count = count;
}

static inline void load_open(unsigned pairs)
{
	load_open_pairs(pairs);
	strcpy(load_files.directory, "/tmp/ctxring-bench-XXXXXX");
	if (!mkdtemp(load_files.directory))
		bench_fail("mkdtemp: %s", strerror(errno));
	snprintf(load_files.fifo, sizeof(load_files.fifo), "%s/fifo", load_files.directory);
	snprintf(load_files.file, sizeof(load_files.file), "%s/file", load_files.directory);
	if (mkfifo(load_files.fifo, 0600))
		bench_fail("mkfifo: %s", strerror(errno));
	load_files.regular = open(load_files.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (load_files.regular < 0)
		bench_fail("%s: %s", load_files.file, strerror(errno));
	for (unsigned i = 0; i < 1024; i++)
		if (write(load_files.regular, load_buffer, sizeof(load_buffer)) !=
		    (ssize_t)sizeof(load_buffer))
			bench_fail("%s: %s", load_files.file, strerror(errno));
}

static inline void load_close(void)
{
	unlink(load_files.file);
	unlink(load_files.fifo);
	rmdir(load_files.directory);
	close(load_files.regular);
	for (unsigned i = 0; i < load_files.pair_count; i++) {
		close(load_files.pairs[i][0]);
		close(load_files.pairs[i][1]);
	}
	free(load_files.pairs);
}

/* Prepares operation number i; user_data is left to the caller. */
static inline void load_prepare(const struct load *load, struct io_uring_sqe *sqe, unsigned i)
{
	int fd = load->one_fd ? load_files.pairs[0][0] : load_files.pairs[i % load_files.pair_count][0];
	switch (load->kind) {
	case LOAD_RECV:
		io_uring_prep_recv(sqe, fd, load_buffer, sizeof(load_buffer), 0);
		break;
	case LOAD_POLL:
		io_uring_prep_poll_add(sqe, fd, POLLIN);
		break;
	case LOAD_TIMEOUT:
		io_uring_prep_timeout(sqe, &load_hour, 0, 0);
		break;
	case LOAD_QUEUED_READ:
		io_uring_prep_read(sqe, load_files.regular, load_buffer, sizeof(load_buffer), 0);
		sqe->flags |= IOSQE_ASYNC;
		break;
	case LOAD_WORKER:
		io_uring_prep_openat(sqe, AT_FDCWD, load_files.fifo, O_RDONLY | O_CLOEXEC, 0);
		sqe->flags |= IOSQE_ASYNC;
		break;
	}
}

static inline unsigned load_group(const struct load *load, unsigned i)
{
	return load->group_of ? load->group_of[i] : 1;
}

/* Member number n of a group. */
static inline unsigned load_member(const struct load *load, unsigned group, unsigned n)
{
	return load->members ? load->members[(group - 1) * load->victims + n] : n;
}

static inline void load_list_members(struct load *load, const uint8_t *group_of)
{
	unsigned *members = bench_allocate(load->groups * load->victims, sizeof(*members));
	unsigned *count = bench_allocate(load->groups + 1, sizeof(*count));
	for (unsigned i = 0; i < load->pending; i++) {
		unsigned group = group_of[i];
		if (group)
			members[(group - 1) * load->victims + count[group]++] = i;
	}
	free(count);
	load->group_of = group_of;
	load->members = members;
}

/* Chooses the victims. The random ones are the same in every run. */
static inline void load_choose(struct load *load)
{
	uint8_t *group_of = bench_allocate(load->pending, sizeof(*group_of));
	unsigned short seed[3] = {1, 2, 3};
	for (unsigned n = 0; n < load->groups * load->victims; n++) {
		unsigned i = load->which == LOAD_OLDEST ? n : load->pending - 1 - n;
		if (load->which == LOAD_RANDOM)
			do
				i = (unsigned)(erand48(seed) * load->pending);
			while (group_of[i]);
		group_of[i] = (uint8_t)(1 + n / load->victims);
	}
	load_list_members(load, group_of);
}

static inline void load_forget(struct load *load)
{
	free((void *)(uintptr_t)load->group_of);
	free((void *)(uintptr_t)load->members);
}

/* The size of a submission queue that holds the whole load, as far as the kernel allows. */
static inline unsigned load_entries(const struct load *load)
{
	unsigned entries = 64;
	while (entries < load->pending && entries < LOAD_ENTRIES_MAX)
		entries *= 2;
	return entries;
}

#endif
