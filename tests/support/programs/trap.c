/* SPDX-License-Identifier: MIT */
/*
 * A process that lies in wait for whoever looks at it, for tests of ctxtool:
 *
 *	trap KIND
 *
 * What it shows looks like a context table and is a file that never lets go of who opens or reads it: a FIFO
 * without a writer, or a file of a file system of its own, whose server answers until the trap is set and
 * never again. Runs in a mount name space of its own. Prints the pid of the server, or 0, when the trap is
 * set; then waits until standard input is closed. To be ended by killing the server first: what the trap
 * itself waits for lets go then.
 *
 *	fifo     a descriptor of a FIFO, beside the mapping of a memfd that has no descriptor
 *	file     a descriptor of a file, beside such a mapping
 *	mapping  a mapping of a file
 *	lock     a thread that waits for a write while it holds the lock of the memory of its process
 *	words    a table, in a process whose name is ctxtool and whose command line is in a file
 *	code     a table with a place in a program that cannot be opened a second time
 *	lease    a table with a lease on it: who opens it is waited for by the kernel, and waits
 *
 * Ends with 77 where there is no FUSE to be had.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/table_writer.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define NAME "memfd:" CTX_TABLE_MEMFD_NAME
#define SIZE 65536u
#define FILE_NODE 2

static const char *kind;
static pid_t server;

static int is(const char *name)
{
	return strcmp(kind, name) == 0;
}

static void check(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void say_ready(pid_t pid)
{
	dprintf(STDOUT_FILENO, "%d\n", (int)pid);
}

/* ---- the server of the file system */

struct answer {
	struct fuse_out_header header;
	union {
		struct fuse_init_out init;
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
		struct fuse_open_out open;
		char bytes[SIZE];
	};
};

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){.ino = node,
				  .size = node == FILE_NODE ? SIZE : 0,
				  .blksize = 4096,
				  .nlink = 1,
				  .mode = node == FILE_NODE ? S_IFREG | 0666 : S_IFDIR | 0777};
}

/* Size of what answer holds beside its header, -1: no answer. */
static long prepare(const struct fuse_in_header *request, const void *body, struct answer *answer)
{
	const struct fuse_read_in *read_in = body;
	const struct fuse_init_in *init = body;
	static int opened, found;

	switch (request->opcode) {
	case FUSE_INIT:
		answer->init = (struct fuse_init_out){.major = FUSE_KERNEL_VERSION,
						      .minor = init->minor,
						      .max_readahead = init->max_readahead,
						      .flags = init->flags &
							       (FUSE_BIG_WRITES | FUSE_WRITEBACK_CACHE),
						      .max_write = 4096};
		return sizeof(answer->init);
	case FUSE_LOOKUP:
		if (found++ && is("code"))
			return -1;
		answer->entry = (struct fuse_entry_out){.nodeid = FILE_NODE,
							.entry_valid = is("code") ? 0 : 1000,
							.attr_valid = 1000,
							.attr = attributes(FILE_NODE)};
		return sizeof(answer->entry);
	case FUSE_GETATTR:
		answer->attr = (struct fuse_attr_out){.attr_valid = opened ? 0 : 1000,
						      .attr = attributes(request->nodeid)};
		return opened ? -1 : (long)sizeof(answer->attr);
	case FUSE_OPEN:
		return opened++ ? -1 : (long)sizeof(answer->open);
	case FUSE_READ:
		return is("lock") ? (long)read_in->size : -1;
	case FUSE_WRITE: /* whose thread waits now */
		say_ready(getpid());
		return -1;
	default:
		answer->header.error = -ENOSYS;
		return request->opcode == FUSE_FORGET || request->opcode == FUSE_BATCH_FORGET ? -1 : 0;
	}
}

static void serve(int device)
{
	static char request[SIZE + 65536];
	static struct answer answer;

	for (;;) {
		ssize_t length = read(device, request, sizeof(request));
		const struct fuse_in_header *header = (const void *)request;
		if (length < (ssize_t)sizeof(*header) &&
		    (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (length < (ssize_t)sizeof(*header))
			_exit(0);
		memset(&answer, 0, sizeof(answer));
		answer.header.unique = header->unique;
		long size = prepare(header, header + 1, &answer);
		if (size < 0)
			continue;
		answer.header.len = (uint32_t)(sizeof(answer.header) + (size_t)size);
		(void)!write(device, &answer, answer.header.len);
	}
}

/* Mounts it on directory. The server is a child, which ends with us, and with it whatever waits for it. */
static void mount_own(const char *directory)
{
	char options[128];
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (device < 0) {
		fprintf(stderr, "no /dev/fuse: %s\n", strerror(errno));
		exit(77);
	}
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", device, getuid(),
		 getgid());
	if (mount("trap", directory, "fuse", MS_NOSUID | MS_NODEV, options)) {
		fprintf(stderr, "no FUSE: %s\n", strerror(errno));
		exit(77);
	}
	pid_t parent = getpid();
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			serve(device);
		_exit(0);
	}
	close(device);
}

