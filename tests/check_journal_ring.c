/* SPDX-License-Identifier: MIT */
/* What rings write to the journals of the table: batches, the ends that only they notice, and, while somebody
 * records, operations. */
#include "support/journals.h"
#include "support/rings.h"

TEST_HOLDS("tools/read/reader.c and tools/read/read_journal.c");

#include "../tools/read/read_journal.c"
#include "../tools/read/reader.c"
#include "../tools/read/read_counters.c"

#define OPERATIONS 5u

struct pairs {
	int fds[OPERATIONS][2];
	struct probe probes[OPERATIONS];
	char byte;
};

static void submit_receives(struct ctx_ring *ring, const struct ctx_context *ctx, struct pairs *pairs)
{
	for (unsigned i = 0; i < OPERATIONS; i++) {
		ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs->fds[i]));
		ctx_op_init(&pairs->probes[i].op, probe_count, i);
		io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &pairs->probes[i].op), pairs->fds[i][0],
				   &pairs->byte, 1, 0);
	}
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
}

static void await_finals(struct ctx_ring *ring, const struct pairs *pairs)
{
	unsigned finals;

	do {
		ctx_ring_dispatch(ring, SOON);
		finals = 0;
		for (unsigned i = 0; i < OPERATIONS; i++)
			finals += pairs->probes[i].finals;
	} while (finals < OPERATIONS);
	ctx_ring_dispatch(ring, 0);
}

static void close_pairs(struct pairs *pairs)
{
	for (unsigned i = 0; i < OPERATIONS; i++) {
		close(pairs->fds[i][0]);
		close(pairs->fds[i][1]);
	}
}

START_TEST(batch_is_written_with_the_end_that_led_to_it)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	struct ctx_ring *ring = ring_of(_i);
	struct pairs pairs = {0};
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "request", &ctx));
	uint64_t id = ctx_id(ctx);
	submit_receives(ring, ctx, &pairs);
	ck_assert_ok(journal_read(&journal));
	ck_assert_ok(ctx_cancel(ctx)); /* a plain call, of which only the ring hears */
	await_finals(ring, &pairs);
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 2);
	const struct ctx_table_end *end = journal.entries, *batch = end + 1;
	ck_assert_uint_eq(end->type, CTX_TABLE_END_CONTEXT);
	ck_assert_str_eq(end->end.label, "request");
	ck_assert_uint_eq((uint64_t)end->context_generation << 32 | end->context_slot, id);
	ck_assert_uint_eq(batch->type, CTX_TABLE_END_BATCH);
	ck_assert_uint_eq((uint64_t)batch->context_generation << 32 | batch->context_slot, id);
	ck_assert_uint_eq((uint64_t)batch->batch.origin_generation << 32 | batch->batch.origin_slot, id);
	ck_assert_uint_eq(batch->batch.operations, OPERATIONS);
	ck_assert_uint_eq(batch->batch.cancelled + batch->batch.finished, OPERATIONS);
	ck_assert_uint_gt(batch->batch.reap_ns, 0);
	ck_assert_int_eq((pid_t)batch->tid, gettid());
	/* One whose operations are over is quiet again. */
	ctx_finish(ctx);
	close_pairs(&pairs);
	ring_end(ring);
	close_view(&view, &journal);
}
END_TEST

START_TEST(context_whose_operations_are_over_ends_quietly)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_ENDS);
	struct ctx_ring *ring = ring_of(_i);
	struct pairs pairs = {0};
	struct ctx_context *ctx = child_of(ctx_background());

	submit_receives(ring, ctx, &pairs);
	for (unsigned i = 0; i < OPERATIONS; i++)
		ck_assert_int_eq(write(pairs.fds[i][1], "x", 1), 1);
	await_finals(ring, &pairs);
	ck_assert_ok(journal_read(&journal));
	ck_assert_ok(ctx_cancel(ctx));
	ctx_ring_dispatch(ring, 0);
	ctx_unref(ctx);
	ck_assert_ok(journal_read(&journal));
	ck_assert_uint_eq(journal.entry_count, 0);
	close_pairs(&pairs);
	ring_end(ring);
	close_view(&view, &journal);
}
END_TEST

