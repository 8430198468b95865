/* SPDX-License-Identifier: MIT */
#include "groups.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "read_counters.h"

static size_t hash_of(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return (size_t)(hash ^ hash >> 32);
}

/* Returns the place in the hash table at which the name is, or belongs. */
static uint32_t *find_bucket(const struct top_groups *groups, const char *name)
{
	size_t mask = groups->bucket_count - 1;

	for (size_t at = hash_of(name) & mask;; at = (at + 1) & mask) {
		uint32_t *bucket = &groups->buckets[at];

		if (!*bucket || strcmp(groups->groups[*bucket - 1].name, name) == 0)
			return bucket;
	}
}

/* Makes room for one more group. Half of the hash table stays empty. */
static int grow(struct top_groups *groups)
{
	size_t room = groups->room ? groups->room * 2 : 64;
	struct top_group *larger;
	uint32_t *buckets;

	if (groups->count < groups->room)
		return 0;
	larger = realloc(groups->groups, room * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	groups->groups = larger;
	buckets = calloc(room * 2, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	free(groups->buckets);
	groups->buckets = buckets;
	groups->bucket_count = room * 2;
	groups->room = room;
	for (size_t i = 0; i < groups->count; i++)
		*find_bucket(groups, larger[i].name) = (uint32_t)i + 1;
	return 0;
}

static struct top_group *find_group(const struct top_groups *groups, const char *name)
{
	uint32_t index = groups->bucket_count ? *find_bucket(groups, name) : 0;

	return index ? &groups->groups[index - 1] : NULL;
}

/* Returns the group of that name, which it makes if needed; NULL: no memory. */
static struct top_group *take_group(struct top_groups *groups, const char *name)
{
	struct top_group *group = find_group(groups, name);

	if (group || grow(groups))
		return group;
	group = &groups->groups[groups->count++];
	*group = (struct top_group){0};
	snprintf(group->name, sizeof(group->name), "%s", name);
	*find_bucket(groups, group->name) = (uint32_t)groups->count;
	return group;
}

static void name_table(uint64_t table, char name[CTX_TABLE_LABEL_SIZE])
{
	snprintf(name, CTX_TABLE_LABEL_SIZE, "%" PRIu64, table);
}

static void name_user(uid_t uid, char name[CTX_TABLE_LABEL_SIZE])
{
	snprintf(name, CTX_TABLE_LABEL_SIZE, "%u", (unsigned)uid);
}

int top_groups_begin(struct top_groups *groups, struct survey *survey, enum top_group_by by)
{
	char name[CTX_TABLE_LABEL_SIZE];

	groups->count = 0;
	if (groups->bucket_count)
		memset(groups->buckets, 0, groups->bucket_count * sizeof(*groups->buckets));
	for (size_t i = 0; by == TOP_BY_PROCESS && i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		name_table(process->inode, name);
		struct top_group *group = take_group(groups, name);
		if (!group)
			return -ENOMEM;
		group->process = process;
		group->uid = process->uid;
	}
	return 0;
}

static uint64_t time_since(const struct process *process, uint64_t since_ns)
{
	return process->now_ns > since_ns ? process->now_ns - since_ns : 0;
}

static void add_operations(struct top_group *group, struct process *process,
			   const struct reader_context *context, const struct reader_operation *oldest)
{
	const struct snapshot *snapshot = &process->snapshot;

	group->operations += context->operation_count;
	for (uint32_t i = context->first_operation; i != READER_NONE; i = snapshot->operations[i].next)
		group->stuck += (snapshot->operations[i].record.flags & CTX_TABLE_OP_STUCK) != 0;
	if (!oldest)
		return;
	/* Processes may have clocks of their own, so ages are compared and not times. */
	uint64_t waiting_ns = time_since(process, oldest->record.since_ns);
	if (group->oldest && waiting_ns <= group->waiting_ns)
		return;
	group->oldest = oldest;
	group->oldest_process = process;
	group->waiting_ns = waiting_ns;
}

int top_groups_add(struct top_groups *groups, enum top_group_by by, struct process *process,
		   const struct reader_context *context, const char *stem,
		   const struct reader_operation *oldest)
{
	char name[CTX_TABLE_LABEL_SIZE];
	struct top_group *group;

	if (by == TOP_BY_PROCESS)
		name_table(process->inode, name);
	else if (by == TOP_BY_USER)
		name_user(process->uid, name);
	group = take_group(groups, by == TOP_BY_LABEL ? stem : name);
	if (!group)
		return -ENOMEM;
	group->uid = process->uid;
	group->live += (context->record.state & CTX_TABLE_LIVE) != 0;
	add_operations(group, process, context, oldest);
	return 0;
}

/* ---- rates */

static void add_series(struct top_group *group, const struct top_series *series)
{
	group->is_counted = true;
	group->uid = series->total.uid;
	group->has_rates |= series->has_rates;
	group->begun += series->begun;
	group->ended += series->ended;
	group->cancelled += series->cancelled;
	group->expired += series->expired;
}

/* Of the recent ends, which are first in ages, or of all where there are none. */
static void set_percentiles(struct top_group *group, const struct top_ages ages[2])
{
	const uint64_t *of = histogram_count(ages[0].buckets) ? ages[0].buckets : ages[1].buckets;

	group->p50_ns = histogram_percentile(of, 0.5);
	group->p99_ns = histogram_percentile(of, 0.99);
}

/* Returns the group of a series; NULL: there is none, or, where make_groups is set, no memory. */
static struct top_group *group_of(struct top_groups *groups, enum top_group_by by,
				  const struct top_series *series, bool make_groups)
{
	char name[CTX_TABLE_LABEL_SIZE];

	if (by == TOP_BY_PROCESS)
		name_table(series->total.table, name);
	else if (by == TOP_BY_USER)
		name_user(series->total.uid, name);
	else
		snprintf(name, sizeof(name), "%.*s", CTX_TABLE_LABEL_SIZE - 1, series->total.stem);
	return make_groups ? take_group(groups, name) : find_group(groups, name);
}

int top_groups_add_rates(struct top_groups *groups, enum top_group_by by, const struct top_rates *rates,
			 bool make_groups)
{
	/* For each group that has series: first the recent ends, then all. There are at most as many as
	 * series. */
	struct top_ages *ages = calloc(2 * (rates->count + 1), sizeof(*ages));
	uint32_t ages_count = 0;

	make_groups = make_groups && by != TOP_BY_PROCESS;
	if (!ages)
		return -ENOMEM;
	for (size_t i = 0; i < rates->count; i++) {
		const struct top_series *series = &rates->series[i];
		struct top_group *group = group_of(groups, by, series, make_groups);

		if (!group && make_groups) {
			free(ages);
			return -ENOMEM;
		}
		if (!group)
			continue;
		if (!group->is_counted)
			group->ages = ages_count++;
		add_series(group, series);
		top_ages_add_recent(&ages[2 * group->ages], series);
		top_ages_add_total(&ages[2 * group->ages + 1], series);
	}
	for (size_t i = 0; i < groups->count; i++)
		if (groups->groups[i].is_counted)
			set_percentiles(&groups->groups[i], &ages[2 * groups->groups[i].ages]);
	free(ages);
	return 0;
}

void top_groups_free(struct top_groups *groups)
{
	free(groups->groups);
	free(groups->buckets);
	*groups = (struct top_groups){0};
}

void top_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE])
{
	size_t length = strcspn(label, " /:0123456789");
	bool is_whole = !label[length];

	/* A separator is a part of the stem, a number is not. */
	length += !is_whole && (label[length] < '0' || label[length] > '9');
	if (length > CTX_TABLE_LABEL_SIZE - 2)
		length = CTX_TABLE_LABEL_SIZE - 2;
	memcpy(ret_stem, label, length);
	strcpy(ret_stem + length, is_whole ? "" : "*");
}
