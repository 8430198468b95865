/* SPDX-License-Identifier: MIT */
/* ctxtool cancel: ends contexts and the operations in flight under them, in all processes that they reach. */
#include "cancel.h"
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "ending.h"
#include "facts.h"
#include "fleet_json.h"
#include "format.h"
#include "json_values.h"
#include "names.h"
#include "survey_filter.h"
#include "target.h"
#include "usage.h"
#include "victim.h"

/* The user is asked before more contexts or operations than this are ended. */
#define LARGE 100
/* So many of the selected contexts are listed before the user is asked. */
#define LISTED 20
#define WAIT_DEFAULT_NS 10000000000u

static const char help[] =
	"Usage: ctxtool cancel [OPTION...] ID|LABEL...\n"
	"       ctxtool cancel [OPTION...] SELECTION\n"
	"       ctxtool cancel [OPTION...] --pid=PID\n"
	"       ctxtool cancel [OPTION...] --fleet HOST/ID...\n"
	"End contexts and everything below them, in the process that has them and in all processes\n"
	"that joined them. The service ctxd does that; only a ctxtool run is ended without it too.\n"
	"\n"
	"ID is PID:SLOT.GENERATION as ls prints it, or the service's EPOCH-NUMBER; of a host of the\n"
	"fleet, HOST/EPOCH-NUMBER as ls --fleet prints it.\n" SELECTION_HELP
	"Here it ends the live contexts that it selects, after it has listed them and asked.\n"
	"\n"
	"  -p, --pid=PID       look only at this process; repeatable. Without an operand: end all roots\n"
	"                      of it\n"
	"  -s, --subtree       end only what is below the named context, and not itself\n"
	"  -a, --all           end all contexts that have the label; with a selection: also if that is\n"
	"                      every live context there is, and those of ctxd\n"
	"  -C, --cause=TEXT    the text of the cause that the contexts get\n"
	"  -e, --error=NAME    the error of that cause, such as ECONNRESET; ECANCELED by default\n"
	"  -w, --wait[=SEC]    wait until the operations are reaped, for 10 s by default, and report\n"
	"                      them\n"
	"  -F, --fleet         end a context of any host of the fleet, on all hosts that joined it\n"
	"  -v, --verbose       with --fleet: say what each host did\n"
	"  -n, --dry-run       only say what would end\n"
	"  -y, --yes           do not ask. Without a terminal this is needed for a root, --pid, --all\n"
	"                      and more than 100 contexts or operations\n"
	"  -j, --json          print JSON\n"
	"  -h, --help          print this text\n"
	"\n"
	"Exit codes: 0 all ended; 1 nothing ended (not there, not allowed, or ended before); 2 wrong\n"
	"usage, or not confirmed; 3 some did not end, or a process or host did not answer; 4 no\n"
	"service, no fleet, or no memory.\n";

struct victims {
	struct victim *list;
	size_t count, room;
	uint64_t live, selected; /* of a selection: live contexts that were looked at, and those selected */
};

/* ---- options */

static int bad_usage(const char *what, const char *value)
{
	complain_of_usage("ctxtool cancel", what, value);
	return EXIT_USAGE;
}

static bool parse_error(struct cancel_options *options, const char *text)
{
	for (int error = 1; error < 134; error++) {
		const char *name = strerrorname_np(error);
		if (name && strcmp(name, text) == 0) {
			options->error = -error;
			return true;
		}
	}
	return false;
}

static bool parse_wait(struct cancel_options *options, const char *text)
{
	char *end;
	double seconds = text ? strtod(text, &end) : 0;

	options->wait = true;
	options->wait_ns = WAIT_DEFAULT_NS;
	if (!text)
		return true;
	if (end == text || *end || !(seconds > 0 && seconds <= 86400))
		return false;
	options->wait_ns = (uint64_t)(seconds * 1e9);
	return true;
}

