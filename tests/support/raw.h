/* SPDX-License-Identifier: MIT */
/* The protocol of ctxd spoken by hand: what an honest client, or an honest service, would not say. */
#ifndef TEST_RAW_H
#define TEST_RAW_H

#include <stdbool.h>
#include <stddef.h>

#include "support/service.h"
#include "wire.h"

/* So many descriptors go with one packet. */
#define RAW_FDS_MAX 253

/* The first message of a client. */
extern const struct wire_message raw_hello;

/* A socket that is connected to the service, without a word. */
int raw_dial(const struct service *service);

/* Sends one packet of these bytes with these descriptors; that it may be lost is not the test's matter. */
void raw_send(int fd, const void *bytes, size_t size, const int *fds, unsigned count);
void raw_send_message(int fd, const struct wire_message *message, const int *fds, unsigned count);

/*
 * The next message, which comes from the service or from a client; false: the other side hung up. Descriptors
 * that come along are closed.
 */
bool raw_receive(int fd, struct wire_message *ret_message);
/* The same from the service, with the descriptors, of which there are wire_fd_count(). */
bool raw_receive_fds(int fd, struct wire_message *ret_message, int fds[WIRE_FDS_MAX]);
bool raw_receive_from_client(int fd, struct wire_message *ret_message);

/* Fails unless the service hangs up, having said goodbye with that error. Closes fd. */
void raw_thrown_out(int fd, int error);

/* A socket that has been welcomed. */
int raw_greeted(const struct service *service);

#endif
