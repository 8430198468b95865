/* SPDX-License-Identifier: MIT */
#include "chain.h"

#include "ring.h"

struct operation *chain_end(struct operation *member)
{
	const struct operation *neighbour = member->chain_prev ? member->chain_prev : member->chain_next;
	struct operation *head = member;

	if (!neighbour || (neighbour->marks & OP_ENDING))
		return NULL;
	for (struct operation *op = member->chain_next; op; op = op->chain_next)
		op_mark(op, OP_EXPLICIT);
	for (; head->chain_prev; op_mark(head, OP_EXPLICIT))
		head = head->chain_prev;
	/* Only what this thread has acted on counts: a context may have ended while its group has not. */
	if (head == member || (head->marks & OP_CANCEL_SENT) || head->group->ended)
		return NULL;
	list_remove(&head->link);
	return head;
}

void chain_cancel(struct ctx_ring *ring, struct operation *op)
{
	struct operation *head;

	op_mark(op, OP_EXPLICIT);
	head = chain_end(op);
	if (!op->chain_prev) {
		list_remove(&op->link);
		head = op;
	}
	if (head)
		list_append(&ring->ops.singles, &head->link);
}
