/* SPDX-License-Identifier: MIT */
/*
 * Requests to end a context. A request becomes one order for each process in which the context lives: those
 * who joined it, and its owner.
 *
 * The owner's order is sent last: when the others have obeyed, but after HOLD_NS at the latest. Its end
 * reaches the others by the pipe, and what they reap after that would not be reported. Because of the bound,
 * a stopped process keeps no other one from being told.
 *
 * The asker is answered when all have obeyed, at the latest at answer_ns. The record is written when all
 * operations are reaped, at the latest at audit_ns.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "parts.h"

/*
 * How many orders one process can have. An order that is not obeyed is not sent again, so this bounds how
 * many contexts of one process others can ask to end.
 */
#define ORDERS_MAX 4096
#define AUDIT_NS 10000000000ull
/* How long the owner's order is held back for those who joined. */
#define HOLD_NS 20000000ull

/* ---- orders */

int order_send_next(struct peer *peer)
{
	struct order *order = container_of(peer->unsent.next, struct order, of_unsent);
	const struct cancel *cancel = order->cancel;
	struct wire_message message = {
		.type = WIRE_ORDER,
		.serial = order->serial,
		.order = {.id = order->id,
			  .ctx_id = order->ctx_id,
			  .error = cancel->cause_error,
			  .pid = cancel->cause_pid,
			  .uid = cancel->cause_uid},
	};

	memcpy(message.order.text, cancel->text, sizeof(message.order.text));
	memcpy(message.order.host, cancel->cause_host, sizeof(message.order.host));
	if (peer_offer(peer, &message, NULL, 0) == -EAGAIN)
		return -EAGAIN;
	list_remove(&order->of_unsent);
	return 0;
}

static void send_order(struct order *order)
{
	list_append(&order->peer->unsent, &order->of_unsent);
	job_queue(order->peer->broker, &order->peer->job);
}

static void order_free(struct order *order)
{
	struct cancel *cancel = order->cancel;
	struct broker *broker = order->peer->broker;

	if (cancel->owner_order == order)
		cancel->owner_order = NULL;
	cancel->not_ended -= !order->ended;
	cancel->not_reaped -= !order->reaped;
	map_remove(&broker->orders, &order->by_serial);
	map_remove(&broker->orders_by_target, &order->by_target);
	order->peer->order_count--;
	list_remove(&order->of_cancel);
	list_remove(&order->of_peer);
	list_remove(&order->of_unsent);
	free(order);
}

static uint64_t target_key(const struct peer *peer, struct ctxd_id id, uint64_t ctx_id)
{
	uint64_t all[] = {(uintptr_t)peer, id.number, ctx_id};

	return hash_bytes(all, sizeof(all));
}

/*
 * Whether peer has an order for that target already: one of this cancel, or of another one that is not obeyed
 * yet. The map gives the latest order for a target; if that one has been obeyed, so have the earlier ones.
 */
static bool is_ordered(const struct cancel *cancel, const struct peer *peer, struct ctxd_id id,
		       uint64_t ctx_id)
{
	struct map_node *node = map_find(&peer->broker->orders_by_target, target_key(peer, id, ctx_id));
	const struct order *order = node ? container_of(node, struct order, by_target) : NULL;

	return order && (order->cancel == cancel || !order->ended);
}

static int order_new(struct cancel *cancel, struct peer *peer, struct ctxd_id id, uint64_t ctx_id,
		     struct order **ret_order)
{
	struct broker *broker = peer->broker;

	if (peer->gone)
		return -ENOENT;
	if (is_ordered(cancel, peer, id, ctx_id))
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
	map_add(&broker->orders_by_target, &order->by_target, target_key(peer, id, ctx_id));
	list_append(&cancel->orders, &order->of_cancel);
	list_append(&peer->orders, &order->of_peer);
	list_init(&order->of_unsent);
	peer->order_count++;
	cancel->not_ended++;
	cancel->not_reaped++;
	cancel->report.asked++;
	broker->work += WORK_ITEM;
	*ret_order = order;
	return 0;
}

/* Sends the owner's order, if it is held back. */
static void send_owner_order(struct cancel *cancel)
{
	struct order *order = cancel->owner_order;

	cancel->owner_order = NULL;
	if (order)
		send_order(order);
}

/* ---- answers and records */

