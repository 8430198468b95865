/* SPDX-License-Identifier: MIT */
/*
 * The work that each program of bench/peers/ does, and how it is measured. A program is called as
 *
 *   PROGRAM WORK N TURNS [FORM]
 *
 * and prints one line for each turn: nanoseconds for one of N. A turn that is not printed comes first. Exit
 * 77 says that this program has no such work, or none of this size here; the last line says why. A program
 * defines `peer`, the functions by which its library does the work; what is the same for all is here:
 *
 *   idle   N receives wait and are one group. Measured is from the call that ends the group until the
 * callback of the last one has been told that it was cancelled. tree   N contexts are children of one, which
 * is ended. Measured is until all N are. token  N times a context (cancellable, note, signal) is made below
 * one that lives on, and freed. stay   N connections. A request makes a token and begins a receive under it,
 * gets 32 bytes and frees the token. All N are under way together. Measured is all of that, for each answered
 * request. leave  The same, but every tenth client leaves: its token is ended instead of an answer being
 * written. Measured is all of that, for each request that was answered.
 *
 * Each turn counts what was cancelled and what was received, and the program fails if one is missing.
 *
 * The receives of idle are on unix stream sockets that are connected to a listener, and wait in its backlog.
 * So a receive takes one descriptor. Where RLIMIT_NOFILE does not let all have one of their own, several
 * share a socket; a library that allows one receive of a socket at a time says that it cannot.
 */
#ifndef BENCH_PEERS_WORK_H
#define BENCH_PEERS_WORK_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WORK_MESSAGE 32u
#define WORK_BUFFER 64u
#define WORK_UNITS 8192u /* a turn is repeated until it has done so many */
#define WORK_SKIPPED 77

struct peer {
	/* Prepares receives 0 to count - 1; i is on work.near_fds[i % work.sockets]. */
	void (*open)(unsigned count);
	void (*group_open)(void); /* makes what ends all receives of idle; may be NULL */
	/* Begins a receive. In stay and leave it is under a token of its own, which is made here. */
	void (*receive)(unsigned i);
	void (*submit)(void);	     /* what was begun waits in the library when this returns; may be NULL */
	void (*group_end)(void);     /* ends the group */
	void (*leave)(unsigned i);   /* ends the token of one request */
	void (*wait)(unsigned done); /* runs the event loop until work.cancelled + work.received is done */
	void (*request_end)(unsigned i); /* frees the token of a request; may be NULL */
	void (*group_close)(void);	 /* may be NULL */

	void (*tree_make)(unsigned children);
	void (*tree_end)(void);
	unsigned (*tree_ended)(void); /* how many children have ended */
	void (*tree_free)(void);
	void (*token)(unsigned count); /* makes and frees so many */

	bool one_receive; /* a socket can have one receive only */
	unsigned idle_max;
	const char *idle_max_reason;
};

extern const struct peer peer;

struct work {
	const char *name, *form;
	unsigned count, sockets;
	int *near_fds, *far_fds;
	unsigned cancelled, received; /* told by work_done */
};

static struct work work;

__attribute__((noreturn)) static inline void work_fail(const char *what)
{
	fprintf(stderr, "%s, %s of %u: %s: %s\n", program_invocation_short_name, work.name, work.count, what,
		strerror(errno));
	exit(1);
}

__attribute__((noreturn)) static inline void work_skip(const char *why)
{
	printf("%s\n", why);
	exit(WORK_SKIPPED);
}

static inline bool work_is(const char *name)
{
	return !strcmp(work.name, name);
}

static inline bool work_form(const char *form)
{
	return !strcmp(work.form, form);
}

/* Each callback calls this: the number of bytes, or -ECANCELED. */
static inline void work_done(int result)
{
	if (result == -ECANCELED)
		work.cancelled++;
	else if (result == (int)WORK_MESSAGE)
		work.received++;
	else
		work_fail("a receive ended otherwise");
}

static inline void *work_allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	if (!memory)
		work_fail("calloc");
	return memory;
}

static inline double work_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* ---- sockets */

static inline unsigned work_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		work_fail("getrlimit");
	struct rlimit more = {150000, 150000};
	if (limit.rlim_max < 150000 && !setrlimit(RLIMIT_NOFILE, &more))
		return 150000;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		work_fail("setrlimit");
	return limit.rlim_cur < 150000 ? (unsigned)limit.rlim_cur : 150000;
}

static inline int work_listen(struct sockaddr_un *address, socklen_t *size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	*size = sizeof(*address);
	if (fd < 0 || bind(fd, (struct sockaddr *)address, sizeof(address->sun_family)) || listen(fd, 4096) ||
	    getsockname(fd, (struct sockaddr *)address, size))
		work_fail("listen");
	return fd;
}

