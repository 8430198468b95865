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
 * Every operation is submitted under the innermost context that it serves, so
 * nobody keeps a list of what to undo: a client that goes away ends its
 * connection's context, and whatever pends under it, be it one receive or 200
 * of them on other sockets, is cancelled in one batch.
 *
 *	httpd.c			options, accept, signals
 *	server/log.c		log lines; the ids in them are values of contexts
 *	server/connection.c	bytes to requests (llhttp), hang-up
 *	server/request.c	the life of a request, replies
 *	server/routes.c		/, /slow and /file
 *	server/fan.c		/fan
 */
#ifndef HTTPD_H
#define HTTPD_H

#include "../example.h"
#include <llhttp.h>
#include <sys/signalfd.h>

/* Limits: what a client may send. */
#define URL_LENGTH_MAX 2047
#define HEADER_BYTES_MAX 16384
#define BODY_BYTES_MAX (1u << 20)
#define DEADLINE_MS_MAX UINT64_C(3600000)
#define IDLE_TIMEOUT_NS (60 * NSEC_PER_SEC)
#define LINGER_TIMEOUT_NS NSEC_PER_SEC

struct server {
	struct ctx_ring *ring;
	bool park; /* idle connections wait outside the kernel */
	struct ctx_context *ctx;
	int listen_fd;
	int signal_fd;
	int root_fd;
	bool has_upstream;
	struct sockaddr_in upstream;
	bool accept_stalled; /* no descriptors: accept again when a connection is gone */
	struct ctx_op accept;
	struct ctx_op signal;
	struct signalfd_siginfo siginfo;
	uint64_t connection_count; /* the last id given */
	uint64_t request_count;
};

/* What the parser has said of the request that is coming in. */
struct incoming {
	char url[URL_LENGTH_MAX + 1];
	size_t url_length;
	char field[16]; /* name of the current header, cut: only Host and X-Deadline-Ms matter */
	size_t field_length;
	char value[16]; /* its value, if it is that one */
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
	unsigned refs; /* one until it is closed, one for each of its operations, one for its request */
	bool closed;
	bool lingering; /* refused: only waits for the client to close */
	bool hung_up;   /* the client's side is closed */
	bool watched;   /* hangup is in the kernel */
	struct ctx_context *ctx;
	const struct ctx_context *tagged; /* ctx with the connection's id as a value */
	struct ctx_op receive;
	struct ctx_op hangup;
	llhttp_t parser;
	struct incoming in;
	struct request *request; /* the one that is answered now; the next waits in buffer */
	size_t filled;           /* bytes in buffer */
	size_t parsed;           /* of these given to the parser */
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
	bool head;       /* HEAD: no body in the reply */
	bool replying;   /* a part of the reply has gone out: it cannot become another one */
	bool refused;    /* not understood: what the client still sends is not read as requests */
	const char *url; /* in conn->in, which stays while the request runs */
	/* What the route needs, and how to give it back. */
	void *state;
	void (*release)(struct request *request);
	/* The reply on its way. */
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
/* Puts number under key into a context: the value is the number itself, so nothing has to be freed. */
int tag_context(const struct ctx_context *ctx, const struct ctx_key *key, uint64_t number,
		const struct ctx_context **ret_tagged);
/* One line on stderr, with the ids that ctx carries. */
void log_event(const struct ctx_context *ctx, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Remembers whose context it is, so that the batch which ends it can be logged with its ids. */
void log_batch_of(const struct ctx_context *ended, const struct request *request);
void log_batch(struct ctx_ring *ring, const struct ctx_batch *batch, void *data);

/* server/connection.c */
void server_close_fd(struct server *server, int fd);
void connection_open(struct server *server, int fd);
void connection_close(struct connection *conn, const char *why);
void connection_linger(struct connection *conn);
void connection_next(struct connection *conn);
/* Ends the connection when the client leaves. Nothing where that is watched for already. */
void connection_watch_hangup(struct connection *conn);
struct connection *connection_ref(struct connection *conn);
void connection_unref(struct connection *conn);

/* server/request.c */
void request_begin(struct connection *conn, int refusal, const char *method, bool keep_alive);
/* The SQE of an operation of the request's route. */
struct io_uring_sqe *request_sqe(struct request *request, struct ctx_op *op);
/*
 * To be called with each final completion of such an operation. true: go on. false: the request
 * was ended meanwhile and may be freed already; begin nothing and do not touch it.
 */
bool request_goes_on(struct request *request, const struct ctx_completion *completion);
/* Sends data under the request, then calls sent. Nothing else of the request may be in flight. */
void request_send(struct request *request, const void *data, size_t length,
		  void (*sent)(struct request *request));
/* The whole reply at once; ends the request. */
void request_reply(struct request *request, int status, const char *body);
/* The head of a reply of length bytes, which then go by request_send; request_finish ends it. */
void request_reply_head(struct request *request, int status, const char *type, uint64_t length,
			void (*sent)(struct request *request));
void request_finish(struct request *request);
/* The reply cannot be completed: closes the connection, the only way to tell the client now. */
void request_abort(struct request *request, const char *why);

/* server/routes.c */
void route_request(struct request *request);
/* The value of a query parameter, percent-decoded. 0, -ENOENT, or -EINVAL. */
int query_text(const char *url, const char *name, char *value, size_t size);
int query_number(const char *url, const char *name, uint64_t max, uint64_t *ret_number);

/* server/fan.c */
void route_fan(struct request *request);

#endif
