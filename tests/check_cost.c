/* SPDX-License-Identifier: MIT */
/*
 * How many instructions an operation takes from its preparation to its callback, and a context with a label.
 * The count is the same in every run, however busy the machine is, so a change that makes it grow is noticed.
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
 * The same for a turn with two operations, all in all: 1,099 where the label of their context is counted. By
 * single steps it takes so long that it reads the clock each time.
 */
#define TURN_MAX (1099u + 110u)

/* What is done while a child is counted: prepared once, then run, in batches of so many. */
struct work {
	void (*prepare)(int kind);
	void (*run_batch)(void);
	unsigned batch;
};

/* ---- operations */

static struct ctx_ring *ring;
static struct ctx_context *top;
static struct ctx_op ops[BATCH];
static unsigned completed;

static void count_completion(struct ctx_ring *on, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)on;
	(void)op;
	if (!completion->more)
		completed++;
}

static void open_ring(int kind)
{
	struct ctx_ring_options options = {.setup_flags = setup_flags_of(kind)};

	if (ctx_with_cancel(ctx_background(), "cost", &top) || ctx_ring_open(64, &options, &ring))
		_exit(1);
}

static void run_some(unsigned count)
{
	completed = 0;
	for (unsigned i = 0; i < count; i++) {
		ctx_op_init(&ops[i], count_completion, i);
		io_uring_prep_nop(ctx_ring_get_sqe(ring, top, &ops[i]));
	}
	while (completed < count)
		ctx_ring_dispatch(ring, CTX_FOREVER);
}

static void run_operations(void)
{
	run_some(BATCH);
}

static void run_turn(void)
{
	run_some(2);
}

static const struct work operations = {open_ring, run_operations, BATCH};
static const struct work turn = {open_ring, run_turn, 1};

/* ---- contexts with labels */

static const struct {
	const char *format;
	unsigned instructions; /* with gcc 12 */
} label_kinds[] = {
	{"request", 847},
	{"GET /item/%u", 936},
	{"127.0.0.1:%u", 936},
};

static char labels[BATCH][32];

static void make_labels(int kind)
{
	if (ctx_with_cancel(ctx_background(), "top", &top))
		_exit(1);
	for (unsigned i = 0; i < BATCH; i++)
		snprintf(labels[i], sizeof(labels[i]), label_kinds[kind].format, 50000 + i);
}

static void run_contexts(void)
{
	struct ctx_context *ctx;

	for (unsigned i = 0; i < BATCH; i++) {
		if (ctx_with_cancel(top, labels[i], &ctx))
			_exit(1);
		ctx_finish(ctx);
	}
}

static const struct work contexts = {make_labels, run_contexts, BATCH};

/* ---- counting */

/* The status of a child that may not be traced: there is a seccomp filter, Yama, or another tracer. */
#define NOT_TRACED 2

/* The child: its batches lie between two signals. */
static _Noreturn void run_traced(const struct work *work, int kind, unsigned batches)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(NOT_TRACED);
	work->prepare(kind);
	work->run_batch();
	work->run_batch();
	raise(SIGUSR2);
	for (unsigned i = 0; i < batches; i++)
		work->run_batch();
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

static unsigned count_steps(const struct work *work, int kind, unsigned batches)
{
	unsigned count = 0;
	int status, signal;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (!child)
		run_traced(work, kind, batches);
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
 * The instructions for one of a batch. 0: they cannot be counted here. Method: a child runs a batch by single
 * steps, and another child two of them. The difference is that of one batch alone. A system call is one step.
 */
static unsigned count_instructions(const struct work *work, int kind)
{
	unsigned few = CAN_COUNT ? count_steps(work, kind, 1) : 0;
	if (!few) {
		fprintf(stderr, "not counted: that takes ptrace(2), gcc, x86-64 and the usual flags\n");
		return 0;
	}
	unsigned each = (count_steps(work, kind, 2) - few) / work->batch;
	ck_assert_uint_gt(each, 100); /* less cannot be: something was not counted */
	return each;
}

START_TEST(an_operation_takes_few_instructions)
{
	unsigned each = count_instructions(&operations, _i);

	if (!each)
		return;
	fprintf(stderr, "%u instructions for an operation\n", each);
	ck_assert_uint_le(each, INSTRUCTIONS_MAX);
}
END_TEST

START_TEST(a_turn_with_two_operations_takes_few_instructions)
{
	unsigned all = count_instructions(&turn, _i);

	if (!all)
		return;
	fprintf(stderr, "%u instructions for a turn\n", all);
	ck_assert_uint_le(all, TURN_MAX);
}
END_TEST

/* Labels that change with each context have a stem in common, which is not looked for each time. */
START_TEST(a_context_with_a_label_takes_few_instructions)
{
	unsigned each = count_instructions(&contexts, _i), known = label_kinds[_i].instructions;

	if (!each)
		return;
	fprintf(stderr, "%u instructions for a context \"%s\"\n", each, label_kinds[_i].format);
	ck_assert_uint_le(each, known + known / 10);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("cost");
	TCase *operation = test_case_ring(suite, "operation"), *context = test_case(suite, "context");

	tcase_add_loop_test(operation, an_operation_takes_few_instructions, RING_ORDINARY, RING_PARKING);
	tcase_add_loop_test(operation, an_operation_takes_few_instructions, RING_DEFER, RING_PARKING_DEFER);
	tcase_add_loop_test(operation, a_turn_with_two_operations_takes_few_instructions, RING_ORDINARY,
			    RING_PARKING);
	tcase_add_loop_test(operation, a_turn_with_two_operations_takes_few_instructions, RING_DEFER,
			    RING_PARKING_DEFER);
	tcase_add_loop_test(context, a_context_with_a_label_takes_few_instructions, 0,
			    sizeof(label_kinds) / sizeof(*label_kinds));
	return suite;
}
