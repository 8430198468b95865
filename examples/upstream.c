/* SPDX-License-Identifier: MIT */
/*
 * A slow server that the example server httpd asks. A client sends a number of milliseconds and a newline,
 * and gets a line as its answer after that time. Thousands of connections may wait at once. With --places N
 * it works for N of them at a time, as a database with N processors does, and the others wait in a queue.
 *
 * While a client waits, a timeout and a receive are pending: the receive completes when the client leaves.
 * Whichever completes first leads to the end of the context of the connection, and so to the end of the
 * other. The program ends with SIGTERM, SIGINT, or when its parent dies. Then it says how many questions it
 * has answered, and how many clients left before.
 */
#include "example.h"
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/signalfd.h>

#define DELAY_MS_MAX UINT64_C(3600000)

static const char answer[] = "here is your answer\n";

struct upstream {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	int listen_fd;
	int signal_fd;
	struct ctx_op accept;
	struct ctx_op signal;
	struct signalfd_siginfo siginfo;
	uint64_t places; /* clients that it works for at a time */
	uint64_t taken;  /* places in use */
	TAILQ_HEAD(, client) queue;
	uint64_t answered_count;
	uint64_t left_count;
};

struct client {
	struct upstream *upstream;
	TAILQ_ENTRY(client) in_queue;
	enum client_step { CLIENT_ASKS, CLIENT_QUEUED, CLIENT_SERVED, CLIENT_ANSWERED } step;
	int fd;
	unsigned pending; /* operations in flight; the client is freed after the last one */
	struct ctx_context *ctx;
	struct ctx_op receive;
	struct ctx_op timer;
	struct ctx_op send;
	struct __kernel_timespec delay;
	char question[16]; /* so small that it comes in one piece */
};

static struct io_uring_sqe *client_sqe(struct client *client, struct ctx_op *op)
{
	client->pending++;
	return ctx_ring_get_sqe(client->upstream->ring, client->ctx, op);
}

/* Begins with the clients that have waited longest, as far as there are places. */
static void upstream_serve(struct upstream *upstream)
{
	struct io_uring_sqe *sqe;
	struct client *client;

	while (upstream->taken < upstream->places && (client = TAILQ_FIRST(&upstream->queue))) {
		TAILQ_REMOVE(&upstream->queue, client, in_queue);
		upstream->taken++;
		client->step = CLIENT_SERVED;
		sqe = client_sqe(client, &client->timer);
		io_uring_prep_timeout(sqe, &client->delay, 0, 0);
	}
}

/* Gives back what the client has, its place or where it stood in the queue. */
static void client_leave(struct client *client)
{
	struct upstream *upstream = client->upstream;

	if (client->step == CLIENT_QUEUED)
		TAILQ_REMOVE(&upstream->queue, client, in_queue);
	if (client->step == CLIENT_SERVED || client->step == CLIENT_ANSWERED)
		upstream->taken--;
	if (client->step == CLIENT_ANSWERED)
		upstream->answered_count++;
	else if (client->step != CLIENT_ASKS && !ctx_err(upstream->ctx))
		upstream->left_count++;
	if (!ctx_err(upstream->ctx))
		upstream_serve(upstream);
}

/* Call it last for each final completion. over: the connection is to end. */
static void client_completed(struct client *client, bool over)
{
	if (over)
		ctx_cancel(client->ctx);
	if (--client->pending)
		return;
	client_leave(client);
	close(client->fd);
	ctx_unref(client->ctx);
	free(client);
}

static void client_receive(struct client *client)
{
	struct io_uring_sqe *sqe = client_sqe(client, &client->receive);

	io_uring_prep_recv(sqe, client->fd, client->question, sizeof(client->question) - 1, 0);
}

static void receive_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct client *client = container_of(op, struct client, receive);
	uint64_t ms;

	(void)ring;
	if (completion->res <= 0 || client->step != CLIENT_ASKS) {
		client_completed(client, true);
		return;
	}
	client->question[completion->res] = '\0';
	client->question[strcspn(client->question, "\r\n")] = '\0';
	if (!parse_number(client->question, DELAY_MS_MAX, &ms)) {
		client_completed(client, true);
		return;
	}
	client->delay.tv_sec = (long long)(ms / 1000);
	client->delay.tv_nsec = (long long)(ms % 1000 * NSEC_PER_MSEC);
	client->step = CLIENT_QUEUED;
	TAILQ_INSERT_TAIL(&client->upstream->queue, client, in_queue);
	upstream_serve(client->upstream);
	client_receive(client);
	client_completed(client, false);
}

