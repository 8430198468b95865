/* SPDX-License-Identifier: MIT */
/* The tree: what a context is when it is made, who ends with whom, and who frees whom. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support/contexts.h"
#include "table_format.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static const struct ctx_key key = {"key", NULL, NULL};

START_TEST(background_and_todo_are_never_done)
{
	const struct ctx_context *roots[] = {ctx_background(), ctx_todo()};
	char names[2][100];

	ck_assert_ptr_ne(roots[0], roots[1]);
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_nonnull(roots[i]);
		ck_assert_live(roots[i]);
		ck_assert_uint_eq(ctx_deadline_ns(roots[i]), CTX_FOREVER);
		ck_assert_uint_eq(ctx_id(roots[i]), 0);
		ck_assert_int_eq(ctx_cancel((struct ctx_context *)roots[i]), -EINVAL);
		ck_assert_int_eq(ctx_wait(roots[i], 0), -ETIMEDOUT);
		ck_assert_int_eq(ctx_wait(roots[i], CTX_FOREVER), -EDEADLK);
		ck_assert_int_gt(ctx_format(roots[i], names[i], sizeof(names[i])), 0);
		ck_assert_ptr_eq(ctx_ref(roots[i]), roots[i]);
		ctx_unref(roots[i]);
		ctx_unref(roots[i]);
		ck_assert_live(roots[i]);
	}
	ck_assert_str_ne(names[0], names[1]);
}
END_TEST

START_TEST(new_child_is_not_done)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_live(ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_NONE);
	ck_assert_int_eq(cause_of(ctx).error, 0);
	ck_assert_int_eq(ctx_wait(ctx, 0), -ETIMEDOUT);
	ck_assert_uint_ne(ctx_id(ctx), 0);
	ctx_finish(ctx);
}
END_TEST

/* Goal: at the return of ctx_cancel the whole subtree is done. Method: a chain with a fan at each level. */
START_TEST(cancel_marks_the_whole_subtree_before_it_returns)
{
	enum {
		DEPTH = 60,
		FAN = 5
	};
	struct ctx_context *chain[DEPTH], *fan[DEPTH][FAN];

	for (int i = 0; i < DEPTH; i++) {
		chain[i] = child_of(i ? chain[i - 1] : ctx_background());
		for (int j = 0; j < FAN; j++)
			fan[i][j] = child_of(chain[i]);
	}
	ck_assert_ok(ctx_cancel(chain[1]));
	ck_assert_live(chain[0]);
	for (int i = 0; i < DEPTH; i++) {
		if (i > 0)
			ck_assert_cancelled(chain[i]);
		for (int j = 0; j < FAN; j++) {
			ck_assert_int_eq(ctx_err(fan[i][j]), i > 0 ? -ECANCELED : 0);
			ctx_finish(fan[i][j]);
		}
	}
	for (int i = 0; i < DEPTH; i++)
		ctx_finish(chain[i]);
}
END_TEST

/* How many live records of the table name ctx as their parent. */
static unsigned listed_children(const struct ctx_context *ctx)
{
	struct ctx_table_header *table = test_own_table();
	unsigned count = 0;

	ck_assert_ptr_nonnull(table);
	for (uint32_t slot = 1; slot < table->contexts.used; slot++) {
		struct ctx_table_context *record =
			(void *)((char *)table + table->contexts.offset + slot * table->contexts.record_size);
		if (record->state && record->parent_slot == (uint32_t)ctx_id(ctx) &&
		    record->parent_generation == (uint32_t)(ctx_id(ctx) >> 32))
			count++;
	}
	return count;
}

START_TEST(parent_lists_its_children_and_looks_through_values)
{
	struct ctx_context *parent = child_of(ctx_background()), *direct = child_of(parent);
	const struct ctx_context *value = value_child_of(parent, &key, NULL);
	const struct ctx_context *inner_value = value_child_of(value, &key, NULL);
	struct ctx_context *through = child_of(inner_value), *grandchild = child_of(through);

	ck_assert_uint_eq(ctx_id(value), 0);
	ck_assert_uint_eq(listed_children(parent), 2);
	ck_assert_uint_eq(listed_children(through), 1);
	ctx_finish(direct);
	ck_assert_uint_eq(listed_children(parent), 1);
	ctx_finish(grandchild);
	ctx_finish(through);
	ctx_unref(inner_value);
	ctx_unref(value);
	ck_assert_uint_eq(listed_children(parent), 0);
	ctx_finish(parent);
}
END_TEST

