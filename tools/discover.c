/* SPDX-License-Identifier: MIT */
/*
 * Finds the processes that keep a context table.
 *
 * A table shows in /proc/PID/maps as a writable shared mapping of "/memfd:ctxring".
 * Maps come first, because they cost far less than looking at each descriptor,
 * and because they tell the owner: a forked child keeps the descriptor of its
 * parent's table but not the mapping, and a reader maps it without write access.
 * Everything about a process goes through one open directory, so that a pid which
 * is used again meanwhile cannot mix two processes.
 */
#include "discover.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SEALS_NEEDED (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define TABLE_PATH "/memfd:" CTX_TABLE_MEMFD_NAME
#define THREAD_PREFIX "ctx-"
/* Records that count as in use and were never written: an honest table has some, but not more bytes of them.
 */
#define UNTOUCHED_MAX (256u * 1024 * 1024)
#define TABLES_MAX 8 /* of one process: each copy of the library in it has its own */

/* A process under inspection. */
struct candidate {
	pid_t pid;
	int directory;
	uid_t uid;
	pid_t inner_pid; /* as its own pid namespace sees it */
	char name[64];
	char *maps;
};

/* A mapping of a table. */
struct mapping {
	uint64_t start, end;
	uint64_t inode;
};

struct source *survey_add_source(struct survey *survey)
{
	struct source *larger = realloc(survey->sources, (survey->source_count + 1) * sizeof(*larger));

	if (!larger)
		return NULL;
	survey->sources = larger;
	larger += survey->source_count++;
	*larger = (struct source){.descriptors.directory = -1};
	return larger;
}

int survey_add_unreadable(struct survey *survey, const struct unreadable *unreadable)
{
	struct unreadable *larger =
		realloc(survey->unreadables, (survey->unreadable_count + 1) * sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	survey->unreadables = larger;
	larger[survey->unreadable_count++] = *unreadable;
	return 0;
}

void survey_release(struct survey *survey)
{
	for (size_t i = 0; i < survey->source_count; i++) {
		snapshot_release(&survey->sources[i].snapshot);
		sites_release(&survey->sources[i].sites);
		descriptors_release(&survey->sources[i].descriptors);
	}
	free(survey->sources);
	free(survey->unreadables);
	*survey = (struct survey){0};
}

/* Reads a file of /proc, whose size is not known before. Its errno through ret_error. */
static char *read_proc_file(int directory, const char *name, int *ret_error)
{
	size_t room = 16384, length = 0;
	char *text = malloc(room);
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	*ret_error = fd < 0 ? errno : ENOMEM;
	while (text && fd >= 0) {
		char *larger;

		got = read(fd, text + length, room - length - 1);
		if (got <= 0)
			break;
		length += (size_t)got;
		if (room - length > 4096)
			continue;
		larger = realloc(text, room * 2);
		if (!larger) {
			got = -1;
			errno = ENOMEM;
			break;
		}
		text = larger;
		room *= 2;
	}
	if (fd >= 0 && got < 0)
		*ret_error = errno;
	if (fd >= 0)
		close(fd);
	if (got < 0) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	return text;
}

static const char *field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? at + strlen(name) : NULL;
}

/* Name, real uid and innermost pid, from /proc/PID/status, which everyone may read. */
static int read_status(struct candidate *candidate)
{
	int error;
	char *status = read_proc_file(candidate->directory, "status", &error);
	const char *at;

	if (!status)
		return -error;
	candidate->inner_pid = candidate->pid;
	at = field(status, "Name:\t");
	if (at) {
		size_t length = strcspn(at, "\n");

		if (length >= sizeof(candidate->name))
			length = sizeof(candidate->name) - 1;
		memcpy(candidate->name, at, length);
		candidate->name[length] = '\0';
	}
	at = field(status, "\nUid:\t");
	if (at)
		candidate->uid = (uid_t)strtoul(at, NULL, 10);
	at = field(status, "\nNSpid:");
	for (size_t length = at ? strcspn(at, "\n") : 0; length;) {
		size_t digits, blanks = strspn(at, " \t");

		at += blanks;
		digits = strspn(at, "0123456789");
		if (!digits)
			break;
		candidate->inner_pid = (pid_t)strtol(at, NULL, 10);
		at += digits;
		length = strcspn(at, "\n");
	}
	free(status);
	return 0;
}

