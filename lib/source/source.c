/* SPDX-License-Identifier: MIT */
#include "source.h"

#include <string.h>

#include "memory.h"

/* ---- the end of a source */

static void source_stopped(struct source *source)
{
	if (source->ops->stopped)
		source->ops->stopped(source);
	/*
	 * A program that closed all its descriptors closed this one as well, and may have another file there.
	 */
	if (source->owns_fd && file_id_matches(source->file, source->fd))
		sys_close(source->fd);
	source->owns_fd = false;
}

void source_discard(struct source *source)
{
	source_stopped(source);
	memory_release(source);
}

/* Frees a source whose descriptor is not watched any more. No lock is held. */
static void source_free(struct source *source)
{
	source_stopped(source);
	context_unwatch(&source->watch);
	/* Another thread may have posted the letter meanwhile. From here on nobody posts it. */
	if (source->ring)
		mailbox_retract(source->ring->mailbox, &source->letter);
	memory_release(source);
}

/* Stops a source on the thread of its ring. Its memory stays until the kernel has finished the poll. */
static void source_stop_on_ring(struct source *source, void (*unwatch)(struct watch *watch))
{
	if (source->stopping)
		return;
	source->stopping = true;
	source_stopped(source);
	unwatch(&source->watch);
	mailbox_retract(source->ring->mailbox, &source->letter);
	ring_poll_stop(source->ring, &source->poll);
}

/* Does what source_context_done has left for when no lock is held. */
static void source_run_later(struct deferred *deferred)
{
	struct source *source = container_of(deferred, struct source, later);
	struct ctx_ring *ring = source->ring;

	if (!ring) {
		source_free(source);
		return;
	}
	source_stop_on_ring(source, context_unwatch);
	if (!ring->dispatching)
		ring_polls_submit(ring);
}

/* ---- what the ring tells */

static void poll_ready(struct ctx_ring *ring, struct ring_poll *poll, uint32_t events)
{
	struct source *source = container_of(poll, struct source, poll);

	(void)ring;
	source->ops->ready(source, events);
}

static void poll_gone(struct ring_poll *poll)
{
	memory_release(container_of(poll, struct source, poll));
}

static void poll_closed(struct ctx_ring *ring, struct ring_poll *poll)
{
	(void)ring;
	source_stop_on_ring(container_of(poll, struct source, poll), context_unwatch);
}

/*
 * A letter has come: another thread has ended or released the context, or an event that came elsewhere is for
 * this source as well.
 */
static void source_deliver(struct letter *letter)
{
	struct source *source = container_of(letter, struct source, letter);

	if (source->chosen && !source->stopping && !context_error(source->watch.ctx))
		source_end(source, source->chosen_code);
	if (!source->stopping && (context_error(source->watch.ctx) || context_orphaned(source->watch.ctx)))
		source_stop_on_ring(source, context_unwatch);
}

/* ---- what the poller tells */

static void entry_ready(struct poller_entry *entry, uint32_t events)
{
	struct source *source = container_of(entry, struct source, entry);

	source->ops->ready(source, events);
}

static void entry_gone(struct poller_entry *entry)
{
	source_free(container_of(entry, struct source, entry));
}

/* ---- what the context tells; its lock is held */

static void source_context_done(struct watch *watch, struct deferred_list *later)
{
	struct source *source = container_of(watch, struct source, watch);
	struct ctx_ring *ring = source->ring;

	if (!ring) {
		if (poller_stop(&source->entry))
			defer(later, &source->later);
		return;
	}
	if (ring->fork_count != thread_fork_count)
		return; /* a forked child ended its copy: the ring is the parent's */
	if (ring_is_mine(ring))
		defer(later, &source->later);
	else
		mailbox_post(ring->mailbox, &source->letter, later);
}

static void source_context_released(struct watch *watch)
{
	struct source *source = container_of(watch, struct source, watch);
	struct ctx_ring *ring = source->ring;

	if (!ring) {
		if (!poller_stop(&source->entry))
			return;
		source_stopped(source);
		context_unwatch_released(watch);
		memory_release(source);
		return;
	}
	if (ring->fork_count != thread_fork_count)
		return;
	if (ring_is_mine(ring)) {
		source_stop_on_ring(source, context_unwatch_released);
	} else if (mailbox_post(ring->mailbox, &source->letter, NULL)) {
		/* The program may close the descriptor now, and expects the kernel to hold it no longer. */
		mailbox_wake(ring->mailbox);
	}
}

static const struct watch_ops source_watch_ops = {
	.done = source_context_done, .released = source_context_released, .quiet = true};

/* ---- making one */

int source_check(const struct ctx_context *parent, struct ctx_ring *ring, struct ctx_context **ret_ctx)
{
	if (!parent || !ret_ctx)
		return debug_note(-EINVAL, parent ? "argument ret_ctx is NULL" : "argument parent is NULL", 0,
				  0);
	return ring ? ring_check(ring) : 0;
}

