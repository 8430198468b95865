/* SPDX-License-Identifier: MIT */
/* CTXRING_FEATURES: each feature can be refused alone, and a refused one is missing as it is on an old
 * kernel. */
#include "feature.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/rings.h"

static const char *const names[] = {
	[FEATURE_TIMED_WAIT] = "timed-wait",
	[FEATURE_MULTISHOT_POLL] = "multishot-poll",
	[FEATURE_CGROUP_KILL] = "cgroup-kill",
	[FEATURE_SKIP_SUCCESS] = "skip-success",
	[FEATURE_SUBMIT_ALL] = "submit-all",
	[FEATURE_COOP_TASKRUN] = "coop-taskrun",
	[FEATURE_SINGLE_ISSUER] = "single-issuer",
	[FEATURE_DEFER_TASKRUN] = "defer-taskrun",
	[FEATURE_RW_NOWAIT] = "rw-nowait",
	[FEATURE_WAITID] = "waitid",
	[FEATURE_ACCEPT_NOWAIT] = "accept-nowait",
	[FEATURE_EPOLL_WAIT] = "epoll-wait",
	[FEATURE_UNIX_INQ] = "unix-inq",
	[FEATURE_KEPT_BUFFERS] = "kept-buffers",
	[FEATURE_REGISTERED_RING] = "registered-ring",
	[FEATURE_ABSOLUTE_WAIT] = "absolute-wait",
	[FEATURE_REGISTERED_WAIT] = "registered-wait",
};

static unsigned allowed(void)
{
	unsigned features = 0;

	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		features |= feature_allowed((enum feature)i) ? 1u << i : 0;
	return features;
}

static void set(const char *setting)
{
	ck_assert_ok(setenv("CTXRING_FEATURES", setting, 1));
}

START_TEST(each_can_be_refused_alone)
{
	const unsigned all = (1u << FEATURE_COUNT) - 1;
	char setting[64];

	ck_assert_uint_eq(sizeof(names) / sizeof(names[0]), FEATURE_COUNT);
	snprintf(setting, sizeof(setting), "no-%s", names[_i]);
	set(setting);
	ck_assert_uint_eq(allowed(), all & ~(1u << _i));
	snprintf(setting, sizeof(setting), "none,%s", names[_i]);
	set(setting);
	ck_assert_uint_eq(allowed(), 1u << _i);
}
END_TEST

START_TEST(a_list_is_read_from_left_to_right)
{
	const unsigned all = (1u << FEATURE_COUNT) - 1;

	set("");
	ck_assert_uint_eq(allowed(), all);
	ck_assert(!features_park_check());
	set("none");
	ck_assert_uint_eq(allowed(), 0);
	set("no-waitid,park-check,no-unix-inq");
	ck_assert_uint_eq(allowed(), all & ~(1u << FEATURE_WAITID | 1u << FEATURE_UNIX_INQ));
	ck_assert(features_park_check());
	set("waitid,none");
	ck_assert_uint_eq(allowed(), 0);
	set(",,no-,no-waiti,no-waitidd,newer-than-this,no-newer,none-at-all");
	ck_assert_uint_eq(allowed(), all);
}
END_TEST

START_TEST(setup_flags_are_refused_each_by_its_own_name)
{
	set("no-defer-taskrun");
	ck_assert(!features_allow_setup(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
	ck_assert(features_allow_setup(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN));
	set("none");
	ck_assert(features_allow_setup(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP));
	ck_assert(!features_allow_setup(IORING_SETUP_TASKRUN_FLAG));
}
END_TEST

static ssize_t read_with(int fd, int flags)
{
	uint64_t room;
	struct iovec part = {&room, sizeof(room)};

	return preadv2(fd, &part, 1, -1, flags) < 0 ? -errno : 0;
}

/* As Linux 6.1 answers: eventfds know RWF_NOWAIT there, pipes, sockets and timerfds do not. */
START_TEST(rw_nowait_is_refused_where_old_kernels_refuse_it)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);
	int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), ends[2];
	struct pair pair = pair_new();

	ck_assert_ok(pipe(ends));
	set("no-rw-nowait");
	ck_assert_int_eq(read_with(ends[0], feature_of_rw_nowait(ends[0])), -EOPNOTSUPP);
	ck_assert_int_eq(read_with(pair.near, feature_of_rw_nowait(pair.near)), -EOPNOTSUPP);
	ck_assert_int_eq(read_with(timer, feature_of_rw_nowait(timer)), -EOPNOTSUPP);
	ck_assert_int_eq(read_with(event, feature_of_rw_nowait(event)), -EAGAIN);
	ck_assert_int_eq(feature_of_rw_nowait(own), RWF_NOWAIT);
	ck_assert_int_eq(feature_of_rw_nowait(-1), RWF_NOWAIT);
	set("");
	ck_assert_int_eq(feature_of_rw_nowait(ends[0]), RWF_NOWAIT);
	close(ends[0]);
	close(ends[1]);
	close(timer);
	close(event);
	close(own);
	pair_end(pair);
}
END_TEST

static int answer_of(struct io_uring *uring)
{
	struct io_uring_cqe *cqe;

	ck_assert_int_eq(io_uring_submit_and_wait(uring, 1), 1);
	ck_assert_ok(io_uring_peek_cqe(uring, &cqe));
	int res = cqe->res;
	io_uring_cqe_seen(uring, cqe);
	return res;
}

START_TEST(a_ring_hears_what_an_old_kernel_would_say)
{
	struct features features;
	struct io_uring uring;
	int ends[2], listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	ck_assert_ok(bind(listener, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)));
	ck_assert_ok(listen(listener, 1));
	ck_assert_ok(pipe(ends));
	ck_assert_ok(io_uring_queue_init(4, &uring, 0));
	set("no-rw-nowait,no-accept-nowait");
	features_probe(&uring, &features);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
	io_uring_prep_read(sqe, ends[0], &byte, 1, 0);
	sqe->rw_flags = feature_rw_nowait(&features, ends[0]);
	ck_assert_int_eq(answer_of(&uring), -EOPNOTSUPP);
	sqe = io_uring_get_sqe(&uring);
	io_uring_prep_accept(sqe, listener, NULL, NULL, 0);
	sqe->ioprio = feature_accept_nowait(&features);
	ck_assert_int_eq(answer_of(&uring), -EINVAL);
	io_uring_queue_exit(&uring);
	close(ends[0]);
	close(ends[1]);
	close(listener);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("feature");
	TCase *setting = test_case_cold(suite, "setting"), *rings = test_case_ring(suite, "rings");

	tcase_add_loop_test(setting, each_can_be_refused_alone, 0, FEATURE_COUNT);
	tcase_add_test(setting, a_list_is_read_from_left_to_right);
	tcase_add_test(setting, setup_flags_are_refused_each_by_its_own_name);
	tcase_add_test(setting, rw_nowait_is_refused_where_old_kernels_refuse_it);
	tcase_add_test(rings, a_ring_hears_what_an_old_kernel_would_say);
	return suite;
}