static void timer_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct client *client = container_of(op, struct client, timer);
	struct io_uring_sqe *sqe;

	(void)ring;
	if (completion->res == -ETIME) {
		client->step = CLIENT_ANSWERED;
		sqe = client_sqe(client, &client->send);
		io_uring_prep_send(sqe, client->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
	}
	client_completed(client, false);
}

static void send_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	(void)completion;
	client_completed(container_of(op, struct client, send), true);
}

static void client_open(struct upstream *upstream, int fd)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client || ctx_with_cancel(upstream->ctx, "client", &client->ctx)) {
		free(client);
		close(fd);
		return;
	}
	client->upstream = upstream;
	client->fd = fd;
	ctx_op_init(&client->receive, receive_done, 0);
	ctx_op_init(&client->timer, timer_done, 0);
	ctx_op_init(&client->send, send_done, 0);
	client_receive(client);
}

static void upstream_accept(struct upstream *upstream)
{
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(upstream->ring, upstream->ctx, &upstream->accept);

	io_uring_prep_multishot_accept(sqe, upstream->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ctx_op_set_flags(&upstream->accept, CTX_OP_CLOSE_FD);
}

static void accept_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct upstream *upstream = container_of(op, struct upstream, accept);

	(void)ring;
	if (completion->res >= 0)
		client_open(upstream, completion->res);
	if (completion->more || ctx_err(upstream->ctx))
		return;
	if (completion->res == -EMFILE || completion->res == -ENFILE)
		ctx_cancel_cause(upstream->ctx, completion->res, "no descriptors");
	else
		upstream_accept(upstream);
}

static void signal_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	if (completion->res > 0)
		ctx_cancel(container_of(op, struct upstream, signal)->ctx);
}

static int watch_signals(struct upstream *upstream, pid_t parent)
{
	struct io_uring_sqe *sqe;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	add_unless_ignored(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* Ends with its parent, which may even have died before this line. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		return -ESRCH;
	upstream->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (upstream->signal_fd < 0)
		return -errno;
	sqe = ctx_ring_get_sqe(upstream->ring, upstream->ctx, &upstream->signal);
	io_uring_prep_read(sqe, upstream->signal_fd, &upstream->siginfo, sizeof(upstream->siginfo), 0);
	return 0;
}

static int upstream_run(struct upstream *upstream, uint16_t port, const char *port_file, pid_t parent)
{
	int error;

	upstream->listen_fd = listen_on_loopback(&port);
	if (upstream->listen_fd < 0)
		return upstream->listen_fd;
	error = ctx_with_cancel(ctx_background(), "upstream", &upstream->ctx);
	if (error)
		return error;
	ctx_op_init(&upstream->accept, accept_done, 0);
	ctx_op_init(&upstream->signal, signal_done, 0);
	upstream_accept(upstream);
	error = watch_signals(upstream, parent);
	if (error)
		return error;
	if (port_file && (error = write_port_file(port_file, port)))
		return error;
	printf("127.0.0.1:%u\n", port);
	fflush(stdout);
	error = ctx_ring_run(upstream->ring, upstream->ctx);
	if (!error)
		error = ctx_ring_run(upstream->ring, NULL);
	printf("end: answered=%" PRIu64 " left=%" PRIu64 "\n", upstream->answered_count, upstream->left_count);
	return error;
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'},
		{"port-file", required_argument, NULL, 'f'},
		{"places", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct upstream upstream = {.listen_fd = -1, .signal_fd = -1, .places = UINT64_MAX};
	const char *port_file = NULL;
	pid_t parent = getppid();
	uint64_t port = 0;
	int option, error;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'f') {
			port_file = optarg;
		} else if ((option != 'p' || !parse_number(optarg, 65535, &port)) &&
			   (option != 'n' || !parse_number(optarg, UINT32_MAX, &upstream.places) ||
			    !upstream.places)) {
			fprintf(option == 'h' ? stdout : stderr,
				"Usage: upstream [--port N] [--port-file FILE] [--places N]\n");
			return option == 'h' ? EXIT_SUCCESS : 2;
		}
	}
	raise_file_limit();
	TAILQ_INIT(&upstream.queue);
	upstream.ring = open_ring(4096, NULL);
	if (!upstream.ring)
		return EXIT_FAILURE;
	error = upstream_run(&upstream, (uint16_t)port, port_file, parent);
	if (error)
		fprintf(stderr, "upstream: %s\n", strerror(-error));
	ctx_finish(upstream.ctx);
	ctx_ring_close(upstream.ring, 5 * NSEC_PER_SEC, NULL, 0, NULL);
	if (upstream.signal_fd >= 0)
		close(upstream.signal_fd);
	if (upstream.listen_fd >= 0)
		close(upstream.listen_fd);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
