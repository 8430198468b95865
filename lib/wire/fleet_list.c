/* SPDX-License-Identifier: MIT */
#include "fleet_list.h"

#include <errno.h>
#include <string.h>

#include "codec.h"

#define MAGIC 0x52585443u /* "CTXR" */
#define VERSION 1
#define RECORD_HEADER 4u

static void code_host_name(struct codec *codec, char *value, bool may_be_none)
{
	code_string(codec, value, CTX_HOST_MAX);
	require_that(codec, codec->broken || (value[0] ? is_host(value) : may_be_none));
}

static void code_host(struct codec *codec, struct ctxd_host *value)
{
	uint32_t state = value->state, joins_in = value->joins_in, joins_out = value->joins_out;
	int32_t error = value->error;

	code_host_name(codec, value->name, false);
	code_u32(codec, &state);
	require_that(codec, state >= CTXD_HOST_SELF && state <= CTXD_HOST_REFUSED);
	code_error(codec, &error, true);
	code_u32(codec, &joins_in);
	code_u32(codec, &joins_out);
	uint64_t *numbers[] = {
		&value->incarnation,   &value->heard_ns, &value->lease_seen_ns, &value->lease_absent_ns,
		&value->round_trip_ns, &value->received, &value->sent,		&value->resyncs,
		&value->gaps,	       &value->dropped,	 &value->malformed};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		code_u64(codec, numbers[i]);
	value->state = state;
	value->error = error;
	value->joins_in = joins_in;
	value->joins_out = joins_out;
}

/* The cause of an end. Without a text and numbers of the process it is what other hosts tell of it. */
static void code_cause(struct codec *codec, struct ctx_cause *value)
{
	struct wire_cause why = {0};

	if (codec->out)
		wire_cause_from(value, value->error, &why);
	code_error(codec, &why.error, false);
	code_u32(codec, &why.kind);
	require_that(codec, why.kind > CTX_CAUSE_NONE && why.kind <= CTX_CAUSE_UNREACHABLE);
	code_i32(codec, &why.code);
	code_pid(codec, &why.pid);
	code_pid(codec, &why.tid);
	code_u32(codec, &why.uid);
	code_u64(codec, &why.ctx_id);
	code_u64(codec, &why.time_ns);
	code_string(codec, why.text, sizeof(why.text));
	code_host_name(codec, why.host, true);
	if (!codec->out)
		wire_cause_to(&why, value);
}

#define HAS_CAUSE (1u << 0)
#define HAS_ORIGIN (1u << 1)

static void code_entry(struct codec *codec, struct ctxd_entry *value)
{
	uint32_t kind = value->kind, mode = value->mode;
	uint32_t parts = (value->cause.error ? HAS_CAUSE : 0) | (value->host[0] ? HAS_ORIGIN : 0);

	code_u32(codec, &kind);
	require_that(codec,
		     kind == CTXD_SHARED || kind == CTXD_JOINED || kind == CTXD_PROCESS || kind == CTXD_DEAD);
	value->kind = kind;
	code_flags(codec, &parts, HAS_CAUSE | HAS_ORIGIN);
	code_pid(codec, &value->pid);
	code_u32(codec, &value->uid);
	code_u32(codec, &value->gid);
	code_id(codec, &value->id, kind == CTXD_PROCESS || kind == CTXD_DEAD);
	code_id(codec, &value->parent, true);
	code_u64(codec, &value->table);
	code_u64(codec, &value->ctx_id);
	code_flags(codec, &mode, 0666 | CTXD_FLEET);
	value->mode = mode;
	code_u32(codec, &value->depth);
	code_u32(codec, &value->joiners);
	code_u64(codec, &value->created_ns);
	code_u64(codec, &value->deadline_ns);
	code_u64(codec, &value->ended_ns);
	code_string(codec, value->name, sizeof(value->name));
	code_string(codec, value->label, sizeof(value->label));
	code_string(codec, value->process, sizeof(value->process));
	if (parts & HAS_CAUSE) {
		require_that(codec, kind == CTXD_SHARED && value->ended_ns);
		code_cause(codec, &value->cause);
	}
	if (parts & HAS_ORIGIN) {
		code_host_name(codec, value->host, false);
		code_id(codec, &value->origin, false);
	}
}

