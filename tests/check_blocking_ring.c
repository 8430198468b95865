/* SPDX-License-Identifier: MIT */
/* Blocking calls and the rings below them: what a call costs, whose a ring is, and what is done without one.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "support/blockers.h"
#include "support/forbid.h"
#include "thread_ring.h"

/* In children: assertions of Check belong to the parent. */
#define EXPECT(condition)                          \
	do {                                       \
		if (!(condition))                  \
			return __LINE__ % 255 + 1; \
	} while (0)

/* The calling thread's ring, which stays its own. NULL: it has none. */
static struct ctx_ring *own_ring(void)
{
	struct thread_ring *taken;

	if (thread_ring_take(false, &taken))
		return NULL;
	thread_ring_give(taken);
	return taken->ring;
}

static unsigned submitted(struct ctx_ring *ring)
{
	return ring->uring->sq.sqe_tail;
}

/* ---- what a call costs */

struct partner {
	int fd;
	pid_t tid;
};

static void *write_when_it_sleeps(void *data)
{
	struct partner *partner = data;

	await_sleep(partner->tid);
	ck_assert_int_eq(write(partner->fd, "x", 1), 1);
	return NULL;
}

START_TEST(a_call_is_one_request_with_and_without_a_deadline)
{
	struct ctx_context *ctx = _i ? timed_child_of(ctx_background(), HOUR) : child_of(ctx_background());
	struct pair pipe = pipe_new();
	struct partner partner = {pipe.far, gettid()};
	pthread_t thread;
	char byte;

	/* The first one also asks for the wake. */
	ck_assert_int_eq(ctxio_write(ctx, pipe.far, "x", 1), 1);
	struct ctx_ring *ring = own_ring();
	ck_assert_ptr_nonnull(ring);
	unsigned before = submitted(ring);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
	/* It finds its data, and needs a request only where it cannot try without waiting. */
	ck_assert_uint_le(submitted(ring) - before, 1);
	before = submitted(ring);
	ck_assert_ok(pthread_create(&thread, NULL, write_when_it_sleeps, &partner));
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), 1);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_uint_eq(submitted(ring) - before, 1);
	ck_assert_ptr_eq(own_ring(), ring);
	pair_end(pipe);
	ctx_finish(ctx);
}
END_TEST

/* Messages of one byte, each sent and received. Returns how many requests that took. */
static unsigned requests_of(struct ctx_ring *ring, struct pair pair, unsigned messages)
{
	unsigned before = submitted(ring);
	char byte;

	for (unsigned i = 0; i < messages; i++) {
		ck_assert_int_eq(ctxio_send(ctx_background(), pair.far, "x", 1, 0), 1);
		ck_assert_int_eq(ctxio_recv(ctx_background(), pair.near, &byte, 1, 0), 1);
	}
	return submitted(ring) - before;
}

/* Calls that need not wait make no request. After each that waits, the next few of its kind are requests. */
START_TEST(calls_that_need_not_wait_make_no_request)
{
	struct pair pair = pair_new();
	struct partner partner = {pair.far, gettid()};
	struct ctx_ring *ring = own_ring();
	pthread_t thread;
	char byte;

	ck_assert_ptr_nonnull(ring);
	ck_assert_uint_eq(requests_of(ring, pair, 40), 0);
	for (unsigned pause = 1; pause <= 7; pause = 2 * pause + 1) {
		ck_assert_ok(pthread_create(&thread, NULL, write_when_it_sleeps, &partner));
		ck_assert_int_eq(ctxio_recv(ctx_background(), pair.near, &byte, 1, 0), 1);
		ck_assert_ok(pthread_join(thread, NULL));
		ck_assert_uint_eq(requests_of(ring, pair, pause), pause);
	}
	ck_assert_uint_eq(requests_of(ring, pair, 40), 0);
	pair_end(pair);
}
END_TEST

/* What the attempt finds is the result, errors and the end of the stream, too: nothing would tell it again.
 */
