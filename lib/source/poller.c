/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <string.h>

#include "file_id.h"
#include "lock.h"
#include "memory.h"
#include "sys.h"
#include "thread.h"

/* The release functions of the program's values may run on this thread, but little else of the program. */
#define STACK_SIZE (256 * 1024)
#define EVENTS_MAX 64
#define POINTS_FIRST 64u
#define ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))

/* What is watched at one number. */
struct point {
	struct poller_entry *first;
	uint32_t serial; /* serial of the registration; 0: the number has none */
	uint32_t events; /* events of the registration */
	bool stays;	 /* see struct poller_entry */
	/*
	 * A file that this number had before may live on under another number, and epoll may still have its
	 * registration here.
	 */
	bool may_be_stale;
	struct file_id file; /* the file of the registration; set only if may_be_stale */
};

static struct {
	struct lock lock; /* guards all fields but tid and errand */
	bool started;
	int epoll_fd, wake_fd;
	uint32_t serial;      /* the last serial that a registration was given */
	struct point *points; /* indexed by number */
	uint32_t point_count;
	struct poller_entry *lost;    /* entries whose number is another file's now */
	struct poller_entry *current; /* the entry whose ready runs, if it stays */
	_Atomic uint32_t tid;
	void (*errand)(void);
} poller = {.epoll_fd = -1, .wake_fd = -1};

/* ---- lists */

static void entry_insert(struct poller_entry **first, struct poller_entry *entry)
{
	entry->prev = NULL;
	entry->next = *first;
	if (*first)
		(*first)->prev = entry;
	*first = entry;
}

static void entry_remove(struct poller_entry **first, struct poller_entry *entry)
{
	if (entry->next)
		entry->next->prev = entry->prev;
	if (entry->prev)
		entry->prev->next = entry->next;
	else
		*first = entry->next;
	entry->next = entry->prev = NULL;
}

/* ---- registrations; the lock is held in all of these */

static struct point *point_of(const struct poller_entry *entry)
{
	struct point *point = &poller.points[entry->fd];

	return point->serial == entry->serial ? point : NULL;
}

static int point_reserve(int fd)
{
	uint32_t count = poller.point_count ? poller.point_count : POINTS_FIRST;

	if ((uint32_t)fd < poller.point_count)
		return 0;
	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF; /* checked first: a number that no descriptor has gets no memory */
	while (count <= (uint32_t)fd)
		count *= 2;
	struct point *points = memory_allocate(count * sizeof(*points));
	if (!points)
		return -ENOMEM;
	memset(points, 0, count * sizeof(*points));
	if (poller.point_count)
		memcpy(points, poller.points, poller.point_count * sizeof(*points));
	memory_release(poller.points);
	poller.points = points;
	poller.point_count = count;
	return 0;
}

/*
 * Registers a point, or changes its registration. The event comes once, until the registration is armed
 * again, so that a file that we have lost cannot cause events for ever. Not so for descriptors of the
 * library: of a pressure trigger each look takes the event away, also the look that arming takes.
 */
static int point_control(int operation, int fd, const struct point *point)
{
	struct epoll_event event = {.events = point->events | (point->stays ? 0 : (uint32_t)EPOLLONESHOT),
				    .data.u64 = (uint64_t)point->serial << 32 | (uint32_t)fd};

	return sys_epoll_ctl(poller.epoll_fd, operation, fd, &event);
}

/* The number is another file's now, or not open: its entries have lost their file. */
static void point_lose(struct point *point)
{
	struct poller_entry *entry;

	while ((entry = point->first)) {
		entry_remove(&point->first, entry);
		entry_insert(&poller.lost, entry);
	}
	point->serial = 0;
	point->may_be_stale = true;
}

static int registration_new(struct point *point, const struct poller_entry *entry)
{
	do
		poller.serial++;
	while (!poller.serial);
	*point = (struct point){.serial = poller.serial,
				.events = entry->events,
				.stays = entry->stays,
				.may_be_stale = point->may_be_stale};
	if (point->may_be_stale)
		point->file = file_id_of(entry->fd);
	int error = point_control(EPOLL_CTL_ADD, entry->fd, point);
	/* epoll still has a registration: the file had this number before, and has it again. */
	if (error == -EEXIST)
		error = point_control(EPOLL_CTL_MOD, entry->fd, point);
	if (error)
		point->serial = 0;
	return error;
}

static uint32_t point_events(const struct point *point)
{
	uint32_t events = 0;

	for (const struct poller_entry *entry = point->first; entry; entry = entry->next)
		events |= entry->events;
	return events;
}

