/* SPDX-License-Identifier: MIT */
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int record_file_open(struct record_file *file, uint64_t size_max)
{
	*file = (struct record_file){.fd = -1,
				     .buffered = WIRE_RECORDS_HEADER,
				     .size = WIRE_RECORDS_HEADER,
				     .size_max = size_max < WIRE_RECORDS_MAX ? size_max : WIRE_RECORDS_MAX};
	file->buffer = malloc(RECORD_FILE_BUFFER);
	if (!file->buffer)
		return -ENOMEM;
	/* The header is written at the end, over these bytes. */
	memset(file->buffer, 0, WIRE_RECORDS_HEADER);
	file->fd = memfd_create("ctxring-fleet", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (file->fd < 0) {
		int error = -errno;
		record_file_close(file);
		return error;
	}
	return 0;
}

static void write_buffer(struct record_file *file)
{
	size_t at = 0;

	while (at < file->buffered && !file->error) {
		ssize_t written = write(file->fd, file->buffer + at, file->buffered - at);
		if (written > 0)
			at += (size_t)written;
		else if (errno != EINTR)
			file->error = written < 0 ? -errno : -EIO;
	}
	file->buffered = 0;
}

int record_file_add(struct record_file *file, const struct wire_record *record)
{
	if (file->error)
		return file->error;
	if (RECORD_FILE_BUFFER - file->buffered < WIRE_RECORD_MAX)
		write_buffer(file);
	size_t size = wire_record_pack(record, file->buffer + file->buffered);
	if (!size)
		return -EINVAL;
	/* Entries leave room for what is said of the hosts behind them. */
	uint64_t kept_free = record->kind == WIRE_RECORD_ENTRY ? file->size_max / 8 : 0;
	if (file->size + size + kept_free > file->size_max)
		return -EFBIG;
	file->buffered += size;
	file->size += size;
	file->count++;
	return file->error;
}

int record_file_seal(struct record_file *file)
{
	uint8_t header[WIRE_RECORDS_HEADER];
	int fd = file->fd;

	write_buffer(file);
	wire_records_header(file->count, file->size, header);
	if (!file->error && pwrite(fd, header, sizeof(header), 0) != sizeof(header))
		file->error = -EIO;
	if (!file->error && fcntl(fd, F_ADD_SEALS, WIRE_RECORDS_SEALS))
		file->error = -errno;
	if (!file->error)
		file->fd = -1;
	int error = file->error;
	record_file_close(file);
	return error ? error : fd;
}

void record_file_close(struct record_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->buffer);
	*file = (struct record_file){.fd = -1, .error = -EBADF};
}
