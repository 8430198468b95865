/* SPDX-License-Identifier: MIT */
/*
 * The language of selection: what an expression selects, and what is said about one with a mistake, at which
 * place. The files that read and evaluate it are a part of this program, and need nothing else.
 */
#include "support/harness.h"

#include "../tools/select/pattern.c"
#include "../tools/select/selection_match.c"
#include "../tools/select/selection_names.c"
#include "../tools/select/selection_parse.c"
#include "../tools/text/duration.c"
#include "../tools/text/names.c"
#include "../tools/text/terminal.c"

TEST_HOLDS("files of tools/select");

#define SECOND 1000000000ull

static const struct selection_operation operations[] = {
	{.opcode = 27 /* RECV */, .fd = 7},
	{.opcode = 6 /* POLL_ADD */, .fd = 9, .flags = CTX_TABLE_OP_STUCK},
	{.opcode = 22 /* READ */, .fd = 3, .flags = CTX_TABLE_OP_FIXED_FILE},
};

static unsigned described;

static const char *user_name_of(uid_t uid)
{
	return uid == 33 ? "www-data" : uid == 0 ? "root" : "4711";
}

static bool next_operation_of(const struct selection_facts *facts, uint32_t *position,
			      struct selection_operation *ret_operation)
{
	if (*position == facts->operation_count)
		return false;
	*ret_operation = operations[(*position)++];
	return true;
}

static const char *describe_fd_of(const struct selection_facts *facts, int fd)
{
	(void)facts;
	described++;
	return fd == 7 ? "tcp 127.0.0.1:80 -> 127.0.0.1:5432 ESTABLISHED" : "pipe";
}

static struct selection_facts slow(void)
{
	return (struct selection_facts){.pid = 12,
					.uid = 33,
					.comm = "nginx: worker",
					.label = "GET /slow?x=1",
					.slot = 3,
					.generation = 4,
					.live = true,
					.age_ns = 7 * SECOND,
					.left_ns = SECOND / 2,
					.kind = CTX_TABLE_DEADLINE,
					.operation_count = 3,
					.user_name = user_name_of,
					.next_operation = next_operation_of,
					.describe_fd = describe_fd_of};
}

static struct selection_facts gone(void)
{
	struct selection_facts facts = slow();

	facts.uid = 4711;
	facts.label = "";
	facts.live = false;
	facts.error = -ECONNRESET;
	facts.left_ns = SELECTION_NO_DEADLINE;
	facts.kind = CTX_TABLE_MOVABLE;
	facts.cause = CTX_CAUSE_OWNER;
	facts.cause_text = "client \"a\" went\naway";
	facts.operation_count = 0;
	return facts;
}

static struct selection *parsed(const char *text)
{
	struct selection_error error;
	struct selection *selection;
	int result = selection_parse(text, &selection, &error);

	ck_assert_msg(result == 0, "%s: refused at %zu: %s", text, error.offset, error.message);
	return selection;
}

static void expect(const char *text, const struct selection_facts *facts, bool expected)
{
	struct selection *selection = parsed(text);
	bool matches = selection_matches(selection, facts);

	ck_assert_msg(matches == expected, "%s: %s", text, matches ? "selected" : "not selected");
	selection_free(selection);
}

