/* SPDX-License-Identifier: MIT */
/* Watches: how the folders above hear of a node's end, and find their own structures below a node. */
#include "walk.h"

int context_watch(const struct ctx_context *ctx, struct watch *watch, const struct watch_ops *ops)
{
	struct ctx_context *node = node_mutable(ctx);
	struct extension *extension = node_extend(node);

	if (!extension)
		return -ENOMEM;
	/* The result is not needed: who watches has a clock of its own, or needs none. */
	if (__builtin_expect(node_is_inherited(node), 0))
		node_serve(node);
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
	node_unref(node);
}

void context_unwatch_released(struct watch *watch)
{
	list_remove(&watch->link);
	/* Not the last reference: orphan_node() has one until all watches were told. */
	atomic_fetch_sub_explicit(&watch->ctx->refs, 1, memory_order_release);
}

/* ---- watches below a node */

struct watch_visit {
	enum watch_scope scope;
	const struct watch_ops *ops;
	void (*visit)(struct watch *watch, void *data);
	void *data;
};

static void visit_watches(struct ctx_context *node, const struct watch_visit *visit)
{
	struct extension *extension = node_extension(node);

	if (!extension)
		return;
	node_lock(node);
	for (struct list *link = extension->watches.next; link != &extension->watches; link = link->next) {
		struct watch *watch = container_of(link, struct watch, link);
		if (watch->ops == visit->ops)
			visit->visit(watch, visit->data);
	}
	lock_release(&node->lock);
}

static bool visit_node_watches(struct ctx_context *node, void *data)
{
	const struct watch_visit *visitor = data;

	if (node->flags & NODE_DETACHED && visitor->scope == WATCH_REACHED)
		return false;
	if (!(node->flags & NODE_LINK))
		visit_watches(node, visitor);
	return true;
}

void context_each_watch(const struct ctx_context *ctx, enum watch_scope scope, const struct watch_ops *ops,
			void (*visit_one)(struct watch *watch, void *data), void *data)
{
	struct watch_visit visitor = {.scope = scope, .ops = ops, .visit = visit_one, .data = data};
	struct ctx_context *dead = NULL;

	lock_acquire(&walk_lock);
	visit_watches(node_mutable(ctx), &visitor);
	walk_below(node_mutable(ctx), visit_node_watches, &visitor, &dead);
	lock_release(&walk_lock);
	node_free_all(dead);
}
