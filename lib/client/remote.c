/* SPDX-License-Identifier: MIT */
/*
 * Joins by global ids: what becomes of them while they have no pipe.
 *
 * The service answers a JOIN_GLOBAL when the owner's host has, which may take any time. So the context is
 * made without it, and lives. Its pipe is one that the bridge of this host, ctxd-fleet, writes to. Where the
 * context belongs to this host it is the owner's, and the join is like any other from then on.
 *
 * If the bridge ends, its pipes hang up without last words. That says nothing of the owner: the service is
 * asked again, which keeps the question until there is a bridge. If it takes longer than the grace of the
 * fleet, the context ends. While the bridge lives it alone judges whether the owner's host is there, and
 * writes last words into the pipe when it gives up. So at any time one side counts the grace: the bridge
 * while there is a pipe, and this file while there is none.
 */
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "client.h"
#include "clock.h"
#include "sys.h"

#define RETRY_FIRST_NS (20 * 1000000ull)
#define RETRY_MAX_NS (2 * NS_PER_SECOND)

void remote_want(struct bond *bond, enum remote_list list)
{
	struct remote *remote = bond->remote;

	remote->lost_ns = clock_now_ns();
	list_append(&bond->client->remotes[remote->survive ? REMOTES_PATIENT : list], &remote->link);
	bond_pend(bond, PENDING_WANTED);
}

void remote_lost(struct bond *bond)
{
	struct ctxd_client *client = bond->client;

	client_unpoll(client, &bond->entry);
	lock_acquire(&client->lock);
	remote_want(bond, REMOTES_LOST);
	lock_release(&client->lock);
}

/* ---- ends */

static void remote_end(struct bond *bond, enum ctx_cause_kind kind, const char *text)
{
	struct ctx_cause cause = {.error = -ECANCELED, .kind = kind, .time_ns = clock_now_ns()};

	snprintf(cause.text, sizeof(cause.text), "%s", text);
	strcpy(cause.host, bond->remote->global.host);
	bond_end(bond, ECANCELED, &cause);
}

/* Ends the context, for its host was not reached for that time; one of ctx_extract() lives on without the
 * join. */
static void remote_give_up(struct bond *bond, uint64_t waited_ns)
{
	struct ctxd_client *client = bond->client;
	char text[CTX_CAUSE_TEXT_MAX];

	if (bond->remote->extracted && !bond->remote->known_live) {
		lock_acquire(&client->lock);
		bond_pend(bond, PENDING_GONE);
		lock_release(&client->lock);
		return;
	}
	snprintf(text, sizeof(text), "host %s was not reached for %llu.%03llu s", bond->remote->global.host,
		 (unsigned long long)(waited_ns / NS_PER_SECOND),
		 (unsigned long long)(waited_ns % NS_PER_SECOND / 1000000));
	remote_end(bond, CTX_CAUSE_UNREACHABLE, text);
}

/* How long the joins of a list may be without a pipe. The client lock is held. */
static uint64_t time_of_list(const struct ctxd_client *client, enum remote_list list)
{
	uint64_t grace_ns = client->grace_ns;

	if (list == REMOTES_PATIENT)
		return CTX_FOREVER;
	/* The first answer takes a while also where a lost link ends contexts at once. */
	if (list == REMOTES_NEW && grace_ns < client->options.timeout_ns)
		return client->options.timeout_ns;
	return grace_ns;
}

/*
 * Takes the next join whose time is over out of its list. NULL: there is none, and the timer is set for the
 * first that comes.
 */
static struct bond *next_given_up(struct ctxd_client *client, uint64_t now_ns)
{
	struct bond *found = NULL;
	uint64_t due_ns = CTX_FOREVER;

	lock_acquire(&client->lock);
	for (int i = 0; i < REMOTE_LISTS && !found; i++) {
		if (list_empty(&client->remotes[i]))
			continue;
		struct remote *remote = container_of(client->remotes[i].next, struct remote, link);
		uint64_t end_ns = clock_after_ns(remote->lost_ns, time_of_list(client, (enum remote_list)i));
		if (end_ns <= now_ns) {
			list_remove(&remote->link);
			found = (struct bond *)remote - 1;
		}
		due_ns = end_ns < due_ns ? end_ns : due_ns;
	}
	if (!found)
		client_timer_set(client, TIMER_GRACE, due_ns == CTX_FOREVER ? 0 : due_ns);
	lock_release(&client->lock);
	return found;
}

void remotes_review(struct ctxd_client *client)
{
	uint64_t now_ns = clock_now_ns();
	struct bond *bond;

	while ((bond = next_given_up(client, now_ns)))
		remote_give_up(bond, now_ns - bond->remote->lost_ns);
}

/* ---- asking again */

void remotes_ask(struct ctxd_client *client, bool retry)
{
	lock_acquire(&client->lock);
	for (int i = 0; i < REMOTE_LISTS; i++)
		for (struct list *link = client->remotes[i].next; link != &client->remotes[i];
		     link = link->next) {
			struct remote *remote = container_of(link, struct remote, link);
			struct bond *bond = (struct bond *)remote - 1;
			remote->refused &= !retry;
			if (bond->pending)
				bond_pend(bond, 0);
		}
	lock_release(&client->lock);
}

