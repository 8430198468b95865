/* SPDX-License-Identifier: MIT */
/*
 * ctxtool watch: prints what happens to contexts, as it happens: what the service tells, and what the
 * journals of processes say of contexts that are not shared.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "ends.h"
#include "facts.h"
#include "names.h"
#include "service.h"
#include "survey_filter.h"
#include "usage.h"

#define PROGRAM "ctxtool watch"
#define KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)
/* How often journals are read, and how often new processes are looked for. */
#define TICK_NS 200000000u
#define SURVEY_TICKS 5
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
	"  -p, --pid=PID     print only events of this process\n"
	"  -l, --label=TEXT  print only events of contexts with this label\n"
	"  -u, --utc         print times of the day in UTC\n"
	"  -n, --count=N     end after N lines\n"
	"  -j, --json        print JSON, one document on each line\n"
	"  -h, --help        print this text\n"
	"\n" SELECTION_HELP
	"Exit codes: 0 ended as asked; 2 wrong usage; 4 no service, or the output failed.\n";

struct watching {
	struct ctxd_client *client;
	pid_t pid;
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
		json_object_set_new(object, "process",
				    json_string(escape(entry->process, text, sizeof(text))));
		if (entry->id.epoch) {
			ctxd_format_id(entry->id, id, sizeof(id));
			json_object_set_new(object, "id", json_string(id));
		}
		json_object_set_new(object, "name", json_string(escape(entry->name, text, sizeof(text))));
		json_object_set_new(object, "label", json_string(escape(entry->label, text, sizeof(text))));
		if (entry->host[0])
			json_object_set_new(object, "origin",
					    json_string(origin_text(entry, text, sizeof(text))));
	}
	if (event->kind < CTXD_EVENT_LOST && entry->kind == CTXD_SHARED && entry->ended_ns) {
		json_object_set_new(object, "cause", json_string(ctx_cause_kind_name(entry->cause.kind)));
		json_object_set_new(object, "error",
				    json_string(errno_text(entry->cause.error, name, sizeof(name))));
		json_object_set_new(object, "text",
				    json_string(escape(entry->cause.text, text, sizeof(text))));
		if (entry->cause.host[0])
			json_object_set_new(object, "host",
					    json_string(escape(entry->cause.host, text, sizeof(text))));
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
	    ((watching->pid && entry->pid != watching->pid) ||
	     (watching->label && strcmp(entry->label, watching->label) != 0) ||
	     (!watching->all && is_ctxtool(entry)) ||
	     !selection_matches_entry(watching->selection, entry, ends_now_ns())))
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
	char id[ID_SIZE], text[ESCAPED_SIZE], name[40];
	json_t *object = json_object();

	json_object_set_new(object, "event", json_string(ends_state(end)));
	json_object_set_new(object, "kind", json_string("end"));
	json_object_set_new(object, "pid", json_integer(process->pid));
	json_object_set_new(object, "uid", json_integer(process->uid));
	json_object_set_new(object, "process", json_string(escape(process->name, text, sizeof(text))));
	json_object_set_new(object, "id", json_string(ends_id(end, id)));
	json_object_set_new(object, "name", json_string(""));
	json_object_set_new(object, "label", json_string(escape(end->entry.end.label, text, sizeof(text))));
	json_object_set_new(object, "cause", json_string(ctx_cause_kind_name(end->entry.end.cause_kind)));
	json_object_set_new(object, "error",
			    json_string(errno_text(end->entry.end.cause_error, name, sizeof(name))));
	json_object_set_new(object, "text", json_string(escape(end->entry.end.text, text, sizeof(text))));
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

