/* SPDX-License-Identifier: MIT */
/*
 * lib/core: contexts, without io_uring. It may use base, table and wire.
 *
 * Here is the node of the tree, and what the rest of the library may do with it.
 *
 * Lifetime. Two counts: `handles` are the references of the program, `refs` keep
 * the memory: one for "handles > 0", one for each shard of children that has (or,
 * while handles remain, has had) a member, and one for each watch, registered
 * callback, timer and walker. Being linked in a shard of the parent *is* the
 * child's reference on the parent, so that threads deriving from one hot parent
 * write none of its counters. When the last handle goes the node is orphaned: its
 * empty shards give their reference back at once, the others when they empty.
 *
 * Marking. `state` goes from 0 to done once, by compare-and-swap; the winner of
 * that decides the error. A walker sets a node's state before it takes the
 * locks of the node's shards, and a child looks at its parent's state under the
 * shard's lock when it links itself: so no child slips through. Only after the
 * whole subtree is marked are pipes closed, waiters woken, watches told, and then,
 * with no lock held, deferred work and callbacks run.
 *
 * Helping. The winner of a cancel returns after the whole subtree is marked, also where
 * another sweep began below it: a walker that meets a node that another sweep has marked but
 * not finished (no STATE_SWEPT) goes through that part itself.
 *
 * Locks, in order: walk lock -> ctx lock -> callback lock -> mailbox lock; ctx lock -> task group
 * lock -> pool lock; shard lock; timer lock; locks of the table and of the pipes. The last three
 * kinds are taken last and singly: under a shard lock nothing is taken but atomics.
 *
 * Fork. A child has copies of all nodes, and any of their locks may have been held by a thread that is not in
 * it. lock_acquire() gives it away and says so, and what it guards is mended (mend.c): lists are changed
 * in such an order that the way forward is whole at any moment. So nodes are locked by node_lock() and
 * shard_acquire().
 */
#ifndef CTX_CONTEXT_H
#define CTX_CONTEXT_H

#include "ctxring.h"
#include "defer.h"
#include "heap.h"
#include "list.h"
#include "lock.h"

/* state: low 8 bits the positive errno, ECANCELED or ETIME; 0 while live. */
#define STATE_ERRNO 0x00ffu
#define STATE_OWN 0x0100u      /* ended here: the cause_* fields are its cause */
#define STATE_WAITERS 0x0200u  /* a thread sleeps on state (futex) */
#define STATE_ATTACHED 0x0400u /* has an extension or a timer with something to tell */
#define STATE_CHILDREN 0x0800u /* has ever had a child */
#define STATE_MERGED 0x1000u   /* ended through a link, not through `parent` */
#define STATE_SWEPT 0x2000u    /* done, and everything below it is marked */
#define STATE_CLAIMED 0x4000u  /* a thread that ends it by itself writes the cause_* fields */
/* Above these, of one that was claimed: in which process, as the fork count. A claim of before a fork is
 * void. */
#define STATE_FORKS_SHIFT 15

enum node_flags {
	NODE_STATIC = 1 << 0,	/* background, todo: not counted, and no list of children */
	NODE_VALUE = 1 << 1,	/* struct value follows; cannot be cancelled */
	NODE_DETACHED = 1 << 2, /* ends of the parent do not reach it */
	NODE_MERGED = 1 << 3,	/* struct merge follows; member of its parents through links */
	NODE_LINK = 1 << 4,	/* hidden child that stands for a merged node in one of its parents */
	NODE_MOVABLE = 1 << 5,	/* it or an ancestor was made movable: deadlines may go later */
	NODE_ENDLESS = 1 << 6,	/* can never be done */
	NODE_TIMER = 1 << 7,	/* struct timer follows */
	NODE_MAY_MOVE = 1 << 8, /* its own deadline may go later */
	NODE_UNLISTED =
		1 << 9, /* not in the table: slot and generation are those of the nearest ancestor that is */
	NODE_JOINED = 1 << 10, /* stands for a context of another process */
	NODE_UNDER_BACKGROUND =
		1 << 11, /* made from this root, or from what was: see context_is_below_root() */
	NODE_UNDER_TODO = 1 << 12,
};
#define NODE_UNDER_ROOTS (NODE_UNDER_BACKGROUND | NODE_UNDER_TODO)

