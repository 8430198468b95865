/* SPDX-License-Identifier: MIT */
/*
 * Finds the processes that keep a context table.
 *
 * A table shows in /proc/PID/maps as a writable shared mapping of "/memfd:ctxring".
 * The maps are read first, because that costs far less than looking at each descriptor,
 * and because they tell the owner of a table: a forked child keeps the descriptor of its
 * parent's table but not the mapping, and a reader maps it without write access.
 * Everything that is read of a process is read through one open directory, so that two
 * processes are not mixed when a pid is used again meanwhile.
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

#include "errand.h"
#include "memfd.h"
#include "monotonic.h"
#include "proc_file.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SEALS_NEEDED (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define TABLE_PATH "/memfd:" CTX_TABLE_MEMFD_NAME
#define THREAD_PREFIX "ctx-"
/* Bytes of records that count as in use and were never written: an honest table has some, but not more. */
#define UNTOUCHED_MAX (256u * 1024 * 1024)
/* How many tables of one process are looked for. Each copy of the library in it has a table of its own. */
#define TABLES_MAX 8
/*
 * How often, and with what pauses, a process that may just be beginning is looked at. A process finishes its
 * table without sleeping, but it can lose its processor meanwhile. So looks at which all such processes sleep
 * count in full, and of the others, whose pauses are longer, there are more: two seconds in all.
 */
#define LOOKS_MAX 12
#define LOOK_PAUSE_NS 5000000
#define LOOKS_RUNNING_MAX 80
#define LOOK_PAUSE_RUNNING_NS 25000000
/* The user that the kernel shows for all those whom our user namespace does not know. */
#define UID_OVERFLOW 65534u

/* A process that is being looked at. */
struct candidate {
	pid_t pid;
	int directory;
	struct patience *patience;
	uid_t uid;
	bool has_memory; /* false: the process is ending */
	pid_t inner_pid; /* its number in its own pid namespace */
	char name[64];
	char *maps;
};

/* A mapping of a table. */
struct mapping {
	uint64_t start, end;
	uint64_t inode;
};

struct process *survey_add_process(struct survey *survey)
{
	struct process *larger = realloc(survey->processes, (survey->process_count + 1) * sizeof(*larger));

	if (!larger)
		return NULL;
	survey->processes = larger;
	larger += survey->process_count++;
	*larger = (struct process){.descriptors.directory = -1};
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

void process_free(struct process *process)
{
	snapshot_free(&process->snapshot);
	if (process->table)
		munmap((void *)process->table, process->table_size);
	site_names_free(process->names);
	sites_free(&process->sites);
	descriptors_free(&process->descriptors);
}

struct process survey_take_process(struct survey *survey, size_t index)
{
	struct process taken = survey->processes[index];

	survey->processes[index] = (struct process){.pid = taken.pid, .descriptors.directory = -1};
	return taken;
}

void survey_keep(struct survey *survey, bool (*keeps)(const struct process *process))
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->process_count; i++) {
		if (keeps(&survey->processes[i]))
			survey->processes[kept++] = survey->processes[i];
		else
			process_free(&survey->processes[i]);
	}
	survey->process_count = kept;
}

void survey_free(struct survey *survey)
{
	for (size_t i = 0; i < survey->process_count; i++)
		process_free(&survey->processes[i]);
	free(survey->processes);
	free(survey->unreadables);
	*survey = (struct survey){0};
}

static const char *find_field(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? at + strlen(name) : NULL;
}

/* Reads name, real uid and innermost pid from /proc/PID/status, which every user may read. */
static int read_status(struct candidate *candidate)
{
	char *status;
	const char *at;
	int error = proc_file_read(candidate->directory, "status", NULL, &status);

	if (error)
		return error;
	candidate->inner_pid = candidate->pid;
	candidate->has_memory = find_field(status, "\nVmSize:") != NULL;
	at = find_field(status, "Name:\t");
	if (at) {
		size_t length = strcspn(at, "\n");

		if (length >= sizeof(candidate->name))
			length = sizeof(candidate->name) - 1;
		memcpy(candidate->name, at, length);
		candidate->name[length] = '\0';
	}
	at = find_field(status, "\nUid:\t");
	if (at)
		candidate->uid = (uid_t)strtoul(at, NULL, 10);
	at = find_field(status, "\nNSpid:");
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

/* Finds the writable shared mappings of tables. A table that is mapped twice counts once. */
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

/* Opens the table through its mapping, which only root may do, when the process has no descriptor of it. */
static int open_by_mapping(const struct candidate *candidate, const struct mapping *mapping)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "map_files/%" PRIx64 "-%" PRIx64, mapping->start, mapping->end);
	fd = errand_open_path(candidate->patience, candidate->directory, name);
	return fd < 0 ? fd : memfd_reopen(fd, mapping->inode);
}

