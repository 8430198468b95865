/* SPDX-License-Identifier: MIT */
/*
 * What other hosts ask of this one. Whether a user of another host may cancel a context of this host,
 * fleet_cancel of the configuration says, by the name of the user: numbers of users mean nothing on another
 * host. What a list shows, ctxd decides, which shows the bridge what it may see only.
 *
 * A user of this host may ask as well. Then its own contexts are its own, whatever fleet_cancel says, and
 * root may all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

struct served_cancel {
	struct list link;
	uint32_t id; /* In the serials of the CANCELs. */
	uint32_t tag;
	uint64_t number; /* Of the core. */
	bool is_owner;	 /* The context is one of this host. */
	bool is_joined;	 /* And the bridge has joined it. */
	char host[FLEET_HOST_MAX + 1];
	struct fleet_key key; /* Of mirrors. */
	struct fleet_cancel cancel;
	uint32_t waiting; /* CANCELs without an answer. */
	bool is_allowed;  /* To who asked. */
	bool has_report;
	int error; /* The first. */
	struct ctxd_report report;
};

struct served_list {
	struct list link;
	uint32_t id;
	uint32_t tag; /* Of the LIST that has no answer; 0: there is none. */
	uint64_t number;
	uint32_t kinds;
	uint64_t cursor;
	const struct list_sink *sink;
	void *data;
	bool is_paused, is_closed, has_page;
	uint32_t at; /* In the page. */
	struct wire_entries page;
};

void serve_init(struct bridge *bridge)
{
	struct served *served = &bridge->served;

	list_init(&served->fresh);
	list_init(&served->cancels);
	list_init(&served->lists);
}

static void free_all(struct list *list, size_t offset)
{
	while (!list_empty(list)) {
		struct list *link = list->next;
		list_remove(link);
		free((char *)link - offset);
	}
}

void serve_finish(struct bridge *bridge)
{
	struct served *served = &bridge->served;

	free_all(&served->fresh, offsetof(struct served_cancel, link));
	free_all(&served->cancels, offsetof(struct served_cancel, link));
	free_all(&served->lists, offsetof(struct served_list, link));
}

static bool is_ready(const struct bridge *bridge)
{
	return bridge->service.state == SERVICE_READY && !bridge->service.is_broken;
}

/* ---- cancels: who may */

/* Whether the list has that word. "nobody" stands for no user, also where one is called so. */
static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	if (!length || strcmp(word, "nobody") == 0)
		return false;
	for (const char *at = list; *at; at += strspn(at, " \t")) {
		size_t found = strcspn(at, " \t");
		if (found == length && memcmp(at, word, length) == 0)
			return true;
		at += found;
	}
	return false;
}

static bool may_cancel(const struct bridge *bridge, const struct served_cancel *served, bool is_joined,
		       uint32_t owner_uid)
{
	bool is_here = strcmp(served->host, bridge->host) == 0;

	if (is_here && (served->cancel.uid == 0 || (is_joined && served->cancel.uid == owner_uid)))
		return true;
	return has_word(bridge->config.fleet.cancel, served->cancel.user);
}

static void record_cancel(const struct bridge *bridge, const struct served_cancel *served, int error)
{
	char user[4 * sizeof(served->cancel.user) + 3], text[4 * sizeof(served->cancel.text) + 3];
	const struct fleet_cancel *cancel = &served->cancel;

	log_event(LOG_LEVEL_AUDIT, "cancel",
		  "host=%s user=%s uid=%u pid=%d target=%s/%" PRIx64 "-%" PRIx64 " cause=%s "
		  "error=%s asked=%u ended=%u silent=%u operations=%u",
		  served->host, log_quote(cancel->user, user, sizeof(user)), cancel->uid, cancel->pid,
		  bridge->host, cancel->id.epoch, cancel->id.number,
		  log_quote(cancel->text, text, sizeof(text)), error ? strerrorname_np(-error) : "0",
		  served->report.asked, served->report.ended, served->report.silent,
		  served->report.operations);
}

