/* SPDX-License-Identifier: MIT */
/* ctxtool tree --fleet: prints the contexts of all hosts, what was joined from other hosts below the
 * original. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "branches.h"
#include "commands.h"
#include "fleet_json.h"
#include "names.h"
#include "terminal.h"

static void print_process(const struct ctxd_entry *entry)
{
	char name[ESCAPED_SIZE];

	printf("%d %s (uid %u)", (int)entry->pid, escape(entry->process, name, sizeof(name)),
	       (unsigned)entry->uid);
}

static void print_times(const struct ctxd_entry *entry, uint64_t now_ns)
{
	char age[16], left[16];

	if (entry->created_ns)
		printf(", %s old",
		       duration_text(now_ns > entry->created_ns ? now_ns - entry->created_ns : 0, age));
	if (entry->deadline_ns == CTX_FOREVER || entry->ended_ns)
		return;
	if (entry->deadline_ns <= now_ns)
		fputs(", due", stdout);
	else
		printf(", %s left", duration_text(entry->deadline_ns - now_ns, left));
}

static void print_context(const struct forest *forest, const struct forest_node *node)
{
	const struct ctxd_entry *entry = &node->entry;
	const char *state = entry_state_name(entry);
	char id[FLEET_ID_SIZE], text[ESCAPED_SIZE], error[40];

	if (node->beside) {
		printf("%s%s \"%s\" %s%s\n", colour(COLOUR_DIM),
		       fleet_id_text(forest->hosts[node->host].name, entry->id, id, sizeof(id)),
		       escape(entry->label, text, sizeof(text)), state, colour(COLOUR_PLAIN));
		return;
	}
	printf("%s%s%s \"%s\" %s%s%s", colour(COLOUR_BOLD),
	       fleet_id_text(forest->hosts[node->host].name, entry->id, id, sizeof(id)), colour(COLOUR_PLAIN),
	       escape(entry->label, text, sizeof(text)), colour(entry->ended_ns ? COLOUR_RED : COLOUR_GREEN),
	       state, colour(COLOUR_PLAIN));
	print_times(entry, forest->now_ns);
	if (entry->host[0] && node->parent == FOREST_NONE)
		printf(", joined from %s", fleet_id_text(entry->host, entry->origin, id, sizeof(id)));
	else if (entry->host[0])
		fputs(", joined there", stdout);
	if (!entry->host[0]) {
		fputs(", of ", stdout);
		print_process(entry);
		if (entry->name[0])
			printf(", as \"%s\"", escape(entry->name, text, sizeof(text)));
	}
	if (entry->ended_ns)
		printf(": %s %s", ctx_cause_kind_name(entry->cause.kind),
		       errno_text(entry->cause.error, error, sizeof(error)));
	if (entry->ended_ns && entry->cause.text[0])
		printf(" \"%s\"", escape(entry->cause.text, text, sizeof(text)));
	putchar('\n');
}

/* Whether a bridge has joined the context for hosts whose copies are shown. */
static bool is_for_copies(const struct forest *forest, const struct forest_node *node)
{
	return node->entry.kind == CTXD_JOINED && node->parent != FOREST_NONE &&
	       forest->nodes[node->parent].copies && strcmp(node->entry.process, "ctxd-fleet") == 0;
}

static void print_node(const struct forest *forest, const struct forest_node *node, struct branches *branches)
{
	if (is_for_copies(forest, node))
		return;
	branches_print(branches, node->depth);
	if (terminal()->lines)
		fputs(node->next_sibling == FOREST_NONE ? "└─" : "├─", stdout);
	branches_set(branches, node->depth, node->next_sibling != FOREST_NONE);
	if (node->entry.kind == CTXD_SHARED) {
		print_context(forest, node);
		return;
	}
	printf("%sjoined by ", colour(COLOUR_YELLOW));
	print_process(&node->entry);
	printf("%s\n", colour(COLOUR_PLAIN));
}

/* How many contexts a host has told of, and how many of these it joined from others. */
struct counts {
	uint32_t contexts, joined;
};

static void count_contexts(const struct forest *forest, struct counts *counts)
{
	for (size_t i = 0; i < forest->count; i++) {
		const struct forest_node *node = &forest->nodes[i];
		if (node->entry.kind != CTXD_SHARED)
			continue;
		counts[node->host].contexts++;
		counts[node->host].joined += node->entry.host[0] != '\0';
	}
}

static void print_host(const struct ctxd_host *host, const struct counts *counts)
{
	char name[4 * CTX_HOST_MAX];

	printf("%s%s%s (%s)", colour(COLOUR_BOLD), escape(host->name, name, sizeof(name)),
	       colour(COLOUR_PLAIN), host_state_name(host->state));
	if (host->state == CTXD_HOST_SELF || host->state == CTXD_HOST_ALIVE)
		printf(": %" PRIu32 " context%s, %" PRIu32 " joined from other hosts", counts->contexts,
		       plural(counts->contexts), counts->joined);
	putchar('\n');
}

/* Prints each host, and below it the trees whose root is there. */
static int print_trees(const struct forest *forest)
{
	struct counts *counts = calloc(forest->host_count + 1, sizeof(*counts));
	struct branches branches = {0};
	uint32_t next_host = 0;

	if (!counts) {
		fprintf(stderr, "ctxtool tree: not enough memory\n");
		return EXIT_TROUBLE;
	}
	count_contexts(forest, counts);
	for (size_t i = 0; i < forest->shown_count; i++) {
		const struct forest_node *node = &forest->nodes[forest->preorder[i]];
		for (; node->depth == 0 && next_host <= node->host; next_host++)
			print_host(&forest->hosts[next_host], &counts[next_host]);
		print_node(forest, node, &branches);
	}
	for (; next_host < forest->host_count; next_host++)
		print_host(&forest->hosts[next_host], &counts[next_host]);
	free(counts);
	if (forest->cycles)
		fprintf(stderr, "ctxtool: %" PRIu32 " link%s between contexts led round in a circle\n",
			forest->cycles, plural(forest->cycles));
	return EXIT_OK;
}

int tree_print_fleet(const struct view_options *options, const struct forest *forest)
{
	return options->json ? fleet_print_json(forest, options->watch || options->rounds)
			     : print_trees(forest);
}