/* Obeys an option. -1: go on; else the exit code. */
static int take_option(struct cancel_options *options, int letter)
{
	switch (letter) {
	case 'p':
		return argument_pid("ctxtool cancel", optarg, &options->pids, &options->pid_count);
	case 's':
		options->subtree = true;
		return -1;
	case 'a':
		options->all = true;
		return -1;
	case 'C':
		options->text = optarg;
		return strlen(optarg) < CTX_CAUSE_TEXT_MAX
			       ? -1
			       : bad_usage("a cause may have 127 bytes, not more", optarg);
	case 'e':
		return parse_error(options, optarg)
			       ? -1
			       : bad_usage("not the name of an errno, such as ECONNRESET", optarg);
	case 'w':
		return parse_wait(options, optarg) ? -1
						   : bad_usage("not a time of up to 86400 seconds", optarg);
	case 'F':
		options->fleet = true;
		return -1;
	case 'v':
		options->verbose = true;
		return -1;
	case 'n':
		options->dry_run = true;
		return -1;
	case 'y':
		options->yes = true;
		return -1;
	case 'j':
		options->json = true;
		return -1;
	case 'h':
		fputs(help, stdout);
		return EXIT_OK;
	default:
		fputs("Try 'ctxtool cancel --help'.\n", stderr);
		return EXIT_USAGE;
	}
}

static int parse_options(struct cancel_options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"pid", required_argument, NULL, 'p'},
		{"subtree", no_argument, NULL, 's'},
		{"all", no_argument, NULL, 'a'},
		{"cause", required_argument, NULL, 'C'},
		{"error", required_argument, NULL, 'e'},
		{"wait", optional_argument, NULL, 'w'},
		{"fleet", no_argument, NULL, 'F'},
		{"verbose", no_argument, NULL, 'v'},
		{"dry-run", no_argument, NULL, 'n'},
		{"yes", no_argument, NULL, 'y'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	optind = 1;
	while ((letter = next_option("ctxtool cancel", argc, argv, "p:saC:e:w::Fvnyjh", known)) != -1) {
		int result = take_option(options, letter);
		if (result >= 0)
			return result;
	}
	if (options->fleet && (options->pid_count || options->subtree || options->all))
		return bad_usage("--fleet ends a context by its id: leave out --pid, --subtree and --all",
				 NULL);
	if (options->verbose && !options->fleet)
		return bad_usage("--verbose goes with --fleet", NULL);
	if (options->fleet && optind == argc)
		return bad_usage("nothing to cancel: give HOST/EPOCH-NUMBER", NULL);
	if (optind == argc && !options->pid_count)
		return bad_usage("nothing to cancel: give an id, a label, a selection or --pid=PID", NULL);
	return -1;
}

/* ---- victims */

static bool add_victim(struct victims *victims, struct victim victim)
{
	if (victims->count == victims->room) {
		size_t room = victims->room ? 2 * victims->room : 16;
		struct victim *larger = reallocarray(victims->list, room, sizeof(*larger));

		if (!larger)
			return false;
		victims->list = larger;
		victims->room = room;
	}
	victims->list[victims->count++] = victim;
	return true;
}

static bool is_live(const struct reader_context *context)
{
	return context->record.state & CTX_TABLE_LIVE;
}

static int add_children(struct victims *victims, const struct target *target)
{
	struct snapshot *snapshot = &target->process->snapshot;

	for (uint32_t i = target->context->first_child; i != READER_NONE;
	     i = snapshot->contexts[i].next_sibling)
		if (is_live(&snapshot->contexts[i]) &&
		    !add_victim(victims, (struct victim){.process = target->process,
							 .context = &snapshot->contexts[i]}))
			return EXIT_TROUBLE;
	return EXIT_OK;
}

static int add_roots(struct victims *victims, struct process *process)
{
	struct snapshot *snapshot = &process->snapshot;

	for (uint32_t i = snapshot->first_root; i != READER_NONE; i = snapshot->contexts[i].next_sibling)
		if (is_live(&snapshot->contexts[i]) &&
		    !add_victim(victims,
				(struct victim){.process = process, .context = &snapshot->contexts[i]}))
			return EXIT_TROUBLE;
	return EXIT_OK;
}

static int add_labelled(struct victims *victims, struct survey *survey, const char *label)
{
	size_t before = victims->count;

	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			struct reader_context *context = &process->snapshot.contexts[j];

			if (is_live(context) && strcmp(context->record.label, label) == 0 &&
			    !add_victim(victims, (struct victim){.process = process, .context = context}))
				return EXIT_TROUBLE;
		}
	}
	return victims->count > before ? EXIT_OK : EXIT_NOTHING;
}

/*
 * Finds a shared context in the table of its process, if that could be read: then what is below it can be
 * counted.
 */
