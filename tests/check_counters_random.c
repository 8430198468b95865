/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever threads do at the same time, each context that was made is either live, or counted once as
 * ended or as freed while it was live; and each operation that was counted as begun is counted as finished.
 * Method: threads make contexts of all kinds, end, move and free those of each other, fork, and end
 * themselves with some left to the destructors of their keys; then what they made is compared with the
 * counters and with the table.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "control.h"
#include "counters.h"
#include "support/rings.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

#define THREADS 4u
#define ROUNDS 3u
#define SHARED 48u
#define OWN 8u
#define OPS 6u

/* Contexts that all threads use. */
static struct place {
	pthread_mutex_t lock;
	const struct ctx_context *ctx;
} places[SHARED];

static _Atomic uint64_t made; /* contexts that are in the table */
static uint64_t freed_before; /* contexts, before somebody recorded */
static int never_fd;
static pthread_key_t late_key;

static unsigned chance(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % below;
}

/* ---- what was counted */

struct sums {
	uint64_t begun, released, ended, ages, operations_begun, operations_finished;
	uint64_t live; /* in the table */
	/* Of all stems, contexts: */
	uint64_t there;	  /* in the table, live or done */
	uint64_t written; /* in the journal, since they were freed */
};

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Of one stem. */
static struct sums sums_of(unsigned stem)
{
	uint32_t used = atomic_load(&table_map.header->counters.used);
	uint32_t contexts = atomic_load(&table_map.header->contexts.used);
	struct sums sums = {0};

	for (uint32_t i = 1; i < used; i++) {
		const struct ctx_table_counters *record = &table_map.counters[i];
		if (record->stem != stem)
			continue;
		sums.begun += load(&record->begun);
		sums.released += load(&record->released);
		sums.operations_begun += load(&record->operations_begun);
		sums.operations_finished += load(&record->operations_finished);
		for (unsigned kind = 0; kind < CTX_TABLE_CAUSES; kind++)
			sums.ended += load(&record->ended[kind]);
		for (unsigned bucket = 0; bucket < CTX_TABLE_BUCKETS; bucket++)
			sums.ages += load(&record->ages[bucket]);
	}
	for (uint32_t slot = 1; slot < contexts; slot++) {
		const struct ctx_table_context *record = table_context(slot);
		if (atomic_load_explicit(&record->state, memory_order_acquire) & CTX_TABLE_LIVE)
			sums.live += record->stem == stem;
	}
	return sums;
}

static void count_freed(struct sums *sums)
{
	const struct ctx_table_journal *journal = &table_map.header->contexts_past;
	const char *chunks = (const char *)table_map.header + journal->area.offset;
	uint32_t contexts = atomic_load(&table_map.header->contexts.used);
	uint32_t used = atomic_load(&journal->area.used);

	for (uint32_t slot = 1; slot < contexts; slot++)
		sums->there += atomic_load_explicit(&table_context(slot)->state, memory_order_acquire) != 0;
	for (uint32_t i = 0; i < used; i++) {
		const struct ctx_table_chunk *chunk = (const void *)(chunks + i * CTX_TABLE_CHUNK_SIZE);
		sums->written += atomic_load_explicit(&chunk->count, memory_order_acquire);
	}
	ck_assert_uint_eq(atomic_load(&journal->overwritten_ns), 0);
}

/* As a recorder does again and again. */
static void record(void)
{
	atomic_store_explicit(&atomic_load(&control_shared)->record_until_ns,
			      clock_now_ns() + CTX_CONTROL_AHEAD_NS - NS_PER_SECOND, memory_order_relaxed);
}

/* Whether it is right for each stem, and the sums of all. */
static bool adds_up(struct sums *all)
{
	uint32_t stems = atomic_load(&table_map.header->stems.used);
	bool right = true;

	*all = (struct sums){0};
	count_freed(all);
	for (unsigned stem = 0; stem < stems; stem++) {
		struct sums sums = sums_of(stem);
		right &= sums.begun == sums.released + sums.ended + sums.live;
		right &= sums.ages == sums.ended && sums.operations_begun == sums.operations_finished;
		all->begun += sums.begun;
		all->released += sums.released;
		all->ended += sums.ended;
		all->live += sums.live;
		all->operations_begun += sums.operations_begun;
		all->operations_finished += sums.operations_finished;
	}
	return right && all->begun == all->there + all->written + freed_before;
}

static struct sums await_sums(uint64_t wanted)
{
	struct sums all;
	uint64_t end_ns = clock_now_ns() + SOON;
	bool right;

