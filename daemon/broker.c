/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "overflow.h"
#include "parts.h"

static bool init_maps(struct broker *broker)
{
	struct map *maps[] = {&broker->things_by_serial, &broker->shares_by_number, &broker->shares_by_pipe,
			      &broker->shares_by_name,	 &broker->peers_by_table,   &broker->orders};
	bool all = true;

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		all &= map_init(maps[i]);
	return all;
}

static void free_maps(struct broker *broker)
{
	map_free(&broker->things_by_serial);
	map_free(&broker->shares_by_number);
	map_free(&broker->shares_by_pipe);
	map_free(&broker->shares_by_name);
	map_free(&broker->peers_by_table);
	map_free(&broker->orders);
}

struct broker *broker_new(const struct config *config, uint64_t epoch)
{
	struct broker *broker = calloc(1, sizeof(*broker));

	if (!broker || !init_maps(broker)) {
		if (broker)
			free_maps(broker);
		free(broker);
		return NULL;
	}
	broker->config = *config;
	broker->accounts.config = &broker->config;
	broker->anybody_uid = overflow_uid();
	broker->anybody_gid = overflow_gid();
	broker->epoch = epoch;
	broker->cancels_due_ns = UINT64_MAX;
	struct link *lists[] = {&broker->things, &broker->peers,  &broker->watchers,
				&broker->ended,	 &broker->deaths, &broker->cancels};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		link_init(lists[i]);
	return broker;
}

void broker_free(struct broker *broker)
{
	cancels_free(broker);
	while (!link_alone(&broker->ended))
		share_free(owner_of(broker->ended.next, struct share, link));
	recorder_free(broker);
	if (!link_alone(&broker->peers) || !link_alone(&broker->things))
		abort();
	accounts_check_empty(&broker->accounts);
	free_maps(broker);
	free(broker);
}

void broker_configure(struct broker *broker, const struct config *config)
{
	broker->config = *config;
}

bool broker_is_busy(const struct broker *broker)
{
	return cancels_are_under_way(broker);
}

void broker_hurry(struct broker *broker)
{
	cancels_hurry(broker);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t broker_next_ns(const struct broker *broker)
{
	return earlier(shares_next_ns(broker), earlier(cancels_next_ns(broker), recorder_next_ns(broker)));
}

void broker_tick(struct broker *broker, uint64_t now_ns)
{
	shares_expire(broker, now_ns);
	cancels_expire(broker, now_ns);
	recorder_expire(broker, now_ns);
}
