/* SPDX-License-Identifier: MIT */
/*
 * A mailbox is how other threads reach the owner of a ring. Letters are put into lists under a lock, and an
 * eventfd is written once for however many letters wait. A letter lies in the structure that it is about. The
 * mailbox is counted, and outlives the ring while a sender holds it, so that a late wake never writes to a
 * descriptor that has become another file's.
 */
#ifndef CTX_MAILBOX_H
#define CTX_MAILBOX_H

#include "context.h"
#include "list.h"
#include "lock.h"

/* Private to mailbox.c. It is defined here so that the owner looks at it without a function call. */
struct mailbox {
	struct lock lock;    /* guards letters, quiet, closed, woken */
	uint32_t fork_count; /* of the process that made it: a forked child does not use its copy, since the
				eventfd is the parent's, and a thread of the parent may hold the lock */
	_Atomic uint32_t refs;
	_Atomic uint32_t count; /* how many letters wait; mailbox_pending() reads it without the lock */
	struct list letters;	/* oldest first */
	struct list quiet;  /* letters whose delivery calls nothing of the program; taken before the others */
	_Atomic bool woken; /* the eventfd has been written since it was last read, or is about to be; stored
			    under the lock, mailbox_reset() reads it without */
	bool closed;
	int fd;
	struct deferred wake; /* writes the eventfd; holds a reference while it is deferred */
};

struct letter {
	struct list link; /* mailbox lock; in a list of its own: not posted */
	/* Called on the owner's thread, in a dispatch, with no lock held. */
	void (*deliver)(struct letter *letter);
};

/* Returns 0 or -errno. */
int mailbox_new(struct mailbox **ret_mailbox);

struct mailbox *mailbox_ref(struct mailbox *mailbox);

/* Gives a reference back. The last one closes the eventfd. */
void mailbox_unref(struct mailbox *mailbox);

/* The eventfd. It becomes readable when there is a letter. */
int mailbox_fd(const struct mailbox *mailbox);

/*
 * Posts letter unless it is posted already. The wake is deferred to later, so that no system call is made
 * under a lock. With NULL nobody is woken, and the owner sees the letter in its next dispatch. False: the
 * mailbox is closed, and nothing was posted.
 */
bool mailbox_post(struct mailbox *mailbox, struct letter *letter, struct deferred_list *later);

/* As mailbox_post(), for a letter whose delivery calls no function of the program: it is delivered in a
 * drain, too. */
bool mailbox_post_quiet(struct mailbox *mailbox, struct letter *letter, struct deferred_list *later);

/* Takes a letter out again. False: it was not there, since it was taken for delivery or never posted. */
bool mailbox_retract(struct mailbox *mailbox, struct letter *letter);

/* The slow way of mailbox_reset(): reads the eventfd. */
void mailbox_clear(struct mailbox *mailbox);

/* Owner: reads the eventfd if it was written. To be called before letters are taken: a letter that was posted
 * in between would not make the eventfd readable. */
static inline void mailbox_reset(struct mailbox *mailbox)
{
	if (__builtin_expect(atomic_load_explicit(&mailbox->woken, memory_order_acquire), 0))
		mailbox_clear(mailbox);
}

/* Owner: takes the oldest letter, quiet ones first. NULL: there is none. */
struct letter *mailbox_next(struct mailbox *mailbox);

/* Owner: takes the oldest quiet letter. NULL: there is none. */
struct letter *mailbox_next_quiet(struct mailbox *mailbox);

/* True when a letter waits. For any thread; takes no lock. */
static inline bool mailbox_pending(const struct mailbox *mailbox)
{
	return atomic_load_explicit(&mailbox->count, memory_order_acquire) != 0;
}

/* Makes the eventfd readable without a letter, to wake the owner or its event loop. */
void mailbox_wake(struct mailbox *mailbox);

/* Owner: refuses letters from here on. Those that wait can still be taken. */
void mailbox_close(struct mailbox *mailbox);

#endif
