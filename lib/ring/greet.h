/* SPDX-License-Identifier: MIT */
#ifndef CTX_GREET_H
#define CTX_GREET_H

#include "ring.h"

/* Sends the greeting unless that was done. True: the library's other requests may follow. */
bool greet_kernel(struct ctx_ring *ring);

/*
 * Puts a request of which only the answer matters into the queue; the answer comes to ring->requests.answer.
 * False: there is no room for it.
 */
bool greet_ask(struct ctx_ring *ring, unsigned opcode, unsigned sqe_flags, unsigned len);

/*
 * Submits, and notes the completions that are there. What is submitted may be the head of a chain without
 * successor: nothing else is in the queue then.
 */
void greet_look(struct ctx_ring *ring);

#endif
