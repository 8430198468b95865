/* SPDX-License-Identifier: MIT */
/*
 * A service in a user namespace: all users that have no number there have one and the same, and are not the
 * same user. The service is root of a namespace of its own here; its clients are users outside of that.
 */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)

enum {
	SERVER = 65051,
	OWNER = 65052,
	STRANGER = 65053,
};

static void become(uid_t uid)
{
	ck_assert_ok(setgroups(0, NULL));
	ck_assert_ok(setresgid(uid, uid, uid));
	ck_assert_ok(setresuid(uid, uid, uid));
	prctl(PR_SET_DUMPABLE, 1);
}

static bool write_map(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return written;
}

/* The service, as root of a namespace where only its own user has a number. */
static int host(int channel, void *data)
{
	struct service service = {.loop = data};
	char map[32];

	become(SERVER);
	snprintf(map, sizeof(map), "0 %d 1", SERVER);
	if (unshare(CLONE_NEWUSER) || !write_map("/proc/self/uid_map", map)) {
		tell(channel, '-');
		return 0;
	}
	service_start(&service, NULL);
	tell(channel, 's');
	ck_assert_int_eq((int)write(channel, &service, sizeof(service)), (int)sizeof(service));
	expect(channel, 'e');
	service_end(&service);
	return 0;
}

struct owner_plan {
	const struct service *service;
	mode_t mode;
};

struct owned {
	struct ctxd_id id;
	uint64_t private_id;
	int named; /* what sharing under a name was answered */
};

static int own(int channel, void *data)
{
	const struct owner_plan *plan = data;
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctx_context *ctx, *private;
	struct owned owned;

	become(OWNER);
	struct ctxd_client *client = client_with(plan->service, &options);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "shared", &ctx));
	ck_assert_ok(ctx_with_cancel(ctx_background(), "private", &private));
	owned.named = ctxd_share(client, private, "name", 0, NULL);
	ck_assert_ok(ctxd_share(client, ctx, NULL, plan->mode, &owned.id));
	owned.private_id = ctx_id(private);
	tell(channel, 's');
	ck_assert_int_eq((int)write(channel, &owned, sizeof(owned)), (int)sizeof(owned));
	expect(channel, 'e');
	return ctx_err(ctx) ? 1 : ctx_err(private) ? 2 : 0;
}

struct visitor {
	const struct service *service;
	uid_t uid;
	pid_t owner;
	struct owned owned;
	bool may_see, may_cancel;
};

static int visit(int channel, void *data)
{
	const struct visitor *visitor = data;
	struct ctxd_target target = {.id = visitor->owned.id};
	struct ctx_context *joined;
	int fd;

	become(visitor->uid);
	struct ctxd_client *client = client_of(visitor->service);
	ck_assert_int_eq(ctxd_join(client, visitor->owned.id, &joined), visitor->may_see ? 0 : -ENOENT);
	if (visitor->may_see)
		ctx_finish(joined);
	ck_assert_int_eq(ctxd_join_name(client, (uid_t)-1, "name", &joined), -ENOENT);
	ck_assert_uint_eq(list_of(client, CTXD_SHARED).count, visitor->may_see);
	ck_assert_uint_eq(list_of(client, CTXD_PROCESS).count, 0);
	ck_assert_int_eq(ctxd_table(client, CTXD_PROCESS, visitor->owner, NULL, &fd), -ENOENT);
	ck_assert_int_eq(ctxd_cancel(client, &target, CTXD_DRY_RUN, 0, NULL, 0, NULL),
			 visitor->may_cancel ? 0 : -ENOENT);
	tell(channel, 'v');
	ctxd_close(client);
	return 0;
}

/* False: there are no such namespaces here. */
static bool host_start(struct other *host_process, struct service *service, const char *loop)
{
	char said;

	if (getuid() != 0)
		test_skip("needs root, to be several users");
	service_find();
	*host_process = other_start(host, (void *)loop);
	ck_assert_int_eq((int)read(host_process->channel, &said, 1), 1);
	if (said != 's') {
		ck_assert_int_eq(other_end(host_process), 0);
		return false;
	}
	ck_assert_int_eq((int)read(host_process->channel, service, sizeof(*service)), (int)sizeof(*service));
	return true;
}

