/* SPDX-License-Identifier: MIT */
/*
 * lib/client: contexts of other processes, by way of the service. It may use base, table, wire, core and
 * ring.
 *
 * This header declares a connection to the service, and what belongs to it. Its sections stand from below
 * upwards: no file calls one whose section comes later.
 *
 * One thread at a time is the dispatcher: the client's own thread, or with CTXD_OWN_DISPATCH the program's in
 * ctxd_dispatch and in calls that wait. It alone receives, ends joined contexts, connects again, and frees
 * shares and joins. Other threads make calls: they send their request themselves and sleep until the
 * dispatcher has the answer.
 *
 * The core tells of a context (it has ended, its deadline has moved, it was released) under the context's
 * lock. That only sets flags, puts the share or join on the list of pending ones and wakes the dispatcher,
 * which sends the messages that the flags stand for. There is no queue of messages, so none can grow. When
 * many contexts end at once, the dispatcher is woken after the pipes of all of them were written: the
 * processes that joined wait for the pipes, and nobody waits for the messages.
 *
 * Locks: the client's lock is taken last, but for that of the closing queue (dispose.c); under it nothing of
 * the core is called. No lock is held while functions of the program run. "client lock" at a field says that
 * the lock guards it, "dispatcher" that only the dispatcher uses it.
 */
#ifndef CTX_CLIENT_H
#define CTX_CLIENT_H

#include <stdatomic.h>

#include "context.h"
#include "debug.h"
#include "defer.h"
#include "file_id.h"
#include "list.h"
#include "lock.h"
#include "tally.h"
#include "thread.h"
#include "wire.h"

/* A flag of options.flags, for CTXRING_PUBLISH: ctxd_connect does not wait even for the first attempt. */
#define CLIENT_LATER (1u << 31)

enum client_state {
	CLIENT_AWAY,	  /* there is no connection; the timer fires for the next attempt */
	CLIENT_GREETING,  /* HELLO was sent */
	CLIENT_RESTORING, /* shares and joins are registered again */
	CLIENT_READY,
};

enum poll_kind {
	POLL_SOCKET,
	POLL_WAKE,
	POLL_TIMER,
	POLL_JOIN,
	POLL_OWNER,
};

/* What the client's timer is for. TIMER_TURN and TIMER_SEND make the dispatcher send what is pending. */
enum timer_use {
	TIMER_CONNECT, /* the next attempt to connect */
	TIMER_SEND,    /* the kernel had no room for a message */
	TIMER_TURN,    /* the last turn has left something to the next one */
	TIMER_LINGER,  /* released joins are looked at again */
	TIMER_GRACE,   /* a join has been without a way to its host for too long */
	TIMER_RETRY,   /* joins that were refused are asked for again */
	TIMER_USES,
};

/* A descriptor in the epoll set. The event points to this entry, and kind tells what it is part of. */
struct poll_entry {
	enum poll_kind kind;
	int fd; /* -1: there is none */
	struct file_id file;
};

/* A request that waits for its answer. It lies on the stack of the thread that made it. */
struct call {
	struct list link; /* client lock */
	uint64_t serial;
	int error; /* set when no answer will come */
	struct wire_message *answer;
	int fds[WIRE_FDS_MAX];
	unsigned fd_count;
	/*
	 * Handles an answer that is no error, before the message behind it is read: that may be an order to
	 * end what was shared or joined just now. Runs on the dispatcher and without locks, takes over the
	 * descriptors, and returns the call's error. NULL: the caller looks at the answer.
	 */
	int (*take)(struct ctxd_client *client, struct call *call);
	bool taking;	       /* take was called; client lock */
	_Atomic uint32_t done; /* futex */
};

/* What a share or a join still has to tell the service. */
enum pending {
	PENDING_ENDED = 1 << 0,	 /* share: its context has ended */
	PENDING_MOVED = 1 << 1,	 /* share: its deadline was moved */
	PENDING_ATTACH = 1 << 2, /* join: the id of its context in our table */
	/* join: the program has released the context, but work under it may go on. */
	PENDING_RELEASED = 1 << 3,
	PENDING_GONE = 1 << 4, /* unshared, left, or failed to begin: tell the service, then free it */
	/* join by a global id: it has no pipe, and the service has not been asked for one. */
	PENDING_WANTED = 1 << 5,
};

