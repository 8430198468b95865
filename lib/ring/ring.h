/* SPDX-License-Identifier: MIT */
/*
 * lib/ring: operations of contexts on an io_uring, and their cancellation. It may use base, table, core and
 * uring.
 *
 * Only the ring's owner thread uses what is here, so nothing is locked. Other threads leave letters in the
 * mailbox.
 *
 * The way of an operation:
 *   ctx_ring_get_sqe   staged: its SQE is prepared in its own 64 bytes     (stage.c)
 *   ctx_ring_submit    waiting, then copied to the queue, in the kernel     (stage.c, queue.c)
 *   its context ends   group doomed; one batch of cancels for all doomed    (group.c, batch.c)
 *   CQE seen           noted: accounting, chains, failed cancels            (note.c)
 *   dispatch           delivered: final completion, callback                (complete.c, dispatch.c)
 * An operation that parks waits between the second step and the third in the ring's own memory. It comes to
 * the kernel as attempts that do not wait (park.c).
 *
 * The way of a cancel from another thread:
 *   the thread that ends the context finds the group's watch on it          (core/sweep.c)
 *   it posts the group's letter, which writes the mailbox's eventfd         (group.c)
 *   the poll on that eventfd completes, which ends the owner's wait         (queue.c)
 *   the owner's dispatch takes the letter, which dooms the group            (dispatch.c, group.c)
 *   and sends the batch of cancels                                          (batch.c, uring/plan.h)
 *
 * In a forked child the ring is a copy, which can only be closed: close_inherited() in close.c. ring_claim()
 * in ring_owner.c refuses the other calls there. A call that was under way when the process forked finds out
 * by ring_is_here().
 *
 * Why each operation completes once: its slot has a generation (slot.c), the first final completion sets
 * OP_SEEN (note.c), and deliver_final() gives it to the program (complete.c).
 *
 * The files from below upwards, each of which uses only those before it: explain, slot, close_index,
 * ring_timer, tally_sum, group, ready, ring_owner, chain, park_queue, op_timer, park_note, poll_note; note;
 * queue; greet, ring_poll, park_late, park, grace, stage, batch; tally, complete, drain, close_fd, ring_fd;
 * dispatch; open, calls, adopt; close.
 */
#ifndef CTX_RING_H
#define CTX_RING_H

#include "clock.h"
#include "context.h"
#include "debug.h"
#include "feature.h"
#include "handle.h"
#include "heap.h"
#include "mailbox.h"
#include "op.h"
#include "ring_poll.h"
#include "ring_ticket.h"
#include "table_format.h"
#include "tally.h"
#include "thread.h"
#include "uring.h"

/*
 * The functions that every turn of a ring goes through. They stand together in the program: the system call
 * in a turn leaves the processor without the addresses of the program's pages where the kernel keeps page
 * tables of its own, so each page that the turn touches costs a search.
 */
#define RING_TURN __attribute__((hot))

/* A function that the ring calls at a given time. One kernel timeout serves all timers of a ring. */
struct ring_timer {
	struct heap_node node;
	void (*fire)(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns);
};

/*
 * The operations of one context on one ring. A group is made with the first of them and kept while the
 * program holds the context, so that the context is looked up once.
 */
struct group {
	struct watch watch;  /* watches the context, whose end and release it reports */
	struct list pending; /* operations in the kernel, newest first */
	unsigned held;	     /* operations that are not idle */
	unsigned in_kernel;  /* operations whose final completion has not been seen */
	uint32_t table_slot, table_generation;
	uint16_t stem;	   /* of the label of its context, by which operations are counted */
	bool ended;	   /* the context has ended, and a batch has the group or is to take it */
	bool parked_ended; /* the parked operations are in ring->ops.ready, and none parks any more */
	bool released;	   /* the program has released the context */
	bool unwatched; /* the group does not watch the context any more; guarded by the ring's busy lock */
	bool draining;
	/* A turn with plain operations looks at what stands before this, and at deadline. */
	struct ring_timer deadline;
	struct ctx_ring *ring;
	struct letter letter; /* by which another thread reports to the owner */
	struct group *hash_next;
	struct list cancelling; /* operations in the kernel that are being cancelled */
	struct list parked;	/* operations that wait outside the kernel */
	struct list staged;	/* staged operations with OP_INDEXED, oldest first, by their field park */
	struct list retries;	/* operations of a batch that are to be cancelled again */
	struct list link;	/* in ring->groups.doomed, ring->groups.emptied, or in no list */
	struct list retry_link; /* in ring->groups.retrying while there are retries */
	struct list stuck_link; /* in ring->groups.stuck until the next dispatch reports it */
	struct group *drain_next;
	uint64_t grace_ns;	      /* the grace of a context that has ended; 0: it has none */
	struct tally *_Atomic tally;  /* a reference: the batch that ends the group reports to it */
	struct op_listener *listener; /* hears of the ends of operations with OP_TASK, if there are any */
	struct batch *batch; /* the batch that cancels the operations with OP_DOOMED; NULL: without memory */
	unsigned parked_count;
	unsigned partial_count; /* parked operations that have part of their result */
};

