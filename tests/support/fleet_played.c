/* SPDX-License-Identifier: MIT */
#include "support/fleet_played.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

static void greet_only(struct played *played)
{
	played->fd = played_greet(played);
}

void stage_open(struct stage *stage, uint64_t grace_ns, uint64_t timeout_ns)
{
	struct ctxd_options options = {.timeout_ns = SOON};

	*stage = (struct stage){0};
	played_start_fleet(&stage->played, grace_ns, greet_only);
	options.socket = stage->played.socket;
	ck_assert_ok(ctxd_connect(&options, &stage->client));
	if (timeout_ns) /* so small a timeout may be over before the greeting */
		stage->client->options.timeout_ns = timeout_ns;
	ck_assert_ok(pthread_join(stage->played.thread, NULL));
	ck_assert_ok(pipe2(stage->pipe, O_CLOEXEC | O_NONBLOCK));
}

struct ctx_context *stage_join(struct stage *stage, uint64_t grace_ns, unsigned flags)
{
	struct ctx_context *ctx = NULL;

	stage_open(stage, grace_ns, 0);
	ck_assert_ok(ctxd_join_remote(stage->client, FAR_ID, NULL, flags, &ctx));
	say_joined(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, 1, CTX_FOREVER);
	hear(stage, WIRE_ATTACH);
	return ctx;
}

static void close_pipe(struct stage *stage)
{
	for (int i = 0; i < 2; i++) {
		if (stage->pipe[i] >= 0)
			close(stage->pipe[i]);
		stage->pipe[i] = -1;
	}
}

void stage_close(struct stage *stage)
{
	ctxd_close(stage->client);
	close_pipe(stage);
	close(stage->played.fd);
	played_close(&stage->played);
}

void stage_break(struct stage *stage)
{
	close(stage->played.fd);
	stage->played.fd = -1;
}

void stage_greet(struct stage *stage)
{
	stage->played.fd = played_greet(&stage->played);
}

void stage_hang_up(struct stage *stage)
{
	close_pipe(stage);
	ck_assert_ok(pipe2(stage->pipe, O_CLOEXEC | O_NONBLOCK));
}

static void *answer(void *data)
{
	struct stage *stage = data;

	stage->answer(stage);
	return NULL;
}

void stage_answer(struct stage *stage, void (*answer_it)(struct stage *stage))
{
	stage->answer = answer_it;
	ck_assert_ok(pthread_create(&stage->answering, NULL, answer, stage));
}

void stage_answered(struct stage *stage)
{
	ck_assert_ok(pthread_join(stage->answering, NULL));
}

struct wire_message hear(struct stage *stage, enum wire_type type)
{
	return played_get_type(stage->played.fd, type);
}

void say(struct stage *stage, const struct wire_message *message)
{
	played_put(stage->played.fd, message, NULL, 0);
}

struct wire_message remote_joined(uint64_t serial, uint64_t number, uint64_t deadline_ns)
{
	return (struct wire_message){.type = WIRE_JOINED,
				     .serial = serial,
				     .joined = {.id = {PLAYED_EPOCH, number},
						.deadline_ns = deadline_ns,
						.owner_pid = getpid(),
						.flags = WIRE_REMOTE,
						.label = "the owner's"}};
}

void say_joined(struct stage *stage, uint64_t serial, uint64_t number, uint64_t deadline_ns)
{
	struct wire_message joined = remote_joined(serial, number, deadline_ns);

	played_put(stage->played.fd, &joined, stage->pipe, 1);
}

void answer_a_join(struct stage *stage)
{
	say_joined(stage, hear(stage, WIRE_JOIN).serial, 1, CTX_FOREVER);
	hear(stage, WIRE_ATTACH);
}

static struct wire_cause cause_from_far(enum ctx_cause_kind kind, const char *text, const char *host)
{
	struct wire_cause cause = {.error = kind == CTX_CAUSE_DEADLINE ? -ETIME : -ECANCELED,
				   .kind = kind,
				   .expired = kind == CTX_CAUSE_DEADLINE,
				   .pid = 77,
				   .time_ns = 1};

	strcpy(cause.text, text);
	strcpy(cause.host, host);
	return cause;
}

void say_ended(struct stage *stage, uint64_t serial, enum ctx_cause_kind kind)
{
	struct wire_message joined = remote_joined(serial, 1, CTX_FOREVER);

	joined.joined.ended = 1;
	joined.joined.cause = cause_from_far(kind, "before", "far.example");
	say(stage, &joined);
}

void say_result(struct stage *stage, uint64_t serial, int error)
{
	struct wire_message result = {.type = WIRE_RESULT, .serial = serial, .result = {.error = error}};

	say(stage, &result);
}

void say_shared(struct stage *stage, uint64_t serial, uint64_t number, uint64_t secret)
{
	struct wire_message shared = {.type = WIRE_SHARED,
				      .serial = serial,
				      .shared = {.id = {PLAYED_EPOCH, number}, .secret = secret}};

	say(stage, &shared);
}

void say_order(struct stage *stage, uint64_t number)
{
	struct wire_message order = {.type = WIRE_ORDER,
				     .serial = 1000 + number,
				     .order = {.id = {PLAYED_EPOCH, number}, .pid = 1}};

	say(stage, &order);
}

void say_last_words(struct stage *stage, const char *text, enum ctx_cause_kind kind, const char *host)
{
	struct wire_cause cause = cause_from_far(kind, text, host);
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
	size_t size = wire_pack_last_words(&cause, bytes);

	ck_assert_int_eq(write(stage->pipe[1], bytes, size), (ssize_t)size);
	close_pipe(stage);
	ck_assert_ok(pipe2(stage->pipe, O_CLOEXEC | O_NONBLOCK));
}

struct deadline_wait {
	const struct ctx_context *ctx;
	uint64_t deadline_ns;
};

static bool has_deadline(void *data)
{
	const struct deadline_wait *wait = data;

	return ctx_deadline_ns(wait->ctx) == wait->deadline_ns;
}

bool await_deadline(const struct ctx_context *ctx, uint64_t deadline_ns)
{
	return test_until(has_deadline, &(struct deadline_wait){ctx, deadline_ns});
}

struct id_wait {
	struct ctxd_client *client;
	const struct ctx_context *ctx;
	int result;
};

static bool has_global_id(void *data)
{
	const struct id_wait *wait = data;
	char text[CTXD_GLOBAL_ID_TEXT];

	return ctxd_global_id_of(wait->client, wait->ctx, text) == wait->result;
}

bool await_global_id(struct ctxd_client *client, const struct ctx_context *ctx, int result)
{
	return test_until(has_global_id, &(struct id_wait){client, ctx, result});
}
