/* SPDX-License-Identifier: MIT */
/*
 * Sends a batch: one cancel SQE for each operation that the kernel holds of the contexts that ended. The
 * order of the cancels is that of uring/plan.h. They go in chunks, and after each chunk the kernel completes
 * what it cancelled.
 *
 * Why not one cancel that matches many: the kernel starts its search again after each hit, past what is
 * cancelled and still hashed. That is quadratic, under the ring's lock.
 *
 * Why chunks: a cancelled request leaves the kernel's hash table when its task work runs. On an ordinary ring
 * any enter runs it. With DEFER_TASKRUN only an enter that waits runs it, and it runs as much as the enter
 * waits for. So the enter waits for the whole chunk with a timeout of zero, which never blocks.
 */
#include "chain.h"
#include "counters.h"
#include "memory.h"
#include "note.h"
#include "park.h"
#include "park_queue.h"
#include "past.h"
#include "past_operation.h"
#include "plan.h"
#include "queue.h"
#include "ring.h"
#include "table.h"
#include "usdt.h"

/*
 * The most cancels of one chunk: a usual group fits in one enter. The cost per cancel was measured to be the
 * same from 64 to 1,024.
 */
#define CHUNK_MAX 256u

static struct batch *batch_new(struct ctx_ring *ring, const struct group *origin, uint64_t now_ns)
{
	struct batch *batch = memory_allocate(sizeof(*batch));
	bool spare = !batch;

	if (spare && !ring->done.spare.spare)
		batch = &ring->done.spare;
	if (!batch)
		return NULL;
	*batch = (struct batch){.spare = spare, .start_ns = now_ns};
	if (origin) {
		batch->record.ctx_id = (uint64_t)origin->table_generation << 32 | origin->table_slot;
		batch->stem = origin->stem;
	}
	list_append(&ring->done.batches, &batch->link);
	return batch;
}

static void batch_free(struct batch *batch)
{
	list_remove(&batch->link);
	tally_unref(batch->tally);
	batch->tally = NULL;
	if (batch->spare)
		batch->spare = false;
	else
		memory_release(batch);
}

/*
 * Where to count for batch. Without memory batch is NULL; its cancels are sent all the same, and counted in
 * dummy.
 */
static struct ctx_batch *batch_record(struct batch *batch, struct ctx_batch *dummy)
{
	return batch ? &batch->record : dummy;
}

/* Writes a batch to the ring's record in the context table. */
static void publish_batch(struct ctx_ring *ring, const struct ctx_batch *from)
{
	struct ctx_table_ring *record = ring->record;

	if (!record)
		return;
	table_write_begin(&record->seq);
	record->batch_context_slot = (uint32_t)from->ctx_id;
	record->batch_context_generation = (uint32_t)(from->ctx_id >> 32);
	record->batch_operations = from->operations;
	record->batch_unsent = from->unsent;
	record->batch_timed = from->timed;
	record->batch_sqes = from->sqes;
	record->batch_enters = from->enters;
	record->batch_cancelled = from->cancelled;
	record->batch_finished = from->finished;
	record->batch_submit_ns = from->submit_ns;
	record->batch_reap_ns = from->reap_ns;
	if (!from->held)
		record->batches++;
	table_write_end(&record->seq);
}

/* The batch that counts op, or NULL. */
static struct batch *batch_of(const struct operation *op)
{
	return op->marks & OP_DOOMED ? op->group->batch : NULL;
}

static void plan_add_single(struct plan *plan, struct operation *op)
{
	struct list run;

	list_init(&run);
	list_append(&run, &op->link);
	plan_add(plan, &run);
}

/*
 * Takes the operations that were to be cancelled later, one by one or again, and whose groups batch has just
 * taken, into the batch. delayed is ring->ops.retries or ring->ops.singles.
 */
