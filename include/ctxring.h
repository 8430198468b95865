/* SPDX-License-Identifier: MIT */
/*
 * ctxring: contexts for C programs on Linux, backed by kernel objects.
 *
 * A context is a node in a tree. It is live until it ends; from then on it is done, for ever. It
 * ends once: by a call, by its deadline, by an event of the kernel, or because its parent ended.
 * Its whole subtree ends with it.
 *
 * A ctx ring is an io_uring whose operations each belong to a context. When the context ends,
 * everything that is pending under it is cancelled in one batch of cancel requests.
 *
 * The concepts are explained in ctxring(7). This header is the contract of each call.
 *
 * Contents, in this order:
 *   General                        version of the library, limits, memory functions
 *   Making and releasing contexts  roots, children, deadlines, values, references
 *   Ending a context               cancelling, also from a signal handler, and moving a deadline
 *   Asking a context               state, cause, deadline, value, id, text
 *   Waiting for the end            by a descriptor, by blocking, by a callback
 *   Operations                     one operation on a ring: result, timeout, flags, cancelling
 *   Rings                          opening, submitting, dispatching, draining, closing
 *   Blocking calls                 read, write, accept and others under a context
 *   Task groups                    threads or operations of which the first failure ends the others
 *   Commands                       programs that live no longer than a context
 *   Sources                        contexts that an event of the kernel ends: a hang-up, a signal
 *   Propagation                    a context as text, for another process or machine
 *   The service                    contexts shared between processes, through ctxd(8)
 *
 * Conventions, which the declarations below do not repeat:
 *   - A call returns 0 (or a count) on success and a negative errno on failure.
 *   - On failure nothing is written through a pointer whose name begins with ret_, except where the
 *     call says so (ret_stuck, ret_done).
 *   - An error that is listed without a reason has its usual one. -ENOMEM: there is no memory.
 *     -EMFILE, -ENFILE: the process, or the system, has no file descriptor left. -EINTR: a signal
 *     handler ran.
 *   - Times are nanoseconds. A deadline is a point on CLOCK_MONOTONIC, a timeout is counted from
 *     the call.
 *   - A call that "returns as snprintf(3)" writes at most size bytes, the NUL included, and returns
 *     the length that the whole text has without the NUL. size 0 only asks for that length.
 *   - Whoever holds a `const struct ctx_context *` can watch the context, derive from it and submit
 *     under it. Only a pointer that is not const lets its holder cancel the context or move its
 *     deadline.
 *   - A label may be NULL. It is copied, at most CTX_LABEL_MAX bytes of it.
 *   - Contexts may be used by any thread at any time. A ring belongs to one thread, its owner: see
 *     ctx_ring_open. No lock is held while a function of the program is called, except the functions
 *     of ctx_set_allocator.
 *   - No call is a cancellation point of pthread_cancel(3), not even one that blocks. A function of
 *     the program that a call runs, runs with cancellation disabled.
 *   - A child of fork(2) has copies of all contexts, see ctxring(7). A child that was made without fork
 *     handlers, by vfork(2), clone(2), _Fork(3) or posix_spawn(3), must not call the library before
 *     it has executed a program: it would crash where the library stores to its table.
 *   - The library prints nothing, unless CTXRING_DEBUG=1 is in the environment: then it explains on
 *     stderr what the errors of its functions meant, see ctxring(7). It installs no signal handler,
 *     and does not abort when memory is short. It aborts when its own invariants are broken.
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

/* ------------------------------------------------------------------------- */
/* General                                                                   */

#define CTXRING_VERSION_MAJOR 0
#define CTXRING_VERSION_MINOR 1

/* As a timeout: no bound. As a deadline: none. */
#define CTX_FOREVER UINT64_MAX
/* Bytes of a label that are kept, without the final NUL. */
#define CTX_LABEL_MAX 31
/* Size of the text of a cause, with its NUL. A longer text is cut. */
#define CTX_CAUSE_TEXT_MAX 128

/* Room for the name of a host of a fleet, with its NUL. */
#define CTX_HOST_MAX 64

struct ctx_context;
struct ctx_ring;
struct ctx_op;
struct ctx_stuck;
struct io_uring;
struct io_uring_cqe;
struct io_uring_sqe;

/* The version of the library that runs, as "MAJOR.MINOR". The string is static. */
const char *ctx_version(void);

/*
 * Makes the library use these functions instead of malloc(3) and free(3) for all of its memory.
 * Call it before every other call of the library. The structure is copied.
 *
 * allocate returns NULL when it has no memory; the call that needed it then fails with -ENOMEM.
 * Both functions are called from any thread, also while locks of the library are held. So they must
 * not call the library, and must not be cancellation points of pthread_cancel(3).
 *
 * -EINVAL: allocator, or one of its functions, is NULL.
 * -EBUSY: the library has allocated already.
 */
struct ctx_allocator {
	void *(*allocate)(size_t size, void *data);
	void (*release)(void *memory, void *data);
	void *data; /* passed to both functions */
};
int ctx_set_allocator(const struct ctx_allocator *allocator);

/* ------------------------------------------------------------------------- */
/* Making and releasing contexts                                             */

/*
 * Returns the root of a program's contexts. It is never done and has no deadline and no values. References
 * to it are not counted: ctx_ref and ctx_unref do nothing on it. Never NULL.
 */
const struct ctx_context *ctx_background(void);

/*
 * Returns a second root, which behaves like ctx_background. It marks a place where the right context is not
 * known yet.
 */
const struct ctx_context *ctx_todo(void);

/*
 * Makes a child that ends when ctx_cancel is called on it or when parent ends. The caller gets one
 * reference to *ret_ctx and gives it back with ctx_unref or ctx_finish. A child keeps its parent in
 * memory. A child of a done parent is born done, with the parent's error and cause; that is no
 * error.
 *
 * When the context table is full the context works, but ctxtool(1) does not show it.
 *
 * -EINVAL: parent or ret_ctx is NULL. -ENOMEM.
 */
int ctx_with_cancel(const struct ctx_context *parent, const char *label, struct ctx_context **ret_ctx);

/*
 * Make a child as ctx_with_cancel does, which also ends, with -ETIME, at its deadline or at its
 * parent's, whichever is earlier. A context whose deadline is not in the future is born done. The
 * first call starts the library's timer thread.
 *
 *   - ctx_with_timeout counts the time from the call.
 *   - ctx_with_deadline takes a point on CLOCK_MONOTONIC.
 *   - ctx_with_deadline_at takes a point on CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME or
 *     CLOCK_TAI. It converts the point once: if that clock is set later, the deadline stays where
 *     it is.
 *   - ctx_with_movable_deadline makes a context whose deadline ctx_set_deadline may also move
 *     later. Operations below it carry no linked timeout, because moving armed ones costs the
 *     kernel a time that is quadratic in their number; at the deadline they are cancelled in a
 *     batch instead.
 *
 * -EINVAL: parent, at or ret_ctx is NULL; clock is none of these four; tv_nsec is out of range.
 * -ENOMEM.
 * -EAGAIN: the timer thread could not be started (RLIMIT_NPROC, a cgroup's pids.max, or no memory
 * for its stack).
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
 * Make a child as ctx_with_timeout and ctx_with_deadline do, and set the cause that it gets when its
 * own deadline fires. error and format are those of ctx_set_deadline_cause. The child has that cause
 * from the beginning, so also when the deadline is over before the call returns.
 *
 * For a movable deadline, or one on another clock: make the context with ctx_with_movable_deadline
 * (CTX_FOREVER) or ctx_with_cancel, then call ctx_set_deadline_cause, then ctx_set_deadline.
 *
 * Errors as of ctx_with_deadline, and -EINVAL: error is positive.
 */
