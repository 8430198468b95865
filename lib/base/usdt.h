/* SPDX-License-Identifier: MIT */
/*
 * Static probes (USDT) for bpftrace, perf and SystemTap, where <sys/sdt.h> was there when the library was
 * built: man/ctxring.7, PROBES, lists them for users.
 *
 * A probe is one nop in the code, and a note in the file that says where its arguments are: in which
 * register, or at which place in memory. So the arguments of a probe on a path that is often taken are what
 * is at hand there, and nothing is computed for them.
 */
#ifndef CTX_USDT_H
#define CTX_USDT_H

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define USDT_PROBE(name, count, ...) STAP_PROBE##count(ctxring, name, __VA_ARGS__)
#endif
#endif
#ifndef USDT_PROBE
#define USDT_PROBE(name, count, ...) ((void)0)
#endif

/* A context that is in the table was made. label may be NULL; it ends after CTX_LABEL_MAX bytes or at its
 * NUL. */
#define usdt_context_begin(slot, generation, parent_slot, parent_generation, label) \
	USDT_PROBE(context_begin, 5, slot, generation, parent_slot, parent_generation, label)

/* It is done. error is the positive errno. kind is an enum ctx_cause_kind; tid 0: by no thread of the
 * program. */
#define usdt_context_end(slot, generation, error, kind, tid) \
	USDT_PROBE(context_end, 5, slot, generation, error, kind, tid)

/* The cancels of a batch are about to be sent. The context is the first of those that ended. */
#define usdt_batch_begin(ring, slot, generation, operations) \
	USDT_PROBE(batch_begin, 4, ring, slot, generation, operations)

/* The last operation of a batch has completed, ns nanoseconds after the batch began. */
#define usdt_batch_end(ring, slot, generation, cancelled, ns) \
	USDT_PROBE(batch_end, 5, ring, slot, generation, cancelled, ns)

/* An operation goes to the kernel's queue, or is parked; once for each run of it. The context is its own; op
 * is the address of its struct ctx_op. */
#define usdt_operation_submit(ring, slot, generation, opcode, fd, op) \
	USDT_PROBE(operation_submit, 6, ring, slot, generation, opcode, fd, op)

/* Its final completion is about to be delivered. One that is refused has no submit before. */
#define usdt_operation_complete(ring, slot, generation, opcode, result, op) \
	USDT_PROBE(operation_complete, 6, ring, slot, generation, opcode, result, op)

#endif
