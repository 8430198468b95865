/* SPDX-License-Identifier: MIT */
/*
 * Every feature is found by using it. The version of a kernel says little, because distributions carry
 * features back to older ones.
 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Constants of the kernel that headers of Linux 6.1 lack. */
#define SETUP_NO_SQARRAY (1u << 16)
#define SETUP_HYBRID_IOPOLL (1u << 17)
#define SETUP_CQE_MIXED (1u << 18)
#define SETUP_SQE_MIXED (1u << 19)
#define CANCEL_ALL (1u << 0)
#define CANCEL_FD (1u << 1)
#define CANCEL_ANY (1u << 2)
#define CANCEL_USERDATA (1u << 4)
#define CANCEL_OP (1u << 5)
#define ENTER_ABS_TIMER (1u << 5)
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static struct probe_flag setup_flags[] = {
	{"IOPOLL", false},     {"SQPOLL", false},	 {"CQSIZE", false},	   {"CLAMP", false},
	{"R_DISABLED", false}, {"SUBMIT_ALL", false},	 {"COOP_TASKRUN", false},  {"TASKRUN_FLAG", false},
	{"SQE128", false},     {"CQE32", false},	 {"SINGLE_ISSUER", false}, {"DEFER_TASKRUN", false},
	{"NO_SQARRAY", false}, {"HYBRID_IOPOLL", false}, {"CQE_MIXED", false},	   {"SQE_MIXED", false},
	{NULL, false},
};

/* The bits of setup_flags in the same order, each with those that the kernel wants beside it. */
static const unsigned setup_bits[] = {
	IORING_SETUP_IOPOLL,
	IORING_SETUP_SQPOLL,
	IORING_SETUP_CQSIZE,
	IORING_SETUP_CLAMP,
	IORING_SETUP_R_DISABLED,
	IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN,
	IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN,
	IORING_SETUP_SQE128,
	IORING_SETUP_CQE32,
	IORING_SETUP_SINGLE_ISSUER,
	IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
	SETUP_NO_SQARRAY,
	SETUP_HYBRID_IOPOLL | IORING_SETUP_IOPOLL,
	SETUP_CQE_MIXED,
	SETUP_SQE_MIXED,
};

/* The entry at index n is bit n of the features. */
static struct probe_flag features[] = {
	{"SINGLE_MMAP", false},
	{"NODROP", false},
	{"SUBMIT_STABLE", false},
	{"RW_CUR_POS", false},
	{"CUR_PERSONALITY", false},
	{"FAST_POLL", false},
	{"POLL_32BITS", false},
	{"SQPOLL_NONFIXED", false},
	{"EXT_ARG", false},
	{"NATIVE_WORKERS", false},
	{"RSRC_TAGS", false},
	{"CQE_SKIP", false},
	{"LINKED_FILE", false},
	{"REG_REG_RING", false},
	{"RECVSEND_BUNDLE", false},
	{"MIN_TIMEOUT", false},
	{"RW_ATTR", false},
	{"NO_IOWAIT", false},
	{NULL, false},
};

enum ability {
	ABILITY_CANCEL_ALL,
	ABILITY_CANCEL_FD,
	ABILITY_CANCEL_ANY,
	ABILITY_CANCEL_USERDATA,
	ABILITY_CANCEL_OP,
	ABILITY_SYNC_CANCEL,
	ABILITY_ABSOLUTE_WAIT,
	ABILITY_COUNT,
};

static struct probe_flag abilities[ABILITY_COUNT + 1] = {
	[ABILITY_CANCEL_ALL] = {"CANCEL_ALL", false},
	[ABILITY_CANCEL_FD] = {"CANCEL_FD", false},
	[ABILITY_CANCEL_ANY] = {"CANCEL_ANY", false},
	[ABILITY_CANCEL_USERDATA] = {"CANCEL_USERDATA", false},
	[ABILITY_CANCEL_OP] = {"CANCEL_OP", false},
	[ABILITY_SYNC_CANCEL] = {"SYNC_CANCEL", false},
	[ABILITY_ABSOLUTE_WAIT] = {"ABSOLUTE_WAIT", false},
};

static long read_number(const char *path)
{
	long value = PROBE_UNKNOWN;
	FILE *file = fopen(path, "re");

	if (!file)
		return PROBE_UNKNOWN;
	if (fscanf(file, "%ld", &value) != 1)
		value = PROBE_UNKNOWN;
	fclose(file);
	return value;
}

static int read_seccomp(void)
{
	char line[256];
	int mode = PROBE_UNKNOWN;
	FILE *file = fopen("/proc/self/status", "re");

	if (!file)
		return PROBE_UNKNOWN;
	while (mode == PROBE_UNKNOWN && fgets(line, sizeof(line), file))
		if (sscanf(line, "Seccomp: %d", &mode) != 1)
			mode = PROBE_UNKNOWN;
	fclose(file);
	return mode;
}

static void probe_setup_flags(void)
{
	for (size_t i = 0; setup_flags[i].name; i++) {
		struct io_uring_params params = {.flags = setup_bits[i]};
		long fd;

		if (setup_bits[i] & IORING_SETUP_CQSIZE)
			params.cq_entries = 16;
		fd = syscall(SYS_io_uring_setup, 4, &params);
		setup_flags[i].present = fd >= 0;
		if (fd >= 0)
			close((int)fd);
	}
}

