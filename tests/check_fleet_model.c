/* SPDX-License-Identifier: MIT */
/*
 * Random storms over a fleet: contexts are made, joined, moved, ended, cancelled and released, and hosts are
 * asked for lists, while messages are lost,
 * doubled and overtaken, cables are cut, bridges are killed, and the engine stops or forgets all. What every
 * bridge says is checked as it says it. After each storm there is calm, and within three beats of it
 * everybody must know the truth. In the end nothing may be left in memory.
 *
 * CTX_TEST_SEED repeats one storm first, and CTX_FLEET_SECONDS says for how long to go on with the next
 * seeds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "support/fleet_world.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define CALM_NS (3 * WORLD_BEAT_NS)

struct storm {
	struct world *world;
	bool is_gentle;	  /* Only messages suffer. */
	bool is_lossless; /* None of them is lost, but leases look gone. */
};

static unsigned draw_host(struct storm *storm)
{
	return world_draw(storm->world, storm->world->host_count);
}

/* UINT_MAX: there is none. */
static unsigned draw_context(struct storm *storm)
{
	return storm->world->context_count ? world_draw(storm->world, storm->world->context_count) : UINT_MAX;
}

static uint64_t draw_deadline(struct storm *storm)
{
	return storm->world->now_ns + (1 + world_draw(storm->world, 60000)) * UINT64_C(1000000);
}

static void join_something(struct storm *storm)
{
	unsigned context = draw_context(storm), host = draw_host(storm);
	uint32_t flags = world_draw(storm->world, 8) ? 0 : FLEET_JOIN_SURVIVE;

	if (context != UINT_MAX && storm->world->contexts[context].owner != host)
		world_join(storm->world, host, context, flags);
}

static void end_something(struct storm *storm, bool forget)
{
	unsigned context = draw_context(storm);

	if (context == UINT_MAX)
		return;
	world_end(storm->world, context);
	/* The service of the host may have forgotten an end, but a bridge that was told has not. */
	storm->world->contexts[context].is_forgotten |= forget;
}

static void move_something(struct storm *storm)
{
	unsigned context = draw_context(storm);

	if (context != UINT_MAX && storm->world->contexts[context].is_movable)
		world_move(storm->world, context, draw_deadline(storm));
}

static void release_something(struct storm *storm)
{
	unsigned context = draw_context(storm);

	if (context != UINT_MAX)
		world_release(storm->world, context);
}

static void leave_something(struct storm *storm)
{
	if (storm->world->mirror_count)
		world_leave(storm->world->mirrors[world_draw(storm->world, storm->world->mirror_count)]);
}

static uint64_t draw_wait(struct storm *storm)
{
	return world_draw(storm->world, 10000) * UINT64_C(1000000);
}

static void cancel_something(struct storm *storm)
{
	unsigned context = draw_context(storm), host = draw_host(storm);

	if (context != UINT_MAX)
		world_cancel(storm->world, host, context, world_draw(storm->world, 3) ? "root" : "somebody",
			     world_draw(storm->world, 4) ? 0 : FLEET_CANCEL_DRY_RUN, draw_wait(storm));
}

static void list_something(struct storm *storm)
{
	unsigned of = draw_host(storm), host = draw_host(storm);

	storm->world->hosts[of].reap_ns = draw_wait(storm);
	if (of != host)
		world_list(storm->world, host, of, draw_wait(storm));
}

static void replay_something(struct storm *storm)
{
	for (unsigned i = 0; i < 10 && storm->world->tape_count; i++)
		world_replay(storm->world, world_draw(storm->world, storm->world->tape_count));
}

static void act(struct storm *storm)
{
	static const uint64_t some_ns = NS_PER_SECOND * 30;
	unsigned choice = world_draw(storm->world, 100);

	if (choice < 15)
		world_context(storm->world, draw_host(storm),
			      world_draw(storm->world, 3) ? 0 : draw_deadline(storm) + some_ns);
	else if (choice < 45)
		join_something(storm);
	else if (choice < 58)
		end_something(storm, world_draw(storm->world, 4) == 0);
	else if (choice < 66)
		move_something(storm);
	else if (choice < 68)
		release_something(storm);
	else if (choice < 74)
		leave_something(storm);
	else if (choice < 77)
		cancel_something(storm);
	else if (choice < 78)
		list_something(storm);
	else if (choice < 82 && storm->world->is_taping)
		replay_something(storm);
	else if (storm->is_lossless)
		engine_fake_hide_leases(storm->world->fake, world_draw(storm->world, 2));
	else if (storm->is_gentle)
		return;
	else if (choice < 85)
		world_cut(storm->world, draw_host(storm), world_draw(storm->world, 2));
	else if (choice < 88)
		world_bridge_kill(storm->world, draw_host(storm));
	else if (choice < 93) {
		unsigned host = draw_host(storm);
		if (!storm->world->hosts[host].fleet)
			world_bridge_start(storm->world, host);
	} else if (choice < 96)
		world_engine_stop(storm->world, world_draw(storm->world, 3) == 0);
	else if (choice < 97)
		world_engine_empty(storm->world);
	else
		storm->world->hosts[draw_host(storm)].is_service_down = world_draw(storm->world, 2);
}