/* Goal: neither a cancelled nor a released child stays with its parent. Method: count the library's blocks.
 */
START_TEST(a_million_children_leave_nothing_with_their_parent)
{
	counting_allocator_use();
	struct ctx_context *parent = child_of(ctx_background());
	unsigned most = 0, rounds = test_scaled(1000000);

	for (unsigned i = 0; i < rounds; i++) {
		struct ctx_context *ctx = child_of(parent);
		if (i % 3)
			ck_assert_ok(ctx_cancel(ctx));
		ctx_unref(ctx);
		if (counting_allocator_blocks() > most)
			most = counting_allocator_blocks();
	}
	ck_assert_uint_lt(most, 200);
	ck_assert_live(parent);
	ctx_finish(parent);
}
END_TEST

/* The same for children that stay while their parent is cancelled, and are released after. */
START_TEST(cancelled_children_can_be_released_in_any_order)
{
	enum {
		COUNT = 300
	};
	struct ctx_context *children[COUNT];

	counting_allocator_use();
	ctx_finish(child_of(ctx_background()));
	unsigned before = counting_allocator_blocks();
	unsigned seed = test_seed();
	for (int round = 0; round < 20; round++) {
		struct ctx_context *parent = child_of(ctx_background());
		for (int i = 0; i < COUNT; i++)
			children[i] = child_of(parent);
		ck_assert_ok(ctx_cancel(parent));
		ctx_unref(parent);
		for (int i = COUNT; i > 0; i--) {
			int victim = rand_r(&seed) % i;
			ctx_unref(children[victim]);
			children[victim] = children[i - 1];
		}
		ck_assert_uint_le(counting_allocator_blocks(), before + 200);
	}
}
END_TEST

START_TEST(every_kind_of_child_ends_with_its_parent)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct ctx_context *cancel = child_of(parent), *deadline = timed_child_of(parent, HOUR), *movable,
			   *merged;
	const struct ctx_context *value = value_child_of(parent, &key, parent);
	const struct ctx_context *parents[] = {ctx_background(), parent};

	ck_assert_ok(ctx_with_movable_deadline(parent, clock_now_ns() + HOUR, NULL, &movable));
	ck_assert_ok(ctx_merge(parents, 2, NULL, &merged));
	const struct ctx_context *all[] = {cancel, deadline, value, movable, merged};
	ck_assert_ok(ctx_cancel(parent));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		ck_assert_cancelled(all[i]);
		ck_assert(cause_of(all[i]).inherited);
		ck_assert_uint_eq(cause_of(all[i]).ctx_id, ctx_id(parent));
		ctx_unref(all[i]);
	}
	ctx_finish(parent);
}
END_TEST

START_TEST(every_kind_of_child_of_a_done_parent_is_born_done)
{
	struct ctx_context *parent = child_of(ctx_background()), *movable, *merged;

	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "peer %d left", 7));
	ck_assert_ok(ctx_with_movable_deadline(parent, clock_now_ns() + HOUR, NULL, &movable));
	const struct ctx_context *parents[] = {ctx_background(), parent};
	ck_assert_ok(ctx_merge(parents, 2, NULL, &merged));
	const struct ctx_context *born[] = {child_of(parent), timed_child_of(parent, HOUR),
					    value_child_of(parent, &key, parent), movable, merged};

	for (size_t i = 0; i < sizeof(born) / sizeof(born[0]); i++) {
		ck_assert_cancelled(born[i]);
		ck_assert_int_eq(cause_of(born[i]).error, -EPIPE);
		ck_assert_str_eq(cause_of(born[i]).text, "peer 7 left");
		ck_assert(cause_of(born[i]).inherited);
		ctx_unref(born[i]);
	}
	ctx_finish(parent);
}
END_TEST

