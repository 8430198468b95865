/* SPDX-License-Identifier: MIT */
/*
 * The incarnation of this host's bridge, kept over a crash: the lease of a life that ended without a word is
 * taken over at once, where without the file the host would look like another one with the same name until
 * that lease ends. The file has one line: "FLEET HOST INCARNATION".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

#define FILE_NAME "incarnation"
#define LINE_SIZE 256
#define PATH_SIZE 512

static int path_of(const char *directory, const char *name, char path[PATH_SIZE])
{
	int length = snprintf(path, PATH_SIZE, "%s/%s", directory, name);

	return length < 0 || length >= PATH_SIZE ? -ENAMETOOLONG : 0;
}

uint64_t state_load(const char *directory, const char *fleet, const char *host)
{
	char path[PATH_SIZE], line[LINE_SIZE], front[LINE_SIZE];
	uint64_t incarnation = 0;

	if (path_of(directory, FILE_NAME, path))
		return 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return 0;
	ssize_t size = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (size <= 0)
		return 0;
	line[size] = '\0';
	int length = snprintf(front, sizeof(front), "%s %s ", fleet, host);
	if (strncmp(line, front, (size_t)length) != 0)
		return 0;
	const char *end = wire_parse_hex(line + length, &incarnation);
	return end && *end == '\n' ? incarnation : 0;
}

int state_save(const char *directory, const char *fleet, const char *host, uint64_t incarnation)
{
	char path[PATH_SIZE], temporary[PATH_SIZE], line[LINE_SIZE];
	int length = snprintf(line, sizeof(line), "%s %s %" PRIx64 "\n", fleet, host, incarnation);
	int result = path_of(directory, FILE_NAME, path);

	if (result || (result = path_of(directory, FILE_NAME ".new", temporary)) != 0)
		return result;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	ssize_t size = write(fd, line, (size_t)length);
	if (size != length)
		result = size < 0 ? -errno : -ENOSPC;
	close(fd);
	if (!result && rename(temporary, path))
		result = -errno;
	if (result)
		unlink(temporary);
	return result;
}
