/* SPDX-License-Identifier: MIT */
/*
 * A context over libpq: a query that ends when the context does. Afterwards the connection can be used for
 * the next query.
 *
 * libpq tells what its socket must become ready for, and ctx_wait_fd() waits for that or for the end of the
 * context. When the context has ended the server still computes. So PQcancel(3) cancels the query there, and
 * what still comes for it is read and thrown away. The functions to copy are await_result() and abandon(). A
 * program can connect under a context in the same way, with the same wait between calls of PQconnectPoll(3).
 *
 *	postgres CONNINFO MS SQL	prints the first value; exits with 1 when the time was over
 */
#include <ctxring.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS 25
#define ATTEMPT_NS UINT64_C(200000000)

/* Waits for the next result of the query, NULL after the last one. The caller clears it. */
static int await_result(PGconn *connection, const struct ctx_context *ctx, PGresult **ret_result)
{
	int ready, unsent;

	/* A long query does not fit the socket, and the server may send before it has read all of it. */
	while ((unsent = PQflush(connection)) > 0 || PQisBusy(connection)) {
		ready = ctx_wait_fd(ctx, PQsocket(connection), unsent > 0 ? POLLIN | POLLOUT : POLLIN,
				    CTX_FOREVER);
		if (ready < 0 && ready != -EINTR)
			return ready;
		if (!PQconsumeInput(connection))
			return -EIO;
	}
	*ret_result = PQgetResult(connection);
	return 0;
}

/* Prints the first value of each result. COPY is an error: libpq has other functions for it. */
static int read_results(PGconn *connection, const struct ctx_context *ctx)
{
	ExecStatusType status;
	PGresult *result;
	int error, failed = 0;

	while (!(error = await_result(connection, ctx, &result)) && result) {
		status = PQresultStatus(result);
		if (PQntuples(result) > 0)
			printf("%s\n", PQgetvalue(result, 0, 0));
		PQclear(result);
		if (status == PGRES_FATAL_ERROR)
			failed = -EIO;
		else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
			return -EIO;
	}
	return error ? error : failed;
}

/*
 * Ends the query here and in the server. true: the connection can be used again. false: only PQfinish is
 * left. PQcancel opens a second connection and blocks until the server has passed the request on, so that it
 * cannot hit the next query. When the host may be gone, do not call this, but connect anew.
 */
static bool abandon(PGconn *connection)
{
	PGcancel *cancel = PQgetCancel(connection);
	int error = -ETIME;
	char reason[256];

	/* A cancel that comes before the server has begun with the query has no effect, so more than one is
	 * sent. */
	for (int i = 0; i < ATTEMPTS && error == -ETIME && PQcancel(cancel, reason, sizeof(reason)); i++) {
		CTX_AUTO_FINISH struct ctx_context *attempt = NULL;

		/* It is usually an error, SQLSTATE 57014, or a result if the query was faster. */
		error = ctx_with_timeout(ctx_background(), ATTEMPT_NS, "abandon", &attempt);
		if (!error)
			error = read_results(connection, attempt);
	}
	PQfreeCancel(cancel);
	/* Within a transaction of the program it would be PQTRANS_INERROR, and the program has to roll back.
	 */
	return PQtransactionStatus(connection) == PQTRANS_IDLE;
}

static int query(PGconn *connection, const struct ctx_context *ctx, const char *sql)
{
	return PQsendQuery(connection, sql) ? read_results(connection, ctx) : -EIO;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	PGconn *connection;
	int error = -EIO;

	if (argc != 4) {
		fprintf(stderr, "Usage: postgres CONNINFO MS SQL\n");
		return 2;
	}
	connection = PQconnectdb(argv[1]);
	if (PQstatus(connection) == CONNECTION_OK && !PQsetnonblocking(connection, 1))
		error = ctx_with_timeout(ctx_background(), strtoul(argv[2], NULL, 10) * UINT64_C(1000000),
					 "query", &ctx);
	if (!error)
		error = query(connection, ctx, argv[3]);
	if (error && error == ctx_err(ctx)) {
		printf("ended: %s\n", strerror(-error));
		if (abandon(connection))
			query(connection, ctx_background(), "SELECT 'the next query'");
	} else if (error) {
		fprintf(stderr, "postgres: %s: %s", strerror(-error), PQerrorMessage(connection));
	}
	PQfinish(connection);
	return !error ? 0 : error == -ETIME ? 1 : 2;
}
