/* SPDX-License-Identifier: MIT */
/*
 * httpd: options, the listening socket and the shutdown. server/httpd.h describes the program.
 */
#include "server/httpd.h"
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>

/* So many that some hundred operations of a fan, with a linked timeout each, fit one submit. */
#define RING_ENTRIES 2048

struct options {
	uint16_t port;
	const char *port_file;
	const char *root;
	const char *ring;
	bool park;
};

static const char help[] =
	"Usage: httpd [--port N] [--port-file FILE] [--root DIR] [--upstream HOST:PORT]\n"
	"             [--pool N] [--no-cancel] [--ring ordinary|defer] [--park] [--quiet]\n"
	"\n"
	"An HTTP/1.1 server on 127.0.0.1 that shows what contexts do to a server.\n"
	"\n"
	"  --port N              port; 0, the default: a free one, which is printed\n"
	"  --port-file FILE      also write the port to FILE\n"
	"  --root DIR            serve the files below DIR under /file?path=\n"
	"  --upstream HOST:PORT  where /fan asks; see examples/upstream\n"
	"  --pool N              at most N requests at the upstream at a time, others queue\n"
	"  --no-cancel           go on with requests whose client has left, to compare\n"
	"  --ring KIND           ordinary (default), or defer: a DEFER_TASKRUN ring\n"
	"  --park                idle connections wait outside the kernel\n"
	"  --quiet               no log\n"
	"  --help                this text\n"
	"\n"
	"/slow?ms=N, /file?path=P, /fan?n=N&ms=M; a header X-Deadline-Ms: N sets a deadline.\n"
	"SIGTERM and SIGINT end it.\n";

/* 0: run, 1: exit with success, negative: wrong usage. */
static int parse_options(int argc, char **argv, struct server *server, struct options *options)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'},
		{"port-file", required_argument, NULL, 'f'},
		{"root", required_argument, NULL, 'r'},
		{"upstream", required_argument, NULL, 'u'},
		{"pool", required_argument, NULL, 'n'},
		{"no-cancel", no_argument, NULL, 'g'},
		{"ring", required_argument, NULL, 'k'},
		{"quiet", no_argument, NULL, 'q'},
		{"park", no_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	uint64_t port;
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'p':
			if (!parse_number(optarg, 65535, &port))
				return -EINVAL;
			options->port = (uint16_t)port;
			break;
		case 'f':
			options->port_file = optarg;
			break;
		case 'r':
			options->root = optarg;
			break;
		case 'u':
			if (!parse_address(optarg, &server->upstream))
				return -EINVAL;
			server->has_upstream = true;
			break;
		case 'n':
			if (!parse_number(optarg, UINT32_MAX, &server->pool.places) || !server->pool.places)
				return -EINVAL;
			break;
		case 'g':
			server->no_cancel = true;
			break;
		case 'k':
			options->ring = optarg;
			break;
		case 'i':
			options->park = true;
			break;
		case 'q':
			log_quiet = true;
			break;
		case 'h':
			return 1;
		default:
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}

static void accept_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct server *server = container_of(op, struct server, accept);
	int one = 1;

	(void)ring;
	if (completion->res >= 0) {
		/* Head and body are separate sends. The kernel is not to wait for more between them. */
		setsockopt(completion->res, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		connection_open(server, completion->res);
	}
	if (completion->more || ctx_err(server->ctx))
		return;
	if (completion->res == -EMFILE || completion->res == -ENFILE) {
		log_event(server->ctx, "stalled", "reason=\"%s\"", strerror(-completion->res));
		server->accept_stalled = true;
	} else {
		server_accept(server);
	}
}

/* One multishot operation accepts until it fails. Each connection is a completion of it. */
void server_accept(struct server *server)
{
	struct io_uring_sqe *sqe;

	server->accept_stalled = false;
	sqe = ctx_ring_get_sqe(server->ring, server->ctx, &server->accept);
	io_uring_prep_multishot_accept(sqe, server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ctx_op_set_flags(&server->accept, CTX_OP_CLOSE_FD);
}

/* All operations of the server are below this context, so its end is the whole shutdown. */
static void signal_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct server *server = container_of(op, struct server, signal);

	(void)ring;
	if (completion->res < 0)
		return;
	ctx_cancel_cause(server->ctx, 0, "%s", strsignal((int)server->siginfo.ssi_signo));
}

