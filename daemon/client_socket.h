/* SPDX-License-Identifier: MIT */
/*
 * What the service asks of the socket of one client: who is at the other end, to send a packet, and to
 * receive one.
 *
 * A client can send descriptors that the protocol does not ask for. These are the bounds:
 * - The kernel lets PASSED_MAX descriptors come along with one packet. All of them are received, for the
 * kernel closes what it cannot hand over on the thread that receives, and that can take as long as the client
 * likes.
 * - Where so many might not be free, the packet is looked at first. One that brings too many stays in the
 * queue of the socket, and the client is disconnected with -EMFILE.
 * - A message has at most WIRE_FDS_MAX descriptors. wire_unpack() refuses one with another number than its
 * type has; the client is disconnected with -EPROTO, and its descriptors go to the closer of its user.
 * - Those of a good message are charged to the quota fds of the user. A user for whom too many descriptors
 * wait to be closed may give none, see closers_have_room().
 */
#ifndef CTXD_CLIENT_SOCKET_H
#define CTXD_CLIENT_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "broker.h"

/* Who is at the other end, as the kernel says. 0, or -errno: then only the uid is set, if it could be had. */
int socket_identify(int fd, struct identity *ret_identity);

/*
 * Sends one packet without waiting. 0; -EAGAIN: the queue of the socket is full; -ENOBUFS: the kernel has no
 * room now, which poll(2) does not show; or another -errno.
 */
int socket_send(int fd, const void *bytes, size_t size, const int *fds, unsigned fd_count);

/*
 * Receives one packet as recvmsg(2) does, without waiting. short_of_fds: this process may have fewer than
 * PASSED_MAX descriptors free. Then a packet that brings more than there are stays where it is: MSG_CTRUNC is
 * set in that case.
 */
ssize_t socket_receive(int fd, struct msghdr *header, bool short_of_fds);

#endif
