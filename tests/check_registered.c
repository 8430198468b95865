/* SPDX-License-Identifier: MIT */
/*
 * The indices that threads have for the library's rings, io_uring_register_ring_fd(3), and the times of waits
 * that are registered with rings: whose they are, when they go, and what is done without.
 */
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ring.h"
#include "support/forbid.h"
#include "support/rings.h"
#include "thread_ring.h"

/* So many indices a thread has. */
#define INDICES 16u

/* In children: assertions of Check belong to the parent. */
#define EXPECT(condition)                          \
	do {                                       \
		if (!(condition))                  \
			return __LINE__ % 255 + 1; \
	} while (0)

static int register_index(int fd, unsigned opcode, unsigned *index)
{
	struct io_uring_rsrc_update update = {.offset = *index};
	if (opcode == IORING_REGISTER_RING_FDS)
		update.data = (unsigned)fd;
	int result = (int)syscall(__NR_io_uring_register, fd, opcode, &update, 1);

	*index = update.offset;
	return result;
}

/* How many indices the calling thread has left. */
static unsigned indices_left(void)
{
	struct io_uring uring;
	unsigned indices[INDICES + 1], count = 0;

	if (io_uring_queue_init(2, &uring, 0))
		return UINT_MAX;
	for (indices[0] = -1U; register_index(uring.ring_fd, IORING_REGISTER_RING_FDS, &indices[count]) == 1;
	     indices[++count] = -1U)
		;
	for (unsigned i = 0; i < count; i++)
		register_index(uring.ring_fd, IORING_UNREGISTER_RING_FDS, &indices[i]);
	io_uring_queue_exit(&uring);
	return count;
}

static bool is_registered(const struct ctx_ring *ring)
{
	return ring->handle.flags != 0;
}

/* This kernel has the feature, and this pass allows it. */
static bool has_indices(void)
{
	return feature_allowed(FEATURE_REGISTERED_RING) && indices_left() > 0;
}

static void need_indices(void)
{
	if (!has_indices())
		test_skip("no index can be registered here");
}

/* One operation, from its submission to its end. */
static void run_nop(struct ctx_ring *ring)
{
	struct probe probe;

	io_uring_prep_nop(probe_start(ring, ctx_background(), &probe));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 0, CTX_OP_FINISHED);
}

START_TEST(a_ring_has_an_index_from_its_first_use_to_its_close)
{
	need_indices();
	unsigned before = indices_left();
	struct ctx_ring *ring = ring_of(_i);

	ck_assert(!is_registered(ring));
	run_nop(ring);
	ck_assert(is_registered(ring));
	ck_assert_uint_eq(indices_left(), before - 1);
	ring_end(ring);
	ck_assert_uint_eq(indices_left(), before);
}
END_TEST

/* The program's own functions of liburing enter the io_uring by its descriptor, as ever. */
START_TEST(the_io_uring_that_the_program_gets_is_unchanged)
{
	struct ctx_ring *ring = ring_of(_i);
	struct io_uring *uring = ctx_ring_uring(ring);

	run_nop(ring);
	ck_assert_int_eq(uring->enter_ring_fd, uring->ring_fd);
	ck_assert_uint_eq(uring->flags & IORING_SETUP_R_DISABLED, 0);
	ck_assert_int_ge(io_uring_get_events(uring), 0);
	run_nop(ring);
	ring_end(ring);
}
END_TEST

/* Those that find no index left work without one, and get one that has become free. */
START_TEST(more_rings_than_indices_work)
{
	struct ctx_ring *rings[INDICES + 2];

	need_indices();
	unsigned before = indices_left();
	for (unsigned i = 0; i < INDICES + 2; i++) {
		rings[i] = ring_of(_i);
		run_nop(rings[i]);
		ck_assert(is_registered(rings[i]) == (i < before));
	}
	for (unsigned i = 0; i < INDICES + 2; i++)
		run_nop(rings[i]);
	ring_end(rings[0]);
	rings[0] = ring_of(_i);
	run_nop(rings[0]);
	ck_assert(is_registered(rings[0]));
	for (unsigned i = 0; i < INDICES + 2; i++)
		ring_end(rings[i]);
	ck_assert_uint_eq(indices_left(), before);
}
END_TEST

/* io_urings of the program's in the same thread: the indices are shared, and each keeps its own. */
START_TEST(the_program_registers_its_own_as_well)
{
	struct io_uring own[3];
	struct ctx_ring *ring = ring_of(_i);

	need_indices();
	ck_assert_ok(io_uring_queue_init(4, &own[0], 0));
	ck_assert_int_eq(io_uring_register_ring_fd(&own[0]), 1);
	run_nop(ring);
	ck_assert_ok(io_uring_queue_init(4, &own[1], 0));
	ck_assert_int_eq(io_uring_register_ring_fd(&own[1]), 1);
	ck_assert_int_ne(ring->handle.fd, own[0].enter_ring_fd);
	ck_assert_int_ne(ring->handle.fd, own[1].enter_ring_fd);
	io_uring_queue_exit(&own[0]);
	ck_assert_ok(io_uring_queue_init(4, &own[2], 0));
	ck_assert_int_eq(io_uring_register_ring_fd(&own[2]), 1);
	run_nop(ring);
	ring_end(ring);
	for (unsigned i = 1; i < 3; i++) {
		io_uring_prep_nop(io_uring_get_sqe(&own[i]));
		ck_assert_int_eq(io_uring_submit_and_wait(&own[i], 1), 1);
		ck_assert_uint_eq(io_uring_cq_ready(&own[i]), 1);
		io_uring_queue_exit(&own[i]);
	}
}
END_TEST

