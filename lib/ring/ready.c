/* SPDX-License-Identifier: MIT */
/* Operations that end without a completion of the kernel. */
#include "counters.h"
#include "ring.h"

void ready_add(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	/* It ends as it was submitted. One without a group has no context to be counted for. */
	if (op->phase == OP_STAGED && op->group && !(op->marks & OP_BEGUN))
		counters_operations_begin(op->group->stem, 1);
	stage_leave(op);
	list_remove(&op->link);
	op->phase = OP_READY;
	op->res = res;
	op->end = (uint8_t)end;
	list_append(&ring->ops.ready, &op->link);
}
