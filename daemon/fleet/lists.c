/* SPDX-License-Identifier: MIT */
/*
 * Lists of what there is on a host. Who asks has a query, who answers has a listing. The entries are
 * numbered: where one is missing, the query asks for all of them again, and where nothing comes for half a
 * beat as well.
 *
 * The bridge that answers is given entries by its caller, and takes one batch of them in a turn, so they
 * never fill the queue of the host, and other messages need not wait for long. The caller has a few entries
 * in a turn. They wait in the queue until the batch is full or the list ends: a batch for each turn would be
 * a command to the engine for each, and the batches of a hundred hosts more than an inbox holds.
 */
#include "fleet_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So many bytes may wait in the queue of a host before no more entries are taken. */
#define LISTING_BYTES 60000u
/* One host may have this part of all listings. */
#define SHARE_OF_HOST 4

/* A list that this host makes for another. */
struct listing {
	struct host *host;
	struct list of_host;
	struct map_node by_number;
	struct timer timer; /* The asker waits no longer. */
	uint64_t number;
	uint64_t nonce;
	uint32_t count;	     /* The entries that were sent. */
	bool wants_to_go_on; /* Its caller waits for room. */
};

/* A list that this host asks for. */
struct query {
	struct host *host;
	struct list of_host;
	struct timer timer;
	uint64_t again_ns, end_ns;
	uint64_t nonce, replaced;
	uint32_t kinds;
	uint32_t count; /* The entries that came. */
	bool is_heard;
	void *data;
};

/* ---- the host that answers */

static struct listing *listing_find(const struct fleet *fleet, uint64_t number)
{
	struct map_node *node = map_find(&fleet->listings_by_number, number);

	return node ? container_of(node, struct listing, by_number) : NULL;
}

static struct listing *listing_of_host(const struct host *host, uint64_t nonce)
{
	for (struct list *at = host->listings.next; at != &host->listings; at = at->next) {
		struct listing *listing = container_of(at, struct listing, of_host);
		if (listing->nonce == nonce)
			return listing;
	}
	return NULL;
}

static void listing_free(struct listing *listing)
{
	struct fleet *fleet = listing->host->fleet;

	timer_stop(fleet, &listing->timer);
	map_remove(&fleet->listings_by_number, &listing->by_number);
	list_remove(&listing->of_host);
	listing->host->listing_count--;
	fleet->counts.lists--;
	free(listing);
}

/* Nobody waits for it any more. */
static void listing_close(struct listing *listing)
{
	const struct fleet_output *output = &listing->host->fleet->output;
	uint64_t number = listing->number;

	listing_free(listing);
	output->list_closed(output->link, number);
}

static void listing_due(struct timer *timer)
{
	listing_close(container_of(timer, struct listing, timer));
}

static void send_listed(struct host *host, uint64_t nonce, uint32_t count, int error)
{
	struct fleet_message message = {.type = FLEET_LISTED, .listed = {nonce, count, error}};

	host_send(host, &message);
}

/* NULL: no memory. */
static struct listing *listing_new(struct host *host, const struct fleet_list_wish *wish)
{
	struct fleet *fleet = host->fleet;
	struct listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	listing->host = host;
	listing->nonce = wish->nonce;
	listing->number = ++fleet->last_number;
	listing->timer.due = listing_due;
	list_append(&host->listings, &listing->of_host);
	map_add(&fleet->listings_by_number, &listing->by_number, listing->number);
	host->listing_count++;
	fleet->counts.lists++;
	timer_set(fleet, &listing->timer, clock_after_ns(fleet->now_ns, wish->wait_ns));
	return listing;
}

void listing_receive(struct host *host, const struct fleet_list_wish *wish)
{
	struct fleet *fleet = host->fleet;
	const struct fleet_output *output = &fleet->output;
	uint32_t share = fleet->config.lists_max / SHARE_OF_HOST;
	struct listing *replaced = wish->replaced ? listing_of_host(host, wish->replaced) : NULL;

	if (replaced)
		listing_close(replaced);
	if (listing_of_host(host, wish->nonce)) {
		/* It has heard nothing for a while: what waits for a full batch is sent. */
		host_want(host, 0);
		return;
	}
	if (fleet->counts.lists >= fleet->config.lists_max || host->listing_count >= (share ? share : 1)) {
		fleet->counts.refused++;
		send_listed(host, wish->nonce, 0, -EDQUOT);
		return;
	}
	/* Without memory the host gets no answer, and asks again. */
	struct listing *listing = listing_new(host, wish);
	if (listing)
		output->list_asked(output->link, listing->number, host->name, wish->kinds);
}

