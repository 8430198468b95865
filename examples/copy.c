/* SPDX-License-Identifier: MIT */
/*
 * Copies files, several at a time, and stops cleanly: at Ctrl-C, at a deadline, or when one of them fails,
 * nothing half-written is left.
 *
 *	copy [--timeout SECONDS] [--jobs N] [--progress] SOURCE... DIRECTORY
 *	copy [options] SOURCE TARGET
 *
 * Plain threads with blocking calls. Each of these takes a context, and that is all there is to stopping:
 *
 *	signals        ends at SIGINT, SIGTERM, SIGHUP        (ctx_with_signals)
 *	  deadline     ends after --timeout, if there is one  (ctx_with_timeout)
 *	    copies     ends with the first failure            (task group)
 *	      every read, write, fsync of every file
 *
 * A file is written under a temporary name in the directory of its target, and renamed when it is complete
 * and on the disk: its target is the old one or the new one, never a part. Copies that were complete when
 * another one failed stay. (A second Ctrl-C kills, as usual; then a temporary file may stay.)
 *
 * Exit status: 0 all are copied; 1 one could not be; 2 usage; 124 the time was over; 128 + N for signal N.
 * Progress goes to stderr when that is a terminal, or with --progress.
 */
#include "example.h"
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <sys/stat.h>

#define BUFFER_SIZE (256 * 1024)
#define STATUS_TIMEOUT 124
#define STATUS_SIGNAL 128

/* All of a run; its counters are added to by all tasks. */
struct run {
	uint64_t bytes_copied, bytes_all;
	unsigned files_copied, files_all;
};

/* One file. Its task's own until the task has been waited for. */
struct job {
	struct run *run;
	const char *source;
	char target[PATH_MAX];
	char temporary[PATH_MAX + 32];
	const char *failed_at; /* which step */
	int error;
};

/* ---- one file */

/* The step that has failed, for the message. */
static int failed(struct job *job, const char *step, int error)
{
	job->failed_at = step;
	return error;
}

/* Opening and syncing under a context need a ring; where there is none, or none now, it is done as ever. */
static bool no_ring(int error)
{
	return error == -ENOTSUP || error == -ENOMEM; /* RLIMIT_MEMLOCK */
}

