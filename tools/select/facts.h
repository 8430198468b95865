/* SPDX-License-Identifier: MIT */
/* What is known of a context in a table, and of an entry of the service, for a selection. */
#ifndef TOOL_FACTS_H
#define TOOL_FACTS_H

#include "ctxring.h"
#include "discover.h"
#include "selection.h"

/* Whether a context is selected. */
bool selection_matches_context(const struct selection *selection, struct process *process,
			       const struct reader_context *context);

/*
 * Whether the counters of a stem are selected, by process and label alone: of a selection that asks for more
 * none are, since counters have no state and no age.
 */
bool selection_matches_stem(const struct selection *selection, const struct process *process,
			    const char *stem);

/*
 * Whether an entry of the service is selected. What the service does not know of it is not in
 * SELECTION_ENTRY_KEYS: see selection_check_keys(). An age counts from when it was shared, joined or
 * connected.
 */
bool selection_matches_entry(const struct selection *selection, const struct ctxd_entry *entry,
			     uint64_t now_ns);
#define SELECTION_ENTRY_KEYS  \
	(SELECTION_ALL_KEYS & \
	 ~(1u << SELECTION_KIND | 1u << SELECTION_OP | 1u << SELECTION_OPS | 1u << SELECTION_FD))

#endif
