/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctxring.h"
#include "table_format.h"

const char *opcode_text(unsigned opcode, char *buffer, size_t size)
{
	if (ctx_opcode_name(opcode))
		return ctx_opcode_name(opcode);
	snprintf(buffer, size, "OP_%u", opcode);
	return buffer;
}

const char *errno_text(int error, char *buffer, size_t size)
{
	const char *name = NULL;

	if (error >= -4095 && error <= 4095)
		name = strerrorname_np(error < 0 ? -error : error);
	if (name)
		return name;
	snprintf(buffer, size, "error %d", error);
	return buffer;
}

const char *context_kind_name(unsigned kind)
{
	switch (kind) {
	case CTX_TABLE_CANCEL:
		return "cancel";
	case CTX_TABLE_DEADLINE:
		return "deadline";
	case CTX_TABLE_MOVABLE:
		return "movable deadline";
	case CTX_TABLE_VALUE:
		return "value";
	case CTX_TABLE_DETACHED:
		return "detached";
	case CTX_TABLE_MERGED:
		return "merged";
	case CTX_TABLE_JOINED:
		return "joined";
	case CTX_TABLE_SOURCE:
		return "source";
	default:
		return "unknown";
	}
}

const char *state_name(uint32_t state)
{
	if (state & CTX_TABLE_LIVE)
		return "live";
	switch (state & CTX_TABLE_ERRNO) {
	case ECANCELED:
		return "cancelled";
	case ETIME:
		return "expired";
	default:
		return "done";
	}
}
