/* SPDX-License-Identifier: MIT */
/*
 * A busy server whose connections come and go, with httpd --park beside httpd without. No connection is idle
 * for long, so parking has nothing to save here, and must cost nothing.
 *
 * 64 clients keep their connections and ask for /slow?ms=5 again and again, 32 open a connection for each
 * file, and 16 open one, ask, and leave before the answer comes. Each turn starts a server of its own.
 *
 * The clients are in one thread, so on two processors they and the server get in each other's way little, and
 * the requests that are served in a second say what the server does. When other programs take the processors,
 * this says little. The processor time of the server for each request says it then.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "server.h"

#define LEAVE_NS 3000000u
#define SIDES 2u /* parked, pending */

enum kind {
	KEEPER, /* keeps its connection, and asks again */
	OPENER, /* opens a connection for each request */
	LEAVER, /* leaves before it has its answer */
	KINDS
};

static const struct {
	unsigned count;
	const char *request;
} kinds[] = {
	[KEEPER] = {64, "GET /slow?ms=5 HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	[OPENER] = {32, "GET /file?path=file HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"},
	[LEAVER] = {16, "GET /slow?ms=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"},
};

struct client {
	enum kind kind;
	int fd;
	size_t filled, expected; /* bytes of the answer; expected is 0 until its head is there */
	uint64_t until_ns;	 /* when a LEAVER leaves */
	char answer[4096];
};

#define CLIENTS_MAX 128u

static struct client clients[CLIENTS_MAX];
static unsigned client_count, port_now;
static int epoll_fd;
static uint64_t served[KINDS];

static void client_open(struct client *client)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port_now)};
	struct linger reset = {.l_onoff = 1};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (client->fd < 0 ||
	    (connect(client->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS))
		bench_fail("connect: %s", strerror(errno));
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event))
		bench_fail("epoll_ctl: %s", strerror(errno));
	client->filled = client->expected = 0;
	client->until_ns = 0;
}

