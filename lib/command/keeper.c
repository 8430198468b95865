/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "clock.h"
#include "keeper_tree.h"
#include "list.h"
#include "passed.h"
#include "raw.h"
#include "sys.h"

#define PAUSE_FIRST_NS 1000000u
#define PAUSE_MOST_NS 100000000u

enum phase {
	PHASE_RUNNING,
	PHASE_ENDING, /* the first signal was sent, or there is none */
	PHASE_KILLING,
};

/* The order of the descriptors for poll(2). */
enum {
	ON_CHILD,   /* signalfd of SIGCHLD */
	ON_CONTROL, /* the socket */
	ON_CALLER,  /* pidfd of the calling process */
	ON_DONE,    /* done pipe of the context */
	ON_COUNT,
};

struct keeper {
	int signal;  /* 0: no signal before SIGKILL */
	bool alone;  /* only the program itself is signalled and waited for */
	pid_t group; /* with alone: the process group that gets the first signal; 0: none */
	uint64_t grace_ns;
	int fds[ON_COUNT]; /* -1: there is none, or it has nothing more to tell */
	struct cgroup cgroup;
	struct tree tree;
	pid_t program;
	int program_fd;
	enum phase phase;
	bool ended; /* the program has ended */
	bool gone;  /* all of the tree has ended */
	/* While running: the deadline; ending: the end of the grace; killing: the next round. */
	uint64_t due_ns;
	uint64_t pause_ns;
	struct keeper_report report;
};

/*
 * Reaps the children that have ended. Also called in the middle of a walk through the tree: a program that
 * forks fast would fill the process table with dead children.
 */
static void reap_children(struct tree *tree)
{
	struct keeper *keeper = container_of(tree, struct keeper, tree);
	int status, pid;

	while ((pid = raw_wait4(-1, &status, WNOHANG | __WALL)) > 0) {
		if (pid != keeper->program)
			continue;
		keeper->report.status = status;
		keeper->ended = true;
	}
	keeper->gone = pid == -ECHILD || (keeper->alone && keeper->ended);
}

/* ---- ending the tree */

/*
 * Signals the program. Where a filter forbids pidfds it goes by number, which is safe because only the keeper
 * waits for the program.
 */
static void signal_program(struct keeper *keeper, int signo)
{
	if (!keeper->ended && raw_pidfd_signal(keeper->program_fd, signo))
		raw_kill_child(keeper->program, signo);
}

static void kill_round(struct keeper *keeper)
{
	if (keeper->cgroup.fd >= 0)
		cgroup_kill(&keeper->cgroup);
	/* Also where there is a cgroup: a program with rights may have left it. */
	signal_program(keeper, SIGKILL);
	if (!keeper->alone && (keeper->cgroup.fd < 0 || keeper->pause_ns))
		tree_signal(&keeper->tree, SIGKILL);
	keeper->pause_ns = keeper->pause_ns ? keeper->pause_ns * 2 : PAUSE_FIRST_NS;
	if (keeper->pause_ns > PAUSE_MOST_NS)
		keeper->pause_ns = PAUSE_MOST_NS;
	keeper->due_ns = clock_after_ns(raw_now_ns(), keeper->pause_ns);
}

static void begin_killing(struct keeper *keeper)
{
	if (keeper->phase == PHASE_KILLING)
		return;
	keeper->phase = PHASE_KILLING;
	keeper->report.killed = true;
	kill_round(keeper);
}

/*
 * Signals the group of the program. False: the program has not got the signal by this, because it is in
 * another group. While the program is not reaped, its group's number is no other group's. Group 1 cannot be
 * named in kill(2), where -1 means all processes, as would the result of a getpgid(2) that was refused.
 */
static bool signal_group(const struct keeper *keeper)
{
	if (keeper->group <= 1 || syscall(SYS_getpgid, keeper->program) != keeper->group ||
	    syscall(SYS_kill, -keeper->group, keeper->signal) < 0)
		return false;
	syscall(SYS_kill, -keeper->group, SIGCONT);
	return true;
}

