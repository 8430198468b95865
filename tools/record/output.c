/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often a name beside the file is chosen, when another file has it already. */
#define NAMES_MAX 100

/* Writes the name by which linkat(2) finds a file without one. */
static void write_link(int fd, char link[40])
{
	snprintf(link, 40, "/proc/self/fd/%d", fd);
}

/* Opens a file without a name in the directory of path. A descriptor; or -1, also where it could get no name.
 */
static int open_unnamed(const char *path)
{
	const char *slash = strrchr(path, '/');
	/* With its slash: where path ends with one, that is no file, and is noticed now. */
	char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("."), link[40];
	int fd = directory ? open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600) : -1;

	free(directory);
	if (fd < 0)
		return -1;
	write_link(fd, link);
	if (!access(link, F_OK))
		return fd;
	close(fd);
	return -1;
}

/* Opens a file with a name beside path. A descriptor or -errno. */
static int open_temporary(struct output *output)
{
	if (asprintf(&output->temporary, "%s.XXXXXX", output->path) < 0) {
		output->temporary = NULL;
		return -ENOMEM;
	}
	int fd = mkostemp(output->temporary, O_CLOEXEC);
	if (fd >= 0)
		return fd;
	int error = errno;
	free(output->temporary);
	output->temporary = NULL;
	return -error;
}

/* Opens what takes the place of path. A descriptor or -errno. */
static int open_replacement(struct output *output, const struct stat *existing)
{
	mode_t mask = umask(0);
	int fd = open_unnamed(output->path);

	umask(mask);
	output->unnamed = fd >= 0;
	if (fd < 0)
		fd = open_temporary(output);
	if (fd >= 0)
		fchmod(fd, existing ? existing->st_mode & 0777 : 0666 & ~mask);
	return fd;
}

int output_open(const char *path, struct output *ret_output)
{
	struct stat status;
	int fd;

	*ret_output = (struct output){.path = path, .to = stdout};
	if (strcmp(path, "-") == 0)
		return 0;
	if (!path[0])
		return -ENOENT;
	/* A link is replaced: it may lead to a file of somebody else. */
	bool exists = lstat(path, &status) == 0;
	if (exists && S_ISDIR(status.st_mode))
		return -EISDIR;
	if (exists && !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) {
		fd = open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	} else {
		fd = open_replacement(ret_output, exists && S_ISREG(status.st_mode) ? &status : NULL);
	}
	ret_output->to = fd < 0 ? NULL : fdopen(fd, "w");
	if (!ret_output->to && fd >= 0)
		close(fd);
	return fd < 0 ? fd : ret_output->to ? 0 : -ENOMEM;
}

/* Gives a file without a name a short one beside path, whose own may have the greatest length. 0 or -errno.
 */
static int name_temporary(struct output *output, const char *link)
{
	const char *slash = strrchr(output->path, '/');
	int directory = slash ? (int)(slash - output->path) + 1 : 0;

	for (int i = 0; i < NAMES_MAX; i++) {
		uint32_t number = 0;
		char *name;

		getrandom(&number, sizeof(number), 0);
		if (asprintf(&name, "%.*s.ctxtool-%08" PRIx32, directory, output->path, number) < 0)
			return -ENOMEM;
		if (!linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW)) {
			output->temporary = name;
			return 0;
		}
		int error = errno;
		free(name);
		if (error != EEXIST)
			return -error;
	}
	return -EEXIST;
}

int output_finish(struct output *output)
{
	char link[40];
	int result = 0;

	errno = 0;
	if (fflush(output->to) || ferror(output->to))
		return errno ? -errno : -EIO;
	if (output->unnamed) {
		write_link(fileno(output->to), link);
		if (!linkat(AT_FDCWD, link, AT_FDCWD, output->path, AT_SYMLINK_FOLLOW))
			return 0;
		/* No call gives it a name that another file has: it gets one beside that first. */
		result = errno == EEXIST ? name_temporary(output, link) : -errno;
	}
	if (result || !output->temporary)
		return result;
	if (rename(output->temporary, output->path))
		return -errno;
	free(output->temporary);
	output->temporary = NULL;
	return 0;
}

void output_close(struct output *output)
{
	if (output->to && output->to != stdout)
		fclose(output->to);
	if (output->temporary)
		unlink(output->temporary);
	free(output->temporary);
	*output = (struct output){0};
}
