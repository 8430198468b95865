/* SPDX-License-Identifier: MIT */
/* ctxtool record: writes down for a while what contexts and operations do, as a picture or for other tools.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "collect.h"
#include "commands.h"
#include "duration.h"
#include "exit_code.h"
#include "monotonic.h"
#include "output.h"
#include "selection.h"
#include "survey_filter.h"
#include "table_format.h"
#include "terminal.h"
#include "usage.h"
#include "users.h"
#include "write.h"

#define FOR_DEFAULT_NS 5000000000u
#define SPANS_DEFAULT 1000000u
#define SPANS_MOST 100000000u
/*
 * How often a command that was started is looked at until it has made its table: a short one may make it and
 * end at once. What it does until it is found it writes down by itself, see CTX_CONTROL_VARIABLE.
 */
#define COMMAND_LOOK_NS 1000000u
#define COMMAND_LOOK_LATER_NS 20000000u
#define COMMAND_LATER_NS 200000000u
/* The clock of the ends of contexts may be so far behind: the recording of a command begins before it starts.
 */
#define CLOCK_LAG_NS 10000000u
/* The exit codes of run and timeout(1) for a command that cannot be executed, or is not there. */
#define EXIT_NOT_EXECUTED 126
#define EXIT_NOT_FOUND 127
#define PROGRESS_NS 200000000u

static const char help[] =
	"Usage: ctxtool record [OPTION...] -o FILE [SELECTION...]\n"
	"       ctxtool record [OPTION...] -o FILE -- COMMAND [ARGUMENT...]\n"
	"Record for a while what contexts, their operations and batches of cancels do, and write it as\n"
	"a page for a browser, or for Perfetto or OpenTelemetry. Of a command, until it ends. Ctrl-C ends\n"
	"the recording early; the file is written then, too. FILE is replaced once it is complete.\n"
	"SELECTION is an expression as in \"comm=httpd label=/slow*\": see ctxtool(1). What it selects is\n"
	"kept with all that is below.\n"
	"\n"
	"  -o, --output=FILE    where to write; \"-\" is standard output\n"
	"      --for=TIME       for how long: 5s unless given; 250ms, 1m30s\n"
	"      --format=FORMAT  html, trace (Perfetto, chrome://tracing) or otlp; without it what FILE ends\n"
	"                       with says: .html, .otlp.json, or .json for trace\n"
	"  -a, --all            record ctxd and ctxd-fleet too\n"
	"  -p, --pid=PID        record only this process; repeatable\n"
	"      --max=N          keep so many contexts and operations: 1000000 unless given\n"
	"  -q, --quiet          print no progress and no summary\n"
	"  -h, --help           print this text\n"
	"\n"
	"Exit codes: 0 recorded; 1 there was nothing to record; 2 wrong usage; 3 a process could not be\n"
	"recorded, or something was lost, and is named on standard error; 4 no memory, or FILE cannot be\n"
	"written; 126 COMMAND cannot be executed; 127 there is no such COMMAND.\n";

enum format {
	FORMAT_NONE,
	FORMAT_PAGE,
	FORMAT_TRACE,
	FORMAT_OTLP,
};

struct options {
	const char *path;
	enum format format;
	uint64_t for_ns;
	unsigned long spans_max;
	bool quiet, timed, all;
	pid_t *pids;
	size_t pid_count;
	char **command;		     /* NULL: none is started */
	struct selection *selection; /* NULL: everything */
	char *selection_text;
};

/* What a recording knows. Ages count from the beginning of a context to its end. */
#define RECORD_KEYS (SELECTION_ALL_KEYS & ~(1u << SELECTION_LEFT))
/* What is known of a process before anything of it is recorded. */
#define PROCESS_KEYS (1u << SELECTION_PID | 1u << SELECTION_COMM | 1u << SELECTION_USER)

/* ---- the command line */

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && strcasecmp(text + length - end_length, end) == 0;
}

