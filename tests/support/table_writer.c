/* SPDX-License-Identifier: MIT */
#include "table_writer.h"

#include <errno.h>
#include <string.h>

#include "ctxring.h"

#define HEADER_ROOM 1024

size_t made_table_size(uint32_t contexts, uint32_t operations, uint32_t causes, uint32_t rings)
{
	return HEADER_ROOM + contexts * sizeof(struct ctx_table_context) +
	       operations * sizeof(struct ctx_table_operation) + causes * sizeof(struct ctx_table_cause) +
	       rings * sizeof(struct ctx_table_ring);
}

static uint64_t place(struct ctx_table_area *area, uint64_t offset, size_t record_size, uint32_t count)
{
	*area = (struct ctx_table_area){
		.offset = offset, .record_size = (uint32_t)record_size, .count = count, .used = count};
	return offset + (uint64_t)record_size * count;
}

struct made_table made_table_begin(void *bytes, uint32_t contexts, uint32_t operations, uint32_t causes,
				   uint32_t rings, int32_t pid, uint64_t now_ns)
{
	struct ctx_table_header *header = bytes;
	uint64_t at = HEADER_ROOM;

	_Static_assert(sizeof(*header) <= HEADER_ROOM, "the header fits before the first area");
	header->version = CTX_TABLE_VERSION;
	header->header_size = sizeof(*header);
	header->file_size = made_table_size(contexts, operations, causes, rings);
	header->created_ns = now_ns;
	header->pid = pid;
	at = place(&header->contexts, at, sizeof(struct ctx_table_context), contexts);
	at = place(&header->operations, at, sizeof(struct ctx_table_operation), operations);
	at = place(&header->causes, at, sizeof(struct ctx_table_cause), causes);
	place(&header->rings, at, sizeof(struct ctx_table_ring), rings);
	header->magic = CTX_TABLE_MAGIC;
	return (struct made_table){bytes, header->file_size};
}

struct ctx_table_header *made_table_header(const struct made_table *table)
{
	return (struct ctx_table_header *)(void *)table->bytes;
}

static void *record(const struct made_table *table, const struct ctx_table_area *area, uint32_t slot)
{
	return table->bytes + area->offset + (size_t)slot * area->record_size;
}

struct ctx_table_context *made_table_context(const struct made_table *table, uint32_t slot)
{
	return record(table, &made_table_header(table)->contexts, slot);
}

struct ctx_table_operation *made_table_operation(const struct made_table *table, uint32_t slot)
{
	return record(table, &made_table_header(table)->operations, slot);
}

struct ctx_table_cause *made_table_cause(const struct made_table *table, uint32_t slot)
{
	return record(table, &made_table_header(table)->causes, slot);
}

struct ctx_table_ring *made_table_ring(const struct made_table *table, uint32_t slot)
{
	return record(table, &made_table_header(table)->rings, slot);
}

size_t made_table_counters_size(uint32_t stems, uint32_t counters)
{
	return stems * sizeof(struct ctx_table_stem) + counters * sizeof(struct ctx_table_counters);
}

void made_table_add_counters(struct made_table *table, uint32_t stems, uint32_t counters)
{
	struct ctx_table_header *header = made_table_header(table);
	uint64_t at = place(&header->stems, table->size, sizeof(struct ctx_table_stem), stems);

	table->size = place(&header->counters, at, sizeof(struct ctx_table_counters), counters);
	header->file_size = table->size;
	strcpy(made_table_stem(table, CTX_TABLE_STEM_OTHER)->text, "other");
}

struct ctx_table_stem *made_table_stem(const struct made_table *table, uint32_t slot)
{
	return record(table, &made_table_header(table)->stems, slot);
}

struct ctx_table_counters *made_table_counters(const struct made_table *table, uint32_t slot)
{
	return record(table, &made_table_header(table)->counters, slot);
}

struct ctx_table_context *made_table_add_context(const struct made_table *table, uint32_t slot,
						 uint32_t parent_slot, const char *label, uint64_t at_ns)
{
	struct ctx_table_context *context = made_table_context(table, slot);

	context->generation = 1;
	context->state = CTX_TABLE_LIVE;
	context->parent_slot = parent_slot;
	context->parent_generation = parent_slot ? 1 : 0;
	context->creator_tid = 1;
	context->created_ns = at_ns;
	context->deadline_ns = UINT64_MAX;
	context->kind = CTX_TABLE_CANCEL;
	strncpy(context->label, label, sizeof(context->label) - 1);
	return context;
}

static void end(struct ctx_table_context *context, uint32_t how, uint8_t cause_kind, uint64_t at_ns)
{
	context->state = how;
	context->cause_kind = cause_kind;
	context->done_ns = at_ns;
	context->done_tid = 7;
}

struct made_table made_table_sample(void *bytes, int32_t pid, uint64_t now_ns)
{
	struct made_table table = made_table_begin(bytes, MADE_SAMPLE_CONTEXTS, MADE_SAMPLE_OPERATIONS,
						   MADE_SAMPLE_CAUSES, MADE_SAMPLE_RINGS, pid, now_ns);
	struct ctx_table_context *context;

	made_table_add_context(&table, 1, 0, "server", now_ns);
	context = made_table_add_context(&table, 2, 1, "GET /live", now_ns + 1);
	context->deadline_ns = now_ns + 3600000000000u;
	context = made_table_add_context(&table, 3, 1, "GET /gone", now_ns + 2);
	end(context, CTX_TABLE_OWN | ECANCELED, CTX_CAUSE_CALL, now_ns + 5);
	context->cause_slot = 1;
	context = made_table_add_context(&table, 4, 3, "upstream", now_ns + 3);
	context->state = ECANCELED;
	context = made_table_add_context(&table, 5, 1, "late", now_ns + 4);
	end(context, CTX_TABLE_OWN | ETIME, CTX_CAUSE_DEADLINE, now_ns + 6);
	*made_table_cause(&table, 1) = (struct ctx_table_cause){
		.error = -ECONNRESET, .context_slot = 3, .context_generation = 1, .text = "client went away"};
	*made_table_operation(&table, 1) = (struct ctx_table_operation){.context_slot = 2,
									.context_generation = 1,
									.fd = 0,
									.opcode = 27,
									.flags = CTX_TABLE_OP_IN_FLIGHT,
									.ring = 1,
									.since_ns = now_ns + 2};
	*made_table_operation(&table, 2) =
		(struct ctx_table_operation){.context_slot = 4,
					     .context_generation = 1,
					     .fd = 1,
					     .opcode = 6,
					     .flags = CTX_TABLE_OP_IN_FLIGHT | CTX_TABLE_OP_CANCELLING,
					     .ring = 1,
					     .since_ns = now_ns + 3};
	*made_table_ring(&table, 1) = (struct ctx_table_ring){.state = 1,
							      .owner_tid = 1,
							      .fd = 9,
							      .setup_flags = 1u << 13,
							      .sq_entries = 256,
							      .cq_entries = 512,
							      .opened_ns = now_ns,
							      .batches = 1,
							      .batch_context_slot = 3,
							      .batch_context_generation = 1,
							      .batch_operations = 2,
							      .batch_sqes = 2,
							      .batch_enters = 1,
							      .batch_cancelled = 1,
							      .batch_finished = 0,
							      .batch_submit_ns = 1500,
							      .batch_reap_ns = 2500};
	return table;
}
