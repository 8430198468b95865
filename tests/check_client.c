/* SPDX-License-Identifier: MIT */
/*
 * The client against a service that is played by the test, message by message: what the real one does only
 * now and then. Clients dispatch by themselves, so that what comes together is handled together.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/played.h"
#include "support/rings.h"
#include "wire.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

static const struct ctxd_id the_id = {.epoch = PLAYED_EPOCH, .number = 1};

static struct wire_message joined_message(uint64_t serial, uint64_t number, int32_t owner_pid)
{
	return (struct wire_message){
		.type = WIRE_JOINED,
		.serial = serial,
		.joined = {.id = {the_id.epoch, number}, .deadline_ns = CTX_FOREVER, .owner_pid = owner_pid}};
}

/* Of the_id, which is no constant expression in C11. */
static const struct wire_message order = {
	.type = WIRE_ORDER, .serial = 1, .order = {.id = {.epoch = 7, .number = 1}, .pid = 1}};

/* ---- what comes right behind an answer */

static void order_behind_share(struct played *played)
{
	int fd = played_greet(played);
	struct wire_message share = played_get_type(fd, WIRE_SHARE);

	played_put(
		fd,
		&(struct wire_message){.type = WIRE_RESULT, .serial = share.serial, .result = {.id = the_id}},
		NULL, 0);
	played_put(fd, &order, NULL, 0);
	played->obeyed = played_get_type(fd, WIRE_OBEYED).obeyed.result;
	close(fd);
}

START_TEST(an_order_right_behind_the_answer_to_a_share_is_obeyed)
{
	struct played played;
	played_start(&played, order_behind_share);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctxd_id id;

	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &id));
	ck_assert_uint_eq(id.number, the_id.number);
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!ctx_err(ctx) && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctxd_dispatch(client, 100 * MILLISECOND), 0);
	ck_assert_cancelled(ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_SERVICE);
	ck_assert_int_ge(ctxd_dispatch(client, SOON), 0);
	played_end(&played);
	ck_assert_int_eq(played.obeyed, 0);
	ctx_finish(ctx);
	ctxd_close(client);
}
END_TEST

static void order_behind_join(struct played *played)
{
	int fd = played_greet(played), pidfd = played_pidfd();
	struct wire_message joined = joined_message(played_get_type(fd, WIRE_JOIN).serial, 1, getpid());

	played_put(fd, &joined, (int[]){played->pipes[0][0], pidfd}, 2);
	played_put(fd, &order, NULL, 0);
	close(pidfd);
	do /* ATTACH may come before */
		joined = played_get(fd);
	while (joined.type != WIRE_OBEYED);
	played->obeyed = joined.obeyed.result;
	close(fd);
}

START_TEST(an_order_right_behind_the_answer_to_a_join_is_obeyed)
{
	struct played played;
	played_start(&played, order_behind_join);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	struct ctx_context *ctx;

	ck_assert_ok(ctxd_join(client, the_id, &ctx));
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!ctx_err(ctx) && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctxd_dispatch(client, 100 * MILLISECOND), 0);
	ck_assert_cancelled(ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_SERVICE);
	ck_assert_int_ge(ctxd_dispatch(client, SOON), 0);
	played_end(&played);
	ck_assert_int_eq(played.obeyed, 0);
	ctx_finish(ctx);
	ctxd_close(client);
}
END_TEST

static void move_behind_join(struct played *played)
{
	int fd = played_greet(played), pidfd = played_pidfd();
	struct wire_message joined = joined_message(played_get_type(fd, WIRE_JOIN).serial, 1, getpid());
	struct wire_message moved = {.type = WIRE_MOVED, .move = {.id = the_id}};

	joined.joined.flags = WIRE_MOVABLE;
	joined.joined.deadline_ns = clock_now_ns() + HOUR;
	moved.move.deadline_ns = joined.joined.deadline_ns + HOUR;
	played_put(fd, &joined, (int[]){played->pipes[0][0], pidfd}, 2);
	played_put(fd, &moved, NULL, 0);
	close(pidfd);
	played_get_type(fd, WIRE_ATTACH);
	played_get_type(fd, WIRE_LEAVE);
	close(fd);
}

