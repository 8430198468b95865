/* SPDX-License-Identifier: MIT */
#include "thread_ring.h"

#include "memory.h"

/* The most spare rings, which are rings without a thread. Each counts against RLIMIT_MEMLOCK. */
#define SPARE_MAX 32u

/* How long to wait after a ring could not be opened before the next one is tried. */
#define PAUSE_NS 100000000ull

static struct {
	struct lock lock; /* guards the fields that are not atomic */
	struct list all;  /* the rings of threads and the spare ones, so that a forked child finds them */
	struct thread_ring *spare;
	struct thread_ring *inherited; /* in a forked child: whole rings, to be closed */
	unsigned spare_count;
	pthread_key_t key; /* its destructor runs at the end of a thread */
	bool have_key;
	_Atomic bool have_inherited;
	_Atomic int error;		/* of the last try to open a ring */
	_Atomic uint64_t not_before_ns; /* when to try again; CTX_FOREVER: there is no io_uring */
} rings = {.all = {&rings.all, &rings.all}};

static __thread struct {
	struct thread_ring *ring; /* NULL: the thread has none yet, or a call has taken it */
	bool announced;		  /* the destructor of the key will run at the thread's end */
} mine __attribute__((tls_model("initial-exec")));

bool thread_ring_is_forbidden(int error)
{
	return error == -EPERM || error == -EACCES || error == -ENOSYS;
}

static bool is_inherited(const struct thread_ring *taken)
{
	return taken->ring->fork_count != thread_fork_count;
}

static void unlist_ring(struct thread_ring *taken)
{
	lock_acquire(&rings.lock);
	list_remove(&taken->link);
	lock_release(&rings.lock);
}

/* Forgets the io_uring's descriptor. One that is registered can be entered all the same. */
static void forget_ring_fd(struct ctx_ring *ring)
{
	ring->own.ring_fd = ring->own.enter_ring_fd = -1;
	if (!ring->handle.flags)
		uring_handle_forget(&ring->handle, &ring->own);
}

/*
 * Forgets those descriptors of a ring that the program has closed: their numbers may be those of other files
 * now.
 */
static void forget_closed_descriptors(struct thread_ring *taken)
{
	if (!file_id_matches(taken->ring_file, taken->ring->own.ring_fd))
		forget_ring_fd(taken->ring);
	if (!file_id_matches(taken->wake_file, mailbox_fd(taken->ring->mailbox)))
		taken->ring->mailbox->fd = -1;
}

/* Closes a ring on which no call is under way. */
static void close_thread_ring(struct thread_ring *taken)
{
	unlist_ring(taken);
	forget_closed_descriptors(taken);
	/* This does not fail: the ring is the calling thread's, and there is nothing to wait for. */
	if (!ctx_ring_close(taken->ring, CTX_FOREVER, NULL, 0, NULL))
		memory_release(taken);
}

/* ---- spare rings */

static struct thread_ring *spare_pop(void)
{
	lock_acquire(&rings.lock);
	struct thread_ring *taken = rings.spare;
	if (taken) {
		rings.spare = taken->next;
		rings.spare_count--;
	}
	lock_release(&rings.lock);
	return taken;
}

static bool spare_push(struct thread_ring *taken)
{
	lock_acquire(&rings.lock);
	bool room = rings.spare_count < SPARE_MAX;
	if (room) {
		taken->next = rings.spare;
		rings.spare = taken;
		rings.spare_count++;
	}
	lock_release(&rings.lock);
	return room;
}

/*
 * Makes a ring that its thread does not need any more a spare one, or closes it. Requests that the thread has
 * in the kernel would end with it, so none may stay.
 */
static void spare_or_close(struct thread_ring *taken)
{
	if (ring_hand_over(taken->ring) || !spare_push(taken))
		close_thread_ring(taken);
}

/* ---- the end of a thread */

static void thread_ends(void *value)
{
	struct thread_ring *taken = mine.ring;

	(void)value;
	mine.ring = NULL;
	mine.announced = false; /* a destructor that runs later may make calls */
	if (taken)
		spare_or_close(taken);
}

static int make_thread_key(void)
{
	lock_acquire(&rings.lock);
	int error = rings.have_key ? 0 : pthread_key_create(&rings.key, thread_ends);
	rings.have_key |= !error;
	lock_release(&rings.lock);
	return -error;
}

static int register_thread_end(void)
{
	if (mine.announced)
		return 0;
	int error = make_thread_key();
	if (!error)
		error = -pthread_setspecific(rings.key, &mine);
	mine.announced = !error;
	return error;
}

/* ---- fork */

