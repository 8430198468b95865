/* SPDX-License-Identifier: MIT */
/*
 * A context over SQLite: a query that computes in this thread is interrupted from a callback of the context.
 *
 * The callback runs on the thread that ends the context; for a deadline that is a worker thread of ctxring.
 * sqlite3_interrupt(3) may be called from another thread than the one that uses the connection, as long as
 * the connection is not closed before it returns. ctx_callback_stop_wait() makes sure of that: when it has
 * returned, the callback has returned or will never run.
 *
 * There is one trap. SQLite forgets an interrupt that comes while no statement runs. One that comes just
 * before sqlite3_step() would be lost, and the callback comes only once. While another statement is open the
 * interrupt is kept and also ends statements that start later, as the page of sqlite3_interrupt() promises.
 * The function to copy is count_rows().
 *
 *	sqlite ROWS MS	counts ROWS rows; exits with 1 when the time was over
 */
#include <ctxring.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A query without a table that takes as long as the number of rows says. */
#define QUERY \
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) SELECT count(i) FROM n"
/* A statement of two rows, of which only the first is read: it stays open, and locks no table. */
#define GUARD "SELECT 1 UNION ALL SELECT 2"

static void interrupt_query(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	sqlite3_interrupt(data);
}

/* Returns 0 when there is a row, or the error of the context, or -EIO. */
static int step(sqlite3 *db, sqlite3_stmt *statement, const struct ctx_context *ctx)
{
	int code = sqlite3_step(statement);

	if (code == SQLITE_ROW)
		return 0;
	if (code == SQLITE_INTERRUPT && ctx_err(ctx))
		return ctx_err(ctx);
	fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
	return -EIO;
}

/* An interrupted write in an explicit transaction rolls the whole transaction back. */
static int count_rows(sqlite3 *db, const struct ctx_context *ctx, sqlite3_int64 rows,
		      sqlite3_int64 *ret_count)
{
	struct ctx_callback callback = {0};
	uint64_t callback_id;
	sqlite3_stmt *guard = NULL, *query = NULL;
	int error = -EIO;

	if (sqlite3_prepare_v2(db, GUARD, -1, &guard, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, QUERY, -1, &query, NULL) != SQLITE_OK ||
	    sqlite3_bind_int64(query, 1, rows) != SQLITE_OK || sqlite3_step(guard) != SQLITE_ROW) {
		fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
		goto out;
	}
	/* If the context is done already, the callback runs in this call; the open statement keeps that
	 * interrupt, too. */
	error = ctx_callback_add(ctx, &callback, interrupt_query, db, &callback_id);
	if (error)
		goto out;
	error = step(db, query, ctx);
	if (!error)
		*ret_count = sqlite3_column_int64(query, 0);
	/* Before db may be closed, and before this function, which has callback on its stack, returns. */
	ctx_callback_stop_wait(callback_id);
out:
	/* When the last open statement ends, SQLite forgets an interrupt that came too late, and db can be
	 * used again. */
	sqlite3_finalize(query);
	sqlite3_finalize(guard);
	return error;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	sqlite3_int64 count = 0;
	struct ctx_cause cause;
	sqlite3 *db = NULL;
	int error;

	if (argc != 3) {
		fprintf(stderr, "Usage: sqlite ROWS MS\n");
		return 2;
	}
	error = sqlite3_open(":memory:", &db) == SQLITE_OK ? 0 : -ENOMEM;
	if (!error)
		error = ctx_with_timeout(ctx_background(), strtoul(argv[2], NULL, 10) * UINT64_C(1000000),
					 "count", &ctx);
	if (!error) {
		ctx_set_deadline_cause(ctx, 0, "not counted within %s ms", argv[2]);
		error = count_rows(db, ctx, strtoll(argv[1], NULL, 10), &count);
	}
	if (!error) {
		printf("counted %lld rows\n", (long long)count);
	} else if (error == ctx_err(ctx)) {
		ctx_get_cause(ctx, &cause);
		printf("ended: %s (%s)\n", strerror(-error), cause.text);
		/* The connection still works: under a context that has not ended it counts again. */
		if (!count_rows(db, ctx_background(), 3, &count))
			printf("counted %lld rows\n", (long long)count);
	} else {
		fprintf(stderr, "sqlite: %s\n", strerror(-error));
	}
	sqlite3_close(db);
	return !error ? 0 : error == -ETIME ? 1 : 2;
}