/* ---- threads and processes */

static void *use_and_close(void *data)
{
	struct ctx_ring *ring = data;
	unsigned before = indices_left();

	run_nop(ring);
	ck_assert(is_registered(ring) && indices_left() == before - 1);
	ring_end(ring);
	ck_assert_uint_eq(indices_left(), before);
	return NULL;
}

START_TEST(a_ring_opened_elsewhere_is_registered_by_its_owner)
{
	need_indices();
	unsigned before = indices_left();
	struct ctx_ring *ring = ring_of(_i);
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, use_and_close, ring));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(indices_left(), before);
}
END_TEST

struct left_over {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe probe;
	struct pair pair;
	char byte;
};

static void *use_and_leave(void *data)
{
	struct left_over *left = data;

	run_nop(left->ring);
	probe_recv(left->ring, left->ctx, &left->probe, left->pair.near, &left->byte, 1);
	ctx_ring_submit(left->ring);
	return NULL;
}

/*
 * Goal: the index of an owner that has ended is not used by the thread that closes the ring, where it is that
 * of another ring. Method: that one has a prepared operation, which an enter would submit.
 */
START_TEST(the_index_of_an_ended_owner_is_not_used)
{
	struct left_over left = {.ring = ring_of(_i), .ctx = child_of(ctx_background()), .pair = pair_new()};
	struct ctx_ring *other = ring_of(_i);
	struct probe probe;
	pthread_t thread;

	need_indices();
	run_nop(other);
	ck_assert_ok(pthread_create(&thread, NULL, use_and_leave, &left));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(left.ring->handle.fd, other->handle.fd);
	io_uring_prep_nop(probe_start(other, ctx_background(), &probe));
	ring_end(left.ring);
	ck_assert_probe(&left.probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(probe.finals, 0);
	await_probes(other, &probe, 1);
	ck_assert(is_registered(other));
	ring_end(other);
	ctx_finish(left.ctx);
	pair_end(left.pair);
}
END_TEST

static int close_copy_and_use_own(void *data)
{
	struct ctx_ring *copy = data, *own;
	struct ctx_op op;

	EXPECT(indices_left() == INDICES);
	EXPECT(!ctx_ring_open(4, NULL, &own));
	ctx_op_init(&op, NULL, 0);
	EXPECT(ctx_ring_get_sqe(own, ctx_background(), &op));
	EXPECT(is_registered(own) && own->handle.fd == copy->handle.fd);
	EXPECT(!ctx_ring_close(copy, 0, NULL, 0, NULL));
	EXPECT(indices_left() == INDICES - 1);
	EXPECT(ctx_ring_dispatch(own, CTX_FOREVER) == 1);
	EXPECT(!ctx_ring_close(own, CTX_FOREVER, NULL, 0, NULL));
	return 0;
}

START_TEST(a_forked_child_has_indices_of_its_own)
{
	struct ctx_ring *ring = ring_of(_i);

	need_indices();
	run_nop(ring);
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(close_copy_and_use_own, ring), 0);
	ck_assert(is_registered(ring));
	run_nop(ring);
	ck_assert_int_eq(ctx_ring_dispatch(ring, MILLISECOND), 0);
	ring_end(ring);
}
END_TEST

/* ---- waits */

static const char *const settings[] = {
	"",
	"no-registered-ring",
	"no-registered-wait",
	"no-registered-wait,no-absolute-wait",
	"no-absolute-wait",
	"no-registered-ring,no-registered-wait",
	"none",
};

