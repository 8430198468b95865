/* SPDX-License-Identifier: MIT */
/*
 * Waiting for descriptors, in two ways: on a ctx ring, where each client is a context and what waits for it
 * are operations under that; or by poll(2), where io_uring is forbidden. What they serve is the same code.
 */
#ifndef CTXD_LOOP_H
#define CTXD_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctxring.h"

struct loop;

struct loop_entry;

/* So many entries may be armed in one group. */
#define LOOP_ENTRIES_MAX 3

/* What ends together: a client, the listener, the daemon itself. */
struct loop_group {
	struct loop *loop;
	struct ctx_context *ctx; /* NULL with poll(2) */
	unsigned armed;
	struct loop_entry *waiting[LOOP_ENTRIES_MAX]; /* which are armed, with poll(2) */
	bool ending;
	/* After loop_group_end, when nothing waits any more: the memory is the caller's again. */
	void (*gone)(struct loop_group *group);
	struct loop_group *next; /* of those that are to be told so */
};

/* One descriptor. */
struct loop_entry {
	struct ctx_op op; /* first; idle with poll(2) */
	struct loop_group *group;
	int fd;
	short events;
	bool armed;
	size_t place; /* among all that are armed, with poll(2) */
	/* revents as of poll(2). The entry is not armed any more. Not called once its group ends. */
	void (*ready)(struct loop_entry *entry, short revents);
};

enum loop_kind {
	LOOP_ANY, /* the ring where it can be had */
	LOOP_RING,
	LOOP_POLL,
};

/* 0; or why not, in words in reason, also when it fell back to poll(2). */
int loop_open(enum loop_kind kind, struct loop **ret_loop, char *reason, size_t reason_size);
bool loop_is_ring(const struct loop *loop);

/* All groups are gone. */
void loop_close(struct loop *loop);

/* 0, or -ENOMEM, and group->loop is not set. label is shown by ctxtool. */
int loop_group_begin(struct loop *loop, struct loop_group *group, const char *label);

/* Cancels what waits; gone is called from loop_run, never from here. */
void loop_group_end(struct loop_group *group, void (*gone)(struct loop_group *group));

void loop_entry_init(struct loop_entry *entry, struct loop_group *group, int fd,
		     void (*ready)(struct loop_entry *entry, short revents));

/* Waits for events once. Armed already: they are added, as far as the loop can. */
void loop_arm(struct loop_entry *entry, short events);

/* Waits at most timeout_ns, and calls whatever is ready. 0, or -errno; -EINTR is no error. */
int loop_run(struct loop *loop, uint64_t timeout_ns);

#endif