START_TEST(a_deadline_moved_right_behind_the_answer_to_a_join_is_moved)
{
	struct played played;
	played_start(&played, move_behind_join);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	struct ctx_context *ctx;
	uint64_t end_ns = clock_now_ns() + SOON;

	ck_assert_ok(ctxd_join(client, the_id, &ctx));
	while (ctx_time_left_ns(ctx) <= HOUR && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctxd_dispatch(client, 100 * MILLISECOND), 0);
	ck_assert_uint_gt(ctx_time_left_ns(ctx), HOUR);
	ctx_finish(ctx);
	ck_assert_int_ge(ctxd_dispatch(client, 0), 0);
	played_end(&played);
	ctxd_close(client);
}
END_TEST

/* ---- owners, reports */

static void two_of_no_number(struct played *played)
{
	int fd = played_greet(played);

	for (int i = 0; i < 2; i++) {
		struct wire_message joined =
			joined_message(played_get_type(fd, WIRE_JOIN).serial, 1 + (uint64_t)i, 0);
		played_put(fd, &joined, (int[]){played->pipes[i][0], played->pidfds[i]}, 2);
		played_get_type(fd, WIRE_ATTACH);
	}
	played_get_type(fd, WIRE_LEAVE);
	close(fd);
}

/* To a service in another pid name space all processes of ours have the number 0. */
START_TEST(owners_without_a_number_are_not_taken_for_one)
{
	struct played played;
	struct ctx_context *ctx[2];
	pid_t pids[2];

	played_start(&played, two_of_no_number);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			pause();
			_exit(0);
		}
		played.pidfds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
	}
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	for (int i = 0; i < 2; i++) {
		ck_assert_ok(ctxd_join(client, (struct ctxd_id){the_id.epoch, 1 + (uint64_t)i}, &ctx[i]));
		ck_assert_int_ge(ctxd_dispatch(client, 0), 0);
	}
	kill(pids[1], SIGKILL);
	ck_assert_int_eq(waitpid(pids[1], NULL, 0), pids[1]);
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!ctx_err(ctx[1]) && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctxd_dispatch(client, 100 * MILLISECOND), 0);
	ck_assert_cancelled(ctx[1]);
	ck_assert_live(ctx[0]);
	while (ctxd_dispatch(client, 10 * MILLISECOND) > 0)
		;
	played_end(&played);
	kill(pids[0], SIGKILL);
	ck_assert_int_eq(waitpid(pids[0], NULL, 0), pids[0]);
	for (int i = 0; i < 2; i++) {
		close(played.pidfds[i]);
		ctx_finish(ctx[i]);
	}
	ctxd_close(client);
}
END_TEST

/* ---- last words */

static _Atomic bool all_left;

/* Answers JOINs and no other request, until what was joined is left. has_one_pipe: all have the first one. */
static void join_until_all_left(struct played *played, bool has_one_pipe)
{
	int fd = played_greet(played), pidfd = played_pidfd();
	unsigned joined = 0, left = 0, shared = 0;

	all_left = false;
	while (!joined || left < joined) {
		struct wire_message message = played_get(fd);
		if (message.type == WIRE_LEAVE)
			left++;
		if (message.type == WIRE_SHARE)
			played_put(fd,
				   &(struct wire_message){.type = WIRE_RESULT,
							  .serial = message.serial,
							  .result = {.id = {the_id.epoch, 1000 + ++shared}}},
				   NULL, 0);
		if (message.type != WIRE_JOIN)
			continue;
		int pipe = played->pipes[has_one_pipe ? 0 : joined][0];
		message = joined_message(message.serial, ++joined, getpid());
		played_put(fd, &message, (int[]){pipe, pidfd}, 2);
	}
	close(pidfd);
	close(fd);
	all_left = true;
}

static void dispatch_until_all_left(struct ctxd_client *client)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	while (!all_left) {
		ck_assert_uint_lt(clock_now_ns(), end_ns);
		ck_assert_int_ge(ctxd_dispatch(client, 10 * MILLISECOND), 0);
	}
}

