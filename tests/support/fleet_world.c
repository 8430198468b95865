/* SPDX-License-Identifier: MIT */
#include "support/fleet_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long after a disturbance a host may be taken for dead, or a link for lost. */
#define VERDICT_NS (3 * WORLD_LEASE_NS)

const struct engine_chaos world_calm = {.delay_min_ns = 1000000, .delay_max_ns = 1000000};

unsigned world_draw(struct world *world, unsigned bound)
{
	return (unsigned)rand_r(&world->seed) % bound;
}

/* ---- what may be wrong for a while */

static bool is_recent(const struct world *world, uint64_t time_ns, uint64_t within_ns)
{
	return time_ns && world->now_ns - time_ns <= within_ns;
}

static bool host_is_disturbed(const struct world *world, unsigned number, uint64_t within_ns)
{
	const struct world_host *host = &world->hosts[number];

	return host->is_cut || !host->fleet || host->is_service_down ||
	       is_recent(world, host->disturbed_ns, within_ns);
}

static bool is_disturbed(const struct world *world, const struct world_mirror *mirror, uint64_t within_ns)
{
	return world->is_engine_stopped || is_recent(world, world->engine_disturbed_ns, within_ns) ||
	       host_is_disturbed(world, mirror->host, within_ns) ||
	       host_is_disturbed(world, world->contexts[mirror->context].owner, within_ns);
}

/* ---- what a bridge says of mirrors */

static void check_deadline(const struct world_mirror *mirror)
{
	world_assert(mirror->world,
		     mirror->deadline_ns >= mirror->world->contexts[mirror->context].deadline_min_ns);
}

static void on_mirror_live(void *data, const struct fleet_live *live)
{
	struct world_mirror *mirror = data;
	const struct world_context *context = &mirror->world->contexts[mirror->context];

	world_assert(mirror->world, !mirror->is_ended && !mirror->is_left);
	world_assert(mirror->world, strcmp(live->label, context->id.host) == 0 ||
					    (mirror->world->lacks_memory && !live->label[0]));
	world_assert(mirror->world, live->movable == context->is_movable);
	mirror->is_live_told = true;
	mirror->deadline_ns = live->deadline_ns;
	check_deadline(mirror);
}

static void on_mirror_moved(void *data, uint64_t deadline_ns)
{
	struct world_mirror *mirror = data;

	world_assert(mirror->world, !mirror->is_ended && !mirror->is_left && mirror->is_live_told);
	mirror->deadline_ns = deadline_ns;
	check_deadline(mirror);
}

static void check_end(struct world_mirror *mirror, const struct world_context *context,
		      const struct wire_cause *cause)
{
	struct world *world = mirror->world;
	bool survives = mirror->flags & FLEET_JOIN_SURVIVE;

	world_assert(world, (cause != NULL) == (mirror->end == FLEET_END_CAUSE));
	switch (mirror->end) {
	case FLEET_END_CAUSE:
		world_assert(world, context->is_ended && cause->code == context->cause.code);
		world_assert(world, strcmp(cause->host, context->id.host) == 0);
		world_assert(world, strcmp(cause->text, context->cause.text) == 0);
		world_assert(world, cause->kind == context->cause.kind);
		world_assert(world, cause->time_ns >= context->cause.time_ns);
		break;
	case FLEET_END_UNKNOWN:
		world_assert(world, context->is_released || context->is_forgotten);
		break;
	case FLEET_END_FORGOTTEN:
		world_assert(world, !survives && (context->is_released || context->is_forgotten));
		break;
	case FLEET_END_HOST:
		world_assert(world, !survives && is_disturbed(world, mirror, VERDICT_NS));
		world->host_ends++;
		break;
	case FLEET_END_UNREACHABLE:
		world_assert(world, !survives && is_disturbed(world, mirror, VERDICT_NS + WORLD_GRACE_NS));
		world->unreachable_ends++;
		break;
	}
}

static void on_mirror_ended(void *data, enum fleet_end end, const struct wire_cause *cause)
{
	struct world_mirror *mirror = data;

	world_assert(mirror->world, !mirror->is_ended && !mirror->is_left);
	mirror->is_ended = true;
	mirror->end = end;
	mirror->ended_ns = mirror->world->now_ns;
	if (cause)
		mirror->cause = *cause;
	check_end(mirror, &mirror->world->contexts[mirror->context], cause);
}

