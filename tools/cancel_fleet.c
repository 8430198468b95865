/* SPDX-License-Identifier: MIT */
/*
 * ctxtool cancel --fleet: ends contexts of any host on all hosts that joined them. The bridges ask each
 * other, and what each host did comes back, so the counts say whether the work has stopped everywhere.
 */
#include "cancel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_json.h"
#include "format.h"
#include "json_values.h"
#include "names.h"
#include "usage.h"
#include "victim.h"

/* A context to end, and what each host did about it. */
struct remote_victim {
	const char *operand;
	char host[CTX_HOST_MAX];
	struct ctxd_id id;
	char name[FLEET_ID_SIZE];
	int result;
	struct ctxd_report report; /* the sum */
	struct ctxd_host_report *hosts;
	size_t host_count;
	unsigned silent, failed; /* hosts that did not answer, and that could not end it */
};

static int add_report(const struct ctxd_host_report *report, void *data)
{
	struct remote_victim *victim = data;
	struct ctxd_host_report *larger = realloc(victim->hosts, (victim->host_count + 1) * sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	victim->hosts = larger;
	larger[victim->host_count++] = *report;
	victim->silent += report->error == -EHOSTUNREACH;
	/* A copy that had ended before is no failure. */
	victim->failed += report->error && report->error != -EHOSTUNREACH && report->error != -EALREADY;
	return 0;
}

static void end_victim(struct remote_victim *victim, const struct cancel_options *options)
{
	victim->result =
		ctxd_fleet_cancel(service_client(), victim->host, victim->id,
				  options->dry_run ? CTXD_DRY_RUN : 0, options->error, options->text,
				  options->wait ? options->wait_ns : 0, &victim->report, add_report, victim);
}

/* ---- text */

static void print_error(const struct remote_victim *victim)
{
	char words[600], name[4 * CTX_HOST_MAX];

	escape(victim->host, name, sizeof(name));
	switch (victim->result) {
	case -ENOENT:
		snprintf(words, sizeof(words), "host %s has no such context that is shared in the fleet",
			 name);
		break;
	case -EPERM:
	case -EACCES:
		snprintf(words, sizeof(words),
			 "host %s does not obey this user: see fleet_cancel in its ctxd.conf(5)", name);
		break;
	case -ESTALE:
		snprintf(words, sizeof(words),
			 "this id is of an earlier life of the service there: look again with ctxtool tree "
			 "--fleet");
		break;
	case -EALREADY:
		snprintf(words, sizeof(words), "it has ended already");
		break;
	case -ETIMEDOUT:
		snprintf(words, sizeof(words),
			 "host %s did not answer, and may still end it: see ctxtool fleet", name);
		break;
	default:
		fleet_complain("ctxtool cancel", victim->result);
		return;
	}
	fprintf(stderr, "ctxtool cancel: %s: %s\n", victim->name, words);
}

static void print_result(const struct remote_victim *victim, const struct cancel_options *options)
{
	unsigned hosts = (unsigned)victim->host_count;
	char text[TEXT_SIZE];

	if (options->dry_run)
		printf("%s would end in %u process%s on %u host%s\n", victim->name, victim->report.asked,
		       victim->report.asked == 1 ? "" : "es", hosts, plural(hosts));
	else
		printf("%s, on %u host%s: %s\n", victim->name, hosts - victim->silent,
		       plural(hosts - victim->silent), report_text(&victim->report, text, sizeof(text)));
}

/* What each host did; without --verbose only those that did not end what they have. */
static void print_hosts(const struct remote_victim *victim, const struct cancel_options *options)
{
	char name[4 * CTX_HOST_MAX], text[TEXT_SIZE], error[40];

	for (size_t i = 0; i < victim->host_count; i++) {
		const struct ctxd_host_report *host = &victim->hosts[i];
		escape(host->host, name, sizeof(name));
		if (host->error == -EHOSTUNREACH)
			fprintf(stderr, "ctxtool cancel: %s: host %s did not answer\n", victim->name, name);
		else if (host->error && host->error != -EALREADY)
			fprintf(stderr, "ctxtool cancel: %s: host %s did not end it: %s\n", victim->name,
				name, errno_text(host->error, error, sizeof(error)));
		else if (!options->verbose)
			continue;
		else if (host->error)
			printf("  %s: had ended already\n", name);
		else if (options->dry_run)
			printf("  %s: %u process%s\n", name, host->report.asked,
			       host->report.asked == 1 ? "" : "es");
		else
			printf("  %s: %s\n", name, report_text(&host->report, text, sizeof(text)));
	}
}

/* ---- JSON */

static json_t *victim_json(const struct remote_victim *victim, bool dry_run)
{
	json_t *object = json_object(), *hosts = json_array();

	json_object_set_new(object, "target", json_string(victim->name));
	json_object_set_new(object, "dry_run", json_boolean(dry_run));
	json_object_set_new(object, "error", error_or_null(victim->result));
	report_json(object, &victim->report);
	json_object_set_new(object, "hosts_asked", json_integer((json_int_t)victim->host_count));
	json_object_set_new(object, "hosts_silent", json_integer(victim->silent));
	for (size_t i = 0; i < victim->host_count; i++) {
		json_t *host = json_object();

		json_object_set_new(host, "host", escaped_json(victim->hosts[i].host));
		json_object_set_new(host, "answered", json_boolean(victim->hosts[i].error != -EHOSTUNREACH));
		json_object_set_new(host, "error", error_or_null(victim->hosts[i].error));
		report_json(host, &victim->hosts[i].report);
		json_array_append_new(hosts, host);
	}
	json_object_set_new(object, "hosts", hosts);
	return object;
}

static int print_json(const struct remote_victim *victims, int count, bool dry_run)
{
	json_t *list = json_array();

	for (int i = 0; i < count; i++)
		json_array_append_new(list, victim_json(&victims[i], dry_run));
	int failed = json_dumpf(list, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(list);
	if (failed)
		fprintf(stderr, "ctxtool cancel: cannot write the JSON, or not enough memory for it\n");
	return failed ? EXIT_TROUBLE : EXIT_OK;
}

/* ---- the command */

static int parse_operands(struct remote_victim *victims, char **operands, int count)
{
	for (int i = 0; i < count; i++) {
		struct remote_victim *victim = &victims[i];
		victim->operand = operands[i];
		if (fleet_parse_id(operands[i], victim->host, &victim->id)) {
			complain_of_usage(
				"ctxtool cancel",
				"with --fleet, a context is named HOST/EPOCH-NUMBER, as ctxtool tree "
				"--fleet prints it",
				operands[i]);
			return EXIT_USAGE;
		}
		fleet_id_text(victim->host, victim->id, victim->name, sizeof(victim->name));
	}
	return EXIT_OK;
}

/* As for local cancels: 3 where somebody did not answer, and may still end it; 1 where nothing ended. */
static int exit_code_of(const struct remote_victim *victims, int count, bool dry_run)
{
	int ended = 0, trouble = 0, unreachable = 0;

	for (int i = 0; i < count; i++) {
		const struct remote_victim *victim = &victims[i];
		bool silent = victim->silent || victim->report.silent || victim->result == -ETIMEDOUT;
		if (silent)
			return EXIT_PARTLY;
		trouble += victim->result || victim->failed;
		ended += !victim->result && (victim->report.ended || dry_run);
		unreachable += victim->result == -ENOTSUP || victim->result == -EHOSTUNREACH ||
			       victim->result == -ENOTCONN || victim->result == -ENOMEM;
	}
	if (unreachable == count)
		return EXIT_TROUBLE;
	return !ended ? EXIT_NOTHING : trouble ? EXIT_PARTLY : EXIT_OK;
}

int cancel_fleet(const struct cancel_options *options, char **operands, int count)
{
	struct remote_victim *victims = calloc((size_t)count, sizeof(*victims));
	int code = victims ? parse_operands(victims, operands, count) : EXIT_TROUBLE;

	if (code == EXIT_OK && !service_client()) {
		service_complain();
		code = EXIT_TROUBLE;
	}
	if (code != EXIT_OK) {
		free(victims);
		return code;
	}
	for (int i = 0; i < count; i++) {
		end_victim(&victims[i], options);
		if (victims[i].result)
			print_error(&victims[i]);
		else if (!options->json)
			print_result(&victims[i], options);
		if (!victims[i].result && !options->json)
			print_hosts(&victims[i], options);
	}
	if (options->json)
		code = print_json(victims, count, options->dry_run);
	if (code == EXIT_OK)
		code = exit_code_of(victims, count, options->dry_run);
	for (int i = 0; i < count; i++)
		free(victims[i].hosts);
	free(victims);
	return code;
}
