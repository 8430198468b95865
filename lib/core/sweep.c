/* SPDX-License-Identifier: MIT */
#include "sweep.h"

#include "callback.h"
#include "cause.h"
#include "clock.h"
#include "done.h"
#include "table.h"
#include "thread.h"
#include "walk.h"
#include "wire.h"

void sweep_init(struct sweep *sweep, bool on_worker)
{
	*sweep = (struct sweep){.on_worker = on_worker};
	sweep->last = &sweep->first;
	deferred_list_init(&sweep->later);
}

/* ---- first pass: marking */

/* Takes over a reference. */
static void remember(struct sweep *sweep, struct ctx_context *node)
{
	node->sweep_next = NULL;
	*sweep->last = node;
	sweep->last = &node->sweep_next;
}

static bool in_table(const struct ctx_context *node)
{
	return !(node->flags & NODE_UNLISTED) && node->table_epoch == thread_fork_count;
}

/*
 * Live to done. Returns the state before, which was done already if somebody else was
 * first. Below a leaf there is nothing to sweep: a later child is born done.
 */
static uint32_t mark_state(struct ctx_context *node, uint32_t end)
{
	uint32_t state = atomic_load_explicit(&node->state, memory_order_relaxed);

	/* Sequentially consistent: see spread(). */
	while (!(state & STATE_ERRNO)) {
		uint32_t swept = state & STATE_CHILDREN ? 0 : STATE_SWEPT;
		if (atomic_compare_exchange_weak(&node->state, &state, state | end | swept))
			break;
	}
	return state;
}

/* Marked, but what is below it perhaps not yet. */
static inline bool is_unfinished(uint32_t state)
{
	return state & STATE_ERRNO && (state & (STATE_CHILDREN | STATE_SWEPT)) == STATE_CHILDREN;
}

/* Marks one node for its parent's end; what has more to it than a state is pinned and remembered. */
static bool mark_node(struct sweep *sweep, struct ctx_context *node, uint32_t end)
{
	uint32_t before = mark_state(node, end);

	if (before & STATE_ERRNO) {
		sweep->foreign |= is_unfinished(before);
		return false;
	}
	if (in_table(node))
		atomic_store_explicit(&table_context(node->slot)->state, end & STATE_ERRNO,
				      memory_order_release);
	if (before & STATE_ATTENTION && node_pin(node))
		remember(sweep, node);
	return true;
}

/* The table names the parent that ended a merged node as its parent. */
static void write_parent(struct ctx_context *node, const struct ctx_context *parent)
{
	struct ctx_table_context *record = table_context(node->slot);

	table_write_begin(&record->seq);
	context_table_id(parent, &record->parent_slot, &record->parent_generation);
	table_write_end(&record->seq);
}

void sweep_mark_link(struct sweep *sweep, struct ctx_context *node, uint32_t error)
{
	struct parent_link *link = node_parent_link(node), *none = NULL;
	struct merge *merge = node_merge(link->target);

	mark_state(node, error);
	/* The first parent to come here is the one whose end it is; whoever comes later marks for it. */
	atomic_compare_exchange_strong(&merge->from, &none, link);
	link = atomic_load(&merge->from);
	uint32_t from = atomic_load_explicit(&link->node.state, memory_order_acquire);
	if (mark_node(sweep, link->target, (from & STATE_ERRNO) | STATE_MERGED) && in_table(link->target))
		write_parent(link->target, link->node.parent);
}

static inline void mark_member(struct sweep *sweep, struct ctx_context *member, uint32_t error)
{
	if (__builtin_expect(member->flags & (NODE_LINK | NODE_DETACHED), 0)) {
		if (member->flags & NODE_LINK)
			sweep_mark_link(sweep, member, error);
		return;
	}
	mark_node(sweep, member, error);
}

static void mark_children(struct sweep *sweep, struct ctx_context *parent)
{
	uint32_t error = atomic_load_explicit(&parent->state, memory_order_relaxed) & STATE_ERRNO;
	unsigned count = node_shard_count(parent);

	for (unsigned i = 0; i < count; i++) {
		struct shard *shard = node_shard(parent, i);
		shard_acquire(shard);
		for (struct ctx_context *member = shard->first; member; member = member->sibling_next) {
			__builtin_prefetch(member->sibling_next, 1);
			mark_member(sweep, member, error);
		}
		lock_release(&shard->lock);
	}
}

