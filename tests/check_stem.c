/* SPDX-License-Identifier: MIT */
/* What a label has in common with others. */
#include "stem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

/* ---- the rules of stem.h once more, one after the other, in as many passes as they like */

static int is_word(int byte)
{
	return isalnum(byte) || byte > 127;
}

static size_t count_row(const char *text, int (*is)(int))
{
	size_t length = 0;

	while (is((unsigned char)text[length]))
		length++;
	return length;
}

static size_t plain_ipv4(const char *text)
{
	size_t length = 0;

	for (unsigned i = 0; i < 4; i++) {
		size_t digits = count_row(text + length, isdigit);
		if (digits < 1 || digits > 3 || (i < 3 && text[length + digits] != '.'))
			return 0;
		length += digits + (i < 3);
	}
	if (is_word((unsigned char)text[length]))
		return 0;
	return text[length] == '.' && isdigit((unsigned char)text[length + 1]) ? 0 : length;
}

static size_t plain_ipv6(const char *text)
{
	size_t length = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
	unsigned colons = 0;

	if (text[0] != '[')
		return 0;
	for (size_t i = 0; i < length; i++)
		colons += text[i] == ':';
	if (text[length] == '%')
		length += 1 + count_row(text + length + 1, is_word);
	return text[length] == ']' && colons >= 2 ? length + 1 : 0;
}

/* A UUID, or its beginning with at least two "-" where the text ends. */
static size_t plain_uuid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t length = 0;

	for (; shape[length] && text[length]; length++) {
		bool fits =
			shape[length] == 'x' ? isxdigit((unsigned char)text[length]) : text[length] == '-';
		if (!fits)
			return 0;
	}
	bool whole = !shape[length] && !is_word((unsigned char)text[length]);
	bool cut = !text[length] && length >= strlen("xxxxxxxx-xxxx-");
	return whole || cut ? length : 0;
}

static size_t plain_number(const char *text)
{
	size_t length = count_row(text, is_word);

	while (strchr(".,", text[length]) && text[length] && isdigit((unsigned char)text[length + 1]))
		length += 1 + count_row(text + length + 1, is_word);
	return length;
}

static size_t plain_hex(const char *text)
{
	size_t length = count_row(text, is_word), digits = 0;

	for (size_t i = 0; i < length; i++)
		digits += isdigit((unsigned char)text[i]) != 0;
	return length >= 8 && length == count_row(text, isxdigit) && digits ? length : 0;
}

static void put_star(char *stem)
{
	size_t used = strlen(stem);

	if (used && stem[used - 1] == '*')
		return;
	if (used > 1 && stem[used - 2] == '*' && strchr("-_.,: ", stem[used - 1]))
		stem[used - 1] = '\0';
	else
		stem[used] = '*';
}

static size_t put_byte(char *stem, char byte)
{
	stem[strlen(stem)] = byte;
	return 1;
}

/* Puts what becomes of the beginning of a word, or of what parts words. Returns how much of text that is. */
static size_t put_next(char *stem, const char *text, bool after_query)
{
	size_t address = plain_ipv4(text) ? plain_ipv4(text) : plain_ipv6(text), star = 0;

	if (after_query && *text != ' ') {
		star = strcspn(text, " ");
	} else if (address) {
		strncat(stem, text, address);
		return address;
	} else if (is_word((unsigned char)*text)) {
		star = plain_uuid(text);
		if (!star && isdigit((unsigned char)*text))
			star = plain_number(text);
		if (!star)
			star = plain_hex(text);
	} else {
		return put_byte(stem, *text);
	}
	if (star) {
		put_star(stem);
		return star;
	}
	for (size_t word = count_row(text, is_word); star < word;) {
		size_t digits = count_row(text + star, isdigit);
		for (size_t i = 0; i < digits && digits <= 2; i++)
			put_byte(stem, text[star + i]);
		if (digits > 2)
			put_star(stem);
		star += digits ? digits : put_byte(stem, text[star]);
	}
	return star;
}

static void plain_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE])
{
	char copy[CTX_TABLE_LABEL_SIZE] = "";

	strncat(copy, label, sizeof(copy) - 1);
	memset(ret_stem, 0, CTX_TABLE_LABEL_SIZE);
	for (size_t at = 0; copy[at];)
		at += put_next(ret_stem, copy + at, at && copy[at - 1] == '?');
}

/* ---- the tests */

static void expect_stem(const char *label, const char *expected)
{
	char stem[CTX_TABLE_LABEL_SIZE];

	memset(stem, 'x', sizeof(stem));
	table_stem_of(label, stem);
	ck_assert_msg(strnlen(stem, sizeof(stem)) < sizeof(stem), "no end: \"%s\"", label);
	ck_assert_msg(!strcmp(stem, expected), "\"%s\" is \"%s\", not \"%s\"", label, stem, expected);
	for (size_t i = strlen(stem); i < sizeof(stem); i++)
		ck_assert_int_eq(stem[i], 0);
}

START_TEST(what_says_something_stays)
{
	static const char *const labels[] = {
		"",
		"/slow",
		"request",
		"GET /",
		"pool.worker",
		"h2",
		"v1",
		"utf8",
		"p99",
		"/v1/slow",
		"127.0.0.1",
		"[::1]",
		"to [::1]/",
		"a_b-c",
		"[fe80::1%eth0]",
		"cafe",
		"defaced",
		"feedface",
		"\xc3\xa4rger",
		"*",
		"a*b",
		"what?",
		"? no",
		"over 127.0.0.1/",
		"[]",
		"[:",
		"worker3",
		"   ",
	};

	for (size_t i = 0; i < sizeof(labels) / sizeof(*labels); i++)
		expect_stem(labels[i], labels[i]);
}
END_TEST

