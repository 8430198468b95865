/* SPDX-License-Identifier: MIT */
/*
 * Questions that programs of this host ask the fleet, by way of ctxd. One about all hosts first learns their
 * names: those that have a lease, and those that the core knows. Then each is asked; the answer is told when
 * all have answered, or the time is over.
 *
 * A question whose asker is gone, with the connection to ctxd, lives on until nobody answers it any more.
 *
 * All users have ASKS_MAX questions together, and who asks a host that does not answer can have each wait for
 * an hour. So a user may have no more than a quarter of those that are left, which is 51 alone, but four in
 * any case.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

#define ASKS_MAX 256
#define ASKS_PART 4
#define ASKS_LEAST 4
/* The core knows fewer hosts. An engine that names more is not believed. */
#define HOSTS_MAX 4096
/* The engine takes a second at most to examine itself. */
#define EXAMINE_NS (2 * NS_PER_SECOND)
#define WAIT_MIN_NS (10 * MILLISECOND_NS)

enum ask_state {
	ASK_NAMING,  /* It waits until the engine has time to list the hosts. */
	ASK_LISTING, /* The engine lists them. */
	ASK_ASKING,
	ASK_DONE,
};

struct ask;

struct asked_host {
	struct ask *ask;
	char name[FLEET_HOST_MAX + 1];
	uint32_t list; /* The number of its list, which is another one when that begins anew. */
	int error;
	bool is_self, has_lease, is_asked, is_answered;
	uint64_t heard_ns; /* When it was asked for its list, or gave an entry last. */
};

struct ask {
	struct list link;
	struct bridge *bridge;
	uint64_t serial; /* Of ASKED. */
	struct wire_ask question;
	uint64_t asked_ns, end_ns;
	enum ask_state state;
	bool is_left; /* Who asked is gone. */
	bool knows_leases;
	struct asked_host *hosts;
	uint32_t host_count, host_room;
	uint32_t waiting; /* How many hosts still give entries. */
	uint32_t last_list;
	struct answer answer;
	struct wire_told told;
};

void asks_init(struct bridge *bridge)
{
	list_init(&bridge->asks.list);
}

static void ask_free(struct ask *ask)
{
	list_remove(&ask->link);
	ask->bridge->asks.count--;
	answer_free(&ask->answer);
	free(ask->hosts);
	free(ask);
}

void asks_finish(struct bridge *bridge)
{
	while (!list_empty(&bridge->asks.list))
		ask_free(container_of(bridge->asks.list.next, struct ask, link));
}

/* ---- hosts */

static struct asked_host *host_find(struct ask *ask, const char *name)
{
	for (uint32_t i = 0; i < ask->host_count; i++)
		if (strcmp(ask->hosts[i].name, name) == 0)
			return &ask->hosts[i];
	return NULL;
}

/* Without memory the host is left out. */
static void host_add(struct ask *ask, const char *name, bool has_lease)
{
	struct asked_host *host = host_find(ask, name);

	if (host) {
		host->has_lease |= has_lease;
		return;
	}
	if (ask->host_count == HOSTS_MAX)
		return;
	if (ask->host_count == ask->host_room) {
		uint32_t room = ask->host_room ? ask->host_room * 2 : 16;
		struct asked_host *hosts = reallocarray(ask->hosts, room, sizeof(*hosts));
		if (!hosts)
			return;
		ask->hosts = hosts;
		ask->host_room = room;
	}
	host = &ask->hosts[ask->host_count++];
	*host = (struct asked_host){.ask = ask, .has_lease = has_lease};
	strcpy(host->name, name);
	host->is_self = strcmp(name, ask->bridge->host) == 0;
}

static void add_known(const struct fleet_host_info *info, void *data)
{
	host_add(data, info->host, false);
}

/* ---- telling */

static struct ctxd_host describe_self(const struct bridge *bridge)
{
	struct fleet_counts counts = fleet_counts(bridge->fleet);
	struct fleet_link_info link = fleet_link_info(bridge->fleet);

