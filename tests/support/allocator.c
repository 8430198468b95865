/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "list.h"
#include "support/contexts.h"

static unsigned blocks;
static size_t bytes;

struct counted {
	_Alignas(64) size_t size;
	_Alignas(64) char memory[];
};

static void *count_allocate(size_t size, void *data)
{
	struct counted *counted = aligned_alloc(64, sizeof(*counted) + (size + 63) / 64 * 64);

	if (!counted)
		return NULL;
	ck_assert_ptr_eq(data, &blocks);
	counted->size = size;
	__atomic_fetch_add(&blocks, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&bytes, size, __ATOMIC_RELAXED);
	return counted->memory;
}

static void count_release(void *memory, void *data)
{
	struct counted *counted = container_of(memory, struct counted, memory);

	ck_assert_ptr_eq(data, &blocks);
	__atomic_fetch_sub(&blocks, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&bytes, counted->size, __ATOMIC_RELAXED);
	free(counted);
}

void counting_allocator_use(void)
{
	static const struct ctx_allocator allocator = {count_allocate, count_release, &blocks};

	ck_assert_ok(ctx_set_allocator(&allocator));
}

unsigned counting_allocator_blocks(void)
{
	return __atomic_load_n(&blocks, __ATOMIC_RELAXED);
}

size_t counting_allocator_bytes(void)
{
	return __atomic_load_n(&bytes, __ATOMIC_RELAXED);
}
