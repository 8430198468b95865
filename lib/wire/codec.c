/* SPDX-License-Identifier: MIT */
#include "codec.h"

#include <string.h>

static uint64_t code_number(struct codec *codec, unsigned bytes, uint64_t value)
{
	if (codec->size - codec->at < bytes) {
		codec->broken = true;
		return 0;
	}
	uint64_t read = 0;
	for (unsigned i = 0; i < bytes; i++) {
		if (codec->out)
			codec->out[codec->at + i] = (uint8_t)(value >> 8 * i);
		else
			read |= (uint64_t)codec->in[codec->at + i] << 8 * i;
	}
	codec->at += bytes;
	return codec->out ? value : read;
}

void code_u16(struct codec *codec, uint16_t *value)
{
	*value = (uint16_t)code_number(codec, 2, *value);
}

void code_u32(struct codec *codec, uint32_t *value)
{
	*value = (uint32_t)code_number(codec, 4, *value);
}

void code_i32(struct codec *codec, int32_t *value)
{
	*value = (int32_t)(uint32_t)code_number(codec, 4, (uint32_t)*value);
}

void code_u64(struct codec *codec, uint64_t *value)
{
	*value = code_number(codec, 8, *value);
}

void code_text(struct codec *codec, char *value, size_t size)
{
	if (codec->size - codec->at < size) {
		codec->broken = true;
		return;
	}
	if (codec->out)
		memcpy(codec->out + codec->at, value, size);
	else
		memcpy(value, codec->in + codec->at, size);
	codec->at += size;
	size_t length = strnlen(value, size);
	codec->broken |= length == size;
	for (size_t i = length; i < size; i++)
		codec->broken |= value[i] != '\0';
}

void code_string(struct codec *codec, char *value, size_t size)
{
	uint16_t length = codec->out ? (uint16_t)strnlen(value, size) : 0;

	code_u16(codec, &length);
	if (length >= size || codec->size - codec->at < length) {
		codec->broken = true;
		return;
	}
	if (codec->out) {
		memcpy(codec->out + codec->at, value, length);
	} else {
		memset(value, 0, size);
		memcpy(value, codec->in + codec->at, length);
		require_that(codec, strlen(value) == length);
	}
	codec->at += length;
}

void code_reserved(struct codec *codec)
{
	uint32_t zero = 0;

	code_u32(codec, &zero);
	require_that(codec, zero == 0);
}

void code_flags(struct codec *codec, uint32_t *value, uint32_t known)
{
	code_u32(codec, value);
	require_that(codec, !(*value & ~known));
}

void code_pid(struct codec *codec, int32_t *value)
{
	code_i32(codec, value);
	require_that(codec, *value >= 0);
}

void code_error(struct codec *codec, int32_t *value, bool may_be_0)
{
	code_i32(codec, value);
	require_that(codec, *value >= -WIRE_ERRNO_MAX && *value <= 0 && (may_be_0 || *value));
}

bool is_host(const char *name)
{
	return wire_host_is_valid(name, strlen(name));
}

void code_id(struct codec *codec, struct ctxd_id *value, bool may_be_none)
{
	code_u64(codec, &value->epoch);
	code_u64(codec, &value->number);
	require_that(codec, wire_id_is_none(*value) ? may_be_none : value->epoch && value->number);
}

void code_report(struct codec *codec, struct ctxd_report *value)
{
	unsigned *counts[] = {&value->asked,	  &value->ended,     &value->silent,   &value->batches,
			      &value->operations, &value->unsent,    &value->timed,    &value->sqes,
			      &value->enters,	  &value->cancelled, &value->finished, &value->held};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		code_u32(codec, counts[i]);
	code_u64(codec, &value->submit_ns);
	code_u64(codec, &value->reap_ns);
}
