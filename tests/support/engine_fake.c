/* SPDX-License-Identifier: MIT */
#include "support/engine_fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"

#define HOSTS_MAX 1024
#define NOTICE_NS 900000000ull
#define ANSWER_NS 1000000ull

/* A batch on its way or in the inbox of a host, or an answer about a lease. */
struct parcel {
	struct list link; /* In fake->parcels, in the order of their times. */
	uint64_t due_ns;
	unsigned to;
	struct link_end *end; /* Of an answer: only this one gets it. */
	enum {
		PARCEL_BATCH,
		PARCEL_OWN_LEASE,
		PARCEL_LEASE,
		PARCEL_HOST,
		PARCEL_HOSTS_END,
		PARCEL_EXAMINED
	} kind;
	uint64_t incarnation;
	unsigned about; /* The host of the lease, or in the list of hosts. */
	int error;	/* Of the list of hosts. */
	size_t size;
	uint8_t bytes[];
};

struct place {
	char name[64];
	bool is_cut;
	uint64_t cut_ns;
	uint64_t lease, lease_end_ns;
};

struct link_end {
	struct engine engine;
	struct engine_fake *fake;
	unsigned number;
	struct engine_events events;
	bool is_up, is_refusing;
	uint64_t since_ns, connected;
};

struct engine_fake {
	unsigned seed;
	uint64_t now_ns, lease_ns;
	struct engine_chaos chaos;
	bool is_stopped, are_leases_hidden;
	struct place places[HOSTS_MAX];
	unsigned count;
	struct list parcels;
};

void *sure_realloc(void *memory, size_t size)
{
	memory = reallocarray(memory, 1, size);
	if (!memory)
		abort();
	return memory;
}

static unsigned draw(struct engine_fake *fake, unsigned bound)
{
	return (unsigned)rand_r(&fake->seed) % bound;
}

static unsigned place_of(struct engine_fake *fake, const char *name)
{
	for (unsigned i = 0; i < fake->count; i++)
		if (strcmp(fake->places[i].name, name) == 0)
			return i;
	if (fake->count == HOSTS_MAX)
		abort();
	fake->places[fake->count] = (struct place){0};
	strcpy(fake->places[fake->count].name, name);
	return fake->count++;
}

static bool is_reached(const struct engine_fake *fake, unsigned number)
{
	return !fake->is_stopped && !fake->places[number].is_cut;
}

/* ---- what goes wrong */

struct engine_fake *engine_fake_new(unsigned seed, uint64_t lease_ns)
{
	struct engine_fake *fake = sure_realloc(NULL, sizeof(*fake));

	memset(fake, 0, sizeof(*fake));
	fake->seed = seed;
	fake->lease_ns = lease_ns;
	list_init(&fake->parcels);
	return fake;
}

void engine_fake_empty(struct engine_fake *fake)
{
	while (!list_empty(&fake->parcels)) {
		struct parcel *parcel = container_of(fake->parcels.next, struct parcel, link);
		list_remove(&parcel->link);
		free(parcel);
	}
	for (unsigned i = 0; i < fake->count; i++)
		fake->places[i].lease = 0;
}

void engine_fake_free(struct engine_fake *fake)
{
	engine_fake_empty(fake);
	free(fake);
}

void engine_fake_chaos(struct engine_fake *fake, const struct engine_chaos *chaos)
{
	fake->chaos = *chaos;
}

void engine_fake_cut(struct engine_fake *fake, const char *host, bool is_cut)
{
	struct place *place = &fake->places[place_of(fake, host)];

	if (is_cut && !place->is_cut)
		place->cut_ns = fake->now_ns;
	place->is_cut = is_cut;
}

void engine_fake_stop(struct engine_fake *fake, bool is_stopped)
{
	fake->is_stopped = is_stopped;
}

void engine_fake_hide_leases(struct engine_fake *fake, bool are_hidden)
{
	fake->are_leases_hidden = are_hidden;
}

static uint64_t lease_of(const struct engine_fake *fake, unsigned number)
{
	const struct place *place = &fake->places[number];

	return place->lease_end_ns > fake->now_ns ? place->lease : 0;
}

bool engine_fake_has_lease(struct engine_fake *fake, const char *host)
{
	return lease_of(fake, place_of(fake, host));
}

/* ---- parcels */

static void add_parcel(struct engine_fake *fake, const struct parcel *head, const uint8_t *bytes,
		       uint64_t delay_ns)
{
	struct parcel *parcel = sure_realloc(NULL, sizeof(*parcel) + head->size);
	struct list *before = fake->parcels.prev;

	*parcel = *head;
	parcel->due_ns = fake->now_ns + delay_ns;
	if (head->size)
		memcpy(parcel->bytes, bytes, head->size);
	while (before != &fake->parcels && container_of(before, struct parcel, link)->due_ns > parcel->due_ns)
		before = before->prev;
	list_insert(before, &parcel->link);
}

