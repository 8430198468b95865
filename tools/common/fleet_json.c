/* SPDX-License-Identifier: MIT */
#include "fleet_json.h"

#include <stdio.h>

#include "json_values.h"
#include "names.h"
#include "terminal.h"

/* How long ago a time was; null where it is not known. */
static json_t *age_json(uint64_t time_ns, uint64_t now_ns)
{
	return time_ns ? number_json(now_ns > time_ns ? now_ns - time_ns : 0) : json_null();
}

static json_t *host_json(const struct ctxd_host *host, uint64_t now_ns)
{
	json_t *object = json_object();
	char incarnation[20];

	snprintf(incarnation, sizeof(incarnation), "%016llx", (unsigned long long)host->incarnation);
	json_object_set_new(object, "host", escaped_json(host->name));
	json_object_set_new(
		object, "state",
		json_string(host->state == CTXD_HOST_SELF ? "self" : host_state_name(host->state)));
	json_object_set_new(object, "error", error_or_null(host->error));
	json_object_set_new(object, "incarnation",
			    host->incarnation ? json_string(incarnation) : json_null());
	json_object_set_new(object, "heard_ago_ns", age_json(host->heard_ns, now_ns));
	json_object_set_new(object, "lease_seen_ago_ns", age_json(host->lease_seen_ns, now_ns));
	json_object_set_new(object, "lease_absent_for_ns", age_json(host->lease_absent_ns, now_ns));
	json_object_set_new(object, "round_trip_ns",
			    host->round_trip_ns ? number_json(host->round_trip_ns) : json_null());
	json_object_set_new(object, "joins_in", json_integer(host->joins_in));
	json_object_set_new(object, "joins_out", json_integer(host->joins_out));
	json_object_set_new(object, "received", number_json(host->received));
	json_object_set_new(object, "sent", number_json(host->sent));
	json_object_set_new(object, "resyncs", number_json(host->resyncs));
	json_object_set_new(object, "gaps", number_json(host->gaps));
	json_object_set_new(object, "dropped", number_json(host->dropped));
	json_object_set_new(object, "malformed", number_json(host->malformed));
	return object;
}

json_t *hosts_json(const struct ctxd_host *hosts, size_t count, uint64_t now_ns)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, host_json(&hosts[i], now_ns));
	return list;
}

void report_json(json_t *object, const struct ctxd_report *report)
{
	json_object_set_new(object, "asked", json_integer(report->asked));
	json_object_set_new(object, "ended", json_integer(report->ended));
	json_object_set_new(object, "silent", json_integer(report->silent));
	json_object_set_new(object, "operations", json_integer(report->operations));
	json_object_set_new(object, "sqes", json_integer(report->sqes));
	json_object_set_new(object, "enters", json_integer(report->enters));
	json_object_set_new(object, "cancelled", json_integer(report->cancelled));
	json_object_set_new(object, "finished", json_integer(report->finished));
	json_object_set_new(object, "held", json_integer(report->held));
	json_object_set_new(object, "submit_ns", json_integer((json_int_t)report->submit_ns));
	json_object_set_new(object, "reap_ns", json_integer((json_int_t)report->reap_ns));
}

static json_t *id_json(const struct forest *forest, const struct forest_node *node)
{
	char id[FLEET_ID_SIZE];

	return json_string(fleet_id_text(forest->hosts[node->host].name, node->entry.id, id, sizeof(id)));
}

static json_t *cause_json(const struct ctxd_entry *entry)
{
	json_t *object;

	if (!entry->ended_ns)
		return json_null();
	object = json_object();
	json_object_set_new(object, "kind", json_string(ctx_cause_kind_name(entry->cause.kind)));
	json_object_set_new(object, "error", error_or_null(entry->cause.error));
	json_object_set_new(object, "text", escaped_or_null(entry->cause.text));
	json_object_set_new(object, "host", escaped_or_null(entry->cause.host));
	return object;
}

/* What only contexts have. */
static void add_context(json_t *object, const struct forest *forest, const struct ctxd_entry *entry)
{
	bool bounded = entry->deadline_ns != CTX_FOREVER;
	uint64_t left =
		bounded && entry->deadline_ns > forest->now_ns ? entry->deadline_ns - forest->now_ns : 0;
	char mode[8], origin[FLEET_ID_SIZE];

	snprintf(mode, sizeof(mode), "%04o", (unsigned)(entry->mode & 0666));
	json_object_set_new(object, "name", escaped_or_null(entry->name));
	json_object_set_new(object, "label", escaped_json(entry->label));
	json_object_set_new(object, "state", json_string(entry_state_name(entry)));
	json_object_set_new(object, "cause", cause_json(entry));
	json_object_set_new(object, "origin",
			    entry->host[0] ? json_string(fleet_id_text(entry->host, entry->origin, origin,
								       sizeof(origin)))
					   : json_null());
	json_object_set_new(object, "mode", json_string(mode));
	json_object_set_new(object, "joiners", json_integer(entry->joiners));
	json_object_set_new(object, "time_left_ns",
			    bounded && !entry->ended_ns ? number_json(left) : json_null());
}

static json_t *node_json(const struct forest *forest, const struct forest_node *node)
{
	const struct ctxd_entry *entry = &node->entry;
	json_t *object = json_object();
	bool joins = entry->kind == CTXD_JOINED;

	json_object_set_new(object, "kind", json_string(joins ? "joined" : "shared"));
	json_object_set_new(object, "host", escaped_json(forest->hosts[node->host].name));
	json_object_set_new(object, "id", id_json(forest, node));
	json_object_set_new(object, "parent",
			    node->parent == FOREST_NONE ? json_null()
							: id_json(forest, &forest->nodes[node->parent]));
	json_object_set_new(object, "depth", json_integer(node->depth));
	json_object_set_new(object, "pid", json_integer(entry->pid));
	json_object_set_new(object, "uid", json_integer(entry->uid));
	json_object_set_new(object, "process", escaped_json(entry->process));
	json_object_set_new(object, "age_ns", age_json(entry->created_ns, forest->now_ns));
	if (!joins)
		add_context(object, forest, entry);
	return object;
}

/* Writes a value and frees it. */
static int write_json(json_t *value)
{
	int failed = value ? json_dumpf(value, stdout, 0) : -1;

	json_decref(value);
	return failed;
}

int fleet_print_json(const struct forest *forest, bool one_line)
{
	const char *newline = one_line ? "" : "\n";

	fputs("{\"hosts\": ", stdout);
	int failed = write_json(hosts_json(forest->hosts, forest->host_count, forest->now_ns));
	printf(",%s \"entries\": [", newline);
	/* Each entry is a value of its own, as those of json_print() are. */
	for (size_t i = 0; i < forest->shown_count && !failed; i++) {
		printf("%s%s", i ? ", " : "", newline);
		failed = write_json(node_json(forest, &forest->nodes[forest->preorder[i]]));
	}
	puts("]}");
	if (failed) {
		fprintf(stderr, "ctxtool: cannot write the JSON, or not enough memory for it\n");
		return EXIT_TROUBLE;
	}
	return EXIT_OK;
}
