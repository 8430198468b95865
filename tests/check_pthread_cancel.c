/* SPDX-License-Identifier: MIT */
/*
 * No call of the library is a cancellation point of pthread_cancel(3), and no function of the program is one
 * while the library calls it. Each entry of a table makes calls on a thread that is to be cancelled at its
 * next cancellation point. It must come to its end; and afterwards the library must work, with all its locks
 * free and no descriptor lost.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/rings.h"
#include "support/service.h"
#include "sys.h"
#include "thread_ring.h"

/* ---- contexts */

static void done_descriptors(void)
{
	struct ctx_context *ctx = child_of(ctx_background()), *child = child_of(ctx);

	ck_assert_int_ge(ctx_done_fd(ctx), 0);
	ck_assert_int_ge(ctx_done_fd(child), 0);
	ck_assert_int_ge(ctx_done_fd(ctx_background()), 0);
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "because"));
	ctx_finish(child);
	ctx_finish(ctx);
	ctx = child_of(ctx_background());
	ck_assert_int_ge(ctx_done_fd(ctx), 0);
	ctx_unref(ctx);
}

static void waits(void)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), MILLISECOND);
	struct pair pair = pipe_new();

	ck_assert_int_eq(ctx_wait(ctx_background(), MILLISECOND), -ETIMEDOUT);
	ck_assert_int_eq(ctx_wait_fd(ctx_background(), pair.near, POLLIN, MILLISECOND), -ETIMEDOUT);
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	ck_assert_int_eq(ctx_wait_fd(ctx, pair.near, POLLIN, CTX_FOREVER), -ETIME);
	ctx_finish(ctx);
	sys_close(pair.near);
	sys_close(pair.far);
}

static void deadlines_and_signals(void)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR), *other = child_of(ctx_background());

	ck_assert_ok(ctx_set_deadline(ctx, 1));
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	ck_assert_ok(ctx_signal_prepare(other));
	ck_assert_ok(ctx_cancel_from_signal(other, SIGUSR1));
	ck_assert_ok(ctx_wait(other, CTX_FOREVER));
	ctx_finish(other);
	ctx_finish(ctx);
}

static unsigned called;

static void be_a_point(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback, (void)ctx, (void)data;
	pthread_testcancel();
	called++;
}

static void release_is_a_point(void *value)
{
	(void)value;
	pthread_testcancel();
	called++;
}

static int format_is_a_point(const void *value, char *buffer, size_t size)
{
	pthread_testcancel();
	called++;
	return snprintf(buffer, size, "%s", (const char *)value);
}

static void callbacks(void)
{
	struct ctx_context *ctx = child_of(ctx_background()), *child = child_of(ctx);
	struct ctx_callback first = {0}, second = {0}, below = {0}, late = {0};

	called = 0;
	ck_assert_ok(ctx_callback_add(ctx, &first, be_a_point, NULL, NULL));
	ck_assert_ok(ctx_callback_add(ctx, &second, be_a_point, NULL, NULL));
	ck_assert_ok(ctx_callback_add(child, &below, be_a_point, NULL, NULL));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_callback_add(ctx, &late, be_a_point, NULL, NULL));
	ck_assert_uint_eq(called, 4);
	ctx_finish(child);
	ctx_finish(ctx);
}

static void values(void)
{
	static const struct ctx_key key = {"key", release_is_a_point, format_is_a_point};
	const struct ctx_context *value = value_child_of(ctx_background(), &key, (void *)"text");
	char buffer[256];

	called = 0;
	ck_assert_int_gt(ctx_format(value, buffer, sizeof(buffer)), 0);
	ctx_unref(value);
	ck_assert_uint_eq(called, 2);
}

static int set_is_a_point(const char *name, const char *value, void *data)
{
	(void)name, (void)value, (void)data;
	pthread_testcancel();
	called++;
	return 0;
}

static const char *get_is_a_point(const char *name, void *data)
{
	(void)name, (void)data;
	pthread_testcancel();
	called++;
	return NULL;
}

