/* SPDX-License-Identifier: MIT */
#include "blocking_nowait.h"

#include <stdio.h>

#include "lock.h"
#include "sys.h"

/* The thread that holds this has made an open file non-blocking for a moment. */
static struct lock turn;

/*
 * Guards opened, the list of pipes that have been opened a second time. It is held only while one of them is
 * opened or closed.
 */
static struct lock opened_lock;
static struct list opened = {&opened, &opened};

/*
 * Opens a pipe a second time. In a pipe with O_DIRECT each write is a packet. open(2) itself knows no such
 * pipes.
 */
static int open_pipe(const char *path, int flags)
{
	int fd = sys_openat(AT_FDCWD, path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && (flags & O_DIRECT) && fcntl(fd, F_SETFL, O_NONBLOCK | O_DIRECT) < 0) {
		int error = -errno;
		sys_close(fd);
		return error;
	}
	return fd;
}

/*
 * Opens the file of fd a second time, if it is a pipe. To open a device a second time may mean something to
 * it, and a terminal that was hung up would work again.
 */
static int open_again(struct blocking_nowait *nowait, int fd, int flags)
{
	char path[32];
	struct stat status;

	if (fstat(fd, &status) || !S_ISFIFO(status.st_mode))
		return -ENOTSUP;
	/*
	 * The name is that of the thread, not of the process: a thread may have descriptors of its own, see
	 * CLONE_FILES in unshare(2).
	 */
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	lock_acquire(&opened_lock);
	nowait->fd = open_pipe(path, flags);
	if (nowait->fd >= 0)
		list_append(&opened, &nowait->link);
	lock_release(&opened_lock);
	return nowait->fd < 0 ? nowait->fd : 0;
}

int blocking_nowait_begin_own(struct blocking_nowait *nowait, int fd)
{
	lock_acquire(&turn);
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) {
		int error = -errno;
		lock_release(&turn);
		return error;
	}
	*nowait = (struct blocking_nowait){.fd = fd, .from = fd, .flags = flags};
	return 0;
}

int blocking_nowait_begin(struct blocking_nowait *nowait, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	nowait->from = fd;
	if (!(flags & O_NONBLOCK) && !open_again(nowait, fd, flags))
		return 0;
	return blocking_nowait_begin_own(nowait, fd);
}

void blocking_nowait_end(struct blocking_nowait *nowait)
{
	if (nowait->fd != nowait->from) {
		lock_acquire(&opened_lock);
		list_remove(&nowait->link);
		sys_close(nowait->fd);
		lock_release(&opened_lock);
		return;
	}
	if (!(nowait->flags & O_NONBLOCK))
		fcntl(nowait->from, F_SETFL, nowait->flags);
	lock_release(&turn);
}

static void fork_prepare(void)
{
	lock_acquire(&opened_lock);
}

static void fork_parent(void)
{
	lock_release(&opened_lock);
}

/* The threads that would close these pipes are not in the child. */
static void fork_child(void)
{
	while (!list_empty(&opened)) {
		struct blocking_nowait *nowait = container_of(opened.next, struct blocking_nowait, link);
		list_remove(&nowait->link);
		sys_close(nowait->fd);
	}
	opened_lock = turn = (struct lock){0};
}

__attribute__((constructor)) static void prepare(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
