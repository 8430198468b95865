/* SPDX-License-Identifier: MIT */
/* Durations as people write them. */
#ifndef TOOL_DURATION_H
#define TOOL_DURATION_H

#include <stdint.h>

/* The longest one that is taken for meant. */
#define DURATION_MAX_NS (36525ull * 86400 * 1000000000)

/*
 * "10", "1.5", "5s", "2m", "1h", "1d" as timeout(1) has them, "250ms", "10us", and several in a row: "1h30m".
 * 0 with the time, -EINVAL: it is none, -ERANGE: more than a hundred years. What is not 0 stays so.
 */
int duration_parse(const char *text, uint64_t *ret_ns);

#endif
