/* SPDX-License-Identifier: MIT */
/*
 * Task groups of empty tasks, from the first start to the return of the wait, beside two programs by hand:
 * one makes and joins a thread for each task, the other has a pool of as many threads that take tasks from a
 * queue under a mutex. The pool knows neither contexts nor failures. It is measured twice: with a bounded
 * queue, whose producer waits for a place, and with a queue without bound. Where Go is installed, goroutines
 * behind a semaphore are measured as well, with a context and the first failure as errgroup has them.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"
#include "ctxring.h"
#include "peer.h"

#define THREADS_MAX 64

static struct peer peer;

struct load {
	unsigned tasks, limit;
};

/* ---- ours */

static int nothing(const struct ctx_context *ctx, void *data)
{
	(void)ctx;
	atomic_fetch_add_explicit((_Atomic unsigned *)data, 1, memory_order_relaxed);
	return 0;
}

static double run_group(void *data)
{
	const struct load *load = data;
	struct ctx_taskgroup *group;
	_Atomic unsigned ran = 0;
	uint64_t start_ns = bench_now_ns();

	bench_check(ctx_taskgroup_new(ctx_background(), load->limit, NULL, &group), "ctx_taskgroup_new");
	for (unsigned i = 0; i < load->tasks; i++)
		bench_check(ctx_taskgroup_start(group, nothing, &ran, "task"), "ctx_taskgroup_start");
	bench_check(ctx_taskgroup_wait(group), "ctx_taskgroup_wait");
	ctx_taskgroup_free(group);
	if (ran != load->tasks)
		bench_fail("%u of %u tasks ran", ran, load->tasks);
	return (double)(bench_now_ns() - start_ns) / load->tasks;
}

/* ---- a thread for each task */

static void *thread_nothing(void *data)
{
	nothing(NULL, data);
	return NULL;
}

static double run_threads(void *data)
{
	const struct load *load = data;
	pthread_t threads[THREADS_MAX];
	_Atomic unsigned ran = 0;
	uint64_t start_ns = bench_now_ns();

	for (unsigned i = 0; i < load->tasks; i++) {
		unsigned place = i % load->limit;
		if (i >= load->limit)
			pthread_join(threads[place], NULL);
		if (pthread_create(&threads[place], NULL, thread_nothing, &ran))
			bench_fail("pthread_create");
	}
	unsigned left = load->tasks < load->limit ? load->tasks : load->limit;
	for (unsigned i = 0; i < left; i++)
		pthread_join(threads[i], NULL);
	return (double)(bench_now_ns() - start_ns) / load->tasks;
}

/* ---- a pool written by hand */

struct item {
	struct item *next;
	int (*function)(const struct ctx_context *ctx, void *data);
	void *data;
};

static struct pool {
	pthread_mutex_t mutex;
	pthread_cond_t filled, done, place;
	struct item *first, **last;
	unsigned left; /* queued and running */
	bool over;
	pthread_t threads[THREADS_MAX];
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER,
	  .filled = PTHREAD_COND_INITIALIZER,
	  .done = PTHREAD_COND_INITIALIZER,
	  .place = PTHREAD_COND_INITIALIZER};

static void *pool_work(void *unused)
{
	pthread_mutex_lock(&pool.mutex);
	for (;;) {
		while (!pool.first && !pool.over)
			pthread_cond_wait(&pool.filled, &pool.mutex);
		struct item *item = pool.first;
		if (!item)
			break;
		pool.first = item->next;
		if (!pool.first)
			pool.last = &pool.first;
		pthread_mutex_unlock(&pool.mutex);
		item->function(NULL, item->data);
		free(item);
		pthread_mutex_lock(&pool.mutex);
		if (!--pool.left)
			pthread_cond_signal(&pool.done);
		pthread_cond_signal(&pool.place);
	}
	pthread_mutex_unlock(&pool.mutex);
	return unused;
}

