/* SPDX-License-Identifier: MIT */
/*
 * A recording of this program itself. The program asks for it as ctxtool record does, by a time that it
 * stores in its own control memfd. Nobody reads the journals meanwhile, so that what is measured is what the
 * process itself does for a recording.
 */
#ifndef BENCH_RECORDING_H
#define BENCH_RECORDING_H

#include "bench.h"
#include "table_format.h"

#include <stdatomic.h>
#include <sys/mman.h>

/* Turns that fill the journals: 800000 contexts or 128000 operations are more than these hold. */
#define RECORDING_FILL_TURNS 4

struct recording {
	struct ctx_control *control;
	const struct ctx_table_header *table;
};

/* Maps the start of the memfd of that name, which the library of this process has made. */
static inline void *recording_map(const char *name, size_t size, int protection)
{
	char link[32], target[64], expected[64];
	snprintf(expected, sizeof(expected), "/memfd:%s (deleted)", name);
	for (int fd = 0; fd < 1024; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t length = readlink(link, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = 0;
		if (strcmp(target, expected) != 0)
			continue;
		void *memory = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
		if (memory == MAP_FAILED)
			bench_fail("mmap of %s: %s", expected, strerror(errno));
		return memory;
	}
	bench_fail("no descriptor is %s", expected);
}

/* The library makes both files with the first context: one must have been made. */
static inline void recording_open(struct recording *recording)
{
	recording->control =
		recording_map(CTX_CONTROL_MEMFD_NAME, sizeof(*recording->control), PROT_READ | PROT_WRITE);
	recording->table = recording_map(CTX_TABLE_MEMFD_NAME, sizeof(*recording->table), PROT_READ);
}

static inline void recording_close(struct recording *recording)
{
	munmap(recording->control, sizeof(*recording->control));
	munmap((void *)(uintptr_t)recording->table, sizeof(*recording->table));
}

/* What is to be recorded must end within CTX_CONTROL_AHEAD_NS / 2, or recording_end() fails. */
static inline void recording_begin(struct recording *recording)
{
	atomic_store(&recording->control->record_until_ns, bench_now_ns() + CTX_CONTROL_AHEAD_NS / 2);
}

static inline void recording_end(struct recording *recording)
{
	if (atomic_exchange(&recording->control->record_until_ns, 0) < bench_now_ns())
		bench_fail("the recording was over too early");
}

/* How many chunks of the journals a recording has begun so far. */
static inline uint64_t recording_chunks(const struct recording *recording)
{
	return atomic_load(&recording->table->contexts_past.serial) +
	       atomic_load(&recording->table->operations_past.serial);
}

/*
 * Measures one operation while nobody records (side 0) and while somebody does (side 1). Both do the same
 * work on the same objects. Fills the journals before, so that no turn pays for their first use of memory.
 */
static inline void recording_compare(const char *name, const char *unit, unsigned turns_count,
				     const bench_side *side, void *const *data,
				     const struct recording *recording)
{
	static const char against[] = "nobody records";
	struct bench_turns turns;
	for (unsigned i = 0; i < RECORDING_FILL_TURNS; i++)
		side[1](data[1]);
	uint64_t before = recording_chunks(recording);
	bench_take_turns(&turns, turns_count, 2, side, data);
	if (recording_chunks(recording) - before < turns.count)
		bench_fail("%s: nothing was recorded", name);
	bench_report(name, bench_turns_median(&turns, 1), unit, bench_turns_ratio(&turns, 1, 0), against,
		     "<= 1.05");
	bench_report(against, bench_turns_median(&turns, 0), unit, NAN, name, NULL);
}

#endif
