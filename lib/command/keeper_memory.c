/* SPDX-License-Identifier: MIT */
/* How the keeper unmaps the memory that it shares with the caller. */
#include <sys/mman.h>

#include "keeper.h"
#include "raw.h"

/* Each pass unmaps what it finds; this is a bound for memory that cannot be unmapped. */
#define PASSES_MAX 4

/* The part of a line of /proc/self/maps that is used, see proc_pid_maps(5): "START-END rwxs ..." */
struct line {
	uintptr_t start, end, number;
	char rights[4];
	unsigned field, at; /* field 0: start, 1: end, 2: rights, 3: the rest */
};

static bool is_within(const struct line *line, const void *address)
{
	return (uintptr_t)address >= line->start && (uintptr_t)address < line->end;
}

/*
 * Whether to unmap the memory of a line: it is shared, is not executable, and holds neither this stack frame,
 * which a thread may have in shared memory, nor errno.
 */
static bool is_to_unmap(const struct line *line)
{
	return line->rights[3] == 's' && line->rights[2] != 'x' && !is_within(line, line) &&
	       !is_within(line, &errno);
}

/* Takes in the next character. True: the line is complete. */
static bool line_take(struct line *line, char c)
{
	if (c == '\n')
		return true;
	if (line->field < 2 && (c == '-' || c == ' ')) {
		*(line->field ? &line->end : &line->start) = line->number;
		line->number = 0;
		line->field++;
	} else if (line->field < 2) {
		line->number = line->number * 16 + (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	} else if (line->field == 2) {
		line->rights[line->at++] = c;
		line->field += line->at == sizeof(line->rights);
	}
	return false;
}

static unsigned unmap_shared(int fd)
{
	char text[4096];
	struct line line = {0};
	unsigned unmapped = 0;
	int size;

	while ((size = raw_read(fd, text, sizeof(text))) > 0)
		for (int i = 0; i < size; i++) {
			if (!line_take(&line, text[i]))
				continue;
			if (is_to_unmap(&line))
				unmapped += !syscall(SYS_munmap, line.start, line.end - line.start);
			line = (struct line){0};
		}
	return unmapped;
}

void keeper_unmap_shared(int proc_fd)
{
	/* Several passes, because the file is read in pieces and changes with each unmapping. */
	for (int pass = 0; pass < PASSES_MAX; pass++) {
		int fd = raw_openat(proc_fd, "self/maps", O_RDONLY);
		if (fd < 0)
			return;
		unsigned unmapped = unmap_shared(fd);
		raw_close(fd);
		if (!unmapped)
			return;
	}
}