/*
 * The lists of joins that have no pipe now. In each they stand in the order in which they came without one,
 * and all have the same time until they are given up, so that only the first is looked at.
 */
enum remote_list {
	REMOTES_NEW,	 /* never had one: the owner's host has not answered yet */
	REMOTES_LOST,	 /* had one, which hung up */
	REMOTES_PATIENT, /* are never given up: CTXD_JOIN_SURVIVE */
	REMOTE_LISTS,
};

/* The part of a join by a global id. It lies behind the bond. */
struct remote {
	struct list link;	   /* in client->remotes, or alone: it has a pipe; client lock */
	struct wire_global global; /* constant */
	uint64_t lost_ns;	   /* since when it has no pipe; client lock */
	bool survive;		   /* constant */
	bool asked;		   /* bond->serial is of a JOIN_GLOBAL; dispatcher, under the client lock */
	bool refused;		   /* is asked for again by TIMER_RETRY; client lock */
	bool known_live;	   /* the owner's host has said so, once; dispatcher */
	/*
	 * ctx_extract() made it, from an id that anybody may have sent: while the owner's host has said
	 * nothing, its context is not ended. constant
	 */
	bool extracted;
};

/* By what a share or a join is found. */
enum bond_key {
	BOND_ID,
	BOND_CONTEXT,
	BOND_KEYS,
};

/* A hash table of them, see bond_index.c; client lock */
struct bond_index {
	struct bond **places; /* 1 << bits of them; NULL: there is only first */
	struct bond *first;
	unsigned bits, shift;
	unsigned count;
};

/* A share or a join: a context that this process shares, or one that it has joined. */
struct bond {
	struct poll_entry entry; /* join: the read end of the owner's done pipe */
	struct ctxd_client *client;
	struct list link;	       /* client->shares or joins; client lock */
	struct list pending_link;      /* client->pending, or alone; client lock */
	struct bond *chain[BOND_KEYS]; /* in client->indexes; client lock */
	struct list restore_link;      /* client->restore or client->asked, or alone; dispatcher */
	unsigned pending;	       /* enum pending; client lock */
	bool asking;		       /* the thread that makes it is not done yet; client lock */
	bool known;		       /* the service knows it by id; client lock */
	struct ctxd_id id;	       /* kept while the service is away; client lock */
	uint64_t serial; /* of its SHARE, REJOIN or JOIN_GLOBAL that is not answered yet; dispatcher */
	struct watch watch;
	struct ctx_context *ctx;
	struct list owner_link; /* in owner->joins; client lock */
	struct owner *owner;	/* join; NULL: it has no pidfd, since a bridge owns the pipe, or no pipe */
	struct remote *remote;	/* join by a global id; NULL: it is none */
	uint64_t own_id;	/* join: the id of its context here */
	uint64_t moved_ns;	/* join: the last deadline that the owner told */
	uint64_t secret;	/* share with CTXD_FLEET: of its global id, kept as id is; client lock */
	uint32_t mode;		/* share */
	int done_fd;		/* share: what ctx_done_fd() returned; the context's */
	bool joined;
	bool global; /* counted in bonds_global; client lock */
	bool over;   /* join: the context was ended here; dispatcher */
	char name[CTXD_NAME_MAX + 1];
	char label[CTX_LABEL_MAX + 1];
};

/*
 * A process that owns contexts which were joined here. The dispatcher's; it changes the list under the client
 * lock.
 */
struct owner {
	struct poll_entry entry; /* the pidfd of the process */
	struct list link;
	struct list joins; /* client lock */
	int32_t pid;
	uint32_t uid;
};

struct order;

struct ctxd_client {
	struct lock lock;
	uint32_t fork_count;
	struct list clients; /* in the list of all clients of this process */

