/* SPDX-License-Identifier: MIT */
/*
 * Clients that do not keep to the protocol, speak it half, or die in the middle: one error, a hang-up, and
 * others go on. Each test is a raw socket beside an honest client.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)
/* Nobody else's, for the kernel counts descriptors in flight by user. */
#define NOBODY 65008

/* The service is well. */
static void still_serves(struct ctxd_client *client)
{
	struct ctx_context *ctx = child_of(ctx_background()), *joined;
	struct ctxd_id id;

	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(client, id, &joined));
	ctx_cancel(ctx);
	ck_assert_ok(ctx_wait(joined, SOON));
	ctx_finish(joined);
	ctx_finish(ctx);
}

/* ---- messages that are broken */

static struct wire_message share_message(void)
{
	return (struct wire_message){
		.type = WIRE_SHARE,
		.serial = 2,
		.share = {.ctx_id = 1, .deadline_ns = CTX_FOREVER, .mode = 0600, .name = "raw"}};
}

START_TEST(a_message_cut_at_any_byte_ends_the_connection_alone)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	uint8_t bytes[WIRE_SIZE_MAX];
	struct wire_message message = share_message();
	size_t size = wire_pack(&message, bytes);
	int pipe_fds[2];

	ck_assert_ok(pipe(pipe_fds));
	for (size_t cut = 1; cut < size; cut++) {
		int fd = raw_greeted(&service);
		raw_send(fd, bytes, cut, pipe_fds, 1);
		raw_thrown_out(fd, -EPROTO);
	}
	still_serves(client);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

START_TEST(other_versions_and_oversized_and_unexpected_messages_are_refused)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct wire_message other = raw_hello, list = {.type = WIRE_LIST, .serial = 1, .list = {.kinds = 1}};
	uint8_t bytes[WIRE_SIZE_MAX + 100] = {0};

	int fd = raw_dial(&service); /* of another version */
	other.hello.version_min = WIRE_VERSION + 1;
	other.hello.version_max = 9;
	raw_send_message(fd, &other, NULL, 0);
	raw_thrown_out(fd, -EPROTONOSUPPORT);
	fd = raw_dial(&service); /* of the version before */
	other.hello.version_min = 1;
	other.hello.version_max = WIRE_VERSION - 1;
	raw_send_message(fd, &other, NULL, 0);
	raw_thrown_out(fd, -EPROTONOSUPPORT);
	fd = raw_dial(&service); /* without a greeting */
	raw_send_message(fd, &list, NULL, 0);
	raw_thrown_out(fd, -EPROTO);
	fd = raw_greeted(&service); /* a second one */
	raw_send_message(fd, &raw_hello, NULL, 0);
	raw_thrown_out(fd, -EPROTO);
	fd = raw_greeted(&service); /* too long */
	raw_send(fd, bytes, sizeof(bytes), NULL, 0);
	raw_thrown_out(fd, -EPROTO);
	fd = raw_greeted(&service); /* what only the service says */
	struct wire_message order = {.type = WIRE_ORDER, .order = {.ctx_id = 1}};
	raw_send_message(fd, &order, NULL, 0);
	raw_thrown_out(fd, -EPROTO);
	fd = raw_greeted(&service); /* a type of another version */
	size_t size = wire_pack(&list, bytes);
	bytes[4] = 50;
	raw_send(fd, bytes, size, NULL, 0);
	raw_thrown_out(fd, -EPROTONOSUPPORT);
	fd = raw_greeted(&service); /* below something that it has not joined */
	struct wire_message share = share_message();
	struct listing listing = list_of(client, CTXD_SHARED);
	ck_assert_uint_eq(listing.count, 0);
	share.share.parent = (struct ctxd_id){5, 5};
	int pipe_fds[2];
	ck_assert_ok(pipe(pipe_fds));
	raw_send_message(fd, &share, pipe_fds, 1);
	raw_thrown_out(fd, -EPROTO);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	still_serves(client);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- descriptors that are not what they should be */

