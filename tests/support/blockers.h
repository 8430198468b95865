/* SPDX-License-Identifier: MIT */
/* Blocking calls of every kind that wait for ever, and threads that sit in one. */
#ifndef TEST_BLOCKERS_H
#define TEST_BLOCKERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "support/rings.h"

/* What one of these calls is made on. */
struct scene {
	int fds[4];
	pid_t child;
	bool reaped; /* by the call */
	uint32_t word;
	struct sockaddr_storage address;
	socklen_t address_size;
	char path[64];
	bool hasty; /* finish does not wait for the call to have begun */
	char buffer[256];
};

struct blocker {
	const char *name;
	bool needs_ring;
	void (*prepare)(struct scene *scene);
	ssize_t (*call)(struct scene *scene, const struct ctx_context *ctx);
	/* Lets the call come to its own end; NULL: not one of these. */
	void (*finish)(struct scene *scene);
	ssize_t result; /* what it then returns; -1: any descriptor */
};

extern const struct blocker blockers[];
extern const unsigned blocker_count;

/* False: this one cannot be had here. */
bool scene_prepare(struct scene *scene, const struct blocker *blocker);
void scene_end(struct scene *scene);

/* A thread that makes the call of blocker. */
struct caller {
	const struct blocker *blocker;
	const struct ctx_context *ctx;
	struct scene scene;
	pthread_t thread;
	_Atomic pid_t tid;
	ssize_t result;
};

void caller_start(struct caller *caller, const struct blocker *blocker, const struct ctx_context *ctx);

/* Waits, bounded, until the thread sleeps. */
void caller_await_sleep(struct caller *caller);
/* The same for any thread of this process. */
void await_sleep(pid_t tid);

/* What the call returned. */
ssize_t caller_end(struct caller *caller);

/* A call that a thread makes on a pair or a pipe, and what came of it. */
struct pair_call {
	struct ctx_context *ctx;
	struct pair pair;
	char buffer[100];
	ssize_t result;
	size_t done; /* bytes, or whether the thread went on behind the call */
	_Atomic pid_t tid;
};

/* A suite's test case for tests of blocking calls: rings of threads are closed before leaks are counted. */
TCase *test_case_calls(Suite *suite, const char *name);
/* The same, skipped where there is no io_uring. */
TCase *test_case_calls_ring(Suite *suite, const char *name);

#endif
