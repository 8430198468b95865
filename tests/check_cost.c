/* SPDX-License-Identifier: MIT */
/*
 * How many instructions an operation takes from its preparation to its callback. The count is the same in
 * every run, however busy the machine is, so a change that makes it grow is noticed.
 */
/* The program's part is in the count, so it is compiled as a program would be. */
#if defined(__x86_64__) && !defined(__clang__) && defined(USUAL_FLAGS)
#define CAN_COUNT 1
#pragma GCC optimize("O2")
#else
#define CAN_COUNT 0
#endif

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "support/rings.h"

/* The library is counted as it is built for use. */
TEST_MODES(TEST_NORMAL);

#define BATCH 32u

/*
 * With gcc 12 it is 248, the share of the turn and of its system calls included. Other compilers, and other
 * kernels' code for reading the clock, may take a tenth more.
 */
#define INSTRUCTIONS_MAX (248u + 25u)

/*
 * The same of a turn with two operations, all in all: 1,099. By single steps it takes so long that it reads
 * the clock each time.
 */
#define TURN_MAX (1099u + 110u)

static unsigned completed;

static void count_completion(struct ctx_ring *ring, struct ctx_op *op,
			     const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	if (!completion->more)
		completed++;
}

static void run_batch(struct ctx_ring *ring, const struct ctx_context *ctx, struct ctx_op *ops,
		      unsigned operations)
{
	completed = 0;
	for (unsigned i = 0; i < operations; i++) {
		ctx_op_init(&ops[i], count_completion, i);
		io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &ops[i]));
	}
	while (completed < operations)
		ctx_ring_dispatch(ring, CTX_FOREVER);
}

/* The status of a child that may not be traced: there is a seccomp filter, Yama, or another tracer. */
#define NOT_TRACED 2

/* The child: its batches of so many operations lie between two signals. */
static _Noreturn void run_traced(int kind, unsigned operations, unsigned batches)
{
	static struct ctx_op ops[BATCH];
	struct ctx_ring_options options = {.setup_flags = setup_flags_of(kind)};
	struct ctx_context *ctx;
	struct ctx_ring *ring;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(NOT_TRACED);
	if (ctx_with_cancel(ctx_background(), "cost", &ctx) || ctx_ring_open(64, &options, &ring))
		_exit(1);
	run_batch(ring, ctx, ops, operations);
	run_batch(ring, ctx, ops, operations);
	raise(SIGUSR2);
	for (unsigned i = 0; i < batches; i++)
		run_batch(ring, ctx, ops, operations);
	raise(SIGUSR2);
	_exit(0);
}

/* Goes on until the next stop. Returns the signal, or 0 at the end. */
static int go_on(pid_t child, bool one_step)
{
	int status;

	ck_assert_ok(ptrace(one_step ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL) ? -errno : 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
}

static unsigned count_instructions(int kind, unsigned operations, unsigned batches)
{
	unsigned count = 0;
	int status, signal;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (!child)
		run_traced(kind, operations, batches);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_TRACED)
		return 0;
	ck_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR2);
	/* The child does not go on where an assertion ends this process. */
	ck_assert_ok(ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)PTRACE_O_EXITKILL));
	while ((signal = go_on(child, true)) == SIGTRAP)
		count++;
	ck_assert_int_eq(signal, SIGUSR2);
	ck_assert_int_eq(go_on(child, false), 0);
	return count;
}

/*
 * Method: a child runs a batch by single steps, and another child two of them. The difference is that of
 * one batch alone. A system call is one step. 0: it cannot be counted here.
 */
static unsigned count_batch(int kind, unsigned operations)
{
	unsigned few = CAN_COUNT ? count_instructions(kind, operations, 1) : 0;
	if (!few) {
		fprintf(stderr, "not counted: that takes ptrace(2), gcc, x86-64 and the usual flags\n");
		return 0;
	}
	return count_instructions(kind, operations, 2) - few;
}

START_TEST(an_operation_takes_few_instructions)
{
	unsigned each = count_batch(_i, BATCH) / BATCH;
	if (!each)
		return;
	fprintf(stderr, "%u instructions for an operation\n", each);
	ck_assert_uint_gt(each, 100); /* less cannot be: something was not counted */
	ck_assert_uint_le(each, INSTRUCTIONS_MAX);
}
END_TEST

START_TEST(a_turn_with_two_operations_takes_few_instructions)
{
	unsigned turn = count_batch(_i, 2);
	if (!turn)
		return;
	fprintf(stderr, "%u instructions for a turn\n", turn);
	ck_assert_uint_gt(turn, 300);
	ck_assert_uint_le(turn, TURN_MAX);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("cost");
	TCase *operation = test_case_ring(suite, "operation");

	tcase_add_loop_test(operation, an_operation_takes_few_instructions, RING_ORDINARY, RING_PARKING);
	tcase_add_loop_test(operation, an_operation_takes_few_instructions, RING_DEFER, RING_PARKING_DEFER);
	tcase_add_loop_test(operation, a_turn_with_two_operations_takes_few_instructions, RING_ORDINARY,
			    RING_PARKING);
	tcase_add_loop_test(operation, a_turn_with_two_operations_takes_few_instructions, RING_DEFER,
			    RING_PARKING_DEFER);
	return suite;
}
