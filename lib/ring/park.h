/* SPDX-License-Identifier: MIT */
/* Operations that wait in the ring's own memory until their descriptor is ready. How and why: park.c. */
#ifndef CTX_PARK_H
#define CTX_PARK_H

#include "ring.h"

/* Makes what a ring needs for parking, unless it has it. 0 or -errno. */
int park_open(struct ctx_ring *ring);

/* In a forked child: closes the copy of the epoll set's descriptor. */
void park_close_fd(struct ctx_ring *ring);

/*
 * park_close ends the wait for readiness in the kernel, and park_free frees the memory. A forked child calls
 * park_free alone.
 */
void park_close(struct ctx_ring *ring);
void park_free(struct ctx_ring *ring);

/*
 * Parks op, if it may park. op is at the head of ring->ops.waiting, is in no chain and is not refused. 1: it
 * is parked, or on its way as an attempt. 0: it goes the usual way, as a request that may wait in the kernel.
 * -errno: there is no memory for it.
 */
int park_admit(struct ctx_ring *ring, struct operation *op, uint64_t now_ns);

/*
 * Gives the kernel the attempts that are due, and the wait for readiness. 0, or why the kernel takes no more
 * now.
 */
int park_push(struct ctx_ring *ring);

/*
 * Has all attempts made and answered, so that operations of attempts in vain are parked again and can be
 * ended without the kernel.
 */
void park_finish_attempts(struct ctx_ring *ring);

/* Ends all operations that are parked on p, with this result. */
struct park_fd;
void park_end_fd(struct ctx_ring *ring, struct park_fd *p, int res, enum ctx_op_end end);

/* The kernel has just given out this number: what was parked on it was on another file. */
void park_returned(struct ctx_ring *ring, int fd);

#endif
