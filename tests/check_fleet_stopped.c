/* SPDX-License-Identifier: MIT */
/* Bridges that were stopped for a minute, as by SIGSTOP, and find all their times over when they go on; or
 * that had no memory. */
#include "support/fleet_world.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define SECOND NS_PER_SECOND

static struct world *world;
static unsigned context;
static struct world_mirror *mirror;

static void set_up(void)
{
	world = world_new(1, 2);
	context = world_context(world, 0, 0);
}

static void take_down(void)
{
	world_free(world);
}

static void stop_for_a_minute(void)
{
	world->now_ns += 60 * SECOND;
}

/* The join had no answer yet: it asks once more before it ends. */
START_TEST(a_join_without_an_answer_asks_again)
{
	world->hosts[0].is_service_down = true;
	mirror = world_join(world, 1, context, 0);
	world_run(world, SECOND);
	stop_for_a_minute();
	world->hosts[0].is_service_down = _i;
	world_run(world, SECOND);
	ck_assert(!mirror->is_ended);
	ck_assert_int_eq(mirror->is_live_told, !_i);
	world_run(world, 2 * WORLD_BEAT_NS);
	ck_assert_int_eq(mirror->is_ended, _i);
}
END_TEST

/* The engine was away, and is back meanwhile, or is not. */
START_TEST(the_engine_is_looked_for_again)
{
	mirror = world_join(world, 1, context, 0);
	world_run(world, SECOND);
	ck_assert(mirror->is_live_told);
	world_engine_stop(world, true);
	world_run(world, SECOND);
	stop_for_a_minute();
	world_engine_stop(world, _i);
	world_run(world, WORLD_LEASE_NS - SECOND);
	ck_assert(!mirror->is_ended);
	world_run(world, 2 * SECOND);
	ck_assert_int_eq(mirror->is_ended, _i);
}
END_TEST

/* The bridge could not pass the join on, for want of memory: it does when it is asked again. */
START_TEST(a_join_that_was_not_passed_on_is_made_later)
{
	world->hosts[0].is_service_down = true;
	mirror = world_join(world, 1, context, FLEET_JOIN_SURVIVE);
	world_run(world, SECOND / 10);
	ck_assert_uint_eq(world->hosts[0].asked_count, 1);
	world->hosts[0].asked_count = 0;
	world->hosts[0].is_service_down = false;
	world_run(world, 2 * WORLD_BEAT_NS);
	ck_assert(mirror->is_live_told);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet_stopped");
	TCase *stopped = test_case(suite, "stopped");

	tcase_add_checked_fixture(stopped, set_up, take_down);
	tcase_add_loop_test(stopped, a_join_without_an_answer_asks_again, 0, 2);
	tcase_add_loop_test(stopped, the_engine_is_looked_for_again, 0, 2);
	tcase_add_test(stopped, a_join_that_was_not_passed_on_is_made_later);
	return suite;
}
