/* SPDX-License-Identifier: MIT */
/*
 * The engine of the fleet before a server that lies. The server is a part of the test: it understands what
 * the engine asks, and gives a wrong answer to one command, as often as it is told. Whatever that is, the
 * engine must not crash, and must work with the server once it is honest.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/engine_end.h"
#include "support/harness.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define CLIENTS_MAX 8
#define WORDS_MAX 80

struct client {
	int fd;
	char bytes[300000];
	size_t size;
	uint64_t wait_ns; /* When a waiting XREAD is answered; 0: none waits. */
};

static struct liar {
	char path[64];
	int fd;
	struct client clients[CLIENTS_MAX];
	/* The lie: to which command, what, how often. */
	const char *command, *lie;
	size_t lie_size;
	unsigned lies;
	bool closes;		   /* after a lie */
	const struct client *told; /* whom it lied to last */
	/* The inbox of everybody: what has come, and the number of the last. */
	struct {
		char field, value[32];
	} entries[8];
	unsigned count, number;
} liar;

static struct engine_end end;
static uint64_t now_ns;

/* So many turns without what is waited for: it never comes. */
#define TURNS_MAX 20000

/* ---- the server */

static void answer(const struct client *client, const char *text)
{
	size_t size = strlen(text);

	/* The engine may have closed. */
	if (send(client->fd, text, size, MSG_NOSIGNAL) != (ssize_t)size)
		return;
}

/* Gives the entries of the inbox, which it forgets. */
static void answer_entries(struct client *client)
{
	char text[64], id[16];

	snprintf(text, sizeof(text), "*1\r\n*2\r\n$5\r\ninbox\r\n*%u\r\n", liar.count);
	answer(client, text);
	for (unsigned i = 0; i < liar.count; i++) {
		snprintf(id, sizeof(id), "%u-1", ++liar.number);
		snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n*2\r\n$1\r\n%c\r\n", strlen(id), id,
			 liar.entries[i].field);
		answer(client, text);
		snprintf(text, sizeof(text), "$%zu\r\n%s\r\n", strlen(liar.entries[i].value),
			 liar.entries[i].value);
		answer(client, text);
	}
	liar.count = 0;
}

static void add_entry(const char *field, const char *value)
{
	if (liar.count == 8)
		return;
	liar.entries[liar.count].field = *field;
	snprintf(liar.entries[liar.count++].value, 32, "%s", value);
}

