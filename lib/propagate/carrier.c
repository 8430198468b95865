/* SPDX-License-Identifier: MIT */
#include "carrier.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- writing */

void carrier_put(struct carrier_text *text, const char *bytes, size_t length)
{
	if (text->too_long || length >= text->size - text->length) {
		text->too_long = true;
		return;
	}
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	text->bytes[text->length] = '\0';
}

void carrier_put_string(struct carrier_text *text, const char *string)
{
	carrier_put(text, string, strlen(string));
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The characters that never need to be encoded (RFC 3986). */
static bool is_unreserved(char c)
{
	return is_digit(c) || is_letter(c) || (c && strchr("-._~", c));
}

void carrier_put_encoded(struct carrier_text *text, const char *string)
{
	char encoded[4];

	for (; *string && !text->too_long; string++) {
		if (is_unreserved(*string)) {
			carrier_put(text, string, 1);
			continue;
		}
		snprintf(encoded, sizeof(encoded), "%%%02X", (unsigned char)*string);
		carrier_put(text, encoded, 3);
	}
}

/*
 * The length of the UTF-8 character at the beginning of text. If only part of one is there, the length of
 * that part. RFC 3629: the second byte shows whether a character is overlong, a surrogate, or beyond the last
 * one.
 */
static size_t character_length(const char *text, bool *ret_whole)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t length = 1, found = 1;

	if (*at >= 0xc2 && *at <= 0xf4)
		length = *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
	if (*at == 0xe0 || *at == 0xf0)
		low = *at == 0xe0 ? 0xa0 : 0x90;
	if (*at == 0xed || *at == 0xf4)
		high = *at == 0xed ? 0x9f : 0x8f;
	while (found < length && at[found] >= low && at[found] <= high) {
		found++;
		low = 0x80;
		high = 0xbf;
	}
	*ret_whole = found == length && (length > 1 || *at < 0x80);
	return found;
}

void carrier_put_utf8(struct carrier_text *text, const char *string)
{
	bool whole;

	for (size_t length; *string && !text->too_long; string += length) {
		length = character_length(string, &whole);
		if (whole)
			carrier_put(text, string, length);
		else
			carrier_put_string(text, "\xef\xbf\xbd");
	}
}

void carrier_put_number(struct carrier_text *text, uint64_t number)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	carrier_put_string(text, digits);
}

void carrier_put_hex(struct carrier_text *text, uint64_t number)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%016llx", (unsigned long long)number);
	carrier_put_string(text, digits);
}

bool carrier_is_token(const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!is_digit(name[i]) && !is_letter(name[i]) &&
		    !(name[i] && strchr("!#$%&'*+-.^_`|~", name[i])))
			return false;
	return length > 0;
}

/* ---- grpc-timeout */

static const struct {
	char letter;
	uint64_t ns;
} units[] = {
	{'n', 1},
	{'u', 1000},
	{'m', 1000000},
	{'S', 1000000000},
	{'M', 60 * UINT64_C(1000000000)},
	{'H', 3600 * UINT64_C(1000000000)},
};

#define UNITS (sizeof(units) / sizeof(units[0]))
#define TIMEOUT_DIGITS_MAX 8
#define TIMEOUT_VALUE_MAX 99999999u

void carrier_write_timeout(uint64_t ns, char text[CARRIER_TIMEOUT_SIZE])
{
	size_t unit = 0;

	/* 2^64 ns are five million hours, so the coarsest unit always fits. */
	while (ns / units[unit].ns > TIMEOUT_VALUE_MAX)
		unit++;
	unsigned value = (unsigned)(ns / units[unit].ns);
	snprintf(text, CARRIER_TIMEOUT_SIZE, "%u%c", value ? value : 1, units[unit].letter);
}

int carrier_read_timeout(const char *text, uint64_t *ret_ns)
{
	uint64_t value = 0;
	size_t digits = 0;

	for (; is_digit(text[digits]); digits++) {
		if (digits == TIMEOUT_DIGITS_MAX)
			return -EINVAL;
		value = value * 10 + (unsigned)(text[digits] - '0');
	}
	if (!digits || !text[digits] || text[digits + 1])
		return -EINVAL;
	for (size_t unit = 0; unit < UNITS; unit++) {
		if (units[unit].letter != text[digits])
			continue;
		*ret_ns = value > UINT64_MAX / units[unit].ns ? UINT64_MAX : value * units[unit].ns;
		return 0;
	}
	return -EINVAL;
}

/* ---- timeouts in milliseconds */

#define MILLISECOND_NS UINT64_C(1000000)
#define MILLISECONDS_DIGITS_MAX 10
#define MILLISECONDS_MAX UINT64_C(9999999999)

void carrier_write_milliseconds(uint64_t ns, char text[CARRIER_MILLISECONDS_SIZE])
{
	uint64_t value = ns / MILLISECOND_NS;

	if (value > MILLISECONDS_MAX)
		value = MILLISECONDS_MAX;
	snprintf(text, CARRIER_MILLISECONDS_SIZE, "%llu", value ? (unsigned long long)value : 1);
}

int carrier_read_milliseconds(const char *text, uint64_t *ret_ns)
{
	uint64_t value = 0;
	size_t digits = 0;

	for (; is_digit(text[digits]); digits++) {
		if (digits == MILLISECONDS_DIGITS_MAX)
			return -EINVAL;
		value = value * 10 + (unsigned)(text[digits] - '0');
	}
	if (!value || text[digits])
		return -EINVAL;
	*ret_ns = value * MILLISECOND_NS;
	return 0;
}

/* ---- traceparent */