static enum format format_of_name(const char *name)
{
	if (strcmp(name, "html") == 0)
		return FORMAT_PAGE;
	if (strcmp(name, "trace") == 0 || strcmp(name, "perfetto") == 0)
		return FORMAT_TRACE;
	return strcmp(name, "otlp") == 0 ? FORMAT_OTLP : FORMAT_NONE;
}

static enum format format_of_path(const char *path)
{
	if (ends_with(path, ".html") || ends_with(path, ".htm"))
		return FORMAT_PAGE;
	if (ends_with(path, ".otlp.json"))
		return FORMAT_OTLP;
	return ends_with(path, ".json") ? FORMAT_TRACE : FORMAT_NONE;
}

static int complain(const char *what, const char *value)
{
	complain_of_usage("ctxtool record", what, value);
	return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int take_option(struct options *options, int letter)
{
	switch (letter) {
	case 'o':
		options->path = optarg;
		return -1;
	case 'f':
		options->timed = true;
		if (duration_parse(optarg, &options->for_ns) || !options->for_ns)
			return complain("not a time such as 5s or 250ms", optarg);
		return -1;
	case 'F':
		options->format = format_of_name(optarg);
		return options->format ? -1 : complain("not a format: html, trace or otlp", optarg);
	case 'p':
		return argument_pid("ctxtool record", optarg, &options->pids, &options->pid_count);
	case 'm':
		return argument_count(optarg, SPANS_MOST, &options->spans_max)
			       ? complain("not a number from 1 to 100000000", optarg)
			       : -1;
	case 'a':
		options->all = true;
		return -1;
	case 'q':
		options->quiet = true;
		return -1;
	case 'h':
		fputs(help, stdout);
		return EXIT_OK;
	default:
		fprintf(stderr, "Try 'ctxtool record --help'.\n");
		return EXIT_USAGE;
	}
}

static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"output", required_argument, NULL, 'o'},
		{"for", required_argument, NULL, 'f'},
		{"format", required_argument, NULL, 'F'},
		{"pid", required_argument, NULL, 'p'},
		{"max", required_argument, NULL, 'm'},
		{"all", no_argument, NULL, 'a'},
		{"quiet", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int letter, code = -1, dashes;

	for (dashes = 1; dashes < argc && strcmp(argv[dashes], "--") != 0; dashes++)
		;
	if (dashes < argc)
		options->command = &argv[dashes + 1];
	optind = 1;
	while (code < 0 && (letter = next_option("ctxtool record", dashes, argv, "o:ap:qh", known)) != -1)
		code = take_option(options, letter);
	if (code >= 0)
		return code;
	if (optind < dashes)
		code = argument_selection("ctxtool record", argv + optind, dashes - optind, RECORD_KEYS,
					  "a recording", &options->selection, &options->selection_text);
	if (code >= 0)
		return code;
	if (options->command && !options->command[0])
		return complain("there is no command after --", NULL);
	if (options->command && options->pid_count)
		return complain("either processes or a command can be recorded", NULL);
	if (!options->path)
		return complain("-o FILE says where to write", NULL);
	if (!options->format)
		options->format = format_of_path(options->path);
	if (!options->format)
		return complain("FILE does not end with .html, .otlp.json or .json; give --format",
				options->path);
	return -1;
}

/* ---- what is selected */

struct asked_about {
	const struct recording *recording;
	const struct recorded_context *context;
};

static bool next_operation(const struct selection_facts *facts, uint32_t *position,
			   struct selection_operation *ret_operation)
{
	const struct asked_about *about = facts->process;

	if (*position >= about->context->operation_count)
		return false;
	const struct recorded_operation *operation =
		&about->recording->operations[about->context->first_operation + (*position)++];
	*ret_operation = (struct selection_operation){
		.opcode = operation->opcode, .flags = operation->flags, .fd = operation->fd};
	return true;
}

