/* SPDX-License-Identifier: MIT */
/*
 * Writes the seeds of fuzzers whose input is binary, below fuzz/corpus. The seeds are kept in the repository.
 * When a format has changed, they are made again:
 *
 *	cc -D_GNU_SOURCE -Iinclude -Ilib/table -Ilib/wire -Idaemon/fleet fuzz/make_corpus.c lib/wire/wire.c \
 *		lib/wire/codec.c lib/wire/fleet_list.c lib/wire/global_id.c \
 *		daemon/fleet/fleet_wire.c daemon/fleet/id.c -o /tmp/seeds
 *	/tmp/seeds
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fleet_list.h"
#include "fleet_wire.h"
#include "table_format.h"
#include "wire.h"

static void save_file(const char *target, const char *name, const void *bytes, size_t size)
{
	char path[200];
	snprintf(path, sizeof(path), "fuzz/corpus/%s/%s", target, name);
	FILE *file = fopen(path, "w");
	if (!file || fwrite(bytes, 1, size, file) != size || fclose(file))
		perror(path);
}

static void save_message(const char *name, const struct wire_message *message)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	size_t size = wire_pack(message, bytes);

	save_file(wire_from_service(message->type) ? "wire_client" : "wire_service", name, bytes, size);
}

/* Writes one record of the input of fuzz_broker.c. Returns its size. */
static size_t write_record(uint8_t *out, unsigned peer, unsigned choice, const struct wire_message *message)
{
	uint8_t bytes[WIRE_SIZE_MAX];
	size_t size = message ? wire_pack(message, bytes) - 16 : 0;

	if (size > 254)
		size = 254;
	out[0] = (uint8_t)peer;
	out[1] = (uint8_t)(size + 1);
	out[2] = (uint8_t)choice;
	memcpy(out + 3, bytes + 16, size);
	return size + 3;
}

static void save_broker(void)
{
	struct ctxd_id id = {1, 1};
	struct wire_message hello = {.type = WIRE_HELLO, .hello = {WIRE_VERSION, WIRE_VERSION, 0, "seed"}},
			    publish = {.type = WIRE_HELLO,
				       .hello = {WIRE_VERSION, WIRE_VERSION, WIRE_PUBLISH, "seed"}},
			    share = {.type = WIRE_SHARE, .share = {.ctx_id = 1, .mode = 0666, .name = "n"}},
			    join = {.type = WIRE_JOIN, .join = {.id = id}},
			    cancel = {.type = WIRE_CANCEL, .cancel = {.id = id}},
			    watch = {.type = WIRE_WATCH, .watch = {15}},
			    list = {.type = WIRE_LIST, .list = {0, 15}},
			    rejoin = {.type = WIRE_REJOIN, .rejoin = {.old_id = {9, 9}}},
			    leave = {.type = WIRE_LEAVE, .attach = {id, 0}}, ended = {.type = WIRE_ENDED};
	uint8_t bytes[4096];
	size_t at = 0;

	ended.ended = (struct wire_ended){id, {.error = -ECANCELED, .kind = CTX_CAUSE_CALL}};
	at += write_record(bytes + at, 0, 0, &publish);
	at += write_record(bytes + at, 1, 0, &hello);
	at += write_record(bytes + at, 2, 0, &hello);
	at += write_record(bytes + at, 1, 12, &watch);
	at += write_record(bytes + at, 0, 1, &share);
	at += write_record(bytes + at, 1, 6, &join);
	at += write_record(bytes + at, 2, 6, &join);
	at += write_record(bytes + at, 1, 11, &list);
	save_file("broker", "join", bytes, at);
	size_t joined = at;
	at += write_record(bytes + at, 1, 13, &cancel);
	at += write_record(bytes + at, 0x0e0, 0, NULL);
	save_file("broker", "cancel", bytes, at);
	at = joined;
	at += write_record(bytes + at, 0, 5, &ended);
	at += write_record(bytes + at, 1, 10, &leave);
	save_file("broker", "ended", bytes, at);
	at = write_record(bytes, 1, 0, &hello);
	at += write_record(bytes + at, 1, 8, &rejoin);
	at += write_record(bytes + at, 0, 0, &hello);
	at += write_record(bytes + at, 0, 1, &share);
	save_file("broker", "rejoin", bytes, at);
}

