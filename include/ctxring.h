/* SPDX-License-Identifier: MIT */
/*
 * ctxring: contexts for C programs on Linux, backed by kernel objects.
 *
 * A context is a node in a tree. It becomes done once: by a call, by its
 * deadline, by an event of the kernel or through its parent, and its whole subtree with it. A ctx ring is
 * an io_uring whose operations are tagged with a context: when the context is
 * done, everything pending under it is cancelled in one batch of cancel SQEs.
 *
 * The concepts are in ctxring(7). This header is the contract of each call.
 *
 * Conventions, which the declarations below do not repeat:
 *   - Calls return 0 (or a count) on success and a negative errno on failure.
 *     Nothing is written through a ret_ pointer on failure, except where it is
 *     said (ret_stuck, ret_done).
 *   - Times are nanoseconds, deadlines are points on CLOCK_MONOTONIC.
 *   - A `const struct ctx_context *` lets its holder watch, derive and submit;
 *     only a non-const one can cancel or move a deadline.
 *   - A label may be NULL. It is copied, at most CTX_LABEL_MAX bytes of it.
 *   - Contexts may be used by any thread at any time. A ring belongs to one
 *     thread (see ctx_ring_open). No lock is held while your code is called.
 *   - No call is a cancellation point of pthread_cancel(3), also if it blocks, and
 *     your code that a call runs runs with cancellation disabled.
 *   - The library never prints, never aborts on memory shortage, and installs
 *     no signal handler. It aborts when its own invariants are broken.
 */
#ifndef CTXRING_H
#define CTXRING_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CTXRING_VERSION_MAJOR 0
#define CTXRING_VERSION_MINOR 1

/* A wait or a timeout without end. */
#define CTX_FOREVER UINT64_MAX
/* Bytes of a label that are kept, without the final NUL. */
#define CTX_LABEL_MAX 31
/* Size of the text of a cause, with its NUL; longer text is cut. */
#define CTX_CAUSE_TEXT_MAX 128

struct ctx_context;
struct ctx_ring;
struct ctx_op;
struct ctx_stuck;
struct io_uring;
struct io_uring_cqe;
struct io_uring_sqe;

/* The version of the library that runs, "MAJOR.MINOR". Static storage. */
const char *ctx_version(void);

/*
 * Uses these functions for all memory of the library instead of malloc(3) and
 * free(3). allocate returns NULL when it has none; the call that needed it then
 * fails with -ENOMEM. Both are called from any thread, also with locks of the
 * library held, so they must not call the library, nor be cancellation points of pthread_cancel(3).
 *
 * -EINVAL: NULL, or a member is NULL. -EBUSY: the library has allocated already.
 */
struct ctx_allocator {
	void *(*allocate)(size_t size, void *data);
	void (*release)(void *memory, void *data);
	void *data;
};
int ctx_set_allocator(const struct ctx_allocator *allocator);

/* ------------------------------------------------------------------------- */
/* Contexts: making and releasing                                            */

/*
 * The root of a program's contexts. Never done, no deadline, no values. Not
 * counted: ctx_ref and ctx_unref on it do nothing. Never NULL.
 */
const struct ctx_context *ctx_background(void);

/* As ctx_background, for a place where the right context is not known yet. */
const struct ctx_context *ctx_todo(void);

/*
 * Makes a child that ends when ctx_cancel is called on it or when parent ends.
 * The caller owns one reference to *ret_ctx; release it with ctx_unref or
 * ctx_finish. The parent stays alive as long as the child. A child of a done
 * parent is born done, with the parent's error and cause.
 *
 * -EINVAL: parent or ret_ctx is NULL. -ENOMEM: no memory.
 * When the context table is full the context works but is not shown.
 */
int ctx_with_cancel(const struct ctx_context *parent, const char *label, struct ctx_context **ret_ctx);

/*
 * As ctx_with_cancel, and ends with -ETIME at the deadline, or at its parent's
 * if that is earlier. A deadline that is not in the future makes a context that
 * is born done. The first use starts the library's timer thread.
 *
 * ctx_with_timeout counts from now. ctx_with_deadline takes CLOCK_MONOTONIC.
 * ctx_with_deadline_at takes CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME or
 * CLOCK_TAI and converts once: later jumps of that clock change nothing.
 * ctx_with_movable_deadline allows ctx_set_deadline to move it later; its
 * operations then carry no linked timeout, since moving armed ones is quadratic
 * in the kernel, and are cancelled in a batch instead.
 *
 * -EINVAL: a NULL argument, an unknown clock, tv_nsec out of range.
 * -ENOMEM: no memory. -EAGAIN: the timer thread could not be started
 * (RLIMIT_NPROC, a cgroup's pids.max, or no memory for its stack).
 */
int ctx_with_timeout(const struct ctx_context *parent, uint64_t timeout_ns, const char *label,
		     struct ctx_context **ret_ctx);
int ctx_with_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
		      struct ctx_context **ret_ctx);
int ctx_with_deadline_at(const struct ctx_context *parent, clockid_t clock, const struct timespec *at,
			 const char *label, struct ctx_context **ret_ctx);
int ctx_with_movable_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			      struct ctx_context **ret_ctx);

/*
 * The same, with the cause that the context gets when its own deadline fires, as ctx_set_deadline_cause gives
 * it: there from the beginning, so also when the deadline is not in the future. For the other kinds of
 * deadline, make a context with ctx_with_cancel or ctx_with_movable_deadline (CTX_FOREVER), call
 * ctx_set_deadline_cause, then ctx_set_deadline. Errors as above, and -EINVAL: error is positive.
 */
