/* SPDX-License-Identifier: MIT */
/* A fork while other threads are amid the library, anywhere: a parent of busy threads has many
 * children, and none of them waits for what a thread of the parent held. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "node.h"
#include "support/forked.h"
#include "taskgroup.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* ---- memory that no fork finds locked */

/*
 * The allocator of ThreadSanitizer is not ready for fork(2): a child hangs in malloc(3) when another thread
 * was in it. This one has no lock: each thread keeps what it released.
 */
#define CLASSES 10 /* 64 bytes to 32 KiB */
#define CHUNK (1ul << 20)

struct block {
	struct block *next;
	size_t class;
	_Alignas(64) char memory[];
};

static __thread struct block *kept[CLASSES];
static __thread char *chunk, *chunk_end;

static void *keep_allocate(size_t size, void *data)
{
	size_t class = 0;
	struct block *block;

	(void)data;
	while (class < CLASSES && (64ul << class) < size)
		class ++;
	size_t whole = sizeof(*block) + (64ul << class);
	if (class == CLASSES || kept[class] == NULL) {
		if ((size_t)(chunk_end - chunk) < whole || class == CLASSES) {
			size_t more = class == CLASSES ? sizeof(*block) + size : CHUNK;
			chunk = mmap(NULL, more, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			if (chunk == MAP_FAILED)
				abort();
			chunk_end = chunk + more;
		}
		block = (struct block *)chunk;
		chunk = class == CLASSES ? chunk_end : chunk + whole;
	} else {
		block = kept[class];
		kept[class] = block->next;
	}
	block->class = class;
	return block->memory;
}

static void keep_release(void *memory, void *data)
{
	struct block *block = container_of(memory, struct block, memory);

	(void)data;
	if (block->class == CLASSES)
		return;
	memset(memory, 0xa5, 64ul << block->class);
	block->next = kept[block->class];
	kept[block->class] = block;
}

static const struct ctx_allocator keeping = {keep_allocate, keep_release, NULL};

/* ---- the storm */

static struct {
	struct ctx_context *shared;
	struct ctx_ring *ring, *busy; /* of the thread that forks, and of one that uses it meanwhile */
	struct ctx_taskgroup *group;
	struct ctx_callback callback;
	uint64_t id; /* of the callback */
	bool uring;
	int stop;
} storm;

static void release_value(void *value)
{
	ctx_unref(value);
}

static const struct ctx_key storm_key = {.name = "storm", .release = release_value};

static int task(const struct ctx_context *ctx, void *data)
{
	(void)data;
	return ctx_err(ctx) ? 0 : -EIO;
}

static void use_group(const struct ctx_context *parent)
{
	struct ctx_taskgroup *group;

	if (ctx_taskgroup_new(parent, 1, "tasks", &group))
		abort();
	for (int i = 0; i < 3; i++)
		ctx_taskgroup_start(group, task, NULL, "task");
	ctx_taskgroup_wait(group);
	ctx_taskgroup_free(group);
}

/* What threads do to contexts at any time, on one that all share. */
static void use_contexts(unsigned turn, int near)
{
	struct ctx_context *timed, *child, *merged;
	const struct ctx_context *value;
	struct ctx_callback callback = {0};
	uint64_t id;
	int calls = 0;

	if (ctx_with_timeout(storm.shared, turn % 64 * 5000, "timed", &timed) ||
	    ctx_with_value(timed, &storm_key, (void *)ctx_ref(storm.shared), NULL, &value) ||
	    ctx_with_cancel(value, "child", &child))
		abort();
	const struct ctx_context *parents[] = {timed, storm.shared};
	if (ctx_merge(parents, 2, "merged", &merged) ||
	    ctx_callback_add(merged, &callback, note_call, &calls, &id))
		abort();
	if (turn % 8 == 0 && ctx_done_fd(child) < 0)
		abort();
	if (turn % 16 == 0)
		ctx_set_deadline(storm.shared, clock_now_ns() + HOUR);
	if (turn % 4 == 1) {
		struct ctx_context *source;
		if (ctx_with_hangup(child, NULL, near, 0, "source", &source))
			abort();
		ctx_finish(source);
	}
	if (turn % 4 == 2)
		ctxio_sleep_for(child, 20000);
	if (turn % 4 == 3)
		use_group(child);
	ctx_callback_stop_wait(id);
	ctx_finish(merged);
	ctx_finish(child);
	ctx_unref(value);
	ctx_finish(timed);
}

static void use_ring(struct ctx_ring *ring, int near)
{
	struct ctx_context *ctx;
	struct ctx_completion last;
	struct ctx_op op;
	char byte;

	if (ctx_with_timeout(storm.shared, 50000, "on a ring", &ctx))
		abort();
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &op), near, &byte, 1, 0);
	while (ctx_op_result(&op, &last) == -EINPROGRESS)
		ctx_ring_dispatch(ring, SOON);
	ctx_finish(ctx);
}

