/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copies.h"
#include "duration.h"
#include "facts.h"
#include "format.h"
#include "json.h"
#include "service.h"
#include "survey_filter.h"
#include "terminal.h"
#include "usage.h"

#define INTERVAL_DEFAULT_NS 1000000000u

static int bad_usage(const struct view *view, const char *what, const char *value)
{
	char program[32];

	snprintf(program, sizeof(program), "ctxtool %s", view->name);
	complain_of_usage(program, what, value);
	return EXIT_USAGE;
}

static int add_pid(struct view_options *options, const char *text)
{
	pid_t *larger;
	char *end;
	long pid;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (errno || end == text || *end || pid <= 0 || pid > INT32_MAX)
		return -EINVAL;
	larger = realloc(options->pids, (options->pid_count + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	options->pids = larger;
	for (size_t i = 0; i < options->pid_count; i++)
		if (larger[i] == (pid_t)pid)
			return 0;
	larger[options->pid_count++] = (pid_t)pid;
	return 0;
}

static int set_interval(struct view_options *options, const char *text)
{
	double seconds;
	char *end;

	options->watch = true;
	if (!text)
		return 0;
	seconds = strtod(text, &end);
	/* A NaN fails this comparison too. */
	if (end == text || *end || !(seconds >= 0.01 && seconds <= 86400))
		return -EINVAL;
	options->interval_ns = (uint64_t)(seconds * 1e9);
	return 0;
}

static int set_older(struct view_options *options, const char *text)
{
	return duration_parse(text, &options->older_ns) || !options->older_ns ? -EINVAL : 0;
}

static int set_rounds(struct view_options *options, const char *text)
{
	unsigned long rounds;
	char *end;

	errno = 0;
	rounds = strtoul(text, &end, 10);
	if (errno || end == text || *end || rounds == 0 || rounds > 1000000000 || text[0] == '-')
		return -EINVAL;
	options->rounds = (unsigned)rounds;
	return 0;
}

/* Obeys an option. -1: go on; else the exit code. */
static int take_option(const struct view *view, struct view_options *options, int letter)
{
	int result;

	switch (letter) {
	case 'p':
		result = add_pid(options, optarg);
		if (result == -ENOMEM)
			return EXIT_TROUBLE;
		return result ? bad_usage(view, "not the number of a process", optarg) : -1;
	case 'c':
		options->core = optarg;
		return -1;
	case 'j':
		options->json = true;
		return -1;
	case 'w':
		return set_interval(options, optarg)
			       ? bad_usage(view, "not an interval from 0.01 to 86400 seconds", optarg)
			       : -1;
	case 'n':
		return set_rounds(options, optarg) ? bad_usage(view, "not a whole number from 1", optarg)
						   : -1;
	case 'o':
		options->operations = true;
		return -1;
	case 'r':
		options->rings = true;
		return -1;
	case 'm':
		options->openmetrics = true;
		return -1;
	case 'l':
		options->listen = optarg;
		return -1;
	case 'O':
		return set_older(options, optarg)
			       ? bad_usage(view, "not an age, which is as in 5s, 250ms or 1h30m", optarg)
			       : -1;
	case 'F':
		options->fleet = true;
		options->host = optarg;
		return -1;
	case 't':
		return fleet_parse_seconds(optarg, &options->fleet_wait_ns)
			       ? bad_usage(view, "not a time of up to 86400 seconds", optarg)
			       : -1;
	case 'a':
		options->all = true;
		return -1;
	case 's':
		options->sort = optarg;
		return -1;
	case 'C':
		options->columns = optarg;
		return -1;
	case 'N':
		options->no_header = true;
		return -1;
	case 'u':
		options->utc = true;
		return -1;
	case 'T':
		options->theme = optarg;
		return -1;
	case 'b':
		options->by = optarg;
		return -1;
	case 'h':
		fputs(view->help, stdout);
		return EXIT_OK;
	default:
		fprintf(stderr, "Try 'ctxtool %s --help'.\n", view->name);
		return EXIT_USAGE;
	}
}

/* Reads the operands as a selection. -1: go on; else the exit code. */
static int parse_selection(const struct view *view, struct view_options *options, char *const *operands,
			   int count)
{
	struct selection_error error;
	char program[32];
	int result;

	if (!count)
		return -1;
	snprintf(program, sizeof(program), "ctxtool %s", view->name);
	options->selection_text = selection_join(operands, count);
	result = options->selection_text
			 ? selection_parse(options->selection_text, &options->selection, &error)
			 : -ENOMEM;
	if (!result && options->fleet)
		result = selection_check_keys(options->selection, SELECTION_ENTRY_KEYS,
					      "contexts of the fleet", &error);
	if (!result)
		return -1;
	if (result == -ENOMEM) {
		fprintf(stderr, "ctxtool: not enough memory\n");
		return EXIT_TROUBLE;
	}
	selection_complain(program, options->selection_text, &error);
	fprintf(stderr, "Try '%s --help'; SELECTION in ctxtool(1) describes the language.\n", program);
	return EXIT_USAGE;
}

/* Chooses the columns. -1: go on; else the exit code. */
static int choose_columns(const struct view *view, struct view_options *options)
{
	char message[TEXT_SIZE];

	if (!view->columns)
		return -1;
	if ((options->columns || options->sort || options->no_header) && (options->fleet || options->json))
		return bad_usage(view,
				 "--columns, --sort and --no-header go with the list of this host's "
				 "contexts: leave out --fleet and --json",
				 NULL);
	if (layout_choose(&options->layout, view->columns, view->default_columns, options->columns,
			  options->sort ? options->sort : view->default_sort, message))
		return bad_usage(view, message, NULL);
	return -1;
}

static int check_options(const struct view *view, struct view_options *options, int argc, char **argv)
{
	if (view->takes_id && optind >= argc)
		return bad_usage(view, "nothing to show: give an id (PID:SLOT.GENERATION), a PID or a label",
				 NULL);
	if (view->takes_id)
		options->id = argv[optind++];
	if (view->takes_id && optind < argc)
		return bad_usage(view, "one operand too many", argv[optind]);
	if (options->core && options->pid_count)
		return bad_usage(view, "--core and --pid exclude each other: give one of them", NULL);
	if (options->fleet && (options->core || options->pid_count || options->operations || options->rings))
		return bad_usage(view,
				 "other hosts show no tables: leave out --core, --pid, --operations and "
				 "--rings",
				 NULL);
	if (options->fleet_wait_ns && !options->fleet)
		return bad_usage(view, "--timeout goes with --fleet", NULL);
	if (options->core && options->watch)
		return bad_usage(view, "a core file does not change: leave out --watch", NULL);
	int result = choose_columns(view, options);
	return result >= 0 ? result : parse_selection(view, options, argv + optind, argc - optind);
}

/* The options of all commands of this kind. Each command accepts those whose letters are in view->letters. */
static const struct option all_options[] = {
	{"pid", required_argument, NULL, 'p'},	   {"core", required_argument, NULL, 'c'},
	{"json", no_argument, NULL, 'j'},	   {"watch", optional_argument, NULL, 'w'},
	{"count", required_argument, NULL, 'n'},   {"operations", no_argument, NULL, 'o'},
	{"openmetrics", no_argument, NULL, 'm'},   {"older", required_argument, NULL, 'O'},
	{"rings", no_argument, NULL, 'r'},	   {"fleet", optional_argument, NULL, 'F'},
	{"timeout", required_argument, NULL, 't'}, {"all", no_argument, NULL, 'a'},
	{"sort", required_argument, NULL, 's'},	   {"columns", required_argument, NULL, 'C'},
	{"no-header", no_argument, NULL, 'N'},	   {"utc", no_argument, NULL, 'u'},
	{"theme", required_argument, NULL, 'T'},   {"by", required_argument, NULL, 'b'},
	{"listen", required_argument, NULL, 'l'},  {"help", no_argument, NULL, 'h'},
};
#define OPTION_COUNT (sizeof(all_options) / sizeof(all_options[0]))

/* Fills both arguments of getopt_long(3) with the options that the command accepts. */
static void choose_options(const struct view *view, char letters[3 * OPTION_COUNT + 1],
			   struct option known[OPTION_COUNT + 1])
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (!strchr(view->letters, all_options[i].val))
			continue;
		*known++ = all_options[i];
		*letters++ = (char)all_options[i].val;
		/* One colon says that the option wants a value, two that it may have one. */
		for (int colons = all_options[i].has_arg; colons > 0; colons--)
			*letters++ = ':';
	}
	*known = (struct option){0};
	*letters = '\0';
}