/* Signals are read from a signalfd, by an operation of the ring. */
static int server_watch_signals(struct server *server)
{
	struct io_uring_sqe *sqe;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	add_unless_ignored(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	server->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (server->signal_fd < 0)
		return -errno;
	sqe = ctx_ring_get_sqe(server->ring, server->ctx, &server->signal);
	io_uring_prep_read(sqe, server->signal_fd, &server->siginfo, sizeof(server->siginfo), 0);
	return 0;
}

/* Opens what the server needs. Prints the reason when something cannot be had. */
static int server_open(struct server *server, struct options *options)
{
	struct ctx_ring_options ring_options = {
		.flags = options->park ? CTX_RING_PARK : 0, .batch = log_batch, .data = server};
	int error;

	server->park = options->park;
	TAILQ_INIT(&server->pool.queue);
	if (!ring_kind_flags(options->ring, &ring_options.setup_flags)) {
		fprintf(stderr, "httpd: --ring is ordinary or defer\n");
		return -EINVAL;
	}
	if (options->root) {
		server->root_fd = open(options->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (server->root_fd < 0) {
			fprintf(stderr, "httpd: %s: %m\n", options->root);
			return -errno;
		}
	}
	server->listen_fd = listen_on_loopback(&options->port);
	if (server->listen_fd < 0) {
		fprintf(stderr, "httpd: port %u: %s\n", options->port, strerror(-server->listen_fd));
		return server->listen_fd;
	}
	server->ring = open_ring(RING_ENTRIES, &ring_options);
	if (!server->ring)
		return -ENOSYS;
	error = ctx_with_cancel(ctx_background(), "httpd", &server->ctx);
	if (error)
		return error;
	ctx_op_init(&server->accept, accept_done, 0);
	ctx_op_init(&server->signal, signal_done, 0);
	server_accept(server);
	error = server_watch_signals(server);
	if (!error && options->port_file)
		error = write_port_file(options->port_file, options->port);
	if (error)
		fprintf(stderr, "httpd: cannot start: %s\n", strerror(-error));
	return error;
}

static int server_run(struct server *server, const struct options *options)
{
	struct ctx_cause cause;
	int error;

	printf("http://127.0.0.1:%u/\n", options->port);
	fflush(stdout);
	log_event(server->ctx, "start", "port=%u ring=%s", options->port, options->ring);
	error = ctx_ring_run(server->ring, server->ctx);
	if (error)
		return error;
	ctx_get_cause(server->ctx, &cause);
	log_event(server->ctx, "stop", "reason=\"%s\"", cause.text);
	/* The cancels have been submitted when the context ended. Here the completions are delivered. */
	return ctx_ring_run(server->ring, NULL);
}

static int server_close(struct server *server)
{
	int error;

	ctx_finish(server->ctx);
	error = ctx_ring_close(server->ring, 5 * NSEC_PER_SEC, NULL, 0, NULL);
	if (server->signal_fd >= 0)
		close(server->signal_fd);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	if (server->root_fd >= 0)
		close(server->root_fd);
	return error;
}

int main(int argc, char **argv)
{
	struct server server = {.listen_fd = -1, .signal_fd = -1, .root_fd = -1};
	struct options options = {.ring = "ordinary"};
	int error, run_error = 0, close_error;

	error = parse_options(argc, argv, &server, &options);
	if (error) {
		fputs(help, error > 0 ? stdout : stderr);
		return error > 0 ? EXIT_SUCCESS : 2;
	}
	raise_file_limit();
	error = server_open(&server, &options);
	if (!error)
		run_error = server_run(&server, &options);
	close_error = server_close(&server);
	if (run_error || close_error)
		fprintf(stderr, "httpd: %s\n", strerror(run_error ? -run_error : -close_error));
	return error || run_error || close_error ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The Makefile builds each example from one file, so the parts of this one are included. */
#include "server/connection.c"
#include "server/fan.c"
#include "server/log.c"
#include "server/pool.c"
#include "server/request.c"
#include "server/routes.c"
