/* SPDX-License-Identifier: MIT */
/*
 * Loaded into a program by LD_PRELOAD: when the program exits it prints how many sockets are still open.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

__attribute__((destructor)) static void count_sockets(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned sockets = 0;

	while (directory && (entry = readdir(directory))) {
		char target[16] = "";

		if (readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1) > 0 &&
		    !strncmp(target, "socket:", strlen("socket:")))
			sockets++;
	}
	if (directory)
		closedir(directory);
	fprintf(stderr, "sockets: %u\n", sockets);
}
