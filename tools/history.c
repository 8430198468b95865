/* SPDX-License-Identifier: MIT */
/*
 * ctxtool history: lists the ends of contexts that processes have in their journals, those of dead processes
 * from the tables that the service keeps, and those in a core file.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "commands.h"
#include "end_columns.h"
#include "json.h"
#include "json_values.h"
#include "monotonic.h"
#include "names.h"
#include "service.h"
#include "survey_filter.h"
#include "usage.h"
#include "users.h"

#define PROGRAM "ctxtool history"

static const char help[] =
	"Usage: ctxtool history [OPTION...] [SELECTION]\n"
	"List what ended lately, one line each, the latest last: when, in which process, why, by whom, how\n"
	"many operations that cancelled, and how long it took until the last of them had ended. Each\n"
	"process keeps its latest ends, some thousands; older ones are overwritten. Ends by a call that\n"
	"nobody could notice are not among them: stats counts them. With the service also the ends of\n"
	"processes that died lately are listed.\n"
	"\n"
	"      --since=TIME  leave out what is longer ago, as in --since=1m\n"
	"      --until=TIME  leave out what is less long ago\n"
	"  -a, --all         list the ends of ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID     look only at this process; repeatable\n"
	"  -c, --core=FILE   read the core file of a dead process instead\n"
	"  -f, --follow      go on and print ends as they happen, until Ctrl-C\n"
	"  -n, --count=N     print only the latest N; with --follow end after N lines\n"
	"  -s, --sort=COLUMN,...  sort by these columns, not by time; -COLUMN is the opposite order\n"
	"  -C, --columns=COLUMN,...  print these columns\n"
	"  -u, --utc         print times of the day in UTC\n"
	"  -N, --no-header   leave out the line of headings\n"
	"  -j, --json        print JSON; with --follow one document on each line\n"
	"  -h, --help        print this text\n"
	"\n"
	"A COLUMN is one of " END_COLUMN_NAMES ".\n"
	"SELECTION is as in ls, for example 'label=GET* and cause=deadline'. TIME is as in 30s, 5m or 1h.\n"
	"Exit codes: 0 some are listed; 1 there are none; 2 wrong usage; 3 something could not be read;\n"
	"4 no memory, or the output failed.\n";

struct history {
	const struct view_options *options;
	struct ends ends;
	uint64_t printed;
};

/* ---- printing */

static void print_json(const struct history *history, const struct past_end *end)
{
	const struct ctx_table_end *entry = &end->entry;
	const struct process *process = &end->process->process;
	char id[ID_SIZE], time[40], name[32], buffer[TEXT_SIZE];
	json_t *object = json_object();

	json_object_set_new(
		object, "time",
		json_string(ends_time(&history->ends, entry->time_ns, history->options->utc, time)));
	json_object_set_new(object, "time_ns", number_json(entry->time_ns));
	json_object_set_new(object, "wall_ns",
			    json_integer((json_int_t)(entry->time_ns + (uint64_t)history->ends.wall_ns)));
	json_object_set_new(object, "id", json_string(ends_id(end, id)));
	json_object_set_new(object, "pid", json_integer(process->pid));
	json_object_set_new(object, "process", escaped_json(process->name));
	json_object_set_new(object, "uid", json_integer(process->uid));
	json_object_set_new(object, "user", escaped_json(user_name(process->uid)));
	json_object_set_new(object, "label", escaped_json(entry->end.label));
	json_object_set_new(object, "kind", json_string(context_kind_name(entry->end.kind)));
	json_object_set_new(object, "state", json_string(ends_state(end)));
	json_object_set_new(object, "age_ns",
			    number_json(entry->time_ns > entry->end.created_ns
						? entry->time_ns - entry->end.created_ns
						: 0));
	json_object_set_new(object, "cause", json_string(ctx_cause_kind_name(entry->end.cause_kind)));
	json_object_set_new(object, "error",
			    json_string(errno_text(entry->end.cause_error, name, sizeof(name))));
	json_object_set_new(object, "code", json_integer(entry->end.cause_code));
	json_object_set_new(object, "text", escaped_json(entry->end.text));
	json_object_set_new(object, "site",
			    json_string(entry->end.done_site ? site_text(&process->sites,
									 entry->end.done_site, buffer, 320)
							     : ""));
	json_object_set_new(object, "site_name", site_name_json(process, entry->end.done_site));
	json_object_set_new(object, "tid", json_integer(entry->tid));
	json_object_set_new(object, "by_pid",
			    json_integer(entry->end.cause_pid ? entry->end.cause_pid : process->pid));
	json_object_set_new(object, "by", json_string(ends_by(&history->ends, end, buffer)));
	json_object_set_new(object, "below", json_integer(entry->end.below));
	json_object_set_new(object, "operations", end->batched ? json_integer(end->operations) : json_null());
	json_object_set_new(object, "cancelled", end->batched ? json_integer(end->cancelled) : json_null());
	if (end->batched)
		json_object_set_new(object, "batch_ns", number_json(end->batch_ns));
	else
		json_object_set_new(object, "batch_ns", json_null());
	json_object_set_new(object, "dead", json_boolean(end->process->died || process->is_core));
	if (!history->options->follow)
		fputs(history->printed ? ",\n " : "", stdout);
	json_dumpf(object, stdout, JSON_COMPACT);
	if (history->options->follow)
		putchar('\n');
	json_decref(object);
}

