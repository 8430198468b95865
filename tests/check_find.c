/* SPDX-License-Identifier: MIT */
/* Contexts found by their id, also while others free them. */
#include <pthread.h>
#include <stdlib.h>

#include "cancel.h"
#include "find.h"
#include "support/contexts.h"
#include "support/race.h"
#include "wire.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

static bool finds(uint64_t id, const struct ctx_context *expected)
{
	struct ctx_context *found = context_find(id);

	if (found)
		node_unref(found);
	return found == expected;
}

START_TEST(a_live_context_is_found_and_a_done_or_freed_one_is_not)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct ctx_context *timed = timed_child_of(parent, HOUR), *merged;
	uint64_t id = ctx_id(child);

	ck_assert_ok(find_enable());
	ck_assert_ok(ctx_merge((const struct ctx_context *const[]){parent, child}, 2, NULL, &merged));
	ck_assert(finds(ctx_id(parent), parent));
	ck_assert(finds(id, child));
	ck_assert(finds(ctx_id(timed), timed));
	ck_assert(finds(ctx_id(merged), merged));
	ctx_cancel(child);
	ck_assert(finds(id, NULL));
	ck_assert(finds(ctx_id(parent), parent));
	ctx_unref(child);
	ck_assert(finds(id, NULL));
	ctx_unref(merged);
	ctx_unref(timed);
	id = ctx_id(parent);
	ctx_unref(parent); /* never ended */
	ck_assert(finds(id, NULL));
}
END_TEST

START_TEST(an_id_of_another_generation_or_of_nothing_is_not_found)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t id = ctx_id(ctx);

	ck_assert_ok(find_enable());
	ck_assert(finds(id + (1ull << 32), NULL));
	ck_assert(finds(0, NULL));
	ck_assert(finds(UINT64_MAX, NULL));
	ck_assert(finds((1ull << 32) | 0xfffff, NULL));
	ctx_finish(ctx);
	ctx = child_of(ctx_background()); /* in the same slot, most likely */
	ck_assert(finds(id, NULL));
	ck_assert(finds(ctx_id(ctx), ctx));
	ctx_finish(ctx);
}
END_TEST

START_TEST(values_and_detached_contexts_cannot_be_ended_and_are_not_found)
{
	static const struct ctx_key key = {.name = "key"};
	const struct ctx_context *value, *detached = detached_child_of(ctx_background());

	ck_assert_ok(find_enable());
	ck_assert_ok(ctx_with_value(ctx_background(), &key, NULL, "shown", &value));
	ck_assert_uint_ne(ctx_id(value), 0);
	ck_assert(finds(ctx_id(value), NULL));
	ck_assert(finds(ctx_id(detached), NULL));
	ctx_unref(value);
	ctx_unref(detached);
}
END_TEST

START_TEST(what_is_found_outlives_its_last_handle)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t id = ctx_id(ctx);

	ck_assert_ok(find_enable());
	struct ctx_context *found = context_find(id);
	ck_assert_ptr_eq(found, ctx);
	ctx_unref(ctx);
	ck_assert(finds(id, NULL));
	ck_assert_live(found);
	node_unref(found);
}
END_TEST

/*
 * Goal: nothing leads to a node that is about to be freed. Method: the moment in which the end of an ancestor
 * has reached the node and not yet its record; whoever sees that end may give the last reference back then.
 */
START_TEST(one_that_is_done_before_its_record_says_so_is_not_found_once_it_is_let_go)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint64_t id = ctx_id(ctx);

	ck_assert_ok(find_enable());
	atomic_fetch_or(&ctx->state, ECANCELED | STATE_SWEPT);
	ck_assert_cancelled(ctx);
	find_forget(ctx);
	ck_assert(finds(id, NULL));
	ctx_unref(ctx);
}
END_TEST

/* What a record of one that ended by itself holds there is for readers of the table. */
START_TEST(letting_go_keeps_the_site_of_an_end)
{
	struct ctx_context *ctx = child_of(ctx_background());
	const struct ctx_table_context *record = table_context((uint32_t)ctx_id(ctx));

	ck_assert_ok(ctx_cancel(ctx));
	uint64_t site = record->done_site;
	ck_assert_uint_ne(site, 0);
	find_forget(ctx);
	ck_assert_uint_eq(record->done_site, site);
	ctx_unref(ctx);
}
END_TEST

