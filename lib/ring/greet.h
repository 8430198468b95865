/* SPDX-License-Identifier: MIT */
#ifndef CTX_GREET_H
#define CTX_GREET_H

#include "ring.h"

/* Submits the first request of ours, if that was not done yet. True: others may follow. */
bool greet_kernel(struct ctx_ring *ring);

/* A request whose answer alone matters; it comes to ring->requests.answer. False: there is no room for it. */
bool greet_ask(struct ctx_ring *ring, unsigned opcode, unsigned sqe_flags, unsigned len);

/* Submits, and notes what is there. What is asked may be a chain that goes no further: nothing else is in the
 * queue then. */
void greet_look(struct ctx_ring *ring);

#endif
