/* SPDX-License-Identifier: MIT */
/*
 * lib/core: contexts, without io_uring. It may use base, table and wire.
 *
 * Here is the node of the tree, and what the rest of the library may do with it.
 *
 * Lifetime. A node has two counts. `handles` counts the references of the program. `refs` keeps the memory:
 * one is for "handles > 0", one for each shard of children that has a member (or, while there are handles,
 * has had one), and one for each watch, registered callback, timer and walk that stands on the node. A child
 * has no reference of its own on its parent: it is linked in a shard, whose reference is enough, so that
 * threads deriving from one hot parent write none of its counters. When the last handle goes, the node is
 * orphaned: its empty shards give their references back at once, the others when they become empty.
 *
 * Marking. `state` goes from 0 to done once, by compare-and-swap; the thread that wins decides the error. A
 * sweep sets a node's state before it takes the locks of the node's shards, and a child that is being linked
 * looks at its parent's state under the shard's lock. So no child is missed. Only after the whole subtree is
 * marked are pipes closed, waiters woken and watches told, and then, with no lock held, deferred work and
 * callbacks run.
 *
 * Helping. A cancel returns after the whole subtree is marked, also where another sweep began below it: a
 * sweep that meets a node which another sweep has marked but not finished (no STATE_SWEPT) goes through that
 * part itself.
 *
 * Locks, in order: walk lock -> ctx lock -> callback lock -> mailbox lock; ctx lock -> task group
 * lock -> pool lock. Shard locks, the timer lock, and the locks of the table and of the pipes are taken last,
 * and no other lock is taken under them, but that of the table under a shard lock: a sweep that counts a
 * context may take a record of counters there.
 *
 * Where a comment at a field is the name of a lock, that lock guards the field.
 *
 * Fork. A child process has copies of all nodes, and any of their locks may have been held by a thread that
 * is not in it. lock_acquire() takes such a lock over and says so, and what it guards is repaired (mend.c):
 * lists are changed in such an order that the links forward are whole at any moment. So nodes are locked by
 * node_lock() and shard_acquire().
 */
#ifndef CTX_CONTEXT_H
#define CTX_CONTEXT_H

#include "ctxring.h"
#include "defer.h"
#include "heap.h"
#include "list.h"
#include "lock.h"

/* The bits of a node's state. The low 8 are the positive errno of its end, ECANCELED or ETIME; 0 while it is
 * live. */
#define STATE_ERRNO 0x00ffu
#define STATE_OWN 0x0100u      /* the end began with this node: its cause_* fields are valid */
#define STATE_WAITERS 0x0200u  /* a thread sleeps on state (futex) */
#define STATE_ATTACHED 0x0400u /* a sweep has to look at its extension or its timer */
#define STATE_CHILDREN 0x0800u /* has ever had a child */
#define STATE_MERGED 0x1000u   /* ended through one of its links, which need not be that of `parent` */
#define STATE_SWEPT 0x2000u    /* done, and all nodes below it are marked */
#define STATE_CLAIMED 0x4000u  /* a thread that ends this node itself writes the cause_* fields */
#define STATE_WRITTEN 0x8000u  /* the end that began with this node is in the journal of ends */
/* The bits above are the fork count of the process in which the node was claimed. A claim of before a fork is
 * void. */
#define STATE_FORKS_SHIFT 16

enum node_flags {
	NODE_STATIC = 1 << 0,	/* background and todo: they count no references and list no children */
	NODE_VALUE = 1 << 1,	/* struct value lies behind; cannot be cancelled */
	NODE_DETACHED = 1 << 2, /* ends of the parent do not reach it */
	NODE_MERGED = 1 << 3,	/* struct merge lies behind; a child of its parents through links */
	NODE_LINK = 1 << 4,	/* hidden child that stands for a merged node in one of its parents */
	NODE_MOVABLE = 1 << 5,	/* it or an ancestor was made movable: deadlines may go later */
	NODE_ENDLESS = 1 << 6,	/* can never be done */
	NODE_TIMER = 1 << 7,	/* struct timer lies behind */
	NODE_MAY_MOVE = 1 << 8, /* its own deadline may go later */
	NODE_UNLISTED = 1 << 9, /* not in the table: slot, generation are those of an ancestor that is */
	NODE_JOINED = 1 << 10,	/* stands for a context of another process */
	NODE_UNDER_BACKGROUND = 1 << 11, /* its root is ctx_background(), see context_is_below_root() */
	NODE_UNDER_TODO = 1 << 12,	 /* its root is ctx_todo() */
};
#define NODE_UNDER_ROOTS (NODE_UNDER_BACKGROUND | NODE_UNDER_TODO)

