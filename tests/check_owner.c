/* SPDX-License-Identifier: MIT */
/* Whose a ring is, and how another thread comes to close it when its owner has ended. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "ring.h"
#include "support/rings.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* A ring with one operation in the kernel and one that is only staged. */
struct owned {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe pending, staged;
	struct pair pair;
	pthread_t thread;
	pid_t tid;
	pthread_barrier_t met;
	char byte;
	int result;
};

static struct owned owned_of(int kind)
{
	struct owned owned = {.ring = ring_of(kind), .ctx = child_of(ctx_background()), .pair = pair_new()};

	ck_assert_ok(pthread_barrier_init(&owned.met, NULL, 2));
	return owned;
}

static void owned_end(struct owned *owned)
{
	ctx_finish(owned->ctx);
	pair_end(owned->pair);
	pthread_barrier_destroy(&owned->met);
}

static void own(struct owned *owned)
{
	probe_recv(owned->ring, owned->ctx, &owned->pending, owned->pair.near, &owned->byte, 1);
	ctx_ring_submit(owned->ring);
	io_uring_prep_nop(probe_start(owned->ring, owned->ctx, &owned->staged));
}

static void *own_and_end(void *data)
{
	own(data);
	return NULL;
}

/* Until it is waited for twice. */
static void *own_and_stay(void *data)
{
	struct owned *owned = data;

	own(owned);
	owned->tid = gettid();
	pthread_barrier_wait(&owned->met);
	pthread_barrier_wait(&owned->met);
	ring_end(owned->ring);
	return NULL;
}

/* ---- a main thread that leaves by pthread_exit(3) */

static bool is_zombie(void *data)
{
	char path[64], line[512] = "";

	(void)data;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	FILE *file = fopen(path, "re");
	if (file && !fgets(line, sizeof(line), file))
		line[0] = '\0';
	if (file)
		fclose(file);
	return strstr(line, ") Z ") != NULL;
}

static void *close_after_main(void *data)
{
	struct owned *owned = data;

	if (!test_until(is_zombie, NULL))
		_exit(2);
	int closed = ctx_ring_close(owned->ring, SOON, NULL, 0, NULL);
	_exit(closed != 0 || owned->pending.finals != 1 || owned->staged.finals != 1);
}

static int leave_main(void *data)
{
	struct owned *owned = data;

	signal(SIGALRM, SIG_DFL); /* Check has a handler */
	alarm(100);
	own(owned);
	if (pthread_create(&owned->thread, NULL, close_after_main, owned))
		return 3;
	pthread_exit(NULL);
}

START_TEST(a_ring_of_a_main_thread_that_has_left_can_be_closed)
{
	static struct owned owned; /* not on the stack of who leaves */
	int status;

	test_settle();
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		owned = owned_of(_i);
		_exit(leave_main(&owned));
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- what cannot be read does not decide */

static void no_more_descriptors(struct rlimit *ret_before)
{
	ck_assert_ok(getrlimit(RLIMIT_NOFILE, ret_before));
	ck_assert_ok(
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 0, .rlim_max = ret_before->rlim_max}));
}

START_TEST(without_descriptors_a_living_owner_is_no_ended_one)
{
	struct owned owned = owned_of(_i);
	struct rlimit before;

	ck_assert_ok(pthread_create(&owned.thread, NULL, own_and_stay, &owned));
	pthread_barrier_wait(&owned.met);
	no_more_descriptors(&before);
	ck_assert_int_eq(ctx_ring_close(owned.ring, CTX_FOREVER, NULL, 0, NULL), -EPERM);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &before));
	pthread_barrier_wait(&owned.met);
	ck_assert_ok(pthread_join(owned.thread, NULL));
	owned_end(&owned);
}
END_TEST

START_TEST(without_descriptors_the_ring_of_an_ended_owner_is_closed)
{
	struct owned owned = owned_of(_i);
	struct rlimit before;

	ck_assert_ok(pthread_create(&owned.thread, NULL, own_and_end, &owned));
	ck_assert_ok(pthread_join(owned.thread, NULL));
	no_more_descriptors(&before);
	ring_end(owned.ring);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &before));
	ck_assert_probe(&owned.pending, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&owned.staged, -ECANCELED, CTX_OP_CANCELLED);
	owned_end(&owned);
}
END_TEST