START_TEST(an_attempt_returns_what_it_finds)
{
	struct pair pair = pair_new();
	char bytes[8];

	ck_assert_ptr_nonnull(own_ring());
	ck_assert_int_eq(ctxio_send(ctx_background(), pair.far, "four", 4, 0), 4);
	ck_assert_int_eq(ctxio_recv(ctx_background(), pair.near, bytes, sizeof(bytes), 0), 4);
	ck_assert_int_eq(ctxio_send(ctx_background(), pair.far, "four", 4, 0), 4);
	ck_assert_int_eq(ctxio_read(ctx_background(), pair.near, bytes, sizeof(bytes)), 4);
	/* Closed with data unread: the other end gets the error once. */
	ck_assert_int_eq(ctxio_send(ctx_background(), pair.near, "lost", 4, 0), 4);
	close(pair.far);
	ck_assert_int_eq(ctxio_recv(ctx_background(), pair.near, bytes, 1, 0), -ECONNRESET);
	ck_assert_int_eq(ctxio_recv(ctx_background(), pair.near, bytes, 1, 0), 0);
	ck_assert_int_eq(ctxio_send(ctx_background(), pair.near, "x", 1, 0), -EPIPE);
	close(pair.near);
	ck_assert_int_eq(ctxio_recv(ctx_background(), pair.near, bytes, 1, 0), -EBADF);
}
END_TEST

/* The one that ends is two: itself and its cancel. */
START_TEST(a_deadline_that_ends_a_call_costs_one_cancel)
{
	struct pair pipe = pipe_new();
	char byte;

	ck_assert_int_eq(ctxio_write(ctx_background(), pipe.far, "x", 1), 1);
	ck_assert_int_eq(ctxio_read(ctx_background(), pipe.near, &byte, 1), 1);
	unsigned before = submitted(own_ring());
	/* On a busy machine a deadline may have passed before the call begins, which then submits nothing. */
	for (uint64_t timeout_ns = 5 * MILLISECOND; submitted(own_ring()) == before; timeout_ns *= 2) {
		struct ctx_context *ctx = timed_child_of(ctx_background(), timeout_ns);
		ck_assert_int_eq(ctxio_read(ctx, pipe.near, &byte, 1), -ETIME);
		ctx_unref(ctx);
	}
	ck_assert_uint_eq(submitted(own_ring()) - before, 2);
	pair_end(pipe);
}
END_TEST

static bool one_in_flight(void *data)
{
	(void)data;
	return test_count_operations() == 1;
}

START_TEST(a_call_that_waits_is_an_operation_in_the_table)
{
	static struct caller caller;
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert(scene_prepare(&caller.scene, &blockers[0]));
	caller_start(&caller, &blockers[0], ctx);
	ck_assert(test_until(one_in_flight, NULL));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(caller_end(&caller), -ECANCELED);
	ck_assert_uint_eq(test_count_operations(), 0);
	scene_end(&caller.scene);
	ctx_unref(ctx);
}
END_TEST

/* ---- whose a ring is */

static void *use_ring(void *data)
{
	struct pair *pipe = data;
	char byte;

	ck_assert_int_eq(ctxio_write(ctx_background(), pipe->far, "x", 1), 1);
	ck_assert_int_eq(ctxio_read(ctx_background(), pipe->near, &byte, 1), 1);
	return own_ring();
}

START_TEST(threads_one_after_the_other_use_one_ring)
{
	struct pair pipe = pipe_new();
	struct thread_ring *taken;
	void *first = NULL, *ring;
	pthread_t thread;

	for (unsigned i = 0; i < 20; i++) {
		ck_assert_ok(pthread_create(&thread, NULL, use_ring, &pipe));
		ck_assert_ok(pthread_join(thread, &ring));
		if (!first)
			first = ring;
		ck_assert_ptr_eq(ring, first);
	}
	/* What its last owner had in the kernel went with it. */
	ck_assert_ok(thread_ring_take(false, &taken));
	ck_assert_ptr_eq(taken->ring, first);
	ck_assert_uint_eq(taken->ring->owner.tid, 0);
	ck_assert(!taken->ring->requests.wakes.out);
	ck_assert_uint_eq(taken->ring->groups.count, 0);
	thread_ring_give(taken);
	pair_end(pipe);
}
END_TEST

static pthread_barrier_t all_here;

static void *use_ring_together(void *data)
{
	pthread_barrier_wait(&all_here);
	void *ring = use_ring(data);
	pthread_barrier_wait(&all_here);
	return ring;
}

