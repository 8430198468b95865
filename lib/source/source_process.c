/* SPDX-License-Identifier: MIT */
/*
 * Contexts that end with a process. The pidfd is duplicated, so that the caller may close its own. The exit
 * status is asked for without reaping the process. Of a child of this process waitid(2) tells it. Of others
 * the kernel tells it in /proc while the process is not reaped, and by PIDFD_GET_INFO from Linux 6.15 on when
 * it is.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "source.h"
#include "text_file.h"

#define STATUS_UNKNOWN (-1)

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* struct pidfd_info of linux/pidfd.h in its first size, Linux 6.15. */
struct pidfd_facts {
	uint64_t mask;
	uint64_t cgroup;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_facts) == 64, "the first size of struct pidfd_info");
#define PIDFD_FACTS _IOWR(0xff, 11, struct pidfd_facts)
#define PIDFD_FACTS_EXIT (1u << 3)

struct process_source {
	struct source source;
	pid_t pid; /* 0: not known */
};

/* The process that a pidfd is for, from the line "Pid:" of its fdinfo. 0: the line is not there. */
static pid_t pid_of(int pidfd)
{
	char path[64], text[1024], *rest = text, *line;
	long pid = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (text_file_read(path, text, sizeof(text)) < 0)
		return 0;
	while (!pid && (line = strsep(&rest, "\n")))
		if (strncmp(line, "Pid:", 4) == 0)
			pid = strtol(line + 4, NULL, 10);
	return pid > 0 ? (pid_t)pid : 0;
}

static int status_of_child(const siginfo_t *info)
{
	switch (info->si_code) {
	case CLD_EXITED:
		return (info->si_status & 0xff) << 8;
	case CLD_KILLED:
		return info->si_status & 0x7f;
	case CLD_DUMPED:
		return (info->si_status & 0x7f) | WCOREFLAG;
	default:
		return STATUS_UNKNOWN;
	}
}

/*
 * The exit status of a process that another process has to reap: the last field of its stat file. Reading it
 * takes the right to trace the process.
 */
static int status_from_proc(const struct process_source *process)
{
	char path[64], line[1024];
	int status = STATUS_UNKNOWN;

	if (!process->pid)
		return STATUS_UNKNOWN;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)process->pid);
	if (text_file_read(path, line, sizeof(line)) < 0)
		return STATUS_UNKNOWN;
	const char *state = strrchr(line, ')');
	if (state && strncmp(state, ") Z", 3) == 0)
		status = (int)strtol(strrchr(line, ' '), NULL, 10);
	/*
	 * While a signal by the pidfd reaches it, the number is not another process's. A status of 0 is also
	 * what the kernel shows to those without the right.
	 */
	if (syscall(SYS_pidfd_send_signal, process->source.fd, 0, NULL, 0) && errno == ESRCH)
		return STATUS_UNKNOWN;
	return status == 0 && geteuid() != 0 ? STATUS_UNKNOWN : status;
}

static int status_of(const struct process_source *process)
{
	struct pidfd_facts facts = {.mask = PIDFD_FACTS_EXIT};
	siginfo_t info = {0};

	if (!sys_waitid((idtype_t)P_PIDFD, (id_t)process->source.fd, &info, WEXITED | WNOHANG | WNOWAIT) &&
	    info.si_pid)
		return status_of_child(&info);
	int status = status_from_proc(process);
	if (status == STATUS_UNKNOWN && !ioctl(process->source.fd, PIDFD_FACTS, &facts) &&
	    (facts.mask & PIDFD_FACTS_EXIT))
		status = facts.exit_code;
	return status;
}

static void process_ready(struct source *source, uint32_t events)
{
	struct process_source *process = container_of(source, struct process_source, source);

	(void)events;
	source_end(source, status_of(process));
}

static void process_describe(const struct source *source, int code, char *text, size_t size)
{
	const struct process_source *process = container_of(source, struct process_source, source);
	char who[32] = "the process", how[64] = "ended";

	if (process->pid)
		snprintf(who, sizeof(who), "process %d", (int)process->pid);
	if (code != STATUS_UNKNOWN && WIFEXITED(code))
		snprintf(how, sizeof(how), "exited with status %d", WEXITSTATUS(code));
	else if (code != STATUS_UNKNOWN && WIFSIGNALED(code))
		snprintf(how, sizeof(how), "was killed by signal %d%s", WTERMSIG(code),
			 WCOREDUMP(code) ? " and dumped core" : "");
	snprintf(text, size, "%s %s", who, how);
}

static const struct source_ops process_ops = {
	.kind = CTX_CAUSE_PROCESS, .ready = process_ready, .describe = process_describe};

/*
 * Whether this is a pidfd, by sending signal 0. The call also takes directories of /proc, which cannot be
 * polled; all else is -EBADF.
 */
static int check_pidfd(int pidfd)
{
	struct stat status;

	if (pidfd < 0 || fstat(pidfd, &status) || S_ISDIR(status.st_mode))
		return -EBADF;
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) && (errno == EBADF || errno == ENOSYS))
		return -errno;
	return 0;
}

int ctx_with_process(const struct ctx_context *parent, struct ctx_ring *ring, int pidfd, const char *label,
		     struct ctx_context **ret_ctx)
{
	struct source_request request = {
		.parent = parent,
		.label = label,
		.site = __builtin_return_address(0),
		.events = POLLIN,
	};
	int error = source_check(parent, ring, ret_ctx);

	if (!error)
		error = check_pidfd(pidfd);
	if (error)
		return source_result(CTX_CAUSE_PROCESS, error);
	struct process_source *process =
		(struct process_source *)source_new(sizeof(*process), &process_ops, ring);
	if (!process)
		return source_result(CTX_CAUSE_PROCESS, -ENOMEM);
	int fd = sys_duplicate(pidfd);
	if (fd < 0) {
		source_discard(&process->source);
		return source_result(CTX_CAUSE_PROCESS, fd);
	}
	process->source.fd = fd;
	process->source.owns_fd = true;
	process->source.file = file_id_of(fd);
	process->pid = pid_of(fd);
	request.watched.id = process->pid;
	return source_result(CTX_CAUSE_PROCESS, source_begin(&process->source, &request, ret_ctx));
}
