/* SPDX-License-Identifier: MIT */
/* Task groups over operations of a ring: which ends are failures, and that no operation outlives a wait. */
#include <pthread.h>

#include "support/rings.h"

static struct ctx_taskgroup *group_on(struct ctx_ring *ring)
{
	struct ctx_taskgroup *group = NULL;

	ck_assert_ok(ctx_taskgroup_new_on_ring(ctx_background(), ring, "group", &group));
	ck_assert_ptr_nonnull(group);
	return group;
}

static struct io_uring_sqe *task_start(struct ctx_taskgroup *group, struct probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	ctx_op_init(&probe->op, probe_count, 0);
	struct io_uring_sqe *sqe = ctx_taskgroup_get_sqe(group, &probe->op);
	ck_assert_ptr_nonnull(sqe);
	return sqe;
}

static void task_recv(struct ctx_taskgroup *group, struct probe *probe, int fd, char sink[8])
{
	io_uring_prep_recv(task_start(group, probe), fd, sink, 8, 0);
}

/* A request that fails with -EBADF. */
static struct io_uring_sqe *task_fail(struct ctx_taskgroup *group, struct probe *probe)
{
	struct io_uring_sqe *sqe = task_start(group, probe);

	io_uring_prep_recv(sqe, -1, NULL, 0, 0);
	return sqe;
}

/* A group on a ring, and a pair for its operations to wait on. */
struct setting {
	struct ctx_ring *ring;
	struct ctx_context *parent;  /* of the group; NULL: it has none */
	struct ctx_taskgroup *group; /* NULL: freed by the test */
	struct pair pair;
};

static struct setting setting_below(struct ctx_context *parent, int kind)
{
	struct setting on = {.ring = ring_of(kind), .parent = parent, .pair = pair_new()};

	ck_assert_ok(ctx_taskgroup_new_on_ring(parent ? parent : ctx_background(), on.ring,
					       parent ? NULL : "group", &on.group));
	return on;
}

static struct setting setting_begin(int kind)
{
	return setting_below(NULL, kind);
}

static void setting_end(struct setting *on)
{
	ctx_taskgroup_free(on->group);
	ring_end(on->ring);
	ctx_finish(on->parent);
	pair_end(on->pair);
}

START_TEST(every_operation_has_ended_when_wait_returns)
{
	struct setting on = setting_begin(_i);
	static struct probe probes[100];
	char sink[8];

	ck_assert_ok(ctx_taskgroup_wait(on.group));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 100; i++) {
			if (i % 2)
				task_recv(on.group, &probes[i], on.pair.near, sink);
			else
				io_uring_prep_nop(task_start(on.group, &probes[i]));
		}
		for (unsigned i = 0; i < 100; i++)
			ck_assert_int_eq(write(on.pair.far, "12345678", 8), 8);
		ck_assert_ok(ctx_taskgroup_wait(on.group));
		for (unsigned i = 0; i < 100; i++)
			ck_assert_probe(&probes[i], i % 2 ? 8 : 0, CTX_OP_FINISHED);
		for (unsigned i = 0; i < 50; i++)
			ck_assert_int_eq(read(on.pair.near, sink, 8), 8);
	}
	ck_assert_int_eq(ctx_taskgroup_failures(on.group, NULL, 0), 0);
	ck_assert_live(ctx_taskgroup_context(on.group));
	setting_end(&on);
}
END_TEST

/* What the callback of the failing operation sees. */
static struct ctx_taskgroup *watched;
static int seen_error, seen_failures;

static void look(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	seen_error = ctx_err(ctx_taskgroup_context(watched));
	seen_failures = ctx_taskgroup_failures(watched, NULL, 0);
	probe_count(ring, op, completion);
}

START_TEST(the_first_failure_ends_the_others_before_its_callback_runs)
{
	struct setting on = setting_begin(_i);
	struct ctx_failure failures[64];
	static struct probe probes[40], failing;
	char sink[8];

	for (unsigned i = 0; i < 40; i++)
		task_recv(on.group, &probes[i], on.pair.near, sink);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 40);
	watched = on.group;
	task_fail(on.group, &failing);
	failing.op.callback = look;
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -EBADF);
	ck_assert_probe(&failing, -EBADF, CTX_OP_FINISHED);
	ck_assert_int_eq(seen_error, -ECANCELED);
	ck_assert_int_eq(seen_failures, 1);
	for (unsigned i = 0; i < 40; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	struct ctx_cause cause = cause_of(ctx_taskgroup_context(on.group));
	ck_assert_int_eq(cause.error, -EBADF);
	ck_assert_str_eq(cause.text, "RECV on descriptor -1");
	ck_assert_int_eq(ctx_taskgroup_failures(on.group, failures, 64), 41);
	for (int i = 0; i < 41; i++) {
		ck_assert_int_eq(failures[i].error, i ? -ECANCELED : -EBADF);
		ck_assert_int_eq(failures[i].consequence, i > 0);
	}
	setting_end(&on);
}
END_TEST

