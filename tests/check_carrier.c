/* SPDX-License-Identifier: MIT */
/* The text forms of a context, apart from contexts: what is read back, and what is refused. */
#include <stdio.h>
#include <string.h>

#include "carrier.h"
#include "clock.h"
#include "support/harness.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

START_TEST(a_timeout_is_read_in_each_unit)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} cases[] = {
		{"1n", 1},
		{"99999999n", 99999999},
		{"5u", 5000},
		{"100m", 100000000},
		{"7S", 7 * NS_PER_SECOND},
		{"2M", 120 * NS_PER_SECOND},
		{"3H", 10800 * NS_PER_SECOND},
		{"0S", 0},
		{"00000001S", NS_PER_SECOND},
		{"99999999H", UINT64_MAX},
	};
	uint64_t ns = 5;

	ck_assert_ok(carrier_read_timeout(cases[_i].text, &ns));
	ck_assert_uint_eq(ns, cases[_i].ns);
}
END_TEST

START_TEST(a_malformed_timeout_is_refused)
{
	static const char *const texts[] = {"",	   "S",	  "1",	  "1s",		"-1S",	 "+1S", " 1S",
					    "1S ", "1SS", "1.5S", "123456789n", "1\xff", "1 S", "0x1S"};
	uint64_t ns = 5;

	ck_assert_int_eq(carrier_read_timeout(texts[_i], &ns), -EINVAL);
	ck_assert_uint_eq(ns, 5);
}
END_TEST

/* Goal: who receives it never has longer than the sender, and loses little: a unit of at least 10^5. */
START_TEST(a_written_timeout_is_as_long_or_a_little_shorter)
{
	uint64_t ns = 1, read_ns;
	char text[CARRIER_TIMEOUT_SIZE];

	for (unsigned bit = 0; bit < 64; bit++) {
		for (int around = -1; around <= 1; around++) {
			ns = (UINT64_C(1) << bit) + (uint64_t)(int64_t)around;
			if (!ns)
				continue;
			carrier_write_timeout(ns, text);
			ck_assert_ok(carrier_read_timeout(text, &read_ns));
			ck_assert_uint_le(read_ns, ns);
			ck_assert_uint_le(ns - read_ns, ns / 99999);
		}
	}
	carrier_write_timeout(0, text);
	ck_assert_str_eq(text, "1n");
}
END_TEST

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

START_TEST(a_traceparent_is_read_and_written_back)
{
	static const char *const texts[] = {"00-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-ff",
					    "cc-" TRACE "-" SPAN "-01",
					    "cc-" TRACE "-" SPAN "-01-what.is.new"};
	struct carrier_trace trace;
	char text[CARRIER_TRACEPARENT_SIZE];

	ck_assert_ok(carrier_read_traceparent(texts[_i], strlen(texts[_i]), &trace));
	carrier_write_traceparent(&trace, text);
	ck_assert_str_eq(text, "00-" TRACE "-" SPAN "-01");
}
END_TEST

/* Version 00 has one flag, and reserves the others: they are not passed on. */
START_TEST(of_the_flags_of_a_traceparent_one_is_kept)
{
	char text[] = "00-" TRACE "-" SPAN "-00", again[CARRIER_TRACEPARENT_SIZE];
	struct carrier_trace trace;

	for (unsigned flags = 0; flags < 256; flags++) {
		snprintf(text + 53, 3, "%02x", flags);
		ck_assert_ok(carrier_read_traceparent(text, strlen(text), &trace));
		carrier_write_traceparent(&trace, again);
		ck_assert_str_eq(again + 52, flags & 1 ? "-01" : "-00");
	}
}
END_TEST

START_TEST(a_malformed_traceparent_is_refused)
{
	static const char *const texts[] = {
		"",
		"00",
		"00-" TRACE "-" SPAN,
		"00-" TRACE "-" SPAN "-0",
		"00-" TRACE "-" SPAN "-01-",
		"00-" TRACE "-" SPAN "-01x",
		"cc-" TRACE "-" SPAN "-01x",
		"ff-" TRACE "-" SPAN "-01",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"00-" TRACE "-0000000000000000-01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
		"00-" TRACE "_" SPAN "-01",
		"0g-" TRACE "-" SPAN "-01",
		" 00-" TRACE "-" SPAN "-01",
	};
	struct carrier_trace trace;

	ck_assert_int_eq(carrier_read_traceparent(texts[_i], strlen(texts[_i]), &trace), -EINVAL);
}
END_TEST

