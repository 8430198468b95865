/* SPDX-License-Identifier: MIT */
/*
 * The bridge of a fleet without sockets, engine, clock and randomness. It makes an end on one host reach all
 * hosts that joined the context. Its caller gives it messages, what happens on this host, and the time; what
 * it wants done leaves by struct fleet_output.
 *
 * A context ends once and for all, so an end may be told late, twice and in any order. The truth about a
 * context is with its owner's host. The engine may lose every message: whoever may have missed something asks
 * again, and is answered with what is true now. See fleet_parts.h for how that is noticed.
 *
 * The state of one host is in one struct fleet. It is used by one thread.
 */
#ifndef CTXD_FLEET_H
#define CTXD_FLEET_H

#include "cancel.h"
#include "id.h"
#include "wire.h"

struct fleet;
struct mirror; /* A remote context that this host has joined. */

/* A key of the fleet has so many bytes. */
#define FLEET_KEY_MIN 32
#define FLEET_KEY_MAX 64

struct fleet_config {
	char fleet[FLEET_HOST_MAX + 1]; /* the name of the fleet, of the same form as that of a host */
	char host[FLEET_HOST_MAX + 1];	/* the name of this host */
	/* The key by which all batches are authenticated, see fleet_key_is_supported(). key_size 0: none. */
	uint8_t key[FLEET_KEY_MAX];
	uint32_t key_size;
	uint64_t incarnation;	   /* of this life of the bridge: random, not 0 */
	uint64_t past_incarnation; /* of the life before, whose lease may still be there; 0: not known */
	uint64_t lease_ns;	   /* A third of it is the beat. At least a millisecond. */
	uint64_t grace_ns;	   /* How long joined contexts outlive a lost link; CTX_FOREVER: for ever. */
	bool outlive_owner_host;   /* Joined contexts go on when the owner's host is gone. */
	/* What the bridge keeps at most. Beyond it hosts are ignored, remote joins get no answer, a local
	 * join fails, and the oldest ends are forgotten. hosts_max is for those that have sent something, and
	 * again for those that were joined or asked from here first; of both, hosts that have nothing to do
	 * with this one make room for others. */
	uint32_t hosts_max, owned_max, mirrors_max, ended_max;
	uint32_t owned_per_host_max; /* what one host may have joined here */
	/* Cancels that were asked of this host and are not done, or were done lately; lists that this host
	 * makes for others. One host may have a quarter of each. And as many cancels and lists that this host
	 * has asked for. Beyond it they are refused with -EDQUOT. */
	uint32_t cancels_max, lists_max;
	uint64_t ended_ns;  /* how long ends are kept */
	size_t queue_bytes; /* for each host; at least FLEET_MESSAGE_MAX */
};

/* Room for what is usual: 6 s, 30 s, 1,024 hosts, a million contexts each way and a quarter of that for each
 * host, 65,536 ends for ten minutes, 256 cancels and lists, 1 MiB. The fleet is "default"; there is no key.
 * Host and incarnations are left empty. */
void fleet_config_init(struct fleet_config *ret_config);

/* Whether this bridge was built with libcrypto: without it a fleet cannot have a key. */
bool fleet_key_is_supported(void);

/* ---- what leaves */

/* Why a mirror has ended. */
enum fleet_end {
	FLEET_END_CAUSE,     /* The owner's context ended, and the cause says why. */
	FLEET_END_UNKNOWN,   /* The owner's host knows no such context, or it may not be joined. */
	FLEET_END_FORGOTTEN, /* The same, of a context that was live before. */
	FLEET_END_HOST,	     /* The owner's host is gone. */
	/* The link was down for as long as the grace; or the owner did not answer to the first question for
	 * that time, or for a lease if that is longer. */
	FLEET_END_UNREACHABLE,
};

/* What the owner's host said of a live context. */
struct fleet_live {
	uint64_t deadline_ns; /* on the clock of this host: not earlier than the owner's */
	bool movable;
	const char *label;
};

/* What became of a cancel. */
struct fleet_outcome {
	/* Of the owner's host: 0; what the bridge there said (-EPERM, -ENOENT, -ESTALE, -EALREADY, ...);
	 * -EDQUOT: too many cancels there; -ETIMEDOUT: its service did not answer; or -EHOSTUNREACH: the host
	 * did not. */
	int32_t error;
	struct ctxd_report report; /* The sum over all hosts; of the times the largest. */
	uint32_t hosts_asked, hosts_silent;
	const struct fleet_host_report *hosts; /* All that were asked, the owner's first. */
	uint32_t host_count;		       /* Less than hosts_asked where not all answers came in time. */
};