/* What the descriptor was during an operation of the context. */
static const char *describe_fd(const struct selection_facts *facts, int fd)
{
	const struct asked_about *about = facts->process;

	for (uint32_t i = 0; i < about->context->operation_count; i++) {
		const struct recorded_operation *operation =
			&about->recording->operations[about->context->first_operation + i];
		if (operation->fd == fd && operation->target)
			return recorded_text(about->recording, operation->target);
	}
	return "";
}

static bool is_context_selected(const struct recording *recording, const struct recorded_context *context,
				void *data)
{
	const struct recorded_process *process = &recording->processes[context->process];
	const struct recorded_context *origin =
		context->origin == RECORDING_NONE ? NULL : &recording->contexts[context->origin];
	struct asked_about about = {recording, context};
	bool done = origin != NULL || context->outcome >= RECORDED_CAUSE;
	uint64_t end_ns = context->done_ns ? context->done_ns : recorded_context_end_ns(recording, context);
	struct selection_facts facts = {
		.pid = process->pid,
		.uid = process->uid,
		.comm = recorded_text(recording, process->name),
		.label = recorded_text(recording, context->label),
		.slot = context->slot,
		.generation = context->generation,
		.live = !done,
		.error = done ? -(int)(context->state & CTX_TABLE_ERRNO) : 0,
		.age_ns = end_ns > context->begin_ns ? end_ns - context->begin_ns : 0,
		.left_ns = SELECTION_NO_DEADLINE,
		.kind = context->kind,
		.cause = origin ? origin->cause_kind : CTX_CAUSE_NONE,
		.cause_text = origin ? recorded_text(recording, origin->cause_text) : "",
		.operation_count = context->operation_count,
		.user_name = user_name,
		.next_operation = next_operation,
		.describe_fd = describe_fd,
		.process = &about,
	};

	return selection_matches(data, &facts);
}

/* Whether only processes are asked for. */
static bool asks_for_processes(const struct selection *selection)
{
	struct selection_error error;

	return selection && !selection_check_keys(selection, PROCESS_KEYS, "a process", &error);
}

/* A process of which nothing can be selected need not record. */
static bool is_process_wanted(pid_t pid, uid_t uid, const char *comm, void *data)
{
	const struct options *options = data;
	struct selection_facts facts = {
		.pid = pid, .uid = uid, .comm = comm, .label = "", .user_name = user_name};

	/* What is named by its number, or was started, is meant. */
	if (!options->all && !options->pid_count && !options->command && is_service_name(comm))
		return false;
	return !asks_for_processes(options->selection) || selection_matches(options->selection, &facts);
}

/* ---- recording */

static int describe_run(struct recording *recording, int argc, char **argv)
{
	char host[256] = "", line[512] = "ctxtool";
	size_t length = strlen(line);

	gethostname(host, sizeof(host) - 1);
	for (int i = 0; i < argc && length < sizeof(line) - 1; i++)
		length += (size_t)snprintf(line + length, sizeof(line) - length, " %s", argv[i]);
	recording->wall_offset_ns = clock_ns(CLOCK_REALTIME) - monotonic_ns();
	recording->host = recording_text(recording, host);
	recording->command = recording_text(recording, line);
	return recording->host == RECORDING_NONE || recording->command == RECORDING_NONE ? -ENOMEM : 0;
}

struct run {
	const struct options *options;
	struct recording recording;
	struct collector *collector;
	pid_t child;	  /* 0: none, or it has ended */
	int not_started;  /* the exit code for a command that cannot be; 0: it has started */
	bool interrupted; /* a signal came before the command had started */
	bool progress;	  /* a line of progress stands on the terminal */
};

/* Becomes the command; or writes the error to said, which is closed if there is none. */
static __attribute__((noreturn)) void become_command(char *const *command, int said)
{
	sigset_t none;

	terminal_uncatch();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setenv(CTX_CONTROL_VARIABLE, "1", 1);
	execvp(command[0], command);
	int error = errno;
	_exit(write(said, &error, sizeof(error)) < 0 ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTED);
}

