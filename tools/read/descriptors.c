/* SPDX-License-Identifier: MIT */
#include "descriptors.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "terminal.h"

struct descriptor_entry {
	int fd;
	char *text; /* NULL: the entry is free */
};

static struct descriptor_entry *find_entry(const struct descriptors *descriptors, int fd)
{
	size_t at = ((unsigned)fd * 2654435761u) & (descriptors->room - 1);

	while (descriptors->entries[at].text && descriptors->entries[at].fd != fd)
		at = (at + 1) & (descriptors->room - 1);
	return &descriptors->entries[at];
}

/* Keeps the hash table at most half full. */
static int grow_entries(struct descriptors *descriptors)
{
	struct descriptors larger = *descriptors;

	if (descriptors->count * 2 < descriptors->room)
		return 0;
	larger.room = descriptors->room ? descriptors->room * 2 : 64;
	larger.entries = calloc(larger.room, sizeof(*larger.entries));
	if (!larger.entries)
		return -ENOMEM;
	for (size_t i = 0; i < descriptors->room; i++)
		if (descriptors->entries[i].text)
			*find_entry(&larger, descriptors->entries[i].fd) = descriptors->entries[i];
	free(descriptors->entries);
	*descriptors = larger;
	return 0;
}

static char *read_descriptor(struct descriptors *descriptors, int fd)
{
	char name[32], target[PATH_MAX], escaped[PATH_MAX];
	const char *socket;
	uint64_t inode;
	ssize_t length;

	snprintf(name, sizeof(name), "fd/%d", fd);
	length = readlinkat(descriptors->directory, name, target, sizeof(target) - 1);
	if (length < 0)
		return strdup(errno == ENOENT ? "closed" : "");
	target[length] = '\0';
	if (sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1) {
		socket = socket_text(&descriptors->sockets, descriptors->directory, inode);
		if (socket)
			return strdup(socket);
	}
	return strdup(escape(target, escaped, sizeof(escaped)));
}

const char *descriptor_text(struct descriptors *descriptors, int fd)
{
	struct descriptor_entry *entry;
	char *text;

	if (descriptors->directory < 0 || fd < 0 || grow_entries(descriptors))
		return "";
	entry = find_entry(descriptors, fd);
	if (entry->text)
		return entry->text;
	text = read_descriptor(descriptors, fd);
	if (!text)
		return "";
	*entry = (struct descriptor_entry){fd, text};
	descriptors->count++;
	return text;
}

void descriptors_free(struct descriptors *descriptors)
{
	for (size_t i = 0; i < descriptors->room; i++)
		free(descriptors->entries[i].text);
	free(descriptors->entries);
	sockets_free(&descriptors->sockets);
	if (descriptors->directory >= 0)
		close(descriptors->directory);
	*descriptors = (struct descriptors){.directory = -1};
}
