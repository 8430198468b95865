/* SPDX-License-Identifier: MIT */
/*
 * Whom a client talks to: root and its own user, or whoever the program itself names. Each test is a socket
 * that one user made listen, and a program of another one that is led there.
 */
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

enum {
	USER = 65011,
	STRANGER = 65012,
};

/* What leads the program there. */
enum way {
	BY_VARIABLE,  /* CTXD_SOCKET */
	BY_DIRECTORY, /* XDG_RUNTIME_DIR */
	BY_PROGRAM,
	BY_PUBLISHING, /* CTXRING_PUBLISH, and CTXD_SOCKET */
};

/* The user namespace that the program is in. */
enum space {
	OUTER,
	MAPPED,	  /* its user is root there, and all others are one */
	UNMAPPED, /* all users are one, its own, too */
};

static const struct scene {
	uid_t listener, client;
	enum way way;
	enum space space;
	bool trusted;
} scenes[] = {
	{0, 0, BY_VARIABLE, OUTER, true},
	{0, USER, BY_VARIABLE, OUTER, true},
	{0, USER, BY_DIRECTORY, OUTER, true},
	{USER, USER, BY_VARIABLE, OUTER, true},
	{USER, USER, BY_DIRECTORY, OUTER, true},
	{USER, USER, BY_PUBLISHING, OUTER, true},
	{USER, 0, BY_VARIABLE, OUTER, false},
	{USER, 0, BY_DIRECTORY, OUTER, false},
	{USER, 0, BY_PUBLISHING, OUTER, false},
	{STRANGER, USER, BY_VARIABLE, OUTER, false},
	{STRANGER, USER, BY_DIRECTORY, OUTER, false},
	{STRANGER, USER, BY_PUBLISHING, OUTER, false},
	{USER, 0, BY_PROGRAM, OUTER, true},
	{STRANGER, USER, BY_PROGRAM, OUTER, true},
	{USER, USER, BY_VARIABLE, MAPPED, true},
	{STRANGER, USER, BY_VARIABLE, MAPPED, false},
	{0, USER, BY_VARIABLE, MAPPED, false},
	{STRANGER, USER, BY_VARIABLE, UNMAPPED, false},
	{USER, USER, BY_VARIABLE, UNMAPPED, false},
	{0, USER, BY_PUBLISHING, UNMAPPED, false},
	{STRANGER, USER, BY_PROGRAM, UNMAPPED, true},
};

struct stage {
	const struct scene *scene;
	char directory[64], socket[96];
	int listener;
};

