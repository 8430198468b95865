/* SPDX-License-Identifier: MIT */
/*
 * The bridge between two hosts: what the ctxd of one says reaches the programs of the other. Both ctxd are
 * played by the test, so that it sees each message and can vanish at any moment.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/bridge_pair.h"
#include "support/calm_clock.h"

TEST_ALONE("defines clock_gettime");

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

static struct pair *pair;
static struct pair_context context;

static void set_up(void)
{
	pair = pair_new();
}

static void take_down(void)
{
	pair_close(&context);
	pair_free(pair);
}

/* ---- ends */

/* An end on a is told to programs on b by the pipe, with the name of the host where it began. */
START_TEST(an_end_crosses)
{
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	ck_assert_uint_eq(context.mirrored.mirror.deadline_ns, CTX_FOREVER);
	ck_assert_uint_eq(context.mirrored.mirror.flags & WIRE_SURVIVE, 0);
	pair_end(&context, "the client left");

	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_str_eq(cause.text, "the client left");
	ck_assert_str_eq(cause.host, "a");
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_int_eq(cause.pid, 42);
	struct wire_message ended = pair_hear(&pair->b, WIRE_ENDED, NULL);
	ck_assert_uint_eq(ended.ended.id.number, context.number);
	ck_assert_str_eq(ended.ended.cause.text, "the client left");
	struct wire_message leave = pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_uint_eq(leave.attach.id.number, context.local);
	ck_assert_uint_eq(bridge_counts(pair->a.bridge).owned, 0);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
}
END_TEST

/* A pipe of packets, of which one read(2) returns one. */
START_TEST(words_of_one_owner_are_not_taken_for_those_of_another)
{
	struct pair_context others[2] = {0};

	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	for (unsigned i = 0; i < 2; i++)
		pair_join(pair, &others[i], 2 + i, CTX_FOREVER, 0);
	ck_assert_ok(fcntl(context.pipe, F_SETFL, O_DIRECT));
	ck_assert_int_eq((int)write(context.pipe, "x", 1), 1);
	pair_end(&context, "forged");
	pair_end(&others[0], "the client left");
	ck_assert_str_eq(pair_words(pair, &others[0]).text, "the client left");
	ck_assert_int_eq(pair_words(pair, &context).kind, CTX_CAUSE_OWNER);
	pair_end(&others[1], "this one, too");
	ck_assert_str_eq(pair_words(pair, &others[1]).text, "this one, too");
	for (unsigned i = 0; i < 2; i++)
		pair_close(&others[i]);
}
END_TEST

/* What has ended before b asks for it is no mirror, but an answer with the cause. */
START_TEST(a_late_join_is_born_done)
{
	struct wire_message joined = {.type = WIRE_JOINED};

	pair_fetch(pair, &context, 1, 0);
	joined.serial = pair_hear(&pair->a, WIRE_JOIN_GLOBAL, NULL).serial;
	joined.joined = (struct wire_joined){.id = {pair->a.epoch, 7}, .ended = 1};
	joined.joined.cause = (struct wire_cause){.error = -ETIME, .kind = CTX_CAUSE_DEADLINE, .expired = 1};
	pair_say(&pair->a, &joined, NULL, 0);

	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, NULL);
	ck_assert_uint_eq(mirror.mirror.fetch, context.fetch);
	ck_assert_int_eq(mirror.mirror.error, -ECANCELED);
	ck_assert_int_eq(mirror.mirror.cause.error, -ETIME);
	ck_assert_str_eq(mirror.mirror.cause.host, "a");
	pair_result(&pair->b, mirror.serial, 0, 0);
	pair_run(pair, 20 * PAIR_MS);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
}
END_TEST

/* In the first two seconds of the bridge an unknown context is asked for again; then it is unknown. */
START_TEST(what_is_unknown_there_is_unknown_here)
{
	pair_bridge_stop(&pair->b);
	pair->b.config.fleet.grace_ns = CTX_FOREVER;
	pair_run(pair, 2 * PAIR_LEASE_NS);
	pair_bridge_start(&pair->b);
	pair_ctxd_greet(&pair->b, 0);
	pair_fetch(pair, &context, 1, 0);
	for (unsigned i = 0; i < 2; i++)
		pair_result(&pair->a, pair_hear(&pair->a, WIRE_JOIN_GLOBAL, NULL).serial, -ENOENT, 0);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, NULL);
	ck_assert_int_eq(mirror.mirror.error, -ENOENT);
	pair_result(&pair->b, mirror.serial, 0, 0);
	ck_assert_uint_eq(bridge_counts(pair->a.bridge).owned, 0);
}
END_TEST

