/* SPDX-License-Identifier: MIT */
/*
 * daemon/broker: what its files share. Only they include this; the rest of the service includes
 * broker.h. The broker has no sockets, no loop and no clock: connection.c gives it messages and the time, and
 * takes messages from it. It may use base, table and wire of lib/.
 *
 * Its files, from below upwards. None calls one that stands above it; a job is the one way up, see struct
 * job.
 *
 *   account.c        what each user has charged to it, against the quotas
 *   given.c          descriptors that clients gave: closing them, and telling a pipe from other files
 *   job.c            work that is too much for one turn, done in pieces
 *   peer.c           sending to a client, and what its queued messages are charged
 *   clock.c          whether the clock of a client's process is ours
 *   pending.c        answers that another client has to give first
 *   terms.c          whether there is a fleet, and telling clients what they need to know of it
 *   bridge_notes.c   what the bridge is to be told
 *   remote.c         contexts of other hosts: finding them, who waits for them, and whether they are wanted
 *   rights.c         who may see, join and cancel what
 *   entry.c          what can be listed and watched: its place in the order, its entry, and who may see it
 *   listing.c        the answer to LIST
 *   event.c          changes, and the clients that watch for them
 *   process.c        which clients are connections of one process
 *   share.c          shared contexts: finding, charging and ending them
 *   join.c           which client has joined which shared context
 *   cancel.c         requests to end a context, and the orders to processes that come of them
 *   spread.c         work on all joins of a shared context, and on all that is shared below it, in pieces
 *   share_request.c  SHARE, UNSHARE, MOVE, ENDED
 *   join_request.c   JOIN, REJOIN, ATTACH, LEAVE
 *   global_request.c JOIN_GLOBAL, and the answers to FETCH that the bridge gives with MIRROR
 *   question.c       ASK and TELL
 *   bridge_session.c BRIDGE, and the end of the bridge
 *   recorder.c       tables of processes that died, and the answer to TABLE
 *   session.c        a client from its connection to its end: HELLO, the handler of each message, its turns
 *   broker.c         making and freeing all of it, and what is due at a time
 */
#ifndef CTXD_PARTS_H
#define CTXD_PARTS_H

#include <sys/stat.h>

#include "account.h"
#include "broker.h"
#include "heap.h"
#include "lanes.h"
#include "map.h"
#include "table_format.h"
#include "tree.h"

/* ---- work: what has many effects is cut into pieces, which are done in later turns */

/*
 * Costs, in units of about a tenth of a microsecond: WORK_STEP for a step along a list, WORK_ITEM for making,
 * freeing or telling one object, WORK_MESSAGE for a message that is received or sent.
 */
enum {
	WORK_STEP = 1,
	WORK_ITEM = 8,
	WORK_MESSAGE = 32,
};

/*
 * Work that may take more than one piece. Whoever makes the object that it belongs to sets run, so job.c
 * calls upwards by this pointer only.
 */
struct job {
	/* In broker->jobs while the job is queued. Otherwise linked to itself. */
	struct list link;
	uid_t uid; /* The user in whose lane the job is queued. */
	/* Works until the piece is over. False: nothing is left to do, and the job may have been freed. */
	bool (*run)(struct job *job);
};

/* ---- what can be listed and watched, in the order in which it came */

/* Part of each share, join, process and death. */
struct listed {
	struct list link; /* In broker->listed. */
	struct tree_node by_serial;
	uint64_t serial; /* The cursor of a list. 0: not listed any more. */
	enum ctxd_entry_kind kind;
};

/* ---- answers and notes that wait */

/*
 * An answer that another client has to give first. It is sent in a turn of its client, however many there
 * are, so none is lost if the queue is full.
 */
struct pending {
	struct list of_peer; /* In peer->pending. */
	struct list ready;   /* In peer->ready once the answer is known. Otherwise linked to itself. */
	struct peer *peer;
	uint64_t serial; /* That of the request. */
	/* Sends the answer, and frees this. -EAGAIN: the message does not fit, and this is kept. */
	int (*send)(struct pending *pending);
	/* The client is gone: frees this. */
	void (*forget)(struct pending *pending);
};

