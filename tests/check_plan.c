/* SPDX-License-Identifier: MIT */
/* The order of a batch, without a kernel: waiting operations newest first, timeouts oldest first. */
#include <liburing.h>
#include <stdlib.h>

#include "plan.h"
#include "support/harness.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define COUNT 5000u

static struct operation operations[COUNT];

static struct operation *operation_new(unsigned i, uint64_t order, unsigned opcode)
{
	operations[i] = (struct operation){.order = order, .opcode = (uint8_t)opcode};
	list_init(&operations[i].link);
	return &operations[i];
}

/* A run is newest first, as groups keep theirs: inserted at the head in order of submission. */
static void run_add(struct list *run, struct operation *op)
{
	list_insert(run, &op->link);
}

START_TEST(an_empty_plan_has_nothing)
{
	struct plan plan;
	struct list run;

	plan_init(&plan);
	list_init(&run);
	plan_add(&plan, &run);
	plan_finish(&plan);
	ck_assert_uint_eq(plan.count, 0);
	ck_assert_ptr_null(plan_next(&plan));
}
END_TEST

START_TEST(waiting_operations_go_newest_first)
{
	struct plan plan;
	struct list run;

	plan_init(&plan);
	list_init(&run);
	for (unsigned i = 0; i < 100; i++)
		run_add(&run, operation_new(i, i + 1, IORING_OP_RECV));
	plan_add(&plan, &run);
	plan_finish(&plan);
	ck_assert_uint_eq(plan.count, 100);
	for (unsigned i = 100; i--;)
		ck_assert_ptr_eq(plan_next(&plan), &operations[i]);
	ck_assert_ptr_null(plan_next(&plan));
	ck_assert_uint_eq(plan.count, 0);
}
END_TEST

START_TEST(timeouts_go_oldest_first_and_last)
{
	struct plan plan;
	struct list run;

	plan_init(&plan);
	list_init(&run);
	for (unsigned i = 0; i < 100; i++)
		run_add(&run, operation_new(i, i + 1, i % 2 ? IORING_OP_TIMEOUT : IORING_OP_POLL_ADD));
	plan_add(&plan, &run);
	plan_finish(&plan);
	ck_assert_uint_eq(plan.count, 100);
	for (unsigned i = 100; i; i -= 2)
		ck_assert_ptr_eq(plan_next(&plan), &operations[i - 2]);
	for (unsigned i = 1; i < 100; i += 2)
		ck_assert_ptr_eq(plan_next(&plan), &operations[i]);
	ck_assert_ptr_null(plan_next(&plan));
}
END_TEST

static int compare(const void *a, const void *b)
{
	const struct operation *x = *(struct operation *const *)a, *y = *(struct operation *const *)b;
	bool x_timeout = x->opcode == IORING_OP_TIMEOUT, y_timeout = y->opcode == IORING_OP_TIMEOUT;

	if (x_timeout != y_timeout)
		return x_timeout ? 1 : -1;
	bool newer = x->order > y->order;
	return x_timeout == newer ? 1 : -1;
}

/* Goal: whatever the groups of a batch and the shape of their runs, the same order as of a plain sort. */
static void random_plan(unsigned runs_max)
{
	static struct operation *expected[COUNT];
	unsigned count = (unsigned)rand() % COUNT, runs = 1 + (unsigned)rand() % runs_max;
	struct list *run = calloc(runs, sizeof(*run));
	struct plan plan;

	ck_assert_ptr_nonnull(run);
	plan_init(&plan);
	for (unsigned i = 0; i < runs; i++)
		list_init(&run[i]);
	/* Which run the next ones go to changes now and then, so that runs overlap, or do not. */
	unsigned at = 0, stay = 1 + (unsigned)rand() % 50;
	for (unsigned i = 0; i < count; i++) {
		if ((unsigned)rand() % stay == 0)
			at = (unsigned)rand() % runs;
		expected[i] = operation_new(i, i * 3 + 1, rand() % 4 ? IORING_OP_RECV : IORING_OP_TIMEOUT);
		run_add(&run[at], expected[i]);
	}
	for (unsigned i = 0; i < runs; i++)
		plan_add(&plan, &run[i]);
	plan_finish(&plan);
	ck_assert_uint_eq(plan.count, count);
	qsort(expected, count, sizeof(expected[0]), compare);
	for (unsigned i = 0; i < count; i++)
		ck_assert_ptr_eq(plan_next(&plan), expected[i]);
	ck_assert_ptr_null(plan_next(&plan));
	free(run);
}

START_TEST(random_runs_come_out_as_sorted)
{
	srand(test_seed());
	for (unsigned i = 0; i < test_scaled(300); i++)
		random_plan(i % 2 ? 5 : 2000);
}
END_TEST

START_TEST(what_is_taken_out_is_in_no_list)
{
	struct plan plan;
	struct list run;

	plan_init(&plan);
	list_init(&run);
	for (unsigned i = 0; i < 10; i++)
		run_add(&run, operation_new(i, i, IORING_OP_RECV));
	plan_add(&plan, &run);
	plan_finish(&plan);
	ck_assert(list_empty(&run));
	for (struct operation *op; (op = plan_next(&plan));)
		ck_assert(list_empty(&op->link));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("plan");
	TCase *order = test_case_cold(suite, "order");

	tcase_add_test(order, an_empty_plan_has_nothing);
	tcase_add_test(order, waiting_operations_go_newest_first);
	tcase_add_test(order, timeouts_go_oldest_first_and_last);
	tcase_add_test(order, random_runs_come_out_as_sorted);
	tcase_add_test(order, what_is_taken_out_is_in_no_list);
	return suite;
}
