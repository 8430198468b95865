/* SPDX-License-Identifier: MIT */
/*
 * What the bridges of a fleet send each other, as bytes. This code does no input or output.
 *
 * A batch is what one host sends to another at once: a header and any number of messages. A batch without
 * messages is a BEAT. Each message has a number in its session, counted from 1, and the header has the number
 * of the first: the one who reads sees that something is missing, and that something came twice. A session
 * begins when the sender begins to talk to a host, or to a later life of the other bridge.
 *
 * Everything that comes in is checked as lib/wire does it: numbers are in range, texts have no NUL, reserved
 * fields are 0, and each content has one form only. Numbers are little-endian. Times are durations, because
 * the clocks of two hosts say nothing to each other. Where the fleet has a key, a batch ends with a message
 * authentication code, which is computed outside over the bytes before it.
 */
#ifndef CTXD_FLEET_WIRE_H
#define CTXD_FLEET_WIRE_H

#include "cancel.h"
#include "id.h"
#include "wire.h"

#define FLEET_VERSION 1
/* The most bytes of a batch, of its header and of one message. */
#define FLEET_BATCH_MAX 65536
#define FLEET_HEADER_MAX (54 + 2 * FLEET_HOST_MAX)
#define FLEET_MESSAGE_MAX 320
/* The bytes of the code at the end of a batch. */
#define FLEET_CODE_SIZE 32
/* A version that no move has: the joiner does not know which one it has. */
#define FLEET_VERSION_NONE UINT64_MAX

enum fleet_type {
	FLEET_JOIN = 1, /* The joiner asks for a context. Answer: STATE with its nonce */
	FLEET_STATE,	/* from the owner: what is true of a context now */
	FLEET_END,	/* from the owner: a context has ended */
	FLEET_MOVED,	/* from the owner: a deadline was moved */
	FLEET_LEAVE,	/* The joiner is not interested in a context any more. */
	FLEET_RESYNC, /* All that the joiner has of this owner. Answer: STATE where the joiner may not know */
	FLEET_HELLO,  /* asks for a RESYNC */
	FLEET_PROBE,  /* asks for a sign of life. Answer: ECHO with its nonce */
	FLEET_ECHO,
	/* A host asks another to cancel a context there, or what there is of a context here that was joined.
	 * Answer: REPORT, when that is done */
	FLEET_CANCEL,
	FLEET_REPORT,
	FLEET_LIST, /* asks for all that there is. Answer: an ENTRY for each thing, and LISTED */
	FLEET_ENTRY,
	FLEET_LISTED,
};

/* Flags of a batch. */
#define FLEET_HOLDS (1u << 0) /* The sender has joined contexts of the receiver. */
#define FLEET_KEEPS (1u << 1) /* The sender believes that the receiver has joined contexts of the sender. */
#define FLEET_CODED (1u << 2) /* A message authentication code follows the messages. */

struct fleet_batch {
	char fleet[FLEET_HOST_MAX + 1];
	char from[FLEET_HOST_MAX + 1];
	uint16_t flags, count;
	uint64_t from_incarnation; /* never 0 */
	uint64_t to_incarnation;   /* 0: The sender does not know it. */
	uint64_t session;	   /* A later session of one incarnation has a larger number. */
	uint64_t first;		   /* the number of the first message, or of the next one in a BEAT */
	uint64_t heard;		   /* the session of the receiver that was heard last; 0: none was */
	size_t end;		   /* where the messages end; not part of the bytes */
};

struct fleet_join {
	struct fleet_key key;
	uint32_t nonce;
};

enum fleet_state_kind {
	FLEET_LIVE = 1,
	FLEET_ENDED,
	FLEET_UNKNOWN, /* There is no such context, or it may not be joined. */
};

struct fleet_state {
	struct fleet_key key;
	uint32_t nonce; /* of the JOIN; 0: This answers a RESYNC. */
	uint32_t kind;	/* enum fleet_state_kind */
	/* of FLEET_LIVE */
	uint32_t movable; /* 0 or 1 */
	uint64_t version; /* A deadline that was set later has a larger one. */
	uint64_t left_ns; /* until the deadline; CTX_FOREVER: there is none */
	char label[CTX_LABEL_MAX + 1];
	/* of FLEET_ENDED; time_ns is how long ago */
	struct wire_cause cause;
};

struct fleet_ended {
	struct fleet_key key;
	struct wire_cause cause; /* time_ns is how long ago */
};