/*
 * Starts the command, and waits until it has become one, or a signal comes: to find a program can take long.
 * 0 or -errno; then run->not_started is set, too.
 */
static int start_command(struct run *run)
{
	char *const *command = run->options->command;
	int said[2], error = 0;

	if (pipe2(said, O_CLOEXEC))
		return -errno;
	pid_t child = fork();
	if (child < 0)
		error = errno;
	if (child == 0)
		become_command(command, said[1]);
	close(said[1]);
	run->interrupted = child > 0 && terminal_wait_fd(said[0]);
	if (child > 0 && !run->interrupted && read(said[0], &error, sizeof(error)) > 0) {
		waitpid(child, NULL, 0);
		run->not_started = error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTED;
	}
	close(said[0]);
	if (error)
		return -error;
	run->child = child;
	return collector_add_pid(run->collector, child);
}

static bool has_command_ended(struct run *run)
{
	if (run->child && waitpid(run->child, NULL, WNOHANG) == run->child)
		run->child = 0;
	return !run->child;
}

static void print_progress(struct run *run, uint64_t now_ns)
{
	double passed = (double)(now_ns - run->recording.begin_ns) / 1e9;

	run->progress = true;
	fprintf(stderr, "\r\033[K%.1f", passed);
	if (!run->options->command || run->options->timed)
		fprintf(stderr, " of %g", (double)run->options->for_ns / 1e9);
	fprintf(stderr, " s, %zu process%s, %zu contexts, %zu operations",
		collector_processes(run->collector), collector_processes(run->collector) == 1 ? "" : "es",
		run->recording.context_count, run->recording.operation_count);
	if (run->recording.not_kept)
		fprintf(stderr, ", %" PRIu64 " not kept: --max", run->recording.not_kept);
}

/* Records until the time is over, the command has ended, or a signal comes. 0 or -errno. */
static int record_spans(struct run *run)
{
	const struct options *options = run->options;
	bool shows = !options->quiet && isatty(STDERR_FILENO);
	bool timed = !options->command || options->timed;
	uint64_t begin_ns = monotonic_ns(), look_ns = 0, shown_ns = 0;
	int result = 0;

	if (!options->command)
		result = collector_look(run->collector);
	if (!options->command && !result && !options->quiet)
		fprintf(stderr, "recording %zu process%s\n", collector_processes(run->collector),
			collector_processes(run->collector) == 1 ? "" : "es");
	while (!result && !run->interrupted) {
		uint64_t now_ns = monotonic_ns();
		bool beginning = options->command && !collector_processes(run->collector);
		uint64_t pause_ns = !beginning				   ? COLLECT_LOOK_NS
				    : now_ns - begin_ns < COMMAND_LATER_NS ? COMMAND_LOOK_NS
									   : COMMAND_LOOK_LATER_NS;

		if (now_ns >= look_ns) {
			result = collector_look(run->collector);
			look_ns = now_ns + pause_ns;
		}
		if (!result)
			result = collector_drain(run->collector);
		if (shows && now_ns - shown_ns >= PROGRESS_NS) {
			print_progress(run, now_ns);
			shown_ns = now_ns;
		}
		if ((timed && now_ns - begin_ns >= options->for_ns) ||
		    (options->command && has_command_ended(run)))
			break;
		uint64_t wait_ns = beginning ? pause_ns : COLLECT_DRAIN_NS;
		if (timed && begin_ns + options->for_ns - now_ns < wait_ns)
			wait_ns = begin_ns + options->for_ns - now_ns;
		if (terminal_pause(wait_ns))
			break;
	}
	if (run->progress)
		fputs("\r\033[K", stderr);
	return result;
}

/* ---- the output */

static int write_recording(const struct run *run, FILE *to)
{
	switch (run->options->format) {
	case FORMAT_PAGE:
		return write_page(&run->recording, to);
	case FORMAT_OTLP:
		return write_otlp(&run->recording, to);
	default:
		return write_trace(&run->recording, to);
	}
}