static void contexts_as_text(void)
{
	struct ctx_context *ctx = timed_child_of(ctx_background(), HOUR), *extracted;

	called = 0;
	ck_assert_ok(ctx_inject(ctx, CTX_CARRIER_ENVIRONMENT, NULL, 0, set_is_a_point, NULL));
	ck_assert_ok(ctx_inject(ctx, CTX_CARRIER_HEADERS, NULL, 0, set_is_a_point, NULL));
	ck_assert_ok(ctx_extract(ctx, CTX_CARRIER_HEADERS, NULL, 0, get_is_a_point, NULL, NULL, &extracted));
	ck_assert_uint_ge(called, 3);
	ctx_finish(extracted);
	ck_assert_ok(ctx_from_environment(NULL, 0, NULL, &extracted));
	ctx_finish(extracted);
	ctx_finish(ctx);
}

static void explanations(void)
{
	char buffer[1024];

	ck_assert_int_gt(ctx_ring_explain(-EPERM, buffer, sizeof(buffer)), 0);
	ck_assert_int_gt(ctx_ring_explain(-ENOMEM, buffer, sizeof(buffer)), 0);
	ck_assert_int_gt(ctx_source_explain(CTX_CAUSE_PRESSURE, -EACCES, buffer, sizeof(buffer)), 0);
	ck_assert_int_gt(ctxd_explain(-ENOENT, buffer, sizeof(buffer)), 0);
}

/* ---- calls that wait */

static void blocking_calls(void)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct pair pair = pair_new(), pipes = pipe_new();
	struct iovec part;
	struct pollfd pollfd = {.fd = pair.near, .events = POLLIN};
	char bytes[8] = "";

	part = (struct iovec){bytes, 1};
	ck_assert_int_eq(ctxio_write(ctx, pair.near, "12", 2), 2);
	ck_assert_int_eq(ctxio_read(ctx, pair.far, bytes, 1), 1);
	ck_assert_int_eq(ctxio_readv(ctx, pair.far, &part, 1), 1);
	ck_assert_int_eq(ctxio_send(ctx, pair.far, "3", 1, 0), 1);
	ck_assert_int_eq(ctxio_poll(ctx, &pollfd, 1, 1000), 1);
	ck_assert_int_eq(ctxio_recv(ctx, pair.near, bytes, 1, 0), 1);
	ck_assert_int_eq(ctxio_write_full(ctx, pipes.far, "45", 2, NULL), 2);
	ck_assert_int_eq(ctxio_read_full(ctx, pipes.near, bytes, 2, NULL), 2);
	ck_assert_ok(ctxio_sleep_for(ctx, MILLISECOND));
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctxio_read(ctx, pair.far, bytes, 1), -ECANCELED);
	ctx_finish(ctx);
	ck_assert_ok(ctxio_close(ctx_background(), pair.near));
	ck_assert_ok(ctxio_close(ctx_background(), pair.far));
	ck_assert_ok(ctxio_close(ctx_background(), pipes.near));
	ck_assert_ok(ctxio_close(ctx_background(), pipes.far));
}

static void blocking_calls_that_end(void)
{
	struct ctx_context *ctx;
	struct pair pair = pair_new();
	static const uint32_t word;
	char byte;

	ctx = timed_child_of(ctx_background(), MILLISECOND);
	ck_assert_int_eq(ctxio_read(ctx, pair.near, &byte, 1), -ETIME);
	ctx_finish(ctx);
	ctx = timed_child_of(ctx_background(), MILLISECOND);
	ctxio_futex_wait(ctx, &word, 0, false);
	ctx_finish(ctx);
	ctx = child_of(ctx_background());
	ck_assert_int_eq(ctxio_accept(ctx, pair.near, NULL, NULL, 0), -EINVAL);
	ctx_finish(ctx);
	sys_close(pair.near);
	sys_close(pair.far);
}

