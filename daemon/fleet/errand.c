/* SPDX-License-Identifier: MIT */
/*
 * A CANCEL that was sent to one host. Messages may get lost both ways, so it is sent again each half beat,
 * and the other side knows by its nonce what it has seen. The reports of single hosts come in their order,
 * before the TOTAL; where one is missing, all come again.
 */
#include "fleet_parts.h"

#include <stdlib.h>
#include <string.h>

/* The most reports of single hosts that are kept. */
#define RECORDS_MAX 4096

static void errand_send(struct errand *errand)
{
	struct fleet *fleet = errand->host->fleet;
	struct fleet_message message = {.type = FLEET_CANCEL, .cancelling = errand->message};

	errand->again_ns = clock_after_ns(fleet->now_ns, fleet->beat_ns / 2);
	timer_set(fleet, &errand->timer,
		  errand->again_ns < errand->end_ns ? errand->again_ns : errand->end_ns);
	host_send(errand->host, &message);
}

/* Tells who made it. total NULL: the host was silent. */
static void errand_finish(struct errand *errand, const struct fleet_reported *total)
{
	errand->done(errand, total);
	errand_free(errand);
}

static void errand_due(struct timer *timer)
{
	struct errand *errand = container_of(timer, struct errand, timer);

	if (errand->host->fleet->now_ns >= errand->end_ns)
		errand_finish(errand, errand->has_total ? &errand->total : NULL);
	else
		errand_send(errand);
}

struct errand *errand_new(struct host *host, uint64_t secret, const struct fleet_cancel *cancel,
			  uint64_t wait_ns)
{
	struct fleet *fleet = host->fleet;
	struct errand *errand = calloc(1, sizeof(*errand));

	if (!errand)
		return NULL;
	errand->host = host;
	errand->timer.due = errand_due;
	errand->end_ns = clock_after_ns(fleet->now_ns, wait_ns);
	errand->message = (struct fleet_cancelling){++fleet->last_request, secret, *cancel};
	list_append(&host->errands, &errand->of_host);
	list_init(&errand->of_parent);
	errand_send(errand);
	return errand;
}

void errand_free(struct errand *errand)
{
	timer_stop(errand->host->fleet, &errand->timer);
	list_remove(&errand->of_host);
	list_remove(&errand->of_parent);
	free(errand->records);
	free(errand);
}

void errands_free(struct host *host)
{
	while (!list_empty(&host->errands))
		errand_free(container_of(host->errands.next, struct errand, of_host));
}

/* Keeps the report of one host. False: no memory, or there are too many. */
static bool record_add(struct errand *errand, const struct fleet_host_report *record)
{
	if (errand->record_count == errand->record_room) {
		uint32_t room = errand->record_room ? errand->record_room * 2 : 4;
		struct fleet_host_report *larger =
			room > RECORDS_MAX ? NULL : realloc(errand->records, room * sizeof(*larger));
		if (!larger)
			return false;
		errand->records = larger;
		errand->record_room = room;
	}
	errand->records[errand->record_count++] = *record;
	return true;
}

static struct errand *errand_find(const struct host *host, uint64_t nonce)
{
	for (struct list *at = host->errands.next; at != &host->errands; at = at->next) {
		struct errand *errand = container_of(at, struct errand, of_host);
		if (errand->message.nonce == nonce)
			return errand;
	}
	return NULL;
}

void errand_report(struct host *host, const struct fleet_reported *reported)
{
	struct errand *errand = errand_find(host, reported->nonce);

	if (!errand)
		return;
	if (reported->step == FLEET_REPORT_HOST) {
		if (reported->index == errand->record_count)
			record_add(errand, &reported->host);
	} else if (reported->index <= errand->record_count || reported->index > RECORDS_MAX) {
		errand_finish(errand, reported);
	} else {
		errand->has_total = true;
		errand->total = *reported;
	}
}

void errands_repeat(struct host *host)
{
	for (struct list *at = host->errands.next; at != &host->errands; at = at->next)
		errand_send(container_of(at, struct errand, of_host));
}
