/* SPDX-License-Identifier: MIT */
/*
 * ctxtool history: lists the ends of contexts that processes have in their journals, those of dead processes
 * from the tables that the service keeps, and those in a core file.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "duration.h"
#include "end_columns.h"
#include "json.h"
#include "names.h"
#include "service.h"
#include "survey_filter.h"
#include "usage.h"
#include "users.h"

#define PROGRAM "ctxtool history"
/* How often journals are read, and how often new processes are looked for. */
#define TICK_NS 200000000u
#define SURVEY_TICKS 5

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
	pid_t *pids;
	size_t pid_count;
	const char *core;
	char *selection_text;
	struct selection *selection;
	uint64_t since_ns, until_ns; /* so long ago; 0: not given */
	unsigned long count;	     /* 0: all */
	const char *columns, *sort;  /* NULL: not given */
	struct layout layout;
	bool all, follow, utc, no_header, json;
	struct ends ends;
	uint64_t printed;
};

/* ---- printing */

static void set_text(json_t *object, const char *key, const char *text)
{
	char escaped[ESCAPED_SIZE];

	json_object_set_new(object, key, json_string(escape(text, escaped, sizeof(escaped))));
}

static void set_number(json_t *object, const char *key, uint64_t number)
{
	json_object_set_new(object, key, json_integer((json_int_t)(number > INT64_MAX ? INT64_MAX : number)));
}

static void print_json(const struct history *history, const struct past_end *end)
{
	const struct ctx_table_end *entry = &end->entry;
	const struct process *process = &end->process->process;
	char id[ID_SIZE], time[40], name[32], buffer[TEXT_SIZE];
	json_t *object = json_object();

	json_object_set_new(object, "time",
			    json_string(ends_time(&history->ends, entry->time_ns, history->utc, time)));
	set_number(object, "time_ns", entry->time_ns);
	json_object_set_new(object, "wall_ns",
			    json_integer((json_int_t)(entry->time_ns + (uint64_t)history->ends.wall_ns)));
	json_object_set_new(object, "id", json_string(ends_id(end, id)));
	json_object_set_new(object, "pid", json_integer(process->pid));
	set_text(object, "process", process->name);
	json_object_set_new(object, "uid", json_integer(process->uid));
	set_text(object, "user", user_name(process->uid));
	set_text(object, "label", entry->end.label);
	json_object_set_new(object, "kind", json_string(context_kind_name(entry->end.kind)));
	json_object_set_new(object, "state", json_string(ends_state(end)));
	set_number(object, "age_ns",
		   entry->time_ns > entry->end.created_ns ? entry->time_ns - entry->end.created_ns : 0);
	json_object_set_new(object, "cause", json_string(ctx_cause_kind_name(entry->end.cause_kind)));
	json_object_set_new(object, "error",
			    json_string(errno_text(entry->end.cause_error, name, sizeof(name))));
	json_object_set_new(object, "code", json_integer(entry->end.cause_code));
	set_text(object, "text", entry->end.text);
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
		set_number(object, "batch_ns", end->batch_ns);
	else
		json_object_set_new(object, "batch_ns", json_null());
	json_object_set_new(object, "dead", json_boolean(end->process->died_ns != 0 || process->is_core));
	if (!history->follow)
		fputs(history->printed ? ",\n " : "", stdout);
	json_dumpf(object, stdout, JSON_COMPACT);
	if (history->follow)
		putchar('\n');
	json_decref(object);
}