static void connections(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(address.sun_family);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(bind(listener, (struct sockaddr *)&address, size)); /* a name that is free */
	ck_assert_ok(listen(listener, 1));
	size = sizeof(address);
	ck_assert_ok(getsockname(listener, (struct sockaddr *)&address, &size));
	ck_assert_ok(ctxio_connect(ctx_background(), fd, (struct sockaddr *)&address, size));
	int accepted = ctxio_accept(ctx_background(), listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(accepted, 0);
	sys_close(accepted);
	sys_close(fd);
	sys_close(listener);
}

static int task_is_a_point(const struct ctx_context *ctx, void *data)
{
	(void)ctx, (void)data;
	pthread_testcancel();
	return -EPIPE;
}

static void task_groups(void)
{
	struct ctx_taskgroup *group;

	ck_assert_ok(ctx_taskgroup_new(ctx_background(), 1, NULL, &group));
	for (int i = 0; i < 4; i++)
		ctx_taskgroup_start(group, task_is_a_point, NULL, NULL);
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EPIPE);
	ctx_taskgroup_free(group);

	const struct ctx_taskgroup_options first = {.flags = CTX_TASKGROUP_FIRST, .delay_ns = 1000};
	void *winner;
	ck_assert_ok(ctx_taskgroup_new_with_options(ctx_background(), &first, NULL, &group));
	for (int i = 0; i < 4; i++)
		ck_assert_ok(ctx_taskgroup_start(group, task_is_a_point, NULL, NULL));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EPIPE);
	ck_assert_int_eq(ctx_taskgroup_first(group, &winner), -ENOENT);
	ctx_taskgroup_free(group);
}

static void commands(void)
{
	char *const argv[] = {"true", NULL}, *const none[] = {"/no/such/program", NULL};
	struct ctx_spawn_options options = {.argv = argv};
	struct ctx_process *process;
	struct ctx_exit how;
	siginfo_t info;

	ck_assert_ok(ctx_spawn(ctx_background(), &options, &process));
	ck_assert_ok(ctx_process_wait(ctx_background(), process, &how));
	ck_assert_int_eq(how.status, 0);
	ctx_process_free(process);
	options.argv = none;
	ck_assert_int_eq(ctx_spawn(ctx_background(), &options, &process), -ENOENT);
	ck_assert_int_eq(ctxio_waitid(ctx_background(), P_ALL, 0, &info, WEXITED | WNOHANG), -ECHILD);
}

/* ---- sources */

static void sources(void)
{
	struct ctx_context *ctx;
	struct pair pair = pair_new();
	sigset_t signals;

	ck_assert_ok(ctx_with_hangup(ctx_background(), NULL, pair.near, 0, NULL, &ctx));
	ctx_finish(ctx);
	ck_assert_ok(ctx_with_fd(ctx_background(), NULL, pair.near, POLLOUT, NULL, &ctx));
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	ctx_finish(ctx);
	int pidfd = sys_pidfd_open(getpid());
	ck_assert_int_ge(pidfd, 0);
	ck_assert_ok(ctx_with_process(ctx_background(), NULL, pidfd, NULL, &ctx));
	ctx_unref(ctx);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR2);
	ck_assert_ok(ctx_with_signals(ctx_background(), NULL, &signals, NULL, &ctx));
	ck_assert_ok(kill(getpid(), SIGUSR2));
	ck_assert_ok(ctx_wait(ctx, CTX_FOREVER));
	ctx_finish(ctx);
	struct ctx_pressure pressure = {.resource = CTX_RESOURCE_MEMORY};
	if (!ctx_with_pressure(ctx_background(), NULL, &pressure, NULL, &ctx)) /* where there is such */
		ctx_finish(ctx);
	sys_close(pidfd);
	sys_close(pair.near);
	sys_close(pair.far);
}

/* ---- rings */

static void op_is_a_point(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring, (void)op, (void)completion;
	pthread_testcancel();
	called++;
}

