/* SPDX-License-Identifier: MIT */
/*
 * Links to other hosts that break: the bridge, the service, or both are away for a while. A context ends
 * once, by what its owner's host says or when the grace is over, and otherwise lives.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "support/fleet_played.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

/* Ends the test: the owner's end still reaches the context, once, and the join is left. */
static void end_by_words(struct stage *stage, struct ctx_context *ctx)
{
	ck_assert_live(ctx);
	say_last_words(stage, "the client left", CTX_CAUSE_CALL, "far.example");
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_str_eq(cause_of(ctx).text, "the client left");
	hear(stage, WIRE_LEAVE);
	ctx_finish(ctx);
	stage_close(stage);
}

static void rejoin(struct stage *stage, uint64_t number)
{
	say_joined(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, number, CTX_FOREVER);
	ck_assert_uint_eq(hear(stage, WIRE_ATTACH).attach.id.number, number);
}

/* ---- the bridge is away */

START_TEST(a_lost_link_is_joined_again)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);

	for (uint64_t i = 1; i <= 3; i++) {
		stage_hang_up(&stage);
		ck_assert_uint_eq(hear(&stage, WIRE_LEAVE).attach.id.number, i);
		ck_assert_live(ctx);
		rejoin(&stage, i + 1);
	}
	end_by_words(&stage, ctx);
}
END_TEST

/* Words that are none are no end. */
START_TEST(nonsense_in_the_pipe_is_a_lost_link)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);

	ck_assert_int_eq(write(stage.pipe[1], "nonsense", 8), 8);
	hear(&stage, WIRE_LEAVE);
	stage_hang_up(&stage);
	rejoin(&stage, 2);
	end_by_words(&stage, ctx);
}
END_TEST

START_TEST(the_owner_ended_while_the_link_was_lost)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);

	stage_hang_up(&stage);
	hear(&stage, WIRE_LEAVE);
	say_ended(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_CALL);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_CALL);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* 0: at once. */
static const uint64_t graces[] = {0, 50 * MILLISECOND};

START_TEST(after_the_grace_it_is_unreachable)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, graces[_i], 0);
	uint64_t before_ns = clock_now_ns();
	stage_hang_up(&stage);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_cancelled(ctx);
	ck_assert_uint_ge(clock_now_ns() - before_ns, graces[_i]);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ck_assert_str_eq(cause_of(ctx).host, "far.example");
	ck_assert(strstr(cause_of(ctx).text, "host far.example was not reached for ") != NULL);
	ck_assert(hear(&stage, WIRE_LEAVE).attach.id.number == 1);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* Nor does it if it is told that the host is gone, which it asks about again. */
START_TEST(what_survives_has_no_grace)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, 0, CTXD_JOIN_SURVIVE);

	stage_hang_up(&stage);
	hear(&stage, WIRE_LEAVE);
	say_ended(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_HOST);
	say_ended(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_UNREACHABLE);
	rejoin(&stage, 2);
	end_by_words(&stage, ctx);
}
END_TEST

START_TEST(a_grace_for_ever_never_ends)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, CTX_FOREVER, 0);

	stage_hang_up(&stage);
	hear(&stage, WIRE_LEAVE);
	uint64_t serial = hear(&stage, WIRE_JOIN_GLOBAL).serial;
	lock_acquire(&stage.client->lock);
	ck_assert_uint_eq(stage.client->due_ns[TIMER_GRACE], 0);
	lock_release(&stage.client->lock);
	say_joined(&stage, serial, 2, CTX_FOREVER);
	hear(&stage, WIRE_ATTACH);
	end_by_words(&stage, ctx);
}
END_TEST

/* A grace that a reload of the service shortens counts for what is lost already. */
START_TEST(a_new_grace_counts_at_once)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);
	struct wire_message terms = {.type = WIRE_TERMS, .terms = {.grace_ns = 1, .host = "here"}};

	stage_hang_up(&stage);
	hear(&stage, WIRE_LEAVE);
	hear(&stage, WIRE_JOIN_GLOBAL);
	ck_assert_live(ctx);
	say(&stage, &terms);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* The answer that comes too late is withdrawn, and ends nothing a second time. */
START_TEST(an_answer_after_the_grace_is_withdrawn)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, 50 * MILLISECOND, 0);

	unsigned before = test_count_fds();
	stage_hang_up(&stage);
	hear(&stage, WIRE_LEAVE);
	uint64_t serial = hear(&stage, WIRE_JOIN_GLOBAL).serial;
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_uint_eq(hear(&stage, WIRE_WITHDRAW).serial, serial);
	say_joined(&stage, serial, 7, CTX_FOREVER);
	ck_assert_uint_eq(hear(&stage, WIRE_LEAVE).attach.id.number, 7);
	ck_assert(test_until(test_has_few_fds, &before));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* What never had an answer has at least the time of a call, however short the grace is. */
