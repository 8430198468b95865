/* SPDX-License-Identifier: MIT */
/*
 * A client with a thread of the library, and the test that plays its service and its bridge: the test's own
 * thread says and hears the messages, except while a call waits for an answer.
 */
#ifndef TEST_FLEET_PLAYED_H
#define TEST_FLEET_PLAYED_H

#include "support/played.h"

#define SOON (30 * NS_PER_SECOND)
/* A context of another host. */
#define FAR_ID "far.example/9-5-abc"

struct stage {
	struct played played; /* played.fd is the connection */
	struct ctxd_client *client;
	int pipe[2]; /* what the next join gets; the bridge has the write end */
	pthread_t answering;
	void (*answer)(struct stage *stage);
};

/* Opens it with a fleet of that grace. timeout_ns: of calls; 0: SOON. */
void stage_open(struct stage *stage, uint64_t grace_ns, uint64_t timeout_ns);
void stage_close(struct stage *stage);

/* The same, and joins FAR_ID, which is live and has the id 1 here. */
struct ctx_context *stage_join(struct stage *stage, uint64_t grace_ns, unsigned flags);

/* The service ends; and accepts the client again. */
void stage_break(struct stage *stage);
void stage_greet(struct stage *stage);

/* The bridge ends: the pipe hangs up without last words. The next join gets a new one. */
void stage_hang_up(struct stage *stage);

/* Answers a call that waits, in a thread; stage_answered() waits for that. */
void stage_answer(struct stage *stage, void (*answer)(struct stage *stage));
void stage_answered(struct stage *stage);
/* Answers a JOIN with a mirror. */
void answer_a_join(struct stage *stage);

/* What the service hears next, which is of that type. */
struct wire_message hear(struct stage *stage, enum wire_type type);

void say(struct stage *stage, const struct wire_message *message);
struct wire_message remote_joined(uint64_t serial, uint64_t number, uint64_t deadline_ns);
void say_joined(struct stage *stage, uint64_t serial, uint64_t number, uint64_t deadline_ns);
void say_ended(struct stage *stage, uint64_t serial, enum ctx_cause_kind kind);
void say_result(struct stage *stage, uint64_t serial, int error);
void say_shared(struct stage *stage, uint64_t serial, uint64_t number, uint64_t secret);
void say_order(struct stage *stage, uint64_t number);

/* Writes last words into the pipe and closes it. */
void say_last_words(struct stage *stage, const char *text, enum ctx_cause_kind kind, const char *host);

/* Waits, bounded. */
bool await_deadline(const struct ctx_context *ctx, uint64_t deadline_ns);
bool await_global_id(struct ctxd_client *client, const struct ctx_context *ctx, int result);

#endif
