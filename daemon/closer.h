/* SPDX-License-Identifier: MIT */
/*
 * Closers: the processes that close the descriptors which clients gave.
 *
 * Closing a descriptor may take as long as the client that gave it likes. A socket with SO_LINGER waits for
 * its peer; a file system in user space (FUSE) need not answer at all; a pipe is locked by a writer that
 * stands still; and a socket may hold such descriptors in its queue. So the service closes none of them
 * itself. Each user has a process for that. It shares the table of descriptors with the service, and nothing
 * else; it closes what it is told to, and reports that. One that is stuck holds up only descriptors of the
 * same user, who may give no more when too many of them wait. It is a process and not a thread, since a
 * process with a stuck thread is not ended by SIGKILL.
 *
 * The service itself has a closer as well, which is started with it. When the service dies, the kernel closes
 * its descriptors in the last process that shares the table, so that the service itself is dead at once. That
 * closer sees that the service is dead and hangs up on all clients, also while another closer is stuck and
 * keeps their sockets open.
 *
 * The tables of dead processes are copied by closers, too. That takes time, and a lock that others can hold.
 */
#ifndef CTXD_CLOSER_H
#define CTXD_CLOSER_H

#include "broker.h"
#include "loop.h"

struct closer;

/* The closers of all users. */
struct closers {
	struct loop *loop;
	struct closer *first;
	int listener;
	bool spares_listener;
	unsigned count;	  /* Those that have a process. */
	unsigned waiting; /* The number of descriptors that are to be closed. */
	bool ending;
};

/*
 * Starts the closer of the service itself. listener is the socket at which clients connect. spares_listener:
 * that socket was given to the service, so it is not shut down when the service dies. Failures are logged,
 * and descriptors that cannot be handed over are kept until that works.
 */
void closers_open(struct closers *closers, struct loop *loop, int listener, bool spares_listener);

/* The way in which the broker closes descriptors. */
struct disposal closers_disposal(struct closers *closers);

/*
 * Closes fd, which a client of uid gave, without blocking. known: fd is a pipe, a memfd or a socket, so that
 * closing one of several descriptors of it does not wait. If many descriptors of uid wait, such ones are put
 * together in a socket, so that they take no places in the table of descriptors.
 */
void closers_close(struct closers *closers, uid_t uid, int fd, bool known);

/*
 * Closes the socket of a client of uid, which has been shut down. That also closes descriptors in packets
 * that were not received, so the service does it itself only if there are none.
 */
void closers_hang_up(struct closers *closers, uid_t uid, int fd);

/* The number of descriptors that the closers and what waits for them take. */
uint64_t closers_fds(const struct closers *closers);

/* False: so many descriptors of uid wait to be closed that it may give no more. */
bool closers_have_room(const struct closers *closers, uid_t uid, uint32_t fds_max);

/*
 * Tries again what failed, and ends the processes of closers that have nothing to do; and when that is due.
 */
void closers_tick(struct closers *closers, uint64_t now_ns);
uint64_t closers_next_ns(const struct closers *closers);

/*
 * Ends the process of each closer as soon as it has closed everything. count becomes 0, unless one is stuck.
 */
void closers_end(struct closers *closers);
/*
 * Ends all jobs that are left with -ECANCELED. Processes of closers that are stuck stay until they are done.
 */
void closers_fail_jobs(struct closers *closers);

/* ---- closer_work.c: the process of a closer */

enum closer_action {
	CLOSER_CLOSE,
	CLOSER_COPY, /* Copies the table, then closes fd. */
};

/* One job, sent over a socket. The answer is an int32_t: its result. */
struct closer_message {
	int32_t kind, fd;
	uint64_t bytes_max;
};

struct closer_setup {
	int jobs;	  /* The socket with the jobs. */
	pid_t service;	  /* The process that started it. */
	int service_gone; /* A pidfd of that process, for the service's own closer. -1 in the others. */
	int listener;
	bool spares_listener;
};

/* The whole process. Does not return. */
_Noreturn void closer_work(const struct closer_setup *setup);

#endif