struct fleet_moved {
	struct fleet_key key;
	uint64_t version;
	uint64_t left_ns;
};

/* A RESYNC is a BEGIN, an ITEM for each context, and an END, all with the number of this RESYNC. */
enum fleet_resync_step {
	FLEET_RESYNC_BEGIN = 1,
	FLEET_RESYNC_ITEM,
	FLEET_RESYNC_END,
};

struct fleet_resync {
	uint32_t round;
	uint32_t step;	      /* enum fleet_resync_step */
	struct fleet_key key; /* this and version: of an ITEM, else 0 */
	uint64_t version;     /* of the deadline that the joiner has */
};

struct fleet_cancelling {
	uint64_t nonce; /* A later CANCEL or LIST of this life of the sender has a larger one. Never 0. */
	/* 0: The receiver owns the context. Else the sender does, and this is its secret; the receiver is to
	 * cancel its mirrors. */
	uint64_t secret;
	struct fleet_cancel cancel;
};

/* A REPORT is a HOST for each host that was asked, which are numbered from 0, and then a TOTAL. The report of
 * mirrors is a TOTAL only. */
enum fleet_report_step {
	FLEET_REPORT_HOST = 1,
	FLEET_REPORT_TOTAL,
};

struct fleet_reported {
	uint64_t nonce; /* of the CANCEL */
	uint32_t step;	/* enum fleet_report_step */
	uint32_t index; /* the number of a HOST; of TOTAL how many of them there are */
	/* of TOTAL */
	uint32_t hosts_asked, hosts_silent;
	/* of TOTAL the sum, without the name of a host */
	struct fleet_host_report host;
};

#define FLEET_KINDS (CTXD_SHARED | CTXD_JOINED | CTXD_PROCESS | CTXD_DEAD)

struct fleet_list_wish {
	uint64_t nonce;	   /* as of CANCEL */
	uint64_t replaced; /* the nonce of an earlier LIST that is not wanted any more; 0: none */
	uint32_t kinds;	   /* bits of enum ctxd_entry_kind */
	uint64_t wait_ns;  /* how long the answer is waited for */
};

/* Of the times of entry, only whether they are 0 is sent; the others are durations. Without table and gid,
 * and of the cause only error and kind, when it has ended. */
struct fleet_listed_entry {
	uint64_t nonce; /* of the LIST */
	uint32_t index; /* from 0 */
	uint64_t age_ns, left_ns, ended_ago_ns;
	struct ctxd_entry entry;
};

struct fleet_listed {
	uint64_t nonce; /* of the LIST */
	uint32_t count; /* of its ENTRYs */
	int32_t error;	/* 0; or negative errno: the list is refused */
};

struct fleet_message {
	enum fleet_type type;
	union {
		struct fleet_join join;
		struct fleet_state state;
		struct fleet_ended ended;
		struct fleet_moved moved;
		struct fleet_key leave;
		struct fleet_resync resync;
		uint32_t nonce; /* PROBE, ECHO */
		struct fleet_cancelling cancelling;
		struct fleet_reported reported;
		struct fleet_list_wish list_wish;
		struct fleet_listed_entry listed_entry;
		struct fleet_listed listed;
	};
};

/* These write a header and a message, and return their sizes. They abort when fleet_wire_unpack() would
 * refuse the result. */
size_t fleet_wire_pack_header(const struct fleet_batch *batch, uint8_t bytes[FLEET_HEADER_MAX]);
size_t fleet_wire_pack(const struct fleet_message *message, uint8_t bytes[FLEET_MESSAGE_MAX]);

/* The size of the packed message at bytes. */
size_t fleet_wire_size(const uint8_t *bytes);

/*
 * Reads the header of a batch. Returns 0; -EPROTO: it is broken; or -EPROTONOSUPPORT: it is of another
 * version. *ret_at is where the first message is. On an error nothing is written. O(1).
 */
int fleet_wire_unpack_header(const uint8_t *bytes, size_t size, struct fleet_batch *ret_batch,
			     size_t *ret_at);

/* Checks all messages of a batch whose header was read. Returns 0, or -EPROTO: one is broken. O(size). */
int fleet_wire_check(const uint8_t *bytes, const struct fleet_batch *batch, size_t at);

/* The message at *at of a batch that was checked, and moves *at behind it. False: there are no more. */
bool fleet_wire_next(const uint8_t *bytes, const struct fleet_batch *batch, size_t *at,
		     struct fleet_message *ret_message);

#endif