/* Sorts the rows and prints them as lines. With heads their headings are printed first. */
static int print_lines(struct history *history, struct end_row *rows, size_t count, bool heads)
{
	int result = layout_sort(&history->layout, rows, count, sizeof(*rows));

	if (result)
		return result;
	for (size_t i = 0; i < count; i++)
		layout_measure(&history->layout, &rows[i]);
	if (heads && !history->no_header)
		layout_print_head(&history->layout);
	for (size_t i = 0; i < count; i++)
		layout_print(&history->layout, &rows[i]);
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
		if (ends_selected(history->selection, end))
			rows[count++] = (struct end_row){.ends = ends, .end = end, .utc = history->utc};
	}
	/* With --follow the first of them are printed, else the latest. */
	if (history->count && count > history->count - history->printed) {
		size_t wanted = history->count - history->printed;
		skipped = history->follow ? 0 : count - wanted;
		count = wanted;
	}
	if (!history->json)
		result = print_lines(history, rows + skipped, count, heads);
	for (size_t i = 0; i < count && history->json; i++, history->printed++)
		print_json(history, rows[skipped + i].end);
	free(rows);
	return result;
}

/* Says how far back the journals reach that do not reach back to the beginning of what was asked for. */
static void print_reach(const struct history *history)
{
	for (size_t i = 0; i < history->ends.process_count; i++) {
		const struct ends_process *process = history->ends.processes[i];
		uint64_t overwritten_ns = process->journal.overwritten_ns;
		char time[40], name[ESCAPED_SIZE];

		if (overwritten_ns && overwritten_ns >= history->ends.since_ns)
			fprintf(stderr,
				PROGRAM
				": process %d %s: older ends are overwritten: all are kept from %s on\n",
				(int)process->process.pid, escape(process->process.name, name, sizeof(name)),
				ends_time(&history->ends, overwritten_ns, history->utc, time));
	}
}

/* ---- looking */

static int print_unreadable(const struct history *history, const struct survey *survey)
{
	int code = EXIT_OK;

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		const struct unreadable *unreadable = &survey->unreadables[i];
		char name[ESCAPED_SIZE];

		if (history->core)
			fprintf(stderr, PROGRAM ": %s: %s\n", escape(history->core, name, sizeof(name)),
				unreadable->reason);
		else
			fprintf(stderr, PROGRAM ": process %d %s: %s\n", (int)unreadable->pid,
				escape(unreadable->name, name, sizeof(name)), unreadable->reason);
		if (!unreadable->missing)
			code = EXIT_PARTLY;
		else if (code == EXIT_OK)
			code = EXIT_NOTHING;
	}
	return code;
}

/* What is named by its number is meant. */
static bool leaves_out_service(const struct history *history)
{
	return !history->all && !history->core && !history->pid_count;
}

static bool is_asked_for(const struct history *history, pid_t pid)
{
	for (size_t i = 0; i < history->pid_count; i++)
		if (history->pids[i] == pid)
			return true;
	return !history->pid_count;
}

/* A dead process of which the service keeps the table. */
static int add_dead(const struct ctxd_entry *listed, void *data)
{
	struct history *history = data;
	struct survey survey = {.patience = PATIENCE, .keep_tables = true};
	struct ctxd_entry entry;
	int fd;

	if (!is_asked_for(history, listed->pid) ||
	    (leaves_out_service(history) && is_service_name(listed->process)) ||
	    ctxd_table(service_client(), CTXD_DEAD, listed->pid, &entry, &fd))
		return 0;
	int result = survey_add_table(&survey, fd, listed->pid, listed->uid, listed->process);
	close(fd);
	if (!result)
		ends_add(&history->ends, &survey, listed->ended_ns ? listed->ended_ns : 1, PROGRAM);
	survey_free(&survey);
	return result;
}

/* Drops from a survey what was named, is not there any more, and was found among the dead. */
static void remove_found(const struct history *history, struct survey *survey)
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		bool found = false;
		for (size_t j = 0; j < history->ends.process_count && !found; j++)
			found = history->ends.processes[j]->process.pid == survey->unreadables[i].pid;
		if (!found)
			survey->unreadables[kept++] = survey->unreadables[i];
	}
	survey->unreadable_count = kept;
}

