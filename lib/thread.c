/* SPDX-License-Identifier: MIT */
#include "thread.h"

#include <signal.h>
#include <stdatomic.h>

#include "sys.h"

__thread struct thread thread_state;
uint32_t thread_fork_count;

static _Atomic uint32_t thread_count;

static void enter_child(void)
{
	thread_fork_count++;
	thread_state.tid = 0;
}

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(NULL, NULL, enter_child);
}

struct thread *thread_setup(void)
{
	if (!thread_state.index)
		thread_state.index = atomic_fetch_add(&thread_count, 1) + 1;
	thread_state.tid = (uint32_t)gettid();
	return &thread_state;
}

/* Signals are the program's: its own threads take them. */
int thread_start(void *(*function)(void *), void *argument, size_t stack_size)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;

	if (pthread_attr_init(&attributes))
		return -EAGAIN;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (stack_size)
		pthread_attr_setstacksize(&attributes, stack_size);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = sys_thread_create(&thread, &attributes, function, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return result ? -EAGAIN : 0;
}