static int sealed_file(int seals)
{
	int fd = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(ftruncate(fd, 65536));
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

START_TEST(wrong_missing_and_surplus_descriptors_are_refused_and_closed)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct wire_message share = share_message(), publish = raw_hello;
	int pipe_fds[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC), pair[2];

	ck_assert_ok(pipe(pipe_fds));
	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	int wrong[] = {file, pipe_fds[1], pair[0]};
	for (int i = 0; i < 3; i++) { /* no pipe, its write end, a socket */
		int fd = raw_greeted(&service);
		raw_send_message(fd, &share, &wrong[i], 1);
		raw_thrown_out(fd, -EPROTO);
	}
	int many[] = {pipe_fds[0], pipe_fds[0], pipe_fds[0], pipe_fds[0], pipe_fds[0]};
	for (unsigned count = 0; count <= 5; count++) {
		if (count == 1)
			continue;
		int fd = raw_greeted(&service);
		raw_send_message(fd, &share, many, count);
		raw_thrown_out(fd, -EPROTO);
	}
	publish.hello.flags = WIRE_PUBLISH;
	int tables[] = {sealed_file(F_SEAL_SHRINK), file, pair[0]};
	for (int i = 0; i < 3; i++) { /* half sealed, none, a socket */
		int fd = raw_dial(&service);
		raw_send_message(fd, &publish, &tables[i], 1);
		raw_thrown_out(fd, -EPROTO);
	}
	/* One pipe twice: an error, not the end. */
	int fd = raw_greeted(&service);
	struct wire_message answer;
	raw_send_message(fd, &share, pipe_fds, 1);
	ck_assert(raw_receive(fd, &answer));
	ck_assert_int_eq(answer.result.error, 0);
	share.share.name[0] = 'x';
	raw_send_message(fd, &share, pipe_fds, 1);
	ck_assert(raw_receive(fd, &answer));
	ck_assert_int_eq(answer.result.error, -EEXIST);
	close(fd);
	close(tables[0]);
	close(file);
	close(pair[0]);
	close(pair[1]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	still_serves(client);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

START_TEST(another_users_pipe_cannot_be_shared)
{
	struct service service = {.loop = NULL};
	int pipe_fds[2], status;

	if (getuid() != 0)
		test_skip("needs root, to be several users");
	service_start(&service, NULL);
	ck_assert_ok(pipe(pipe_fds)); /* root's */
	pid_t child = fork();
	if (child == 0) {
		struct wire_message share = share_message();
		ck_assert_ok(setresuid(NOBODY, NOBODY, NOBODY));
		int fd = raw_greeted(&service);
		raw_send_message(fd, &share, pipe_fds, 1);
		raw_thrown_out(fd, -EPROTO);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	service_end(&service);
}
END_TEST

/* Says after a restart that did not happen that it had joined what these pipes stand for, and stays. */
static int rejoin_pipes(int channel, void *data)
{
	const int *pipes = data;
	struct wire_message message, rejoin = {.type = WIRE_REJOIN,
					       .serial = 3,
					       .rejoin = {.old_id = {7, 7}, .deadline_ns = CTX_FOREVER}};
	struct service service = {0};

	snprintf(service.socket, sizeof(service.socket), "%s", getenv("CTXD_SOCKET"));
	ck_assert_ok(setresuid(NOBODY, NOBODY, NOBODY));
	int fd = raw_greeted(&service);
	for (unsigned i = 0; i < 3; i++) {
		raw_send_message(fd, &rejoin, &pipes[i], 1);
		ck_assert(raw_receive(fd, &message));
		ck_assert_int_eq(message.type, WIRE_RESULT);
		tell(channel, message.result.error == -EDQUOT ? 'q' : message.result.error ? '?' : 'j');
	}
	expect(channel, 'e');
	return 0;
}

/*
 * Goal: what waits for its owner to come back is paid for by who says so, not by the one whose pipe it is.
 * Method: another user comes with pipes of this one, as many as this one may share contexts, and one more.
 */
START_TEST(another_user_cannot_use_up_what_this_one_may_share)
{
	struct service service = {.loop = NULL};
	int pipes[3], write_fds[3];

	if (getuid() != 0)
		test_skip("needs root, to be several users");
	service_start(&service, "contexts = 2\n");
	for (unsigned i = 0; i < 3; i++) {
		int both[2];
		ck_assert_ok(pipe(both));
		pipes[i] = both[0];
		write_fds[i] = both[1];
	}
	struct ctxd_client *client = client_of(&service);
	struct other other = other_start(rejoin_pipes, pipes);
	expect(other.channel, 'j');
	expect(other.channel, 'j');
	expect(other.channel, 'q');
	still_serves(client);
	tell(other.channel, 'e');
	ck_assert_int_eq(other_end(&other), 0);
	for (unsigned i = 0; i < 3; i++) {
		close(pipes[i]);
		close(write_fds[i]);
	}
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/*
 * Goal: requests that nobody obeys are bounded for each user, and given back when the one who asked and the
 * one who was told are gone. Method: a client asks for the ends of its own contexts, and never obeys.
 */
START_TEST(requests_that_nobody_obeys_are_counted_and_given_back)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "cancels = 2\n");
	struct wire_message message, publish = raw_hello,
				     cancel = {.type = WIRE_CANCEL, .cancel = {.wait_ns = SOON}};

	publish.hello.flags = WIRE_PUBLISH;
	for (int round = 0; round < 2; round++) {
		int fd = raw_dial(&service);
		int table = sealed_file(F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
		struct stat status;
		ck_assert_ok(fstat(table, &status));
		raw_send_message(fd, &publish, &table, 1);
		ck_assert(raw_receive(fd, &message));
		ck_assert_int_eq(message.type, WIRE_WELCOME);
		ck_assert(raw_receive(fd, &message));
		ck_assert_int_eq(message.type, WIRE_TERMS);
		cancel.cancel.table = status.st_ino;
		for (unsigned i = 1; i <= 3; i++) {
			cancel.serial = 100 + i;
			cancel.cancel.ctx_id = i;
			raw_send_message(fd, &cancel, NULL, 0);
			ck_assert(raw_receive(fd, &message));
			ck_assert_int_eq(message.type, i <= 2 ? WIRE_ORDER : WIRE_REPORT);
		}
		ck_assert_uint_eq(message.serial, 103);
		ck_assert_int_eq(message.report.error, -EDQUOT);
		close(table);
		close(fd);
		struct ctxd_client *client = client_of(&service);
		ck_assert(await_listed(client, CTXD_PROCESS, 1));
		ctxd_close(client);
	}
	ck_assert(service_logged(&service, "quota=cancels limit=2"));
	service_end(&service);
}
END_TEST

/* ---- one-way messages about what is not there: they may have crossed with an end */

START_TEST(late_words_about_what_is_gone_are_ignored)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	int fd = raw_greeted(&service);
	struct ctxd_id id = {7, 7};
	struct wire_message messages[] = {
		{.type = WIRE_MOVE, .move = {id, 5}},
		{.type = WIRE_ENDED, .ended = {id, {.error = -ECANCELED, .kind = CTX_CAUSE_CALL}}},
		{.type = WIRE_ATTACH, .attach = {id, 5}},
		{.type = WIRE_LEAVE, .attach = {id, 5}},
		{.type = WIRE_OBEYED, .serial = 99},
		{.type = WIRE_LIST, .serial = 3, .list = {.kinds = CTXD_SHARED}},
	};
	struct wire_message answer;

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		raw_send_message(fd, &messages[i], NULL, 0);
	ck_assert(raw_receive(fd, &answer));
	ck_assert_int_eq(answer.type, WIRE_ENTRIES);
	ck_assert_uint_eq(answer.serial, 3);
	close(fd);
	service_end(&service);
}
END_TEST

/* ---- death at each step */

static int take_steps(const struct service *service, int step, int channel)
{
	struct wire_message share = share_message(), answer, join = {.type = WIRE_JOIN, .serial = 3},
			    watch = {.type = WIRE_WATCH, .serial = 4, .watch = {.kinds = 15}},
			    cancel = {.type = WIRE_CANCEL, .serial = 5, .cancel = {.wait_ns = SOON}};
	int pipe_fds[2], fd = raw_dial(service);

	ck_assert_ok(pipe(pipe_fds));
	join.join.uid = UINT32_MAX;
	strcpy(join.join.name, "raw");
	for (int i = 0; i < step; i++) {
		switch (i) {
		case 0:
			raw_send_message(fd, &raw_hello, NULL, 0);
			ck_assert(raw_receive(fd, &answer));
			ck_assert(raw_receive(fd, &answer));
			break;
		case 1:
			raw_send_message(fd, &share, pipe_fds, 1);
			break;
		case 2:
			ck_assert(raw_receive(fd, &answer));
			ck_assert_int_eq(answer.result.error, 0);
			cancel.cancel.id = answer.result.id;
			break;
		case 3:
			raw_send_message(fd, &join, NULL, 0);
			break;
		case 4:
			ck_assert(raw_receive(fd, &answer));
			ck_assert_int_eq(answer.type, WIRE_JOINED);
			break;
		case 5:
			raw_send_message(fd, &watch, NULL, 0);
			break;
		case 6:
			raw_send_message(fd, &cancel, NULL, 0);
			break;
		case 7: /* its own order, never obeyed */
			while (answer.type != WIRE_ORDER)
				ck_assert(raw_receive(fd, &answer));
			break;
		}
	}
	tell(channel, 'd');
	expect(channel, 'e');
	return 0;
}

struct steps {
	const struct service *service;
	int step;
};

static int step_child(int channel, void *data)
{
	const struct steps *steps = data;

	return take_steps(steps->service, steps->step, channel);
}

START_TEST(killed_at_any_step_it_leaves_nothing)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	/* So few that what one leaves behind would be missed by the next. */
	service_start(&service, "connections = 2\ncontexts = 1\njoins = 1\nwatches = 1\nfds = 7\n");
	struct ctxd_client *client = client_of(&service);

	for (int step = 0; step <= 8; step++) {
		struct steps steps = {&service, step};
		struct other other = other_start(step_child, &steps);
		expect(other.channel, 'd');
		other_kill(&other);
		ck_assert(await_listed(client, CTXD_PROCESS, 1));
		ck_assert(await_listed(client, CTXD_JOINED, 0));
	}
	struct listing listing = list_of(client, CTXD_SHARED);
	for (unsigned i = 0; i < listing.count; i++) {
		ck_assert_uint_ne(listing.entries[i].ended_ns, 0);
		ck_assert(listing.entries[i].cause.kind == CTX_CAUSE_OWNER ||
			  listing.entries[i].cause.kind == CTX_CAUSE_SERVICE);
	}
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- nonsense in a table */

static int scribble(int channel, void *data)
{
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctx_context *ctx;
	unsigned seed = 1;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "scribbler", &ctx));
	struct ctxd_client *client = client_with(data, &options);
	ck_assert_ok(ctxd_share(client, ctx, "scribbler", 0, NULL));
	uint32_t *words = (uint32_t *)test_own_table();
	for (size_t i = 0; i < 262144 / 4; i++)
		words[i] = (uint32_t)rand_r(&seed);
	tell(channel, 's');
	expect(channel, 'e');
	return 0;
}