static void answer_asker(struct cancel *cancel)
{
	struct wire_message message = {.type = WIRE_REPORT, .serial = cancel->serial};
	unsigned silent = cancel->not_ended;

	if (cancel->answered)
		return;
	cancel->answered = true;
	cancel->report.silent = silent;
	list_remove(&cancel->asker_link);
	if (!cancel->asker)
		return;
	/* If the only process that answered refused, its error is the answer. */
	message.report.error = cancel->report.ended || silent ? 0 : cancel->error;
	message.report.report = cancel->report;
	peer_send(cancel->asker, &message, NULL, 0);
	cancel->asker = NULL;
}

/* What records say of who asked, if that is the bridge. */
static const char *bridge_mark(bool by_bridge)
{
	return by_bridge ? " bridge=1" : "";
}

/*
 * The audit record of a request. It is written before the first process is told, so that nothing ends without
 * a record even if the service is killed.
 */
static void record_request(struct cancel *cancel, uid_t owner)
{
	char text[CTX_CAUSE_TEXT_MAX * 4], process[80];

	cancel->number = ++cancel->asker->broker->last_cancel;
	cancel->recorded = log_admits(LOG_LEVEL_AUDIT, cancel->uid,
				      owner == cancel->uid ? LOG_CANCEL : LOG_CANCEL_OF_OTHERS);
	if (cancel->recorded)
		log_event(LOG_LEVEL_AUDIT, "request",
			  "uid=%u pid=%d process=%s%s %s error=%d cause=%s request=%" PRIu64, cancel->uid,
			  cancel->pid, log_quote(cancel->process, process, sizeof(process)),
			  bridge_mark(cancel->by_bridge), cancel->target, cancel->cause_error,
			  log_quote(cancel->text, text, sizeof(text)), cancel->number);
}

/* The record of a request that came to nothing: no process could be told. */
static void record_refused(const struct cancel *cancel, int error)
{
	if (cancel->recorded)
		log_event(LOG_LEVEL_AUDIT, "request-refused", "uid=%u pid=%d %s reason=%s request=%" PRIu64,
			  cancel->uid, cancel->pid, cancel->target, strerrorname_np(-error), cancel->number);
}

/*
 * The record of a request whose target was not found or may not be cancelled. It names only what the request
 * named, since the asker may not know more.
 */
static void record_unmet(const struct peer *peer, const struct wire_cancel *wanted, int error)
{
	char text[CTX_CAUSE_TEXT_MAX * 4], process[80], target[80];

	if (!log_admits(LOG_LEVEL_AUDIT, peer->identity.uid, LOG_CANCEL))
		return;
	if (wire_id_is_none(wanted->id))
		snprintf(target, sizeof(target), "table=%" PRIu64 " context=%u.%u", wanted->table,
			 (uint32_t)wanted->ctx_id, (uint32_t)(wanted->ctx_id >> 32));
	else
		snprintf(target, sizeof(target), "target=%" PRIx64 "-%" PRIx64, wanted->id.epoch,
			 wanted->id.number);
	log_event(LOG_LEVEL_AUDIT, "request-refused",
		  "uid=%u pid=%d process=%s%s %s error=%d cause=%s reason=%s", peer->identity.uid,
		  peer->identity.pid, log_quote(peer->name, process, sizeof(process)),
		  bridge_mark(is_bridge(peer)), target, wanted->error,
		  log_quote(wanted->text, text, sizeof(text)), strerrorname_np(-error));
}

static void record_end(const struct cancel *cancel)
{
	const struct ctxd_report *report = &cancel->report;
	char text[CTX_CAUSE_TEXT_MAX * 4], process[80];

	if (!cancel->recorded)
		return;
	log_event(LOG_LEVEL_AUDIT, "cancel",
		  "uid=%u pid=%d process=%s%s %s error=%d cause=%s asked=%u ended=%u silent=%u batches=%u "
		  "operations=%u sqes=%u enters=%u cancelled=%u finished=%u held=%u submit_us=%" PRIu64
		  " reap_us=%" PRIu64 " request=%" PRIu64,
		  cancel->uid, cancel->pid, log_quote(cancel->process, process, sizeof(process)),
		  bridge_mark(cancel->by_bridge), cancel->target, cancel->cause_error,
		  log_quote(cancel->text, text, sizeof(text)), report->asked, report->ended,
		  cancel->not_ended, report->batches, report->operations, report->sqes, report->enters,
		  report->cancelled, report->finished, report->held, report->submit_ns / 1000,
		  report->reap_ns / 1000, cancel->number);
}

