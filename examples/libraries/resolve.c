/* SPDX-License-Identifier: MIT */
/*
 * A context over the lookup of a name, by c-ares. getaddrinfo(3) cannot be ended: it waits for name servers
 * inside of the C library. c-ares gives its sockets to the program, and ares_cancel(3) ends a lookup at once.
 *
 * c-ares tells in a callback which sockets it waits for. They are kept in an epoll instance, so that one call
 * of ctx_wait_fd() waits for all of them or for the end of the context. The functions to copy are
 * set_socket() and await_answer().
 *
 *	resolve NAME [MS [ADDRESS:PORT]]	ADDRESS:PORT: a name server
 *
 * It exits with 1 when the time was over.
 */
#include <ares.h>
#include <arpa/inet.h>
#include <ctxring.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct lookup {
	int epoll, status;
	bool answered;
};

/* Called by c-ares: what it waits for on fd. When it is about to close fd it waits for nothing. */
static void set_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	const struct lookup *lookup = data;
	struct epoll_event event = {.data.fd = fd};

	event.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
	if (!event.events)
		epoll_ctl(lookup->epoll, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(lookup->epoll, EPOLL_CTL_MOD, fd, &event))
		epoll_ctl(lookup->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Called once for each lookup, with the answer or an error. ares_cancel() calls it with an error, too. */
static void on_answer(void *data, int status, int timeouts, struct ares_addrinfo *answer)
{
	struct lookup *lookup = data;
	char text[INET_ADDRSTRLEN];

	(void)timeouts;
	lookup->answered = true;
	lookup->status = status;
	for (struct ares_addrinfo_node *node = answer ? answer->nodes : NULL; node; node = node->ai_next) {
		const struct sockaddr_in *address = (const void *)node->ai_addr;

		printf("%s\n", inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text)));
	}
	ares_freeaddrinfo(answer);
}

/* Waits until on_answer() was called, and returns 0, or until the context has ended, and returns its error.
 */
static int await_answer(ares_channel channel, const struct ctx_context *ctx, const struct lookup *lookup)
{
	while (!lookup->answered) {
		/* The time at which c-ares wants to ask again. The context bounds all attempts together. */
		struct timeval time, *next = ares_timeout(channel, NULL, &time);
		uint64_t bound_us = next ? (uint64_t)next->tv_sec * 1000000 + (uint64_t)next->tv_usec : 0;
		int ready = ctx_wait_fd(ctx, lookup->epoll, POLLIN, next ? bound_us * 1000 : CTX_FOREVER);
		struct epoll_event event = {.data.fd = ARES_SOCKET_BAD};

		if (ready < 0 && ready != -ETIMEDOUT && ready != -EINTR)
			return ready;
		if (ready > 0)
			epoll_wait(lookup->epoll, &event, 1, 0);
		/* Without a socket c-ares only looks at the clock. It reads errors of a socket by itself. */
		ares_process_fd(channel, event.events & ~(unsigned)EPOLLOUT ? event.data.fd : ARES_SOCKET_BAD,
				event.events & EPOLLOUT ? event.data.fd : ARES_SOCKET_BAD);
	}
	return lookup->status == ARES_SUCCESS ? 0 : -ENOENT;
}

static int resolve(const char *name, const char *server, const struct ctx_context *ctx)
{
	struct lookup lookup = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
	struct ares_options options = {.sock_state_cb = set_socket, .sock_state_cb_data = &lookup};
	struct ares_addrinfo_hints hints = {.ai_family = AF_INET};
	ares_channel channel;
	int error = -EINVAL;

	if (lookup.epoll < 0 || ares_init_options(&channel, &options, ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
		return -ENOMEM;
	if (!server || ares_set_servers_ports_csv(channel, server) == ARES_SUCCESS) {
		ares_getaddrinfo(channel, name, NULL, &hints, on_answer, &lookup);
		error = await_answer(channel, ctx, &lookup);
		/* When it has returned, on_answer() has been called and lookup is used no more. */
		ares_cancel(channel);
	}
	/* Calls set_socket() for the sockets that it closes. */
	ares_destroy(channel);
	close(lookup.epoll);
	return error;
}

int main(int argc, char **argv)
{
	uint64_t ms = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	int error;

	if (argc < 2 || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		fprintf(stderr, "Usage: resolve NAME [MS [ADDRESS:PORT]]\n");
		return 2;
	}
	error = ctx_with_timeout(ctx_background(), ms * UINT64_C(1000000), "lookup", &ctx);
	if (!error)
		error = resolve(argv[1], argc > 3 ? argv[3] : NULL, ctx);
	if (error)
		printf("%s: %s\n", error == ctx_err(ctx) ? "ended" : "no address", strerror(-error));
	ares_library_cleanup();
	return !error ? 0 : error == -ETIME ? 1 : 2;
}
