/* SPDX-License-Identifier: MIT */
/*
 * Places are looked up by a process of our own for each process that is looked at, the namer. It gets
 * addresses and answers with names. So nothing that the files of another process make libdw do can hold up or
 * end ctxtool: files may be of a file system whose server never answers, may be cut while they are read, or
 * be made to find a fault in libdw. A namer that does not answer in time is killed, and no name is known
 * then.
 *
 * Where root looks at another user's process, the namer becomes that user before it opens a file, since what
 * a file says may make libdw open another one. Paths are those below the process's own root.
 */
#include "site_names.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "discover.h"
#include "monotonic.h"
#include "symbols.h"
#include "terminal.h"

/* How long one namer is waited for in vain, and all together. */
#define WAIT_MS 2000
#define WAIT_ALL_MS 4000
/* More places of one process are not looked up. */
#define PLACES_MAX 4096u
/* More files of one process are not opened. */
#define FILES_MAX 64u
#define MEMORY_MAX (8ull << 30)
#define PROCESSOR_SECONDS_MAX 20u
/* Nobody's group: that of another user's process is not known. */
#define GROUP_NOBODY 65534u

struct place {
	uint64_t address;
	struct site_name *name; /* NULL: not known */
};

struct site_names {
	pid_t namer; /* 0: none was started, or it has ended */
	int socket;
	bool over;	      /* no namer can be had any more */
	struct place *places; /* sorted by address */
	size_t count;
};

static int wait_left_ms = WAIT_ALL_MS;

struct site_names *site_names_new(void)
{
	struct site_names *names = calloc(1, sizeof(*names));

	if (names)
		names->socket = -1;
	return names;
}

/* ---- the namer */

/* A file that the process has mapped. */
struct mapped_file {
	const struct site_range *range;
	struct symbols *symbols; /* NULL: there are none */
};

struct namer {
	const struct process *process;
	int root, exe; /* O_PATH; -1: not to be had */
	struct mapped_file files[FILES_MAX];
	size_t file_count;
};

static bool is_file_of(int fd, const struct site_range *range)
{
	struct statx status;

	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) &&
	       S_ISREG(status.stx_mode) && (!range->inode || status.stx_ino == range->inode);
}

/* Opens a file for reading if it is the one that is mapped. Takes over path_fd. */
static int reopen_file(int path_fd, const struct site_range *range)
{
	char link[32];
	int fd = -1;

	if (path_fd < 0)
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	if (is_file_of(path_fd, range))
		fd = open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	close(path_fd);
	return fd;
}

static int open_file(const struct namer *namer, const struct site_range *range)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd;

	if (namer->process->is_core)
		return reopen_file(open(range->path, O_PATH | O_CLOEXEC), range);
	fd = (int)syscall(SYS_openat2, namer->root, range->path, &how, sizeof(how));
	/* Containers forbid it by ENOSYS or EPERM. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(namer->root, range->path + 1, O_PATH | O_CLOEXEC);
	fd = reopen_file(fd, range);
	/* The program may have been deleted or replaced while it runs. */
	return fd >= 0 ? fd : reopen_file(fcntl(namer->exe, F_DUPFD_CLOEXEC, 0), range);
}

static struct symbols *open_symbols(const struct namer *namer, const struct site_range *range)
{
	/* Any file may have taken the place of one that a dead process had mapped. */
	if (namer->process->is_core && !range->build_id_size)
		return NULL;
	int fd = open_file(namer, range);
	struct symbols *symbols = fd < 0 ? NULL : symbols_open(fd);
	if (symbols && range->build_id_size && !symbols_match(symbols, range->build_id, range->build_id_size))
		return NULL;
	return symbols;
}

static struct symbols *symbols_of(struct namer *namer, const struct site_range *range)
{
	for (size_t i = 0; i < namer->file_count; i++)
		if (strcmp(namer->files[i].range->path, range->path) == 0)
			return namer->files[i].symbols;
	if (namer->file_count == FILES_MAX)
		return NULL;
	struct mapped_file *file = &namer->files[namer->file_count++];
	*file = (struct mapped_file){range, open_symbols(namer, range)};
	return file->symbols;
}

