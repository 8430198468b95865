/* SPDX-License-Identifier: MIT */
#include "ends.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctxring.h"
#include "exit_code.h"
#include "monotonic.h"
#include "names.h"
#include "site_names.h"
#include "users.h"

/* At each of so many ticks new processes are looked for. */
#define SURVEY_TICKS 5

void ends_init(struct ends *ends)
{
	*ends = (struct ends){.until_ns = UINT64_MAX,
			      .read_ns = monotonic_ns(),
			      .follow = {.kinds = 1u << JOURNAL_ENDS, .size = sizeof(struct followed)}};
	ends->wall_ns = (int64_t)(clock_ns(CLOCK_REALTIME) - monotonic_ns());
}

void ends_free(struct ends *ends)
{
	follow_free(&ends->follow);
	free(ends->ends);
	*ends = (struct ends){0};
}

/* ---- processes */

int ends_add(struct ends *ends, struct survey *survey, bool died, const char *program)
{
	int code = EXIT_OK;

	for (size_t i = 0; i < survey->process_count; i++) {
		const struct process *process = &survey->processes[i];
		char reason[READER_REASON_SIZE], name[ESCAPED_SIZE];
		int result = follow_take(&ends->follow, survey, i, reason);

		if (result == -ENOMEM)
			return EXIT_TROUBLE;
		if (!result)
			ends->follow.processes[ends->follow.count - 1]->died = died;
		if (!result || result == -EEXIST)
			continue;
		if (program)
			fprintf(stderr, "%s: process %d %s: %s\n", program, (int)process->pid,
				escape(process->name, name, sizeof(name)), reason);
		code = EXIT_PARTLY;
	}
	return code;
}

/* ---- reading */

