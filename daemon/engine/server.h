/* SPDX-License-Identifier: MIT */
/*
 * A connection to a server: a master, a replica that is taken for one, or Sentinel. It never blocks.
 * Questions are queued and written by server_flush(), and the server answers them in their order, so a queue
 * of what was asked says what an answer is for.
 *
 * A connection fails when the server says nothing for SERVER_SILENCE_NS though it was asked, answers in a
 * form that hiredis does not know, answers with more than was allowed, says something unasked, or closes.
 * Then failure has the reason, and only server_close() does something. The silence begins with the last byte
 * that came, not with the last answer; how long an answer may take in all is answer_max_ns.
 *
 * A turn of the loop that comes much later than it was due says nothing of the server: this process was
 * stopped, or busy, and what it asked may have been written only at the end of the turn before. Once in a
 * silence the server is then given SERVER_LATE_NS more.
 */
#ifndef CTXD_ENGINE_SERVER_H
#define CTXD_ENGINE_SERVER_H

#include <hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "resolver.h"
#include "tls.h"

#define SERVER_SILENCE_NS 900000000ull
#define SERVER_LATE_NS (SERVER_SILENCE_NS / 2)

/* What was asked. */
enum question {
	QUESTION_AUTH,
	QUESTION_ROLE,
	QUESTION_PING,
	QUESTION_HELLO,	      /* for the version: a command that every user may use */
	QUESTION_MASTER,      /* SENTINEL MASTER: how the master is watched */
	QUESTION_ADDRESS,     /* SENTINEL GET-MASTER-ADDR-BY-NAME */
	QUESTION_ADD,	      /* XADD to an inbox */
	QUESTION_ADD_PROBE,   /* XADD to the own inbox, by an examination */
	QUESTION_READ_PROBE,  /* whether XREAD works */
	QUESTION_READ,	      /* XREAD of the own inbox */
	QUESTION_TRIM,	      /* XTRIM of what was read */
	QUESTION_EXPIRE,      /* PEXPIRE of an inbox */
	QUESTION_LEASE_TAKE,  /* SET NX of the own lease */
	QUESTION_LEASE_OWN,   /* MGET of it, after that */
	QUESTION_LEASE_RENEW, /* SET XX GET of the own lease */
	QUESTION_LEASES,      /* MGET of others' */
	QUESTION_LEASE_PROBE, /* MGET of the own lease, by an examination */
	QUESTION_SCAN,	      /* for leases */
	QUESTION_SCAN_PROBE,  /* whether SCAN is allowed */
	QUESTION_PING_PROBE,
	QUESTION_ROLE_PROBE,
	QUESTIONS,
};
/* The command of it, for people. */
const char *question_name(enum question question);

/* Where a server is. */
struct server_place {
	const char *path;    /* Of a unix socket; or NULL. */
	const char *numeric; /* The address. */
	const char *name;    /* What TLS expects in the certificate. */
	uint16_t port;
};

enum server_state {
	SERVER_CLOSED,
	SERVER_CONNECTING,
	SERVER_GREETING, /* Connected, and the answers to the first questions are not all there. */
	SERVER_READY,
};

struct server;

/* What all connections of an engine have. The texts live as long as those. */
struct server_options {
	int epoll_fd; /* Where the descriptor is added, with the server as its data. */
	const char *user, *password_file;
	struct tls *tls; /* NULL: none. */
	void *engine;
};

struct server_pending {
	enum question question;
	void *data;
};

struct server {
	const struct server_options *options;
	/* What comes in answer to all but the greeting. data is freed after it. Must not close. */
	void (*answer)(struct server *server, enum question question, const void *data,
		       const redisReply *reply);
	enum server_state state;
	redisContext *context;
	struct ssl_st *ssl;
	const char *host; /* What TLS expects in the certificate. */
	redisReplyObjectFunctions functions;
	char failure[160]; /* "": it has not failed. */

	/* What was asked, a ring. */
	struct server_pending *pending;
	unsigned first, count, room;

	uint64_t deadline_ns; /* When it fails if nothing comes. UINT64_MAX: nothing was asked. */
	bool is_extended;     /* It was given more time in this silence. */
	uint64_t flushed_ns;  /* The latest output. */
	size_t answer_bytes;  /* Of the answer that is coming; 0: none is. */
	uint64_t begun_ns;    /* When its first bytes came. */
	/* What an answer may have, and how long it may take from its first bytes to its last. */
	size_t answer_max;
	uint64_t answer_max_ns;
	bool is_greeted;       /* ROLE and PING are part of the greeting, and its role is checked. */
	bool waits_for_output; /* The kernel takes no more. */
	bool is_unreadable;    /* An answer was too large, or hiredis did not understand it. */
	bool has_more;	       /* There is more to be read than one turn reads. */
	bool is_password_open; /* See password_read(). */

	char role[16], software[16], version[32];
	uint64_t round_trip_ns;
};

/*
 * Begins to connect, and asks what a connection begins with. greets: AUTH, ROLE, PING and HELLO, and it fails
 * unless it is a master. The server must be closed; zeroed is closed. It may have failed afterwards.
 */
void server_open(struct server *server, const struct server_place *place, bool greets, uint64_t timeout_ns,
		 uint64_t now_ns);
/* Closed servers are allowed. The failure stays. */
void server_close(struct server *server);

/* Queues a question with the format of redisCommand(). data is NULL or of malloc(3), and is freed in any
 * case. Of a server that is closed or has failed nothing happens. */
void server_ask(struct server *server, enum question question, void *data, const char *format, ...);
/* The same with the words of the command. */
void server_ask_words(struct server *server, enum question question, void *data, unsigned count,
		      const char *const *words);
/* Queues AUTH, if there is a password or a user. */
void server_authenticate(struct server *server);
/* Bytes that are not written. */
size_t server_queued(const struct server *server);

/* epoll_wait(2) has returned these events. */
void server_event(struct server *server, uint32_t events, uint64_t now_ns);
/* Reads what was left, looks whether it is too late, and writes. */
void server_tick(struct server *server, uint64_t now_ns);
/* When server_tick() is due. 0: at once. UINT64_MAX: no time is known. */
uint64_t server_next_ns(const struct server *server);

/* Makes it fail, if it has not. */
void server_fail(struct server *server, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes it fail because of what it answered. */
void server_fail_answer(struct server *server, enum question question, const redisReply *reply);
bool server_has_failed(const struct server *server);

#endif
