/* SPDX-License-Identifier: MIT */
/* Contexts without I/O, beside those of Go: making, ending, releasing and asking one, and ending a whole
 * tree. */
#include "bench.h"
#include "ctxring.h"
#include "peer.h"
#include "recording.h"

#include <pthread.h>

#define TREE_CHILDREN 10000
#define HOUR_NS 3600000000000u

static struct peer peer;
static struct recording recording;
static struct ctx_context
	*top; /* the parent of all contexts here; it can be cancelled, as the parent on Go's side can */

static double per_operation(uint64_t start_ns, unsigned count)
{
	return (double)(bench_now_ns() - start_ns) / count;
}

static void make_and_end(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct ctx_context *ctx;
		bench_check(ctx_with_cancel(top, NULL, &ctx), "ctx_with_cancel");
		ctx_cancel(ctx);
		ctx_unref(ctx);
	}
}

static double run_cancel(unsigned count)
{
	uint64_t start_ns = bench_now_ns();
	make_and_end(count);
	return per_operation(start_ns, count);
}

static double run_label(unsigned count)
{
	uint64_t start_ns = bench_now_ns();
	for (unsigned i = 0; i < count; i++) {
		struct ctx_context *ctx;
		bench_check(ctx_with_cancel(top, "request", &ctx), "ctx_with_cancel");
		ctx_finish(ctx);
	}
	return per_operation(start_ns, count);
}

static double run_timeout(unsigned count)
{
	uint64_t start_ns = bench_now_ns();
	for (unsigned i = 0; i < count; i++) {
		struct ctx_context *ctx;
		bench_check(ctx_with_timeout(top, HOUR_NS, NULL, &ctx), "ctx_with_timeout");
		ctx_cancel(ctx);
		ctx_unref(ctx);
	}
	return per_operation(start_ns, count);
}

/* Ends a parent of many children. Making and releasing the children is not measured. */
static double run_tree(unsigned count)
{
	struct ctx_context *parent, **children = bench_allocate(count, sizeof(*children));
	bench_check(ctx_with_cancel(top, NULL, &parent), "ctx_with_cancel");
	for (unsigned i = 0; i < count; i++)
		bench_check(ctx_with_cancel(parent, NULL, &children[i]), "ctx_with_cancel");
	uint64_t start_ns = bench_now_ns();
	ctx_cancel(parent);
	double result = per_operation(start_ns, count);
	for (unsigned i = 0; i < count; i++)
		ctx_unref(children[i]);
	ctx_unref(parent);
	free(children);
	return result;
}

static double run_err(unsigned count)
{
	int sum = 0;
	uint64_t start_ns = bench_now_ns();
	for (unsigned i = 0; i < count; i++)
		sum |= ctx_err(top);
	double result = per_operation(start_ns, count);
	if (sum)
		bench_fail("the parent ended");
	return result;
}

static double run_value(unsigned count, unsigned depth)
{
	static const struct ctx_key found = {.name = "found"}, other = {.name = "other"};
	const struct ctx_context *chain[16];
	void *value = NULL;
	for (unsigned i = 0; i < depth; i++)
		bench_check(
			ctx_with_value(i ? chain[i - 1] : top, i ? &other : &found, &value, NULL, &chain[i]),
			"ctx_with_value");
	uint64_t start_ns = bench_now_ns();
	for (unsigned i = 0; i < count; i++)
		bench_check(ctx_value(chain[depth - 1], &found, &value), "ctx_value");
	double result = per_operation(start_ns, count);
	for (unsigned i = depth; i > 0; i--)
		ctx_unref(chain[i - 1]);
	return result;
}

static double run_value1(unsigned count)
{
	return run_value(count, 1);
}

static double run_value10(unsigned count)
{
	return run_value(count, 10);
}

static void *thread_main(void *count)
{
	make_and_end(*(unsigned *)count);
	return NULL;
}

/* Two threads make half of the children each, all under one parent. */
static double run_threads(unsigned count)
{
	pthread_t thread;
	unsigned half = count / 2;
	uint64_t start_ns = bench_now_ns();
	if (pthread_create(&thread, NULL, thread_main, &half))
		bench_fail("pthread_create");
	make_and_end(half);
	pthread_join(thread, NULL);
	return per_operation(start_ns, count);
}

struct subject {
	const char *name; /* of the case, as it is reported */
	const char *peer; /* name of the case in bench/go/context.go */
	double (*run)(unsigned count);
	unsigned count;
	const char *against, *goal;
};

static const struct subject subjects[] = {
	{"child: create, cancel, release", "cancel", run_cancel, 200000, "Go WithCancel", "<= 0.3"},
	{"child with label", "cancel", run_label, 200000, "Go WithCancel", NULL},
	{"with timeout: create, cancel, release", "timeout", run_timeout, 200000, "Go WithTimeout", "<= 0.3"},
	{"cancel a parent of 10000, per child", "tree", run_tree, TREE_CHILDREN, "Go, 10000 children",
	 "<= 0.25"},
	{"ctx_err", "err", run_err, 5000000, "Go Err", "<= 0.3"},
	{"ctx_value, depth 1", "value1", run_value1, 1000000, "Go Value", NULL},
	{"ctx_value, depth 10", "value10", run_value10, 500000, "Go Value", NULL},
	{"two threads under one parent, per child", "threads", run_threads, 400000, "Go, two goroutines",
	 NULL},
};

