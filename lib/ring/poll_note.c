/* SPDX-License-Identifier: MIT */
/* Notes the completions of the library's own polls. Calls no function of the program. */
#include "ring.h"

/*
 * Notes the completion of a cancel of poll. The place of a poll is kept until then, so that a late completion
 * never reaches another poll.
 */
static void note_cancel_completion(struct ctx_ring *ring, struct ring_poll *poll)
{
	if (!poll->cancelling)
		return;
	poll->cancelling = false;
	ring->polls.in_kernel--;
	if (poll->in_kernel)
		return;
	list_remove(&poll->link);
	list_append(&ring->polls.fired, &poll->link);
}

/*
 * A poll that asks for a full hang-up only is also completed by half a one, and would be again at once and
 * for ever. So it becomes a multishot poll, which reports half a hang-up once, and after that only changes of
 * the socket's state.
 */
void poll_note_completion(struct ctx_ring *ring, uint32_t place, uint32_t number,
			  const struct io_uring_cqe *cqe)
{
	struct ring_poll *poll = place / 2 < ring->polls.capacity ? ring->polls.all[place / 2] : NULL;

	if (!poll || poll->number != number)
		return;
	if (place % 2)
		return note_cancel_completion(ring, poll);
	if (!poll->in_kernel)
		return;
	bool more = cqe->flags & IORING_CQE_F_MORE;
	bool event = cqe->res >= 0 && ring_poll_events_of(poll, cqe->res);
	if (more && (poll->stopped || !event))
		return;
	poll->in_kernel = more;
	ring->polls.in_kernel -= !more;
	poll->result = cqe->res;
	if (!event && cqe->res >= 0 && !poll->edge && !poll->stopped && ring->features.multishot_poll) {
		poll->edge = true;
		ring_poll_enqueue(ring, poll);
		return;
	}
	list_remove(&poll->link);
	list_append(&ring->polls.fired, &poll->link);
}

bool poll_note_was_put(const struct ctx_ring *ring, uint32_t place, uint32_t number)
{
	return place / 2 < ring->polls.capacity &&
	       (((uint32_t)ring->polls.put - number) & TICKET_MASK) < ring->polls.put;
}
