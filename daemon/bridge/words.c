/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

int words_copy(int pipe, const int scratch[2], struct wire_cause *ret_cause)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	ssize_t size = tee(pipe, scratch[1], sizeof(bytes), SPLICE_F_NONBLOCK);

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (size <= 0)
		return -ENODATA;
	size = read(scratch[0], bytes, sizeof(bytes));
	if (size <= 0)
		return -ENODATA;
	return wire_unpack_last_words(bytes, (size_t)size, ret_cause) ? -ENODATA : 0;
}

void words_write(int pipe, const struct wire_cause *cause)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	size_t size = wire_pack_last_words(cause, bytes);

	/* The pipe is empty, so these bytes always fit. */
	(void)!write(pipe, bytes, size);
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
