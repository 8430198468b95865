/* SPDX-License-Identifier: MIT */
#include "feature.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"

#define OP_EPOLL_WAIT 59 /* IORING_OP_EPOLL_WAIT, Linux 6.15 */
#define OPS_PROBED 64

/* A flag of reads and writes that no kernel knows: it is answered as RWF_NOWAIT is by a kernel without it. */
#define RW_UNKNOWN (1 << 30)

/*
 * The names that CTXRING_FEATURES knows, in the order of the kernels that brought the features. man/ctxring.7
 * has the same list. setup are the flags of io_uring_setup(2) that need the feature; features without such
 * flags are looked at where they are used.
 */
static const struct {
	const char *name, *since, *probed;
	unsigned setup;
} table[FEATURE_COUNT] = {
	[FEATURE_TIMED_WAIT] = {"timed-wait", "5.11", "IORING_FEAT_EXT_ARG", 0},
	[FEATURE_MULTISHOT_POLL] = {"multishot-poll", "5.13", "IORING_POLL_ADD_MULTI", 0},
	[FEATURE_CGROUP_KILL] = {"cgroup-kill", "5.14", "the file cgroup.kill of a cgroup", 0},
	[FEATURE_SKIP_SUCCESS] = {"skip-success", "5.17", "IORING_FEAT_CQE_SKIP", 0},
	[FEATURE_SUBMIT_ALL] = {"submit-all", "5.18", "io_uring_setup(2)", IORING_SETUP_SUBMIT_ALL},
	[FEATURE_REGISTERED_RING] = {"registered-ring", "5.18", "IORING_REGISTER_RING_FDS", 0},
	[FEATURE_COOP_TASKRUN] = {"coop-taskrun", "5.19", "io_uring_setup(2)",
				  IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG},
	[FEATURE_SINGLE_ISSUER] = {"single-issuer", "6.0", "io_uring_setup(2)", IORING_SETUP_SINGLE_ISSUER},
	[FEATURE_DEFER_TASKRUN] = {"defer-taskrun", "6.1", "io_uring_setup(2)", IORING_SETUP_DEFER_TASKRUN},
	[FEATURE_RW_NOWAIT] = {"rw-nowait", "6.4",
			       "RWF_NOWAIT on pipes; a few releases later on sockets and timerfds", 0},
	[FEATURE_WAITID] = {"waitid", "6.7", "IORING_OP_WAITID", 0},
	[FEATURE_ACCEPT_NOWAIT] = {"accept-nowait", "6.10", "IORING_ACCEPT_DONTWAIT", 0},
	[FEATURE_KEPT_BUFFERS] = {"kept-buffers", "6.12",
				  "a request that ends with -EAGAIN leaves its provided buffer", 0},
	[FEATURE_ABSOLUTE_WAIT] = {"absolute-wait", "6.12", "IORING_ENTER_ABS_TIMER", 0},
	[FEATURE_REGISTERED_WAIT] = {"registered-wait", "6.13", "IORING_REGISTER_MEM_REGION", 0},
	[FEATURE_EPOLL_WAIT] = {"epoll-wait", "6.15", "IORING_OP_EPOLL_WAIT", 0},
	[FEATURE_UNIX_INQ] = {"unix-inq", "6.17", "SO_INQ on unix sockets", 0},
};

struct setting {
	unsigned refused; /* bits of 1 << enum feature */
	bool park_check;
};

static bool word_is(const char *word, size_t length, const char *name)
{
	return strlen(name) == length && !memcmp(word, name, length);
}

/* Applies one word of CTXRING_FEATURES. Unknown words are ignored: a newer library may know them. */
static void apply_word(struct setting *setting, const char *word, size_t length)
{
	bool refuse = length > 3 && !memcmp(word, "no-", 3);
	const char *name = refuse ? word + 3 : word;

	if (word_is(word, length, "none"))
		setting->refused = (1u << FEATURE_COUNT) - 1;
	if (word_is(word, length, "park-check"))
		setting->park_check = true;
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (word_is(name, length - (size_t)(name - word), table[i].name))
			setting->refused =
				refuse ? setting->refused | 1u << i : setting->refused & ~(1u << i);
}

