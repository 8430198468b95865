/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what a bridge of a fleet reads. A batch that can be unpacked must be packed to the same bytes. It is
 * then given to a bridge, as it is and once more as the next batch, whose service answers everything.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "fleet_wire.h"

static struct {
	uint64_t cancel, mirrors, list;
	bool has_key;
	struct fleet_key key;
} asked;

static bool on_send(void *link, const char *host, const uint8_t *bytes, size_t size)
{
	struct fleet_batch batch;
	size_t at;

	(void)link;
	(void)host;
	if (fleet_wire_unpack_header(bytes, size, &batch, &at) || fleet_wire_check(bytes, &batch, at))
		abort();
	return true;
}

static void on_lease(void *link, uint64_t incarnation)
{
	(void)link;
	(void)incarnation;
}

static void on_lease_read(void *link, const char *const *hosts, unsigned count)
{
	(void)link;
	(void)hosts;
	(void)count;
}

static void on_key(void *link, const struct fleet_key *key)
{
	(void)link;
	asked.has_key = true;
	asked.key = *key;
}

static void on_cancel_asked(void *link, uint64_t number, const char *host, const struct fleet_cancel *cancel)
{
	(void)link;
	(void)host;
	(void)cancel;
	asked.cancel = number;
}

static void on_mirrors_cancel(void *link, uint64_t number, const char *host, const struct fleet_key *key,
			      const struct fleet_cancel *cancel)
{
	(void)link;
	(void)host;
	(void)key;
	(void)cancel;
	asked.mirrors = number;
}

static void on_list_asked(void *link, uint64_t number, const char *host, uint32_t kinds)
{
	(void)link;
	(void)host;
	(void)kinds;
	asked.list = number;
}

static void on_number(void *link, uint64_t number)
{
	(void)link;
	(void)number;
}

static void on_mirror_live(void *data, const struct fleet_live *live)
{
	(void)data;
	(void)live;
}

static void on_mirror_moved(void *data, uint64_t deadline_ns)
{
	(void)data;
	(void)deadline_ns;
}

static void on_mirror_ended(void *data, enum fleet_end end, const struct wire_cause *cause)
{
	(void)data;
	(void)end;
	(void)cause;
}

static void on_cancel_done(void *data, const struct fleet_outcome *outcome)
{
	(void)data;
	(void)outcome;
}

static void on_list_entry(void *data, const struct ctxd_entry *entry)
{
	(void)data;
	(void)entry;
}

static void on_list_again(void *data)
{
	(void)data;
}

static void on_list_end(void *data, int error)
{
	(void)data;
	(void)error;
}

static const struct fleet_output output = {.send = on_send,
					   .lease_take = on_lease,
					   .lease_renew = on_lease,
					   .lease_read = on_lease_read,
					   .name_conflict = on_lease,
					   .local_join = on_key,
					   .local_leave = on_key,
					   .cancel_asked = on_cancel_asked,
					   .mirrors_cancel = on_mirrors_cancel,
					   .list_asked = on_list_asked,
					   .list_more = on_number,
					   .list_closed = on_number,
					   .mirror_live = on_mirror_live,
					   .mirror_moved = on_mirror_moved,
					   .mirror_ended = on_mirror_ended,
					   .cancel_done = on_cancel_done,
					   .list_entry = on_list_entry,
					   .list_again = on_list_again,
					   .list_end = on_list_end};

/* Answers what the bridge has asked for. */
static void answer_all(struct fleet *fleet, uint64_t now_ns)
{
	struct ctxd_report report = {.asked = 1};
	struct ctxd_entry entry = {.kind = CTXD_SHARED, .id = {1, 1}};

	if (asked.has_key)
		fleet_owned_live(fleet, &asked.key, now_ns + 5, true, "label", now_ns);
	fleet_cancel_allow(fleet, asked.cancel, now_ns);
	fleet_report(fleet, asked.cancel, 0, &report, now_ns);
	fleet_report(fleet, asked.mirrors, -ENOENT, NULL, now_ns);
	if (fleet_list_entry(fleet, asked.list, &entry, now_ns) == 0)
		fleet_list_end(fleet, asked.list, 0, now_ns);
	memset(&asked, 0, sizeof(asked));
	fleet_tick(fleet, now_ns);
}

/* A bridge that has joined a context of host-1 by the key of the seeds, and has asked it for a cancel and a
 * list. */
static void receive(uint8_t *bytes, size_t size, struct fleet_batch *batch)
{
	struct fleet_config config;
	struct fleet_id id = {"host-1", {{7, 8}, 9}};
	struct fleet_cancel cancel = {.id = {7, 8}};
	struct mirror *mirror;
	uint64_t now_ns = 1000000;

	fleet_config_init(&config);
	strcpy(config.host, "host-0");
	config.incarnation = 5;
	struct fleet *fleet = fleet_new(&config, &output, now_ns);
	if (!fleet)
		abort();
	fleet_engine_up(fleet, now_ns);
	fleet_join(fleet, &id, 0, NULL, now_ns, &mirror);
	fleet_cancel(fleet, "host-1", &cancel, NULL, now_ns);
	fleet_list(fleet, "host-1", CTXD_SHARED, 1000, NULL, now_ns);
	fleet_tick(fleet, now_ns);
	for (unsigned i = 0; i < 2; i++) {
		fleet_receive(fleet, bytes, size, ++now_ns);
		fleet_tick(fleet, now_ns);
		answer_all(fleet, ++now_ns);
		if (batch->first > UINT64_MAX - 2 * (uint64_t)batch->count)
			break;
		batch->first += batch->count;
		fleet_wire_pack_header(batch, bytes);
	}
	for (unsigned i = 0; i < 20; i++) {
		now_ns += config.lease_ns / 3;
		fleet_tick(fleet, now_ns);
		fleet_own_lease(fleet, config.incarnation, now_ns);
		fleet_lease(fleet, "host-1", 0, now_ns);
	}
	fleet_free(fleet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[FLEET_BATCH_MAX + FLEET_MESSAGE_MAX];
	struct fleet_message message;
	struct fleet_batch batch;
	struct fleet_id id;
	char text[FLEET_ID_TEXT + 1] = "", text_again[FLEET_ID_TEXT];
	size_t at;

	memcpy(text, data, size < FLEET_ID_TEXT ? size : FLEET_ID_TEXT);
	if (fleet_id_parse(text, &id) == 0) {
		fleet_id_format(&id, text_again);
		if (strcmp(text, text_again) != 0)
			abort();
	}
	if (fleet_wire_unpack_header(data, size, &batch, &at) || fleet_wire_check(data, &batch, at))
		return 0;
	size_t size_again = fleet_wire_pack_header(&batch, again);
	for (unsigned i = 0; i < batch.count; i++) {
		if (!fleet_wire_next(data, &batch, &at, &message))
			abort();
		size_again += fleet_wire_pack(&message, again + size_again);
	}
	if (fleet_wire_next(data, &batch, &at, &message) || size_again != batch.end ||
	    memcmp(again, data, batch.end) != 0)
		abort();
	receive(again, batch.end, &batch);
	return 0;
}
