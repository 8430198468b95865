/* SPDX-License-Identifier: MIT */
/* Rings: opening, who owns them, what is refused, closing, processes that fork or end. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "support/rings.h"
#include "uring.h"

START_TEST(open_refuses_what_is_out_of_range)
{
	struct ctx_ring *ring = (struct ctx_ring *)8;
	struct ctx_ring_options both = {.flags = CTX_RING_LINKED_TIMEOUTS | CTX_RING_ONE_TIMER},
				unknown = {.flags = 1u << 9}, tag = {.tag = 0x10000}, few = {.cq_entries = 4};

	ck_assert_int_eq(ctx_ring_open(8, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_open(0, NULL, &ring), -EINVAL);
	ck_assert_int_eq(ctx_ring_open(32769, NULL, &ring), -EINVAL);
	ck_assert_int_eq(ctx_ring_open(8, &both, &ring), -EINVAL);
	ck_assert_int_eq(ctx_ring_open(8, &unknown, &ring), -EINVAL);
	ck_assert_int_eq(ctx_ring_open(8, &tag, &ring), -EINVAL);
	ck_assert_int_eq(ctx_ring_open(64, &few, &ring), -EINVAL);
	ck_assert_ptr_eq(ring, (struct ctx_ring *)8);
	ck_assert_ok(ctx_ring_close(NULL, 0, NULL, 0, NULL));
	ck_assert_ptr_null(ctx_ring_uring(NULL));
}
END_TEST

/* Each setup flag works, with an operation to show it, or is refused. */
static const struct {
	unsigned flags;
	int result;
} setup_table[] = {
	{IORING_SETUP_CLAMP, 0},
	{IORING_SETUP_SUBMIT_ALL, 0},
	{IORING_SETUP_COOP_TASKRUN, 0},
	{IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0},
	{IORING_SETUP_SINGLE_ISSUER, 0},
	{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0},
	{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0},
	{IORING_SETUP_DEFER_TASKRUN, -EINVAL}, /* the kernel wants SINGLE_ISSUER with it */
	{IORING_SETUP_SQPOLL, -ENOTSUP},
	{IORING_SETUP_IOPOLL, -ENOTSUP},
	{IORING_SETUP_SQ_AFF, -ENOTSUP},
	{IORING_SETUP_ATTACH_WQ, -ENOTSUP},
	{IORING_SETUP_R_DISABLED, -ENOTSUP},
	{IORING_SETUP_SQE128, -ENOTSUP},
	{IORING_SETUP_CQE32, -ENOTSUP},
	{IORING_SETUP_NO_MMAP, -ENOTSUP},
	{IORING_SETUP_REGISTERED_FD_ONLY, -ENOTSUP},
	{IORING_SETUP_NO_SQARRAY, -ENOTSUP},
	{IORING_SETUP_HYBRID_IOPOLL, -ENOTSUP},
	{IORING_SETUP_CQE_MIXED, -ENOTSUP},
	{IORING_SETUP_SQE_MIXED, -ENOTSUP},
	{1u << 31, -ENOTSUP},
};

