/* SPDX-License-Identifier: MIT */
#include "password.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads until the room, the end of the file, or an error. */
static ssize_t read_all(int fd, char *bytes, size_t room)
{
	size_t size = 0;

	while (size < room) {
		ssize_t count = read(fd, bytes + size, room - size);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			break;
		size += (size_t)count;
	}
	return (ssize_t)size;
}

int password_read(const char *path, char password[PASSWORD_MAX + 1], bool *ret_is_open)
{
	/* O_NONBLOCK: a FIFO without a writer does not keep us. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;
	ssize_t size;
	char *end;

	if (fd < 0)
		return -errno;
	size = fstat(fd, &status) ? -errno : read_all(fd, password, PASSWORD_MAX + 1);
	close(fd);
	if (size < 0)
		return (int)size;
	end = memchr(password, '\n', (size_t)size);
	if (!end && size > PASSWORD_MAX)
		return -EFBIG;
	if (!end)
		end = password + size;
	if (end > password && end[-1] == '\r')
		end--;
	*end = '\0';
	*ret_is_open = status.st_mode & S_IROTH;
	return 0;
}
