/* SPDX-License-Identifier: MIT */
/* Two threads at one context. Each race goes on until it has ended both ways. */
#include <poll.h>
#include <sched.h>
#include <string.h>

#include "support/contexts.h"
#include "support/race.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

enum {
	WIDE = 400
};

/* What the races fight over; each uses what it needs. */
struct field {
	struct ctx_context *parent, *ctx, *child;
	struct ctx_callback callback;
	uint64_t callback_id;
	unsigned ticket, order[2]; /* who came first: left is 0 */
	unsigned calls, ended;
	int result[2], seen;
	bool stopped;
	struct ctx_cause cause;
	uint64_t lead_ns;
	struct ctx_context *wide[WIDE];
};

static void make_family(void *data)
{
	struct field *field = data;
	uint64_t lead_ns = field->lead_ns;

	memset(field, 0, sizeof(*field));
	field->lead_ns = lead_ns;
	field->parent = child_of(ctx_background());
	field->ctx = child_of(field->parent);
	field->child = child_of(field->ctx);
}

static void finish_family(struct field *field)
{
	ctx_finish(field->child);
	ctx_finish(field->ctx);
	ctx_finish(field->parent);
}

static void left_cancels(void *data)
{
	struct field *field = data;

	field->result[0] = ctx_cancel_cause(field->ctx, -EPIPE, "left");
	field->order[0] = race_ticket(&field->ticket);
}

/* ---- cancel against cancel */

static void right_cancels(void *data)
{
	struct field *field = data;

	field->result[1] = ctx_cancel_cause(field->ctx, -EIO, "right");
}

static int one_winner(void *data)
{
	struct field *field = data;
	int winner = field->result[1] == 0;

	ck_assert_int_eq(field->result[winner], 0);
	ck_assert_int_eq(field->result[!winner], -EALREADY);
	ck_assert_int_eq(cause_of(field->child).error, winner ? -EIO : -EPIPE);
	ck_assert_str_eq(cause_of(field->ctx).text, winner ? "right" : "left");
	ck_assert_live(field->parent);
	finish_family(field);
	return winner;
}