	struct ctxd_options options;
	bool own_dispatch;
	char path[108]; /* "": the places of wire_socket_path */

	struct poll_entry socket, wake, timer;
	int epoll_fd;
	int scratch[2]; /* a pipe, into which last words are copied to be read */
	struct file_id epoll_file, scratch_file;

	enum client_state state; /* client lock */
	uint64_t epoch;
	uint64_t serial; /* client lock */
	uint64_t hello_serial;
	uint64_t delay_ns; /* until the next attempt to connect */
	unsigned unheard;  /* joins of ctx_extract() whose host has said nothing yet; client lock */
	uint64_t retry_ns; /* the last delay until joins that were refused are asked for again; dispatcher */
	uint64_t refused_ns;	 /* when it began; dispatcher */
	uint64_t grace_ns;	 /* from the service's TERMS; client lock */
	char host[CTX_HOST_MAX]; /* from the TERMS: the name of this host, "": there is no fleet; client lock
				  */
	uint32_t watch_kinds;	 /* client lock */
	/* The cause that the service was told last, of the context of that id and its error; client lock */
	struct wire_cause told;
	uint64_t told_origin;
	int told_error;
	int refused;  /* why the service hung up, from its GOODBYE */
	bool blocked; /* the socket takes no more now, and EPOLLOUT is asked for; client lock */
	bool starved; /* the last send failed because the kernel had no room; client lock */

	struct list calls, shares, joins, owners, pending; /* client lock */
	struct bond_index indexes[BOND_KEYS];		   /* of shares and joins; client lock */
	struct list remotes[REMOTE_LISTS];		   /* client lock */
	/* What is still to be registered again; dispatcher. */
	struct list restore;
	struct list
		asked; /* joins whose JOIN_GLOBAL is not answered yet, in the order of serials; dispatcher */
	struct list orders; /* dispatcher */
	unsigned restoring; /* registrations whose answer is awaited */

	uint64_t due_ns[TIMER_USES]; /* 0: not set; client lock */
	uint64_t armed_ns;	     /* when the timer fires, 0: it does not; client lock */

	bool ended_some;	    /* this turn has ended contexts; dispatcher */
	unsigned crowded;	    /* how many turns in a row had more events than one takes; dispatcher */
	bool put_off;		    /* the last turn left what is pending to this turn; dispatcher */
	bool was_ready;		    /* the client has been ready since the last connection; dispatcher */
	bool come_back;		    /* CTXD_EVENT_BACK is still to be told; dispatcher */
	struct deferred wake_later; /* wakes the dispatcher after a sweep */
	/* Whether wake_later is in the list of a sweep, see bond.c; changed under the client lock; futex */
	_Atomic uint32_t wake_deferred;
	_Atomic bool woken, closing;
	_Atomic uint32_t users; /* of client_take_fleet(); changed under the lock of all clients; futex */
	_Atomic uint32_t dispatcher_tid; /* 0: no thread dispatches now */
	_Atomic uint32_t stopped;	 /* futex: the thread has ended */
};

/* ---- poll_set.c: the descriptors that the dispatcher waits for */

/*
 * Whether a call may use the client. 0; -EINVAL; -EPERM in a forked child; -EDEADLK on the dispatcher's own
 * thread. client_check() also leaves the reason for CTXRING_DEBUG, so its error is to be returned to the
 * program.
 */
int client_usable(const struct ctxd_client *client);
int client_check(const struct ctxd_client *client);

/* The result of a call of the program, explained for CTXRING_DEBUG by the words of ctxd_explain(). */
void client_explain(const void *site, const char *function, int error) DEBUG_COLD;
#define client_result(result)                                                                          \
	({                                                                                             \
		int result_ = (result);                                                                \
		if (__builtin_expect(result_ < 0, 0) && debug_is_wanted() && !debug_is_usual(result_)) \
			client_explain(DEBUG_HERE, result_);                                           \
		result_;                                                                               \
	})

/* Wakes the dispatcher. Any thread may call this, also with locks of the core held. */
void client_wake(struct ctxd_client *client);

