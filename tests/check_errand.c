/* SPDX-License-Identifier: MIT */
/*
 * Goal: processes that do not answer cost ctxtool a bounded number of threads, and each at most one. Method:
 * errand.c is a part of this program, and the function that reads /proc blocks here for as long as the test
 * wants. Directories of any kind stand for processes.
 */
#include "support/harness.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../tools/read/errand.c"

TEST_ALONE("defines functions of tools/read");

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static bool gate_is_open;
static atomic_uint call_count;

/* In place of the one of tools/read/proc_file.c: "stuck" returns when the gate opens, other names at once. */
int proc_file_read(int directory, const char *name, const atomic_bool *stop, char **ret_text)
{
	(void)directory;
	(void)stop;
	atomic_fetch_add(&call_count, 1);
	pthread_mutex_lock(&gate_lock);
	while (strcmp(name, "stuck") == 0 && !gate_is_open)
		pthread_cond_wait(&gate_opened, &gate_lock);
	pthread_mutex_unlock(&gate_lock);
	*ret_text = strdup(name);
	return *ret_text ? 0 : -ENOMEM;
}

static bool is_none_stuck(void *data)
{
	(void)data;
	pthread_mutex_lock(&lock);
	bool none = stuck_count == 0 && !stuck_errands;
	pthread_mutex_unlock(&lock);
	return none;
}

static void set_gate(bool is_open)
{
	pthread_mutex_lock(&gate_lock);
	gate_is_open = is_open;
	pthread_cond_broadcast(&gate_opened);
	pthread_mutex_unlock(&gate_lock);
	if (is_open)
		ck_assert(test_until(is_none_stuck, NULL));
}

static void read_well(int directory, const char *name)
{
	struct patience patience = PATIENCE;
	int error;
	char *text = errand_read(&patience, directory, name, &error);

	ck_assert_ptr_nonnull(text);
	ck_assert_str_eq(text, name);
	free(text);
}

static int read_stuck(int directory)
{
	struct patience patience = {.left_ns = 0};
	int error = 0;

	ck_assert_ptr_null(errand_read(&patience, directory, "stuck", &error));
	return error;
}

START_TEST(a_process_is_not_asked_again_while_its_errand_is_stuck)
{
	int stuck = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int again = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int other = open("/proc/1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(stuck, 0);
	ck_assert_int_ge(again, 0);
	ck_assert_int_ge(other, 0);
	ck_assert_int_eq(read_stuck(stuck), -ETIMEDOUT);
	unsigned before = call_count;
	ck_assert_int_eq(read_stuck(again), -ETIMEDOUT);
	ck_assert_int_eq(errand_open_path(&(struct patience){0}, stuck, "exe"), -ETIMEDOUT);
	ck_assert_uint_eq(call_count, before);
	read_well(other, "maps");
	set_gate(true);
	read_well(again, "stuck");
	close(stuck);
	close(again);
	close(other);
}
END_TEST

START_TEST(no_more_than_a_bounded_number_of_errands_is_stuck)
{
	char place[] = "/tmp/ctxring-errand-XXXXXX", path[PATH_MAX];
	int last = -1, error = 0;

	ck_assert_ptr_nonnull(mkdtemp(place));
	for (unsigned i = 0; i <= ERRANDS_STUCK_MAX; i++) {
		snprintf(path, sizeof(path), "%s/%u", place, i);
		ck_assert_int_eq(mkdir(path, 0700), 0);
		last = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ck_assert_int_ge(last, 0);
		error = read_stuck(last);
		ck_assert_int_eq(error, i < ERRANDS_STUCK_MAX ? -ETIMEDOUT : -EBUSY);
		close(last);
		/* The errand has a descriptor of its own. */
		ck_assert_int_eq(rmdir(path), 0);
	}
	ck_assert_int_eq(rmdir(place), 0);
	set_gate(true);
	last = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	read_well(last, "maps");
	close(last);
}
END_TEST

START_TEST(the_error_is_that_of_what_is_lacking)
{
	int process = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
	struct rlimit before, one = {.rlim_cur = 1};

	ck_assert_int_ge(process, 0);
	ck_assert_int_ge(fcntl(0, F_GETFD), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	one.rlim_max = before.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &one), 0);
	ck_assert_ptr_null(errand_read(&(struct patience){0}, process, "maps", &error));
	ck_assert_int_eq(error, -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	read_well(process, "maps");
	close(process);
}
END_TEST

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("errand");
	TCase *errands = test_case(suite, "errands");

	tcase_add_test(errands, a_process_is_not_asked_again_while_its_errand_is_stuck);
	tcase_add_test(errands, the_error_is_that_of_what_is_lacking);
	tcase_add_test(errands, no_more_than_a_bounded_number_of_errands_is_stuck);
	return suite;
}
