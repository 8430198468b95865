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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collect.h"
#include "commands.h"
#include "duration.h"
#include "exit_code.h"
#include "selection.h"
#include "survey_filter.h"
#include "terminal.h"
#include "usage.h"
#include "users.h"
#include "write.h"

#define FOR_DEFAULT_NS 5000000000u
#define SPANS_DEFAULT 1000000u
#define SPANS_MOST 100000000u
/* How often a command that was started is looked at: its contexts are recorded once it has made its table. */
#define COMMAND_LOOK_NS 3000000u
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
	"recorded, or something was lost, and is named on standard error; 4 no memory, or FILE or COMMAND\n"
	"failed.\n";

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
	size_t spans_max;
	bool quiet, timed, all;
	pid_t *pids;
	size_t pid_count;
	char **command;		     /* NULL: none is started */
	struct selection *selection; /* NULL: everything */
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

static int take_pid(struct options *options, const char *text)
{
	char *end;
	long pid = strtol(text, &end, 10);

	if (end == text || *end || pid <= 0 || pid > INT32_MAX)
		return complain("not the number of a process", text);
	pid_t *larger = reallocarray(options->pids, options->pid_count + 1, sizeof(*larger));
	if (!larger)
		return EXIT_TROUBLE;
	options->pids = larger;
	larger[options->pid_count++] = (pid_t)pid;
	return -1;
}