	return (struct ctxd_host){.state = CTXD_HOST_SELF,
				  .error = link.is_up ? 0 : -ENETDOWN,
				  .incarnation = bridge->incarnation,
				  .heard_ns = bridge->now_ns,
				  .lease_seen_ns = link.lease_seen_ns,
				  .lease_absent_ns = link.is_lease_held ? 0 : link.since_ns,
				  .joins_in = counts.interests,
				  .joins_out = counts.mirrors,
				  .received = counts.received,
				  .sent = counts.sent,
				  .resyncs = counts.resyncs,
				  .gaps = counts.gaps,
				  .dropped = counts.dropped,
				  .malformed = counts.malformed + counts.forged};
}

static enum ctxd_host_state host_state(const struct asked_host *host, const struct fleet_host_info *info)
{
	const struct ask *ask = host->ask;

	if (ask->question.question == WIRE_ASK_LIST && host->is_answered && host->error != -EHOSTUNREACH)
		return !host->error || host->error == -ETIMEDOUT || host->error == -EFBIG ? CTXD_HOST_ALIVE
											  : CTXD_HOST_REFUSED;
	if (info->heard_ns >= ask->asked_ns)
		return CTXD_HOST_ALIVE;
	return info->lease_absent_ns || (ask->knows_leases && !host->has_lease) ? CTXD_HOST_ABSENT
										: CTXD_HOST_SILENT;
}

static void describe_host(const struct asked_host *host, const struct fleet_host_info *info,
			  struct wire_record *ret_record)
{
	*ret_record = (struct wire_record){.kind = WIRE_RECORD_HOST, .list = host->list};
	struct ctxd_host *to = &ret_record->host;
	if (host->is_self)
		*to = describe_self(host->ask->bridge);
	else
		*to = (struct ctxd_host){.state = host_state(host, info),
					 .incarnation = info->incarnation,
					 .heard_ns = info->heard_ns,
					 .lease_seen_ns = info->lease_seen_ns,
					 .lease_absent_ns = info->lease_absent_ns,
					 .round_trip_ns = info->round_trip_ns,
					 .joins_in = info->joins_in,
					 .joins_out = info->joins_out,
					 .received = info->received,
					 .sent = info->sent,
					 .resyncs = info->resyncs,
					 .gaps = info->gaps,
					 .dropped = info->dropped,
					 .malformed = info->malformed + info->forged};
	if (host->error)
		to->error = host->error;
	strcpy(to->name, host->name);
}

static void add_host(struct asked_host *host, const struct fleet_host_info *info)
{
	struct wire_record record;

	describe_host(host, info, &record);
	host->ask->told.hosts_asked++;
	if (record.host.state == CTXD_HOST_SILENT || record.host.state == CTXD_HOST_ABSENT)
		host->ask->told.hosts_silent++;
	answer_add(&host->ask->answer, &record);
	host->ask = NULL; /* It has been told. */
}

static void add_known_host(const struct fleet_host_info *info, void *data)
{
	struct asked_host *host = host_find(data, info->host);

	if (host && host->ask)
		add_host(host, info);
}

/* A HOST for each; first those that the core knows something of. */
static void add_hosts(struct ask *ask)
{
	static const struct fleet_host_info nothing;

	fleet_hosts_visit(ask->bridge->fleet, add_known_host, ask);
	for (uint32_t i = 0; i < ask->host_count; i++)
		if (ask->hosts[i].ask)
			add_host(&ask->hosts[i], &nothing);
}

/* Answers, and frees it. */
static void ask_tell(struct ask *ask)
{
	struct wire_message message = {.type = WIRE_TELL, .serial = ask->serial};
	int fd = -1;

	if (ask->question.question == WIRE_ASK_HOSTS || ask->question.question == WIRE_ASK_LIST)
		add_hosts(ask);
	message.told = ask->told;
	if (!message.told.error) {
		fd = answer_end(&ask->answer);
		message.told.error = fd < 0 ? fd : 0;
	}
	if (!ask->is_left)
		service_answer(ask->bridge, &message, fd);
	else if (fd >= 0)
		close(fd);
	ask_free(ask);
}

/* ---- asking */

/* The name of a user, "" if there is none. What looks users up in a network takes as long as it takes. */
static void user_name(uint32_t uid, char name[FLEET_USER_MAX + 1])
{
	char buffer[4096];
	struct passwd user, *found = NULL;

	name[0] = '\0';
	if (!getpwuid_r(uid, &user, buffer, sizeof(buffer), &found) && found &&
	    strlen(found->pw_name) <= FLEET_USER_MAX)
		strcpy(name, found->pw_name);
}

