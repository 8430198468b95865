/* SPDX-License-Identifier: MIT */
/*
 * What lies in the opaque words of struct ctx_op: the operation from its staging to
 * its final completion. The first 64 bytes are all that planning a batch touches.
 */
#ifndef CTX_OP_H
#define CTX_OP_H

#include "ctxring.h"
#include "list.h"
#include "sys.h"

#define OP_MAGIC 0xc7

enum op_phase {
	OP_IDLE,   /* the caller's */
	OP_STAGED, /* in ring->staged or ring->waiting */
	OP_KERNEL, /* in its group's pending, cancelling or retries, or in its ring's singles or retries */
	OP_READY,  /* in ring->ready: its completion is known and was never in the kernel's queue */
	OP_PARKED, /* in its group's parked list, or in ring->ready once that ended; and in its fd's queue */
};

enum op_marks {
	OP_COMPLETE = 1 << 0,	 /* idle, and res, cqe_flags and end are the result of the last run */
	OP_SEEN = 1 << 1,	 /* its final completion is in user space, perhaps not yet delivered */
	OP_DOOMED = 1 << 2,	 /* its context ended, or the ring closes */
	OP_EXPLICIT = 1 << 3,	 /* ctx_op_cancel */
	OP_CANCEL_SENT = 1 << 4, /* a cancel SQE is on its way and has not failed */
	OP_TIMED = 1 << 5,	 /* carries a linked timeout */
	OP_TIMED_OWN = 1 << 6,	 /* which is its own timeout, not its context's deadline */
	OP_TIMED_OUT = 1 << 7,	 /* its own timeout fired */
	OP_CHAINED = 1 << 13,	 /* submitted with others, or as one that all after it wait for */
	OP_DEADLINE = 1 << 12,	 /* to be timed by its context's deadline */
	OP_EXPIRED = 1 << 11,	 /* the linked timeout at its context's deadline fired */
	OP_CLOSE_FD = 1 << 8,	 /* CTX_OP_CLOSE_FD */
	OP_HAS_TIMEOUT = 1 << 9, /* ctx_op_set_timeout was called */
	OP_MULTISHOT = 1 << 10,	 /* completed with more to come */
	OP_SHUTDOWN = 1 << 15,	 /* CTX_OP_SHUTDOWN */
	OP_TASK = 1 << 14,	 /* a listener is to hear of its end */
	OP_PARK = 1 << 16,	 /* CTX_OP_PARK, or its ring's default */
	OP_ATTEMPT = 1 << 17,	 /* in the kernel as an attempt that does not wait */
	OP_RESULT = 1 << 18,	 /* res is what it has come to so far; the completion adds nothing */
	OP_USUAL = 1 << 19,	 /* not to be parked after all */
	OP_COUNTED = 1 << 20,	 /* among what its fd has pending in the kernel */
	OP_OUT = 1 << 21,	 /* parked: waits to write */
	OP_PARK_RING = 1 << 22,	 /* OP_PARK is its ring's default */
	OP_WAITS = 1 << 23,	 /* its attempt is to wait in the kernel */
	OP_INDEXED = 1 << 24,	 /* OP_STAGED, and in its group's list of those */
	OP_ASKS = 1 << 25,	 /* and is to be made when poll(2) says that there is something, not before */
};

/* Somebody is ending it. Of a chain in the kernel either all members have one of these marks or none has. */
#define OP_ENDING (OP_DOOMED | OP_EXPLICIT)

struct batch;
struct group;
struct operation;

/*
 * Hears of the ends of operations with OP_TASK: when they are the caller's again, and before their own
 * callback. Afterwards it is not looked at any more for this operation.
 */
struct op_listener {
	void (*ended)(struct op_listener *listener, const struct operation *op,
		      const struct ctx_completion *completion);
};

struct op_timer;

struct operation {
	ctx_op_fn callback;
	uint64_t data;
	struct list link;    /* see enum op_phase */
	struct group *group; /* NULL: refused when it was staged */
	union {
		uint64_t order;		      /* of submission, over the whole ring */
		struct op_listener *listener; /* of one with OP_TASK that was refused when it was staged */
	};
	uint32_t slot, generation;
	uint32_t marks; /* enum op_marks */
	uint8_t magic;
	uint8_t phase;	/* enum op_phase */
	uint8_t opcode; /* once submitted; the SQE is in another cache line */
	union {
		uint8_t attempts; /* cancels that failed to find it; attempts in vain of one that parks */
		uint8_t end;	  /* enum ctx_op_end; when it was refused, and from OP_READY on */
	};
	/* 64 */
	struct batch *batch; /* that cancels it */
	union {
		struct {
			struct operation *chain_prev,
				*chain_next; /* still in the kernel, before and after it */
		};
		struct list park; /* OP_PARKED: in the queue of its fd; OP_INDEXED: in group->staged */
	};
	uint64_t timeout_ns; /* own timeout, CTX_FOREVER: none; once submitted the time its linked timeout is
				set to */
	struct __kernel_timespec timeout;
	struct op_timer *timer; /* behind its own timeout */
	int32_t res;		/* these three: of the completion, from OP_READY on */
	uint32_t cqe_flags;
	/* 128 */
	struct io_uring_sqe sqe;
} __attribute__((may_alias));

_Static_assert(sizeof(struct operation) == sizeof(struct ctx_op), "struct ctx_op holds struct operation");

static inline struct operation *op_from_public(struct ctx_op *op)
{
	return (struct operation *)op;
}

static inline struct ctx_op *op_public(struct operation *op)
{
	return (struct ctx_op *)op;
}

/* Operation codes that never wait, so that no deadline need follow them. */
bool op_never_waits(unsigned opcode);

/* It is on this descriptor: with some operation codes the field means something else. */
bool op_is_on(const struct operation *op, int fd);

static inline void op_mark(struct operation *op, unsigned marks)
{
	op->marks |= marks;
}

static inline void op_unmark(struct operation *op, unsigned marks)
{
	op->marks &= ~marks;
}

/* The kernel's several ways to say that something else ended an operation. */
bool op_ended_early(int res);

/* A result that says "ended early" in the kernel's several ways, as one. */
int op_normal_result(const struct operation *op, int res);

#endif