/* What the user_data of an operation refers to. */
struct slot {
	struct operation *op;		    /* NULL: the slot is free */
	struct ctx_table_operation *record; /* in the context table, or the ring's no_record */
	uint64_t since_ns;
	uint32_t generation;
	uint32_t next_free;
};

struct batch {
	struct list link; /* in ring->done.batches, and in the end in ring->done.batches_over */
	struct ctx_batch record;
	struct tally *tally; /* a reference: hears of the batch's report */
	uint64_t start_ns;
	uint64_t origin_id; /* the context with which the end began that the batch is for */
	uint16_t stem;	    /* that of the group with which it began */
	bool spare;	    /* it is ring->done.spare, which is used when there is no memory */
};

/* Completions taken out of the kernel's queue before their dispatch, oldest first. */
struct spill {
	struct io_uring_cqe *cqes;
	size_t head, tail, capacity;
};

/*
 * struct ctx_ring has four parts: the owner, the operations (ops, groups), the times and the library's own
 * requests (times, polls, requests), and the completions (done). What every part looks at stands before them.
 */

/* No thread has these serial numbers: the ring has no owner yet, and will never have one again. */
#define OWNER_NOBODY (UINT64_MAX - 1)
#define OWNER_GONE UINT64_MAX

/* The owner: the one thread that may use the ring, and the means by which others wake it (ring_owner.c). */
struct ring_owner {
	_Atomic uint64_t serial; /* of the owner thread; or OWNER_NOBODY or OWNER_GONE */
	int epoll_fd;		 /* what ctx_ring_fd returned; -1: it was not called */
	int ready_fd;		 /* the eventfd in that epoll set, for DEFER_TASKRUN; -1: none */
	/* pthread_setcancelstate(3). To call it by its name takes a look at two more pages in each turn. */
	int (*set_cancel_state)(int state, int *ret_before);
	uint32_t tid;	       /* the kernel's number of that thread; 0: none */
	bool disabled;	       /* IORING_SETUP_R_DISABLED, until the first use enables the io_uring */
	bool ended;	       /* the owner thread has ended: the ring can only be closed */
	pthread_mutex_t mutex; /* a robust mutex, which the owner holds */
	/*
	 * For rings of blocking calls. The owner holds it during a call. Between calls whoever takes the
	 * ring's watch from a context holds it. While nobody holds it, the owner need not be woken. A thread
	 * that waits for it holds no other lock.
	 */
	struct lock busy;
};

/* The operations from their staging to their final completion. */
struct ring_ops {
	struct slot *slots; /* slot 0 is unused */
	uint32_t slot_count;
	uint32_t slot_free;   /* the first free slot; 0: none */
	uint64_t order;	      /* the number of the last operation that was given to the kernel */
	unsigned live;	      /* operations that are not idle */
	unsigned in_kernel;   /* operations whose final completion has not been seen */
	uint32_t first_marks; /* the marks with which every operation is staged */
	int stalled;	      /* why the kernel took no more at the last stage_push(); 0: it did */
	struct list staged;   /* operations that are prepared, and not submitted yet */
	struct list waiting;  /* operations that are submitted, and not given to the kernel yet */
	struct list ready; /* operations in OP_READY, or parked in groups that have ended: to be delivered */
	struct list singles;	   /* operations to be cancelled one by one at the next opportunity */
	struct operation *barrier; /* the IOSQE_IO_DRAIN operation that all later ones wait for */
	bool staged_refused;	   /* something staged is to be refused when it is submitted */
	unsigned parked;	/* operations that wait outside the kernel, and whose group has not ended */
	struct list delivering; /* operations that the current turn has taken from ready */
	struct list retries;	/* operations of no batch that are to be cancelled again */
};