/*
 * What the bridge is to be told. It is kept while there is no bridge, and sent in the turns of the bridge, in
 * which the users take turns.
 */
struct note {
	struct list link; /* In broker->notes. Otherwise linked to itself. */
	uid_t uid;	  /* The user in whose lane it waits. */
	/* Sends it. -EAGAIN: the message does not fit. */
	int (*send)(struct note *note, struct peer *bridge);
};

/* ---- the objects */

struct event;

struct broker {
	struct config config;
	struct accounts accounts;
	struct disposal disposal;
	dev_t pipe_device; /* The device of all pipes, which FIFOs do not have. */
	bool has_statx;
	bool emptied; /* broker_empty() was called: the recorder keeps no more tables. */
	/*
	 * The overflow uid and gid, which many users or groups may have, see overflow.h. -1: there is none.
	 */
	uid_t anybody_uid;
	gid_t anybody_gid;
	uint64_t epoch;
	uid_t own_uid; /* Of the service. */
	unsigned peer_count;
	uint64_t now_ns;      /* The time that was told last. */
	uint64_t work;	      /* The work done so far, in the units above. */
	uint64_t piece_end;   /* The value of work at which the current piece is over. */
	uint64_t last_number; /* The number of the latest shared context. */
	uint64_t last_serial; /* The serial of the latest struct listed. */
	uint64_t last_order;
	uint64_t last_process, last_cancel;
	struct lanes jobs;
	struct job count_depths;
	struct list to_count; /* The shares whose below_left is not 0: depths below them are to be counted. */
	struct event *events; /* A ring buffer of the latest events. NULL until a client watches. */
	uint64_t last_event;
	unsigned watchers;
	struct job wake_watchers;
	struct list idle_watchers; /* The watchers that have looked at all events. */
	struct heap due;	   /* The cancels, by the time at which cancel.c has to look at them. */
	struct list listed, peers, ended, dead, parted, cancels;
	struct tree_node *listed_by_serial;
	struct map shares_by_number, shares_by_pipe, shares_by_name, shares_by_context;
	struct map joins_by_share, joins_by_context;
	struct map processes, peers_by_table, peers_by_pid, deaths_by_table, deaths_by_pid;
	struct map orders, orders_by_target;
	struct peer *bridge; /* NULL: there is none. */
	struct lanes notes;  /* What it is to be told. */
	uint64_t last_fetch; /* The serial of the latest FETCH or ASKED. */
	struct map remotes_by_key, remotes_by_fetch, waits_by_serial, questions;
	struct heap questions_due; /* The questions, by the time at which they count as not answered. */
	struct list unjoined; /* Mirrors that were registered again and joined by nobody, the oldest first. */
	struct list unclaimed; /* Unclaimed shares that are not withdrawn yet, the oldest first. */
	struct job tell_terms;
	unsigned terms_left; /* How many at the beginning of peers are still to be told the terms. */
};

/* A process with at least one connection. It is listed until its last connection has been taken apart. */
struct process {
	struct listed listed;
	struct map_node by_pid;
	uint64_t number; /* Counted up, so no later process has it. */
	pid_t pid;	 /* 0: the process is not in our pid namespace. */
	uid_t uid;
	gid_t gid;
	char name[16];
	uint64_t table; /* The inode of its table. 0: not published. */
	uint64_t created_ns;
	struct list peers; /* Its connections that are open. */
	unsigned refs;	   /* The number of its connections, with those that are being taken apart. */
};

