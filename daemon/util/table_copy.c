/* SPDX-License-Identifier: MIT */
#include "table_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "table_format.h"

#define PART_SIZE (64 * 1024)

/* 0, or -errno. *left is how many bytes may still be copied. */
static int copy_range(int from, int to, off_t at, off_t end, uint64_t *left)
{
	static char part[PART_SIZE];

	while (at < end) {
		size_t wanted = end - at < PART_SIZE ? (size_t)(end - at) : PART_SIZE;
		if (wanted > *left)
			return -EFBIG;
		ssize_t size = pread(from, part, wanted, at);
		if (size <= 0)
			return size ? -errno : -EIO;
		for (ssize_t done = 0; done < size;) {
			ssize_t written = pwrite(to, part + done, (size_t)(size - done), at + done);
			if (written <= 0)
				return written ? -errno : -EIO;
			done += written;
		}
		at += size;
		*left -= (uint64_t)size;
	}
	return 0;
}

static int copy_all(int from, int to, off_t size, uint64_t bytes_max)
{
	int error = 0;

	for (off_t at = 0; !error && at < size;) {
		at = lseek(from, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : -errno; /* The rest of the file is a hole. */
		off_t end = lseek(from, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		error = copy_range(from, to, at, end, &bytes_max);
		at = end;
	}
	return error;
}

int table_copy(int fd, uint64_t bytes_max)
{
	struct stat status;

	if (fstat(fd, &status))
		return -errno;
	int copy = memfd_create(CTX_TABLE_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0)
		return -errno;
	int error = ftruncate(copy, status.st_size) ? -errno : copy_all(fd, copy, status.st_size, bytes_max);
	if (!error && fcntl(copy, F_ADD_SEALS, TABLE_SEALS))
		error = -errno;
	if (error) {
		close(copy);
		return error;
	}
	return copy;
}
