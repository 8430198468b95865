/* SPDX-License-Identifier: MIT */
/*
 * Contexts across processes: sharing, joining, and every way in which the end crosses. The real service, real
 * processes.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)

static struct ctx_context *shared_of(struct ctxd_client *client, const char *name, struct ctxd_id *ret_id)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "request", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, name, 0, ret_id));
	return ctx;
}

/* Of each test: the service, a client that shares, and one that joins. */
static struct service service;
static struct ctxd_client *owner, *joiner;

static void service_begin(const char *loop, const char *configuration)
{
	service = (struct service){.loop = loop};
	service_start(&service, configuration);
}

/* flags are those of the joiner. */
static void clients_begin(const char *loop, unsigned flags)
{
	const struct ctxd_options options = {.flags = flags};

	service_begin(loop, NULL);
	owner = client_of(&service);
	joiner = client_with(&service, &options);
}

static void clients_end(void)
{
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}

static struct ctx_context *joined_of(struct ctxd_client *client, struct ctxd_id id)
{
	struct ctx_context *joined;

	ck_assert_ok(ctxd_join(client, id, &joined));
	return joined;
}

/* ---- ids */

START_TEST(an_id_has_one_text)
{
	struct ctxd_id id = {0x1234, UINT64_MAX}, read;
	char text[CTXD_ID_TEXT];

	ck_assert_int_eq(ctxd_format_id(id, text, sizeof(text)), 21);
	ck_assert_str_eq(text, "1234-ffffffffffffffff");
	ck_assert_ok(ctxd_parse_id(text, &read));
	ck_assert(read.epoch == id.epoch && read.number == id.number);
	static const char *const bad[] = {"",	  "-",	   "1",	   "1-",   "-1",  "0-1",
					  "1-0",  "01-1",  "1-01", "1-1 ", "A-1", "11111111111111111-1",
					  "1--1", "1-1-1", " 1-1", "0x1-1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(ctxd_parse_id(bad[i], &read), -EINVAL);
	ck_assert_int_eq(ctxd_parse_id(NULL, &read), -EINVAL);
	ck_assert_int_eq(ctxd_format_id(id, NULL, 3), -EINVAL);
}
END_TEST

/* ---- the end, within one process that is both */

START_TEST(cause_label_and_deadline_cross)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctx_context *ctx, *joined, *child;
	struct ctxd_id id, own;
	uint64_t deadline_ns = clock_now_ns() + HOUR;

	ck_assert_ok(ctx_with_deadline(ctx_background(), deadline_ns, "request 7", &ctx));
	ck_assert_ok(ctxd_share(owner, ctx, "name", 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	ck_assert_ok(ctxd_id_of(joiner, joined, &own));
	ck_assert_uint_eq(own.number, id.number);
	ck_assert_ok(ctxd_id_of(owner, ctx, &own));
	ck_assert_uint_eq(ctx_deadline_ns(joined), deadline_ns);
	child = child_of(joined);
	ck_assert_uint_eq(ctx_deadline_ns(child), deadline_ns);
	struct listing listing = list_of(joiner, CTXD_JOINED);
	ck_assert_uint_eq(listing.count, 1);
	ck_assert_str_eq(listing.entries[0].label, "request 7");
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "peer %d left", 9));
	ck_assert_ok(ctx_wait(child, SOON));
	struct ctx_cause cause = cause_of(child);
	ck_assert(cause.inherited);
	ck_assert_int_eq(cause.error, -EPIPE);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_str_eq(cause.text, "peer 9 left");
	ck_assert_int_eq(cause.pid, getpid());
	ck_assert_uint_eq(cause.uid, getuid());
	ck_assert_uint_eq(cause.ctx_id, ctx_id(ctx));
	ck_assert_cancelled(child);
	ctx_finish(child);
	ctx_finish(joined);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(two_who_joined_both_hear_the_cause)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctxd_client *two = client_of(&service);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined[3];

	ck_assert_ok(ctxd_join(joiner, id, &joined[0]));
	ck_assert_ok(ctxd_join(two, id, &joined[1]));
	ck_assert_ok(ctxd_join(two, id, &joined[2])); /* twice in one process */
	ctx_cancel_cause(ctx, 0, "once");
	for (int i = 0; i < 3; i++) {
		ck_assert_ok(ctx_wait(joined[i], SOON));
		ck_assert_str_eq(cause_of(joined[i]).text, "once");
		ctx_finish(joined[i]);
	}
	ctx_finish(ctx);
	ctxd_close(two);
	clients_end();
}
END_TEST