static void two_pipes(struct played *played)
{
	join_until_all_left(played, false);
}

static void one_pipe(struct played *played)
{
	join_until_all_left(played, true);
}

static void write_words(int pipe, const char *text)
{
	struct wire_cause cause = {.error = -ECANCELED, .kind = CTX_CAUSE_CALL, .time_ns = clock_now_ns()};
	uint8_t bytes[WIRE_LAST_WORDS_MAX];

	strcpy(cause.text, text);
	ssize_t size = (ssize_t)wire_pack_last_words(&cause, bytes);
	ck_assert_int_eq(write(pipe, bytes, (size_t)size), size);
}

/* A pipe of packets, of which one read(2) returns one. */
START_TEST(words_of_one_owner_are_not_taken_for_those_of_another)
{
	struct played played;
	struct ctx_context *ctx[2];

	played_start(&played, two_pipes);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	for (int i = 0; i < 2; i++)
		ck_assert_ok(ctxd_join(client, (struct ctxd_id){the_id.epoch, 1 + (uint64_t)i}, &ctx[i]));
	while (ctxd_dispatch(client, 0) > 0)
		;
	ck_assert_ok(fcntl(played.pipes[0][1], F_SETFL, O_DIRECT));
	ck_assert_int_eq(write(played.pipes[0][1], "x", 1), 1);
	write_words(played.pipes[0][1], "forged");
	write_words(played.pipes[1][1], "right");
	dispatch_until_all_left(client);
	ck_assert_str_eq(cause_of(ctx[1]).text, "right");
	ck_assert_int_eq(cause_of(ctx[0]).kind, CTX_CAUSE_OWNER);
	played_end(&played);
	for (int i = 0; i < 2; i++)
		ctx_finish(ctx[i]);
	ctxd_close(client);
}
END_TEST

/* The id of a context that is joined and shared does not depend on how much else is shared. */
START_TEST(a_joined_context_that_is_shared_has_the_id_of_its_owner)
{
	struct ctx_context *joined, *others[40];
	struct played played;
	struct ctxd_id id;

	played_start(&played, one_pipe);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	ck_assert_ok(ctxd_join(client, the_id, &joined));
	ck_assert_ok(ctxd_share(client, joined, NULL, 0, &id));
	ck_assert_uint_eq(id.number, 1001);
	for (int i = 0; i < 40; i++) {
		ck_assert_ok(ctxd_id_of(client, joined, &id));
		ck_assert_uint_eq(id.number, 1);
		others[i] = child_of(ctx_background());
		ck_assert_ok(ctxd_share(client, others[i], NULL, 0, &id));
		ck_assert_ok(ctxd_id_of(client, others[i], &id));
		ck_assert_uint_eq(id.number, 1002 + (unsigned)i);
	}
	write_words(played.pipes[0][1], "right");
	dispatch_until_all_left(client);
	ck_assert_cancelled(joined);
	played_end(&played);
	ctx_finish(joined);
	for (int i = 0; i < 40; i++)
		ctx_finish(others[i]);
	ctxd_close(client);
}
END_TEST

/* As many events as one turn takes. */
#define CROWD 256

static void outlast(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	/* The call has begun by now, so its time is over before that of this one. */
	for (uint64_t end_ns = clock_now_ns() + *(uint64_t *)data; clock_now_ns() < end_ns;)
		usleep(1000);
}

static int no_more_entries(const struct ctxd_entry *entry, void *data)
{
	(void)entry;
	(void)data;
	return 0;
}

