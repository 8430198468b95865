/* SPDX-License-Identifier: MIT */
/*
 * Goal: a recording links what belongs together, says how contexts ended, and is written in every format,
 * also where the table that it came from was hostile. Method: recordings made by hand, and random ones.
 */
#include "support/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tools/record/recording.h"
#include "../tools/record/write.h"

TEST_ALONE("links objects of ctxtool");

#define MS 1000000u
#define HOSTILE "</script><img src=x onerror=alert(1)>"

enum slots {
	SERVER = 1,
	CONNECTION,
	REQUEST,
	QUICK,
	LATE,
};

static uint32_t add_context(struct recording *recording, uint32_t slot, uint32_t parent, const char *label,
			    uint64_t begin_ms, uint64_t done_ms, uint32_t state, uint8_t cause)
{
	struct recorded_context context = {
		.slot = slot,
		.generation = 1,
		.parent_slot = parent,
		.parent_generation = parent ? 1 : 0,
		.begin_ns = begin_ms * MS,
		.done_ns = state & CTX_TABLE_OWN ? done_ms * MS : 0,
		.freed_ns = done_ms ? done_ms * MS + 1000 : 0,
		.state = state,
		.cause_kind = cause,
		.kind = CTX_TABLE_CANCEL,
		.label = recording_text(recording, label),
	};

	ck_assert_ok(recording_add_context(recording, &context));
	return slot;
}

static void add_operation(struct recording *recording, uint32_t slot, int fd, uint64_t begin_ns,
			  uint64_t end_ns, int result)
{
	struct recorded_operation operation = {.context_slot = slot,
					       .context_generation = 1,
					       .begin_ns = begin_ns,
					       .end_ns = end_ns,
					       .result = result,
					       .fd = fd,
					       .opcode = 27,
					       .ring = 1};

	ck_assert_ok(recording_add_operation(recording, &operation));
}

static void begin_recording(struct recording *recording, size_t spans_max)
{
	ck_assert_ok(recording_begin(recording, 100 * MS, spans_max));
	struct recorded_process *process = recording_add_process(recording);
	ck_assert_ptr_nonnull(process);
	process->pid = 42;
	process->name = recording_text(recording, "httpd");
	process->identity_number = 7;
	recording->wall_offset_ns = 1000000000u;
}

/* A client leaves while 200 operations pend; one request is quick, and one comes too late. */
static void make_recording(struct recording *recording)
{
	begin_recording(recording, 1000);
	add_context(recording, SERVER, 0, "server", 1, 0, CTX_TABLE_LIVE, 0);
	add_context(recording, CONNECTION, SERVER, "connection", 110, 400, CTX_TABLE_OWN | ECONNRESET,
		    CTX_CAUSE_HANGUP);
	add_context(recording, REQUEST, CONNECTION, HOSTILE, 120, 401, ECONNRESET, 0);
	add_context(recording, QUICK, SERVER, "quick", 130, 150, CTX_TABLE_OWN | ECANCELED, CTX_CAUSE_CALL);
	add_context(recording, LATE, SERVER, "late", 200, 250, CTX_TABLE_OWN | ETIME, CTX_CAUSE_DEADLINE);
	add_operation(recording, SERVER, 3, 2 * MS, 0, 0);
	add_operation(recording, QUICK, 4, 131 * MS, 149 * MS, 512);
	for (int i = 0; i < 200; i++)
		add_operation(recording, REQUEST, 10 + i, 121 * MS, 400 * MS + 5000 + (uint64_t)i,
			      -ECANCELED);
	struct recorded_batch *batch = recording_add_batch(recording);
	ck_assert_ptr_nonnull(batch);
	*batch = (struct recorded_batch){.context_slot = CONNECTION,
					 .context_generation = 1,
					 .begin_ns = 400 * MS,
					 .submit_ns = 4000,
					 .reap_ns = 9000,
					 .ring = 1,
					 .operations = 200,
					 .cancelled = 200,
					 .sqes = 1,
					 .enters = 1};
	ck_assert_ok(recording_add_end(
		recording, &(struct recorded_end){.slot = CONNECTION,
						  .generation = 1,
						  .error = -ECONNRESET,
						  .cause_text = recording_text(recording, "gone")}));
	ck_assert_ok(recording_finish(recording, 500 * MS));
}