START_TEST(nonsense_in_a_table_harms_nobody_else)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct other other = other_start(scribble, &service);
	struct ctx_context *joined;
	int fd;

	expect(other.channel, 's');
	ck_assert_uint_eq(list_of(client, CTXD_SHARED).count, 1);
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "scribbler", &joined));
	ck_assert_ok(ctxd_table(client, CTXD_PROCESS, other.pid, NULL, &fd));
	close(fd);
	other_kill(&other);
	ck_assert_ok(ctx_wait(joined, SOON));
	ctx_finish(joined);
	still_serves(client);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- no descriptors */

/* Which of its descriptors the service has open: how many, and the lowest number that is free. */
static unsigned fds_of(pid_t pid, int *ret_free)
{
	char path[64];
	struct stat status;
	unsigned count = 0;

	*ret_free = -1;
	for (int fd = 0; fd < 200; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		if (lstat(path, &status) == 0)
			count++;
		else if (*ret_free < 0)
			*ret_free = fd;
	}
	return count;
}

struct few_fds {
	pid_t pid;
	unsigned count;
};

static bool has_few_fds(void *data)
{
	const struct few_fds *few = data;
	int free_fd;

	return fds_of(few->pid, &free_fd) <= few->count;
}

/* Whether it serves who comes now. */
static bool greets(void *data)
{
	const struct service *service = data;
	struct wire_message message;
	int fd = raw_dial(service);

	raw_send_message(fd, &raw_hello, NULL, 0);
	bool welcome = raw_receive(fd, &message) && message.type == WIRE_WELCOME;
	close(fd);
	return welcome;
}

