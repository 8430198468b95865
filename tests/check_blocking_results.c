/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls that work with and without io_uring: what they return, call by call. All of it also holds
 * where io_uring is forbidden.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "support/blockers.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* ---- data */

START_TEST(errors_are_those_of_the_system_call)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();
	char byte;

	ck_assert_int_eq(ctxio_read(ctx, -1, &byte, 1), -EBADF);
	ck_assert_int_eq(ctxio_read(ctx, pipe.far, &byte, 1), -EBADF);
	ck_assert_int_eq(ctxio_write(ctx, pipe.near, &byte, 1), -EBADF);
	ck_assert_int_eq(write(pipe.far, "x", 1), 1);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, (void *)8, 1), -EFAULT);
	pair_end(pipe);
	ctx_finish(ctx);
}
END_TEST

START_TEST(read_and_write_move_what_there_is)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair pipe = pipe_new();
	char buffer[16] = {0};

	ck_assert_int_eq(ctxio_write(ctx, pipe.far, "hello", 5), 5);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, buffer, sizeof(buffer)), 5);
	ck_assert_str_eq(buffer, "hello");
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, buffer, 0), 0);
	close(pipe.far);
	ck_assert_int_eq(ctxio_read(ctx, pipe.near, buffer, sizeof(buffer)), 0);
	close(pipe.near);
	ctx_finish(ctx);
}
END_TEST

/* Files that give less than was asked for, and have a position all the same. */
START_TEST(a_number_is_read_into_a_buffer_that_is_too_large)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	const struct itimerspec soon = {.it_value.tv_nsec = 1};
	int event = eventfd(3, EFD_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t numbers[4] = {0};

	ck_assert_int_eq(ctxio_read(ctx, event, numbers, sizeof(numbers)), 8);
	ck_assert_uint_eq(numbers[0], 3);
	ck_assert_int_eq(write(event, numbers, 8), 8);
	ck_assert_int_eq(ctxio_pread(ctx, event, numbers, sizeof(numbers), 0), 8);
	ck_assert_ok(timerfd_settime(timer, 0, &soon, NULL));
	ck_assert_int_eq(poll(&(struct pollfd){.fd = timer, .events = POLLIN}, 1, -1), 1);
	ck_assert_int_eq(ctxio_read(ctx, timer, numbers, sizeof(numbers)), 8);
	ck_assert_uint_eq(numbers[0], 1);
	close(timer);
	close(event);
	ctx_finish(ctx);
}
END_TEST

