/* SPDX-License-Identifier: MIT */
/*
 * The log: a line of key=value on stderr for each event.
 *
 * The ids of connection and request are values of the context, so no function has to pass them on for the
 * log. When a batch is reported, the context that it ended may be freed. Its ids are therefore kept here, by
 * the id of the context.
 */
#include "httpd.h"
#include <inttypes.h>
#include <stdarg.h>

static int format_number(const void *value, char *buffer, size_t size)
{
	return snprintf(buffer, size, "%" PRIuPTR, (uintptr_t)value);
}

const struct ctx_key connection_key = {.name = "conn", .format = format_number};
const struct ctx_key request_key = {.name = "req", .format = format_number};
bool log_quiet;

/* The ids of contexts that were ended. A later context in the same place replaces the earlier one. */
static struct {
	uint64_t ctx_id;
	uint64_t connection;
	uint64_t request;
} ended_contexts[4096];

int tag_context(const struct ctx_context *ctx, const struct ctx_key *key, uint64_t number,
		const struct ctx_context **ret_tagged)
{
	return ctx_with_value(ctx, key, (void *)(uintptr_t)number, NULL, ret_tagged);
}

static uint64_t tag_of(const struct ctx_context *ctx, const struct ctx_key *key)
{
	void *value;

	return ctx_value(ctx, key, &value) ? 0 : (uint64_t)(uintptr_t)value;
}

static void log_line(uint64_t connection, uint64_t request, const char *event, const char *text)
{
	char ids[2][24] = {"-", "-"};
	uint64_t now = now_ns();

	if (connection)
		snprintf(ids[0], sizeof(ids[0]), "%" PRIu64, connection);
	if (request)
		snprintf(ids[1], sizeof(ids[1]), "%" PRIu64, request);
	fprintf(stderr, "t=%" PRIu64 ".%06u conn=%s req=%s event=%s%s%s\n", now / NSEC_PER_SEC,
		(unsigned)(now % NSEC_PER_SEC / 1000), ids[0], ids[1], event, *text ? " " : "", text);
}

void log_event(const struct ctx_context *ctx, const char *event, const char *format, ...)
{
	char text[URL_LENGTH_MAX + 512];
	va_list arguments;

	if (log_quiet)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	log_line(tag_of(ctx, &connection_key), tag_of(ctx, &request_key), event, text);
}

void log_batch_of(const struct ctx_context *ended, const struct request *request)
{
	uint64_t id = ctx_id(ended);
	size_t place = (uint32_t)id % (sizeof(ended_contexts) / sizeof(ended_contexts[0]));

	ended_contexts[place].ctx_id = id;
	ended_contexts[place].connection = request->conn->id;
	ended_contexts[place].request = request->id;
}

void log_batch(struct ctx_ring *ring, const struct ctx_batch *batch, void *data)
{
	size_t place = (uint32_t)batch->ctx_id % (sizeof(ended_contexts) / sizeof(ended_contexts[0]));
	const struct server *server = data;
	bool known = ended_contexts[place].ctx_id == batch->ctx_id;
	char text[512];

	(void)ring;
	/* A connection that closes as usual ends its watch for a hang-up in a batch. That is not worth a
	 * line. */
	if (log_quiet || (!known && batch->ctx_id != ctx_id(server->ctx)))
		return;
	snprintf(text, sizeof(text),
		 "operations=%u sqes=%u enters=%u submit_us=%" PRIu64 " reap_us=%" PRIu64
		 " cancelled=%u finished=%u timed=%u unsent=%u",
		 batch->operations, batch->sqes, batch->enters, batch->submit_ns / 1000,
		 batch->reap_ns / 1000, batch->cancelled, batch->finished, batch->timed, batch->unsent);
	log_line(known ? ended_contexts[place].connection : 0, known ? ended_contexts[place].request : 0,
		 "batch", text);
}
