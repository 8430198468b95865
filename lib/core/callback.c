/* SPDX-License-Identifier: MIT */
#include "callback.h"

#include <string.h>

#include "mailbox.h"
#include "memory.h"
#include "thread.h"

/*
 * A callback's memory belongs to the program. As soon as its function has begun, the program may free the
 * memory or register it anew. So ctx_callback_stop() is given not an address but a number. The number leads
 * to a place, an entry of a table, which holds the registration's address until the function begins or a stop
 * has undone the registration. Then the place serves the next registration, under another number. So a number
 * leads to the memory exactly as long as the memory is the library's.
 */

enum phase {
	IDLE = 0, /* its memory is zeroed, it was stopped, or its function has begun */
	ADDING,	  /* in callback_add() */
	LISTED,	  /* in its context's list */
	POSTED,	  /* in its ring's mailbox, or taken out of it for delivery */
	STRANDED, /* its ring was closed before its context ended: it never runs, and holds nothing */
	STOPPING,
};

/* The contents of struct ctx_callback. */
struct callback {
	struct list link;	 /* ctx lock */
	struct letter letter;	 /* for a callback that is bound to a ring */
	struct ctx_context *ctx; /* with a handle, so that the function may take another */
	ctx_callback_fn function;
	void *data;
	struct mailbox *mailbox; /* counted; NULL: bound to no ring */
	uint32_t phase;		 /* bucket's lock */
	uint32_t place;		 /* its index in the bucket; bucket's lock */
} __attribute__((may_alias));

_Static_assert(sizeof(struct callback) == sizeof(struct ctx_callback),
	       "struct ctx_callback holds struct callback");

/*
 * A call of a callback's function that runs now. It lies on the stack of the thread that calls, because the
 * callback's own memory is the program's again.
 */
struct run {
	struct list link;
	uint64_t id;
	struct ctx_callback *callback; /* for the function; not read, since its memory may be gone */
	uint32_t tid;
};

/* An entry of a bucket's table: one registration, or free. */
struct place {
	struct callback *callback; /* NULL: the place is free */
	uint32_t generation;	   /* of the registration, or of the next one; never 0 */
	union {
		uint32_t next_free;  /* when free: the index of the next free place + 1; 0: none */
		uint32_t fork_count; /* else: the fork count of the process that registered */
	};
};

/* Callbacks are spread over buckets, each with a lock, by their address. */
#define BUCKET_BITS 4
#define BUCKET_COUNT (1u << BUCKET_BITS)
#define PLACES_FIRST 16u
#define PLACES_MAX (1u << (32 - BUCKET_BITS))

static struct bucket {
	struct lock lock;	   /* guards all but finished, and the phases of its callbacks */
	_Atomic uint32_t finished; /* a futex: counts ended calls and stops, which sleepers wait for */
	uint32_t sleepers;
	uint32_t free_place, place_count;
	struct place *places; /* place_count of them; never freed */
	struct list running;
} __attribute__((aligned(64))) buckets[BUCKET_COUNT];

static struct bucket *bucket_of(const void *callback)
{
	return &buckets[((uintptr_t)callback >> 4) * 0x9e3779b97f4a7c15ull >> (64 - BUCKET_BITS)];
}

__attribute__((constructor)) static void prepare_buckets(void)
{
	for (unsigned i = 0; i < BUCKET_COUNT; i++)
		list_init(&buckets[i].running);
}

/* ---- places; these functions are called with the bucket's lock held */

static bool more_places(struct bucket *bucket)
{
	uint32_t from = bucket->place_count, count = from ? from * 2 : PLACES_FIRST;
	struct place *places = count > PLACES_MAX ? NULL : memory_allocate(count * sizeof(*places));

	if (!places)
		return false;
	if (from)
		memcpy(places, bucket->places, from * sizeof(*places));
	for (uint32_t i = from; i < count; i++)
		places[i] = (struct place){.generation = 1, .next_free = i + 1 < count ? i + 2 : 0};
	memory_release(bucket->places);
	bucket->places = places;
	bucket->place_count = count;
	bucket->free_place = from + 1;
	return true;
}

