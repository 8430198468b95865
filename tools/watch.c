/* SPDX-License-Identifier: MIT */
/* ctxtool watch: prints what happens to shared contexts, as it happens. */
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
#include "facts.h"
#include "fleet_hosts.h"
#include "format.h"
#include "names.h"
#include "service.h"
#include "usage.h"

#define KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)

static const char help[] =
	"Usage: ctxtool watch [OPTION...] [SELECTION]\n"
	"Print what the service learns, as it happens, one line each: contexts that are shared, joined,\n"
	"moved, ended or withdrawn, and processes that come, go and die. Ctrl-C ends it.\n"
	"\n" SELECTION_HELP "\n"
	"  -i, --initial     print first what there is now\n"
	"  -p, --pid=PID     print only events of this process, as pid=PID selects\n"
	"  -l, --label=TEXT  print only events of contexts with this label\n"
	"  -u, --utc         print times of the day in UTC\n"
	"  -n, --count=N     end after N lines\n"
	"  -j, --json        print JSON, one document on each line\n"
	"  -h, --help        print this text\n"
	"\n"
	"Exit codes: 0 ended as asked; 2 wrong usage; 4 no service, or the output failed.\n";

struct watching {
	struct ctxd_client *client;
	pid_t pid;
	const char *label;
	struct selection *selection;
	unsigned long left; /* lines still to print, if counted */
	bool initial, json, counted, failed, utc;
};

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

static void take_event(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	struct watching *watching = data;
	const struct ctxd_entry *entry = &event->entry;

	(void)client;
	if (watching->counted && !watching->left)
		return;
	if (event->kind < CTXD_EVENT_LOST &&
	    ((watching->pid && entry->pid != watching->pid) ||
	     (watching->label && strcmp(entry->label, watching->label) != 0) ||
	     !selection_matches_entry(watching->selection, entry, fleet_now_ns())))
		return;
	if (watching->json)
		print_json(event);
	else
		print_event(event, watching->utc);
	watching->failed = fflush(stdout) || ferror(stdout);
	if (watching->counted)
		watching->left--;
}

static int take_entry(const struct ctxd_entry *entry, void *data)
{
	struct ctxd_event event = {.kind = CTXD_EVENT_ADDED, .entry = *entry};

	if (entry->ended_ns && entry->kind == CTXD_SHARED)
		event.kind = CTXD_EVENT_ENDED;
	take_event(NULL, &event, data);
	return 0;
}

/* Reads the operands. -1: go on; else the exit code. */
static int parse_selection(struct watching *watching, char *const *operands, int count)
{
	struct selection_error error;
	char *text = selection_join(operands, count);
	int result = text ? selection_parse(text, &watching->selection, &error) : -ENOMEM;

	if (!result)
		result = selection_check_keys(watching->selection, SELECTION_ENTRY_KEYS,
					      "what the service tells", &error);
	if (result == -EINVAL)
		selection_complain("ctxtool watch", text, &error);
	else if (result)
		fprintf(stderr, "ctxtool watch: not enough memory\n");
	free(text);
	return !result ? -1 : result == -EINVAL ? EXIT_USAGE : EXIT_TROUBLE;
}

static int parse_options(struct watching *watching, int argc, char **argv)
{
	static const struct option known[] = {
		{"initial", no_argument, NULL, 'i'},	 {"pid", required_argument, NULL, 'p'},
		{"label", required_argument, NULL, 'l'}, {"utc", no_argument, NULL, 'u'},
		{"count", required_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},	 {NULL, 0, NULL, 0},
	};
	char *end = NULL;
	long pid;
	int letter;

	optind = 1;
	while ((letter = next_option("ctxtool watch", argc, argv, "ip:l:un:jh", known)) != -1) {
		bool good = true;

		switch (letter) {
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
	return optind < argc ? parse_selection(watching, argv + optind, argc - optind) : -1;
}

int watch_run(int argc, char **argv)
{
	struct watching watching = {0};
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_event, .data = &watching};
	char words[300];
	int code = parse_options(&watching, argc, argv);

	if (code >= 0)
		return code;
	terminal_catch();
	int result = ctxd_connect(&options, &watching.client);
	if (!result)
		result = ctxd_watch(watching.client, KINDS);
	if (!result && watching.initial)
		result = ctxd_list(watching.client, KINDS, take_entry, &watching);
	while (!result && !watching.failed && !(watching.counted && !watching.left)) {
		if (terminal_wait_fd(ctxd_fd(watching.client)))
			break;
		result = ctxd_dispatch(watching.client, 0);
		result = result == -EINTR || result > 0 ? 0 : result;
	}
	ctxd_close(watching.client);
	selection_free(watching.selection);
	if (!result && !watching.failed)
		return EXIT_OK;
	ctxd_explain(result, words, sizeof(words));
	fprintf(stderr, "ctxtool watch: %s\n", result ? words : "cannot write to standard output");
	return EXIT_TROUBLE;
}
