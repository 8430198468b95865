/* SPDX-License-Identifier: MIT */
/* One process counts as one, by however many connections it came. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)

static const struct way {
	bool publishing; /* CTXRING_PUBLISH=1 */
	unsigned flags;	 /* of its own connection */
	bool second;	 /* it has another one */
	unsigned connections;
} ways[] = {
	{true, 0, false, 2},
	{true, CTXD_PUBLISH, false, 2},
	{false, CTXD_PUBLISH, true, 2},
	{true, CTXD_PUBLISH, true, 3},
};

struct plan {
	const struct service *service;
	const struct way *way;
};

struct shared {
	struct ctxd_id id;
	uint64_t ctx_id;
};

static int own(int channel, void *data)
{
	const struct plan *plan = data;
	struct ctxd_options options = {.flags = plan->way->flags};
	struct ctx_context *ctx;
	struct shared shared;

	if (plan->way->publishing)
		setenv("CTXRING_PUBLISH", "1", 1);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "shared", &ctx));
	struct ctxd_client *client = client_with(plan->service, &options);
	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &shared.id));
	if (plan->way->second)
		client_with(plan->service, &options);
	shared.ctx_id = ctx_id(ctx);
	ck_assert_int_eq((int)write(channel, &shared, sizeof(shared)), (int)sizeof(shared));
	ck_assert_ok(ctx_wait(ctx, SOON));
	expect(channel, 'e');
	return 0;
}

struct counted {
	const struct service *service;
	char part[64];
	unsigned count;
};

static bool is_logged(void *data)
{
	const struct counted *counted = data;
	char line[2048];
	FILE *file = fopen(counted->service->log, "re");
	unsigned count = 0;

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "event=connected") && strstr(line, counted->part);
	fclose(file);
	return count == counted->count;
}

/*
 * Goal: what is listed, what a cancel reports and what its record says are the same for a process with one
 * connection and with several. Method: such a process shares a context; it is cancelled by its table, as
 * ctxtool does, once all connections are there.
 */
START_TEST(a_process_is_one_however_it_came)
{
	const struct way *way = &ways[_i];
	struct service service = {.loop = SERVICE_LOOP(_i & 1)};
	service_start(&service, "log_level = debug\n");
	struct ctxd_client *client = client_of(&service);
	struct plan plan = {&service, way};
	struct ctxd_target target = {0};
	struct ctxd_report report;
	struct ctx_context *joined;
	struct shared shared;

	struct other owner = other_start(own, &plan);
	ck_assert_int_eq((int)read(owner.channel, &shared, sizeof(shared)), (int)sizeof(shared));
	struct counted counted = {.service = &service, .count = way->connections};
	snprintf(counted.part, sizeof(counted.part), "pid=%d ", owner.pid);
	ck_assert(test_until(is_logged, &counted));
	ck_assert_ok(ctxd_join(client, shared.id, &joined));

	struct listing listing = list_of(client, CTXD_PROCESS);
	unsigned listed = 0;
	for (unsigned i = 0; i < listing.count; i++)
		if (listing.entries[i].pid == owner.pid) {
			target.table = listing.entries[i].table;
			listed++;
		}
	ck_assert_uint_eq(listed, 1);
	ck_assert_uint_ne(target.table, 0);
	target.ctx_id = shared.ctx_id;
	ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "for all", SOON, &report));
	ck_assert_uint_eq(report.asked, 2);
	ck_assert_uint_eq(report.ended, 2);
	ck_assert_uint_eq(report.silent, 0);
	ck_assert_ok(ctx_wait(joined, SOON));
	tell(owner.channel, 'e');
	ck_assert_int_eq(other_end(&owner), 0);
	ck_assert(await_listed(client, CTXD_PROCESS, 1));
	ctx_finish(joined);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- one that was never let in */

#define REFUSED 8
#define QUESTIONS 100

static int new_table(void)
{
	int fd = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(ftruncate(fd, 1 << 20));
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, 0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	return fd;
}

/* Asks for the table of this process: more than one turn has room for. */
static void ask_much(int fd)
{
	struct wire_message question = {
		.type = WIRE_TABLE, .serial = 2, .table = {.kind = CTXD_PROCESS, .pid = getpid()}};

	for (int i = 0; i < QUESTIONS; i++)
		raw_send_message(fd, &question, NULL, 0);
}

/*
 * Goal: whose greeting is refused has no process and no table that others could ask for. Method: with the
 * service stopped, one client asks for the table of this process again and again, and others of it give one
 * with a greeting of a version that is not there: in between they are neither let in nor gone.
 */
START_TEST(the_table_of_a_client_that_is_refused_is_nobodys)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_message hello = raw_hello, message;
	int table = new_table(), refused[REFUSED];

	hello.hello.flags = WIRE_PUBLISH;
	hello.hello.version_min = hello.hello.version_max = WIRE_VERSION + 1;
	service_start(&service, NULL);
	for (int i = 0; i < REFUSED / 2; i++)
		refused[i] = raw_dial(&service);
	int fd = raw_greeted(&service);
	for (int i = REFUSED / 2; i < REFUSED; i++)
		refused[i] = raw_dial(&service);
	close(raw_greeted(&service)); /* all have been accepted */
	kill(service.pid, SIGSTOP);
	ask_much(fd);
	for (int i = 0; i < REFUSED; i++)
		raw_send_message(refused[i], &hello, &table, 1);
	kill(service.pid, SIGCONT);
	for (int i = 0; i < QUESTIONS; i++) {
		ck_assert(raw_receive(fd, &message));
		ck_assert_int_eq(message.type, WIRE_RESULT);
		ck_assert_int_eq(message.result.error, -ENOENT);
	}
	for (int i = 0; i < REFUSED; i++)
		raw_thrown_out(refused[i], -EPROTONOSUPPORT);
	close(fd);
	close(table);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service process");
	TCase *processes = test_case(suite, "process");

	tcase_add_loop_test(processes, a_process_is_one_however_it_came, 0, sizeof(ways) / sizeof(ways[0]));
	ON_EACH_LOOP(processes, the_table_of_a_client_that_is_refused_is_nobodys);
	return suite;
}
