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

#include "codec.h"

#define MAGIC 0x46585443u /* "CTXF" */
#define MESSAGE_HEADER 4u

/* ---- structures */

static void code_key(struct codec *codec, struct fleet_key *value)
{
	code_id(codec, &value->id, false);
	code_u64(codec, &value->secret);
	require_that(codec, value->secret);
}

static void code_cause(struct codec *codec, struct wire_cause *value)
{
	code_error(codec, &value->error, false);
	code_u32(codec, &value->kind);
	code_i32(codec, &value->code);
	code_u32(codec, &value->expired);
	code_pid(codec, &value->pid);
	code_pid(codec, &value->tid);
	code_u32(codec, &value->uid);
	code_u64(codec, &value->ctx_id);
	code_u64(codec, &value->time_ns);
	code_string(codec, value->text, sizeof(value->text));
	code_string(codec, value->host, sizeof(value->host));
	require_that(codec, !value->host[0] || is_host(value->host));
	require_that(codec, value->kind > CTX_CAUSE_NONE && value->kind <= CTX_CAUSE_UNREACHABLE);
	require_that(codec, value->expired <= 1);
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
		code_string(codec, value->label, sizeof(value->label));
		require_that(codec, value->movable <= 1 && value->version != FLEET_VERSION_NONE);
	} else if (value->kind == FLEET_ENDED) {
		code_cause(codec, &value->cause);
	}
}

static void code_nonce(struct codec *codec, uint32_t *value)
{
	code_u32(codec, value);
	require_that(codec, *value);
}

static void code_request(struct codec *codec, uint64_t *value)
{
	code_u64(codec, value);
	require_that(codec, *value);
}

/* The name of a host. */
static void code_host(struct codec *codec, char value[CTX_HOST_MAX])
{
	code_string(codec, value, CTX_HOST_MAX);
	require_that(codec, is_host(value));
}

static void code_cancelling(struct codec *codec, struct fleet_cancelling *value)
{
	struct fleet_cancel *cancel = &value->cancel;

	code_request(codec, &value->nonce);
	code_u64(codec, &value->secret);
	code_id(codec, &cancel->id, false);
	code_flags(codec, &cancel->flags, FLEET_CANCEL_DRY_RUN);
	code_error(codec, &cancel->error, true);
	code_u64(codec, &cancel->wait_ns);
	code_pid(codec, &cancel->pid);
	code_u32(codec, &cancel->uid);
	code_string(codec, cancel->user, sizeof(cancel->user));
	code_host(codec, cancel->host);
	code_string(codec, cancel->text, sizeof(cancel->text));
}

static void code_reported(struct codec *codec, struct fleet_reported *value)
{
	uint32_t is_silent = value->host.is_silent;

	code_request(codec, &value->nonce);
	code_u32(codec, &value->step);
	code_u32(codec, &value->index);
	require_that(codec, value->step >= FLEET_REPORT_HOST && value->step <= FLEET_REPORT_TOTAL);
	if (value->step == FLEET_REPORT_TOTAL) {
		code_u32(codec, &value->hosts_asked);
		code_u32(codec, &value->hosts_silent);
	} else {
		code_host(codec, value->host.host);
		code_u32(codec, &is_silent);
		require_that(codec, is_silent <= 1);
	}
	value->host.is_silent = is_silent;
	if (!is_silent) {
		code_error(codec, &value->host.error, true);
		code_report(codec, &value->host.report);
	}
}

/* What the bits of an entry say: which of its times are there, and whether it is of another host. */
enum {
	ENTRY_CREATED = 1 << 0,
	ENTRY_DEADLINE = 1 << 1,
	ENTRY_ENDED = 1 << 2,
	ENTRY_ORIGIN = 1 << 3,
};

static uint32_t entry_bits(const struct ctxd_entry *entry)
{
	return (entry->created_ns ? ENTRY_CREATED : 0) | (entry->deadline_ns ? ENTRY_DEADLINE : 0) |
	       (entry->ended_ns ? ENTRY_ENDED : 0) | (entry->host[0] ? ENTRY_ORIGIN : 0);
}

/* A time whose duration is sent is 1 in the entry that is read. */
static void code_entry_times(struct codec *codec, struct fleet_listed_entry *value, uint32_t bits)
{
	struct ctxd_entry *entry = &value->entry;

	if (bits & ENTRY_CREATED) {
		code_u64(codec, &value->age_ns);
		entry->created_ns = 1;
	}
	if (bits & ENTRY_DEADLINE) {
		code_u64(codec, &value->left_ns);
		entry->deadline_ns = 1;
	}
	if (bits & ENTRY_ENDED) {
		uint32_t kind = entry->cause.kind;
		int32_t error = entry->cause.error;
		code_u64(codec, &value->ended_ago_ns);
		code_u32(codec, &kind);
		code_error(codec, &error, true);
		require_that(codec, kind <= CTX_CAUSE_UNREACHABLE);
		entry->ended_ns = 1;
		entry->cause.kind = kind;
		entry->cause.error = error;
	}
}

