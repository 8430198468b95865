/* SPDX-License-Identifier: MIT */
#include "attempt.h"

#include <string.h>

#ifndef IORING_RECVSEND_POLL_FIRST
#define IORING_RECVSEND_POLL_FIRST (1U << 0)
#endif
#define ACCEPT_POLL_FIRST (1U << 2) /* Linux 6.10 */
#ifndef IORING_SEND_VECTORIZED
#define IORING_SEND_VECTORIZED (1U << 5) /* Linux 6.17 */
#endif

static enum way way_of_receive(const struct operation *op)
{
	const struct io_uring_sqe *sqe = &op->sqe;
	const unsigned unwaiting = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;
	bool rest_unknown = sqe->opcode == IORING_OP_RECVMSG || (sqe->flags & IOSQE_BUFFER_SELECT) ||
			    (sqe->msg_flags & MSG_PEEK);

	if ((sqe->msg_flags & unwaiting) || (sqe->ioprio & IORING_RECV_MULTISHOT) ||
	    ((sqe->msg_flags & MSG_WAITALL) && rest_unknown))
		return WAY_NONE;
	return WAY_IN;
}

static enum way way_of_send(const struct operation *op)
{
	/* The rest of a provided buffer would be lost: the next attempt takes another buffer. */
	bool rest_unknown = op->sqe.opcode == IORING_OP_SENDMSG || (op->sqe.flags & IOSQE_BUFFER_SELECT) ||
			    (op->sqe.ioprio & IORING_SEND_VECTORIZED);

	if ((op->sqe.msg_flags & MSG_DONTWAIT) || ((op->sqe.msg_flags & MSG_WAITALL) && rest_unknown))
		return WAY_NONE;
	return WAY_OUT;
}

enum way attempt_way(const struct operation *op)
{
	const struct io_uring_sqe *sqe = &op->sqe;

	switch (sqe->opcode) {
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
		return way_of_receive(op);
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
		return way_of_send(op);
	case IORING_OP_ACCEPT:
		return sqe->ioprio & (IORING_ACCEPT_MULTISHOT | IORING_ACCEPT_DONTWAIT) ? WAY_NONE : WAY_IN;
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_READ_FIXED:
		return sqe->rw_flags & RWF_NOWAIT ? WAY_NONE : WAY_IN;
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
		return sqe->rw_flags & RWF_NOWAIT ? WAY_NONE : WAY_OUT;
	default:
		return WAY_NONE;
	}
}

bool attempt_is_of_file(unsigned opcode)
{
	switch (opcode) {
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_ACCEPT:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
		return false;
	default:
		return true;
	}
}

void attempt_prepare(const struct operation *op, const struct features *features, struct io_uring_sqe *sqe)
{
	memcpy(sqe, &op->sqe, sizeof(*sqe));
	sqe->flags = (uint8_t)(sqe->flags & ~IOSQE_CQE_SKIP_SUCCESS);
	if (op->marks & OP_RESULT) {
		sqe->addr += (unsigned)op->res;
		sqe->len -= (unsigned)op->res;
	}
	if (op->marks & OP_WAITS)
		return;
	if (op->opcode == IORING_OP_ACCEPT) {
		sqe->ioprio =
			(uint16_t)((sqe->ioprio & ~ACCEPT_POLL_FIRST) | feature_accept_nowait(features));
		return;
	}
	if (attempt_is_of_file(op->opcode)) {
		sqe->rw_flags |= feature_rw_nowait(features, sqe->fd);
		return;
	}
	sqe->ioprio = (uint16_t)(sqe->ioprio & ~IORING_RECVSEND_POLL_FIRST);
	sqe->msg_flags = (sqe->msg_flags & ~(unsigned)MSG_WAITALL) | MSG_DONTWAIT;
}

bool attempt_is_impossible(const struct operation *op, int res)
{
	if (op->marks & OP_WAITS)
		return false;
	return attempt_is_of_file(op->opcode) ? res == -EOPNOTSUPP
					      : op->opcode == IORING_OP_ACCEPT && res == -EINVAL;
}