/*
 * None of these calls the fleet, except for fleet_mirrors_visit(), and none blocks. link is given to those of
 * the engine and of the contexts of this host, data of fleet_join() to those of a mirror.
 */
struct fleet_output {
	/* Sends a batch to a host; it may get lost. False: the engine takes no more, and
	 * fleet_engine_writable() is called when it does. */
	bool (*send)(void *link, const char *host, const uint8_t *bytes, size_t size);
	/* Take, renew and read leases, as struct engine_calls says. The answers come by fleet_own_lease() and
	 * fleet_lease(). */
	void (*lease_take)(void *link, uint64_t incarnation);
	void (*lease_renew)(void *link, uint64_t incarnation);
	void (*lease_read)(void *link, const char *const *hosts, unsigned count);
	/* Another bridge has the name of this host. */
	void (*name_conflict)(void *link, uint64_t incarnation);

	/* A context of this host is joined from outside for the first time: join it locally and answer with
	 * fleet_owned_live(), fleet_owned_ended() or fleet_owned_unknown(). It may be asked again. */
	void (*local_join)(void *link, const struct fleet_key *key);
	/* No host is interested in that context any more. */
	void (*local_leave)(void *link, const struct fleet_key *key);

	/*
	 * A user of that host asks to cancel a context of this host; host may be this one. Answer with
	 * fleet_report() and the error when the user may not, or there is no such context. Else call
	 * fleet_cancel_allow(), cancel the context with its local joins, wait as long as is asked for, and
	 * call fleet_report() with what was done. number is for these calls; no other cancel ever has it.
	 * The same wish is not told twice.
	 */
	void (*cancel_asked)(void *link, uint64_t number, const char *host,
			     const struct fleet_cancel *cancel);
	/* The owner's host has allowed a cancel: cancel the mirrors of that key, see fleet_mirrors_visit(),
	 * and what joined them, and answer with fleet_report(). mirror_ended() may follow before that, but
	 * not within a tenth of a second. */
	void (*mirrors_cancel)(void *link, uint64_t number, const char *host, const struct fleet_key *key,
			       const struct fleet_cancel *cancel);

	/* A host asks what there is here, of these kinds: bits of enum ctxd_entry_kind. Answer with
	 * fleet_list_entry() for each thing and with fleet_list_end(). No other list ever has that number. */
	void (*list_asked)(void *link, uint64_t number, const char *host, uint32_t kinds);
	/* After fleet_list_entry() was -EAGAIN: there is room again. */
	void (*list_more)(void *link, uint64_t number);
	/* Nobody waits for that list any more: it needs no end. */
	void (*list_closed)(void *link, uint64_t number);
	void *link;

	/* What fleet_cancel() asked for is done: once, with data of fleet_cancel(). */
	void (*cancel_done)(void *data, const struct fleet_outcome *outcome);

	/* Answers to fleet_list(), with its data. An entry of that host, borrowed; times are on the clock of
	 * this host. */
	void (*list_entry)(void *data, const struct ctxd_entry *entry);
	/* Something was lost, so the list begins anew: forget its entries. */
	void (*list_again)(void *data);
	/* The last that is said of the list. 0: it is complete. -EHOSTUNREACH: the host was silent.
	 * -ETIMEDOUT: it is incomplete. Any other: the host refused it. */
	void (*list_end)(void *data, int error);

	/* The owner has said that the context is live: the first time, and after it was in doubt. */
	void (*mirror_live)(void *data, const struct fleet_live *live);
	void (*mirror_moved)(void *data, uint64_t deadline_ns);
	/* The mirror has ended: the last that is said of it. cause is NULL unless it is FLEET_END_CAUSE; its
	 * time is on the clock of this host. */
	void (*mirror_ended)(void *data, enum fleet_end end, const struct wire_cause *cause);
};

/* ---- the fleet. The time is never 0, and not earlier than in the call before. */

/* NULL: no memory. The link to the engine is down at first. */
struct fleet *fleet_new(const struct fleet_config *config, const struct fleet_output *output,
			uint64_t now_ns);
/* Frees all, mirrors included. Says nothing to anybody. NULL is allowed. */
void fleet_free(struct fleet *fleet);

/* Changes these two from here on. A grace that is already over by the new one ends with the next tick. */
void fleet_set_grace(struct fleet *fleet, uint64_t grace_ns, bool outlive_owner_host);

/* When fleet_tick() is to be called next. 0: at once. UINT64_MAX: no time is known. */
uint64_t fleet_next_ns(const struct fleet *fleet);
/*
 * Ends a turn: does what is due, and sends what the calls before have queued, all for one host in one batch
 * where it fits. O(hosts with something to send), and what is due: a beat costs O(1) for each related host,
 * the end of the grace O(mirrors).
 */