static bool is_for(const struct parcel *parcel, const struct link_end *end)
{
	return parcel->end ? parcel->end == end : parcel->to == end->number;
}

/* What comes while the engine cannot be reached are the answers that it cannot be. */
static bool is_due_for(const struct parcel *parcel, const struct link_end *end)
{
	bool is_answered_alone = parcel->kind == PARCEL_HOSTS_END || parcel->kind == PARCEL_EXAMINED;

	return is_for(parcel, end) && (is_answered_alone || is_reached(end->fake, end->number));
}

static uint64_t draw_delay(struct engine_fake *fake)
{
	uint64_t spread_ns = fake->chaos.delay_max_ns - fake->chaos.delay_min_ns;

	return fake->chaos.delay_min_ns + (spread_ns ? draw(fake, 1000) * (spread_ns / 1000) : 0);
}

static void fake_status(const struct engine *engine, struct engine_status *ret_status)
{
	const struct link_end *end = container_of(engine, struct link_end, engine);

	*ret_status = (struct engine_status){.address = "fake",
					     .role = "master",
					     .software = "fake",
					     .version = "1",
					     .is_up = end->is_up,
					     .since_ns = end->since_ns,
					     .connected = end->connected,
					     .round_trip_ns = end->is_up ? ANSWER_NS : 0};
}

static void tell_status(struct link_end *end)
{
	struct engine_status status;

	fake_status(&end->engine, &status);
	end->events.examined(end->events.link, &status);
}

static void open_parcel(struct link_end *end, const struct parcel *parcel)
{
	const struct engine_events *events = &end->events;

	if (parcel->kind == PARCEL_BATCH)
		events->message(events->link, parcel->bytes, parcel->size);
	else if (parcel->kind == PARCEL_OWN_LEASE)
		events->own_lease(events->link, parcel->incarnation);
	else if (parcel->kind == PARCEL_LEASE)
		events->lease(events->link, end->fake->places[parcel->about].name, parcel->incarnation);
	else if (parcel->kind == PARCEL_HOST && events->host)
		events->host(events->link, end->fake->places[parcel->about].name, 0);
	else if (parcel->kind == PARCEL_HOSTS_END && events->host)
		events->host(events->link, NULL, parcel->error);
	else if (parcel->kind == PARCEL_EXAMINED && events->examined)
		tell_status(end);
}

/* ---- the seam */

static bool fake_send(struct engine *engine, const char *host, const uint8_t *bytes, size_t size)
{
	struct link_end *end = container_of(engine, struct link_end, engine);
	struct engine_fake *fake = end->fake;
	struct parcel head = {.to = place_of(fake, host), .kind = PARCEL_BATCH, .size = size};

	if (draw(fake, 100) < fake->chaos.refused) {
		end->is_refusing = true;
		return false;
	}
	if (!is_reached(fake, end->number) || draw(fake, 100) < fake->chaos.lost)
		return true;
	add_parcel(fake, &head, bytes, draw_delay(fake));
	if (draw(fake, 100) < fake->chaos.doubled)
		add_parcel(fake, &head, bytes, draw_delay(fake));
	return true;
}

static void answer_own_lease(struct link_end *end, uint64_t incarnation)
{
	struct parcel head = {
		.to = end->number, .end = end, .kind = PARCEL_OWN_LEASE, .incarnation = incarnation};

	add_parcel(end->fake, &head, NULL, ANSWER_NS);
}

static void write_lease(struct link_end *end, uint64_t incarnation)
{
	struct place *place = &end->fake->places[end->number];

	place->lease = incarnation;
	place->lease_end_ns = end->fake->now_ns + end->fake->lease_ns;
}

static void fake_lease_take(struct engine *engine, uint64_t incarnation)
{
	struct link_end *end = container_of(engine, struct link_end, engine);

	if (!is_reached(end->fake, end->number))
		return;
	if (!lease_of(end->fake, end->number))
		write_lease(end, incarnation);
	answer_own_lease(end, lease_of(end->fake, end->number));
}

static void fake_lease_renew(struct engine *engine, uint64_t incarnation)
{
	struct link_end *end = container_of(engine, struct link_end, engine);
	uint64_t before = lease_of(end->fake, end->number);

	if (!is_reached(end->fake, end->number))
		return;
	if (before)
		write_lease(end, incarnation);
	answer_own_lease(end, before);
}

static void fake_lease_read(struct engine *engine, const char *const *hosts, unsigned count)
{
	struct link_end *end = container_of(engine, struct link_end, engine);

	for (unsigned i = 0; i < count && is_reached(end->fake, end->number); i++) {
		unsigned about = place_of(end->fake, hosts[i]);
		struct parcel head = {.to = end->number,
				      .end = end,
				      .kind = PARCEL_LEASE,
				      .about = about,
				      .incarnation =
					      end->fake->are_leases_hidden ? 0 : lease_of(end->fake, about)};
		add_parcel(end->fake, &head, NULL, ANSWER_NS);
	}
}

