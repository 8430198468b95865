/* SPDX-License-Identifier: MIT */
/* Who may see, join and cancel what: other users, groups, name spaces, quotas. */
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)

enum {
	OWNER = 65001,
	STRANGER = 65002,
	GROUP = 65003,
};

static void need_root(void)
{
	if (getuid() != 0)
		test_skip("needs root, to be several users");
}

static void become(uid_t uid, gid_t gid, gid_t also)
{
	ck_assert_ok(setgroups(also ? 1 : 0, &also));
	ck_assert_ok(setresgid(gid, gid, gid));
	ck_assert_ok(setresuid(uid, uid, uid));
}

/* ---- a process that shares, as another user */

struct owner_plan {
	const struct service *service;
	mode_t mode;
};

static int own(int channel, void *data)
{
	const struct owner_plan *plan = data;
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctx_context *ctx, *private;
	struct ctxd_id id;

	become(OWNER, GROUP, 0);
	struct ctxd_client *client = client_with(plan->service, &options);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "secret label", &ctx));
	ck_assert_ok(ctx_with_cancel(ctx_background(), "private", &private));
	ck_assert_ok(ctxd_share(client, ctx, "name", plan->mode, &id));
	uint64_t ctx_id_private = ctx_id(private);
	tell(channel, 's');
	ck_assert_int_eq((int)write(channel, &id, sizeof(id)), (int)sizeof(id));
	ck_assert_int_eq((int)write(channel, &ctx_id_private, sizeof(ctx_id_private)), 8);
	expect(channel, 'e');
	return ctx_err(ctx) ? 1 : ctx_err(private) ? 2 : 0;
}

struct visitor {
	const struct service *service;
	uid_t uid;
	gid_t gid, also;
	struct ctxd_id id;
	uint64_t table, private_id;
	pid_t owner;
	bool may_see, may_cancel;
	bool same_user;
};

/* An id that is a guess, and one that is not for this user: the same answer. */
static int visit(int channel, void *data)
{
	const struct visitor *visitor = data;
	struct ctx_context *joined;
	struct ctxd_id guessed = {visitor->id.epoch, visitor->id.number + 1000};
	struct ctxd_target target = {.id = visitor->id};
	struct ctxd_report report;
	int fd;

	become(visitor->uid, visitor->gid, visitor->also);
	struct ctxd_client *client = client_of(visitor->service);
	ck_assert_int_eq(ctxd_join(client, guessed, &joined), -ENOENT);
	ck_assert_int_eq(ctxd_join(client, visitor->id, &joined), visitor->may_see ? 0 : -ENOENT);
	if (visitor->may_see) {
		ck_assert_live(joined);
		ctx_finish(joined);
	}
	ck_assert_int_eq(ctxd_join_name(client, OWNER, "name", &joined), visitor->may_see ? 0 : -ENOENT);
	if (visitor->may_see)
		ctx_finish(joined);
	struct listing listing = list_of(client, CTXD_SHARED);
	ck_assert_uint_eq(listing.count, visitor->may_see);
	ck_assert_uint_eq(list_of(client, CTXD_PROCESS).count,
			  visitor->uid == 0 || visitor->same_user ? 2 : 1);
	/* The table is for the same user only, whatever the mode. */
	ck_assert_int_eq(ctxd_table(client, CTXD_PROCESS, visitor->owner, NULL, &fd),
			 visitor->uid == 0 || visitor->same_user ? 0 : -ENOENT);
	if (visitor->uid == 0 || visitor->same_user)
		close(fd);
	int expected = visitor->may_cancel ? 0 : -ENOENT;
	ck_assert_int_eq(ctxd_cancel(client, &target, CTXD_DRY_RUN, 0, NULL, 0, &report), expected);
	struct ctxd_target private = {.table = visitor->table, .ctx_id = visitor->private_id};
	ck_assert_int_eq(ctxd_cancel(client, &private, CTXD_DRY_RUN, 0, NULL, 0, &report),
			 visitor->uid == 0 || visitor->same_user ? 0 : -ENOENT);
	tell(channel, 'v');
	ctxd_close(client);
	return 0;
}