/* The records of operations in the context table. */
struct ring_records {
	struct ctx_table_operation none; /* is written where an operation has none in the context table */
	unsigned run_count;
	struct {
		uint32_t first, count;
	} runs[32]; /* run_count runs of adjacent records */
};

/* The groups: the operations by their context. */
struct ring_groups {
	struct group *last;	/* the group that was used last, or group_of_nothing, so also while closing */
	struct list doomed;	/* groups whose context has ended, and which no batch has taken yet */
	struct list emptied;	/* groups without operations, to be freed at the end of the turn */
	struct list stuck;	/* groups whose stuck operations the next dispatch reports */
	struct list retrying;	/* groups that have retries */
	struct group **buckets; /* a hash table by context */
	unsigned count, mask;
	struct deferred batch; /* runs the batch as soon as the context's lock has been released */
	bool batch_deferred;
};

#define LINKED_BITS 9

/* Times: one kernel timeout serves all of them (ring_timer.c). */
struct ring_times {
	struct heap heap;
	uint64_t armed_ns;	      /* when the earliest kernel timeout fires; CTX_FOREVER: there is none */
	struct clock_recent recent;   /* for the records of operations */
	struct tickets kernel_timers; /* the kernel timeouts under way; the last one is the earliest */
	bool relative;		      /* the kernel gets durations, see feature_has_absolute_times() */
	struct __kernel_timespec armed;
	struct ring_timer retry; /* cancels operations again, see ring_timer_retry() */
	struct ring_timer sweep; /* parks what has waited for long, see park_late.h */
	uint64_t retry_delay_ns;
	struct op_timer *free_op_timers;
	uint16_t linked[1u << LINKED_BITS]; /* linked timeouts in the kernel, see deadline_count() */
};

/* The library's own polls (ring_poll.c). */
struct ring_polls {
	struct list todo;	/* polls that are to be put into the queue, or their cancels */
	struct list fired;	/* polls that have completed, for the next dispatch */
	struct ring_poll **all; /* by index */
	uint32_t *free_places;	/* the first free_count of these are the indices that are free */
	uint32_t capacity, free_count;
	uint32_t in_kernel;	/* polls, and cancels of polls */
	uint64_t put;		/* how many polls were put into the queue; the number of the last one */
	struct list delivering; /* polls that the current turn has taken from fired */
	struct list resting;	/* polls that ended without an event, tried again when rest fires */
	struct ring_timer rest;
};

/* The library's other requests: those that wake the owner, and those of an adopted ring (greet.c). */
struct ring_requests {
	struct tickets wakes; /* the poll on the mailbox */
	int refused; /* not 0: the kernel forbids what the library needs, and operations end with this */
	struct ring_timer wake_rest; /* that poll failed, and is tried again when this fires */
	bool wake_once;		     /* that poll is not a multishot one, which this kernel does not have */
	bool greeted;		     /* requests other than the greeting may go to the kernel */
	bool withdrawing;	     /* the ring is being closed: no new request of the library's */
	uint32_t greeting; /* the number of the greeting among questions until it is answered, else 0 */
	struct tickets questions;  /* requests of which only the answer matters */
	int answer;		   /* the result of the last of them */
	struct tickets park_waits; /* the waits for the readiness of parked operations */
};

/* Completions, and the batches that wait for them. */
struct ring_done {
	struct spill spill;
	struct list batches_over; /* batches whose operations have all ended: to be reported */
	uint64_t past_ns; /* the time of the turn, for the journal; 0: not looked at yet, see past_operation.h
			   */
	unsigned noted; /* of an adopted ring: the place in the completion queue before which all is noted */
	bool have_last_batch;
	struct list batches;  /* batches with operations that have not ended */
	struct batch *newest; /* the newest of all batches in these lists; NULL: it has been reported */
	struct batch spare;   /* the batch that is used when there is no memory */
	struct ctx_batch last_batch;
};

/* Which times go to the kernel as linked timeouts. Each line includes those before it. */
enum linked_timeouts {
	LINKED_NONE,	  /* the queue has no room for one, or the kernel refuses them */
	LINKED_OWN,	  /* an operation's own timeout */
	LINKED_DEADLINES, /* the deadline of its context, see deadline_may_link() */
};