START_TEST(cancelling_a_child_leaves_parent_and_siblings_live)
{
	struct ctx_context *parent = child_of(ctx_background());
	struct ctx_context *first = child_of(parent), *second = child_of(parent), *third = child_of(parent);

	ck_assert_ok(ctx_cancel(second));
	ck_assert_live(parent);
	ck_assert_live(first);
	ck_assert_live(third);
	ctx_finish(first);
	ctx_finish(second);
	ctx_finish(third);
	ctx_finish(parent);
}
END_TEST

/* All 24 orders of dropping four generations; whoever is still held stays live. */
START_TEST(references_dropped_in_any_order_cancel_nothing)
{
	for (int order = 0; order < 24; order++) {
		struct ctx_context *line[4];
		int left[4] = {0, 1, 2, 3}, pick = order;
		for (int i = 0; i < 4; i++)
			line[i] = child_of(i ? line[i - 1] : ctx_background());
		for (int count = 4; count > 0; count--) {
			int at = pick % count;
			pick /= count;
			ctx_unref(line[left[at]]);
			left[at] = left[count - 1];
			for (int i = 0; i < count - 1; i++)
				ck_assert_live(line[left[i]]);
		}
	}
}
END_TEST

START_TEST(grandchild_is_reached_after_the_middle_handle_is_dropped)
{
	struct ctx_context *parent = child_of(ctx_background()), *middle = child_of(parent);
	struct ctx_context *grandchild = child_of(middle);
	const struct ctx_context *value = value_child_of(grandchild, &key, NULL);
	struct ctx_context *below = child_of(value);

	ctx_unref(middle);
	ctx_unref(value);
	ck_assert_live(grandchild);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_cancelled(grandchild);
	ck_assert_cancelled(below);
	ctx_finish(parent);
	ctx_finish(grandchild);
	ctx_finish(below);
}
END_TEST

START_TEST(second_cancel_has_no_effect)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "first"));
	ck_assert_int_eq(ctx_cancel_cause(ctx, -EBADF, "second"), -EALREADY);
	ck_assert_int_eq(ctx_cancel(ctx), -EALREADY);
	ck_assert_str_eq(cause_of(ctx).text, "first");
	ck_assert_int_eq(cause_of(ctx).error, -EPIPE);
	ctx_finish(ctx);
}
END_TEST

static void cancel_again(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	ck_assert_int_eq(ctx_cancel((struct ctx_context *)ctx), -EALREADY);
	*(int *)data += 1;
}

START_TEST(cancel_from_its_own_callback_is_refused_quietly)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_callback callback = {0};
	int calls = 0;

	ck_assert_ok(ctx_callback_add(ctx, &callback, cancel_again, &calls, NULL));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(calls, 1);
	ctx_finish(ctx);
}
END_TEST

/* A tree of 100 nodes with four children each, and who cancels which of them. */
struct wood {
	struct ctx_context *nodes[100];
	unsigned order[100];
	unsigned next, winners;
};

static void *cancel_in_turn(void *data)
{
	struct wood *wood = data;

	for (;;) {
		unsigned turn = __atomic_fetch_add(&wood->next, 1, __ATOMIC_RELAXED);
		if (turn >= 100)
			return NULL;
		struct ctx_context *node = wood->nodes[wood->order[turn]];
		int result = ctx_cancel(node);
		ck_assert(result == 0 || result == -EALREADY);
		ck_assert_cancelled(node);
		if (result == 0)
			__atomic_fetch_add(&wood->winners, 1, __ATOMIC_RELAXED);
	}
}

START_TEST(hundred_nodes_cancelled_in_random_order_by_many_threads)
{
	unsigned seed = test_seed(), rounds = test_scaled(100);

	for (unsigned round = 0; round < rounds; round++) {
		struct wood wood = {.next = 0};
		pthread_t threads[4];
		for (unsigned i = 0; i < 100; i++) {
			wood.nodes[i] = child_of(i ? wood.nodes[(i - 1) / 4] : ctx_background());
			unsigned at = (unsigned)rand_r(&seed) % (i + 1);
			wood.order[i] = wood.order[at];
			wood.order[at] = i;
		}
		for (int i = 0; i < 4; i++)
			ck_assert_ok(pthread_create(&threads[i], NULL, cancel_in_turn, &wood));
		for (int i = 0; i < 4; i++)
			ck_assert_ok(pthread_join(threads[i], NULL));
		ck_assert_uint_ge(wood.winners, 1);
		for (unsigned i = 0; i < 100; i++) {
			ck_assert_cancelled(wood.nodes[i]);
			ctx_unref(wood.nodes[i]);
		}
	}
}
END_TEST

