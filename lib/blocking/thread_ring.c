/* SPDX-License-Identifier: MIT */
#include "thread_ring.h"

#include "memory.h"

/* More than this many rings without a thread are closed: each counts against RLIMIT_MEMLOCK. */
#define POOLED_MAX 32u

/* After there was none to be had. */
#define PAUSE_NS 100000000ull

static struct {
	struct lock lock; /* guards what is not atomic */
	struct list all;  /* rings of threads and of nobody, so that a forked child finds them */
	struct thread_ring *first;
	struct thread_ring *inherited; /* of a forked child: to be closed */
	unsigned pooled;
	pthread_key_t key; /* its destructor is told of a thread's end */
	bool have_key;
	_Atomic bool have_inherited;
	_Atomic int error;		/* of the last try */
	_Atomic uint64_t not_before_ns; /* of the next one; CTX_FOREVER: there is no io_uring */
} pool = {.all = {&pool.all, &pool.all}};

static __thread struct {
	struct thread_ring *ring; /* NULL: not yet, or a call has it */
	bool announced;		  /* its end will be told */
} mine __attribute__((tls_model("initial-exec")));

bool thread_ring_is_forbidden(int error)
{
	return error == -EPERM || error == -EACCES || error == -ENOSYS;
}

static bool is_inherited(const struct thread_ring *taken)
{
	return taken->ring->fork_count != thread_fork_count;
}

static void forget(struct thread_ring *taken)
{
	lock_acquire(&pool.lock);
	list_remove(&taken->link);
	lock_release(&pool.lock);
}

/* The program may have closed them, and the numbers be those of other files now. */
static void disown_closed(struct thread_ring *taken)
{
	struct io_uring *uring = &taken->ring->own;

	if (!file_id_matches(taken->ring_file, uring->ring_fd))
		uring->ring_fd = uring->enter_ring_fd = -1;
	if (!file_id_matches(taken->wake_file, mailbox_fd(taken->ring->mailbox)))
		taken->ring->mailbox->fd = -1;
}

/* Nothing is under way on it. */
static void destroy(struct thread_ring *taken)
{
	forget(taken);
	disown_closed(taken);
	/* Not reached otherwise: it is the closer's, and there is nothing to wait for. */
	if (!ctx_ring_close(taken->ring, CTX_FOREVER, NULL, 0, NULL))
		memory_release(taken);
}

/* ---- rings of nobody */

static struct thread_ring *pool_pop(void)
{
	lock_acquire(&pool.lock);
	struct thread_ring *taken = pool.first;
	if (taken) {
		pool.first = taken->next;
		pool.pooled--;
	}
	lock_release(&pool.lock);
	return taken;
}

static bool pool_push(struct thread_ring *taken)
{
	lock_acquire(&pool.lock);
	bool room = pool.pooled < POOLED_MAX;
	if (room) {
		taken->next = pool.first;
		pool.first = taken;
		pool.pooled++;
	}
	lock_release(&pool.lock);
	return room;
}

/* What the thread had in the kernel for itself would end with it, so nothing of that may stay. */
static void put(struct thread_ring *taken)
{
	if (ring_hand_over(taken->ring) || !pool_push(taken))
		destroy(taken);
}

/* ---- the end of a thread */

static void thread_ends(void *value)
{
	struct thread_ring *taken = mine.ring;

	(void)value;
	mine.ring = NULL;
	mine.announced = false; /* a later destructor may make calls */
	if (taken)
		put(taken);
}

static int make_key(void)
{
	lock_acquire(&pool.lock);
	int error = pool.have_key ? 0 : pthread_key_create(&pool.key, thread_ends);
	pool.have_key |= !error;
	lock_release(&pool.lock);
	return -error;
}

static int announce(void)
{
	if (mine.announced)
		return 0;
	int error = make_key();
	if (!error)
		error = -pthread_setspecific(pool.key, &mine);
	mine.announced = !error;
	return error;
}

/* ---- fork */

/*
 * In a child the parent's rings are of no use. That of the thread that forked and those of nobody are whole;
 * what other threads had may be in the middle of anything, so of these only the descriptors and the mapping
 * go. The descriptors at once, as later the child may have closed all that it does not know and use the
 * numbers for its own; the rest at the child's first call, since most children make none.
 */
static void close_descriptors(struct thread_ring *taken)
{
	struct io_uring *uring = &taken->ring->own;

	disown_closed(taken);
	if (uring->ring_fd >= 0)
		sys_close(uring->ring_fd);
	uring->ring_fd = uring->enter_ring_fd = -1;
	if (mailbox_fd(taken->ring->mailbox) >= 0)
		sys_close(mailbox_fd(taken->ring->mailbox));
	taken->ring->mailbox->fd = -1;
}

