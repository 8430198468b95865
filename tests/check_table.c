/* SPDX-License-Identifier: MIT */
/*
 * The context table, read as another process reads it: found in /proc/PID/maps, opened
 * through /proc/PID/fd, mapped read-only.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cancel.h"
#include "support/contexts.h"
#include "table_format.h"

struct view {
	const struct ctx_table_header *header;
	size_t size;
};

/* Opens the table of a process; -1 if it has none. */
static int open_table(pid_t pid)
{
	char path[400], target[100];
	int found = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *directory = opendir(path);
	ck_assert_ptr_nonnull(directory);
	for (struct dirent *entry; found < 0 && (entry = readdir(directory));) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, entry->d_name);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		if (!strcmp(target, "/memfd:" CTX_TABLE_MEMFD_NAME " (deleted)"))
			found = open(path, O_RDONLY | O_CLOEXEC);
	}
	closedir(directory);
	return found;
}

static struct view map_table(pid_t pid)
{
	struct view view = {NULL, 0};
	struct stat status;
	int fd = open_table(pid);

	if (fd < 0)
		return view;
	ck_assert_ok(fstat(fd, &status));
	view.size = (size_t)status.st_size;
	view.header = mmap(NULL, view.size, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(view.header, MAP_FAILED);
	close(fd);
	return view;
}

static void unmap_table(struct view view)
{
	munmap((void *)view.header, view.size);
}

/* Copies the record of the context with this id under its sequence count; false if there is none. */
static bool read_context(struct view view, uint64_t id, struct ctx_table_context *ret_record)
{
	const struct ctx_table_area *area = &view.header->contexts;
	uint32_t slot = (uint32_t)id;

	ck_assert_uint_lt(slot, area->used);
	const struct ctx_table_context *record =
		(const void *)((const char *)view.header + area->offset + slot * area->record_size);
	for (int tries = 0; tries < 1000; tries++) {
		uint32_t seq = atomic_load_explicit(&record->seq, memory_order_acquire);
		memcpy(ret_record, record, sizeof(*record));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (seq % 2 == 0 && atomic_load_explicit(&record->seq, memory_order_relaxed) == seq)
			return ret_record->state != 0 && ret_record->generation == (uint32_t)(id >> 32);
	}
	return false;
}

START_TEST(header_describes_areas_that_lie_within_the_file)
{
	ctx_finish(child_of(ctx_background()));
	struct view view = map_table(getpid());
	const struct ctx_table_header *header = view.header;
	const struct ctx_table_area *areas[] = {&header->contexts,
						&header->operations,
						&header->causes,
						&header->rings,
						&header->stems,
						&header->counters,
						&header->ends.area,
						&header->contexts_past.area,
						&header->operations_past.area};
	const size_t sizes[] = {sizeof(struct ctx_table_context),
				sizeof(struct ctx_table_operation),
				sizeof(struct ctx_table_cause),
				sizeof(struct ctx_table_ring),
				sizeof(struct ctx_table_stem),
				sizeof(struct ctx_table_counters),
				CTX_TABLE_CHUNK_SIZE,
				CTX_TABLE_CHUNK_SIZE,
				CTX_TABLE_CHUNK_SIZE};
	uint64_t end = header->header_size;

	ck_assert_ptr_nonnull(header);
	ck_assert_uint_eq(header->magic, CTX_TABLE_MAGIC);
	ck_assert_uint_eq(header->version, CTX_TABLE_VERSION);
	ck_assert_uint_eq(header->file_size, view.size);
	ck_assert_int_eq(header->pid, getpid());
	ck_assert_uint_eq(header->uid, getuid());
	ck_assert_uint_ge(header->header_size, sizeof(*header));
	for (size_t i = 0; i < sizeof(areas) / sizeof(*areas); i++) {
		ck_assert_uint_ge(areas[i]->record_size, sizes[i]);
		ck_assert_uint_ge(areas[i]->offset, end);
		ck_assert_uint_gt(areas[i]->count, 1);
		ck_assert_uint_le(areas[i]->used, areas[i]->count);
		end = areas[i]->offset + (uint64_t)areas[i]->count * areas[i]->record_size;
	}
	ck_assert_uint_le(end, view.size);
	ck_assert_uint_eq(header->ends.entry_size, sizeof(struct ctx_table_end));
	ck_assert_uint_eq(header->contexts_past.entry_size, sizeof(struct ctx_table_context_past));
	ck_assert_uint_eq(header->operations_past.entry_size, sizeof(struct ctx_table_operation_past));
	unmap_table(view);
}
END_TEST

START_TEST(table_is_sealed_and_cannot_be_written_by_others)
{
	ctx_finish(child_of(ctx_background()));
	int fd = open_table(getpid());
	char path[50];

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS),
			 F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int writable = open(path, O_RDWR | O_CLOEXEC);
	if (writable >= 0) {
		ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writable, 0),
				 MAP_FAILED);
		ck_assert_int_eq(write(writable, "x", 1), -1);
		ck_assert_int_eq(ftruncate(writable, 0), -1);
		close(writable);
	}
	close(fd);
}
END_TEST

