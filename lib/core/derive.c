/* SPDX-License-Identifier: MIT */
/* Making contexts: a node, its record in the table, and its place among the children of its parent. */
#include <string.h>

#include "cause.h"
#include "clock.h"
#include "counters.h"
#include "debug.h"
#include "find.h"
#include "memory.h"
#include "node.h"
#include "table.h"
#include "thread.h"
#include "usdt.h"

/* The slot and the generation of a node lie side by side, as those of the parent do in a record. */
#define PLACE_SIZE (2 * sizeof(uint32_t))
_Static_assert(offsetof(struct ctx_context, generation) == offsetof(struct ctx_context, slot) + 4,
	       "side by side");
_Static_assert(offsetof(struct ctx_table_context, parent_generation) ==
		       offsetof(struct ctx_table_context, parent_slot) + 4,
	       "side by side");

static inline void list_in_table(struct ctx_context *node, const struct ctx_context *parent,
				 const struct node_options *options)
{
	uint64_t above = 0;
	uint32_t slot = options->flags & NODE_UNLISTED ? 0 : table_context_new();

	if (parent->table_epoch == thread_fork_count)
		memcpy(&above, &parent->slot, PLACE_SIZE);
	if (__builtin_expect(!slot, 0)) {
		node->flags |= NODE_UNLISTED;
		memcpy(&node->slot, &above, PLACE_SIZE);
		return;
	}
	struct ctx_table_context *record = table_context(slot);
	uint32_t before = table_write_begin(&record->seq);
	uint32_t generation = atomic_load_explicit(&record->generation, memory_order_relaxed) + 1;
	generation = generation ? generation : 1;
	atomic_store_explicit(&record->generation, generation, memory_order_relaxed);
	memcpy(&record->parent_slot, &above, PLACE_SIZE);
	record->creator_tid = thread_self()->tid;
	uint64_t now_ns = options->now_ns ? options->now_ns : clock_coarse_ns();
	record->created_ns = now_ns;
	atomic_store_explicit(&record->deadline_ns, CTX_FOREVER, memory_order_relaxed);
	record->site = (uintptr_t)options->site;
	record->done_ns = 0;
	atomic_store_explicit(&record->done_site, 0, memory_order_relaxed);
	record->done_tid = record->cause_slot = 0;
	record->kind = (uint8_t)options->kind;
	record->cause_kind = 0;
	record->stem = CTX_TABLE_STEM_NONE;
	record->cause_code = 0;
	record->label[0] = '\0';
	unsigned stem = CTX_TABLE_STEM_NONE;
	if (options->label)
		stem = counters_begin_label(options->label, options->site, record);
	else
		counters_begin(CTX_TABLE_STEM_NONE);
	atomic_store_explicit(&record->state, CTX_TABLE_LIVE, memory_order_relaxed);
	table_write_end_of(&record->seq, before);
	node->slot = slot;
	node->generation = generation;
	node->count_key = counters_key(stem, now_ns);
	usdt_context_begin(slot, generation, record->parent_slot, record->parent_generation, options->label);
}

/* Sets field by field: to assign a structure of this size, compilers choose an instruction that takes a third
 * of the time of making a context. */
static inline void init_node(struct ctx_context *node, const struct ctx_context *parent, unsigned flags)
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

static inline struct ctx_context *make_node(const struct ctx_context *parent,
					    const struct node_options *options)
{
	struct ctx_context *node = memory_allocate(sizeof(*node) + options->tail);

	if (!node)
		return NULL;
	init_node(node, parent, options->flags);
	list_in_table(node, parent, options);
	return node;
}

struct ctx_context *node_new(const struct ctx_context *parent, const struct node_options *options)
{
	return make_node(parent, options);
}

/* Gives the node SHARD_COUNT shards, since two threads met in its own one: from now on threads use different
 * ones. */
static void add_shards(struct ctx_context *ctx)
{
	struct extension *extension = node_extend(ctx);
	struct shard_line *none = NULL;

	if (!extension || atomic_load_explicit(&extension->shards, memory_order_acquire))
		return;
	void *memory = memory_allocate(sizeof(struct shard_line) * (SHARD_COUNT + 1));
	if (!memory)
		return;
	uintptr_t mask = sizeof(struct shard_line) - 1;
	struct shard_line *lines = (struct shard_line *)(((uintptr_t)memory + mask) & ~mask);
	memset(lines, 0, sizeof(*lines) * SHARD_COUNT);
	/* Sequentially consistent. This thread stores shards, then loads the parent's state
	 * (node_link_member); a sweep stores the state, then loads shards (mark_children). One of the two
	 * sees the other's store. */
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
		add_shards(parent);
		count = node_shard_count(parent);
	}
	unsigned number = count == 1 ? 0 : 1 + thread_self()->serial % SHARD_COUNT;
	struct shard *shard = node_shard(parent, number);
	shard_acquire(shard);
	*ret_number = (uint8_t)number;
	return shard;
}

