/* SPDX-License-Identifier: MIT */
/*
 * lib/client: contexts of other processes, by way of the service. It may use base, table, wire, core and
 * ring.
 *
 * Here is a connection to the service, and what hangs on it. The sections stand from below upwards: no file
 * calls one that comes later.
 *
 * One thread at a time dispatches: the client's own, or the program's in ctxd_dispatch and in calls that
 * wait. It alone receives, ends joined contexts, connects again, and frees shares and joins. Other threads
 * make calls: they send a request themselves and sleep until the dispatcher has the answer.
 *
 * What is told about contexts (it ended, its deadline moved, it was released) comes under the context's lock.
 * It only sets flags, puts the object on the list of pending ones and wakes the dispatcher, which sends the
 * message that goes with the flags. Nothing is queued, so nothing can grow.
 *
 * Locks: the client's is taken last; under it nothing of the core is called. No lock is held in functions of
 * the program.
 */
#ifndef CTX_CLIENT_H
#define CTX_CLIENT_H

#include <stdatomic.h>

#include "context.h"
#include "file_id.h"
#include "list.h"
#include "lock.h"
#include "tally.h"
#include "thread.h"
#include "wire.h"

/* Of options.flags, for CTXRING_PUBLISH: not even the first attempt is waited for. */
#define CLIENT_LATER (1u << 31)

enum client_state {
	CLIENT_AWAY,	  /* no connection; timer_fd says when to try */
	CLIENT_GREETING,  /* HELLO is sent */
	CLIENT_RESTORING, /* what was joined and shared is registered again */
	CLIENT_READY,
};

/* A descriptor in the epoll set, told apart by where the event's pointer leads. */
enum poll_kind {
	POLL_SOCKET,
	POLL_WAKE,
	POLL_TIMER,
	POLL_JOIN,
	POLL_OWNER,
};

struct poll_entry {
	enum poll_kind kind;
	int fd; /* -1: none */
	struct file_id file;
};

/* A request that waits for its answer. Lives on the stack of the thread that made it. */
struct call {
	struct list link; /* client lock */
	uint64_t serial;
	int error; /* no answer will come */
	struct wire_message *answer;
	int fds[WIRE_FDS_MAX];
	unsigned fd_count;
	/*
	 * Done with an answer that is no error before what comes behind it is looked at: that may be an order
	 * to end what was shared or joined just now. On the dispatcher, without locks; takes over the
	 * descriptors. What it returns is the call's error. NULL: the caller looks at the answer.
	 */
	int (*take)(struct ctxd_client *client, struct call *call);
	bool taking;	       /* that is going on, or was; client lock */
	_Atomic uint32_t done; /* futex */
};

/* What a share or a join still has to tell the service. */
enum pending {
	PENDING_ENDED = 1 << 0,	   /* share */
	PENDING_MOVED = 1 << 1,	   /* share */
	PENDING_ATTACH = 1 << 2,   /* join: its id in our table */
	PENDING_RELEASED = 1 << 3, /* join: the program let go of it; what is under it may go on */
	PENDING_GONE = 1 << 4,	   /* withdrawn, left, or never came to be: tell, then free */
};

/* A context that is shared, or one that was joined. */
struct bond {
	struct poll_entry entry; /* join: the owner's pipe. First: epoll leads to it */
	struct ctxd_client *client;
	struct list link;	  /* client->shares or joins; client lock */
	struct list pending_link; /* client->pending, or alone; client lock */
	struct list restore_link; /* client->restore, or alone; dispatcher */
	unsigned pending;	  /* enum pending; client lock */
	bool asking;		  /* share: its thread waits for the answer; client lock */
	bool known;		  /* the service knows it, under id; client lock */
	struct ctxd_id id;	  /* kept while the service is away; client lock */
	uint64_t serial;	  /* of its SHARE or REJOIN under way; dispatcher */
	struct watch watch;
	struct ctx_context *ctx;
	struct owner *owner; /* join */
	uint64_t own_id;     /* join: of its context here */
	uint64_t moved_ns;   /* join: the last deadline that the owner told */
	uint32_t mode;	     /* share */
	int done_fd;	     /* share: of ctx_done_fd(), the context's */
	bool joined;
	bool over; /* join: has ended here; dispatcher */
	char name[CTXD_NAME_MAX + 1];
	char label[CTX_LABEL_MAX + 1];
};