static int open_source(const struct ctx_context *ctx, const char *path)
{
	int fd = ctxio_openat(ctx, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);

	if (!no_ring(fd))
		return fd;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int sync_target(const struct ctx_context *ctx, int fd)
{
	int error = ctxio_fsync(ctx, fd);

	if (no_ring(error))
		error = fsync(fd) ? -errno : 0;
	/* Some file systems cannot. */
	return error == -EINVAL ? 0 : error;
}

static int copy_content(const struct ctx_context *ctx, struct job *job, int from, int to)
{
	char *buffer = malloc(BUFFER_SIZE);
	ssize_t size;
	int error = 0;

	if (!buffer)
		return failed(job, "memory", -ENOMEM);
	while ((size = ctxio_read(ctx, from, buffer, BUFFER_SIZE)) > 0) {
		ssize_t written = ctxio_write_full(ctx, to, buffer, (size_t)size, NULL);

		if (written < 0) {
			error = failed(job, "write", (int)written);
			break;
		}
		__atomic_fetch_add(&job->run->bytes_copied, (uint64_t)written, __ATOMIC_RELAXED);
	}
	free(buffer);
	return size < 0 ? failed(job, "read", (int)size) : error;
}

/* Into the temporary file, complete and with the permissions of the source. */
static int copy_to_temporary(const struct ctx_context *ctx, struct job *job, int from, int to)
{
	struct stat status;
	int error;

	if (fstat(from, &status))
		return failed(job, "fstat", -errno);
	if (S_ISDIR(status.st_mode))
		return failed(job, "read", -EISDIR);
	error = copy_content(ctx, job, from, to);
	if (error)
		return error;
	if (fchmod(to, status.st_mode & 0777))
		return failed(job, "fchmod", -errno);
	error = sync_target(ctx, to);
	return error ? failed(job, "fsync", error) : 0;
}

static int copy_file(const struct ctx_context *ctx, struct job *job, int from)
{
	int to, error;

	to = mkostemp(job->temporary, O_CLOEXEC);
	if (to < 0)
		return failed(job, "create", -errno);
	error = copy_to_temporary(ctx, job, from, to);
	if (close(to) && !error)
		error = failed(job, "close", -errno);
	/* The last moment at which the end of the context still counts. */
	if (!error)
		error = ctx_err(ctx);
	if (!error && rename(job->temporary, job->target))
		error = failed(job, "rename", -errno);
	if (error)
		unlink(job->temporary);
	return error;
}

/* A task of the group. What it returns other than 0 ends the context, and so all others. */
static int copy_task(const struct ctx_context *ctx, void *data)
{
	struct job *job = data;
	int from = open_source(ctx, job->source);

	job->error = from < 0 ? failed(job, "open", from) : copy_file(ctx, job, from);
	if (from >= 0)
		close(from);
	if (!job->error)
		__atomic_fetch_add(&job->run->files_copied, 1, __ATOMIC_RELAXED);
	return job->error;
}

/* ---- progress */

static void show_progress(const struct run *run)
{
	fprintf(stderr, "\r%u of %u files, %.1f of %.1f MB ",
		__atomic_load_n(&run->files_copied, __ATOMIC_RELAXED), run->files_all,
		(double)__atomic_load_n(&run->bytes_copied, __ATOMIC_RELAXED) / 1e6,
		(double)run->bytes_all / 1e6);
}

/* A task in a group of its own, which ends when there is nothing more to show. */
static int progress_task(const struct ctx_context *ctx, void *data)
{
	do
		show_progress(data);
	while (ctxio_sleep_for(ctx, 100 * NSEC_PER_MSEC) == 0);
	show_progress(data);
	fputc('\n', stderr);
	return 0;
}

/* ---- all files */

static int copy_all(const struct ctx_context *ctx, struct run *run, struct job *jobs, unsigned limit,
		    bool progress)
{
	struct ctx_taskgroup *copies, *shows = NULL;
	int error, failure;

	error = ctx_taskgroup_new(ctx, limit, "copies", &copies);
	if (error) {
		fprintf(stderr, "copy: %s\n", strerror(-error));
		return error;
	}
	/* Not below ctx: the last state is to be shown also when that has ended. Without it we do as well. */
	if (progress && ctx_taskgroup_new(ctx_background(), 1, "progress", &shows) == 0)
		ctx_taskgroup_start(shows, progress_task, run, "progress");
	/* Waits when as many run as may; refused as soon as ctx is done or a task has failed. */
	for (unsigned i = 0; i < run->files_all && !error; i++) {
		error = ctx_taskgroup_start(copies, copy_task, &jobs[i], jobs[i].source);
		if (error)
			jobs[i].error = failed(&jobs[i], "start", error);
	}
	failure = ctx_taskgroup_wait(copies);
	ctx_taskgroup_free(copies);
	ctx_taskgroup_free(shows); /* ends its context, and so the sleep */
	return failure ? failure : error;
}

/* Says why not all were copied. Returns the exit status. */
static int explain(const struct ctx_context *ctx, const struct run *run, const struct job *jobs)
{
	struct ctx_cause cause;

	/* Other errors than that of an end are failures of their own. */
	for (unsigned i = 0; i < run->files_all; i++)
		if (jobs[i].error && jobs[i].error != -ECANCELED && jobs[i].error != -ETIME)
			fprintf(stderr, "copy: %s: %s: %s\n", jobs[i].source, jobs[i].failed_at,
				strerror(-jobs[i].error));
	ctx_get_cause(ctx, &cause);
	switch (cause.kind) {
	case CTX_CAUSE_SIGNAL:
		fprintf(stderr, "copy: stopped by %s; %u of %u files are copied\n", strsignal(cause.code),
			run->files_copied, run->files_all);
		return STATUS_SIGNAL + cause.code;
	case CTX_CAUSE_DEADLINE:
		fprintf(stderr, "copy: the time is over; %u of %u files are copied\n", run->files_copied,
			run->files_all);
		return STATUS_TIMEOUT;
	default:
		return EXIT_FAILURE;
	}
}

/* ---- command line */

struct settings {
	double timeout; /* seconds, 0: none */
	uint64_t jobs;
	bool progress;
};

static int usage(void)
{
	fprintf(stderr, "Usage: copy [--timeout SECONDS] [--jobs N] [--progress] SOURCE... DIRECTORY\n"
			"       copy [--timeout SECONDS] [--jobs N] [--progress] SOURCE TARGET\n");
	return 2;
}

static bool parse_seconds(const char *text, double *ret_seconds)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0 && seconds <= 1e6))
		return false;
	*ret_seconds = seconds;
	return true;
}

