/* SPDX-License-Identifier: MIT */
/* ctxtool: the table of commands, and the options before a command. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "commands.h"
#include "ctxring.h"
#include "terminal.h"
#include "usage.h"

struct command {
	const char *name;
	const char *summary;
	const struct view *view; /* what view_run() runs; NULL: the function run is the command */
	int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
	{"ls", "list contexts, one line each", &view_ls, NULL},
	{"tree", "show contexts as trees, with operations", &view_tree, NULL},
	{"show", "show all that is known of one context or process", &view_show, NULL},
	{"top", "show the contexts with most in flight, refreshed", &view_top, NULL},
	{"watch", "print what happens to contexts, as it happens", NULL, watch_run},
	{"stats", "print sums, also as OpenMetrics text", &view_stats, NULL},
	{"leaks", "list live contexts that are old, with the place that made them", &view_leaks, NULL},
	{"record", "write down for a while what happens, as a picture", NULL, record_run},
	{"history", "list what ended lately, why and by whom", &view_history, NULL},
	{"last", "show what a process was doing when it died", NULL, last_run},
	{"fleet", "list the hosts of the fleet, and how they are reached", NULL, fleet_run},
	{"cancel", "end contexts and what is in flight under them", NULL, cancel_run},
	{"run", "run a command under a context, with a deadline", NULL, run_run},
	{"doctor", "say whether io_uring is usable here, and what to do", NULL, doctor_run},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *to)
{
	fputs("Usage: ctxtool COMMAND [OPTION...]\n"
	      "Show the contexts of running processes and the operations in flight under each. It reads\n"
	      "their tables without their help: those of stopped, hung and crashed processes too.\n"
	      "\n",
	      to);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("\n"
	      "'ctxtool COMMAND --help' lists the options of a command; ctxtool(1) is the manual.\n"
	      "A context's id is PID:SLOT.GENERATION, as ls prints it.\n"
	      "Exit codes: 0 done; 1 nothing found, or a host is silent or gone (doctor: io_uring is not\n"
	      "usable, or the fleet does not work); 2 wrong usage; 3 something could not be read, and is\n"
	      "named on standard error; 4 no memory, no service or fleet for a command that needs it, or\n"
	      "the output failed. run has those of timeout(1).\n",
	      to);
}

static int flush_output(int code)
{
	if ((fflush(stdout) || ferror(stdout)) && code != EXIT_TROUBLE) {
		fprintf(stderr, "ctxtool: cannot write to standard output\n");
		return EXIT_TROUBLE;
	}
	return code;
}

/* Raises the soft limit of descriptors: a survey keeps one open for each process that it found. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Whether ctxtool is called by a link named timeout. */
static bool is_timeout(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash ? slash + 1 : path, "timeout") == 0;
}

int main(int argc, char **argv)
{
	terminal_init();
	if (argc > 0 && is_timeout(argv[0]))
		return run_timeout(argc, argv);
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return flush_output(EXIT_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("ctxtool %d.%d\n", CTXRING_VERSION_MAJOR, CTXRING_VERSION_MINOR);
		return flush_output(EXIT_OK);
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		/* run passes on the limits that it was started with, and has exit codes of its own. */
		if (commands[i].run == run_run)
			return run_run(argc - 1, argv + 1);
		allow_descriptors();
		if (!commands[i].view)
			return flush_output(commands[i].run(argc - 1, argv + 1));
		return flush_output(view_run(commands[i].view, argc - 1, argv + 1));
	}
	complain_of_usage("ctxtool", "there is no such command", argv[1]);
	return EXIT_USAGE;
}
