/* SPDX-License-Identifier: MIT */
/*
 * lib/wire: the protocol of the service. It uses no other folder.
 *
 * A client and the service send each other messages, one in each packet of a SOCK_SEQPACKET socket. An ending
 * context leaves its last words in its done pipe. ctxd-protocol(7) describes both.
 *
 * This code does no input or output: it turns messages into bytes and bytes into messages, for both sides.
 * Everything that comes in is checked: the size is that of the type, strings end and are padded with zeros,
 * numbers are in range, reserved fields are 0, and the number of descriptors is that of the type. Numbers are
 * little-endian; times are CLOCK_MONOTONIC.
 */
#ifndef CTX_WIRE_H
#define CTX_WIRE_H

#include "ctxring.h"

#define WIRE_VERSION 1
/* The largest message; a larger packet is broken. */
#define WIRE_SIZE_MAX 4096
#define WIRE_FDS_MAX 2
#define WIRE_ENTRIES_MAX 8
/* The most bytes of last words: less than PIPE_BUF, so that one write(2) writes all of them. */
#define WIRE_LAST_WORDS_MAX 256

enum wire_type {
	/* From a client. Each but OBEYED, ATTACH, LEAVE, MOVE and ENDED is answered, with its serial. */
	WIRE_HELLO = 1, /* the first message; fds: the table, with WIRE_PUBLISH */
	WIRE_SHARE,	/* fds: the read end of the context's done pipe. Answer: RESULT with its id */
	WIRE_UNSHARE,
	WIRE_MOVE,  /* the deadline of what the client shared was moved */
	WIRE_ENDED, /* what the client shared has ended */
	WIRE_JOIN,  /* answer: JOINED or RESULT */
	/* Sent when the service came back; fds: the read end of the pipe. Answer: RESULT with the new id. */
	WIRE_REJOIN,
	WIRE_ATTACH, /* the id that the joined context has in the client's own table */
	WIRE_LEAVE,  /* the client has left what it joined */
	WIRE_LIST,   /* answer: ENTRIES */
	WIRE_WATCH,  /* asks for EVENTs */
	WIRE_CANCEL, /* answer: REPORT */
	WIRE_TABLE,  /* answer: FOUND or RESULT */
	WIRE_OBEYED, /* answers an ORDER, up to twice: the context has ended; its operations are reaped */

	/* From the service. */
	WIRE_WELCOME = 64, /* answers HELLO */
	WIRE_RESULT,
	WIRE_JOINED, /* fds: the read end of the owner's pipe and a pidfd of the owner; none when the context
			has ended */
	WIRE_ENTRIES,
	WIRE_REPORT,
	WIRE_FOUND, /* fds: the table */
	WIRE_ORDER, /* the client is to end a context */
	WIRE_MOVED, /* the deadline of what the client joined was moved */
	WIRE_EVENT,
	WIRE_GOODBYE, /* the last message: why the service closes the connection */
};

/* Which side sends a type. */
static inline bool wire_from_service(enum wire_type type)
{
	return type >= WIRE_WELCOME;
}

#define WIRE_PUBLISH (1u << 0) /* in HELLO: the table comes with it */
#define WIRE_MOVABLE (1u << 0) /* in SHARE, REJOIN, JOINED: the deadline may be moved later */
#define WIRE_DRY_RUN (1u << 0) /* in CANCEL: only say what would be cancelled */
#define WIRE_ERRNO_MAX 4095

struct wire_hello {
	uint16_t version_min, version_max; /* the versions that the client speaks */
	uint32_t flags;
	char process[16];
};

struct wire_welcome {
	uint16_t version; /* the version that both speak from here on */
	uint64_t epoch;
};

struct wire_share {
	struct ctxd_id parent;
	uint64_t ctx_id;
	uint64_t deadline_ns;
	uint32_t mode; /* who may see, join and cancel it; only bits of 0666 */
	uint32_t flags;
	char name[CTXD_NAME_MAX + 1]; /* may be empty */
	char label[CTX_LABEL_MAX + 1];
};