static void gather_delayed(struct ctx_ring *ring, struct list *delayed, struct batch *batch)
{
	struct ctx_batch dummy, *record = batch_record(batch, &dummy);
	struct list doomed;

	list_init(&doomed);
	for (struct list *link = delayed->next, *next; link != delayed; link = next) {
		struct operation *op = container_of(link, struct operation, link);
		next = link->next;
		const struct group *group = op->group;
		if (!group->parked_ended || group->batch != batch || (op->marks & (OP_SEEN | OP_DOOMED)))
			continue;
		op_mark(op, OP_DOOMED);
		record->operations++;
		record->held++;
		list_remove(link);
		list_append(&doomed, link);
	}
	while (!list_empty(&doomed)) {
		struct operation *op = container_of(doomed.next, struct operation, link);
		struct operation *head = chain_end(op);
		list_remove(&op->link);
		/* The kernel finds only the head of a chain. */
		list_append(op->chain_prev ? &op->group->cancelling : &ring->ops.singles, &op->link);
		if (head)
			list_append(&ring->ops.singles, &head->link);
	}
}

/*
 * An operation that is already being cancelled, say for its own timeout, is in no batch. But its chain is to
 * end with its context, too.
 */
static void gather_chains(struct group *group, struct plan *plan)
{
	for (struct list *link = group->cancelling.next; link != &group->cancelling; link = link->next) {
		struct operation *op = container_of(link, struct operation, link);
		if ((op->marks & (OP_CHAINED | OP_SEEN | OP_ENDING)) != OP_CHAINED)
			continue;
		op_mark(op, OP_EXPLICIT);
		struct operation *head = chain_end(op);
		if (head)
			plan_add_single(plan, head);
	}
}

/* The pending operations of a group, while they are gathered for a batch. */
struct gathering {
	struct plan *plan;
	struct list seen;     /* have completed already */
	struct list overdue;  /* are being ended by their linked timeouts */
	struct list timeouts; /* are timeouts */
	uint64_t now_ns;      /* 0: no linked timeout can be overdue */
	unsigned operations;  /* how many the batch ends */
	unsigned timed;	      /* how many of these are overdue */
	unsigned planned;     /* how many of these need a cancel SQE of their own */
};

/*
 * For an operation that is in a chain, has completed, or may be overdue. Returns the list to which it is to
 * be moved. NULL: it needs a cancel SQE of its own, as others do.
 */
static __attribute__((noinline)) struct list *gather_special(struct gathering *gathering,
							     struct operation *op)
{
	if (op->marks & OP_SEEN)
		return &gathering->seen;
	op_mark(op, OP_DOOMED);
	gathering->operations++;
	if (op->marks & OP_CHAINED) {
		struct operation *head = chain_end(op);
		if (head)
			plan_add_single(gathering->plan, head);
		if (op->chain_prev)
			return &op->group->cancelling;
	}
	if (!(op->marks & OP_TIMED) || (op->marks & OP_TIMED_OWN) || op->timeout_ns > gathering->now_ns)
		return NULL;
	gathering->timed++;
	return &gathering->overdue;
}

/* Dooms the pending operations of group. Moves those that need a cancel SQE of their own to plan. */
static void gather_pending(struct ctx_ring *ring, struct group *group, struct batch *batch, struct plan *plan)
{
	struct ctx_batch dummy, *record = batch_record(batch, &dummy);
	bool expired = context_error(group->watch.ctx) == ETIME;
	const unsigned special = OP_SEEN | OP_CHAINED | (expired ? OP_TIMED : 0);
	struct gathering gathering = {.plan = plan, .now_ns = expired ? clock_now_ns() : 0};

	list_init(&gathering.seen);
	list_init(&gathering.overdue);
	list_init(&gathering.timeouts);
	for (struct list *link = group->pending.next, *next, *to; link != &group->pending; link = next) {
		struct operation *op = container_of(link, struct operation, link);
		next = link->next;
		if (__builtin_expect(op->marks & special, 0)) {
			to = gather_special(&gathering, op);
		} else {
			to = NULL;
			op_mark(op, OP_DOOMED);
			gathering.operations++;
		}
		if (!to) {
			gathering.planned++;
			if (__builtin_expect(op->opcode != IORING_OP_TIMEOUT, 1))
				continue;
			to = &gathering.timeouts;
		}
		list_remove(link);
		list_append(to, link);
	}
	record->operations += gathering.operations;
	record->held += gathering.operations;
	record->timed += gathering.timed;
	gather_chains(group, plan);
	while (!list_empty(&gathering.overdue))
		ring_timer_retry(ring, container_of(gathering.overdue.next, struct operation, link));
	plan_add_sorted(plan, &group->pending, &gathering.timeouts, gathering.planned);
	list_splice(&group->pending, &gathering.seen);
}

