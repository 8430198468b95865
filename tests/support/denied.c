/* SPDX-License-Identifier: MIT */
#include "support/denied.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/harness.h"

/* They wait most of the time. */
#define AT_A_TIME 8
#define GUARD_MS 30000
/* Whoever spins need not do so until the guard is over. */
#define CPU_MAX_S 3

/* ---- in the process of one run: it is the parent of all that loses its own */

static void become_program(const struct denied_run *run, int channel, int error_fd)
{
	char preload[PATH_MAX], what[128] = "mark", socket_path[96];
	struct rlimit limit = {CPU_MAX_S, CPU_MAX_S};
	int length = 0;

	test_path_beside("deny_call.so", preload);
	if (!run->traced)
		length = snprintf(what, sizeof(what), "%d", run->error);
	for (unsigned i = 0; run->call && i < run->call->count; i++)
		length +=
			snprintf(what + length, sizeof(what) - (size_t)length, ",%u", run->call->numbers[i]);
	snprintf(socket_path, sizeof(socket_path), "%s/ctxd.sock", run->place);
	setenv("CTXD_SOCKET", socket_path, 1);
	dup2(channel, STDIN_FILENO);
	dup2(channel, STDOUT_FILENO);
	dup2(error_fd, STDERR_FILENO);
	setrlimit(RLIMIT_CPU, &limit);
	if (run->traced) {
		char to[96], preloads[PATH_MAX + 16], denies[160];
		const char *arguments[32] = {"strace", "-D", "-n",     "-f", "-qq", "-o",
					     to,       "-E", preloads, "-E", denies};
		snprintf(to, sizeof(to), "%s/trace", run->place);
		snprintf(preloads, sizeof(preloads), "LD_PRELOAD=%s", preload);
		snprintf(denies, sizeof(denies), "CTX_TEST_DENY=%s", what);
		for (unsigned i = 0; i < 20 && run->argv[i]; i++)
			arguments[11 + i] = run->argv[i];
		execvp("strace", (char **)arguments);
		_exit(98);
	}
	setenv("LD_PRELOAD", preload, 1);
	setenv("CTX_TEST_DENY", what, 1);
	execv(run->argv[0], run->argv);
	_exit(98);
}

/* Until nobody is left: what loses its parent becomes a child of this process. */
static void kill_all(void)
{
	char path[64], line[4096];
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	do {
		FILE *file = fopen(path, "re");
		char *at = file && fgets(line, sizeof(line), file) ? line : NULL;
		if (file)
			fclose(file);
		while (at && (pid = (pid_t)strtol(at, &at, 10)) > 0)
			kill(pid, SIGKILL);
	} while (waitpid(-1, NULL, __WALL) > 0);
}

static volatile sig_atomic_t is_late;

static void be_late(int signo)
{
	(void)signo;
	is_late = 1;
}

/* Until the program and all that it has started are gone. */
static void await_all(struct denied_run *run, pid_t program)
{
	int status;
	pid_t pid;

	while (!is_late && (pid = waitpid(-1, &status, __WALL)) > 0)
		if (pid == program)
			run->status = status;
	if (is_late) {
		run->is_left = true;
		kill_all();
	}
}

static void take_words(struct denied_run *run, int error_fd)
{
	ssize_t length = pread(error_fd, run->words, sizeof(run->words) - 1, 0);

	run->words[length > 0 ? length : 0] = '\0';
}

static int perform(struct denied_run *run)
{
	struct sigaction late = {.sa_handler = be_late};
	int ends[2], error_fd = memfd_create("words", 0);
	struct rusage usage;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGALRM, &late, NULL);
	if (error_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return 1;
	fcntl(error_fd, F_SETFL, O_APPEND);
	pid_t pid = fork();
	if (pid == 0)
		become_program(run, ends[1], error_fd);
	if (pid < 0)
		return 1;
	close(ends[1]);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* More than once: it may come just before a wait. */
	setitimer(ITIMER_REAL, &(struct itimerval){{1, 0}, {GUARD_MS / 1000, 0}}, NULL);
	if (run->drive)
		run->drive(run, pid, ends[0], pidfd);
	await_all(run, pid);
	take_words(run, error_fd);
	getrusage(RUSAGE_CHILDREN, &usage);
	run->cpu_ms = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
		      (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
	return 0;
}

bool denied_await(int fd, int pidfd)
{
	struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};

	return poll(fds, 2, GUARD_MS) > 0 && (fds[0].revents & POLLIN);
}

