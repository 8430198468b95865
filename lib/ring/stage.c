/* SPDX-License-Identifier: MIT */
/*
 * Brings operations from the program's SQE to the kernel's queue. They are staged in their own memory, so
 * that preparing one never fails, and one that is cancelled before submit never reaches the kernel. What has
 * to go together is a unit: an operation, or a chain.
 *
 * IOSQE_IO_DRAIN is done here and not given to the kernel, for two reasons. Behind a draining request no
 * cancel reaches anything. And the kernel refuses draining on a ring that has used IOSQE_CQE_SKIP_SUCCESS, as
 * our cancels do (io_uring_enter(2)).
 */
#include <string.h>

#include "cause.h"
#include "close_index.h"
#include "counters.h"
#include "greet.h"
#include "park.h"
#include "park_queue.h"
#include "past_operation.h"
#include "queue.h"
#include "record.h"
#include "ring.h"
#include "usdt.h"

struct unit {
	struct operation *first, *last;
	unsigned operations;
	unsigned entries; /* entries of the queue, those of linked timeouts included */
	bool drain;
	bool refused; /* one of the operations is refused, or its context has ended */
	bool open;    /* the last operation is linked to a successor that is not staged yet */
};

static struct operation *staged_next(struct operation *op)
{
	return container_of(op->link.next, struct operation, link);
}

static bool has_successor(const struct operation *op)
{
	return op->sqe.flags & URING_CHAIN_FLAGS;
}

/* Whether the deadline of op's context is to go to the kernel as a linked timeout. */
static bool wants_linked_deadline(const struct ctx_ring *ring, const struct operation *op)
{
	const struct group *group = op->group;

	return ring->linked >= LINKED_DEADLINES && group &&
	       context_deadline(group->watch.ctx) != CTX_FOREVER &&
	       !(group->watch.ctx->flags & NODE_MOVABLE) && !op_never_waits(op->sqe.opcode) &&
	       deadline_may_link(ring, context_deadline(group->watch.ctx));
}

/*
 * Decides whether op gets a linked timeout. True: it does. A linked timeout of the program's own right behind
 * op leaves no room for ours.
 */
static bool choose_timeout(const struct ctx_ring *ring, struct operation *op, const struct operation *next)
{
	bool deadline = wants_linked_deadline(ring, op);

	op_unmark(op, OP_TIMED | OP_DEADLINE);
	if (!(deadline || ((op->marks & OP_HAS_TIMEOUT) && ring->linked >= LINKED_OWN)) ||
	    (next && next->sqe.opcode == IORING_OP_LINK_TIMEOUT))
		return false;
	op_mark(op, OP_TIMED | (deadline ? OP_DEADLINE : 0));
	return true;
}

static bool op_refused(const struct operation *op)
{
	return !op->group || (op->marks & OP_EXPLICIT) || op->group->ring->closing ||
	       context_error(op->group->watch.ctx);
}

/* Whether link is the head of a list of waiting or staged operations, and no operation. */
static bool is_list_end(const struct ctx_ring *ring, const struct list *link)
{
	return link == &ring->ops.waiting || link == &ring->ops.staged;
}

/* Describes the unit that begins with first. */
static void unit_read(const struct ctx_ring *ring, struct operation *first, struct unit *ret_unit)
{
	struct unit unit = {.first = first};

	for (struct operation *op = first;; op = staged_next(op)) {
		bool chained = has_successor(op) && !is_list_end(ring, op->link.next);
		unit.last = op;
		unit.operations++;
		unit.entries += choose_timeout(ring, op, chained ? staged_next(op) : NULL) ? 2 : 1;
		unit.drain |= (op->sqe.flags & IOSQE_IO_DRAIN) != 0;
		unit.refused |= op_refused(op);
		if (!chained)
			break;
	}
	/* A unit that has been submitted is not open: the flag of its last operation is ignored. */
	unit.open = has_successor(unit.last) && unit.last->link.next == &ring->ops.staged;
	*ret_unit = unit;
}

