/* SPDX-License-Identifier: MIT */
/*
 * Cancels. A host is asked for one in two ways: to cancel a context of its own, which its bridge allows or
 * not; and, by the host that owns a context, to cancel the mirrors of it. Once the first is allowed, the
 * hosts that have joined the context get a CANCEL of the second kind, before the END that follows from the
 * cancel itself. They hold back that END for a moment, so that they can count what they cancel. The sum goes
 * to who asked.
 *
 * A cancel that is done is kept for a while: its report may have got lost, and is then asked for again.
 */
#include "cancel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_parts.h"

/*
 * How long is waited for those that are asked, beside the time that the asker waits for operations, in half
 * beats: the asker for the owner's host, the owner's host for its bridge and service, and for other hosts.
 * Each leaves time for one repetition.
 */
#define ASKER_HALF_BEATS 4
#define OWNER_HALF_BEATS 3
#define JOINER_HALF_BEATS 2
/* How long a report is kept. */
#define KEPT_HALF_BEATS 6
/* How long an END is held back. The service of the host needs less to order the cancel. */
#define HOLD_NS (NS_PER_SECOND / 10)
/* One host may have this part of all cancels. */
#define SHARE_OF_HOST 4

struct cancel {
	struct fleet *fleet;
	struct host *host;   /* That asked. NULL: this one. */
	struct list of_host; /* In host->cancels or fleet->own_cancels. */
	struct list done;    /* In fleet->done_cancels; else linked to itself. */
	struct list errands; /* To other hosts that have not answered. */
	struct map_node by_number;
	struct timer timer; /* Its end; of one that is done, when it is forgotten. */
	uint64_t number;
	struct fleet_cancelling message; /* The nonce is that of the host. */
	void *data;			 /* for cancel_done(), where no other host asked */
	bool is_allowed, is_reported, is_done;
	uint64_t end_ns;  /* When it is done with or without reports. */
	uint64_t hold_ns; /* Of mirrors: no END is held back after this time. */
	bool holds_end;
	struct fleet_ended held;
	struct sum sum;
};

static uint64_t half_beats(const struct fleet *fleet, uint64_t wait_ns, unsigned count)
{
	return clock_after_ns(wait_ns, fleet->beat_ns / 2 * count);
}

/* ---- finding, making, freeing */

static struct cancel *cancel_find(const struct fleet *fleet, uint64_t number)
{
	struct map_node *node = map_find(&fleet->cancels_by_number, number);

	return node ? container_of(node, struct cancel, by_number) : NULL;
}

/* Uses the END that was held back. */
static void end_release(struct cancel *cancel)
{
	if (cancel->holds_end)
		mirror_end(cancel->host, &cancel->held);
	cancel->holds_end = false;
}

static void cancel_free(struct cancel *cancel)
{
	struct fleet *fleet = cancel->fleet;

	end_release(cancel);
	while (!list_empty(&cancel->errands))
		errand_free(container_of(cancel->errands.next, struct errand, of_parent));
	if (cancel->host) {
		cancel->host->cancel_count--;
		/* A repetition that comes later must not cancel again. */
		if (cancel->message.nonce > cancel->host->cancel_floor)
			cancel->host->cancel_floor = cancel->message.nonce;
	} else {
		fleet->own_cancel_count--;
	}
	fleet->counts.cancels--;
	map_remove(&fleet->cancels_by_number, &cancel->by_number);
	timer_stop(fleet, &cancel->timer);
	list_remove(&cancel->of_host);
	list_remove(&cancel->done);
	sum_free(&cancel->sum);
	free(cancel);
}

/* NULL: none of them is done. */
static struct cancel *oldest_done(const struct list *cancels)
{
	for (struct list *at = cancels->next; at != cancels; at = at->next)
		if (container_of(at, struct cancel, of_host)->is_done)
			return container_of(at, struct cancel, of_host);
	return NULL;
}

