/* SPDX-License-Identifier: MIT */
/* What each user has charged to it, against the quotas of the configuration. */
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
	QUOTA_CANCELS,
	QUOTA_COUNT,
};

struct account {
	struct accounts *all;
	struct map_node by_uid;
	uid_t uid;
	unsigned holders;
	bool breached[QUOTA_COUNT]; /* has been logged */
	uint64_t used[QUOTA_COUNT];
	/* What is remembered of this user: shared contexts that ended, tables of the dead, and of those who
	 * may be dead. Oldest first. */
	struct list ended, dead, parted;
	unsigned ended_count, dead_count, parted_count;
	uint64_t dead_bytes;
};

struct accounts {
	struct map by_uid;
	const struct config *config;
	uint64_t fds; /* charged to all of them */
};

/* False: no memory. */
bool accounts_init(struct accounts *accounts, const struct config *config);
/* Aborts when something is charged still. */
void accounts_free(struct accounts *accounts);

/* The account of uid, held; account_release() it. NULL: no memory. */
struct account *account_hold(struct accounts *accounts, uid_t uid);
void account_release(struct accounts *accounts, struct account *account);

/* False: the quota is reached, nothing was charged; the first time that is logged. */
bool account_charge(struct accounts *accounts, struct account *account, enum quota quota, uint64_t amount);
void account_return(struct account *account, enum quota quota, uint64_t amount);

#endif
