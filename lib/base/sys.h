/* SPDX-License-Identifier: MIT */
/*
 * lib/base: what every other folder may use. It knows neither contexts nor io_uring, and uses no other
 * folder.
 *
 * The seam to the kernel: every system call whose failure the library has to handle goes through here, and
 * every allocation. Each function returns the call's result or a negative errno.
 *
 * In a normal build these are direct calls. With CTX_FAULTS a test program can provide sys_make_fault(),
 * which is asked before each call and makes it fail with the positive errno that it returns; and
 * sys_limit_submit(), which may cut the number of SQEs that one io_uring_enter(2) takes.
 *
 * These calls are not asked about, since the library has nothing to do when they fail:
 *  - close(2), which closes the descriptor in any case; the wake-ups sys_tell() and sys_futex_wake(); and
 *    sys_drain(). The files and words are the library's own. A wake-up that a test let fail would be lost,
 *    which the kernel's never are: a full pipe or eventfd is readable.
 *  - what only asks or advises, with an answer for the case of failure where it is called: fstat(2),
 *    readlink(2), getrlimit(2), madvise(2), prctl(2) and others like them.
 *  - the calls of the keeper and of a child before execve(2): raw.h.
 *
 * No call of the library is a cancellation point of pthread_cancel(3): a thread that ended within one would
 * leave locks held and sweeps unfinished. So where the C library's function is such a point, the call is made
 * by syscall(2), which is none; tests/build_cancellation.sh looks for calls of such functions.
 */
#ifndef CTX_SYS_H
#define CTX_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum sys_call {
	SYS_CALL_ALLOCATE,
	SYS_CALL_MEMFD_CREATE,
	SYS_CALL_FTRUNCATE,
	SYS_CALL_MMAP,
	SYS_CALL_ADD_SEALS,
	SYS_CALL_PIPE2,
	SYS_CALL_EVENTFD,
	SYS_CALL_EPOLL_CREATE1,
	SYS_CALL_EPOLL_CTL,
	SYS_CALL_READ,
	SYS_CALL_WRITE,
	SYS_CALL_POLL,
	SYS_CALL_FUTEX_WAIT,
	SYS_CALL_THREAD_CREATE,
	SYS_CALL_MEMBARRIER,
	SYS_CALL_SHUTDOWN,
	SYS_CALL_SOCKET,
	SYS_CALL_CONNECT,
	SYS_CALL_SENDMSG,
	SYS_CALL_RECVMSG,
	SYS_CALL_EPOLL_WAIT,
	SYS_CALL_TIMERFD,
	SYS_CALL_TEE,
	SYS_CALL_DUPLICATE,
	SYS_CALL_GET_FLAGS,
	SYS_CALL_SIGNALFD,
	SYS_CALL_RW_NOWAIT,
	SYS_CALL_ACCEPT,
	SYS_CALL_WAITID,
	SYS_CALL_PIDFD_OPEN,
	SYS_CALL_SOCKETPAIR,
	SYS_CALL_CLONE,
	SYS_CALL_MKDIRAT,
	SYS_CALL_OPENAT,
	SYS_CALL_PIDFD_SIGNAL,
	SYS_CALL_GETSOCKOPT,
	SYS_CALL_SETSOCKOPT,
	SYS_CALL_URING_SETUP,
	SYS_CALL_URING_ENTER,
	SYS_CALL_URING_REGISTER,
	SYS_CALL_COUNT,
};

#ifdef CTX_FAULTS
/* Programs that are no tests have neither. */
int sys_make_fault(enum sys_call call) __attribute__((weak));
unsigned sys_limit_submit(unsigned to_submit) __attribute__((weak));
static inline int sys_fault(enum sys_call call)
{
	return sys_make_fault ? sys_make_fault(call) : 0;
}
static inline unsigned sys_fault_submit(unsigned to_submit)
{
	return sys_limit_submit ? sys_limit_submit(to_submit) : to_submit;
}
#else
static inline int sys_fault(enum sys_call call)
{
	(void)call;
	return 0;
}
static inline unsigned sys_fault_submit(unsigned to_submit)
{
	return to_submit;
}
#endif

/* The result of a call as this file returns it: -errno where the call returned -1. */
static inline int sys_result(long result)
{
	return result < 0 ? -errno : (int)result;
}

/* ThreadSanitizer sees that a write(2) happens before the read(2) of it only where both are calls of the C
 * library's functions. */
#ifdef __SANITIZE_THREAD__
#define SYS_FOLLOWED
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SYS_FOLLOWED
#endif
#endif

