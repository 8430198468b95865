/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "ctxring.h"
#include "debug.h"
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

static struct lock lock; /* guards chosen until in_use is set */
static struct ctx_allocator chosen = {.allocate = allocate_default, .release = release_default};
/* Set by the first allocation: from then on chosen is constant. Its store, under lock, is the partner of the
 * load in memory_allocate(), so that who sees it set sees chosen as it stays. */
static _Atomic bool in_use;

static __attribute__((noinline, cold)) void fix_allocator(void)
{
	lock_acquire(&lock);
	atomic_store(&in_use, true);
	lock_release(&lock);
}

int ctx_set_allocator(const struct ctx_allocator *allocator)
{
	if (!allocator || !allocator->allocate || !allocator->release)
		return debug_invalid("one of its functions is NULL", allocator);
	lock_acquire(&lock);
	bool late = atomic_load(&in_use);
	if (!late)
		chosen = *allocator;
	lock_release(&lock);
	return late ? debug_error(-EBUSY, "the library has allocated memory already") : 0;
}

void *memory_allocate(size_t size)
{
	if (sys_fault(SYS_CALL_ALLOCATE))
		return NULL;
	if (__builtin_expect(!atomic_load_explicit(&in_use, memory_order_acquire), 0))
		fix_allocator();
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

/* This constructor runs before the others of the library that register locks, so that at a fork this lock is
 * taken after theirs: a thread allocates while it holds another lock, never the other way round. */
__attribute__((constructor(102))) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_done, fork_done);
}
