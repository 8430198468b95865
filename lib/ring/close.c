/* SPDX-License-Identifier: MIT */
/* Closing a ring: all that is on it ends, and nothing of it is left in the kernel. */
#include "note.h"
#include "park.h"
#include "queue.h"
#include "ring.h"

static void doom_group(struct group *group, void *data)
{
	(void)data;
	group_doom(group);
}

/* Takes the library's own polls out, so that their files are let go before this returns. */
static int withdraw_polls(struct ctx_ring *ring, uint64_t deadline_ns)
{
	unsigned looks = 0;
	int error = 0;

	ring->dispatching = true;
	ring_polls_stop_all(ring);
	while (!error && ring_polls_left(ring)) {
		error = adopt_withdraw_wait(ring, deadline_ns, &looks);
		if (ring->adopted)
			note_extract(ring);
		else
			note_harvest(ring);
	}
	ring->dispatching = false;
	return error;
}

/*
 * The kernel finished or cancelled all requests of the owner thread when that ended, but with SINGLE_ISSUER
 * nobody else may enter, and with DEFER_TASKRUN it hands out a result only to who does: what the queue does
 * not show by now is never shown, also of operations that did their work. They end as cancelled, since
 * nothing is known of them. -EPERM: a callback forked, and this is the child.
 */
static int end_without_kernel(struct ctx_ring *ring)
{
	int state = thread_hold();

	ring->dispatching = true;
	if (ring->adopted)
		note_extract(ring);
	dispatch_deliver(ring);
	for (uint32_t i = 1; i < ring->ops.slot_count && ring_is_here(ring); i++) {
		struct operation *op = ring->ops.slots[i].op;
		if (!op || op->phase != OP_KERNEL)
			continue;
		struct io_uring_cqe cqe = {.user_data =
						   ring_user_data(ring, KIND_OP, op->slot, op->generation),
					   .res = -ECANCELED};
		note_completion(ring, &cqe, &op);
		complete_deliver(ring, op, &cqe, NULL);
	}
	dispatch_deliver(ring);
	ring->dispatching = false;
	thread_release(state);
	return ring_is_here(ring) ? 0 : -EPERM;
}

/* In an adopted ring: takes out what is ours, after a wait if there is nothing yet. */
static int wait_for_ours(struct ctx_ring *ring, uint64_t timeout_ns)
{
	note_extract(ring);
	if (!list_empty(&ring->ops.ready) || ring->done.spill.head != ring->done.spill.tail || !timeout_ns)
		return 0;
	if (uring_cq_ready(ring->uring) >= ring->uring->cq.ring_entries)
		return -EBUSY; /* ours are behind the program's, in the kernel */
	if (ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER)
		ring_timers_fire(ring);
	batch_singles(ring);
	queue_arm_timer(ring);
	int error = queue_wait(ring, queue_has_unsent(ring) ? 0 : timeout_ns);
	note_extract(ring);
	/* At once: the turn that follows would set the time anew, and it would be over again in the next
	 * wait. */
	if (ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER)
		ring_timers_fire(ring);
	return error == -EBUSY ? error : 0;
}

/* Delivers until nothing is left, or time is over. */
static int deliver_until_idle(struct ctx_ring *ring, uint64_t deadline_ns)
{
	dispatch_turn(ring, 0); /* callbacks that were posted, too */
	while (ring->ops.live && ring_is_here(ring)) {
		uint64_t now_ns = deadline_ns == CTX_FOREVER ? 0 : clock_now_ns();
		uint64_t left_ns = deadline_ns == CTX_FOREVER ? CTX_FOREVER
				   : now_ns < deadline_ns     ? deadline_ns - now_ns
							      : 0;
		stage_submit(ring); /* what a callback began */
		stage_refuse_dead(ring);
		int error = ring->adopted ? wait_for_ours(ring, left_ns) : 0;
		if (error)
			return error;
		dispatch_turn(ring, left_ns);
		if (ring->ops.live && !left_ns && ring_is_here(ring))
			return -ETIMEDOUT;
	}
	return ring_is_here(ring) ? 0 : -EPERM; /* a callback forked, and this is the child */
}

