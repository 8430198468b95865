/* SPDX-License-Identifier: MIT */
/* What is counted in the table: contexts, operations and batches, by the stem of their labels. */
#include "counters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tools/read/read_counters.c"
#include "support/contexts.h"
#include "support/rings.h"

TEST_HOLDS("tools/read/read_counters.c");

/* What this process has counted for a stem. */
static struct stem_counters counted(const char *stem)
{
	struct counters counters;
	struct stem_counters found = {0};

	ck_assert_ok(counters_read(table_map.header, table_map.header, &counters));
	ck_assert(counters.present);
	if (counters_find(&counters, stem))
		found = *counters_find(&counters, stem);
	counters_free(&counters);
	return found;
}

static struct ctx_context *labelled(const struct ctx_context *parent, const char *label)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_cancel(parent, label, &ctx));
	return ctx;
}

START_TEST(a_life_is_counted_once)
{
	for (unsigned i = 0; i < 20; i++) {
		char label[32];
		snprintf(label, sizeof(label), "life %u", i);
		struct ctx_context *ctx = labelled(ctx_background(), label);
		if (i % 2)
			ctx_cancel(ctx);
		ctx_cancel(i % 4 == 1 ? ctx : NULL);
		ctx_unref(ctx);
	}
	struct stem_counters life = counted("life *");
	ck_assert_uint_eq(life.begun, 20);
	ck_assert_uint_eq(life.ended[CTX_CAUSE_CALL], 10);
	ck_assert_uint_eq(stem_counters_ended(&life), 10);
	ck_assert_uint_eq(life.released, 10);
	ck_assert_uint_eq(histogram_count(life.ages), 10);
}
END_TEST

START_TEST(contexts_without_a_label_have_no_stem)
{
	struct ctx_context *ctx = labelled(ctx_background(), "first");
	struct stem_counters before = counted("");

	ctx_finish(ctx);
	ck_assert_ok(ctx_with_cancel(ctx_background(), NULL, &ctx));
	ctx_finish(ctx);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "", &ctx));
	ctx_finish(ctx);
	struct stem_counters after = counted("");
	ck_assert_uint_eq(after.begun - before.begun, 2);
	ck_assert_uint_eq(stem_counters_ended(&after) - stem_counters_ended(&before), 2);
}
END_TEST

/* An end from above counts for its own kind, also in those that are made afterwards. */
START_TEST(ends_from_above_count_for_their_cause)
{
	struct ctx_context *top, *below[3], *merged, *late;

	ck_assert_ok(ctx_with_timeout(ctx_background(), 1, "top", &top));
	for (unsigned i = 0; i < 3; i++)
		below[i] = labelled(i ? below[i - 1] : top, "below");
	const struct ctx_context *parents[] = {below[0], ctx_background()};
	ck_assert_ok(ctx_merge(parents, 2, "merged", &merged));
	ck_assert_ok(ctx_wait(merged, CTX_FOREVER));
	ck_assert_ok(ctx_wait(below[2], CTX_FOREVER));
	late = labelled(below[2], "late");
	ck_assert_int_eq(ctx_err(late), -ETIME);
	ck_assert_uint_eq(counted("top").ended[CTX_CAUSE_DEADLINE], 1);
	ck_assert_uint_eq(counted("late").ended[CTX_CAUSE_DEADLINE], 1);
	struct stem_counters stem = counted("below");
	ck_assert_uint_eq(stem.ended[CTX_CAUSE_DEADLINE], 3);
	ck_assert_uint_eq(stem_counters_ended(&stem), 3);
	ck_assert_uint_eq(histogram_count(stem.ages), 3);
	stem = counted("merged");
	ck_assert_uint_eq(stem.ended[CTX_CAUSE_DEADLINE], 1);
	ck_assert_uint_eq(stem_counters_ended(&stem), 1);
	ctx_finish(late);
	ctx_finish(merged);
	for (unsigned i = 3; i--;)
		ctx_finish(below[i]);
	ctx_finish(top);
	stem = counted("late");
	ck_assert_uint_eq(stem_counters_ended(&stem), 1);
	ck_assert_uint_eq(stem.released, 0);
}
END_TEST

/* A sweep counts runs of equal stems and ages together. */
START_TEST(a_sweep_counts_each_of_many)
{
	enum {
		MANY = 1000
	};
	struct ctx_context *top = labelled(ctx_background(), "many"), *child[MANY];

	for (unsigned i = 0; i < MANY; i++)
		child[i] = labelled(top, i % 7 == 0 ? "seventh" : i % 3 == 0 ? "third" : NULL);
	struct stem_counters none = counted("");
	ctx_cancel(top);
	ck_assert_uint_eq(counted("seventh").ended[CTX_CAUSE_CALL], 143);
	ck_assert_uint_eq(counted("third").ended[CTX_CAUSE_CALL], 286);
	ck_assert_uint_eq(counted("").ended[CTX_CAUSE_CALL] - none.ended[CTX_CAUSE_CALL], MANY - 143 - 286);
	for (unsigned i = 0; i < MANY; i++)
		ctx_unref(child[i]);
	ctx_finish(top);
}
END_TEST

