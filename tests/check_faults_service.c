/* SPDX-License-Identifier: MIT */
/*
 * The k-th call of the service that may fail for want of something fails, for each k: memory, accepting,
 * sending, receiving, copying a descriptor. It must not die, leak or forget: clients get an error that is
 * documented, and the same one can do everything afterwards. The linker leads these calls of the service's
 * code through here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker.h"
#include "connection.h"
#include "listener.h"
#include "log.h"
#include "support/service.h"

TEST_ALONE("its functions are replaced by --wrap");

TEST_MODES(TEST_FAULTS);

#define SOON (30 * NS_PER_SECOND)

/* Shared with the process that serves. */
static struct {
	_Atomic unsigned fail_at; /* 0: none */
	_Atomic unsigned calls, failed;
	_Atomic bool stop;
} * shared;
static bool serving;

static int fault(int error)
{
	if (!serving || !shared->fail_at || ++shared->calls != shared->fail_at)
		return 0;
	shared->failed++;
	return error;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
int __real_fcntl(int fd, int command, ...);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
int __wrap_fcntl(int fd, int command, ...);

#define FAIL(error, result)                \
	do {                               \
		int fault_ = fault(error); \
		if (fault_) {              \
			errno = fault_;    \
			return result;     \
		}                          \
	} while (0)

void *__wrap_malloc(size_t size)
{
	FAIL(ENOMEM, NULL);
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	FAIL(ENOMEM, NULL);
	return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	FAIL(ENOMEM, NULL);
	return __real_realloc(memory, size);
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	FAIL(EMFILE, -1);
	return __real_accept4(fd, address, size, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	FAIL(message->msg_controllen ? ETOOMANYREFS : ENOBUFS, -1);
	return __real_sendmsg(fd, message, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	FAIL(ENOMEM, -1);
	return __real_recvmsg(fd, message, flags);
}

int __wrap_fcntl(int fd, int command, ...)
{
	va_list arguments;

	if (command == F_DUPFD_CLOEXEC)
		FAIL(EMFILE, -1);
	va_start(arguments, command);
	long argument = va_arg(arguments, long);
	va_end(arguments);
	return __real_fcntl(fd, command, argument);
}

/* ---- the service */

static void closed(struct connections *connections)
{
	(void)connections;
}

static unsigned count_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* What main() of the service does, without options, signals and systemd. */
static int serve(const char *path, enum loop_kind kind)
{
	struct config config = config_default;
	struct loop *loop;
	struct broker *broker;
	struct listener listener;
	char reason[400];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* What the library keeps for good is there already. */
	ctx_finish(child_of(ctx_background()));
	if (loop_open(kind, &loop, reason, sizeof(reason)))
		return 2;
	loop_close(loop);
	unsigned before = count_descriptors();
	log_set_level(LOG_LEVEL_ERROR);
	config.reply_ns = 100 * MILLISECOND;
	broker = broker_new(&config, 7);
	if (loop_open(kind, &loop, reason, sizeof(reason)) ||
	    listener_open(&listener, path, reason, sizeof(reason)))
		return 2;
	struct closers closers;
	closers_open(&closers, loop, -1, false);
	const struct disposal disposal = closers_disposal(&closers);
	broker_set_disposal(broker, &disposal);
	struct connections connections = {
		.loop = loop, .broker = broker, .closers = &closers, .config = &config, .closed = closed};
	connections_init(&connections);
	if (loop_group_begin(loop, &listener.group, "listener"))
		return 3;
	listener_start(&listener, &connections);
	serving = true;
	bool stopping = false;
	while (!stopping || connections.count || listener.fd >= 0 || closers.count) {
		if (loop_run(loop, 5 * MILLISECOND))
			return 4;
		uint64_t now_ns = clock_now_ns();
		connections_tick(&connections, now_ns);
		broker_tick(broker, now_ns);
		listener_tick(&listener, now_ns);
		closers_tick(&closers, now_ns);
		if (stopping && !connections.count) {
			broker_empty(broker);
			closers_end(&closers);
		}
		if (!stopping && shared->stop) {
			stopping = true;
			listener_stop(&listener);
			connections_end(&connections, -ESHUTDOWN);
		}
	}
	broker_free(broker); /* aborts when something is charged still */
	loop_close(loop);
	return count_descriptors() == before ? 0 : 5;
}

/* ---- its clients */

static void documented(int result, const char *what)
{
	static const int errors[] = {0,	      -ENOMEM,	 -EMFILE,    -ENOTCONN, -ECONNREFUSED, -EDQUOT,
				     -EAGAIN, -EALREADY, -ETIMEDOUT, -ENOENT,	-EEXIST,       -ENOBUFS};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (result == errors[i])
			return;
	ck_abort_msg("%s: %d is not what its contract says", what, result);
}

static int add(const struct ctxd_entry *entry, void *data)
{
	(void)entry;
	++*(unsigned *)data;
	return 0;
}

static void ignore_event(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	(void)client;
	(void)event;
	(void)data;
}

/* One way through everything. true: nothing failed. */
static bool go_through(const char *path, bool must)
{
	struct ctxd_options options = {.socket = path,
				       .flags = CTXD_PUBLISH,
				       .timeout_ns = must ? SOON : NS_PER_SECOND / 5,
				       .event = ignore_event};
	struct ctxd_client *client = NULL;
	struct ctx_context *ctx = child_of(ctx_background()), *joined = NULL;
	struct ctxd_id id = {0};
	struct ctxd_report report;
	unsigned count = 0;
	int table = -1;
	int results[7] = {ctxd_connect(&options, &client)};

	if (!results[0]) {
		results[1] = ctxd_watch(client, CTXD_SHARED);
		results[2] = ctxd_share(client, ctx, "faulty", 0, &id);
		results[3] = results[2] ? 0 : ctxd_join(client, id, &joined);
		results[4] = ctxd_list(client, CTXD_SHARED, add, &count);
		results[5] = ctxd_table(client, CTXD_PROCESS, getpid(), NULL, &table);
		struct ctxd_target target = {.id = id};
		results[6] = results[2] ? 0 : ctxd_cancel(client, &target, 0, 0, "faulty", 0, &report);
	}
	bool good = true;
	for (size_t i = 0; i < 7; i++) {
		documented(results[i], "a call");
		good &= results[i] == 0;
	}
	if (table >= 0)
		close(table);
	ctx_cancel(ctx);
	if (joined)
		ck_assert_ok(ctx_wait(joined, SOON));
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(client);
	return good;
}

static bool answers(void *data)
{
	return go_through(data, true);
}

START_TEST(each_call_of_the_service_may_fail_once)
{
	char directory[] = "/tmp/ctxring-test.XXXXXX", path[64], log[64];
	unsigned k = 0, failed = 1;
	int status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(shared != MAP_FAILED);
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/ctxd.sock", directory);
	snprintf(log, sizeof(log), "%s/log", directory);
	pid_t pid = fork();
	if (pid == 0 && freopen(log, "we", stderr))
		exit(serve(path, _i ? LOOP_POLL : LOOP_RING)); /* with the leak checker's exit handler */
	ck_assert(test_until(answers, path));
	while (failed) {
		shared->calls = shared->failed = 0;
		shared->fail_at = ++k;
		go_through(path, false);
		shared->fail_at = 0;
		failed = shared->failed;
		ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
		ck_assert_msg(test_until(answers, path), "after call %u failed", k);
	}
	ck_assert_uint_gt(k, 30);
	shared->stop = true;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "status %#x, see %s", (unsigned)status, log);
	unlink(log);
	rmdir(directory);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults of the service");
	TCase *faults = test_case(suite, "faults");

	tcase_set_timeout(faults, 240);
	tcase_add_loop_test(faults, each_call_of_the_service_may_fail_once, test_no_uring() ? 1 : 0, 2);
	return suite;
}
