/* SPDX-License-Identifier: MIT */
#include "hash.h"

#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>

/* The secret is the 16 random bytes that the kernel makes at each execve(2), see getauxval(3). */
static void find_secret(uint64_t secret[2])
{
	const void *bytes = (const void *)getauxval(AT_RANDOM);

	if (bytes)
		memcpy(secret, bytes, 16);
}

static uint64_t rotate_left(uint64_t word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] = rotate_left(v[2], 32);
}

uint64_t hash_bytes(const void *bytes, size_t size)
{
	static uint64_t secret[2];
	static bool known;
	const uint8_t *at = bytes;
	uint64_t word;

	if (!known)
		find_secret(secret);
	known = true;
	uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575ull, secret[1] ^ 0x646f72616e646f6dull,
			 secret[0] ^ 0x6c7967656e657261ull, secret[1] ^ 0x7465646279746573ull};
	size_t left = size;
	for (; left >= 8; left -= 8, at += 8) {
		memcpy(&word, at, 8);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	word = (uint64_t)size << 56;
	for (size_t i = 0; i < left; i++)
		word |= (uint64_t)at[i] << (8 * i);
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