/* What a run takes for the same bucket is what each age alone gives. */
START_TEST(runs_and_single_ages_agree)
{
	const uint64_t now_ns = 1ull << 50;

	for (unsigned bucket = 0; bucket + 1 < CTX_TABLE_BUCKETS; bucket++) {
		uint64_t end = histogram_bound(bucket), begin = bucket ? histogram_bound(bucket - 1) : 0;
		struct counters_run run = {.kind = CTX_CAUSE_CALL, .now_ns = now_ns};
		struct ctx_table_context first = {.created_ns = now_ns - begin}, last = first, other = first;
		last.created_ns = now_ns - end + 1;
		other.created_ns = now_ns - end;
		ck_assert_uint_eq(counters_bucket(begin), bucket);
		ck_assert_uint_eq(counters_bucket(end - 1), bucket);
		ck_assert_uint_eq(counters_bucket(end), bucket + 1);
		counters_end_in_run(&run, counters_key_of(&first));
		counters_end_in_run(&run, counters_key_of(&last));
		ck_assert_uint_eq(run.count, 2);
		ck_assert_uint_eq(run.bucket, bucket);
		counters_end_in_run(&run, counters_key_of(&other));
		ck_assert_uint_eq(run.count, 1);
		ck_assert_uint_eq(run.bucket, bucket + 1);
		run.count = 0;
	}
	struct counters_run run = {.now_ns = now_ns};
	struct ctx_table_context later = {.created_ns = now_ns + 1000000}, now = {.created_ns = now_ns};
	counters_end_in_run(&run, counters_key_of(&later));
	counters_end_in_run(&run, counters_key_of(&now));
	ck_assert_uint_eq(run.count, 2);
	ck_assert_uint_eq(run.bucket, 0);
	ck_assert_uint_eq(counters_bucket(UINT64_MAX), CTX_TABLE_BUCKETS - 1);
	run.count = 0;
}
END_TEST

static void *live_in_thread(void *label)
{
	ctx_finish(labelled(ctx_background(), label));
	return NULL;
}

/* Threads that come one after the other go on with one record, so that there is no end of threads. */
START_TEST(records_are_continued)
{
	pthread_t thread;
	uint32_t used = 0;

	for (unsigned i = 0; i < 50; i++) {
		ck_assert_ok(pthread_create(&thread, NULL, live_in_thread, "continued"));
		ck_assert_ok(pthread_join(thread, NULL));
		if (i == 0)
			used = table_map.header->counters.used;
	}
	ck_assert_uint_eq(table_map.header->counters.used, used);
	ck_assert_uint_eq(counted("continued").begun, 50);
	ck_assert_uint_eq(counted("continued").ended[CTX_CAUSE_CALL], 50);
}
END_TEST

static void *live_often(void *label)
{
	for (unsigned i = 0; i < 20000; i++)
		ctx_finish(labelled(ctx_background(), label));
	return NULL;
}

/* Goal: no count is lost between threads. */
START_TEST(threads_count_side_by_side)
{
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, live_often, i % 2 ? "odd" : "even"));
	for (unsigned i = 0; i < 4; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
	ck_assert_uint_eq(counted("odd").begun, 40000);
	ck_assert_uint_eq(counted("even").ended[CTX_CAUSE_CALL], 40000);
}
END_TEST

/* More stems than there is room for: what is left over is counted as "other", and nothing is lost. */
START_TEST(stems_beyond_the_last_are_other)
{
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 400; i++) {
			char label[32];
			snprintf(label, sizeof(label), "stem %c%c", 'a' + i / 26, 'a' + i % 26);
			ctx_finish(labelled(ctx_background(), label));
		}
	ctx_finish(labelled(ctx_background(), "other"));
	ck_assert_uint_eq(table_map.header->stems.used, CTX_TABLE_STEMS);
	struct counters counters;
	uint64_t begun = 0;
	ck_assert_ok(counters_read(table_map.header, table_map.header, &counters));
	for (uint32_t i = 0; i < counters.count; i++)
		begun += counters.stems[i].begun;
	ck_assert_uint_eq(begun, 801);
	ck_assert_uint_gt(counters_find(&counters, "other")->begun, 2 * (400 - CTX_TABLE_STEMS));
	ck_assert_uint_eq(counters_find(&counters, "stem aa")->begun, 2);
	counters_free(&counters);
}
END_TEST