/* Frees a cancel and its orders. There is one order for each connection at most. */
static void cancel_free(struct broker *broker, struct cancel *cancel)
{
	while (!list_empty(&cancel->orders))
		order_free(container_of(cancel->orders.next, struct order, of_cancel));
	list_remove(&cancel->link);
	list_remove(&cancel->asker_link);
	heap_remove(&broker->due, &cancel->due);
	if (cancel->share)
		cancel->share->cancel = NULL;
	account_return(cancel->account, QUOTA_CANCELS, 1);
	account_unref(&broker->accounts, cancel->account);
	free(cancel);
}

/* Sets the time at which cancel_advance() is called if no report comes before. */
static void cancel_set_due(struct broker *broker, struct cancel *cancel)
{
	uint64_t due_ns = cancel->share ? UINT64_MAX : cancel->audit_ns;

	if (!cancel->answered && cancel->answer_ns < due_ns)
		due_ns = cancel->answer_ns;
	if (cancel->owner_order && cancel->hold_ns < due_ns)
		due_ns = cancel->hold_ns;
	if (heap_contains(&cancel->due) && cancel->due.key_ns == due_ns)
		return;
	heap_remove(&broker->due, &cancel->due);
	heap_insert(&broker->due, &cancel->due, due_ns);
}

/* Does what is due: sends the owner's order, answers the asker, writes the record. May free the cancel. */
static void cancel_advance(struct broker *broker, struct cancel *cancel, uint64_t now_ns)
{
	bool all_asked = !cancel->share;
	unsigned owner_left = cancel->owner_order && !cancel->owner_order->ended;

	broker->work += WORK_ITEM;
	if ((all_asked && cancel->not_ended == owner_left) || now_ns >= cancel->hold_ns)
		send_owner_order(cancel);
	if ((all_asked && !(cancel->wait ? cancel->not_reaped : cancel->not_ended)) ||
	    now_ns >= cancel->answer_ns)
		answer_asker(cancel);
	if (all_asked && (!cancel->not_reaped || now_ns >= cancel->audit_ns)) {
		answer_asker(cancel);
		record_end(cancel);
		cancel_free(broker, cancel);
		return;
	}
	cancel_set_due(broker, cancel);
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

int handle_obeyed(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	struct map_node *node = map_find(&peer->broker->orders, message->serial);
	struct order *order = node ? container_of(node, struct order, by_serial) : NULL;
	const struct wire_obeyed *obeyed = &message->obeyed;

	if (!order || order->peer != peer)
		return 0; /* The cancel has been answered and freed. */
	struct cancel *cancel = order->cancel;
	int result = obeyed->result;
	/* What has an id was there when the order was made. So it has ended before the order came. */
	if (result == -ENOENT && !wire_id_is_none(order->id))
		result = -EALREADY;
	if (!order->ended) {
		order->ended = true;
		cancel->not_ended--;
		cancel->report.ended += result == 0;
		if (result && !cancel->error)
			cancel->error = result;
	}
	/* A process in which nothing ended has nothing to reap either. */
	if ((obeyed->reaped || obeyed->result) && !order->reaped) {
		order->reaped = true;
		cancel->not_reaped--;
		if (obeyed->reaped)
			add_report(&cancel->report, &obeyed->report);
	}
	cancel_advance(peer->broker, cancel, now_ns);
	return 0;
}

/* ---- requests */

static struct process *find_process_of_table(struct broker *broker, uint64_t table)
{
	struct map_node *node = map_find(&broker->peers_by_table, table);

	return node ? container_of(node, struct peer, by_table)->process : NULL;
}

/*
 * What is to end. On 0 exactly one is not NULL: a shared context, or the client with the table, whose process
 * alone is told.
 */
static int find_target(struct peer *peer, const struct wire_cancel *wanted, struct share **ret_share,
		       struct peer **ret_told)
{
	*ret_share = NULL;
	*ret_told = NULL;
	if (!wire_id_is_none(wanted->id)) {
		int error = share_find(peer, wanted->id, RIGHT_CANCEL, ret_share);
		if (!error && (*ret_share)->unclaimed)
			error = -ENOENT;
		if (!error && ((*ret_share)->ended_ns || (*ret_share)->cancel))
			error = -EALREADY;
		return error;
	}
	struct process *process = find_process_of_table(peer->broker, wanted->table);
	if (!process)
		return -ENOENT;
	struct share *share = share_of_context(peer->broker, process, wanted->ctx_id);
	if (share && may_use_share(peer, share, RIGHT_CANCEL)) {
		*ret_share = share;
		return share->cancel ? -EALREADY : 0;
	}
	*ret_told = process_publisher(process);
	return *ret_told && may_cancel_by_table(peer, *ret_told) ? 0 : -ENOENT;
}

static void describe_target(struct cancel *cancel, const struct share *share, const struct peer *told,
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
			 told->identity.pid, (uint32_t)ctx_id, (uint32_t)(ctx_id >> 32), told->identity.pid);
}

