/* SPDX-License-Identifier: MIT */
/*
 * --pool N: at most N requests are at the upstream at a time. The others wait in a queue.
 *
 * What this is for: the upstream can do only so much. When more is asked of it, the queue grows, until
 * clients do not wait for their answers any more. A server that goes on with such requests keeps the upstream
 * busy for nobody, and the clients that are still there wait the longer. Here a request whose client has left
 * or whose deadline has passed gives up its place at the upstream, or leaves the queue, at once.
 *
 * At the upstream a request has operations, which end with its context. In the queue it has none, so there a
 * callback tells that the context has ended.
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
}

static void queue_ended(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct request *request = data;

	(void)callback;
	(void)ctx;
	pool_take_from_queue(&request->conn->server->pool, request);
	request_interrupted(request);
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
	/* The callback runs in a dispatch of the ring, so it never runs at the same time as this thread. */
	if (ctx_callback_add_on_ring(request->tagged, server->ring, &request->queue_end, queue_ended, request,
				     &request->queue_end_id)) {
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
	pool_take_from_queue(pool, next);
	/* It has not run, for then the request would not be in the queue. */
	ctx_callback_stop(next->queue_end_id);
	pool_begin(pool, next);
}
