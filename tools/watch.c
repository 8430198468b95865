/* SPDX-License-Identifier: MIT */
/*
 * ctxtool watch: prints what happens to contexts, as it happens: what the service tells, and what the
 * journals of processes say of contexts that are not shared.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arguments.h"
#include "commands.h"
#include "ends.h"
#include "facts.h"
#include "json_values.h"
#include "monotonic.h"
#include "names.h"
#include "service.h"
#include "survey_filter.h"
#include "usage.h"

#define PROGRAM "ctxtool watch"
#define KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)
/* So many ends that the service told are remembered, for the journals tell them, too. */
#define TOLD_MAX 256

static const char help[] =
	"Usage: ctxtool watch [OPTION...] [SELECTION]\n"
	"Print what happens, as it happens, one line each: contexts that are shared, joined, moved, ended "
	"or\n"
	"withdrawn, and processes that come, go and die, as the service learns it; and the ends of contexts\n"
	"that are not shared, as in history. Ctrl-C ends it.\n"
	"\n"
	"  -a, --all         print also the connections of ctxtool itself, and what ends in ctxd\n"
	"  -i, --initial     print first what there is now\n"
	"  -p, --pid=PID     print only events of this process; repeatable\n"
	"  -l, --label=TEXT  print only events of contexts with this label\n"
	"  -u, --utc         print times of the day in UTC\n"
	"  -n, --count=N     end after N lines\n"
	"  -j, --json        print JSON, one document on each line\n"
	"  -h, --help        print this text\n"
	"\n" SELECTION_HELP
	"Exit codes: 0 ended as asked; 2 wrong usage; 4 no service, or the output failed.\n";

struct watching {
	struct ctxd_client *client;
	pid_t *pids;
	size_t pid_count;
	const char *label;
	unsigned long left; /* lines still to print, if counted */
	bool initial, json, counted, failed, all, utc;
	char *selection_text;
	struct selection *selection;
	struct ends ends;
	/* The contexts of which the service told the end, the oldest overwritten first. */
	struct told {
		pid_t pid;
		uint64_t ctx_id;
	} told[TOLD_MAX];
	size_t told_count;
};

static bool is_over(const struct watching *watching)
{
	return watching->failed || (watching->counted && !watching->left);
}

static void count_line(struct watching *watching)
{
	watching->failed = fflush(stdout) || ferror(stdout);
	if (watching->counted)
		watching->left--;
}

static const char *kind_name(enum ctxd_entry_kind kind)
{
	switch (kind) {
	case CTXD_SHARED:
		return "context";
	case CTXD_JOINED:
		return "join";
	case CTXD_PROCESS:
		return "process";
	case CTXD_DEAD:
		return "dead";
	}
	return "?";
}

static const char *event_name(const struct ctxd_event *event)
{
	switch (event->kind) {
	case CTXD_EVENT_ADDED:
		return event->entry.kind == CTXD_SHARED	   ? "shared"
		       : event->entry.kind == CTXD_JOINED  ? "joined"
		       : event->entry.kind == CTXD_PROCESS ? "connected"
							   : "died";
	case CTXD_EVENT_ENDED:
		return "ended";
	case CTXD_EVENT_MOVED:
		return "moved";
	case CTXD_EVENT_REMOVED:
		return event->entry.kind == CTXD_SHARED	   ? "withdrawn"
		       : event->entry.kind == CTXD_JOINED  ? "left"
		       : event->entry.kind == CTXD_PROCESS ? "disconnected"
							   : "forgotten";
	case CTXD_EVENT_LOST:
		return "lost";
	case CTXD_EVENT_AWAY:
		return "service-away";
	case CTXD_EVENT_BACK:
		return "service-back";
	}
	return "?";
}