static void begin_cancel(struct ask *ask)
{
	const struct wire_ask *from = &ask->question;
	struct fleet_cancel cancel = {
		.id = from->id,
		.flags = from->flags & WIRE_DRY_RUN ? FLEET_CANCEL_DRY_RUN : 0,
		.error = from->error,
		.wait_ns = from->wait_ns,
		.pid = from->pid,
		.uid = from->uid,
	};

	user_name(from->uid, cancel.user);
	memcpy(cancel.text, from->text, sizeof(cancel.text));
	ask->told.error = fleet_cancel(ask->bridge->fleet, from->host, &cancel, ask, ask->bridge->now_ns);
	ask->state = ask->told.error ? ASK_DONE : ASK_ASKING;
}

void ask_cancelled(void *data, const struct fleet_outcome *outcome)
{
	struct ask *ask = data;
	struct wire_record record = {.kind = WIRE_RECORD_REPORT};

	ask->told.error = outcome->error;
	ask->told.hosts_asked = outcome->hosts_asked;
	ask->told.hosts_silent = outcome->hosts_silent;
	ask->told.report = outcome->report;
	for (uint32_t i = 0; i < outcome->host_count; i++) {
		const struct fleet_host_report *from = &outcome->hosts[i];
		memset(&record.report, 0, sizeof(record.report));
		strcpy(record.report.host, from->host);
		record.report.error = from->is_silent ? -EHOSTUNREACH : from->error;
		record.report.report = from->report;
		answer_add(&ask->answer, &record);
	}
	ask->state = ASK_DONE;
}

static void begin_engine(struct ask *ask)
{
	struct engine *engine = ask->bridge->engine;

	ask->state = ASK_ASKING;
	ask->end_ns = clock_after_ns(ask->bridge->now_ns, EXAMINE_NS);
	if (engine->calls->examine) {
		engine->calls->examine(engine);
		return;
	}
	ask->told.error = -ENOTSUP;
	ask->state = ASK_DONE;
}

void asks_examined(struct bridge *bridge, const struct engine_status *status)
{
	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = at->next) {
		struct ask *ask = container_of(at, struct ask, link);
		if (ask->question.question != WIRE_ASK_ENGINE || ask->state != ASK_ASKING)
			continue;
		findings_add(bridge, status, &ask->answer);
		ask->state = ASK_DONE;
	}
}

/* ---- names */

/* All names are known: asks the hosts. */
static void begin_asking(struct ask *ask)
{
	struct bridge *bridge = ask->bridge;

	fleet_hosts_visit(bridge->fleet, add_known, ask);
	host_add(ask, bridge->host, true);
	ask->state = ASK_ASKING;
	ask->asked_ns = bridge->now_ns;
	if (ask->question.question != WIRE_ASK_HOSTS)
		return;
	for (uint32_t i = 0; i < ask->host_count; i++)
		if (!ask->hosts[i].is_self)
			fleet_probe(bridge->fleet, ask->hosts[i].name, bridge->now_ns);
}

/* One after the other, the engine lists the hosts for those that wait. */
static void begin_listing(struct bridge *bridge)
{
	struct engine *engine = bridge->engine;
	bool is_wanted = false;

	if (bridge->asks.is_listing)
		return;
	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = at->next) {
		struct ask *ask = container_of(at, struct ask, link);
		if (ask->state != ASK_NAMING)
			continue;
		if (!engine->calls->hosts) {
			begin_asking(ask);
			continue;
		}
		ask->state = ASK_LISTING;
		is_wanted = true;
	}
	if (!is_wanted)
		return;
	bridge->asks.is_listing = true;
	engine->calls->hosts(engine);
}

void asks_host(struct bridge *bridge, const char *host, int error)
{
	bool is_name = host && wire_host_is_valid(host, strlen(host));

	if (!host)
		bridge->asks.is_listing = false;
	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = at->next) {
		struct ask *ask = container_of(at, struct ask, link);
		if (ask->state != ASK_LISTING)
			continue;
		if (is_name)
			host_add(ask, host, true);
		if (host)
			continue;
		ask->knows_leases = !error;
		begin_asking(ask);
	}
}

/* ---- lists */

static int own_entry(struct bridge *bridge, void *data, uint64_t number, const struct ctxd_entry *entry)
{
	(void)bridge;
	(void)number;
	ask_entry(data, entry);
	return 0;
}

