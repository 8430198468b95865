/* SPDX-License-Identifier: MIT */
/*
 * Where descriptors that others gave are closed.
 *
 * To close one may take as long as who gave it likes: a socket with SO_LINGER waits for its peer, a file
 * system of the user's own (FUSE) need not answer at all, a pipe is locked by a writer that stands still, and
 * a socket holds in its queue what is worse. So the service closes none of them itself. Each user has a
 * process for that, which shares the table of descriptors with the service, and nothing else: it closes what
 * it is told to, and says when it has. One that is stuck holds up only what came from the same user, who is
 * let in no more when too much of that has gathered. It is a process and no thread, for while a thread is
 * stuck not even SIGKILL ends a process.
 *
 * The service's own closer is there from the beginning. What was to be closed when the service died is closed
 * by the last one that shares the table, and that is it: the service itself dies at once. It sees that, and
 * hangs up on all clients, also while another closer is stuck and keeps their sockets open.
 *
 * Also the tables of the dead are copied there, which takes time, and a lock that others hold.
 */
#ifndef CTXD_CLOSER_H
#define CTXD_CLOSER_H

#include "broker.h"
#include "loop.h"

struct closer;

/* All of them. */
struct closers {
	struct loop *loop;
	struct closer *first;
	int listener;
	bool spares_listener;
	unsigned count;	  /* that have a process */
	unsigned waiting; /* descriptors that are to be closed */
	bool ending;
};

/*
 * Starts the service's own. listener is the socket at which clients come; if it is spared, it is not the
 * service's to shut down. What goes wrong is logged: what is to be closed is kept until it goes.
 */
void closers_open(struct closers *closers, struct loop *loop, int listener, bool spares_listener);

/* How the broker disposes of descriptors. */
struct disposal closers_disposal(struct closers *closers);

/*
 * Closes fd, which uid gave. Never blocks. known: it is a pipe, a memfd or a socket, of which one of several
 * descriptors is closed without a wait: where many wait, they are put together, and take no descriptors.
 */
void closers_close(struct closers *closers, uid_t uid, int fd, bool known);

/*
 * Closes the socket of a client of that uid, which has been shut down. What others have queued there goes
 * with it, so this is done here only where nothing is.
 */
void closers_hang_up(struct closers *closers, uid_t uid, int fd);

/* How many descriptors all this takes. */
uint64_t closers_fds(const struct closers *closers);

/* False: too much of this user waits to be closed; it is to give nothing more. */
bool closers_have_room(const struct closers *closers, uid_t uid, uint32_t fds_max);

/* Tries again what could not be, and ends those that have nothing to do; and when that is due. */
void closers_tick(struct closers *closers, uint64_t now_ns);
uint64_t closers_next_ns(const struct closers *closers);

/* Ends each of them as soon as it has done all: count becomes 0, unless one is stuck. */
void closers_end(struct closers *closers);
/* Waits no more. Those that are stuck stay behind, as processes of their own. */
void closers_fail_jobs(struct closers *closers);

/* ---- closer_work.c: the process */

enum closer_action {
	CLOSER_CLOSE,
	CLOSER_COPY, /* and close it */
};

/* What it is told, over a socket; the answer is an int32_t, the result. */
struct closer_message {
	int32_t kind, fd;
	uint64_t bytes_max;
};

struct closer_setup {
	int jobs;	  /* the socket */
	pid_t service;	  /* that started it */
	int service_gone; /* pidfd of that, for the service's own closer; else -1 */
	int listener;
	bool spares_listener;
};

/* Does not return. */
_Noreturn void closer_work(const struct closer_setup *setup);

#endif
