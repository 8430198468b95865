/* SPDX-License-Identifier: MIT */
#include "copies.h"

#include <stdio.h>

#include "facts.h"
#include "fleet_hosts.h"
#include "format.h"
#include "monotonic.h"
#include "service.h"

static bool is_copy(const struct survey *survey, const struct selection *selection,
		    const struct ctxd_entry *entry)
{
	struct selection_error error;

	if (entry->kind != CTXD_SHARED || entry->ended_ns)
		return false;
	for (size_t i = 0; i < survey->process_count; i++)
		if (survey->processes[i].pid == entry->pid ||
		    (entry->table && survey->processes[i].inode == entry->table))
			return false;
	return !selection_check_keys(selection, SELECTION_ENTRY_KEYS, "it", &error) &&
	       selection_matches_entry(selection, entry, monotonic_ns());
}

bool copies_exist(const struct survey *survey, const struct selection *selection)
{
	size_t count;
	const struct ctxd_entry *entries = service_entries(&count);

	for (size_t i = 0; i < count; i++)
		if (is_copy(survey, selection, &entries[i]))
			return true;
	return false;
}

void copies_print(const struct survey *survey, const struct selection *selection)
{
	char id[CTXD_ID_TEXT], label[ESCAPED_SIZE], name[ESCAPED_SIZE], owner[ESCAPED_SIZE];
	size_t count;
	const struct ctxd_entry *entries = service_entries(&count);

	for (size_t i = 0; i < count; i++) {
		const struct ctxd_entry *entry = &entries[i];

		if (!is_copy(survey, selection, entry))
			continue;
		ctxd_format_id(entry->id, id, sizeof(id));
		printf("%s%d %s (uid %u)%s shares %s \"%s\" as \"%s\", mode %04o, %u joined\n",
		       colour(COLOUR_BOLD), (int)entry->pid, escape(entry->process, owner, sizeof(owner)),
		       (unsigned)entry->uid, colour(COLOUR_PLAIN), id,
		       escape(entry->label, label, sizeof(label)), escape(entry->name, name, sizeof(name)),
		       (unsigned)entry->mode, entry->joiners);
	}
}