/* -1: go on; else the exit code. */
static int take_option(struct options *options, int letter)
{
	char *end;

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
		return take_pid(options, optarg);
	case 'm':
		errno = 0;
		options->spans_max = strtoul(optarg, &end, 10);
		if (errno || end == optarg || *end || optarg[0] == '-' || !options->spans_max ||
		    options->spans_max > SPANS_MOST)
			return complain("not a number from 1 to 100000000", optarg);
		return -1;
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

static int take_selection(struct options *options, char *const *operands, int count)
{
	struct selection_error error;
	char *text = selection_join(operands, count);
	int result = text ? selection_parse(text, &options->selection, &error) : -ENOMEM;

	if (!result)
		result = selection_check_keys(options->selection, RECORD_KEYS, "a recording", &error);
	if (result == -EINVAL)
		selection_complain("ctxtool record", text, &error);
	free(text);
	return !result ? -1 : result == -EINVAL ? EXIT_USAGE : EXIT_TROUBLE;
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
		code = take_selection(options, argv + optind, dashes - optind);
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

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int describe_run(struct recording *recording, int argc, char **argv)
{
	char host[256] = "", line[512] = "ctxtool";
	size_t length = strlen(line);

	gethostname(host, sizeof(host) - 1);
	for (int i = 0; i < argc && length < sizeof(line) - 1; i++)
		length += (size_t)snprintf(line + length, sizeof(line) - length, " %s", argv[i]);
	recording->wall_offset_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
	recording->host = recording_text(recording, host);
	recording->command = recording_text(recording, line);
	return recording->host == RECORDING_NONE || recording->command == RECORDING_NONE ? -ENOMEM : 0;
}

struct run {
	const struct options *options;
	struct recording recording;
	struct collector *collector;
	pid_t child; /* 0: none, or it has ended */
	int child_status;
	bool progress; /* a line of progress stands on the terminal */
};

static int start_command(struct run *run)
{
	char *const *command = run->options->command;
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execvp(command[0], command);
		fprintf(stderr, "ctxtool record: %s: %s\n", command[0], strerror(errno));
		_exit(127);
	}
	run->child = child;
	return collector_add_pid(run->collector, child);
}

static bool has_command_ended(struct run *run)
{
	if (run->child && waitpid(run->child, &run->child_status, WNOHANG) == run->child)
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
	uint64_t begin_ns = run->recording.begin_ns, look_ns = 0, shown_ns = 0;
	int result = 0;

	if (!options->command)
		result = collector_look(run->collector);
	if (!options->command && !result && !options->quiet)
		fprintf(stderr, "recording %zu process%s\n", collector_processes(run->collector),
			collector_processes(run->collector) == 1 ? "" : "es");
	while (!result) {
		uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
		bool beginning = options->command && !collector_processes(run->collector);

		if (now_ns >= look_ns) {
			result = collector_look(run->collector);
			look_ns = now_ns + (beginning ? COMMAND_LOOK_NS : COLLECT_LOOK_NS);
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
		uint64_t wait_ns = beginning ? COMMAND_LOOK_NS : COLLECT_DRAIN_NS;
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

/* Where a recording goes: to a file beside FILE, which takes its place when it is complete. */
struct output {
	FILE *to;
	char *temporary; /* NULL: a device, a pipe or standard output is written directly */
};

/* Makes the file beside FILE, with the rights that FILE has or would get. A descriptor or -errno. */
static int make_temporary(const char *path, const struct stat *existing, struct output *output)
{
	mode_t mask = umask(0);

	umask(mask);
	if (asprintf(&output->temporary, "%s.XXXXXX", path) < 0) {
		output->temporary = NULL;
		return -ENOMEM;
	}
	int fd = mkostemp(output->temporary, O_CLOEXEC);
	if (fd < 0) {
		int error = errno;

		free(output->temporary);
		output->temporary = NULL;
		return -error;
	}
	fchmod(fd, existing ? existing->st_mode & 0777 : 0666 & ~mask);
	return fd;
}

/* Before the recording, so that what cannot be written is noticed then. 0 or -errno. */
static int open_output(const char *path, struct output *output)
{
	struct stat status;
	int fd;

	*output = (struct output){.to = stdout};
	if (strcmp(path, "-") == 0)
		return 0;
	/* A link is replaced: it may lead to a file of somebody else. */
	bool exists = lstat(path, &status) == 0;
	if (exists && S_ISDIR(status.st_mode))
		return -EISDIR;
	if (exists && !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) {
		fd = open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	} else {
		fd = make_temporary(path, exists && S_ISREG(status.st_mode) ? &status : NULL, output);
	}
	output->to = fd < 0 ? NULL : fdopen(fd, "w");
	if (!output->to && fd >= 0)
		close(fd);
	return fd < 0 ? fd : output->to ? 0 : -ENOMEM;
}

/* Without a call of write_output() that succeeded nothing is left, and FILE is what it was. */
static void close_output(struct output *output)
{
	if (output->to && output->to != stdout)
		fclose(output->to);
	if (output->temporary)
		unlink(output->temporary);
	free(output->temporary);
	*output = (struct output){0};
}

static int write_output(const struct run *run, struct output *output)
{
	int result = write_recording(run, output->to);

	errno = 0;
	if (fflush(output->to) || ferror(output->to))
		result = result ? result : errno ? -errno : -EIO;
	if (result || !output->temporary)
		return result;
	if (rename(output->temporary, run->options->path))
		return -errno;
	free(output->temporary);
	output->temporary = NULL;
	return 0;
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
	if (run->options->command && WIFEXITED(run->child_status) && WEXITSTATUS(run->child_status) == 127)
		return EXIT_TROUBLE;
	if (collector_refused(run->collector) || recorded_losses(&run->recording, losses)[0])
		return EXIT_PARTLY;
	return run->recording.process_count ? EXIT_OK : EXIT_NOTHING;
}

static int run_recording(struct run *run, struct output *output, int argc, char **argv)
{
	const struct options *options = run->options;
	int result = recording_begin(&run->recording, clock_ns(CLOCK_MONOTONIC), options->spans_max);

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
		int result = open_output(options.path, &output);

		terminal_catch();
		if (result) {
			fprintf(stderr, "ctxtool record: cannot write %s: %s\n", options.path,
				strerror(-result));
			code = EXIT_TROUBLE;
		} else {
			code = run_recording(&run, &output, argc, argv);
		}
		close_output(&output);
	}
	collector_free(run.collector);
	recording_free(&run.recording);
	selection_free(options.selection);
	free(options.pids);
	return code;
}
