/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "ctxring.h"
#include "lock.h"

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

static struct lock lock; /* guards chosen until it is in use */
static struct ctx_allocator chosen = {.allocate = allocate_default, .release = release_default};
static _Atomic bool in_use; /* with the first allocation; from then on chosen is constant */

static void settle(void)
{
	lock_acquire(&lock);
	atomic_store(&in_use, true);
	lock_release(&lock);
}

int ctx_set_allocator(const struct ctx_allocator *allocator)
{
	if (!allocator || !allocator->allocate || !allocator->release)
		return -EINVAL;
	lock_acquire(&lock);
	bool late = atomic_load(&in_use);
	if (!late)
		chosen = *allocator;
	lock_release(&lock);
	return late ? -EBUSY : 0;
}

void *memory_allocate(size_t size)
{
	if (sys_fault(SYS_CALL_ALLOCATE))
		return NULL;
	if (__builtin_expect(!atomic_load_explicit(&in_use, memory_order_acquire), 0))
		settle();
	return chosen.allocate(size, chosen.data);
}

void memory_release(void *memory)
{
	if (memory)
		chosen.release(memory, chosen.data);
}

/* ---- fork */

static void fork_prepare(void)
{
	lock_acquire(&lock);
}

static void fork_done(void)
{
	lock_release(&lock);
}

/* Before other constructors of the library, so that it is the last lock taken: others are held by who
 * allocates. */
__attribute__((constructor(102))) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_done, fork_done);
}