/* Fits the registration to the entries that are left after some went, and arms it again if rearm is set. */
static void point_refresh(struct point *point, int fd, bool rearm)
{
	uint32_t events = point_events(point);

	if (!point->first) {
		/*
		 * Fails when the number is another file's by now. The registration of the old file may live
		 * on.
		 */
		if (point_control(EPOLL_CTL_DEL, fd, point))
			point->may_be_stale = true;
		point->serial = 0;
	} else if ((rearm && !point->stays) || events != point->events) {
		point->events = events;
		if (point_control(EPOLL_CTL_MOD, fd, point))
			point_lose(point);
	}
}

/*
 * Adds the events of one more entry to a registration. Calls epoll_ctl(2) also when nothing changes: its
 * result tells whether the number is still the same file's.
 */
static int point_widen(struct point *point, const struct poller_entry *entry)
{
	struct point wider = *point;

	if (point->may_be_stale && !file_id_matches(point->file, entry->fd))
		/*
		 * Two files may be registered at this number; modifying would reach the one that has it now.
		 */
		return -ENOENT;
	wider.events |= entry->events;
	int error = point_control(EPOLL_CTL_MOD, entry->fd, &wider);
	if (!error)
		point->events = wider.events;
	return error;
}

static int entry_add(struct poller_entry *entry)
{
	int error = point_reserve(entry->fd);

	if (error)
		return error;
	struct point *point = &poller.points[entry->fd];
	if (point->serial) {
		error = point_widen(point, entry);
		if (error == -ENOENT || error == -EBADF || error == -EPERM)
			point_lose(point);
		else if (error)
			return error;
	}
	if (!point->serial)
		error = registration_new(point, entry);
	if (error)
		return error;
	entry->serial = point->serial;
	entry->listed = true;
	entry_insert(&point->first, entry);
	return 0;
}

static void entry_unlist(struct poller_entry *entry)
{
	struct point *point = point_of(entry);

	entry_remove(point ? &point->first : &poller.lost, entry);
	entry->listed = false;
	if (point)
		point_refresh(point, entry->fd, false);
}

/* ---- the thread */

static bool entry_is_for(const struct poller_entry *entry, uint32_t serial, uint32_t events)
{
	return entry->serial == serial && events & (entry->events | ALWAYS);
}

/*
 * Takes all entries out of the list that an event of this registration is for, and returns them linked by
 * next.
 */
static struct poller_entry *take_entries(struct poller_entry **first, uint32_t serial, uint32_t events)
{
	struct poller_entry *entry = *first, *taken = NULL, *next;

	for (; entry; entry = next) {
		next = entry->next;
		if (!entry_is_for(entry, serial, events))
			continue;
		entry_remove(first, entry);
		entry->listed = false;
		entry->next = taken;
		taken = entry;
	}
	return taken;
}

static void entry_tell(struct poller_entry *entry, uint32_t events)
{
	entry->ready(entry, events & (entry->events | ALWAYS));
}

/*
 * Handles an event of a descriptor of the library: only one of the entries is told, however many watch it.
 * The lock is held, and released while ready and gone run.
 */
static void point_serve_own(struct poller_entry *entry, uint32_t serial, uint32_t events)
{
	while (entry && !entry_is_for(entry, serial, events))
		entry = entry->next;
	if (!entry)
		return;
	poller.current = entry;
	lock_release(&poller.lock);
	entry_tell(entry, events);
	lock_acquire(&poller.lock);
	poller.current = NULL;
	bool stopped = entry->stopped;
	lock_release(&poller.lock);
	if (stopped)
		entry->gone(entry);
	lock_acquire(&poller.lock);
}

static void point_serve(int fd, uint32_t serial, uint32_t events)
{
	lock_acquire(&poller.lock);
	struct point *point = &poller.points[fd];
	bool lost = point->serial != serial;
	struct poller_entry *taken = NULL, *next;
	if (!lost && point->stays) {
		point_serve_own(point->first, serial, events);
	} else {
		taken = take_entries(lost ? &poller.lost : &point->first, serial, events);
		/* Before any entry is told, for the program may close the descriptor then. */
		if (!lost)
			point_refresh(point, fd, true);
	}
	lock_release(&poller.lock);
	for (; taken; taken = next) {
		next = taken->next;
		entry_tell(taken, events);
		taken->gone(taken);
	}
}

/*
 * The program has closed the poller's descriptors, perhaps with all others that it had: all entries are lost.
 */
static void poller_give_up(void)
{
	lock_acquire(&poller.lock);
	for (uint32_t i = 0; i < poller.point_count; i++)
		point_lose(&poller.points[i]);
	poller.epoll_fd = poller.wake_fd = -1;
	poller.started = false;
	poller.tid = 0;
	lock_release(&poller.lock);
}

