/* SPDX-License-Identifier: MIT */
/* What the library knows of the calling thread, without a system call. */
#ifndef CTX_THREAD_H
#define CTX_THREAD_H

#include <stddef.h>
#include <stdint.h>

struct thread {
	uint32_t tid;	/* gettid(2), 0 before the first thread_self() and in a forked child */
	uint32_t index; /* small number, for choosing shards */
};

extern __thread struct thread thread_state __attribute__((tls_model("initial-exec")));

/* How often this process was forked off since the library was loaded: 0 in the first, one more in each child.
 */
extern uint32_t thread_fork_count;

/* Fills it in. */
struct thread *thread_setup(void);

static inline struct thread *thread_self(void)
{
	return __builtin_expect(thread_state.tid != 0, 1) ? &thread_state : thread_setup();
}

/* Starts a thread of the library's, detached, with all signals blocked. stack_size 0: the default. 0, or
 * -EAGAIN. */
int thread_start(void *(*function)(void *), void *argument, size_t stack_size);

#endif
