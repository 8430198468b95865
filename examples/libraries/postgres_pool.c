/* SPDX-License-Identifier: MIT */
/*
 * A pool of libpq connections on a ring. A client sends a line of SQL and gets a line: "ok" and the first
 * value, or "error" and why. When it leaves, or when its time is over, its query ends in PostgreSQL, too, and
 * the connection goes to the client that has waited longest.
 *
 * libpq tells what its socket must become ready for, and a poll operation of the ring waits for that under
 * the context of the client. When the context ends, so does the poll, and the query is cancelled by SELECT
 * pg_cancel_backend(pid) over one more connection. That takes 0.1 ms. PQcancel(3) takes 4 ms and more: it
 * connects anew, and PostgreSQL forks a process for each connection. pg_cancel_backend() may be called for
 * connections of the same user.
 *
 * A cancel is a signal to the process that serves a connection. It ends whatever query that process has when
 * the signal comes. Two rules follow:
 *
 *   - A connection is free only when the result of its query has been read and its cancel has returned. A
 *     query may end just before it is cancelled. If the connection were given away before the cancel has
 *     returned, the cancel would end the query of another client. tests/system_postgres_pool.sh counts such
 *     hits: none with the rule, some without.
 *   - The cancel is repeated after 20 ms, as long as there is no result: PostgreSQL ignores one that comes
 *     before it has begun with the query.
 *
 *	postgres_pool [--pool N] [--port N] [--port-file FILE] [--deadline MS] [--no-cancel] CONNINFO
 *
 * --no-cancel goes on with queries of clients that have left, to compare. SIGTERM and SIGINT end the program;
 * the queries that still run are cancelled, for which there are 5 seconds.
 */
#include "../example.h"
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <sys/queue.h>

#define CANCEL_AGAIN_NS (20 * NSEC_PER_MSEC)
#define PLACES_MAX 64
#define SQL_LENGTH_MAX 1023

/* A connection to PostgreSQL, on which at most one query is running. */
struct connection {
	PGconn *pg;
	struct ctx_op poll;
	char answer[256]; /* the first value of the result, or the error */
};

struct place {
	struct pool *pool;
	struct connection connection;
	struct client *client; /* NULL: free, or the client has left and the query is to be cancelled */
	bool reading;	       /* the result has not been read to its end */
	bool cancelling;       /* a cancel has been asked for and has not returned */
	TAILQ_ENTRY(place) in_free;
	TAILQ_ENTRY(place) in_cancels;
};

struct pool {
	struct ctx_ring *ring;
	struct ctx_context *ctx;	/* of the clients; ends at SIGTERM */
	struct ctx_context *places_ctx; /* of what goes on without a client; ends 5 s later */
	int listen_fd;
	struct ctx_op accept;
	bool no_cancel;
	uint64_t deadline_ms; /* 0: none */
	uint64_t place_count;
	struct place places[PLACES_MAX];
	TAILQ_HEAD(, place) free;
	TAILQ_HEAD(, client) queue;
	/* The connection for cancels makes one after the other, the first in the list. */
	struct connection canceller;
	bool canceller_busy;
	TAILQ_HEAD(, place) cancels;
	uint64_t query_count, cancel_count;
};

struct client {
	struct pool *pool;
	int fd;
	unsigned refs; /* one for its callback, one for each operation, one in the queue or at a place */
	enum {
		CLIENT_ASKS,
		CLIENT_QUEUED,
		CLIENT_SERVED,
		CLIENT_ANSWERED
	} step;
	struct ctx_context *ctx; /* ends when the client leaves, at the deadline, or when it was answered */
	struct ctx_callback ended;
	TAILQ_ENTRY(client) in_queue;
	struct ctx_op op; /* for one step after the other: receive, send */
	char text[SQL_LENGTH_MAX + 1];
};

static void pool_serve(struct pool *pool);

/* ------------------------------------------------------------------------- */
/* Connections to PostgreSQL                                                 */

