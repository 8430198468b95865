/* SPDX-License-Identifier: MIT */
/*
 * lib/table: the context table, which other processes read. It may use base.
 *
 * This is its layout, as another process maps it or a core file holds it.
 *
 * Each process that uses the library keeps one memfd, mapped shared and named so
 * that /proc/PID/maps shows "/memfd:ctxring (deleted)". It is a header followed
 * by arrays of fixed-size records: contexts, operations, causes, rings, stems of
 * labels and counters, and by three journals of what is past.
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
 * Slot 0 of every area but those of journals is never used, so that 0 can say "none".
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
 * that was ever in use, and 0 when none was. */
struct ctx_table_area {
	uint64_t offset;
	uint32_t record_size;
	uint32_t count;
	_Atomic uint32_t used;	/* only grows; its store publishes the records below it */
	_Atomic uint32_t flags; /* of the area of contexts: CTX_TABLE_EXITED or 0; of others 0 */
};

/* The process called exit(3) or returned from main: it was not killed and did not crash. */
#define CTX_TABLE_EXITED 0x01u

/*
 * A journal: chunks of area.record_size bytes, each a struct ctx_table_chunk followed by entries of
 * entry_size bytes. Each writing thread has a chunk of its own, which it fills from the front. When it is
 * full the thread takes the chunk that was filled longest ago, so that the journal holds the latest entries.
 *
 * How to read it. For each chunk below area.used: read serial, read count, copy so many entries, and read
 * serial again. If it changed, the chunk was given to another use meanwhile, and the copy is worth nothing.
 * Entries below count do not change. Each use of a chunk has its own serial, and serials are given without
 * gaps, so that a reader that comes again knows what it has missed: a use that it has not seen to its end,
 * and whose serial is no longer there.
 */
struct ctx_table_journal {
	struct ctx_table_area area;	 /* its records are the chunks, from slot 0 on */
	_Atomic uint64_t serial;	 /* the last one that was given */
	_Atomic uint64_t overwritten_ns; /* the time of the latest entry that was overwritten; 0: none was */
	uint32_t entry_size;
	uint32_t reserved;
};

#define CTX_TABLE_CHUNK_SIZE 4096u	 /* of the journal of ends; no other has smaller ones */
#define CTX_TABLE_PAST_CHUNK_SIZE 16384u /* of those that are written while a recording runs */

struct ctx_table_chunk {
	_Atomic uint64_t serial; /* of this use; 0: not in use, or just being given to another one */
	_Atomic uint32_t count;	 /* entries that are written; its store publishes them */
	uint32_t writer_tid;
	uint64_t reserved[6];
};

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
	/* From here on: only where header_size says so. Tables of earlier libraries end before. */
	struct ctx_table_area stems;
	struct ctx_table_area counters;
	struct ctx_table_journal ends;		/* of struct ctx_table_end */
	struct ctx_table_journal contexts_past; /* of struct ctx_table_context_past, while a recording runs */
	struct ctx_table_journal operations_past; /* of struct ctx_table_operation_past, likewise */
	struct ctx_table_area identities;	  /* the record of a context has the context's slot */
	/* From which ctx_inject(3) computes the identities of this process, see lib/table/identity.h. 0:
	 * it has not given one to anybody yet. */
	_Atomic uint64_t identity_number;
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
	union {
		uint64_t done_ns;	/* this and done_* below are valid with CTX_TABLE_OWN */
		uint64_t source_detail; /* this and source_* below are valid of a source, see below */
	};
	_Atomic uint64_t done_site; /* while the context is live, the process uses this field itself */
	union {
		uint32_t done_tid;
		uint32_t source_flags;
	};
	uint32_t cause_slot; /* the record of its text and error; 0: it has neither */
	uint8_t kind;	     /* enum ctx_table_kind */
	uint8_t cause_kind;  /* enum ctx_cause_kind */
	uint16_t stem;	     /* slot of the stem of its label, see struct ctx_table_stem */
	union {
		int32_t cause_code;
		int32_t source_id;
	};
	char label[CTX_TABLE_LABEL_SIZE]; /* ends with a NUL; may be empty */
};

