/* SPDX-License-Identifier: MIT */
/*
 * The pure core of ctxd-fleet over an engine without a network: what happens on one host, what fails, and
 * what the other hosts then know. world_* compares all that a bridge says with what is true.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_wire.h"
#include "support/fleet_world.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define MILLISECOND 1000000ull
#define SECOND NS_PER_SECOND

/* Host 0 has a context that host 1 has joined, and host 1 has heard that it is live. */
struct pair {
	struct world *world;
	unsigned context;
	struct world_mirror *mirror;
};

static struct pair pair_new(uint64_t deadline_ns)
{
	struct pair pair = {.world = world_new(1, 3)};

	pair.context = world_context(pair.world, 0, deadline_ns ? pair.world->now_ns + deadline_ns : 0);
	pair.mirror = world_join(pair.world, 1, pair.context, 0);
	world_run(pair.world, SECOND);
	ck_assert(pair.mirror->is_live_told);
	return pair;
}

#define ck_assert_live_mirror(pair) ck_assert(!(pair).mirror->is_ended)
#define ck_assert_ended(pair, how) ck_assert((pair).mirror->is_ended && (pair).mirror->end == (how))

static void pair_free(struct pair *pair)
{
	world_free(pair->world);
}

/* ---- ids and bytes */

START_TEST(an_id_has_one_text)
{
	static const char *const wrong[] = {
		"",
		"a",
		"a/",
		"/1-2-3",
		"a/1-2",
		"a/1-2-3-",
		"a/1-2-3 ",
		"a/01-2-3",
		"a/0-2-3",
		"a/1-2-0",
		"A/1-2-3",
		"a/1-2-F",
		"a_b/1-2-3",
		".a/1-2-3",
		"-a/1-2-3",
		"a/1--2-3",
		"a/1-2-3/",
		" a/1-2-3",
		"a/b/1-2-3",
		"a/11111111111111111-2-3",
		"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234/1-2-3",
	};
	const char *right = "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeff.ffff-ff123/"
			    "ffffffffffffffff-ffffffffffffffff-ffffffffffffffff";
	struct fleet_id id;
	char text[FLEET_ID_TEXT];

	ck_assert_ok(fleet_id_parse(right, &id));
	fleet_id_format(&id, text);
	ck_assert_str_eq(text, right);
	ck_assert_uint_eq(strlen(text), FLEET_ID_TEXT - 1);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(fleet_id_parse(wrong[i], &id) == -EINVAL, "%s", wrong[i]);
}
END_TEST

static int unpack(const uint8_t *bytes, size_t size, struct fleet_batch *ret_batch, size_t *ret_at)
{
	int error = fleet_wire_unpack_header(bytes, size, ret_batch, ret_at);

	return error ? error : fleet_wire_check(bytes, ret_batch, *ret_at);
}

/* Each bit of a batch with one message is turned over: it is refused, or read as what packs to it. */
START_TEST(a_batch_has_one_form)
{
	struct fleet_message message = {.type = FLEET_END, .ended = {.key = {{1, 2}, 3}}}, read;
	struct fleet_batch batch = {"fleet", "host", FLEET_KEEPS, 1, 1, 2, 3, 4, 5, 0}, read_batch;
	uint8_t bytes[1024], again[1024];
	size_t at;

	message.ended.cause =
		(struct wire_cause){.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .text = "a reason"};
	size_t size = fleet_wire_pack_header(&batch, bytes);
	size += fleet_wire_pack(&message, bytes + size);
	for (size_t bit = 0; bit < size * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (unpack(bytes, size, &read_batch, &at) == 0) {
			size_t packed = fleet_wire_pack_header(&read_batch, again);
			ck_assert(fleet_wire_next(bytes, &read_batch, &at, &read));
			packed += fleet_wire_pack(&read, again + packed);
			ck_assert_uint_eq(packed, size);
			ck_assert_mem_eq(again, bytes, size);
		}
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t less = 0; less < size; less++)
		ck_assert_int_eq(unpack(bytes, less, &read_batch, &at), -EPROTO);
	bytes[4]++;
	ck_assert_int_eq(unpack(bytes, size, &read_batch, &at), -EPROTONOSUPPORT);
}
END_TEST

