/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the language of selection. A text is read, or refused with a place within it and a reason that can
 * be printed; what is read is evaluated; and its negation selects the opposite. The first byte says what
 * context it is asked about.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"
#include "selection.h"
#include "table_format.h"

/* Of lib/core, which needs all of the library. */
const char *ctx_cause_kind_name(enum ctx_cause_kind kind)
{
	return kind == CTX_CAUSE_CALL ? "call" : kind == CTX_CAUSE_DEADLINE ? "deadline" : "other";
}

static const char *user_name(uid_t uid)
{
	return uid ? "www-data" : "root";
}

static bool next_operation(const struct selection_facts *facts, uint32_t *position,
			   struct selection_operation *ret_operation)
{
	static const struct selection_operation operations[] = {
		{.opcode = 27, .fd = 7}, {.opcode = 255, .fd = -1, .flags = CTX_TABLE_OP_STUCK}};

	if (*position == facts->operation_count)
		return false;
	*ret_operation = operations[(*position)++];
	return true;
}

static const char *describe_fd(const struct selection_facts *facts, int fd)
{
	(void)facts;
	return fd == 7 ? "tcp 127.0.0.1:80 -> 127.0.0.1:5432 ESTABLISHED" : "";
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

static void evaluate(const char *text, const struct selection *selection, uint8_t choice)
{
	const struct selection_facts facts = {.pid = choice,
					      .uid = choice & 1 ? 33 : 0,
					      .comm = "nginx: worker",
					      .label = choice & 2 ? "GET /slow" : "a\033\\b",
					      .slot = 3,
					      .generation = 4,
					      .live = choice & 4,
					      .error = choice & 4 ? 0 : -ECONNRESET,
					      .age_ns = 7000000000,
					      .left_ns = choice & 8 ? SELECTION_NO_DEADLINE : choice,
					      .kind = choice % 10,
					      .cause = choice % 13,
					      .cause_text = choice & 16 ? "client went away" : NULL,
					      .operation_count = choice % 3,
					      .user_name = user_name,
					      .next_operation = next_operation,
					      .describe_fd = describe_fd};
	char negated[SELECTION_TEXT_MAX + 16];
	struct selection *opposite;
	struct selection_error error;

	snprintf(negated, sizeof(negated), "not (%s)", text);
	/* It can be too long now, or nested too deep. */
	if (selection_parse(negated, &opposite, &error))
		return;
	if (selection_matches(selection, &facts) == selection_matches(opposite, &facts))
		abort();
	selection_free(opposite);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct selection_error error;
	struct selection *selection;

	if (!size)
		return 0;
	char *text = strndup((const char *)data + 1, size - 1);
	int result = selection_parse(text, &selection, &error);
	if (!result) {
		evaluate(text, selection, data[0]);
		if (selection_check_keys(selection, data[0], "it", &error) && error.offset >= strlen(text))
			abort();
		selection_free(selection);
	} else if (result != -EINVAL || selection || !error.message[0] || !is_printable(error.message) ||
		   error.offset > strlen(text)) {
		abort();
	}
	/* As an operand: it is a word, or it is read as it is. */
	char *joined = selection_join(&text, 1);
	if (selection_is_word(text) && strlen(joined) <= SELECTION_TEXT_MAX &&
	    selection_parse(joined, &selection, &error) == 0)
		selection_free(selection);
	else if (!selection_is_word(text) && strcmp(joined, text) != 0)
		abort();
	free(joined);
	free(text);
	return 0;
}