static const struct {
	mode_t mode;
	uid_t uid;
	gid_t gid, also;
	bool may_see, may_cancel;
} matrix[] = {
	{0600, OWNER, OWNER, 0, true, true},	     {0600, STRANGER, STRANGER, 0, false, false},
	{0600, STRANGER, GROUP, 0, false, false},    {0600, 0, 0, 0, true, true},
	{0640, STRANGER, GROUP, 0, true, false},     {0640, STRANGER, STRANGER, GROUP, true, false},
	{0640, STRANGER, STRANGER, 0, false, false}, {0660, STRANGER, STRANGER, GROUP, true, true},
	{0644, STRANGER, STRANGER, 0, true, false},  {0666, STRANGER, STRANGER, 0, true, true},
	{0606, STRANGER, GROUP, 0, false, false},    {0066, OWNER, OWNER, 0, false, false},
	{0200, OWNER, OWNER, 0, false, true},	     {0400, OWNER, OWNER, 0, true, false},
};

START_TEST(a_mode_decides_as_of_a_file)
{
	need_root();
	struct service service = {.loop = SERVICE_LOOP(_i & 1)};
	service_start(&service, NULL);
	struct owner_plan plan = {.service = &service, .mode = matrix[_i].mode};
	struct other owner = other_start(own, &plan);
	struct visitor visitor = {.service = &service,
				  .uid = matrix[_i].uid,
				  .gid = matrix[_i].gid,
				  .also = matrix[_i].also,
				  .owner = owner.pid,
				  .may_see = matrix[_i].may_see,
				  .may_cancel = matrix[_i].may_cancel,
				  .same_user = matrix[_i].uid == OWNER};

	expect(owner.channel, 's');
	ck_assert_int_eq((int)read(owner.channel, &visitor.id, sizeof(visitor.id)), (int)sizeof(visitor.id));
	ck_assert_int_eq((int)read(owner.channel, &visitor.private_id, 8), 8);
	struct ctxd_client *root = client_of(&service);
	struct listing listing = list_of(root, CTXD_PROCESS);
	for (unsigned i = 0; i < listing.count; i++)
		if (listing.entries[i].pid == owner.pid)
			visitor.table = listing.entries[i].table;
	ck_assert_uint_ne(visitor.table, 0);
	ctxd_close(root);
	struct other guest = other_start(visit, &visitor);
	expect(guest.channel, 'v');
	ck_assert_int_eq(other_end(&guest), 0);
	tell(owner.channel, 'e');
	ck_assert_int_eq(other_end(&owner), 0);
	service_end(&service);
}
END_TEST

START_TEST(cancel_of_what_is_not_shared_can_be_roots_alone)
{
	need_root();
	struct service service = {.loop = NULL};
	service_start(&service, "cancel = root\n");
	struct owner_plan plan = {.service = &service, .mode = 0600};
	struct other owner = other_start(own, &plan);
	struct visitor visitor = {.id = {0, 0}};

	expect(owner.channel, 's');
	ck_assert_int_eq((int)read(owner.channel, &visitor.id, sizeof(visitor.id)), (int)sizeof(visitor.id));
	ck_assert_int_eq((int)read(owner.channel, &visitor.private_id, 8), 8);
	struct ctxd_client *root = client_of(&service);
	struct listing listing = list_of(root, CTXD_PROCESS);
	for (unsigned i = 0; i < listing.count; i++)
		if (listing.entries[i].pid == owner.pid)
			visitor.table = listing.entries[i].table;
	struct ctxd_target target = {.table = visitor.table, .ctx_id = visitor.private_id};
	ck_assert_ok(ctxd_cancel(root, &target, CTXD_DRY_RUN, 0, NULL, 0, NULL));
	ctxd_close(root);
	test_settle();
	pid_t pid = fork();
	if (pid == 0) {
		become(OWNER, GROUP, 0);
		struct ctxd_client *same = client_of(&service);
		_exit(ctxd_cancel(same, &target, CTXD_DRY_RUN, 0, NULL, 0, NULL) != -ENOENT);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	tell(owner.channel, 'e');
	ck_assert_int_eq(other_end(&owner), 0);
	service_end(&service);
}
END_TEST

/* ---- name spaces */

static int in_other_spaces(int channel, void *data)
{
	const struct service *service = data;
	struct ctx_context *ctx, *joined;

	if (unshare(CLONE_NEWPID)) {
		tell(channel, '-');
		return 0;
	}
	test_settle();
	pid_t child = fork();
	if (child) {
		int status;
		waitpid(child, &status, 0);
		return status != 0;
	}
	struct ctxd_client *client = client_of(service);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "inside", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "inside", 0, NULL));
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "outside", &joined));
	tell(channel, 'r');
	ck_assert_ok(ctx_wait(joined, SOON));
	tell(channel, cause_of(joined).text[0]);
	expect(channel, 'e');
	_exit(0);
}