static const char *const of_slow[] = {
	"pid=12",
	"pid=1,12",
	"pid = 12",
	"pid!=13",
	"pid == 12",
	"not pid=13",
	"12",
	"12:3.4",
	"3.4",
	"id=3.4",
	"id=1:3.4,12:3.4",
	"id!=12:3.5",
	"comm=nginx*",
	"comm=\"nginx: worker\"",
	"comm='nginx: worker'",
	"comm~worker",
	"comm!~master",
	"comm=nginx:?worker",
	"user=www-data",
	"user=33",
	"user=www-*",
	"user=root,www-data",
	"user!=root",
	"user~data",
	"label=\"GET /slow?x=1\"",
	"label=\"GET /slow\"*",
	"label=GET\\ /slow*",
	"label~/slow",
	"label~slow\\?x",
	"label=*",
	"label!=''",
	"\"GET /slow?x=1\"",
	"state=live",
	"state=due|live",
	"state=stuck",
	"state!=due,done",
	"kind=deadline",
	"kind!=value",
	"cause=none",
	"error!=ECANCELED",
	"age>5s",
	"age>=7s",
	"age<=7s",
	"age<1m",
	"older=5s",
	"older=7s",
	"younger=8s",
	"left<1s",
	"left>400ms",
	"left!=none",
	"op=RECV",
	"op=recv",
	"op=POLL_*",
	"op=SEND,READ",
	"op!=WRITE",
	"ops=3",
	"ops>2",
	"ops>=3",
	"ops<10",
	"ops=1|3",
	"fd=7",
	"fd=9,100",
	"fd!=3",
	"fd~:5432",
	"fd~tcp*ESTAB",
	"fd!~unix",
	"pid=12 and ops=3",
	"pid=12 ops=3",
	"pid=1 or ops=3",
	"pid=12 or pid=1 and pid=2",
	"(pid=1 or pid=12) and ops=3",
	"not (pid=1 or pid=2)",
	"not not pid=12",
	"!pid=1",
	"! ( pid=1 )",
	"NOT pid=1 AND ops=3",
	"12 state=live",
	"pid=12 (ops=1 or ops=3)",
	"pid=1, 12",
	"label=or or pid=12",
	" pid=12\n",
	"not(pid=1)and(ops=3)",
	"not pid=1 or pid=2",
	"label=and or label~GET",
};

static const char *const not_of_slow[] = {
	"pid=1",
	"pid!=12",
	"13",
	"12:3.5",
	"13:3.4",
	"comm=nginx",
	"comm=NGINX*",
	"comm=\\*",
	"user=root",
	"user=3",
	"user!=www-data",
	"label=GET",
	"label=\"GET /slow\"",
	"label='GET /slow\\?x=2'",
	"label=''",
	"label!=*",
	"label~slow\\*",
	"state=done",
	"state=due",
	"state=draining",
	"state=cancelled",
	"state!=live",
	"kind=movable-deadline",
	"cause=owner",
	"cause~a",
	"error=ETIME",
	"age>7s",
	"age<7s",
	"older=8s",
	"younger=7s",
	"left>1s",
	"left=none",
	"op=SEND",
	"op!=RECV",
	"ops=4",
	"ops<3",
	"fd=3",
	"fd=8",
	"fd!=7",
	"fd~5433",
	"not pid=12",
	"pid=12 and not ops=3",
	"not (pid=12 or pid=1)",
	"pid=12 and (pid=1 or pid=2)",
	"not (not pid=1)",
	"not pid=12 or pid=1",
};

static const char *const of_gone[] = {
	"state=done",
	"state!=live",
	"error=ECONNRESET",
	"error=econn*",
	"cause=owner",
	
	"cause=owner*",
	"cause~went",
	"cause~'went\\x0aaway'",
	"kind=movable*",
	"kind='movable deadline'",
	"label=\"\"",
	"label=*",
	"left=none",
	"not left<1h",
	"not left>0s",
	"user=4711",
	"user=47*",
	"ops=0",
	"op!=RECV",
	"fd!=7",
	"state!=stuck",
};

static const char *const not_of_gone[] = {
	"state=live",  "state=cancelled", "state=expired",	 "state=draining",
	"state=stuck", "error=ETIME",	  "cause=call,deadline", "cause~gone",
	"left<1h",     "left>0s",	  "left!=none",		 "op=*",
	"fd~*",	       "label=?*",
};

START_TEST(an_expression_selects_what_it_says)
{
	struct selection_facts live = slow(), done = gone();

	for (size_t i = 0; i < sizeof(of_slow) / sizeof(of_slow[0]); i++)
		expect(of_slow[i], &live, true);
	for (size_t i = 0; i < sizeof(not_of_slow) / sizeof(not_of_slow[0]); i++)
		expect(not_of_slow[i], &live, false);
	for (size_t i = 0; i < sizeof(of_gone) / sizeof(of_gone[0]); i++)
		expect(of_gone[i], &done, true);
	for (size_t i = 0; i < sizeof(not_of_gone) / sizeof(not_of_gone[0]); i++)
		expect(not_of_gone[i], &done, false);
}
END_TEST

