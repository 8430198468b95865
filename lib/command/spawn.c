/* SPDX-License-Identifier: MIT */
/*
 * Programs under a context. ctx_spawn makes a setup and starts a keeper with it, see keeper.h. The keeper
 * starts the program, and ends it with the context. Once all has ended the keeper exits, so that its pidfd is
 * readable, and its report is in the socket.
 */
#include <string.h>
#include <sys/wait.h>

#include "cause.h"
#include "cgroup.h"
#include "clock.h"
#include "context.h"
#include "keeper.h"
#include "lock.h"
#include "memory.h"
#include "passed.h"
#include "raw.h"
#include "spawn_environment.h"
#include "spawn_explain.h"
#include "sys.h"
#include "thread.h"

#define FLAGS                                                                                              \
	(CTX_SPAWN_NEW_GROUP | CTX_SPAWN_NO_CGROUP | CTX_SPAWN_SHELL | CTX_SPAWN_ALONE | CTX_SPAWN_GROUP | \
	 CTX_SPAWN_NO_SIGNAL)
#define GRACE_DEFAULT_NS (5 * NS_PER_SECOND)

struct ctx_process {
	const struct ctx_context *ctx;
	pid_t pid;
	int program_fd; /* pidfd of the program */
	int keeper_fd;	/* pidfd of the keeper, which ends when the whole tree has ended */
	int control_fd; /* our end of the socket to the keeper */
	uint32_t fork_count;
	char cgroup[CGROUP_NAME_MAX]; /* "": there is no cgroup */
	struct lock lock;	      /* guards the fields below */
	/* One of the program until it calls ctx_process_free, and one of each call that waits. */
	unsigned refs;
	bool collected;
	bool reported; /* false: the keeper was killed */
	struct keeper_report report;
};

/* ---- starting */

static int check_options(const struct ctx_context *ctx, const struct ctx_spawn_options *options,
			 struct ctx_process **ret_process)
{
	if (!ctx || !options || !ret_process || !options->argv || !options->argv[0])
		return -EINVAL;
	if (options->flags & CTX_SPAWN_GROUP && !(options->flags & CTX_SPAWN_ALONE))
		return -EINVAL;
	if (options->flags & ~FLAGS || options->signal < 0 || options->signal > SIGRTMAX)
		return -EINVAL;
	return ctx_err(ctx);
}

static int first_signal(const struct ctx_spawn_options *options)
{
	if (options->flags & CTX_SPAWN_NO_SIGNAL)
		return 0;
	return options->signal ? options->signal : SIGTERM;
}

/* Makes the setup. What it has on failure is freed by setup_free as well. */
static int setup_make(struct keeper_setup *setup, const struct ctx_context *ctx,
		      const struct ctx_spawn_options *options)
{
	char **environment, **paths;

	*setup = (struct keeper_setup){
		.argv = options->argv,
		.directory = options->directory,
		.fds = options->fds,
		.new_group = options->flags & CTX_SPAWN_NEW_GROUP,
		.alone = options->flags & CTX_SPAWN_ALONE,
		.whole_group = options->flags & CTX_SPAWN_GROUP,
		.signal = first_signal(options),
		.grace_ns = options->grace_ns ? options->grace_ns : GRACE_DEFAULT_NS,
		/*
		 * The keeper is not told a deadline that may be moved: the done pipe tells it when that is
		 * over.
		 */
		.deadline_ns = ctx->flags & NODE_MOVABLE ? CTX_FOREVER : context_deadline(ctx),
		.done_fd = -1,
		.control_fd = -1,
		.caller = raw_getpid(),
		.cgroup = CGROUP_NONE,
	};
	if (setup->caller < 0)
		return spawn_note_refusal("getpid", setup->caller);
	int result = spawn_environment(ctx, options->environment, &environment);
	if (result)
		return result;
	setup->environment = environment;
	result = spawn_paths(options->argv[0], &paths);
	if (result)
		return result;
	setup->paths = paths;
	if (options->flags & CTX_SPAWN_SHELL)
		result = spawn_script(options->argv, &setup->script);
	if (result)
		return result;
	/* The kernel's set is the first part of libc's. */
	if (options->mask)
		memcpy(&setup->mask, options->mask, sizeof(setup->mask));
	if (ctx->flags & NODE_ENDLESS)
		return 0;
	result = ctx_done_fd(ctx);
	if (result >= 0)
		setup->done_fd = result;
	return result < 0 ? spawn_note_refusal("pipe2", result) : 0;
}

static void setup_free(struct keeper_setup *setup)
{
	if (setup->control_fd >= 0)
		sys_close(setup->control_fd);
	cgroup_close(&setup->cgroup);
	memory_release((void *)setup->environment);
	memory_release((void *)setup->paths);
	memory_release((void *)setup->script);
}

