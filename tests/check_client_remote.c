/* SPDX-License-Identifier: MIT */
/*
 * Joins of contexts of other hosts, against a service that the test plays: it is the bridge as well, and has
 * the write ends of the pipes. The client has its own thread, so that the test speaks for the service in the
 * order in which the story goes.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "debug.h"
#include "support/fleet_played.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

/* ---- joining */

START_TEST(a_join_makes_a_live_context_and_asks_meanwhile)
{
	struct stage stage;
	struct ctx_context *ctx;
	char label[CTX_LABEL_MAX + 1];

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	ck_assert_live(ctx);
	ck_assert_uint_eq(ctx_deadline_ns(ctx), CTX_FOREVER);
	context_label(ctx, label);
	ck_assert_str_eq(label, "far.example 9-5");
	struct wire_message join = hear(&stage, WIRE_JOIN_GLOBAL);
	ck_assert_str_eq(join.join_global.global.host, "far.example");
	ck_assert_uint_eq(join.join_global.global.id.epoch, 9);
	ck_assert_uint_eq(join.join_global.global.id.number, 5);
	ck_assert_uint_eq(join.join_global.global.secret, 0xabc);
	ck_assert_uint_eq(join.join_global.flags, 0);

	uint64_t deadline_ns = clock_now_ns() + HOUR;
	say_joined(&stage, join.serial, 1, deadline_ns);
	struct wire_message attach = hear(&stage, WIRE_ATTACH);
	ck_assert_uint_eq(attach.attach.id.number, 1);
	ck_assert_uint_eq(attach.attach.ctx_id, ctx_id(ctx));
	ck_assert(await_deadline(ctx, deadline_ns));
	ck_assert_live(ctx);

	say_last_words(&stage, "the client left", CTX_CAUSE_CALL, "far.example");
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_CALL);
	ck_assert_int_eq(cause_of(ctx).pid, 77);
	ck_assert_str_eq(cause_of(ctx).host, "far.example");
	ck_assert_str_eq(cause_of(ctx).text, "the client left");
	ck_assert_uint_eq(hear(&stage, WIRE_LEAVE).attach.id.number, 1);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(a_label_and_surviving_are_passed_on)
{
	struct stage stage;
	struct ctx_context *ctx;
	char label[CTX_LABEL_MAX + 1];

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, "a label that is much longer than labels are",
				      CTXD_JOIN_SURVIVE, &ctx));
	context_label(ctx, label);
	ck_assert_uint_eq(strlen(label), CTX_LABEL_MAX);
	ck_assert_uint_eq(hear(&stage, WIRE_JOIN_GLOBAL).join_global.flags, WIRE_SURVIVE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(what_had_ended_before_ends_with_its_cause)
{
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	say_ended(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_DEADLINE);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_expired(ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_DEADLINE);
	ck_assert_str_eq(cause_of(ctx).host, "far.example");
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(what_its_host_does_not_know_ends)
{
	static const int errors[] = {-ENOENT, -ESTALE};
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, CTXD_JOIN_SURVIVE, &ctx));
	say_result(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, errors[_i]);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_cancelled(ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_HOST);
	ck_assert_str_eq(cause_of(ctx).host, "far.example");
	ck_assert_str_eq(cause_of(ctx).text, "host far.example does not know this context");
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(a_refusal_for_now_is_asked_again)
{
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	for (int i = 0; i < 3; i++)
		say_result(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, -EDQUOT);
	say_joined(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, 1, CTX_FOREVER);
	hear(&stage, WIRE_ATTACH);
	ck_assert_live(ctx);
	say_last_words(&stage, "over", CTX_CAUSE_CALL, "far.example");
	ck_assert_ok(ctx_wait(ctx, SOON));
	hear(&stage, WIRE_LEAVE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* Has the clock of children begun just now, as after a boot. */
static bool begin_clock(void)
{
	char offset[64];
	int fd = unshare(CLONE_NEWTIME) ? -1 : open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	int length = snprintf(offset, sizeof(offset), "monotonic -%llu 0",
			      (unsigned long long)(clock_now_ns() / NS_PER_SECOND));
	bool begun = fd >= 0 && write(fd, offset, (size_t)length) == length;

	if (fd >= 0)
		close(fd);
	return begun;
}

START_TEST(a_refusal_right_after_the_boot_is_not_asked_again_at_once)
{
	struct stage stage;
	struct ctx_context *ctx;
	int status;

	if (!begin_clock())
		test_skip("a time namespace cannot be made here");
	pid_t pid = fork();
	if (pid == 0) {
		uint64_t begin_ns = clock_now_ns();
		stage_open(&stage, HOUR, 0);
		ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
		for (int i = 0; i < 3; i++)
			say_result(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, -EDQUOT);
		hear(&stage, WIRE_JOIN_GLOBAL);
		/* After 20, 40 and 80 ms. */
		_exit(clock_now_ns() - begin_ns < 140 * MILLISECOND);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* What is no pipe is closed, the service is told, and asked again. */
START_TEST(an_answer_with_another_descriptor_is_asked_again)
{
	struct stage stage;
	struct ctx_context *ctx;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	struct wire_message joined = remote_joined(hear(&stage, WIRE_JOIN_GLOBAL).serial, 1, CTX_FOREVER);
	played_put(stage.played.fd, &joined, &null, 1);
	ck_assert_uint_eq(hear(&stage, WIRE_LEAVE).attach.id.number, 1);
	say_joined(&stage, hear(&stage, WIRE_JOIN_GLOBAL).serial, 2, CTX_FOREVER);
	hear(&stage, WIRE_ATTACH);
	ck_assert_live(ctx);
	close(null);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(a_context_that_ended_first_leaves_nothing_behind)
{
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, HOUR, 0);
	unsigned before = test_count_fds();
	ck_assert_ok(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx));
	uint64_t serial = hear(&stage, WIRE_JOIN_GLOBAL).serial;
	if (_i == 0)
		ctx_cancel(ctx);
	ctx_unref(ctx);
	ck_assert_uint_eq(hear(&stage, WIRE_WITHDRAW).serial, serial);
	/* An answer may have crossed it. */
	say_joined(&stage, serial, 1, CTX_FOREVER);
	struct wire_message message = hear(&stage, WIRE_LEAVE);
	ck_assert_uint_eq(message.attach.id.number, 1);
	ck_assert(test_until(test_has_few_fds, &before));
	stage_close(&stage);
}
END_TEST

/* More than the socket takes while the service does not read. */
#define UNWANTED 600

START_TEST(answers_that_nobody_wants_are_given_back)
{
	struct stage stage;
	bool given_back[UNWANTED] = {false};

	stage_open(&stage, HOUR, 0);
	for (unsigned i = 0; i < UNWANTED; i++)
		say_joined(&stage, 5000 + i, 1 + i, CTX_FOREVER);
	for (unsigned i = 0; i < UNWANTED; i++) {
		uint64_t number = hear(&stage, WIRE_LEAVE).attach.id.number;
		ck_assert_uint_ge(number, 1);
		ck_assert_uint_le(number, UNWANTED);
		ck_assert(!given_back[number - 1]);
		given_back[number - 1] = true;
	}
	stage_close(&stage);
}
END_TEST

START_TEST(the_deadline_moves_and_orders_are_obeyed)
{
	struct stage stage;
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);
	uint64_t deadline_ns = clock_now_ns() + 2 * HOUR;
	struct wire_message moved = {.type = WIRE_MOVED,
				     .move = {.id = {PLAYED_EPOCH, 1}, .deadline_ns = deadline_ns}};

	say(&stage, &moved);
	ck_assert(await_deadline(ctx, deadline_ns));
	say_order(&stage, 1);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_SERVICE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* A global id of this host is joined like any other context of it: the end of its owner is its end. */
START_TEST(a_context_of_this_host_has_an_owner)
{
	struct stage stage;
	struct ctx_context *ctx;
	int pidfd = played_pidfd();

	stage_open(&stage, HOUR, 0);
	ck_assert_ok(ctxd_join_remote(stage.client, "here/7-1-abc", NULL, 0, &ctx));
	struct wire_message joined = remote_joined(hear(&stage, WIRE_JOIN_GLOBAL).serial, 1, CTX_FOREVER);
	joined.joined.flags = 0;
	played_put(stage.played.fd, &joined, (int[]){stage.pipe[0], pidfd}, 2);
	hear(&stage, WIRE_ATTACH);
	ck_assert_live(ctx);
	stage_hang_up(&stage);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_OWNER);
	close(pidfd);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(a_mirror_that_is_joined_by_its_own_id_ends_with_its_bridge)
{
	struct stage stage;
	struct ctx_context *ctx;

	stage_open(&stage, HOUR, 0);
	stage_answer(&stage, answer_a_join);
	ck_assert_ok(ctxd_join(stage.client, (struct ctxd_id){PLAYED_EPOCH, 1}, &ctx));
	stage_answered(&stage);
	ck_assert_live(ctx);
	stage_hang_up(&stage);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_UNREACHABLE);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

START_TEST(what_cannot_be_joined_is_refused)
{
	static const char *const no_ids[] = {"",
					     "far.example",
					     "far.example/9-5",
					     "far.example/9-5-0",
					     "Far/9-5-abc",
					     "far/9-5-abc ",
					     "far/9-5-0abc"};
	struct stage stage;
	struct ctx_context *ctx = NULL;

	stage_open(&stage, HOUR, 0);
	for (size_t i = 0; i < sizeof(no_ids) / sizeof(no_ids[0]); i++)
		ck_assert_int_eq(ctxd_join_remote(stage.client, no_ids[i], NULL, 0, &ctx), -EINVAL);
	ck_assert_int_eq(ctxd_join_remote(NULL, FAR_ID, NULL, 0, &ctx), -EINVAL);
	ck_assert_int_eq(ctxd_join_remote(stage.client, NULL, NULL, 0, &ctx), -EINVAL);
	ck_assert_int_eq(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_join_remote(stage.client, FAR_ID, NULL, 4, &ctx), -EINVAL);
	ck_assert_ptr_null(ctx);
	struct wire_message terms = {.type = WIRE_TERMS};
	say(&stage, &terms);
	say_order(&stage, 99);
	hear(&stage, WIRE_OBEYED);
	ck_assert_int_eq(ctxd_join_remote(stage.client, FAR_ID, NULL, 0, &ctx), -ENOTSUP);
	ck_assert_int_eq(ctxd_join_remote(stage.client, FAR_ID, NULL, CTXD_JOIN_WAIT, &ctx), -ENOTSUP);
	stage_close(&stage);
}
END_TEST

/* ---- joining and waiting */

struct waiting {
	void (*answer)(struct stage *stage);
	int result;
	enum ctx_cause_kind kind; /* of the context, which is born done */
};

static void answer_unknown(struct stage *stage)
{
	say_result(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, -ENOENT);
}

static void answer_stale(struct stage *stage)
{
	say_result(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, -ESTALE);
}

static void answer_unreachable(struct stage *stage)
{
	say_ended(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_UNREACHABLE);
}

static void answer_ended(struct stage *stage)
{
	say_ended(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_CALL);
}

static void answer_gone(struct stage *stage)
{
	say_ended(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, CTX_CAUSE_HOST);
}

static void answer_live(struct stage *stage)
{
	say_joined(stage, hear(stage, WIRE_JOIN_GLOBAL).serial, 1, CTX_FOREVER);
	hear(stage, WIRE_ATTACH);
}

static const struct waiting waitings[] = {
	{answer_unknown, -ENOENT, CTX_CAUSE_NONE},
	{answer_stale, -ESTALE, CTX_CAUSE_NONE},
	{answer_unreachable, -EHOSTUNREACH, CTX_CAUSE_NONE},
	{answer_ended, 0, CTX_CAUSE_CALL},
	{answer_gone, 0, CTX_CAUSE_HOST},
	{answer_live, 0, CTX_CAUSE_NONE},
};

#define WAITINGS (sizeof(waitings) / sizeof(waitings[0]))

START_TEST(a_join_that_waits_has_the_answer)
{
	const struct waiting *waiting = &waitings[_i];
	struct stage stage;
	struct ctx_context *ctx = NULL;
	char label[CTX_LABEL_MAX + 1];

	stage_open(&stage, HOUR, 0);
	stage_answer(&stage, waiting->answer);
	ck_assert_int_eq(ctxd_join_remote(stage.client, FAR_ID, NULL, CTXD_JOIN_WAIT, &ctx), waiting->result);
	stage_answered(&stage);
	if (waiting->result) {
		ck_assert_ptr_null(ctx);
	} else {
		ck_assert_int_eq(cause_of(ctx).kind, waiting->kind);
		context_label(ctx, label);
		ck_assert_str_eq(label, "the owner's");
		ctx_finish(ctx);
	}
	stage_close(&stage);
}
END_TEST

START_TEST(a_join_that_waited_for_nothing_is_withdrawn)
{
	struct stage stage;
	struct ctx_context *ctx = NULL;

	stage_open(&stage, HOUR, MILLISECOND);
	ck_assert_int_eq(ctxd_join_remote(stage.client, FAR_ID, NULL, CTXD_JOIN_WAIT, &ctx), -EHOSTUNREACH);
	ck_assert_ptr_null(ctx);
	uint64_t serial = hear(&stage, WIRE_JOIN_GLOBAL).serial;
	ck_assert_uint_eq(hear(&stage, WIRE_WITHDRAW).serial, serial);
	/* An answer that met the withdrawal on its way. */
	say_joined(&stage, serial, 1, CTX_FOREVER);
	ck_assert_uint_eq(hear(&stage, WIRE_LEAVE).attach.id.number, 1);
	stage_close(&stage);
}
END_TEST

/* ---- shares */

static void answer_share(struct stage *stage)
{
	struct wire_message share = hear(stage, WIRE_SHARE);

	ck_assert_uint_eq(share.share.flags, WIRE_FLEET);
	ck_assert_uint_eq(share.share.mode, 0600);
	say_shared(stage, share.serial, 1, 0xdef);
}

START_TEST(a_share_with_the_fleet_has_a_global_id)
{
	struct stage stage;
	struct ctx_context *ctx = child_of(ctx_background()), *below = child_of(ctx);
	char text[CTXD_GLOBAL_ID_TEXT];
	struct ctxd_id id;

	stage_open(&stage, HOUR, 0);
	stage_answer(&stage, answer_share);
	ck_assert_ok(ctxd_share(stage.client, ctx, NULL, CTXD_FLEET, &id));
	stage_answered(&stage);
	ck_assert_uint_eq(id.number, 1);
	ck_assert_ok(ctxd_global_id_of(stage.client, ctx, text));
	ck_assert_str_eq(text, "here/7-1-def");
	ck_assert_int_eq(ctxd_global_id_of(stage.client, below, text), -ENOENT);
	ck_assert_int_eq(ctxd_global_id_of(stage.client, ctx_background(), text), -ENOENT);
	ck_assert_int_eq(ctxd_global_id_of(NULL, ctx, text), -EINVAL);
	ck_assert_int_eq(ctxd_global_id_of(stage.client, NULL, text), -EINVAL);
	ck_assert_int_eq(ctxd_global_id_of(stage.client, ctx, NULL), -EINVAL);

	/* After a restart the service gives another id, and until then there is none. */
	stage_break(&stage);
	ck_assert(await_global_id(stage.client, ctx, -ENOTCONN));
	stage_greet(&stage);
	struct wire_message share = hear(&stage, WIRE_SHARE);
	ck_assert_uint_eq(share.share.flags, WIRE_FLEET);
	say_shared(&stage, share.serial, 2, 0x123);
	ck_assert(await_global_id(stage.client, ctx, 0));
	ck_assert_ok(ctxd_global_id_of(stage.client, ctx, text));
	ck_assert_str_eq(text, "here/7-2-123");
	ctx_finish(below);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* The next service belongs to no fleet: its own clients go on. */
START_TEST(a_share_outlives_its_fleet)
{
	struct stage stage;
	struct ctx_context *ctx = child_of(ctx_background());

	stage_open(&stage, HOUR, 0);
	stage_answer(&stage, answer_share);
	ck_assert_ok(ctxd_share(stage.client, ctx, NULL, CTXD_FLEET, NULL));
	stage_answered(&stage);
	stage_break(&stage);
	stage_greet(&stage);
	say_result(&stage, hear(&stage, WIRE_SHARE).serial, -ENOTSUP);
	struct wire_message share = hear(&stage, WIRE_SHARE);
	ck_assert_uint_eq(share.share.flags, 0);
	struct wire_message result = {
		.type = WIRE_RESULT, .serial = share.serial, .result = {.id = {PLAYED_EPOCH, 3}}};
	say(&stage, &result);
	ck_assert(await_global_id(stage.client, ctx, -ENOENT));
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

static void refuse_share(struct stage *stage)
{
	say_result(stage, hear(stage, WIRE_SHARE).serial, -ENOTSUP);
}

static void answer_share_without_secret(struct stage *stage)
{
	struct wire_message share = hear(stage, WIRE_SHARE), result = {.type = WIRE_RESULT,
								       .serial = share.serial,
								       .result = {.id = {PLAYED_EPOCH, 3}}};

	say(stage, &result);
}

START_TEST(a_share_without_a_fleet_is_refused)
{
	struct stage stage;
	struct ctx_context *ctx = child_of(ctx_background());
	char text[CTXD_GLOBAL_ID_TEXT];

	stage_open(&stage, HOUR, 0);
	stage_answer(&stage, _i ? answer_share_without_secret : refuse_share);
	ck_assert_int_eq(ctxd_share(stage.client, ctx, NULL, CTXD_FLEET | 0644, NULL),
			 _i ? -EPROTO : -ENOTSUP);
	stage_answered(&stage);
	ck_assert_int_eq(ctxd_global_id_of(stage.client, ctx, text), -ENOENT);
	ctx_finish(ctx);
	stage_close(&stage);
}
END_TEST

/* ---- explanations */

/* From here on stderr goes to memory, and the library explains errors. */
static void begin_capture(int saved[2])
{
	saved[0] = fcntl(2, F_DUPFD_CLOEXEC, 0);
	saved[1] = memfd_create("stderr", MFD_CLOEXEC);
	ck_assert_int_ge(saved[0], 0);
	ck_assert_int_eq(dup2(saved[1], 2), 2);
	ck_assert_ok(setenv("CTXRING_DEBUG", "1", 1));
	debug_read_environment();
}

static void end_capture(const int saved[2], char *text, size_t size)
{
	ssize_t length = pread(saved[1], text, size - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	ck_assert_int_eq(dup2(saved[0], 2), 2);
	close(saved[0]);
	close(saved[1]);
	unsetenv("CTXRING_DEBUG");
	debug_read_environment();
}

struct calls {
	struct ctxd_client *client;
	struct ctx_context *made; /* ends when they were made */
};

/* On the client's thread: calls that are allowed there, or do nothing, each before one with an error of its
 * own. */
static void call_on_dispatcher(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct calls *calls = data;
	struct ctx_context *other = NULL;

	(void)callback;
	(void)ctx;
	ctxd_join_remote(calls->client, FAR_ID, NULL, 0, &other);
	ctx_wait(ctx_background(), CTX_FOREVER);
	ctxd_close(calls->client);
	ctx_wait(ctx_background(), CTX_FOREVER);
	ctx_finish(other);
	ctx_cancel(calls->made);
}

/* An error is explained by its own reason, and not by that of an earlier call. */
START_TEST(what_is_allowed_on_the_clients_thread_leaves_no_reason)
{
	static const char wait[] =
		"ctx_wait returned -EDEADLK: the context never ends, and the wait has no bound";
	struct ctx_callback callback = {0};
	struct stage stage;
	uint64_t id;
	int saved[2];
	char text[4096];

	/* While the client has a thread nobody may write what says whether reasons are wanted. */
	begin_capture(saved);
	struct ctx_context *ctx = stage_join(&stage, HOUR, 0);
	struct calls calls = {.client = stage.client, .made = child_of(ctx_background())};
	ck_assert_ok(ctx_callback_add(ctx, &callback, call_on_dispatcher, &calls, &id));
	say_last_words(&stage, "over", CTX_CAUSE_CALL, "far.example");
	ck_assert_ok(ctx_wait(calls.made, SOON));
	ctxd_close(NULL); /* which is allowed */
	ck_assert_int_eq(ctxd_watch(stage.client, 1u << 20), -EINVAL);
	ctx_callback_stop_wait(id);
	ctx_finish(calls.made);
	ctx_finish(ctx);
	stage_close(&stage);
	end_capture(saved, text, sizeof(text));
	const char *first = strstr(text, wait);
	ck_assert_msg(first && strstr(first + 1, wait), "said: %s", text);
	ck_assert_msg(strstr(text, "ctxd_watch returned -EINVAL: another argument is out of range"),
		      "said: %s", text);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client remote");
	TCase *joins = test_case(suite, "joins"), *waits = test_case(suite, "waits"),
	      *shares = test_case(suite, "shares");

	tcase_add_test(joins, a_join_makes_a_live_context_and_asks_meanwhile);
	tcase_add_test(joins, a_label_and_surviving_are_passed_on);
	tcase_add_test(joins, what_had_ended_before_ends_with_its_cause);
	tcase_add_loop_test(joins, what_its_host_does_not_know_ends, 0, 2);
	tcase_add_test(joins, a_refusal_for_now_is_asked_again);
	tcase_add_test(joins, a_refusal_right_after_the_boot_is_not_asked_again_at_once);
	tcase_add_test(joins, an_answer_with_another_descriptor_is_asked_again);
	tcase_add_loop_test(joins, a_context_that_ended_first_leaves_nothing_behind, 0, 2);
	tcase_add_test(joins, answers_that_nobody_wants_are_given_back);
	tcase_add_test(joins, the_deadline_moves_and_orders_are_obeyed);
	tcase_add_test(joins, a_context_of_this_host_has_an_owner);
	tcase_add_test(joins, a_mirror_that_is_joined_by_its_own_id_ends_with_its_bridge);
	tcase_add_test(joins, what_cannot_be_joined_is_refused);
	tcase_add_test(joins, what_is_allowed_on_the_clients_thread_leaves_no_reason);
	tcase_add_loop_test(waits, a_join_that_waits_has_the_answer, 0, (int)WAITINGS);
	tcase_add_test(waits, a_join_that_waited_for_nothing_is_withdrawn);
	tcase_add_test(shares, a_share_with_the_fleet_has_a_global_id);
	tcase_add_test(shares, a_share_outlives_its_fleet);
	tcase_add_loop_test(shares, a_share_without_a_fleet_is_refused, 0, 2);
	return suite;
}