static void use_ring(int kind)
{
	struct ctx_ring *ring = ring_of(kind);
	struct ctx_context *ctx = child_of(ctx_background()), *other = child_of(ctx_background());
	struct ctx_callback callback = {0};
	struct pair pair = pair_new();
	struct ctx_op ops[3];
	char bytes[2];

	called = 0;
	ck_assert_int_ge(ctx_ring_fd(ring), 0);
	for (int i = 0; i < 3; i++)
		ctx_op_init(&ops[i], op_is_a_point, 0);
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &ops[0]));
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx, &ops[1]), pair.near, bytes, 1, 0);
	io_uring_prep_recv(ctx_ring_get_sqe(ring, other, &ops[2]), pair.near, bytes, 1, 0);
	ck_assert_ok(ctx_callback_add_on_ring(ctx, ring, &callback, be_a_point, NULL, NULL));
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	while (called < 1)
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_ok(ctx_ring_drain(ring, ctx, SOON, NULL, 0, NULL));
	while (called < 3)
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ck_assert_ok(ctx_ring_run(ring, NULL));
	ck_assert_uint_eq(called, 4);
	ctx_finish(other);
	ctx_finish(ctx);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	sys_close(pair.far);
}

static void ordinary_ring(void)
{
	use_ring(RING_ORDINARY);
}

static void parking_ring(void)
{
	use_ring(RING_PARKING);
}

static void deferring_ring(void)
{
	if (test_mode() != TEST_PLAIN)
		use_ring(RING_DEFER);
}

static void sources_on_a_ring(void)
{
	struct ctx_ring *ring = ring_of(RING_ORDINARY);
	struct ctx_context *ctx;
	struct pair pair = pair_new();

	ck_assert_ok(ctx_with_fd(ctx_background(), ring, pair.near, POLLOUT, NULL, &ctx));
	while (!ctx_err(ctx))
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	ctx_finish(ctx);
	ck_assert_ok(ctx_with_hangup(ctx_background(), ring, pair.near, 0, NULL, &ctx));
	ctx_finish(ctx);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	sys_close(pair.near);
	sys_close(pair.far);
}

static void refused_rings(void)
{
	struct ctx_ring *ring;
	struct ctx_ring_options options = {.setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_CLAMP};
	struct io_uring uring;

	ck_assert_int_eq(ctx_ring_open(0, NULL, &ring), -EINVAL);
	if (!ctx_ring_open(8, &options, &ring))
		ck_assert_ok(ctx_ring_close(ring, 0, NULL, 0, NULL));
	ck_assert_ok(sys_uring_setup(8, &uring, &(struct io_uring_params){0}));
	if (!ctx_ring_adopt(&uring, NULL, &ring))
		ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	sys_uring_exit(&uring);
}

/* ---- the service */

static const struct service *served;

static void event_is_a_point(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	(void)client, (void)event, (void)data;
	pthread_testcancel();
	called++;
}

static int visit_is_a_point(const struct ctxd_entry *entry, void *data)
{
	(void)entry, (void)data;
	pthread_testcancel();
	called++;
	return 0;
}

static int fleet_visit(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data)
{
	(void)host;
	return visit_is_a_point(entry, data);
}

static void no_service(void)
{
	struct ctxd_options options = {.socket = "/no/such/socket"};
	struct ctxd_client *client;

	ck_assert_int_eq(ctxd_connect(&options, &client), -ENOENT);
	options.flags = CTXD_PATIENT;
	ck_assert_ok(ctxd_connect(&options, &client));
	ctxd_close(client);
}

