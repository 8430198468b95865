/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctxring.h"

#define ENTRIES 1024

struct loop {
	struct ctx_ring *ring; /* NULL: poll(2) is used. */
	struct loop_entry **armed;
	struct pollfd *fds;
	size_t armed_count, armed_room, group_count;
	struct loop_group *ended; /* The ended groups of which no entry is armed. */
};

int loop_open(enum loop_kind kind, struct loop **ret_loop, char *reason, size_t reason_size)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int result = -ENOSYS;

	reason[0] = '\0';
	if (!loop)
		return -ENOMEM;
	if (kind != LOOP_POLL) {
		result = ctx_ring_open(ENTRIES, NULL, &loop->ring);
		if (result)
			ctx_ring_explain(result, reason, reason_size);
		if (result && kind == LOOP_RING) {
			free(loop);
			return result;
		}
	}
	*ret_loop = loop;
	return 0;
}

bool loop_is_ring(const struct loop *loop)
{
	return loop->ring != NULL;
}

void loop_close(struct loop *loop)
{
	ctx_ring_close(loop->ring, CTX_FOREVER, NULL, 0, NULL);
	free(loop->armed);
	free(loop->fds);
	free(loop);
}

/* ---- groups */

/* Makes room for all entries of one more group, so that arming them cannot fail. */
static bool reserve_entries(struct loop *loop)
{
	size_t room = loop->armed_room ? loop->armed_room * 2 : 64;

	if ((loop->group_count + 1) * LOOP_ENTRIES_MAX <= loop->armed_room)
		return true;
	struct loop_entry **armed = realloc(loop->armed, room * sizeof(*armed));
	if (!armed)
		return false;
	loop->armed = armed;
	struct pollfd *fds = realloc(loop->fds, room * sizeof(*fds));
	if (!fds)
		return false;
	loop->fds = fds;
	loop->armed_room = room;
	return true;
}

int loop_group_begin(struct loop *loop, struct loop_group *group, const char *label)
{
	struct ctx_context *ctx = NULL;
	int error = loop->ring		    ? ctx_with_cancel(ctx_background(), label, &ctx)
		    : reserve_entries(loop) ? 0
					    : -ENOMEM;

	if (error)
		return error;
	*group = (struct loop_group){.loop = loop, .ctx = ctx};
	loop->group_count++;
	return 0;
}

static void end_if_idle(struct loop_group *group)
{
	if (!group->ending || group->armed)
		return;
	group->next = group->loop->ended;
	group->loop->ended = group;
}

/* The last armed entry takes the place of the removed one. */
static void remove_armed(struct loop *loop, struct loop_entry *entry)
{
	struct loop_entry *last = loop->armed[--loop->armed_count];

	loop->armed[entry->place] = last;
	last->place = entry->place;
	for (size_t i = 0; i < LOOP_ENTRIES_MAX; i++)
		if (entry->group->waiting[i] == entry)
			entry->group->waiting[i] = NULL;
}

static void disarm_group(struct loop *loop, struct loop_group *group)
{
	for (size_t i = 0; i < LOOP_ENTRIES_MAX; i++) {
		struct loop_entry *entry = group->waiting[i];
		if (!entry)
			continue;
		remove_armed(loop, entry);
		entry->armed = false;
		group->armed--;
	}
}

void loop_group_end(struct loop_group *group, void (*gone)(struct loop_group *group))
{
	if (group->ending)
		return;
	group->ending = true;
	group->gone = gone;
	/* Their completions come in the next dispatches. */
	if (group->ctx)
		ctx_cancel(group->ctx);
	else
		disarm_group(group->loop, group);
	end_if_idle(group);
}

static void tell_ended_groups(struct loop *loop)
{
	while (loop->ended) {
		struct loop_group *group = loop->ended;
		loop->ended = group->next;
		ctx_unref(group->ctx);
		loop->group_count--;
		group->gone(group);
	}
}

/* ---- entries */

static void entry_fired(struct loop_entry *entry, short revents)
{
	struct loop_group *group = entry->group;

	entry->armed = false;
	group->armed--;
	if (group->ending)
		end_if_idle(group);
	else
		entry->ready(entry, revents);
}

static void poll_completed(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct loop_entry *entry = (struct loop_entry *)op;

	(void)ring;
	entry_fired(entry, completion->res < 0 ? POLLERR : (short)completion->res);
}

void loop_entry_init(struct loop_entry *entry, struct loop_group *group, int fd,
		     void (*ready)(struct loop_entry *entry, short revents))
{
	memset(entry, 0, sizeof(*entry));
	ctx_op_init(&entry->op, poll_completed, 0);
	entry->group = group;
	entry->fd = fd;
	entry->ready = ready;
}

/* There is room, since loop_group_begin() made it. */
static void add_armed(struct loop *loop, struct loop_entry *entry)
{
	if (loop->armed_count == loop->armed_room)
		abort(); /* The group has more entries than it may have. */
	entry->place = loop->armed_count++;
	loop->armed[entry->place] = entry;
	for (size_t i = 0; i < LOOP_ENTRIES_MAX; i++)
		if (!entry->group->waiting[i]) {
			entry->group->waiting[i] = entry;
			return;
		}
}

void loop_arm(struct loop_entry *entry, short events)
{
	struct loop_group *group = entry->group;
	struct loop *loop = group->loop;

	if (entry->armed || group->ending)
		return;
	entry->events = events;
	if (loop->ring) {
		struct io_uring_sqe *sqe = ctx_ring_get_sqe(loop->ring, group->ctx, &entry->op);
		io_uring_prep_poll_add(sqe, entry->fd, (unsigned)events);
	} else {
		add_armed(loop, entry);
	}
	entry->armed = true;
	group->armed++;
}

/* ---- turns */

/* One turn with poll(2), which looks at all descriptors each time. A ring does not. */
static int run_poll(struct loop *loop, uint64_t timeout_ns)
{
	size_t count = loop->armed_count;
	uint64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);

	for (size_t i = 0; i < count; i++)
		loop->fds[i] = (struct pollfd){.fd = loop->armed[i]->fd, .events = loop->armed[i]->events};
	int result = poll(loop->fds, count, timeout_ms > INT32_MAX ? -1 : (int)timeout_ms);
	if (result < 0)
		return errno == EINTR ? 0 : -errno;
	/*
	 * From the end, since a removed entry is replaced by the last one, which has been looked at by then.
	 */
	for (size_t i = count; i-- > 0 && result;) {
		struct loop_entry *entry = i < loop->armed_count ? loop->armed[i] : NULL;
		short revents = loop->fds[i].revents;
		if (!revents || !entry || entry->fd != loop->fds[i].fd)
			continue;
		remove_armed(loop, entry);
		entry_fired(entry, revents);
	}
	return 0;
}

int loop_run(struct loop *loop, uint64_t timeout_ns)
{
	int result;

	if (loop->ended)
		timeout_ns = 0;
	if (loop->ring) {
		result = ctx_ring_dispatch(loop->ring, timeout_ns);
		result = result > 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY ? 0 : result;
	} else {
		result = run_poll(loop, timeout_ns);
	}
	tell_ended_groups(loop);
	return result;
}