/* A client: one connection of a process. */
struct peer {
	struct broker *broker;
	struct list link;	 /* In broker->peers. */
	struct process *process; /* NULL until the client has said HELLO. */
	struct list of_process;	 /* In process->peers, or linked to itself. */
	struct list watch_link;	 /* In broker->idle_watchers, or linked to itself. */
	/* Sends what the client is to be told. Once the client is gone, takes apart what it had. */
	struct job job;
	struct map_node by_table, by_pid;
	struct identity identity; /* Its groups are sorted. */
	struct account *account;
	struct peer_output output;
	uint64_t connection_fds; /* The number of descriptors that connection.c holds for the client. */
	char name[16];		 /* The name of its process. */
	bool greeted;
	bool gone, died;
	bool full;	/* output.send said -EAGAIN: nothing but answers is sent until peer_writable(). */
	int table_fd;	/* -1: the client did not publish a table. */
	uint64_t table; /* The inode of that table. */
	uint64_t created_ns, gone_ns;
	uint32_t watch_kinds;
	uint64_t next_event; /* The number of the next event that this watcher looks at. */
	uint64_t lost;	     /* The number of events that did not fit and have not been told as lost. */
	struct list shares, joins, orders, cancels;
	/* The orders, and the joins with a moved deadline, that are to be sent to the client. */
	struct list unsent, moved;
	unsigned order_count;
	bool terms_due;		    /* The client is to be told the terms of the fleet. */
	struct list pending, ready; /* Its requests that others answer, and those with an answer. */
	struct bridge *bridge;	    /* NULL: the client is not, and was not, the bridge. */
};

/* What the service waits for from a bridge. */
struct bridge {
	struct list fetched; /* Of struct remote. */
	struct list asked;   /* Of struct question. */
};

/* A shared context. It outlives its owner: whoever joins a minute late is told the cause. */
struct share {
	struct listed listed;
	struct broker *broker;
	struct job job;	  /* Visits the joins; once the share is hidden, frees them and then the share. */
	struct list link; /* In owner->shares, or in broker->ended or unclaimed. */
	struct list of_account; /* In account->ended, or linked to itself. */
	struct map_node by_number, by_pipe, by_name, by_context;
	bool has_pipe, has_name; /* Whether the share is in the map by pipe, and in that by name. */
	uint64_t number;
	struct peer *owner; /* NULL: the share has ended, or is unclaimed. */
	/*
	 * The account that pays: that of the owner, or of the first who joined while the share is unclaimed.
	 */
	struct account *account;
	/* Who the owner is. This stays when the owner is gone. */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	char process[16];
	uint64_t table, ctx_id;
	int pipe_fd; /* -1: the share has ended. */
	uint64_t pipe_device, pipe_inode;
	char name[CTXD_NAME_MAX + 1];
	char label[CTX_LABEL_MAX + 1];
	uint32_t mode;
	uint64_t secret;       /* Other hosts may join with it. 0: they may not. */
	struct remote *remote; /* The context of another host of which this is a mirror. Otherwise NULL. */
	bool movable;
	bool unclaimed; /* After a restart: clients joined it again, and its owner is not back yet. */
	bool hidden;	/* No client can find the share any more. It is freed when its joins are. */
	/* The owner does not share it any more, but what is joined may live on. */
	bool withdrawn;
	bool too_deep;	/* The share was hidden for its depth, so what is shared below it goes as well. */
	unsigned depth; /* The number of joins above it. */
	struct ctxd_id parent;
	struct list below, beside; /* The shares below this one, and the link in above->below. */
	struct list of_to_count;   /* In broker->to_count, or linked to itself. */
	struct share *above;	   /* NULL: there is none, or it is gone. */
	unsigned below_count;
	uint64_t created_ns, deadline_ns, ended_ns;
	struct ctx_cause cause;
	struct list joins;
	struct list untold; /* Joins of a hidden share that are freed when the bridge was told: UNSHARED. */
	unsigned join_count, bridge_join_count; /* The latter are those of the bridge, for other hosts. */
	/*
	 * How many at the beginning of joins, and of below, are still to be visited. A visited one goes to
	 * the end.
	 */
	unsigned joins_left, below_left;
	struct cancel *cancel; /* The cancel whose orders the visit gives to those who joined, or NULL. */
};

/* One client has joined one shared context. */
struct join {
	struct listed listed;
	struct list of_share, of_peer;
	struct list of_moved; /* In peer->moved, or linked to itself. */
	struct map_node by_share, by_context;
	struct share *share;
	struct peer *peer;
	struct account
		*account; /* What it is charged to, as quota: that of the peer, or of the share's owner. */
	enum quota quota;
	uint64_t ctx_id; /* The id of the joined context in the client's own table. 0: not known yet. */
	uint64_t created_ns;
	uint64_t deadline_ns; /* The deadline that the client was told last. */
	bool is_withdrawal_told;
};

