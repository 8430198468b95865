/* SPDX-License-Identifier: MIT */
/*
 * Another host, and the messages to and from it. What one turn has for a host leaves in one batch, and more
 * batches only where one is full. The queue is bounded, and nothing in it is worth keeping: when it has no
 * room, or the link is down, all of it is dropped, and HELLO and RESYNC ask both sides for what is true.
 */
#include "fleet_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* An empty queue keeps this much memory for the next messages. */
#define QUEUE_KEPT 4096u
/* So many bytes of messages fit into any batch. */
#define FLEET_ROOM (FLEET_BATCH_MAX - FLEET_HEADER_MAX - FLEET_CODE_SIZE)
/* A host is forgotten when nothing was sent or received for so many leases, as long as the engine keeps an
 * inbox. */
#define IDLE_LEASES 10

/* ---- finding, making, freeing */

uint64_t key_hash(const struct fleet_key *key)
{
	return hash_bytes(key, sizeof(*key));
}

static uint64_t name_hash(const char *name)
{
	return hash_bytes(name, strlen(name));
}

struct host *host_find(const struct fleet *fleet, const char *name)
{
	struct map_node *node = map_find(&fleet->hosts_by_name, name_hash(name));

	for (; node; node = map_older(node)) {
		struct host *host = container_of(node, struct host, by_name);
		if (strcmp(host->name, name) == 0)
			return host;
	}
	return NULL;
}

/* Begins a session with it: messages are counted from 1. */
static void session_begin(struct host *host)
{
	host->session = ++host->fleet->last_session;
	host->next = 1;
}

void host_note_idle(struct host *host)
{
	struct list *idle = &host->fleet->parts[host->origin].idle;

	if (!list_empty(&host->idle) || host_is_busy(host))
		return;
	/* Nothing is lost with one that is only a name. */
	if (host->origin == HOST_HEARD || host->info.received)
		list_append(idle, &host->idle);
	else
		list_insert(idle, &host->idle);
}

/* Makes room for one more host of that origin. Each that is passed has been put into the list once. */
static bool host_make_room(struct fleet *fleet, enum host_origin origin)
{
	struct host_part *part = &fleet->parts[origin];

	while (part->count >= fleet->config.hosts_max && !list_empty(&part->idle)) {
		struct host *host = container_of(part->idle.next, struct host, idle);
		list_remove(&host->idle);
		if (!host_is_busy(host))
			host_free(host);
	}
	return part->count < fleet->config.hosts_max;
}

struct host *host_get(struct fleet *fleet, const char *name, enum host_origin origin, int *ret_error)
{
	struct host *host = host_find(fleet, name);

	if (host)
		return host;
	*ret_error = host_make_room(fleet, origin) ? -ENOMEM : -EDQUOT;
	host = *ret_error == -ENOMEM ? calloc(1, sizeof(*host)) : NULL;
	if (!host)
		return NULL;
	host->fleet = fleet;
	host->origin = origin;
	strcpy(host->name, name);
	list_append(&fleet->hosts, &host->link);
	list_init(&host->dirty);
	list_init(&host->idle);
	map_add(&fleet->hosts_by_name, &host->by_name, name_hash(name));
	list_init(&host->interests);
	list_init(&host->unsynced);
	list_init(&host->mirrors);
	list_init(&host->cancels);
	list_init(&host->listings);
	list_init(&host->errands);
	list_init(&host->queries);
	session_begin(host);
	host->in_next = 1;
	host->heard_ns = fleet->now_ns;
	host->due_ns = clock_after_ns(fleet->now_ns, host_beat_ns(fleet));
	host->greet_ns = UINT64_MAX;
	fleet->counts.hosts++;
	fleet->parts[origin].count++;
	host_note_idle(host);
	host_set_timer(host);
	return host;
}

void host_free(struct host *host)
{
	struct fleet *fleet = host->fleet;

	heap_remove(&fleet->host_timers, &host->timer);
	list_remove(&host->dirty);
	list_remove(&host->idle);
	list_remove(&host->link);
	map_remove(&fleet->hosts_by_name, &host->by_name);
	fleet->counts.hosts--;
	fleet->parts[host->origin].count--;
	free(host->queue);
	free(host);
}

/* ---- time */

bool host_is_related(const struct host *host)
{
	return host->mirror_count || host->interest_count;
}

uint64_t host_beat_ns(const struct fleet *fleet)
{
	uint64_t stretch = (fleet->roster.related + RELATED_FEW - 1) / RELATED_FEW;

	return stretch > 1 ? fleet->beat_ns * stretch : fleet->beat_ns;
}

bool host_is_busy(const struct host *host)
{
	return host_is_related(host) || !list_empty(&host->cancels) || !list_empty(&host->listings) ||
	       !list_empty(&host->errands) || !list_empty(&host->queries);
}

uint64_t host_idle_ns(const struct host *host)
{
	uint64_t latest_ns = host->sent_ns > host->heard_ns ? host->sent_ns : host->heard_ns;

	return clock_after_ns(latest_ns, IDLE_LEASES * host->fleet->config.lease_ns);
}