/* Describes the unit that op is in. Costs the length of the unit. */
static void unit_around(const struct ctx_ring *ring, struct operation *op, struct unit *ret_unit)
{
	while (!is_list_end(ring, op->link.prev)) {
		struct operation *previous = container_of(op->link.prev, struct operation, link);
		if (!has_successor(previous))
			break;
		op = previous;
	}
	unit_read(ring, op, ret_unit);
}

/*
 * Takes the linked timeouts from a unit that does not fit the queue with them. The ring's timers bound it
 * instead.
 */
static void unit_untime(struct unit *unit)
{
	struct operation *op = unit->first;

	for (unsigned i = 0; i < unit->operations; i++, op = staged_next(op))
		op_unmark(op, OP_TIMED | OP_DEADLINE);
	unit->entries = unit->operations;
}

/*
 * Ends the operations of a unit. Those that are refused get their own error. The others of the unit get
 * error, and are cancelled if that is 0.
 */
static void unit_refuse(struct ctx_ring *ring, const struct unit *unit, int error, struct batch *batch)
{
	struct operation *op = unit->first, *next;

	for (unsigned i = 0; i < unit->operations; i++, op = next) {
		next = staged_next(op);
		int res = error ? error : -ECANCELED;
		enum ctx_op_end end = error && error != -ECANCELED ? CTX_OP_FINISHED : CTX_OP_CANCELLED;
		if (!op->group) {
			res = op->res;
			end = (enum ctx_op_end)op->end;
		} else if (op_refused(op)) {
			res = -ECANCELED;
			end = group_op_end(op->group);
		}
		if (batch) {
			batch->record.operations++;
			batch->record.unsent++;
			batch->record.cancelled++;
		}
		ready_add(ring, op, res, end);
	}
}

static __attribute__((noinline, cold)) void explain_refused_unit(const struct ctx_ring *ring,
								 const struct unit *unit, int error)
{
	if (error == -E2BIG)
		debug_tell_event(
			(uintptr_t)ring,
			"a chain of %u operations completes with -E2BIG: with linked timeouts it takes %u "
			"entries, and the queue of the ring has %u",
			unit->operations, unit->entries, ring->uring->sq.ring_entries);
	else
		debug_tell_event(
			(uintptr_t)ring,
			"operations complete with -%s: the restrictions of the adopted io_uring forbid "
			"requests that the library needs",
			strerrorname_np(-error));
}

/*
 * Ends the refused units of a list. A chain that is still being built is left to the submit, which sees the
 * whole of it.
 */
static void refuse_dead_units(struct ctx_ring *ring, struct list *list)
{
	struct list *link = list->next;

	while (link != list) {
		struct unit unit;
		unit_read(ring, container_of(link, struct operation, link), &unit);
		link = unit.last->link.next;
		if (unit.refused && !unit.open)
			unit_refuse(ring, &unit, 0, NULL);
	}
}

void stage_refuse_dead(struct ctx_ring *ring)
{
	refuse_dead_units(ring, &ring->ops.waiting);
	refuse_dead_units(ring, &ring->ops.staged);
}

/* Indexes the operations of a list that are not indexed yet. They are at its end. */
static void index_list(struct list *list)
{
	struct list *link = list;

	while (link->prev != list && !(container_of(link->prev, struct operation, link)->marks & OP_INDEXED))
		link = link->prev;
	for (; link != list; link = link->next) {
		struct operation *op = container_of(link, struct operation, link);
		op_mark(op, OP_INDEXED);
		if (op->group)
			list_append(&op->group->staged, &op->park);
	}
}

/*
 * Indexing is done when a batch needs it, so that operations which are submitted without one are in no second
 * list. What one batch has looked at the next does not look at again.
 */
void stage_index(struct ctx_ring *ring)
{
	index_list(&ring->ops.waiting);
	index_list(&ring->ops.staged);
}

