/* SPDX-License-Identifier: MIT */
/*
 * The one thread, ctx-poller, that waits for descriptors on behalf of contexts that no ring watches. It
 * starts with the first of them, and sleeps in epoll_wait(2).
 *
 * epoll knows a file by its number once, so what watches the same number shares a registration, with the
 * union of the events. A descriptor that the program closes drops out of epoll by itself, and its number may
 * be another file's when we look again. epoll_ctl(2) tells: it goes by number and file, and modifying the
 * registration of a file that is gone is -ENOENT. What has lost its file so is told of nothing any more, and
 * takes nothing away from who comes to the number later. An event bears the serial of its registration, not a
 * number alone.
 */
#ifndef CTX_POLLER_H
#define CTX_POLLER_H

#include <stdbool.h>
#include <stdint.h>

/* A watch on a descriptor, inside of what it is for. The first six are the poller's, under its lock. */
struct poller_entry {
	struct poller_entry *next, *prev;
	uint32_t serial;
	uint32_t fork_count;
	bool listed;  /* is being watched */
	bool stopped; /* nobody wants it any more */
	bool stays; /* the library's own descriptor: watched until it is stopped, not until the first event */
	int fd;
	uint32_t events;
	/* On the poller's thread, no lock held: these events are there. */
	void (*ready)(struct poller_entry *entry, uint32_t events);
	/* On that thread, after ready, if it does not stay, or if poller_stop came meanwhile: its memory is
	 * its maker's again. */
	void (*gone)(struct poller_entry *entry);
};

/* For the first four. */
static inline void poller_entry_init(struct poller_entry *entry)
{
	entry->next = entry->prev = NULL;
	entry->serial = 0;
	entry->listed = entry->stopped = false;
}

/* Starts the thread if it does not run. 0, -EAGAIN, -EMFILE, -ENFILE, -ENOMEM. */
int poller_start(void);

/*
 * Watches; fd, events, stays and functions are set. 0; -EALREADY: poller_stop came first; what poller_start
 * or epoll_ctl(2) return: -EBADF, -EPERM, -ENOMEM, -ENOSPC.
 */
int poller_add(struct poller_entry *entry);

/* Ends it. Any thread, also with the lock of a context held. True: nothing is called any more; false: gone
 * is, or poller_add has not been called. */
bool poller_stop(struct poller_entry *entry);

/* Whether epoll can watch this file at all: 0, -EPERM, or -EBADF. Needs no thread. */
int poller_probe(int fd);

/* Makes the poller's thread call what poller_set_errand said. False: there is no such thread. */
bool poller_wake(void);
bool poller_is_self(void);

/* One function for the thread to call whenever it was woken; before the thread is started. */
void poller_set_errand(void (*errand)(void));

#endif
