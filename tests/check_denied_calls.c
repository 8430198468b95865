/* SPDX-License-Identifier: MIT */
/*
 * Goal: a system call that a seccomp profile denies, be it with EPERM or with ENOSYS, makes no program of the
 * project hang, spin or say what is not true, and leaves nothing running. Method: a run under strace(1) tells
 * which calls a program makes after the loader has done its work; then it is run once for each of them and
 * for each of both errors. With CTX_TEST_DENIED_TABLE=1 all that came out is printed;
 * CTX_TEST_DENIED_PROGRAM and CTX_TEST_DENIED_CALL name one to be tried alone.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/denied.h"
#include "support/harness.h"

TEST_MODES(TEST_NORMAL);

/* Of a whole tree, on a slow machine; what spins takes that in a second. */
#define CPU_MAX_MS 1500
#define TABLE "CTX_TEST_DENIED_TABLE"

static const int errors[] = {EPERM, ENOSYS};
static char ctxtool[PATH_MAX], ctxd[PATH_MAX], first[PATH_MAX], share[PATH_MAX], patient[PATH_MAX];

static void find_programs(void)
{
	test_path_beside("../ctxtool", ctxtool);
	test_path_beside("../ctxd", ctxd);
	test_path_beside("../examples/first", first);
	test_path_beside("../examples/share", share);
	test_path_beside("patient", patient);
}

/* ---- what is right */

static bool is_call(const struct denied_run *run, const char *name)
{
	return strcmp(run->call->name, name) == 0;
}

/* What is said instead of the name of a call: what it was to do. */
static const char *deed(const struct denied_run *run)
{
	static const char *const deeds[][2] = {
		{"execve", "may not be executed"},
		{"execve", "could not be started"},
		{"newfstatat", "system call stat is refused"},
		{"bind", "cannot listen at"},
		{"socket", "cannot listen at"},
		{"flock", "cannot lock"},
		{"rt_sigprocmask", "signals cannot be received"},
		{"signalfd4", "signals cannot be received"},
	};

	for (size_t i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++)
		if (is_call(run, deeds[i][0]) && strstr(run->words, deeds[i][1]))
			return deeds[i][1];
	return NULL;
}

/* Whether the error is told, by name or in words, together with one of the calls that were refused or with
 * what it was to do; nothing can be said without write(2). */
static bool tells_why(const struct denied_run *run)
{
	char names[sizeof(run->call->name)], *rest = names, *name;
	bool named = deed(run) != NULL;

	snprintf(names, sizeof(names), "%s", run->call->name);
	while (!named && (name = strsep(&rest, "+*")))
		named = *name && strstr(run->words, name);
	return is_call(run, "write") || (named && (strstr(run->words, strerrorname_np(run->error)) ||
						   strstr(run->words, strerror(run->error))));
}

/* The C library itself ends a process where these fail; without the first it has no way to do so. */
static bool is_of_the_c_library(const struct denied_run *run)
{
	return is_call(run, "exit_group") || is_call(run, "futex") || is_call(run, "rseq");
}

/* What holds for all; NULL: nothing is wrong. */
static const char *fault_of_any(const struct denied_run *run)
{
	if (run->cpu_ms > CPU_MAX_MS)
		return "spins";
	if (run->is_left)
		return "does not end";
	if (WIFSIGNALED(run->status) && !is_of_the_c_library(run))
		return "is killed by a signal";
	return NULL;
}

/* A run whose command was to be ended at the deadline. */
static const char *fault_of_run(const struct denied_run *run)
{
	int code = WEXITSTATUS(run->status);
	bool executes = is_call(run, "execve");
	const char *fault = fault_of_any(run);

	if (fault || WIFSIGNALED(run->status) || code == 124 || code == 137)
		return fault;
	if (code != (executes ? 126 : 125))
		return "exits with a status that has another meaning";
	return tells_why(run) ? NULL : "does not say why";
}

static const char *fault_of_killed_run(const struct denied_run *run)
{
	return WIFSIGNALED(run->status) && WTERMSIG(run->status) == SIGKILL
		       ? fault_of_any(&(struct denied_run){
				 .call = run->call, .cpu_ms = run->cpu_ms, .is_left = run->is_left})
		       : fault_of_run(run);
}

