/* SPDX-License-Identifier: MIT */
/*
 * What the library does with a service that does not keep to the protocol: that answers nonsense, the wrong
 * descriptors, or nothing. Each test is the library beside a process that plays the service. However it
 * talks, calls end with an error of their contract, no descriptor is left, and what needs no service goes on.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "support/raw.h"
#include "support/stuck.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)
/* For answers that do not come; those that do have as long as they need. */
#define PATIENCE (NS_PER_SECOND / 2)

/* ---- the one that plays the service */

struct fake {
	char directory[64];
	struct service service; /* only its socket */
	int listener;
	void (*talk)(struct fake *fake, int fd); /* with each who connects */
	unsigned turn;				 /* what it says */
	size_t cut;
	int channel; /* to the test */
};

static void fake_open(struct fake *fake, void (*talk)(struct fake *fake, int fd))
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*fake = (struct fake){.talk = talk};
	strcpy(fake->directory, "/tmp/ctxring-test.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->directory));
	snprintf(fake->service.socket, sizeof(fake->service.socket), "%s/socket", fake->directory);
	strcpy(address.sun_path, fake->service.socket);
	fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_ok(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(listen(fake->listener, 16));
}

static int serve(int channel, void *data)
{
	struct fake *fake = data;

	fake->channel = channel;
	for (;;) {
		int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			return 1;
		fake->talk(fake, fd);
		close(fd);
	}
}

static struct other fake_start(struct fake *fake, unsigned turn, size_t cut)
{
	fake->turn = turn;
	fake->cut = cut;
	return other_start(serve, fake);
}

static void fake_close(struct fake *fake)
{
	close(fake->listener);
	unlink(fake->service.socket);
	rmdir(fake->directory);
}

static struct wire_message welcome_to(const struct wire_message *hello)
{
	return (struct wire_message){.type = WIRE_WELCOME,
				     .serial = hello->serial,
				     .welcome = {.version = WIRE_VERSION, .epoch = 7}};
}

/* As an honest service greets. */
static void welcome(int fd, const struct wire_message *hello)
{
	struct wire_message message = welcome_to(hello), terms = {.type = WIRE_TERMS};

	raw_send_message(fd, &message, NULL, 0);
	raw_send_message(fd, &terms, NULL, 0);
}

/* Until it hangs up. */
static void hear_out(int fd)
{
	char bytes[WIRE_SIZE_MAX];

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

/* ---- the greeting */

enum greeting {
	CUT,
	OVERSIZED,
	OF_NO_TYPE,
	WITH_DESCRIPTORS,
	OF_ANOTHER_VERSION,
	TO_ANOTHER_SERIAL,
	A_CLIENTS_WORD,
	AN_ANSWER_TO_NOTHING,
	FULL,
	SILENCE,
	HANGS_UP,
	GREETINGS,
};

static void greet(struct fake *fake, int fd)
{
	uint8_t bytes[WIRE_SIZE_MAX + 200] = {0};
	struct wire_message hello, welcome, goodbye = {.type = WIRE_GOODBYE, .goodbye = {.error = -EDQUOT}},
					    answer = {.type = WIRE_RESULT, .serial = 99};
	int fds[] = {fd, fd};

	if (!raw_receive_from_client(fd, &hello))
		return;
	welcome = welcome_to(&hello);
	size_t size = wire_pack(&welcome, bytes);
	switch ((enum greeting)fake->turn) {
	case CUT:
		raw_send(fd, bytes, fake->cut, NULL, 0);
		break;
	case OVERSIZED:
		raw_send(fd, bytes, sizeof(bytes), NULL, 0);
		break;
	case OF_NO_TYPE:
		bytes[4] = 120;
		raw_send(fd, bytes, size, NULL, 0);
		break;
	case WITH_DESCRIPTORS:
		raw_send(fd, bytes, size, fds, 2);
		break;
	case OF_ANOTHER_VERSION:
		welcome.welcome.version = WIRE_VERSION + 1;
		raw_send_message(fd, &welcome, NULL, 0);
		break;
	case TO_ANOTHER_SERIAL:
		welcome.serial += 5;
		raw_send_message(fd, &welcome, NULL, 0);
		break;
	case A_CLIENTS_WORD:
		raw_send_message(fd, &raw_hello, NULL, 0);
		break;
	case AN_ANSWER_TO_NOTHING:
		raw_send_message(fd, &answer, NULL, 0);
		break;
	case FULL:
		raw_send_message(fd, &goodbye, NULL, 0);
		break;
	case SILENCE:
		break;
	case HANGS_UP:
	case GREETINGS:
		return;
	}
	hear_out(fd);
}

static int try_to_connect(struct fake *fake, unsigned turn, size_t cut)
{
	struct other other = fake_start(fake, turn, cut);
	bool is_silent = turn == SILENCE || turn == AN_ANSWER_TO_NOTHING;
	struct ctxd_options options = {.socket = fake->service.socket,
				       .timeout_ns = is_silent ? PATIENCE : SOON};
	struct ctxd_client *client = NULL;
	int result = ctxd_connect(&options, &client);

	ck_assert_ptr_null(client);
	other_kill(&other);
	return result;
}

START_TEST(a_greeting_that_is_cut_at_any_byte_is_refused)
{
	struct fake fake;
	struct wire_message welcome = welcome_to(&raw_hello);
	uint8_t bytes[WIRE_SIZE_MAX];
	size_t size = wire_pack(&welcome, bytes);

	fake_open(&fake, greet);
	for (size_t cut = 1; cut < size; cut++)
		ck_assert_int_eq(try_to_connect(&fake, CUT, cut), -EPROTO);
	fake_close(&fake);
}
END_TEST

START_TEST(a_greeting_that_is_none_is_refused_with_its_reason)
{
	static const int reasons[GREETINGS] = {
		[OVERSIZED] = -EPROTO,
		[OF_NO_TYPE] = -EPROTONOSUPPORT,
		[WITH_DESCRIPTORS] = -EPROTO,
		[OF_ANOTHER_VERSION] = -EPROTO,
		[TO_ANOTHER_SERIAL] = -EPROTO,
		[A_CLIENTS_WORD] = -EPROTO,
		[AN_ANSWER_TO_NOTHING] = -ETIMEDOUT,
		[FULL] = -EDQUOT,
		[SILENCE] = -ETIMEDOUT,
		[HANGS_UP] = -ECONNREFUSED,
	};
	struct fake fake;

	fake_open(&fake, greet);
	for (unsigned turn = OVERSIZED; turn < GREETINGS; turn++) {
		int result = try_to_connect(&fake, turn, 0);
		ck_assert_msg(result == reasons[turn], "turn %u: %d, not %d", turn, result, reasons[turn]);
	}
	fake_close(&fake);
}
END_TEST

/* ---- answers */

enum answer {
	NO_PIPE,
	NO_PIDFD,
	SWAPPED,
	WRITE_END,
	ONE_DESCRIPTOR,
	THREE_DESCRIPTORS,
	ANOTHER_ANSWER,
	JOINED_ANOTHER,
	CUT_ANSWER,
	GOODBYE,
	NO_ANSWER,
	ANSWERS,
};

static void answer_join(struct fake *fake, int fd)
{
	struct wire_message message,
		joined = {.type = WIRE_JOINED, .joined = {.id = {7, 1}, .owner_pid = getpid()}},
		report = {.type = WIRE_REPORT},
		goodbye = {.type = WIRE_GOODBYE, .goodbye = {.error = -ESHUTDOWN}};
	uint8_t bytes[WIRE_SIZE_MAX];
	int pipe_fds[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC),
			 pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	ck_assert_ok(pipe2(pipe_fds, O_CLOEXEC));
	joined.joined.deadline_ns = CTX_FOREVER;
	while (raw_receive_from_client(fd, &message)) {
		int fds[3] = {pipe_fds[0], pidfd, file};
		unsigned count = 2;
		if (message.type == WIRE_HELLO)
			welcome(fd, &message);
		if (message.type != WIRE_JOIN)
			continue;
		joined.serial = report.serial = message.serial;
		switch ((enum answer)fake->turn) {
		case NO_PIPE:
			fds[0] = file;
			break;
		case NO_PIDFD:
			fds[1] = file;
			break;
		case SWAPPED:
			fds[0] = pidfd, fds[1] = pipe_fds[0];
			break;
		case WRITE_END:
			fds[0] = pipe_fds[1];
			break;
		case ONE_DESCRIPTOR:
			count = 1;
			break;
		case THREE_DESCRIPTORS:
			count = 3;
			break;
		case ANOTHER_ANSWER:
			raw_send_message(fd, &report, NULL, 0);
			continue;
		case JOINED_ANOTHER:
			joined.serial += 1000;
			break;
		case CUT_ANSWER:
			raw_send(fd, bytes, wire_pack(&joined, bytes) - 1, fds, 2);
			continue;
		case GOODBYE:
			raw_send_message(fd, &goodbye, NULL, 0);
			goto end;
		case NO_ANSWER:
		case ANSWERS:
			continue;
		}
		raw_send_message(fd, &joined, fds, count);
	}
end:
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(file);
	close(pidfd);
}

/* Refused, or, where it cannot be told at once, joined and ended; nothing of it is left. */
START_TEST(an_answer_to_a_join_that_is_none_joins_nothing)
{
	struct fake fake;
	unsigned turn = (unsigned)_i;

	fake_open(&fake, answer_join);
	struct other other = fake_start(&fake, turn, 0);
	struct ctxd_options options = {.timeout_ns = SOON};
	struct ctxd_client *client = client_with(&fake.service, &options);
	struct ctx_context *joined = NULL;
	unsigned before = test_count_fds();
	if (turn == NO_ANSWER || turn == JOINED_ANOTHER)
		client->options.timeout_ns = PATIENCE;
	int result = ctxd_join(client, (struct ctxd_id){7, 1}, &joined);

	if (turn == NO_ANSWER || turn == JOINED_ANOTHER)
		ck_assert_int_eq(result, -ETIMEDOUT);
	else if (turn == NO_PIDFD || turn == SWAPPED || turn == WRITE_END)
		ck_assert(result == 0 || result == -EPROTO || result == -EPERM);
	else
		ck_assert_int_lt(result, 0);
	if (result == 0) {
		/* The end of the one that plays the service is the owner's as well. */
		other_kill(&other);
		ck_assert_ok(ctx_wait(joined, SOON));
		ctx_finish(joined);
	} else {
		ck_assert_ptr_null(joined);
		other_kill(&other);
	}
	ctxd_close(client);
	ck_assert_uint_le(test_count_fds(), before);
	fake_close(&fake);
}
END_TEST

/* ---- orders about what is not there, and what the client says to them */

static void give_orders(struct fake *fake, int fd)
{
	struct wire_message message, order = {.type = WIRE_ORDER, .order = {.pid = 1}};

	if (!raw_receive_from_client(fd, &message))
		return;
	welcome(fd, &message);
	for (unsigned i = 0; i < 3; i++) {
		order.serial = 100 + i;
		order.order.id = (struct ctxd_id){i < 2 ? 7 : 0, i < 2 ? 5 : 0};
		order.order.ctx_id = i == 0 ? 0 : 0x1234567890;
		raw_send_message(fd, &order, NULL, 0);
		do
			if (!raw_receive_from_client(fd, &message))
				_exit(1);
		while (message.type != WIRE_OBEYED);
		if (message.serial != order.serial || message.obeyed.result != -ENOENT)
			_exit(2);
	}
	tell(fake->channel, 'o');
	hear_out(fd);
	_exit(0);
}

START_TEST(an_order_about_what_is_not_there_ends_nothing_and_is_answered)
{
	struct fake fake;
	struct ctx_context *ctx = child_of(ctx_background());

	fake_open(&fake, give_orders);
	struct other other = fake_start(&fake, 0, 0);
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctxd_client *client = client_with(&fake.service, &options);

	expect(other.channel, 'o');
	ck_assert_live(ctx);
	ctx_finish(ctx);
	ctxd_close(client);
	ck_assert_int_eq(other_end(&other), 0);
	fake_close(&fake);
}
END_TEST

/* ---- a service that hangs */

START_TEST(a_stopped_service_delays_what_asks_it_and_no_end)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_options options = {.timeout_ns = SOON};
	struct ctxd_client *owner = client_with(&service, &options),
			   *joiner = client_with(&service, &options);
	struct ctx_context *ctx = child_of(ctx_background()), *joined, *other;
	struct ctxd_id id;
	int status;

	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	kill(service.pid, SIGSTOP);
	ck_assert_int_eq(waitpid(service.pid, &status, WUNTRACED), service.pid);
	joiner->options.timeout_ns = PATIENCE;
	ck_assert_int_eq(ctxd_join(joiner, id, &other), -ETIMEDOUT);
	ctx_cancel_cause(ctx, 0, "while it hung");
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_str_eq(cause_of(joined).text, "while it hung");
	kill(service.pid, SIGCONT);
	/* What was given to the join that had given up is given back. */
	ck_assert(await_listed(owner, CTXD_JOINED, 0));
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

/* ---- descriptors that are closed slowly */

static const struct {
	unsigned fd_count;
	bool empty, joins;
} slow_turns[] = {
	{1, .empty = false}, {3, .empty = false}, {RAW_FDS_MAX, .empty = false},
	{1, .empty = true},  {2, .empty = true},  {RAW_FDS_MAX, .empty = true},
	{2, .joins = true},
};

/* The client has the only copies when it receives them. */
static void answer_slowly(struct fake *fake, int fd)
{
	struct wire_message message, joined = {.type = WIRE_JOINED, .joined = {.id = {7, 1}, .owner_pid = 1}};
	struct lingering lingering = lingering_open();
	int fds[RAW_FDS_MAX];

	joined.joined.deadline_ns = CTX_FOREVER;
	for (unsigned i = 0; i < RAW_FDS_MAX; i++)
		fds[i] = lingering.fd;
	while (raw_receive_from_client(fd, &message)) {
		struct wire_message slow_welcome = welcome_to(&message);
		bool slow = message.type == (slow_turns[fake->turn].joins ? WIRE_JOIN : WIRE_HELLO);
		if (!slow && message.type == WIRE_HELLO)
			welcome(fd, &message);
		if (!slow)
			continue;
		joined.serial = message.serial;
		kill(getppid(), SIGSTOP);
		if (slow_turns[fake->turn].empty)
			raw_send(fd, "", 0, fds, slow_turns[fake->turn].fd_count);
		else
			raw_send_message(fd, message.type == WIRE_JOIN ? &joined : &slow_welcome, fds,
					 slow_turns[fake->turn].fd_count);
		close(lingering.fd);
		/* And one that is never received, for the connection is broken. */
		lingering = lingering_open();
		raw_send(fd, "", 0, &lingering.fd, 1);
		close(lingering.fd);
		kill(getppid(), SIGCONT);
	}
}

START_TEST(descriptors_that_are_closed_slowly_hold_up_no_call)
{
	struct fake fake;
	struct ctxd_client *client = NULL;
	struct ctx_context *joined;

	fake_open(&fake, answer_slowly);
	unsigned before = test_count_fds();
	struct other other = fake_start(&fake, (unsigned)_i, 0);
	struct ctxd_options options = {.socket = fake.service.socket, .timeout_ns = SOON};
	int result = ctxd_connect(&options, &client);
	if (slow_turns[_i].joins) {
		ck_assert_int_eq(result, 0);
		ck_assert_int_eq(ctxd_join(client, (struct ctxd_id){7, 1}, &joined), -EPROTO);
		ctxd_close(client);
	} else {
		ck_assert(result == -EPROTO || result == -ECONNREFUSED);
	}
	/* With the one that sent them their peers are gone, and nothing is waited for. */
	other_kill(&other);
	ck_assert(test_until(test_has_few_fds, &before));
	fake_close(&fake);
}
END_TEST

/* More than what waits to be closed has room for. */
#define FLOOD 3000

/* The turns of answer_without_end. */
enum {
	WITH_SOCKETS,
	WITH_EVENTFDS,
};

/* Behind one that cannot be closed come others without end, and none is what the message says. */
static void answer_without_end(struct fake *fake, int fd)
{
	struct wire_message message, joined = {.type = WIRE_JOINED, .joined = {.id = {7, 1}, .owner_pid = 1}};
	struct lingering lingering = lingering_open();
	int slow[] = {lingering.fd, lingering.fd};
	int event = eventfd(0, EFD_CLOEXEC), of = fake->turn == WITH_EVENTFDS ? event : fd;
	int wrong[2] = {of, of};

	joined.joined.deadline_ns = CTX_FOREVER;
	while (raw_receive_from_client(fd, &message)) {
		if (message.type == WIRE_HELLO)
			welcome(fd, &message);
		if (message.type == WIRE_JOIN)
			break;
	}
	joined.serial = message.serial;
	kill(getppid(), SIGSTOP);
	raw_send_message(fd, &joined, slow, 2);
	close(lingering.fd);
	kill(getppid(), SIGCONT);
	for (unsigned i = 0; i < FLOOD; i++)
		raw_send_message(fd, &joined, wrong, 2);
	tell(fake->channel, 'f');
	hear_out(fd);
}

/* Whether the thread that closes waits in a close(2). */
static bool closer_is_stuck(void *unused)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	bool stuck = false;

	(void)unused;
	ck_assert_ptr_nonnull(tasks);
	while (!stuck && (task = readdir(tasks))) {
		char path[300], line[64] = "";
		snprintf(path, sizeof(path), "/proc/self/task/%s/stat", task->d_name);
		FILE *file = fopen(path, "re");
		stuck = file && fgets(line, sizeof(line), file) && strstr(line, "(ctx-close) S");
		if (file)
			fclose(file);
	}
	closedir(tasks);
	return stuck;
}

/* Leaves the client's closing queue half full, behind a descriptor that is not closed before other ends. */
static struct other fill_closing_queue(struct fake *fake, unsigned turn)
{
	struct other other = fake_start(fake, turn, 0);
	struct ctxd_options options = {.socket = fake->service.socket, .timeout_ns = SOON};
	struct ctxd_client *client = NULL;
	struct ctx_context *joined;

	ck_assert_ok(ctxd_connect(&options, &client));
	ck_assert_int_eq(ctxd_join(client, (struct ctxd_id){7, 1}, &joined), -EPROTO);
	expect(other.channel, 'f');
	ctxd_close(client);
	/* Before that a forked child would have a copy of what cannot be closed, and might be the one that
	 * waits. */
	ck_assert(test_until(closer_is_stuck, NULL));
	return other;
}

static void raise_fd_limit(struct rlimit *ret_before)
{
	ck_assert_ok(getrlimit(RLIMIT_NOFILE, ret_before));
	struct rlimit more = {ret_before->rlim_max, ret_before->rlim_max};
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &more));
}

