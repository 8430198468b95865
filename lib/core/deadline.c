/* SPDX-License-Identifier: MIT */
/* Contexts with deadlines, and moving a deadline. */
#include "cause.h"
#include "clock.h"
#include "memory.h"
#include "node.h"
#include "sweep.h"
#include "table.h"
#include "walk.h"

/* The coarse clock is never further behind than this: a tick of at most 10 ms, and a margin. */
#define COARSE_LAG_NS (50 * 1000000ull)

/* Frees a node that could not be completed. Nobody knows it yet, and it does not end first. */
static void discard_node(struct ctx_context *node)
{
	node_publish(node, CTX_FOREVER);
	ctx_unref(node);
}

/* Makes a context with a deadline. cause, which may be NULL, is for when that deadline ends it; taken over on
 * success. */
static int make_timed_with(const struct ctx_context *parent, struct node_options *options,
			   struct cause_text *cause, struct ctx_context **ret_ctx)
{
	int result = timer_start();

	if (result)
		return result;
	options->flags |= NODE_TIMER;
	options->tail = sizeof(struct timer);
	struct ctx_context *node = node_new(parent, options);
	if (!node)
		return -ENOMEM;
	struct timer *timer = node_timer(node);
	*timer = (struct timer){.own_ns = options->deadline_ns, .ctx = node};
	struct extension *extension = cause ? node_extend(node) : NULL;
	if (cause && !extension) {
		discard_node(node);
		return -ENOMEM;
	}
	if (cause)
		extension->deadline_cause = cause;
	node_publish(node, options->deadline_ns);
	if (options->deadline_ns <= options->now_ns)
		context_end_deadline(node, options->now_ns);
	else if (context_deadline(node) == options->deadline_ns)
		timer_arm(timer);
	*ret_ctx = node;
	return 0;
}

static int make_timed(const struct ctx_context *parent, struct node_options *options,
		      struct ctx_context **ret_ctx)
{
	return make_timed_with(parent, options, NULL, ret_ctx);
}

static int make_timed_with_cause(const struct ctx_context *parent, struct node_options *options, int error,
				 const char *format, va_list arguments, struct ctx_context **ret_ctx)
{
	struct cause_text *cause = cause_text_new(error, format, arguments);
	int result = cause ? make_timed_with(parent, options, cause, ret_ctx) : -ENOMEM;

	if (result)
		memory_release(cause);
	return result;
}

/* Returns the time, exact enough to say whether the deadline is past: coarse where it is far away. */
static uint64_t now_for(uint64_t deadline_ns)
{
	uint64_t now_ns = clock_coarse_ns();

	return deadline_ns > now_ns + COARSE_LAG_NS ? now_ns : clock_now_ns();
}

static inline struct node_options options_after(uint64_t timeout_ns, const char *label, const void *site)
{
	uint64_t now_ns = clock_now_ns();

	return (struct node_options){
		.kind = CTX_TABLE_DEADLINE,
		.deadline_ns = clock_after_ns(now_ns, timeout_ns),
		.now_ns = now_ns,
		.label = label,
		.site = site,
	};
}

static inline struct node_options options_at(uint64_t deadline_ns, const char *label, const void *site)
{
	return (struct node_options){
		.kind = CTX_TABLE_DEADLINE,
		.deadline_ns = deadline_ns,
		.now_ns = now_for(deadline_ns),
		.label = label,
		.site = site,
	};
}

int ctx_with_timeout(const struct ctx_context *parent, uint64_t timeout_ns, const char *label,
		     struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return debug_invalid(NULL, parent, ret_ctx);
	struct node_options options = options_after(timeout_ns, label, __builtin_return_address(0));
	return make_timed(parent, &options, ret_ctx);
}

int context_with_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			  const void *site, struct ctx_context **ret_ctx)
{
	struct node_options options = options_at(deadline_ns, label, site);
	return make_timed(parent, &options, ret_ctx);
}

int ctx_with_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
		      struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return debug_invalid(NULL, parent, ret_ctx);
	return context_with_deadline(parent, deadline_ns, label, __builtin_return_address(0), ret_ctx);
}

int ctx_with_timeout_cause(const struct ctx_context *parent, uint64_t timeout_ns, const char *label,
			   struct ctx_context **ret_ctx, int error, const char *format, ...)
{
	va_list arguments;

	if (!parent || !ret_ctx || error > 0)
		return debug_invalid("error is positive: give a negative errno", parent, ret_ctx);
	struct node_options options = options_after(timeout_ns, label, __builtin_return_address(0));
	va_start(arguments, format);
	int result = make_timed_with_cause(parent, &options, error, format, arguments, ret_ctx);
	va_end(arguments);
	return result;
}