static int temporary_file(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(files_are_read_and_written_at_an_offset_and_at_their_position)
{
	struct ctx_context *ctx = child_of(ctx_background());
	int file = temporary_file();
	char buffer[16] = {0};
	struct iovec parts[] = {{buffer, 3}, {buffer + 3, 4}};

	ck_assert_int_eq(ctxio_write(ctx, file, "0123456789", 10), 10);
	ck_assert_int_eq(ctxio_pwrite(ctx, file, "ab", 2, 4), 2);
	ck_assert_int_eq(ctxio_pread(ctx, file, buffer, 4, 3), 4);
	ck_assert_mem_eq(buffer, "3ab6", 4);
	ck_assert_int_eq(lseek(file, 0, SEEK_CUR), 10);
	ck_assert_int_eq(lseek(file, 1, SEEK_SET), 1);
	ck_assert_int_eq(ctxio_readv(ctx, file, parts, 2), 7);
	ck_assert_mem_eq(buffer, "123ab67", 7);
	ck_assert_int_eq(lseek(file, 0, SEEK_CUR), 8);
	ck_assert_int_eq(ctxio_writev(ctx, file, parts, 2), 7);
	ck_assert_int_eq(ctxio_pread(ctx, file, buffer, 1, 1000), 0);
	ck_assert_int_eq(ctxio_pread(ctx, file, buffer, 1, -1), -EINVAL);
	ck_assert_int_eq(ctxio_pwrite(ctx, file, buffer, 1, -5), -EINVAL);
	ck_assert_int_eq(ctxio_readv(ctx, file, parts, -1), -EINVAL);
	ck_assert_int_eq(ctxio_writev(ctx, file, parts, 100000), -EINVAL);
	close(file);
	ctx_finish(ctx);
}
END_TEST

/* Bigger than what a pipe or socket takes at once: the system call goes on, and so do we. */
struct bulk {
	const struct ctx_context *ctx;
	int fd;
	unsigned kind;
	size_t size;
	char *bytes;
	ssize_t result;
};

static void *send_bulk(void *data)
{
	struct bulk *bulk = data;
	size_t half = bulk->size / 2 + 1;
	struct iovec parts[] = {{bulk->bytes, half}, {bulk->bytes + half, bulk->size - half}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	switch (bulk->kind) {
	case 0:
		bulk->result = ctxio_write(bulk->ctx, bulk->fd, bulk->bytes, bulk->size);
		break;
	case 1:
		bulk->result = ctxio_writev(bulk->ctx, bulk->fd, parts, 2);
		break;
	case 2:
		bulk->result = ctxio_write_full(bulk->ctx, bulk->fd, bulk->bytes, bulk->size, NULL);
		break;
	case 3:
		bulk->result = ctxio_send(bulk->ctx, bulk->fd, bulk->bytes, bulk->size, 0);
		break;
	default:
		bulk->result = ctxio_sendmsg(bulk->ctx, bulk->fd, &message, 0);
	}
	return NULL;
}

START_TEST(what_does_not_fit_at_once_is_written_all_the_same)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = _i < 3 ? pipe_new() : tcp_new();
	struct bulk bulk = {.ctx = ctx, .fd = pair.far, .kind = (unsigned)_i, .size = 3 << 20};
	char *got = malloc(bulk.size);
	size_t done;
	pthread_t thread;

	bulk.bytes = malloc(bulk.size);
	for (size_t i = 0; i < bulk.size; i++)
		bulk.bytes[i] = (char)(i * 7 + i / 251);
	ck_assert_ok(pthread_create(&thread, NULL, send_bulk, &bulk));
	if (_i < 3)
		ck_assert_int_eq(ctxio_read_full(ctx, pair.near, got, bulk.size, &done), (ssize_t)bulk.size);
	else
		ck_assert_int_eq(ctxio_recv(ctx, pair.near, got, bulk.size, MSG_WAITALL), (ssize_t)bulk.size);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(bulk.result, (ssize_t)bulk.size);
	ck_assert_ok(memcmp(got, bulk.bytes, bulk.size));
	free(got);
	free(bulk.bytes);
	pair_end(pair);
	ctx_finish(ctx);
}
END_TEST

/* Of a write that is ended half way what was written counts. */
START_TEST(what_was_written_before_the_end_is_returned)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = _i < 3 ? pipe_new() : pair_new();
	struct bulk bulk = {.ctx = ctx, .fd = pair.far, .kind = (unsigned)_i, .size = 3 << 20};
	char buffer[4096];
	ssize_t arrived = 0, more;
	pthread_t thread;

	bulk.bytes = calloc(1, bulk.size);
	ck_assert_ok(pthread_create(&thread, NULL, send_bulk, &bulk));
	/* When the first byte has come it is in the middle. */
	struct pollfd ready = {.fd = pair.near, .events = POLLIN};
	ck_assert_int_eq(poll(&ready, 1, -1), 1);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(pthread_join(thread, NULL));
	close(pair.far);
	while ((more = read(pair.near, buffer, sizeof(buffer))) > 0)
		arrived += more;
	if (bulk.kind == 2)
		ck_assert_int_eq(bulk.result, -ECANCELED);
	else
		ck_assert_int_eq(bulk.result, arrived);
	ck_assert_int_gt(arrived, 0);
	ck_assert_int_lt(arrived, (ssize_t)bulk.size);
	free(bulk.bytes);
	close(pair.near);
	ctx_unref(ctx);
}
END_TEST

static void *run_read_full(void *data)
{
	struct pair_call *call = data;

	call->tid = gettid();
	call->result = ctxio_read_full(call->ctx, call->pair.near, call->buffer, 100, &call->done);
	return NULL;
}