/* All members as "name=decoded;", or "name!;" for one that is malformed; NULL for a list that is refused. */
static const char *members_of(const char *text,
			      int (*next)(const char **at, struct carrier_member *ret_member))
{
	static char all[1024];
	struct carrier_member member;
	int more;

	all[0] = '\0';
	while ((more = next(&text, &member)) > 0) {
		char decoded[512];
		bool well = !member.malformed && !carrier_decode(&member, decoded);
		snprintf(all + strlen(all), sizeof(all) - strlen(all), well ? "%.*s=%s;" : "%.*s!;",
			 (int)member.name_length, member.name, decoded);
	}
	return more ? NULL : all;
}

START_TEST(baggage_is_read)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"  ", ""},
		{"a=1", "a=1;"},
		{"a=1,b=2", "a=1;b=2;"},
		{" a = 1 ,\tb = 2 ", "a=1;b=2;"},
		{"a=1;property;other=x,b=", "a=1;b=;"},
		{"key=one%20two%2C%25", "key=one two,%;"},
		{"key=%c3%A4", "key=\xc3\xa4;"},
		{"a=b=c", "a=b=c;"},
		/* Of a list of HTTP empty members do not count. */
		{"a=1,", "a=1;"},
		{",a=1", "a=1;"},
		{"a=1,, ,b=2,", "a=1;b=2;"},
	};

	ck_assert_str_eq(members_of(cases[_i][0], carrier_next_baggage), cases[_i][1]);
}
END_TEST

START_TEST(a_malformed_member_of_baggage_is_one_member)
{
	static const char *const texts[][2] = {
		{"a", "a!;"},	       {"=1", "!;"},	 {"a b=1", "a b!;"},   {"a;b=1", "a!;"},
		{"a=%", "a!;"},	       {"a=%2", "a!;"},	 {"a=%2x", "a!;"},     {"a=%00", "a!;"},
		{"a=\"x\"", "a!;"},    {"a=x y", "a!;"}, {"a=\x01", "a!;"},    {"a=\x7f", "a!;"},
		{"a=\xc3\xa4", "a!;"}, {"(=1", "(!;"},	 {"\xff=1", "\xff!;"}, {"a=x\ty;p", "a!;"},
		{";", "!;"},
	};
	char list[64], expected[64];

	ck_assert_str_eq(members_of(texts[_i][0], carrier_next_baggage), texts[_i][1]);
	snprintf(list, sizeof(list), "first=1,%s,last=2", texts[_i][0]);
	snprintf(expected, sizeof(expected), "first=1;%slast=2;", texts[_i][1]);
	ck_assert_str_eq(members_of(list, carrier_next_baggage), expected);
}
END_TEST

START_TEST(fields_are_read_or_refused)
{
	static const char *const cases[][2] = {
		{"", ""},	    {"v=1", "v=1;"},	{"v=1;a=", "v=1;a=;"}, {"v=1;a=%3B", "v=1;a=;;"},
		{"v=1;", NULL},	    {";v=1", NULL},	{"v", NULL},	       {"v=1;b", NULL},
		{"v=1;;a=2", NULL}, {"v=1; a=2", NULL},
	};
	const char *members = members_of(cases[_i][0], carrier_next_field);

	if (cases[_i][1])
		ck_assert_str_eq(members, cases[_i][1]);
	else
		ck_assert_ptr_null(members);
}
END_TEST

static struct carrier_member value_of(const char *text)
{
	return (struct carrier_member){
		.name = "n", .name_length = 1, .value = text, .value_length = strlen(text)};
}

START_TEST(numbers_are_bounded)
{
	static const char *const refused[] = {
		"", "-1", "+1", "1 ", "0x1", "18446744073709551616", "99999999999999999999999"};
	static const char *const not_hex[] = {"", "g", "0x1", "A", "12345678901234567"};
	struct carrier_member member = value_of("18446744073709551615");
	uint64_t number;

	ck_assert_ok(carrier_read_number(&member, &number));
	ck_assert_uint_eq(number, UINT64_MAX);
	member = value_of("00000ff");
	ck_assert_ok(carrier_read_hex(&member, &number));
	ck_assert_uint_eq(number, 255);
	number = 5;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		member = value_of(refused[i]);
		ck_assert_int_eq(carrier_read_number(&member, &number), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(not_hex) / sizeof(not_hex[0]); i++) {
		member = value_of(not_hex[i]);
		ck_assert_int_eq(carrier_read_hex(&member, &number), -EINVAL);
	}
	ck_assert_uint_eq(number, 5);
}
END_TEST

