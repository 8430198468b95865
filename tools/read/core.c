/* SPDX-License-Identifier: MIT */
/*
 * Reads the context tables in an ELF core file.
 *
 * The notes of a core say which process it was and which files were mapped where. Its loadable segments
 * hold the memory. A table is found by the name of its mapping, or, in a core without the note that names
 * files, by the magic number at the start of a segment.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "discover.h"
#include "read_journal.h"

#define TABLE_PATH "/memfd:" CTX_TABLE_MEMFD_NAME
#define FILE_ENTRIES_MAX 1000000u

struct segment {
	uint64_t address;
	uint64_t offset; /* where its bytes begin in the core file */
	uint64_t size;	 /* bytes that the core file holds of it */
	uint64_t memory_size;
};

struct core {
	int fd;
	uint64_t file_size;
	uid_t file_uid;
	struct segment *segments;
	size_t segment_count;
	struct sites sites; /* mapped files, by address */
	uint64_t *tables;   /* addresses at which tables were mapped */
	size_t table_count;
	pid_t pid;
	uid_t uid;
	char name[64];
};

static int add_table_address(struct core *core, uint64_t address)
{
	uint64_t *larger = realloc(core->tables, (core->table_count + 1) * sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	core->tables = larger;
	larger[core->table_count++] = address;
	return 0;
}

static bool is_table_path(const char *path)
{
	size_t length = strlen(TABLE_PATH);

	return strncmp(path, TABLE_PATH, length) == 0 &&
	       (path[length] == '\0' || strcmp(path + length, " (deleted)") == 0);
}

/*
 * Reads the note NT_FILE: a count, the page size, count times (start, end, offset in pages), then count
 * strings. Its numbers are words of the machine that wrote it, here of 64 bits.
 */
static int read_file_note(struct core *core, const char *data, size_t size)
{
	uint64_t count, page_size, triple[3];
	const char *name, *end = data + size;

	if (size < 16)
		return 0;
	memcpy(&count, data, 8);
	memcpy(&page_size, data + 8, 8);
	if (count > FILE_ENTRIES_MAX || count > (size - 16) / 24)
		return 0;
	name = data + 16 + count * 24;
	for (uint64_t i = 0; i < count; i++) {
		size_t length = strnlen(name, (size_t)(end - name));
		int result = 0;

		if (name + length >= end)
			return 0;
		memcpy(triple, data + 16 + i * 24, sizeof(triple));
		if (is_table_path(name) && triple[2] == 0)
			result = add_table_address(core, triple[0]);
		else if (name[0] == '/')
			result = sites_add(&core->sites,
					   &(struct site_range){.start = triple[0],
								.end = triple[1],
								.file_offset = triple[2] * page_size,
								.path = (char *)name});
		if (result)
			return result;
		name += length + 1;
	}
	sites_sort(&core->sites);
	return 0;
}

static int read_note(struct core *core, const GElf_Nhdr *note, const char *data)
{
	if (note->n_type == NT_PRPSINFO && note->n_descsz >= sizeof(struct elf_prpsinfo)) {
		struct elf_prpsinfo info;

		memcpy(&info, data, sizeof(info));
		core->pid = info.pr_pid;
		core->uid = info.pr_uid;
		snprintf(core->name, sizeof(core->name), "%.*s", (int)sizeof(info.pr_fname), info.pr_fname);
	}
	if (note->n_type == NT_FILE)
		return read_file_note(core, data, note->n_descsz);
	return 0;
}

static int read_notes(struct core *core, Elf *elf, const GElf_Phdr *program)
{
	Elf_Data *data = NULL;
	GElf_Nhdr note;
	size_t offset = 0, next, name_at, data_at;

	if (program->p_offset < core->file_size && program->p_filesz <= core->file_size - program->p_offset)
		data = elf_getdata_rawchunk(elf, (int64_t)program->p_offset, program->p_filesz, ELF_T_NHDR);
	if (!data)
		return 0;
	while ((next = gelf_getnote(data, offset, &note, &name_at, &data_at)) > 0) {
		int result = read_note(core, &note, (const char *)data->d_buf + data_at);

		if (result)
			return result;
		offset = next;
	}
	return 0;
}

static int add_segment(struct core *core, const GElf_Phdr *program)
{
	struct segment *larger;
	uint64_t size = program->p_filesz;

	if (program->p_offset >= core->file_size)
		size = 0;
	else if (size > core->file_size - program->p_offset)
		size = core->file_size - program->p_offset;
	larger = realloc(core->segments, (core->segment_count + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	core->segments = larger;
	larger[core->segment_count++] =
		(struct segment){program->p_vaddr, program->p_offset, size, program->p_memsz};
	return 0;
}

static int compare_segments(const void *left, const void *right)
{
	const struct segment *a = left, *b = right;

	return a->address < b->address ? -1 : a->address > b->address;
}

/* Reads the program headers. 0, -ENOMEM, or -EINVAL with the reason. */
static int read_core(struct core *core, Elf *elf, char *reason, size_t size)
{
	GElf_Ehdr header;
	size_t count;

	if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header) || header.e_type != ET_CORE) {
		snprintf(reason, size, "not an ELF core file");
		return -EINVAL;
	}
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB) {
		snprintf(
			reason, size,
			"a core file of another kind of machine: only 64-bit little-endian ones can be read");
		return -EINVAL;
	}
	if (elf_getphdrnum(elf, &count)) {
		snprintf(reason, size, "broken core file: %s", elf_errmsg(-1));
		return -EINVAL;
	}
	for (size_t i = 0; i < count && i < FILE_ENTRIES_MAX; i++) {
		GElf_Phdr program;
		int result = 0;

		if (!gelf_getphdr(elf, (int)i, &program)) {
			snprintf(reason, size, "truncated core file: %s", elf_errmsg(-1));
			return -EINVAL;
		}
		if (program.p_type == PT_LOAD)
			result = add_segment(core, &program);
		else if (program.p_type == PT_NOTE)
			result = read_notes(core, elf, &program);
		if (result)
			return result;
	}
	if (core->segment_count)
		qsort(core->segments, core->segment_count, sizeof(*core->segments), compare_segments);
	return 0;
}