static void *use_once(void *ring)
{
	ctx_ring_dispatch(ring, 0);
	return NULL;
}

/* Goal: pthread_join(3) is enough. Method: many threads that have just ended. */
START_TEST(a_ring_is_closed_right_after_its_owner_was_joined)
{
	for (unsigned i = 0; i < test_scaled(3000); i++) {
		struct ctx_ring *ring = ring_of(_i);
		pthread_t thread;
		ck_assert_ok(pthread_create(&thread, NULL, use_once, ring));
		ck_assert_ok(pthread_join(thread, NULL));
		ck_assert_ok(ctx_ring_close(ring, 0, NULL, 0, NULL));
	}
}
END_TEST

/* ---- a number that is used again */

static void *be_given_the_number(void *data)
{
	struct owned *owned = data;

	thread_self()->tid = (uint32_t)owned->tid;
	owned->result = ctx_ring_dispatch(owned->ring, 0);
	/* What another thread ends is left to the owner, and this is another. */
	if (ctx_cancel(owned->ctx) || owned->pending.finals || owned->staged.finals)
		owned->result = 1;
	return NULL;
}

START_TEST(a_thread_with_the_owners_number_is_not_the_owner)
{
	struct owned owned = owned_of(_i);
	pthread_t other;

	own(&owned);
	owned.tid = gettid();
	ck_assert_ok(pthread_create(&other, NULL, be_given_the_number, &owned));
	ck_assert_ok(pthread_join(other, NULL));
	ck_assert_int_eq(owned.result, -EPERM);
	ring_end(owned.ring);
	ck_assert_probe(&owned.pending, -ECANCELED, CTX_OP_CANCELLED);
	owned_end(&owned);
}
END_TEST

/* ---- an owner that ends amid a dispatch */

static void end_the_thread(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	probe_count(ring, op, completion);
	pthread_exit(NULL);
}

struct refused {
	struct owned owned;
	struct probe first, second;
};

static void *be_ended_by_the_first(void *data)
{
	struct refused *refused = data;
	struct ctx_ring *ring = refused->owned.ring;

	own(&refused->owned);
	ctx_cancel(refused->owned.ctx);
	ctx_op_init(&refused->first.op, end_the_thread, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, refused->owned.ctx, &refused->first.op));
	io_uring_prep_nop(probe_start(ring, refused->owned.ctx, &refused->second));
	while (ctx_ring_dispatch(ring, SOON) >= 0)
		;
	return NULL;
}

START_TEST(an_owner_that_ends_in_a_callback_leaves_the_rest_to_who_closes)
{
	struct refused refused = {.owned = owned_of(_i)};
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, be_ended_by_the_first, &refused));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(refused.first.finals, 1);
	ring_end(refused.owned.ring);
	ck_assert_uint_eq(refused.first.finals, 1);
	ck_assert_probe(&refused.second, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(refused.owned.pending.finals, 1);
	ck_assert_uint_eq(refused.owned.staged.finals, 1);
	owned_end(&refused.owned);
}
END_TEST

/* ---- what is in the queue of an adopted ring */

struct adopted {
	struct io_uring uring;
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe probe;
	struct pair pair;
	char byte;
	unsigned setup_flags;
};

static void *adopt_complete_and_end(void *data)
{
	struct adopted *adopted = data;

	if (io_uring_queue_init(8, &adopted->uring, adopted->setup_flags) ||
	    ctx_ring_adopt(&adopted->uring, NULL, &adopted->ring))
		return NULL;
	io_uring_prep_nop(probe_start(adopted->ring, adopted->ctx, &adopted->probe));
	ctx_ring_submit(adopted->ring);
	return NULL;
}

/* Goal: a result that the queue shows when the owner has ended is told, and taken out. */
START_TEST(what_the_queue_of_an_adopted_ring_shows_is_told)
{
	struct adopted adopted = {.ctx = child_of(ctx_background()),
				  .setup_flags = _i ? IORING_SETUP_SINGLE_ISSUER : 0};
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, adopt_complete_and_end, &adopted));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ptr_nonnull(adopted.ring);
	ring_end(adopted.ring);
	ck_assert_probe(&adopted.probe, 0, CTX_OP_FINISHED);
	ck_assert_uint_eq(io_uring_cq_ready(&adopted.uring), 0);
	io_uring_queue_exit(&adopted.uring);
	ctx_finish(adopted.ctx);
}
END_TEST