START_TEST(two_cancels_have_one_winner)
{
	static const struct race race = {"cancel, cancel", make_family, left_cancels, right_cancels,
					 one_winner};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void right_cancels_parent(void *data)
{
	struct field *field = data;

	field->result[1] = ctx_cancel_cause(field->parent, -EIO, "right");
	ck_assert_int_ne(ctx_err(field->child), 0);
}

static int cause_of_either(void *data)
{
	struct field *field = data;
	struct ctx_cause cause = cause_of(field->child);
	int by_parent = field->result[0] == -EALREADY;

	ck_assert_ok(field->result[1]);
	ck_assert_int_eq(cause.error, by_parent ? -EIO : -EPIPE);
	ck_assert_str_eq(cause.text, by_parent ? "right" : "left");
	ck_assert_int_eq(cause_of(field->parent).error, -EIO);
	finish_family(field);
	return by_parent;
}

START_TEST(cancel_of_a_child_and_of_its_parent)
{
	static const struct race race = {"cancel child, cancel parent", make_family, left_cancels,
					 right_cancels_parent, cause_of_either};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

/*
 * Goal: who ends the parent returns only when all below is marked, also where another
 * end is still being spread. Method: a subtree that takes a while.
 */
static void make_wide_family(void *data)
{
	struct field *field = data;

	make_family(field);
	for (int i = 0; i < WIDE; i++)
		field->wide[i] = child_of(i % 8 ? field->wide[i - 1] : field->ctx);
}

static void right_cancels_parent_and_looks(void *data)
{
	struct field *field = data;

	field->result[1] = ctx_cancel_cause(field->parent, -EIO, "right");
	ck_assert_ok(field->result[1]);
	for (int i = 0; i < WIDE; i++)
		ck_assert_cancelled(field->wide[i]);
}

static int wide_cause_of_either(void *data)
{
	struct field *field = data;

	for (int i = 0; i < WIDE; i++) {
		ck_assert_int_eq(cause_of(field->wide[i]).error, field->result[0] ? -EIO : -EPIPE);
		ctx_unref(field->wide[i]);
	}
	return cause_of_either(data);
}

START_TEST(cancel_of_the_parent_waits_for_a_subtree_that_another_marks)
{
	static const struct race race = {"cancel wide child, cancel parent", make_wide_family, left_cancels,
					 right_cancels_parent_and_looks, wide_cause_of_either};
	struct field field = {0};

	race_run(&race, &field, test_scaled(2000));
}
END_TEST

/* ---- cancel against waiting */

static void right_waits(void *data)
{
	struct field *field = data;

	field->seen = ctx_err(field->child);
	ck_assert_ok(ctx_wait(field->child, CTX_FOREVER));
	ck_assert_cancelled(field->child);
}

static int found_done(void *data)
{
	struct field *field = data;

	ck_assert_ok(field->result[0]);
	finish_family(field);
	return field->seen != 0;
}

START_TEST(cancel_and_wait)
{
	static const struct race race = {"cancel, wait", make_family, left_cancels, right_waits, found_done};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void right_polls(void *data)
{
	struct field *field = data;
	/* The hang-up alone: it comes a moment after the first byte. */
	struct pollfd entry = {.fd = ctx_done_fd(field->child), .events = 0};

	ck_assert_int_ge(entry.fd, 0);
	field->seen = ctx_err(field->child);
	ck_assert_int_eq(poll(&entry, 1, -1), 1);
	ck_assert(entry.revents & POLLHUP);
}

START_TEST(cancel_and_first_done_fd)
{
	static const struct race race = {"cancel, done fd", make_family, left_cancels, right_polls,
					 found_done};
	struct field field = {0};

	race_run(&race, &field, test_scaled(10000));
}
END_TEST

/* ---- cancel against dropping handles */

static void make_family_held_twice(void *data)
{
	struct field *field = data;

	make_family(field);
	ctx_ref(field->ctx);
}

static void left_cancels_and_drops(void *data)
{
	struct field *field = data;

	left_cancels(field);
	ctx_unref(field->ctx);
}

static void right_drops(void *data)
{
	struct field *field = data;

	ctx_unref(field->ctx);
	field->order[1] = race_ticket(&field->ticket);
}

static int family_is_done(void *data)
{
	struct field *field = data;

	ck_assert_ok(field->result[0]);
	ck_assert_cancelled(field->child);
	ck_assert_live(field->parent);
	ctx_finish(field->child);
	ctx_finish(field->parent);
	return field->order[0] > field->order[1];
}

START_TEST(cancel_and_drop)
{
	static const struct race race = {"cancel, drop", make_family_held_twice, left_cancels_and_drops,
					 right_drops, family_is_done};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void right_drops_child(void *data)
{
	struct field *field = data;

	ctx_unref(field->child);
	field->order[1] = race_ticket(&field->ticket);
}

static int child_is_gone(void *data)
{
	struct field *field = data;

	ck_assert_ok(field->result[0]);
	ctx_finish(field->ctx);
	ctx_finish(field->parent);
	return field->order[0] > field->order[1];
}

START_TEST(cancel_and_drop_of_the_last_child)
{
	static const struct race race = {"cancel, drop child", make_family, left_cancels, right_drops_child,
					 child_is_gone};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void right_drops_parent(void *data)
{
	struct field *field = data;

	ctx_unref(field->parent);
	field->order[1] = race_ticket(&field->ticket);
}

static int parent_is_gone(void *data)
{
	struct field *field = data;

	ck_assert_ok(field->result[0]);
	ck_assert_cancelled(field->child);
	ctx_finish(field->child);
	ctx_finish(field->ctx);
	return field->order[0] > field->order[1];
}

START_TEST(cancel_and_drop_of_the_parent)
{
	static const struct race race = {"cancel, drop parent", make_family, left_cancels, right_drops_parent,
					 parent_is_gone};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

/* Both drop the last handles of one line of ancestors; nothing is cancelled. */
static void left_drops_child(void *data)
{
	struct field *field = data;

	ctx_unref(field->child);
	field->order[0] = race_ticket(&field->ticket);
}

static void right_drops_others(void *data)
{
	struct field *field = data;

	ctx_unref(field->parent);
	ctx_unref(field->ctx);
	field->order[1] = race_ticket(&field->ticket);
}

static int nothing_is_left(void *data)
{
	struct field *field = data;

	return field->order[0] > field->order[1];
}

START_TEST(drop_and_drop)
{
	static const struct race race = {"drop, drop", make_family, left_drops_child, right_drops_others,
					 nothing_is_left};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

/* ---- cancel against deriving */

static void right_derives(void *data)
{
	struct field *field = data;
	struct ctx_context *extra = child_of(field->child);

	field->seen = ctx_err(extra);
	field->cause = cause_of(extra);
	ck_assert(field->cause.kind == CTX_CAUSE_NONE || field->cause.error == -EPIPE);
	ck_assert_ok(ctx_wait(extra, CTX_FOREVER));
	ck_assert_str_eq(cause_of(extra).text, "left");
	ctx_unref(extra);
}

START_TEST(cancel_and_derive_leaves_no_child_behind)
{
	static const struct race race = {"cancel, derive", make_family, left_cancels, right_derives,
					 found_done};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void left_derives_and_drops(void *data)
{
	struct field *field = data;

	for (int i = 0; i < 4; i++)
		ctx_unref(child_of(field->ctx));
	field->order[0] = race_ticket(&field->ticket);
}

static void right_derives_and_drops(void *data)
{
	struct field *field = data;

	for (int i = 0; i < 4; i++)
		ctx_unref(child_of(field->ctx));
	field->order[1] = race_ticket(&field->ticket);
}

static int family_is_live(void *data)
{
	struct field *field = data;

	ck_assert_live(field->ctx);
	finish_family(field);
	return field->order[0] > field->order[1];
}

START_TEST(two_threads_derive_from_one_parent)
{
	static const struct race race = {"derive, derive", make_family, left_derives_and_drops,
					 right_derives_and_drops, family_is_live};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

/* ---- cancel against its cause being read */

static void right_reads_cause(void *data)
{
	struct field *field = data;

	field->cause = cause_of(field->child);
	field->seen = field->cause.error;
}

static int cause_is_whole_or_none(void *data)
{
	struct field *field = data;

	if (field->seen) {
		ck_assert_int_eq(field->cause.kind, CTX_CAUSE_CALL);
		ck_assert_int_eq(field->cause.error, -EPIPE);
		ck_assert_str_eq(field->cause.text, "left");
		ck_assert(field->cause.inherited);
		ck_assert_uint_eq(field->cause.ctx_id, ctx_id(field->ctx));
	} else {
		ck_assert_int_eq(field->cause.kind, CTX_CAUSE_NONE);
		ck_assert_str_eq(field->cause.text, "");
	}
	return found_done(data);
}

START_TEST(cause_is_read_whole_or_not_at_all)
{
	static const struct race race = {"cancel, cause", make_family, left_cancels, right_reads_cause,
					 cause_is_whole_or_none};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

/* ---- cancel against the deadline */

static void make_timed(void *data)
{
	struct field *field = data;

	make_family(field);
	ctx_finish(field->child);
	field->child = timed_child_of(field->ctx, 100000);
}

/* The lead is adjusted from round to round, so that the two stay close. */
static void left_cancels_at_the_deadline(void *data)
{
	struct field *field = data;

	while (clock_now_ns() < ctx_deadline_ns(field->child) + field->lead_ns)
		;
	field->result[0] = ctx_cancel(field->child);
}

static void right_does_nothing(void *data)
{
	(void)data;
}

static int cancelled_or_expired(void *data)
{
	struct field *field = data;
	int expired = ctx_err(field->child) == -ETIME;

	ck_assert_int_eq(field->result[0], expired ? -EALREADY : 0);
	ck_assert_int_eq(ctx_err(field->child), expired ? -ETIME : -ECANCELED);
	ck_assert_int_eq(cause_of(field->child).kind, expired ? CTX_CAUSE_DEADLINE : CTX_CAUSE_CALL);
	if (!expired)
		field->lead_ns += 3000;
	else if (field->lead_ns >= 5000)
		field->lead_ns -= 5000;
	finish_family(field);
	return expired;
}

START_TEST(cancel_and_deadline_have_one_outcome)
{
	static const struct race race = {"cancel, deadline", make_timed, left_cancels_at_the_deadline,
					 right_does_nothing, cancelled_or_expired};
	struct field field = {0};

	race_run(&race, &field, test_scaled(3000));
}
END_TEST

static void left_moves_the_deadline(void *data)
{
	struct field *field = data;

	while (clock_now_ns() < ctx_deadline_ns(field->child) + field->lead_ns)
		;
	field->result[0] = ctx_set_deadline(field->child, clock_now_ns() + HOUR);
}

static void make_movable(void *data)
{
	struct field *field = data;

	make_family(field);
	ctx_finish(field->child);
	ck_assert_ok(ctx_with_movable_deadline(field->ctx, clock_now_ns() + 100000, NULL, &field->child));
}

static int moved_or_expired(void *data)
{
	struct field *field = data;
	int expired = field->result[0] == -EALREADY;

	if (expired) {
		ck_assert_expired(field->child);
		field->lead_ns -= field->lead_ns >= 5000 ? 5000 : 0;
	} else {
		ck_assert_ok(field->result[0]);
		ck_assert_live(field->child);
		field->lead_ns += 3000;
	}
	finish_family(field);
	return expired;
}

START_TEST(moving_a_deadline_and_its_expiry_have_one_outcome)
{
	static const struct race race = {"move, expire", make_movable, left_moves_the_deadline,
					 right_does_nothing, moved_or_expired};
	struct field field = {0};

	race_run(&race, &field, test_scaled(3000));
}
END_TEST

/* ---- cancel against callbacks */

static void count_call(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct field *field = data;

	(void)callback;
	ck_assert_cancelled(ctx);
	__atomic_fetch_add(&field->calls, 1, __ATOMIC_RELAXED);
	sched_yield();
	__atomic_store_n(&field->ended, 1, __ATOMIC_RELEASE);
}

static void make_callback(void *data)
{
	struct field *field = data;

	make_family(field);
	ck_assert_ok(
		ctx_callback_add(field->child, &field->callback, count_call, field, &field->callback_id));
}

static void right_stops(void *data)
{
	struct field *field = data;

	field->stopped = ctx_callback_stop(field->callback_id);
}

static void right_stops_and_waits(void *data)
{
	struct field *field = data;

	field->stopped = ctx_callback_stop_wait(field->callback_id);
	ck_assert(field->stopped || __atomic_load_n(&field->ended, __ATOMIC_ACQUIRE));
}

static int ran_or_was_stopped(void *data)
{
	struct field *field = data;

	ck_assert_uint_eq(field->calls, field->stopped ? 0 : 1);
	finish_family(field);
	return field->stopped;
}

START_TEST(cancel_and_stop_of_a_callback)
{
	static const struct race race = {"cancel, stop", make_callback, left_cancels, right_stops,
					 ran_or_was_stopped};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

START_TEST(cancel_and_stop_wait_of_a_callback)
{
	static const struct race race = {"cancel, stop and wait", make_callback, left_cancels,
					 right_stops_and_waits, ran_or_was_stopped};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void right_adds(void *data)
{
	struct field *field = data;

	field->seen = ctx_err(field->child);
	ck_assert_ok(ctx_callback_add(field->child, &field->callback, count_call, field, NULL));
}

static int ran_once(void *data)
{
	struct field *field = data;

	ck_assert_uint_eq(field->calls, 1);
	return found_done(data);
}

START_TEST(cancel_and_add_of_a_callback_runs_it_once)
{
	static const struct race race = {"cancel, add callback", make_family, left_cancels, right_adds,
					 ran_once};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

/* ---- a merged context between two parents that end */

static void make_merged(void *data)
{
	struct field *field = data;

	memset(field, 0, sizeof(*field));
	field->parent = child_of(ctx_background());
	field->ctx = child_of(ctx_background());
	const struct ctx_context *parents[] = {field->parent, field->ctx};
	ck_assert_ok(ctx_merge(parents, 2, NULL, &field->child));
}

static void right_ends_the_other_parent(void *data)
{
	struct field *field = data;

	field->result[1] = ctx_cancel_cause(field->parent, -EIO, "right");
	ck_assert_int_ne(ctx_err(field->child), 0);
}

static int first_parents_cause(void *data)
{
	struct field *field = data;
	struct ctx_cause cause = cause_of(field->child);
	int right = cause.error == -EIO;

	ck_assert_ok(field->result[0]);
	ck_assert_ok(field->result[1]);
	ck_assert_str_eq(cause.text, right ? "right" : "left");
	ck_assert_uint_eq(cause.ctx_id, ctx_id(right ? field->parent : field->ctx));
	ck_assert(cause.inherited);
	finish_family(field);
	return right;
}

START_TEST(two_parents_of_a_merged_context_end)
{
	static const struct race race = {"merge", make_merged, left_cancels, right_ends_the_other_parent,
					 first_parents_cause};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

static void right_drops_merged(void *data)
{
	struct field *field = data;

	ctx_unref(field->child);
	field->order[1] = race_ticket(&field->ticket);
}

static int merged_is_gone(void *data)
{
	struct field *field = data;

	ck_assert_ok(field->result[0]);
	ctx_finish(field->ctx);
	ctx_finish(field->parent);
	return field->order[0] > field->order[1];
}

START_TEST(end_of_a_parent_and_drop_of_a_merged_context)
{
	static const struct race race = {"cancel, drop merged", make_merged, left_cancels, right_drops_merged,
					 merged_is_gone};
	struct field field = {0};

	race_run(&race, &field, test_scaled(20000));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("race");
	TCase *race = test_case(suite, "race");

	tcase_add_test(race, two_cancels_have_one_winner);
	tcase_add_test(race, cancel_of_a_child_and_of_its_parent);
	tcase_add_test(race, cancel_of_the_parent_waits_for_a_subtree_that_another_marks);
	tcase_add_test(race, cancel_and_wait);
	tcase_add_test(race, cancel_and_first_done_fd);
	tcase_add_test(race, cancel_and_drop);
	tcase_add_test(race, cancel_and_drop_of_the_last_child);
	tcase_add_test(race, cancel_and_drop_of_the_parent);
	tcase_add_test(race, drop_and_drop);
	tcase_add_test(race, cancel_and_derive_leaves_no_child_behind);
	tcase_add_test(race, two_threads_derive_from_one_parent);
	tcase_add_test(race, cause_is_read_whole_or_not_at_all);
	tcase_add_test(race, cancel_and_deadline_have_one_outcome);
	tcase_add_test(race, moving_a_deadline_and_its_expiry_have_one_outcome);
	tcase_add_test(race, cancel_and_stop_of_a_callback);
	tcase_add_test(race, cancel_and_stop_wait_of_a_callback);
	tcase_add_test(race, cancel_and_add_of_a_callback_runs_it_once);
	tcase_add_test(race, two_parents_of_a_merged_context_end);
	tcase_add_test(race, end_of_a_parent_and_drop_of_a_merged_context);
	return suite;
}