/* By the owner, or by who has taken it over from one that has ended. */
static int close_claimed(struct ctx_ring *ring, uint64_t timeout_ns, struct ctx_stuck *stuck,
			 unsigned stuck_max, unsigned *ret_stuck)
{
	uint64_t deadline_ns = clock_after_ns(timeout_ns == CTX_FOREVER ? 0 : clock_now_ns(), timeout_ns);
	/* Nobody else may enter it, or can: what has no result by then has none. */
	bool silent = ring->owner.ended &&
		      ((ring->uring->flags & IORING_SETUP_SINGLE_ISSUER) || ring->uring->ring_fd < 0);
	int error = 0;

	ring->closing = true;
	if (silent && ring->ops.in_kernel)
		error = ring_await_results(ring, timeout_ns);
	if (!error) {
		groups_each(ring, doom_group, NULL);
		if (silent) {
			stage_refuse_dead(ring);
			error = end_without_kernel(ring);
		}
	}
	if (!error) {
		batch_run(ring);
		stage_refuse_dead(ring);
		error = deliver_until_idle(ring, deadline_ns);
	}
	if (error) {
		unsigned count = grace_list_stuck(ring, false, stuck, stuck_max);
		if (ret_stuck)
			*ret_stuck = count;
		return error;
	}
	if (!silent) {
		error = withdraw_polls(ring, deadline_ns);
		if (!ring->adopted)
			park_close(ring);
	}
	if (ring->adopted && error != -EBUSY && error != -ETIMEDOUT)
		error = adopt_withdraw(ring, deadline_ns);
	if (ring->adopted && (error == -EBUSY || error == -ETIMEDOUT))
		return error;
	ring_fd_close(ring);
	if (!ring->adopted)
		sys_uring_exit(&ring->own);
	ring_free(ring);
	return 0;
}

/* ---- forked children */

/*
 * Whether the copy is of a moment in which nobody was changing it: the forking thread owned it, or nobody,
 * and no function of the program was called amid a dispatch, to which it would return.
 */
static bool copy_is_whole(const struct ctx_ring *ring)
{
	return ring->fork_count + 1 == thread_fork_count &&
	       (!ring->owner.serial || ring->owner.serial == thread_forked_serial) && !ring->dispatching &&
	       !ring->owner.busy.word;
}

static void close_descriptor(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

static void close_inherited(struct ctx_ring *ring)
{
	bool whole = copy_is_whole(ring);

	/* What is registered with the kernel is the parent's. */
	close_descriptor(&ring->owner.ready_fd);
	close_descriptor(&ring->owner.epoll_fd);
	if (!ring->adopted)
		sys_uring_exit(&ring->own);
	if (whole) {
		ring_free(ring);
		return;
	}
	/* What leads to it from contexts stays right, and so does who is in the middle of it: its memory
	 * stays. */
	close_descriptor(&ring->mailbox->fd);
	if (ring->park)
		park_close_fd(ring);
}

int ctx_ring_close(struct ctx_ring *ring, uint64_t timeout_ns, struct ctx_stuck *stuck, unsigned stuck_max,
		   unsigned *ret_stuck)
{
	if (!ring)
		return 0;
	if (stuck_max && !stuck)
		return -EINVAL;
	if (ret_stuck)
		*ret_stuck = 0;
	if (ring->fork_count != thread_fork_count) {
		close_inherited(ring);
		return 0;
	}
	int error = ring_claim_to_close(ring);
	if (error)
		return error;
	if (ring->dispatching)
		return -EBUSY;
	if (!ring->owner.ended || !ring->adopted)
		return close_claimed(ring, timeout_ns, stuck, stuck_max, ret_stuck);
	/* Its place in the table of the owner's thread, io_uring_register_ring_fd(3), ended with that; in the
	 * caller's another io_uring may be there. */
	struct io_uring *uring = ring->uring;
	int entry = uring->enter_ring_fd;
	uring->enter_ring_fd = uring->ring_fd;
	error = close_claimed(ring, timeout_ns, stuck, stuck_max, ret_stuck);
	uring->enter_ring_fd = entry;
	return error;
}
