/* SPDX-License-Identifier: MIT */
/*
 * daemon/fleet: what the files of the fleet's pure core share. Only they include this; others include
 * fleet.h. It may use base and wire of lib/, and map.h and hash.h of the service.
 *
 * Its files, from below upwards. None calls one that stands above it:
 *
 *   id.c          global ids
 *   hmac.c        message authentication codes
 *   fleet_wire.c  batches and messages as bytes
 *   host.c        another host: its queue, its batches, sequence and incarnation
 *   roster.c      the own lease, and which hosts are taken for dead
 *   survey.c      what is known of the link and of hosts, for those who ask
 *   local.c       contexts of this host that others have joined
 *   interest.c    which hosts have joined them, and what they are told
 *   mirror.c      contexts of other hosts that were joined here
 *   errand.c      a cancel that one host was sent, until it has reported
 *   outcome.c     what hosts have done for a cancel
 *   cancels.c     cancels that this host was asked for, and those that its users ask for
 *   lists.c       lists of what there is on a host
 *   fleet.c       the interface, what comes in, and what is due at a time
 *
 * How loss is noticed. A receiver sees that messages are missing by the number of the first one in the next
 * batch, and a host that has live joins, or has contexts that the other has joined, sends a batch at least
 * once in a beat; less often where it has that with more than 200 hosts. So a loss is noticed within that
 * time of the first batch that gets through. What may be missing is then asked for:
 *
 *   - A joiner that missed something of the owner sends a RESYNC: all that it has of that owner. The owner
 *     answers with a STATE for each where the joiner may be wrong, and forgets interest that is not named.
 *   - An owner that missed something of the joiner sends HELLO, and the joiner sends a RESYNC.
 *   - The same after the link was down, after a queue was full, and when the other bridge was started again.
 *   - A mirror that has no answer to its JOIN asks again each beat.
 *   - Flags in each batch say whether the sender has joined something of the receiver (HOLDS), and whether it
 *     believes that the receiver has joined something (KEEPS). Where the two sides do not agree, HELLO or
 *     RESYNC follows.
 *
 * A message that comes late is not used, since what it had said has been asked for already. So the messages
 * of one session are handled in their order. A CANCEL and a LIST are sent again until they are answered.
 *
 * In a fleet with a key, old batches could be played back by who reads the engine. Sequence and incarnations
 * catch those of the two lives of the other bridge that are known. Of a bridge that is not known nothing is
 * used before it has shown that it is alive: each batch names the session that its sender has heard last, and
 * the receiver waits for its own present one. Sessions have other numbers in each life.
 */
#ifndef CTXD_FLEET_PARTS_H
#define CTXD_FLEET_PARTS_H

#include "clock.h"
#include "fleet.h"
#include "fleet_wire.h"
#include "heap.h"
#include "hmac.h"
#include "list.h"
#include "map.h"

/* How long `unknown` is not believed after the start, and how old an answer may be to be exact. */
#define SETTLE_NS (2 * NS_PER_SECOND)
#define EXACT_NS NS_PER_SECOND
/* How often a mirror asks for an answer that is exact. */
#define EXACT_TRIES 3
/* With more related hosts, batches that only show that a host is alive are sent less often. */
#define RELATED_FEW 200

/* Something that is due at a time. */
struct timer {
	struct heap_node node; /* In fleet->timers. */
	void (*due)(struct timer *timer);
};

/* The own link and the own lease. */
struct roster {
	bool is_up;
	bool is_lease_held;   /* It has been taken: renew it. */
	uint64_t since_ns;    /* When the link came up, or went down. */
	uint64_t due_ns;      /* The next wish for leases, while the link is up. */
	uint64_t read_ns;     /* When leases were last asked for. */
	bool was_renewal;     /* The wish whose answer comes next. */
	bool has_ended_grace; /* The grace of this loss of the link is over. */
	uint64_t more_ns;     /* What is added to that grace. */
	uint64_t seen_ns;     /* When the own lease was last confirmed. */
	uint32_t related;     /* The number of related hosts at the last beat. */
};

