/* SPDX-License-Identifier: MIT */
/*
 * httpd: an HTTP/1.1 server on one ctx ring, in one thread.
 *
 * The contexts are the server's structure:
 *
 *	httpd			ends with SIGTERM or SIGINT
 *	  conn 3		one for each connection; ends when the client hangs up
 *	    GET /fan?n=200	one for each request; ends at the client's deadline
 *
 * Every operation is submitted under the innermost context that it serves, so no list of operations is
 * kept. When a client leaves, the context of its connection ends, and everything that is pending under it,
 * be it one receive or 200 of them on other sockets, is cancelled in one batch.
 *
 *	httpd.c			options, accept, signals
 *	server/log.c		log lines; the ids in them are values of contexts
 *	server/connection.c	bytes to requests (llhttp), hang-up
 *	server/request.c	the life of a request, replies
 *	server/routes.c		/, /slow and /file
 *	server/fan.c		/fan
 *	server/pool.c		--pool: the queue before the upstream
 */
#ifndef HTTPD_H
#define HTTPD_H

#include "../example.h"
#include <llhttp.h>
#include <sys/queue.h>
#include <sys/signalfd.h>

/* Limits: what a client may send. */
#define URL_LENGTH_MAX 2047
#define HEADER_BYTES_MAX 16384
#define BODY_BYTES_MAX (1u << 20)
#define DEADLINE_MS_MAX UINT64_C(3600000)
#define IDLE_TIMEOUT_NS (60 * NSEC_PER_SEC)
#define LINGER_TIMEOUT_NS NSEC_PER_SEC

/* The places at the upstream, and the requests that wait for one, those that came first in front. */
struct pool {
	uint64_t places; /* 0: as many as are wanted */
	uint64_t taken;
	TAILQ_HEAD(, request) queue;
};

struct server {
	struct ctx_ring *ring;
	bool park;      /* idle connections wait outside the kernel */
	bool no_cancel; /* go on with requests whose client has left */
	struct ctx_context *ctx;
	int listen_fd;
	int signal_fd;
	int root_fd;
	bool has_upstream;
	struct sockaddr_in upstream;
	struct pool pool;
	bool accept_stalled; /* no descriptors are left: accept again when a connection has been closed */
	struct ctx_op accept;
	struct ctx_op signal;
	struct signalfd_siginfo siginfo;
	uint64_t connection_count; /* the last id given */
	uint64_t request_count;
};

/* What the parser has found in the request that is being received. */
struct incoming {
	char url[URL_LENGTH_MAX + 1];
	size_t url_length;
	char field[16]; /* name of the current header, shortened: only Host and X-Deadline-Ms are looked at */
	size_t field_length;
	char value[16]; /* value of the current header, shortened */
	size_t value_length;
	size_t header_bytes;
	size_t body_bytes;
	uint64_t deadline_ms; /* 0: none */
	bool host;            /* has a Host header, without which HTTP/1.1 is refused */
	int refusal;          /* HTTP status with which to refuse it, 0 while it is fine */
	bool complete;
};

struct request;

struct connection {
	struct server *server;
	uint64_t id;
	int fd;
	unsigned refs; /* one until connection_close, one for each operation, one for the request */
	bool closed;
	bool lingering; /* its request was refused; waits for the client to close */
	bool hung_up;   /* the client's side is closed */
	bool watched;   /* the operation hangup is in flight */
	struct ctx_context *ctx;
	const struct ctx_context *tagged; /* ctx with the connection's id as a value */
	struct ctx_op receive;
	struct ctx_op hangup;
	llhttp_t parser;
	struct incoming in;
	struct request *request; /* the request that is being answered; the next one waits in buffer */
	size_t filled;           /* bytes in buffer */
	size_t parsed;           /* bytes of these that the parser has had */
	char buffer[16384];
};