/*
 * What a source watches, while it is CTX_TABLE_LIVE and not 0 in cause_kind, which is the kind of the cause
 * that it would end with:
 *
 * CTX_CAUSE_HANGUP, CTX_CAUSE_FD: source_id is the descriptor, source_detail has the events, POLL* of
 * poll(2). CTX_CAUSE_PROCESS: source_id is the pid as the process itself has it; 0: not known.
 * CTX_CAUSE_SIGNAL: bit N - 1 of source_detail stands for signal N.
 * CTX_CAUSE_PRESSURE: source_id is the descriptor of the file; source_detail has the time of stalls in its
 * high half and the window in its low half, in microseconds; source_flags is enum ctx_resource, and
 * CTX_TABLE_SOURCE_FULL where all tasks must stall.
 */
#define CTX_TABLE_SOURCE_FULL 0x100u

/*
 * The identity that ctx_extract(3) gave to a context, and so to all below it. It is valid while the context
 * of its slot has that generation.
 */
struct ctx_table_identity {
	_Atomic uint32_t generation; /* stored last; 0 while the record is written */
	uint32_t reserved;
	uint8_t trace[16];
	uint8_t sender[8]; /* the sender's span; all zero: the trace began here */
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

/*
 * The stem of a label is what many labels have in common: the label with "*" for what counts or names a
 * single case (table_stem_of() in stem.h has the rules). There are few, and they stay as long as the process.
 * Slot 0 is the stem of contexts without a label and has no text, slot 1 that of all whose stem has no slot.
 */
struct ctx_table_stem {
	char text[CTX_TABLE_LABEL_SIZE]; /* constant once area.used has published it */
};
#define CTX_TABLE_STEM_NONE 0u
#define CTX_TABLE_STEM_OTHER 1u
#define CTX_TABLE_STEMS 128u

/*
 * The buckets of a histogram of times. There are two for each power of two of nanoseconds, from
 * 2^CTX_TABLE_BUCKET_SHIFT (1 us) on: bucket 0 counts what is shorter than that, bucket 1 + 2 * i what is
 * shorter than 1.5 * 2^(SHIFT + i), bucket 2 + 2 * i what is shorter than 2^(SHIFT + i + 1), and the last one
 * all that is longer. No bucket counts what another one counts.
 */
#define CTX_TABLE_BUCKETS 72u
#define CTX_TABLE_BUCKET_SHIFT 10u
#define CTX_TABLE_CAUSES 16u /* more than there are kinds of causes */

/*
 * What one writer, a thread or a ring, has counted for one stem. The sum over all records of a stem is what
 * the process has counted. A record stays when its writer ends, and may be continued by another one. Counters
 * only grow; each is stored by itself, so that a reader may see the end of something before its beginning.
 * Slot 1 is of the stem CTX_TABLE_STEM_OTHER. All writers that found no record free share it.
 */
struct ctx_table_counters {
	uint32_t stem;
	uint32_t reserved;
	_Atomic uint64_t begun; /* contexts that were made */
	_Atomic uint64_t
		released; /* contexts that were freed while they were live, of which no age is counted */
	_Atomic uint64_t
		ended[CTX_TABLE_CAUSES];   /* by the kind of the cause, also where a parent's end ended it */
	_Atomic uint64_t operations_begun; /* operations that were submitted */
	_Atomic uint64_t operations_finished;  /* with their final completion, however it came */
	_Atomic uint64_t operations_cancelled; /* of these, because their context ended */
	uint64_t reserved_counters[2];
	_Atomic uint64_t ages[CTX_TABLE_BUCKETS]; /* of contexts that ended, from their making to their end */
	_Atomic uint64_t
		cancels[CTX_TABLE_BUCKETS]; /* of batches, from the beginning to the last completion */
};

/* An entry of the journal of ends is one of two things. */
enum ctx_table_end_type {
	CTX_TABLE_END_CONTEXT = 1, /* an end began with a context */
	CTX_TABLE_END_BATCH,	   /* a ring has cancelled the operations of a context that ended */
};

/*
 * An end that began with a context, or a batch of cancels that one led to. Both name the context; the batch
 * may be of one below that with which the end began, and of others that ended at about the same time. An end
 * by a call is left out where nobody could notice it: no context was below it, nobody waited for it or had
 * registered a callback, it had no operations, and no reason was given. Where only operations could notice
 * it, the ring writes it with the batch.
 */
struct ctx_table_end {
	uint32_t type; /* enum ctx_table_end_type */
	uint32_t context_slot;
	uint32_t context_generation;
	uint32_t tid;	  /* of the thread that ended it, or that drives the ring */
	uint64_t time_ns; /* of the end; or when the batch began */
	union {
		struct {
			uint64_t created_ns;
			uint64_t site;	    /* where the context was made */
			uint64_t done_site; /* the return address of the call that ended it; 0: none did */
			uint32_t parent_slot;
			uint32_t parent_generation;
			int32_t error;	     /* the negative errno of the context */
			int32_t cause_error; /* that of the cause */
			int32_t cause_code;
			uint8_t cause_kind;
			uint8_t kind; /* enum ctx_table_kind */
			uint16_t stem;
			int32_t cause_pid; /* the process that ended it; 0: this one */
			uint32_t cause_uid;
			uint32_t below; /* how many contexts ended with it at once */
			uint32_t reserved;
			char label[CTX_TABLE_LABEL_SIZE];
			char text[64]; /* of the cause, cut short; with " (on HOST)" if another host began it
					*/
		} end;
		struct {
			uint64_t submit_ns, reap_ns; /* the rest as in struct ctx_batch */
			uint32_t ring;		     /* the slot of its record */
			uint32_t operations, unsent, timed, sqes, enters, cancelled, finished;
			uint32_t origin_slot; /* the context with which the end began */
			uint32_t origin_generation;
		} batch;
	};
};

/*
 * A context, written when it is freed while a recording runs. What is still there is in the area of contexts.
 * It is the record, with other fields in the places of seq and cause_slot, so that it is written by one copy.
 */
struct ctx_table_context_past {
	uint32_t slot;
	uint32_t generation;
	uint32_t state; /* as in struct ctx_table_context */
	uint32_t parent_slot;
	uint32_t parent_generation;
	uint32_t creator_tid;
	uint64_t created_ns;
	uint64_t deadline_ns;
	uint64_t site;
	uint64_t done_ns; /* this and done_* below, cause_kind and cause_code are valid with CTX_TABLE_OWN */
	uint64_t done_site; /* without, it is nonsense */
	uint32_t done_tid;
	uint32_t reserved;
	uint8_t kind;
	uint8_t cause_kind;
	uint16_t stem;
	int32_t cause_code;
	char label[CTX_TABLE_LABEL_SIZE];
	uint64_t freed_ns; /* of a context whose end was its own only a time that is not later */
	uint8_t trace[16]; /* as in struct ctx_table_identity; all zero: it has no identity of its own */
	uint8_t sender[8];
};

/* An operation, written when its final completion is delivered while a recording runs. It is the record, too.
 */
struct ctx_table_operation_past {
	int32_t result; /* as in the CQE */
	uint32_t context_slot;
	uint32_t context_generation;
	int32_t fd;
	uint8_t opcode;
	uint8_t flags; /* CTX_TABLE_OP_* as they were last */
	uint16_t ring;
	uint32_t reserved;
	uint64_t since_ns; /* when it was submitted */
	uint64_t end_ns;   /* when its completion was seen */
};

/*
 * A second memfd of the process, "/memfd:ctxring-control", can be written by whoever can open it: the same
 * user, and root, as the table can be read by them. The process keeps the journals of what is past until that
 * time, and at most for CTX_CONTROL_AHEAD_NS from when it sees it; a recorder sets it again and again.
 * The process stores 0 when the time is over. It believes nothing else of the file.
 */
#define CTX_CONTROL_MEMFD_NAME "ctxring-control"
#define CTX_CONTROL_MAGIC 0x4c54435258544331ull
#define CTX_CONTROL_SIZE 4096u
#define CTX_CONTROL_AHEAD_NS 10000000000ull
/* With this variable set to 1 the first time is so long after the table is made. ctxtool record sets it. */
#define CTX_CONTROL_VARIABLE "CTXRING_RECORD"
#define CTX_CONTROL_BEGINNING_NS 2000000000ull

struct ctx_control {
	uint64_t magic;
	_Atomic uint64_t record_until_ns; /* CLOCK_MONOTONIC of the process; 0: nobody records */
};

#endif
