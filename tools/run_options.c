/* SPDX-License-Identifier: MIT */
/* The command lines of ctxtool run and of timeout. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "duration.h"
#include "run.h"
#include "signals.h"
#include "terminal.h"
#include "usage.h"

#define GRACE_DEFAULT_NS 5000000000u

static const char help[] =
	"Usage: ctxtool run [OPTION...] [DURATION] COMMAND [ARGUMENT...]\n"
	"Run a command under a context. At the deadline, or when the context is cancelled, the\n"
	"command is ended with all processes that it has started, also those in sessions of their\n"
	"own. Processes that it leaves behind when it ends by itself are ended too. A run inside a\n"
	"run has at most the time that is left of the outer one. The command stays in the foreground\n"
	"of the terminal.\n"
	"\n"
	"  -t, --timeout=DURATION    end the command after this time; 0, the default: no limit\n"
	"  -s, --signal=SIGNAL       end it by this signal, TERM by default; KILL: no grace; 0: none\n"
	"  -k, --kill-after=DURATION send SIGKILL so long after that signal, 5s by default; 0: never\n"
	"      --grace=DURATION      the same as --kill-after\n"
	"  -p, --preserve-status     exit with the command's status also when its time is over\n"
	"  -v, --verbose             say on standard error which signal is sent\n"
	"  -f, --foreground          no effect: the command is in the foreground anyway\n"
	"  -l, --label=TEXT          label of the context; the command's name by default\n"
	"  -r, --report[=FILE]       say on standard error, or in FILE, how it ended and why\n"
	"  -j, --json                report as JSON\n"
	"      --no-cgroup           do not make a cgroup for the command\n"
	"  -h, --help                print this text\n"
	"      --version             print the version\n"
	"\n"
	"DURATION is 10 or 1.5 (seconds), 5s, 2m, 1h, 1d, 250ms, or several of these as in 1h30m. It\n"
	"may stand before the command, as with timeout(1), or be given with --timeout.\n"
	"'ctxtool cancel LABEL' ends the run, as SIGTERM to ctxtool does; other signals are passed on.\n"
	"Exit codes: that of the command, or 128+N when signal N ended it; 124 the deadline ended it;\n"
	"137 SIGKILL ended it after the grace; 143 it was cancelled; 125 the run itself failed; 126 the\n"
	"command cannot be executed; 127 there is no such command.\n";

static const char help_of_timeout[] =
	"Usage: timeout [OPTION...] DURATION COMMAND [ARGUMENT...]\n"
	"Run a command, and end it when it still runs after DURATION. This is ctxtool(1), called by\n"
	"the name of timeout(1).\n"
	"\n"
	"  -f, --foreground          leave the command in the foreground of the terminal; then only\n"
	"                            the command itself is ended\n"
	"  -k, --kill-after=DURATION send SIGKILL if it still runs so long after the first signal\n"
	"  -p, --preserve-status     exit with the command's status also when its time is over\n"
	"  -s, --signal=SIGNAL       end it by this signal, TERM by default\n"
	"  -v, --verbose             say on standard error which signal is sent\n"
	"      --help                print this text\n"
	"      --version             print the version\n"
	"\n"
	"DURATION is a number with s for seconds, the default, m, h or d; 0 is no limit.\n"
	"Exit codes: that of the command; 124 its time was over; 125 timeout itself failed; 126 the\n"
	"command cannot be executed; 127 there is no such command; 137 SIGKILL ended it.\n";

static int bad_usage(const struct run_options *options, const char *before, const char *value,
		     const char *after)
{
	char text[ESCAPED_SIZE];

	if (value)
		fprintf(stderr, "%s: %s'%s'%s\n", options->program, before, escape(value, text, sizeof(text)),
			after);
	fprintf(stderr, "Try '%s --help' for more information.\n", options->program);
	return RUN_TROUBLE;
}

/* Reads a duration; 0 and one without end become never_ns. -1: go on; else the exit code. */
static int take_duration(const struct run_options *options, const char *text, uint64_t never_ns,
			 uint64_t *ret_ns)
{
	if (duration_parse(text, ret_ns))
		return bad_usage(options, "invalid time interval ", text, "");
	if (*ret_ns == 0 || *ret_ns == UINT64_MAX)
		*ret_ns = never_ns;
	return -1;
}

static int take_signal(struct run_options *options, const char *text)
{
	options->signal = signal_parse(text);
	return options->signal < 0 ? bad_usage(options, "", text, ": invalid signal") : -1;
}

static int take_report(struct run_options *options, const char *path)
{
	char shown[4 * ESCAPED_SIZE];

	if (options->report && options->report != stderr)
		fclose(options->report);
	options->report = path ? fopen(path, "we") : stderr;
	if (options->report)
		return -1;
	int error = errno;
	fprintf(stderr, "%s: %s: %s\n", options->program, escape(path, shown, sizeof(shown)),
		strerror(error));
	return RUN_TROUBLE;
}

static int print_text(const char *text)
{
	fputs(text, stdout);
	return fflush(stdout) ? RUN_TROUBLE : 0;
}

