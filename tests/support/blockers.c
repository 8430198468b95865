/* SPDX-License-Identifier: MIT */
#include "support/blockers.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "thread_ring.h"

static void prepare_pipe(struct scene *scene)
{
	ck_assert_ok(pipe2(scene->fds, O_CLOEXEC));
}

static void prepare_pair(struct scene *scene)
{
	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, scene->fds));
}

static void fill(int fd)
{
	static const char bytes[65536];

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

static void prepare_full_pipe(struct scene *scene)
{
	prepare_pipe(scene);
	fill(scene->fds[1]);
}

static void prepare_full_pair(struct scene *scene)
{
	prepare_pair(scene);
	fill(scene->fds[1]);
}

static void listen_on(struct scene *scene, int backlog)
{
	struct sockaddr_un *address = (struct sockaddr_un *)&scene->address;

	address->sun_family = AF_UNIX;
	/* Without a name of ours the kernel makes one that nobody else has: unix(7), autobind. */
	scene->fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_ok(bind(scene->fds[0], (struct sockaddr *)address, sizeof(sa_family_t)));
	ck_assert_ok(listen(scene->fds[0], backlog));
	scene->address_size = sizeof(*address);
	ck_assert_ok(getsockname(scene->fds[0], (struct sockaddr *)address, &scene->address_size));
}

static void prepare_listener(struct scene *scene)
{
	listen_on(scene, 4);
}

/* One connection is in its queue, and there is room for no more. */
static void prepare_full_listener(struct scene *scene)
{
	listen_on(scene, 0);
	scene->fds[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_ok(connect(scene->fds[1], (struct sockaddr *)&scene->address, scene->address_size));
	scene->fds[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void prepare_child(struct scene *scene)
{
	scene->child = fork();
	ck_assert_int_ge(scene->child, 0);
	while (!scene->child)
		pause();
}

static void prepare_fifo(struct scene *scene)
{
	char directory[] = "/tmp/ctxring-fifo-XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(scene->path, sizeof(scene->path), "%s/fifo", directory);
	ck_assert_ok(mkfifo(scene->path, 0600));
}

static void prepare_two_pipes(struct scene *scene)
{
	ck_assert_ok(pipe2(scene->fds, O_CLOEXEC));
	ck_assert_ok(pipe2(scene->fds + 2, O_CLOEXEC));
}

static void prepare_word(struct scene *scene)
{
	scene->word = 1;
}

static ssize_t call_read(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_read(ctx, scene->fds[0], scene->buffer, 8);
}

static ssize_t call_readv(struct scene *scene, const struct ctx_context *ctx)
{
	struct iovec parts[] = {{scene->buffer, 4}, {scene->buffer + 4, 4}};
	return ctxio_readv(ctx, scene->fds[0], parts, 2);
}

static ssize_t call_read_full(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_read_full(ctx, scene->fds[0], scene->buffer, 8, NULL);
}

static ssize_t call_write(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_write(ctx, scene->fds[1], scene->buffer, 8);
}

static ssize_t call_writev(struct scene *scene, const struct ctx_context *ctx)
{
	struct iovec parts[] = {{scene->buffer, 4}, {scene->buffer + 4, 4}};
	return ctxio_writev(ctx, scene->fds[1], parts, 2);
}

static ssize_t call_write_full(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_write_full(ctx, scene->fds[1], scene->buffer, 8, NULL);
}

static ssize_t call_recv(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_recv(ctx, scene->fds[0], scene->buffer, 8, 0);
}

static ssize_t call_send(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_send(ctx, scene->fds[1], scene->buffer, 8, 0);
}

static ssize_t call_recvmsg(struct scene *scene, const struct ctx_context *ctx)
{
	struct iovec part = {scene->buffer, 8};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	return ctxio_recvmsg(ctx, scene->fds[0], &message, 0);
}

static ssize_t call_sendmsg(struct scene *scene, const struct ctx_context *ctx)
{
	struct iovec part = {scene->buffer, 8};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	return ctxio_sendmsg(ctx, scene->fds[1], &message, 0);
}

static ssize_t call_accept(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_accept(ctx, scene->fds[0], NULL, NULL, SOCK_CLOEXEC);
}

static ssize_t call_connect(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_connect(ctx, scene->fds[2], (struct sockaddr *)&scene->address, scene->address_size);
}

static ssize_t call_poll(struct scene *scene, const struct ctx_context *ctx)
{
	struct pollfd fds[] = {{.fd = scene->fds[0], .events = POLLIN}, {.fd = -1}};
	return ctxio_poll(ctx, fds, 2, -1);
}

static ssize_t call_sleep(struct scene *scene, const struct ctx_context *ctx)
{
	(void)scene;
	return ctxio_sleep_for(ctx, HOUR);
}

static ssize_t call_waitid(struct scene *scene, const struct ctx_context *ctx)
{
	siginfo_t info = {0};
	int result = ctxio_waitid(ctx, P_PID, (id_t)scene->child, &info, WEXITED);

	if (!result) {
		ck_assert_int_eq(info.si_pid, scene->child);
		ck_assert_int_eq(info.si_code, CLD_KILLED);
		ck_assert_int_eq(info.si_status, SIGKILL);
		scene->reaped = true;
	}
	return result;
}

static ssize_t call_futex(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_futex_wait(ctx, &scene->word, 1, false);
}

static ssize_t call_splice(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_splice(ctx, scene->fds[0], NULL, scene->fds[3], NULL, 8, 0);
}

static ssize_t call_openat(struct scene *scene, const struct ctx_context *ctx)
{
	return ctxio_openat(ctx, AT_FDCWD, scene->path, O_RDONLY | O_CLOEXEC, 0);
}

static void finish_write(struct scene *scene)
{
	ck_assert_int_eq(write(scene->fds[1], "12345678", 8), 8);
}

static void finish_drain(struct scene *scene)
{
	static char bytes[1 << 20];
	ck_assert_int_gt(read(scene->fds[0], bytes, sizeof(bytes)), 0);
}

static void finish_connect(struct scene *scene)
{
	scene->fds[3] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_ok(connect(scene->fds[3], (struct sockaddr *)&scene->address, scene->address_size));
}

static void finish_accept(struct scene *scene)
{
	scene->fds[3] = accept4(scene->fds[0], NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(scene->fds[3], 0);
}

static void finish_child(struct scene *scene)
{
	kill(scene->child, SIGKILL);
}

static void finish_word(struct scene *scene)
{
	__atomic_store_n(&scene->word, 2, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &scene->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static void finish_open(struct scene *scene)
{
	/* It does not wait for the reader, who may have been ended. But where the call sleeps a worker of the
	 * kernel's has perhaps yet to come to the open itself. */
	do {
		scene->fds[0] = open(scene->path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	} while (scene->fds[0] < 0 && errno == ENXIO && !scene->hasty && !sched_yield());
}

const struct blocker blockers[] = {
	{"read", false, prepare_pipe, call_read, finish_write, 8},
	{"readv", false, prepare_pipe, call_readv, finish_write, 8},
	{"read_full", false, prepare_pipe, call_read_full, finish_write, 8},
	{"write", false, prepare_full_pipe, call_write, finish_drain, 8},
	{"writev", false, prepare_full_pipe, call_writev, finish_drain, 8},
	{"write_full", false, prepare_full_pipe, call_write_full, finish_drain, 8},
	{"recv", false, prepare_pair, call_recv, finish_write, 8},
	{"recvmsg", false, prepare_pair, call_recvmsg, finish_write, 8},
	{"send", false, prepare_full_pair, call_send, finish_drain, 8},
	{"sendmsg", false, prepare_full_pair, call_sendmsg, finish_drain, 8},
	{"accept", false, prepare_listener, call_accept, finish_connect, -1},
	{"connect", false, prepare_full_listener, call_connect, finish_accept, 0},
	{"poll", false, prepare_pipe, call_poll, finish_write, 1},
	{"sleep", false, prepare_word, call_sleep, NULL, 0},
	{"waitid", false, prepare_child, call_waitid, finish_child, 0},
	{"futex_wait", false, prepare_word, call_futex, finish_word, 0},
	{"splice", true, prepare_two_pipes, call_splice, finish_write, 8},
	{"openat", true, prepare_fifo, call_openat, finish_open, -1},
};
const unsigned blocker_count = sizeof(blockers) / sizeof(blockers[0]);

bool scene_prepare(struct scene *scene, const struct blocker *blocker)
{
	*scene = (struct scene){.fds = {-1, -1, -1, -1}};
	if (blocker->needs_ring && test_no_uring())
		return false;
	blocker->prepare(scene);
	return true;
}

void scene_end(struct scene *scene)
{
	for (unsigned i = 0; i < 4; i++)
		if (scene->fds[i] >= 0)
			close(scene->fds[i]);
	if (scene->child > 0 && !scene->reaped) {
		kill(scene->child, SIGKILL);
		waitpid(scene->child, NULL, 0);
	}
	if (scene->path[0]) {
		unlink(scene->path);
		*strrchr(scene->path, '/') = '\0';
		rmdir(scene->path);
	}
}

static void *run_caller(void *data)
{
	struct caller *caller = data;

	atomic_store(&caller->tid, gettid());
	caller->result = caller->blocker->call(&caller->scene, caller->ctx);
	return NULL;
}

void caller_start(struct caller *caller, const struct blocker *blocker, const struct ctx_context *ctx)
{
	caller->blocker = blocker;
	caller->ctx = ctx;
	atomic_store(&caller->tid, 0);
	ck_assert_ok(pthread_create(&caller->thread, NULL, run_caller, caller));
}

void await_sleep(pid_t tid)
{
	ck_assert(test_until(test_thread_sleeps, &tid));
}

static bool has_started(void *data)
{
	return atomic_load(&((struct caller *)data)->tid) != 0;
}

void caller_await_sleep(struct caller *caller)
{
	ck_assert(test_until(has_started, caller));
	await_sleep(caller->tid);
}

ssize_t caller_end(struct caller *caller)
{
	ck_assert_ok(pthread_join(caller->thread, NULL));
	return caller->result;
}

TCase *test_case_calls(Suite *suite, const char *name)
{
	TCase *test_case_made = test_case(suite, name);

	tcase_add_checked_fixture(test_case_made, NULL, thread_ring_trim);
	return test_case_made;
}

TCase *test_case_calls_ring(Suite *suite, const char *name)
{
	TCase *test_case_made = test_case_ring(suite, name);

	tcase_add_checked_fixture(test_case_made, NULL, thread_ring_trim);
	return test_case_made;
}
