/* SPDX-License-Identifier: MIT */
#include "timer.h"

#include "clock.h"
#include "node.h"
#include "thread.h"

static struct {
	struct lock lock; /* guards all but word and signals */
	struct heap heap;
	struct heap inherited;	    /* timers from before the fork, until timer_adopt() */
	uint64_t sleeping_until_ns; /* 0: the thread is awake, and will look at the heap before it sleeps */
	_Atomic uint32_t word;	    /* a futex: counts wakes */
	struct signal_request *_Atomic signals; /* newest first; handlers push, the thread takes all */
} timers;

struct ctx_context *timer_take_due(uint64_t now_ns, uint64_t *ret_sleep_ns)
{
	struct ctx_context *ctx = NULL;

	lock_acquire(&timers.lock);
	timers.sleeping_until_ns = 0;
	while (!ctx && timers.heap.root && timers.heap.root->key_ns <= now_ns) {
		struct timer *timer = container_of(timers.heap.root, struct timer, node);
		uint64_t own_ns = atomic_load_explicit(&timer->own_ns, memory_order_relaxed);
		heap_remove(&timers.heap, &timer->node);
		if (own_ns > now_ns) { /* moved since, see timer_arm() */
			heap_insert(&timers.heap, &timer->node, own_ns);
			continue;
		}
		ctx = timer->ctx;
		bool pinned = node_pin(ctx);
		if (!pinned)
			ctx = NULL;
		/* After this store a context that was not pinned may be freed. */
		atomic_store_explicit(&timer->armed, 0, memory_order_release);
	}
	if (!ctx) {
		*ret_sleep_ns = timers.heap.root ? timers.heap.root->key_ns : CTX_FOREVER;
		timers.sleeping_until_ns = *ret_sleep_ns;
	}
	lock_release(&timers.lock);
	return ctx;
}

/* True when the thread sleeps beyond when_ns: the caller wakes it, without the lock. With the lock held. */
static bool wants_wake(uint64_t when_ns)
{
	if (when_ns >= timers.sleeping_until_ns)
		return false;
	timers.sleeping_until_ns = 0;
	atomic_fetch_add(&timers.word, 1);
	return true;
}

/* Puts inherited timers into the heap. True: the caller wakes the thread. With the lock held. */
static bool adopt_inherited(void)
{
	heap_take_over(&timers.heap, &timers.inherited);
	return timers.heap.root && wants_wake(timers.heap.root->key_ns);
}

void timer_adopt(void)
{
	lock_acquire(&timers.lock);
	bool wake = adopt_inherited();
	lock_release(&timers.lock);
	if (wake)
		sys_futex_wake(&timers.word, 1);
}

void timer_arm(struct timer *timer)
{
	bool wake = false;

	lock_acquire(&timers.lock);
	if (__builtin_expect(node_is_inherited(timer->ctx), 0))
		wake = adopt_inherited();
	uint64_t own_ns = atomic_load_explicit(&timer->own_ns, memory_order_relaxed);
	/* Sequentially consistent. This thread stores armed, then loads the state; a sweep stores the state,
	 * then loads armed (timer_disarm). One of the two sees the other's store. */
	atomic_store(&timer->armed, 1);
	if (own_ns == CTX_FOREVER || atomic_load(&timer->ctx->state) & STATE_ERRNO) {
		heap_remove(&timers.heap, &timer->node);
		atomic_store_explicit(&timer->armed, 0, memory_order_release);
	} else if (!heap_contains(&timer->node) || own_ns < timer->node.key_ns) {
		heap_remove(&timers.heap, &timer->node);
		heap_insert(&timers.heap, &timer->node, own_ns);
		wake |= wants_wake(own_ns);
	}
	lock_release(&timers.lock);
	if (wake)
		sys_futex_wake(&timers.word, 1);
}

void timer_disarm(struct timer *timer)
{
	if (!atomic_load(&timer->armed))
		return;
	lock_acquire(&timers.lock);
	/* A timer that was not adopted is still in the other heap. */
	bool aside = timers.inherited.root && node_is_inherited(timer->ctx);
	heap_remove(aside ? &timers.inherited : &timers.heap, &timer->node);
	atomic_store_explicit(&timer->armed, 0, memory_order_release);
	lock_release(&timers.lock);
}

bool signal_request_take(struct signal_request *request, enum signal_state to)
{
	uint32_t state = atomic_load_explicit(&request->state, memory_order_relaxed),
		 queued = thread_fork_count << SIGNAL_FORKS_SHIFT;
	uint32_t next = to == SIGNAL_QUEUED ? to | queued : to;

	while (state == SIGNAL_PREPARED ||
	       ((state & SIGNAL_STATE) == SIGNAL_QUEUED && state != (SIGNAL_QUEUED | queued)))
		if (atomic_compare_exchange_weak(&request->state, &state, next))
			return true;
	return false;
}

struct signal_request *timer_take_signals(void)
{
	return atomic_exchange(&timers.signals, NULL);
}

uint32_t timer_wakes(void)
{
	return atomic_load(&timers.word);
}

void timer_sleep(uint32_t wakes, uint64_t until_ns)
{
	struct timespec until = clock_timespec(until_ns);

	sys_futex_wait(&timers.word, wakes, until_ns == CTX_FOREVER ? NULL : &until);
}

void timer_push_signal(struct signal_request *request)
{
	struct signal_request *first = atomic_load_explicit(&timers.signals, memory_order_relaxed);

	do
		request->next = first;
	while (!atomic_compare_exchange_weak(&timers.signals, &first, request));
	atomic_fetch_add(&timers.word, 1);
	sys_futex_wake(&timers.word, 1);
}

static void fork_prepare(void)
{
	lock_acquire(&timers.lock);
}

static void fork_parent(void)
{
	lock_release(&timers.lock);
}

/* Signals that came before the fork end the contexts of the parent, not those of the child. */
static void fork_child(void)
{
	timers.lock = (struct lock){0};
	timers.sleeping_until_ns = 0;
	atomic_store(&timers.signals, NULL);
	heap_take_over(&timers.inherited, &timers.heap);
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