/* Stores the deadline of a member that other threads cannot find yet. Once they can, they may write it as
 * well. */
static inline void store_deadline(struct ctx_context *member, uint64_t deadline_ns)
{
	atomic_store_explicit(&member->deadline_ns, deadline_ns, memory_order_relaxed);
	if (deadline_ns != CTX_FOREVER && !(member->flags & NODE_UNLISTED))
		atomic_store_explicit(&table_context(member->slot)->deadline_ns, deadline_ns,
				      memory_order_relaxed);
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
		/* Before the flag is set: one reference too many in a forked child does no harm. */
		node_hold(parent);
		atomic_signal_fence(memory_order_release);
		shard->flags |= SHARD_HOLDS;
	}
	if (!(member->flags & NODE_DETACHED)) {
		error = state & STATE_ERRNO;
		uint64_t above_ns = atomic_load_explicit(&parent->deadline_ns, memory_order_relaxed);
		if (above_ns < deadline_ns)
			deadline_ns = above_ns;
		if (error) {
			uint32_t born = atomic_load_explicit(&member->state, memory_order_relaxed);
			atomic_store_explicit(&member->state, born | error | STATE_SWEPT,
					      memory_order_relaxed);
		}
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

/* node was made below a context that has ended. */
static __attribute__((noinline, cold)) void write_born_done(struct ctx_context *node, uint32_t error)
{
	if (node->flags & NODE_UNLISTED)
		return;
	struct ctx_table_context *record = table_context(node->slot);
	atomic_store_explicit(&record->state, error, memory_order_release);
	unsigned kind = cause_kind_near(node);
	counters_end(record, kind, record->created_ns);
	usdt_context_end(node->slot, node->generation, error, kind, 0);
}

void node_publish(struct ctx_context *node, uint64_t own_deadline_ns)
{
	/* The result is not needed: where the timer does not start, the next call that waits says so. */
	if (__builtin_expect(node_is_inherited(node->parent), 0))
		node_serve(node->parent);
	int error = node_link_member(node, own_deadline_ns);
	if (error)
		write_born_done(node, (uint32_t)error);
	if (!error && node_can_end(node))
		find_remember(node);
}

static inline int make_cancel(const struct ctx_context *parent, const char *label, const void *site,
			      struct ctx_context **ret_ctx)
{
	struct node_options options = {
		.kind = CTX_TABLE_CANCEL,
		.label = label,
		.site = site,
	};
	struct ctx_context *node = make_node(parent, &options);
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
		return debug_invalid(NULL, parent, ret_ctx);
	return make_cancel(parent, label, __builtin_return_address(0), ret_ctx);
}

/* To be called before the node is published: nobody else writes the record so far. */
static void write_watched(const struct ctx_context *node, const struct watched *watched)
{
	if (node->flags & NODE_UNLISTED)
		return;
	struct ctx_table_context *record = table_context(node->slot);
	table_write_begin(&record->seq);
	record->cause_kind = (uint8_t)watched->kind;
	record->source_id = watched->id;
	record->source_flags = watched->flags;
	record->source_detail = watched->detail;
	table_write_end(&record->seq);
}

int context_new_source(const struct ctx_context *parent, const char *label, const void *site,
		       const struct watched *watched, struct ctx_context **ret_ctx)
{
	struct node_options options = {.kind = CTX_TABLE_SOURCE, .label = label, .site = site};
	struct ctx_context *node = node_new(parent, &options);

	if (!node)
		return -ENOMEM;
	write_watched(node, watched);
	node_publish(node, CTX_FOREVER);
	*ret_ctx = node;
	return 0;
}

int ctx_without_cancel(const struct ctx_context *parent, const char *label,
		       const struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return debug_invalid(NULL, parent, ret_ctx);
	struct node_options options = {
		.flags = NODE_DETACHED | NODE_ENDLESS,
		.kind = CTX_TABLE_DETACHED,
		.label = label,
		.site = __builtin_return_address(0),
	};
	struct ctx_context *node = node_new(parent, &options);
	if (!node)
		return -ENOMEM;
	node_publish(node, CTX_FOREVER);
	*ret_ctx = node;
	return 0;
}