/* ---- what a bridge wants of its host and of the engine */

static void tape_add(struct world *world, const char *to, const uint8_t *bytes, size_t size)
{
	world->tape = world_array_grow(world->tape, world->tape_count, sizeof(*world->tape));
	struct world_batch *batch = &world->tape[world->tape_count++];
	*batch = (struct world_batch){.size = size, .bytes = sure_realloc(NULL, size)};
	memcpy(batch->bytes, bytes, size);
	while (strcmp(world->hosts[batch->to].name, to) != 0)
		batch->to++;
}

void world_replay(struct world *world, unsigned number)
{
	const struct world_batch *batch = &world->tape[number];

	if (world->hosts[batch->to].fleet)
		fleet_receive(world->hosts[batch->to].fleet, batch->bytes, batch->size, world->now_ns);
}

static bool on_send(void *link, const char *to, const uint8_t *bytes, size_t size)
{
	struct world_host *host = link;

	world_assert(host->world, size <= 65536);
	host->sends++;
	host->sent_bytes += size;
	if (host->world->is_taping)
		tape_add(host->world, to, bytes, size);
	return host->engine->calls->send(host->engine, to, bytes, size);
}

static void on_lease_take(void *link, uint64_t incarnation)
{
	struct world_host *host = link;

	host->engine->calls->lease_take(host->engine, incarnation);
}

static void on_lease_renew(void *link, uint64_t incarnation)
{
	struct world_host *host = link;

	host->engine->calls->lease_renew(host->engine, incarnation);
}

static void on_lease_read(void *link, const char *const *names, unsigned count)
{
	struct world_host *host = link;

	host->engine->calls->lease_read(host->engine, names, count);
}

static void on_name_conflict(void *link, uint64_t incarnation)
{
	struct world_host *host = link;

	ck_assert(incarnation != host->config.incarnation);
	host->conflicts++;
}

static void on_local_join(void *link, const struct fleet_key *key)
{
	struct world_host *host = link;

	if (host->asked_count == host->asked_room) {
		host->asked_room = host->asked_room ? host->asked_room * 2 : 64;
		host->asked = sure_realloc(host->asked, host->asked_room * sizeof(*host->asked));
	}
	host->asked[host->asked_count++] = *key;
	host->asked_total++;
}

static void on_local_leave(void *link, const struct fleet_key *key)
{
	struct world_host *host = link;

	(void)key;
	host->local_leaves++;
}

/* ---- what the engine says */

static void on_message(void *link, const uint8_t *bytes, size_t size)
{
	struct world_host *host = link;

	fleet_receive(host->fleet, bytes, size, host->world->now_ns);
}

static void on_up(void *link, bool fresh)
{
	struct world_host *host = link;

	ck_assert(fresh);
	fleet_engine_up(host->fleet, host->world->now_ns);
}

static void on_down(void *link)
{
	struct world_host *host = link;

	fleet_engine_down(host->fleet, host->world->now_ns);
}

static void on_writable(void *link)
{
	struct world_host *host = link;

	fleet_engine_writable(host->fleet);
}

static void on_own_lease(void *link, uint64_t incarnation)
{
	struct world_host *host = link;

	fleet_own_lease(host->fleet, incarnation, host->world->now_ns);
}

static void on_lease(void *link, const char *name, uint64_t incarnation)
{
	struct world_host *host = link;

	fleet_lease(host->fleet, name, incarnation, host->world->now_ns);
}

/* ---- hosts */

static void mirror_join(struct world *world, struct world_mirror *mirror)
{
	struct world_host *host = &world->hosts[mirror->host];
	int error = fleet_join(host->fleet, &world->contexts[mirror->context].id, mirror->flags, mirror,
			       world->now_ns, &mirror->mirror);

	if (error)
		mirror->mirror = NULL;
}