/* Finds writable shared mappings of tables, one for each table. */
static size_t find_mappings(const char *maps, struct mapping found[TABLES_MAX])
{
	size_t count = 0;

	for (const char *at = strstr(maps, TABLE_PATH); at && count < TABLES_MAX;
	     at = strstr(at + 1, TABLE_PATH)) {
		const char *line = at, *after = at + strlen(TABLE_PATH);
		struct mapping mapping;
		char mode[5];
		size_t i = 0;

		if (*after != '\n' && *after != '\0' && strncmp(after, " (deleted)", 10) != 0)
			continue;
		while (line > maps && line[-1] != '\n')
			line--;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64, &mapping.start, &mapping.end,
			   mode, &mapping.inode) != 4 ||
		    mode[1] != 'w' || mode[3] != 's')
			continue;
		while (i < count && found[i].inode != mapping.inode)
			i++;
		if (i == count)
			found[count++] = mapping;
	}
	return count;
}

static bool is_table_inode(int fd, uint64_t inode)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_ino == inode;
}

/* Opens the table through the descriptor that the process has of it. -ENOENT: it has none. */
static int open_by_descriptor(const struct candidate *candidate, uint64_t inode)
{
	int fds = openat(candidate->directory, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fds < 0 ? NULL : fdopendir(fds);
	int result = -ENOENT;
	struct dirent *entry;

	if (!list) {
		result = -errno;
		if (fds >= 0)
			close(fds);
		return result;
	}
	while (result < 0 && (entry = readdir(list))) {
		char target[sizeof(TABLE_PATH) + 16];
		ssize_t length = readlinkat(dirfd(list), entry->d_name, target, sizeof(target) - 1);
		int fd;

		if (length < (ssize_t)strlen(TABLE_PATH) ||
		    memcmp(target, TABLE_PATH, strlen(TABLE_PATH)) != 0)
			continue;
		fd = openat(dirfd(list), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			result = -errno;
		else if (is_table_inode(fd, inode))
			result = fd;
		else
			close(fd);
	}
	closedir(list);
	return result;
}

/* The way without a descriptor, open to root only. */
static int open_by_mapping(const struct candidate *candidate, const struct mapping *mapping)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, mapping->start, mapping->end);
	fd = openat(candidate->directory, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (is_table_inode(fd, mapping->inode))
		return fd;
	close(fd);
	return -ENOENT;
}

static void describe(struct unreadable *unreadable, int error, const char *what)
{
	const char *remedy = "";

	if (error == EACCES || error == EPERM)
		remedy = geteuid() == 0
				 ? " (denied even to root: a security module, or a user namespace above)"
				 : " (another user's, or not dumpable: try as root)";
	snprintf(unreadable->reason, sizeof(unreadable->reason), "cannot read %s: %s%s", what,
		 strerror(error), remedy);
}

/* Maps the table behind fd and takes the snapshot. 0, or -1 with the reason in unreadable. */
static int read_table(int fd, struct source *source, struct unreadable *unreadable)
{
	char reason[READER_REASON_SIZE];
	struct stat status;
	uint64_t allocated;
	void *bytes;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED) {
		/* Without them the file could be cut under us, which is a SIGBUS. */
		snprintf(unreadable->reason, sizeof(unreadable->reason),
			 "its " TABLE_PATH " lacks the seals of a context table: refused");
		return -1;
	}
	if (fstat(fd, &status) || status.st_size <= 0) {
		snprintf(unreadable->reason, sizeof(unreadable->reason), "its table is empty");
		return -1;
	}
	allocated = (uint64_t)status.st_blocks * 512;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		describe(unreadable, errno, "its table");
		return -1;
	}
	if (snapshot_read(bytes, (size_t)status.st_size, allocated + UNTOUCHED_MAX, &source->snapshot,
			  reason)) {
		snprintf(unreadable->reason, sizeof(unreadable->reason), "%s", reason);
		munmap(bytes, (size_t)status.st_size);
		return -1;
	}
	munmap(bytes, (size_t)status.st_size);
	return 0;
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int add_table(struct survey *survey, const struct candidate *candidate, const struct mapping *mapping)
{
	struct unreadable unreadable = {.pid = candidate->pid, .inode = mapping->inode};
	struct source found = {.pid = candidate->pid,
			       .uid = candidate->uid,
			       .inode = mapping->inode,
			       .descriptors.directory = -1};
	struct source *source;
	int fd = open_by_descriptor(candidate, mapping->inode), other, result;

	memcpy(unreadable.name, candidate->name, sizeof(unreadable.name));
	memcpy(found.name, candidate->name, sizeof(found.name));
	if (fd < 0) {
		other = open_by_mapping(candidate, mapping);
		if (other < 0 && fd == -ENOENT)
			fd = other;
		fd = other < 0 ? fd : other;
	}
	if (fd < 0) {
		describe(&unreadable, -fd, "its table");
		return survey_add_unreadable(survey, &unreadable);
	}
	result = read_table(fd, &found, &unreadable);
	close(fd);
	if (result)
		return survey_add_unreadable(survey, &unreadable);
	if (found.snapshot.header.pid != candidate->inner_pid) {
		snprintf(unreadable.reason, sizeof(unreadable.reason),
			 "its table says that it belongs to pid %" PRId32 ": not its own",
			 found.snapshot.header.pid);
		snapshot_release(&found.snapshot);
		return survey_add_unreadable(survey, &unreadable);
	}
	found.now_ns = monotonic_ns();
	source = survey_add_source(survey);
	if (!source) {
		snapshot_release(&found.snapshot);
		return -ENOMEM;
	}
	*source = found;
	source->descriptors.directory = fcntl(candidate->directory, F_DUPFD_CLOEXEC, 0);
	return sites_parse_maps(&source->sites, candidate->maps);
}

