/* SPDX-License-Identifier: MIT */
/* A number over the last minute, second by second, as a line of small bars. */
#ifndef TOP_SPARK_H
#define TOP_SPARK_H

#include <stdbool.h>
#include <stdint.h>

#define TOP_SPARK_SECONDS 60

struct top_spark {
	double values[TOP_SPARK_SECONDS]; /* by the second modulo TOP_SPARK_SECONDS; below 0: not known */
	uint64_t second;		  /* of the last value */
	bool begun;
};

/* Sets the number of the second in which now_ns is, and of those since the last call. Of several the greatest
 * stays. */
void top_spark_add(struct top_spark *spark, uint64_t now_ns, double value);

/*
 * Returns how many bars fit into a width: as many as there are seconds, or fewer that stand for equally many
 * seconds each.
 */
unsigned top_spark_bars(unsigned width);

/* Writes the bars, the oldest first, in blocks of Unicode or in ASCII. A bar is as high as its greatest
 * second. */
#define TOP_SPARK_SIZE (3 * TOP_SPARK_SECONDS + 1)
char *top_spark_text(const struct top_spark *spark, unsigned bars, bool unicode, char buffer[TOP_SPARK_SIZE]);

#endif
