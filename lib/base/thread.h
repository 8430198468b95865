/* SPDX-License-Identifier: MIT */
/* What the library knows of the calling thread, without a system call; and how it starts its own. */
#ifndef CTX_THREAD_H
#define CTX_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct thread {
	uint32_t tid;	 /* gettid(2), 0 before the first thread_self() and in a forked child */
	uint64_t serial; /* of this thread alone in the life of the process, unlike tid; 0: not given yet */
};

extern __thread struct thread thread_state __attribute__((tls_model("initial-exec")));

/* How often this process was forked off since the library was loaded: 0 in the first, one more in each child.
 */
extern uint32_t thread_fork_count;

/* In a forked child: the serial of the thread that forked, which goes on here. */
extern uint64_t thread_forked_serial;

/* Fills it in. */
struct thread *thread_setup(void);

static inline struct thread *thread_self(void)
{
	return __builtin_expect(thread_state.tid != 0, 1) ? &thread_state : thread_setup();
}

/* The first call of a thread that thread_start() made: names it, and keeps pthread_cancel(3) from it. */
void thread_begin(const char *name);

/*
 * Round a function of the program's that the library calls in the middle of something: a cancellation point
 * in it does not end the thread, but the next one behind the library's call.
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
 * Starts a thread of the library's, detached, with all signals blocked. stack_size is what it needs (0: as
 * much as threads have that ask for nothing); the program's thread-local variables, which lie on the same
 * stack, come on top. 0; -EAGAIN: no more threads, or no memory for its stack; or what else pthread_create(3)
 * says.
 */
int thread_start(void *(*function)(void *), void *argument, size_t stack_size);

#endif
