/* SPDX-License-Identifier: MIT */
/* ctxtool leaks: lists live contexts that are old, with the place in the code that made them. */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "context_columns.h"
#include "json.h"
#include "users.h"

#define OLDER_DEFAULT_NS 60000000000u

static const char help[] =
	"Usage: ctxtool leaks [OPTION...] [SELECTION]\n"
	"List live contexts that are older than a minute, the oldest first, with the place in the code\n"
	"that made them, their children and operations in flight. Contexts that were forgotten are\n"
	"among them, and so are those that are meant to live long.\n"
	"\n" SELECTION_HELP "\n"
	"  -O, --older=AGE        list contexts older than this: 5s, 250ms, 1h30m; a minute\n"
	"  -s, --sort=COLUMN,...  sort by these columns; -COLUMN is the opposite order\n"
	"  -C, --columns=COLUMN,...  print these columns\n"
	"  -N, --no-header        print no line of headings\n"
	"  -a, --all              list contexts of ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID          look only at this process; repeatable\n"
	"  -c, --core=FILE        read the core file of a dead process instead\n"
	"  -j, --json             print JSON\n"
	"  -w, --watch[=SECONDS]  repeat until Ctrl-C, every second by default\n"
	"  -n, --count=N          stop repeating after N times\n"
	"  -h, --help             print this text\n"
	"\n"
	"A COLUMN is one of " CONTEXT_COLUMN_NAMES ".\n"
	"Exit codes: 0 some are listed, 1 there are none, 2 wrong usage, 3 something could not be read,\n"
	"4 no memory, or the output failed.\n";

/* Keeps the rows of live contexts that are so old. */
static void keep_old(struct context_rows *rows, uint64_t older_ns)
{
	size_t count = 0;

	for (size_t i = 0; i < rows->count; i++) {
		const struct context_row *row = &rows->rows[i];

		if (row->context->record.state & CTX_TABLE_LIVE &&
		    age_ns(row->process, row->context->record.created_ns) >= older_ns)
			rows->rows[count++] = *row;
	}
	rows->count = count;
}

static void print_json(const struct context_row *leak, bool first)
{
	char id[ID_SIZE], label[ESCAPED_SIZE], quoted[ESCAPED_SIZE], site[320] = "";
	char comm[2 * ESCAPED_SIZE], user[2 * ESCAPED_SIZE];

	if (leak->context->record.site)
		site_text(&leak->process->sites, leak->context->record.site, site, sizeof(site));
	printf("%s{\"id\": \"%s\", \"pid\": %d, \"process\": \"%s\", \"uid\": %u, \"user\": \"%s\", "
	       "\"label\": \"%s\", \"age_ns\": %" PRIu64 ", \"children\": %" PRIu32
	       ", \"operations\": %" PRIu32 ", \"site\": \"%s\", \"site_name\": ",
	       first ? "" : ",\n ", format_id(leak->process, leak->context, id), (int)leak->process->pid,
	       json_text(leak->process->name, comm, sizeof(comm)), (unsigned)leak->process->uid,
	       json_text(user_name(leak->process->uid), user, sizeof(user)),
	       json_text(leak->context->record.label, label, sizeof(label)),
	       age_ns(leak->process, leak->context->record.created_ns), context_row_children(leak),
	       leak->context->operation_count, json_quote(site, quoted, sizeof(quoted)));
	json_t *name = site_name_json(leak->process, leak->context->record.site);
	json_dumpf(name, stdout, 0);
	json_decref(name);
	putchar('}');
}

static int print_leaks(const struct view_options *options, struct survey *survey)
{
	struct layout layout = options->layout;
	struct context_rows rows;
	int result = context_rows_collect(survey, &rows);

	if (!result) {
		keep_old(&rows, options->older_ns ? options->older_ns : OLDER_DEFAULT_NS);
		result = layout_sort(&layout, rows.rows, rows.count, sizeof(*rows.rows));
	}
	if (result) {
		context_rows_free(&rows);
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	for (size_t i = 0; i < rows.count && !options->json; i++)
		layout_measure(&layout, &rows.rows[i]);
	if (options->json)
		putchar('[');
	else if (rows.count && !options->no_header)
		layout_print_head(&layout);
	for (size_t i = 0; i < rows.count; i++) {
		if (options->json)
			print_json(&rows.rows[i], i == 0);
		else
			layout_print(&layout, &rows.rows[i]);
	}
	if (options->json)
		puts("]");
	int code = rows.count ? EXIT_OK : EXIT_NOTHING;
	context_rows_free(&rows);
	return code;
}

const struct view view_leaks = {.name = "leaks",
				.help = help,
				.letters = "OpcasCNjwnh",
				.own_json = true,
				.columns = context_columns,
				.default_columns = "id,age,children,ops,user,process,label,site",
				.default_sort = "-age,id",
				.print = print_leaks};
