/* SPDX-License-Identifier: MIT */
/* ctxtool ls: prints one line for each context. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "copies.h"
#include "format.h"
#include "names.h"

static const char help[] =
	"Usage: ctxtool ls [OPTION...]\n"
	"List the contexts of all processes, one line each, parents before children.\n"
	"\n"
	"  -o, --operations       list each operation in flight too, below its context\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -j, --json             print JSON, with everything that is known\n"
	"  -F, --fleet[=HOST]     show what all hosts of the fleet, or one, share and have joined\n"
	"  -t, --timeout=SECONDS  with --fleet: wait so long for a host that does not answer; 1\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"ID is PID:SLOT.GENERATION. OPS is the number of operations in flight.\n"
	"Exit codes: 0 shown; 1 nothing found, or a host is silent or gone; 2 wrong usage; 3 something\n"
	"could not be read; 4 no memory, no service or fleet for --fleet, or the output failed.\n";

struct widths {
	int id, label;
};

static void widen_column(int *width, const char *text)
{
	int needed = (int)text_width(text);

	if (needed > *width)
		*width = needed;
}

static struct widths measure_columns(const struct survey *survey)
{
	struct widths widths = {.id = 2, .label = 5};
	char id[ID_SIZE], label[ESCAPED_SIZE];

	for (size_t i = 0; i < survey->process_count; i++) {
		const struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			const struct reader_context *context = &process->snapshot.contexts[j];

			widen_column(&widths.id, format_id(process, context, id));
			widen_column(&widths.label, escape(context->record.label, label, sizeof(label)));
		}
	}
	if (widths.label > 32)
		widths.label = 32;
	return widths;
}

static void print_context(const struct process *process, const struct reader_context *context,
			  const struct widths *widths)
{
	char id[ID_SIZE], label[ESCAPED_SIZE], age[16], left[16], cause[TEXT_SIZE];
	int pad;

	format_id(process, context, id);
	escape(context->record.label, label, sizeof(label));
	if (!label[0])
		strcpy(label, "-");
	/* printf(3) pads to a number of bytes; the width of the column is in characters. */
	pad = widths->label - (int)text_width(label);
	printf("%-*s  %s%-9s%s  %8s  %8s  %5u  %s%*s  %s\n", widths->id, id,
	       colour(state_colour(context->record.state)), state_name(context->record.state),
	       colour(COLOUR_PLAIN), duration_text(age_ns(process, context->record.created_ns), age),
	       format_time_left(process, context, left), context->operation_count, label, pad > 0 ? pad : 0,
	       "", format_cause(process, context, false, cause));
}

static void print_operations(struct process *process, const struct reader_context *context)
{
	char text[TEXT_SIZE];

	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next)
		printf("    %s%s%s\n", colour(COLOUR_CYAN),
		       format_operation(process, &process->snapshot.operations[i], text),
		       colour(COLOUR_PLAIN));
}

static int print_list(const struct view_options *options, struct survey *survey)
{
	struct widths widths = measure_columns(survey);
	char losses[TEXT_SIZE];

	printf("%s%-*s  %-9s  %8s  %8s  %5s  %-*s  %s%s\n", colour(COLOUR_BOLD), widths.id, "ID", "STATE",
	       "AGE", "LEFT", "OPS", widths.label, "LABEL", "CAUSE", colour(COLOUR_PLAIN));
	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			const struct reader_context *context =
				&process->snapshot.contexts[process->snapshot.preorder[j]];

			print_context(process, context, &widths);
			if (options->operations)
				print_operations(process, context);
		}
		if (*format_losses(process, losses))
			fprintf(stderr, "ctxtool: process %d: %s\n", (int)process->pid, losses);
	}
	if (!options->pid_count && !options->core)
		copies_print(survey);
	return EXIT_OK;
}

const struct view view_ls = {.name = "ls",
			     .help = help,
			     .letters = "opcjwnFth",
			     .shows_copies = true,
			     .print = print_list,
			     .print_fleet = list_print_fleet};
