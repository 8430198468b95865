/* SPDX-License-Identifier: MIT */
#include "park.h"
#include "park_fd.h"
#include "ring.h"

/* Those that are staged are refused when they would go. */
static void refuse_staged(struct list *list, int fd)
{
	for (struct list *link = list->next; link != list; link = link->next) {
		struct operation *op = container_of(link, struct operation, link);
		if (op_is_on(op, fd) && op->group)
			op_mark(op, OP_EXPLICIT);
	}
}

/* Cancels what the kernel holds on fd, and has it let go of the file as far as it does at once. */
static void cancel_pending(struct ctx_ring *ring, int fd)
{
	struct uring_wait wait = {.events = true, .timeout_ns = CTX_FOREVER};

	for (uint32_t i = 1; i < ring->slot_count; i++) {
		struct operation *op = ring->slots[i].op;
		if (op && op->phase == OP_KERNEL && !(op->marks & OP_SEEN) && op_is_on(op, fd))
			ctx_op_cancel(ring, op_public(op));
	}
	for (const struct list *link = ring->singles.next; link != &ring->singles; link = link->next)
		wait.min_complete++;
	batch_singles(ring);
	if (wait.min_complete && ring->defer && ring->features.timed_wait)
		wait.timeout_ns = 0;
	else
		wait.min_complete = 0;
	uring_enter(ring->uring, 0, &wait);
}

/* Of a ring that parks by default all that is in the kernel has been counted. */
static bool kernel_may_hold(const struct ctx_ring *ring, const struct park_fd *p)
{
	return ring->in_kernel && (!p || p->pending || park_fd_is_issued(p) || !(ring->options.flags & CTX_RING_PARK));
}

int ctx_ring_close_fd(struct ctx_ring *ring, int fd)
{
	struct park_fd *p;

	if (!ring || fd < 0)
		return -EINVAL;
	int error = ring_check(ring);
	if (error)
		return error;
	p = park_fd_find(ring->park, fd);
	refuse_staged(&ring->waiting, fd);
	refuse_staged(&ring->staged, fd);
	if (p && park_fd_is_issued(p))
		park_settle(ring);
	if (p)
		park_end_fd(ring, p, -ECANCELED, CTX_OP_CANCELLED);
	if (kernel_may_hold(ring, p))
		cancel_pending(ring, fd);
	if (p)
		park_fd_forget(ring->park, p);
	ring_notify(ring);
	return close(fd) < 0 ? -errno : 0;
}
