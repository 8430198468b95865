/* SPDX-License-Identifier: MIT */
#include "support/harness.h"

#include <dirent.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include "node.h"
#include "park_late.h"
#include "table_format.h"

/* Written by the forked tests, read by main(). */
static struct report {
	unsigned skipped;
	char reason[200];
} * report;

static struct {
	const char *name;
	unsigned mode;
} const modes[] = {
	{"normal", TEST_NORMAL}, {"asan", TEST_ASAN},	{"tsan", TEST_TSAN},
	{"denied", TEST_DENIED}, {"plain", TEST_PLAIN}, {"faults", TEST_FAULTS},
};

unsigned test_mode(void)
{
	const char *name = getenv("CTX_TEST_MODE");

	for (size_t i = 0; name && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(name, modes[i].name))
			return modes[i].mode;
	return TEST_NORMAL;
}

#pragma weak test_suite /* it has another name where programs are linked together */

static struct test_program this_program(void)
{
	const struct test_program *program = test_programs;

	if (!test_programs)
		return (struct test_program){NULL, test_suite, &test_modes};
	while (program->name && strcmp(program->name, program_invocation_short_name))
		program++;
	return *program;
}

void test_skip(const char *reason)
{
	__atomic_fetch_add(&report->skipped, 1, __ATOMIC_RELAXED);
	snprintf(report->reason, sizeof(report->reason), "%s", reason);
	/* Not exit(3): handlers and leak checkers have nothing to say about a test that did not run. */
	_exit(0);
}

const char *test_no_uring(void)
{
	struct io_uring uring;
	int result = io_uring_queue_init(2, &uring, 0);

	if (result == 0) {
		io_uring_queue_exit(&uring);
		return NULL;
	}
	return result == -EPERM	   ? "io_uring is forbidden here (sysctl or seccomp)"
	       : result == -ENOSYS ? "this kernel has no io_uring"
				   : "io_uring_setup fails";
}

/* ---- what a test may leak */

unsigned test_count_fds(void)
{
	unsigned count = 0;
	DIR *directory = opendir("/proc/self/fd");

	if (!directory)
		abort();
	for (struct dirent *entry; (entry = readdir(directory));) {
		char path[300], target[300];
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || fd == dirfd(directory))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		/* The table is kept for good. */
		count += !strstr(target, "memfd:" CTX_TABLE_MEMFD_NAME);
	}
	closedir(directory);
	return count;
}

struct ctx_table_header *test_own_table(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[400];
	unsigned long start = 0;

	if (!maps)
		abort();
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "/memfd:" CTX_TABLE_MEMFD_NAME " (deleted)") && strstr(line, " 00000000 "))
			start = strtoul(line, NULL, 16);
	fclose(maps);
	struct ctx_table_header *header = (struct ctx_table_header *)start;
	/* Where fork has shared it with us it is the parent's, not ours. */
	return header && header->magic == CTX_TABLE_MAGIC && header->pid == getpid() ? header : NULL;
}

unsigned test_count_in_flight(bool parked)
{
	const struct ctx_table_header *header = test_own_table();
	unsigned count = 0;

	for (uint32_t slot = 1; header && slot < header->operations.used; slot++) {
		const struct ctx_table_operation *record =
			(const void *)((const char *)header + header->operations.offset +
				       slot * sizeof(*record));
		if (record->flags & CTX_TABLE_OP_IN_FLIGHT)
			count += parked == !!(record->flags & CTX_TABLE_OP_PARKED);
	}
	return count;
}

unsigned test_count_contexts(void)
{
	struct ctx_table_header *header = test_own_table();
	unsigned count = 0;

	for (uint32_t slot = 1;
	     header && slot < atomic_load_explicit(&header->contexts.used, memory_order_acquire); slot++) {
		struct ctx_table_context *record = (void *)((char *)header + header->contexts.offset +
							    slot * header->contexts.record_size);
		count += atomic_load_explicit(&record->state, memory_order_acquire) != 0;
	}
	return count;
}

unsigned test_count_operations(void)
{
	struct ctx_table_header *header = test_own_table();
	unsigned count = 0;

	for (uint32_t slot = 1;
	     header && slot < atomic_load_explicit(&header->operations.used, memory_order_acquire); slot++) {
		struct ctx_table_operation *record = (void *)((char *)header + header->operations.offset +
							      slot * header->operations.record_size);
		count += atomic_load_explicit(&record->flags, memory_order_acquire) & CTX_TABLE_OP_IN_FLIGHT;
	}
	return count;
}