START_TEST(an_unanswered_join_has_the_time_of_a_call)
{
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, 0, 100 * MILLISECOND);
	uint64_t before_ns = clock_now_ns();
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	hear(&stage, WIRE_JOIN_GLOBAL);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_uint_ge(clock_now_ns() - before_ns, 100 * MILLISECOND);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* ---- the service is away */

START_TEST(while_the_bridge_lives_the_pipe_is_registered_again)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, 0, 0);

	stage_break(&stage);
	stage_greet(&stage);
	struct wire_message rejoined = hear(&stage, WIRE_REJOIN);
	ck_assert_uint_eq(rejoined.rejoin.old_id.number, 1);
	struct wire_message result = {
		.type = WIRE_RESULT, .serial = rejoined.serial, .result = {.id = {PLAYED_EPOCH, 2}}};
	say(&stage, &result);
	ck_assert_uint_eq(hear(&stage, WIRE_ATTACH).attach.id.number, 2);
	end_by_words(&stage, ctx);
}
END_TEST

/* The words come while the service is away, or while the pipe is being registered again. */
START_TEST(words_in_the_old_pipe_count)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);

	stage_break(&stage);
	if (_i == 1) {
		stage_greet(&stage);
		hear(&stage, WIRE_REJOIN);
	}
	say_last_words(&stage, "the client left", CTX_CAUSE_CALL, "far.example");
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_str_eq(cause_of(ctx).text, "the client left");
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* The bridge ends while its pipe is registered again, at a service that accepts or refuses that. */
START_TEST(a_link_lost_while_it_is_registered_is_joined_again)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);

	stage_break(&stage);
	stage_greet(&stage);
	uint64_t serial = hear(&stage, WIRE_REJOIN).serial;
	stage_hang_up(&stage);
	struct wire_message result = {.type = WIRE_RESULT, .serial = serial};
	if (_i == 0)
		result.result.id = (struct ctxd_id){PLAYED_EPOCH, 2};
	else
		result.result.error = -EDQUOT;
	/* An order that is answered shows that the hang-up, which came before, was seen. */
	say_order(&stage, 99);
	hear(&stage, WIRE_OBEYED);
	say(&stage, &result);
	if (_i == 0) {
		struct wire_message message = played_get(stage.played.fd);
		/* Whether it still said where the context is does not matter. */
		if (message.type == WIRE_ATTACH)
			message = hear(&stage, WIRE_LEAVE);
		ck_assert_int_eq(message.type, WIRE_LEAVE);
		ck_assert_uint_eq(message.attach.id.number, 2);
	}
	rejoin(&stage, 3);
	end_by_words(&stage, ctx);
}
END_TEST

static const char *const orders_of_loss[] = {"bridge first", "service first", "while asked"};

START_TEST(bridge_and_service_are_away)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);

	switch (_i) {
	case 0:
		stage_hang_up(&stage);
		stage_break(&stage);
		break;
	case 1:
		stage_break(&stage);
		stage_hang_up(&stage);
		break;
	default:
		stage_hang_up(&stage);
		hear(&stage, WIRE_LEAVE);
		hear(&stage, WIRE_JOIN_GLOBAL);
		stage_break(&stage);
	}
	stage_greet(&stage);
	struct wire_message message = played_get(stage.played.fd);
	/* The client may see the service come back before it sees the pipe. */
	if (message.type == WIRE_REJOIN) {
		struct wire_message result = {
			.type = WIRE_RESULT, .serial = message.serial, .result = {.error = -EDQUOT}};
		say(&stage, &result);
		message = played_get(stage.played.fd);
	}
	ck_assert_msg(message.type == WIRE_JOIN_GLOBAL, "%s: %d", orders_of_loss[_i], message.type);
	say_joined(&stage, message.serial, 1, CTX_FOREVER);
	hear(&stage, WIRE_ATTACH);
	end_by_words(&stage, ctx);
}
END_TEST

/* The grace counts from the first loss, also if the service never comes back. */
START_TEST(without_a_service_the_grace_ends_it)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, 50 * MILLISECOND, 0);

	stage_break(&stage);
	stage_hang_up(&stage);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* A join that is made while the service is away, and one that was not answered before that. */
START_TEST(a_service_that_comes_back_is_asked)
{
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, HOUR, 0);
	if (_i == 0)
		stage_break(&stage);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	if (_i == 1) {
		hear(&stage, WIRE_JOIN_GLOBAL);
		stage_break(&stage);
	}
	stage_greet(&stage);
	rejoin(&stage, 1);
	end_by_words(&stage, ctx);
}
END_TEST

