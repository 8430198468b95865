/* SPDX-License-Identifier: MIT */
#include "callback.h"

#include "mailbox.h"
#include "sweep.h"
#include "thread.h"

/* The ring's side of ctx_callback_add_on_ring; the mailbox is the ring's. */
struct mailbox *ring_mailbox(struct ctx_ring *ring);

enum phase {
	IDLE = 0, /* zeroed, stopped, or its function has begun */
	ADDING,
	LISTED, /* in its context's list */
	POSTED, /* in its ring's mailbox, or on its way from there */
	STOPPING,
};

/* What lies in the opaque words of struct ctx_callback. */
struct callback {
	struct list link;	 /* ctx lock */
	struct letter letter;	 /* of one that is bound to a ring */
	struct ctx_context *ctx; /* with a handle, so that the function may take its own */
	ctx_callback_fn function;
	void *data;
	struct mailbox *mailbox; /* counted; NULL: bound to no ring */
	uint32_t phase;		 /* bucket's lock */
	uint32_t fork_count;	 /* of the process that added it: in a child it is linked to nothing */
} __attribute__((may_alias));

_Static_assert(sizeof(struct callback) == sizeof(struct ctx_callback),
	       "struct ctx_callback holds struct callback");

/*
 * A call that runs now, on the stack of who makes it: from its beginning on the
 * callback's own memory is the program's again.
 */
struct run {
	struct list link;
	const struct callback *callback;
	uint32_t tid;
};

/* Who waits for a call, on its own stack too. */
struct waiter {
	struct list link;
	const struct callback *callback;
	bool seen; /* a call of it has ended since */
};

/* Callbacks are spread over a few locks by their address. */
#define BUCKET_COUNT 16

static struct bucket {
	struct lock lock;	   /* guards the lists and the phase of its callbacks */
	_Atomic uint32_t finished; /* counts calls that ended, when somebody waits */
	struct list running, waiters;
} __attribute__((aligned(64))) buckets[BUCKET_COUNT];

static struct bucket *bucket_of(const void *callback)
{
	return &buckets[((uintptr_t)callback >> 4) * 0x9e3779b97f4a7c15ull >> 60];
}

__attribute__((constructor)) static void prepare_buckets(void)
{
	for (int i = 0; i < BUCKET_COUNT; i++) {
		list_init(&buckets[i].running);
		list_init(&buckets[i].waiters);
	}
}

/*
 * With the ctx lock held. What was there before a fork is the parent's to run, and may lie on the stacks of
 * threads that are not here: a child begins with none, and touches none of those.
 */
static struct extension *callbacks_of(struct extension *extension)
{
	if (__builtin_expect(extension->callbacks_forks != thread_fork_count, 0)) {
		list_init(&extension->callbacks);
		list_init(&extension->ring_callbacks);
		extension->callbacks_forks = thread_fork_count;
	}
	return extension;
}

/* ---- running */

/* LISTED or POSTED to running, with the bucket's lock held. */
static void run_begin(struct bucket *bucket, struct callback *callback, struct run *run)
{
	*run = (struct run){.callback = callback, .tid = thread_self()->tid};
	list_append(&bucket->running, &run->link);
	callback->phase = IDLE;
}

static void run_end(struct bucket *bucket, struct run *run)
{
	lock_acquire(&bucket->lock);
	list_remove(&run->link);
	bool wake = !list_empty(&bucket->waiters);
	for (struct list *link = bucket->waiters.next; link != &bucket->waiters; link = link->next) {
		struct waiter *waiter = container_of(link, struct waiter, link);
		waiter->seen |= waiter->callback == run->callback;
	}
	if (wake)
		atomic_fetch_add(&bucket->finished, 1);
	lock_release(&bucket->lock);
	if (wake)
		sys_futex_wake(&bucket->finished, INT32_MAX);
}

/* Runs it if its phase is the expected one. No lock held. */
static bool run_if(struct callback *callback, enum phase expected)
{
	struct bucket *bucket = bucket_of(callback);
	struct run run;

	lock_acquire(&bucket->lock);
	bool runs = callback->phase == expected;
	struct callback copy = *callback;
	if (runs)
		run_begin(bucket, callback, &run);
	lock_release(&bucket->lock);
	if (!runs)
		return false;
	copy.function((struct ctx_callback *)callback, copy.ctx, copy.data);
	run_end(bucket, &run);
	ctx_unref(copy.ctx);
	if (copy.mailbox)
		mailbox_unref(copy.mailbox);
	return true;
}

static void deliver(struct letter *letter)
{
	run_if(container_of(letter, struct callback, letter), POSTED);
}

bool callback_pending(struct ctx_context *ctx)
{
	struct extension *extension = node_extension(ctx);

	if (!extension)
		return false;
	node_lock(ctx);
	bool pending = !list_empty(&callbacks_of(extension)->callbacks);
	lock_release(&ctx->lock);
	return pending;
}

