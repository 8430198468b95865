/* SPDX-License-Identifier: MIT */
/*
 * What the files of the broker share. Nothing outside of it includes this.
 *
 *   session.c   a client from its first words to its end
 *   peer.c      what is sent to a client and charged for it
 *   process.c   which clients are one process
 *   share.c     shared contexts
 *   join.c      who joined them
 *   share_request.c, join_request.c  what clients ask for of both
 *   cancel.c    requests to end a context, and the orders that they become
 *   spread.c    what a shared context has to tell many
 *   entry.c     what can be listed: its order, its entry, and who sees it
 *   listing.c   lists
 *   event.c     changes, for those who watch
 *   job.c       what is too much for one turn
 *   recorder.c  tables of processes that are gone
 *   rights.c    who may what
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

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
/* Those of a table: nobody but who maps it already writes it, and nobody cuts it. */
#define TABLE_SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* ---- work: what has many effects is cut into pieces, and goes on in later turns */

/*
 * What is counted, in units of about a tenth of a microsecond: a step along a list is WORK_STEP; what makes,
 * frees or tells something is WORK_ITEM; a message that comes or goes is WORK_MESSAGE.
 */
enum {
	WORK_STEP = 1,
	WORK_ITEM = 8,
	WORK_MESSAGE = 32,
};

struct job {
	struct list link; /* of broker->jobs, or alone */
	uid_t uid;	  /* in whose lane it waits */
	/* Does some of it, until its piece is over. False: nothing is left to do, and it may have been freed.
	 */
	bool (*run)(struct job *job);
};

/* ---- things: what can be listed, in the order in which it came */

struct listed {
	struct list link; /* broker->things */
	struct tree_node by_serial;
	uint64_t serial;
	enum ctxd_entry_kind kind;
};

struct event;

struct broker {
	struct config config;
	struct accounts accounts;
	struct disposal disposal;
	dev_t pipe_device; /* of all pipes */
	bool has_statx;
	bool emptied; /* nothing is remembered any more */
	/* That many users, or groups, may have, and so nobody's; -1: there is none such. See overflow.h.
	 */
	uid_t anybody_uid;
	gid_t anybody_gid;
	uint64_t epoch;
	uint64_t now_ns;      /* the last that was told */
	uint64_t work;	      /* done so far */
	uint64_t piece_end;   /* when work has come here, what is being done is put off */
	uint64_t last_number; /* of shared contexts */
	uint64_t last_serial; /* of things */
	uint64_t last_order;
	uint64_t last_process, last_cancel;
	struct lanes jobs;
	struct job count_depths;
	struct list to_count; /* shares below which depths are to be counted */
	struct event *events; /* a ring of the last ones; NULL: nobody ever watched */
	uint64_t last_event;
	unsigned watchers;
	struct job wake_watchers;
	struct list idle_watchers; /* watchers that have seen all there was */
	struct heap due;	   /* cancels, by when something is to be done for them */
	struct list listed, peers, ended, dead, parted, cancels;
	struct tree_node *listed_by_serial;
	struct map shares_by_number, shares_by_pipe, shares_by_name, shares_by_context;
	struct map joins_by_share, joins_by_context;
	struct map processes, peers_by_table, peers_by_pid, deaths_by_table, deaths_by_pid;
	struct map orders, orders_by_target;
};

/* Listed as long as one of its connections is there. */
struct process {
	struct listed listed;
	struct map_node by_pid;
	uint64_t number; /* never used again */
	pid_t pid;	 /* 0: not of our pid namespace */
	uid_t uid;
	gid_t gid;
	char name[16];
	uint64_t table; /* its inode; 0: not published */
	uint64_t created_ns;
	struct list peers; /* that are not gone */
	unsigned holders;  /* those that are being taken apart, too */
};

struct peer {
	struct broker *broker;
	struct list link;	 /* broker->peers */
	struct process *process; /* once it has said HELLO */
	struct list of_process;	 /* process->peers, or alone */
	struct list watch_link;	 /* broker->resting, or alone */
	struct job job; /* to tell it what is to be told; once it is gone, to take apart what it had */
	struct map_node by_table, by_pid;
	struct identity identity; /* its groups in order */
	struct account *account;
	struct peer_output output;
	uint64_t connection_fds; /* held for it outside of the broker */
	char name[16];		 /* of its process */
	bool greeted;
	bool gone, died;
	bool full;	/* said -EAGAIN: nothing goes until it is writable */
	int table_fd;	/* -1: not published */
	uint64_t table; /* its inode */
	uint64_t created_ns, gone_ns;
	uint32_t watch_kinds;
	uint64_t next_event; /* to be looked at, of those that are watched for */
	uint64_t lost;	     /* events that did not fit */
	struct list shares, joins, orders, cancels;
	struct list unsent, moved; /* orders and joins of which it is to be told */
	unsigned order_count;
};

