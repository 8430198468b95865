/* SPDX-License-Identifier: MIT */
#include "soak/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "soak/actor.h"
#include "soak/allocation.h"
#include "soak/verdict.h"
#include "table.h"
#include "thread_ring.h"

#define FIRST_ROUNDS 3
/* Of blocks: some arrays of the library take one more when there is more at a time than ever before. */
#define GROWTH 12

struct base {
	uint64_t descriptors, blocks, contexts, operations, causes;
};

static struct base base;

static void print_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");

	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		char path[300], target[200];
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length > 0)
			fprintf(stderr, "  fd %s -> %.*s\n", entry->d_name, (int)length, target);
	}
	if (directory)
		closedir(directory);
}

static uint64_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint64_t descriptors = 0;

	must(directory, "no /proc/self/fd");
	while (readdir(directory))
		descriptors++;
	closedir(directory);
	return descriptors;
}

static uint64_t count_contexts(void)
{
	const struct ctx_table_header *header = table_map.header;
	uint64_t contexts = 0;

	for (uint32_t slot = 1;
	     header && slot < atomic_load_explicit(&header->contexts.used, memory_order_acquire); slot++)
		contexts += atomic_load_explicit(&table_map.contexts[slot].state, memory_order_acquire) != 0;
	return contexts;
}

static uint64_t count_operations(void)
{
	const struct ctx_table_header *header = table_map.header;
	uint64_t operations = 0;

	for (uint32_t slot = 1;
	     header && slot < atomic_load_explicit(&header->operations.used, memory_order_acquire); slot++)
		operations += (atomic_load_explicit(&table_map.operations[slot].flags, memory_order_acquire) &
			       CTX_TABLE_OP_IN_FLIGHT) != 0;
	return operations;
}

static struct base look(void)
{
	thread_ring_trim();
	return (struct base){.descriptors = count_descriptors(),
			     .blocks = allocation_blocks(),
			     .contexts = count_contexts(),
			     .operations = count_operations()};
}

static bool is_back(const struct base *now)
{
	return now->descriptors <= base.descriptors && now->blocks <= base.blocks + GROWTH &&
	       !now->contexts && !now->operations;
}

/* Threads of the library may still be letting go of what was released. */
static struct base settle(void)
{
	uint64_t end_ns = clock_now_ns() + 10 * NS_PER_SECOND;
	struct base now = look();

	while (!is_back(&now) && clock_now_ns() < end_ns) {
		struct timespec pause = {.tv_nsec = 2000000};
		nanosleep(&pause, NULL);
		now = look();
	}
	return now;
}

static void ignore_end(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	(void)data;
}

void base_prepare(void)
{
	struct ctx_callback callback = {0};
	struct ctx_context *ctx = NULL;
	uint64_t id;
	int ends[2];

	must(!pipe2(ends, O_CLOEXEC), "no pipe");
	must(ctx_done_fd(ctx_background()) >= 0, "ctx_done_fd");
	must(ctx_with_fd(ctx_background(), NULL, ends[0], POLLIN, "watched", &ctx) == 0, "no source");
	ctx_finish(ctx);
	close(ends[0]);
	close(ends[1]);
	must(ctx_with_timeout(ctx_background(), 1000, "timed", &ctx) == 0, "no timeout");
	must(ctx_callback_add(ctx, &callback, ignore_end, NULL, &id) == 0, "no callback");
	must(ctx_wait(ctx, SOAK_SOON_NS) == 0, "a deadline does not fire");
	ctx_callback_stop_wait(id);
	ctx_finish(ctx);
}

void base_check(unsigned long round)
{
	if (round < FIRST_ROUNDS) {
		struct timespec pause = {.tv_nsec = 300000000};
		nanosleep(&pause, NULL);
		struct base now = look();
		base.descriptors = now.descriptors > base.descriptors ? now.descriptors : base.descriptors;
		base.blocks = now.blocks > base.blocks ? now.blocks : base.blocks;
	}
	struct base now = settle();
	if (now.descriptors > base.descriptors)
		print_descriptors();
	must(is_back(&now),
	     "left behind: descriptors %llu -> %llu, blocks %llu -> %llu, contexts %llu, operations %llu",
	     (unsigned long long)base.descriptors, (unsigned long long)now.descriptors,
	     (unsigned long long)base.blocks, (unsigned long long)now.blocks,
	     (unsigned long long)now.contexts, (unsigned long long)now.operations);
}
