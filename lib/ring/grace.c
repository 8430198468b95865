/* SPDX-License-Identifier: MIT */
/*
 * What is done about operations that do not end although their context ended and they were cancelled. A
 * worker of the kernel may hang in a device or a file system, and a zero-copy send waits for its peer. There
 * are two steps, a grace apart: shut down the sockets for which the program allowed that (CTX_OP_SHUTDOWN),
 * then report what is stuck. The timer of the group's deadline serves for both, since a group that ended has
 * no other use for it.
 */
#include <stdio.h>
#include <unistd.h>

#include "memory.h"
#include "record.h"
#include "ring.h"

/* Describes an operation in the kernel for the program. */
static void describe_operation(const struct ctx_ring *ring, const struct operation *op, uint64_t now_ns,
			       struct ctx_stuck *ret_stuck)
{
	uint64_t since_ns = ring->ops.slots[op->slot].since_ns;

	*ret_stuck = (struct ctx_stuck){
		.op = op_public((struct operation *)op),
		.ctx_id = (uint64_t)op->group->table_generation << 32 | op->group->table_slot,
		.opcode = op->opcode,
		.fd = op->sqe.fd,
		.age_ns = now_ns > since_ns ? now_ns - since_ns : 0,
	};
}

unsigned grace_list_stuck(struct ctx_ring *ring, bool draining_only, struct ctx_stuck *stuck,
			  unsigned stuck_max)
{
	uint64_t now_ns = clock_now_ns();
	unsigned count = 0;

	for (uint32_t i = 1; i < ring->ops.slot_count; i++) {
		const struct operation *op = ring->ops.slots[i].op;
		if (!op || (op->marks & OP_SEEN) || op->phase == OP_READY ||
		    (op->phase == OP_PARKED && op->group->parked_ended) ||
		    (draining_only && !op->group->draining))
			continue;
		if (count < stuck_max)
			describe_operation(ring, op, now_ns, &stuck[count]);
		count++;
	}
	return count;
}

/*
 * Calls visit for each operation of group that the kernel holds, until visit returns false. Costs what the
 * group has, since what ring->ops.retries and ring->ops.singles hold is usually nothing.
 */
static void each_in_kernel(const struct group *group, bool (*visit)(struct operation *op, void *data),
			   void *data)
{
	struct ctx_ring *ring = group->ring;
	/* Operations that were cancelled before their context ended are in ring->ops.retries. */
	const struct list *lists[] = {&group->cancelling, &group->retries, &ring->ops.retries,
				      &ring->ops.singles};

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (struct list *link = lists[i]->next; link != lists[i]; link = link->next) {
			struct operation *op = container_of(link, struct operation, link);
			if (op->group == group && !(op->marks & OP_SEEN) && !visit(op, data))
				return;
		}
}

static bool flag_stuck(struct operation *op, void *data)
{
	record_add_flag(data, op, CTX_TABLE_OP_STUCK);
	return true;
}

static void fire_report(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct group *group = container_of(timer, struct group, deadline);

	(void)now_ns;
	each_in_kernel(group, flag_stuck, ring);
	/* A dispatch reports it later: a drain fires timers, too, but calls no function of the program. */
	list_remove(&group->stuck_link);
	list_append(&ring->groups.stuck, &group->stuck_link);
}

static bool shut_down_socket(struct operation *op, void *data)
{
	(void)data;
	if ((op->marks & OP_SHUTDOWN) && !(op->sqe.flags & IOSQE_FIXED_FILE))
		sys_shutdown(op->sqe.fd, SHUT_RDWR); /* does nothing to what is no socket */
	return true;
}

static void fire_shutdown(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	struct group *group = container_of(timer, struct group, deadline);

	each_in_kernel(group, shut_down_socket, NULL);
	timer->fire = fire_report;
	ring_timer_set(ring, timer, clock_after_ns(now_ns, group->grace_ns));
}

void grace_begin(struct group *group, uint64_t now_ns)
{
	group->grace_ns = context_grace(group->watch.ctx);
	if (!group->grace_ns || !context_error(group->watch.ctx))
		return;
	group->deadline.fire = fire_shutdown;
	ring_timer_set(group->ring, &group->deadline, clock_after_ns(now_ns, group->grace_ns));
}

struct report {
	struct ctx_ring *ring;
	struct ctx_stuck *stuck;
	uint64_t now_ns;
	unsigned count, max;
};

static bool report_operation(struct operation *op, void *data)
{
	struct report *report = data;

	describe_operation(report->ring, op, report->now_ns, &report->stuck[report->count++]);
	return report->count < report->max;
}

static void report_group(struct group *group)
{
	struct ctx_ring *ring = group->ring;
	struct ctx_stuck few[8], *stuck;

	if (!ring->options.stuck || !group->in_kernel)
		return;
	/* Without memory for all of them the first few are reported. */
	stuck = memory_allocate(group->in_kernel * sizeof(*stuck));
	struct report report = {
		.ring = ring,
		.stuck = stuck ? stuck : few,
		.now_ns = clock_now_ns(),
		.max = stuck ? group->in_kernel : sizeof(few) / sizeof(few[0]),
	};
	each_in_kernel(group, report_operation, &report);
	if (report.count)
		ring->options.stuck(ring, report.stuck, report.count, ring->options.data);
	memory_release(stuck);
}

void grace_report(struct ctx_ring *ring)
{
	while (!list_empty(&ring->groups.stuck) && ring_is_here(ring)) {
		struct group *group = container_of(ring->groups.stuck.next, struct group, stuck_link);
		list_remove(&group->stuck_link);
		report_group(group);
	}
}

int ctx_format_stuck(const struct ctx_stuck *stuck, char *buffer, size_t size)
{
	char path[64], target[256] = "", number[16];
	const char *name;

	if (!stuck || (!buffer && size))
		return debug_invalid(BUFFER_MISSING, stuck);
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
