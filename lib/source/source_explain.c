/* SPDX-License-Identifier: MIT */
/* What an error of a constructor of lib/source means, and what to do about it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "source.h"

static const char *explain_descriptor(enum ctx_cause_kind kind, int error)
{
	switch (error) {
	case -ENOTSOCK:
		return "the descriptor is not a socket: use ctx_with_fd for it";
	case -EBADF:
		return kind == CTX_CAUSE_PROCESS
			       ? "the descriptor is not a pidfd: get one from pidfd_open(2) or CLONE_PIDFD"
			       : "the descriptor is not open: pass one that is";
	case -EPERM:
		return "the kernel cannot poll this file: regular files and directories are always ready, so "
		       "wait for something else; or the ring belongs to another thread, or is being closed: "
		       "call from the thread that owns it";
	case -ENOSYS:
		return "the kernel has no pidfds, or a seccomp profile forbids them: use Linux 5.4 or newer, "
		       "or allow pidfd_send_signal in the profile";
	default:
		return NULL;
	}
}

static const char *explain_signals(int error)
{
	switch (error) {
	case -EBUSY:
		return "the program handles or blocks one of these signals: give it its default action with "
		       "signal(2) and unblock it, or leave it out of the set; or all of them are ignored, as "
		       "nohup(1) does with SIGHUP and a script's \"&\" with SIGINT: then no signal can end "
		       "the context, and ctx_with_cancel does instead";
	case -EINVAL:
		return "an argument is NULL, or the set is empty, or it has a signal that cannot be waited "
		       "for: leave out SIGKILL, SIGSTOP and the signals that the C library uses itself (32 "
		       "to SIGRTMIN - 1)";
	default:
		return NULL;
	}
}

static const char *explain_pressure(int error)
{
	switch (error) {
	case -ENOENT:
		return "there is no such pressure file: the kernel was built without pressure stall "
		       "information (CONFIG_PSI), or it is switched off, and booting with psi=1 switches it "
		       "on; or the cgroup has been removed";
	case -EOPNOTSUPP:
		return "pressure stall information is switched off: boot with psi=1, or, for a cgroup, write "
		       "1 to its file cgroup.pressure";
	case -EACCES:
		return "the pressure file may not be written: before Linux 6.5 this takes CAP_SYS_RESOURCE";
	case -EINVAL:
		return "an argument is NULL or out of range: the window has to be 500 ms to 10 s, the stall "
		       "at most the window, and \"full\" of cpu is for cgroups only; without "
		       "CAP_SYS_RESOURCE the window has to be a multiple of 2 s";
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
		return "an argument is NULL, or has a bit that is not known";
	case -EPERM:
		return "the ring belongs to another thread, or is being closed: call from the thread that "
		       "owns it";
	case -EAGAIN:
		return "no thread can be started: RLIMIT_NPROC, or pids.max of the cgroup, is reached; raise "
		       "it";
	case -EMFILE:
		return "this process has no file descriptors left: raise the limit with ulimit -n, or with "
		       "LimitNOFILE= of the service";
	case -ENFILE:
		return "this system has no file descriptors left: raise it with sysctl fs.file-max";
	case -ENOSPC:
		return "this user watches too many descriptors: raise the limit with sysctl "
		       "fs.epoll.max_user_watches";
	default:
		return NULL;
	}
}

void source_tell(const void *site, const char *function, enum ctx_cause_kind kind, int error)
{
	char text[300];

	ctx_source_explain(kind, error, text, sizeof(text));
	debug_tell(site, function, error, "%s", text);
}

int ctx_source_explain(enum ctx_cause_kind kind, int error, char *buffer, size_t size)
{
	const char *text = NULL;

	if (!buffer && size)
		return debug_error(-EINVAL, "buffer is NULL and size is not 0");
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
		return debug_error(-EINVAL, "no source has causes of the kind %d", (int)kind);
	}
	if (!text)
		text = explain_any(error);
	return snprintf(buffer, size, "%s", text ? text : strerror(error < 0 ? -error : error));
}
