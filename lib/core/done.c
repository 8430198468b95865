/* SPDX-License-Identifier: MIT */
#include "done.h"

#include "file_id.h"
#include "list.h"
#include "lock.h"
#include "memory.h"
#include "sys.h"
#include "thread.h"

/*
 * A pipe is locked while somebody reads it, which takes as long as the reader likes if its memory does not
 * answer. The last close of the write end waits for the lock. Nobody can keep an empty pipe locked. So where
 * another process has the read end, a thread closes the write end once words are written, and nobody waits
 * for that. To close a read end that others have as well waits for nothing.
 *
 * The read end of a pipe reports a hang-up when the write end is closed in all processes, so a forked child
 * must close its copies: it finds them in a list of all pipes that are open. The read end that it keeps
 * reports the end of the parent's context, so for its own copy of the context it makes another pipe.
 */
struct done {
	struct list link; /* in open_pipes or in closing, or alone */
	int read_fd, write_fd;
	struct file_id file; /* the file of both ends */
	bool known;	     /* its context has it, and the program may know the descriptor */
	bool foreign;	     /* the parent's: it was open when the process forked */
	bool given;	     /* another process may have its read end; the context's lock */
	bool open;	     /* in open_pipes: write_fd is open, and nothing was written */
	bool freed;	     /* it is in closing, and the closer frees it */
	struct done *older;  /* pipes of the parent, whose descriptors the program may know */
};

/* Guards all of these. A pipe is opened under it, and closed or moved to closing, so that open_pipes has
 * exactly the open ones. */
static struct lock pipes_lock;
static struct list open_pipes = {&open_pipes, &open_pipes};
static struct list closing = {&closing, &closing}; /* what the closer is to close */
static bool closer_started;
static int endless_fd = -1; /* of done_endless_fd() */

static _Atomic uint32_t closer_posts; /* a futex: counts what was put into closing */

static int open_pipe(struct done *done)
{
	int fds[2];

	lock_acquire(&pipes_lock);
	int result = sys_pipe2(fds, O_CLOEXEC | O_NONBLOCK);
	if (!result) {
		done->read_fd = fds[0];
		done->write_fd = fds[1];
		done->file = file_id_of(fds[0]);
		done->open = true;
		list_append(&open_pipes, &done->link);
	}
	lock_release(&pipes_lock);
	if (!result)
		/* The kernel limits how many pages a user has in pipes (pipe(7)), and one page is enough
		 * here. */
		fcntl(done->write_fd, F_SETPIPE_SZ, 4096);
	return result;
}

static void close_if_ours(const struct done *done, int fd)
{
	if (fd >= 0 && file_id_matches(done->file, fd))
		sys_close(fd);
}

int done_new(struct done *older, struct done **ret_done)
{
	struct done *done = memory_allocate(sizeof(*done));

	if (!done)
		return -ENOMEM;
	*done = (struct done){.older = older};
	list_init(&done->link);
	int result = open_pipe(done);
	if (result) {
		memory_release(done);
		return result;
	}
	*ret_done = done;
	return 0;
}

void done_set_known(struct done *done)
{
	done->known = true;
}

void done_set_given(struct done *done)
{
	done->given = true;
}

int done_fd(const struct done *done)
{
	return done && !done->foreign ? done->read_fd : -1;
}

/* ---- closing what others may have locked */

/*
 * Closes the first of closing. It stays in the list meanwhile, since a child that is forked then has a copy
 * of the write end. False: there is none.
 */
static bool close_first(void)
{
	lock_acquire(&pipes_lock);
	struct done *done = list_empty(&closing) ? NULL : container_of(closing.next, struct done, link);
	lock_release(&pipes_lock);
	if (!done)
		return false;
	close_if_ours(done, done->write_fd);
	lock_acquire(&pipes_lock);
	done->write_fd = -1;
	list_remove(&done->link);
	bool freed = done->freed;
	lock_release(&pipes_lock);
	if (freed)
		memory_release(done);
	return true;
}

static void *run_closer(void *unused)
{
	uint32_t forks = thread_fork_count;

	thread_begin("ctx-closer");
	while (forks == thread_fork_count) {
		uint32_t posts = atomic_load(&closer_posts);
		if (!close_first())
			sys_futex_wait(&closer_posts, posts, NULL);
	}
	return unused;
}

/* Does the work of the closer, which could not be started. */
static void close_here(void)
{
	bool more = true;

	while (more) {
		while (close_first())
			;
		lock_acquire(&pipes_lock);
		more = closer_started = !list_empty(&closing);
		lock_release(&pipes_lock);
	}
}

/* Something was put into closing. */
static void wake_closer(void)
{
	lock_acquire(&pipes_lock);
	bool start = !closer_started;
	closer_started = true;
	lock_release(&pipes_lock);
	atomic_fetch_add(&closer_posts, 1);
	if (!start)
		sys_futex_wake(&closer_posts, 1);
	else if (thread_start(run_closer, NULL, 0))
		close_here();
}

/* ---- the end of a context, and of its pipe */

void done_close(struct done *done, const void *words, size_t size)
{
	bool later = false;

	lock_acquire(&pipes_lock);
	if (done->open) {
		bool ours = file_id_matches(done->file, done->write_fd);
		done->open = false;
		list_remove(&done->link);
		/* A process that was cloned without the handlers of pthread_atfork(3) may have a copy of the
		 * write end, and then there is no hang-up. The words are readable all the same. */
		if (ours)
			sys_tell(done->write_fd, words, size);
		later = ours && done->given;
		if (later) {
			list_append(&closing, &done->link);
		} else {
			if (ours)
				sys_close(done->write_fd);
			done->write_fd = -1;
		}
	}
	lock_release(&pipes_lock);
	if (later)
		wake_closer();
}

void done_free(struct done *done)
{
	if (!done)
		return;
	lock_acquire(&pipes_lock);
	while (done) {
		struct done *older = done->older;
		close_if_ours(done, done->read_fd);
		if (!done->open && !list_empty(&done->link)) {
			done->freed = true;
		} else {
			close_if_ours(done, done->write_fd);
			list_remove(&done->link);
			memory_release(done);
		}
		done = older;
	}
	lock_release(&pipes_lock);
}

int done_endless_fd(void)
{
	lock_acquire(&pipes_lock);
	if (endless_fd < 0)
		endless_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int result = endless_fd;
	if (result < 0)
		endless_fd = -1;
	lock_release(&pipes_lock);
	return result;
}

/* ---- fork */

static void fork_prepare(void)
{
	lock_acquire(&pipes_lock);
}

static void fork_parent(void)
{
	lock_release(&pipes_lock);
}

static void fork_child(void)
{
	pipes_lock = (struct lock){0};
	/* To close here what is in closing could wait for its reader. It waits until more comes, and as long
	 * as this child is there its readers see no hang-up, only the words. */
	closer_started = false;
	while (!list_empty(&open_pipes)) {
		struct done *done = container_of(open_pipes.next, struct done, link);
		close_if_ours(done, done->write_fd);
		if (!done->known) /* a thread of the parent was about to call done_set_known() */
			close_if_ours(done, done->read_fd);
		done->write_fd = -1;
		done->foreign = true;
		done->open = false;
		list_remove(&done->link);
	}
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