/* Ends the parked operations of group. The kernel knows nothing of them, so nothing is sent. */
static void gather_parked(struct group *group, struct batch *batch)
{
	struct ctx_batch dummy, *record = batch_record(batch, &dummy);

	record->operations += group->parked_count;
	record->unsent += group->parked_count;
	record->cancelled += group->parked_count - group->partial_count;
	record->finished += group->partial_count;
	park_queue_end_group(group);
}

static inline void emit_cancel(struct ctx_ring *ring, struct operation *op, uint8_t flags)
{
	struct io_uring_sqe *sqe = uring_next_sqe(ring->uring);

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_ASYNC_CANCEL,
		.flags = flags,
		.fd = -1,
		.addr = ring_user_data(ring, KIND_OP, op->slot, op->generation),
		.user_data = ring_user_data(ring, KIND_CANCEL, op->slot, op->generation),
	};
	op_mark(op, OP_CANCEL_SENT);
}

/*
 * Puts cancels for the next operations of plan into the queue, at most max, for which there must be space.
 * Returns how many. Operations of one group that follow each other go to its list in one step.
 */
static unsigned emit_cancels(struct ctx_ring *ring, struct plan *plan, unsigned max)
{
	const uint8_t flags = ring->features.skip_success ? IOSQE_CQE_SKIP_SUCCESS : 0;
	struct list *others = plan_others(plan), *link = others->next;
	unsigned count = 0;

	while (count < max && link != others) {
		struct operation *op = container_of(link, struct operation, link);
		struct group *group = op->group;
		do {
			emit_cancel(ring, op, flags);
			link = link->next;
			op = container_of(link, struct operation, link);
		} while (++count < max && link != others && op->group == group);
		list_splice_until(&group->cancelling, others, link);
	}
	plan->count -= count;
	for (struct operation *op; count < max && (op = plan_next(plan)); count++) {
		emit_cancel(ring, op, flags);
		list_append(&op->group->cancelling, &op->link);
	}
	return count;
}

/*
 * Sends a chunk with one enter, which also completes what the chunk cancelled. What the kernel does not take
 * now stays in the queue.
 */
static int send_chunk(struct ctx_ring *ring, unsigned cancels)
{
	struct uring_wait wait = {.timeout_ns = CTX_FOREVER};

	if (ring->defer && ring->features.timed_wait)
		wait = (struct uring_wait){.min_complete = cancels, .events = true, .timeout_ns = 0};
	if (!ring->adopted && uring_cq_ready(ring->uring) + cancels > ring->uring->cq.ring_entries)
		note_harvest(ring);
	int sent = ring_enter(ring, uring_publish(ring->uring), &wait);
	if (sent == -EBUSY && !ring->adopted)
		note_harvest(ring);
	return sent;
}

/*
 * Sends the cancels of plan. batch is NULL when the operations belong to several batches or to none: then
 * they have been counted already.
 */
