/* SPDX-License-Identifier: MIT */
/*
 * Each structure has one function that goes through its fields, in the order in which they lie in the packet,
 * for both directions: what is written and what is read cannot differ. What is wrong sets `broken`, and the
 * rest goes on harmlessly.
 */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x44585443u /* "CTXD" */
#define LAST_WORDS_MAGIC 0x4c585443u
#define HEADER_SIZE 16u
#define ENTRY_KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)

struct codec {
	uint8_t *out;	   /* writing; else NULL */
	const uint8_t *in; /* reading */
	size_t at, size;
	bool broken;
};

/* ---- numbers and texts */

static uint64_t number(struct codec *codec, unsigned bytes, uint64_t value)
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

static void u16(struct codec *codec, uint16_t *value)
{
	*value = (uint16_t)number(codec, 2, *value);
}

static void u32(struct codec *codec, uint32_t *value)
{
	*value = (uint32_t)number(codec, 4, *value);
}

static void i32(struct codec *codec, int32_t *value)
{
	*value = (int32_t)(uint32_t)number(codec, 4, (uint32_t)*value);
}

static void u64(struct codec *codec, uint64_t *value)
{
	*value = number(codec, 8, *value);
}

/* Ends with a NUL, and nothing but NULs follow it: one text has one form. */
static void text(struct codec *codec, char *value, size_t size)
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

static void require(struct codec *codec, bool condition)
{
	codec->broken |= !condition;
}

static void reserved(struct codec *codec)
{
	uint32_t zero = 0;

	u32(codec, &zero);
	require(codec, zero == 0);
}

static void flags(struct codec *codec, uint32_t *value, uint32_t known)
{
	u32(codec, value);
	require(codec, !(*value & ~known));
}

static void pid(struct codec *codec, int32_t *value)
{
	i32(codec, value);
	require(codec, *value >= 0);
}

/* A negative errno; 0 only where it may be. */
static void error(struct codec *codec, int32_t *value, bool may_be_0)
{
	i32(codec, value);
	require(codec, *value >= -WIRE_ERRNO_MAX && *value <= 0 && (may_be_0 || *value));
}

/* ---- structures */

static void id(struct codec *codec, struct ctxd_id *value, bool may_be_none)
{
	u64(codec, &value->epoch);
	u64(codec, &value->number);
	require(codec, wire_id_is_none(*value) ? may_be_none : value->epoch && value->number);
}

static void cause(struct codec *codec, struct wire_cause *value)
{
	error(codec, &value->error, false);
	u32(codec, &value->kind);
	require(codec, value->kind > CTX_CAUSE_NONE && value->kind <= CTX_CAUSE_FD);
	i32(codec, &value->code);
	flags(codec, &value->expired, 1);
	pid(codec, &value->pid);
	pid(codec, &value->tid);
	u32(codec, &value->uid);
	reserved(codec);
	u64(codec, &value->ctx_id);
	u64(codec, &value->time_ns);
	text(codec, value->text, sizeof(value->text));
}

/* One that may be missing: then all of it is zero. */
static void optional_cause(struct codec *codec, struct wire_cause *value, bool present)
{
	static const struct wire_cause nothing;

	if (present) {
		cause(codec, value);
	} else if (codec->size - codec->at < sizeof(nothing)) {
		codec->broken = true;
	} else {
		for (size_t i = 0; i < sizeof(nothing); i += 4)
			reserved(codec);
		*value = nothing;
	}
}

static void report(struct codec *codec, struct ctxd_report *value)
{
	unsigned *counts[] = {&value->asked,	  &value->ended,     &value->silent,   &value->batches,
			      &value->operations, &value->unsent,    &value->timed,    &value->sqes,
			      &value->enters,	  &value->cancelled, &value->finished, &value->held};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		u32(codec, counts[i]);
	u64(codec, &value->submit_ns);
	u64(codec, &value->reap_ns);
}

static void mode(struct codec *codec, mode_t *value)
{
	uint32_t bits = *value;

	flags(codec, &bits, 0666);
	*value = bits;
}