/* Adds entry->fd to the epoll set. 0 or -errno. */
int client_poll(struct ctxd_client *client, struct poll_entry *entry, uint32_t events);

/* Arms an entry again that was added with EPOLLONESHOT and has fired. */
void client_rearm(struct ctxd_client *client, struct poll_entry *entry, uint32_t events);

/*
 * Takes an entry out of the epoll set and closes its descriptor, unless the number is another file's by now.
 * Does nothing if fd is -1.
 */
void client_unpoll(struct ctxd_client *client, struct poll_entry *entry);

/* Whether the scratch pipe is still ours: the program may have closed all descriptors. */
bool client_has_scratch(const struct ctxd_client *client);

/* Tells the program of an event, by the function in its options. */
void client_tell(struct ctxd_client *client, const struct ctxd_event *event);

/* ---- client_timer.c: when the dispatcher is to do something */

/* Sets a time, or with 0 takes it back. The client lock is held. */
void client_timer_set(struct ctxd_client *client, enum timer_use use, uint64_t due_ns);

/* Sets a time that counts from now. The client lock is not held. */
void client_timer_after(struct ctxd_client *client, enum timer_use use, uint64_t delay_ns);

/* The timer has fired: returns the uses whose time has come, as bits 1 << use, and takes these times back. */
unsigned client_timer_take(struct ctxd_client *client);

/* ---- link.c: the socket */

/* Sets the timer for the next attempt to connect: soon at first, and later each time. */
void link_later(struct ctxd_client *client);

/*
 * link_block: the socket takes no more now; the client lock is held. link_unblock: the socket takes messages
 * again.
 */
void link_block(struct ctxd_client *client);
void link_unblock(struct ctxd_client *client);

/* Sends one message, with fd unless that is -1. The client lock is held. 0; -EAGAIN: not now; -ENOTCONN. */
int link_send(struct ctxd_client *client, const struct wire_message *message, int fd);

/* Closes the client's socket, if there is one. */
void link_close(struct ctxd_client *client);

/* ---- dispose.c: descriptors that the service sent */

/*
 * Closes descriptors that came with a message and that nobody took. A thread does it, for closing may take
 * any time.
 */
void dispose(const int *fds, unsigned count);

/* Shuts down a socket to the service and closes it, together with what is queued in it. */
void dispose_socket(int fd);

/*
 * False: so many descriptors that this process received wait to be closed that no more should be received.
 */
bool dispose_has_room(void);

/* In a forked child: starts to close the copies of what waited to be closed in the parent. */
void dispose_resume(void);

/* To be called by the fork handlers. The queue's lock is taken inside those of clients. */
void dispose_fork_prepare(void);
void dispose_fork_parent(void);
void dispose_fork_child(void);

/* Whether the descriptors are what the message says: pipe, pidfd or table. */
bool descriptors_are_right(const struct ctxd_client *client, const struct wire_message *message,
			   const int *fds);

/* ---- answer.c: answers to requests */

/* Gives an answer to the call that waits for it, and takes over fds. False: no call waits for it. */
bool call_answer(struct ctxd_client *client, const struct wire_message *answer, const int *fds,
		 unsigned fd_count);

/* Ends the call with that serial, if it waits, with an error. */
void call_fail(struct ctxd_client *client, uint64_t serial, int error);

/* Ends all calls with an error, for none will be answered. The client lock is held. */
void calls_fail(struct ctxd_client *client, int error);

/* ---- bond_index.c: finding shares and joins. The client lock is held. */

/* Adds bond by its id or its context; not if it has none. */
void bond_index_add(struct ctxd_client *client, struct bond *bond, enum bond_key key);
/* Takes it out, if it is there. */
void bond_index_remove(struct ctxd_client *client, struct bond *bond, enum bond_key key);
/* The next one of that number, which of a context is its address; after NULL: the first. NULL: there is none.
 */
struct bond *bond_index_next(struct ctxd_client *client, enum bond_key key, uint64_t number,
			     const struct bond *after);