/* Submits one operation and waits for it. Returns its result, or the error of submitting it. */
static int run_operation(struct io_uring *ring, void (*prepare)(struct io_uring_sqe *sqe, unsigned flags),
			 unsigned flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int result;

	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, sizeof(*sqe));
	prepare(sqe, flags);
	result = io_uring_submit_and_wait(ring, 1);
	if (result < 0)
		return result;
	result = io_uring_peek_cqe(ring, &cqe);
	if (result)
		return result;
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

static void prepare_nop(struct io_uring_sqe *sqe, unsigned flags)
{
	sqe->opcode = IORING_OP_NOP;
	sqe->rw_flags = (int)flags;
}

/* Cancels what is not there: the result is -EINVAL for an unknown flag, and another one for a known flag. */
static void prepare_cancel(struct io_uring_sqe *sqe, unsigned flags)
{
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = UINT64_MAX;
	sqe->cancel_flags = flags;
}

static bool can_sync_cancel(const struct io_uring *ring)
{
	/* The kernel's struct io_uring_sync_cancel_reg, which old headers lack. */
	struct {
		uint64_t address;
		int32_t fd;
		uint32_t flags;
		int64_t timeout[2];
		uint64_t pad[4];
	} request = {.address = UINT64_MAX, .fd = -1, .timeout = {-1, -1}};

	if (syscall(SYS_io_uring_register, ring->ring_fd, 24, &request, 1) == 0)
		return true;
	return errno != EINVAL && errno != EPERM;
}

static bool can_wait_absolute(const struct io_uring *ring)
{
	struct __kernel_timespec past = {.tv_sec = 0, .tv_nsec = 1};
	struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&past};

	syscall(SYS_io_uring_enter, ring->ring_fd, 0, 1,
		IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | ENTER_ABS_TIMER, &argument, sizeof(argument));
	return errno == ETIME;
}

static void probe_abilities(struct io_uring *ring)
{
	static const unsigned bits[] = {
		[ABILITY_CANCEL_ALL] = CANCEL_ALL, [ABILITY_CANCEL_FD] = CANCEL_FD,
		[ABILITY_CANCEL_ANY] = CANCEL_ANY, [ABILITY_CANCEL_USERDATA] = CANCEL_USERDATA,
		[ABILITY_CANCEL_OP] = CANCEL_OP,
	};

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		abilities[i].present = run_operation(ring, prepare_cancel, bits[i]) != -EINVAL;
	abilities[ABILITY_SYNC_CANCEL].present = can_sync_cancel(ring);
	abilities[ABILITY_ABSOLUTE_WAIT].present = can_wait_absolute(ring);
}

static void probe_opcodes(struct io_uring *ring, struct probe_report *report)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);

	if (!probe)
		return;
	report->opcodes_known = true;
	report->last_opcode = probe->last_op;
	for (unsigned i = 0; i < probe->ops_len; i++)
		report->opcodes[probe->ops[i].op] = probe->ops[i].flags & IO_URING_OP_SUPPORTED;
	io_uring_free_probe(probe);
}

static void probe_ring(struct probe_report *report)
{
	struct io_uring_params params = {0};
	struct io_uring ring;
	int result = io_uring_queue_init_params(8, &ring, &params);

	report->ring_error = -result;
	if (result)
		return;
	for (unsigned i = 0; features[i].name; i++)
		features[i].present = params.features & 1u << i;
	result = run_operation(&ring, prepare_nop, 0);
	report->use_error = result < 0 ? -result : 0;
	if (!result) {
		probe_opcodes(&ring, report);
		probe_abilities(&ring);
	}
	io_uring_queue_exit(&ring);
	probe_setup_flags();
}

/* Makes a sealed memfd that is mapped for writing, as a context table is. 0 or the errno. */
static int probe_table(void)
{
	int fd = memfd_create("ctxring-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int error = 0;
	void *mapped;

	if (fd < 0)
		return errno;
	if (ftruncate(fd, 4096)) {
		error = errno;
	} else {
		mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mapped == MAP_FAILED)
			error = errno;
		else
			munmap(mapped, 4096);
	}
	if (!error && fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		error = errno;
	close(fd);
	return error;
}

void probe_system(struct probe_report *ret_report)
{
	struct probe_report *report = ret_report;
	struct utsname name;

	memset(report, 0, sizeof(*report));
	if (uname(&name) == 0)
		snprintf(report->kernel, sizeof(report->kernel), "%s %s %s", name.sysname, name.release,
			 name.machine);
	report->setup_flags = setup_flags;
	report->features = features;
	report->abilities = abilities;
	report->disabled = read_number("/proc/sys/kernel/io_uring_disabled");
	report->group = read_number("/proc/sys/kernel/io_uring_group");
	report->seccomp = read_seccomp();
	getrlimit(RLIMIT_MEMLOCK, &report->memlock);
	getrlimit(RLIMIT_NOFILE, &report->nofile);
	report->table_error = probe_table();
	probe_ring(report);
}

bool probe_has(const struct probe_report *report, unsigned opcode)
{
	return !report->ring_error && !report->use_error && opcode < 256 &&
	       (!report->opcodes_known || report->opcodes[opcode]);
}