static void print_json(const struct ctxd_event *event)
{
	const struct ctxd_entry *entry = &event->entry;
	json_t *object = json_object();
	char id[CTXD_ID_TEXT], text[ESCAPED_SIZE], name[40];

	json_object_set_new(object, "event", json_string(event_name(event)));
	if (event->kind == CTXD_EVENT_LOST)
		json_object_set_new(object, "lost", json_integer((json_int_t)event->lost));
	if (event->kind < CTXD_EVENT_LOST) {
		json_object_set_new(object, "kind", json_string(kind_name(entry->kind)));
		json_object_set_new(object, "pid", json_integer(entry->pid));
		json_object_set_new(object, "uid", json_integer(entry->uid));
		json_object_set_new(object, "process", escaped_json(entry->process));
		if (entry->id.epoch) {
			ctxd_format_id(entry->id, id, sizeof(id));
			json_object_set_new(object, "id", json_string(id));
		}
		json_object_set_new(object, "name", escaped_json(entry->name));
		json_object_set_new(object, "label", escaped_json(entry->label));
		if (entry->host[0])
			json_object_set_new(object, "origin",
					    json_string(origin_text(entry, text, sizeof(text))));
	}
	if (event->kind < CTXD_EVENT_LOST && entry->kind == CTXD_SHARED && entry->ended_ns) {
		json_object_set_new(object, "cause", json_string(ctx_cause_kind_name(entry->cause.kind)));
		json_object_set_new(object, "error",
				    json_string(errno_text(entry->cause.error, name, sizeof(name))));
		json_object_set_new(object, "text", escaped_json(entry->cause.text));
		if (entry->cause.host[0])
			json_object_set_new(object, "host", escaped_json(entry->cause.host));
	}
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

static void print_event(const struct ctxd_event *event, bool utc)
{
	const struct ctxd_entry *entry = &event->entry;
	char id[CTXD_ID_TEXT] = "-", clock[16], text[ESCAPED_SIZE], name[40];
	time_t now = time(NULL);
	struct tm shown;

	utc ? gmtime_r(&now, &shown) : localtime_r(&now, &shown);
	strftime(clock, sizeof(clock), utc ? "%H:%M:%SZ" : "%H:%M:%S", &shown);
	printf("%s %-12s", clock, event_name(event));
	if (event->kind == CTXD_EVENT_LOST)
		printf(" %" PRIu64 " event%s not read in time", event->lost,
		       event->lost == 1 ? " that was" : "s that were");
	if (event->kind < CTXD_EVENT_LOST) {
		if (entry->id.epoch)
			ctxd_format_id(entry->id, id, sizeof(id));
		printf(" %s %d %s", id, (int)entry->pid, escape(entry->process, text, sizeof(text)));
		if (entry->kind & (CTXD_SHARED | CTXD_JOINED))
			printf(" \"%s\"", escape(entry->label, text, sizeof(text)));
		if (entry->name[0])
			printf(" as \"%s\"", escape(entry->name, text, sizeof(text)));
		if (entry->host[0])
			printf(" of %s", origin_text(entry, text, sizeof(text)));
		if (entry->kind == CTXD_SHARED && entry->ended_ns) {
			printf(": %s %s \"%s\" by %d", ctx_cause_kind_name(entry->cause.kind),
			       errno_text(entry->cause.error, name, sizeof(name)),
			       escape(entry->cause.text, text, sizeof(text)), (int)entry->cause.pid);
			if (entry->cause.host[0])
				printf(" on %s", escape(entry->cause.host, text, sizeof(text)));
		}
	}
	putchar('\n');
}

/* Whether an entry is the connection of a ctxtool, this one or another. */
static bool is_ctxtool(const struct ctxd_entry *entry)
{
	return entry->kind == CTXD_PROCESS && strcmp(entry->process, "ctxtool") == 0;
}

static void take_event(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	struct watching *watching = data;
	const struct ctxd_entry *entry = &event->entry;

	(void)client;
	if (event->kind == CTXD_EVENT_ENDED)
		watching->told[watching->told_count++ % TOLD_MAX] = (struct told){entry->pid, entry->ctx_id};
	if (is_over(watching))
		return;
	if (event->kind < CTXD_EVENT_LOST &&
	    (!is_pid_wanted(entry->pid, watching->pids, watching->pid_count) ||
	     (watching->label && strcmp(entry->label, watching->label) != 0) ||
	     (!watching->all && is_ctxtool(entry)) ||
	     !selection_matches_entry(watching->selection, entry, monotonic_ns())))
		return;
	if (watching->json)
		print_json(event);
	else
		print_event(event, watching->utc);
	count_line(watching);
}

static int take_entry(const struct ctxd_entry *entry, void *data)
{
	struct ctxd_event event = {.kind = CTXD_EVENT_ADDED, .entry = *entry};

	if (entry->ended_ns && entry->kind == CTXD_SHARED)
		event.kind = CTXD_EVENT_ENDED;
	take_event(NULL, &event, data);
	return 0;
}

/* ---- the ends that the service does not hear of */

static void print_end(const struct watching *watching, const struct past_end *end)
{
	const struct process *process = &end->process->process;
	char time[40], id[ID_SIZE], name[ESCAPED_SIZE], label[ESCAPED_SIZE], cause[TEXT_SIZE], by[TEXT_SIZE],
		took[16];

	ends_time(&watching->ends, end->entry.time_ns, watching->utc, time);
	time[strcspn(time, ".")] = '\0';
	printf("%s%s %-12s %s %d %s \"%s\": %s by %s", time, watching->utc ? "Z" : "", ends_state(end),
	       ends_id(end, id), (int)process->pid, escape(process->name, name, sizeof(name)),
	       escape(end->entry.end.label, label, sizeof(label)), ends_cause(end, false, cause),
	       ends_by(&watching->ends, end, by));
	if (end->batched)
		printf(", %" PRIu32 " operation%s in %s", end->operations, plural(end->operations),
		       duration_text(end->batch_ns, took));
	putchar('\n');
}

static void print_end_json(const struct past_end *end)
{
	const struct process *process = &end->process->process;
	char id[ID_SIZE], name[40];
	json_t *object = json_object();

	json_object_set_new(object, "event", json_string(ends_state(end)));
	json_object_set_new(object, "kind", json_string("end"));
	json_object_set_new(object, "pid", json_integer(process->pid));
	json_object_set_new(object, "uid", json_integer(process->uid));
	json_object_set_new(object, "process", escaped_json(process->name));
	json_object_set_new(object, "id", json_string(ends_id(end, id)));
	json_object_set_new(object, "name", json_string(""));
	json_object_set_new(object, "label", escaped_json(end->entry.end.label));
	json_object_set_new(object, "cause", json_string(ctx_cause_kind_name(end->entry.end.cause_kind)));
	json_object_set_new(object, "error",
			    json_string(errno_text(end->entry.end.cause_error, name, sizeof(name))));
	json_object_set_new(object, "text", escaped_json(end->entry.end.text));
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

static bool was_told(const struct watching *watching, const struct past_end *end)
{
	uint64_t id = (uint64_t)end->entry.context_generation << 32 | end->entry.context_slot;

	for (size_t i = 0; i < TOLD_MAX && i < watching->told_count; i++)
		if (watching->told[i].ctx_id == id && watching->told[i].pid == end->process->process.pid)
			return true;
	return false;
}

/* Prints the ends that are complete: the service has told its own by now. */
static void print_ends(struct watching *watching)
{
	ends_sort(&watching->ends);
	for (size_t i = 0; i < watching->ends.count && !is_over(watching); i++) {
		struct past_end *end = &watching->ends.ends[i];

		if (end->entry.time_ns >= watching->ends.complete_ns)
			continue;
		end->printed = true;
		if (!is_pid_wanted(end->process->process.pid, watching->pids, watching->pid_count) ||
		    (watching->label && strcmp(end->entry.end.label, watching->label) != 0) ||
		    was_told(watching, end) || !ends_selected(watching->selection, end))
			continue;
		if (watching->json)
			print_end_json(end);
		else
			print_end(watching, end);
		count_line(watching);
	}
	ends_forget_printed(&watching->ends);
}

/* Takes the processes that are new. What cannot be read is left out, as history says it. */
static int look_for_processes(void *data)
{
	struct watching *watching = data;
	struct survey survey;

	if (survey_tables(watching->pids, watching->pid_count, &survey))
		return 0;
	if (!watching->all && !watching->pid_count)
		survey_hide_service(&survey);
	ends_add(&watching->ends, &survey, false, NULL);
	survey_free(&survey);
	return 0;
}

/* Obeys an option. -1: go on; else the exit code. */
static int take_option(struct watching *watching, int letter)
{
	switch (letter) {
	case 'a':
		watching->all = true;
		return -1;
	case 'i':
		watching->initial = true;
		return -1;
	case 'p':
		return argument_pid(PROGRAM, optarg, &watching->pids, &watching->pid_count);
	case 'l':
		watching->label = optarg;
		return -1;
	case 'u':
		watching->utc = true;
		return -1;
	case 'n':
		watching->counted = true;
		if (!argument_count(optarg, ULONG_MAX, &watching->left))
			return -1;
		complain_of_usage(PROGRAM, "not a whole number from 1", optarg);
		return EXIT_USAGE;
	case 'j':
		watching->json = true;
		return -1;
	case 'h':
		fputs(help, stdout);
		return EXIT_OK;
	default:
		fprintf(stderr, "Try '" PROGRAM " --help'.\n");
		return EXIT_USAGE;
	}
}

static int parse_options(struct watching *watching, int argc, char **argv)
{
	static const struct option known[] = {
		{"all", no_argument, NULL, 'a'},
		{"initial", no_argument, NULL, 'i'},
		{"pid", required_argument, NULL, 'p'},
		{"label", required_argument, NULL, 'l'},
		{"utc", no_argument, NULL, 'u'},
		{"count", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int letter, code = -1;

	optind = 1;
	while (code < 0 && (letter = next_option(PROGRAM, argc, argv, "aip:l:un:jh", known)) != -1)
		code = take_option(watching, letter);
	if (code >= 0)
		return code;
	return argument_selection(PROGRAM, argv + optind, argc - optind,
				  SELECTION_ENTRY_KEYS & ENDS_SELECTION_KEYS, "an event",
				  &watching->selection, &watching->selection_text);
}

/* Prints what happens until it is ended. 0 or -errno. */
static int watch_events(struct watching *watching)
{
	struct ends *ends = &watching->ends;
	int result = 0;

	while (!result && !is_over(watching)) {
		uint64_t wait_ns = ends_wait_ns(ends);

		if (wait_ns && terminal_wait_fd_for(ctxd_fd(watching->client), wait_ns))
			break;
		result = ctxd_dispatch(watching->client, 0);
		result = result == -EINTR || result > 0 ? 0 : result;
		if (result || ends_wait_ns(ends))
			continue;
		result = ends_tick(ends, look_for_processes, watching);
		print_ends(watching);
	}
	return result;
}

/* Returns the exit code. */
static int run_watch(struct watching *watching)
{
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_event, .data = watching};
	char words[300];

	terminal_catch();
	ends_init(&watching->ends);
	/* The coarse clock, by which ends are written, may be behind. */
	watching->ends.since_ns = watching->ends.read_ns;
	look_for_processes(watching);
	int result = ctxd_connect(&options, &watching->client);
	if (!result)
		result = ctxd_watch(watching->client, KINDS);
	if (!result && watching->initial)
		result = ctxd_list(watching->client, KINDS, take_entry, watching);
	if (!result)
		result = watch_events(watching);
	ctxd_close(watching->client);
	ends_free(&watching->ends);
	if (!result)
		return EXIT_OK;
	ctxd_explain(result, words, sizeof(words));
	fprintf(stderr, PROGRAM ": %s\n", words);
	return EXIT_TROUBLE;
}

int watch_run(int argc, char **argv)
{
	struct watching watching = {0};
	int code = parse_options(&watching, argc, argv);

	if (code < 0)
		code = run_watch(&watching);
	selection_free(watching.selection);
	free(watching.selection_text);
	free(watching.pids);
	return code;
}
