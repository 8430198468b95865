/* SPDX-License-Identifier: MIT */
/* The ends and the deadlines of contexts that were joined. */
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "client.h"
#include "clock.h"
#include "sys.h"

/* ---- what the core tells */

static void join_context_done(struct watch *watch, struct deferred_list *later)
{
	bond_told(watch, PENDING_GONE, later);
}

static void join_context_released(struct watch *watch)
{
	bond_told(watch, PENDING_RELEASED, NULL);
}

const struct watch_ops join_watch_ops = {.done = join_context_done, .released = join_context_released};

/* ---- the end */

/*
 * Reads what was copied. One read does not return more than one packet of a pipe that its owner has opened
 * with O_DIRECT, and what was left would be taken for the words of another context. False: the read failed,
 * and nothing is left either.
 */
static bool read_copied(struct ctxd_client *client, uint8_t *bytes, int size)
{
	while (size > 0) {
		int count = sys_read(client->scratch[0], bytes, (size_t)size);
		if (count <= 0)
			break;
		bytes += count;
		size -= count;
	}
	if (size)
		sys_drain(client->scratch[0]);
	return !size;
}

/*
 * Copies the last words out of the pipe, where they stay for the others who joined. 0: *ret_cause is set;
 * -EAGAIN: there is nothing to read; -ENODATA: the pipe has hung up, without words that could be understood.
 */
static int read_last_words(struct ctxd_client *client, int pipe, struct wire_cause *ret_cause)
{
	uint8_t bytes[WIRE_LAST_WORDS_MAX];

	if (!client_has_scratch(client))
		return -ENODATA;
	int size = sys_tee(pipe, client->scratch[1], sizeof(bytes));

	if (size == -EAGAIN || size == -EINTR)
		return -EAGAIN;
	if (size <= 0)
		return -ENODATA;
	if (!read_copied(client, bytes, size))
		return -ENODATA;
	return wire_unpack_last_words(bytes, (size_t)size, ret_cause) ? -ENODATA : 0;
}

/*
 * The cause when there are no last words. A process that dies closes its pipes a moment before its pidfd
 * tells of its death, and this does not wait for that moment; so the text may leave open whether the owner
 * died.
 */
static void owner_cause(const struct owner *owner, struct ctx_cause *ret_cause)
{
	*ret_cause = (struct ctx_cause){
		.error = -ECANCELED,
		.kind = owner ? CTX_CAUSE_OWNER : CTX_CAUSE_UNREACHABLE,
		.time_ns = clock_now_ns(),
	};
	if (!owner) {
		strcpy(ret_cause->text, "ctxd-fleet, which connects to its owner's host, has ended");
		return;
	}
	ret_cause->pid = owner->pid;
	ret_cause->uid = owner->uid;
	snprintf(ret_cause->text, sizeof(ret_cause->text),
		 owner_is_dead(owner) ? "process %d, its owner, died"
				      : "process %d, its owner, died or released it",
		 owner->pid);
}

static void end_join(struct bond *bond, const struct wire_cause *words)
{
	struct ctx_cause cause;

	if (words)
		wire_cause_to(words, &cause);
	else
		owner_cause(bond->owner, &cause);
	bond_end(bond, words && words->expired ? ETIME : ECANCELED, &cause);
}

/* result: of read_last_words(). */
static void take_last_words(struct bond *bond, int result, const struct wire_cause *words)
{
	if (result == -EAGAIN)
		client_rearm(bond->client, &bond->entry, JOIN_EVENTS);
	else if (result && bond->remote && !bond->owner)
		remote_lost(bond); /* the bridge has ended: the owner may live */
	else
		end_join(bond, result ? NULL : words);
}

static bool is_over(const struct bond *bond)
{
	return bond->over || bond->entry.fd < 0;
}

/*
 * Copies the last words of all these joins into the scratch pipe, and reads them at once. sizes: how many
 * bytes each has; or -EAGAIN: its pipe is empty, or the scratch pipe was full; or -ENODATA. False: nothing is
 * known, as the read failed.
 */
