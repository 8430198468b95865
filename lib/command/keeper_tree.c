/* SPDX-License-Identifier: MIT */
#include "keeper_tree.h"

#include <sys/mman.h>

#include "raw.h"

/*
 * The memory is touched only as far as there are processes. The kernel has at most 4 million. Of more than
 * this many at once, some are found only when others are gone.
 */
#define PROCESSES_MAX (1u << 17)
/* How often a signal looks for processes that were forked off by processes which had no signal yet. */
#define ROUNDS_MAX 8
/* So many dead children are reaped before the walk goes on. */
#define DEAD_MAX 64

static char *append_number(char *to, unsigned number)
{
	char digits[12];
	unsigned count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while (number /= 10);
	while (count)
		*to++ = digits[--count];
	*to = '\0';
	return to;
}

static uint64_t parse_number(const char **text)
{
	uint64_t number = 0;

	while (**text == ' ')
		++*text;
	for (; **text >= '0' && **text <= '9'; ++*text)
		number = number * 10 + (uint64_t)(**text - '0');
	return number;
}

/* Goes from the end of field from - 1 to the beginning of field to. */
static void skip_fields(const char **text, int from, int to)
{
	for (int field = from; field < to; field++) {
		*text += **text == ' ';
		*text += strcspn(*text, " ");
	}
}

/*
 * Reads a line of /proc/PID/stat, see proc_pid_stat(5): "PID (NAME) STATE PPID ...". Field 20 is the number
 * of threads, field 22 the start time.
 */
static bool parse_stat(char *line, size_t length, struct tree_process *ret_process)
{
	char *name = memchr(line, '(', length), *end = memrchr(line, ')', length);

	if (!name || !end || end < name || end + 4 > line + length)
		return false;
	const char *at = end + 4;
	*ret_process = (struct tree_process){
		.keeper = end - name == 11 && memcmp(name, "(ctx-keeper", 11) == 0,
		.parent = (pid_t)parse_number(&at),
	};
	skip_fields(&at, 5, 20);
	uint64_t threads = parse_number(&at);
	/* /proc shows a process as its first thread, which may have ended before the others. */
	ret_process->zombie = (end[2] == 'Z' || end[2] == 'X') && threads <= 1;
	skip_fields(&at, 21, 22);
	ret_process->started = parse_number(&at);
	return true;
}

static bool read_process(const struct tree *tree, pid_t pid, struct tree_process *ret_process)
{
	char path[24], line[1024];

	strcpy(append_number(path, (unsigned)pid), "/stat");
	int fd = raw_openat(tree->proc_fd, path, O_RDONLY);
	if (fd < 0)
		return false;
	int length = raw_read(fd, line, sizeof(line) - 1);
	raw_close(fd);
	if (length <= 0)
		return false;
	line[length] = '\0';
	if (!parse_stat(line, (size_t)length, ret_process))
		return false;
	ret_process->pid = pid;
	return true;
}

