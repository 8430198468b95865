/* SPDX-License-Identifier: MIT */
/*
 * A client that sends one request after the other, each on a new connection, and either waits for the answer
 * or closes the connection before it comes:
 *
 *   leave PORT SECONDS LEAVE_MS PATH      LEAVE_MS 0: stays until the server closes
 *
 * Prints how many requests it sent. bench/httpd.sh runs it beside wrk.
 */
#include "bench.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static int connect_to(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		bench_fail("port %u: %s", port, strerror(errno));
	return fd;
}

/* Reads until the server closes, or until leave_ms have passed. */
static void request(unsigned port, int leave_ms, const char *path)
{
	char text[512], answer[4096];
	uint64_t until_ns = bench_now_ns() + (uint64_t)leave_ms * 1000000;
	int fd = connect_to(port);
	int length = snprintf(text, sizeof(text),
			      "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
	if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length)
		bench_fail("send: %s", strerror(errno));
	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		uint64_t now_ns = bench_now_ns();
		int left_ms = -1;
		if (leave_ms) {
			if (now_ns >= until_ns)
				break;
			left_ms = (int)((until_ns - now_ns + 999999) / 1000000);
		}
		if (poll(&poll_fd, 1, left_ms) > 0 && recv(fd, answer, sizeof(answer), 0) <= 0)
			break;
	}
	close(fd);
}

int main(int count, char **arguments)
{
	unsigned requests = 0;
	bench.name = "leave";
	if (count != 5)
		bench_fail("usage: leave PORT SECONDS LEAVE_MS PATH");
	alarm(BENCH_CASE_SECONDS_MAX);
	uint64_t end_ns = bench_now_ns() + (uint64_t)(atof(arguments[2]) * 1e9);
	for (; bench_now_ns() < end_ns; requests++)
		request((unsigned)atoi(arguments[1]), atoi(arguments[3]), arguments[4]);
	printf("%u\n", requests);
	return 0;
}