START_TEST(without_descriptors_the_service_refuses_and_recovers)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct rlimit few = {40, 40};
	int fds[64], count = 0, free_fd;

	service_start(&service, NULL);
	ck_assert_ok(prlimit(service.pid, RLIMIT_NOFILE, &few, NULL));
	struct ctxd_client *client = client_of(&service);
	struct few_fds before = {service.pid, fds_of(service.pid, &free_fd)};
	for (; count < 60; count++)
		fds[count] = raw_dial(&service);
	uint64_t end_ns = clock_now_ns() + SOON;
	while (!service_logged(&service, "error=EMFILE") && clock_now_ns() < end_ns)
		poll(NULL, 0, 5);
	ck_assert(service_logged(&service, "error=EMFILE"));
	ck_assert_uint_ge(list_of(client, CTXD_PROCESS).count, 1);
	while (count)
		close(fds[--count]);
	/*
	 * It takes those that are still in the socket's queue before it sees that they are gone, and so runs
	 * out of descriptors once more. Who is served after them knows that they have been taken.
	 */
	ck_assert(test_until(greets, &service));
	ck_assert(test_until(has_few_fds, &before));
	still_serves(client);
	int fd = raw_greeted(&service);
	close(fd);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/*
 * Goal: who comes while there is no descriptor to know its process by is refused, not served as one whose end
 * nobody sees and who may never share. Method: the service has one descriptor left, for the socket.
 */
