/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "park.h"
#include "ring.h"

int ring_flush(struct ctx_ring *ring)
{
	static const struct uring_wait no_wait = {.timeout_ns = CTX_FOREVER};
	unsigned left;
	int sent = 0;

	/* To submit now would end the program's chain where it is. */
	if (ring->adopted && uring_chain_open(ring->uring))
		return -EBUSY;
	while ((left = uring_publish(ring->uring)) != 0) {
		int taken = uring_enter(ring->uring, left, &no_wait);
		if (taken == -EINTR)
			continue;
		if (taken == -EBUSY && !ring->adopted && uring_cq_ready(ring->uring)) {
			complete_harvest(ring);
			if (!uring_cq_ready(ring->uring))
				continue;
		}
		if (taken <= 0)
			return taken ? taken : -EAGAIN;
		sent += taken; /* less than left: the kernel stops behind an entry that it rejected */
	}
	return sent;
}

struct io_uring_sqe *ring_internal_sqe(struct ctx_ring *ring)
{
	if (ring->adopted && (uring_chain_open(ring->uring) || !ring->greeted))
		return NULL;
	if (!uring_space(ring->uring) && ring_flush(ring) < 0)
		return NULL;
	if (!uring_space(ring->uring))
		return NULL;
	return uring_blank_sqe(ring->uring);
}

/* How long the wake-up poll rests that could not be had. */
#define WAKE_REST_NS 50000000ull

void ring_arm_wake(struct ctx_ring *ring)
{
	if (ring->wakes.out || ring->withdrawing || ring->refused || heap_contains(&ring->wake_rest.node))
		return;
	struct io_uring_sqe *sqe = ring_internal_sqe(ring);
	if (!sqe)
		return;
	io_uring_prep_poll_add(sqe, mailbox_fd(ring->mailbox), POLLIN);
	if (ring->features.multishot_poll && !ring->wake_once)
		sqe->len = IORING_POLL_ADD_MULTI;
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_WAKE, ticket_take(&ring->wakes));
}

static void fire_wake_rest(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	ring_arm_wake(ring);
}

/* One that ended without an event is armed again by the next turn; where that would fail again at once, and
 * keep the loop turning for nothing, after a rest. */
void ring_note_wake(struct ctx_ring *ring, uint32_t number, const struct io_uring_cqe *cqe)
{
	if ((cqe->flags & IORING_CQE_F_MORE) || !ticket_return(&ring->wakes, number))
		return;
	if (cqe->res >= 0 || cqe->res == -ECANCELED)
		return;
	if (cqe->res == -EACCES) {
		ring->refused = -EACCES;
	} else if (cqe->res == -EINVAL && !ring->wake_once) {
		ring->wake_once = true;
	} else {
		ring->wake_rest.fire = fire_wake_rest;
		ring_timer_set(ring, &ring->wake_rest, clock_now_ns() + WAKE_REST_NS);
	}
}

int ring_disarm_wake(struct ctx_ring *ring)
{
	int error = 0;

	ring->withdrawing = true;
	while (ring->wakes.out && !error) {
		struct io_uring_sqe *sqe = ring_internal_sqe(ring);
		if (!sqe)
			return -EAGAIN;
		io_uring_prep_cancel64(
			sqe, ring_user_data(ring, KIND_INTERNAL, INTERNAL_WAKE, ticket_last(&ring->wakes)),
			0);
		sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_CLOSE, 0);
		if (ring->features.skip_success)
			sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		error = ring_wait(ring, CTX_FOREVER);
		if (error == -EINTR)
			error = 0;
		complete_harvest(ring);
	}
	ring->withdrawing = false;
	return error;
}

/* For kernels whose io_uring_enter(2) takes no timeout. */
static __attribute__((cold)) int wait_by_poll(struct ctx_ring *ring, uint64_t timeout_ns)
{
	struct pollfd fd = {.fd = ring->uring->ring_fd, .events = POLLIN};
	struct timespec time = clock_timespec(timeout_ns);
	int sent = ring_flush(ring);

	if (sent < 0)
		return sent;
	if (ring->park && park_needs_push(ring)) /* room for that was made by a look at completions */
		return 0;
	int ready = sys_poll(&fd, 1, &time);
	return ready < 0 ? ready : 0;
}

