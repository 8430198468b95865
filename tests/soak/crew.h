/* SPDX-License-Identifier: MIT */
/*
 * A ring with its operations, and the things on which they are: the state of an actor that owns one. Each
 * operation is followed from its beginning to its one final completion.
 */
#ifndef SOAK_CREW_H
#define SOAK_CREW_H

#include <liburing.h>
#include <sys/uio.h>

#include "ctxring.h"
#include "soak/actor.h"
#include "soak/channel.h"
#include "soak/scope.h"

#define CREW_OPERATIONS 64
#define CREW_CHANNELS 12
#define CREW_SCOPES 6
#define CREW_CALLBACKS 4
#define CREW_BUFFERS 16
#define CREW_BUFFER_SIZE 256
#define OPERATION_BUFFER 400

struct crew;

struct soak_operation {
	struct ctx_op op;
	struct crew *crew;
	struct scope *scope;
	unsigned channel;      /* CREW_CHANNELS: on none */
	bool used;	       /* from its beginning to its final completion */
	bool may_be_cancelled; /* by itself, by its chain, by the end of its descriptor */
	bool has_timeout, multishot, provided, takes_fd;
	bool poisoned; /* its memory is not the kernel's any more, and has a pattern in it */
	struct iovec iov;
	struct msghdr message;
	struct __kernel_timespec time;
	char buffer[OPERATION_BUFFER];
};

struct ring_callback {
	struct ctx_callback callback;
	struct crew *crew;
	struct scope *scope; /* NULL: not added */
	uint64_t id;
};

struct crew {
	struct actor *actor;
	struct ctx_ring *ring;
	struct io_uring uring; /* the program's, where the ring is an adopted one */
	bool adopted, closing;
	unsigned foreign; /* the program's own requests on it */
	void *buffers;	  /* that the program provides; NULL: none on this ring */
	struct io_uring_buf_ring *buffer_ring;
	struct soak_operation operations[CREW_OPERATIONS];
	struct channel channels[CREW_CHANNELS];
	struct scope *scopes[CREW_SCOPES];
	struct ring_callback callbacks[CREW_CALLBACKS];
};

/* ---- the ring (crew.c) */

/*
 * Before there are actors: what the library finds out once in a process, it finds out with rings of its own,
 * which ThreadSanitizer would take for those that come after, see actors_lock_mappings().
 */
void crew_warm_up(void);

void crew_open_ring(struct crew *crew);
/* Everything on it ends. */
void crew_close_ring(struct crew *crew);
/* Submits and delivers what there is, waiting at most so long. */
void crew_dispatch(struct crew *crew, uint64_t timeout_ns);
void crew_give_back_buffer(struct crew *crew, unsigned flags);

/* ---- operations (operation.c) */

/* One of its own scopes, or a common one: a reference. */
struct scope *crew_scope(struct crew *crew);

/*
 * Begins a single operation of any sort under scope, in one that is free; NULL: none is. flags are those of
 * the SQE. Chains take no multishot ones.
 */
struct soak_operation *operation_begin(struct crew *crew, struct scope *scope, unsigned flags);
/* The same, of a task group of the ring, with the scope of its context. */
struct soak_operation *operation_begin_in(struct crew *crew, struct scope *scope,
					  struct ctx_taskgroup *group);

/* Whether some below scope are under contexts that live: those behind a shield do although it is done. */
bool operations_go_on(const struct crew *crew, const struct scope *scope);
/* After a drain said that nothing below scope is held: the memory of those that are over is written. */
void operations_poison(struct crew *crew, const struct scope *scope);

#endif