static bool all_taken(void *data)
{
	struct pollfd ready = {.fd = *(int *)data, .events = POLLIN};
	return poll(&ready, 1, 0) == 0;
}

START_TEST(full_calls_say_how_far_they_came)
{
	struct pair_call call = {.ctx = child_of(ctx_background()), .pair = pipe_new(), .done = 7};
	struct ctx_context *done = child_of(ctx_background());
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, run_read_full, &call));
	ck_assert_int_eq(write(call.pair.far, "1234567890123456789012345678901234567890", 40), 40);
	ck_assert(test_until(all_taken, &call.pair.near));
	ck_assert_ok(ctx_cancel(call.ctx));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(call.result, -ECANCELED);
	ck_assert_uint_eq(call.done, 40);
	ck_assert_ok(ctx_cancel(done));
	call.done = 7;
	ck_assert_int_eq(ctxio_read_full(done, call.pair.near, call.buffer, 0, &call.done), -ECANCELED);
	ck_assert_uint_eq(call.done, 0);
	ctx_unref(call.ctx);
	call.ctx = child_of(ctx_background());
	ck_assert_int_eq(write(call.pair.far, "12345", 5), 5);
	close(call.pair.far);
	ck_assert_int_eq(ctxio_read_full(call.ctx, call.pair.near, call.buffer, 100, &call.done), 5);
	ck_assert_uint_eq(call.done, 5);
	close(call.pair.near);
	ctx_finish(call.ctx);
	ctx_unref(done);
}
END_TEST

/* ---- sockets */

static void *run_recv_all(void *data)
{
	struct pair_call *call = data;
	struct iovec part = {call->buffer, 100};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	call->tid = gettid();
	call->result = call->done ? ctxio_recvmsg(call->ctx, call->pair.near, &message, MSG_WAITALL)
				  : ctxio_recv(call->ctx, call->pair.near, call->buffer, 100, MSG_WAITALL);
	return NULL;
}

/* Data that won the race is delivered. recv, and for 1 recvmsg. */
START_TEST(forty_of_a_hundred_bytes_are_returned_when_the_context_ends)
{
	struct pair_call call = {.ctx = child_of(ctx_background()), .pair = tcp_new(), .done = (size_t)_i};
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, run_recv_all, &call));
	ck_assert_int_eq(write(call.pair.far, "1234567890123456789012345678901234567890", 40), 40);
	ck_assert(test_until(all_taken, &call.pair.near));
	ck_assert_ok(ctx_cancel(call.ctx));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(call.result, 40);
	pair_end(call.pair);
	ctx_unref(call.ctx);
}
END_TEST

START_TEST(dontwait_does_not_wait)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();
	struct iovec part;
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	static char bytes[1 << 20];

	part = (struct iovec){bytes, sizeof(bytes)};
	ck_assert_int_eq(ctxio_recv(ctx, pair.near, bytes, 8, MSG_DONTWAIT), -EAGAIN);
	ck_assert_int_eq(ctxio_recvmsg(ctx, pair.near, &message, MSG_DONTWAIT), -EAGAIN);
	ssize_t sent = ctxio_send(ctx, pair.near, bytes, sizeof(bytes), MSG_DONTWAIT);
	ck_assert_int_gt(sent, 0);
	ck_assert_int_lt(sent, (ssize_t)sizeof(bytes));
	while ((sent = ctxio_sendmsg(ctx, pair.near, &message, MSG_DONTWAIT)) > 0)
		;
	ck_assert_int_eq(sent, -EAGAIN);
	pair_end(pair);
	ctx_finish(ctx);
}
END_TEST

START_TEST(a_broken_connection_is_an_error_and_no_signal)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();

	close(pair.far);
	ck_assert_int_eq(ctxio_send(ctx, pair.near, "x", 1, 0), -EPIPE);
	ck_assert_int_eq(ctxio_recv(ctx, pair.near, (char[1]){0}, 1, 0), 0);
	ck_assert_int_eq(ctxio_recv(ctx, STDIN_FILENO, (char[1]){0}, 1, 0), -ENOTSOCK);
	close(pair.near);
	ctx_finish(ctx);
}
END_TEST