void world_bridge_start(struct world *world, unsigned number)
{
	struct world_host *host = &world->hosts[number];
	struct fleet_output output = {.send = on_send,
				      .lease_take = on_lease_take,
				      .lease_renew = on_lease_renew,
				      .lease_read = on_lease_read,
				      .name_conflict = on_name_conflict,
				      .local_join = on_local_join,
				      .local_leave = on_local_leave,
				      .link = host,
				      .mirror_live = on_mirror_live,
				      .mirror_moved = on_mirror_moved,
				      .mirror_ended = on_mirror_ended};
	struct engine_events events = {on_message,   on_up,    on_down,	    on_writable,
				       on_own_lease, on_lease, .link = host};

	world_service_output(&output);
	ck_assert_ptr_null(host->fleet);
	host->config.past_incarnation = host->config.incarnation;
	host->config.incarnation = ++world->last_incarnation;
	host->fleet = fleet_new(&host->config, &output, world->now_ns);
	if (!host->fleet)
		return;
	host->engine = engine_fake_open(world->fake, host->name, &events);
	host->asked_count = 0;
	/* What is known of earlier lives of the bridge is what the programs hold. */
	for (unsigned i = 0; i < world->mirror_count; i++) {
		struct world_mirror *mirror = world->mirrors[i];
		if (mirror->host == number && !mirror->is_ended && !mirror->is_left)
			mirror_join(world, mirror);
	}
}

void world_bridge_kill(struct world *world, unsigned number)
{
	struct world_host *host = &world->hosts[number];

	if (!host->fleet)
		return;
	host->disturbed_ns = world->now_ns;
	fleet_free(host->fleet);
	host->fleet = NULL;
	world_service_forget(host);
	host->engine->calls->close(host->engine);
	for (unsigned i = 0; i < world->mirror_count; i++)
		if (world->mirrors[i]->host == number)
			world->mirrors[i]->mirror = NULL;
}

void world_cut(struct world *world, unsigned number, bool is_cut)
{
	world->hosts[number].disturbed_ns = world->now_ns;
	world->hosts[number].is_cut = is_cut;
	engine_fake_cut(world->fake, world->hosts[number].name, is_cut);
}

void world_engine_stop(struct world *world, bool is_stopped)
{
	world->engine_disturbed_ns = world->now_ns;
	world->is_engine_stopped = is_stopped;
	engine_fake_stop(world->fake, is_stopped);
}

void world_engine_empty(struct world *world)
{
	world->engine_disturbed_ns = world->now_ns;
	engine_fake_empty(world->fake);
}

struct world *world_new(unsigned seed, unsigned hosts)
{
	return world_new_with_key(seed, hosts, 0);
}

struct world *world_new_with_key(unsigned seed, unsigned hosts, unsigned key_size)
{
	struct world *world = sure_realloc(NULL, sizeof(*world));

	memset(world, 0, sizeof(*world));
	world->seed = world->first_seed = seed;
	world->now_ns = 1000 * NS_PER_SECOND;
	world->fake = engine_fake_new(seed, WORLD_LEASE_NS);
	engine_fake_chaos(world->fake, &world_calm);
	world->host_count = hosts;
	for (unsigned i = 0; i < hosts; i++) {
		struct world_host *host = &world->hosts[i];
		host->world = world;
		host->number = i;
		snprintf(host->name, sizeof(host->name), "host-%u", i);
		fleet_config_init(&host->config);
		strcpy(host->config.host, host->name);
		host->config.lease_ns = WORLD_LEASE_NS;
		host->config.grace_ns = WORLD_GRACE_NS;
		host->config.key_size = key_size;
		memset(host->config.key, 0x5a, key_size);
		world_bridge_start(world, i);
	}
	world_run(world, NS_PER_SECOND / 10);
	return world;
}

void world_free(struct world *world)
{
	for (unsigned i = 0; i < world->host_count; i++) {
		world_bridge_kill(world, i);
		free(world->hosts[i].asked);
	}
	for (unsigned i = 0; i < world->mirror_count; i++)
		free(world->mirrors[i]);
	world_service_free(world);
	for (unsigned i = 0; i < world->tape_count; i++)
		free(world->tape[i].bytes);
	free(world->tape);
	engine_fake_free(world->fake);
	free(world->mirrors);
	free(world->contexts);
	free(world);
}

/* ---- contexts */

void *world_array_grow(void *array, unsigned count, size_t size)
{
	if (count & (count - 1))
		return array;
	return sure_realloc(array, (count ? count * 2 : 1) * size);
}

unsigned world_context(struct world *world, unsigned owner, uint64_t deadline_ns)
{
	unsigned number = world->context_count;

	world->contexts = world_array_grow(world->contexts, number, sizeof(*world->contexts));
	world->context_count++;
	struct world_context *context = &world->contexts[number];
	*context = (struct world_context){.owner = owner};
	strcpy(context->id.host, world->hosts[owner].name);
	context->id.key = (struct fleet_key){{7, number + 1}, number * 31 + 5};
	context->deadline_ns = context->deadline_min_ns = deadline_ns ? deadline_ns : CTX_FOREVER;
	context->is_movable = number % 2;
	return number;
}

