/* SPDX-License-Identifier: MIT */
/*
 * An attempt is an operation that is given to the kernel so that it does not wait: with MSG_DONTWAIT,
 * RWF_NOWAIT or IORING_ACCEPT_DONTWAIT. Which operations can be attempted, and how, is decided from the
 * operation alone.
 */
#ifndef CTX_ATTEMPT_H
#define CTX_ATTEMPT_H

#include "feature.h"
#include "op.h"

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4) /* Linux 6.10 */
#endif

/* The direction in which an operation waits for its descriptor. */
enum way {
	WAY_IN,	 /* readable, or with a connection to accept */
	WAY_OUT, /* writable */
	WAYS,
	WAY_NONE /* the operation cannot be attempted */
};

/* The direction of op, or WAY_NONE. */
enum way attempt_way(const struct operation *op);

/* True for operations on files of any kind, false for those on sockets only. */
bool attempt_is_of_file(unsigned opcode);

/* Fills sqe in for an attempt of op, or of the rest of op if part of it is done (OP_RESULT). With OP_WAITS it
 * waits in the kernel. */
void attempt_prepare(const struct operation *op, const struct features *features, struct io_uring_sqe *sqe);

/* True when res says that an attempt of op is not possible, on this file or on this kernel. */
bool attempt_is_impossible(const struct operation *op, int res);

/* True when op, with res added to what is done already, has not filled its buffer. */
static inline bool attempt_is_short(const struct operation *op, int res)
{
	unsigned done = op->marks & OP_RESULT ? (unsigned)op->res : 0;

	return res > 0 && done + (unsigned)res < op->sqe.len;
}

/* True when op goes on after part of it is done. Not for messages, whose rest would need another description:
 * the kernel goes on with these. */
static inline bool attempt_wants_all(const struct operation *op)
{
	return (op->sqe.opcode == IORING_OP_RECV || op->sqe.opcode == IORING_OP_SEND) &&
	       (op->sqe.msg_flags & MSG_WAITALL);
}

#endif