void fleet_tick(struct fleet *fleet, uint64_t now_ns);

/* ---- from the engine */

/* The link works. What was sent and received before may be lost. O(hosts). */
void fleet_engine_up(struct fleet *fleet, uint64_t now_ns);
/* The link is lost. O(hosts). */
void fleet_engine_down(struct fleet *fleet, uint64_t now_ns);
/* The engine takes more. O(hosts that had to wait). */
void fleet_engine_writable(struct fleet *fleet);
/* A batch came. What is broken is counted and ignored. O(messages), and for each END and RESYNC what
 * interest.c and mirror.c say. */
void fleet_receive(struct fleet *fleet, const uint8_t *bytes, size_t size, uint64_t now_ns);
/* Answers lease_take and lease_renew: the incarnation that the lease of this host had when a renewal found
 * it, or has after it was to be taken. 0: there was none to renew. O(hosts). */
void fleet_own_lease(struct fleet *fleet, uint64_t incarnation, uint64_t now_ns);
/* Answers lease_read: the incarnation in the lease of that host. 0: it has none. O(1), and O(what is joined
 * on both sides) when the host is taken for dead or has a new bridge. */
void fleet_lease(struct fleet *fleet, const char *host, uint64_t incarnation, uint64_t now_ns);

/* ---- contexts of this host that other hosts have joined. What is said of others has no effect. */

/* It is live. deadline_ns: CTX_FOREVER for none; label may be NULL. O(hosts that joined it). */
void fleet_owned_live(struct fleet *fleet, const struct fleet_key *key, uint64_t deadline_ns, bool movable,
		      const char *label, uint64_t now_ns);
/* It has ended. cause->time_ns is on the clock of this host. O(hosts that joined it). */
void fleet_owned_ended(struct fleet *fleet, const struct fleet_key *key, const struct wire_cause *cause,
		       uint64_t now_ns);
/* There is no such context, or other hosts may not join it. In the first two seconds of the fleet's life that
 * is not believed, and asked again, since clients of a service that was restarted need time to come back.
 * O(hosts that joined it). */
void fleet_owned_unknown(struct fleet *fleet, const struct fleet_key *key, uint64_t now_ns);
/* Its deadline was moved. O(hosts that joined it). */
void fleet_owned_moved(struct fleet *fleet, const struct fleet_key *key, uint64_t deadline_ns,
		       uint64_t now_ns);
/* Its owner does not share it any more: those who joined it keep it, later joins are unknown. */
void fleet_owned_released(struct fleet *fleet, const struct fleet_key *key);

/* ---- contexts of other hosts */

/* For fleet_join(): neither the loss of the link nor that of the owner's host ends the mirror. */
#define FLEET_JOIN_SURVIVE (1u << 0)

/*
 * Joins a context of another host. The mirror is live at once; the owner's host is asked. Several mirrors of
 * one context are allowed. 0; -EINVAL: the id is of this host; -EDQUOT: there are too many mirrors, or too
 * many hosts; -ENOMEM. O(log mirrors).
 */
int fleet_join(struct fleet *fleet, const struct fleet_id *id, uint32_t flags, void *data, uint64_t now_ns,
	       struct mirror **ret_mirror);
/* Frees a mirror, ended or not. Nothing more is said of it. O(log mirrors + mirrors of that context). */
void fleet_leave(struct fleet *fleet, struct mirror *mirror);

/* Calls visit with the data of each mirror of a context, the latest first, but for those that have ended.
 * visit may leave that mirror. O(mirrors of that context). */
void fleet_mirrors_visit(const struct fleet *fleet, const char *host, const struct fleet_key *key,
			 void (*visit)(void *data, void *link), void *link);

/* ---- cancels and lists across hosts */

/*
 * Asks the host that owns a context to cancel it; cancel_done() says what became of it, at the latest when
 * wait_ns and two beats are over. The owner's host decides whether the user may. Messages that get lost are
 * sent again, and do not cancel twice. host may be this one.
 *
 * 0; -EINVAL: host is no name of a host, or cancel has no id, a positive error or unknown flags; -EDQUOT:
 * there are too many cancels or hosts; -ENOMEM. O(1).
 */
int fleet_cancel(struct fleet *fleet, const char *host, const struct fleet_cancel *cancel, void *data,
		 uint64_t now_ns);
/* The user may cancel the context: asks the hosts that have joined it to cancel what they have of it. Has no
 * effect after fleet_report(). O(those hosts). */