enum shard_flags {
	SHARD_HOLDS = 1 << 0,  /* it has one of the node's refs */
	SHARD_ORPHAN = 1 << 1, /* the last handle is gone: the reference goes back when the shard is empty */
};

struct shard {
	struct lock lock; /* guards first, flags, and the sibling links of the members */
	uint32_t flags;
	struct ctx_context *first;
};

/* The node has 136 bytes: with the header of malloc(3) and the record in the table a context costs 256. */
struct ctx_context {
	struct ctx_context *sibling_next;  /* parent's shard lock */
	struct ctx_context **sibling_prev; /* parent's shard lock */
	struct ctx_context *sweep_next;	   /* for the sweep that marked it, or the thread that frees it */
	_Atomic uint32_t handles;   /* references of the program; when the last goes the node is orphaned */
	_Atomic uint32_t refs;	    /* keep the memory; when the last goes the node is freed */
	struct ctx_context *parent; /* constant; NULL: a root. Of a merged node the first parent */
	struct lock lock;	    /* guards the extension */
	uint32_t cause_tid;
	/*
	 * From here to table_epoch: what threads that derive from the node read. It lies in the middle, so
	 * that neighbours in memory, which most likely are children, share no cache line with it.
	 */
	_Atomic uint32_t state; /* STATE_*; a sweep's store of it publishes the cause_* fields */
	uint16_t flags;		/* enum node_flags; constant */
	uint8_t shard;		/* the number of the parent's shard that it is in; constant */
	uint8_t cause_kind;	/* this and cause_*: written by who sets STATE_CLAIMED; constant when done */
	struct extension *_Atomic extension; /* made on demand; node_extend() publishes it */
	const struct ctx_context *values;    /* the nearest node with a value, this one included. constant */
	_Atomic uint64_t deadline_ns; /* the one in force: the earliest of its own and its ancestors' */
	uint32_t slot, generation;    /* its record in the table; 0: none. constant */
	uint32_t table_epoch; /* the fork count when it was made: its record is in that process's table */
	int32_t cause_code;   /* the signal or, of a call or a deadline, the error that was given for it */
	union {
		uint64_t cause_time_ns;
		/* Until STATE_CLAIMED is set: what a sweep counts it by, see counters_key(). It is here so
		 * that a sweep reads no more of the record than the state. */
		uint64_t count_key;
	};
	struct shard children; /* the only shard until two threads meet in it */
	struct cause_text *cause_text;
	const void *cause_site;
};
_Static_assert(offsetof(struct ctx_context, state) >= 48 && offsetof(struct ctx_context, cause_code) <= 96,
	       "what derivers read lies apart from both ends, wherever a cache line begins");
_Static_assert(sizeof(struct ctx_context) <= 136, "a context costs 256 bytes");

struct watch;

/*
 * How the folders above hear of a node's end. The functions are called with the node's lock held. They take
 * no lock but a mailbox's or a task group's, and leave everything else to defer() or, in released, to their
 * own thread.
 */
struct watch_ops {
	/* The node has ended, and the whole subtree is marked. Called at most once. */
	void (*done)(struct watch *watch, struct deferred_list *later);
	/* The program has given back its last handle: nothing new will be made under this node. The function
	 * may take the watch away by context_unwatch_released(). NULL: not called. */
	void (*released)(struct watch *watch);
	/* The deadline in force has changed, see context_deadline(). NULL: not called. */
	void (*moved)(struct watch *watch);
	/* Nothing comes of the node's end by itself. The journal of ends leaves out one of which only such
	 * watches hear. */
	bool quiet;
};

struct watch {
	struct list link; /* node's lock */
	const struct watch_ops *ops;
	struct ctx_context *ctx; /* the watched node, counted in its refs; NULL: none */
};

/*
 * Puts watch on ctx and keeps ctx's memory. Returns 0 or -ENOMEM. If ctx is done already, it is not watched,
 * and the positive errno of its end is returned.
 */
int context_watch(const struct ctx_context *ctx, struct watch *watch, const struct watch_ops *ops);

/* Takes the watch away, told or not. Afterwards none of its functions is called. May free ctx. */
void context_unwatch(struct watch *watch);

/* Keeps the memory of ctx, which cannot be freed now, until context_unpin(), called without a lock. */
void context_pin(struct ctx_context *ctx);
void context_unpin(struct ctx_context *ctx);

