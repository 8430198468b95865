/* SPDX-License-Identifier: MIT */
/*
 * What the files of the broker share. Nothing outside of it includes this.
 *
 *   peer.c      a client: its first words, its messages, its end
 *   share.c     shared contexts, who joined them, and finding both
 *   cancel.c    requests to end a context, and the orders that they become
 *   listing.c   entries, lists and events
 *   recorder.c  tables of processes that are gone
 *   rights.c    who may what
 */
#ifndef CTXD_PARTS_H
#define CTXD_PARTS_H

#include <sys/stat.h>

#include "account.h"
#include "broker.h"
#include "map.h"
#include "table_format.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
/* Those of a table: nobody but who maps it already writes it, and nobody cuts it. */
#define TABLE_SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* ---- lists */

struct link {
	struct link *next, *prev;
};

static inline void link_init(struct link *link)
{
	link->next = link->prev = link;
}

static inline bool link_alone(const struct link *link)
{
	return link->next == link;
}

static inline void link_append(struct link *head, struct link *link)
{
	link->next = head;
	link->prev = head->prev;
	head->prev->next = link;
	head->prev = link;
}

static inline void link_remove(struct link *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
	link_init(link);
}

/* ---- things: what can be listed, in the order in which it came */

struct thing {
	struct link link; /* broker->things */
	struct map_node by_serial;
	uint64_t serial;
	enum ctxd_entry_kind kind;
};

struct broker {
	struct config config;
	struct accounts accounts;
	struct disposal disposal;
	dev_t pipe_device; /* of all pipes */
	bool has_statx;
	/* That many users, or groups, may have, and so nobody's; -1: there is none such. See lib/overflow.h.
	 */
	uid_t anybody_uid;
	gid_t anybody_gid;
	uint64_t epoch;
	uint64_t last_number; /* of shared contexts */
	uint64_t last_serial; /* of things */
	uint64_t last_order;
	uint64_t cancels_due_ns; /* no request has anything to be done for it before */
	struct link things, peers, watchers, ended, deaths, cancels;
	struct map things_by_serial, shares_by_number, shares_by_pipe, shares_by_name, peers_by_table, orders;
};

struct peer {
	struct thing thing; /* listed once it has said HELLO */
	struct broker *broker;
	struct link link;	/* broker->peers */
	struct link watch_link; /* broker->watchers, or alone */
	struct map_node by_table;
	struct identity identity;
	struct account *account;
	struct peer_output output;
	uint64_t connection_fds; /* held for it outside of the broker */
	char process[16];
	bool greeted;
	int table_fd;	/* -1: not published */
	uint64_t table; /* its inode */
	uint64_t created_ns;
	uint32_t watch_kinds;
	uint64_t lost; /* events that did not fit */
	struct link shares, joins, orders, cancels;
	unsigned order_count;
};

struct share {
	struct thing thing;
	struct broker *broker;
	struct link link; /* owner->shares; or broker->ended */
	struct map_node by_number, by_pipe, by_name;
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
	unsigned depth;
	struct ctxd_id parent;
	/* What stands below it, and its place in that list of its parent; todo: while depths are counted. */
	struct link below, beside, todo;
	uint64_t created_ns, deadline_ns, ended_ns;
	struct ctx_cause cause;
	struct link joins;
	unsigned join_count;
};

struct join {
	struct thing thing;
	struct link of_share, of_peer;
	struct share *share;
	struct peer *peer;
	uint64_t ctx_id;
	uint64_t created_ns;
	uint64_t deadline_ns; /* the last one that its process knows */
};

/* A request to end something; lives until everything has been reaped, or the audit record is due. */
struct cancel {
	struct link link;	/* broker->cancels */
	struct link asker_link; /* asker->cancels, or alone */
	struct peer *asker;	/* NULL: gone */
	struct account *account;
	uint64_t serial; /* of the request */
	bool wait;	 /* for the reaping */
	bool answered;
	uint64_t answer_ns; /* the answer goes then at the latest */
	uint64_t audit_ns;  /* so does the record */
	struct link orders;
	struct order *last; /* the owner's, not sent yet; NULL: none is held back */
	uint64_t hold_ns;   /* until then */
	struct ctxd_report report;
	int error; /* of the only process that was asked */
	/* for the record */
	pid_t pid;
	uid_t uid;
	char process[16];
	char target[256]; /* room for any label with each byte as four: its quotes are closed */
	int cause_error;
	char text[CTX_CAUSE_TEXT_MAX];
};

/* One process is to end one context. */
struct order {
	struct link of_cancel, of_peer;
	struct map_node by_serial;
	uint64_t serial;
	struct cancel *cancel; /* NULL: nobody wants to know any more */
	struct peer *peer;
	struct ctxd_id id;
	uint64_t ctx_id;
	bool sent, ended, reaped;
};

/* ---- broker.c: descriptors that others gave */