static void begin_ending(struct keeper *keeper)
{
	if (keeper->phase != PHASE_RUNNING)
		return;
	if (keeper->signal == SIGKILL) {
		begin_killing(keeper);
		return;
	}
	keeper->phase = PHASE_ENDING;
	keeper->due_ns = clock_after_ns(raw_now_ns(), keeper->grace_ns);
	if (!keeper->signal)
		return;
	if (!keeper->alone)
		tree_signal(&keeper->tree, keeper->signal);
	if ((keeper->alone || keeper->tree.proc_fd < 0) && !keeper->ended && !signal_group(keeper)) {
		signal_program(keeper, keeper->signal);
		signal_program(keeper, SIGCONT);
	}
}

static void context_ended(struct keeper *keeper)
{
	keeper->report.stopped |= !keeper->ended && keeper->phase == PHASE_RUNNING;
	begin_ending(keeper);
}

/* ---- what happens */

static void children_ended(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	while (raw_read(keeper->fds[ON_CHILD], &info, sizeof(info)) > 0)
		;
	reap_children(&keeper->tree);
	if (keeper->ended && !keeper->gone && keeper->phase == PHASE_RUNNING) {
		keeper->report.left_behind = tree_count(&keeper->tree);
		begin_ending(keeper);
	} else if (keeper->phase == PHASE_ENDING && keeper->tree.unreached) {
		tree_signal_rest(&keeper->tree, keeper->signal);
	}
}

static void listen_to_caller(struct keeper *keeper)
{
	unsigned char message;
	int size = raw_read(keeper->fds[ON_CONTROL], &message, sizeof(message));

	if (size == 1 && message == KEEPER_KILL)
		begin_killing(keeper);
	else if (size == 1)
		signal_program(keeper, message);
	if (size == 1 || size == -EAGAIN)
		return;
	/* The socket hung up: the calling process died, or executed another program. */
	keeper->fds[ON_CONTROL] = -1;
	begin_ending(keeper);
}

static void time_is_over(struct keeper *keeper)
{
	keeper->due_ns = CTX_FOREVER;
	if (keeper->phase == PHASE_RUNNING)
		context_ended(keeper);
	else if (keeper->phase == PHASE_ENDING)
		begin_killing(keeper);
	else
		kill_round(keeper);
}

static void handle_events(struct keeper *keeper, const struct pollfd fds[ON_COUNT])
{
	/* Handled first, so that a program that ended by itself is not reported as stopped. */
	if (fds[ON_CHILD].revents)
		children_ended(keeper);
	if (fds[ON_CONTROL].revents)
		listen_to_caller(keeper);
	if (fds[ON_CALLER].revents) {
		keeper->fds[ON_CALLER] = -1;
		begin_ending(keeper);
	}
	if (fds[ON_DONE].revents) {
		keeper->fds[ON_DONE] = -1;
		context_ended(keeper);
	}
	if (!keeper->gone && keeper->due_ns <= raw_now_ns())
		time_is_over(keeper);
}

static void keeper_loop(struct keeper *keeper)
{
	/* The program may have ended before the signalfd was opened. */
	children_ended(keeper);
	while (!keeper->gone) {
		struct pollfd fds[ON_COUNT];
		for (int i = 0; i < ON_COUNT; i++)
			fds[i] = (struct pollfd){.fd = keeper->fds[i], .events = POLLIN};
		uint64_t now_ns = raw_now_ns();
		struct timespec timeout =
			clock_timespec(keeper->due_ns > now_ns ? keeper->due_ns - now_ns : 0);
		if (raw_poll(fds, ON_COUNT, keeper->due_ns == CTX_FOREVER ? NULL : &timeout) >= 0)
			handle_events(keeper, fds);
	}
}

/* ---- beginning and end */

