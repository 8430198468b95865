/* SPDX-License-Identifier: MIT */
/*
 * Ending contexts for somebody else. A request becomes one order for each process in which the context lives:
 * all who joined it, and its owner. The owner is told last, when the others have obeyed or a moment is over:
 * its end would reach them by the pipe, and what they reap would not be told. Nobody waits longer than that
 * for another, so a stopped owner shields nobody. The one who asked is answered when all have obeyed, or when
 * it has taken too long; the record of it all is written when everything has been reaped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "parts.h"

/* An order that a process has not obeyed is not repeated, so this many contexts of one can be asked to end.
 */
#define ORDERS_MAX 4096
#define AUDIT_NS 10000000000ull
/* For those who joined, before the owner is told. */
#define HOLD_NS 20000000ull

/* ---- orders */

static int send_order(struct order *order)
{
	const struct cancel *cancel = order->cancel;
	struct wire_message message = {
		.type = WIRE_ORDER,
		.serial = order->serial,
		.order = {.id = order->id,
			  .ctx_id = order->ctx_id,
			  .error = cancel->cause_error,
			  .pid = cancel->pid,
			  .uid = cancel->uid},
	};

	memcpy(message.order.text, cancel->text, sizeof(message.order.text));
	int result = peer_send(order->peer, &message, NULL, 0);
	order->sent = result != -EAGAIN;
	return result;
}

bool orders_resume(struct peer *peer)
{
	for (struct link *link = peer->orders.next; link != &peer->orders; link = link->next) {
		struct order *order = owner_of(link, struct order, of_peer);
		if (!order->sent && order != order->cancel->last && send_order(order) == -EAGAIN)
			return false;
	}
	return true;
}

static void order_free(struct order *order)
{
	if (order->cancel->last == order)
		order->cancel->last = NULL;
	map_remove(&order->peer->broker->orders, &order->by_serial);
	order->peer->order_count--;
	link_remove(&order->of_cancel);
	link_remove(&order->of_peer);
	free(order);
}

/* One that is under way already is not given twice. */
static bool is_ordered(const struct peer *peer, struct ctxd_id id, uint64_t ctx_id)
{
	for (const struct link *link = peer->orders.next; link != &peer->orders; link = link->next) {
		const struct order *order = owner_of(link, struct order, of_peer);
		if (!order->ended && wire_id_equal(order->id, id) && order->ctx_id == ctx_id)
			return true;
	}
	return false;
}

static int order_new(struct cancel *cancel, struct peer *peer, struct ctxd_id id, uint64_t ctx_id,
		     struct order **ret_order)
{
	struct broker *broker = peer->broker;

	if (is_ordered(peer, id, ctx_id))
		return -EALREADY;
	if (peer->order_count >= ORDERS_MAX)
		return -EDQUOT;
	struct order *order = calloc(1, sizeof(*order));
	if (!order)
		return -ENOMEM;
	order->cancel = cancel;
	order->peer = peer;
	order->id = id;
	order->ctx_id = ctx_id;
	order->serial = ++broker->last_order;
	map_add(&broker->orders, &order->by_serial, order->serial);
	link_append(&cancel->orders, &order->of_cancel);
	link_append(&peer->orders, &order->of_peer);
	peer->order_count++;
	cancel->report.asked++;
	*ret_order = order;
	return 0;
}

/* The owner's turn. */
static void send_last(struct cancel *cancel)
{
	struct order *order = cancel->last;

	cancel->last = NULL;
	if (order)
		send_order(order);
}

/* ---- answers and records */

static void answer(struct cancel *cancel)
{
	struct wire_message message = {.type = WIRE_REPORT, .serial = cancel->serial};
	unsigned silent = 0;

	if (cancel->answered)
		return;
	cancel->answered = true;
	for (struct link *link = cancel->orders.next; link != &cancel->orders; link = link->next)
		silent += !owner_of(link, struct order, of_cancel)->ended;
	cancel->report.silent = silent;
	link_remove(&cancel->asker_link);
	if (!cancel->asker)
		return;
	/* A single process that says no has said all there is. */
	message.report.error = cancel->report.ended || silent ? 0 : cancel->error;
	message.report.report = cancel->report;
	peer_send(cancel->asker, &message, NULL, 0);
	cancel->asker = NULL;
}