START_TEST(states_are_told_apart)
{
	struct selection_facts facts = slow();

	facts.left_ns = 0;
	expect("state=due", &facts, true);
	expect("left<1ns", &facts, true);
	facts.operation_count = 1;
	expect("state=stuck", &facts, false);
	facts = gone();
	facts.error = -ECANCELED;
	expect("state=cancelled", &facts, true);
	expect("state=done", &facts, true);
	expect("state=expired", &facts, false);
	facts.error = -ETIME;
	facts.operation_count = 1;
	expect("state=expired", &facts, true);
	expect("state=done", &facts, true);
	expect("state=draining", &facts, true);
	expect("state=due", &facts, false);
}
END_TEST

START_TEST(a_label_is_found_as_it_is_and_as_it_is_shown)
{
	struct selection_facts facts = slow();

	facts.label = "a\033\\b*";
	expect("label=a\\x1b\\\\b\\*", &facts,
	       false); /* "\\" is one backslash, of which the listing shows two */
	expect("label='a\\x1b\\\\\\\\b\\*'", &facts, true);
	expect("label=a\033\\b\\*", &facts, true);
	expect("label=a*b\\*", &facts, true);
	expect("label=a*b\\?", &facts, false);
	facts.label = "gr\303\274n";
	expect("label=gr?n", &facts, true);
	expect("label=gr??n", &facts, false);
}
END_TEST

START_TEST(descriptors_are_described_only_if_that_is_asked)
{
	struct selection_facts facts = slow();

	described = 0;
	expect("fd=7 or op=RECV", &facts, true);
	expect("pid=1 and fd~tcp", &facts, false);
	ck_assert_uint_eq(described, 0);
	expect("fd~tcp", &facts, true);
	ck_assert_uint_eq(described, 1);
}
END_TEST

/* The offset is that of the "^" in the line below the text. */
static const struct {
	const char *text, *place, *message;
} mistakes[] = {
	{"", "^", "a test is missing here"},
	{"  ", "  ^", "a test is missing here"},
	{"lable=x", "^", "unknown key 'lable'; did you mean 'label'?"},
	{"pid=1 and stat=live", "          ^", "unknown key 'stat'; did you mean 'state'?"},
	{"colour=red", "^",
	 "unknown key 'colour'; there are pid, comm, user, id, label, state, kind, cause, error, age, older, "
	 "younger, left, op, ops and fd"},
	{"pid=1 and", "         ^", "a test is missing here"},
	{"pid=1 or or pid=2", "         ^", "a test is missing here"},
	{"and pid=1", "^", "a test is missing here"},
	{"not", "   ^", "a test is missing here"},
	{"()", " ^", "a test is missing here"},
	{"(pid=1", "^", "the parenthesis is not closed"},
	{"pid=1 and (pid=2 or (pid=3)", "          ^", "the parenthesis is not closed"},
	{"pid=1)", "     ^", "this parenthesis closes nothing"},
	{"pid=", "    ^", "a value is missing here; \"\" is an empty one"},
	{"pid=1,", "      ^", "a value is missing here; \"\" is an empty one"},
	{"label= and pid=1", "       ^", "a value is missing here; \"\" is an empty one"},
	{"pid=one", "    ^", "'one' is no number"},
	{"pid=99999999999", "    ^", "'99999999999' is no number"},
	{"ops>-1", "    ^", "'-1' is no number"},
	{"pid<5", "   ^", "'pid' is followed by = or !="},
	{"age=5s", "   ^", "'age' is followed by < <= > or >="},
	{"age~5", "   ^", "'age' is followed by < <= > or >="},
	{"older>5s", "     ^", "'older' is followed by ="},
	{"ops~5", "   ^", "'ops' is followed by < <= > or >=, or = or !="},
	{"label>a", "     ^", "'label' is followed by = or !=, or ~ or !~ for a part of it"},
	{"label=~a", "     ^", "'label' is followed by = or !=, or ~ or !~ for a part of it"},
	{"label", "     ^", "'label' is followed by = or !=, or ~ or !~ for a part of it"},
	{"=5", "^", "a key is missing before this"},
	{"older=5x", "      ^", "'5x' is no duration; write it as 250ms, 5s or 1m30s"},
	{"left=5s", "     ^", "after 'left=' stands none; times are compared by < or >"},
	{"state=alive", "      ^", "'alive' is no state; did you mean 'live'?"},
	{"state=live|xyz", "           ^",
	 "'xyz' is no state; there are live, cancelled, expired, done, due, draining, stuck"},
	{"kind=dedline", "     ^", "'dedline' is no kind; did you mean 'deadline'?"},
	{"op=RCEV", "   ^", "'RCEV' is no op; did you mean 'RECV'?"},
	{"op=FLY_AWAY", "   ^", "'FLY_AWAY' is no operation; give a name such as RECV or POLL_*"},
	{"op=XY*", "   ^", "'XY*' is no operation; give a name such as RECV or POLL_*"},
	{"error=ETIMEOUT", "      ^", "'ETIMEOUT' is no error; did you mean 'ETIMEDOUT'?"},
	{"error=oops", "      ^", "'oops' is no error; give a name such as ECONNRESET"},
	{"id=12", "   ^", "'12' is no id as ls prints it: PID:SLOT.GENERATION"},
	{"id=1:2.3.4", "   ^", "'1:2.3.4' is no id as ls prints it: PID:SLOT.GENERATION"},
	{"id=1:2:3", "   ^", "'1:2:3' is no id as ls prints it: PID:SLOT.GENERATION"},
	{"label=\"GET", "      ^", "the quote is not closed"},
	{"label=f(x)", "       ^", "a parenthesis within a value is quoted"},
	{"label=GET /slow", "          ^",
	 "'and' or 'or' is missing here; a value with blanks is quoted: label=\"GET /\""},
	{"1 2", "  ^", "'and' or 'or' is missing here; a value with blanks is quoted: label=\"GET /\""},
	{"1,2", " ^", "several values stand behind a key: label=A,B; or write 'or'"},
	{"label=\"a\033\" x", "           ^",
	 "'and' or 'or' is missing here; a value with blanks is quoted: label=\"GET /\""},
	{"x\033=1", " ^", NULL},
};