/* A hang-up without last words is the end of the owner. */
START_TEST(an_owner_that_closes_its_pipe_has_ended_it)
{
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	close(context.pipe);
	context.pipe = -1;
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_OWNER);
	ck_assert_str_eq(cause.host, "a");
	ck_assert_int_eq(cause.pid, getpid());
	pair_hear(&pair->b, WIRE_ENDED, NULL);
	pair_hear(&pair->a, WIRE_LEAVE, NULL);
}
END_TEST

/* The death of the owner is seen although another process, here this one, still has its pipe. */
START_TEST(a_dead_owner_has_ended_all_it_had)
{
	struct pair_context other;
	pid_t child = fork();

	if (child == 0)
		for (;;)
			pause();
	int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	ck_assert_int_ge(pidfd, 0);
	pair_fetch(pair, &context, 1, 0);
	pair_answer_live(pair, &context, CTX_FOREVER, child, dup(pidfd));
	pair_take_mirror(pair, &context);
	pair_fetch(pair, &other, 2, 0);
	pair_answer_live(pair, &other, CTX_FOREVER, child, pidfd);
	pair_take_mirror(pair, &other);
	kill(child, SIGKILL);

	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_OWNER);
	ck_assert_int_eq(cause.pid, child);
	ck_assert_ptr_nonnull(strstr(cause.text, "died"));
	cause = pair_words(pair, &other);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_OWNER);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	pair_close(&other);
}
END_TEST

/*
 * Contexts of one process that are joined one after the other. ctxd, here the test, keeps the open files of
 * the pidfd and of the pipe that it gave.
 */
START_TEST(one_process_owns_one_after_the_other)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	ck_assert_int_ge(pidfd, 0);
	for (unsigned i = 1; i <= 3; i++) {
		pair_fetch(pair, &context, i, 0);
		pair_answer_live(pair, &context, CTX_FOREVER, getpid(), dup(pidfd));
		pair_take_mirror(pair, &context);
		pair_end(&context, "one of several");
		struct wire_cause cause = pair_words(pair, &context);
		ck_assert_str_eq(cause.text, "one of several");
		pair_result(&pair->b, pair_hear(&pair->b, WIRE_ENDED, NULL).serial, 0, 0);
		pair_hear(&pair->a, WIRE_LEAVE, NULL);
		pair_close(&context);
	}
	close(pidfd);
}
END_TEST

/* An order of b's ctxd ends the mirror; there are no operations to reap. The owner's context goes on. */
START_TEST(an_order_ends_the_mirror_only)
{
	struct wire_message order = {.type = WIRE_ORDER, .serial = 55};

	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	order.order = (struct wire_order){.id = {pair->b.epoch, context.number}, .pid = 9, .uid = 8};
	strcpy(order.order.text, "by hand");
	pair_say(&pair->b, &order, NULL, 0);
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_SERVICE);
	ck_assert_str_eq(cause.text, "by hand");
	ck_assert_int_eq(cause.pid, 9);
	struct wire_message obeyed = pair_hear(&pair->b, WIRE_OBEYED, NULL);
	ck_assert_uint_eq(obeyed.serial, 55);
	ck_assert_int_eq(obeyed.obeyed.result, 0);
	ck_assert_uint_eq(obeyed.obeyed.reaped, 0);
	obeyed = pair_hear(&pair->b, WIRE_OBEYED, NULL);
	ck_assert_uint_eq(obeyed.obeyed.reaped, 1);
	ck_assert_uint_eq(obeyed.obeyed.report.ended, 1);
	pair_hear(&pair->b, WIRE_ENDED, NULL);
	/* Nobody is interested any more, so the owner's side leaves a lease later. */
	struct wire_message leave = pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_uint_eq(leave.attach.id.number, context.local);
}
END_TEST

/* What the bridge has joined has no operations of it. */
START_TEST(an_order_for_what_it_joined_is_not_obeyed)
{
	struct wire_message order = {.type = WIRE_ORDER, .serial = 56};

	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	order.order = (struct wire_order){.id = {pair->a.epoch, context.local}};
	pair_say(&pair->a, &order, NULL, 0);
	struct wire_message obeyed = pair_hear(&pair->a, WIRE_OBEYED, NULL);
	ck_assert_uint_eq(obeyed.serial, 56);
	ck_assert_int_eq(obeyed.obeyed.result, -ENOENT);
	ck_assert(pair_is_quiet(&pair->b));
}
END_TEST