struct share {
	struct listed listed;
	struct broker *broker;
	struct job job;		/* what its joins, and what stands below it, are still to be visited for */
	struct list link;	/* owner->shares; or broker->ended */
	struct list of_account; /* account->ended, or alone */
	struct map_node by_number, by_pipe, by_name, by_context;
	bool has_pipe, has_name; /* is in the map */
	uint64_t number;
	struct peer *owner;	 /* NULL: ended, or not claimed yet */
	struct account *account; /* of the owner; until it is claimed, of the one who came first */
	/* Of the owner, also when it is gone. */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	char process[16];
	uint64_t table, ctx_id;
	int pipe_fd; /* -1: ended */
	uint64_t pipe_device, pipe_inode;
	char name[CTXD_NAME_MAX + 1];
	char label[CTX_LABEL_MAX + 1];
	uint32_t mode;
	bool movable;
	bool unclaimed; /* known from those who joined it only, after a restart */
	bool hidden;	/* cannot be found any more; is freed when its joins are */
	bool too_deep;	/* and with it goes what stands below */
	unsigned depth;
	struct ctxd_id parent;
	/* What stands below it, and its place in that list of the one above. */
	struct list below, beside;
	struct list of_to_count; /* broker->deepening, or alone */
	struct share *above;	 /* NULL: none, or none any more */
	unsigned below_count;
	uint64_t created_ns, deadline_ns, ended_ns;
	struct ctx_cause cause;
	struct list joins;
	unsigned join_count;
	/* So many from the beginning of either list are to be visited; who was goes to the end. */
	unsigned joins_left, below_left;
	struct cancel *cancel; /* which gives its joiners their orders; NULL: none */
};

struct join {
	struct listed listed;
	struct list of_share, of_peer;
	struct list of_moved; /* peer->moved, or alone */
	struct map_node by_share, by_context;
	struct share *share;
	struct peer *peer;
	uint64_t ctx_id;
	uint64_t created_ns;
	uint64_t deadline_ns; /* the last one that its process knows */
};

/* A request to end something; lives until everything has been reaped, or the audit record is due. */
struct cancel {
	struct list link;	/* broker->cancels */
	struct list asker_link; /* asker->cancels, or alone */
	struct heap_node due;
	struct peer *asker; /* NULL: gone */
	struct account *account;
	uint64_t serial; /* of the request */
	bool wait;	 /* for the reaping */
	bool answered;
	uint64_t answer_ns; /* the answer goes then at the latest */
	uint64_t audit_ns;  /* so does the record */
	struct list orders;
	unsigned not_ended, not_reaped; /* orders */
	struct order *owner_order;	/* the owner's, not sent yet; NULL: none is held back */
	uint64_t hold_ns;		/* until then */
	struct share *share;		/* whose joiners get orders; NULL: all have */
	struct ctxd_report report;
	int error;   /* of the only process that was asked */
	int refused; /* why the first order could not be given */
	/* for the record */
	uint64_t number;
	bool recorded; /* that it was asked for: then its end is, too */
	pid_t pid;
	uid_t uid;
	char process[16];
	char target[256]; /* room for any label with each byte as four: its quotes are closed */
	int cause_error;
	char text[CTX_CAUSE_TEXT_MAX];
};

/* One process is to end one context. */
struct order {
	struct list of_cancel, of_peer;
	struct list of_unsent; /* peer->unsent, or alone */
	struct map_node by_serial, by_target;
	uint64_t serial;
	struct cancel *cancel;
	struct peer *peer;
	struct ctxd_id id;
	uint64_t ctx_id;
	bool ended, reaped;
};

/* ---- given.c */

/* Sets the disposal that closes at once, and learns how pipes are told apart. False: there are no
 * descriptors. */
bool given_init(struct broker *broker);
/* Closes fd, which uid gave; -1 is allowed. known: it is a pipe or a memfd. */
void given_close(struct broker *broker, uid_t uid, int fd, bool known);
/* False: so much of uid is not closed yet that nothing more is taken. */
bool given_has_room(const struct broker *broker, uid_t uid);