/* ---- cancels: doing */

void serve_cancel(struct bridge *bridge, uint64_t number, const char *host, const struct fleet_key *key,
		  const struct fleet_cancel *cancel)
{
	struct served_cancel *served = calloc(1, sizeof(*served));

	/* Without memory the host that asked gets no answer, and counts this one as silent. */
	if (!served)
		return;
	served->number = number;
	served->is_owner = !key;
	if (key)
		served->key = *key;
	strcpy(served->host, host);
	served->cancel = *cancel;
	list_append(&bridge->served.fresh, &served->link);
}

/* Answers, and frees it. */
static void finish_cancel(struct bridge *bridge, struct served_cancel *served)
{
	int error = served->has_report ? 0 : served->error;

	if (served->is_owner && error == -EPERM)
		report_event(&bridge->reports, REPORT_DENIED, bridge->now_ns, LOG_LEVEL_WARNING,
			     "cancel-refused", "host=%s target=%s/%" PRIx64 "-%" PRIx64, served->host,
			     bridge->host, served->cancel.id.epoch, served->cancel.id.number);
	else if (served->is_allowed && !(served->cancel.flags & FLEET_CANCEL_DRY_RUN))
		record_cancel(bridge, served, error);
	list_remove(&served->link);
	fleet_report(bridge->fleet, served->number, error, error ? NULL : &served->report, bridge->now_ns);
	free(served);
}

static void refuse_cancel(struct bridge *bridge, struct served_cancel *served, int error)
{
	served->error = error;
	finish_cancel(bridge, served);
}

/* Who asked is part of the text, as far as there is room: a number says little on another host. */
static void cancel_text(const struct served_cancel *served, char text[CTX_CAUSE_TEXT_MAX])
{
	const struct fleet_cancel *cancel = &served->cancel;
	char all[CTX_CAUSE_TEXT_MAX + FLEET_USER_MAX + FLEET_HOST_MAX + 32];
	const char *user = cancel->user[0] ? cancel->user : "somebody";

	if (cancel->text[0])
		snprintf(all, sizeof(all), "%s (%s on %s)", cancel->text, user, cancel->host);
	else
		snprintf(all, sizeof(all), "cancelled by %s on %s", user, cancel->host);
	memset(text, 0, CTX_CAUSE_TEXT_MAX);
	memcpy(text, all, strnlen(all, CTX_CAUSE_TEXT_MAX - 1));
}

static void send_cancel(struct bridge *bridge, struct served_cancel *served, uint64_t number)
{
	struct wire_message message = {.type = WIRE_CANCEL};
	const struct fleet_cancel *from = &served->cancel;

	message.serial = service_serial(&bridge->service, REQUEST_CANCEL, served->id, &served->tag);
	message.cancel = (struct wire_cancel){
		.id = {bridge->service.epoch, number},
		.wait_ns = from->wait_ns,
		.error = from->error,
		.flags = from->flags & FLEET_CANCEL_DRY_RUN ? WIRE_DRY_RUN : 0,
		.pid = from->pid,
		.uid = from->uid,
	};
	memcpy(message.cancel.host, from->host, sizeof(message.cancel.host));
	cancel_text(served, message.cancel.text);
	served->waiting++;
	service_answer(bridge, &message, -1);
}

static void start_owner(struct bridge *bridge, struct served_cancel *served)
{
	struct ctxd_id id = served->cancel.id;
	uint32_t uid = 0;
	uint64_t number = bridge_owned_number(bridge, id, &uid);
	bool is_joined = number;

	served->is_joined = is_joined;
	if (!may_cancel(bridge, served, is_joined, uid)) {
		refuse_cancel(bridge, served, -EPERM);
		return;
	}
	served->is_allowed = true;
	/* An id of before a restart of ctxd is known only of what was joined before it. */
	if (!is_joined && id.epoch != bridge->service.epoch) {
		refuse_cancel(bridge, served, -ESTALE);
		return;
	}
	fleet_cancel_allow(bridge->fleet, served->number, bridge->now_ns);
	send_cancel(bridge, served, is_joined ? number : id.number);
}