static void pool_start(unsigned threads)
{
	pool.last = &pool.first;
	pool.over = false;
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&pool.threads[i], NULL, pool_work, NULL))
			bench_fail("pthread_create");
}

static void pool_stop(unsigned threads)
{
	pthread_mutex_lock(&pool.mutex);
	pool.over = true;
	pthread_cond_broadcast(&pool.filled);
	pthread_mutex_unlock(&pool.mutex);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(pool.threads[i], NULL);
}

static double fill_pool(const struct load *load, unsigned bound)
{
	_Atomic unsigned ran = 0;
	uint64_t start_ns = bench_now_ns();

	for (unsigned i = 0; i < load->tasks; i++) {
		struct item *item = bench_allocate(1, sizeof(*item));
		*item = (struct item){.function = nothing, .data = &ran};
		pthread_mutex_lock(&pool.mutex);
		while (pool.left >= bound)
			pthread_cond_wait(&pool.place, &pool.mutex);
		*pool.last = item;
		pool.last = &item->next;
		pool.left++;
		pthread_cond_signal(&pool.filled);
		pthread_mutex_unlock(&pool.mutex);
	}
	pthread_mutex_lock(&pool.mutex);
	while (pool.left)
		pthread_cond_wait(&pool.done, &pool.mutex);
	pthread_mutex_unlock(&pool.mutex);
	return (double)(bench_now_ns() - start_ns) / load->tasks;
}

static double run_pool(void *data)
{
	const struct load *load = data;
	return fill_pool(load, load->limit);
}

static double run_pool_without_bound(void *data)
{
	return fill_pool(data, UINT32_MAX);
}

/* ---- Go */

static double run_goroutines(void *data)
{
	const struct load *load = data;
	char limit[16];

	snprintf(limit, sizeof(limit), "%u", load->limit);
	return peer_measure(&peer, limit, load->tasks);
}

static void compare(const char *name, unsigned tasks, unsigned limit)
{
	const bench_side sides[] = {run_group, run_threads, run_pool, run_pool_without_bound,
				    bench.peer ? run_goroutines : NULL};
	struct load load = {.tasks = tasks, .limit = limit};
	void *const data[] = {&load, &load, &load, &load, &load};
	static struct bench_turns turns;

	if (!bench_wanted(name))
		return;
	pool_start(limit);
	run_group(&load); /* starts the threads that tasks run on, so that this is not measured; the pool's
			     run already */
	bench_take_turns(&turns, bench.quick ? 15 : 61, 5, sides, data);
	pool_stop(limit);
	double ours = bench_turns_median(&turns, 0);
	bench_report(name, ours, "ns/task", bench_turns_ratio(&turns, 0, 1), "a thread made for each",
		     "<= 0.5");
	bench_report(name, ours, "ns/task", bench_turns_ratio(&turns, 0, 2), "a pool by hand", "<= 1.25");
	bench_report(name, ours, "ns/task", bench_turns_ratio(&turns, 0, 3), "a pool by hand, no bound",
		     NULL);
	/* Where all tasks start at once, each has to wake a thread, and a goroutine is no thread: there is no
	 * goal for that. */
	if (bench.peer)
		bench_report(name, ours, "ns/task", bench_turns_ratio(&turns, 0, 4),
			     "goroutines behind a semaphore", tasks > limit ? "<= 1.5" : NULL);
}

int main(int argc, char **argv)
{
	bench_start("taskgroup", argc, argv);
	if (bench.peer)
		peer_start(&peer, bench.peer);
	compare("1 task at a time, 1,000 tasks", 1000, 1);
	compare("4 tasks at a time, 1,000 tasks", 1000, 4);
	compare("16 tasks at a time, 1,000 tasks", 1000, 16);
	compare("16 tasks at once", 16, 16);
	compare("64 tasks at once", 64, 64);
	if (bench.peer)
		peer_stop(&peer);
	return 0;
}