/*
 * A context of another host that a user has joined, or waits to join. Its share, the mirror, is owned by the
 * bridge. Each user has mirrors of its own, so that what one does to them is not seen by others.
 */
struct remote {
	struct broker *broker;
	struct account *account;
	struct wire_global global;
	uint32_t flags; /* WIRE_SURVIVE or 0. */
	uid_t uid;
	gid_t gid;
	unsigned refs; /* One of each wait, one of the mirror. */
	struct map_node by_key, by_fetch;
	bool is_known; /* It is in the map by key: who joins that context next gets this. */
	/* Nobody waits any more, but the bridge was asked and not told so yet: this is charged itself. */
	bool is_charged;
	uint64_t fetch;	  /* The serial of the FETCH. */
	struct note note; /* The FETCH or, once the bridge was asked, UNWANTED. */
	/* In bridge->fetched of the bridge that was asked, or in broker->unjoined. Otherwise linked to
	 * itself. */
	struct list link;
	struct bridge *asked; /* The bridge that was asked and has not answered. */
	struct job job;	      /* Makes the waits ready. */
	struct list waits;    /* Those that are not ready. */
	unsigned wait_count;  /* Of all that are not freed. */
	/* The answer. There is none yet if all of these are 0. */
	struct share *mirror;
	struct wire_joined *ended;
	int error;
	uint64_t since_ns; /* Since when it is in broker->unjoined. */
};

/* A request to end a context. It lives until all operations are reaped, or until audit_ns. */
struct cancel {
	struct list link;	/* In broker->cancels. */
	struct list asker_link; /* In asker->cancels, or linked to itself. */
	struct heap_node due;
	struct peer *asker; /* NULL: the client is gone, or has its answer. */
	struct account *account;
	uint64_t serial; /* The serial of the CANCEL message. */
	bool wait; /* The asker waits until operations are reaped, and not only until contexts have ended. */
	bool answered;
	uint64_t answer_ns; /* The latest time of the answer. */
	uint64_t audit_ns;  /* The latest time of the record. */
	struct list orders;
	unsigned not_ended, not_reaped; /* The number of orders that have not been reported as that. */
	struct order *owner_order;	/* The order for the owner while it is held back. NULL: none is. */
	uint64_t hold_ns;		/* The latest time until which owner_order is held back. */
	struct share *share; /* The share whose joins are being visited. NULL: all have their orders. */
	struct ctxd_report report;
	int error;   /* The first error that a process reported: the answer, if no process obeyed. */
	int refused; /* Why the first order that could not be given could not be. */
	/* What the audit records say of it. */
	uint64_t number;
	bool recorded; /* The request has its audit record, so its end gets one as well. */
	pid_t pid;
	uid_t uid;
	bool by_bridge; /* For another host, which text tells of. */
	char process[16];
	char target[256]; /* Room for each byte of a label as four characters, and for both quotes. */
	int cause_error;
	char text[CTX_CAUSE_TEXT_MAX];
	/* Who asked, as the cause says it: of the bridge, a user of another host. "": of this one. */
	pid_t cause_pid;
	uid_t cause_uid;
	char cause_host[CTX_HOST_MAX];
};

/* One process is told to end one context. */
struct order {
	struct list of_cancel, of_peer;
	struct list of_unsent; /* In peer->unsent, or linked to itself. */
	struct map_node by_serial, by_target;
	uint64_t serial;
	struct cancel *cancel;
	struct peer *peer;
	struct ctxd_id id;
	uint64_t ctx_id;
	bool ended, reaped;
};

/*
 * What the recorder knows of a process whose connection is gone. The process may live on for a moment, or for
 * long.
 */
struct death {
	struct listed listed; /* Listed once the process is dead and its table is copied. */
	struct broker *broker;
	struct list link;	/* In broker->dead or broker->parted, the one to be looked at next first. */
	struct list of_account; /* In account->dead or account->parted, the oldest first. */
	struct map_node by_table, by_pid;
	struct account *account;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	char process[16];
	int table_fd, pidfd; /* pidfd is -1 once the process is known to be dead. */
	uint64_t table, bytes;
	uint64_t parted_ns, looked_ns;
	bool copying; /* The table is being copied. Meanwhile table_fd is -1. */
	bool dead;
};

