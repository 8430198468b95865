/* SPDX-License-Identifier: MIT */
/*
 * The broker: the service without sockets, loop and clock. It knows what clients share, join, watch and
 * cancel, and who may do that. Its caller gives it messages and the time; its messages leave by the output of
 * each peer.
 */
#ifndef CTXD_BROKER_H
#define CTXD_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "wire.h"

struct broker; /* The state of the whole service. */
struct peer;   /* One client. */

/* Who a client is. The kernel says so, and it is what was true when the client connected. */
struct identity {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* The supplementary groups, from malloc. */
	unsigned group_count;
	int pidfd; /* -1: the process is gone already. */
};

/* How messages reach a client. These functions never block and never call the broker. */
struct peer_output {
	/*
	 * Queues one message. The descriptors are borrowed: who queues them makes copies. 0; -EAGAIN: the
	 * queue is full, nothing was queued, and peer_writable() is called when there is room; another error:
	 * the client is being disconnected.
	 */
	int (*send)(void *link, const struct wire_message *message, const int *fds, unsigned fd_count);
	/*
	 * The same for a message that the broker keeps and can send later as well: room is left for others.
	 * NULL: send is used.
	 */
	int (*offer)(void *link, const struct wire_message *message, const int *fds, unsigned fd_count);
	void *link;
};

/*
 * What is done with descriptors that clients gave, since closing one can take for ever. These functions never
 * block, and take fd over.
 */
struct disposal {
	/*
	 * known: fd is certain to be a pipe, a memfd or a socket, so that closing one of several descriptors
	 * of it does not wait.
	 */
	void (*close)(void *link, uid_t uid, int fd, bool known);
	/*
	 * Copies the table fd as table_copy() does, and closes fd. done is called with the copy or -errno, at
	 * once or later.
	 */
	void (*copy)(void *link, uid_t uid, int fd, uint64_t bytes_max, void (*done)(void *data, int result),
		     void *data);
	/*
	 * False: of what uid gave, too much waits to be closed. fds_max is how many descriptors uid may hold.
	 */
	bool (*has_room)(void *link, uid_t uid, uint32_t fds_max);
	void *link;
};

/*
 * epoch: the number of this life of the service. NULL: no memory or no descriptors. Until
 * broker_set_disposal() the broker closes descriptors itself.
 */
struct broker *broker_new(const struct config *config, uint64_t epoch);

void broker_set_disposal(struct broker *broker, const struct disposal *disposal);

/*
 * Frees what the broker remembers, so that its descriptors are handed to the disposal. All peers must be
 * gone.
 */
void broker_empty(struct broker *broker);
/*
 * Also frees the broker. All peers must be gone, and no copy may be under way. Aborts if something that was
 * charged to an account was not returned.
 */
void broker_free(struct broker *broker);

/*
 * Sets the limits for what comes from now on. What is there already stays. If what clients are to know of the
 * fleet is another now, they are told.
 */
void broker_configure(struct broker *broker, const struct config *config);

/*
 * Work is counted in units of about a tenth of a microsecond. WORK_TURN bounds what one message, or the end
 * of one client, does at once, and what one turn of a client does; the item that was begun last is completed.
 * What is left is done by broker_tick(), in pieces of that size, WORK_ROUND in one call. The turns of clients
 * are bounded by WORK_ROUND in the same way, so that no client waits long for another.
 */
enum {
	WORK_TURN = 1024,
	WORK_ROUND = 16384,
};

/* The work done so far; and adding work that was done for clients outside of the broker. */
uint64_t broker_work(const struct broker *broker);
void broker_worked(struct broker *broker, uint64_t work);

/* When broker_tick() is to be called next. 0: at once. UINT64_MAX: no time is known. */
uint64_t broker_next_ns(const struct broker *broker);
void broker_tick(struct broker *broker, uint64_t now_ns);

/* The number of descriptors that are held for the clients of all users. */
uint64_t broker_fds(const struct broker *broker);

/* Whether a client waits for the answer to a cancel, or the order of an owner is still held back. */
bool broker_is_busy(const struct broker *broker);
/*
 * Answers all who wait for a cancel with what has been reported so far, and does all work that is queued. For
 * the end of the service.
 */
void broker_answer_all(struct broker *broker);

/*
 * A client has connected. Its caller holds its socket and, if it has a pidfd, a copy of that; both are
 * charged to the client here. The groups and the pidfd of identity are taken over, also on failure. 0;
 * -EDQUOT: too many connections of its uid; -ENOMEM.
 */
int peer_new(struct broker *broker, const struct identity *identity, const struct peer_output *output,
	     uint64_t now_ns, struct peer **ret_peer);

/*
 * The client has sent a packet. Its descriptors are taken over. 0; or an error with which the client is to be
 * told GOODBYE and disconnected: -EPROTO, -EPROTONOSUPPORT, -EXDEV, -EDQUOT (the first one is logged),
 * -ENOMEM.
 */
int peer_receive(struct peer *peer, const uint8_t *bytes, size_t size, int *fds, unsigned fd_count,
		 uint64_t now_ns);

/* Closes descriptors of the client that do not reach peer_receive(). */
void peer_close_given(struct peer *peer, const int *fds, unsigned fd_count);

/* There is room again, after output.send said -EAGAIN. */
void peer_writable(struct peer *peer);

/*
 * For the output: charges bytes and descriptors that were queued for the client to its uid, and returns them.
 * False: a quota is reached and nothing was charged.
 */
bool peer_charge_queued(struct peer *peer, uint64_t bytes, unsigned fds);
void peer_return_queued(struct peer *peer, uint64_t bytes, unsigned fds);

/*
 * The client is gone: it is disconnected, or its process has ended (died). What it shared ends for all who
 * joined it, and its table is kept for a while if it died. If it had much, that is taken apart in pieces. Its
 * output is not used any more.
 */
void peer_free(struct peer *peer, bool died, uint64_t now_ns);

#endif
