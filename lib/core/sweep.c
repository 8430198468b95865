/* SPDX-License-Identifier: MIT */
/*
 * How a cancel goes through the tree. context_end() claims the node and marks it done. sweep_below() then
 * makes two passes. The first marks all nodes below (mark_from). The second, finish_sweep(), tells the
 * waiters, timers, pipes and watches of each marked node; then it runs deferred work and callbacks, without
 * locks.
 */
#include "sweep.h"

#include "callback.h"
#include "cause.h"
#include "clock.h"
#include "done.h"
#include "past.h"
#include "table.h"
#include "thread.h"
#include "usdt.h"
#include "walk.h"
#include "wire.h"

void sweep_init(struct sweep *sweep, bool on_worker, unsigned cause_kind, uint64_t now_ns)
{
	*sweep = (struct sweep){.on_worker = on_worker, .ended = {.kind = cause_kind, .now_ns = now_ns}};
	sweep->last = &sweep->first;
	deferred_list_init(&sweep->later);
}

/* ---- first pass: marking */

/* Appends node to the sweep's list. Takes over a reference. */
static void append_marked(struct sweep *sweep, struct ctx_context *node)
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
 * Marks node as done, if it is live. Returns the state before, which shows whether it was done already. A
 * leaf counts as swept at once, since nothing is below it: a later child is born done.
 */
static uint32_t mark_state(struct ctx_context *node, uint32_t end)
{
	uint32_t state = atomic_load_explicit(&node->state, memory_order_relaxed);

	/* Sequentially consistent: see add_shards(). */
	while (!(state & STATE_ERRNO)) {
		uint32_t swept = state & STATE_CHILDREN ? 0 : STATE_SWEPT;
		if (atomic_compare_exchange_weak(&node->state, &state, state | end | swept))
			break;
	}
	return state;
}

/* True when a node is marked, but nodes below it may not be. */
static inline bool is_unfinished(uint32_t state)
{
	return state & STATE_ERRNO && (state & (STATE_CHILDREN | STATE_SWEPT)) == STATE_CHILDREN;
}

/* Marks a node because its parent has ended. False: it was done already. It is appended to the sweep's list
 * if somebody waits for it or it has children. */
static inline __attribute__((always_inline)) bool mark_node(struct sweep *sweep, struct ctx_context *node,
							    uint32_t end)
{
	uint32_t before = mark_state(node, end);

	if (before & STATE_ERRNO) {
		sweep->foreign |= is_unfinished(before);
		return false;
	}
	sweep->marked++;
	if (__builtin_expect(in_table(node), 1)) {
		struct ctx_table_context *record = table_context(node->slot);
		/* Who has claimed it has overwritten the key, and who has not will not any more. */
		counters_end_in_run(&sweep->ended, __builtin_expect(before & STATE_CLAIMED, 0)
							   ? counters_key_of(record)
							   : node->count_key);
		atomic_store_explicit(&record->state, end & STATE_ERRNO, memory_order_release);
		usdt_context_end(node->slot, node->generation, end & STATE_ERRNO, sweep->ended.kind,
				 sweep->cause_tid);
	}
	if (before & STATE_ATTENTION && node_pin(node))
		append_marked(sweep, node);
	return true;
}

/* Writes the parent that ended a merged node as its parent to the table. */
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
	/* The first parent to come here is the one that ends the merged node. A sweep that comes later from
	 * another parent marks on behalf of the first. */
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

/* Marks the children of all nodes in the sweep's list from node on; they are appended to it. */
static void mark_from(struct sweep *sweep, struct ctx_context *node)
{
	for (; node; node = node->sweep_next)
		if (atomic_load_explicit(&node->state, memory_order_relaxed) & STATE_CHILDREN)
			mark_children(sweep, node);
}

/*
 * Visits a node for help_sweeps(): marks it if its parent is done, and goes on below where a sweep is
 * unfinished. Whether it is unfinished is looked at after the attempt to mark: another sweep may have marked
 * the node just before, and not have come further.
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
 * Below root are nodes that other sweeps have marked, and may not have gone through yet. Does that for them,
 * until there is nothing new. The caller has a reference on root. Costs one walk over the part that no sweep
 * has finished, and one more for each other sweep that is met below what this one marks.
 */