/* Makes a call whose function in the C library is a cancellation point. */
#ifdef SYS_FOLLOWED
#define SYS_NO_POINT(name, ...)                                            \
	({                                                                 \
		int before_;                                               \
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_);  \
		__typeof__(name(__VA_ARGS__)) result_ = name(__VA_ARGS__); \
		pthread_setcancelstate(before_, NULL);                     \
		result_;                                                   \
	})
#else
#define SYS_NO_POINT(name, ...) syscall(SYS_##name, __VA_ARGS__)
#endif

#define SYS_CALL(call, expression)             \
	do {                                   \
		int fault_ = sys_fault(call);  \
		if (fault_)                    \
			return -fault_;        \
		return sys_result(expression); \
	} while (0)

static inline int sys_memfd_create(const char *name, unsigned flags)
{
	SYS_CALL(SYS_CALL_MEMFD_CREATE, memfd_create(name, flags));
}

static inline int sys_ftruncate(int fd, off_t size)
{
	SYS_CALL(SYS_CALL_FTRUNCATE, ftruncate(fd, size));
}

static inline int sys_mmap(size_t size, int protection, int flags, int fd, void **ret_memory)
{
	int fault = sys_fault(SYS_CALL_MMAP);
	if (fault)
		return -fault;
	void *memory = mmap(NULL, size, protection, flags, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*ret_memory = memory;
	return 0;
}

static inline int sys_add_seals(int fd, int seals)
{
	SYS_CALL(SYS_CALL_ADD_SEALS, fcntl(fd, F_ADD_SEALS, seals));
}

static inline int sys_pipe2(int fds[2], int flags)
{
	SYS_CALL(SYS_CALL_PIPE2, pipe2(fds, flags));
}

static inline int sys_eventfd(unsigned value, int flags)
{
	SYS_CALL(SYS_CALL_EVENTFD, eventfd(value, flags));
}

static inline int sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	SYS_CALL(SYS_CALL_GETSOCKOPT, getsockopt(fd, level, name, value, size));
}

static inline int sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	SYS_CALL(SYS_CALL_SETSOCKOPT, setsockopt(fd, level, name, value, size));
}

static inline int sys_epoll_create1(int flags)
{
	SYS_CALL(SYS_CALL_EPOLL_CREATE1, epoll_create1(flags));
}

static inline int sys_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	SYS_CALL(SYS_CALL_EPOLL_CTL, epoll_ctl(epoll, operation, fd, event));
}

static inline int sys_read(int fd, void *buffer, size_t size)
{
	SYS_CALL(SYS_CALL_READ, SYS_NO_POINT(read, fd, buffer, size));
}

static inline int sys_write(int fd, const void *buffer, size_t size)
{
	SYS_CALL(SYS_CALL_WRITE, SYS_NO_POINT(write, fd, buffer, size));
}

/* Writes to an eventfd or a pipe of the library's own, to make it readable. Fails only where it is full, and
 * then it is readable already. Async-signal-safe, keeps errno. */
static inline void sys_tell(int fd, const void *buffer, size_t size)
{
	int saved = errno;
	SYS_NO_POINT(write, fd, buffer, size);
	errno = saved;
}

/* Reads and throws away all that a descriptor of the library's own, which never blocks, holds. */
static inline void sys_drain(int fd)
{
	uint64_t bytes[32];

	while (SYS_NO_POINT(read, fd, bytes, sizeof(bytes)) == (long)sizeof(bytes))
		;
}

/* Closes fd, also where it returns an error. */
static inline int sys_close(int fd)
{
	return sys_result(SYS_NO_POINT(close, fd));
}

/* Waits for no longer than timeout. NULL: without a bound. */
static inline int sys_poll(struct pollfd *fds, unsigned count, const struct timespec *timeout)
{
	struct timespec left = timeout ? *timeout : (struct timespec){0}; /* the kernel writes to it */

	SYS_CALL(SYS_CALL_POLL, syscall(SYS_ppoll, fds, count, timeout ? &left : NULL, NULL, 0));
}

/* Sleeps while *word is value, until deadline on CLOCK_MONOTONIC. NULL: without a bound. */
static inline int sys_futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *deadline)
{
	SYS_CALL(SYS_CALL_FUTEX_WAIT, syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value,
					      deadline, NULL, FUTEX_BITSET_MATCH_ANY));
}

/* Wakes at most count threads that sleep on word. Cannot fail. Async-signal-safe, keeps errno. */
static inline void sys_futex_wake(_Atomic uint32_t *word, int count)
{
	int saved = errno;
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
	errno = saved;
}

static inline int sys_socket(int domain, int type)
{
	SYS_CALL(SYS_CALL_SOCKET, socket(domain, type, 0));
}