static void code_entry(struct codec *codec, struct fleet_listed_entry *value)
{
	struct ctxd_entry *entry = &value->entry;
	uint32_t kind = entry->kind, bits = entry_bits(entry);
	const uint32_t known = ENTRY_CREATED | ENTRY_DEADLINE | ENTRY_ENDED | ENTRY_ORIGIN;

	code_request(codec, &value->nonce);
	code_u32(codec, &value->index);
	code_u32(codec, &kind);
	code_flags(codec, &bits, known);
	code_id(codec, &entry->id, true);
	code_id(codec, &entry->parent, true);
	code_pid(codec, &entry->pid);
	code_u32(codec, &entry->uid);
	code_u64(codec, &entry->ctx_id);
	code_u32(codec, &entry->mode);
	code_u32(codec, &entry->depth);
	code_u32(codec, &entry->joiners);
	code_entry_times(codec, value, bits);
	code_string(codec, entry->name, sizeof(entry->name));
	code_string(codec, entry->label, sizeof(entry->label));
	code_string(codec, entry->process, sizeof(entry->process));
	if (bits & ENTRY_ORIGIN) {
		code_host(codec, entry->host);
		code_id(codec, &entry->origin, false);
	}
	entry->kind = kind;
	require_that(codec,
		     kind == CTXD_SHARED || kind == CTXD_JOINED || kind == CTXD_PROCESS || kind == CTXD_DEAD);
}

static void code_list_wish(struct codec *codec, struct fleet_list_wish *value)
{
	code_request(codec, &value->nonce);
	code_u64(codec, &value->replaced);
	code_flags(codec, &value->kinds, FLEET_KINDS);
	code_u64(codec, &value->wait_ns);
	require_that(codec, value->kinds);
}

static void code_listed(struct codec *codec, struct fleet_listed *value)
{
	code_request(codec, &value->nonce);
	code_u32(codec, &value->count);
	code_error(codec, &value->error, true);
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
		code_nonce(codec, &message->join.nonce);
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
		return;
	case FLEET_PROBE:
	case FLEET_ECHO:
		code_nonce(codec, &message->nonce);
		return;
	case FLEET_CANCEL:
		code_cancelling(codec, &message->cancelling);
		return;
	case FLEET_REPORT:
		code_reported(codec, &message->reported);
		return;
	case FLEET_LIST:
		code_list_wish(codec, &message->list_wish);
		return;
	case FLEET_ENTRY:
		code_entry(codec, &message->listed_entry);
		return;
	case FLEET_LISTED:
		code_listed(codec, &message->listed);
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
	code_u64(codec, &value->heard);
	code_host(codec, value->fleet);
	code_host(codec, value->from);
	require_that(codec, !(value->flags & ~(FLEET_HOLDS | FLEET_KEEPS | FLEET_CODED)));
	require_that(codec, value->from_incarnation && value->session && value->first);
	/* The number of the next message can be counted. */
	require_that(codec, value->first <= UINT64_MAX - value->count);
}

/* ---- both ways */

size_t fleet_wire_pack_header(const struct fleet_batch *batch, uint8_t bytes[FLEET_HEADER_MAX])
{
	struct fleet_batch copy = *batch;
	struct codec codec = {.out = bytes, .size = FLEET_HEADER_MAX};
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
	struct codec codec = {.out = bytes, .size = FLEET_MESSAGE_MAX, .at = MESSAGE_HEADER};
	struct codec head = {.out = bytes, .size = MESSAGE_HEADER};

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

int fleet_wire_unpack_header(const uint8_t *bytes, size_t size, struct fleet_batch *ret_batch, size_t *ret_at)
{
	struct fleet_batch batch = {0};
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
	size_t code_size = batch.flags & FLEET_CODED ? FLEET_CODE_SIZE : 0;
	if (codec.broken || size - codec.at < code_size)
		return -EPROTO;
	batch.end = size - code_size;
	*ret_batch = batch;
	*ret_at = codec.at;
	return 0;
}

int fleet_wire_check(const uint8_t *bytes, const struct fleet_batch *batch, size_t at)
{
	struct fleet_message message;

	for (unsigned i = 0; i < batch->count; i++)
		if (!read_message(bytes, batch->end, &at, &message))
			return -EPROTO;
	return at == batch->end ? 0 : -EPROTO;
}

bool fleet_wire_next(const uint8_t *bytes, const struct fleet_batch *batch, size_t *at,
		     struct fleet_message *ret_message)
{
	return *at < batch->end && read_message(bytes, batch->end, at, ret_message);
}
