/* SPDX-License-Identifier: MIT */
/*
 * Each structure has one function that goes through its fields in the order in which they lie in the packet.
 * The same function writes and reads, as those of codec.h do.
 */
#include "codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0x44585443u /* "CTXD" */
#define LAST_WORDS_MAGIC 0x4c585443u
#define HEADER_SIZE 16u
#define ENTRY_KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)

/* ---- structures */

static void code_cause(struct codec *codec, struct wire_cause *value)
{
	code_error(codec, &value->error, false);
	code_u32(codec, &value->kind);
	require_that(codec, value->kind > CTX_CAUSE_NONE && value->kind <= CTX_CAUSE_UNREACHABLE);
	code_i32(codec, &value->code);
	code_flags(codec, &value->expired, 1);
	code_pid(codec, &value->pid);
	code_pid(codec, &value->tid);
	code_u32(codec, &value->uid);
	code_reserved(codec);
	code_u64(codec, &value->ctx_id);
	code_u64(codec, &value->time_ns);
	code_text(codec, value->text, sizeof(value->text));
	code_text(codec, value->host, sizeof(value->host));
	require_that(codec, codec->broken || !value->host[0] || is_host(value->host));
}

/* A cause that may be missing: then all its bytes are zero. */
static void code_optional_cause(struct codec *codec, struct wire_cause *value, bool present)
{
	static const struct wire_cause nothing;

	if (present) {
		code_cause(codec, value);
	} else if (codec->size - codec->at < sizeof(nothing)) {
		codec->broken = true;
	} else {
		for (size_t i = 0; i < sizeof(nothing); i += 4)
			code_reserved(codec);
		*value = nothing;
	}
}

static void code_mode(struct codec *codec, mode_t *value)
{
	uint32_t bits = *value;

	code_flags(codec, &bits, 0666);
	*value = bits;
}

static void code_entry(struct codec *codec, struct ctxd_entry *value)
{
	uint32_t kind = value->kind;
	struct wire_cause why = {0};

	code_u32(codec, &kind);
	require_that(codec,
		     kind == CTXD_SHARED || kind == CTXD_JOINED || kind == CTXD_PROCESS || kind == CTXD_DEAD);
	value->kind = kind;
	code_pid(codec, &value->pid);
	code_u32(codec, &value->uid);
	code_u32(codec, &value->gid);
	code_id(codec, &value->id, kind == CTXD_PROCESS || kind == CTXD_DEAD);
	code_id(codec, &value->parent, true);
	code_u64(codec, &value->table);
	code_u64(codec, &value->ctx_id);
	code_mode(codec, &value->mode);
	code_u32(codec, &value->depth);
	code_u32(codec, &value->joiners);
	code_reserved(codec);
	code_u64(codec, &value->created_ns);
	code_u64(codec, &value->deadline_ns);
	code_u64(codec, &value->ended_ns);
	bool has_cause = kind == CTXD_SHARED && value->ended_ns;
	if (codec->out && has_cause)
		wire_cause_from(&value->cause, value->cause.error, &why);
	code_optional_cause(codec, &why, has_cause);
	require_that(codec, why.expired == (why.error == -ETIME));
	if (!codec->out && has_cause)
		wire_cause_to(&why, &value->cause);
	code_text(codec, value->name, sizeof(value->name));
	code_text(codec, value->label, sizeof(value->label));
	code_text(codec, value->process, sizeof(value->process));
	code_text(codec, value->host, sizeof(value->host));
	require_that(codec, codec->broken || !value->host[0] || is_host(value->host));
	code_id(codec, &value->origin, true);
	require_that(codec, !value->host[0] == wire_id_is_none(value->origin));
}

/* ---- messages */

static void code_hello(struct codec *codec, struct wire_hello *value)
{
	code_u16(codec, &value->version_min);
	code_u16(codec, &value->version_max);
	require_that(codec, value->version_min && value->version_min <= value->version_max);
	code_flags(codec, &value->flags, WIRE_PUBLISH);
	code_text(codec, value->process, sizeof(value->process));
}