static void save_bridge(void)
{
	struct wire_global global = {{9, 1}, 5, "here"};
	struct wire_message hello = {.type = WIRE_HELLO, .hello = {WIRE_VERSION, WIRE_VERSION, 0, "seed"}},
			    bridge = {.type = WIRE_BRIDGE, .bridge = {"here"}},
			    join = {.type = WIRE_JOIN_GLOBAL, .join_global = {.global = global}},
			    mirror = {.type = WIRE_MIRROR, .mirror = {.fetch = 1, .global = global}},
			    again = {.type = WIRE_MIRROR, .mirror = {.global = global}}, over = mirror,
			    ask = {.type = WIRE_ASK, .ask = {.question = WIRE_ASK_HOSTS}},
			    told = {.type = WIRE_TELL},
			    share = {.type = WIRE_SHARE, .share = {.ctx_id = 1, .flags = WIRE_FLEET}},
			    leave = {.type = WIRE_LEAVE, .attach = {{1, 1}, 0}};
	uint8_t bytes[8192];
	size_t at = 0;

	at += write_record(bytes + at, 0, 0, &hello);
	at += write_record(bytes + at, 2, 0, &hello);
	at += write_record(bytes + at, 0, 20, &bridge);
	at += write_record(bytes + at, 2, 17, &join);
	at += write_record(bytes + at, 2, 19, &ask);
	at += write_record(bytes + at, 0x0e0, 0, NULL);
	size_t asked = at;
	at += write_record(bytes + at, 0, 22, &mirror);
	at += write_record(bytes + at, 0, 24, &told);
	at += write_record(bytes + at, 0x0e0, 0, NULL);
	at += write_record(bytes + at, 2, 10, &leave);
	at += write_record(bytes + at, 0x0e0, 0, NULL);
	save_file("broker", "mirror", bytes, at);
	over.mirror.error = -ECANCELED;
	over.mirror.cause = (struct wire_cause){.error = -ECANCELED, .kind = CTX_CAUSE_CALL};
	at = asked;
	at += write_record(bytes + at, 0, 22, &over);
	at += write_record(bytes + at, 0x0e0, 0, NULL);
	save_file("broker", "mirror_ended", bytes, at);
	at = asked;
	at += write_record(bytes + at, 0x0f0, 0, NULL);
	at += write_record(bytes + at, 0, 0, &hello);
	at += write_record(bytes + at, 0, 20, &bridge);
	at += write_record(bytes + at, 0, 22, &again);
	at += write_record(bytes + at, 0x0e0, 0, NULL);
	save_file("broker", "bridge_again", bytes, at);
	at = write_record(bytes, 0, 0, &hello);
	at += write_record(bytes + at, 2, 0, &hello);
	at += write_record(bytes + at, 2, 1, &share);
	at += write_record(bytes + at, 0, 17, &join);
	save_file("broker", "fleet", bytes, at);
}

