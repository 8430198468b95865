/* SPDX-License-Identifier: MIT */
/* Sums of contexts by process, by the stem of their labels, or by user. Nothing here makes a system call. */
#ifndef TOP_GROUPS_H
#define TOP_GROUPS_H

#include "discover.h"
#include "rates.h"

struct top_group {
	char name[CTX_TABLE_LABEL_SIZE]; /* the stem of a label; "PID.INODE" of a process; number of a user */
	struct process *process;	 /* of a group that is a process */
	uid_t uid;			 /* of a process or user */
	uint64_t live, operations, stuck;
	const struct reader_operation *oldest; /* NULL: no operation is in flight */
	struct process *oldest_process;
	uint64_t waiting_ns;
	bool is_counted;			 /* what follows is known: the library has counters */
	bool has_rates;				 /* there was a reading before the last one */
	double begun, ended, cancelled, expired; /* per second */
	uint64_t p50_ns, p99_ns;		 /* 0: nothing has ended yet */
	uint32_t ages;				 /* where top_groups_add_rates() sums up its ages */
};

enum top_group_by {
	TOP_BY_PROCESS,
	TOP_BY_LABEL,
	TOP_BY_USER,
};

struct top_groups {
	struct top_group *groups;
	size_t count, room;
	uint32_t *buckets; /* of a hash table: 1 + the index of a group, or 0 */
	size_t bucket_count;
};

/* Makes the groups anew: afterwards there are none, in a process with one each. 0 or -ENOMEM. */
int top_groups_begin(struct top_groups *groups, struct survey *survey, enum top_group_by by);

/*
 * Adds a context to its group, which it makes where needed. stem is that of its label. oldest is its oldest
 * operation, or NULL. 0 or -ENOMEM.
 */
int top_groups_add(struct top_groups *groups, enum top_group_by by, struct process *process,
		   const struct reader_context *context, const char *stem,
		   const struct reader_operation *oldest);

/*
 * Adds rates and percentiles. With make_groups also labels and users that have no context now get a group.
 * 0 or -ENOMEM.
 */
int top_groups_add_rates(struct top_groups *groups, enum top_group_by by, const struct top_rates *rates,
			 bool make_groups);

void top_groups_free(struct top_groups *groups);

/*
 * Writes the stem of a label for processes that do not tell it: "*" stands for what follows the first blank,
 * slash, colon or digit.
 */
void top_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE]);

#endif
