/* SPDX-License-Identifier: MIT */
#include "soak/verdict.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "soak/actor.h"

#define HANG_SECONDS 30

struct verdict_run verdict_run;
struct verdict_counts verdict_counts;

static void __attribute__((noreturn)) end(void)
{
	fprintf(stderr, "soak: the seed is %llu, this was round %llu\n", (unsigned long long)verdict_run.seed,
		(unsigned long long)verdict_run.round);
	if (verdict_run.stops)
		raise(SIGSTOP);
	abort();
}

void verdict_broken(const char *file, int line, const char *condition, const char *format, ...)
{
	const struct actor *actor = actor_self;
	va_list arguments;

	fprintf(stderr, "\nsoak: %s:%d: %s does not hold: ", file, line, condition);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (actor)
		fprintf(stderr, "\nsoak: in step %llu of %s %u: %s", (unsigned long long)actor->step,
			actor->role->name, actor->number, actor->doing ? actor->doing : "");
	fprintf(stderr, "\n");
	actors_print();
	end();
}

/* ---- the watchdog */

static void print_file(const char *directory, const char *name)
{
	char path[320], text[160] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[size > 0 ? size : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	fprintf(stderr, " %s", text);
}

/* Names of all threads, with the system calls in which they are. */
static void print_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");

	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		char directory[300];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(directory, sizeof(directory), "/proc/self/task/%s", entry->d_name);
		fprintf(stderr, "  thread %s", entry->d_name);
		print_file(directory, "comm");
		print_file(directory, "syscall");
		fprintf(stderr, "\n");
	}
	if (tasks)
		closedir(tasks);
}

static void *watch(void *unused)
{
	for (unsigned second = 0;; second++) {
		struct timespec pause = {.tv_sec = 1};
		nanosleep(&pause, NULL);
		if (!actors_hang(HANG_SECONDS))
			continue;
		fprintf(stderr, "\nsoak: a thread has done nothing for %d seconds\n", HANG_SECONDS);
		actors_print();
		print_threads();
		end();
	}
	return unused;
}

void watchdog_start(void)
{
	pthread_t thread;

	must(!pthread_create(&thread, NULL, watch, NULL), "no thread for the watchdog");
	pthread_detach(thread);
}
