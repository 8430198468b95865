/* SPDX-License-Identifier: MIT */
#include "rates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000u
#define HALF_NS (30ull * SECOND_NS)

static int compare_series(uint64_t table, const char *stem, const struct top_total *with)
{
	if (table != with->table)
		return table < with->table ? -1 : 1;
	return strncmp(stem, with->stem, sizeof(with->stem));
}

static int compare_totals(const void *left, const void *right)
{
	const struct top_total *total = left;

	return compare_series(total->table, total->stem, right);
}

static const struct top_series *find_series(const struct top_rates *rates, const struct top_total *total)
{
	size_t low = 0, high = rates->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = compare_series(total->table, total->stem, &rates->series[middle].total);

		if (!order)
			return &rates->series[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static bool has_table(const struct top_rates *rates, uint64_t table)
{
	size_t low = 0, high = rates->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (rates->series[middle].total.table < table)
			low = middle + 1;
		else
			high = middle;
	}
	return low < rates->count && rates->series[low].total.table == table;
}

/* A hostile table may count backwards. */
static uint64_t more_than(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static double per_second(uint64_t now, uint64_t before, uint64_t time_ns)
{
	return (double)more_than(now, before) * SECOND_NS / (double)time_ns;
}

static void move_on(struct top_series *series, const struct top_total *before, uint64_t time_ns)
{
	const struct top_total *now = &series->total;

	series->begun = per_second(now->begun, before->begun, time_ns);
	series->ended = per_second(now->ended, before->ended, time_ns);
	series->cancelled = per_second(now->cancelled, before->cancelled, time_ns);
	series->expired = per_second(now->expired, before->expired, time_ns);
	series->has_rates = true;
	for (size_t i = 0; i < CTX_TABLE_BUCKETS; i++) {
		uint64_t more = more_than(now->ages[i], before->ages[i]) + series->recent[0][i];

		series->recent[0][i] = more > UINT32_MAX ? UINT32_MAX : (uint32_t)more;
	}
}

static void make_series(const struct top_rates *rates, const struct top_total *total, uint64_t now_ns,
			struct top_series *series)
{
	static const struct top_total nothing;
	const struct top_series *known = find_series(rates, total);

	*series = (struct top_series){.total = *total};
	if (known)
		memcpy(series->recent, known->recent, sizeof(series->recent));
	if (!rates->taken_ns || now_ns <= rates->taken_ns)
		return;
	/* What was not there at the last reading has counted from 0 since then. */
	if (known || has_table(rates, total->table) || total->table_created_ns > rates->taken_ns)
		move_on(series, known ? &known->total : &nothing, now_ns - rates->taken_ns);
}

static void begin_half(struct top_rates *rates)
{
	for (size_t i = 0; i < rates->count; i++) {
		struct top_series *series = &rates->series[i];

		memcpy(series->recent[1], series->recent[0], sizeof(series->recent[1]));
		memset(series->recent[0], 0, sizeof(series->recent[0]));
	}
}

int top_rates_take(struct top_rates *rates, struct top_total *totals, size_t count, uint64_t now_ns)
{
	struct top_series *series = calloc(count + 1, sizeof(*series));

	if (!series)
		return -ENOMEM;
	if (!rates->half_began_ns)
		rates->half_began_ns = now_ns;
	for (; now_ns - rates->half_began_ns >= HALF_NS && now_ns > rates->half_began_ns;
	     rates->half_began_ns += HALF_NS) {
		begin_half(rates);
		/* After a long pause two are enough. */
		if (now_ns - rates->half_began_ns > 2 * HALF_NS)
			rates->half_began_ns = now_ns - 2 * HALF_NS;
	}
	if (count)
		qsort(totals, count, sizeof(*totals), compare_totals);
	for (size_t i = 0; i < count; i++)
		make_series(rates, &totals[i], now_ns, &series[i]);
	free(rates->series);
	rates->series = series;
	rates->count = count;
	rates->taken_ns = now_ns;
	return 0;
}

void top_rates_free(struct top_rates *rates)
{
	free(rates->series);
	*rates = (struct top_rates){0};
}

void top_ages_add_recent(struct top_ages *ages, const struct top_series *series)
{
	for (size_t i = 0; i < CTX_TABLE_BUCKETS; i++)
		ages->buckets[i] += (uint64_t)series->recent[0][i] + series->recent[1][i];
}

void top_ages_add_total(struct top_ages *ages, const struct top_series *series)
{
	for (size_t i = 0; i < CTX_TABLE_BUCKETS; i++)
		ages->buckets[i] += series->total.ages[i];
}
