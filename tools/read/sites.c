/* SPDX-License-Identifier: MIT */
#include "sites.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "terminal.h"

int sites_add(struct sites *sites, const struct site_range *range)
{
	struct site_range *larger;
	char *copy;

	if (range->end <= range->start)
		return 0;
	larger = realloc(sites->ranges, (sites->count + 1) * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	sites->ranges = larger;
	copy = strdup(range->path);
	if (!copy)
		return -ENOMEM;
	sites->ranges[sites->count] = *range;
	sites->ranges[sites->count++].path = copy;
	return 0;
}

/* Adds a line "start-end perms offset dev inode   path"; the path goes to the end of the line. */
static int add_maps_line(struct sites *sites, const char *line, size_t length)
{
	char path[4096];
	struct site_range range = {.path = path};
	char mode[5];
	int before_path = 0;
	size_t path_length;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %" SCNu64 " %n", &range.start,
		   &range.end, mode, &range.file_offset, &range.inode, &before_path) != 5 ||
	    !before_path || (size_t)before_path >= length)
		return 0;
	/* Only code is of use: sites are return addresses. */
	if (mode[2] != 'x' || line[before_path] != '/')
		return 0;
	path_length = length - (size_t)before_path;
	if (path_length >= sizeof(path))
		return 0;
	memcpy(path, line + before_path, path_length);
	path[path_length] = '\0';
	return sites_add(sites, &range);
}

int sites_parse_maps(struct sites *sites, const char *maps)
{
	while (*maps) {
		size_t length = strcspn(maps, "\n");
		int result = add_maps_line(sites, maps, length);

		if (result)
			return result;
		maps += length + (maps[length] == '\n');
	}
	sites_sort(sites);
	return 0;
}

static int compare_ranges(const void *left, const void *right)
{
	const struct site_range *a = left, *b = right;

	return a->start < b->start ? -1 : a->start > b->start;
}

void sites_sort(struct sites *sites)
{
	if (sites->count)
		qsort(sites->ranges, sites->count, sizeof(*sites->ranges), compare_ranges);
}

const struct site_range *sites_find(const struct sites *sites, uint64_t address)
{
	size_t low = 0, high = sites->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sites->ranges[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == sites->count || sites->ranges[low].start > address)
		return NULL;
	return &sites->ranges[low];
}

char *site_text(const struct sites *sites, uint64_t address, char *buffer, size_t size)
{
	const struct site_range *range = sites_find(sites, address);
	const char *name;
	char escaped[256];

	if (!range) {
		snprintf(buffer, size, "0x%" PRIx64, address);
		return buffer;
	}
	name = strrchr(range->path, '/');
	escape(name ? name + 1 : range->path, escaped, sizeof(escaped));
	snprintf(buffer, size, "%s+0x%" PRIx64, escaped, address - range->start + range->file_offset);
	return buffer;
}

void sites_free(struct sites *sites)
{
	for (size_t i = 0; i < sites->count; i++)
		free(sites->ranges[i].path);
	free(sites->ranges);
	*sites = (struct sites){0};
}