/* Keeps the memory of ctx while a thread waits for its end: the program may give back its last reference
 * meanwhile. context_unhold() ends that. NULL and static nodes are allowed. */
static inline void context_hold(const struct ctx_context *ctx)
{
	if (ctx && !(ctx->flags & NODE_STATIC))
		context_pin((struct ctx_context *)ctx);
}

static inline void context_unhold(const struct ctx_context *ctx)
{
	if (ctx && !(ctx->flags & NODE_STATIC))
		context_unpin((struct ctx_context *)ctx);
}

/* What a source watches, for the table; see struct ctx_table_context. */
struct watched {
	enum ctx_cause_kind kind;
	int32_t id;
	uint32_t flags;
	uint64_t detail;
};

/* As ctx_with_cancel() called from site, but the child's kind is CTX_TABLE_SOURCE. Returns 0 or -ENOMEM. */
int context_new_source(const struct ctx_context *parent, const char *label, const void *site,
		       const struct watched *watched, struct ctx_context **ret_ctx);

/* As context_unwatch(), for use in watch_ops.released, where the node's lock is held already. watch->ctx
 * stays as it is, but no longer keeps the node. */
void context_unwatch_released(struct watch *watch);

/* Copies the label of ctx from the table; "" where it is not there. */
void context_label(const struct ctx_context *ctx, char label[CTX_LABEL_MAX + 1]);

/*
 * ctx is orphaned and has a watch of the caller. True when something else keeps it too: contexts below it,
 * operations, callbacks or, for a moment, a walk.
 */
bool context_is_used(const struct ctx_context *ctx);

/* True when the program has no handle of ctx any more. */
static inline bool context_orphaned(const struct ctx_context *ctx)
{
	return !(ctx->flags & NODE_STATIC) && atomic_load_explicit(&ctx->handles, memory_order_acquire) == 0;
}

/* The positive errno of the end of ctx; 0 while it is live. */
static inline int context_error(const struct ctx_context *ctx)
{
	return (int)(atomic_load_explicit(&ctx->state, memory_order_acquire) & STATE_ERRNO);
}

static inline uint64_t context_deadline(const struct ctx_context *ctx)
{
	return atomic_load_explicit(&ctx->deadline_ns, memory_order_relaxed);
}

/* Ends the contexts from ctx upwards whose deadline is past at now_ns. ctx is then done if its deadline in
 * force is past. */
void context_expire(const struct ctx_context *ctx, uint64_t now_ns);

/* The grace (ctx_set_grace) of the nearest node from ctx upwards that has one; 0: none has. */
uint64_t context_grace(const struct ctx_context *ctx);

/* Where the nearest node from ctx upwards that is in this process's table stands there; 0, 0: none is. */
void context_table_id(const struct ctx_context *ctx, uint32_t *ret_slot, uint32_t *ret_generation);

/* ctx_with_cancel() and ctx_with_deadline() for other folders: site is the address of the program's call. */
int context_with_cancel(const struct ctx_context *parent, const char *label, const void *site,
			struct ctx_context **ret_ctx);
int context_with_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			  const void *site, struct ctx_context **ret_ctx);

/* Makes a child of parent that stands for a context of another process: kind CTX_TABLE_JOINED. Errors as
 * ctx_with_deadline(). */
int context_new_joined(const struct ctx_context *parent, uint64_t deadline_ns, bool movable,
		       const char *label, const void *site, struct ctx_context **ret_ctx);

/*
 * Which nodes below a context are meant. Below it are all that were made from it, directly or not, and merged
 * contexts of which it or one of these is a parent. An end does not reach what ctx_without_cancel() has made.
 */
enum watch_scope {
	WATCH_REACHED, /* only what an end of the context reaches */
	WATCH_BELOW,   /* all */
};

/* Calls visit for each watch with these ops on ctx and below it, with the lock of the watched node held. ctx
 * is not a root: roots keep no list of their children. */
void context_each_watch(const struct ctx_context *ctx, enum watch_scope scope, const struct watch_ops *ops,
			void (*visit)(struct watch *watch, void *data), void *data);

/* True when ctx is root or was made from it, directly or not. root is ctx_background() or ctx_todo(). */
static inline bool context_is_below_root(const struct ctx_context *ctx, const struct ctx_context *root)
{
	return ctx->flags & root->flags & NODE_UNDER_ROOTS;
}

#endif