enum shard_flags {
	SHARD_HOLDS = 1 << 0,  /* has one of the node's refs */
	SHARD_ORPHAN = 1 << 1, /* the last handle is gone: gives it back when it is empty */
};

struct shard {
	struct lock lock; /* guards first, the sibling links of its members, and flags */
	uint32_t flags;
	struct ctx_context *first;
};

/*
 * 136 bytes, so that with the header of malloc(3) and the record in the table a
 * context costs 256.
 */
struct ctx_context {
	struct ctx_context *sibling_next;  /* parent's shard lock */
	struct ctx_context **sibling_prev; /* parent's shard lock */
	struct ctx_context *sweep_next;	   /* owned by whoever marked it, or frees it */
	_Atomic uint32_t handles;
	_Atomic uint32_t refs;
	struct ctx_context *parent; /* constant; NULL for a root; the first one of a merged node */
	struct lock lock;	    /* guards the extension */
	uint32_t cause_tid;
	/*
	 * From here to table_epoch: what threads that derive from the node read. In the
	 * middle, so that the allocator's neighbours, most likely children, share no cache line with it.
	 */
	_Atomic uint32_t state;
	uint16_t flags;	    /* enum node_flags; constant */
	uint8_t shard;	    /* number of the parent's shard that it is in; constant */
	uint8_t cause_kind; /* this and cause_*: of whoever set STATE_CLAIMED; constant when done */
	struct extension *_Atomic extension; /* made on demand, freed with the node */
	const struct ctx_context *values;    /* nearest node with a value, itself included. constant */
	_Atomic uint64_t deadline_ns;	     /* in force: the earliest of own and ancestors' */
	uint32_t slot, generation;	     /* in the table; 0: nowhere. constant */
	uint32_t table_epoch;		     /* fork count when made: another process's table is not ours */
	int32_t cause_code;    /* the signal; or, of a call or a deadline, the error given for it */
	struct shard children; /* the only shard until two threads meet in it */
	struct cause_text *cause_text;
	const void *cause_site;
	uint64_t cause_time_ns;
};
_Static_assert(offsetof(struct ctx_context, state) >= 48 && offsetof(struct ctx_context, cause_code) <= 96,
	       "what derivers read lies apart from both ends, wherever a cache line begins");
_Static_assert(sizeof(struct ctx_context) <= 136, "a context costs 256 bytes");

struct watch;

/*
 * The hook through which the layers above hear of a node's end. Both functions
 * are called with the node's lock held: they take nothing but a mailbox's or a task
 * group's lock, and leave the rest to defer(), or, for released, to their own thread.
 */
struct watch_ops {
	/* The whole subtree is marked. Called at most once. */
	void (*done)(struct watch *watch, struct deferred_list *later);
	/* The program dropped its last handle: nothing new will come under this node. NULL: does not matter.
	 * The watch may be taken away there and then, by context_unwatch_released(). */
	void (*released)(struct watch *watch);
	/* Its deadline in force has changed, see context_deadline(). NULL: does not matter. */
	void (*moved)(struct watch *watch);
};

struct watch {
	struct list link; /* node's lock */
	const struct watch_ops *ops;
	struct ctx_context *ctx; /* set while it is watched; counted in refs */
};

/*
 * Puts watch on ctx and keeps ctx's memory. 0, or -ENOMEM. If ctx is done already
 * nothing is watched and the positive errno of its end is returned.
 */
int context_watch(const struct ctx_context *ctx, struct watch *watch, const struct watch_ops *ops);

/* Takes the watch away, whether or not it was told; afterwards neither function is called. May free ctx. */
void context_unwatch(struct watch *watch);

