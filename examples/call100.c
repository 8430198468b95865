/* SPDX-License-Identifier: MIT */
/*
 * An HTTP request that may take 100 ms in all: connect, send and every receive. The context has the deadline,
 * so no step has to look at a clock.
 *
 *	call100 PORT PATH	exits with 0, or with 1 when the time was over
 */
#include "example.h"

#define BUDGET_NS (100 * NSEC_PER_MSEC)

/* Submits op, waits for it and returns its result. */
static int finish(struct ctx_ring *ring, struct ctx_op *op)
{
	struct ctx_completion completion;
	int error;

	while (ctx_op_result(op, &completion) == -EINPROGRESS) {
		error = ctx_ring_dispatch(ring, CTX_FOREVER);
		/* op is on the stack of the caller, so this function may not return before it has completed.
		 */
		if (error < 0 && error != -EINTR)
			abort();
	}
	return completion.end == CTX_OP_DEADLINE ? -ETIME : completion.res;
}

/* Prints the answer of the server. Returns 0, -ETIME or another error. */
static int call(struct ctx_ring *ring, const struct ctx_context *ctx, int fd, uint16_t port, const char *path)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	char text[4096];
	struct ctx_op op;
	int length, res;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_connect(ctx_ring_get_sqe(ring, ctx, &op), fd, (struct sockaddr *)&address,
			      sizeof(address));
	res = finish(ring, &op);
	if (res < 0)
		return res;

	length = snprintf(text, sizeof(text),
			  "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	if (length >= (int)sizeof(text))
		return -ENAMETOOLONG;
	io_uring_prep_send(ctx_ring_get_sqe(ring, ctx, &op), fd, text, (size_t)length,
			   MSG_NOSIGNAL | MSG_WAITALL);
	res = finish(ring, &op);

	while (res > 0) {
		io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &op), fd, text, sizeof(text), 0);
		res = finish(ring, &op);
		if (res > 0)
			fwrite(text, 1, (size_t)res, stdout);
	}
	return res;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	uint64_t port, begun = now_ns();
	struct ctx_ring *ring;
	int fd, error;

	if (argc != 3 || !parse_number(argv[1], 65535, &port)) {
		fprintf(stderr, "Usage: call100 PORT PATH\n");
		return 2;
	}
	ring = open_ring(8, NULL);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!ring || fd < 0)
		return 2;
	error = ctx_with_timeout(ctx_background(), BUDGET_NS, "call", &ctx);
	if (!error)
		error = call(ring, ctx, fd, (uint16_t)port, argv[2]);
	fprintf(stderr, "call100: %s after %llu ms\n", error ? strerror(-error) : "answered",
		(unsigned long long)((now_ns() - begun) / NSEC_PER_MSEC));
	close(fd);
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	return error == -ETIME ? 1 : error ? 2 : 0;
}