int ctx_with_deadline_cause(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			    struct ctx_context **ret_ctx, int error, const char *format, ...)
{
	va_list arguments;

	if (!parent || !ret_ctx || error > 0)
		return debug_invalid("error is positive: give a negative errno", parent, ret_ctx);
	struct node_options options = options_at(deadline_ns, label, __builtin_return_address(0));
	va_start(arguments, format);
	int result = make_timed_with_cause(parent, &options, error, format, arguments, ret_ctx);
	va_end(arguments);
	return result;
}

/* Converts a time on another clock to CLOCK_MONOTONIC. Returns 0 or -EINVAL. */
static int convert_time(clockid_t clock, const struct timespec *at, uint64_t *ret_ns)
{
	if (!at || at->tv_nsec < 0 || at->tv_nsec >= (long)NS_PER_SECOND)
		return -EINVAL;
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME &&
	    clock != CLOCK_TAI)
		return -EINVAL;
	uint64_t point_ns = 0;
	if (at->tv_sec >= (time_t)(INT64_MAX / (int64_t)NS_PER_SECOND))
		point_ns = CTX_FOREVER;
	else if (at->tv_sec >= 0)
		point_ns = (uint64_t)at->tv_sec * NS_PER_SECOND + (uint64_t)at->tv_nsec;
	if (clock != CLOCK_MONOTONIC && point_ns != CTX_FOREVER) {
		uint64_t there_ns = clock_read_ns(clock), now_ns = clock_now_ns();
		uint64_t left_ns = point_ns > there_ns ? point_ns - there_ns : 0;
		point_ns = clock_after_ns(now_ns, left_ns);
	}
	*ret_ns = point_ns;
	return 0;
}

int ctx_with_deadline_at(const struct ctx_context *parent, clockid_t clock, const struct timespec *at,
			 const char *label, struct ctx_context **ret_ctx)
{
	uint64_t deadline_ns;

	if (!parent || !ret_ctx)
		return debug_invalid(NULL, parent, ret_ctx);
	int result = convert_time(clock, at, &deadline_ns);
	if (result)
		return debug_invalid("clock is none of the four, or tv_nsec is out of range", at);
	struct node_options options = options_at(deadline_ns, label, __builtin_return_address(0));
	return make_timed(parent, &options, ret_ctx);
}

int ctx_with_movable_deadline(const struct ctx_context *parent, uint64_t deadline_ns, const char *label,
			      struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return debug_invalid(NULL, parent, ret_ctx);
	struct node_options options = {
		.flags = NODE_MOVABLE | NODE_MAY_MOVE,
		.kind = CTX_TABLE_MOVABLE,
		.deadline_ns = deadline_ns,
		.now_ns = now_for(deadline_ns),
		.label = label,
		.site = __builtin_return_address(0),
	};
	return make_timed(parent, &options, ret_ctx);
}

int context_new_joined(const struct ctx_context *parent, uint64_t deadline_ns, bool movable,
		       const char *label, const void *site, struct ctx_context **ret_ctx)
{
	struct node_options options = {
		.flags = NODE_JOINED | (movable ? NODE_MOVABLE | NODE_MAY_MOVE : 0),
		.kind = CTX_TABLE_JOINED,
		.deadline_ns = deadline_ns,
		.now_ns = now_for(deadline_ns),
		.label = label,
		.site = site,
	};
	return make_timed(parent, &options, ret_ctx);
}

uint64_t ctx_deadline_ns(const struct ctx_context *ctx)
{
	return ctx ? context_deadline(ctx) : CTX_FOREVER;
}