START_TEST(each_setup_flag_works_or_is_refused)
{
	struct ctx_ring_options options = {.setup_flags = setup_table[_i].flags};
	int expected = setup_table[_i].result;
	struct ctx_ring *ring = NULL;
	struct ctx_context *ctx;
	struct pair pair;
	struct probe probe;
	char buffer[8];

	if (test_mode() == TEST_PLAIN && expected == 0 && !(options.setup_flags == IORING_SETUP_CLAMP))
		expected = -EINVAL;
	ck_assert_int_eq(ctx_ring_open(8, &options, &ring), expected);
	if (expected)
		return;
	ctx = child_of(ctx_background());
	pair = pair_new();
	probe_recv(ring, ctx, &probe, pair.near, buffer, sizeof(buffer));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* What ctx_ring_open has the kernel do although the program asks for less. */
START_TEST(the_thread_of_a_ring_is_interrupted_only_where_deadlines_are_the_kernels)
{
	const unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	const bool refused = test_mode() == TEST_PLAIN;
	struct ctx_ring_options linked = {.flags = CTX_RING_LINKED_TIMEOUTS};
	struct ctx_ring *ring = ring_of(RING_ORDINARY);

	ck_assert_uint_eq(ctx_ring_uring(ring)->flags & cooperative, refused ? 0 : cooperative);
	ring_end(ring);
	ring = ring_with(RING_ORDINARY, 8, &linked);
	ck_assert_uint_eq(ctx_ring_uring(ring)->flags & cooperative, 0);
	ring_end(ring);
	if (refused)
		return;
	ring = ring_of(RING_DEFER);
	ck_assert_uint_eq(ctx_ring_uring(ring)->flags & cooperative, IORING_SETUP_TASKRUN_FLAG);
	ring_end(ring);
}
END_TEST

#define WRITES 100u

struct writer {
	int fd;
	_Atomic unsigned wanted, written;
};

static void *write_when_wanted(void *data)
{
	struct writer *writer = data;

	for (unsigned i = 1; i <= WRITES; i++) {
		while (atomic_load(&writer->wanted) < i)
			sched_yield();
		ck_assert_int_eq(write(writer->fd, "x", 1), 1);
		atomic_store(&writer->written, i);
	}
	return NULL;
}

/* The owner makes no system call between the write and the dispatch. */
START_TEST(a_dispatch_without_waiting_takes_what_came_while_its_thread_computed)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct writer writer = {.fd = pair.far};
	struct probe probe;
	pthread_t thread;
	char buffer[1];

	ck_assert_ok(pthread_create(&thread, NULL, write_when_wanted, &writer));
	for (unsigned i = 1; i <= WRITES; i++) {
		probe_recv(ring, ctx, &probe, pair.near, buffer, sizeof(buffer));
		park(ring, 1);
		atomic_store(&writer.wanted, i);
		while (atomic_load(&writer.written) < i)
			;
		int delivered = ctx_ring_dispatch(ring, 0);
		if (!parks(_i))
			ck_assert_int_eq(delivered, 1);
		await_probes(ring, &probe, 1);
		ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	}
	pthread_join(thread, NULL);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

START_TEST(queue_sizes_are_those_asked_for)
{
	struct ctx_ring_options options = {.cq_entries = 128}, clamp = {.setup_flags = IORING_SETUP_CLAMP};
	struct ctx_ring *ring = ring_with(_i, 5, &options);

	ck_assert_uint_eq(ctx_ring_uring(ring)->sq.ring_entries, 8);
	ck_assert_uint_eq(ctx_ring_uring(ring)->cq.ring_entries, 128);
	ring_end(ring);
	ring = ring_with(_i, 100000, &clamp);
	ck_assert_uint_eq(ctx_ring_uring(ring)->sq.ring_entries, 32768);
	ring_end(ring);
}
END_TEST

START_TEST(null_arguments_are_refused)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_op op;
	struct ctx_completion completion;
	struct ctx_batch batch;
	struct io_uring uring = {0};
	char text[8];

	ctx_op_init(NULL, NULL, 0);
	ctx_op_init(&op, NULL, 0);
	ck_assert_int_eq(ctx_op_result(NULL, &completion), -EINVAL);
	ck_assert_int_eq(ctx_op_result(&op, NULL), -EINVAL);
	ck_assert_int_eq(ctx_op_set_timeout(NULL, 1), -EINVAL);
	ck_assert_int_eq(ctx_op_set_flags(NULL, 0), -EINVAL);
	ck_assert_int_eq(ctx_op_cancel(NULL, &op), -EINVAL);
	ck_assert_int_eq(ctx_op_cancel(ring, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_adopt(NULL, NULL, &ring), -EINVAL);
	ck_assert_int_eq(ctx_ring_adopt(&uring, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_explain(-EPERM, NULL, 1), -EINVAL);
	ck_assert_int_gt(ctx_ring_explain(-EPERM, NULL, 0), 0);
	(void)text;
	ck_assert_ptr_null(ctx_ring_get_sqe(NULL, ctx_background(), &op));
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, NULL, &op));
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, ctx_background(), NULL));
	ck_assert_int_eq(ctx_ring_submit(NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_dispatch(NULL, 0), -EINVAL);
	ck_assert_int_eq(ctx_ring_run(NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_filter(NULL, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_filter(ring, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_drain(NULL, ctx_background(), 0, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_drain(ring, NULL, 0, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_drain(ring, ctx_background(), 0, NULL, 1, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_close(ring, 0, NULL, 1, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_fd(NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_last_batch(NULL, &batch), -EINVAL);
	ck_assert_int_eq(ctx_ring_last_batch(ring, NULL), -EINVAL);
	ck_assert_int_eq(ctx_ring_last_batch(ring, &batch), -ENOENT);
	ring_end(ring);
}
END_TEST

START_TEST(an_op_is_refused_until_initialised_and_while_in_flight)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct ctx_op raw = {0};
	struct probe probe;
	char buffer[8];

	ck_assert_ptr_null(ctx_ring_get_sqe(ring, ctx, &raw));
	ck_assert_int_eq(ctx_op_cancel(ring, &raw), -EALREADY);
	ck_assert_int_eq(ctx_op_set_timeout(&raw, 1), -EINVAL);
	probe_recv(ring, ctx, &probe, pair.near, buffer, sizeof(buffer));
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, ctx, &probe.op));
	ck_assert_int_eq(ctx_op_set_flags(&probe.op, 1u << 7), -EINVAL);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, ctx, &probe.op));
	ck_assert_int_eq(ctx_op_set_timeout(&probe.op, 1), -EINVAL);
	ck_assert_int_eq(ctx_op_set_flags(&probe.op, CTX_OP_CLOSE_FD), -EINVAL);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ck_assert_int_eq(ctx_op_cancel(ring, &probe.op), -EALREADY);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

/* ---- who owns it */

struct stranger {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct ctx_op *op;
	bool close;
};

static void *every_call_of_a_stranger(void *data)
{
	struct stranger *stranger = data;
	struct ctx_ring *ring = stranger->ring;
	struct io_uring_cqe cqe = {0};
	struct ctx_batch batch;
	struct ctx_op op;

	ctx_op_init(&op, NULL, 0);
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, stranger->ctx, &op));
	ck_assert_int_eq(ctx_ring_submit(ring), -EPERM);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), -EPERM);
	ck_assert_int_eq(ctx_ring_run(ring, NULL), -EPERM);
	ck_assert_int_eq(ctx_ring_filter(ring, &cqe, NULL, NULL), -EPERM);
	ck_assert_int_eq(ctx_ring_drain(ring, stranger->ctx, 0, NULL, 0, NULL), -EPERM);
	ck_assert_int_eq(ctx_ring_fd(ring), -EPERM);
	ck_assert_int_eq(ctx_ring_last_batch(ring, &batch), -EPERM);
	ck_assert_int_eq(ctx_op_cancel(ring, stranger->op), -EPERM);
	if (stranger->close)
		ck_assert_int_eq(ctx_ring_close(ring, 0, NULL, 0, NULL), -EPERM);
	return NULL;
}

