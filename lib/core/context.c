/* SPDX-License-Identifier: MIT */
#include "context.h"

#include <string.h>

#include "cause.h"
#include "clock.h"
#include "done.h"
#include "find.h"
#include "memory.h"
#include "node.h"
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

static inline void finish(struct ctx_context *ctx, const void *site)
{
	if (!ctx)
		return;
	if (node_can_end(ctx))
		context_cancel(ctx, site);
	ctx_unref(ctx);
}

void ctx_finish(struct ctx_context *ctx)
{
	finish(ctx, __builtin_return_address(0));
}

void ctx_unrefp(const struct ctx_context **ctx)
{
	ctx_unref(*ctx);
}

void ctx_finishp(struct ctx_context **ctx)
{
	finish(*ctx, __builtin_return_address(0));
}

int ctx_err(const struct ctx_context *ctx)
{
	return ctx ? -context_error(ctx) : -EINVAL;
}

/* ---- making */

static inline void list_in_table(struct ctx_context *node, const struct ctx_context *parent,
				 const struct node_plan *plan)
{
	bool known = parent->slot && parent->table_epoch == thread_fork_count;
	uint32_t slot = plan->flags & NODE_UNLISTED ? 0 : table_context_new();

	if (!slot) {
		node->flags |= NODE_UNLISTED;
		node->slot = known ? parent->slot : 0;
		node->generation = known ? parent->generation : 0;
		return;
	}
	struct ctx_table_context *record = table_context(slot);
	table_write_begin(&record->seq);
	uint32_t generation = record->generation + 1 ? record->generation + 1 : 1;
	record->generation = generation;
	record->parent_slot = known ? parent->slot : 0;
	record->parent_generation = known ? parent->generation : 0;
	record->creator_tid = thread_self()->tid;
	record->created_ns = plan->now_ns ? plan->now_ns : clock_coarse_ns();
	__atomic_store_n(&record->deadline_ns, CTX_FOREVER, __ATOMIC_RELAXED);
	record->site = (uintptr_t)plan->site;
	record->done_ns = 0;
	__atomic_store_n(&record->done_site, 0, __ATOMIC_RELAXED);
	record->done_tid = record->cause_slot = 0;
	record->kind = (uint8_t)plan->kind;
	record->cause_kind = 0;
	record->cause_code = 0;
	record->label[0] = '\0';
	if (plan->label) {
		size_t length = strnlen(plan->label, CTX_LABEL_MAX);
		memcpy(record->label, plan->label, length);
		record->label[length] = '\0';
	}
	__atomic_store_n(&record->state, CTX_TABLE_LIVE, __ATOMIC_RELAXED);
	table_write_end(&record->seq);
	node->slot = slot;
	node->generation = generation;
}

/* Field by field: for a structure of this size compilers choose an instruction that takes a third of the
 * whole. */
static inline void init(struct ctx_context *node, const struct ctx_context *parent, unsigned flags)
{
	unsigned passes = flags & NODE_DETACHED ? NODE_UNDER_ROOTS : NODE_UNDER_ROOTS | NODE_MOVABLE;

	atomic_init(&node->state, flags & NODE_TIMER ? STATE_ATTACHED : 0);
	node->flags = (uint16_t)(flags | (parent->flags & passes));
	node->shard = 0;
	node->cause_kind = CTX_CAUSE_NONE;
	node->sibling_next = NULL;
	node->table_epoch = thread_fork_count;
	node->sweep_next = NULL;
	node->sibling_prev = NULL;
	node->parent = node_mutable(parent);
	atomic_init(&node->handles, 1);
	atomic_init(&node->refs, 1);
	node->lock = (struct lock){0};
	node->children = (struct shard){.first = NULL};
	atomic_init(&node->extension, NULL);
	node->values = parent->values;
	atomic_init(&node->deadline_ns, CTX_FOREVER);
	node->cause_text = NULL;
	node->cause_site = NULL;
	node->cause_time_ns = 0;
	node->cause_tid = 0;
	node->cause_code = 0;
}