enum host_origin {
	HOST_WANTED, /* It was joined or asked from here. */
	HOST_HEARD,  /* It has sent something. */
	HOST_ORIGINS,
};

struct fleet {
	struct fleet_config config;
	struct fleet_output output;
	struct fleet_counts counts;
	struct roster roster;
	struct hmac *hmac; /* The key. NULL: there is none. */
	uint64_t now_ns;   /* The time that was told last. */
	uint64_t started_ns, beat_ns;
	uint64_t ticked_ns;    /* The last fleet_tick(). */
	uint64_t last_session; /* The number of the latest session with any host. */
	uint64_t last_version; /* Of the deadlines of this host's contexts. */
	uint32_t last_nonce;   /* Of JOIN and PROBE. */
	uint64_t last_request; /* The nonce of the last CANCEL or LIST. */
	uint64_t last_number;  /* Of what this host was asked for. */
	bool is_blocked;       /* The engine takes no more. */
	uint8_t *batch;	       /* Room for one batch. */
	struct list dirty;     /* The hosts that have something to send. */
	struct list hosts;
	/* Hosts by who has named them first. So what others send leaves room for what is wanted here, and the
	 * other way round. */
	struct host_part {
		uint32_t count;
		struct list idle; /* Those that may be freed for another one; the first one goes first. */
	} parts[HOST_ORIGINS];
	struct map hosts_by_name, owned_by_id, interests_by_key, mirrors_by_key;
	struct map cancels_by_number, listings_by_number;
	struct heap host_timers, mirror_timers, timers;
	/* Contexts of this host that wait: to be asked for again, to be joined once more before they are
	 * freed, and to be forgotten after their end. In the order of their times. */
	struct list doubtful, lingering, ended;
	/* The cancels of contexts of this host that its own users asked for, and, in the order of their ends,
	 * those that are done. */
	struct list own_cancels, done_cancels;
	uint32_t own_cancel_count, records; /* How many of the first, and hosts in all cancels. */
	/* The mirrors that have no host: they have ended, or survive though their owner's host has forgotten
	 * them. */
	struct list apart;
};

/* What is to be sent to a host beside its queue. */
enum {
	WANT_HELLO = 1 << 0,
	WANT_RESYNC = 1 << 1, /* a RESYNC from its beginning */
	WANT_PROBE = 1 << 2,
	WANT_BATCH = 1 << 3, /* any batch, an empty one if there is nothing else */
};

/* Another host. It is forgotten when nobody has joined anything on either side for ten leases. */
struct host {
	struct fleet *fleet;
	struct list link;  /* In fleet->hosts. */
	struct list dirty; /* In fleet->dirty; else linked to itself. */
	/* In the list of its part; else linked to itself. A host in it may have something to do since. */
	struct list idle;
	enum host_origin origin;
	struct map_node by_name;
	struct heap_node timer;
	char name[FLEET_HOST_MAX + 1];
	/*
	 * 0: not known. Incarnations have no order, so a batch of the past one is late, or the present one
	 * was learned from a batch that was: its lease is read to know which.
	 */
	uint64_t incarnation, past_incarnation;
	bool is_disputed;
	struct fleet_host_info info; /* Its counts are kept here. */

	/* To it. */
	uint8_t *queue; /* Packed messages. NULL when there are none. */
	size_t queued, room;
	unsigned wants;
	uint64_t session, next; /* The session, and the number of the next message in it. */
	uint64_t sent_ns;	/* The latest batch. */
	uint64_t due_ns;	/* When to send the next BEAT, or to look whether it can be forgotten. */
	uint64_t greet_ns;	/* When to send HELLO and RESYNC after the link came up. UINT64_MAX: never. */
	uint32_t round;		/* The number of the RESYNC. */
	bool is_resyncing;	/* The END of the RESYNC has not been queued. */
	uint32_t probe_nonce;	/* Of the PROBE that was sent last. 0: it has been answered. */
	uint64_t probe_sent_ns;