/* The process that owns contexts that were joined. Dispatcher, which changes the list with the client lock.
 */
struct owner {
	struct poll_entry entry; /* its pidfd */
	struct list link;
	unsigned joins;
	int32_t pid;
	uint32_t uid;
};

struct order;

struct ctxd_client {
	struct lock lock;
	uint32_t fork_count;
	struct list clients; /* all of this process */

	struct ctxd_options options;
	bool own_dispatch;
	char path[108]; /* "": as wire_socket_path says */

	struct poll_entry socket, wake, timer;
	int epoll_fd;
	int scratch[2]; /* pipe for reading last words */
	struct file_id epoll_file, scratch_file;

	enum client_state state; /* client lock */
	uint64_t epoch;
	uint64_t serial; /* client lock */
	uint64_t hello_serial;
	uint64_t delay_ns;    /* until the next attempt to connect */
	uint32_t watch_kinds; /* client lock */
	int refused;	      /* why the service hung up, of its GOODBYE */
	bool blocked;	      /* the socket takes no more now: EPOLLOUT is asked for; client lock */
	bool starved;	      /* the last send found no room in the kernel; client lock */

	struct list calls, shares, joins, owners, pending; /* client lock */
	struct list restore;				   /* registered again after these; dispatcher */
	struct list orders;				   /* dispatcher */
	unsigned restoring;				   /* answers that are awaited */

	bool ended_some; /* contexts ended in this turn; dispatcher */
	bool put_off;	 /* the last turn left what is pending to this one; dispatcher */
	bool lingering;	 /* released joins are looked at again when the timer fires; dispatcher */
	bool was_ready;	 /* since the last connection; dispatcher */
	bool come_back;	 /* is to be told; dispatcher */
	_Atomic bool woken, closing;
	_Atomic uint32_t dispatcher_tid; /* 0: nobody dispatches now */
	_Atomic uint32_t stopped;	 /* futex: the thread has ended */
};

/* ---- poll_set.c: what the dispatcher waits for */

/* 0; -EINVAL, -EPERM in a forked child, -EDEADLK on the dispatcher's own thread. */
int client_check(struct ctxd_client *client);

/* Makes the dispatcher look. Any thread, also with locks of the core. */
void client_wake(struct ctxd_client *client);

/* -errno; source->fd is in the epoll set afterwards. */
int client_poll(struct ctxd_client *client, struct poll_entry *entry, uint32_t events);

/* One that was added with EPOLLONESHOT, and has fired. */
void client_rearm(struct ctxd_client *client, struct poll_entry *entry, uint32_t events);

/* Takes it out and closes it, unless the number is another file's by now. -1 is allowed. */
void client_unpoll(struct ctxd_client *client, struct poll_entry *entry);

/* Whether the pipe for last words is ours still. */
bool client_has_scratch(const struct ctxd_client *client);

void client_tell(struct ctxd_client *client, const struct ctxd_event *event);

/* ---- link.c: the socket */

/* When the next attempt is made: soon, and later each time. */
void link_later(struct ctxd_client *client);
void link_set_timer(struct ctxd_client *client, uint64_t delay_ns);

/* With the client lock held: the socket takes no more now. And: it does again. */
void link_block(struct ctxd_client *client);
void link_unblock(struct ctxd_client *client);

/* Sends one message, with the client lock held. 0; -EAGAIN: not now; -ENOTCONN. */
int link_send(struct ctxd_client *client, const struct wire_message *message, int fd);

/* Closes its socket, if there is one. */
void link_close(struct ctxd_client *client);

/* ---- dispose.c: descriptors that the service sent */

/* Closes what came along with a message and nobody took, on a thread: nobody knows how long that takes. */
void dispose(const int *fds, unsigned count);

/* Shuts down a socket to the service and closes it, with what was never received from it. */
void dispose_socket(int fd);

/* False: so much is not closed yet that nothing more is to come in. */
bool dispose_has_room(void);

/* In a forked child. */
void dispose_forked(void);

/* Whether what came along is what message says: pipe, pidfd or table. */
bool descriptors_are_right(const struct ctxd_client *client, const struct wire_message *message,
			   const int *fds);

/* ---- answer.c: answers to requests */