static int add_end(struct ends *ends, struct followed *process, const struct ctx_table_end *entry)
{
	if (entry->time_ns < ends->since_ns || entry->time_ns >= ends->until_ns)
		return 0;
	if (ends->count == ends->room) {
		size_t room = ends->room ? ends->room * 2 : 256;
		struct past_end *larger = realloc(ends->ends, room * sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		ends->ends = larger;
		ends->room = room;
	}
	ends->ends[ends->count++] = (struct past_end){.entry = *entry, .process = process};
	return 0;
}

static int compare_contexts(const void *left, const void *right)
{
	const struct past_end *a = left, *b = right;

	if (a->process != b->process)
		return (uintptr_t)a->process < (uintptr_t)b->process ? -1 : 1;
	if (a->entry.context_slot != b->entry.context_slot)
		return a->entry.context_slot < b->entry.context_slot ? -1 : 1;
	if (a->entry.context_generation != b->entry.context_generation)
		return a->entry.context_generation < b->entry.context_generation ? -1 : 1;
	return 0;
}

static uint32_t add_bounded(uint32_t left, uint32_t right)
{
	return left > UINT32_MAX - right ? UINT32_MAX : left + right;
}

/* Adds a batch to the end that it was for. The ends are sorted by context. */
static void add_batch(struct ends *ends, struct followed *process, const struct ctx_table_end *batch)
{
	struct past_end wanted = {.process = process,
				  .entry = {.context_slot = batch->batch.origin_slot,
					    .context_generation = batch->batch.origin_generation}};
	struct past_end *end =
		ends->count ? bsearch(&wanted, ends->ends, ends->count, sizeof(wanted), compare_contexts)
			    : NULL;

	if (!end)
		return;
	end->batched = true;
	end->operations = add_bounded(end->operations, batch->batch.operations);
	end->cancelled = add_bounded(end->cancelled, batch->batch.cancelled);
	if (batch->batch.reap_ns > end->batch_ns)
		end->batch_ns = batch->batch.reap_ns;
}

static void add_batches(struct ends *ends)
{
	for (size_t i = 0; i < ends->follow.count; i++) {
		struct followed *process = ends->follow.processes[i];
		const struct journal *journal = &process->journals[JOURNAL_ENDS];
		const struct ctx_table_end *entries = journal->entries;

		for (size_t j = 0; j < journal->entry_count; j++)
			if (entries[j].type == CTX_TABLE_END_BATCH)
				add_batch(ends, process, &entries[j]);
	}
}

int ends_read(struct ends *ends)
{
	for (size_t i = 0; i < ends->follow.count; i++) {
		struct followed *process = ends->follow.processes[i];
		struct journal *journal = &process->journals[JOURNAL_ENDS];
		int result = journal_read(journal);
		const struct ctx_table_end *entries = journal->entries;

		for (size_t j = 0; j < journal->entry_count && !result; j++)
			if (entries[j].type == CTX_TABLE_END_CONTEXT)
				result = add_end(ends, process, &entries[j]);
		if (result)
			return result;
	}
	if (ends->count)
		qsort(ends->ends, ends->count, sizeof(*ends->ends), compare_contexts);
	add_batches(ends);
	return 0;
}

static int compare_times(const void *left, const void *right)
{
	const struct past_end *a = left, *b = right;

	if (a->entry.time_ns != b->entry.time_ns)
		return a->entry.time_ns < b->entry.time_ns ? -1 : 1;
	return compare_contexts(left, right);
}

uint64_t ends_wait_ns(const struct ends *ends)
{
	uint64_t now_ns = monotonic_ns(), next_ns = ends->read_ns + ENDS_TICK_NS;

	return now_ns < next_ns ? next_ns - now_ns : 0;
}

int ends_tick(struct ends *ends, int (*look)(void *data), void *data)
{
	uint64_t now_ns = monotonic_ns();
	int result = 0;

	if (++ends->ticks % SURVEY_TICKS == 0)
		result = look(data);
	follow_note_deaths(&ends->follow);
	if (!result)
		result = ends_read(ends);
	ends->complete_ns = ends->read_ns;
	ends->read_ns = now_ns;
	return result;
}

void ends_sort(struct ends *ends)
{
	if (ends->count)
		qsort(ends->ends, ends->count, sizeof(*ends->ends), compare_times);
}

void ends_forget_printed(struct ends *ends)
{
	size_t kept = 0;

	for (size_t i = 0; i < ends->count; i++)
		if (!ends->ends[i].printed)
			ends->ends[kept++] = ends->ends[i];
	ends->count = kept;
	kept = 0;
	for (size_t i = 0; i < ends->follow.count; i++) {
		struct followed *process = ends->follow.processes[i];
		bool needed = !process->died;

		for (size_t j = 0; j < ends->count && !needed; j++)
			needed = ends->ends[j].process == process;
		if (needed)
			ends->follow.processes[kept++] = process;
		else
			followed_free(process);
	}
	ends->follow.count = kept;
}

bool ends_selected(const struct selection *selection, const struct past_end *end)
{
	const struct ctx_table_end *entry = &end->entry;
	struct selection_facts facts = {
		.pid = end->process->process.pid,
		.uid = end->process->process.uid,
		.comm = end->process->process.name,
		.label = entry->end.label,
		.slot = entry->context_slot,
		.generation = entry->context_generation,
		.error = entry->end.error,
		.age_ns = entry->time_ns > entry->end.created_ns ? entry->time_ns - entry->end.created_ns : 0,
		.left_ns = SELECTION_NO_DEADLINE,
		.kind = entry->end.kind,
		.cause = entry->end.cause_kind,
		.cause_text = entry->end.text,
		.operation_count = end->operations,
		.user_name = user_name,
	};

	return selection_matches(selection, &facts);
}

/* ---- as text */

char *ends_id(const struct past_end *end, char buffer[ID_SIZE])
{
	snprintf(buffer, ID_SIZE, "%d:%" PRIu32 ".%" PRIu32, (int)end->process->process.pid,
		 end->entry.context_slot, end->entry.context_generation);
	return buffer;
}

char *ends_time(const struct ends *ends, uint64_t time_ns, bool utc, char buffer[40])
{
	int64_t wall_ns = (int64_t)(time_ns + (uint64_t)ends->wall_ns);
	time_t when = (time_t)(wall_ns / 1000000000), now = time(NULL);
	struct tm then = {0}, today = {0};
	size_t length;

	if (utc) {
		gmtime_r(&when, &then);
		gmtime_r(&now, &today);
	} else {
		localtime_r(&when, &then);
		localtime_r(&now, &today);
	}
	bool same_day = then.tm_yday == today.tm_yday && then.tm_year == today.tm_year;
	length = strftime(buffer, 32, same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &then);
	snprintf(buffer + length, 40 - length, ".%03d%s",
		 (int)((wall_ns % 1000000000 + 1000000000) / 1000000 % 1000), utc ? "Z" : "");
	return buffer;
}

const char *ends_state(const struct past_end *end)
{
	return state_name((uint32_t)-end->entry.end.error & CTX_TABLE_ERRNO);
}

char *ends_cause(const struct past_end *end, bool with_site, char buffer[TEXT_SIZE])
{
	const struct ctx_table_end *entry = &end->entry;
	char name[32], text[ESCAPED_SIZE], site[320];
	int length = snprintf(buffer, TEXT_SIZE, "%s", ctx_cause_kind_name(entry->end.cause_kind));

	if (entry->end.cause_kind == CTX_CAUSE_SIGNAL)
		length += snprintf(buffer + length, (size_t)(TEXT_SIZE - length), " %" PRId32,
				   entry->end.cause_code);
	length += snprintf(buffer + length, (size_t)(TEXT_SIZE - length), " %s",
			   errno_text(entry->end.cause_error, name, sizeof(name)));
	if (entry->end.text[0])
		length += snprintf(buffer + length, (size_t)(TEXT_SIZE - length), " \"%s\"",
				   escape(entry->end.text, text, sizeof(text)));
	if (with_site && entry->end.done_site)
		snprintf(buffer + length, (size_t)(TEXT_SIZE - length), " at %s",
			 site_name_text(&end->process->process, entry->end.done_site, site, sizeof(site)));
	return buffer;
}

/* The name of a process that is there or was read; "": not known. */
static const char *command_of(const struct ends *ends, pid_t pid, char buffer[64])
{
	char path[40];

	const struct followed *known = follow_find(&ends->follow, pid);
	if (known)
		return known->process.name;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, buffer, 63);
	if (fd >= 0)
		close(fd);
	buffer[length > 0 ? length : 0] = '\0';
	buffer[strcspn(buffer, "\n")] = '\0';
	return buffer;
}

char *ends_by(const struct ends *ends, const struct past_end *end, char buffer[TEXT_SIZE])
{
	char command[64], name[ESCAPED_SIZE];

	if (!end->entry.end.cause_pid) {
		snprintf(buffer, TEXT_SIZE, "thread %" PRIu32, end->entry.tid);
		return buffer;
	}
	escape(command_of(ends, end->entry.end.cause_pid, command), name, sizeof(name));
	snprintf(buffer, TEXT_SIZE, "process %" PRId32 "%s%s", end->entry.end.cause_pid, name[0] ? " " : "",
		 name);
	return buffer;
}
