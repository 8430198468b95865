/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that clients gave: how they are closed, and which of them are pipes.
 *
 * Closing one can take as long as the client likes, so the disposal of the service does it, see closer.h. A
 * broker without a service, as in tests, closes them at once.
 */
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "parts.h"
#include "table_copy.h"

/* ---- closing descriptors */

static void close_now(void *link, uid_t uid, int fd, bool known)
{
	(void)link;
	(void)uid;
	(void)known;
	close(fd);
}

static void copy_now(void *link, uid_t uid, int fd, uint64_t bytes_max, void (*done)(void *data, int result),
		     void *data)
{
	int result = table_copy(fd, bytes_max);

	close_now(link, uid, fd, true);
	done(data, result);
}

static bool has_room_always(void *link, uid_t uid, uint32_t fds_max)
{
	(void)link;
	(void)uid;
	(void)fds_max;
	return true;
}

void broker_set_disposal(struct broker *broker, const struct disposal *disposal)
{
	broker->disposal = *disposal;
}

void given_close(struct broker *broker, uid_t uid, int fd, bool known)
{
	if (fd >= 0)
		broker->disposal.close(broker->disposal.link, uid, fd, known);
}

bool given_has_room(const struct broker *broker, uid_t uid)
{
	return broker->disposal.has_room(broker->disposal.link, uid, broker->config.fds_max);
}

/* ---- telling pipes from other files */

static bool ask_statx(int fd, struct stat *ret_status)
{
	struct statx known;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &known))
		return false;
	*ret_status = (struct stat){
		.st_dev = makedev(known.stx_dev_major, known.stx_dev_minor),
		.st_ino = known.stx_ino,
		.st_mode = known.stx_mode,
		.st_uid = known.stx_uid,
	};
	return true;
}

/*
 * Whether fd is a pipe and not a FIFO, with its status. statx(2) is asked for what the kernel has at hand, so
 * no file system is asked; and nothing here takes the lock of the pipe.
 */
static bool is_pipe(const struct broker *broker, int fd, struct stat *ret_status)
{
	if (broker->has_statx ? !ask_statx(fd, ret_status) : fstat(fd, ret_status) != 0)
		return false;
	return S_ISFIFO(ret_status->st_mode) && ret_status->st_dev == broker->pipe_device;
}

bool given_done_pipe(const struct peer *peer, int fd, bool by_owner, struct stat *ret_status)
{
	int mode = fcntl(fd, F_GETFL);

	return mode >= 0 && !(mode & O_PATH) && (mode & O_ACCMODE) == O_RDONLY &&
	       is_pipe(peer->broker, fd, ret_status) &&
	       (!by_owner || peer->identity.uid == 0 || ret_status->st_uid == peer->identity.uid);
}

/*
 * Learns the device of all pipes: the kernel keeps them in one file system of its own. False: there are no
 * descriptors.
 */
static bool learn_pipe_device(struct broker *broker)
{
	struct stat status;
	int ends[2];

	if (pipe(ends))
		return false;
	broker->has_statx = ask_statx(ends[0], &status);
	bool known = broker->has_statx || !fstat(ends[0], &status);
	broker->pipe_device = status.st_dev;
	close(ends[0]);
	close(ends[1]);
	return known;
}

bool given_init(struct broker *broker)
{
	broker->disposal =
		(struct disposal){.close = close_now, .copy = copy_now, .has_room = has_room_always};
	return learn_pipe_device(broker);
}