/* False: nobody waits for it. fds are taken over if true. */
bool call_answer(struct ctxd_client *client, const struct wire_message *answer, const int *fds,
		 unsigned fd_count);

/* The one with that serial, if it waits, gets an error. */
void call_fail(struct ctxd_client *client, uint64_t serial, int error);

/* With the client lock held: none will be answered. */
void calls_fail(struct ctxd_client *client, int error);

/* ---- bond.c: what shares and joins have in common */

/* NULL: no memory. */
struct bond *bond_new(struct ctxd_client *client, struct ctx_context *ctx, bool joined);

/* With the client lock held: puts it on the pending list, and wakes. */
void bond_pend(struct bond *bond, unsigned pending);

/* The core tells something of its context, under the context's lock. */
void bond_told(struct watch *watch, unsigned pending);

/* Fill in a SHARE or a REJOIN; the descriptor that goes with it, or -errno. With the client lock held. */
int share_message(struct bond *bond, struct wire_message *ret_message);
int join_message(struct bond *bond, struct wire_message *ret_message);

/* Sends what is pending, frees what is gone. */
void bonds_flush(struct ctxd_client *client);

/* Released joins may have nothing under them any more. */
void bonds_look_again(struct ctxd_client *client);

/* The connection broke. */
void bonds_forget(struct ctxd_client *client);

/* One of that id whose context is live. NULL: there is none. Dispatcher. */
struct bond *bond_find(struct ctxd_client *client, struct ctxd_id id);

/* All of them, when the client is closed. */
void bonds_free(struct ctxd_client *client);

/* ---- owner.c: whose they are */

bool owner_is_dead(const struct owner *owner);

/* Takes over pidfd. With the client lock held. */
int owner_join(struct ctxd_client *client, const struct wire_joined *joined, int pidfd,
	       struct owner **ret_owner);

/* One join less. */
void owner_leave(struct ctxd_client *client, struct owner *owner);

/* ---- restore.c: registering everything again */

/* After WELCOME: registers everything again, step by step. */
void bonds_restore(struct ctxd_client *client);

/* Sends what may go now. */
void bonds_restore_some(struct ctxd_client *client);

/* An answer to that. False: it is not one. */
bool bonds_restored(struct ctxd_client *client, const struct wire_message *answer);

/* ---- share.c, joined.c */

/* A pipe that hangs up would be told again and again until it is closed. */
#define JOIN_EVENTS (EPOLLIN | EPOLLONESHOT)

extern const struct watch_ops join_watch_ops;

/* The owner's pipe, or its pidfd, has something to say. */
void join_pipe_ready(struct bond *bond);
void owner_ready(struct ctxd_client *client, struct owner *owner);

void join_moved(struct ctxd_client *client, const struct wire_move *move);

/* ---- order.c: what the service asks */

void order_take(struct ctxd_client *client, const struct wire_message *message);
void orders_flush(struct ctxd_client *client);
void orders_forget(struct ctxd_client *client);

/* ---- receive.c: the socket, and what comes in */

/* Connects and says HELLO. 0, or why not. */
int link_open(struct ctxd_client *client);

/* The connection is gone: calls are answered, and an attempt to come back is set. */
void link_break(struct ctxd_client *client);

/* Receives and handles what is there, up to a bound. How many messages. */
int link_receive(struct ctxd_client *client);

/* ---- turn.c */

/* One turn: handles what is there, waiting at most timeout_ms for it. How many things, or -EINTR; and how
 * many descriptors were ready (NULL: does not matter). */
int client_turn(struct ctxd_client *client, int timeout_ms, int *ret_events);

/* ---- call.c: requests */

/*
 * Sends request, with a serial of its own and fd (-1: none), and waits for the answer. *ret_answer may be of
 * any type, RESULT with an error among them, which is returned as this call's result; fds that came along are
 * the caller's.
 */
int call_make(struct ctxd_client *client, struct wire_message *request, int fd, uint64_t timeout_ns,
	      struct wire_message *ret_answer, int ret_fds[WIRE_FDS_MAX]);

/* As that, with a call of which answer and take are filled; fds are in it. */
int call_run(struct ctxd_client *client, struct call *call, struct wire_message *request, int fd,
	     uint64_t timeout_ns);

#endif