int survey_add_table(struct survey *survey, int fd, pid_t pid, uid_t uid, const char *name)
{
	struct unreadable unreadable = {.pid = pid};
	struct source found = {.pid = pid, .uid = uid, .descriptors.directory = -1};
	struct source *source;
	struct stat status;

	snprintf(unreadable.name, sizeof(unreadable.name), "%s", name);
	snprintf(found.name, sizeof(found.name), "%s", name);
	if (fstat(fd, &status) == 0)
		found.inode = unreadable.inode = status.st_ino;
	if (read_table(fd, &found, &unreadable))
		return survey_add_unreadable(survey, &unreadable);
	found.now_ns = monotonic_ns();
	source = survey_add_source(survey);
	if (!source) {
		snapshot_release(&found.snapshot);
		return -ENOMEM;
	}
	*source = found;
	return 0;
}

static int add_missing(struct survey *survey, const struct candidate *candidate, const char *reason)
{
	struct unreadable missing = {.pid = candidate->pid, .missing = true};

	memcpy(missing.name, candidate->name, sizeof(missing.name));
	snprintf(missing.reason, sizeof(missing.reason), "%s", reason);
	return survey_add_unreadable(survey, &missing);
}

/* The library's own threads carry its name, which everyone may read. */
static bool has_library_thread(const struct candidate *candidate)
{
	int tasks = openat(candidate->directory, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = tasks < 0 ? NULL : fdopendir(tasks);
	const struct dirent *entry;
	bool found = false;

	if (!list) {
		if (tasks >= 0)
			close(tasks);
		return false;
	}
	while (!found && (entry = readdir(list))) {
		char name[NAME_MAX + 8], *comm;
		int error;

		snprintf(name, sizeof(name), "%s/comm", entry->d_name);
		comm = isdigit((unsigned char)entry->d_name[0]) ? read_proc_file(dirfd(list), name, &error)
								: NULL;
		found = comm && strncmp(comm, THREAD_PREFIX, strlen(THREAD_PREFIX)) == 0;
		free(comm);
	}
	closedir(list);
	return found;
}

/*
 * The maps are closed to us. Of a process that was asked for, or that has threads of the
 * library, this is worth an error; of any other it is not known whether it has a table.
 */
static int add_closed(struct survey *survey, const struct candidate *candidate, int error, bool asked_for)
{
	struct unreadable unreadable = {.pid = candidate->pid};

	if (error == ENOENT || error == ESRCH)
		return asked_for ? add_missing(survey, candidate, "no such process") : 0;
	unreadable.vague = !asked_for && !has_library_thread(candidate);
	if (unreadable.vague && candidate->uid != getuid()) {
		survey->strangers++;
		return 0;
	}
	memcpy(unreadable.name, candidate->name, sizeof(unreadable.name));
	describe(&unreadable, error, "its memory map");
	return survey_add_unreadable(survey, &unreadable);
}

static int inspect(struct survey *survey, struct candidate *candidate, bool asked_for)
{
	struct mapping mappings[TABLES_MAX];
	size_t count;
	int error, result = read_status(candidate);

	if (result)
		return add_closed(survey, candidate, -result, asked_for);
	candidate->maps = read_proc_file(candidate->directory, "maps", &error);
	if (!candidate->maps)
		return error == ENOMEM ? -ENOMEM : add_closed(survey, candidate, error, asked_for);
	count = find_mappings(candidate->maps, mappings);
	for (size_t i = 0; i < count && !result; i++)
		result = add_table(survey, candidate, &mappings[i]);
	if (!count && asked_for)
		result = add_missing(
			survey, candidate,
			"has no context table: it does not use ctxring, has made no context yet, or "
			"runs with CTXRING_TABLE=0");
	return result;
}

static int inspect_pid(struct survey *survey, int proc, pid_t pid, bool asked_for)
{
	struct candidate candidate = {.pid = pid, .uid = (uid_t)-1};
	char name[16];
	int result;

	snprintf(name, sizeof(name), "%d", (int)pid);
	candidate.directory = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (candidate.directory < 0)
		return add_closed(survey, &candidate, errno, asked_for);
	result = inspect(survey, &candidate, asked_for);
	free(candidate.maps);
	close(candidate.directory);
	return result;
}

/* A table that another process shows too, as its clone that shares memory does, has been read there. */
static void drop_duplicates(struct survey *survey)
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		bool seen = false;

		for (size_t j = 0; survey->unreadables[i].inode && j < survey->source_count && !seen; j++)
			seen = survey->sources[j].inode == survey->unreadables[i].inode;
		if (!seen)
			survey->unreadables[kept++] = survey->unreadables[i];
	}
	survey->unreadable_count = kept;
}