static bool parse_options(int argc, char **argv, struct settings *ret_settings)
{
	static const struct option options[] = {{"timeout", required_argument, NULL, 't'},
						{"jobs", required_argument, NULL, 'j'},
						{"progress", no_argument, NULL, 'p'},
						{NULL, 0, NULL, 0}};
	struct settings settings = {.jobs = 4, .progress = isatty(STDERR_FILENO)};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 't':
			if (!parse_seconds(optarg, &settings.timeout))
				return false;
			break;
		case 'j':
			if (!parse_number(optarg, 256, &settings.jobs) || !settings.jobs)
				return false;
			break;
		case 'p':
			settings.progress = true;
			break;
		default:
			return false;
		}
	}
	*ret_settings = settings;
	return true;
}

/* Where a source goes, and the temporary name beside that. */
static int job_prepare(struct job *job, struct run *run, const char *source, const char *target, bool into)
{
	char path[PATH_MAX], directory[PATH_MAX];
	struct stat from, to;
	int size;

	job->run = run;
	job->source = source;
	if (snprintf(path, sizeof(path), "%s", source) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	size = into ? snprintf(job->target, sizeof(job->target), "%s/%s", target, basename(path))
		    : snprintf(job->target, sizeof(job->target), "%s", target);
	if (size >= (int)sizeof(job->target))
		return -ENAMETOOLONG;
	snprintf(directory, sizeof(directory), "%s", job->target);
	snprintf(job->temporary, sizeof(job->temporary), "%s/.copy.XXXXXX", dirname(directory));
	if (stat(source, &from))
		return -errno;
	if (stat(job->target, &to) == 0) {
		if (from.st_dev == to.st_dev && from.st_ino == to.st_ino)
			return -EEXIST;
		/* It would be replaced, not written to. */
		if (!S_ISREG(to.st_mode))
			return S_ISDIR(to.st_mode) ? -EISDIR : -EINVAL;
	}
	run->bytes_all += (uint64_t)from.st_size;
	return 0;
}

static struct job *prepare(struct run *run, char **names, int count)
{
	const char *target = names[count - 1];
	struct job *jobs = calloc((size_t)count, sizeof(*jobs));
	struct stat status;
	bool into = stat(target, &status) == 0 && S_ISDIR(status.st_mode);
	int error = jobs ? 0 : -ENOMEM;

	if (count > 2 && !into) {
		fprintf(stderr, "copy: %s: not a directory\n", target);
		free(jobs);
		return NULL;
	}
	run->files_all = (unsigned)count - 1;
	for (int i = 0; i < count - 1 && !error; i++) {
		error = job_prepare(&jobs[i], run, names[i], target, into);
		if (error)
			fprintf(stderr, "copy: %s: %s\n", names[i],
				error == -EEXIST   ? "source and target are the same"
				: error == -EINVAL ? "the target is no regular file"
						   : strerror(-error));
	}
	if (!error)
		return jobs;
	free(jobs);
	return NULL;
}

/* Ends at the signals that ask a program to stop; at none that whoever started us wants ignored. */
static int make_stoppable(struct ctx_context **ret_ctx)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	int error = ctx_with_signals(ctx_background(), NULL, &signals, "signals", ret_ctx);
	/* All of them are ignored, say: then it cannot be stopped so. */
	return error == -EBUSY ? ctx_with_cancel(ctx_background(), "no signals", ret_ctx) : error;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *signals = NULL, *deadline = NULL;
	struct settings settings;
	struct run run = {0};
	int error;

	if (!parse_options(argc, argv, &settings) || argc - optind < 2)
		return usage();
	/* Before any thread there is, since all are to inherit that these signals are blocked. */
	error = make_stoppable(&signals);
	if (!error && settings.timeout > 0)
		error = ctx_with_timeout(signals, (uint64_t)(settings.timeout * 1e9), "deadline", &deadline);
	if (error) {
		fprintf(stderr, "copy: %s\n", strerror(-error));
		return EXIT_FAILURE;
	}
	struct job *jobs = prepare(&run, argv + optind, argc - optind);
	if (!jobs)
		return EXIT_FAILURE;
	const struct ctx_context *ctx = deadline ? deadline : signals;
	error = copy_all(ctx, &run, jobs, (unsigned)settings.jobs, settings.progress);
	int status = error ? explain(ctx, &run, jobs) : EXIT_SUCCESS;
	free(jobs);
	return status;
}
