/* SPDX-License-Identifier: MIT */
/* What is known of the own link and of other hosts, for those who ask. */
#include "fleet_parts.h"

#include <errno.h>
#include <string.h>

void fleet_hosts_visit(const struct fleet *fleet,
		       void (*visit)(const struct fleet_host_info *info, void *data), void *data)
{
	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next) {
		const struct host *host = container_of(at, struct host, link);
		struct fleet_host_info info = host->info;
		strcpy(info.host, host->name);
		info.incarnation = host->incarnation;
		info.joins_in = host->interest_count;
		info.joins_out = host->mirror_count;
		visit(&info, data);
	}
}

bool fleet_has_heard(const struct fleet *fleet, const char *name)
{
	const struct host *host = host_find(fleet, name);

	return host && host->info.received;
}

int fleet_probe(struct fleet *fleet, const char *name, uint64_t now_ns)
{
	fleet->now_ns = now_ns;
	if (!name) {
		for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next)
			host_want(container_of(at, struct host, link), WANT_PROBE);
		return 0;
	}
	if (!fleet_host_is_valid(name, strlen(name)) || strcmp(name, fleet->config.host) == 0)
		return -EINVAL;
	int error;
	struct host *host = host_get(fleet, name, HOST_WANTED, &error);
	if (!host)
		return error;
	host_want(host, WANT_PROBE);
	return 0;
}

struct fleet_link_info fleet_link_info(const struct fleet *fleet)
{
	return (struct fleet_link_info){.is_up = fleet->roster.is_up,
					.since_ns = fleet->roster.since_ns,
					.is_lease_held = fleet->roster.is_lease_held,
					.lease_seen_ns = fleet->roster.seen_ns};
}