static void *adopt_registered_and_end(void *data)
{
	struct adopted *adopted = data;

	if (io_uring_queue_init(8, &adopted->uring, adopted->setup_flags) ||
	    io_uring_register_ring_fd(&adopted->uring) != 1 ||
	    ctx_ring_adopt(&adopted->uring, NULL, &adopted->ring))
		return NULL;
	probe_recv(adopted->ring, adopted->ctx, &adopted->probe, adopted->pair.near, &adopted->byte, 1);
	ctx_op_set_timeout(&adopted->probe.op, 3600 * NS_PER_SECOND);
	ctx_ring_submit(adopted->ring);
	return NULL;
}

/*
 * Goal: a close needs no registration of the owner's, io_uring_register_ring_fd(3), which has ended with it,
 * and takes none of its own thread's for it. Method: that one has registered another io_uring in the same
 * place, with an entry prepared.
 */
START_TEST(a_registered_descriptor_of_an_ended_owner_is_not_needed)
{
	struct adopted adopted = {.ctx = child_of(ctx_background()),
				  .pair = pair_new(),
				  .setup_flags = _i ? IORING_SETUP_SINGLE_ISSUER : 0};
	struct io_uring other;
	pthread_t thread;

	ck_assert_ok(io_uring_queue_init(8, &other, 0));
	ck_assert_int_eq(io_uring_register_ring_fd(&other), 1);
	io_uring_prep_nop(io_uring_get_sqe(&other));
	ck_assert_ok(pthread_create(&thread, NULL, adopt_registered_and_end, &adopted));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ptr_nonnull(adopted.ring);
	ck_assert_int_eq(adopted.uring.enter_ring_fd, other.enter_ring_fd);
	ring_end(adopted.ring);
	ck_assert_probe(&adopted.probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(adopted.uring.enter_ring_fd, other.enter_ring_fd);
	ck_assert_uint_eq(io_uring_sq_ready(&other), 1);
	ck_assert_int_eq(io_uring_submit(&other), 1);
	io_uring_queue_exit(&other);
	/* Its own place in the table of this thread is none. */
	adopted.uring.enter_ring_fd = adopted.uring.ring_fd;
	adopted.uring.int_flags = 0;
	io_uring_queue_exit(&adopted.uring);
	ctx_finish(adopted.ctx);
	pair_end(adopted.pair);
}
END_TEST

/* ---- handing over */

static void *claim(void *data)
{
	struct owned *owned = data;

	owned->result = ctx_ring_dispatch(owned->ring, 0);
	if (!owned->result)
		ring_end(owned->ring);
	return NULL;
}

START_TEST(a_ring_that_nobody_used_goes_to_its_first_user)
{
	struct owned owned = owned_of(_i);

	ck_assert_ok(pthread_create(&owned.thread, NULL, claim, &owned));
	ck_assert_ok(pthread_join(owned.thread, NULL));
	ck_assert_ok(owned.result);
	owned_end(&owned);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("owner");
	TCase *owners = test_case_ring(suite, "owner");

	ON_EACH_RING(owners, a_ring_of_a_main_thread_that_has_left_can_be_closed);
	ON_EACH_RING(owners, without_descriptors_a_living_owner_is_no_ended_one);
	ON_EACH_RING(owners, without_descriptors_the_ring_of_an_ended_owner_is_closed);
	ON_EACH_RING(owners, a_ring_is_closed_right_after_its_owner_was_joined);
	ON_EACH_RING(owners, a_thread_with_the_owners_number_is_not_the_owner);
	ON_EACH_RING(owners, an_owner_that_ends_in_a_callback_leaves_the_rest_to_who_closes);
	ON_EACH_RING(owners, a_ring_that_nobody_used_goes_to_its_first_user);
	tcase_add_loop_test(owners, what_the_queue_of_an_adopted_ring_shows_is_told, 0,
			    test_mode() == TEST_PLAIN ? 1 : 2);
	tcase_add_loop_test(owners, a_registered_descriptor_of_an_ended_owner_is_not_needed, 0,
			    test_mode() == TEST_PLAIN ? 1 : 2);
	return suite;
}
