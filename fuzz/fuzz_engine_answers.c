/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what the engine of a fleet reads from the server. The input is what a server says on the connections
 * of the engine, in pieces: the first byte of each is the size of the piece, and its highest bit the
 * connection. Time goes on when nothing else is left to do.
 */
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine_redis.h"

#define CONNECTIONS 2
/* More would mostly be connections that fail once more. */
#define PIECES_MAX 24

static int listener = -1;
static char address_text[96];
static bool is_up, is_listing;

static void ignore_message(void *link, const uint8_t *bytes, size_t size)
{
	/* Reads all of it, so that a sanitizer sees what is not there. */
	volatile uint8_t sum = 0;

	(void)link;
	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
}

static void note_up(void *link, bool fresh)
{
	(void)link;
	if (is_up || !fresh)
		abort();
	is_up = true;
}

static void note_down(void *link)
{
	(void)link;
	if (!is_up)
		abort();
	is_up = false;
}

static void ignore_writable(void *link)
{
	(void)link;
}

static void ignore_own_lease(void *link, uint64_t incarnation)
{
	(void)link;
	(void)incarnation;
}

static void check_lease(void *link, const char *host, uint64_t incarnation)
{
	(void)link;
	(void)incarnation;
	if (strcmp(host, "a") != 0 && strcmp(host, "b") != 0)
		abort();
}

static void check_host(void *link, const char *host, int error)
{
	(void)link;
	if (!is_listing || (host && (error || !*host || strlen(host) > 63)))
		abort();
	is_listing = host;
}

static void check_trouble(void *link, const char *text)
{
	(void)link;
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			abort();
}

static void remove_socket(void)
{
	unlink(address_text + strlen("unix:"));
}

static void open_listener(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (listener >= 0)
		return;
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/ctxring-fuzz-%d", getpid());
	snprintf(address_text, sizeof(address_text), "unix:%s", address.sun_path);
	unlink(address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 16))
		abort();
	atexit(remove_socket);
}

static void ask_all(struct engine *engine)
{
	const char *const hosts[] = {"a", "b"};

	engine->calls->send(engine, "a", (const uint8_t *)"x", 1);
	engine->calls->lease_take(engine, 1);
	engine->calls->lease_renew(engine, 1);
	engine->calls->lease_read(engine, hosts, 2);
	engine->calls->examine(engine);
	is_listing = true;
	engine->calls->hosts(engine);
}

/* What a server says whose greeting is right, so that the input is about what follows. The second connection
 * reads the inbox. */
static void greet(int fd, bool is_reader)
{
	static const char text[] = "*0\r\n*1\r\n+master\r\n+PONG\r\n*-1\r\n";
	size_t size = sizeof(text) - 1 - (is_reader ? 0 : strlen("*-1\r\n"));

	if (send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

/* Whether the engine has closed its end. What it asked is read and forgotten. */
static bool is_closed(int fd)
{
	char asked[65536];
	ssize_t size;

	do
		size = recv(fd, asked, sizeof(asked), MSG_DONTWAIT);
	while (size > 0);
	return size == 0;
}

static void accept_all(int fds[CONNECTIONS], bool greets)
{
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		if (fds[i] >= 0 && is_closed(fds[i])) {
			close(fds[i]);
			fds[i] = -1;
		}
		if (fds[i] >= 0)
			continue;
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fds[i] >= 0 && greets)
			greet(fds[i], i == 1);
	}
}

static void close_all(int fds[CONNECTIONS])
{
	int fd;

	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

static void turn(struct engine *engine, uint64_t *now_ns)
{
	struct pollfd poll_entry = {.fd = engine->calls->fd(engine), .events = POLLIN};
	uint64_t next_ns = engine->calls->next_ns(engine);

	if (poll(&poll_entry, 1, 0) == 0 && next_ns > *now_ns && next_ns != UINT64_MAX)
		*now_ns = next_ns;
	engine->calls->dispatch(engine, *now_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct engine_redis_config config = {
		.address = address_text, .fleet = "f", .host = "a", .lease_ns = 6000000000};
	struct engine_events events = {.message = ignore_message,
				       .up = note_up,
				       .down = note_down,
				       .writable = ignore_writable,
				       .own_lease = ignore_own_lease,
				       .lease = check_lease,
				       .trouble = check_trouble,
				       .host = check_host};
	int fds[CONNECTIONS] = {-1, -1};
	uint64_t now_ns = 1000000000;
	struct engine *engine;
	char reason[128];
	bool greets = size && data[0] & 1;

	open_listener();
	is_up = is_listing = false;
	if (engine_redis_open(&config, &events, &engine, reason, sizeof(reason)))
		abort();
	engine->calls->dispatch(engine, now_ns);
	for (size_t at = 1, pieces = 0; at < size && pieces < PIECES_MAX; pieces++) {
		size_t count = data[at] & 0x7f, left = size - at - 1;
		int fd;
		accept_all(fds, greets);
		turn(engine, &now_ns);
		if (is_up)
			ask_all(engine);
		if (count > left)
			count = left;
		fd = fds[data[at] >> 7];
		if (fd >= 0 && send(fd, data + at + 1, count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			now_ns++;
		at += 1 + count;
		turn(engine, &now_ns);
		turn(engine, &now_ns);
	}
	engine->calls->close(engine);
	close_all(fds);
	return 0;
}
