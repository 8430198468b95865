/* SPDX-License-Identifier: MIT */
#include "context.h"

#include <string.h>

#include "cause.h"
#include "counters.h"
#include "done.h"
#include "find.h"
#include "memory.h"
#include "node.h"
#include "past_context.h"
#include "sweep.h"
#include "table.h"
#include "thread.h"

static struct ctx_context background_node = {
	.flags = NODE_STATIC | NODE_ENDLESS | NODE_UNDER_BACKGROUND,
	.handles = 1,
	.refs = 1,
	.deadline_ns = CTX_FOREVER,
};

static struct ctx_context todo_node = {
	.flags = NODE_STATIC | NODE_ENDLESS | NODE_UNDER_TODO,
	.handles = 1,
	.refs = 1,
	.deadline_ns = CTX_FOREVER,
};

const struct ctx_context *ctx_background(void)
{
	return &background_node;
}

const struct ctx_context *ctx_todo(void)
{
	return &todo_node;
}

const struct ctx_context *ctx_ref(const struct ctx_context *ctx)
{
	if (ctx && !(ctx->flags & NODE_STATIC))
		atomic_fetch_add_explicit(&node_mutable(ctx)->handles, 1, memory_order_relaxed);
	return ctx;
}

void ctx_unrefp(const struct ctx_context **ctx)
{
	ctx_unref(*ctx);
}

int ctx_err(const struct ctx_context *ctx)
{
	if (__builtin_expect(ctx != NULL, 1))
		return -context_error(ctx);
	/* It may be called in a signal handler. */
	return debug_is_wanted() ? debug_tell_in_handler(DEBUG_HERE, -EINVAL, "argument ctx is NULL")
				 : -EINVAL;
}

struct extension *node_extend(struct ctx_context *ctx)
{
	struct extension *extension = atomic_load_explicit(&ctx->extension, memory_order_acquire), *made;

	if (extension)
		return extension;
	made = memory_allocate(sizeof(*made));
	if (!made)
		return NULL;
	*made = (struct extension){0};
	list_init(&made->watches);
	list_init(&made->callbacks);
	made->callbacks_forks = thread_fork_count;
	list_init(&made->ring_callbacks);
	if (atomic_compare_exchange_strong(&ctx->extension, &extension, made))
		return made;
	memory_release(made);
	return extension;
}

/* ---- freeing */

/* With the shard's lock held. */
static void unlink_member(struct ctx_context *member)
{
	*member->sibling_prev = member->sibling_next;
	if (member->sibling_next)
		member->sibling_next->sibling_prev = member->sibling_prev;
}

/* True: the shard of an orphaned node is empty, and the caller has to give back its reference on the node.
 * With the shard's lock held. */
static bool shard_gives_back(struct shard *shard)
{
	if (shard->first || shard->flags != (SHARD_HOLDS | SHARD_ORPHAN))
		return false;
	shard->flags &= ~(uint32_t)SHARD_HOLDS;
	return true;
}

static void leave_parent(struct ctx_context *member, struct ctx_context **dead)
{
	struct ctx_context *parent = member->parent;

	if (parent->flags & NODE_STATIC)
		return;
	struct shard *shard = node_shard(parent, member->shard);
	shard_acquire(shard);
	unlink_member(member);
	bool owed = shard_gives_back(shard);
	lock_release(&shard->lock);
	if (owed)
		node_unref_later(parent, dead);
}

static void free_extension(struct extension *extension)
{
	if (!extension)
		return;
	done_free(extension->done);
	memory_release(extension->deadline_cause);
	memory_release(atomic_load_explicit(&extension->timer, memory_order_relaxed));
	memory_release(atomic_load_explicit(&extension->signal, memory_order_relaxed));
	memory_release(extension->shards_memory);
	memory_release(extension);
}

