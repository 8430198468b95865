/* SPDX-License-Identifier: MIT */
/*
 * Copies files, several at a time. When it is stopped by Ctrl-C or a deadline, or when one file fails, no
 * target is left half written.
 *
 *	copy [--timeout SECONDS] [--jobs N] [--progress] SOURCE... DIRECTORY
 *	copy [options] SOURCE TARGET
 *
 * It has plain threads with blocking calls. Each call takes a context, and nothing else is needed to stop it:
 *
 *	signals        ends at SIGINT, SIGTERM, SIGHUP        (ctx_with_signals)
 *	  deadline     ends after --timeout, if there is one  (ctx_with_timeout)
 *	    copies     ends with the first failure            (task group)
 *	      every read, write, fsync of every file
 *
 * A file is written under a temporary name in the directory of its target, and renamed when it is complete
 * and on the disk. So the target is the old file or the new one, never a part. Copies that were complete
 * before a failure stay. A second Ctrl-C kills the program; then a temporary file may be left.
 *
 * Exit status: 0 when all files are copied, 1 when one could not be, 2 for wrong usage, 124 when the time was
 * over, 128 + N after signal N. Progress goes to stderr when that is a terminal, or with --progress.
 */
#include "example.h"
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define BUFFER_SIZE (256 * 1024)
#define STATUS_TIMEOUT 124
#define STATUS_SIGNAL 128

/* What all tasks share. They add to the counters. */
struct run {
	_Atomic uint64_t bytes_copied;
	_Atomic unsigned files_copied;
	uint64_t bytes_all;
	unsigned files_all;
};

/* The copy of one file. It belongs to its task until that has been waited for. */
struct job {
	struct run *run;
	const char *source;
	char target[PATH_MAX];
	char temporary[PATH_MAX + 32];
	const char *failed_at; /* the step that failed */
	int error;
};

/* ---- one file */

/* Notes the step that has failed, for the message. Returns error. */
static int failed(struct job *job, const char *step, int error)
{
	job->failed_at = step;
	return error;
}

/* openat and fsync under a context need a ring. Where there is none, the plain calls are used. */
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
	/* Some file systems have no fsync. */
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
		atomic_fetch_add_explicit(&job->run->bytes_copied, (uint64_t)written, memory_order_relaxed);
	}
	free(buffer);
	return size < 0 ? failed(job, "read", (int)size) : error;
}

/* Copies content and permissions into the temporary file, and waits until it is on the disk. */
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
	/* If the context ends after this, the file is copied all the same. */
	if (!error)
		error = ctx_err(ctx);
	if (!error && rename(job->temporary, job->target))
		error = failed(job, "rename", -errno);
	if (error)
		unlink(job->temporary);
	return error;
}

/* A task of the group. Another return value than 0 ends the context of the group, and so all other tasks. */
static int copy_task(const struct ctx_context *ctx, void *data)
{
	struct job *job = data;
	int from = open_source(ctx, job->source);

	job->error = from < 0 ? failed(job, "open", from) : copy_file(ctx, job, from);
	if (from >= 0)
		close(from);
	if (!job->error)
		atomic_fetch_add_explicit(&job->run->files_copied, 1, memory_order_relaxed);
	return job->error;
}

/* ---- progress */

static void show_progress(const struct run *run)
{
	fprintf(stderr, "\r%u of %u files, %.1f of %.1f MB ",
		atomic_load_explicit(&run->files_copied, memory_order_relaxed), run->files_all,
		(double)atomic_load_explicit(&run->bytes_copied, memory_order_relaxed) / 1e6,
		(double)run->bytes_all / 1e6);
}

/* The task that shows progress, in a group of its own. It ends when its context does. */
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
	/* Not below ctx, since the last state is to be shown also when ctx has ended. If it fails, no
	 * progress is shown. */
	if (progress && ctx_taskgroup_new(ctx_background(), 1, "progress", &shows) == 0)
		ctx_taskgroup_start(shows, progress_task, run, "progress");
	/* The call waits while limit tasks run. It fails when ctx has ended or a task has failed. */
	for (unsigned i = 0; i < run->files_all && !error; i++) {
		error = ctx_taskgroup_start(copies, copy_task, &jobs[i], jobs[i].source);
		if (error)
			jobs[i].error = failed(&jobs[i], "start", error);
	}
	failure = ctx_taskgroup_wait(copies);
	ctx_taskgroup_free(copies);
	ctx_taskgroup_free(shows); /* ends the context of the group, and so the sleep of its task */
	return failure ? failure : error;
}

/* Prints why not all files were copied. Returns the exit status. */
static int explain(const struct ctx_context *ctx, const struct run *run, const struct job *jobs)
{
	struct ctx_cause cause;

	/* Prints the files that failed for a reason of their own, not because the context had ended. */
	for (unsigned i = 0; i < run->files_all; i++)
		if (jobs[i].error && jobs[i].error != -ECANCELED && jobs[i].error != -ETIME)
			fprintf(stderr, "copy: %s: %s: %s\n", jobs[i].source, jobs[i].failed_at,
				strerror(-jobs[i].error));
	ctx_get_cause(ctx, &cause);
	switch (cause.kind) {
	case CTX_CAUSE_SIGNAL:
		fprintf(stderr, "copy: stopped by %s; files copied: %u of %u\n", strsignal(cause.code),
			run->files_copied, run->files_all);
		return STATUS_SIGNAL + cause.code;
	case CTX_CAUSE_DEADLINE:
		fprintf(stderr, "copy: the time is over; files copied: %u of %u\n", run->files_copied,
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

/* Fills in the target of a source and the temporary name, which is in the directory of the target. */
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
		/* Other files than regular ones are refused: the rename would replace them. */
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

/* Makes a context that ends at a signal that asks the program to stop, except for signals that are ignored.
 */
static int make_stoppable(struct ctx_context **ret_ctx)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	int error = ctx_with_signals(ctx_background(), NULL, &signals, "signals", ret_ctx);
	/* -EBUSY: all of them are ignored, so no signal can stop the program. */
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
	/* Before any thread is started, since all threads are to inherit that these signals are blocked. */
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
