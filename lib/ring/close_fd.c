/* SPDX-License-Identifier: MIT */
/*
 * ctx_ring_close_fd: ends what the ring has on a descriptor before it is closed. Otherwise that would go on
 * with the old file, or be done to the next file that gets the number.
 */
#include "close_index.h"
#include "park.h"
#include "park_fd.h"
#include "queue.h"
#include "ring.h"

/*
 * Marks the operations on fd in a list of staged ones: they are refused when they would be given to the
 * kernel.
 */
static void mark_staged(struct list *list, int fd)
{
	for (struct list *link = list->next; link != list; link = link->next) {
		struct operation *op = container_of(link, struct operation, link);
		if (op_is_on(op, fd) && op->group)
			op_mark(op, OP_EXPLICIT);
	}
}

/*
 * Cancels what the kernel holds on fd, and enters the kernel so that it releases the file as far as it does
 * so at once.
 */
static void cancel_pending(struct ctx_ring *ring, int fd)
{
	struct uring_wait wait = {.events = true, .timeout_ns = CTX_FOREVER};
	struct operation *op;

	for (uint32_t cursor = 0; (op = close_index_next(ring, fd, &cursor));)
		ctx_op_cancel(ring, op_public(op));
	for (const struct list *link = ring->ops.singles.next; link != &ring->ops.singles; link = link->next)
		wait.min_complete++;
	batch_singles(ring);
	if (wait.min_complete && ring->defer && ring->features.timed_wait)
		wait.timeout_ns = 0;
	else
		wait.min_complete = 0;
	ring_enter(ring, 0, &wait);
}

/*
 * Whether the kernel may hold operations on the descriptor. A ring that parks by default counts them, unless
 * there was no memory. Attempts have been answered by now, unless the kernel did not take them or there was
 * no room for their completions.
 */
static bool kernel_may_hold(const struct ctx_ring *ring, const struct park_fd *p)
{
	return ring->ops.in_kernel && (!(ring->options.flags & CTX_RING_PARK) || ring->park->uncounted ||
				       (p && (p->pending || park_fd_is_issued(p))));
}

/*
 * Makes the entries on fd that the kernel has not taken yet invalid. Otherwise they would be done to the next
 * file that gets this number.
 */
static void invalidate_unsent(struct ctx_ring *ring, int fd)
{
	const struct io_uring_sq *sq = &ring->uring->sq;

	for (unsigned i = sq->sqe_tail - uring_publish(ring->uring); i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
		uint64_t value = sqe->user_data;
		if (sqe->fd != fd || (value ^ ring->tag) >> KIND_SHIFT)
			continue;
		struct operation *op = slot_find(ring, (uint32_t)value & SLOT_MASK,
						 (uint32_t)(value >> GENERATION_SHIFT) & GENERATION_MASK);
		if (!op || !op_is_on(op, fd))
			continue;
		if (!(op->marks & OP_RESULT)) {
			op->res = -ECANCELED;
			op_mark(op, OP_RESULT);
		}
		sqe->fd = -1;
	}
}

int ctx_ring_close_fd(struct ctx_ring *ring, int fd)
{
	struct park_fd *p;

	if (!ring || fd < 0)
		return debug_invalid("fd is negative", ring);
	int error = ring_check(ring);
	if (error)
		return debug_error(error, RING_REFUSED);
	p = park_fd_find(ring->park, fd);
	mark_staged(&ring->ops.waiting, fd);
	mark_staged(&ring->ops.staged, fd);
	if (p && park_fd_is_issued(p))
		park_finish_attempts(ring);
	if (p)
		park_end_fd(ring, p, -ECANCELED, CTX_OP_CANCELLED);
	if (kernel_may_hold(ring, p)) {
		cancel_pending(ring, fd);
		if (p) /* attempts that were answered meanwhile */
			park_end_fd(ring, p, -ECANCELED, CTX_OP_CANCELLED);
	}
	invalidate_unsent(ring, fd);
	if (p)
		park_fd_forget(ring->park, p);
	queue_notify(ring);
	return debug_result(sys_close(fd), "close(2) of descriptor %d failed; -EBADF: it was not open", fd);
}