static int parse_options(const struct view *view, struct view_options *options, int argc, char **argv)
{
	struct option known[OPTION_COUNT + 1];
	char letters[3 * OPTION_COUNT + 1], program[32];
	int letter;

	choose_options(view, letters, known);
	snprintf(program, sizeof(program), "ctxtool %s", view->name);
	options->interval_ns = INTERVAL_DEFAULT_NS;
	optind = 1;
	while ((letter = next_option(program, argc, argv, letters, known)) != -1) {
		int result = take_option(view, options, letter);

		if (result >= 0)
			return result;
	}
	return check_options(view, options, argc, argv);
}

/* Says on standard error what could not be read. Returns the exit code for that alone. */
static int print_unreadable(const struct view_options *options, const struct survey *survey)
{
	int code = EXIT_OK;

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		const struct unreadable *unreadable = &survey->unreadables[i];
		char name[256];

		escape(unreadable->name, name, sizeof(name));
		if (options->core)
			fprintf(stderr, "ctxtool: %s: %s\n", escape(options->core, name, sizeof(name)),
				unreadable->reason);
		else
			fprintf(stderr, "ctxtool: process %d%s%s: %s\n", (int)unreadable->pid,
				name[0] ? " " : "", name, unreadable->reason);
		if (!unreadable->missing)
			code = EXIT_PARTLY;
		else if (code == EXIT_OK)
			code = EXIT_NOTHING;
	}
	return code;
}