static int tcp_listener(struct sockaddr_in *ret_address)
{
	socklen_t size = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	ck_assert_ok(bind(fd, (struct sockaddr *)ret_address, size));
	ck_assert_ok(listen(fd, 128));
	ck_assert_ok(getsockname(fd, (struct sockaddr *)ret_address, &size));
	return fd;
}

START_TEST(connect_and_accept_meet)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct sockaddr_in address, peer, own;
	socklen_t peer_size = sizeof(peer), own_size = sizeof(own);
	int listener = tcp_listener(&address), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(ctxio_connect(ctx, fd, (struct sockaddr *)&address, sizeof(address)));
	int accepted = ctxio_accept(ctx, listener, (struct sockaddr *)&peer, &peer_size,
				    SOCK_CLOEXEC | SOCK_NONBLOCK);
	ck_assert_int_ge(accepted, 0);
	ck_assert_ok(getsockname(fd, (struct sockaddr *)&own, &own_size));
	ck_assert_uint_eq(peer_size, sizeof(peer));
	ck_assert_uint_eq(peer.sin_port, own.sin_port);
	ck_assert_int_eq(fcntl(accepted, F_GETFD), FD_CLOEXEC);
	ck_assert(fcntl(accepted, F_GETFL) & O_NONBLOCK);
	ck_assert(!(fcntl(listener, F_GETFL) & O_NONBLOCK));
	ck_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	ck_assert_int_eq(ctxio_connect(ctx, fd, (struct sockaddr *)&address, sizeof(address)), -EISCONN);
	close(accepted);
	close(fd);
	close(listener);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(ctxio_connect(ctx, fd, (struct sockaddr *)&address, sizeof(address)), -ECONNREFUSED);
	ck_assert_int_eq(ctxio_accept(ctx, fd, NULL, NULL, 0), -EINVAL);
	close(fd);
	ctx_finish(ctx);
}
END_TEST

/* O_NONBLOCK is no reason to return: the call waits until there is something. */
START_TEST(non_blocking_descriptors_are_waited_for)
{
	static struct caller caller;
	static const char *const names[] = {"read", "recv", "accept", "write", "send", "connect"};
	struct ctx_context *ctx = child_of(ctx_background());
	const struct blocker *blocker = blockers;

	while (strcmp(blocker->name, names[_i]))
		blocker++;
	ck_assert(scene_prepare(&caller.scene, blocker));
	for (unsigned i = 0; i < 3; i++)
		if (caller.scene.fds[i] >= 0)
			fcntl(caller.scene.fds[i], F_SETFL, fcntl(caller.scene.fds[i], F_GETFL) | O_NONBLOCK);
	caller_start(&caller, blocker, ctx);
	caller_await_sleep(&caller);
	blocker->finish(&caller.scene);
	ssize_t result = caller_end(&caller);
	if (blocker->result < 0)
		close((int)result);
	else
		ck_assert_int_eq(result, blocker->result);
	for (unsigned i = 0; i < 3; i++)
		if (caller.scene.fds[i] >= 0)
			ck_assert(fcntl(caller.scene.fds[i], F_GETFL) & O_NONBLOCK);
	scene_end(&caller.scene);
	ctx_finish(ctx);
}
END_TEST