static void code_welcome(struct codec *codec, struct wire_welcome *value)
{
	uint16_t zero = 0;

	code_u16(codec, &value->version);
	code_u16(codec, &zero);
	require_that(codec, value->version && !zero);
	code_reserved(codec);
	code_u64(codec, &value->epoch);
	require_that(codec, value->epoch);
}

static void code_share(struct codec *codec, struct wire_share *value)
{
	code_id(codec, &value->parent, true);
	code_u64(codec, &value->ctx_id);
	code_u64(codec, &value->deadline_ns);
	code_flags(codec, &value->mode, 0666);
	code_flags(codec, &value->flags, WIRE_MOVABLE | WIRE_FLEET);
	code_text(codec, value->name, sizeof(value->name));
	code_text(codec, value->label, sizeof(value->label));
}

static void code_move(struct codec *codec, struct wire_move *value)
{
	code_id(codec, &value->id, false);
	code_u64(codec, &value->deadline_ns);
}

static void code_ended(struct codec *codec, struct wire_ended *value)
{
	code_id(codec, &value->id, false);
	code_cause(codec, &value->cause);
}

static void code_join(struct codec *codec, struct wire_join *value)
{
	code_id(codec, &value->id, true);
	code_u32(codec, &value->uid);
	code_reserved(codec);
	code_text(codec, value->name, sizeof(value->name));
	/* Exactly one of id and name. */
	require_that(codec, wire_id_is_none(value->id) == (value->name[0] != '\0'));
}

static void code_rejoin(struct codec *codec, struct wire_rejoin *value)
{
	code_id(codec, &value->old_id, false);
	code_u64(codec, &value->ctx_id);
	code_u64(codec, &value->deadline_ns);
	code_flags(codec, &value->flags, WIRE_MOVABLE);
	code_reserved(codec);
	code_text(codec, value->label, sizeof(value->label));
}

static void code_attach(struct codec *codec, struct wire_attach *value)
{
	code_id(codec, &value->id, false);
	code_u64(codec, &value->ctx_id);
}

static void code_list(struct codec *codec, struct wire_list *value)
{
	code_u64(codec, &value->cursor);
	code_flags(codec, &value->kinds, ENTRY_KINDS);
	code_reserved(codec);
	require_that(codec, value->kinds);
}

static void code_host(struct codec *codec, char host[CTX_HOST_MAX], bool may_be_none)
{
	code_text(codec, host, CTX_HOST_MAX);
	/* A text without an end has broken the packet already, and is not looked at. */
	require_that(codec, codec->broken || (host[0] ? is_host(host) : may_be_none));
}

static void code_cancel(struct codec *codec, struct wire_cancel *value)
{
	code_id(codec, &value->id, true);
	code_u64(codec, &value->table);
	code_u64(codec, &value->ctx_id);
	code_u64(codec, &value->wait_ns);
	code_error(codec, &value->error, true);
	code_flags(codec, &value->flags, WIRE_DRY_RUN);
	code_pid(codec, &value->pid);
	code_u32(codec, &value->uid);
	code_text(codec, value->text, sizeof(value->text));
	code_host(codec, value->host, true);
	require_that(codec, value->host[0] || (!value->pid && !value->uid));
	/* Exactly one of id and (table, ctx_id). */
	require_that(codec, wire_id_is_none(value->id) ? value->table && value->ctx_id
						       : !value->table && !value->ctx_id);
}

static void code_table(struct codec *codec, struct wire_table *value)
{
	code_u32(codec, &value->kind);
	code_pid(codec, &value->pid);
	require_that(codec, value->kind == CTXD_PROCESS || value->kind == CTXD_DEAD);
}