static inline struct ctx_context *make(const struct ctx_context *parent, const struct node_plan *plan)
{
	struct ctx_context *node = memory_allocate(sizeof(*node) + plan->tail);

	if (!node)
		return NULL;
	init(node, parent, plan->flags);
	list_in_table(node, parent, plan);
	return node;
}

struct ctx_context *node_new(const struct ctx_context *parent, const struct node_plan *plan)
{
	return make(parent, plan);
}

/* Two threads met in the node's own shard: from now on each has one of its own. */
static void spread(struct ctx_context *ctx)
{
	struct extension *extension = node_extend(ctx);
	struct shard_line *none = NULL;

	if (!extension || load_acquire(&extension->shards))
		return;
	void *memory = memory_allocate(sizeof(struct shard_line) * (SHARD_COUNT + 1));
	if (!memory)
		return;
	uintptr_t mask = sizeof(struct shard_line) - 1;
	struct shard_line *lines = (struct shard_line *)(((uintptr_t)memory + mask) & ~mask);
	memset(lines, 0, sizeof(*lines) * SHARD_COUNT);
	/* Sequentially consistent, as the marker's look at it and at state: one of both sees the other. */
	if (atomic_compare_exchange_strong(&extension->shards, &none, lines))
		extension->shards_memory = memory;
	else
		memory_release(memory);
}

static struct shard *acquire_shard(struct ctx_context *parent, uint8_t *ret_number)
{
	unsigned count = node_shard_count(parent);

	if (count == 1) {
		if (lock_try(&parent->children.lock)) {
			*ret_number = 0;
			return &parent->children;
		}
		spread(parent);
		count = node_shard_count(parent);
	}
	unsigned number = count == 1 ? 0 : 1 + thread_self()->serial % SHARD_COUNT;
	struct shard *shard = node_shard(parent, number);
	shard_acquire(shard);
	*ret_number = (uint8_t)number;
	return shard;
}