/* Takes the first one out that nobody is stopping, and lets its call begin. */
static bool begin_next(struct ctx_context *ctx, struct extension *extension, struct callback *copy,
		       struct run *run)
{
	bool begun = false;

	node_lock(ctx);
	struct list *callbacks = &callbacks_of(extension)->callbacks;
	while (!begun && !list_empty(callbacks)) {
		struct callback *callback = container_of(callbacks->next, struct callback, link);
		struct bucket *bucket = bucket_of(callback);
		list_remove(&callback->link);
		lock_acquire(&bucket->lock);
		begun = callback->phase == LISTED;
		*copy = *callback;
		if (begun)
			run_begin(bucket, callback, run);
		lock_release(&bucket->lock);
	}
	lock_release(&ctx->lock);
	return begun;
}

void callback_run_all(struct ctx_context *ctx)
{
	struct extension *extension = node_extension(ctx);
	struct callback copy;
	struct run run;

	while (extension && begin_next(ctx, extension, &copy, &run)) {
		copy.function((struct ctx_callback *)run.callback, copy.ctx, copy.data);
		run_end(bucket_of(run.callback), &run);
		ctx_unref(copy.ctx);
	}
}

/* Posts one; *ret_closed: its ring is gone, and with it the registration. Locks of ctx and bucket held. */
static bool post(struct callback *callback, struct sweep *sweep)
{
	callback->phase = POSTED;
	if (mailbox_post(callback->mailbox, &callback->letter, sweep))
		return true;
	callback->phase = IDLE;
	return false;
}

/* The first that is bound to a ring, taken out of the list and posted. False: there is none. */
static bool post_next(struct ctx_context *ctx, struct extension *extension, struct sweep *sweep)
{
	struct callback copy;
	bool closed = false;

	node_lock(ctx);
	struct list *callbacks = &callbacks_of(extension)->ring_callbacks;
	bool any = !list_empty(callbacks);
	if (any) {
		struct callback *callback = container_of(callbacks->next, struct callback, link);
		struct bucket *bucket = bucket_of(callback);
		list_remove(&callback->link);
		lock_acquire(&bucket->lock);
		copy = *callback;
		closed = callback->phase == LISTED && !post(callback, sweep);
		lock_release(&bucket->lock);
	}
	lock_release(&ctx->lock);
	if (closed) {
		ctx_unref(copy.ctx);
		mailbox_unref(copy.mailbox);
	}
	return any;
}

void callback_post_all(struct ctx_context *ctx, struct sweep *sweep)
{
	struct extension *extension = node_extension(ctx);

	while (extension && post_next(ctx, extension, sweep))
		;
}

/* ---- adding */

static bool set_phase(struct callback *callback, enum phase from, enum phase to)
{
	struct bucket *bucket = bucket_of(callback);

	lock_acquire(&bucket->lock);
	bool was = callback->phase == from;
	if (was)
		callback->phase = to;
	lock_release(&bucket->lock);
	return was;
}

/* ctx is done already. */
static void settle(struct callback *callback)
{
	context_spread_end(callback->ctx);
	if (!callback->mailbox) {
		run_if(callback, ADDING);
		return;
	}
	struct bucket *bucket = bucket_of(callback);
	struct sweep sweep;
	sweep_init(&sweep, false);
	lock_acquire(&bucket->lock);
	struct callback copy = *callback;
	bool closed = !post(callback, &sweep);
	lock_release(&bucket->lock);
	sweep_run_deferred(&sweep);
	if (closed) {
		ctx_unref(copy.ctx);
		mailbox_unref(copy.mailbox);
	}
}

static int add(const struct ctx_context *ctx, struct mailbox *mailbox, struct ctx_callback *opaque,
	       ctx_callback_fn function, void *data)
{
	struct callback *callback = (struct callback *)opaque;
	struct ctx_context *node = node_mutable(ctx);
	struct extension *extension = NULL;

	if (!set_phase(callback, IDLE, ADDING))
		return -EINVAL;
	int result = node_serve(node); /* in a forked child the timer may not run yet */
	if (!result && !mailbox && context_deadline(ctx) != CTX_FOREVER && !context_error(ctx))
		result = worker_start();
	if (!result && !(ctx->flags & NODE_STATIC)) {
		extension = node_extend(node);
		result = extension ? 0 : -ENOMEM;
	}
	if (result) {
		set_phase(callback, ADDING, IDLE);
		return result;
	}
	callback->ctx = node_mutable(ctx_ref(ctx));
	callback->function = function;
	callback->data = data;
	callback->mailbox = mailbox ? mailbox_ref(mailbox) : NULL;
	callback->fork_count = thread_fork_count;
	callback->letter.deliver = deliver;
	list_init(&callback->letter.link);
	list_init(&callback->link);
	if (!extension) {
		set_phase(callback, ADDING, LISTED);
		return 0;
	}
	node_lock(node);
	bool done = node_attach(node) != 0;
	if (!done) {
		struct extension *lists = callbacks_of(extension);
		list_append(mailbox ? &lists->ring_callbacks : &lists->callbacks, &callback->link);
		set_phase(callback, ADDING, LISTED);
	}
	lock_release(&node->lock);
	if (done)
		settle(callback);
	return 0;
}

