/* SPDX-License-Identifier: MIT */
/*
 * What proxy.c and proxy_by_hand.c share: the command line, the listening socket and the line that is printed
 * for each session. Nothing here knows io_uring or contexts.
 *
 * The proxy: it listens on 127.0.0.1, connects each client to the backend and relays bytes both ways. When
 * one side sends no more, the other one is told so, and the other direction goes on. A session ends when
 * both directions have ended, when either connection fails, when no byte has moved for the idle time, when
 * its total time is over, and with SIGTERM. One thread, one io_uring.
 */
#ifndef PROXY_H
#define PROXY_H

#include "common.h"
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>

#define PROXY_RING_ENTRIES 256
#define PROXY_BUFFER_SIZE 16384

struct proxy_options {
	uint16_t port;
	const char *port_file;
	uint64_t idle_ns, total_ns;
	struct sockaddr_in backend;
};

static const char proxy_help[] =
	" [--port N] [--port-file FILE] [--idle MS] [--total MS] HOST:PORT\n"
	"\n"
	"Relays TCP connections to 127.0.0.1 to the backend at HOST:PORT, and prints a line for each that "
	"ended.\n"
	"\n"
	"  --port N          port to listen on; 0, the default: a free one, which is printed\n"
	"  --port-file FILE  also write the port to FILE\n"
	"  --idle MS         end a session when no byte has moved for so long; 60000 if not given\n"
	"  --total MS        end a session after so long in any case; 3600000 if not given\n"
	"  --help            this text\n"
	"\n"
	"SIGTERM ends all sessions and the program.\n";

/* 0: run. 1: exit with success. Negative: wrong usage. */
static inline int proxy_parse(int argc, char **argv, struct proxy_options *options)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'}, {"port-file", required_argument, NULL, 'f'},
		{"idle", required_argument, NULL, 'i'}, {"total", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},	{NULL, 0, NULL, 0},
	};
	uint64_t port = 0, idle_ms = 60000, total_ms = 3600000;
	bool valid = true;
	int option;

	while (valid && (option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'p')
			valid = parse_number(optarg, 65535, &port);
		else if (option == 'f')
			options->port_file = optarg;
		else if (option == 'i')
			valid = parse_number(optarg, 86400000, &idle_ms) && idle_ms;
		else if (option == 't')
			valid = parse_number(optarg, 86400000, &total_ms) && total_ms;
		else if (option == 'h')
			return 1;
		else
			valid = false;
	}
	if (!valid || optind != argc - 1 || !parse_address(argv[optind], &options->backend))
		return -EINVAL;
	options->port = (uint16_t)port;
	options->idle_ns = idle_ms * NSEC_PER_MSEC;
	options->total_ns = total_ms * NSEC_PER_MSEC;
	return 0;
}

/* As proxy_parse, and prints what there is to say. */
static inline int proxy_options(int argc, char **argv, struct proxy_options *options)
{
	int error = proxy_parse(argc, argv, options);

	if (error)
		fprintf(error > 0 ? stdout : stderr, "Usage: %s%s", program_invocation_short_name,
			proxy_help);
	return error;
}

/* Listens, and prints the address. Returns the socket or a negative errno. */
static inline int proxy_listen(struct proxy_options *options)
{
	int error, fd = listen_on_loopback(&options->port);

	if (fd < 0)
		return fd;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("127.0.0.1:%u\n", options->port);
	error = options->port_file ? write_port_file(options->port_file, options->port) : 0;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

/* Small pieces are to go at once: the proxy does not know what belongs together. */
static inline void proxy_send_at_once(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Accepting makes no sense before a session has given back what is short. */
static inline bool proxy_is_short(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static inline void proxy_print_end(uint64_t id, uint64_t up, uint64_t down, const char *reason)
{
	printf("session %" PRIu64 ": %" PRIu64 " up, %" PRIu64 " down, %s\n", id, up, down, reason);
}

#endif
