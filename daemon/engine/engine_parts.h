/* SPDX-License-Identifier: MIT */
/*
 * What the files of daemon/engine/ share. Only they include this; others include engine_redis.h. From below
 * upwards; none calls one that stands above it:
 *
 *   address.c       the setting fleet_engine
 *   resolver.c      addresses of a name, by a thread
 *   tls.c           TLS of a connection
 *   password.c      the file with the password
 *   reply.c         whether an answer has the expected form
 *   server.c        a connection: questions, answers, limits
 *   trouble.c       what went wrong, for the log and for engine_status
 *   finder.c        which server is to be tried next: the list of addresses, and Sentinel
 *   outbox.c        sending
 *   lease.c         leases, and the list of hosts
 *   inbox.c         receiving
 *   examination.c   answers examine
 *   engine_redis.c  the seam, and the state of the link
 *
 * The link is two connections to the same server, since a blocked XREAD keeps all commands behind it waiting:
 * one reads the inbox, the other has all commands. If one fails both are closed. A master that was changed
 * into a replica refuses to write, and the renewal of the lease notices that within a beat.
 */
#ifndef CTXD_ENGINE_PARTS_H
#define CTXD_ENGINE_PARTS_H

#include "address.h"
#include "clock.h"
#include "engine_redis.h"
#include "id.h"
#include "list.h"
#include "reply.h"
#include "server.h"

#define FLEET_NAME_MAX 63
#define HOST_NAME_MAX_BYTES FLEET_HOST_MAX
/* "ctx:", the fleet, ":lease:", a host, and a NUL. */
#define KEY_MAX (4 + FLEET_NAME_MAX + 7 + HOST_NAME_MAX_BYTES + 1)

/*
 * How many entries of the inbox one XREAD has. Its answer is handled in one turn of the loop, and nothing
 * else is meanwhile. An entry has up to 64 KiB.
 */
#define INBOX_READ_COUNT 32

/* When an inbox of which nobody takes care goes, in leases. */
#define INBOX_LEASES 10

/* Which server is to be tried. */
struct finder {
	struct address_list list;
	struct resolved known[ADDRESSES_MAX]; /* What their names were last. */
	unsigned at;			      /* The address in turn. */
	unsigned tried;			      /* How many of them in this round. */

	enum finder_state {
		FINDER_IDLE,
		FINDER_RESOLVING,
		FINDER_ASKING, /* Sentinel */
		FINDER_FOUND,
	} state;
	/* What the addresses belong to: the address in turn, or the master that Sentinel has named. */
	bool is_at_master;
	struct address master;
	struct resolver_question *question;
	uint64_t deadline_ns;
	struct resolved places;
	unsigned place; /* Which of them. */
	struct server sentinel;
	bool has_authenticated; /* To Sentinel, which asked for it. */
};

/* A message to the own inbox. */
struct probe {
	uint64_t nonce; /* 0: none is under way. */
	uint64_t sent_ns;
};

struct engine_redis {
	struct engine engine;
	struct engine_events events;
	struct engine_status status;

	char fleet[FLEET_NAME_MAX + 1];
	char host[HOST_NAME_MAX_BYTES + 1];
	char inbox_key[KEY_MAX], lease_key[KEY_MAX];
	char *user, *password_file;
	uint64_t lease_ns;

	uint64_t now_ns; /* Of the dispatch that runs or ran last. */
	int epoll_fd;
	struct tls *tls;
	struct server_options options;
	struct server command, reader;

	enum link_state {
		LINK_WAITING,	/* Until due_ns. */
		LINK_SEARCHING, /* The finder works. */
		LINK_JOINING,	/* The connections are being made. */
		LINK_UP,
	} link;
	struct finder finder;
	uint64_t due_ns;   /* The next round, while waiting; the next beat, while up. */
	uint64_t round_ns; /* When this round began. */
	uint64_t up_ns;	   /* When the link came up. */
	unsigned rounds;   /* Those that were begun since the link worked for a while. */
	uint64_t random;

	/* inbox.c */
	struct stream_id cursor;
	bool is_readable;   /* XREAD has worked on this connection. */
	unsigned untrimmed; /* Entries that were handled and are still in the stream. */
	bool clears_inbox;  /* It has an entry that cannot be read. */

