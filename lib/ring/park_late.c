/* SPDX-License-Identifier: MIT */
#include "park_late.h"

#include "park_fd.h"
#include "queue.h"
#include "ring.h"

/*
 * How many slots one part of the sweep looks at, and how many operations it takes out of the kernel. A look
 * takes some 20 ns, and a cancel 1 to 20 us, the more the more operations are pending. Between two parts the
 * ring makes other turns.
 */
#define LOOKS_MAX 4096u
#define CANCELS_MAX 64u
#define PART_PAUSE_NS 1000000u

static bool is_to_be_parked(const struct ctx_ring *ring, const struct operation *op)
{
	const unsigned late = OP_ATTEMPT | OP_LATE;
	const unsigned ending = OP_PARKING | OP_SEEN | OP_CANCEL_SENT | OP_ENDING | OP_TIMED_OUT;

	return op && op->phase == OP_KERNEL && (op->marks & (late | ending)) == late &&
	       op->order <= ring->park->old && !op->group->ended;
}

/* Puts a cancel into the queue that takes op out of the kernel. */
static void take_out(struct ctx_ring *ring, struct operation *op)
{
	struct io_uring_sqe *sqe = uring_blank_sqe(ring->uring);

	io_uring_prep_cancel64(sqe, ring_user_data(ring, KIND_OP, op->slot, op->generation), 0);
	sqe->user_data = ring_user_data(ring, KIND_CANCEL, op->slot, op->generation);
	if (ring->features.skip_success)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	op_mark(op, OP_PARKING);
}

/* Leaves op in the kernel, which waits for what epoll cannot report. The sweep does not come for op again. */
static void leave_in_kernel(struct ctx_ring *ring, struct operation *op)
{
	op_unmark(op, OP_LATE);
	ring->park->late--;
	ring->park->attempts++;
}

/*
 * Has op parked, whose slot the sweep is at. Its descriptor is put into the epoll set before the cancel, so
 * that data which comes meanwhile is reported. False: the kernel takes no more now.
 */
static bool park_late(struct ctx_ring *ring, struct operation *op)
{
	struct park_fd *p = park_fd_find(ring->park, op->sqe.fd);
	enum way way = op->marks & OP_OUT ? WAY_OUT : WAY_IN;
	bool known = park_fd_has(p, PARK_WATCHED);

	if (!uring_space(ring->uring) && (queue_flush(ring) < 0 || !uring_space(ring->uring)))
		return false;
	/* To make room may have brought the completion of op. */
	if (!is_to_be_parked(ring, op))
		return true;
	int error = 0;
	if (!park_fd_has(p, PARK_UNPARKABLE | PARK_STALE << way))
		error = park_fd_watch(ring->park, p, way);
	if (error == -EPERM) /* a regular file */
		park_fd_set(p, PARK_UNPARKABLE);
	if (error || park_fd_has(p, PARK_UNPARKABLE | PARK_STALE << way)) {
		leave_in_kernel(ring, op);
		return true;
	}
	if (!known) /* epoll reports what is ready at its entry into the set */
		park_fd_clear(p, (PARK_READY | PARK_FRESH) << way);
	take_out(ring, op);
	return true;
}

/* Looks at the next slots. True: the sweep is at its end. */
static bool sweep_part(struct ctx_ring *ring)
{
	struct park *park = ring->park;
	unsigned looks = 0, cancels = 0;

	while (++park->swept < ring->ops.slot_count) {
		struct operation *op = ring->ops.slots[park->swept].op;
		if (is_to_be_parked(ring, op)) {
			if (!park_late(ring, op)) {
				park->swept--;
				return false;
			}
			cancels++;
		}
		if (++looks == LOOKS_MAX || cancels == CANCELS_MAX)
			return false;
	}
	park->swept = 0;
	return true;
}

static void fire_sweep(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct park *park = ring->park;

	if (ring->closing || !park->late)
		return;
	if (!park->swept) {
		park->old = park->newest;
		park->newest = ring->ops.order;
	}
	uint64_t pause_ns = sweep_part(ring) ? park_late_after_ns : 0;
	ring_timer_set(ring, timer, now_ns + (pause_ns > PART_PAUSE_NS ? pause_ns : PART_PAUSE_NS));
}

void park_late_begin(struct ctx_ring *ring)
{
	struct park *park = ring->park;

	park->late++;
	if (heap_contains(&ring->times.sweep.node))
		return;
	ring->times.sweep.fire = fire_sweep;
	park->swept = 0;
	park->newest = ring->ops.order;
	ring_timer_set(ring, &ring->times.sweep, clock_now_ns() + park_late_after_ns);
}
