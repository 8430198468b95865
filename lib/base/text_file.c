/* SPDX-License-Identifier: MIT */
#include "text_file.h"

#include <string.h>

#include "memory.h"
#include "sys.h"

#define FIRST 4096u

/* Reads until text is full or the file ends. Returns the number of bytes, or -errno. */
static int read_some(int fd, char *text, size_t size)
{
	size_t length = 0;

	while (length < size) {
		int result = sys_read(fd, text + length, size - length);
		if (result == -EINTR)
			continue;
		if (result < 0)
			return result;
		if (!result)
			break;
		length += (size_t)result;
	}
	return (int)length;
}

int text_file_read(const char *path, char *text, size_t size)
{
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fd;
	int length = read_some(fd, text, size - 1);
	sys_close(fd);
	text[length > 0 ? length : 0] = '\0';
	return length;
}

/* Moves text, of which length bytes are used, to twice the memory. NULL: no memory, and text is released. */
static char *grow_text(char *text, size_t length, size_t *size)
{
	char *larger = memory_allocate(*size * 2);

	if (larger) {
		memcpy(larger, text, length);
		*size *= 2;
	}
	memory_release(text);
	return larger;
}

int text_file_load(const char *path, char **ret_text)
{
	size_t size = FIRST, length = 0;
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC), result = 0;
	char *text = fd < 0 ? NULL : memory_allocate(size);

	if (fd < 0)
		return fd;
	while (text && (result = read_some(fd, text + length, size - 1 - length)) > 0) {
		length += (size_t)result;
		if (length == size - 1)
			text = grow_text(text, length, &size);
	}
	sys_close(fd);
	if (!text)
		return -ENOMEM;
	if (result < 0) {
		memory_release(text);
		return result;
	}
	text[length] = '\0';
	*ret_text = text;
	return 0;
}