static void calm_down(struct storm *storm)
{
	struct world *world = storm->world;

	engine_fake_chaos(world->fake, &world_calm);
	engine_fake_hide_leases(world->fake, false);
	if (world->is_engine_stopped)
		world_engine_stop(world, false);
	for (unsigned i = 0; i < world->host_count; i++) {
		if (world->hosts[i].is_cut)
			world_cut(world, i, false);
		if (!world->hosts[i].fleet)
			world_bridge_start(world, i);
		world->hosts[i].is_service_down = false;
	}
}

/* In calm a cancel ends all mirrors of a context, and a list is complete. */
static void ask_in_calm(struct world *world)
{
	unsigned host = world_draw(world, world->host_count), mirrors = 0;
	unsigned context = world_context(world, (host + 1) % world->host_count, 0);

	for (unsigned i = 0; i < world->host_count; i++) {
		world->hosts[i].reap_ns = 0;
		if (i == world->contexts[context].owner || world_draw(world, 2))
			continue;
		world_join(world, i, context, 0);
		mirrors++;
	}
	world_run(world, NS_PER_SECOND / 10);
	struct world_cancel *cancel = world_cancel(world, host, context, "root", 0, 0);
	struct world_list *list = world_list(world, host, world->contexts[context].owner, NS_PER_SECOND);
	world_run(world, NS_PER_SECOND / 10);
	world_assert(world, cancel->is_done && cancel->outcome.error == 0);
	world_assert(world, cancel->outcome.report.ended == mirrors + 1);
	world_assert(world, cancel->outcome.hosts_asked == mirrors + 1 && !cancel->outcome.hosts_silent);
	world_assert(world, list->is_done && list->error == 0);
}

/* In every third storm nothing goes wrong but messages, so that nobody may be taken for dead. In every second
 * half dozen the fleet has a key, and old batches are played back. */
static void storm_run(unsigned seed)
{
	unsigned key_size = seed / 6 % 2 && fleet_key_is_supported() ? 32 + seed % 32 : 0;
	struct storm storm = {world_new_with_key(seed, 2 + seed % 4, key_size), seed % 3 == 0, seed % 6 == 0};
	struct world *world = storm.world;
	unsigned phases = 2 + world_draw(world, 4);
	world->is_taping = key_size;
	for (unsigned i = 0; i < world->host_count; i++)
		world->hosts[i].entries = world_draw(world, 600);

	for (unsigned phase = 0; phase < phases; phase++) {
		struct engine_chaos chaos = {.lost = storm.is_lossless ? 0 : world_draw(world, 30),
					     .doubled = world_draw(world, 15),
					     .refused = world_draw(world, 10),
					     .delay_min_ns = 100000};
		chaos.delay_max_ns = chaos.delay_min_ns + world_draw(world, 500) * UINT64_C(1000000);
		engine_fake_chaos(world->fake, &chaos);
		for (unsigned i = 0, acts = world_draw(world, 80); i < acts; i++) {
			act(&storm);
			world_run(world, world_draw(world, 1000) * UINT64_C(1000000));
		}
		calm_down(&storm);
		world_run(world, CALM_NS);
		world_check(world);
		ask_in_calm(world);
	}
	ck_assert_msg(!storm.is_gentle || (!world->host_ends && !world->unreachable_ends),
		      "seed %u: a host was taken for dead, or a link for lost", seed);
	for (unsigned i = 0; i < world->mirror_count; i++)
		world_leave(world->mirrors[i]);
	world_run(world, 12 * WORLD_LEASE_NS);
	for (unsigned i = 0; i < world->host_count; i++) {
		struct fleet_counts counts = world_counts(world, i);
		ck_assert_msg(!counts.hosts && !counts.owned && !counts.interests && !counts.mirrors,
			      "seed %u: %u hosts, %u contexts, %u interests, %u mirrors are left", seed,
			      counts.hosts, counts.owned, counts.interests, counts.mirrors);
		ck_assert_msg(!counts.cancels && !counts.lists && !counts.cancels_asked &&
				      !counts.lists_asked,
			      "seed %u: cancels or lists are left", seed);
	}
	world_free(world);
}

START_TEST(everybody_knows_the_truth_after_three_beats_of_calm)
{
	const char *given = getenv("CTX_FLEET_SECONDS");
	unsigned long seconds = given ? strtoul(given, NULL, 10) : 3;
	uint64_t end_ns = clock_now_ns() + seconds * NS_PER_SECOND;
	unsigned seed = test_seed(), storms = 0;

	do
		storm_run(seed++);
	while (++storms, clock_now_ns() < end_ns);
	printf("%u storms\n", storms);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet_model");
	TCase *storms = test_case(suite, "storms");

	tcase_set_timeout(storms, 0);
	tcase_add_test(storms, everybody_knows_the_truth_after_three_beats_of_calm);
	return suite;
}