static void set_reason(struct unreadable *unreadable, int error, const char *what)
{
	const char *remedy = "";

	if (error == ETIMEDOUT)
		remedy = " (it keeps its memory locked; end it, or what it waits for)";
	else if (error == EBUSY)
		remedy = " (too many other processes keep their readers waiting; end those first)";
	else if (error == EAGAIN)
		remedy = " (a process has a lease on it, see /proc/locks; or no thread can be started, see "
			 "ulimit -u)";
	else if (error == EACCES || error == EPERM)
		remedy = geteuid() == 0 ? " (denied even to root, by a security module or a user namespace "
					  "above: look from outside)"
					: " (it is another user's, or not dumpable: try as root)";
	snprintf(unreadable->reason, sizeof(unreadable->reason), "cannot read %s: %s%s", what,
		 strerror(error), remedy);
}

/* Maps the table behind fd and takes its snapshot, or keeps it mapped. 0, or -1 with the reason in
 * unreadable. */
static int read_table(int fd, bool keep, struct process *process, struct unreadable *unreadable)
{
	char reason[READER_REASON_SIZE];
	struct stat status;
	uint64_t allocated;
	void *bytes;
	int seals = fcntl(fd, F_GET_SEALS), result;

	if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED) {
		/* Without these seals its owner could shorten the file while we read it: SIGBUS. */
		snprintf(unreadable->reason, sizeof(unreadable->reason),
			 "its " TABLE_PATH " lacks the seals of a context table: refused");
		unreadable->unsettled = true;
		return -1;
	}
	if (fstat(fd, &status) || status.st_size <= 0) {
		snprintf(unreadable->reason, sizeof(unreadable->reason), "its table is empty");
		return -1;
	}
	process->inode = unreadable->inode = status.st_ino;
	allocated = (uint64_t)status.st_blocks * 512;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		set_reason(unreadable, errno, "its table");
		return -1;
	}
	if (keep)
		result = snapshot_read_header(bytes, (size_t)status.st_size, &process->snapshot.header,
					      reason);
	else
		result = snapshot_read(bytes, (size_t)status.st_size, allocated + UNTOUCHED_MAX,
				       &process->snapshot, reason);
	if (keep && !result) {
		process->table = bytes;
		process->table_size = (size_t)status.st_size;
	} else {
		munmap(bytes, (size_t)status.st_size);
	}
	if (!result)
		return 0;
	snprintf(unreadable->reason, sizeof(unreadable->reason), "%s", reason);
	unreadable->unsettled = result == -EAGAIN;
	return -1;
}

/* Adds the table to the survey, or the reason why it cannot be read. 0 or -ENOMEM. */
static int add_table(struct survey *survey, const struct candidate *candidate, const struct mapping *mapping)
{
	struct unreadable unreadable = {.pid = candidate->pid, .inode = mapping->inode};
	struct process found = {.pid = candidate->pid,
				.uid = candidate->uid,
				.inode = mapping->inode,
				.descriptors.directory = -1};
	struct process *process;
	int fd = memfd_open_of(candidate->directory, CTX_TABLE_MEMFD_NAME, mapping->inode, O_RDONLY);
	int other, result;

	memcpy(unreadable.name, candidate->name, sizeof(unreadable.name));
	memcpy(found.name, candidate->name, sizeof(found.name));
	if (fd < 0) {
		other = open_by_mapping(candidate, mapping);
		if (other < 0 && fd == -ENOENT)
			fd = other;
		fd = other < 0 ? fd : other;
	}
	if (fd < 0) {
		set_reason(&unreadable, -fd, "its table");
		unreadable.unsettled = fd != -ETIMEDOUT && fd != -EBUSY;
		return survey_add_unreadable(survey, &unreadable);
	}
	result = read_table(fd, survey->keep_tables, &found, &unreadable);
	close(fd);
	if (result)
		return survey_add_unreadable(survey, &unreadable);
	if (found.snapshot.header.pid != candidate->inner_pid) {
		snprintf(unreadable.reason, sizeof(unreadable.reason),
			 "its table says that it belongs to pid %" PRId32 ", which is another process",
			 found.snapshot.header.pid);
		unreadable.unsettled = true;
		process_free(&found);
		return survey_add_unreadable(survey, &unreadable);
	}
	found.now_ns = monotonic_ns();
	process = survey_add_process(survey);
	if (!process) {
		process_free(&found);
		return -ENOMEM;
	}
	*process = found;
	process->descriptors.directory = fcntl(candidate->directory, F_DUPFD_CLOEXEC, 0);
	process->names = site_names_new();
	return sites_parse_maps(&process->sites, candidate->maps);
}

