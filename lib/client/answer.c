/* SPDX-License-Identifier: MIT */
/* Gives answers to the calls that wait for them. */
#include "client.h"
#include "sys.h"

static void call_finish(struct call *call, int error)
{
	call->error = error;
	list_remove(&call->link);
	/*
	 * Once done is set the caller may return: its stack is not touched again. A wake of done then is a
	 * spurious one.
	 */
	_Atomic uint32_t *done = &call->done;
	atomic_store(done, 1);
	sys_futex_wake(done, 1);
}

/* Finds the call that waits for this serial. The client lock is held. */
static struct call *call_find(struct ctxd_client *client, uint64_t serial)
{
	for (struct list *link = client->calls.next; link != &client->calls; link = link->next) {
		struct call *call = container_of(link, struct call, link);
		if (call->serial == serial)
			return call;
	}
	return NULL;
}

bool call_answer(struct ctxd_client *client, const struct wire_message *answer, const int *fds,
		 unsigned fd_count)
{
	bool refused = answer->type == WIRE_RESULT && answer->result.error;

	lock_acquire(&client->lock);
	struct call *call = call_find(client, answer->serial);
	bool taking = call && call->take && !refused;
	if (call) {
		*call->answer = *answer;
		for (unsigned i = 0; i < fd_count; i++)
			call->fds[i] = fds[i];
		call->fd_count = fd_count;
	}
	if (taking) {
		call->taking = true; /* its caller waits until take has returned */
		list_remove(&call->link);
	} else if (call) {
		call_finish(call, 0);
	}
	lock_release(&client->lock);
	if (taking) {
		int error = call->take(client, call);
		lock_acquire(&client->lock);
		call_finish(call, error);
		lock_release(&client->lock);
	}
	return call != NULL;
}

void call_fail(struct ctxd_client *client, uint64_t serial, int error)
{
	lock_acquire(&client->lock);
	struct call *call = call_find(client, serial);
	if (call)
		call_finish(call, error);
	lock_release(&client->lock);
}

void calls_fail(struct ctxd_client *client, int error)
{
	while (!list_empty(&client->calls))
		call_finish(container_of(client->calls.next, struct call, link), error);
}
