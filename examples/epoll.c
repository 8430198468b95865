/* SPDX-License-Identifier: MIT */
/*
 * A context in an event loop that does not know contexts, here plain epoll. ctx_done_fd gives a descriptor
 * that is readable from the end of the context on. No io_uring is needed for this.
 *
 *	epoll [MS]	copies standard input to standard output for MS milliseconds
 */
#include <ctxring.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Copies what there is. The read does not block, since epoll has just said so. Returns false at the end of
 * the input. */
static bool copy_some(void)
{
	char buffer[4096];
	ssize_t length = read(STDIN_FILENO, buffer, sizeof(buffer));

	return length > 0 && fwrite(buffer, 1, (size_t)length, stdout) == (size_t)length && !fflush(stdout);
}

/* Runs until the input ends and returns 0, or until the context ends and returns its error. */
static int copy_until_done(const struct ctx_context *ctx, int epoll, int done)
{
	struct epoll_event events[2];

	for (;;) {
		int count = epoll_wait(epoll, events, 2, -1);

		if (count < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < count; i++) {
			/* Nothing is to be read from the descriptor: it stays readable. ctx_err tells the
			 * error. */
			if (events[i].data.fd == done)
				return ctx_err(ctx);
			if (!copy_some())
				return 0;
		}
	}
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	unsigned long ms = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
	struct ctx_cause cause;
	int epoll, done, error;

	if (ctx_with_timeout(ctx_background(), ms * UINT64_C(1000000), "copy", &ctx)) {
		fprintf(stderr, "epoll: no memory\n");
		return EXIT_FAILURE;
	}
	ctx_set_deadline_cause(ctx, 0, "nobody types for ever");
	/* The descriptor belongs to the context, which closes it. */
	done = ctx_done_fd(ctx);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (done < 0 || epoll < 0 || watch(epoll, done) || watch(epoll, STDIN_FILENO)) {
		fprintf(stderr, "epoll: the input must be a pipe, a socket or a terminal\n");
		return EXIT_FAILURE;
	}
	error = copy_until_done(ctx, epoll, done);
	close(epoll);
	if (!error) {
		printf("end of input\n");
		return EXIT_SUCCESS;
	}
	ctx_get_cause(ctx, &cause);
	printf("ended: %s (%s)\n", strerror(-error), cause.text);
	return error == -ETIME ? EXIT_SUCCESS : EXIT_FAILURE;
}