/* Sends a message to the caller, with the program's pidfd unless that is -1. 0 or -errno. */
static int send_message(int control_fd, const void *what, size_t size, int pidfd)
{
	union passed_one room;
	struct iovec part = {(void *)what, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (pidfd >= 0)
		passed_attach(&message, &room, &pidfd, 1);
	/* Where a filter forbids sendmsg(2) the program was not started, and there is no pidfd to send. */
	if (syscall(SYS_sendmsg, control_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	int error = -errno;
	return pidfd < 0 && raw_write(control_fd, what, size) >= 0 ? 0 : error;
}

/* Closes all descriptors but these, so that nothing of the calling program is kept open. Sorts them. */
static void close_others(int *keep, int count)
{
	unsigned from = 0;

	for (int i = 1; i < count; i++)
		for (int j = i; j > 0 && keep[j] < keep[j - 1]; j--) {
			int other = keep[j];
			keep[j] = keep[j - 1];
			keep[j - 1] = other;
		}
	for (int i = 0; i <= count; i++) {
		unsigned to = i < count ? (unsigned)keep[i] : ~0u;
		if (i < count && keep[i] < 0)
			continue;
		/*
		 * Where a filter forbids close_range(2), they are closed one by one, as many as there may be
		 * by default.
		 */
		if (to > from && syscall(SYS_close_range, from, to - (i < count), 0) < 0)
			for (unsigned fd = from; fd < to && fd < 65536; fd++)
				raw_close((int)fd);
		from = to + 1;
	}
}

static void close_inherited(const struct keeper *keeper)
{
	int keep[] = {keeper->fds[ON_CONTROL], keeper->fds[ON_DONE], keeper->cgroup.fd,
		      keeper->cgroup.parent_fd, keeper->program_fd};

	close_others(keep, sizeof(keep) / sizeof(keep[0]));
}

static void release_inherited(const struct keeper *keeper)
{
	if (keeper->tree.proc_fd >= 0)
		keeper_unmap_shared(keeper->tree.proc_fd);
	syscall(SYS_chdir, "/");
	/*
	 * A group of its own in the same session: the program's group then is not an orphaned one, and a
	 * signal to the caller's group does not reach the keeper.
	 */
	syscall(SYS_setpgid, 0, 0);
}

/* Gives the keeper its name and default signal actions. */
static void take_name(void)
{
	raw_reset_handlers();
	syscall(SYS_prctl, PR_SET_NAME, "ctx-keeper", 0, 0, 0);
}

/*
 * Tries the system calls without which the keeper could not end the tree, before there is a program: a filter
 * may forbid one. Each is made so that it does nothing, or what the keeper needs anyway. 0; or -errno with
 * the name of the call.
 */
static int try_calls(const struct keeper_setup *setup, const char **ret_call)
{
	struct timespec time = {0};
	int status, result;
	char byte;

#define TRY(call, ...)                                                      \
	do {                                                                \
		*ret_call = #call;                                          \
		result = syscall(SYS_##call, __VA_ARGS__) < 0 ? -errno : 0; \
		if (result == -EPERM || result == -ENOSYS)                  \
			return result;                                      \
	} while (0)
	TRY(clock_gettime, CLOCK_MONOTONIC, &time);
	time = (struct timespec){0};
	TRY(ppoll, NULL, 0, &time, NULL, 0);
	TRY(wait4, -1, &status, WNOHANG | __WALL, NULL);
	TRY(read, -1, NULL, 0);
	TRY(sendmsg, -1, NULL, 0);
	TRY(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	TRY(signalfd4, -1, NULL, 0, 0);
	/* With a cgroup, and for the program alone, /proc is not read. */
	if (setup->cgroup.fd < 0 && !setup->alone) {
		TRY(openat, -1, "", O_RDONLY, 0);
		TRY(readlinkat, -1, "", &byte, 1);
		TRY(lseek, -1, 0l, SEEK_SET);
		TRY(getdents64, -1, NULL, 0);
	}
	if (setup->whole_group) {
		TRY(getpgid, 0);
		TRY(kill, setup->caller, 0);
	}
#undef TRY
	*ret_call = "rt_sigprocmask";
	return raw_set_mask(~UINT64_C(0));
}

/*
 * Opens the keeper's own descriptors: a signalfd for SIGCHLD, which has been blocked since before the program
 * was started; the pidfd of the caller, unless the caller is gone or in another namespace; and /proc. Where
 * few descriptors are allowed there is room only after the inherited ones are closed. 0; or -errno, with the
 * name of the system call if that was refused.
 */
static int open_keeper_fds(struct keeper *keeper, const struct keeper_setup *setup, const char **ret_call)
{
	uint64_t child = UINT64_C(1) << (SIGCHLD - 1);
	int result;
	keeper->fds[ON_CHILD] =
		(int)syscall(SYS_signalfd4, -1, &child, sizeof(child), SFD_CLOEXEC | SFD_NONBLOCK);
	*ret_call = "signalfd4";
	if (keeper->fds[ON_CHILD] < 0)
		return -errno;
	keeper->fds[ON_CALLER] = raw_pidfd_open(setup->caller);
	if (syscall(SYS_getppid) != setup->caller)
		keeper->fds[ON_CALLER] = -1;
	result = tree_find_processes(&keeper->tree, ret_call);
	/* With a cgroup, and for the program alone, /proc is not read. */
	return keeper->cgroup.fd >= 0 || keeper->alone ? 0 : result;
}

/* Starts the program and prepares for its end. */
static int keeper_begin(struct keeper *keeper, const struct keeper_setup *setup, const char **ret_call)
{
	int result = try_calls(setup, ret_call);

	if (result)
		return result;
	*ret_call = "getpid";
	result = tree_open(&keeper->tree, reap_children);
	*ret_call = NULL;
	if (!result)
		result = keeper_execute(setup, &keeper->cgroup, &keeper->program, &keeper->program_fd,
					ret_call);
	if (result)
		return result;
	if (setup->whole_group)
		keeper->group = setup->new_group ? keeper->program : (pid_t)syscall(SYS_getpgid, 0);
	close_inherited(keeper);
	result = open_keeper_fds(keeper, setup, ret_call);
	if (result) {
		signal_program(keeper, SIGKILL);
		raw_wait4(keeper->program, NULL, __WALL);
	}
	return result;
}

static __attribute__((noreturn)) void keeper_run(const struct keeper_setup *setup)
{
	struct keeper keeper = {
		.signal = setup->signal,
		.alone = setup->alone,
		.grace_ns = setup->grace_ns,
		.fds = {-1, setup->control_fd, -1, setup->done_fd},
		.cgroup = setup->cgroup,
		.program_fd = -1,
		.due_ns = setup->deadline_ns,
	};
	struct keeper_started started = {0};
	const char *call;

	take_name();
	int error = keeper_begin(&keeper, setup, &call);
	if (!error) {
		started.pid = keeper.program;
		release_inherited(&keeper);
		error = send_message(keeper.fds[ON_CONTROL], &started, sizeof(started), keeper.program_fd);
		call = NULL;
		if (error) {
			/*
			 * The message could not be sent, for example because too many descriptors of this
			 * user are in flight: end the program, which the caller does not know.
			 */
			begin_killing(&keeper);
			keeper_loop(&keeper);
		}
	}
	if (error) {
		if (call && (error == -EPERM || error == -ENOSYS))
			strncpy(started.refused, call, sizeof(started.refused) - 1);
		started.error = error;
		if (keeper.cgroup.fd >= 0)
			cgroup_remove(&keeper.cgroup);
		send_message(setup->control_fd, &started, sizeof(started), -1);
		raw_exit(1);
	}
	keeper_loop(&keeper);
	if (keeper.cgroup.fd >= 0)
		cgroup_remove(&keeper.cgroup);
	syscall(SYS_getrusage, RUSAGE_CHILDREN, &keeper.report.usage);
	send_message(keeper.fds[ON_CONTROL], &keeper.report, sizeof(keeper.report), -1);
	raw_exit(0);
}

int keeper_start(const struct keeper_setup *setup, int *ret_pidfd)
{
	int pidfd = -1;
	int pid = sys_clone(CLONE_PIDFD, &pidfd);

	if (pid == 0)
		keeper_run(setup);
	if (pid < 0)
		return pid;
	*ret_pidfd = pidfd;
	return 0;
}