static void cancel_and_release_child(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct ctx_context **child = data;

	(void)callback;
	(void)ctx;
	ck_assert_int_eq(ctx_cancel(*child), -EALREADY);
	ctx_unref(*child);
	*child = NULL;
}

START_TEST(child_cancelled_and_released_in_a_callback_of_its_parent)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent);
	struct ctx_callback callback = {0};

	ck_assert_ok(ctx_callback_add(parent, &callback, cancel_and_release_child, &child, NULL));
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_ptr_null(child);
	ctx_finish(parent);
}
END_TEST

static void finish_it(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	ck_assert_cancelled(ctx);
	ctx_finish(*(struct ctx_context **)data);
	*(struct ctx_context **)data = NULL;
}

START_TEST(last_handle_dropped_in_its_own_callback)
{
	struct ctx_context *parent = child_of(ctx_background()), *child = child_of(parent), *handle = child;
	struct ctx_callback callback = {0};

	ck_assert_ok(ctx_callback_add(child, &callback, finish_it, &handle, NULL));
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_ptr_null(handle);
	ctx_finish(parent);
}
END_TEST

static struct ctx_context *cancellable_layer(const struct ctx_context *parent, unsigned kind)
{
	return kind % 2 ? child_of(parent) : timed_child_of(parent, HOUR);
}

/* Goal: no mixture of layers hides an end. Method: 30 random ones, any cancellable one of them ends. */
START_TEST(leaf_of_thirty_random_layers_ends_with_any_of_them)
{
	unsigned seed = test_seed(), rounds = test_scaled(500);

	for (unsigned round = 0; round < rounds; round++) {
		const struct ctx_context *layers[30], *parent = ctx_background();
		struct ctx_context *victims[30];
		unsigned count = 0;
		bool by_expiry = rand_r(&seed) % 4 == 0;
		for (int i = 0; i < 30; i++) {
			unsigned kind = (unsigned)rand_r(&seed) % 4;
			if (kind == 0 && i != 0)
				layers[i] = value_child_of(parent, &key, layers);
			else
				layers[i] = victims[count++] = cancellable_layer(parent, kind);
			parent = layers[i];
		}
		struct ctx_context *victim = victims[(unsigned)rand_r(&seed) % count];
		if (by_expiry)
			ck_assert_ok(ctx_set_deadline(victim, 1));
		else
			ck_assert_ok(ctx_cancel(victim));
		ck_assert_ok(ctx_wait(layers[29], by_expiry ? CTX_FOREVER : 0));
		ck_assert_int_eq(ctx_err(layers[29]), by_expiry ? -ETIME : -ECANCELED);
		for (int i = 0; i < 30; i++)
			ctx_unref(layers[i]);
	}
}
END_TEST

START_TEST(merged_context_ends_with_the_first_of_its_parents)
{
	for (int first = 0; first < 3; first++) {
		struct ctx_context *parents[3], *merged, *below;
		for (int i = 0; i < 3; i++)
			parents[i] = child_of(ctx_background());
		ck_assert_ok(ctx_merge((const struct ctx_context *const *)parents, 3, "merged", &merged));
		below = child_of(merged);
		ck_assert_live(merged);
		ck_assert_ok(ctx_cancel_cause(parents[first], -EPIPE, "parent %d", first));
		ck_assert_cancelled(merged);
		ck_assert_cancelled(below);
		ck_assert_ok(ctx_cancel_cause(parents[(first + 1) % 3], -EBADF, "later"));
		ck_assert_int_eq(cause_of(below).error, -EPIPE);
		ck_assert_uint_eq(cause_of(merged).ctx_id, ctx_id(parents[first]));
		ctx_finish(below);
		ctx_finish(merged);
		for (int i = 0; i < 3; i++)
			ctx_finish(parents[i]);
	}
}
END_TEST