START_TEST(without_a_descriptor_for_its_process_a_client_is_refused)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct rlimit limit, few;
	int free_fd;

	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	ck_assert(await_listed(client, CTXD_PROCESS, 1));
	/*
	 * What has ended by now is closed in the next turn but one at the latest. Each of these is accepted
	 * in one turn and greeted in a later one; they stay, so as to close nothing themselves.
	 */
	int later[] = {raw_greeted(&service), raw_greeted(&service)};
	ck_assert_ok(prlimit(service.pid, RLIMIT_NOFILE, NULL, &limit));
	fds_of(service.pid, &free_fd);
	few = (struct rlimit){(rlim_t)free_fd + 1, limit.rlim_max};
	ck_assert_ok(prlimit(service.pid, RLIMIT_NOFILE, &few, NULL));
	raw_thrown_out(raw_dial(&service), -EMFILE);
	ck_assert_ok(prlimit(service.pid, RLIMIT_NOFILE, &limit, NULL));
	close(raw_greeted(&service));
	close(later[0]);
	close(later[1]);
	still_serves(client);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

static uint64_t cpu_ns_of(pid_t pid)
{
	clockid_t clock;
	struct timespec used;

	ck_assert_ok(clock_getcpuclockid(pid, &clock));
	ck_assert_ok(clock_gettime(clock, &used));
	return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

/* Whether it leaves the processor alone: what spins never does, and what is still to be done ends. To try
 * again now and then takes more of a processor that is emulated, and a client may not be slow for long. */
static bool comes_to_rest(pid_t pid)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	for (;;) {
		uint64_t cpu_ns = cpu_ns_of(pid), wall_ns = clock_now_ns();
		poll(NULL, 0, 300);
		cpu_ns = cpu_ns_of(pid) - cpu_ns;
		wall_ns = clock_now_ns() - wall_ns;
		if (cpu_ns < wall_ns / 5)
			return true;
		if (clock_now_ns() > end_ns)
			return false;
	}
}