#define TRACEPARENT_LENGTH (CARRIER_TRACEPARENT_SIZE - 1)
#define FLAG_SAMPLED 0x01

static void write_bytes(char *text, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

void carrier_write_traceparent(const struct carrier_trace *trace, char text[CARRIER_TRACEPARENT_SIZE])
{
	memcpy(text, "00-", 3);
	write_bytes(text + 3, trace->id, sizeof(trace->id));
	text[35] = '-';
	write_bytes(text + 36, trace->span, sizeof(trace->span));
	snprintf(text + 52, 4, "-%02x", trace->sampled ? FLAG_SAMPLED : 0);
}

/* The value of a hexadecimal digit, or -1. Lower case only, as W3C Trace Context demands. */
static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_bytes(const char *text, uint8_t *ret_bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);
		if (low < 0)
			return false;
		ret_bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool any_set(const uint8_t *bytes, size_t count)
{
	uint8_t all = 0;

	for (size_t i = 0; i < count; i++)
		all |= bytes[i];
	return all != 0;
}

int carrier_read_traceparent(const char *text, size_t length, struct carrier_trace *ret_trace)
{
	struct carrier_trace trace;
	uint8_t version, flags;

	if (length < TRACEPARENT_LENGTH || !read_bytes(text, &version, 1) || version == 0xff)
		return -EINVAL;
	if (length > TRACEPARENT_LENGTH && (version == 0 || text[TRACEPARENT_LENGTH] != '-'))
		return -EINVAL;
	if (text[2] != '-' || text[35] != '-' || text[52] != '-' ||
	    !read_bytes(text + 3, trace.id, sizeof(trace.id)) ||
	    !read_bytes(text + 36, trace.span, sizeof(trace.span)) || !read_bytes(text + 53, &flags, 1))
		return -EINVAL;
	if (!any_set(trace.id, sizeof(trace.id)) || !any_set(trace.span, sizeof(trace.span)))
		return -EINVAL;
	trace.sampled = flags & FLAG_SAMPLED;
	*ret_trace = trace;
	return 0;
}

/* ---- lists */

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t");
}

/* The length of the text up to the first character of ends, without blanks behind it. */
static size_t length_until(const char *at, const char *ends, const char **ret_end)
{
	size_t length = strcspn(at, ends);

	*ret_end = at + length;
	while (length && (at[length - 1] == ' ' || at[length - 1] == '\t'))
		length--;
	return length;
}

/* Whether these are baggage-octets (W3C Baggage): no blanks, quotes, commas, semicolons or backslashes. */
static bool is_baggage_value(const char *value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (value[i] <= ' ' || value[i] > '~' || strchr("\",;\\", value[i]))
			return false;
	return true;
}

int carrier_next_baggage(const char **at, struct carrier_member *ret_member)
{
	const char *name = *at + strspn(*at, ", \t"), *end;
	struct carrier_member member = {.name = name};

	if (!*name)
		return 0;
	member.name_length = length_until(name, "=,;", &end);
	member.malformed = *end != '=' || !carrier_is_token(name, member.name_length);
	member.value = skip_blanks(*end == '=' ? end + 1 : end);
	member.value_length = length_until(member.value, ",;", &end);
	member.malformed |= !is_baggage_value(member.value, member.value_length);
	*at = end + strcspn(end, ","); /* the properties of a member are ignored */
	*ret_member = member;
	return 1;
}

int carrier_next_field(const char **at, struct carrier_member *ret_member)
{
	struct carrier_member member = {.name = *at};

	if (!**at)
		return 0;
	member.name_length = strcspn(*at, "=;");
	if (member.name[member.name_length] != '=' || !carrier_is_token(*at, member.name_length))
		return -EINVAL;
	member.value = member.name + member.name_length + 1;
	member.value_length = strcspn(member.value, ";");
	const char *end = member.value + member.value_length;
	if (*end && !end[1])
		return -EINVAL;
	*at = *end ? end + 1 : end;
	*ret_member = member;
	return 1;
}

bool carrier_is_named(const struct carrier_member *member, const char *name)
{
	return strlen(name) == member->name_length && memcmp(name, member->name, member->name_length) == 0;
}

int carrier_read_number(const struct carrier_member *member, uint64_t *ret_number)
{
	uint64_t number = 0;

	for (size_t i = 0; i < member->value_length; i++) {
		unsigned digit = (unsigned)(member->value[i] - '0');
		if (!is_digit(member->value[i]) || number > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		number = number * 10 + digit;
	}
	if (!member->value_length)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

int carrier_read_hex(const struct carrier_member *member, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!member->value_length || member->value_length > 16)
		return -EINVAL;
	for (size_t i = 0; i < member->value_length; i++) {
		int digit = hex_digit(member->value[i]);
		if (digit < 0)
			return -EINVAL;
		number = number << 4 | (unsigned)digit;
	}
	*ret_number = number;
	return 0;
}

/* The value of a digit in either case, or -1: RFC 3986 asks readers to take both. */
static int encoded_digit(char c)
{
	return hex_digit(c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c);
}

int carrier_decode(const struct carrier_member *member, char *ret_text)
{
	const char *from = member->value, *end = from + member->value_length;

	while (from < end) {
		char c = *from++;
		if (c == '%') {
			int high = end - from < 2 ? -1 : encoded_digit(from[0]);
			int low = high < 0 ? -1 : encoded_digit(from[1]);
			if (low < 0)
				return -EINVAL;
			c = (char)(high << 4 | low);
			from += 2;
		}
		if (!c)
			return -EINVAL;
		*ret_text++ = c;
	}
	*ret_text = '\0';
	return 0;
}