static int inspect_all(struct survey *survey, DIR *proc)
{
	const struct dirent *entry;
	int result = 0;

	while (!result && (entry = readdir(proc))) {
		long pid;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid = strtol(entry->d_name, NULL, 10);
		if (pid > 0 && pid <= INT_MAX && pid != getpid())
			result = inspect_pid(survey, dirfd(proc), (pid_t)pid, false);
	}
	return result;
}

static int compare_sources(const void *left, const void *right)
{
	const struct source *a = left, *b = right;

	return a->pid < b->pid ? -1 : a->pid > b->pid;
}

int survey_processes(const pid_t *pids, size_t pid_count, struct survey *ret_survey)
{
	DIR *proc = opendir("/proc");
	int result = 0;

	*ret_survey = (struct survey){0};
	if (!proc)
		return -errno;
	for (size_t i = 0; i < pid_count && !result; i++)
		result = inspect_pid(ret_survey, dirfd(proc), pids[i], true);
	if (!pid_count)
		result = inspect_all(ret_survey, proc);
	closedir(proc);
	if (result) {
		survey_release(ret_survey);
		return result;
	}
	drop_duplicates(ret_survey);
	if (ret_survey->source_count)
		qsort(ret_survey->sources, ret_survey->source_count, sizeof(struct source), compare_sources);
	return 0;
}