static void in_thread(void *(*function)(void *data), void *data)
{
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, function, data));
	ck_assert_ok(pthread_join(thread, NULL));
}

START_TEST(a_ring_is_refused_to_other_threads)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char buffer[8];

	probe_recv(ring, ctx, &probe, pair.near, buffer, sizeof(buffer));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	in_thread(every_call_of_a_stranger,
		  &(struct stranger){.ring = ring, .ctx = ctx, .op = &probe.op, .close = true});
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

struct handed {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe probe, staged;
	struct pair pair;
	char buffer[8];
};

static void *use_and_close(void *data)
{
	struct handed *handed = data;

	probe_recv(handed->ring, handed->ctx, &handed->probe, handed->pair.near, handed->buffer, 8);
	ck_assert_int_eq(ctx_ring_submit(handed->ring), 1);
	ck_assert_int_eq(write(handed->pair.far, "x", 1), 1);
	await_probes(handed->ring, &handed->probe, 1);
	ck_assert_probe(&handed->probe, 1, CTX_OP_FINISHED);
	ring_end(handed->ring);
	return NULL;
}

START_TEST(a_ring_belongs_to_the_first_thread_that_uses_it)
{
	struct handed handed = {.ring = ring_of(_i), .ctx = child_of(ctx_background()), .pair = pair_new()};

	in_thread(use_and_close, &handed);
	ctx_finish(handed.ctx);
	pair_end(handed.pair);
}
END_TEST