static double our_side(void *data)
{
	const struct subject *subject = data;
	return subject->run(subject->count);
}

static double their_side(void *data)
{
	const struct subject *subject = data;
	return peer_measure(&peer, subject->peer, subject->count);
}

static void measure(const struct subject *subject)
{
	struct bench_turns turns;
	bool both = bench.peer;
	const bench_side sides[] = {our_side, both ? their_side : NULL};
	void *data[] = {(void *)(uintptr_t)subject, (void *)(uintptr_t)subject};
	if (!bench_wanted(subject->name))
		return;
	bench_take_turns(&turns, bench.quick ? 7 : 21, 2, sides, data);
	bench_report(subject->name, bench_turns_median(&turns, 0), "ns",
		     both ? bench_turns_ratio(&turns, 0, 1) : NAN, both ? subject->against : NULL,
		     both ? subject->goal : NULL);
	if (both)
		bench_report(subject->against, bench_turns_median(&turns, 1), "ns", NAN, NULL, NULL);
}

/* A loop that shares nothing: shows how much two threads can do at once on this machine, at this moment. */
static double run_spin(unsigned count)
{
	uint64_t start_ns = bench_now_ns();
	unsigned value = 1;
	for (unsigned i = 0; i < count * 16; i++) {
		value = value * 1664525 + i;
		__asm__ volatile("" : : "r"(value));
	}
	return per_operation(start_ns, count);
}

static void *spin_main(void *count)
{
	run_spin(*(unsigned *)count);
	return NULL;
}

static double run_spin_threads(unsigned count)
{
	pthread_t thread;
	unsigned half = count / 2;
	uint64_t start_ns = bench_now_ns();
	if (pthread_create(&thread, NULL, spin_main, &half))
		bench_fail("pthread_create");
	run_spin(half);
	pthread_join(thread, NULL);
	return per_operation(start_ns, count);
}

/* Measures the processor time of both threads: how much they slow each other down while both run. */
static double run_threads_cpu(unsigned count)
{
	struct timespec start, end;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	run_threads(count);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / count;
}

/* Compares two threads with one. The ratios are of throughputs, so higher is better. */
static void measure_scaling(void)
{
	static const char name[] = "children that two threads make of one parent";
	static const struct subject subject[] = {{.run = run_cancel, .count = 400000},
						 {.run = run_threads, .count = 400000},
						 {.run = run_spin, .count = 400000},
						 {.run = run_spin_threads, .count = 400000},
						 {.run = run_threads_cpu, .count = 400000}};
	struct bench_turns turns;
	const bench_side sides[] = {our_side, our_side, our_side, our_side, our_side};
	void *data[5];
	if (!bench_wanted(name))
		return;
	for (unsigned i = 0; i < 5; i++)
		data[i] = (void *)(uintptr_t)&subject[i];
	bench_take_turns(&turns, bench.quick ? 9 : 21, 5, sides, data);
	bench_report(name, 1000 / bench_turns_median(&turns, 1), "M/s", bench_turns_ratio(&turns, 0, 1),
		     "one thread", ">= 1.5");
	bench_report("steps of two threads that only compute", 1000 / bench_turns_median(&turns, 3), "M/s",
		     bench_turns_ratio(&turns, 2, 3), "one thread", NULL);
	bench_report("children that two threads make, by processor time",
		     1000 / bench_turns_median(&turns, 4), "M/s", 2 * bench_turns_ratio(&turns, 0, 4),
		     "one thread", NULL);
}

static double run_recorded(unsigned count)
{
	recording_begin(&recording);
	double result = run_cancel(count);
	recording_end(&recording);
	return result;
}

static void measure_recording(void)
{
	static const char name[] = "child: create, cancel, release, while recording";
	static const struct subject subject[] = {{.run = run_cancel, .count = 200000},
						 {.run = run_recorded, .count = 200000}};
	const bench_side sides[] = {our_side, our_side};
	void *data[] = {(void *)(uintptr_t)&subject[0], (void *)(uintptr_t)&subject[1]};
	if (!bench_wanted(name))
		return;
	recording_open(&recording);
	recording_compare(name, "ns", bench.quick ? 9 : 21, sides, data, &recording);
	recording_close(&recording);
}

int main(int count, char **arguments)
{
	bench_start("context", count, arguments);
	if (bench.peer)
		peer_start(&peer, bench.peer);
	bench_check(ctx_with_cancel(ctx_background(), "bench", &top), "ctx_with_cancel");
	for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++)
		measure(&subjects[i]);
	measure_recording();
	measure_scaling();
	ctx_finish(top);
	if (bench.peer)
		peer_stop(&peer);
	return 0;
}
