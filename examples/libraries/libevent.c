/* SPDX-License-Identifier: MIT */
/*
 * A context in a libevent loop: its done descriptor is an event of the loop.
 *
 * When the context ends, by its deadline or from any thread, on_done() runs on the thread of the loop and
 * breaks the loop. The event is for one call, without EV_PERSIST: the descriptor stays readable, so a
 * persistent event would be called in every turn.
 *
 *	libevent MS	copies standard input to standard output; exits with 1 when the time was over
 */
#include <ctxring.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Copies what there is. The read does not block, since the loop has found the input ready. */
static void on_input(evutil_socket_t fd, short events, void *data)
{
	char buffer[4096];
	ssize_t length = read(fd, buffer, sizeof(buffer));

	(void)events;
	if (length <= 0 || fwrite(buffer, 1, (size_t)length, stdout) != (size_t)length || fflush(stdout))
		event_base_loopbreak(data);
}

static void on_done(evutil_socket_t fd, short events, void *data)
{
	(void)fd;
	(void)events;
	event_base_loopbreak(data);
}

/* Runs until the input ends, and returns 0, or until the context ends, and returns its error. */
static int copy(const struct ctx_context *ctx)
{
	struct event_base *base = event_base_new();
	struct event *input = NULL, *ended = NULL;
	/* The descriptor belongs to the context, which closes it. */
	int done = ctx_done_fd(ctx), error = -ENOMEM;

	if (done < 0)
		error = done;
	if (!base || done < 0)
		goto out;
	input = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, base);
	ended = event_new(base, done, EV_READ, on_done, base);
	if (!input || !ended)
		goto out;
	error = -EIO;
	if (event_add(input, NULL) || event_add(ended, NULL) || event_base_dispatch(base))
		goto out;
	error = ctx_err(ctx);
out:
	/* The events are freed before the descriptors are closed. */
	if (ended)
		event_free(ended);
	if (input)
		event_free(input);
	if (base)
		event_base_free(base);
	return error;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	struct ctx_cause cause;
	int error;

	if (argc != 2) {
		fprintf(stderr, "Usage: libevent MS\n");
		return 2;
	}
	error = ctx_with_timeout(ctx_background(), strtoul(argv[1], NULL, 10) * UINT64_C(1000000), "copy",
				 &ctx);
	if (error) {
		fprintf(stderr, "libevent: %s\n", strerror(-error));
		return 2;
	}
	ctx_set_deadline_cause(ctx, 0, "nobody types for ever");
	error = copy(ctx);
	if (!error) {
		printf("end of input\n");
	} else if (error == ctx_err(ctx)) {
		ctx_get_cause(ctx, &cause);
		printf("ended: %s (%s)\n", strerror(-error), cause.text);
	} else {
		fprintf(stderr, "libevent: %s; the input must be a pipe, a socket or a terminal\n",
			strerror(-error));
	}
	return !error ? 0 : error == -ETIME ? 1 : 2;
}
