/* SPDX-License-Identifier: MIT */
/* Reads durations as people write them. */
#ifndef TOOL_DURATION_H
#define TOOL_DURATION_H

#include <stdint.h>

/* Longer durations are without end. */
#define DURATION_MAX_NS (36525ull * 86400 * 1000000000)

/*
 * Reads a duration as timeout(1) takes it: a number in any form that strtold(3) takes, with s, m, h, d or,
 * for seconds, no unit. Takes also "250ms", "10us", "5ns", and several in a row, as in "1h30m". 0, with
 * UINT64_MAX for more than DURATION_MAX_NS; or -EINVAL. A duration above 0 is never rounded to 0.
 */
int duration_parse(const char *text, uint64_t *ret_ns);

#endif