struct ctx_ring {
	struct io_uring *uring;	    /* points to own, or is the program's if the ring is adopted */
	struct uring_handle handle; /* of own */
	uint64_t tag;		    /* the tag of the ring's requests, at its place in user_data */
	uint32_t fork_count;	    /* thread_fork_count at the opening; another one in a forked child */
	bool adopted;		    /* its io_uring is the program's */
	bool dispatching;	    /* a turn is under way, or none may begin */
	bool closing;
	bool calls;  /* for blocking calls, see ring_open_for_calls() */
	bool defer;  /* DEFER_TASKRUN: nothing completes unless the owner enters */
	bool lazy;   /* completions need an enter that asks for them, and nothing tells whether there are some */
	bool rested; /* the last turn did not enter the kernel, see kernel_can_wait() */
	enum linked_timeouts linked;
	struct mailbox *mailbox;
	struct park *park;		 /* parked operations (park.c); NULL: nothing has parked */
	struct close_index *close_index; /* operations by descriptor; NULL: never needed, or no memory */

	struct ring_owner owner;
	struct ring_ops ops;
	struct ring_groups groups;
	struct ring_polls polls;
	struct ring_requests requests;
	struct ring_done done;
	struct features features;
	struct io_uring own;
	struct ring_times times;

	struct ctx_table_ring *record;
	uint32_t table_slot; /* 0: not in the context table */
	struct ctx_ring_options options;
	struct ring_records records;
};

/* ---- the owner (ring_owner.c) ---- */

void ring_owner_init(struct ctx_ring *ring);
void ring_owner_free(struct ctx_ring *ring);

/*
 * Makes the calling thread the owner if the ring has none. -EPERM: another thread is the owner. -EINVAL: ring
 * is NULL. Or the error of enabling the io_uring.
 */
int ring_claim(struct ctx_ring *ring);

/* The owner gives the ring up. The next thread that uses it becomes the owner. */
void ring_disclaim(struct ctx_ring *ring);

/*
 * As ring_check(), but also makes the calling thread the owner of a ring whose owner has ended; that ring can
 * only be closed.
 */
int ring_claim_to_close(struct ctx_ring *ring);

/*
 * For a ring whose owner has ended: waits until the kernel has put the results of the owner's requests into
 * the completion queue. 0 or -ETIMEDOUT.
 */
int ring_await_results(const struct ctx_ring *ring, uint64_t timeout_ns);

/*
 * Whether the calling thread is the owner. Any thread may ask. False in a forked child, where the thread that
 * forked has another serial.
 */
static inline bool ring_is_mine(const struct ctx_ring *ring)
{
	/* The serial is 0, which is no owner's, before a thread's first thread_self(). */
	return atomic_load_explicit(&ring->owner.serial, memory_order_relaxed) == thread_state.serial;
}

/*
 * False in a forked child, where the queues are the parent's. To be asked after each call of a function of
 * the program, which may have forked, and before the queues are used again.
 */
static inline bool ring_is_here(const struct ctx_ring *ring)
{
	return __builtin_expect(ring->fork_count == thread_fork_count, 1);
}

/*
 * The same for the owner during a turn, without a look at the page of thread_fork_count: in a forked child no
 * thread has the owner's serial.
 */
static inline bool ring_is_still_here(const struct ctx_ring *ring)
{
	return __builtin_expect(ring_is_mine(ring), 1);
}

/* 0 if the calling thread is the owner. The first use of the ring makes it that. */
static inline int ring_check(struct ctx_ring *ring)
{
	if (__builtin_expect(ring && ring_is_mine(ring), 1))
		return 0;
	return ring_claim(ring);
}

/* What a call says, unless ring_claim() has left a reason. */
#define RING_REFUSED "the ring cannot be used by this thread"
#define STUCK_MISSING "stuck is NULL and stuck_max is not 0"
#define BUFFER_MISSING "buffer is NULL and size is not 0"

/* Why the kernel takes no more, or why a wait failed, with this error. */
const char *ring_explain_refusal(const struct ctx_ring *ring, int error);

/* ctx_ring_get_sqe() for other files: leaves the reason for a NULL by debug_note(). */
struct io_uring_sqe *ring_get_sqe(struct ctx_ring *ring, const struct ctx_context *ctx, struct ctx_op *op);

/* ---- entering the kernel ---- */

