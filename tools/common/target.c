/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format.h"

#define CANDIDATES_SHOWN 10

/* Parses "PID:SLOT.GENERATION", "SLOT.GENERATION" or "PID"; parts that are absent are 0. */
static bool parse_id(const char *text, uint32_t *pid, uint32_t *slot, uint32_t *generation)
{
	int end = -1;

	*pid = *slot = *generation = 0;
	if (strspn(text, "0123456789:.") != strlen(text))
		return false;
	if (sscanf(text, "%9" SCNu32 ":%10" SCNu32 ".%10" SCNu32 "%n", pid, slot, generation, &end) == 3 &&
	    end > 0 && !text[end])
		return true;
	*pid = 0;
	end = -1;
	if (sscanf(text, "%10" SCNu32 ".%10" SCNu32 "%n", slot, generation, &end) == 2 && end > 0 &&
	    !text[end])
		return true;
	*slot = *generation = 0;
	end = -1;
	return sscanf(text, "%9" SCNu32 "%n", pid, &end) == 1 && end > 0 && !text[end];
}

static int find_by_id(const char *operand, struct survey *survey, uint32_t pid, uint32_t slot,
		      uint32_t generation, struct target *target)
{
	uint32_t other_generation = 0;
	char shown[4 * ESCAPED_SIZE];

	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		if (pid && process->pid != (pid_t)pid)
			continue;
		if (!slot) {
			target->process = process;
			return EXIT_OK;
		}
		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			struct reader_context *context = &process->snapshot.contexts[j];

			if (context->slot != slot)
				continue;
			if (context->record.generation != generation) {
				other_generation = context->record.generation;
				continue;
			}
			*target = (struct target){process, context};
			return EXIT_OK;
		}
	}
	fprintf(stderr, "ctxtool: %s: no such %s", escape(operand, shown, sizeof(shown)),
		slot ? "context" : "process with a context table");
	if (other_generation)
		fprintf(stderr, "; it is gone, and its slot is used again (generation %" PRIu32 ")",
			other_generation);
	fputc('\n', stderr);
	return EXIT_NOTHING;
}

static void print_candidate(const struct process *process, const struct reader_context *context,
			    unsigned count)
{
	char id[ID_SIZE];

	if (count <= CANDIDATES_SHOWN)
		fprintf(stderr, "  %s\n", format_id(process, context, id));
}

static int find_by_label(const char *label, struct survey *survey, bool live_only, struct target *target)
{
	struct target found = {0};
	char escaped[ESCAPED_SIZE], shown[4 * ESCAPED_SIZE];
	unsigned count = 0;

	for (size_t i = 0; i < survey->process_count; i++) {
		struct process *process = &survey->processes[i];

		for (uint32_t j = 0; j < process->snapshot.context_count; j++) {
			struct reader_context *context = &process->snapshot.contexts[j];

			if (live_only && !(context->record.state & CTX_TABLE_LIVE))
				continue;
			/* The operand is the label itself, or the label as it is printed. */
			if (strcmp(context->record.label, label) != 0 &&
			    strcmp(escape(context->record.label, escaped, sizeof(escaped)), label) != 0)
				continue;
			if (++count == 2) {
				fprintf(stderr,
					"ctxtool: several contexts have the label '%s'; give the id of "
					"one:\n",
					escape(label, shown, sizeof(shown)));
				print_candidate(found.process, found.context, 1);
			}
			if (count >= 2)
				print_candidate(process, context, count);
			else
				found = (struct target){process, context};
		}
	}
	if (count == 1) {
		*target = found;
		return EXIT_OK;
	}
	if (count == 0)
		fprintf(stderr, "ctxtool: %s: no context has this id or label\n",
			escape(label, shown, sizeof(shown)));
	else if (count > CANDIDATES_SHOWN)
		fprintf(stderr, "  and %u more\n", count - CANDIDATES_SHOWN);
	return count ? EXIT_USAGE : EXIT_NOTHING;
}

static int find_context(const char *operand, struct survey *survey, bool live_only, struct target *ret_target)
{
	uint32_t pid, slot, generation;

	*ret_target = (struct target){0};
	if (!parse_id(operand, &pid, &slot, &generation))
		return find_by_label(operand, survey, live_only, ret_target);
	if (!pid && survey->process_count > 1) {
		fprintf(stderr, "ctxtool: %s: several processes are looked at; give PID:%s, or --pid\n",
			operand, operand);
		return EXIT_USAGE;
	}
	return find_by_id(operand, survey, pid, slot, generation, ret_target);
}

int target_find(const char *operand, struct survey *survey, struct target *ret_target)
{
	return find_context(operand, survey, false, ret_target);
}

int target_find_live(const char *operand, struct survey *survey, struct target *ret_target)
{
	return find_context(operand, survey, true, ret_target);
}