/*
 * This, and what stands between it and the caller of ctx_ring_dispatch, is inline: a return
 * right after a system call measured slower than one elsewhere.
 */
static inline __attribute__((always_inline)) int wait_inline(struct ctx_ring *ring, uint64_t timeout_ns)
{
	struct uring_wait wait = {.timeout_ns = timeout_ns};

	if (__builtin_expect(ring->adopted, 0) && uring_chain_open(ring->uring))
		return -EBUSY; /* see ring_flush */
	if (timeout_ns && __builtin_expect(!ring->wakes.out, 0)) {
		ring_arm_wake(ring);
		if (ring->park && park_needs_push(ring)) /* as above */
			timeout_ns = wait.timeout_ns = 0;
	}
	if (timeout_ns) /* beyond what is there and has been looked at */
		wait.min_complete = 1 + (ring->adopted ? ring->noted - *ring->uring->cq.khead : 0);
	wait.events = timeout_ns || ring->lazy || uring_cq_overflowed(ring->uring);
	if (__builtin_expect(timeout_ns && timeout_ns != CTX_FOREVER && !ring->features.timed_wait, 0)) {
		int error = wait_by_poll(ring, timeout_ns);
		if (error < 0)
			return error;
		wait.min_complete = 0;
	}
	for (;;) {
		unsigned left = uring_publish(ring->uring);
		if (!left && !wait.events)
			return 0;
		int taken = timeout_ns && timeout_ns != CTX_FOREVER
				    ? uring_enter(ring->uring, left, &wait)
				    : uring_enter_plain(ring->uring, left, wait.min_complete, wait.events);
		if (__builtin_expect(taken >= 0 && (unsigned)taken >= left, 1))
			return 0;
		if (taken == -ETIME)
			return 0;
		if (taken < 0)
			return taken;
		/* The kernel stopped behind an entry that it rejected, and did not wait. */
		if (!taken)
			return -EAGAIN;
	}
}

int ring_wait(struct ctx_ring *ring, uint64_t timeout_ns)
{
	return wait_inline(ring, timeout_ns);
}

/* How long a ring without kernel timeouts may wait: until the earliest of its own. */
static uint64_t bounded(const struct ctx_ring *ring, uint64_t timeout_ns)
{
	uint64_t when_ns = ring->timers.root->key_ns, now_ns = clock_now_ns();
	uint64_t left_ns = when_ns > now_ns ? when_ns - now_ns : 0;

	return left_ns < timeout_ns ? left_ns : timeout_ns;
}

static bool anything_ready(const struct ctx_ring *ring)
{
	return !list_empty(&ring->ready) || ring->spill.head != ring->spill.tail ||
	       !list_empty(&ring->stuck_groups) || !list_empty(&ring->doomed) ||
	       !list_empty(&ring->emptied) || !list_empty(&ring->singles) ||
	       !list_empty(&ring->polls_fired) || !list_empty(&ring->polls_todo) ||
	       mailbox_pending(ring->mailbox) || (ring->park && park_needs_push(ring)) ||
	       (!ring->adopted && uring_cq_ready(ring->uring));
}

static __attribute__((noinline, cold)) void deliver_mail(struct ctx_ring *ring)
{
	struct letter *letter;

	while (ring_is_here(ring) && mailbox_pending(ring->mailbox) && (letter = mailbox_next(ring->mailbox)))
		letter->deliver(letter);
}

static __attribute__((noinline, cold)) unsigned deliver_ready(struct ctx_ring *ring)
{
	unsigned delivered = 0;

	list_splice(&ring->delivering, &ring->ready);
	while (!list_empty(&ring->delivering) && ring_is_here(ring)) {
		complete_deliver_ready(ring, container_of(ring->delivering.next, struct operation, link));
		delivered++;
	}
	return delivered;
}

