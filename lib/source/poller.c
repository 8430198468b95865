/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <string.h>

#include "file_id.h"
#include "lock.h"
#include "memory.h"
#include "sys.h"
#include "thread.h"

/* Values' release functions may run on it, little else that is the program's. */
#define STACK_SIZE (256 * 1024)
#define EVENTS_MAX 64
#define POINTS_FIRST 64u
#define ALWAYS ((uint32_t)(EPOLLERR | EPOLLHUP))

/* What is watched at one number. */
struct point {
	struct poller_entry *first;
	uint32_t serial; /* of the registration; 0: there is none */
	uint32_t events; /* of the registration */
	bool stays;	 /* see struct poller_entry */
	/* A file that was lost at this number may live on at another, and its registration here with it. */
	bool haunted;
	struct file_id file; /* of the registration, if haunted */
};

static struct {
	struct lock lock; /* guards all but tid and errand */
	bool started;
	int epoll_fd, wake_fd;
	uint32_t serial;      /* the last one given */
	struct point *points; /* by number */
	uint32_t point_count;
	struct poller_entry *lost;    /* their number is another file's now */
	struct poller_entry *current; /* the one whose ready runs */
	_Atomic uint32_t tid;
	void (*errand)(void);
} poller = {.epoll_fd = -1, .wake_fd = -1};

/* ---- lists */

static void insert(struct poller_entry **first, struct poller_entry *watched)
{
	watched->prev = NULL;
	watched->next = *first;
	if (*first)
		(*first)->prev = watched;
	*first = watched;
}

static void take_out(struct poller_entry **first, struct poller_entry *watched)
{
	if (watched->next)
		watched->next->prev = watched->prev;
	if (watched->prev)
		watched->prev->next = watched->next;
	else
		*first = watched->next;
	watched->next = watched->prev = NULL;
}

/* ---- registrations; all under the lock */

static struct point *point_of(const struct poller_entry *watched)
{
	struct point *point = &poller.points[watched->fd];

	return point->serial == watched->serial ? point : NULL;
}