/* ---- given.c */

/*
 * Sets the disposal that closes at once, and learns which device pipes have. False: there are no descriptors.
 */
bool given_init(struct broker *broker);
/* Closes fd, which a client of uid gave. -1 is allowed. known: it is certain to be a pipe or a memfd. */
void given_close(struct broker *broker, uid_t uid, int fd, bool known);
/* False: so many descriptors that uid gave wait to be closed that it may give no more. */
bool given_has_room(const struct broker *broker, uid_t uid);
/*
 * Whether fd can be the done pipe of a context: the read end of a pipe that was not opened with O_PATH, and
 * no FIFO, which a file system of another user may serve. by_owner: peer's user must have made it, unless
 * that is root. Fills in device, inode, mode and uid of *ret_status.
 *
 * Nothing is asked that could wait: no file system is asked, and the lock of the pipe, which others can hold
 * as long as they like, is not taken.
 */
bool given_done_pipe(const struct peer *peer, int fd, bool by_owner, struct stat *ret_status);

/* ---- job.c */

/* Whether the current piece still has room for more work. */
bool piece_lasts(const struct broker *broker);
/* Begins a new piece. */
void piece_begin(struct broker *broker);

/* Queues the job for a later turn. Does nothing if it is queued already. */
void job_queue(struct broker *broker, struct job *job);
/* Runs the job within the current piece, and queues what is left. The job may be freed by that. */
void job_begin(struct broker *broker, struct job *job);
/* Runs some pieces of the queued jobs. The users take turns. */
void jobs_run(struct broker *broker);
/* Runs all queued jobs to their end. For the end of the service. */
void jobs_finish(struct broker *broker);

/* ---- peer.c */

/*
 * Send a message. peer_offer() is for messages that are kept until they are sent: -EAGAIN: nothing was sent,
 * and the caller tries again after peer_writable().
 */
int peer_offer(struct peer *peer, const struct wire_message *message, const int *fds, unsigned fd_count);
int peer_send(struct peer *peer, const struct wire_message *message, const int *fds, unsigned fd_count);
void peer_result(struct peer *peer, uint64_t serial, int error, struct ctxd_id id);

/* ---- clock.c */

/* False: the process is in a time namespace whose CLOCK_MONOTONIC is ahead of ours or behind it. */
bool has_our_clock(const struct peer *peer);

/* ---- pending.c */

void pending_init(struct pending *pending, struct peer *peer, uint64_t serial);
/* The answer is known: has it sent. */
void pending_ready(struct pending *pending);
/* Takes it out of the lists of its client, before it is freed. */
void pending_remove(struct pending *pending);
/* Sends the first of peer->ready. -EAGAIN: the message does not fit. */
int pending_send_next(struct peer *peer);
/* Forgets those of a gone client. False: more is left. */
bool pending_peer_gone(struct peer *peer);

/* ---- terms.c */

/* Whether this service belongs to a fleet. */
bool has_fleet(const struct broker *broker);
/* Sets the configuration, and has all clients told the terms if they are others now. */
void terms_set(struct broker *broker, const struct config *config);
/* -EAGAIN: the message does not fit. */
int terms_send(struct peer *peer);
/* The job broker->tell_terms. */
bool terms_tell(struct job *job);

/* ---- bridge_notes.c */

void note_init(struct note *note, uid_t uid, int (*send)(struct note *note, struct peer *bridge));
/* Has the bridge told. Does nothing if the note waits already. */
void note_add(struct broker *broker, struct note *note);
void note_remove(struct broker *broker, struct note *note);
/* Sends the next note. -EAGAIN: the message does not fit. */
int note_send_next(struct peer *bridge);

/* ---- remote.c */

/* The latest one of that key that can still be joined. NULL: there is none. */
struct remote *remote_find(struct broker *broker, const struct wire_global *global, uint32_t flags,
			   uid_t uid);