void stage_refuse_group(struct group *group, struct batch *batch)
{
	struct ctx_ring *ring = group->ring;

	while (!list_empty(&group->staged)) {
		struct unit unit;
		unit_around(ring, container_of(group->staged.next, struct operation, park), &unit);
		/*
		 * An open unit is the last one that is staged, so all further staged operations of the group
		 * are in it.
		 */
		if (unit.open) {
			ring->ops.staged_refused = true;
			return;
		}
		unit_refuse(ring, &unit, 0, batch);
	}
}

void stage_refuse(struct ctx_ring *ring, struct operation *op)
{
	struct unit unit;

	unit_around(ring, op, &unit);
	if (unit.open)
		ring->ops.staged_refused = true;
	else
		unit_refuse(ring, &unit, 0, NULL);
}

/* Stages op for group. NULL: op is refused, and the caller says why. */
static inline struct io_uring_sqe *stage_operation(struct ctx_ring *ring, struct operation *op,
						   struct group *group)
{
	memset(&op->sqe, 0, sizeof(op->sqe));
	/* timer, chain_prev and chain_next, which are next to each other */
	memset(&op->timer, 0, offsetof(struct operation, timeout_ns) - offsetof(struct operation, timer));
	op->group = group;
	if (group)
		group->held++;
	op->slot = 0;
	op->marks = ring->ops.first_marks;
	op_set_phase(op, OP_STAGED);
	ring->ops.live++;
	list_append(&ring->ops.staged, &op->link);
	return &op->sqe;
}

/* Explains the NULL of a call at site. Without a site the caller does that, by the reason that this leaves.
 */
static __attribute__((noinline, cold)) void explain_misuse(struct ctx_ring *ring,
							   const struct ctx_context *ctx,
							   const struct operation *op, const void *site)
{
	const char *text = !ring		   ? "argument ring is NULL"
			   : !ctx		   ? "argument ctx is NULL"
			   : !op		   ? "argument op is NULL"
			   : op->magic != OP_MAGIC ? OP_NOT_INITIALISED
			   : !op_is_idle(op)
				   ? "the operation is in flight: its final completion was not delivered"
				   : NULL;

	if (text)
		debug_leave_reason(0, text, 0, 0);
	else /* ring_check() has left a reason */
		debug_change_reason(0);
	if (site)
		debug_tell(site, "ctx_ring_get_sqe", 0, RING_REFUSED);
}

/*
 * The group of ctx is not the one that was used last, or there is something wrong. site is that of the
 * program's call; NULL: the caller explains.
 */
static __attribute__((noinline)) struct io_uring_sqe *
stage_with_care(struct ctx_ring *ring, const struct ctx_context *ctx, struct operation *op, const void *site)
{
	int error = 0;

	if (!ring || !ctx || !op || !op_is_idle(op) || ring_check(ring) < 0) {
		if (debug_is_wanted())
			explain_misuse(ring, ctx, op, site);
		return NULL;
	}
	struct group *group = group_get(ring, ctx, &error);
	struct io_uring_sqe *sqe = stage_operation(ring, op, group);
	if (!group) {
		ring->ops.staged_refused = true;
		if (debug_is_wanted() && site && context_error(ctx))
			cause_tell_done(site, "ctx_ring_get_sqe", -error, ctx);
		op->res = error == -ETIME ? -ECANCELED : error;
		op->end = error == -ETIME	? CTX_OP_DEADLINE
			  : error == -ECANCELED ? CTX_OP_CANCELLED
						: CTX_OP_FINISHED;
	}
	return sqe;
}

static inline __attribute__((always_inline)) struct io_uring_sqe *
get_sqe_inline(struct ctx_ring *ring, const struct ctx_context *ctx, struct ctx_op *public_op,
	       const void *site)
{
	struct operation *op = op_from_public(public_op);

	if (__builtin_expect(ring && op && op_is_idle(op) && ring_is_mine(ring), 1)) {
		struct group *last = ring->groups.last;
		if (__builtin_expect(last->watch.ctx == ctx && !context_error(ctx), 1))
			return stage_operation(ring, op, last);
	}
	return stage_with_care(ring, ctx, op, site);
}

