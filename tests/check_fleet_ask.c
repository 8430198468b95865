/* SPDX-License-Identifier: MIT */
/*
 * The calls about the fleet, against a service that the test plays: what they ask, what they make of an
 * answer, and that nothing comes of an answer that is none.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "record_file.h"
#include "support/played.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

/* What the played service answers, and what it was asked. */
static struct {
	struct wire_message asked;
	struct wire_message answer;
	int fd; /* goes with the answer; -1: none does */
} script;

/* Waits until the client hangs up. */
static void hear_out(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, 0) > 0)
		;
	close(fd);
}

static void play_answer(struct played *played)
{
	int fd = played_greet(played);

	script.asked = played_get_type(fd, WIRE_ASK);
	script.answer.serial = script.asked.serial;
	played_put(fd, &script.answer, &script.fd, script.fd >= 0);
	if (script.fd >= 0)
		close(script.fd);
	hear_out(fd);
}

/* A client of a service that answers one question with that message and, unless it is -1, that descriptor. */
static struct ctxd_client *client_of_answer(struct played *played, struct wire_message answer, int fd)
{
	script.answer = answer;
	script.fd = fd;
	played_start_fleet(played, NS_PER_SECOND, play_answer);
	return played_client(played, CTXD_OWN_DISPATCH, NULL, NULL);
}

static void end_of_answer(struct played *played, struct ctxd_client *client)
{
	ctxd_close(client);
	played_end(played);
}

static const struct wire_message told = {.type = WIRE_TOLD};

static struct wire_message refusal(int error)
{
	return (struct wire_message){.type = WIRE_RESULT, .result = {.error = error}};
}

/* ---- records */

static struct record_file file_open(void)
{
	struct record_file file;

	ck_assert_ok(record_file_open(&file, UINT64_MAX));
	return file;
}

