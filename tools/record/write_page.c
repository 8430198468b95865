/* SPDX-License-Identifier: MIT */
/*
 * Writes one page of HTML that shows the recording in a browser, without anything from elsewhere: its policy
 * forbids that. page.html, page.css and page.js are in this folder, and are part of the program.
 *
 * The recording is within the page as JSON, in a script that no browser runs. Its strings are those of
 * write_string(), so nothing in them can end that script. Contexts, operations and batches are arrays of
 * numbers in the order that the functions below say; times are nanoseconds since the recording began.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ctxring.h"
#include "names.h"
#include "write.h"

/* Defined in page_files.c. */
extern const char page_html[], page_html_end[], page_css[], page_css_end[], page_js[], page_js_end[];

/* Texts that the page refers to by number: each once, in the order of their first use. */
struct strings {
	const struct recording *recording;
	uint32_t *numbers; /* by offset of the text, plus 1; 0: it has none yet */
	uint32_t *texts;
	uint32_t count;
};

static uint32_t number_of(struct strings *strings, uint32_t text)
{
	if (!strings->numbers[text]) {
		strings->texts[strings->count++] = text;
		strings->numbers[text] = strings->count;
	}
	return strings->numbers[text] - 1;
}

static int64_t relative(const struct recording *recording, uint64_t time_ns)
{
	return (int64_t)(time_ns - recording->begin_ns);
}

/* A time, or null where it is 0. */
static void write_time(const struct recording *recording, uint64_t time_ns, FILE *to)
{
	if (time_ns)
		fprintf(to, ",%" PRId64, relative(recording, time_ns));
	else
		fputs(",null", to);
}

/*
 * [process, parent, slot, generation, label, kind, begin, done, freed, outcome, error, code, origin, text,
 * made at, ended at, made by, ended by, other process]
 */
static void write_context(struct strings *strings, const struct recorded_context *context,
			  const uint32_t *positions, FILE *to)
{
	const struct recording *recording = strings->recording;
	int error = context->error ? -context->error : (int)(context->state & CTX_TABLE_ERRNO);

	fprintf(to, "[%" PRIu32 ",%" PRId64 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%u", context->process,
		context->parent == RECORDING_NONE ? -1 : (int64_t)positions[context->parent], context->slot,
		context->generation, number_of(strings, context->label), context->kind);
	fprintf(to, ",%" PRId64, relative(recording, context->begin_ns));
	write_time(recording, context->done_ns, to);
	write_time(recording, context->freed_ns, to);
	fprintf(to,
		",%u,%d,%" PRId32 ",%" PRId64 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32
		",%d]",
		context->outcome, error, context->cause_code,
		context->origin == RECORDING_NONE ? -1 : (int64_t)positions[context->origin],
		number_of(strings, context->cause_text), number_of(strings, context->site),
		number_of(strings, context->done_site), context->creator_tid, context->done_tid,
		(int)context->cause_pid);
}

/* [context, opcode, fd, target, begin, end, result, flags, ring, batch] */
static void write_operation(struct strings *strings, const struct recorded_operation *operation,
			    const uint32_t *positions, FILE *to)
{
	const struct recording *recording = strings->recording;

	fprintf(to, "[%" PRId64 ",%u,%" PRId32 ",%" PRIu32 ",%" PRId64,
		operation->context == RECORDING_NONE ? -1 : (int64_t)positions[operation->context],
		operation->opcode, operation->fd, number_of(strings, operation->target),
		relative(recording, operation->begin_ns));
	write_time(recording, operation->end_ns, to);
	fprintf(to, ",%" PRId32 ",%u,%u,%" PRId64 "]", operation->result, operation->flags, operation->ring,
		operation->batch == RECORDING_NONE ? -1 : (int64_t)operation->batch);
}

/* [context, begin, submit, reap, operations, cancelled, finished, SQEs, enters, unsent, timed, ring, thread]
 */
static void write_batch(const struct recording *recording, const struct recorded_batch *batch,
			const uint32_t *positions, FILE *to)
{
	fprintf(to,
		"[%" PRId64 ",%" PRId64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32
		",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 ",%" PRIu32 "]",
		batch->context == RECORDING_NONE ? -1 : (int64_t)positions[batch->context],
		relative(recording, batch->begin_ns), batch->submit_ns, batch->reap_ns, batch->operations,
		batch->cancelled, batch->finished, batch->sqes, batch->enters, batch->unsent, batch->timed,
		batch->ring, batch->tid);
}

static void write_lists(struct strings *strings, const uint32_t *positions, FILE *to)
{
	const struct recording *recording = strings->recording;

	fputs(",\n\"processes\":[", to);
	for (size_t i = 0; i < recording->process_count; i++) {
		const struct recorded_process *process = &recording->processes[i];
		fprintf(to, "%s[%d,%" PRIu32 ",%" PRId64 ",%" PRId64 ",%d]", i ? "," : "", (int)process->pid,
			number_of(strings, process->name), relative(recording, process->begin_ns),
			relative(recording, process->end_ns), process->died);
	}
	fputs("],\n\"contexts\":[", to);
	for (size_t i = 0; i < recording->context_count; i++) {
		fputs(i ? ",\n" : "\n", to);
		write_context(strings, &recording->contexts[recording->preorder[i]], positions, to);
	}
	fputs("],\n\"operations\":[", to);
	for (size_t i = 0; i < recording->operation_count; i++) {
		fputs(i ? ",\n" : "\n", to);
		write_operation(strings, &recording->operations[i], positions, to);
	}
	fputs("],\n\"batches\":[", to);
	for (size_t i = 0; i < recording->batch_count; i++) {
		fputs(i ? ",\n" : "\n", to);
		write_batch(recording, &recording->batches[i], positions, to);
	}
}