/* How the owner enters the io_uring. The program may register an adopted one at any time. */
static inline struct uring_handle ring_handle(const struct ctx_ring *ring)
{
	return __builtin_expect(ring->adopted, 0) ? uring_handle_of(ring->uring) : ring->handle;
}

/* One io_uring_enter(2) by the owner. Returns the number of entries that the kernel took, or -errno. */
static inline int ring_enter(const struct ctx_ring *ring, unsigned to_submit, const struct uring_wait *wait)
{
	const struct uring_handle handle = ring_handle(ring);

	return uring_handle_enter(&handle, to_submit, wait);
}

/* ---- opening (open.c) ---- */

int ring_check_options(const struct ctx_ring_options *options);
#define RING_OPTIONS "options have an unknown flag, flags that exclude each other, or a tag above 0xffff"

/* ctx_ring_explain() as an expression. Returns text. */
#define RING_EXPLANATION 400
static inline const char *ring_explain_error(int error, char text[RING_EXPLANATION])
{
	ctx_ring_explain(error, text, RING_EXPLANATION);
	return text;
}
int ring_new(const struct ctx_ring_options *options, struct ctx_ring **ret_ring);

/* Sets what depends on the io_uring: its features, and the ring's record in the context table. */
int ring_attach(struct ctx_ring *ring, struct io_uring *uring);

/* Closes our own io_uring. What its owner thread has registered is to be unregistered before. */
void ring_close_uring(struct ctx_ring *ring);

/* Frees everything but the io_uring. */
void ring_free(struct ctx_ring *ring);

/* ---- for the calls of one thread (calls.c) ---- */

/*
 * Opens a ring for one operation at a time, which a thread keeps between its calls. It differs from other
 * rings in three things. It has no kernel timeouts, but bounds its waits itself, so that a deadline needs no
 * request. It has the group of the last call's context only, and stops watching that context when the program
 * releases it. Nobody wakes its owner between calls. Errors as ctx_ring_open.
 */
int ring_open_for_calls(struct ctx_ring **ret_ring);

/*
 * The owner calls these two before and after each call. What happened to the context in between is looked at
 * by ring_end_call.
 */
void ring_begin_call(struct ctx_ring *ring, const struct ctx_context *ctx);
void ring_end_call(struct ctx_ring *ring);

/*
 * Between calls: withdraws what the owner thread has in the kernel, since that would end with the thread, and
 * makes the ring nobody's. -errno: the ring can only be closed.
 */
int ring_hand_over(struct ctx_ring *ring);

/* ---- user_data: tag, kind, generation, slot (slot.c) ---- */

#define TAG_SHIFT 48
#define KIND_SHIFT 46
#define GENERATION_SHIFT 24
#define GENERATION_MASK 0x3fffffu
#define SLOT_MASK 0xffffffu

enum completion_kind {
	KIND_OP,
	KIND_TIMEOUT,  /* the linked timeout of an operation */
	KIND_CANCEL,   /* a cancel of an operation */
	KIND_INTERNAL, /* a request of the library's own; the slot is an enum internal_slot */
};

enum internal_slot {
	INTERNAL_WAKE,
	INTERNAL_TIMER,
	INTERNAL_CLOSE,
	INTERNAL_QUESTION,   /* numbered by ring->requests.questions */
	INTERNAL_PARK,	     /* the wait for the readiness of parked operations */
	INTERNAL_POLLS = 16, /* the first of the polls of ring_poll.h, which have two each */
};

static inline uint64_t ring_user_data(const struct ctx_ring *ring, enum completion_kind kind, uint32_t slot,
				      uint32_t generation)
{
	return ring->tag | (uint64_t)kind << KIND_SHIFT | (uint64_t)generation << GENERATION_SHIFT | slot;
}

/* Doubles the number of slots. -ENOMEM: the ring is as it was. */
int slots_grow(struct ctx_ring *ring);
void slots_free(struct ctx_ring *ring);

static inline int slot_take(struct ctx_ring *ring, struct operation *op)
{
	if (__builtin_expect(!ring->ops.slot_free, 0)) {
		int error = slots_grow(ring);
		if (error)
			return error;
	}
	struct slot *slot = &ring->ops.slots[ring->ops.slot_free];
	op->slot = ring->ops.slot_free;
	op->generation = slot->generation;
	ring->ops.slot_free = slot->next_free;
	slot->op = op;
	return 0;
}