int ctx_with_timeout_cause(const struct ctx_context *parent, uint64_t timeout_ns, const char *label,
			   struct ctx_context **ret_ctx, int error, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
int ctx_with_deadline_cause(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			    struct ctx_context **ret_ctx, int error, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* The key of a value. Keys are told apart by address: make each a static object. */
struct ctx_key {
	const char *name; /* shown by ctxtool(1) and ctx_format */
	/* Called once with the value when the context that holds it is freed, on the thread that gave the
	 * last reference back. NULL: nothing is called. */
	void (*release)(void *value);
	/* Writes the value as text, as snprintf(3) does. NULL: the value has no text. */
	int (*format)(const void *value, char *buffer, size_t size);
};

/*
 * Makes a context that ends with its parent and carries value under key. A NULL value hides one
 * that an ancestor carries under the same key. On success the context owns the value; on failure
 * the caller still does. The context cannot be cancelled by itself.
 *
 * -EINVAL: parent, key or ret_ctx is NULL. -ENOMEM.
 */
int ctx_with_value(const struct ctx_context *parent, const struct ctx_key *key, void *value,
		   const char *label, const struct ctx_context **ret_ctx);

/*
 * Makes a context that sees its parent's values, but neither its parent's end nor its deadline: for
 * work that must outlive a request. It is never done, so derive a child from it that can be
 * cancelled. ctx_ring_drain of parent waits for operations below it all the same.
 *
 * -EINVAL: parent or ret_ctx is NULL. -ENOMEM.
 */
int ctx_without_cancel(const struct ctx_context *parent, const char *label,
		       const struct ctx_context **ret_ctx);

/*
 * Makes a child of several parents. It is done as soon as the first of them is, with that parent's
 * error and cause, and ctx_cancel ends it too. Its deadline is the earliest of theirs. Its values
 * come from parents[0].
 *
 * -EINVAL: count is 0; parents, one of its members, or ret_ctx is NULL. -ENOMEM.
 */
int ctx_merge(const struct ctx_context *const *parents, unsigned count, const char *label,
	      struct ctx_context **ret_ctx);

/*
 * Takes one more reference and returns ctx. NULL is allowed. The caller has to hold a reference
 * already. Any thread; never blocks.
 */
const struct ctx_context *ctx_ref(const struct ctx_context *ctx);

/*
 * Gives one reference back. NULL is allowed. It cancels nothing: children, callbacks and operations
 * of the context stay, and the context is freed after the last of them. The release functions of
 * values may run in this call.
 */
void ctx_unref(const struct ctx_context *ctx);

/* ctx_cancel, then ctx_unref. NULL is allowed. */
void ctx_finish(struct ctx_context *ctx);

/* ctx_unref and ctx_finish of *ctx, for __attribute__((cleanup)): see the macros below. */
void ctx_unrefp(const struct ctx_context **ctx);
void ctx_finishp(struct ctx_context **ctx);

/*
 * CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
 * declares a variable whose context is ended and released when the scope is left.
 *
 * CTX_AUTO_UNREF const struct ctx_context *ctx = NULL;
 * declares a variable whose context is only released then.
 */
#define CTX_AUTO_FINISH __attribute__((cleanup(ctx_finishp)))
#define CTX_AUTO_UNREF __attribute__((cleanup(ctx_unrefp)))

/* ------------------------------------------------------------------------- */
/* Ending a context                                                          */

/*
 * Ends ctx and everything below it with -ECANCELED, except what ctx_without_cancel keeps from that
 * end. When it returns 0:
 *   - The whole subtree is done.
 *   - Operations on a ring of the calling thread have been handed their cancels in one batch. In a
 *     dispatch of that ring this happens when the dispatch ends.
 *   - Other rings have been woken; their owners cancel their operations themselves.
 *   - Callbacks that are not bound to a ring have run, on the calling thread.
 * It does not wait for operations: ctx_ring_drain does.
 *
 * ctx_cancel_cause adds the reason: error is a negative errno, 0 means -ECANCELED; format may be
 * NULL. ctx_err is -ECANCELED all the same. Without memory for the text the context still ends,
 * without text.
 *
 * 0: this call ended the context.
 * -EALREADY: it was done before. If an ancestor's end came first, that end may still be on its way
 * through the subtree when this call returns.
 * -EINVAL: ctx is NULL; it never ends by itself (a root, a value, ctx_without_cancel); error is
 * positive.
 */
int ctx_cancel(struct ctx_context *ctx);
int ctx_cancel_cause(struct ctx_context *ctx, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Let a signal handler end ctx.
 *
 * Call ctx_signal_prepare beforehand, outside of handlers. It starts the library's timer thread,
 * which will do the work, and holds a reference to ctx until the context is done.
 *
 * ctx_cancel_from_signal is async-signal-safe. It queues the request and wakes the timer thread,
 * which ends the subtree shortly after the call has returned, with the cause CTX_CAUSE_SIGNAL and
 * code signo. When ctx is done already, or another signal came first, it returns 0 and has no
 * effect. The handler needs a reference of the program's own for as long as it can run, because the
 * one that ctx_signal_prepare took is given back when the context ends.
 *
 * In a forked child call ctx_signal_prepare again for an inherited context: that starts the child's
 * timer thread.
 *
 * -EINVAL: ctx is NULL; it never ends by itself; or, from the handler, it was not prepared.
 * -ENOMEM, -EAGAIN (ctx_signal_prepare): as ctx_with_deadline.
 */
int ctx_signal_prepare(struct ctx_context *ctx);
int ctx_cancel_from_signal(struct ctx_context *ctx, int signo);

/*
 * Moves the deadline of ctx. Any context that can end may be given an earlier deadline, also one
 * that has none. Only a context from ctx_with_movable_deadline may be given a later one.
 * Descendants follow: each ends at the earlier of its own deadline and its ancestors'. Linked
 * timeouts that are armed in the kernel stay as they are; if the deadline is now earlier, the
 * operations are cancelled in a batch when it passes.
 *
 * -EINVAL: ctx is NULL or never ends by itself.
 * -EPERM: the new deadline is later, and ctx is not movable.
 * -EALREADY: ctx is done.
 * -ENOMEM, -EAGAIN: as ctx_with_deadline; the deadline is unchanged.
 */
int ctx_set_deadline(struct ctx_context *ctx, uint64_t deadline_ns);

/*
 * Sets the cause that ctx gets when its own deadline fires. ctx_err is -ETIME all the same. error
 * is a negative errno, 0 means -ETIME; format may be NULL. The deadline may be over before this
 * call; ctx_with_deadline_cause sets both at once.
 *
 * -EINVAL: ctx is NULL or never ends by itself; error is positive. -EALREADY: ctx is done. -ENOMEM.
 */
int ctx_set_deadline_cause(struct ctx_context *ctx, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------------- */
/* Asking a context                                                          */

/*
 * Returns 0 while ctx is live. Once ctx is done, returns -ECANCELED for ever, or -ETIME if a deadline
 * ended it. The call is one atomic load, without a lock, a clock or a system call: it is made for
 * the inside of loops.
 *
 * -EINVAL: ctx is NULL.
 */
int ctx_err(const struct ctx_context *ctx);

/* What ended a context; and what the member code of struct ctx_cause then holds. */
enum ctx_cause_kind {
	CTX_CAUSE_NONE,	    /* the context is not done */
	CTX_CAUSE_CALL,	    /* ctx_cancel, ctx_cancel_cause, a task group's failure or first success */
	CTX_CAUSE_DEADLINE, /* a deadline */
	CTX_CAUSE_SIGNAL,   /* ctx_cancel_from_signal or ctx_with_signals; code: the signal number */
	CTX_CAUSE_HANGUP,   /* the peer of a socket went away; code: the poll(2) events */
	CTX_CAUSE_PROCESS,  /* a process ended; code: its wait status, -1 if that is not known here */
	CTX_CAUSE_PRESSURE, /* memory, CPU or I/O pressure; code: the enum ctx_resource */
	CTX_CAUSE_OWNER,    /* the process that owned a shared context died or released it */
	CTX_CAUSE_SERVICE,  /* somebody ended a shared context through the service */
	CTX_CAUSE_FD,	    /* a descriptor became ready; code: the poll(2) events */
	CTX_CAUSE_HOST,	    /* the host that owned a context of the fleet is gone, or has forgotten it */
	CTX_CAUSE_UNREACHABLE, /* the host that owns it could not be asked for the grace of the fleet */
};

/*
 * Why a context ended. If the end came from another process, pid, tid, uid, ctx_id and time_ns are
 * what that process said (pid as it sees itself), and site is NULL.
 */
struct ctx_cause {
	int error; /* a negative errno; 0 while the context is live */
	enum ctx_cause_kind kind;
	bool inherited;	  /* the end began in an ancestor, or in another process */
	int code;	  /* see enum ctx_cause_kind */
	uint64_t ctx_id;  /* the context in which it began; 0: not in the table, see ctx_ended_by */
	uint64_t time_ns; /* when, on CLOCK_MONOTONIC, exact to some milliseconds */
	pid_t pid, tid;	  /* the process and the thread that ended it */
	uid_t uid;
	const void *site; /* the return address of the call that ended it; NULL for a deadline */
	char text[CTX_CAUSE_TEXT_MAX];
	/* where in a fleet the end began: of a cancel, the host where it was asked; "": on this host */
	char host[CTX_HOST_MAX];
};

/*
 * Fills *ret_cause. The kind is CTX_CAUSE_NONE while ctx is live. The result is always either that
 * or one whole cause. -EINVAL: an argument is NULL.
 */
int ctx_get_cause(const struct ctx_context *ctx, struct ctx_cause *ret_cause);

/*
 * Returns the name of a kind of cause in one word, as a static string: "none", "call", "deadline", "signal",
 * "hangup", "process", "pressure", "owner", "service", "fd", "host" or "unreachable". "unknown" for others;
 * never NULL.
 */
const char *ctx_cause_kind_name(enum ctx_cause_kind kind);

/*
 * Writes a cause as one line for people: whether it is inherited and from which context, what ended the
 * context, on which host, the error if it is another than -ECANCELED and -ETIME, and the text. "?" stands
 * for control characters in the text. Returns as snprintf(3).
 * -EINVAL: cause is NULL; buffer is NULL and size is not 0.
 */
int ctx_format_cause(const struct ctx_cause *cause, char *buffer, size_t size);

/*
 * Says whether the end of ctx began in scope: scope itself was cancelled, its own deadline fired,
 * or its own event came; and ctx is scope, or ended because of it. This tells a caller whether what
 * it began has ended by itself or because of something further up. It works for contexts that are
 * not in the table as well. False while ctx is live, and for NULL.
 */
bool ctx_ended_by(const struct ctx_context *ctx, const struct ctx_context *scope);

/*
 * ctx_deadline_ns returns the deadline in force, which is the earliest on the way to the root.
 * ctx_time_left_ns reads the clock and returns the time that is left until then, 0 when it has
 * passed. Both return CTX_FOREVER when there is no deadline, and for NULL.
 */
uint64_t ctx_deadline_ns(const struct ctx_context *ctx);
uint64_t ctx_time_left_ns(const struct ctx_context *ctx);

/*
 * Finds the nearest value of key, from ctx upwards, also after ctx has ended. The value, which may
 * be NULL, is valid as long as the caller holds ctx.
 *
 * 0: *ret_value is the value. -ENOENT: there is none. -EINVAL: an argument is NULL.
 */
int ctx_value(const struct ctx_context *ctx, const struct ctx_key *key, void **ret_value);

/*
 * Returns the id under which the context table and ctxtool(1) know ctx: a slot in the low half, its
 * generation in the high half. 0: ctx is not in the table. That is so for the roots, for values
 * without a label, when the table had no room, with CTXRING_TABLE=0, for contexts inherited through
 * fork(2), and for NULL.
 */
uint64_t ctx_id(const struct ctx_context *ctx);

/*
 * Writes ancestry, labels, values and time left as one line of text. Returns as snprintf(3).
 * -EINVAL: ctx is NULL; buffer is NULL and size is not 0.
 */
int ctx_format(const struct ctx_context *ctx, char *buffer, size_t size);

/* ------------------------------------------------------------------------- */
/* Waiting for the end                                                       */

/*
 * Returns a file descriptor for poll(2), select(2), epoll(7) and every event loop. When ctx ends it becomes
 * readable, a moment later also hung up, and stays so for ever. It is the read end of a pipe whose
 * only write end the library holds and closes. For a context that never ends it is a descriptor
 * that never becomes ready.
 *
 * The first call makes it, each further call returns the same one. It belongs to the context: do
 * not close it, and do not use it once your reference is given back.
 *
 * In a forked child the number from before the fork shows the end of the parent's context. A call
 * in the child makes another descriptor, for the end of the child's own copy.
 *
 * -EINVAL: ctx is NULL. -EMFILE, -ENFILE. -ENOMEM.
 * -EAGAIN: in a forked child, for an inherited deadline: the timer thread could not be started.
 */
int ctx_done_fd(const struct ctx_context *ctx);

/*
 * Blocks until ctx is done, at most timeout_ns. CTX_FOREVER: no bound. 0: does not block. Signals
 * do not interrupt it. ctx stays in memory until the call has returned, even if another thread gives
 * the last reference to it back; the same holds for every other call that waits.
 *
 * 0: ctx is done. -ETIMEDOUT: it is not, after timeout_ns.
 * -EDEADLK: ctx never ends and there is no bound. -EINVAL: ctx is NULL. -EAGAIN: as ctx_done_fd.
 */
int ctx_wait(const struct ctx_context *ctx, uint64_t timeout_ns);

/*
 * Blocks until fd is ready or ctx is done, at most timeout_ns. If both have happened, the end of
 * ctx is reported.
 *
 * > 0: the poll(2) events that are ready. -ECANCELED, -ETIME: ctx is done.
 * -ETIMEDOUT: neither happened. -EINTR. -EINVAL: ctx is NULL, or fd is negative.
 * -EBADF: the program closed the descriptor of ctx_done_fd. And what ctx_done_fd returns.
 */
int ctx_wait_fd(const struct ctx_context *ctx, int fd, short events, uint64_t timeout_ns);

/*
 * The memory of a callback, a function that runs once when a context is done. The structure is the
 * caller's. Zero it before the first use. From the registration on do not touch or move it, until
 * the function has begun to run or a stop has returned true. Inside the function it may be freed or
 * registered again.
 *
 * Either the function runs, once, or a stop returns true, once; never both.
 */
struct ctx_callback {
	uint64_t opaque[10];
};
typedef void (*ctx_callback_fn)(struct ctx_callback *callback, const struct ctx_context *ctx, void *data);

/*
 * Registers function, which runs when ctx ends, after the whole subtree is done. The registration
 * holds a reference to ctx. On a context that never ends the function never runs; stop it to
 * release the registration.
 *
 * Where a function from ctx_callback_add runs:
 *   - on the thread that called ctx_cancel or its like, in that call;
 *   - for a deadline, a signal, or a source without a ring, on the library's worker thread, so that
 *     a slow function delays no deadline;
 *   - for a source with a ring, in a dispatch of that ring;
 *   - for a joined context, on the thread that serves the client of the service;
 *   - if ctx is done already, in this call, as soon as the whole subtree is done.
 * The function must return: it must not end its thread, nor leave by longjmp(3).
 *
 * A function from ctx_callback_add_on_ring runs in a dispatch of ring, whoever ended ctx. The owner
 * of the ring has to be in a dispatch or come to one. If the ring is closed first, the function
 * never runs, and stays registered until it is stopped. The same holds, in a forked child, for
 * every callback from before the fork.
 *
 * *ret_id (ret_id may be NULL) is the number of this registration, which a stop is given. It is
 * never 0 and never used again. It is written before the function can run, so it may lie in memory
 * that the function frees; whoever is to stop then needs a copy elsewhere.
 *
 * -EINVAL: an argument other than data and ret_id is NULL; or the callback is registered already.
 * -ENOMEM.
 * -EAGAIN: the worker thread or the timer thread could not be started.
 * -EPERM: ring was inherited through fork(2).
 */
int ctx_callback_add(const struct ctx_context *ctx, struct ctx_callback *callback, ctx_callback_fn function,
		     void *data, uint64_t *ret_id);
int ctx_callback_add_on_ring(const struct ctx_context *ctx, struct ctx_ring *ring,
			     struct ctx_callback *callback, ctx_callback_fn function, void *data,
			     uint64_t *ret_id);

/*
 * Take the registration with this number back. True: the function will never run, because of this
 * call. False: it has run, is running, or was stopped before; also for id 0.
 *
 * When the function is running on another thread, ctx_callback_stop returns at once, and
 * ctx_callback_stop_wait waits until it has returned. Inside that function neither waits. Both may
 * be called by any thread, inside callbacks, and after the structure, the context and the ring are
 * gone.
 */
bool ctx_callback_stop(uint64_t id);
bool ctx_callback_stop_wait(uint64_t id);

/* ------------------------------------------------------------------------- */
/* Operations                                                                */

/*
 * How an operation ended. An operation that has a result of its own is finished. That includes one
 * that was cancelled and whose result is the part that was done by then, because the kernel does
 * not tell the two apart. The other values come with -ECANCELED only.
 */
enum ctx_op_end {
	CTX_OP_FINISHED,  /* by itself, with a result or an error of its own */
	CTX_OP_CANCELLED, /* its context was cancelled, ctx_op_cancel was called, or its chain broke */
	CTX_OP_DEADLINE,  /* by the deadline of its context */
	CTX_OP_TIMEOUT,	  /* by its own timeout, see ctx_op_set_timeout */
};

/* One completion of an operation. */
struct ctx_completion {
	int res;	     /* the kernel's result; -ECANCELED when the operation was ended early */
	unsigned flags;	     /* IORING_CQE_F_*, buffer id in the upper half; of a send_zc: see ctx_op(3) */
	enum ctx_op_end end; /* set in the final completion only */
	/* True: this is not the final one. It is data of a multishot operation; or the result of a send_zc,
	 * whose final completion repeats res when the kernel has released the buffer. */
	bool more;
};

typedef void (*ctx_op_fn)(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion);

/*
 * One operation, in memory of the caller's, usually inside a larger structure. Set it up with
 * ctx_op_init. data is the caller's to read and write; leave the other members alone.
 *
 * From ctx_ring_get_sqe until the final completion has been delivered, the operation must not move
 * or be freed, nor may the buffers that its SQE names. Inside the delivery of the final completion
 * it may already be used again.
 */
struct ctx_op {
	ctx_op_fn callback;
	uint64_t data;
	uint64_t opaque[22];
};

/*
 * Prepares op. Once is enough, however often op is then submitted. callback runs in the dispatch of
 * the ring, for each completion; the final one comes last. With a NULL callback the caller asks
 * ctx_op_result instead. If op is NULL nothing happens.
 */
void ctx_op_init(struct ctx_op *op, ctx_op_fn callback, uint64_t data);

/*
 * Fills *ret_completion with the final completion of op, once that has been delivered.
 *
 * 0: it is filled. -EINPROGRESS: op is not complete, or was never submitted.
 * -EINVAL: an argument is NULL.
 */
int ctx_op_result(const struct ctx_op *op, struct ctx_completion *ret_completion);

/*
 * Gives one run of the operation a timeout of its own, counted from submit. CTX_FOREVER removes it;
 * 0 ends the operation at once. Call it between ctx_ring_get_sqe and ctx_ring_submit.
 *
 * The operation ends at this timeout or at the deadline of its context, whichever is earlier. One
 * timeout bounds the whole life of a multishot operation. The timeout is a linked timeout in the
 * kernel, so it is for operations that the kernel lets a linked timeout follow. For an operation that
 * is parked, or may be, a timer of the ring takes its place.
 *
 * -EINVAL: op is NULL, or is not between those two calls.
 */
int ctx_op_set_timeout(struct ctx_op *op, uint64_t timeout_ns);

/*
 * For an operation that returns a descriptor (accept, openat, socket). If that result comes
 * although the context is done or the operation was cancelled, the library closes the descriptor
 * and delivers -ECANCELED. Without this flag the descriptor is delivered, and the caller has to
 * close it.
 */
#define CTX_OP_CLOSE_FD (1u << 0)

/*
 * For an operation on a socket, under a context with a grace, see ctx_set_grace. If the grace is over
 * and the operation has not ended, the socket is shut down, by shutdown(2) with SHUT_RDWR. The
 * descriptor has to stay open until the final completion, and must not be a registered file.
 */
#define CTX_OP_SHUTDOWN (1u << 1)

/*
 * CTX_OP_PARK parks the operation: it waits in the memory of the ring, not in the kernel, until its
 * descriptor is ready. The kernel then gets it as an attempt that does not wait. If there was
 * nothing after all, the operation goes back to waiting. The flag is for an operation that is known
 * to wait for long. With CTX_RING_PARK alone the ring finds out by itself which do.
 *
 *   - Purpose: to end a parked operation on the ring's thread takes no system call, and its buffer
 *     is free at once, unless an attempt is just on its way. ctxring(7) says when that pays.
 *   - Operations: recv, recvmsg, read, readv, accept, send, sendmsg, write, writev, and the fixed
 *     forms of read and write. Their results are the same as without the flag.
 *   - Order: operations on one descriptor and direction are served in the order in which they
 *     began.
 *   - No attempts: some operations cannot be attempted, or an attempt in vain would use up a
 *     provided buffer. The kernel gets these as operations that may wait: a read when poll(2) says
 *     that there is something, a write when it is the first of its queue. ctx_op(3) has a table.
 *   - Not parked: everything else goes to the kernel as without the flag. That is other opcodes,
 *     regular files, chains, IOSQE_IO_DRAIN, IOSQE_ASYNC, registered files, multishot operations,
 *     recvmsg and sendmsg with MSG_WAITALL, and every operation on an adopted ring.
 *   - Memory: what the SQE points to (an iovec, a msghdr, an address) has to stay until the final
 *     completion. A registered buffer has to stay registered that long, because the kernel does not
 *     hold it meanwhile.
 *   - Closing: use ctx_ring_close_fd, not close(2), for every descriptor on which an operation was
 *     ever parked.
 *
 * CTX_OP_PENDING: the operation is not parked, although CTX_RING_PARK makes that the default of its
 * ring.
 */
#define CTX_OP_PARK (1u << 2)
#define CTX_OP_PENDING (1u << 3)

/*
 * Sets the CTX_OP_* flags of one run of the operation, in place of those that were set before. Call
 * it between ctx_ring_get_sqe and ctx_ring_submit.
 *
 * -EINVAL: op is NULL, or is not between those two calls; a flag is unknown; CTX_OP_PARK and
 * CTX_OP_PENDING are both set.
 */
int ctx_op_set_flags(struct ctx_op *op, unsigned flags);

/*
 * Cancels one operation. If it has not been submitted, it never reaches the kernel. Otherwise one
 * cancel SQE goes with the next submit or dispatch of the ring. In both cases its final completion
 * still comes.
 *
 * A chain is one unit: cancelling any member cancels the whole chain, by its head. An operation
 * that follows on a hard link is cancelled when it starts. Only the owner of the ring may call
 * this.
 *
 * 0: the cancel is on its way. -EALREADY: the operation is complete, being cancelled already, or
 * not of this ring.
 * -EINVAL: an argument is NULL. -EPERM: the caller is not the owner.
 */
int ctx_op_cancel(struct ctx_ring *ring, struct ctx_op *op);

/* ------------------------------------------------------------------------- */
/* Rings                                                                     */

/*
 * What one cancellation did on one ring. The counts of outcomes, cancelled and finished, grow until
 * held is 0.
 */
struct ctx_batch {
	uint64_t ctx_id;     /* the context of this batch that was ended first */
	unsigned operations; /* operations that the batch ended, those of unsent and timed included */
	unsigned unsent;     /* of these, how many were not in the kernel: staged, or parked */
	unsigned timed;	     /* of these, how many were left to their own armed linked timeouts */
	unsigned sqes;	     /* cancel SQEs, repeated ones included */
	unsigned enters;     /* io_uring_enter(2) calls that carried them */
	uint64_t submit_ns;  /* from the beginning of the batch to the return of the last enter */
	uint64_t reap_ns;    /* from the beginning of the batch to the last completion seen */
	unsigned cancelled;  /* operations that completed because of the batch */
	unsigned finished;   /* operations that had finished before the cancel came */
	unsigned held;	     /* operations that the kernel still holds */
};

/*
 * How deadlines reach operations. With neither flag the ring chooses, see ctxring(7); both are refused. With
 * linked timeouts, too, an operation carries none if the ring has 32 for the same deadline in the kernel when
 * it begins. A batch ends such an operation.
 */
#define CTX_RING_LINKED_TIMEOUTS (1u << 0) /* operations carry linked timeouts */
#define CTX_RING_ONE_TIMER (1u << 1)	   /* no operation does; at the deadline a batch cancels them */
/*
 * Operations are parked, see CTX_OP_PARK, unless they have CTX_OP_PENDING. An operation waits in the
 * kernel first, and is parked when it has waited for 0.2 to 0.4 seconds. After such a wait the next
 * operation on the descriptor is parked at once, until a wait is shorter.
 */
#define CTX_RING_PARK (1u << 2)

/*
 * Every member may be 0 or NULL. The functions are called in a dispatch of the ring, in ctx_ring_filter
 * or in ctx_ring_close.
 */
struct ctx_ring_options {
	unsigned flags;	      /* CTX_RING_* */
	unsigned setup_flags; /* IORING_SETUP_*; not used by ctx_ring_adopt */
	unsigned cq_entries;  /* size of the completion queue; 0: twice the submission queue */
	unsigned tag;	      /* the top 16 bits of the library's user_data, 1 to 0xffff; 0: 0xc781 */
	/* Gets completions that are not the library's, such as a message of IORING_OP_MSG_RING. NULL: they
	 * are thrown away. A ring with SINGLE_ISSUER receives such messages once its owner has used it.
	 * Adopted rings do not use this function. */
	void (*foreign)(struct ctx_ring *ring, const struct io_uring_cqe *cqe, void *data);
	/* Gets the record of each batch after its last completion. */
	void (*batch)(struct ctx_ring *ring, const struct ctx_batch *batch, void *data);
	/* Gets what the kernel still holds when the grace of ctx_set_grace has passed twice. */
	void (*stuck)(struct ctx_ring *ring, const struct ctx_stuck *stuck, unsigned count, void *data);
	void *data; /* passed to these functions */
};

/*
 * Opens an io_uring with at least entries submission entries (1 to 32768, rounded up to a power of
 * two). options may be NULL for the defaults.
 *
 * The first thread that uses the ring becomes its owner, so a ring can be opened in one thread and
 * handed to another. All calls on a ring are for its owner alone, except where they say otherwise.
 *
 * These setup flags work: CQSIZE (by cq_entries), CLAMP, SUBMIT_ALL, COOP_TASKRUN, TASKRUN_FLAG,
 * SINGLE_ISSUER and DEFER_TASKRUN. The library sets SUBMIT_ALL where the kernel has it, and on rings
 * without DEFER_TASKRUN and without CTX_RING_LINKED_TIMEOUTS COOP_TASKRUN, too. These are refused with -ENOTSUP: SQPOLL, IOPOLL, SQ_AFF,
 * ATTACH_WQ, R_DISABLED, SQE128, CQE32, NO_MMAP, REGISTERED_FD_ONLY, NO_SQARRAY (which liburing
 * sets by itself where it can), and newer ones. ctxring(7) has the reason for each.
 *
 * ctx_ring_explain puts the errors in words, with the remedy:
 *   -EINVAL: ret_ring is NULL; entries or options are out of range; or the kernel does not know a
 *     flag.
 *   -ENOTSUP: a setup flag is one of those that are refused.
 *   -ENOMEM: no memory, or RLIMIT_MEMLOCK is reached. -EMFILE, -ENFILE.
 *   -EPERM: io_uring is forbidden here. -EACCES: a security module forbids it. -ENOSYS: the kernel
 *     has none.
 */
int ctx_ring_open(unsigned entries, const struct ctx_ring_options *options, struct ctx_ring **ret_ring);

/*
 * Puts a ctx ring round an io_uring that the program already has. The program goes on submitting to
 * it and reading its completions, and passes each completion to ctx_ring_filter. uring must outlive
 * the ctx ring, which never closes it. The calling thread becomes the owner.
 *
 * The call submits requests of the library's own, unless the program has entries prepared. In that
 * case the first ctx_ring_submit, ctx_ring_dispatch or ctx_ring_filter submits these requests, and
 * until then no other thread can wake the program's wait.
 *
 * What the program has to know and keep to:
 *   - The library's submissions also submit what the program has prepared.
 *   - An eventfd that the program has registered is signalled for the library's completions too.
 *   - The program must not use user_data whose top 16 bits are the tag. A stale or foreign value
 *     with that tag is still told apart, by slot and generation.
 *   - The program must not cancel with IORING_ASYNC_CANCEL_ANY.
 *   - The program cannot use IOSQE_IO_DRAIN for as long as the io_uring exists. Such an entry would
 *     wait for the library's requests, which never end, so the library makes it complete with
 *     -EOPNOTSUPP at once. Before Linux 5.17, or where restrictions forbid IOSQE_CQE_SKIP_SUCCESS,
 *     the kernel cannot refuse the entry, which then waits for ever.
 *
 * Errors:
 *   -EINVAL: uring or ret_ring is NULL, or options are out of range.
 *   -ENOTSUP: uring was set up with SQE128, SQE_MIXED, CQE32, CQE_MIXED, SQPOLL, IOPOLL, SQ_REWIND
 *     or a flag that this version does not know; or it is still disabled; or options have
 *     CTX_RING_PARK.
 *   -EACCES: the restrictions of uring forbid POLL_ADD, ASYNC_CANCEL or TIMEOUT.
 *   -EBUSY: uring was set up with R_DISABLED, so that it may have restrictions, and the program has
 *     entries prepared: submit these first.
 *   -EPERM: uring has SINGLE_ISSUER and another thread uses it. With entries prepared only the
 *     first ctx_ring_submit finds that, and returns -EEXIST.
 *   -ENOMEM. -EMFILE, -ENFILE. What io_uring_enter(2) returns for a descriptor that is no io_uring.
 */
int ctx_ring_adopt(struct io_uring *uring, const struct ctx_ring_options *options,
		   struct ctx_ring **ret_ring);

/*
 * Writes the likely reason for an error of ctx_ring_open or ctx_ring_adopt, and the remedy. It
 * looks at the settings of this system. Returns as snprintf(3). -EINVAL: buffer is NULL and size is
 * not 0.
 */
int ctx_ring_explain(int error, char *buffer, size_t size);

/*
 * Returns the name of an IORING_OP_*, such as "RECV", as a static string. NULL: this version of the
 * library does not know it.
 */
const char *ctx_opcode_name(unsigned opcode);

/* An operation that the kernel still holds. */
struct ctx_stuck {
	struct ctx_op *op;
	uint64_t ctx_id; /* of its context, see ctx_id() */
	unsigned opcode; /* IORING_OP_* */
	int fd;
	uint64_t age_ns; /* since it was submitted */
};

/*
 * Writes such an operation in words: its opcode, its descriptor with what that refers to (as in
 * /proc/self/fd), and its age. Returns as snprintf(3). -EINVAL: stuck is NULL; buffer is NULL and
 * size is not 0.
 */
int ctx_format_stuck(const struct ctx_stuck *stuck, char *buffer, size_t size);

/*
 * Sets how long after the end of ctx its operations on rings may take to end, before more is done
 * than cancelling:
 *   - After grace_ns, the sockets of operations with CTX_OP_SHUTDOWN are shut down.
 *   - After grace_ns once more, what the kernel still holds is passed, once, to the stuck function
 *     of the ring's options, and is marked in the table for ctxtool(1).
 * The owner of the ring does this in its dispatch or its wait.
 *
 * The grace also holds for everything below ctx, up to a context that has one of its own. 0, the
 * default: nothing more is done. Commands have a grace of their own, see ctx_spawn_options.
 *
 * -EINVAL: ctx is NULL or never ends by itself. -EALREADY: it is done. -ENOMEM.
 */
int ctx_set_grace(struct ctx_context *ctx, uint64_t grace_ns);

/*
 * Cancels every operation on the ring, delivers all final completions, and frees the ring.
 * Callbacks run in this call. Contexts are not touched. In an adopted io_uring nothing of the
 * library's stays pending, and the program's completions stay. NULL ring: 0.
 *
 * If operations are still held after timeout_ns (CTX_FOREVER: no bound), the call returns
 * -ETIMEDOUT. The ring is then still open and can be closed again later. The first stuck_max of
 * these operations are in stuck, their number in *ret_stuck; ret_stuck may be NULL, and stuck too
 * if stuck_max is 0. A number of 0 means that an adopted io_uring still holds requests of the
 * library's own.
 *
 * If the owner's thread has ended, any thread may close the ring; ended means that pthread_join(3)
 * would return. The results that it had not dispatched on a DEFER_TASKRUN ring are then lost in the
 * kernel: such operations end as cancelled though a write may have happened, and a descriptor of
 * CTX_OP_CLOSE_FD stays open.
 *
 * In a forked child the call returns 0: it releases the child's copy, and the parent's ring is
 * untouched.
 *
 * -ETIMEDOUT: see above.
 * -EBUSY: it is called inside a callback of the ring. Or, for an adopted ring: the completion queue
 * is full of the program's completions, or the program has left a chain open.
 * -EPERM: the caller is not the owner. -EINVAL: stuck is NULL and stuck_max is not 0.
 */
int ctx_ring_close(struct ctx_ring *ring, uint64_t timeout_ns, struct ctx_stuck *stuck, unsigned stuck_max,
		   unsigned *ret_stuck);

/*
 * Begins an operation under ctx: stages it for ctx_ring_submit and returns its SQE, zeroed, for any
 * io_uring_prep_* function. The operation holds the context until its final completion.
 *
 *   - user_data of the SQE is the library's; use op->data.
 *   - IOSQE_IO_LINK and IOSQE_IO_HARDLINK chain the operation to the next one that is staged.
 *   - IOSQE_IO_DRAIN holds it and all after it back until everything before is complete.
 *   - IOSQE_CQE_SKIP_SUCCESS is ignored. The other flags mean what they always mean.
 *
 * The call does not fail because memory or room is short, or because ctx is done: the operation's own
 * completion says so. It returns NULL on misuse: an argument is NULL; op is not initialised or still
 * in flight; the caller is not the owner. It also returns NULL when a SINGLE_ISSUER ring, which its
 * first use enables, cannot be enabled.
 */
struct io_uring_sqe *ctx_ring_get_sqe(struct ctx_ring *ring, const struct ctx_context *ctx,
				      struct ctx_op *op);

/*
 * Gives what is staged to the kernel, in order, with one io_uring_enter(2) for each queue full. It
 * does not wait and runs no callback. Returns how many operations went.
 *
 * An operation that is refused completes without the kernel, at the next dispatch:
 *   -ECANCELED: its context is done. -ENOMEM. -E2BIG: its chain has more operations than the queue
 *     has entries.
 *   -EACCES: the restrictions of an adopted io_uring forbid what the library needs.
 *
 * If the call fails, what did not go stays staged:
 *   -EPERM: the caller is not the owner, or is a forked child.
 *   -EBUSY: the program has left a chain open in an adopted ring: finish it, then submit again. Or
 *     an entry with IOSQE_IO_DRAIN from before the adoption still waits in that ring. Or the kernel
 *     wants completions to be read first.
 *   -EAGAIN: the kernel has no memory now.
 */
int ctx_ring_submit(struct ctx_ring *ring);

/*
 * Submits what is staged, waits at most timeout_ns until something completes (0: does not wait),
 * and delivers all completions that there are. If these are more than the completion queue has
 * entries, it may leave some to the next call. On an adopted ring it does not wait, and delivers
 * only what is not in the kernel's queue.
 *
 * Returns how many completions were delivered. 0 also means that the thread was only woken.
 * -EINTR. -EBUSY: as ctx_ring_submit; or it is called inside a callback of this ring.
 * -EPERM, -EAGAIN: as ctx_ring_submit.
 */
int ctx_ring_dispatch(struct ctx_ring *ring, uint64_t timeout_ns);

/*
 * Dispatches until the context until is done; with NULL, until nothing is staged or in flight.
 * Signals do not end it. Returns 0, or an error of ctx_ring_dispatch. -ENOMEM. -ENOTSUP: the ring
 * is adopted.
 */
int ctx_ring_run(struct ctx_ring *ring, const struct ctx_context *until);

/* What a completion in an adopted ring is. */
enum ctx_filter {
	CTX_FILTER_FOREIGN,  /* the program's own */
	CTX_FILTER_INTERNAL, /* the library's; the program has nothing to do */
	CTX_FILTER_OP,	     /* of an operation: *ret_op and *ret_completion are set */
};

/*
 * Tells whose a completion of an adopted ring is, and handles those of the library. Call it once
 * for each completion, in order, before io_uring_cqe_seen. cqe may be a copy. ret_op and
 * ret_completion may be NULL. Returns an enum ctx_filter.
 *
 * The callback of an operation runs in this call. So may other callbacks, when the completion is a
 * wake-up of the library's. The cancels of contexts that these callbacks end go to the kernel
 * before the call returns.
 *
 * -EINVAL: ring or cqe is NULL. -EPERM: the caller is not the owner.
 */
int ctx_ring_filter(struct ctx_ring *ring, const struct io_uring_cqe *cqe, struct ctx_op **ret_op,
		    struct ctx_completion *ret_completion);

/*
 * Waits until the kernel holds nothing that was submitted on this ring under ctx or below it.
 * Afterwards every buffer of these operations may be written and freed. A struct ctx_op itself may
 * be freed only when its completion has been delivered.
 *
 * It does not cancel, and runs no callback: completions are kept, in order, for the next dispatch.
 * While it waits it cancels the operations of contexts, other ones too, that other threads end.
 *
 * Below ctx is what was made from ctx, and what was made from that. A context of ctx_merge is below
 * each of its parents. A context that ctx_without_cancel keeps from the end of ctx is below ctx all
 * the same: its operations are waited for. Below a root is what was made from that root.
 *
 * 0: nothing is held.
 * -ETIMEDOUT: something still is, after timeout_ns. stuck and *ret_stuck are as of ctx_ring_close.
 * -EINTR. -EPERM: the caller is not the owner.
 * -EINVAL: ring or ctx is NULL; stuck is NULL and stuck_max is not 0.
 * -EBUSY, of an adopted ring: its completion queue is full, so that no further completion can be
 * seen: read some first. Or the program has left a chain open, which the library's requests would
 * break: finish it first.
 */
int ctx_ring_drain(struct ctx_ring *ring, const struct ctx_context *ctx, uint64_t timeout_ns,
		   struct ctx_stuck *stuck, unsigned stuck_max, unsigned *ret_stuck);

/*
 * Closes fd and ends the operations of this ring on it. Use it in place of close(2) for every
 * descriptor on which an operation was ever parked (CTX_OP_PARK, CTX_RING_PARK).
 *
 * What goes wrong when such a descriptor is closed by close(2):
 *   - Operations that are parked on it are not woken any more. They end only with their context, by
 *     their timeout, or by ctx_op_cancel.
 *   - When another file gets the same number, operations on that file may never be woken, and so
 *     may never end. This is so even if no operation was parked when the number was closed.
 *   - The ring notices the new file in two cases only. In the first, the number is the result of an
 *     accept, openat or socket operation of this ring, and that operation has CTX_OP_PARK or the ring
 *     has CTX_RING_PARK. In the second, the environment has CTXRING_FEATURES=park-check, with which
 *     each operation asks the kernel. What is still parked then ends with -EBADF.
 *
 * What this call does:
 *   - It ends the operations on fd, whether staged, parked or in the kernel, with -ECANCELED. Their
 *     completions come with the next dispatch.
 *   - It stops watching fd for parked operations, and calls close(2).
 *   - The peer of a socket sees the close at once. After close(2) alone a connection stays open
 *     until the last operation in the kernel has ended.
 *   - An operation that a worker of the kernel has begun may not be interruptible. It keeps the
 *     file open until it is over.
 *   - Operations on registered files, and splices that read from fd, are left alone.
 *
 * It costs a look at the operations on fd, and at all that are staged or held back by
 * IOSQE_IO_DRAIN. On a ring that has had hundreds of operations at a time, the first call also
 * looks at all that are in the kernel, to make an index by descriptor, which the ring keeps.
 *
 * -EINVAL: ring is NULL, or fd is negative. -EPERM: the caller is not the owner.
 * -EBADF: fd is not open; what was parked on it has ended all the same.
 * Other errors of close(2): fd is closed all the same.
 */
int ctx_ring_close_fd(struct ctx_ring *ring, int fd);

/*
 * Returns a descriptor for another event loop. It is readable when ctx_ring_dispatch has something to do,
 * also for completions that never were in the kernel's queue; sometimes it is readable and there is
 * nothing. It belongs to the ring, and each call returns the same one.
 *
 * -EINVAL: ring is NULL. -EMFILE, -ENFILE. -ENOMEM. -EPERM: the caller is not the owner.
 * -EBUSY: an adopted DEFER_TASKRUN ring for which the program has registered an eventfd.
 * -ENOTSUP: an adopted ring with REGISTERED_FD_ONLY, which has no descriptor.
 */
int ctx_ring_fd(struct ctx_ring *ring);

/*
 * Fills *ret_batch with the record of the last batch of the ring.
 *
 * -ENOENT: there was none. -EINVAL: an argument is NULL. -EPERM: the caller is not the owner.
 */
int ctx_ring_last_batch(struct ctx_ring *ring, struct ctx_batch *ret_batch);

/* Returns the io_uring inside, for io_uring_register_* calls. Do not close it. NULL for NULL. */
struct io_uring *ctx_ring_uring(struct ctx_ring *ring);

/* ------------------------------------------------------------------------- */
/* Blocking calls                                                            */

/*
 * System calls with a context in front of their arguments. Each returns what the system call of its
 * name returns, or a negative errno; errno itself is not set. What holds for all of them:
 *
 *   - The end of ctx ends the call: it returns ctx_err, -ECANCELED or -ETIME, when ctx is done
 *     before the call or becomes done in it, whichever thread or process ended it.
 *   - A result that came first is returned, so that no bytes and no descriptor are lost.
 *   - When the call has returned, the kernel does not touch its buffers any more. If the kernel
 *     does not release a request, because a disk hangs for instance, the call waits for it.
 *   - Signals do not end a call. To end it from a handler, end the context.
 *   - Descriptors with O_NONBLOCK: a call that would block waits all the same, except with
 *     MSG_DONTWAIT, SPLICE_F_NONBLOCK and WNOHANG.
 *   - Any thread may call them, in a forked child too. They are not for signal handlers. While a
 *     call waits, ctx stays in memory, even if another thread gives the last reference to it back.
 *
 * How they wait: each call is one request on an io_uring of the calling thread, unless an attempt
 * without waiting, which reads, receives and sends make first, has done it. That ring comes from a
 * pool at the thread's first call and goes back when the thread ends. A deadline bounds the wait and
 * costs no request of its own. While the call waits, the table shows it as an operation in
 * flight. ctxio_poll, ctxio_sleep_*, ctxio_futex_wait and ctxio_close need no ring.
 *
 * Without a ring, because memory that may be locked is short (RLIMIT_MEMLOCK) or io_uring is
 * forbidden, a call waits by poll(2) for the descriptor and for ctx_done_fd, and then tries without
 * blocking, as far as the kernel can: see ctxio(3). The calls that need a ring all the same say so.
 *
 * Besides the errors of their system calls they know these:
 *   -EINVAL: ctx is NULL. -ENOMEM. -EMFILE, -ENFILE: there is no descriptor for ctx_done_fd.
 *   -EAGAIN: as ctx_done_fd. -ENOTSUP: the call is not possible without io_uring, or with this
 *     kernel.
 */
struct iovec;
struct pollfd;

/*
 * read(2), write(2) and their kin. Those without an offset use and move the descriptor's own
 * position. Pipes and sockets ignore an offset; that is no error.
 *
 * A write that the kernel took a part of goes on with the rest, as write(2) does on a blocking
 * descriptor; if ctx ends then, the part is returned. No call moves more than 0x7ffff000 bytes. A
 * transfer of 0 bytes never waits, unless it is an empty message to a datagram socket.
 *
 * Without a ring, a file that is no pipe and does not support RWF_NOWAIT has O_NONBLOCK during each
 * attempt: see ctxio(3).
 */
ssize_t ctxio_read(const struct ctx_context *ctx, int fd, void *buffer, size_t size);
ssize_t ctxio_write(const struct ctx_context *ctx, int fd, const void *buffer, size_t size);
ssize_t ctxio_pread(const struct ctx_context *ctx, int fd, void *buffer, size_t size, off_t offset);
ssize_t ctxio_pwrite(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, off_t offset);
ssize_t ctxio_readv(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count);
ssize_t ctxio_writev(const struct ctx_context *ctx, int fd, const struct iovec *buffers, int count);

/*
 * ctxio_read and ctxio_write, repeated until all of size is moved. They return size;
 * ctxio_read_full returns less only at the end of the file. *ret_done (ret_done may be NULL) is
 * always written, on an error too: it says how many bytes were moved.
 */
ssize_t ctxio_read_full(const struct ctx_context *ctx, int fd, void *buffer, size_t size, size_t *ret_done);
ssize_t ctxio_write_full(const struct ctx_context *ctx, int fd, const void *buffer, size_t size,
			 size_t *ret_done);

/*
 * recv(2), send(2), recvmsg(2), sendmsg(2). With MSG_DONTWAIT they do not wait. A send on a stream
 * of which the kernel took a part goes on with the rest. A broken connection is -EPIPE, without
 * SIGPIPE. SO_RCVTIMEO and SO_SNDTIMEO have no effect.
 */
ssize_t ctxio_recv(const struct ctx_context *ctx, int fd, void *buffer, size_t size, int flags);
ssize_t ctxio_send(const struct ctx_context *ctx, int fd, const void *buffer, size_t size, int flags);
ssize_t ctxio_recvmsg(const struct ctx_context *ctx, int fd, struct msghdr *message, int flags);
ssize_t ctxio_sendmsg(const struct ctx_context *ctx, int fd, const struct msghdr *message, int flags);

/*
 * accept4(2). A descriptor that was accepted is returned, also when ctx ended meanwhile. Without a
 * ring, fd has O_NONBLOCK during each attempt.
 */
int ctxio_accept(const struct ctx_context *ctx, int fd, struct sockaddr *address, socklen_t *address_size,
		 int flags);

/*
 * connect(2). When ctx ends first, the attempt may go on in the kernel: close the socket. Without a
 * ring, fd has O_NONBLOCK while the attempt begins.
 */
int ctxio_connect(const struct ctx_context *ctx, int fd, const struct sockaddr *address,
		  socklen_t address_size);

/*
 * openat(2), fsync(2), splice(2). These need a ring.
 *
 * -ENOTSUP: there is no io_uring. -ENOMEM, -EMFILE, -ENFILE: there is no ring now.
 * -EINVAL: an offset of ctxio_splice is negative.
 */
int ctxio_openat(const struct ctx_context *ctx, int directory, const char *path, int flags, mode_t mode);
int ctxio_fsync(const struct ctx_context *ctx, int fd);
ssize_t ctxio_splice(const struct ctx_context *ctx, int fd_in, off_t *offset_in, int fd_out,
		     off_t *offset_out, size_t size, unsigned flags);

/*
 * poll(2). As there, timeout_ms is in milliseconds, and a negative one means no bound. The call uses
 * ctx_done_fd.
 */
int ctxio_poll(const struct ctx_context *ctx, struct pollfd *fds, unsigned long count, int timeout_ms);

/*
 * Sleep until a point on CLOCK_MONOTONIC, or for a time. ctx may be one that never ends.
 *
 * 0: that time is over. -EDEADLK: the time is CTX_FOREVER and ctx never ends.
 */
int ctxio_sleep_until(const struct ctx_context *ctx, uint64_t when_ns);
int ctxio_sleep_for(const struct ctx_context *ctx, uint64_t duration_ns);

/*
 * waitid(2). *ret_info (ret_info may be NULL) is written on success only.
 *
 * Without a ring, or before Linux 6.7, it can only wait for the end of one child, by a pidfd: P_PID or
 * P_PIDFD, without WSTOPPED and WCONTINUED. Anything else is -ENOTSUP there.
 */
int ctxio_waitid(const struct ctx_context *ctx, int id_type, id_t id, siginfo_t *ret_info, int options);

/*
 * Waits while *word, a futex of 32 bits, is expected: futex_wait(2). The futex belongs to this
 * process (FUTEX_PRIVATE_FLAG) unless shared is true. A wake that comes together with the end of
 * ctx counts as a wake.
 *
 * 0: woken, perhaps without a reason, as with any futex. -EAGAIN: *word was another value.
 * -EINVAL: word is NULL or not aligned. -ENOTSUP: before Linux 5.16, which brought futex_waitv(2).
 */
int ctxio_futex_wait(const struct ctx_context *ctx, const uint32_t *word, uint32_t expected, bool shared);

/*
 * close(2), in whatever state ctx is. A socket that would linger (SO_LINGER) is closed without
 * waiting; the kernel still sends what the socket has left. -EINVAL: ctx is NULL, and nothing is
 * closed.
 */
int ctxio_close(const struct ctx_context *ctx, int fd);

/* ------------------------------------------------------------------------- */
/* Task groups                                                               */

/*
 * Tasks that belong together: functions on threads, or operations on a ring. The first failure ends
 * the context of the group, with that failure as its cause, and so ends all other tasks.
 * ctx_taskgroup_wait returns when no task runs any more; no task outlives its group.
 *
 * In a forked child every call on an inherited group returns -EPERM, except ctx_taskgroup_context
 * and ctx_taskgroup_free. The latter frees the child's memory and touches nothing of the parent's.
 */
struct ctx_taskgroup;

/*
 * A task. It returns 0, or a negative errno, which is its failure. ctx is the context of the group,
 * and may be done when the task begins; the task ends early only if it looks at ctx or waits under it.
 *
 * The task must return, since its thread serves other tasks later. It must leave nothing behind
 * that belongs to the thread, such as a lock or a changed signal mask. Signals are blocked in it.
 */
typedef int (*ctx_task_fn)(const struct ctx_context *ctx, void *data);

/*
 * Makes a group of functions on threads. Its context is a child of parent. At most limit tasks run
 * at a time; 0 stands for the number of processors that the calling thread may run on. The threads
 * are the library's: all groups share them, and one that has been idle for some seconds ends.
 *
 * -EINVAL: parent or ret_group is NULL. -ENOMEM.
 */
int ctx_taskgroup_new(const struct ctx_context *parent, unsigned limit, const char *label,
		      struct ctx_taskgroup **ret_group);

/*
 * Makes a group of operations on ring, without threads: see ctx_taskgroup_get_sqe. The group
 * belongs to the owner of the ring. All calls on it are for the owner alone, except
 * ctx_taskgroup_context, ctx_taskgroup_failures and ctx_taskgroup_first. Free the group before you
 * close the ring.
 *
 * -EINVAL: parent, ring or ret_group is NULL. -EPERM: the caller is not the owner.
 * -ENOTSUP: the ring is adopted. -ENOMEM.
 */
int ctx_taskgroup_new_on_ring(const struct ctx_context *parent, struct ctx_ring *ring, const char *label,
			      struct ctx_taskgroup **ret_group);

/*
 * The first success ends the rest, and failures do not. This is for asking several replicas the same
 * thing (hedged requests):
 *   - A member that succeeds ends the context of the group, unless that has ended before. The cause
 *     is a CTX_CAUSE_CALL with the text "another task of the group was first".
 *   - A member that fails ends nothing. The group fails when all members have failed.
 *   - The first member starts at once, each further one delay_ns after the one before it, or at once
 *     when a member has failed. Members whose turn has not come when the context ends are never
 *     started.
 * No thread waits for the delay: a timer starts the members.
 */
#define CTX_TASKGROUP_FIRST (1u << 0)

/* Every member may be 0 or NULL. */
struct ctx_taskgroup_options {
	unsigned flags; /* CTX_TASKGROUP_* */
	/* How many tasks may run at a time. 0: as in ctx_taskgroup_new, and with CTX_TASKGROUP_FIRST any
	 * number. Without that flag it must be 0 for a group on a ring. */
	unsigned limit;
	/* With CTX_TASKGROUP_FIRST only. 0: members do not wait for each other, but for limit.
	 * CTX_FOREVER: a further one starts only when one has failed. */
	uint64_t delay_ns;
	struct ctx_ring *ring; /* NULL: a group on threads */
};

/*
 * Makes a group on threads, as ctx_taskgroup_new does, or on the ring in options, as
 * ctx_taskgroup_new_on_ring does.
 *
 * -EINVAL: also options is NULL or has an unknown flag, or a value that is not for its flags. Other
 * errors as in these calls.
 */
int ctx_taskgroup_new_with_options(const struct ctx_context *parent,
				   const struct ctx_taskgroup_options *options, const char *label,
				   struct ctx_taskgroup **ret_group);

/* Returns the context of the group, which is valid as long as the group is. NULL for NULL. */
const struct ctx_context *ctx_taskgroup_context(const struct ctx_taskgroup *group);

/*
 * Start function(context of the group, data) on a thread. name (or NULL) is reported with the
 * failure of the task; at most CTX_LABEL_MAX bytes of it are copied.
 *
 * While fewer than limit tasks run, the task waits for no other one. When limit tasks run already,
 * ctx_taskgroup_start puts it into a queue, from which a thread takes the next task when its own has
 * ended. The call waits only while the queue is full, with 128 tasks; callers that wait are served in
 * the order of their calls. ctx_taskgroup_try_start queues nothing and returns -EAGAIN. Any thread
 * may call them. A task of the group may too; but if all limit tasks wait in ctx_taskgroup_start at
 * the same time, none of them ends, and all wait until the context of the group ends.
 *
 * When the call returns 0, function is called once. That holds also if the context ends while the
 * task is in the queue: function then finds ctx done. So it may free what data points to.
 *
 * With CTX_TASKGROUP_FIRST neither call waits: a function whose turn has not come is called later or
 * never. data has to stay valid until ctx_taskgroup_wait has returned. If no thread can be had when
 * its turn comes, the task has failed with -EAGAIN.
 *
 * -ECANCELED, -ETIME: the context of the group is done, or became done while the call waited.
 * function is not called.
 * -EAGAIN: no thread is idle and none could be started (RLIMIT_NPROC, or a cgroup's pids.max).
 * -EINVAL: group or function is NULL, or the group is on a ring. -EPERM: a forked child. -ENOMEM.
 */
int ctx_taskgroup_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name);
int ctx_taskgroup_try_start(struct ctx_taskgroup *group, ctx_task_fn function, void *data, const char *name);

/*
 * A member of a group with CTX_TASKGROUP_FIRST on a ring, such as one request to one replica. member
 * is a task group of operations with a context of its own, below that of the group. The function
 * begins operations by ctx_taskgroup_get_sqe(member, op), and their callbacks may begin more.
 *
 * The member has ended when the function or the callback of its last operation has returned. It has
 * succeeded if none of its operations has failed, ctx_taskgroup_fail(member, ...) was not called, and
 * the function returned no negative errno. Its first failure ends its other operations.
 *
 * The library frees member when it has ended. ctx_taskgroup_wait refuses it, and ctx_taskgroup_free
 * does nothing.
 */
typedef int (*ctx_ring_task_fn)(struct ctx_taskgroup *member, void *data);

/*
 * Calls function(member, data), in here or later in a dispatch of the ring, when the member's turn
 * has come, see CTX_TASKGROUP_FIRST. name (or NULL) is the label of the member's context, and is
 * reported with its failure; at most CTX_LABEL_MAX bytes of it are copied. data has to stay valid
 * until the member has ended or the group is freed.
 *
 * -ECANCELED, -ETIME: the context of the group is done. -EINVAL: group or function is NULL, or the
 * group is not on a ring or has no CTX_TASKGROUP_FIRST. -EPERM: not the owner of the ring, or a
 * forked child. -ENOMEM. After an error function is not called.
 */
int ctx_taskgroup_start_on_ring(struct ctx_taskgroup *group, ctx_ring_task_fn function, void *data,
				const char *name);

/*
 * Begins an operation as a task of a group on a ring: ctx_ring_get_sqe under the context of the
 * group. NULL also for a group on threads, and for one with CTX_TASKGROUP_FIRST, whose members begin
 * the operations.
 *
 * A final completion with a negative result is a failure of the group. It is noted before the
 * operation's own callback runs:
 *   - An operation that a timeout or a deadline ended has failed with -ETIME.
 *   - An operation that ends CTX_OP_CANCELLED while the context of the group is live is no failure:
 *     either the program cancelled it, or its chain broke, and then the operation that broke the
 *     chain has failed.
 *   - An IORING_OP_TIMEOUT whose time is over ends with -ETIME, which is a failure here. Begin
 *     sleeps by ctx_ring_get_sqe.
 *   - Other results that mean no success, such as a short read, the callback reports by
 *     ctx_taskgroup_fail.
 *
 * Operations that the program begins under the context of the group in another way end with that
 * context, but the group neither waits for them nor counts them as failures.
 */
struct io_uring_sqe *ctx_taskgroup_get_sqe(struct ctx_taskgroup *group, struct ctx_op *op);

/*
 * Reports a failure, as a task that returns error does, with a text; format may be NULL. Any
 * thread; for a group on a ring only the owner.
 *
 * -EINVAL: group is NULL, or error is not negative. -EPERM: not the owner of the ring, or a forked
 * child.
 * -ENOMEM: the context has ended all the same, without the text.
 */
int ctx_taskgroup_fail(struct ctx_taskgroup *group, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* One failure. */
struct ctx_failure {
	int error;
	/* It came after another failure (without CTX_TASKGROUP_FIRST), or after the end of the context:
	 * most likely because of that. */
	bool consequence;
	/* The name of the task, opcode and descriptor of the operation, or the text that was reported. */
	char text[CTX_CAUSE_TEXT_MAX];
};

/*
 * Waits until no task of the group runs. For a group on a ring it dispatches the ring until none of
 * the group's operations is in flight. The group can then be used again, as long as its context is
 * live.
 *
 * Returns the first failure, or 0 if there was none. With CTX_TASKGROUP_FIRST it returns 0 also when
 * a member has succeeded. The end of parent is no failure by itself: ask ctx_err. But a task that
 * returns -ECANCELED because of that end has failed, as a consequence, and so has an operation.
 * -EDEADLK: it is called by a task of the group, or inside a callback of the ring.
 * -EPERM: not the owner of the ring, or a forked child. -EINVAL: group is NULL, or a member.
 */
int ctx_taskgroup_wait(struct ctx_taskgroup *group);

/*
 * Says which member of a group with CTX_TASKGROUP_FIRST was the first to succeed: *ret_data becomes
 * the data that it was started with. Any thread.
 *
 * 0. -ENOENT: none has succeeded so far. -EINVAL: an argument is NULL, or the group has no
 * CTX_TASKGROUP_FIRST. -EPERM: a forked child.
 */
int ctx_taskgroup_first(struct ctx_taskgroup *group, void **ret_data);

/*
 * Copies the failures so far to failures, in order, at most max of them. Returns how many there
 * were. Of more than 64 failures, and without memory of more than one, the later ones are only
 * counted.
 *
 * -EINVAL: group is NULL; failures is NULL and max is not 0. -EPERM: a forked child.
 */
int ctx_taskgroup_failures(struct ctx_taskgroup *group, struct ctx_failure *failures, unsigned max);

/*
 * Ends the context of the group, waits as ctx_taskgroup_wait does, and frees the group. NULL is
 * allowed.
 *
 * It does not wait when it is called by a task of the group, in a callback that a failing task
 * runs, or in a callback of the ring. The group is then freed when its last task or operation has
 * ended. A thread that waits in ctx_taskgroup_wait or ctx_taskgroup_start at that moment returns as
 * usual, and the memory is freed after that.
 */
void ctx_taskgroup_free(struct ctx_taskgroup *group);

/* ------------------------------------------------------------------------- */
/* Commands                                                                  */

/*
 * A program under a context. When the context ends, the program and everything that it has started
 * get a signal; what is still there after a grace gets SIGKILL.
 *
 *   - Between the caller and the program there is a small process, the keeper. It is a subreaper,
 *     so it also finds grandchildren in sessions of their own. It waits for the whole tree, and
 *     ends the tree when the calling process dies or executes another program.
 *   - Where a cgroup can be made (cgroup v2 with cgroup.kill, Linux 5.14) the program runs in one
 *     of its own. SIGKILL then reaches every process in it, however fast they fork.
 *   - The calling process is not made a subreaper. It gets no SIGCHLD, and its waitpid(2) and its
 *     other children are not affected. Processes are signalled by pidfd.
 *   - The end of the context reaches the keeper even when no thread of the caller runs, and so does
 *     a deadline that cannot be moved.
 */
struct ctx_process;

/*
 * The program becomes the leader of a process group of its own, which the terminal's signals do not
 * reach.
 */
#define CTX_SPAWN_NEW_GROUP (1u << 0)
/* No cgroup is made, even where that is possible. */
#define CTX_SPAWN_NO_CGROUP (1u << 1)
/* A file that execve(2) refuses with -ENOEXEC is given to /bin/sh as a script, as execvp(3) does. */
#define CTX_SPAWN_SHELL (1u << 2)
/*
 * Only the program itself is signalled and waited for. What it has started is left running. No cgroup
 * is made.
 */
#define CTX_SPAWN_ALONE (1u << 3)
/*
 * Only with CTX_SPAWN_ALONE: the first signal goes to the process group in which the program was
 * started, as long as the program is in that group. Without CTX_SPAWN_NEW_GROUP that is the
 * caller's own group, so the caller gets the signal too.
 */
#define CTX_SPAWN_GROUP (1u << 4)
/* No first signal is sent. The grace begins when the context ends, and SIGKILL comes after it. */
#define CTX_SPAWN_NO_SIGNAL (1u << 5)

/* Members that are 0 or NULL stand for the defaults below. Only argv has none. */
struct ctx_spawn_options {
	/* The program and its arguments; ends with NULL. argv[0] without a slash is searched for in $PATH. */
	char *const *argv;
	/* NULL: the caller's. CTXRING_CONTEXT is added unless it is there already, see ctx_inject. */
	char *const *environment;
	/* Where the program starts. NULL: where the caller is. A relative argv[0] with a slash counts from
	 * there. */
	const char *directory;
	/* Three descriptors: standard input, output and error. -1: /dev/null. NULL: the caller's own. */
	const int *fds;
	unsigned flags;	      /* CTX_SPAWN_* */
	int signal;	      /* the first signal at the end of the context; 0: SIGTERM */
	uint64_t grace_ns;    /* from that signal to SIGKILL; 0: five seconds; CTX_FOREVER: no SIGKILL */
	const sigset_t *mask; /* the signals that are blocked in the program; NULL: none */
};

/*
 * Starts a program. Returns when the program has been executed or could not be; options may be
 * freed then. The process holds a reference to ctx, and keeps three descriptors of the calling
 * process open, until ctx_process_free.
 *
 * Other descriptors of the caller are open in the program unless they are close-on-exec. Signals
 * that the caller ignores are ignored in the program, apart from SIGCHLD and the first signal,
 * which have their default action.
 *
 * ctx_spawn_explain puts the errors in words:
 *   -ENOENT, -EACCES, -EPERM, -ENOEXEC, -E2BIG, ...: from execve(2), or from the search in $PATH.
 *   -ENOTDIR, -ENOENT, -EACCES: from the directory. -EBADF: one of fds is not open.
 *   -EAGAIN: no process can be started (RLIMIT_NPROC, or a cgroup's pids.max).
 *   -EOPNOTSUPP: a system call without which the program could not be ended reliably is refused,
 *     most likely by a seccomp profile.
 *   -ECANCELED, -ETIME: ctx is done.
 *   -EINVAL: an argument is NULL, there is no argv[0], a flag is unknown, there is no such signal,
 *     or CTX_SPAWN_GROUP is set without CTX_SPAWN_ALONE.
 *   -EMFILE, -ENFILE. -ENOMEM.
 */
int ctx_spawn(const struct ctx_context *ctx, const struct ctx_spawn_options *options,
	      struct ctx_process **ret_process);

/*
 * Writes an error of ctx_spawn in words, with the remedy. options are those of that call; NULL: not
 * known. Call it on the same thread. Returns as snprintf(3). -EINVAL: buffer is NULL and size is
 * not 0.
 */
int ctx_spawn_explain(int error, const struct ctx_spawn_options *options, char *buffer, size_t size);

/*
 * Returns the process number of the program, to be shown to people. When the program has ended, another
 * process may have this number. 0 for NULL.
 */
pid_t ctx_process_pid(const struct ctx_process *process);

/*
 * Returns a descriptor, for poll(2) or a ring, that becomes readable when the whole tree is gone. Do not
 * read from it or close it: it belongs to process. -EINVAL: process is NULL.
 */
int ctx_process_fd(const struct ctx_process *process);

/*
 * Sends signo to the program itself, never to another process that has got its number since.
 *
 * -ESRCH: the program has ended. -EPERM: it runs as another user now.
 * -EINVAL: process is NULL, or there is no such signal.
 */
int ctx_process_signal(struct ctx_process *process, int signo);

/* How a program ended. */
struct ctx_exit {
	int status;   /* of the program, as waitpid(2) has it */
	bool stopped; /* its context ended while it ran, so it was signalled */
	bool killed;  /* the grace was over, and SIGKILL was sent to the program or to what it had started */
	unsigned left_behind;	/* processes that it left running when it ended by itself; they were ended */
	struct ctx_cause cause; /* of its context, when stopped */
	struct rusage usage;	/* of the program and all of the tree that was waited for */
};

/*
 * Waits until the program and its tree are gone. What the program leaves running when it ends is
 * ended as if the context had ended. ctx bounds only this wait. ret_exit may be NULL. The call may
 * be repeated, and several threads may be in it. If another thread calls ctx_process_free
 * meanwhile, the tree is killed, and the wait ends with it.
 *
 * -ECANCELED, -ETIME: ctx is done, and the tree is not gone yet.
 * -EOWNERDEAD: the keeper was killed, and the program with it; how the program ended is not known.
 * -ECHILD: a forked child. -EINVAL: ctx or process is NULL. And what ctx_done_fd returns.
 */
int ctx_process_wait(const struct ctx_context *ctx, struct ctx_process *process, struct ctx_exit *ret_exit);

/*
 * Ends the tree with SIGKILL if it is still there, waits until it is gone, and frees process. A
 * process that this user may not signal, such as a set-user-ID program, is waited for until it ends
 * by itself. In a forked child it only frees. NULL is allowed.
 */
void ctx_process_free(struct ctx_process *process);

/* ------------------------------------------------------------------------- */
/* Sources                                                                   */

/*
 * The functions of this section make a child of parent that ends as one of ctx_with_cancel does,
 * and also when a certain event happens. ctx_err is then -ECANCELED, and the cause tells the event.
 *
 *   - With a ring, the ring watches for the event. Only its owner may make the call, and the
 *     context ends in a dispatch. The watch is not counted as an operation. Closing the ring ends
 *     the watch, not the context.
 *   - With a NULL ring, one thread of the library, ctx-poller, watches for all such contexts.
 *     Callbacks then run on the worker thread, as those of a deadline do.
 *   - The watch ends with the context, or when the program gives its last reference to the context
 *     back: keep that reference as long as the event is to count.
 *   - In a forked child nothing watches for an inherited context.
 *
 * Errors of all of them, which ctx_source_explain puts in words:
 *   -EINVAL: parent or ret_ctx is NULL. -ENOMEM. -EMFILE, -ENFILE.
 *   -EAGAIN: the thread could not be started. -ENOSPC: fs.epoll.max_user_watches is reached.
 *   -EPERM: the caller is not the owner of the ring, or the ring is being closed.
 */

/*
 * For ctx_with_hangup: the peer counts as gone only when it is gone altogether, not when it has
 * merely ended its sending. Use it for protocols whose clients end their sending and then wait for
 * the answer, as HTTP/1.0 scripts and printf ... | nc -N do. (Bit 0 is not used.)
 */
#define CTX_HANGUP_WHOLE (1u << 1)

/*
 * Makes a context that ends when the peer of a connected socket is gone. A stream socket that is
 * not connected counts as one whose peer is gone.
 *
 *   - Without a flag the peer is gone when it sends no more, or when the connection is reset or
 *     times out. That it sends no more is all that a TCP peer tells when it closes. It counts at
 *     once, also while something that the peer sent before has not been read.
 *   - With CTX_HANGUP_WHOLE a TCP peer that has closed is noticed when it answers something that
 *     was sent to it with a reset, and not before. A unix socket tells a close from the end of
 *     sending.
 *
 * fd has to stay open until the context is done or released. If it is closed before, and another
 * file gets its number, the events of that file end nothing.
 *
 * With a ring, the ring's watch keeps the file open: closing fd does not tell the peer until the
 * watch has ended. So end or release the context first. The ring releases the file in the call that
 * ends the context, if that is made on the owner's thread outside of a dispatch. Otherwise, also
 * when the context is only released, and always with DEFER_TASKRUN, it does so in its next dispatch.
 *
 * -ENOTSOCK: fd is no socket. -EBADF: fd is not open. -EINVAL: a flag is unknown.
 */
int ctx_with_hangup(const struct ctx_context *parent, struct ctx_ring *ring, int fd, unsigned flags,
		    const char *label, struct ctx_context **ret_ctx);

/*
 * Makes a context that ends when one of events, as of poll(2), is there on fd. POLLERR and POLLHUP
 * always count. fd has to stay open, and a ring keeps its file open, as for ctx_with_hangup.
 *
 * -EBADF: fd is not open. -EPERM: the file cannot be polled, such as a regular file. -EINVAL: an
 * event is unknown.
 */
int ctx_with_fd(const struct ctx_context *parent, struct ctx_ring *ring, int fd, short events,
		const char *label, struct ctx_context **ret_ctx);

/*
 * Makes a context that ends when the process of a pidfd does. The process is not reaped. The pidfd
 * stays the caller's and may be closed after the call.
 *
 * The code of the cause is the wait status if it is known: of a child of this process; of another
 * process where /proc shows it; and from Linux 6.15 on, of a process that has been reaped.
 * Otherwise the code is -1.
 *
 * -EBADF: pidfd is not a pidfd. -ENOSYS: the kernel has no pidfds.
 */
int ctx_with_process(const struct ctx_context *parent, struct ctx_ring *ring, int pidfd, const char *label,
		     struct ctx_context **ret_ctx);

/*
 * Makes a context that ends at the first of these signals that is sent to the process. All contexts
 * that wait for a signal end with it. Signals to a single thread (pthread_kill(3)) are not seen.
 *
 *   - The call blocks the signals in the calling thread. Make it before other threads are started,
 *     which inherit that.
 *   - As soon as no context waits for a signal any more, the signal has its default action again.
 *     So a second Ctrl-C kills a program that does not come to its end. A context stops waiting for
 *     all of its signals when one of them comes, when it ends otherwise, or when it is released.
 *   - Such a second signal is taken by the library's poller thread, or by the owner of the ring. Other
 *     threads keep it blocked.
 *   - With a ring, the first signal is seen in a dispatch only. Give NULL where the owner may not
 *     come to one.
 *   - A signal that the process ignores stays ignored and is not waited for. nohup(1) ignores
 *     SIGHUP, and a script ignores SIGINT in what it starts with "&".
 *   - In a child of fork(2) the signals are not blocked. A child of posix_spawn(3) or vfork(2)
 *     inherits the caller's mask: give it an empty one with POSIX_SPAWN_SETSIGMASK.
 *
 * -EBUSY: the program itself handles or has blocked one of them, or all of them are ignored.
 * -EINVAL: signals is NULL or empty, or has one that cannot be blocked.
 */
int ctx_with_signals(const struct ctx_context *parent, struct ctx_ring *ring, const sigset_t *signals,
		     const char *label, struct ctx_context **ret_ctx);

enum ctx_resource {
	CTX_RESOURCE_MEMORY = 1,
	CTX_RESOURCE_CPU,
	CTX_RESOURCE_IO,
};

/*
 * How much pressure is too much: tasks were stalled for stall_ns within window_ns, for want of
 * resource. See the kernel's Documentation/accounting/psi.rst.
 */
struct ctx_pressure {
	enum ctx_resource resource;
	bool full;	   /* all tasks were stalled at the same time, not just some */
	uint64_t stall_ns; /* 0: a tenth of the window */
	/* 500 ms to 10 s; 0: two seconds. Without CAP_SYS_RESOURCE it has to be a multiple of two seconds. */
	uint64_t window_ns;
	/* One event ends the contexts with the lowest number, the next event those with the next number. */
	int priority;
	/* The pressure file of a cgroup, such as its memory.pressure. NULL: that of the machine. */
	const char *file;
};

/*
 * Makes a context that ends under pressure. Contexts with the same file, full, stall_ns and
 * window_ns share one trigger of the kernel, which gives at most one event in a window. An event
 * ends, of the contexts that are live, all that have the lowest priority, wherever they are
 * watched. So make one context for each priority, and derive the work from these. When the cgroup
 * of the file is removed, all of them end, and the text of the cause says so.
 *
 * -ENOENT: there is no such file; the kernel has no pressure stall information (PSI), or it is off
 * (boot with psi=1).
 * -EOPNOTSUPP: PSI is off. -EACCES: this user may not use it.
 * -EINVAL: a member is out of range; full pressure of the machine's CPU, which there is not; or the
 * window needs CAP_SYS_RESOURCE.
 */
int ctx_with_pressure(const struct ctx_context *parent, struct ctx_ring *ring,
		      const struct ctx_pressure *pressure, const char *label, struct ctx_context **ret_ctx);

/*
 * Writes an error of one of these functions in words, with the remedy. kind says which function: it
 * is the kind of cause that its contexts get, CTX_CAUSE_HANGUP for ctx_with_hangup for instance.
 * Returns as snprintf(3).
 * -EINVAL: kind is none of these; buffer is NULL and size is not 0.
 */
int ctx_source_explain(enum ctx_cause_kind kind, int error, char *buffer, size_t size);

/* ------------------------------------------------------------------------- */
/* Propagation                                                               */

/*
 * How a context is written as text, in pairs of a name and a value.
 *
 *   - To a child process: one pair, the environment variable CTXRING_CONTEXT. It has the id, label,
 *     time left, identity and values, and the point in time at which it was written, so that the
 *     time left is right however late it is read on the same machine.
 *   - To another machine: header pairs. The time left is grpc-timeout; the identity is W3C
 *     traceparent, with the tracestate that came with it; the values are W3C baggage. The receiver
 *     counts the time left from the receipt.
 *
 * CTX_CARRIER_HEADERS can be combined with flags, as in CTX_CARRIER_HEADERS | CTX_CARRIER_ENVOY.
 * Each one adds a header with the time left in milliseconds, for receivers and senders that do not
 * know grpc-timeout. ctx_inject then writes it too, and ctx_extract reads it too. If the headers
 * disagree, the shortest time counts.
 *
 *   - CTX_CARRIER_ENVOY: x-envoy-expected-rq-timeout-ms, which the proxy Envoy writes and reads.
 *   - CTX_CARRIER_CONNECT: connect-timeout-ms, for plain HTTP. It is the Connect protocol's, the one
 *     such header that is specified with its unit. Others, such as X-Request-Timeout, are seconds to
 *     some programs and milliseconds to others.
 *
 * The pairs also carry the global id of a context of the fleet, see ctxd_share, in a member of
 * tracestate. The receiver joins that context, and hears of its end. CTX_CARRIER_NO_JOIN, a flag of
 * both carriers, is for peers outside of the fleet and those that are not trusted: no such id is
 * sent, and none that came is joined. Where no end may come from, by an id that its host does not
 * know for instance, give this flag; see ctx_inject(3), "The end".
 */
enum ctx_carrier {
	CTX_CARRIER_ENVIRONMENT,
	CTX_CARRIER_HEADERS,
	CTX_CARRIER_ENVOY = 1 << 4,
	CTX_CARRIER_CONNECT = 1 << 5,
	CTX_CARRIER_NO_JOIN = 1 << 6,
};

/* How many bytes of names and values together are written, and are read. */
#define CTX_CARRIER_MAX 8192

/*
 * A value that travels. It is sent under the name of its key, as the text that the key's format
 * function makes; a key without format is not sent. parse is the inverse of format: it returns 0,
 * or a negative errno for text that it refuses. With a NULL parse the value is sent, but not
 * received.
 */
struct ctx_carried {
	const struct ctx_key *key;
	int (*parse)(const char *text, void **ret_value);
};

/*
 * A function of the program that stores one pair. It copies both strings. If it does not return 0,
 * ctx_inject ends and returns the same.
 */
typedef int (*ctx_inject_fn)(const char *name, const char *value, void *data);

/*
 * A function of the program that returns the value under a name. The string has to stay valid until
 * the next call. NULL: there is none. For CTX_CARRIER_HEADERS name is in lower case, and the
 * function has to find the header in whatever case it was received.
 */
typedef const char *(*ctx_extract_fn)(const char *name, void *data);

/*
 * Writes ctx, and the values of carried that it has, as pairs: calls set for each. In baggage
 * values are UTF-8, and U+FFFD stands for each part that is not. In the environment all bytes stay
 * as they are. Any thread.
 *
 * The tracestate has the global id of the nearest context, from ctx upwards, that is shared with
 * CTXD_FLEET or was joined by ctxd_join_remote; but ctx_without_cancel ends the search. Without one,
 * an id that came in is passed on, as all members of others are.
 *
 * -EINVAL: ctx or set is NULL, carrier is unknown, or the name of a key is not a token (RFC 9110,
 * 5.6.2).
 * -EMSGSIZE: the values take more than CTX_CARRIER_MAX bytes. -ENOMEM. And what set or a format
 * function returned.
 */
int ctx_inject(const struct ctx_context *ctx, enum ctx_carrier carrier, const struct ctx_carried *carried,
	       unsigned count, ctx_inject_fn set, void *data);

/*
 * Makes a child of parent from pairs: calls get for each name that counts.
 *
 *   - The child has the deadline that was sent, if one was; and the values of carried that were
 *     sent and have a parse function. Other values are ignored.
 *   - label NULL: the child has the label that was sent, cut to CTX_LABEL_MAX bytes.
 *   - The child has the identity that was sent, or a new one. Everything below it has the same
 *     trace.
 *   - If there is no pair at all, it is a plain child.
 *   - If a global id was sent, and the program has a client whose service belongs to a fleet, the
 *     child lies below a join of that context, which is a child of parent. The call does not wait for
 *     the join, and does not fail without it. Until the owner's host has said that its context is
 *     live, the loss of that host does not end the child.
 *
 * Malformed text is an error only in what bounds the work and in values that are asked for. A
 * malformed traceparent begins a new trace. A malformed member of baggage that nobody asks for is
 * left out. Values from baggage are UTF-8: U+FFFD stands for each part that is not.
 *
 * -EINVAL: parent, get or ret_ctx is NULL, or carrier is unknown. Or malformed: the time left, the
 * form of CTXRING_CONTEXT, or a value that is asked for. Or a value that is asked for may lie
 * beyond the first CTX_CARRIER_MAX bytes. Nothing is made then.
 * -ENOMEM, -EAGAIN: as ctx_with_deadline. And what a parse function returned.
 */
int ctx_extract(const struct ctx_context *parent, enum ctx_carrier carrier, const struct ctx_carried *carried,
		unsigned count, ctx_extract_fn get, void *data, const char *label,
		struct ctx_context **ret_ctx);

/*
 * ctx_extract from the environment of this process, below ctx_background. A program that runs with
 * the privileges of another user, see secure_getenv(3), ignores the variable.
 */
int ctx_from_environment(const struct ctx_carried *carried, unsigned count, const char *label,
			 struct ctx_context **ret_ctx);

/*
 * The identity of a request over all machines that serve it. The numbers are hexadecimal text, of
 * the sizes that W3C Trace Context gives them.
 */
struct ctx_identity {
	char trace[33];	    /* of the whole request */
	char span[17];	    /* of this context */
	char sender[17];    /* the span of the context that was sent to this process; "": none was */
	uint64_t sender_id; /* the ctx_id of that context; 0 unless it came from the environment */
};

/*
 * Fills *ret_identity with the identity of ctx. The trace is that of the nearest ancestor that was
 * extracted. If there is none, ctx has a trace of its own, which stays the same for as long as ctx
 * exists. -EINVAL: an argument is NULL.
 */
int ctx_get_identity(const struct ctx_context *ctx, struct ctx_identity *ret_identity);

/* ------------------------------------------------------------------------- */
/* The service                                                               */

/*
 * The service ctxd(8) gives contexts names and ids that hold across processes, and keeps who may
 * see and cancel what. It is never in the way of an end: the end of a shared context reaches every
 * joined process through a pipe and a pidfd, also when ctxd is dead or the owner was killed. The
 * concepts are in ctxring(7), "Processes".
 *
 * A program that never connects is not affected by any of this. One exception: with
 * CTXRING_PUBLISH=1 in the environment the library connects, with CTXD_PUBLISH, when the program
 * makes its first context. That never fails; if there is no service the library goes on trying.
 *
 * Threads: without CTXD_OWN_DISPATCH any thread may make any call on a client, and a thread of the
 * library serves it. With CTXD_OWN_DISPATCH only one thread at a time may make calls on the client.
 * What comes in is then handled in ctxd_dispatch, and in calls that wait for an answer.
 *
 * A call that asks the service waits for the answer, at most the client's timeout_ns. Besides its
 * own errors it knows these:
 *   -ENOTCONN: the service is away; the client is trying to come back.
 *   -ETIMEDOUT: there was no answer in time. It is not known whether the service did what was
 *     asked.
 *   -EDQUOT: a quota of this user is used up, see ctxd.conf(5).
 *   -EDEADLK: it is called from the client's event function, or from a callback that runs on the
 *     client's thread or in a dispatch of the client.
 *   -EPROTO: what the service sent makes no sense. -ENOMEM.
 *   -EPERM: a forked child. Connect anew there.
 */
struct ctxd_client;

/* Bytes of the name of a shared context, without the final NUL. */
#define CTXD_NAME_MAX 63

/*
 * The id of a shared context. The epoch counts the lives of the service: after a restart contexts
 * have new ids, and old ones are -ESTALE. Both members are 0 where there is no context.
 */
struct ctxd_id {
	uint64_t epoch;
	uint64_t number;
};

/* Room for an id as text, "EPOCH-NUMBER" in hexadecimal, with its NUL. */
#define CTXD_ID_TEXT 34

/* Writes id as text. Returns as snprintf(3). -EINVAL: buffer is NULL and size is not 0. */
int ctxd_format_id(struct ctxd_id id, char *buffer, size_t size);

/* Reads what ctxd_format_id wrote. -EINVAL: text is anything else, or an argument is NULL. */
int ctxd_parse_id(const char *text, struct ctxd_id *ret_id);

/*
 * The global id of a context as text, "HOST/EPOCH-NUMBER-SECRET": HOST is the name that its host has in
 * the fleet, EPOCH-NUMBER is its struct ctxd_id there, and SECRET is a random number. Who has the text
 * may join the context from any host of the fleet.
 */
#define CTXD_GLOBAL_ID_TEXT (CTX_HOST_MAX - 1 + 3 * 17 + 1)

enum ctxd_entry_kind {
	CTXD_SHARED = 1 << 0,  /* a shared context */
	CTXD_JOINED = 1 << 1,  /* a process that joined one */
	CTXD_PROCESS = 1 << 2, /* a process that is connected */
	CTXD_DEAD = 1 << 3,    /* a process that is gone, whose table is still kept */
};

/* What the service knows of one of these. Members that do not apply to the kind are 0. */
struct ctxd_entry {
	enum ctxd_entry_kind kind;
	struct ctxd_id id;     /* SHARED: its own; JOINED: of the context that was joined */
	struct ctxd_id parent; /* SHARED: the joined context below which its owner made it */
	pid_t pid;	       /* as the service sees it; SHARED: of the owner */
	uid_t uid;
	gid_t gid;
	uint64_t table;	 /* inode of the context table of the process; 0: not published */
	uint64_t ctx_id; /* of the context in that table, see ctx_id() */
	mode_t mode;	 /* SHARED: see ctxd_share */
	unsigned depth;	 /* how many joins lie above it */
	unsigned joiners;
	uint64_t created_ns;	/* when it was shared, joined or connected, on CLOCK_MONOTONIC */
	uint64_t deadline_ns;	/* CTX_FOREVER: none */
	uint64_t ended_ns;	/* 0: it is live */
	struct ctx_cause cause; /* SHARED, when it has ended */
	char name[CTXD_NAME_MAX + 1];
	char label[CTX_LABEL_MAX + 1];
	char process[16]; /* name of the command */
	/* SHARED and JOINED, of a context that another host of the fleet owns: that host, and the id
	 * that the context has there. Else "" and none. */
	char host[CTX_HOST_MAX];
	struct ctxd_id origin;
};

enum ctxd_event_kind {
	CTXD_EVENT_ADDED = 1, /* something was shared, joined, or connected */
	CTXD_EVENT_ENDED,     /* a shared context ended */
	CTXD_EVENT_MOVED,     /* the deadline of a shared context was moved */
	CTXD_EVENT_REMOVED,   /* something is not shared any more, has left, or is gone */
	CTXD_EVENT_LOST,      /* events did not fit the queue; lost is their number */
	CTXD_EVENT_AWAY,      /* the connection broke; the client is trying to come back */
	CTXD_EVENT_BACK,      /* it is back: everything is shared and joined again, under new ids */
};

struct ctxd_event {
	enum ctxd_event_kind kind;
	uint64_t lost;
	struct ctxd_entry entry; /* not set for LOST, AWAY, BACK */
};

/*
 * OWN_DISPATCH: the program dispatches the client itself, see ctxd_fd, instead of a thread of the
 * library.
 * PUBLISH: the service gets the context table of this process. Other processes of the same user,
 * and root, can then read it and end any context in it through the service. It is kept for a while
 * after the process has died.
 * PATIENT: ctxd_connect succeeds even if the service is not there yet, and the client goes on
 * trying.
 */
#define CTXD_OWN_DISPATCH (1u << 0)
#define CTXD_PUBLISH (1u << 1)
#define CTXD_PATIENT (1u << 2)

struct ctxd_options {
	const char *socket;  /* path of the service's socket; NULL: see ctxd_connect */
	unsigned flags;	     /* CTXD_OWN_DISPATCH, CTXD_PUBLISH, CTXD_PATIENT */
	uint64_t timeout_ns; /* how long calls wait for an answer; 0: five seconds */
	/* Gets the events of ctxd_watch; AWAY and BACK also without that. It runs on the thread that
	 * dispatches the client, with no lock held. NULL: no events. */
	void (*event)(struct ctxd_client *client, const struct ctxd_event *event, void *data);
	void *data; /* passed to event */
};

/*
 * Connects to the service. options may be NULL for the defaults. Without a path in options, the
 * path is $CTXD_SOCKET. If that is not set either, it is the first of $XDG_RUNTIME_DIR/ctxd.sock
 * and /run/ctxd.sock where a service of root or of this user answers.
 *
 * When the connection breaks later, the client comes back by itself, after growing pauses of at
 * most a quarter of a second. What it shared and joined goes on working meanwhile, and is then
 * registered again under new ids.
 *
 * ctxd_explain puts the errors in words:
 *   -ENOENT, -ECONNREFUSED: there is no service. -EACCES: its socket is closed to this user.
 *   -EPERM: the path comes from the environment, and the service there is run neither by root nor
 *     by the effective user of this program.
 *   -EPROTONOSUPPORT: the service speaks no version of the protocol that the library speaks.
 *   -EXDEV: the service is in another time namespace, where deadlines would mean another time.
 *   -EINVAL: ret_client is NULL; a flag is unknown; the path is empty or longer than 107 bytes.
 *   -ETIMEDOUT: no answer in time. -EDQUOT: this user has too many connections.
 *   -EAGAIN: the client's thread could not be started. -EMFILE, -ENFILE. -ENOMEM.
 */
int ctxd_connect(const struct ctxd_options *options, struct ctxd_client **ret_client);

/*
 * Leaves the service and frees client. What it shared is withdrawn, see ctxd_unshare. What it
 * joined stays, but the owner's end does not reach that any more: only its deadline and this
 * program end it. NULL is allowed.
 *
 * The call waits for a running event function. So inside that function, and inside a callback that
 * runs on the client's thread or in a dispatch, it does nothing; nor in a forked child. No other
 * thread may be in a call on the client.
 */
void ctxd_close(struct ctxd_client *client);

/*
 * Writes an error of ctxd_connect in words, with the remedy; and of the other calls about the service
 * -EDQUOT, -ETIMEDOUT, -ENOTCONN, -ESTALE, -ENOTSUP and -EHOSTUNREACH. -ENOENT and -EPERM have other
 * meanings there than here. Returns as snprintf(3).
 * -EINVAL: buffer is NULL and size is not 0.
 */
int ctxd_explain(int error, char *buffer, size_t size);

/*
 * For a client with CTXD_OWN_DISPATCH: returns a descriptor that is readable when ctxd_dispatch has
 * something to do, also when a joined context has ended. Put it into the program's loop; on a ctx
 * ring, by a multishot poll whose callback dispatches. It is always the same one and belongs to the
 * client.
 *
 * -EINVAL: client is NULL, or has a thread of the library. -EPERM: a forked child.
 */
int ctxd_fd(struct ctxd_client *client);

/*
 * For a client with CTXD_OWN_DISPATCH: waits at most timeout_ns (0: does not wait) and handles what
 * has come in. It ends joined contexts, obeys cancels, and comes back to a service that was away.
 * Returns how many things it handled.
 *
 * -EINVAL, -EPERM: as ctxd_fd. -EINTR.
 * -EDEADLK: it is called inside a dispatch, in the event function or in a callback.
 */
int ctxd_dispatch(struct ctxd_client *client, uint64_t timeout_ns);

/*
 * A bit of the mode of ctxd_share, beside those of files: other hosts of the fleet may join, see
 * ctxd_join_remote.
 */
#define CTXD_FLEET 01000

/*
 * Shares ctx until it ends: other processes may join it, and may cancel it through the service, as
 * mode allows.
 *
 *   - mode is like a file's, of the bits 0666: for the user of the process, its group, and all
 *     others. Read (4) is to see and to join, write (2) is to cancel. 0 stands for 0600. Root may
 *     do all.
 *   - With CTXD_FLEET in mode, programs on other hosts may join ctx as well, if they have its global
 *     id, see ctxd_global_id_of and ctx_inject. mode does not restrict these.
 *   - name may be NULL. Otherwise it has to be unique among the contexts that this user shares.
 *   - Those who may join can see the cause, the deadline and the label of ctx.
 *   - When ctx ends, for whatever reason, or when this process dies, every joined context ends at
 *     once.
 *   - When the program gives its last reference to ctx back without ending ctx, joined contexts end
 *     too, with CTX_CAUSE_OWNER. So keep a reference as long as ctx is shared.
 *
 * *ret_id is the id of ctx; ret_id may be NULL.
 *
 * -EINVAL: client or ctx is NULL; name is too long or empty; mode has other bits; ctx never ends by
 * itself.
 * -EEXIST: the name is taken, or this client shares ctx already. -EALREADY: ctx is done.
 * -EPERM: a name is given, and this user has no number of its own in the user namespace of the
 * service.
 * -EMLINK: ctx lies below more joins than the service allows.
 * -ENOTSUP: CTXD_FLEET is given, and the service belongs to no fleet.
 * -ESRCH: the service cannot get a pidfd of this process, so it could not tell when the process
 * dies.
 * -EMFILE, -ENFILE.
 */
int ctxd_share(struct ctxd_client *client, struct ctx_context *ctx, const char *name, mode_t mode,
	       struct ctxd_id *ret_id);

/*
 * Writes the global id of ctx, which this client has shared with CTXD_FLEET, or joined with
 * ctxd_join_remote. It does not ask the service.
 * -ENOENT: ctx is neither. -ENOTCONN: the service is away, and has not given the id yet. -EINVAL: an
 * argument is NULL. -EPERM: a forked child.
 */
int ctxd_global_id_of(struct ctxd_client *client, const struct ctx_context *ctx,
		      char id[CTXD_GLOBAL_ID_TEXT]);

/*
 * Withdraws a shared context: nobody can join it any more. Whoever has joined stays joined, and on
 * another host that has joined it others may still join that. A restart of ctxd-fleet, on this host
 * or on theirs, ends what other hosts have joined of it.
 * -ENOENT: ctx is not shared. -EINVAL: an argument is NULL.
 */
int ctxd_unshare(struct ctxd_client *client, const struct ctx_context *ctx);

/*
 * Fills *ret_id with the id that ctx, which this client has shared or joined, has now. It does not ask
 * the service.
 * -ENOENT: ctx is neither. -ENOTCONN: the service is away. -EINVAL: an argument is NULL.
 */
int ctxd_id_of(struct ctxd_client *client, const struct ctx_context *ctx, struct ctxd_id *ret_id);

/*
 * Make a context that ends when the shared one does, with its cause, label and deadline. Use it as
 * the parent of local work: ending it ends only local work. The caller gets one reference. If the
 * shared context has ended already, the new one is born done.
 *
 * ctxd_join_name finds a context by the name that uid gave it; (uid_t)-1 stands for the caller's
 * own user.
 *
 *   - The kind of the cause is CTX_CAUSE_OWNER if the owner died or released the context, and
 *     CTX_CAUSE_SERVICE if somebody ended it through the service. pid, tid, uid and ctx_id are
 *     those of whoever ended it.
 *   - The end itself does not need the service. Only a deadline that the owner moves
 *     (ctx_set_deadline) arrives through the service.
 *
 * -ENOENT: there is no such context, or this user may not see it. -ESTALE: id is of an earlier life
 * of the service.
 * -EINVAL: an argument is NULL; id is none; name is empty or too long.
 * -EMFILE, -ENFILE. -EAGAIN: as ctx_with_deadline.
 */
int ctxd_join(struct ctxd_client *client, struct ctxd_id id, struct ctx_context **ret_ctx);
int ctxd_join_name(struct ctxd_client *client, uid_t uid, const char *name, struct ctx_context **ret_ctx);

/*
 * For ctxd_join_remote.
 * WAIT: the call waits until the owner's host has answered.
 * SURVIVE: neither the loss of the owner's host nor that of the way to it ends the context. For work
 * that has to be finished.
 */
#define CTXD_JOIN_WAIT (1u << 0)
#define CTXD_JOIN_SURVIVE (1u << 1)

/*
 * Makes a context that ends when a context of another host does, with its cause and its deadline. id is
 * a global id; of this host, it means a context of this host. The caller gets one reference.
 *
 *   - Without CTXD_JOIN_WAIT the call does not wait: the context is live at once, and the owner's host
 *     is asked meanwhile. If the context has ended there already, this one ends as soon as that is
 *     known. Its label is label; NULL: the id without its secret, cut.
 *   - With CTXD_JOIN_WAIT it has the label of the owner unless label is given. It is born done, and the
 *     result is 0, if the context has ended; also if ctxd-fleet knows that the owner's host is gone
 *     (CTX_CAUSE_HOST), or could not ask it (CTX_CAUSE_UNREACHABLE).
 *   - The deadline is the owner's time left, counted from when it is told here. So it is never earlier
 *     than the owner's, and later by the time that the message took.
 *   - If the owner's host is gone, or has forgotten the context, it ends with CTX_CAUSE_HOST; if the way
 *     to that host is lost for longer than the grace of the fleet, with CTX_CAUSE_UNREACHABLE. Within
 *     the grace it lives on, and is joined again. The first answer has at least the client's
 *     timeout_ns, however short the grace is.
 *
 * -EINVAL: client, id or ret_ctx is NULL; id is no global id; a flag is unknown. -ENOTSUP: the service
 * belongs to no fleet.
 * With CTXD_JOIN_WAIT: -ENOENT: there is no such context, or its secret is another. -ESTALE: the id is
 * of an earlier life of the service on this host. -EHOSTUNREACH: the owner's host did not answer for
 * the client's timeout_ns or the grace of the fleet: see whether ctxd-fleet(8) runs on both hosts.
 * -EMFILE, -ENFILE. -EAGAIN: as ctx_with_deadline.
 */
int ctxd_join_remote(struct ctxd_client *client, const char *id, const char *label, unsigned flags,
		     struct ctx_context **ret_ctx);

/*
 * Calls visit for everything of these kinds (CTXD_SHARED | ...) that this user may see: its own,
 * what modes allow, and as root everything. If visit does not return 0, the listing ends and the
 * call returns the same. Changes that happen meanwhile may be seen or not. -EINVAL: client or visit
 * is NULL; kinds is 0 or has an unknown kind.
 */
int ctxd_list(struct ctxd_client *client, unsigned kinds,
	      int (*visit)(const struct ctxd_entry *entry, void *data), void *data);

/*
 * Asks for events, from now on, about what ctxd_list would show of these kinds; 0 ends that. It
 * also holds after the client has come back to the service. A reader that is too slow loses events,
 * and gets CTXD_EVENT_LOST.
 * -EINVAL: client is NULL, a kind is unknown, or the client has no event function.
 */
int ctxd_watch(struct ctxd_client *client, unsigned kinds);

/*
 * Names a context: a shared one by id; or, with id {0, 0}, any context of a published process by the
 * other two members.
 */
struct ctxd_target {
	struct ctxd_id id;
	uint64_t table;	 /* inode of the table of that process, from ctxd_list or fstat(2) */
	uint64_t ctx_id; /* of the context in that table */
};

/*
 * What a cancel through the service has done. The counts are sums over all processes and their
 * rings. A process counts once, however many connections it has. It counts as two where it shares
 * the context by one client and joins it by another, because those are two contexts.
 */
struct ctxd_report {
	unsigned asked;	  /* processes that were told: the owner and those that joined */
	unsigned ended;	  /* of these, how many had a live context and ended it */
	unsigned silent;  /* of these, how many did not answer in time */
	unsigned batches; /* one on each ring with operations under it */
	/* As in struct ctx_batch. */
	unsigned operations, unsent, timed, sqes, enters, cancelled, finished, held;
	uint64_t submit_ns, reap_ns; /* of the slowest batch */
};

#define CTXD_DRY_RUN (1u << 0)

/*
 * Ends a context and everything below it, in its own process and in all that joined it, with
 * CTX_CAUSE_SERVICE. error is a negative errno, 0 means -ECANCELED. text and ret_report may be
 * NULL.
 *
 * The call waits until the processes have ended the context, then at most wait_ns until the
 * operations under it have completed. A process that is stopped is told, and counted as silent.
 * With CTXD_DRY_RUN nothing is ended, and only asked is counted.
 *
 * -ENOENT: there is no such context, or this user may not cancel it. -ESTALE: as ctxd_join.
 * -EALREADY: the context had ended before.
 * -ENOTSUP: the process of the context cannot find contexts by their id in its table, for want of
 * membarrier(2).
 * -EINVAL: client or target is NULL; target names no context, or half of an id; error is positive;
 * a flag is unknown.
 */
int ctxd_cancel(struct ctxd_client *client, const struct ctxd_target *target, unsigned flags, int error,
		const char *text, uint64_t wait_ns, struct ctxd_report *ret_report);

/* What is known of a host of the fleet. */
enum ctxd_host_state {
	CTXD_HOST_SELF = 1, /* this host */
	CTXD_HOST_ALIVE,    /* it has answered */
	CTXD_HOST_SILENT,   /* it did not answer in time */
	CTXD_HOST_ABSENT,   /* it has no lease: it is gone, or was cut off */
	CTXD_HOST_REFUSED,  /* it has answered that it does not tell, or does not obey */
};

/*
 * A host of the fleet, as ctxd-fleet(8) of this host knows it. Times are on CLOCK_MONOTONIC of this host.
 * Counts are of the messages between both; of this host itself, sums over all.
 */
struct ctxd_host {
	char name[CTX_HOST_MAX];
	enum ctxd_host_state state;
	/* 0 or a negative errno. Of this host: -ENETDOWN: it has no link to the engine, so hosts may be missing. Of
	 * ctxd_fleet_list: why entries of the host are missing or incomplete. */
	int error;
	uint64_t incarnation;	  /* of this life of its ctxd-fleet; 0: not known */
	uint64_t heard_ns;	  /* when its latest message came; 0: none did */
	uint64_t lease_seen_ns;	  /* when its lease was last seen; 0: it was not looked for */
	uint64_t lease_absent_ns; /* since when the lease is missing; 0: it is there, or was not looked for */
	uint64_t round_trip_ns;	  /* of a message there and the answer back; 0: not known */
	unsigned joins_in;	  /* contexts of this host that it has joined; of this host: that others have */
	unsigned joins_out;	  /* its contexts that this host has joined; of this host: of all others */
	uint64_t received, sent;  /* batches of messages */
	uint64_t resyncs;	  /* how often everything was asked for again */
	uint64_t gaps;		  /* how often a batch came before which something was missing */
	uint64_t dropped;	  /* bytes that did not fit the queue, for which a resync came */
	uint64_t malformed;	  /* batches that were broken, or had a wrong authentication code */
};

/*
 * For the four calls about the fleet, which ask the ctxd-fleet(8) of this host:
 *   -ENOTSUP: the service belongs to no fleet.
 *   -EHOSTUNREACH: ctxd-fleet does not run on this host, or has no connection to the service.
 *   -EPERM: this user may not ask that.
 *   -EINVAL: client or visit is NULL where it is needed; or as said below.
 * If visit returns anything but 0, the call ends and returns the same. What it is given is valid until it
 * returns.
 */

/*
 * Calls visit for each host of the fleet, this one first, the others sorted by name. Each is asked for a
 * sign of life; those that do not answer within wait_ns are silent.
 */
int ctxd_fleet_hosts(struct ctxd_client *client, uint64_t wait_ns,
		     int (*visit)(const struct ctxd_host *host, void *data), void *data);

/*
 * Calls visit for everything of these kinds (CTXD_SHARED | ...) that the hosts of the fleet tell; with a
 * name in host, for that host only, else NULL. A host tells what is shared with CTXD_FLEET and what is
 * joined across hosts, or all, as its configuration says.
 *
 * First visit is called once for each host that was asked, with entry NULL, this host first and the others
 * sorted by name: state and error say whether its entries are complete. Then it is called for each entry.
 * Times of entries are on CLOCK_MONOTONIC of this host; table, gid and most of the cause stay on their
 * host. An entry of a context that was joined across hosts has the owner's host and its id there in host
 * and origin.
 *
 * -EINVAL: also if kinds is 0 or has others, or host is not the name of a host.
 * -ETIMEDOUT: also if ctxd-fleet took longer than wait_ns and the client's timeout_ns.
 */
int ctxd_fleet_list(struct ctxd_client *client, const char *host, unsigned kinds, uint64_t wait_ns,
		    int (*visit)(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data),
		    void *data);

/* What one host did for a cancel across hosts. */
struct ctxd_host_report {
	char host[CTX_HOST_MAX];
	int error; /* 0; -EHOSTUNREACH: it did not answer in time; or another negative errno: nothing ended */
	struct ctxd_report report;
};

/*
 * Ends the context of that id on that host and everything below it, on all hosts that joined it, as
 * ctxd_cancel does on one. The owner's host decides whether this user may: see fleet_cancel in
 * ctxd.conf(5). It waits until all hosts have ended the context, then at most wait_ns until the operations
 * under it have completed. With CTXD_DRY_RUN nothing is ended, and only asked is counted.
 *
 * *ret_report (may be NULL) sums up all hosts. visit (may be NULL) is called for each host that was asked,
 * the owner's first.
 *
 * -ENOENT, -ESTALE, -EALREADY, -EPERM: the answer of the owner's host, as of ctxd_cancel.
 * -ETIMEDOUT: that host did not answer in time. It is not known whether it did what was asked. -EDQUOT:
 * also if too many cancels are under way. -EINVAL: also if host is not the name of a host, id is none,
 * error is positive, or a flag is unknown.
 */
int ctxd_fleet_cancel(struct ctxd_client *client, const char *host, struct ctxd_id id, unsigned flags, int error,
		      const char *text, uint64_t wait_ns, struct ctxd_report *ret_report,
		      int (*visit)(const struct ctxd_host_report *report, void *data), void *data);

enum ctxd_finding_severity {
	CTXD_FINDING_OK = 1,
	CTXD_FINDING_WARNING,
	CTXD_FINDING_ERROR,
};

/* Something about the engine of the fleet: what it is, whether that is well, and what to do if not. */
struct ctxd_finding {
	enum ctxd_finding_severity severity;
	char key[32];	  /* what it is about, one word: "address", "rights", "grace" */
	char value[192];  /* in words */
	/* The first line is a command to type, the others say more; "" where nothing is to be done. */
	char remedy[384];
};

/*
 * Has the engine of the fleet examined, which takes a second at most, and calls visit for each finding:
 * address, role and version, since when it is connected, round trip, clock, rights, failover against grace.
 */
int ctxd_fleet_engine(struct ctxd_client *client, int (*visit)(const struct ctxd_finding *finding, void *data),
		      void *data);

/*
 * Gets the context table of a published process of the same user; root gets that of any process.
 * *ret_fd is a memfd, read-only and sealed, which the caller closes. kind is CTXD_PROCESS; or
 * CTXD_DEAD for the last process of that pid that is gone. ret_entry may be NULL.
 *
 * -ENOENT: the process is not published, its table is not kept any more, or it is not for this
 * user.
 * -EINVAL: client or ret_fd is NULL; kind is another one. -EMFILE, -ENFILE.
 */
int ctxd_table(struct ctxd_client *client, enum ctxd_entry_kind kind, pid_t pid, struct ctxd_entry *ret_entry,
	       int *ret_fd);

#ifdef __cplusplus
}
#endif

#endif
