/* SPDX-License-Identifier: MIT */
/*
 * What is done about operations that do not end although their context did and they were cancelled: a worker
 * of the kernel may hang in a device or a file system, and a zero-copy send waits for its peer. Two steps, a
 * grace apart: shut down the sockets for which the program allowed it, then say what is stuck. The timer of
 * the group's deadline serves: a group that ended has no other use for it.
 */
#include <stdio.h>
#include <unistd.h>

#include "memory.h"
#include "record.h"
#include "ring.h"

/* The next operation of group that the kernel holds, in a slot from *slot on; NULL: none. */
static struct operation *next_held(const struct group *group, uint32_t *slot)
{
	const struct ctx_ring *ring = group->ring;

	for (; *slot < ring->slot_count; ++*slot) {
		struct operation *op = ring->slots[*slot].op;
		if (op && op->group == group && op->phase == OP_KERNEL && !(op->marks & OP_SEEN))
			return ring->slots[(*slot)++].op;
	}
	return NULL;
}

static void fire_report(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct group *group = container_of(timer, struct group, deadline);
	struct operation *op;

	(void)now_ns;
	for (uint32_t slot = 1; (op = next_held(group, &slot));)
		record_add_flag(ring, op, CTX_TABLE_OP_STUCK);
	group->stuck_due = ring->stuck_due = true; /* a drain calls nobody */
}

static void fire_shutdown(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct group *group = container_of(timer, struct group, deadline);
	struct operation *op;

	for (uint32_t slot = 1; (op = next_held(group, &slot));)
		if ((op->marks & OP_SHUTDOWN) && !(op->sqe.flags & IOSQE_FIXED_FILE))
			sys_shutdown(op->sqe.fd, SHUT_RDWR); /* of what is no socket nothing can be shut */
	timer->fire = fire_report;
	ring_timer_set(ring, timer, clock_after_ns(now_ns, group->grace_ns));
}

void ladder_begin(struct group *group)
{
	group->grace_ns = context_grace(group->watch.ctx);
	if (!group->grace_ns || !context_error(group->watch.ctx))
		return;
	group->deadline.fire = fire_shutdown;
	ring_timer_set(group->ring, &group->deadline, clock_after_ns(clock_now_ns(), group->grace_ns));
}

static void report(struct group *group, void *data)
{
	struct ctx_ring *ring = group->ring;
	struct ctx_stuck few[8], *stuck;
	uint64_t now_ns = clock_now_ns();
	struct operation *op;
	unsigned count = 0;

	(void)data;
	if (!group->stuck_due)
		return;
	group->stuck_due = false;
	if (!ring->options.stuck || !group->in_kernel)
		return;
	/* Without memory for all of them some are told. */
	stuck = memory_allocate(group->in_kernel * sizeof(*stuck));
	unsigned max = stuck ? group->in_kernel : sizeof(few) / sizeof(few[0]);
	for (uint32_t slot = 1; count < max && (op = next_held(group, &slot));)
		ring_describe(ring, op, now_ns, &(stuck ? stuck : few)[count++]);
	if (count) {
		ring->options.stuck(ring, stuck ? stuck : few, count, ring->options.data);
		ring->stuck_due = true; /* what it began may have moved groups that were not yet looked at */
	}
	memory_release(stuck);
}

void ladder_report(struct ctx_ring *ring)
{
	ring->stuck_due = false;
	groups_each(ring, report, NULL);
}

int ctx_format_stuck(const struct ctx_stuck *stuck, char *buffer, size_t size)
{
	char path[64], target[256] = "", number[16];
	const char *name;

	if (!stuck || (!buffer && size))
		return -EINVAL;
	name = ctx_opcode_name(stuck->opcode);
	if (!name) {
		snprintf(number, sizeof(number), "OP_%u", stuck->opcode);
		name = number;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", stuck->fd);
	ssize_t length = stuck->fd < 0 ? -1 : readlink(path, target, sizeof(target) - 1);
	if (length > 0)
		target[length] = '\0';
	return snprintf(buffer, size, "%s on descriptor %d%s%s%s, for %llu.%03llu s", name, stuck->fd,
			length > 0 ? " (" : "", target, length > 0 ? ")" : "",
			(unsigned long long)(stuck->age_ns / NS_PER_SECOND),
			(unsigned long long)(stuck->age_ns / 1000000 % 1000));
}