/* Marks what is below everything from node on in the list. */
static void mark_from(struct sweep *sweep, struct ctx_context *node)
{
	for (; node; node = node->sweep_next)
		if (atomic_load_explicit(&node->state, memory_order_relaxed) & STATE_CHILDREN)
			mark_children(sweep, node);
}

/*
 * Goes where a sweep began and is still busy. What is unfinished is judged after the attempt to mark:
 * whoever was first may have come between a look before it and the attempt, and be no further yet.
 */
static bool help_visit(struct ctx_context *node, void *data)
{
	struct sweep *sweep = data;
	struct ctx_context *marked = node->flags & NODE_LINK ? node_parent_link(node)->target : node;
	uint32_t above = atomic_load_explicit(&node->parent->state, memory_order_acquire) & STATE_ERRNO;

	if (node->flags & NODE_MERGED) /* marked through a link */
		return is_unfinished(atomic_load_explicit(&node->state, memory_order_acquire));
	if (!above || node->flags & NODE_DETACHED)
		return false;
	if (node->flags & NODE_LINK)
		sweep_mark_link(sweep, node, above);
	else
		mark_node(sweep, node, above);
	return is_unfinished(atomic_load_explicit(&marked->state, memory_order_acquire));
}

/*
 * Below root there were nodes that another sweep has marked and may not have gone
 * through yet: does that for it, until nothing new turns up. root is kept by the caller. Costs one
 * walk over what no sweep has finished, and one more for each other sweep that is met below what it marks.
 */
static void help(struct sweep *sweep, struct ctx_context *root)
{
	do {
		struct ctx_context *dead = NULL, **news = sweep->last;
		sweep->foreign = false;
		lock_acquire(&walk_lock);
		walk_below(root, help_visit, sweep, &dead);
		lock_release(&walk_lock);
		node_free_all(dead);
		bool progress = *news != NULL;
		sweep->foreign = false;
		mark_from(sweep, *news);
		if (!progress)
			break;
	} while (sweep->foreign);
}

/* ---- second pass: telling */

static void retire_signal(struct extension *extension, struct ctx_context **ret_held)
{
	struct signal_request *request = atomic_load_explicit(&extension->signal, memory_order_acquire);

	if (request && signal_request_take(request, SIGNAL_RETIRED))
		*ret_held = request->ctx;
}

static void tell(struct sweep *sweep, struct ctx_context *node)
{
	uint32_t state = atomic_load_explicit(&node->state, memory_order_acquire);
	struct timer *timer = state & STATE_ATTACHED ? node_timer(node) : NULL;
	struct extension *extension = atomic_load(&node->extension); /* see node_attach() */
	struct ctx_context *held = NULL;
	uint8_t words[WIRE_LAST_WORDS_MAX];

	if (state & STATE_WAITERS)
		sys_futex_wake(&node->state, INT32_MAX);
	if (timer)
		timer_disarm(timer);
	if (!(state & STATE_ATTACHED) || !extension)
		return;
	node_lock(node);
	if (extension->done)
		done_close(extension->done, words, cause_last_words(node, words));
	retire_signal(extension, &held);
	/* They stay in the list: draining finds the operations of a done context by them. */
	for (struct list *link = extension->watches.next; link != &extension->watches; link = link->next) {
		struct watch *watch = container_of(link, struct watch, link);
		watch->ops->done(watch, &sweep->later);
	}
	lock_release(&node->lock);
	callback_post_all(node, &sweep->later);
	if (held)
		node_unref(held);
}

static void run_callbacks(struct sweep *sweep, struct ctx_context *node)
{
	if (callback_pending(node)) {
		if (sweep->on_worker && worker_post(node))
			return; /* with the pin */
		callback_run_all(node);
	}
	node_unref(node);
}

