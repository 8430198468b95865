/* SPDX-License-Identifier: MIT */
/*
 * A TCP echo server with plain liburing. adopt_echo.c is this program with a ctx ring round its io_uring.
 * Compare the two programs to see what that takes.
 *
 * SIGTERM ends it. This version exits without ending its connections, since that would take a list of them
 * and a cancel request for each operation. proxy_by_hand.c does it.
 *
 *	plain_echo	prints its port
 */
#include <arpa/inet.h>
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

/* The user_data of each operation points to this. */
struct operation {
	void (*done)(struct echo *echo, struct operation *operation, int res);
};

struct connection {
	struct operation operation;
	int fd;
	bool sending;
	size_t length, sent;
	char data[4096];
};

struct echo {
	struct io_uring uring;
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
	struct io_uring_sqe *sqe = get_sqe(echo);

	if (conn->sending)
		io_uring_prep_send(sqe, conn->fd, conn->data + conn->sent, conn->length - conn->sent,
				   MSG_NOSIGNAL);
	else
		io_uring_prep_recv(sqe, conn->fd, conn->data, sizeof(conn->data), 0);
	io_uring_sqe_set_data(sqe, &conn->operation);
}

static void connection_done(struct echo *echo, struct operation *operation, int res)
{
	struct connection *conn = (struct connection *)operation;

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
	conn->operation.done = connection_done;
	conn->fd = res;
	echo->connections++;
	connection_begin(echo, conn);
	accept_begin(echo);
}

static void signal_done(struct echo *echo, struct operation *operation, int res)
{
	(void)operation;
	(void)res;
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
	while (!echo->stopped) {
		io_uring_submit(&echo->uring);
		if (io_uring_wait_cqe(&echo->uring, &cqe))
			continue;
		operation = io_uring_cqe_get_data(cqe);
		operation->done(echo, operation, cqe->res);
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
	if (!error) {
		echo_watch_signals(&echo);
		error = echo_listen(&echo);
	}
	if (error) {
		fprintf(stderr, "echo: %s\n", strerror(-error));
		return EXIT_FAILURE;
	}
	echo_run(&echo);
	io_uring_queue_exit(&echo.uring);
	return EXIT_SUCCESS;
}
