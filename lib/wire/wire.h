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

#define WIRE_VERSION 2
/* The largest message; a larger packet is broken. */
#define WIRE_SIZE_MAX 4096
#define WIRE_FDS_MAX 2
#define WIRE_ENTRIES_MAX 7
/* The most bytes of last words: less than PIPE_BUF, so that one write(2) writes all of them. */
#define WIRE_LAST_WORDS_MAX 256

enum wire_type {
	/* From a client. Each but OBEYED, ATTACH, LEAVE, MOVE, ENDED, TELL and WITHDRAW is answered, with its
	 * serial.
	 */
	WIRE_HELLO = 1, /* the first message; fds: the table, with WIRE_PUBLISH */
	WIRE_SHARE, /* fds: the read end of the context's done pipe. Answer: RESULT with its id, or SHARED */
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
	WIRE_JOIN_GLOBAL, /* joins by a global id. Answer: JOINED or RESULT */
	WIRE_ASK,	  /* a question to the fleet. Answer: TOLD or RESULT */
	/* From the bridge, the client that connects this host with the others of the fleet. */
	WIRE_BRIDGE, /* this client is the bridge */
	/* Answers a FETCH, or registers a mirror again; fds: the read end of its done pipe, if it is live.
	 * Answer: RESULT with the id of the mirror. */
	WIRE_MIRROR,
	WIRE_TELL, /* answers an ASKED, with its serial; fds: a memfd, unless there is an error */
	/* From a client: takes back the JOIN_GLOBAL whose serial it has, if that is not answered yet. */
	WIRE_WITHDRAW,

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
	WIRE_TERMS,   /* what a client needs to know of the fleet; follows WELCOME, and each change */
	WIRE_SHARED,  /* answers a SHARE with WIRE_FLEET */
	WIRE_TOLD,    /* answers ASK; fds: a memfd, unless there is an error */
	/* To the bridge. */
	WIRE_FETCH, /* make a mirror of a context of another host. Answer: MIRROR */
	/* Nobody has joined that mirror any more, and the service has forgotten it. Without an id: nobody
	 * waits for the FETCH of that serial any more. */
	WIRE_UNWANTED,
	WIRE_ASKED, /* the question of a client. Answer: TELL */
	/* Nobody can join that context of this host any more, which the bridge has joined. It lives on. */
	WIRE_UNSHARED,
};

/* Which side sends a type. */
static inline bool wire_from_service(enum wire_type type)
{
	return type >= WIRE_WELCOME;
}

#define WIRE_PUBLISH (1u << 0) /* in HELLO: the table comes with it */
#define WIRE_MOVABLE (1u << 0) /* in SHARE, REJOIN, JOINED, MIRROR: the deadline may be moved later */
#define WIRE_FLEET (1u << 1)   /* in SHARE: other hosts may join */
#define WIRE_REMOTE (1u << 2)  /* in JOINED: a mirror was joined; it has no pidfd */
#define WIRE_SURVIVE \
	(1u << 3) /* in JOIN_GLOBAL, FETCH, MIRROR: the loss of the owner's host does not end it */
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
	char host[CTX_HOST_MAX]; /* "": this host */
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
	int32_t pid; /* this, uid and host: of the bridge, who asked for the cancel and where; of others 0 */
	uint32_t uid;
	char text[CTX_CAUSE_TEXT_MAX];
	char host[CTX_HOST_MAX];
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
	char host[CTX_HOST_MAX]; /* where in the fleet it was asked for; "": on this host */
};

struct wire_event {
	uint32_t kind; /* enum ctxd_event_kind, none after LOST */
	uint64_t lost;
	struct ctxd_entry entry;
};

/* A context as all hosts of the fleet know it. */
struct wire_global {
	struct ctxd_id id; /* as its own host knows it */
	uint64_t secret;   /* never 0 */
	char host[CTX_HOST_MAX];
};

struct wire_join_global {
	struct wire_global global;
	uint32_t flags;
};

struct wire_bridge {
	char host[CTX_HOST_MAX];
};

