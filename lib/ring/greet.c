/* SPDX-License-Identifier: MIT */
/*
 * The greeting: the library's first request in an io_uring of the program's.
 *
 * It has IOSQE_CQE_SKIP_SUCCESS. From then on the kernel refuses IOSQE_IO_DRAIN on this io_uring
 * (io_uring_enter(2)). An entry with IOSQE_IO_DRAIN would wait for all requests before it, so also for the
 * poll on the mailbox, which never ends, and every cancel would wait behind that entry.
 *
 * An earlier entry of the program's with that flag may have left the kernel in a state where a new request
 * waits until nothing is in flight (Linux 6.18). With our poll in flight that is never. A request that is
 * submitted when nothing is in flight ends that state, and is answered at once. So the library's other
 * requests go only after a greeting that was alone in its submission has been answered within it.
 */
#include "greet.h"

#include "note.h"
#include "queue.h"

bool greet_ask(struct ctx_ring *ring, unsigned opcode, unsigned sqe_flags, unsigned len)
{
	if (uring_chain_open(ring->uring) || !uring_space(ring->uring) ||
	    tickets_full(&ring->requests.questions))
		return false;
	struct io_uring_sqe *sqe = uring_blank_sqe(ring->uring);
	sqe->user_data = ring_user_data(ring, KIND_INTERNAL, INTERNAL_QUESTION,
					ticket_take(&ring->requests.questions));
	if (opcode == IORING_OP_ASYNC_CANCEL) /* a cancel of a request that never exists */
		sqe->addr = ring_user_data(ring, KIND_INTERNAL, INTERNAL_QUESTION, 0);
	sqe->opcode = (uint8_t)opcode;
	sqe->flags = (uint8_t)sqe_flags;
	sqe->fd = -1;
	sqe->len = len;
	return true;
}

static const struct uring_wait look = {.events = true, .timeout_ns = CTX_FOREVER};

void greet_look(struct ctx_ring *ring)
{
	ring_enter(ring, uring_publish(ring->uring), &look);
	note_in_place(ring);
}

/* Notes what is there, as greet_look(), but submits nothing. */
static void look_for_late_answer(struct ctx_ring *ring)
{
	ring_enter(ring, 0, &look);
	note_in_place(ring);
}

/* Draws the conclusion from an answer that came at once. True: no other greeting is needed. */
static bool take_answer(struct ctx_ring *ring)
{
	ring->requests.greeted = ring->requests.answer != -EACCES || !ring->features.skip_success;
	if (ring->requests.answer == -EACCES && ring->requests.greeted)
		ring->requests.refused = -EACCES;
	if (!ring->requests.greeted)
		ring->features.skip_success = false; /* perhaps only the flag is forbidden: try without it */
	return ring->requests.greeted;
}

bool greet_kernel(struct ctx_ring *ring)
{
	while (!ring->requests.greeted) {
		unsigned skip = ring->features.skip_success ? IOSQE_CQE_SKIP_SUCCESS : 0;
		/* An earlier greeting was not answered at once: after its answer another one is needed. */
		if (ring->requests.greeting) {
			look_for_late_answer(ring);
			if (ring->requests.greeting)
				return false;
		}
		if (queue_flush(ring) < 0 || !greet_ask(ring, IORING_OP_ASYNC_CANCEL, skip, 0))
			return false;
		ring->requests.greeting = ticket_last(&ring->requests.questions);
		greet_look(ring);
		if (ring->requests.greeting || take_answer(ring))
			break;
	}
	return ring->requests.greeted;
}
