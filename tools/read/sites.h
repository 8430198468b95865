/* SPDX-License-Identifier: MIT */
/* Shows addresses of code as object file and offset. site_names.h has the names of functions and lines. */
#ifndef TOOL_SITES_H
#define TOOL_SITES_H

#include <stddef.h>
#include <stdint.h>

#define SITE_BUILD_ID_SIZE 20

struct site_range {
	uint64_t start, end;
	uint64_t file_offset;
	/* What tells that a file of this path is the one that is mapped: the inode of a live process's, the
	 * build id of a dead one's. 0: not known. */
	uint64_t inode;
	unsigned char build_id[SITE_BUILD_ID_SIZE];
	unsigned build_id_size;
	char *path;
};

/* The mappings of files in a process, sorted by address. May be zeroed: no mappings. */
struct sites {
	struct site_range *ranges;
	size_t count;
};

/* Adds one mapping, of which the path is copied. 0 or -ENOMEM. */
int sites_add(struct sites *sites, const struct site_range *range);

/* Adds the mappings of code in the text of /proc/PID/maps, and sorts. 0 or -ENOMEM. */
int sites_parse_maps(struct sites *sites, const char *maps);

/* To be called after the last sites_add() and before the first site_text(). */
void sites_sort(struct sites *sites);

/* The mapping that has the address, or NULL. */
const struct site_range *sites_find(const struct sites *sites, uint64_t address);

/* Writes "object+0x12ab", escaped, or the address alone where no file is mapped. Returns buffer. */
char *site_text(const struct sites *sites, uint64_t address, char *buffer, size_t size);

void sites_free(struct sites *sites);

#endif