/*
 * Whether fd is the read end of a pipe that peer's process, or with by_owner at least its user, made: no
 * FIFO, which a file system of others may serve, and nothing that was opened with O_PATH.
 */
bool given_done_pipe(const struct peer *peer, int fd, bool by_owner, struct stat *ret_status);

/* ---- job.c */

/* Whether what is being done may go on for now. */
bool piece_lasts(const struct broker *broker);
/* What is done from here on is one piece. */
void piece_begin(struct broker *broker);

/* Waits for its turn. Nothing for one that does already. */
void job_queue(struct broker *broker, struct job *job);
/* Begins with it at once, and queues what does not belong to this piece any more. It may be freed. */
void job_begin(struct broker *broker, struct job *job);
/* Some pieces of what waits, of many users alike. */
void jobs_run(struct broker *broker);
/* All there is: for the end. */
void jobs_finish(struct broker *broker);

/* ---- peer.c */

/* 0, or -EAGAIN: it is to be tried again when peer_writable is called. */
int peer_send(struct peer *peer, const struct wire_message *message, const int *fds, unsigned fd_count);
void peer_result(struct peer *peer, uint64_t serial, int error, struct ctxd_id id);

/* ---- clock.c */

/* Whether times mean the same to its process as to us: false in a time namespace whose clock is ahead or
 * behind. */
bool has_our_clock(const struct peer *peer);

/* ---- process.c */

/* Of a client that has said HELLO: it is one more connection of its process. 0, or -ENOMEM. */
int process_attach(struct peer *peer);
/* It is gone, and will be asked nothing any more. */
void process_detach(struct peer *peer);
/* And there is nothing left of it. */
void process_unref(struct peer *peer);
/* The first of its connections by which it gave its table. NULL: none did. */
struct peer *process_publisher(const struct process *process);
bool process_has_ended(int pidfd);

/* ---- rights.c */

enum right {
	RIGHT_SEE = 4, /* and join */
	RIGHT_CANCEL = 2,
};

bool may_use_share(const struct peer *peer, const struct share *share, enum right right);
/* The same for what belongs to uid and gid and has that mode. */
bool may_by_mode(const struct peer *peer, uid_t uid, gid_t gid, uint32_t mode, enum right right);
/* It is peer's own user, for certain. */
bool is_own_user(const struct peer *peer, uid_t uid);
/* It is, or peer is root's: its table, its being there, and its end. */
bool is_same_user(const struct peer *peer, uid_t uid);
bool may_cancel_by_table(const struct peer *peer, const struct peer *owner);

/* ---- share.c */

struct share *share_of_number(const struct broker *broker, uint64_t number);
struct share *share_of_pipe(const struct broker *broker, const struct stat *pipe);
struct share *share_of_name(const struct broker *broker, uid_t uid, const char *name);
struct share *share_of_context(const struct broker *broker, const struct process *owner, uint64_t ctx_id);
/* 0; -ESTALE; -ENOENT: there is none, or not for peer. */
int share_find(struct peer *peer, struct ctxd_id id, enum right right, struct share **ret_share);

/* One of uid, for which peer pays. Takes pipe_fd over on success. run is its job: share_run. NULL: no memory,
 * or a quota is reached. */
struct share *share_new(struct peer *peer, uid_t uid, int pipe_fd, const struct stat *pipe,
			bool (*run)(struct job *job), uint64_t now_ns);
/* Its owner pays for it from now on. False: a quota is reached. */
bool share_charge_to(struct share *share, struct peer *peer);
void share_set_owner(struct share *share, struct peer *peer, const struct wire_share *from,
		     struct share *parent);

/* All who joined it are to be visited: for a new deadline, the rights of its owner, or a cancel. */
void share_visit(struct share *share);
/* Depths below it are to be counted. */
void share_count_depths(struct share *share);

/* It has ended: kept a while for those who come late. */
void share_end(struct share *share, const struct ctx_cause *cause, uint64_t now_ns);
/* Its owner is gone. */
void share_orphan(struct share *share, uint64_t now_ns);
/* Nobody finds it any more. Its joins are freed in pieces, and then it is; share_free() begins with that. */
void share_hide(struct share *share);
void share_free(struct share *share);
void share_free_memory(struct share *share);
void shares_expire(struct broker *broker, uint64_t now_ns);
uint64_t shares_next_ns(const struct broker *broker);

/* ---- join.c */