static void drop_inherited(void)
{
	struct thread_ring *whole;
	struct list *link;

	lock_acquire(&pool.lock);
	atomic_store(&pool.have_inherited, false);
	whole = pool.inherited;
	pool.inherited = NULL;
	for (link = pool.all.next; link != &pool.all; link = link->next) {
		struct thread_ring *taken = container_of(link, struct thread_ring, link);
		if (is_inherited(taken) && !taken->whole && taken->ring->uring) {
			sys_uring_exit(&taken->ring->own);
			taken->ring->uring = NULL;
		}
	}
	lock_release(&pool.lock);
	while (whole) {
		struct thread_ring *taken = whole;
		whole = taken->next;
		destroy(taken);
	}
}

static void inherit(struct thread_ring *taken)
{
	taken->whole = true;
	taken->next = pool.inherited;
	pool.inherited = taken;
}

static void fork_prepare(void)
{
	lock_acquire(&pool.lock);
}

static void fork_parent(void)
{
	lock_release(&pool.lock);
}

static void fork_child(void)
{
	struct list *link;

	pool.lock = (struct lock){0};
	for (link = pool.all.next; link != &pool.all; link = link->next)
		close_descriptors(container_of(link, struct thread_ring, link));
	if (mine.ring)
		inherit(mine.ring);
	mine.ring = NULL;
	while (pool.first) {
		struct thread_ring *taken = pool.first;
		pool.first = taken->next;
		inherit(taken);
	}
	pool.pooled = 0;
	atomic_store(&pool.have_inherited, !list_empty(&pool.all));
}

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* ---- taking and giving back */

static int open_new(struct thread_ring **ret_taken)
{
	struct thread_ring *taken = memory_allocate(sizeof(*taken));

	if (!taken)
		return -ENOMEM;
	*taken = (struct thread_ring){0};
	int error = ring_open_for_calls(&taken->ring);
	if (error) {
		memory_release(taken);
		return error;
	}
	ctx_op_init(&taken->op, NULL, 0);
	taken->ring_file = file_id_of(taken->ring->own.ring_fd);
	taken->wake_file = file_id_of(mailbox_fd(taken->ring->mailbox));
	lock_acquire(&pool.lock);
	list_append(&pool.all, &taken->link);
	lock_release(&pool.lock);
	*ret_taken = taken;
	return 0;
}

/* Whether it pays to ask the kernel. */
static bool may_try(bool now)
{
	uint64_t not_before_ns = atomic_load_explicit(&pool.not_before_ns, memory_order_relaxed);

	if (!not_before_ns)
		return true;
	return not_before_ns != CTX_FOREVER && (now || clock_coarse_ns() >= not_before_ns);
}

static int take_slowly(bool now, struct thread_ring **ret_taken)
{
	if (atomic_load(&pool.have_inherited))
		drop_inherited();
	int error = announce();
	if (error)
		return error;
	*ret_taken = pool_pop();
	if (*ret_taken)
		return 0;
	if (!may_try(now))
		return atomic_load(&pool.error);
	error = open_new(ret_taken);
	if (error) {
		atomic_store(&pool.error, error);
		atomic_store(&pool.not_before_ns,
			     thread_ring_is_forbidden(error) ? CTX_FOREVER : clock_coarse_ns() + PAUSE_NS);
	} else if (atomic_load(&pool.not_before_ns)) {
		atomic_store(&pool.not_before_ns, 0);
	}
	return error;
}

int thread_ring_take(bool now, struct thread_ring **ret_taken)
{
	struct thread_ring *taken = mine.ring;

	if (__builtin_expect(!taken, 0))
		return take_slowly(now, ret_taken);
	mine.ring = NULL;
	*ret_taken = taken;
	return 0;
}

void thread_ring_give(struct thread_ring *taken)
{
	if (__builtin_expect(is_inherited(taken), 0))
		return; /* forked within the call */
	if (__builtin_expect(!mine.ring, 1))
		mine.ring = taken;
	else
		put(taken);
}

void thread_ring_discard(struct thread_ring *taken, int error)
{
	if (thread_ring_is_forbidden(error)) {
		atomic_store(&pool.error, error);
		atomic_store(&pool.not_before_ns, CTX_FOREVER);
	}
	disown_closed(taken);
	sys_uring_exit(&taken->ring->own);
	taken->ring->own.ring_fd = taken->ring->own.enter_ring_fd = -1;
	taken->ring->uring = NULL;
}

void thread_ring_trim(void)
{
	struct thread_ring *taken = mine.ring;

	mine.ring = NULL;
	while (taken || (taken = pool_pop())) {
		destroy(taken);
		taken = NULL;
	}
}