/* Gives back the record of a node that is being freed. */
static inline void unlist(const struct ctx_context *node)
{
	struct ctx_table_context *record = table_context(node->slot);

	if (atomic_load_explicit(&record->state, memory_order_relaxed) & CTX_TABLE_LIVE)
		counters_release(record);
	past_context_freed(record, node->slot);
	table_context_free(record, node->slot);
}

static __attribute__((noinline)) void release_value(const struct ctx_context *node)
{
	struct value *value = node_value(node);

	if (value->key->release) {
		int state = thread_hold();
		value->key->release(value->value);
		thread_release(state);
	}
}

static __attribute__((noinline)) void free_cause_text(struct cause_text *text, bool listed)
{
	if (listed && text->slot)
		table_cause_free(text->slot);
	memory_release(text);
}

/* Frees what belongs to the node alone, and the node. It is in no list any more. */
static void free_own(struct ctx_context *node)
{
	bool listed = !(node->flags & NODE_UNLISTED) && node->table_epoch == thread_fork_count;

	if (__builtin_expect(node->flags & NODE_VALUE, 0))
		release_value(node);
	if (__builtin_expect(node->cause_text != NULL, 0))
		free_cause_text(node->cause_text, listed);
	if (__builtin_expect(listed, 1))
		unlist(node);
	memory_release(node);
}

static void free_node(struct ctx_context *node, struct ctx_context **dead)
{
	struct timer *timer = node_timer(node);

	find_forget(node);
	if (timer)
		timer_disarm(timer);
	if (node->flags & NODE_MERGED) {
		struct merge *merge = node_merge(node);
		for (unsigned i = 0; i < merge->count; i++)
			leave_parent(&merge->links[i].node, dead);
	} else {
		leave_parent(node, dead);
	}
	free_extension(atomic_load_explicit(&node->extension, memory_order_relaxed));
	free_own(node);
}

void node_free_all(struct ctx_context *dead)
{
	while (dead) {
		struct ctx_context *node = dead;
		dead = node->sweep_next;
		free_node(node, &dead);
	}
}

void node_unref(struct ctx_context *ctx)
{
	struct ctx_context *dead = NULL;

	node_unref_later(ctx, &dead);
	if (dead)
		node_free_all(dead);
}

/*
 * Frees a leaf with no extension, which is how most contexts end. False: ctx is none, or somebody has a
 * reference. When ctx cannot be found by its id any more, only its parent's list leads to it. While that list
 * is locked nobody can take a reference, and one look at refs is enough.
 */
static bool free_leaf(struct ctx_context *ctx)
{
	struct ctx_context *parent = ctx->parent, *dead = NULL;

	find_forget(ctx);
	if (atomic_load_explicit(&ctx->extension, memory_order_acquire) ||
	    atomic_load_explicit(&ctx->refs, memory_order_acquire) != 1)
		return false;
	if (parent->flags & NODE_STATIC) {
		free_own(ctx);
		return true;
	}
	struct shard *shard = node_shard(parent, ctx->shard);
	shard_acquire(shard);
	bool alone = atomic_load_explicit(&ctx->refs, memory_order_acquire) == 1;
	bool owed = false;
	if (alone) {
		unlink_member(ctx);
		owed = shard_gives_back(shard);
	}
	lock_release(&shard->lock);
	if (!alone)
		return false;
	if (owed)
		node_unref_later(parent, &dead);
	free_own(ctx);
	if (__builtin_expect(dead != NULL, 0))
		node_free_all(dead);
	return true;
}

/* The last handle of ctx is gone, so that nothing new is made under it: tells the watches, and gives back the
 * references that were kept for that. */