unsigned ring_deliver(struct ctx_ring *ring)
{
	unsigned delivered = 0;

	mailbox_reset(ring->mailbox);
	if (__builtin_expect(mailbox_pending(ring->mailbox), 0))
		deliver_mail(ring);
	if (__builtin_expect(!list_empty(&ring->ready), 0))
		delivered = deliver_ready(ring);
	delivered += complete_deliver_queued(ring);
	if (__builtin_expect(!list_empty(&ring->polls_fired), 0))
		ring_polls_deliver(ring);
	if (__builtin_expect(ring->timers.root && ring->armed_ns == CTX_FOREVER && ring_is_here(ring), 0))
		ring_timers_fire(ring);
	return delivered;
}

/* Is there anything that ring_settle looks after? One test in place of eight: most turns leave nothing. */
static bool settled(const struct ctx_ring *ring)
{
	int left = !list_empty(&ring->batches_over);

	left |= !list_empty(&ring->doomed);
	left |= !list_empty(&ring->emptied);
	left |= !list_empty(&ring->singles);
	left |= !list_empty(&ring->waiting);
	left |= !list_empty(&ring->polls_todo);
	left |= !list_empty(&ring->stuck_groups);
	left |= ring->timers.root || ring->adopted || ring->epoll_fd >= 0;
	return !left;
}

static __attribute__((noinline, cold)) void settle(struct ctx_ring *ring)
{
	bool outside = ring->adopted || ring->epoll_fd >= 0;
	int pushed = 0;

	if (!list_empty(&ring->stuck_groups))
		ladder_report(ring);
	if (!ring_is_here(ring))
		return;
	while (!list_empty(&ring->batches_over) || !list_empty(&ring->doomed) ||
	       !list_empty(&ring->emptied)) {
		batch_report(ring);
		if (!ring_is_here(ring))
			return;
		batch_run(ring);
		groups_sweep(ring);
		if (list_empty(&ring->doomed) || (ring->adopted && uring_chain_open(ring->uring)))
			break;
	}
	if (!list_empty(&ring->singles))
		batch_singles(ring);
	if (!list_empty(&ring->waiting) || ring->timers.root || ring->park)
		pushed = stage_push(ring); /* what an IOSQE_IO_DRAIN operation held back */
	if (outside && ring_greet(ring))
		ring_arm_wake(ring);
	if (!list_empty(&ring->polls_todo))
		ring_polls_put(ring);
	if ((outside || pushed > 0) && uring_publish(ring->uring))
		ring_flush(ring);
}

void ring_settle(struct ctx_ring *ring)
{
	if (__builtin_expect(settled(ring), 1)) {
		ring->dispatching = false;
		return;
	}
	if (ring_is_here(ring))
		settle(ring);
	ring->dispatching = false;
	if (ring_is_here(ring))
		ring_notify(ring);
}

void ring_notify(struct ctx_ring *ring)
{
	if (ring->dispatching || (!ring->adopted && ring->epoll_fd < 0))
		return;
	if (anything_ready(ring) || (!ring->adopted && uring_keeps_back(ring->uring)))
		mailbox_wake(ring->mailbox);
}

/*
 * Of many completions a DEFER_TASKRUN ring brings some 40 at a time into its queue (Linux 6.18), and no more
 * than the queue holds come anywhere: asks until there are none, or a queue full has been delivered, so that
 * callbacks which bring about ever more do not keep this from returning.
 */
static __attribute__((noinline, cold)) unsigned deliver_rest(struct ctx_ring *ring, unsigned delivered)
{
	while (uring_keeps_back(ring->uring) && delivered < ring->uring->cq.ring_entries) {
		struct uring_wait all = {.events = true, .timeout_ns = CTX_FOREVER};
		if (ring->defer && ring->features.timed_wait)
			all = (struct uring_wait){.min_complete = ring->uring->cq.ring_entries,
						  .events = true};
		int error = uring_enter(ring->uring, 0, &all);
		if ((error < 0 && error != -ETIME) || ring->fork_count != thread_fork_count)
			break;
		unsigned more = ring_deliver(ring);
		if (!more)
			break;
		delivered += more;
	}
	return delivered;
}