static void save_messages(void)
{
	struct ctxd_id id = {7, 8};
	struct wire_cause cause = {.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .text = "why"};
	struct wire_global global = {id, 9, "far"};
	struct wire_message messages[] = {
		{.type = WIRE_HELLO, .hello = {WIRE_VERSION, WIRE_VERSION, 1, "seed"}},
		{.type = WIRE_SHARE, .share = {.name = "name", .label = "label", .mode = 0600}},
		{.type = WIRE_UNSHARE, .id = id},
		{.type = WIRE_MOVE, .move = {id, 1}},
		{.type = WIRE_ENDED, .ended = {id, cause}},
		{.type = WIRE_JOIN, .join = {.name = "name"}},
		{.type = WIRE_REJOIN, .rejoin = {.old_id = id}},
		{.type = WIRE_ATTACH, .attach = {id, 1}},
		{.type = WIRE_LIST, .list = {0, 1}},
		{.type = WIRE_WATCH, .watch = {1}},
		{.type = WIRE_CANCEL, .cancel = {.table = 1, .ctx_id = 1, .text = "t"}},
		{.type = WIRE_TABLE, .table = {CTXD_DEAD, 1}},
		{.type = WIRE_OBEYED, .obeyed = {.reaped = 1}},
		{.type = WIRE_WELCOME, .welcome = {WIRE_VERSION, 5}},
		{.type = WIRE_RESULT, .result = {0, id}},
		{.type = WIRE_JOINED, .joined = {.id = id, .label = "l"}},
		{.type = WIRE_ENTRIES,
		 .entries = {0, 1, {{.kind = CTXD_SHARED, .id = id, .name = "n", .process = "p"}}}},
		{.type = WIRE_REPORT},
		{.type = WIRE_FOUND, .found = {{.kind = CTXD_DEAD, .pid = 1}}},
		{.type = WIRE_ORDER, .order = {.ctx_id = 1}},
		{.type = WIRE_EVENT, .event = {.kind = CTXD_EVENT_LOST, .lost = 3}},
		{.type = WIRE_GOODBYE, .goodbye = {-EPROTO}},
		{.type = WIRE_JOIN_GLOBAL, .join_global = {global, WIRE_SURVIVE}},
		{.type = WIRE_ASK,
		 .ask = {.question = WIRE_ASK_CANCEL, .id = id, .host = "far", .text = "t"}},
		{.type = WIRE_BRIDGE, .bridge = {"here"}},
		{.type = WIRE_MIRROR,
		 .mirror = {.fetch = 1, .global = global, .error = -ECANCELED, .cause = cause}},
		{.type = WIRE_TELL, .told = {.error = -ENOENT}},
		{.type = WIRE_WITHDRAW, .serial = 7},
		{.type = WIRE_TERMS, .terms = {1, "here"}},
		{.type = WIRE_SHARED, .shared = {id, 9}},
		{.type = WIRE_TOLD, .told = {.error = -ENOENT}},
		{.type = WIRE_FETCH, .fetch = {global, WIRE_SURVIVE, 1}},
		{.type = WIRE_UNWANTED, .id = id},
		{.type = WIRE_UNSHARED, .id = id},
		{.type = WIRE_ASKED, .ask = {.question = WIRE_ASK_LIST, .kinds = 1, .pid = 1}},
	};
	char name[16];

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		snprintf(name, sizeof(name), "type%d", messages[i].type);
		save_message(name, &messages[i]);
	}
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	save_file("last_words", "call", bytes, wire_pack_last_words(&cause, bytes));
}

/* Saves a small table: a root, a child that has ended with a cause, an operation and a ring. */
static void save_table(void)
{
	static struct {
		struct ctx_table_header header;
		struct ctx_table_context contexts[4];
		struct ctx_table_operation operations[4];
		struct ctx_table_cause causes[2];
		struct ctx_table_ring rings[2];
		struct ctx_table_stem stems[3];
		struct ctx_table_counters counters[3];
	} table;
#define AREA(member, high)                                             \
	{offsetof(__typeof__(table), member), sizeof(table.member[0]), \
	 sizeof(table.member) / sizeof(table.member[0]), high, 0}
	table.header = (struct ctx_table_header){.magic = CTX_TABLE_MAGIC,
						 .version = CTX_TABLE_VERSION,
						 .header_size = sizeof(table.header),
						 .file_size = sizeof(table),
						 .contexts = AREA(contexts, 3),
						 .operations = AREA(operations, 2),
						 .causes = AREA(causes, 2),
						 .rings = AREA(rings, 2),
						 .stems = AREA(stems, 3),
						 .counters = AREA(counters, 3)};
	table.contexts[1] = (struct ctx_table_context){
		.generation = 1, .state = CTX_TABLE_LIVE, .kind = CTX_TABLE_CANCEL, .label = "root"};
	table.contexts[2] = (struct ctx_table_context){.generation = 1,
						       .state = ECANCELED | CTX_TABLE_OWN,
						       .parent_slot = 1,
						       .parent_generation = 1,
						       .kind = CTX_TABLE_CANCEL,
						       .cause_slot = 1,
						       .cause_kind = CTX_CAUSE_CALL};
	table.operations[1] = (struct ctx_table_operation){
		.context_slot = 1, .context_generation = 1, .flags = CTX_TABLE_OP_IN_FLIGHT, .ring = 1};
	table.causes[1] = (struct ctx_table_cause){
		.error = -EPIPE, .context_slot = 2, .context_generation = 1, .text = "text"};
	table.rings[1] = (struct ctx_table_ring){.state = 1};
	strcpy(table.stems[2].text, "conn *");
	table.counters[2] = (struct ctx_table_counters){.stem = 2, .begun = 1, .ages[3] = 1};
	save_file("reader", "small", &table, sizeof(table));
	save_file("reader", "header", &table.header, sizeof(table.header));
}

