/* SPDX-License-Identifier: MIT */
/*
 * The service is killed while work goes on; owners are killed while I/O pends under what others joined, with
 * a child that holds the pipe, with and without a service; and process numbers are used again.
 */
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/rings.h"
#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)

/* ---- the service is killed under load */

struct worker {
	pthread_t thread;
	struct ctxd_client *owner, *joiner;
	_Atomic unsigned joined, refused;
	_Atomic bool over;
};

static bool is_away(int result)
{
	return result == -ENOTCONN || result == -ETIMEDOUT || result == -ESTALE || result == -ENOENT;
}

static void *work(void *data)
{
	struct worker *worker = data;

	while (!worker->over) {
		struct ctx_context *ctx = child_of(ctx_background()), *joined = NULL;
		struct ctxd_id id;
		int result = ctxd_share(worker->owner, ctx, NULL, 0, &id);
		if (!result)
			result = ctxd_join(worker->joiner, id, &joined);
		ctx_cancel_cause(ctx, 0, "work");
		if (joined) {
			/* Whatever became of the service meanwhile. */
			ck_assert_ok(ctx_wait(joined, SOON));
			ck_assert_str_eq(cause_of(joined).text, "work");
			worker->joined++;
		} else {
			ck_assert_msg(is_away(result), "%d", result);
			worker->refused++;
		}
		ctx_finish(joined);
		ctx_finish(ctx);
	}
	return NULL;
}

struct progress {
	struct worker *worker;
	unsigned joined;
};

static bool has_joined(void *data)
{
	struct progress *progress = data;

	return progress->worker->joined >= progress->joined;
}

static int add_live(const struct ctxd_entry *entry, void *data)
{
	*(unsigned *)data += !entry->ended_ns;
	return 0;
}

static unsigned count_live(struct ctxd_client *client)
{
	unsigned live = 0;

	ck_assert_ok(ctxd_list(client, CTXD_SHARED, add_live, &live));
	return live;
}

START_TEST(work_goes_on_while_the_service_is_killed_again_and_again)
{
	enum {
		WORKERS = 3,
		ROUNDS = 6
	};
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct worker workers[WORKERS] = {0};
	struct ctx_context *lasting = child_of(ctx_background()), *joined;
	struct ctxd_client *client = client_of(&service);
	struct ctxd_id id;

	ck_assert_ok(ctxd_share(client, lasting, "lasting", 0, &id));
	ck_assert_ok(ctxd_join(client, id, &joined));
	for (int i = 0; i < WORKERS; i++) {
		workers[i].owner = client_of(&service);
		workers[i].joiner = client_of(&service);
		ck_assert_ok(pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < WORKERS; i++) {
			struct progress progress = {&workers[i], workers[i].joined + 5};
			ck_assert(test_until(has_joined, &progress));
		}
		service_kill(&service);
		service_restart(&service);
	}
	for (int i = 0; i < WORKERS; i++) {
		struct progress progress = {&workers[i], workers[i].joined + 5};
		ck_assert(test_until(has_joined, &progress));
		workers[i].over = true;
	}
	for (int i = 0; i < WORKERS; i++) {
		ck_assert_ok(pthread_join(workers[i].thread, NULL));
		ctxd_close(workers[i].owner);
		ctxd_close(workers[i].joiner);
	}
	/* What lasts is there once, and nothing else. */
	ck_assert(await_listed(client, CTXD_PROCESS, 1));
	ck_assert(await_listed(client, CTXD_JOINED, 1));
	ck_assert_uint_eq(count_live(client), 1);
	ck_assert_live(joined);
	ctx_finish(joined);
	ctx_finish(lasting);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- the owner is killed, and a child of it still holds the pipe */

static int own_with_child(int channel, void *data)
{
	struct ctxd_client *client = client_of(data);
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "owned", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "owned", 0, NULL));
	/* Unknown to fork handlers; it ends when the test's end of the channel hangs up. */
	if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
		struct pollfd end = {.fd = channel, .events = 0};
		poll(&end, 1, -1);
		_exit(0);
	}
	tell(channel, 's');
	expect(channel, 'e');
	return 0;
}

enum {
	RECEIVES = 50
};

/* Serves the client from the ring until the receives have come back. */
static void serve_until_reaped(struct ctx_ring *ring, struct ctxd_client *client, struct probe *receives,
			       struct ctx_batch *ret_batch)
{
	static struct probe polled = {.finals = 1}; /* until the ring is closed */
	struct ctx_context *polling = child_of(ctx_background());

	while (!receives[0].finals) {
		if (polled.finals)
			io_uring_prep_poll_add(probe_start(ring, polling, &polled), ctxd_fd(client), POLLIN);
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
		if (polled.finals)
			ctxd_dispatch(client, 0);
	}
	await_probes(ring, receives, RECEIVES);
	ck_assert_ok(ctx_ring_last_batch(ring, ret_batch));
	ctx_finish(polling);
}

