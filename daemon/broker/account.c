/* SPDX-License-Identifier: MIT */
#include "account.h"

#include <inttypes.h>
#include <stdlib.h>

#include "log.h"

static const char *const names[QUOTA_COUNT] = {
	[QUOTA_CONNECTIONS] = "connections",
	[QUOTA_CONTEXTS] = "contexts",
	[QUOTA_JOINS] = "joins",
	[QUOTA_WATCHES] = "watches",
	[QUOTA_FDS] = "fds",
	[QUOTA_BYTES] = "queued_bytes",
	[QUOTA_CANCELS] = "cancels",
	[QUOTA_REMOTE_CONTEXTS] = "remote_contexts",
	[QUOTA_REMOTE_JOINS] = "remote_joins",
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
	case QUOTA_REMOTE_CONTEXTS:
		return config->fleet.remote_contexts_max;
	case QUOTA_REMOTE_JOINS:
		return config->fleet.remote_joins_max;
	case QUOTA_COUNT:
		break;
	}
	return 0;
}

bool accounts_init(struct accounts *accounts, const struct config *config)
{
	accounts->config = config;
	return map_init(&accounts->by_uid);
}

void accounts_free(struct accounts *accounts)
{
	if (accounts->by_uid.count)
		abort();
	map_free(&accounts->by_uid);
}

struct account *account_ref(struct accounts *accounts, uid_t uid)
{
	struct map_node *node = map_find(&accounts->by_uid, uid);
	struct account *account = node ? container_of(node, struct account, by_uid) : NULL;

	if (!account) {
		account = calloc(1, sizeof(*account));
		if (!account)
			return NULL;
		account->all = accounts;
		account->uid = uid;
		list_init(&account->ended);
		list_init(&account->dead);
		list_init(&account->parted);
		map_add(&accounts->by_uid, &account->by_uid, uid);
	}
	account->refs++;
	return account;
}

void account_unref(struct accounts *accounts, struct account *account)
{
	if (!account || --account->refs)
		return;
	for (int i = 0; i < QUOTA_COUNT; i++)
		if (account->used[i])
			/* Something was charged and not returned, and nobody is left who could return it. */
			abort();
	map_remove(&accounts->by_uid, &account->by_uid);
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
	if (!account->breached[quota] && log_admits(LOG_LEVEL_WARNING, account->uid, LOG_TROUBLE))
		log_event(LOG_LEVEL_WARNING, "quota", "uid=%u quota=%s limit=%" PRIu64, account->uid,
			  names[quota], limit);
	account->breached[quota] = true;
	return false;
}

void account_return(struct account *account, enum quota quota, uint64_t amount)
{
	if (account->used[quota] < amount)
		abort(); /* More was returned than was charged. */
	account->used[quota] -= amount;
	account->all->fds -= quota == QUOTA_FDS ? amount : 0;
}
