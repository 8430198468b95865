/* SPDX-License-Identifier: MIT */
/*
 * A program that uses ctxring, for tests of ctxtool on what the library itself publishes:
 *
 *	publisher [ordinary|defer] [crash]
 *
 * Two requests below one server: "GET /live" has a receive, a poll and a timeout pending; "GET /gone" had
 * three receives pending and was cancelled as its client went away. Prints "ready PORT", PORT being the
 * near end of the receive, and waits until standard input is closed; crash then aborts.
 */
#include <arpa/inet.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctxring.h"

#define HOUR_NS 3600000000000u

static struct ctx_ring *ring;
static char buffers[4][64];

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-result));
	exit(1);
}

/* A connected pair of TCP sockets on the loopback; the port of the first. */
static unsigned connect_pair(int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length)) {
		perror("listen");
		exit(1);
	}
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fds[1] < 0 || connect(fds[1], (struct sockaddr *)&address, length)) {
		perror("connect");
		exit(1);
	}
	fds[0] = accept(listener, NULL, NULL);
	close(listener);
	return ntohs(address.sin_port);
}

static void receive(const struct ctx_context *ctx, struct ctx_op *op, int fd, unsigned buffer)
{
	struct io_uring_sqe *sqe;

	ctx_op_init(op, NULL, 0);
	sqe = ctx_ring_get_sqe(ring, ctx, op);
	io_uring_prep_recv(sqe, fd, buffers[buffer], sizeof(buffers[buffer]), 0);
}

static void start_live(const struct ctx_context *ctx, int fd)
{
	static struct __kernel_timespec hour = {.tv_sec = 3600};
	static struct ctx_op received, polled, slept;
	struct io_uring_sqe *sqe;

	receive(ctx, &received, fd, 0);
	ctx_op_init(&polled, NULL, 0);
	sqe = ctx_ring_get_sqe(ring, ctx, &polled);
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	ctx_op_init(&slept, NULL, 0);
	sqe = ctx_ring_get_sqe(ring, ctx, &slept);
	io_uring_prep_timeout(sqe, &hour, 0, 0);
}

int main(int argc, char **argv)
{
	struct ctx_ring_options options = {0};
	struct ctx_context *server, *live, *gone, *late;
	static struct ctx_op lost[3];
	int fds[2];
	unsigned port = connect_pair(fds);

	if (argc > 1 && strcmp(argv[1], "defer") == 0)
		options.setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	check(ctx_ring_open(64, &options, &ring), "ctx_ring_open");
	check(ctx_with_cancel(ctx_background(), "server", &server), "server");
	check(ctx_with_timeout(server, HOUR_NS, "GET /live", &live), "live");
	check(ctx_with_cancel(server, "GET /gone", &gone), "gone");
	check(ctx_with_timeout(server, 0, "late", &late), "late");
	start_live(live, fds[0]);
	for (unsigned i = 0; i < 3; i++)
		receive(gone, &lost[i], fds[1], 1 + i);
	check(ctx_ring_submit(ring), "submit");
	check(ctx_cancel_cause(gone, -ECONNRESET, "client went away"), "cancel");
	check(ctx_ring_drain(ring, gone, CTX_FOREVER, NULL, 0, NULL), "drain");
	check(ctx_ring_dispatch(ring, 0), "dispatch");
	printf("ready %u\n", port);
	fflush(stdout);
	while (read(STDIN_FILENO, &(char){0}, 1) > 0)
		;
	if (argc > 2)
		abort();
	check(ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL), "close");
	ctx_finish(late);
	ctx_finish(gone);
	ctx_finish(live);
	ctx_finish(server);
	return 0;
}
