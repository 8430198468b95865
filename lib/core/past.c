/* SPDX-License-Identifier: MIT */
#include "past.h"

#include <string.h>

#include "callback.h"
#include "cause.h"
#include "table.h"
#include "thread.h"

static bool in_table(const struct ctx_context *ctx)
{
	return !(ctx->flags & NODE_UNLISTED) && ctx->table_epoch == thread_fork_count;
}

/* Writes the text of a cause, and the host where it has one and there is room. */
static void write_text(const struct cause_text *text, char *to, size_t size)
{
	size_t length = strnlen(text->text, size - 1);
	size_t host_length = strnlen(text->host, sizeof(text->host) - 1);

	memcpy(to, text->text, length);
	to[length] = '\0';
	if (host_length && length + host_length + sizeof(" (on )") <= size) {
		memcpy(to + length, " (on ", 5);
		memcpy(to + length + 5, text->host, host_length);
		memcpy(to + length + 5 + host_length, ")", 2);
	}
}

void past_write_end(struct ctx_context *ctx, uint32_t below)
{
	if (atomic_fetch_or_explicit(&ctx->state, STATE_WRITTEN, memory_order_relaxed) & STATE_WRITTEN)
		return;
	struct ctx_table_end *entry = journal_begin(TABLE_ENDS);
	if (!entry)
		return;
	const struct ctx_table_context *record = table_context(ctx->slot);
	const struct cause_text *text = ctx->cause_text;
	bool is_error = ctx->cause_kind < CTX_CAUSE_SIGNAL;
	int error = context_error(ctx);
	entry->type = CTX_TABLE_END_CONTEXT;
	entry->context_slot = ctx->slot;
	entry->context_generation = ctx->generation;
	entry->tid = ctx->cause_tid;
	entry->time_ns = ctx->cause_time_ns;
	entry->end.created_ns = record->created_ns;
	entry->end.site = record->site;
	entry->end.done_site = (uintptr_t)ctx->cause_site;
	entry->end.parent_slot = record->parent_slot;
	entry->end.parent_generation = record->parent_generation;
	entry->end.error = -error;
	entry->end.cause_error = text && text->error	       ? text->error
				 : is_error && ctx->cause_code ? ctx->cause_code
							       : -error;
	entry->end.cause_code = is_error ? 0 : ctx->cause_code;
	entry->end.cause_kind = ctx->cause_kind;
	entry->end.kind = record->kind;
	entry->end.stem = record->stem;
	entry->end.cause_pid = text && text->foreign ? text->pid : 0;
	entry->end.cause_uid = text && text->foreign ? text->uid : 0;
	entry->end.below = below;
	entry->end.reserved = 0;
	memcpy(entry->end.label, record->label, sizeof(entry->end.label));
	entry->end.text[0] = '\0';
	if (text)
		write_text(text, entry->end.text, sizeof(entry->end.text));
	journal_end(TABLE_ENDS, sizeof(*entry));
}

uint64_t past_write_origin(struct ctx_context *ctx)
{
	struct ctx_context *origin = context_error(ctx) ? node_mutable(cause_origin(ctx)) : NULL;

	if (!origin || !in_table(origin))
		return 0;
	past_write_end(origin, 0);
	return ctx_id(origin);
}

bool past_has_audience(struct ctx_context *ctx, uint32_t state_before)
{
	struct extension *extension = node_extension(ctx);

	if (state_before & STATE_WAITERS)
		return true;
	if (!extension)
		return false;
	node_lock(ctx);
	bool found = extension->done != NULL || !list_empty(&extension->ring_callbacks);
	for (struct list *link = extension->watches.next; !found && link != &extension->watches;
	     link = link->next)
		found = !container_of(link, struct watch, link)->ops->quiet;
	lock_release(&ctx->lock);
	return found || callback_pending(ctx);
}
