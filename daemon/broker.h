/* SPDX-License-Identifier: MIT */
/*
 * What clients share, join, watch and cancel, and who may: the service without sockets, loop or clock.
 * Messages go in, messages go out through the peer's output, time is told.
 */
#ifndef CTXD_BROKER_H
#define CTXD_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "wire.h"

struct broker; /* all of it */
struct peer;   /* one client */

/* Who a client is, as the kernel says, at the time when it connected. */
struct identity {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary; allocated by malloc */
	unsigned group_count;
	int pidfd; /* -1: it is gone already */
};

/* How messages reach a client. Never called from within itself; never blocks. */
struct peer_output {
	/*
	 * Queues one message. fds are borrowed: whoever queues them makes copies of its own. 0; -EAGAIN: the
	 * queue is full, nothing was queued, and peer_writable will be called when there is room; another
	 * error: the client is being disconnected.
	 */
	int (*send)(void *link, const struct wire_message *message, const int *fds, unsigned fd_count);
	void *link;
};

/*
 * What becomes of descriptors that others gave: to close one may take for ever. Never blocks; fd is taken
 * over.
 */
struct disposal {
	/* known: it is a pipe, a memfd or a socket, of which a copy may be closed without a wait. */
	void (*close)(void *link, uid_t uid, int fd, bool known);
	/*
	 * A copy of the table fd, as table_copy makes it, and closes fd. done is told the copy, or -errno, at
	 * once or later.
	 */
	void (*copy)(void *link, uid_t uid, int fd, uint64_t bytes_max, void (*done)(void *data, int result),
		     void *data);
	/* False: too much of uid, who may hold fds_max descriptors, is not closed yet. */
	bool (*has_room)(void *link, uid_t uid, uint32_t fds_max);
	void *link;
};

/* epoch: of this life of the service. NULL: no memory. It closes descriptors itself, until it is told how. */
struct broker *broker_new(const struct config *config, uint64_t epoch);

void broker_set_disposal(struct broker *broker, const struct disposal *disposal);

/* All peers are gone: lets go of what it remembers, so that descriptors are disposed of. */
void broker_empty(struct broker *broker);
/* And no copy is under way. Aborts when an account is not back at nothing: something was charged and never
 * returned. */
void broker_free(struct broker *broker);

/* From now on, for what is new: nobody is thrown out. */
void broker_configure(struct broker *broker, const struct config *config);

/*
 * Work is counted, about a tenth of a microsecond each: WORK_TURN is what a message or an end does at once at
 * most, beside what it began last, and a client's turn; the rest waits in pieces for broker_tick, which does
 * WORK_ROUND at a time. So is what many clients have to say: others have their turns in between.
 */
enum {
	WORK_TURN = 1024,
	WORK_ROUND = 16384,
};

/* How much has been done so far; and more of it, for clients but elsewhere. */
uint64_t broker_work(const struct broker *broker);
void broker_worked(struct broker *broker, uint64_t work);

/* When broker_tick is to be called; 0: at once; UINT64_MAX: not for a known reason. */
uint64_t broker_next_ns(const struct broker *broker);
void broker_tick(struct broker *broker, uint64_t now_ns);

/* How many descriptors are held for clients, of all users. */
uint64_t broker_fds(const struct broker *broker);

/* Whether somebody waits for a cancel, or a process is still to be told of one. */
bool broker_is_busy(const struct broker *broker);
/* Tells those who wait how far it has come, and does all that was put off: there is no more time. */
void broker_answer_all(struct broker *broker);

/*
 * A client connected; its socket and, if it has a pidfd, a copy of that are held for it elsewhere and charged
 * to it here. identity's groups and pidfd are taken over, also on failure. -EDQUOT: too many connections of
 * its uid; -ENOMEM.
 */
int peer_new(struct broker *broker, const struct identity *identity, const struct peer_output *output,
	     uint64_t now_ns, struct peer **ret_peer);

/*
 * A packet came from it. The descriptors are taken over. 0; or an error after which the client is to be told
 * GOODBYE with it and disconnected: -EPROTO, -EPROTONOSUPPORT, -EDQUOT (a first breach is logged), -ENOMEM.
 */
int peer_receive(struct peer *peer, const uint8_t *bytes, size_t size, int *fds, unsigned fd_count,
		 uint64_t now_ns);

/* Closes descriptors that came from it otherwise. */
void peer_close_given(struct peer *peer, const int *fds, unsigned fd_count);

/* After output said -EAGAIN: there is room again. */
void peer_writable(struct peer *peer);

/*
 * Bytes and descriptors queued for it grew or shrank: charges them to its uid. False: a quota is reached,
 * nothing was charged. For output.
 */
bool peer_charge_queued(struct peer *peer, uint64_t bytes, unsigned fds);
void peer_return_queued(struct peer *peer, uint64_t bytes, unsigned fds);

/*
 * It is gone: disconnected, or its process has ended (died). What it shared ends for all who joined it; its
 * table is kept for a while if it died. Where it had much, that is taken apart in pieces. Its output is not
 * used any more.
 */
void peer_free(struct peer *peer, bool died, uint64_t now_ns);

#endif