/* Frees a slot, of this number and with this generation. */
static inline void slot_give_back(struct ctx_ring *ring, uint32_t number, struct slot *slot,
				  uint32_t generation)
{
	atomic_store_explicit(&slot->record->flags, 0, memory_order_release);
	slot->op = NULL;
	slot->generation = (generation + 1) & GENERATION_MASK;
	slot->next_free = ring->ops.slot_free;
	ring->ops.slot_free = number;
}

/* Frees the slot of op. An operation that ends with its slot keeps its number until it is staged again. */
static inline void slot_release(struct ctx_ring *ring, struct operation *op)
{
	struct slot *slot = &ring->ops.slots[op->slot];

	slot_give_back(ring, op->slot, slot, slot->generation);
	op->slot = 0;
}

/* Gives op another generation, so that no request of its earlier one is found any more. */
static inline void slot_renew(struct ctx_ring *ring, struct operation *op)
{
	struct slot *slot = &ring->ops.slots[op->slot];

	slot->generation = slot->generation == GENERATION_MASK ? 1 : slot->generation + 1;
	op->generation = slot->generation;
}

static inline struct operation *slot_find(const struct ctx_ring *ring, uint32_t slot, uint32_t generation)
{
	if (slot >= ring->ops.slot_count || ring->ops.slots[slot].generation != generation)
		return NULL;
	return ring->ops.slots[slot].op;
}

/* ---- groups (group.c) ---- */

extern const struct watch_ops group_watch_ops;

/* In place of a group where there is none: no context's. Never written. */
extern struct group group_of_nothing __attribute__((visibility("hidden")));

/*
 * Returns the group of ctx, and makes it if need be. NULL: *ret_error is -ENOMEM, or -ECANCELED or -ETIME if
 * ctx has ended.
 */
struct group *group_find(struct ctx_ring *ring, const struct ctx_context *ctx, int *ret_error);

static inline struct group *group_get(struct ctx_ring *ring, const struct ctx_context *ctx, int *ret_error)
{
	struct group *last = ring->groups.last;

	if (__builtin_expect(last->watch.ctx == ctx && !context_error(ctx), 1))
		return last;
	return group_find(ring, ctx, ret_error);
}

/* The context of group has ended: the next batch takes the group. */
void group_doom(struct group *group);

/* For group_leave(): nobody needs the group any more. Has it freed at the end of the turn. */
void group_empty(struct group *group);

/*
 * One operation of group is idle again. The timer of the deadline stays set, since the next operation is
 * likely to come before it fires. Where it fires without operations, it ends the context in time all the
 * same.
 */
static inline void group_leave(struct group *group)
{
	if (!--group->held && (group->ended || group->released))
		group_empty(group);
}

/*
 * Frees the group of any context but ctx. For rings of blocking calls, which have one group at a time; busy
 * is held. May free contexts.
 */
void group_keep_only(struct ctx_ring *ring, const struct ctx_context *ctx);

/* How an operation of group that was ended early, and not by its own timeout, is shown to the program. */
enum ctx_op_end group_op_end(const struct group *group);

/* Frees the groups of ring->groups.emptied. May free contexts. */
void groups_sweep(struct ctx_ring *ring);
void groups_free(struct ctx_ring *ring);

/* Calls visit for each group of the ring. */
void groups_each(struct ctx_ring *ring, void (*visit)(struct group *group, void *data), void *data);

/* ---- ends without a completion of the kernel (ready.c) ---- */

/* Has op delivered with this completion by the next turn. op is not in the kernel. */
void ready_add(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end);

/* ---- staging (stage.c) ---- */

/* The program submits what it has staged: that is moved to ring->ops.waiting. */
void stage_submit(struct ctx_ring *ring);

/*
 * Puts waiting operations into the kernel's queue, as far as they may go and there is room. submit: does what
 * stage_submit() does first. Returns how many, or -errno.
 */
int stage_push(struct ctx_ring *ring, bool submit);

/* Ends all staged and waiting operations of contexts that have ended. They count as never sent. */
void stage_refuse_dead(struct ctx_ring *ring);

/* Fills the lists of staged operations that stage_refuse_group() needs. Looks at each operation once. */
void stage_index(struct ctx_ring *ring);

/*
 * Ends the staged and waiting operations of group, and counts them into batch unless that is NULL. They count
 * as never sent. A chain that is still being built is ended when it is submitted.
 */
