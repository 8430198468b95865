/* SPDX-License-Identifier: MIT */
/*
 * Decisions of one thread. Each step of each thread begins anew from the seed, the round, the thread's number
 * and the step's: so a seed gives the same sequence again, whatever the other threads did meanwhile.
 */
#ifndef SOAK_CHANCE_H
#define SOAK_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct chance {
	uint64_t state;
};

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
static inline uint64_t chance_next(struct chance *chance)
{
	uint64_t mixed = chance->state += 0x9e3779b97f4a7c15ull;

	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
	return mixed ^ (mixed >> 31);
}

static inline void chance_start(struct chance *chance, uint64_t seed, uint64_t round, uint64_t thread,
				uint64_t step)
{
	chance->state = seed;
	chance->state = chance_next(chance) ^ round;
	chance->state = chance_next(chance) ^ thread;
	chance->state = chance_next(chance) ^ step;
}

/* 0 to limit - 1. */
static inline unsigned chance_below(struct chance *chance, unsigned limit)
{
	return (unsigned)(chance_next(chance) % limit);
}

static inline bool chance_one_in(struct chance *chance, unsigned count)
{
	return chance_below(chance, count) == 0;
}

#endif