int ctx_with_timeout_cause(const struct ctx_context *parent, uint64_t timeout_ns, const char *label,
			   struct ctx_context **ret_ctx, int error, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
int ctx_with_deadline_cause(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			    struct ctx_context **ret_ctx, int error, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/*
 * A key of values. Its address is its identity: make it a static object. name is
 * shown by ctxtool and ctx_format. release (or NULL) is called once with the value when the
 * context that holds it is freed, on the thread that released it last. format (or NULL)
 * writes the value as text, like snprintf(3).
 */
struct ctx_key {
	const char *name;
	void (*release)(void *value);
	int (*format)(const void *value, char *buffer, size_t size);
};

/*
 * Makes a context that ends with its parent and carries value under key. A NULL
 * value shadows an outer one. From success on the context owns the value; on
 * failure the caller still does. It cannot be cancelled by itself.
 *
 * -EINVAL: parent, key or ret_ctx is NULL. -ENOMEM: no memory.
 */
int ctx_with_value(const struct ctx_context *parent, const struct ctx_key *key, void *value,
		   const char *label, const struct ctx_context **ret_ctx);

/*
 * Makes a context that sees its parent's values but neither its end nor its
 * deadline: for work that must outlive a request. It is never done; derive a
 * cancellable child from it. A drain of parent waits for operations below it all the same.
 *
 * -EINVAL: parent or ret_ctx is NULL. -ENOMEM: no memory.
 */
int ctx_without_cancel(const struct ctx_context *parent, const char *label,
		       const struct ctx_context **ret_ctx);

/*
 * Makes a child of several parents: done as soon as the first of them is, with
 * that parent's error and cause; also by ctx_cancel. Its deadline is their
 * earliest. Values come from parents[0].
 *
 * -EINVAL: count is 0, ret_ctx or a parent is NULL. -ENOMEM: no memory.
 */
int ctx_merge(const struct ctx_context *const *parents, unsigned count, const char *label,
	      struct ctx_context **ret_ctx);

/*
 * Takes one more reference and returns ctx. NULL is allowed. Do not call it on
 * a context to which you hold no reference. Any thread; never blocks.
 */
const struct ctx_context *ctx_ref(const struct ctx_context *ctx);

/*
 * Gives one reference back. NULL is allowed. Cancels nothing: children,
 * callbacks and operations of the context stay, and it is freed after the last
 * of them. It may run release functions of values.
 */
void ctx_unref(const struct ctx_context *ctx);

/* ctx_cancel, then ctx_unref. NULL is allowed. */
void ctx_finish(struct ctx_context *ctx);

/* For __attribute__((cleanup)): act on *ctx. See the macros below. */
void ctx_unrefp(const struct ctx_context **ctx);
void ctx_finishp(struct ctx_context **ctx);

/*
 * CTX_AUTO_FINISH struct ctx_context *ctx = NULL; ends and releases ctx when the
 * scope is left. CTX_AUTO_UNREF const struct ctx_context *ctx = NULL; releases it.
 */
#define CTX_AUTO_FINISH __attribute__((cleanup(ctx_finishp)))
#define CTX_AUTO_UNREF __attribute__((cleanup(ctx_unrefp)))

/* ------------------------------------------------------------------------- */
/* Ending a context                                                          */

/*
 * Ends ctx and everything below it with -ECANCELED, but for what ctx_without_cancel keeps
 * from that. When it returns 0, the whole subtree is marked. Operations on a ring of the calling thread have
 * then been handed their cancels in one batch (inside a dispatch: when the dispatch ends); other rings are
 * woken and do it themselves. It does not wait for operations: that is ctx_ring_drain. Callbacks that are not
 * bound to a ring run in this call.
 *
 * ctx_cancel_cause adds the reason: error is a negative errno, 0 means
 * -ECANCELED; format may be NULL. ctx_err stays -ECANCELED. Without memory for
 * the text the context ends all the same, without text.
 *
 * 0: this call ended it. -EALREADY: it was done before (a call that lost the race
 * against an ancestor's end may return while that end is still being spread).
 * -EINVAL: ctx is NULL, or never ends (background, todo), or error is positive.
 */
int ctx_cancel(struct ctx_context *ctx);
int ctx_cancel_cause(struct ctx_context *ctx, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Lets a signal handler end ctx. ctx_signal_prepare is called beforehand, outside
 * of handlers; it starts the library's timer thread, which does the work, and
 * holds a reference to ctx until the context is done. ctx_cancel_from_signal is
 * async-signal-safe: it queues the request and wakes that thread, so that the
 * subtree is marked shortly after it returned, with kind CTX_CAUSE_SIGNAL and signo. It is
 * 0, and has no effect, when ctx is done already or another signal was first. The
 * handler needs a reference of the program's own for as long as it can run: the one
 * that is held here goes when the context ends. In a child after fork(2) an inherited
 * context is to be prepared again, which starts the child's timer thread.
 *
 * -EINVAL: ctx is NULL or not prepared. -ENOMEM, -EAGAIN: as ctx_with_deadline.
 */
int ctx_signal_prepare(struct ctx_context *ctx);
int ctx_cancel_from_signal(struct ctx_context *ctx, int signo);

/*
 * Moves the deadline of ctx. Earlier is possible on any context that can end,
 * also on one without a deadline; later only on one from
 * ctx_with_movable_deadline. Descendants follow: each ends at the earlier of its
 * own deadline and its ancestors'. Armed linked timeouts are not touched: an
 * earlier deadline cancels in a batch.
 *
 * -EINVAL: ctx is NULL or never ends. -EPERM: later, and not movable. -EALREADY: done.
 * -ENOMEM, -EAGAIN: as ctx_with_deadline; the deadline is unchanged.
 */
int ctx_set_deadline(struct ctx_context *ctx, uint64_t deadline_ns);

/*
 * The cause that ctx gets when its own deadline fires; ctx_err is -ETIME all the
 * same. error and format as ctx_cancel_cause, 0 means -ETIME. Where the deadline may be over before this call
 * ctx_with_deadline_cause is the way.
 *
 * -EINVAL: NULL, error is positive, or ctx never ends. -EALREADY: done. -ENOMEM.
 */
int ctx_set_deadline_cause(struct ctx_context *ctx, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------------- */
/* Asking a context                                                          */

/*
 * 0 while ctx is live, then for ever -ECANCELED or -ETIME. One atomic load: no
 * lock, no clock, no system call; made for the inside of loops. -EINVAL: NULL.
 */
int ctx_err(const struct ctx_context *ctx);

enum ctx_cause_kind {
	CTX_CAUSE_NONE,	    /* not done */
	CTX_CAUSE_CALL,	    /* ctx_cancel, ctx_cancel_cause, or the failure of a task group */
	CTX_CAUSE_DEADLINE, /* a deadline fired */
	CTX_CAUSE_SIGNAL,   /* ctx_cancel_from_signal, ctx_with_signals; code is the signal number */
	CTX_CAUSE_HANGUP,   /* the peer of a socket went away; code: the poll(2) events */
	CTX_CAUSE_PROCESS,  /* a process ended; code is its wait status, -1: not known here */
	CTX_CAUSE_PRESSURE, /* pressure; code: the enum ctx_resource */
	CTX_CAUSE_OWNER,    /* the process that owned a shared context died */
	CTX_CAUSE_SERVICE,  /* ended through the service */
	CTX_CAUSE_FD,	    /* a descriptor became ready; code: the poll(2) events */
};

/*
 * Why a context ended. Of an end that came from another process, pid, tid,
 * uid, ctx_id and time_ns are what that process said, pid as it sees itself, and site is NULL.
 */
struct ctx_cause {
	int error; /* negative errno: what ended it; 0 when not done */
	enum ctx_cause_kind kind;
	bool inherited;	  /* it began in an ancestor */
	int code;	  /* see ctx_cause_kind */
	uint64_t ctx_id;  /* the context in which it began; 0: it is not in the table, see ctx_ended_by */
	uint64_t time_ns; /* when, CLOCK_MONOTONIC, to some milliseconds */
	pid_t pid, tid;	  /* who */
	uid_t uid;
	const void *site; /* return address of the call, NULL for a deadline */
	char text[CTX_CAUSE_TEXT_MAX];
};

/*
 * Fills *ret_cause. Kind CTX_CAUSE_NONE while ctx is live. Never half of a cause.
 * -EINVAL: a NULL argument.
 */
int ctx_get_cause(const struct ctx_context *ctx, struct ctx_cause *ret_cause);

/*
 * Did the end of ctx begin in scope? True when scope itself was cancelled, or its own deadline fired, or its
 * own event came, and ctx is scope or ended because of it. This is how a caller tells the end of what it
 * began from that of something further up; it works for contexts that are not in the table as well. False
 * while ctx is live, and for NULL.
 */
bool ctx_ended_by(const struct ctx_context *ctx, const struct ctx_context *scope);

/*
 * The deadline in force, CTX_FOREVER without one (also for NULL).
 * ctx_time_left_ns reads the clock: 0 when it has passed.
 */
uint64_t ctx_deadline_ns(const struct ctx_context *ctx);
uint64_t ctx_time_left_ns(const struct ctx_context *ctx);

/*
 * The nearest value of key, from ctx upwards. 0 with *ret_value, which may be
 * NULL, also after the context ended. -ENOENT: none. -EINVAL: a NULL argument.
 * The value is valid as long as the context that you hold.
 */
int ctx_value(const struct ctx_context *ctx, const struct ctx_key *key, void **ret_value);

/*
 * The id under which the table and ctxtool know ctx: slot in the low half,
 * generation in the high half. 0: not in the table (background, todo, values
 * without a label, no room, CTXRING_TABLE=0, inherited through fork, NULL).
 */
uint64_t ctx_id(const struct ctx_context *ctx);

/*
 * Writes ancestry, labels, values and time left as one line of text, like
 * snprintf(3): at most size bytes with the NUL; returns the length of the whole,
 * or -EINVAL (ctx is NULL, or buffer is NULL with a size).
 */
int ctx_format(const struct ctx_context *ctx, char *buffer, size_t size);

/* ------------------------------------------------------------------------- */
/* Waiting for the end                                                       */

/*
 * A file descriptor that is readable, and hung up, from the end of ctx on and for
 * ever: the read end of a pipe whose only write end the library closes. For
 * poll(2), select(2), epoll(7) and every event loop. It becomes readable first and is hung
 * up a moment later. Made at the first call, the
 * same one at each further call. The library closes it with the context: do not
 * close it and do not use it after your reference. In a child after fork(2) the
 * number from before the fork shows the parent's end, and a new call gives another
 * for the end of the child's own copy. For a context that never ends it is a
 * descriptor of the process that never becomes ready.
 *
 * -EINVAL: NULL. -EMFILE, -ENFILE: no descriptors (RLIMIT_NOFILE). -ENOMEM.
 * -EAGAIN: as ctx_with_deadline; only in a forked child, for an inherited deadline.
 */
int ctx_done_fd(const struct ctx_context *ctx);

/*
 * Blocks until ctx is done. 0: it is. -ETIMEDOUT: not within timeout_ns
 * (CTX_FOREVER: no bound; 0: only looks). -EDEADLK: ctx never ends and no bound
 * was given. -EINVAL: NULL. -EAGAIN: as ctx_done_fd. Signals do not interrupt it.
 * Here, and in every other call that waits, ctx stays until the call has returned, also if another thread
 * gives the last reference to it back meanwhile.
 */
int ctx_wait(const struct ctx_context *ctx, uint64_t timeout_ns);

/*
 * Blocks until fd is ready or ctx is done. > 0: the poll(2) events that are
 * ready. -ECANCELED or -ETIME: ctx is done, which wins over a ready fd.
 * -ETIMEDOUT, -EINTR, -EINVAL (NULL, or fd is negative), and what ctx_done_fd returns.
 * -EBADF: the program closed the descriptor of ctx_done_fd.
 */
int ctx_wait_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns);

/*
 * A function that runs once when a context is done. The structure is the
 * caller's: zeroed before the first use, not to be touched or moved until the
 * function has begun to run or a stop returned true. Inside the function it may
 * be freed or added again. Either the function runs, once, or a stop returns
 * true, once; never both.
 */
struct ctx_callback {
	uint64_t opaque[10];
};
typedef void (*ctx_callback_fn)(struct ctx_callback *callback, const struct ctx_context *ctx, void *data);

/*
 * Registers function. It runs after the whole subtree is marked: on the thread
 * that cancelled; for a deadline or a signal on a worker thread of the library
 * of its own, so that a slow one delays no deadline. If ctx is done already it
 * runs in this call, once the end has been spread. The registration holds a
 * reference to ctx. The function must return: it must not end its thread, nor leave by longjmp(3).
 *
 * ctx_callback_add_on_ring runs it in a dispatch of ring, whoever ended ctx; the
 * owner of the ring must be in a dispatch or come to one. If the ring is
 * closed first, it never runs, and stays registered until it is stopped. The same holds, in a child after
 * fork(2), for every callback that was registered before.
 *
 * *ret_id (or NULL) is the number of this registration, never 0 and never used again: what a stop is
 * told. It is written before the function can run, so it may lie in memory that the function frees; but
 * whoever is to stop needs it elsewhere then.
 *
 * -EINVAL: a NULL argument, or the callback is registered already. -ENOMEM.
 * -EAGAIN: the worker or the timer thread could not be started. -EPERM: ring was inherited through fork(2).
 * On a context that never ends it is registered and never runs; stop it to release it.
 */
int ctx_callback_add(const struct ctx_context *ctx, struct ctx_callback *callback, ctx_callback_fn function,
		     void *data, uint64_t *ret_id);
int ctx_callback_add_on_ring(const struct ctx_context *ctx, struct ctx_ring *ring,
			     struct ctx_callback *callback, ctx_callback_fn function, void *data,
			     uint64_t *ret_id);

/*
 * Takes the registration with this number back. true: the function will never run. false: it
 * ran, is running, or was stopped before. ctx_callback_stop does not wait for a
 * running one; ctx_callback_stop_wait does, except from inside that function.
 * Both may be called from any thread and from inside callbacks, also when the function has freed the
 * structure, and when the context and the ring are gone. 0 gives false.
 */
bool ctx_callback_stop(uint64_t id);
bool ctx_callback_stop_wait(uint64_t id);

/* ------------------------------------------------------------------------- */
/* Operations                                                                */

/*
 * How an operation ended. One that has a result of its own is finished. So is one that was cancelled and has
 * as its result the part that was done by then, since the kernel does not tell the two apart. The other
 * values come with -ECANCELED only.
 */
enum ctx_op_end {
	CTX_OP_FINISHED,  /* by itself, with a result or an error of its own */
	CTX_OP_CANCELLED, /* context cancelled, ctx_op_cancel, or its chain broke */
	CTX_OP_DEADLINE,  /* the deadline of its context */
	CTX_OP_TIMEOUT,	  /* its own timeout, see ctx_op_set_timeout */
};

/* One completion of an operation. */
struct ctx_completion {
	int res;	     /* the kernel's result; -ECANCELED when ended early */
	unsigned flags;	     /* IORING_CQE_F_*, buffer id in the upper half; of a send_zc see ctx_op(3) */
	enum ctx_op_end end; /* meaningful when !more */
	bool more; /* not the last: multishot data, send_zc before its notification, which repeats res */
};

typedef void (*ctx_op_fn)(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion);

/*
 * One operation, in the caller's memory, usually inside a structure of the
 * caller's. Set it up with ctx_op_init, read data, leave the rest. From
 * ctx_ring_get_sqe until its final completion has been delivered it may not move
 * or go away, nor may buffers that the SQE names. Reusable from inside that
 * delivery on.
 */
struct ctx_op {
	ctx_op_fn callback;
	uint64_t data;
	uint64_t opaque[22];
};

/*
 * Prepares op for use; once is enough, however often it is then submitted.
 * callback runs in the dispatch of the ring for each completion, the final one
 * last; NULL when the caller asks ctx_op_result instead. NULL op does nothing.
 */
void ctx_op_init(struct ctx_op *op, ctx_op_fn callback, uint64_t data);

/*
 * The final completion of op. 0: *ret_completion is filled. -EINPROGRESS: not
 * complete, or never submitted. -EINVAL: a NULL argument.
 */
int ctx_op_result(const struct ctx_op *op, struct ctx_completion *ret_completion);

/*
 * An operation's own timeout, counted from submit: a linked timeout in the kernel.
 * Call it between ctx_ring_get_sqe and ctx_ring_submit; it holds for that one run.
 * The earlier of it and the context's deadline applies. One timeout bounds the
 * whole life of a multishot operation. Allowed on whatever the kernel lets a
 * linked timeout follow; 0 ends it at once.
 *
 * -EINVAL: NULL, or op is not between those two calls.
 */
int ctx_op_set_timeout(struct ctx_op *op, uint64_t timeout_ns);

/*
 * If the operation returns a descriptor (accept, openat, socket) although its
 * context is done or it was cancelled, the library closes it and delivers
 * -ECANCELED. Without it such a descriptor is delivered, and is the caller's.
 */
#define CTX_OP_CLOSE_FD (1u << 0)

/*
 * The operation's socket is shut down, shutdown(2) with SHUT_RDWR, if the operation has not ended when
 * its context has been done for the grace of ctx_set_grace. The descriptor has to stay open until the final
 * completion, and is not one of the registered files.
 */
#define CTX_OP_SHUTDOWN (1u << 1)

/*
 * Parked: the operation waits in the memory of the ring, not in the kernel, until its descriptor is ready,
 * and is then attempted, again and again until it would not have to wait. Ending it on the ring's thread then
 * takes no system call, unless an attempt is just on its way, and its buffer is free in the same moment; see
 * ctxring(7) for when that pays. recv, recvmsg, read, readv, accept, send, sendmsg, write, writev and the
 * fixed forms of read and write. Those on one descriptor and direction are served in order. Where an attempt
 * is not possible, or would use up a provided buffer, the operation is given to the kernel as one that may
 * wait: a read when poll(2) says that there is something, a write when it is the first of its queue;
 * ctx_op(3) has a table. Everything else goes the usual way, by itself: regular files, chains,
 * IOSQE_IO_DRAIN, IOSQE_ASYNC, registered files, multishot, recvmsg and sendmsg with MSG_WAITALL, and all on
 * an adopted ring. Results are those of the usual way. What the SQE points to, such as an iovec, a msghdr or
 * an address, stays where it is until the final completion, and a registered buffer stays registered: it is
 * not held. A descriptor on which an operation was ever parked is closed with ctx_ring_close_fd.
 *
 * CTX_OP_PENDING: not parked, though CTX_RING_PARK is the ring's default.
 */
#define CTX_OP_PARK (1u << 2)
#define CTX_OP_PENDING (1u << 3)

/* Sets CTX_OP_* flags for this run; when and errors as ctx_op_set_timeout, unknown flags, or both
 * of the last two, -EINVAL. */
int ctx_op_set_flags(struct ctx_op *op, unsigned flags);

/*
 * Cancels one operation: not yet submitted, it never reaches the kernel;
 * otherwise one cancel SQE goes at the next submit or dispatch of the ring. Its
 * final completion still comes. A chain is one unit: it is cancelled as a whole, by its
 * head; what hangs on a hard link is cancelled when it starts. Owner thread only.
 *
 * 0: on its way. -EALREADY: complete, being cancelled already, or not of this
 * ring. -EINVAL: a NULL argument. -EPERM: not the owner.
 */
int ctx_op_cancel(struct ctx_ring *ring, struct ctx_op *op);

/* ------------------------------------------------------------------------- */
/* Rings                                                                     */

/*
 * What one cancellation did on one ring. Counts of outcomes grow until held is 0.
 */
struct ctx_batch {
	uint64_t ctx_id;     /* the context that was ended first in it */
	unsigned operations; /* ended by the batch, unsent ones included */
	unsigned unsent;     /* of these not in the kernel: staged, or parked */
	unsigned timed;	     /* of these left to their own armed linked timeouts */
	unsigned sqes;	     /* cancel SQEs, repeated ones included */
	unsigned enters;     /* io_uring_enter(2) calls that carried them */
	uint64_t submit_ns;  /* from the first look to the return of the last enter */
	uint64_t reap_ns;    /* from the first look to the last completion seen */
	unsigned cancelled;  /* completed because of it */
	unsigned finished;   /* had finished before the cancel came */
	unsigned held;	     /* the kernel still holds them */
};

/* Deadline forms; without either the ring chooses, see ctxring(7). */
#define CTX_RING_LINKED_TIMEOUTS (1u << 0) /* each operation carries a linked timeout */
#define CTX_RING_ONE_TIMER (1u << 1)	   /* none does; the batch serves deadlines */
/* Operations are parked, see CTX_OP_PARK, unless they have CTX_OP_PENDING. */
#define CTX_RING_PARK (1u << 2)

struct ctx_ring_options {
	unsigned flags;	      /* CTX_RING_* */
	unsigned setup_flags; /* IORING_SETUP_*; not used by ctx_ring_adopt */
	unsigned cq_entries;  /* size of the completion queue, 0: twice the submission queue */
	unsigned tag;	      /* 1..0xffff: top 16 bits of our user_data; 0: the default, 0xc781 */
	/* Completions that are not ours (MSG_RING, say, once the owner has used the ring). NULL: dropped. Not
	 * used by adopted rings. */
	void (*foreign)(struct ctx_ring *ring, const struct io_uring_cqe *cqe, void *data);
	/* After the last completion of a batch, in a dispatch. NULL: none. */
	void (*batch)(struct ctx_ring *ring, const struct ctx_batch *batch, void *data);
	/* What the kernel has not let go of, see ctx_set_grace; in a dispatch. NULL: none. */
	void (*stuck)(struct ctx_ring *ring, const struct ctx_stuck *stuck, unsigned count, void *data);
	void *data;
};

/*
 * Opens an io_uring with at least entries submission entries (1 to 32768, rounded
 * up to a power of two). options may be NULL for the defaults.
 *
 * The ring is owned by the first thread that uses it: hand it over before that.
 * All calls on a ring are for its owner alone, except where they say otherwise.
 *
 * Setup flags: CQSIZE (by cq_entries), CLAMP, SUBMIT_ALL, COOP_TASKRUN,
 * TASKRUN_FLAG, SINGLE_ISSUER and DEFER_TASKRUN work. SQPOLL, IOPOLL, SQ_AFF, ATTACH_WQ,
 * R_DISABLED, SQE128, CQE32, NO_MMAP, REGISTERED_FD_ONLY, NO_SQARRAY (which liburing sets by itself where it
 * can) and newer ones are -ENOTSUP; ctxring(7) says why for each.
 *
 * -EINVAL: NULL, entries or options out of range, or the kernel lacks a flag.
 * -ENOTSUP: see above. -ENOMEM: memory or RLIMIT_MEMLOCK. -EMFILE, -ENFILE.
 * -EPERM: io_uring is forbidden here. -ENOSYS: the kernel has none.
 * ctx_ring_explain puts these in words, with the remedy.
 */
int ctx_ring_open(unsigned entries, const struct ctx_ring_options *options, struct ctx_ring **ret_ring);

/*
 * Puts a ctx ring round an io_uring that the program has. The program goes on
 * submitting and reading its completions, and passes each of these through
 * ctx_ring_filter. uring must outlive the ctx ring, which never closes it. The
 * calling thread becomes the owner. Submits requests of the library's own, unless the program has entries
 * prepared: then the first ctx_ring_submit, ctx_ring_dispatch or ctx_ring_filter does, and until then no
 * other thread can wake the program's wait.
 *
 * The library's submissions also submit what the program had prepared. The
 * program must not use user_data whose top 16 bits are the tag (a stale or foreign
 * value with that tag is still told apart, by slot and generation), must not cancel with
 * IORING_ASYNC_CANCEL_ANY, and cannot use IOSQE_IO_DRAIN itself, for as long as the io_uring exists: such an
 * entry would wait for the library's requests, which never end, and completes with -EOPNOTSUPP at once.
 * (Before Linux 5.17, or where restrictions forbid IOSQE_CQE_SKIP_SUCCESS, the kernel cannot refuse it: it
 * waits for ever.) An eventfd that the program has registered is signalled for the library's completions,
 * too.
 *
 * -EINVAL: NULL or bad options. -ENOTSUP: uring was set up with SQE128, SQE_MIXED, CQE32, CQE_MIXED, SQPOLL,
 * IOPOLL, SQ_REWIND or a flag that is not known here, or is still disabled; or CTX_RING_PARK. -EACCES: its
 * restrictions forbid POLL_ADD, ASYNC_CANCEL or TIMEOUT. -EBUSY: it was set up with R_DISABLED, so that it
 * may have restrictions, and the program has entries prepared: submit these first. -EPERM: it has
 * SINGLE_ISSUER, and another thread uses it (with entries prepared only the first ctx_ring_submit tells, by
 * -EEXIST). -ENOMEM. -EMFILE. What io_uring_enter(2) says of a descriptor that is no io_uring.
 */
int ctx_ring_adopt(struct io_uring *uring, const struct ctx_ring_options *options,
		   struct ctx_ring **ret_ring);

/*
 * Writes the likely reason and the remedy for an error of ctx_ring_open or
 * ctx_ring_adopt, looking at this system's settings. Returns as snprintf(3).
 * -EINVAL: buffer is NULL and size is not 0.
 */
int ctx_ring_explain(int error, char *buffer, size_t size);

/* The name of an IORING_OP_*, as "RECV". NULL: not known to this version. */
const char *ctx_opcode_name(unsigned opcode);

/* An operation that the kernel still holds. */
struct ctx_stuck {
	struct ctx_op *op;
	uint64_t ctx_id;
	unsigned opcode; /* IORING_OP_* */
	int fd;
	uint64_t age_ns; /* since it was submitted */
};

/*
 * Writes one of these in words: operation, descriptor with what it refers to (as in /proc/self/fd), age.
 * Returns as snprintf(3). -EINVAL: stuck is NULL, or buffer is NULL with a size.
 */
int ctx_format_stuck(const struct ctx_stuck *stuck, char *buffer, size_t size);

/*
 * How long after the end of ctx its operations on rings may take to end, before more is done about them than
 * cancelling: first the sockets of operations with CTX_OP_SHUTDOWN are shut down; after the same time again,
 * whatever is still held is told to the stuck function of the ring's options, once, and marked in the table
 * for ctxtool(1). Holds for everything below ctx, too; the nearest one that was set counts. 0: never, the
 * default. Commands have a grace of their own, see ctx_spawn_options. It is the dispatch of the ring's owner,
 * or its wait, that does all this.
 *
 * -EINVAL: ctx is NULL or never ends. -EALREADY: it is done. -ENOMEM.
 */
int ctx_set_grace(struct ctx_context *ctx, uint64_t grace_ns);

/*
 * Cancels every operation on the ring, delivers all final completions (callbacks
 * run in this call), and frees the ring. Contexts are not touched. An adopted
 * io_uring is left with nothing of ours pending; its other completions stay in it.
 *
 * -ETIMEDOUT: after timeout_ns (CTX_FOREVER: no bound) the kernel still holds
 * operations, the first stuck_max of which are in stuck, their number in
 * *ret_stuck (both may be NULL with stuck_max 0); 0 of them: an adopted io_uring does not let go of the
 * library's own requests. The ring is then still open, and can be closed again later. -EBUSY: called from
 * inside a callback of the ring; or, adopted, its completion queue is full of the program's completions, or a
 * chain of the program's is open. -EPERM: not the owner; in a forked child the ring is released there, and
 * the parent's is untouched (0). A ring whose owner thread has ended, as pthread_join(3) counts it, may be
 * closed by any thread; of a DEFER_TASKRUN ring results that its owner had not dispatched are lost then, in
 * the kernel: such operations end as cancelled, though a write may have happened, and a descriptor of
 * CTX_OP_CLOSE_FD stays open. NULL ring: 0.
 */
int ctx_ring_close(struct ctx_ring *ring, uint64_t timeout_ns, struct ctx_stuck *stuck, unsigned stuck_max,
		   unsigned *ret_stuck);

/*
 * Begins an operation under ctx: returns its SQE, zeroed, for any
 * io_uring_prep_* function, and stages it for ctx_ring_submit. user_data is the
 * library's; use op->data. Flags in the SQE as usual: IOSQE_IO_LINK and _HARDLINK
 * chain it to the next operation staged, IOSQE_IO_DRAIN holds it and all after it
 * back until everything before is complete, IOSQE_CQE_SKIP_SUCCESS is ignored. The
 * operation holds the context until its final completion.
 *
 * Never fails for want of room or because ctx is done: that arrives as the
 * operation's own completion. NULL only on misuse: a NULL argument, op not
 * initialised or still in flight, not the owner's thread; or when a SINGLE_ISSUER ring, which its
 * first use enables, cannot be enabled.
 */
struct io_uring_sqe *ctx_ring_get_sqe(struct ctx_ring *ring, const struct ctx_context *ctx,
				      struct ctx_op *op);

/*
 * Gives what is staged to the kernel, in order; one io_uring_enter(2) for up to a
 * queue full. Operations refused now complete without it, at the next dispatch:
 * their context is done (-ECANCELED), no memory (-ENOMEM), a chain of more operations than the queue has
 * entries
 * (-E2BIG), restrictions of an adopted io_uring that forbid what the library needs (-EACCES). Does not wait
 * and runs no callback.
 *
 * Returns how many operations went. -EPERM: not the owner, or a forked child.
 * -EBUSY: the program left a chain open in an adopted ring: finish it and submit
 * again; or an IOSQE_IO_DRAIN entry from before the adoption still waits in it; or the kernel asks for
 * completions to be read first. -EAGAIN: the kernel has no memory now. What did not go stays staged.
 */
int ctx_ring_submit(struct ctx_ring *ring);

/*
 * Submits, waits until something completes but at most timeout_ns (0: does not
 * wait), and delivers all completions there are; of more than the completion queue has entries it may leave
 * some to the next call. Returns how many were delivered, 0 also
 * when only woken. -EINTR: a signal came. -EPERM, -EBUSY (also: called
 * from inside a callback of this ring), -EAGAIN: as ctx_ring_submit. On an adopted ring it delivers only
 * what is not in the kernel's queue and does not wait.
 */
int ctx_ring_dispatch(struct ctx_ring *ring, uint64_t timeout_ns);

/*
 * Dispatches until ctx is done, or, for NULL, until nothing is staged or in
 * flight. 0, or an error of ctx_ring_dispatch; signals do not end it. -ENOTSUP: adopted ring.
 */
int ctx_ring_run(struct ctx_ring *ring, const struct ctx_context *until);

/* What a completion in an adopted ring is. */
enum ctx_filter {
	CTX_FILTER_FOREIGN,  /* the program's own */
	CTX_FILTER_INTERNAL, /* the library's, nothing to do */
	CTX_FILTER_OP,	     /* of an operation: *ret_op and *ret_completion are set */
};

/*
 * Sorts one completion of an adopted ring. Call it once for each, in order, before
 * io_uring_cqe_seen; cqe may be a copy. An operation's callback runs in this call; other callbacks may, too,
 * when the completion was a wake-up of the library's. Batches of what the callbacks cancelled go before it
 * returns. ret_op and ret_completion may be NULL.
 *
 * -EINVAL: ring or cqe is NULL. -EPERM: not the owner.
 */
int ctx_ring_filter(struct ctx_ring *ring, const struct io_uring_cqe *cqe, struct ctx_op **ret_op,
		    struct ctx_completion *ret_completion);

/*
 * Waits until the kernel holds nothing that was submitted on this ring under ctx
 * or below it. Afterwards every buffer of these operations may be written and freed; the
 * struct ctx_op itself only when its completion has been delivered. Runs no callback:
 * completions are kept, in order, for the next dispatch. It does not cancel, but acts on ends that other
 * threads brought about, of other contexts too.
 *
 * Below ctx is what was made from it, and from that: of ctx_merge each parent counts, and what
 * ctx_without_cancel keeps from the end of ctx is below it all the same, and waited for. Below a root is what
 * was made from that root.
 *
 * 0: nothing is held. -ETIMEDOUT: after timeout_ns something still is, see
 * ctx_ring_close for stuck. -EINTR. -EPERM. -EINVAL: ring or ctx is NULL. -EBUSY: of an adopted ring the
 * completion queue is full, so that what is awaited cannot be seen: read some first; or the program has a
 * chain open, which cancels and the wait would break: finish it first.
 */
int ctx_ring_drain(struct ctx_ring *ring, const struct ctx_context *ctx, uint64_t timeout_ns,
		   struct ctx_stuck *stuck, unsigned stuck_max, unsigned *ret_stuck);

/*
 * Closes fd: ends the operations of this ring on it, staged, parked and in the kernel, with -ECANCELED, takes
 * it out of what the ring watches, and calls close(2). The peer of a socket is told at once, where close(2)
 * alone would leave the connection open until the last operation has let go of it. Completions come with the
 * next dispatch. What a worker of the kernel holds on to (-EALREADY) keeps the file open for as long. Not
 * looked at: registered files, and what a splice reads from.
 *
 * It looks at the operations on fd, and at all that are staged or held back. The first call on a ring that
 * has had hundreds of operations at a time looks at all that are in the kernel, and makes an index of them by
 * descriptor, which the ring keeps.
 *
 * After a plain close(2) of a descriptor with parked operations these end only with their context or their
 * time. And if operations were ever parked on it, even if none is now, a new file under the same number may
 * not be heard of: its operations may never end. When the number comes from an accept, openat or socket of
 * this ring, itself with CTX_OP_PARK or CTX_RING_PARK, that is noticed, and what is still parked ends with
 * -EBADF. With CTXRING_FEATURES=park-check in the environment it is looked for at each operation.
 *
 * -EINVAL: ring is NULL, or fd is negative. -EPERM: not the owner. And the errors of close(2), after which
 * the descriptor is closed all the same unless it is -EBADF.
 */
int ctx_ring_close_fd(struct ctx_ring *ring, int fd);

/*
 * A descriptor for another event loop: readable when ctx_ring_dispatch has
 * something to do, also for completions that never were in the kernel's queue.
 * Belongs to the ring. It may be readable when there is nothing after all.
 *
 * -EINVAL: NULL. -EMFILE, -ENFILE, -ENOMEM. -EPERM. -EBUSY: an adopted DEFER_TASKRUN ring for
 * which the program has registered an eventfd. -ENOTSUP: an adopted ring with REGISTERED_FD_ONLY.
 */
int ctx_ring_fd(struct ctx_ring *ring);

/*
 * The last batch of the ring. -ENOENT: none yet. -EINVAL: a NULL argument. -EPERM.
 */
int ctx_ring_last_batch(struct ctx_ring *ring, struct ctx_batch *ret_batch);

/* The io_uring inside, for io_uring_register_* calls. NULL for NULL. Do not close it. */
struct io_uring *ctx_ring_uring(struct ctx_ring *ring);

/* ------------------------------------------------------------------------- */
/* Blocking calls                                                            */

/*
 * System calls with a context in front of their arguments. They return what the system call of that name
 * returns, or -errno; errno itself says nothing. They return -ECANCELED or -ETIME, ctx_err's value, when
 * ctx is done before the call or becomes so in it, whichever thread or process ended it. A result that came
 * first is returned: bytes, or a descriptor, are never lost. Signals do not end a call: end the context from
 * the handler.
 *
 * Each is one request on an io_uring of the calling thread, which comes from a pool at the first call and
 * goes back when the thread ends. A deadline bounds the wait and costs no request of its own. Once ctx is
 * done the call cancels its request and returns when the kernel has let go of it, so that buffers are never
 * touched after it returned; what the kernel does not let go of (a disk that hangs) it waits for. While it
 * waits it is an operation in flight in the table. ctxio_poll, ctxio_sleep_*, ctxio_futex_wait and
 * ctxio_close need no ring.
 *
 * Where no ring can be had, for want of memory that may be locked (RLIMIT_MEMLOCK) or because io_uring is
 * forbidden, calls wait by poll(2) for the descriptor and for ctx_done_fd, and try without blocking, as far
 * as the kernel can: ctxio(3). What needs a ring all the same says so. Descriptors with O_NONBLOCK: a call
 * that would block waits all the same, except with MSG_DONTWAIT, SPLICE_F_NONBLOCK and WNOHANG.
 *
 * Any thread, also in a forked child, which gets rings of its own. ctx stays until the call has returned,
 * also if another thread gives the last reference to it back meanwhile. No cancellation points of
 * pthread_cancel(3), and not for signal handlers.
 *
 * Besides those of the system call they know: -EINVAL: ctx is NULL. -ENOMEM. -EMFILE, -ENFILE: no descriptor
 * for ctx_done_fd. -EAGAIN: as ctx_done_fd. -ENOTSUP: not without io_uring, or not with this kernel.
 */
struct iovec;
struct pollfd;

/*
 * read(2) and its kin; from a descriptor's own position unless an offset is given, which pipes and sockets
 * ignore rather than refuse. Writes go on after a part, as write(2) does on a blocking descriptor; of one
 * that ctx ends, the part is returned. No call moves more than 0x7ffff000 bytes. A transfer of 0 bytes never
 * waits, unless it is an empty message to a datagram socket. Without a ring, what knows no RWF_NOWAIT and is
 * no pipe has O_NONBLOCK for the moment of each attempt: ctxio(3).
 */
ssize_t ctxio_read(const struct ctx_context *ctx, int fd, void *buffer, size_t size);
ssize_t ctxio_write(const struct ctx_context *ctx, int fd, const void *buffer, size_t size);
ssize_t ctxio_pread(const struct ctx_context *ctx, int fd, void *buffer, size_t size, off_t offset);
ssize_t ctxio_pwrite(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, off_t offset);
ssize_t ctxio_readv(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count);
ssize_t ctxio_writev(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count);

/*
 * As ctxio_read and ctxio_write, again and again until all of size is moved. Returns size; less only at the
 * end of the file (read). On an error *ret_done (NULL is allowed), which is always written, says how much was
 * moved before it.
 */
ssize_t ctxio_read_full(const struct ctx_context *ctx, int fd, void *buffer, size_t size, size_t *ret_done);
ssize_t ctxio_write_full(const struct ctx_context *ctx, int fd, const void *buffer, size_t size,
			 size_t *ret_done);

/*
 * recv(2), send(2), recvmsg(2), sendmsg(2). With MSG_DONTWAIT they do not wait. Sends on a stream go on after
 * a part; a broken connection is -EPIPE and no signal. SO_RCVTIMEO and SO_SNDTIMEO are not looked at.
 */
ssize_t ctxio_recv(const struct ctx_context *ctx, int fd, void *buffer, size_t size, int flags);
ssize_t ctxio_send(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, int flags);
ssize_t ctxio_recvmsg(const struct ctx_context *ctx, int fd, struct msghdr *message, int flags);
ssize_t ctxio_sendmsg(const struct ctx_context *ctx, int fd, const struct msghdr *message, int flags);

/*
 * accept4(2). A descriptor that was accepted is returned, also when ctx ended meanwhile. Without a ring fd
 * has O_NONBLOCK for the moment of each attempt.
 */
int ctxio_accept(const struct ctx_context *ctx, int fd, struct sockaddr *address, socklen_t *address_size,
		 int flags);

/*
 * connect(2). When ctx ends first the attempt may go on in the kernel: close the socket. Without a ring fd
 * has O_NONBLOCK for the moment in which the attempt begins.
 */
int ctxio_connect(const struct ctx_context *ctx, int fd, const struct sockaddr *address,
		  socklen_t address_size);

/*
 * openat(2), fsync(2), splice(2). These need a ring: -ENOTSUP without io_uring; -ENOMEM, -EMFILE, -ENFILE
 * when there is none now. -EINVAL: an offset of splice is negative.
 */
int ctxio_openat(const struct ctx_context *ctx, int directory, const char *path, int flags, mode_t mode);
int ctxio_fsync(const struct ctx_context *ctx, int fd);
ssize_t ctxio_splice(const struct ctx_context *ctx, int fd_in, off_t *offset_in, int fd_out,
		     off_t *offset_out, size_t size, unsigned flags);

/* poll(2), timeout in milliseconds as there. Uses ctx_done_fd. */
int ctxio_poll(const struct ctx_context *ctx, struct pollfd *fds, unsigned long count, int timeout_ms);

/*
 * Until a point on CLOCK_MONOTONIC, or for a time. 0: it is over. On a context that never ends, too; but for
 * ever on such a one is -EDEADLK.
 */
int ctxio_sleep_until(const struct ctx_context *ctx, uint64_t when_ns);
int ctxio_sleep_for(const struct ctx_context *ctx, uint64_t duration_ns);

/*
 * waitid(2). *ret_info (NULL is allowed) is written on success only. Without a ring or before Linux 6.7 only
 * for the end of one child, P_PID or P_PIDFD with WEXITED alone, by a pidfd; else -ENOTSUP.
 */
int ctxio_waitid(const struct ctx_context *ctx, int id_type, id_t id, siginfo_t *ret_info, int options);

/*
 * futex_wait(2) of 32 bits, of one process (FUTEX_PRIVATE_FLAG) unless shared: waits while *word is expected.
 * 0: woken, perhaps for nothing, as any futex; -EAGAIN: *word was another value. A wake that came together
 * with the end of ctx is a wake. -EINVAL: word is NULL or not aligned. -ENOTSUP: before Linux 5.16
 * (futex_waitv(2)).
 */
int ctxio_futex_wait(const struct ctx_context *ctx, const uint32_t *word, uint32_t expected, bool shared);

/*
 * close(2), whatever ctx is. A socket that would linger (SO_LINGER) is closed without waiting: what it has to
 * send it sends all the same. -EINVAL: ctx is NULL, and nothing is closed.
 */
int ctxio_close(const struct ctx_context *ctx, int fd);

/* ------------------------------------------------------------------------- */
/* Task groups                                                               */

/*
 * Functions on threads, or operations on a ring, that belong together: the first failure ends the context
 * of the group, with that failure as its cause, and so all the others; ctx_taskgroup_wait returns when none
 * of them runs any more. Nothing outlives it. In a forked child all calls on an inherited group are -EPERM;
 * ctx_taskgroup_free frees its memory there and touches nothing of the parent's.
 */
struct ctx_taskgroup;

/*
 * A task: 0, or a negative errno, which is its failure. Its thread serves other tasks later: a task returns,
 * and leaves nothing behind that belongs to a thread (a lock, a changed signal mask). Signals are blocked in
 * it.
 */
typedef int (*ctx_task_fn)(const struct ctx_context *ctx, void *data);

/*
 * Makes a group whose context is a child of parent. At most limit tasks run at a time, each on a thread of
 * the library, which are used again and end when they were idle for some seconds; 0: as many as there are
 * processors for the calling thread.
 *
 * -EINVAL: parent or ret_group is NULL. -ENOMEM.
 */
int ctx_taskgroup_new(const struct ctx_context *parent, unsigned limit, const char *label,
		      struct ctx_taskgroup **ret_group);

/*
 * The same without threads: for operations on ring, see ctx_taskgroup_get_sqe. It belongs to the owner of the
 * ring, as do all calls on it but ctx_taskgroup_context and ctx_taskgroup_failures, and must be freed before
 * the ring is closed.
 *
 * -EINVAL: parent, ring or ret_group is NULL. -EPERM: not the owner. -ENOTSUP: an adopted ring. -ENOMEM.
 */
int ctx_taskgroup_new_on_ring(const struct ctx_context *parent, struct ctx_ring *ring, const char *label,
			      struct ctx_taskgroup **ret_group);

/* The context of the group, for as long as the group. NULL for NULL. */
const struct ctx_context *ctx_taskgroup_context(const struct ctx_taskgroup *group);

/*
 * Starts function(context of the group, data) on a thread; name (or NULL) is told with its failure, of which
 * CTX_LABEL_MAX bytes are copied. When limit tasks run already, ctx_taskgroup_start waits until one ends, in
 * the order of the calls, and ctx_taskgroup_try_start is -EAGAIN. Any thread, also from a task of the group
 * (which then must not be one of limit tasks that all wait so).
 *
 * -ECANCELED, -ETIME: the context of the group is done, or became so while waiting; the function is not
 * called. -EAGAIN: no thread is idle and none could be started (RLIMIT_NPROC, or a cgroup's pids.max).
 * -EINVAL: NULL, or a group on a ring. -EPERM. -ENOMEM.
 */
int ctx_taskgroup_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name);
int ctx_taskgroup_try_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name);

/*
 * As ctx_ring_get_sqe under the context of the group. A final completion with a negative result is a failure
 * of the group, before the operation's own callback runs; what is otherwise no success (a short read) the
 * callback reports with ctx_taskgroup_fail. So the -ETIME of an IORING_OP_TIMEOUT whose time is over is a
 * failure, too: begin sleeps by ctx_ring_get_sqe. An operation ended by its own timeout, or by a deadline,
 * has failed with -ETIME. One that ends CTX_OP_CANCELLED while the context lives is no failure: the program
 * cancelled it, or its chain broke, and who broke it has failed. Operations that the program begins otherwise
 * under the context of the group end with it, but are neither waited for nor failures of the group.
 */
struct io_uring_sqe *ctx_taskgroup_get_sqe(struct ctx_taskgroup *group, struct ctx_op *op);

/*
 * Reports a failure, as a task that returns error does, with a text (format may be NULL). Any thread; of a
 * group on a ring its owner. -EINVAL: NULL, or error is not negative. -EPERM. -ENOMEM: ended all the same,
 * without the text.
 */
int ctx_taskgroup_fail(struct ctx_taskgroup *group, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* One failure. */
struct ctx_failure {
	int error;
	bool consequence; /* came after another, or after the end of the context: most likely because of it */
	char text[CTX_CAUSE_TEXT_MAX]; /* name of the task, the operation, or the text that was reported */
};

/*
 * Waits until no task runs; on a ring dispatches it until no operation of the group is in flight. Returns the
 * first failure, 0 if there was none. A parent's end is no failure by itself: ask ctx_err; but a task that
 * returns -ECANCELED because of it has failed, as a consequence, and so have operations. The group can be
 * used again as long as its context is live. -EDEADLK: from a task of the group, or from a callback of the
 * ring. -EPERM: not the owner of the ring, or a forked child. -EINVAL: NULL.
 */
int ctx_taskgroup_wait(struct ctx_taskgroup *group);

/*
 * Copies the failures so far, in order, to failures, at most max of them. Returns how many there were; of
 * more than 64, or without memory for more than the first, the rest is only counted.
 * -EINVAL: group is NULL, or failures with a max. -EPERM: a forked child.
 */
int ctx_taskgroup_failures(struct ctx_taskgroup *group, struct ctx_failure *failures, unsigned max);

/*
 * Ends its context, waits as ctx_taskgroup_wait, and frees it. In one of its own tasks, in a callback that a
 * failing one runs, or in a callback of its ring, it does not wait: the group is then freed when the last
 * task or operation has ended. Who waits in the group at that moment (ctx_taskgroup_wait,
 * ctx_taskgroup_start) returns as ever, and the memory goes after that. NULL is allowed.
 */
void ctx_taskgroup_free(struct ctx_taskgroup *group);

/* ------------------------------------------------------------------------- */
/* Commands                                                                  */

/*
 * A program under a context: when the context ends, the program and everything that it has started gets a
 * signal, and after a grace SIGKILL. That reaches grandchildren in sessions of their own as well: between the
 * caller and the program there is a small process, the keeper, a subreaper, which waits for all of the tree
 * and also ends it when the calling process dies or executes another program. Where one can be made (cgroup
 * v2 with cgroup.kill, Linux 5.14) the program also runs in a cgroup of its own, in which SIGKILL misses
 * nobody, however fast it forks. The calling process itself is never made a subreaper; its SIGCHLD, its
 * waitpid(2) and its children are its own. Processes are signalled by pidfd.
 *
 * A context's end, and a deadline that cannot be moved, reach the keeper also when no thread of the caller
 * runs.
 */
struct ctx_process;

/* The program becomes the leader of a process group of its own, and the terminal's signals do not reach it.
 */
#define CTX_SPAWN_NEW_GROUP (1u << 0)
/* No cgroup, also where one could be made. */
#define CTX_SPAWN_NO_CGROUP (1u << 1)
/* What execve(2) takes for no program (-ENOEXEC) is given to /bin/sh as a script, as execvp(3) does. */
#define CTX_SPAWN_SHELL (1u << 2)
/* The program alone is signalled, and watched: what it has started is left running. There is no cgroup then.
 */
#define CTX_SPAWN_ALONE (1u << 3)
/* With CTX_SPAWN_ALONE: the first signal goes to the process group in which the program was started, as long
 * as it is in there. Without CTX_SPAWN_NEW_GROUP that is the caller's, who gets it too. */
#define CTX_SPAWN_GROUP (1u << 4)
/* No signal comes first: the grace begins when the context ends, and after it comes SIGKILL. */
#define CTX_SPAWN_NO_SIGNAL (1u << 5)

struct ctx_spawn_options {
	char *const *argv;	  /* ends with NULL; argv[0] is looked for in $PATH unless it has a slash */
	char *const *environment; /* NULL: the caller's. CTXRING_CONTEXT is added unless it is there, see
				     ctx_inject */
	const char *directory;	  /* NULL: the caller's. A relative argv[0] with a slash counts from there */
	const int *fds; /* three: its standard input, output and error; -1: /dev/null. NULL: the caller's */
	unsigned flags; /* CTX_SPAWN_* */
	int signal;	/* the first one that ends it; 0: SIGTERM */
	uint64_t grace_ns;    /* from that to SIGKILL; 0: five seconds; CTX_FOREVER: no SIGKILL */
	const sigset_t *mask; /* the signals that it has blocked; NULL: none */
};

/*
 * Starts a program. All other descriptors with close-on-exec are closed in it, and signals that the caller
 * ignores are ignored in it, apart from SIGCHLD and the one that is to end it, which have their default
 * action. Holds a reference to ctx. Returns when the program has been executed, or could not be; options may
 * go then. Takes three descriptors.
 *
 * -ENOENT, -EACCES, -ENOEXEC, -E2BIG, ...: execve(2) or the search in $PATH failed so.
 * -ENOTDIR, -ENOENT, -EACCES: the directory. -EBADF: one of fds. -EAGAIN: no process
 * can be had (RLIMIT_NPROC, or a cgroup's pids.max). -ECANCELED, -ETIME: ctx is done. -EINVAL: NULL, no
 * argv[0], bad flags or signal. -EMFILE, -ENFILE, -ENOMEM. ctx_spawn_explain puts these in words.
 */
int ctx_spawn(const struct ctx_context *ctx, const struct ctx_spawn_options *options,
	      struct ctx_process **ret_process);

/*
 * Words for an error of ctx_spawn with these options (NULL: not known), with the remedy. Returns as
 * snprintf(3). -EINVAL: buffer is NULL and size is not 0.
 */
int ctx_spawn_explain(int error, const struct ctx_spawn_options *options, char *buffer, size_t size);

/* Of the program, to be shown: once the program has ended it may be another's. 0 for NULL. */
pid_t ctx_process_pid(const struct ctx_process *process);

/* Readable, and never to be read, from when the whole tree is gone. Belongs to the process. -EINVAL: NULL. */
int ctx_process_fd(const struct ctx_process *process);

/* Sends signo to the program itself. -ESRCH: it has ended. -EPERM: it changed its user. -EINVAL: NULL, or no
 * such signal. */
int ctx_process_signal(struct ctx_process *process, int signo);

/* How it ended. */
struct ctx_exit {
	int status;   /* of the program, as waitpid(2) */
	bool stopped; /* its context ended while it ran: it was signalled */
	bool killed;  /* the grace was over: SIGKILL was sent, to the program or what it had started */
	unsigned left_behind;	/* processes that it left running when it ended by itself; they were ended */
	struct ctx_cause cause; /* of its context, when stopped */
	struct rusage usage;	/* of the program and all of the tree that was waited for */
};

/*
 * Waits until the program and its tree are gone. What it leaves running when it ends is ended as if the
 * context had. ctx bounds only this wait: -ECANCELED, -ETIME, unless the tree is gone already. ret_exit may
 * be NULL. May be called again, and by several threads; ctx_process_free by another thread ends the waiting.
 *
 * -EOWNERDEAD: the keeper was killed, and nothing is known of the program, which was killed with it. -ECHILD:
 * in a forked child. -EINVAL: NULL. What ctx_done_fd returns.
 */
int ctx_process_wait(const struct ctx_context *ctx, struct ctx_process *process, struct ctx_exit *ret_exit);

/*
 * Ends the tree with SIGKILL if it is there, waits for that, and frees. A process that this user may not
 * signal, set-user-ID, is waited for until it ends. In a forked child it only frees. NULL is allowed.
 */
void ctx_process_free(struct ctx_process *process);

/* ------------------------------------------------------------------------- */
/* Sources: contexts that kernel events end                                  */

/*
 * Children of parent that end, besides as those of ctx_with_cancel, when something happens. With a ring it is
 * the ring that watches: the call is for its owner, and the end comes in a dispatch; the watch does not count
 * as an operation, and a closed ring watches no more. With NULL it is one thread of the library, ctx-poller,
 * for all of these, and callbacks run on the worker thread, as those of a deadline. The watch ends with the
 * context or with the program's last reference to it: keep that as long as the event is to count. ctx_err
 * becomes -ECANCELED, the cause tells the event. In a forked child nothing watches an inherited one.
 *
 * All: -EINVAL: parent or ret_ctx is NULL. -ENOMEM, -EMFILE, -ENFILE. -EAGAIN: no thread. -EPERM: not the
 * owner of the ring, or it is being closed. -ENOSPC: fs.epoll.max_user_watches. ctx_source_explain puts
 * errors in words.
 */

/*
 * For protocols whose clients end their sending and then wait for the answer, as HTTP/1.0 scripts and
 * printf ... | nc -N do: only a peer that is gone altogether counts. (Bit 0 is not used.)
 */
#define CTX_HANGUP_WHOLE (1u << 1)

/*
 * Ends when the peer of a connected socket is gone. It counts as gone when it sends no more, which is all
 * that a TCP peer tells when it closes, also while something that it sent before has not been read; and when
 * the connection is reset or times out. With CTX_HANGUP_WHOLE a TCP peer that has closed counts as gone when
 * it answers something that was sent to it with a reset, not before; of unix sockets a close is told apart. A
 * stream socket that is not connected counts as one whose peer is gone.
 *
 * fd has to stay open until the context is done or released. If it does not, its number may be another
 * file's, whose events end nothing; a ring goes on watching the file that it was, and holds it. While a ring
 * watches, closing fd does not tell the peer: end or release the context first. The ring lets go of the file
 * in the call that ends the context on its owner's thread outside of a dispatch, else in its next dispatch.
 *
 * -ENOTSOCK. -EBADF. -EINVAL: unknown flags.
 */
int ctx_with_hangup(const struct ctx_context *parent, struct ctx_ring *ring, int fd, unsigned flags,
		    const char *label, struct ctx_context **ret_ctx);

/*
 * Ends when one of events, as of poll(2), is there; POLLERR and POLLHUP always count. fd as above; of regular
 * files -EPERM, as epoll_ctl(2). -EBADF. -EINVAL: unknown events.
 */
int ctx_with_fd(const struct ctx_context *parent, struct ctx_ring *ring, int fd, short events,
		const char *label, struct ctx_context **ret_ctx);

/*
 * Ends when the process of a pidfd does. The pidfd stays the caller's, and may be closed. Does not reap it.
 * The wait status is known of children of this process; of others where /proc may tell, or from Linux 6.15 on
 * once they are reaped; else the code of the cause is -1. -EBADF: not a pidfd. -ENOSYS.
 */
int ctx_with_process(const struct ctx_context *parent, struct ctx_ring *ring, int pidfd, const char *label,
		     struct ctx_context **ret_ctx);

/*
 * Ends at the first of these signals to the process. They are blocked in the calling thread from now on: call
 * it before other threads are started, which inherit that. All contexts that wait for a signal end with it. A
 * signal has its default action again as soon as no context waits for it any more, because it or another of
 * its set came, or because they ended otherwise or were released: so a second Ctrl-C kills a program that
 * does not come to its end. It is the poller's thread, or the ring's owner, that takes it then; other
 * threads keep it blocked. With a ring the first one is seen in a dispatch only. Signals to a single thread
 * (pthread_kill(3)) are not seen.
 *
 * Those that are ignored, as by nohup(1), or SIGINT in a program that a script starts with "&", stay ignored
 * and are not waited for.
 *
 * A child of fork(2) has them not blocked. One of posix_spawn(3) and vfork(2) inherits the caller's mask:
 * give it an empty one with POSIX_SPAWN_SETSIGMASK.
 *
 * -EBUSY: the program handles or has blocked one of them itself, or all of them are ignored. -EINVAL: NULL,
 * empty, or one that cannot be blocked.
 */
int ctx_with_signals(const struct ctx_context *parent, struct ctx_ring *ring, const sigset_t *signals,
		     const char *label, struct ctx_context **ret_ctx);

enum ctx_resource {
	CTX_RESOURCE_MEMORY = 1,
	CTX_RESOURCE_CPU,
	CTX_RESOURCE_IO,
};

/* When is it too much: tasks stalled for stall_ns within window_ns, see the kernel's
 * Documentation/accounting/psi.rst. */
struct ctx_pressure {
	enum ctx_resource resource;
	bool full;	    /* all tasks stalled, not just some */
	uint64_t stall_ns;  /* 0: a tenth of the window */
	uint64_t window_ns; /* 500 ms to 10 s; 0: two seconds. Without CAP_SYS_RESOURCE in steps of two
			       seconds */
	int priority;	    /* those of the lowest number end first, those of the next at the next event */
	const char *file;   /* of a cgroup, as its memory.pressure; NULL: of the machine */
};

/*
 * Ends under pressure. Contexts that watch the same thing (file, full, stall, window) share one trigger and
 * are ended in the order of their priority, wherever they are watched: one event ends all of the lowest that
 * live. The kernel gives at most one event in a window. Make one context for each priority, and derive the
 * many from that. When the cgroup of the file is removed all of them end, and the cause says so.
 *
 * -ENOENT: there is no such file: the kernel has no PSI, or it is off (boot with psi=1). -EOPNOTSUPP: off.
 * -EACCES. -EINVAL: out of range, full of the machine's CPU, or the window needs CAP_SYS_RESOURCE.
 */
int ctx_with_pressure(const struct ctx_context *parent, struct ctx_ring *ring,
		      const struct ctx_pressure *pressure, const char *label, struct ctx_context **ret_ctx);

/* Words for an error of one of these, by the kind of cause that it stands for. Returns as snprintf(3).
 * -EINVAL: buffer is NULL with a size, or another kind. */
int ctx_source_explain(enum ctx_cause_kind kind, int error, char *buffer, size_t size);

/* ------------------------------------------------------------------------- */
/* Propagation: a context as text                                            */

/*
 * To children in the environment variable CTXRING_CONTEXT: id, label, time left, identity, values, and the
 * point in time at which that was written, so that it stays right however late it is read on the same
 * machine. To other machines as header pairs: the time left as grpc-timeout, identity as W3C traceparent,
 * with the tracestate that came with it, values as W3C baggage; the receiver's clock counts the time left
 * from the receipt.
 */
enum ctx_carrier {
	CTX_CARRIER_ENVIRONMENT,
	CTX_CARRIER_HEADERS,
};

/* Bytes of all names and values together that are written, and that are read. */
#define CTX_CARRIER_MAX 8192

/*
 * A value that travels, under the name of its key, which has to have format. parse is the inverse of format:
 * 0, or a negative errno for text that it refuses. NULL: it is only sent.
 */
struct ctx_carried {
	const struct ctx_key *key;
	int (*parse)(const char *text, void **ret_value);
};

/* Takes one pair, copying it. Another return than 0 ends ctx_inject, which returns it. */
typedef int (*ctx_inject_fn)(const char *name, const char *value, void *data);

/* The value under that name, valid until the next call; names of headers come in lower case, and stand for
 * any. NULL: there is none. */
typedef const char *(*ctx_extract_fn)(const char *name, void *data);

/*
 * Writes ctx, and the values that it has of carried, as pairs. As baggage values are UTF-8: U+FFFD stands for
 * what is not. In the environment all bytes stay as they are.
 *
 * -EINVAL: NULL, or the name of a key is not a token (RFC 9110, 5.6.2). -EMSGSIZE: more than CTX_CARRIER_MAX
 * bytes. -ENOMEM. Any thread.
 */
int ctx_inject(const struct ctx_context *ctx, enum ctx_carrier carrier, const struct ctx_carried *carried,
	       unsigned count, ctx_inject_fn set, void *data);

/*
 * Makes a child of parent from pairs: with the deadline that was sent, if one was, and values for those of
 * carried that were sent and have a parse function; other values are ignored. label NULL: the one that was
 * sent, as much of it as a label holds. The child has the identity that was sent, or a new one, and
 * everything below it has the same. With no pair at all it is a plain child.
 *
 * Only what bounds the work and what is asked for can refuse it. A malformed traceparent begins a new trace;
 * a malformed member of baggage that nobody asks for is left out. Values from baggage are UTF-8: U+FFFD
 * stands for what is not.
 *
 * -EINVAL: NULL; or the time that is left, the form of CTXRING_CONTEXT, or a value that is asked for is
 * malformed; or one that is asked for may lie beyond the first CTX_CARRIER_MAX bytes: nothing is made.
 * -ENOMEM, -EAGAIN: as ctx_with_deadline. And what a parse function returned.
 */
int ctx_extract(const struct ctx_context *parent, enum ctx_carrier carrier, const struct ctx_carried *carried,
		unsigned count, ctx_extract_fn get, void *data, const char *label,
		struct ctx_context **ret_ctx);

/*
 * ctx_extract from the environment of this process, below ctx_background. Ignored in programs that run with
 * the privileges of another user, see secure_getenv(3).
 */
int ctx_from_environment(const struct ctx_carried *carried, unsigned count, const char *label,
			 struct ctx_context **ret_ctx);

/* Who a request is, over all machines. In hexadecimal, of the sizes that W3C Trace Context gives them. */
struct ctx_identity {
	char trace[33];	    /* of the whole request */
	char span[17];	    /* of this context */
	char sender[17];    /* span of the context from which it was extracted; "": it began here */
	uint64_t sender_id; /* ctx_id of that; from the environment only, else 0 */
};

/*
 * The identity of ctx: of the nearest ancestor that was extracted, or, if there is none, one of its own that
 * stays the same for as long as ctx. -EINVAL: NULL.
 */
int ctx_get_identity(const struct ctx_context *ctx, struct ctx_identity *ret_identity);

/* ------------------------------------------------------------------------- */
/* The service: contexts shared between processes                            */

/*
 * ctxd(8) gives contexts names and ids that hold across processes, and keeps who may see
 * and cancel what. It is never in the way of an end: that reaches every joined process
 * through a pipe and a pidfd, also when ctxd is dead or the owner was killed. The concepts
 * are in ctxring(7), "Processes". A program that never connects is not changed by any of this,
 * except that the environment variable CTXRING_PUBLISH=1 connects it, with
 * CTXD_PUBLISH, when it makes its first context; that never fails, it goes on trying.
 *
 * Threads: without CTXD_OWN_DISPATCH every call may come from any thread, and a thread of the
 * library serves the client. With it all calls on the client are for one thread at a time, and what
 * comes in is handled in ctxd_dispatch, and in calls that wait for an answer.
 *
 * Calls that ask the service wait for its answer, at most the client's timeout_ns. Besides their
 * own, they all know these errors. -ENOTCONN: the service is away; the client is trying to come back.
 * -ETIMEDOUT: no answer in time; whether it was done is not known. -EDQUOT: a quota of ctxd.conf(5)
 * for this user is reached. -EDEADLK: called from the client's event function. -EPROTO: the service
 * talks nonsense. -ENOMEM. -EPERM: in a forked child; connect anew there.
 */
struct ctxd_client;

/* Bytes of the name of a shared context, without the final NUL. */
#define CTXD_NAME_MAX 63

/*
 * A shared context. The epoch says which life of the service gave it: after a restart contexts have
 * new ids, and the old ones are -ESTALE. Both 0: none.
 */
struct ctxd_id {
	uint64_t epoch;
	uint64_t number;
};

/* Room for an id as text, "EPOCH-NUMBER" in hexadecimal, with its NUL. */
#define CTXD_ID_TEXT 34

/* Writes it; returns as snprintf(3). -EINVAL: buffer is NULL with a size. */
int ctxd_format_id(struct ctxd_id id, char *buffer, size_t size);

/* Reads what ctxd_format_id wrote. -EINVAL: it is not that, or NULL. */
int ctxd_parse_id(const char *text, struct ctxd_id *ret_id);

enum ctxd_entry_kind {
	CTXD_SHARED = 1 << 0,  /* a shared context */
	CTXD_JOINED = 1 << 1,  /* a process that joined one */
	CTXD_PROCESS = 1 << 2, /* a process that is connected */
	CTXD_DEAD = 1 << 3,    /* a process that is gone, whose table is still kept */
};

/* What the service knows of one of these; fields that do not apply are 0. */
struct ctxd_entry {
	enum ctxd_entry_kind kind;
	struct ctxd_id id;     /* SHARED; JOINED: of what was joined */
	struct ctxd_id parent; /* SHARED: the joined context below which its owner made it */
	pid_t pid;	       /* as the service sees it; of a SHARED one the owner's */
	uid_t uid;
	gid_t gid;
	uint64_t table;	 /* inode of the process's context table, 0: not published */
	uint64_t ctx_id; /* in that table, see ctx_id() */
	mode_t mode;
	unsigned depth; /* joins above it */
	unsigned joiners;
	uint64_t created_ns;	/* CLOCK_MONOTONIC: shared, joined, connected */
	uint64_t deadline_ns;	/* CTX_FOREVER: none */
	uint64_t ended_ns;	/* 0: live */
	struct ctx_cause cause; /* SHARED, when it ended */
	char name[CTXD_NAME_MAX + 1];
	char label[CTX_LABEL_MAX + 1];
	char process[16]; /* name of the command */
};

enum ctxd_event_kind {
	CTXD_EVENT_ADDED = 1, /* shared, joined, connected */
	CTXD_EVENT_ENDED,     /* a shared context ended */
	CTXD_EVENT_MOVED,     /* its deadline was moved */
	CTXD_EVENT_REMOVED,   /* not shared any more, left, gone */
	CTXD_EVENT_LOST,      /* lost events did not fit the queue */
	CTXD_EVENT_AWAY,      /* the connection broke; the client tries to come back */
	CTXD_EVENT_BACK,      /* it did: everything is shared and joined again, under new ids */
};

struct ctxd_event {
	enum ctxd_event_kind kind;
	uint64_t lost;
	struct ctxd_entry entry; /* not of LOST, AWAY, BACK */
};

/*
 * Dispatch by the program itself, see ctxd_fd, instead of by a thread of the library.
 * PUBLISH: same-uid processes and root may get this process's context table and end any context in
 * it through the service, and the table is kept a while after the process's death.
 * PATIENT: succeed also when the service is not there yet, and go on trying.
 */
#define CTXD_OWN_DISPATCH (1u << 0)
#define CTXD_PUBLISH (1u << 1)
#define CTXD_PATIENT (1u << 2)

struct ctxd_options {
	const char *socket;  /* path; NULL: see ctxd_connect */
	unsigned flags;	     /* CTXD_* above */
	uint64_t timeout_ns; /* how long calls wait for an answer; 0: five seconds */
	/* Events, see ctxd_watch; AWAY and BACK come unasked. On the client's thread, no lock held. NULL:
	 * none. */
	void (*event)(struct ctxd_client *client, const struct ctxd_event *event, void *data);
	void *data;
};

/*
 * Connects to the service. options may be NULL. Without a path it is $CTXD_SOCKET, or else the
 * first of $XDG_RUNTIME_DIR/ctxd.sock and /run/ctxd.sock where a service of root or of this user answers. When
 * the connection breaks later the client comes back by itself, with growing pauses of at most a quarter of a
 * second; what it shared and joined goes on working meanwhile, and is registered again.
 *
 * -ENOENT, -ECONNREFUSED: no service there. -EACCES: its socket is closed to this user. -EPERM: the one that
 * the environment leads to is run by a user who is neither root nor the effective one of this program.
 * -EPROTONOSUPPORT: it speaks no version that we do. -EINVAL: ret_client is NULL, unknown flags, a path
 * too long. -EMFILE, -ENFILE, -ENOMEM, -EAGAIN (no thread), -EDQUOT (too many connections of this user).
 */
int ctxd_connect(const struct ctxd_options *options, struct ctxd_client **ret_client);

/*
 * Leaves: what it shared is withdrawn, see ctxd_unshare; what it joined stays, but only its deadline
 * and the program end it from then on. Waits for a running event function, so from there, and from callbacks
 * that run on the client's thread or in a dispatch, it does nothing. NULL is allowed. In a forked child it
 * does nothing. No other thread may be in a call on the client.
 */
void ctxd_close(struct ctxd_client *client);

/* Words for an error of ctxd_connect, with the remedy. Returns as snprintf(3). -EINVAL: NULL. */
int ctxd_explain(int error, char *buffer, size_t size);

/*
 * For a client with CTXD_OWN_DISPATCH: a descriptor that is readable when ctxd_dispatch has something to do,
 * also the end of a joined context. Put it into the program's loop; in a ctx ring as a multishot poll whose
 * callback dispatches. The same one for ever, it belongs to the client. -EINVAL: NULL, or a client with a
 * thread. -EPERM: in a forked child.
 */
int ctxd_fd(struct ctxd_client *client);

/*
 * Handles what has come in, waiting for it at most timeout_ns (0: does not wait): ends joined contexts, obeys
 * cancels, comes back to a service that was away. Returns how many things it handled. -EINVAL as ctxd_fd.
 * -EINTR. -EDEADLK: from inside a dispatch, in the event function or a callback that it runs. -EPERM: as
 * ctxd_fd.
 */
int ctxd_dispatch(struct ctxd_client *client, uint64_t timeout_ns);

/*
 * Shares ctx until it ends: other processes may join it, and cancel it through the service, as mode allows.
 * mode is like a file's, of the bits 0666: read (4) is to see and to join, write (2) is to cancel, for the
 * process's user, its group, all others; 0 stands for 0600. Root may do all. name may be NULL, else it is
 * unique among the contexts that this user shares. Its cause, deadline and label can be seen by those who may
 * join.
 *
 * When ctx ends, for whatever reason, or this process does, every joined context ends at once. When the
 * program releases ctx without ending it, or does so to the last of it, joined contexts end too, with
 * CTX_CAUSE_OWNER.
 *
 * -EINVAL: NULL, a name too long or empty, bad mode, ctx never ends. -EEXIST: the name is taken, or ctx is
 * shared already. -EPERM: a name, where in the service's user namespace this user has no number of its own.
 * -EALREADY: ctx is done. -EMLINK: below more joins than allowed. -EMFILE, -ENFILE. ret_id may be NULL.
 */
int ctxd_share(struct ctxd_client *client, struct ctx_context *ctx, const char *name, mode_t mode,
	       struct ctxd_id *ret_id);

/* Takes it back: nobody can join any more; who has joined stays joined. -ENOENT: not shared. -EINVAL: NULL.
 */
int ctxd_unshare(struct ctxd_client *client, const struct ctx_context *ctx);

/* The id that a shared or joined ctx has now. -ENOENT: neither. -ENOTCONN. -EINVAL: NULL. Asks nobody. */
int ctxd_id_of(struct ctxd_client *client, const struct ctx_context *ctx, struct ctxd_id *ret_id);

/*
 * Makes a context that ends when the shared one does, with its cause, label and deadline: the parent for
 * local work. The caller owns one reference; ending it ends only local work. Of a shared context that has
 * ended already it is born done. By name: of a context that uid shares, (uid_t)-1 for the caller's own.
 *
 * When the owner dies the cause is CTX_CAUSE_OWNER; when somebody ends it through the service,
 * CTX_CAUSE_SERVICE. pid, tid, uid and ctx_id of the cause are those of whoever ended it. A later deadline
 * than before (ctx_set_deadline of the owner) arrives through the service; the end itself never does.
 *
 * -ENOENT: there is none, or it is not for this user. -ESTALE: an id of an earlier life of the service.
 * -EINVAL: NULL, bad name. -EMFILE, -ENFILE. -EAGAIN: as ctx_with_deadline.
 */
int ctxd_join(struct ctxd_client *client, struct ctxd_id id, struct ctx_context **ret_ctx);
int ctxd_join_name(struct ctxd_client *client, uid_t uid, const char *name, struct ctx_context **ret_ctx);

/*
 * Calls visit for everything of these kinds (CTXD_SHARED | ...) that this user may see: its own, what modes
 * allow, as root all. visit ends the listing by returning anything but 0, which is then returned. What
 * changes meanwhile may be seen or not. -EINVAL: NULL, unknown kinds.
 */
int ctxd_list(struct ctxd_client *client, unsigned kinds,
	      int (*visit)(const struct ctxd_entry *entry, void *data), void *data);

/*
 * Asks for events about these kinds from now on, of what ctxd_list would show; 0 ends it. Also after the
 * connection was broken. A reader that is too slow loses events, and is told so.
 * -EINVAL: NULL, unknown kinds, or the client has no event function.
 */
int ctxd_watch(struct ctxd_client *client, unsigned kinds);

/* Which context: a shared one by id; or, with id {0, 0}, any one of a published process. */
struct ctxd_target {
	struct ctxd_id id;
	uint64_t table;	 /* inode of its table, from ctxd_list or fstat(2) */
	uint64_t ctx_id; /* in that table */
};

/*
 * What a cancel through the service has done. Counts are sums over all processes and their rings. A process counts
 * once, however many connections it has; but as two where it shares the context by one client and joins it by another,
 * for those are two contexts of it.
 */
struct ctxd_report {
	unsigned asked;	  /* processes that were told: the owner and those that joined */
	unsigned ended;	  /* of these, in which it was live and ended */
	unsigned silent;  /* of these, that did not answer in time */
	unsigned batches; /* one on each ring with operations under it; the rest as struct ctx_batch */
	unsigned operations, unsent, timed, sqes, enters, cancelled, finished, held;
	uint64_t submit_ns, reap_ns; /* of the slowest batch */
};

#define CTXD_DRY_RUN (1u << 0)

/*
 * Ends a context, and everything below it, in its own process and in all that joined it, with
 * CTX_CAUSE_SERVICE. error is a negative errno, 0: -ECANCELED; text may be NULL. Waits at most wait_ns for
 * the operations under it to be reaped: 0 waits for the processes to have ended it only. A stopped process is
 * told, and counted as silent. With CTXD_DRY_RUN nothing is ended, and only asked is counted. ret_report may
 * be NULL.
 *
 * -ENOENT: there is none, or this user may not cancel it. -ESTALE: see ctxd_join. -EALREADY: it had ended.
 * -EINVAL: NULL, error is positive, unknown flags.
 */
int ctxd_cancel(struct ctxd_client *client, const struct ctxd_target *target, unsigned flags, int error,
		const char *text, uint64_t wait_ns, struct ctxd_report *ret_report);

/*
 * The context table of a published process of the same user (of any for root): a read-only, sealed memfd,
 * which the caller closes. kind is CTXD_PROCESS, or CTXD_DEAD for the last one of that pid that is gone.
 * ret_entry may be NULL. -ENOENT: not published, not kept, or not for this user. -EINVAL: NULL, other kinds.
 * -EMFILE, -ENFILE.
 */
int ctxd_table(struct ctxd_client *client, enum ctxd_entry_kind kind, pid_t pid, struct ctxd_entry *ret_entry,
	       int *ret_fd);

#ifdef __cplusplus
}
#endif

#endif