static void audit(const struct cancel *cancel)
{
	const struct ctxd_report *report = &cancel->report;
	char text[CTX_CAUSE_TEXT_MAX * 4], process[80];
	unsigned silent = 0;

	for (struct link *link = cancel->orders.next; link != &cancel->orders; link = link->next)
		silent += !owner_of(link, struct order, of_cancel)->ended;
	log_event(LOG_LEVEL_AUDIT, "cancel",
		  "uid=%u pid=%d process=%s %s error=%d cause=%s asked=%u ended=%u silent=%u batches=%u "
		  "operations=%u sqes=%u enters=%u cancelled=%u finished=%u held=%u submit_us=%" PRIu64
		  " reap_us=%" PRIu64,
		  cancel->uid, cancel->pid, log_quote(cancel->process, process, sizeof(process)),
		  cancel->target, cancel->cause_error, log_quote(cancel->text, text, sizeof(text)),
		  report->asked, report->ended, silent, report->batches, report->operations, report->sqes,
		  report->enters, report->cancelled, report->finished, report->held, report->submit_ns / 1000,
		  report->reap_ns / 1000);
}

static void cancel_free(struct broker *broker, struct cancel *cancel)
{
	while (!link_alone(&cancel->orders))
		order_free(owner_of(cancel->orders.next, struct order, of_cancel));
	link_remove(&cancel->link);
	link_remove(&cancel->asker_link);
	account_return(cancel->account, QUOTA_CANCELS, 1);
	account_release(&broker->accounts, cancel->account);
	free(cancel);
}

/* All that was waited for has come, or the time is over. May free it. */
static void review(struct broker *broker, struct cancel *cancel, uint64_t now_ns)
{
	bool all_ended = true, all_reaped = true, others_ended = true;

	for (struct link *link = cancel->orders.next; link != &cancel->orders; link = link->next) {
		const struct order *order = owner_of(link, struct order, of_cancel);
		all_ended &= order->ended;
		all_reaped &= order->reaped;
		others_ended &= order->ended || order == cancel->last;
	}
	if (others_ended || now_ns >= cancel->hold_ns)
		send_last(cancel);
	if ((cancel->wait ? all_reaped : all_ended) || now_ns >= cancel->answer_ns)
		answer(cancel);
	if (all_reaped || now_ns >= cancel->audit_ns) {
		answer(cancel);
		audit(cancel);
		cancel_free(broker, cancel);
	}
}

static void add_report(struct ctxd_report *sum, const struct ctxd_report *report)
{
	sum->batches += report->batches;
	sum->operations += report->operations;
	sum->unsent += report->unsent;
	sum->timed += report->timed;
	sum->sqes += report->sqes;
	sum->enters += report->enters;
	sum->cancelled += report->cancelled;
	sum->finished += report->finished;
	sum->held += report->held;
	if (report->submit_ns > sum->submit_ns)
		sum->submit_ns = report->submit_ns;
	if (report->reap_ns > sum->reap_ns)
		sum->reap_ns = report->reap_ns;
}

int cancel_obeyed(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct map_node *node = map_find(&peer->broker->orders, message->serial);
	struct order *order = node ? owner_of(node, struct order, by_serial) : NULL;
	const struct wire_obeyed *obeyed = &message->obeyed;

	if (!order || order->peer != peer)
		return 0; /* it came too late */
	struct cancel *cancel = order->cancel;
	if (!order->ended) {
		order->ended = true;
		cancel->report.ended += obeyed->result == 0;
		if (obeyed->result && !cancel->error)
			cancel->error = obeyed->result;
	}
	/* There is nothing to reap where nothing ended. */
	if ((obeyed->reaped || obeyed->result) && !order->reaped) {
		order->reaped = true;
		if (obeyed->reaped)
			add_report(&cancel->report, &obeyed->report);
	}
	review(peer->broker, cancel, now_ns);
	return 0;
}

/* ---- requests */

static struct peer *find_table(struct broker *broker, uint64_t table)
{
	struct map_node *node = map_find(&broker->peers_by_table, table);

	return node ? owner_of(node, struct peer, by_table) : NULL;
}

