/* SPDX-License-Identifier: MIT */
/*
 * The numbers by which traces and spans name the contexts of a process. ctx_inject(3) computes them from a
 * number of the process and the id of a context; so can a reader of the table, which has both.
 */
#ifndef CTX_IDENTITY_H
#define CTX_IDENTITY_H

#include <stdint.h>
#include <string.h>

/* SplitMix64 (Steele and others), which makes numbers of slots and addresses look random. */
static inline uint64_t identity_mix(uint64_t number)
{
	number += 0x9e3779b97f4a7c15ull;
	number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9ull;
	number = (number ^ number >> 27) * 0x94d049bb133111ebull;
	return number ^ number >> 31;
}

static inline void identity_put(uint8_t bytes[8], uint64_t number)
{
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(number >> (56 - 8 * i));
}

/* The trace that begins with the context of that id, ctx_id(3); the number is that of its process. */
static inline void identity_trace(uint64_t process_number, uint64_t id, uint8_t ret_trace[16])
{
	identity_put(ret_trace, process_number);
	identity_put(ret_trace + 8, identity_mix(process_number ^ id));
}

static inline void identity_span(uint64_t process_number, uint64_t id, uint8_t ret_span[8])
{
	identity_put(ret_span, identity_mix(process_number + id) | 1);
}

#endif
