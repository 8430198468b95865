/* SPDX-License-Identifier: MIT */
#include "support/race.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/contexts.h"

enum {
	DELAY_MOST = 20000,
	SECONDS_MOST = 15
};

struct arena {
	const struct race *race;
	void *data;
	unsigned begun, done; /* round numbers */
	unsigned delay;	      /* of the right side, set before each round */
	bool over;
};

static void wait_for(unsigned *word, unsigned value)
{
	for (unsigned spins = 0; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; spins++)
		if (spins > 1000)
			sched_yield();
}

static void delay(unsigned steps)
{
	for (volatile unsigned i = 0; i < steps; i = i + 1)
		;
}

static void *right_side(void *data)
{
	struct arena *arena = data;

	for (unsigned round = 1;; round++) {
		wait_for(&arena->begun, round);
		if (arena->over)
			return NULL;
		delay(arena->delay);
		arena->race->right(arena->data);
		__atomic_store_n(&arena->done, round, __ATOMIC_RELEASE);
	}
}

unsigned race_ticket(unsigned *ticket)
{
	return __atomic_fetch_add(ticket, 1, __ATOMIC_ACQ_REL);
}

void race_run(const struct race *race, void *data, unsigned rounds)
{
	struct arena arena = {.race = race, .data = data};
	unsigned seed = test_seed(), counts[2] = {0, 0}, round = 0, reach[2] = {200, 200};
	uint64_t end = clock_now_ns() + SECONDS_MOST * NS_PER_SECOND;
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, right_side, &arena));
	while ((round < rounds || !counts[0] || !counts[1]) && clock_now_ns() < end) {
		race->prepare(data);
		arena.delay = (unsigned)rand_r(&seed) % reach[1];
		__atomic_store_n(&arena.begun, ++round, __ATOMIC_RELEASE);
		delay((unsigned)rand_r(&seed) % reach[0]);
		race->left(data);
		wait_for(&arena.done, round);
		counts[race->judge(data)]++;
		/* One outcome only so far: let the sides drift apart, in turns. */
		if (round % 64 == 0 && (!counts[0] || !counts[1])) {
			unsigned *side = &reach[round / 64 % 2];
			*side = *side * 2 > DELAY_MOST ? 200 : *side * 2;
		}
	}
	arena.over = true;
	__atomic_store_n(&arena.begun, round + 1, __ATOMIC_RELEASE);
	ck_assert_ok(pthread_join(thread, NULL));
	printf("%s: %u rounds, outcomes %u and %u\n", race->name, round, counts[0], counts[1]);
	ck_assert_uint_gt(counts[0], 0);
	ck_assert_uint_gt(counts[1], 0);
}
