/* SPDX-License-Identifier: MIT */
/*
 * What the files of the bridge share. Only they include this; others include fleet_bridge.h. From below
 * upwards, none calls one that stands after it:
 *
 *   store.c    structures that have a number
 *   lookup.c   finding them
 *   watch.c    the epoll instance
 *   state.c    the file that keeps the incarnation
 *   words.c    last words in done pipes, and causes
 *   report.c   the lines of the log that others can cause, at most one a minute
 *   service.c  the socket to ctxd
 *   owned.c    contexts of this host that other hosts have joined
 *   bridge_remote.c  one context of another host that programs here have joined, see its header
 *   mirrors.c  what the core and ctxd tell of these
 *   mirror_say.c  what is said to ctxd of them
 *   serve.c    what other hosts ask of this one: cancels and lists
 *   answer.c   records in a memfd
 *   findings.c what is said of the engine
 *   asks.c     questions of programs here to the fleet: hosts, lists, cancels, the engine
 *   receive.c  messages of ctxd, and what happens when the connection comes and goes
 *   engine.c   what the core wants of the engine, and what the engine tells it
 *   bridge.c   making all of it, and one turn after another
 *   main.c     options, signals
 *
 * Nothing that has to be said to ctxd is queued as a message, but for answers: what is joined notes what is
 * to be said of it, and the message is made when the socket takes it. So memory is bounded by what is
 * joined. The core must not be called from within its own calls, so these only take notes, too.
 */
#ifndef CTXD_BRIDGE_PARTS_H
#define CTXD_BRIDGE_PARTS_H

#include "clock.h"
#include "fleet.h"
#include "fleet_bridge.h"
#include "fleet_list.h"
#include "heap.h"
#include "list.h"
#include "log.h"
#include "lookup.h"
#include "store.h"
#include "wire.h"

#define MILLISECOND_NS 1000000ull

/* What an epoll event is of: the upper half of its data. The lower half is a slot. */
enum watched {
	WATCHED_SIGNALS,
	WATCHED_ENGINE,
	WATCHED_SERVICE,
	WATCHED_OWNED,	 /* The pipe of a context of this host. */
	WATCHED_PROCESS, /* The process that owns some of them. */
	WATCHED_READERS, /* The readers of a mirror that ctxd does not know. */
};

/* ---- watch.c */

/* Adds a descriptor to the epoll instance. 0 or -errno. */
int watch_add(const struct bridge *bridge, enum watched watched, uint32_t slot, int fd, uint32_t events);
void watch_change(const struct bridge *bridge, enum watched watched, uint32_t slot, int fd, uint32_t events);
void watch_remove(const struct bridge *bridge, int fd);

/* ---- state.c */

/* The incarnation that was kept for that host of that fleet. 0: none. */
uint64_t state_load(const char *directory, const char *fleet, const char *host);
/* 0 or -errno. */
int state_save(const char *directory, const char *fleet, const char *host, uint64_t incarnation);

/* ---- words.c */

/* Copies the last words out of a pipe, where they stay for the others who joined, by way of scratch, a pipe
 * of the bridge. 0; -EAGAIN: there is nothing to read; -ENODATA: the pipe has hung up, without words that
 * could be understood. */
int words_copy(int pipe, const int scratch[2], struct wire_cause *ret_cause);
/* The same for several pipes, by fewer system calls. results: what words_copy() would return for each. */
void words_copy_many(const int *pipes, unsigned count, const int scratch[2], struct wire_cause *causes,
		     int *results);
/* A pipe takes the words of so many others, see pipe(7). */
#define WORDS_MANY_MAX 16
/* Writes them. False: nobody reads them, or the pipe, which should be empty, is full. */
bool words_write(int pipe, const struct wire_cause *cause);