START_TEST(non_blocking_sockets_connect)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct sockaddr_in address;
	int listener = tcp_listener(&address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_ok(ctxio_connect(ctx, fd, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_int_eq(ctxio_send(ctx, fd, "x", 1, 0), 1);
	close(fd);
	close(listener);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(ctxio_connect(ctx, fd, (struct sockaddr *)&address, sizeof(address)), -ECONNREFUSED);
	close(fd);
	ctx_finish(ctx);
}
END_TEST

/* With O_NONBLOCK, and of what is not in the page cache. */
START_TEST(non_blocking_files_are_read)
{
	struct ctx_context *ctx = child_of(ctx_background());
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | O_NONBLOCK, 0600);
	static char bytes[65536];

	ck_assert_int_eq(ctxio_write(ctx, fd, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_ok(fsync(fd));
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	ck_assert_int_eq(ctxio_pread(ctx, fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	close(fd);
	ctx_finish(ctx);
}
END_TEST

/* Files whose driver knows no attempt that does not wait: FIFOs by name, inotify; blocking or not. */
START_TEST(odd_descriptors_are_waited_for)
{
	static struct caller caller;
	char directory[] = "/tmp/ctxring-odd-XXXXXX", path[64];
	struct ctx_context *ctx = child_of(ctx_background());
	const struct blocker blocker = {.call = blockers[0].call};
	int other = -1, flags = _i & 1 ? O_NONBLOCK : 0;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/fifo", directory);
	caller.scene = (struct scene){.fds = {-1, -1, -1, -1}};
	if (_i & 2) {
		caller.scene.fds[0] = inotify_init1(IN_CLOEXEC | flags);
		ck_assert_int_ge(inotify_add_watch(caller.scene.fds[0], directory, IN_CREATE), 0);
	} else {
		ck_assert_ok(mkfifo(path, 0600));
		other = open(path, O_RDWR | O_CLOEXEC);
		caller.scene.fds[0] = open(path, O_RDONLY | O_CLOEXEC | flags);
	}
	caller_start(&caller, &blocker, ctx);
	caller_await_sleep(&caller);
	if (_i & 2) {
		ck_assert_ok(mkfifo(path, 0600));
		/* Eight bytes are less than an event takes: inotify(7). */
		ck_assert_int_eq(caller_end(&caller), -EINVAL);
	} else {
		ck_assert_int_eq(write(other, "12345678", 8), 8);
		ck_assert_int_eq(caller_end(&caller), 8);
		close(other);
	}
	close(caller.scene.fds[0]);
	unlink(path);
	rmdir(directory);
	ctx_finish(ctx);
}
END_TEST

/* Each message is for one of several readers; the others find its readiness stolen, and can still be ended.
 */
START_TEST(a_stolen_readiness_leaves_the_others_endable)
{
	static struct caller callers[6];
	static const char *const names[] = {"read", "recv", "accept"};
	struct ctx_context *ctx = child_of(ctx_background());
	const struct blocker *blocker = blockers;
	struct scene scene;
	unsigned got = 0, cancelled = 0;

	while (strcmp(blocker->name, names[_i]))
		blocker++;
	ck_assert(scene_prepare(&scene, blocker));
	for (unsigned i = 0; i < 6; i++) {
		callers[i].scene = scene;
		caller_start(&callers[i], blocker, ctx);
	}
	for (unsigned i = 0; i < 6; i++)
		caller_await_sleep(&callers[i]);
	blocker->finish(&scene);
	ck_assert(test_until(all_taken, &scene.fds[0]));
	ck_assert_ok(ctx_cancel(ctx));
	for (unsigned i = 0; i < 6; i++) {
		ssize_t result = caller_end(&callers[i]);
		got += result >= 0;
		cancelled += result == -ECANCELED;
		if (result >= 0 && blocker->result < 0)
			close((int)result);
	}
	ck_assert_uint_eq(got, 1);
	ck_assert_uint_eq(cancelled, 5);
	ck_assert(!(fcntl(scene.fds[0], F_GETFL) & O_NONBLOCK));
	scene_end(&scene);
	ctx_unref(ctx);
}
END_TEST

/* ---- poll, sleep, children, futexes, close */

START_TEST(poll_answers_as_the_system_call_does)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	struct pair call = pipe_new(), empty = pipe_new();
	struct pollfd fds[40], same[40];

	for (unsigned i = 0; i < 40; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = 99};
	ck_assert_int_eq(write(call.far, "x", 1), 1);
	fds[3].fd = call.near;
	fds[30].fd = empty.near;
	fds[35] = (struct pollfd){.fd = call.far, .events = POLLOUT};
	fds[39].fd = 1000000;
	for (unsigned count = 4; count <= 40; count += 36) {
		memcpy(same, fds, sizeof(same));
		ck_assert_int_eq(ctxio_poll(ctx, fds, count, -1), poll(same, count, -1));
		ck_assert_mem_eq(fds, same, sizeof(same));
	}
	ck_assert_int_eq(ctxio_poll(ctx, &fds[30], 1, 0), 0);
	ck_assert_int_eq(fds[30].revents, 0);
	uint64_t start_ns = clock_now_ns();
	ck_assert_int_eq(ctxio_poll(ctx, &fds[30], 1, 10), 0);
	ck_assert_uint_ge(clock_now_ns() - start_ns, 10 * MILLISECOND);
	ck_assert_int_eq(ctxio_poll(ctx, NULL, 0, 1), 0);
	ck_assert_int_eq(ctxio_poll(ctx, NULL, 1, 1), -EFAULT);
	ck_assert_int_eq(ctxio_poll(ctx, fds, (unsigned long)-1, 1), -EINVAL);
	pair_end(call);
	pair_end(empty);
	ctx_finish(ctx);
}
END_TEST

START_TEST(sleep_ends_in_time)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	uint64_t start_ns = clock_now_ns();

	ck_assert_ok(ctxio_sleep_for(ctx, 5 * MILLISECOND));
	ck_assert_uint_ge(clock_now_ns() - start_ns, 5 * MILLISECOND);
	ck_assert_ok(ctxio_sleep_until(ctx_background(), start_ns + 12 * MILLISECOND));
	ck_assert_uint_ge(clock_now_ns() - start_ns, 12 * MILLISECOND);
	ck_assert_ok(ctxio_sleep_until(ctx, start_ns));
	ck_assert_ok(ctxio_sleep_for(ctx, 0));
	ck_assert_int_eq(ctxio_sleep_for(ctx_background(), CTX_FOREVER), -EDEADLK);
	ck_assert_int_eq(ctxio_sleep_for(NULL, 0), -EINVAL);
	ctx_finish(ctx);
}
END_TEST

static pid_t child_that_exits(int status)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(status);
	return pid;
}

START_TEST(waitid_answers_as_the_system_call_does)
{
	struct ctx_context *ctx = child_of(ctx_background());
	siginfo_t info = {0};
	pid_t child = child_that_exits(7);

	ck_assert_ok(ctxio_waitid(ctx, P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
	ck_assert_int_eq(info.si_pid, child);
	ck_assert_int_eq(info.si_code, CLD_EXITED);
	ck_assert_int_eq(info.si_status, 7);
	ck_assert_ok(ctxio_waitid(ctx, P_PID, (id_t)child, NULL, WEXITED));
	info.si_pid = 42;
	ck_assert_int_eq(ctxio_waitid(ctx, P_PID, (id_t)child, &info, WEXITED), -ECHILD);
	ck_assert_int_eq(info.si_pid, 42);
	ck_assert_int_eq(ctxio_waitid(ctx, P_PID, (id_t)getpid(), &info, WEXITED), -ECHILD);
	ck_assert_int_eq(ctxio_waitid(ctx, P_PID, (id_t)child, &info, 0), -EINVAL);
	child = fork();
	while (!child)
		pause();
	ck_assert_ok(ctxio_waitid(ctx, P_PID, (id_t)child, &info, WEXITED | WNOHANG));
	ck_assert_int_eq(info.si_pid, 0);
	int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	kill(child, SIGKILL);
	ck_assert_ok(ctxio_waitid(ctx, 3 /* P_PIDFD */, (id_t)pidfd, &info, WEXITED));
	ck_assert_int_eq(info.si_status, SIGKILL);
	close(pidfd);
	ctx_finish(ctx);
}
END_TEST

START_TEST(futex_wait_refuses_another_value)
{
	struct ctx_context *ctx = child_of(ctx_background());
	uint32_t words[2] = {5, 0};

	ck_assert_int_eq(ctxio_futex_wait(ctx, words, 4, false), -EAGAIN);
	ck_assert_int_eq(ctxio_futex_wait(ctx, NULL, 4, false), -EINVAL);
	ck_assert_int_eq(ctxio_futex_wait(ctx, (uint32_t *)((char *)words + 1), 4, false), -EINVAL);
	ctx_finish(ctx);
}
END_TEST

START_TEST(futex_in_shared_memory_is_woken_by_another_process)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR);
	uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = fork();

	if (!child) {
		while (!syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0))
			sched_yield();
		_exit(0);
	}
	ck_assert_ok(ctxio_futex_wait(ctx, word, 0, true));
	waitpid(child, NULL, 0);
	munmap(word, 4096);
	ctx_finish(ctx);
}
END_TEST

START_TEST(close_closes_whatever_became_of_the_context)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new();

	ck_assert_ok(ctxio_close(ctx, pair.near));
	ck_assert_int_eq(fcntl(pair.near, F_GETFD), -1);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctxio_close(ctx, pair.far));
	ck_assert_int_eq(fcntl(pair.far, F_GETFD), -1);
	ck_assert_int_eq(ctxio_close(ctx, pair.far), -EBADF);
	ck_assert_int_eq(ctxio_close(NULL, pair.far), -EINVAL);
	ctx_unref(ctx);
}
END_TEST