static void entry(struct codec *codec, struct ctxd_entry *value)
{
	uint32_t kind = value->kind;
	struct wire_cause why = {0};

	u32(codec, &kind);
	require(codec,
		kind == CTXD_SHARED || kind == CTXD_JOINED || kind == CTXD_PROCESS || kind == CTXD_DEAD);
	value->kind = kind;
	pid(codec, &value->pid);
	u32(codec, &value->uid);
	u32(codec, &value->gid);
	id(codec, &value->id, kind == CTXD_PROCESS || kind == CTXD_DEAD);
	id(codec, &value->parent, true);
	u64(codec, &value->table);
	u64(codec, &value->ctx_id);
	mode(codec, &value->mode);
	u32(codec, &value->depth);
	u32(codec, &value->joiners);
	reserved(codec);
	u64(codec, &value->created_ns);
	u64(codec, &value->deadline_ns);
	u64(codec, &value->ended_ns);
	bool has_cause = kind == CTXD_SHARED && value->ended_ns;
	if (codec->out && has_cause)
		wire_cause_from(&value->cause, value->cause.error, &why);
	optional_cause(codec, &why, has_cause);
	require(codec, why.expired == (why.error == -ETIME));
	if (!codec->out && has_cause)
		wire_cause_to(&why, &value->cause);
	text(codec, value->name, sizeof(value->name));
	text(codec, value->label, sizeof(value->label));
	text(codec, value->process, sizeof(value->process));
}

/* ---- messages */

static void hello(struct codec *codec, struct wire_hello *value)
{
	u16(codec, &value->version_min);
	u16(codec, &value->version_max);
	require(codec, value->version_min && value->version_min <= value->version_max);
	flags(codec, &value->flags, WIRE_PUBLISH);
	text(codec, value->process, sizeof(value->process));
}

static void welcome(struct codec *codec, struct wire_welcome *value)
{
	uint16_t zero = 0;

	u16(codec, &value->version);
	u16(codec, &zero);
	require(codec, value->version && !zero);
	reserved(codec);
	u64(codec, &value->epoch);
	require(codec, value->epoch);
}

static void share(struct codec *codec, struct wire_share *value)
{
	id(codec, &value->parent, true);
	u64(codec, &value->ctx_id);
	u64(codec, &value->deadline_ns);
	flags(codec, &value->mode, 0666);
	flags(codec, &value->flags, WIRE_MOVABLE);
	text(codec, value->name, sizeof(value->name));
	text(codec, value->label, sizeof(value->label));
}

static void move(struct codec *codec, struct wire_move *value)
{
	id(codec, &value->id, false);
	u64(codec, &value->deadline_ns);
}

static void ended(struct codec *codec, struct wire_ended *value)
{
	id(codec, &value->id, false);
	cause(codec, &value->cause);
}

static void join(struct codec *codec, struct wire_join *value)
{
	id(codec, &value->id, true);
	u32(codec, &value->uid);
	reserved(codec);
	text(codec, value->name, sizeof(value->name));
	/* One of the two. */
	require(codec, wire_id_is_none(value->id) == (value->name[0] != '\0'));
}

static void rejoin(struct codec *codec, struct wire_rejoin *value)
{
	id(codec, &value->old_id, false);
	u64(codec, &value->ctx_id);
	u64(codec, &value->deadline_ns);
	flags(codec, &value->flags, WIRE_MOVABLE);
	reserved(codec);
	text(codec, value->label, sizeof(value->label));
}

static void attach(struct codec *codec, struct wire_attach *value)
{
	id(codec, &value->id, false);
	u64(codec, &value->ctx_id);
}

static void list(struct codec *codec, struct wire_list *value)
{
	u64(codec, &value->cursor);
	flags(codec, &value->kinds, ENTRY_KINDS);
	reserved(codec);
	require(codec, value->kinds);
}

static void cancel(struct codec *codec, struct wire_cancel *value)
{
	id(codec, &value->id, true);
	u64(codec, &value->table);
	u64(codec, &value->ctx_id);
	u64(codec, &value->wait_ns);
	error(codec, &value->error, true);
	flags(codec, &value->flags, WIRE_DRY_RUN);
	text(codec, value->text, sizeof(value->text));
	/* One of the two. */
	require(codec,
		wire_id_is_none(value->id) ? value->table && value->ctx_id : !value->table && !value->ctx_id);
}

static void table(struct codec *codec, struct wire_table *value)
{
	u32(codec, &value->kind);
	pid(codec, &value->pid);
	require(codec, value->kind == CTXD_PROCESS || value->kind == CTXD_DEAD);
}

static void obeyed(struct codec *codec, struct wire_obeyed *value)
{
	error(codec, &value->result, true);
	flags(codec, &value->reaped, 1);
	report(codec, &value->report);
}

static void result(struct codec *codec, struct wire_result *value)
{
	error(codec, &value->error, true);
	reserved(codec);
	id(codec, &value->id, true);
}

static void joined(struct codec *codec, struct wire_joined *value)
{
	id(codec, &value->id, false);
	u64(codec, &value->deadline_ns);
	u64(codec, &value->ctx_id);
	pid(codec, &value->owner_pid);
	u32(codec, &value->owner_uid);
	flags(codec, &value->flags, WIRE_MOVABLE);
	flags(codec, &value->ended, 1);
	optional_cause(codec, &value->cause, value->ended);
	text(codec, value->label, sizeof(value->label));
}