static const struct recorded_context *context_at(const struct recording *recording, uint32_t slot)
{
	for (size_t i = 0; i < recording->context_count; i++)
		if (recording->contexts[i].slot == slot)
			return &recording->contexts[i];
	ck_abort_msg("slot %u is not there", slot);
	return NULL;
}

START_TEST(contexts_have_the_outcome_that_they_had)
{
	struct recording recording;
	char text[RECORDED_CAUSE_SIZE];

	make_recording(&recording);
	ck_assert_uint_eq(context_at(&recording, SERVER)->outcome, RECORDED_LIVE);
	ck_assert_uint_eq(context_at(&recording, QUICK)->outcome, RECORDED_FINISHED);
	ck_assert_uint_eq(context_at(&recording, LATE)->outcome, RECORDED_CAUSE + CTX_CAUSE_DEADLINE);
	const struct recorded_context *connection = context_at(&recording, CONNECTION);
	const struct recorded_context *request = context_at(&recording, REQUEST);
	ck_assert_uint_eq(connection->outcome, RECORDED_CAUSE + CTX_CAUSE_HANGUP);
	ck_assert_uint_eq(request->outcome, RECORDED_CAUSE + CTX_CAUSE_HANGUP);
	ck_assert_ptr_eq(&recording.contexts[request->origin], connection);
	ck_assert_uint_eq(request->done_ns, 400 * MS);
	ck_assert_uint_eq(request->depth, 2);
	ck_assert_str_eq(recorded_cause(&recording, connection, text), "hangup ECONNRESET \"gone\"");
	ck_assert_str_eq(recorded_cause(&recording, request, text), "hangup ECONNRESET \"gone\" from 42:2.1");
	ck_assert_str_eq(recorded_cause(&recording, context_at(&recording, QUICK), text), "");
	recording_free(&recording);
}
END_TEST

START_TEST(a_batch_ends_the_operations_below_its_context)
{
	struct recording recording;
	unsigned claimed = 0;

	make_recording(&recording);
	ck_assert_uint_eq(recording.operation_count, 202);
	for (size_t i = 0; i < recording.operation_count; i++) {
		const struct recorded_operation *operation = &recording.operations[i];
		bool ended = operation->batch == 0;
		claimed += ended;
		ck_assert_int_eq(ended, operation->context_slot == REQUEST);
		ck_assert_int_eq(ended, recorded_is_cancelled(operation));
	}
	ck_assert_uint_eq(claimed, 200);
	ck_assert_uint_eq(context_at(&recording, CONNECTION)->batch_count, 1);
	recording_free(&recording);
}
END_TEST

/* Goal: what is seen in flight, or there, and then in the journal, is one span. */
START_TEST(what_ends_while_the_recording_ends_is_there_once)
{
	struct recording recording;

	begin_recording(&recording, 1000);
	recording.processes[0].snapshot_ns = 300 * MS;
	add_context(&recording, SERVER, 0, "server", 1, 0, CTX_TABLE_LIVE, 0);
	add_context(&recording, SERVER, 0, "server", 1, 310, CTX_TABLE_LIVE, 0);
	add_operation(&recording, SERVER, 3, 200 * MS, 0, 0);
	add_operation(&recording, SERVER, 3, 200 * MS, 305 * MS, 9);
	add_operation(&recording, SERVER, 4, 200 * MS, 0, 0);
	add_operation(&recording, SERVER, 5, 10 * MS, 20 * MS, 0); /* before the recording */
	ck_assert_ok(recording_finish(&recording, 320 * MS));
	ck_assert_uint_eq(recording.context_count, 1);
	ck_assert_uint_eq(recording.contexts[0].outcome, RECORDED_FINISHED);
	ck_assert_uint_eq(recording.operation_count, 2);
	ck_assert_int_eq(recording.operations[0].fd, 3);
	ck_assert_int_eq(recording.operations[0].result, 9);
	ck_assert_int_eq(recording.operations[1].fd, 4);
	recording_free(&recording);
}
END_TEST

