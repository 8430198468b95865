/* SPDX-License-Identifier: MIT */
/*
 * lib/table: the context table, which other processes read. It may use base.
 *
 * The context table as another process, or a core file, shows it.
 *
 * Each process that uses the library keeps one memfd, mapped shared and named so
 * that /proc/PID/maps shows "/memfd:ctxring (deleted)". It is a header followed
 * by four arrays of fixed-size records: contexts, operations, causes and rings.
 * The file is sparse, has its final size from the start and carries the seals
 * F_SEAL_FUTURE_WRITE|SHRINK|GROW|SEAL, so that nobody but its process, which
 * mapped it before sealing, can write it, and nobody can cut it under a reader.
 *
 * How to read it. Demand the seals, map it read-only, and trust nothing: the
 * process may be hostile or broken. Check magic, version and that every area
 * lies within the file size as fstat(2) gives it. A record is copied under its
 * sequence count: read seq, which must be even, copy, and read seq again; if it
 * changed, try again a bounded number of times, then drop the record. Indexes in records may be stale or
 * nonsense: check them, and check the generation of what they point to.
 * Slot 0 of every area is never used, so that 0 can say "none".
 *
 * Numbers are in the machine's own byte order: the table does not leave the host.
 * A reader of this version accepts every table whose version is at most its own
 * and whose record sizes are at least those it knows.
 */
#ifndef CTX_TABLE_FORMAT_H
#define CTX_TABLE_FORMAT_H

#include <stdint.h>

#define CTX_TABLE_MEMFD_NAME "ctxring"
#define CTX_TABLE_MAGIC 0x31474e4952585443ull /* "CTXRING1" */
#define CTX_TABLE_VERSION 1u

#define CTX_TABLE_LABEL_SIZE 32
#define CTX_TABLE_TEXT_SIZE 128

/* One area: count records of record_size bytes from offset on; used is the highest slot handed out so far
 * plus one. */
struct ctx_table_area {
	uint64_t offset;
	uint32_t record_size;
	uint32_t count;
	_Atomic uint32_t used;	/* only grows */
	_Atomic uint32_t flags; /* of the area of contexts: CTX_TABLE_EXITED or 0; of others 0 */
};

/* The process called exit(3), or returned from main: it was not killed and did not crash. Stored then.
 */
#define CTX_TABLE_EXITED 0x01u

struct ctx_table_header {
	_Atomic uint64_t magic; /* stored last when the table is made */
	uint32_t version;
	uint32_t header_size;
	uint64_t file_size;
	uint64_t created_ns; /* CLOCK_MONOTONIC */
	int32_t pid;	     /* as its own pid namespace sees it */
	uint32_t uid;
	struct ctx_table_area contexts;
	struct ctx_table_area operations;
	struct ctx_table_area causes;
	struct ctx_table_area rings;
};

/* How a context was made. */
enum ctx_table_kind {
	CTX_TABLE_CANCEL = 1,
	CTX_TABLE_DEADLINE,
	CTX_TABLE_MOVABLE,
	CTX_TABLE_VALUE,
	CTX_TABLE_DETACHED,
	CTX_TABLE_MERGED,
	CTX_TABLE_JOINED, /* stands for a context of another process */
	CTX_TABLE_SOURCE, /* ended by an event of the kernel */
};

/*
 * state of a context: 0 when the slot is free; else CTX_TABLE_LIVE, and when done the
 * positive errno in the low 16 bits, with CTX_TABLE_OWN if the end began here, so
 * that done_* and cause say why. Without CTX_TABLE_OWN look at the parent; that of a
 * merged context is then the one of its parents that ended it.
 */
#define CTX_TABLE_ERRNO 0x0000ffffu
#define CTX_TABLE_OWN 0x00010000u
#define CTX_TABLE_LIVE 0x00020000u

struct ctx_table_context {
	_Atomic uint32_t seq;
	_Atomic uint32_t generation; /* of this use of the slot; never 0 */
	_Atomic uint32_t state;	     /* stored also outside the sequence */
	uint32_t parent_slot;	     /* nearest ancestor in the table, 0: a root */
	uint32_t parent_generation;
	uint32_t creator_tid;
	uint64_t created_ns;	      /* coarse clock */
	_Atomic uint64_t deadline_ns; /* in force; UINT64_MAX: none. Stored also outside the sequence */
	uint64_t site;		      /* return address of the call that made it */
	uint64_t done_ns;	      /* these: when CTX_TABLE_OWN */
	_Atomic uint64_t done_site;   /* while live: for the process's own use */
	uint32_t done_tid;
	uint32_t cause_slot; /* of its text and error, 0: plain */
	uint8_t kind;	     /* enum ctx_table_kind */
	uint8_t cause_kind;  /* enum ctx_cause_kind */
	uint16_t reserved;
	int32_t cause_code;
	char label[CTX_TABLE_LABEL_SIZE]; /* with a NUL; may be empty */
};

/* A cause with a text, or with an error of its own. */
struct ctx_table_cause {
	_Atomic uint32_t seq;
	int32_t error;	       /* negative errno */
	uint32_t context_slot; /* whose it is; 0: free */
	uint32_t context_generation;
	char text[CTX_TABLE_TEXT_SIZE];
};

#define CTX_TABLE_OP_IN_FLIGHT 0x01u /* the record is in use */
#define CTX_TABLE_OP_CANCELLING \
	0x02u /* its cancel has been sent, or its time is over, and the kernel has not let go at once */
#define CTX_TABLE_OP_TIMED 0x04u      /* carries a linked timeout */
#define CTX_TABLE_OP_MULTISHOT 0x08u  /* has completed with more to come */
#define CTX_TABLE_OP_PARKED 0x10u     /* waits outside the kernel */
#define CTX_TABLE_OP_FIXED_FILE 0x20u /* fd is an index of registered files */
#define CTX_TABLE_OP_STUCK 0x40u      /* has not ended in twice its context's grace */

/* An operation in flight. */
struct ctx_table_operation {
	_Atomic uint32_t seq;
	uint32_t context_slot;
	uint32_t context_generation;
	int32_t fd;
	uint8_t opcode;	       /* IORING_OP_* */
	_Atomic uint8_t flags; /* CTX_TABLE_OP_*; stored last */
	uint16_t ring;	       /* slot of its ring */
	uint32_t reserved;
	uint64_t since_ns;
};

struct ctx_table_ring {
	_Atomic uint32_t seq;
	_Atomic uint32_t state; /* 0 free, 1 open */
	uint32_t owner_tid;
	int32_t fd;
	uint32_t setup_flags; /* IORING_SETUP_* */
	uint32_t adopted;
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint64_t opened_ns;
	uint64_t batches;	     /* cancelled so far */
	uint32_t batch_context_slot; /* the last batch, as struct ctx_batch */
	uint32_t batch_context_generation;
	uint32_t batch_operations;
	uint32_t batch_unsent;
	uint32_t batch_timed;
	uint32_t batch_sqes;
	uint32_t batch_enters;
	uint32_t batch_cancelled;
	uint32_t batch_finished;
	uint32_t reserved;
	uint64_t batch_submit_ns;
	uint64_t batch_reap_ns;
};

#endif