START_TEST(ending_what_was_joined_ends_only_local_work)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined = joined_of(joiner, id);

	ck_assert(await_listed(owner, CTXD_JOINED, 1));
	ctx_finish(joined);
	ck_assert(await_listed(owner, CTXD_JOINED, 0));
	ck_assert_live(ctx);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(released_work_below_is_still_reached)
{
	clients_begin(NULL, 0);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined = joined_of(joiner, id), *child;

	child = child_of(joined);
	ctx_unref(joined); /* only the child is held */
	ctx_cancel_cause(ctx, 0, "reached");
	ck_assert_ok(ctx_wait(child, SOON));
	ck_assert_str_eq(cause_of(child).text, "reached");
	ctx_finish(child);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(who_comes_late_gets_one_that_has_ended_with_its_cause)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined;

	ctx_cancel_cause(ctx, -EIO, "over");
	struct listing listing;
	do
		listing = list_of(joiner, CTXD_SHARED);
	while (!listing.entries[0].ended_ns);
	ck_assert_str_eq(listing.entries[0].cause.text, "over");
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	ck_assert_cancelled(joined);
	ck_assert_str_eq(cause_of(joined).text, "over");
	ck_assert_int_eq(ctxd_id_of(joiner, joined, &id), -ENOENT);
	ctx_finish(joined);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(a_released_context_ends_those_who_joined)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined = joined_of(joiner, id);

	ctx_unref(ctx);
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_int_eq(cause_of(joined).kind, CTX_CAUSE_OWNER);
	ck_assert(await_listed(owner, CTXD_SHARED, 0));
	ctx_finish(joined);
	clients_end();
}
END_TEST

