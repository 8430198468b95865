/* SPDX-License-Identifier: MIT */
/*
 * A lock of four bytes. Each context has two locks, and a pthread mutex would have forty bytes. The low
 * two bits are 0: free, 1: held, or 2: held with sleepers (Drepper, "Futexes are tricky", 2011).
 *
 * The bits above say in which process the lock is held, as the fork count (thread_fork_count). A lock that
 * another thread held when a process forked would stay held in the child for ever. The child's fork count
 * differs: its first thread that wants the lock takes it over, and is told that what the lock guards may be
 * half changed, as by a robust mutex. Where the result of lock_acquire() is ignored, the lock guards nothing
 * that a child inherits.
 */
#ifndef CTX_LOCK_H
#define CTX_LOCK_H

#include <stdatomic.h>

#include "sys.h"
#include "thread.h"

#define LOCK_HELD 1u
#define LOCK_SLEEPERS 2u
#define LOCK_STATE 3u
#define LOCK_FORKS_SHIFT 2

struct lock {
	_Atomic uint32_t word; /* lock_try() and lock_wait() acquire, lock_release() releases */
};

/* Between two looks at a word that another processor is about to write. */
static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* The word of a lock that this process holds: state is LOCK_HELD or LOCK_SLEEPERS. */
static inline uint32_t lock_word(uint32_t state)
{
	return thread_fork_count << LOCK_FORKS_SHIFT | state;
}

static inline bool lock_try(struct lock *lock)
{
	uint32_t free = 0;
	return atomic_compare_exchange_strong_explicit(&lock->word, &free, lock_word(LOCK_HELD),
						       memory_order_acquire, memory_order_relaxed);
}

/* The slow way of lock_acquire(): spins, then sleeps. Returns what that returns. */
bool lock_wait(struct lock *lock);

/* True: the lock was taken over from a thread that is not in this process, but was in its parent. */
static inline bool lock_acquire(struct lock *lock)
{
	return __builtin_expect(!lock_try(lock), 0) && lock_wait(lock);
}

static inline void lock_release(struct lock *lock)
{
	uint32_t before = atomic_exchange_explicit(&lock->word, 0, memory_order_release);

	if (__builtin_expect((before & LOCK_STATE) == LOCK_SLEEPERS, 0))
		sys_futex_wake(&lock->word, 1);
}

#endif