/* When the last local join is gone, both sides leave. */
START_TEST(an_unwanted_mirror_is_left)
{
	struct wire_message unwanted = {.type = WIRE_UNWANTED};

	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	unwanted.id = (struct ctxd_id){pair->b.epoch, context.number};
	pair_say(&pair->b, &unwanted, NULL, 0);
	pair_wordless(pair, &context);
	pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
}
END_TEST

/* ---- deadlines */

/* The deadline of the mirror is not earlier than the owner's, and follows it. */
START_TEST(deadlines_cross)
{
	uint64_t deadline_ns = clock_now_ns() + 100 * NS_PER_SECOND;
	struct wire_message moved = {.type = WIRE_MOVED};

	pair_join(pair, &context, 1, deadline_ns, 0);
	ck_assert_uint_ge(context.mirrored.mirror.deadline_ns, deadline_ns);
	ck_assert_uint_lt(context.mirrored.mirror.deadline_ns, deadline_ns + 30 * NS_PER_SECOND);
	moved.move.id = (struct ctxd_id){pair->a.epoch, context.local};
	moved.move.deadline_ns = deadline_ns + 1000 * NS_PER_SECOND;
	pair_say(&pair->a, &moved, NULL, 0);
	struct wire_message move = pair_hear(&pair->b, WIRE_MOVE, NULL);
	ck_assert_uint_eq(move.move.id.number, context.number);
	ck_assert_uint_ge(move.move.deadline_ns, moved.move.deadline_ns);
}
END_TEST

/* What happens to a mirror while ctxd has not given it an id is told afterwards. */
START_TEST(a_move_waits_for_the_id_of_the_mirror)
{
	uint64_t deadline_ns = clock_now_ns() + 100 * NS_PER_SECOND;
	struct wire_message moved = {.type = WIRE_MOVED};

	pair_fetch(pair, &context, 1, 0);
	pair_answer_live(pair, &context, deadline_ns, 0, -1);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, &context.mirror);
	moved.move.id = (struct ctxd_id){pair->a.epoch, context.local};
	moved.move.deadline_ns = deadline_ns + 1000 * NS_PER_SECOND;
	pair_say(&pair->a, &moved, NULL, 0);
	pair_run(pair, 50 * PAIR_MS);
	ck_assert(pair_is_quiet(&pair->b));
	pair_result(&pair->b, mirror.serial, 0, 77);
	struct wire_message move = pair_hear(&pair->b, WIRE_MOVE, NULL);
	ck_assert_uint_eq(move.move.id.number, 77);
	ck_assert_uint_ge(move.move.deadline_ns, moved.move.deadline_ns);
}
END_TEST

/* The same of its end. */
START_TEST(an_end_waits_for_the_id_of_the_mirror)
{
	pair_fetch(pair, &context, 1, 0);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, &context.mirror);
	pair_end(&context, "at once");
	ck_assert_str_eq(pair_words(pair, &context).text, "at once");
	ck_assert(pair_is_quiet(&pair->b));
	pair_result(&pair->b, mirror.serial, 0, 77);
	struct wire_message ended = pair_hear(&pair->b, WIRE_ENDED, NULL);
	ck_assert_uint_eq(ended.ended.id.number, 77);
	ck_assert_str_eq(ended.ended.cause.text, "at once");
}
END_TEST

/* The mirror ends at its deadline although nobody can be asked. */
START_TEST(a_mirror_ends_by_its_own_deadline)
{
	pair_join(pair, &context, 1, clock_now_ns() + 200 * PAIR_MS, WIRE_SURVIVE);
	ck_assert_uint_ne(context.mirrored.mirror.flags & WIRE_SURVIVE, 0);
	engine_fake_stop(pair->fake, true);
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_DEADLINE);
	ck_assert_uint_eq(cause.expired, 1);
	ck_assert_uint_ge(cause.time_ns, context.mirrored.mirror.deadline_ns);
	pair_hear(&pair->b, WIRE_ENDED, NULL);
}
END_TEST

/* ---- links that break */

