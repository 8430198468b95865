/* SPDX-License-Identifier: MIT */
/* The answer to a question: records in a memfd, which grows while they come, and is sealed at the end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "parts.h"

#define BUFFER_SIZE (32 * 1024u)

int answer_begin(struct answer *answer)
{
	*answer = (struct answer){.fd = memfd_create("ctxd-fleet", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
	if (answer->fd < 0)
		return -errno;
	answer->size = WIRE_RECORDS_HEADER;
	answer->buffer = malloc(BUFFER_SIZE);
	if (answer->buffer)
		return 0;
	answer_free(answer);
	return -ENOMEM;
}

static void write_at(struct answer *answer, const uint8_t *bytes, size_t size, uint64_t offset)
{
	if (answer->error)
		return;
	ssize_t written = pwrite(answer->fd, bytes, size, (off_t)offset);
	if (written != (ssize_t)size)
		answer->error = written < 0 ? -errno : -ENOSPC;
}

static void write_buffer(struct answer *answer)
{
	write_at(answer, answer->buffer, answer->buffered, answer->size - answer->buffered);
	answer->buffered = 0;
}

void answer_add(struct answer *answer, const struct wire_record *record)
{
	uint8_t bytes[WIRE_RECORD_MAX];
	size_t size = wire_record_pack(record, bytes);

	if (!size || answer->error)
		return;
	if (answer->size + size > WIRE_RECORDS_MAX) {
		answer->error = -EFBIG;
		return;
	}
	if (answer->buffered + size > BUFFER_SIZE)
		write_buffer(answer);
	memcpy(answer->buffer + answer->buffered, bytes, size);
	answer->buffered += size;
	answer->size += size;
	answer->count++;
}

int answer_end(struct answer *answer)
{
	uint8_t header[WIRE_RECORDS_HEADER];

	write_buffer(answer);
	wire_records_header(answer->count, answer->size, header);
	write_at(answer, header, sizeof(header), 0);
	if (!answer->error && fcntl(answer->fd, F_ADD_SEALS, WIRE_RECORDS_SEALS))
		answer->error = -errno;
	if (answer->error)
		return answer->error;
	int fd = answer->fd;
	answer->fd = -1;
	return fd;
}

void answer_free(struct answer *answer)
{
	if (answer->fd >= 0)
		close(answer->fd);
	answer->fd = -1;
	free(answer->buffer);
	answer->buffer = NULL;
}
