/* SPDX-License-Identifier: MIT */
/* Causes in words: ctx_cause_kind_name() and ctx_format_cause(). */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

static const char *words_of(const struct ctx_cause *cause)
{
	static char buffer[400];
	int length = ctx_format_cause(cause, buffer, sizeof(buffer));

	ck_assert_int_eq(length, (int)strlen(buffer));
	return buffer;
}

START_TEST(each_kind_has_one_word)
{
	static const char *const words[] = {"none",    "call",	  "deadline", "signal",
					    "hangup",  "process", "pressure", "owner",
					    "service", "fd",	  "host",     "unreachable"};

	for (unsigned kind = 0; kind < sizeof(words) / sizeof(words[0]); kind++)
		ck_assert_str_eq(ctx_cause_kind_name(kind), words[kind]);
	ck_assert_str_eq(ctx_cause_kind_name(CTX_CAUSE_UNREACHABLE + 1), "unknown");
	ck_assert_str_eq(ctx_cause_kind_name((enum ctx_cause_kind) - 1), "unknown");
}
END_TEST

START_TEST(each_kind_has_its_sentence)
{
	static const struct {
		struct ctx_cause cause;
		const char *words;
	} table[] = {
		{{0}, "it is not done"},
		{{.kind = CTX_CAUSE_CALL}, "cancelled by a call"},
		{{.kind = CTX_CAUSE_CALL, .tid = 7, .site = (void *)0x1234, .text = "left"},
		 "cancelled by a call in thread 7 at 0x1234: left"},
		{{.kind = CTX_CAUSE_CALL,
		  .tid = 7,
		  .pid = 999999999,
		  .inherited = true,
		  .error = -ECONNRESET},
		 "inherited: cancelled by a call in thread 7 of process 999999999, ECONNRESET"},
		{{.kind = CTX_CAUSE_DEADLINE, .error = -ETIME, .inherited = true, .ctx_id = 12 | 3ull << 32},
		 "inherited from 12.3: its deadline passed"},
		{{.kind = CTX_CAUSE_DEADLINE, .error = -EIO}, "its deadline passed, EIO"},
		{{.kind = CTX_CAUSE_SIGNAL, .code = SIGTERM, .error = -ECANCELED}, "signal SIGTERM"},
		{{.kind = CTX_CAUSE_SIGNAL, .code = 9999}, "signal 9999"},
		{{.kind = CTX_CAUSE_HANGUP, .code = POLLHUP | POLLRDHUP},
		 "the peer hung up (POLLHUP|POLLRDHUP)"},
		{{.kind = CTX_CAUSE_HANGUP}, "the peer hung up"},
		{{.kind = CTX_CAUSE_FD, .code = POLLIN | 0x8000},
		 "the descriptor became ready (POLLIN|0x8000)"},
		{{.kind = CTX_CAUSE_PROCESS, .code = 3 << 8}, "the process ended with exit code 3"},
		{{.kind = CTX_CAUSE_PROCESS, .code = SIGKILL}, "the process was killed by SIGKILL"},
		{{.kind = CTX_CAUSE_PROCESS, .code = -1}, "the process ended"},
		{{.kind = CTX_CAUSE_PRESSURE, .code = CTX_RESOURCE_MEMORY}, "memory pressure"},
		{{.kind = CTX_CAUSE_PRESSURE, .code = CTX_RESOURCE_CPU}, "CPU pressure"},
		{{.kind = CTX_CAUSE_PRESSURE, .code = CTX_RESOURCE_IO}, "I/O pressure"},
		{{.kind = CTX_CAUSE_OWNER, .pid = 12}, "the owner process 12 is gone, or released it"},
		{{.kind = CTX_CAUSE_OWNER}, "the owner is gone, or released it"},
		{{.kind = CTX_CAUSE_SERVICE, .pid = 99, .host = "b", .text = "over"},
		 "cancelled through the service by process 99 on host b: over"},
		{{.kind = CTX_CAUSE_HOST, .host = "b"}, "its host b is gone, or has forgotten it"},
		{{.kind = CTX_CAUSE_UNREACHABLE}, "its host could not be asked"},
		{{.kind = 77}, "a cause of the unknown kind 77"},
		{{.kind = CTX_CAUSE_DEADLINE, .error = -9999}, "its deadline passed, error -9999"},
		{{.kind = CTX_CAUSE_DEADLINE, .text = "a\nb\x1b[1m \xc3\xa4"},
		 "its deadline passed: a?b?[1m \xc3\xa4"},
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_str_eq(words_of(&table[i].cause), table[i].words);
}
END_TEST

START_TEST(cause_of_a_context_names_the_call)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_context *child = child_of(ctx);
	char wanted[300];

	ck_assert_str_eq(words_of(&(struct ctx_cause){0}), "it is not done");
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "the client left"));
	struct ctx_cause cause = cause_of(ctx);
	snprintf(wanted, sizeof(wanted), "cancelled by a call in thread %ld at %p, EPIPE: the client left",
		 syscall(SYS_gettid), cause.site);
	ck_assert_str_eq(words_of(&cause), wanted);
	cause = cause_of(child);
	ck_assert_int_eq(strncmp(words_of(&cause), "inherited", 9), 0);
	ck_assert_ptr_nonnull(strstr(words_of(&cause), wanted));
	ctx_unref(child);
	ctx_unref(ctx);
}
END_TEST

START_TEST(line_is_cut_as_snprintf_cuts)
{
	struct ctx_cause cause = {.kind = CTX_CAUSE_DEADLINE};
	char buffer[8];

	memset(cause.text, 'x', sizeof(cause.text)); /* without a NUL */
	memset(cause.host, 'h', sizeof(cause.host));
	int length = ctx_format_cause(&cause, NULL, 0);
	ck_assert_int_eq(length,
			 (int)strlen("its deadline passed on host : ") + CTX_CAUSE_TEXT_MAX + CTX_HOST_MAX);
	ck_assert_int_eq(ctx_format_cause(&cause, buffer, sizeof(buffer)), length);
	ck_assert_str_eq(buffer, "its dea");
	ck_assert_int_eq(ctx_format_cause(NULL, buffer, sizeof(buffer)), -EINVAL);
	ck_assert_int_eq(ctx_format_cause(&cause, NULL, 1), -EINVAL);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("format_cause");
	TCase *words = test_case(suite, "words");

	tcase_add_test(words, each_kind_has_one_word);
	tcase_add_test(words, each_kind_has_its_sentence);
	tcase_add_test(words, cause_of_a_context_names_the_call);
	tcase_add_test(words, line_is_cut_as_snprintf_cuts);
	return suite;
}