START_TEST(a_mistake_is_told_with_its_place)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct selection_error error;
		struct selection *selection;
		int result = selection_parse(mistakes[i].text, &selection, &error);

		/* Not a mistake: a label that has this. */
		if (!mistakes[i].message) {
			ck_assert_ok(result);
			selection_free(selection);
			continue;
		}
		ck_assert_msg(result == -EINVAL, "%s is accepted", mistakes[i].text);
		ck_assert_ptr_null(selection);
		ck_assert_str_eq(error.message, mistakes[i].message);
		ck_assert_msg(error.offset == strlen(mistakes[i].place) - 1, "%s: at %zu: %s",
			      mistakes[i].text, error.offset, error.message);
	}
}
END_TEST

static void expect_refused(const char *text, const char *message)
{
	struct selection_error error;
	struct selection *selection;

	ck_assert_int_eq(selection_parse(text, &selection, &error), -EINVAL);
	ck_assert_str_eq(error.message, message);
	ck_assert_uint_le(error.offset, strlen(text));
}

START_TEST(size_and_depth_are_bounded)
{
	char text[2 * SELECTION_TEXT_MAX] = "";
	struct selection_facts facts = slow();

	memset(text, ' ', SELECTION_TEXT_MAX - 1);
	text[SELECTION_TEXT_MAX - 1] = 'a';
	expect(text, &facts, false);
	text[SELECTION_TEXT_MAX] = 'b';
	expect_refused(text, "longer than 4096 bytes");

	char *end = text;
	for (int i = 0; i < SELECTION_DEPTH_MAX; i++)
		end = stpcpy(end, "not (");
	end = stpcpy(end, "pid=12");
	for (int i = 0; i < SELECTION_DEPTH_MAX; i++)
		end = stpcpy(end, ")");
	expect(text, &facts, true);
	memmove(text + 1, text, strlen(text) + 1);
	text[0] = '(';
	expect_refused(text, "nested deeper than 32");

	end = stpcpy(text, "pid=12");
	for (int i = 1; i < SELECTION_TESTS_MAX; i++)
		end = stpcpy(end, i % 2 ? " or pid=1" : " pid=1");
	expect(text, &facts, true);
	strcpy(end, " pid=1");
	expect_refused(text, "more than 256 tests");
}
END_TEST