/* 0 and a cancel that is charged to the asker; -EDQUOT; -ENOMEM. */
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
	cancel->account = account_ref(&broker->accounts, peer->identity.uid);
	uint64_t wait_ns = from->wait_ns > config->reply_ns ? from->wait_ns : config->reply_ns;
	list_init(&cancel->orders);
	cancel->asker = peer;
	cancel->serial = message->serial;
	cancel->wait = from->wait_ns != 0;
	cancel->answer_ns = wait_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + wait_ns;
	/*
	 * An asker that waits for ever and then disconnects does not keep the cancel for ever, see
	 * cancels_peer_gone().
	 */
	cancel->audit_ns = cancel->answer_ns > now_ns + AUDIT_NS ? cancel->answer_ns : now_ns + AUDIT_NS;
	cancel->hold_ns = now_ns + HOLD_NS;
	cancel->pid = peer->identity.pid;
	cancel->uid = peer->identity.uid;
	cancel->by_bridge = is_bridge(peer);
	cancel->cause_pid = cancel->pid;
	cancel->cause_uid = cancel->uid;
	if (cancel->by_bridge && from->host[0]) {
		cancel->cause_pid = from->pid;
		cancel->cause_uid = from->uid;
		memcpy(cancel->cause_host, from->host, sizeof(cancel->cause_host));
	}
	memcpy(cancel->process, peer->name, sizeof(cancel->process));
	cancel->cause_error = from->error;
	memcpy(cancel->text, from->text, sizeof(cancel->text));
	list_append(&broker->cancels, &cancel->link);
	list_append(&peer->cancels, &cancel->asker_link);
	cancel_set_due(broker, cancel);
	*ret_cancel = cancel;
	return 0;
}

static void fill_cause(const struct cancel *cancel, const struct share *share, uint64_t now_ns,
		       struct ctx_cause *cause)
{
	*cause = (struct ctx_cause){
		.error = cancel->cause_error ? cancel->cause_error : -ECANCELED,
		.kind = CTX_CAUSE_SERVICE,
		.inherited = true,
		.ctx_id = share->ctx_id,
		.time_ns = now_ns,
		.pid = cancel->cause_pid,
		.uid = cancel->cause_uid,
	};
	memcpy(cause->text, cancel->text, sizeof(cause->text));
	memcpy(cause->host, cancel->cause_host, sizeof(cause->host));
}

static void answer_refusal(struct peer *peer, uint64_t serial, int error, unsigned asked)
{
	struct wire_message message = {.type = WIRE_REPORT, .serial = serial};

	message.report.error = error;
	message.report.report.asked = asked;
	peer_send(peer, &message, NULL, 0);
}

/* The share counts as ended from its first order on. */
static void end_cancelled_share(struct cancel *cancel, struct share *share)
{
	struct ctx_cause cause;

	if (share->hidden || share->ended_ns)
		return;
	fill_cause(cancel, share, share->broker->now_ns, &cause);
	share_end(share, &cause, share->broker->now_ns);
}

void cancel_visit(struct join *join)
{
	struct share *share = join->share;
	struct cancel *cancel = share->cancel;
	struct order *order;

	/* The bridge learns of the end by the pipe, and other hosts by the bridge. */
	if (join_is_of_bridge(join))
		return;
	int refused = order_new(cancel, join->peer, share_id(share), 0, &order);
	if (!refused) {
		send_order(order);
		end_cancelled_share(cancel, share);
	}
	cancel->refused = cancel->refused ? cancel->refused : refused;
}

void cancel_visited(struct cancel *cancel)
{
	struct broker *broker = cancel->share->broker;

	cancel->share->cancel = NULL;
	cancel->share = NULL;
	if (cancel->report.asked) {
		cancel_advance(broker, cancel, broker->now_ns);
		return;
	}
	record_refused(cancel, cancel->refused);
	if (cancel->asker)
		answer_refusal(cancel->asker, cancel->serial, cancel->refused, 0);
	cancel_free(broker, cancel);
}

