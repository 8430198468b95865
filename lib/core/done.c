/* SPDX-License-Identifier: MIT */
#include "done.h"

#include "file_id.h"
#include "list.h"
#include "lock.h"
#include "memory.h"
#include "sys.h"

/*
 * The read end of a pipe reports a hang-up when the write end is closed in all processes, so a forked child
 * must close its copies: it finds them in a list of all pipes that are open. The read end that it keeps
 * reports the end of the parent's context, so for its own copy of the context it makes another pipe.
 */
struct done {
	struct list link; /* in open_pipes while write_fd is open */
	int read_fd, write_fd;
	struct file_id file; /* the file of both ends */
	bool known;	     /* its context has it, and the program may know the descriptor */
	bool foreign;	     /* the parent's: it was open when the process forked */
	struct done *older;  /* pipes of the parent, whose descriptors the program may know */
};

/* Guards open_pipes and endless_fd. A pipe is opened and closed under it, so that the list has exactly the
 * open ones. */
static struct lock pipes_lock;
static struct list open_pipes = {&open_pipes, &open_pipes};
static int endless_fd = -1; /* of done_endless_fd() */

static int open_pipe(struct done *done)
{
	int fds[2];

	lock_acquire(&pipes_lock);
	int result = sys_pipe2(fds, O_CLOEXEC | O_NONBLOCK);
	if (!result) {
		done->read_fd = fds[0];
		done->write_fd = fds[1];
		done->file = file_id_of(fds[0]);
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

int done_fd(const struct done *done)
{
	return done && !done->foreign ? done->read_fd : -1;
}

void done_close(struct done *done, const void *words, size_t size)
{
	lock_acquire(&pipes_lock);
	if (done->write_fd >= 0) {
		/* A process that was cloned without the handlers of pthread_atfork(3) may have a copy of the
		 * write end, and then there is no hang-up. The words are readable all the same. */
		if (file_id_matches(done->file, done->write_fd)) {
			sys_tell(done->write_fd, words, size);
			sys_close(done->write_fd);
		}
		done->write_fd = -1;
		list_remove(&done->link);
	}
	lock_release(&pipes_lock);
}

void done_free(struct done *done)
{
	while (done) {
		struct done *older = done->older;
		lock_acquire(&pipes_lock);
		close_if_ours(done, done->write_fd);
		close_if_ours(done, done->read_fd);
		list_remove(&done->link);
		lock_release(&pipes_lock);
		memory_release(done);
		done = older;
	}
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
	while (!list_empty(&open_pipes)) {
		struct done *done = container_of(open_pipes.next, struct done, link);
		close_if_ours(done, done->write_fd);
		if (!done->known) /* a thread of the parent was about to call done_set_known() */
			close_if_ours(done, done->read_fd);
		done->write_fd = -1;
		done->foreign = true;
		list_remove(&done->link);
	}
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
