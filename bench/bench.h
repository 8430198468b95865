/* SPDX-License-Identifier: MIT */
/*
 * What the benchmarks share: options, time, medians and the report.
 *
 * Other programs disturb the machines that these run on. So the sides of a comparison take turns, each turn
 * gives one ratio, and reported are the median of the values and the median of the ratios.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BENCH_TURNS_MAX 64
/* A case that takes longer than this hangs: SIGALRM ends the program, and run.sh reports that. */
#define BENCH_CASE_SECONDS_MAX 180

struct bench {
	const char *name;
	bool quick;
	const char *filter; /* part of "bench/case", NULL: everything */
	const char *peer;   /* the program that measures Go, NULL: none */
	FILE *json;
};

static struct bench bench;

static inline void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static inline void bench_fail(const char *format, ...)
{
	va_list arguments;
	fprintf(stderr, "%s: ", bench.name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

/* Ends the program when result, of the call that is named by what, is a negative errno. */
static inline int bench_check(int result, const char *what)
{
	if (result < 0)
		bench_fail("%s: %s", what, strerror(-result));
	return result;
}

static inline void *bench_allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);
	if (!memory)
		bench_fail("no memory");
	return memory;
}

static inline uint64_t bench_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Reads the command line: --quick, --json FILE, to which figures are appended, --peer PROGRAM, and a filter.
 */
static inline void bench_start(const char *name, int count, char **arguments)
{
	bench = (struct bench){.name = name};
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < count; i++) {
		if (!strcmp(arguments[i], "--quick")) {
			bench.quick = true;
		} else if (!strcmp(arguments[i], "--json") && i + 1 < count) {
			bench.json = fopen(arguments[++i], "ae");
			if (!bench.json)
				bench_fail("%s: %s", arguments[i], strerror(errno));
		} else if (!strcmp(arguments[i], "--peer") && i + 1 < count) {
			bench.peer = arguments[++i];
		} else if (arguments[i][0] == '-') {
			bench_fail("usage: %s [--quick] [--json FILE] [--peer PROGRAM] [FILTER]", name);
		} else {
			bench.filter = arguments[i];
		}
	}
}

/* Whether the filter lets a case run. If so, names it on stderr and starts its time limit. */
static inline bool bench_wanted(const char *name)
{
	char full[128];
	snprintf(full, sizeof(full), "%s/%s", bench.name, name);
	if (bench.filter && !strstr(full, bench.filter))
		return false;
	fprintf(stderr, "  %s\n", full);
	alarm(BENCH_CASE_SECONDS_MAX);
	return true;
}

static inline int bench_compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

/* The median of values, which are sorted. */
static inline double bench_median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), bench_compare);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/*
 * Prints one figure and appends it to the JSON file. A ratio of NAN: there is none, and the goal is for the
 * value. against and goal may be NULL.
 */
static inline void bench_report(const char *name, double value, const char *unit, double ratio,
				const char *against, const char *goal)
{
	char number[32] = "-";
	if (!isnan(ratio))
		snprintf(number, sizeof(number), "%.3f", ratio);
	printf("%-8s %-46s %12.2f %-9s %9s %-30s %s\n", bench.name, name, value, unit, number,
	       against ? against : "-", goal ? goal : "");
	if (!bench.json)
		return;
	fprintf(bench.json, "{\"bench\":\"%s\",\"case\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",", bench.name,
		name, value, unit);
	if (isnan(ratio))
		fprintf(bench.json, "\"ratio\":null,");
	else
		fprintf(bench.json, "\"ratio\":%.3f,", ratio);
	if (against)
		fprintf(bench.json, "\"against\":\"%s\",", against);
	else
		fprintf(bench.json, "\"against\":null,");
	if (goal)
		fprintf(bench.json, "\"goal\":\"%s\"}\n", goal);
	else
		fprintf(bench.json, "\"goal\":null}\n");
	fflush(bench.json);
}

/* One side of a comparison: returns how long one operation took, in ns. */
typedef double (*bench_side)(void *data);

/*
 * The results of sides that take turns: results[side][turn]. Every second turn goes through the sides in the
 * opposite order, so that no side always runs after the same other one.
 */
struct bench_turns {
	unsigned count;
	double results[8][BENCH_TURNS_MAX];
};

static inline void bench_take_turns(struct bench_turns *turns, unsigned count, unsigned sides,
				    const bench_side *side, void *const *data)
{
	turns->count = count > BENCH_TURNS_MAX ? BENCH_TURNS_MAX : count;
	for (unsigned turn = 0; turn < turns->count; turn++) {
		for (unsigned k = 0; k < sides; k++) {
			unsigned i = turn % 2 ? sides - 1 - k : k;
			if (side[i])
				turns->results[i][turn] = side[i](data[i]);
		}
	}
}

static inline double bench_turns_median(const struct bench_turns *turns, unsigned side)
{
	double copy[BENCH_TURNS_MAX];
	memcpy(copy, turns->results[side], turns->count * sizeof(*copy));
	return bench_median(copy, turns->count);
}

/* The median over the turns of the result of side a divided by that of side b. */
static inline double bench_turns_ratio(const struct bench_turns *turns, unsigned a, unsigned b)
{
	double copy[BENCH_TURNS_MAX];
	for (unsigned turn = 0; turn < turns->count; turn++)
		copy[turn] = turns->results[a][turn] / turns->results[b][turn];
	return bench_median(copy, turns->count);
}

#endif