RING_TURN struct io_uring_sqe *ctx_ring_get_sqe(struct ctx_ring *ring, const struct ctx_context *ctx,
						struct ctx_op *public_op)
{
	return get_sqe_inline(ring, ctx, public_op, __builtin_return_address(0));
}

struct io_uring_sqe *ring_get_sqe(struct ctx_ring *ring, const struct ctx_context *ctx,
				  struct ctx_op *public_op)
{
	return get_sqe_inline(ring, ctx, public_op, NULL);
}

/* Puts a linked timeout behind op: for op's own timeout or its context's deadline, whichever is earlier. */
static void emit_timeout(struct ctx_ring *ring, struct operation *op, unsigned chain_flags)
{
	struct io_uring_sqe *sqe = uring_blank_sqe(ring->uring);
	uint64_t deadline_ns = op->marks & OP_DEADLINE ? context_deadline(op->group->watch.ctx) : CTX_FOREVER;
	bool own = op->marks & OP_HAS_TIMEOUT;

	if (own) {
		/*
		 * The own timeout counts from the submit. The timer behind the linked timeout uses the same
		 * time.
		 */
		uint64_t own_ns = op->timeout_ns;
		own = own_ns <= deadline_ns;
		deadline_ns = own ? own_ns : deadline_ns;
	}
	op->timeout_ns = deadline_ns;
	if (own)
		op_mark(op, OP_TIMED_OWN);
	else
		++*deadline_count(ring, deadline_ns);
	unsigned flags = ring_kernel_time(ring, deadline_ns, &op->timeout);
	io_uring_prep_link_timeout(sqe, &op->timeout, flags);
	sqe->flags = (uint8_t)(chain_flags | (ring->features.skip_success ? IOSQE_CQE_SKIP_SUCCESS : 0));
	sqe->user_data = ring_user_data(ring, KIND_TIMEOUT, op->slot, op->generation);
}

/*
 * op is in the kernel's queue from here on. The caller takes op out of its list and counts it in
 * ring->ops.in_kernel.
 */
static inline void enter_kernel(struct ctx_ring *ring, struct operation *op, uint64_t now_ns,
				unsigned record_flags)
{
	struct group *group = op->group;

	op->phase = OP_KERNEL;
	op->order = ++ring->ops.order;
	list_insert(&group->pending, &op->link);
	group->in_kernel++;
	if (!(op->marks & OP_BEGUN))
		counters_operations_begin(group->stem, 1);
	record_operation(ring, op, now_ns, CTX_TABLE_OP_IN_FLIGHT | record_flags);
	usdt_operation_submit(ring, group->table_slot, group->table_generation, op->opcode, op->sqe.fd, op);
}

/* Whether the timer of group fires by deadline_ns. It was set for an operation before. */
static inline bool deadline_is_set(const struct group *group, uint64_t deadline_ns)
{
	return heap_contains(&group->deadline.node) && group->deadline.node.key_ns <= deadline_ns;
}

static void emit_operation(struct ctx_ring *ring, struct operation *op, struct operation *next,
			   uint64_t now_ns)
{
	struct group *group = op->group;
	unsigned chain_flags = next ? op->sqe.flags & URING_CHAIN_FLAGS : 0;
	struct io_uring_sqe *sqe = uring_next_sqe(ring->uring);

	op->opcode = op->sqe.opcode;
	if (op->marks & OP_PARK)
		park_queue_count(ring, op);
	memcpy(sqe, &op->sqe, sizeof(*sqe));
	sqe->user_data = ring_user_data(ring, KIND_OP, op->slot, op->generation);
	sqe->flags =
		(uint8_t)((op->sqe.flags & ~(URING_CHAIN_FLAGS | IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS)) |
			  chain_flags);
	if (op->marks & OP_TIMED) {
		/*
		 * The link flag of the operation decides what an early end does to the chain. The timeout
		 * repeats the flag, so that the chain goes on behind it.
		 */
		if (!chain_flags)
			sqe->flags |= IOSQE_IO_LINK;
		emit_timeout(ring, op, chain_flags);
	}
	if (!(op->marks & OP_DEADLINE) && context_deadline(group->watch.ctx) != CTX_FOREVER &&
	    !op_never_waits(op->opcode) && !deadline_is_set(group, context_deadline(group->watch.ctx)))
		ring_timer_set(ring, &group->deadline, context_deadline(group->watch.ctx));
	list_unlink(&op->link);
	ring->ops.in_kernel++;
	enter_kernel(ring, op, now_ns,
		     (op->marks & OP_TIMED ? CTX_TABLE_OP_TIMED : 0) |
			     (op->sqe.flags & IOSQE_FIXED_FILE ? CTX_TABLE_OP_FIXED_FILE : 0));
}