/* Saves a batch with each message, a BEAT, and an id. */
static void save_fleet(void)
{
	struct fleet_key key = {{7, 8}, 9};
	struct wire_cause cause = {.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .text = "why"};
	struct fleet_message messages[] = {
		{.type = FLEET_JOIN, .join = {key, 1}},
		{.type = FLEET_STATE, .state = {key, 1, FLEET_LIVE, 1, 2, CTX_FOREVER, "label", {0}}},
		{.type = FLEET_STATE, .state = {.key = key, .kind = FLEET_ENDED, .cause = cause}},
		{.type = FLEET_STATE, .state = {.key = key, .kind = FLEET_UNKNOWN}},
		{.type = FLEET_END, .ended = {key, cause}},
		{.type = FLEET_MOVED, .moved = {key, 3, 1000}},
		{.type = FLEET_LEAVE, .leave = key},
		{.type = FLEET_RESYNC, .resync = {.round = 1, .step = FLEET_RESYNC_BEGIN}},
		{.type = FLEET_RESYNC, .resync = {1, FLEET_RESYNC_ITEM, key, 3}},
		{.type = FLEET_RESYNC, .resync = {.round = 1, .step = FLEET_RESYNC_END}},
		{.type = FLEET_HELLO},
		{.type = FLEET_PROBE, .nonce = 1},
		{.type = FLEET_ECHO, .nonce = 1},
		{.type = FLEET_CANCEL,
		 .cancelling = {1, 0, {.id = key.id, .user = "u", .host = "h", .text = "t"}}},
		{.type = FLEET_CANCEL, .cancelling = {2, 9, {.id = key.id, .error = -EIO, .host = "h"}}},
		{.type = FLEET_REPORT, .reported = {1, FLEET_REPORT_HOST, 0, 0, 0, {.host = "h"}}},
		{.type = FLEET_REPORT,
		 .reported = {1, FLEET_REPORT_HOST, 1, 0, 0, {.host = "i", .is_silent = true}}},
		{.type = FLEET_REPORT, .reported = {.nonce = 1, .step = FLEET_REPORT_TOTAL, .index = 2}},
		{.type = FLEET_LIST, .list_wish = {3, 0, CTXD_SHARED | CTXD_JOINED, 1000}},
		{.type = FLEET_ENTRY,
		 .listed_entry = {3,
				  0,
				  1,
				  2,
				  3,
				  {.kind = CTXD_SHARED,
				   .id = key.id,
				   .created_ns = 1,
				   .deadline_ns = 1,
				   .ended_ns = 1,
				   .cause = {.error = -EIO, .kind = CTX_CAUSE_CALL},
				   .name = "n",
				   .label = "l",
				   .process = "p",
				   .host = "h",
				   .origin = key.id}}},
		{.type = FLEET_LISTED, .listed = {3, 1, 0}},
	};
	struct fleet_batch batch = {.fleet = "default",
				    .from = "host-1",
				    .flags = FLEET_HOLDS,
				    .from_incarnation = 1,
				    .session = 3,
				    .first = 1};
	uint8_t bytes[8192] = {0};

	save_file("fleet_wire", "beat", bytes, fleet_wire_pack_header(&batch, bytes));
	batch.count = sizeof(messages) / sizeof(messages[0]);
	size_t at = fleet_wire_pack_header(&batch, bytes);
	for (unsigned i = 0; i < batch.count; i++)
		at += fleet_wire_pack(&messages[i], bytes + at);
	save_file("fleet_wire", "all", bytes, at);
	batch.flags |= FLEET_CODED;
	fleet_wire_pack_header(&batch, bytes);
	memset(bytes + at, 0, FLEET_CODE_SIZE);
	save_file("fleet_wire", "coded", bytes, at + FLEET_CODE_SIZE);
	save_file("fleet_wire", "id", "host-1/7-8-9", 12);
}