/* Starts the keeper with all signals blocked, so that it never runs a handler of the program. */
static int start_keeper(const struct keeper_setup *setup, int *ret_pidfd)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = keeper_start(setup, ret_pidfd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

/* Waits until the program was executed, or could not be. */
static int await_start(struct ctx_process *process)
{
	union passed_one room;
	struct keeper_started started;
	struct iovec part = {&started, sizeof(started)};
	int size, fds[sizeof(room) / sizeof(int)];

	do {
		struct msghdr message = {.msg_iov = &part,
					 .msg_iovlen = 1,
					 .msg_control = &room,
					 .msg_controllen = sizeof(room)};
		size = sys_recvmsg(process->control_fd, &message, MSG_CMSG_CLOEXEC);
		if (size > 0 && passed_take(&message, fds))
			process->program_fd = fds[0]; /* the pidfd of the program */
	} while (size == -EINTR);
	if (size < 0)
		return spawn_note_refusal("recvmsg", size);
	/* A keeper that sent nothing was killed. */
	if (size != sizeof(started))
		return -EAGAIN;
	if (started.error)
		return started.refused[0] ? spawn_note_refusal(started.refused, started.error)
					  : started.error;
	process->pid = started.pid;
	return process->program_fd < 0 ? -EMFILE : 0;
}

static int start_program(struct ctx_process *process, struct keeper_setup *setup)
{
	int ends[2];
	int result = sys_socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC, ends);

	if (result)
		return spawn_note_refusal("socketpair", result);
	process->control_fd = ends[0];
	setup->control_fd = ends[1];
	result = start_keeper(setup, &process->keeper_fd);
	sys_close(setup->control_fd);
	setup->control_fd = -1;
	return result ? spawn_note_refusal("clone", result) : await_start(process);
}

/* ctx_spawn_explain() as an expression. Returns text. */
static const char *explained(int error, const struct ctx_spawn_options *options, char text[400])
{
	ctx_spawn_explain(error, options, text, 400);
	return text;
}

int ctx_spawn(const struct ctx_context *ctx, const struct ctx_spawn_options *options,
	      struct ctx_process **ret_process)
{
	struct keeper_setup setup;
	int result = check_options(ctx, options, ret_process);

	if (result == -EINVAL)
		return debug_invalid(
			"there is no argv[0], a flag or the signal is unknown, or CTX_SPAWN_GROUP is set "
			"without CTX_SPAWN_ALONE",
			ctx, options, ret_process);
	if (result)
		return debug_done(result, ctx);
	struct ctx_process *process = memory_allocate(sizeof(*process));
	if (!process)
		return -ENOMEM;
	*process = (struct ctx_process){.program_fd = -1,
					.keeper_fd = -1,
					.control_fd = -1,
					.fork_count = thread_fork_count,
					.refs = 1};
	result = setup_make(&setup, ctx, options);
	if (!result && !(options->flags & (CTX_SPAWN_NO_CGROUP | CTX_SPAWN_ALONE)))
		cgroup_make(&setup.cgroup);
	if (setup.cgroup.fd >= 0)
		strcpy(process->cgroup, setup.cgroup.name);
	if (!result)
		result = start_program(process, &setup);
	if (!result)
		process->ctx = ctx_ref(ctx);
	/* Without a keeper the cgroup is removed here. A keeper that failed has removed it itself. */
	if (result && setup.cgroup.fd >= 0 && process->keeper_fd < 0)
		cgroup_remove(&setup.cgroup);
	setup_free(&setup);
	if (result) {
		ctx_process_free(process);
		return debug_error(result, "%s", explained(result, options, (char[400]){""}));
	}
	*ret_process = process;
	return 0;
}

static int tell_keeper(struct ctx_process *process, unsigned char message)
{
	struct iovec part = {&message, 1};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	int result;

	do
		result = sys_sendmsg(process->control_fd, &header, MSG_NOSIGNAL);
	while (result == -EINTR);
	return result < 0 ? result : 0;
}

/* ---- what it is */

pid_t ctx_process_pid(const struct ctx_process *process)
{
	return process ? process->pid : 0;
}

int ctx_process_fd(const struct ctx_process *process)
{
	return process ? process->keeper_fd : debug_invalid(NULL, process);
}

int ctx_process_signal(struct ctx_process *process, int signo)
{
	unsigned char message = (unsigned char)signo;
	int result;

	if (!process || signo < 0 || signo > SIGRTMAX)
		return debug_invalid("there is no such signal", process);
	result = sys_pidfd_signal(process->program_fd, signo);
	/*
	 * If signal 0 to -1, which is no pidfd, fails with the same error, a filter forbids the call. Then
	 * the keeper signals the program by number.
	 */
	if ((result == -EPERM || result == -ENOSYS) && sys_pidfd_signal(-1, 0) == result)
		result = tell_keeper(process, message);
	return debug_result(result, "%s",
			    result == -ESRCH ? "the program has ended" : "the program may not be signalled");
}

/* ---- the end */

