/* SPDX-License-Identifier: MIT */
#ifndef CTX_PARK_NOTE_H
#define CTX_PARK_NOTE_H

#include "ring.h"

/*
 * An attempt has completed so. True: the operation goes on waiting. False: it is final, and if op has
 * OP_RESULT now, with op->res.
 */
bool park_note_attempt(struct ctx_ring *ring, struct operation *op, int res, unsigned flags);

/* The wait for readiness has completed so. */
void park_note_readiness(struct ctx_ring *ring, int res);

#endif
