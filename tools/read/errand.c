/* SPDX-License-Identifier: MIT */
#include "errand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "monotonic.h"
#include "proc_file.h"

/* How long an errand is waited for after another one of the survey has not come back. */
#define MOMENT_NS 5000000u
/* A stuck thread keeps its stack, so it gets a small one. Where a machine needs more the default remains. */
#define STACK_SIZE 131072u

/*
 * One call on a thread of its own. The caller frees the errand; or the thread does, when the caller has
 * stopped waiting.
 */
struct errand {
	pthread_cond_t back;
	bool is_back;
	struct errand *next_stuck;
	ino_t process; /* inode of directory: the same for every open of /proc/PID while one is open */
	/* Nobody waits for it any more. Written under the lock; proc_file_read() reads it without. */
	_Atomic bool stop;
	int directory; /* a duplicate that the errand owns */
	char name[64];
	bool open_only;
	int result; /* a descriptor, or 0, or -errno */
	char *text;
};

/* Guards is_back of all errands and the list of those that are stuck. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct errand *stuck_errands;
static unsigned stuck_count;

static void errand_free(struct errand *errand)
{
	if (errand->result >= 0 && errand->open_only)
		close(errand->result);
	close(errand->directory);
	free(errand->text);
	pthread_cond_destroy(&errand->back);
	free(errand);
}

static void add_stuck(struct errand *errand)
{
	errand->next_stuck = stuck_errands;
	stuck_errands = errand;
	stuck_count++;
}

static void remove_stuck(struct errand *errand)
{
	struct errand **link = &stuck_errands;

	while (*link != errand)
		link = &(*link)->next_stuck;
	*link = errand->next_stuck;
	stuck_count--;
}

/* Whether a new errand may be sent to that process: 0, -ETIMEDOUT or -EBUSY. */
static int check_stuck(ino_t process)
{
	int result = 0;

	pthread_mutex_lock(&lock);
	for (const struct errand *errand = stuck_errands; errand && !result; errand = errand->next_stuck)
		if (errand->process == process)
			result = -ETIMEDOUT;
	if (!result && stuck_count >= ERRANDS_STUCK_MAX)
		result = -EBUSY;
	pthread_mutex_unlock(&lock);
	return result;
}

static void *errand_run(void *data)
{
	struct errand *errand = data;

	if (errand->open_only) {
		int fd = openat(errand->directory, errand->name, O_PATH | O_CLOEXEC);
		errand->result = fd < 0 ? -errno : fd;
	} else {
		errand->result =
			proc_file_read(errand->directory, errand->name, &errand->stop, &errand->text);
	}
	pthread_mutex_lock(&lock);
	bool was_stuck = atomic_load_explicit(&errand->stop, memory_order_relaxed);
	errand->is_back = true;
	if (was_stuck)
		remove_stuck(errand);
	else
		pthread_cond_signal(&errand->back);
	pthread_mutex_unlock(&lock);
	if (was_stuck)
		errand_free(errand);
	return NULL;
}

/* NULL: errno says why. */
static struct errand *errand_new(int directory, ino_t process, const char *name, bool open_only)
{
	struct errand *errand = calloc(1, sizeof(*errand));

	if (!errand)
		return NULL;
	errand->directory = fcntl(directory, F_DUPFD_CLOEXEC, 0);
	if (errand->directory < 0) {
		int error = errno;
		free(errand);
		errno = error;
		return NULL;
	}
	pthread_cond_init(&errand->back, NULL);
	snprintf(errand->name, sizeof(errand->name), "%s", name);
	errand->process = process;
	errand->open_only = open_only;
	errand->result = -EAGAIN;
	return errand;
}

/* Returns whether the errand has come back. If not, its thread frees it from now on. */
static bool errand_wait(struct errand *errand, struct patience *patience)
{
	uint64_t begun_ns = monotonic_ns();
	uint64_t end_ns = begun_ns + (patience->left_ns > MOMENT_NS ? patience->left_ns : MOMENT_NS);
	struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000u),
			       .tv_nsec = (long)(end_ns % 1000000000u)};
	int result = 0;

	pthread_mutex_lock(&lock);
	while (!errand->is_back && result != ETIMEDOUT)
		result = pthread_cond_clockwait(&errand->back, &lock, CLOCK_MONOTONIC, &end);
	bool is_back = errand->is_back;
	if (!is_back) {
		atomic_store_explicit(&errand->stop, true, memory_order_relaxed);
		add_stuck(errand);
	}
	pthread_mutex_unlock(&lock);
	if (!is_back)
		patience->left_ns = 0;
	return is_back;
}

static int start_thread(struct errand *errand)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int error = pthread_create(&thread, &attributes, errand_run, errand);
	pthread_attr_destroy(&attributes);
	return -error;
}

/* Returns the errand when it has come back, which the caller frees; NULL: ret_error has -errno. */
static struct errand *send_errand(struct patience *patience, int directory, const char *name, bool open_only,
				  int *ret_error)
{
	struct stat status;

	*ret_error = fstat(directory, &status) ? -errno : check_stuck(status.st_ino);
	if (*ret_error)
		return NULL;
	struct errand *errand = errand_new(directory, status.st_ino, name, open_only);
	if (!errand) {
		*ret_error = -errno;
		return NULL;
	}
	*ret_error = start_thread(errand);
	if (*ret_error) {
		errand_free(errand);
		return NULL;
	}
	*ret_error = -ETIMEDOUT;
	return errand_wait(errand, patience) ? errand : NULL;
}

char *errand_read(struct patience *patience, int directory, const char *name, int *ret_error)
{
	struct errand *errand = send_errand(patience, directory, name, false, ret_error);
	char *text;

	if (!errand)
		return NULL;
	*ret_error = errand->result;
	text = errand->text;
	errand->text = NULL;
	errand_free(errand);
	return text;
}

int errand_open_path(struct patience *patience, int directory, const char *name)
{
	int error;
	struct errand *errand = send_errand(patience, directory, name, true, &error);

	if (!errand)
		return error;
	int result = errand->result;
	errand->result = -1;
	errand_free(errand);
	return result;
}
