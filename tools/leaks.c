/* SPDX-License-Identifier: MIT */
/* ctxtool leaks: lists live contexts that are old, with the place in the code that made them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "format.h"
#include "json.h"

#define OLDER_DEFAULT_NS 60000000000u

static const char help[] =
	"Usage: ctxtool leaks [OPTION...]\n"
	"List live contexts that are older than a minute, the oldest first, with the place in the code\n"
	"that made them, their children and operations in flight. Contexts that were forgotten are\n"
	"among them, and so are those that are meant to live long.\n"
	"\n"
	"  -O, --older=SECONDS    list contexts older than this\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -j, --json             print JSON\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"Exit codes: 0 some are listed, 1 there are none, 2 wrong usage, 3 something could not be read,\n"
	"4 no memory, or the output failed.\n";

struct leak {
	struct process *process;
	const struct reader_context *context;
	uint64_t age_ns;
};

static int compare_leaks(const void *left, const void *right)
{
	const struct leak *a = left, *b = right;

	if (a->age_ns != b->age_ns)
		return a->age_ns > b->age_ns ? -1 : 1;
	if (a->process->pid != b->process->pid)
		return a->process->pid < b->process->pid ? -1 : 1;
	return a->context->slot < b->context->slot ? -1 : a->context->slot > b->context->slot;
}

static uint32_t count_children(const struct leak *leak)
{
	uint32_t count = 0;

	for (uint32_t i = leak->context->first_child; i != READER_NONE;
	     i = leak->process->snapshot.contexts[i].next_sibling)
		count++;
	return count;
}

static size_t collect_leaks(struct survey *survey, uint64_t older_ns, struct leak *leaks)
{
	size_t count = 0;

	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			const struct reader_context *context = &process->snapshot.contexts[j];
			uint64_t age = age_ns(process, context->record.created_ns);

			if (context->record.state & CTX_TABLE_LIVE && age >= older_ns)
				leaks[count++] = (struct leak){process, context, age};
		}
	}
	qsort(leaks, count, sizeof(*leaks), compare_leaks);
	return count;
}

static void print_line(const struct leak *leak)
{
	char id[ID_SIZE], label[ESCAPED_SIZE], age[16], site[320];

	printf("%-18s %8s %8" PRIu32 " %6" PRIu32 "  %-24s %s\n", format_id(leak->process, leak->context, id),
	       duration_text(leak->age_ns, age), count_children(leak), leak->context->operation_count,
	       escape(leak->context->record.label, label, sizeof(label)),
	       leak->context->record.site
		       ? site_name_text(leak->process, leak->context->record.site, site, sizeof(site))
		       : "-");
}

static void print_json(const struct leak *leak, bool first)
{
	char id[ID_SIZE], label[ESCAPED_SIZE], quoted[ESCAPED_SIZE], site[320] = "";

	if (leak->context->record.site)
		site_text(&leak->process->sites, leak->context->record.site, site, sizeof(site));
	printf("%s{\"id\": \"%s\", \"label\": \"%s\", \"age_ns\": %" PRIu64 ", \"children\": %" PRIu32
	       ", \"operations\": %" PRIu32 ", \"site\": \"%s\", \"site_name\": ",
	       first ? "" : ",\n ", format_id(leak->process, leak->context, id),
	       json_text(leak->context->record.label, label, sizeof(label)), leak->age_ns,
	       count_children(leak), leak->context->operation_count,
	       json_quote(site, quoted, sizeof(quoted)));
	json_t *name = site_name_json(leak->process, leak->context->record.site);
	json_dumpf(name, stdout, 0);
	json_decref(name);
	putchar('}');
}

static int print_leaks(const struct view_options *options, struct survey *survey)
{
	uint64_t older_ns = options->older_ns ? options->older_ns : OLDER_DEFAULT_NS;
	size_t total = 1, count;
	struct leak *leaks;

	for (size_t i = 0; i < survey->process_count; i++)
		total += survey->processes[i].snapshot.context_count;
	leaks = malloc(total * sizeof(*leaks));
	if (!leaks) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	count = collect_leaks(survey, older_ns, leaks);
	if (options->json)
		putchar('[');
	else if (count)
		printf("%s%-18s %8s %8s %6s  %-24s %s%s\n", colour(COLOUR_BOLD), "ID", "AGE", "CHILDREN",
		       "OPS", "LABEL", "MADE AT", colour(COLOUR_PLAIN));
	for (size_t i = 0; i < count; i++) {
		if (options->json)
			print_json(&leaks[i], i == 0);
		else
			print_line(&leaks[i]);
	}
	if (options->json)
		puts("]");
	free(leaks);
	return count ? EXIT_OK : EXIT_NOTHING;
}

const struct view view_leaks = {
	.name = "leaks", .help = help, .letters = "Opcjwnh", .own_json = true, .print = print_leaks};
