/* SPDX-License-Identifier: MIT */
/*
 * lib/source: events that end contexts. It may use base, table, core, uring and ring.
 *
 * A context that a descriptor ends: with a watch on the descriptor, by its ring or by the poller, and a
 * watch on the context, which ends the first when the context ends otherwise or is released.
 *
 * Who frees it. On a ring everything happens on the owner's thread, which other threads tell by letter; the
 * memory goes when the kernel has let go of the poll. On the poller it goes by poller_stop: whoever gets
 * true from it, else the poller's thread, after the event. Either way the watch on the context is taken away
 * first, so that nobody is told of anything in memory that is gone.
 *
 * Locks: those of the kinds (signals, pressure) and the poller's are taken under that of a context, and
 * under them nothing but a mailbox's. So whoever finds contexts under such a lock pins them, and ends them
 * without it.
 */
#ifndef CTX_SOURCE_H
#define CTX_SOURCE_H

#include "cancel.h"
#include "file_id.h"
#include "poller.h"
#include "ring.h"

struct source;
struct source_choice;

struct source_ops {
	enum ctx_cause_kind kind;
	bool stays; /* an event does not always end it */
	/* These events are there. On the owner's thread in a dispatch, or on the poller's; no lock held. */
	void (*ready)(struct source *source, uint32_t events);
	/* It has its context, and is about to be watched. NULL: nothing to do. */
	void (*started)(struct source *source);
	/* The end of it, also of one that was not started; the lock of the context may be held. NULL:
	 * nothing. */
	void (*stopped)(struct source *source);
	/* What the cause is to say. */
	void (*describe)(const struct source *source, int code, char *text, size_t size);
};

struct source {
	struct watch watch;
	struct deferred later;
	struct letter letter; /* to the ring: something of this has changed */
	const struct source_ops *ops;
	struct ctx_ring *ring; /* NULL: the poller */
	union {
		struct poller_entry entry;
		struct ring_poll poll;
	};
	int fd;
	bool owns_fd; /* fd is the library's: closed with the source */
	struct file_id file;
	/* For kinds in which one event is for several, under the lock of the kind. */
	struct list link;
	bool chosen;
	int chosen_code;
	const struct source_choice *chosen_by; /* until it has been seen to */
	bool stopping;			       /* on a ring: the poll has been stopped */
};

/*
 * What all constructors share. A source of size bytes, which begins with struct source, zeroed; fd, owns_fd
 * and what else its kind has is filled in by the caller, then source_begin makes the context and the watch.
 * It takes the source over, also when it fails.
 */
struct source *source_new(size_t size, const struct source_ops *ops, struct ctx_ring *ring);

struct source_request {
	const struct ctx_context *parent;
	const char *label;
	const void *site;
	uint32_t events;
};
int source_begin(struct source *source, const struct source_request *request, struct ctx_context **ret_ctx);

/* For one that source_begin has not got: stopped is called, and it is freed. */
void source_discard(struct source *source);

/* Arguments of every constructor, before anything is made: 0, -EINVAL, -EPERM. */
int source_check(const struct ctx_context *parent, struct ctx_ring *ring, struct ctx_context **ret_ctx);

/* Ends its context. From ready. */
void source_end(struct source *source, int code);

/* From ready: nothing has happened yet. */
void source_again(struct source *source);

/*
 * Ends, for one event, the contexts of all sources in the list, guarded by lock, for which chooses says so;
 * each is chosen once. Those on other rings than here are ended in a dispatch of theirs. No lock held.
 */
struct source_choice {
	struct lock *lock;
	struct list *list;
	struct ctx_ring *here; /* NULL: the poller's */
	bool (*chooses)(const struct source *source, void *data);
	void *data;
	int code;
	const char *text; /* as describe makes it */
};
void source_end_chosen(const struct source_choice *choice);

#endif