static bool find_shared(struct survey *survey, struct ctxd_id id, struct target *ret_target)
{
	const struct ctxd_entry *entry = service_shared(id);

	for (size_t i = 0; entry && !entry->ended_ns && i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; process->inode == entry->table && j < process->snapshot.context_count;
		     j++) {
			struct reader_context *context = &process->snapshot.contexts[j];

			if (!is_live(context) || service_ctx_id(context) != entry->ctx_id)
				continue;
			*ret_target = (struct target){process, context};
			return true;
		}
	}
	return false;
}

static int add_operand(struct victims *victims, const struct cancel_options *options, struct survey *survey,
		       const char *operand)
{
	struct target target;
	char host[CTX_HOST_MAX];
	struct ctxd_id id;
	int code;

	if (ctxd_parse_id(operand, &id)) {
		if (options->all && !options->subtree && add_labelled(victims, survey, operand) == EXIT_OK)
			return EXIT_OK;
		code = target_find_live(operand, survey, &target);
		if (code == EXIT_NOTHING && !fleet_parse_id(operand, host, &id))
			return bad_usage("an id of a host of the fleet needs --fleet", operand);
		if (code)
			return code;
	} else if (!find_shared(survey, id, &target)) {
		if (options->subtree)
			return bad_usage("--subtree needs a context whose table can be read", operand);
		return add_victim(victims, (struct victim){.id = id}) ? EXIT_OK : EXIT_TROUBLE;
	}
	if (!target.context) {
		fprintf(stderr, "ctxtool cancel: %s is a process: give --pid=%s to end all its contexts\n",
			operand, operand);
		return EXIT_USAGE;
	}
	if (options->subtree)
		return add_children(victims, &target);
	return add_victim(victims, (struct victim){.process = target.process, .context = target.context})
		       ? EXIT_OK
		       : EXIT_TROUBLE;
}

/*
 * Adds the live contexts of the process that are selected, or with --subtree their children; but none that
 * ends with another one. Returns the exit code.
 */
static int add_selected(struct victims *victims, const struct cancel_options *options,
			struct process *process)
{
	struct snapshot *snapshot = &process->snapshot;
	int code = EXIT_OK;

	for (uint32_t i = 0; i < snapshot->context_count; i++) {
		struct reader_context *context = &snapshot->contexts[i];

		context->chosen =
			is_live(context) && selection_matches_context(options->selection, process, context);
		victims->live += is_live(context);
		victims->selected += context->chosen;
	}
	ending_cover(snapshot);
	for (uint32_t i = 0; i < snapshot->context_count && code == EXIT_OK; i++) {
		struct reader_context *context = &snapshot->contexts[snapshot->preorder[i]];
		const struct target target = {process, context};

		if (!context->chosen || context->covered)
			continue;
		if (options->subtree)
			code = add_children(victims, &target);
		else if (!add_victim(victims, (struct victim){.process = process, .context = context}))
			code = EXIT_TROUBLE;
	}
	return code;
}

/* Adds what the expression selects of all processes. Returns the exit code. */
static int add_all_selected(struct victims *victims, const struct cancel_options *options,
			    struct survey *survey)
{
	if (!options->all)
		survey_hide_service(survey);
	for (size_t i = 0; i < survey->process_count; i++)
		if (add_selected(victims, options, &survey->processes[i]))
			return EXIT_TROUBLE;
	if (victims->selected > 1 && victims->selected == victims->live && !options->all && !options->dry_run)
		return bad_usage("this selects every live context there is: if that is meant, give --all",
				 NULL);
	return EXIT_OK;
}

/* Keeps the victims of which keeps() is true. */
static void keep_victims(struct victims *victims, bool (*keeps)(const struct victim *victim))
{
	size_t kept = 0;

	for (size_t i = 0; i < victims->count; i++)
		if (keeps(&victims->list[i]))
			victims->list[kept++] = victims->list[i];
	victims->count = kept;
}

/* Chooses the context, unless it is chosen already. */
static bool is_first(const struct victim *victim)
{
	if (!victim->process)
		return true;
	bool first = !victim->context->chosen;
	victim->context->chosen = true;
	return first;
}

static bool is_uncovered(const struct victim *victim)
{
	return !victim->process || !victim->context->covered;
}

/* Removes the victims that are there twice, or end with another one. One step for each context. */
static void remove_covered(struct victims *victims, struct survey *survey)
{
	keep_victims(victims, is_first);
	for (size_t i = 0; i < survey->process_count; i++)
		ending_cover(&survey->processes[i].snapshot);
	keep_victims(victims, is_uncovered);
}

