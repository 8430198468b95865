/* SPDX-License-Identifier: MIT */
/*
 * Opens rings.
 *
 * A setup flag that rings are to know is added to SETUP_SUPPORTED here, to SETUP_ADOPTABLE in adopt.c, or to
 * both. CONTRIBUTING.md, under Recipes, lists the other files that it touches.
 *
 * IORING_SETUP_ATTACH_WQ is not among those of ctx_ring_open, which has no option for the descriptor of the
 * other ring that this flag needs. An adopted io_uring may have it, since the program has named that ring
 * itself.
 */
#include "ring.h"

#include <string.h>

#include "callback.h"
#include "close_index.h"
#include "memory.h"
#include "park.h"
#include "queue.h"
#include "table.h"
#include "thread.h"

#define TAG_DEFAULT 0xc781u
#define ENTRIES_MAX 32768u

/*
 * The flags that ctx_ring_open takes. The others change the queues, who submits, or who completes: see
 * ctxring(7).
 */
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

static void run_deferred_batch(struct deferred *deferred)
{
	struct ctx_ring *ring = container_of(deferred, struct ctx_ring, groups.batch);

	ring->groups.batch_deferred = false;
	batch_run(ring);
	queue_notify(ring); /* for when an unfinished chain of the program's is in the way */
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
	ring->times.armed_ns = CTX_FOREVER;
	ring->times.relative = !feature_has_absolute_times();
	ring->requests.greeted = true;
	ring->owner.epoll_fd = ring->owner.ready_fd = -1;
	ring->groups.last = &group_of_nothing;
	ring->groups.batch.run = run_deferred_batch;
	list_init(&ring->ops.staged);
	list_init(&ring->ops.waiting);
	list_init(&ring->ops.ready);
	list_init(&ring->ops.delivering);
	list_init(&ring->ops.singles);
	list_init(&ring->ops.retries);
	list_init(&ring->groups.retrying);
	list_init(&ring->groups.stuck);
	list_init(&ring->groups.doomed);
	list_init(&ring->groups.emptied);
	list_init(&ring->done.batches);
	list_init(&ring->done.batches_over);
	list_init(&ring->polls.todo);
	list_init(&ring->polls.fired);
	list_init(&ring->polls.delivering);
	list_init(&ring->polls.resting);
	ring_owner_init(ring);
	int error = mailbox_new(&ring->mailbox);
	if (error) {
		memory_release(ring);
		return error;
	}
	*ret_ring = ring;
	return 0;
}

void ring_close_uring(struct ctx_ring *ring)
{
	sys_uring_exit(&ring->own);
	uring_handle_free(&ring->handle);
}

static enum linked_timeouts choose_linked_timeouts(const struct ctx_ring *ring)
{
	if (ring->uring->sq.ring_entries < 2)
		return LINKED_NONE;
	if (ring->options.flags & CTX_RING_LINKED_TIMEOUTS)
		return LINKED_DEADLINES;
	return ring->defer || (ring->options.flags & CTX_RING_ONE_TIMER) ? LINKED_OWN : LINKED_DEADLINES;
}

int ring_attach(struct ctx_ring *ring, struct io_uring *uring)
{
	/* uring.h relies on entry n being slot n, which liburing 2.3 and newer set once and for all. */
	bool array = !(uring->flags & IORING_SETUP_NO_SQARRAY);
	for (unsigned i = 0; array && i < uring->sq.ring_entries; i++)
		if (uring->sq.array[i] != i)
			return -ENOTSUP;
	ring->uring = uring;
	features_probe(uring, &ring->features);
	ring->defer = uring->flags & IORING_SETUP_DEFER_TASKRUN;
	const unsigned coop = uring->flags & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
	ring->lazy = ring->defer || coop == IORING_SETUP_COOP_TASKRUN;
	ring->linked = choose_linked_timeouts(ring);
	table_ring_new(&ring->table_slot);
	struct ctx_table_ring *record = ring->record = table_ring(ring->table_slot);
	if (!record) /* there is no context table, or no room in it */
		return 0;
	record->fd = uring->ring_fd;
	record->setup_flags = uring->flags & ~IORING_SETUP_R_DISABLED;
	record->adopted = ring->adopted;
	record->owner_tid = ring->owner.tid;
	record->sq_entries = uring->sq.ring_entries;
	record->cq_entries = uring->cq.ring_entries;
	record->opened_ns = clock_coarse_ns();
	atomic_store_explicit(&record->state, 1, memory_order_release);
	return 0;
}