/* Takes the processes that are there. Returns the exit code. */
static int look(struct history *history, bool quietly)
{
	struct survey survey;
	int code, result = history->core ? survey_core_table(history->core, &survey)
					 : survey_tables(history->pids, history->pid_count, &survey);

	if (result) {
		fprintf(stderr, PROGRAM ": cannot look for processes: %s\n", strerror(-result));
		return EXIT_TROUBLE;
	}
	if (!history->core) {
		service_refresh();
		if (service_complete(&survey, history->pids, history->pid_count))
			result = -ENOMEM;
	}
	if (leaves_out_service(history))
		survey_hide_service(&survey);
	code = result ? EXIT_TROUBLE : ends_add(&history->ends, &survey, 0, quietly ? NULL : PROGRAM);
	if (!history->core && !quietly && service_client())
		ctxd_list(service_client(), CTXD_DEAD, add_dead, history);
	if (!quietly) {
		remove_found(history, &survey);
		int complaint = print_unreadable(history, &survey);
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
	if (stat(history->core, &status))
		return;
	int64_t written_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
	if (latest_ns > ends_now_ns() || (int64_t)latest_ns + history->ends.wall_ns > written_ns + 1000000000)
		history->ends.wall_ns = written_ns - (int64_t)latest_ns;
}

/* An end is printed a tick after it was read, when its batches have been written, too. */
static int follow(struct history *history)
{
	int code = EXIT_OK;

	terminal_catch();
	for (unsigned tick = 1; !(history->count && history->printed >= history->count); tick++) {
		uint64_t before_ns = ends_now_ns();

		if (fflush(stdout) || ferror(stdout))
			return EXIT_TROUBLE;
		if (terminal_pause(TICK_NS))
			break;
		if (tick % SURVEY_TICKS == 0)
			code = look(history, true);
		ends_note_deaths(&history->ends);
		if (code == EXIT_TROUBLE || ends_read(&history->ends))
			return EXIT_TROUBLE;
		if (print_ends(history, before_ns, false))
			return EXIT_TROUBLE;
		ends_forget_printed(&history->ends);
	}
	return EXIT_OK;
}

static int run_history(struct history *history)
{
	uint64_t now_ns;
	int code;

	ends_init(&history->ends);
	now_ns = ends_now_ns();
	if (history->since_ns)
		history->ends.since_ns = now_ns > history->since_ns ? now_ns - history->since_ns : 0;
	if (history->until_ns)
		history->ends.until_ns = now_ns > history->until_ns ? now_ns - history->until_ns : 0;
	code = look(history, false);
	if (code == EXIT_TROUBLE || ends_read(&history->ends)) {
		fprintf(stderr, PROGRAM ": not enough memory\n");
		return EXIT_TROUBLE;
	}
	if (history->core)
		set_core_clock(history);
	if (history->json && !history->follow)
		putchar('[');
	if (print_ends(history, history->follow ? now_ns : UINT64_MAX, true)) {
		fprintf(stderr, PROGRAM ": not enough memory\n");
		return EXIT_TROUBLE;
	}
	if (history->json && !history->follow)
		puts("]");
	fflush(stdout);
	print_reach(history);
	if (history->follow && !history->core) {
		ends_forget_printed(&history->ends);
		return follow(history);
	}
	return code ? code : history->printed ? EXIT_OK : EXIT_NOTHING;
}

/* ---- the command line */

static int add_pid(struct history *history, const char *text)
{
	char *end;
	long pid = strtol(text, &end, 10);
	pid_t *larger = realloc(history->pids, (history->pid_count + 1) * sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	history->pids = larger;
	larger[history->pid_count] = (pid_t)pid;
	history->pid_count += is_asked_for(history, (pid_t)pid) && history->pid_count ? 0 : 1;
	return end == text || *end || pid <= 0 || pid > INT32_MAX ? -EINVAL : 0;
}

static int take_option(struct history *history, int letter)
{
	char *end;

	switch (letter) {
	case 'S':
		return duration_parse(optarg, &history->since_ns);
	case 'U':
		return duration_parse(optarg, &history->until_ns);
	case 'a':
		history->all = true;
		return 0;
	case 'p':
		return add_pid(history, optarg);
	case 'c':
		history->core = optarg;
		return 0;
	case 'f':
		history->follow = true;
		return 0;
	case 'n':
		history->count = strtoul(optarg, &end, 10);
		return *end || !history->count || optarg[0] == '-' ? -EINVAL : 0;
	case 's':
		history->sort = optarg;
		return 0;
	case 'C':
		history->columns = optarg;
		return 0;
	case 'u':
		history->utc = true;
		return 0;
	case 'N':
		history->no_header = true;
		return 0;
	default:
		history->json = true;
		return 0;
	}
}

static int take_selection(struct history *history, char *const *operands, int count)
{
	struct selection_error error;

	if (!count)
		return -1;
	history->selection_text = selection_join(operands, count);
	int result = history->selection_text
			     ? selection_parse(history->selection_text, &history->selection, &error)
			     : -ENOMEM;
	if (!result)
		result = selection_check_keys(history->selection, ENDS_SELECTION_KEYS, "an end", &error);
	if (result == -ENOMEM)
		return EXIT_TROUBLE;
	if (result) {
		selection_complain(PROGRAM, history->selection_text, &error);
		return EXIT_USAGE;
	}
	return -1;
}

/* Chooses the columns and the order. -1: go on; else the exit code. */
static int choose_columns(struct history *history)
{
	char message[TEXT_SIZE];

	if (history->json && (history->columns || history->sort))
		complain_of_usage(PROGRAM, "--columns and --sort go with lines: leave out --json", NULL);
	else if (history->follow && history->sort)
		complain_of_usage(PROGRAM, "--follow prints ends as they happen: leave out --sort", NULL);
	else if (layout_choose(&history->layout, end_columns, END_COLUMNS_DEFAULT, history->columns,
			       history->sort, message))
		complain_of_usage(PROGRAM, message, NULL);
	else
		return -1;
	return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int parse_options(struct history *history, int argc, char **argv)
{
	static const struct option known[] = {
		{"since", required_argument, NULL, 'S'}, {"until", required_argument, NULL, 'U'},
		{"all", no_argument, NULL, 'a'},	 {"pid", required_argument, NULL, 'p'},
		{"core", required_argument, NULL, 'c'},	 {"follow", no_argument, NULL, 'f'},
		{"count", required_argument, NULL, 'n'}, {"utc", no_argument, NULL, 'u'},
		{"sort", required_argument, NULL, 's'},	 {"columns", required_argument, NULL, 'C'},
		{"no-header", no_argument, NULL, 'N'},	 {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},	 {NULL, 0, NULL, 0},
	};
	int letter;

	optind = 1;
	while ((letter = next_option(PROGRAM, argc, argv, "ap:c:fn:s:C:uNjh", known)) != -1) {
		if (letter == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (letter == '?') {
			fprintf(stderr, "Try '" PROGRAM " --help'.\n");
			return EXIT_USAGE;
		}
		if (take_option(history, letter)) {
			complain_of_usage(PROGRAM,
					  letter == 'S' || letter == 'U' ? "not a time as 30s, 5m or 1h"
					  : letter == 'p'		 ? "not the number of a process"
									 : "not a whole number from 1",
					  optarg);
			return EXIT_USAGE;
		}
	}
	int code = choose_columns(history);
	return code >= 0 ? code : take_selection(history, argv + optind, argc - optind);
}

int history_run(int argc, char **argv)
{
	struct history history = {0};
	int code = parse_options(&history, argc, argv);

	if (code < 0)
		code = run_history(&history);
	ends_free(&history.ends);
	selection_free(history.selection);
	free(history.selection_text);
	free(history.pids);
	return code;
}
