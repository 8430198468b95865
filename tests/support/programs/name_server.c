/* SPDX-License-Identifier: MIT */
/*
 * A name server for tests, on a UDP port of 127.0.0.1 that the kernel chooses. It answers every question for
 * an address with 192.0.2.7, except that names that begin with "none" do not exist and those that begin with
 * "silent" get no answer. Serves until it is killed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER 12

/* Where the first question ends, 0: nowhere. */
static size_t question_end(const unsigned char *message, size_t length)
{
	size_t at = HEADER;

	while (at < length && message[at])
		at += message[at] + 1u;
	at += 1 + 4;
	return at <= length ? at : 0;
}

static size_t answer(unsigned char *message, size_t end)
{
	/* The name of the question, A, IN, for a minute, four bytes. */
	static const unsigned char record[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7};
	int none = !memcmp(message + HEADER, "\4none", 5);

	/* A reply to what was asked recursively; one question, at most one answer, and no more. */
	message[2] = 0x81;
	message[3] = none ? 0x83 : 0x80;
	memset(message + 6, 0, HEADER - 6);
	if (none)
		return end;
	message[7] = 1;
	memcpy(message + end, record, sizeof(record));
	return end + sizeof(record);
}

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET}, peer;
	socklen_t size = sizeof(address);
	unsigned char message[1024];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) ||
	    getsockname(fd, (struct sockaddr *)&address, &size))
		return 1;
	setlinebuf(stdout);
	printf("port=%d\n", ntohs(address.sin_port));
	for (;;) {
		ssize_t length;
		size_t end;

		size = sizeof(peer);
		length = recvfrom(fd, message, 512, 0, (struct sockaddr *)&peer, &size);
		end = length > HEADER + 7 ? question_end(message, (size_t)length) : 0;
		if (!end)
			continue;
		printf("asked for %.6s\n", (const char *)message + HEADER + 1);
		if (memcmp(message + HEADER, "\6silent", 7))
			sendto(fd, message, answer(message, end), 0, (struct sockaddr *)&peer, size);
	}
}