static void entries(struct codec *codec, struct wire_entries *value)
{
	u64(codec, &value->next);
	u32(codec, &value->count);
	reserved(codec);
	require(codec, value->count <= WIRE_ENTRIES_MAX);
	for (uint32_t i = 0; i < value->count && !codec->broken; i++)
		entry(codec, &value->entries[i]);
}

static void report_message(struct codec *codec, struct wire_report *value)
{
	error(codec, &value->error, true);
	reserved(codec);
	report(codec, &value->report);
}

static void order(struct codec *codec, struct wire_order *value)
{
	id(codec, &value->id, true);
	u64(codec, &value->ctx_id);
	error(codec, &value->error, true);
	pid(codec, &value->pid);
	u32(codec, &value->uid);
	reserved(codec);
	text(codec, value->text, sizeof(value->text));
	require(codec, !wire_id_is_none(value->id) || value->ctx_id);
}

static void event(struct codec *codec, struct wire_event *value)
{
	static const struct ctxd_entry nothing;

	u32(codec, &value->kind);
	reserved(codec);
	u64(codec, &value->lost);
	require(codec, value->kind >= CTXD_EVENT_ADDED && value->kind <= CTXD_EVENT_LOST);
	require(codec, (value->kind == CTXD_EVENT_LOST) == (value->lost != 0));
	if (value->kind != CTXD_EVENT_LOST)
		entry(codec, &value->entry);
	else
		value->entry = nothing;
}

static void goodbye(struct codec *codec, struct wire_goodbye *value)
{
	error(codec, &value->error, false);
	reserved(codec);
}

/* False: no such type. */
static bool body(struct codec *codec, struct wire_message *message)
{
	switch (message->type) {
	case WIRE_HELLO:
		hello(codec, &message->hello);
		return true;
	case WIRE_SHARE:
		share(codec, &message->share);
		return true;
	case WIRE_UNSHARE:
		id(codec, &message->id, false);
		return true;
	case WIRE_MOVE:
	case WIRE_MOVED:
		move(codec, &message->move);
		return true;
	case WIRE_ENDED:
		ended(codec, &message->ended);
		return true;
	case WIRE_JOIN:
		join(codec, &message->join);
		return true;
	case WIRE_REJOIN:
		rejoin(codec, &message->rejoin);
		return true;
	case WIRE_ATTACH:
	case WIRE_LEAVE:
		attach(codec, &message->attach);
		return true;
	case WIRE_LIST:
		list(codec, &message->list);
		return true;
	case WIRE_WATCH:
		flags(codec, &message->watch.kinds, ENTRY_KINDS);
		reserved(codec);
		return true;
	case WIRE_CANCEL:
		cancel(codec, &message->cancel);
		return true;
	case WIRE_TABLE:
		table(codec, &message->table);
		return true;
	case WIRE_OBEYED:
		obeyed(codec, &message->obeyed);
		return true;
	case WIRE_WELCOME:
		welcome(codec, &message->welcome);
		return true;
	case WIRE_RESULT:
		result(codec, &message->result);
		return true;
	case WIRE_JOINED:
		joined(codec, &message->joined);
		return true;
	case WIRE_ENTRIES:
		entries(codec, &message->entries);
		return true;
	case WIRE_REPORT:
		report_message(codec, &message->report);
		return true;
	case WIRE_FOUND:
		entry(codec, &message->found.entry);
		return true;
	case WIRE_ORDER:
		order(codec, &message->order);
		return true;
	case WIRE_EVENT:
		event(codec, &message->event);
		return true;
	case WIRE_GOODBYE:
		goodbye(codec, &message->goodbye);
		return true;
	}
	return false;
}

unsigned wire_fd_count(const struct wire_message *message)
{
	switch (message->type) {
	case WIRE_HELLO:
		return message->hello.flags & WIRE_PUBLISH ? 1 : 0;
	case WIRE_SHARE:
	case WIRE_REJOIN:
	case WIRE_FOUND:
		return 1;
	case WIRE_JOINED:
		return message->joined.ended ? 0 : 2;
	default:
		return 0;
	}
}

/* What every packet begins with. */
static void header(struct codec *codec, uint32_t *magic, uint16_t *type, uint16_t *size, uint64_t *serial)
{
	u32(codec, magic);
	u16(codec, type);
	u16(codec, size);
	u64(codec, serial);
}

