/* SPDX-License-Identifier: MIT */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "terminal.h"

static int add_entry(struct sockets *sockets, uint64_t inode, const char *text)
{
	if (sockets->count == sockets->room) {
		size_t room = sockets->room ? sockets->room * 2 : 256;
		struct socket_entry *larger = realloc(sockets->entries, room * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		sockets->entries = larger;
		sockets->room = room;
	}
	sockets->entries[sockets->count].text = strdup(text);
	if (!sockets->entries[sockets->count].text)
		return -ENOMEM;
	sockets->entries[sockets->count++].inode = inode;
	return 0;
}

static const char *tcp_state(unsigned state)
{
	static const char *const names[] = {
		"",	 "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",   "TIME_WAIT",
		"CLOSE", "CLOSE_WAIT",	"LAST_ACK", "LISTEN",	"CLOSING",   "NEW_SYN_RECV"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "";
}

/* Reads "0100007F:0050", or 32 digits for IPv6: words in the byte order of the machine. */
static bool read_address(const char *hex, char *text, size_t size)
{
	unsigned char bytes[16];
	char name[INET6_ADDRSTRLEN];
	size_t words = strcspn(hex, ":") / 8;
	unsigned port;

	if ((words != 1 && words != 4) || hex[words * 8] != ':' ||
	    sscanf(hex + words * 8 + 1, "%x", &port) != 1)
		return false;
	for (size_t i = 0; i < words; i++) {
		char digits[9] = {0};
		uint32_t word;

		memcpy(digits, hex + i * 8, 8);
		word = (uint32_t)strtoul(digits, NULL, 16);
		memcpy(bytes + i * 4, &word, 4);
	}
	if (!inet_ntop(words == 1 ? AF_INET : AF_INET6, bytes, name, sizeof(name)))
		return false;
	if (port)
		snprintf(text, size, words == 1 ? "%s:%u" : "[%s]:%u", name, port);
	else
		snprintf(text, size, words == 1 ? "%s:*" : "[%s]:*", name);
	return true;
}

/* Adds a line "  0: local remote state tx:rx tr:when retrnsmt uid timeout inode ...". */
static int add_internet(struct sockets *sockets, const char *protocol, const char *line)
{
	char local[48], remote[48], near_text[80], far_text[80], text[256];
	unsigned state;
	uint64_t inode;

	if (sscanf(line, " %*[0-9]: %47s %47s %x %*s %*s %*s %*s %*s %" SCNu64, local, remote, &state,
		   &inode) != 4 ||
	    !inode || !read_address(local, near_text, sizeof(near_text)) ||
	    !read_address(remote, far_text, sizeof(far_text)))
		return 0;
	if (strncmp(protocol, "tcp", 3) == 0 && state == 10)
		snprintf(text, sizeof(text), "%s %s LISTEN", protocol, near_text);
	else if (strncmp(protocol, "tcp", 3) == 0)
		snprintf(text, sizeof(text), "%s %s -> %s %s", protocol, near_text, far_text,
			 tcp_state(state));
	else if (state == 1)
		snprintf(text, sizeof(text), "%s %s -> %s", protocol, near_text, far_text);
	else
		snprintf(text, sizeof(text), "%s %s", protocol, near_text);
	return add_entry(sockets, inode, text);
}

/* Adds a line "pointer: refs protocol flags type state inode [path]". */
static int add_unix(struct sockets *sockets, const char *line)
{
	static const char *const types[] = {"", "stream", "dgram", "raw", "rdm", "seqpacket"};
	static const char *const states[] = {"", "UNCONNECTED", "CONNECTING", "CONNECTED", "DISCONNECTING"};
	unsigned type, state, flags;
	uint64_t inode;
	int before_path = 0;
	char path[128], escaped[512], text[640];

	if (sscanf(line, " %*[0-9a-fA-F]: %*s %*s %x %x %x %" SCNu64 "%n", &flags, &type, &state, &inode,
		   &before_path) != 4 ||
	    !inode)
		return 0;
	path[0] = '\0';
	sscanf(line + before_path, " %127[^\n]", path);
	/* 0x10000 is __SO_ACCEPTCON, the flag of a listening socket. */
	snprintf(text, sizeof(text), "unix %s%s%s %s", type < 6 ? types[type] : "", path[0] ? " " : "",
		 escape(path, escaped, sizeof(escaped)),
		 flags & 0x10000u ? "LISTEN"
		 : state < 5	  ? states[state]
				  : "");
	return add_entry(sockets, inode, text);
}

static void read_protocol(struct sockets *sockets, int proc_directory, const char *protocol)
{
	char path[32], *line = NULL;
	size_t room = 0;
	FILE *file;
	int fd;

	snprintf(path, sizeof(path), "net/%s", protocol);
	fd = openat(proc_directory, path, O_RDONLY | O_CLOEXEC);
	file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (getline(&line, &room, file) > 0) {
		int result = strcmp(protocol, "unix") == 0 ? add_unix(sockets, line)
							   : add_internet(sockets, protocol, line);

		if (result)
			break;
	}
	free(line);
	fclose(file);
}

static int compare_entries(const void *left, const void *right)
{
	const struct socket_entry *a = left, *b = right;

	return a->inode < b->inode ? -1 : a->inode > b->inode;
}

const char *socket_text(struct sockets *sockets, int proc_directory, uint64_t inode)
{
	static const char *const protocols[] = {"tcp", "tcp6", "udp", "udp6", "unix"};
	const struct socket_entry wanted = {.inode = inode};
	const struct socket_entry *found;

	if (!sockets->read) {
		sockets->read = true;
		for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
			read_protocol(sockets, proc_directory, protocols[i]);
		if (sockets->count)
			qsort(sockets->entries, sockets->count, sizeof(*sockets->entries), compare_entries);
	}
	if (!sockets->count)
		return NULL;
	found = bsearch(&wanted, sockets->entries, sockets->count, sizeof(*sockets->entries),
			compare_entries);
	return found ? found->text : NULL;
}

void sockets_free(struct sockets *sockets)
{
	for (size_t i = 0; i < sockets->count; i++)
		free(sockets->entries[i].text);
	free(sockets->entries);
	*sockets = (struct sockets){0};
}