/* A keeper that was killed has left what it would have ended in its cgroup: ends that. */
static void kill_left_behind(const struct ctx_process *process)
{
	struct cgroup cgroup;

	if (!process->cgroup[0])
		return;
	cgroup_open(process->cgroup, &cgroup);
	if (cgroup.fd >= 0) {
		cgroup_kill(&cgroup);
		cgroup_await_empty(&cgroup);
		cgroup_remove(&cgroup);
	}
	cgroup_close(&cgroup);
}

/* Takes the report of a keeper that has ended. All it has sent is in the socket by then. */
static void collect_report(struct ctx_process *process)
{
	lock_acquire(&process->lock);
	if (!process->collected) {
		struct iovec part = {&process->report, sizeof(process->report)};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
		int size;
		do
			size = sys_recvmsg(process->control_fd, &message, MSG_DONTWAIT);
		while (size == -EINTR);
		process->reported = size == sizeof(process->report);
		/*
		 * A wait of the program for all children may have reaped the keeper already; then there is
		 * nothing to reap.
		 */
		sys_reap(process->keeper_fd, (int)__WCLONE);
		if (!process->reported)
			kill_left_behind(process);
		process->collected = true;
	}
	lock_release(&process->lock);
}

static bool has_ended(const struct ctx_process *process)
{
	struct pollfd pollfd = {.fd = process->keeper_fd, .events = POLLIN};
	struct timespec now = {0};

	return sys_poll(&pollfd, 1, &now) > 0;
}

static void tell_exit(struct ctx_process *process, struct ctx_exit *ret_exit)
{
	const struct keeper_report *report = &process->report;
	struct ctx_cause cause = {0};

	if (report->stopped) {
		/* The keeper reads the clock itself; the timer of the context may be a moment later. */
		context_expire(process->ctx, clock_now_ns());
		ctx_get_cause(process->ctx, &cause);
	}
	*ret_exit = (struct ctx_exit){
		.status = report->status,
		.stopped = report->stopped,
		.killed = report->killed,
		.left_behind = report->left_behind,
		.cause = cause,
		.usage = report->usage,
	};
}

static void close_fd(int fd)
{
	if (fd >= 0)
		sys_close(fd);
}

static void process_unref(struct ctx_process *process)
{
	lock_acquire(&process->lock);
	bool last = --process->refs == 0;
	lock_release(&process->lock);
	if (!last)
		return;
	close_fd(process->program_fd);
	close_fd(process->keeper_fd);
	close_fd(process->control_fd);
	ctx_unref(process->ctx);
	memory_release(process);
}

static int wait_and_tell(const struct ctx_context *ctx, struct ctx_process *process,
			 struct ctx_exit *ret_exit)
{
	while (!has_ended(process)) {
		int result = ctx_wait_fd(ctx, process->keeper_fd, POLLIN, CTX_FOREVER);
		if (result < 0 && result != -EINTR)
			return result;
	}
	collect_report(process);
	if (!process->reported)
		return -EOWNERDEAD;
	if (ret_exit)
		tell_exit(process, ret_exit);
	return 0;
}

int ctx_process_wait(const struct ctx_context *ctx, struct ctx_process *process, struct ctx_exit *ret_exit)
{
	if (!ctx || !process)
		return debug_invalid(NULL, ctx, process);
	if (process->fork_count != thread_fork_count)
		return debug_error(-ECHILD, "the program was started before a fork, by the parent");
	context_hold(ctx);
	lock_acquire(&process->lock);
	process->refs++;
	lock_release(&process->lock);
	int result = wait_and_tell(ctx, process, ret_exit);
	process_unref(process);
	context_unhold(ctx);
	return result;
}

static bool is_collected(struct ctx_process *process)
{
	lock_acquire(&process->lock);
	bool collected = process->collected;
	lock_release(&process->lock);
	return collected;
}

static void kill_now(struct ctx_process *process)
{
	struct pollfd pollfd = {.fd = process->keeper_fd, .events = POLLIN};
	siginfo_t info;
	int result;

	/* If the message does not reach the keeper, the hang-up does. */
	if (tell_keeper(process, KEEPER_KILL))
		shutdown(process->control_fd, SHUT_WR);
	do
		result = sys_poll(&pollfd, 1, NULL);
	while (result == -EINTR);
	/* Where a filter forbids poll(2), waitid(2) waits as well. */
	while (result < 0 && sys_waitid((idtype_t)P_PIDFD, (id_t)process->keeper_fd, &info,
					WEXITED | WNOWAIT | (int)__WCLONE) == -EINTR)
		;
	collect_report(process);
}

void ctx_process_free(struct ctx_process *process)
{
	if (!process)
		return;
	if (process->fork_count != thread_fork_count) {
		/*
		 * The process is the parent's. At the fork another thread may have held the lock, or waited.
		 */
		process->lock = (struct lock){0};
		process->refs = 1;
	} else if (process->keeper_fd >= 0 && !is_collected(process)) {
		kill_now(process);
	}
	process_unref(process);
}
