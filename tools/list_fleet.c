/* SPDX-License-Identifier: MIT */
/* ctxtool ls --fleet: prints one line for each context that a host of the fleet shares or has joined. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "fleet_json.h"
#include "names.h"
#include "terminal.h"

struct widths {
	int id, label;
};

static void widen_column(int *width, const char *text)
{
	int needed = (int)text_width(text);

	if (needed > *width)
		*width = needed;
}

static char *label_text(const struct ctxd_entry *entry, char buffer[ESCAPED_SIZE])
{
	escape(entry->label, buffer, ESCAPED_SIZE);
	return buffer[0] ? buffer : strcpy(buffer, "-");
}

static struct widths measure_columns(const struct forest *forest)
{
	struct widths widths = {.id = 2, .label = 5};
	char id[FLEET_ID_SIZE], label[ESCAPED_SIZE];

	for (size_t i = 0; i < forest->shown_count; i++) {
		const struct forest_node *node = &forest->nodes[forest->preorder[i]];

		if (node->entry.kind != CTXD_SHARED)
			continue;
		widen_column(&widths.id,
			     fleet_id_text(forest->hosts[node->host].name, node->entry.id, id, sizeof(id)));
		widen_column(&widths.label, label_text(&node->entry, label));
	}
	if (widths.label > 32)
		widths.label = 32;
	return widths;
}

/* What comes last in the line: the cause of an end; of what was joined, its original; else the owner. */
static void print_note(const struct ctxd_entry *entry)
{
	char text[ESCAPED_SIZE], error[40];

	if (entry->ended_ns) {
		printf("%s %s", ctx_cause_kind_name(entry->cause.kind),
		       errno_text(entry->cause.error, error, sizeof(error)));
		if (entry->cause.text[0])
			printf(" \"%s\"", escape(entry->cause.text, text, sizeof(text)));
	} else if (entry->host[0]) {
		printf("joined from %s", fleet_id_text(entry->host, entry->origin, text, sizeof(text)));
	} else {
		printf("of %d %s (uid %u)", (int)entry->pid, escape(entry->process, text, sizeof(text)),
		       (unsigned)entry->uid);
	}
}

static void print_context(const struct forest *forest, const struct forest_node *node,
			  const struct widths *widths)
{
	const struct ctxd_entry *entry = &node->entry;
	char id[FLEET_ID_SIZE], label[ESCAPED_SIZE], age[16] = "-", left[16] = "-";

	if (entry->created_ns)
		duration_text(forest->now_ns > entry->created_ns ? forest->now_ns - entry->created_ns : 0,
			      age);
	if (!entry->ended_ns && entry->deadline_ns != CTX_FOREVER) {
		if (entry->deadline_ns <= forest->now_ns)
			strcpy(left, "due");
		else
			duration_text(entry->deadline_ns - forest->now_ns, left);
	}
	label_text(entry, label);
	/* printf(3) pads to a number of bytes; the width of the column is in characters. */
	int pad = widths->label - (int)text_width(label);
	printf("%-*s  %s%-9s%s  %8s  %8s  %6u  %s%*s  ", widths->id,
	       fleet_id_text(forest->hosts[node->host].name, entry->id, id, sizeof(id)),
	       colour(entry->ended_ns ? COLOUR_RED : COLOUR_GREEN), entry_state_name(entry),
	       colour(COLOUR_PLAIN), age, left, entry->joiners, label, pad > 0 ? pad : 0, "");
	print_note(entry);
	putchar('\n');
}

int list_print_fleet(const struct view_options *options, const struct forest *forest)
{
	if (options->json)
		return fleet_print_json(forest, options->watch || options->rounds);
	struct widths widths = measure_columns(forest);
	printf("%s%-*s  %-9s  %8s  %8s  %6s  %-*s  %s%s\n", colour(COLOUR_BOLD), widths.id, "ID", "STATE",
	       "AGE", "LEFT", "JOINED", widths.label, "LABEL", "OWNER, OR CAUSE", colour(COLOUR_PLAIN));
	for (size_t i = 0; i < forest->shown_count; i++) {
		const struct forest_node *node = &forest->nodes[forest->preorder[i]];
		if (node->entry.kind == CTXD_SHARED)
			print_context(forest, node, &widths);
	}
	return EXIT_OK;
}