static void client_ask(struct client *client)
{
	const char *request = kinds[client->kind].request;
	ssize_t length = (ssize_t)strlen(request);
	if (send(client->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
		bench_fail("send: %s", strerror(errno));
	client->filled = client->expected = 0;
	client->until_ns = bench_now_ns() + LEAVE_NS;
}

static void client_again(struct client *client)
{
	served[client->kind]++;
	if (client->kind == KEEPER) {
		client_ask(client);
		return;
	}
	close(client->fd);
	client_open(client);
}

static void client_read(struct client *client)
{
	ssize_t size = recv(client->fd, client->answer + client->filled,
			    sizeof(client->answer) - 1 - client->filled, 0);
	if (size < 0 && errno == EAGAIN)
		return;
	if (size <= 0)
		bench_fail("no answer: %s", size ? strerror(errno) : "closed");
	client->filled += (size_t)size;
	client->answer[client->filled] = '\0';
	if (!client->expected) {
		const char *body = strstr(client->answer, "\r\n\r\n");
		const char *length = strstr(client->answer, "Content-Length: ");
		if (!body || !length)
			return;
		if (strncmp(client->answer, "HTTP/1.1 200 ", 13))
			bench_fail("the answer is %.*s", (int)strcspn(client->answer, "\r"), client->answer);
		client->expected = (size_t)(body + 4 - client->answer) +
				   strtoul(length + strlen("Content-Length: "), NULL, 10);
	}
	if (client->filled >= client->expected)
		client_again(client);
}

static void client_event(struct client *client, uint32_t events)
{
	if (!client->until_ns && (events & EPOLLOUT))
		client_ask(client);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		client_read(client);
}

static void run_until(uint64_t end_ns)
{
	struct epoll_event events[64];
	for (;;) {
		int count = epoll_wait(epoll_fd, events, 64, 1);
		for (int i = 0; i < count; i++)
			client_event(events[i].data.ptr, events[i].events);
		uint64_t now_ns = bench_now_ns();
		for (unsigned i = 0; i < client_count; i++)
			if (clients[i].kind == LEAVER && clients[i].until_ns && now_ns >= clients[i].until_ns)
				client_again(&clients[i]);
		if (now_ns >= end_ns)
			return;
	}
}

struct side {
	char *arguments[12];
	double cpu[BENCH_TURNS_MAX], rate[BENCH_TURNS_MAX];
	unsigned turns;
	double seconds;
};

static double take_turn(void *data)
{
	struct side *side = data;
	int log = open("/dev/null", O_WRONLY | O_CLOEXEC), status;
	struct server server = server_start(side->arguments, log);
	port_now = server.port;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	client_count = 0;
	for (unsigned kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < kinds[kind].count; i++) {
			clients[client_count].kind = (enum kind)kind;
			client_open(&clients[client_count++]);
		}
	run_until(bench_now_ns() + 200000000);
	memset(served, 0, sizeof(served));
	double cpu_ns = server_cpu_ns(&server);
	uint64_t begin_ns = bench_now_ns();
	run_until(begin_ns + (uint64_t)(side->seconds * 1e9));
	double took_ns = (double)(bench_now_ns() - begin_ns);
	double all = (double)(served[KEEPER] + served[OPENER] + served[LEAVER]);
	side->cpu[side->turns] = (server_cpu_ns(&server) - cpu_ns) / all;
	side->rate[side->turns++] = all / took_ns * 1e9;
	for (unsigned i = 0; i < client_count; i++)
		close(clients[i].fd);
	close(epoll_fd);
	kill(server.pid, SIGTERM);
	if (waitpid(server.pid, &status, 0) != server.pid || status)
		bench_fail("httpd ended with status %d", status);
	close(server.out);
	close(log);
	return side->rate[side->turns - 1];
}

static void measure(char *ring, char *root)
{
	struct side sides[SIDES] = {
		{.arguments = {"httpd", "--quiet", "--ring", ring, "--root", root, "--park"}, .seconds = 2},
		{.arguments = {"httpd", "--quiet", "--ring", ring, "--root", root}, .seconds = 2},
	};
	const bench_side functions[] = {take_turn, take_turn};
	void *data[] = {&sides[0], &sides[1]};
	struct bench_turns turns, cpu;
	char name[64];
	snprintf(name, sizeof(name), "churn, %s", ring);
	if (!bench_wanted(name))
		return;
	for (unsigned i = 0; i < SIDES && bench.quick; i++)
		sides[i].seconds = 0.5;
	bench_take_turns(&turns, bench.quick ? 3 : 5, SIDES, functions, data);
	cpu = turns;
	for (unsigned turn = 0; turn < turns.count; turn++)
		for (unsigned i = 0; i < SIDES; i++)
			cpu.results[i][turn] = sides[i].cpu[turn];
	bench_report(name, bench_turns_median(&turns, 0), "req/s", bench_turns_ratio(&turns, 0, 1), "pending",
		     ">= 1.0");
	bench_report("pending", bench_turns_median(&turns, 1), "req/s", NAN, name, NULL);
	snprintf(name, sizeof(name), "processor time of a request, churn, %s", ring);
	bench_report(name, bench_turns_median(&cpu, 0), "ns", bench_turns_ratio(&cpu, 0, 1), "pending",
		     "<= 1.0");
	bench_report("pending", bench_turns_median(&cpu, 1), "ns", NAN, name, NULL);
}

int main(int count, char **arguments)
{
	char root[] = "/tmp/ctxring-churn.XXXXXX", path[64];
	bench_start("churn", count, arguments);
	signal(SIGPIPE, SIG_IGN);
	if (!server_find()) {
		fprintf(stderr, "churn: skipped: %s is not built\n", httpd);
		return 0;
	}
	if (!mkdtemp(root))
		bench_fail("%s: %s", root, strerror(errno));
	snprintf(path, sizeof(path), "%s/file", root);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	static const char text[1000];
	if (fd < 0 || write(fd, text, sizeof(text)) != (ssize_t)sizeof(text))
		bench_fail("%s: %s", path, strerror(errno));
	close(fd);
	measure("ordinary", root);
	measure("defer", root);
	unlink(path);
	rmdir(root);
	return 0;
}