START_TEST(record_tells_what_a_context_is)
{
	struct ctx_context *parent, *child;
	struct ctx_table_context record;
	uint64_t before = clock_now_ns();

	ck_assert_ok(ctx_with_cancel(ctx_background(), "server", &parent));
	ck_assert_ok(ctx_with_timeout(parent, HOUR, "a label that is longer than thirty-one bytes", &child));
	struct view view = map_table(getpid());
	ck_assert(read_context(view, ctx_id(parent), &record));
	ck_assert_str_eq(record.label, "server");
	ck_assert_uint_eq(record.state & CTX_TABLE_LIVE, CTX_TABLE_LIVE);
	ck_assert_uint_eq(record.parent_slot, 0);
	ck_assert_uint_eq(record.deadline_ns, UINT64_MAX);
	ck_assert_uint_eq(record.kind, CTX_TABLE_CANCEL);
	ck_assert_uint_eq(record.creator_tid, (uint32_t)gettid());
	ck_assert_uint_ne(record.site, 0);
	ck_assert_uint_ge(record.created_ns + NS_PER_SECOND, before);
	ck_assert(read_context(view, ctx_id(child), &record));
	ck_assert_uint_eq(strlen(record.label), CTX_LABEL_MAX);
	ck_assert_uint_eq(record.parent_slot, (uint32_t)ctx_id(parent));
	ck_assert_uint_eq(record.parent_generation, (uint32_t)(ctx_id(parent) >> 32));
	ck_assert_uint_eq(record.deadline_ns, ctx_deadline_ns(child));
	ck_assert_uint_eq(record.kind, CTX_TABLE_DEADLINE);
	unmap_table(view);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

START_TEST(record_tells_how_a_context_ended)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct ctx_table_context record;
	uint64_t id = ctx_id(parent);

	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "peer left"));
	struct view view = map_table(getpid());
	ck_assert(read_context(view, id, &record));
	ck_assert_uint_eq(record.state & CTX_TABLE_ERRNO, ECANCELED);
	ck_assert_uint_eq(record.state & CTX_TABLE_OWN, CTX_TABLE_OWN);
	ck_assert_uint_eq(record.cause_kind, CTX_CAUSE_CALL);
	ck_assert_uint_eq(record.done_tid, (uint32_t)gettid());
	ck_assert_uint_ne(record.done_ns, 0);
	ck_assert_uint_ne(record.cause_slot, 0);
	ck_assert_uint_lt(record.cause_slot, view.header->causes.used);
	const struct ctx_table_cause *cause =
		(const void *)((const char *)view.header + view.header->causes.offset +
			       record.cause_slot * view.header->causes.record_size);
	ck_assert_int_eq(cause->error, -EPIPE);
	ck_assert_str_eq(cause->text, "peer left");
	ck_assert_str_eq(cause->host, "");
	ck_assert_uint_eq(cause->context_slot, (uint32_t)id);
	ck_assert(read_context(view, ctx_id(child), &record));
	ck_assert_uint_eq(record.state & CTX_TABLE_ERRNO, ECANCELED);
	ck_assert_uint_eq(record.state & CTX_TABLE_OWN, 0);
	uint32_t cause_slot = record.cause_slot;
	ck_assert_uint_eq(cause_slot, 0);
	ctx_finish(child);
	ctx_finish(parent);
	/* The slot is free, and its next user is another generation. */
	ck_assert(!read_context(view, id, &record));
	unmap_table(view);
}
END_TEST

START_TEST(record_tells_on_which_host_an_end_began)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_cause there = {
		.error = -EPIPE, .kind = CTX_CAUSE_HOST, .text = "it is gone", .host = "other.example"};
	struct ctx_table_context record;
	struct view view = map_table(getpid());

	ck_assert_ok(context_end_foreign(ctx, ECANCELED, &there));
	ck_assert(read_context(view, ctx_id(ctx), &record));
	ck_assert_uint_eq(record.cause_kind, CTX_CAUSE_HOST);
	const struct ctx_table_cause *cause =
		(const void *)((const char *)view.header + view.header->causes.offset +
			       record.cause_slot * view.header->causes.record_size);
	ck_assert_str_eq(cause->host, "other.example");
	unmap_table(view);
	ctx_finish(ctx);
}
END_TEST

