/* SPDX-License-Identifier: MIT */
/* The broker as a whole: making and freeing it, what is due at a time, and how much work was done. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "overflow.h"
#include "parts.h"

static unsigned maps_of(struct broker *broker, struct map *ret_maps[17])
{
	struct map *maps[] = {
		&broker->shares_by_number,  &broker->shares_by_pipe, &broker->shares_by_name,
		&broker->shares_by_context, &broker->joins_by_share, &broker->joins_by_context,
		&broker->processes,	    &broker->peers_by_table, &broker->peers_by_pid,
		&broker->deaths_by_table,   &broker->deaths_by_pid,  &broker->orders,
		&broker->orders_by_target,  &broker->remotes_by_key, &broker->remotes_by_fetch,
		&broker->waits_by_serial,   &broker->questions,
	};

	memcpy(ret_maps, maps, sizeof(maps));
	return sizeof(maps) / sizeof(maps[0]);
}

static void free_memory(struct broker *broker)
{
	struct map *maps[17];

	for (unsigned count = maps_of(broker, maps); count--;)
		map_free(maps[count]);
	accounts_free(&broker->accounts);
	free(broker->events);
	free(broker);
}

struct broker *broker_new(const struct config *config, uint64_t epoch)
{
	struct broker *broker = calloc(1, sizeof(*broker));
	struct map *maps[17];

	if (!broker)
		return NULL;
	broker->config = *config;
	broker->anybody_uid = overflow_uid();
	broker->anybody_gid = overflow_gid();
	broker->epoch = epoch;
	broker->own_uid = geteuid();
	lanes_init(&broker->jobs);
	lanes_init(&broker->notes);
	list_init(&broker->count_depths.link);
	broker->count_depths.run = shares_count_depths;
	list_init(&broker->wake_watchers.link);
	broker->wake_watchers.run = watchers_wake;
	list_init(&broker->tell_terms.link);
	broker->tell_terms.run = terms_tell;
	struct list *lists[] = {&broker->to_count, &broker->idle_watchers, &broker->listed, &broker->peers,
				&broker->ended,	   &broker->dead,	   &broker->parted, &broker->cancels,
				&broker->unjoined, &broker->unclaimed};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	bool all = accounts_init(&broker->accounts, &broker->config);
	for (unsigned count = maps_of(broker, maps); count--;)
		all &= map_init(maps[count]);
	if (all && given_init(broker))
		return broker;
	free_memory(broker);
	return NULL;
}

void broker_empty(struct broker *broker)
{
	broker->emptied = true;
	jobs_finish(broker);
	cancels_free(broker);
	while (!list_empty(&broker->ended))
		share_free(container_of(broker->ended.next, struct share, link));
	jobs_finish(broker);
	recorder_free(broker);
}

void broker_free(struct broker *broker)
{
	broker_empty(broker);
	if (!list_empty(&broker->peers) || !list_empty(&broker->listed))
		abort();
	free_memory(broker);
}

void broker_configure(struct broker *broker, const struct config *config)
{
	terms_set(broker, config);
}

uint64_t broker_fds(const struct broker *broker)
{
	return broker->accounts.fds;
}

bool broker_is_busy(const struct broker *broker)
{
	return cancels_are_under_way(broker);
}

void broker_answer_all(struct broker *broker)
{
	cancels_answer_all(broker);
	jobs_finish(broker);
}

uint64_t broker_work(const struct broker *broker)
{
	return broker->work;
}

void broker_worked(struct broker *broker, uint64_t work)
{
	broker->work += work;
}

static uint64_t earlier_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t broker_next_ns(const struct broker *broker)
{
	if (broker->jobs.count)
		return 0;
	uint64_t fleet_ns = earlier_of(unjoined_next_ns(broker), questions_next_ns(broker));
	fleet_ns = earlier_of(fleet_ns, unclaimed_next_ns(broker));
	return earlier_of(fleet_ns, earlier_of(shares_next_ns(broker), earlier_of(cancels_next_ns(broker),
										  recorder_next_ns(broker))));
}

void broker_tick(struct broker *broker, uint64_t now_ns)
{
	broker->now_ns = now_ns;
	piece_begin(broker);
	shares_expire(broker, now_ns);
	piece_begin(broker);
	unclaimed_expire(broker, now_ns);
	piece_begin(broker);
	cancels_expire(broker, now_ns);
	piece_begin(broker);
	recorder_expire(broker, now_ns);
	piece_begin(broker);
	unjoined_expire(broker, now_ns);
	piece_begin(broker);
	questions_expire(broker, now_ns);
	jobs_run(broker);
}