static int write_output(const struct run *run, struct output *output)
{
	int result = write_recording(run, output->to);

	return result ? result : output_finish(output);
}

static void print_summary(const struct run *run, bool written)
{
	const struct recording *recording = &run->recording;
	char losses[RECORDED_CAUSE_SIZE], time[16];

	for (size_t i = 0; i < recording->note_count; i++)
		fprintf(stderr, "ctxtool record: %s\n", recorded_text(recording, recording->notes[i]));
	if (recorded_losses(recording, losses)[0])
		fprintf(stderr, "ctxtool record: not complete: %s\n", losses);
	if (run->options->quiet || !written)
		return;
	fprintf(stderr, "%s: %zu context%s, %zu operation%s and %zu batch%s of %zu process%s in %s\n",
		strcmp(run->options->path, "-") == 0 ? "recorded" : run->options->path,
		recording->context_count, plural(recording->context_count), recording->operation_count,
		plural(recording->operation_count), recording->batch_count,
		recording->batch_count == 1 ? "" : "es", recording->process_count,
		recording->process_count == 1 ? "" : "es",
		duration_text(recording->end_ns - recording->begin_ns, time));
}

static int exit_code_of(const struct run *run, int result)
{
	char losses[RECORDED_CAUSE_SIZE];

	if (result)
		return EXIT_TROUBLE;
	if (collector_refused(run->collector) || recorded_losses(&run->recording, losses)[0])
		return EXIT_PARTLY;
	return run->recording.process_count ? EXIT_OK : EXIT_NOTHING;
}

static int run_recording(struct run *run, struct output *output, int argc, char **argv)
{
	const struct options *options = run->options;
	uint64_t begin_ns = monotonic_ns() - (options->command ? CLOCK_LAG_NS : 0);
	int result = recording_begin(&run->recording, begin_ns, options->spans_max);

	if (!result)
		result = describe_run(&run->recording, argc, argv);
	if (!result)
		result = collector_begin(&run->collector, &run->recording, options->pids, options->pid_count,
					 is_process_wanted, (void *)options);
	if (!result && options->command)
		result = start_command(run);
	if (!result)
		result = record_spans(run);
	if (!result)
		result = collector_finish(run->collector);
	if (!result && options->selection)
		result = recording_keep(&run->recording, is_context_selected, options->selection);
	if (run->not_started) {
		char name[4 * ESCAPED_SIZE];
		fprintf(stderr, "ctxtool record: %s: %s\n", escape(options->command[0], name, sizeof(name)),
			strerror(-result));
		return run->not_started;
	}
	if (result) {
		fprintf(stderr, "ctxtool record: %s\n", strerror(-result));
		return EXIT_TROUBLE;
	}
	result = write_output(run, output);
	if (result)
		fprintf(stderr, "ctxtool record: cannot write %s: %s\n", options->path, strerror(-result));
	print_summary(run, result == 0);
	if (!run->recording.process_count)
		fprintf(stderr, "ctxtool record: no process with contexts was found\n");
	return exit_code_of(run, result);
}

int record_run(int argc, char **argv)
{
	struct options options = {.for_ns = FOR_DEFAULT_NS, .spans_max = SPANS_DEFAULT};
	struct run run = {.options = &options};
	int code = parse_options(&options, argc, argv);

	if (code < 0) {
		struct output output;
		/* Of a pipe without a reader this waits, until Ctrl-C. */
		int result = output_open(options.path, &output);

		terminal_catch();
		if (result) {
			fprintf(stderr, "ctxtool record: cannot write %s: %s\n", options.path,
				strerror(-result));
			code = EXIT_TROUBLE;
		} else {
			code = run_recording(&run, &output, argc, argv);
		}
		output_close(&output);
	}
	collector_free(run.collector);
	recording_free(&run.recording);
	selection_free(options.selection);
	free(options.selection_text);
	free(options.pids);
	return code;
}