/* Orders the owner, and has all who joined visited for their orders. May free the cancel. */
static void order_all_joined(struct cancel *cancel, struct share *share)
{
	cancel->refused =
		order_new(cancel, share->owner, share_id(share), share->ctx_id, &cancel->owner_order);
	cancel->share = share;
	share->cancel = cancel;
	if (!cancel->refused)
		end_cancelled_share(cancel, share);
	share_visit(share);
}

/* How many processes would be asked. share is NULL if only one process is meant. */
static unsigned count_asked(const struct share *share)
{
	return share ? 1 + share->join_count - share->bridge_join_count : 1;
}

int handle_cancel(struct peer *peer, const struct wire_message *message, uint64_t now_ns)
{
	const struct wire_cancel *wanted = &message->cancel;
	struct share *share;
	struct peer *told;
	struct order *order;
	int error = find_target(peer, wanted, &share, &told);

	if (error && !(wanted->flags & WIRE_DRY_RUN))
		record_unmet(peer, wanted, error);
	if (error || wanted->flags & WIRE_DRY_RUN) {
		answer_refusal(peer, message->serial, error, error ? 0 : count_asked(share));
		return 0;
	}
	struct cancel *cancel;
	error = cancel_new(peer, message, now_ns, &cancel);
	if (error == -EDQUOT) {
		record_unmet(peer, wanted, error);
		answer_refusal(peer, message->serial, error, 0);
		return 0;
	}
	if (error)
		return error;
	describe_target(cancel, share, told, wanted->ctx_id);
	record_request(cancel, share ? share->uid : told->identity.uid);
	if (share) {
		order_all_joined(cancel, share);
		return 0;
	}
	error = order_new(cancel, told, (struct ctxd_id){0}, wanted->ctx_id, &order);
	if (!error) {
		send_order(order);
		return 0;
	}
	record_refused(cancel, error);
	answer_refusal(peer, message->serial, error, 0);
	cancel_free(peer->broker, cancel);
	return 0;
}

bool cancels_peer_gone(struct peer *peer, uint64_t now_ns)
{
	struct broker *broker = peer->broker;

	for (; !list_empty(&peer->cancels) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct cancel *cancel = container_of(peer->cancels.next, struct cancel, asker_link);
		list_remove(&cancel->asker_link);
		cancel->asker = NULL;
		if (cancel->audit_ns > now_ns + AUDIT_NS)
			cancel->audit_ns = now_ns + AUDIT_NS;
		cancel_set_due(broker, cancel);
	}
	for (; !list_empty(&peer->orders) && piece_lasts(broker); broker->work += WORK_ITEM) {
		struct order *order = container_of(peer->orders.next, struct order, of_peer);
		struct cancel *cancel = order->cancel;
		order_free(order);
		cancel_advance(broker, cancel, now_ns);
	}
	return list_empty(&peer->cancels) && list_empty(&peer->orders);
}

void cancels_expire(struct broker *broker, uint64_t now_ns)
{
	while (broker->due.root && broker->due.root->key_ns <= now_ns && piece_lasts(broker))
		cancel_advance(broker, container_of(broker->due.root, struct cancel, due), now_ns);
}

uint64_t cancels_next_ns(const struct broker *broker)
{
	return broker->due.root ? broker->due.root->key_ns : UINT64_MAX;
}

/* Goes through all cancels. Only called while the service ends. */
bool cancels_are_under_way(const struct broker *broker)
{
	for (const struct list *link = broker->cancels.next; link != &broker->cancels; link = link->next) {
		const struct cancel *cancel = container_of(link, struct cancel, link);
		if (cancel->owner_order || (cancel->asker && !cancel->answered))
			return true;
	}
	return false;
}

void cancels_answer_all(struct broker *broker)
{
	for (struct list *link = broker->cancels.next; link != &broker->cancels; link = link->next) {
		struct cancel *cancel = container_of(link, struct cancel, link);
		send_owner_order(cancel);
		answer_asker(cancel);
	}
}

void cancels_free(struct broker *broker)
{
	while (!list_empty(&broker->cancels)) {
		struct cancel *cancel = container_of(broker->cancels.next, struct cancel, link);
		record_end(cancel);
		cancel_free(broker, cancel);
	}
}
