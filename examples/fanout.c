/* SPDX-License-Identifier: MIT */
/*
 * Asks several HTTP servers the same thing at once, by a task group. All servers have to answer: the first
 * failure ends the requests to the others, and a deadline bounds the whole.
 *
 * It is written twice. With a thread for each server, every call that may block takes the context of the
 * group. With --ring there is one thread, and each step is an operation of the group.
 *
 *	fanout [--ring] [--timeout MS] [--path PATH] HOST:PORT...
 *
 * HOST is a numeric IPv4 address. Exit status: 0 when all servers answered with 200, 1 when not, 2 for wrong
 * usage.
 */
#include "example.h"
#include <getopt.h>

#define SERVERS_MAX 64

struct fanout {
	struct ctx_taskgroup *group;
	char request[512];
	size_t request_size;
};

/* The request to one server. */
struct server {
	const struct fanout *fanout;
	const char *name;
	struct sockaddr_in address;
	int fd;
	size_t sent, received;
	char status_line[64]; /* the beginning of the answer */
	int error;
	char buffer[4096];
	/* with --ring */
	struct ctx_op op;
	void (*step)(struct server *server,
		     int res); /* called with the result of the operation that is in flight */
};

/* ---- used by both versions */

static int server_socket(struct server *server)
{
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return server->fd < 0 ? -errno : 0;
}

static void server_received(struct server *server, size_t size)
{
	size_t room = sizeof(server->status_line) - 1;

	if (server->received < room) {
		size_t part = room - server->received < size ? room - server->received : size;

		memcpy(server->status_line + server->received, server->buffer, part);
	}
	server->received += size;
}

static int status_of(const struct server *server)
{
	int status;

	return sscanf(server->status_line, "HTTP/%*d.%*d %3d", &status) == 1 ? status : 0;
}

/* The answer is complete. Another status than 200 makes the group fail, with a text of its own. */
static int server_answered(struct server *server)
{
	int status = status_of(server);

	if (status == 200)
		return 0;
	ctx_taskgroup_fail(server->fanout->group, -EBADMSG, "%s answered with status %d", server->name,
			   status);
	server->error = -EBADMSG;
	return 0; /* the failure has been reported already */
}

/* ---- a thread for each server */

static int ask(const struct ctx_context *ctx, struct server *server)
{
	const struct fanout *fanout = server->fanout;
	ssize_t size;
	int error;

	error = ctxio_connect(ctx, server->fd, (struct sockaddr *)&server->address, sizeof(server->address));
	if (error)
		return error;
	while (server->sent < fanout->request_size) {
		size = ctxio_send(ctx, server->fd, fanout->request + server->sent,
				  fanout->request_size - server->sent, MSG_NOSIGNAL);
		if (size < 0)
			return (int)size;
		server->sent += (size_t)size;
	}
	while ((size = ctxio_recv(ctx, server->fd, server->buffer, sizeof(server->buffer), 0)) > 0)
		server_received(server, (size_t)size);
	return size < 0 ? (int)size : server_answered(server);
}

/* A task. ctx is the context of the group. When it returns another value than 0, the group ends. */
static int ask_task(const struct ctx_context *ctx, void *data)
{
	struct server *server = data;
	int error = server_socket(server);

	if (!error) {
		error = ask(ctx, server);
		close(server->fd);
	}
	if (error)
		server->error = error;
	return error;
}

static int ask_on_threads(const struct ctx_context *ctx, struct fanout *fanout, struct server *servers,
			  unsigned count)
{
	int error = ctx_taskgroup_new(ctx, count, "fanout", &fanout->group);

	if (error)
		return error;
	/* After a failure the group refuses more tasks, and all that is left to do is to wait. */
	for (unsigned i = 0; i < count && !error; i++)
		error = ctx_taskgroup_start(fanout->group, ask_task, &servers[i], servers[i].name);
	int failure = ctx_taskgroup_wait(fanout->group);
	return failure ? failure : error;
}

/* ---- operations of a ring */

static void step_received(struct server *server, int res);

/* Called with the final completion of each step. A negative result has ended the group already. */
static void step_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct server *server = container_of(op, struct server, op);

	(void)ring;
	if (completion->res >= 0) {
		server->step(server, completion->res);
		return;
	}
	server->error = completion->end == CTX_OP_DEADLINE ? -ETIME : completion->res;
	close(server->fd);
}

static struct io_uring_sqe *next_step(struct server *server, void (*step)(struct server *, int))
{
	server->step = step;
	return ctx_taskgroup_get_sqe(server->fanout->group, &server->op);
}

static void receive(struct server *server)
{
	io_uring_prep_recv(next_step(server, step_received), server->fd, server->buffer,
			   sizeof(server->buffer), 0);
}

