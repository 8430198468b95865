/* SPDX-License-Identifier: MIT */
/* Operations that end without a completion of the kernel. */
#include "ring.h"

void ready_add(struct ctx_ring *ring, struct operation *op, int res, enum ctx_op_end end)
{
	stage_leave(op);
	list_remove(&op->link);
	op->phase = OP_READY;
	op->res = res;
	op->end = (uint8_t)end;
	list_append(&ring->ops.ready, &op->link);
}
