/* SPDX-License-Identifier: MIT */
/* Context tables made by hand, for tests of those that read them. */
#ifndef TEST_TABLE_WRITER_H
#define TEST_TABLE_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "table_format.h"

struct made_table {
	unsigned char *bytes; /* the caller's, zeroed */
	size_t size;
};

/* Bytes that a table with so many records of each kind needs; slot 0 is counted. */
size_t made_table_size(uint32_t contexts, uint32_t operations, uint32_t causes, uint32_t rings);

/* Writes the header and the areas' places. pid as the reader will see it. */
struct made_table made_table_begin(void *bytes, uint32_t contexts, uint32_t operations, uint32_t causes,
				   uint32_t rings, int32_t pid, uint64_t now_ns);

struct ctx_table_header *made_table_header(const struct made_table *table);
struct ctx_table_context *made_table_context(const struct made_table *table, uint32_t slot);
struct ctx_table_operation *made_table_operation(const struct made_table *table, uint32_t slot);
struct ctx_table_cause *made_table_cause(const struct made_table *table, uint32_t slot);
struct ctx_table_ring *made_table_ring(const struct made_table *table, uint32_t slot);

/*
 * Adds room for stems and counters behind the table, at bytes that the caller has and that are zeroed, too:
 * made_table_counters_size(). Slots 0 and 1 of stems, and 0 of counters, are counted.
 */
size_t made_table_counters_size(uint32_t stems, uint32_t counters);
void made_table_add_counters(struct made_table *table, uint32_t stems, uint32_t counters);
struct ctx_table_stem *made_table_stem(const struct made_table *table, uint32_t slot);
struct ctx_table_counters *made_table_counters(const struct made_table *table, uint32_t slot);

/* Fills a slot with a live context of generation 1, made at_ns; parent_slot 0: a root. */
struct ctx_table_context *made_table_add_context(const struct made_table *table, uint32_t slot,
						 uint32_t parent_slot, const char *label, uint64_t at_ns);

/*
 * A small table with one of everything: a root "server", two requests below it of which one was
 * cancelled with a text, a child that inherits that, an expired one, two operations, a ring with a batch.
 */
#define MADE_SAMPLE_CONTEXTS 16
#define MADE_SAMPLE_OPERATIONS 8
#define MADE_SAMPLE_CAUSES 4
#define MADE_SAMPLE_RINGS 4
struct made_table made_table_sample(void *bytes, int32_t pid, uint64_t now_ns);

#endif
