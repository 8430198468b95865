/* SPDX-License-Identifier: MIT */
/*
 * A lock of four bytes: contexts have two each, and a pthread mutex has forty.
 * 0 free, 1 held, 2 held with sleepers (Drepper, "Futexes are tricky", 2011).
 */
#ifndef CTX_LOCK_H
#define CTX_LOCK_H

#include "sys.h"

struct lock {
	_Atomic uint32_t word;
};

static inline bool lock_try(struct lock *lock)
{
	uint32_t free = 0;
	return __atomic_compare_exchange_n((uint32_t *)&lock->word, &free, 1, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

void lock_wait(struct lock *lock);

static inline void lock_acquire(struct lock *lock)
{
	if (__builtin_expect(!lock_try(lock), 0))
		lock_wait(lock);
}

static inline void lock_release(struct lock *lock)
{
	if (__builtin_expect(__atomic_exchange_n((uint32_t *)&lock->word, 0, __ATOMIC_RELEASE) == 2, 0))
		sys_futex_wake(&lock->word, 1);
}

#endif