int ctx_callback_add(const struct ctx_context *ctx, struct ctx_callback *callback, ctx_callback_fn function,
		     void *data)
{
	if (!ctx || !callback || !function)
		return -EINVAL;
	return add(ctx, NULL, callback, function, data);
}

int ctx_callback_add_on_ring(const struct ctx_context *ctx, struct ctx_ring *ring,
			     struct ctx_callback *callback, ctx_callback_fn function, void *data)
{
	if (!ctx || !ring || !callback || !function)
		return -EINVAL;
	return add(ctx, ring_mailbox(ring), callback, function, data);
}

/* ---- stopping */

/* No lock held: the registration is the caller's now. */
static void withdraw(struct callback *callback)
{
	struct ctx_context *ctx = callback->ctx;
	struct mailbox *mailbox = callback->mailbox;

	if (!(ctx->flags & NODE_STATIC) && callback->fork_count == thread_fork_count) {
		node_lock(ctx);
		list_remove(&callback->link);
		lock_release(&ctx->lock);
	}
	set_phase(callback, STOPPING, IDLE);
	ctx_unref(ctx);
	if (mailbox)
		mailbox_unref(mailbox);
}

/* *ret_coming: its ring has taken it out of the mailbox, and will run it now. */
static bool stop(struct callback *callback, bool *ret_coming)
{
	struct bucket *bucket = bucket_of(callback);

	lock_acquire(&bucket->lock);
	bool posted = callback->phase == POSTED;
	bool stopped = callback->phase == LISTED ||
		       (posted && (callback->fork_count != thread_fork_count ||
				   mailbox_retract(callback->mailbox, &callback->letter)));
	if (stopped)
		callback->phase = STOPPING;
	lock_release(&bucket->lock);
	if (stopped)
		withdraw(callback);
	*ret_coming = posted && !stopped;
	return stopped;
}

/* With the bucket's lock held: it runs on another thread. */
static bool runs_elsewhere(struct bucket *bucket, const struct callback *callback)
{
	uint32_t tid = thread_self()->tid;

	for (struct list *link = bucket->running.next; link != &bucket->running; link = link->next) {
		struct run *run = container_of(link, struct run, link);
		if (run->callback == callback && run->tid != tid)
			return true;
	}
	return false;
}

bool ctx_callback_stop(struct ctx_callback *callback)
{
	bool coming;

	return callback && stop((struct callback *)callback, &coming);
}

bool ctx_callback_stop_wait(struct ctx_callback *opaque)
{
	struct callback *callback = (struct callback *)opaque;
	struct waiter waiter = {.callback = callback};
	bool coming;

	if (!callback)
		return false;
	struct bucket *bucket = bucket_of(callback);
	/* In the list first, so that a call that is coming cannot end unseen. The callback may go away then.
	 */
	lock_acquire(&bucket->lock);
	list_append(&bucket->waiters, &waiter.link);
	lock_release(&bucket->lock);
	bool stopped = stop(callback, &coming);
	lock_acquire(&bucket->lock);
	while ((coming && !waiter.seen) || runs_elsewhere(bucket, callback)) {
		uint32_t finished = atomic_load(&bucket->finished);
		lock_release(&bucket->lock);
		sys_futex_wait(&bucket->finished, finished, NULL);
		lock_acquire(&bucket->lock);
	}
	list_remove(&waiter.link);
	lock_release(&bucket->lock);
	return stopped;
}

/* ---- fork: other threads' calls do not go on in the child; those of the thread that forks do */

static uint32_t forking_tid;

static void fork_prepare(void)
{
	for (int i = 0; i < BUCKET_COUNT; i++)
		lock_acquire(&buckets[i].lock);
	forking_tid = thread_self()->tid;
}

static void fork_parent(void)
{
	for (int i = 0; i < BUCKET_COUNT; i++)
		lock_release(&buckets[i].lock);
}

static void keep_own_runs(struct bucket *bucket, uint32_t tid)
{
	struct list *link = bucket->running.next;

	list_init(&bucket->running);
	while (link != &bucket->running) {
		struct run *run = container_of(link, struct run, link);
		link = link->next;
		if (run->tid != forking_tid)
			continue;
		run->tid = tid;
		list_append(&bucket->running, &run->link);
	}
}

static void fork_child(void)
{
	uint32_t tid = (uint32_t)gettid();

	for (int i = 0; i < BUCKET_COUNT; i++) {
		buckets[i].lock = (struct lock){0};
		keep_own_runs(&buckets[i], tid);
		list_init(&buckets[i].waiters);
	}
}

__attribute__((constructor)) static void prepare_fork(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
