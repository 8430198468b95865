/* SPDX-License-Identifier: MIT */
/* What a label has in common with others. */
#include "stem.h"

#include <stdlib.h>
#include <string.h>

#include "support/harness.h"

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

/* Random labels of bytes that the rules know. */
START_TEST(stem_is_never_longer_than_its_label)
{
	static const char bytes[] = "0123456789abcdefgxyz/:.-_?[]%= \xff*";
	uint64_t state = 88172645463325252u;

	for (unsigned round = 0; round < 200000; round++) {
		char label[40], stem[CTX_TABLE_LABEL_SIZE], again[CTX_TABLE_LABEL_SIZE];
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		size_t length = state % sizeof(label);
		uint64_t random = state;
		for (size_t i = 0; i < length; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			label[i] = bytes[(random >> 33) % (sizeof(bytes) - 1)];
		}
		label[length ? length - 1 : 0] = '\0';
		table_stem_of(label, stem);
		ck_assert_uint_le(strlen(stem), strlen(label));
		table_stem_of(stem, again);
		ck_assert_msg(strlen(again) <= strlen(stem), "\"%s\", \"%s\", \"%s\"", label, stem, again);
	}
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("stem");
	TCase *stem = test_case(suite, "stem");

	tcase_add_test(stem, what_says_something_stays);
	tcase_add_test(stem, what_counts_is_a_star);
	tcase_add_test(stem, more_than_a_label_holds_is_left_out);
	tcase_add_test(stem, stem_is_never_longer_than_its_label);
	return suite;
}
