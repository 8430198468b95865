/* SPDX-License-Identifier: MIT */
/* Rings whose operations park, and TCP listeners that operations wait on. */
#ifndef TEST_PARKING_H
#define TEST_PARKING_H

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

#endif