START_TEST(a_lost_link_ends_mirrors_after_the_grace)
{
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	engine_fake_stop(pair->fake, true);
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_UNREACHABLE);
	ck_assert_str_eq(cause.host, "a");
}
END_TEST

START_TEST(a_mirror_that_survives_outlives_the_grace)
{
	pair_join(pair, &context, 1, CTX_FOREVER, WIRE_SURVIVE);
	engine_fake_stop(pair->fake, true);
	pair_run(pair, 2 * PAIR_GRACE_NS);
	engine_fake_stop(pair->fake, false);
	pair_end(&context, "at last");
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_str_eq(cause.text, "at last");
}
END_TEST

START_TEST(a_host_that_is_gone_has_ended_its_contexts)
{
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	pair_bridge_stop(&pair->a);
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_HOST);
	ck_assert_str_eq(cause.host, "a");
}
END_TEST

/* The owner's bridge is started again and joins anew what others have joined; the lease of its life before
 * is its own. */
START_TEST(a_bridge_of_the_owner_can_be_started_again)
{
	pair->a.state = pair->directory;
	pair_bridge_stop(&pair->a);
	pair_run(pair, 2 * PAIR_LEASE_NS);
	pair_bridge_start(&pair->a);
	pair_ctxd_greet(&pair->a, 0);
	pair_join(pair, &context, 1, CTX_FOREVER, 0);

	pair_bridge_stop(&pair->a);
	pair_bridge_start(&pair->a);
	pair_ctxd_greet(&pair->a, 0);
	close(context.pipe);
	pair_answer_live(pair, &context, CTX_FOREVER, 0, -1);
	ck_assert_int_eq(pair->a.exit, BRIDGE_GO_ON);
	pair_run(pair, PAIR_LEASE_NS);
	struct pollfd mirror = {.fd = context.mirror, .events = POLLIN};
	ck_assert_int_eq(poll(&mirror, 1, 0), 0);
	pair_end(&context, "after a restart");
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_str_eq(cause.text, "after a restart");
}
END_TEST

/* Programs see the loss of their bridge as a hang-up without words. */
START_TEST(a_bridge_that_ends_leaves_no_words)
{
	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	pair_bridge_stop(&pair->b);
	pair_wordless(pair, &context);
}
END_TEST

static bool is_same_file(int a, int b)
{
	struct stat of_a, of_b;

	return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_ino == of_b.st_ino;
}

