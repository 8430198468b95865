/* SPDX-License-Identifier: MIT */
/*
 * The cells of the table of parked operations: what an operation is, how its buffer is named, on which file,
 * on which ring; and what follows from that.
 */
#ifndef TEST_PARK_CELLS_H
#define TEST_PARK_CELLS_H

#include <liburing.h>
#include <stdbool.h>

#include "ctxring.h"

enum form {
	RECV,
	RECV_ALL, /* MSG_WAITALL */
	RECVMSG,
	RECVMSG_ALL,
	READ,
	READV,
	READ_FIXED,
	RECV_MULTISHOT,
	READ_MULTISHOT,
	FORMS_IN, /* those before it receive, those after it send */
	SEND,
	SEND_ALL,
	SENDMSG,
	SENDMSG_ALL,
	WRITE,
	WRITEV,
	WRITE_FIXED,
	SEND_ZC,
	FORMS
};

enum naming {
	PLAIN,
	FROM_RING,
	FROM_LEGACY,
	FROM_INCREMENTAL,
	BUNDLE_FROM_RING,
	BUNDLE_FROM_LEGACY,
	BUNDLE_FROM_INCREMENTAL,
	NAMINGS
};

enum file {
	UNIX,
	TCP,
	PIPE,
	FIFO, /* has no RWF_NOWAIT */
	UNIX_NONBLOCK,
	PIPE_NONBLOCK,
	FIFO_NONBLOCK,
	UNIX_REGISTERED, /* IOSQE_FIXED_FILE */
	PIPE_REGISTERED,
	FILES
};

enum ring {
	ORDINARY,
	DEFER,
	ONE_TIMER,
	OF_ONE, /* entries */
	OF_TWO,
	BY_FLAG, /* CTX_OP_PARK with each operation */
	ADOPTED, /* the same */
	RINGS
};

static const char *const forms[FORMS] = {
	[RECV] = "recv",
	[RECV_ALL] = "recv MSG_WAITALL",
	[RECVMSG] = "recvmsg",
	[RECVMSG_ALL] = "recvmsg MSG_WAITALL",
	[READ] = "read",
	[READV] = "readv",
	[READ_FIXED] = "read_fixed",
	[RECV_MULTISHOT] = "recv multishot",
	[READ_MULTISHOT] = "read multishot",
	[SEND] = "send",
	[SEND_ALL] = "send MSG_WAITALL",
	[SENDMSG] = "sendmsg",
	[SENDMSG_ALL] = "sendmsg MSG_WAITALL",
	[WRITE] = "write",
	[WRITEV] = "writev",
	[WRITE_FIXED] = "write_fixed",
	[SEND_ZC] = "send_zc",
};
static const char *const namings[NAMINGS] = {
	[PLAIN] = "plain",
	[FROM_RING] = "ring-mapped",
	[FROM_LEGACY] = "legacy",
	[FROM_INCREMENTAL] = "incremental",
	[BUNDLE_FROM_RING] = "bundle, ring-mapped",
	[BUNDLE_FROM_LEGACY] = "bundle, legacy",
	[BUNDLE_FROM_INCREMENTAL] = "bundle, incremental",
};
static const char *const files[FILES] = {
	[UNIX] = "unix",
	[TCP] = "TCP",
	[PIPE] = "pipe",
	[FIFO] = "FIFO",
	[UNIX_NONBLOCK] = "unix O_NONBLOCK",
	[PIPE_NONBLOCK] = "pipe O_NONBLOCK",
	[FIFO_NONBLOCK] = "FIFO O_NONBLOCK",
	[UNIX_REGISTERED] = "registered unix",
	[PIPE_REGISTERED] = "registered pipe",
};
static const struct {
	const char *name;
	unsigned flags, setup_flags, entries;
} rings[RINGS] = {
	[ORDINARY] = {"ordinary", 0, 0, 8},
	[DEFER] = {"DEFER_TASKRUN", 0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 8},
	[ONE_TIMER] = {"one timer", CTX_RING_ONE_TIMER, 0, 8},
	[OF_ONE] = {"of one entry", 0, 0, 1},
	[OF_TWO] = {"of two entries", 0, 0, 2},
	[BY_FLAG] = {"ordinary, with CTX_OP_PARK", 0, 0, 8},
	[ADOPTED] = {"adopted, with CTX_OP_PARK", 0, 0, 8},
};

struct cell {
	enum form form;
	enum naming naming;
	enum file file;
	enum ring ring;
	bool parks; /* else it is what the other is compared with */
};

static inline bool sends(enum form form)
{
	return form > FORMS_IN;
}

static inline bool is_multishot(enum form form)
{
	return form == RECV_MULTISHOT || form == READ_MULTISHOT;
}

static inline bool is_bundle(enum naming naming)
{
	return naming >= BUNDLE_FROM_RING;
}

static inline bool is_legacy(enum naming naming)
{
	return naming == FROM_LEGACY || naming == BUNDLE_FROM_LEGACY;
}

static inline bool is_incremental(enum naming naming)
{
	return naming == FROM_INCREMENTAL || naming == BUNDLE_FROM_INCREMENTAL;
}

static inline bool is_socket(enum file file)
{
	return file == UNIX || file == TCP || file == UNIX_NONBLOCK || file == UNIX_REGISTERED;
}

static inline bool is_nonblock(enum file file)
{
	return file == UNIX_NONBLOCK || file == PIPE_NONBLOCK || file == FIFO_NONBLOCK;
}

static inline bool is_registered(enum file file)
{
	return file == UNIX_REGISTERED || file == PIPE_REGISTERED;
}

#endif
