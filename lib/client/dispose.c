/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a service has sent and that may be anything: a socket with SO_LINGER, or a file whose file
 * system does not answer, is closed as slowly as whoever sent it likes. A thread does that, which is there as
 * long as it has something to do; one that is stuck keeps nobody but what comes behind it.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client.h"
#include "passed.h"
#include "sys.h"

#define WAITING_MAX 2048

static struct {
	struct lock lock; /* guards all of it */
	bool running;
	unsigned first, count;
	int fds[WAITING_MAX];
} waiting;

static void close_waiting(void)
{
	uint32_t forks = thread_fork_count;

	while (forks == thread_fork_count) {
		int fd = -1;
		lock_acquire(&waiting.lock);
		if (waiting.count) {
			fd = waiting.fds[waiting.first];
			waiting.first = (waiting.first + 1) % WAITING_MAX;
			waiting.count--;
		}
		waiting.running = fd >= 0;
		lock_release(&waiting.lock);
		if (fd < 0)
			break;
		sys_close(fd);
	}
}

static void *run_closing(void *unused)
{
	thread_begin("ctx-close");
	close_waiting();
	return unused;
}

void dispose(const int *fds, unsigned count)
{
	bool start, put;

	for (unsigned i = 0; i < count; i++) {
		lock_acquire(&waiting.lock);
		put = waiting.count < WAITING_MAX;
		if (put)
			waiting.fds[(waiting.first + waiting.count++) % WAITING_MAX] = fds[i];
		start = put && !waiting.running;
		waiting.running |= start;
		lock_release(&waiting.lock);
		if (start && thread_start(run_closing, NULL, 0))
			close_waiting(); /* there is no other place */
	}
}

bool dispose_has_room(void)
{
	lock_acquire(&waiting.lock);
	bool room = waiting.count < WAITING_MAX / 2;
	lock_release(&waiting.lock);
	return room;
}

void dispose_socket(int fd)
{
	shutdown(fd, SHUT_RDWR);
	if (passed_nothing(fd))
		sys_close(fd);
	else
		dispose(&fd, 1);
}

void dispose_forked(void)
{
	waiting.lock = (struct lock){0};
	waiting.running = false;
	waiting.count = 0;
}

/* ---- what they are, without asking a file system, or waiting for a pipe's lock */

static bool is_pipe_end(const struct ctxd_client *client, int fd)
{
	int mode = fcntl(fd, F_GETFL);
	struct statx status;

	if (mode < 0 || mode & O_PATH || (mode & O_ACCMODE) != O_RDONLY)
		return false;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status))
		return errno == ENOSYS || errno == EPERM; /* not where a sandbox has no such call */
	return S_ISFIFO(status.stx_mode) &&
	       makedev(status.stx_dev_major, status.stx_dev_minor) == client->scratch_file.device;
}

bool descriptors_are_right(const struct ctxd_client *client, const struct wire_message *message,
			   const int *fds)
{
	if (message->type == WIRE_JOINED && !message->joined.ended)
		return is_pipe_end(client, fds[0]) && sys_pidfd_signal(fds[1], 0) != -EBADF;
	return message->type != WIRE_FOUND || fcntl(fds[0], F_GET_SEALS) >= 0;
}