static void context_end(struct world *world, struct world_context *context, bool expired)
{
	struct fleet *fleet = world->hosts[context->owner].fleet;

	if (context->is_ended)
		return;
	context->is_ended = true;
	context->cause = (struct wire_cause){.error = expired ? -ETIME : -ECANCELED,
					     .kind = expired ? CTX_CAUSE_DEADLINE : CTX_CAUSE_CALL,
					     .expired = expired,
					     .code = (int32_t)context->id.key.id.number,
					     .time_ns = world->now_ns};
	snprintf(context->cause.text, sizeof(context->cause.text), "context %u",
		 (unsigned)context->id.key.id.number);
	if (fleet)
		fleet_owned_ended(fleet, &context->id.key, &context->cause, world->now_ns);
}

void world_end(struct world *world, unsigned context)
{
	context_end(world, &world->contexts[context], false);
}

void world_move(struct world *world, unsigned number, uint64_t deadline_ns)
{
	struct world_context *context = &world->contexts[number];
	struct fleet *fleet = world->hosts[context->owner].fleet;

	if (context->is_ended)
		return;
	context->was_moved = true;
	context->deadline_ns = deadline_ns;
	if (deadline_ns < context->deadline_min_ns)
		context->deadline_min_ns = deadline_ns;
	if (fleet)
		fleet_owned_moved(fleet, &context->id.key, deadline_ns, world->now_ns);
}

void world_release(struct world *world, unsigned number)
{
	struct world_context *context = &world->contexts[number];
	struct fleet *fleet = world->hosts[context->owner].fleet;

	context->is_released = true;
	if (fleet)
		fleet_owned_released(fleet, &context->id.key);
}

/* ---- joins */

struct world_mirror *world_join(struct world *world, unsigned host, unsigned context, uint32_t flags)
{
	struct world_mirror *mirror = sure_realloc(NULL, sizeof(*mirror));

	*mirror = (struct world_mirror){
		.world = world, .host = host, .context = context, .flags = flags, .deadline_ns = CTX_FOREVER};
	world->mirrors = world_array_grow(world->mirrors, world->mirror_count, sizeof(mirror));
	world->mirrors[world->mirror_count++] = mirror;
	if (world->hosts[host].fleet)
		mirror_join(world, mirror);
	return mirror;
}

void world_leave(struct world_mirror *mirror)
{
	if (mirror->mirror)
		fleet_leave(mirror->world->hosts[mirror->host].fleet, mirror->mirror);
	mirror->mirror = NULL;
	mirror->is_left = true;
}

void world_mirror_cancelled(struct world_mirror *mirror)
{
	struct world *world = mirror->world;

	mirror->is_ended = true;
	mirror->end = FLEET_END_CAUSE;
	mirror->ended_ns = world->now_ns;
	fleet_leave(world->hosts[mirror->host].fleet, mirror->mirror);
	mirror->mirror = NULL;
}

/* A mirror's own deadline ends it, as the library does. */
static void mirrors_expire(struct world *world)
{
	for (unsigned i = 0; i < world->mirror_count; i++) {
		struct world_mirror *mirror = world->mirrors[i];
		const struct world_context *context = &world->contexts[mirror->context];
		if (mirror->is_ended || mirror->is_left || mirror->deadline_ns > world->now_ns)
			continue;
		world_assert(world, context->was_moved || context->is_ended ||
					    context->deadline_ns <= world->now_ns);
		mirror->is_expired = mirror->is_ended = true;
		mirror->end = FLEET_END_CAUSE;
		mirror->ended_ns = world->now_ns;
		if (mirror->mirror)
			fleet_leave(world->hosts[mirror->host].fleet, mirror->mirror);
		mirror->mirror = NULL;
	}
}

/* ---- time */