static bool until(bool (*condition)(void *data), void *data, time_t seconds)
{
	struct timespec now, pause = {.tv_nsec = 200000};

	clock_gettime(CLOCK_MONOTONIC, &now);
	for (time_t end = now.tv_sec + seconds; now.tv_sec < end; clock_gettime(CLOCK_MONOTONIC, &now)) {
		if (condition(data))
			return true;
		nanosleep(&pause, NULL);
	}
	return condition(data);
}

bool test_until(bool (*condition)(void *data), void *data)
{
	return until(condition, data, 30);
}

bool test_has_few_fds(void *fds_max)
{
	return test_count_fds() <= *(unsigned *)fds_max;
}

/* proc(5): the state follows the name, which ends with the last parenthesis. */
bool test_thread_sleeps(void *data)
{
	pid_t tid = __atomic_load_n((pid_t *)data, __ATOMIC_ACQUIRE);
	char path[64], line[512] = "";

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	FILE *file = tid ? fopen(path, "re") : NULL;
	if (!file)
		return false;
	bool read = fgets(line, sizeof(line), file) != NULL;
	fclose(file);
	const char *name_end = read ? strrchr(line, ')') : NULL;
	return name_end && name_end[1] && name_end[2] == 'S';
}

/* As /proc counts, which may be that of an outer name space. */
static pid_t own_tid(void)
{
	char link[64] = "";
	const char *name = NULL;

	if (readlink("/proc/thread-self", link, sizeof(link) - 1) > 0)
		name = strrchr(link, '/');
	return name ? atoi(name + 1) : gettid();
}

static bool others_sleep(void *data)
{
	DIR *directory = opendir("/proc/self/task");
	pid_t own = own_tid();
	bool sleep = true;

	(void)data;
	if (!directory)
		abort();
	for (struct dirent *entry; sleep && (entry = readdir(directory));) {
		pid_t tid = atoi(entry->d_name);
		if (tid > 0 && tid != own)
			sleep = test_thread_sleeps(&tid); /* one that ends now is not asked again */
	}
	closedir(directory);
	return sleep;
}

void test_await_others_asleep(void)
{
	ck_assert(test_until(others_sleep, NULL));
}

void test_settle(void)
{
	if (test_mode() & (TEST_ASAN | TEST_FAULTS))
		test_until(others_sleep, NULL);
}

static struct {
	unsigned fds, contexts, operations;
	size_t bytes;
} before;

/* Of the sanitizer's runtime, where there is one. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));
int __lsan_is_turned_off(void);
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
void __lsan_do_leak_check(void) __attribute__((weak));

static size_t allocated_bytes(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

/*
 * Asked by LeakSanitizer before it looks through all memory, which takes longer than most tests do. Where as
 * much is allocated as before the test began, it has leaked nothing.
 */
int __lsan_is_turned_off(void)
{
	return before.bytes && allocated_bytes() == before.bytes;
}

static void count_before(void)
{
	/* So that a test that crashes has a place to be reported with. */
	(_mark_point)(__FILE__, __LINE__);
	before.fds = test_count_fds();
	before.contexts = test_count_contexts();
	before.operations = test_count_operations();
	before.bytes = allocated_bytes();
}

unsigned test_leak_patience_s = 30;

/* The library's threads may still be letting go of what the test released. */
static bool back_to_before(void *data)
{
	(void)data;
	return test_count_fds() <= before.fds && test_count_contexts() <= before.contexts &&
	       test_count_operations() <= before.operations;
}

static void leak_check(void)
{
	if (until(back_to_before, NULL, test_leak_patience_s))
		return;
	ck_abort_msg("leaked: descriptors %u -> %u, contexts %u -> %u, operations %u -> %u", before.fds,
		     test_count_fds(), before.contexts, test_count_contexts(), before.operations,
		     test_count_operations());
}

/* What the runtime of AddressSanitizer does after the search for leaks, at the end of each of thousands of
 * processes, is to forget each global variable: a third of the time of a short test. */
static void end_after_the_leak_check(int status, void *data)
{
	(void)data;
	__lsan_do_leak_check();
	fflush(NULL);
	_exit(status);
}

static void shorten_the_end(void)
{
	if (__lsan_do_leak_check)
		on_exit(end_after_the_leak_check, NULL);
}

static void warm_up(void)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_timeout(ctx_background(), CTX_FOREVER - 1, "warm-up", &ctx));
	ctx_finish(ctx);
	test_settle();
	/* The process's: the one descriptor of all contexts that never end, and what this one keeps. */
	ck_assert_int_ge(ctx_done_fd(ctx_background()), 0);
	ck_assert_ptr_nonnull(node_extend(node_mutable(ctx_background())));
	count_before();
}