/* Sorts the rows and prints them as lines. With heads their headings are printed first. */
static int print_lines(struct history *history, struct end_row *rows, size_t count, bool heads)
{
	struct layout layout = history->options->layout;
	int result = layout_sort(&layout, rows, count, sizeof(*rows));

	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		layout_measure(&layout, &rows[i]);
	if (heads && !history->options->no_header)
		layout_print_head(&layout);
	for (size_t i = 0; i < count; i++)
		layout_print(&layout, &rows[i]);
	history->printed += count;
	return 0;
}

/*
 * Prints the ends that were made before before_ns and are selected, and marks them as printed. heads says
 * whether headings belong before lines. 0 or -ENOMEM.
 */
static int print_ends(struct history *history, uint64_t before_ns, bool heads)
{
	struct ends *ends = &history->ends;
	struct end_row *rows = malloc((ends->count + 1) * sizeof(*rows));
	size_t count = 0, skipped = 0;
	int result = 0;

	if (!rows)
		return -ENOMEM;
	ends_sort(ends);
	for (size_t i = 0; i < ends->count; i++) {
		struct past_end *end = &ends->ends[i];

		if (end->entry.time_ns >= before_ns)
			continue;
		end->printed = true;
		if (ends_selected(history->options->selection, end))
			rows[count++] = (struct end_row){&end->process->process, .ends = ends, .end = end,
							 .utc = history->options->utc};
	}
	/* With --follow the first of them are printed, else the latest. */
	if (history->options->rounds && count > history->options->rounds - history->printed) {
		size_t wanted = history->options->rounds - history->printed;
		skipped = history->options->follow ? 0 : count - wanted;
		count = wanted;
	}
	if (!history->options->json)
		result = print_lines(history, rows + skipped, count, heads);
	for (size_t i = 0; i < count && history->options->json; i++, history->printed++)
		print_json(history, rows[skipped + i].end);
	free(rows);
	return result;
}

/* Says how far back the journals reach that do not reach back to the beginning of what was asked for. */
static void print_reach(const struct history *history)
{
	for (size_t i = 0; i < history->ends.follow.count; i++) {
		const struct followed *process = history->ends.follow.processes[i];
		uint64_t overwritten_ns = process->journals[JOURNAL_ENDS].overwritten_ns;
		char time[40], name[ESCAPED_SIZE];

		if (overwritten_ns && overwritten_ns >= history->ends.since_ns)
			fprintf(stderr,
				PROGRAM
				": process %d %s: older ends are overwritten: all are kept from %s on\n",
				(int)process->process.pid, escape(process->process.name, name, sizeof(name)),
				ends_time(&history->ends, overwritten_ns, history->options->utc, time));
	}
}

/* ---- looking */

/* What is named by its number is meant. */
static bool leaves_out_service(const struct history *history)
{
	const struct view_options *options = history->options;

	return !options->all && !options->core && !options->pid_count;
}

/* A dead process of which the service keeps the table. */
static int add_dead(const struct ctxd_entry *listed, void *data)
{
	struct history *history = data;
	struct survey survey = {.patience = PATIENCE, .keep_tables = true};
	struct ctxd_entry entry;
	int fd;

	if (!is_pid_wanted(listed->pid, history->options->pids, history->options->pid_count) ||
	    (leaves_out_service(history) && is_service_name(listed->process)) ||
	    ctxd_table(service_client(), CTXD_DEAD, listed->pid, &entry, &fd))
		return 0;
	int result = survey_add_table(&survey, fd, listed->pid, listed->uid, listed->process);
	close(fd);
	if (!result)
		ends_add(&history->ends, &survey, true, PROGRAM);
	survey_free(&survey);
	return result;
}

/* Removes from a survey what was named, is not there any more, and was found among the dead. */
static void remove_found(const struct history *history, struct survey *survey)
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		if (!follow_find(&history->ends.follow, survey->unreadables[i].pid))
			survey->unreadables[kept++] = survey->unreadables[i];
	}
	survey->unreadable_count = kept;
}

