/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation or system call of a question to the fleet fails, for each k: the call gives an error of
 * its contract, visits nothing or all, and leaves nothing.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "record_file.h"
#include "support/faults.h"
#include "support/played.h"

TEST_MODES(TEST_FAULTS);

static int answer_fd;

/* Answers each question of a client with the same records, and hears out the next one. */
static void play_answers(struct played *played)
{
	struct wire_message answer = {.type = WIRE_TOLD};
	uint8_t bytes[WIRE_SIZE_MAX];
	ssize_t size;

	int fd = played_greet(played);
	while ((size = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		struct wire_message message;
		if (wire_unpack(bytes, (size_t)size, 0, false, &message) || message.type != WIRE_ASK)
			continue;
		answer.serial = message.serial;
		played_put(fd, &answer, &answer_fd, 1);
	}
	close(fd);
}

static int make_answer(void)
{
	struct record_file file;
	struct wire_record host = {
		.kind = WIRE_RECORD_HOST, .list = 1, .host = {.name = "a", .state = CTXD_HOST_SELF}};
	struct wire_record entry = {
		.kind = WIRE_RECORD_ENTRY, .list = 1, .entry = {.kind = CTXD_SHARED, .id = {1, 2}}};

	ck_assert_ok(record_file_open(&file, UINT64_MAX));
	ck_assert_ok(record_file_add(&file, &host));
	ck_assert_ok(record_file_add(&file, &entry));
	int fd = record_file_seal(&file);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static int count_visit(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data)
{
	(void)host, (void)entry;
	++*(unsigned *)data;
	return 0;
}

START_TEST(each_failure_is_told_and_leaves_nothing)
{
	struct played played;
	unsigned k = 1, failed = 0;

	answer_fd = make_answer();
	played_start_fleet(&played, NS_PER_SECOND, play_answers);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	unsigned before = test_count_fds();
	for (;; k++) {
		unsigned visits = 0;
		/* What breaks the connection would need another one, which the script does not play. */
		faults_arm(FAULT(SYS_CALL_ALLOCATE) | FAULT(SYS_CALL_MMAP), k, false, 0);
		int result = ctxd_fleet_list(client, NULL, CTXD_SHARED, 0, count_visit, &visits);
		bool none_failed = !faults_disarm();
		ck_assert(result == 0 || result == -ENOMEM);
		ck_assert_uint_eq(visits, result ? 0 : 2);
		ck_assert_uint_le(test_count_fds(), before);
		failed += result != 0;
		if (none_failed)
			break;
	}
	ck_assert_uint_ge(failed, 3);
	ctxd_close(client);
	played_end(&played);
	close(answer_fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults ask");

	tcase_add_test(test_case(suite, "questions"), each_failure_is_told_and_leaves_nothing);
	return suite;
}
