/* SPDX-License-Identifier: MIT */
/*
 * lib/wire: the protocol of the service. It uses no other folder.
 *
 * What goes between a client and the service: one message in each packet of a SOCK_SEQPACKET socket, and the
 * last words that an ending context leaves in its done pipe. ctxd-protocol(7) is the description.
 *
 * Pure: messages become bytes and bytes become messages, the same code on both sides. Everything that comes
 * in is checked: the size is that of the type, strings end and are padded with zeros, numbers are in range,
 * reserved fields are 0, and the number of descriptors is that of the type. Numbers are little-endian; times
 * are CLOCK_MONOTONIC.
 */
#ifndef CTX_WIRE_H
#define CTX_WIRE_H

#include "ctxring.h"

#define WIRE_VERSION 1
/* No message is larger; a packet that is, is broken. */
#define WIRE_SIZE_MAX 4096
#define WIRE_FDS_MAX 2
#define WIRE_ENTRIES_MAX 8
/* Of the last words: below PIPE_BUF, so that they are written whole. */
#define WIRE_LAST_WORDS_MAX 256

enum wire_type {
	/* from a client; each but OBEYED, ATTACH, LEAVE, MOVE, ENDED is answered, with the same serial */
	WIRE_HELLO = 1, /* the first one; fds: the table, with WIRE_PUBLISH */
	WIRE_SHARE,	/* fds: read end of its done pipe. Answer: RESULT with its id */
	WIRE_UNSHARE,
	WIRE_MOVE,   /* its deadline was moved */
	WIRE_ENDED,  /* it ended */
	WIRE_JOIN,   /* answer: JOINED or RESULT */
	WIRE_REJOIN, /* after the service came back; fds: read end of the pipe. Answer: RESULT with its new id
		      */
	WIRE_ATTACH, /* under which id of its own the client has what it joined */
	WIRE_LEAVE,
	WIRE_LIST, /* answer: ENTRIES */
	WIRE_WATCH,
	WIRE_CANCEL, /* answer: REPORT */
	WIRE_TABLE,  /* answer: FOUND or RESULT */
	WIRE_OBEYED, /* to an ORDER, up to twice: ended, then reaped */

	/* from the service */
	WIRE_WELCOME = 64, /* to HELLO */
	WIRE_RESULT,
	WIRE_JOINED, /* fds: read end of the owner's pipe and a pidfd of the owner; none when it has ended */
	WIRE_ENTRIES,
	WIRE_REPORT,
	WIRE_FOUND, /* fds: the table */
	WIRE_ORDER, /* end a context */
	WIRE_MOVED, /* the deadline of what was joined */
	WIRE_EVENT,
	WIRE_GOODBYE, /* the last one: why the service hangs up */
};

/* Which side sends a type. */
static inline bool wire_from_service(enum wire_type type)
{
	return type >= WIRE_WELCOME;
}

#define WIRE_PUBLISH (1u << 0) /* of HELLO: the table comes with it */
#define WIRE_MOVABLE (1u << 0) /* of SHARE, REJOIN, JOINED: its deadline may be moved later */
#define WIRE_DRY_RUN (1u << 0) /* of CANCEL */
#define WIRE_ERRNO_MAX 4095

struct wire_hello {
	uint16_t version_min, version_max; /* that the client speaks */
	uint32_t flags;
	char process[16];
};

struct wire_welcome {
	uint16_t version; /* that is spoken from here on */
	uint64_t epoch;
};

struct wire_share {
	struct ctxd_id parent;
	uint64_t ctx_id;
	uint64_t deadline_ns;
	uint32_t mode; /* of the bits 0666 */
	uint32_t flags;
	char name[CTXD_NAME_MAX + 1]; /* may be empty */
	char label[CTX_LABEL_MAX + 1];
};

struct wire_move {
	struct ctxd_id id;
	uint64_t deadline_ns;
};

/* Why a context ended, as struct ctx_cause without what means nothing to others. */
struct wire_cause {
	int32_t error; /* negative errno, never 0 */
	uint32_t kind; /* enum ctx_cause_kind, never NONE */
	int32_t code;
	uint32_t expired; /* 1: ctx_err is -ETIME, 0: -ECANCELED */
	int32_t pid, tid;
	uint32_t uid;
	uint64_t ctx_id;
	uint64_t time_ns;
	char text[CTX_CAUSE_TEXT_MAX];
};

struct wire_ended {
	struct ctxd_id id;
	struct wire_cause cause;
};

struct wire_join {
	struct ctxd_id id; /* {0, 0}: by name */
	uint32_t uid;	   /* whose name; UINT32_MAX: the caller's */
	char name[CTXD_NAME_MAX + 1];
};

struct wire_rejoin {
	struct ctxd_id old_id;
	uint64_t ctx_id;
	uint64_t deadline_ns;
	uint32_t flags;
	char label[CTX_LABEL_MAX + 1];
};

struct wire_attach {
	struct ctxd_id id;
	uint64_t ctx_id;
};

struct wire_list {
	uint64_t cursor; /* 0: from the beginning; else next of the last answer */
	uint32_t kinds;	 /* of enum ctxd_entry_kind */
};

struct wire_watch {
	uint32_t kinds; /* 0: no more */
};