static int file_end(struct record_file *file)
{
	int fd = record_file_seal(file);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void put_host(struct record_file *file, uint32_t list, const char *name, enum ctxd_host_state state)
{
	struct wire_record record = {.kind = WIRE_RECORD_HOST, .list = list, .host = {.state = state}};

	strcpy(record.host.name, name);
	ck_assert_ok(record_file_add(file, &record));
}

static void put_entry(struct record_file *file, uint32_t list, uint64_t number)
{
	struct wire_record record = {
		.kind = WIRE_RECORD_ENTRY, .list = list, .entry = {.kind = CTXD_SHARED, .id = {1, number}}};

	ck_assert_ok(record_file_add(file, &record));
}

static void put_report(struct record_file *file, const char *host, int error)
{
	struct wire_record record = {.kind = WIRE_RECORD_REPORT, .report = {.error = error}};

	strcpy(record.report.host, host);
	ck_assert_ok(record_file_add(file, &record));
}

static void put_finding(struct record_file *file, const char *key)
{
	struct wire_record record = {.kind = WIRE_RECORD_FINDING,
				     .finding = {.severity = CTXD_FINDING_WARNING}};

	strcpy(record.finding.key, key);
	ck_assert_ok(record_file_add(file, &record));
}

/* ---- what was visited, as a line of text */

struct visits {
	char text[400];
	unsigned count, end_after; /* end_after: 0: never */
};

static int note(struct visits *visits, const char *what)
{
	strcat(visits->text, what);
	strcat(visits->text, " ");
	return ++visits->count == visits->end_after ? 77 : 0;
}

static int visit_host(const struct ctxd_host *host, void *data)
{
	return note(data, host->name);
}

static int visit_listed(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data)
{
	char what[100];

	if (!entry)
		return note(data, host->name);
	snprintf(what, sizeof(what), "%s/%u", host->name, (unsigned)entry->id.number);
	return note(data, what);
}

static int visit_report(const struct ctxd_host_report *report, void *data)
{
	char what[100];

	snprintf(what, sizeof(what), "%s:%d", report->host, report->error);
	return note(data, what);
}

static int visit_finding(const struct ctxd_finding *finding, void *data)
{
	return note(data, finding->key);
}

/* ---- answers */

START_TEST(hosts_come_with_this_one_first_and_the_others_by_name)
{
	struct played played;
	struct visits visits = {0};
	struct record_file file = file_open();

	put_host(&file, 0, "b", CTXD_HOST_ALIVE);
	put_host(&file, 0, "c", CTXD_HOST_SELF);
	put_host(&file, 0, "a", CTXD_HOST_SILENT);
	struct ctxd_client *client = client_of_answer(&played, told, file_end(&file));
	ck_assert_ok(ctxd_fleet_hosts(client, 5, visit_host, &visits));
	ck_assert_str_eq(visits.text, "c a b ");
	end_of_answer(&played, client);
	ck_assert_uint_eq(script.asked.ask.question, WIRE_ASK_HOSTS);
	ck_assert_uint_eq(script.asked.ask.wait_ns, 5);
	ck_assert_str_eq(script.asked.ask.host, "");
}
END_TEST

START_TEST(a_list_has_its_hosts_and_the_entries_of_their_last_lists)
{
	struct played played;
	struct visits visits = {0};
	struct record_file file = file_open();

	put_entry(&file, 9, 1);
	put_entry(&file, 3, 2); /* of a list of b that began anew as list 4 */
	put_entry(&file, 4, 3);
	put_host(&file, 4, "b", CTXD_HOST_ALIVE);
	put_entry(&file, 9, 4);
	put_host(&file, 0, "s", CTXD_HOST_SILENT);
	put_host(&file, 9, "z", CTXD_HOST_SELF);
	struct ctxd_client *client = client_of_answer(&played, told, file_end(&file));
	ck_assert_ok(ctxd_fleet_list(client, "b", CTXD_SHARED, 6, visit_listed, &visits));
	ck_assert_str_eq(visits.text, "z b s z/1 b/3 z/4 ");
	end_of_answer(&played, client);
	ck_assert_uint_eq(script.asked.ask.question, WIRE_ASK_LIST);
	ck_assert_uint_eq(script.asked.ask.kinds, CTXD_SHARED);
	ck_assert_uint_eq(script.asked.ask.wait_ns, 6);
	ck_assert_str_eq(script.asked.ask.host, "b");
}
END_TEST

START_TEST(a_visit_that_is_not_0_ends_the_call)
{
	struct played played;
	struct visits visits = {.end_after = (unsigned)_i + 1};
	struct record_file file = file_open();

	put_host(&file, 1, "a", CTXD_HOST_SELF);
	put_entry(&file, 1, 1);
	put_entry(&file, 1, 2);
	struct ctxd_client *client = client_of_answer(&played, told, file_end(&file));
	ck_assert_int_eq(ctxd_fleet_list(client, NULL, CTXD_SHARED, 0, visit_listed, &visits), 77);
	ck_assert_uint_eq(visits.count, (unsigned)_i + 1);
	end_of_answer(&played, client);
}
END_TEST

START_TEST(a_cancel_tells_what_is_wanted_and_what_each_host_did)
{
	struct played played;
	struct visits visits = {0};
	struct record_file file = file_open();
	struct wire_message answer = told;
	struct ctxd_report report;

	put_report(&file, "z", 0);
	put_report(&file, "b", -EHOSTUNREACH);
	answer.told = (struct wire_told){.hosts_asked = 2, .hosts_silent = 1, .report = {.operations = 7}};
	struct ctxd_client *client = client_of_answer(&played, answer, file_end(&file));
	ck_assert_ok(ctxd_fleet_cancel(client, "z", (struct ctxd_id){1, 2}, CTXD_DRY_RUN, -EPIPE, "why", 9,
				       &report, visit_report, &visits));
	ck_assert_str_eq(visits.text, "z:0 b:-113 ");
	ck_assert_uint_eq(report.operations, 7);
	end_of_answer(&played, client);
	const struct wire_ask *ask = &script.asked.ask;
	ck_assert_uint_eq(ask->question, WIRE_ASK_CANCEL);
	ck_assert_uint_eq(ask->flags, WIRE_DRY_RUN);
	ck_assert_int_eq(ask->error, -EPIPE);
	ck_assert_str_eq(ask->text, "why");
	ck_assert_str_eq(ask->host, "z");
	ck_assert_uint_eq(ask->id.number, 2);
	ck_assert_uint_eq(ask->wait_ns, 9);
}
END_TEST

START_TEST(findings_come_as_they_were_told)
{
	struct played played;
	struct visits visits = {0};
	struct record_file file = file_open();

	put_finding(&file, "role");
	put_finding(&file, "address");
	struct ctxd_client *client = client_of_answer(&played, told, file_end(&file));
	ck_assert_ok(ctxd_fleet_engine(client, visit_finding, &visits));
	ck_assert_str_eq(visits.text, "role address ");
	end_of_answer(&played, client);
	ck_assert_uint_eq(script.asked.ask.question, WIRE_ASK_ENGINE);
}
END_TEST

/* ---- errors */

static int ask_in_each_way(struct ctxd_client *client, int way, struct visits *visits)
{
	switch (way) {
	case 0:
		return ctxd_fleet_hosts(client, 0, visit_host, visits);
	case 1:
		return ctxd_fleet_list(client, NULL, CTXD_JOINED, 0, visit_listed, visits);
	case 2:
		return ctxd_fleet_cancel(client, "a", (struct ctxd_id){1, 1}, 0, 0, NULL, 0, NULL,
					 visit_report, visits);
	default:
		return ctxd_fleet_engine(client, visit_finding, visits);
	}
}
#define WAYS 4

START_TEST(refusals_are_passed_on)
{
	static const int errors[] = {-EHOSTUNREACH, -ENOTSUP, -EPERM};
	struct visits visits = {0};

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct played played;
		struct ctxd_client *client = client_of_answer(&played, refusal(errors[i]), -1);
		ck_assert_int_eq(ask_in_each_way(client, _i, &visits), errors[i]);
		end_of_answer(&played, client);
	}
	ck_assert_uint_eq(visits.count, 0);
}
END_TEST

