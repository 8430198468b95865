/* SPDX-License-Identifier: MIT */
/* Looking at the threads of this process from outside. */
#ifndef TEST_THREADS_H
#define TEST_THREADS_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

/* Threads of this name, "ctx-task" for those of the pool. */
static inline unsigned count_threads(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	while (tasks && (entry = readdir(tasks))) {
		char path[300], comm[32] = "";
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		FILE *file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file))
			comm[strcspn(comm, "\n")] = '\0';
		fclose(file);
		count += !strcmp(comm, name);
	}
	if (tasks)
		closedir(tasks);
	return count;
}

#endif