/* Whether op is a usual operation of group: alone, with no timeout of its own, not refused. */
static inline bool is_plain(const struct operation *op, const struct group *group)
{
	const unsigned special = URING_CHAIN_FLAGS | IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS;

	return !(op->sqe.flags & special) && !(op->marks & ~(unsigned)OP_TASK) && op->group == group;
}

/*
 * Whether the context of op, which is plain, goes on, and its deadline needs no linked timeout. Where the
 * ring's timer serves the deadline, starts that.
 */
static inline bool group_is_plain(struct ctx_ring *ring, struct group *group, const struct operation *op)
{
	uint64_t deadline_ns = context_deadline(group->watch.ctx);

	if (context_error(group->watch.ctx))
		return false;
	if (__builtin_expect(deadline_ns == CTX_FOREVER, 1))
		return true;
	if (ring->linked >= LINKED_DEADLINES)
		return false;
	if (deadline_is_set(group, deadline_ns))
		return true;
	if (op_never_waits(op->sqe.opcode))
		return false;
	ring_timer_set(ring, &group->deadline, deadline_ns);
	return true;
}

/*
 * Puts plain operations of group into the queue, from the head of ring->ops.waiting, which is not empty, as
 * far as there are slots and entries, and not beyond the end of the ring of entries. False: there was none to
 * put, or no room.
 */
static inline __attribute__((always_inline)) bool push_run(struct ctx_ring *ring, struct group *group,
							   uint64_t now_ns)
{
	/*
	 * In local variables, since the compiler cannot know that a store to an operation does not change
	 * them. There are as many as fit the processor's registers.
	 */
	struct io_uring_sq *const sq = &ring->uring->sq;
	const unsigned place = sq->sqe_tail & sq->ring_mask, to_end = sq->ring_entries - place;
	const unsigned space = uring_space(ring->uring);
	struct io_uring_sqe *sqe = &sq->sqes[place], *const end = sqe + (space < to_end ? space : to_end);
	struct list *link = ring->ops.waiting.next, *newest = group->pending.next;
	uint64_t order = ring->ops.order;
	uint32_t free = ring->ops.slot_free;

	if (sqe == end || !free)
		return false;
	do {
		struct operation *op = container_of(link, struct operation, link);
		if (!is_plain(op, group))
			break;
		struct slot *slot = &ring->ops.slots[free];
		uint32_t generation = slot->generation;
		uint8_t opcode = op->sqe.opcode;
		memcpy(sqe, &op->sqe, sizeof(*sqe));
		sqe->user_data = ring_user_data(ring, KIND_OP, free, generation);
		slot->op = op;
		op->slot = free;
		op->generation = generation;
		op->opcode = opcode;
		op->phase = OP_KERNEL;
		op->order = ++order;
		/* The newest is first. It is linked to the head of the list when the last one is known. */
		link = op->link.next;
		op->link.next = newest;
		newest->prev = &op->link;
		newest = &op->link;
		free = slot->next_free;
		record_in_slot(op, group, opcode, slot, now_ns,
			       CTX_TABLE_OP_IN_FLIGHT |
				       (op->sqe.flags & IOSQE_FIXED_FILE ? CTX_TABLE_OP_FIXED_FILE : 0));
		usdt_operation_submit(ring, group->table_slot, group->table_generation, opcode, op->sqe.fd,
				      op);
		sqe++;
	} while (__builtin_expect(link != &ring->ops.waiting, 1) && __builtin_expect(sqe != end, 1) &&
		 __builtin_expect(free != 0, 1));
	const unsigned pushed = (unsigned)(order - ring->ops.order);
	newest->prev = &group->pending;
	group->pending.next = newest;
	/* Those that were pushed are in the list of the group by now, so they are cut off this one at once.
	 */
	ring->ops.waiting.next = link;
	link->prev = &ring->ops.waiting;
	group->in_kernel += pushed;
	ring->ops.in_kernel += pushed;
	ring->ops.order = order;
	ring->ops.slot_free = free;
	ring->uring->sq.sqe_tail += pushed;
	counters_operations_begin(group->stem, pushed);
	return pushed != 0;
}