static int point_reserve(int fd)
{
	uint32_t count = poller.point_count ? poller.point_count : POINTS_FIRST;

	if ((uint32_t)fd < poller.point_count)
		return 0;
	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF; /* no memory for numbers that nobody has */
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
 * Told once, until it is armed again, so that a file that we have lost cannot make noise for ever. Not so for
 * descriptors of our own: of a pressure trigger each look takes the event away, that of arming too.
 */
static int control(int operation, int fd, const struct point *point)
{
	struct epoll_event event = {.events = point->events | (point->stays ? 0 : (uint32_t)EPOLLONESHOT),
				    .data.u64 = (uint64_t)point->serial << 32 | (uint32_t)fd};

	return sys_epoll_ctl(poller.epoll_fd, operation, fd, &event);
}

/* The number is another file's, or nobody's: who watches it has lost its file. */
static void lose(struct point *point)
{
	struct poller_entry *watched;

	while ((watched = point->first)) {
		take_out(&point->first, watched);
		insert(&poller.lost, watched);
	}
	point->serial = 0;
	point->haunted = true;
}

static int registration_new(struct point *point, const struct poller_entry *watched)
{
	do
		poller.serial++;
	while (!poller.serial);
	*point = (struct point){.serial = poller.serial,
				.events = watched->events,
				.stays = watched->stays,
				.haunted = point->haunted};
	if (point->haunted)
		point->file = file_id_of(watched->fd);
	int error = control(EPOLL_CTL_ADD, watched->fd, point);
	/* It came back to the number that it had. */
	if (error == -EEXIST)
		error = control(EPOLL_CTL_MOD, watched->fd, point);
	if (error)
		point->serial = 0;
	return error;
}

static uint32_t union_of(const struct point *point)
{
	uint32_t events = 0;

	for (const struct poller_entry *watched = point->first; watched; watched = watched->next)
		events |= watched->events;
	return events;
}

/* After some went: fits the registration to who is left, and arms it again. */
static void review(struct point *point, int fd, bool rearm)
{
	uint32_t events = union_of(point);

	if (!point->first) {
		/* Fails when the number is not the file's any more. */
		if (control(EPOLL_CTL_DEL, fd, point))
			point->haunted = true;
		point->serial = 0;
	} else if ((rearm && !point->stays) || events != point->events) {
		point->events = events;
		if (control(EPOLL_CTL_MOD, fd, point))
			lose(point);
	}
}

/* For one more at the same number: says whether that is the same file's still, also when nothing else
 * changes. */
static int widen(struct point *point, const struct poller_entry *watched)
{
	struct point wider = *point;

	if (point->haunted && !file_id_matches(point->file, watched->fd))
		return -ENOENT; /* of several files, modifying goes to the one that is here now */
	wider.events |= watched->events;
	int error = control(EPOLL_CTL_MOD, watched->fd, &wider);
	if (!error)
		point->events = wider.events;
	return error;
}

static int add(struct poller_entry *watched)
{
	int error = point_reserve(watched->fd);

	if (error)
		return error;
	struct point *point = &poller.points[watched->fd];
	if (point->serial) {
		error = widen(point, watched);
		if (error == -ENOENT || error == -EBADF || error == -EPERM)
			lose(point);
		else if (error)
			return error;
	}
	if (!point->serial)
		error = registration_new(point, watched);
	if (error)
		return error;
	watched->serial = point->serial;
	watched->listed = true;
	insert(&point->first, watched);
	return 0;
}

static void unlist(struct poller_entry *watched)
{
	struct point *point = point_of(watched);

	take_out(point ? &point->first : &poller.lost, watched);
	watched->listed = false;
	if (point)
		review(point, watched->fd, false);
}

/* ---- the thread */

static bool is_for(const struct poller_entry *watched, uint32_t serial, uint32_t events)
{
	return watched->serial == serial && events & (watched->events | ALWAYS);
}

/* Takes out of the list those that an event of this registration is for, as a list by next. */
static struct poller_entry *take_all(struct poller_entry **first, uint32_t serial, uint32_t events)
{
	struct poller_entry *watched = *first, *taken = NULL, *next;

	for (; watched; watched = next) {
		next = watched->next;
		if (!is_for(watched, serial, events))
			continue;
		take_out(first, watched);
		watched->listed = false;
		watched->next = taken;
		taken = watched;
	}
	return taken;
}

static void tell(struct poller_entry *watched, uint32_t events)
{
	watched->ready(watched, events & (watched->events | ALWAYS));
}

/* A descriptor of our own: one event is told once, however many watch it. With the lock held. */
static void serve_own(struct poller_entry *watched, uint32_t serial, uint32_t events)
{
	while (watched && !is_for(watched, serial, events))
		watched = watched->next;
	if (!watched)
		return;
	poller.current = watched;
	lock_release(&poller.lock);
	tell(watched, events);
	lock_acquire(&poller.lock);
	poller.current = NULL;
	bool dropped = watched->dropped;
	lock_release(&poller.lock);
	if (dropped)
		watched->gone(watched);
	lock_acquire(&poller.lock);
}

static void serve(int fd, uint32_t serial, uint32_t events)
{
	lock_acquire(&poller.lock);
	struct point *point = &poller.points[fd];
	bool lost = point->serial != serial;
	struct poller_entry *taken = NULL, *next;
	if (!lost && point->stays) {
		serve_own(point->first, serial, events);
	} else {
		taken = take_all(lost ? &poller.lost : &point->first, serial, events);
		/* Before anybody is told: then the program may close the descriptor. */
		if (!lost)
			review(point, fd, true);
	}
	lock_release(&poller.lock);
	for (; taken; taken = next) {
		next = taken->next;
		tell(taken, events);
		taken->gone(taken);
	}
}

/* The program has closed our descriptors, perhaps with all that it had: nothing is watched any more. */
static void give_up(void)
{
	lock_acquire(&poller.lock);
	for (uint32_t i = 0; i < poller.point_count; i++)
		lose(&poller.points[i]);
	poller.epoll_fd = poller.wake_fd = -1;
	poller.started = false;
	poller.tid = 0;
	lock_release(&poller.lock);
}

static void *run(void *unused)
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
				serve((int)(uint32_t)data, (uint32_t)(data >> 32), events[i].events);
			} else if (sys_read(poller.wake_fd, &count, sizeof(count)) > 0 && poller.errand) {
				poller.errand();
			}
		}
	}
	if (forks == thread_fork_count)
		give_up();
	return unused;
}

/* Descriptors that were made and a thread that did not start are kept for the next attempt. */
static int start(void)
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
	return thread_start(run, NULL, STACK_SIZE);
}

int poller_start(void)
{
	int result = 0;

	lock_acquire(&poller.lock);
	if (!poller.started) {
		result = start();
		poller.started = result == 0;
	}
	lock_release(&poller.lock);
	return result;
}

/* ---- for sources */

int poller_add(struct poller_entry *watched)
{
	int error = poller_start();

	if (error)
		return error;
	lock_acquire(&poller.lock);
	watched->fork_count = thread_fork_count;
	error = watched->dropped ? -EALREADY : add(watched);
	lock_release(&poller.lock);
	return error;
}

bool poller_stop(struct poller_entry *watched)
{
	lock_acquire(&poller.lock);
	bool ours = watched->listed && watched != poller.current;
	if (watched->serial && watched->fork_count != thread_fork_count) {
		/* A forked child's copy is watched by nobody: whoever comes first has it. */
		watched->fork_count = thread_fork_count;
		watched->listed = false;
		ours = true;
	} else if (watched->listed) {
		unlist(watched);
	}
	watched->dropped = true;
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

/* ---- fork: the child begins with nothing watched, and a thread of its own when it needs one */

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

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
