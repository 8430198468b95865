/* SPDX-License-Identifier: MIT */
/* Closes a ring: all its operations end, and nothing of the ring is left in the kernel. */
#include "note.h"
#include "park.h"
#include "queue.h"
#include "ring.h"

static void doom_group(struct group *group, void *data)
{
	(void)data;
	group_doom(group);
}

/* Withdraws the library's own polls, so that the kernel has released their files before this returns. */
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
 * Ends the operations of a ring that nobody may enter any more. When the owner thread ended, the kernel
 * finished or cancelled all its requests. But with SINGLE_ISSUER no other thread may enter the ring, and with
 * DEFER_TASKRUN the kernel hands out results only to a thread that enters. So a result that is not in the
 * queue by now never comes, even if the operation did its work. Such operations end as cancelled, since
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
		/* One that was about to be parked is parked now, and ends with its group. */
		if (note_completion(ring, &cqe, &op) == CTX_FILTER_OP)
			complete_deliver(ring, op, &cqe, NULL);
	}
	dispatch_deliver(ring);
	ring->dispatching = false;
	thread_release(state);
	return ring_is_here(ring) ? 0 : -EPERM;
}

/*
 * For an adopted ring: takes the library's completions out of the queue. Waits first if there are none yet.
 */
static int wait_for_ours(struct ctx_ring *ring, uint64_t timeout_ns)
{
	note_extract(ring);
	if (!list_empty(&ring->ops.ready) || ring->done.spill.head != ring->done.spill.tail || !timeout_ns)
		return 0;
	if (uring_cq_ready(ring->uring) >= ring->uring->cq.ring_entries)
		return -EBUSY; /* our completions are in the kernel, behind the program's */
	if (ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER)
		ring_timers_fire(ring);
	batch_singles(ring);
	queue_arm_timer(ring);
	int error = queue_wait(ring, queue_has_unsent(ring) ? 0 : timeout_ns);
	note_extract(ring);
	/*
	 * Now, and not in the turn that follows: that would put a new kernel timeout, which would end the
	 * next wait just as early.
	 */
	if (ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER)
		ring_timers_fire(ring);
	return error == -EBUSY ? error : 0;
}

/* Delivers until no operation is left or the time is over. */
static int deliver_until_idle(struct ctx_ring *ring, uint64_t deadline_ns)
{
	dispatch_turn(ring, 0); /* delivers posted callbacks, too */
	while (ring->ops.live && ring_is_here(ring)) {
		uint64_t now_ns = deadline_ns == CTX_FOREVER ? 0 : clock_now_ns();
		uint64_t left_ns = deadline_ns == CTX_FOREVER ? CTX_FOREVER
				   : now_ns < deadline_ns     ? deadline_ns - now_ns
							      : 0;
		stage_submit(ring); /* what a callback has staged */
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

/* Closes the ring. The calling thread is the owner, or has claimed the ring after its owner ended. */
static int close_claimed(struct ctx_ring *ring, uint64_t timeout_ns, struct ctx_stuck *stuck,
			 unsigned stuck_max, unsigned *ret_stuck)
{
	uint64_t deadline_ns = clock_after_ns(timeout_ns == CTX_FOREVER ? 0 : clock_now_ns(), timeout_ns);
	/* Whether no thread may enter the io_uring, or none can. Then no further result comes. */
	bool silent = ring->owner.ended &&
		      ((ring->uring->flags & IORING_SETUP_SINGLE_ISSUER) || ring->uring->ring_fd < 0);
	int error = 0;

	ring->closing = true;
	ring->groups.last = &group_of_nothing;
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
	if (!ring->adopted) {
		uring_handle_unregister(&ring->handle, &ring->own);
		ring_close_uring(ring);
	}
	ring_free(ring);
	return 0;
}

/* ---- forked children */

/*
 * Whether the copy was made while nobody changed the ring: the thread that forked owned it, or nobody did,
 * and no function of the program was running amid a dispatch, which it would return to.
 */
static bool copy_is_whole(const struct ctx_ring *ring)
{
	uint64_t owner = atomic_load_explicit(&ring->owner.serial, memory_order_relaxed);

	return ring->fork_count + 1 == thread_fork_count &&
	       (owner == OWNER_NOBODY || owner == thread_forked_serial) && !ring->dispatching &&
	       !atomic_load(&ring->owner.busy.word);
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

	/*
	 * What is registered with the kernel is the parent's, so nothing is unregistered. The index of the
	 * parent's thread may be that of an io_uring of the child's.
	 */
	close_descriptor(&ring->owner.ready_fd);
	close_descriptor(&ring->owner.epoll_fd);
	if (!ring->adopted)
		ring_close_uring(ring);
	if (whole) {
		ring_free(ring);
		return;
	}
	/*
	 * Contexts still have watches that point to it, and a function may still return into it: its memory
	 * stays.
	 */
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
		return debug_invalid(STUCK_MISSING, ring);
	if (ret_stuck)
		*ret_stuck = 0;
	if (ring->fork_count != thread_fork_count) {
		close_inherited(ring);
		return 0;
	}
	int error = ring_claim_to_close(ring);
	if (error)
		return debug_error(error, RING_REFUSED);
	if (ring->dispatching)
		return debug_error(-EBUSY, "it is called inside a callback of this ring");
	if (!ring->owner.ended || !ring->adopted) {
		error = close_claimed(ring, timeout_ns, stuck, stuck_max, ret_stuck);
		return debug_result(error, "%s", ring_explain_refusal(ring, error));
	}
	/*
	 * The owner's thread had registered the ring, io_uring_register_ring_fd(3). That registration ended
	 * with the thread, and in the caller's table another io_uring may have the same index. So the plain
	 * descriptor is used.
	 */
	struct io_uring *uring = ring->uring;
	int entry = uring->enter_ring_fd;
	uring->enter_ring_fd = uring->ring_fd;
	error = close_claimed(ring, timeout_ns, stuck, stuck_max, ret_stuck);
	uring->enter_ring_fd = entry;
	return error;
}
