/* SPDX-License-Identifier: MIT */
/* Operations that wait in the ring's own memory until their descriptor is ready. How and why: park.c. */
#ifndef CTX_PARK_H
#define CTX_PARK_H

#include "ring.h"

/* Makes what a ring needs to park. 0 or -errno; once it is there nothing is done. */
int park_open(struct ctx_ring *ring);

/* In a forked child: closes the copy of its descriptor. */
void park_close_fd(struct ctx_ring *ring);

/* Ends its wait in the kernel, and frees it. In a forked child only the memory. */
void park_close(struct ctx_ring *ring);
void park_free(struct ctx_ring *ring);

/*
 * The operation at the head of ring->ops.waiting, which stands alone and is not refused. 1: parked, or on its
 * way as an attempt. 0: it goes the usual way. -errno: there is no memory for it.
 */
int park_admit(struct ctx_ring *ring, struct operation *op, uint64_t now_ns);

/* Gives the kernel the attempts that are due, and the wait for readiness. 0, or why it takes no more now. */
int park_push(struct ctx_ring *ring);

/* Attempts are made and answered, and parked again, so that ending them needs no kernel. */
void park_finish_attempts(struct ctx_ring *ring);

/* All that is parked on p so. */
struct park_fd;
void park_end_fd(struct ctx_ring *ring, struct park_fd *p, int res, enum ctx_op_end end);

/* A number that the kernel has just given out: whatever was known of it is of another file. */
void park_returned(struct ctx_ring *ring, int fd);

#endif
