/* SPDX-License-Identifier: MIT */
/*
 * ctxtool last: shows what a process was doing when it died, from the tables of the dead that the service
 * keeps.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "format.h"
#include "json.h"
#include "monotonic.h"
#include "service.h"
#include "usage.h"

static const char help[] =
	"Usage: ctxtool last [OPTION...] [PID]\n"
	"Show the contexts and operations that a process had when it died, as tree does. The process\n"
	"was killed, crashed or called _exit(2); one that ended by exit(3) leaves nothing. The service\n"
	"keeps the tables of published processes for a while: see ctxd.conf(5). Without PID, list the\n"
	"processes whose tables it keeps.\n"
	"\n"
	"  -j, --json  print JSON\n"
	"  -h, --help  print this text\n"
	"\n"
	"Exit codes: 0 shown, 1 nothing is kept, 2 wrong usage, 3 the table cannot be read, 4 no service.\n";

struct listing {
	unsigned count;
	bool json;
};

static int print_dead(const struct ctxd_entry *entry, void *data)
{
	struct listing *listing = data;
	char name[ESCAPED_SIZE], age[16];
	uint64_t now = monotonic_ns();

	if (listing->json)
		json_text(entry->process, name, sizeof(name));
	else
		escape(entry->process, name, sizeof(name));
	duration_text(now > entry->ended_ns ? now - entry->ended_ns : 0, age);
	if (listing->json)
		printf("%s{\"pid\": %d, \"uid\": %u, \"process\": \"%s\", \"died_ns\": %llu}",
		       listing->count ? ", " : "", (int)entry->pid, (unsigned)entry->uid, name,
		       (unsigned long long)entry->ended_ns);
	else
		printf("%d %s (uid %u) died %s ago\n", (int)entry->pid, name, (unsigned)entry->uid, age);
	listing->count++;
	return 0;
}

static int list_dead(bool json)
{
	struct listing listing = {.json = json};

	if (json)
		putchar('[');
	int result = ctxd_list(service_client(), CTXD_DEAD, print_dead, &listing);
	if (json)
		puts("]");
	if (result) {
		char words[300];
		ctxd_explain(result, words, sizeof(words));
		fprintf(stderr, "ctxtool last: %s\n", words);
		return EXIT_TROUBLE;
	}
	if (!listing.count && !json)
		fprintf(stderr, "ctxtool last: no table of a dead process is kept\n");
	return listing.count ? EXIT_OK : EXIT_NOTHING;
}

static int show_dead(pid_t pid, bool json)
{
	struct view_options options = {.json = json, .pid_count = 1, .pids = &pid, .rings = true};
	struct survey survey = {0};
	struct ctxd_entry entry;
	char age[16];
	int fd, code = EXIT_PARTLY;

	int result = ctxd_table(service_client(), CTXD_DEAD, pid, &entry, &fd);
	if (result == -ENOENT) {
		fprintf(stderr,
			"ctxtool last: no table of a dead process %d is kept: it was not published, is "
			"another "
			"user's, ended by exit(3), or died too long ago\n",
			(int)pid);
		return EXIT_NOTHING;
	}
	if (!result)
		result = survey_add_table(&survey, fd, pid, entry.uid, entry.process);
	if (result) {
		char words[300];
		ctxd_explain(result, words, sizeof(words));
		fprintf(stderr, "ctxtool last: %s\n", words);
		return EXIT_TROUBLE;
	}
	close(fd);
	if (survey.unreadable_count)
		fprintf(stderr, "ctxtool last: process %d: %s\n", (int)pid, survey.unreadables[0].reason);
	/* The ages that are printed are those at the death of the process. */
	for (size_t i = 0; i < survey.process_count; i++)
		survey.processes[i].now_ns = entry.ended_ns;
	if (json) {
		code = json_print(&options, &view_tree, &survey);
	} else if (survey.process_count) {
		uint64_t now = monotonic_ns();
		printf("died %s ago:\n", duration_text(now > entry.ended_ns ? now - entry.ended_ns : 0, age));
		code = view_tree.print(&options, &survey);
	}
	survey_free(&survey);
	return code;
}

int last_run(int argc, char **argv)
{
	static const struct option known[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	bool json = false;
	char *end = NULL;
	long pid = 0;
	int letter;

	optind = 1;
	while ((letter = next_option("ctxtool last", argc, argv, "jh", known)) != -1) {
		if (letter == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (letter != 'j') {
			fprintf(stderr, "Try 'ctxtool last --help'.\n");
			return EXIT_USAGE;
		}
		json = true;
	}
	if (optind < argc)
		pid = strtol(argv[optind], &end, 10);
	if (argc > optind + 1 || (end && (*end || pid <= 0 || pid > INT32_MAX))) {
		fprintf(stderr, "ctxtool last: give the number of one process, or nothing\nTry 'ctxtool last "
				"--help'.\n");
		return EXIT_USAGE;
	}
	if (!service_client()) {
		service_complain();
		return EXIT_TROUBLE;
	}
	return pid ? show_dead((pid_t)pid, json) : list_dead(json);
}
