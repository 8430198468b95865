/* SPDX-License-Identifier: MIT */
#include "walk.h"

struct lock walk_lock;

static uint64_t walk_serial, walk_visits; /* walk lock */

/* The node in whose memory a member lies: for a link the merged node. */
static struct ctx_context *memory_owner(struct ctx_context *member)
{
	return member->flags & NODE_LINK ? node_parent_link(member)->target : member;
}

/* Returns the first member from this one on that is not being freed, with a reference; or NULL. */
static struct ctx_context *pin_first(struct ctx_context *member)
{
	while (member && !node_pin(memory_owner(member)))
		member = member->sibling_next;
	return member;
}

/* Returns the first child in the shards from number on, with a reference. */
static struct ctx_context *first_child(struct ctx_context *parent, unsigned number)
{
	struct ctx_context *child = NULL;
	unsigned count = node_shard_count(parent);

	for (; !child && number < count; number++) {
		struct shard *shard = node_shard(parent, number);
		shard_acquire(shard);
		child = pin_first(shard->first);
		lock_release(&shard->lock);
	}
	return child;
}

static struct ctx_context *next_sibling(struct ctx_context *member)
{
	struct shard *shard = node_shard(member->parent, member->shard);

	shard_acquire(shard);
	struct ctx_context *next = pin_first(member->sibling_next);
	lock_release(&shard->lock);
	return next ? next : first_child(member->parent, member->shard + 1u);
}

static bool has_children(struct ctx_context *node)
{
	return !(node->flags & NODE_STATIC) &&
	       atomic_load_explicit(&node->state, memory_order_acquire) & STATE_CHILDREN;
}

struct walk {
	bool (*visit)(struct ctx_context *node, void *data);
	void *data;
	struct ctx_context **dead;
	struct heap merged; /* merged nodes whose turn comes later, each with a reference; by their order */
};

/* Queues a merged node. False: it was queued in this walk before. */
static bool queue_merged(struct walk *walk, struct merge *merge, uint64_t key)
{
	if (merge->walk_queued == walk_serial)
		return false;
	merge->walk_queued = walk_serial;
	heap_insert(&walk->merged, &merge->walk_node, key);
	return true;
}

/* Visits member. Returns whether to go down from it now; a merged node is queued for later. */
static bool visit_member(struct walk *walk, struct ctx_context *member)
{
	walk_visits++;
	if (!walk->visit(member, walk->data))
		return false;
	if (!(member->flags & NODE_LINK))
		return has_children(member);
	struct ctx_context *target = node_parent_link(member)->target;
	struct merge *merge = node_merge(target);
	if (queue_merged(walk, merge, merge->order))
		node_hold(target);
	return false;
}

static void walk_tree(struct walk *walk, struct ctx_context *root)
{
	struct ctx_context *at = root;
	bool down = has_children(root);

	for (;;) {
		struct ctx_context *next = down ? first_child(at, 0) : NULL;
		while (!next) {
			if (at == root)
				return;
			struct ctx_context *parent = at->parent;
			next = next_sibling(at);
			node_unref_later(memory_owner(at), walk->dead);
			if (!next)
				at = parent;
		}
		at = next;
		down = visit_member(walk, at);
	}
}

/* Takes the queued node that was made first: the walk has been through everything above it that is below
 * root. */
static struct ctx_context *take_merged(struct walk *walk)
{
	struct heap_node *first = walk->merged.root;

	if (!first)
		return NULL;
	heap_remove(&walk->merged, first);
	return container_of(first, struct merge, walk_node)->links[0].target;
}

void walk_below(struct ctx_context *root, bool (*visit_one)(struct ctx_context *node, void *data), void *data,
		struct ctx_context **dead)
{
	struct walk walk = {.visit = visit_one, .data = data, .dead = dead};
	struct ctx_context *target;

	walk_serial++;
	walk_tree(&walk, root);
	while ((target = take_merged(&walk))) {
		if (visit_member(&walk, target))
			walk_tree(&walk, target);
		node_unref_later(target, dead);
	}
}

/* Goes up from node to one that has ended, which is returned, or to a merged one, which is queued. */
static struct ctx_context *climb_to_ended(struct walk *walk, struct ctx_context *node)
{
	for (; node_is_inherited(node) && !(node->flags & NODE_DETACHED); node = node->parent) {
		if (context_error(node))
			return node;
		if (node->flags & NODE_MERGED) {
			/* The last made comes first, so that all below a merged node comes before it. */
			queue_merged(walk, node_merge(node), UINT64_MAX - node_merge(node)->order);
			return NULL;
		}
	}
	return NULL;
}

struct ctx_context *walk_find_ended(struct ctx_context *ctx)
{
	struct walk walk = {.visit = NULL};
	struct ctx_context *target, *ended;

	lock_acquire(&walk_lock);
	walk_serial++;
	ended = climb_to_ended(&walk, ctx);
	while (!ended && (target = take_merged(&walk))) {
		const struct merge *merge = node_merge(target);
		for (unsigned i = 0; i < merge->count && !ended; i++)
			ended = climb_to_ended(&walk, merge->links[i].node.parent);
	}
	lock_release(&walk_lock);
	return ended;
}

uint64_t walk_count_visits(void)
{
	lock_acquire(&walk_lock);
	uint64_t visits = walk_visits;
	lock_release(&walk_lock);
	return visits;
}

/* ---- fork: a walk of another thread does not go on in the child; the next walk there has another serial */

static void enter_child(void)
{
	walk_lock = (struct lock){0};
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	pthread_atfork(NULL, NULL, enter_child);
}

/* ---- for tests */

static bool count_node(struct ctx_context *node, void *data)
{
	unsigned *count = data;

	if (node->flags & NODE_DETACHED || context_error(node))
		return false;
	if (node->flags & NODE_VALUE)
		return true;
	++*count;
	return false;
}

unsigned context_count_children(const struct ctx_context *ctx)
{
	struct ctx_context *dead = NULL;
	unsigned count = 0;

	lock_acquire(&walk_lock);
	walk_below(node_mutable(ctx), count_node, &count, &dead);
	lock_release(&walk_lock);
	node_free_all(dead);
	return count;
}