START_TEST(a_crowd_of_threads_leaves_few_rings)
{
	pthread_t threads[60];
	struct pair pipes[60];

	pthread_barrier_init(&all_here, NULL, 60);
	unsigned before = test_count_fds();
	for (unsigned i = 0; i < 60; i++) {
		pipes[i] = pipe_new();
		ck_assert_ok(pthread_create(&threads[i], NULL, use_ring_together, &pipes[i]));
	}
	for (unsigned i = 0; i < 60; i++) {
		ck_assert_ok(pthread_join(threads[i], NULL));
		pair_end(pipes[i]);
	}
	ck_assert_uint_le(test_count_fds() - before, 2 * 32);
	pthread_barrier_destroy(&all_here);
}
END_TEST

static pthread_key_t late_key;
static struct pair late_pipe;

static void call_late(void *value)
{
	use_ring(&late_pipe);
	if (value == &late_key)
		pthread_setspecific(late_key, &late_pipe); /* and once more */
}

static void *set_late(void *data)
{
	(void)data;
	use_ring(&late_pipe);
	ck_assert_ok(pthread_setspecific(late_key, &late_key));
	return NULL;
}

/* Calls from other destructors of the thread, before and after its ring was given back. */
START_TEST(calls_at_the_end_of_a_thread_leave_nothing)
{
	pthread_t thread;

	late_pipe = pipe_new();
	ck_assert_ok(pthread_key_create(&late_key, call_late));
	ck_assert_ok(pthread_create(&thread, NULL, set_late, NULL));
	ck_assert_ok(pthread_join(thread, NULL));
	pthread_key_delete(late_key);
	pair_end(late_pipe);
}
END_TEST

/* ---- what needs a ring */

START_TEST(openat_opens_and_fsync_syncs)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	char directory[] = "/tmp/ctxring-open-XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(directory));
	int at = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = ctxio_openat(ctx, at, "file", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(ctxio_write(ctx, fd, "12", 2), 2);
	ck_assert_ok(ctxio_fsync(ctx, fd));
	ck_assert_int_eq(ctxio_openat(ctx, at, "file", O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
	ck_assert_int_eq(ctxio_openat(ctx, at, "none", O_RDONLY, 0), -ENOENT);
	ck_assert_int_eq(ctxio_openat(ctx, at, NULL, O_RDONLY, 0), -EFAULT);
	ck_assert_int_eq(ctxio_fsync(ctx, -1), -EBADF);
	unlinkat(at, "file", 0);
	rmdir(directory);
	close(fd);
	close(at);
	ctx_finish(ctx);
}
END_TEST

START_TEST(splice_moves_and_counts_offsets)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();
	int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	off_t from = 2, to = 100, bad = -1;
	char buffer[8] = {0};

	ck_assert_int_eq(write(file, "0123456789", 10), 10);
	ck_assert_int_eq(ctxio_splice(ctx, file, &from, pipe.far, NULL, 5, 0), 5);
	ck_assert_int_eq(from, 7);
	ck_assert_int_eq(ctxio_splice(ctx, pipe.near, NULL, file, &to, 3, 0), 3);
	ck_assert_int_eq(to, 103);
	ck_assert_int_eq(pread(file, buffer, 3, 100), 3);
	ck_assert_mem_eq(buffer, "234", 3);
	ck_assert_int_eq(ctxio_splice(ctx, file, &bad, pipe.far, NULL, 5, 0), -EINVAL);
	ck_assert_int_eq(ctxio_splice(ctx, pipe.near, &from, file, NULL, 5, 0), -ESPIPE);
	ck_assert_int_eq(ctxio_splice(ctx, file, NULL, file, NULL, 5, 0), -EINVAL);
	ck_assert_int_eq(ctxio_splice(ctx, file, NULL, pipe.far, NULL, 5, 1u << 31), -EINVAL);
	close(file);
	pair_end(pipe);
	ctx_finish(ctx);
}
END_TEST

START_TEST(splice_waits_for_non_blocking_pipes)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair in = pipe_new(), out = pipe_new();
	struct partner partner = {in.far, gettid()};
	pthread_t thread;

	fcntl(in.near, F_SETFL, O_NONBLOCK);
	fcntl(out.far, F_SETFL, O_NONBLOCK);
	ck_assert_int_eq(ctxio_splice(ctx, in.near, NULL, out.far, NULL, 1, SPLICE_F_NONBLOCK), -EAGAIN);
	ck_assert_ok(pthread_create(&thread, NULL, write_when_it_sleeps, &partner));
	ck_assert_int_eq(ctxio_splice(ctx, in.near, NULL, out.far, NULL, 1, 0), 1);
	ck_assert_ok(pthread_join(thread, NULL));
	pair_end(in);
	pair_end(out);
	ctx_finish(ctx);
}
END_TEST