void fleet_cancel_allow(struct fleet *fleet, uint64_t number, uint64_t now_ns);
/* Answers cancel_asked() and mirrors_cancel(). error: 0 or negative errno; report: NULL for an error, or what
 * this host has done. When the hosts that were asked have answered too, the sum goes to who asked. O(those
 * hosts). */
void fleet_report(struct fleet *fleet, uint64_t number, int error, const struct ctxd_report *report,
		  uint64_t now_ns);

/*
 * Asks another host for all that it has of these kinds: bits of enum ctxd_entry_kind. list_entry() is called
 * for each, and list_end() once, at the latest after wait_ns. What gets lost is asked for again.
 *
 * 0; -EINVAL: host is this one, or no name of a host, or a kind is unknown; -EDQUOT: there are too many lists
 * or hosts; -ENOMEM.
 */
int fleet_list(struct fleet *fleet, const char *host, uint32_t kinds, uint64_t wait_ns, void *data,
	       uint64_t now_ns);
/*
 * Sends an entry of a list that list_asked() has told of. Of its members, table, gid, and of the cause all
 * but error and kind stay here; a time of 0 is none. 0; -EAGAIN: there is no room, and list_more() is called
 * when there is; -ENOENT: nobody waits for that list any more. Between both calls, fleet_tick() sends what
 * was taken. O(1).
 */
int fleet_list_entry(struct fleet *fleet, uint64_t number, const struct ctxd_entry *entry, uint64_t now_ns);
/* Ends a list. error: 0: these were all; or negative errno: it is refused. */
void fleet_list_end(struct fleet *fleet, uint64_t number, int error, uint64_t now_ns);

/* ---- other hosts */

/* What is known of another host. Times are on the clock of this host. */
struct fleet_host_info {
	char host[FLEET_HOST_MAX + 1];
	uint64_t incarnation; /* 0: not known */
	uint64_t heard_ns;    /* when its latest batch came; 0: none did */
	/* When its lease was last seen, and since when it has been missing; 0: never, and it is not missing.
	 * Leases are read of hosts where something is joined on either side. */
	uint64_t lease_seen_ns, lease_absent_ns;
	uint64_t round_trip_ns; /* a message there and the answer back, smoothed; 0: not known */
	uint32_t joins_in;	/* contexts of this host that it has joined */
	uint32_t joins_out;	/* joins of its contexts here */
	uint64_t received, sent, resyncs, gaps, old, malformed, forged,
		dropped; /* as in struct fleet_counts */
};

/* Calls visit for each host that is known: that has been heard, joined or asked in the last ten leases.
 * O(hosts). */
void fleet_hosts_visit(const struct fleet *fleet,
		       void (*visit)(const struct fleet_host_info *info, void *data), void *data);
/* Whether something has come from that host lately. O(1). */
bool fleet_has_heard(const struct fleet *fleet, const char *host);
/* Measures the round trip to a host, which is then known; NULL: to all that are known. The answer is in
 * struct fleet_host_info. 0; -EINVAL, -EDQUOT, -ENOMEM: as fleet_list(). O(1), or O(hosts). */
int fleet_probe(struct fleet *fleet, const char *host, uint64_t now_ns);

/* The link to the engine and the lease of this host. */
struct fleet_link_info {
	bool is_up;
	uint64_t since_ns;	/* when the link came up or went down */
	bool is_lease_held;	/* The lease was taken. */
	uint64_t lease_seen_ns; /* when that was last confirmed; 0: never */
};
struct fleet_link_info fleet_link_info(const struct fleet *fleet);

/* ---- counts */

struct fleet_counts {
	uint64_t received, sent; /* batches */
	uint64_t malformed;	 /* batches that were broken, or said that they are from this host */
	uint64_t foreign;	 /* batches of another fleet, or of another version of the protocol */
	uint64_t
		forged; /* batches without the code that the key of the fleet asks for, or with a wrong one */
	uint64_t old;	/* batches that came twice or too late, or were for an earlier life */
	uint64_t gaps;	/* batches before which something was missing */
	uint64_t resyncs; /* RESYNCs that were sent */
	uint64_t dropped; /* queued bytes that were dropped for a RESYNC */
	uint64_t refused; /* JOINs without an answer, refused cancels and lists, and batches of hosts
			   * beyond hosts_max */
	uint32_t hosts, owned, ended, interests, mirrors; /* what is there now */
	uint32_t cancels, lists;			  /* that were asked of this host, and are kept */
	uint32_t cancels_asked, lists_asked;		  /* that this host has asked for */
};
struct fleet_counts fleet_counts(const struct fleet *fleet);

#endif