/* Only readiness came: what it was waited for is there, too. Otherwise it goes with the next turn's enter. */
static __attribute__((noinline)) int deliver_attempts(struct ctx_ring *ring)
{
	if (!park_is_due(ring))
		return 0;
	park_push(ring);
	int error = ring_wait(ring, 0);
	if (ring->fork_count != thread_fork_count) /* as below */
		return -EPERM;
	return error < 0 ? 0 : (int)ring_deliver(ring);
}

/*
 * What there is to deliver was parked, and the kernel has nothing that anybody waits for: no need to enter.
 * Not twice in a row: readiness and time may come only with an enter.
 */
static bool kernel_can_wait(struct ctx_ring *ring)
{
	ring->rested = !ring->rested && !ring->in_kernel && ring->epoll_fd < 0 && !list_empty(&ring->ready) &&
		       !uring_publish(ring->uring);
	return ring->rested;
}

/* All of it, and what is to follow. -EPERM: a function of the program's forked, and this is the child. */
static inline int deliver_turn(struct ctx_ring *ring)
{
	int delivered = (int)ring_deliver(ring);

	if (__builtin_expect(!ring->adopted && uring_keeps_back(ring->uring), 0)) {
		delivered = (int)deliver_rest(ring, (unsigned)delivered);
		if (ring->fork_count != thread_fork_count)
			return -EPERM;
	}
	if (__builtin_expect(ring->park != NULL, 0) && !delivered) {
		delivered = deliver_attempts(ring);
		if (delivered < 0)
			return delivered;
	}
	ring_settle(ring);
	return __builtin_expect(ring_is_here(ring), 1) ? delivered : -EPERM;
}

static inline __attribute__((always_inline)) int turn_inline(struct ctx_ring *ring, uint64_t timeout_ns)
{
	if (__builtin_expect(!list_empty(&ring->singles), 0))
		batch_singles(ring);
	if (__builtin_expect(!list_empty(&ring->polls_todo), 0))
		ring_polls_put(ring);
	int pushed = stage_push(ring);
	int error = pushed < 0 ? pushed : 0;
	if (ring->ready_fd >= 0)
		sys_drain(ring->ready_fd);
	if (ring->adopted) {
		int sent = ring_flush(ring);
		error = !error && sent < 0 ? sent : error;
	} else {
		/*
		 * The completion of a wake may have been taken before its write was seen here. Cleared
		 * before the look at the mail, so that whoever posts later writes again.
		 */
		mailbox_reset(ring->mailbox);
		bool ready = anything_ready(ring) || ring->stalled;
		if (ring->calls && ring->timers.root)
			timeout_ns = bounded(ring, timeout_ns);
		if (__builtin_expect(!ring->park, 1) || !kernel_can_wait(ring)) {
			int waited = wait_inline(ring, ready ? 0 : timeout_ns);
			error = waited ? waited : error;
		}
		/* By a signal handler, in the wait: in the child the queues are still the parent's. */
		if (__builtin_expect(ring->fork_count != thread_fork_count, 0))
			return -EPERM;
	}
	ring->dispatching = true;
	int state = thread_hold();
	int delivered = deliver_turn(ring);
	thread_release(state);
	return delivered ? delivered : error;
}

int ring_turn(struct ctx_ring *ring, uint64_t timeout_ns)
{
	return turn_inline(ring, timeout_ns);
}

int ctx_ring_dispatch(struct ctx_ring *ring, uint64_t timeout_ns)
{
	int error = ring_check(ring);

	if (error)
		return error;
	if (ring->dispatching)
		return -EBUSY;
	stage_submit(ring);
	return turn_inline(ring, timeout_ns);
}