struct remote *remote_of_fetch(struct broker *broker, uint64_t fetch);
/* One that is known, with a reference for the caller. NULL: no memory. */
struct remote *remote_new(struct broker *broker, const struct wire_global *global, uint32_t flags, uid_t uid,
			  gid_t gid, int (*send)(struct note *note, struct peer *bridge),
			  bool (*run)(struct job *job));
void remote_ref(struct remote *remote);
void remote_unref(struct remote *remote);
/* Who joins that context from now on gets another one. */
void remote_forget(struct remote *remote);
/* It has an answer, or the bridge is gone: the service does not wait for the bridge any more. */
void remote_unask(struct remote *remote);
/* The share is a mirror no more, or cannot be found any more. */
void remote_lose_mirror(struct remote *remote);
/* If nobody has joined the mirror or waits for it any more, the bridge is told so. */
void remote_check_wanted(struct remote *remote);

/* ---- rights.c */

/* Whether peer is the bridge. */
bool is_bridge(const struct peer *peer);
/* Whether peer may become the bridge. */
bool may_be_bridge(const struct peer *peer);
/* Whether peer may ask other hosts what is there. */
bool may_list_fleet(const struct peer *peer);
/*
 * Whether who has the pipe of that share may join it with that alone: other hosts know it, so who has the
 * pipe has joined it by an id with a secret, or could have.
 */
bool is_joined_by_pipe(const struct share *share);

enum right {
	RIGHT_SEE = 4, /* This is the right to join as well. */
	RIGHT_CANCEL = 2,
};

/* Whether peer has that right over the shared context. */
bool may_use_share(const struct peer *peer, const struct share *share, enum right right);
/* Whether peer has that right over what belongs to uid and gid and has that mode. */
bool may_by_mode(const struct peer *peer, uid_t uid, gid_t gid, uint32_t mode, enum right right);
/* Whether uid is certainly peer's own user. */
bool is_own_user(const struct peer *peer, uid_t uid);
/*
 * Whether uid is peer's own user, or peer is root's: such a peer may see the process, its table and its
 * death.
 */
bool is_same_user(const struct peer *peer, uid_t uid);
/*
 * Whether peer may end any context of the process of publisher, shared or not, by its id in the context
 * table.
 */
bool may_cancel_by_table(const struct peer *peer, const struct peer *publisher);

/* ---- entry.c */

void listed_add(struct broker *broker, struct listed *listed, enum ctxd_entry_kind kind);
void listed_remove(struct broker *broker, struct listed *listed);

/*
 * Who may see a listed object. Kept with each event, since the object may be gone when a watcher's turn
 * comes.
 */
struct sight {
	enum ctxd_entry_kind kind;
	bool hidden;	/* Nobody may see it. */
	bool of_fleet;	/* The bridge may see it. */
	uid_t uid;	/* Of a shared context, who may see it depends on uid, gid and mode. */
	uid_t also_uid; /* Of other kinds, both users may. Of a join, this is the owner's. */
	gid_t gid;
	uint32_t mode;
};
struct sight listed_sight(const struct listed *listed);
bool peer_sees(const struct peer *peer, const struct sight *sight);
void listed_entry(const struct listed *listed, struct ctxd_entry *ret_entry);
struct ctxd_id share_id(const struct share *share);

/* ---- listing.c */

int handle_list(struct peer *peer, const struct wire_message *message);

/* ---- event.c */

/* Keeps an event for the watchers, if there are any. */
void listed_event(struct broker *broker, const struct listed *listed, enum ctxd_event_kind kind);
int handle_watch(struct peer *peer, const struct wire_message *message);
void watch_end(struct peer *peer);
/* Tells the watcher of the next event that it may see, or counts it as lost. False: it has looked at all. */
bool watch_tell_next(struct peer *peer);
/* The job broker->wake_watchers: queues the jobs of the watchers that had looked at all events. */
bool watchers_wake(struct job *job);

/* ---- process.c */