static inline int sys_connect(int fd, const struct sockaddr *address, socklen_t size)
{
	SYS_CALL(SYS_CALL_CONNECT, SYS_NO_POINT(connect, fd, address, size));
}

static inline int sys_shutdown(int fd, int how)
{
	SYS_CALL(SYS_CALL_SHUTDOWN, shutdown(fd, how));
}

static inline int sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
	SYS_CALL(SYS_CALL_SENDMSG, SYS_NO_POINT(sendmsg, fd, message, flags));
}

static inline int sys_receive(int fd, void *buffer, size_t size, int flags)
{
	SYS_CALL(SYS_CALL_RECVMSG, SYS_NO_POINT(recvfrom, fd, buffer, size, flags, NULL, NULL));
}

static inline int sys_send(int fd, const void *buffer, size_t size, int flags)
{
	SYS_CALL(SYS_CALL_SENDMSG, SYS_NO_POINT(sendto, fd, buffer, size, flags, NULL, 0));
}

static inline int sys_recvmsg(int fd, struct msghdr *message, int flags)
{
	SYS_CALL(SYS_CALL_RECVMSG, SYS_NO_POINT(recvmsg, fd, message, flags));
}

/* Waits for no longer than timeout_ms. -1: without a bound. */
static inline int sys_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
#ifdef SYS_FOLLOWED
	SYS_CALL(SYS_CALL_EPOLL_WAIT, epoll_wait(epoll, events, count, timeout_ms));
#else
	SYS_CALL(SYS_CALL_EPOLL_WAIT, syscall(SYS_epoll_pwait, epoll, events, count, timeout_ms, NULL, 0));
#endif
}

/* Makes a timerfd of CLOCK_MONOTONIC. */
static inline int sys_timerfd(void)
{
	SYS_CALL(SYS_CALL_TIMERFD, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

static inline int sys_tee(int from, int to, size_t size)
{
	SYS_CALL(SYS_CALL_TEE, SYS_NO_POINT(tee, from, to, size, SPLICE_F_NONBLOCK));
}

/* How many processors this thread may run on. */
static inline unsigned sys_processor_count(void)
{
	cpu_set_t set;
	if (!sched_getaffinity(0, sizeof(set), &set))
		return (unsigned)CPU_COUNT(&set);
	/* The machine has more processors than cpu_set_t has bits. */
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	return count > 0 ? (unsigned)count : 1;
}

/* An offset as the two words that preadv2(2) and pwritev2(2) take. On 64 bits the first holds it all. */
#define SYS_OFFSET(offset) (long)(offset), (long)((uint64_t)(offset) >> 32)

/* Read and write by one attempt; with RWF_NOWAIT in flags it does not wait, and -EOPNOTSUPP says that this
 * file cannot be read or written so. offset -1 is the file's own position. */
static inline int sys_preadv2(int fd, const struct iovec *buffers, int count, off_t offset, int flags)
{
	SYS_CALL(SYS_CALL_RW_NOWAIT, syscall(SYS_preadv2, fd, buffers, count, SYS_OFFSET(offset), flags));
}

static inline int sys_pwritev2(int fd, const struct iovec *buffers, int count, off_t offset, int flags)
{
	SYS_CALL(SYS_CALL_RW_NOWAIT, syscall(SYS_pwritev2, fd, buffers, count, SYS_OFFSET(offset), flags));
}

static inline int sys_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	SYS_CALL(SYS_CALL_ACCEPT, SYS_NO_POINT(accept4, fd, address, size, flags));
}

static inline int sys_waitid(idtype_t type, id_t id, siginfo_t *ret_info, int options)
{
	SYS_CALL(SYS_CALL_WAITID, syscall(SYS_waitid, type, id, ret_info, options, NULL));
}

/* Reaps the child of pidfd if it has ended. Does not wait. */
static inline void sys_reap(int pidfd, int options)
{
	siginfo_t info;
	syscall(SYS_waitid, 3 /* P_PIDFD */, pidfd, &info, WEXITED | WNOHANG | options, NULL);
}

static inline int sys_pidfd_open(pid_t pid)
{
	SYS_CALL(SYS_CALL_PIDFD_OPEN, syscall(SYS_pidfd_open, pid, 0));
}

/* Sleeps on several words at once, until deadline on CLOCK_MONOTONIC (NULL: without a bound). Returns the
 * index of a word that was woken, of the last one if there are several. Linux 5.16. */
static inline int sys_futex_waitv(struct futex_waitv *waiters, unsigned count,
				  const struct timespec *deadline)
{
	SYS_CALL(SYS_CALL_FUTEX_WAIT, syscall(SYS_futex_waitv, waiters, count, 0, deadline, CLOCK_MONOTONIC));
}

static inline int sys_socketpair(int type, int fds[2])
{
	SYS_CALL(SYS_CALL_SOCKETPAIR, socketpair(AF_UNIX, type, 0, fds));
}

/* Fills buffer with random bytes as far as the kernel has them now. Returns their number. */
static inline int sys_random(void *buffer, size_t size)
{
	return sys_result(syscall(SYS_getrandom, buffer, size, 1 /* GRND_NONBLOCK */));
}

static inline int sys_openat(int directory, const char *path, int flags)
{
	SYS_CALL(SYS_CALL_OPENAT, SYS_NO_POINT(openat, directory, path, flags, 0));
}

static inline int sys_pidfd_signal(int pidfd, int signo)
{
	SYS_CALL(SYS_CALL_PIDFD_SIGNAL, syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0));
}