START_TEST(merged_context_can_be_cancelled_by_itself)
{
	struct ctx_context *first = child_of(ctx_background()), *second = child_of(ctx_background()), *merged;
	const struct ctx_context *parents[] = {first, second, ctx_background(), first};

	ck_assert_ok(ctx_merge(parents, 4, NULL, &merged));
	ck_assert_ok(ctx_cancel(merged));
	ck_assert_live(first);
	ck_assert_live(second);
	ck_assert(!cause_of(merged).inherited);
	ctx_finish(merged);
	ctx_finish(first);
	ctx_finish(second);
}
END_TEST

START_TEST(merged_with_a_done_parent_is_born_done)
{
	struct ctx_context *live = child_of(ctx_background()), *done = child_of(ctx_background()), *merged;
	const struct ctx_context *parents[] = {live, done};

	ck_assert_ok(ctx_cancel_cause(done, -EIO, "early"));
	ck_assert_ok(ctx_merge(parents, 2, NULL, &merged));
	ck_assert_cancelled(merged);
	ck_assert_str_eq(cause_of(merged).text, "early");
	ctx_finish(merged);
	ctx_finish(live);
	ctx_finish(done);
}
END_TEST

START_TEST(merged_context_has_the_earliest_deadline_and_the_first_values)
{
	int values[2];
	const struct ctx_context *first = value_child_of(ctx_background(), &key, &values[0]);
	const struct ctx_context *second = value_child_of(ctx_background(), &key, &values[1]);
	struct ctx_context *late = timed_child_of(first, 2 * HOUR), *soon = timed_child_of(second, HOUR),
			   *merged;
	const struct ctx_context *parents[] = {late, soon};
	void *value;

	ck_assert_ok(ctx_merge(parents, 2, NULL, &merged));
	ck_assert_uint_eq(ctx_deadline_ns(merged), ctx_deadline_ns(soon));
	ck_assert_ok(ctx_value(merged, &key, &value));
	ck_assert_ptr_eq(value, &values[0]);
	/* Its parents live as long as it does. */
	ctx_unref(late);
	ctx_unref(soon);
	ctx_unref(first);
	ctx_unref(second);
	ck_assert_ok(ctx_value(merged, &key, &value));
	ck_assert_ptr_eq(value, &values[0]);
	ctx_finish(merged);
}
END_TEST

START_TEST(detached_context_outlives_its_parent_and_keeps_its_values)
{
	int number;
	struct ctx_context *timed = timed_child_of(ctx_background(), HOUR);
	const struct ctx_context *value = value_child_of(timed, &key, &number),
				 *detached = detached_child_of(value);
	struct ctx_context *work = child_of(detached);
	void *found;

	ck_assert_uint_eq(ctx_deadline_ns(detached), CTX_FOREVER);
	ck_assert_ok(ctx_cancel(timed));
	ck_assert_live(detached);
	ck_assert_live(work);
	ck_assert_int_eq(cause_of(detached).kind, CTX_CAUSE_NONE);
	ck_assert_ok(ctx_value(work, &key, &found));
	ck_assert_ptr_eq(found, &number);
	ck_assert_int_eq(ctx_wait(detached, CTX_FOREVER), -EDEADLK);
	const struct ctx_context *born = detached_child_of(timed);
	ck_assert_live(born);
	ctx_unref(born);
	ck_assert_ok(ctx_cancel(work));
	ctx_finish(work);
	ctx_unref(detached);
	ctx_unref(value);
	ctx_finish(timed);
}
END_TEST

START_TEST(deep_tree_is_cancelled_and_freed_without_recursion)
{
	unsigned depth = test_scaled(200000);
	struct ctx_context *top = child_of(ctx_background()), *leaf = child_of(top);

	for (unsigned i = 0; i < depth; i++) {
		struct ctx_context *next = child_of(leaf);
		ctx_unref(leaf);
		leaf = next;
	}
	ck_assert_ok(ctx_cancel(top));
	ck_assert_cancelled(leaf);
	ctx_unref(top);
	ctx_unref(leaf);
}
END_TEST

