/* SPDX-License-Identifier: MIT */
/*
 * A service that the test plays, message by message, in a thread of its own: what the real one does only now
 * and then. Its clients may dispatch by themselves, so that what comes together is handled together.
 */
#ifndef TEST_PLAYED_H
#define TEST_PLAYED_H

#include <pthread.h>

#include "support/contexts.h"
#include "wire.h"

/* The epoch that it welcomes with. */
#define PLAYED_EPOCH 7

struct played {
	char directory[32], socket[64];
	int listener;
	void (*play)(struct played *played);
	pthread_t thread;
	struct wire_terms terms; /* what it tells of the fleet; none by default */
	/* For the scripts. */
	int fd; /* the connection */
	int pipes[2][2], pidfds[2];
	int obeyed;
	enum wire_type after;
};

/* Starts the thread, which runs script. */
void played_start(struct played *played, void (*script)(struct played *played));
/* The same, with a fleet whose host here is called "here" and whose grace is grace_ns. */
void played_start_fleet(struct played *played, uint64_t grace_ns, void (*script)(struct played *played));

/* Waits for the end of the script, and closes everything; played_close() only closes. */
void played_end(struct played *played);
void played_close(struct played *played);

/* Accepts a connection and greets. Returns its socket. */
int played_greet(struct played *played);

/* Sends a message, and receives the next one; descriptors that come along are closed. */
void played_put(int fd, const struct wire_message *message, const int *fds, unsigned count);
struct wire_message played_get(int fd);
struct wire_message played_get_type(int fd, enum wire_type type);

struct ctxd_client *played_client(const struct played *played, unsigned flags,
				  void (*event)(struct ctxd_client *, const struct ctxd_event *, void *),
				  void *data);

/* A pidfd of this process. */
int played_pidfd(void);

#endif