/* ---- all of them */

static void remove_place(const char *place)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *directory = opendir(place);

	while (directory && (entry = readdir(directory))) {
		snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);
		unlink(path);
	}
	if (directory)
		closedir(directory);
	rmdir(place);
}

static void begin(struct denied_run *run)
{
	snprintf(run->place, sizeof(run->place), "/tmp/ctxring-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(run->place));
}

static void take_turns(struct denied_run *runs, unsigned count, pid_t *pids)
{
	unsigned begun = 0, ended = 0;

	while (ended < count) {
		if (begun < count && begun - ended < AT_A_TIME) {
			begin(&runs[begun]);
			pids[begun] = fork();
			ck_assert_int_ge(pids[begun], 0);
			if (pids[begun] == 0)
				_exit(perform(&runs[begun]));
			begun++;
			continue;
		}
		int status;
		pid_t pid = waitpid(-1, &status, 0);
		ck_assert_int_gt(pid, 0);
		for (unsigned i = 0; i < begun; i++)
			if (pids[i] == pid) {
				ck_assert_msg(status == 0, "the process of a run ended with %#x",
					      (unsigned)status);
				ended++;
			}
	}
}

void denied_run_all(struct denied_run *runs, unsigned count)
{
	size_t size = count * sizeof(*runs);
	struct denied_run *shared =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t *pids = calloc(count, sizeof(*pids));

	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_ptr_nonnull(pids);
	memcpy(shared, runs, size);
	take_turns(shared, count, pids);
	memcpy(runs, shared, size);
	for (unsigned i = 0; i < count; i++)
		if (!runs[i].traced)
			remove_place(runs[i].place);
	munmap(shared, size);
	free(pids);
}

/* ---- which calls it makes */

struct tracing {
	bool begun; /* the loader has done its work */
	pid_t first;
	pid_t others[64]; /* have executed another program */
	unsigned other_count, count;
	struct denied_call *calls;
};

/* A line of strace(1): "PID [ NUMBER] NAME(..." */
static void take_line(struct tracing *tracing, const char *line)
{
	struct denied_call call = {.count = 1};
	int pid;

	if (sscanf(line, "%d [%u] %47[a-z0-9_](", &pid, &call.numbers[0], call.name) != 3)
		return;
	if (!tracing->begun) {
		tracing->begun = strcmp(call.name, "prctl") == 0 && strstr(line, "(0x746b7263");
		return;
	}
	for (unsigned i = 0; i < tracing->other_count; i++)
		if (tracing->others[i] == pid)
			return;
	if (strcmp(call.name, "execve") == 0 && tracing->other_count < 64)
		tracing->others[tracing->other_count++] = pid;
	for (unsigned i = 0; i < tracing->count; i++)
		if (tracing->calls[i].numbers[0] == call.numbers[0])
			return;
	ck_assert_uint_lt(tracing->count, DENIED_CALLS_MAX);
	tracing->calls[tracing->count++] = call;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct denied_call *)a)->name, ((const struct denied_call *)b)->name);
}

unsigned denied_calls_of(struct denied_run *run, struct denied_call calls[DENIED_CALLS_MAX])
{
	struct tracing tracing = {.calls = calls};
	char path[96], line[512];

	run->traced = true;
	denied_run_all(run, 1);
	snprintf(path, sizeof(path), "%s/trace", run->place);
	FILE *file = fopen(path, "re");
	if (WEXITSTATUS(run->status) == 98 || !file)
		test_skip("strace(1) cannot be used here");
	while (fgets(line, sizeof(line), file))
		take_line(&tracing, line);
	fclose(file);
	remove_place(run->place);
	qsort(calls, tracing.count, sizeof(*calls), compare);
	return tracing.count;
}