static void send_plan(struct ctx_ring *ring, struct plan *plan, struct batch *batch)
{
	struct ctx_batch dummy, *record = batch_record(batch, &dummy);
	unsigned chunk_max =
		ring->uring->sq.ring_entries < CHUNK_MAX ? ring->uring->sq.ring_entries : CHUNK_MAX;
	unsigned failures = 0;

	while (plan->count || uring_publish(ring->uring)) {
		unsigned space = uring_space(ring->uring);
		unsigned cancels = emit_cancels(ring, plan, space < chunk_max ? space : chunk_max);
		record->sqes += cancels;
		record->enters++;
		int sent = send_chunk(ring, cancels);
		if (sent > 0) {
			failures = 0;
		} else if (sent != -EINTR && ++failures == 2) {
			break;
		}
	}
	/* The kernel takes no more now. The next submit or dispatch sends the rest. */
	for (struct operation *op; (op = plan_next(plan));) {
		if (!batch && batch_of(op))
			batch_of(op)->record.sqes--;
		list_append(&ring->ops.singles, &op->link);
	}
}

/* Has the group's tally hear of batch. False: batch already reports to another tally. */
static bool batch_take_tally(struct batch *batch, struct group *group)
{
	struct tally *tally = atomic_load(&group->tally);

	if (!tally)
		return true;
	if (batch && batch->tally && batch->tally != tally)
		return false;
	atomic_store(&group->tally, NULL);
	if (batch && !batch->tally)
		batch->tally = tally;
	else
		tally_unref(tally);
	return true;
}

static void run_batch(struct ctx_ring *ring)
{
	uint64_t now_ns = clock_now_ns();
	struct plan plan;
	park_finish_attempts(ring);
	struct group *group = container_of(ring->groups.doomed.next, struct group, link);
	struct batch *batch = ring->ops.live ? batch_new(ring, group, now_ns) : NULL;
	plan_init(&plan);
	stage_index(ring);
	while (!list_empty(&ring->groups.doomed)) {
		group = container_of(ring->groups.doomed.next, struct group, link);
		if (!batch_take_tally(batch, group))
			break;
		list_remove(&group->link);
		group->batch = batch;
		if (group->held) {
			uint64_t origin_id = past_write_origin(group->watch.ctx);
			if (batch && !batch->origin_id)
				batch->origin_id = origin_id;
		}
		if (group->parked_count)
			gather_parked(group, batch);
		group->parked_ended = true;
		if (group->in_kernel) {
			gather_pending(ring, group, batch, &plan);
			grace_begin(group, now_ns);
		}
		stage_refuse_group(group, batch);
		if (!group->held)
			list_append(&ring->groups.emptied, &group->link);
	}
	gather_delayed(ring, &ring->ops.retries, batch);
	gather_delayed(ring, &ring->ops.singles, batch);
	if (batch && batch->record.operations)
		usdt_batch_begin(ring, (uint32_t)batch->record.ctx_id, (uint32_t)(batch->record.ctx_id >> 32),
				 batch->record.operations);
	if (plan.count) {
		plan_finish(&plan);
		send_plan(ring, &plan, batch);
	}
	batch_singles(ring);
	if (!batch)
		return;
	if (!batch->record.operations) {
		batch_free(batch);
		return;
	}
	batch->record.submit_ns = clock_now_ns() - batch->start_ns;
	ring->done.newest = batch;
	if (batch->record.held) {
		publish_batch(ring, &batch->record);
	} else {
		batch->record.reap_ns = batch->record.submit_ns;
		note_batch_over(ring, batch);
	}
	queue_notify(ring);
}

void batch_run(struct ctx_ring *ring)
{
	while (!list_empty(&ring->groups.doomed) && !(ring->adopted && uring_chain_open(ring->uring)))
		run_batch(ring);
}

/*
 * In the order and the chunks of a batch. Otherwise the kernel's search for each one would take longer the
 * more there are.
 */
void batch_singles(struct ctx_ring *ring)
{
	struct plan plan;

	if (list_empty(&ring->ops.singles) || (ring->adopted && uring_chain_open(ring->uring)))
		return;
	plan_init(&plan);
	while (!list_empty(&ring->ops.singles)) {
		struct operation *op = container_of(ring->ops.singles.next, struct operation, link);
		list_remove(&op->link);
		if (op->marks & OP_SEEN) {
			list_append(&op->group->cancelling, &op->link);
			continue;
		}
		if (batch_of(op))
			batch_of(op)->record.sqes++;
		plan_add_single(&plan, op);
	}
	plan_finish(&plan);
	send_plan(ring, &plan, NULL);
}

