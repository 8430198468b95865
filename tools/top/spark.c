/* SPDX-License-Identifier: MIT */
#include "spark.h"

#include <string.h>

#define LEVELS 8

void top_spark_add(struct top_spark *spark, uint64_t now_ns, double value)
{
	uint64_t second = now_ns / 1000000000u;

	if (!spark->begun) {
		for (unsigned i = 0; i < TOP_SPARK_SECONDS; i++)
			spark->values[i] = -1;
		spark->begun = true;
		spark->second = second;
	}
	if (second - spark->second > TOP_SPARK_SECONDS)
		spark->second = second - TOP_SPARK_SECONDS;
	while (spark->second < second) {
		spark->second++;
		spark->values[spark->second % TOP_SPARK_SECONDS] = value;
	}
	double *last = &spark->values[second % TOP_SPARK_SECONDS];

	*last = value > *last ? value : *last;
}

unsigned top_spark_bars(unsigned width)
{
	unsigned seconds = 1;

	while (seconds < TOP_SPARK_SECONDS &&
	       (TOP_SPARK_SECONDS % seconds || TOP_SPARK_SECONDS / seconds > width))
		seconds++;
	return TOP_SPARK_SECONDS / seconds <= width ? TOP_SPARK_SECONDS / seconds : 0;
}

/* The greatest value of the seconds for which a bar stands. */
static double bar_value(const struct top_spark *spark, unsigned bars, unsigned bar)
{
	unsigned seconds = TOP_SPARK_SECONDS / bars;
	double greatest = -1;

	for (unsigned i = 0; i < seconds && spark->begun; i++) {
		double value = spark->values[(spark->second + 1 + bar * seconds + i) % TOP_SPARK_SECONDS];

		greatest = value > greatest ? value : greatest;
	}
	return greatest;
}

char *top_spark_text(const struct top_spark *spark, unsigned bars, bool unicode, char buffer[TOP_SPARK_SIZE])
{
	static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[LEVELS] = {"_", ".", ":", "-", "=", "+", "*", "#"};
	double most = 0;

	buffer[0] = '\0';
	for (unsigned i = 0; i < bars; i++) {
		double value = bar_value(spark, bars, i);

		most = value > most ? value : most;
	}
	for (unsigned i = 0; i < bars; i++) {
		double value = bar_value(spark, bars, i);
		/* What is above 0 is seen to be. */
		unsigned level = value > 0 ? 1 + (unsigned)(value / most * (LEVELS - 2) + 0.5) : 0;

		strcat(buffer, value < 0 ? " " : (unicode ? blocks : ascii)[level]);
	}
	return buffer;
}