/* ---- races: one thread looks up, the other drops */

struct field {
	struct ctx_context *parent, *ctx;
	uint64_t id;
	bool below, cancels;
	struct ctx_context *found;
};

static void prepare_field(void *data)
{
	struct field *field = data;

	field->parent = child_of(ctx_background());
	field->ctx = child_of(field->below ? field->parent : ctx_background());
	field->id = ctx_id(field->ctx);
	field->found = NULL;
}

static void left_looks_up(void *data)
{
	struct field *field = data;

	field->found = context_find(field->id);
	if (field->found) {
		struct ctx_cause cause = {.error = -EPIPE, .kind = CTX_CAUSE_SERVICE, .pid = 1};
		context_end_foreign(field->found, ECANCELED, &cause);
	}
}

static void right_drops(void *data)
{
	struct field *field = data;

	if (field->cancels)
		ctx_cancel(field->ctx);
	ctx_unref(field->ctx);
}

/* Whoever found it must hold it whole. */
static int judge_field(void *data)
{
	struct field *field = data;
	int outcome = field->found != NULL;

	if (field->found) {
		ck_assert_uint_eq(ctx_id(field->found), field->id);
		ck_assert_cancelled(field->found);
		node_unref(field->found);
	}
	ck_assert(finds(field->id, NULL));
	ctx_finish(field->parent);
	return outcome;
}

START_TEST(looking_up_and_dropping)
{
	static const struct race race = {"look up, drop", prepare_field, left_looks_up, right_drops,
					 judge_field};
	struct field field = {.below = _i & 1, .cancels = _i & 2};

	ck_assert_ok(find_enable());
	race_run(&race, &field, test_scaled(10000));
}
END_TEST

/* ---- ends that came from another process */

START_TEST(a_foreign_end_is_told_as_it_came)
{
	struct ctx_context *ctx = child_of(ctx_background()), *child = child_of(ctx);
	struct ctx_cause given = {.error = -EPIPE,
				  .kind = CTX_CAUSE_CALL,
				  .ctx_id = 77,
				  .time_ns = 88,
				  .pid = 99,
				  .tid = 100,
				  .uid = 101,
				  .text = "client left"};

	ck_assert_ok(context_end_foreign(ctx, ECANCELED, &given));
	ck_assert_int_eq(context_end_foreign(ctx, ECANCELED, &given), -EALREADY);
	for (int i = 0; i < 2; i++) {
		struct ctx_cause cause = cause_of(i ? child : ctx);
		ck_assert(cause.inherited);
		ck_assert_int_eq(cause.error, -EPIPE);
		ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
		ck_assert_uint_eq(cause.ctx_id, 77);
		ck_assert_uint_eq(cause.time_ns, 88);
		ck_assert_int_eq(cause.pid, 99);
		ck_assert_int_eq(cause.tid, 100);
		ck_assert_uint_eq(cause.uid, 101);
		ck_assert_ptr_null(cause.site);
		ck_assert_str_eq(cause.text, "client left");
	}
	ck_assert_cancelled(child);
	ctx_finish(child);
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_joined_context_has_its_deadline_and_may_be_ended_by_it)
{
	struct ctx_context *ctx;
	struct ctx_cause given = {.error = -ETIME, .kind = CTX_CAUSE_DEADLINE, .pid = 5};
	uint64_t deadline_ns = clock_now_ns() + HOUR;

	ck_assert_ok(context_new_joined(ctx_background(), deadline_ns, false, "joined", NULL, &ctx));
	ck_assert_uint_eq(ctx_deadline_ns(ctx), deadline_ns);
	ck_assert_int_eq(ctx_set_deadline(ctx, deadline_ns + 1), -EPERM);
	ck_assert_ok(context_end_foreign(ctx, ETIME, &given));
	ck_assert_expired(ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_DEADLINE);
	ctx_finish(ctx);
	ck_assert_ok(context_new_joined(ctx_background(), deadline_ns, true, "joined", NULL, &ctx));
	ck_assert_ok(ctx_set_deadline(ctx, deadline_ns + HOUR));
	ctx_finish(ctx);
	ck_assert_ok(context_new_joined(ctx_background(), clock_now_ns() - 1, true, "joined", NULL, &ctx));
	ck_assert_expired(ctx);
	ctx_finish(ctx);
}
END_TEST