/*
 * Copies memory of the dead process to `to`, of which the bytes that the core does not hold stay as they are.
 * Returns whether the core held all of them.
 */
static bool copy_memory(const struct core *core, uint64_t address, uint64_t size, char *to)
{
	uint64_t copied = 0;

	for (size_t i = 0; i < core->segment_count; i++) {
		const struct segment *segment = &core->segments[i];
		uint64_t begin = address > segment->address ? address : segment->address;
		uint64_t end = segment->address + segment->size;

		if (end < segment->address || end <= address || segment->address >= address + size)
			continue;
		if (end > address + size)
			end = address + size;
		while (begin < end) {
			ssize_t got = pread(core->fd, to + (begin - address), end - begin,
					    (off_t)(segment->offset + (begin - segment->address)));

			if (got <= 0)
				break;
			begin += (uint64_t)got;
			copied += (uint64_t)got;
		}
	}
	return copied >= size;
}

/* Finds the build id in the program headers at the beginning of an ELF file, of which size bytes are here. */
static void find_build_id(const unsigned char *bytes, size_t size, struct site_range *range)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;

	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phentsize != sizeof(Elf64_Phdr) ||
	    header->e_phoff > size || header->e_phnum > (size - header->e_phoff) / sizeof(Elf64_Phdr))
		return;
	for (unsigned i = 0; i < header->e_phnum; i++) {
		Elf64_Phdr program;

		memcpy(&program, bytes + header->e_phoff + i * sizeof(program), sizeof(program));
		if (program.p_type != PT_NOTE || program.p_offset > size ||
		    program.p_filesz > size - program.p_offset)
			continue;
		for (size_t at = program.p_offset, end = at + program.p_filesz;
		     end - at >= sizeof(Elf64_Nhdr);) {
			Elf64_Nhdr note;
			size_t name_size, data_size;

			memcpy(&note, bytes + at, sizeof(note));
			at += sizeof(note);
			name_size = ((size_t)note.n_namesz + 3) & ~(size_t)3;
			data_size = ((size_t)note.n_descsz + 3) & ~(size_t)3;
			if (name_size > end - at || data_size > end - at - name_size)
				break;
			if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
			    memcmp(bytes + at, "GNU", 4) == 0 && note.n_descsz <= SITE_BUILD_ID_SIZE) {
				memcpy(range->build_id, bytes + at + name_size, note.n_descsz);
				range->build_id_size = note.n_descsz;
				return;
			}
			at += name_size + data_size;
		}
	}
}

/*
 * Notes of each mapped file its build id, from the page with its beginning, which the kernel writes to a core
 * file by default (bit 4 of coredump_filter).
 */
static void note_build_ids(struct core *core)
{
	_Alignas(Elf64_Ehdr) unsigned char bytes[4096];
	struct site_range *first = NULL;

	/* The mappings of one file follow each other. */
	for (size_t i = 0; i < core->sites.count; i++) {
		struct site_range *range = &core->sites.ranges[i];

		if (range->file_offset == 0) {
			first = range;
			if (copy_memory(core, range->start, sizeof(bytes), (char *)bytes))
				find_build_id(bytes, sizeof(bytes), range);
		} else if (first && strcmp(first->path, range->path) == 0) {
			memcpy(range->build_id, first->build_id, sizeof(range->build_id));
			range->build_id_size = first->build_id_size;
		}
	}
}