	/* From it. */
	uint64_t in_session, in_next;
	uint64_t heard;	   /* The session of its latest batch, used or not: batches to it name this one. */
	uint64_t heard_ns; /* The latest batch. */
	bool needs_resync; /* A RESYNC from it has to begin. */
	uint64_t hello_ns; /* When it was last asked for that. */
	uint32_t in_round;
	bool is_round_whole; /* Nothing is missing of the RESYNC that it is sending. */

	/* Its lease. */
	uint64_t absent_ns; /* When the first reading without one was asked for. 0: it had one. */
	uint64_t probed_ns; /* When a PROBE left after that. 0: none did. */

	struct list interests; /* What it has joined here. */
	/* The mirrors of its contexts: those that are still to be named in the RESYNC, and the others. */
	struct list unsynced, mirrors;
	uint32_t interest_count, mirror_count;

	/* What it asked for: cancels and lists. And what it was asked for. */
	struct list cancels, listings, errands, queries;
	uint32_t cancel_count, listing_count;
	/* No CANCEL with this nonce or a smaller one is new: some of these have been forgotten. */
	uint64_t cancel_floor;
	/* The same of the bridge's life before this one, and which life that was. */
	uint64_t past_cancel_floor, past_floor_incarnation;
};

/* Sets a timer anew. */
static inline void timer_set(struct fleet *fleet, struct timer *timer, uint64_t due_ns)
{
	heap_remove(&fleet->timers, &timer->node);
	heap_insert(&fleet->timers, &timer->node, due_ns);
}

static inline void timer_stop(struct fleet *fleet, struct timer *timer)
{
	heap_remove(&fleet->timers, &timer->node);
}

/* ---- host.c */

/* The key of a map for contexts. */
uint64_t key_hash(const struct fleet_key *key);

/* NULL: there is none. O(1). */
struct host *host_find(const struct fleet *fleet, const char *name);
/*
 * Finds it or makes it. Where there are too many of that origin, one that has nothing to do with this host is
 * freed. NULL: no memory, or there is none of these, then *ret_error says which. O(1), amortized.
 */
struct host *host_get(struct fleet *fleet, const char *name, enum host_origin origin, int *ret_error);
/* Called when it may have nothing to do with this host any more. */
void host_note_idle(struct host *host);
/* Frees it. Nothing is joined on either side. */
void host_free(struct host *host);

/*
 * Queues a message. If there is no room for it, the whole queue is dropped, and HELLO and RESYNC follow soon.
 * They follow as well when the link comes up; until then nothing is queued.
 */
void host_send(struct host *host, const struct fleet_message *message);
/* The same, but it waits until something else is sent to the host, or host_want() is called. */
void host_queue(struct host *host, const struct fleet_message *message);
void host_want(struct host *host, unsigned wants);
/* Drops all that is queued and wanted. */
void host_drop_queue(struct host *host);
/* Has the host asked for a RESYNC, at most once in half a beat. */
void host_need_resync(struct host *host);
/* Sends what is queued and wanted, but for a RESYNC. O(bytes). */
void host_flush(struct host *host);
/* Sets the timer. Called when anything changed on which it depends. O(log hosts). */
void host_set_timer(struct host *host);
/* Whether a batch is due in each beat. */
bool host_is_related(const struct host *host);
/* How long after the latest batch to a host the next one is due. */
uint64_t host_beat_ns(const struct fleet *fleet);
/* Whether it cannot be forgotten. */
bool host_is_busy(const struct host *host);
/* When it is forgotten, if it is not related. */
uint64_t host_idle_ns(const struct host *host);

/* Whether a batch has the code that the fleet asks for. O(size). */
bool host_batch_is_genuine(struct fleet *fleet, const uint8_t *bytes, size_t size,
			   const struct fleet_batch *batch);