static int print_nothing_found(const struct view_options *options, const struct survey *survey)
{
	/* What was named on the command line has its reason printed already. */
	if ((options->core || options->pid_count) && !options->selection)
		return EXIT_NOTHING;
	if (options->selection) {
		char shown[4 * ESCAPED_SIZE];

		fprintf(stderr, "ctxtool: nothing is selected by: %s\n",
			escape(options->selection_text, shown, sizeof(shown)));
		return EXIT_NOTHING;
	}
	fprintf(stderr, "ctxtool: no process with a context table that can be read was found\n");
	if (survey->strangers)
		fprintf(stderr,
			"ctxtool: %u process%s could not be looked at (of other users, or not dumpable): try "
			"as "
			"root\n",
			survey->strangers, survey->strangers == 1 ? "" : "es");
	return EXIT_NOTHING;
}

int view_survey(const struct view_options *options, struct survey *ret_survey)
{
	int result;

	if (options->core)
		return survey_core(options->core, ret_survey);
	result = survey_processes(options->pids, options->pid_count, ret_survey);
	if (result)
		return result;
	service_refresh();
	result = service_complete(ret_survey, options->pids, options->pid_count);
	if (result)
		survey_free(ret_survey);
	return result;
}

void view_select(const struct view_options *options, bool with_ancestors, struct survey *survey)
{
	/* What is named by its number is meant. */
	if (!options->all && !options->core && !options->pid_count)
		survey_hide_service(survey);
	survey_filter(survey, options->selection, with_ancestors);
}