	/* Deadlines pass meanwhile, between a look at the counters and one at the contexts. */
	while (!(right = adds_up(&all)) && clock_now_ns() < end_ns)
		poll(NULL, 0, 1);
	ck_assert_msg(right && all.begun == wanted,
		      "made %llu: begun %llu, released %llu, ended %llu, live %llu; operations %llu, "
		      "finished %llu; there %llu, written %llu",
		      (unsigned long long)wanted, (unsigned long long)all.begun,
		      (unsigned long long)all.released, (unsigned long long)all.ended,
		      (unsigned long long)all.live, (unsigned long long)all.operations_begun,
		      (unsigned long long)all.operations_finished, (unsigned long long)all.there,
		      (unsigned long long)all.written);
	return all;
}

/* ---- what threads do */

static const struct ctx_context *borrow(unsigned *seed)
{
	struct place *place = &places[chance(seed, SHARED)];

	pthread_mutex_lock(&place->lock);
	const struct ctx_context *ctx = place->ctx ? ctx_ref(place->ctx) : NULL;
	pthread_mutex_unlock(&place->lock);
	return ctx ? ctx : ctx_background();
}

/* Puts ctx where others find it, in the place of another one, which is freed. */
static void put_there(const struct ctx_context *ctx, unsigned *seed)
{
	struct place *place = &places[chance(seed, SHARED)];

	pthread_mutex_lock(&place->lock);
	const struct ctx_context *before = place->ctx;
	place->ctx = ctx;
	pthread_mutex_unlock(&place->lock);
	ctx_unref(before);
}

static const struct ctx_context *make_some(const struct ctx_context *parent, unsigned *seed)
{
	static const struct ctx_key key = {.name = "random"};
	static const uint64_t times_ns[] = {0, 1, 20000, MILLISECOND, HOUR};
	uint64_t time_ns = times_ns[chance(seed, 5)];
	struct ctx_context *ctx = NULL;
	const struct ctx_context *other;
	char label[32];
	int result;

	snprintf(label, sizeof(label), "%c %u", 'a' + (char)chance(seed, 6), chance(seed, 1000));
	switch (chance(seed, 8)) {
	case 0:
		result = ctx_with_timeout(parent, time_ns, label, &ctx);
		break;
	case 1:
		result = ctx_with_movable_deadline(parent, clock_now_ns() + time_ns, label, &ctx);
		break;
	case 2:
		result = ctx_without_cancel(parent, label, (const struct ctx_context **)&ctx);
		break;
	case 3:
		result = ctx_with_value(parent, &key, NULL, label, (const struct ctx_context **)&ctx);
		break;
	case 4:
		other = borrow(seed);
		result = ctx_merge((const struct ctx_context *[]){parent, other}, 2, label, &ctx);
		ctx_unref(other);
		break;
	case 5:
		result = ctx_with_fd(parent, NULL, never_fd, POLLIN, label, &ctx);
		break;
	default:
		result = ctx_with_cancel(parent, chance(seed, 3) ? label : NULL, &ctx);
	}
	if (result)
		return NULL;
	atomic_fetch_add(&made, 1);
	return ctx;
}

/* Ends or moves ctx, which others may do at the same time. Those that cannot end refuse. */
static void change(struct ctx_context *ctx, unsigned *seed)
{
	switch (chance(seed, 4)) {
	case 0:
		ctx_set_deadline(ctx, clock_now_ns() + chance(seed, 2) * MILLISECOND);
		break;
	case 1:
		ctx_cancel_cause(ctx, -EIO, "number %u", chance(seed, 100));
		break;
	default:
		ctx_cancel(ctx);
	}
}

static void free_late(void *value)
{
	struct ctx_context *ctx = value, *child;

	/* The library's own destructors came first: it counts for this thread anew. */
	if (!ctx_with_cancel(ctx, "late", &child)) {
		atomic_fetch_add(&made, 1);
		ctx_unref(child);
	}
	ctx_cancel(ctx);
	ctx_unref(ctx);
}

struct inheritance {
	unsigned seed;
	const struct ctx_context *inherited;
};

/* In the child the table is its own, and what it inherits is not in it. */
static int live_in_child(void *data)
{
	const struct inheritance *child = data;
	unsigned seed = child->seed;
	const struct ctx_context *inherited = child->inherited;
	const struct ctx_context *own[OWN];

	atomic_store(&made, 0);
	freed_before = 0;
	ck_assert_int_ge(table_descriptor(), 0);
	record();
	for (unsigned i = 0; i < OWN; i++)
		own[i] = make_some(i % 2 && own[i - 1] ? own[i - 1] : inherited, &seed);
	change((struct ctx_context *)inherited, &seed);
	ctx_unref(inherited);
	for (unsigned i = 0; i < OWN; i++) {
		if (chance(&seed, 2) && own[i])
			change((struct ctx_context *)own[i], &seed);
		ctx_unref(own[i]);
	}
	await_sums(atomic_load(&made));
	return 0;
}

