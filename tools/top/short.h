/* SPDX-License-Identifier: MIT */
/* Times and rates in few characters. */
#ifndef TOP_SHORT_H
#define TOP_SHORT_H

#include <stdint.h>

/* Writes a time in at most six characters: "850us", "12ms", "1.25s", "12.5s", "3m05s", "12d03h". */
char *top_time_text(uint64_t time_ns, char buffer[16]);

/* Writes a rate in at most five characters: "0", "0.5", "12.5", "1234", "12k", "1.2M". */
char *top_rate_text(double rate, char buffer[16]);

#endif