static void code_obeyed(struct codec *codec, struct wire_obeyed *value)
{
	code_error(codec, &value->result, true);
	code_flags(codec, &value->reaped, 1);
	code_report(codec, &value->report);
}

static void code_result(struct codec *codec, struct wire_result *value)
{
	code_error(codec, &value->error, true);
	code_reserved(codec);
	code_id(codec, &value->id, true);
}

static void code_joined(struct codec *codec, struct wire_joined *value)
{
	code_id(codec, &value->id, false);
	code_u64(codec, &value->deadline_ns);
	code_u64(codec, &value->ctx_id);
	code_pid(codec, &value->owner_pid);
	code_u32(codec, &value->owner_uid);
	code_flags(codec, &value->flags, WIRE_MOVABLE | WIRE_REMOTE);
	code_flags(codec, &value->ended, 1);
	code_optional_cause(codec, &value->cause, value->ended);
	code_text(codec, value->label, sizeof(value->label));
}

static void code_entries(struct codec *codec, struct wire_entries *value)
{
	code_u64(codec, &value->next);
	code_u32(codec, &value->count);
	code_reserved(codec);
	require_that(codec, value->count <= WIRE_ENTRIES_MAX);
	for (uint32_t i = 0; i < value->count && !codec->broken; i++)
		code_entry(codec, &value->entries[i]);
}

static void code_report_message(struct codec *codec, struct wire_report *value)
{
	code_error(codec, &value->error, true);
	code_reserved(codec);
	code_report(codec, &value->report);
}

static void code_order(struct codec *codec, struct wire_order *value)
{
	code_id(codec, &value->id, true);
	code_u64(codec, &value->ctx_id);
	code_error(codec, &value->error, true);
	code_pid(codec, &value->pid);
	code_u32(codec, &value->uid);
	code_reserved(codec);
	code_text(codec, value->text, sizeof(value->text));
	code_host(codec, value->host, true);
	require_that(codec, !wire_id_is_none(value->id) || value->ctx_id);
}

static void code_event(struct codec *codec, struct wire_event *value)
{
	static const struct ctxd_entry nothing;

	code_u32(codec, &value->kind);
	code_reserved(codec);
	code_u64(codec, &value->lost);
	require_that(codec, value->kind >= CTXD_EVENT_ADDED && value->kind <= CTXD_EVENT_LOST);
	require_that(codec, (value->kind == CTXD_EVENT_LOST) == (value->lost != 0));
	if (value->kind != CTXD_EVENT_LOST)
		code_entry(codec, &value->entry);
	else
		value->entry = nothing;
}

static void code_goodbye(struct codec *codec, struct wire_goodbye *value)
{
	code_error(codec, &value->error, false);
	code_reserved(codec);
}

static void code_global(struct codec *codec, struct wire_global *value)
{
	code_id(codec, &value->id, false);
	code_u64(codec, &value->secret);
	require_that(codec, value->secret);
	code_host(codec, value->host, false);
}

static void code_join_global(struct codec *codec, struct wire_join_global *value)
{
	code_global(codec, &value->global);
	code_flags(codec, &value->flags, WIRE_SURVIVE);
	code_reserved(codec);
}

static void code_fetch(struct codec *codec, struct wire_fetch *value)
{
	code_global(codec, &value->global);
	code_flags(codec, &value->flags, WIRE_SURVIVE);
	code_u32(codec, &value->uid);
}

static void code_mirror(struct codec *codec, struct wire_mirror *value)
{
	code_u64(codec, &value->fetch);
	code_global(codec, &value->global);
	code_flags(codec, &value->flags, WIRE_MOVABLE | WIRE_SURVIVE);
	code_u32(codec, &value->uid);
	code_error(codec, &value->error, true);
	code_reserved(codec);
	bool is_answer = value->error == -ENOENT || value->error == -EDQUOT || value->error == -ECANCELED;
	require_that(codec, !value->error || (value->fetch && is_answer));
	code_u64(codec, &value->deadline_ns);
	code_optional_cause(codec, &value->cause, value->error == -ECANCELED);
	code_text(codec, value->label, sizeof(value->label));
}

