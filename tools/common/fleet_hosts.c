/* SPDX-License-Identifier: MIT */
#include "fleet_hosts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "monotonic.h"
#include "names.h"
#include "service.h"
#include "terminal.h"

static int take_entry(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data)
{
	return entry ? forest_add_entry(data, host, entry) : forest_add_host(data, host);
}

int forest_look(const char *host, uint64_t wait_ns, struct forest *ret_forest)
{
	struct ctxd_client *client = service_client();

	*ret_forest = (struct forest){0};
	if (!client)
		return service_error();
	int result =
		ctxd_fleet_list(client, host, CTXD_SHARED | CTXD_JOINED, wait_ns, take_entry, ret_forest);
	if (!result)
		result = forest_link(ret_forest);
	ret_forest->now_ns = monotonic_ns();
	if (result)
		forest_free(ret_forest);
	return result;
}

/* ---- what is wrong */

static int complain_of_host(const struct ctxd_host *host, uint64_t now_ns)
{
	char name[4 * CTX_HOST_MAX], time[16], error[40];

	escape(host->name, name, sizeof(name));
	switch (host->state) {
	case CTXD_HOST_SELF:
		if (host->error != -ENETDOWN)
			break;
		fprintf(stderr, "ctxtool: this host has no link to the engine, so hosts may be missing: see "
				"ctxtool doctor\n");
		return EXIT_NOTHING;
	case CTXD_HOST_ALIVE:
		break;
	case CTXD_HOST_SILENT:
		fprintf(stderr, "ctxtool: host %s did not answer", name);
		if (host->heard_ns)
			fprintf(stderr, ", and was heard last %s ago",
				duration_text(now_ns > host->heard_ns ? now_ns - host->heard_ns : 0, time));
		fputc('\n', stderr);
		return EXIT_NOTHING;
	case CTXD_HOST_ABSENT:
		fprintf(stderr, "ctxtool: host %s is gone: it has no lease", name);
		if (host->lease_absent_ns)
			fprintf(stderr, ", for %s",
				duration_text(now_ns > host->lease_absent_ns ? now_ns - host->lease_absent_ns
									     : 0,
					      time));
		fputc('\n', stderr);
		return EXIT_NOTHING;
	case CTXD_HOST_REFUSED:
		fprintf(stderr, "ctxtool: host %s does not tell: see fleet_list in its ctxd.conf(5)\n", name);
		return EXIT_PARTLY;
	}
	if (!host->error)
		return EXIT_OK;
	fprintf(stderr, "ctxtool: host %s: its list is incomplete (%s)\n", name,
		errno_text(host->error, error, sizeof(error)));
	return EXIT_PARTLY;
}

int fleet_complain_of_hosts(const struct ctxd_host *hosts, size_t count, uint64_t now_ns)
{
	int worst = EXIT_OK;

	for (size_t i = 0; i < count; i++) {
		int code = complain_of_host(&hosts[i], now_ns);
		if (code > worst)
			worst = code;
	}
	return worst;
}

int fleet_complain(const char *command, int error)
{
	char words[300];

	if (error == -ENOTSUP)
		snprintf(words, sizeof(words),
			 "the service belongs to no fleet: set fleet_engine in ctxd.conf(5), and start "
			 "ctxd-fleet(8)");
	else if (error == -EHOSTUNREACH)
		snprintf(words, sizeof(words),
			 "ctxd-fleet(8) does not run on this host, or is not connected to the service: start "
			 "it, and look at its log");
	else if (error == -EPERM)
		snprintf(words, sizeof(words), "this user may not ask that; try as root");
	else
		ctxd_explain(error, words, sizeof(words));
	fprintf(stderr, "%s: %s\n", command, words);
	return EXIT_TROUBLE;
}

/* ---- ids and names */

char *fleet_id_text(const char *host, struct ctxd_id id, char *buffer, size_t size)
{
	char name[4 * CTX_HOST_MAX], number[CTXD_ID_TEXT];

	ctxd_format_id(id, number, sizeof(number));
	snprintf(buffer, size, "%s/%s", escape(host, name, sizeof(name)), number);
	return buffer;
}

int fleet_parse_id(const char *text, char ret_host[CTX_HOST_MAX], struct ctxd_id *ret_id)
{
	size_t length = strcspn(text, "/");
	const char *id = text + length + 1;
	char number[CTXD_ID_TEXT] = "";

	if (text[length] != '/' || length < 1 || length >= CTX_HOST_MAX)
		return -EINVAL;
	/* A second hyphen begins the secret. */
	const char *hyphen = strchr(id, '-');
	const char *secret = hyphen ? strchr(hyphen + 1, '-') : NULL;
	size_t id_length = secret ? (size_t)(secret - id) : strlen(id);
	if (id_length >= sizeof(number) ||
	    (secret && (!secret[1] || secret[1 + strspn(secret + 1, "0123456789abcdef")])))
		return -EINVAL;
	memcpy(number, id, id_length);
	if (ctxd_parse_id(number, ret_id))
		return -EINVAL;
	memcpy(ret_host, text, length);
	ret_host[length] = '\0';
	return 0;
}

const char *host_state_name(enum ctxd_host_state state)
{
	switch (state) {
	case CTXD_HOST_SELF:
		return "this host";
	case CTXD_HOST_ALIVE:
		return "alive";
	case CTXD_HOST_SILENT:
		return "silent";
	case CTXD_HOST_ABSENT:
		return "gone";
	case CTXD_HOST_REFUSED:
		return "refused";
	}
	return "unknown";
}

const char *entry_state_name(const struct ctxd_entry *entry)
{
	return !entry->ended_ns ? "live" : entry->cause.error == -ETIME ? "expired" : "cancelled";
}

int fleet_parse_seconds(const char *text, uint64_t *ret_ns)
{
	char *end;
	double seconds = strtod(text, &end);

	/* A NaN fails this comparison too. */
	if (end == text || *end || !(seconds > 0 && seconds <= 86400))
		return -EINVAL;
	*ret_ns = (uint64_t)(seconds * 1e9);
	return 0;
}