static void stage_open(struct stage *stage)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(stage->directory, "/tmp/ctxring-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(stage->directory));
	ck_assert_ok(chmod(stage->directory, 0755));
	snprintf(stage->socket, sizeof(stage->socket), "%s/ctxd.sock", stage->directory);
	strcpy(address.sun_path, stage->socket);
	stage->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_ok(bind(stage->listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(chmod(stage->socket, 0666));
	/* Who calls this is whom connect(2) shows, see unix(7). */
	ck_assert_ok(seteuid(stage->scene->listener));
	ck_assert_ok(listen(stage->listener, 16));
	ck_assert_ok(seteuid(0));
}

static void stage_close(struct stage *stage)
{
	close(stage->listener);
	unlink(stage->socket);
	rmdir(stage->directory);
}

/* Tells what the first who connects says: a greeting, or nothing. */
static int serve(int channel, void *data)
{
	const struct stage *stage = data;
	struct wire_message hello,
		welcome = {.type = WIRE_WELCOME, .welcome = {.version = WIRE_VERSION, .epoch = 7}},
		terms = {.type = WIRE_TERMS};
	int fd = accept4(stage->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return 1;
	bool greeted = raw_receive_from_client(fd, &hello);
	if (greeted) {
		welcome.serial = hello.serial;
		raw_send_message(fd, &welcome, NULL, 0);
		raw_send_message(fd, &terms, NULL, 0);
	}
	tell(channel, greeted ? 'g' : 'n');
	expect(channel, 'e');
	return 0;
}

static bool write_map(uid_t uid)
{
	char line[32];
	int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	int size = snprintf(line, sizeof(line), "0 %u 1", uid);
	bool written = fd >= 0 && write(fd, line, (size_t)size) == size;

	if (fd >= 0)
		close(fd);
	return written;
}

/* False: there are no such namespaces here. */
static bool enter(const struct scene *scene)
{
	ck_assert_ok(setgroups(0, NULL));
	ck_assert_ok(setresgid(scene->client, scene->client, scene->client));
	ck_assert_ok(setresuid(scene->client, scene->client, scene->client));
	prctl(PR_SET_DUMPABLE, 1);
	return scene->space == OUTER ||
	       (!unshare(CLONE_NEWUSER) && (scene->space == UNMAPPED || write_map(scene->client)));
}

static int visit(int channel, void *data)
{
	const struct stage *stage = data;
	const struct scene *scene = stage->scene;
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctxd_client *client = NULL;
	struct ctx_context *ctx;
	int result = 0;

	unsetenv("CTXD_SOCKET");
	unsetenv("XDG_RUNTIME_DIR");
	if (scene->way == BY_DIRECTORY)
		setenv("XDG_RUNTIME_DIR", stage->directory, 1);
	else if (scene->way != BY_PROGRAM)
		setenv("CTXD_SOCKET", stage->socket, 1);
	if (scene->way == BY_PUBLISHING)
		setenv("CTXRING_PUBLISH", "1", 1);
	if (scene->way == BY_PROGRAM)
		options.socket = stage->socket;
	if (!enter(scene)) {
		tell(channel, '-');
		return 0;
	}
	tell(channel, 'b');
	if (scene->way == BY_PUBLISHING)
		ck_assert_ok(ctx_with_cancel(ctx_background(), "published", &ctx));
	else
		result = ctxd_connect(&options, &client);
	expect(channel, 'e');
	ctxd_close(client);
	return -result;
}

/*
 * Goal: no user gets the table of another one's program, or orders it about, by a socket to which a variable
 * leads. Method: each pair of users and way; the listener tells whether it was greeted.
 */
START_TEST(a_client_talks_to_root_to_its_user_and_to_whom_the_program_names)
{
	struct stage stage = {.scene = &scenes[_i]};

	if (getuid() != 0)
		test_skip("needs root, to be several users");
	stage_open(&stage);
	struct other server = other_start(serve, &stage);
	struct other visitor = other_start(visit, &stage);
	char said = 0;
	ck_assert_int_eq((int)read(visitor.channel, &said, 1), 1);
	if (said == 'b') {
		expect(server.channel, stage.scene->trusted ? 'g' : 'n');
		tell(visitor.channel, 'e');
		int result = other_end(&visitor);
		/* After the directory of another user there is one more place to look at. */
		bool elsewhere = stage.scene->way == BY_DIRECTORY && access("/run/ctxd.sock", F_OK) == 0;
		if (stage.scene->trusted || stage.scene->way == BY_PUBLISHING)
			ck_assert_int_eq(result, 0);
		else if (!elsewhere)
			ck_assert_int_eq(result, EPERM);
		tell(server.channel, 'e');
		ck_assert_int_eq(other_end(&server), 0);
	} else {
		ck_assert_int_eq(other_end(&visitor), 0);
		other_kill(&server);
	}
	stage_close(&stage);
	if (said != 'b')
		test_skip("a user name space cannot be made here");
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("client trust");
	TCase *trust = test_case(suite, "trust");

	tcase_add_loop_test(trust, a_client_talks_to_root_to_its_user_and_to_whom_the_program_names, 0,
			    sizeof(scenes) / sizeof(scenes[0]));
	return suite;
}
