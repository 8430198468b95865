/* SPDX-License-Identifier: MIT */
/* Linked operations: what the end of one does to the others. */
#ifndef CTX_CHAIN_H
#define CTX_CHAIN_H

struct ctx_ring;
struct operation;

/*
 * A chain is one unit: when one member ends all do, also those of contexts that go on, since in the kernel
 * nothing but the head can be found. So the whole chain is marked, and each of the others is cancelled
 * when it comes to be the head, see leave_chain(). Costs the length of the chain, once for each chain.
 *
 * member is marked already. Returns the head, in no list, if the caller is to have it cancelled. NULL: a
 * cancel of the head is on its way, or the head is member, or its group is to be gathered before the batch
 * goes.
 */
struct operation *chain_end(struct operation *member);

/* The kernel has op: it is cancelled by itself at the next occasion, and its chain with it. */
void chain_cancel(struct ctx_ring *ring, struct operation *op);

#endif
