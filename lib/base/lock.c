/* SPDX-License-Identifier: MIT */
#include "lock.h"

/* Spin for about as long as a running holder keeps the lock; sleeping costs more. */
#define SPINS 100

static bool is_held_here(uint32_t word)
{
	return word != 0 && word >> LOCK_FORKS_SHIFT == lock_word(0) >> LOCK_FORKS_SHIFT;
}

bool lock_wait(struct lock *lock)
{
	const uint32_t taken = lock_word(LOCK_SLEEPERS);
	uint32_t before;

	for (int i = 0; i < SPINS; i++) {
		spin_pause();
		if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 && lock_try(lock))
			return false;
	}
	/* A thread that slept cannot know whether others still do: it takes the lock as one with sleepers. */
	while (is_held_here(before = atomic_exchange_explicit(&lock->word, taken, memory_order_acquire)))
		sys_futex_wait(&lock->word, taken, NULL);
	return before != 0;
}