/*
 * In a forked child the parent's rings are of no use. The ring of the thread that forked and the spare rings
 * are whole, and are closed as any ring. What other threads had may be in the middle of anything, so of their
 * rings only the descriptors and the mapping are closed. The descriptors are closed at once: later the child
 * may have closed all that it does not know, and may use the numbers for its own files. The rest is done at
 * the child's first call, since most children make none.
 */
static void close_descriptors(struct thread_ring *taken)
{
	int ring_fd;

	forget_closed_descriptors(taken);
	ring_fd = taken->ring->own.ring_fd;
	if (ring_fd >= 0)
		sys_close(ring_fd);
	forget_ring_fd(taken->ring);
	if (mailbox_fd(taken->ring->mailbox) >= 0)
		sys_close(mailbox_fd(taken->ring->mailbox));
	taken->ring->mailbox->fd = -1;
}

static void close_inherited(void)
{
	struct thread_ring *whole;
	struct list *link;

	lock_acquire(&rings.lock);
	atomic_store(&rings.have_inherited, false);
	whole = rings.inherited;
	rings.inherited = NULL;
	for (link = rings.all.next; link != &rings.all; link = link->next) {
		struct thread_ring *taken = container_of(link, struct thread_ring, link);
		if (is_inherited(taken) && !taken->whole && taken->ring->uring) {
			ring_close_uring(taken->ring);
			taken->ring->uring = NULL;
		}
	}
	lock_release(&rings.lock);
	while (whole) {
		struct thread_ring *taken = whole;
		whole = taken->next;
		close_thread_ring(taken);
	}
}

static void keep_inherited(struct thread_ring *taken)
{
	taken->whole = true;
	taken->next = rings.inherited;
	rings.inherited = taken;
}

static void fork_prepare(void)
{
	lock_acquire(&rings.lock);
}

static void fork_parent(void)
{
	lock_release(&rings.lock);
}

static void fork_child(void)
{
	struct list *link;

	rings.lock = (struct lock){0};
	for (link = rings.all.next; link != &rings.all; link = link->next)
		close_descriptors(container_of(link, struct thread_ring, link));
	if (mine.ring)
		keep_inherited(mine.ring);
	mine.ring = NULL;
	while (rings.spare) {
		struct thread_ring *taken = rings.spare;
		rings.spare = taken->next;
		keep_inherited(taken);
	}
	rings.spare_count = 0;
	atomic_store(&rings.have_inherited, !list_empty(&rings.all));
}

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* ---- taking and giving back */

static int open_thread_ring(struct thread_ring **ret_taken)
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
	lock_acquire(&rings.lock);
	list_append(&rings.all, &taken->link);
	lock_release(&rings.lock);
	*ret_taken = taken;
	return 0;
}

/* Whether to try to open a ring now. now: do not wait for the end of the pause. */
static bool may_open(bool now)
{
	uint64_t not_before_ns = atomic_load_explicit(&rings.not_before_ns, memory_order_relaxed);

	if (!not_before_ns)
		return true;
	return not_before_ns != CTX_FOREVER && (now || clock_coarse_ns() >= not_before_ns);
}

static int take_slowly(bool now, struct thread_ring **ret_taken)
{
	if (atomic_load(&rings.have_inherited))
		close_inherited();
	int error = register_thread_end();
	if (error)
		return error;
	*ret_taken = spare_pop();
	if (*ret_taken)
		return 0;
	if (!may_open(now))
		return atomic_load(&rings.error);
	error = open_thread_ring(ret_taken);
	if (error) {
		atomic_store(&rings.error, error);
		atomic_store(&rings.not_before_ns,
			     thread_ring_is_forbidden(error) ? CTX_FOREVER : clock_coarse_ns() + PAUSE_NS);
	} else if (atomic_load(&rings.not_before_ns)) {
		atomic_store(&rings.not_before_ns, 0);
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
		return; /* the call forked, and this is the child */
	if (__builtin_expect(!mine.ring, 1))
		mine.ring = taken;
	else
		spare_or_close(taken);
}

void thread_ring_discard(struct thread_ring *taken, int error)
{
	if (thread_ring_is_forbidden(error)) {
		atomic_store(&rings.error, error);
		atomic_store(&rings.not_before_ns, CTX_FOREVER);
	}
	forget_closed_descriptors(taken);
	uring_handle_unregister(&taken->ring->handle, &taken->ring->own);
	ring_close_uring(taken->ring);
	forget_ring_fd(taken->ring);
	taken->ring->uring = NULL;
}

void thread_ring_trim(void)
{
	struct thread_ring *taken = mine.ring;

	mine.ring = NULL;
	while (taken || (taken = spare_pop())) {
		close_thread_ring(taken);
		taken = NULL;
	}
}
