/* SPDX-License-Identifier: MIT */
/* Rings whose operations park, with or without an outer event loop, and sockets that operations wait on. */
#ifndef TEST_PARKING_H
#define TEST_PARKING_H

#include <sys/mman.h>
#include <sys/un.h>

#include "support/rings.h"

static inline struct ctx_ring *parking_ring(int i)
{
	return ring_with(parking_kind(i), 8, NULL);
}

/* The last report of a batch on a parking_ring_noted(), and how many there were. */
static struct ctx_batch last_batch;
static unsigned batches;

static inline void note_batch(struct ctx_ring *ring, const struct ctx_batch *batch, void *data)
{
	(void)ring;
	(void)data;
	last_batch = *batch;
	batches++;
}

static inline struct ctx_ring *parking_ring_noted(int i)
{
	struct ctx_ring_options options = {.batch = note_batch};

	batches = 0;
	return ring_with(parking_kind(i), 8, &options);
}

static inline void connect_to(int listener, int *ret_fd)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	ck_assert_ok(getsockname(listener, (struct sockaddr *)&address, &size));
	*ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_ok(connect(*ret_fd, (struct sockaddr *)&address, size));
}

static inline int listener_new(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(bind(listener, (struct sockaddr *)&address, sizeof(address)));
	ck_assert_ok(listen(listener, 16));
	return listener;
}

/* A ring that parks, a context, and a pair for its operations to wait on. */
struct parked {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct pair pair;
};

static inline struct parked parked_begin(struct ctx_ring *ring)
{
	return (struct parked){ring, child_of(ctx_background()), pair_new()};
}

static inline void parked_end(struct parked *on)
{
	ring_end(on->ring);
	ctx_finish(on->ctx);
	pair_end(on->pair);
}

static inline bool is_readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* As an outer event loop does: dispatches only when it is told to. */
static inline bool ends_when_told(struct ctx_ring *ring, const struct probe *probe)
{
	int fd = ctx_ring_fd(ring);

	while (!probe->finals && is_readable(fd, 30000))
		ctx_ring_dispatch(ring, 0);
	return probe->finals == 1;
}

/* Dispatches until the outer loop has nothing to do. */
static inline void dispatch_until_quiet(struct ctx_ring *ring)
{
	for (int i = 0; i < 100 && is_readable(ctx_ring_fd(ring), 20); i++)
		ctx_ring_dispatch(ring, 0);
	ck_assert(!is_readable(ctx_ring_fd(ring), 0));
}

/* Reads what there is. */
static inline void empty(int fd)
{
	static char block[65536];

	while (recv(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
}

static inline int datagram_receiver(struct sockaddr_un *ret_address, socklen_t *ret_size)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	ck_assert_ok(bind(fd, (struct sockaddr *)ret_address, sizeof(sa_family_t)));
	*ret_size = sizeof(*ret_address);
	ck_assert_ok(getsockname(fd, (struct sockaddr *)ret_address, ret_size));
	return fd;
}

static inline char *two_pages(void)
{
	char *memory = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(memory != MAP_FAILED);
	return memory;
}

#endif
