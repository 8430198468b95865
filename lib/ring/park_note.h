/* SPDX-License-Identifier: MIT */
#ifndef CTX_PARK_NOTE_H
#define CTX_PARK_NOTE_H

#include "ring.h"

/*
 * How long an operation waits in the kernel before it is parked (park_late.h), at most twice that. 0: it is
 * parked at once; tests set that.
 */
extern _Atomic uint64_t park_late_after_ns;

/*
 * Notes the completion of an attempt. True: the operation goes on waiting. False: it is final, with op->res
 * as its result if it has OP_RESULT now.
 */
bool park_note_attempt(struct ctx_ring *ring, struct operation *op, int res, unsigned flags);

/* Notes the completion of the wait for readiness. */
void park_note_readiness(struct ctx_ring *ring, int res);

#endif