/* Goal: any string comes back as it was. Method: all bytes but NUL. */
START_TEST(encoding_is_undone_by_decoding)
{
	char all[256], bytes[1024], decoded[1024];
	struct carrier_text text = {.bytes = bytes, .size = sizeof(bytes)};

	for (unsigned i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	carrier_put_encoded(&text, all);
	ck_assert(!text.too_long);
	for (size_t i = 0; i < text.length; i++)
		ck_assert(bytes[i] > ' ' && bytes[i] <= '~' && !strchr(",;=\"\\", bytes[i]));
	struct carrier_member member = value_of(bytes);
	ck_assert_ok(carrier_decode(&member, decoded));
	ck_assert_str_eq(decoded, all);
}
END_TEST

#define FFFD "\xef\xbf\xbd"

/* The cases of the Unicode Standard, 3.9: each part that could have become a character is replaced as one. */
START_TEST(what_is_not_utf8_is_replaced)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"plain", "plain"},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"\xff", FFFD},
		{"a\xff\xfe"
		 "b",
		 "a" FFFD FFFD "b"},
		{"\x80", FFFD},
		{"\xc3", FFFD},
		{"\xc3x", FFFD "x"},
		{"\xe2\x82", FFFD},
		{"\xe2\x82z", FFFD "z"},
		{"\xf0\x9f\x98", FFFD},
		{"\xf0\x9f\x98\xc3\xa4", FFFD "\xc3\xa4"},
		{"\xc0\xaf", FFFD FFFD},	  /* overlong */
		{"\xe0\x80\xaf", FFFD FFFD FFFD}, /* overlong */
		{"\xf0\x80\x80\xaf", FFFD FFFD FFFD FFFD},
		{"\xed\xa0\x80", FFFD FFFD FFFD},	   /* a surrogate */
		{"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD}, /* beyond the last one */
		{"\xf5\x80", FFFD FFFD},
		{"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80", "\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80"},
	};
	char bytes[64] = "";
	struct carrier_text text = {.bytes = bytes, .size = sizeof(bytes)};

	carrier_put_utf8(&text, cases[_i][0]);
	ck_assert(!text.too_long);
	ck_assert_str_eq(bytes, cases[_i][1]);
}
END_TEST

START_TEST(what_does_not_fit_is_left_out_and_said)
{
	char bytes[8];
	struct carrier_text text = {.bytes = bytes, .size = sizeof(bytes)};

	carrier_put_string(&text, "1234567");
	ck_assert(!text.too_long);
	ck_assert_str_eq(bytes, "1234567");
	carrier_put_string(&text, "8");
	ck_assert(text.too_long);
	carrier_put_string(&text, "");
	ck_assert(text.too_long);
	ck_assert_str_eq(bytes, "1234567");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("carrier");
	TCase *forms = test_case_cold(suite, "forms");

	tcase_add_loop_test(forms, a_timeout_is_read_in_each_unit, 0, 10);
	tcase_add_loop_test(forms, a_malformed_timeout_is_refused, 0, 14);
	tcase_add_test(forms, a_written_timeout_is_as_long_or_a_little_shorter);
	tcase_add_loop_test(forms, a_traceparent_is_read_and_written_back, 0, 4);
	tcase_add_loop_test(forms, a_malformed_traceparent_is_refused, 0, 14);
	tcase_add_test(forms, of_the_flags_of_a_traceparent_one_is_kept);
	tcase_add_loop_test(forms, baggage_is_read, 0, 12);
	tcase_add_loop_test(forms, a_malformed_member_of_baggage_is_one_member, 0, 17);
	tcase_add_loop_test(forms, what_is_not_utf8_is_replaced, 0, 19);
	tcase_add_loop_test(forms, fields_are_read_or_refused, 0, 10);
	tcase_add_test(forms, numbers_are_bounded);
	tcase_add_test(forms, encoding_is_undone_by_decoding);
	tcase_add_test(forms, what_does_not_fit_is_left_out_and_said);
	return suite;
}