/* The call ends before its return address, which may belong to the next line or function already. */
static void find_name(struct namer *namer, uint64_t address, struct site_name *ret_name)
{
	const struct site_range *range = sites_find(&namer->process->sites, address - 1);
	const struct symbols *symbols = range ? symbols_of(namer, range) : NULL;

	*ret_name = (struct site_name){0};
	if (!symbols)
		return;
	symbols_find(symbols, address - 1 - range->start + range->file_offset, ret_name);
	ret_name->offset += ret_name->function[0] != '\0';
}

/* Becomes the user that owns what is looked at. */
static bool become_user(const struct process *process)
{
	uid_t uid = process->is_core ? process->core_uid : process->uid;

	if (geteuid() != 0 || uid == 0)
		return true;
	return !setgroups(0, NULL) && !setresgid(GROUP_NOBODY, GROUP_NOBODY, GROUP_NOBODY) &&
	       !setresuid(uid, uid, uid);
}

static void limit_namer(void)
{
	setrlimit(RLIMIT_CPU, &(struct rlimit){PROCESSOR_SECONDS_MAX, PROCESSOR_SECONDS_MAX});
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
/* AddressSanitizer reserves more addresses than any machine has memory. */
#ifndef __SANITIZE_ADDRESS__
	setrlimit(RLIMIT_AS, &(struct rlimit){MEMORY_MAX, MEMORY_MAX});
#endif
}