static void *use_and_leave(void *data)
{
	struct handed *handed = data;

	probe_recv(handed->ring, handed->ctx, &handed->probe, handed->pair.near, handed->buffer, 8);
	ck_assert_int_eq(ctx_ring_submit(handed->ring), 1);
	io_uring_prep_nop(probe_start(handed->ring, handed->ctx, &handed->staged));
	return NULL;
}

/* The kernel ends what a thread left; whoever closes its ring then delivers that. */
START_TEST(the_ring_of_an_ended_thread_can_be_closed_by_another)
{
	struct handed handed = {.ring = ring_of(_i), .ctx = child_of(ctx_background()), .pair = pair_new()};

	in_thread(use_and_leave, &handed);
	ck_assert_int_eq(ctx_ring_submit(handed.ring), -EPERM);
	ring_end(handed.ring);
	ck_assert_probe(&handed.probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&handed.staged, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_live(handed.ctx);
	ctx_finish(handed.ctx);
	pair_end(handed.pair);
}
END_TEST

START_TEST(a_context_can_end_when_the_thread_of_its_ring_has)
{
	struct handed handed = {.ring = ring_of(_i), .ctx = child_of(ctx_background()), .pair = pair_new()};

	in_thread(use_and_leave, &handed);
	ck_assert_ok(ctx_cancel(handed.ctx));
	ring_end(handed.ring);
	ck_assert_probe(&handed.probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&handed.staged, -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(handed.ctx);
	pair_end(handed.pair);
}
END_TEST

/* ---- inside a callback */

static int inner_dispatch, inner_run, inner_close;

static void call_the_ring(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	inner_dispatch = ctx_ring_dispatch(ring, 0);
	inner_run = ctx_ring_run(ring, NULL);
	inner_close = ctx_ring_close(ring, 0, NULL, 0, NULL);
	probe_count(ring, op, completion);
}

START_TEST(a_callback_cannot_dispatch_or_close_its_ring)
{
	struct ctx_ring *ring = ring_of(_i);
	struct probe probe = {0}, other;

	/* Something stays in flight, so that a run has something to wait for. */
	struct pair pair = pair_new();
	char buffer[8];
	probe_recv(ring, ctx_background(), &other, pair.near, buffer, sizeof(buffer));
	ctx_op_init(&probe.op, call_the_ring, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), &probe.op));
	await_probes(ring, &probe, 1);
	ck_assert_int_eq(inner_dispatch, -EBUSY);
	ck_assert_int_eq(inner_run, -EBUSY);
	ck_assert_int_eq(inner_close, -EBUSY);
	ck_assert_uint_eq(other.finals, 0);
	ring_end(ring);
	ck_assert_probe(&other, -ECANCELED, CTX_OP_CANCELLED);
	pair_end(pair);
}
END_TEST

static void submit_again(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct probe *probe = (struct probe *)op;

	probe_count(ring, op, completion);
	if (probe->op.data--) {
		probe->finals = 0;
		io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), op));
	}
}

START_TEST(an_op_can_be_used_again_inside_its_callback)
{
	struct ctx_ring *ring = ring_of(_i);
	struct probe probe = {0};

	ctx_op_init(&probe.op, submit_again, 100);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), &probe.op));
	ck_assert_ok(ctx_ring_run(ring, NULL));
	ck_assert_probe(&probe, 0, CTX_OP_FINISHED);
	ring_end(ring);
}
END_TEST

/* ---- closing, forking, ending */