/* Keeps the memory of one that cannot be freed now; context_unpin() it without a lock held. */
void context_pin(struct ctx_context *ctx);
void context_unpin(struct ctx_context *ctx);

/* The same for who waits for its end, and may be overtaken by the program's last reference. NULL and static
 * nodes are allowed. */
static inline void context_hold(const struct ctx_context *ctx)
{
	if (ctx && !(ctx->flags & NODE_STATIC))
		context_pin((struct ctx_context *)ctx);
}

static inline void context_let_go(const struct ctx_context *ctx)
{
	if (ctx && !(ctx->flags & NODE_STATIC))
		context_unpin((struct ctx_context *)ctx);
}

/* A child of kind CTX_TABLE_SOURCE, else as ctx_with_cancel called from site. 0, or -ENOMEM. */
int context_new_source(const struct ctx_context *parent, const char *label, const void *site,
		       struct ctx_context **ret_ctx);

/* The same for its own watch_ops.released, which is called with the lock that this would take. Leaves
 * watch->ctx as it is: an address, and no more. */
void context_unwatch_released(struct watch *watch);

/* Its label as it stands in the table; "" without a table. */
void context_label(const struct ctx_context *ctx, char label[CTX_LABEL_MAX + 1]);

/*
 * Of one that the program has released, and that one watch of the caller's is on: whether anything else keeps
 * it, which is what is below it, operations, callbacks; or, for a moment, a walker.
 */
bool context_is_used(const struct ctx_context *ctx);

/* True when the program holds no handle any more. */
static inline bool context_orphaned(const struct ctx_context *ctx)
{
	return !(ctx->flags & NODE_STATIC) && atomic_load_explicit(&ctx->handles, memory_order_acquire) == 0;
}

/* Positive errno of the end, 0 while live. */
static inline int context_error(const struct ctx_context *ctx)
{
	return (int)(atomic_load_explicit(&ctx->state, memory_order_acquire) & STATE_ERRNO);
}

static inline uint64_t context_deadline(const struct ctx_context *ctx)
{
	return atomic_load_explicit(&ctx->deadline_ns, memory_order_relaxed);
}

/* Marks whoever on the way up from ctx has a deadline that is past at now_ns, so that ctx is done if its
 * deadline is. */
void context_expire(const struct ctx_context *ctx, uint64_t now_ns);

/* The grace of the nearest node from ctx upwards that has one, 0: none does. */
uint64_t context_grace(const struct ctx_context *ctx);

/* The nearest node from ctx upwards that is in this process's table; 0, 0 if none. */
void context_table_id(const struct ctx_context *ctx, uint32_t *ret_slot, uint32_t *ret_generation);

/* ctx_with_cancel and ctx_with_deadline for another part of the library: site is the program's call. */
int context_with_cancel(const struct ctx_context *parent, const char *label, const void *site,
			struct ctx_context **ret_ctx);
int context_with_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			  const void *site, struct ctx_context **ret_ctx);

/* A root for work under a context of another process: kind CTX_TABLE_JOINED. Errors as ctx_with_deadline. */
int context_new_joined(uint64_t deadline_ns, bool movable, const char *label, const void *site,
		       struct ctx_context **ret_ctx);

/*
 * What is below a context: everything that was made from it, and from that; of a merged context each parent
 * counts, and ctx_without_cancel keeps ends away, but belongs where it was made.
 */
enum watch_scope {
	WATCH_REACHED, /* only what an end of the context reaches */
	WATCH_BELOW,
};

/* Calls visit for each watch with these ops on ctx and below it. visit runs under the node's lock. Roots keep
 * no list of what is below them. */
void context_each_watch(const struct ctx_context *ctx, enum watch_scope scope, const struct watch_ops *ops,
			void (*visit)(struct watch *watch, void *data), void *data);

/* root is ctx_background or ctx_todo; ctx may be root itself. */
static inline bool context_is_below_root(const struct ctx_context *ctx, const struct ctx_context *root)
{
	return ctx->flags & root->flags & NODE_UNDER_ROOTS;
}

#endif