void ring_free(struct ctx_ring *ring)
{
	bool forked = ring->fork_count != thread_fork_count;
	struct letter *letter;

	/*
	 * Nobody owns the ring from here on. The release of a context may call functions, and their calls on
	 * the ring are refused.
	 */
	ring->dispatching = true;
	ring_owner_free(ring);
	mailbox_close(ring->mailbox);
	while (!forked && (letter = mailbox_next(ring->mailbox)))
		letter->deliver(letter);
	ring_polls_free(ring);
	groups_free(ring);
	mailbox_unref(ring->mailbox);
	/* A forked child does not have the context table, in which the records are. */
	if (forked)
		memory_release(ring->ops.slots);
	else
		slots_free(ring);
	if (!forked && ring->record)
		table_ring_free(ring->table_slot);
	op_timers_free(ring);
	batches_free(ring);
	close_index_free(ring);
	park_free(ring);
	memory_release(ring->done.spill.cqes);
	memory_release(ring);
}

/*
 * A seccomp profile may allow io_uring_setup(2) and forbid io_uring_enter(2). A kernel that does not know the
 * flag for absolute times answers -EINVAL. Another answer, such as that the io_uring is disabled, is none of
 * these.
 */
static int check_enter(struct ctx_ring *ring)
{
	bool absolute = feature_allowed(FEATURE_ABSOLUTE_WAIT) && !ring->times.relative;
	unsigned flag = absolute ? URING_ENTER_ABSOLUTE : 0;
	int result = sys_uring_enter(ring->own.ring_fd, 0, 0, flag, NULL, 0);

	ring->handle.absolute = result == -EINVAL ? 0 : flag;
	return result == -EPERM || result == -ENOSYS ? result : 0;
}

/*
 * Flags that the program does not ask for. A kernel that lacks them does without.
 *
 * The kernel interrupts the thread of a ring for each completion. With COOP_TASKRUN it does not: completions
 * come when the thread enters the kernel for whatever reason, at the latest with the next interrupt of its
 * processor. TASKRUN_FLAG tells that there are some. A program that asks for linked timeouts wants the kernel
 * to keep its deadlines while it computes, so its rings have interrupts.
 */
static unsigned wished_flags(const struct ctx_ring *ring, unsigned setup_flags)
{
	unsigned wished = feature_allowed(FEATURE_SUBMIT_ALL) ? IORING_SETUP_SUBMIT_ALL : 0;

	if (feature_allowed(FEATURE_COOP_TASKRUN) && !(setup_flags & IORING_SETUP_DEFER_TASKRUN) &&
	    !(ring->options.flags & CTX_RING_LINKED_TIMEOUTS))
		wished |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	return wished;
}

static int setup_uring(struct ctx_ring *ring, unsigned entries, const struct io_uring_params *params)
{
	struct io_uring_params asked = *params, all = *params;

	all.flags |= wished_flags(ring, params->flags);
	int error = sys_uring_setup(entries, &ring->own, &all);
	if (error != -EINVAL || all.flags == asked.flags)
		return error;
	return sys_uring_setup(entries, &ring->own, &asked);
}

/*
 * Makes the io_uring of a ring. disabled: it starts disabled, for a registered time. *ret_again: without that
 * there may be no error.
 */