START_TEST(what_a_call_with_many_events_leaves_is_told_by_the_descriptor)
{
	static struct ctx_context *ctx[CROWD];
	struct played played;
	struct ctxd_client *client;
	struct ctx_callback callback = {0};

	played_start(&played, one_pipe);
	struct ctxd_options options = {
		.socket = played.socket, .flags = CTXD_OWN_DISPATCH, .timeout_ns = 2 * NS_PER_SECOND};
	ck_assert_ok(ctxd_connect(&options, &client));
	for (unsigned i = 0; i < CROWD; i++)
		ck_assert_ok(ctxd_join(client, (struct ctxd_id){the_id.epoch, 1 + i}, &ctx[i]));
	while (ctxd_dispatch(client, 10 * MILLISECOND) > 0)
		;
	ck_assert_ok(ctx_callback_add(ctx[0], &callback, outlast, &options.timeout_ns, NULL));
	/* All end in the first turn of a call, which has no time for another one. */
	write_words(played.pipes[0][1], "all of them");
	ck_assert_int_eq(ctxd_list(client, CTXD_SHARED, no_more_entries, NULL), -ETIMEDOUT);
	for (unsigned i = 0; i < CROWD; i++)
		ck_assert_int_eq(ctx_err(ctx[i]), -ECANCELED);
	struct pollfd ready = {.fd = ctxd_fd(client), .events = POLLIN};
	ck_assert_int_eq(poll(&ready, 1, 30000), 1);
	dispatch_until_all_left(client);
	played_end(&played);
	for (unsigned i = 0; i < CROWD; i++)
		ctx_finish(ctx[i]);
	ctxd_close(client);
}
END_TEST

static void order_and_restart(struct played *played)
{
	int fd = played_greet(played);
	struct wire_message share = played_get_type(fd, WIRE_SHARE);

	played_put(
		fd,
		&(struct wire_message){.type = WIRE_RESULT, .serial = share.serial, .result = {.id = the_id}},
		NULL, 0);
	played_put(fd, &order, NULL, 0);
	played_get_type(fd, WIRE_OBEYED);
	close(fd);
	fd = played_greet(played);
	struct wire_message message = played_get(fd);
	played->after = message.type;
	while (message.type != WIRE_LIST)
		message = played_get(fd);
	played_put(fd, &(struct wire_message){.type = WIRE_ENTRIES, .serial = message.serial}, NULL, 0);
	close(fd);
}

static void note_back(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	(void)client;
	*(bool *)data |= event->kind == CTXD_EVENT_BACK;
}

static int no_entry(const struct ctxd_entry *entry, void *data)
{
	(void)entry;
	(void)data;
	return 0;
}

START_TEST(what_one_service_asked_is_not_reported_to_the_next)
{
	struct played played;
	bool back = false;
	played_start(&played, order_and_restart);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, note_back, &back);
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct probe probe;
	static char sink[16];

	probe_recv(ring, ctx, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, NULL));
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!back && clock_now_ns() < end_ns)
		ctxd_dispatch(client, 100 * MILLISECOND); /* -EINTR where the ring's work interrupts it */
	ck_assert(back);
	/* Only now the operation is seen to be reaped. */
	await_probes(ring, &probe, 1);
	ck_assert_int_ge(ctxd_dispatch(client, 0), 0);
	ck_assert_ok(ctxd_list(client, CTXD_SHARED, no_entry, NULL));
	played_end(&played);
	ck_assert_int_eq(played.after, WIRE_LIST);
	ctxd_close(client);
	ring_end(ring);
	pair_end(pair);
	ctx_finish(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client");
	TCase *behind = test_case(suite, "behind"), *owners = test_case(suite, "owners"),
	      *words = test_case(suite, "words"), *reports = test_case_ring(suite, "reports");

	tcase_add_test(behind, an_order_right_behind_the_answer_to_a_share_is_obeyed);
	tcase_add_test(behind, an_order_right_behind_the_answer_to_a_join_is_obeyed);
	tcase_add_test(behind, a_deadline_moved_right_behind_the_answer_to_a_join_is_moved);
	tcase_add_test(owners, owners_without_a_number_are_not_taken_for_one);
	tcase_add_test(words, words_of_one_owner_are_not_taken_for_those_of_another);
	tcase_add_test(words, a_joined_context_that_is_shared_has_the_id_of_its_owner);
	tcase_add_test(words, what_a_call_with_many_events_leaves_is_told_by_the_descriptor);
	if (test_mode() != TEST_TSAN)
		ON_EACH_RING(reports, what_one_service_asked_is_not_reported_to_the_next);
	return suite;
}
