/* SPDX-License-Identifier: MIT */
/*
 * lib/table: the context table, which other processes read. It may use base.
 *
 * This is its layout, as another process maps it or a core file holds it.
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
 * changed, try again a bounded number of times, then skip the record. Indexes in records may be stale or
 * nonsense: check them, and check the generation of the record that they lead to.
 * Slot 0 of every area is never used, so that 0 can say "none".
 *
 * Fields that are _Atomic are stored outside a sequence count, or read without one. They have the size and
 * the place of plain ones. A copy is made through pointers to _Atomic, and may then be read as anything is.
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
#define CTX_TABLE_HOST_SIZE 64

/* One area: count records of record_size bytes each, from offset on. used is one more than the highest slot
 * that was ever in use. */
struct ctx_table_area {
	uint64_t offset;
	uint32_t record_size;
	uint32_t count;
	_Atomic uint32_t used;	/* only grows; its store publishes the records below it */
	_Atomic uint32_t flags; /* of the area of contexts: CTX_TABLE_EXITED or 0; of others 0 */
};

/* The process called exit(3) or returned from main: it was not killed and did not crash. */
#define CTX_TABLE_EXITED 0x01u

struct ctx_table_header {
	_Atomic uint64_t magic; /* stored last when the table is made: its store publishes the header */
	uint32_t version;
	uint32_t header_size;
	uint64_t file_size;
	uint64_t created_ns; /* CLOCK_MONOTONIC */
	int32_t pid;	     /* in the process's own pid namespace */
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
 * The state of a context is 0 when the slot is free, and CTX_TABLE_LIVE while the context is live. When it is
 * done the low 16 bits are the positive errno, and CTX_TABLE_OWN says that the end began with this context:
 * done_* and the cause belong to it. Without CTX_TABLE_OWN the end came from the parent: look there. The
 * parent of a merged context is then the one of its parents that ended it.
 */
#define CTX_TABLE_ERRNO 0x0000ffffu
#define CTX_TABLE_OWN 0x00010000u
#define CTX_TABLE_LIVE 0x00020000u

struct ctx_table_context {
	_Atomic uint32_t seq;
	_Atomic uint32_t generation; /* of this use of the slot; never 0 */
	_Atomic uint32_t state;	     /* stored also outside the sequence */
	uint32_t parent_slot;	     /* the nearest ancestor that is in the table; 0: none is */
	uint32_t parent_generation;
	uint32_t creator_tid;
	uint64_t created_ns;	      /* CLOCK_MONOTONIC_COARSE */
	_Atomic uint64_t deadline_ns; /* in force; UINT64_MAX: none. Stored also outside the sequence */
	uint64_t site;		      /* return address of the call that made it */
	uint64_t done_ns;	      /* this and done_* below are valid with CTX_TABLE_OWN */
	_Atomic uint64_t done_site;   /* while the context is live, the process uses this field itself */
	uint32_t done_tid;
	uint32_t cause_slot; /* the record of its text and error; 0: it has neither */
	uint8_t kind;	     /* enum ctx_table_kind */
	uint8_t cause_kind;  /* enum ctx_cause_kind */
	uint16_t reserved;
	int32_t cause_code;
	char label[CTX_TABLE_LABEL_SIZE]; /* ends with a NUL; may be empty */
};

/* A cause that has a text, an error of its own, or began on another host. Tables of earlier libraries lack
 * the host. */
struct ctx_table_cause {
	_Atomic uint32_t seq;
	int32_t error;	       /* negative errno */
	uint32_t context_slot; /* the context that it belongs to; 0: the record is free */
	uint32_t context_generation;
	char text[CTX_TABLE_TEXT_SIZE];
	char host[CTX_TABLE_HOST_SIZE]; /* of the fleet, where the end began; "": this host */
};

#define CTX_TABLE_OP_IN_FLIGHT 0x01u /* the record is in use */
#define CTX_TABLE_OP_CANCELLING \
	0x02u /* its cancel has been sent, or its time is over, and the kernel did not end it at once */
#define CTX_TABLE_OP_TIMED 0x04u      /* has a linked timeout */
#define CTX_TABLE_OP_MULTISHOT 0x08u  /* has completed with more to come */
#define CTX_TABLE_OP_PARKED 0x10u     /* waits in the library, not in the kernel */
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
	uint16_t ring;	       /* the slot of its ring */
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
	uint64_t batches;	     /* how many batches it has cancelled so far */
	uint32_t batch_context_slot; /* from here on: the last batch, as struct ctx_batch */
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