/* For a core without the note that names files: takes each segment that starts as a table does. */
static int find_by_magic(struct core *core)
{
	for (size_t i = 0; i < core->segment_count; i++) {
		uint64_t magic = 0;
		int result;

		copy_memory(core, core->segments[i].address, sizeof(magic), (char *)&magic);
		if (magic != CTX_TABLE_MAGIC)
			continue;
		result = add_table_address(core, core->segments[i].address);
		if (result)
			return result;
	}
	return 0;
}

/* Copies part of the table at address to its place in bytes. Returns whether the core held all of it. */
static bool fill_range(const struct core *core, uint64_t address, const struct reader_range *range,
		       char *bytes)
{
	return !range->size || copy_memory(core, address + range->offset, range->size, bytes + range->offset);
}

/* Copies the parts of the table that are in use to their places in bytes, which begins with the header. */
static int fill_table(const struct core *core, uint64_t address, uint64_t size, char *bytes,
		      struct unreadable *unreadable, bool *ret_whole)
{
	struct reader_range ranges[READER_RANGES], journals[JOURNAL_KINDS];
	char reason[READER_REASON_SIZE];

	*ret_whole = true;
	if (snapshot_ranges(bytes, sizeof(struct ctx_table_header), size, ranges, reason)) {
		snprintf(unreadable->reason, sizeof(unreadable->reason), "%s", reason);
		return -EINVAL;
	}
	/* The first range is the header, which is there already. */
	for (size_t i = 1; i < READER_RANGES; i++)
		if (!fill_range(core, address, &ranges[i], bytes))
			*ret_whole = false;
	/* The journal of ends is among the ranges above. */
	journal_ranges(bytes, sizeof(struct ctx_table_header), size, journals);
	for (size_t i = JOURNAL_CONTEXTS; i < JOURNAL_KINDS; i++)
		if (!fill_range(core, address, &journals[i], bytes))
			*ret_whole = false;
	return 0;
}

/* Adds the process whose table is at bytes. The survey takes over bytes where it keeps tables. */
static int add_core_process(struct survey *survey, struct core *core, const char *bytes, uint64_t size,
			    struct unreadable *unreadable)
{
	char reason[READER_REASON_SIZE];
	struct snapshot snapshot = {0};
	struct process *process;
	int result = survey->keep_tables ? snapshot_read_header(bytes, size, &snapshot.header, reason)
					 : snapshot_read(bytes, size, UINT64_MAX, &snapshot, reason);

	if (result) {
		snprintf(unreadable->reason, sizeof(unreadable->reason), "%s", reason);
		return -EINVAL;
	}
	process = survey_add_process(survey);
	if (!process) {
		snapshot_free(&snapshot);
		return -ENOMEM;
	}
	process->pid = core->pid ? core->pid : snapshot.header.pid;
	process->uid = core->pid ? core->uid : snapshot.header.uid;
	memcpy(process->name, core->name, sizeof(process->name));
	process->is_core = true;
	process->core_uid = core->file_uid;
	/* A core has no clock: the last event that the table knows counts as now. */
	process->now_ns = snapshot.latest_ns;
	process->snapshot = snapshot;
	if (survey->keep_tables) {
		process->table = (const unsigned char *)bytes;
		process->table_size = size;
	}
	process->names = site_names_new();
	for (size_t i = 0; i < core->sites.count; i++) {
		const struct site_range *range = &core->sites.ranges[i];

		if (sites_add(&process->sites, range))
			return -ENOMEM;
	}
	return 0;
}

/* Adds the table at address to the survey, or the reason why it cannot be read. 0 or -ENOMEM. */
static int add_table(struct survey *survey, struct core *core, uint64_t address,
		     struct unreadable *unreadable)
{
	struct ctx_table_header header = {0};
	bool whole = true;
	void *bytes;
	int result;