START_TEST(no_more_spans_are_kept_than_asked_for)
{
	struct recording recording;
	char text[RECORDED_CAUSE_SIZE];

	begin_recording(&recording, 3);
	add_context(&recording, SERVER, 0, "server", 1, 0, CTX_TABLE_LIVE, 0);
	for (int i = 0; i < 10; i++)
		add_operation(&recording, SERVER, i, 110 * MS, 120 * MS, 0);
	recording.processes[0].lost_operations = 5;
	ck_assert_ok(recording_finish(&recording, 200 * MS));
	ck_assert_uint_eq(recording.operation_count, 2);
	ck_assert_uint_eq(recording.not_kept, 8);
	recorded_losses(&recording, text);
	ck_assert_ptr_nonnull(strstr(text, "5 operations"));
	ck_assert_ptr_nonnull(strstr(text, "8 spans beyond the first 3"));
	recording_free(&recording);
}
END_TEST

static bool is_slot(const struct recording *recording, const struct recorded_context *context, void *slot)
{
	(void)recording;
	return context->slot == *(const uint32_t *)slot;
}

/* Goal: a part has what is above and below, and says the same of it as the whole. */
START_TEST(a_part_keeps_what_is_above_and_below)
{
	struct recording recording;
	uint32_t wanted = REQUEST;

	make_recording(&recording);
	ck_assert_ok(recording_keep(&recording, is_slot, &wanted));
	ck_assert_uint_eq(recording.context_count, 3);
	ck_assert_uint_eq(recording.operation_count, 201);
	const struct recorded_context *request = context_at(&recording, REQUEST);
	ck_assert_uint_eq(request->outcome, RECORDED_CAUSE + CTX_CAUSE_HANGUP);
	ck_assert_uint_eq(recording.contexts[request->origin].slot, CONNECTION);
	ck_assert_uint_eq(request->operation_count, 200);
	ck_assert_uint_eq(recording.batch_count, 1);
	wanted = QUICK;
	ck_assert_ok(recording_keep(&recording, is_slot, &wanted));
	ck_assert_uint_eq(recording.context_count, 0);
	recording_free(&recording);
}
END_TEST

typedef int (*write_fn)(const struct recording *recording, FILE *to);
static const write_fn writers[] = {write_trace, write_page, write_otlp};

/* Returns what the writer writes; the caller frees it. */
static char *written_by(write_fn writer, const struct recording *recording)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(to);
	ck_assert_ok(writer(recording, to));
	ck_assert_int_eq(fclose(to), 0);
	ck_assert_uint_eq(strlen(text), size);
	return text;
}

static unsigned count_of(const char *text, const char *part)
{
	unsigned count = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		count++;
	return count;
}

START_TEST(a_label_stays_text_in_each_format)
{
	struct recording recording;

	make_recording(&recording);
	char *text = written_by(writers[_i], &recording);
	ck_assert_ptr_null(strstr(text, "<img"));
	ck_assert_ptr_nonnull(strstr(text, "\\u003c/script>\\u003cimg src=x"));
	free(text);
	recording_free(&recording);
}
END_TEST

START_TEST(a_trace_has_spans_and_arrows)
{
	struct recording recording;

	make_recording(&recording);
	char *text = written_by(write_trace, &recording);
	ck_assert_uint_eq(count_of(text, "\"ph\":\"X\""), 5 + 202 + 1);
	ck_assert_uint_eq(count_of(text, "\"ph\":\"s\""), 200);
	ck_assert_uint_eq(count_of(text, "\"ph\":\"f\""), 200);
	ck_assert_uint_eq(count_of(text, "\"name\":\"batch of 200\""), 1);
	free(text);
	recording_free(&recording);
}
END_TEST

START_TEST(spans_of_opentelemetry_have_status_and_events)
{
	struct recording recording;

	make_recording(&recording);
	char *text = written_by(write_otlp, &recording);
	ck_assert_uint_eq(count_of(text, "\"spanId\""), 5 + 202 + 4); /* four have a link */
	ck_assert_uint_eq(count_of(text, "\"name\":\"batch\""), 1);
	/* Two contexts that ended with the client, one too late, and 200 operations. */
	ck_assert_uint_eq(count_of(text, "\"status\":{\"code\":2"), 3 + 200);
	ck_assert_uint_eq(count_of(text, "\"startTimeUnixNano\":\"1110000000\""), 1);
	free(text);
	recording_free(&recording);
}
END_TEST