/* ---- the client goes, or forks */

START_TEST(closing_leaves_the_contexts_alone)
{
	struct stage stage;
	struct ctx_context *joined = stage_join(&stage, HOUR, 0), *asked, *lost = NULL;

	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, CTXD_JOIN_SURVIVE, &asked));
	hear(&stage, WIRE_JOIN_GLOBAL);
	stage_break(&stage);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &lost));
	unsigned before = test_count_fds();
	stage_close(&stage);
	ck_assert_uint_lt(test_count_fds(), before);
	ck_assert_live(joined);
	ck_assert_live(asked);
	ck_assert_live(lost);
	ctx_finish(joined);
	ctx_finish(asked);
	ctx_finish(lost);
}
END_TEST

START_TEST(a_forked_child_has_a_copy_and_no_service)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);
	char text[CTXD_GLOBAL_ID_TEXT];
	int status;

	pid_t pid = fork();
	if (pid == 0) {
		struct ctx_context *other = NULL;
		if (ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &other) != -EPERM || other)
			_exit(1);
		if (ctxd_global_id_of(stage.client, ctx, text) != -EPERM)
			_exit(2);
		ctxd_close(stage.client);
		ctx_finish(ctx);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_ok(ctxd_global_id_of(stage.client, ctx, text));
	ck_assert_str_eq(text, FAR_ID);
	end_by_words(&stage, ctx);
}
END_TEST

/* ---- with a client that the program dispatches itself */

static void lose_link(struct played *played)
{
	int fd = played_greet(played);

	for (int i = 0; i < 2; i++) {
		struct wire_message joined = remote_joined(played_get_type(fd, WIRE_JOIN_GLOBAL).serial,
							   (uint64_t)i + 1, CTX_FOREVER);
		played_put(fd, &joined, &played->pipes[i][0], 1);
		played_get_type(fd, WIRE_ATTACH);
		for (int end = 0; end < 2; end++) {
			close(played->pipes[i][end]);
			played->pipes[i][end] = -1;
		}
		played_get_type(fd, WIRE_LEAVE);
	}
	/* The third answer does not come. */
	played_get_type(fd, WIRE_JOIN_GLOBAL);
	char rest[WIRE_SIZE_MAX];
	while (recv(fd, rest, sizeof(rest), 0) > 0)
		;
	close(fd);
}

START_TEST(a_dispatch_of_the_program_counts_the_grace)
{
	struct played played;
	struct ctx_context *ctx;
	played_start_fleet(&played, 50 * MILLISECOND, lose_link);
	struct ctxd_client *client = played_client(&played, CTXD_OWN_DISPATCH, NULL, NULL);
	uint64_t end_ns = clock_now_ns() + SOON;

	ck_assert_ok(ctxd_join_remote(client, FAR_ID, NULL, 0, &ctx));
	while (!ctx_err(ctx) && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctxd_dispatch(client, SOON), 0);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ctx_finish(ctx);
	ctxd_close(client);
	played_end(&played);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client remote links");
	TCase *bridge = test_case(suite, "bridge"), *service = test_case(suite, "service"),
	      *client = test_case(suite, "client");

	tcase_add_test(bridge, a_lost_link_is_joined_again);
	tcase_add_test(bridge, nonsense_in_the_pipe_is_a_lost_link);
	tcase_add_test(bridge, the_owner_ended_while_the_link_was_lost);
	tcase_add_loop_test(bridge, after_the_grace_it_is_unreachable, 0, 2);
	tcase_add_test(bridge, what_survives_has_no_grace);
	tcase_add_test(bridge, a_grace_for_ever_never_ends);
	tcase_add_test(bridge, a_new_grace_counts_at_once);
	tcase_add_test(bridge, an_answer_after_the_grace_is_withdrawn);
	tcase_add_test(bridge, an_unanswered_join_has_the_time_of_a_call);
	tcase_add_test(service, while_the_bridge_lives_the_pipe_is_registered_again);
	tcase_add_loop_test(service, words_in_the_old_pipe_count, 0, 2);
	tcase_add_loop_test(service, a_link_lost_while_it_is_registered_is_joined_again, 0, 2);
	tcase_add_loop_test(service, bridge_and_service_are_away, 0, 3);
	tcase_add_test(service, without_a_service_the_grace_ends_it);
	tcase_add_loop_test(service, a_service_that_comes_back_is_asked, 0, 2);
	tcase_add_test(client, closing_leaves_the_contexts_alone);
	tcase_add_test(client, a_forked_child_has_a_copy_and_no_service);
	tcase_add_test(client, a_dispatch_of_the_program_counts_the_grace);
	return suite;
}
