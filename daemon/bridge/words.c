/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

/* The number of bytes, or what words_copy() returns. */
static ssize_t copy_bytes(int pipe, const int scratch[2])
{
	ssize_t size;

	/* The pipe is watched for changes only, so what a signal interrupts would not be tried again. */
	do
		size = tee(pipe, scratch[1], WIRE_LAST_WORDS_MAX, SPLICE_F_NONBLOCK);
	while (size < 0 && errno == EINTR);
	if (size > 0)
		return size;
	return size < 0 && errno == EAGAIN ? -EAGAIN : -ENODATA;
}

/*
 * Reads what was copied. One read does not return more than one packet of a pipe that its owner has opened
 * with O_DIRECT, and what was left would be taken for the words of another context. False: the read failed,
 * and nothing is left either.
 */
static bool read_copied(const int scratch[2], uint8_t *bytes, ssize_t size)
{
	uint8_t rest[WIRE_LAST_WORDS_MAX];

	while (size > 0) {
		ssize_t count = read(scratch[0], bytes, (size_t)size);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		bytes += count;
		size -= count;
	}
	if (!size)
		return true;
	while (read(scratch[0], rest, sizeof(rest)) > 0)
		;
	return false;
}

int words_copy(int pipe, const int scratch[2], struct wire_cause *ret_cause)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	ssize_t size = copy_bytes(pipe, scratch);

	if (size < 0)
		return (int)size;
	if (!read_copied(scratch, bytes, size))
		return -ENODATA;
	return wire_unpack_last_words(bytes, (size_t)size, ret_cause) ? -ENODATA : 0;
}

void words_copy_many(const int *pipes, unsigned count, const int scratch[2], struct wire_cause *causes,
		     int *results)
{
	uint8_t bytes[WORDS_MANY_MAX * WIRE_LAST_WORDS_MAX];
	ssize_t sizes[WORDS_MANY_MAX], all = 0;

	for (unsigned i = 0; i < count; i++) {
		sizes[i] = copy_bytes(pipes[i], scratch);
		all += sizes[i] > 0 ? sizes[i] : 0;
	}
	bool is_read = read_copied(scratch, bytes, all);
	all = 0;
	for (unsigned i = 0; i < count; i++) {
		if (sizes[i] == -ENODATA) {
			results[i] = -ENODATA;
			continue;
		}
		if (sizes[i] < 0 || !is_read) {
			/* The scratch pipe was full, or could not be read. It is empty by now. */
			results[i] = words_copy(pipes[i], scratch, &causes[i]);
			continue;
		}
		results[i] = wire_unpack_last_words(bytes + all, (size_t)sizes[i], &causes[i]) ? -ENODATA : 0;
		all += sizes[i];
	}
}

bool words_write(int pipe, const struct wire_cause *cause)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	size_t size = wire_pack_last_words(cause, bytes);

	return write(pipe, bytes, size) == (ssize_t)size;
}

void words_cause(struct wire_cause *ret_cause, enum ctx_cause_kind kind, uint64_t now_ns, const char *host,
		 const char *format, ...)
{
	va_list arguments;

	*ret_cause = (struct wire_cause){
		.error = kind == CTX_CAUSE_DEADLINE ? -ETIME : -ECANCELED,
		.kind = kind,
		.expired = kind == CTX_CAUSE_DEADLINE,
		.time_ns = now_ns,
	};
	va_start(arguments, format);
	vsnprintf(ret_cause->text, sizeof(ret_cause->text), format, arguments);
	va_end(arguments);
	/* What follows the NUL is 0 in a message. */
	size_t length = strlen(ret_cause->text);
	memset(ret_cause->text + length, 0, sizeof(ret_cause->text) - length);
	memcpy(ret_cause->host, host, strnlen(host, sizeof(ret_cause->host) - 1));
}