/* Makes room for one more cancel of that host, of this one if it is NULL: forgets reports. */
static bool make_room(struct fleet *fleet, struct host *host)
{
	uint32_t share = fleet->config.cancels_max / SHARE_OF_HOST;
	struct list *own = host ? &host->cancels : &fleet->own_cancels;
	uint32_t count = host ? host->cancel_count : fleet->own_cancel_count;

	if (count >= (share ? share : 1)) {
		struct cancel *oldest = oldest_done(own);
		if (!oldest)
			return false;
		cancel_free(oldest);
	} else if (fleet->counts.cancels >= fleet->config.cancels_max) {
		if (list_empty(&fleet->done_cancels))
			return false;
		cancel_free(container_of(fleet->done_cancels.next, struct cancel, done));
	}
	return true;
}

static void cancel_due(struct timer *timer);

/* NULL: no memory. */
static struct cancel *cancel_new(struct fleet *fleet, struct host *host,
				 const struct fleet_cancelling *message)
{
	struct cancel *cancel = calloc(1, sizeof(*cancel));

	if (!cancel)
		return NULL;
	cancel->fleet = fleet;
	cancel->host = host;
	cancel->message = *message;
	cancel->number = ++fleet->last_number;
	cancel->timer.due = cancel_due;
	cancel->sum.fleet = fleet;
	list_init(&cancel->done);
	list_init(&cancel->errands);
	list_append(host ? &host->cancels : &fleet->own_cancels, &cancel->of_host);
	map_add(&fleet->cancels_by_number, &cancel->by_number, cancel->number);
	fleet->counts.cancels++;
	if (host)
		host->cancel_count++;
	else
		fleet->own_cancel_count++;
	cancel->hold_ns = clock_after_ns(fleet->now_ns, message->secret ? HOLD_NS : 0);
	cancel->end_ns =
		clock_after_ns(fleet->now_ns, half_beats(fleet, message->cancel.wait_ns, OWNER_HALF_BEATS));
	timer_set(fleet, &cancel->timer, cancel->end_ns);
	return cancel;
}

/* ---- reports */

static void cancel_send_sum(const struct cancel *cancel)
{
	/* The host of mirrors is one of those that the owner's host tells of. */
	sum_send(&cancel->sum, cancel->host, cancel->message.nonce, !cancel->message.secret);
}

/* All have answered, or the time is over. */
static void cancel_finish(struct cancel *cancel)
{
	struct fleet *fleet = cancel->fleet;

	while (!list_empty(&cancel->errands)) {
		struct errand *errand = container_of(cancel->errands.next, struct errand, of_parent);
		sum_add(&cancel->sum, errand->host->name, NULL);
		errand_free(errand);
	}
	sum_finish(&cancel->sum);
	cancel->is_done = true;
	if (!cancel->host) {
		sum_tell(&cancel->sum, cancel->data);
		cancel_free(cancel);
		return;
	}
	list_append(&fleet->done_cancels, &cancel->done);
	timer_set(fleet, &cancel->timer,
		  clock_after_ns(fleet->now_ns, half_beats(fleet, 0, KEPT_HALF_BEATS)));
	cancel_send_sum(cancel);
}

static void cancel_due(struct timer *timer)
{
	struct cancel *cancel = container_of(timer, struct cancel, timer);
	end_release(cancel);
	if (cancel->is_done) {
		cancel_free(cancel);
		return;
	}
	if (cancel->fleet->now_ns < cancel->end_ns) {
		timer_set(cancel->fleet, timer, cancel->end_ns);
		return;
	}
	/* The service of this host may not have answered. */
	if (!cancel->is_reported)
		sum_add_own(&cancel->sum, -ETIMEDOUT, NULL, true);
	cancel_finish(cancel);
}

/* ---- the hosts that have joined the context */

static void joiner_done(struct errand *errand, const struct fleet_reported *total)
{
	struct cancel *cancel = errand->data;

	sum_add(&cancel->sum, errand->host->name, total);
	list_remove(&errand->of_parent);
	if (cancel->is_reported && list_empty(&cancel->errands))
		cancel_finish(cancel);
}

