/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "clock.h"
#include "log.h"
#include "wire.h"

#define BACKLOG 512
#define ACCEPT_MAX 32
#define PAUSE_NS 100000000ull
/* How often, and with what pauses, the lock is tried while another service starts at the same place. */
#define LOCK_ATTEMPTS 100
#define LOCK_PAUSE_MS 20

/* ---- opening */

/* 1: systemd gave the socket; 0: it gave none; -errno: it gave something else. */
static int take_systemd_socket(struct listener *listener, char *reason, size_t reason_size)
{
#ifdef HAVE_SYSTEMD
	int count = sd_listen_fds(1);

	if (count <= 0)
		return count;
	if (count > 1 || sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_SEQPACKET, 1) <= 0) {
		snprintf(reason, reason_size,
			 "systemd gave %d sockets; give exactly one, with ListenSequentialPacket=", count);
		return -EINVAL;
	}
	/*
	 * listen(2) is not called again: that would make this process the one that SO_PEERCRED names to
	 * clients, who trust the user that made the socket.
	 */
	listener->fd = SD_LISTEN_FDS_START;
	fcntl(listener->fd, F_SETFL, fcntl(listener->fd, F_GETFL) | O_NONBLOCK);
	return 1;
#else
	(void)listener;
	(void)reason;
	(void)reason_size;
	return 0;
#endif
}

/*
 * Whether the process is dead, even if its parent has not waited for it. The socket of a dead service can
 * listen a little longer: its io_uring, or a closer, still has it.
 */
static bool is_dead(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};
	bool dead = pidfd < 0 ? kill(pid, 0) && errno == ESRCH : poll(&ended, 1, 0) == 1;

	if (pidfd >= 0)
		close(pidfd);
	return dead;
}

/* Whether a living process listens there. */
static bool is_served(const struct sockaddr_un *address)
{
	struct ucred listener = {0};
	socklen_t size = sizeof(listener);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
				 (errno != ECONNREFUSED && errno != ENOENT));

	if (alive && !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) && listener.pid > 0)
		alive = !is_dead(listener.pid);
	if (fd >= 0)
		close(fd);
	return alive;
}

/*
 * 1: fd is locked and is still the file at path; 0: another process has the lock, or has just removed the
 * file; or -errno.
 */
static int try_lock_file(int fd, const char *path)
{
	struct stat ours, there;

	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? 0 : -errno;
	return !fstat(fd, &ours) && !stat(path, &there) && ours.st_dev == there.st_dev &&
	       ours.st_ino == there.st_ino;
}

/*
 * Takes the lock of the path. Its holder may replace the socket that a dead service left, and listens at the
 * path before it releases the lock. So of two services that start at once none replaces the socket of the
 * other. The descriptor, or -errno.
 */
static int lock_path(const char *path, char *reason, size_t reason_size)
{
	char lock[sizeof(((struct listener *)NULL)->path) + 8];
	int locked = 0;

	snprintf(lock, sizeof(lock), "%s.lock", path);
	for (int attempts = 0; !locked && attempts < LOCK_ATTEMPTS; attempts++) {
		int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		locked = fd < 0 ? -errno : try_lock_file(fd, lock);
		if (locked > 0)
			return fd;
		if (fd >= 0)
			close(fd);
		if (!locked)
			poll(NULL, 0, LOCK_PAUSE_MS);
	}
	if (locked)
		snprintf(reason, reason_size, "cannot lock %s: %s", lock, strerror(-locked));
	else
		snprintf(reason, reason_size,
			 "another ctxd is starting at %s; stop it, or give another place by --socket=PATH",
			 path);
	return locked ? locked : -EADDRINUSE;
}

static int replace_path(struct listener *listener, char *reason, size_t reason_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	int error = 0;

	strcpy(address.sun_path, listener->path);
	if (lstat(listener->path, &status) == 0) {
		if (!S_ISSOCK(status.st_mode)) {
			snprintf(reason, reason_size, "%s exists and is not a socket", listener->path);
			return -EEXIST;
		}
		if (is_served(&address)) {
			snprintf(reason, reason_size,
				 "another service listens at %s; give another place by --socket=PATH",
				 listener->path);
			return -EADDRINUSE;
		}
		unlink(listener->path);
	}
	listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The socket of root's service is for all users, that of another user for this user only. */
	mode_t before = umask(geteuid() == 0 ? 0111 : 0177);
	if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener->fd, BACKLOG))
		error = -errno;
	umask(before);
	if (error) {
		snprintf(reason, reason_size, "cannot listen at %s: %s", listener->path, strerror(-error));
		return error;
	}
	if (lstat(listener->path, &status) == 0) {
		listener->file_device = status.st_dev;
		listener->file_inode = status.st_ino;
	}
	return 0;
}

static int bind_path(struct listener *listener, char *reason, size_t reason_size)
{
	int lock_fd = lock_path(listener->path, reason, reason_size);

	if (lock_fd < 0)
		return lock_fd;
	int error = replace_path(listener, reason, reason_size);
	close(lock_fd);
	return error;
}