static void own_end(struct bridge *bridge, void *data, uint64_t number, int error)
{
	(void)bridge;
	(void)number;
	ask_list_end(data, error);
}

static const struct list_sink own_sink = {own_entry, own_end};

void ask_entry(void *data, const struct ctxd_entry *entry)
{
	struct asked_host *host = data;
	struct wire_record record = {.kind = WIRE_RECORD_ENTRY, .list = host->list, .entry = *entry};

	host->heard_ns = host->ask->bridge->now_ns;
	answer_add(&host->ask->answer, &record);
}

void ask_again(void *data)
{
	struct asked_host *host = data;

	host->list = ++host->ask->last_list;
}

void ask_list_end(void *data, int error)
{
	struct asked_host *host = data;

	host->error = error;
	host->is_answered = true;
	host->ask->waiting--;
}

/*
 * So many hosts give their lists at once, so that what they send does not fill the inbox, and none is asked
 * again because its answer waits behind those of all others. A host that says nothing for SILENT_NS does not
 * count, so silent hosts do not keep the others waiting.
 */
#define LISTING_MAX 16u
#define SILENT_NS (250 * MILLISECOND_NS)

static bool is_listing(const struct asked_host *host, uint64_t now_ns)
{
	return host->is_asked && !host->is_answered && now_ns < clock_after_ns(host->heard_ns, SILENT_NS);
}

static uint32_t count_listing(const struct ask *ask)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < ask->host_count; i++)
		count += is_listing(&ask->hosts[i], ask->bridge->now_ns);
	return count;
}

/* When the next host may be asked at the latest. UINT64_MAX: all are asked, or the core has no room. */
static uint64_t next_list_ns(const struct ask *ask)
{
	uint64_t next_ns = UINT64_MAX;
	bool is_more = false;

	for (uint32_t i = 0; i < ask->host_count; i++) {
		const struct asked_host *host = &ask->hosts[i];
		uint64_t silent_ns = clock_after_ns(host->heard_ns, SILENT_NS);
		is_more |= !host->is_asked;
		if (is_listing(host, ask->bridge->now_ns) && silent_ns < next_ns)
			next_ns = silent_ns;
	}
	return is_more ? next_ns : UINT64_MAX;
}

/* Asks as many hosts as may be; the others when some have answered. */
static bool ask_lists(struct ask *ask)
{
	struct bridge *bridge = ask->bridge;
	uint64_t left_ns = ask->end_ns > bridge->now_ns ? ask->end_ns - bridge->now_ns : WAIT_MIN_NS;
	bool has_asked = false, has_unasked = false, is_late = bridge->now_ns >= ask->end_ns;
	uint32_t listing = count_listing(ask);

	for (uint32_t i = 0; i < ask->host_count; i++) {
		struct asked_host *host = &ask->hosts[i];
		if (host->is_asked)
			continue;
		if (listing >= LISTING_MAX && !is_late) {
			has_unasked = true;
			break;
		}
		host->list = ++ask->last_list;
		int error = host->is_self ? serve_list(bridge, 0, ask->question.kinds, &own_sink, host)
					  : fleet_list(bridge->fleet, host->name, ask->question.kinds,
						       left_ns, host, bridge->now_ns);
		if (error == -EDQUOT && !is_late) {
			has_unasked = true;
			break;
		}
		host->is_asked = has_asked = true;
		host->heard_ns = bridge->now_ns;
		if (error) {
			host->error = error;
			host->is_answered = true;
		} else {
			ask->waiting++;
			listing++;
		}
	}
	if (!ask->waiting && !has_unasked)
		ask->state = ASK_DONE;
	return has_asked;
}

/* ---- the turn */

static void count_answer(const struct fleet_host_info *info, void *data)
{
	struct ask *ask = data;
	struct asked_host *host = host_find(ask, info->host);

	if (host && info->heard_ns >= ask->asked_ns)
		host->is_answered = true;
}

static void check_hosts(struct ask *ask)
{
	fleet_hosts_visit(ask->bridge->fleet, count_answer, ask);
	for (uint32_t i = 0; i < ask->host_count; i++)
		if (!ask->hosts[i].is_answered && !ask->hosts[i].is_self && ask->bridge->now_ns < ask->end_ns)
			return;
	ask->state = ASK_DONE;
}