int ctx_ring_run(struct ctx_ring *ring, const struct ctx_context *until)
{
	int error = ring_check(ring);
	struct group *group = NULL;

	if (error)
		return error;
	if (ring->adopted)
		return -ENOTSUP;
	if (until && !context_error(until)) {
		/* The group's watch is what wakes this ring when another thread ends it. */
		group = group_get(ring, until, &error);
		if (!group && !context_error(until))
			return error;
	}
	if (group)
		group->held++;
	error = 0;
	while (until ? !context_error(until) : ring->live != 0) {
		int delivered = ctx_ring_dispatch(ring, CTX_FOREVER);
		if (delivered < 0 && delivered != -EINTR) {
			error = delivered;
			break;
		}
	}
	if (group)
		group_leave(group);
	return error;
}

int ctx_ring_filter(struct ctx_ring *ring, const struct io_uring_cqe *cqe, struct ctx_op **ret_op,
		    struct ctx_completion *ret_completion)
{
	struct operation *op;

	if (!ring || !cqe)
		return -EINVAL;
	int error = ring_check(ring);
	if (error)
		return error;
	bool nested = ring->dispatching;
	int state = thread_hold();
	ring->dispatching = true;
	int kind = (int)complete_note(ring, cqe, &op);
	if (kind == CTX_FILTER_OP) {
		if (ret_op)
			*ret_op = op_public(op);
		if (!complete_deliver(ring, op, cqe, ret_completion))
			kind = CTX_FILTER_INTERNAL;
	} else if (kind == CTX_FILTER_INTERNAL) {
		if (nested)
			mailbox_reset(ring->mailbox); /* the outer one wakes itself for what there is */
		else
			ring_deliver(ring);
	}
	if (!nested)
		ring_settle(ring);
	thread_release(state);
	return kind;
}

/*
 * The ring's own descriptor, and for DEFER_TASKRUN an eventfd as well. Such a ring wakes whoever polls its
 * descriptor on Linux 6.1 and 6.12, but nobody on 6.18; it signals a registered eventfd on 6.1 and 6.18, but
 * on 6.12.117 only once.
 */
static int watch_completions(struct ctx_ring *ring)
{
	struct epoll_event event = {.events = EPOLLIN};
	int error = sys_epoll_ctl(ring->epoll_fd, EPOLL_CTL_ADD, ring->uring->ring_fd, &event);

	if (error || !ring->defer)
		return error;
	ring->ready_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->ready_fd < 0)
		return ring->ready_fd;
	error = uring_register(ring->uring, IORING_REGISTER_EVENTFD, &ring->ready_fd, 1);
	if (error < 0) {
		sys_close(ring->ready_fd); /* what is registered is the program's own */
		ring->ready_fd = -1;
		return error;
	}
	return sys_epoll_ctl(ring->epoll_fd, EPOLL_CTL_ADD, ring->ready_fd, &event);
}

int ctx_ring_fd(struct ctx_ring *ring)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (!ring)
		return -EINVAL;
	int error = ring_check(ring);
	if (error || ring->epoll_fd >= 0)
		return error ? error : ring->epoll_fd;
	if (ring->uring->ring_fd < 0)
		return -ENOTSUP; /* IORING_SETUP_REGISTERED_FD_ONLY */
	ring->epoll_fd = sys_epoll_create1(EPOLL_CLOEXEC);
	if (ring->epoll_fd < 0)
		return ring->epoll_fd;
	error = sys_epoll_ctl(ring->epoll_fd, EPOLL_CTL_ADD, mailbox_fd(ring->mailbox), &event);
	if (!error)
		error = watch_completions(ring);
	if (error) {
		ring_forget_fd(ring);
		return error;
	}
	ring_flush(ring);
	/* What was ready before is not signalled by the kernel again. */
	mailbox_wake(ring->mailbox);
	return ring->epoll_fd;
}

void ring_forget_fd(struct ctx_ring *ring)
{
	if (ring->ready_fd >= 0) {
		uring_register(ring->uring, IORING_UNREGISTER_EVENTFD, NULL, 0);
		sys_close(ring->ready_fd);
	}
	if (ring->epoll_fd >= 0)
		sys_close(ring->epoll_fd);
	ring->epoll_fd = ring->ready_fd = -1;
}