START_TEST(close_delivers_everything_once)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	static struct probe probes[200];
	char buffer[8];

	for (int i = 0; i < 150; i++)
		probe_recv(ring, i % 2 ? ctx : ctx_background(), &probes[i], pair.near, buffer,
			   sizeof(buffer));
	ck_assert_int_eq(ctx_ring_submit(ring), 150);
	for (int i = 150; i < 200; i++)
		io_uring_prep_nop(probe_start(ring, ctx, &probes[i]));
	ring_end(ring);
	for (int i = 0; i < 200; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_live(ctx);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

struct forked {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe *probe;
};

static int in_forked_child(void *data)
{
	struct forked *forked = data;
	struct ctx_ring *ring = forked->ring;
	struct ctx_op op;

	ctx_op_init(&op, NULL, 0);
	if (ctx_ring_get_sqe(ring, ctx_background(), &op))
		return 1;
	if (ctx_ring_submit(ring) != -EPERM || ctx_ring_dispatch(ring, 0) != -EPERM)
		return 2;
	if (ctx_op_cancel(ring, &forked->probe->op) != -EPERM)
		return 3;
	if (ctx_ring_drain(ring, ctx_background(), 0, NULL, 0, NULL) != -EPERM)
		return 4;
	/* Ends the child's copy of the context; the parent's ring hears nothing of it. */
	if (ctx_cancel(forked->ctx))
		return 5;
	if (ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL))
		return 6;
	return forked->probe->finals ? 7 : 0;
}

START_TEST(a_forked_child_is_refused_the_ring_and_disturbs_nothing)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char buffer[8];

	probe_recv(ring, ctx, &probe, pair.near, buffer, sizeof(buffer));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(
		test_in_child(in_forked_child, &(struct forked){.ring = ring, .ctx = ctx, .probe = &probe}),
		0);
	ck_assert_live(ctx);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_int_eq(write(pair.far, "abc", 3), 3);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 3, CTX_OP_FINISHED);
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

static int end_with_operations(void *data)
{
	int kind = *(int *)data;
	static char buffer[1000];
	static struct probe probes[1000];
	struct ctx_ring *ring = ring_of(kind);
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = pair_new();

	for (int i = 0; i < 1000; i++)
		probe_recv(ring, ctx, &probes[i], pair.near, &buffer[i], 1);
	if (ctx_ring_submit(ring) != 1000)
		return 1;
	ctx_cancel(ctx);
	return 42;
}

START_TEST(a_process_ends_with_operations_in_flight)
{
	ck_assert_int_eq(test_in_child(end_with_operations, &_i), 42);
}
END_TEST

/* ---- texts */

START_TEST(explain_names_reason_and_remedy)
{
	static const struct {
		int error;
		const char *words[3];
	} table[] = {
		{-EPERM, {"io_uring"}},
		{-ENOSYS, {"kernel", "seccomp"}},
		{-ENOMEM, {"locked memory", "ulimit -l"}},
		{-EMFILE, {"file descriptors", "ulimit -n"}},
		{-ENFILE, {"file-max"}},
		{-EINVAL, {"setup flags", "6.1"}},
		{-ENOTSUP, {"ctxring(7)", "disabled"}},
		{-EBUSY, {"adopted", "entries"}},
		{0, {"no error"}},
		{-EIO, {"rror"}},
	};
	char text[512], little[8];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int length = ctx_ring_explain(table[i].error, text, sizeof(text));
		ck_assert_int_gt(length, 0);
		ck_assert_uint_eq(strlen(text), (size_t)length);
		for (int w = 0; w < 3 && table[i].words[w]; w++)
			ck_assert_msg(strstr(text, table[i].words[w]), "%d: \"%s\" has no \"%s\"",
				      table[i].error, text, table[i].words[w]);
		ck_assert_int_eq(ctx_ring_explain(table[i].error, little, sizeof(little)), length);
		ck_assert_uint_eq(strlen(little), sizeof(little) - 1);
	}
}
END_TEST

