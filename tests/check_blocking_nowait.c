/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls without io_uring, on files of every kind, with and without RWF_NOWAIT: the context ends each
 * of them whatever else happens to the file. Goal of all: no call waits where the context does not reach it.
 */
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "support/blockers.h"
#include "support/forbid.h"
#include "thread_ring.h"

#define BIG 400000u

enum kind {
	PIPE,
	FIFO,
	SOCKET,
	TERMINAL,
	KINDS
};

/* near is read, far is written. */
static struct pair ends_of(enum kind kind)
{
	char directory[] = "/tmp/ctxring-nowait-XXXXXX", path[64];
	struct pair pair;

	switch (kind) {
	case PIPE:
		return pipe_new();
	case SOCKET:
		return pair_new();
	case TERMINAL:
		ck_assert_ok(openpty(&pair.far, &pair.near, NULL, NULL, NULL));
		return pair;
	default:
		ck_assert_ptr_nonnull(mkdtemp(directory));
		snprintf(path, sizeof(path), "%s/fifo", directory);
		ck_assert_ok(mkfifo(path, 0600));
		int both = open(path, O_RDWR | O_CLOEXEC);
		pair.near = open(path, O_RDONLY | O_CLOEXEC);
		pair.far = open(path, O_WRONLY | O_CLOEXEC);
		close(both);
		unlink(path);
		rmdir(directory);
		return pair;
	}
}

static bool is_waiting(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void without_rings(void)
{
	thread_ring_trim();
	ck_assert_ok(forbid(SYS_io_uring_setup, 0));
}

static void without_nowait(void)
{
	without_rings();
	test_setenv("CTXRING_FEATURES", "none");
}

enum writing {
	WRITE,
	WRITEV,
	WRITE_FULL,
	WRITINGS
};

static ssize_t call_write(enum writing writing, const struct ctx_context *ctx, int fd, size_t *ret_done)
{
	static char bytes[BIG];
	const struct iovec parts[] = {{bytes, BIG / 3}, {NULL, 0}, {bytes, BIG - BIG / 3}};

	switch (writing) {
	case WRITE:
		return ctxio_write(ctx, fd, bytes, BIG);
	case WRITEV:
		return ctxio_writev(ctx, fd, parts, 3);
	default:
		return ctxio_write_full(ctx, fd, bytes, BIG, ret_done);
	}
}

/* How much it moved until its deadline. */
static ssize_t write_until_ended(enum writing writing, int fd, uint64_t timeout_ns)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), timeout_ns);
	size_t done = 0;
	ssize_t result = call_write(writing, ctx, fd, &done);

	ck_assert_expired(ctx);
	ctx_unref(ctx);
	if (result == -ETIME)
		return (ssize_t)done;
	ck_assert_int_ne(writing, WRITE_FULL);
	ck_assert_int_gt(result, 0);
	return result;
}

/* Of more than fits. A terminal's output goes to a master that nobody reads. */
START_TEST(a_write_of_more_than_fits_is_ended_by_its_deadline)
{
	enum writing writing = (enum writing)(_i % WRITINGS);
	struct pair pair = ends_of((enum kind)(_i / WRITINGS));
	int fd = _i / WRITINGS == TERMINAL ? pair.near : pair.far;
	ssize_t moved = 0;

	/* On a busy machine the first may be over before it began. */
	for (uint64_t timeout_ns = 30 * MILLISECOND; !moved; timeout_ns *= 2)
		moved = write_until_ended(writing, fd, timeout_ns);
	ck_assert_int_lt(moved, BIG);
	ck_assert(is_waiting(fd));
	pair_end(pair);
}
END_TEST

/* The writer waits, and what it moves while the reader reads is in order. */
START_TEST(a_large_write_reaches_its_reader_in_order)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = ends_of((enum kind)_i);
	char *bytes = malloc(BIG), *copy = malloc(BIG);

	for (size_t i = 0; i < BIG; i++)
		bytes[i] = (char)(i % 251);
	pid_t child = fork();
	if (!child) {
		size_t done = 0;
		_exit(ctxio_write_full(ctx, pair.far, bytes, BIG, &done) != BIG);
	}
	ck_assert_int_eq(ctxio_read_full(ctx, pair.near, copy, BIG, NULL), BIG);
	ck_assert_mem_eq(copy, bytes, BIG);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	free(bytes);
	free(copy);
	ctx_finish(ctx);
	pair_end(pair);
}
END_TEST

enum {
	READERS = 6
};

static struct reader {
	pthread_t thread;
	const struct ctx_context *ctx;
	int fd;
	_Atomic pid_t tid;
	ssize_t result;
} readers[READERS];

static void *run_reader(void *data)
{
	struct reader *reader = data;
	char bytes[64];

	atomic_store(&reader->tid, gettid());
	reader->result = ctxio_read(reader->ctx, reader->fd, bytes, sizeof(bytes));
	return NULL;
}

