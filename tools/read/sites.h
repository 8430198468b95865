/* SPDX-License-Identifier: MIT */
/* Addresses of code as object file and offset. */
#ifndef TOOL_SITES_H
#define TOOL_SITES_H

#include <stddef.h>
#include <stdint.h>

struct site_range {
	uint64_t start, end;
	uint64_t file_offset;
	char *path;
};

/* Mappings of files in a process, sorted by address. Zeroed: none. */
struct sites {
	struct site_range *ranges;
	size_t count;
};

int sites_add(struct sites *sites, uint64_t start, uint64_t end, uint64_t file_offset, const char *path);

/* From the text of /proc/PID/maps. 0 or -ENOMEM. */
int sites_parse_maps(struct sites *sites, const char *maps);

/* Sorts after the last add, before the first look-up. */
void sites_sort(struct sites *sites);

/* Writes "object+0x12ab", or the bare address where no file is mapped. Escaped. */
char *site_text(const struct sites *sites, uint64_t address, char *buffer, size_t size);

void sites_release(struct sites *sites);

#endif