START_TEST(descriptors_without_end_end_the_connection_and_none_is_left)
{
	struct fake fake;
	struct rlimit limit;

	raise_fd_limit(&limit);
	fake_open(&fake, answer_without_end);
	unsigned before = test_count_fds();
	struct other other = fill_closing_queue(&fake, WITH_SOCKETS);
	other_kill(&other);
	ck_assert(test_until(test_has_few_fds, &before));
	fake_close(&fake);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
}
END_TEST

/* How a forked child uses the library. */
enum {
	CHILD_MAKES_A_CONTEXT,
	CHILD_CONNECTS,
	CHILD_HAS_CLOSED_ALL,
	CHILD_HAS_FORKED,   /* after it has closed all */
	CHILD_HAS_EVENTFDS, /* in place of those that it has closed */
	CHILD_WAYS,
};

struct forked {
	int way;
	unsigned few_fds;
};

/* Opens files up to number 600, which the closing queue has as well. Returns the first, or -1. */
static int open_files_of_the_program(int way)
{
	int first = way == CHILD_HAS_EVENTFDS ? eventfd(0, 0) : open("/dev/null", O_RDONLY);

	for (int fd = first + 1; first >= 0 && fd <= 600; fd++)
		if (dup2(first, fd) < 0)
			return -1;
	return first;
}