/* Goal: those that were never sent, and those begun when all is over, are counted like the others. */
START_TEST(refused_operations_end_in_the_wait)
{
	struct setting on = setting_begin(_i);
	struct probe staged, late, later;

	io_uring_prep_nop(task_start(on.group, &staged));
	ck_assert_ok(ctx_taskgroup_fail(on.group, -EPROTO, "no sense in it"));
	io_uring_prep_nop(task_start(on.group, &late));
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -EPROTO);
	ck_assert_probe(&staged, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&late, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(ctx_taskgroup_failures(on.group, NULL, 0), 3);
	io_uring_prep_nop(task_start(on.group, &later));
	ctx_taskgroup_free(on.group);
	on.group = NULL;
	ck_assert_probe(&later, -ECANCELED, CTX_OP_CANCELLED);
	setting_end(&on);
}
END_TEST

START_TEST(below_a_done_parent_nothing_runs)
{
	struct setting on = setting_below(timed_child_of(ctx_background(), 0), _i);
	struct ctx_failure failure;
	struct probe probe;

	ck_assert_ok(ctx_taskgroup_wait(on.group));
	io_uring_prep_nop(task_start(on.group, &probe));
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -ETIME);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_int_eq(ctx_taskgroup_failures(on.group, &failure, 1), 1);
	ck_assert_int_eq(failure.error, -ETIME);
	ck_assert(failure.consequence);
	setting_end(&on);
}
END_TEST

START_TEST(a_parents_deadline_ends_the_wait)
{
	struct setting on = setting_below(timed_child_of(ctx_background(), 10 * MILLISECOND), _i);
	struct probe probe;
	char sink[8];

	task_recv(on.group, &probe, on.pair.near, sink);
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -ETIME);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
	setting_end(&on);
}
END_TEST

static void *cancel_in_thread(void *data)
{
	ctx_cancel(data);
	return NULL;
}

START_TEST(another_thread_ends_the_parent)
{
	struct setting on = setting_below(child_of(ctx_background()), _i);
	struct probe probe;
	pthread_t thread;
	char sink[8];

	task_recv(on.group, &probe, on.pair.near, sink);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_in_thread, on.parent));
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -ECANCELED);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	setting_end(&on);
}
END_TEST

