/* SPDX-License-Identifier: MIT */
/* How the keeper starts the program. */
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "keeper.h"
#include "raw.h"

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ull /* Linux 5.7 */
#endif

/*
 * Memory that keeper and child share until the child has executed the program. error is volatile because the
 * child that writes it never returns, so that to the compiler the write has no reader.
 */
struct attempt {
	const struct keeper_setup *setup;
	volatile int error;
};

/* ---- in the child, whose memory is the keeper's */

static int set_descriptors(const int *fds)
{
	int from[3];

	/* Descriptors are moved above 2 first, so that none is overwritten before it was used. */
	for (int i = 0; i < 3; i++) {
		from[i] = fds[i] >= 0 ? raw_fcntl(fds[i], F_DUPFD_CLOEXEC, 3)
				      : raw_openat(AT_FDCWD, "/dev/null", O_RDWR);
		if (from[i] >= 0 && from[i] < 3)
			from[i] = raw_fcntl(from[i], F_DUPFD_CLOEXEC, 3);
		if (from[i] < 0)
			return from[i];
	}
	for (int i = 0; i < 3; i++)
		if (syscall(SYS_dup3, from[i], i, 0) < 0)
			return -errno;
	return 0;
}

/* Executes one file. Returns only on failure, with -errno. */
static int execute_one(const struct keeper_setup *setup, char *path)
{
	syscall(SYS_execve, path, setup->argv, setup->environment);
	if (errno == ENOEXEC && setup->script) {
		setup->script[1] = path;
		syscall(SYS_execve, setup->script[0], setup->script, setup->environment);
	}
	return -errno;
}

/* Executes the first of the files that can be, as execvpe(3) does. */
static int execute_first(const struct keeper_setup *setup)
{
	bool refused = false;
	int result = -ENOENT;

	for (char *const *path = setup->paths; *path; path++) {
		result = execute_one(setup, *path);
		if (result == -EACCES)
			refused = true; /* the result, unless a later file can be executed */
		else if (result != -ENOENT && result != -ENOTDIR)
			return result;
	}
	return refused ? -EACCES : result;
}

static __attribute__((noreturn)) void become_program(struct attempt *attempt)
{
	const struct keeper_setup *setup = attempt->setup;
	int result = 0;

	/* If the keeper is killed, by hand or for want of memory, the program is killed with it. */
	syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (setup->new_group)
		syscall(SYS_setpgid, 0, 0);
	if (setup->fds)
		result = set_descriptors(setup->fds);
	if (!result && setup->directory && syscall(SYS_chdir, setup->directory) < 0)
		result = -errno;
	if (!result) {
		raw_default_action(setup->signal);
		raw_set_mask(setup->mask);
		result = execute_first(setup);
	}
	attempt->error = result;
	raw_exit(127);
}

/* ---- in the keeper */

/*
 * clone(2) or clone3(2), by number. The child shares the memory, and the keeper waits until the child has
 * executed the program or ended, as with vfork(2). This is no call of a libc function, because the child
 * would overwrite its return address. It is never inlined, so that the child's stack begins below all that
 * the keeper still needs.
 */
#if defined(__x86_64__)
static __attribute__((noinline)) long clone_sharing(long number, long a, long b, long c,
						    struct attempt *attempt)
{
	register long result __asm__("rax") = number;
	register long fourth __asm__("r10") = 0, fifth __asm__("r8") = 0;

	__asm__ volatile("syscall"
			 : "+r"(result)
			 : "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
			 : "rcx", "r11", "memory");
	if (result == 0)
		become_program(attempt);
	return result;
}
#elif defined(__aarch64__)
static __attribute__((noinline)) long clone_sharing(long number, long a, long b, long c,
						    struct attempt *attempt)
{
	register long eighth __asm__("x8") = number, result __asm__("x0") = a;
	register long second __asm__("x1") = b, third __asm__("x2") = c, fourth __asm__("x3") = 0,
			     fifth __asm__("x4") = 0;

	__asm__ volatile("svc 0"
			 : "+r"(result)
			 : "r"(eighth), "r"(second), "r"(third), "r"(fourth), "r"(fifth)
			 : "memory");
	if (result == 0)
		become_program(attempt);
	return result;
}
#else
/* On other machines the child has a copy of the memory, apart from *attempt. */
#define CLONE_NOT_SHARING
static long clone_sharing(long number, long a, long b, long c, struct attempt *attempt)
{
	long result = syscall(number, a, b, c, 0l, 0l);

	if (result == 0)
		become_program(attempt);
	return result < 0 ? -errno : result;
}
#endif

#ifdef CLONE_NOT_SHARING
#define CLONE_FLAGS ((unsigned long)(CLONE_VFORK | CLONE_PIDFD))
#else
#define CLONE_FLAGS ((unsigned long)(CLONE_VFORK | CLONE_VM | CLONE_PIDFD))
#endif

static long clone_plain(struct attempt *attempt, int *ret_pidfd)
{
	long flags = (long)(CLONE_FLAGS | SIGCHLD);

#ifdef __s390__
	return clone_sharing(SYS_clone, 0, flags, (long)ret_pidfd, attempt);
#else
	return clone_sharing(SYS_clone, flags, 0, (long)ret_pidfd, attempt);
#endif
}

/* Creates the child in the cgroup. Moving a process there later makes all forks of the machine wait. */
static long clone_into(struct attempt *attempt, const struct cgroup *cgroup, int *ret_pidfd)
{
	struct clone_args arguments = {
		.flags = CLONE_FLAGS | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.pidfd = (uintptr_t)ret_pidfd,
		.cgroup = (unsigned)cgroup->fd,
	};

	return clone_sharing(SYS_clone3, (long)&arguments, sizeof(arguments), 0, attempt);
}

/*
 * Whether the cgroup cannot be used, in which case the program is started without it. A limit on processes or
 * memory that is reached is not such a refusal.
 */
static bool is_refused(long result)
{
	return result < 0 && result != -EAGAIN && result != -ENOMEM;
}

int keeper_execute(const struct keeper_setup *setup, struct cgroup *cgroup, pid_t *ret_pid, int *ret_pidfd,
		   const char **ret_call)
{
	struct attempt *attempt =
		mmap(NULL, sizeof(*attempt), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int pidfd = -1, error;
	long pid = -ENOSYS;

	if (attempt == MAP_FAILED) {
		*ret_call = "mmap";
		return -errno;
	}
	attempt->setup = setup;
	if (cgroup->fd >= 0) {
		pid = clone_into(attempt, cgroup, &pidfd);
		if (is_refused(pid)) {
			cgroup_remove(cgroup);
			cgroup_close(cgroup);
		}
	}
	if (cgroup->fd < 0)
		pid = clone_plain(attempt, &pidfd);
	error = attempt->error;
	munmap(attempt, sizeof(*attempt));
	if (pid < 0) {
		*ret_call = "clone";
		return (int)pid;
	}
	if (error) {
		raw_wait4((pid_t)pid, NULL, __WALL);
		raw_close(pidfd);
		return error;
	}
	*ret_pid = (pid_t)pid;
	*ret_pidfd = pidfd;
	return 0;
}