/* A wait without events ends no sooner than its bound, and one with an event before. */
START_TEST(a_bound_ends_a_wait_in_every_way)
{
	const unsigned count = sizeof(settings) / sizeof(settings[0]);
	struct pair pair = pair_new();
	struct probe probe;
	char byte;

	if (test_mode() == TEST_PLAIN && _i >= (int)count) { /* DEFER_TASKRUN is switched off */
		pair_end(pair);
		return;
	}
	test_setenv("CTXRING_FEATURES", settings[(unsigned)_i % count]);
	struct ctx_ring_options options = {.setup_flags =
						   (unsigned)_i < count ? 0 : IORING_SETUP_SINGLE_ISSUER};
	struct ctx_ring *ring;
	int opened = ctx_ring_open(8, &options, &ring);
	if (opened == -EINVAL && options.setup_flags) { /* this setting has no such ring */
		pair_end(pair);
		return;
	}
	ck_assert_ok(opened);
	ck_assert(feature_allowed(FEATURE_REGISTERED_WAIT) || !ring->handle.wait);
	ck_assert(feature_allowed(FEATURE_ABSOLUTE_WAIT) || !ring->handle.absolute);
	uint64_t start_ns = clock_now_ns();
	ck_assert_int_eq(ctx_ring_dispatch(ring, 2 * MILLISECOND), 0);
	ck_assert_uint_ge(clock_now_ns() - start_ns, 2 * MILLISECOND);
	ck_assert(feature_allowed(FEATURE_REGISTERED_RING) || !is_registered(ring));
	probe_recv(ring, ctx_background(), &probe, pair.near, &byte, 1);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* The deadline of a blocking call is given to the kernel in one of four ways. */
START_TEST(a_deadline_ends_a_blocking_call_in_every_way)
{
	struct pair pair = pair_new();
	char byte;

	test_setenv("CTXRING_FEATURES", settings[_i]);
	for (unsigned i = 0; i < 3; i++) {
		struct ctx_context *ctx = timed_child_of(ctx_background(), 2 * MILLISECOND);
		uint64_t start_ns = clock_now_ns();
		ck_assert_int_eq(ctxio_recv(ctx, pair.near, &byte, 1, 0), -ETIME);
		ck_assert_uint_lt(clock_now_ns() - start_ns, SOON);
		ctx_finish(ctx);
		ctx = timed_child_of(ctx_background(), HOUR);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		ck_assert_int_eq(ctxio_recv(ctx, pair.near, &byte, 1, 0), 1);
		ctx_finish(ctx);
	}
	thread_ring_trim();
	pair_end(pair);
}
END_TEST

static int open_without_register(void *data)
{
	struct ctx_ring_options single = {.setup_flags = IORING_SETUP_SINGLE_ISSUER};
	struct ctx_ring *ring;
	struct ctx_op op;

	(void)data;
	EXPECT(!forbid(SYS_io_uring_register, 0));
	EXPECT(!ctx_ring_open(4, NULL, &ring));
	EXPECT(!is_registered(ring) && !ring->handle.wait);
	ctx_op_init(&op, NULL, 0);
	EXPECT(ctx_ring_get_sqe(ring, ctx_background(), &op));
	EXPECT(ctx_ring_dispatch(ring, SOON) == 1);
	EXPECT(!ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL));
	/* Such a ring starts disabled, and its first use cannot enable it. */
	if (!ctx_ring_open(4, &single, &ring))
		EXPECT(!ctx_ring_get_sqe(ring, ctx_background(), &op));
	return 0;
}

START_TEST(rings_open_where_nothing_can_be_registered)
{
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(open_without_register, NULL), 0);
}
END_TEST

static int open_with_little_memory(void *data)
{
	struct rlimit limit = {64 << 10, 64 << 10};
	struct ctx_ring *rings[8];

	(void)data;
	EXPECT(!setrlimit(RLIMIT_MEMLOCK, &limit));
	for (unsigned i = 0; i < 8; i++) {
		EXPECT(!ctx_ring_open(4, NULL, &rings[i]));
		EXPECT(!rings[i]->handle.wait);
	}
	for (unsigned i = 0; i < 8; i++)
		EXPECT(!ctx_ring_close(rings[i], CTX_FOREVER, NULL, 0, NULL));
	return 0;
}

START_TEST(no_time_is_registered_where_memory_is_short)
{
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(open_with_little_memory, NULL), 0);
}
END_TEST

Suite *test_suite(void)
{
	const int count = sizeof(settings) / sizeof(settings[0]);
	Suite *suite = suite_create("registered");
	if (test_mode() != TEST_PLAIN) { /* which has no indices */
		TCase *indices = test_case_ring(suite, "indices");
		ON_EACH_RING(indices, a_ring_has_an_index_from_its_first_use_to_its_close);
		ON_EACH_RING(indices, the_io_uring_that_the_program_gets_is_unchanged);
		ON_EACH_RING(indices, more_rings_than_indices_work);
		ON_EACH_RING(indices, the_program_registers_its_own_as_well);
		TCase *owners = test_case_ring(suite, "owners");
		ON_EACH_RING(owners, a_ring_opened_elsewhere_is_registered_by_its_owner);
		ON_EACH_RING(owners, the_index_of_an_ended_owner_is_not_used);
		ON_EACH_RING(owners, a_forked_child_has_indices_of_its_own);
	}
	TCase *waits = test_case_ring(suite, "waits");
	tcase_add_loop_test(waits, a_bound_ends_a_wait_in_every_way, 0, 2 * count);
	tcase_add_loop_test(waits, a_deadline_ends_a_blocking_call_in_every_way, 0, count);
	tcase_add_test(waits, rings_open_where_nothing_can_be_registered);
	tcase_add_test(waits, no_time_is_registered_where_memory_is_short);
	return suite;
}
