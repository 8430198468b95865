/* SPDX-License-Identifier: MIT */
/* ctxtool ls: prints one line for each context. */
#include <stdio.h>

#include "commands.h"
#include "context_columns.h"
#include "copies.h"

static const char help[] =
	"Usage: ctxtool ls [OPTION...] [SELECTION]\n"
	"List the contexts of all processes, or those that are selected, one line each, parents before\n"
	"children.\n"
	"\n" SELECTION_HELP "\n"
	"  -o, --operations       list each operation in flight too, below its context\n"
	"  -s, --sort=COLUMN,...  sort by these columns; -COLUMN is the opposite order\n"
	"  -C, --columns=COLUMN,...  print these columns\n"
	"  -N, --no-header        print no line of headings\n"
	"  -a, --all              list the contexts of ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -j, --json             print JSON, with everything that is known\n"
	"  -F, --fleet[=HOST]     show what all hosts of the fleet, or one, share and have joined\n"
	"  -t, --timeout=SECONDS  with --fleet: wait so long for a host that does not answer; 1\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"ID is PID:SLOT.GENERATION. OPS is the number of operations in flight. A COLUMN is one "
	"of\n" CONTEXT_COLUMN_NAMES ".\n"
	"Exit codes: 0 shown; 1 nothing found, or a host is silent or gone; 2 wrong usage; 3 something\n"
	"could not be read; 4 no memory, no service or fleet for --fleet, or the output failed.\n";

static void print_operations(struct process *process, const struct reader_context *context)
{
	char text[TEXT_SIZE];

	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next)
		printf("    %s%s%s\n", colour(COLOUR_CYAN),
		       format_operation(process, &process->snapshot.operations[i], text),
		       colour(COLOUR_PLAIN));
}

static void print_losses(const struct survey *survey)
{
	char losses[TEXT_SIZE];

	for (size_t i = 0; i < survey->process_count; i++)
		if (*format_losses(&survey->processes[i], losses))
			fprintf(stderr, "ctxtool: process %d: %s\n", (int)survey->processes[i].pid, losses);
}

static int print_list(const struct view_options *options, struct survey *survey)
{
	struct layout layout = options->layout;
	struct context_rows rows;

	if (context_rows_collect(survey, &rows) ||
	    layout_sort(&layout, rows.rows, rows.count, sizeof(*rows.rows))) {
		context_rows_free(&rows);
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	for (size_t i = 0; i < rows.count; i++)
		layout_measure(&layout, &rows.rows[i]);
	if (!options->no_header)
		layout_print_head(&layout);
	for (size_t i = 0; i < rows.count; i++) {
		layout_print(&layout, &rows.rows[i]);
		if (options->operations)
			print_operations(rows.rows[i].process, rows.rows[i].context);
	}
	context_rows_free(&rows);
	print_losses(survey);
	if (!options->pid_count && !options->core)
		copies_print(survey, options->selection);
	return EXIT_OK;
}

const struct view view_ls = {.name = "ls",
			     .help = help,
			     .letters = "opcasCNjwnFth",
			     .columns = context_columns,
			     .default_columns = "id,state,age,left,ops,user,process,label,cause",
			     .shows_copies = true,
			     .print = print_list,
			     .print_fleet = list_print_fleet};