static int collect_victims(struct victims *victims, const struct cancel_options *options,
			   struct survey *survey, char **operands, int count)
{
	int worst = EXIT_OK;

	if (options->selection) {
		worst = add_all_selected(victims, options, survey);
		if (worst != EXIT_OK)
			return worst;
	}
	for (size_t i = 0; i < survey->process_count && !count; i++)
		if (add_roots(victims, &survey->processes[i]))
			return EXIT_TROUBLE;
	for (int i = 0; i < count && !options->selection; i++) {
		int code = add_operand(victims, options, survey, operands[i]);
		if (code == EXIT_USAGE || code == EXIT_TROUBLE)
			return code;
		worst = code ? EXIT_PARTLY : worst;
	}
	if (!options->selection)
		remove_covered(victims, survey);
	for (size_t i = 0; i < victims->count; i++)
		victim_count(&victims->list[i]);
	if (!victims->count) {
		if (worst == EXIT_OK)
			fprintf(stderr, "ctxtool cancel: there is no live context to end\n");
		return EXIT_NOTHING;
	}
	return worst;
}

/* ---- asking */

/* Why the user is to confirm; NULL: that is not needed. */
static const char *why_ask(const struct victims *victims, const struct cancel_options *options, bool whole)
{
	uint64_t contexts = 0, operations = 0;
	bool roots = false;

	for (size_t i = 0; i < victims->count; i++) {
		const struct victim *victim = &victims->list[i];
		contexts += victim->contexts;
		operations += victim->operations;
		roots |= victim->process && victim->context->parent == READER_NONE && victim->contexts > 1;
	}
	if (whole)
		return "this ends a whole process";
	if ((options->all || options->selection) && victims->count > 1)
		return "this ends several contexts";
	if (contexts > LARGE || operations > LARGE)
		return "this ends a large tree";
	return roots ? "this ends a root and all that is below it" : NULL;
}

static bool confirm(const struct victims *victims, const struct cancel_options *options, bool whole)
{
	const char *why = why_ask(victims, options, whole);
	uint64_t contexts = 0, operations = 0;
	char line[16], name[VICTIM_NAME_SIZE];

	if (!why || options->yes || options->dry_run)
		return true;
	for (size_t i = 0; i < victims->count; i++) {
		contexts += victims->list[i].contexts;
		operations += victims->list[i].operations;
	}
	for (size_t i = 0; options->selection && i < victims->count && i < LISTED; i++)
		fprintf(stderr, "  %s\n", victim_name(&victims->list[i], name));
	if (options->selection && victims->count > LISTED)
		fprintf(stderr, "  and %zu more\n", victims->count - LISTED);
	fprintf(stderr, "%s: %s%s: %lu context%s with %lu operation%s in flight.\n", why,
		victim_name(&victims->list[0], name), victims->count > 1 ? " and more" : "",
		(unsigned long)contexts, plural(contexts), (unsigned long)operations, plural(operations));
	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "ctxtool cancel: standard input is no terminal, so nobody can be asked; give "
				"--yes\n");
		return false;
	}
	fputs("End it? [y/N] ", stderr);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	return line[0] == 'y' || line[0] == 'Y';
}

/* ---- ending */

static void print_error(const struct victim *victim, int error)
{
	char words[300], name[VICTIM_NAME_SIZE];

	fprintf(stderr, "ctxtool cancel: %s: %s\n", victim_name(victim, name),
		victim_explain(victim, error, words, sizeof(words)));
}

static json_t *result_json(const struct victim *victim, int result, const struct ctxd_report *report,
			   bool dry_run)
{
	json_t *object = json_object();
	char name[VICTIM_NAME_SIZE];

	json_object_set_new(object, "target", json_string(victim_name(victim, name)));
	if (victim->process) {
		json_object_set_new(object, "pid", json_integer(victim->process->pid));
		json_object_set_new(object, "process", escaped_json(victim->process->name));
		json_object_set_new(object, "uid", json_integer(victim->process->uid));
	}
	json_object_set_new(object, "dry_run", json_boolean(dry_run));
	json_object_set_new(object, "error", error_or_null(result));
	json_object_set_new(object, "contexts", json_integer(victim->contexts));
	json_object_set_new(object, "in_flight", json_integer(victim->operations));
	report_json(object, report);
	return object;
}