START_TEST(moved_deadline_shows_in_the_table)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR), *child = child_of(ctx);
	struct ctx_table_context record;
	struct view view = map_table(getpid());
	uint64_t earlier = clock_now_ns() + HOUR / 2;

	ck_assert_ok(ctx_set_deadline(ctx, earlier));
	ck_assert(read_context(view, ctx_id(ctx), &record));
	ck_assert_uint_eq(record.deadline_ns, earlier);
	ck_assert(read_context(view, ctx_id(child), &record));
	ck_assert_uint_eq(record.deadline_ns, earlier);
	unmap_table(view);
	ctx_finish(child);
	ctx_finish(ctx);
}
END_TEST

START_TEST(generation_of_a_slot_changes_with_each_use)
{
	uint64_t last = 0;

	for (int i = 0; i < 1000; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		ck_assert_uint_ne(ctx_id(ctx), last);
		ck_assert_uint_ne(ctx_id(ctx) >> 32, 0);
		ck_assert_uint_ne((uint32_t)ctx_id(ctx), 0);
		last = ctx_id(ctx);
		ctx_finish(ctx);
	}
}
END_TEST

/* Goal: readable with no help from its process. Method: a child makes contexts, is stopped, and is read. */
static void be_read(int ready)
{
	struct ctx_context *outer, *inner;

	if (ctx_with_cancel(ctx_background(), "outer", &outer) ||
	    ctx_with_timeout(outer, HOUR, "inner", &inner))
		_exit(1);
	uint64_t ids[] = {ctx_id(outer), ctx_id(inner)};
	if (write(ready, ids, sizeof(ids)) != sizeof(ids))
		_exit(1);
	for (;;)
		pause();
}

START_TEST(table_of_a_stopped_process_is_read_from_outside)
{
	int ready[2], status;
	uint64_t ids[2];
	struct ctx_table_context record;

	ck_assert_ok(pipe2(ready, O_CLOEXEC));
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		be_read(ready[1]);
	ck_assert_int_eq(read(ready[0], ids, sizeof(ids)), sizeof(ids));
	ck_assert_ok(kill(pid, SIGSTOP));
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	struct view view = map_table(pid);
	ck_assert_ptr_nonnull(view.header);
	ck_assert_int_eq(view.header->pid, pid);
	ck_assert(read_context(view, ids[0], &record));
	ck_assert_str_eq(record.label, "outer");
	ck_assert(read_context(view, ids[1], &record));
	ck_assert_str_eq(record.label, "inner");
	ck_assert_uint_eq(record.parent_slot, (uint32_t)ids[0]);
	ck_assert_ok(kill(pid, SIGKILL));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	unmap_table(view);
	close(ready[0]);
	close(ready[1]);
}
END_TEST

/* Goal: a reader never sees half of a record. Method: one process makes and frees, its parent copies. */
static void churn(int ready)
{
	struct ctx_context *ctx;
	static const char *const labels[] = {"aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"};

	for (unsigned i = 0;; i++) {
		if (ctx_with_cancel(ctx_background(), labels[i % 2], &ctx))
			_exit(1);
		if (i == 0 && write(ready, "x", 1) != 1)
			_exit(1);
		ctx_cancel_cause(ctx, -EPIPE, "%s", labels[i % 2]);
		ctx_unref(ctx);
	}
}