	if (!copy_memory(core, address, sizeof(header), (char *)&header)) {
		snprintf(unreadable->reason, sizeof(unreadable->reason),
			 "the process had a context table, but the core file does not hold it: the file was "
			 "cut "
			 "short (see ulimit -c), or "
			 "/proc/PID/coredump_filter left out shared memory (bit 1)");
		return survey_add_unreadable(survey, unreadable);
	}
	bytes = header.file_size < sizeof(header) ? MAP_FAILED
						  : mmap(NULL, header.file_size, PROT_READ | PROT_WRITE,
							 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED) {
		snprintf(unreadable->reason, sizeof(unreadable->reason),
			 "broken table: it claims to have %llu bytes", (unsigned long long)header.file_size);
		return survey_add_unreadable(survey, unreadable);
	}
	memcpy(bytes, &header, sizeof(header));
	result = fill_table(core, address, header.file_size, bytes, unreadable, &whole);
	if (!result)
		result = add_core_process(survey, core, bytes, header.file_size, unreadable);
	if (!result && !whole)
		snprintf(unreadable->reason, sizeof(unreadable->reason),
			 "the core file holds only a part of the table: it was cut short, see ulimit -c");
	if (!survey->keep_tables || !survey->process_count ||
	    survey->processes[survey->process_count - 1].table != bytes)
		munmap(bytes, header.file_size);
	if (result == -ENOMEM)
		return result;
	return result || !whole ? survey_add_unreadable(survey, unreadable) : 0;
}

static int add_tables(struct survey *survey, struct core *core, struct unreadable *unreadable)
{
	int result = 0;

	unreadable->pid = core->pid;
	memcpy(unreadable->name, core->name, sizeof(unreadable->name));
	note_build_ids(core);
	if (!core->table_count)
		result = find_by_magic(core);
	for (size_t i = 0; i < core->table_count && !result; i++)
		result = add_table(survey, core, core->tables[i], unreadable);
	if (result || core->table_count)
		return result;
	unreadable->missing = true;
	snprintf(unreadable->reason, sizeof(unreadable->reason), "holds no context table");
	return survey_add_unreadable(survey, unreadable);
}

static int read_open_core(struct survey *survey, struct core *core, struct unreadable *unreadable)
{
	Elf *elf;
	int result;

	elf_version(EV_CURRENT);
	/* libelf reads the file and does not map it: one that shrinks meanwhile is an error, not a SIGBUS. */
	elf = elf_begin(core->fd, ELF_C_READ, NULL);
	if (!elf) {
		snprintf(unreadable->reason, sizeof(unreadable->reason), "%s", elf_errmsg(-1));
		return survey_add_unreadable(survey, unreadable);
	}
	result = read_core(core, elf, unreadable->reason, sizeof(unreadable->reason));
	elf_end(elf);
	if (result == -EINVAL)
		return survey_add_unreadable(survey, unreadable);
	return result ? result : add_tables(survey, core, unreadable);
}

/*
 * Opens path when it is a regular file. O_PATH comes first, because opening a FIFO waits and opening a device
 * may act on it. A descriptor, or -1 with the reason.
 */
static int open_core(const char *path, char *reason, size_t size)
{
	int path_fd = open(path, O_PATH | O_CLOEXEC), fd = -1;
	char link[32];
	struct statx status;

	if (path_fd < 0 || statx(path_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status)) {
		snprintf(reason, size, "%s", strerror(errno));
	} else if (!S_ISREG(status.stx_mode)) {
		snprintf(reason, size, "not a regular file");
	} else {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
		/* Without O_NONBLOCK the kernel waits for a process that has a lease on the file. */
		fd = open(link, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			snprintf(reason, size, "%s", strerror(errno));
	}
	if (path_fd >= 0)
		close(path_fd);
	return fd;
}

static int survey_core_file(const char *path, bool keep_table, struct survey *ret_survey)
{
	struct core core = {0};
	struct unreadable unreadable = {0};
	struct stat status;
	int result;

	*ret_survey = (struct survey){.keep_tables = keep_table};
	core.fd = open_core(path, unreadable.reason, sizeof(unreadable.reason));
	if (core.fd < 0) {
		result = survey_add_unreadable(ret_survey, &unreadable);
	} else if (fstat(core.fd, &status)) {
		snprintf(unreadable.reason, sizeof(unreadable.reason), "%s", strerror(errno));
		result = survey_add_unreadable(ret_survey, &unreadable);
	} else {
		core.file_size = (uint64_t)status.st_size;
		core.file_uid = status.st_uid;
		result = read_open_core(ret_survey, &core, &unreadable);
	}
	if (core.fd >= 0)
		close(core.fd);
	free(core.segments);
	free(core.tables);
	sites_free(&core.sites);
	if (result)
		survey_free(ret_survey);
	return result;
}

int survey_core(const char *path, struct survey *ret_survey)
{
	return survey_core_file(path, false, ret_survey);
}

int survey_core_table(const char *path, struct survey *ret_survey)
{
	return survey_core_file(path, true, ret_survey);
}
