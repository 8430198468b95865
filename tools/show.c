/* SPDX-License-Identifier: MIT */
/* ctxtool show: prints everything that is known of one context or of one process. */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "format.h"
#include "names.h"
#include "service.h"
#include "target.h"
#include "watched.h"

#define ANCESTORS_SHOWN 100
#define CHILDREN_SHOWN 100

static const char help[] = "Usage: ctxtool show [OPTION...] ID|PID|LABEL\n"
			   "Show all that is known of one context, or of a process with its rings.\n"
			   "\n"
			   "ID is PID:SLOT.GENERATION as ls and tree print it; with --pid or --core also\n"
			   "SLOT.GENERATION. LABEL is the label of a context, if one alone has it.\n"
			   "\n"
			   "  -p, --pid=PID          look only at this process; repeatable\n"
			   "  -c, --core=FILE        read the core file of a dead process instead\n"
			   "  -j, --json             print JSON\n"
			   "  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
			   "  -n, --count=N          stop repeating after N times\n"
			   "  -h, --help             print this text\n"
			   "\n"
			   "Exit codes: 0 shown, 1 no such context, 2 wrong usage, or a label that several\n"
			   "have, 3 something could not be read, 4 no memory, or the output failed.\n";

static void print_line(const char *name, const char *value)
{
	printf("  %-11s %s\n", name, value);
}

static void print_relative(const struct process *process, const char *name,
			   const struct reader_context *context)
{
	char id[ID_SIZE], label[ESCAPED_SIZE];

	printf("  %-11s %s \"%s\" %s%s%s\n", name, format_id(process, context, id),
	       escape(context->record.label, label, sizeof(label)),
	       colour(state_colour(context->record.state)), state_name(context->record.state),
	       colour(COLOUR_PLAIN));
}

static void print_family(const struct process *process, const struct reader_context *context)
{
	const struct snapshot *snapshot = &process->snapshot;
	uint32_t shown = 0;

	if (context->parent == READER_NONE)
		print_line("parent", context->orphan ? "gone from the table" : "none: a root");
	for (uint32_t i = context->parent; i != READER_NONE; i = snapshot->contexts[i].parent) {
		print_relative(process, shown ? "below" : "parent", &snapshot->contexts[i]);
		if (++shown == ANCESTORS_SHOWN) {
			print_line("", "and more");
			break;
		}
	}
	shown = 0;
	for (uint32_t i = context->first_child; i != READER_NONE; i = snapshot->contexts[i].next_sibling) {
		if (shown++ < CHILDREN_SHOWN)
			print_relative(process, "child", &snapshot->contexts[i]);
	}
	if (shown > CHILDREN_SHOWN)
		printf("  %-11s and %" PRIu32 " more\n", "", shown - CHILDREN_SHOWN);
}

static void print_made(const struct process *process, const struct reader_context *context)
{
	char age[16], site[320];

	printf("  %-11s %s ago", "made", duration_text(age_ns(process, context->record.created_ns), age));
	if (context->record.creator_tid)
		printf(", by thread %" PRIu32, context->record.creator_tid);
	if (context->record.site)
		printf(", at %s", site_name_text(process, context->record.site, site, sizeof(site)));
	putchar('\n');
}

static void print_context(struct process *process, const struct reader_context *context)
{
	char id[ID_SIZE], label[ESCAPED_SIZE], left[16], text[TEXT_SIZE];

	printf("%scontext %s%s \"%s\"\n", colour(COLOUR_BOLD), format_id(process, context, id),
	       colour(COLOUR_PLAIN), escape(context->record.label, label, sizeof(label)));
	print_line("process", format_process(process, text));
	print_line("kind", context_kind_name(context->record.kind));
	if (*watched_text(process, context, text))
		print_line("watches", text);
	if (*service_note(process, context, text, sizeof(text)))
		print_line("across", text + 1);
	printf("  %-11s %s%s%s\n", "state", colour(state_colour(context->record.state)),
	       state_name(context->record.state), colour(COLOUR_PLAIN));
	if (!(context->record.state & CTX_TABLE_LIVE))
		print_line("cause", format_cause(process, context, true, text));
	print_line("time left", format_time_left(process, context, left)[0] == '-' ? "no deadline" : left);
	print_made(process, context);
	print_family(process, context);
	printf("  %-11s %" PRIu32 "\n", "operations", context->operation_count);
	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next) {
		const struct reader_operation *operation = &process->snapshot.operations[i];

		printf("    %s%s%s", colour(COLOUR_CYAN), format_operation(process, operation, text),
		       colour(COLOUR_PLAIN));
		for (uint32_t j = 0; j < process->snapshot.ring_count; j++)
			if (process->snapshot.rings[j].slot == operation->record.ring)
				printf(", on ring fd %" PRId32, process->snapshot.rings[j].record.fd);
		putchar('\n');
	}
}

static void print_process(const struct process *process)
{
	const struct ctx_table_header *header = &process->snapshot.header;
	char text[TEXT_SIZE];

	printf("process %s\n", format_process(process, text));
	printf("  %-11s version %" PRIu32 ", room for %" PRIu32 " contexts, %" PRIu32 " operations, %" PRIu32
	       " rings\n",
	       "table", header->version, header->contexts.count, header->operations.count,
	       header->rings.count);
	for (uint32_t i = 0; i < process->snapshot.ring_count; i++)
		printf("  %s\n", format_ring(process, &process->snapshot.rings[i], text));
}

static int print_target(const struct view_options *options, struct survey *survey)
{
	struct target target;
	int code = target_find(options->id, survey, &target);

	if (code != EXIT_OK)
		return code;
	if (target.context)
		print_context(target.process, target.context);
	else
		print_process(target.process);
	return EXIT_OK;
}

const struct view view_show = {
	.name = "show", .help = help, .letters = "pcjwnh", .takes_id = true, .print = print_target};