/* Before others can find the member: once they do, its deadline is theirs to write. */
static inline void store_deadline(struct ctx_context *member, uint64_t deadline_ns)
{
	store_relaxed(&member->deadline_ns, deadline_ns);
	if (deadline_ns != CTX_FOREVER && !(member->flags & NODE_UNLISTED))
		__atomic_store_n(&table_context(member->slot)->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
}

int node_link_member(struct ctx_context *member, uint64_t own_deadline_ns)
{
	struct ctx_context *parent = member->parent;
	uint64_t deadline_ns = own_deadline_ns;
	uint32_t error = 0;

	if (parent->flags & NODE_STATIC) {
		store_deadline(member, deadline_ns);
		return 0;
	}
	struct shard *shard = acquire_shard(parent, &member->shard);
	uint32_t state = atomic_load(&parent->state);
	if (!(state & STATE_CHILDREN))
		state = atomic_fetch_or(&parent->state, STATE_CHILDREN);
	if (!(shard->flags & SHARD_HOLDS)) {
		node_hold(parent); /* first, as in a forked child one too many does no harm */
		atomic_signal_fence(memory_order_release);
		shard->flags |= SHARD_HOLDS;
	}
	if (!(member->flags & NODE_DETACHED)) {
		error = state & STATE_ERRNO;
		uint64_t above_ns = load_relaxed(&parent->deadline_ns);
		if (above_ns < deadline_ns)
			deadline_ns = above_ns;
		if (error)
			store_relaxed(&member->state, load_relaxed(&member->state) | error | STATE_SWEPT);
	}
	store_deadline(member, deadline_ns);
	member->sibling_next = shard->first;
	member->sibling_prev = &shard->first;
	if (shard->first)
		shard->first->sibling_prev = &member->sibling_next;
	atomic_signal_fence(memory_order_release); /* see shard_mend() */
	shard->first = member;
	lock_release(&shard->lock);
	return (int)error;
}

void node_publish(struct ctx_context *node, uint64_t own_deadline_ns)
{
	/* Should the timer not start, the next call that waits says so. */
	if (__builtin_expect(node_is_inherited(node->parent), 0))
		node_serve(node->parent);
	int error = node_link_member(node, own_deadline_ns);
	if (error && !(node->flags & NODE_UNLISTED))
		__atomic_store_n(&table_context(node->slot)->state, (uint32_t)error, __ATOMIC_RELEASE);
	if (!error && node_can_end(node))
		find_remember(node);
}

static inline int make_cancel(const struct ctx_context *parent, const char *label, const void *site,
			      struct ctx_context **ret_ctx)
{
	struct node_plan plan = {
		.kind = CTX_TABLE_CANCEL,
		.label = label,
		.site = site,
	};
	struct ctx_context *node = make(parent, &plan);
	if (!node)
		return -ENOMEM;
	node_publish(node, CTX_FOREVER);
	*ret_ctx = node;
	return 0;
}

int context_with_cancel(const struct ctx_context *parent, const char *label, const void *site,
			struct ctx_context **ret_ctx)
{
	return make_cancel(parent, label, site, ret_ctx);
}

int ctx_with_cancel(const struct ctx_context *parent, const char *label, struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return -EINVAL;
	return make_cancel(parent, label, __builtin_return_address(0), ret_ctx);
}

int context_new_source(const struct ctx_context *parent, const char *label, const void *site,
		       struct ctx_context **ret_ctx)
{
	struct node_plan plan = {.kind = CTX_TABLE_SOURCE, .label = label, .site = site};
	struct ctx_context *node = node_new(parent, &plan);

	if (!node)
		return -ENOMEM;
	node_publish(node, CTX_FOREVER);
	*ret_ctx = node;
	return 0;
}

int ctx_without_cancel(const struct ctx_context *parent, const char *label,
		       const struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return -EINVAL;
	struct node_plan plan = {
		.flags = NODE_DETACHED | NODE_ENDLESS,
		.kind = CTX_TABLE_DETACHED,
		.label = label,
		.site = __builtin_return_address(0),
	};
	struct ctx_context *node = node_new(parent, &plan);
	if (!node)
		return -ENOMEM;
	node_publish(node, CTX_FOREVER);
	*ret_ctx = node;
	return 0;
}

struct extension *node_extend(struct ctx_context *ctx)
{
	struct extension *extension = load_acquire(&ctx->extension), *made;

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

/* With the shard's lock held. True: the caller owes the node one ref. */
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
		node_drop_later(parent, dead);
}

static void free_extension(struct extension *extension)
{
	if (!extension)
		return;
	done_free(extension->done);
	memory_release(extension->deadline_cause);
	memory_release(load_relaxed(&extension->timer));
	memory_release(load_relaxed(&extension->signal));
	memory_release(extension->shards_memory);
	memory_release(extension);
}

/* What only the node itself had. It is in no list any more. */
static void free_own(struct ctx_context *node)
{
	bool listed = !(node->flags & NODE_UNLISTED) && node->table_epoch == thread_fork_count;

	if (node->flags & NODE_VALUE) {
		struct value *value = node_value(node);
		if (value->key->release) {
			int state = thread_hold();
			value->key->release(value->value);
			thread_release(state);
		}
	}
	if (node->cause_text) {
		if (listed && node->cause_text->slot)
			table_cause_free(node->cause_text->slot);
		memory_release(node->cause_text);
	}
	if (listed)
		table_context_free(node->slot);
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
	free_extension(load_relaxed(&node->extension));
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

void node_drop(struct ctx_context *ctx)
{
	struct ctx_context *dead = NULL;

	node_drop_later(ctx, &dead);
	if (dead)
		node_free_all(dead);
}

/*
 * The usual end: a leaf with nothing attached. When it cannot be found by its id any more, only its parent's
 * list leads to it, so while that is locked nobody can take a reference, and one look at refs is enough.
 */
static bool free_leaf(struct ctx_context *ctx)
{
	struct ctx_context *parent = ctx->parent, *dead = NULL;

	find_forget(ctx);
	if (load_acquire(&ctx->extension) || load_acquire(&ctx->refs) != 1)
		return false;
	if (parent->flags & NODE_STATIC) {
		free_own(ctx);
		return true;
	}
	struct shard *shard = node_shard(parent, ctx->shard);
	shard_acquire(shard);
	bool alone = load_acquire(&ctx->refs) == 1;
	bool owed = false;
	if (alone) {
		unlink_member(ctx);
		owed = shard_gives_back(shard);
	}
	lock_release(&shard->lock);
	if (!alone)
		return false;
	if (owed)
		node_drop_later(parent, &dead);
	free_own(ctx);
	node_free_all(dead);
	return true;
}

/* The last handle is gone: nothing new will come under this node. */
static void orphan(struct ctx_context *ctx)
{
	struct extension *extension = load_acquire(&ctx->extension);
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
	if (load_acquire(&ctx->state) & STATE_CHILDREN) {
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
	/* Who has the only handle is alone: a new one is made by a holder of one. */
	if (load_acquire(&node->handles) == 1)
		store_release(&node->handles, 0);
	else if (atomic_fetch_sub_explicit(&node->handles, 1, memory_order_acq_rel) != 1)
		return;
	if ((load_acquire(&node->state) & (STATE_ATTACHED | STATE_CHILDREN)) || node->flags & NODE_MERGED ||
	    !free_leaf(node))
		orphan(node);
}

/* ---- watching */

int context_watch(const struct ctx_context *ctx, struct watch *watch, const struct watch_ops *ops)
{
	struct ctx_context *node = node_mutable(ctx);
	struct extension *extension = node_extend(node);

	if (!extension)
		return -ENOMEM;
	if (__builtin_expect(node_is_inherited(node), 0))
		node_serve(node); /* who watches has a clock of its own, or comes without it */
	node_lock(node);
	int error = node_attach(node);
	if (!error) {
		watch->ops = ops;
		watch->ctx = node;
		node_hold(node);
		list_append(&extension->watches, &watch->link);
	}
	lock_release(&node->lock);
	return error;
}

void context_unwatch(struct watch *watch)
{
	struct ctx_context *node = watch->ctx;

	if (!node)
		return;
	node_lock(node);
	list_remove(&watch->link);
	watch->ctx = NULL;
	lock_release(&node->lock);
	node_drop(node);
}

/* So that those who never set one do not pay for looking. */
static _Atomic bool grace_used;

int ctx_set_grace(struct ctx_context *ctx, uint64_t grace_ns)
{
	if (!ctx || !node_can_end(ctx))
		return -EINVAL;
	if (context_error(ctx))
		return -EALREADY;
	struct extension *extension = node_extend(ctx);
	if (!extension)
		return -ENOMEM;
	store_relaxed(&extension->grace_ns, grace_ns ? grace_ns : CTX_FOREVER);
	atomic_store(&grace_used, true);
	return 0;
}

uint64_t context_grace(const struct ctx_context *ctx)
{
	if (!load_relaxed(&grace_used))
		return 0;
	for (; ctx; ctx = ctx->parent) {
		struct extension *extension = node_extension(ctx);
		uint64_t grace_ns = extension ? load_relaxed(&extension->grace_ns) : 0;
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
	node_drop(ctx);
}

void context_unwatch_released(struct watch *watch)
{
	list_remove(&watch->link);
	/* Not the last one: who drops the last handle holds the node until all watches have been told. */
	atomic_fetch_sub_explicit(&watch->ctx->refs, 1, memory_order_release);
}

void context_label(const struct ctx_context *ctx, char label[CTX_LABEL_MAX + 1])
{
	memset(label, 0, CTX_LABEL_MAX + 1);
	/* Behind its end the record may hold more of an earlier one. */
	if (ctx_id(ctx)) {
		const char *from = table_context(ctx->slot)->label;
		memcpy(label, from, strnlen(from, CTX_LABEL_MAX));
	}
}

bool context_is_used(const struct ctx_context *ctx)
{
	return load_acquire(&node_mutable(ctx)->refs) > 1;
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
