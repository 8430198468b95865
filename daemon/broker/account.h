/* SPDX-License-Identifier: MIT */
/* Accounts: what each user has charged to it, against the quotas of the configuration. */
#ifndef CTXD_ACCOUNT_H
#define CTXD_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "map.h"

enum quota {
	QUOTA_CONNECTIONS,
	QUOTA_CONTEXTS,
	QUOTA_JOINS,
	QUOTA_WATCHES,
	QUOTA_FDS,
	QUOTA_BYTES,
	QUOTA_CANCELS, /* Also of questions to the fleet. */
	QUOTA_REMOTE_CONTEXTS,
	QUOTA_REMOTE_JOINS, /* Also of those that wait for the owner's host. */
	QUOTA_COUNT,
};

struct account {
	struct accounts *all;
	struct map_node by_uid;
	uid_t uid;
	unsigned refs;
	bool breached[QUOTA_COUNT]; /* The first refusal has been logged. */
	uint64_t used[QUOTA_COUNT];
	/*
	 * What the broker remembers of this user, the oldest first: shared contexts that ended, tables of
	 * dead processes, and tables of processes that may be dead.
	 */
	struct list ended, dead, parted;
	unsigned ended_count, dead_count, parted_count;
	uint64_t dead_bytes;
};

struct accounts {
	struct map by_uid;
	const struct config *config;
	uint64_t fds; /* What is charged to QUOTA_FDS of all accounts together. */
};

/* False: no memory. */
bool accounts_init(struct accounts *accounts, const struct config *config);
/* Aborts if an account is left, that is, if somebody still has a reference. */
void accounts_free(struct accounts *accounts);

/* A reference on the account of uid, to be given back by account_unref(). NULL: no memory. */
struct account *account_ref(struct accounts *accounts, uid_t uid);
void account_unref(struct accounts *accounts, struct account *account);

/*
 * Charges amount to the quota. False: the quota is reached and nothing was charged. The first refusal of each
 * quota is logged.
 */
bool account_charge(struct accounts *accounts, struct account *account, enum quota quota, uint64_t amount);
void account_return(struct account *account, enum quota quota, uint64_t amount);

#endif
