/* SPDX-License-Identifier: MIT */
/*
 * Clients that arrive at a fixed rate, whatever the server does, each with one request on a connection of its
 * own. They come independently of each other, as people do, so the times between them are random and
 * distributed exponentially. Some of them close their connection early:
 *
 *   goodput PORT RATE WARM SECONDS LEAVING REQUEST ANSWER
 *
 * RATE clients a second arrive for WARM seconds, which are not counted, and for SECONDS, which are. LEAVING
 * percent of them leave after 10 ms. The others wait for their answer. An answer that begins with ANSWER is
 * good when it came within 500 ms of the time at which the client was to arrive; other answers are refusals.
 * Nobody arrives any more at the end, and after another second clients that still wait are given up.
 *
 * Prints one line. stay: clients that waited, and of these: good, late, refused, and silent, who had no
 * answer at the end. p50_ms, p99_ms: until the answer, refusals left out; for silent ones until the end.
 * answered: answers that were no refusals, those before the count began, too. bench/goodput.sh runs it.
 *
 * It uses no context and no ring, so that it measures others with the same client.
 */
#include "bench.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define LEAVE_NS UINT64_C(10000000)
#define GOOD_NS UINT64_C(500000000)
#define LAST_NS UINT64_C(1000000000)
#define ANSWER_MAX 64u

enum client_step {
	CLIENT_COMES,
	CLIENT_CONNECTS,
	CLIENT_WAITS,
	CLIENT_LEFT,
	CLIENT_ANSWERED,
	CLIENT_REFUSED,
};

struct client {
	enum client_step step;
	bool leaves;
	int fd;
	uint64_t due_ns;   /* when it is to arrive */
	uint64_t began_ns; /* when it did */
	uint64_t took_ns;  /* from due_ns until the answer */
	size_t length;	   /* of what it has received */
	char answer[ANSWER_MAX];
};

static struct {
	struct sockaddr_in address;
	int epoll_fd;
	const char *request, *answer;
	unsigned count, warm_count;
	unsigned arrived; /* clients that have begun, from the front of the array */
	unsigned stayed;  /* clients that do not leave any more, from the front of the array */
	struct client *clients;
} load;

static void client_end(struct client *client, enum client_step step)
{
	client->step = step;
	client->took_ns = bench_now_ns() - client->due_ns;
	close(client->fd);
}

static void client_begin(struct client *client)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = client}};

	client->began_ns = bench_now_ns();
	client->step = CLIENT_CONNECTS;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		bench_fail("socket: %s", strerror(errno));
	if (connect(client->fd, (struct sockaddr *)&load.address, sizeof(load.address)) &&
	    errno != EINPROGRESS)
		bench_fail("connect: %s", strerror(errno));
	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, client->fd, &event))
		bench_fail("epoll_ctl: %s", strerror(errno));
}

static void client_ready(struct client *client)
{
	ssize_t length = (ssize_t)strlen(load.request);

	if (client->step == CLIENT_CONNECTS) {
		ssize_t sent = send(client->fd, load.request, (size_t)length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent != length) {
			client_end(client, CLIENT_REFUSED);
			return;
		}
		client->step = CLIENT_WAITS;
	}
	if (client->step != CLIENT_WAITS)
		return;
	length = recv(client->fd, client->answer + client->length, ANSWER_MAX - client->length, 0);
	if (length < 0 && errno == EAGAIN)
		return;
	if (length > 0)
		client->length += (size_t)length;
	if (length > 0 && client->length < strlen(load.answer))
		return;
	client_end(client, client->length && !strncmp(client->answer, load.answer, strlen(load.answer))
				   ? CLIENT_ANSWERED
				   : CLIENT_REFUSED);
}

/* Lets those arrive and leave whose time has come. Returns the time of the next one. */
static uint64_t clients_come_and_leave(void)
{
	uint64_t now_ns = bench_now_ns(), next_ns = UINT64_MAX;

	while (load.arrived < load.count && load.clients[load.arrived].due_ns <= now_ns)
		client_begin(&load.clients[load.arrived++]);
	if (load.arrived < load.count)
		next_ns = load.clients[load.arrived].due_ns;
	/* All leave after the same time, so they leave in the order in which they came. */
	for (; load.stayed < load.arrived; load.stayed++) {
		struct client *client = &load.clients[load.stayed];
		if (!client->leaves || client->step > CLIENT_WAITS)
			continue;
		if (client->began_ns + LEAVE_NS > now_ns) {
			if (client->began_ns + LEAVE_NS < next_ns)
				next_ns = client->began_ns + LEAVE_NS;
			break;
		}
		client_end(client, CLIENT_LEFT);
	}
	return next_ns;
}