/* True: something was asked. */
static bool step_ask(struct ask *ask)
{
	bool is_late = ask->bridge->now_ns >= ask->end_ns;

	/* The names may be long in coming. */
	if ((ask->state == ASK_LISTING || ask->state == ASK_NAMING) && is_late) {
		begin_asking(ask);
		return true;
	}
	if (ask->state != ASK_ASKING)
		return false;
	switch ((enum wire_question)ask->question.question) {
	case WIRE_ASK_HOSTS:
		check_hosts(ask);
		return false;
	case WIRE_ASK_LIST:
		return ask_lists(ask);
	case WIRE_ASK_CANCEL:
		return false; /* The core keeps its time. */
	case WIRE_ASK_ENGINE:
		if (!is_late)
			return false;
		ask->told.error = -ETIMEDOUT;
		ask->state = ASK_DONE;
		return false;
	}
	return false;
}

bool asks_tick(struct bridge *bridge)
{
	bool has_asked = false;
	struct list *next;

	if (list_empty(&bridge->asks.list))
		return false;
	begin_listing(bridge);
	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = next) {
		struct ask *ask = container_of(at, struct ask, link);
		next = at->next;
		has_asked |= step_ask(ask);
		if (ask->state == ASK_DONE)
			ask_tell(ask);
	}
	return has_asked;
}

uint64_t asks_next_ns(const struct bridge *bridge)
{
	uint64_t next_ns = UINT64_MAX;

	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = at->next) {
		const struct ask *ask = container_of(at, struct ask, link);
		/* The core keeps the time of cancels, and of lists that were asked for. */
		bool is_timed = ask->question.question != WIRE_ASK_CANCEL &&
				(ask->question.question != WIRE_ASK_LIST || ask->state != ASK_ASKING);
		uint64_t due_ns = is_timed ? ask->end_ns : UINT64_MAX;
		if (ask->question.question == WIRE_ASK_LIST && ask->state == ASK_ASKING)
			due_ns = next_list_ns(ask);
		if (due_ns < next_ns)
			next_ns = due_ns;
	}
	return next_ns;
}

void asks_service_lost(struct bridge *bridge)
{
	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = at->next)
		container_of(at, struct ask, link)->is_left = true;
}

/* ---- a new question */

/* Whether one more question of that user may be under way. */
static bool may_ask(const struct bridge *bridge, uint32_t uid)
{
	unsigned own = 0, left = ASKS_MAX - bridge->asks.count;

	for (struct list *at = bridge->asks.list.next; at != &bridge->asks.list; at = at->next)
		own += container_of(at, struct ask, link)->question.uid == uid;
	return left && (own < ASKS_LEAST || own < left / ASKS_PART);
}

static int ask_new(struct bridge *bridge, const struct wire_message *message)
{
	struct ask *ask;

	if (!may_ask(bridge, message->ask.uid))
		return -EDQUOT;
	ask = calloc(1, sizeof(*ask));
	if (!ask)
		return -ENOMEM;
	int error = answer_begin(&ask->answer);
	if (error) {
		free(ask);
		return error;
	}
	ask->bridge = bridge;
	ask->serial = message->serial;
	ask->question = message->ask;
	ask->asked_ns = bridge->now_ns;
	ask->end_ns = clock_after_ns(bridge->now_ns,
				     message->ask.wait_ns > WAIT_MIN_NS ? message->ask.wait_ns : WAIT_MIN_NS);
	list_append(&bridge->asks.list, &ask->link);
	bridge->asks.count++;
	if (ask->question.question == WIRE_ASK_CANCEL) {
		begin_cancel(ask);
	} else if (ask->question.question == WIRE_ASK_ENGINE) {
		begin_engine(ask);
	} else if (ask->question.host[0]) {
		host_add(ask, ask->question.host, false);
		ask->state = ASK_ASKING;
		if (ask->question.question == WIRE_ASK_HOSTS && !ask->hosts[0].is_self)
			fleet_probe(bridge->fleet, ask->question.host, bridge->now_ns);
	}
	return 0;
}

void asks_take(struct bridge *bridge, const struct wire_message *message)
{
	struct wire_message refusal = {.type = WIRE_TELL, .serial = message->serial};

	refusal.told.error = ask_new(bridge, message);
	if (refusal.told.error)
		service_answer(bridge, &refusal, -1);
}
