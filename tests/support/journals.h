/* SPDX-License-Identifier: MIT */
/* The journals of this process's own table, as another process would read them. */
#ifndef TEST_JOURNALS_H
#define TEST_JOURNALS_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../tools/read/read_journal.h"
#include "support/harness.h"
#include "table.h"

struct view {
	const struct ctx_table_header *header;
	size_t size;
};

/* Maps the table for reading. Makes it, if there is none yet. */
static inline struct view view_own_table(void)
{
	struct stat status;
	int fd = table_descriptor();

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	return (struct view){memory, (size_t)status.st_size};
}

static inline struct journal open_journal(const struct view *view, enum journal_kind kind)
{
	char reason[READER_REASON_SIZE] = "";
	struct journal journal;
	int result = journal_open(&journal, view->header, view->size, kind, reason);

	ck_assert_msg(result == 0, "refused: %s", reason);
	return journal;
}

static inline void close_view(struct view *view, struct journal *journal)
{
	if (journal)
		journal_close(journal);
	munmap((void *)view->header, view->size);
}

/* Maps the control memfd as a recorder does. */
static inline struct ctx_control *open_control(void)
{
	char path[300], target[100];
	DIR *directory = opendir("/proc/self/fd");
	void *memory = MAP_FAILED;

	ck_assert_ptr_nonnull(directory);
	for (struct dirent *entry; memory == MAP_FAILED && (entry = readdir(directory));) {
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		if (strcmp(target, "/memfd:" CTX_CONTROL_MEMFD_NAME " (deleted)") != 0)
			continue;
		int fd = open(path, O_RDWR | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		memory = mmap(NULL, CTX_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	closedir(directory);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	return memory;
}

#endif
