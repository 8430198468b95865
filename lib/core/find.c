/* SPDX-License-Identifier: MIT */
#include "find.h"

#include <linux/membarrier.h>

#include "sys.h"

_Atomic uint32_t find_active;

/* Held by the thread that looks a node up. */
static struct lock find_lock;

int find_enable(void)
{
	return sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) ? -ENOTSUP : 0;
}

void find_wait(void)
{
	lock_acquire(&find_lock);
	lock_release(&find_lock);
}

/*
 * All threads see find_active. If the record says, under its sequence count, that the context is live, then
 * its address is that of the node: a thread that frees the node afterwards waits for us.
 */
static struct ctx_context *pin_context(uint32_t slot, uint32_t generation)
{
	const struct ctx_table_header *header = table_map.header;

	if (!header || !slot || slot >= atomic_load_explicit(&header->contexts.used, memory_order_acquire))
		return NULL;
	struct ctx_table_context *record = table_context(slot);
	uint32_t seq = atomic_load_explicit(&record->seq, memory_order_acquire);
	uintptr_t address = atomic_load_explicit(&record->done_site, memory_order_acquire);
	bool live = atomic_load_explicit(&record->generation, memory_order_relaxed) == generation &&
		    atomic_load_explicit(&record->state, memory_order_acquire) == CTX_TABLE_LIVE;
	atomic_thread_fence(memory_order_acquire);
	/* An odd or changed count: the context is just being made, and nobody knows it yet, or it is just
	 * ending. */
	if (!live || !address || seq & 1 || atomic_load_explicit(&record->seq, memory_order_relaxed) != seq)
		return NULL;
	struct ctx_context *ctx = (struct ctx_context *)address;
	return node_pin(ctx) ? ctx : NULL;
}

struct ctx_context *context_find(uint64_t id)
{
	struct ctx_context *ctx = NULL;

	lock_acquire(&find_lock);
	atomic_store(&find_active, 1);
	if (!sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
		ctx = pin_context((uint32_t)id, (uint32_t)(id >> 32));
	atomic_store(&find_active, 0);
	lock_release(&find_lock);
	return ctx;
}

static void fork_prepare(void)
{
	lock_acquire(&find_lock);
}

static void fork_parent(void)
{
	lock_release(&find_lock);
}

static void fork_child(void)
{
	find_lock = (struct lock){0};
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
