/* SPDX-License-Identifier: MIT */
/*
 * How other threads reach the owner of a ring: letters under a lock, and an
 * eventfd that is written once for however many letters wait. Letters live in
 * what they are about. The mailbox is counted and outlives the ring as long as a
 * sender holds it, so that a late wake never writes to a stranger's descriptor.
 */
#ifndef CTX_MAILBOX_H
#define CTX_MAILBOX_H

#include "context.h"
#include "list.h"
#include "lock.h"

/* For mailbox.c alone; it stands here so that the owner's looks at it cost no call. */
struct mailbox {
	struct lock lock;    /* guards letters, quiet, closed, woken */
	uint32_t fork_count; /* a forked child's copy is dead: the eventfd is the parent's, and so may be who
				held the lock */
	_Atomic uint32_t refs;
	_Atomic uint32_t count; /* of letters; read without the lock */
	struct list letters;	/* oldest first */
	struct list quiet;	/* those whose delivery calls nobody, taken before the others */
	_Atomic bool woken;	/* the eventfd has been, or is about to be, written since it was last reset */
	bool closed;
	int fd;
	struct deferred wake; /* while it is deferred: holds a reference */
};

struct letter {
	struct list link; /* mailbox lock; alone: not posted */
	/* Runs on the owner's thread, in a dispatch, no lock held. */
	void (*deliver)(struct letter *letter);
};

int mailbox_new(struct mailbox **ret_mailbox);
struct mailbox *mailbox_ref(struct mailbox *mailbox);
void mailbox_unref(struct mailbox *mailbox);

/* The eventfd: becomes readable when there is mail. */
int mailbox_fd(const struct mailbox *mailbox);

/*
 * Posts letter unless it is posted already; the wake is left to later, so that no
 * system call is made under a lock. With NULL the owner sees it at its next
 * dispatch. False: the mailbox is closed, nothing was posted.
 */
bool mailbox_post(struct mailbox *mailbox, struct letter *letter, struct deferred_list *later);

/* The same for a letter whose delivery runs nothing of the program's: it is delivered in a drain, too. */
bool mailbox_post_quiet(struct mailbox *mailbox, struct letter *letter, struct deferred_list *later);

/* Takes a letter back. False: it was not there (taken out for delivery, or never posted). */
bool mailbox_retract(struct mailbox *mailbox, struct letter *letter);

void mailbox_clear(struct mailbox *mailbox);

/* Owner: clears the eventfd if it was written. Call it before taking letters, else one may stay unseen. */
static inline void mailbox_reset(struct mailbox *mailbox)
{
	if (__builtin_expect(atomic_load_explicit(&mailbox->woken, memory_order_acquire), 0))
		mailbox_clear(mailbox);
}

/* Owner: takes the oldest letter out, NULL when there is none. */
struct letter *mailbox_next(struct mailbox *mailbox);

/* The same of those that were posted as quiet. */
struct letter *mailbox_next_quiet(struct mailbox *mailbox);

/* True when there is mail. Any thread may ask; no lock. */
static inline bool mailbox_pending(const struct mailbox *mailbox)
{
	return atomic_load_explicit(&mailbox->count, memory_order_acquire) != 0;
}

/* Owner: wakes itself (or its event loop) without a letter. */
void mailbox_wake(struct mailbox *mailbox);

/* Owner: nothing is accepted from here on; what is in it can still be taken. */
void mailbox_close(struct mailbox *mailbox);

#endif