/* Adds what a server says on a connection, as fuzz_engine_answers.c reads it. Returns the new size. */
static size_t add_answers(uint8_t *out, size_t size, unsigned connection, const char *text)
{
	while (*text) {
		size_t piece = strlen(text) < 100 ? strlen(text) : 100;
		out[size++] = (uint8_t)(connection << 7 | piece);
		memcpy(out + size, text, piece);
		size += piece;
		text += piece;
	}
	return size;
}

static void save_answers(void)
{
	static const char greeting[] =
		"*4\r\n+server\r\n+redis\r\n+version\r\n+7\r\n*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n+PONG\r\n";
	static const char commands[] = ":1\r\n$3\r\n1-1\r\n:0\r\n+OK\r\n*1\r\n$16\r\n0000000000000001\r\n"
				       "$16\r\n0000000000000001\r\n*2\r\n$-1\r\n$16\r\n0000000000000002\r\n";
	static const char probes[] =
		"+PONG\r\n*1\r\n+master\r\n*1\r\n$-1\r\n*2\r\n$1\r\n0\r\n*0\r\n$3\r\n1-2\r\n"
		"*2\r\n$1\r\n0\r\n*1\r\n$13\r\nctx:f:lease:b\r\n";
	static const char entries[] =
		"*1\r\n*2\r\n$8\r\nctx:f:in\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n"
		"*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\np\r\n$1\r\nx\r\n";
	static const char *const errors[] = {"-READONLY no\r\n", "-NOPERM no\r\n", "-OOM no\r\n"};
	uint8_t out[2048] = {1};
	size_t size = add_answers(out, 1, 0, commands);

	size = add_answers(out, size, 1, entries);
	size = add_answers(out, size, 0, probes);
	size = add_answers(out, size, 1, "*-1\r\n");
	save_file("engine_answers", "works", out, size);
	for (unsigned i = 0; i < 3; i++) {
		size = add_answers(out, 1, 0, commands);
		size = add_answers(out, size, i & 1, errors[i]);
		save_file("engine_answers", i == 0 ? "readonly" : i == 1 ? "noperm" : "oom", out, size);
	}
	out[0] = 0;
	size = add_answers(out, 1, 0, greeting);
	size = add_answers(out, size, 1, greeting);
	size = add_answers(out, size, 1, "*-1\r\n");
	size = add_answers(out, size, 1, entries);
	save_file("engine_answers", "greeting", out, size);
}

/* Saves an answer with a record of each kind. */
static void save_records(void)
{
	struct wire_record records[] = {
		{.kind = WIRE_RECORD_HOST, .list = 1, .host = {.name = "host-1", .state = CTXD_HOST_SELF}},
		{.kind = WIRE_RECORD_ENTRY,
		 .list = 1,
		 .entry = {.kind = CTXD_SHARED,
			   .id = {7, 8},
			   .ended_ns = 9,
			   .cause = {.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .text = "why", .host = "c"},
			   .label = "label",
			   .host = "host-2",
			   .origin = {1, 2}}},
		{.kind = WIRE_RECORD_ENTRY, .list = 1, .entry = {.kind = CTXD_JOINED, .id = {7, 8}}},
		{.kind = WIRE_RECORD_REPORT, .report = {.host = "host-1", .error = -ESTALE}},
		{.kind = WIRE_RECORD_FINDING, .finding = {CTXD_FINDING_ERROR, "rights", "none", "give some"}},
	};
	uint8_t bytes[8 * WIRE_RECORD_MAX];
	size_t size = WIRE_RECORDS_HEADER, count = sizeof(records) / sizeof(records[0]);

	for (size_t i = 0; i < count; i++)
		size += wire_record_pack(&records[i], bytes + size);
	wire_records_header(count, size, bytes);
	save_file("fleet_list", "all", bytes, size);
}

int main(void)
{
	save_messages();
	save_table();
	save_broker();
	save_bridge();
	save_fleet();
	save_answers();
	save_records();
	return 0;
}
