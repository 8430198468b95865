/* SPDX-License-Identifier: MIT */
/* Shows addresses of code as object file and offset. */
#ifndef TOOL_SITES_H
#define TOOL_SITES_H

#include <stddef.h>
#include <stdint.h>

struct site_range {
	uint64_t start, end;
	uint64_t file_offset;
	char *path;
};

/* The mappings of files in a process, sorted by address. May be zeroed: no mappings. */
struct sites {
	struct site_range *ranges;
	size_t count;
};

/* Adds one mapping. 0 or -ENOMEM. */
int sites_add(struct sites *sites, uint64_t start, uint64_t end, uint64_t file_offset, const char *path);

/* Adds the mappings of code in the text of /proc/PID/maps, and sorts. 0 or -ENOMEM. */
int sites_parse_maps(struct sites *sites, const char *maps);

/* To be called after the last sites_add() and before the first site_text(). */
void sites_sort(struct sites *sites);

/* Writes "object+0x12ab", escaped, or the address alone where no file is mapped. Returns buffer. */
char *site_text(const struct sites *sites, uint64_t address, char *buffer, size_t size);

void sites_free(struct sites *sites);

#endif