/* As a user whose descriptors in flight the kernel bounds. */
static int leave_descriptors_unread(int channel, void *data)
{
	struct service service = {.loop = data};
	/* Of 60 descriptors a few are not let on their way; for these the service itself has room. */
	struct rlimit few = {50, 50};
	struct wire_message message, join = {.type = WIRE_JOIN, .serial = 9};
	unsigned joined = 0;

	service_find();
	ck_assert_ok(setresuid(NOBODY, NOBODY, NOBODY));
	service_start(&service, NULL);
	struct ctxd_client *owner = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background());
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &join.join.id));
	int fd = raw_greeted(&service);
	ck_assert_ok(prlimit(service.pid, RLIMIT_NOFILE, &few, NULL));
	for (unsigned i = 0; i < 30; i++)
		raw_send_message(fd, &join, NULL, 0);
	ck_assert(comes_to_rest(service.pid));
	for (; joined < 30 && raw_receive(fd, &message); joined++)
		ck_assert_int_eq(message.type, WIRE_JOINED);
	ck_assert_uint_eq(joined, 30);
	close(fd);
	ctx_finish(ctx);
	ctxd_close(owner);
	service_end(&service);
	tell(channel, 'd');
	return 0;
}

/*
 * Goal: where the kernel lets no more descriptors on their way, the service waits without spinning, and loses
 * no answer. Method: answers with two descriptors each are left unread, more of them than may be.
 */
START_TEST(too_many_descriptors_in_flight_are_waited_for_without_a_spin)
{
	if (getuid() != 0)
		test_skip("needs root, to be a user without privileges");
	struct other other = other_start(leave_descriptors_unread, SERVICE_LOOP(_i));
	expect(other.channel, 'd');
	ck_assert_int_eq(other_end(&other), 0);
}
END_TEST

START_TEST(without_descriptors_a_client_is_told_so_and_goes_on)
{
	struct service service = {.loop = NULL};
	struct rlimit limit, few;
	struct ctx_context *joined;
	struct ctxd_id id;

	service_start(&service, NULL);
	struct ctxd_client *owner = client_of(&service), *client = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background());
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	int next = dup(0);
	close(next);
	few = (struct rlimit){(rlim_t)next, limit.rlim_max};
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &few));
	int result = ctxd_join(client, id, &joined);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
	ck_assert_int_eq(result, -EMFILE);
	/* What was given for nothing has been given back. */
	ck_assert(await_listed(owner, CTXD_JOINED, 0));
	ck_assert_ok(ctxd_join(client, id, &joined));
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(client);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service peers");
	TCase *peers = test_case(suite, "peers");

	ON_EACH_LOOP(peers, a_message_cut_at_any_byte_ends_the_connection_alone);
	ON_EACH_LOOP(peers, other_versions_and_oversized_and_unexpected_messages_are_refused);
	ON_EACH_LOOP(peers, wrong_missing_and_surplus_descriptors_are_refused_and_closed);
	tcase_add_test(peers, another_users_pipe_cannot_be_shared);
	tcase_add_test(peers, another_user_cannot_use_up_what_this_one_may_share);
	ON_EACH_LOOP(peers, requests_that_nobody_obeys_are_counted_and_given_back);
	ON_EACH_LOOP(peers, late_words_about_what_is_gone_are_ignored);
	ON_EACH_LOOP(peers, killed_at_any_step_it_leaves_nothing);
	ON_EACH_LOOP(peers, nonsense_in_a_table_harms_nobody_else);
	ON_EACH_LOOP(peers, without_descriptors_the_service_refuses_and_recovers);
	ON_EACH_LOOP(peers, without_a_descriptor_for_its_process_a_client_is_refused);
	ON_EACH_LOOP(peers, too_many_descriptors_in_flight_are_waited_for_without_a_spin);
	tcase_add_test(peers, without_descriptors_a_client_is_told_so_and_goes_on);
	return suite;
}
