/* SPDX-License-Identifier: MIT */
/*
 * As in lib/wire, one function for each structure goes through its fields in the order in which they lie in
 * the bytes, and both writes and reads. A field that is wrong sets `broken`; the functions then go on without
 * harm, and the caller looks at `broken` at the end.
 */
#include "fleet_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x46585443u /* "CTXF" */
#define MESSAGE_HEADER 4u

struct codec {
	bool writes;	   /* else it reads */
	uint8_t *out;	   /* where to write */
	const uint8_t *in; /* where to read from */
	size_t at, size;
	bool broken;
};

/* ---- numbers and texts */

static uint64_t code_number(struct codec *codec, unsigned bytes, uint64_t value)
{
	if (codec->size - codec->at < bytes) {
		codec->broken = true;
		return 0;
	}
	uint64_t read = 0;
	for (unsigned i = 0; i < bytes; i++) {
		if (codec->writes)
			codec->out[codec->at + i] = (uint8_t)(value >> 8 * i);
		else
			read |= (uint64_t)codec->in[codec->at + i] << 8 * i;
	}
	codec->at += bytes;
	return codec->writes ? value : read;
}

static void code_u16(struct codec *codec, uint16_t *value)
{
	*value = (uint16_t)code_number(codec, 2, *value);
}

static void code_u32(struct codec *codec, uint32_t *value)
{
	*value = (uint32_t)code_number(codec, 4, *value);
}

static void code_i32(struct codec *codec, int32_t *value)
{
	*value = (int32_t)(uint32_t)code_number(codec, 4, (uint32_t)*value);
}

static void code_u64(struct codec *codec, uint64_t *value)
{
	*value = code_number(codec, 8, *value);
}

static void require_that(struct codec *codec, bool condition)
{
	codec->broken |= !condition;
}

/* A byte that says how long the text is, and its bytes, of which none is NUL. value has room for size. */
static void code_text(struct codec *codec, char *value, size_t size)
{
	size_t length = (size_t)code_number(codec, 1, codec->writes ? strnlen(value, size) : 0);

	if (length >= size || codec->size - codec->at < length) {
		codec->broken = true;
		return;
	}
	if (codec->writes) {
		memcpy(codec->out + codec->at, value, length);
	} else {
		memset(value, 0, size);
		memcpy(value, codec->in + codec->at, length);
		require_that(codec, strlen(value) == length);
	}
	codec->at += length;
}

/* ---- structures */

static void code_key(struct codec *codec, struct fleet_key *value)
{
	code_u64(codec, &value->id.epoch);
	code_u64(codec, &value->id.number);
	code_u64(codec, &value->secret);
	require_that(codec, value->id.epoch && value->id.number && value->secret);
}

static void code_cause(struct codec *codec, struct wire_cause *value)
{
	code_i32(codec, &value->error);
	code_u32(codec, &value->kind);
	code_i32(codec, &value->code);
	code_u32(codec, &value->expired);
	code_i32(codec, &value->pid);
	code_i32(codec, &value->tid);
	code_u32(codec, &value->uid);
	code_u64(codec, &value->ctx_id);
	code_u64(codec, &value->time_ns);
	code_text(codec, value->text, sizeof(value->text));
	code_text(codec, value->host, sizeof(value->host));
	require_that(codec, !value->host[0] || fleet_host_is_valid(value->host, strlen(value->host)));
	require_that(codec, value->error < 0 && value->error >= -WIRE_ERRNO_MAX);
	require_that(codec, value->kind > CTX_CAUSE_NONE && value->kind <= CTX_CAUSE_UNREACHABLE);
	require_that(codec, value->expired <= 1 && value->pid >= 0 && value->tid >= 0);
}

static void code_state(struct codec *codec, struct fleet_state *value)
{
	code_key(codec, &value->key);
	code_u32(codec, &value->nonce);
	code_u32(codec, &value->kind);
	require_that(codec, value->kind >= FLEET_LIVE && value->kind <= FLEET_UNKNOWN);
	if (value->kind == FLEET_LIVE) {
		code_u32(codec, &value->movable);
		code_u64(codec, &value->version);
		code_u64(codec, &value->left_ns);
		code_text(codec, value->label, sizeof(value->label));
		require_that(codec, value->movable <= 1 && value->version != FLEET_VERSION_NONE);
	} else if (value->kind == FLEET_ENDED) {
		code_cause(codec, &value->cause);
	}
}

static void code_resync(struct codec *codec, struct fleet_resync *value)
{
	code_u32(codec, &value->round);
	code_u32(codec, &value->step);
	require_that(codec, value->step >= FLEET_RESYNC_BEGIN && value->step <= FLEET_RESYNC_END);
	if (value->step == FLEET_RESYNC_ITEM) {
		code_key(codec, &value->key);
		code_u64(codec, &value->version);
	}
}