static void count_joiner(struct host *host, const struct fleet_key *key, void *data)
{
	uint32_t *count = data;

	(void)host;
	(void)key;
	(*count)++;
}

static void ask_joiner(struct host *host, const struct fleet_key *key, void *data)
{
	struct cancel *cancel = data;
	const struct fleet_cancel *what = &cancel->message.cancel;
	struct errand *errand = errand_new(host, key->secret, what,
					   half_beats(host->fleet, what->wait_ns, JOINER_HALF_BEATS));

	if (!errand) {
		sum_add(&cancel->sum, host->name, NULL);
		return;
	}
	errand->done = joiner_done;
	errand->data = cancel;
	list_append(&cancel->errands, &errand->of_parent);
}

void fleet_cancel_allow(struct fleet *fleet, uint64_t number, uint64_t now_ns)
{
	struct cancel *cancel = cancel_find(fleet, number);
	uint32_t others = 0;

	fleet->now_ns = now_ns;
	if (!cancel || cancel->is_allowed || cancel->is_reported || cancel->is_done || cancel->message.secret)
		return;
	cancel->is_allowed = true;
	interests_visit(fleet, cancel->message.cancel.id, count_joiner, &others);
	sum_reserve(&cancel->sum, others);
	interests_visit(fleet, cancel->message.cancel.id, ask_joiner, cancel);
}

void fleet_report(struct fleet *fleet, uint64_t number, int error, const struct ctxd_report *report,
		  uint64_t now_ns)
{
	struct cancel *cancel = cancel_find(fleet, number);

	fleet->now_ns = now_ns;
	if (!cancel || cancel->is_reported || cancel->is_done)
		return;
	end_release(cancel);
	cancel->is_reported = true;
	sum_add_own(&cancel->sum, error, report, false);
	if (list_empty(&cancel->errands))
		cancel_finish(cancel);
}

/* ---- from hosts */

/* Refuses a cancel of which nothing is kept. */
static void refuse(struct host *host, uint64_t nonce, int error)
{
	struct fleet_message message = {.type = FLEET_REPORT,
					.reported = {.nonce = nonce, .step = FLEET_REPORT_TOTAL}};

	message.reported.hosts_asked = 1;
	message.reported.host.error = error;
	host->fleet->counts.refused++;
	host_send(host, &message);
}

static struct cancel *cancel_of_host(const struct host *host, uint64_t nonce)
{
	for (struct list *at = host->cancels.next; at != &host->cancels; at = at->next) {
		struct cancel *cancel = container_of(at, struct cancel, of_host);
		if (cancel->message.nonce == nonce)
			return cancel;
	}
	return NULL;
}

void cancel_receive(struct host *host, const struct fleet_cancelling *message)
{
	struct fleet *fleet = host->fleet;
	const struct fleet_output *output = &fleet->output;
	struct fleet_key key = {message->cancel.id, message->secret};
	struct cancel *cancel = cancel_of_host(host, message->nonce);

	if (cancel) {
		if (cancel->is_done)
			cancel_send_sum(cancel);
		return;
	}
	if (message->nonce <= host->cancel_floor) {
		refuse(host, message->nonce, -ESTALE);
	} else if (message->secret && !mirrors_exist(host, &key)) {
		refuse(host, message->nonce, -EALREADY);
	} else if (!make_room(fleet, host)) {
		refuse(host, message->nonce, -EDQUOT);
	} else {
		/* Without memory the host gets no answer, and asks again. */
		cancel = cancel_new(fleet, host, message);
		/* What the host says of itself; the owner's host says who asked. */
		if (cancel && !message->secret)
			strcpy(cancel->message.cancel.host, host->name);
		if (cancel && message->secret)
			output->mirrors_cancel(output->link, cancel->number, host->name, &key,
					       &cancel->message.cancel);
		else if (cancel)
			output->cancel_asked(output->link, cancel->number, host->name,
					     &cancel->message.cancel);
	}
}