/* What an honest server says, to the commands of the engine. */
static void answer_honestly(struct client *client, char *const words[], unsigned count)
{
	char text[32];

	if (strcmp(words[0], "ROLE") == 0) {
		answer(client, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
	} else if (strcmp(words[0], "AUTH") == 0) {
		answer(client, "+OK\r\n");
	} else if (strcmp(words[0], "PING") == 0) {
		answer(client, "+PONG\r\n");
	} else if (strcmp(words[0], "HELLO") == 0) {
		answer(client, "*4\r\n$6\r\nserver\r\n$4\r\nliar\r\n$7\r\nversion\r\n$1\r\n1\r\n");
	} else if (strcmp(words[0], "XREAD") == 0) {
		if (strcmp(words[3], "BLOCK") != 0)
			answer(client, "*-1\r\n");
		else if (liar.count)
			answer_entries(client);
		else
			client->wait_ns = now_ns + 400000000;
	} else if (strcmp(words[0], "XADD") == 0) {
		add_entry(words[count - 2], words[count - 1]);
		answer(client, "$3\r\n1-1\r\n");
	} else if (strcmp(words[0], "SET") == 0) {
		answer(client, strcmp(words[3], "NX") == 0 ? "+OK\r\n" : "$16\r\n00000000000000ff\r\n");
	} else if (strcmp(words[0], "MGET") == 0) {
		snprintf(text, sizeof(text), "*%u\r\n", count - 1);
		answer(client, text);
		for (unsigned i = 1; i < count; i++)
			answer(client, "$16\r\n00000000000000ff\r\n");
	} else if (strcmp(words[0], "SCAN") == 0) {
		answer(client, "*2\r\n$1\r\n0\r\n*1\r\n$16\r\nctx:test:lease:x\r\n");
	} else {
		answer(client, ":0\r\n");
	}
}

static void answer_command(struct client *client, char *const words[], unsigned count)
{
	if (!liar.lies || strcmp(words[0], liar.command) != 0) {
		answer_honestly(client, words, count);
		return;
	}
	liar.lies--;
	liar.told = client;
	if (send(client->fd, liar.lie, liar.lie_size, MSG_NOSIGNAL) < 0)
		return;
	if (liar.closes)
		shutdown(client->fd, SHUT_RDWR);
}

/* Takes one command, an array of strings, out of what has come. False: it is not all there. */
static bool take_command(struct client *client)
{
	char *words[WORDS_MAX], *at = client->bytes, *last = client->bytes + client->size;
	unsigned count;

	*last = '\0';
	if (client->size < 4 || !strstr(at, "\r\n"))
		return false;
	ck_assert_int_eq(*at, '*');
	count = (unsigned)strtoul(at + 1, &at, 10);
	ck_assert_uint_le(count, WORDS_MAX);
	for (unsigned i = 0; i < count; i++) {
		size_t size;
		at += 2;
		if (at >= last || !strstr(at, "\r\n"))
			return false;
		ck_assert_int_eq(*at, '$');
		size = strtoul(at + 1, &at, 10);
		words[i] = at + 2;
		at += 2 + size;
		if (at + 2 > last)
			return false;
	}
	at += 2;
	for (unsigned i = 0; i < count; i++)
		*strstr(words[i], "\r\n") = '\0';
	answer_command(client, words, count);
	client->size = (size_t)(last - at);
	memmove(client->bytes, at, client->size);
	return true;
}

static void serve(struct client *client)
{
	ssize_t count = recv(client->fd, client->bytes + client->size,
			     sizeof(client->bytes) - 1 - client->size, MSG_DONTWAIT);

	if (count == 0 || (count < 0 && errno != EAGAIN)) {
		close(client->fd);
		*client = (struct client){.fd = -1};
		return;
	}
	client->size += count > 0 ? (size_t)count : 0;
	while (take_command(client))
		;
	if (!client->wait_ns || (!liar.count && now_ns < client->wait_ns))
		return;
	client->wait_ns = 0;
	if (liar.count)
		answer_entries(client);
	else
		answer(client, "*-1\r\n");
}

static void serve_all(void)
{
	int fd = accept4(liar.fd, NULL, NULL, SOCK_CLOEXEC);

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &liar.clients[i];
		if (client->fd < 0 && fd >= 0) {
			client->fd = fd;
			fd = -1;
		}
		if (client->fd >= 0)
			serve(client);
	}
	ck_assert_int_lt(fd, 0);
}

