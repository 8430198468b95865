/* SPDX-License-Identifier: MIT */
/* Opening, adopting and closing rings, and who owns them. */
#include "ring.h"

#include <string.h>

#include "close_index.h"
#include "memory.h"
#include "park.h"
#include "table.h"
#include "thread.h"

#define TAG_DEFAULT 0xc781u
#define ENTRIES_MAX 32768u

/* These work; what else there is changes the queues, who submits, or who completes: see ctxring(7). */
#define SETUP_SUPPORTED                                                                                   \
	(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | \
	 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

int ring_check_options(const struct ctx_ring_options *options)
{
	const unsigned forms = CTX_RING_LINKED_TIMEOUTS | CTX_RING_ONE_TIMER;

	if (!options)
		return 0;
	if ((options->flags & ~(forms | CTX_RING_PARK)) || (options->flags & forms) == forms ||
	    options->tag > 0xffff)
		return -EINVAL;
	return 0;
}

static void run_batch_later(struct deferred *deferred)
{
	struct ctx_ring *ring = container_of(deferred, struct ctx_ring, batch_later);

	ring->batch_queued = false;
	batch_run(ring);
	ring_notify(ring); /* if an open chain of the program's is in the way */
}

int ring_new(const struct ctx_ring_options *options, struct ctx_ring **ret_ring)
{
	struct ctx_ring *ring = memory_allocate(sizeof(*ring));

	if (!ring)
		return -ENOMEM;
	memset(ring, 0, sizeof(*ring));
	if (options)
		ring->options = *options;
	ring->tag = (uint64_t)(ring->options.tag ? ring->options.tag : TAG_DEFAULT) << TAG_SHIFT;
	ring->fork_count = thread_fork_count;
	ring->armed_ns = CTX_FOREVER;
	ring->greeted = true;
	ring->epoll_fd = ring->ready_fd = -1;
	ring->batch_later.run = run_batch_later;
	list_init(&ring->staged);
	list_init(&ring->waiting);
	list_init(&ring->ready);
	list_init(&ring->delivering);
	list_init(&ring->singles);
	list_init(&ring->retries);
	list_init(&ring->retry_groups);
	list_init(&ring->stuck_groups);
	list_init(&ring->doomed);
	list_init(&ring->emptied);
	list_init(&ring->batches);
	list_init(&ring->batches_over);
	list_init(&ring->polls_todo);
	list_init(&ring->polls_fired);
	list_init(&ring->polls_delivering);
	list_init(&ring->polls_resting);
	ring_owner_init(ring);
	int error = mailbox_new(&ring->mailbox);
	if (error) {
		memory_release(ring);
		return error;
	}
	*ret_ring = ring;
	return 0;
}

int ring_attach(struct ctx_ring *ring, struct io_uring *uring)
{
	/* liburing 2.3 and newer map entry n to slot n once and for all, which uring.h relies on. */
	bool array = !(uring->flags & IORING_SETUP_NO_SQARRAY);
	for (unsigned i = 0; array && i < uring->sq.ring_entries; i++)
		if (uring->sq.array[i] != i)
			return -ENOTSUP;
	ring->uring = uring;
	features_probe(uring, &ring->features);
	ring->defer = uring->flags & IORING_SETUP_DEFER_TASKRUN;
	ring->lazy = ring->defer || (uring->flags & IORING_SETUP_COOP_TASKRUN);
	ring->unlinked = uring->sq.ring_entries < 2;
	ring->linked_always = ring->options.flags & CTX_RING_LINKED_TIMEOUTS;
	ring->linked = ring->linked_always || !(ring->defer || (ring->options.flags & CTX_RING_ONE_TIMER));
	table_ring_new(&ring->table_slot);
	struct ctx_table_ring *record = ring->record = table_ring(ring->table_slot);
	if (!record) /* no table, or no room */
		return 0;
	record->fd = uring->ring_fd;
	record->setup_flags = uring->flags & ~IORING_SETUP_R_DISABLED;
	record->adopted = ring->adopted;
	record->owner_tid = ring->owner_tid;
	record->sq_entries = uring->sq.ring_entries;
	record->cq_entries = uring->cq.ring_entries;
	record->opened_ns = clock_coarse_ns();
	__atomic_store_n(&record->state, 1, __ATOMIC_RELEASE);
	return 0;
}

void ring_free(struct ctx_ring *ring)
{
	bool forked = ring->fork_count != thread_fork_count;
	struct letter *letter;

	/* Nobody owns it from here on: what releasing a context calls is refused it. */
	ring->dispatching = true;
	ring_owner_free(ring);
	mailbox_close(ring->mailbox);
	while (!forked && (letter = mailbox_next(ring->mailbox)))
		letter->deliver(letter);
	ring_polls_free(ring);
	groups_free(ring);
	mailbox_unref(ring->mailbox);
	/* A forked child does not have the table that the records are in. */
	if (forked)
		memory_release(ring->slots);
	else
		slots_free(ring);
	if (!forked && ring->record)
		table_ring_free(ring->table_slot);
	op_timers_free(ring);
	batches_free(ring);
	close_index_free(ring);
	park_free(ring);
	memory_release(ring->spill.cqes);
	memory_release(ring);
}

/* A seccomp profile may forbid to use what it allows to be made. */
static int check_enter(struct io_uring *uring)
{
	int result = uring_enter_plain(uring, 0, 0, false);

	if (result != -EPERM && result != -ENOSYS)
		return 0;
	sys_uring_exit(uring);
	return result;
}

static int setup(unsigned entries, const struct ctx_ring_options *options, struct io_uring *uring)
{
	struct io_uring_params params = {.flags = options ? options->setup_flags : 0};

	if (!features_allow_setup(params.flags))
		return -EINVAL;
	if (options && options->cq_entries) {
		params.flags |= IORING_SETUP_CQSIZE;
		params.cq_entries = options->cq_entries;
	}
	/* Such a ring hands out completions in portions; this tells whether there are more, see
	 * deliver_rest(). */
	if (params.flags & IORING_SETUP_DEFER_TASKRUN)
		params.flags |= IORING_SETUP_TASKRUN_FLAG;
	/* Bound to the thread that enables it, not to the one that opens it. */
	if (params.flags & IORING_SETUP_SINGLE_ISSUER)
		params.flags |= IORING_SETUP_R_DISABLED;
	if (feature_allowed(FEATURE_SUBMIT_ALL)) {
		struct io_uring_params all = params;
		all.flags |= IORING_SETUP_SUBMIT_ALL;
		int error = sys_uring_setup(entries, uring, &all);
		if (error != -EINVAL || (params.flags & IORING_SETUP_SUBMIT_ALL))
			return error ? error : check_enter(uring);
	}
	int error = sys_uring_setup(entries, uring, &params);
	return error ? error : check_enter(uring);
}

int ctx_ring_open(unsigned entries, const struct ctx_ring_options *options, struct ctx_ring **ret_ring)
{
	struct ctx_ring *ring;

	if (!ret_ring || !entries || ring_check_options(options))
		return -EINVAL;
	if (options && (options->setup_flags & ~SETUP_SUPPORTED))
		return -ENOTSUP;
	if (entries > ENTRIES_MAX && !(options && (options->setup_flags & IORING_SETUP_CLAMP)))
		return -EINVAL;
	int error = ring_new(options, &ring);
	if (error)
		return error;
	error = setup(entries, options, &ring->own);
	if (!error) {
		ring->disabled = ring->own.flags & IORING_SETUP_R_DISABLED;
		error = ring_attach(ring, &ring->own);
		if (!error && (ring->options.flags & CTX_RING_PARK)) {
			ring->first_marks = OP_PARK | OP_PARK_RING;
			error = park_open(ring);
		}
		if (error)
			sys_uring_exit(&ring->own);
	}
	if (error) {
		ring_free(ring);
		return error;
	}
	*ret_ring = ring;
	return 0;
}

int ring_open_for_calls(struct ctx_ring **ret_ring)
{
	/* The operation, its cancel, the poll for the mailbox. */
	const unsigned entries = 4;
	struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	int error = ctx_ring_open(entries, &options, ret_ring);

	if (!error)
		(*ret_ring)->calls = true;
	return error;
}

void ring_begin_call(struct ctx_ring *ring, const struct ctx_context *ctx)
{
	uint32_t nobody = 0;

	/* Sequentially consistent: see told_done(). The look at the context comes after it. */
	if (!atomic_compare_exchange_strong(&ring->busy.word, &nobody, lock_word(LOCK_HELD)))
		lock_acquire(&ring->busy);
	group_keep_only(ring, ctx);
}

void ring_end_call(struct ctx_ring *ring)
{
	struct group *group = ring->last_group;

	lock_release(&ring->busy);
	if (__builtin_expect(ring->fork_count != thread_fork_count, 0))
		return; /* forked within the call: what came meanwhile is the parent's to look at */
	if (__builtin_expect(group && atomic_load_explicit(&group->reap, memory_order_relaxed), 0))
		reap_drop(atomic_exchange(&group->reap, NULL)); /* it did not end in this call */
	if (__builtin_expect(!mailbox_pending(ring->mailbox), 1))
		return;
	lock_acquire(&ring->busy);
	ring_turn(ring, 0);
	lock_release(&ring->busy);
}

int ring_hand_over(struct ctx_ring *ring)
{
	lock_acquire(&ring->busy);
	group_keep_only(ring, NULL);
	int error = ring_disarm_wake(ring);
	if (!error)
		ring_disclaim(ring);
	lock_release(&ring->busy);
	return error;
}

struct mailbox *ring_mailbox(struct ctx_ring *ring)
{
	return ring->mailbox;
}

struct io_uring *ctx_ring_uring(struct ctx_ring *ring)
{
	return ring ? ring->uring : NULL;
}

static void doom(struct group *group, void *data)
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
		error = ring_withdraw_wait(ring, deadline_ns, &looks);
		if (ring->adopted)
			complete_extract(ring);
		else
			complete_harvest(ring);
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
static int abandon(struct ctx_ring *ring)
{
	int state = thread_hold();

	ring->dispatching = true;
	if (ring->adopted)
		complete_extract(ring);
	ring_deliver(ring);
	for (uint32_t i = 1; i < ring->slot_count && ring_is_here(ring); i++) {
		struct operation *op = ring->slots[i].op;
		if (!op || op->phase != OP_KERNEL)
			continue;
		struct io_uring_cqe cqe = {.user_data =
						   ring_user_data(ring, KIND_OP, op->slot, op->generation),
					   .res = -ECANCELED};
		complete_note(ring, &cqe, &op);
		complete_deliver(ring, op, &cqe, NULL);
	}
	ring_deliver(ring);
	ring->dispatching = false;
	thread_release(state);
	return ring_is_here(ring) ? 0 : -EPERM;
}

/* In an adopted ring: takes out what is ours, after a wait if there is nothing yet. */
static int wait_for_ours(struct ctx_ring *ring, uint64_t timeout_ns)
{
	complete_extract(ring);
	if (!list_empty(&ring->ready) || ring->spill.head != ring->spill.tail || !timeout_ns)
		return 0;
	if (uring_cq_ready(ring->uring) >= ring->uring->cq.ring_entries)
		return -EBUSY; /* ours are behind the program's, in the kernel */
	if (ring->timers.root && ring->armed_ns == CTX_FOREVER)
		ring_timers_fire(ring);
	batch_singles(ring);
	ring_timers_arm(ring);
	int error = ring_wait(ring, ring_has_unsent(ring) ? 0 : timeout_ns);
	complete_extract(ring);
	/* At once: the turn that follows would set the time anew, and it would be over again in the next
	 * wait. */
	if (ring->timers.root && ring->armed_ns == CTX_FOREVER)
		ring_timers_fire(ring);
	return error == -EBUSY ? error : 0;
}

/* Delivers until nothing is left, or time is over. */
static int close_deliver(struct ctx_ring *ring, uint64_t deadline_ns)
{
	ring_turn(ring, 0); /* callbacks that were posted, too */
	while (ring->live && ring_is_here(ring)) {
		uint64_t now_ns = deadline_ns == CTX_FOREVER ? 0 : clock_now_ns();
		uint64_t left_ns = deadline_ns == CTX_FOREVER ? CTX_FOREVER
				   : now_ns < deadline_ns     ? deadline_ns - now_ns
							      : 0;
		stage_submit(ring); /* what a callback began */
		stage_refuse_dead(ring);
		int error = ring->adopted ? wait_for_ours(ring, left_ns) : 0;
		if (error)
			return error;
		ring_turn(ring, left_ns);
		if (ring->live && !left_ns && ring_is_here(ring))
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
	bool silent = ring->orphaned &&
		      ((ring->uring->flags & IORING_SETUP_SINGLE_ISSUER) || ring->uring->ring_fd < 0);
	int error = 0;

	ring->closing = true;
	if (silent && ring->in_kernel)
		error = ring_await_results(ring, timeout_ns);
	if (!error) {
		groups_each(ring, doom, NULL);
		if (silent) {
			stage_refuse_dead(ring);
			error = abandon(ring);
		}
	}
	if (!error) {
		batch_run(ring);
		stage_refuse_dead(ring);
		error = close_deliver(ring, deadline_ns);
	}
	if (error) {
		unsigned count = ring_stuck(ring, false, stuck, stuck_max);
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
		error = ring_withdraw(ring, deadline_ns);
	if (ring->adopted && (error == -EBUSY || error == -ETIMEDOUT))
		return error;
	ring_forget_fd(ring);
	if (!ring->adopted)
		sys_uring_exit(&ring->own);
	ring_free(ring);
	return 0;
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
		ring_close_inherited(ring);
		return 0;
	}
	int error = ring_claim_to_close(ring);
	if (error)
		return error;
	if (ring->dispatching)
		return -EBUSY;
	if (!ring->orphaned || !ring->adopted)
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