static void orphan_node(struct ctx_context *ctx)
{
	struct extension *extension = atomic_load_explicit(&ctx->extension, memory_order_acquire);
	uint32_t given_back = 1;

	if (extension) {
		node_lock(ctx);
		for (struct list *link = extension->watches.next; link != &extension->watches;) {
			struct watch *watch = container_of(link, struct watch, link);
			link = link->next;
			if (watch->ops->released)
				watch->ops->released(watch);
		}
		lock_release(&ctx->lock);
	}
	if (atomic_load_explicit(&ctx->state, memory_order_acquire) & STATE_CHILDREN) {
		unsigned count = node_shard_count(ctx);
		for (unsigned i = 0; i < count; i++) {
			struct shard *shard = node_shard(ctx, i);
			shard_acquire(shard);
			shard->flags |= SHARD_ORPHAN;
			given_back += shard_gives_back(shard);
			lock_release(&shard->lock);
		}
	}
	if (atomic_fetch_sub_explicit(&ctx->refs, given_back, memory_order_acq_rel) == given_back) {
		ctx->sweep_next = NULL;
		node_free_all(ctx);
	}
}

void ctx_unref(const struct ctx_context *ctx)
{
	struct ctx_context *node = node_mutable(ctx);

	if (!ctx || ctx->flags & NODE_STATIC)
		return;
	/* Only the holder of a handle makes another: with the only one, this thread is alone. */
	if (atomic_load_explicit(&node->handles, memory_order_acquire) == 1)
		atomic_store_explicit(&node->handles, 0, memory_order_release);
	else if (atomic_fetch_sub_explicit(&node->handles, 1, memory_order_acq_rel) != 1)
		return;
	if ((atomic_load_explicit(&node->state, memory_order_acquire) & (STATE_ATTACHED | STATE_CHILDREN)) ||
	    node->flags & NODE_MERGED || !free_leaf(node))
		orphan_node(node);
}

/* ---- questions about a node */

/* Set with the first ctx_set_grace(): programs that never call it do not pay for looking. */
static _Atomic bool grace_used;

int ctx_set_grace(struct ctx_context *ctx, uint64_t grace_ns)
{
	if (!ctx || !node_can_end(ctx))
		return debug_invalid(NEVER_ENDS, ctx);
	if (context_error(ctx))
		return debug_error(-EALREADY, "the context is done");
	struct extension *extension = node_extend(ctx);
	if (!extension)
		return -ENOMEM;
	atomic_store_explicit(&extension->grace_ns, grace_ns ? grace_ns : CTX_FOREVER, memory_order_relaxed);
	atomic_store(&grace_used, true);
	return 0;
}

uint64_t context_grace(const struct ctx_context *ctx)
{
	if (!atomic_load_explicit(&grace_used, memory_order_relaxed))
		return 0;
	for (; ctx; ctx = ctx->parent) {
		struct extension *extension = node_extension(ctx);
		uint64_t grace_ns =
			extension ? atomic_load_explicit(&extension->grace_ns, memory_order_relaxed) : 0;
		if (grace_ns)
			return grace_ns == CTX_FOREVER ? 0 : grace_ns;
	}
	return 0;
}

void context_pin(struct ctx_context *ctx)
{
	node_hold(ctx);
}

void context_unpin(struct ctx_context *ctx)
{
	node_unref(ctx);
}

void context_label(const struct ctx_context *ctx, char label[CTX_LABEL_MAX + 1])
{
	memset(label, 0, CTX_LABEL_MAX + 1);
	/* Behind the NUL the record may hold the rest of an earlier label. */
	if (ctx_id(ctx)) {
		const char *from = table_context(ctx->slot)->label;
		memcpy(label, from, strnlen(from, CTX_LABEL_MAX));
	}
}

bool context_is_used(const struct ctx_context *ctx)
{
	return atomic_load_explicit(&node_mutable(ctx)->refs, memory_order_acquire) > 1;
}

void context_table_id(const struct ctx_context *ctx, uint32_t *ret_slot, uint32_t *ret_generation)
{
	bool known = ctx->table_epoch == thread_fork_count;

	*ret_slot = known ? ctx->slot : 0;
	*ret_generation = known ? ctx->generation : 0;
}

uint64_t ctx_id(const struct ctx_context *ctx)
{
	if (!ctx || ctx->flags & NODE_UNLISTED || ctx->table_epoch != thread_fork_count)
		return 0;
	return (uint64_t)ctx->generation << 32 | ctx->slot;
}
