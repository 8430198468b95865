/* SPDX-License-Identifier: MIT */
/*
 * Turns of a ring: what is submitted goes to the kernel, the thread waits, and what has come is delivered.
 * The public calls that make turns are here, too.
 */
#include "greet.h"
#include "note.h"
#include "park.h"
#include "queue.h"
#include "ring.h"

static __attribute__((noinline, cold)) void deliver_mail(struct ctx_ring *ring)
{
	struct letter *letter;

	while (ring_is_here(ring) && mailbox_pending(ring->mailbox) && (letter = mailbox_next(ring->mailbox)))
		letter->deliver(letter);
}

static __attribute__((noinline, cold)) unsigned deliver_ready(struct ctx_ring *ring)
{
	unsigned delivered = 0;

	list_splice(&ring->ops.delivering, &ring->ops.ready);
	while (!list_empty(&ring->ops.delivering) && ring_is_here(ring)) {
		complete_deliver_ready(ring, container_of(ring->ops.delivering.next, struct operation, link));
		delivered++;
	}
	return delivered;
}

/*
 * Whether to look at the clock for timers that are due: no kernel timeout reports them. A ring of blocking
 * calls never has one. Its waits end with the earliest timer, so where a wait brought an operation's end
 * there is no need to look.
 */
static inline bool timers_may_be_due(const struct ctx_ring *ring, unsigned delivered)
{
	return ring->times.heap.root && ring->times.armed_ns == CTX_FOREVER && !(ring->calls && delivered);
}

/* See dispatch_deliver(). */
static inline __attribute__((always_inline)) unsigned deliver_all(struct ctx_ring *ring)
{
	unsigned delivered = 0;

	ring->done.past_ns = 0;
	mailbox_reset(ring->mailbox);
	if (__builtin_expect(mailbox_pending(ring->mailbox), 0))
		deliver_mail(ring);
	if (__builtin_expect(!list_empty(&ring->ops.ready), 0))
		delivered = deliver_ready(ring);
	delivered += complete_deliver_queued(ring);
	if (__builtin_expect(!list_empty(&ring->polls.fired), 0))
		ring_polls_deliver(ring);
	if (__builtin_expect(timers_may_be_due(ring, delivered) && ring_is_here(ring), 0))
		ring_timers_fire(ring);
	return delivered;
}

unsigned dispatch_deliver(struct ctx_ring *ring)
{
	return deliver_all(ring);
}

/*
 * True when do_what_is_left() has nothing to do. One branch for all tests, since most turns leave nothing.
 */
static inline bool nothing_is_left(const struct ctx_ring *ring)
{
	int left = !list_empty(&ring->done.batches_over);

	left |= !list_empty(&ring->groups.doomed);
	left |= !list_empty(&ring->groups.emptied);
	left |= !list_empty(&ring->ops.singles);
	left |= !list_empty(&ring->ops.waiting);
	left |= !list_empty(&ring->polls.todo);
	left |= !list_empty(&ring->groups.stuck);
	left |= (ring->park && ring->times.heap.root) || queue_wants_timer(ring);
	left |= ring->adopted || ring->owner.epoll_fd >= 0;
	return !left;
}

static __attribute__((noinline, cold)) void do_what_is_left(struct ctx_ring *ring)
{
	bool outside = ring->adopted || ring->owner.epoll_fd >= 0;
	int pushed = 0;

	if (!list_empty(&ring->groups.stuck))
		grace_report(ring);
	if (!ring_is_here(ring))
		return;
	while (!list_empty(&ring->done.batches_over) || !list_empty(&ring->groups.doomed) ||
	       !list_empty(&ring->groups.emptied)) {
		batch_report(ring);
		if (!ring_is_here(ring))
			return;
		batch_run(ring);
		groups_sweep(ring);
		if (list_empty(&ring->groups.doomed) || (ring->adopted && uring_chain_open(ring->uring)))
			break;
	}
	if (!list_empty(&ring->ops.singles))
		batch_singles(ring);
	if (!list_empty(&ring->ops.waiting) || ring->times.heap.root || ring->park)
		pushed = stage_push(ring, false); /* operations that an IOSQE_IO_DRAIN operation held back */
	if (outside && greet_kernel(ring))
		queue_arm_wake(ring);
	if (!list_empty(&ring->polls.todo))
		ring_polls_put(ring);
	if ((outside || pushed > 0) && uring_publish(ring->uring))
		queue_flush(ring);
}

static __attribute__((noinline, cold)) void end_turn_with_rest(struct ctx_ring *ring)
{
	if (ring_is_here(ring))
		do_what_is_left(ring);
	ring->dispatching = false;
	if (ring_is_here(ring))
		queue_notify(ring);
}

/* See dispatch_end_turn(). */
static inline __attribute__((always_inline)) void end_turn(struct ctx_ring *ring)
{
	if (__builtin_expect(nothing_is_left(ring), 1))
		ring->dispatching = false;
	else
		end_turn_with_rest(ring);
}

