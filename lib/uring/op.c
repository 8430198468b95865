/* SPDX-License-Identifier: MIT */
/* The public calls about one operation, and what its opcode and its result mean. */
#include "op.h"
#include "debug.h"

/* The kernel's codes for "restart this system call". They are meant to stay in the kernel, but are the result
 * of a request that was cancelled in one of its worker threads. */
#define KERNEL_ERESTARTSYS 512
#define KERNEL_ERESTARTNOINTR 513
#define KERNEL_ERESTARTNOHAND 514
#define KERNEL_ERESTART_RESTARTBLOCK 516

/* Operation codes that older headers do not have. */
#define OP_WAITID 50
#define OP_FUTEX_WAIT 51
#define OP_FUTEX_WAKE 52
#define OP_FUTEX_WAITV 53
#define OP_PIPE 62

void ctx_op_init(struct ctx_op *public_op, ctx_op_fn callback, uint64_t data)
{
	if (!public_op)
		return;
	struct operation *op = op_from_public(public_op);
	/* The other members are set when it is staged, or later. */
	op->callback = callback;
	op->data = data;
	op->marks = 0;
	op_set_phase(op, OP_IDLE);
}

static const char *why_not_complete(const struct operation *op)
{
	if (op->magic != OP_MAGIC)
		return OP_NOT_INITIALISED;
	if (op->phase == OP_STAGED)
		return "the operation is staged or waits to be given to the kernel";
	return op->phase == OP_IDLE ? "the operation was never submitted"
				    : "the operation is not complete, or its completion was not dispatched";
}

/* Why an operation is not between ctx_ring_get_sqe() and ctx_ring_submit(). */
static const char *not_being_staged(const struct ctx_op *public_op)
{
	const struct operation *op = (const struct operation *)public_op;

	if (op && op->magic != OP_MAGIC)
		return OP_NOT_INITIALISED;
	return op && op->phase == OP_IDLE
		       ? "ctx_ring_get_sqe was not called for the operation before"
		       : "the operation is submitted already: call this before ctx_ring_submit";
}

int ctx_op_result(const struct ctx_op *public_op, struct ctx_completion *ret_completion)
{
	if (!public_op || !ret_completion)
		return debug_invalid(NULL, public_op, ret_completion);
	const struct operation *op = (const struct operation *)public_op;
	if (op->magic != OP_MAGIC || op->phase != OP_IDLE || !(op->marks & OP_COMPLETE))
		return debug_error(-EINPROGRESS, "%s", why_not_complete(op));
	*ret_completion = (struct ctx_completion){
		.res = op->res, .flags = op->cqe_flags, .end = (enum ctx_op_end)op->end};
	return 0;
}

static bool is_being_staged(const struct ctx_op *public_op)
{
	const struct operation *op = (const struct operation *)public_op;
	return op && op->magic == OP_MAGIC && op->phase == OP_STAGED;
}

int ctx_op_set_timeout(struct ctx_op *public_op, uint64_t timeout_ns)
{
	if (!is_being_staged(public_op))
		return debug_invalid(not_being_staged(public_op), public_op);
	struct operation *op = op_from_public(public_op);
	op->timeout_ns = timeout_ns;
	if (timeout_ns == CTX_FOREVER)
		op_unmark(op, OP_HAS_TIMEOUT);
	else
		op_mark(op, OP_HAS_TIMEOUT);
	return 0;
}

int ctx_op_set_flags(struct ctx_op *public_op, unsigned flags)
{
	const unsigned both = CTX_OP_PARK | CTX_OP_PENDING, known = CTX_OP_CLOSE_FD | CTX_OP_SHUTDOWN | both;

	if (!is_being_staged(public_op) || (flags & ~known) || (flags & both) == both)
		return debug_invalid((flags & ~known)	      ? "a flag is unknown"
				     : (flags & both) == both ? "CTX_OP_PARK and CTX_OP_PENDING are both set"
							      : not_being_staged(public_op),
				     public_op);
	struct operation *op = op_from_public(public_op);
	bool parks = op->marks & OP_PARK_RING;
	op_unmark(op, OP_CLOSE_FD | OP_SHUTDOWN | OP_PARK | OP_PARK_NOW | OP_USUAL);
	op_mark(op, (flags & CTX_OP_CLOSE_FD ? OP_CLOSE_FD : 0) |
			    (flags & CTX_OP_SHUTDOWN ? OP_SHUTDOWN : 0) |
			    (parks || (flags & CTX_OP_PARK) ? OP_PARK : 0) |
			    (flags & CTX_OP_PARK ? OP_PARK_NOW : 0));
	if ((flags & CTX_OP_PENDING) && parks)
		op_mark(op, OP_USUAL); /* counted in its park_fd all the same, for ctx_ring_close_fd() */
	return 0;
}

bool op_never_waits(unsigned opcode)
{
	switch (opcode) {
	case IORING_OP_NOP:
	case IORING_OP_CLOSE:
	case IORING_OP_POLL_REMOVE:
	case IORING_OP_TIMEOUT_REMOVE:
	case IORING_OP_ASYNC_CANCEL:
	case IORING_OP_LINK_TIMEOUT:
	case IORING_OP_FILES_UPDATE:
	case IORING_OP_PROVIDE_BUFFERS:
	case IORING_OP_REMOVE_BUFFERS:
	case IORING_OP_MSG_RING:
		return true;
	default:
		return false;
	}
}

bool op_is_on(const struct operation *op, int fd)
{
	if (op->sqe.fd != fd || (op->sqe.flags & IOSQE_FIXED_FILE))
		return false;
	switch (op->sqe.opcode) {
	case IORING_OP_NOP:
	case IORING_OP_POLL_REMOVE:
	case IORING_OP_TIMEOUT:
	case IORING_OP_TIMEOUT_REMOVE:
	case IORING_OP_ASYNC_CANCEL:
	case IORING_OP_LINK_TIMEOUT:
	case IORING_OP_FILES_UPDATE:
	case IORING_OP_MADVISE:
	case IORING_OP_PROVIDE_BUFFERS: /* the field is a count */
	case IORING_OP_REMOVE_BUFFERS:
	case IORING_OP_SOCKET: /* the field is the domain */
	case OP_WAITID:	       /* the field is a process */
	case OP_FUTEX_WAIT:    /* the field is flags */
	case OP_FUTEX_WAKE:
	case OP_FUTEX_WAITV:
	case OP_PIPE:
		return false;
	default:
		return true;
	}
}

bool op_ended_early(int res)
{
	switch (-res) {
	case ECANCELED:
	case EINTR:
	case KERNEL_ERESTARTSYS:
	case KERNEL_ERESTARTNOINTR:
	case KERNEL_ERESTARTNOHAND:
	case KERNEL_ERESTART_RESTARTBLOCK:
		return true;
	default:
		return false;
	}
}

int op_normal_result(const struct operation *op, int res)
{
	bool ours = op->marks & (OP_DOOMED | OP_EXPLICIT | OP_TIMED_OUT | OP_EXPIRED);

	return ours && op_ended_early(res) ? -ECANCELED : res;
}
