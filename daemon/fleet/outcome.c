/* SPDX-License-Identifier: MIT */
/* What hosts have done for a cancel: the reports of each of them, and their sum. */
#include "fleet_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* a + b, or as much as fits. */
static unsigned sum(unsigned a, unsigned b)
{
	return a + b < a ? UINT32_MAX : a + b;
}

static void report_add(struct ctxd_report *to, const struct ctxd_report *from)
{
	to->asked = sum(to->asked, from->asked);
	to->ended = sum(to->ended, from->ended);
	to->silent = sum(to->silent, from->silent);
	to->batches = sum(to->batches, from->batches);
	to->operations = sum(to->operations, from->operations);
	to->unsent = sum(to->unsent, from->unsent);
	to->timed = sum(to->timed, from->timed);
	to->sqes = sum(to->sqes, from->sqes);
	to->enters = sum(to->enters, from->enters);
	to->cancelled = sum(to->cancelled, from->cancelled);
	to->finished = sum(to->finished, from->finished);
	to->held = sum(to->held, from->held);
	if (from->submit_ns > to->submit_ns)
		to->submit_ns = from->submit_ns;
	if (from->reap_ns > to->reap_ns)
		to->reap_ns = from->reap_ns;
}

void sum_free(struct sum *sum)
{
	sum->fleet->records -= sum->room;
	free(sum->records);
}

void sum_reserve(struct sum *sum, uint32_t others)
{
	uint32_t count = others + 1;
	bool has_room = sum->fleet->records + count <= 4 * (uint64_t)sum->fleet->config.hosts_max;

	sum->records = has_room && !sum->records ? calloc(count, sizeof(*sum->records)) : NULL;
	if (!sum->records)
		return;
	sum->room = count;
	sum->count = 1;
	sum->fleet->records += count;
}

static void total_add(struct sum *sum, const struct fleet_host_report *record)
{
	sum->total.hosts_asked++;
	sum->total.hosts_silent += record->is_silent;
	report_add(&sum->total.host.report, &record->report);
}

void sum_add_own(struct sum *sum, int error, const struct ctxd_report *report, bool is_silent)
{
	struct fleet_host_report own = {.is_silent = is_silent, .error = is_silent ? 0 : error};

	if (!sum->total.hosts_asked && !sum->records)
		sum_reserve(sum, 0);
	if (report)
		own.report = *report;
	strcpy(own.host, sum->fleet->config.host);
	total_add(sum, &own);
	sum->total.host.error = error;
	if (sum->records)
		sum->records[0] = own;
}

void sum_add(struct sum *sum, const char *host, const struct fleet_reported *total)
{
	struct fleet_host_report record = {.is_silent = true};

	if (total && !total->hosts_silent)
		record = total->host;
	strcpy(record.host, host);
	total_add(sum, &record);
	if (sum->count < sum->room)
		sum->records[sum->count++] = record;
}

void sum_finish(struct sum *sum)
{
	if (sum->total.host.error == -EALREADY && sum->total.host.report.ended)
		sum->total.host.error = 0;
}

void sum_send(const struct sum *sum, struct host *host, uint64_t nonce, bool with_hosts)
{
	struct fleet_message message = {.type = FLEET_REPORT,
					.reported = {.nonce = nonce, .step = FLEET_REPORT_HOST}};
	uint32_t count = with_hosts ? sum->count : 0;

	for (uint32_t i = 0; i < count; i++) {
		message.reported.index = i;
		message.reported.host = sum->records[i];
		host_send(host, &message);
	}
	message.reported = sum->total;
	message.reported.nonce = nonce;
	message.reported.step = FLEET_REPORT_TOTAL;
	message.reported.index = count;
	host_send(host, &message);
}

void sum_tell(const struct sum *sum, void *data)
{
	outcome_tell(sum->fleet, data, &sum->total, sum->records, sum->count);
}

void outcome_tell(const struct fleet *fleet, void *data, const struct fleet_reported *total,
		  const struct fleet_host_report *records, uint32_t count)
{
	struct fleet_outcome outcome = {.error = total->host.error,
					.report = total->host.report,
					.hosts_asked = total->hosts_asked,
					.hosts_silent = total->hosts_silent,
					.hosts = records,
					.host_count = count};

	fleet->output.cancel_done(data, &outcome);
}