void stage_refuse_group(struct group *group, struct batch *batch);

/* The same for op, which is staged and marked OP_EXPLICIT, and for the whole chain that op is in. */
void stage_refuse(struct ctx_ring *ring, struct operation *op);

/* Takes op, which is not staged any more, out of its group's list of staged operations. */
static inline void stage_leave(struct operation *op)
{
	if (__builtin_expect(!(op->marks & OP_INDEXED), 1))
		return;
	op_unmark(op, OP_INDEXED);
	if (op->group)
		list_unlink(&op->park);
	op->chain_prev = op->chain_next = NULL;
}

/* ---- batches (batch.c) ---- */

/*
 * Cancels all operations of the doomed groups. Does nothing while the program has an unfinished chain in the
 * queue of an adopted ring.
 */
void batch_run(struct ctx_ring *ring);

/* Cancels the operations in ring->ops.singles. */
void batch_singles(struct ctx_ring *ring);

/* Reports the batches whose operations have all ended to the program's function. */
void batch_report(struct ctx_ring *ring);
void batches_free(struct ctx_ring *ring);

/* ---- for an outer event loop (ring_fd.c) ---- */

/* Closes the descriptor of ctx_ring_fd. */
void ring_fd_close(struct ctx_ring *ring);

/* ---- when cancelling does not help (grace.c) ---- */

/*
 * The batch of group has been planned at now_ns, and the kernel still holds some of its operations: starts
 * the grace of the context, if it has one.
 */
void grace_begin(struct group *group, uint64_t now_ns);

/* Reports the stuck operations of the groups in ring->groups.stuck to the program's function. */
void grace_report(struct ctx_ring *ring);

/*
 * Fills stuck with the operations that the kernel holds: those of all groups, or of the groups that are being
 * drained. Returns how many there are, which may be more than stuck_max.
 */
unsigned grace_list_stuck(struct ctx_ring *ring, bool draining_only, struct ctx_stuck *stuck,
			  unsigned stuck_max);

/* ---- an io_uring of the program's (adopt.c) ---- */

/*
 * Withdraws the library's requests from an adopted ring. -EBUSY: completions or an unfinished chain of the
 * program's are in the way. -ETIMEDOUT.
 */
int adopt_withdraw(struct ctx_ring *ring, uint64_t deadline_ns);

/*
 * Looks for the completions of withdrawn requests. The first few looks do not wait, later ones wait until the
 * deadline. *looks counts them. Errors as adopt_withdraw().
 */
int adopt_withdraw_wait(struct ctx_ring *ring, uint64_t deadline_ns, unsigned *looks);

/* ---- timers (ring_timer.c, op_timer.c) ---- */

void ring_timer_set(struct ctx_ring *ring, struct ring_timer *timer, uint64_t when_ns);
void ring_timer_stop(struct ctx_ring *ring, struct ring_timer *timer);

/* Fills in the time of a kernel timeout that is to fire at when_ns. Returns the flags that go with it. */
static inline unsigned ring_kernel_time(const struct ctx_ring *ring, uint64_t when_ns,
					struct __kernel_timespec *ret_time)
{
	bool relative = __builtin_expect(ring->times.relative, 0);

	*ret_time = uring_time(relative ? clock_left_ns(when_ns) : when_ns);
	return relative ? 0 : IORING_TIMEOUT_ABS;
}

/* Takes note of the completion of the kernel timeout of this number. */
void ring_timer_note(struct ctx_ring *ring, uint32_t number, int res);
void ring_timers_fire(struct ctx_ring *ring);

/* Cancels op, whose end is overdue, again and again with growing pauses, until its completion is seen. */
void ring_timer_retry(struct ctx_ring *ring, struct operation *op);

/*
 * While so many linked timeouts for one deadline are in the kernel, further operations get none, and a batch
 * ends them. Each linked timeout that fires ends one operation, in the order in which the kernel's search is
 * slowest. The time until 4,096 operations have ended, divided by that of a batch: 1.4 where all have linked
 * timeouts, 1.3 and 1.5 with 256 of them, 1.0 and 1.1 with 64.
 */
#define LINKED_MAX 32u

/*
 * The count of linked timeouts in the kernel for a deadline. Deadlines share counts by their hash. So far
 * more than LINKED_MAX different deadlines may have one each, and many thousands of them do not.
 */