static bool is_writable_place(const char *path)
{
	char directory[108];

	strcpy(directory, path);
	char *slash = strrchr(directory, '/');
	if (!slash)
		return true; /* The path is in the working directory. */
	slash[slash == directory ? 1 : 0] = '\0';
	/* If a seccomp filter forbids access(2), the attempt to bind tells. */
	return access(directory, W_OK) == 0 || errno == EPERM || errno == ENOSYS;
}

static int choose_path(struct listener *listener, const char *path, char *reason, size_t reason_size)
{
	int error = 0;

	if (path) {
		if (!path[0] || strlen(path) >= sizeof(listener->path)) {
			snprintf(reason, reason_size, "the path of the socket must have 1 to 107 bytes");
			return -ENAMETOOLONG;
		}
		strcpy(listener->path, path);
		return 0;
	}
	for (unsigned place = 0; (error = wire_socket_path(place, listener->path)) == 0; place++)
		if (is_writable_place(listener->path))
			return 0;
	snprintf(reason, reason_size,
		 error == -ENAMETOOLONG
			 ? "the path in CTXD_SOCKET or XDG_RUNTIME_DIR is too long"
			 : "there is no place to listen: give --socket=PATH, or set XDG_RUNTIME_DIR");
	return error == -ENOENT ? -EACCES : error;
}

int listener_open(struct listener *listener, const char *path, char *reason, size_t reason_size)
{
	*listener = (struct listener){.fd = -1};
	int error = take_systemd_socket(listener, reason, reason_size);

	if (error)
		return error > 0 ? 0 : error;
	error = choose_path(listener, path, reason, reason_size);
	return error ? error : bind_path(listener, reason, reason_size);
}

const char *listener_name(const struct listener *listener, char name[LISTENER_NAME_SIZE])
{
	struct sockaddr_un address = {0};
	socklen_t size = sizeof(address);

	memset(name, 0, LISTENER_NAME_SIZE);
	if (getsockname(listener->fd, (struct sockaddr *)&address, &size))
		return name;
	/* A path ends with a NUL, or with the array. An abstract name begins with a NUL. */
	memcpy(name, address.sun_path, sizeof(address.sun_path));
	if (!name[0])
		name[0] = '@';
	return name;
}

/* ---- accepting */

/*
 * Stops accepting for a moment. The socket stays readable while no descriptors are free, so polling it would
 * be a busy loop.
 */
static void pause_accepting(struct listener *listener, int error)
{
	if (!listener->starved)
		log_event(LOG_LEVEL_ERROR, "accept",
			  "error=%s clients=%u remedy=\"raise LimitNOFILE= or ulimit -n\"",
			  strerrorname_np(error), listener->connections->count);
	listener->starved = true;
	listener->paused_until_ns = clock_now_ns() + PAUSE_NS;
}

static void accept_ready(struct loop_entry *entry, short revents)
{
	struct listener *listener = (struct listener *)entry->group;

	(void)revents;
	for (int i = 0; i < ACCEPT_MAX; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			listener->starved = false;
			connection_open(listener->connections, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			pause_accepting(listener, errno);
			return;
		}
		if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	loop_arm(&listener->accepting, POLLIN);
}

void listener_start(struct listener *listener, struct connections *connections)
{
	listener->connections = connections;
	loop_entry_init(&listener->accepting, &listener->group, listener->fd, accept_ready);
	loop_arm(&listener->accepting, POLLIN);
}

void listener_resume(struct listener *listener)
{
	if (!listener->paused_until_ns)
		return;
	listener->paused_until_ns = 0;
	loop_arm(&listener->accepting, POLLIN);
}

void listener_tick(struct listener *listener, uint64_t now_ns)
{
	if (listener->paused_until_ns && now_ns >= listener->paused_until_ns)
		listener_resume(listener);
}

static void listener_gone(struct loop_group *group)
{
	struct listener *listener = (struct listener *)group;

	close(listener->fd);
	listener->fd = -1;
}

/*
 * Accepts and refuses the clients that still wait to be accepted. Closing the socket would close what they
 * have sent, which can take long. If the socket was given to the service, whoever gave it keeps it open, and
 * they wait for the next service.
 */
static void refuse_pending(struct listener *listener)
{
	int fd;

	if (!listener->path[0])
		return;
	shutdown(listener->fd, SHUT_RDWR); /* No more clients can connect. */
	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0 || errno == EINTR)
		if (fd >= 0)
			connection_refuse(listener->connections, fd, -ESHUTDOWN);
}

void listener_stop(struct listener *listener)
{
	struct stat status;
	char lock[sizeof(listener->path) + 8];

	if (listener->path[0] && lstat(listener->path, &status) == 0 &&
	    status.st_dev == listener->file_device && status.st_ino == listener->file_inode) {
		unlink(listener->path);
		snprintf(lock, sizeof(lock), "%s.lock", listener->path);
		unlink(lock);
	}
	refuse_pending(listener);
	loop_group_end(&listener->group, listener_gone);
}