static void help_sweeps(struct sweep *sweep, struct ctx_context *root)
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

/* No signal handler can queue the request any more. *ret_held: the context whose reference it had. */
static void void_signal(struct extension *extension, struct ctx_context **ret_held)
{
	struct signal_request *request = atomic_load_explicit(&extension->signal, memory_order_acquire);

	if (request && signal_request_take(request, SIGNAL_VOID))
		*ret_held = request->ctx;
}

/* The last words that were packed last. Most nodes of a sweep end with the same ones. */
struct last_words {
	const struct ctx_context *origin; /* NULL: none were packed */
	int error;
	size_t size;
	uint8_t bytes[WIRE_LAST_WORDS_MAX];
};

/* Packs the last words of node, unless they are packed. To pack them takes two system calls. */
static void pack_last_words(struct last_words *words, const struct ctx_context *node)
{
	const struct ctx_context *origin = cause_origin(node);
	int error = context_error(node);

	if (words->origin == origin && words->error == error)
		return;
	words->origin = origin;
	words->error = error;
	words->size = cause_last_words(node, words->bytes);
}

/* Tells all that wait for the end of node but its callbacks without a ring. */
static void tell_end(struct sweep *sweep, struct ctx_context *node, struct last_words *words)
{
	uint32_t state = atomic_load_explicit(&node->state, memory_order_acquire);
	struct timer *timer = state & STATE_ATTACHED ? node_timer(node) : NULL;
	struct extension *extension = atomic_load(&node->extension); /* see node_attach() */
	struct ctx_context *held = NULL;

	if (state & STATE_WAITERS)
		sys_futex_wake(&node->state, INT32_MAX);
	if (timer)
		timer_disarm(timer);
	if (!(state & STATE_ATTACHED) || !extension)
		return;
	node_lock(node);
	if (extension->done) {
		pack_last_words(words, node);
		done_close(extension->done, words->bytes, words->size);
	}
	void_signal(extension, &held);
	/* Watches stay in the list: a drain finds the operations of a done context by them. */
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
			return; /* the worker thread has the reference */
		callback_run_all(node);
	}
	node_unref(node);
}

static void finish_sweep(struct sweep *sweep)
{
	struct ctx_context *node, *next;
	struct last_words words;

	words.origin = NULL;
	counters_end_run(&sweep->ended);
	for (node = sweep->first; node; node = node->sweep_next)
		if (atomic_load_explicit(&node->state, memory_order_relaxed) & STATE_CHILDREN)
			atomic_fetch_or_explicit(&node->state, STATE_SWEPT, memory_order_release);
	for (node = sweep->first; node; node = node->sweep_next)
		tell_end(sweep, node, &words);
	deferred_run(&sweep->later);
	for (node = sweep->first; node; node = next) {
		next = node->sweep_next;
		run_callbacks(sweep, node);
	}
}

/* Sweeps below root, which this thread has marked; before is its state before that. has_reason: its end is to
 * be written to the journal in any case. */
static void sweep_below(struct ctx_context *root, uint32_t before, bool on_worker, bool has_reason)
{
	struct sweep sweep;

	sweep_init(&sweep, on_worker, root->cause_kind, root->cause_time_ns);
	sweep.cause_tid = root->cause_tid;
	node_hold(root);
	append_marked(&sweep, root);
	if (before & STATE_CHILDREN)
		mark_from(&sweep, root);
	if (sweep.foreign)
		help_sweeps(&sweep, root);
	if (in_table(root) && (has_reason || sweep.marked || past_has_audience(root, before)))
		past_write_end(root, sweep.marked);
	finish_sweep(&sweep);
}

/* ---- ending a node with which an end begins */

/* Writes the text of a cause. Returns the slot of its record; 0: there is none. */
static __attribute__((noinline)) uint32_t write_cause(const struct ctx_context *ctx)
{
	struct cause_text *text = ctx->cause_text;

	text->slot = table_cause_new();
	if (!text->slot)
		return 0;
	struct ctx_table_cause *record = &table_map.causes[text->slot];
	table_write_begin(&record->seq);
	record->error = text->error ? text->error : ctx->cause_code ? ctx->cause_code : -context_error(ctx);
	record->context_slot = ctx->slot;
	record->context_generation = ctx->generation;
	for (size_t i = 0; i < sizeof(record->text); i++)
		record->text[i] = text->text[i];
	for (size_t i = 0; i < sizeof(record->host); i++)
		record->host[i] = text->host[i];
	table_write_end(&record->seq);
	return text->slot;
}

