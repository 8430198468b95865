/* SPDX-License-Identifier: MIT */
/*
 * deny_uring PROGRAM [ARGUMENT...]
 *
 * Runs a program with io_uring_setup(2) forbidden, as the default seccomp profiles
 * of container engines do: the call fails with EPERM.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: deny_uring PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0) ||
	    seccomp_load(filter)) {
		fprintf(stderr, "deny_uring: the seccomp filter cannot be loaded\n");
		return 2;
	}
	seccomp_release(filter);
	execvp(argv[1], argv + 1);
	fprintf(stderr, "deny_uring: %s: %s\n", argv[1], strerror(errno));
	return 2;
}
