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
 * the clocks of two hosts say nothing to each other. A message authentication code, where the fleet has a
 * key, is computed outside over the bytes of the batch.
 */
#ifndef CTXD_FLEET_WIRE_H
#define CTXD_FLEET_WIRE_H

#include "id.h"
#include "wire.h"

#define FLEET_VERSION 1
/* The most bytes of a batch, of its header and of one message. */
#define FLEET_BATCH_MAX 65536
#define FLEET_HEADER_MAX (43 + FLEET_HOST_MAX)
#define FLEET_MESSAGE_MAX 320
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
	FLEET_PROBE,  /* asks for any batch as a sign of life */
};

/* Flags of a batch. */
#define FLEET_HOLDS (1u << 0) /* The sender has joined contexts of the receiver. */
#define FLEET_KEEPS (1u << 1) /* The sender believes that the receiver has joined contexts of the sender. */

struct fleet_batch {
	char from[FLEET_HOST_MAX + 1];
	uint16_t flags, count;
	uint64_t from_incarnation; /* never 0 */
	uint64_t to_incarnation;   /* 0: The sender does not know it. */
	uint64_t session;	   /* A later session of one incarnation has a larger number. */
	uint64_t first;		   /* the number of the first message, or of the next one in a BEAT */
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

struct fleet_message {
	enum fleet_type type;
	union {
		struct fleet_join join;
		struct fleet_state state;
		struct fleet_ended ended;
		struct fleet_moved moved;
		struct fleet_key leave;
		struct fleet_resync resync;
	};
};

/* These write a header and a message, and return their sizes. They abort when fleet_wire_unpack() would
 * refuse the result. */
size_t fleet_wire_pack_header(const struct fleet_batch *batch, uint8_t bytes[FLEET_HEADER_MAX]);
size_t fleet_wire_pack(const struct fleet_message *message, uint8_t bytes[FLEET_MESSAGE_MAX]);

/* The size of the packed message at bytes. */
size_t fleet_wire_size(const uint8_t *bytes);

/*
 * Reads the header of a batch, and checks all its messages. Returns 0; -EPROTO: the batch is broken; or
 * -EPROTONOSUPPORT: it is of another version. *ret_at is where fleet_wire_next() begins. On an error nothing
 * is written. O(size).
 */
int fleet_wire_unpack(const uint8_t *bytes, size_t size, struct fleet_batch *ret_batch, size_t *ret_at);

/* The message at *at of a batch that was checked, and moves *at behind it. False: there are no more. */
bool fleet_wire_next(const uint8_t *bytes, size_t size, size_t *at, struct fleet_message *ret_message);

#endif