static int make_uring(struct ctx_ring *ring, unsigned entries, struct io_uring_params params, bool disabled,
		      bool *ret_again)
{
	bool single = params.flags & IORING_SETUP_SINGLE_ISSUER;

	/* A SINGLE_ISSUER ring is bound to the thread that enables it, not to the one that opens it. */
	if (single || disabled)
		params.flags |= IORING_SETUP_R_DISABLED;
	int error = setup_uring(ring, entries, &params);
	*ret_again = disabled && error == -EINVAL;
	if (error)
		return error;
	ring->handle = uring_handle_of(&ring->own);
	error = check_enter(ring);
	if (!error && disabled) {
		uring_handle_register_wait(&ring->handle, &ring->own);
		if (!single)
			error = uring_register(&ring->own, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
		*ret_again = error < 0;
	}
	if (error < 0) {
		ring_close_uring(ring);
		return error;
	}
	ring->owner.disabled = single;
	ring->own.flags &= ~IORING_SETUP_R_DISABLED;
	return 0;
}

static int setup(struct ctx_ring *ring, unsigned entries, const struct ctx_ring_options *options)
{
	struct io_uring_params params = {.flags = options ? options->setup_flags : 0};
	bool again;

	if (!features_allow_setup(params.flags))
		return -EINVAL;
	if (options && options->cq_entries) {
		params.flags |= IORING_SETUP_CQSIZE;
		params.cq_entries = options->cq_entries;
	}
	/*
	 * A DEFER_TASKRUN ring hands out completions in portions. This flag tells whether there are more, see
	 * deliver_kept_back().
	 */
	if (params.flags & IORING_SETUP_DEFER_TASKRUN)
		params.flags |= IORING_SETUP_TASKRUN_FLAG;
	int error = make_uring(ring, entries, params, uring_handle_wants_disabled(), &again);
	return again ? make_uring(ring, entries, params, false, &again) : error;
}

int ctx_ring_open(unsigned entries, const struct ctx_ring_options *options, struct ctx_ring **ret_ring)
{
	struct ctx_ring *ring;

	if (!ret_ring || !entries || ring_check_options(options))
		return debug_invalid(entries ? RING_OPTIONS : "entries is 0", ret_ring);
	if (options && (options->setup_flags & ~SETUP_SUPPORTED))
		return debug_error(-ENOTSUP,
				   "the setup flags %#x do not work with a ctx ring: see ctxring(7)",
				   options->setup_flags & ~SETUP_SUPPORTED);
	if (entries > ENTRIES_MAX && !(options && (options->setup_flags & IORING_SETUP_CLAMP)))
		return debug_error(-EINVAL, "%u entries are more than %u", entries, ENTRIES_MAX);
	int error = ring_new(options, &ring);
	if (error)
		return error;
	error = setup(ring, entries, options);
	if (!error) {
		error = ring_attach(ring, &ring->own);
		if (!error && (ring->options.flags & CTX_RING_PARK)) {
			ring->ops.first_marks = OP_PARK | OP_PARK_RING;
			error = park_open(ring);
		}
		if (error)
			ring_close_uring(ring);
	}
	if (error) {
		ring_free(ring);
		return debug_error(error, "%s", ring_explain_error(error, (char[RING_EXPLANATION]){""}));
	}
	*ret_ring = ring;
	return 0;
}

int ctx_callback_add_on_ring(const struct ctx_context *ctx, struct ctx_ring *ring,
			     struct ctx_callback *callback, ctx_callback_fn function, void *data,
			     uint64_t *ret_id)
{
	if (!ctx || !ring || !callback || !function)
		return debug_invalid(NULL, ctx, ring, callback, function);
	if (ring->mailbox->fork_count != thread_fork_count)
		return debug_error(-EPERM,
				   "the ring was opened before a fork, and nobody dispatches it here");
	int result = callback_add(ctx, ring->mailbox, callback, function, data, ret_id);
	return debug_result(result, "a thread of the library could not be started");
}

struct io_uring *ctx_ring_uring(struct ctx_ring *ring)
{
	return ring ? ring->uring : NULL;
}
