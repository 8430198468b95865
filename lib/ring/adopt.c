/* SPDX-License-Identifier: MIT */
/*
 * A ring round an io_uring that the program has; see greet.c for its first request.
 *
 * Restrictions, io_uring_register_restrictions(3), cannot be asked for. They show when a request is refused
 * with -EACCES, before anything else in it is looked at; so requests that are wrong otherwise are tried.
 */
#include "greet.h"
#include "note.h"
#include "queue.h"
#include "ring.h"

/* These change the queues, who submits, or who completes in a way that we cannot live with: see ctxring(7).
 */
#define SETUP_ADOPTABLE                                                                                \
	(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_ATTACH_WQ | IORING_SETUP_R_DISABLED | \
	 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |             \
	 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_NO_MMAP |              \
	 IORING_SETUP_REGISTERED_FD_ONLY | IORING_SETUP_NO_SQARRAY)

/* Looks at what a withdrawal brought that do not wait: where nothing is in the way the first or second finds
 * it. */
#define WITHDRAW_LOOKS 4u

static const struct uring_wait no_wait = {.timeout_ns = CTX_FOREVER};

/* -EACCES: restrictions forbid such requests. */
static int try_request(struct ctx_ring *ring, unsigned opcode, unsigned sqe_flags, unsigned len)
{
	ring->requests.answer = 0;
	if (greet_ask(ring, opcode, sqe_flags, len))
		greet_look(ring);
	return ring->requests.answer == -EACCES ? -EACCES : 0;
}

/* Only an io_uring that began disabled can have got restrictions. 0, or -EACCES: what cannot be done without
 * is forbidden. */
static int check_restrictions(struct ctx_ring *ring)
{
	const unsigned wrong = ~0u;
	if (try_request(ring, IORING_OP_ASYNC_CANCEL, 0, 0) ||
	    try_request(ring, IORING_OP_POLL_ADD, 0, wrong) || try_request(ring, IORING_OP_TIMEOUT, 0, wrong))
		return -EACCES;
	if (ring->features.skip_success &&
	    try_request(ring, IORING_OP_ASYNC_CANCEL, IOSQE_CQE_SKIP_SUCCESS, 0))
		ring->features.skip_success = false;
	unsigned skip = ring->features.skip_success ? IOSQE_CQE_SKIP_SUCCESS : 0;
	if (try_request(ring, IORING_OP_POLL_ADD, IOSQE_IO_LINK, wrong) ||
	    try_request(ring, IORING_OP_LINK_TIMEOUT, skip, wrong))
		ring->linked = LINKED_NONE;
	return 0;
}

/* Takes entries of ours that the kernel refuses out of the queue again. 0, or why it does: -EPERM for a
 * SINGLE_ISSUER ring of another thread. */
static int withdraw_refused(struct ctx_ring *ring)
{
	struct io_uring_sq *sq = &ring->uring->sq;
	int sent = queue_flush(ring);

	if (sent >= 0 || sent == -EAGAIN || sent == -EBUSY)
		return 0;
	sq->sqe_head = sq->sqe_tail = *sq->khead;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	return sent == -EEXIST ? -EPERM : sent;
}

/* What the program has prepared is its own to submit: then the first call that submits anything greets. */
static int send_greeting(struct ctx_ring *ring)
{
	bool may_be_restricted =
		ring->uring->flags & IORING_SETUP_R_DISABLED; /* stays set when it is enabled */
	int error = 0;

	if (uring_enter(ring->uring, 0, &no_wait) == -EBADFD)
		return -ENOTSUP; /* still disabled */
	if (uring_publish(ring->uring))
		return may_be_restricted ? -EBUSY : 0;
	if (may_be_restricted)
		error = check_restrictions(ring);
	if (!error && greet_kernel(ring)) {
		queue_arm_wake(ring);
		greet_look(ring);
		error = ring->requests.refused;
	}
	note_extract(ring);
	return error ? error : withdraw_refused(ring);
}

int ctx_ring_adopt(struct io_uring *uring, const struct ctx_ring_options *options, struct ctx_ring **ret_ring)
{
	struct ctx_ring *ring;

	if (!uring || !ret_ring || ring_check_options(options))
		return -EINVAL;
	if (options && (options->flags & CTX_RING_PARK))
		return -ENOTSUP;
	if (uring->flags & ~SETUP_ADOPTABLE)
		return -ENOTSUP;
	int error = ring_new(options, &ring);
	if (error)
		return error;
	ring->adopted = true;
	ring->requests.greeted = false;
	error = ring_claim(ring);
	if (!error)
		error = ring_attach(ring, uring);
	if (!error) {
		ring->done.noted = *uring->cq.khead;
		error = send_greeting(ring);
	}
	if (error) {
		ring_free(ring);
		return error;
	}
	*ret_ring = ring;
	return 0;
}

/* ---- leaving */

static void put_cancel(struct ctx_ring *ring, enum internal_slot which, uint32_t number)
{
	struct io_uring_sqe *sqe = tickets_full(&ring->requests.questions) ? NULL : queue_internal_sqe(ring);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, ring_user_data(ring, KIND_INTERNAL, which, number), 0);
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_QUESTION,
					ticket_take(&ring->requests.questions));
}

static void put_cancels(struct ctx_ring *ring, enum internal_slot which, const struct tickets *tickets)
{
	for (uint64_t age = 0; age < TICKETS_MAX && age < tickets->given; age++) {
		uint32_t number = (uint32_t)(tickets->given - age) & TICKET_MASK;
		if (ticket_is_out(tickets, number))
			put_cancel(ring, which, number);
	}
}

int adopt_withdraw_wait(struct ctx_ring *ring, uint64_t deadline_ns, unsigned *looks)
{
	uint64_t now_ns = deadline_ns == CTX_FOREVER ? 0 : clock_now_ns();
	uint64_t left_ns = deadline_ns == CTX_FOREVER ? CTX_FOREVER
			   : now_ns < deadline_ns     ? deadline_ns - now_ns
						      : 0;

	if (ring->adopted && uring_cq_ready(ring->uring) >= ring->uring->cq.ring_entries)
		return -EBUSY; /* ours would stay behind the program's completions in the kernel */
	if (!left_ns && *looks >= WITHDRAW_LOOKS)
		return -ETIMEDOUT;
	int error = queue_wait(ring, (*looks)++ < WITHDRAW_LOOKS ? 0 : left_ns);
	return error == -EINTR ? 0 : error;
}

int adopt_withdraw(struct ctx_ring *ring, uint64_t deadline_ns)
{
	unsigned looks = 0;
	int error = 0;

	ring->requests.withdrawing = true;
	while (!error) {
		note_extract(ring);
		if (!ring->requests.wakes.out && !ring->times.kernel_timers.out &&
		    !ring->requests.questions.out)
			break;
		put_cancels(ring, INTERNAL_WAKE, &ring->requests.wakes);
		put_cancels(ring, INTERNAL_TIMER, &ring->times.kernel_timers);
		error = adopt_withdraw_wait(ring, deadline_ns, &looks);
	}
	ring->requests.withdrawing = false;
	return error;
}
