/* SPDX-License-Identifier: MIT */
/*
 * Closing descriptors that a service has sent. They may be anything, and closing some takes as long as their
 * sender likes: a socket with SO_LINGER, or a file whose file system does not answer. So a thread closes
 * them, which runs while there is something to close. If one descriptor keeps it, only those behind it in the
 * queue wait.
 *
 * A forked child has copies of what is in the queue, and no thread. Closing them in the fork handler could
 * keep the child for ever, and a thread that nobody expects is no better. So they stay in the child's queue
 * until the child uses the library: its first context, a connection to the service, or more descriptors to
 * close start the thread. By then the program may have closed them all and have other files at their numbers,
 * so the child notes which files they are, and closes no other. Of files that it cannot tell from others it
 * leaves its copies open.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client.h"
#include "passed.h"
#include "sys.h"

#define WAITING_MAX 4096
/* More packets than a socket's queue holds, so that a peer that keeps sending does not keep us here. */
#define QUEUE_MAX 4096
/* Nothing more is received while this process has put so many into the queue, see dispose_has_room(). */
#define OWN_MAX 1024
/* A forked child closes so many copies. Only forks of forked children leave it more. */
#define INHERITED_MAX 2048

static struct {
	struct lock lock; /* guards all of this */
	bool running;
	unsigned first, count;
	unsigned inherited;   /* how many of them, the first ones, are copies in a forked child */
	int fds[WAITING_MAX]; /* -1: is not to be closed */
	struct file_id files[WAITING_MAX]; /* of copies in a forked child; {0}: the number is ours */
} waiting;

/*
 * The file of a descriptor, as file_id_of(), but without asking its file system. {0}: it cannot be told from
 * others. Files without a type, as eventfds, have one inode together.
 */
static struct file_id file_of(int fd)
{
	struct statx status;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) ||
	    !(status.stx_mode & S_IFMT))
		return (struct file_id){0};
	return (struct file_id){.device = makedev(status.stx_dev_major, status.stx_dev_minor),
				.inode = status.stx_ino};
}

static void close_if_ours(int fd, struct file_id file)
{
	struct file_id now = file.inode ? file_of(fd) : file;

	if (fd >= 0 && now.inode == file.inode && now.device == file.device)
		sys_close(fd);
}

static void close_waiting(void)
{
	uint32_t forks = thread_fork_count;

	while (forks == thread_fork_count) {
		int fd = -1;
		struct file_id file = {0};
		lock_acquire(&waiting.lock);
		bool more = waiting.count > 0;
		if (more) {
			fd = waiting.fds[waiting.first];
			file = waiting.files[waiting.first];
			waiting.first = (waiting.first + 1) % WAITING_MAX;
			waiting.count--;
			waiting.inherited -= waiting.inherited > 0;
		}
		waiting.running = more;
		lock_release(&waiting.lock);
		if (!more)
			break;
		close_if_ours(fd, file);
	}
}

static void *run_closing(void *unused)
{
	thread_begin("ctx-close");
	close_waiting();
	return unused;
}

static void start_closing(void)
{
	if (thread_start(run_closing, NULL, 0))
		close_waiting(); /* without a thread it has to be done here */
}

void dispose(const int *fds, unsigned count)
{
	bool start, put;

	for (unsigned i = 0; i < count; i++) {
		lock_acquire(&waiting.lock);
		put = waiting.count < WAITING_MAX;
		if (put) {
			unsigned last = (waiting.first + waiting.count++) % WAITING_MAX;
			waiting.fds[last] = fds[i];
			waiting.files[last] = (struct file_id){0};
		}
		start = put && !waiting.running;
		waiting.running |= start;
		lock_release(&waiting.lock);
		if (start)
			start_closing();
	}
}

bool dispose_has_room(void)
{
	lock_acquire(&waiting.lock);
	bool room = waiting.count - waiting.inherited < OWN_MAX;
	lock_release(&waiting.lock);
	return room;
}

void dispose_socket(int fd)
{
	shutdown(fd, SHUT_RDWR);
	if (passed_nothing(fd, QUEUE_MAX))
		sys_close(fd);
	else
		dispose(&fd, 1);
}

void dispose_resume(void)
{
	lock_acquire(&waiting.lock);
	bool start = waiting.count && !waiting.running;
	waiting.running |= start;
	lock_release(&waiting.lock);
	if (start)
		start_closing();
}

void dispose_fork_prepare(void)
{
	lock_acquire(&waiting.lock);
}

void dispose_fork_parent(void)
{
	lock_release(&waiting.lock);
}

void dispose_fork_child(void)
{
	waiting.lock = (struct lock){0};
	waiting.running = false;
	if (waiting.count > INHERITED_MAX)
		waiting.count = INHERITED_MAX;
	waiting.inherited = waiting.count;
	for (unsigned i = 0; i < waiting.count; i++) {
		unsigned at = (waiting.first + i) % WAITING_MAX;
		/* A copy of a copy: the number may be another file's since the first fork. */
		if (waiting.files[at].inode)
			continue;
		waiting.files[at] = file_of(waiting.fds[at]);
		if (!waiting.files[at].inode)
			waiting.fds[at] = -1;
	}
}

/* ---- what a descriptor is, without asking its file system or waiting for the lock of a pipe */

static bool is_pipe_end(const struct ctxd_client *client, int fd)
{
	int mode = fcntl(fd, F_GETFL);
	struct statx status;

	if (mode < 0 || mode & O_PATH || (mode & O_ACCMODE) != O_RDONLY)
		return false;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status))
		/* A sandbox may forbid the call: then the access mode has to do. */
		return errno == ENOSYS || errno == EPERM;
	return S_ISFIFO(status.stx_mode) &&
	       makedev(status.stx_dev_major, status.stx_dev_minor) == client->scratch_file.device;
}

bool descriptors_are_right(const struct ctxd_client *client, const struct wire_message *message,
			   const int *fds)
{
	if (message->type == WIRE_JOINED && !message->joined.ended)
		return is_pipe_end(client, fds[0]) &&
		       (message->joined.flags & WIRE_REMOTE || sys_pidfd_signal(fds[1], 0) != -EBADF);
	return message->type != WIRE_FOUND || fcntl(fds[0], F_GET_SEALS) >= 0;
}