void bond_index_free(struct ctxd_client *client);

/* ---- bond.c: what shares and joins have in common */

/* Makes a share or a join; with global, a join by that id. NULL: there is no memory. */
struct bond *bond_new(struct ctxd_client *client, struct ctx_context *ctx, bool joined,
		      const struct wire_global *global);

/* Ends the context of a join. No lock is held, for callbacks of the context run in here. Dispatcher. */
void bond_end(struct bond *bond, int error, const struct ctx_cause *cause);

/*
 * Tells the service, once the socket takes messages again, that what it has shared or joined under that id is
 * not wanted. Without memory it is told when the connection ends. Dispatcher.
 */
void bond_give_back(struct ctxd_client *client, struct ctxd_id id, bool joined);

/* Takes back the JOIN_GLOBAL of that serial, whose answer did not come in time, and frees bond, which was
 * made for it and is in no list. */
void bond_withdraw(struct bond *bond, uint64_t serial);

/* Adds it to the shares or joins of its client. The client lock is held. */
void bond_list(struct bond *bond, struct list *list);

/* Sets the id of a share or join that is listed, by which the service knows it. The client lock is held. */
void bond_set_id(struct bond *bond, struct ctxd_id id);

/*
 * The id under which other hosts know the context of a share or join: 0; -ENOENT: there is none; -ENOTCONN:
 * it is not known now. The client lock is held.
 */
int bond_global(const struct bond *bond, struct wire_global *ret_global);

/* How many shares and joins of this process have or had a global id. */
extern _Atomic unsigned bonds_global;

/* Adds flags to what is pending, and wakes the dispatcher. The client lock is held. */
void bond_pend(struct bond *bond, unsigned pending);

/*
 * A function of a watch calls this to add flags. The context's lock is held. The dispatcher is woken with the
 * work in later, or at once if that is NULL.
 */
void bond_told(struct watch *watch, unsigned pending, struct deferred_list *later);

/*
 * Fill in a SHARE or a REJOIN. Both return the descriptor that goes with it, or -errno. The client lock is
 * held.
 */
int share_message(struct bond *bond, struct wire_message *ret_message);
int join_message(struct bond *bond, struct wire_message *ret_message);

/* Sends what is pending, and frees shares and joins that are gone. */
void bonds_flush(struct ctxd_client *client);

/* Makes released joins pending again: work under them may have ended. */
void bonds_look_again(struct ctxd_client *client);

/* The connection broke: the service knows no share and no join any more. */
void bonds_forget(struct ctxd_client *client);

/* The work of client->wake_later. */
void bonds_wake_later(struct deferred *deferred);

/* Waits until no sweep of another thread is about to wake the dispatcher. No lock is held. */
void bonds_await_sweeps(struct ctxd_client *client);

/* Finds a share or a join by id whose context is live. NULL: there is none. Dispatcher. */
struct bond *bond_find(struct ctxd_client *client, struct ctxd_id id);

/* Frees all shares and joins, when the client is closed. */
void bonds_free(struct ctxd_client *client);

/* ---- owner.c: the processes that own what was joined */

bool owner_is_dead(const struct owner *owner);

/* Sets the owner of a join, whose pidfd is fds[1] and is taken over; not if the pipe is a bridge's. 0 or
 * -errno. */
int bond_set_owner(struct bond *bond, const struct wire_joined *joined, const int *fds);

/* The join has no owner any more, which is freed after the last. */
void owner_leave(struct bond *bond);

/* ---- remote.c: joins by global ids, and those without a pipe */

/* Puts a join that has no pipe among those to be asked for. The client lock is held. */
void remote_want(struct bond *bond, enum remote_list list);

/* The pipe of a join has hung up without last words. Dispatcher, no lock held. */
void remote_lost(struct bond *bond);

/* Handles answer if it is to the JOIN_GLOBAL of a join that still wants it. True: fds were taken over. */
bool remote_answered(struct ctxd_client *client, const struct wire_message *answer, const int *fds);