	/* outbox.c */
	bool is_refusing;
	unsigned unanswered; /* XADDs */
	/* Whose inbox was given its time to live, by the hash of its name: until when that holds. */
	struct kept_inbox {
		uint32_t hash;
		uint64_t until_ns;
	} kept[64];

	/* lease.c */
	bool is_listing;  /* The hosts. */
	bool is_list_due; /* It was asked for while the link was down. */
	unsigned scans;

	/* examination.c */
	bool is_examining;
	unsigned examined;	 /* Questions without an answer. */
	uint64_t examination_ns; /* When it ends at the latest. 0: in a second. */
	struct probe probe;

	/* trouble.c: what was told and when, by the hash of the text. */
	struct told {
		uint32_t hash;
		uint64_t ns;
	} told[16];
	unsigned next_told;
	uint64_t denied; /* A bit for each question. */
};

/* ---- trouble.c */

/* Notes it in the status, and tells it unless the same was told in the last minute. */
void trouble_note(struct engine_redis *redis, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The server has answered with an error. Makes the connection fail where it is no use any more. True: it was
 * no error. */
bool trouble_check(struct engine_redis *redis, struct server *server, enum question question,
		   const redisReply *reply);
/* The answer has not the form that it must have: the connection fails. */
void trouble_malformed(struct engine_redis *redis, struct server *server, enum question question,
		       const redisReply *reply);
uint32_t text_hash(const char *text);
uint64_t random_draw(struct engine_redis *redis);

/* ---- finder.c */

void finder_init(struct finder *finder, struct engine_redis *redis);
void finder_free(struct finder *finder);
/* Begins a round, with the address that was tried last. */
void finder_begin(struct finder *finder, uint64_t now_ns);
/* Goes on with what is under way. False: the round is over. */
bool finder_tick(struct finder *finder, uint64_t now_ns);
uint64_t finder_next_ns(const struct finder *finder);
/* Whether there is a place where the master should be. */
bool finder_has_found(const struct finder *finder);
/* That place, or where Sentinel is; it is noted in the status. It points into the finder. */
struct server_place finder_place(struct finder *finder);
/* The place was no use: goes on to the next. False: the round is over. */
bool finder_next(struct finder *finder, uint64_t now_ns);
/* How long a connection may take to be made in this round. */
uint64_t finder_patience_ns(const struct engine_redis *redis);

/* ---- outbox.c */

bool outbox_send(struct engine_redis *redis, const char *host, const uint8_t *bytes, size_t size);
/* Tells that there is room again. */
void outbox_tick(struct engine_redis *redis);
void outbox_answer(struct engine_redis *redis, const redisReply *reply);
void outbox_down(struct engine_redis *redis);

/* ---- lease.c */

void lease_take(struct engine_redis *redis, uint64_t incarnation);
void lease_renew(struct engine_redis *redis, uint64_t incarnation);
void lease_read(struct engine_redis *redis, const char *const *hosts, unsigned count);
void lease_answer(struct engine_redis *redis, enum question question, const void *data,
		  const redisReply *reply);
void hosts_list(struct engine_redis *redis);
void hosts_answer(struct engine_redis *redis, const redisReply *reply);
/* Ends the list that the link has lost, or that was asked for while it was down. */
void hosts_down(struct engine_redis *redis);

/* ---- inbox.c */

/* The connections are being made: asks whether the inbox can be read. */
void inbox_join(struct engine_redis *redis);
/* The link is up: begins to read, from the beginning. */
void inbox_begin(struct engine_redis *redis);
/* Keeps the inbox for ten leases more. */
void inbox_keep(struct engine_redis *redis);
void inbox_answer(struct engine_redis *redis, enum question question, const redisReply *reply);
/* The connection has failed. */
void inbox_down(struct engine_redis *redis);

/* ---- examination.c */

void examination_begin(struct engine_redis *redis);
void examination_answer(struct engine_redis *redis, enum question question, const redisReply *reply);
/* The probe has come back. */
void examination_probe(struct engine_redis *redis, const char *bytes, size_t size);
/* Ends it when all is answered, the time is over, or the link is down. */
void examination_tick(struct engine_redis *redis);

#endif
