/* SPDX-License-Identifier: MIT */
#include "account.h"

#include <inttypes.h>
#include <stdlib.h>

#include "log.h"

static const char *const names[QUOTA_COUNT] = {
	[QUOTA_CONNECTIONS] = "connections", [QUOTA_CONTEXTS] = "contexts", [QUOTA_JOINS] = "joins",
	[QUOTA_WATCHES] = "watches",	     [QUOTA_FDS] = "fds",	    [QUOTA_BYTES] = "queued_bytes",
	[QUOTA_CANCELS] = "cancels",
};

static uint64_t limit_of(const struct config *config, enum quota quota)
{
	switch (quota) {
	case QUOTA_CONNECTIONS:
		return config->connections_max;
	case QUOTA_CONTEXTS:
		return config->contexts_max;
	case QUOTA_JOINS:
		return config->joins_max;
	case QUOTA_WATCHES:
		return config->watches_max;
	case QUOTA_FDS:
		return config->fds_max;
	case QUOTA_BYTES:
		return config->queued_bytes_max;
	case QUOTA_CANCELS:
		return config->cancels_max;
	case QUOTA_COUNT:
		break;
	}
	return 0;
}

struct account *account_hold(struct accounts *accounts, uid_t uid)
{
	struct account *account = accounts->first;

	while (account && account->uid != uid)
		account = account->next;
	if (!account) {
		account = calloc(1, sizeof(*account));
		if (!account)
			return NULL;
		account->all = accounts;
		account->uid = uid;
		account->next = accounts->first;
		accounts->first = account;
	}
	account->holders++;
	return account;
}

void account_release(struct accounts *accounts, struct account *account)
{
	struct account **place = &accounts->first;

	if (!account || --account->holders)
		return;
	for (int i = 0; i < QUOTA_COUNT; i++)
		if (account->used[i])
			abort(); /* charged, never returned, and nobody left to do it */
	while (*place != account)
		place = &(*place)->next;
	*place = account->next;
	free(account);
}

bool account_charge(struct accounts *accounts, struct account *account, enum quota quota, uint64_t amount)
{
	uint64_t limit = limit_of(accounts->config, quota);

	if (account->used[quota] <= limit && amount <= limit - account->used[quota]) {
		account->used[quota] += amount;
		accounts->fds += quota == QUOTA_FDS ? amount : 0;
		return true;
	}
	if (!account->breached[quota])
		log_event(LOG_LEVEL_WARNING, "quota", "uid=%u quota=%s limit=%" PRIu64, account->uid,
			  names[quota], limit);
	account->breached[quota] = true;
	return false;
}

void account_return(struct account *account, enum quota quota, uint64_t amount)
{
	if (account->used[quota] < amount)
		abort(); /* returned twice */
	account->used[quota] -= amount;
	account->all->fds -= quota == QUOTA_FDS ? amount : 0;
}

void accounts_check_empty(const struct accounts *accounts)
{
	if (accounts->first)
		abort();
}