/* ---- without one */

/* Of any number, nobody else's on this machine: what memory a user has locked is counted by user. */
static int become_ordinary(void)
{
	if (geteuid())
		return 0;
	uid_t uid = 200000u + (uid_t)getpid();
	return setresgid(uid, uid, uid) || setresuid(uid, uid, uid) ? -errno : 0;
}

static int call_with_little_memory(void *data)
{
	static struct caller callers[8];
	struct rlimit limit = {16384, 1 << 20};
	struct ctx_context *ctx;
	struct io_uring uring;
	unsigned with_ring = 0;

	(void)data;
	EXPECT(!setrlimit(RLIMIT_MEMLOCK, &limit));
	EXPECT(!become_ordinary());
	EXPECT(!ctx_with_cancel(ctx_background(), NULL, &ctx));
	for (unsigned i = 0; i < 8; i++) {
		EXPECT(scene_prepare(&callers[i].scene, &blockers[i % 2 ? 0 : 6]));
		caller_start(&callers[i], callers[i].blocker = &blockers[i % 2 ? 0 : 6], ctx);
		caller_await_sleep(&callers[i]);
	}
	with_ring = test_count_operations();
	/* Where memory of rings is not counted there is nothing to see. */
	if (io_uring_queue_init(4, &uring, 0) == 0)
		return 77;
	EXPECT(with_ring > 0 && with_ring < 8);
	EXPECT(ctxio_openat(ctx, AT_FDCWD, "/", O_RDONLY, 0) == -ENOMEM);
	EXPECT(!ctx_cancel(ctx));
	for (unsigned i = 0; i < 8; i++)
		EXPECT(caller_end(&callers[i]) == -ECANCELED);
	return 0;
}

START_TEST(without_lockable_memory_calls_wait_by_poll)
{
	test_await_others_asleep();
	int status = test_in_child(call_with_little_memory, NULL);

	if (status == 77)
		test_skip("rings do not count against RLIMIT_MEMLOCK here");
	ck_assert_int_eq(status, 0);
}
END_TEST

static bool has_ring(void *data)
{
	(void)data;
	return own_ring() != NULL;
}

static int get_memory_later(void *data)
{
	struct rlimit limit = {0, 1 << 20};
	int pipe[2];
	char byte;

	(void)data;
	EXPECT(!setrlimit(RLIMIT_MEMLOCK, &limit));
	EXPECT(!become_ordinary());
	EXPECT(!pipe2(pipe, O_CLOEXEC));
	EXPECT(ctxio_write(ctx_background(), pipe[1], "x", 1) == 1);
	EXPECT(ctxio_read(ctx_background(), pipe[0], &byte, 1) == 1);
	if (own_ring())
		return 77;
	limit.rlim_cur = limit.rlim_max;
	EXPECT(!setrlimit(RLIMIT_MEMLOCK, &limit));
	EXPECT(test_until(has_ring, NULL));
	EXPECT(ctxio_write(ctx_background(), pipe[1], "x", 1) == 1);
	EXPECT(ctxio_read(ctx_background(), pipe[0], &byte, 1) == 1);
	return 0;
}

START_TEST(when_there_is_memory_again_a_ring_is_used)
{
	test_await_others_asleep();
	int status = test_in_child(get_memory_later, NULL);

	if (status == 77)
		test_skip("rings do not count against RLIMIT_MEMLOCK here");
	ck_assert_int_eq(status, 0);
}
END_TEST