static const char *fault_of_service(const struct denied_run *run)
{
	const char *fault = fault_of_any(run);

	if (fault || WIFSIGNALED(run->status))
		return fault;
	if (WEXITSTATUS(run->status) > 1)
		return "exits with a status that has another meaning";
	if ((WEXITSTATUS(run->status) == 1 || run->failed) && !tells_why(run))
		return "does not say why";
	/* It has poll(2). */
	if (strncmp(run->call->name, "io_uring", strlen("io_uring")) == 0 && (run->status || run->failed))
		return "does not serve";
	return NULL;
}

/* What the library explains names the call; of a thread that cannot be started the example tells the error.
 */
static bool explains(const struct denied_run *run)
{
	char name[sizeof(run->call->name)];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(run->call->name, "+*"), run->call->name);
	if (strstr(name, "clone") || strcmp(name, "mprotect") == 0)
		return strstr(run->words, strerror(run->error));
	return strstr(run->words, name);
}

static const char *fault_of_example(const struct denied_run *run)
{
	const char *fault = fault_of_any(run);

	if (fault || WIFSIGNALED(run->status))
		return fault;
	if (WEXITSTATUS(run->status) > 1)
		return "exits with a status that has another meaning";
	if ((WEXITSTATUS(run->status) == 1 || run->failed) && !tells_why(run) && !explains(run))
		return "does not say why";
	return NULL;
}

/* ---- what is done to them */

/* When both processes of the command are there. */
static void kill_the_run(struct denied_run *run, pid_t pid, int channel, int pidfd)
{
	char byte;

	(void)run;
	for (int i = 0; i < 2; i++)
		if (!denied_await(channel, pidfd) || read(channel, &byte, 1) != 1)
			return;
	kill(pid, SIGKILL);
}

static bool await_listener(const struct denied_run *run, int pidfd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};
	bool listens = false;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/ctxd.sock", run->place);
	while (!listens && poll(&pollfd, 1, 10) == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		listens = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
		close(fd);
	}
	return listens;
}

/* Two clients, one of which ends the other's context, and the service's end. */
static void use_the_service(struct denied_run *run, pid_t pid, int channel, int pidfd)
{
	char path[96];

	(void)channel;
	run->failed = true;
	if (!await_listener(run, pidfd))
		return;
	snprintf(path, sizeof(path), "%s/ctxd.sock", run->place);
	setenv("CTXD_SOCKET", path, 1);
	pid_t clients = fork();
	if (clients == 0) {
		setpgid(0, 0);
		int nothing = open("/dev/null", O_RDWR);
		dup2(nothing, STDOUT_FILENO);
		dup2(nothing, STDERR_FILENO);
		execl(share, "share", (char *)NULL);
		_exit(98);
	}
	if (clients < 0)
		return;
	int status = -1, clients_fd = (int)syscall(SYS_pidfd_open, clients, 0);
	struct pollfd ended = {.fd = clients_fd, .events = POLLIN};
	if (poll(&ended, 1, 8000) > 0)
		waitpid(clients, &status, 0);
	kill(-clients, SIGKILL);
	run->failed = status != 0;
	kill(pid, SIGHUP);
	kill(pid, SIGTERM);
}

static void give_a_line(struct denied_run *run, pid_t pid, int channel, int pidfd)
{
	char text[256];
	ssize_t length = 0, size = 0;

	(void)pid;
	(void)pidfd;
	send(channel, "hello\n", 6, MSG_NOSIGNAL); /* it may have ended already */
	shutdown(channel, SHUT_WR);
	while (size < (ssize_t)sizeof(text) - 1 &&
	       (length = read(channel, text + size, sizeof(text) - 1 - (size_t)size)) > 0)
		size += length;
	text[size] = '\0';
	run->failed = !strstr(text, "Read 6 bytes.");
}

/* ---- the matrix */

struct program {
	const char *name;
	char *argv[16];
	void (*drive)(struct denied_run *run, pid_t pid, int channel, int pidfd);
	const char *(*fault)(const struct denied_run *run);
};

static const struct program programs[] = {
	{"run",
	 {ctxtool, "run", "-t", "0.2", "--grace", "0.1", "-r", "--", patient, NULL},
	 NULL,
	 fault_of_run},
	{"run-without-cgroup",
	 {ctxtool, "run", "-t", "0.2", "--grace", "0.1", "-r", "--no-cgroup", "--", patient, NULL},
	 NULL,
	 fault_of_run},
	{"run-that-is-killed",
	 {ctxtool, "run", "-t", "1h", "--grace", "0.1", "-r", "--no-cgroup", "--", patient, NULL},
	 kill_the_run,
	 fault_of_killed_run},
	{"ctxd", {ctxd, "--log-level=info", NULL}, use_the_service, fault_of_service},
	{"ctxd-with-poll",
	 {ctxd, "--log-level=info", "--loop=poll", NULL},
	 use_the_service,
	 fault_of_service},
	{"first", {first, NULL}, give_a_line, fault_of_example},
};
#define PROGRAM_COUNT ((int)(sizeof(programs) / sizeof(programs[0])))