/* What is to end: a shared context, or one of a process alone. Exactly one of both on 0. */
static int find_target(struct peer *peer, const struct wire_cancel *wanted, struct share **ret_share,
		       struct peer **ret_process)
{
	*ret_share = NULL;
	*ret_process = NULL;
	if (!wire_id_is_none(wanted->id)) {
		int error = share_find(peer, wanted->id, RIGHT_CANCEL, ret_share);
		if (!error && (*ret_share)->unclaimed)
			error = -ENOENT;
		return error ? error : (*ret_share)->ended_ns ? -EALREADY : 0;
	}
	struct peer *process = find_table(peer->broker, wanted->table);
	if (!process)
		return -ENOENT;
	struct share *share = share_of_context(process, wanted->ctx_id);
	if (share && may(peer, share, RIGHT_CANCEL)) {
		*ret_share = share;
		return 0;
	}
	if (!may_cancel_unshared(peer, process))
		return -ENOENT;
	*ret_process = process;
	return 0;
}

static void describe(struct cancel *cancel, const struct share *share, const struct peer *process,
		     uint64_t ctx_id)
{
	char label[CTX_LABEL_MAX * 4 + 3];

	if (share)
		snprintf(cancel->target, sizeof(cancel->target),
			 "target=%" PRIx64 "-%" PRIx64 " owner=%d context=%u.%u label=%s",
			 share->broker->epoch, share->number, share->pid, (uint32_t)share->ctx_id,
			 (uint32_t)(share->ctx_id >> 32), log_quote(share->label, label, sizeof(label)));
	else
		snprintf(cancel->target, sizeof(cancel->target), "target=%d:%u.%u owner=%d",
			 process->identity.pid, (uint32_t)ctx_id, (uint32_t)(ctx_id >> 32),
			 process->identity.pid);
}

static void due(struct broker *broker, uint64_t time_ns)
{
	if (time_ns < broker->cancels_due_ns)
		broker->cancels_due_ns = time_ns;
}

/* 0 and one that the asker pays for; -EDQUOT; -ENOMEM. */
static int cancel_new(struct peer *peer, const struct wire_message *message, uint64_t now_ns,
		      struct cancel **ret_cancel)
{
	const struct wire_cancel *from = &message->cancel;
	struct broker *broker = peer->broker;
	const struct config *config = &broker->config;

	if (!account_charge(&broker->accounts, peer->account, QUOTA_CANCELS, 1))
		return -EDQUOT;
	struct cancel *cancel = calloc(1, sizeof(*cancel));
	if (!cancel) {
		account_return(peer->account, QUOTA_CANCELS, 1);
		return -ENOMEM;
	}
	cancel->account = account_hold(&broker->accounts, peer->identity.uid);
	uint64_t wait_ns = from->wait_ns > config->reply_ns ? from->wait_ns : config->reply_ns;
	link_init(&cancel->orders);
	cancel->asker = peer;
	cancel->serial = message->serial;
	cancel->wait = from->wait_ns != 0;
	cancel->answer_ns = wait_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + wait_ns;
	/* Who waits for ever does not keep it for ever, once gone. */
	cancel->audit_ns = cancel->answer_ns > now_ns + AUDIT_NS ? cancel->answer_ns : now_ns + AUDIT_NS;
	cancel->hold_ns = now_ns + HOLD_NS;
	cancel->pid = peer->identity.pid;
	cancel->uid = peer->identity.uid;
	memcpy(cancel->process, peer->process, sizeof(cancel->process));
	cancel->cause_error = from->error;
	memcpy(cancel->text, from->text, sizeof(cancel->text));
	link_append(&broker->cancels, &cancel->link);
	link_append(&peer->cancels, &cancel->asker_link);
	due(broker, cancel->hold_ns);
	due(broker, cancel->answer_ns);
	*ret_cancel = cancel;
	return 0;
}

static void cause_of(const struct cancel *cancel, const struct share *share, uint64_t now_ns,
		     struct ctx_cause *cause)
{
	*cause = (struct ctx_cause){
		.error = cancel->cause_error ? cancel->cause_error : -ECANCELED,
		.kind = CTX_CAUSE_SERVICE,
		.inherited = true,
		.ctx_id = share->ctx_id,
		.time_ns = now_ns,
		.pid = cancel->pid,
		.uid = cancel->uid,
	};
	memcpy(cause->text, cancel->text, sizeof(cause->text));
}

/* All processes in which the shared context lives; it counts as ended from now on. */
static int order_all(struct cancel *cancel, struct share *share, uint64_t now_ns)
{
	struct ctx_cause cause;
	struct order *order;
	int error = order_new(cancel, share->owner, share_id(share), share->ctx_id, &cancel->last);

	for (struct link *link = share->joins.next; link != &share->joins; link = link->next) {
		struct join *join = owner_of(link, struct join, of_share);
		int refused = order_new(cancel, join->peer, share_id(share), 0, &order);
		if (!refused)
			send_order(order);
		error = error ? error : refused;
	}
	if (!cancel->report.asked)
		return error;
	cause_of(cancel, share, now_ns, &cause);
	share_end(share, &cause, now_ns);
	review(share->broker, cancel, now_ns);
	return 0;
}

