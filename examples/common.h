/* SPDX-License-Identifier: MIT */
/*
 * What the bigger examples share and what has nothing to do with contexts or io_uring: a listening socket, a
 * port file, addresses and numbers from the command line.
 */
#ifndef COMMON_H
#define COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC UINT64_C(1000000000)

/* The structure that holds member: how a callback finds its object from its operation. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* Reads a decimal number of at most max. Returns false when text is anything else. */
static inline bool parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)*text - '0';

		if (digit > 9 || number > (max - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*ret_number = number;
	return true;
}

/*
 * Adds signo to the signals that end a program, unless it is ignored: a script lets programs that it starts
 * with
 * "&" ignore SIGINT.
 */
static inline void add_unless_ignored(sigset_t *signals, int signo)
{
	struct sigaction action;

	if (!sigaction(signo, NULL, &action) && action.sa_handler != SIG_IGN)
		sigaddset(signals, signo);
}

/* Reads "HOST:PORT", HOST being a numeric IPv4 address. */
static inline bool parse_address(const char *text, struct sockaddr_in *ret_address)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];
	uint64_t port;

	if (!colon || (size_t)(colon - text) >= sizeof(host) || !parse_number(colon + 1, 65535, &port))
		return false;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return false;
	address.sin_port = htons((uint16_t)port);
	*ret_address = address;
	return true;
}

/* Opens a socket that listens on 127.0.0.1:*port. Port 0 is replaced by the one that the kernel chose. */
static inline int listen_on_loopback(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t length = sizeof(address);
	int fd, one = 1;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	*port = ntohs(address.sin_port);
	return fd;
}

/* Writes the port to a temporary file and renames that, so that nobody who waits for path reads half of it.
 */
static inline int write_port_file(const char *path, uint16_t port)
{
	char temporary[PATH_MAX];
	FILE *file;

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	file = fopen(temporary, "we");
	if (!file)
		return -errno;
	if (fprintf(file, "%u\n", port) < 0) {
		fclose(file);
		return -EIO;
	}
	if (fclose(file) || rename(temporary, path))
		return -errno;
	return 0;
}

/* Raises the limit of descriptors to the hard limit: a server needs one for each client. */
static inline void raise_file_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

#endif