/* The service has refused a join for now: it is asked again later, less often each time. */
static void remote_refused(struct bond *bond)
{
	struct ctxd_client *client = bond->client;

	lock_acquire(&client->lock);
	bond->remote->refused = true;
	bond_pend(bond, PENDING_WANTED);
	if (!client->due_ns[TIMER_RETRY]) {
		uint64_t now_ns = clock_now_ns(), delay_ns = client->retry_ns * 2;
		if (!delay_ns || now_ns - client->refused_ns > 2 * RETRY_MAX_NS)
			delay_ns = RETRY_FIRST_NS;
		client->retry_ns = delay_ns < RETRY_MAX_NS ? delay_ns : RETRY_MAX_NS;
		client->refused_ns = now_ns;
		client_timer_set(client, TIMER_RETRY, now_ns + client->retry_ns);
	}
	lock_release(&client->lock);
}

/* ---- answers */

/*
 * Finds the join that waits for the answer of that serial, and takes it out of the list. Answers come in
 * nearly the order of the questions. But those about hosts that do not answer stay at the front of the list;
 * so this looks from both ends. The list is in the order of serials, so an answer to something else, which
 * was asked before or after all of these, costs no more.
 */
static struct bond *take_asked(struct ctxd_client *client, uint64_t serial)
{
	struct list *front = client->asked.next, *back = client->asked.prev, *found = NULL;

	while (serial && front != &client->asked && !found) {
		uint64_t first = container_of(front, struct bond, restore_link)->serial;
		uint64_t last = container_of(back, struct bond, restore_link)->serial;
		if (first == serial)
			found = front;
		else if (last == serial)
			found = back;
		if (serial < first || serial > last || front == back || front->next == back)
			break;
		front = front->next;
		back = back->prev;
	}
	if (!found)
		return NULL;
	struct bond *bond = container_of(found, struct bond, restore_link);
	list_remove(&bond->restore_link);
	lock_acquire(&client->lock);
	bond->serial = 0;
	bond->remote->asked = false;
	bool gone = bond->pending & PENDING_GONE || bond->over;
	lock_release(&client->lock);
	return gone ? NULL : bond;
}

/* The join has a pipe: watches it, and the owner if that is a process of this host. Takes over fds. */
static int connect_remote(struct bond *bond, const struct wire_joined *joined, const int *fds)
{
	struct ctxd_client *client = bond->client;

	bond->entry.fd = fds[0];
	bond->entry.file = file_id_of(fds[0]);
	int result = bond_set_owner(bond, joined, fds);
	if (!result)
		result = client_poll(client, &bond->entry, JOIN_EVENTS);
	if (!result)
		return 0;
	client_unpoll(client, &bond->entry);
	if (bond->owner)
		owner_leave(bond);
	return result;
}

static void remote_found(struct bond *bond, const struct wire_joined *joined, const int *fds)
{
	struct ctxd_client *client = bond->client;
	int result = connect_remote(bond, joined, fds);

	lock_acquire(&client->lock);
	bond_set_id(bond, joined->id);
	if (!result) {
		client->unheard -= bond->remote->extracted && !bond->remote->known_live;
		bond->remote->known_live = true;
		bond->moved_ns = joined->deadline_ns;
		list_remove(&bond->remote->link);
		bond_pend(bond, PENDING_ATTACH);
	}
	lock_release(&client->lock);
	if (result) {
		remote_refused(bond); /* it leaves before it asks again */
		return;
	}
	ctx_set_deadline(bond->ctx, joined->deadline_ns);
}

static void remote_ended(struct bond *bond, const struct wire_cause *words)
{
	bool lost = words->kind == CTX_CAUSE_HOST || words->kind == CTX_CAUSE_UNREACHABLE;
	struct ctx_cause cause;

	/* That nobody hears of the host is no word of the host. */
	if (lost && bond->remote->survive) {
		remote_refused(bond);
		return;
	}
	if (lost && bond->remote->extracted && !bond->remote->known_live) {
		remote_give_up(bond, 0);
		return;
	}
	wire_cause_to(words, &cause);
	bond_end(bond, words->expired ? ETIME : ECANCELED, &cause);
}

bool remote_answered(struct ctxd_client *client, const struct wire_message *answer, const int *fds)
{
	struct bond *bond = take_asked(client, answer->serial);
	char text[CTX_CAUSE_TEXT_MAX];

	if (!bond)
		return false;
	if (answer->type == WIRE_JOINED && !answer->joined.ended) {
		remote_found(bond, &answer->joined, fds);
		return true;
	}
	if (answer->type == WIRE_JOINED) {
		remote_ended(bond, &answer->joined.cause);
	} else if (answer->type == WIRE_RESULT &&
		   (answer->result.error == -ENOENT || answer->result.error == -ESTALE)) {
		snprintf(text, sizeof(text), "host %s does not know this context", bond->remote->global.host);
		remote_end(bond, CTX_CAUSE_HOST, text);
	} else {
		remote_refused(bond);
	}
	return false;
}

void remote_failed(struct ctxd_client *client, uint64_t serial)
{
	struct bond *bond = take_asked(client, serial);

	if (bond)
		remote_refused(bond);
}