static void refuse(struct peer *peer, uint64_t serial, int error, unsigned asked)
{
	struct wire_message message = {.type = WIRE_REPORT, .serial = serial};

	message.report.error = error;
	message.report.report.asked = asked;
	peer_send(peer, &message, NULL, 0);
}

int cancel_begin(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	const struct wire_cancel *wanted = &message->cancel;
	struct share *share;
	struct peer *process;
	struct order *order;
	int error = find_target(peer, wanted, &share, &process);

	if (error || wanted->flags & WIRE_DRY_RUN) {
		refuse(peer, message->serial, error, error ? 0 : share ? 1 + share->join_count : 1);
		return 0;
	}
	struct cancel *cancel;
	error = cancel_new(peer, message, now_ns, &cancel);
	if (error == -EDQUOT) {
		refuse(peer, message->serial, error, 0);
		return 0;
	}
	if (error)
		return error;
	describe(cancel, share, process, wanted->ctx_id);
	if (share)
		error = order_all(cancel, share, now_ns);
	else
		error = order_new(cancel, process, (struct ctxd_id){0}, wanted->ctx_id, &order);
	if (!error && process)
		send_order(order);
	if (error) {
		refuse(peer, message->serial, error, 0);
		cancel_free(peer->broker, cancel);
	}
	return 0;
}

void cancels_forget(struct peer *peer, uint64_t now_ns)
{
	while (!link_alone(&peer->cancels)) {
		struct cancel *cancel = owner_of(peer->cancels.next, struct cancel, asker_link);
		link_remove(&cancel->asker_link);
		cancel->asker = NULL;
		if (cancel->audit_ns > now_ns + AUDIT_NS)
			cancel->audit_ns = now_ns + AUDIT_NS;
		due(peer->broker, cancel->audit_ns);
	}
	while (!link_alone(&peer->orders)) {
		struct order *order = owner_of(peer->orders.next, struct order, of_peer);
		struct cancel *cancel = order->cancel;
		order_free(order);
		review(peer->broker, cancel, now_ns);
	}
}

static uint64_t next_of(const struct broker *broker)
{
	uint64_t next_ns = UINT64_MAX;

	for (struct link *link = broker->cancels.next; link != &broker->cancels; link = link->next) {
		const struct cancel *cancel = owner_of(link, struct cancel, link);
		uint64_t due_ns = cancel->audit_ns;
		if (!cancel->answered && cancel->answer_ns < due_ns)
			due_ns = cancel->answer_ns;
		if (cancel->last && cancel->hold_ns < due_ns)
			due_ns = cancel->hold_ns;
		next_ns = due_ns < next_ns ? due_ns : next_ns;
	}
	return next_ns;
}

/* Looks at all of them only when one is due: many may wait, and other clients have their turns. */
void cancels_expire(struct broker *broker, uint64_t now_ns)
{
	if (now_ns < broker->cancels_due_ns)
		return;
	for (struct link *link = broker->cancels.next, *next; link != &broker->cancels; link = next) {
		next = link->next;
		review(broker, owner_of(link, struct cancel, link), now_ns);
	}
	broker->cancels_due_ns = next_of(broker);
}

uint64_t cancels_next_ns(const struct broker *broker)
{
	return broker->cancels_due_ns;
}

bool cancels_are_under_way(const struct broker *broker)
{
	for (const struct link *link = broker->cancels.next; link != &broker->cancels; link = link->next) {
		const struct cancel *cancel = owner_of(link, struct cancel, link);
		if (cancel->last || (cancel->asker && !cancel->answered))
			return true;
	}
	return false;
}

void cancels_hurry(struct broker *broker)
{
	for (struct link *link = broker->cancels.next; link != &broker->cancels; link = link->next) {
		struct cancel *cancel = owner_of(link, struct cancel, link);
		send_last(cancel);
		answer(cancel);
	}
}

void cancels_free(struct broker *broker)
{
	while (!link_alone(&broker->cancels)) {
		struct cancel *cancel = owner_of(broker->cancels.next, struct cancel, link);
		audit(cancel);
		cancel_free(broker, cancel);
	}
}