/* The owner's host says that it is over; or it did not answer, which is another thing than no bridge. */
START_TEST(errors_of_the_owners_host_come_with_the_report)
{
	static const int errors[][2] = {
		{-EALREADY, -EALREADY}, {-EPERM, -EPERM}, {-EHOSTUNREACH, -ETIMEDOUT}};
	struct wire_message answer = told;
	struct ctxd_report report;

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct played played;
		answer.told = (struct wire_told){.error = errors[i][0], .report = {.asked = 3}};
		struct ctxd_client *client = client_of_answer(&played, answer, -1);
		ck_assert_int_eq(ctxd_fleet_cancel(client, "a", (struct ctxd_id){1, 1}, 0, 0, NULL, 0,
						   &report, NULL, NULL),
				 errors[i][1]);
		ck_assert_uint_eq(report.asked, 3);
		end_of_answer(&played, client);
	}
}
END_TEST

/* Descriptors and files that are no answer. */
enum {
	AN_EVENTFD,
	A_DIRECTORY,
	A_FILE_WITHOUT_SEALS,
	A_FILE_THAT_MAY_SHRINK,
	A_FILE_THAT_MAY_BE_WRITTEN,
	AN_EMPTY_FILE,
	A_FILE_THAT_IS_CUT,
	A_FILE_WITH_A_BROKEN_RECORD,
	A_FILE_OF_OTHER_RECORDS,
	NO_ANSWERS,
};