static void use_service(unsigned flags)
{
	struct ctxd_options options = {.socket = served->socket, .flags = flags, .event = event_is_a_point};
	struct ctxd_client *owner, *joiner;
	struct ctx_context *ctx = child_of(ctx_background()), *joined;
	struct ctxd_report report;
	struct ctxd_id id;

	called = 0;
	ck_assert_ok(ctxd_connect(&options, &owner));
	ck_assert_ok(ctxd_connect(&options, &joiner));
	ck_assert_ok(ctxd_share(owner, ctx, "name", 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	ck_assert_ok(ctxd_list(owner, CTXD_SHARED, visit_is_a_point, NULL));
	ck_assert_uint_ge(called, 1);
	/* There is no fleet, and nothing to visit: ctxd_list() has shown that visits may be points. */
	ck_assert_int_eq(ctxd_fleet_list(owner, NULL, CTXD_SHARED, 0, fleet_visit, NULL), -ENOTSUP);
	ck_assert_int_eq(ctxd_fleet_cancel(owner, "a", id, 0, 0, NULL, 0, NULL, NULL, NULL), -ENOTSUP);
	struct ctxd_target target = {.id = id};
	if (!(flags & CTXD_OWN_DISPATCH))
		ck_assert_ok(ctxd_cancel(owner, &target, 0, 0, "over", SOON, &report));
	else
		ck_assert_ok(ctx_cancel(ctx));
	while (!ctx_err(joined))
		if (flags & CTXD_OWN_DISPATCH)
			ck_assert_int_ge(ctxd_dispatch(joiner, SOON), 0);
	ctxd_unshare(owner, ctx);
	ctx_finish(joined);
	ctxd_close(joiner);
	ctxd_close(owner);
	ctx_finish(ctx);
}

static void service_with_a_thread(void)
{
	use_service(0);
}

static void service_by_own_dispatch(void)
{
	use_service(CTXD_OWN_DISPATCH);
}

/* ---- the table */

static const struct entry {
	void (*calls)(void);
	bool ring, service;
} entries[] = {
	{done_descriptors, false, false},
	{waits, false, false},
	{deadlines_and_signals, false, false},
	{callbacks, false, false},
	{values, false, false},
	{contexts_as_text, false, false},
	{explanations, false, false},
	{blocking_calls, false, false},
	{blocking_calls_that_end, false, false},
	{connections, false, false},
	{task_groups, false, false},
	{commands, false, false},
	{sources, false, false},
	{no_service, false, false},
	{service_with_a_thread, false, true},
	{service_by_own_dispatch, false, true},
	{ordinary_ring, true, false},
	{parking_ring, true, false},
	{deferring_ring, true, false},
	{sources_on_a_ring, true, false},
	{refused_rings, true, false},
};
#define ENTRIES ((int)(sizeof(entries) / sizeof(entries[0])))

struct call {
	void (*calls)(void);
	bool returned;
};

static void *call_as_one_to_be_cancelled(void *data)
{
	struct call *call = data;

	pthread_cancel(pthread_self());
	call->calls();
	call->returned = true;
	pthread_testcancel();
	return NULL;
}

/*
 * Goal: as the top of this file. Method: the calls once as they are, so that what the library keeps for good
 * is there; then on a thread that is to be cancelled; then as they are again, which would hang at a lock that
 * is held; descriptors are counted by the harness.
 */
START_TEST(calls_end_although_their_thread_is_to_be_cancelled)
{
	struct service service = {.loop = NULL};
	struct call call = {.calls = entries[_i].calls};
	pthread_t thread;
	void *result;

	if (entries[_i].ring && test_no_uring())
		test_skip(test_no_uring());
	if (entries[_i].service) {
		service_start(&service, NULL);
		served = &service;
	}
	call.calls();
	thread_ring_trim();
	test_baseline();
	ck_assert_ok(pthread_create(&thread, NULL, call_as_one_to_be_cancelled, &call));
	ck_assert_ok(pthread_join(thread, &result));
	ck_assert_msg(call.returned, "the thread was cancelled within a call");
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	call.calls();
	thread_ring_trim();
	if (entries[_i].service)
		service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("pthread_cancel");
	TCase *calls = test_case(suite, "calls");

	tcase_add_loop_test(calls, calls_end_although_their_thread_is_to_be_cancelled, 0, ENTRIES);
	return suite;
}