static int call_when_forbidden_later(void *data)
{
	struct ctx_context *ctx, *timed;
	struct partner partner = {.tid = gettid()};
	pthread_t thread;
	int pipe[2];
	char byte;

	(void)data;
	EXPECT(!pipe2(pipe, O_CLOEXEC));
	partner.fd = pipe[1];
	EXPECT(!ctx_with_cancel(ctx_background(), NULL, &ctx));
	EXPECT(ctxio_write(ctx, pipe[1], "x", 1) == 1);
	EXPECT(own_ring());
	EXPECT(!forbid(SYS_io_uring_enter, 0)); /* as a process that confines itself after its start */
	EXPECT(ctxio_read(ctx, pipe[0], &byte, 1) == 1);
	EXPECT(!pthread_create(&thread, NULL, write_when_it_sleeps, &partner));
	EXPECT(ctxio_read(ctx, pipe[0], &byte, 1) == 1); /* has to wait, so it needs a ring */
	EXPECT(!pthread_join(thread, NULL));
	EXPECT(!own_ring());
	EXPECT(!ctx_with_timeout(ctx, 5 * MILLISECOND, NULL, &timed));
	EXPECT(ctxio_read(timed, pipe[0], &byte, 1) == -ETIME);
	EXPECT(ctxio_openat(ctx, AT_FDCWD, "/", O_RDONLY, 0) == -ENOTSUP);
	EXPECT(!ctx_cancel(ctx));
	ctx_unref(timed);
	ctx_unref(ctx);
	return 0;
}

START_TEST(a_ring_that_is_forbidden_later_is_given_up)
{
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(call_when_forbidden_later, NULL), 0);
}
END_TEST

static int forbid_in_a_call(void *data)
{
	static struct caller caller;
	struct ctx_context *ctx;

	(void)data;
	EXPECT(!ctx_with_cancel(ctx_background(), NULL, &ctx));
	EXPECT(scene_prepare(&caller.scene, &blockers[0]));
	caller_start(&caller, &blockers[0], ctx);
	caller_await_sleep(&caller);
	EXPECT(!forbid(SYS_io_uring_enter, SECCOMP_FILTER_FLAG_TSYNC));
	EXPECT(!ctx_cancel(ctx));
	blockers[0].finish(&caller.scene);
	EXPECT(caller_end(&caller) == blockers[0].result);
	return 0;
}

/* The kernel has the buffer, and no cancel can be sent any more: the call waits for its request. */
START_TEST(a_call_keeps_its_buffer_when_its_ring_is_forbidden)
{
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(forbid_in_a_call, NULL), 0);
}
END_TEST

/* ---- descriptors closed by the program */

static int read_one(const struct ctx_context *ctx)
{
	int fds[2];
	char byte;

	EXPECT(!pipe2(fds, O_CLOEXEC));
	EXPECT(write(fds[1], "x", 1) == 1);
	EXPECT(ctxio_read(ctx, fds[0], &byte, 1) == 1);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

/* As a daemon: what it does not know is closed, and the numbers are its own files' then. */
static int close_all_and_call(void *data)
{
	int files[16];

	if (data)
		EXPECT(!read_one(ctx_background())); /* a ring of this process's */
	EXPECT(!syscall(SYS_close_range, 3, ~0u, 0));
	for (unsigned i = 0; i < 16; i++)
		EXPECT((files[i] = open("/dev/null", O_RDONLY)) >= 0);
	EXPECT(!read_one(ctx_background()));
	thread_ring_trim();
	for (unsigned i = 0; i < 16; i++)
		EXPECT(fcntl(files[i], F_GETFD) == 0);
	return 0;
}

START_TEST(a_program_closes_the_descriptors_of_rings)
{
	ck_assert_int_eq(read_one(ctx_background()), 0);
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(close_all_and_call, _i ? (void *)&blockers[0] : NULL), 0);
}
END_TEST

/* ---- a fork within a call */

static struct pair handler_pipe;
static _Atomic pid_t handler_child;

/* The child goes on when the parent's request has completed, before the parent sees that. */
static void fork_in_handler(int signo)
{
	int go[2];
	char byte;

	(void)signo;
	if (pipe(go))
		abort();
	pid_t pid = fork();
	if (!pid) {
		(void)!read(go[0], &byte, 1);
		return;
	}
	(void)!write(handler_pipe.far, "x", 1);
	(void)!write(go[1], "x", 1);
	siginfo_t info;
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	close(go[0]);
	close(go[1]);
	handler_child = pid;
}

static void *signal_sleeper(void *data)
{
	pid_t tid = *(pid_t *)data;

	await_sleep(tid);
	ck_assert_ok(tgkill(getpid(), tid, SIGUSR1));
	return NULL;
}