static void host_end(struct other *host_process)
{
	tell(host_process->channel, 'e');
	ck_assert_int_eq(other_end(host_process), 0);
}

static const struct {
	mode_t mode;
	uid_t uid;
	bool may_see, may_cancel;
} matrix[] = {
	{0600, STRANGER, false, false}, {0600, OWNER, false, false},   {0660, STRANGER, false, false},
	{0644, STRANGER, true, false},	{0666, STRANGER, true, true},  {0606, STRANGER, false, false},
	{0066, STRANGER, false, false}, {0646, STRANGER, true, false},
};

/*
 * Goal: users whom the service cannot tell from each other have no rights over what the others have, but
 * those that all have. Method: a process that shares and is published, and a visitor of another user, or of
 * the same, who asks for everything.
 */
START_TEST(those_who_cannot_be_told_apart_are_not_the_same_user)
{
	struct service service;
	struct other host_process;
	bool there = host_start(&host_process, &service, SERVICE_LOOP(_i & 1));

	if (!there)
		test_skip("a user name space cannot be made here");
	struct owner_plan plan = {.service = &service, .mode = matrix[_i].mode};
	struct other owner = other_start(own, &plan);
	struct visitor visitor = {.service = &service,
				  .uid = matrix[_i].uid,
				  .owner = owner.pid,
				  .may_see = matrix[_i].may_see,
				  .may_cancel = matrix[_i].may_cancel};
	expect(owner.channel, 's');
	ck_assert_int_eq((int)read(owner.channel, &visitor.owned, sizeof(visitor.owned)),
			 (int)sizeof(visitor.owned));
	ck_assert_int_eq(visitor.owned.named, -EPERM);
	struct other guest = other_start(visit, &visitor);
	expect(guest.channel, 'v');
	ck_assert_int_eq(other_end(&guest), 0);
	tell(owner.channel, 'e');
	ck_assert_int_eq(other_end(&owner), 0);
	host_end(&host_process);
}
END_TEST

static int claim(int channel, void *data)
{
	struct wire_message again = {.type = WIRE_REJOIN, .serial = 2}, answer,
			    shared = {.type = WIRE_SHARE, .serial = 2, .share = {.mode = 0600}};
	int pipe_fds[2];

	become(STRANGER);
	ck_assert_ok(pipe2(pipe_fds, O_CLOEXEC));
	again.rejoin.old_id = (struct ctxd_id){1, 1};
	again.rejoin.deadline_ns = shared.share.deadline_ns = CTX_FOREVER;
	int one = raw_greeted(data), two = raw_greeted(data);
	raw_send_message(one, &again, pipe_fds, 1);
	ck_assert(raw_receive(one, &answer));
	ck_assert_int_eq(answer.type, WIRE_RESULT);
	ck_assert_int_eq(answer.result.error, 0);
	raw_send_message(two, &shared, pipe_fds, 1);
	ck_assert(raw_receive(two, &answer));
	ck_assert_int_eq(answer.type, WIRE_RESULT);
	ck_assert_int_eq(answer.result.error, -EEXIST);
	tell(channel, 'c');
	return 0;
}

/* After a restart a joined context becomes its owner's again; who cannot show to be that does not become it.
 */
START_TEST(a_pipe_of_anybody_is_claimed_by_nobody)
{
	struct service service;
	struct other host_process;
	bool there = host_start(&host_process, &service, NULL);

	if (!there)
		test_skip("a user name space cannot be made here");
	struct other other = other_start(claim, &service);
	expect(other.channel, 'c');
	ck_assert_int_eq(other_end(&other), 0);
	host_end(&host_process);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service overflow");
	TCase *strangers = test_case(suite, "strangers");

	tcase_add_loop_test(strangers, those_who_cannot_be_told_apart_are_not_the_same_user, 0,
			    sizeof(matrix) / sizeof(matrix[0]));
	tcase_add_test(strangers, a_pipe_of_anybody_is_claimed_by_nobody);
	return suite;
}
