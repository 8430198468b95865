/* SPDX-License-Identifier: MIT */
/*
 * plain_echo.c with a ctx ring round its io_uring. Receives and sends belong to a context now. The accept and
 * the read of signals stay as they were: ctx_ring_filter says that their completions are foreign. Compare the
 * two programs to see what that takes.
 *
 * SIGTERM ends it: the end of one context ends every connection.
 *
 *	adopt_echo	prints its port
 */
#include <arpa/inet.h>
#include <ctxring.h>
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct echo;

/* The user_data of an accept and of the read of signals points to this. */
struct operation {
	void (*done)(struct echo *echo, struct operation *operation, int res);
};

struct connection {
	struct ctx_op op;
	struct echo *echo;
	int fd;
	bool sending;
	size_t length, sent;
	char data[4096];
};

struct echo {
	struct io_uring uring;
	struct ctx_ring *ring; /* the ctx ring round uring */
	struct ctx_context *clients;
	int listen_fd, signal_fd;
	unsigned connections;
	bool stopped;
	struct operation accept;
	struct operation signal;
	struct signalfd_siginfo siginfo;
};

static struct io_uring_sqe *get_sqe(struct echo *echo)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&echo->uring);

	if (!sqe) {
		io_uring_submit(&echo->uring);
		sqe = io_uring_get_sqe(&echo->uring);
	}
	if (!sqe)
		abort();
	return sqe;
}

/* Begins a receive, or a send of what was received. */
static void connection_begin(struct echo *echo, struct connection *conn)
{
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(echo->ring, echo->clients, &conn->op);

	if (conn->sending)
		io_uring_prep_send(sqe, conn->fd, conn->data + conn->sent, conn->length - conn->sent,
				   MSG_NOSIGNAL);
	else
		io_uring_prep_recv(sqe, conn->fd, conn->data, sizeof(conn->data), 0);
}

static void connection_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct connection *conn = (struct connection *)op->data;
	struct echo *echo = conn->echo;
	int res = completion->res;

	(void)ring;
	if (res <= 0) {
		close(conn->fd);
		free(conn);
		echo->connections--;
		return;
	}
	if (!conn->sending) {
		conn->sending = true;
		conn->length = (size_t)res;
		conn->sent = 0;
	} else {
		conn->sent += (size_t)res;
		conn->sending = conn->sent < conn->length;
	}
	connection_begin(echo, conn);
}

static void accept_begin(struct echo *echo)
{
	struct io_uring_sqe *sqe = get_sqe(echo);

	io_uring_prep_accept(sqe, echo->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data(sqe, &echo->accept);
}

static void accept_done(struct echo *echo, struct operation *operation, int res)
{
	struct connection *conn;

	(void)operation;
	if (res < 0) {
		fprintf(stderr, "accept: %s\n", strerror(-res));
		echo->stopped = true;
		return;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		abort();
	ctx_op_init(&conn->op, connection_done, (uintptr_t)conn);
	conn->echo = echo;
	conn->fd = res;
	echo->connections++;
	connection_begin(echo, conn);
	accept_begin(echo);
}

static void signal_done(struct echo *echo, struct operation *operation, int res)
{
	(void)operation;
	(void)res;
	printf("ends %u connection%s\n", echo->connections, echo->connections == 1 ? "" : "s");
	ctx_cancel(echo->clients);
	echo->stopped = true;
}

static void echo_watch_signals(struct echo *echo)
{
	struct io_uring_sqe *sqe = get_sqe(echo);
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	echo->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	echo->signal.done = signal_done;
	io_uring_prep_read(sqe, echo->signal_fd, &echo->siginfo, sizeof(echo->siginfo), 0);
	io_uring_sqe_set_data(sqe, &echo->signal);
}

static void echo_run(struct echo *echo)
{
	struct operation *operation;
	struct io_uring_cqe *cqe;

	echo->accept.done = accept_done;
	accept_begin(echo);
	while (!echo->stopped || echo->connections) {
		/* Submits, and delivers operations that were refused because their context has ended. */
		while (ctx_ring_dispatch(echo->ring, 0) > 0)
			;
		if (echo->stopped && !echo->connections)
			break;
		if (io_uring_wait_cqe(&echo->uring, &cqe))
			continue;
		if (ctx_ring_filter(echo->ring, cqe, NULL, NULL) == CTX_FILTER_FOREIGN) {
			operation = io_uring_cqe_get_data(cqe);
			operation->done(echo, operation, cqe->res);
		}
		io_uring_cqe_seen(&echo->uring, cqe);
	}
	printf("left with %u connection%s\n", echo->connections, echo->connections == 1 ? "" : "s");
}

static int echo_listen(struct echo *echo)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	echo->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (echo->listen_fd < 0 || bind(echo->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(echo->listen_fd, 512) < 0 ||
	    getsockname(echo->listen_fd, (struct sockaddr *)&address, &length) < 0)
		return -errno;
	printf("%u\n", ntohs(address.sin_port));
	fflush(stdout);
	return 0;
}

int main(void)
{
	static struct echo echo;
	int error;

	error = io_uring_queue_init(256, &echo.uring, 0);
	if (!error)
		error = ctx_ring_adopt(&echo.uring, NULL, &echo.ring);
	if (!error)
		error = ctx_with_cancel(ctx_background(), "clients", &echo.clients);
	if (!error) {
		echo_watch_signals(&echo);
		error = echo_listen(&echo);
	}
	if (error) {
		fprintf(stderr, "echo: %s\n", strerror(-error));
		return EXIT_FAILURE;
	}
	echo_run(&echo);
	ctx_finish(echo.clients);
	ctx_ring_close(echo.ring, CTX_FOREVER, NULL, 0, NULL);
	io_uring_queue_exit(&echo.uring);
	return EXIT_SUCCESS;
}