START_TEST(withdrawn_nobody_can_join_and_who_has_stays_joined)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, "name", &id), *joined = joined_of(joiner, id), *other;

	ck_assert_int_eq(ctxd_share(owner, ctx, NULL, 0, NULL), -EEXIST);
	ck_assert_ok(ctxd_unshare(owner, ctx));
	ck_assert_int_eq(ctxd_unshare(owner, ctx), -ENOENT);
	ck_assert_int_eq(ctxd_join(joiner, id, &other), -ENOENT);
	ck_assert_int_eq(ctxd_join_name(joiner, (uid_t)-1, "name", &other), -ENOENT);
	ck_assert_live(joined);
	/* What is shared below it stands below nothing that the service knows. */
	struct ctx_context *below = child_of(joined);
	ck_assert_ok(ctxd_share(joiner, below, "below", 0, NULL));
	struct listing listing = list_of(owner, CTXD_SHARED);
	ck_assert_uint_eq(listing.count, 1);
	ck_assert_uint_eq(listing.entries[0].parent.number, 0);
	ctx_cancel_cause(ctx, 0, "still heard");
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_str_eq(cause_of(joined).text, "still heard");
	ctx_finish(below);
	ctx_finish(joined);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(a_deadline_ends_all_and_moves_for_all)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctx_context *ctx, *joined;
	struct ctxd_id id;
	uint64_t far_ns = clock_now_ns() + 2 * HOUR;

	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), clock_now_ns() + HOUR, "moves", &ctx));
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	ck_assert_ok(ctx_set_deadline(ctx, far_ns));
	uint64_t end_ns = clock_now_ns() + SOON;
	while (ctx_deadline_ns(joined) != far_ns && clock_now_ns() < end_ns)
		poll(NULL, 0, 1);
	ck_assert_uint_eq(ctx_deadline_ns(joined), far_ns);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + 50 * MILLISECOND));
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_expired(joined);
	ck_assert_int_eq(cause_of(joined).kind, CTX_CAUSE_DEADLINE);
	ctx_finish(joined);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(a_chain_of_joins_ends_to_its_last_link)
{
	service_begin(SERVICE_LOOP(_i), "depth = 2\n");
	struct ctxd_client *clients[4];
	struct ctx_context *joined[4] = {0}, *work[4];
	struct ctxd_id id;

	for (int i = 0; i < 4; i++)
		clients[i] = client_of(&service);
	work[0] = shared_of(clients[0], NULL, &id);
	for (int i = 1; i < 3; i++) {
		ck_assert_ok(ctxd_join(clients[i], id, &joined[i]));
		work[i] = child_of(joined[i]);
		ck_assert_ok(ctxd_share(clients[i], work[i], NULL, 0, &id));
	}
	struct listing listing = list_of(clients[0], CTXD_SHARED);
	ck_assert_uint_eq(listing.count, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(listing.entries[i].depth, i);
	ck_assert_uint_eq(listing.entries[2].parent.number, listing.entries[1].id.number);
	/* One deeper is too deep. */
	ck_assert_ok(ctxd_join(clients[3], id, &joined[3]));
	work[3] = child_of(joined[3]);
	ck_assert_int_eq(ctxd_share(clients[3], work[3], NULL, 0, NULL), -EMLINK);
	ctx_cancel_cause(work[0], 0, "from the top");
	ck_assert_ok(ctx_wait(work[3], SOON));
	ck_assert_str_eq(cause_of(work[3]).text, "from the top");
	for (int i = 3; i >= 0; i--) {
		ctx_finish(work[i]);
		ctx_finish(joined[i]);
		ctxd_close(clients[i]);
	}
	service_end(&service);
}
END_TEST

START_TEST(names_are_unique_until_the_end)
{
	clients_begin(SERVICE_LOOP(_i), 0);
	struct ctx_context *ctx = shared_of(owner, "name", NULL), *other = child_of(ctx_background()),
			   *joined;
	char longest[CTXD_NAME_MAX + 2];

	ck_assert_int_eq(ctxd_share(owner, other, "name", 0, NULL), -EEXIST);
	memset(longest, 'n', sizeof(longest));
	longest[CTXD_NAME_MAX + 1] = '\0';
	ck_assert_int_eq(ctxd_share(owner, other, longest, 0, NULL), -EINVAL);
	longest[CTXD_NAME_MAX] = '\0';
	ck_assert_ok(ctxd_share(owner, other, longest, 0, NULL));
	ck_assert_ok(ctxd_join_name(owner, getuid(), longest, &joined));
	ctx_finish(joined);
	ctx_finish(ctx);
	ctx_finish(other);
	ctx = child_of(ctx_background());
	uint64_t end_ns = clock_now_ns() + SOON;
	int result;
	while ((result = ctxd_share(owner, ctx, "name", 0, NULL)) == -EEXIST && clock_now_ns() < end_ns)
		;
	ck_assert_ok(result);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

START_TEST(misuse_is_refused)
{
	service_begin(NULL, NULL);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background()), *joined;
	struct ctxd_id id = {1, 1};
	struct ctxd_target target = {{0, 0}, 0, 0};
	int fd;

	ck_assert_int_eq(ctxd_share(NULL, ctx, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_share(client, NULL, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_share(client, ctx, "", 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_share(client, ctx, NULL, 0700, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_share(client, (struct ctx_context *)ctx_background(), NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_join(client, (struct ctxd_id){0, 1}, &joined), -EINVAL);
	ck_assert_int_eq(ctxd_join(client, id, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_join(client, id, &joined), -ESTALE);
	ck_assert_int_eq(ctxd_join_name(client, (uid_t)-1, "nobody", &joined), -ENOENT);
	ck_assert_int_eq(ctxd_list(client, 0, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_watch(client, CTXD_SHARED), -EINVAL); /* no event function */
	ck_assert_int_eq(ctxd_cancel(client, &target, 0, 0, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_cancel(client, &(struct ctxd_target){.id = id}, 0, 5, NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(ctxd_table(client, CTXD_SHARED, 1, NULL, &fd), -EINVAL);
	ck_assert_int_eq(ctxd_fd(client), -EINVAL);
	ck_assert_int_eq(ctxd_dispatch(client, 0), -EINVAL);
	ctx_cancel(ctx);
	ck_assert_int_eq(ctxd_share(client, ctx, NULL, 0, NULL), -EALREADY);
	ctx_unref(ctx);
	ctxd_close(client);
	ctxd_close(NULL);
	struct ctxd_options options = {.flags = 1u << 20};
	ck_assert_int_eq(ctxd_connect(&options, &client), -EINVAL);
	options = (struct ctxd_options){.socket = "/nonexistent/ctxd.sock"};
	ck_assert_int_eq(ctxd_connect(&options, &client), -ENOENT);
	ck_assert_int_eq(ctxd_connect(NULL, NULL), -EINVAL);
	service_end(&service);
}
END_TEST

/*
 * Goal: numbers that the program has closed and used again are not the client's any more. Method: each that a
 * client has becomes one end of a socket pair; nothing may come out of the other end, and none may be closed.
 */
START_TEST(numbers_that_are_another_files_by_now_are_left_alone)
{
	service_begin(NULL, NULL);
	bool before[256] = {0}, ours[256] = {0};
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH};
	struct ctx_context *ctx = child_of(ctx_background()), *other = child_of(ctx_background());
	int pair[2], count = 0;
	char byte;

	ck_assert_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair));
	ck_assert_int_ge(ctx_done_fd(ctx), 0);
	ck_assert_int_ge(ctx_done_fd(other), 0);
	for (int fd = 0; fd < 256; fd++)
		before[fd] = fcntl(fd, F_GETFD) >= 0;
	struct ctxd_client *client = client_with(&service, &options);
	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, NULL));
	for (int fd = 0; fd < 256; fd++) {
		ours[fd] = !before[fd] && fcntl(fd, F_GETFD) >= 0;
		if (ours[fd])
			ck_assert_int_eq(dup2(pair[0], fd), fd);
		count += ours[fd];
	}
	ck_assert_int_ge(count, 6); /* socket, wake, timer, epoll, and a pipe */
	ck_assert_int_eq(ctxd_share(client, other, NULL, 0, NULL), -ENOTCONN);
	ctx_finish(ctx); /* which wakes the client */
	ctx_finish(other);
	ctxd_close(client);
	ck_assert_int_eq((int)recv(pair[1], &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
	for (int fd = 0; fd < 256; fd++)
		if (ours[fd])
			ck_assert_ok(close(fd));
	close(pair[0]);
	close(pair[1]);
	service_end(&service);
}
END_TEST

/* ---- processes that die */

struct owner_plan {
	const struct service *service;
	bool leaves_child; /* a clone that holds the pipe, unknown to fork handlers */
	int how;	   /* 'x': exits, 'k': waits to be killed */
};

static int own(int channel, void *data)
{
	const struct owner_plan *plan = data;
	struct ctxd_client *client = client_of(plan->service);

	shared_of(client, "owned", NULL);
	if (plan->leaves_child && syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
		/* Ends when the test does: its end of the channel hangs up. */
		struct pollfd end = {.fd = channel, .events = 0};
		poll(&end, 1, -1);
		_exit(0);
	}
	tell(channel, 's');
	expect(channel, 'e');
	return 0;
}

START_TEST(the_death_of_the_owner_ends_all_who_joined)
{
	service_begin(SERVICE_LOOP(_i & 1), NULL);
	struct owner_plan plan = {.service = &service, .leaves_child = _i & 4, .how = _i & 2 ? 'k' : 'x'};
	struct other process = other_start(own, &plan);
	struct ctx_context *joined;
	char text[64];

	expect(process.channel, 's');
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "owned", &joined));
	ck_assert_live(joined);
	pid_t pid = process.pid;
	if (plan.how == 'k') {
		other_kill(&process);
	} else {
		tell(process.channel, 'e');
		ck_assert_int_eq(other_end(&process), 0);
	}
	ck_assert_ok(ctx_wait(joined, SOON));
	struct ctx_cause cause = cause_of(joined);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_OWNER);
	ck_assert_int_eq(cause.pid, pid);
	snprintf(text, sizeof(text), "process %d, its owner, died", pid);
	ck_assert_ptr_eq(strstr(cause.text, text), cause.text);
	/* Where a child keeps the pipe only the death itself can have told. */
	if (plan.leaves_child)
		ck_assert_str_eq(cause.text, text);
	ctx_finish(joined);
	/* What it had is given back: the name is free. */
	struct ctx_context *again = child_of(ctx_background());
	uint64_t end_ns = clock_now_ns() + SOON;
	int result;
	while ((result = ctxd_share(client, again, "owned", 0, NULL)) == -EEXIST && clock_now_ns() < end_ns)
		;
	ck_assert_ok(result);
	ctx_finish(again);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

static int own_and_drop(int channel, void *data)
{
	shared_of(client_of(data), "owned", NULL);
	tell(channel, 's');
	expect(channel, 'd');
	if (channel > 3)
		close_range(3, (unsigned)channel - 1, 0);
	close_range((unsigned)channel + 1, ~0u, 0);
	expect(channel, 'e');
	_exit(0);
}

/*
 * Goal: the text says no more than is known. Method: an owner that closes all its descriptors, as one that
 * dies does first, and goes no further.
 */
START_TEST(an_owner_that_may_be_dying_is_not_said_to_live)
{
	service_begin(NULL, NULL);
	struct other process = other_start(own_and_drop, &service);
	struct ctx_context *joined;
	char text[80];

	expect(process.channel, 's');
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "owned", &joined));
	tell(process.channel, 'd');
	ck_assert_ok(ctx_wait(joined, SOON));
	snprintf(text, sizeof(text), "process %d, its owner, died or released it", process.pid);
	ck_assert_str_eq(cause_of(joined).text, text);
	ck_assert_int_eq(cause_of(joined).kind, CTX_CAUSE_OWNER);
	tell(process.channel, 'e');
	ck_assert_int_eq(other_end(&process), 0);
	ctx_finish(joined);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

static int join_and_wait(int channel, void *data)
{
	struct ctxd_client *client = client_of(data);
	struct ctx_context *joined;

	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "mine", &joined));
	tell(channel, 'j');
	ck_assert_ok(ctx_wait(joined, SOON));
	tell(channel, cause_of(joined).kind == CTX_CAUSE_CALL ? 'c' : '?');
	expect(channel, 'e');
	ctx_finish(joined);
	ctxd_close(client);
	return 0;
}

START_TEST(a_joiner_that_is_killed_is_no_joiner_any_more)
{
	service_begin(SERVICE_LOOP(_i), NULL);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx = shared_of(client, "mine", NULL);
	struct other one = other_start(join_and_wait, &service), two = other_start(join_and_wait, &service);

	expect(one.channel, 'j');
	expect(two.channel, 'j');
	ck_assert(await_listed(client, CTXD_JOINED, 2));
	other_kill(&one);
	ck_assert(await_listed(client, CTXD_JOINED, 1));
	ctx_cancel(ctx);
	expect(two.channel, 'c');
	tell(two.channel, 'e');
	ck_assert_int_eq(other_end(&two), 0);
	ctx_finish(ctx);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

static int end_in_child(int channel, void *data)
{
	struct ctxd_client *client = client_of(data);
	struct ctx_context *ctx = shared_of(client, "parent's", NULL);

	test_settle();
	pid_t child = fork();
	if (child == 0) {
		struct ctxd_id id;
		bool refused = ctxd_id_of(client, ctx, &id) == -EPERM && ctxd_unshare(client, ctx) == -EPERM;
		ctxd_close(client);
		_exit(refused ? 0 : 1);
	}
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	tell(channel, 's');
	expect(channel, 'c');
	ctx_cancel_cause(ctx, 0, "by the parent");
	expect(channel, 'e');
	ctx_unref(ctx);
	ctxd_close(client);
	return 0;
}

START_TEST(a_forked_child_changes_nothing_of_its_parents)
{
	service_begin(NULL, NULL);
	struct other process = other_start(end_in_child, &service);
	struct ctx_context *joined;

	expect(process.channel, 's');
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "parent's", &joined));
	ck_assert_live(joined);
	tell(process.channel, 'c');
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_str_eq(cause_of(joined).text, "by the parent");
	tell(process.channel, 'e');
	ck_assert_int_eq(other_end(&process), 0);
	ctx_finish(joined);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- an event loop of the program's own */

START_TEST(a_program_may_dispatch_by_itself)
{
	clients_begin(SERVICE_LOOP(_i), CTXD_OWN_DISPATCH);
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined = joined_of(joiner, id);
	struct pollfd input = {.fd = ctxd_fd(joiner), .events = POLLIN};

	while (ctxd_dispatch(joiner, 0) > 0)
		;
	ctx_cancel(ctx);
	ck_assert_int_eq(poll(&input, 1, 30000), 1);
	ck_assert_live(joined);
	ck_assert_int_ge(ctxd_dispatch(joiner, 0), 1);
	ck_assert_cancelled(joined);
	ctx_finish(joined);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

/* Each dispatch ends one: that must not put off for ever what is to follow the ends. */
START_TEST(ends_in_every_dispatch_delay_nothing_for_long)
{
	clients_begin(NULL, CTXD_OWN_DISPATCH);
	struct ctx_context *ctx[20], *joined[20];
	struct pollfd input = {.fd = ctxd_fd(joiner), .events = POLLIN};
	struct ctxd_id id;

	for (int i = 0; i < 20; i++) {
		ctx[i] = shared_of(owner, NULL, &id);
		ck_assert_ok(ctxd_join(joiner, id, &joined[i]));
	}
	while (ctxd_dispatch(joiner, 0) > 0)
		;
	/* Each takes two of its owner, whose thread closes them, and one here, which the last two may keep.
	 */
	unsigned left = test_count_fds() - 20 * 3 + 2;
	for (int i = 0; i < 20; i++) {
		ctx_finish(ctx[i]);
		ck_assert_int_eq(poll(&input, 1, 30000), 1);
		ck_assert_int_ge(ctxd_dispatch(joiner, 0), 1);
		ck_assert_cancelled(joined[i]);
		ctx_finish(joined[i]);
	}
	ck_assert(test_until(test_has_few_fds, &left));
	clients_end();
}
END_TEST

struct many {
	struct ctx_context *ctx[100];
	pthread_barrier_t start;
};

static void *cancel_all(void *data)
{
	struct many *many = data;

	pthread_barrier_wait(&many->start);
	for (int i = 100; i-- > 0;)
		ctx_cancel(many->ctx[i]);
	return NULL;
}

START_TEST(contexts_may_end_while_their_client_is_closed)
{
	service_begin(NULL, NULL);
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH};
	struct ctxd_id id;
	struct many many;
	pthread_t thread;

	pthread_barrier_init(&many.start, NULL, 2);
	for (int round = 0; round < 5; round++) {
		struct ctxd_client *client = client_with(&service, &options);
		for (int i = 0; i < 100; i++)
			many.ctx[i] = shared_of(client, NULL, &id);
		ck_assert_ok(pthread_create(&thread, NULL, cancel_all, &many));
		pthread_barrier_wait(&many.start);
		ctxd_close(client);
		ck_assert_ok(pthread_join(thread, NULL));
		for (int i = 0; i < 100; i++)
			ctx_finish(many.ctx[i]);
	}
	pthread_barrier_destroy(&many.start);
	service_end(&service);
}
END_TEST

struct nested {
	struct ctxd_client *client;
	int result;
};

static void ask_inside(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	struct nested *nested = data;
	struct ctx_context *joined;

	(void)callback;
	(void)ctx;
	int result = ctxd_join_name(nested->client, (uid_t)-1, "any", &joined);
	__atomic_store_n(&nested->result, result, __ATOMIC_RELEASE);
}

START_TEST(callbacks_on_the_clients_thread_cannot_wait_for_it)
{
	clients_begin(NULL, 0);
	struct nested nested = {.client = joiner};
	struct ctx_callback callback = {0};
	uint64_t callback_id;
	struct ctxd_id id;
	struct ctx_context *ctx = shared_of(owner, NULL, &id), *joined = joined_of(joiner, id);

	ck_assert_ok(ctx_callback_add(joined, &callback, ask_inside, &nested, &callback_id));
	ctx_cancel(ctx);
	ck_assert_ok(ctx_wait(joined, SOON));
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!__atomic_load_n(&nested.result, __ATOMIC_ACQUIRE) && clock_now_ns() < end_ns)
		;
	ctx_callback_stop_wait(callback_id);
	ck_assert_int_eq(__atomic_load_n(&nested.result, __ATOMIC_ACQUIRE), -EDEADLK);
	ctx_finish(joined);
	ctx_finish(ctx);
	clients_end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service");
	TCase *sharing = test_case(suite, "sharing"), *deaths = test_case(suite, "deaths");

	tcase_add_test(sharing, an_id_has_one_text);
	ON_EACH_LOOP(sharing, cause_label_and_deadline_cross);
	ON_EACH_LOOP(sharing, two_who_joined_both_hear_the_cause);
	ON_EACH_LOOP(sharing, ending_what_was_joined_ends_only_local_work);
	tcase_add_test(sharing, released_work_below_is_still_reached);
	ON_EACH_LOOP(sharing, who_comes_late_gets_one_that_has_ended_with_its_cause);
	ON_EACH_LOOP(sharing, a_released_context_ends_those_who_joined);
	ON_EACH_LOOP(sharing, withdrawn_nobody_can_join_and_who_has_stays_joined);
	ON_EACH_LOOP(sharing, a_deadline_ends_all_and_moves_for_all);
	ON_EACH_LOOP(sharing, a_chain_of_joins_ends_to_its_last_link);
	ON_EACH_LOOP(sharing, names_are_unique_until_the_end);
	tcase_add_test(sharing, misuse_is_refused);
	tcase_add_test(sharing, numbers_that_are_another_files_by_now_are_left_alone);
	ON_EACH_LOOP(sharing, a_program_may_dispatch_by_itself);
	tcase_add_test(sharing, contexts_may_end_while_their_client_is_closed);
	tcase_add_test(sharing, ends_in_every_dispatch_delay_nothing_for_long);
	tcase_add_test(sharing, callbacks_on_the_clients_thread_cannot_wait_for_it);
	tcase_add_loop_test(deaths, the_death_of_the_owner_ends_all_who_joined, test_no_uring() ? 1 : 0, 8);
	tcase_add_test(deaths, an_owner_that_may_be_dying_is_not_said_to_live);
	ON_EACH_LOOP(deaths, a_joiner_that_is_killed_is_no_joiner_any_more);
	tcase_add_test(deaths, a_forked_child_changes_nothing_of_its_parents);
	return suite;
}
