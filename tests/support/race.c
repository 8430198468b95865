/* SPDX-License-Identifier: MIT */
#include "support/race.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/contexts.h"

enum {
	DELAY_MOST = 20000,
	SECONDS_MOST = 30
};

struct arena {
	const struct race *race;
	void *data;
	unsigned begun, there, go, done; /* round numbers: the steps of a round, in this order */
	unsigned delay;			 /* of the right side, set before each round */
	bool over;
};

static void wait_for(unsigned *word, unsigned value)
{
	for (unsigned spins = 0; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; spins++)
		if (spins > 1000)
			sched_yield();
}

/* A delay that gives the processor away, in case both sides share one. */
#define DELAY_YIELD UINT32_MAX

static void delay(unsigned steps)
{
	if (steps == DELAY_YIELD) {
		sched_yield();
		return;
	}
	for (volatile unsigned i = 0; i < steps; i = i + 1)
		;
}

/* Every order of magnitude alike: how far apart the sides are without it nobody knows. */
static unsigned random_delay(unsigned *seed)
{
	if (rand_r(seed) % 8 == 0)
		return DELAY_YIELD;
	/* A sanitizer makes the way to where both meet longer. */
	int magnitudes = test_mode() == TEST_TSAN || test_mode() == TEST_ASAN ? 16 : 12;
	return (unsigned)rand_r(seed) % (16u << rand_r(seed) % magnitudes);
}

static void *right_side(void *data)
{
	struct arena *arena = data;

	for (unsigned round = 1;; round++) {
		wait_for(&arena->begun, round);
		if (arena->over)
			return NULL;
		__atomic_store_n(&arena->there, round, __ATOMIC_RELEASE);
		wait_for(&arena->go, round);
		delay(arena->delay);
		arena->race->right(arena->data);
		__atomic_store_n(&arena->done, round, __ATOMIC_RELEASE);
	}
}

unsigned race_ticket(unsigned *ticket)
{
	return __atomic_fetch_add(ticket, 1, __ATOMIC_ACQ_REL);
}

static uint64_t cpu_now_ns(void)
{
	struct timespec used;

	ck_assert_ok(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used));
	return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

void race_run(const struct race *race, void *data, unsigned rounds)
{
	struct arena arena = {.race = race, .data = data};
	unsigned seed = test_seed(), counts[2] = {0, 0}, round = 0;
	uint64_t begin_ns = clock_now_ns(), end = begin_ns + SECONDS_MOST * NS_PER_SECOND,
		 cpu_ns = cpu_now_ns();
	bool both = !test_is_emulated(); /* else one of them may never come up */
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, right_side, &arena));
	while ((round < rounds || (both && (!counts[0] || !counts[1]))) && clock_now_ns() < end) {
		race->prepare(data);
		/* One side waits a little, so that either can be first. */
		unsigned steps = random_delay(&seed);
		bool right_waits = rand_r(&seed) % 2;
		arena.delay = right_waits ? steps : 0;
		__atomic_store_n(&arena.begun, ++round, __ATOMIC_RELEASE);
		wait_for(&arena.there, round);
		__atomic_store_n(&arena.go, round, __ATOMIC_RELEASE);
		delay(right_waits ? 0 : steps);
		race->left(data);
		wait_for(&arena.done, round);
		counts[race->judge(data)]++;
	}
	arena.over = true;
	__atomic_store_n(&arena.begun, round + 1, __ATOMIC_RELEASE);
	ck_assert_ok(pthread_join(thread, NULL));
	printf("%s: %u rounds, outcomes %u and %u\n", race->name, round, counts[0], counts[1]);
	/* Both sides wait without sleeping. Where they got much less than two processors, others had these,
	 * and one outcome may not have come up. */
	bool alone = cpu_now_ns() - cpu_ns > (clock_now_ns() - begin_ns) / 10 * 17;
	ck_assert(!both || !alone || (counts[0] > 0 && counts[1] > 0));
}
