/* SPDX-License-Identifier: MIT */
/*
 * The library's memory, counted. A block has a known pattern before and behind it, which must be there when
 * it is released, and is overwritten then.
 */
#ifndef SOAK_ALLOCATION_H
#define SOAK_ALLOCATION_H

#include <stdint.h>

/* Before anything else of the library. */
void allocation_use(void);
/* Blocks that are allocated now. */
uint64_t allocation_blocks(void);

#endif