static inline int sys_mkdirat(int directory, const char *path, mode_t mode)
{
	SYS_CALL(SYS_CALL_MKDIRAT, mkdirat(directory, path, mode));
}

/* Forks without the handlers of pthread_atfork(3). flags are those of clone(2), the signal at the child's end
 * included. */
static inline int sys_clone(unsigned long flags, int *ret_pidfd)
{
#ifdef __s390__
	SYS_CALL(SYS_CALL_CLONE, syscall(SYS_clone, 0l, flags, ret_pidfd, 0l, 0l));
#else
	SYS_CALL(SYS_CALL_CLONE, syscall(SYS_clone, flags, 0l, ret_pidfd, 0l, 0l));
#endif
}

static inline int sys_membarrier(int command)
{
	SYS_CALL(SYS_CALL_MEMBARRIER, syscall(SYS_membarrier, command, 0, 0));
}

static inline int sys_duplicate(int fd)
{
	SYS_CALL(SYS_CALL_DUPLICATE, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/* The status flags of an open file: O_NONBLOCK, O_ACCMODE and others, see fcntl(2). */
static inline int sys_get_flags(int fd)
{
	SYS_CALL(SYS_CALL_GET_FLAGS, fcntl(fd, F_GETFL));
}

static inline int sys_signalfd(const sigset_t *signals)
{
	SYS_CALL(SYS_CALL_SIGNALFD, signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

static inline int sys_thread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
				    void *(*function)(void *), void *argument)
{
	int fault = sys_fault(SYS_CALL_THREAD_CREATE);
	return fault ? -fault : -pthread_create(ret_thread, attributes, function, argument);
}

/* liburing's own calls return a negative errno already. */
static inline int sys_uring_setup(unsigned entries, struct io_uring *uring, struct io_uring_params *params)
{
	int fault = sys_fault(SYS_CALL_URING_SETUP);
	int state;

	if (fault)
		return -fault;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* on some machines it calls close(2) */
	int result = io_uring_queue_init_params(entries, uring, params);
	pthread_setcancelstate(state, NULL);
	return result;
}

static inline void sys_uring_exit(struct io_uring *uring)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	io_uring_queue_exit(uring);
	pthread_setcancelstate(state, NULL);
}

static inline int sys_uring_register(int fd, unsigned opcode, const void *argument, unsigned count)
{
	int fault = sys_fault(SYS_CALL_URING_REGISTER);
	if (fault)
		return -fault;
	return sys_result(syscall(__NR_io_uring_register, fd, opcode, argument, count));
}

/*
 * io_uring_enter(2). On x86-64 by the instruction itself: a return right behind a system call is
 * mispredicted, and syscall(3) has one.
 */
static inline int sys_uring_enter_call(int fd, unsigned to_submit, unsigned min_complete, unsigned flags,
				       const void *argument, size_t argument_size)
{
#if defined(__x86_64__) && !defined(__ILP32__)
	register unsigned long r10 __asm__("r10") = flags;
	register const void *r8 __asm__("r8") = argument;
	register size_t r9 __asm__("r9") = argument_size;
	long result = __NR_io_uring_enter;

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"((long)fd), "S"((unsigned long)to_submit), "d"((unsigned long)min_complete),
			   "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return (int)result;
#else
	return sys_result(
		syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags, argument, argument_size));
#endif
}

static inline int sys_uring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags,
				  const void *argument, size_t argument_size)
{
	int fault = sys_fault(SYS_CALL_URING_ENTER);
	if (fault)
		return -fault;
	unsigned taken = sys_fault_submit(to_submit);
	if (taken < to_submit)
		min_complete = 0; /* the kernel does not wait either when it took fewer */
	return sys_uring_enter_call(fd, taken, min_complete, flags, argument, argument_size);
}

#endif
