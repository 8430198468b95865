/* SPDX-License-Identifier: MIT */
/*
 * Polls of the library's own on a ring. They are no operations of the program: they are not counted, drained
 * or reported, and their completions are internal ones. Only the ring's owner thread may use them.
 *
 * A poll completes once. While the kernel has it, the kernel holds the file, so that a close(2) of the
 * program's alone sends no FIN. So a poll is withdrawn as soon as nobody wants it any more.
 */
#ifndef CTX_RING_POLL_H
#define CTX_RING_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

struct ctx_ring;

struct ring_poll {
	struct list link; /* in ring->polls.todo, fired, delivering or resting, or in no list */
	int fd;
	uint32_t events;
	uint32_t index;	 /* in ring->polls.all */
	uint32_t number; /* of its request */
	int32_t result;	 /* of its completion */
	bool in_kernel;	 /* it has been put into the queue, and its completion has not been seen */
	bool cancelling; /* the same of a cancel of this poll */
	bool stopped;	 /* nobody wants it any more */
	bool edge;	 /* it is a multishot poll, see poll_note_completion() */
	/*
	 * Called in a dispatch, with no lock held: these events are there. Starts the poll again, or stops
	 * it.
	 */
	void (*ready)(struct ctx_ring *ring, struct ring_poll *poll, uint32_t events);
	/*
	 * Called in a dispatch after ring_poll_stop: the kernel has released the poll, and its memory is its
	 * maker's again.
	 */
	void (*gone)(struct ring_poll *poll);
	/* The ring is being closed, or is a forked child's copy. Stops the poll. */
	void (*closed)(struct ctx_ring *ring, struct ring_poll *poll);
};

/*
 * Starts poll, of which fd, events and the functions are set. Submits it at once where that disturbs nobody,
 * so that it is on this file and on no later one with the same number. 0, -ENOMEM, or -EPERM: the ring is
 * being closed.
 */
int ring_poll_start(struct ctx_ring *ring, struct ring_poll *poll);

/* Starts a poll again that was ready. */
void ring_poll_again(struct ctx_ring *ring, struct ring_poll *poll);

/*
 * Withdraws poll with the next submission. Its function gone is called in a dispatch, never in here. Makes no
 * system call.
 */
void ring_poll_stop(struct ctx_ring *ring, struct ring_poll *poll);

/* Submits the cancels of stopped polls, unless the program has something of its own in the queue. */
void ring_polls_submit(struct ctx_ring *ring);

#endif
