/* SPDX-License-Identifier: MIT */
/* Says why a ring could not be opened or adopted, and what to do about it. */
#include "ctxring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "debug.h"
#include "memory.h"
#include "text_file.h"

/* Reads the number behind prefix at the start of a line of a file in /proc. fallback: there is none. */
static long read_number(const char *path, const char *prefix, long fallback)
{
	char *text, *line;

	if (text_file_load(path, &text))
		return fallback;
	char *rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, prefix, strlen(prefix)) == 0) {
			fallback = strtol(line + strlen(prefix), NULL, 10);
			break;
		}
	}
	memory_release(text);
	return fallback;
}

static int explain_forbidden(char *buffer, size_t size)
{
	long disabled = read_number("/proc/sys/kernel/io_uring_disabled", "", 0);

	if (disabled == 2)
		return snprintf(buffer, size,
				"io_uring is switched off on this system: sysctl kernel.io_uring_disabled is "
				"2. To switch it on, as root: sysctl -w kernel.io_uring_disabled=0");
	if (disabled == 1)
		return snprintf(buffer, size,
				"only one group may use io_uring on this system: sysctl "
				"kernel.io_uring_disabled is 1. Join the group of sysctl "
				"kernel.io_uring_group (now %ld), or as root: sysctl -w "
				"kernel.io_uring_disabled=0",
				read_number("/proc/sys/kernel/io_uring_group", "", -1));
	if (read_number("/proc/self/status", "Seccomp:", 0))
		return snprintf(buffer, size,
				"a seccomp profile forbids io_uring (the default profiles of containers do), "
				"or what a ring needs beside it (eventfd2, mmap, mprotect). Allow "
				"io_uring_setup, io_uring_enter and io_uring_register in the profile, e.g. "
				"docker run --security-opt seccomp=profile.json");
	return snprintf(buffer, size,
			"io_uring is forbidden here, probably by a security module: see its log. Or the "
			"io_uring to be adopted has SINGLE_ISSUER, and another thread uses it");
}

static int explain_memory(char *buffer, size_t size)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_MEMLOCK, &limit);
	return snprintf(buffer, size,
			"no memory for the ring, which counts against the locked memory of this user (limit "
			"%llu KiB). ulimit -l, or LimitMEMLOCK= of the service, raises the limit; fewer or "
			"smaller rings need less",
			(unsigned long long)limit.rlim_cur / 1024);
}

static int explain_descriptors(char *buffer, size_t size, int error)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	if (error == -ENFILE)
		return snprintf(buffer, size,
				"no file descriptors left on this system: raise sysctl fs.file-max");
	return snprintf(buffer, size,
			"no file descriptors left in this process (limit %llu). ulimit -n, or LimitNOFILE= "
			"of the service, raises the limit",
			(unsigned long long)limit.rlim_cur);
}

int ctx_ring_explain(int error, char *buffer, size_t size)
{
	if (!buffer && size)
		return debug_error(-EINVAL, "buffer is NULL and size is not 0");
	switch (error) {
	case 0:
		return snprintf(buffer, size, "no error");
	case -EACCES:
		return snprintf(buffer, size,
				"the io_uring to be adopted has restrictions "
				"(io_uring_register_restrictions(3)) that forbid POLL_ADD, ASYNC_CANCEL or "
				"TIMEOUT, without which a ctx ring cannot work: allow all three. If it is a "
				"new ring: a security module forbids io_uring, see its log");
	case -EPERM:
		return explain_forbidden(buffer, size);
	case -ENOSYS:
		return snprintf(buffer, size,
				"this kernel has no io_uring (CONFIG_IO_URING, Linux 5.5 or newer): use "
				"another one. Or a seccomp profile hides io_uring, or what a ring needs "
				"beside it (eventfd2, mmap, mprotect): allow io_uring_setup, io_uring_enter "
				"and io_uring_register in the profile");
	case -ENOMEM:
		return explain_memory(buffer, size);
	case -EMFILE:
	case -ENFILE:
		return explain_descriptors(buffer, size, error);
	case -EINVAL:
		return snprintf(buffer, size,
				"an argument is out of range, or this kernel lacks one of the setup flags "
				"that were asked for (SINGLE_ISSUER needs Linux 6.0, DEFER_TASKRUN 6.1): ask "
				"for fewer");
	case -ENOTSUP:
		return snprintf(buffer, size,
				"a ctx ring cannot have one of these setup flags: ctxring(7) lists which "
				"work, and why the others do not. Or the io_uring to be adopted is still "
				"disabled: enable it first");
	case -EBUSY:
		return snprintf(buffer, size,
				"the io_uring to be adopted may have restrictions, for which the library has "
				"to look, and the program has prepared entries in it: submit these first");
	default:
		return snprintf(buffer, size, "%s", strerror(-error));
	}
}