struct wire_cancel {
	struct ctxd_id id; /* {0, 0}: by table and ctx_id */
	uint64_t table;
	uint64_t ctx_id;
	uint64_t wait_ns; /* for the operations to be reaped */
	int32_t error;	  /* negative errno, or 0 */
	uint32_t flags;
	char text[CTX_CAUSE_TEXT_MAX];
};

struct wire_table {
	uint32_t kind; /* CTXD_PROCESS or CTXD_DEAD */
	int32_t pid;
};

struct wire_obeyed {
	int32_t result;	 /* 0, or negative errno: -ENOENT, -EALREADY, -ENOTSUP */
	uint32_t reaped; /* 0: it has ended; 1: and its operations are reaped, report is filled */
	struct ctxd_report report;
};

struct wire_result {
	int32_t error; /* 0 or negative errno */
	struct ctxd_id id;
};

struct wire_joined {
	struct ctxd_id id;
	uint64_t deadline_ns;
	uint64_t ctx_id; /* in the owner's table */
	int32_t owner_pid;
	uint32_t owner_uid;
	uint32_t flags;
	uint32_t ended; /* 1: cause says why, and no descriptors come along */
	struct wire_cause cause;
	char label[CTX_LABEL_MAX + 1];
};

struct wire_entries {
	uint64_t next; /* 0: that was all */
	uint32_t count;
	struct ctxd_entry entries[WIRE_ENTRIES_MAX];
};

struct wire_report {
	int32_t error;
	struct ctxd_report report;
};

struct wire_found {
	struct ctxd_entry entry;
};

/* Answered by OBEYED with the same serial, which is the service's own. */
struct wire_order {
	struct ctxd_id id; /* of what the client shared or joined; {0, 0}: by ctx_id */
	uint64_t ctx_id;   /* in the client's table; 0 where id is of something joined */
	int32_t error;	   /* negative errno, or 0 */
	int32_t pid;	   /* who asked for it */
	uint32_t uid;
	char text[CTX_CAUSE_TEXT_MAX];
};

struct wire_event {
	uint32_t kind; /* enum ctxd_event_kind, up to LOST */
	uint64_t lost;
	struct ctxd_entry entry;
};

struct wire_goodbye {
	int32_t error; /* -EPROTO, -EPROTONOSUPPORT, -EDQUOT, -ESHUTDOWN, -ETIMEDOUT (a slow reader) */
};

struct wire_message {
	enum wire_type type;
	uint64_t serial;
	union {
		struct wire_hello hello;
		struct wire_share share;
		struct ctxd_id id;     /* UNSHARE */
		struct wire_move move; /* MOVE, MOVED */
		struct wire_ended ended;
		struct wire_join join;
		struct wire_rejoin rejoin;
		struct wire_attach attach; /* ATTACH, LEAVE */
		struct wire_list list;
		struct wire_watch watch;
		struct wire_cancel cancel;
		struct wire_table table;
		struct wire_obeyed obeyed;
		struct wire_welcome welcome;
		struct wire_result result;
		struct wire_joined joined;
		struct wire_entries entries;
		struct wire_report report;
		struct wire_found found;
		struct wire_order order;
		struct wire_event event;
		struct wire_goodbye goodbye;
	};
};

/* How many descriptors a message of this content has to bring along. */
unsigned wire_fd_count(const struct wire_message *message);

/* Writes message as bytes. Returns their number. Aborts when the message is not one that unpacks. */
size_t wire_pack(const struct wire_message *message, uint8_t bytes[WIRE_SIZE_MAX]);

/*
 * Reads a packet of size bytes that brought fd_count descriptors. from_service: which side sent it.
 * 0, or nothing is written and -EPROTO: broken; -EPROTONOSUPPORT: of a type or version that is not known
 * here.
 */
int wire_unpack(const uint8_t *bytes, size_t size, unsigned fd_count, bool from_service,
		struct wire_message *ret_message);

/* The last words of a context: what its owner writes to the done pipe before it closes it. */
size_t wire_pack_last_words(const struct wire_cause *cause, uint8_t bytes[WIRE_LAST_WORDS_MAX]);
/* 0, or -EPROTO when the pipe holds something else. */
int wire_unpack_last_words(const uint8_t *bytes, size_t size, struct wire_cause *ret_cause);

/* Between what the library tells programs and what is sent. ended is the error of ctx_err. */
void wire_cause_from(const struct ctx_cause *from, int ended, struct wire_cause *ret_cause);
void wire_cause_to(const struct wire_cause *from, struct ctx_cause *ret_cause);

static inline bool wire_id_is_none(struct ctxd_id id)
{
	return id.epoch == 0 && id.number == 0;
}

static inline bool wire_id_equal(struct ctxd_id a, struct ctxd_id b)
{
	return a.epoch == b.epoch && a.number == b.number;
}

/*
 * Where the service listens: place 0 is $CTXD_SOCKET, and the only one when that is set; else 0 is
 * $XDG_RUNTIME_DIR/ctxd.sock and 1 is /run/ctxd.sock, or 0 is that. 0, -ENOENT: there is no such place,
 * -ENAMETOOLONG: more than the 107 bytes of sockaddr_un. A program with the privileges of another user ignores
 * both variables: secure_getenv(3).
 */
int wire_socket_path(unsigned place, char path[108]);

#endif