/* Prints the ends that were made before before_ns: the service has told its own by now. */
static void print_ends(struct watching *watching, uint64_t before_ns)
{
	ends_sort(&watching->ends);
	for (size_t i = 0; i < watching->ends.count && !is_over(watching); i++) {
		struct past_end *end = &watching->ends.ends[i];

		if (end->entry.time_ns >= before_ns)
			continue;
		end->printed = true;
		if ((watching->pid && end->process->process.pid != watching->pid) ||
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
static void look_for_processes(struct watching *watching)
{
	struct survey survey;
	size_t count = watching->pid ? 1 : 0;

	if (survey_tables(&watching->pid, count, &survey))
		return;
	if (!watching->all && !watching->pid)
		survey_hide_service(&survey);
	ends_add(&watching->ends, &survey, 0, NULL);
	survey_free(&survey);
}

static int parse_selection(struct watching *watching, char *const *operands, int count)
{
	struct selection_error error;
	int result;

	if (!count)
		return -1;
	watching->selection_text = selection_join(operands, count);
	result = watching->selection_text
			 ? selection_parse(watching->selection_text, &watching->selection, &error)
			 : -ENOMEM;
	if (!result)
		result = selection_check_keys(watching->selection, SELECTION_ENTRY_KEYS & ENDS_SELECTION_KEYS,
					      "an event", &error);
	if (result == -ENOMEM)
		return EXIT_TROUBLE;
	if (result) {
		selection_complain(PROGRAM, watching->selection_text, &error);
		return EXIT_USAGE;
	}
	return -1;
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
	char *end = NULL;
	long pid;
	int letter;

	optind = 1;
	while ((letter = next_option("ctxtool watch", argc, argv, "aip:l:un:jh", known)) != -1) {
		bool good = true;

		switch (letter) {
		case 'a':
			watching->all = true;
			break;
		case 'i':
			watching->initial = true;
			break;
		case 'p':
			pid = strtol(optarg, &end, 10);
			watching->pid = (pid_t)pid;
			good = !*end && pid > 0 && pid <= INT32_MAX;
			break;
		case 'l':
			watching->label = optarg;
			break;
		case 'u':
			watching->utc = true;
			break;
		case 'n':
			watching->left = strtoul(optarg, &end, 10);
			watching->counted = true;
			good = !*end && watching->left > 0 && optarg[0] != '-';
			break;
		case 'j':
			watching->json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_OK;
		default:
			good = false;
		}
		if (!good) {
			fprintf(stderr, "Try 'ctxtool watch --help'.\n");
			return EXIT_USAGE;
		}
	}
	return parse_selection(watching, argv + optind, argc - optind);
}

/* Prints what happens until it is ended. 0 or -errno. */
static int watch_events(struct watching *watching)
{
	uint64_t before_ns = ends_now_ns(), next_ns = before_ns + TICK_NS;
	unsigned ticks = 0;
	int result = 0;

	while (!result && !is_over(watching)) {
		uint64_t now_ns = ends_now_ns();

		if (now_ns < next_ns && terminal_wait_fd_for(ctxd_fd(watching->client), next_ns - now_ns))
			break;
		result = ctxd_dispatch(watching->client, 0);
		result = result == -EINTR || result > 0 ? 0 : result;
		now_ns = ends_now_ns();
		if (result || now_ns < next_ns)
			continue;
		if (++ticks % SURVEY_TICKS == 0)
			look_for_processes(watching);
		ends_note_deaths(&watching->ends);
		result = ends_read(&watching->ends);
		print_ends(watching, before_ns);
		before_ns = now_ns;
		next_ns = now_ns + TICK_NS;
	}
	return result;
}

int watch_run(int argc, char **argv)
{
	struct watching watching = {0};
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_event, .data = &watching};
	char words[300];
	int code = parse_options(&watching, argc, argv);

	if (code >= 0) {
		selection_free(watching.selection);
		free(watching.selection_text);
		return code;
	}
	terminal_catch();
	ends_init(&watching.ends);
	/* The coarse clock, by which ends are written, may be behind. */
	watching.ends.since_ns = ends_now_ns();
	look_for_processes(&watching);
	int result = ctxd_connect(&options, &watching.client);
	if (!result)
		result = ctxd_watch(watching.client, KINDS);
	if (!result && watching.initial)
		result = ctxd_list(watching.client, KINDS, take_entry, &watching);
	if (!result)
		result = watch_events(&watching);
	ctxd_close(watching.client);
	ends_free(&watching.ends);
	selection_free(watching.selection);
	free(watching.selection_text);
	if (!result && !watching.failed)
		return EXIT_OK;
	ctxd_explain(result, words, sizeof(words));
	fprintf(stderr, "ctxtool watch: %s\n", result ? words : "cannot write to standard output");
	return EXIT_TROUBLE;
}