/* How long ago a time was, and how long it is until then. */
static uint64_t ago_ns(const struct fleet *fleet, uint64_t time_ns)
{
	return time_ns < fleet->now_ns ? fleet->now_ns - time_ns : 0;
}

static uint64_t left_ns(const struct fleet *fleet, uint64_t time_ns)
{
	if (time_ns == CTX_FOREVER)
		return CTX_FOREVER;
	return time_ns > fleet->now_ns ? time_ns - fleet->now_ns : 0;
}

int fleet_list_entry(struct fleet *fleet, uint64_t number, const struct ctxd_entry *entry, uint64_t now_ns)
{
	struct listing *listing = listing_find(fleet, number);
	struct fleet_message message = {.type = FLEET_ENTRY};
	struct fleet_listed_entry *listed = &message.listed_entry;

	fleet->now_ns = now_ns;
	if (!listing)
		return -ENOENT;
	if (!fleet->roster.is_up || listing->host->queued >= LISTING_BYTES ||
	    listing->host->queued >= fleet->config.queue_bytes / 2) {
		listing->wants_to_go_on = true;
		host_want(listing->host, 0);
		return -EAGAIN;
	}
	listed->nonce = listing->nonce;
	listed->index = listing->count++;
	listed->age_ns = ago_ns(fleet, entry->created_ns);
	listed->left_ns = left_ns(fleet, entry->deadline_ns);
	listed->ended_ago_ns = ago_ns(fleet, entry->ended_ns);
	listed->entry = *entry;
	host_queue(listing->host, &message);
	return 0;
}

void fleet_list_end(struct fleet *fleet, uint64_t number, int error, uint64_t now_ns)
{
	struct listing *listing = listing_find(fleet, number);

	fleet->now_ns = now_ns;
	if (!listing)
		return;
	send_listed(listing->host, listing->nonce, listing->count, error);
	listing_free(listing);
}

void listings_go_on(struct host *host)
{
	const struct fleet_output *output = &host->fleet->output;

	for (struct list *at = host->listings.next; at != &host->listings; at = at->next) {
		struct listing *listing = container_of(at, struct listing, of_host);
		if (!listing->wants_to_go_on)
			continue;
		listing->wants_to_go_on = false;
		output->list_more(output->link, listing->number);
	}
}

void listings_forget(struct host *host)
{
	while (!list_empty(&host->listings))
		listing_close(container_of(host->listings.next, struct listing, of_host));
}

void listings_free(struct host *host)
{
	while (!list_empty(&host->listings))
		listing_free(container_of(host->listings.next, struct listing, of_host));
}

/* ---- the host that asks */

static void query_send(struct query *query)
{
	struct fleet *fleet = query->host->fleet;
	struct fleet_message message = {
		.type = FLEET_LIST,
		.list_wish = {query->nonce, query->replaced, query->kinds, left_ns(fleet, query->end_ns)}};

	query->again_ns = clock_after_ns(fleet->now_ns, fleet->beat_ns / 2);
	timer_set(fleet, &query->timer, query->again_ns < query->end_ns ? query->again_ns : query->end_ns);
	host_send(query->host, &message);
}

static void query_free(struct query *query)
{
	struct fleet *fleet = query->host->fleet;

	timer_stop(fleet, &query->timer);
	list_remove(&query->of_host);
	fleet->counts.lists_asked--;
	free(query);
}

static void query_finish(struct query *query, int error)
{
	const struct fleet_output *output = &query->host->fleet->output;
	void *data = query->data;

	query_free(query);
	output->list_end(data, error);
}

/* Forgets what has come. */
static void query_begin(struct query *query)
{
	const struct fleet_output *output = &query->host->fleet->output;

	if (query->count)
		output->list_again(query->data);
	query->count = 0;
}

