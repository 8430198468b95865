/* SPDX-License-Identifier: MIT */
#include "support/faults.h"

#ifdef CTX_FAULTS

static struct {
	uint64_t calls; /* mask, 0: disarmed */
	unsigned k;
	bool for_ever;
	int error;
	unsigned seen, failed, submit_limit;
	unsigned count[SYS_CALL_COUNT];
} faults;

static const struct {
	const char *name;
	int error;
} usual[SYS_CALL_COUNT] = {
	[SYS_CALL_ALLOCATE] = {"allocate", ENOMEM},
	[SYS_CALL_MEMFD_CREATE] = {"memfd_create", EMFILE},
	[SYS_CALL_FTRUNCATE] = {"ftruncate", EFBIG},
	[SYS_CALL_MMAP] = {"mmap", ENOMEM},
	[SYS_CALL_ADD_SEALS] = {"add_seals", EPERM},
	[SYS_CALL_PIPE2] = {"pipe2", EMFILE},
	[SYS_CALL_EVENTFD] = {"eventfd", EMFILE},
	[SYS_CALL_EPOLL_CREATE1] = {"epoll_create1", EMFILE},
	[SYS_CALL_EPOLL_CTL] = {"epoll_ctl", ENOMEM},
	[SYS_CALL_READ] = {"read", EAGAIN},
	[SYS_CALL_WRITE] = {"write", EAGAIN},
	[SYS_CALL_POLL] = {"poll", EINTR},
	[SYS_CALL_FUTEX_WAIT] = {"futex_wait", EINTR},
	[SYS_CALL_THREAD_CREATE] = {"thread_create", EAGAIN},
	[SYS_CALL_MEMBARRIER] = {"membarrier", ENOSYS},
	[SYS_CALL_SOCKET] = {"socket", EMFILE},
	[SYS_CALL_CONNECT] = {"connect", ECONNREFUSED},
	[SYS_CALL_SENDMSG] = {"sendmsg", ENOBUFS},
	[SYS_CALL_RECVMSG] = {"recvmsg", ECONNRESET},
	[SYS_CALL_EPOLL_WAIT] = {"epoll_wait", EINTR},
	[SYS_CALL_TIMERFD] = {"timerfd_create", EMFILE},
	[SYS_CALL_TEE] = {"tee", ENOMEM},
	[SYS_CALL_DUPLICATE] = {"dup", EMFILE},
	[SYS_CALL_GET_FLAGS] = {"fcntl", EBADF},
	[SYS_CALL_SIGNALFD] = {"signalfd", EMFILE},
	[SYS_CALL_RW_NOWAIT] = {"preadv2", EIO},
	[SYS_CALL_ACCEPT] = {"accept4", EMFILE},
	[SYS_CALL_WAITID] = {"waitid", ECHILD},
	[SYS_CALL_PIDFD_OPEN] = {"pidfd_open", EMFILE},
	[SYS_CALL_SOCKETPAIR] = {"socketpair", EMFILE},
	[SYS_CALL_CLONE] = {"clone", EAGAIN},
	[SYS_CALL_MKDIRAT] = {"mkdirat", EACCES},
	[SYS_CALL_OPENAT] = {"openat", EMFILE},
	[SYS_CALL_PIDFD_SIGNAL] = {"pidfd_send_signal", EPERM},
	[SYS_CALL_GETSOCKOPT] = {"getsockopt", ENOBUFS},
	[SYS_CALL_SETSOCKOPT] = {"setsockopt", ENOMEM},
	[SYS_CALL_URING_SETUP] = {"io_uring_setup", ENOMEM},
	[SYS_CALL_URING_ENTER] = {"io_uring_enter", EAGAIN},
	[SYS_CALL_URING_REGISTER] = {"io_uring_register", ENOMEM},
};

/* Asked by the library before each call. */
int sys_make_fault(enum sys_call call)
{
	__atomic_fetch_add(&faults.count[call], 1, __ATOMIC_RELAXED);
	if (!(__atomic_load_n(&faults.calls, __ATOMIC_ACQUIRE) & FAULT(call)))
		return 0;
	unsigned number = __atomic_add_fetch(&faults.seen, 1, __ATOMIC_RELAXED);
	if (faults.for_ever ? number < faults.k : number != faults.k)
		return 0;
	__atomic_fetch_add(&faults.failed, 1, __ATOMIC_RELAXED);
	return faults.error ? faults.error : usual[call].error;
}

unsigned sys_limit_submit(unsigned to_submit)
{
	unsigned limit = __atomic_load_n(&faults.submit_limit, __ATOMIC_RELAXED);

	return limit && to_submit > limit ? limit : to_submit;
}

void faults_arm(uint64_t calls, unsigned k, bool for_ever, int error)
{
	__atomic_store_n(&faults.calls, 0, __ATOMIC_RELEASE);
	for (unsigned call = 0; call < SYS_CALL_COUNT; call++)
		__atomic_store_n(&faults.count[call], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.seen, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.failed, 0, __ATOMIC_RELAXED);
	faults.k = k;
	faults.for_ever = for_ever;
	faults.error = error;
	__atomic_store_n(&faults.calls, calls, __ATOMIC_RELEASE);
}

unsigned faults_disarm(void)
{
	__atomic_store_n(&faults.calls, 0, __ATOMIC_RELEASE);
	return __atomic_load_n(&faults.failed, __ATOMIC_RELAXED);
}

unsigned faults_count(enum sys_call call)
{
	return __atomic_load_n(&faults.count[call], __ATOMIC_RELAXED);
}

void faults_limit_submit(unsigned most)
{
	__atomic_store_n(&faults.submit_limit, most, __ATOMIC_RELAXED);
}

const char *faults_name(enum sys_call call)
{
	return usual[call].name;
}

#else

/* An empty translation unit is not ISO C. */
typedef int faults_need_their_build;

#endif