static void expect_joined(char *const *operands, int count, const char *expected)
{
	char *text = selection_join(operands, count);

	ck_assert_str_eq(text, expected);
	free(text);
}

START_TEST(operands_make_one_expression)
{
	struct selection_facts facts = slow();

	expect_joined((char *[]){"pid=12", "and", "(state=live", "or", "ops", ">", "3)"}, 7,
		      "pid=12 and (state=live or ops > 3)");
	expect_joined((char *[]){"GET /slow?x=1", "12:3.4", "a\\b\"c"}, 3,
		      "\"GET /slow?x=1\" or 12:3.4 or \"a\\\\b\\\"c\"");
	expect_joined((char *[]){"label=GET /slow"}, 1, "label=GET /slow");
	expect_joined((char *[]){"GET /slow?x=1", "or", "pid=1"}, 3, "\"GET /slow?x=1\" or pid=1");
	expect_joined(NULL, 0, "");
	char *text = selection_join((char *[]){"nobody", "GET /slow?x=1"}, 2);
	expect(text, &facts, true);
	free(text);
	ck_assert(selection_is_word("GET /slow?x=1"));
	ck_assert(selection_is_word("127.0.0.1:80"));
	ck_assert(selection_is_word("notable"));
	ck_assert(!selection_is_word("lable=x"));
	ck_assert(!selection_is_word("not /slow"));
	ck_assert(!selection_is_word("(/slow"));
	ck_assert(!selection_is_word(""));
}
END_TEST

START_TEST(what_is_not_known_cannot_be_asked)
{
	struct selection *selection = parsed("pid=1 and (label=x or fd~:80)");
	struct selection_error error;

	ck_assert(selection_asks(selection, SELECTION_FD));
	ck_assert(!selection_asks(selection, SELECTION_OP));
	ck_assert_ok(selection_check_keys(selection, SELECTION_ALL_KEYS, "it", &error));
	ck_assert_int_eq(selection_check_keys(selection, SELECTION_ALL_KEYS & ~(1u << SELECTION_FD),
					      "an entry of the service", &error),
			 -EINVAL);
	ck_assert_uint_eq(error.offset, 22);
	ck_assert_str_eq(error.message, "'fd' is not known of an entry of the service");
	selection_free(selection);
	ck_assert(selection_matches(NULL, &(struct selection_facts){0}));
	ck_assert_ok(selection_check_keys(NULL, 0, "it", &error));
}
END_TEST

START_TEST(patterns_take_no_longer_than_text_and_pattern_allow)
{
	char text[4000], pattern[200];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (size_t i = 0; i < sizeof(pattern) - 2; i += 2)
		memcpy(pattern + i, "*a", 2);
	strcpy(pattern + sizeof(pattern) - 2, "b");
	ck_assert(!pattern_matches(pattern, text));
	ck_assert(pattern_matches("*a*a", text));
	ck_assert(pattern_matches("", ""));
	ck_assert(!pattern_matches("", "a"));
	ck_assert(pattern_matches("\\", "\\"));
}
END_TEST

TEST_MODES(TEST_NORMAL | TEST_ASAN);

Suite *test_suite(void)
{
	Suite *suite = suite_create("selection");
	TCase *language = test_case(suite, "language");

	tcase_add_test(language, an_expression_selects_what_it_says);
	tcase_add_test(language, states_are_told_apart);
	tcase_add_test(language, a_label_is_found_as_it_is_and_as_it_is_shown);
	tcase_add_test(language, descriptors_are_described_only_if_that_is_asked);
	tcase_add_test(language, a_mistake_is_told_with_its_place);
	tcase_add_test(language, size_and_depth_are_bounded);
	tcase_add_test(language, operands_make_one_expression);
	tcase_add_test(language, what_is_not_known_cannot_be_asked);
	tcase_add_test(language, patterns_take_no_longer_than_text_and_pattern_allow);
	return suite;
}