/* Inlined, because most of end is constant where it is called. */
static inline __attribute__((always_inline)) void write_end(struct ctx_context *ctx, const struct end *end)
{
	struct ctx_table_context *record = table_context(ctx->slot);
	const uint32_t cause_slot = end->text ? write_cause(ctx) : 0;
	const uint64_t now_ns = ctx->cause_time_ns;
	const uint32_t before = table_write_begin(&record->seq);

	record->done_ns = now_ns;
	atomic_store_explicit(&record->done_site, (uintptr_t)end->site, memory_order_relaxed);
	record->done_tid = end->tid;
	record->cause_slot = cause_slot;
	record->cause_kind = (uint8_t)end->kind;
	record->cause_code = end->kind >= CTX_CAUSE_SIGNAL ? end->code : 0;
	atomic_store_explicit(&record->state, (uint32_t)end->error | CTX_TABLE_OWN, memory_order_relaxed);
	table_write_end_of(&record->seq, before);
	counters_end(record, end->kind, now_ns);
	usdt_context_end(ctx->slot, ctx->generation, end->error, end->kind, end->tid);
}

/* Sets STATE_CLAIMED. True for the one thread of those that want to end ctx which may write its cause. */
static inline bool claim_end(struct ctx_context *ctx)
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

/* Waits until ctx is done. Another thread has claimed it, or it was reached by an ancestor's end: in both
 * cases it is done in a moment, since neither waits for anything in between. */
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

/* Ends ctx. True: *ret_before is its state before. False: another end was first, and ctx is done or will be
 * in a moment. */
static inline __attribute__((always_inline)) bool try_end(struct ctx_context *ctx, const struct end *end,
							  uint32_t *ret_before)
{
	if (!claim_end(ctx))
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

/* Does what follows after try_end(): the record, and the sweep. No lock held. */
static inline __attribute__((always_inline)) void follow_up_end(struct ctx_context *ctx, uint32_t before,
								const struct end *end)
{
	const bool has_reason = past_has_reason(end);

	if (in_table(ctx))
		write_end(ctx, end);
	/* see node_attach() */
	bool alone = !(before & STATE_ATTENTION) ||
		     ((before & STATE_ATTENTION) == STATE_ATTACHED && !atomic_load(&ctx->extension));
	if (!alone) {
		sweep_below(ctx, before, end->on_worker, has_reason);
		return;
	}
	if (before & STATE_ATTENTION)
		timer_disarm(node_timer(ctx));
	if (has_reason && in_table(ctx))
		past_write_end(ctx, 0);
}

static inline __attribute__((always_inline)) int end_by_itself(struct ctx_context *ctx, const struct end *end)
{
	uint32_t before;

	if (!try_end(ctx, end, &before)) {
		wait_for_end(ctx);
		/* The thread that was first may be in the parent, and not finished. */
		if (node_is_inherited(ctx))
			context_spread_end(ctx);
		return -EALREADY;
	}
	follow_up_end(ctx, before, end);
	return 0;
}

int context_end(struct ctx_context *ctx, const struct end *end)
{
	return end_by_itself(ctx, end);
}

/* The plain cancel, by which most contexts end: end_by_itself() is inlined here once more, for this end
 * alone. */
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
	/* The deadline may have been moved since the timer fired. */
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
		follow_up_end(ctx, before, &end);
}

/* The parent of ctx. For a merged node the parent from which it has its deadline. */
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

/* Finishes an end below ctx. Callbacks run on the worker thread: the caller has ended nothing itself. */
static void spread_end(struct ctx_context *ctx)
{
	struct sweep sweep;

	sweep_init(&sweep, true, cause_kind_near(ctx), clock_coarse_ns());
	help_sweeps(&sweep, ctx);
	finish_sweep(&sweep);
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
	/* Another thread began to end top before us, and has not come to ctx yet. */
	if (!context_error(ctx) && context_error(top))
		spread_end(top);
}
