/* SPDX-License-Identifier: MIT */
/*
 * The owner of a ring. It is known by its serial number, since the kernel gives the number of a thread that
 * has ended to another one. And it holds a robust mutex of the ring for as long as it owns the ring. If it
 * ends before it gives the ring up, the kernel reports that to whoever tries the mutex next. That needs no
 * descriptor, and happens before pthread_join(3) returns.
 */
#include <stdio.h>
#include <string.h>

#include "cause.h"
#include "park.h"
#include "ring.h"

/*
 * The results of an ended thread's requests are in the queue a moment after its mutex is free. Where the
 * kernel does not say when, this is how long to wait.
 */
#define RESULTS_NS 100000000ull

void ring_owner_init(struct ctx_ring *ring)
{
	pthread_mutexattr_t attributes;

	ring->owner.set_cancel_state = pthread_setcancelstate;
	atomic_store_explicit(&ring->owner.serial, OWNER_NOBODY, memory_order_relaxed);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&ring->owner.mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

/* Locks the owner's mutex. Another thread may hold it for a moment, to find out whether there is an owner. */
static void hold_mutex(struct ctx_ring *ring)
{
	while (pthread_mutex_trylock(&ring->owner.mutex) == EBUSY)
		sched_yield();
	ring->owner.tid = thread_self()->tid;
	if (ring->record)
		ring->record->owner_tid = ring->owner.tid;
}

/* The reason for the -EPERM of ring_claim(). The number of the owner is read without order: it is for people.
 */
static __attribute__((noinline, cold)) void note_stranger(const struct ctx_ring *ring)
{
	if (ring->fork_count != thread_fork_count)
		debug_leave_reason(
			-EPERM,
			"the ring was opened in process %lu, before a fork: here it can only be closed",
			(unsigned long)cause_pid_before_fork(), 0);
	else if (atomic_load_explicit(&ring->owner.serial, memory_order_relaxed) == OWNER_GONE)
		debug_leave_reason(-EPERM, "the ring is being closed", 0, 0);
	else
		debug_leave_reason(-EPERM, "the ring belongs to thread %lu, and thread %lu called",
				   ring->owner.tid, thread_self()->tid);
}

int ring_claim(struct ctx_ring *ring)
{
	uint64_t nobody = OWNER_NOBODY;

	if (!ring)
		return debug_note(-EINVAL, "argument ring is NULL", 0, 0);
	if (ring->fork_count != thread_fork_count ||
	    !atomic_compare_exchange_strong_explicit(&ring->owner.serial, &nobody, thread_self()->serial,
						     memory_order_acq_rel, memory_order_acquire)) {
		if (debug_is_wanted())
			note_stranger(ring);
		return -EPERM;
	}
	if (ring->owner.disabled) {
		int error = uring_register(ring->uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
		if (error < 0) {
			atomic_store_explicit(&ring->owner.serial, OWNER_NOBODY, memory_order_release);
			return debug_note(error, "the kernel refused to enable the io_uring", 0, 0);
		}
		ring->owner.disabled = false;
	}
	hold_mutex(ring);
	/* The program may close the descriptor of a ring of blocking calls, and entering it is to show that.
	 */
	if (!ring->adopted && !ring->calls)
		uring_handle_register(&ring->handle, &ring->own);
	return 0;
}

static void give_up_ring(struct ctx_ring *ring, uint64_t next)
{
	if (ring_is_mine(ring))
		pthread_mutex_unlock(&ring->owner.mutex);
	ring->owner.tid = 0;
	atomic_store_explicit(&ring->owner.serial, next, memory_order_release);
}

void ring_disclaim(struct ctx_ring *ring)
{
	if (ring->record)
		ring->record->owner_tid = 0;
	uring_handle_unregister(&ring->handle, ring->uring);
	give_up_ring(ring, OWNER_NOBODY);
}

void ring_owner_free(struct ctx_ring *ring)
{
	/* In a forked child the copy of the mutex stays locked for ever, by a thread of the parent. */
	if (ring->fork_count == thread_fork_count)
		give_up_ring(ring, OWNER_GONE);
	atomic_store_explicit(&ring->owner.serial, OWNER_GONE, memory_order_release);
}

/* ---- owners that have ended */

/*
 * Reads the state of a thread and its flags, see proc(5). False: they cannot be read now, and nothing is
 * known.
 */
static bool read_thread_state(uint32_t tid, char *ret_state, unsigned *ret_flags)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/self/task/%u/stat", tid);
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	int size = sys_read(fd, text, sizeof(text) - 1);
	sys_close(fd);
	if (size <= 0)
		return false;
	text[size] = '\0';
	const char *name_end = strrchr(text, ')');
	return name_end && sscanf(name_end, ") %c %*d %*d %*d %*d %*d %u", ret_state, ret_flags) == 2;
}

/*
 * Whether a thread that has ended is over in the kernel, too. A thread with this number that is not exiting
 * is another one, which has only been given the number.
 */
static bool thread_is_over(uint32_t tid)
{
	const unsigned exiting = 0x4; /* PF_EXITING */
	unsigned flags;
	char state;

	if (syscall(SYS_tgkill, getpid(), tid, 0) < 0 && errno == ESRCH)
		return true;
	return read_thread_state(tid, &state, &flags) && (state == 'Z' || state == 'X' || !(flags & exiting));
}

int ring_claim_to_close(struct ctx_ring *ring)
{
	int error = ring_check(ring);

	if (error != -EPERM)
		return error;
	int held = pthread_mutex_trylock(&ring->owner.mutex);
	if (held == 0) /* the ring is just being claimed */
		pthread_mutex_unlock(&ring->owner.mutex);
	if (held != EOWNERDEAD)
		return -EPERM;
	pthread_mutex_consistent(&ring->owner.mutex);
	ring->owner.ended = true;
	if (!ring->adopted)
		uring_handle_forget(&ring->handle, &ring->own);
	/*
	 * The owner may have ended in a function of the program's amid a dispatch. Before a function is
	 * called all lists are in order. What that turn did not deliver goes back to the head of its list.
	 */
	ring->dispatching = ring->requests.withdrawing = false;
	list_splice(&ring->ops.delivering, &ring->ops.ready);
	list_splice(&ring->ops.ready, &ring->ops.delivering);
	list_splice(&ring->polls.delivering, &ring->polls.fired);
	list_splice(&ring->polls.fired, &ring->polls.delivering);
	if (ring->record)
		ring->record->owner_tid = thread_self()->tid;
	atomic_store_explicit(&ring->owner.serial, thread_self()->serial, memory_order_release);
	return 0;
}

int ring_await_results(const struct ctx_ring *ring, uint64_t timeout_ns)
{
	const struct timespec moment = {.tv_nsec = 100000};
	uint64_t now_ns = clock_now_ns(), end_ns = clock_after_ns(now_ns, timeout_ns);
	uint64_t enough_ns = clock_after_ns(now_ns, RESULTS_NS);

	for (; !thread_is_over(ring->owner.tid) && now_ns < enough_ns; now_ns = clock_now_ns()) {
		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		sys_poll(NULL, 0, &moment);
	}
	return 0;
}
