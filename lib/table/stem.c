/* SPDX-License-Identifier: MIT */
#include "stem.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define HEX_MIN 8
#define UUID_FIRST 8 /* digits before its first "-" */
/* How many digits in a row stay within a word that does not begin with one. */
#define DIGITS_MAX 2

/* Where the one pass over a label is. */
struct position {
	const char *at; /* the rest of the label, which ends with a NUL */
	char *end;	/* of the stem so far */
};

/* What is written for a whole label. */
struct stemming {
	const char *label;
	char *stem;
	char *numbers; /* see table_stem_with_numbers() */
};

enum byte_class {
	OF_WORD = 1,
	DIGIT = 2,
	HEX = 4,
	NOT_HEX = 8,  /* of a word, but no hexadecimal digit */
	SPECIAL = 16, /* "[" and "?" */
};

static const unsigned char classes[256] = {
	['0' ... '9'] = OF_WORD | DIGIT | HEX,
	['a' ... 'f'] = OF_WORD | HEX,
	['A' ... 'F'] = OF_WORD | HEX,
	['g' ... 'z'] = OF_WORD | NOT_HEX,
	['G' ... 'Z'] = OF_WORD | NOT_HEX,
	[0x80 ... 0xff] = OF_WORD | NOT_HEX,
	['['] = SPECIAL,
	['?'] = SPECIAL,
};

static inline unsigned class_of(char byte)
{
	return classes[(unsigned char)byte];
}

/* How many bytes from text on are of class. */
static inline size_t length_of(const char *text, enum byte_class class)
{
	size_t length = 0;

	while (class_of(text[length]) & class)
		length++;
	return length;
}

static inline struct position keep_bytes(struct position from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		from.end[i] = from.at[i];
	return (struct position){from.at + length, from.end + length};
}

/* Puts "*" for length bytes, or nothing where a "*" before it and what lies between are folded. */
static struct position replace_bytes(struct position from, size_t length, const struct stemming *to)
{
	ptrdiff_t used = from.end - to->stem;
	char *numbers = to->numbers + (from.at - to->label);

	for (size_t i = 0; i < length; i++)
		numbers[i] = class_of(from.at[i]) & DIGIT ? 0x0f : 0;
	from.at += length;
	if (used > 0 && from.end[-1] == '*')
		return from;
	if (used > 1 && from.end[-2] == '*' && strchr("-_.,: ", from.end[-1]))
		*--from.end = '\0';
	else
		*from.end++ = '*';
	return from;
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
	bool goes_on = class_of(text[length]) & OF_WORD ||
		       (text[length] == '.' && class_of(text[length + 1]) & DIGIT);
	return goes_on ? 0 : length;
}

/* The length of an IPv6 address in brackets, with a zone or without. 0: there is none. */
static size_t ipv6_length(const char *text)
{
	size_t length = 1;
	unsigned colons = 0;

	while (class_of(text[length]) & HEX || text[length] == ':' || text[length] == '.')
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
	return class_of(text[length]) & OF_WORD ? 0 : length;
}

/* The length of a number with decimals, and of the unit behind it. Its first word has length bytes. */
static inline size_t number_length(const char *text, size_t length)
{
	while ((text[length] == '.' || text[length] == ',') && class_of(text[length + 1]) & DIGIT)
		length += 1 + length_of(text + length + 1, OF_WORD);
	return length;
}

/* Takes a word that begins with a digit, or an address. */
static struct position take_number(struct position from, const struct stemming *to)
{
	size_t word = length_of(from.at, OF_WORD);
	size_t address = word <= 3 && from.at[word] == '.' ? ipv4_length(from.at) : 0;

	if (address)
		return keep_bytes(from, address);
	size_t uuid = word == UUID_FIRST ? uuid_length(from.at) : 0;
	return replace_bytes(from, uuid ? uuid : number_length(from.at, word), to);
}

/* Takes a word with digits within. is_hex: all its bytes are hexadecimal digits. */
static struct position take_digits(struct position from, size_t length, bool is_hex,
				   const struct stemming *to)
{
	const char *end = from.at + length;

	memset(from.end, 0, length); /* where take_word() has copied it */
	if (is_hex && length >= HEX_MIN) {
		size_t uuid = length == UUID_FIRST ? uuid_length(from.at) : 0;
		return replace_bytes(from, uuid ? uuid : length, to);
	}
	while (from.at < end) {
		size_t digits = length_of(from.at, DIGIT);
		if (digits > DIGITS_MAX)
			from = replace_bytes(from, digits, to);
		else
			from = keep_bytes(from, digits ? digits : 1);
	}
	return from;
}

/* Takes a word that does not begin with a digit. */
static inline struct position take_word(struct position from, const struct stemming *to)
{
	unsigned any = 0, class;
	size_t length = 0;

	for (; (class = class_of(from.at[length])) & OF_WORD; length++) {
		from.end[length] = from.at[length];
		any |= class;
	}
	if (__builtin_expect(any & DIGIT, 0))
		return take_digits(from, length, !(any & NOT_HEX), to);
	size_t uuid = length == UUID_FIRST && !(any & NOT_HEX) ? uuid_length(from.at) : 0;
	if (uuid) {
		memset(from.end, 0, length);
		return replace_bytes(from, uuid, to);
	}
	return (struct position){from.at + length, from.end + length};
}

/* Takes "[", with the address that it may begin, or "?" and what follows. */
static struct position take_special(struct position from, const struct stemming *to)
{
	bool is_query = *from.at == '?';
	size_t address = is_query ? 0 : ipv6_length(from.at);

	from = keep_bytes(from, address ? address : 1);
	if (is_query && *from.at && *from.at != ' ')
		from = replace_bytes(from, strcspn(from.at, " "), to);
	return from;
}

void table_stem_with_numbers(const char label[CTX_TABLE_LABEL_SIZE], char ret_stem[CTX_TABLE_LABEL_SIZE],
			     char ret_numbers[CTX_TABLE_LABEL_SIZE])
{
	const struct stemming to = {label, ret_stem, ret_numbers};
	struct position now = {label, ret_stem};
	unsigned char byte;

	memset(ret_stem, 0, CTX_TABLE_LABEL_SIZE);
	memset(ret_numbers, 0, CTX_TABLE_LABEL_SIZE);
	while ((byte = (unsigned char)*now.at)) {
		unsigned class = classes[byte];
		if (class & DIGIT)
			now = take_number(now, &to);
		else if (class & OF_WORD)
			now = take_word(now, &to);
		else if (class & SPECIAL)
			now = take_special(now, &to);
		else
			now = keep_bytes(now, 1);
	}
}

void table_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE])
{
	char copy[CTX_TABLE_LABEL_SIZE], numbers[CTX_TABLE_LABEL_SIZE];

	table_copy_label(label, copy);
	table_stem_with_numbers(copy, ret_stem, numbers);
}