/* Without a record left all count in the one that is shared. */
START_TEST(writers_without_a_record_share_one)
{
	ctx_finish(labelled(ctx_background(), "own"));
	struct ctx_table_area *area = &table_map.header->counters;
	uint32_t used = area->used;
	pthread_t threads[2];

	area->used = area->count;
	for (unsigned i = 0; i < 2; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, live_often, "shared"));
	for (unsigned i = 0; i < 2; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
	area->used = used;
	ck_assert_uint_eq(counted("other").begun, 40000);
	ck_assert_uint_eq(counted("other").ended[CTX_CAUSE_CALL], 40000);
	ck_assert_uint_eq(counted("own").begun, 1);
}
END_TEST

/* A forked child counts in its own table, and ends of what it inherited are its parent's. */
START_TEST(a_child_begins_anew)
{
	struct ctx_context *ctx = labelled(ctx_background(), "parent");
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		ctx_finish(ctx);
		ctx_finish(labelled(ctx_background(), "child"));
		struct stem_counters child = counted("child"), parent = counted("parent");
		_exit(child.begun == 1 && child.ended[CTX_CAUSE_CALL] == 1 && !parent.begun &&
				      !stem_counters_ended(&parent)
			      ? 0
			      : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(counted("parent").begun, 1);
	ck_assert_uint_eq(counted("parent").ended[CTX_CAUSE_CALL], 0);
	ck_assert_uint_eq(counted("child").begun, 0);
	ctx_finish(ctx);
}
END_TEST

/* ---- operations */

#define OPS 40u

static unsigned ended;

static void count_end(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	ended += !completion->more;
}

/* Operations that finish, that their context ends, and that are cancelled by themselves. */
START_TEST(operations_are_counted_with_their_context)
{
	static struct ctx_op ops[OPS + 2];
	struct ctx_context *quick = labelled(ctx_background(), "quick"),
			   *slow = labelled(ctx_background(), "slow");
	struct ctx_ring *ring = ring_of(_i);
	int pair[2];
	static char byte[OPS];

	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	ended = 0;
	for (unsigned i = 0; i < OPS; i++) {
		ctx_op_init(&ops[i], count_end, 0);
		if (i % 2)
			io_uring_prep_recv(ctx_ring_get_sqe(ring, slow, &ops[i]), pair[0], &byte[i], 1, 0);
		else
			io_uring_prep_nop(ctx_ring_get_sqe(ring, quick, &ops[i]));
	}
	while (ended < OPS / 2)
		ctx_ring_dispatch(ring, CTX_FOREVER);
	struct stem_counters stem = counted("quick");
	ck_assert_uint_eq(stem.operations_begun, OPS / 2);
	ck_assert_uint_eq(stem.operations_finished, OPS / 2);
	ck_assert_uint_eq(stem.operations_cancelled, 0);
	stem = counted("slow");
	ck_assert_uint_eq(stem.operations_begun, OPS / 2);
	ck_assert_uint_eq(stem.operations_finished, 0);
	/* One is cancelled by itself, one ends when it is staged, and the rest end with the context. */
	ck_assert_ok(ctx_op_cancel(ring, &ops[1]));
	ctx_op_init(&ops[OPS], count_end, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, slow, &ops[OPS]), pair[0], byte, 1, 0);
	while (ended < OPS / 2 + 1)
		ctx_ring_dispatch(ring, CTX_FOREVER);
	ctx_op_init(&ops[OPS + 1], count_end, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, slow, &ops[OPS + 1]), pair[0], byte, 1, 0);
	ctx_cancel(slow);
	while (ended < OPS + 2)
		ctx_ring_dispatch(ring, CTX_FOREVER);
	stem = counted("slow");
	ck_assert_uint_eq(stem.operations_begun, OPS / 2 + 2);
	ck_assert_uint_eq(stem.operations_finished, OPS / 2 + 2);
	ck_assert_uint_eq(stem.operations_cancelled, OPS / 2 + 1);
	ck_assert_uint_eq(histogram_count(stem.cancels), 1);
	ring_end(ring);
	ctx_finish(slow);
	ctx_finish(quick);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("counters");
	TCase *contexts = test_case_cold(suite, "contexts");

	tcase_add_test(contexts, a_life_is_counted_once);
	tcase_add_test(contexts, contexts_without_a_label_have_no_stem);
	tcase_add_test(contexts, ends_from_above_count_for_their_cause);
	tcase_add_test(contexts, a_sweep_counts_each_of_many);
	tcase_add_test(contexts, runs_and_single_ages_agree);
	tcase_add_test(contexts, records_are_continued);
	tcase_add_test(contexts, threads_count_side_by_side);
	tcase_add_test(contexts, stems_beyond_the_last_are_other);
	tcase_add_test(contexts, writers_without_a_record_share_one);
	tcase_add_test(contexts, a_child_begins_anew);
	TCase *operations = test_case_ring(suite, "operations");
	tcase_add_loop_test(operations, operations_are_counted_with_their_context, RING_ORDINARY,
			    test_mode() == TEST_PLAIN ? RING_ORDINARY + 1 : RING_KINDS);
	return suite;
}
