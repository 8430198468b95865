/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the service's broker: several clients of several users send arbitrary messages. The input is a
 * series of records. The first byte of a record says which client, and in its upper half which action; the
 * second is a size; that many bytes follow. The first of these chooses a type of message, the others are its
 * contents. At the end all clients leave, and broker_free() checks that no account is left with anything in
 * use.
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

static struct peer *peers[PEERS];
static int pipe_fd = -1, table_fd = -1;
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
	return full && (message->type == WIRE_ORDER || message->type == WIRE_EVENT ||
			message->type == WIRE_MOVED)
		       ? -EAGAIN
		       : 0;
}

static void open_peer(struct broker *broker, unsigned number)
{
	struct peer_output output = {.send = take_message};

	if (peers[number])
		return;
	struct identity identity = {
		.pid = (pid_t)number + 1, .uid = number / 2, .gid = number % 2, .pidfd = dup(pipe_fd)};
	if (peer_new(broker, &identity, &output, clock_ns, &peers[number]))
		peers[number] = NULL;
}

static void close_peer(unsigned number)
{
	if (peers[number])
		peer_free(peers[number], number & 1, clock_ns);
	peers[number] = NULL;
}

static void send_message(unsigned number, const uint8_t *data, size_t size)
{
	static const uint8_t types[] = {1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 12, 13, 14};
	uint8_t bytes[WIRE_SIZE_MAX] = {0};
	struct wire_message message;

	if (!size || !peers[number])
		return;
	bytes[0] = 0x43, bytes[1] = 0x54, bytes[2] = 0x58, bytes[3] = 0x44;
	bytes[4] = types[data[0] % sizeof(types)];
	memcpy(bytes + 16, data + 1, size - 1);
	/* The size of a message of this type is found by trying. What the input does not fill is zeros. */
	for (size_t total = 16; total <= 600; total += 4) {
		bytes[6] = (uint8_t)total;
		bytes[7] = (uint8_t)(total >> 8);
		for (unsigned count = 0; count <= 1; count++) {
			if (wire_unpack(bytes, total, count, false, &message))
				continue;
			int fd = count ? dup(message.type == WIRE_HELLO ? table_fd : pipe_fd) : -1;
			if (peer_receive(peers[number], bytes, total, &fd, count, clock_ns))
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
	if (pipe(ends))
		abort();
	pipe_fd = ends[0];
	table_fd = memfd_create("ctxring", MFD_ALLOW_SEALING);
	if (table_fd < 0 || ftruncate(table_fd, 65536) ||
	    fcntl(table_fd, F_ADD_SEALS, 0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config = config_default;
	config.contexts_max = 8;
	config.joins_max = 8;
	config.fds_max = 64;
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
