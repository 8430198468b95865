/* SPDX-License-Identifier: MIT */
/* What the library knows about the calling thread without a system call, and how it starts threads. */
#ifndef CTX_THREAD_H
#define CTX_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct thread {
	uint32_t tid; /* gettid(2), 0 before the first thread_self() and in a forked child */
	/*
	 * No other thread of the process ever has it, unlike tid. 0: not given yet, as in a forked child,
	 * whose only thread gets another one than it had in the parent.
	 */
	uint64_t serial;
};

/* Hidden, as the whole library is, so that it is found without a look into a table of addresses. */
#define THREAD_HIDDEN __attribute__((visibility("hidden")))

extern __thread struct thread thread_state __attribute__((tls_model("initial-exec"))) THREAD_HIDDEN;

/* The fork count: 0 in the process that loaded the library, and one more in each child than in its parent. */
extern uint32_t thread_fork_count THREAD_HIDDEN;

/* In a forked child: the serial that its only thread had in the parent, where it called fork(2). */
extern uint64_t thread_forked_serial THREAD_HIDDEN;

/* Fills thread_state in, for thread_self(). */
struct thread *thread_setup(void);

static inline struct thread *thread_self(void)
{
	return __builtin_expect(thread_state.tid != 0, 1) ? &thread_state : thread_setup();
}

/* Names the calling thread, which thread_start() made, and protects it from pthread_cancel(3). A thread of
 * the library calls this first. */
void thread_begin(const char *name);

/*
 * thread_hold() and thread_release() stand around a function of the program that the library calls while its
 * own work is unfinished. A cancellation point in that function does not end the thread; the first one after
 * the library has returned does.
 */
static inline int thread_hold(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static inline void thread_release(int state)
{
	pthread_setcancelstate(state, NULL);
}

/*
 * Starts a detached thread of the library with all signals blocked. stack_size is what function needs; 0 is
 * the system's default. The program's thread-local variables, which lie on the same stack, are added to it.
 * Returns 0; -EAGAIN: there may be no more threads, or there is no memory for the stack; or another error of
 * pthread_create(3).
 */
int thread_start(void *(*function)(void *), void *argument, size_t stack_size);

#endif