static int make_no_answer(int which, int way)
{
	struct record_file file = file_open();
	uint8_t bytes[4096];

	put_host(&file, 1, "a", CTXD_HOST_SELF);
	if (which == A_FILE_OF_OTHER_RECORDS && way < 2)
		put_finding(&file, "x");
	else if (which == A_FILE_OF_OTHER_RECORDS)
		put_entry(&file, 1, 1);
	int good = file_end(&file), fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ssize_t size = pread(good, bytes, sizeof(bytes), 0);
	ck_assert_int_gt(size, 0);
	if (which == A_FILE_OF_OTHER_RECORDS) {
		close(fd);
		return good;
	}
	close(good);
	if (which == AN_EVENTFD || which == A_DIRECTORY) {
		close(fd);
		return which == AN_EVENTFD ? eventfd(0, EFD_CLOEXEC) : open("/", O_RDONLY | O_CLOEXEC);
	}
	if (which == A_FILE_WITH_A_BROKEN_RECORD)
		bytes[size - 1] ^= 1, bytes[WIRE_RECORDS_HEADER] = 99;
	if (which == A_FILE_THAT_IS_CUT)
		size--;
	if (which == AN_EMPTY_FILE)
		size = 0;
	ck_assert_int_eq(write(fd, bytes, (size_t)size), size);
	int seals = which == A_FILE_WITHOUT_SEALS	  ? 0
		    : which == A_FILE_THAT_MAY_SHRINK	  ? WIRE_RECORDS_SEALS & ~F_SEAL_SHRINK
		    : which == A_FILE_THAT_MAY_BE_WRITTEN ? WIRE_RECORDS_SEALS & ~F_SEAL_WRITE
							  : WIRE_RECORDS_SEALS;
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

START_TEST(an_answer_that_is_none_is_an_error_and_nothing_is_visited)
{
	struct visits visits = {0};
	unsigned before = test_count_fds();

	for (int way = 0; way < WAYS; way++) {
		struct played played;
		struct ctxd_client *client = client_of_answer(&played, told, make_no_answer(_i, way));
		ck_assert_int_eq(ask_in_each_way(client, way, &visits), -EPROTO);
		end_of_answer(&played, client);
	}
	ck_assert_uint_eq(visits.count, 0);
	ck_assert(test_until(test_has_few_fds, &before));
}
END_TEST

START_TEST(an_answer_of_another_type_is_an_error)
{
	struct wire_message report = {.type = WIRE_REPORT};
	struct visits visits = {0};
	struct played played;
	struct ctxd_client *client = client_of_answer(&played, report, -1);

	ck_assert_int_eq(ask_in_each_way(client, _i, &visits), -EPROTO);
	ck_assert_uint_eq(visits.count, 0);
	end_of_answer(&played, client);
}
END_TEST

static void play_nothing(struct played *played)
{
	hear_out(played_greet(played));
}

START_TEST(wrong_arguments_are_refused)
{
	struct ctxd_id id = {1, 1};
	struct played played;
	char long_name[CTX_HOST_MAX + 1];

	memset(long_name, 'a', CTX_HOST_MAX);
	long_name[CTX_HOST_MAX] = '\0';
	played_start_fleet(&played, NS_PER_SECOND, play_nothing);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	ck_assert_int_eq(ctxd_fleet_hosts(NULL, 0, visit_host, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_hosts(client, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_list(client, NULL, CTXD_SHARED, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_list(client, NULL, 0, 0, visit_listed, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_list(client, NULL, 1u << 9, 0, visit_listed, NULL), -EINVAL);
	for (unsigned i = 0; i < 4; i++) {
		const char *const names[] = {"", "A", "-a", long_name};
		ck_assert_int_eq(ctxd_fleet_list(client, names[i], CTXD_SHARED, 0, visit_listed, NULL),
				 -EINVAL);
		ck_assert_int_eq(ctxd_fleet_cancel(client, names[i], id, 0, 0, NULL, 0, NULL, NULL, NULL),
				 -EINVAL);
	}
	ck_assert_int_eq(ctxd_fleet_cancel(client, NULL, id, 0, 0, NULL, 0, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_cancel(client, "a", id, 2, 0, NULL, 0, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_cancel(client, "a", id, 0, 1, NULL, 0, NULL, NULL, NULL), -EINVAL);
	id.number = 0;
	ck_assert_int_eq(ctxd_fleet_cancel(client, "a", id, 0, 0, NULL, 0, NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_fleet_engine(client, NULL, NULL), -EINVAL);
	ctxd_close(client);
	played_end(&played);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet ask");
	TCase *answers = test_case(suite, "answers"), *errors = test_case(suite, "errors");

	tcase_add_test(answers, hosts_come_with_this_one_first_and_the_others_by_name);
	tcase_add_test(answers, a_list_has_its_hosts_and_the_entries_of_their_last_lists);
	tcase_add_loop_test(answers, a_visit_that_is_not_0_ends_the_call, 0, 3);
	tcase_add_test(answers, a_cancel_tells_what_is_wanted_and_what_each_host_did);
	tcase_add_test(answers, findings_come_as_they_were_told);
	tcase_add_loop_test(errors, refusals_are_passed_on, 0, WAYS);
	tcase_add_test(errors, errors_of_the_owners_host_come_with_the_report);
	tcase_add_loop_test(errors, an_answer_that_is_none_is_an_error_and_nothing_is_visited, 0, NO_ANSWERS);
	tcase_add_loop_test(errors, an_answer_of_another_type_is_an_error, 0, WAYS);
	tcase_add_test(errors, wrong_arguments_are_refused);
	return suite;
}