/* Takes a place for callback. False: no memory. */
static bool take_place(struct bucket *bucket, struct callback *callback)
{
	if (!bucket->free_place && !more_places(bucket))
		return false;
	callback->place = bucket->free_place - 1;
	struct place *place = &bucket->places[callback->place];
	bucket->free_place = place->next_free;
	place->callback = callback;
	place->fork_count = thread_fork_count;
	return true;
}

/* Frees the place of callback: from here on its number leads nowhere. */
static void release_place(struct bucket *bucket, const struct callback *callback)
{
	struct place *place = &bucket->places[callback->place];

	place->callback = NULL;
	place->generation += place->generation == UINT32_MAX ? 2 : 1;
	place->next_free = bucket->free_place;
	bucket->free_place = callback->place + 1;
}

static uint64_t id_of(const struct bucket *bucket, const struct callback *callback)
{
	return (uint64_t)bucket->places[callback->place].generation << 32 | callback->place << BUCKET_BITS |
	       (uint32_t)(bucket - buckets);
}

/* True when callback was registered before a fork: the lists that it is linked in are the parent's. */
static bool is_inherited(const struct bucket *bucket, const struct callback *callback)
{
	return bucket->places[callback->place].fork_count != thread_fork_count;
}

/* The registration with that number. NULL: it has ended. */
static struct callback *find_callback(const struct bucket *bucket, uint64_t id)
{
	uint32_t place = (uint32_t)id >> BUCKET_BITS;

	if (place >= bucket->place_count || bucket->places[place].generation != id >> 32)
		return NULL;
	return bucket->places[place].callback;
}

/* Counts something that sleepers may wait for. True: there are some, and the caller calls wake_sleepers()
 * when it no longer holds the lock. */
static bool note_sleepers(struct bucket *bucket)
{
	if (bucket->sleepers)
		atomic_fetch_add(&bucket->finished, 1);
	return bucket->sleepers != 0;
}

static void wake_sleepers(struct bucket *bucket)
{
	sys_futex_wake(&bucket->finished, INT32_MAX);
}

/*
 * The lists of callbacks, with the ctx lock held. Callbacks that were registered before a fork run in the
 * parent, and may lie on stacks of threads that are not in the child. So a child begins with empty lists.
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

/* Begins the call of a callback that is LISTED or POSTED. With the bucket's lock held. */
static void run_begin(struct bucket *bucket, struct callback *callback, struct run *run)
{
	*run = (struct run){.id = id_of(bucket, callback),
			    .callback = (struct ctx_callback *)callback,
			    .tid = thread_self()->tid};
	list_append(&bucket->running, &run->link);
	callback->phase = IDLE;
	release_place(bucket, callback);
}

static void run_end(struct run *run)
{
	struct bucket *bucket = bucket_of(run->callback);

	lock_acquire(&bucket->lock);
	list_remove(&run->link);
	bool wake = note_sleepers(bucket);
	lock_release(&bucket->lock);
	if (wake)
		wake_sleepers(bucket);
}

/* Runs callback if its phase is the expected one, else returns false. No lock held. */
static bool run_callback_if(struct callback *callback, enum phase expected)
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
	int state = thread_hold();
	copy.function(run.callback, copy.ctx, copy.data);
	run_end(&run);
	thread_release(state);
	ctx_unref(copy.ctx);
	if (copy.mailbox)
		mailbox_unref(copy.mailbox);
	return true;
}

static void deliver_letter(struct letter *letter)
{
	run_callback_if(container_of(letter, struct callback, letter), POSTED);
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

/* Takes the first callback out of the list that nobody is stopping, and begins its call. False: there is
 * none. */
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
	int state = thread_hold();

	while (extension && begin_next(ctx, extension, &copy, &run)) {
		copy.function(run.callback, copy.ctx, copy.data);
		run_end(&run);
		ctx_unref(copy.ctx);
	}
	thread_release(state);
}