bool cancel_holds_end(struct host *host, const struct fleet_ended *ended)
{
	struct fleet *fleet = host->fleet;

	for (struct list *at = host->cancels.next; at != &host->cancels; at = at->next) {
		struct cancel *cancel = container_of(at, struct cancel, of_host);
		struct fleet_key key = {cancel->message.cancel.id, cancel->message.secret};
		if (!fleet_key_equal(&key, &ended->key) || cancel->is_reported || cancel->is_done ||
		    cancel->message.cancel.flags & FLEET_CANCEL_DRY_RUN || fleet->now_ns >= cancel->hold_ns)
			continue;
		cancel->holds_end = true;
		cancel->held = *ended;
		timer_set(fleet, &cancel->timer,
			  cancel->hold_ns < cancel->end_ns ? cancel->hold_ns : cancel->end_ns);
		return true;
	}
	return false;
}

void cancels_forget(struct host *host)
{
	while (!list_empty(&host->cancels))
		cancel_free(container_of(host->cancels.next, struct cancel, of_host));
	/* The lease may still name the life before, whose cancels are then repeated. */
	uint64_t floor = host->past_floor_incarnation == host->incarnation ? host->past_cancel_floor : 0;
	host->past_floor_incarnation = host->past_incarnation;
	host->past_cancel_floor = host->cancel_floor;
	host->cancel_floor = floor;
}

void cancels_free_own(struct fleet *fleet)
{
	while (!list_empty(&fleet->own_cancels))
		cancel_free(container_of(fleet->own_cancels.next, struct cancel, of_host));
}

/* ---- from this host */

static void wish_done(struct errand *errand, const struct fleet_reported *total)
{
	struct fleet *fleet = errand->host->fleet;
	struct fleet_reported silence = {
		.hosts_asked = 1, .hosts_silent = 1, .host = {.error = -EHOSTUNREACH}};
	struct fleet_host_report record = {.is_silent = true};

	fleet->counts.cancels_asked--;
	if (total && errand->record_count) {
		outcome_tell(fleet, errand->data, total, errand->records, errand->record_count);
		return;
	}
	/* It was refused, or there was no answer. */
	if (total)
		record = total->host;
	strcpy(record.host, errand->host->name);
	outcome_tell(fleet, errand->data, total ? total : &silence, &record, 1);
}

/* Asks for the cancel of a context of this host. */
static int cancel_own(struct fleet *fleet, const struct fleet_cancel *what, void *data)
{
	const struct fleet_output *output = &fleet->output;
	struct fleet_cancelling message = {.cancel = *what};

	if (!make_room(fleet, NULL))
		return -EDQUOT;
	struct cancel *cancel = cancel_new(fleet, NULL, &message);
	if (!cancel)
		return -ENOMEM;
	cancel->data = data;
	output->cancel_asked(output->link, cancel->number, fleet->config.host, &cancel->message.cancel);
	return 0;
}

int fleet_cancel(struct fleet *fleet, const char *name, const struct fleet_cancel *cancel, void *data,
		 uint64_t now_ns)
{
	struct fleet_cancel copy = *cancel;

	fleet->now_ns = now_ns;
	strcpy(copy.host, fleet->config.host);
	if (!fleet_host_is_valid(name, strlen(name)) || !cancel->id.epoch || !cancel->id.number ||
	    cancel->error > 0 || cancel->error < -WIRE_ERRNO_MAX || cancel->pid < 0 ||
	    cancel->flags & ~FLEET_CANCEL_DRY_RUN)
		return -EINVAL;
	if (strcmp(name, fleet->config.host) == 0)
		return cancel_own(fleet, &copy, data);
	if (fleet->counts.cancels_asked >= fleet->config.cancels_max)
		return -EDQUOT;
	int error;
	struct host *host = host_get(fleet, name, HOST_WANTED, &error);
	if (!host)
		return error;
	struct errand *errand = errand_new(host, 0, &copy, half_beats(fleet, copy.wait_ns, ASKER_HALF_BEATS));
	if (!errand)
		return -ENOMEM;
	errand->done = wish_done;
	errand->data = data;
	fleet->counts.cancels_asked++;
	return 0;
}