static void code_ask(struct codec *codec, struct wire_ask *value, bool from_service)
{
	code_u32(codec, &value->question);
	require_that(codec, value->question >= WIRE_ASK_HOSTS && value->question <= WIRE_ASK_ENGINE);
	bool is_list = value->question == WIRE_ASK_LIST, is_cancel = value->question == WIRE_ASK_CANCEL;
	code_flags(codec, &value->kinds, is_list ? ENTRY_KINDS : 0);
	require_that(codec, !is_list || value->kinds);
	code_flags(codec, &value->flags, is_cancel ? WIRE_DRY_RUN : 0);
	code_error(codec, &value->error, true);
	code_pid(codec, &value->pid);
	code_u32(codec, &value->uid);
	require_that(codec, from_service || (!value->pid && !value->uid));
	code_id(codec, &value->id, !is_cancel);
	require_that(codec, is_cancel || (wire_id_is_none(value->id) && !value->error));
	code_u64(codec, &value->wait_ns);
	code_host(codec, value->host, !is_cancel);
	code_text(codec, value->text, sizeof(value->text));
	require_that(codec, is_cancel || !value->text[0]);
}

static void code_told(struct codec *codec, struct wire_told *value)
{
	code_error(codec, &value->error, true);
	code_u32(codec, &value->hosts_asked);
	code_u32(codec, &value->hosts_silent);
	code_reserved(codec);
	code_report(codec, &value->report);
}

static void code_terms(struct codec *codec, struct wire_terms *value)
{
	code_u64(codec, &value->grace_ns);
	code_host(codec, value->host, true);
}

static void code_shared(struct codec *codec, struct wire_shared *value)
{
	code_id(codec, &value->id, false);
	code_u64(codec, &value->secret);
	require_that(codec, value->secret);
}

/* The fields of a message, by its type. False: there is no such type. */
static bool code_body(struct codec *codec, struct wire_message *message)
{
	switch (message->type) {
	case WIRE_HELLO:
		code_hello(codec, &message->hello);
		return true;
	case WIRE_SHARE:
		code_share(codec, &message->share);
		return true;
	case WIRE_WITHDRAW:
		return true;
	case WIRE_UNSHARE:
	case WIRE_UNSHARED:
	case WIRE_UNWANTED:
		code_id(codec, &message->id, message->type == WIRE_UNWANTED);
		return true;
	case WIRE_MOVE:
	case WIRE_MOVED:
		code_move(codec, &message->move);
		return true;
	case WIRE_ENDED:
		code_ended(codec, &message->ended);
		return true;
	case WIRE_JOIN:
		code_join(codec, &message->join);
		return true;
	case WIRE_REJOIN:
		code_rejoin(codec, &message->rejoin);
		return true;
	case WIRE_ATTACH:
	case WIRE_LEAVE:
		code_attach(codec, &message->attach);
		return true;
	case WIRE_LIST:
		code_list(codec, &message->list);
		return true;
	case WIRE_WATCH:
		code_flags(codec, &message->watch.kinds, ENTRY_KINDS);
		code_reserved(codec);
		return true;
	case WIRE_CANCEL:
		code_cancel(codec, &message->cancel);
		return true;
	case WIRE_TABLE:
		code_table(codec, &message->table);
		return true;
	case WIRE_OBEYED:
		code_obeyed(codec, &message->obeyed);
		return true;
	case WIRE_WELCOME:
		code_welcome(codec, &message->welcome);
		return true;
	case WIRE_RESULT:
		code_result(codec, &message->result);
		return true;
	case WIRE_JOINED:
		code_joined(codec, &message->joined);
		return true;
	case WIRE_ENTRIES:
		code_entries(codec, &message->entries);
		return true;
	case WIRE_REPORT:
		code_report_message(codec, &message->report);
		return true;
	case WIRE_FOUND:
		code_entry(codec, &message->found.entry);
		return true;
	case WIRE_ORDER:
		code_order(codec, &message->order);
		return true;
	case WIRE_EVENT:
		code_event(codec, &message->event);
		return true;
	case WIRE_GOODBYE:
		code_goodbye(codec, &message->goodbye);
		return true;
	case WIRE_JOIN_GLOBAL:
		code_join_global(codec, &message->join_global);
		return true;
	case WIRE_ASK:
	case WIRE_ASKED:
		code_ask(codec, &message->ask, message->type == WIRE_ASKED);
		return true;
	case WIRE_BRIDGE:
		code_host(codec, message->bridge.host, false);
		return true;
	case WIRE_MIRROR:
		code_mirror(codec, &message->mirror);
		return true;
	case WIRE_TELL:
	case WIRE_TOLD:
		code_told(codec, &message->told);
		return true;
	case WIRE_TERMS:
		code_terms(codec, &message->terms);
		return true;
	case WIRE_SHARED:
		code_shared(codec, &message->shared);
		return true;
	case WIRE_FETCH:
		code_fetch(codec, &message->fetch);
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
		return message->joined.ended ? 0 : message->joined.flags & WIRE_REMOTE ? 1 : 2;
	case WIRE_MIRROR:
		return message->mirror.error ? 0 : 1;
	case WIRE_TELL:
	case WIRE_TOLD:
		return message->told.error ? 0 : 1;
	default:
		return 0;
	}
}