static bool connection_open(struct connection *connection, const char *conninfo, ctx_op_fn ready)
{
	ctx_op_init(&connection->poll, ready, 0);
	connection->pg = PQconnectdb(conninfo);
	if (PQstatus(connection->pg) == CONNECTION_OK && !PQsetnonblocking(connection->pg, 1))
		return true;
	fprintf(stderr, "postgres_pool: %s", PQerrorMessage(connection->pg));
	return false;
}

static void connection_keep_answer(struct connection *connection, const PGresult *result)
{
	char *answer = connection->answer;
	size_t size = sizeof(connection->answer);

	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		snprintf(answer, size, "error %.200s\n", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	else
		snprintf(answer, size, "ok %.200s\n", PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
}

static bool connection_ask(struct connection *connection, const char *sql)
{
	strcpy(connection->answer, "error connection lost\n");
	return PQsendQuery(connection->pg, sql);
}

/*
 * Ends a COPY: there is no way for a client to send rows, and no use for those that come. Until a COPY has
 * ended libpq gives the same result again and again. Returns false when rows have to be waited for.
 */
static bool connection_end_copy(struct connection *connection, ExecStatusType status)
{
	int length = -1;
	char *row;

	if (status == PGRES_COPY_IN)
		return PQputCopyEnd(connection->pg, "clients send no rows") == 1;
	while (status == PGRES_COPY_OUT && (length = PQgetCopyData(connection->pg, &row, 1)) > 0)
		PQfreemem(row);
	return length < 0;
}

/* Reads what there is of the result. Returns 0 when that was all of it, else what to wait for. */
static short connection_read(struct connection *connection)
{
	ExecStatusType status;
	PGresult *result;
	int unsent;

	while (!(unsent = PQflush(connection->pg)) && !PQisBusy(connection->pg)) {
		result = PQgetResult(connection->pg);
		if (!result)
			return 0;
		connection_keep_answer(connection, result);
		status = PQresultStatus(result);
		PQclear(result);
		if (!connection_end_copy(connection, status))
			break;
	}
	if (PQstatus(connection->pg) != CONNECTION_OK)
		return 0;
	return unsent > 0 ? POLLIN | POLLOUT : POLLIN;
}

static void connection_wait(struct pool *pool, struct connection *connection, const struct ctx_context *ctx,
			    short events, uint64_t timeout_ns)
{
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(pool->ring, ctx, &connection->poll);

	io_uring_prep_poll_add(sqe, PQsocket(connection->pg), (unsigned)events);
	ctx_op_set_timeout(&connection->poll, timeout_ns);
}

/* A pool that goes on after that would connect anew. */
static bool connection_is_lost(struct pool *pool, struct connection *connection)
{
	if (PQstatus(connection->pg) == CONNECTION_OK)
		return false;
	ctx_cancel_cause(pool->ctx, -EPIPE, "connection to PostgreSQL lost");
	ctx_cancel(pool->places_ctx);
	return true;
}

/* ------------------------------------------------------------------------- */
/* Clients                                                                   */

static void client_unref(struct client *client)
{
	if (--client->refs)
		return;
	close(client->fd);
	ctx_unref(client->ctx);
	free(client);
}

static struct io_uring_sqe *client_sqe(struct client *client, const struct ctx_context *ctx, ctx_op_fn done)
{
	client->refs++;
	ctx_op_init(&client->op, done, 0);
	return ctx_ring_get_sqe(client->pool->ring, ctx, &client->op);
}

static void answer_sent(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct client *client = container_of(op, struct client, op);

	(void)ring;
	(void)completion;
	ctx_cancel(client->ctx);
	client_unref(client);
}

/* Not under the context of the client, which may have ended by its deadline. */
static void client_answer(struct client *client, const char *answer)
{
	struct io_uring_sqe *sqe = client_sqe(client, client->pool->ctx, answer_sent);

	client->step = CLIENT_ANSWERED;
	snprintf(client->text, sizeof(client->text), "%s", answer);
	io_uring_prep_send(sqe, client->fd, client->text, strlen(client->text), MSG_NOSIGNAL);
}

/* If it is at a place, the poll there ends as well, and place_ready() sees to the query. */
static void client_ended(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct client *client = data;

	(void)callback;
	if (client->step == CLIENT_QUEUED) {
		TAILQ_REMOVE(&client->pool->queue, client, in_queue);
		client->refs--; /* not the last one: that of the callback is left */
	}
	/* The operation of a client that still asks is in flight: sql_received() answers it. */
	if ((client->step == CLIENT_QUEUED || client->step == CLIENT_SERVED) && ctx_err(ctx) == -ETIME)
		client_answer(client, "error deadline\n");
	client->step = CLIENT_ANSWERED;
	client_unref(client);
}

static void sql_received(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct client *client = container_of(op, struct client, op);
	struct pool *pool = client->pool;

	(void)ring;
	if (ctx_err(client->ctx) == -ETIME) {
		client_answer(client, "error deadline\n");
	} else if (completion->res <= 0 || ctx_err(client->ctx)) {
		ctx_cancel(client->ctx);
	} else {
		client->text[completion->res] = '\0';
		client->step = CLIENT_QUEUED;
		client->refs++;
		TAILQ_INSERT_TAIL(&pool->queue, client, in_queue);
		pool_serve(pool);
	}
	client_unref(client);
}

static int client_make_context(struct client *client)
{
	struct pool *pool = client->pool;
	int error;

	if (pool->no_cancel)
		error = ctx_with_cancel(pool->ctx, "client", &client->ctx);
	else
		error = ctx_with_hangup(pool->ctx, pool->ring, client->fd, 0, "client", &client->ctx);
	if (!error && pool->deadline_ms)
		error = ctx_set_deadline(client->ctx, now_ns() + pool->deadline_ms * NSEC_PER_MSEC);
	if (!error)
		error = ctx_callback_add_on_ring(client->ctx, pool->ring, &client->ended, client_ended,
						 client, NULL);
	return error;
}

static void client_open(struct pool *pool, int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	struct io_uring_sqe *sqe;

	if (!client) {
		close(fd);
		return;
	}
	*client = (struct client){.pool = pool, .fd = fd, .refs = 1};
	if (client_make_context(client)) {
		client_unref(client);
		return;
	}
	/* The line is so short that it comes in one piece. */
	sqe = client_sqe(client, client->ctx, sql_received);
	io_uring_prep_recv(sqe, fd, client->text, SQL_LENGTH_MAX, 0);
}

static void accept_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct pool *pool = container_of(op, struct pool, accept);

	(void)ring;
	if (completion->res >= 0)
		client_open(pool, completion->res);
	if (!completion->more && !ctx_err(pool->ctx))
		ctx_cancel_cause(pool->ctx, completion->res, "accept: %s", strerror(-completion->res));
}

/* ------------------------------------------------------------------------- */
/* Places                                                                    */

static void cancels_begin(struct pool *pool);

/* The first rule: a place is free when its result has been read and its cancel has returned. */
static void place_check_free(struct place *place)
{
	if (place->reading || place->cancelling)
		return;
	TAILQ_INSERT_TAIL(&place->pool->free, place, in_free);
	pool_serve(place->pool);
}

static void place_cancel(struct place *place)
{
	if (place->cancelling)
		return;
	place->cancelling = true;
	TAILQ_INSERT_TAIL(&place->pool->cancels, place, in_cancels);
	cancels_begin(place->pool);
}

/* Reads on, or waits for more: under the context of the client as long as there is one. */
static void place_go_on(struct place *place)
{
	struct pool *pool = place->pool;
	struct client *client = place->client;
	short events = connection_read(&place->connection);

	if (connection_is_lost(pool, &place->connection))
		events = 0;
	if (!events) {
		place->reading = false;
		place->client = NULL;
		if (client && client->step == CLIENT_SERVED)
			client_answer(client, place->connection.answer);
		place_check_free(place);
	} else if (client && !ctx_err(client->ctx)) {
		connection_wait(pool, &place->connection, client->ctx, events, CTX_FOREVER);
		return;
	} else {
		place->client = NULL;
		connection_wait(pool, &place->connection, pool->places_ctx, events, CANCEL_AGAIN_NS);
		if (client)
			place_cancel(place);
	}
	if (client)
		client_unref(client);
}

static void place_ready(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct place *place = container_of(op, struct place, connection.poll);

	(void)ring;
	if (ctx_err(place->pool->places_ctx))
		return;
	if (completion->res > 0)
		PQconsumeInput(place->connection.pg);
	/* The second rule. */
	if (completion->end == CTX_OP_TIMEOUT)
		place_cancel(place);
	place_go_on(place);
}

/* Gives free places to the clients that have waited longest. */
static void pool_serve(struct pool *pool)
{
	uint64_t deadline_ns = pool->deadline_ms * NSEC_PER_MSEC;
	struct client *client;
	struct place *place;

	while ((place = TAILQ_FIRST(&pool->free)) && (client = TAILQ_FIRST(&pool->queue))) {
		TAILQ_REMOVE(&pool->queue, client, in_queue);
		/* A query that begins late does not end in time: examples/server/pool.c has the figures. */
		if (deadline_ns && ctx_time_left_ns(client->ctx) < deadline_ns / 2) {
			if (client->step == CLIENT_QUEUED)
				client_answer(client, "error busy\n");
			client_unref(client);
			continue;
		}
		TAILQ_REMOVE(&pool->free, place, in_free);
		client->step = CLIENT_SERVED;
		place->client = client;
		place->reading = true;
		pool->query_count++;
		connection_ask(&place->connection, client->text);
		place_go_on(place);
	}
}

/* ------------------------------------------------------------------------- */
/* Cancels                                                                   */

/* Reads what PostgreSQL says to the cancel that was asked for. The signal has been sent when it says so. */
static void canceller_go_on(struct pool *pool)
{
	struct place *place = TAILQ_FIRST(&pool->cancels);
	short events = connection_read(&pool->canceller);

	if (connection_is_lost(pool, &pool->canceller))
		return;
	if (events) {
		connection_wait(pool, &pool->canceller, pool->places_ctx, events, CTX_FOREVER);
		return;
	}
	TAILQ_REMOVE(&pool->cancels, place, in_cancels);
	pool->canceller_busy = false;
	place->cancelling = false;
	cancels_begin(pool);
	place_check_free(place);
}

static void canceller_ready(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct pool *pool = container_of(op, struct pool, canceller.poll);

	(void)ring;
	if (completion->res <= 0)
		return;
	PQconsumeInput(pool->canceller.pg);
	canceller_go_on(pool);
}

static void cancels_begin(struct pool *pool)
{
	struct place *place = TAILQ_FIRST(&pool->cancels);
	char sql[64];

	if (pool->canceller_busy || !place)
		return;
	pool->canceller_busy = true;
	pool->cancel_count++;
	snprintf(sql, sizeof(sql), "SELECT pg_cancel_backend(%d)", PQbackendPID(place->connection.pg));
	connection_ask(&pool->canceller, sql);
	canceller_go_on(pool);
}

/* ------------------------------------------------------------------------- */
/* The program                                                               */

static int pool_open(struct pool *pool, const char *conninfo)
{
	struct io_uring_sqe *sqe;
	sigset_t signals;
	int error;

	TAILQ_INIT(&pool->free);
	TAILQ_INIT(&pool->queue);
	TAILQ_INIT(&pool->cancels);
	pool->ring = open_ring(1024, NULL);
	if (!pool->ring)
		return -ENOSYS;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	error = ctx_with_signals(ctx_background(), pool->ring, &signals, "pool", &pool->ctx);
	if (!error)
		error = ctx_with_cancel(ctx_background(), "places", &pool->places_ctx);
	if (error)
		return error;
	if (!connection_open(&pool->canceller, conninfo, canceller_ready))
		return -ENOTCONN;
	for (uint64_t i = 0; i < pool->place_count; i++) {
		struct place *place = &pool->places[i];

		place->pool = pool;
		if (!connection_open(&place->connection, conninfo, place_ready))
			return -ENOTCONN;
		TAILQ_INSERT_TAIL(&pool->free, place, in_free);
	}
	ctx_op_init(&pool->accept, accept_done, 0);
	sqe = ctx_ring_get_sqe(pool->ring, pool->ctx, &pool->accept);
	io_uring_prep_multishot_accept(sqe, pool->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	ctx_op_set_flags(&pool->accept, CTX_OP_CLOSE_FD);
	return 0;
}

static int pool_run(struct pool *pool)
{
	int error = ctx_ring_run(pool->ring, pool->ctx);

	/* The queries of the clients are cancelled now, and the ring runs until they have ended. */
	if (!error)
		error = ctx_set_deadline(pool->places_ctx, now_ns() + 5 * NSEC_PER_SEC);
	if (!error)
		error = ctx_ring_run(pool->ring, NULL);
	printf("end: queries=%" PRIu64 " cancels=%" PRIu64 "\n", pool->query_count, pool->cancel_count);
	return error;
}

static void pool_close(struct pool *pool)
{
	ctx_finish(pool->ctx);
	ctx_finish(pool->places_ctx);
	ctx_ring_close(pool->ring, 5 * NSEC_PER_SEC, NULL, 0, NULL);
	for (uint64_t i = 0; i < pool->place_count; i++)
		PQfinish(pool->places[i].connection.pg);
	PQfinish(pool->canceller.pg);
	close(pool->listen_fd);
}

struct options {
	uint64_t port;
	const char *port_file;
};

static bool parse_options(int argc, char **argv, struct pool *pool, struct options *options)
{
	static const struct option names[] = {
		{"pool", required_argument, NULL, 'n'},	     {"port", required_argument, NULL, 'p'},
		{"port-file", required_argument, NULL, 'f'}, {"deadline", required_argument, NULL, 'd'},
		{"no-cancel", no_argument, NULL, 'g'},	     {NULL, 0, NULL, 0},
	};
	int option;
	bool good = true;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'n')
			good = good && parse_number(optarg, PLACES_MAX, &pool->place_count);
		else if (option == 'p')
			good = good && parse_number(optarg, 65535, &options->port);
		else if (option == 'd')
			good = good && parse_number(optarg, 3600000, &pool->deadline_ms);
		else if (option == 'f')
			options->port_file = optarg;
		else if (option == 'g')
			pool->no_cancel = true;
		else
			good = false;
	}
	return good && pool->place_count && optind == argc - 1;
}

int main(int argc, char **argv)
{
	static struct pool pool = {.place_count = 4, .listen_fd = -1};
	struct options options = {0};
	uint16_t port;
	int error;

	if (!parse_options(argc, argv, &pool, &options)) {
		fprintf(stderr, "Usage: postgres_pool [--pool N] [--port N] [--port-file FILE] "
				"[--deadline MS] [--no-cancel] CONNINFO\n");
		return 2;
	}
	raise_file_limit();
	port = (uint16_t)options.port;
	pool.listen_fd = listen_on_loopback(&port);
	error = pool.listen_fd < 0 ? pool.listen_fd : pool_open(&pool, argv[optind]);
	if (!error && options.port_file)
		error = write_port_file(options.port_file, port);
	if (!error) {
		printf("127.0.0.1:%u\n", port);
		fflush(stdout);
		error = pool_run(&pool);
	}
	if (error)
		fprintf(stderr, "postgres_pool: %s\n", strerror(-error));
	pool_close(&pool);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
