/* SPDX-License-Identifier: MIT */
/*
 * Whether the clock of a client is ours. Times in messages are points on CLOCK_MONOTONIC, which is ahead or
 * behind in a time namespace with an offset. A client with such a clock is refused.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

/*
 * Reads the line of timens_offsets with the offset of CLOCK_MONOTONIC. It is that of the time namespace in
 * which the next children of the process will be. False: it cannot be read.
 */
static bool read_offset(const char *process, char *line, size_t size)
{
	char path[64], text[256];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/timens_offsets", process);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = '\0';
	const char *found = strstr(text, "monotonic");
	if (!found)
		return false;
	snprintf(line, size, "%.*s", (int)strcspn(found, "\n"), found);
	return true;
}

/* Whether the process itself is in our time namespace. False also if we may not ask. */
static bool is_with_us(const char *process)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/time", process);
	return !stat("/proc/self/ns/time", &ours) && !stat(path, &theirs) && ours.st_dev == theirs.st_dev &&
	       ours.st_ino == theirs.st_ino;
}

bool has_our_clock(const struct peer *peer)
{
	char number[16], ours[80], theirs[80];

	snprintf(number, sizeof(number), "%d", peer->identity.pid);
	if (peer->identity.pid <= 0 || !read_offset("self", ours, sizeof(ours)) ||
	    !read_offset(number, theirs, sizeof(theirs)))
		return true;
	return strcmp(ours, theirs) == 0 || is_with_us(number);
}
