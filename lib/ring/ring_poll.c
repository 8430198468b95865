/* SPDX-License-Identifier: MIT */
#include "ring_poll.h"

#include <string.h>

#include "memory.h"
#include "queue.h"
#include "ring.h"

#define POLLS_FIRST 16u

/* How long to wait before a poll that ended without an event is tried again. */
#define REST_NS 50000000ull

/* The user_data of poll, or of its cancel. The two have adjacent places. */
static uint64_t user_data_of(const struct ctx_ring *ring, const struct ring_poll *poll, bool cancel)
{
	return ring_user_data(ring, KIND_INTERNAL, INTERNAL_POLLS + 2 * poll->index + cancel, poll->number);
}

static int grow_places(struct ctx_ring *ring)
{
	uint32_t count = ring->polls.capacity ? ring->polls.capacity * 2 : POLLS_FIRST;

	if (count > (SLOT_MASK - INTERNAL_POLLS) / 2)
		return -ENOMEM;
	struct ring_poll **polls = memory_allocate(count * sizeof(struct ring_poll *));
	uint32_t *unused = memory_allocate(count * sizeof(*unused));
	if (!polls || !unused) {
		memory_release(polls);
		memory_release(unused);
		return -ENOMEM;
	}
	memset(polls, 0, count * sizeof(struct ring_poll *));
	if (ring->polls.capacity)
		memcpy(polls, ring->polls.all, ring->polls.capacity * sizeof(struct ring_poll *));
	/* All places that there were are taken, since this is called only then. */
	for (uint32_t i = ring->polls.capacity; i < count; i++)
		unused[ring->polls.free_count++] = count - 1 - (i - ring->polls.capacity);
	memory_release(ring->polls.all);
	memory_release(ring->polls.free_places);
	ring->polls.all = polls;
	ring->polls.free_places = unused;
	ring->polls.capacity = count;
	return 0;
}

/* The kernel holds poll no more: forgets it, and gives its memory back. */
static void remove_poll(struct ctx_ring *ring, struct ring_poll *poll)
{
	list_remove(&poll->link);
	ring->polls.all[poll->index] = NULL;
	ring->polls.free_places[ring->polls.free_count++] = poll->index;
	poll->gone(poll);
}

int ring_poll_start(struct ctx_ring *ring, struct ring_poll *poll)
{
	if (ring->closing)
		return -EPERM;
	if (!ring->polls.free_count) {
		int error = grow_places(ring);
		if (error)
			return error;
	}
	list_init(&poll->link);
	poll->in_kernel = poll->cancelling = poll->stopped = poll->edge = false;
	poll->index = ring->polls.free_places[--ring->polls.free_count];
	ring->polls.all[poll->index] = poll;
	ring_poll_enqueue(ring, poll);
	ring_polls_submit(ring);
	return 0;
}

void ring_poll_again(struct ctx_ring *ring, struct ring_poll *poll)
{
	if (!poll->in_kernel)
		ring_poll_enqueue(ring, poll);
}

void ring_poll_stop(struct ctx_ring *ring, struct ring_poll *poll)
{
	poll->stopped = true;
	ring_poll_enqueue(ring, poll);
	queue_notify(ring);
}

static bool put_poll(struct ctx_ring *ring, struct ring_poll *poll)
{
	struct io_uring_sqe *sqe = queue_internal_sqe(ring);

	if (!sqe)
		return false;
	io_uring_prep_poll_add(sqe, poll->fd, poll->events);
	if (poll->edge)
		sqe->len = IORING_POLL_ADD_MULTI;
	poll->number = (uint32_t)++ring->polls.put & TICKET_MASK;
	sqe->user_data = user_data_of(ring, poll, false);
	poll->in_kernel = true;
	ring->polls.in_kernel++;
	return true;
}

static bool put_cancel(struct ctx_ring *ring, struct ring_poll *poll)
{
	struct io_uring_sqe *sqe = queue_internal_sqe(ring);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, user_data_of(ring, poll, false), 0);
	sqe->user_data = user_data_of(ring, poll, true);
	poll->cancelling = true;
	ring->polls.in_kernel++;
	return true;
}

void ring_polls_put(struct ctx_ring *ring)
{
	struct list *link = ring->polls.todo.next;

	while (link != &ring->polls.todo) {
		struct ring_poll *poll = container_of(link, struct ring_poll, link);
		if (poll->stopped ? poll->in_kernel && !poll->cancelling && !put_cancel(ring, poll)
				  : !put_poll(ring, poll))
			return;
		link = link->next;
		list_remove(&poll->link);
		if (poll->stopped && !poll->in_kernel && !poll->cancelling)
			list_append(&ring->polls.fired, &poll->link); /* it is removed in a dispatch */
	}
}

void ring_polls_submit(struct ctx_ring *ring)
{
	/* What the program has prepared in its own io_uring is the program's to submit. */
	bool idle = !ring->adopted || !uring_publish(ring->uring);

	if (list_empty(&ring->polls.todo))
		return;
	ring_polls_put(ring);
	if (idle)
		queue_flush(ring);
}

static void fire_rest(struct ctx_ring *ring, struct ring_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	list_splice(&ring->polls.todo, &ring->polls.resting);
}

/*
 * poll ended without an event: by a cancel of the program's that matched everything, for want of memory, or
 * with half a hang-up where there is no multishot poll. It is tried again after a rest.
 */
static void rest_poll(struct ctx_ring *ring, struct ring_poll *poll)
{
	int result = poll->result;

	if (result == -EINVAL && poll->edge)
		ring->features.multishot_poll = poll->edge = false;
	else if (result < 0 && result != -ECANCELED && result != -ENOMEM && result != -EAGAIN &&
		 result != -EINTR)
		return; /* the descriptor was closed before the kernel saw the poll */
	list_append(&ring->polls.resting, &poll->link);
	ring->polls.rest.fire = fire_rest;
	if (!heap_contains(&ring->polls.rest.node))
		ring_timer_set(ring, &ring->polls.rest, clock_now_ns() + REST_NS);
}

void ring_polls_deliver(struct ctx_ring *ring)
{
	list_splice(&ring->polls.delivering, &ring->polls.fired);
	while (!list_empty(&ring->polls.delivering) && ring_is_here(ring)) {
		struct ring_poll *poll = container_of(ring->polls.delivering.next, struct ring_poll, link);
		list_remove(&poll->link);
		if (poll->stopped && poll->cancelling)
			continue; /* the completion of its cancel comes */
		if (poll->stopped)
			remove_poll(ring, poll);
		else if (poll->result < 0 || !ring_poll_events_of(poll, poll->result))
			rest_poll(ring, poll);
		else
			poll->ready(ring, poll, ring_poll_events_of(poll, poll->result));
	}
}

void ring_polls_stop_all(struct ctx_ring *ring)
{
	for (uint32_t i = 0; i < ring->polls.capacity; i++) {
		struct ring_poll *poll = ring->polls.all[i];
		if (poll && !poll->stopped)
			poll->closed(ring, poll);
	}
}

bool ring_polls_left(struct ctx_ring *ring)
{
	ring_polls_put(ring);
	return ring->polls.in_kernel;
}

void ring_polls_free(struct ctx_ring *ring)
{
	for (uint32_t i = 0; i < ring->polls.capacity; i++) {
		struct ring_poll *poll = ring->polls.all[i];
		if (poll && !poll->stopped)
			poll->closed(ring, poll);
		if (poll)
			remove_poll(ring, poll);
	}
	ring_timer_stop(ring, &ring->polls.rest);
	memory_release(ring->polls.all);
	memory_release(ring->polls.free_places);
}
