/* SPDX-License-Identifier: MIT */
/* Writes to the journals of the table which batches are over, and, while somebody records, which operations.
 */
#ifndef CTX_PAST_OPERATION_H
#define CTX_PAST_OPERATION_H

#include "journal.h"
#include "ring.h"

/* Writes a batch whose operations have all ended. */
void past_write_batch(const struct ctx_ring *ring, const struct batch *batch);

/* Writes the operation in slot, which is about to be freed, unless past_write_queued() has. */
void past_write_operation(struct ctx_ring *ring, struct slot *slot, int result);

static inline void past_operation_ended(struct ctx_ring *ring, struct slot *slot, int result)
{
	if (control_is_on())
		past_write_operation(ring, slot, result);
}

/*
 * Writes the operations whose plain final completions are in the queue from head to end, before they are
 * delivered. One look for the whole queue, so that nothing is asked at each operation.
 */
void past_write_queued(struct ctx_ring *ring, unsigned head, unsigned end);

static inline void past_operations_queued(struct ctx_ring *ring, unsigned head, unsigned end)
{
	if (control_is_on())
		past_write_queued(ring, head, end);
}

/* The time for the records of operations that are submitted. Exact only while somebody records. */
static inline uint64_t past_submit_ns(void)
{
	return control_is_on() ? clock_now_ns() : clock_coarse_ns();
}

#endif