/* The latest that peer joined under that id. */
struct join *join_find(struct peer *peer, struct ctxd_id id);
/* And the one that has this id in its own table. */
struct join *join_find_context(struct peer *peer, struct ctxd_id id, uint64_t ctx_id);
void join_set_context(struct join *join, uint64_t ctx_id);
int join_new(struct peer *peer, struct share *share, uint64_t now_ns, struct join **ret_join);
void join_free(struct join *join);
/* Its process is to hear of the deadline, unless it knows that one. */
void join_tell(struct join *join);
/* Tells the first of peer->moved; -EAGAIN: it does not fit. */
int join_tell_next(struct peer *peer);

/* ---- spread.c */

/* The job of a share. */
bool share_run(struct job *job);
/* The job of the broker that counts depths. */
bool shares_count_depths(struct job *job);

/* ---- cancel.c */

int handle_cancel(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int handle_obeyed(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
/* One of those who joined what is being cancelled gets its order. */
void cancel_visit(struct join *join);
/* All of them have been visited. May free it. */
void cancel_visited(struct cancel *cancel);
/* Sends the first of peer->unsent; -EAGAIN: it does not fit. */
int order_send_next(struct peer *peer);
/* peer is gone: what it was told, and what it asked for. False: there is more of that. */
bool cancels_peer_gone(struct peer *peer, uint64_t now_ns);
void cancels_expire(struct broker *broker, uint64_t now_ns);
uint64_t cancels_next_ns(const struct broker *broker);
bool cancels_are_under_way(const struct broker *broker);
/* Tells all who are to be told, and answers with what there is. */
void cancels_answer_all(struct broker *broker);
void cancels_free(struct broker *broker);

/* ---- entry.c */

void listed_add(struct broker *broker, struct listed *listed, enum ctxd_entry_kind kind);
void listed_remove(struct broker *broker, struct listed *listed);

/* Who may see a thing: as its mode says, or the same user as one of two. */
struct sight {
	enum ctxd_entry_kind kind;
	bool hidden;	/* from all */
	uid_t uid, too; /* too: of what is joined, the owner's */
	gid_t gid;
	uint32_t mode;
};
struct sight listed_sight(const struct listed *listed);
bool peer_sees(const struct peer *peer, const struct sight *sight);
void listed_entry(const struct listed *listed, struct ctxd_entry *ret_entry);
struct ctxd_id share_id(const struct share *share);

/* ---- listing.c */

int handle_list(struct peer *peer, const struct wire_message *message);

/* ---- share_request.c and join_request.c. All take their descriptors over. */

int handle_share(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
int handle_unshare(struct peer *peer, const struct wire_message *message);
int handle_move(struct peer *peer, const struct wire_move *move);
int handle_ended(struct peer *peer, const struct wire_ended *ended, uint64_t now_ns);
int handle_join(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int handle_rejoin(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
int handle_attach(struct peer *peer, const struct wire_attach *attach);
int handle_leave(struct peer *peer, const struct wire_attach *left);

/* ---- event.c */

void listed_event(struct broker *broker, const struct listed *listed, enum ctxd_event_kind kind);
int handle_watch(struct peer *peer, const struct wire_message *message);
void watch_end(struct peer *peer);
/* Tells of what changed, or counts it as lost. False: there is no more for now. */
bool watch_tell_next(struct peer *peer);
/* The job of the broker that has watchers look. */
bool watchers_wake(struct job *job);

/* ---- recorder.c */

/* A process that is gone, or only its connection: that shows in a moment. */
struct death {
	struct listed listed; /* listed when it is known to be dead, and its table is ours */
	struct broker *broker;
	struct list link;	/* broker->dead, or parted, by when it is to be looked at */
	struct list of_account; /* account->dead or parted, oldest first */
	struct map_node by_table, by_pid;
	struct account *account;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	char process[16];
	int table_fd, pidfd; /* pidfd -1: known to be dead */
	uint64_t table, bytes;
	uint64_t parted_ns, looked_ns;
	bool copying; /* its table: table_fd is -1 */
	bool dead;
};

/* Takes the peer's table over. */
void recorder_add(struct peer *peer, bool died, uint64_t now_ns);
void recorder_expire(struct broker *broker, uint64_t now_ns);
uint64_t recorder_next_ns(const struct broker *broker);
void recorder_free(struct broker *broker);
int handle_table(struct peer *peer, const struct wire_message *message, uint64_t now_ns);

#endif