/* Those of a link that is down are answered as well. */
static void fake_hosts(struct engine *engine)
{
	struct link_end *end = container_of(engine, struct link_end, engine);
	struct engine_fake *fake = end->fake;
	bool is_reachable = is_reached(fake, end->number);
	struct parcel head = {.to = end->number, .end = end};

	for (head.about = 0; head.about < fake->count && is_reachable; head.about++) {
		head.kind = PARCEL_HOST;
		if (lease_of(fake, head.about))
			add_parcel(fake, &head, NULL, ANSWER_NS);
	}
	head.kind = PARCEL_HOSTS_END;
	head.error = is_reachable ? 0 : -EHOSTUNREACH;
	add_parcel(fake, &head, NULL, ANSWER_NS);
}

static void fake_examine(struct engine *engine)
{
	struct link_end *end = container_of(engine, struct link_end, engine);
	struct parcel head = {.to = end->number, .end = end, .kind = PARCEL_EXAMINED};

	add_parcel(end->fake, &head, NULL, ANSWER_NS);
}

static int fake_fd(const struct engine *engine)
{
	(void)engine;
	return -1;
}

static uint64_t fake_next_ns(const struct engine *engine)
{
	const struct link_end *end = container_of(engine, struct link_end, engine);
	const struct engine_fake *fake = end->fake;
	const struct place *place = &fake->places[end->number];
	bool is_reachable = is_reached(fake, end->number);

	if (end->is_up != is_reachable || end->is_refusing) {
		if (!place->is_cut || fake->is_stopped)
			return fake->now_ns;
		return place->cut_ns + NOTICE_NS;
	}
	for (struct list *at = fake->parcels.next; at != &fake->parcels; at = at->next)
		if (is_due_for(container_of(at, struct parcel, link), end))
			return container_of(at, struct parcel, link)->due_ns;
	return UINT64_MAX;
}

static void notice_link(struct link_end *end)
{
	struct engine_fake *fake = end->fake;
	const struct engine_events *events = &end->events;
	const struct place *place = &fake->places[end->number];

	if (!end->is_up && is_reached(fake, end->number)) {
		end->is_up = true;
		end->since_ns = fake->now_ns;
		end->connected++;
		events->up(events->link, true);
	} else if (end->is_up && !is_reached(fake, end->number) &&
		   (fake->is_stopped || fake->now_ns - place->cut_ns >= NOTICE_NS)) {
		end->is_up = end->is_refusing = false;
		end->since_ns = fake->now_ns;
		events->down(events->link);
	} else if (end->is_refusing && is_reached(fake, end->number)) {
		end->is_refusing = false;
		events->writable(events->link);
	}
}

static void fake_dispatch(struct engine *engine, uint64_t now_ns)
{
	struct link_end *end = container_of(engine, struct link_end, engine);
	struct engine_fake *fake = end->fake;
	struct list *next;

	fake->now_ns = now_ns;
	notice_link(end);
	for (struct list *at = fake->parcels.next; at != &fake->parcels; at = next) {
		struct parcel *parcel = container_of(at, struct parcel, link);
		next = at->next;
		if (parcel->due_ns > now_ns)
			break;
		if (!is_due_for(parcel, end))
			continue;
		list_remove(&parcel->link);
		open_parcel(end, parcel);
		free(parcel);
	}
}

static void fake_close(struct engine *engine)
{
	struct link_end *end = container_of(engine, struct link_end, engine);
	struct list *next;

	/* Batches stay in the inbox; answers were for this link. */
	for (struct list *at = end->fake->parcels.next; at != &end->fake->parcels; at = next) {
		struct parcel *parcel = container_of(at, struct parcel, link);
		next = at->next;
		if (parcel->end != end)
			continue;
		list_remove(&parcel->link);
		free(parcel);
	}
	free(end);
}

static const struct engine_calls fake_calls = {
	.close = fake_close,
	.fd = fake_fd,
	.next_ns = fake_next_ns,
	.dispatch = fake_dispatch,
	.send = fake_send,
	.lease_take = fake_lease_take,
	.lease_renew = fake_lease_renew,
	.lease_read = fake_lease_read,
	.hosts = fake_hosts,
	.examine = fake_examine,
	.status = fake_status,
};

struct engine *engine_fake_open(struct engine_fake *fake, const char *host,
				const struct engine_events *events)
{
	struct link_end *end = sure_realloc(NULL, sizeof(*end));

	memset(end, 0, sizeof(*end));
	end->engine.calls = &fake_calls;
	end->fake = fake;
	end->number = place_of(fake, host);
	end->events = *events;
	return &end->engine;
}