START_TEST(what_counts_is_a_star)
{
	static const char *const pairs[][2] = {
		{"conn 17", "conn *"},
		{"#17", "#*"},
		{"17", "*"},
		{"conn1234", "conn*"},
		{"/user/123/orders", "/user/*/orders"},
		{"/user/123/456", "/user/*/*"},
		{"/slow?x=1", "/slow?*"},
		{"GET /slow?x=1 HTTP/1.1", "GET /slow?* HTTP/*"},
		{"127.0.0.1:52144", "127.0.0.1:*"},
		{"[::1]:52144", "[::1]:*"},
		{"[2001:db8::17]:80 in", "[2001:db8::17]:* in"},
		{"1.2.3.4.5", "*"},
		{"1.2.3", "*"},
		{"300.2.3.4", "300.2.3.4"}, /* no address, but nobody needs to know */
		{"10.0.0.0/24", "10.0.0.0/*"},
		{"10ms", "*"},
		{"1.5s left", "* left"},
		{"0xdeadbeef", "*"},
		{"id=4bf92f3577b34da6", "id=*"},
		{"a1b2c3d4", "*"},
		{"123e4567-e89b-12d3-a456-4266141", "*"}, /* 31 bytes of a UUID */
		{"r 123e4567-e89b-12d3-a456-42661", "r *"},
		{"2026-12-01", "*"},
		{"2026-12-01 10:15:30", "*"},
		{"1 of 20", "* of *"},
		{"x=1&y=2", "x=*&y=*"},
		{"a 1, 2", "a *, *"},
		{"host:443", "host:*"},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		expect_stem(pairs[i][0], pairs[i][1]);
}
END_TEST

START_TEST(more_than_a_label_holds_is_left_out)
{
	expect_stem("a label that is longer than thirty-one bytes", "a label that is longer than thi");
	expect_stem("a label that is longer than th123", "a label that is longer than th1");
}
END_TEST

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 16;
}

/* A label of pieces and bytes that the rules know. It may be longer than what counts. */
static void make_label(uint64_t *state, char ret_label[64])
{
	static const char *const pieces[] = {
		"127.0.0.1", "1.2",   "[::1",	  "[fe80::1%eth0]", "]:80",    "123e4567", "-e89b",
		"-12d3",     "-a456", "cafebabe", "-426614174000",  "deadbee", "conn1234", "item/",
		"h2",	     "?x=",   "? ",	  "10ms",	    ", ",      "1.5",	   " ",
		"*",
	};
	static const char bytes[] = "0123456789abcdefgxyz/:.-_?[]%= \xff*";

	*ret_label = '\0';
	for (uint64_t left = next_random(state) % 8; left-- && strlen(ret_label) < 40;) {
		const char *piece = pieces[next_random(state) % (sizeof(pieces) / sizeof(*pieces))];
		if (next_random(state) % 2)
			strcat(ret_label, piece);
		for (uint64_t i = next_random(state) % 5; i > 0; i--)
			strncat(ret_label, &bytes[next_random(state) % (sizeof(bytes) - 1)], 1);
	}
}

/* Random labels: the one pass of table_stem_of() finds what the rules say, one by one. */
START_TEST(stem_is_what_the_rules_say)
{
	uint64_t state = 88172645463325252u + test_seed();

	for (unsigned round = 0; round < 200000; round++) {
		char label[64], expected[CTX_TABLE_LABEL_SIZE];
		make_label(&state, label);
		plain_stem_of(label, expected);
		expect_stem(label, expected);
		ck_assert_uint_le(strlen(expected), strlen(label));
	}
}
END_TEST

/* Other digits in place of those that are not in the stem change nothing in it. */
START_TEST(numbers_make_no_difference)
{
	uint64_t state = 88172645463325252u + test_seed();
	unsigned changed = 0;

	for (unsigned round = 0; round < 100000; round++) {
		char random[64], label[CTX_TABLE_LABEL_SIZE], other[CTX_TABLE_LABEL_SIZE];
		char stem[CTX_TABLE_LABEL_SIZE], numbers[CTX_TABLE_LABEL_SIZE];
		make_label(&state, random);
		table_copy_label(random, label);
		table_stem_with_numbers(label, stem, numbers);
		memcpy(other, label, sizeof(other));
		for (size_t i = 0; i < sizeof(other); i++)
			if (numbers[i])
				other[i] = (char)('0' + next_random(&state) % 10);
		expect_stem(other, stem);
		ck_assert(table_label_differs_in_numbers(other, label, numbers));
		changed += memcmp(other, label, sizeof(other)) != 0;
		/* Any other byte does. */
		size_t at = next_random(&state) % sizeof(other);
		char byte = (char)(next_random(&state) % 256);
		if (byte == other[at] || (numbers[at] && isdigit((unsigned char)byte)))
			continue;
		other[at] = byte;
		ck_assert(!table_label_differs_in_numbers(other, label, numbers));
	}
	ck_assert_uint_gt(changed, 10000);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("stem");
	TCase *stem = test_case(suite, "stem");

	tcase_add_test(stem, what_says_something_stays);
	tcase_add_test(stem, what_counts_is_a_star);
	tcase_add_test(stem, more_than_a_label_holds_is_left_out);
	tcase_add_test(stem, stem_is_what_the_rules_say);
	tcase_add_test(stem, numbers_make_no_difference);
	return suite;
}