struct wire_move {
	struct ctxd_id id;
	uint64_t deadline_ns;
};

/* Why a context ended: struct ctx_cause without the fields that mean nothing in another process. */
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
	struct ctxd_id id; /* {0, 0}: the context is meant by its name */
	uint32_t uid;	   /* the user whose name it is; UINT32_MAX: the caller */
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
	uint64_t cursor; /* 0: from the beginning; else `next` of the answer before */
	uint32_t kinds;	 /* bits of enum ctxd_entry_kind */
};

struct wire_watch {
	uint32_t kinds; /* bits of enum ctxd_entry_kind; 0: send no more events */
};

struct wire_cancel {
	struct ctxd_id id; /* {0, 0}: the context is meant by table and ctx_id */
	uint64_t table;
	uint64_t ctx_id;
	uint64_t wait_ns; /* how long to wait until its operations are reaped */
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
	uint32_t reaped; /* 0: the context has ended; 1: its operations are reaped too, report says how */
	struct ctxd_report report;
};

struct wire_result {
	int32_t error; /* 0 or negative errno */
	struct ctxd_id id;
};

struct wire_joined {
	struct ctxd_id id;
	uint64_t deadline_ns;
	uint64_t ctx_id; /* its id in the owner's table */
	int32_t owner_pid;
	uint32_t owner_uid;
	uint32_t flags;
	uint32_t ended; /* 1: it has ended, cause says why, and there are no descriptors */
	struct wire_cause cause;
	char label[CTX_LABEL_MAX + 1];
};

struct wire_entries {
	uint64_t next; /* the cursor of the next WIRE_LIST; 0: these were the last */
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

/* The client answers with OBEYED and the same serial, which the service has chosen. */
struct wire_order {
	struct ctxd_id id; /* the shared or joined context; {0, 0}: the context is meant by ctx_id */
	uint64_t ctx_id;   /* its id in the client's table; 0 where id is of a joined context */
	int32_t error;	   /* negative errno, or 0 */
	int32_t pid;	   /* this and uid: who asked for the cancel */
	uint32_t uid;
	char text[CTX_CAUSE_TEXT_MAX];
};

struct wire_event {
	uint32_t kind; /* enum ctxd_event_kind, none after LOST */
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

/* How many descriptors must come with this message. */
unsigned wire_fd_count(const struct wire_message *message);

/* Writes message as bytes and returns their number. Aborts when wire_unpack() would refuse the message. */
size_t wire_pack(const struct wire_message *message, uint8_t bytes[WIRE_SIZE_MAX]);

/*
 * Reads a packet of size bytes that brought fd_count descriptors. from_service says which side sent it.
 * Returns 0; -EPROTO: the packet is broken; or -EPROTONOSUPPORT: its type is not known here. On an error
 * nothing is written.
 */
int wire_unpack(const uint8_t *bytes, size_t size, unsigned fd_count, bool from_service,
		struct wire_message *ret_message);

/* Packs the last words of a context: its owner writes them to the done pipe and closes it. Returns their
 * size. */
size_t wire_pack_last_words(const struct wire_cause *cause, uint8_t bytes[WIRE_LAST_WORDS_MAX]);
/* Returns 0, or -EPROTO: the pipe holds something else. */
int wire_unpack_last_words(const uint8_t *bytes, size_t size, struct wire_cause *ret_cause);

/* Convert a cause from the form for programs to the one that is sent, and back. ended: of ctx_err(). */
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
 * Where the service may listen. Where $CTXD_SOCKET is set, place 0 is that path, and there is no other. Else
 * the places are $XDG_RUNTIME_DIR/ctxd.sock, where that variable is set, and /run/ctxd.sock. Returns 0;
 * -ENOENT: there is no such place; or -ENAMETOOLONG: the path has more than the 107 bytes of sockaddr_un. A
 * program with the privileges of another user ignores both variables: secure_getenv(3).
 */
int wire_socket_path(unsigned place, char path[108]);

#endif