/* ---- the traps */

/* A descriptor of a FIFO or of a file of ours, whose path is that of a memfd. */
static int open_lookalike(void)
{
	char directory[] = "/tmp/ctxring-trap-XXXXXX", path[64];

	check(mkdtemp(directory) != NULL, "mkdtemp");
	if (is("fifo"))
		check(mount("trap", directory, "tmpfs", 0, NULL) == 0, "mount");
	else
		mount_own(directory);
	snprintf(path, sizeof(path), "%s/%s", directory, NAME);
	if (is("fifo"))
		check(mkfifo(path, 0666) == 0, "mkfifo");
	int fd = open(path, is("fifo") ? O_RDONLY | O_NONBLOCK : O_RDWR);
	check(fd >= 0, path);
	/* What is left of the path is the name. */
	check(umount2(directory, MNT_DETACH) == 0 && rmdir(directory) == 0, "umount");
	return fd;
}

/* The descriptor that made it counts as one that writes, beside which there is no such lease. */
static void lease(int fd)
{
	char path[32];

	signal(SIGIO, SIG_IGN);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int other = open(path, O_RDONLY);
	check(other >= 0, path);
	close(fd);
	check(fcntl(other, F_SETLEASE, F_WRLCK) == 0, "lease");
}

static void make_table(const char *label, uint64_t site)
{
	size_t size = made_table_size(MADE_SAMPLE_CONTEXTS, MADE_SAMPLE_OPERATIONS, MADE_SAMPLE_CAUSES,
				      MADE_SAMPLE_RINGS);
	int fd = memfd_create(CTX_TABLE_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct timespec now;

	check(fd >= 0 && ftruncate(fd, (off_t)size) == 0, "memfd");
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(bytes != MAP_FAILED && fcntl(fd, F_ADD_SEALS, SEALS) == 0, "mmap");
	clock_gettime(CLOCK_MONOTONIC, &now);
	struct made_table table = made_table_sample(
		bytes, getpid(), (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	strcpy(made_table_context(&table, 1)->label, label);
	made_table_context(&table, 1)->site = site;
	if (is("lease"))
		lease(fd);
	else
		close(fd);
}

static void *hold_lock(void *page)
{
	/* The kernel writes what is mapped there to the file before something else is. */
	mmap(page, SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return NULL;
}

/* Maps a program of a file system of our own, which stays where it is mounted. Returns an address in it. */
static uint64_t map_code(void)
{
	mount_own("/mnt");
	int fd = open("/mnt/code", O_RDONLY);
	check(fd >= 0, "/mnt/code");
	char *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	check(page != MAP_FAILED, "mmap");
	return (uintptr_t)page + 16;
}

static void map_over_words(int fd, char *word)
{
	char *page = word - (uintptr_t)word % 4096;

	check(mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == page, "mmap");
}

int main(int argc, char **argv)
{
	static char copy[16];
	pthread_t thread;

	if (argc < 2)
		return 2;
	strncpy(copy, argv[1], sizeof(copy) - 1);
	kind = copy;
	prctl(PR_SET_NAME, is("words") ? "ctxtool" : "trap");
	int fd = is("lease") || is("code") ? -1 : open_lookalike();
	if (!is("mapping"))
		make_table("trap", is("code") ? map_code() : 0);
	if (is("mapping") || is("lock")) {
		char *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		check(page != MAP_FAILED, "mmap");
		if (is("lock")) {
			page[0] = 1;
			check(pthread_create(&thread, NULL, hold_lock, page) == 0, "pthread_create");
		}
	}
	if (is("words"))
		map_over_words(fd, argv[0]);
	if (!is("lock"))
		say_ready(server);
	while (read(STDIN_FILENO, copy, 1) > 0)
		;
	_exit(0);
}