START_TEST(without_descriptors_opening_says_so)
{
	struct rlimit saved, none;
	struct ctx_ring *ring = NULL;

	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &saved));
	none = saved;
	none.rlim_cur = (rlim_t)dup(0);
	close((int)none.rlim_cur);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &none));
	ck_assert_int_eq(ctx_ring_open(8, NULL, &ring), -EMFILE);
	/* One for the mailbox, none for the io_uring. */
	none.rlim_cur++;
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &none));
	ck_assert_int_eq(ctx_ring_open(8, NULL, &ring), -EMFILE);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &saved));
	ck_assert_ptr_null(ring);
}
END_TEST

/* In the pass where seccomp forbids it, all the others are skipped. */
START_TEST(where_io_uring_is_forbidden_the_reason_is_told)
{
	struct ctx_ring *ring = NULL;
	char text[256];

	if (test_mode() != TEST_DENIED)
		return;
	ck_assert_int_eq(ctx_ring_open(8, NULL, &ring), -EPERM);
	ck_assert_int_gt(ctx_ring_explain(-EPERM, text, sizeof(text)), 0);
	ck_assert_msg(strstr(text, "seccomp") || strstr(text, "sysctl"), "%s", text);
}
END_TEST

START_TEST(without_optional_features_setup_flags_are_refused)
{
	struct ctx_ring_options options = {.setup_flags = setup_flags_of(RING_DEFER)};
	struct ctx_ring *ring = NULL;

	if (test_mode() == TEST_PLAIN)
		ck_assert_int_eq(ctx_ring_open(8, &options, &ring), -EINVAL);
}
END_TEST

/* Goal: a ring that no table shows works all the same. */
START_TEST(without_a_table_rings_work)
{
	if (test_no_uring())
		test_skip(test_no_uring());
	ck_assert_ok(setenv("CTXRING_TABLE", "0", 1));
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_ptr_null(test_own_table());
	ring_end(ring);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("ring");
	TCase *opening = test_case_ring(suite, "opening"), *owners = test_case_ring(suite, "owners"),
	      *ends = test_case_ring(suite, "ends"), *texts = test_case(suite, "texts"),
	      *cold = test_case_cold(suite, "cold");

	tcase_add_test(opening, open_refuses_what_is_out_of_range);
	tcase_add_loop_test(opening, each_setup_flag_works_or_is_refused, 0,
			    sizeof(setup_table) / sizeof(setup_table[0]));
	tcase_add_test(opening, the_thread_of_a_ring_is_interrupted_only_where_deadlines_are_the_kernels);
	ON_EACH_RING(opening, a_dispatch_without_waiting_takes_what_came_while_its_thread_computed);
	ON_EACH_RING(opening, queue_sizes_are_those_asked_for);
	ON_EACH_RING(opening, null_arguments_are_refused);
	ON_EACH_RING(opening, an_op_is_refused_until_initialised_and_while_in_flight);
	tcase_add_test(opening, without_descriptors_opening_says_so);
	tcase_add_test(opening, without_optional_features_setup_flags_are_refused);
	ON_EACH_RING(owners, a_ring_is_refused_to_other_threads);
	ON_EACH_RING(owners, a_ring_belongs_to_the_first_thread_that_uses_it);
	ON_EACH_RING(owners, the_ring_of_an_ended_thread_can_be_closed_by_another);
	ON_EACH_RING(owners, a_context_can_end_when_the_thread_of_its_ring_has);
	ON_EACH_RING(owners, a_callback_cannot_dispatch_or_close_its_ring);
	ON_EACH_RING(owners, an_op_can_be_used_again_inside_its_callback);
	ON_EACH_RING(ends, close_delivers_everything_once);
	ON_EACH_RING(ends, a_forked_child_is_refused_the_ring_and_disturbs_nothing);
	ON_EACH_RING(ends, a_process_ends_with_operations_in_flight);
	tcase_add_test(texts, explain_names_reason_and_remedy);
	tcase_add_test(texts, where_io_uring_is_forbidden_the_reason_is_told);
	ON_EACH_RING(cold, without_a_table_rings_work);
	return suite;
}
