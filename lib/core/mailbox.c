/* SPDX-License-Identifier: MIT */
#include "mailbox.h"

#include "memory.h"
#include "thread.h"

static void write_eventfd(struct mailbox *mailbox)
{
	uint64_t one = 1;
	sys_tell(mailbox->fd, &one, sizeof(one));
}

static void run_wake(struct deferred *deferred)
{
	struct mailbox *mailbox = container_of(deferred, struct mailbox, wake);
	write_eventfd(mailbox);
	mailbox_unref(mailbox);
}

int mailbox_new(struct mailbox **ret_mailbox)
{
	struct mailbox *mailbox = memory_allocate(sizeof(*mailbox));
	if (!mailbox)
		return -ENOMEM;
	*mailbox = (struct mailbox){.refs = 1, .wake.run = run_wake, .fork_count = thread_fork_count};
	list_init(&mailbox->letters);
	list_init(&mailbox->quiet);
	mailbox->fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mailbox->fd < 0) {
		int error = mailbox->fd;
		memory_release(mailbox);
		return error;
	}
	*ret_mailbox = mailbox;
	return 0;
}

struct mailbox *mailbox_ref(struct mailbox *mailbox)
{
	atomic_fetch_add_explicit(&mailbox->refs, 1, memory_order_relaxed);
	return mailbox;
}

void mailbox_unref(struct mailbox *mailbox)
{
	if (atomic_fetch_sub_explicit(&mailbox->refs, 1, memory_order_acq_rel) != 1)
		return;
	sys_close(mailbox->fd);
	memory_release(mailbox);
}

int mailbox_fd(const struct mailbox *mailbox)
{
	return mailbox->fd;
}

static bool post_letter(struct mailbox *mailbox, struct list *to, struct letter *letter,
			struct deferred_list *later)
{
	bool wake = false;

	if (mailbox->fork_count != thread_fork_count)
		return false;
	lock_acquire(&mailbox->lock);
	bool open = !mailbox->closed;
	if (open && list_empty(&letter->link)) {
		list_append(to, &letter->link);
		atomic_fetch_add_explicit(&mailbox->count, 1, memory_order_release);
	}
	if (open && later && !atomic_load_explicit(&mailbox->woken, memory_order_relaxed)) {
		atomic_store_explicit(&mailbox->woken, true, memory_order_release);
		wake = true;
	}
	lock_release(&mailbox->lock);

	/* woken was false, so the deferred work is in no list. */
	if (wake) {
		mailbox_ref(mailbox);
		defer(later, &mailbox->wake);
	}
	return open;
}

bool mailbox_post(struct mailbox *mailbox, struct letter *letter, struct deferred_list *later)
{
	return post_letter(mailbox, &mailbox->letters, letter, later);
}

bool mailbox_post_quiet(struct mailbox *mailbox, struct letter *letter, struct deferred_list *later)
{
	return post_letter(mailbox, &mailbox->quiet, letter, later);
}

bool mailbox_retract(struct mailbox *mailbox, struct letter *letter)
{
	if (mailbox->fork_count != thread_fork_count)
		return false;
	lock_acquire(&mailbox->lock);
	bool posted = !list_empty(&letter->link);
	if (posted) {
		list_remove(&letter->link);
		atomic_fetch_sub_explicit(&mailbox->count, 1, memory_order_release);
	}
	lock_release(&mailbox->lock);
	return posted;
}

/* Takes the first letter of a list, NULL: it is empty. With the lock held. */
static struct letter *take_first(struct mailbox *mailbox, struct list *from)
{
	if (list_empty(from))
		return NULL;
	struct letter *letter = container_of(from->next, struct letter, link);
	list_remove(&letter->link);
	atomic_fetch_sub_explicit(&mailbox->count, 1, memory_order_release);
	return letter;
}

struct letter *mailbox_next(struct mailbox *mailbox)
{
	lock_acquire(&mailbox->lock);
	struct letter *letter = take_first(mailbox, &mailbox->quiet);
	if (!letter)
		letter = take_first(mailbox, &mailbox->letters);
	lock_release(&mailbox->lock);
	return letter;
}

struct letter *mailbox_next_quiet(struct mailbox *mailbox)
{
	lock_acquire(&mailbox->lock);
	struct letter *letter = take_first(mailbox, &mailbox->quiet);
	lock_release(&mailbox->lock);
	return letter;
}

void mailbox_clear(struct mailbox *mailbox)
{
	uint64_t count;

	/*
	 * A thread that posts sets woken first and writes the eventfd later. Only after the read has found
	 * that write may woken be cleared. If it were cleared earlier, the next post would defer the wake a
	 * second time while the first list still has it.
	 */
	if (sys_read(mailbox->fd, &count, sizeof(count)) != sizeof(count))
		return;
	lock_acquire(&mailbox->lock);
	atomic_store_explicit(&mailbox->woken, false, memory_order_release);
	lock_release(&mailbox->lock);
}

void mailbox_wake(struct mailbox *mailbox)
{
	if (mailbox->fork_count != thread_fork_count)
		return;
	lock_acquire(&mailbox->lock);
	bool wake = !atomic_exchange_explicit(&mailbox->woken, true, memory_order_release);
	lock_release(&mailbox->lock);
	if (wake)
		write_eventfd(mailbox);
}

void mailbox_close(struct mailbox *mailbox)
{
	if (mailbox->fork_count != thread_fork_count)
		return;
	lock_acquire(&mailbox->lock);
	mailbox->closed = true;
	lock_release(&mailbox->lock);
}
