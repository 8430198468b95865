/* SPDX-License-Identifier: MIT */
/*
 * Waits for descriptors, on a ctx ring or, where io_uring is forbidden, with poll(2). On the ring each group
 * is a context, and what waits are operations under it. The callers are the same with both.
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

/* How many entries of one group can be armed. */
#define LOOP_ENTRIES_MAX 3

/* Entries that end together: those of a client, of the listener, or of the daemon itself. */
struct loop_group {
	struct loop *loop;
	struct ctx_context *ctx; /* NULL with poll(2). */
	unsigned armed;
	struct loop_entry *waiting[LOOP_ENTRIES_MAX]; /* The armed entries, with poll(2). */
	bool ending;
	/*
	 * Called after loop_group_end(), when no entry of the group is armed any more. The memory of the
	 * group is the caller's again.
	 */
	void (*gone)(struct loop_group *group);
	struct loop_group *next; /* In the list of ended groups whose gone is to be called. */
};

/* One descriptor. */
struct loop_entry {
	struct ctx_op op; /* First in the structure, for casts. Not used with poll(2). */
	struct loop_group *group;
	int fd;
	short events;
	bool armed;
	size_t place; /* The index among all armed entries, with poll(2). */
	/*
	 * Called with revents as of poll(2). The entry is not armed any more. Not called once the group has
	 * ended.
	 */
	void (*ready)(struct loop_entry *entry, short revents);
};

enum loop_kind {
	LOOP_ANY, /* The ring where it can be had, else poll(2). */
	LOOP_RING,
	LOOP_POLL,
};

/* 0, or -errno with the reason in words. When it falls back to poll(2) it is 0, also with the reason. */
int loop_open(enum loop_kind kind, struct loop **ret_loop, char *reason, size_t reason_size);
bool loop_is_ring(const struct loop *loop);

/* All groups must be gone. */
void loop_close(struct loop *loop);

/* 0, or -ENOMEM: then group->loop is not set. label is what ctxtool shows. */
int loop_group_begin(struct loop *loop, struct loop_group *group, const char *label);

/* Ends the waits of the group. gone is called from loop_run(), never from here. */
void loop_group_end(struct loop_group *group, void (*gone)(struct loop_group *group));

void loop_entry_init(struct loop_entry *entry, struct loop_group *group, int fd,
		     void (*ready)(struct loop_entry *entry, short revents));

/* Waits for the events once. Does nothing if the entry is armed. */
void loop_arm(struct loop_entry *entry, short events);

/*
 * Waits for at most timeout_ns, and calls the functions of the entries that are ready. 0, or -errno. An
 * interrupted wait is 0.
 */
int loop_run(struct loop *loop, uint64_t timeout_ns);

#endif
