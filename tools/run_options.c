/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "duration.h"
#include "run.h"

#define GRACE_DEFAULT_NS 5000000000u

static const char help[] =
	"Usage: ctxtool run [OPTION...] [--] COMMAND [ARGUMENT...]\n"
	"Run a command under a context: at the deadline, or when the context is cancelled, it is\n"
	"ended with all that it has started, also what has a session of its own. What it leaves\n"
	"behind when it ends by itself is ended too. A run inside a run has what is left of the\n"
	"outer one's time. The command stays in the foreground of the terminal.\n"
	"\n"
	"  -t, --timeout=DURATION  end it after that; 0, the default: no limit\n"
	"  -s, --signal=SIGNAL     the first signal, TERM by default; KILL: no grace\n"
	"  -k, --grace=DURATION    from that to SIGKILL, 5s by default; 0: no SIGKILL\n"
	"  -l, --label=TEXT        of the context in ctxtool tree; the command's name by default\n"
	"  -r, --report[=FILE]     say on standard error, or in FILE, how it ended and why\n"
	"  -j, --json              the report as JSON\n"
	"      --no-cgroup         do not make a cgroup for it\n"
	"  -h, --help              this text\n"
	"\n"
	"DURATION is 10 or 1.5 (seconds), 5s, 2m, 1h, 1d, 250ms, or several: 1h30m.\n"
	"'ctxtool cancel LABEL' ends it, as SIGTERM to ctxtool does; other signals are passed on.\n"
	"Exit: that of the command, 128+N when signal N ended it; 124 deadline; 137 ended by\n"
	"SIGKILL after the grace; 143 cancelled; 125 run itself failed; 126 the command cannot be\n"
	"executed; 127 there is none.\n";

static int bad_usage(const char *what, const char *value)
{
	fprintf(stderr, "ctxtool run: %s%s%s\nTry 'ctxtool run --help'.\n", what, value ? ": " : "",
		value ? value : "");
	return RUN_TROUBLE;
}

static int take_duration(const char *text, uint64_t *ret_ns)
{
	int result = duration_parse(text, ret_ns);

	if (result == -ERANGE)
		return bad_usage("more than a hundred years; 0 is for no limit", text);
	return result ? bad_usage("not a duration (10, 1.5, 5s, 2m, 1h30m, 250ms)", text) : -1;
}

const char *run_signal_name(int signo, char buffer[16])
{
	const char *name = sigabbrev_np(signo);

	if (name)
		return name;
	if (signo >= SIGRTMIN && signo <= SIGRTMAX)
		snprintf(buffer, 16, "RTMIN+%d", signo - SIGRTMIN);
	else
		snprintf(buffer, 16, "%d", signo);
	return buffer;
}

static int take_signal(const char *text, int *ret_signo)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	char buffer[16], *end;
	long number = strtol(text, &end, 10);

	if (end != text && !*end && number > 0 && number <= SIGRTMAX) {
		*ret_signo = (int)number;
		return -1;
	}
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		if (strcasecmp(run_signal_name(signo, buffer), name) == 0) {
			*ret_signo = signo;
			return -1;
		}
	return bad_usage("no such signal", text);
}

static int take_report(struct run_options *options, const char *path)
{
	if (options->report && options->report != stderr)
		fclose(options->report);
	options->report = path ? fopen(path, "we") : stderr;
	if (options->report)
		return -1;
	fprintf(stderr, "ctxtool run: %s: %s\n", path, strerror(errno));
	return RUN_TROUBLE;
}

/* -1: go on. */
static int take_option(struct run_options *options, int letter)
{
	int result;

	switch (letter) {
	case 't':
		return take_duration(optarg, &options->timeout_ns);
	case 'k':
		result = take_duration(optarg, &options->grace_ns);
		if (result < 0 && !options->grace_ns)
			options->grace_ns = CTX_FOREVER;
		return result;
	case 's':
		return take_signal(optarg, &options->signal);
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
		fputs(help, stdout);
		return fflush(stdout) ? RUN_TROUBLE : 0;
	default:
		fputs("Try 'ctxtool run --help'.\n", stderr);
		return RUN_TROUBLE;
	}
}

/* The last part of the command's path. */
static const char *name_of(const char *command)
{
	const char *slash = strrchr(command, '/');

	return slash && slash[1] ? slash + 1 : command;
}

int run_parse(struct run_options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"timeout", required_argument, NULL, 't'},
		{"grace", required_argument, NULL, 'k'},
		{"signal", required_argument, NULL, 's'},
		{"label", required_argument, NULL, 'l'},
		{"report", optional_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'},
		{"no-cgroup", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static char program[] = "ctxtool run";
	int letter, result;

	*options = (struct run_options){.grace_ns = GRACE_DEFAULT_NS, .signal = SIGTERM};
	argv[0] = program;
	optind = 1;
	/* Options end where the command begins: its own are its own. */
	while ((letter = getopt_long(argc, argv, "+t:k:s:l:r::jh", known, NULL)) != -1) {
		result = take_option(options, letter);
		if (result >= 0)
			return result;
	}
	if (optind == argc)
		return bad_usage("what? Give a command", NULL);
	options->command = argv + optind;
	if (!options->label)
		options->label = name_of(options->command[0]);
	if (options->json && !options->report)
		options->report = stderr;
	return -1;
}
