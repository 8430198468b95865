/* SPDX-License-Identifier: MIT */
/*
 * SipHash-1-3 (Aumasson, Bernstein, 2012) with a secret of this process. Clients choose names, inodes and
 * ids, and must not be able to choose those that fall into one bucket of a table.
 */
#ifndef CTXD_HASH_H
#define CTXD_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *bytes, size_t size);

#endif