struct source *source_new(size_t size, const struct source_ops *ops, struct ctx_ring *ring)
{
	struct source *source = memory_allocate(size);

	if (!source)
		return NULL;
	memset(source, 0, size);
	source->ops = ops;
	source->ring = ring;
	source->fd = -1;
	source->later.run = source_run_later;
	source->letter.deliver = source_deliver;
	list_init(&source->letter.link);
	list_init(&source->link);
	return source;
}

static int begin_watching(struct source *source, uint32_t events)
{
	if (source->ring) {
		source->poll.fd = source->fd;
		source->poll.events = events;
		source->poll.ready = poll_ready;
		source->poll.gone = poll_gone;
		source->poll.closed = poll_closed;
		return ring_poll_start(source->ring, &source->poll);
	}
	source->entry.fd = source->fd;
	source->entry.events = events;
	source->entry.stays = source->ops->stays;
	source->entry.ready = entry_ready;
	source->entry.gone = entry_gone;
	return poller_add(&source->entry);
}

int source_begin(struct source *source, struct source_request *request, struct ctx_context **ret_ctx)
{
	struct ctx_context *ctx;

	request->watched.kind = source->ops->kind;
	int error =
		context_new_source(request->parent, request->label, request->site, &request->watched, &ctx);

	if (error) {
		source_discard(source);
		return error;
	}
	if (!source->ring)
		poller_entry_init(&source->entry);
	error = context_watch(ctx, &source->watch, &source_watch_ops);
	if (error) {
		source_discard(source);
	} else {
		if (source->ops->started)
			source->ops->started(source);
		error = begin_watching(source, request->events);
		if (error)
			source_free(source);
	}
	/* A positive error and -EALREADY say that the parent is done, and so is ctx: that is a success. */
	if (error < 0 && error != -EALREADY) {
		ctx_unref(ctx);
		return error;
	}
	*ret_ctx = ctx;
	return 0;
}

/* ---- ending its context */

void source_end(struct source *source, int code)
{
	char text[CTX_CAUSE_TEXT_MAX] = "";

	source->ops->describe(source, code, text, sizeof(text));
	context_end_event(source->watch.ctx, source->ops->kind, code, !source->ring, text);
}

void source_again(struct source *source)
{
	if (source->ring && !source->stopping)
		ring_poll_again(source->ring, &source->poll);
}

struct target {
	struct ctx_context *ctx; /* pinned */
	enum ctx_cause_kind kind;
	bool on_worker;
};

/*
 * Chooses all sources at once: one that joins the list later, perhaps because one of these has ended, is not
 * meant. Those on other rings get a letter here.
 */
static void choose_sources(const struct source_choice *choice)
{
	struct list chosen;

	list_init(&chosen);
	lock_acquire(choice->lock);
	for (struct list *link = choice->list->next, *next; link != choice->list; link = next) {
		struct source *source = container_of(link, struct source, link);
		next = link->next;
		if (source->chosen || !choice->chooses(source, choice->data))
			continue;
		source->chosen = true;
		source->chosen_code = choice->code;
		if (!source->ring || source->ring == choice->here) {
			source->chosen_by = choice;
			list_remove(link);
			list_append(&chosen, link);
		} else if (mailbox_post(source->ring->mailbox, &source->letter, NULL)) {
			mailbox_wake(source->ring->mailbox);
		}
	}
	/* The chosen ones go to the front of the list, where collect_targets() finds them. */
	list_splice(&chosen, choice->list);
	list_splice(choice->list, &chosen);
	lock_release(choice->lock);
}

/*
 * Pins the contexts of up to max chosen sources. Each source goes to the end of the list then, so that the
 * next call need not pass it again.
 */
static unsigned collect_targets(const struct source_choice *choice, struct target *targets, unsigned max)
{
	unsigned count = 0;

	lock_acquire(choice->lock);
	for (struct list *link = choice->list->next, *next; link != choice->list && count < max;
	     link = next) {
		struct source *source = container_of(link, struct source, link);
		next = link->next;
		if (source->chosen_by != choice)
			continue;
		source->chosen_by = NULL;
		list_remove(link);
		list_append(choice->list, link);
		context_pin(source->watch.ctx);
		targets[count++] = (struct target){
			.ctx = source->watch.ctx, .kind = source->ops->kind, .on_worker = !source->ring};
	}
	lock_release(choice->lock);
	return count;
}

void source_end_chosen(const struct source_choice *choice)
{
	struct target targets[16];
	unsigned count;

	choose_sources(choice);
	do {
		count = collect_targets(choice, targets, 16);
		for (unsigned i = 0; i < count; i++) {
			context_end_event(targets[i].ctx, targets[i].kind, choice->code, targets[i].on_worker,
					  choice->text);
			context_unpin(targets[i].ctx);
		}
	} while (count);
}