void batch_report(struct ctx_ring *ring)
{
	while (!list_empty(&ring->done.batches_over)) {
		struct batch *batch = container_of(ring->done.batches_over.next, struct batch, link);
		struct ctx_batch record = batch->record;
		publish_batch(ring, &record);
		counters_batch(batch->stem, record.reap_ns);
		past_write_batch(ring, batch);
		usdt_batch_end(ring, (uint32_t)record.ctx_id, (uint32_t)(record.ctx_id >> 32),
			       record.cancelled, record.reap_ns);
		if (batch == ring->done.newest) {
			ring->done.last_batch = record;
			ring->done.have_last_batch = true;
			ring->done.newest = NULL;
		}
		if (batch->tally)
			tally_report(batch->tally, &record);
		batch_free(batch);
		if (ring->options.batch)
			ring->options.batch(ring, &record, ring->options.data);
		if (!ring_is_here(ring))
			return;
	}
}

void batches_free(struct ctx_ring *ring)
{
	list_splice(&ring->done.batches, &ring->done.batches_over);
	while (!list_empty(&ring->done.batches))
		batch_free(container_of(ring->done.batches.next, struct batch, link));
}

int ctx_ring_last_batch(struct ctx_ring *ring, struct ctx_batch *ret_batch)
{
	if (!ring || !ret_batch)
		return debug_invalid(NULL, ring, ret_batch);
	int error = ring_check(ring);
	if (error)
		return debug_error(error, RING_REFUSED);
	if (!ring->done.newest && !ring->done.have_last_batch)
		return debug_error(-ENOENT, "no batch has been sent on this ring");
	*ret_batch = ring->done.newest ? ring->done.newest->record : ring->done.last_batch;
	return 0;
}

static const char *why_not_cancelled(const struct ctx_ring *ring, const struct operation *op)
{
	if (op->magic != OP_MAGIC)
		return OP_NOT_INITIALISED;
	if (op->phase == OP_IDLE)
		return "the operation is complete, or was never submitted";
	if (op->group && op->group->ring != ring)
		return "the operation is on another ring";
	return "the operation is being cancelled already, or has its result";
}

int ctx_op_cancel(struct ctx_ring *ring, struct ctx_op *public_op)
{
	if (!ring || !public_op)
		return debug_invalid(NULL, ring, public_op);
	int error = ring_check(ring);
	if (error)
		return debug_error(error, RING_REFUSED);
	struct operation *op = op_from_public(public_op);
	if (op->magic == OP_MAGIC && op->phase == OP_KERNEL && (op->marks & OP_ATTEMPT) &&
	    op->group->ring == ring)
		park_finish_attempts(ring);
	if (op->magic != OP_MAGIC || op->phase == OP_IDLE || op->phase == OP_READY || !op->group ||
	    op->group->ring != ring || /* without a group it was refused when it was staged */
	    (op->marks & (OP_SEEN | OP_CANCEL_SENT | OP_EXPLICIT | OP_DOOMED)))
		return debug_error(-EALREADY, "%s", why_not_cancelled(ring, op));
	if (op->phase == OP_PARKED) {
		if (op->group->parked_ended)
			return debug_error(-EALREADY, "%s", why_not_cancelled(ring, op));
		op_mark(op, OP_EXPLICIT);
		park_queue_end(ring, op, -ECANCELED, CTX_OP_CANCELLED);
		queue_notify(ring);
		return 0;
	}
	if (op->phase == OP_STAGED) {
		op_mark(op, OP_EXPLICIT);
		stage_refuse(ring, op);
	} else {
		chain_cancel(ring, op);
	}
	queue_notify(ring);
	return 0;
}