/* The service answers what the bridge asked it to join. */
static void service_answer(struct world_host *host)
{
	struct world *world = host->world;

	for (unsigned i = 0; i < host->asked_count && !host->is_service_down; i++) {
		struct fleet_key key = host->asked[i];
		const struct world_context *context = &world->contexts[key.id.number - 1];
		if (context->is_released || context->is_forgotten)
			fleet_owned_unknown(host->fleet, &key, world->now_ns);
		else if (context->is_ended)
			fleet_owned_ended(host->fleet, &key, &context->cause, world->now_ns);
		else
			fleet_owned_live(host->fleet, &key, context->deadline_ns, context->is_movable,
					 host->name, world->now_ns);
	}
	if (!host->is_service_down)
		host->asked_count = 0;
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t next_ns(const struct world *world)
{
	uint64_t next_ns = UINT64_MAX;

	for (unsigned i = 0; i < world->host_count; i++) {
		const struct world_host *host = &world->hosts[i];
		if (!host->fleet)
			continue;
		next_ns = earlier(next_ns, fleet_next_ns(host->fleet));
		next_ns = earlier(next_ns, host->engine->calls->next_ns(host->engine));
		next_ns = earlier(next_ns, world_service_next_ns(host));
		if (host->asked_count && !host->is_service_down)
			return 0;
	}
	for (unsigned i = 0; i < world->context_count; i++)
		if (!world->contexts[i].is_ended)
			next_ns = earlier(next_ns, world->contexts[i].deadline_ns);
	for (unsigned i = 0; i < world->mirror_count; i++)
		if (!world->mirrors[i]->is_ended && !world->mirrors[i]->is_left)
			next_ns = earlier(next_ns, world->mirrors[i]->deadline_ns);
	return next_ns;
}

static void world_turn(struct world *world)
{
	for (unsigned i = 0; i < world->context_count; i++)
		if (!world->contexts[i].is_ended && world->contexts[i].deadline_ns <= world->now_ns)
			context_end(world, &world->contexts[i], true);
	for (unsigned i = 0; i < world->host_count; i++) {
		struct world_host *host = &world->hosts[i];
		if (!host->fleet)
			continue;
		host->engine->calls->dispatch(host->engine, world->now_ns);
		service_answer(host);
		world_service_turn(host);
		if (fleet_next_ns(host->fleet) <= world->now_ns)
			fleet_tick(host->fleet, world->now_ns);
	}
	mirrors_expire(world);
}

void world_run(struct world *world, uint64_t duration_ns)
{
	uint64_t end_ns = world->now_ns + duration_ns;
	unsigned turns_at_once = 0;

	for (uint64_t at_ns; (at_ns = next_ns(world)) <= end_ns;) {
		/* A bridge that always has something to do at once would never end. */
		turns_at_once = at_ns > world->now_ns ? 0 : turns_at_once + 1;
		world_assert(world, turns_at_once < 10000);
		if (at_ns > world->now_ns)
			world->now_ns = at_ns;
		world_turn(world);
	}
	world->now_ns = end_ns;
}

/* ---- after calm */

struct fleet_counts world_counts(const struct world *world, unsigned host)
{
	return fleet_counts(world->hosts[host].fleet);
}

/* Whether an earlier mirror of the same host is of the same context: interest is counted once. */
static bool is_counted(const struct world *world, unsigned number)
{
	for (unsigned i = 0; i < number; i++) {
		const struct world_mirror *mirror = world->mirrors[i];
		if (mirror->host == world->mirrors[number]->host &&
		    mirror->context == world->mirrors[number]->context && mirror->mirror && !mirror->is_ended)
			return true;
	}
	return false;
}

void world_check(struct world *world)
{
	uint32_t interests[WORLD_HOSTS_MAX] = {0};

	for (unsigned i = 0; i < world->mirror_count; i++) {
		const struct world_mirror *mirror = world->mirrors[i];
		const struct world_context *context = &world->contexts[mirror->context];
		if (mirror->is_ended || mirror->is_left || !mirror->mirror)
			continue;
		/* One that survives may outlive what its owner's host has forgotten. */
		if (mirror->flags & FLEET_JOIN_SURVIVE && (context->is_forgotten || context->is_released))
			continue;
		/* An end of just now is still on its way. */
		if (context->is_ended && is_recent(world, context->cause.time_ns, 50000000))
			continue;
		world_assert(world, !context->is_ended);
		world_assert(world, mirror->is_live_told);
		world_assert(world, mirror->deadline_ns >= context->deadline_ns);
		if (!is_counted(world, i))
			interests[context->owner]++;
	}
	for (unsigned i = 0; i < world->host_count; i++)
		if (world->hosts[i].fleet)
			world_assert(world, world_counts(world, i).interests >= interests[i]);
	world_service_check(world);
}
