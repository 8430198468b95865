/* SPDX-License-Identifier: MIT */
/*
 * The memfd is found as tables are: its mapping in /proc/PID/maps says which inode is the process's own, for
 * a forked child has descriptors of its parent's; and it is opened as memfd.h does, which touches nothing
 * else that a hostile process may have put in its place. It must be sealed against being cut, so that a store
 * to it cannot raise SIGBUS. Nothing is believed of what it contains.
 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memfd.h"
#include "table_format.h"

#define CONTROL_PATH "/memfd:" CTX_CONTROL_MEMFD_NAME
#define SEALS_NEEDED (F_SEAL_SHRINK | F_SEAL_GROW)

/* Returns the inode of the mapping of a control memfd; 0: there is none. */
static uint64_t find_inode(const char *maps)
{
	for (const char *at = strstr(maps, CONTROL_PATH); at; at = strstr(at + 1, CONTROL_PATH)) {
		const char *line = at;
		uint64_t inode;
		char mode[5];

		while (line > maps && line[-1] != '\n')
			line--;
		if (sscanf(line, "%*s %4s %*s %*s %" SCNu64, mode, &inode) == 2 && mode[3] == 's')
			return inode;
	}
	return 0;
}

static int map_control(int fd, struct ctx_control **ret_shared)
{
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS_NEEDED) != SEALS_NEEDED || fstat(fd, &status) ||
	    status.st_size < (off_t)sizeof(struct ctx_control))
		return -EBADF;
	void *memory = mmap(NULL, sizeof(struct ctx_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*ret_shared = memory;
	if ((*ret_shared)->magic == CTX_CONTROL_MAGIC)
		return 0;
	munmap(memory, sizeof(struct ctx_control));
	return -EBADF;
}

int control_open(struct control *ret_control, struct patience *patience, int directory, char *reason,
		 size_t size)
{
	int result = 0;
	char *maps = errand_read(patience, directory, "maps", &result);
	uint64_t inode = maps ? find_inode(maps) : 0;

	*ret_control = (struct control){0};
	free(maps);
	if (maps && !inode)
		result = -ENOTSUP;
	if (inode) {
		int fd = memfd_open_of(directory, CTX_CONTROL_MEMFD_NAME, inode, O_RDWR);
		result = fd == -ENOENT ? -ENOTSUP : fd < 0 ? fd : map_control(fd, &ret_control->shared);
		if (fd >= 0)
			close(fd);
	}
	if (result == -ENOTSUP)
		snprintf(reason, size,
			 "it cannot be asked to record: its libctxring is older, or could not "
			 "make the file for that");
	else if (result == -EBADF)
		snprintf(reason, size, "its " CONTROL_PATH " is not what it should be: refused");
	else if (result)
		snprintf(reason, size, "it cannot be asked to record: %s", strerror(-result));
	return result;
}

bool control_is_on(const struct control *control)
{
	return atomic_load_explicit(&control->shared->record_until_ns, memory_order_relaxed) != 0;
}

void control_extend(struct control *control, uint64_t until_ns)
{
	if (!control->shared)
		return;
	/* The process may put the time right meanwhile, and another recorder may store one: the next call
	 * comes long before either could matter. */
	uint64_t before = atomic_load_explicit(&control->shared->record_until_ns, memory_order_relaxed);
	if (before >= until_ns)
		return;
	atomic_store_explicit(&control->shared->record_until_ns, until_ns, memory_order_relaxed);
	control->until_ns = until_ns;
}

void control_close(struct control *control)
{
	uint64_t expected = control->until_ns;

	if (!control->shared)
		return;
	if (expected)
		atomic_compare_exchange_strong(&control->shared->record_until_ns, &expected, 0);
	munmap(control->shared, sizeof(*control->shared));
	*control = (struct control){0};
}
