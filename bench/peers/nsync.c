/* SPDX-License-Identifier: MIT */
/*
 * nsync: a tree of notes, for threads that wait for one another. A note has a lock and may have a deadline.
 * nsync has no input and output, so it does only tree and token.
 */
#include <nsync.h>

#include "work.h"

static nsync_note top, *notes;

static nsync_note note_of(nsync_note parent)
{
	nsync_note note = nsync_note_new(parent, nsync_time_no_deadline);
	if (!note)
		work_fail("nsync_note_new");
	return note;
}

static void tree_make(unsigned children)
{
	top = note_of(NULL);
	notes = work_allocate(children, sizeof(*notes));
	for (unsigned i = 0; i < children; i++)
		notes[i] = note_of(top);
}

static void tree_end(void)
{
	nsync_note_notify(top);
}

static unsigned tree_ended(void)
{
	unsigned ended = 0;
	for (unsigned i = 0; i < work.count; i++)
		ended += nsync_note_is_notified(notes[i]) != 0;
	return ended;
}

static void tree_free(void)
{
	for (unsigned i = 0; i < work.count; i++)
		nsync_note_free(notes[i]);
	nsync_note_free(top);
	free(notes);
}

static void token(unsigned count)
{
	if (!top)
		top = note_of(NULL);
	for (unsigned i = 0; i < count; i++)
		nsync_note_free(note_of(top));
}

const struct peer peer = {
	.tree_make = tree_make,
	.tree_end = tree_end,
	.tree_ended = tree_ended,
	.tree_free = tree_free,
	.token = token,
};
