/* SPDX-License-Identifier: MIT */
/* W3C tracestate: a list of members, one for each tracing system, of which one is the library's. */
#include <string.h>

#include "carrier.h"

#define KEY_MAX 256
#define VALUE_MAX 256
#define MEMBERS_MAX 32
/* Longer members are the first to go when the list is too long. */
#define MEMBER_LONG 128

void carrier_read_tracestate(const char *text, char ret_state[CARRIER_TRACESTATE_SIZE])
{
	size_t length = strnlen(text, CARRIER_TRACESTATE_SIZE);

	ret_state[0] = '\0';
	for (size_t i = 0; i < length; i++)
		if ((text[i] < ' ' && text[i] != '\t') || text[i] > '~')
			return;
	/* A list that was cut is cut at the comma behind its last whole member. */
	if (length == CARRIER_TRACESTATE_SIZE)
		while (length && text[--length] != ',')
			;
	if (strspn(text, ", \t") >= length)
		return;
	memcpy(ret_state, text, length);
	ret_state[length] = '\0';
}

static bool is_key(const char *key, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		bool plain = (key[i] >= 'a' && key[i] <= 'z') || (key[i] >= '0' && key[i] <= '9');
		if (!plain && (i == 0 || !key[i] || !strchr("_-*/@", key[i])))
			return false;
	}
	return length > 0 && length <= KEY_MAX;
}

/* Of text without a comma and without blanks behind it. */
static bool is_state_value(const char *value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (value[i] < ' ' || value[i] > '~' || value[i] == '=')
			return false;
	return length > 0 && length <= VALUE_MAX;
}

int carrier_next_state(const char **at, struct carrier_member *ret_member)
{
	const char *name = *at + strspn(*at, ", \t");
	size_t length = strcspn(name, ",");

	*at = name + length;
	if (!length)
		return 0;
	while (name[length - 1] == ' ' || name[length - 1] == '\t')
		length--;
	const char *equals = memchr(name, '=', length), *value = equals ? equals + 1 : name + length;
	struct carrier_member member = {.name = name,
					.name_length = (size_t)(equals ? equals - name : value - name),
					.value = value,
					.value_length = length - (size_t)(value - name)};
	member.malformed = !is_key(name, member.name_length) || !is_state_value(value, member.value_length);
	*ret_member = member;
	return 1;
}

bool carrier_find_state(const char *state, const char *name, char *ret_value, size_t size)
{
	struct carrier_member member;

	while (carrier_next_state(&state, &member)) {
		if (!carrier_is_named(&member, name))
			continue;
		if (member.malformed || member.value_length >= size)
			return false;
		memcpy(ret_value, member.value, member.value_length);
		ret_value[member.value_length] = '\0';
		return true;
	}
	return false;
}

/* Takes members out, the last one first, until *total is at most total_max: only those longer than a length.
 */
static void shorten_list(struct carrier_member *members, unsigned *count, size_t *total, size_t total_max,
			 size_t longer_than)
{
	for (unsigned i = *count; i-- > 0 && *total > total_max;) {
		size_t length = members[i].name_length + 1 + members[i].value_length;
		if (length <= longer_than)
			continue;
		*total -= length + 1;
		memmove(members + i, members + i + 1, (--*count - i) * sizeof(*members));
	}
}

void carrier_write_tracestate(const char *state, const char *name, const char *value,
			      char ret_state[CARRIER_TRACESTATE_SIZE])
{
	struct carrier_text text = {.bytes = ret_state, .size = CARRIER_TRACESTATE_SIZE};
	struct carrier_member members[MEMBERS_MAX], member;
	unsigned count = 0, room = value ? MEMBERS_MAX - 1 : MEMBERS_MAX;
	/* Each member counts with the comma before it, which the first one does not have. */
	size_t total = value ? 1 + strlen(name) + 1 + strlen(value) : 0, total_max = CARRIER_TRACESTATE_SIZE;

	while (count < room && carrier_next_state(&state, &member)) {
		if (member.malformed || carrier_is_named(&member, name))
			continue;
		total += 1 + member.name_length + 1 + member.value_length;
		members[count++] = member;
	}
	shorten_list(members, &count, &total, total_max, MEMBER_LONG);
	shorten_list(members, &count, &total, total_max, 0);
	ret_state[0] = '\0';
	if (value) {
		carrier_put_string(&text, name);
		carrier_put_string(&text, "=");
		carrier_put_string(&text, value);
	}
	for (unsigned i = 0; i < count; i++) {
		carrier_put_string(&text, text.length ? "," : "");
		carrier_put(&text, members[i].name, members[i].name_length + 1 + members[i].value_length);
	}
}