uint64_t ctx_time_left_ns(const struct ctx_context *ctx)
{
	uint64_t deadline_ns = ctx_deadline_ns(ctx);

	if (deadline_ns == CTX_FOREVER)
		return CTX_FOREVER;
	uint64_t now_ns = clock_now_ns();
	return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

/* ---- moving a deadline */

/* The earliest deadline of the node's ancestors. With the walk lock held. */
static uint64_t deadline_above(const struct ctx_context *node)
{
	uint64_t above_ns = CTX_FOREVER;

	if (!(node->flags & NODE_MERGED))
		return context_deadline(node->parent);
	struct merge *merge = node_merge(node);
	for (unsigned i = 0; i < merge->count; i++) {
		uint64_t link_ns = context_deadline(&merge->links[i].node);
		above_ns = link_ns < above_ns ? link_ns : above_ns;
	}
	return above_ns;
}

/* Calls moved of the node's watches. With the walk lock held. */
static void tell_moved(struct ctx_context *node)
{
	struct extension *extension = node_extension(node);

	if (!extension)
		return;
	node_lock(node);
	for (struct list *link = extension->watches.next; link != &extension->watches; link = link->next) {
		struct watch *watch = container_of(link, struct watch, link);
		if (watch->ops->moved)
			watch->ops->moved(watch);
	}
	lock_release(&node->lock);
}

/* Computes anew which deadline is in force for node. True: it has changed. With the walk lock held. */
static bool update_deadline(struct ctx_context *node)
{
	struct timer *timer = node_timer(node);
	uint64_t own_ns = timer ? atomic_load_explicit(&timer->own_ns, memory_order_relaxed) : CTX_FOREVER;
	uint64_t above_ns = deadline_above(node);
	uint64_t now_in_force_ns = own_ns < above_ns ? own_ns : above_ns;

	if (timer && own_ns < above_ns)
		timer_arm(timer);
	else if (timer)
		timer_disarm(timer);
	if (now_in_force_ns == context_deadline(node))
		return false;
	atomic_store_explicit(&node->deadline_ns, now_in_force_ns, memory_order_relaxed);
	uint32_t slot, generation;
	context_table_id(node, &slot, &generation);
	if (slot && !(node->flags & NODE_UNLISTED))
		atomic_store_explicit(&table_context(slot)->deadline_ns, now_in_force_ns,
				      memory_order_relaxed);
	tell_moved(node);
	return true;
}

static bool update_deadline_below(struct ctx_context *node, void *data)
{
	(void)data;
	if (node->flags & NODE_DETACHED || context_error(node))
		return false;
	if (!(node->flags & NODE_LINK))
		return update_deadline(node);
	atomic_store_explicit(&node->deadline_ns, context_deadline(node->parent), memory_order_relaxed);
	return true; /* go on to the merged node, after all its links */
}

/* Returns the timer of ctx, made if there is none. NULL: no memory. */
static struct timer *ensure_timer(struct ctx_context *ctx)
{
	struct timer *timer = node_timer(ctx);
	struct extension *extension = timer ? NULL : node_extend(ctx);

	if (timer || !extension)
		return timer;
	timer = memory_allocate(sizeof(*timer));
	if (!timer)
		return NULL;
	*timer = (struct timer){.own_ns = CTX_FOREVER, .ctx = ctx};
	node_lock(ctx);
	node_attach(ctx);
	struct timer *other = atomic_load_explicit(&extension->timer, memory_order_relaxed);
	if (!other)
		atomic_store_explicit(&extension->timer, timer, memory_order_release);
	lock_release(&ctx->lock);
	if (!other)
		return timer;
	memory_release(timer);
	return other;
}

static int set_own_deadline(struct ctx_context *ctx, struct timer *timer, uint64_t deadline_ns)
{
	int result = 0;

	node_lock(ctx);
	if (context_error(ctx))
		result = -EALREADY;
	else if (deadline_ns > atomic_load_explicit(&timer->own_ns, memory_order_relaxed) &&
		 !(ctx->flags & NODE_MAY_MOVE))
		result = -EPERM;
	else
		atomic_store_explicit(&timer->own_ns, deadline_ns, memory_order_relaxed);
	lock_release(&ctx->lock);
	return result;
}

int ctx_set_deadline(struct ctx_context *ctx, uint64_t deadline_ns)
{
	struct ctx_context *dead = NULL;

	if (!ctx || !node_can_end(ctx))
		return debug_invalid(NEVER_ENDS, ctx);
	if (context_error(ctx))
		return debug_done(-EALREADY, ctx);
	int result = timer_start();
	if (result)
		return debug_error(result, "the timer thread could not be started");
	struct timer *timer = ensure_timer(ctx);
	if (!timer)
		return -ENOMEM;
	lock_acquire(&walk_lock);
	result = set_own_deadline(ctx, timer, deadline_ns);
	if (!result && update_deadline(ctx))
		walk_below(ctx, update_deadline_below, NULL, &dead);
	lock_release(&walk_lock);
	node_free_all(dead);
	if (result == -EALREADY)
		return debug_done(result, ctx);
	if (result)
		return debug_error(result, "the new deadline is later, and the context was not made by "
					   "ctx_with_movable_deadline");
	uint64_t now_ns = now_for(deadline_ns);
	if (deadline_ns <= now_ns)
		context_end_deadline(ctx, now_ns);
	return 0;
}

int ctx_set_deadline_cause(struct ctx_context *ctx, int error, const char *format, ...)
{
	va_list arguments;

	if (!ctx || !node_can_end(ctx) || error > 0)
		return debug_invalid(error > 0 ? "error is positive: give a negative errno" : NEVER_ENDS,
				     ctx);
	if (context_error(ctx))
		return debug_done(-EALREADY, ctx);
	struct extension *extension = node_extend(ctx);
	if (!extension)
		return -ENOMEM;
	va_start(arguments, format);
	struct cause_text *text = cause_text_new(error, format, arguments);
	va_end(arguments);
	if (!text)
		return -ENOMEM;
	node_lock(ctx);
	int result = context_error(ctx) ? -EALREADY : 0;
	if (!result) {
		struct cause_text *before = extension->deadline_cause;
		extension->deadline_cause = text;
		text = before;
	}
	lock_release(&ctx->lock);
	memory_release(text);
	return result;
}