/*
 * Goal: a label of any bytes closes its quotes in the audit record, so that the text behind it stays a text.
 * Method: the longest label of bytes that are written as four each, and a cause that looks like fields.
 */
START_TEST(the_record_of_a_cancel_cannot_be_forged)
{
	struct service service = {.loop = NULL};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	char label[CTX_LABEL_MAX + 1] = "";
	struct ctxd_target target = {0};
	struct ctxd_report report;
	struct ctx_context *ctx;

	memset(label, 1, CTX_LABEL_MAX);
	ck_assert_ok(ctx_with_cancel(ctx_background(), label, &ctx));
	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &target.id));
	ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "x uid=0 y", NS_PER_SECOND, &report));
	ctx_finish(ctx);
	ctxd_close(client);
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!service_logged(&service, "event=cancel") && clock_now_ns() < end_ns)
		poll(NULL, 0, 5);
	ck_assert(service_logged(&service, "\\x01\" error=0 cause=\"x uid=0 y\" asked="));
	service_end(&service);
}
END_TEST

START_TEST(another_pid_name_space_joins_and_shares_like_any_other)
{
	need_root();
	struct service service = {.loop = NULL};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx, *joined;
	char said;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "outside", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "outside", 0, NULL));
	struct other inside = other_start(in_other_spaces, &service);
	ck_assert_int_eq((int)read(inside.channel, &said, 1), 1);
	if (said == 'r') {
		ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "inside", &joined));
		ctx_cancel_cause(ctx, 0, "x");
		expect(inside.channel, 'x');
		ck_assert_live(joined);
		tell(inside.channel, 'e');
		ck_assert_int_eq(other_end(&inside), 0);
		ck_assert_ok(ctx_wait(joined, SOON));
		ck_assert_int_eq(cause_of(joined).kind, CTX_CAUSE_OWNER);
		ctx_finish(joined);
	} else {
		ck_assert_int_eq(other_end(&inside), 0);
	}
	ctx_finish(ctx);
	ctxd_close(client);
	service_end(&service);
	if (said == '-')
		test_skip("a process name space cannot be made here");
}
END_TEST

static int in_user_space(int channel, void *data)
{
	struct ctx_context *joined;

	become(STRANGER, STRANGER, 0);
	if (unshare(CLONE_NEWUSER)) {
		tell(channel, '-');
		return 0;
	}
	/* In here it is nobody in particular, and outside still the stranger. */
	struct ctxd_client *client = client_of(data);
	bool refused = ctxd_join_name(client, 0, "root's", &joined) == -ENOENT &&
		       list_of(client, CTXD_SHARED).count == 0;
	tell(channel, refused ? 'r' : '!');
	ctxd_close(client);
	return 0;
}

START_TEST(a_user_name_space_makes_nobody_root)
{
	need_root();
	struct service service = {.loop = NULL};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx;
	char said;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "root's", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "root's", 0, NULL));
	struct other inside = other_start(in_user_space, &service);
	ck_assert_int_eq((int)read(inside.channel, &said, 1), 1);
	ck_assert(said == 'r' || said == '-');
	ck_assert_int_eq(other_end(&inside), 0);
	ctx_finish(ctx);
	ctxd_close(client);
	service_end(&service);
	if (said == '-')
		test_skip("a user name space cannot be made here");
}
END_TEST

/* ---- quotas */

