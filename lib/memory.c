/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "ctxring.h"
#include "sys.h"

/* Goes from OPEN by way of BUSY to CHOSEN, and for good to IN_USE with the first allocation. */
enum {
	OPEN,
	BUSY,
	CHOSEN,
	IN_USE
};

static _Atomic int phase = OPEN;
static struct ctx_allocator chosen; /* constant once in use */

static void *allocate_default(size_t size, void *data)
{
	(void)data;
	return malloc(size);
}

static void release_default(void *memory, void *data)
{
	(void)data;
	free(memory);
}

static void settle(void)
{
	int before = OPEN;

	if (atomic_compare_exchange_strong(&phase, &before, BUSY)) {
		chosen = (struct ctx_allocator){.allocate = allocate_default, .release = release_default};
		atomic_store(&phase, IN_USE);
	}
	while (atomic_load(&phase) != IN_USE) {
		before = CHOSEN;
		atomic_compare_exchange_strong(&phase, &before, IN_USE);
	}
}

int ctx_set_allocator(const struct ctx_allocator *allocator)
{
	int before = OPEN;

	if (!allocator || !allocator->allocate || !allocator->release)
		return -EINVAL;
	if (!atomic_compare_exchange_strong(&phase, &before, BUSY)) {
		before = CHOSEN;
		if (!atomic_compare_exchange_strong(&phase, &before, BUSY))
			return -EBUSY;
	}
	chosen = *allocator;
	atomic_store(&phase, CHOSEN);
	return 0;
}

void *memory_allocate(size_t size)
{
	if (sys_fault(SYS_CALL_ALLOCATE))
		return NULL;
	if (__builtin_expect(atomic_load_explicit(&phase, memory_order_acquire) != IN_USE, 0))
		settle();
	return chosen.allocate(size, chosen.data);
}

void memory_release(void *memory)
{
	if (memory)
		chosen.release(memory, chosen.data);
}
