/* SPDX-License-Identifier: MIT */
#include "support/stuck.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/harness.h"

#define LINGER_S 600
/* A file system whose test has died must not keep anybody longer. */
#define SERVER_LIFE_S 60

/* ---- sockets */

struct lingering lingering_open(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
	struct lingering lingering;
	static char bytes[65536];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(bind(listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(listen(listener, 1));
	ck_assert_ok(getsockname(listener, (struct sockaddr *)&address, &size));
	lingering.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_ok(connect(lingering.fd, (struct sockaddr *)&address, sizeof(address)));
	lingering.peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(lingering.peer, 0);
	close(listener);
	ck_assert_ok(setsockopt(lingering.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	while (send(lingering.fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	return lingering;
}

void lingering_close(struct lingering *lingering)
{
	struct linger linger = {0};

	if (lingering->fd >= 0) {
		setsockopt(lingering->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(lingering->fd);
	}
	if (lingering->peer >= 0)
		close(lingering->peer);
	lingering->fd = lingering->peer = -1;
}

/* ---- files */

static void answer(int device, const struct fuse_in_header *request)
{
	struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096};
	struct fuse_entry_out entry = {.nodeid = 2,
				       .attr = {.ino = 2, .mode = S_IFREG | 0666, .nlink = 1, .size = 4096}};
	struct fuse_open_out opened = {.fh = 1};
	struct fuse_attr_out attributes = {
		.attr = {.ino = request->nodeid,
			 .mode = request->nodeid == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0666,
			 .nlink = 1,
			 .size = 4096}};
	struct fuse_out_header header = {.unique = request->unique};
	struct iovec parts[2] = {{&header, sizeof(header)}, {NULL, 0}};

	switch (request->opcode) {
	case FUSE_INIT:
		parts[1] = (struct iovec){&init, sizeof(init)};
		break;
	case FUSE_LOOKUP:
		parts[1] = (struct iovec){&entry, sizeof(entry)};
		break;
	case FUSE_OPEN:
		parts[1] = (struct iovec){&opened, sizeof(opened)};
		break;
	case FUSE_GETATTR:
		parts[1] = (struct iovec){&attributes, sizeof(attributes)};
		break;
	case FUSE_FLUSH:
	case FUSE_READ:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	case FUSE_RELEASE:
		break;
	default:
		header.error = -ENOSYS;
	}
	header.len = (uint32_t)(sizeof(header) + parts[1].iov_len);
	(void)!writev(device, parts, 2);
}

static void serve(int device)
{
	static char buffer[1 << 17];

	prctl(PR_SET_PDEATHSIG, 0);
	alarm(SERVER_LIFE_S);
	for (;;) {
		ssize_t size = read(device, buffer, sizeof(buffer));
		if (size > 0)
			answer(device, (struct fuse_in_header *)buffer);
		else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
			_exit(0);
	}
}

bool silent_fs_mount(struct silent_fs *fs, const char **ret_reason)
{
	char options[128];
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	*ret_reason = "needs /dev/fuse";
	if (device < 0)
		return false;
	*ret_reason = "needs the right to mount";
	snprintf(fs->directory, sizeof(fs->directory), "/tmp/ctxring-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fs->directory));
	snprintf(fs->file, sizeof(fs->file), "%s/file", fs->directory);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%d,group_id=%d", device, getuid(),
		 getgid());
	bool mounted = !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) &&
		       !mount("silent", fs->directory, "fuse", MS_NOSUID | MS_NODEV, options);
	if (mounted && (fs->server = fork()) == 0)
		serve(device);
	close(device);
	if (!mounted)
		rmdir(fs->directory);
	return mounted;
}

void silent_fs_end(struct silent_fs *fs)
{
	kill(fs->server, SIGKILL);
	waitpid(fs->server, NULL, 0);
	umount2(fs->directory, MNT_DETACH);
	rmdir(fs->directory);
}
