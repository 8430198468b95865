/* SPDX-License-Identifier: MIT */
/*
 * The same operations with plain liburing, as a careful program does it: user_data points to the operation,
 * each operation has a callback, and no system call is made without need.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "load.h"

#define RAW_CHUNK 256u

/* Ways to cancel a group. */
enum raw_way {
	RAW_BATCH,  /* one cancel SQE each, in submission order, in one submit */
	RAW_NEWEST, /* one cancel SQE each, newest first, in chunks whose completions are seen before the next
		     */
	RAW_ENTERS, /* one cancel SQE and one enter each */
	RAW_ANY,    /* one SQE with ANY|ALL: ends every operation of the ring */
	RAW_FD,	    /* one SQE with FD|ALL: all are on one descriptor */
	RAW_SHARED, /* one SQE with ALL: all have one user_data */
};

struct raw;

struct raw_op {
	void (*complete)(struct raw *raw, struct raw_op *op, int res);
	bool done;
};

struct raw {
	struct io_uring ring;
	struct raw_op *ops, shared;
	unsigned completed;
};

static inline void raw_complete(struct raw *raw, struct raw_op *op, int res)
{
	(void)res;
	op->done = true;
	raw->completed++;
}

static inline void raw_open(struct raw *raw, unsigned entries, unsigned setup_flags, unsigned ops)
{
	struct io_uring_params params = {.flags = setup_flags};
	memset(raw, 0, sizeof(*raw));
	if (entries >= LOAD_ENTRIES_MAX) {
		params.flags |= IORING_SETUP_CQSIZE;
		params.cq_entries = 2 * LOAD_ENTRIES_MAX;
	}
	bench_check(io_uring_queue_init_params(entries, &raw->ring, &params), "io_uring_queue_init_params");
	raw->ops = bench_allocate(ops, sizeof(*raw->ops));
	for (unsigned i = 0; i < ops; i++)
		raw->ops[i].complete = raw_complete;
	raw->shared.complete = raw_complete;
}

/* As a program does that wants each io_uring_enter(2) a little cheaper: io_uring_register_ring_fd(3). */
static inline void raw_register(struct raw *raw)
{
	if (bench_check(io_uring_register_ring_fd(&raw->ring), "io_uring_register_ring_fd") != 1)
		bench_fail("io_uring_register_ring_fd registers nothing");
}

static inline void raw_close(struct raw *raw)
{
	io_uring_queue_exit(&raw->ring);
	free(raw->ops);
}

static inline struct io_uring_sqe *raw_get_sqe(struct raw *raw)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&raw->ring);
	if (!sqe) {
		bench_check(io_uring_submit(&raw->ring), "io_uring_submit");
		sqe = io_uring_get_sqe(&raw->ring);
	}
	return sqe;
}

/* Hands out all completions that there are. */
static inline void raw_hand_out(struct raw *raw)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;
	io_uring_for_each_cqe (&raw->ring, head, cqe) {
		struct raw_op *op = io_uring_cqe_get_data(cqe);
		if (op)
			op->complete(raw, op, cqe->res);
		seen++;
	}
	io_uring_cq_advance(&raw->ring, seen);
}

/* Submits, waits for at least minimum completions and hands out all there are. */
static inline void raw_dispatch(struct raw *raw, unsigned minimum)
{
	int result = io_uring_submit_and_wait(&raw->ring, minimum);
	if (result != -EINTR)
		bench_check(result, "io_uring_submit_and_wait");
	raw_hand_out(raw);
}

/* The same with a bound for the wait, which goes to the kernel as an argument: IORING_ENTER_EXT_ARG. */
static inline void raw_dispatch_bounded(struct raw *raw, unsigned minimum)
{
	struct __kernel_timespec left = {.tv_sec = 3600};
	struct io_uring_cqe *cqe;
	int result = io_uring_submit_and_wait_timeout(&raw->ring, &cqe, minimum, &left, NULL);
	if (result != -EINTR)
		bench_check(result, "io_uring_submit_and_wait_timeout");
	raw_hand_out(raw);
}

static inline void raw_cancel_one(struct raw *raw, struct raw_op *op, bool enter)
{
	struct io_uring_sqe *sqe = raw_get_sqe(raw);
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	if (enter)
		bench_check(io_uring_submit(&raw->ring), "io_uring_submit");
}

static inline void raw_cancel_many(struct raw *raw, enum raw_way way)
{
	struct io_uring_sqe *sqe = raw_get_sqe(raw);
	if (way == RAW_FD)
		io_uring_prep_cancel_fd(sqe, load_files.pairs[0][0], IORING_ASYNC_CANCEL_ALL);
	else
		io_uring_prep_cancel(sqe, &raw->shared,
				     IORING_ASYNC_CANCEL_ALL |
					     (way == RAW_ANY ? IORING_ASYNC_CANCEL_ANY : 0));
	io_uring_sqe_set_data(sqe, NULL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static inline void raw_fill(struct raw *raw, const struct load *load, enum raw_way way)
{
	for (unsigned i = 0; i < load->pending; i++) {
		struct io_uring_sqe *sqe = raw_get_sqe(raw);
		load_prepare(load, sqe, i);
		io_uring_sqe_set_data(sqe, way == RAW_SHARED ? &raw->shared : &raw->ops[i]);
		raw->ops[i].done = false;
	}
	bench_check(io_uring_submit(&raw->ring), "io_uring_submit");
}

/*
 * Waits in one call for all completions that must come. That is the cheapest way. It is correct only because
 * every operation is known to be pending.
 */
static inline void raw_reap(struct raw *raw, unsigned count)
{
	while (raw->completed < count)
		raw_dispatch(raw, raw->completed + 16384 < count ? 16384 : count - raw->completed);
}

/* The best order by hand for operations that wait on a poll. lib/uring/plan.h says why. */
static inline void raw_cancel_newest(struct raw *raw, const struct load *load, unsigned group)
{
	unsigned sent = 0;

	for (unsigned n = load->victims; n--;) {
		raw_cancel_one(raw, &raw->ops[load_member(load, group, n)], false);
		if (++sent % RAW_CHUNK == 0)
			raw_reap(raw, sent);
	}
}

/* Cancels one group and sees all its completions. */
static inline void raw_cancel(struct raw *raw, const struct load *load, enum raw_way way, unsigned group)
{
	raw->completed = 0;
	if (way == RAW_BATCH || way == RAW_ENTERS) {
		for (unsigned n = 0; n < load->victims; n++)
			raw_cancel_one(raw, &raw->ops[load_member(load, group, n)], way == RAW_ENTERS);
	} else if (way == RAW_NEWEST) {
		raw_cancel_newest(raw, load, group);
	} else {
		raw_cancel_many(raw, way);
	}
	raw_reap(raw, load->victims);
}

/*
 * Ends the operations that are in no group, which is not measured. Newest first and in chunks is the quick
 * way, oldest first for timeouts.
 */
static inline void raw_clear(struct raw *raw, const struct load *load)
{
	unsigned sent = 0;
	raw->completed = 0;
	for (unsigned n = 0; n < load->pending; n++) {
		unsigned i = load->kind == LOAD_TIMEOUT ? n : load->pending - 1 - n;
		if (load_group(load, i))
			continue;
		raw_cancel_one(raw, &raw->ops[i], false);
		if (++sent % 512 == 0)
			raw_reap(raw, sent);
	}
	raw_reap(raw, sent);
}

#endif