static struct setting read_setting(void)
{
	struct setting setting = {0};
	const char *word = secure_getenv("CTXRING_FEATURES");

	while (word && *word) {
		size_t length = strcspn(word, ",");
		apply_word(&setting, word, length);
		word += length + (word[length] == ',');
	}
	return setting;
}

bool feature_allowed(enum feature feature)
{
	return !(read_setting().refused & 1u << feature);
}

bool features_allow_setup(unsigned setup_flags)
{
	unsigned refused = read_setting().refused;

	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if ((refused & 1u << i) && (setup_flags & table[i].setup))
			return false;
	return true;
}

/* Returns 1 or 0: the kernel knows opcode, or does not. -errno: this ring may not ask, since it is disabled
 * and has restrictions. */
static int probe_op(int ring_fd, unsigned opcode)
{
	union {
		struct io_uring_probe head; /* the answers lie behind it */
		char bytes[sizeof(struct io_uring_probe) + OPS_PROBED * sizeof(struct io_uring_probe_op)];
	} probe = {.bytes = {0}};
	int error = sys_uring_register(ring_fd, IORING_REGISTER_PROBE, &probe, OPS_PROBED);

	if (error < 0)
		return error;
	return opcode <= probe.head.last_op && (probe.head.ops[opcode].flags & IO_URING_OP_SUPPORTED);
}

bool feature_has_epoll_wait(int ring_fd)
{
	enum {
		UNKNOWN,
		NO,
		YES
	};
	static _Atomic int known; /* set to the same by all threads */
	int now = atomic_load_explicit(&known, memory_order_relaxed);

	if (!feature_allowed(FEATURE_EPOLL_WAIT))
		return false;
	if (now == UNKNOWN) {
		int has = probe_op(ring_fd, OP_EPOLL_WAIT);
		if (has < 0)
			return true; /* the first wait will show it */
		now = has ? YES : NO;
		atomic_store_explicit(&known, now, memory_order_relaxed);
	}
	return now == YES;
}

bool feature_has_absolute_times(void)
{
	const ino_t host = 0xEFFFFFFAu; /* the number of the first time namespace in every kernel */
	struct stat space;

	return stat("/proc/self/ns/time", &space) || space.st_ino == host;
}

bool features_park_check(void)
{
	return read_setting().park_check;
}

void features_probe(const struct io_uring *uring, struct features *ret_features)
{
	unsigned allowed = ~read_setting().refused;

	*ret_features = (struct features){
		.skip_success =
			(allowed & 1u << FEATURE_SKIP_SUCCESS) && (uring->features & IORING_FEAT_CQE_SKIP),
		.timed_wait = (allowed & 1u << FEATURE_TIMED_WAIT) && (uring->features & IORING_FEAT_EXT_ARG),
		.multishot_poll = allowed & 1u << FEATURE_MULTISHOT_POLL,
		.refuse_rw_nowait = !(allowed & 1u << FEATURE_RW_NOWAIT),
		.refuse_accept_nowait = !(allowed & 1u << FEATURE_ACCEPT_NOWAIT),
	};
}

/* Pipes, sockets and timerfds are refused: files and eventfds had RWF_NOWAIT long before them. */
int feature_refused_rw_nowait(int fd)
{
	char path[32], kind[24] = "";
	struct stat status;

	if (fstat(fd, &status))
		return RWF_NOWAIT; /* no descriptor, or an index of registered files: the kernel answers */
	if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))
		return RW_UNKNOWN;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, kind, sizeof(kind) - 1) < 0)
		return RWF_NOWAIT;
	return strcmp(kind, "anon_inode:[timerfd]") ? RWF_NOWAIT : RW_UNKNOWN;
}