/* The owner's ctxd is started again: the join is registered anew by its pipe, and loses nothing. */
START_TEST(the_ctxd_of_the_owner_can_be_started_again)
{
	struct wire_message moved = {.type = WIRE_MOVED};
	int pipe;

	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	pair_ctxd_stop(&pair->a);
	pair_run(pair, 20 * PAIR_MS);
	pair_ctxd_start(&pair->a);
	pair_ctxd_greet(&pair->a, 0);
	struct wire_message rejoin = pair_hear(&pair->a, WIRE_REJOIN, &pipe);
	ck_assert(is_same_file(pipe, context.pipe));
	ck_assert_int_eq(fcntl(pipe, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(pipe);
	pair_result(&pair->a, rejoin.serial, 0, 31);
	moved.move = (struct wire_move){.id = {pair->a.epoch, 31}, .deadline_ns = clock_now_ns() * 2};
	pair_say(&pair->a, &moved, NULL, 0);
	pair_hear(&pair->b, WIRE_MOVE, NULL);
	/* Its id of before is still asked for. */
	struct pair_context again;
	pair_fetch(pair, &again, 1, WIRE_SURVIVE);
	pair_take_mirror(pair, &again);
	ck_assert(pair_is_quiet(&pair->a));
	pair_end(&context, "still heard");
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_str_eq(cause.text, "still heard");
	cause = pair_words(pair, &again);
	ck_assert_str_eq(cause.text, "still heard");
	struct wire_message leave = pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_uint_eq(leave.attach.id.number, 31);
	pair_close(&again);
}
END_TEST

/* The joiner's ctxd is started again: the mirror is registered anew by its pipe. */
START_TEST(the_ctxd_of_the_joiner_can_be_started_again)
{
	int pipe;

	pair_join(pair, &context, 1, CTX_FOREVER, WIRE_SURVIVE);
	pair_ctxd_stop(&pair->b);
	pair_run(pair, 20 * PAIR_MS);
	pair_ctxd_start(&pair->b);
	pair_ctxd_greet(&pair->b, 0);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, &pipe);
	ck_assert(is_same_file(pipe, context.mirror));
	ck_assert_int_eq(fcntl(pipe, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(pipe);
	ck_assert_uint_eq(mirror.mirror.fetch, 0);
	ck_assert_int_eq(mirror.mirror.error, 0);
	ck_assert_uint_eq(mirror.mirror.uid, 1234);
	ck_assert_uint_ne(mirror.mirror.flags & WIRE_SURVIVE, 0);
	ck_assert_str_eq(mirror.mirror.label, "a label");
	pair_result(&pair->b, mirror.serial, 0, 32);
	pair_end(&context, "still heard");
	struct wire_cause cause = pair_words(pair, &context);
	ck_assert_str_eq(cause.text, "still heard");
	struct wire_message ended = pair_hear(&pair->b, WIRE_ENDED, NULL);
	ck_assert_uint_eq(ended.ended.id.number, 32);
}
END_TEST

/* A mirror that nobody has any more is not registered again; one that the new ctxd refuses goes on. */
START_TEST(a_refused_mirror_lives_as_long_as_its_readers)
{
	struct pair_context other;

	pair_join(pair, &context, 1, CTX_FOREVER, 0);
	pair_join(pair, &other, 2, CTX_FOREVER, 0);
	pair_ctxd_stop(&pair->b);
	close(other.mirror);
	other.mirror = -1;
	pair_run(pair, 20 * PAIR_MS);
	pair_ctxd_start(&pair->b);
	pair_ctxd_greet(&pair->b, 0);
	struct wire_message mirror = pair_hear(&pair->b, WIRE_MIRROR, NULL);
	ck_assert_uint_eq(mirror.mirror.global.id.number, 1);
	pair_result(&pair->b, mirror.serial, -EDQUOT, 0);
	pair_run(pair, 20 * PAIR_MS);
	ck_assert(pair_is_quiet(&pair->b));
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 1);
	close(context.mirror);
	context.mirror = -1;
	pair_hear(&pair->a, WIRE_LEAVE, NULL);
	ck_assert_uint_eq(bridge_counts(pair->b.bridge).mirrors, 0);
	pair_hear(&pair->a, WIRE_LEAVE, NULL);
	pair_close(&other);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("bridge");
	TCase *ends = test_case(suite, "ends");
	TCase *deadlines = test_case(suite, "deadlines");
	TCase *links = test_case(suite, "links");

	tcase_add_checked_fixture(ends, set_up, take_down);
	tcase_add_test(ends, an_end_crosses);
	tcase_add_test(ends, words_of_one_owner_are_not_taken_for_those_of_another);
	tcase_add_test(ends, a_late_join_is_born_done);
	tcase_add_test(ends, what_is_unknown_there_is_unknown_here);
	tcase_add_test(ends, an_owner_that_closes_its_pipe_has_ended_it);
	tcase_add_test(ends, a_dead_owner_has_ended_all_it_had);
	tcase_add_test(ends, one_process_owns_one_after_the_other);
	tcase_add_test(ends, an_order_ends_the_mirror_only);
	tcase_add_test(ends, an_order_for_what_it_joined_is_not_obeyed);
	tcase_add_test(ends, an_unwanted_mirror_is_left);
	tcase_add_checked_fixture(deadlines, set_up, take_down);
	tcase_add_test(deadlines, deadlines_cross);
	tcase_add_test(deadlines, a_move_waits_for_the_id_of_the_mirror);
	tcase_add_test(deadlines, an_end_waits_for_the_id_of_the_mirror);
	tcase_add_test(deadlines, a_mirror_ends_by_its_own_deadline);
	tcase_add_checked_fixture(links, set_up, take_down);
	tcase_add_test(links, a_lost_link_ends_mirrors_after_the_grace);
	tcase_add_test(links, a_mirror_that_survives_outlives_the_grace);
	tcase_add_test(links, a_host_that_is_gone_has_ended_its_contexts);
	tcase_add_test(links, a_bridge_of_the_owner_can_be_started_again);
	tcase_add_test(links, a_bridge_that_ends_leaves_no_words);
	tcase_add_test(links, the_ctxd_of_the_owner_can_be_started_again);
	tcase_add_test(links, the_ctxd_of_the_joiner_can_be_started_again);
	tcase_add_test(links, a_refused_mirror_lives_as_long_as_its_readers);
	return suite;
}