/* Looks at the fleet and prints once. Returns the exit code. */
static int run_fleet_round(const struct view *view, const struct view_options *options, bool clear)
{
	struct forest forest;
	char program[32];
	int result =
		forest_look(options->host,
			    options->fleet_wait_ns ? options->fleet_wait_ns : FLEET_WAIT_DEFAULT_NS, &forest);

	snprintf(program, sizeof(program), "ctxtool %s", view->name);
	if (result == -EINVAL && options->host) {
		complain_of_usage(program, "not the name of a host", options->host);
		return EXIT_USAGE;
	}
	if (result)
		return fleet_complain(program, result);
	if (clear)
		fputs("\033[H\033[J", stdout);
	forest_filter(&forest, options->selection, view->keeps_ancestors);
	int code = view->print_fleet(options, &forest);
	int complaint = fleet_complain_of_hosts(forest.hosts, forest.host_count, forest.now_ns);
	forest_free(&forest);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "ctxtool: cannot write: %s\n", strerror(errno));
		return EXIT_TROUBLE;
	}
	return code > complaint ? code : complaint;
}

/* Looks and prints once. Returns the exit code. */
static int run_round(const struct view *view, const struct view_options *options, bool clear)
{
	struct survey survey;
	int code, complaint, result;

	if (options->fleet)
		return run_fleet_round(view, options, clear);
	result = view_survey(options, &survey);
	if (result) {
		fprintf(stderr, "ctxtool: cannot look for processes: %s%s\n", strerror(-result),
			result == -ENOENT ? " (is /proc mounted?)" : "");
		return EXIT_TROUBLE;
	}
	if (!view->takes_id)
		view_select(options, view->keeps_ancestors, &survey);
	/* The cursor goes to the upper left corner, and the screen is cleared from there. */
	if (clear)
		fputs("\033[H\033[J", stdout);
	complaint = clear && view->full_screen ? EXIT_OK : print_unreadable(options, &survey);
	if (options->json && !view->own_json)
		code = json_print(options, view, &survey);
	else if (!survey.process_count && !view->full_screen && !view->always_prints && !options->json &&
		 !(view->shows_copies && !options->core && !options->pid_count &&
		   copies_exist(&survey, options->selection)))
		code = print_nothing_found(options, &survey);
	else
		code = view->print(options, &survey);
	survey_free(&survey);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "ctxtool: cannot write: %s\n", strerror(errno));
		return EXIT_TROUBLE;
	}
	/* The greater code is the worse one. */
	return code > complaint ? code : complaint;
}

static int run_rounds(const struct view *view, const struct view_options *options)
{
	bool clear = terminal()->is_screen && !options->json;
	int code = EXIT_OK;

	terminal_catch();
	for (unsigned round = 1;; round++) {
		code = run_round(view, options, clear);
		if (code == EXIT_TROUBLE || round == options->rounds || terminal_pause(options->interval_ns))
			break;
		if (!clear && !options->json)
			putchar('\n');
	}
	return code;
}

/* A terminal without a cursor is one that view->screen refuses. On another one there has to be a keyboard. */
static bool has_screen(const struct view *view, const struct view_options *options)
{
	return view->screen && !options->json && terminal()->is_tty &&
	       (isatty(STDIN_FILENO) || !terminal()->is_screen);
}

int view_run(const struct view *view, int argc, char **argv)
{
	struct view_options options = {0};
	int code = parse_options(view, &options, argc, argv);

	if (code < 0 && view->check)
		code = view->check(&options);
	if (code < 0) {
		if (options.listen)
			code = view->serve(&options);
		else if (has_screen(view, &options))
			code = view->screen(&options);
		else if (options.watch || options.rounds || view->full_screen)
			code = run_rounds(view, &options);
		else
			code = run_round(view, &options, false);
	}
	selection_free(options.selection);
	free(options.selection_text);
	free(options.pids);
	return code;
}
