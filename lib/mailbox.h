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

struct mailbox;

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
 * Posts letter unless it is posted already; the wake is left to sweep, so that no
 * system call is made under a lock. Without a sweep the owner sees it at its next
 * dispatch. False: the mailbox is closed, nothing was posted.
 */
bool mailbox_post(struct mailbox *mailbox, struct letter *letter, struct sweep *sweep);

/* Takes a letter back. False: it was not there (taken out for delivery, or never posted). */
bool mailbox_retract(struct mailbox *mailbox, struct letter *letter);

/* Owner: clears the eventfd if it was written. Call it before taking letters, else one may stay unseen. */
void mailbox_reset(struct mailbox *mailbox);

/* Owner: takes the oldest letter out, NULL when there is none. */
struct letter *mailbox_next(struct mailbox *mailbox);

/* Owner: true when there is mail. Any thread may ask; no lock. */
bool mailbox_pending(const struct mailbox *mailbox);

/* Owner: wakes itself (or its event loop) without a letter. */
void mailbox_wake(struct mailbox *mailbox);

/* Owner: nothing is accepted from here on; what is in it can still be taken. */
void mailbox_close(struct mailbox *mailbox);

#endif