/* Operations park at once, not only after a while. Tests of the other way set another time. */
static __attribute__((constructor)) void park_at_once(void)
{
	park_late_after_ns = 0;
}

void test_baseline(void)
{
	count_before();
}

void test_keep_fd(void)
{
	before.fds++;
}

void test_setenv(const char *name, const char *value)
{
	size_t bytes = allocated_bytes();

	ck_assert_ok(setenv(name, value, 1));
	before.bytes += before.bytes ? allocated_bytes() - bytes : 0;
}

void test_path_beside(const char *name, char path[PATH_MAX])
{
	char self[PATH_MAX - 32];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	ck_assert_int_gt(length, 0);
	self[length] = '\0';
	snprintf(path, PATH_MAX, "%s/%s", dirname(self), name);
}

static void skip_without_uring(void)
{
	const char *reason = test_no_uring();

	if (reason)
		test_skip(reason);
}

TCase *test_case_cold(Suite *suite, const char *name)
{
	TCase *test_case = tcase_create(name);

	tcase_set_timeout(test_case, 180);
	tcase_add_checked_fixture(test_case, shorten_the_end, NULL);
	tcase_add_checked_fixture(test_case, count_before, leak_check);
	suite_add_tcase(suite, test_case);
	return test_case;
}

TCase *test_case(Suite *suite, const char *name)
{
	TCase *test_case = test_case_cold(suite, name);

	tcase_add_checked_fixture(test_case, warm_up, NULL);
	return test_case;
}

TCase *test_case_ring(Suite *suite, const char *name)
{
	TCase *test_case = test_case_cold(suite, name);

	tcase_add_checked_fixture(test_case, skip_without_uring, NULL);
	tcase_add_checked_fixture(test_case, warm_up, NULL);
	return test_case;
}

/* ---- helpers of tests */

unsigned test_seed(void)
{
	const char *given = getenv("CTX_TEST_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	unsigned seed =
		given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)now.tv_nsec ^ (unsigned)getpid();
	printf("CTX_TEST_SEED=%u\n", seed);
	fflush(stdout);
	return seed;
}

bool test_is_emulated(void)
{
	return getenv("CTX_TEST_EMULATED") != NULL;
}

unsigned test_scaled(unsigned count)
{
	if (test_mode() != TEST_NORMAL || test_is_emulated())
		return (count + 9) / 10;
	/* All of them in make check-stress. */
	return getenv("CTX_TEST_FULL") ? count : (count + 1) / 2;
}

int test_in_child(int (*function)(void *data), void *data)
{
	int status;

	test_settle();
	pid_t pid = fork();
	if (pid == 0)
		_exit(function(data));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* ---- the program */

static void *wait_for_the_others(void *barrier)
{
	pthread_barrier_wait(barrier);
	return NULL;
}

/* What else each test, which is a child of this process, would have to do for itself. */
static void prepare_for_leak_checks(void)
{
	enum {
		THREADS = 4
	};
	pthread_t threads[THREADS];
	pthread_barrier_t barrier;

	/* What is read then is faulted in. */
	__lsan_do_recoverable_leak_check();
	/* The C library keeps the stacks of threads that have ended, and memory with each. */
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, wait_for_the_others, &barrier)) {
			fprintf(stderr, "no thread: see ulimit -u\n");
			exit(EXIT_FAILURE);
		}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
}

static void write_totals(unsigned passed, unsigned failed)
{
	const char *path = getenv("CTX_TEST_TOTALS");
	FILE *file = path ? fopen(path, "we") : NULL;

	if (!file)
		return;
	fprintf(file, "%u %u %u %s\n", passed, failed, report->skipped, report->reason);
	fclose(file);
}

int main(void)
{
	struct test_program program = this_program();

	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED)
		return EXIT_FAILURE;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!program.suite) {
		fprintf(stderr, "there are no tests of the name %s\n", program_invocation_short_name);
		return EXIT_FAILURE;
	}
	if (!((program.modes ? *program.modes : TEST_NORMAL | TEST_ASAN | TEST_DENIED | TEST_PLAIN) & test_mode()))
		return EXIT_SUCCESS;

	if (__lsan_do_recoverable_leak_check)
		prepare_for_leak_checks();
	SRunner *runner = srunner_create(program.suite());
	srunner_run_all(runner, CK_ENV);
	unsigned failed = (unsigned)srunner_ntests_failed(runner);
	unsigned passed = (unsigned)srunner_ntests_run(runner) - failed - report->skipped;
	srunner_free(runner);
	if (report->skipped)
		printf("skipped: %u: %s\n", report->skipped, report->reason);
	write_totals(passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
