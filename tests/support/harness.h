/* SPDX-License-Identifier: MIT */
/*
 * What every test program shares. A program is one suite: it defines
 * test_suite() and links with the harness, which has main().
 *
 *	START_TEST(cancel_reaches_grandchildren)
 *	{
 *		...ck_assert_int_eq(...)...
 *	}
 *	END_TEST
 *
 *	Suite *test_suite(void)
 *	{
 *		Suite *suite = suite_create("context");
 *		TCase *tree = test_case(suite, "tree");
 *		tcase_add_test(tree, cancel_reaches_grandchildren);
 *		return suite;
 *	}
 *
 * Check runs each test in a forked child. Around each one the harness counts open
 * descriptors, live contexts and operations in flight, and a test that leaves more
 * than it found fails. Check's variables (CK_RUN_SUITE, CK_RUN_CASE, CK_FORK,
 * CK_VERBOSITY) work; CTX_TEST_MODE says in which pass of tests/run.sh we are.
 */
#ifndef TEST_HARNESS_H
#define TEST_HARNESS_H

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctxring.h"

/*
 * Check notes each assertion that held in a file, under a mutex: too slow for loops of
 * a million, and a mutex between threads hides races from ThreadSanitizer.
 */
#define _mark_point(file, line) ((void)0)

/* The passes of tests/run.sh. */
#define TEST_NORMAL 0x01u
#define TEST_ASAN 0x02u	  /* AddressSanitizer and UndefinedBehaviorSanitizer */
#define TEST_TSAN 0x04u	  /* ThreadSanitizer: knows nothing of io_uring */
#define TEST_DENIED 0x08u /* io_uring_setup(2) fails with EPERM */
#define TEST_PLAIN 0x10u  /* CTXRING_FEATURES=none */
#define TEST_FAULTS 0x20u /* faults.h works; check_faults*.c only */

/*
 * Once per file, to say in which passes it runs; without it, in all but TSAN and
 * FAULTS. The word TEST_TSAN in the file is what makes the build include it there.
 */
#define TEST_MODES(modes) const unsigned test_modes = (modes)
extern const unsigned test_modes __attribute__((weak));

Suite *test_suite(void);

/*
 * tests/run.sh links most programs into one, build/tests/checks, which takes less time than to link each: links to it
 * have the programs' names (mk/tests.mk). A file that defines functions in place of others says TEST_ALONE, and why.
 */
#define TEST_ALONE(reason) _Static_assert(sizeof(reason), reason)

/* A file that includes files of the programs says TEST_HOLDS, and which: their functions are then its own. */
#define TEST_HOLDS(what) _Static_assert(sizeof(what), what)

struct test_program {
	const char *name;
	Suite *(*suite)(void);
	const unsigned *modes; /* NULL if it says nothing */
};
extern const struct test_program test_programs[] __attribute__((weak)); /* the last has no name */

/* The current pass, TEST_NORMAL when nothing says otherwise. */
unsigned test_mode(void);

/*
 * A test case of suite with the leak check and a time limit of three minutes for each
 * test. Before each test the library is warmed up: table made, timer thread started.
 */
TCase *test_case(Suite *suite, const char *name);

/* As test_case, for tests that need the library untouched; the table is not counted as a leak. */
TCase *test_case_cold(Suite *suite, const char *name);

/* As test_case, but where io_uring cannot be used each test is skipped with the reason. */
TCase *test_case_ring(Suite *suite, const char *name);

/* What is there now is no leak: for fixtures that start more of the library than the usual warm-up. */
void test_baseline(void);

/* How long a test may take to let go of what it had. Less for those that leak on purpose. */
extern unsigned test_leak_patience_s;

/* One descriptor more that the test keeps for good. */
void test_keep_fd(void);

/* As setenv(3), which keeps memory for good: that is no leak. */
void test_setenv(const char *name, const char *value);

/* Where a file is that was built with this program: name is as seen from the program's directory. */
void test_path_beside(const char *name, char path[PATH_MAX]);

/* Ends the running test as skipped. */
void test_skip(const char *reason) __attribute__((noreturn));

/* NULL when io_uring works here, else why not. */
const char *test_no_uring(void);

/* Open descriptors of this process, without those that the library keeps for good. */
unsigned test_count_fds(void);

/* Contexts and operations in flight in this process's own table; 0 when there is no table. */
unsigned test_count_contexts(void);
unsigned test_count_operations(void);

/* This process's table as mapped by the library, NULL if there is none. */
struct ctx_table_header;
struct ctx_table_header *test_own_table(void);

/* Operations in flight that this process's table shows: those that are parked, or the others. */
unsigned test_count_in_flight(bool parked);

/*
 * Waits, bounded by half a minute, until condition() is true: for what other threads
 * bring about without an event to wait for. Returns whether it became true.
 */
bool test_until(bool (*condition)(void *data), void *data);

/* Whether this process has no more descriptors open than the unsigned behind fds_max says, for test_until().
 */
bool test_has_few_fds(void *fds_max);

/* Whether a thread of this process sleeps in a system call, for test_until(); data is its tid, 0 until that
 * is known. */
bool test_thread_sleeps(void *data);

/* Waits, bounded as above, until all other threads sleep. */
void test_await_others_asleep(void);

/*
 * The same under AddressSanitizer only, and if they never do, no failure. Before a fork: its allocator does
 * not reset its locks in the child, so that a thread which starts or allocates at that moment stops the
 * child's threads.
 */
void test_settle(void);

/* A seed for random tests, from CTX_TEST_SEED or the clock; printed, so that a failure can be repeated. */
unsigned test_seed(void);

/* On processors that are emulated, and so slow (tests/kernels). */
bool test_is_emulated(void);

/* How often to do what is random: half of count, or all of it with CTX_TEST_FULL in the environment, as make
 * check-stress has it; a tenth in all passes but the normal one, where the same is done once more, and there. */
unsigned test_scaled(unsigned count);

/* Runs function in a forked child; returns its exit status, or 256 plus the signal that killed it. */
int test_in_child(int (*function)(void *data), void *data);

#define ck_assert_ok(expression) ck_assert_int_eq(expression, 0)

#endif