/* An answer took so long. */
void host_measure(struct host *host, uint64_t round_trip_ns);
/* A nonce for JOIN or PROBE: never 0. */
uint32_t next_nonce(struct fleet *fleet);
/* What the header of a batch says. */
enum {
	HOST_OLD = 1 << 0,	   /* Do not use the batch. */
	HOST_NEW_BRIDGE = 1 << 1,  /* The host has another incarnation than before. */
	HOST_NEW_SESSION = 1 << 2, /* It has forgotten this host, or has another incarnation. */
	HOST_GAP = 1 << 3,	   /* Messages are missing. */
	HOST_ASTRAY = 1 << 4,	   /* The batch is for an earlier life of this bridge. Do not use it. */
	HOST_UNPROVEN = 1 << 5,	   /* Its sender has not shown that it is alive. Do not use it. */
};
unsigned host_check_batch(struct host *host, const struct fleet_batch *batch);
/* Learns the incarnation, which may be the past one. True: the bridge there has been started anew since it
 * was heard of last. */
bool host_learn_incarnation(struct host *host, uint64_t incarnation);

/* ---- roster.c */

void roster_start(struct fleet *fleet);
void roster_up(struct fleet *fleet);
void roster_down(struct fleet *fleet);
/* Wishes for leases. O(related hosts). */
void roster_tick(struct fleet *fleet);
uint64_t roster_next_ns(const struct fleet *fleet);
/* The answer to the own wish. True: the lease was gone, so others may have taken this host for dead. */
bool roster_own_lease(struct fleet *fleet, uint64_t incarnation);
/* The lease of a host was not there. True: the host is taken for dead. */
bool roster_absent(struct host *host);
/* Whether the grace is over that began when the link was lost. Once for each loss. */
bool roster_grace_ends(struct fleet *fleet);

/* ---- local.c; local.h has more for interest.c */

/* What is due: O(contexts in doubt), once, O(contexts that are freed). */
void owned_tick(struct fleet *fleet);
uint64_t owned_next_ns(const struct fleet *fleet);
/* Frees all of them. No host is interested in any. */
void owned_free_all(struct fleet *fleet);

/* ---- interest.c. Loops over hosts that joined one context are short; one host may have joined many. */

/* The host asks for a context. O(1). */
void interest_join(struct host *host, const struct fleet_join *join);
/* O(1). */
void interest_leave(struct host *host, const struct fleet_key *key);
/* O(1), and at the END of a RESYNC O(contexts that the host has joined). */
void interest_resync(struct host *host, const struct fleet_resync *resync);
/* Forgets all that the host has joined, and asks it what that is if it is heard again. O(that). */
void interests_forget(struct host *host);
/* Calls visit for each host that has joined a live context. O(those). */
void interests_visit(struct fleet *fleet, struct ctxd_id id,
		     void (*visit)(struct host *host, const struct fleet_key *key, void *data), void *data);

/* ---- mirror.c */

/* The messages of an owner. O(mirrors of that context), which local joins add to. */
void mirror_state(struct host *host, const struct fleet_state *state);
void mirror_end(struct host *host, const struct fleet_ended *ended);
void mirror_move(struct host *host, const struct fleet_moved *moved);
/* Queues pieces of the RESYNC while the queue has less than a batch. True: more is left. */
bool mirrors_resync(struct host *host);
/* Nothing is known any more of the versions of the deadlines. O(mirrors of the host). */
void mirrors_forget_versions(struct host *host);
/* Ends all mirrors of the host that do not survive. O(mirrors of the host). */
void mirrors_end(struct host *host, enum fleet_end end);
/* Those whose time has come ask again or end. O(log mirrors) for each. */
void mirrors_tick(struct fleet *fleet);
/* Frees those of a list. */
void mirrors_free(struct fleet *fleet, struct list *mirrors);
/* Whether there is a mirror of that context. */
bool mirrors_exist(const struct host *host, const struct fleet_key *key);