START_TEST(a_page_has_its_recording_and_no_place_left_open)
{
	struct recording recording;

	make_recording(&recording);
	char *text = written_by(write_page, &recording);
	ck_assert_ptr_nonnull(strstr(text, "default-src 'none'"));
	ck_assert_ptr_nonnull(strstr(text, "\"httpd\""));
	ck_assert_ptr_null(strstr(text, "@NONCE@"));
	ck_assert_ptr_null(strstr(text, "@DATA@"));
	ck_assert_ptr_null(strstr(text, "@SCRIPT@"));
	ck_assert_uint_eq(count_of(text, "</script>"), 2);
	free(text);
	recording_free(&recording);
}
END_TEST

START_TEST(an_empty_recording_is_written)
{
	struct recording recording;

	ck_assert_ok(recording_begin(&recording, 5, 10));
	ck_assert_ok(recording_finish(&recording, 6));
	free(written_by(writers[_i], &recording));
	recording_free(&recording);
}
END_TEST

static uint64_t random_number(uint64_t below)
{
	return ((uint64_t)random() << 31 ^ (uint64_t)random()) % below;
}

/* Random bytes in the place of a record, with small numbers where they name something. */
static void randomize(void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((unsigned char *)bytes)[i] = (unsigned char)random();
}

static void add_random(struct recording *recording, uint32_t texts)
{
	struct recorded_context context;
	struct recorded_operation operation;

	randomize(&context, sizeof(context));
	context.process = 0;
	context.slot = (uint32_t)random_number(20);
	context.generation = 1 + (uint32_t)random_number(2);
	context.parent_slot = (uint32_t)random_number(20);
	context.parent_generation = 1 + (uint32_t)random_number(2);
	if (random() % 4)
		context.begin_ns = random_number(4) * 100 * MS;
	context.label = context.site = context.done_site = context.cause_text =
		(uint32_t)random_number(2) * texts;
	ck_assert_ok(recording_add_context(recording, &context));
	randomize(&operation, sizeof(operation));
	operation.process = 0;
	operation.context_slot = (uint32_t)random_number(20);
	operation.context_generation = 1 + (uint32_t)random_number(2);
	operation.target = (uint32_t)random_number(2) * texts;
	operation.ring = (uint16_t)random_number(3);
	ck_assert_ok(recording_add_operation(recording, &operation));
	struct recorded_batch *batch = recording_add_batch(recording);
	ck_assert_ptr_nonnull(batch);
	randomize(batch, sizeof(*batch));
	batch->process = 0;
	batch->context_slot = (uint32_t)random_number(20);
	batch->context_generation = 1;
	batch->ring = (uint32_t)random_number(3);
}

/* Goal: whatever a table says, also circles and times without sense, the writers come to an end. */
START_TEST(random_recordings_are_linked_and_written)
{
	struct recording recording;

	srandom(test_seed());
	for (unsigned round = 0; round < 60; round++) {
		begin_recording(&recording, 1000);
		uint32_t text = recording_text(&recording, "a \"text\"\n");
		for (unsigned i = random_number(60) > 3 ? 60 : 1; i; i--)
			add_random(&recording, text);
		ck_assert_ok(recording_finish(&recording, 500 * MS));
		for (size_t i = 0; i < recording.context_count; i++)
			ck_assert_uint_lt(recording.preorder[i], recording.context_count);
		for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++)
			free(written_by(writers[i], &recording));
		recording_free(&recording);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("recording");
	TCase *model = test_case(suite, "model");

	tcase_add_test(model, contexts_have_the_outcome_that_they_had);
	tcase_add_test(model, a_batch_ends_the_operations_below_its_context);
	tcase_add_test(model, what_ends_while_the_recording_ends_is_there_once);
	tcase_add_test(model, no_more_spans_are_kept_than_asked_for);
	tcase_add_test(model, a_part_keeps_what_is_above_and_below);
	TCase *output = test_case(suite, "output");
	tcase_add_loop_test(output, a_label_stays_text_in_each_format, 0, 3);
	tcase_add_test(output, a_trace_has_spans_and_arrows);
	tcase_add_test(output, spans_of_opentelemetry_have_status_and_events);
	tcase_add_test(output, a_page_has_its_recording_and_no_place_left_open);
	tcase_add_loop_test(output, an_empty_recording_is_written, 0, 3);
	tcase_add_test(output, random_recordings_are_linked_and_written);
	return suite;
}