void dispatch_end_turn(struct ctx_ring *ring)
{
	end_turn(ring);
}

/*
 * Whether there are completions that were there when the turn began, and that the kernel keeps back all the
 * same. When there are many, a DEFER_TASKRUN ring puts about 40 at a time into its queue (Linux 6.18), and no
 * ring puts more there than the queue holds. What has come to another ring since then is for the next turn.
 */
static inline bool keeps_back(const struct ctx_ring *ring)
{
	return ring->defer ? uring_keeps_back(ring->uring) : uring_cq_overflowed(ring->uring);
}

/*
 * Delivers the completions that the kernel keeps back. Asks for more until there are none. It stops when as
 * many as fit the queue have been delivered, so that callbacks which bring about ever more completions do not
 * keep it from returning.
 */
static __attribute__((noinline, cold)) unsigned deliver_kept_back(struct ctx_ring *ring, unsigned delivered)
{
	while (keeps_back(ring) && delivered < ring->uring->cq.ring_entries) {
		struct uring_wait all = {.events = true, .timeout_ns = CTX_FOREVER};
		if (ring->defer && ring->features.timed_wait)
			all = (struct uring_wait){.min_complete = ring->uring->cq.ring_entries,
						  .events = true};
		int error = ring_enter(ring, 0, &all);
		if ((error < 0 && error != -ETIME) || ring->fork_count != thread_fork_count)
			break;
		unsigned more = dispatch_deliver(ring);
		if (!more)
			break;
		delivered += more;
	}
	return delivered;
}

/*
 * This turn brought nothing but readiness. Makes the attempts now, with a second enter, so that this dispatch
 * delivers the data. Otherwise they would go with the next turn's enter.
 */
static __attribute__((noinline)) int deliver_attempts(struct ctx_ring *ring)
{
	if (!park_queue_is_due(ring))
		return 0;
	park_push(ring);
	int error = queue_wait(ring, 0);
	if (ring->fork_count != thread_fork_count) /* a signal handler forked, and this is the child */
		return -EPERM;
	return error < 0 ? 0 : (int)dispatch_deliver(ring);
}

/*
 * Whether this turn need not enter the kernel: all that is to be delivered was parked, and the kernel has no
 * operation. Not twice in a row, since readiness and time may come only with an enter.
 */
static bool kernel_can_wait(struct ctx_ring *ring)
{
	ring->rested = !ring->rested && !ring->ops.in_kernel && ring->owner.epoll_fd < 0 &&
		       !list_empty(&ring->ops.ready) && !uring_publish(ring->uring);
	return ring->rested;
}

/*
 * Delivers everything, and ends the turn. -EPERM: a function of the program's forked, and this is the child.
 */
static inline __attribute__((always_inline)) int deliver_turn(struct ctx_ring *ring)
{
	int delivered = (int)deliver_all(ring);

	if (__builtin_expect(!ring->adopted && keeps_back(ring), 0)) {
		delivered = (int)deliver_kept_back(ring, (unsigned)delivered);
		if (ring->fork_count != thread_fork_count)
			return -EPERM;
	}
	if (__builtin_expect(ring->park != NULL, 0) && !delivered) {
		delivered = deliver_attempts(ring);
		if (delivered < 0)
			return delivered;
	}
	end_turn(ring);
	return ring_is_still_here(ring) ? delivered : -EPERM;
}

/* Puts requests that are left from earlier turns into the queue. */
static __attribute__((noinline, cold)) void put_earlier_requests(struct ctx_ring *ring)
{
	batch_singles(ring);
	ring_polls_put(ring);
}

static __attribute__((noinline, cold)) void clear_ready_fd(const struct ctx_ring *ring)
{
	sys_drain(ring->owner.ready_fd);
}

/*
 * A turn. submit: what is staged is submitted before. Returns how many completions were delivered; *ret_error
 * is what counts if that is 0.
 */
static inline __attribute__((always_inline)) int turn_inline(struct ctx_ring *ring, uint64_t timeout_ns,
							     bool submit, int *ret_error)
{
	if (__builtin_expect(!list_empty(&ring->ops.singles) || !list_empty(&ring->polls.todo), 0))
		put_earlier_requests(ring);
	int pushed = stage_push(ring, submit);
	int error = pushed < 0 ? pushed : 0;

	*ret_error = 0;
	if (__builtin_expect(ring->owner.ready_fd >= 0, 0))
		clear_ready_fd(ring);
	if (__builtin_expect(ring->adopted, 0)) {
		int sent = queue_flush(ring);
		error = !error && sent < 0 ? sent : error;
	} else {
		/*
		 * The completion of the poll on the mailbox may have been taken before the write of its
		 * eventfd was seen here. The eventfd is cleared before the look at the mail, so that a thread
		 * which posts later writes it again.
		 */
		mailbox_reset(ring->mailbox);
		bool ready = queue_anything_ready(ring) || ring->ops.stalled;
		/* A ring of blocking calls has no kernel timeouts, and no other bounds than its timers. */
		bool timed = ring->calls && ring->times.heap.root && timeout_ns;
		if (timed)
			timeout_ns = ring->times.heap.root->key_ns;
		if (__builtin_expect(!ring->park, 1) || !kernel_can_wait(ring)) {
			int waited = queue_wait_inline(ring, ready ? 0 : timeout_ns, timed, false);
			error = waited ? waited : error;
		}
		/* A signal handler forked in the wait, and this is the child: the queues are the parent's. */
		if (!ring_is_still_here(ring))
			return -EPERM;
	}
	ring->dispatching = true;
	int state;
	ring->owner.set_cancel_state(PTHREAD_CANCEL_DISABLE, &state); /* as thread_hold() */
	int delivered = deliver_turn(ring);
	ring->owner.set_cancel_state(state, NULL);
	*ret_error = error;
	return delivered;
}