size_t wire_pack(const struct wire_message *message, uint8_t bytes[WIRE_SIZE_MAX])
{
	struct wire_message copy = *message;
	struct codec codec = {.out = bytes, .size = WIRE_SIZE_MAX, .at = HEADER_SIZE};
	struct codec head = {.out = bytes, .size = HEADER_SIZE};
	uint32_t magic = MAGIC;

	bool known = body(&codec, &copy);
	uint16_t type = (uint16_t)message->type, size = (uint16_t)codec.at;
	header(&head, &magic, &type, &size, &copy.serial);
	if (!known || codec.broken)
		abort(); /* whoever made it did not check what came from the program */
	return codec.at;
}

int wire_unpack(const uint8_t *bytes, size_t size, unsigned fd_count, bool from_service,
		struct wire_message *ret_message)
{
	struct wire_message message;
	struct codec codec = {.in = bytes, .size = size};
	uint32_t magic = 0;
	uint16_t type = 0, size_said = 0;

	memset(&message, 0, sizeof(message));
	if (size < HEADER_SIZE || size > WIRE_SIZE_MAX)
		return -EPROTO;
	header(&codec, &magic, &type, &size_said, &message.serial);
	if (magic != MAGIC || size_said != size)
		return -EPROTO;
	message.type = (enum wire_type)type;
	if (wire_from_service(message.type) != from_service)
		return -EPROTO;
	if (!body(&codec, &message))
		return -EPROTONOSUPPORT;
	if (codec.broken || codec.at != size || fd_count != wire_fd_count(&message))
		return -EPROTO;
	*ret_message = message;
	return 0;
}

/* ---- last words */

size_t wire_pack_last_words(const struct wire_cause *words, uint8_t bytes[WIRE_LAST_WORDS_MAX])
{
	struct wire_cause copy = *words;
	struct codec codec = {.out = bytes, .size = WIRE_LAST_WORDS_MAX};
	uint32_t magic = LAST_WORDS_MAGIC, version = WIRE_VERSION;

	u32(&codec, &magic);
	u32(&codec, &version);
	cause(&codec, &copy);
	if (codec.broken)
		abort();
	return codec.at;
}

int wire_unpack_last_words(const uint8_t *bytes, size_t size, struct wire_cause *ret_cause)
{
	struct wire_cause words = {0};
	struct codec codec = {.in = bytes, .size = size};
	uint32_t magic = 0, version = 0;

	u32(&codec, &magic);
	u32(&codec, &version);
	cause(&codec, &words);
	if (codec.broken || codec.at != size || magic != LAST_WORDS_MAGIC || version != WIRE_VERSION)
		return -EPROTO;
	*ret_cause = words;
	return 0;
}

void wire_cause_from(const struct ctx_cause *from, int ended_with, struct wire_cause *ret_cause)
{
	*ret_cause = (struct wire_cause){
		.error = from->error,
		.kind = from->kind,
		.code = from->code,
		.expired = ended_with == -ETIME,
		.pid = from->pid,
		.tid = from->tid,
		.uid = from->uid,
		.ctx_id = from->ctx_id,
		.time_ns = from->time_ns,
	};
	/* A program may give any number as an error; what is sent is an errno. */
	if (ret_cause->error >= 0 || ret_cause->error < -WIRE_ERRNO_MAX)
		ret_cause->error = ended_with == -ETIME ? -ETIME : -ECANCELED;
	memcpy(ret_cause->text, from->text, strnlen(from->text, sizeof(ret_cause->text) - 1));
}

void wire_cause_to(const struct wire_cause *from, struct ctx_cause *ret_cause)
{
	*ret_cause = (struct ctx_cause){
		.error = from->error,
		.kind = (enum ctx_cause_kind)from->kind,
		.inherited = true,
		.code = from->code,
		.ctx_id = from->ctx_id,
		.time_ns = from->time_ns,
		.pid = from->pid,
		.tid = from->tid,
		.uid = from->uid,
	};
	memcpy(ret_cause->text, from->text, sizeof(ret_cause->text));
}

/* ---- where the service listens */

int wire_socket_path(unsigned place, char path[108])
{
	const char *given = secure_getenv("CTXD_SOCKET"), *directory = secure_getenv("XDG_RUNTIME_DIR");
	const char *places[2];
	unsigned count = 0;
	char in_directory[108];

	if (given && given[0]) {
		places[count++] = given;
	} else {
		if (directory && directory[0] == '/') {
			int length = snprintf(in_directory, sizeof(in_directory), "%s/ctxd.sock", directory);
			if (length < 0 || (size_t)length >= sizeof(in_directory))
				return place == 0 ? -ENAMETOOLONG : -ENOENT;
			places[count++] = in_directory;
		}
		places[count++] = "/run/ctxd.sock";
	}
	if (place >= count)
		return -ENOENT;
	if (strlen(places[place]) >= 108)
		return -ENAMETOOLONG;
	strcpy(path, places[place]);
	return 0;
}
