/* SPDX-License-Identifier: MIT */
/* Why a source could not be had, and what to do about it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctxring.h"

static const char *explain_descriptor(enum ctx_cause_kind kind, int error)
{
	switch (error) {
	case -ENOTSOCK:
		return "the descriptor is no socket: use ctx_with_fd";
	case -EBADF:
		return kind == CTX_CAUSE_PROCESS
			       ? "the descriptor is no pidfd: get one from pidfd_open(2), or CLONE_PIDFD"
			       : "the descriptor is not open";
	case -EPERM:
		return "this file cannot be polled, as regular files and directories, which are always "
		       "ready; or "
		       "the ring belongs to another thread, or is being closed";
	case -ENOSYS:
		return "this kernel has no pidfd (Linux 5.4 or newer), or a seccomp profile hides it";
	default:
		return NULL;
	}
}

static const char *explain_signals(int error)
{
	switch (error) {
	case -EBUSY:
		return "the program has a handler for one of these signals or has blocked it: give it its "
		       "default action with signal(2) and unblock it, or leave it out; or all of them are "
		       "ignored, as nohup(1) does with SIGHUP and a script with SIGINT for what it starts "
		       "with \"&\": work under ctx_with_cancel instead";
	case -EINVAL:
		return "an argument is NULL, or the set is empty or has a signal that cannot be blocked: "
		       "SIGKILL, "
		       "SIGSTOP, or one of the C library's own";
	default:
		return NULL;
	}
}

static const char *explain_pressure(int error)
{
	switch (error) {
	case -ENOENT:
		return "there is no such pressure file: the kernel has no pressure stall information "
		       "(CONFIG_PSI), "
		       "or it is off: boot with psi=1; or the cgroup is gone";
	case -EOPNOTSUPP:
		return "pressure stall information is switched off: boot with psi=1, or, of a cgroup, write "
		       "1 to its "
		       "cgroup.pressure";
	case -EACCES:
		return "the pressure file cannot be written: before Linux 6.5 that asks for CAP_SYS_RESOURCE";
	case -EINVAL:
		return "out of range: the window is 500 ms to 10 s, the stall at most the window, and full "
		       "of cpu is for "
		       "cgroups; or this process has no CAP_SYS_RESOURCE: then windows are multiples of 2 s";
	default:
		return NULL;
	}
}

static const char *explain_any(int error)
{
	switch (error) {
	case 0:
		return "no error";
	case -EINVAL:
		return "an argument is NULL or has bits that are not known";
	case -EPERM:
		return "the ring belongs to another thread, or is being closed";
	case -EAGAIN:
		return "no thread can be started: RLIMIT_NPROC, or pids.max of the cgroup, is reached";
	case -EMFILE:
		return "no file descriptors left in this process: ulimit -n, or LimitNOFILE= of the service, "
		       "raises "
		       "the limit";
	case -ENFILE:
		return "no file descriptors left on this system: raise sysctl fs.file-max";
	case -ENOSPC:
		return "this user watches too many descriptors: raise sysctl fs.epoll.max_user_watches";
	default:
		return NULL;
	}
}

int ctx_source_explain(enum ctx_cause_kind kind, int error, char *buffer, size_t size)
{
	const char *text = NULL;

	if (!buffer && size)
		return -EINVAL;
	switch (kind) {
	case CTX_CAUSE_HANGUP:
	case CTX_CAUSE_FD:
	case CTX_CAUSE_PROCESS:
		text = explain_descriptor(kind, error);
		break;
	case CTX_CAUSE_SIGNAL:
		text = explain_signals(error);
		break;
	case CTX_CAUSE_PRESSURE:
		text = explain_pressure(error);
		break;
	default:
		return -EINVAL;
	}
	if (!text)
		text = explain_any(error);
	return snprintf(buffer, size, "%s", text ? text : strerror(error < 0 ? -error : error));
}
