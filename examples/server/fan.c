/* SPDX-License-Identifier: MIT */
/*
 * /fan?n=N&ms=M: asks the upstream N times at once and waits for all of the answers.
 *
 * N operations on N sockets are pending under one request. There is no code here to end them: when the
 * context of the request ends, each of them completes, and the sockets are closed with the request.
 */
#include "httpd.h"
#include <inttypes.h>

#define FAN_MAX 10000
#define FAN_MS_MAX UINT64_C(3600000)

enum leg_step {
	LEG_CONNECT,
	LEG_SEND,
	LEG_RECEIVE,
	LEG_END,
};

struct leg {
	struct ctx_op op; /* used for one step after the other: connect, send, receive */
	enum leg_step step;
	int fd;
	char answer[64];
};

struct fan {
	unsigned count;
	unsigned receiving;
	unsigned answered;
	char question[24];
	struct leg legs[];
};

static void fan_release(struct request *request)
{
	struct fan *fan = request->state;

	for (unsigned i = 0; i < fan->count; i++)
		if (fan->legs[i].fd >= 0)
			server_close_fd(request->conn->server, fan->legs[i].fd);
	pool_leave(request);
	free(fan);
}

static void fan_reply(struct request *request)
{
	struct fan *fan = request->state;
	char text[64];

	pool_leave(request);
	snprintf(text, sizeof(text), "%u asked, %u answered\n", fan->count, fan->answered);
	request_reply(request, fan->answered == fan->count ? 200 : 502, text);
}

/* Begins the operation of leg->step. */
static void leg_begin(struct request *request, struct leg *leg)
{
	const struct sockaddr_in *upstream = &request->conn->server->upstream;
	struct fan *fan = request->state;
	struct io_uring_sqe *sqe = request_sqe(request, &leg->op);

	switch (leg->step) {
	case LEG_CONNECT:
		io_uring_prep_connect(sqe, leg->fd, (const struct sockaddr *)upstream, sizeof(*upstream));
		break;
	case LEG_SEND:
		io_uring_prep_send(sqe, leg->fd, fan->question, strlen(fan->question), MSG_NOSIGNAL);
		break;
	default:
		io_uring_prep_recv(sqe, leg->fd, leg->answer, sizeof(leg->answer), 0);
		if (++fan->receiving == fan->count)
			log_event(request->tagged, "waiting", "operations=%u", request->pending);
		break;
	}
}

static void leg_done(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = (struct request *)(uintptr_t)op->data;
	struct leg *leg = container_of(op, struct leg, op);
	struct fan *fan;

	(void)ring;
	if (!request_goes_on(request, completion))
		return;
	fan = request->state;
	if (completion->res < 0 || (leg->step == LEG_RECEIVE && completion->res == 0)) {
		log_event(request->tagged, "leg", "step=%d error=\"%s\"", leg->step,
			  completion->res ? strerror(-completion->res) : "closed");
		leg->step = LEG_END;
	} else if (++leg->step == LEG_END) {
		fan->answered++;
	}
	if (leg->step != LEG_END)
		leg_begin(request, leg);
	else if (!request->pending)
		fan_reply(request);
}

static struct fan *fan_new(unsigned count, uint64_t ms)
{
	struct fan *fan;

	fan = calloc(1, sizeof(*fan) + count * sizeof(fan->legs[0]));
	if (!fan)
		return NULL;
	fan->count = count;
	snprintf(fan->question, sizeof(fan->question), "%" PRIu64 "\n", ms);
	for (unsigned i = 0; i < count; i++)
		fan->legs[i].fd = -1;
	return fan;
}

/* Begins with the first step of each leg, when the request may go to the upstream. */
static void fan_begin(struct request *request)
{
	struct fan *fan = request->state;

	/* All sockets are opened before the first operation, while the request can still be refused. */
	for (unsigned i = 0; i < fan->count; i++) {
		fan->legs[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fan->legs[i].fd < 0) {
			request_reply(request, 503, "No descriptors.\n");
			return;
		}
	}
	for (unsigned i = 0; i < fan->count; i++) {
		ctx_op_init(&fan->legs[i].op, leg_done, (uintptr_t)request);
		leg_begin(request, &fan->legs[i]);
	}
}

void route_fan(struct request *request)
{
	uint64_t count, ms = 1000;
	struct fan *fan;
	int error;

	if (!request->conn->server->has_upstream) {
		request_reply(request, 404, "This server has no upstream.\n");
		return;
	}
	error = query_number(request->url, "ms", FAN_MS_MAX, &ms);
	if (query_number(request->url, "n", FAN_MAX, &count) || !count || (error && error != -ENOENT)) {
		request_reply(request, 400, "/fan needs n=N, at most 10000.\n");
		return;
	}
	fan = fan_new((unsigned)count, ms);
	if (!fan) {
		request_reply(request, 503, "No memory.\n");
		return;
	}
	request->state = fan;
	request->release = fan_release;
	pool_enter(request, fan_begin);
}
