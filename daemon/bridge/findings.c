/* SPDX-License-Identifier: MIT */
/*
 * What is said of the engine to who looks after it, and what is to be done: the first line of a remedy is a
 * command to type, and what follows says what for.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parts.h"

/* A clock that is further away makes stream ids and times to live of keys jump at a failover. */
#define CLOCK_MAX_NS (NS_PER_SECOND)

static void add(struct answer *answer, enum ctxd_finding_severity severity, const char *key,
		const char *remedy, const char *format, ...) __attribute__((format(printf, 5, 6)));

static void add(struct answer *answer, enum ctxd_finding_severity severity, const char *key,
		const char *remedy, const char *format, ...)
{
	struct wire_record record = {.kind = WIRE_RECORD_FINDING, .finding = {.severity = severity}};
	va_list arguments;

	snprintf(record.finding.key, sizeof(record.finding.key), "%s", key);
	va_start(arguments, format);
	vsnprintf(record.finding.value, sizeof(record.finding.value), format, arguments);
	va_end(arguments);
	if (severity != CTXD_FINDING_OK)
		snprintf(record.finding.remedy, sizeof(record.finding.remedy), "%s", remedy);
	answer_add(answer, &record);
}

/*
 * Writes the beginning of a command to the server: the address is "/path", "NAME port N" or "NAME (NUMBER)
 * port N".
 */
static const char *write_client(const struct bridge *bridge, const struct engine_status *status,
				char command[200])
{
	const char *engine = bridge->config.fleet.engine, *port = strstr(status->address, " port ");
	const char *tls = strncmp(engine, "rediss:", 7) == 0 ? " --tls" : "";

	if (port)
		snprintf(command, 200, "redis-cli%s -h %.*s -p %.5s", tls, (int)strcspn(status->address, " "),
			 status->address, port + strlen(" port "));
	else if (status->address[0] == '/')
		snprintf(command, 200, "redis-cli -s %.120s", status->address);
	else
		snprintf(command, 200, "redis-cli%s", tls);
	return command;
}

/* The same to the first Sentinel of fleet_engine, "sentinel://NAME@HOST[:PORT][,HOST...]", up to that name.
 */
static const char *write_sentinel_client(const struct bridge *bridge, char command[400])
{
	const char *engine = bridge->config.fleet.engine, *name = strstr(engine, "://"), *host, *port;

	name = name ? name + 3 : "";
	host = strchr(name, '@');
	host = host ? host + 1 : "";
	/* A numeric address of version 6 stands in brackets. */
	size_t brackets = *host == '[', length = strcspn(host + brackets, brackets ? "]" : ":,");
	port = host + brackets + length;
	port += *port == ']';
	snprintf(command, 400, "redis-cli -h %.*s -p %.*s SENTINEL SET %.*s", (int)length, host + brackets,
		 *port == ':' ? (int)strcspn(port + 1, ",") : 5, *port == ':' ? port + 1 : "26379",
		 (int)strcspn(name, "@"), name);
	return command;
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NS_PER_SECOND;
}

static void add_link(const struct bridge *bridge, const struct engine_status *status, struct answer *answer)
{
	bool is_refused = strstr(status->trouble, "WRONGPASS") || strstr(status->trouble, "NOAUTH");
	char client[200], remedy[384];
	const char *before = status->trouble[0] ? ", last trouble: " : "";
	uint64_t age_ns = bridge->now_ns > status->since_ns ? bridge->now_ns - status->since_ns : 0;

	snprintf(remedy, sizeof(remedy), "%s %s", write_client(bridge, status, client),
		 is_refused ? "ACL LIST\ncompare fleet_user and fleet_password_file with the users that the "
			      "engine has"
			    : "PING\nlook whether the server runs, and can be reached from this host");
	add(answer, status->address[0] ? CTXD_FINDING_OK : CTXD_FINDING_WARNING, "address",
	    "journalctl -u ctxd-fleet -n 20\nno server has been found yet", "%s",
	    status->address[0] ? status->address : bridge->config.fleet.engine);
	if (!status->connected)
		add(answer, CTXD_FINDING_ERROR, "link", remedy, "down, has not been up yet%s%s", before,
		    status->trouble);
	else
		add(answer, status->is_up ? CTXD_FINDING_OK : CTXD_FINDING_ERROR, "link", remedy,
		    "%s for %.0f s, connected %" PRIu64 " times%s%s", status->is_up ? "up" : "down",
		    seconds(age_ns), status->connected, before, status->trouble);
	if (status->warning[0])
		add(answer, CTXD_FINDING_WARNING, "configuration", "man 5 ctxd.conf\nsee fleet_engine there",
		    "%s", status->warning);
}

