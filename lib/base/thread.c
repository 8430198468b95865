/* SPDX-License-Identifier: MIT */
#include "thread.h"

#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "sys.h"

/* A stack that the C library refuses as too small is doubled, up to this size. */
#define STACK_MAX (1ul << 30)

__thread struct thread thread_state;
uint32_t thread_fork_count;
uint64_t thread_forked_serial;

static _Atomic uint64_t thread_count;
static size_t thread_local_size; /* of all modules that are loaded when the library is */

static void enter_child(void)
{
	thread_fork_count++;
	thread_forked_serial = thread_state.serial;
	thread_state.tid = 0;
	thread_state.serial = 0;
}

static int add_thread_locals(struct dl_phdr_info *module, size_t size, void *data)
{
	size_t *sum = data;

	(void)size;
	for (unsigned i = 0; i < module->dlpi_phnum; i++)
		if (module->dlpi_phdr[i].p_type == PT_TLS)
			*sum += module->dlpi_phdr[i].p_memsz + module->dlpi_phdr[i].p_align;
	return 0;
}

/*
 * This constructor runs before all others of the library, so that thread_fork_count is right in all child
 * handlers. The size of the thread-local variables is asked for once, here: those of modules that are loaded
 * later do not lie on the stack, and dl_iterate_phdr(3) takes a lock that another thread may hold when a
 * process forks.
 */
__attribute__((constructor(101))) static void prepare_threads(void)
{
	dl_iterate_phdr(add_thread_locals, &thread_local_size);
	pthread_atfork(NULL, NULL, enter_child);
}

/* This bit is above all thread ids that the kernel gives. */
#define TID_OWN 0x40000000u

/* Where a filter forbids gettid(2), tid is a number of our own that no other thread has. */
struct thread *thread_setup(void)
{
	int tid = gettid();

	if (!thread_state.serial)
		thread_state.serial = atomic_fetch_add(&thread_count, 1) + 1;
	thread_state.tid = tid > 0 ? (uint32_t)tid : TID_OWN | (thread_state.serial & (TID_OWN - 1));
	return &thread_state;
}

/* Creates the thread. The C library refuses a stack in which thread-local variables and its own data leave no
 * room: then it is tried with twice the size. */
static int create_thread(pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
	size_t size;
	pthread_t thread;
	int result = sys_thread_create(&thread, attributes, function, argument);

	while (result == -EINVAL && !pthread_attr_getstacksize(attributes, &size) && size < STACK_MAX &&
	       !pthread_attr_setstacksize(attributes, 2 * size))
		result = sys_thread_create(&thread, attributes, function, argument);
	return result;
}

void thread_begin(const char *name)
{
	prctl(PR_SET_NAME, name);
	thread_hold();
}

/* Signals are blocked in the new thread: they are for the program's own threads. */
int thread_start(void *(*function)(void *), void *argument, size_t stack_size)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int error = pthread_attr_init(&attributes);

	if (error)
		return -error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (stack_size || !pthread_attr_getstacksize(&attributes, &stack_size))
		pthread_attr_setstacksize(&attributes, stack_size + thread_local_size);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = create_thread(&attributes, function, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return result;
}
