/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "clock.h"
#include "list.h"
#include "lock.h"
#include "thread.h"

uint64_t pool_idle_ns = 10 * NS_PER_SECOND;

/* pool_thread.word */
enum {
	AWAKE,	  /* has no job yet, and will look at word before it sleeps */
	GIVEN,	  /* job is set */
	SLEEPING, /* as AWAKE, and has to be woken */
};

/* On its own thread's stack. */
struct pool_thread {
	struct list link; /* in pool.idle, or alone; pool lock */
	struct pool_job *job;
	_Atomic uint32_t word; /* its store of GIVEN publishes job */
	bool released;	       /* this job's run has called pool_release; its own thread's */
};

static struct {
	struct lock lock;
	struct list idle; /* the latest first: its stack is the warmest, and the others age */
} pool = {.idle = {&pool.idle, &pool.idle}};

void pool_release(struct pool_thread *thread)
{
	thread->released = true;
	atomic_store_explicit(&thread->word, AWAKE, memory_order_relaxed);
	lock_acquire(&pool.lock);
	list_insert(&pool.idle, &thread->link);
	lock_release(&pool.lock);
}

/* Takes the thread out of the idle ones. False: somebody has just done so, and a job comes. */
static bool leave_idle(struct pool_thread *thread)
{
	lock_acquire(&pool.lock);
	bool idle = !list_empty(&thread->link);
	list_remove(&thread->link);
	lock_release(&pool.lock);
	return idle;
}

/* False: nothing came for a while, and nothing will. */
static bool await_job(struct pool_thread *thread)
{
	struct timespec until = clock_timespec(clock_after_ns(clock_now_ns(), pool_idle_ns));
	const struct timespec *bound = &until;
	uint32_t before = AWAKE;

	atomic_compare_exchange_strong_explicit(&thread->word, &before, SLEEPING, memory_order_acquire,
						memory_order_acquire);
	while (atomic_load_explicit(&thread->word, memory_order_acquire) != GIVEN) {
		if (sys_futex_wait(&thread->word, SLEEPING, bound) != -ETIMEDOUT)
			continue;
		if (leave_idle(thread))
			return false;
		bound = NULL;
	}
	return true;
}

static void *run_jobs(void *first)
{
	struct pool_thread thread = {.job = first};
	uint32_t forks = thread_fork_count;

	thread_begin("ctx-task");
	list_init(&thread.link);
	do {
		struct pool_job *job = thread.job;
		thread.released = false;
		job->run(job, &thread);
		if (forks != thread_fork_count)
			break; /* it forked, and this is the child */
		if (!thread.released)
			pool_release(&thread);
	} while (await_job(&thread));
	return NULL;
}

static struct pool_thread *take_idle(void)
{
	struct pool_thread *thread = NULL;

	lock_acquire(&pool.lock);
	if (!list_empty(&pool.idle)) {
		thread = container_of(pool.idle.next, struct pool_thread, link);
		list_remove(&thread->link);
	}
	lock_release(&pool.lock);
	return thread;
}

int pool_run(struct pool_job *job)
{
	struct pool_thread *thread = take_idle();

	if (!thread)
		return thread_start(run_jobs, job, 0);
	thread->job = job;
	/* Then it may be gone, with its stack; a wake of what lies there now is a spurious one. */
	if (atomic_exchange_explicit(&thread->word, GIVEN, memory_order_release) == SLEEPING)
		sys_futex_wake(&thread->word, 1);
	return 0;
}

/* The idle threads are the parent's, and so is a held lock. */
static void fork_child(void)
{
	pool.lock = (struct lock){0};
	list_init(&pool.idle);
}

__attribute__((constructor)) static void prepare_pool(void)
{
	pthread_atfork(NULL, NULL, fork_child);
}