/* The peer reads nothing, so that close(2) would linger for its whole time. */
START_TEST(close_does_not_linger)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = tcp_new();
	struct linger linger = {.l_onoff = 1, .l_linger = 30};
	static char bytes[1 << 20];
	uint64_t start_ns = clock_now_ns();

	ck_assert_ok(setsockopt(pair.near, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	while (ctxio_send(ctx, pair.near, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	ck_assert_ok(ctxio_close(ctx, pair.near));
	ck_assert_uint_lt(clock_now_ns() - start_ns, 20 * NS_PER_SECOND);
	close(pair.far);
	ctx_finish(ctx);
}
END_TEST

/* ---- processes and threads */

START_TEST(pipes_ignore_an_offset)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pipe = pipe_new();
	char byte;

	ck_assert_int_eq(ctxio_pwrite(ctx, pipe.far, "x", 1, 5), 1);
	ck_assert_int_eq(ctxio_pread(ctx, pipe.near, &byte, 1, 7), 1);
	pair_end(pipe);
	ctx_finish(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("blocking_results");
	TCase *data = test_case_calls(suite, "data"), *sockets = test_case_calls(suite, "sockets"),
	      *others = test_case_calls(suite, "others");

	tcase_add_test(data, errors_are_those_of_the_system_call);
	tcase_add_test(data, read_and_write_move_what_there_is);
	tcase_add_test(data, a_number_is_read_into_a_buffer_that_is_too_large);
	tcase_add_test(data, files_are_read_and_written_at_an_offset_and_at_their_position);
	tcase_add_loop_test(data, what_does_not_fit_at_once_is_written_all_the_same, 0, 5);
	tcase_add_loop_test(data, what_was_written_before_the_end_is_returned, 0, 5);
	tcase_add_test(data, full_calls_say_how_far_they_came);
	tcase_add_test(data, pipes_ignore_an_offset);

	tcase_add_loop_test(sockets, forty_of_a_hundred_bytes_are_returned_when_the_context_ends, 0, 2);
	tcase_add_test(sockets, dontwait_does_not_wait);
	tcase_add_test(sockets, a_broken_connection_is_an_error_and_no_signal);
	tcase_add_test(sockets, connect_and_accept_meet);
	tcase_add_loop_test(sockets, non_blocking_descriptors_are_waited_for, 0, 6);
	tcase_add_test(sockets, non_blocking_sockets_connect);
	tcase_add_test(sockets, non_blocking_files_are_read);
	tcase_add_loop_test(sockets, odd_descriptors_are_waited_for, 0, 4);
	tcase_add_loop_test(sockets, a_stolen_readiness_leaves_the_others_endable, 0, 3);

	tcase_add_test(others, poll_answers_as_the_system_call_does);
	tcase_add_test(others, sleep_ends_in_time);
	tcase_add_test(others, waitid_answers_as_the_system_call_does);
	tcase_add_test(others, futex_wait_refuses_another_value);
	tcase_add_test(others, futex_in_shared_memory_is_woken_by_another_process);
	tcase_add_test(others, close_closes_whatever_became_of_the_context);
	tcase_add_test(others, close_does_not_linger);
	return suite;
}