/* ---- last words */

START_TEST(the_done_pipe_of_an_ended_context_tells_why)
{
	uint8_t bytes[2 * WIRE_LAST_WORDS_MAX];
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	int fd = ctx_done_fd(child);
	struct wire_cause words;

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "peer %d left", 7));
	ssize_t size = read(fd, bytes, sizeof(bytes));
	ck_assert_int_gt(size, 0);
	ck_assert_ok(wire_unpack_last_words(bytes, (size_t)size, &words));
	ck_assert_int_eq(words.error, -EPIPE);
	ck_assert_uint_eq(words.kind, CTX_CAUSE_CALL);
	ck_assert_uint_eq(words.expired, 0);
	ck_assert_int_eq(words.pid, getpid());
	ck_assert_uint_eq(words.ctx_id, ctx_id(parent));
	ck_assert_str_eq(words.text, "peer 7 left");
	ck_assert_int_eq((int)read(fd, bytes, sizeof(bytes)), 0); /* hung up */
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

/* ---- deadlines that move */

struct moves {
	struct watch watch;
	unsigned count;
};

static void ignore_done(struct watch *watch, struct deferred_list *later)
{
	(void)watch;
	(void)later;
}

static void count_move(struct watch *watch)
{
	container_of(watch, struct moves, watch)->count++;
}

START_TEST(a_watch_hears_of_a_deadline_that_moved)
{
	static const struct watch_ops ops = {.done = ignore_done, .moved = count_move};
	struct ctx_context *parent, *child;
	struct moves moves = {.count = 0};
	uint64_t now_ns = clock_now_ns();

	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), now_ns + HOUR, NULL, &parent));
	child = child_of(parent);
	ck_assert_ok(context_watch(child, &moves.watch, &ops));
	ck_assert_ok(ctx_set_deadline(parent, now_ns + 2 * HOUR));
	ck_assert_uint_eq(moves.count, 1);
	ck_assert_ok(ctx_set_deadline(parent, now_ns + 2 * HOUR));
	ck_assert_uint_eq(moves.count, 1); /* it did not move */
	ck_assert_ok(ctx_set_deadline(child, now_ns + HOUR));
	ck_assert_uint_eq(moves.count, 2);
	ck_assert_ok(ctx_set_deadline(parent, now_ns + 3 * HOUR));
	ck_assert_uint_eq(moves.count, 2); /* its own is earlier */
	context_unwatch(&moves.watch);
	ctx_finish(child);
	ctx_finish(parent);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("find");
	TCase *find = test_case(suite, "find"), *foreign = test_case(suite, "foreign");

	tcase_add_test(find, a_live_context_is_found_and_a_done_or_freed_one_is_not);
	tcase_add_test(find, an_id_of_another_generation_or_of_nothing_is_not_found);
	tcase_add_test(find, values_and_detached_contexts_cannot_be_ended_and_are_not_found);
	tcase_add_test(find, what_is_found_outlives_its_last_handle);
	tcase_add_test(find, one_that_is_done_before_its_record_says_so_is_not_found_once_it_is_let_go);
	tcase_add_test(find, letting_go_keeps_the_site_of_an_end);
	tcase_add_loop_test(find, looking_up_and_dropping, 0, 4);
	tcase_add_test(foreign, a_foreign_end_is_told_as_it_came);
	tcase_add_test(foreign, a_joined_context_has_its_deadline_and_may_be_ended_by_it);
	tcase_add_test(foreign, the_done_pipe_of_an_ended_context_tells_why);
	tcase_add_test(foreign, a_watch_hears_of_a_deadline_that_moved);
	return suite;
}