struct request {
	struct connection *conn;
	uint64_t id;
	uint64_t begun_ns;
	struct ctx_context *ctx;
	const struct ctx_context *tagged; /* ctx with the request's id as a value: use it for operations */
	unsigned pending;                 /* operations in flight, of the route and of the reply */
	unsigned by_deadline;             /* operations that its deadline ended */
	int status;
	bool keep_alive;
	bool head;       /* the method is HEAD: the reply has no body */
	bool replying;   /* a part of the reply has been sent, so it cannot become another one */
	bool refused;    /* it was not understood: what the client still sends is not parsed */
	const char *url; /* points into conn->in, which stays as it is while the request runs */
	/* What the route needs, and the function that frees it. */
	void *state;
	void (*release)(struct request *request);
	/* In the pool. */
	enum { POOL_OUTSIDE, POOL_QUEUED, POOL_INSIDE } in_pool;
	TAILQ_ENTRY(request) in_queue;
	struct ctx_context *queue_ctx;
	struct ctx_callback queue_end; /* runs when queue_ctx ends */
	uint64_t queue_end_id;
	void (*begin)(struct request *request);
	/* The reply that is being sent. */
	struct ctx_op send;
	const struct ctx_context *send_ctx;
	void (*sent)(struct request *request);
	const char *send_data;
	size_t send_left;
	char *reply;
};

/* httpd.c */
void server_accept(struct server *server);

/* server/log.c */
extern const struct ctx_key connection_key;
extern const struct ctx_key request_key;
extern bool log_quiet;
/* Makes a context with number under key. The value is the number itself, so nothing has to be freed. */
int tag_context(const struct ctx_context *ctx, const struct ctx_key *key, uint64_t number,
		const struct ctx_context **ret_tagged);
/* Prints a line on stderr, with the ids that ctx has as values. */
void log_event(const struct ctx_context *ctx, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Keeps the ids of a context that is about to end, so that its batch can be logged with them. */
void log_batch_of(const struct ctx_context *ended, const struct request *request);
void log_batch(struct ctx_ring *ring, const struct ctx_batch *batch, void *data);

/* server/connection.c */
void server_close_fd(struct server *server, int fd);
void connection_open(struct server *server, int fd);
void connection_close(struct connection *conn, const char *why);
void connection_linger(struct connection *conn);
void connection_next(struct connection *conn);
/* Watches for the client to leave, unless that is done already. */
void connection_watch_hangup(struct connection *conn);
struct connection *connection_ref(struct connection *conn);
void connection_unref(struct connection *conn);

/* server/request.c */
void request_begin(struct connection *conn, int refusal, const char *method, bool keep_alive);
/* Returns an SQE for an operation of the route. */
struct io_uring_sqe *request_sqe(struct request *request, struct ctx_op *op);
/*
 * Call it with each final completion of such an operation. true: go on. false: the request has ended
 * and may be freed already: do not use it.
 */
bool request_goes_on(struct request *request, const struct ctx_completion *completion);
/* Call it when the context of the request has ended and no operation of it is in flight. */
void request_interrupted(struct request *request);
/* Sends data under the request, then calls sent. Nothing else of the request may be in flight. */
void request_send(struct request *request, const void *data, size_t length,
		  void (*sent)(struct request *request));
/* Sends the whole reply and ends the request. */
void request_reply(struct request *request, int status, const char *body);
/* Sends the head of a reply of length bytes. They follow by request_send, then request_finish. */
void request_reply_head(struct request *request, int status, const char *type, uint64_t length,
			void (*sent)(struct request *request));
void request_finish(struct request *request);
/* For a reply that cannot be completed: closes the connection, which is all that can tell the client. */
void request_abort(struct request *request, const char *why);

/* server/routes.c */
void route_request(struct request *request);
/* Reads a query parameter and decodes its value. Returns 0, -ENOENT or -EINVAL. */
int query_text(const char *url, const char *name, char *value, size_t size);
int query_number(const char *url, const char *name, uint64_t max, uint64_t *ret_number);

/* server/fan.c */
void route_fan(struct request *request);

/* server/pool.c */
/* Calls begin as soon as there is a place for the request, which may be at once. */
void pool_enter(struct request *request, void (*begin)(struct request *request));
/* Gives the place of the request to the next one. It may be called again, and without a place. */
void pool_leave(struct request *request);

#endif
