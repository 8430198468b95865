/* SPDX-License-Identifier: MIT */
/*
 * A ring around an io_uring of the program's. Its first request is described in greet.c.
 *
 * The program may have set restrictions on its io_uring, io_uring_register_restrictions(3), and the kernel
 * tells nobody which. They show when a request is refused with -EACCES, which the kernel does before it looks
 * at anything else in the request. So they are found by requests that are wrong in another way.
 */
#include "greet.h"
#include "note.h"
#include "queue.h"
#include "ring.h"

/*
 * The flags with which an io_uring can be adopted. The others change the queues, who submits, or who
 * completes in a way that a ctx ring cannot work with: see ctxring(7). IORING_SETUP_ATTACH_WQ is here and not
 * in open.c: the program that set the io_uring up has named the other ring, while ctx_ring_open has no option
 * for its descriptor.
 */
#define SETUP_ADOPTABLE                                                                                \
	(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_ATTACH_WQ | IORING_SETUP_R_DISABLED | \
	 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |             \
	 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_NO_MMAP |              \
	 IORING_SETUP_REGISTERED_FD_ONLY | IORING_SETUP_NO_SQARRAY)

/*
 * So many of the looks of adopt_withdraw_wait() do not wait. Where nothing is in the way, the first or the
 * second finds the completions.
 */
#define WITHDRAW_LOOKS 4u

static const struct uring_wait no_wait = {.timeout_ns = CTX_FOREVER};

/* Makes a request of this kind. -EACCES: restrictions forbid it. Else 0, whatever the answer is. */
static int try_request(struct ctx_ring *ring, unsigned opcode, unsigned sqe_flags, unsigned len)
{
	ring->requests.answer = 0;
	if (greet_ask(ring, opcode, sqe_flags, len))
		greet_look(ring);
	return ring->requests.answer == -EACCES ? -EACCES : 0;
}

/*
 * Finds out what restrictions forbid. Only an io_uring that was set up disabled can have any. -EACCES: they
 * forbid what the ring needs.
 */
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

/*
 * Takes the library's entries out of the queue again if the kernel refuses to take them. Returns 0, or why
 * the kernel refuses: -EPERM if the ring is a SINGLE_ISSUER ring of another thread.
 */
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

/*
 * Sends the greeting, unless the program has prepared entries: those are the program's to submit, and then
 * the first call that submits anything sends the greeting.
 */
static int send_greeting(struct ctx_ring *ring)
{
	bool may_be_restricted =
		ring->uring->flags & IORING_SETUP_R_DISABLED; /* still set after it was enabled */
	int error = 0;

	if (ring_enter(ring, 0, &no_wait) == -EBADFD)
		return -ENOTSUP; /* the program has not enabled it yet */
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
		return debug_invalid(RING_OPTIONS, uring, ret_ring);
	if (options && (options->flags & CTX_RING_PARK))
		return debug_error(-ENOTSUP,
				   "operations of an adopted ring cannot be parked (CTX_RING_PARK)");
	if (uring->flags & ~SETUP_ADOPTABLE)
		return debug_error(-ENOTSUP,
				   "an io_uring with the setup flags %#x cannot be adopted: see ctxring(7)",
				   uring->flags & ~SETUP_ADOPTABLE);
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
		return debug_error(error, "%s", ring_explain_error(error, (char[RING_EXPLANATION]){""}));
	}
	*ret_ring = ring;
	return 0;
}

/* ---- closing */

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
		return -EBUSY; /* our completions would stay in the kernel, behind the program's */
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