START_TEST(connections_are_counted_and_given_back)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "connections = 3\n");
	struct ctxd_options options = {.socket = service.socket};
	struct ctxd_client *clients[3], *more;

	for (int i = 0; i < 3; i++)
		clients[i] = client_of(&service);
	ck_assert_int_eq(ctxd_connect(&options, &more), -EDQUOT);
	ck_assert_int_eq(ctxd_connect(&options, &more), -EDQUOT);
	ctxd_close(clients[0]);
	uint64_t end_ns = clock_now_ns() + SOON;
	int result;
	while ((result = ctxd_connect(&options, &more)) == -EDQUOT && clock_now_ns() < end_ns)
		;
	ck_assert_ok(result);
	ck_assert(service_logged(&service, "event=quota"));
	ck_assert(service_logged(&service, "quota=connections limit=3"));
	ctxd_close(more);
	ctxd_close(clients[1]);
	ctxd_close(clients[2]);
	service_end(&service);
}
END_TEST

START_TEST(contexts_joins_and_descriptors_are_counted_and_given_back)
{
	static const char *const configurations[] = {"contexts = 2\n", "joins = 2\n", "fds = 6\n"};
	struct service service = {.loop = NULL};
	service_start(&service, configurations[_i]);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *shared[4], *joined[4] = {0};
	struct ctxd_id id;
	int result = 0, count = 0;

	for (int round = 0; round < 2; round++) {
		for (count = 0; count < 4; count++) {
			shared[count] = child_of(ctx_background());
			result = ctxd_share(client, shared[count], NULL, 0, &id);
			if (!result && _i == 1)
				result = ctxd_join(client, id, &joined[count]);
			if (result)
				break;
		}
		ck_assert_int_eq(result, -EDQUOT);
		/* A connection holds three of the six descriptors. */
		ck_assert_int_eq(count, _i == 2 ? 3 : 2);
		for (int i = 0; i <= count; i++) {
			ctx_finish(joined[i]);
			joined[i] = NULL;
			ctx_finish(shared[i]);
		}
		ck_assert(await_listed(client, CTXD_JOINED, 0));
		struct listing listing;
		unsigned live;
		do {
			listing = list_of(client, CTXD_SHARED);
			live = 0;
			for (unsigned i = 0; i < listing.count; i++)
				live += !listing.entries[i].ended_ns;
		} while (live);
	}
	ctxd_close(client);
	service_end(&service);
}
END_TEST

static void ignore_event(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	(void)client;
	(void)event;
	(void)data;
}

START_TEST(watches_are_counted_and_given_back)
{
	struct service service = {.loop = NULL};
	service_start(&service, "watches = 1\n");
	struct ctxd_options options = {.event = ignore_event};
	struct ctxd_client *one = client_with(&service, &options), *two = client_with(&service, &options);

	ck_assert_ok(ctxd_watch(one, CTXD_SHARED));
	ck_assert_int_eq(ctxd_watch(two, CTXD_SHARED), -EDQUOT);
	ck_assert_ok(ctxd_watch(one, CTXD_SHARED | CTXD_JOINED));
	ck_assert_ok(ctxd_watch(one, 0));
	ck_assert_ok(ctxd_watch(two, CTXD_SHARED));
	ctxd_close(two);
	ctxd_close(one);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service rights");
	TCase *rights = test_case(suite, "rights"), *quotas = test_case(suite, "quotas");

	tcase_add_loop_test(rights, a_mode_decides_as_of_a_file, 0, sizeof(matrix) / sizeof(matrix[0]));
	tcase_add_test(rights, cancel_of_what_is_not_shared_can_be_roots_alone);
	tcase_add_test(rights, the_record_of_a_cancel_cannot_be_forged);
	tcase_add_test(rights, another_pid_name_space_joins_and_shares_like_any_other);
	tcase_add_test(rights, a_user_name_space_makes_nobody_root);
	ON_EACH_LOOP(quotas, connections_are_counted_and_given_back);
	tcase_add_loop_test(quotas, contexts_joins_and_descriptors_are_counted_and_given_back, 0, 3);
	tcase_add_test(quotas, watches_are_counted_and_given_back);
	return suite;
}