void host_set_timer(struct host *host)
{
	struct heap *timers = &host->fleet->host_timers;

	heap_remove(timers, &host->timer);
	heap_insert(timers, &host->timer, host->greet_ns < host->due_ns ? host->greet_ns : host->due_ns);
}

/* ---- to it */

void host_want(struct host *host, unsigned wants)
{
	host->wants |= wants;
	list_remove(&host->dirty);
	list_append(&host->fleet->dirty, &host->dirty);
}

void host_drop_queue(struct host *host)
{
	host->fleet->counts.dropped += host->queued;
	host->info.dropped += host->queued;
	free(host->queue);
	host->queue = NULL;
	host->queued = host->room = 0;
	host->is_resyncing = false;
	host->wants = 0;
}

/* Makes room for size more bytes in the queue. */
static bool queue_grow(struct host *host, size_t size)
{
	size_t limit = host->fleet->config.queue_bytes, room = host->room ? host->room : 256;

	if (host->queued + size <= host->room)
		return true;
	if (host->queued + size > limit)
		return false;
	while (room < host->queued + size)
		room *= 2;
	uint8_t *larger = realloc(host->queue, room < limit ? room : limit);
	if (!larger)
		return false;
	host->queue = larger;
	host->room = room < limit ? room : limit;
	return true;
}

void host_queue(struct host *host, const struct fleet_message *message)
{
	uint8_t bytes[FLEET_MESSAGE_MAX];

	if (!host->fleet->roster.is_up)
		return; /* When the link comes up, HELLO and RESYNC go to all hosts. */
	size_t size = fleet_wire_pack(message, bytes);
	if (host->queued + size > FLEET_ROOM && !host->fleet->is_blocked)
		host_flush(host);
	if (!queue_grow(host, size)) {
		host_drop_queue(host);
		host->greet_ns = clock_after_ns(host->fleet->now_ns, host->fleet->beat_ns / 4);
		host_set_timer(host);
		return;
	}
	memcpy(host->queue + host->queued, bytes, size);
	host->queued += size;
}

void host_send(struct host *host, const struct fleet_message *message)
{
	host_queue(host, message);
	host_want(host, 0);
}

void host_need_resync(struct host *host)
{
	uint64_t now_ns = host->fleet->now_ns;

	host->needs_resync = true;
	if (host->hello_ns && now_ns - host->hello_ns < host->fleet->beat_ns / 2)
		return;
	host->hello_ns = now_ns;
	host_want(host, WANT_HELLO);
}

uint32_t next_nonce(struct fleet *fleet)
{
	if (++fleet->last_nonce == 0)
		fleet->last_nonce = 1;
	return fleet->last_nonce;
}

/* Adds a HELLO or a PROBE to the batch that is being made. nonce: of a PROBE. */
static void batch_add(struct fleet *fleet, size_t *size, struct fleet_batch *batch, enum fleet_type type,
		      uint32_t nonce)
{
	struct fleet_message message = {.type = type, .nonce = nonce};
	uint8_t bytes[FLEET_MESSAGE_MAX];
	size_t added = fleet_wire_pack(&message, bytes);

	memcpy(fleet->batch + *size, bytes, added);
	*size += added;
	batch->count++;
}

/* Makes one batch of what is wanted, and of what is queued behind the first `taken` bytes. Returns its size.
 */
static size_t batch_make(struct host *host, struct fleet_batch *batch, size_t *taken)
{
	struct fleet *fleet = host->fleet;

	*batch = (struct fleet_batch){
		.flags = (uint16_t)((host->mirror_count ? FLEET_HOLDS : 0) |
				    (host->interest_count ? FLEET_KEEPS : 0) |
				    (fleet->hmac ? FLEET_CODED : 0)),
		.from_incarnation = fleet->config.incarnation,
		.to_incarnation = host->incarnation,
		.session = host->session,
		.first = host->next,
		.heard = host->heard,
	};
	strcpy(batch->fleet, fleet->config.fleet);
	strcpy(batch->from, fleet->config.host);
	size_t size = fleet_wire_pack_header(batch, fleet->batch);
	if (host->wants & WANT_HELLO)
		batch_add(fleet, &size, batch, FLEET_HELLO, 0);
	if (host->wants & WANT_PROBE)
		batch_add(fleet, &size, batch, FLEET_PROBE, next_nonce(fleet));
	while (*taken < host->queued) {
		size_t next = fleet_wire_size(host->queue + *taken);
		if (size + next > FLEET_BATCH_MAX - (fleet->hmac ? FLEET_CODE_SIZE : 0))
			break;
		memcpy(fleet->batch + size, host->queue + *taken, next);
		size += next;
		*taken += next;
		batch->count++;
	}
	fleet_wire_pack_header(batch, fleet->batch);
	return size;
}

/*
 * The code of a batch. It covers what the bytes say, which is the fleet, the sender, both incarnations, the
 * sequence and the messages, and the receiver, which they do not say. False: no memory.
 */