static void code_message(struct codec *codec, struct fleet_message *message)
{
	switch (message->type) {
	case FLEET_JOIN:
		code_key(codec, &message->join.key);
		code_u32(codec, &message->join.nonce);
		require_that(codec, message->join.nonce);
		return;
	case FLEET_STATE:
		code_state(codec, &message->state);
		return;
	case FLEET_END:
		code_key(codec, &message->ended.key);
		code_cause(codec, &message->ended.cause);
		return;
	case FLEET_MOVED:
		code_key(codec, &message->moved.key);
		code_u64(codec, &message->moved.version);
		code_u64(codec, &message->moved.left_ns);
		require_that(codec, message->moved.version != FLEET_VERSION_NONE);
		return;
	case FLEET_LEAVE:
		code_key(codec, &message->leave);
		return;
	case FLEET_RESYNC:
		code_resync(codec, &message->resync);
		return;
	case FLEET_HELLO:
	case FLEET_PROBE:
		return;
	}
	codec->broken = true;
}

static void code_header(struct codec *codec, struct fleet_batch *value)
{
	code_u16(codec, &value->flags);
	code_u16(codec, &value->count);
	code_u64(codec, &value->from_incarnation);
	code_u64(codec, &value->to_incarnation);
	code_u64(codec, &value->session);
	code_u64(codec, &value->first);
	code_text(codec, value->from, sizeof(value->from));
	require_that(codec, !(value->flags & ~(FLEET_HOLDS | FLEET_KEEPS)));
	require_that(codec, value->from_incarnation && value->session && value->first);
	/* The number of the next message can be counted. */
	require_that(codec, value->first <= UINT64_MAX - value->count);
	require_that(codec, fleet_host_is_valid(value->from, strlen(value->from)));
}

/* ---- both ways */

size_t fleet_wire_pack_header(const struct fleet_batch *batch, uint8_t bytes[FLEET_HEADER_MAX])
{
	struct fleet_batch copy = *batch;
	struct codec codec = {.writes = true, .out = bytes, .size = FLEET_HEADER_MAX};
	uint32_t magic = MAGIC;
	uint16_t version = FLEET_VERSION;

	code_u32(&codec, &magic);
	code_u16(&codec, &version);
	code_header(&codec, &copy);
	if (codec.broken)
		abort();
	return codec.at;
}

size_t fleet_wire_pack(const struct fleet_message *message, uint8_t bytes[FLEET_MESSAGE_MAX])
{
	struct fleet_message copy = *message;
	struct codec codec = {.writes = true, .out = bytes, .size = FLEET_MESSAGE_MAX, .at = MESSAGE_HEADER};
	struct codec head = {.writes = true, .out = bytes, .size = MESSAGE_HEADER};

	code_message(&codec, &copy);
	uint16_t type = (uint16_t)message->type, size = (uint16_t)codec.at;
	code_u16(&head, &type);
	code_u16(&head, &size);
	if (codec.broken)
		abort();
	return codec.at;
}

size_t fleet_wire_size(const uint8_t *bytes)
{
	return (size_t)bytes[2] | (size_t)bytes[3] << 8;
}

/* Reads the message at *at. False: it is broken. */
static bool read_message(const uint8_t *bytes, size_t size, size_t *at, struct fleet_message *ret_message)
{
	struct codec codec = {.in = bytes, .at = *at, .size = size};
	uint16_t type = 0, size_said = 0;

	memset(ret_message, 0, sizeof(*ret_message));
	code_u16(&codec, &type);
	code_u16(&codec, &size_said);
	ret_message->type = (enum fleet_type)type;
	if (codec.broken)
		return false;
	code_message(&codec, ret_message);
	if (codec.broken || codec.at - *at != size_said || size_said > FLEET_MESSAGE_MAX)
		return false;
	*at = codec.at;
	return true;
}

int fleet_wire_unpack(const uint8_t *bytes, size_t size, struct fleet_batch *ret_batch, size_t *ret_at)
{
	struct fleet_batch batch = {0};
	struct fleet_message message;
	struct codec codec = {.in = bytes, .size = size};
	uint32_t magic = 0;
	uint16_t version = 0;

	if (size > FLEET_BATCH_MAX)
		return -EPROTO;
	code_u32(&codec, &magic);
	code_u16(&codec, &version);
	if (codec.broken || magic != MAGIC)
		return -EPROTO;
	if (version != FLEET_VERSION)
		return -EPROTONOSUPPORT;
	code_header(&codec, &batch);
	if (codec.broken)
		return -EPROTO;
	size_t at = codec.at;
	for (unsigned i = 0; i < batch.count; i++)
		if (!read_message(bytes, size, &at, &message))
			return -EPROTO;
	if (at != size)
		return -EPROTO;
	*ret_batch = batch;
	*ret_at = codec.at;
	return 0;
}

bool fleet_wire_next(const uint8_t *bytes, size_t size, size_t *at, struct fleet_message *ret_message)
{
	return *at < size && read_message(bytes, size, at, ret_message);
}