struct visit {
	struct bridge *bridge;
	struct served_cancel *served;
};

static void visit_mirror(void *data, void *link)
{
	const struct visit *visit = link;
	uint64_t number = mirror_number(data);

	if (number)
		send_cancel(visit->bridge, visit->served, number);
}

static void start_mirrors(struct bridge *bridge, struct served_cancel *served)
{
	struct visit visit = {bridge, served};

	fleet_mirrors_visit(bridge->fleet, served->host, &served->key, visit_mirror, &visit);
	if (!served->waiting)
		refuse_cancel(bridge, served, -ENOENT);
}

static void start_cancel(struct bridge *bridge, struct served_cancel *served)
{
	list_remove(&served->link);
	list_append(&bridge->served.cancels, &served->link);
	served->id = ++bridge->served.last_id;
	/* What ctxd does not read would be queued without bound. */
	if (!is_ready(bridge) || service_is_full(&bridge->service))
		refuse_cancel(bridge, served, -EHOSTUNREACH);
	else if (served->is_owner)
		start_owner(bridge, served);
	else
		start_mirrors(bridge, served);
}

static void add_report(struct ctxd_report *sum, const struct ctxd_report *report)
{
	sum->asked += report->asked;
	sum->ended += report->ended;
	sum->silent += report->silent;
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

static void answer_cancel(struct bridge *bridge, const struct wire_message *message)
{
	struct served *all = &bridge->served;
	struct list *at = all->cancels.next;
	int error = message->type == WIRE_REPORT ? message->report.error : message->result.error;

	while (at != &all->cancels &&
	       container_of(at, struct served_cancel, link)->id != (uint32_t)message->serial)
		at = at->next;
	if (at == &all->cancels)
		return;
	struct served_cancel *served = container_of(at, struct served_cancel, link);
	/* The owner may have ended it before ctxd had the CANCEL, and have taken it back there. */
	if (error == -ENOENT && served->is_joined && bridge_owned_has_ended(bridge, served->cancel.id))
		error = -EALREADY;
	if (error && !served->error)
		served->error = error;
	if (!error && message->type == WIRE_REPORT) {
		struct ctxd_report report = message->report.report;
		/* The owner of a mirror is this bridge, and no process that works below it. */
		if (!served->is_owner) {
			report.asked -= report.asked > 0;
			report.ended -= report.ended > 0;
		}
		served->has_report = true;
		add_report(&served->report, &report);
	}
	if (--served->waiting == 0)
		finish_cancel(bridge, served);
}

/* ---- lists */

int serve_list(struct bridge *bridge, uint64_t number, uint32_t kinds, const struct list_sink *sink,
	       void *data)
{
	struct served_list *list = calloc(1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	list->id = ++bridge->served.last_id;
	list->number = number;
	list->kinds = kinds;
	list->sink = sink;
	list->data = data;
	list_append(&bridge->served.lists, &list->link);
	return 0;
}

static int host_entry(struct bridge *bridge, void *data, uint64_t number, const struct ctxd_entry *entry)
{
	(void)data;
	return fleet_list_entry(bridge->fleet, number, entry, bridge->now_ns);
}

static void host_end(struct bridge *bridge, void *data, uint64_t number, int error)
{
	(void)data;
	fleet_list_end(bridge->fleet, number, error, bridge->now_ns);
}

static const struct list_sink host_sink = {host_entry, host_end};

void serve_list_of_host(struct bridge *bridge, uint64_t number, uint32_t kinds)
{
	/* Without memory the host that asked gets no answer. */
	(void)serve_list(bridge, number, kinds, &host_sink, NULL);
}

static struct served_list *list_of_number(const struct bridge *bridge, uint64_t number)
{
	const struct served *served = &bridge->served;

	for (struct list *at = served->lists.next; at != &served->lists; at = at->next) {
		struct served_list *list = container_of(at, struct served_list, link);
		if (list->sink == &host_sink && list->number == number)
			return list;
	}
	return NULL;
}

void serve_list_more(struct bridge *bridge, uint64_t number)
{
	struct served_list *list = list_of_number(bridge, number);

	if (list)
		list->is_paused = false;
}

void serve_list_closed(struct bridge *bridge, uint64_t number)
{
	struct served_list *list = list_of_number(bridge, number);

	if (list)
		list->is_closed = true;
}

static void list_free(struct served_list *list)
{
	list_remove(&list->link);
	free(list);
}

static void end_list(struct bridge *bridge, struct served_list *list, int error)
{
	list->sink->end(bridge, list->data, list->number, error);
	list_free(list);
}

/* Passes entries of the page on. False: the list is freed, or has to wait. */
static bool pass_page(struct bridge *bridge, struct served_list *list)
{
	while (list->at < list->page.count) {
		int error =
			list->sink->entry(bridge, list->data, list->number, &list->page.entries[list->at]);
		if (error == -EAGAIN) {
			list->is_paused = true;
			return false;
		}
		if (error) {
			list_free(list);
			return false;
		}
		list->at++;
	}
	list->cursor = list->page.next;
	list->has_page = false;
	if (list->cursor)
		return true;
	end_list(bridge, list, 0);
	return false;
}

/* Takes a step. False: there was nothing to do. */
static bool step_list(struct bridge *bridge, struct served_list *list)
{
	struct wire_message message = {.type = WIRE_LIST};

	if (list->is_closed) {
		list_free(list);
		return true;
	}
	if (list->tag || list->is_paused)
		return false;
	if (!is_ready(bridge)) {
		end_list(bridge, list, -EHOSTUNREACH);
		return true;
	}
	if (list->has_page && !pass_page(bridge, list))
		return true;
	/* What ctxd does not read would be queued without bound. */
	if (service_is_full(&bridge->service))
		return false;
	message.serial = service_serial(&bridge->service, REQUEST_LIST, list->id, &list->tag);
	message.list = (struct wire_list){.cursor = list->cursor, .kinds = list->kinds};
	service_answer(bridge, &message, -1);
	return true;
}

static void answer_list(struct bridge *bridge, const struct wire_message *message)
{
	struct served *served = &bridge->served;

	for (struct list *at = served->lists.next; at != &served->lists; at = at->next) {
		struct served_list *list = container_of(at, struct served_list, link);
		if (list->id != (uint32_t)message->serial || list->tag != service_tag(message->serial))
			continue;
		list->tag = 0;
		if (message->type != WIRE_ENTRIES) {
			end_list(bridge, list, message->result.error ? message->result.error : -EPROTO);
			return;
		}
		list->page = message->entries;
		list->has_page = true;
		list->at = 0;
		return;
	}
}

/* ---- the connection, and the turn */

void serve_answer(struct bridge *bridge, const struct wire_message *message)
{
	if (service_request(message->serial) == REQUEST_CANCEL)
		answer_cancel(bridge, message);
	else
		answer_list(bridge, message);
}

void serve_service_lost(struct bridge *bridge)
{
	struct served *served = &bridge->served;

	while (!list_empty(&served->cancels))
		refuse_cancel(bridge, container_of(served->cancels.next, struct served_cancel, link),
			      -EHOSTUNREACH);
	while (!list_empty(&served->lists))
		end_list(bridge, container_of(served->lists.next, struct served_list, link), -EHOSTUNREACH);
}

bool serve_tick(struct bridge *bridge)
{
	struct served *served = &bridge->served;
	bool has_done = !list_empty(&served->fresh);
	struct list *next;

	while (!list_empty(&served->fresh))
		start_cancel(bridge, container_of(served->fresh.next, struct served_cancel, link));
	for (struct list *at = served->lists.next; at != &served->lists; at = next) {
		next = at->next;
		has_done |= step_list(bridge, container_of(at, struct served_list, link));
	}
	return has_done;
}
