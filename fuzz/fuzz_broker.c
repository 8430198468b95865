/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the service's broker: several clients of several users send arbitrary messages, one of them as the
 * bridge of a fleet. The input is a series of records. The first byte of a record says which client, and in
 * its upper half which action; the second is a size; that many bytes follow. The first of these chooses a
 * type of message, the others are its contents; the last one also chooses the pipe that comes with it. At the
 * end all clients leave, and broker_free() checks that no account is left with anything in use.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker.h"
#include "log.h"

#define PEERS 4
#define PIPES 4

static struct peer *peers[PEERS];
static int pipe_fds[PIPES], table_fd = -1, answer_fd = -1;
static uint64_t last_fetch, last_asked; /* Their latest serials. */
static struct wire_global last_global;
static uint64_t clock_ns;
static bool full;

static int take_message(void *link, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	(void)link;
	(void)fds;
	if (fd_count != wire_fd_count(message))
		abort();
	wire_pack(message, bytes);
	return 0;
}

static int take_offered(void *link, const struct wire_message *message, const int *fds, unsigned fd_count)
{
	take_message(link, message, fds, fd_count);
	if (full)
		return -EAGAIN;
	if (message->type == WIRE_ASKED)
		last_asked = message->serial;
	if (message->type != WIRE_FETCH)
		return 0;
	last_fetch = message->serial;
	last_global = message->fetch.global;
	return 0;
}

static void open_peer(struct broker *broker, unsigned number)
{
	struct peer_output output = {.send = take_message, .offer = take_offered};

	if (peers[number])
		return;
	struct identity identity = {
		.pid = (pid_t)number + 1, .uid = number / 2, .gid = number % 2, .pidfd = dup(pipe_fds[0])};
	if (peer_new(broker, &identity, &output, clock_ns, &peers[number]))
		peers[number] = NULL;
}

static void close_peer(unsigned number)
{
	if (peers[number])
		peer_free(peers[number], number & 1, clock_ns);
	peers[number] = NULL;
}

/* Random bytes do not find what a message must name, so it is put in. */
static void name_what_is_there(struct wire_message *message, uint8_t choice)
{
	struct wire_global far = {.id = {9, choice % 4 + 1u}, .secret = 5, .host = "far"};

	if (message->type == WIRE_BRIDGE)
		*message = (struct wire_message){.type = WIRE_BRIDGE, .bridge = {.host = "here"}};
	if (message->type == WIRE_JOIN_GLOBAL && !(choice & 1))
		message->join_global.global = far;
	if (message->type == WIRE_TELL)
		message->serial = last_asked;
	if (message->type != WIRE_MIRROR || choice & 1)
		return;
	message->mirror.uid = !(choice >> 1 & 1);
	if (!message->mirror.fetch)
		message->mirror.global = far;
	else if (last_global.secret)
		message->mirror.global = last_global;
	if (message->mirror.fetch && last_fetch)
		message->mirror.fetch = last_fetch;
}

static void send_message(unsigned number, const uint8_t *data, size_t size)
{
	static const uint8_t types[] = {1,  2,	2,  3,	4,  5,	6,  6,	7,  8,	9,  10, 11,
					12, 12, 13, 14, 15, 15, 16, 17, 17, 18, 18, 19, 20};
	uint8_t bytes[WIRE_SIZE_MAX] = {0}, packed[WIRE_SIZE_MAX];
	struct wire_message message;

	if (!size || !peers[number])
		return;
	bytes[0] = 0x43, bytes[1] = 0x54, bytes[2] = 0x58, bytes[3] = 0x44;
	bytes[4] = types[data[0] % sizeof(types)];
	memcpy(bytes + 16, data + 1, size - 1);
	/* The host of a global id is hard to find as well. */
	if (bytes[4] == WIRE_JOIN_GLOBAL || bytes[4] == WIRE_MIRROR || bytes[4] == WIRE_BRIDGE) {
		size_t at = 16 + (bytes[4] == WIRE_JOIN_GLOBAL ? 24 : bytes[4] == WIRE_MIRROR ? 32 : 0);
		memset(bytes + at, 0, CTX_HOST_MAX);
		memcpy(bytes + at, "here", 4);
	}
	/* The size of a message of this type is found by trying. What the input does not fill is zeros. */
	for (size_t total = 16; total <= 600; total += 4) {
		bytes[6] = (uint8_t)total;
		bytes[7] = (uint8_t)(total >> 8);
		for (unsigned count = 0; count <= 1; count++) {
			if (wire_unpack(bytes, total, count, false, &message))
				continue;
			name_what_is_there(&message, data[size - 1]);
			int given = message.type == WIRE_HELLO	? table_fd
				    : message.type == WIRE_TELL ? answer_fd
								: pipe_fds[data[size - 1] >> 3 & (PIPES - 1)];
			int fd = count ? dup(given) : -1;
			if (peer_receive(peers[number], packed, wire_pack(&message, packed), &fd, count,
					 clock_ns))
				close_peer(number);
			return;
		}
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int ends[2];

	(void)argc;
	(void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	for (int i = 0; i < PIPES; i++) {
		if (pipe(ends))
			abort();
		pipe_fds[i] = ends[0];
	}
	table_fd = memfd_create("ctxring", MFD_ALLOW_SEALING);
	if (table_fd < 0 || ftruncate(table_fd, 65536) ||
	    fcntl(table_fd, F_ADD_SEALS, 0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		abort();
	answer_fd = memfd_create("answer", MFD_ALLOW_SEALING);
	if (answer_fd < 0 ||
	    fcntl(answer_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config = config_default;
	config.contexts_max = 8;
	config.joins_max = 8;
	last_fetch = last_asked = 0;
	config.fds_max = 64;
	config.fleet.remote_joins_max = 8;
	config.fleet.remote_contexts_max = 4;
	strcpy(config.fleet.engine, "redis://nowhere");
	strcpy(config.fleet.host, "here");
	struct broker *broker = broker_new(&config, 1);

	for (size_t at = 0; broker && at + 2 <= size;) {
		unsigned number = data[at] % PEERS, action = data[at] >> 4;
		size_t length = data[at + 1];
		at += 2;
		if (length > size - at)
			length = size - at;
		open_peer(broker, number);
		if (action == 15)
			close_peer(number);
		else if (action == 14)
			broker_tick(broker, clock_ns += 1000000000ull << length % 8);
		else if (action == 13)
			full = !full;
		else if (action == 12 && peers[number])
			peer_writable(peers[number]);
		else
			send_message(number, data + at, length);
		at += length;
	}
	full = false;
	for (unsigned i = 0; i < PEERS; i++)
		close_peer(i);
	if (broker)
		broker_free(broker);
	return 0;
}