/*
 * Puts plain operations from the head of ring->ops.waiting, which is not empty, into the queue. Returns how
 * many.
 */
static __attribute__((noinline)) RING_TURN int push_plain(struct ctx_ring *ring, uint64_t now_ns)
{
	const uint64_t before = ring->ops.order;

	if (__builtin_expect(ring->closing || ring->requests.refused, 0))
		return 0;
	do {
		const struct operation *op = container_of(ring->ops.waiting.next, struct operation, link);
		if (!op->group || !group_is_plain(ring, op->group, op) || !push_run(ring, op->group, now_ns))
			break;
	} while (__builtin_expect(!list_empty(&ring->ops.waiting), 0));
	const unsigned pushed = (unsigned)(ring->ops.order - before);
	close_index_note(ring, ring->uring->sq.sqe_tail - pushed);
	return (int)pushed;
}

/* Takes the slots and timers that a unit needs, before anything of it is put into the queue. */
static int unit_reserve(struct ctx_ring *ring, const struct unit *unit)
{
	struct operation *op = unit->first;
	unsigned taken = 0;
	int error = 0;

	for (; taken < unit->operations; taken++, op = staged_next(op)) {
		error = slot_take(ring, op);
		if (error)
			break;
		if (!(op->marks & OP_HAS_TIMEOUT))
			continue;
		op->timeout_ns = clock_after_ns(clock_now_ns(), op->timeout_ns);
		uint64_t grace_ns = op->marks & OP_TIMED ? OP_TIMER_GRACE_NS : 0;
		error = op_timer_start(ring, op, clock_after_ns(op->timeout_ns, grace_ns));
		if (error) {
			slot_release(ring, op);
			break;
		}
	}
	if (!error)
		return 0;
	for (op = unit->first; taken--; op = staged_next(op)) {
		if (op->timer)
			op_timer_stop(ring, op);
		slot_release(ring, op);
	}
	return error;
}

static void unit_emit(struct ctx_ring *ring, const struct unit *unit, uint64_t now_ns)
{
	struct operation *op = unit->first, *previous = NULL;
	unsigned tail = ring->uring->sq.sqe_tail;

	if (unit->drain)
		ring->ops.barrier = unit->last;
	for (unsigned i = 0; i < unit->operations; i++) {
		struct operation *next = op == unit->last ? NULL : staged_next(op);
		stage_leave(op);
		if (unit->drain || unit->operations > 1)
			op_mark(op, OP_CHAINED);
		op->chain_prev = previous;
		op->chain_next = next;
		emit_operation(ring, op, next, now_ns);
		previous = op;
		op = next;
	}
	close_index_note(ring, tail);
}

/* Makes room in the queue for the unit. 0, or why the kernel takes nothing now. */
static int unit_room(struct ctx_ring *ring, const struct unit *unit)
{
	if (uring_space(ring->uring) >= unit->entries)
		return 0;
	int sent = queue_flush(ring);
	if (sent < 0)
		return sent;
	return uring_space(ring->uring) >= unit->entries ? 0 : -EAGAIN;
}