START_TEST(misuse_is_refused)
{
	struct ctx_context *ctx = child_of(ctx_background()), *untouched = ctx;
	const struct ctx_context *value = value_child_of(ctx, &key, NULL), *parents[] = {ctx, NULL};
	struct timespec bad = {.tv_nsec = 1000000000}, good = {.tv_sec = 1};
	struct ctx_cause cause;

	ck_assert_int_eq(ctx_with_cancel(NULL, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_with_cancel(ctx, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_timeout(NULL, 1, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline(ctx, 1, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline_at(ctx, CLOCK_REALTIME, &bad, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline_at(ctx, CLOCK_REALTIME, NULL, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_with_deadline_at(ctx, CLOCK_THREAD_CPUTIME_ID, &good, NULL, &untouched),
			 -EINVAL);
	ck_assert_int_eq(ctx_with_movable_deadline(NULL, 1, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_without_cancel(NULL, NULL, &value), -EINVAL);
	ck_assert_int_eq(ctx_merge(parents, 0, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_merge(parents, 2, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_merge(NULL, 1, NULL, &untouched), -EINVAL);
	ck_assert_int_eq(ctx_cancel(NULL), -EINVAL);
	ck_assert_int_eq(ctx_cancel_cause(ctx, 5, NULL), -EINVAL);
	ck_assert_int_eq(ctx_set_deadline(NULL, 1), -EINVAL);
	ck_assert_int_eq(ctx_set_deadline((struct ctx_context *)ctx_background(), 1), -EINVAL);
	ck_assert_int_eq(ctx_set_deadline_cause(ctx, 5, NULL), -EINVAL);
	ck_assert_int_eq(ctx_err(NULL), -EINVAL);
	ck_assert_int_eq(ctx_get_cause(NULL, &cause), -EINVAL);
	ck_assert_int_eq(ctx_get_cause(ctx, NULL), -EINVAL);
	ck_assert_int_eq(ctx_done_fd(NULL), -EINVAL);
	ck_assert_int_eq(ctx_wait(NULL, 0), -EINVAL);
	ck_assert_int_eq(ctx_wait_fd(NULL, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(ctx_wait_fd(ctx, -1, 0, 0), -EINVAL);
	ck_assert_uint_eq(ctx_deadline_ns(NULL), CTX_FOREVER);
	ck_assert_uint_eq(ctx_id(NULL), 0);
	ck_assert_ptr_null(ctx_ref(NULL));
	ctx_unref(NULL);
	ctx_finish(NULL);
	ck_assert_ptr_eq(untouched, ctx);
	ck_assert_live(ctx);
	ctx_unref(value);
	ctx_finish(ctx);
}
END_TEST

START_TEST(scope_macros_end_and_release)
{
	const struct ctx_context *watched;
	{
		CTX_AUTO_FINISH struct ctx_context *ctx = child_of(ctx_background());
		CTX_AUTO_UNREF const struct ctx_context *other = ctx_ref(ctx);
		CTX_AUTO_FINISH struct ctx_context *never = NULL;
		watched = ctx_ref(ctx);
		ck_assert_ptr_eq(other, ctx);
		ck_assert_ptr_null(never);
		ck_assert_live(watched);
	}
	ck_assert_cancelled(watched);
	ctx_unref(watched);
}
END_TEST

/* The text shows who descends from whom, values with their format, and the time left. */
START_TEST(format_shows_ancestry_values_and_time_left)
{
	static const struct ctx_key user = {"user", NULL, NULL};
	struct ctx_context *server, *request;
	char text[400], cut[10];

	ck_assert_ok(ctx_with_cancel(ctx_background(), "server", &server));
	const struct ctx_context *value = value_child_of(server, &user, server);
	ck_assert_ok(ctx_with_timeout(value, HOUR, "request", &request));
	int length = ctx_format(request, text, sizeof(text));
	ck_assert_int_eq(length, (int)strlen(text));
	ck_assert_ptr_nonnull(strstr(text, "server"));
	ck_assert_ptr_nonnull(strstr(text, "request"));
	ck_assert_ptr_nonnull(strstr(text, "user"));
	ck_assert_ptr_null(strchr(text, '\n'));
	ck_assert(strstr(text, "59") || strstr(text, "3599") || strstr(text, "3600") || strstr(text, "1h"));
	ck_assert_int_gt(ctx_format(request, cut, sizeof(cut)), (int)sizeof(cut));
	ck_assert_uint_eq(strlen(cut), sizeof(cut) - 1);
	ck_assert_int_gt(ctx_format(request, NULL, 0), (int)sizeof(cut));
	ck_assert_int_eq(ctx_format(request, NULL, 1), -EINVAL);
	ck_assert_int_eq(ctx_format(NULL, text, sizeof(text)), -EINVAL);
	ctx_finish(request);
	ctx_unref(value);
	ctx_finish(server);
}
END_TEST

START_TEST(allocator_is_taken_before_the_first_use_only)
{
	struct ctx_allocator bad = {0};

	ck_assert_int_eq(ctx_set_allocator(NULL), -EINVAL);
	ck_assert_int_eq(ctx_set_allocator(&bad), -EINVAL);
	counting_allocator_use();
	struct ctx_context *ctx = child_of(ctx_background());
	ck_assert_uint_ge(counting_allocator_blocks(), 1);
	struct ctx_allocator late = {(void *(*)(size_t, void *))(void *)1,
				     (void (*)(void *, void *))(void *)1, NULL};
	ck_assert_int_eq(ctx_set_allocator(&late), -EBUSY);
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_context_takes_at_most_256_bytes)
{
	counting_allocator_use();
	struct ctx_context *parent = child_of(ctx_background()), *many[1000];
	size_t before = counting_allocator_bytes();

	for (int i = 0; i < 1000; i++)
		many[i] = child_of(parent);
	ck_assert_uint_le((counting_allocator_bytes() - before) / 1000, 256);
	for (int i = 0; i < 1000; i++)
		ctx_unref(many[i]);
	ctx_finish(parent);
}
END_TEST

static TCase *tree_case(Suite *suite)
{
	TCase *tree = test_case(suite, "tree");

	tcase_add_test(tree, background_and_todo_are_never_done);
	tcase_add_test(tree, new_child_is_not_done);
	tcase_add_test(tree, cancel_marks_the_whole_subtree_before_it_returns);
	tcase_add_test(tree, parent_lists_its_children_and_looks_through_values);
	tcase_add_test(tree, every_kind_of_child_ends_with_its_parent);
	tcase_add_test(tree, every_kind_of_child_of_a_done_parent_is_born_done);
	tcase_add_test(tree, cancelling_a_child_leaves_parent_and_siblings_live);
	tcase_add_test(tree, references_dropped_in_any_order_cancel_nothing);
	tcase_add_test(tree, grandchild_is_reached_after_the_middle_handle_is_dropped);
	tcase_add_test(tree, second_cancel_has_no_effect);
	tcase_add_test(tree, cancel_from_its_own_callback_is_refused_quietly);
	tcase_add_test(tree, hundred_nodes_cancelled_in_random_order_by_many_threads);
	tcase_add_test(tree, child_cancelled_and_released_in_a_callback_of_its_parent);
	tcase_add_test(tree, last_handle_dropped_in_its_own_callback);
	tcase_add_test(tree, leaf_of_thirty_random_layers_ends_with_any_of_them);
	tcase_add_test(tree, deep_tree_is_cancelled_and_freed_without_recursion);
	return tree;
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("context");

	tree_case(suite);
	TCase *merge = test_case(suite, "merged and detached");
	tcase_add_test(merge, merged_context_ends_with_the_first_of_its_parents);
	tcase_add_test(merge, merged_context_can_be_cancelled_by_itself);
	tcase_add_test(merge, merged_with_a_done_parent_is_born_done);
	tcase_add_test(merge, merged_context_has_the_earliest_deadline_and_the_first_values);
	tcase_add_test(merge, detached_context_outlives_its_parent_and_keeps_its_values);
	TCase *use = test_case(suite, "use");
	tcase_add_test(use, misuse_is_refused);
	tcase_add_test(use, scope_macros_end_and_release);
	tcase_add_test(use, format_shows_ancestry_values_and_time_left);
	TCase *memory = test_case_cold(suite, "memory");
	tcase_add_test(memory, a_million_children_leave_nothing_with_their_parent);
	tcase_add_test(memory, cancelled_children_can_be_released_in_any_order);
	tcase_add_test(memory, allocator_is_taken_before_the_first_use_only);
	tcase_add_test(memory, a_context_takes_at_most_256_bytes);
	return suite;
}
