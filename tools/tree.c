/* SPDX-License-Identifier: MIT */
/* ctxtool tree: prints processes, their rings, and their contexts below their parents with operations. */
#include <inttypes.h>
#include <stdio.h>

#include "branches.h"
#include "commands.h"
#include "copies.h"
#include "format.h"
#include "names.h"
#include "service.h"

static const char help[] =
	"Usage: ctxtool tree [OPTION...] [SELECTION]\n"
	"Show the contexts of all processes as trees, with their operations in flight,\n"
	"and with --rings the rings of each process with their last batch of cancels. With --fleet: the\n"
	"shared contexts of all hosts, with what other hosts joined below the original. What the\n"
	"selected contexts stand below is shown dim, without its operations.\n"
	"\n" SELECTION_HELP "\n"
	"  -a, --all              show the contexts of ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -j, --json             print JSON: a flat list in which each context names its parent\n"
	"  -r, --rings            print the rings of each process too\n"
	"  -F, --fleet[=HOST]     show what all hosts of the fleet, or one, share and have joined\n"
	"  -t, --timeout=SECONDS  with --fleet: wait so long for a host that does not answer; 1\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"Exit codes: 0 shown; 1 nothing found, or a host is silent or gone; 2 wrong usage; 3 something\n"
	"could not be read; 4 no memory, no service or fleet for --fleet, or the output failed.\n";

static void print_context(const struct process *process, const struct reader_context *context,
			  const struct branches *branches)
{
	char id[ID_SIZE], label[ESCAPED_SIZE], age[16], left[16], cause[TEXT_SIZE], note[TEXT_SIZE];

	branches_print(branches, context->depth);
	if (terminal()->lines)
		fputs(context->next_sibling == READER_NONE ? "└─" : "├─", stdout);
	if (context->beside) {
		printf("%s%s \"%s\" %s%s\n", colour(COLOUR_DIM), format_id(process, context, id),
		       escape(context->record.label, label, sizeof(label)), state_name(context->record.state),
		       colour(COLOUR_PLAIN));
		return;
	}
	printf("%s%s%s \"%s\" %s%s%s, %s old", colour(COLOUR_BOLD), format_id(process, context, id),
	       colour(COLOUR_PLAIN), escape(context->record.label, label, sizeof(label)),
	       colour(state_colour(context->record.state)), state_name(context->record.state),
	       colour(COLOUR_PLAIN), duration_text(age_ns(process, context->record.created_ns), age));
	format_time_left(process, context, left);
	if (left[0] == 'd')
		fputs(", due", stdout);
	else if (left[0] != '-')
		printf(", %s left", left);
	fputs(service_note(process, context, note, sizeof(note)), stdout);
	if (!(context->record.state & CTX_TABLE_LIVE))
		printf(": %s", format_cause(process, context, false, cause));
	if (context->orphan)
		printf("%s, its parent is gone%s", colour(COLOUR_DIM), colour(COLOUR_PLAIN));
	putchar('\n');
}

static void print_operations(struct process *process, const struct reader_context *context,
			     const struct branches *branches)
{
	char text[TEXT_SIZE];

	for (uint32_t i = context->first_operation; i != READER_NONE;
	     i = process->snapshot.operations[i].next) {
		branches_print(branches, context->depth + 1);
		fputs(terminal()->lines && context->first_child != READER_NONE ? "│ " : "  ", stdout);
		printf("%s%s%s\n", colour(COLOUR_CYAN),
		       format_operation(process, &process->snapshot.operations[i], text),
		       colour(COLOUR_PLAIN));
	}
}

/* Prints the contexts of other processes that joined this one. */
static void print_joined(const struct process *process, const struct reader_context *context,
			 const struct branches *branches)
{
	const struct ctxd_entry *shared = service_entry_of(CTXD_SHARED, process->inode,
							   service_ctx_id(context)),
				*entries;
	char owner[ESCAPED_SIZE];
	size_t count;

	if (!shared)
		return;
	entries = service_entries(&count);
	for (size_t i = 0; i < count; i++) {
		const struct ctxd_entry *joined = &entries[i];
		if (joined->kind != CTXD_JOINED || joined->id.epoch != shared->id.epoch ||
		    joined->id.number != shared->id.number)
			continue;
		branches_print(branches, context->depth + 1);
		printf("  %sjoined by %d:%" PRIu32 ".%" PRIu32 " %s%s\n", colour(COLOUR_YELLOW),
		       (int)joined->pid, (uint32_t)joined->ctx_id, (uint32_t)(joined->ctx_id >> 32),
		       escape(joined->process, owner, sizeof(owner)), colour(COLOUR_PLAIN));
	}
}

static void print_process(struct process *process, bool rings)
{
	struct branches branches = {0};
	char text[TEXT_SIZE];

	printf("%s%s%s\n", colour(COLOUR_BOLD), format_process(process, text), colour(COLOUR_PLAIN));
	for (uint32_t i = 0; rings && i < process->snapshot.ring_count; i++)
		printf("%s  %s%s\n", colour(COLOUR_DIM),
		       format_ring(process, &process->snapshot.rings[i], text), colour(COLOUR_PLAIN));
	for (uint32_t i = 0; i < process->snapshot.shown_count; i++) {
		const struct reader_context *context =
			&process->snapshot.contexts[process->snapshot.preorder[i]];

		print_context(process, context, &branches);
		branches_set(&branches, context->depth, context->next_sibling != READER_NONE);
		print_operations(process, context, &branches);
		if (!context->beside)
			print_joined(process, context, &branches);
	}
	if (*format_losses(process, text))
		fprintf(stderr, "ctxtool: process %d: %s\n", (int)process->pid, text);
}

static int print_trees(const struct view_options *options, struct survey *survey)
{
	for (size_t i = 0; i < survey->process_count; i++) {
		if (i)
			putchar('\n');
		print_process(&survey->processes[i], options->rings);
	}
	if (!options->pid_count && !options->core)
		copies_print(survey, options->selection);
	return EXIT_OK;
}

const struct view view_tree = {.name = "tree",
			       .help = help,
			       .letters = "arpcjwnFth",
			       .keeps_ancestors = true,
			       .shows_copies = true,
			       .print = print_trees,
			       .print_fleet = tree_print_fleet};