struct operations {
	struct ctx_ring *ring; /* NULL: there is no io_uring */
	struct probe probes[OPS];
	bool used[OPS];
};

static void operate(struct operations *operations, const struct ctx_context *ctx, unsigned *seed)
{
	unsigned i = chance(seed, OPS);
	struct probe *probe = &operations->probes[i];

	if (!operations->ring)
		return;
	if (!operations->used[i] || probe->finals) {
		*probe = (struct probe){0};
		ctx_op_init(&probe->op, probe_count, i);
		struct io_uring_sqe *sqe = ctx_ring_get_sqe(operations->ring, ctx, &probe->op);
		ck_assert_ptr_nonnull(sqe);
		operations->used[i] = true;
		static uint64_t buffer;
		if (chance(seed, 2))
			io_uring_prep_read(sqe, never_fd, &buffer, sizeof(buffer), 0);
		else
			io_uring_prep_nop(sqe);
		if (!chance(seed, 3))
			ctx_op_set_timeout(&probe->op, MILLISECOND);
	} else if (!chance(seed, 3)) {
		ctx_op_cancel(operations->ring, &probe->op);
	}
	if (chance(seed, 2))
		ctx_ring_submit(operations->ring);
	if (chance(seed, 2))
		ctx_ring_dispatch(operations->ring, 0);
}

static void step(struct operations *operations, unsigned *seed)
{
	const struct ctx_context *ctx = borrow(seed);
	unsigned what = chance(seed, 10);

	record();

	if (what < 5) {
		const struct ctx_context *child = make_some(ctx, seed);
		ck_assert_ptr_nonnull(child);
		put_there(child, seed);
	} else if (what < 7) {
		change((struct ctx_context *)ctx, seed);
	} else {
		operate(operations, ctx, seed);
	}
	ctx_unref(ctx);
}

static void *live_in_thread(void *data)
{
	unsigned seed = *(unsigned *)data, steps = test_scaled(2000);
	struct operations operations = {0};

	const struct ctx_ring_options options = {.flags = chance(&seed, 2) ? CTX_RING_PARK : 0};
	if (test_mode() != TEST_TSAN && ctx_ring_open(64, &options, &operations.ring))
		operations.ring = NULL;
	for (unsigned i = 0; i < steps; i++)
		step(&operations, &seed);
	if (operations.ring)
		ring_end(operations.ring);
	struct ctx_context *late = child_of(ctx_background());
	atomic_fetch_add(&made, 1);
	pthread_setspecific(late_key, late);
	return NULL;
}

/* Starts the thread that waits for descriptors, which stays. */
static void start_poller(void)
{
	struct ctx_context *ctx;

	never_fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_ok(ctx_with_fd(ctx_background(), NULL, never_fd, POLLIN, NULL, &ctx));
	ctx_finish(ctx);
	test_baseline();
}

START_TEST(every_life_is_counted_once)
{
	struct sums before;
	pthread_t threads[THREADS];
	unsigned seeds[THREADS], seed = test_seed();

	record();
	adds_up(&before);
	freed_before = before.begun - before.there;
	ck_assert(adds_up(&before));
	ck_assert_ok(pthread_key_create(&late_key, free_late));
	for (unsigned i = 0; i < SHARED; i++)
		pthread_mutex_init(&places[i].lock, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < THREADS; i++) {
			seeds[i] = seed + round * THREADS + i;
			ck_assert_ok(pthread_create(&threads[i], NULL, live_in_thread, &seeds[i]));
		}
		if (test_mode() != TEST_TSAN) {
			struct inheritance child = {seed + round, child_of(ctx_background())};
			atomic_fetch_add(&made, 1);
			ck_assert_int_eq(test_in_child(live_in_child, &child), 0);
			ctx_unref(child.inherited);
		}
		for (unsigned i = 0; i < THREADS; i++)
			ck_assert_ok(pthread_join(threads[i], NULL));
		await_sums(before.begun + atomic_load(&made));
	}
	for (unsigned i = 0; i < SHARED; i++) {
		ctx_unref(places[i].ctx);
		places[i].ctx = NULL;
	}
	struct sums after = await_sums(before.begun + atomic_load(&made));
	ck_assert_uint_gt(after.ended, 0);
	ck_assert_uint_gt(after.released, 0);
	atomic_store(&atomic_load(&control_shared)->record_until_ns, 0);
	pthread_key_delete(late_key);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("counters_random");
	TCase *random = test_case(suite, "random");

	tcase_add_checked_fixture(random, start_poller, NULL);
	tcase_add_test(random, every_life_is_counted_once);
	return suite;
}
