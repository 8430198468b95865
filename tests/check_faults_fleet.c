/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation of the bridges of a fleet fails, for each k. What a bridge cannot remember or send it
 * asks for again, so that nobody may see a false end, and all know the truth soon after. The linker leads the
 * allocations of the fleet through here.
 */
#include <stdlib.h>

#include "support/fleet_world.h"

TEST_ALONE("its functions are replaced by --wrap");

TEST_MODES(TEST_FAULTS);

static unsigned fail_at, calls, failed; /* fail_at 0: none fails. */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strndup(const char *text, size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strndup(const char *text, size_t size);

static bool is_to_fail(void)
{
	if (!fail_at || ++calls != fail_at)
		return false;
	failed++;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return is_to_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_to_fail() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return is_to_fail() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strndup(const char *text, size_t size)
{
	return is_to_fail() ? NULL : __real_strndup(text, size);
}

static void start_what_failed(struct world *world)
{
	for (unsigned i = 0; i < world->host_count; i++)
		if (!world->hosts[i].fleet)
			world_bridge_start(world, i);
}

/* Joins, ends, moves, cancels and lists, a bridge that is killed and a stop of the engine. */
static void scenario(struct world *world)
{
	for (unsigned i = 0; i < 6; i++)
		world_context(world, i % 3, 0);
	for (unsigned i = 0; i < 6; i++)
		world_join(world, (i + 1) % 3, i, 0);
	world_run(world, NS_PER_SECOND);
	world_move(world, 1, world->now_ns + 600 * NS_PER_SECOND);
	world_end(world, 0);
	world->hosts[1].entries = 500;
	world_list(world, 0, 1, 5 * NS_PER_SECOND);
	world_cancel(world, 2, 3, "root", 0, NS_PER_SECOND);
	world_cancel(world, 1, 1, "somebody", 0, 0);
	world_cancel(world, 2, 5, "root", FLEET_CANCEL_DRY_RUN, 0);
	world_run(world, NS_PER_SECOND);
	world_bridge_kill(world, 0);
	world_bridge_start(world, 0);
	world_end(world, 2);
	world_run(world, NS_PER_SECOND);
	world_engine_stop(world, true);
	world_end(world, 4);
	world_run(world, NS_PER_SECOND);
	world_engine_stop(world, false);
	world_join(world, 2, 1, 0);
	world_run(world, NS_PER_SECOND);
}

START_TEST(the_truth_survives_a_failed_allocation)
{
	for (unsigned k = 1;; k++) {
		fail_at = k;
		calls = failed = 0;
		struct world *world = world_new_with_key(k, 3, _i && fleet_key_is_supported() ? 32 : 0);
		world->lacks_memory = true;
		scenario(world);
		fail_at = 0;
		start_what_failed(world);
		world_run(world, 3 * WORLD_BEAT_NS);
		world_check(world);
		world_free(world);
		if (!failed)
			break;
		ck_assert_uint_lt(k, 10000);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_fleet");

	tcase_add_loop_test(test_case(suite, "memory"), the_truth_survives_a_failed_allocation, 0, 2);
	return suite;
}