/* Closes fd, which uid gave; -1 is allowed. known: it is a pipe or a memfd. */
void dispose(struct broker *broker, uid_t uid, int fd, bool known);
/* False: so much of uid is not closed yet that nothing more is taken. */
bool may_give(const struct broker *broker, uid_t uid);

/*
 * Whether fd is a pipe, and no FIFO; as fstat(2) then. Nothing but what the kernel has at hand is looked at:
 * a file system is not asked, and the pipe's lock, which others hold as long as they like, is not taken.
 */
bool pipe_status(const struct broker *broker, int fd, struct stat *ret_status);

/* ---- peer.c */

/* 0, or -EAGAIN: it is to be tried again when peer_writable is called. */
int peer_send(struct peer *peer, const struct wire_message *message, const int *fds, unsigned fd_count);
void peer_result(struct peer *peer, uint64_t serial, int error, struct ctxd_id id);

/* ---- clock.c */

/* Whether times mean the same to its process as to us: false in a time namespace whose clock is ahead or behind. */
bool has_our_clock(const struct peer *peer);

/* ---- rights.c */

enum right {
	RIGHT_SEE = 4, /* and join */
	RIGHT_CANCEL = 2,
};

bool may(const struct peer *peer, const struct share *share, enum right right);
/* It is peer's own user, for certain. */
bool is_own_user(const struct peer *peer, uid_t uid);
/* It is, or peer is root's: its table, its being there, and its end. */
bool is_same_user(const struct peer *peer, uid_t uid);
bool may_cancel_unshared(const struct peer *peer, const struct peer *owner);

/* ---- share.c. All take their descriptors over. */

int share_begin(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
int share_withdraw(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int share_move(struct peer *peer, const struct wire_move *move);
int share_told_ended(struct peer *peer, const struct wire_ended *ended, uint64_t now_ns);
int join_begin(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int join_again(struct peer *peer, const struct wire_message *message, int pipe_fd, uint64_t now_ns);
int join_attach(struct peer *peer, const struct wire_attach *attach);
int join_leave(struct peer *peer, const struct wire_attach *left);

/* Tells of deadlines that moved. False: the queue is full again. */
bool moves_resume(struct peer *peer);

/* It has ended: kept a while for those who come late. */
void share_end(struct share *share, const struct ctx_cause *cause, uint64_t now_ns);
/* Its owner is gone. */
void share_orphan(struct share *share, uint64_t now_ns);
void share_free(struct share *share);
void join_free(struct join *join);

/* 0; -ESTALE; -ENOENT: there is none, or not for peer. */
int share_find(struct peer *peer, struct ctxd_id id, enum right right, struct share **ret_share);
struct share *share_of_context(struct peer *owner, uint64_t ctx_id);
void shares_expire(struct broker *broker, uint64_t now_ns);
uint64_t shares_next_ns(const struct broker *broker);
struct ctxd_id share_id(const struct share *share);

/* ---- cancel.c */

int cancel_begin(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
int cancel_obeyed(struct peer *peer, const struct wire_message *message, uint64_t now_ns);
/* Sends what could not be sent. False: the queue is full again. */
bool orders_resume(struct peer *peer);
/* peer is gone: what it was told, and what it asked for. */
void cancels_forget(struct peer *peer, uint64_t now_ns);
void cancels_expire(struct broker *broker, uint64_t now_ns);
uint64_t cancels_next_ns(const struct broker *broker);
bool cancels_are_under_way(const struct broker *broker);
/* Tells all who are to be told, and answers with what there is. */
void cancels_hurry(struct broker *broker);
void cancels_free(struct broker *broker);

/* ---- listing.c */

void thing_add(struct broker *broker, struct thing *thing, enum ctxd_entry_kind kind);
void thing_remove(struct broker *broker, struct thing *thing);
void thing_event(struct broker *broker, const struct thing *thing, enum ctxd_event_kind kind);
int list_answer(struct peer *peer, const struct wire_message *message);
int watch_begin(struct peer *peer, const struct wire_message *message);
/* Tells of lost events. False: the queue is full again. */
bool watch_resume(struct peer *peer);
void watch_end(struct peer *peer);

/* ---- recorder.c */

/* A process that is gone, or only its connection: that shows in a moment. */
struct death {
	struct thing thing; /* listed when it is known to be dead, and its table is ours */
	struct broker *broker;
	struct link link; /* broker->deaths, oldest first */
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
void recorder_part(struct peer *peer, bool died, uint64_t now_ns);
void recorder_expire(struct broker *broker, uint64_t now_ns);
uint64_t recorder_next_ns(const struct broker *broker);
void recorder_free(struct broker *broker);
int table_answer(struct peer *peer, const struct wire_message *message, uint64_t now_ns);

void death_entry(const struct death *death, struct ctxd_entry *ret_entry);
void peer_entry(const struct peer *peer, struct ctxd_entry *ret_entry);

#endif
