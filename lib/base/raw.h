/* SPDX-License-Identifier: MIT */
/*
 * System calls for code that runs between clone(2) and execve(2), and for the keeper: a process that was
 * cloned from a program with threads. They do not use the C library's functions, which may be cancellation
 * points, or be intercepted by a sanitizer or wrapped by the program. Nor do they use the seam of sys.h: its
 * faults are injected into the program's process. Each returns the call's result or a negative errno.
 */
#ifndef CTX_RAW_H
#define CTX_RAW_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RAW_CALL(expression)                                \
	do {                                                \
		long result_ = (expression);                \
		return result_ < 0 ? -errno : (int)result_; \
	} while (0)

static inline int raw_openat(int directory, const char *path, int flags)
{
	RAW_CALL(syscall(SYS_openat, directory, path, flags | O_CLOEXEC, 0));
}

static inline int raw_close(int fd)
{
	RAW_CALL(syscall(SYS_close, fd));
}

static inline int raw_read(int fd, void *buffer, size_t size)
{
	RAW_CALL(syscall(SYS_read, fd, buffer, size));
}

static inline int raw_write(int fd, const void *buffer, size_t size)
{
	RAW_CALL(syscall(SYS_write, fd, buffer, size));
}

static inline int raw_rewind(int fd)
{
	RAW_CALL(syscall(SYS_lseek, fd, 0l, SEEK_SET));
}

/* Fills buffer with entries of the directory fd: struct dirent64, one behind the other. */
static inline int raw_getdents(int fd, void *buffer, size_t size)
{
	RAW_CALL(syscall(SYS_getdents64, fd, buffer, size));
}

static inline int raw_rmdir(int directory, const char *path)
{
	RAW_CALL(syscall(SYS_unlinkat, directory, path, AT_REMOVEDIR));
}

static inline int raw_fcntl(int fd, int command, long argument)
{
	RAW_CALL(syscall(SYS_fcntl, fd, command, argument));
}

static inline int raw_pidfd_open(pid_t pid)
{
	RAW_CALL(syscall(SYS_pidfd_open, pid, 0));
}

static inline int raw_pidfd_signal(int pidfd, int signo)
{
	RAW_CALL(syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0));
}

static inline int raw_wait4(pid_t pid, int *ret_status, int options)
{
	RAW_CALL(syscall(SYS_wait4, pid, ret_status, options, NULL));
}

/* Waits for no longer than timeout. NULL: without a bound. */
static inline int raw_poll(struct pollfd *fds, unsigned count, const struct timespec *timeout)
{
	RAW_CALL(syscall(SYS_ppoll, fds, count, timeout, NULL, 0));
}

static inline uint64_t raw_now_ns(void)
{
	struct timespec now;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Returns a pidfd of pid. Where a filter forbids pidfd_open(2), it is a descriptor of the process's directory
 * in /proc, proc_fd, which pidfd_send_signal(2) takes as well. */
static inline int raw_pidfd_of(pid_t pid, int proc_fd, const char *name)
{
	int pidfd = raw_pidfd_open(pid);

	return pidfd == -EPERM || pidfd == -ENOSYS ? raw_openat(proc_fd, name, O_RDONLY | O_DIRECTORY)
						   : pidfd;
}

static inline int raw_getpid(void)
{
	RAW_CALL(syscall(SYS_getpid));
}

/* Signals a child of the caller that has not been reaped, so that its pid is not another process's. A pid of
 * 0 or less would mean a group or all processes, and is refused. */
static inline int raw_kill_child(pid_t pid, int signo)
{
	if (pid <= 0)
		return -ESRCH;
	RAW_CALL(syscall(SYS_kill, pid, signo));
}

/* Sets the signal mask as the kernel has it, with the two signals that the C library keeps for itself. */
static inline int raw_set_mask(uint64_t blocked)
{
	RAW_CALL(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof(blocked)));
}

/* Gives signo its default action. The kernel's struct sigaction has at most 32 bytes; all zero is the
 * default. */
static inline void raw_default_action(int signo)
{
	uintptr_t none[8] = {0};

	syscall(SYS_rt_sigaction, signo, none, NULL, sizeof(uint64_t));
}

/* Gives their default action to SIGCHLD and to all signals that have a handler. Other signals that are
 * ignored stay ignored. */
static inline void raw_reset_handlers(void)
{
	for (int signo = 1; signo <= 64; signo++) {
		uintptr_t action[8] = {0};
		if (!syscall(SYS_rt_sigaction, signo, NULL, action, sizeof(uint64_t)) &&
		    (signo == SIGCHLD ||
		     (action[0] != (uintptr_t)SIG_DFL && action[0] != (uintptr_t)SIG_IGN)))
			raw_default_action(signo);
	}
}

static inline __attribute__((noreturn)) void raw_exit(int status)
{
	syscall(SYS_exit_group, status);
	/* A filter forbids exit_group(2): exit(2) does, since this is the only thread. */
	syscall(SYS_exit, status);
	for (;;)
		__builtin_trap();
}

#endif