/* ---- joins */

START_TEST(an_end_reaches_who_joined)
{
	struct pair pair = pair_new(0);

	world_end(pair.world, pair.context);
	world_run(pair.world, 5 * MILLISECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	ck_assert_str_eq(pair.mirror->cause.text, "context 1");
	pair_free(&pair);
}
END_TEST

START_TEST(who_joins_late_is_told_the_cause)
{
	struct pair pair = pair_new(0);

	world_end(pair.world, pair.context);
	world_run(pair.world, SECOND);
	pair.mirror = world_join(pair.world, 2, pair.context, 0);
	world_run(pair.world, 10 * MILLISECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	ck_assert(!pair.mirror->is_live_told);
	/* After ten minutes the bridge has forgotten it, and asks the service. */
	world_run(pair.world, 601 * SECOND);
	ck_assert_uint_eq(world_counts(pair.world, 0).ended, 0);
	pair_free(&pair);
}
END_TEST

START_TEST(what_is_not_there_or_not_shared_is_unknown)
{
	struct pair pair = pair_new(0);

	world_run(pair.world, 3 * SECOND);
	world_release(pair.world, pair.context);
	struct world_mirror *late = world_join(pair.world, 2, pair.context, 0);
	unsigned other = world_context(pair.world, 0, 0);
	pair.world->contexts[other].is_released = true;
	struct world_mirror *wrong = world_join(pair.world, 2, other, 0);
	world_run(pair.world, SECOND);
	ck_assert(late->is_ended && late->end == FLEET_END_UNKNOWN);
	ck_assert(wrong->is_ended && wrong->end == FLEET_END_UNKNOWN);
	/* Who had joined before it was released keeps it, and sees its end. */
	ck_assert_live_mirror(pair);
	world_end(pair.world, pair.context);
	world_run(pair.world, SECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

START_TEST(a_deadline_crosses_as_the_time_that_is_left)
{
	struct pair pair = pair_new(100 * SECOND);
	uint64_t deadline_ns = pair.world->contexts[pair.context].deadline_ns;

	ck_assert_uint_ge(pair.mirror->deadline_ns, deadline_ns);
	ck_assert_uint_le(pair.mirror->deadline_ns, deadline_ns + 10 * MILLISECOND);
	world_move(pair.world, pair.context, deadline_ns + SECOND);
	world_run(pair.world, SECOND);
	ck_assert_uint_ge(pair.mirror->deadline_ns, deadline_ns + SECOND);
	world_move(pair.world, pair.context, pair.world->now_ns + SECOND);
	world_run(pair.world, 2 * SECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

/* The answer takes three seconds, so it is asked for again; then messages are fast. */
START_TEST(an_old_deadline_is_asked_for_again)
{
	struct world *world = world_new(1, 2);
	struct engine_chaos slow = {.delay_min_ns = 1500 * MILLISECOND, .delay_max_ns = 1500 * MILLISECOND};
	unsigned context = world_context(world, 0, world->now_ns + 100 * SECOND);

	engine_fake_chaos(world->fake, &slow);
	struct world_mirror *mirror = world_join(world, 1, context, 0);
	world_run(world, 2900 * MILLISECOND);
	engine_fake_chaos(world->fake, &world_calm);
	world_run(world, SECOND);
	ck_assert_uint_ge(mirror->deadline_ns, world->contexts[context].deadline_ns);
	ck_assert_uint_le(mirror->deadline_ns, world->contexts[context].deadline_ns + 10 * MILLISECOND);
	world_free(world);
}
END_TEST

START_TEST(a_context_that_all_have_left_is_left_on_its_host)
{
	struct pair pair = pair_new(0);

	world_leave(pair.mirror);
	world_run(pair.world, WORLD_LEASE_NS + SECOND);
	ck_assert_uint_eq(pair.world->hosts[0].local_leaves, 1);
	ck_assert_uint_eq(world_counts(pair.world, 0).owned, 0);
	pair_free(&pair);
}
END_TEST

/* ---- what fails, line by line of the failure matrix */

START_TEST(joins_wait_for_the_owners_service)
{
	struct pair pair = pair_new(0);
	unsigned other = world_context(pair.world, 0, 0);

	pair.world->hosts[0].is_service_down = true;
	struct world_mirror *mirror = world_join(pair.world, 1, other, 0);
	world_run(pair.world, 10 * SECOND);
	ck_assert_live_mirror(pair);
	ck_assert(!mirror->is_live_told && !mirror->is_ended);
	pair.world->hosts[0].is_service_down = false;
	world_run(pair.world, 10 * MILLISECOND);
	ck_assert(mirror->is_live_told);
	pair_free(&pair);
}
END_TEST

START_TEST(joins_outlive_the_owners_bridge)
{
	struct pair pair = pair_new(0);

	world_bridge_kill(pair.world, 0);
	world_run(pair.world, SECOND);
	world_bridge_start(pair.world, 0);
	if (_i)
		world_end(pair.world, pair.context);
	world_run(pair.world, 3 * WORLD_BEAT_NS);
	ck_assert_int_eq(pair.mirror->is_ended, _i);
	world_end(pair.world, pair.context);
	world_run(pair.world, _i ? 0 : 5 * MILLISECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

/* The service knows its clients again only after a while. */
START_TEST(unknown_is_not_believed_after_a_start)
{
	struct pair pair = pair_new(0);

	world_bridge_kill(pair.world, 0);
	world_run(pair.world, SECOND);
	world_bridge_start(pair.world, 0);
	pair.world->contexts[pair.context].is_forgotten = true;
	world_run(pair.world, 1900 * MILLISECOND);
	ck_assert_live_mirror(pair);
	pair.world->contexts[pair.context].is_forgotten = _i;
	world_run(pair.world, 3 * WORLD_BEAT_NS);
	ck_assert_int_eq(pair.mirror->is_ended, _i);
	if (_i)
		ck_assert_ended(pair, FLEET_END_FORGOTTEN);
	pair_free(&pair);
}
END_TEST

START_TEST(a_join_is_made_again_by_the_joiners_next_bridge)
{
	struct pair pair = pair_new(0);

	world_bridge_kill(pair.world, 1);
	world_run(pair.world, SECOND);
	if (_i)
		world_end(pair.world, pair.context);
	world_bridge_start(pair.world, 1);
	world_run(pair.world, SECOND);
	ck_assert_int_eq(pair.mirror->is_ended, _i);
	ck_assert_uint_eq(world_counts(pair.world, 0).interests, !_i);
	pair_free(&pair);
}
END_TEST

START_TEST(the_end_of_the_owners_host_ends_joins)
{
	struct pair pair = pair_new(0);
	struct world_mirror *survivor = world_join(pair.world, 1, pair.context, FLEET_JOIN_SURVIVE);

	world_run(pair.world, SECOND + (unsigned)_i * SECOND / 3);
	world_bridge_kill(pair.world, 0);
	uint64_t killed_ns = pair.world->now_ns;
	world_run(pair.world, 5 * WORLD_LEASE_NS / 3 + SECOND / 10);
	ck_assert_ended(pair, FLEET_END_HOST);
	printf("a dead host is noticed after %g leases\n",
	       (double)(pair.mirror->ended_ns - killed_ns) / (double)WORLD_LEASE_NS);
	world_run(pair.world, 100 * SECOND);
	ck_assert(!survivor->is_ended);
	/* When it is back it is asked what became of the context. */
	world_end(pair.world, pair.context);
	world_bridge_start(pair.world, 0);
	world_run(pair.world, 3 * WORLD_BEAT_NS);
	ck_assert(survivor->is_ended && survivor->end == FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

START_TEST(a_fleet_may_let_joins_outlive_the_owners_host)
{
	struct pair pair = {.world = world_new(1, 2)};

	world_bridge_kill(pair.world, 1);
	pair.world->hosts[1].config.outlive_owner_host = true;
	world_bridge_start(pair.world, 1);
	pair.context = world_context(pair.world, 0, 0);
	pair.mirror = world_join(pair.world, 1, pair.context, 0);
	world_run(pair.world, SECOND);
	world_bridge_kill(pair.world, 0);
	world_run(pair.world, 100 * SECOND);
	ck_assert_live_mirror(pair);
	pair_free(&pair);
}
END_TEST

START_TEST(a_host_that_was_paused_can_be_joined_again)
{
	struct pair pair = pair_new(0);

	world_cut(pair.world, 0, true);
	world_run(pair.world, 3 * WORLD_LEASE_NS);
	ck_assert_ended(pair, FLEET_END_HOST);
	world_cut(pair.world, 0, false);
	world_run(pair.world, 3 * WORLD_BEAT_NS);
	ck_assert_uint_eq(world_counts(pair.world, 0).interests, 0);
	pair.mirror = world_join(pair.world, 1, pair.context, 0);
	world_run(pair.world, SECOND);
	ck_assert(pair.mirror->is_live_told);
	world_end(pair.world, pair.context);
	world_run(pair.world, SECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

START_TEST(interest_ends_with_the_joiners_host)
{
	struct pair pair = pair_new(0);

	world_bridge_kill(pair.world, 1);
	world_run(pair.world, 5 * WORLD_LEASE_NS / 3 + SECOND / 10);
	ck_assert_uint_eq(world_counts(pair.world, 0).interests, 0);
	world_run(pair.world, WORLD_LEASE_NS + SECOND);
	ck_assert_uint_eq(pair.world->hosts[0].local_leaves, 1);
	pair_free(&pair);
}
END_TEST

/* The host is taken for dead, and comes back before the context is left: it could not join it anew. */
START_TEST(a_joiner_that_was_cut_off_keeps_what_was_released)
{
	struct pair pair = pair_new(0);

	world_release(pair.world, pair.context);
	world_cut(pair.world, 1, true);
	world_run(pair.world, 11 * SECOND);
	ck_assert_uint_eq(world_counts(pair.world, 0).interests, 0);
	world_cut(pair.world, 1, false);
	world_run(pair.world, 10 * SECOND);
	ck_assert_live_mirror(pair);
	world_end(pair.world, pair.context);
	world_run(pair.world, SECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

/* Stops, as in a failover, and with _i it comes back empty. */
START_TEST(an_end_while_the_engine_is_away_is_seen_when_it_is_back)
{
	struct pair pair = pair_new(0), other = pair;
	unsigned second = world_context(pair.world, 0, 0);

	other.mirror = world_join(pair.world, 2, second, 0);
	world_run(pair.world, SECOND);
	world_engine_stop(pair.world, true);
	world_run(pair.world, 5 * SECOND);
	world_end(pair.world, pair.context);
	world_run(pair.world, 10 * SECOND);
	if (_i)
		world_engine_empty(pair.world);
	ck_assert_live_mirror(pair);
	world_engine_stop(pair.world, false);
	world_run(pair.world, 600 * MILLISECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	world_run(pair.world, 60 * SECOND);
	ck_assert_live_mirror(other);
	ck_assert(engine_fake_has_lease(pair.world->fake, "host-0"));
	pair_free(&pair);
}
END_TEST

START_TEST(the_grace_ends_joins_when_the_link_stays_away)
{
	struct pair pair = pair_new(0);
	struct world_mirror *survivor = world_join(pair.world, 1, pair.context, FLEET_JOIN_SURVIVE);

	world_run(pair.world, SECOND);
	world_engine_stop(pair.world, true);
	world_run(pair.world, WORLD_GRACE_NS - SECOND / 10);
	ck_assert_live_mirror(pair);
	world_run(pair.world, SECOND / 5);
	ck_assert_ended(pair, FLEET_END_UNREACHABLE);
	ck_assert(!survivor->is_ended);
	pair_free(&pair);
}
END_TEST

/* The cable of the joiner, of the owner, is out for two seconds. */
START_TEST(an_end_while_a_cable_is_out_is_seen_when_it_is_back)
{
	struct pair pair = pair_new(0);

	world_cut(pair.world, (unsigned)_i, true);
	world_run(pair.world, SECOND);
	world_end(pair.world, pair.context);
	world_run(pair.world, SECOND);
	world_cut(pair.world, (unsigned)_i, false);
	world_run(pair.world, 700 * MILLISECOND);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

START_TEST(the_loss_of_the_last_message_is_noticed)
{
	struct pair pair = pair_new(0);
	struct engine_chaos all_lost = {.lost = 100};

	engine_fake_chaos(pair.world->fake, &all_lost);
	world_end(pair.world, pair.context);
	world_run(pair.world, 10 * MILLISECOND);
	engine_fake_chaos(pair.world->fake, &world_calm);
	world_run(pair.world, 2 * WORLD_BEAT_NS);
	ck_assert_ended(pair, FLEET_END_CAUSE);
	pair_free(&pair);
}
END_TEST

START_TEST(a_lease_that_only_looks_gone_ends_nothing)
{
	struct pair pair = pair_new(0);

	engine_fake_hide_leases(pair.world->fake, true);
	world_run(pair.world, 10 * WORLD_LEASE_NS);
	ck_assert_live_mirror(pair);
	pair_free(&pair);
}
END_TEST

/* The first reading is of a relation that ended, and nothing was read for some time after it. */
START_TEST(a_lease_is_read_twice_for_each_relation)
{
	struct pair pair = pair_new(0);
	struct engine_chaos all_lost = {.lost = 100};

	engine_fake_hide_leases(pair.world->fake, true);
	engine_fake_chaos(pair.world->fake, &all_lost);
	world_run(pair.world, WORLD_BEAT_NS);
	world_leave(pair.mirror);
	world_run(pair.world, 4 * WORLD_BEAT_NS);
	pair.mirror = world_join(pair.world, 1, pair.context, 0);
	world_run(pair.world, WORLD_BEAT_NS);
	ck_assert_live_mirror(pair);
	pair_free(&pair);
}
END_TEST

/* A third bridge calls itself host-0, at the start and when the first has been away. */
START_TEST(two_hosts_with_one_name_are_noticed)
{
	struct world *world = world_new(1, 2);

	world_bridge_kill(world, 1);
	strcpy(world->hosts[1].name, "host-0");
	strcpy(world->hosts[1].config.host, "host-0");
	world_bridge_start(world, 1);
	world_run(world, SECOND);
	ck_assert_uint_ge(world->hosts[1].conflicts, 1);
	world_free(world);
}
END_TEST

START_TEST(what_is_broken_ends_nothing_and_is_counted)
{
	struct pair pair = pair_new(0);
	struct fleet *fleet = pair.world->hosts[1].fleet;
	struct fleet_batch batch = {"default", "host-1", 0, 0, 77, 0, 1, 1, 0, 0};
	uint8_t bytes[256];

	/* From itself, and cut off. */
	size_t size = fleet_wire_pack_header(&batch, bytes);
	fleet_receive(fleet, bytes, size, pair.world->now_ns);
	fleet_receive(fleet, bytes, size - 1, pair.world->now_ns);
	fleet_receive(fleet, bytes, 0, pair.world->now_ns);
	ck_assert_uint_eq(fleet_counts(fleet).malformed, 3);
	bytes[4]++;
	fleet_receive(fleet, bytes, size, pair.world->now_ns);
	ck_assert_uint_eq(fleet_counts(fleet).foreign, 1);
	world_run(pair.world, SECOND);
	ck_assert_live_mirror(pair);
	pair_free(&pair);
}
END_TEST

/* ---- what it costs */

static void join_many(struct world *world, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		world_context(world, 0, 0);
	for (unsigned i = 0; i < count; i++)
		world_join(world, 1, i, 0);
	world_run(world, SECOND);
}

START_TEST(what_is_only_shared_costs_nothing)
{
	struct world *world = world_new(1, 2);

	for (unsigned i = 0; i < 10000; i++)
		world_context(world, 0, 0);
	world_run(world, 60 * SECOND);
	ck_assert_uint_eq(world->hosts[0].sends + world->hosts[1].sends, 0);
	ck_assert_uint_eq(world_counts(world, 0).hosts + world_counts(world, 0).owned, 0);
	world_free(world);
}
END_TEST

START_TEST(ends_of_one_turn_leave_in_few_batches)
{
	struct world *world = world_new(1, 2);

	join_many(world, 10000);
	uint64_t before = world->hosts[0].sends;
	for (unsigned i = 0; i < 10000; i++)
		world_end(world, i);
	world_run(world, 100 * MILLISECOND);
	for (unsigned i = 0; i < 10000; i++)
		ck_assert(world->mirrors[i]->is_ended && world->mirrors[i]->end == FLEET_END_CAUSE);
	printf("10,000 ends: %u batches\n", (unsigned)(world->hosts[0].sends - before));
	ck_assert_uint_le(world->hosts[0].sends - before, 400);
	world_free(world);
}
END_TEST

/* Nothing but a batch a beat each way, and no RESYNC. */
START_TEST(joins_that_are_at_rest_cost_a_batch_a_beat)
{
	struct world *world = world_new(1, 2);

	join_many(world, 1000);
	world_run(world, 2 * WORLD_BEAT_NS);
	uint64_t sends = world->hosts[0].sends + world->hosts[1].sends;
	uint64_t bytes = world->hosts[0].sent_bytes + world->hosts[1].sent_bytes;
	uint64_t resyncs = world_counts(world, 1).resyncs;
	world_run(world, 10 * WORLD_BEAT_NS);
	ck_assert_uint_le(world->hosts[0].sends + world->hosts[1].sends - sends, 22);
	ck_assert_uint_le(world->hosts[0].sent_bytes + world->hosts[1].sent_bytes - bytes, 22 * 80);
	ck_assert_uint_eq(world_counts(world, 1).resyncs, resyncs);
	world_free(world);
}
END_TEST

static size_t allocated(const struct world *world)
{
	size_t own = malloc_usable_size(world->mirrors) + malloc_usable_size(world->contexts) +
		     malloc_usable_size(world->hosts[0].asked) + malloc_usable_size(world->hosts[1].asked);

	for (unsigned i = 0; i < world->mirror_count; i++)
		own += malloc_usable_size(world->mirrors[i]) + sizeof(size_t);
	return mallinfo2().uordblks + mallinfo2().hblkhd - own;
}

/* Of the joiner's bridge while the owner's does not run; then of both. */
START_TEST(a_joined_context_has_a_bounded_size)
{
	enum {
		COUNT = 10000
	};
	struct world *world = world_new(1, 2);

	world_bridge_kill(world, 0);
	size_t before = allocated(world);
	join_many(world, COUNT);
	size_t joiner = (allocated(world) - before) / COUNT;
	world_bridge_start(world, 0);
	world_run(world, 3 * WORLD_BEAT_NS);
	size_t both = (allocated(world) - before) / COUNT;
	ck_assert_uint_eq(world_counts(world, 0).interests, COUNT);
	printf("a joined context: %zu bytes of the joiner's bridge, %zu of the owner's\n", joiner,
	       both - joiner);
	ck_assert_uint_le(joiner, 400);
	ck_assert_uint_le(both - joiner, 400);
	world_free(world);
}
END_TEST

/* The engine takes nothing while 20,000 contexts end: the queue is bounded, and all ends are seen afterwards.
 */
START_TEST(a_full_queue_is_dropped_and_asked_for)
{
	struct world *world = world_new(1, 2);
	struct engine_chaos full = {.refused = 100};

	join_many(world, 20000);
	engine_fake_chaos(world->fake, &full);
	for (unsigned i = 0; i < 20000; i++) {
		world_end(world, i);
		fleet_tick(world->hosts[0].fleet, world->now_ns);
	}
	ck_assert_uint_gt(world_counts(world, 0).dropped, 0);
	engine_fake_chaos(world->fake, &world_calm);
	world_run(world, 3 * WORLD_BEAT_NS);
	for (unsigned i = 0; i < 20000; i++)
		ck_assert(world->mirrors[i]->is_ended && world->mirrors[i]->end == FLEET_END_CAUSE);
	world_free(world);
}
END_TEST

START_TEST(what_a_bridge_keeps_is_limited)
{
	struct world *world = world_new(1, 3);
	struct mirror *mirror, *other;
	struct fleet_id id = {"host-9", {{1, 1}, 1}};

	world_bridge_kill(world, 0);
	world->hosts[0].config.owned_max = 10;
	world->hosts[0].config.ended_max = 5;
	world->hosts[0].config.hosts_max = 1;
	world->hosts[0].config.mirrors_max = 2;
	world_bridge_start(world, 0);
	join_many(world, 20);
	ck_assert_uint_eq(world_counts(world, 0).owned, 10);
	ck_assert_uint_eq(world_counts(world, 0).interests, 10);
	ck_assert_uint_gt(world_counts(world, 0).refused, 0);
	for (unsigned i = 0; i < 20; i++)
		world_end(world, i);
	world_run(world, 3 * WORLD_BEAT_NS);
	ck_assert_uint_le(world_counts(world, 0).ended, 5);
	world_check(world);
	/* Host 1 was heard; there is room for one that was not. */
	ck_assert_ok(fleet_join(world->hosts[0].fleet, &id, 0, NULL, world->now_ns, &mirror));
	strcpy(id.host, "host-8");
	ck_assert_int_eq(fleet_join(world->hosts[0].fleet, &id, 0, NULL, world->now_ns, &other), -EDQUOT);
	/* When it has nothing to do with this host any more, it makes room. */
	fleet_leave(world->hosts[0].fleet, mirror);
	ck_assert_ok(fleet_join(world->hosts[0].fleet, &id, 0, NULL, world->now_ns, &mirror));
	fleet_leave(world->hosts[0].fleet, mirror);
	strcpy(id.host, "host-0");
	ck_assert_int_eq(fleet_join(world->hosts[0].fleet, &id, 0, NULL, world->now_ns, &mirror), -EINVAL);
	world_free(world);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet");
	TCase *bytes = test_case(suite, "bytes"), *joins = test_case(suite, "joins"),
	      *failures = test_case(suite, "failures"), *costs = test_case(suite, "costs");

	tcase_add_test(bytes, an_id_has_one_text);
	tcase_add_test(bytes, a_batch_has_one_form);
	tcase_add_test(joins, an_end_reaches_who_joined);
	tcase_add_test(joins, who_joins_late_is_told_the_cause);
	tcase_add_test(joins, what_is_not_there_or_not_shared_is_unknown);
	tcase_add_test(joins, a_deadline_crosses_as_the_time_that_is_left);
	tcase_add_test(joins, an_old_deadline_is_asked_for_again);
	tcase_add_test(joins, a_context_that_all_have_left_is_left_on_its_host);
	tcase_add_test(failures, joins_wait_for_the_owners_service);
	tcase_add_loop_test(failures, joins_outlive_the_owners_bridge, 0, 2);
	tcase_add_loop_test(failures, unknown_is_not_believed_after_a_start, 0, 2);
	tcase_add_loop_test(failures, a_join_is_made_again_by_the_joiners_next_bridge, 0, 2);
	tcase_add_loop_test(failures, the_end_of_the_owners_host_ends_joins, 0, 6);
	tcase_add_test(failures, a_fleet_may_let_joins_outlive_the_owners_host);
	tcase_add_test(failures, a_host_that_was_paused_can_be_joined_again);
	tcase_add_test(failures, interest_ends_with_the_joiners_host);
	tcase_add_test(failures, a_joiner_that_was_cut_off_keeps_what_was_released);
	tcase_add_loop_test(failures, an_end_while_the_engine_is_away_is_seen_when_it_is_back, 0, 2);
	tcase_add_test(failures, the_grace_ends_joins_when_the_link_stays_away);
	tcase_add_loop_test(failures, an_end_while_a_cable_is_out_is_seen_when_it_is_back, 0, 2);
	tcase_add_test(failures, the_loss_of_the_last_message_is_noticed);
	tcase_add_test(failures, a_lease_that_only_looks_gone_ends_nothing);
	tcase_add_test(failures, a_lease_is_read_twice_for_each_relation);
	tcase_add_test(failures, two_hosts_with_one_name_are_noticed);
	tcase_add_test(failures, what_is_broken_ends_nothing_and_is_counted);
	tcase_add_test(costs, what_is_only_shared_costs_nothing);
	tcase_add_test(costs, ends_of_one_turn_leave_in_few_batches);
	tcase_add_test(costs, joins_that_are_at_rest_cost_a_batch_a_beat);
	if (test_mode() != TEST_ASAN) /* whose allocator does not count */
		tcase_add_test(costs, a_joined_context_has_a_bounded_size);
	tcase_add_test(costs, a_full_queue_is_dropped_and_asked_for);
	tcase_add_test(costs, what_a_bridge_keeps_is_limited);
	return suite;
}