/* Each operation once, however it ended: by the other side, by its context, or parked. */
START_TEST(operations_are_written_once_while_somebody_records)
{
	struct view view = view_own_table();
	struct journal journal = open_journal(&view, JOURNAL_OPERATIONS);
	struct ctx_control *control = open_control();
	struct ctx_ring *ring = ring_of(_i);
	struct pairs pairs = {0};
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe nops[OPERATIONS] = {0};
	uint64_t id = ctx_id(ctx), begin_ns = clock_now_ns();
	unsigned cancelled = 0, nop = 0;

	ck_assert_ok(journal_read(&journal));
	atomic_store(&control->record_until_ns, begin_ns + CTX_CONTROL_AHEAD_NS / 2);
	submit_receives(ring, ctx, &pairs);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		ctx_op_init(&nops[i].op, probe_count, i);
		io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &nops[i].op));
	}
	ck_assert_int_eq(write(pairs.fds[0][1], "x", 1), 1);
	while (!nops[OPERATIONS - 1].finals || !pairs.probes[0].finals)
		ctx_ring_dispatch(ring, SOON);
	ck_assert_ok(ctx_cancel(ctx));
	await_finals(ring, &pairs);
	atomic_store(&control->record_until_ns, 0);
	ck_assert_ok(journal_read(&journal));
	const struct ctx_table_operation_past *past = journal.entries;
	ck_assert_uint_eq(journal.entry_count, 2 * OPERATIONS);
	for (size_t i = 0; i < journal.entry_count; i++) {
		ck_assert_uint_eq((uint64_t)past[i].context_generation << 32 | past[i].context_slot, id);
		ck_assert_uint_ge(past[i].since_ns, begin_ns);
		ck_assert_uint_ge(past[i].end_ns, past[i].since_ns);
		if (past[i].opcode == IORING_OP_NOP)
			nop++;
		else
			cancelled += past[i].result == -ECANCELED;
	}
	ck_assert_uint_eq(nop, OPERATIONS);
	ck_assert_uint_eq(cancelled, OPERATIONS - 1);
	ctx_unref(ctx);
	close_pairs(&pairs);
	ring_end(ring);
	munmap(control, CTX_CONTROL_SIZE);
	close_view(&view, &journal);
}
END_TEST

/* Of a ring whose completions the program reads, each has its own time. */
START_TEST(operations_of_an_adopted_ring_end_after_they_began)
{
	struct view view = view_own_table();
	struct ctx_control *control = open_control();
	struct io_uring uring;
	struct ctx_ring *ring = NULL;

	ck_assert_int_eq(io_uring_queue_init(8, &uring, 0), 0);
	ck_assert_ok(ctx_ring_adopt(&uring, NULL, &ring));
	struct journal journal = open_journal(&view, JOURNAL_OPERATIONS);
	uint64_t until_ns = clock_now_ns() + CTX_CONTROL_AHEAD_NS / 2;
	ck_assert_ok(journal_read(&journal));
	atomic_store(&control->record_until_ns, until_ns);
	for (unsigned i = 0; i < OPERATIONS; i++) {
		struct probe nop = {0};
		struct io_uring_cqe *cqe;
		ctx_op_init(&nop.op, probe_count, i);
		io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx_background(), &nop.op));
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		while (!nop.finals) {
			ck_assert_int_eq(io_uring_wait_cqe(&uring, &cqe), 0);
			ctx_ring_filter(ring, cqe, NULL, NULL);
			io_uring_cqe_seen(&uring, cqe);
		}
	}
	ck_assert_uint_eq(atomic_load(&control->record_until_ns), until_ns);
	atomic_store(&control->record_until_ns, 0);
	ck_assert_ok(journal_read(&journal));
	const struct ctx_table_operation_past *past = journal.entries;
	ck_assert_uint_eq(journal.entry_count, OPERATIONS);
	for (size_t i = 0; i < journal.entry_count; i++)
		ck_assert_uint_ge(past[i].end_ns, past[i].since_ns);
	ring_end(ring);
	io_uring_queue_exit(&uring);
	munmap(control, CTX_CONTROL_SIZE);
	close_view(&view, &journal);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("journal_ring");
	TCase *rings = test_case_ring(suite, "rings");

	ON_EACH_RING(rings, batch_is_written_with_the_end_that_led_to_it);
	ON_EACH_RING(rings, context_whose_operations_are_over_ends_quietly);
	ON_EACH_RING(rings, operations_are_written_once_while_somebody_records);
	tcase_add_test(rings, operations_of_an_adopted_ring_end_after_they_began);
	return suite;
}