static void *be_busy(void *data)
{
	struct ctx_ring *ring = NULL;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	if (storm.uring && data && ctx_ring_open(8, NULL, &ring))
		abort();
	if (ring && !__atomic_load_n(&storm.busy, __ATOMIC_ACQUIRE))
		__atomic_store_n(&storm.busy, ring, __ATOMIC_RELEASE);
	for (unsigned turn = 0; !__atomic_load_n(&storm.stop, __ATOMIC_ACQUIRE); turn++) {
		use_contexts(turn, pair[0]);
		if (ring)
			use_ring(ring, pair[0]);
	}
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

static int use_what_is_its_own(void)
{
	static struct ctx_callback callback;
	static int calls;
	struct ctx_context *own, *hung_up;
	struct ctx_taskgroup *group;
	int pair[2];
	char byte;

	EXPECT(ctx_with_timeout(ctx_background(), MILLISECOND, "own", &own) == 0);
	EXPECT(ctx_callback_add(own, &callback, note_call, &calls, NULL) == 0);
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	EXPECT(ctxio_recv(own, pair[0], &byte, 1, 0) == -ETIME);
	EXPECT(ctx_wait(own, CTX_FOREVER) == 0 && ctx_err(own) == -ETIME);
	EXPECT(test_until(was_called, &calls));
	ctx_unref(own);
	EXPECT(ctx_with_hangup(ctx_background(), NULL, pair[0], 0, "own", &hung_up) == 0);
	close(pair[1]);
	EXPECT(ctx_wait(hung_up, CTX_FOREVER) == 0);
	ctx_unref(hung_up);
	close(pair[0]);
	EXPECT(ctx_taskgroup_new(ctx_background(), 2, "own", &group) == 0);
	EXPECT(ctx_taskgroup_start(group, task, NULL, "task") == 0);
	EXPECT(ctx_taskgroup_wait(group) == -EIO);
	ctx_taskgroup_free(group);
	return 0;
}

static int use_a_ring_of_its_own(const struct ctx_context *parent)
{
	struct ctx_completion last;
	struct ctx_context *ctx;
	struct ctx_ring *ring;
	struct ctx_op op;
	int pair[2];
	char byte;

	if (!storm.uring)
		return 0;
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	EXPECT(ctx_ring_open(8, NULL, &ring) == 0);
	EXPECT(ctx_with_timeout(parent, MILLISECOND, "own", &ctx) == 0);
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &op), pair[0], &byte, 1, 0);
	while (ctx_op_result(&op, &last) == -EINPROGRESS)
		EXPECT(ctx_ring_dispatch(ring, CTX_FOREVER) >= 0);
	EXPECT(last.end == CTX_OP_DEADLINE);
	EXPECT(ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL) == 0);
	ctx_unref(ctx);
	return 0;
}