static void step_received(struct server *server, int res)
{
	if (res > 0) {
		server_received(server, (size_t)res);
		receive(server);
		return;
	}
	server_answered(server);
	close(server->fd);
}

static void step_sent(struct server *server, int res)
{
	const struct fanout *fanout = server->fanout;

	server->sent += (size_t)res;
	if (server->sent == fanout->request_size) {
		receive(server);
		return;
	}
	io_uring_prep_send(next_step(server, step_sent), server->fd, fanout->request + server->sent,
			   fanout->request_size - server->sent, MSG_NOSIGNAL);
}

static void step_connected(struct server *server, int res)
{
	step_sent(server, res); /* res is 0: nothing has been sent yet */
}

static int ask_on_a_ring(const struct ctx_context *ctx, struct fanout *fanout, struct ctx_ring *ring,
			 struct server *servers, unsigned count)
{
	int error = ctx_taskgroup_new_on_ring(ctx, ring, "fanout", &fanout->group);

	for (unsigned i = 0; i < count && !error; i++) {
		struct server *server = &servers[i];

		error = server_socket(server);
		if (error) {
			ctx_taskgroup_fail(fanout->group, error, "%s", server->name);
			break;
		}
		ctx_op_init(&server->op, step_done, 0);
		io_uring_prep_connect(next_step(server, step_connected), server->fd,
				      (struct sockaddr *)&server->address, sizeof(server->address));
	}
	/* This call dispatches the ring, so all steps run in it. */
	return fanout->group ? ctx_taskgroup_wait(fanout->group) : error;
}

/* ---- */

static void report(const struct server *servers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct server *server = &servers[i];

		if (server->error == -ECANCELED)
			printf("%s: given up\n", server->name);
		else if (server->error && server->error != -EBADMSG)
			printf("%s: %s\n", server->name, strerror(-server->error));
		else if (!server->received)
			printf("%s: not asked\n", server->name);
		else
			printf("%s: status %d, %zu byte%s\n", server->name, status_of(server),
			       server->received, server->received == 1 ? "" : "s");
	}
}

static int usage(void)
{
	fprintf(stderr, "Usage: fanout [--ring] [--timeout MS] [--path PATH] HOST:PORT...\n");
	return 2;
}

static int run(struct fanout *fanout, bool on_ring, uint64_t timeout_ms, struct server *servers,
	       unsigned count)
{
	struct ctx_ring *ring = NULL;
	struct ctx_context *ctx;
	struct ctx_cause cause = {0}; /* in case there is no group */
	int error;

	if (on_ring && !(ring = open_ring(SERVERS_MAX, NULL)))
		return EXIT_FAILURE;
	error = ctx_with_timeout(ctx_background(), timeout_ms * NSEC_PER_MSEC, "question", &ctx);
	if (error) {
		fprintf(stderr, "fanout: %s\n", strerror(-error));
		ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
		return EXIT_FAILURE;
	}
	error = on_ring ? ask_on_a_ring(ctx, fanout, ring, servers, count)
			: ask_on_threads(ctx, fanout, servers, count);
	report(servers, count);
	if (error) {
		ctx_get_cause(ctx_taskgroup_context(fanout->group), &cause);
		fprintf(stderr, "fanout: %s%s%s\n", cause.text, *cause.text ? ": " : "", strerror(-error));
	}
	ctx_taskgroup_free(fanout->group);
	ctx_finish(ctx);
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"ring", no_argument, NULL, 'r'},
						{"timeout", required_argument, NULL, 't'},
						{"path", required_argument, NULL, 'p'},
						{NULL, 0, NULL, 0}};
	static struct server servers[SERVERS_MAX];
	struct fanout fanout = {0};
	uint64_t timeout_ms = 1000;
	const char *path = "/";
	bool on_ring = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			on_ring = true;
		else if (option == 'p')
			path = optarg;
		else if (option != 't' || !parse_number(optarg, 3600000, &timeout_ms))
			return usage();
	}
	unsigned count = (unsigned)(argc - optind);
	if (!count || count > SERVERS_MAX)
		return usage();
	for (unsigned i = 0; i < count; i++) {
		servers[i] = (struct server){.fanout = &fanout, .name = argv[optind + (int)i], .fd = -1};
		if (!parse_address(servers[i].name, &servers[i].address))
			return usage();
	}
	int size = snprintf(fanout.request, sizeof(fanout.request),
			    "GET %s HTTP/1.1\r\nHost: fanout\r\nConnection: close\r\n\r\n", path);
	if (size < 0 || size >= (int)sizeof(fanout.request))
		return usage();
	fanout.request_size = (size_t)size;
	return run(&fanout, on_ring, timeout_ms, servers, count);
}
