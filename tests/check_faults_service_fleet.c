/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation of the broker fails, for each k, while it serves a fleet: who asked gets an error or is
 * disconnected, and nothing stays charged or is leaked. The linker leads allocations through here.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/flood.h"

TEST_ALONE("its functions are replaced by --wrap");

TEST_MODES(TEST_FAULTS);

static unsigned fail_at, calls, failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool is_to_fail(void)
{
	if (!fail_at || ++calls != fail_at)
		return false;
	failed++;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return is_to_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return is_to_fail() ? NULL : __real_calloc(count, size);
}

/* A client that could not connect, or was thrown out, says nothing. */
static void say_if_there(struct client *client, struct wire_message message, int fd)
{
	if (client->peer && !say_with(client, message, fd))
		return;
	if (client->peer)
		hang_up(client);
	else if (fd >= 0)
		close(fd);
}

static void dial_if_possible(struct client *client, uid_t uid)
{
	struct peer_output output = {.send = client_take, .offer = client_offered, .link = client};
	struct identity identity = {.pid = (pid_t)++pids, .uid = uid, .gid = uid};
	struct wire_message hello = {
		.type = WIRE_HELLO,
		.hello = {.version_min = WIRE_VERSION, .version_max = WIRE_VERSION, .process = "faults"}};

	*client = (struct client){.uid = uid};
	identity.pidfd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (peer_new(broker, &identity, &output, clock_ns, &client->peer))
		client->peer = NULL;
	say_if_there(client, hello, -1);
}

static void answer_fetch(struct client *bridge, int32_t error)
{
	struct wire_message mirror = {.type = WIRE_MIRROR,
				      .mirror = {.fetch = bridge->fetch.serial,
						 .global = bridge->fetch.fetch.global,
						 .uid = bridge->fetch.fetch.uid,
						 .error = error,
						 .deadline_ns = CTX_FOREVER}};

	if (error == -ECANCELED)
		mirror.mirror.cause = (struct wire_cause){.error = -ECANCELED, .kind = CTX_CAUSE_CALL};
	if (bridge->fetch.type)
		say_if_there(bridge, mirror, error ? -1 : pipe_end(getuid()));
	bridge->fetch.type = 0;
	tick_until_done();
}

static void be_bridge(struct client *client)
{
	dial_if_possible(client, getuid());
	say_if_there(client, (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}}, -1);
	tick_until_done();
}

/* Shares, joins from both sides, asks, and loses a bridge on the way. */
static void go_through(void)
{
	struct client bridge, client;
	struct wire_message join = {.type = WIRE_JOIN_GLOBAL, .join_global = {.global = {{77, 1}, 5, "far"}}},
			    share = {.type = WIRE_SHARE, .share = {.ctx_id = 1, .flags = WIRE_FLEET}},
			    ask = {.type = WIRE_ASK, .ask = {.question = WIRE_ASK_HOSTS}}, again,
			    told = {.type = WIRE_TELL, .told = {.error = -ENOENT}};

	be_bridge(&bridge);
	dial_if_possible(&client, getuid());
	say_if_there(&client, (struct wire_message){.type = WIRE_WATCH, .watch = {.kinds = 15}}, -1);
	say_if_there(&client, share, pipe_end(getuid()));
	if (client.last.type == WIRE_SHARED) {
		struct wire_message own = join;
		own.join_global.global =
			(struct wire_global){client.last.shared.id, client.last.shared.secret, "here"};
		say_if_there(&bridge, own, -1);
	}
	static const int32_t errors[] = {-ENOENT, -ECANCELED, 0};
	for (int i = 0; i < 3; i++) {
		say_if_there(&client, join, -1);
		tick_until_done();
		answer_fetch(&bridge, errors[i]);
	}
	say_if_there(&client, ask, -1);
	tick_until_done();
	told.serial = bridge.question.serial;
	if (bridge.question.type)
		say_if_there(&bridge, told, -1);
	say_if_there(&client, ask, -1);
	/* Another context is waited for when the bridge is gone. */
	join.join_global.global.id.number = 2;
	client.full = true;
	say_if_there(&client, join, -1);
	tick_until_done();
	answer_fetch(&bridge, 0);
	if (bridge.peer)
		hang_up(&bridge);
	tick_until_done();
	client.full = false;
	if (client.peer)
		peer_writable(client.peer);
	be_bridge(&bridge);
	answer_fetch(&bridge, 0);
	again = (struct wire_message){.type = WIRE_MIRROR,
				      .mirror = {.global = {{77, 3}, 5, "far"}, .uid = getuid()}};
	say_if_there(&bridge, again, pipe_end(getuid()));
	tick_until_done();
	if (client.peer)
		hang_up(&client);
	tick_until_done();
	if (bridge.peer)
		hang_up(&bridge);
	tick_until_done();
}

START_TEST(each_allocation_of_the_broker_may_fail_once)
{
	unsigned k = 0;

	flood_begin();
	strcpy(config.fleet.engine, "redis://nowhere");
	strcpy(config.fleet.host, "here");
	broker_configure(broker, &config);
	go_through();
	do {
		calls = failed = 0;
		fail_at = ++k;
		go_through();
		fail_at = 0;
	} while (failed);
	ck_assert_uint_gt(k, 20);
	/* Aborts if something is charged still. */
	clock_ns += 3600 * NS_PER_SECOND;
	flood_end();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults of the service in a fleet");
	TCase *faults = test_case(suite, "faults");

	tcase_add_test(faults, each_allocation_of_the_broker_may_fail_once);
	return suite;
}