/* ---- errand.c */

/* A CANCEL that was sent to a host. It is sent again until the host has reported, or its time is over. */
struct errand {
	struct host *host;
	struct list of_host, of_parent;
	struct timer timer;
	uint64_t again_ns, end_ns;
	struct fleet_cancelling message;
	/* Reports of hosts that came, in their order. */
	struct fleet_host_report *records;
	uint32_t record_count, record_room;
	/* It is over, and is freed afterwards. total: the TOTAL; NULL: none came. */
	void (*done)(struct errand *errand, const struct fleet_reported *total);
	void *data; /* for done */
	bool has_total;
	struct fleet_reported total; /* that came before all records had */
};

/* Sends a CANCEL. secret, cancel: as in struct fleet_cancelling. It is linked to nothing by of_parent. NULL:
 * no memory. */
struct errand *errand_new(struct host *host, uint64_t secret, const struct fleet_cancel *cancel,
			  uint64_t wait_ns);
void errand_free(struct errand *errand);
/* Frees those of a host that nobody else frees. */
void errands_free(struct host *host);
/* The host has reported. O(what it was sent and has not reported). */
void errand_report(struct host *host, const struct fleet_reported *reported);
/* The host has missed something: what it was sent is sent again. O(that). */
void errands_repeat(struct host *host);

/* ---- outcome.c */

/* The sum of what hosts have done for a cancel. */
struct sum {
	struct fleet *fleet;
	struct fleet_reported total;
	/* The report of this host, and then those of others. None without memory, or where all cancels
	 * together have too many: then there is only the total. */
	struct fleet_host_report *records;
	uint32_t count, room;
};

/* Makes room for the reports of so many other hosts. Before any is added. */
void sum_reserve(struct sum *sum, uint32_t others);
void sum_free(struct sum *sum);
/* Adds what this host has done. report may be NULL. */
void sum_add_own(struct sum *sum, int error, const struct ctxd_report *report, bool is_silent);
/* Adds what another host has done. total NULL: it was silent. */
void sum_add(struct sum *sum, const char *host, const struct fleet_reported *total);
/* All reports are there. The hosts that joined a context may be faster, and the owner's program may end it
 * because they stop. So it is no error that it had ended on the owner's host, if others have ended it. */
void sum_finish(struct sum *sum);
/* Sends the REPORT of a CANCEL. O(hosts). */
void sum_send(const struct sum *sum, struct host *host, uint64_t nonce, bool with_hosts);
/* Tells the caller of fleet_cancel(). */
void sum_tell(const struct sum *sum, void *data);
void outcome_tell(const struct fleet *fleet, void *data, const struct fleet_reported *total,
		  const struct fleet_host_report *records, uint32_t count);

/* ---- cancels.c */

/* A host asks for a cancel. O(what it has asked for). */
void cancel_receive(struct host *host, const struct fleet_cancelling *message);
/* An END is used a little later when its mirrors are being cancelled. True: it was taken for that. */
bool cancel_holds_end(struct host *host, const struct fleet_ended *ended);
/* The host has a new bridge: it waits for nothing. O(what it has asked for). */
void cancels_forget(struct host *host);
void cancels_free_own(struct fleet *fleet);

/* ---- lists.c */

void listing_receive(struct host *host, const struct fleet_list_wish *wish);
void query_entry(struct host *host, const struct fleet_listed_entry *listed);
void query_end(struct host *host, const struct fleet_listed *listed);
/* The host has missed something: what it was asked is asked again. O(that). */
void queries_repeat(struct host *host);
/* The queue of a host is empty: goes on with the lists that wait for that. O(its lists). */
void listings_go_on(struct host *host);
/* The host has a new bridge: it waits for nothing. O(its lists). */
void listings_forget(struct host *host);
void listings_free(struct host *host);
/* Frees the questions to a host. */
void queries_free(struct host *host);

#endif
