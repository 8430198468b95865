/* SPDX-License-Identifier: MIT */
#include "proc_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static int read_text(int fd, const _Atomic bool *stop, char **text)
{
	size_t room = 16384, length = 0;
	ssize_t got;

	*text = malloc(room);
	if (!*text)
		return -ENOMEM;
	while ((got = read(fd, *text + length, room - length - 1)) > 0) {
		length += (size_t)got;
		if (stop && atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
		if (room - length > 4096)
			continue;
		char *larger = realloc(*text, room * 2);
		if (!larger)
			return -ENOMEM;
		*text = larger;
		room *= 2;
	}
	(*text)[length] = '\0';
	return got < 0 ? -errno : 0;
}

int proc_file_read(int directory, const char *name, const _Atomic bool *stop, char **ret_text)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	char *text = NULL;

	if (fd < 0)
		return -errno;
	int result = read_text(fd, stop, &text);
	close(fd);
	if (result)
		free(text);
	else
		*ret_text = text;
	return result;
}