static void finish(struct sweep *sweep)
{
	struct ctx_context *node, *next;

	for (node = sweep->first; node; node = node->sweep_next)
		if (atomic_load_explicit(&node->state, memory_order_relaxed) & STATE_CHILDREN)
			atomic_fetch_or_explicit(&node->state, STATE_SWEPT, memory_order_release);
	for (node = sweep->first; node; node = node->sweep_next)
		tell(sweep, node);
	deferred_run(&sweep->later);
	for (node = sweep->first; node; node = next) {
		next = node->sweep_next;
		run_callbacks(sweep, node);
	}
}

/* root is marked, by this thread; before is its state before that. */
static void sweep_below(struct ctx_context *root, uint32_t before, bool on_worker)
{
	struct sweep sweep;

	sweep_init(&sweep, on_worker);
	node_hold(root);
	remember(&sweep, root);
	if (before & STATE_CHILDREN)
		mark_from(&sweep, root);
	if (sweep.foreign)
		help(&sweep, root);
	finish(&sweep);
}

/* ---- ending one node by itself */

static void write_cause(struct ctx_context *ctx)
{
	struct cause_text *text = ctx->cause_text;

	text->slot = table_cause_new();
	if (!text->slot)
		return;
	struct ctx_table_cause *record = &table_map.causes[text->slot];
	table_write_begin(&record->seq);
	record->error = text->error ? text->error : ctx->cause_code ? ctx->cause_code : -context_error(ctx);
	record->context_slot = ctx->slot;
	record->context_generation = ctx->generation;
	for (size_t i = 0; i < sizeof(record->text); i++)
		record->text[i] = text->text[i];
	table_write_end(&record->seq);
}

static inline void write_end(struct ctx_context *ctx)
{
	if (ctx->cause_text)
		write_cause(ctx);
	struct ctx_table_context *record = table_context(ctx->slot);
	table_write_begin(&record->seq);
	record->done_ns = ctx->cause_time_ns;
	atomic_store_explicit(&record->done_site, (uintptr_t)ctx->cause_site, memory_order_relaxed);
	record->done_tid = ctx->cause_tid;
	record->cause_slot = ctx->cause_text ? ctx->cause_text->slot : 0;
	record->cause_kind = ctx->cause_kind;
	record->cause_code = ctx->cause_kind >= CTX_CAUSE_SIGNAL ? ctx->cause_code : 0;
	atomic_store_explicit(&record->state, (uint32_t)context_error(ctx) | CTX_TABLE_OWN,
			      memory_order_relaxed);
	table_write_end(&record->seq);
}

