/* SPDX-License-Identifier: MIT */
/*
 * struct operation: the contents of struct ctx_op, from the staging of an operation to its final completion.
 * Only the first 64 bytes are touched when a batch is planned.
 */
#ifndef CTX_OP_H
#define CTX_OP_H

#include "ctxring.h"
#include "list.h"
#include "sys.h"

#define OP_MAGIC 0xc7
/* What a call says of memory without that. */
#define OP_NOT_INITIALISED "the operation was not initialised by ctx_op_init"

enum op_phase {
	OP_IDLE,   /* the program's: not staged, or its end was delivered */
	OP_STAGED, /* in ring->ops.staged or ring->ops.waiting */
	OP_KERNEL, /* in its group's pending, cancelling or retries, or in its ring's singles or retries */
	OP_READY,  /* in ring->ops.ready: its completion did not come through the kernel's queue */
	OP_PARKED, /* in the queue of its fd, and in group->parked or, when the group has ended, ops.ready */
};

enum op_marks {
	OP_COMPLETE = 1 << 0, /* OP_IDLE, and res, cqe_flags and end are the result of the last run */
	OP_SEEN = 1 << 1,   /* its final completion was read from the kernel's queue, perhaps not delivered */
	OP_DOOMED = 1 << 2, /* its context has ended, or the ring is being closed */
	OP_EXPLICIT = 1 << 3,	 /* cancelled by itself, not with its context: ctx_op_cancel() and others */
	OP_CANCEL_SENT = 1 << 4, /* a cancel request for it was staged, and has not failed */
	OP_TIMED = 1 << 5,	 /* has a linked timeout of the library */
	OP_TIMED_OWN = 1 << 6,	 /* the linked timeout is its own timeout, not its context's deadline */
	OP_TIMED_OUT = 1 << 7,	 /* its own timeout has fired */
	OP_CHAINED = 1 << 13,	 /* submitted in a chain of links, or as a drain that later ones wait for */
	OP_DEADLINE = 1 << 12,	 /* its linked timeout is to be its context's deadline */
	OP_EXPIRED = 1 << 11,	 /* the linked timeout at its context's deadline has fired */
	OP_CLOSE_FD = 1 << 8,	 /* CTX_OP_CLOSE_FD */
	OP_HAS_TIMEOUT = 1 << 9, /* ctx_op_set_timeout() was called */
	OP_MULTISHOT = 1 << 10,	 /* has completed, with more completions to come */
	OP_SHUTDOWN = 1 << 15,	 /* CTX_OP_SHUTDOWN */
	OP_TASK = 1 << 14,	 /* its listener hears of its end */
	OP_PARK = 1 << 16,	 /* it is to be parked: CTX_OP_PARK, or the default of its ring */
	OP_ATTEMPT = 1 << 17,	 /* in the kernel as an attempt, see attempt.h */
	OP_RESULT = 1 << 18,	/* res is its result so far, and stays it whatever its last completion says */
	OP_USUAL = 1 << 19,	/* not parked although OP_PARK is set */
	OP_COUNTED = 1 << 20,	/* counted in pending of its park_fd */
	OP_OUT = 1 << 21,	/* OP_PARKED, and waits to write */
	OP_PARK_RING = 1 << 22, /* OP_PARK is the default of its ring */
	OP_WAITS = 1 << 23,	/* its attempts wait in the kernel */
	OP_INDEXED = 1 << 24,	/* OP_STAGED, and in the list of staged ones of its group */
	OP_ASKS = 1 << 25,	/* gets OP_WAITS and is attempted only when poll(2) reports readiness */
	OP_PARK_NOW = 1 << 26,	/* CTX_OP_PARK: it does not wait in the kernel before it is parked */
	OP_LATE = 1 << 27,    /* an attempt of it waits in the kernel, and is parked when it waits for long */
	OP_PARKING = 1 << 28, /* OP_LATE, and a cancel was staged that takes it out of the kernel */
	OP_BEGUN = 1 << 29,   /* OP_STAGED again after it was parked: counted as begun already */
};

/* The marks of an operation that is being ended. In a chain in the kernel either all members have one of them
 * or none has. */
#define OP_ENDING (OP_DOOMED | OP_EXPLICIT)

struct batch;
struct group;
struct operation;

/* Hears of the end of an operation with OP_TASK, when the operation is OP_IDLE again. */
struct op_listener {
	/* Is called before the operation's own callback. */
	void (*ended)(struct op_listener *listener, const struct operation *op,
		      const struct ctx_completion *completion);
	/*
	 * Is called after the callback, if this is still the process that delivered. NULL: the listener is
	 * not used any more for this operation once ended was called.
	 */
	void (*delivered)(struct op_listener *listener);
};

struct op_timer;

struct operation {
	ctx_op_fn callback;
	uint64_t data;
	struct list link;    /* see enum op_phase */
	struct group *group; /* NULL: it was refused when it was staged */
	union {
		uint64_t order;		      /* of submission, counted over the whole ring */
		struct op_listener *listener; /* when it has OP_TASK and was refused when it was staged */
	};
	uint32_t slot, generation;
	uint32_t marks; /* enum op_marks */
	uint8_t magic;
	uint8_t phase;	/* enum op_phase */
	uint8_t opcode; /* a copy from the SQE, which is in another cache line; valid once submitted */
	union {
		uint8_t attempts; /* cancels that did not find it; when it is parked, attempts in vain */
		uint8_t end;	  /* enum ctx_op_end; valid from OP_READY on, and when it was refused */
	};
	/* Byte 64: the second cache line begins. */
	struct op_timer *timer; /* of its own timeout, see op_timer.c; NULL: none */
	union {
		struct {
			/* The members of its chain before and after it that are in the kernel. */
			struct operation *chain_prev, *chain_next;
		};
		struct list park; /* OP_PARKED: in the queue of its fd; OP_INDEXED: in group->staged */
	};
	/* With OP_HAS_TIMEOUT its own timeout. Once submitted, the time to which its linked timeout is set.
	 */
	uint64_t timeout_ns;
	struct __kernel_timespec timeout;
	int32_t res; /* this, cqe_flags and end are the completion's, from OP_READY on */
	uint32_t cqe_flags;
	uint64_t unused; /* so that the SQE is a cache line */
	/* Byte 128: the third cache line begins. */
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

/* Starts a phase from nothing: no attempts, no end, no opcode. One store. */
static inline void op_set_phase(struct operation *op, enum op_phase phase)
{
	op->magic = OP_MAGIC;
	op->phase = (uint8_t)phase;
	op->opcode = 0;
	op->attempts = 0;
}

/* True for an operation that ctx_op_init() has prepared, and that may be staged. */
static inline bool op_is_idle(const struct operation *op)
{
	return op->magic == OP_MAGIC && op->phase == OP_IDLE;
}

/* True for operation codes that never wait, so that they need no timeout. */
bool op_never_waits(unsigned opcode);

/* True when op works on descriptor fd. With some operation codes sqe.fd means something else. */
bool op_is_on(const struct operation *op, int fd);

static inline void op_mark(struct operation *op, unsigned marks)
{
	op->marks |= marks;
}

static inline void op_unmark(struct operation *op, unsigned marks)
{
	op->marks &= ~marks;
}

/* True for the results by which the kernel says that an operation was ended before it was done. */
bool op_ended_early(int res);

/* Returns res, but -ECANCELED for each result of op_ended_early() when the library has ended op. */
int op_normal_result(const struct operation *op, int res);

#endif