/* A cause of this moment. format gives its text, which is cut to fit. */
void words_cause(struct wire_cause *ret_cause, enum ctx_cause_kind kind, uint64_t now_ns, const char *host,
		 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* ---- report.c */

/* The events that others can cause as often as they like. */
enum report_kind {
	REPORT_MALFORMED,
	REPORT_FORGED,
	REPORT_FOREIGN,
	REPORT_DESCRIPTORS, /* There are no more. */
	REPORT_DENIED,	    /* A cancel that another host asked for. */
	REPORT_REFUSED,	    /* ctxd refuses a join or a mirror. */
	REPORT_SERVICE,	    /* ctxd refuses the bridge, or closes the connection. */
	REPORT_AWAY,	    /* ctxd cannot be reached. */
	REPORT_ENGINE,
	REPORT_KINDS,
};
struct reports {
	struct {
		uint64_t logged_ns; /* 0: never. */
		uint64_t left_out;
	} kinds[REPORT_KINDS];
};
/* Writes a line, unless one of that kind was written less than a minute ago. The next line says how many were
 * left out. */
void report_event(struct reports *reports, enum report_kind kind, uint64_t now_ns, enum log_level level,
		  const char *event, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* ---- service.c */

enum service_state {
	SERVICE_AWAY,	  /* There is no connection. */
	SERVICE_GREETING, /* HELLO was sent. */
	SERVICE_ASKING,	  /* BRIDGE was sent. */
	SERVICE_READY,
};

/* The requests that are answered: the highest byte of their serials. */
enum request {
	REQUEST_HELLO = 1,
	REQUEST_BRIDGE,
	REQUEST_JOIN,
	REQUEST_REJOIN,
	REQUEST_MIRROR,
	REQUEST_CANCEL,
	REQUEST_LIST,
};

struct service {
	int fd;
	enum service_state state;
	bool was_ready;	 /* It has been ready once. */
	bool is_blocked; /* The socket takes no more. */
	bool is_broken;	 /* The connection is lost: service_close() is to be called. */
	const char *path;
	uint64_t epoch;
	uint64_t due_ns;   /* When to connect again, or to send after the kernel had no memory. */
	uint64_t delay_ns; /* Before the next try to connect. */
	struct list queue; /* Answers that the socket did not take yet. */
	size_t queued;	   /* Their bytes. */
	uint32_t waiting;  /* How many JOINs, REJOINs and MIRRORs have no answer. */
	uint32_t last_tag;
};

void service_init(struct bridge *bridge, const char *path);
/* Connects and sends HELLO when the time has come, and sends again when the kernel has memory. */
void service_tick(struct bridge *bridge);
uint64_t service_wake_ns(const struct bridge *bridge);
/* Ends the connection. It is made again after a delay. */
void service_close(struct bridge *bridge);
/* Whether the queue of answers is so long that nothing more should be received. */
bool service_is_full(const struct service *service);

/* The serial of a request for the structure in a slot. The tag is to be kept there: an answer is for it only
 * if it has that tag. */
uint64_t service_serial(struct service *service, enum request request, uint32_t slot, uint32_t *ret_tag);
static inline enum request service_request(uint64_t serial)
{
	return (enum request)(serial >> 56);
}
static inline uint32_t service_tag(uint64_t serial)
{
	return serial >> 32 & 0xffffff;
}

/* Whether one more request may wait for its answer. */
bool service_has_room(const struct service *service);
/* Sends a message now, with a descriptor or -1, which stays open. 0; -EAGAIN: later; -ENOTCONN: never. */
int service_send(struct bridge *bridge, const struct wire_message *message, int fd);
/* Sends or queues an answer, and closes fd. */
void service_answer(struct bridge *bridge, const struct wire_message *message, int fd);
/* The socket takes more. */
void service_writable(struct bridge *bridge);
/* Sends what is queued. True: all of it has left. */
bool service_flush(struct bridge *bridge);
/* One message of at most WIRE_SIZE_MAX bytes: 1; 0: there is none, or the connection is lost. Where
 * descriptors got lost because this process has no room, *ret_is_cut is true and there are none. */
int service_receive(struct bridge *bridge, struct wire_message *ret_message, int fds[WIRE_FDS_MAX],
		    unsigned *ret_fd_count, bool *ret_is_cut);

/* ---- owned.c */

struct owned_contexts {
	struct store store, processes;
	struct lookup by_key, by_number;
	struct store_list pending, refused;
	uint64_t retry_ns; /* When what was refused is asked for again. UINT64_MAX: nothing was. */
};

void bridge_owned_init(struct bridge *bridge);
void bridge_owned_finish(struct bridge *bridge);
/* The core's local_join and local_leave. */
void bridge_owned_join(struct bridge *bridge, const struct fleet_key *key);
void bridge_owned_leave(struct bridge *bridge, const struct fleet_key *key);
/* The answer to JOIN or REJOIN: JOINED, whose descriptors are taken over, or RESULT. */
void bridge_owned_answer(struct bridge *bridge, const struct wire_message *message, const int *fds,
			 bool is_cut);
void bridge_owned_moved(struct bridge *bridge, const struct wire_move *move);
/* The owner does not share it any more: no further host may join it. */
void bridge_owned_released(struct bridge *bridge, struct ctxd_id id);
/* The present number of a context that was joined by that id. 0: there is none, or ctxd does not know it.
 * *ret_uid is the user that owns it. */
uint64_t bridge_owned_number(const struct bridge *bridge, struct ctxd_id id, uint32_t *ret_uid);
/* Whether what was joined by that id is not there any more, or its pipe says that it has ended. */
bool bridge_owned_has_ended(const struct bridge *bridge, struct ctxd_id id);
/* Whether the context of that number is one of these. */
bool bridge_owned_is_known(const struct bridge *bridge, uint64_t number);
/* count: at most WORDS_MANY_MAX. */
void bridge_owned_pipes_ready(struct bridge *bridge, const uint32_t *slots, unsigned count);
void bridge_owned_process_ready(struct bridge *bridge, uint32_t slot);
/* The connection is lost, or is ready. O(contexts). */
void bridge_owned_service_lost(struct bridge *bridge);
void bridge_owned_service_ready(struct bridge *bridge);
void bridge_owned_tick(struct bridge *bridge);
/* Sends the next message that is due. 1: it was sent; 0: there is none; or negative errno of service_send().
 */
int bridge_owned_send(struct bridge *bridge);

/* ---- bridge_remote.c, mirrors.c, mirror_say.c */

struct mirrors {
	struct store store, hosts, users;
	struct lookup by_number, by_host, by_user;
	uint32_t strangers; /* Of all users, see bridge_remote.c. */
	struct store_list pending, ended;
	struct heap timers;
};

void bridge_mirrors_init(struct bridge *bridge);
void bridge_mirrors_finish(struct bridge *bridge);
void bridge_mirrors_fetch(struct bridge *bridge, const struct wire_message *message);
/* The answer to MIRROR. */
void bridge_mirrors_answer(struct bridge *bridge, const struct wire_message *message);
void bridge_mirrors_unwanted(struct bridge *bridge, struct ctxd_id id);
/* Nobody waits for the FETCH of that serial any more. */
void bridge_mirrors_fetch_unwanted(struct bridge *bridge, uint64_t serial);
/* Ends the mirror of that number by an order. 0; -ENOENT; -EALREADY. */
int bridge_mirrors_order(struct bridge *bridge, uint64_t number, const struct wire_order *order);
/* The core's calls with the data of a mirror. */
void mirror_is_live(void *data, const struct fleet_live *live);
void mirror_has_moved(void *data, uint64_t deadline_ns);
void mirror_has_ended(void *data, enum fleet_end end, const struct wire_cause *cause);
/* The local number of a mirror. 0: ctxd does not know it. */
uint64_t mirror_number(void *data);
void bridge_mirrors_readers_ready(struct bridge *bridge, uint32_t slot);
void bridge_mirrors_service_lost(struct bridge *bridge);
void bridge_mirrors_service_ready(struct bridge *bridge);
/* Ends those whose deadline has come, and leaves those that have ended. True: it has left some. */
bool bridge_mirrors_tick(struct bridge *bridge);
int bridge_mirrors_send(struct bridge *bridge);

/* ---- serve.c */

/* Where the entries of a list go. entry: 0; -EAGAIN: serve_list_more() is called when there is room; any
 * other: nobody wants them any more. */
struct list_sink {
	int (*entry)(struct bridge *bridge, void *data, uint64_t number, const struct ctxd_entry *entry);
	void (*end)(struct bridge *bridge, void *data, uint64_t number, int error);
};

struct served {
	struct list fresh;   /* Cancels that were asked for in this turn. */
	struct list cancels; /* Cancels for which ctxd was asked. */
	struct list lists;
	uint32_t last_id;
	uint32_t list_count;
};

void serve_init(struct bridge *bridge);
void serve_finish(struct bridge *bridge);
/* The core's calls. They take notes. */
void serve_cancel(struct bridge *bridge, uint64_t number, const char *host, const struct fleet_key *key,
		  const struct fleet_cancel *cancel);
void serve_list_of_host(struct bridge *bridge, uint64_t number, uint32_t kinds);
void serve_list_more(struct bridge *bridge, uint64_t number);
void serve_list_closed(struct bridge *bridge, uint64_t number);
/* Lists what ctxd has for somebody else. end is called in a later turn, or within serve_tick(). 0 or
 * -ENOMEM. */
int serve_list(struct bridge *bridge, uint64_t number, uint32_t kinds, const struct list_sink *sink,
	       void *data);
/* The answers to CANCEL and LIST. */
void serve_answer(struct bridge *bridge, const struct wire_message *message);
void serve_service_lost(struct bridge *bridge);
/* Does what was noted. True: there was something to do. */
bool serve_tick(struct bridge *bridge);

/* ---- answer.c */

struct answer {
	int fd;		/* -1: there is none. */
	int error;	/* Why it is not complete. */
	uint64_t count; /* Of the records. */
	uint64_t size;	/* Of what was added. */
	size_t buffered;
	uint8_t *buffer;
};

/* 0 or -errno. */
int answer_begin(struct answer *answer);
/* What is not valid is left out. */
void answer_add(struct answer *answer, const struct wire_record *record);
/* Gives the sealed memfd, or -errno. */
int answer_end(struct answer *answer);
void answer_free(struct answer *answer);

/* ---- findings.c */

/* Adds what is known of the engine, and what should be done about it. */
void findings_add(struct bridge *bridge, const struct engine_status *status, struct answer *answer);

/* ---- asks.c */

struct asks {
	struct list list;
	uint32_t count;
	bool is_listing; /* The engine lists the hosts. */
};

void asks_init(struct bridge *bridge);
void asks_finish(struct bridge *bridge);
void asks_take(struct bridge *bridge, const struct wire_message *message);
void asks_service_lost(struct bridge *bridge);
/* True: something was asked of the core. */
bool asks_tick(struct bridge *bridge);
uint64_t asks_next_ns(const struct bridge *bridge);
/* The engine's answers. */
void asks_host(struct bridge *bridge, const char *host, int error);
void asks_examined(struct bridge *bridge, const struct engine_status *status);
/* The core's calls. */
void ask_cancelled(void *data, const struct fleet_outcome *outcome);
void ask_entry(void *data, const struct ctxd_entry *entry);
void ask_again(void *data);
void ask_list_end(void *data, int error);

/* ---- receive.c */

/* Receives some messages. */
void receive_ready(struct bridge *bridge);
/* Handles the loss of the connection, once service->is_broken. */
void receive_lost(struct bridge *bridge);

/* ---- engine.c */

extern const struct fleet_output engine_output;
extern const struct engine_events engine_events;
/* Keeps the epoll entry at the engine's descriptor. */
void engine_watch(struct bridge *bridge);
/* Logs what the core has counted since. */
void engine_report(struct bridge *bridge);

/* ---- bridge.c */

struct bridge {
	struct config config;
	char host[FLEET_HOST_MAX + 1];
	char state_directory[CONFIG_TEXT_MAX];
	uint64_t incarnation, past_incarnation;
	uint64_t now_ns; /* Of this turn. */
	uint64_t started_ns;
	enum bridge_exit exit;
	struct fleet *fleet;
	struct engine *engine;
	int epoll_fd, engine_fd;
	int scratch[2]; /* The pipe by which last words are copied. */
	bool was_lease_held;
	bool has_more; /* There were more events than one turn takes. */
	struct service service;
	struct owned_contexts owned;
	struct mirrors mirrors;
	struct served served;
	struct asks asks;
	struct reports reports;
	struct fleet_counts reported; /* What engine_report() has seen. */
	void (*signals_ready)(void *data);
	void *data; /* Of signals_ready. */
};

#endif
