/* SPDX-License-Identifier: MIT */
#include "stem.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define HEX_MIN 8
#define UUID_FIRST 8 /* digits before its first "-" */
/* How many digits in a row stay within a word that does not begin with one. */
#define DIGITS_MAX 2

/* The rest of a label, which ends with a NUL, and the stem as far as it is written. */
struct stemming {
	const char *at;
	char *stem;
	size_t used;
};

enum byte_class {
	OF_WORD = 1,
	DIGIT = 2,
	HEX = 4,
};

static const unsigned char classes[256] = {
	['0' ... '9'] = OF_WORD | DIGIT | HEX,
	['a' ... 'f'] = OF_WORD | HEX,
	['A' ... 'F'] = OF_WORD | HEX,
	['g' ... 'z'] = OF_WORD,
	['G' ... 'Z'] = OF_WORD,
	[0x80 ... 0xff] = OF_WORD,
};

static bool byte_is(char byte, enum byte_class class)
{
	return classes[(unsigned char)byte] & class;
}

/* How many bytes from text on are of class. */
static inline size_t length_of(const char *text, enum byte_class class)
{
	size_t length = 0;

	while (byte_is(text[length], class))
		length++;
	return length;
}

static void keep_bytes(struct stemming *stemming, size_t length)
{
	memcpy(stemming->stem + stemming->used, stemming->at, length);
	stemming->used += length;
	stemming->at += length;
}

/* Puts "*" for length bytes, or nothing where a "*" before it and what lies between are folded. */
static void replace_bytes(struct stemming *stemming, size_t length)
{
	char *stem = stemming->stem;
	size_t used = stemming->used;

	stemming->at += length;
	if (used && stem[used - 1] == '*')
		return;
	if (used > 1 && stem[used - 2] == '*' && strchr("-_.,: ", stem[used - 1]))
		stem[--stemming->used] = '\0';
	else
		stem[stemming->used++] = '*';
}

/* The length of an IPv4 address in front of text. 0: there is none. */
static size_t ipv4_length(const char *text)
{
	size_t length = 0;

	for (unsigned i = 0; i < 4; i++) {
		size_t digits = length_of(text + length, DIGIT);
		if (!digits || digits > 3)
			return 0;
		length += digits;
		if (i < 3 && text[length++] != '.')
			return 0;
	}
	return byte_is(text[length], OF_WORD) || (text[length] == '.' && byte_is(text[length + 1], DIGIT))
		       ? 0
		       : length;
}

/* The length of an IPv6 address in brackets, with a zone or without. 0: there is none. */
static size_t ipv6_length(const char *text)
{
	size_t length = 1;
	unsigned colons = 0;

	if (text[0] != '[')
		return 0;
	while (byte_is(text[length], HEX) || text[length] == ':' || text[length] == '.')
		colons += text[length++] == ':';
	if (text[length] == '%')
		length += 1 + length_of(text + length + 1, OF_WORD);
	return text[length] == ']' && colons >= 2 ? length + 1 : 0;
}

/* The length of a UUID, or of its beginning at the end of the text. 0: there is none. */
static size_t uuid_length(const char *text)
{
	static const unsigned char parts[] = {UUID_FIRST, 4, 4, 4, 12};
	size_t length = 0;

	for (unsigned i = 0; i < sizeof(parts); i++) {
		size_t digits = length_of(text + length, HEX);
		if (!text[length + digits] && i >= 2 && digits <= parts[i])
			return length + digits;
		if (digits != parts[i])
			return 0;
		length += digits;
		if (i + 1 < sizeof(parts) && text[length++] != '-')
			return 0;
	}
	return byte_is(text[length], OF_WORD) ? 0 : length;
}

/* The length of a number with decimals, and of the unit behind it. */
static size_t number_length(const char *text)
{
	size_t length = length_of(text, OF_WORD);

	while ((text[length] == '.' || text[length] == ',') && byte_is(text[length + 1], DIGIT))
		length += 1 + length_of(text + length + 1, OF_WORD);
	return length;
}

/* True: the word is hexadecimal, long, and has a decimal digit. */
static bool is_long_hex(const char *word, size_t length)
{
	bool digit = false;

	for (size_t i = 0; i < length; i++) {
		if (!byte_is(word[i], HEX))
			return false;
		digit |= byte_is(word[i], DIGIT);
	}
	return digit && length >= HEX_MIN;
}

/* A word that does not begin with a digit. */
static void take_word(struct stemming *stemming, size_t length)
{
	const char *end = stemming->at + length;

	while (stemming->at < end) {
		size_t digits = length_of(stemming->at, DIGIT);
		if (digits > DIGITS_MAX)
			replace_bytes(stemming, digits);
		else
			keep_bytes(stemming, digits ? digits : 1);
	}
}

/* Takes a word that begins with a digit, or an address. */
static void take_number(struct stemming *stemming, size_t word)
{
	size_t length = word <= 3 ? ipv4_length(stemming->at) : 0;

	if (length) {
		keep_bytes(stemming, length);
		return;
	}
	length = word == UUID_FIRST ? uuid_length(stemming->at) : 0;
	replace_bytes(stemming, length ? length : number_length(stemming->at));
}

/* Takes what stands at the beginning of a word, or one byte between words. */
static void take_next(struct stemming *stemming)
{
	const char *at = stemming->at;
	size_t word = length_of(at, OF_WORD), length;

	if (byte_is(*at, DIGIT)) {
		take_number(stemming, word);
	} else if (word) {
		length = word == UUID_FIRST ? uuid_length(at) : 0;
		if (length)
			replace_bytes(stemming, length);
		else if (word >= HEX_MIN && is_long_hex(at, word))
			replace_bytes(stemming, word);
		else
			take_word(stemming, word);
	} else {
		length = *at == '[' ? ipv6_length(at) : 0;
		keep_bytes(stemming, length ? length : 1);
		if (*at == '?' && *stemming->at && *stemming->at != ' ')
			replace_bytes(stemming, strcspn(stemming->at, " "));
	}
}

void table_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE])
{
	char copy[CTX_TABLE_LABEL_SIZE] = {0};
	struct stemming stemming = {.at = copy, .stem = ret_stem};

	memcpy(copy, label, strnlen(label, sizeof(copy) - 1));
	memset(ret_stem, 0, CTX_TABLE_LABEL_SIZE);
	while (*stemming.at)
		take_next(&stemming);
}
