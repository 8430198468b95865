/* SPDX-License-Identifier: MIT */
/* What an error of ctx_spawn means, and what to do about it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctxring.h"
#include "debug.h"
#include "spawn_explain.h"

static __thread struct {
	char call[24];
	int error;
} refusal;

int spawn_note_refusal(const char *call, int error)
{
	if (error != -EPERM && error != -ENOSYS)
		return error;
	snprintf(refusal.call, sizeof(refusal.call), "%s", call);
	refusal.error = error;
	return -EOPNOTSUPP;
}

static const char *directory_of(const struct ctx_spawn_options *options)
{
	return options ? options->directory : NULL;
}

static const char *program_of(const struct ctx_spawn_options *options)
{
	return options && options->argv && options->argv[0] ? options->argv[0] : "?";
}

/*
 * Whether the program is there, or may be executed, by mode as in access(2). A relative name starts at the
 * directory that the program is to run in.
 */
static bool is_there(const struct ctx_spawn_options *options, const char *program, int mode)
{
	char path[4096];
	const char *directory = directory_of(options);

	if (!directory || *program == '/')
		return !access(program, mode);
	return snprintf(path, sizeof(path), "%s/%s", directory, program) < (int)sizeof(path) &&
	       !access(path, mode);
}

static int explain_missing(const struct ctx_spawn_options *options, char *buffer, size_t size)
{
	const char *program = program_of(options), *directory = directory_of(options), *path = getenv("PATH");

	if (directory && access(directory, F_OK))
		return snprintf(buffer, size,
				"the directory %s, in which %s was to run, does not exist: make it, or name "
				"another one",
				directory, program);
	if (!strchr(program, '/'))
		return snprintf(
			buffer, size,
			"there is no program %s in any directory of $PATH (%s): install it, or give its path",
			program, path ? path : "not set");
	if (is_there(options, program, F_OK))
		return snprintf(
			buffer, size,
			"%s exists, but what it needs to run does not: install the interpreter that its "
			"first line names, or the dynamic loader for its architecture (see file %s)",
			program, program);
	return snprintf(buffer, size, "there is no file %s: check the path", program);
}

static int explain_access(int error, const struct ctx_spawn_options *options, char *buffer, size_t size)
{
	const char *program = program_of(options), *directory = directory_of(options);
	struct stat status;

	if (directory && access(directory, X_OK))
		return snprintf(buffer, size,
				"this user may not enter the directory %s, in which %s was to run: chmod +x "
				"it, or name another one",
				directory, program);
	if (strchr(program, '/') && !stat(program, &status) && S_ISDIR(status.st_mode))
		return snprintf(buffer, size, "%s is a directory, not a program: name the program in it",
				program);
	if (strchr(program, '/') && is_there(options, program, X_OK))
		return snprintf(buffer, size,
				"%s may not be executed (%s): its file system is mounted noexec, or a "
				"security module or a seccomp profile forbids it, or its interpreter is not "
				"executable; change that, or run the program from elsewhere",
				program, strerror(-error));
	return snprintf(buffer, size,
			"this user may not execute %s: chmod +x it, and the directories above it", program);
}

static int explain_processes(char *buffer, size_t size)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NPROC, &limit);
	return snprintf(buffer, size,
			"no process can be started: this user may have %llu (ulimit -u, or LimitNPROC= of "
			"the service), and its cgroup as many as pids.max says (TasksMax=); end others, or "
			"raise the limit",
			(unsigned long long)limit.rlim_cur);
}

static int explain_descriptors(int error, char *buffer, size_t size)
{
	struct rlimit limit = {0};

	if (error == -ENFILE)
		return snprintf(buffer, size,
				"this system has no file descriptors left: raise it with sysctl fs.file-max");
	getrlimit(RLIMIT_NOFILE, &limit);
	return snprintf(buffer, size,
			"this process has no file descriptors left of %llu, and starting a program takes "
			"four: raise the limit with ulimit -n, or with LimitNOFILE= of the service",
			(unsigned long long)limit.rlim_cur);
}

static int explain_shortage(int error, const struct ctx_spawn_options *options, char *buffer, size_t size)
{
	switch (error) {
	case -EAGAIN:
		return explain_processes(buffer, size);
	case -EMFILE:
	case -ENFILE:
		return explain_descriptors(error, buffer, size);
	case -E2BIG:
		return snprintf(
			buffer, size,
			"the arguments and the environment of %s are larger than the kernel takes (a quarter "
			"of the limit of the stack, ulimit -s, and 128 KiB each): pass them in a file",
			program_of(options));
	default:
		return snprintf(buffer, size,
				"there is no memory to start %s: starting copies the process for a moment, "
				"and vm.overcommit_memory=2 counts the copy in full; free memory, or set "
				"vm.overcommit_memory to 0",
				program_of(options));
	}
}

static int explain_refusal(const struct ctx_spawn_options *options, char *buffer, size_t size)
{
	/* The refusal is known only in the thread that called ctx_spawn. */
	bool is_known = refusal.error != 0;

	return snprintf(
		buffer, size,
		"%s was not started, because the library could not make sure that all it starts ends with "
		"it: the system call %s%s%s%s is refused, most likely by a seccomp profile; allow it there",
		program_of(options), is_known ? refusal.call : "for that", is_known ? " (" : "",
		is_known ? strerror(-refusal.error) : "", is_known ? ")" : "");
}

int ctx_spawn_explain(int error, const struct ctx_spawn_options *options, char *buffer, size_t size)
{
	if (!buffer && size)
		return debug_error(-EINVAL, "buffer is NULL and size is not 0");
	switch (error) {
	case 0:
		return snprintf(buffer, size, "started");
	case -ENOENT:
		return explain_missing(options, buffer, size);
	case -EACCES:
	case -EPERM:
		return explain_access(error, options, buffer, size);
	case -ENOTDIR:
		return snprintf(buffer, size, "%s: a part of the path is not a directory: check the path",
				directory_of(options) ? directory_of(options) : program_of(options));
	case -ENOEXEC:
		return snprintf(buffer, size,
				"%s is not a program for this machine, and has no first line with #!; it is "
				"not given to a shell: start sh with it as argument, or use CTX_SPAWN_SHELL",
				program_of(options));
	case -ETXTBSY:
		return snprintf(buffer, size, "%s is open for writing somewhere: close it there first",
				program_of(options));
	case -EBADF:
		return snprintf(buffer, size,
				"one of the three descriptors for %s is not open: pass open ones, or a "
				"negative number for /dev/null",
				program_of(options));
	case -ECANCELED:
		return snprintf(buffer, size, "%s was not started: its context had been cancelled before",
				program_of(options));
	case -ETIME:
		return snprintf(buffer, size, "%s was not started: the deadline of its context had passed",
				program_of(options));
	case -EINVAL:
		return snprintf(buffer, size,
				"%s was not started: an argument is NULL, a flag is not known or needs "
				"another (CTX_SPAWN_GROUP needs CTX_SPAWN_ALONE), or there is no such signal",
				program_of(options));
	case -EOPNOTSUPP:
		return explain_refusal(options, buffer, size);
	case -EAGAIN:
	case -EMFILE:
	case -ENFILE:
	case -E2BIG:
	case -ENOMEM:
		return explain_shortage(error, options, buffer, size);
	default:
		return snprintf(buffer, size, "%s could not be started: %s", program_of(options),
				strerror(error < 0 ? -error : error));
	}
}