static void *poller_run(void *unused)
{
	struct epoll_event events[EVENTS_MAX];
	uint32_t forks = thread_fork_count;
	uint64_t count;

	thread_begin("ctx-poller");
	atomic_store_explicit(&poller.tid, thread_self()->tid, memory_order_release);
	while (forks == thread_fork_count) {
		int ready = sys_epoll_wait(poller.epoll_fd, events, EVENTS_MAX, -1);
		if (ready == -EBADF || ready == -EINVAL)
			break;
		for (int i = 0; i < ready && forks == thread_fork_count; i++) {
			uint64_t data = events[i].data.u64;
			if (data) {
				point_serve((int)(uint32_t)data, (uint32_t)(data >> 32), events[i].events);
			} else if (sys_read(poller.wake_fd, &count, sizeof(count)) > 0 && poller.errand) {
				poller.errand();
			}
		}
	}
	if (forks == thread_fork_count)
		poller_give_up();
	return unused;
}

/*
 * Makes the descriptors and starts the thread. Where that fails, the descriptors that were made are kept for
 * the next attempt.
 */
static int start_thread(void)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (poller.epoll_fd < 0) {
		int fd = sys_epoll_create1(EPOLL_CLOEXEC);
		if (fd < 0)
			return fd;
		poller.epoll_fd = fd;
	}
	if (poller.wake_fd < 0) {
		int fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		int error = fd < 0 ? fd : sys_epoll_ctl(poller.epoll_fd, EPOLL_CTL_ADD, fd, &event);
		if (error) {
			if (fd >= 0)
				sys_close(fd);
			return error;
		}
		poller.wake_fd = fd;
	}
	return thread_start(poller_run, NULL, STACK_SIZE);
}

int poller_start(void)
{
	int result = 0;

	lock_acquire(&poller.lock);
	if (!poller.started) {
		result = start_thread();
		poller.started = result == 0;
	}
	lock_release(&poller.lock);
	return result;
}

/* ---- for sources */

int poller_add(struct poller_entry *entry)
{
	int error = poller_start();

	if (error)
		return error;
	lock_acquire(&poller.lock);
	entry->fork_count = thread_fork_count;
	error = entry->stopped ? -EALREADY : entry_add(entry);
	lock_release(&poller.lock);
	return error;
}

bool poller_stop(struct poller_entry *entry)
{
	lock_acquire(&poller.lock);
	bool ours = entry->listed && entry != poller.current;
	if (entry->serial && entry->fork_count != thread_fork_count) {
		/* In a forked child nobody watches the copy: the first caller gets true. */
		entry->fork_count = thread_fork_count;
		entry->listed = false;
		ours = true;
	} else if (entry->listed) {
		entry_unlist(entry);
	}
	entry->stopped = true;
	lock_release(&poller.lock);
	return ours;
}

int poller_probe(int fd)
{
	struct epoll_event event = {.events = EPOLLONESHOT};
	int probe = sys_epoll_create1(EPOLL_CLOEXEC);

	if (probe < 0)
		return probe;
	int error = sys_epoll_ctl(probe, EPOLL_CTL_ADD, fd, &event);
	sys_close(probe);
	return error;
}

bool poller_wake(void)
{
	uint64_t one = 1;

	lock_acquire(&poller.lock);
	bool started = poller.started;
	if (started)
		sys_tell(poller.wake_fd, &one, sizeof(one));
	lock_release(&poller.lock);
	return started;
}

bool poller_is_self(void)
{
	return atomic_load_explicit(&poller.tid, memory_order_acquire) == thread_self()->tid;
}

void poller_set_errand(void (*errand)(void))
{
	poller.errand = errand;
}

/* ---- fork: the child begins without watches, and starts a thread of its own when it needs one */

static void fork_prepare(void)
{
	lock_acquire(&poller.lock);
}

static void fork_parent(void)
{
	lock_release(&poller.lock);
}

static void fork_child(void)
{
	poller.lock = (struct lock){0};
	if (poller.epoll_fd >= 0)
		sys_close(poller.epoll_fd);
	if (poller.wake_fd >= 0)
		sys_close(poller.wake_fd);
	poller.epoll_fd = poller.wake_fd = -1;
	poller.started = false;
	poller.tid = 0;
	poller.lost = poller.current = NULL;
	if (poller.point_count)
		memset(poller.points, 0, poller.point_count * sizeof(*poller.points));
}

__attribute__((constructor)) static void prepare_poller(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