/* The header that every packet begins with. */
static void code_header(struct codec *codec, uint32_t *magic, uint16_t *type, uint16_t *size,
			uint64_t *serial)
{
	code_u32(codec, magic);
	code_u16(codec, type);
	code_u16(codec, size);
	code_u64(codec, serial);
}

size_t wire_pack(const struct wire_message *message, uint8_t bytes[WIRE_SIZE_MAX])
{
	struct wire_message copy = *message;
	struct codec codec = {.out = bytes, .size = WIRE_SIZE_MAX, .at = HEADER_SIZE};
	struct codec head = {.out = bytes, .size = HEADER_SIZE};
	uint32_t magic = MAGIC;

	bool known = code_body(&codec, &copy);
	uint16_t type = (uint16_t)message->type, size = (uint16_t)codec.at;
	code_header(&head, &magic, &type, &size, &copy.serial);
	if (!known || codec.broken)
		abort(); /* the caller did not check what came from the program */
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
	code_header(&codec, &magic, &type, &size_said, &message.serial);
	if (magic != MAGIC || size_said != size)
		return -EPROTO;
	message.type = (enum wire_type)type;
	if (wire_from_service(message.type) != from_service)
		return -EPROTO;
	if (!code_body(&codec, &message))
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

	code_u32(&codec, &magic);
	code_u32(&codec, &version);
	code_cause(&codec, &copy);
	if (codec.broken)
		abort();
	return codec.at;
}

int wire_unpack_last_words(const uint8_t *bytes, size_t size, struct wire_cause *ret_cause)
{
	struct wire_cause words = {0};
	struct codec codec = {.in = bytes, .size = size};
	uint32_t magic = 0, version = 0;

	code_u32(&codec, &magic);
	code_u32(&codec, &version);
	code_cause(&codec, &words);
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
	/* A program may give any number as the error of a cause; only an errno is sent. */
	if (ret_cause->error >= 0 || ret_cause->error < -WIRE_ERRNO_MAX)
		ret_cause->error = ended_with == -ETIME ? -ETIME : -ECANCELED;
	memcpy(ret_cause->text, from->text, strnlen(from->text, sizeof(ret_cause->text) - 1));
	if (is_host(from->host))
		strcpy(ret_cause->host, from->host);
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
	memcpy(ret_cause->host, from->host, sizeof(ret_cause->host));
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