/* See stage_submit(). */
static inline void submit_staged(struct ctx_ring *ring)
{
	if (__builtin_expect(list_empty(&ring->ops.staged), 0))
		return;
	/* A chain ends with its submit, also if it has to wait: what is submitted next is no part of it. */
	container_of(ring->ops.staged.prev, struct operation, link)->sqe.flags &= (uint8_t)~URING_CHAIN_FLAGS;
	/*
	 * Refused operations end now. No batch will look for them any more, and they need not wait for an
	 * IOSQE_IO_DRAIN operation before them.
	 */
	if (__builtin_expect(ring->ops.staged_refused, 0)) {
		ring->ops.staged_refused = false;
		refuse_dead_units(ring, &ring->ops.staged);
	}
	list_splice(&ring->ops.waiting, &ring->ops.staged);
}

void stage_submit(struct ctx_ring *ring)
{
	submit_staged(ring);
}

/*
 * Parks the first waiting operation, if it is to be parked. True: it was parked, or was refused because it
 * could not be.
 */
static bool park_first(struct ctx_ring *ring, uint64_t now_ns)
{
	struct operation *op = container_of(ring->ops.waiting.next, struct operation, link);

	if (!(op->marks & OP_PARK) || (op->sqe.flags & (URING_CHAIN_FLAGS | IOSQE_IO_DRAIN)) ||
	    op_refused(op))
		return false;
	int parked = park_admit(ring, op, now_ns);
	if (parked < 0)
		ready_add(ring, op, parked, CTX_OP_FINISHED);
	return parked != 0;
}

/*
 * Pushes operations that are not plain, and those behind them. A function of its own, to keep the code for
 * plain ones small.
 */
static __attribute__((noinline)) int push_units(struct ctx_ring *ring, uint64_t now_ns)
{
	int pushed = 0;

	while (!list_empty(&ring->ops.waiting) && !ring->ops.barrier) {
		struct unit unit;
		if (park_first(ring, now_ns)) {
			pushed++;
			continue;
		}
		unit_read(ring, container_of(ring->ops.waiting.next, struct operation, link), &unit);
		if (unit.entries > ring->uring->sq.ring_entries)
			unit_untime(&unit);
		int refused = unit.entries > ring->uring->sq.ring_entries ? -E2BIG : ring->requests.refused;
		if (__builtin_expect(refused, 0) && debug_is_wanted())
			explain_refused_unit(ring, &unit, refused);
		if (unit.refused || refused) {
			unit_refuse(ring, &unit, unit.refused ? 0 : refused, NULL);
			continue;
		}
		if (unit.drain && (ring->ops.in_kernel || ring->ops.parked))
			break;
		int error = unit_room(ring, &unit);
		if (error) {
			ring->ops.stalled = error;
			break;
		}
		error = unit_reserve(ring, &unit);
		if (error) {
			unit_refuse(ring, &unit, error, NULL);
			continue;
		}
		unit_emit(ring, &unit, now_ns);
		pushed += (int)unit.operations;
		if (!ring->ops.barrier && !list_empty(&ring->ops.waiting))
			pushed += push_plain(ring, now_ns);
	}
	return pushed;
}

RING_TURN int stage_push(struct ctx_ring *ring, bool submit)
{
	int pushed = 0;

	if (submit)
		submit_staged(ring);
	ring->ops.stalled = 0;
	if (__builtin_expect(ring->adopted, 0) && (uring_chain_open(ring->uring) || !greet_kernel(ring)))
		return list_empty(&ring->ops.waiting) ? 0 : -EBUSY;
	if (!list_empty(&ring->ops.waiting) && __builtin_expect(!ring->ops.barrier, 1)) {
		uint64_t now_ns = past_submit_ns(ring);
		pushed = push_plain(ring, now_ns);
		if (__builtin_expect(!list_empty(&ring->ops.waiting), 0))
			pushed += push_units(ring, now_ns);
	}
	if (__builtin_expect(ring->park != NULL, 0)) {
		int error = park_push(ring);
		ring->ops.stalled = error ? error : ring->ops.stalled;
	}
	if (__builtin_expect(queue_wants_timer(ring), 0))
		queue_arm_timer(ring);
	return pushed ? pushed : ring->ops.stalled;
}