START_TEST(records_that_change_are_never_seen_torn)
{
	int ready[2], status;
	char byte;
	unsigned seen[2] = {0, 0};
	uint64_t end = clock_now_ns() + 30 * NS_PER_SECOND;

	ck_assert_ok(pipe2(ready, O_CLOEXEC));
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		churn(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	struct view view = map_table(pid);
	ck_assert_ptr_nonnull(view.header);
	while ((seen[0] < 1000 || seen[1] < 1000) && clock_now_ns() < end) {
		const struct ctx_table_area *area = &view.header->contexts;
		for (uint32_t slot = 1; slot < area->used; slot++) {
			const struct ctx_table_context *shared =
				(const void *)((const char *)view.header + area->offset +
					       slot * area->record_size);
			uint32_t generation = atomic_load_explicit(&shared->generation, memory_order_relaxed);
			struct ctx_table_context record;
			if (!read_context(view, (uint64_t)generation << 32 | slot, &record))
				continue;
			ck_assert_uint_eq(strlen(record.label), 24);
			for (int i = 1; i < 24; i++)
				ck_assert_int_eq(record.label[i], record.label[0]);
			seen[record.label[0] == 'b']++;
		}
	}
	ck_assert_ok(kill(pid, SIGKILL));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_gt(seen[0], 0);
	ck_assert_uint_gt(seen[1], 0);
	unmap_table(view);
	close(ready[0]);
	close(ready[1]);
}
END_TEST

START_TEST(table_is_off_when_the_environment_says_so)
{
	ck_assert_ok(setenv("CTXRING_TABLE", "0", 1));
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR), *child = child_of(ctx);

	ck_assert_uint_eq(ctx_id(ctx), 0);
	ck_assert_int_eq(open_table(getpid()), -1);
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "still a cause"));
	ck_assert_cancelled(child);
	ck_assert_str_eq(cause_of(child).text, "still a cause");
	ck_assert_uint_eq(cause_of(child).ctx_id, 0);
	ctx_finish(child);
	ctx_finish(ctx);
}
END_TEST

/* A limit on file size makes the table smaller; a full one leaves contexts that work but are not shown. */
START_TEST(full_or_limited_table_leaves_contexts_that_work)
{
	struct rlimit limit = {1 << 20, 1 << 20};
	enum {
		MANY = 100000
	};
	struct ctx_context **many = calloc(MANY, sizeof(struct ctx_context *));
	unsigned shown = 0;

	ck_assert_ptr_nonnull(many);
	ck_assert_ok(setrlimit(RLIMIT_FSIZE, &limit));
	struct ctx_context *parent = child_of(ctx_background());
	int fd = open_table(getpid());
	struct stat status;
	if (fd >= 0) {
		ck_assert_ok(fstat(fd, &status));
		ck_assert_uint_le((uint64_t)status.st_size, 1 << 20);
		close(fd);
	}
	for (int i = 0; i < MANY; i++) {
		many[i] = child_of(parent);
		shown += ctx_id(many[i]) != 0;
	}
	ck_assert_uint_lt(shown, MANY);
	ck_assert_ok(ctx_cancel_cause(many[MANY - 1], -EPIPE, "not shown"));
	ck_assert_str_eq(cause_of(many[MANY - 1]).text, "not shown");
	ck_assert_ok(ctx_cancel(parent));
	for (int i = 0; i < MANY; i++) {
		ck_assert_cancelled(many[i]);
		ctx_unref(many[i]);
	}
	ctx_finish(parent);
	/* Slots that were given back are used again. */
	struct ctx_context *again = child_of(ctx_background());
	ck_assert(fd < 0 || ctx_id(again) != 0);
	ctx_finish(again);
	free(many);
}
END_TEST

static void *finish_one(void *ctx)
{
	ctx_finish(ctx);
	return NULL;
}

/* Goal: a thread that only releases contexts takes no slots with it. Method: many such, one after the other.
 */
START_TEST(thread_that_only_releases_gives_slots_back)
{
	struct ctx_context *first = child_of(ctx_background());
	uint32_t before = test_own_table()->contexts.used;
	pthread_t thread;

	for (int i = 0; i < 200; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		ck_assert_ok(pthread_create(&thread, NULL, finish_one, ctx));
		ck_assert_ok(pthread_join(thread, NULL));
	}
	ck_assert_uint_le(test_own_table()->contexts.used, before + 32);
	ctx_finish(first);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("table");
	TCase *table = test_case(suite, "table");

	tcase_add_test(table, header_describes_areas_that_lie_within_the_file);
	tcase_add_test(table, table_is_sealed_and_cannot_be_written_by_others);
	tcase_add_test(table, record_tells_what_a_context_is);
	tcase_add_test(table, record_tells_how_a_context_ended);
	tcase_add_test(table, record_tells_on_which_host_an_end_began);
	tcase_add_test(table, moved_deadline_shows_in_the_table);
	tcase_add_test(table, generation_of_a_slot_changes_with_each_use);
	tcase_add_test(table, thread_that_only_releases_gives_slots_back);
	TCase *cold = test_case_cold(suite, "from outside, off, full");
	tcase_add_test(cold, table_of_a_stopped_process_is_read_from_outside);
	tcase_add_test(cold, records_that_change_are_never_seen_torn);
	tcase_add_test(cold, table_is_off_when_the_environment_says_so);
	tcase_add_test(cold, full_or_limited_table_leaves_contexts_that_work);
	return suite;
}