/* Posts callback to its ring. False: the ring is closed, and the caller gives back the references of
 * callback. With the bucket's lock held. */
static bool post_callback(struct callback *callback, struct deferred_list *later)
{
	callback->phase = POSTED;
	if (mailbox_post(callback->mailbox, &callback->letter, later))
		return true;
	callback->phase = STRANDED;
	return false;
}

/* Takes the first callback that is bound to a ring out of the list and posts it. False: there is none. */
static bool post_next(struct ctx_context *ctx, struct extension *extension, struct deferred_list *later)
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
		closed = callback->phase == LISTED && !post_callback(callback, later);
		lock_release(&bucket->lock);
	}
	lock_release(&ctx->lock);
	if (closed) {
		ctx_unref(copy.ctx);
		mailbox_unref(copy.mailbox);
	}
	return any;
}

void callback_post_all(struct ctx_context *ctx, struct deferred_list *later)
{
	struct extension *extension = node_extension(ctx);

	while (extension && post_next(ctx, extension, later))
		;
}

/* ---- adding */

int callback_begin(struct ctx_callback *opaque, uint64_t *ret_id)
{
	struct callback *callback = (struct callback *)opaque;
	struct bucket *bucket = bucket_of(callback);
	int result = 0;

	lock_acquire(&bucket->lock);
	if (callback->phase != IDLE)
		result = -EINVAL;
	else if (!take_place(bucket, callback))
		result = -ENOMEM;
	if (!result) {
		callback->phase = ADDING;
		*ret_id = id_of(bucket, callback);
	}
	lock_release(&bucket->lock);
	return result;
}

void callback_undo_begin(struct ctx_callback *opaque)
{
	struct callback *callback = (struct callback *)opaque;
	struct bucket *bucket = bucket_of(callback);

	lock_acquire(&bucket->lock);
	callback->phase = IDLE;
	release_place(bucket, callback);
	lock_release(&bucket->lock);
}

void callback_fill(struct ctx_callback *opaque, const struct ctx_context *ctx, struct mailbox *mailbox,
		   ctx_callback_fn function, void *data)
{
	struct callback *callback = (struct callback *)opaque;

	callback->ctx = node_mutable(ctx_ref(ctx));
	callback->function = function;
	callback->data = data;
	callback->mailbox = mailbox ? mailbox_ref(mailbox) : NULL;
	callback->letter.deliver = deliver_letter;
	list_init(&callback->letter.link);
	list_init(&callback->link);
}

static void set_listed(struct callback *callback)
{
	struct bucket *bucket = bucket_of(callback);

	lock_acquire(&bucket->lock);
	callback->phase = LISTED;
	lock_release(&bucket->lock);
}

bool callback_list(struct ctx_callback *opaque, struct extension *extension)
{
	struct callback *callback = (struct callback *)opaque;
	struct ctx_context *node = callback->ctx;

	if (!extension) {
		set_listed(callback);
		return true;
	}
	node_lock(node);
	bool done = node_attach(node) != 0;
	if (!done) {
		struct extension *lists = callbacks_of(extension);
		list_append(callback->mailbox ? &lists->ring_callbacks : &lists->callbacks, &callback->link);
		set_listed(callback);
	}
	lock_release(&node->lock);
	return !done;
}

void callback_deliver(struct ctx_callback *opaque)
{
	struct callback *callback = (struct callback *)opaque;
	struct bucket *bucket = bucket_of(callback);
	struct deferred_list later;

	if (!callback->mailbox) {
		run_callback_if(callback, ADDING);
		return;
	}
	deferred_list_init(&later);
	lock_acquire(&bucket->lock);
	struct callback copy = *callback;
	bool closed = !post_callback(callback, &later);
	lock_release(&bucket->lock);
	deferred_run(&later);
	if (closed) {
		ctx_unref(copy.ctx);
		mailbox_unref(copy.mailbox);
	}
}

/* ---- stopping */