/* The answer to the JOIN_GLOBAL of that serial is lost, or is none. Does nothing if there is no such join. */
void remote_failed(struct ctxd_client *client, uint64_t serial);

/* Makes all pending that have no pipe: the client is ready, or TIMER_RETRY has fired, then with retry. */
void remotes_ask(struct ctxd_client *client, bool retry);

/* Gives up those whose grace is over, and sets the timer for the next. Dispatcher, no lock held. */
void remotes_review(struct ctxd_client *client);

/* ---- restore.c: registering everything again */

/* Begins to register all shares and joins again, after WELCOME. */
void bonds_restore(struct ctxd_client *client);

/* Sends the registrations that may be sent now. */
void bonds_restore_some(struct ctxd_client *client);

/* Handles the answer to a registration. False: answer is to something else. */
bool bonds_restored(struct ctxd_client *client, const struct wire_message *answer);

/* ---- share.c, joined.c */

/* One shot, because a pipe that has hung up would be reported again and again until it is closed. */
#define JOIN_EVENTS (EPOLLIN | EPOLLONESHOT)

extern const struct watch_ops share_watch_ops, join_watch_ops;

/* So many pipes are read at once: a pipe takes the words of 16 others, see pipe(7). */
#define JOIN_PIPES_MAX 16

/* The done pipes of the owners of these joins are readable or have hung up. count: at most JOIN_PIPES_MAX. */
void join_pipes_ready(struct ctxd_client *client, struct bond *const *bonds, unsigned count);
/* The owner has ended. */
void owner_ready(struct ctxd_client *client, struct owner *owner);

/* The service tells that the owner has moved the deadline. */
void join_moved(struct ctxd_client *client, const struct wire_move *move);

/* ---- order.c: cancels that the service orders */

/* Obeys an ORDER: ends the context. */
void order_take(struct ctxd_client *client, const struct wire_message *message);

/* Tells the service what has become of orders. */
void orders_flush(struct ctxd_client *client);

/* The connection is gone: what becomes of orders is told no more. */
void orders_forget(struct ctxd_client *client);

/* ---- receive.c: connecting, and the messages that come in */

/* Connects and sends HELLO. 0 or -errno. */
int link_open(struct ctxd_client *client);

/* Closes the connection: ends all calls with an error, and sets the timer for the next attempt. */
void link_break(struct ctxd_client *client);

/* Receives and handles the messages that are there, up to a bound. Returns how many. */
int link_receive(struct ctxd_client *client);

/* ---- turn.c */

/*
 * Handles the events that are there, after waiting at most timeout_ms for one, and sends what is pending.
 * Returns how many things were handled, or -EINTR. *ret_events (may be NULL) is the number of descriptors
 * that were ready.
 */
int client_turn(struct ctxd_client *client, int timeout_ms, int *ret_events);

/*
 * Returns the client of this process that was opened first, of those whose service belongs to a fleet. It is
 * not freed before client_give_back(). NULL: there is none.
 */
struct ctxd_client *client_take_fleet(void);
void client_give_back(struct ctxd_client *client);

/* ---- call.c: requests */

/*
 * Sends request, with a new serial and with fd unless that is -1, and waits for the answer. *ret_answer may
 * be of any type; a RESULT with an error is returned as the error of this call. The descriptors that came
 * with the answer are the caller's.
 */
int call_make(struct ctxd_client *client, struct wire_message *request, int fd, uint64_t timeout_ns,
	      struct wire_message *ret_answer, int ret_fds[WIRE_FDS_MAX]);

/* The same, with a call whose answer and take are set by the caller. The descriptors are in the call. */
int call_run(struct ctxd_client *client, struct call *call, struct wire_message *request, int fd,
	     uint64_t timeout_ns);

/* ---- join.c */

/*
 * Sends a JOIN or JOIN_GLOBAL and makes the context from the answer, with that label unless it is NULL. site
 * is the return address of the program's call.
 */
int join_and_wait(struct ctxd_client *client, struct wire_message *request, const char *label,
		  const void *site, struct ctx_context **ret_ctx);

#endif