/* Names by number, for those that occur. */
static void write_names(const struct recording *recording, FILE *to)
{
	bool opcodes[256] = {false};
	char name[32];
	const char *separator = "";

	fputs("],\n\"outcomes\":[", to);
	for (unsigned i = 0; i < RECORDED_OUTCOMES; i++)
		fprintf(to, "%s\"%s\"", i ? "," : "", recorded_outcome_name(i));
	fputs("],\"kinds\":[", to);
	for (unsigned i = 0; i <= CTX_TABLE_SOURCE; i++)
		fprintf(to, "%s\"%s\"", i ? "," : "", context_kind_name(i));
	fputs("],\"opcodes\":{", to);
	for (size_t i = 0; i < recording->operation_count; i++)
		opcodes[recording->operations[i].opcode] = true;
	for (unsigned i = 0; i < 256; i++)
		if (opcodes[i]) {
			fprintf(to, "%s\"%u\":\"%s\"", separator, i, opcode_text(i, name, sizeof(name)));
			separator = ",";
		}
	fputs("},\"errors\":{", to);
	for (int i = 1; i < 134; i++)
		fprintf(to, "%s\"%d\":\"%s\"", i > 1 ? "," : "", i, errno_text(i, name, sizeof(name)));
	fputs("}", to);
}

static void write_data(struct strings *strings, const uint32_t *positions, FILE *to)
{
	const struct recording *recording = strings->recording;
	char losses[RECORDED_CAUSE_SIZE];

	fprintf(to, "{\"version\":1,\"made_by\":\"ctxtool %d.%d\",\"host\":", CTXRING_VERSION_MAJOR,
		CTXRING_VERSION_MINOR);
	write_text(to, recording, recording->host);
	fputs(",\"command\":", to);
	write_text(to, recording, recording->command);
	fprintf(to, ",\"begin_ms\":%" PRIu64 ",\"duration\":%" PRId64 ",\"lost\":",
		(recording->begin_ns + recording->wall_offset_ns) / 1000000,
		relative(recording, recording->end_ns));
	write_string(to, recorded_losses(recording, losses));
	fputs(",\"notes\":[", to);
	for (size_t i = 0; i < recording->note_count; i++) {
		fputs(i ? "," : "", to);
		write_text(to, recording, recording->notes[i]);
	}
	fputs("]", to);
	write_lists(strings, positions, to);
	write_names(recording, to);
	fputs(",\n\"strings\":[", to);
	for (uint32_t i = 0; i < strings->count; i++) {
		fputs(i ? ",\n" : "\n", to);
		write_text(to, recording, strings->texts[i]);
	}
	fputs("]}\n", to);
}

/* A word that allows this page's own script and style, and no other. */
static void make_nonce(char nonce[33])
{
	uint8_t bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		memset(bytes, 0x5a, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
}

/* Writes page.html up to the end, with what belongs in the places that it names as @PLACE@. */
static void write_html(struct strings *strings, const uint32_t *positions, FILE *to)
{
	const char *at = page_html;
	char nonce[33];

	make_nonce(nonce);
	while (at < page_html_end) {
		size_t left = (size_t)(page_html_end - at);
		const char *place = memchr(at, '@', left);

		if (!place) {
			fwrite(at, 1, left, to);
			return;
		}
		fwrite(at, 1, (size_t)(place - at), to);
		at = place;
		left = (size_t)(page_html_end - at);
		if (left > 7 && strncmp(at, "@NONCE@", 7) == 0) {
			fputs(nonce, to);
			at += 7;
		} else if (left > 7 && strncmp(at, "@STYLE@", 7) == 0) {
			fwrite(page_css, 1, (size_t)(page_css_end - page_css), to);
			at += 7;
		} else if (left > 8 && strncmp(at, "@SCRIPT@", 8) == 0) {
			fwrite(page_js, 1, (size_t)(page_js_end - page_js), to);
			at += 8;
		} else if (left > 6 && strncmp(at, "@DATA@", 6) == 0) {
			write_data(strings, positions, to);
			at += 6;
		} else {
			putc(*at++, to);
		}
	}
}

int write_page(const struct recording *recording, FILE *to)
{
	struct strings strings = {.recording = recording};
	uint32_t *positions = malloc((recording->context_count + 1) * sizeof(*positions));
	int result = 0;

	strings.numbers = calloc(recording->texts.size + 1, sizeof(*strings.numbers));
	strings.texts = malloc((recording->texts.count + 2) * sizeof(*strings.texts));
	if (!positions || !strings.numbers || !strings.texts)
		result = -ENOMEM;
	for (size_t i = 0; !result && i < recording->context_count; i++)
		positions[recording->preorder[i]] = (uint32_t)i;
	if (!result)
		write_html(&strings, positions, to);
	free(positions);
	free(strings.numbers);
	free(strings.texts);
	return result;
}