static int fork_in_a_call(void *data)
{
	struct sigaction action = {.sa_handler = fork_in_handler}, before;
	pid_t me = getpid(), tid = gettid();
	pthread_t thread;
	int status;
	char byte;

	(void)data;
	handler_pipe = pipe_new();
	EXPECT(!sigaction(SIGUSR1, &action, &before));
	EXPECT(!pthread_create(&thread, NULL, signal_sleeper, &tid));
	ssize_t result = ctxio_read(ctx_background(), handler_pipe.near, &byte, 1);
	if (getpid() != me)
		_exit(result == -EPERM ? 5 : 6);
	EXPECT(result == 1);
	EXPECT(!pthread_join(thread, NULL));
	EXPECT(waitpid(handler_child, &status, 0) == handler_child);
	EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 5);
	return 0;
}

/* The queues are shared memory: what the child took out of them the parent would wait for for ever. */
START_TEST(a_child_forked_within_a_call_takes_nothing_of_the_parents)
{
	test_await_others_asleep();
	ck_assert_int_eq(test_in_child(fork_in_a_call, NULL), 0);
}
END_TEST

/* ---- within a call */

struct reader {
	struct pair pair;
	char byte;
	ssize_t result;
	_Atomic pid_t tid;
};

static const struct ctx_context *lent;
static int noise_fd;

static void call_from_release(void *value)
{
	*(ssize_t *)value = ctxio_write(ctx_background(), noise_fd, "n", 1);
}

static const struct ctx_key calling = {.name = "calling", .release = call_from_release};

static void *read_and_release(void *data)
{
	struct reader *reader = data;

	reader->tid = gettid();
	reader->result = ctxio_read(lent, reader->pair.near, &reader->byte, 1);
	return NULL;
}

/* The call under it is the last to hold the context: its release function runs in there, and makes another.
 */
START_TEST(a_call_is_made_from_within_a_call)
{
	struct reader reader = {.pair = pipe_new()};
	struct pair noise = pipe_new();
	struct ctx_context *parent = child_of(ctx_background());
	ssize_t written = 0;
	pthread_t thread;

	noise_fd = noise.far;
	lent = value_child_of(parent, &calling, &written);
	ck_assert_ok(pthread_create(&thread, NULL, read_and_release, &reader));
	while (!reader.tid)
		sched_yield();
	await_sleep(reader.tid);
	ctx_unref(lent);
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(reader.result, -ECANCELED);
	ck_assert_int_eq(written, 1);
	ctx_unref(parent);
	pair_end(reader.pair);
	pair_end(noise);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("blocking ring");
	TCase *cost = test_case_calls_ring(suite, "cost");
	tcase_add_loop_test(cost, a_call_is_one_request_with_and_without_a_deadline, 0, 2);
	tcase_add_test(cost, calls_that_need_not_wait_make_no_request);
	tcase_add_test(cost, an_attempt_returns_what_it_finds);
	tcase_add_test(cost, a_deadline_that_ends_a_call_costs_one_cancel);
	tcase_add_test(cost, a_call_that_waits_is_an_operation_in_the_table);

	TCase *owner = test_case_calls_ring(suite, "owner");
	tcase_add_test(owner, threads_one_after_the_other_use_one_ring);
	tcase_add_test(owner, a_crowd_of_threads_leaves_few_rings);
	tcase_add_test(owner, calls_at_the_end_of_a_thread_leave_nothing);
	tcase_add_test(owner, a_call_is_made_from_within_a_call);

	TCase *needs = test_case_calls_ring(suite, "needs a ring");
	tcase_add_test(needs, openat_opens_and_fsync_syncs);
	tcase_add_test(needs, splice_moves_and_counts_offsets);
	tcase_add_test(needs, splice_waits_for_non_blocking_pipes);

	TCase *without = test_case_calls_ring(suite, "without one");
	tcase_add_test(without, without_lockable_memory_calls_wait_by_poll);
	tcase_add_test(without, when_there_is_memory_again_a_ring_is_used);
	tcase_add_test(without, a_ring_that_is_forbidden_later_is_given_up);
	tcase_add_test(without, a_call_keeps_its_buffer_when_its_ring_is_forbidden);
	tcase_add_loop_test(without, a_program_closes_the_descriptors_of_rings, 0, 2);
	tcase_add_test(without, a_child_forked_within_a_call_takes_nothing_of_the_parents);
	return suite;
}
