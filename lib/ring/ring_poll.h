/* SPDX-License-Identifier: MIT */
/*
 * Polls of the library's own on a ring: they are no operations of the program, so nothing counts, drains or
 * reports them, and their completions are internal ones. Owner's thread only.
 *
 * A poll completes once. While the kernel has it, it holds the file, so a close(2) of the program's alone
 * sends no FIN: it is taken out as soon as nobody wants it any more.
 */
#ifndef CTX_RING_POLL_H
#define CTX_RING_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

struct ctx_ring;

struct ring_poll {
	struct list link; /* ring->polls.todo, ring->polls.fired, or alone */
	int fd;
	uint32_t events;
	uint32_t index;	 /* in ring->polls.all */
	uint32_t number; /* of its request */
	int32_t result;	 /* of its completion */
	bool in_kernel;	 /* has been put into the queue, and its completion has not been seen */
	bool cancelling; /* the same of a cancel of it */
	bool stopped;	 /* nobody wants it any more */
	bool edge;	 /* as a multishot poll: see poll_note_completion */
	/* In a dispatch, no lock held: these events are there. Then start it again or stop it. */
	void (*ready)(struct ctx_ring *ring, struct ring_poll *poll, uint32_t events);
	/* After ring_poll_stop: the kernel has let go of it, its memory is its maker's again. */
	void (*gone)(struct ring_poll *poll);
	/* The ring is being closed, or is a forked child's copy: stop it. */
	void (*closed)(struct ctx_ring *ring, struct ring_poll *poll);
};

/*
 * Gives it a place on the ring and hands it to the kernel, at once where that disturbs nobody, so that it is
 * this file and no later one of the same number. fd, events and functions are set. 0, -ENOMEM, or -EPERM: the
 * ring is being closed.
 */
int ring_poll_start(struct ctx_ring *ring, struct ring_poll *poll);

/* For one that was ready: hands it to the kernel again. */
void ring_poll_again(struct ctx_ring *ring, struct ring_poll *poll);

/* Takes it out with the next submission: gone is called in a dispatch, never in here. No system call. */
void ring_poll_stop(struct ctx_ring *ring, struct ring_poll *poll);

/* Submits what ring_poll_stop left, unless the program has something of its own in the queue. */
void ring_polls_submit(struct ctx_ring *ring);

#endif