/* Finds a process by number; /proc lists them in that order. */
static struct tree_process *find_process(struct tree_process *processes, unsigned count, pid_t pid)
{
	unsigned low = 0, high = count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (processes[middle].pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && processes[low].pid == pid ? &processes[low] : NULL;
}

static void add_process(struct tree *tree, const char *name)
{
	struct tree_process *process = &tree->now[tree->count];
	pid_t pid = (pid_t)parse_number(&name);

	if (pid <= 0 || *name || tree->count == PROCESSES_MAX ||
	    (tree->count && tree->now[tree->count - 1].pid >= pid) || !read_process(tree, pid, process))
		return;
	tree->count++;
	tree->dead += process->zombie && process->parent == tree->top;
	if (tree->dead >= DEAD_MAX) {
		tree->reap(tree);
		tree->dead = 0;
	}
}

/* Keeps the mark of processes that were signalled after an earlier look. */
static void carry_over(struct tree *tree, unsigned before_count)
{
	for (unsigned i = 0; i < tree->count; i++) {
		struct tree_process *before = find_process(tree->before, before_count, tree->now[i].pid);
		bool is_same = before && before->started == tree->now[i].started;
		tree->now[i].fresh = !is_same;
		tree->now[i].signalled = is_same && before->signalled;
	}
}

static void read_tree(struct tree *tree)
{
	_Alignas(struct dirent64) char entries[4096];
	struct tree_process *before = tree->now;
	unsigned before_count = tree->count;
	int size;

	tree->now = tree->before;
	tree->before = before;
	tree->count = tree->dead = 0;
	raw_rewind(tree->proc_fd);
	while ((size = raw_getdents(tree->proc_fd, entries, sizeof(entries))) > 0) {
		for (int at = 0; at < size;) {
			struct dirent64 *entry = (struct dirent64 *)(entries + at);
			at += entry->d_reclen;
			if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
				add_process(tree, entry->d_name);
		}
	}
	carry_over(tree, before_count);
}

/*
 * Whether a process is below the top. A process below another keeper is not, unless through_keepers is set.
 * With again, each process on the way is read again and its present parent followed, for a process whose
 * parent has ended has another. A parent whose start time has not changed has had its number all the time, so
 * the link to it is true.
 */
static bool is_below(struct tree *tree, const struct tree_process *process, bool through_keepers, bool again)
{
	for (unsigned steps = 0; process && steps <= tree->count; steps++) {
		struct tree_process current = *process;
		if (process->pid == tree->top)
			return true;
		if (process->keeper && !through_keepers)
			return false;
		if (again &&
		    (!read_process(tree, process->pid, &current) || current.started != process->started))
			return false;
		process = find_process(tree->now, tree->count, current.parent);
	}
	return false;
}

static int send_signal(const struct tree *tree, const struct tree_process *process, int pidfd, int signo)
{
	int result = pidfd < 0 ? pidfd : raw_pidfd_signal(pidfd, signo);

	if ((result == -EPERM || result == -ENOSYS) && process->parent == tree->top)
		result = raw_kill_child(process->pid, signo);
	return result;
}

/* Signals one process. False: it was not reached. */
static bool signal_one(struct tree *tree, const struct tree_process *process, int signo)
{
	bool hard = signo == SIGKILL;
	int result = -ESRCH;
	char name[16];

	append_number(name, (unsigned)process->pid);
	int pidfd = raw_pidfd_of(process->pid, tree->proc_fd, name);
	if (is_below(tree, process, hard, true))
		result = send_signal(tree, process, pidfd, signo);
	if (!result && !hard)
		send_signal(tree, process, pidfd, SIGCONT);
	if (pidfd >= 0)
		raw_close(pidfd);
	tree->unreached += result == -EPERM || result == -ENOSYS;
	return !result;
}

/*
 * New processes whose parents were signalled before this look count as signalled: most likely a handler
 * started them to clean up. The order of numbers has parents before their children.
 */
static void spare_newcomers(struct tree *tree)
{
	for (unsigned i = 0; i < tree->count; i++) {
		struct tree_process *parent = find_process(tree->now, tree->count, tree->now[i].parent);
		tree->now[i].signalled |= tree->now[i].fresh && parent && parent->signalled;
	}
}

static unsigned signal_new(struct tree *tree, int signo)
{
	unsigned signalled = 0;

	read_tree(tree);
	tree->unreached = 0;
	if (signo != SIGKILL)
		spare_newcomers(tree);
	for (unsigned i = 0; i < tree->count; i++) {
		struct tree_process *process = &tree->now[i];
		if (process->pid == tree->top || process->zombie || process->signalled ||
		    !is_below(tree, process, signo == SIGKILL, false))
			continue;
		process->signalled = signal_one(tree, process, signo);
		signalled += process->signalled;
	}
	return signalled;
}

/* Tries the system calls that read /proc, before there is something to find. */
static int try_proc(const struct tree *tree, const char **ret_call)
{
	_Alignas(struct dirent64) char entries[512];
	char byte;
	int fd = raw_openat(tree->proc_fd, "self/stat", O_RDONLY), result = raw_rewind(tree->proc_fd);

	*ret_call = "lseek";
	if (result >= 0) {
		*ret_call = "getdents64";
		result = raw_getdents(tree->proc_fd, entries, sizeof(entries));
	}
	if (result >= 0) {
		*ret_call = "read";
		result = fd < 0 ? fd : raw_read(fd, &byte, 1);
	}
	if (fd >= 0)
		raw_close(fd);
	return result < 0 ? result : 0;
}

int tree_open(struct tree *tree, void (*reap)(struct tree *tree))
{
	size_t size = PROCESSES_MAX * sizeof(*tree->now);

	*tree = (struct tree){.top = raw_getpid(), .reap = reap, .proc_fd = -1};
	if (tree->top < 0)
		return tree->top;
	void *memory = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	tree->now = memory;
	tree->before = (struct tree_process *)((char *)memory + size);
	return 0;
}

int tree_find_processes(struct tree *tree, const char **ret_call)
{
	char self[16], own[16];

	*ret_call = "openat";
	tree->proc_fd = raw_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	if (tree->proc_fd < 0)
		return tree->proc_fd == -EPERM || tree->proc_fd == -ENOSYS ? tree->proc_fd : 0;
	/* The numbers in it are ours, unless it was mounted in another namespace of processes. */
	*ret_call = "readlinkat";
	long length = syscall(SYS_readlinkat, tree->proc_fd, "self", self, sizeof(self) - 1);
	int result = length < 0 ? -errno : try_proc(tree, ret_call);
	char *end = append_number(own, (unsigned)tree->top);
	if (!result && length == end - own && memcmp(self, own, (size_t)length) == 0)
		return 0;
	raw_close(tree->proc_fd);
	tree->proc_fd = -1;
	return result == -EPERM || result == -ENOSYS ? result : 0;
}

unsigned tree_count(struct tree *tree)
{
	unsigned count = 0;

	if (tree->proc_fd < 0)
		return 0;
	read_tree(tree);
	for (unsigned i = 0; i < tree->count; i++) {
		const struct tree_process *process = &tree->now[i];
		count += process->pid != tree->top && !process->zombie && !process->keeper &&
			 is_below(tree, process, true, false);
	}
	return count;
}

void tree_signal(struct tree *tree, int signo)
{
	if (tree->proc_fd < 0)
		return;
	/* An earlier mark may stand for another signal. */
	for (unsigned i = 0; i < tree->count; i++)
		tree->now[i].signalled = false;
	tree_signal_rest(tree, signo);
}

void tree_signal_rest(struct tree *tree, int signo)
{
	for (int round = 0; round < ROUNDS_MAX && signal_new(tree, signo); round++)
		;
}
