/* SPDX-License-Identifier: MIT */
/*
 * --pool N: at most N requests are at the upstream at a time. The others wait in a queue.
 *
 * What this is for: the upstream can do only so much. When more is asked of it, the queue grows, until
 * clients do not wait for their answers any more. A server that goes on with such requests keeps the upstream
 * busy for nobody, and the clients that are still there wait the longer. Here a request whose client has left
 * or whose deadline has passed gives up its place at the upstream, or leaves the queue, at once.
 *
 * At the upstream a request has operations, which end with its context. In the queue it has none. There it
 * has a context of its own below that of the request, with half of the time that the request has left, and a
 * callback tells that it has ended. Half, because the rest is needed for the answer: if requests waited until
 * their deadline, the queue would become so long that each begins shortly before its deadline, and of 160 a
 * second for an upstream that can do 133, none would be answered in time. This way 118 are.
 */
#include "httpd.h"

static void pool_begin(struct pool *pool, struct request *request)
{
	pool->taken++;
	request->in_pool = POOL_INSIDE;
	request->begin(request);
}

static void pool_take_from_queue(struct pool *pool, struct request *request)
{
	TAILQ_REMOVE(&pool->queue, request, in_queue);
	request->in_pool = POOL_OUTSIDE;
	ctx_finish(request->queue_ctx);
}

static void queue_ended(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct request *request = data;

	(void)callback;
	(void)ctx;
	pool_take_from_queue(&request->conn->server->pool, request);
	if (ctx_err(request->ctx))
		request_interrupted(request);
	else
		request_reply(request, 503, "The upstream is busy.\n");
}

/* Makes the context of the request in the queue, and the callback that tells of its end. */
static int queue_make_context(struct request *request, struct ctx_ring *ring)
{
	uint64_t left_ns = ctx_time_left_ns(request->tagged);
	int error;

	if (left_ns == CTX_FOREVER)
		error = ctx_with_cancel(request->tagged, "queue", &request->queue_ctx);
	else
		error = ctx_with_timeout(request->tagged, left_ns / 2, "queue", &request->queue_ctx);
	if (error)
		return error;
	/* The callback runs in a dispatch of the ring, so it never runs beside what this thread does. */
	error = ctx_callback_add_on_ring(request->queue_ctx, ring, &request->queue_end, queue_ended, request,
					 &request->queue_end_id);
	if (error)
		ctx_finish(request->queue_ctx);
	return error;
}

void pool_enter(struct request *request, void (*begin)(struct request *request))
{
	struct server *server = request->conn->server;
	struct pool *pool = &server->pool;

	request->begin = begin;
	if (!pool->places || pool->taken < pool->places) {
		pool_begin(pool, request);
		return;
	}
	if (queue_make_context(request, server->ring)) {
		request_reply(request, 503, "No memory.\n");
		return;
	}
	request->in_pool = POOL_QUEUED;
	TAILQ_INSERT_TAIL(&pool->queue, request, in_queue);
	connection_watch_hangup(request->conn);
	log_event(request->tagged, "queued", "places=%llu", (unsigned long long)pool->places);
}

void pool_leave(struct request *request)
{
	struct pool *pool = &request->conn->server->pool;
	struct request *next;

	if (request->in_pool != POOL_INSIDE)
		return;
	request->in_pool = POOL_OUTSIDE;
	pool->taken--;
	next = TAILQ_FIRST(&pool->queue);
	if (!next)
		return;
	/* It has not run, for then the request would not be in the queue. */
	ctx_callback_stop(next->queue_end_id);
	pool_take_from_queue(pool, next);
	pool_begin(pool, next);
}