/* True when callback can still be stopped. Once it was taken out of the mailbox for delivery it cannot. */
static bool may_stop(const struct bucket *bucket, struct callback *callback)
{
	switch (callback->phase) {
	case LISTED:
	case STRANDED:
		return true;
	case POSTED:
		return is_inherited(bucket, callback) ||
		       mailbox_retract(callback->mailbox, &callback->letter);
	default:
		return false;
	}
}

/* Ends the registration of a callback whose phase is STOPPING, so that no other thread touches it. holds: it
 * has references to give back. No lock held. */
static void unregister_callback(struct bucket *bucket, struct callback *callback, bool holds)
{
	struct ctx_context *ctx = callback->ctx;
	struct mailbox *mailbox = callback->mailbox;

	if (holds && !(ctx->flags & NODE_STATIC)) {
		node_lock(ctx);
		list_remove(&callback->link);
		lock_release(&ctx->lock);
	}
	lock_acquire(&bucket->lock);
	callback->phase = IDLE;
	release_place(bucket, callback);
	bool wake = note_sleepers(bucket);
	lock_release(&bucket->lock);
	if (wake)
		wake_sleepers(bucket);
	if (!holds)
		return;
	ctx_unref(ctx);
	if (mailbox)
		mailbox_unref(mailbox);
}

bool ctx_callback_stop(uint64_t id)
{
	struct bucket *bucket = &buckets[id % BUCKET_COUNT];

	lock_acquire(&bucket->lock);
	struct callback *callback = find_callback(bucket, id);
	bool holds = callback && callback->phase != STRANDED;
	bool stopped = callback && may_stop(bucket, callback);
	if (stopped && is_inherited(bucket, callback))
		list_init(&callback->link); /* here it is in no list, see callbacks_of() */
	if (stopped)
		callback->phase = STOPPING;
	lock_release(&bucket->lock);
	if (stopped)
		unregister_callback(bucket, callback, holds);
	return stopped;
}

/* True when id is registered, and in this process. With the bucket's lock held. */
static bool is_registered_here(const struct bucket *bucket, uint64_t id)
{
	const struct callback *callback = find_callback(bucket, id);

	return callback && !is_inherited(bucket, callback);
}

/* True when the function of id runs on another thread. With the bucket's lock held. */
static bool runs_elsewhere(struct bucket *bucket, uint64_t id)
{
	uint32_t tid = thread_self()->tid;

	for (struct list *link = bucket->running.next; link != &bucket->running; link = link->next) {
		struct run *run = container_of(link, struct run, link);
		if (run->id == id && run->tid != tid)
			return true;
	}
	return false;
}

bool ctx_callback_stop_wait(uint64_t id)
{
	struct bucket *bucket = &buckets[id % BUCKET_COUNT];

	if (ctx_callback_stop(id))
		return true;
	lock_acquire(&bucket->lock);
	bucket->sleepers++;
	/* It may still be registered: its ring is about to run it, or another thread is stopping it. Those
	 * threads are in the parent when it was registered before a fork, and are not waited for. */
	while (is_registered_here(bucket, id) || runs_elsewhere(bucket, id)) {
		uint32_t finished = atomic_load(&bucket->finished);
		lock_release(&bucket->lock);
		sys_futex_wait(&bucket->finished, finished, NULL);
		lock_acquire(&bucket->lock);
	}
	bucket->sleepers--;
	lock_release(&bucket->lock);
	return false;
}

/* ---- fork: in the child, calls of the thread that forked go on, and those of other threads do not */

static uint32_t forking_tid;

static void fork_prepare(void)
{
	for (unsigned i = 0; i < BUCKET_COUNT; i++)
		lock_acquire(&buckets[i].lock);
	forking_tid = thread_self()->tid;
}

static void fork_parent(void)
{
	for (unsigned i = 0; i < BUCKET_COUNT; i++)
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
	uint32_t tid = thread_self()->tid;

	for (unsigned i = 0; i < BUCKET_COUNT; i++) {
		buckets[i].lock = (struct lock){0};
		keep_own_runs(&buckets[i], tid);
		buckets[i].sleepers = 0;
	}
}

__attribute__((constructor)) static void prepare_fork(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
