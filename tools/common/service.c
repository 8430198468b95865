/* SPDX-License-Identifier: MIT */
#include "service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format.h"
#include "terminal.h"

#define TIMEOUT_NS 5000000000u

static struct {
	struct ctxd_client *client;
	int error;
	struct ctxd_entry *entries; /* sorted by table, context and kind */
	size_t count, room;
} service;

struct ctxd_client *service_client(void)
{
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .timeout_ns = TIMEOUT_NS};

	if (!service.client)
		service.error = ctxd_connect(&options, &service.client);
	return service.client;
}

int service_error(void)
{
	return service.error;
}

void service_complain(void)
{
	char words[300];

	ctxd_explain(service.error, words, sizeof(words));
	fprintf(stderr, "ctxtool: %s\n", words);
}

/* ---- entries */

static int compare_entries(const void *left, const void *right)
{
	const struct ctxd_entry *a = left, *b = right;

	if (a->table != b->table)
		return a->table < b->table ? -1 : 1;
	if (a->ctx_id != b->ctx_id)
		return a->ctx_id < b->ctx_id ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	/* The latest share of a context comes before ended ones. */
	return a->id.number > b->id.number ? -1 : a->id.number < b->id.number;
}

static int add_entry(const struct ctxd_entry *entry, void *data)
{
	(void)data;
	if (service.count == service.room) {
		size_t room = service.room ? service.room * 2 : 64;
		struct ctxd_entry *larger = realloc(service.entries, room * sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		service.entries = larger;
		service.room = room;
	}
	service.entries[service.count++] = *entry;
	return 0;
}

void service_refresh(void)
{
	struct ctxd_client *client = service_client();

	service.count = 0;
	if (!client)
		return;
	service.error = ctxd_list(client, CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS, add_entry, NULL);
	if (service.error) {
		/* The service went away: the next call connects again. */
		ctxd_close(client);
		service.client = NULL;
	}
	if (service.count)
		qsort(service.entries, service.count, sizeof(*service.entries), compare_entries);
}

const struct ctxd_entry *service_entries(size_t *ret_count)
{
	*ret_count = service.count;
	return service.entries;
}

const struct ctxd_entry *service_entry_of(enum ctxd_entry_kind kind, uint64_t table, uint64_t ctx_id)
{
	size_t low = 0, high = service.count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct ctxd_entry *entry = &service.entries[middle];
		if (entry->table < table || (entry->table == table && entry->ctx_id < ctx_id))
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < service.count && service.entries[low].table == table &&
	       service.entries[low].ctx_id == ctx_id;
	     low++)
		if (service.entries[low].kind == kind)
			return table ? &service.entries[low] : NULL;
	return NULL;
}

const struct ctxd_entry *service_shared(struct ctxd_id id)
{
	for (size_t i = 0; i < service.count; i++) {
		const struct ctxd_entry *entry = &service.entries[i];
		if (entry->kind == CTXD_SHARED && entry->id.epoch == id.epoch &&
		    entry->id.number == id.number)
			return entry;
	}
	return NULL;
}

bool service_publishes(uint64_t table)
{
	return service_entry_of(CTXD_PROCESS, table, 0) != NULL;
}

/* ---- tables that the service hands out */

static bool is_wanted(const struct ctxd_entry *entry, const struct survey *survey, const pid_t *pids,
		      size_t pid_count)
{
	if (entry->kind != CTXD_PROCESS || !entry->table || entry->pid == getpid())
		return false;
	for (size_t i = 0; i < survey->process_count; i++)
		if (survey->processes[i].inode == entry->table)
			return false;
	for (size_t i = 0; i < pid_count; i++)
		if (pids[i] == entry->pid)
			return true;
	return pid_count == 0;
}

/* Removes the reasons why the process could not be read. */
static void remove_unreadable(struct survey *survey, pid_t pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < survey->unreadable_count; i++)
		if (survey->unreadables[i].pid != pid)
			survey->unreadables[kept++] = survey->unreadables[i];
	survey->unreadable_count = kept;
}

int service_complete(struct survey *survey, const pid_t *pids, size_t pid_count)
{
	for (size_t i = 0; i < service.count && service.client; i++) {
		struct ctxd_entry entry = service.entries[i];
		int fd;

		if (!is_wanted(&entry, survey, pids, pid_count) ||
		    ctxd_table(service.client, CTXD_PROCESS, entry.pid, NULL, &fd))
			continue;
		remove_unreadable(survey, entry.pid);
		int result = survey_add_table(survey, fd, entry.pid, entry.uid, entry.process);
		close(fd);
		if (result)
			return result;
	}
	return 0;
}

/* ---- as text */

uint64_t service_ctx_id(const struct reader_context *context)
{
	return (uint64_t)context->record.generation << 32 | context->slot;
}

char *origin_text(const struct ctxd_entry *entry, char *buffer, size_t size)
{
	char id[CTXD_ID_TEXT], host[4 * CTX_HOST_MAX];

	ctxd_format_id(entry->origin, id, sizeof(id));
	snprintf(buffer, size, "%s/%s", escape(entry->host, host, sizeof(host)), id);
	return buffer;
}

static char *note_shared(const struct ctxd_entry *entry, char *buffer, size_t size)
{
	char id[CTXD_ID_TEXT], name[ESCAPED_SIZE];

	ctxd_format_id(entry->id, id, sizeof(id));
	escape(entry->name, name, sizeof(name));
	snprintf(buffer, size, " shared%s%s%s (%s), mode %04o, %u joined", name[0] ? " as \"" : "", name,
		 name[0] ? "\"" : "", id, (unsigned)entry->mode, entry->joiners);
	return buffer;
}

static char *note_joined(const struct ctxd_entry *entry, char *buffer, size_t size)
{
	const struct ctxd_entry *shared = service_shared(entry->id);
	char id[CTXD_ID_TEXT], origin[ESCAPED_SIZE];

	ctxd_format_id(entry->id, id, sizeof(id));
	if (entry->host[0])
		snprintf(buffer, size, " joined from %s (%s)", origin_text(entry, origin, sizeof(origin)),
			 id);
	else if (shared)
		snprintf(buffer, size, " joined from %d:%" PRIu32 ".%" PRIu32 " (%s)", (int)shared->pid,
			 (uint32_t)shared->ctx_id, (uint32_t)(shared->ctx_id >> 32), id);
	else
		snprintf(buffer, size, " joined (%s)", id);
	return buffer;
}

char *service_note(const struct process *process, const struct reader_context *context, char *buffer,
		   size_t size)
{
	uint64_t ctx_id = service_ctx_id(context);
	const struct ctxd_entry *shared = service_entry_of(CTXD_SHARED, process->inode, ctx_id);
	const struct ctxd_entry *joined = service_entry_of(CTXD_JOINED, process->inode, ctx_id);

	buffer[0] = '\0';
	if (shared && !shared->ended_ns)
		return note_shared(shared, buffer, size);
	return joined ? note_joined(joined, buffer, size) : buffer;
}