static bool somebody_waits(void)
{
	for (unsigned i = 0; i < load.count; i++)
		if (load.clients[i].step <= CLIENT_WAITS)
			return true;
	return false;
}

static void clients_run(void)
{
	struct epoll_event events[64];
	uint64_t end_ns = load.clients[load.count - 1].due_ns + LAST_NS, now_ns;

	while ((now_ns = bench_now_ns()) < end_ns && (load.arrived < load.count || somebody_waits())) {
		uint64_t next_ns = clients_come_and_leave(), left_ns;
		struct timespec timeout;
		int ready;

		now_ns = bench_now_ns();
		if (next_ns > end_ns)
			next_ns = end_ns;
		left_ns = next_ns > now_ns ? next_ns - now_ns : 0;
		timeout = (struct timespec){.tv_sec = (time_t)(left_ns / 1000000000),
					    .tv_nsec = (long)(left_ns % 1000000000)};
		ready = epoll_pwait2(load.epoll_fd, events, 64, &timeout, NULL);
		if (ready < 0 && errno != EINTR)
			bench_fail("epoll_pwait2: %s", strerror(errno));
		for (int i = 0; i < ready; i++)
			client_ready(events[i].data.ptr);
	}
	for (unsigned i = 0; i < load.arrived; i++)
		if (load.clients[i].step <= CLIENT_WAITS)
			load.clients[i].took_ns = bench_now_ns() - load.clients[i].due_ns;
}

/* More than 0, at most 1. Each run draws the same numbers; the constants are those of Knuth's MMIX. */
static double draw(uint64_t *random)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (double)((*random >> 33) + 1) / (double)(1u << 31);
}

static void clients_invite(double rate, unsigned leaving)
{
	double due_ns = (double)bench_now_ns() + 1e7;
	uint64_t random = 1;

	load.clients = bench_allocate(load.count, sizeof(*load.clients));
	for (unsigned i = 0; i < load.count; i++) {
		load.clients[i].due_ns = (uint64_t)due_ns;
		due_ns -= log(draw(&random)) / rate * 1e9;
		load.clients[i].leaves = draw(&random) * 100 <= leaving;
	}
}

static void clients_report(void)
{
	unsigned stay = 0, good = 0, late = 0, refused = 0, silent = 0, answered = 0, timed = 0;
	double *took_ms = bench_allocate(load.count, sizeof(*took_ms));

	for (unsigned i = 0; i < load.count; i++) {
		struct client *client = &load.clients[i];
		answered += client->step == CLIENT_ANSWERED;
		if (i < load.warm_count || client->leaves)
			continue;
		stay++;
		if (client->step == CLIENT_REFUSED) {
			refused++;
			continue;
		}
		if (client->step != CLIENT_ANSWERED)
			silent++;
		else if (client->took_ns <= GOOD_NS)
			good++;
		else
			late++;
		took_ms[timed++] = (double)client->took_ns / 1e6;
	}
	qsort(took_ms, timed, sizeof(*took_ms), bench_compare);
	printf("stay=%u good=%u late=%u refused=%u silent=%u p50_ms=%.1f p99_ms=%.1f answered=%u\n", stay,
	       good, late, refused, silent, timed ? took_ms[timed / 2] : 0,
	       timed ? took_ms[timed * 99 / 100] : 0, answered);
	free(took_ms);
}

int main(int count, char **arguments)
{
	struct rlimit limit;
	double rate;

	bench.name = "goodput";
	if (count != 8 || (rate = atof(arguments[2])) <= 0 || strlen(arguments[7]) > ANSWER_MAX)
		bench_fail("usage: goodput PORT RATE WARM SECONDS LEAVING REQUEST ANSWER");
	alarm(BENCH_CASE_SECONDS_MAX);
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	load.address = (struct sockaddr_in){.sin_family = AF_INET,
					    .sin_port = htons((uint16_t)atoi(arguments[1])),
					    .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	load.warm_count = (unsigned)(rate * atof(arguments[3]));
	load.count = load.warm_count + (unsigned)(rate * atof(arguments[4]));
	load.request = arguments[6];
	load.answer = arguments[7];
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll_fd < 0 || !load.count)
		bench_fail("cannot start");
	clients_invite(rate, (unsigned)atoi(arguments[5]));
	clients_run();
	clients_report();
	return 0;
}