/* Adds a client that has said HELLO to the connections of its process. 0, or -ENOMEM. */
int process_attach(struct peer *peer);
/* Takes a client that is gone out of the open connections of its process. */
void process_detach(struct peer *peer);
/* Gives back the client's reference on its process. The process is freed with the last one. */
void process_unref(struct peer *peer);
/* The oldest open connection that brought a table. NULL: none did. */
struct peer *process_publisher(const struct process *process);
bool process_has_ended(int pidfd);

/* ---- share.c */

struct share *share_of_number(const struct broker *broker, uint64_t number);
struct share *share_of_pipe(const struct broker *broker, const struct stat *pipe);
struct share *share_of_name(const struct broker *broker, uid_t uid, const char *name);
struct share *share_of_context(const struct broker *broker, const struct process *owner, uint64_t ctx_id);
/*
 * 0; -ESTALE: the id is of another life of the service; -ENOENT: there is none, or peer has not that right.
 */
int share_find(struct peer *peer, struct ctxd_id id, enum right right, struct share **ret_share);

/*
 * A share that belongs to uid and is charged to payer. Takes pipe_fd over on success. run becomes its job:
 * share_run(), which stands above. NULL: no memory, or a quota is reached.
 */
struct share *share_new(struct broker *broker, uid_t uid, uid_t payer, int pipe_fd, const struct stat *pipe,
			bool (*run)(struct job *job), uint64_t now_ns);
/* Charges the share to payer in place of who paid before. False: no memory, or a quota is reached. */
bool share_charge_to(struct share *share, uid_t payer);
void share_set_owner(struct share *share, struct peer *peer, const struct wire_share *from,
		     struct share *parent);
/* Makes the share, which has that owner, the mirror of remote. Takes a reference. */
void share_set_remote(struct share *share, struct remote *remote);

/*
 * Has all joins of the share visited: for a new deadline, for the rights that its owner set, or for a cancel.
 */
void share_visit(struct share *share);
/* Marks the share: the depths of what is shared below it are to be counted again. */
void share_recount_depths(struct share *share);

/* Ends the share. It is kept for ENDED_NS, so that clients which join late are told the cause. */
void share_end(struct share *share, const struct ctx_cause *cause, uint64_t now_ns);
/* Ends a share whose owner is gone. */
void share_orphan(struct share *share, uint64_t now_ns);
/* Takes the share out of all maps and lists by which a client could find it. */
void share_hide(struct share *share);
/* Hides the share, then frees its joins, in pieces, and then the share. */
void share_free(struct share *share);
/* Frees the memory of a hidden share that has no joins any more. */
void share_free_memory(struct share *share);
void shares_expire(struct broker *broker, uint64_t now_ns);
uint64_t shares_next_ns(const struct broker *broker);
/* Tells the bridge what it has joined of which the owner has not come back after a restart. */
void unclaimed_expire(struct broker *broker, uint64_t now_ns);
uint64_t unclaimed_next_ns(const struct broker *broker);

/* ---- join.c */

/* The latest join of peer under that id. */
struct join *join_find(struct peer *peer, struct ctxd_id id);
/* The latest join of peer under that id whose context has the id ctx_id in peer's own table. */
struct join *join_find_context(struct peer *peer, struct ctxd_id id, uint64_t ctx_id);
void join_set_context(struct join *join, uint64_t ctx_id);
/*
 * A join that is neither charged nor in any list yet, see join_add(). What the bridge joins for other hosts
 * is charged to the user of the share. NULL: no memory.
 */
struct join *join_alloc(struct peer *peer, struct share *share);
/* Frees a join that was not added. NULL is allowed. */
void join_free_memory(struct join *join);
/* Adds a join whose charge was made. */
void join_add(struct join *join, uint64_t now_ns);
/* Charges and adds a join. 0; -EDQUOT; -ENOMEM. */
int join_new(struct peer *peer, struct share *share, uint64_t now_ns, struct join **ret_join);
/*
 * After a restart the client joined again what is now known to be a mirror: charges the join as those of
 * other hosts, if that quota has room.
 */