struct wire_fetch {
	struct wire_global global;
	uint32_t flags;
	uint32_t uid; /* the user that asked */
};

struct wire_mirror {
	uint64_t fetch; /* the serial of the FETCH; 0: this registers the mirror again */
	struct wire_global global;
	uint32_t flags;
	uint32_t uid; /* the user of the FETCH */
	/* 0: it is live; -ENOENT: it is not known; -EDQUOT: there is no room for it now; -ECANCELED: it has
	 * ended, cause says why */
	int32_t error;
	uint64_t deadline_ns;
	struct wire_cause cause;
	char label[CTX_LABEL_MAX + 1];
};

enum wire_question {
	WIRE_ASK_HOSTS = 1, /* the hosts of the fleet */
	WIRE_ASK_LIST,	    /* what hosts have shared and joined */
	WIRE_ASK_CANCEL,    /* cancels a context of a host, wherever it was joined */
	WIRE_ASK_ENGINE,    /* the state of the engine */
};

struct wire_ask {
	uint32_t question; /* enum wire_question */
	uint32_t kinds;	   /* of LIST: bits of enum ctxd_entry_kind; else 0 */
	uint32_t flags;	   /* of CANCEL: WIRE_DRY_RUN */
	int32_t error;	   /* of CANCEL: negative errno, or 0 */
	int32_t pid;	   /* this and uid: who asks. 0 in ASK; the service fills them in */
	uint32_t uid;
	struct ctxd_id id; /* of CANCEL: the context on that host; else {0, 0} */
	uint64_t wait_ns;  /* of CANCEL: how long to wait until operations are reaped; else how long for hosts
			    */
	char host[CTX_HOST_MAX]; /* "": all hosts; never so with CANCEL */
	char text[CTX_CAUSE_TEXT_MAX];
};

struct wire_told {
	int32_t error;
	uint32_t hosts_asked, hosts_silent;
	struct ctxd_report report; /* of CANCEL */
};

struct wire_terms {
	uint64_t grace_ns;	 /* CTX_FOREVER: for ever */
	char host[CTX_HOST_MAX]; /* the name of this host in the fleet; "": there is no fleet */
};

struct wire_shared {
	struct ctxd_id id;
	uint64_t secret;
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
		struct ctxd_id id;     /* UNSHARE, UNWANTED, UNSHARED */
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
		struct wire_join_global join_global;
		struct wire_ask ask; /* ASK, ASKED */
		struct wire_bridge bridge;
		struct wire_mirror mirror;
		struct wire_told told; /* TELL, TOLD */
		struct wire_terms terms;
		struct wire_shared shared;
		struct wire_fetch fetch;
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

/* Whether the length bytes at name are a host's name: 1 to 63 of [a-z0-9.-], and neither "." nor "-" first.
 */
bool wire_host_is_valid(const char *name, size_t length);

/*
 * Reads a hexadecimal number without leading zeros, and returns what follows it. NULL: there is none, or it
 * is 0 or has more than 16 digits.
 */
const char *wire_parse_hex(const char *text, uint64_t *ret_number);

/* Room for the text of any global id with its NUL. */
#define WIRE_GLOBAL_TEXT CTXD_GLOBAL_ID_TEXT

/* Writes the text HOST/EPOCH-NUMBER-SECRET of a valid global id. */
void wire_global_format(const struct wire_global *global, char text[WIRE_GLOBAL_TEXT]);

/* Reads exactly what wire_global_format() writes. 0; -EINVAL: it is anything else, and nothing is written. */
int wire_global_parse(const char *text, struct wire_global *ret_global);

/*
 * Where the service may listen. Where $CTXD_SOCKET is set, place 0 is that path, and there is no other. Else
 * the places are $XDG_RUNTIME_DIR/ctxd.sock, where that variable is set, and /run/ctxd.sock. Returns 0;
 * -ENOENT: there is no such place; or -ENAMETOOLONG: the path has more than the 107 bytes of sockaddr_un. A
 * program with the privileges of another user ignores both variables: secure_getenv(3).
 */
int wire_socket_path(unsigned place, char path[108]);

#endif
