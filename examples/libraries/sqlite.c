/* SPDX-License-Identifier: MIT */
/*
 * A context over SQLite: a query that computes in this thread, interrupted from the
 * callback of the context.
 *
 * The callback runs on the thread that ends the context; for a deadline on a worker
 * thread of the library. sqlite3_interrupt(3) is one of the few functions that may be
 * called from another thread than the one that uses the connection, on one condition:
 * the connection must not be closed before it returns. ctx_callback_stop_wait() gives
 * exactly that: when it is back, the callback will never run or has returned.
 *
 * One trap: SQLite forgets an interrupt that comes while no statement runs, so one that
 * comes just before sqlite3_step() would be lost, and the callback comes only once. As
 * long as some other statement is open it is kept, and ends also what starts later, as
 * the page of sqlite3_interrupt() promises. Copy count_rows().
 *
 *	sqlite ROWS MS	counts so many rows; exits with 1 when the time was up
 */
#include <ctxring.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows out of nothing: a query that takes as long as it is told to. */
#define QUERY \
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) SELECT count(i) FROM n"
/* Two rows, of which only the first is asked for: it stays open, and locks no table. */
#define GUARD "SELECT 1 UNION ALL SELECT 2"

static void interrupt_query(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	sqlite3_interrupt(data);
}

/* 0 with a row; or the error of the context, or -EIO. */
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

/* In an explicit transaction an interrupted write rolls all of it back. */
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
	/* If the context is done already it runs in this call; the guard keeps that one, too. */
	error = ctx_callback_add(ctx, &callback, interrupt_query, db, &callback_id);
	if (error)
		goto out;
	error = step(db, query, ctx);
	if (!error)
		*ret_count = sqlite3_column_int64(query, 0);
	/* Before db may be closed, and before callback, which is on this stack, goes. */
	ctx_callback_stop_wait(callback_id);
out:
	/* With the last open statement an interrupt that came too late is gone: db is good for the next. */
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
		/* The connection is not hurt: under a context that lives it counts again. */
		if (!count_rows(db, ctx_background(), 3, &count))
			printf("counted %lld rows\n", (long long)count);
	} else {
		fprintf(stderr, "sqlite: %s\n", strerror(-error));
	}
	sqlite3_close(db);
	return !error ? 0 : error == -ETIME ? 1 : 2;
}
