/* SPDX-License-Identifier: MIT */
/* Chains of linked operations: what the end of one member does to the others. */
#ifndef CTX_CHAIN_H
#define CTX_CHAIN_H

struct ctx_ring;
struct operation;

/*
 * Ends the chain of member, which is marked already. A chain is one unit: when one member ends, all do, also
 * those of contexts that go on. In the kernel nothing but the head of a chain can be found. So all members
 * are marked here, and each of them is cancelled when it becomes the head, see leave_chain() in note.c. Costs
 * the length of the chain, once for each chain.
 *
 * Returns the head, in no list, if the caller is to have it cancelled. NULL: a cancel of the head has been
 * sent, or the head is member, or the group of the head has ended and its batch gathers the head.
 */
struct operation *chain_end(struct operation *member);

/* Has op, which is in the kernel, cancelled by itself at the next opportunity, and its chain with it. */
void chain_cancel(struct ctx_ring *ring, struct operation *op);

#endif
