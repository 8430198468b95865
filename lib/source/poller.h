/* SPDX-License-Identifier: MIT */
/*
 * The poller: one thread, ctx-poller, that waits in epoll_wait(2) for descriptors on behalf of contexts that
 * no ring watches. It starts when the first such context is made.
 *
 * epoll keeps one registration for a number and its file, so entries that watch the same number share one,
 * which has the union of their events. When the program closes a descriptor, epoll drops the file by itself,
 * and the number may be another file's when we look again. epoll_ctl(2) shows that: it looks up number and
 * file, and modifying the registration of a file that is gone fails with -ENOENT. Entries that have lost
 * their file in this way are told nothing any more, and get no events of the file that has the number later:
 * an event carries the serial of its registration, not the number alone.
 */
#ifndef CTX_POLLER_H
#define CTX_POLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A watch on a descriptor, embedded in the object that it is for. The first six fields are the poller's, and
 * guarded by its lock.
 */
struct poller_entry {
	struct poller_entry *next, *prev;
	uint32_t serial;
	uint32_t fork_count;
	bool listed;  /* is in the list of its number, or in the list of lost entries */
	bool stopped; /* poller_stop was called */
	/*
	 * The descriptor is the library's own. It is watched until poller_stop, not only until the first
	 * event.
	 */
	bool stays;
	int fd;
	uint32_t events;
	/* Called for these events, on the poller's thread and without a lock. */
	void (*ready)(struct poller_entry *entry, uint32_t events);
	/*
	 * Called on that thread when the poller is done with the entry: after ready if it does not stay, or
	 * if poller_stop was called during ready. From here on its memory is its maker's again.
	 */
	void (*gone)(struct poller_entry *entry);
};

/* Initialises the fields that are read before poller_add has set them. */
static inline void poller_entry_init(struct poller_entry *entry)
{
	entry->next = entry->prev = NULL;
	entry->serial = 0;
	entry->listed = entry->stopped = false;
}

/* Starts the thread if it does not run. 0, -EAGAIN, -EMFILE, -ENFILE, -ENOMEM. */
int poller_start(void);

/*
 * Starts to watch an entry whose fd, events, stays and functions are set. 0; -EALREADY: poller_stop was
 * called before; what poller_start returns; or what epoll_ctl(2) returns: -EBADF, -EPERM, -ENOMEM, -ENOSPC.
 */
int poller_add(struct poller_entry *entry);

/*
 * Stops watching an entry. Any thread may call this, also with the lock of a context held. True: no function
 * of the entry is called any more. False: gone will be called, or poller_add has not been called yet.
 */
bool poller_stop(struct poller_entry *entry);

/* Whether epoll can watch this file at all: 0, -EPERM or -EBADF. Needs no thread. */
int poller_probe(int fd);

/*
 * Makes the poller's thread call the function that poller_set_errand has set. False: the thread does not run.
 */
bool poller_wake(void);

/* Whether the calling thread is the poller's. */
bool poller_is_self(void);

/* Sets the one function that the thread calls whenever it was woken. To be set before the thread starts. */
void poller_set_errand(void (*errand)(void));

#endif