static void query_due(struct timer *timer)
{
	struct query *query = container_of(timer, struct query, timer);
	uint64_t now_ns = query->host->fleet->now_ns;

	if (now_ns >= query->end_ns)
		query_finish(query, query->is_heard ? -ETIMEDOUT : -EHOSTUNREACH);
	else if (now_ns >= query->again_ns)
		query_send(query);
	else /* Something has come meanwhile. */
		timer_set(query->host->fleet, timer,
			  query->again_ns < query->end_ns ? query->again_ns : query->end_ns);
}

int fleet_list(struct fleet *fleet, const char *name, uint32_t kinds, uint64_t wait_ns, void *data,
	       uint64_t now_ns)
{
	fleet->now_ns = now_ns;
	if (!fleet_host_is_valid(name, strlen(name)) || strcmp(name, fleet->config.host) == 0 || !kinds ||
	    kinds & ~(uint32_t)FLEET_KINDS)
		return -EINVAL;
	if (fleet->counts.lists_asked >= fleet->config.lists_max)
		return -EDQUOT;
	struct query *query = calloc(1, sizeof(*query));
	if (!query)
		return -ENOMEM;
	int error;
	query->host = host_get(fleet, name, HOST_WANTED, &error);
	if (!query->host) {
		free(query);
		return error;
	}
	query->timer.due = query_due;
	query->end_ns = clock_after_ns(now_ns, wait_ns);
	query->nonce = ++fleet->last_request;
	query->kinds = kinds;
	query->data = data;
	list_append(&query->host->queries, &query->of_host);
	fleet->counts.lists_asked++;
	query_send(query);
	return 0;
}

static struct query *query_find(const struct host *host, uint64_t nonce)
{
	for (struct list *at = host->queries.next; at != &host->queries; at = at->next) {
		struct query *query = container_of(at, struct query, of_host);
		if (query->nonce == nonce)
			return query;
	}
	return NULL;
}

/* Something is missing: asks for all of it, and what still comes of the first answer is not used. */
static void query_ask_anew(struct query *query)
{
	query_begin(query);
	query->replaced = query->nonce;
	query->nonce = ++query->host->fleet->last_request;
	query_send(query);
}

/* The entry with its times on the clock of this host. */
static struct ctxd_entry entry_here(const struct fleet *fleet, const struct fleet_listed_entry *listed)
{
	struct ctxd_entry entry = listed->entry;

	if (entry.created_ns)
		entry.created_ns = ago_ns(fleet, listed->age_ns);
	if (entry.deadline_ns)
		entry.deadline_ns = clock_after_ns(fleet->now_ns, listed->left_ns);
	if (entry.ended_ns)
		entry.ended_ns = ago_ns(fleet, listed->ended_ago_ns);
	return entry;
}

void query_entry(struct host *host, const struct fleet_listed_entry *listed)
{
	struct fleet *fleet = host->fleet;
	struct query *query = query_find(host, listed->nonce);

	if (!query || (listed->index && listed->index < query->count))
		return;
	query->is_heard = true;
	query->again_ns = clock_after_ns(fleet->now_ns, fleet->beat_ns / 2);
	if (listed->index == 0) {
		query_begin(query);
	} else if (listed->index > query->count) {
		query_ask_anew(query);
		return;
	}
	struct ctxd_entry entry = entry_here(fleet, listed);
	query->count++;
	fleet->output.list_entry(query->data, &entry);
}

void query_end(struct host *host, const struct fleet_listed *listed)
{
	struct query *query = query_find(host, listed->nonce);

	if (!query)
		return;
	query->is_heard = true;
	if (listed->error)
		query_finish(query, listed->error);
	else if (listed->count == query->count)
		query_finish(query, 0);
	else
		query_ask_anew(query);
}

void queries_repeat(struct host *host)
{
	for (struct list *at = host->queries.next; at != &host->queries; at = at->next)
		query_send(container_of(at, struct query, of_host));
}

void queries_free(struct host *host)
{
	while (!list_empty(&host->queries))
		query_free(container_of(host->queries.next, struct query, of_host));
}