int dispatch_turn(struct ctx_ring *ring, uint64_t timeout_ns)
{
	int error, delivered = turn_inline(ring, timeout_ns, false, &error);

	return delivered ? delivered : error;
}

#define DISPATCHING "it is called inside a callback of this ring"

int ctx_ring_submit(struct ctx_ring *ring)
{
	int error = ring_check(ring);

	if (error)
		return debug_error(error, RING_REFUSED);
	batch_singles(ring);
	int pushed = stage_push(ring, true);
	int sent = queue_flush(ring);
	if (!ring->dispatching)
		batch_run(ring); /* a batch that had to wait for the end of the program's chain */
	queue_notify(ring);
	if (pushed < 0)
		return debug_error(pushed, "%s", ring_explain_refusal(ring, pushed));
	if (sent < 0 && sent != -EBUSY)
		return debug_error(sent, "%s", ring_explain_refusal(ring, sent));
	return pushed;
}

RING_TURN int ctx_ring_dispatch(struct ctx_ring *ring, uint64_t timeout_ns)
{
	int error = ring_check(ring);

	if (error)
		return debug_error(error, RING_REFUSED);
	if (ring->dispatching)
		return debug_error(-EBUSY, DISPATCHING);
	int delivered = turn_inline(ring, timeout_ns, true, &error);
	if (delivered || __builtin_expect(!error, 1))
		return delivered;
	if (debug_is_wanted() && !debug_is_usual(error))
		debug_error(error, "%s", ring_explain_refusal(ring, error));
	return error;
}

/* Does what ctx_ring_dispatch() does, and explains nothing. */
static int submit_and_turn(struct ctx_ring *ring)
{
	int error = ring_check(ring);

	if (error)
		return error;
	if (ring->dispatching)
		return debug_note(-EBUSY, DISPATCHING, 0, 0);
	stage_submit(ring);
	return dispatch_turn(ring, CTX_FOREVER);
}

int ctx_ring_run(struct ctx_ring *ring, const struct ctx_context *until)
{
	int error = ring_check(ring);
	struct group *group = NULL;

	if (error)
		return debug_error(error, RING_REFUSED);
	if (ring->adopted)
		return debug_error(-ENOTSUP, "the ring is adopted: the program waits for completions itself");
	if (until && !context_error(until)) {
		/* With a group the ring watches until, so that this thread wakes when another one ends it. */
		group = group_get(ring, until, &error);
		if (!group && !context_error(until))
			return error;
	}
	if (group)
		group->held++;
	error = 0;
	while (until ? !context_error(until) : ring->ops.live != 0) {
		int delivered = submit_and_turn(ring);
		if (delivered < 0 && delivered != -EINTR) {
			error = delivered;
			break;
		}
	}
	if (group)
		group_leave(group);
	return debug_result(error, "%s", ring_explain_refusal(ring, error));
}

int ctx_ring_filter(struct ctx_ring *ring, const struct io_uring_cqe *cqe, struct ctx_op **ret_op,
		    struct ctx_completion *ret_completion)
{
	struct operation *op;

	if (!ring || !cqe)
		return debug_invalid(NULL, ring, cqe);
	int error = ring_check(ring);
	if (error)
		return debug_error(error, RING_REFUSED);
	bool nested = ring->dispatching;
	int state = thread_hold();
	ring->dispatching = true;
	if (!nested)
		ring->done.past_ns = 0;
	int kind = (int)note_completion(ring, cqe, &op);
	if (kind == CTX_FILTER_OP) {
		if (ret_op)
			*ret_op = op_public(op);
		if (!complete_deliver(ring, op, cqe, ret_completion))
			kind = CTX_FILTER_INTERNAL;
	} else if (kind == CTX_FILTER_INTERNAL) {
		/* A nested call leaves the mail and the rest to the dispatch that it was called in. */
		if (nested)
			mailbox_reset(ring->mailbox);
		else
			dispatch_deliver(ring);
	}
	if (!nested)
		dispatch_end_turn(ring);
	thread_release(state);
	return kind;
}