static void add_server(const struct bridge *bridge, const struct engine_status *status, struct answer *answer)
{
	bool is_old = strcmp(status->software, "redis") == 0 && strtol(status->version, NULL, 10) < 7;
	char client[200], version[384], role[384];

	write_client(bridge, status, client);
	snprintf(version, sizeof(version),
		 "%s INFO server\nRedis 7 or later, or Valkey, is what this is tested with", client);
	snprintf(role, sizeof(role),
		 "%s ROLE\nthe server is no master: give all servers in fleet_engine, or Sentinel", client);
	if (status->software[0])
		add(answer, is_old ? CTXD_FINDING_WARNING : CTXD_FINDING_OK, "version", version, "%s %s",
		    status->software, status->version);
	if (status->role[0])
		add(answer, strcmp(status->role, "master") ? CTXD_FINDING_ERROR : CTXD_FINDING_OK, "role",
		    role, "%s", status->role);
	if (status->round_trip_ns)
		add(answer, CTXD_FINDING_OK, "round_trip", "", "%.2f ms, a message %.2f ms",
		    seconds(status->round_trip_ns) * 1000, seconds(status->message_ns) * 1000);
	if (status->is_clock_known)
		add(answer,
		    llabs(status->clock_ahead_ns) > (int64_t)CLOCK_MAX_NS ? CTXD_FINDING_WARNING
									  : CTXD_FINDING_OK,
		    "clock", "timedatectl set-ntp true\nhere, and on the host of the server", "%.3f s %s",
		    seconds((uint64_t)llabs(status->clock_ahead_ns)),
		    status->clock_ahead_ns < 0 ? "behind" : "ahead");
}

static void add_rights(const struct bridge *bridge, const struct engine_status *status, struct answer *answer)
{
	const char *fleet = bridge->config.fleet.name, *host = bridge->host;
	bool is_scan_only = strcmp(status->denied, "SCAN") == 0;
	char client[200], remedy[900];

	/* Rights show only when commands are refused. */
	if (!status->connected && !status->denied[0])
		return;
	/* The names of the keys are cut with the remedy, if they are very long. */
	snprintf(remedy, sizeof(remedy),
		 "%s ACL SETUSER %s resetkeys '%%W~ctx:%s:in:*' '%%RW~ctx:%s:in:%s' '%%RW~ctx:%s:lease:%s' "
		 "'%%R~ctx:%s:lease:*' -@all +xadd +xread +xtrim +set +mget +ping +role +pexpire +scan",
		 write_client(bridge, status, client),
		 bridge->config.fleet.user[0] ? bridge->config.fleet.user : "default", fleet, fleet, host,
		 fleet, host, fleet);
	add(answer,
	    !status->denied[0] ? CTXD_FINDING_OK
	    : is_scan_only     ? CTXD_FINDING_WARNING
			       : CTXD_FINDING_ERROR,
	    "rights", remedy, "%s%s", status->denied[0] ? "denied: " : "all that are needed", status->denied);
}

static void add_times(const struct bridge *bridge, const struct engine_status *status, struct answer *answer)
{
	const struct config_fleet *config = &bridge->config.fleet;
	struct fleet_link_info link = fleet_link_info(bridge->fleet);
	char client[400], failover[600];

	snprintf(failover, sizeof(failover),
		 "%s down-after-milliseconds 2000\nor raise fleet_grace: a failover would end all that is "
		 "joined "
		 "across hosts",
		 write_sentinel_client(bridge, client));
	add(answer, link.is_lease_held ? CTXD_FINDING_OK : CTXD_FINDING_ERROR, "lease",
	    "journalctl -u ctxd-fleet -n 20\nwithout its lease other hosts take this one for dead",
	    "%s, of %.1f s", link.is_lease_held ? "held" : "not held", seconds(config->lease_ns));
	if (config->grace_ns == CTX_FOREVER)
		add(answer, CTXD_FINDING_OK, "grace", "", "for ever");
	else if (status->failover_ns && status->failover_ns >= config->grace_ns)
		add(answer, CTXD_FINDING_WARNING, "grace", failover,
		    "%.1f s, but Sentinel waits %.1f s before a failover", seconds(config->grace_ns),
		    seconds(status->failover_ns));
	else if (status->failover_ns)
		add(answer, CTXD_FINDING_OK, "grace", "", "%.1f s, Sentinel waits %.1f s before a failover",
		    seconds(config->grace_ns), seconds(status->failover_ns));
	else
		add(answer, CTXD_FINDING_OK, "grace", "", "%.1f s", seconds(config->grace_ns));
	add(answer, CTXD_FINDING_OK, "key", "", "%s",
	    config->key_file[0] ? "messages are authenticated"
				: "none: who may write to the engine can speak for any host");
}

void findings_add(struct bridge *bridge, const struct engine_status *status, struct answer *answer)
{
	add_link(bridge, status, answer);
	add_server(bridge, status, answer);
	add_rights(bridge, status, answer);
	add_times(bridge, status, answer);
}