static bool batch_code(struct fleet *fleet, const char *to, const uint8_t *bytes, size_t size,
		       uint8_t code[FLEET_CODE_SIZE])
{
	const struct hmac_piece pieces[] = {{to, strlen(to) + 1}, {bytes, size}};

	return hmac_compute(fleet->hmac, pieces, 2, code);
}

bool host_batch_is_genuine(struct fleet *fleet, const uint8_t *bytes, size_t size,
			   const struct fleet_batch *batch)
{
	uint8_t code[FLEET_CODE_SIZE];

	if (!fleet->hmac || !(batch->flags & FLEET_CODED))
		return !fleet->hmac && !(batch->flags & FLEET_CODED);
	return batch->end + FLEET_CODE_SIZE == size &&
	       batch_code(fleet, fleet->config.host, bytes, batch->end, code) &&
	       hmac_equal(code, bytes + batch->end);
}

/* Sends one batch. False: the engine takes no more. */
static bool batch_send(struct host *host, size_t *taken)
{
	struct fleet *fleet = host->fleet;
	struct fleet_batch batch;
	size_t after = *taken, size = batch_make(host, &batch, &after);
	bool is_lost = fleet->hmac && !batch_code(fleet, host->name, fleet->batch, size, fleet->batch + size);

	/* Without memory for the code the batch is lost, like one that the engine loses. */
	size += fleet->hmac ? FLEET_CODE_SIZE : 0;
	if (!is_lost && !fleet->output.send(fleet->output.link, host->name, fleet->batch, size)) {
		fleet->is_blocked = true;
		return false;
	}
	*taken = after;
	fleet->counts.sent++;
	host->info.sent++;
	if (host->wants & WANT_PROBE) {
		host->probed_ns = host->probe_sent_ns = fleet->now_ns;
		host->probe_nonce = fleet->last_nonce;
	}
	host->wants &= WANT_RESYNC;
	host->next += batch.count;
	host->sent_ns = fleet->now_ns;
	host->due_ns = clock_after_ns(fleet->now_ns, host_beat_ns(fleet));
	return true;
}

void host_flush(struct host *host)
{
	size_t taken = 0;
	bool goes_on = host->fleet->roster.is_up && !host->fleet->is_blocked;

	while (goes_on && (taken < host->queued || host->wants & ~(unsigned)WANT_RESYNC))
		goes_on = batch_send(host, &taken);
	host->queued -= taken;
	if (host->queued) {
		memmove(host->queue, host->queue + taken, host->queued);
	} else if (host->room > QUEUE_KEPT) {
		free(host->queue);
		host->queue = NULL;
		host->room = 0;
	}
	if (!host->queued && !host->wants)
		list_remove(&host->dirty);
	host_set_timer(host);
}

/* ---- from it */

void host_measure(struct host *host, uint64_t round_trip_ns)
{
	uint64_t *smoothed_ns = &host->info.round_trip_ns;

	/* As TCP does it, RFC 6298. */
	*smoothed_ns = *smoothed_ns ? *smoothed_ns - *smoothed_ns / 8 + round_trip_ns / 8 : round_trip_ns;
}

bool host_learn_incarnation(struct host *host, uint64_t incarnation)
{
	uint64_t before = host->incarnation;

	if (incarnation == before)
		return false;
	host->incarnation = incarnation;
	host->is_disputed = false;
	if (!before)
		return false;
	host->past_incarnation = before;
	host_drop_queue(host);
	session_begin(host);
	host->in_session = 0;
	host->in_next = 1;
	return true;
}

/* Whether the sender of a batch is known to be alive, or has shown it. Without a key that is not asked for.
 */
static bool is_proven(const struct host *host, const struct fleet_batch *batch)
{
	return !host->fleet->hmac || batch->from_incarnation == host->incarnation ||
	       batch->heard == host->session;
}

unsigned host_check_batch(struct host *host, const struct fleet_batch *batch)
{
	struct fleet *fleet = host->fleet;
	unsigned result = 0;

	if (batch->from_incarnation == host->past_incarnation) {
		host->is_disputed = true;
		return HOST_OLD;
	}
	if (!is_proven(host, batch)) {
		host->heard = batch->session;
		return HOST_UNPROVEN;
	}
	if (host_learn_incarnation(host, batch->from_incarnation))
		result |= HOST_NEW_BRIDGE;
	if (batch->to_incarnation && batch->to_incarnation != fleet->config.incarnation) {
		result |= HOST_ASTRAY;
	} else {
		if (batch->session < host->in_session)
			return result | HOST_OLD;
		if (batch->session > host->in_session) {
			result |= host->in_session ? HOST_NEW_SESSION : 0;
			host->in_session = batch->session;
			host->in_next = 1;
			host->is_round_whole = false;
		}
		if (batch->first < host->in_next)
			return result | HOST_OLD;
		if (batch->first > host->in_next) {
			result |= HOST_GAP;
			host->is_round_whole = false;
		}
		host->in_next = batch->first + batch->count;
	}
	host->heard = batch->session;
	host->heard_ns = host->info.heard_ns = fleet->now_ns;
	host->absent_ns = 0;
	return result;
}