/* Answers until the other end of the socket is closed. */
static void run_namer(int socket, const struct process *process, pid_t parent)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM};
	struct namer namer = {.process = process, .root = -1, .exe = -1};
	struct site_name name;
	uint64_t address;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* A reader of ctxtool's output waits until nobody has it open. */
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_DFL);
	/* libdw looks for files with debugging information in the network where this names a server. */
	unsetenv("DEBUGINFOD_URLS");
	if (!process->is_core) {
		namer.root = openat(process->descriptors.directory, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
		namer.exe = openat(process->descriptors.directory, "exe", O_PATH | O_CLOEXEC);
		if (namer.root < 0)
			return;
	}
	if (!become_user(process) || prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		return;
	limit_namer();
	while (recv(socket, &address, sizeof(address), 0) == sizeof(address)) {
		find_name(&namer, address, &name);
		if (send(socket, &name, sizeof(name), MSG_NOSIGNAL) != sizeof(name))
			return;
	}
}

/* ---- asking it */

/* 0, or -errno. */
static int start_namer(struct site_names *names, const struct process *process)
{
	int sockets[2];
	pid_t parent = getpid();

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	names->namer = fork();
	if (names->namer == 0) {
		close(sockets[0]);
		run_namer(sockets[1], process, parent);
		_exit(0);
	}
	close(sockets[1]);
	if (names->namer < 0) {
		int error = -errno;
		names->namer = 0;
		close(sockets[0]);
		return error;
	}
	names->socket = sockets[0];
	return 0;
}

/*
 * Kills the namer. It ends at once, unless the kernel waits for a device on its behalf: then it is left to
 * init.
 */
static void stop_namer(struct site_names *names)
{
	names->over = true;
	if (!names->namer)
		return;
	kill(names->namer, SIGKILL);
	/* Its end of the socket is closed when it has ended. */
	shutdown(names->socket, SHUT_WR);
	while (poll(&(struct pollfd){.fd = names->socket, .events = POLLIN}, 1, 100) == 1 &&
	       recv(names->socket, &(struct site_name){0}, sizeof(struct site_name), 0) > 0)
		;
	for (unsigned i = 0; i < 20 && waitpid(names->namer, NULL, WNOHANG) == 0; i++)
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	close(names->socket);
	names->socket = -1;
	names->namer = 0;
}

static int now_ms(void)
{
	return (int)(monotonic_ns() / 1000000u);
}

/* Waits for an answer. A signal that ctxtool catches does not end the wait. */
static bool await_answer(int socket)
{
	int begun_ms = now_ms(), wait_ms = wait_left_ms < WAIT_MS ? wait_left_ms : WAIT_MS, result;

	do {
		int left_ms = wait_ms - (now_ms() - begun_ms);
		result = poll(&(struct pollfd){.fd = socket, .events = POLLIN}, 1, left_ms > 0 ? left_ms : 0);
	} while (result < 0 && errno == EINTR);
	if (result <= 0)
		wait_left_ms -= wait_ms;
	return result > 0;
}

static bool ask_namer(struct site_names *names, const struct process *process, uint64_t address,
		      struct site_name *ret_name)
{
	if (!names->over && !names->namer && (wait_left_ms <= 0 || start_namer(names, process)))
		names->over = true;
	if (names->over)
		return false;
	if (send(names->socket, &address, sizeof(address), MSG_NOSIGNAL) != sizeof(address) ||
	    !await_answer(names->socket) ||
	    recv(names->socket, ret_name, sizeof(*ret_name), MSG_DONTWAIT) != sizeof(*ret_name)) {
		stop_namer(names);
		return false;
	}
	/* Nothing that the namer says is believed either. */
	ret_name->function[sizeof(ret_name->function) - 1] = '\0';
	ret_name->file[sizeof(ret_name->file) - 1] = '\0';
	return ret_name->function[0] || ret_name->file[0];
}

/* ---- what is known already */

/* Returns where the address is, or belongs. */
static size_t find_place(const struct site_names *names, uint64_t address)
{
	size_t low = 0, high = names->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (names->places[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void add_place(struct site_names *names, size_t at, uint64_t address, const struct site_name *name)
{
	struct place *larger = realloc(names->places, (names->count + 1) * sizeof(*larger));
	struct site_name *copy = name ? malloc(sizeof(*copy)) : NULL;

	if (larger)
		names->places = larger;
	if (!larger || (name && !copy)) {
		free(copy);
		return;
	}
	if (copy)
		*copy = *name;
	memmove(larger + at + 1, larger + at, (names->count - at) * sizeof(*larger));
	larger[at] = (struct place){address, copy};
	names->count++;
}

bool site_name(const struct process *process, uint64_t address, struct site_name *ret_name)
{
	struct site_names *names = process->names;

	*ret_name = (struct site_name){0};
	if (!names || !address)
		return false;
	size_t at = find_place(names, address);
	if (at < names->count && names->places[at].address == address) {
		if (names->places[at].name)
			*ret_name = *names->places[at].name;
		return names->places[at].name != NULL;
	}
	if (names->count == PLACES_MAX)
		return false;
	bool known = ask_namer(names, process, address, ret_name);
	add_place(names, at, address, known ? ret_name : NULL);
	return known;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *site_name_text(const struct process *process, uint64_t address, char *buffer, size_t size)
{
	struct site_name name;
	char function[160], where[128];

	if (!site_name(process, address, &name) || !name.function[0])
		return site_text(&process->sites, address, buffer, size);
	escape(name.function, function, sizeof(function));
	const struct site_range *range = sites_find(&process->sites, address - 1);
	escape(base_name(name.file[0] ? name.file : range ? range->path : ""), where, sizeof(where));
	if (name.file[0])
		snprintf(buffer, size, "%s+0x%" PRIx64 " (%s:%" PRIu32 ")", function, name.offset, where,
			 name.line);
	else
		snprintf(buffer, size, "%s+0x%" PRIx64 " (%s)", function, name.offset, where);
	return buffer;
}

void site_names_free(struct site_names *names)
{
	if (!names)
		return;
	stop_namer(names);
	for (size_t i = 0; i < names->count; i++)
		free(names->places[i].name);
	free(names->places);
	free(names);
}
