/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the text forms of contexts, which come from other programs. The first byte of the input chooses the
 * form. What was read is written, and must then be read as the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "carrier.h"

static void try_timeout(const char *text)
{
	char again[CARRIER_TIMEOUT_SIZE];
	uint64_t ns, ns_again;

	if (carrier_read_timeout(text, &ns))
		return;
	carrier_write_timeout(ns, again);
	if (carrier_read_timeout(again, &ns_again) || (ns && ns_again > ns))
		abort();
}

static void try_milliseconds(const char *text)
{
	char again[CARRIER_MILLISECONDS_SIZE];
	uint64_t ns, ns_again;

	if (carrier_read_milliseconds(text, &ns))
		return;
	carrier_write_milliseconds(ns, again);
	if (!ns || carrier_read_milliseconds(again, &ns_again) || ns_again != ns)
		abort();
}

static void try_tracestate(const char *text)
{
	char state[CARRIER_TRACESTATE_SIZE];

	carrier_read_tracestate(text, state);
	if (strlen(state) >= sizeof(state) || strncmp(text, state, strlen(state)) != 0)
		abort();
	for (const char *c = state; *c; c++)
		if (*c != '\t' && (*c < ' ' || *c > '~'))
			abort();
}

/* Members of tracestate that is at most as long as what goes out. */
static void try_state(const char *text)
{
	static const char name[] = "ctxring", id[] = "far.example/1234567890abcdef-1-1234567890abcdef";
	char state[CARRIER_TRACESTATE_SIZE], written[CARRIER_TRACESTATE_SIZE], again[CARRIER_TRACESTATE_SIZE],
		value[300];
	struct carrier_member member;
	unsigned count = 0;

	carrier_read_tracestate(text, state);
	const char *end = state + strlen(state);
	for (const char *at = state; carrier_next_state(&at, &member); count++)
		if (member.name < state || member.value + member.value_length > end || at > end ||
		    (!member.malformed && member.value[-1] != '='))
			abort();
	carrier_find_state(state, name, value, sizeof(value));
	carrier_write_tracestate(state, name, id, written);
	if (strlen(written) >= sizeof(written) || !carrier_find_state(written, name, value, sizeof(value)) ||
	    strcmp(value, id) != 0 || strncmp(written, "ctxring=", 8) != 0)
		abort();
	count = 0;
	for (const char *at = written; carrier_next_state(&at, &member); count++)
		if (member.malformed || (count && carrier_is_named(&member, name)))
			abort();
	if (count < 1 || count > 32)
		abort();
	/* What was written is not changed by writing it again. */
	carrier_write_tracestate(written, name, id, again);
	if (strcmp(again, written) != 0)
		abort();
	carrier_write_tracestate(written, name, NULL, again);
	if (strcmp(again, written + strlen("ctxring=") + strlen(id) + (count > 1)) != 0)
		abort();
}

static void try_traceparent(const char *text)
{
	char again[CARRIER_TRACEPARENT_SIZE];
	struct carrier_trace trace;

	try_tracestate(text);
	try_state(text);
	if (carrier_read_traceparent(text, strlen(text), &trace))
		return;
	carrier_write_traceparent(&trace, again);
	/* The same but for version and flags: only version 00 and the sampled flag are written. */
	if (strncmp(again + 2, text + 2, 50) != 0 || again[53] != '0' ||
	    (again[54] != '0' && again[54] != '1'))
		abort();
}

/* Makes decoded UTF-8. length_max is its length as it came, encoded: a value of baggage must not become
 * longer, because its bytes beyond ASCII came encoded. */
static void try_utf8(const char *decoded, char *repaired, size_t length_max)
{
	size_t size = 3 * strlen(decoded) + 1;
	struct carrier_text text = {.bytes = repaired, .size = size};

	repaired[0] = '\0';
	carrier_put_utf8(&text, decoded);
	if (text.too_long || (length_max != SIZE_MAX && text.length > length_max))
		abort();
	/* Text that is UTF-8 already is not changed. */
	char *again = malloc(size);
	struct carrier_text second = {.bytes = again, .size = size};
	again[0] = '\0';
	carrier_put_utf8(&second, repaired);
	if (second.too_long || strcmp(again, repaired) != 0)
		abort();
	free(again);
}

static void try_members(const char *text, int (*next)(const char **at, struct carrier_member *ret_member))
{
	const char *at = text, *end = text + strlen(text);
	char *decoded = malloc(strlen(text) + 1), *encoded = malloc(3 * strlen(text) + 1),
	     *again = malloc(strlen(text) + 1), *repaired = malloc(3 * strlen(text) + 1);
	struct carrier_member member;
	uint64_t number;
	int more;

	while ((more = next(&at, &member)) > 0) {
		struct carrier_text list = {.bytes = encoded, .size = 3 * strlen(text) + 1};
		if (member.name < text || member.value + member.value_length > end || at > end ||
		    (!member.malformed && !carrier_is_token(member.name, member.name_length)))
			abort();
		carrier_read_number(&member, &number);
		carrier_read_hex(&member, &number);
		if (carrier_decode(&member, decoded))
			continue;
		encoded[0] = '\0';
		carrier_put_encoded(&list, decoded);
		struct carrier_member back = {.value = encoded, .value_length = list.length};
		if (list.too_long || carrier_decode(&back, again) || strcmp(again, decoded) != 0)
			abort();
		bool baggage = next == carrier_next_baggage && !member.malformed;
		try_utf8(decoded, repaired, baggage ? member.value_length : SIZE_MAX);
	}
	if (more && more != -EINVAL)
		abort();
	free(decoded);
	free(encoded);
	free(again);
	free(repaired);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	char *text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 4) {
	case 0:
		try_timeout(text);
		try_milliseconds(text);
		break;
	case 1:
		try_traceparent(text);
		break;
	case 2:
		try_members(text, carrier_next_baggage);
		break;
	default:
		try_members(text, carrier_next_field);
		break;
	}
	free(text);
	return 0;
}
