/* SPDX-License-Identifier: MIT */
#include "describe.h"

#include <inttypes.h>

#include "format.h"
#include "names.h"
#include "service.h"
#include "watched.h"

#define ANCESTORS_SHOWN 100
#define CHILDREN_SHOWN 100

/* Where the text goes, and whether with colours. */
struct page {
	FILE *to;
	bool coloured;
};

static const char *shade(const struct page *page, enum colour wanted)
{
	return page->coloured ? colour(wanted) : "";
}

static void print_line(const struct page *page, const char *name, const char *value)
{
	fprintf(page->to, "  %-11s %s\n", name, value);
}

static void print_relative(const struct page *page, const struct process *process, const char *name,
			   const struct reader_context *context)
{
	char id[ID_SIZE], label[ESCAPED_SIZE];

	fprintf(page->to, "  %-11s %s \"%s\" %s%s%s\n", name, format_id(process, context, id),
		escape(context->record.label, label, sizeof(label)),
		shade(page, state_colour(context->record.state)), state_name(context->record.state),
		shade(page, COLOUR_PLAIN));
}

static void print_family(const struct page *page, const struct process *process,
			 const struct reader_context *context)
{
	const struct snapshot *snapshot = &process->snapshot;
	uint32_t shown = 0;

	if (context->parent == READER_NONE)
		print_line(page, "parent", context->orphan ? "gone from the table" : "none: a root");
	for (uint32_t i = context->parent; i != READER_NONE; i = snapshot->contexts[i].parent) {
		print_relative(page, process, shown ? "below" : "parent", &snapshot->contexts[i]);
		if (++shown == ANCESTORS_SHOWN) {
			print_line(page, "", "and more");
			break;
		}
	}
	shown = 0;
	for (uint32_t i = context->first_child; i != READER_NONE; i = snapshot->contexts[i].next_sibling) {
		if (shown++ < CHILDREN_SHOWN)
			print_relative(page, process, "child", &snapshot->contexts[i]);
	}
	if (shown > CHILDREN_SHOWN)
		fprintf(page->to, "  %-11s and %" PRIu32 " more\n", "", shown - CHILDREN_SHOWN);
}

static void print_made(const struct page *page, const struct process *process,
		       const struct reader_context *context)
{
	char age[16], site[320];

	fprintf(page->to, "  %-11s %s ago", "made",
		duration_text(age_ns(process, context->record.created_ns), age));
	if (context->record.creator_tid)
		fprintf(page->to, ", by thread %" PRIu32, context->record.creator_tid);
	if (context->record.site)
		fprintf(page->to, ", at %s",
			site_name_text(process, context->record.site, site, sizeof(site)));
	fputc('\n', page->to);
}

static void print_operations(const struct page *page, struct process *process,
			     const struct reader_context *context)
{
	char text[TEXT_SIZE];

	fprintf(page->to, "  %-11s %" PRIu32 "\n", "operations", context->operation_count);
	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next) {
		const struct reader_operation *operation = &process->snapshot.operations[i];

		fprintf(page->to, "    %s%s%s", shade(page, COLOUR_CYAN),
			format_operation(process, operation, text), shade(page, COLOUR_PLAIN));
		for (uint32_t j = 0; j < process->snapshot.ring_count; j++)
			if (process->snapshot.rings[j].slot == operation->record.ring)
				fprintf(page->to, ", on ring fd %" PRId32,
					process->snapshot.rings[j].record.fd);
		fputc('\n', page->to);
	}
}

void describe_context(FILE *to, bool coloured, struct process *process, const struct reader_context *context)
{
	const struct page place = {to, coloured}, *page = &place;
	char id[ID_SIZE], label[ESCAPED_SIZE], left[16], text[TEXT_SIZE];

	fprintf(page->to, "%scontext %s%s \"%s\"\n", shade(page, COLOUR_BOLD),
		format_id(process, context, id), shade(page, COLOUR_PLAIN),
		escape(context->record.label, label, sizeof(label)));
	print_line(page, "process", format_process(process, text));
	print_line(page, "kind", context_kind_name(context->record.kind));
	if (*watched_text(process, context, text))
		print_line(page, "watches", text);
	if (*service_note(process, context, text, sizeof(text)))
		print_line(page, "across", text + 1);
	fprintf(page->to, "  %-11s %s%s%s\n", "state", shade(page, state_colour(context->record.state)),
		state_name(context->record.state), shade(page, COLOUR_PLAIN));
	if (!(context->record.state & CTX_TABLE_LIVE))
		print_line(page, "cause", format_cause(process, context, true, text));
	print_line(page, "time left",
		   format_time_left(process, context, left)[0] == '-' ? "no deadline" : left);
	print_made(page, process, context);
	print_family(page, process, context);
	print_operations(page, process, context);
}

void describe_process(FILE *to, const struct process *process)
{
	const struct page place = {to, false}, *page = &place;
	const struct ctx_table_header *header = &process->snapshot.header;
	char text[TEXT_SIZE];

	fprintf(page->to, "process %s\n", format_process(process, text));
	fprintf(page->to,
		"  %-11s version %" PRIu32 ", room for %" PRIu32 " contexts, %" PRIu32 " operations, %" PRIu32
		" rings\n",
		"table", header->version, header->contexts.count, header->operations.count,
		header->rings.count);
	for (uint32_t i = 0; i < process->snapshot.ring_count; i++)
		fprintf(page->to, "  %s\n", format_ring(process, &process->snapshot.rings[i], text));
}
