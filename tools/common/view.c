/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
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

static int set_ago(const struct view *view, const char *text, uint64_t *ret_ns)
{
	return duration_parse(text, ret_ns) ? bad_usage(view, "not a time as 30s, 5m or 1h", text) : -1;
}

static int set_rounds(struct view_options *options, const char *text)
{
	unsigned long rounds;
	int result = argument_count(text, 1000000000, &rounds);

	options->rounds = (unsigned)rounds;
	return result;
}

/* How an option is obeyed. */
enum effect {
	FLAG,  /* it sets a bool of struct view_options */
	TEXT,  /* its value is stored there */
	OTHER, /* take_value() does the rest */
};

/* The options of all commands of this kind. Each command accepts those whose letters are in view->letters. */
static const struct view_option {
	const char *name;
	int has_value; /* as in struct option */
	int letter;
	enum effect effect;
	size_t offset;
} all_options[] = {
	{"pid", required_argument, 'p', OTHER, 0},
	{"core", required_argument, 'c', TEXT, offsetof(struct view_options, core)},
	{"json", no_argument, 'j', FLAG, offsetof(struct view_options, json)},
	{"watch", optional_argument, 'w', OTHER, 0},
	{"count", required_argument, 'n', OTHER, 0},
	{"operations", no_argument, 'o', FLAG, offsetof(struct view_options, operations)},
	{"rings", no_argument, 'r', FLAG, offsetof(struct view_options, rings)},
	{"openmetrics", no_argument, 'm', FLAG, offsetof(struct view_options, openmetrics)},
	{"listen", required_argument, 'l', TEXT, offsetof(struct view_options, listen)},
	{"older", required_argument, 'O', OTHER, 0},
	{"fleet", optional_argument, 'F', OTHER, 0},
	{"timeout", required_argument, 't', OTHER, 0},
	{"all", no_argument, 'a', FLAG, offsetof(struct view_options, all)},
	{"sort", required_argument, 's', TEXT, offsetof(struct view_options, sort)},
	{"columns", required_argument, 'C', TEXT, offsetof(struct view_options, columns)},
	{"no-header", no_argument, 'N', FLAG, offsetof(struct view_options, no_header)},
	{"utc", no_argument, 'u', FLAG, offsetof(struct view_options, utc)},
	{"theme", required_argument, 'T', TEXT, offsetof(struct view_options, theme)},
	{"by", required_argument, 'b', TEXT, offsetof(struct view_options, by)},
	{"follow", no_argument, 'f', FLAG, offsetof(struct view_options, follow)},
	{"since", required_argument, VIEW_SINCE, OTHER, 0},
	{"until", required_argument, VIEW_UNTIL, OTHER, 0},
	{"help", no_argument, 'h', OTHER, 0},
};
#define OPTION_COUNT (sizeof(all_options) / sizeof(all_options[0]))

/* Obeys one of those options that neither set a flag nor store a text. -1: go on; else the exit code. */
static int take_value(const struct view *view, struct view_options *options, int letter)
{
	char program[32];

	switch (letter) {
	case 'p':
		snprintf(program, sizeof(program), "ctxtool %s", view->name);
		return argument_pid(program, optarg, &options->pids, &options->pid_count);
	case 'w':
		return set_interval(options, optarg)
			       ? bad_usage(view, "not an interval from 0.01 to 86400 seconds", optarg)
			       : -1;
	case 'n':
		return set_rounds(options, optarg) ? bad_usage(view, "not a whole number from 1", optarg)
						   : -1;
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
	case VIEW_SINCE:
		return set_ago(view, optarg, &options->since_ns);
	case VIEW_UNTIL:
		return set_ago(view, optarg, &options->until_ns);
	case 'h':
		fputs(view->help, stdout);
		return EXIT_OK;
	default:
		fprintf(stderr, "Try 'ctxtool %s --help'.\n", view->name);
		return EXIT_USAGE;
	}
}

/* Obeys an option. -1: go on; else the exit code. */
static int take_option(const struct view *view, struct view_options *options, int letter)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char *member = (char *)options + all_options[i].offset;

		if (all_options[i].letter != letter || all_options[i].effect == OTHER)
			continue;
		if (all_options[i].effect == FLAG)
			*(bool *)(void *)member = true;
		else
			*(const char **)(void *)member = optarg;
		return -1;
	}
	return take_value(view, options, letter);
}

/* Chooses the columns. -1: go on; else the exit code. */
static int choose_columns(const struct view *view, struct view_options *options)
{
	char message[TEXT_SIZE];

	if (!view->columns)
		return -1;
	if ((options->columns || options->sort || options->no_header) && (options->fleet || options->json))
		return bad_usage(view,
				 "--columns, --sort and --no-header go with lines about this host: leave "
				 "out --fleet and --json",
				 NULL);
	if (layout_choose(&options->layout, view->columns, view->default_columns, options->columns,
			  options->sort ? options->sort : view->default_sort, message))
		return bad_usage(view, message, NULL);
	return -1;
}

static int check_options(const struct view *view, struct view_options *options, int argc, char **argv)
{
	char program[32];

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
	if (result >= 0)
		return result;
	snprintf(program, sizeof(program), "ctxtool %s", view->name);
	return argument_selection(program, argv + optind, argc - optind,
				  options->fleet	 ? SELECTION_ENTRY_KEYS
				  : view->selection_keys ? view->selection_keys
							 : SELECTION_ALL_KEYS,
				  options->fleet ? "contexts of the fleet" : view->selection_of,
				  &options->selection, &options->selection_text);
}

/* Fills both arguments of getopt_long(3) with the options that the command accepts. */
static void choose_options(const struct view *view, char letters[3 * OPTION_COUNT + 1],
			   struct option known[OPTION_COUNT + 1])
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct view_option *option = &all_options[i];

		if (!strchr(view->letters, option->letter))
			continue;
		*known++ = (struct option){option->name, option->has_value, NULL, option->letter};
		if (option->letter < ' ')
			continue;
		*letters++ = (char)option->letter;
		/* One colon says that the option wants a value, two that it may have one. */
		for (int colons = option->has_value; colons > 0; colons--)
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

int view_print_unreadable(const struct view_options *options, const struct survey *survey)
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

/* Leaves the service only where it is asked for. What is named by its number is meant. */
static void hide_service(const struct view_options *options, struct survey *survey)
{
	if (!options->all && !options->core && !options->pid_count)
		survey_hide_service(survey);
}

void view_select(const struct view_options *options, bool with_ancestors, struct survey *survey)
{
	hide_service(options, survey);
	survey_filter(survey, options->selection, with_ancestors);
}

void view_select_counted(const struct view_options *options, struct survey *survey)
{
	hide_service(options, survey);
	survey_filter_counted(survey, options->selection);
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
	if (view->keeps_counters)
		view_select_counted(options, &survey);
	else if (!view->takes_id)
		view_select(options, view->keeps_ancestors, &survey);
	/* The cursor goes to the upper left corner, and the screen is cleared from there. */
	if (clear)
		fputs("\033[H\033[J", stdout);
	complaint = clear && view->full_screen ? EXIT_OK : view_print_unreadable(options, &survey);
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
	if (code < 0 && view->run)
		code = view->run(&options);
	if (code < 0) {
		if (has_screen(view, &options))
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
