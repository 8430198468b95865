/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "clock.h"
#include "list.h"
#include "lock.h"
#include "thread.h"

uint64_t pool_idle_ns = 10 * NS_PER_SECOND;

/* pool_thread.word */
enum {
	AWAKE,	  /* the thread has no job, and looks at word before it sleeps */
	GIVEN,	  /* the thread's next job is set */
	SLEEPING, /* the thread sleeps without a job: who gives it one wakes it */
};

/* A thread of the pool. It lies on the stack of that thread. */
struct pool_thread {
	struct list link; /* in pool.idle, or alone; under the pool's lock */
	struct pool_job *job;
	_Atomic uint32_t word; /* storing GIVEN in pool_give publishes job to await_job */
	/* The run of the current job has called pool_release. Only this thread uses it. */
	bool released;
};

static struct {
	struct lock lock;
	unsigned idle_count, promised; /* promised of the idle threads are set aside */
	struct list idle; /* the thread that became idle last comes first: its stack is still in the caches */
} pool = {.idle = {&pool.idle, &pool.idle}};

void pool_release(struct pool_thread *thread)
{
	thread->released = true;
	atomic_store_explicit(&thread->word, AWAKE, memory_order_relaxed);
	lock_acquire(&pool.lock);
	list_insert(&pool.idle, &thread->link);
	pool.idle_count++;
	lock_release(&pool.lock);
}

/* Takes the thread out of the idle ones, so that it can end. False: a job was given to it, or the idle
 * threads are set aside. */
static bool leave_idle(struct pool_thread *thread)
{
	lock_acquire(&pool.lock);
	bool leaves = !list_empty(&thread->link) && pool.idle_count > pool.promised;
	if (leaves) {
		list_remove(&thread->link);
		pool.idle_count--;
	}
	lock_release(&pool.lock);
	return leaves;
}

static bool await_job_until(struct pool_thread *thread, const struct timespec *until)
{
	while (atomic_load_explicit(&thread->word, memory_order_acquire) != GIVEN)
		if (sys_futex_wait(&thread->word, SLEEPING, until) == -ETIMEDOUT)
			return false;
	return true;
}

/* Waits for the next job. False: none came within pool_idle_ns, and the thread is in the list no more. */
static bool await_job(struct pool_thread *thread)
{
	uint32_t before = AWAKE;
	struct timespec until;

	atomic_compare_exchange_strong_explicit(&thread->word, &before, SLEEPING, memory_order_acquire,
						memory_order_acquire);
	do {
		until = clock_timespec(clock_after_ns(clock_now_ns(), pool_idle_ns));
		if (await_job_until(thread, &until))
			return true;
	} while (!leave_idle(thread));
	return false;
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
			break; /* the job forked, and this is the child */
		if (!thread.released)
			pool_release(&thread);
	} while (await_job(&thread));
	return NULL;
}

/* Takes an idle thread, one that is set aside or one that is not. NULL: there is none. */
static struct pool_thread *take_idle(bool promised)
{
	struct pool_thread *thread = NULL;

	lock_acquire(&pool.lock);
	pool.promised -= promised;
	if (pool.idle_count > pool.promised) {
		thread = container_of(pool.idle.next, struct pool_thread, link);
		list_remove(&thread->link);
		pool.idle_count--;
	}
	lock_release(&pool.lock);
	return thread;
}

/* Returns the futex to wake, or NULL. */
static _Atomic uint32_t *give_job(struct pool_thread *thread, struct pool_job *job)
{
	thread->job = job;
	uint32_t before = atomic_exchange_explicit(&thread->word, GIVEN, memory_order_release);
	return before == SLEEPING ? &thread->word : NULL;
}

int pool_give(struct pool_job *job, _Atomic uint32_t **ret_wake)
{
	struct pool_thread *thread = take_idle(false);

	*ret_wake = thread ? give_job(thread, job) : NULL;
	return thread ? 0 : thread_start(run_jobs, job, 0);
}

bool pool_promise(void)
{
	lock_acquire(&pool.lock);
	bool idle = pool.idle_count > pool.promised;
	pool.promised += idle;
	lock_release(&pool.lock);
	return idle;
}

void pool_give_promised(struct pool_job *job, _Atomic uint32_t **ret_wake)
{
	*ret_wake = give_job(take_idle(true), job);
}

void pool_return(unsigned count)
{
	lock_acquire(&pool.lock);
	pool.promised -= count;
	lock_release(&pool.lock);
}

/*
 * The thread may have run the job and ended by now, with its stack. A wake of what lies there then is a
 * spurious one, which futex users have to expect.
 */
void pool_wake(_Atomic uint32_t *wake)
{
	if (wake)
		sys_futex_wake(wake, 1);
}

int pool_run(struct pool_job *job)
{
	_Atomic uint32_t *wake;
	int error = pool_give(job, &wake);

	pool_wake(wake);
	return error;
}

/* The idle threads run in the parent alone. A lock that another thread held at the fork would stay held. */
static void fork_child(void)
{
	pool.lock = (struct lock){0};
	pool.idle_count = pool.promised = 0;
	list_init(&pool.idle);
}

__attribute__((constructor)) static void prepare_pool(void)
{
	pthread_atfork(NULL, NULL, fork_child);
}
