/* SPDX-License-Identifier: MIT */
/*
 * Passes the bytes of TCP connections on: what examples/fleet_hosts.sh has for a cable where it may not make
 * network namespaces. Stopped by SIGSTOP it is a cable that has been pulled out, and by SIGCONT it is put
 *back.
 *
 *	fleet_relay ADDRESS:PORT TO_ADDRESS:PORT
 */
#include <pthread.h>

#include "common.h"

struct way {
	int from, to;
};

static struct sockaddr_in target;

static void *way_pass(void *argument)
{
	struct way *way = argument;
	char bytes[16384];
	ssize_t size;

	while ((size = recv(way->from, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t sent = 0, now; sent < size; sent += now) {
			now = send(way->to, bytes + sent, (size_t)(size - sent), MSG_NOSIGNAL);
			if (now < 0)
				break;
		}
	/* Ends the other direction, too: its receive and its send then fail. */
	shutdown(way->from, SHUT_RDWR);
	shutdown(way->to, SHUT_RDWR);
	return NULL;
}

/* The thread of one connection, and of its first direction. */
static void *connection_pass(void *argument)
{
	struct way there = {.from = (int)(intptr_t)argument}, back;
	pthread_t thread;

	there.to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	back = (struct way){.from = there.to, .to = there.from};
	if (!connect(there.to, (struct sockaddr *)&target, sizeof(target)) &&
	    !pthread_create(&thread, NULL, way_pass, &back)) {
		way_pass(&there);
		pthread_join(thread, NULL);
	}
	close(there.from);
	close(there.to);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (argc != 3 || !parse_address(argv[1], &address) || !parse_address(argv[2], &target)) {
		fprintf(stderr, "Usage: fleet_relay ADDRESS:PORT TO_ADDRESS:PORT\n");
		return 2;
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 64)) {
		perror("fleet_relay");
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (fd < 0)
			continue;
		if (pthread_create(&thread, NULL, connection_pass, (void *)(intptr_t)fd))
			close(fd);
		else
			pthread_detach(thread);
	}
}