static bool one_has_read(void *data)
{
	unsigned left = 0;

	for (unsigned i = 0; i < READERS; i++)
		left += !__atomic_load_n(&readers[i].result, __ATOMIC_ACQUIRE);
	(void)data;
	return left < READERS;
}

static bool has_begun(void *data)
{
	pid_t tid = atomic_load(&((struct reader *)data)->tid);

	return tid && test_thread_sleeps(&tid);
}

static void race_readers(struct pair pair)
{
	struct ctx_context *ctx = child_of(ctx_background());
	unsigned got = 0, cancelled = 0;

	memset(readers, 0, sizeof(readers));
	for (unsigned i = 0; i < READERS; i++) {
		readers[i].ctx = ctx;
		readers[i].fd = pair.near;
		ck_assert_ok(pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]));
	}
	for (unsigned i = 0; i < READERS; i++)
		ck_assert(test_until(has_begun, &readers[i]));
	ck_assert_int_eq(write(pair.far, "a line\n", 7), 7);
	ck_assert(test_until(one_has_read, NULL));
	ck_assert_ok(ctx_cancel(ctx));
	for (unsigned i = 0; i < READERS; i++) {
		ck_assert_ok(pthread_join(readers[i].thread, NULL));
		got += readers[i].result == 7;
		cancelled += readers[i].result == -ECANCELED;
	}
	ck_assert_uint_eq(got, 1);
	ck_assert_uint_eq(cancelled, READERS - 1);
	ctx_unref(ctx);
}

/* All are woken, one gets it; the others would then have waited in read(2). */
START_TEST(readers_who_come_too_late_can_be_ended)
{
	struct pair pair = ends_of((enum kind)_i);

	for (unsigned i = 0; i < 20; i++)
		race_readers(pair);
	ck_assert(is_waiting(pair.near));
	pair_end(pair);
}
END_TEST

/* Poll(2) says that it is ready before there is an event to read, and it cannot be opened a second time. */
START_TEST(what_cannot_be_opened_again_is_read)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), 30 * MILLISECOND);
	char directory[] = "/tmp/ctxring-nowait-XXXXXX", bytes[4096];
	int fd = inotify_init1(IN_CLOEXEC);

	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_ge(inotify_add_watch(fd, directory, IN_DELETE_SELF), 0);
	ck_assert_int_eq(ctxio_read(ctx, fd, bytes, sizeof(bytes)), -ETIME);
	rmdir(directory);
	ck_assert_int_gt(ctxio_read(ctx_background(), fd, bytes, sizeof(bytes)), 0);
	ck_assert(is_waiting(fd));
	close(fd);
	ctx_unref(ctx);
}
END_TEST

static void *write_all_the_time(void *fd)
{
	struct ctx_context *ctx;

	while (!ctx_with_timeout(ctx_background(), MILLISECOND, "write", &ctx)) {
		ssize_t result = ctxio_write(ctx, *(int *)fd, "0123456789", 10);
		ctx_finish(ctx);
		if (result == -EPIPE || result == -EBADF)
			break;
	}
	return NULL;
}

/* Descriptors of this process for the same pipe. */
static unsigned count_copies(int fd)
{
	struct stat wanted, status;
	unsigned count = 0;

	ck_assert_ok(fstat(fd, &wanted));
	for (int i = 0; i < 100; i++)
		count += !fstat(i, &status) && status.st_ino == wanted.st_ino &&
			 status.st_dev == wanted.st_dev;
	return count;
}

/* The pipe is opened once more for an attempt: a child that is forked just then does not keep it. */
START_TEST(a_forked_child_inherits_no_attempt)
{
	struct pair pair = pipe_new();
	pthread_t thread;
	sigset_t broken;
	char bytes[4096];
	int status;

	sigemptyset(&broken);
	sigaddset(&broken, SIGPIPE);
	ck_assert_ok(pthread_sigmask(SIG_BLOCK, &broken, NULL));
	ck_assert_ok(pthread_create(&thread, NULL, write_all_the_time, &pair.far));
	for (int i = 0; i < 100; i++) {
		ck_assert_int_gt(read(pair.near, bytes, sizeof(bytes)), 0);
		pid_t pid = fork();
		if (!pid)
			_exit((int)count_copies(pair.near));
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 2 << 8);
	}
	close(pair.near);
	ck_assert_ok(pthread_join(thread, NULL));
	close(pair.far);
}
END_TEST