static void code_host_report(struct codec *codec, struct ctxd_host_report *value)
{
	int32_t error = value->error;

	code_host_name(codec, value->host, false);
	code_error(codec, &error, true);
	value->error = error;
	code_report(codec, &value->report);
}

static void code_finding(struct codec *codec, struct ctxd_finding *value)
{
	uint32_t severity = value->severity;

	code_u32(codec, &severity);
	require_that(codec, severity >= CTXD_FINDING_OK && severity <= CTXD_FINDING_ERROR);
	value->severity = severity;
	code_string(codec, value->key, sizeof(value->key));
	require_that(codec, value->key[0]);
	code_string(codec, value->value, sizeof(value->value));
	code_string(codec, value->remedy, sizeof(value->remedy));
}

static void code_body(struct codec *codec, struct wire_record *record)
{
	switch (record->kind) {
	case WIRE_RECORD_HOST:
		code_u32(codec, &record->list);
		code_host(codec, &record->host);
		return;
	case WIRE_RECORD_ENTRY:
		code_u32(codec, &record->list);
		require_that(codec, record->list);
		code_entry(codec, &record->entry);
		return;
	case WIRE_RECORD_REPORT:
		code_host_report(codec, &record->report);
		return;
	case WIRE_RECORD_FINDING:
		code_finding(codec, &record->finding);
		return;
	}
	codec->broken = true;
}

static void code_record_header(struct codec *codec, uint16_t *kind, uint16_t *size)
{
	code_u16(codec, kind);
	code_u16(codec, size);
}

static void code_header(struct codec *codec, uint32_t *magic, uint32_t *version, uint64_t *count,
			uint64_t *size)
{
	code_u32(codec, magic);
	code_u32(codec, version);
	code_u64(codec, count);
	code_u64(codec, size);
}

void wire_records_header(uint64_t count, uint64_t size, uint8_t bytes[WIRE_RECORDS_HEADER])
{
	struct codec codec = {.out = bytes, .size = WIRE_RECORDS_HEADER};
	uint32_t magic = MAGIC, version = VERSION;

	code_header(&codec, &magic, &version, &count, &size);
}

size_t wire_record_pack(const struct wire_record *record, uint8_t bytes[WIRE_RECORD_MAX])
{
	struct wire_record copy = *record;
	struct codec codec = {.out = bytes, .size = WIRE_RECORD_MAX, .at = RECORD_HEADER};
	struct codec head = {.out = bytes, .size = RECORD_HEADER};
	uint16_t kind = (uint16_t)record->kind;

	code_body(&codec, &copy);
	uint16_t size = (uint16_t)codec.at;
	code_record_header(&head, &kind, &size);
	return codec.broken ? 0 : codec.at;
}

int wire_records_begin(const uint8_t *bytes, size_t size, struct wire_records *ret_records)
{
	struct codec codec = {.in = bytes, .size = size};
	uint32_t magic = 0, version = 0;
	uint64_t count = 0, size_said = 0;

	code_header(&codec, &magic, &version, &count, &size_said);
	if (codec.broken || magic != MAGIC || size > WIRE_RECORDS_MAX)
		return -EPROTO;
	if (version != VERSION)
		return -EPROTONOSUPPORT;
	if (size_said != size)
		return -EPROTO;
	*ret_records = (struct wire_records){.bytes = bytes, .size = size, .at = codec.at, .count = count};
	return 0;
}

int wire_records_next(struct wire_records *records, struct wire_record *ret_record)
{
	struct codec head = {.in = records->bytes, .at = records->at, .size = records->size};
	uint16_t kind = 0, size = 0;

	if (!records->count)
		return records->at == records->size ? 0 : -EPROTO;
	code_record_header(&head, &kind, &size);
	if (head.broken || size < RECORD_HEADER || size > WIRE_RECORD_MAX ||
	    size > records->size - records->at)
		return -EPROTO;
	struct codec codec = {.in = records->bytes, .at = head.at, .size = records->at + size};
	memset(ret_record, 0, sizeof(*ret_record));
	ret_record->kind = kind;
	code_body(&codec, ret_record);
	if (codec.broken || codec.at != codec.size)
		return -EPROTO;
	records->at = codec.at;
	records->count--;
	return 1;
}