START_TEST(the_killed_owners_joiner_reaps_its_operations_in_a_batch)
{
	struct service service = {.loop = "ring"};
	service_start(&service, NULL);
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH};
	const int kind = _i / 2;
	struct ctx_ring *ring = ring_of(kind);
	struct ctxd_client *client = client_with(&service, &options);
	struct pair pair = pair_new();
	struct probe receives[RECEIVES];
	struct ctx_context *joined;
	struct ctx_batch batch;
	static char sink[16];
	int status;

	struct other owner = other_start(own_with_child, &service);
	expect(owner.channel, 's');
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "owned", &joined));
	for (int i = 0; i < RECEIVES; i++)
		probe_recv(ring, joined, &receives[i], pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), RECEIVES);
	ctxd_dispatch(client, 0);
	if (_i & 1)
		service_kill(&service);
	kill(owner.pid, SIGKILL);
	ck_assert_int_eq(waitpid(owner.pid, &status, 0), owner.pid);
	serve_until_reaped(ring, client, receives, &batch);
	for (int i = 0; i < RECEIVES; i++)
		ck_assert_probe(&receives[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_eq(batch.operations, RECEIVES);
	ck_assert_uint_eq(batch.enters, in_kernel(kind, 1));
	ck_assert_int_eq(cause_of(joined).kind, CTX_CAUSE_OWNER);
	ck_assert_int_eq(cause_of(joined).pid, owner.pid);
	close(owner.channel);
	ctx_finish(joined);
	ctxd_close(client);
	ring_end(ring);
	pair_end(pair);
	service_end(&service);
}
END_TEST

/* ---- the number of a dead process is another's */

static int publish_one(int channel, void *data)
{
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctxd_client *client = client_with(data, &options);
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "one", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "one", 0, NULL));
	uint64_t id = ctx_id(ctx);
	tell(channel, 's');
	ck_assert_int_eq((int)write(channel, &id, sizeof(id)), (int)sizeof(id));
	expect(channel, 'e');
	tell(channel, ctx_err(ctx) ? 'd' : 'l');
	expect(channel, 'e');
	return 0;
}

static uint64_t await_published(struct other *other)
{
	uint64_t id;

	expect(other->channel, 's');
	ck_assert_int_eq((int)read(other->channel, &id, sizeof(id)), (int)sizeof(id));
	return id;
}

static bool next_pid_is(pid_t pid)
{
	FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "we");

	if (!file)
		return false;
	fprintf(file, "%d", pid - 1);
	return fclose(file) == 0;
}

static struct ctxd_entry entry_of(struct ctxd_client *client, enum ctxd_entry_kind kind, pid_t pid)
{
	struct ctxd_entry entry;
	uint64_t end_ns = clock_now_ns() + SOON;
	int fd, result;

	while ((result = ctxd_table(client, kind, pid, &entry, &fd)) == -ENOENT && clock_now_ns() < end_ns)
		poll(NULL, 0, 1);
	ck_assert_ok(result);
	close(fd);
	return entry;
}

/* In a process name space of its own, where nobody else takes numbers. */
static void use_number_again(int channel)
{
	struct service service = {.loop = NULL};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *first, *second, *stale;
	struct other one = other_start(publish_one, &service), two;
	pid_t pid = one.pid;

	uint64_t id = await_published(&one);
	struct ctxd_entry before = entry_of(client, CTXD_PROCESS, pid);
	struct ctxd_target target = {.table = before.table, .ctx_id = id};
	struct ctxd_id shared = list_of(client, CTXD_SHARED).entries[0].id;
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "one", &first));
	other_kill(&one);
	ck_assert_ok(ctx_wait(first, SOON));
	ck_assert(await_listed(client, CTXD_PROCESS, 1));
	if (!next_pid_is(pid)) {
		tell(channel, '-');
		_exit(0);
	}
	two = other_start(publish_one, &service);
	ck_assert_int_eq(two.pid, pid);
	ck_assert_uint_eq(await_published(&two), id);
	/* What was meant for the first does not find the second. */
	ck_assert_int_eq(ctxd_cancel(client, &target, 0, 0, NULL, 0, NULL), -ENOENT);
	ck_assert_ok(ctxd_join(client, shared, &stale));
	ck_assert_cancelled(stale);
	struct ctxd_target by_id = {.id = shared};
	ck_assert_int_eq(ctxd_cancel(client, &by_id, 0, 0, NULL, 0, NULL), -EALREADY);
	ck_assert_uint_ne(entry_of(client, CTXD_PROCESS, pid).table, before.table);
	ck_assert_uint_eq(entry_of(client, CTXD_DEAD, pid).table, before.table);
	tell(two.channel, 'e');
	expect(two.channel, 'l');
	/* And its end is its own. */
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "one", &second));
	ck_assert_live(second);
	other_kill(&two);
	ck_assert_ok(ctx_wait(second, SOON));
	ck_assert_int_eq(cause_of(second).kind, CTX_CAUSE_OWNER);
	ctx_finish(stale);
	ctx_finish(first);
	ctx_finish(second);
	ctxd_close(client);
	service_end(&service);
	tell(channel, 'r');
	_exit(0);
}

static int in_own_space(int channel, void *data)
{
	int status;

	(void)data;
	if (unshare(CLONE_NEWPID)) {
		tell(channel, '-');
		return 0;
	}
	pid_t child = fork();
	if (child == 0)
		use_number_again(channel);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status != 0;
}

START_TEST(a_number_that_is_used_again_is_another_process)
{
	struct other other = other_start(in_own_space, NULL);
	struct pollfd input = {.fd = other.channel, .events = POLLIN};
	char said = 0;

	ck_assert_int_eq(poll(&input, 1, 40000), 1);
	ck_assert_int_eq((int)read(other.channel, &said, 1), 1);
	ck_assert_int_eq(other_end(&other), 0);
	if (said == '-')
		test_skip("needs root, to choose the number of a process");
	ck_assert_int_eq(said, 'r');
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service load");
	TCase *load = test_case(suite, "load"), *owners = test_case_ring(suite, "owners"),
	      *numbers = test_case(suite, "numbers");

	ON_EACH_LOOP(load, work_goes_on_while_the_service_is_killed_again_and_again);
	tcase_add_loop_test(owners, the_killed_owners_joiner_reaps_its_operations_in_a_batch,
			    ring_kind_first() * 2, ring_kind_end() * 2);
	tcase_add_test(numbers, a_number_that_is_used_again_is_another_process);
	return suite;
}