int survey_add_table(struct survey *survey, int fd, pid_t pid, uid_t uid, const char *name)
{
	struct unreadable unreadable = {.pid = pid};
	struct process found = {.pid = pid, .uid = uid, .descriptors.directory = -1};
	struct process *process;

	snprintf(unreadable.name, sizeof(unreadable.name), "%s", name);
	snprintf(found.name, sizeof(found.name), "%s", name);
	if (read_table(fd, survey->keep_tables, &found, &unreadable))
		return survey_add_unreadable(survey, &unreadable);
	found.now_ns = monotonic_ns();
	process = survey_add_process(survey);
	if (!process) {
		process_free(&found);
		return -ENOMEM;
	}
	*process = found;
	return 0;
}

static int add_missing(struct survey *survey, const struct candidate *candidate, const char *reason)
{
	struct unreadable missing = {.pid = candidate->pid, .missing = true};

	memcpy(missing.name, candidate->name, sizeof(missing.name));
	snprintf(missing.reason, sizeof(missing.reason), "%s", reason);
	return survey_add_unreadable(survey, &missing);
}

/* Whether the name of a thread, which every user may read, is one that the library gives. */
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

		snprintf(name, sizeof(name), "%s/comm", entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    proc_file_read(dirfd(list), name, NULL, &comm))
			continue;
		found = strncmp(comm, THREAD_PREFIX, strlen(THREAD_PREFIX)) == 0;
		free(comm);
	}
	closedir(list);
	return found;
}

/*
 * Whether we may not read the user's processes. Root may, unless our user namespace does not know the user.
 */
static bool is_stranger(uid_t uid)
{
	return uid != getuid() && (geteuid() != 0 || uid == UID_OVERFLOW);
}

/*
 * Notes a process whose maps cannot be read. That is an error for a process that was asked for, and for one
 * of ours that has threads of the library; of any other it is not known whether it has a table, so it is
 * counted only. A process without memory is ending.
 */
static int add_closed(struct survey *survey, const struct candidate *candidate, int error, bool asked_for)
{
	struct unreadable unreadable = {.pid = candidate->pid,
					.unsettled = error != ETIMEDOUT && error != EBUSY};

	if (error == ENOENT || error == ESRCH || !candidate->has_memory)
		return asked_for ? add_missing(survey, candidate, "no such process") : 0;
	if (!asked_for && (is_stranger(candidate->uid) ||
			   (error != ETIMEDOUT && error != EBUSY && !has_library_thread(candidate)))) {
		survey->strangers++;
		return 0;
	}
	memcpy(unreadable.name, candidate->name, sizeof(unreadable.name));
	set_reason(&unreadable, error, "its memory map");
	return survey_add_unreadable(survey, &unreadable);
}

static int inspect_process(struct survey *survey, struct candidate *candidate, bool asked_for)
{
	struct mapping mappings[TABLES_MAX];
	size_t count;
	int error, result = read_status(candidate);

	if (result)
		return add_closed(survey, candidate, -result, asked_for);
	candidate->maps = errand_read(candidate->patience, candidate->directory, "maps", &error);
	if (!candidate->maps)
		return error == -ENOMEM ? error : add_closed(survey, candidate, -error, asked_for);
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
	struct candidate candidate = {
		.pid = pid, .uid = (uid_t)-1, .has_memory = true, .patience = &survey->patience};
	char name[16];
	int result;

	snprintf(name, sizeof(name), "%d", (int)pid);
	candidate.directory = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (candidate.directory < 0)
		return add_closed(survey, &candidate, errno, asked_for);
	result = inspect_process(survey, &candidate, asked_for);
	free(candidate.maps);
	close(candidate.directory);
	return result;
}

/* Removes the reasons for tables that were read after all, through another process that shares its memory. */
static void remove_duplicates(struct survey *survey)
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->unreadable_count; i++) {
		bool seen = false;

		for (size_t j = 0; survey->unreadables[i].inode && j < survey->process_count && !seen; j++)
			seen = survey->processes[j].inode == survey->unreadables[i].inode;
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

/* Removes what was found of the process. */
static void remove_process(struct survey *survey, pid_t pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->process_count; i++) {
		if (survey->processes[i].pid == pid)
			process_free(&survey->processes[i]);
		else
			survey->processes[kept++] = survey->processes[i];
	}
	survey->process_count = kept;
	kept = 0;
	for (size_t i = 0; i < survey->unreadable_count; i++)
		if (survey->unreadables[i].pid != pid)
			survey->unreadables[kept++] = survey->unreadables[i];
	survey->unreadable_count = kept;
}

