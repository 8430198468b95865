/* SPDX-License-Identifier: MIT */
/*
 * Plain liburing on a ring with IORING_SETUP_DEFER_TASKRUN. It knows no contexts: the group is a list of
 * user_data. Forms, which differ in how a group ends:
 *
 *   order   a cancel request for each, in the order of submission, with as few enters as the queue allows
 *   newest  the same, newest first and in portions of 512: the best order by hand that we know
 *   enters  a cancel request and an io_uring_enter(2) for each, in the order of submission
 *   any     one request that matches all operations of the ring (IORING_ASYNC_CANCEL_ANY and ALL)
 */
#include "work.h"

#include <liburing.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

#define ENTRIES_MAX 32768u
#define PORTION 512u

/* What user_data points to. That of a cancel request is NULL. */
struct operation {
	void (*complete)(struct operation *operation, int result);
	char buffer[WORK_BUFFER];
};

static struct io_uring ring;
static struct operation *operations;

static void check(int result, const char *what)
{
	errno = -result;
	if (result < 0)
		work_fail(what);
}

static void complete(struct operation *operation, int result)
{
	(void)operation;
	work_done(result);
}

static void open_ring(unsigned count)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	if (count > ENTRIES_MAX) {
		params.flags |= IORING_SETUP_CQSIZE;
		params.cq_entries = 2 * ENTRIES_MAX;
	}
	check(io_uring_queue_init_params(count < ENTRIES_MAX ? 2 * count : ENTRIES_MAX, &ring, &params),
	      "io_uring_queue_init_params");
	operations = work_allocate(count, sizeof(*operations));
	for (unsigned i = 0; i < count; i++)
		operations[i].complete = complete;
}

static struct io_uring_sqe *get_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	if (sqe)
		return sqe;
	check(io_uring_submit(&ring), "io_uring_submit");
	return io_uring_get_sqe(&ring);
}

static void receive(unsigned i)
{
	struct io_uring_sqe *sqe = get_sqe();
	io_uring_prep_recv(sqe, work.near_fds[i % work.sockets], operations[i].buffer, WORK_BUFFER, 0);
	io_uring_sqe_set_data(sqe, &operations[i]);
}

static void submit(void)
{
	check(io_uring_submit(&ring), "io_uring_submit");
}

/* A cancel request that succeeds has no completion of its own: only that of the operation. */
static void leave(unsigned i)
{
	struct io_uring_sqe *sqe = get_sqe();
	io_uring_prep_cancel(sqe, &operations[i], 0);
	io_uring_sqe_set_data(sqe, NULL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* Waits in one call for all that must come, as far as the completion queue has room for them. */
static void run_until(unsigned done)
{
	while (work.cancelled + work.received < done) {
		unsigned head, seen = 0, left = done - work.cancelled - work.received;
		struct io_uring_cqe *cqe;
		check(io_uring_submit_and_wait(&ring, left < 16384 ? left : 16384),
		      "io_uring_submit_and_wait");
		io_uring_for_each_cqe (&ring, head, cqe) {
			struct operation *operation = io_uring_cqe_get_data(cqe);
			if (operation)
				operation->complete(operation, cqe->res);
			seen++;
		}
		io_uring_cq_advance(&ring, seen);
	}
}

static void group_end(void)
{
	if (work_form("any")) {
		struct io_uring_sqe *sqe = get_sqe();
		io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
		io_uring_sqe_set_data(sqe, NULL);
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		return;
	}
	for (unsigned n = 0; n < work.count; n++) {
		leave(work_form("newest") ? work.count - 1 - n : n);
		if (work_form("enters"))
			submit();
		if (work_form("newest") && (n + 1) % PORTION == 0)
			run_until(n + 1);
	}
}

const struct peer peer = {
	.open = open_ring,
	.receive = receive,
	.submit = submit,
	.group_end = group_end,
	.leave = leave,
	.wait = run_until,
};
