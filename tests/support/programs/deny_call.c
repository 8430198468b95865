/* SPDX-License-Identifier: MIT */
/*
 * deny_call.so, for LD_PRELOAD: before main(), when the loader has done its work, a system call is forbidden
 * to the process and to all that it starts, as a seccomp profile does.
 *
 *	CTX_TEST_DENY=1,271,7   EPERM is the answer of these calls, which are numbers as well
 *	CTX_TEST_DENY=mark      none is denied; a call of prctl(2) that strace(1) shows marks the place
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS_MAX 16
#define MARK 0x746b7263

static void forbid(const unsigned *calls, unsigned count, unsigned error)
{
	struct sock_filter code[CALLS_MAX + 3] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog program = {.len = (unsigned short)(count + 3), .filter = code};

	for (unsigned i = 0; i < count; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i],
							   (unsigned char)(count - i), 0);
	code[count + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[count + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("deny_call: no filter");
		_exit(99);
	}
}

__attribute__((constructor)) static void begin(void)
{
	unsigned calls[CALLS_MAX], count = 0;
	char *what = getenv("CTX_TEST_DENY"), *rest;

	if (!what)
		return;
	unsigned error = (unsigned)strtoul(what, &rest, 10);
	while (*rest == ',' && count < CALLS_MAX)
		calls[count++] = (unsigned)strtoul(rest + 1, &rest, 10);
	unsetenv("CTX_TEST_DENY");
	unsetenv("LD_PRELOAD");
	if (count)
		forbid(calls, count, error);
	else
		prctl(MARK, 0, 0, 0, 0);
}