/* Takes the processes that are there. Returns the exit code. */
static int look(struct history *history, bool quietly)
{
	const struct view_options *options = history->options;
	struct survey survey;
	int code, result = options->core ? survey_core_table(options->core, &survey)
					 : survey_tables(options->pids, options->pid_count, &survey);

	if (result) {
		fprintf(stderr, PROGRAM ": cannot look for processes: %s\n", strerror(-result));
		return EXIT_TROUBLE;
	}
	if (!options->core) {
		service_refresh();
		result = service_complete(&survey, options->pids, options->pid_count);
	}
	if (leaves_out_service(history))
		survey_hide_service(&survey);
	code = result ? EXIT_TROUBLE : ends_add(&history->ends, &survey, false, quietly ? NULL : PROGRAM);
	if (code == EXIT_TROUBLE)
		fprintf(stderr, PROGRAM ": not enough memory\n");
	if (!options->core && !quietly && service_client())
		ctxd_list(service_client(), CTXD_DEAD, add_dead, history);
	if (!quietly) {
		remove_found(history, &survey);
		int complaint = view_print_unreadable(options, &survey);
		code = code > complaint ? code : complaint;
	}
	survey_free(&survey);
	return code;
}

/*
 * A core file has no clock. Its times are those of this boot, when its latest entry is not later than the
 * file; else the latest entry counts as written with the file.
 */
static void set_core_clock(struct history *history)
{
	struct stat status;
	uint64_t latest_ns = 0;

	for (size_t i = 0; i < history->ends.count; i++)
		if (history->ends.ends[i].entry.time_ns > latest_ns)
			latest_ns = history->ends.ends[i].entry.time_ns;
	if (stat(history->options->core, &status))
		return;
	int64_t written_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
	if (latest_ns > monotonic_ns() ||
	    (int64_t)latest_ns + history->ends.wall_ns > written_ns + 1000000000)
		history->ends.wall_ns = written_ns - (int64_t)latest_ns;
}

static int look_again(void *history)
{
	return look(history, true) == EXIT_TROUBLE ? -EIO : 0;
}

static bool is_complete(const struct history *history)
{
	return history->options->rounds && history->printed >= history->options->rounds;
}

static int follow(struct history *history)
{
	struct ends *ends = &history->ends;
	int result = 0;

	terminal_catch();
	while (!result && !is_complete(history)) {
		/* main() says so. */
		if (fflush(stdout) || ferror(stdout))
			return EXIT_OK;
		if (terminal_pause(ends_wait_ns(ends)))
			break;
		result = ends_tick(ends, look_again, history);
		if (!result)
			result = print_ends(history, ends->complete_ns, false);
		ends_forget_printed(ends);
	}
	if (result == -ENOMEM)
		fprintf(stderr, PROGRAM ": not enough memory\n");
	return result ? EXIT_TROUBLE : EXIT_OK;
}

/* Prints what has ended until now. Returns the exit code. */
static int print_past(struct history *history)
{
	const struct view_options *options = history->options;
	bool is_list = options->json && !options->follow;
	int code = look(history, false), result;

	if (code == EXIT_TROUBLE)
		return code;
	result = ends_read(&history->ends);
	if (options->core)
		set_core_clock(history);
	if (is_list)
		putchar('[');
	if (!result)
		result = print_ends(history, options->follow ? history->ends.read_ns : UINT64_MAX, true);
	if (is_list)
		puts("]");
	fflush(stdout);
	if (result) {
		fprintf(stderr, PROGRAM ": not enough memory\n");
		return EXIT_TROUBLE;
	}
	print_reach(history);
	return code ? code : history->printed ? EXIT_OK : EXIT_NOTHING;
}

static int run_history(const struct view_options *options)
{
	struct history history = {.options = options};
	uint64_t now_ns;
	int code;

	ends_init(&history.ends);
	now_ns = history.ends.read_ns;
	if (options->since_ns)
		history.ends.since_ns = now_ns > options->since_ns ? now_ns - options->since_ns : 0;
	if (options->until_ns)
		history.ends.until_ns = now_ns > options->until_ns ? now_ns - options->until_ns : 0;
	code = print_past(&history);
	if (code != EXIT_TROUBLE && options->follow && !options->core) {
		ends_forget_printed(&history.ends);
		code = follow(&history);
	}
	ends_free(&history.ends);
	return code;
}

static int check_history(const struct view_options *options)
{
	if (!options->follow || !options->sort)
		return -1;
	complain_of_usage(PROGRAM, "--follow prints ends as they happen: leave out --sort", NULL);
	return EXIT_USAGE;
}

const struct view view_history = {.name = "history",
				  .help = help,
				  .letters = "\1\2apcfnsCuNjh",
				  .columns = end_columns,
				  .default_columns = END_COLUMNS_DEFAULT,
				  .selection_keys = ENDS_SELECTION_KEYS,
				  .selection_of = "an end",
				  .check = check_history,
				  .run = run_history};
