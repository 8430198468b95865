/* SPDX-License-Identifier: MIT */
#include "errand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proc_file.h"

#define MOMENT_NS 5000000u

/* Of the thread and of who waits for it: the one that is done with it second frees it. */
struct errand {
	pthread_mutex_t lock;
	pthread_cond_t back;
	bool is_back;
	_Atomic bool abandoned;
	int directory; /* its own */
	char name[64];
	bool open_only;
	int result; /* a descriptor, or -errno */
	char *text;
};

static void errand_free(struct errand *errand)
{
	if (errand->result >= 0 && errand->open_only)
		close(errand->result);
	close(errand->directory);
	free(errand->text);
	pthread_cond_destroy(&errand->back);
	pthread_mutex_destroy(&errand->lock);
	free(errand);
}

static void *go(void *data)
{
	struct errand *errand = data;

	if (errand->open_only) {
		int fd = openat(errand->directory, errand->name, O_PATH | O_CLOEXEC);
		errand->result = fd < 0 ? -errno : fd;
	} else {
		errand->result =
			proc_file_read(errand->directory, errand->name, &errand->abandoned, &errand->text);
	}
	pthread_mutex_lock(&errand->lock);
	errand->is_back = true;
	bool abandoned = atomic_load(&errand->abandoned);
	pthread_cond_signal(&errand->back);
	pthread_mutex_unlock(&errand->lock);
	if (abandoned)
		errand_free(errand);
	return NULL;
}

static struct errand *errand_new(int directory, const char *name, bool open_only)
{
	struct errand *errand = calloc(1, sizeof(*errand));

	if (!errand)
		return NULL;
	errand->directory = fcntl(directory, F_DUPFD_CLOEXEC, 0);
	if (errand->directory < 0) {
		free(errand);
		return NULL;
	}
	pthread_mutex_init(&errand->lock, NULL);
	pthread_cond_init(&errand->back, NULL);
	snprintf(errand->name, sizeof(errand->name), "%s", name);
	errand->open_only = open_only;
	errand->result = -EAGAIN;
	return errand;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* False: it is left to its thread. */
static bool await(struct errand *errand, struct patience *patience)
{
	uint64_t begun_ns = now_ns();
	uint64_t end_ns = begun_ns + (patience->left_ns > MOMENT_NS ? patience->left_ns : MOMENT_NS);
	struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000u),
			       .tv_nsec = (long)(end_ns % 1000000000u)};
	int result = 0;

	pthread_mutex_lock(&errand->lock);
	while (!errand->is_back && result != ETIMEDOUT)
		result = pthread_cond_clockwait(&errand->back, &errand->lock, CLOCK_MONOTONIC, &end);
	bool is_back = errand->is_back;
	atomic_store(&errand->abandoned, !is_back);
	pthread_mutex_unlock(&errand->lock);
	if (!is_back)
		patience->left_ns = 0;
	return is_back;
}

/* The errand when it is done, which the caller frees; NULL: -errno is in ret_error. */
static struct errand *send(struct patience *patience, int directory, const char *name, bool open_only,
			   int *ret_error)
{
	struct errand *errand = errand_new(directory, name, open_only);
	pthread_attr_t attributes;
	pthread_t thread;

	*ret_error = -ENOMEM;
	if (!errand)
		return NULL;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int error = pthread_create(&thread, &attributes, go, errand);
	pthread_attr_destroy(&attributes);
	if (error) {
		errand_free(errand);
		*ret_error = -error;
		return NULL;
	}
	*ret_error = -ETIMEDOUT;
	return await(errand, patience) ? errand : NULL;
}

char *errand_read(struct patience *patience, int directory, const char *name, int *ret_error)
{
	struct errand *errand = send(patience, directory, name, false, ret_error);
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
	struct errand *errand = send(patience, directory, name, true, &error);

	if (!errand)
		return error;
	int result = errand->result;
	errand->result = -1;
	errand_free(errand);
	return result;
}