/* Of those who want to end a node by itself, one writes the cause; true for that one. */
static inline bool claim(struct ctx_context *ctx)
{
	const uint32_t any = STATE_CLAIMED | ~0u << STATE_FORKS_SHIFT;
	const uint32_t here = STATE_CLAIMED | thread_fork_count << STATE_FORKS_SHIFT;
	uint32_t state = atomic_load_explicit(&ctx->state, memory_order_relaxed);

	while (!(state & STATE_ERRNO) && (state & any) != here)
		if (atomic_compare_exchange_weak_explicit(&ctx->state, &state, (state & ~any) | here,
							  memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

/* Another thread has claimed ctx, or an ancestor's end reached it: both end it without waiting for anything.
 */
static void wait_for_end(struct ctx_context *ctx)
{
	for (int i = 0; i < 100; i++)
		if (context_error(ctx))
			return;
	for (;;) {
		uint32_t state = atomic_fetch_or(&ctx->state, STATE_WAITERS) | STATE_WAITERS;
		if (state & STATE_ERRNO)
			return;
		sys_futex_wait(&ctx->state, state, NULL);
	}
}

/* True if this end is the one; false: ctx is done, or will be in a moment. */
static inline __attribute__((always_inline)) bool try_end(struct ctx_context *ctx, const struct end *end,
							  uint32_t *ret_before)
{
	if (!claim(ctx))
		return false;
	ctx->cause_kind = (uint8_t)end->kind;
	ctx->cause_code = end->code;
	ctx->cause_site = end->site;
	ctx->cause_tid = end->tid;
	ctx->cause_time_ns = clock_coarse_ns();
	ctx->cause_text = end->text;
	*ret_before = mark_state(ctx, (uint32_t)end->error | STATE_OWN);
	if (!(*ret_before & STATE_ERRNO))
		return true;
	ctx->cause_text = NULL;
	return false;
}

/* After it was marked; no lock held. */
static inline __attribute__((always_inline)) void ended(struct ctx_context *ctx, uint32_t before,
							bool on_worker)
{
	if (in_table(ctx))
		write_end(ctx);
	if (!(before & STATE_ATTENTION))
		return;
	if ((before & STATE_ATTENTION) == STATE_ATTACHED &&
	    !atomic_load(&ctx->extension)) /* see node_attach() */
		timer_disarm(node_timer(ctx));
	else
		sweep_below(ctx, before, on_worker);
}

static inline __attribute__((always_inline)) int end_by_itself(struct ctx_context *ctx, const struct end *end)
{
	uint32_t before;

	if (!try_end(ctx, end, &before)) {
		wait_for_end(ctx);
		if (node_is_inherited(ctx)) /* who was first may not be in this process, and half through */
			context_spread_end(ctx);
		return -EALREADY;
	}
	ended(ctx, before, end->on_worker);
	return 0;
}

int context_end(struct ctx_context *ctx, const struct end *end)
{
	return end_by_itself(ctx, end);
}

/* The plain cancel, written out for it: it is what most contexts end with. */
int context_cancel(struct ctx_context *ctx, const void *site)
{
	struct end end = {
		.error = ECANCELED, .kind = CTX_CAUSE_CALL, .site = site, .tid = thread_self()->tid};

	return end_by_itself(ctx, &end);
}

void context_end_deadline(struct ctx_context *ctx, uint64_t now_ns)
{
	struct end end = {
		.error = ETIME, .kind = CTX_CAUSE_DEADLINE, .tid = thread_self()->tid, .on_worker = true};
	uint32_t before;
	bool won = false;

	node_lock(ctx);
	/* It may have been moved since the timer fired. */
	if (node_own_deadline(ctx) <= now_ns) {
		struct extension *extension = atomic_load_explicit(&ctx->extension, memory_order_acquire);
		end.text = extension ? extension->deadline_cause : NULL;
		end.code = end.text ? end.text->error : 0;
		won = try_end(ctx, &end, &before);
		if (won && extension)
			extension->deadline_cause = NULL;
	}
	lock_release(&ctx->lock);
	if (won)
		ended(ctx, before, true);
}

/* The way up from a merged node is by the parent that it takes its deadline from. */
static struct ctx_context *deadline_parent(struct ctx_context *ctx)
{
	if (!(ctx->flags & NODE_MERGED))
		return ctx->parent;
	struct merge *merge = node_merge(ctx);
	struct ctx_context *earliest = &merge->links[0].node;
	for (unsigned i = 1; i < merge->count; i++)
		if (context_deadline(&merge->links[i].node) < context_deadline(earliest))
			earliest = &merge->links[i].node;
	return earliest->parent;
}

/* Callbacks of what it marks are the worker's: the caller ended nothing. */
static void spread_end(struct ctx_context *ctx)
{
	struct sweep sweep;

	sweep_init(&sweep, true);
	help(&sweep, ctx);
	finish(&sweep);
}

void context_spread_end(struct ctx_context *ctx)
{
	if (is_unfinished(atomic_load_explicit(&ctx->state, memory_order_acquire)))
		spread_end(ctx);
}

void context_expire(const struct ctx_context *ctx, uint64_t now_ns)
{
	struct ctx_context *node = node_mutable(ctx), *top = NULL;

	if (context_error(ctx))
		return;
	while (node && context_deadline(node) <= now_ns) {
		if (node_own_deadline(node) <= now_ns)
			top = node;
		node = deadline_parent(node);
	}
	if (!top)
		return;
	context_end_deadline(top, now_ns);
	if (node_own_deadline(top) <= now_ns)
		wait_for_end(top);
	/* Another thread began with top before us and has not come to ctx. */
	if (!context_error(ctx) && context_error(top))
		spread_end(top);
}
