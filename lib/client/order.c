/* SPDX-License-Identifier: MIT */
/* Cancels that the service orders of this process, and the answers to them. */
#include <string.h>

#include "cancel.h"
#include "client.h"
#include "clock.h"
#include "find.h"
#include "memory.h"
#include "tally.h"

/* An order. It outlives the client while a ring has not reported yet. */
struct order {
	struct list link; /* client->orders */
	struct tally tally;
	struct lock lock; /* guards client; taken before the client's lock */
	struct ctxd_client *client;
	_Atomic bool reaped;
	bool told_ended;
	uint64_t serial;
	int result;
};

static void order_reaped(struct tally *tally)
{
	struct order *order = container_of(tally, struct order, tally);

	lock_acquire(&order->lock);
	struct ctxd_client *client = order->client;
	if (client) {
		atomic_store(&order->reaped, true);
		client_wake(client);
	}
	lock_release(&order->lock);
	if (!client)
		memory_release(order);
}

/* The context that an order means, kept alive by a pin or by its bond. NULL, and *ret_error says why. */
static struct ctx_context *find_target(struct ctxd_client *client, const struct wire_order *from,
				       bool *ret_pinned, int *ret_error)
{
	struct bond *bond = wire_id_is_none(from->id) ? NULL : bond_find(client, from->id);

	*ret_pinned = false;
	*ret_error = -ENOENT;
	if (bond)
		return bond->ctx;
	if (!from->ctx_id || !wire_id_is_none(from->id))
		return NULL;
	if (find_enable()) {
		*ret_error = -ENOTSUP;
		return NULL;
	}
	*ret_pinned = true;
	return context_find(from->ctx_id);
}

static void send_result(struct ctxd_client *client, uint64_t serial, int result)
{
	struct wire_message message = {.type = WIRE_OBEYED, .serial = serial, .obeyed = {.result = result}};

	lock_acquire(&client->lock);
	link_send(client, &message, -1);
	lock_release(&client->lock);
}

/* Ends the other joins of the same id: a process may join a context several times. Only the first reports. */
static void end_others(struct ctxd_client *client, struct ctxd_id id, const struct ctx_cause *cause)
{
	struct bond *bond;

	while ((bond = bond_find(client, id)))
		context_end_foreign(bond->ctx, ECANCELED, cause);
}

void order_take(struct ctxd_client *client, const struct wire_message *message)
{
	const struct wire_order *from = &message->order;
	struct ctx_cause cause = {
		.error = from->error ? from->error : -ECANCELED,
		.kind = CTX_CAUSE_SERVICE,
		.time_ns = clock_now_ns(),
		.pid = from->pid,
		.uid = from->uid,
	};
	bool pinned;
	int error;
	struct ctx_context *ctx = find_target(client, from, &pinned, &error);
	struct order *order = ctx ? memory_allocate(sizeof(*order)) : NULL;

	if (!ctx) {
		send_result(client, message->serial, error);
		return;
	}
	client->ended_some = true;
	memcpy(cause.text, from->text, sizeof(cause.text));
	memcpy(cause.host, from->host, sizeof(cause.host));
	cause.ctx_id = ctx_id(ctx);
	if (!order) { /* without memory the context ends all the same, but without a report */
		error = context_end_foreign(ctx, ECANCELED, &cause);
		send_result(client, message->serial, error ? error : -ENOMEM);
	} else {
		*order = (struct order){.client = client, .serial = message->serial};
		list_append(&client->orders, &order->link);
		tally_begin(&order->tally, ctx, order_reaped);
		order->result = context_end_foreign(ctx, ECANCELED, &cause);
		tally_end(&order->tally);
	}
	if (pinned)
		node_unref(ctx);
	else
		end_others(client, from->id, &cause);
}

static void fill_report(struct order *order, struct ctxd_report *ret_report)
{
	const struct ctx_batch *sum = &order->tally.sum;

	*ret_report = (struct ctxd_report){
		.asked = 1,
		.ended = order->result == 0,
		.batches = order->tally.batches,
		.operations = sum->operations,
		.unsent = sum->unsent,
		.timed = sum->timed,
		.sqes = sum->sqes,
		.enters = sum->enters,
		.cancelled = sum->cancelled,
		.finished = sum->finished,
		.held = sum->held,
		.submit_ns = sum->submit_ns,
		.reap_ns = sum->reap_ns,
	};
}

/*
 * Tells the service that the context has ended, and once reaped, what its batches report. The client lock is
 * held.
 */
static int order_tell(struct ctxd_client *client, struct order *order, bool reaped)
{
	struct wire_message message = {
		.type = WIRE_OBEYED,
		.serial = order->serial,
		.obeyed = {.result = order->result, .reaped = reaped},
	};

	if (reaped)
		fill_report(order, &message.obeyed.report);
	return link_send(client, &message, -1);
}

void orders_flush(struct ctxd_client *client)
{
	for (struct list *link = client->orders.next, *next; link != &client->orders; link = next) {
		struct order *order = container_of(link, struct order, link);
		next = link->next;
		bool reaped = atomic_load(&order->reaped);
		int result = 0;

		lock_acquire(&client->lock);
		if (!order->told_ended)
			result = order_tell(client, order, false);
		order->told_ended |= result != -EAGAIN;
		if (reaped && result != -EAGAIN)
			result = order_tell(client, order, true);
		lock_release(&client->lock);
		if (result == -EAGAIN)
			return;
		if (!reaped)
			continue;
		list_remove(link);
		/* The thread that reported last may still hold the lock. */
		lock_acquire(&order->lock);
		lock_release(&order->lock);
		memory_release(order);
	}
}

void orders_forget(struct ctxd_client *client)
{
	while (!list_empty(&client->orders)) {
		struct order *order = container_of(client->orders.next, struct order, link);
		list_remove(&order->link);
		lock_acquire(&order->lock);
		order->client = NULL;
		bool reaped = atomic_load(&order->reaped);
		lock_release(&order->lock);
		if (reaped)
			memory_release(order);
	}
}
