/* SPDX-License-Identifier: MIT */
/*
 * Operations that wait in the kernel first, and are parked when they have waited for long (OP_LATE).
 *
 * To park is worth its price only for a long wait. A new descriptor has to be put into the epoll set and
 * taken out again, the kernel is asked what kind of socket it is, a first attempt is in vain, and data comes
 * two turns through the kernel later. With connections that come and go, a server of which each wait was
 * parked at once served 0.8 to 0.9 of the requests that it served with receives pending in the kernel, with
 * 1.2 to 1.4 times the processor time for each.
 *
 * So an operation of a ring with CTX_RING_PARK is given to the kernel as one that waits, which costs what it
 * costs without parking. A sweep looks at these operations once in park_late_after_ns. Those that have waited
 * at least that long are taken out of the kernel by a cancel, and parked. Their descriptors are marked
 * PARK_LONG: the next operation on such a descriptor parks at once, which costs no system call, since the
 * descriptor is in the epoll set and known not to be ready. A short wait takes the mark away again.
 *
 * The time is short because the kernel keeps the 256 bytes of a request for later ones when it has ended,
 * until the ring is closed: what counts for its memory is how many operations were ever pending at a time.
 */
#ifndef CTX_PARK_LATE_H
#define CTX_PARK_LATE_H

#include "park_note.h" /* park_late_after_ns */

/* An operation with OP_LATE has been given to the kernel: counts it, and has a sweep come. */
void park_late_begin(struct ctx_ring *ring);

#endif
