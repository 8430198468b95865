/* SPDX-License-Identifier: MIT */
#include "lock.h"

/* About what a holder needs who is not preempted; sleeping costs more. */
#define SPINS 100

static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

void lock_wait(struct lock *lock)
{
	for (int i = 0; i < SPINS; i++) {
		spin_pause();
		if (__atomic_load_n((uint32_t *)&lock->word, __ATOMIC_RELAXED) == 0 && lock_try(lock))
			return;
	}
	/* Whoever slept cannot know whether others do: it takes the lock as one with sleepers. */
	while (__atomic_exchange_n((uint32_t *)&lock->word, 2, __ATOMIC_ACQUIRE) != 0)
		sys_futex_wait(&lock->word, 2, NULL);
}