static void print_result(const struct victim *victim, const struct ctxd_report *report,
			 const struct cancel_options *options)
{
	char text[TEXT_SIZE], name[VICTIM_NAME_SIZE];

	victim_name(victim, name);
	if (options->dry_run)
		printf("%s would end: %u context%s with %u operation%s in flight, in %u process%s\n", name,
		       victim->contexts, plural(victim->contexts), victim->operations,
		       plural(victim->operations), report->asked, report->asked == 1 ? "" : "es");
	else
		printf("%s %s\n", name, report_text(report, text, sizeof(text)));
}

static int end_all(const struct victims *victims, const struct cancel_options *options)
{
	json_t *results = options->json ? json_array() : NULL;
	size_t ended = 0;
	bool trouble = false, silent = false;

	for (size_t i = 0; i < victims->count; i++) {
		const struct victim *victim = &victims->list[i];
		struct ctxd_report report = {0};
		int result = options->dry_run ? victim_try(victim, &report)
					      : victim_cancel(victim, options->error, options->text,
							      options->wait ? options->wait_ns : 0, &report);
		trouble |= result != 0;
		silent |= report.silent != 0;
		ended += !result && (report.ended || options->dry_run);
		if (results)
			json_array_append_new(results,
					      result_json(victim, result, &report, options->dry_run));
		else if (!result)
			print_result(victim, &report, options);
		if (result)
			print_error(victim, result);
	}
	if (results) {
		json_dumpf(results, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(results);
	}
	/* A process that did not answer may still end its context. */
	if (silent)
		return EXIT_PARTLY;
	return !ended ? EXIT_NOTHING : trouble ? EXIT_PARTLY : EXIT_OK;
}

/* Whether there is a ctxtool run, which can be ended without the service. */
static bool has_run(const struct survey *survey)
{
	for (size_t i = 0; i < survey->process_count; i++)
		if (process_is_run(&survey->processes[i]))
			return true;
	return false;
}

/* Reads the operands as a selection, unless each of them is a word without "*", which means a pattern in all
 * commands. ("?" is a part of many labels.) -1: go on; else the exit code. */
static int parse_selection(struct cancel_options *options, char *const *operands, int count)
{
	bool words_only = true;
	char *text;

	for (int i = 0; i < count; i++)
		words_only &= selection_is_word(operands[i]) && (options->fleet || !strchr(operands[i], '*'));
	if (words_only)
		return -1;
	if (options->fleet)
		return bad_usage("--fleet ends contexts by their ids, and takes no selection", NULL);
	int code = argument_selection("ctxtool cancel", operands, count, SELECTION_ALL_KEYS, "a context",
				      &options->selection, &text);
	free(text);
	return code;
}

/* Returns the exit code. */
static int cancel_found(const struct cancel_options *options, struct survey *survey, char **operands,
			int count)
{
	struct victims victims = {0};

	if (!service_client() && !has_run(survey)) {
		service_complain();
		return EXIT_TROUBLE;
	}
	int found = collect_victims(&victims, options, survey, operands, count);
	if (found == EXIT_OK || found == EXIT_PARTLY) {
		int code = confirm(&victims, options, count == 0) ? end_all(&victims, options) : EXIT_USAGE;
		found = code == EXIT_OK ? found : code;
	}
	free(victims.list);
	return found;
}

int cancel_run(int argc, char **argv)
{
	struct cancel_options options = {0};
	struct survey survey;
	int code = parse_options(&options, argc, argv), result;

	if (code < 0)
		code = parse_selection(&options, argv + optind, argc - optind);
	if (code < 0 && options.fleet)
		code = cancel_fleet(&options, argv + optind, argc - optind);
	if (code < 0) {
		service_refresh();
		result = survey_processes(options.pids, options.pid_count, &survey);
		if (!result)
			result = service_complete(&survey, options.pids, options.pid_count);
		if (result)
			fprintf(stderr, "ctxtool cancel: cannot look for processes: %s%s\n",
				strerror(-result), result == -ENOENT ? " (is /proc mounted?)" : "");
		code = result ? EXIT_TROUBLE : cancel_found(&options, &survey, argv + optind, argc - optind);
		survey_free(&survey);
	}
	selection_free(options.selection);
	free(options.pids);
	return code;
}