static int print_version(const struct run_options *options)
{
	printf("%s%d.%d\n", options->as_timeout ? "timeout (ctxtool) " : "ctxtool ", CTXRING_VERSION_MAJOR,
	       CTXRING_VERSION_MINOR);
	return fflush(stdout) ? RUN_TROUBLE : 0;
}

/* Obeys an option. -1: go on; else the exit code. */
static int take_option(struct run_options *options, int letter)
{
	switch (letter) {
	case 't':
		return take_duration(options, optarg, 0, &options->timeout_ns);
	case 'k':
		options->grace_given = true;
		return take_duration(options, optarg, CTX_FOREVER, &options->grace_ns);
	case 's':
		return take_signal(options, optarg);
	case 'f':
		options->foreground = true;
		return -1;
	case 'p':
		options->preserve_status = true;
		return -1;
	case 'v':
		options->verbose = true;
		return -1;
	case 'l':
		options->label = optarg;
		return -1;
	case 'r':
		return take_report(options, optarg);
	case 'j':
		options->json = true;
		return -1;
	case 'n':
		options->no_cgroup = true;
		return -1;
	case 'h':
		return print_text(options->as_timeout ? help_of_timeout : help);
	case 'V':
		return print_version(options);
	default:
		return bad_usage(options, "", NULL, "");
	}
}

/* The last part of the command's path. */
static const char *name_of(const char *command)
{
	const char *slash = strrchr(command, '/');

	return slash && slash[1] ? slash + 1 : command;
}

/* Takes all options before the command. -1: go on; else the exit code. */
static int take_options(struct run_options *options, int argc, char **argv, const char *letters,
			const struct option *known)
{
	int letter, result = -1;

	optind = 1;
	while (result < 0 && (letter = next_option(options->program, argc, argv, letters, known)) != -1)
		result = take_option(options, letter);
	return result;
}

/* Whether the text begins with a number and is hardly the name of a program. */
static bool begins_as_number(const char *text)
{
	char *end;

	strtold(text, &end);
	return end != text && !strpbrk(text, "/") && !(*text >= 'A' && *text <= 'z');
}

/* Takes a duration before the command. -1: go on; else the exit code. */
static int take_operand(struct run_options *options, char **operands)
{
	uint64_t ignored;

	options->command = operands;
	if (!operands[0])
		return -1;
	if (duration_parse(operands[0], &ignored) == 0) {
		options->command++;
		return take_duration(options, operands[0], 0, &options->timeout_ns);
	}
	options->is_number = operands[1] && begins_as_number(operands[0]);
	return -1;
}

static int finish_parse(struct run_options *options)
{
	if (!options->command[0]) {
		fprintf(stderr, "%s: nothing to run: give a command\n", options->program);
		return bad_usage(options, "", NULL, "");
	}
	if (!options->label)
		options->label = name_of(options->command[0]);
	if (options->json && !options->report)
		options->report = stderr;
	return -1;
}

#define OPTIONS_OF_TIMEOUT                                                                             \
	{"foreground", no_argument, NULL, 'f'}, {"kill-after", required_argument, NULL, 'k'},          \
		{"preserve-status", no_argument, NULL, 'p'}, {"signal", required_argument, NULL, 's'}, \
		{"verbose", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'},                 \
	{                                                                                              \
		"version", no_argument, NULL, 'V'                                                      \
	}

int run_parse(struct run_options *options, int argc, char **argv)
{
	static const struct option known[] = {
		OPTIONS_OF_TIMEOUT,
		{"timeout", required_argument, NULL, 't'},
		{"grace", required_argument, NULL, 'k'},
		{"label", required_argument, NULL, 'l'},
		{"report", optional_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'},
		{"no-cgroup", no_argument, NULL, 'n'},
		{NULL, 0, NULL, 0},
	};
	*options = (struct run_options){.program = "ctxtool run",
					.timeout_ns = UINT64_MAX,
					.grace_ns = GRACE_DEFAULT_NS,
					.signal = SIGTERM};
	int result = take_options(options, argc, argv, "+t:k:s:fpvl:r::jh", known);
	if (result >= 0)
		return result;
	options->command = argv + optind;
	if (options->timeout_ns == UINT64_MAX) {
		options->timeout_ns = 0;
		result = take_operand(options, argv + optind);
	}
	return result >= 0 ? result : finish_parse(options);
}

int run_parse_timeout(struct run_options *options, int argc, char **argv)
{
	static const struct option known[] = {OPTIONS_OF_TIMEOUT, {NULL, 0, NULL, 0}};
	static char program[ESCAPED_SIZE];

	*options = (struct run_options){.program = escape(argv[0], program, sizeof(program)),
					.as_timeout = true,
					.grace_ns = CTX_FOREVER,
					.signal = SIGTERM};
	int result = take_options(options, argc, argv, "+fk:ps:v", known);
	if (result >= 0)
		return result;
	if (argc - optind < 2)
		return bad_usage(options, "", NULL, "");
	options->command = argv + optind + 1;
	result = take_duration(options, argv[optind], 0, &options->timeout_ns);
	return result >= 0 ? result : finish_parse(options);
}
