/* SPDX-License-Identifier: MIT */
/* Operations that wait in the ring's own memory until their descriptor is ready. How and why: park.c. */
#ifndef CTX_PARK_H
#define CTX_PARK_H

#include "ring.h"

/* Makes what a ring needs to park. 0 or -errno; once it is there nothing is done. */
int park_open(struct ctx_ring *ring);

/* In a forked child: closes the copy of its descriptor. */
void park_forget_fd(struct ctx_ring *ring);

/* Ends its wait in the kernel, and frees it. In a forked child only the memory. */
void park_close(struct ctx_ring *ring);
void park_free(struct ctx_ring *ring);

/*
 * The operation at the head of ring->waiting, which stands alone and is not refused. 1: parked, or on its way
 * as an attempt. 0: it goes the usual way. -errno: there is no memory for it.
 */
int park_admit(struct ctx_ring *ring, struct operation *op, uint64_t now_ns);

/* An operation of a parking ring goes the usual way: it counts among what its fd has pending in the kernel.
 */
void park_count(struct ctx_ring *ring, struct operation *op);
void park_uncount(struct ctx_ring *ring, struct operation *op);

/* Gives the kernel the attempts that are due, and the wait for readiness. 0, or why it takes no more now. */
int park_push(struct ctx_ring *ring);

/* Some attempt is due. */
bool park_is_due(const struct ctx_ring *ring);

/* park_push has something to do, so that a wait would be one for what nobody tells of. */
bool park_needs_push(const struct ctx_ring *ring);

/*
 * An attempt has completed so. True: the operation goes on waiting. False: it is final, and if op has
 * OP_RESULT now, with op->res.
 */
bool park_note(struct ctx_ring *ring, struct operation *op, int res, unsigned flags);

/* The wait for readiness has completed so. */
void park_note_readiness(struct ctx_ring *ring, int res);

/* Attempts are made and answered, and parked again, so that ending them needs no kernel. */
void park_settle(struct ctx_ring *ring);

/* All that is parked of a group that ended: to ring->ready, in one step. */
void park_end_group(struct group *group);

/* Takes op, which is OP_PARKED, out of its queue and completes it with this, unless it has come to something
 * already. */
void park_end(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end);

/* All that is parked on p so. */
struct park_fd;
void park_end_fd(struct ctx_ring *ring, struct park_fd *p, int res, enum ctx_op_end end);

/* Cancels what the kernel holds on fd with all of these marks. */
void park_cancel_waiting(struct ctx_ring *ring, int fd, unsigned marks);

/* As park_end for one in ring->ready by park_end_group, which is about to be delivered: sets res and end. */
void park_leave(struct operation *op);

/* A number that the kernel has just given out: whatever was known of it is of another file. */
void park_returned(struct ctx_ring *ring, int fd);

#endif