static void start(const char *user)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char text[96];

	now_ns = 1000000000;
	memset(&liar, 0, sizeof(liar));
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		liar.clients[i].fd = -1;
	strcpy(liar.path, "/tmp/ctxring-liar-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(liar.path));
	strcat(liar.path, "/s");
	liar.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(liar.fd, 0);
	strcpy(address.sun_path, liar.path);
	ck_assert_ok(bind(liar.fd, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(listen(liar.fd, 8));
	snprintf(text, sizeof(text), "unix:%s", liar.path);
	engine_end_open(&end, "a", text, 300, user, NULL);
}

static void stop(void)
{
	engine_end_close(&end);
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (liar.clients[i].fd >= 0)
			close(liar.clients[i].fd);
	close(liar.fd);
	unlink(liar.path);
	*strrchr(liar.path, '/') = '\0';
	ck_assert_ok(rmdir(liar.path));
}

/* One turn of both. */
static void turn(void)
{
	const struct engine_calls *calls = end.engine->calls;
	struct pollfd poll_entry = {.fd = calls->fd(end.engine), .events = POLLIN};
	uint64_t next_ns = calls->next_ns(end.engine);

	serve_all();
	if (poll(&poll_entry, 1, 0) == 0 && next_ns > now_ns) {
		for (unsigned i = 0; i < CLIENTS_MAX; i++)
			if (liar.clients[i].wait_ns && liar.clients[i].wait_ns < next_ns)
				next_ns = liar.clients[i].wait_ns;
		now_ns = next_ns;
	}
	calls->dispatch(end.engine, now_ns);
}

static void ask_all(void)
{
	const struct engine_calls *calls = end.engine->calls;
	const char *const hosts[] = {"x", "y"};

	calls->send(end.engine, "a", (const uint8_t *)"hello", 5);
	calls->lease_take(end.engine, 0xff);
	calls->lease_renew(end.engine, 0xff);
	calls->lease_read(end.engine, hosts, 2);
	end.is_list_over = false;
	calls->hosts(end.engine);
	calls->examine(end.engine);
}

static void await_up(void)
{
	for (unsigned turns = 0; !end.is_up; turns++) {
		turn();
		ck_assert_msg(turns < TURNS_MAX, "never up: %s", end.all_troubles);
	}
}

/* Everything works. */
static void check_honest(void)
{
	await_up();
	end.messages = end.own_leases = end.leases = end.examined = 0;
	ask_all();
	for (unsigned turns = 0;
	     !end.messages || end.own_leases < 2 || end.leases < 2 || !end.is_list_over || !end.examined;
	     turns++) {
		turn();
		if (!end.is_up) {
			await_up();
			ask_all();
		}
		ck_assert_msg(turns < TURNS_MAX, "never honest again: %s", end.all_troubles);
	}
	ck_assert_mem_eq(end.bytes, "hello", 5);
	ck_assert_uint_eq(end.own_lease, 0xff);
}

/* ---- the lies */

static const char *const commands[] = {"AUTH", "HELLO",	  "ROLE", "PING", "XREAD", "XADD",
				       "SET",  "PEXPIRE", "MGET", "SCAN", "XTRIM"};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Deep: more arrays in arrays than hiredis reads. Long: a line without an end. */
#define DEEP "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"
static char long_line[70000];

static const char *const lies[] = {
	"+OK\r\n",
	"+\r\n",
	":1\r\n",
	":-9223372036854775808\r\n",
	":99999999999999999999999\r\n",
	"$-1\r\n",
	"$0\r\n\r\n",
	"$3\r\nxyz\r\n",
	"$3\r\n\0\0\0\r\n",
	"$-7\r\n",
	"$600000000\r\nxyz",
	"$9223372036854775807\r\nxyz",
	"*-1\r\n",
	"*0\r\n",
	"*-2\r\n",
	"*1\r\n*0\r\n",
	"*1\r\n$-1\r\n",
	"*2\r\n:1\r\n:2\r\n",
	"*2\r\n$1\r\n0\r\n*-1\r\n",
	"*2\r\n$30\r\n012345678901234567890123456789\r\n*0\r\n",
	"*2\r\n$1\r\n0\r\n*3\r\n:1\r\n$-1\r\n$16\r\nctx:test:lease:!\r\n",
	"*2\r\n$16\r\nxxxxxxxxxxxxxxxx\r\n$16\r\n0000000000000000\r\n",
	"*4097\r\n",
	"*2147483647\r\n",
	"*9223372036854775807\r\n",
	DEEP,
	"*3\r\n$5\r\nslave\r\n:0\r\n*0\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*-1\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*0\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*0\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n0-0\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$22\r\n99999999999999999999-1\r\n*2\r\n$1\r\nb\r\n$"
	"1\r\nx\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*1\r\n$1\r\nb\r\n",
	"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nb\r\n*0\r\n",
	"-ERR no\r\n",
	"-\r\n",
	"-READONLY You can't write against a read only replica.\r\n",
	"-LOADING Redis is loading the dataset in memory\r\n",
	"-NOAUTH Authentication required.\r\n",
	"-NOPERM no\r\n",
	"-OOM command not allowed\r\n",
	"-MISCONF no\r\n",
	"-MOVED 1 127.0.0.1:1\r\n",
	"-ERR \001\002\033[31m\377\r\n",
	"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
	"x\r\n",
	"\r\n",
	"\n",
	"%1\r\n+a\r\n+b\r\n",
	"_\r\n",
	">2\r\n+a\r\n+b\r\n",
	"",
	"+OK\r\n+OK\r\n+OK\r\n",
	long_line,
};
#define LIES (sizeof(lies) / sizeof(lies[0]))

/* Closes all connections, so that the greetings come again. */
static void hang_up(void)
{
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (liar.clients[i].fd >= 0)
			shutdown(liar.clients[i].fd, SHUT_RDWR);
}

static void lie_about(const char *command, const char *lie, bool closes)
{
	bool is_greeting = (!strcmp(command, "AUTH") || !strcmp(command, "HELLO"));

	liar.command = command;
	liar.lie = lie;
	liar.lie_size = strlen(lie);
	/* Within this one there are NULs. */
	if (liar.lie_size == 4 && strcmp(lie, "$3\r\n") == 0)
		liar.lie_size = 9;
	liar.lies = 1;
	liar.closes = closes;
	liar.count = 0;
	if (is_greeting)
		hang_up();
	else
		ask_all();
	for (unsigned turns = 0; liar.lies; turns++) {
		bool was_up = end.is_up;
		turn();
		if (end.is_up && !was_up)
			ask_all();
		ck_assert_msg(turns < TURNS_MAX, "%s was never asked", command);
	}
	check_honest();
}

/* One command of the list for each run of the test. */
START_TEST(no_lie_is_believed)
{
	const char *command = commands[_i];

	memset(long_line, 'x', sizeof(long_line) - 1);
	long_line[0] = '+';
	start("user");
	check_honest();
	for (unsigned i = 0; i < LIES; i++)
		lie_about(command, lies[i], false);
	stop();
}
END_TEST

/* The connection ends in the middle of each lie. */
START_TEST(no_answer_is_needed_whole)
{
	const char *command = commands[_i];
	static const char message[] =
		"*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nb\r\n$1\r\nx\r\n";
	char part[sizeof(message)];

	start("user");
	check_honest();
	for (size_t size = 0; size < sizeof(message) - 1; size += 3) {
		memcpy(part, message, size);
		part[size] = '\0';
		lie_about(command, part, true);
	}
	stop();
}
END_TEST

/* Which answers are the end of the link, and what is said of it. */
START_TEST(answers_have_their_consequences)
{
	static const struct {
		const char *command, *lie, *trouble;
		bool is_down;
	} cases[] = {
		{"SET", "-READONLY You can't write\r\n", "is lost: SET: READONLY You can't write", true},
		{"XADD", "-LOADING Redis is loading\r\n", "is lost: XADD: LOADING Redis is loading", true},
		{"MGET", "-NOAUTH no\r\n", "is lost: MGET: NOAUTH no", true},
		{"XADD", ":1\r\n", "is lost: the answer to XADD makes no sense", true},
		{"MGET", "*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n", "the answer to MGET makes no sense", true},
		{"SCAN", "*4097\r\n", "is lost: an answer is malformed: it is too large", true},
		{"XREAD", ":1\r\n", "the answer to XREAD makes no sense", true},
		{"XREAD", "$1\r\nx\r\n:1\r\n", "the answer to XREAD makes no sense", true},
		{"PEXPIRE", "$100000000\r\n", "is lost: no answer", true},
		{"XADD", "-OOM full\r\n", "XADD: OOM full", false},
		{"SET", "-MISCONF no disk\r\n", "SET: MISCONF no disk", false},
		{"MGET", "-NOPERM \033[31m\r\n", "MGET: NOPERM ?[31m", false},
		{"MGET", "*1\r\n$3\r\nxyz\r\n", "the lease of this host holds something else", false},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned downs;
		start(NULL);
		check_honest();
		downs = end.downs;
		*end.all_troubles = '\0';
		lie_about(cases[i].command, cases[i].lie, false);
		ck_assert_msg(strstr(end.all_troubles, cases[i].trouble), "%s: %s", cases[i].lie,
			      end.all_troubles);
		ck_assert_msg((end.downs > downs) == cases[i].is_down, "%s: %s", cases[i].lie,
			      end.all_troubles);
		stop();
	}
}
END_TEST

/* ---- time */

/* A turn of both, after so much time. */
static void turn_after(uint64_t ns)
{
	serve_all();
	now_ns += ns;
	end.engine->calls->dispatch(end.engine, now_ns);
}

#define STEP_NS 100000000ull
#define SLOW_SIZE 60000

/* The beginning of an answer with one entry of SLOW_SIZE bytes. */
static void begin_slow_answer(void)
{
	start(NULL);
	check_honest();
	end.messages = 0;
	liar.command = "XREAD";
	liar.lie = "*1\r\n*2\r\n$5\r\ninbox\r\n*1\r\n*2\r\n$6\r\n9999-1\r\n*2\r\n$1\r\nb\r\n$60000\r\n";
	liar.lie_size = strlen(liar.lie);
	liar.closes = false;
	for (liar.lies = 1; liar.lies;)
		turn();
}

static void send_slowly(size_t count)
{
	char bytes[1000];

	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(send(liar.told->fd, bytes, count, MSG_NOSIGNAL), (ssize_t)count);
}

/* While bytes come the link is there; when none come it is lost. */
START_TEST(an_answer_may_come_slowly)
{
	unsigned downs, steps;

	begin_slow_answer();
	downs = end.downs;
	for (size_t sent = 0; sent < SLOW_SIZE; sent += 1000) {
		send_slowly(1000);
		turn_after(STEP_NS);
		ck_assert_msg(end.is_up && end.downs == downs, "%s", end.trouble);
	}
	answer(liar.told, "\r\n");
	turn_after(STEP_NS);
	ck_assert_uint_eq(end.messages, 1);
	ck_assert_uint_eq(end.size, SLOW_SIZE);
	ck_assert_uint_eq(end.downs, downs);
	stop();

	begin_slow_answer();
	downs = end.downs;
	send_slowly(1000);
	for (steps = 0; end.is_up && steps < 100; steps++)
		turn_after(STEP_NS);
	/* SERVER_SILENCE_NS */
	ck_assert_uint_ge(steps, 9);
	ck_assert_uint_le(steps, 11);
	ck_assert_ptr_nonnull(strstr(end.trouble, "no answer"));
	stop();
}
END_TEST

/* But not for ever. */
START_TEST(an_answer_has_to_end)
{
	unsigned steps;

	begin_slow_answer();
	for (steps = 0; end.is_up && steps < 1000; steps++) {
		send_slowly(10);
		turn_after(STEP_NS);
	}
	ck_assert_uint_ge(steps, 90);
	ck_assert_uint_le(steps, 102);
	stop();
}
END_TEST

/* A turn that comes seconds late is no silence of the server, but what follows may be. */
START_TEST(a_late_turn_is_not_silence)
{
	unsigned downs;

	start(NULL);
	check_honest();
	downs = end.downs;
	ask_all();
	end.engine->calls->dispatch(end.engine, now_ns);
	now_ns += 5000000000;
	end.engine->calls->dispatch(end.engine, now_ns);
	ck_assert_msg(end.downs == downs, "%s", end.trouble);
	check_honest();
	ck_assert_uint_eq(end.downs, downs);

	/* What came before is read first. Then one late turn is allowed, and no second one. */
	ask_all();
	end.engine->calls->dispatch(end.engine, now_ns);
	for (unsigned turns = 0; turns < 4; turns++) {
		now_ns += 5000000000;
		end.engine->calls->dispatch(end.engine, now_ns);
		ck_assert(turns > 0 || end.downs == downs);
	}
	ck_assert_uint_eq(end.downs, downs + 1);
	stop();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("engine_liar");
	TCase *all = test_case(suite, "lies");

	tcase_add_loop_test(all, no_lie_is_believed, 0, COMMANDS);
	tcase_add_loop_test(all, no_answer_is_needed_whole, 0, COMMANDS);
	tcase_add_test(all, answers_have_their_consequences);
	tcase_add_test(all, an_answer_may_come_slowly);
	tcase_add_test(all, an_answer_has_to_end);
	tcase_add_test(all, a_late_turn_is_not_silence);
	return suite;
}