/* Those that can stand for each other, and that a profile denies together; one that the machine has not is
 * left out. */
static unsigned add_groups(struct denied_call *calls, unsigned count)
{
	static const struct denied_call groups[] = {
#ifdef SYS_poll
		{"poll+ppoll", 2, {SYS_poll, SYS_ppoll}},
#endif
		{"pidfd_*", 3, {SYS_pidfd_open, SYS_pidfd_send_signal, SYS_pidfd_getfd}},
		{"clone+clone3", 2, {SYS_clone, SYS_clone3}},
		{"wait4+waitid", 2, {SYS_wait4, SYS_waitid}},
		{"io_uring_*", 3, {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register}},
	};

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]) && count < DENIED_CALLS_MAX; i++)
		calls[count++] = groups[i];
	return count;
}

static void print_row(const struct program *program, const struct denied_run *run, const char *fault)
{
	const char *line = run->words;

	printf("%-20s %-22s %-7s ", program->name, run->call->name, strerrorname_np(run->error));
	if (WIFSIGNALED(run->status))
		printf("SIG%-5s", sigabbrev_np(WTERMSIG(run->status)));
	else
		printf("exit %-3d", WEXITSTATUS(run->status));
	printf(" %5llu ms%s%s%s\n", (unsigned long long)run->cpu_ms, run->failed ? "  in vain" : "",
	       fault ? "  FAULT: it " : "", fault ? fault : "");
	while (*line) {
		int length = (int)strcspn(line, "\n");
		printf("%20s | %.*s\n", "", length, line);
		line += length + (line[length] == '\n');
	}
}

/* Where exit_group(2) is refused exit(3) of the C library calls exit(2), which ends the first thread and no
 * other: a run has threads, and whatever has some then stays. No program can do without. */
static bool is_endless(const struct program *program, const struct denied_call *call)
{
	return (program->fault == fault_of_run || program->fault == fault_of_example) &&
	       strcmp(call->name, "exit_group") == 0;
}

START_TEST(a_call_that_is_denied_makes_nothing_hang_spin_or_lie)
{
	static struct denied_call calls[DENIED_CALLS_MAX];
	const struct program *program = &programs[_i];
	struct denied_run traced = {.argv = program->argv, .drive = program->drive};
	const char *only = getenv("CTX_TEST_DENIED_CALL"), *only_of = getenv("CTX_TEST_DENIED_PROGRAM");
	unsigned faults = 0;

	if (only_of && strcmp(only_of, program->name) != 0)
		return;
	find_programs();
	unsigned own = denied_calls_of(&traced, calls), count = add_groups(calls, own), cells = 0;
	ck_assert_uint_gt(own, 10);
	struct denied_run *runs = calloc(2 * count, sizeof(*runs));
	ck_assert_ptr_nonnull(runs);
	for (unsigned i = 0; i < 2 * count; i++)
		if ((!only || strcmp(only, calls[i / 2].name) == 0) && !is_endless(program, &calls[i / 2]))
			runs[cells++] = (struct denied_run){.call = &calls[i / 2],
							    .error = errors[i % 2],
							    .argv = program->argv,
							    .drive = program->drive};
	denied_run_all(runs, cells);
	for (unsigned i = 0; i < cells; i++) {
		const char *fault = program->fault(&runs[i]);
		faults += fault != NULL;
		if (fault || getenv(TABLE))
			print_row(program, &runs[i], fault);
	}
	printf("%s: %u cells, %u at fault\n", program->name, cells, faults);
	fflush(stdout);
	free(runs);
	ck_assert_uint_eq(faults, 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("denied calls");
	TCase *matrix = test_case_cold(suite, "matrix");

	tcase_set_timeout(matrix, 240);
	tcase_add_loop_test(matrix, a_call_that_is_denied_makes_nothing_hang_spin_or_lie, 0, PROGRAM_COUNT);
	return suite;
}
