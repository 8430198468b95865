/* SPDX-License-Identifier: MIT */
/*
 * patient: a command that is a tree of two and waits, whichever system call is denied. The child has a
 * session of its own and does not heed SIGTERM. Both tell it by a byte, and end by themselves after a minute.
 * Without a C library, whose start takes calls of its own.
 */
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#define TURNS 600

#if defined(__x86_64__)
#define AT_START __attribute__((noreturn, used, force_align_arg_pointer))
static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long result __asm__("rax") = number;
	register long fourth __asm__("r10") = d, fifth __asm__("r8") = e, sixth __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "+r"(result)
			 : "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
#define AT_START __attribute__((noreturn, used))
static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long eighth __asm__("x8") = number, result __asm__("x0") = a;
	register long second __asm__("x1") = b, third __asm__("x2") = c, fourth __asm__("x3") = d,
			     fifth __asm__("x4") = e, sixth __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(result)
			 : "r"(eighth), "r"(second), "r"(third), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "memory");
	return result;
}
#else
#error "this command has to be told how this machine makes system calls"
#endif

static void wait_a_little(void)
{
	static const int word;
	struct timespec some = {.tv_nsec = 100000000};

	if (call(SYS_nanosleep, (long)&some, 0, 0, 0, 0, 0) < 0 &&
	    call(SYS_ppoll, 0, 0, (long)&some, 0, 0, 0) < 0)
		call(SYS_futex, (long)&word, FUTEX_WAIT, 0, (long)&some, 0, 0);
}

static void say(const char *what)
{
	if (call(SYS_write, 1, (long)what, 1, 0, 0, 0) < 0)
		call(SYS_sendto, 1, (long)what, 1, MSG_NOSIGNAL, 0, 0);
}

/* A copy of this process by clone(2), else by clone3(2); none where both are denied. */
static long copy(void)
{
	uint64_t arguments[8] = {[4] = SIGCHLD};
	long child = call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);

	return child < 0 ? call(SYS_clone3, (long)arguments, sizeof(arguments), 0, 0, 0, 0) : child;
}

AT_START void _start(void)
{
	/* The kernel's: the handler and flags. */
	uint64_t ignore[4] = {1}, none = 0;

	call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof(none), 0, 0);
	if (copy() == 0) {
		call(SYS_setsid, 0, 0, 0, 0, 0, 0);
		call(SYS_rt_sigaction, SIGTERM, (long)ignore, 0, sizeof(none), 0, 0);
		say("c");
	} else {
		say("p");
	}
	for (int i = 0; i < TURNS; i++)
		wait_a_little();
	for (;;) {
		call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
		call(SYS_exit, 0, 0, 0, 0, 0, 0);
	}
}
