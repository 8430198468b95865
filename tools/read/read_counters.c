/* SPDX-License-Identifier: MIT */
#include "read_counters.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const void *place_of(const void *bytes, const struct ctx_table_area *area, uint32_t slot)
{
	return (const char *)bytes + area->offset + (size_t)slot * area->record_size;
}

static uint64_t sum_of(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t difference_of(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Loads a counter as a whole, which its writer may be storing. */
static void add_counter(uint64_t *to, const _Atomic uint64_t *counter)
{
	*to = sum_of(*to, atomic_load_explicit(counter, memory_order_relaxed));
}

static void add_record(struct stem_counters *to, const struct ctx_table_counters *record)
{
	add_counter(&to->begun, &record->begun);
	add_counter(&to->released, &record->released);
	for (unsigned i = 0; i < CTX_TABLE_CAUSES; i++)
		add_counter(&to->ended[i], &record->ended[i]);
	add_counter(&to->operations_begun, &record->operations_begun);
	add_counter(&to->operations_finished, &record->operations_finished);
	add_counter(&to->operations_cancelled, &record->operations_cancelled);
	for (unsigned i = 0; i < CTX_TABLE_BUCKETS; i++) {
		add_counter(&to->ages[i], &record->ages[i]);
		add_counter(&to->cancels[i], &record->cancels[i]);
	}
}

static bool is_empty(const struct stem_counters *counters)
{
	return !counters->begun && !counters->released && !counters->operations_begun &&
	       !counters->operations_finished && !counters->operations_cancelled &&
	       !stem_counters_ended(counters) && !histogram_count(counters->ages) &&
	       !histogram_count(counters->cancels);
}

static void read_stem(const void *bytes, const struct ctx_table_header *header, uint32_t slot, char *stem)
{
	if (slot == CTX_TABLE_STEM_NONE) { /* its record is never written */
		stem[0] = '\0';
		return;
	}
	/* A text that is hostile may change, but what is copied has an end all the same. */
	memcpy(stem, place_of(bytes, &header->stems, slot), CTX_TABLE_LABEL_SIZE);
	stem[CTX_TABLE_LABEL_SIZE - 1] = '\0';
}

/* Removes stems without counts, and adds up those with equal texts: two slots of a hostile table, or none for
 * a stem that is "other" itself. */
static void compact(struct counters *counters)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < counters->count; i++) {
		struct stem_counters *stem = &counters->stems[i];
		uint32_t same = 0;

		if (is_empty(stem))
			continue;
		while (same < kept && strcmp(counters->stems[same].stem, stem->stem) != 0)
			same++;
		if (same < kept)
			stem_counters_add(&counters->stems[same], stem);
		else if (kept++ != i)
			counters->stems[same] = *stem;
	}
	counters->count = kept;
}

int counters_read(const void *bytes, const struct ctx_table_header *header, struct counters *ret_counters)
{
	const struct ctx_table_area *area = &header->counters;
	uint32_t stems = atomic_load_explicit(&header->stems.used, memory_order_relaxed);
	uint32_t records = atomic_load_explicit(&area->used, memory_order_relaxed);
	struct counters out = {0};

	*ret_counters = out;
	if (!stems || !area->record_size)
		return 0;
	stems = stems < CTX_TABLE_STEMS ? stems : CTX_TABLE_STEMS;
	out.present = true;
	out.stems = calloc(stems, sizeof(*out.stems));
	out.texts = calloc(stems, sizeof(*out.texts));
	if (!out.stems || !out.texts) {
		counters_free(&out);
		return -ENOMEM;
	}
	out.count = out.text_count = stems;
	for (uint32_t slot = 0; slot < stems; slot++) {
		read_stem(bytes, header, slot, out.texts[slot]);
		memcpy(out.stems[slot].stem, out.texts[slot], CTX_TABLE_LABEL_SIZE);
	}
	for (uint32_t slot = 1; slot < records; slot++) {
		const struct ctx_table_counters *record = place_of(bytes, area, slot);
		uint32_t stem = *(const volatile uint32_t *)&record->stem;

		/* One that is newer than the header is left for the next look. */
		if (stem < stems)
			add_record(&out.stems[stem], record);
	}
	compact(&out);
	*ret_counters = out;
	return 0;
}

void counters_free(struct counters *counters)
{
	free(counters->stems);
	free(counters->texts);
	*counters = (struct counters){0};
}

const char *counters_stem_at(const struct counters *counters, uint32_t slot)
{
	return slot < counters->text_count ? counters->texts[slot] : NULL;
}

const struct stem_counters *counters_find(const struct counters *counters, const char *stem)
{
	for (uint32_t i = 0; i < counters->count; i++)
		if (!strcmp(counters->stems[i].stem, stem))
			return &counters->stems[i];
	return NULL;
}

static void change(struct stem_counters *to, const struct stem_counters *by,
		   uint64_t (*result_of)(uint64_t, uint64_t))
{
	to->begun = result_of(to->begun, by->begun);
	to->released = result_of(to->released, by->released);
	for (unsigned i = 0; i < CTX_TABLE_CAUSES; i++)
		to->ended[i] = result_of(to->ended[i], by->ended[i]);
	to->operations_begun = result_of(to->operations_begun, by->operations_begun);
	to->operations_finished = result_of(to->operations_finished, by->operations_finished);
	to->operations_cancelled = result_of(to->operations_cancelled, by->operations_cancelled);
	for (unsigned i = 0; i < CTX_TABLE_BUCKETS; i++) {
		to->ages[i] = result_of(to->ages[i], by->ages[i]);
		to->cancels[i] = result_of(to->cancels[i], by->cancels[i]);
	}
}

void stem_counters_add(struct stem_counters *to, const struct stem_counters *from)
{
	change(to, from, sum_of);
}

void stem_counters_subtract(struct stem_counters *from, const struct stem_counters *before)
{
	change(from, before, difference_of);
}

uint64_t stem_counters_ended(const struct stem_counters *counters)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < CTX_TABLE_CAUSES; i++)
		sum = sum_of(sum, counters->ended[i]);
	return sum;
}

/* ---- histograms */

uint64_t histogram_count(const uint64_t *buckets)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < CTX_TABLE_BUCKETS; i++)
		sum = sum_of(sum, buckets[i]);
	return sum;
}

uint64_t histogram_bound(unsigned bucket)
{
	uint64_t power = UINT64_C(1) << CTX_TABLE_BUCKET_SHIFT;

	if (bucket >= CTX_TABLE_BUCKETS - 1)
		return UINT64_MAX;
	if (!bucket)
		return power;
	power <<= (bucket - 1) / 2;
	return bucket % 2 ? power + power / 2 : power * 2;
}

uint64_t histogram_percentile(const uint64_t *buckets, double share)
{
	double wanted = (double)histogram_count(buckets) * share, seen = 0;

	if (!histogram_count(buckets))
		return 0;
	for (unsigned i = 0; i < CTX_TABLE_BUCKETS; i++) {
		uint64_t from = i ? histogram_bound(i - 1) : 0, to = histogram_bound(i);

		if (!buckets[i] || seen + (double)buckets[i] < wanted) {
			seen += (double)buckets[i];
			continue;
		}
		if (to == UINT64_MAX)
			return from;
		return from + (uint64_t)((double)(to - from) * ((wanted - seen) / (double)buckets[i]));
	}
	return histogram_bound(CTX_TABLE_BUCKETS - 2); /* sums that did not fit, or a share beyond 1 */
}