/* Lists the processes that may be beginning or ending, each once. 0 or -ENOMEM. */
static int list_unsettled(const struct survey *survey, pid_t **ret_pids, size_t *ret_count)
{
	pid_t *pids = malloc((survey->unreadable_count + 1) * sizeof(*pids));
	size_t count = 0;

	if (!pids)
		return -ENOMEM;
	for (size_t i = 0; i < survey->unreadable_count; i++) {
		const struct unreadable *unreadable = &survey->unreadables[i];

		/* The entries of one process follow each other. */
		if (unreadable->unsettled && (!count || pids[count - 1] != unreadable->pid))
			pids[count++] = unreadable->pid;
	}
	*ret_pids = pids;
	*ret_count = count;
	return 0;
}

/* Whether the thread runs, waits for a processor, or for what wakes it in any case, as memory from a disk. */
static bool thread_is_running(int tasks, const char *tid)
{
	char name[NAME_MAX + 8], *text;
	const char *state;
	bool running;

	snprintf(name, sizeof(name), "%s/stat", tid);
	if (proc_file_read(tasks, name, NULL, &text))
		return false;
	/* proc(5): the state follows the name, which ends with the last parenthesis. */
	state = strrchr(text, ')');
	running = state && (strncmp(state, ") R", 3) == 0 || strncmp(state, ") D", 3) == 0);
	free(text);
	return running;
}

static bool process_is_running(int proc, pid_t pid)
{
	char name[32];
	int tasks;
	DIR *list;
	const struct dirent *entry;
	bool running = false;

	snprintf(name, sizeof(name), "%d/task", (int)pid);
	tasks = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	list = tasks < 0 ? NULL : fdopendir(tasks);
	if (!list) {
		if (tasks >= 0)
			close(tasks);
		return false;
	}
	while (!running && (entry = readdir(list)))
		running = isdigit((unsigned char)entry->d_name[0]) &&
			  thread_is_running(dirfd(list), entry->d_name);
	closedir(list);
	return running;
}

/*
 * Looks again at processes that could not be read, because they may just have been making their table or
 * ending. Those that still cannot be read after so many looks stay in the survey.
 */
static int look_again(struct survey *survey, int proc, bool asked_for)
{
	unsigned looks = 0, looks_running = 0;
	int result = 0;

	while (looks < LOOKS_MAX && looks_running < LOOKS_RUNNING_MAX && !result) {
		struct timespec pause = {0};
		bool running = false;
		pid_t *pids;
		size_t count;

		remove_duplicates(survey);
		result = list_unsettled(survey, &pids, &count);
		if (result)
			return result;
		for (size_t i = 0; i < count && !running; i++)
			running = process_is_running(proc, pids[i]);
		pause.tv_nsec = running ? LOOK_PAUSE_RUNNING_NS : LOOK_PAUSE_NS;
		if (count && looks + looks_running)
			nanosleep(&pause, NULL);
		*(running ? &looks_running : &looks) += 1;
		for (size_t i = 0; i < count && !result; i++) {
			remove_process(survey, pids[i]);
			result = inspect_pid(survey, proc, pids[i], asked_for);
		}
		free(pids);
		if (!count)
			break;
	}
	return result;
}

static int compare_processes(const void *left, const void *right)
{
	const struct process *a = left, *b = right;

	return a->pid < b->pid ? -1 : a->pid > b->pid;
}

static int survey_proc(const pid_t *pids, size_t pid_count, bool keep_tables, struct survey *ret_survey)
{
	DIR *proc = opendir("/proc");
	int result = 0;

	*ret_survey = (struct survey){.patience = PATIENCE, .keep_tables = keep_tables};
	if (!proc)
		return -errno;
	for (size_t i = 0; i < pid_count && !result; i++)
		result = inspect_pid(ret_survey, dirfd(proc), pids[i], true);
	if (!pid_count)
		result = inspect_all(ret_survey, proc);
	if (!result)
		result = look_again(ret_survey, dirfd(proc), pid_count > 0);
	closedir(proc);
	if (result) {
		survey_free(ret_survey);
		return result;
	}
	remove_duplicates(ret_survey);
	if (ret_survey->process_count)
		qsort(ret_survey->processes, ret_survey->process_count, sizeof(struct process),
		      compare_processes);
	return 0;
}

int survey_processes(const pid_t *pids, size_t pid_count, struct survey *ret_survey)
{
	return survey_proc(pids, pid_count, false, ret_survey);
}

int survey_tables(const pid_t *pids, size_t pid_count, struct survey *ret_survey)
{
	return survey_proc(pids, pid_count, true, ret_survey);
}