/* Connects sockets to listeners. One is full when a connect would block: then comes the next. */
static inline void work_connect(void)
{
	struct sockaddr_un address;
	socklen_t size;
	work_listen(&address, &size);
	for (unsigned i = 0; i < work.sockets; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			work_fail("socket");
		if (connect(fd, (struct sockaddr *)&address, size)) {
			if (errno != EAGAIN)
				work_fail("connect");
			work_listen(&address, &size);
			if (connect(fd, (struct sockaddr *)&address, size))
				work_fail("connect");
		}
		fcntl(fd, F_SETFL, 0);
		work.near_fds[i] = fd;
	}
}

static inline void work_sockets(void)
{
	unsigned limit = work_descriptors() - 128;
	work.sockets = work.count;
	work.near_fds = (int *)work_allocate(work.count, sizeof(int));
	if (work_is("idle")) {
		if (work.sockets > limit) {
			if (peer.one_receive)
				work_skip("RLIMIT_NOFILE is too low for a socket each");
			work.sockets = limit;
		}
		work_connect();
		return;
	}
	work.far_fds = (int *)work_allocate(work.count, sizeof(int));
	for (unsigned i = 0; i < work.count; i++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			work_fail("socketpair");
		work.near_fds[i] = pair[0];
		work.far_fds[i] = pair[1];
	}
}

/* ---- turns: each returns nanoseconds for one of the count */

static inline double work_idle(void)
{
	unsigned repeats = work.count < WORK_UNITS ? WORK_UNITS / work.count : 1;
	double total_ns = 0;
	for (unsigned n = 0; n < repeats; n++) {
		work.cancelled = work.received = 0;
		if (peer.group_open)
			peer.group_open();
		for (unsigned i = 0; i < work.count; i++)
			peer.receive(i);
		if (peer.submit)
			peer.submit();
		if (work.cancelled || work.received)
			work_fail("a receive did not wait");
		double start_ns = work_now_ns();
		peer.group_end();
		peer.wait(work.count);
		total_ns += work_now_ns() - start_ns;
		if (work.cancelled != work.count || work.received)
			work_fail("not all receives were cancelled");
		if (peer.group_close)
			peer.group_close();
	}
	return total_ns / repeats / work.count;
}

static inline double work_requests(bool leaving)
{
	static const char message[WORK_MESSAGE] = "";
	unsigned rounds = WORK_UNITS / work.count, served = 0, left = 0;
	unsigned cancelled = work.cancelled, received = work.received, before = cancelled + received;
	double start_ns = work_now_ns();
	for (unsigned n = 0; n < rounds; n++) {
		for (unsigned i = 0; i < work.count; i++)
			peer.receive(i);
		if (peer.submit)
			peer.submit();
		for (unsigned i = 0; i < work.count; i++) {
			if (leaving && (n * work.count + i) % 10 == 0) {
				peer.leave(i);
				left++;
			} else {
				if (write(work.far_fds[i], message, WORK_MESSAGE) != WORK_MESSAGE)
					work_fail("write");
				served++;
			}
		}
		peer.wait(before + served + left);
		for (unsigned i = 0; peer.request_end && i < work.count; i++)
			peer.request_end(i);
	}
	double took_ns = work_now_ns() - start_ns;
	if (work.received - received != served || work.cancelled - cancelled != left)
		work_fail("not all clients were served, or not all that left were cancelled");
	return took_ns / served;
}

static inline double work_tree(void)
{
	unsigned repeats = work.count < WORK_UNITS ? WORK_UNITS / work.count : 1;
	double total_ns = 0;
	for (unsigned n = 0; n < repeats; n++) {
		peer.tree_make(work.count);
		if (peer.tree_ended())
			work_fail("a child ended before");
		double start_ns = work_now_ns();
		peer.tree_end();
		total_ns += work_now_ns() - start_ns;
		if (peer.tree_ended() != work.count)
			work_fail("not all children have ended");
		peer.tree_free();
	}
	return total_ns / repeats / work.count;
}

static inline double work_token(void)
{
	double start_ns = work_now_ns();
	peer.token(work.count);
	return (work_now_ns() - start_ns) / work.count;
}

static inline double work_turn(void)
{
	if (work_is("idle"))
		return work_idle();
	if (work_is("tree"))
		return work_tree();
	if (work_is("token"))
		return work_token();
	return work_requests(work_is("leave"));
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: %s idle|tree|token|stay|leave N TURNS [FORM]\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	work.name = argv[1];
	work.count = (unsigned)atoi(argv[2]);
	work.form = argc > 4 ? argv[4] : "";
	alarm(120); /* what takes longer than this hangs */
	if (work_is("tree") || work_is("token")) {
		if (work_is("tree") ? !peer.tree_make : !peer.token)
			work_skip("has none");
	} else {
		if (!peer.receive || (!work_is("idle") && !peer.leave))
			work_skip("has no receives");
		if (peer.idle_max && work.count > peer.idle_max)
			work_skip(peer.idle_max_reason);
		work_sockets();
		peer.open(work.count);
	}
	work_turn();
	for (int i = atoi(argv[3]); i > 0; i--)
		printf("%.3f\n", work_turn());
	return 0;
}

#endif