/* On a full or empty pipe, too. */
START_TEST(a_transfer_of_nothing_never_waits)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pair = ends_of((enum kind)_i), full = pipe_new();
	const struct iovec nothing[2] = {{"", 0}, {NULL, 0}};
	static char bytes[4096];

	ck_assert_int_eq(ctxio_read(ctx, pair.near, bytes, 0), 0);
	ck_assert_int_eq(ctxio_pread(ctx, pair.near, bytes, 0, 5), 0);
	ck_assert_int_eq(ctxio_readv(ctx, pair.near, nothing, 2), 0);
	ck_assert_int_eq(ctxio_readv(ctx, pair.near, NULL, 0), 0);
	fcntl(full.far, F_SETFL, O_NONBLOCK);
	while (write(full.far, bytes, sizeof(bytes)) > 0)
		;
	fcntl(full.far, F_SETFL, 0);
	ck_assert_int_eq(ctxio_write(ctx, full.far, bytes, 0), 0);
	ck_assert_int_eq(ctxio_writev(ctx, full.far, nothing, 2), 0);
	ck_assert_int_eq(ctxio_read(ctx, full.far, bytes, 0), -EBADF);
	ck_assert_int_eq(ctxio_write(ctx, full.near, bytes, 0), -EBADF);
	ck_assert_int_eq(ctxio_read(ctx, -1, bytes, 0), -EBADF);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctxio_read(ctx, pair.near, bytes, 0), -ECANCELED);
	ctx_unref(ctx);
	pair_end(full);
	pair_end(pair);
}
END_TEST

/* It is a message all the same, for a datagram socket. */
START_TEST(an_empty_datagram_is_sent)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	int fds[2];
	char byte;

	ck_assert_ok(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds));
	ck_assert_int_eq(ctxio_write(ctx, fds[1], "", 0), 0);
	ck_assert_int_eq(recv(fds[0], &byte, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(ctxio_writev(ctx, fds[1], NULL, 0), 0); /* as writev(2), which sends none */
	ck_assert_int_eq(recv(fds[0], &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(ctxio_read(ctx, fds[0], &byte, 0), 0);
	ctx_finish(ctx);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* Each write is a packet there (pipe(2), O_DIRECT), also one to what was opened for an attempt. */
START_TEST(a_pipe_of_packets_keeps_them_apart)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	char bytes[8];
	int fds[2];

	ck_assert_ok(pipe2(fds, O_CLOEXEC | O_DIRECT));
	ck_assert_int_eq(ctxio_write(ctx, fds[1], "ab", 2), 2);
	ck_assert_int_eq(ctxio_write(ctx, fds[1], "cde", 3), 3);
	ck_assert_int_eq(ctxio_read(ctx, fds[0], bytes, sizeof(bytes)), 2);
	ck_assert_int_eq(ctxio_read(ctx, fds[0], bytes, sizeof(bytes)), 3);
	ck_assert(is_waiting(fds[1]));
	ctx_finish(ctx);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* A thread may have descriptors of its own: then its numbers mean other files than those of the process. */
static void *write_to_own_file(void *fd)
{
	int mine[2];
	char bytes[8];

	ck_assert_ok(unshare(CLONE_FILES));
	ck_assert_ok(pipe2(mine, O_CLOEXEC));
	ck_assert_int_eq(dup2(mine[1], *(int *)fd), *(int *)fd);
	ck_assert_int_eq(ctxio_write(ctx_background(), *(int *)fd, "own", 3), 3);
	ck_assert_int_eq(fcntl(mine[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(mine[0], bytes, sizeof(bytes)), 3);
	return NULL;
}

START_TEST(a_thread_with_descriptors_of_its_own_writes_to_those)
{
	struct pair pair = pipe_new();
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, write_to_own_file, &pair.far));
	ck_assert_ok(pthread_join(thread, NULL));
	pair_end(pair);
}
END_TEST

static void add_all(Suite *suite, const char *name, SFun before)
{
	TCase *calls = test_case_calls(suite, name);

	tcase_add_checked_fixture(calls, before, NULL);
	tcase_set_timeout(calls, 180);
	tcase_add_loop_test(calls, a_write_of_more_than_fits_is_ended_by_its_deadline, 0, KINDS * WRITINGS);
	tcase_add_loop_test(calls, a_large_write_reaches_its_reader_in_order, 0, TERMINAL);
	tcase_add_loop_test(calls, readers_who_come_too_late_can_be_ended, 0, KINDS);
	tcase_add_test(calls, what_cannot_be_opened_again_is_read);
	tcase_add_test(calls, a_forked_child_inherits_no_attempt);
	tcase_add_loop_test(calls, a_transfer_of_nothing_never_waits, 0, KINDS);
	tcase_add_test(calls, an_empty_datagram_is_sent);
	tcase_add_test(calls, a_pipe_of_packets_keeps_them_apart);
	tcase_add_test(calls, a_thread_with_descriptors_of_its_own_writes_to_those);
}

Suite *test_suite(void)
{
	Suite *suite = suite_create("blocking_nowait");

	add_all(suite, "without a ring", without_rings);
	add_all(suite, "without RWF_NOWAIT", without_nowait);
	TCase *ring = test_case_calls(suite, "on a ring");
	tcase_add_loop_test(ring, a_transfer_of_nothing_never_waits, 0, KINDS);
	tcase_add_test(ring, an_empty_datagram_is_sent);
	return suite;
}
