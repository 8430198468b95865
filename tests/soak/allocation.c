/* SPDX-License-Identifier: MIT */
#include "soak/allocation.h"

#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "soak/verdict.h"

#define GUARD 0xc7815ea5c7815ea5ull
#define RELEASED 0xdd

struct block {
	_Alignas(64) uint64_t size;
	uint64_t before[7];
	_Alignas(64) char memory[];
};

static _Atomic uint64_t blocks;

static uint64_t *guard_behind(struct block *block)
{
	return (uint64_t *)(block->memory + (block->size + 7) / 8 * 8);
}

static void *take(size_t size, void *unused)
{
	struct block *block;

	(void)unused;
	/* Sanitizers see more of blocks that are their own. */
	if (verdict_run.sanitized) {
		count(&blocks);
		return malloc(size);
	}
	block = aligned_alloc(64, sizeof(*block) + (size + 8 + 7 + 63) / 64 * 64);
	if (!block)
		return NULL;
	block->size = size;
	for (unsigned i = 0; i < 7; i++)
		block->before[i] = GUARD;
	*guard_behind(block) = GUARD;
	count(&blocks);
	return block->memory;
}

static void release(void *memory, void *unused)
{
	struct block *block = (struct block *)((char *)memory - offsetof(struct block, memory));

	(void)unused;
	__atomic_fetch_sub((uint64_t *)&blocks, 1, __ATOMIC_RELAXED);
	if (verdict_run.sanitized) {
		free(memory);
		return;
	}
	for (unsigned i = 0; i < 7; i++)
		must(block->before[i] == GUARD, "memory before a block of %llu bytes was written",
		     (unsigned long long)block->size);
	must(*guard_behind(block) == GUARD, "memory behind a block of %llu bytes was written",
	     (unsigned long long)block->size);
	memset(block->memory, RELEASED, block->size);
	block->before[0] = 0; /* it is released twice if that is found */
	free(block);
}

void allocation_use(void)
{
	static const struct ctx_allocator allocator = {take, release, NULL};

	must(ctx_set_allocator(&allocator) == 0, "the library has allocated already");
}

uint64_t allocation_blocks(void)
{
	return blocks;
}