void join_charge_remote(struct join *join);
/* Whether it is a join of the bridge for other hosts. There is no operation under it. */
bool join_is_of_bridge(const struct join *join);
void join_free(struct join *join);
/* Has the client told the deadline of the share, unless it knows that one. */
void join_tell(struct join *join);
/* Whether the bridge is to be told that the share is withdrawn. */
bool join_owes_withdrawal(const struct join *join);
/* Sends MOVED or UNSHARED for the first of peer->moved. -EAGAIN: the message does not fit. */
int join_tell_next(struct peer *peer);

/* ---- cancel.c */

int handle_cancel(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int handle_obeyed(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
/* Gives the client of that join its order of share->cancel. */
void cancel_visit(struct join *join);
/* All joins have been visited. May free the cancel. */
void cancel_visited(struct cancel *cancel);
/* Sends the first of peer->unsent. -EAGAIN: the message does not fit. */
int order_send_next(struct peer *peer);
/*
 * Frees the orders that a gone client had, and takes it out of the cancels that it asked for. False: more is
 * left.
 */
bool cancels_peer_gone(struct peer *peer, uint64_t now_ns);
void cancels_expire(struct broker *broker, uint64_t now_ns);
uint64_t cancels_next_ns(const struct broker *broker);
bool cancels_are_under_way(const struct broker *broker);
/* Sends all orders that are held back, and answers every asker with what has been reported so far. */
void cancels_answer_all(struct broker *broker);
void cancels_free(struct broker *broker);

/* ---- spread.c */

/* The job of a share. */
bool share_run(struct job *job);
/* The job broker->count_depths. */
bool shares_count_depths(struct job *job);

/* ---- share_request.c and join_request.c. Those with a descriptor take it over. */

int handle_share(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
int handle_unshare(struct peer *peer, const struct wire_message *message);
int handle_move(struct peer *peer, const struct wire_move *move);
int handle_ended(struct peer *peer, const struct wire_ended *ended, uint64_t now_ns);
/*
 * The answer to who joins share, and its descriptors. Returns how many these are. is_remote: by the id of
 * another host, so the end of the bridge is not that of the context, and no pidfd is given.
 */
unsigned fill_joined(const struct share *share, bool is_remote, struct wire_joined *joined,
		     int fds[WIRE_FDS_MAX]);
int handle_join(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int handle_rejoin(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
int handle_attach(struct peer *peer, const struct wire_attach *attach);
int handle_leave(struct peer *peer, const struct wire_attach *left);
/* The owner of an unclaimed share is back. Its deadline and rights hold from now on for all who joined. */
void share_claim(struct share *share);

/* ---- global_request.c */

int handle_join_global(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
/* Takes back a JOIN_GLOBAL that is not answered. O(1). */
int handle_withdraw(struct peer *peer, uint64_t serial);
int handle_mirror(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
/* The bridge that was asked is gone: the next one is asked. False: more is left. */
bool fetches_bridge_gone(struct broker *broker, struct bridge *bridge);
/* Tells the bridge of mirrors that were registered again and that nobody has joined since. */
void unjoined_expire(struct broker *broker, uint64_t now_ns);
uint64_t unjoined_next_ns(const struct broker *broker);

/* ---- question.c */

int handle_ask(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int handle_tell(struct peer *peer, const struct wire_message *message, int fd);
/* Answers who asked a bridge that is gone. False: more is left. */
bool questions_bridge_gone(struct broker *broker, struct bridge *bridge);
void questions_expire(struct broker *broker, uint64_t now_ns);
uint64_t questions_next_ns(const struct broker *broker);

/* ---- bridge_session.c */

int handle_bridge(struct peer *peer, const struct wire_message *message);
/* The client is gone. It is not the bridge from now on. */
void bridge_gone(struct peer *peer);
/* Takes apart what the service waited for from a bridge that is gone. False: more is left. */
bool bridge_take_apart(struct peer *peer);

/* ---- recorder.c */

/* Takes over the table of a client that is gone, with its charge, unless the table is known already. */
void recorder_add(struct peer *peer, bool died, uint64_t now_ns);
void recorder_expire(struct broker *broker, uint64_t now_ns);
uint64_t recorder_next_ns(const struct broker *broker);
void recorder_free(struct broker *broker);
int handle_table(struct peer *peer, const struct wire_message *message, uint64_t now_ns);

#endif