static int use_what_is_inherited(void)
{
	struct ctx_context *timed, *below;

	EXPECT(ctx_err(storm.shared) == 0 && ctx_id(storm.shared) == 0);
	EXPECT(ctx_ring_close(storm.ring, 0, NULL, 0, NULL) == 0);
	EXPECT(ctx_ring_close(__atomic_load_n(&storm.busy, __ATOMIC_ACQUIRE), 0, NULL, 0, NULL) == 0);
	EXPECT(ctx_taskgroup_wait(storm.group) == -EPERM);
	ctx_taskgroup_free(storm.group);
	EXPECT(ctx_callback_stop_wait(storm.id));
	EXPECT(ctx_with_timeout(storm.shared, MILLISECOND, "below", &timed) == 0);
	EXPECT(ctx_with_cancel(storm.shared, "below", &below) == 0);
	EXPECT(ctx_wait(timed, CTX_FOREVER) == 0 && ctx_err(timed) == -ETIME);
	EXPECT(ctx_done_fd(storm.shared) >= 0);
	EXPECT(use_a_ring_of_its_own(storm.shared) == 0);
	EXPECT(ctx_cancel(storm.shared) == 0 && ctx_err(below) == -ECANCELED);
	ctx_unref(below);
	ctx_unref(timed);
	ctx_unref(storm.shared);
	return 0;
}

static int be_a_child(unsigned turn)
{
	be_bounded();
	int line = turn % 2 ? use_what_is_its_own() : use_what_is_inherited();
	if (!line)
		line = turn % 2 ? use_what_is_inherited() : use_what_is_its_own();
	if (!line)
		line = use_a_ring_of_its_own(ctx_background());
	if (line || turn % 8)
		return line;
	int status;
	pid_t child = fork();
	if (!child) {
		be_bounded();
		_exit(use_what_is_its_own());
	}
	return child < 0 || waitpid(child, &status, 0) != child || status;
}

static void storm_begin(pthread_t *threads, unsigned count)
{
	storm.uring = !test_no_uring();
	ck_assert_ok(
		ctx_with_movable_deadline(ctx_background(), clock_now_ns() + HOUR, "shared", &storm.shared));
	ck_assert_ok(ctx_callback_add(storm.shared, &storm.callback, note_call, &storm.stop, &storm.id));
	ck_assert_ok(ctx_taskgroup_new(storm.shared, 1, "group", &storm.group));
	ck_assert_ok(ctx_taskgroup_start(storm.group, wait_for_the_end, NULL, "waits"));
	for (unsigned i = 0; i < count; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, be_busy, i % 2 ? NULL : &storm));
}

/* Goal: many children, and none waits for what a thread of the parent had. */
START_TEST(children_of_a_parent_of_busy_threads_never_wait_for_it)
{
	enum {
		THREADS = 4
	};
	pthread_t threads[THREADS];
	struct ctx_context *source;
	struct probe probe;
	char byte;

	ck_assert_ok(ctx_set_allocator(&keeping));
	/* What the library keeps for good. */
	struct pair pair = pair_new();
	ck_assert_ok(ctx_with_hangup(ctx_background(), NULL, pair.near, 0, NULL, &source));
	ctx_finish(source);
	test_keep_fd();
	test_keep_fd();
	storm_begin(threads, THREADS);
	if (storm.uring) {
		storm.ring = ring_of(RING_ORDINARY);
		probe_recv(storm.ring, storm.shared, &probe, pair.near, &byte, 1);
		ck_assert_int_eq(ctx_ring_submit(storm.ring), 1);
	}
	for (unsigned turn = 0; turn < test_scaled(150); turn++) {
		int status;
		pid_t child = fork();
		ck_assert_int_ge(child, 0);
		if (!child)
			_exit(be_a_child(turn));
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(status == 0, "child %u: status %#x, line %d", turn, status,
			      WEXITSTATUS(status));
	}
	ck_assert(ctx_callback_stop_wait(storm.id));
	__atomic_store_n(&storm.stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		ck_assert_ok(pthread_join(threads[i], NULL));
	ctx_taskgroup_free(storm.group);
	ctx_cancel(storm.shared);
	ck_assert_ok(ctx_ring_close(storm.ring, SOON, NULL, 0, NULL));
	ctx_unref(storm.shared);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fork_storm");
	TCase *storms = test_case_cold(suite, "storm");

	/* Of AddressSanitizer's runtime a child of busy threads inherits held locks, which new threads wait
	 * for. */
	tcase_set_timeout(storms,
			  240); /* on a busy machine each child waits for its turn among busy threads */
	if (test_mode() != TEST_ASAN)
		tcase_add_test(storms, children_of_a_parent_of_busy_threads_never_wait_for_it);
	return suite;
}