/* Makes a context, which starts the closing thread, and looks for the program's files once that has ended. */
static int files_are_kept(int first)
{
	struct ctx_context *ctx;
	struct stat tasks;

	if (ctx_with_cancel(ctx_background(), "child", &ctx))
		return 7;
	/* The thread that closes ends once it has been through the queue. A sanitizer may have another one.
	 */
	for (int i = 0; i < 2000 && !stat("/proc/self/task", &tasks) && tasks.st_nlink > 3; i++)
		usleep(1000);
	for (int fd = first; fd <= 600; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return 8;
	ctx_unref(ctx);
	return 0;
}

/*
 * A daemon closes all descriptors, and may fork again. What it opens has numbers that wait to be closed, and
 * stays open.
 */
static int keep_files_of_the_program(int way)
{
	int first, status;

	if (close_range(3, ~0u, 0) || (first = open_files_of_the_program(way)) < 0)
		return 5;
	pid_t pid = way == CHILD_HAS_FORKED ? fork() : 0;
	if (!pid)
		return files_are_kept(first);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 6;
}

static int use_library_in_child(void *data)
{
	struct forked *forked = data;
	struct ctxd_options options = {.socket = "/none"};
	struct ctxd_client *client;
	struct ctx_context *ctx = NULL;

	if (test_count_fds() <= forked->few_fds)
		return 1; /* nothing waited, and the test shows nothing */
	if (forked->way >= CHILD_HAS_CLOSED_ALL)
		return keep_files_of_the_program(forked->way);
	if (forked->way == CHILD_CONNECTS && ctxd_connect(&options, &client) != -ENOENT)
		return 2;
	if (forked->way == CHILD_MAKES_A_CONTEXT && ctx_with_cancel(ctx_background(), "child", &ctx))
		return 3;
	if (!test_until(test_has_few_fds, &forked->few_fds))
		return 4;
	if (ctx)
		ctx_unref(ctx);
	return 0;
}

/*
 * Goal: a child that is forked off while descriptors wait to be closed does not keep its copies of them.
 * Method: one that cannot be closed holds up a thousand others; the child uses the library, and counts.
 */
START_TEST(a_forked_child_closes_what_waited_once_it_uses_the_library)
{
	struct fake fake;
	struct rlimit limit;

	raise_fd_limit(&limit);
	fake_open(&fake, answer_without_end);
	unsigned before = test_count_fds();
	struct other other =
		fill_closing_queue(&fake, _i == CHILD_HAS_EVENTFDS ? WITH_EVENTFDS : WITH_SOCKETS);
	struct forked forked = {.way = _i, .few_fds = before + 16};
	ck_assert_int_eq(test_in_child(use_library_in_child, &forked), 0);
	other_kill(&other);
	ck_assert(test_until(test_has_few_fds, &before));
	fake_close(&fake);
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service fake");
	TCase *greetings = test_case(suite, "greetings"), *answers = test_case(suite, "answers");

	tcase_add_test(greetings, a_greeting_that_is_cut_at_any_byte_is_refused);
	tcase_add_test(greetings, a_greeting_that_is_none_is_refused_with_its_reason);
	tcase_add_loop_test(answers, an_answer_to_a_join_that_is_none_joins_nothing, 0, ANSWERS);
	tcase_add_test(answers, an_order_about_what_is_not_there_ends_nothing_and_is_answered);
	ON_EACH_LOOP(answers, a_stopped_service_delays_what_asks_it_and_no_end);
	tcase_add_loop_test(answers, descriptors_that_are_closed_slowly_hold_up_no_call, 0,
			    sizeof(slow_turns) / sizeof(slow_turns[0]));
	tcase_add_test(answers, descriptors_without_end_end_the_connection_and_none_is_left);
	tcase_add_loop_test(answers, a_forked_child_closes_what_waited_once_it_uses_the_library, 0,
			    CHILD_WAYS);
	return suite;
}
