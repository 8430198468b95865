/* SPDX-License-Identifier: MIT */
/*
 * Attempts that do not wait: which operations can be made so, and how (MSG_DONTWAIT, RWF_NOWAIT,
 * IORING_ACCEPT_DONTWAIT). All of it is told from the operation alone.
 */
#ifndef CTX_ATTEMPT_H
#define CTX_ATTEMPT_H

#include "feature.h"
#include "op.h"

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4) /* Linux 6.10 */
#endif

/* What an operation waits for its descriptor to become. */
enum way {
	WAY_IN,	 /* readable, or with a connection to accept */
	WAY_OUT, /* writable */
	WAYS,
	WAY_NONE /* there is no attempt for it */
};

enum way attempt_way(const struct operation *op);

/* For any kind of file, and not only for sockets. */
bool attempt_is_of_file(unsigned opcode);

/* The SQE of the attempt, or of its rest if it has come to something (OP_RESULT). With OP_WAITS it waits. */
void attempt_prepare(const struct operation *op, const struct features *features, struct io_uring_sqe *sqe);

/* So ends the attempt where there is none that does not wait: on this file, or on this kernel. */
bool attempt_is_impossible(const struct operation *op, int res);

/* Has come to less than its buffer has room for, if this res is added. */
static inline bool attempt_is_short(const struct operation *op, int res)
{
	unsigned done = op->marks & OP_RESULT ? (unsigned)op->res : 0;

	return res > 0 && done + (unsigned)res < op->sqe.len;
}

/* Goes on after part of it is done. Of messages the rest would have to be described anew: the kernel does. */
static inline bool attempt_wants_all(const struct operation *op)
{
	return (op->sqe.opcode == IORING_OP_RECV || op->sqe.opcode == IORING_OP_SEND) &&
	       (op->sqe.msg_flags & MSG_WAITALL);
}

#endif