START_TEST(an_operations_own_timeout_is_a_failure)
{
	struct setting on = setting_begin(_i);
	struct probe slow, other;
	char sink[8];

	task_recv(on.group, &slow, on.pair.near, sink);
	ck_assert_ok(ctx_op_set_timeout(&slow.op, 5 * MILLISECOND));
	task_recv(on.group, &other, on.pair.far, sink);
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -ETIME);
	ck_assert_probe(&slow, -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_probe(&other, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(cause_of(ctx_taskgroup_context(on.group)).error, -ETIME);
	ck_assert_cancelled(ctx_taskgroup_context(on.group));
	setting_end(&on);
}
END_TEST

/* Goal: what the program itself cancels is no failure; also the rest of its chain is not. */
START_TEST(a_cancel_by_the_program_is_no_failure)
{
	struct setting on = setting_begin(_i);
	struct probe single, unsent, chain[3];
	char sink[8];

	task_recv(on.group, &single, on.pair.near, sink);
	for (int i = 0; i < 3; i++) {
		struct io_uring_sqe *sqe = task_start(on.group, &chain[i]);
		io_uring_prep_recv(sqe, on.pair.near, sink, 8, 0);
		if (i < 2)
			sqe->flags |= IOSQE_IO_LINK;
	}
	ck_assert_int_eq(ctx_ring_submit(on.ring), 4);
	io_uring_prep_nop(task_start(on.group, &unsent));
	ck_assert_ok(ctx_op_cancel(on.ring, &unsent.op));
	ck_assert_ok(ctx_op_cancel(on.ring, &single.op));
	ck_assert_ok(ctx_op_cancel(on.ring, &chain[1].op));
	ck_assert_ok(ctx_taskgroup_wait(on.group));
	ck_assert_probe(&single, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_probe(&unsent, -ECANCELED, CTX_OP_CANCELLED);
	for (int i = 0; i < 3; i++)
		ck_assert_probe(&chain[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_live(ctx_taskgroup_context(on.group));
	setting_end(&on);
}
END_TEST

START_TEST(who_breaks_a_chain_has_failed)
{
	struct setting on = setting_begin(_i);
	struct ctx_failure first;
	struct probe head, tail;

	task_fail(on.group, &head)->flags |= IOSQE_IO_LINK;
	io_uring_prep_nop(task_start(on.group, &tail));
	ck_assert_int_eq(ctx_taskgroup_wait(on.group), -EBADF);
	ck_assert_probe(&head, -EBADF, CTX_OP_FINISHED);
	ck_assert_probe(&tail, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_ge(ctx_taskgroup_failures(on.group, &first, 1), 1);
	ck_assert_int_eq(first.error, -EBADF);
	setting_end(&on);
}
END_TEST

START_TEST(a_multishot_counts_until_its_last_completion)
{
	struct setting on = setting_begin(_i);
	struct probe poll;

	io_uring_prep_poll_multishot(task_start(on.group, &poll), on.pair.near, POLLIN);
	for (unsigned i = 1; i <= 3; i++) {
		char sink[8];
		ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
		while (poll.mores < i)
			ck_assert_int_ge(ctx_ring_dispatch(on.ring, SOON), 0);
		ck_assert_int_eq(read(on.pair.near, sink, 8), 1);
	}
	ck_assert_int_eq(ctx_taskgroup_failures(on.group, NULL, 0), 0);
	ck_assert_ok(ctx_op_cancel(on.ring, &poll.op));
	ck_assert_ok(ctx_taskgroup_wait(on.group));
	ck_assert_uint_eq(poll.finals, 1);
	setting_end(&on);
}
END_TEST

/* ---- from callbacks */

static int inner;

static void wait_inside(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	inner = ctx_taskgroup_wait(watched);
	probe_count(ring, op, completion);
}

static void fail_inside(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	inner = ctx_taskgroup_fail(watched, -EBADMSG, "got %d", completion->res);
	probe_count(ring, op, completion);
}

static void free_inside(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	ctx_taskgroup_free(watched);
	probe_count(ring, op, completion);
}

START_TEST(a_callback_cannot_wait)
{
	struct setting on = setting_begin(_i);
	struct probe probe;

	watched = on.group;
	io_uring_prep_nop(task_start(watched, &probe));
	probe.op.callback = wait_inside;
	ck_assert_ok(ctx_taskgroup_wait(watched));
	ck_assert_int_eq(inner, -EDEADLK);
	ck_assert_uint_eq(probe.finals, 1);
	setting_end(&on);
}
END_TEST

START_TEST(a_callback_reports_what_only_it_can_see)
{
	struct setting on = setting_begin(_i);
	struct probe probe, other;
	char sink[8];

	watched = on.group;
	task_recv(watched, &other, on.pair.near, sink);
	task_recv(watched, &probe, on.pair.far, sink);
	probe.op.callback = fail_inside;
	ck_assert_int_eq(write(on.pair.near, "xyz", 3), 3);
	ck_assert_int_eq(ctx_taskgroup_wait(watched), -EBADMSG);
	ck_assert_ok(inner);
	ck_assert_probe(&probe, 3, CTX_OP_FINISHED);
	ck_assert_probe(&other, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_str_eq(cause_of(ctx_taskgroup_context(watched)).text, "got 3");
	setting_end(&on);
}
END_TEST

START_TEST(freed_in_a_callback_it_goes_with_its_last_operation)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	static struct probe others[10], probe;
	char sink[8];

	for (int round = 0; round < 2; round++) {
		unsigned count = round ? 0 : 10; /* of those that are left then */
		watched = group_on(ring);
		for (unsigned i = 0; i < count; i++)
			task_recv(watched, &others[i], pair.near, sink);
		io_uring_prep_nop(task_start(watched, &probe));
		probe.op.callback = free_inside;
		await_probes(ring, &probe, 1);
		await_probes(ring, others, count);
		for (unsigned i = 0; i < count; i++)
			ck_assert_probe(&others[i], -ECANCELED, CTX_OP_CANCELLED);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

static void free_at_the_end(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	inner = ctx_taskgroup_wait(data);
	ctx_taskgroup_free(data);
}

/* Goal: the failure of the only operation ends the context, whose callback frees the group meanwhile. */
START_TEST(freed_by_a_callback_of_its_context_it_goes_afterwards)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring);
	struct ctx_callback callback = {0};
	struct probe probe;

	ck_assert_ok(ctx_callback_add(ctx_taskgroup_context(group), &callback, free_at_the_end, group, NULL));
	task_fail(group, &probe);
	inner = 0;
	await_probes(ring, &probe, 1);
	ck_assert_int_eq(inner, -EDEADLK);
	ck_assert_probe(&probe, -EBADF, CTX_OP_FINISHED);
	ring_end(ring);
}
END_TEST

static void free_watched(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	probe_count(ring, op, completion);
	ctx_taskgroup_free(watched);
}

/* Goal: a wait holds its group. Method: freed in the callback of the first, of the last and of the only
 * operation, in the dispatch of the wait; AddressSanitizer sees what is touched afterwards. */
START_TEST(freed_in_a_callback_while_it_is_waited_for_it_goes_after_the_wait)
{
	struct ctx_ring *ring = ring_of(_i);

	for (unsigned count = 1; count <= 2; count++)
		for (unsigned freeing = 0; freeing < count; freeing++) {
			struct probe probes[2];
			watched = group_on(ring);
			for (unsigned i = 0; i < count; i++)
				io_uring_prep_nop(task_start(watched, &probes[i]));
			probes[freeing].op.callback = free_watched;
			int result = ctx_taskgroup_wait(watched);
			ck_assert(result == 0 || result == -ECANCELED);
			for (unsigned i = 0; i < count; i++)
				ck_assert_uint_eq(probes[i].finals, 1);
		}
	ring_end(ring);
}
END_TEST

static void begin_again(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct probe *probe = (struct probe *)op;

	(void)ring;
	probe->last = *completion;
	if (++probe->finals < 100)
		io_uring_prep_nop(ctx_taskgroup_get_sqe(watched, op));
}

START_TEST(an_operation_can_begin_again_in_its_callback)
{
	struct setting on = setting_begin(_i);
	struct probe probe;

	watched = on.group;
	io_uring_prep_nop(task_start(watched, &probe));
	probe.op.callback = begin_again;
	ck_assert_ok(ctx_taskgroup_wait(watched));
	ck_assert_uint_eq(probe.finals, 100);
	setting_end(&on);
}
END_TEST

/* ---- beside others */

START_TEST(other_operations_are_not_waited_for)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *groups[2] = {group_on(ring), group_on(ring)};
	struct pair pair = pair_new();
	struct probe own, plain, other, under;
	char sink[8];

	probe_recv(ring, ctx_background(), &plain, pair.near, sink, 8);
	probe_recv(ring, ctx_taskgroup_context(groups[0]), &under, pair.near, sink, 8);
	task_recv(groups[1], &other, pair.near, sink);
	io_uring_prep_nop(task_start(groups[0], &own));
	ck_assert_ok(ctx_taskgroup_wait(groups[0]));
	ck_assert_uint_eq(own.finals, 1);
	ck_assert_uint_eq(plain.finals + other.finals + under.finals, 0);
	ctx_taskgroup_free(groups[0]);
	ck_assert_live(ctx_taskgroup_context(groups[1]));
	ctx_taskgroup_free(groups[1]);
	ck_assert_probe(&other, -ECANCELED, CTX_OP_CANCELLED);
	await_probes(ring, &under, 1);
	ck_assert_probe(&under, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(plain.finals, 0);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

START_TEST(freeing_ends_and_waits)
{
	struct setting on = setting_begin(_i);
	static struct probe probes[300];
	char sink[8];

	for (unsigned i = 0; i < 300; i++)
		task_recv(on.group, &probes[i], on.pair.near, sink);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 300);
	ctx_taskgroup_free(on.group);
	on.group = NULL;
	for (unsigned i = 0; i < 300; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	setting_end(&on);
}
END_TEST

/* Not as it should be, but harmless. */
START_TEST(a_ring_closed_first_leaves_a_group_that_can_be_freed)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring);
	struct pair pair = pair_new();
	struct probe probe;
	char sink[8];

	task_recv(group, &probe, pair.near, sink);
	ring_end(ring);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ctx_taskgroup_free(group);
	pair_end(pair);
}
END_TEST

static void *use_as_a_stranger(void *data)
{
	struct ctx_op op;

	ctx_op_init(&op, NULL, 0);
	ck_assert_int_eq(ctx_taskgroup_wait(data), -EPERM);
	ck_assert_int_eq(ctx_taskgroup_fail(data, -EIO, NULL), -EPERM);
	ck_assert_ptr_null(ctx_taskgroup_get_sqe(data, &op));
	return NULL;
}

START_TEST(bad_use_is_refused)
{
	struct setting on = setting_begin(_i);
	struct ctx_ring *adopted = NULL;
	struct ctx_taskgroup *none = NULL;
	struct io_uring uring;
	pthread_t thread;

	ck_assert_int_eq(ctx_taskgroup_new_on_ring(NULL, on.ring, NULL, &none), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new_on_ring(ctx_background(), NULL, NULL, &none), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_new_on_ring(ctx_background(), on.ring, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_start(on.group, NULL, NULL, NULL), -EINVAL);
	ck_assert_ptr_null(ctx_taskgroup_get_sqe(on.group, NULL));
	ck_assert_ok(pthread_create(&thread, NULL, use_as_a_stranger, on.group));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(io_uring_queue_init(8, &uring, setup_flags_of(_i)));
	ck_assert_ok(ctx_ring_adopt(&uring, NULL, &adopted));
	ck_assert_int_eq(ctx_taskgroup_new_on_ring(ctx_background(), adopted, NULL, &none), -ENOTSUP);
	ck_assert_ptr_null(none);
	ring_end(adopted);
	io_uring_queue_exit(&uring);
	ck_assert_ok(ctx_taskgroup_wait(on.group));
	setting_end(&on);
}
END_TEST

static int free_in_child(void *data)
{
	struct ctx_op op;

	ctx_op_init(&op, NULL, 0);
	if (ctx_taskgroup_wait(data) != -EPERM || ctx_taskgroup_get_sqe(data, &op))
		return 1;
	ctx_taskgroup_free(data);
	return 0;
}

START_TEST(a_forked_child_leaves_the_parents_group_alone)
{
	struct setting on = setting_begin(_i);
	struct probe probe;
	char sink[8];

	task_recv(on.group, &probe, on.pair.near, sink);
	ck_assert_int_eq(ctx_ring_submit(on.ring), 1);
	ck_assert_int_eq(test_in_child(free_in_child, on.group), 0);
	ck_assert_live(ctx_taskgroup_context(on.group));
	ck_assert_int_eq(write(on.pair.far, "x", 1), 1);
	ck_assert_ok(ctx_taskgroup_wait(on.group));
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	setting_end(&on);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("taskgroup_ring");
	TCase *ends = test_case_ring(suite, "ends"), *callbacks = test_case_ring(suite, "callbacks"),
	      *others = test_case_ring(suite, "others");

	ON_EACH_RING(ends, every_operation_has_ended_when_wait_returns);
	ON_EACH_RING(ends, the_first_failure_ends_the_others_before_its_callback_runs);
	ON_EACH_RING(ends, refused_operations_end_in_the_wait);
	ON_EACH_RING(ends, below_a_done_parent_nothing_runs);
	ON_EACH_RING(ends, a_parents_deadline_ends_the_wait);
	ON_EACH_RING(ends, another_thread_ends_the_parent);
	ON_EACH_RING(ends, an_operations_own_timeout_is_a_failure);
	ON_EACH_RING(ends, a_cancel_by_the_program_is_no_failure);
	ON_EACH_RING(ends, who_breaks_a_chain_has_failed);
	ON_EACH_RING(ends, a_multishot_counts_until_its_last_completion);
	ON_EACH_RING(callbacks, a_callback_cannot_wait);
	ON_EACH_RING(callbacks, a_callback_reports_what_only_it_can_see);
	ON_EACH_RING(callbacks, freed_in_a_callback_it_goes_with_its_last_operation);
	ON_EACH_RING(callbacks, freed_by_a_callback_of_its_context_it_goes_afterwards);
	ON_EACH_RING(callbacks, freed_in_a_callback_while_it_is_waited_for_it_goes_after_the_wait);
	ON_EACH_RING(callbacks, an_operation_can_begin_again_in_its_callback);
	ON_EACH_RING(others, other_operations_are_not_waited_for);
	ON_EACH_RING(others, freeing_ends_and_waits);
	ON_EACH_RING(others, a_ring_closed_first_leaves_a_group_that_can_be_freed);
	ON_EACH_RING(others, bad_use_is_refused);
	ON_EACH_RING(others, a_forked_child_leaves_the_parents_group_alone);
	return suite;
}