static inline unsigned deadline_place(uint64_t deadline_ns)
{
	return (unsigned)(deadline_ns * 0x9e3779b97f4a7c15ull >> (64 - LINKED_BITS));
}

static inline uint16_t *deadline_count(struct ctx_ring *ring, uint64_t deadline_ns)
{
	return &ring->times.linked[deadline_place(deadline_ns)];
}

/* Whether an operation may carry a linked timeout for the deadline of its context. */
static inline bool deadline_may_link(const struct ctx_ring *ring, uint64_t deadline_ns)
{
	return ring->times.linked[deadline_place(deadline_ns)] < LINKED_MAX;
}

/* How long after the time of its linked timeout an operation is cancelled by the ring's own timer. */
#define OP_TIMER_GRACE_NS 2000000ull

/*
 * Starts the timer of an operation's own timeout. An operation that parks has only this timer. Any other has
 * a linked timeout, and this timer behind it for the cases that a linked timeout does not reach.
 */
int op_timer_start(struct ctx_ring *ring, struct operation *op, uint64_t when_ns);
void op_timer_stop(struct ctx_ring *ring, struct operation *op);
void op_timers_free(struct ctx_ring *ring);

/* ---- polls of the library's own (ring_poll.h, ring_poll.c, poll_note.c) ---- */

/* Puts the polls and cancels of ring->polls.todo into the kernel's queue, as far as there is room. */
void ring_polls_put(struct ctx_ring *ring);

/*
 * Takes note of the completion of a poll or of a cancel of one. place and number are those in its user_data.
 */
void poll_note_completion(struct ctx_ring *ring, uint32_t place, uint32_t number,
			  const struct io_uring_cqe *cqe);

/* Has poll, or a cancel of it, put into the kernel's queue as soon as there is room. */
static inline void ring_poll_enqueue(struct ctx_ring *ring, struct ring_poll *poll)
{
	list_remove(&poll->link);
	list_append(&ring->polls.todo, &poll->link);
}

/*
 * The events in result that poll is to report: those that it asked for, and POLLERR and POLLHUP, which count
 * always. Linux 6.18 reports POLLRDHUP, too, where it was not asked for.
 */
static inline uint32_t ring_poll_events_of(const struct ring_poll *poll, int32_t result)
{
	return (uint32_t)result & (poll->events | POLLERR | POLLHUP);
}

/* Whether there ever was a request with this place and number. */
bool poll_note_was_put(const struct ctx_ring *ring, uint32_t place, uint32_t number);

/* Calls the functions of the polls that have completed. */
void ring_polls_deliver(struct ctx_ring *ring);

/*
 * ring_polls_stop_all stops all polls. ring_polls_left tells whether the kernel still has some of them, or
 * cancels of them.
 */
void ring_polls_stop_all(struct ctx_ring *ring);
bool ring_polls_left(struct ctx_ring *ring);
void ring_polls_free(struct ctx_ring *ring);

/* ---- completions (complete.c; for what precedes delivery see note.h) ---- */

/*
 * Delivers a CQE for which note_completion() returned CTX_FILTER_OP. Returns how many deliveries that made.
 */
unsigned complete_deliver(struct ctx_ring *ring, struct operation *op, const struct io_uring_cqe *cqe,
			  struct ctx_completion *ret_completion);

/* Delivers an operation of ring->ops.ready. */
void complete_deliver_ready(struct ctx_ring *ring, struct operation *op);

/*
 * Delivers the completions that are in the spill, and in the kernel's queue of a ring of our own, when it is
 * called. Those that callbacks bring about are left for the next call, so that this one ends. Returns how
 * many deliveries that made.
 */
unsigned complete_deliver_queued(struct ctx_ring *ring);

/* ---- dispatching (dispatch.c; waiting: queue.h) ---- */

/*
 * One turn: pushes, waits, delivers. Does not submit what has been staged. Returns the number of deliveries,
 * or -errno.
 */
int dispatch_turn(struct ctx_ring *ring, uint64_t timeout_ns);

/*
 * Delivers all mail, ready operations, completions, polls and timers. Returns how many operations were
 * delivered.
 */
unsigned dispatch_deliver(struct ctx_ring *ring);

/*
 * Every call that delivered ends with this: reports batches, cancels again, pushes operations that were held
 * back, frees empty groups.
 */
void dispatch_end_turn(struct ctx_ring *ring);

#endif
