/* SPDX-License-Identifier: MIT */
/* Durations as people write them. */
#ifndef TOOL_DURATION_H
#define TOOL_DURATION_H

#include <stdint.h>

/* The longest one that has an end. */
#define DURATION_MAX_NS (36525ull * 86400 * 1000000000)

/*
 * As timeout(1) has them: a number in any form that strtold(3) takes, and s, m, h, d or nothing, for seconds;
 * besides "250ms", "10us", "5ns", and several in a row: "1h30m". 0 with the time, UINT64_MAX for more than a
 * hundred years; or -EINVAL. What is not 0 stays so, however little it is.
 */
int duration_parse(const char *text, uint64_t *ret_ns);

#endif