static bool read_many(struct ctxd_client *client, struct bond *const *bonds, unsigned count, uint8_t *bytes,
		      int *sizes)
{
	int all = 0;

	for (unsigned i = 0; i < count; i++) {
		sizes[i] = is_over(bonds[i])
				   ? -ENODATA
				   : sys_tee(bonds[i]->entry.fd, client->scratch[1], WIRE_LAST_WORDS_MAX);
		if (sizes[i] > 0)
			all += sizes[i];
		else
			sizes[i] = sizes[i] == -EAGAIN || sizes[i] == -EINTR ? -EAGAIN : -ENODATA;
	}
	return read_copied(client, bytes, all);
}

void join_pipes_ready(struct ctxd_client *client, struct bond *const *bonds, unsigned count)
{
	uint8_t bytes[JOIN_PIPES_MAX * WIRE_LAST_WORDS_MAX];
	int sizes[JOIN_PIPES_MAX], result;
	const uint8_t *at = bytes;
	struct wire_cause words;
	bool is_read =
		count > 1 && client_has_scratch(client) && read_many(client, bonds, count, bytes, sizes);

	for (unsigned i = 0; i < count; i++) {
		if (is_over(bonds[i]))
			result = -EALREADY;
		else if (!is_read || sizes[i] == -EAGAIN)
			result = read_last_words(client, bonds[i]->entry.fd, &words);
		else if (sizes[i] < 0)
			result = -ENODATA;
		else
			result = wire_unpack_last_words(at, (size_t)sizes[i], &words) ? -ENODATA : 0;
		at += is_read && sizes[i] > 0 ? sizes[i] : 0;
		if (result != -EALREADY)
			take_last_words(bonds[i], result, &words);
	}
}

/*
 * The next join of owner that is still live; NULL: there is none. Joins that were looked at go to the end of
 * the list, so that the next call does not pass them again.
 */
static struct bond *next_of_owner(struct ctxd_client *client, struct owner *owner)
{
	struct bond *found = NULL;
	struct list passed;

	list_init(&passed);
	lock_acquire(&client->lock);
	while (!list_empty(&owner->joins) && !found) {
		struct bond *bond = container_of(owner->joins.next, struct bond, owner_link);
		list_remove(&bond->owner_link);
		list_append(&passed, &bond->owner_link);
		if (!bond->over && !(bond->pending & PENDING_GONE))
			found = bond;
	}
	list_splice(&owner->joins, &passed);
	lock_release(&client->lock);
	return found;
}

void owner_ready(struct ctxd_client *client, struct owner *owner)
{
	struct wire_cause words;
	struct bond *bond;

	lock_acquire(&client->lock);
	client_unpoll(client, &owner->entry);
	lock_release(&client->lock);
	/* The owner may have ended some of them before it died. */
	while ((bond = next_of_owner(client, owner)))
		end_join(bond, read_last_words(client, bond->entry.fd, &words) ? NULL : &words);
}

/* The next join of that id whose deadline is another; NULL: there is none. */
static struct bond *next_to_move(struct ctxd_client *client, const struct wire_move *move)
{
	struct bond *bond = NULL;

	lock_acquire(&client->lock);
	while ((bond = bond_index_next(client, BOND_ID, move->id.number, bond)))
		if (bond->joined && bond->known && wire_id_equal(bond->id, move->id) &&
		    bond->moved_ns != move->deadline_ns && !(bond->pending & PENDING_GONE))
			break;
	if (bond)
		bond->moved_ns = move->deadline_ns;
	lock_release(&client->lock);
	return bond;
}

void join_moved(struct ctxd_client *client, const struct wire_move *move)
{
	struct bond *bond;

	while ((bond = next_to_move(client, move)))
		ctx_set_deadline(bond->ctx, move->deadline_ns);
}
