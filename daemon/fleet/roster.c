/* SPDX-License-Identifier: MIT */
/*
 * Leases. In each beat the own lease is renewed, and those of the hosts that have something to do with this
 * one are read. A lease that is not there is not believed alone: the engine may have lost all keys, or its
 * clock may have jumped. A host is taken for dead when the own link has been up for a lease, two readings
 * asked for at least a beat apart found no lease, and nothing came from the host though a PROBE was sent to
 * it at least three quarters of a beat ago.
 */
#include "fleet_parts.h"

/* So many leases are read with one wish. */
#define READ_MAX 64

void roster_start(struct fleet *fleet)
{
	fleet->roster = (struct roster){.since_ns = fleet->now_ns, .due_ns = UINT64_MAX};
}

void roster_up(struct fleet *fleet)
{
	fleet->roster.is_up = true;
	fleet->roster.since_ns = fleet->now_ns;
	fleet->roster.due_ns = fleet->now_ns;
	fleet->roster.has_ended_grace = false;
	fleet->roster.more_ns = 0;
}

void roster_down(struct fleet *fleet)
{
	if (fleet->roster.is_up)
		fleet->roster.since_ns = fleet->now_ns;
	fleet->roster.is_up = false;
	fleet->roster.due_ns = UINT64_MAX;
}

static void own_lease_wish(struct fleet *fleet)
{
	const struct fleet_output *output = &fleet->output;

	fleet->roster.was_renewal = fleet->roster.is_lease_held;
	if (fleet->roster.is_lease_held)
		output->lease_renew(output->link, fleet->config.incarnation);
	else
		output->lease_take(output->link, fleet->config.incarnation);
}

static void related_leases_wish(struct fleet *fleet)
{
	const struct fleet_output *output = &fleet->output;
	const char *names[READ_MAX];
	unsigned count = 0, related = 0;

	for (struct list *at = fleet->hosts.next; at != &fleet->hosts; at = at->next) {
		struct host *host = container_of(at, struct host, link);
		related += host_is_related(host);
		if (!host_is_related(host) && !host->is_disputed) {
			/* What a reading has found is no first reading for one that comes long after it. */
			host->absent_ns = 0;
			continue;
		}
		names[count++] = host->name;
		if (count == READ_MAX) {
			output->lease_read(output->link, names, count);
			count = 0;
		}
	}
	if (count)
		output->lease_read(output->link, names, count);
	fleet->roster.related = related;
}

void roster_tick(struct fleet *fleet)
{
	if (fleet->now_ns < fleet->roster.due_ns)
		return;
	fleet->roster.due_ns = clock_after_ns(fleet->now_ns, fleet->beat_ns);
	fleet->roster.read_ns = fleet->now_ns;
	own_lease_wish(fleet);
	related_leases_wish(fleet);
}

uint64_t roster_next_ns(const struct fleet *fleet)
{
	const struct roster *roster = &fleet->roster;

	if (roster->is_up)
		return roster->due_ns;
	return roster->has_ended_grace
		       ? UINT64_MAX
		       : clock_after_ns(clock_after_ns(roster->since_ns, fleet->config.grace_ns),
					roster->more_ns);
}

bool roster_own_lease(struct fleet *fleet, uint64_t incarnation)
{
	struct roster *roster = &fleet->roster;
	bool is_gone = incarnation == 0;

	if (incarnation == fleet->config.incarnation) {
		roster->is_lease_held = true;
		roster->seen_ns = fleet->now_ns;
	} else if (is_gone) {
		roster->is_lease_held = false;
		own_lease_wish(fleet);
	} else if (incarnation == fleet->config.past_incarnation) {
		/* It is that of the life before, which a renewal writes over. */
		roster->is_lease_held = true;
		if (!roster->was_renewal)
			own_lease_wish(fleet);
	} else {
		fleet->output.name_conflict(fleet->output.link, incarnation);
	}
	return is_gone;
}

bool roster_absent(struct host *host)
{
	const struct fleet *fleet = host->fleet;
	const struct roster *roster = &fleet->roster;

	if (!host->absent_ns) {
		host->absent_ns = roster->read_ns;
		host->probed_ns = 0;
	} else if (roster->read_ns - host->absent_ns >= fleet->beat_ns &&
		   fleet->now_ns - roster->since_ns >= fleet->config.lease_ns && host->probed_ns &&
		   fleet->now_ns - host->probed_ns >= fleet->beat_ns / 4 * 3) {
		return true;
	}
	host_want(host, WANT_PROBE);
	return false;
}

bool roster_grace_ends(struct fleet *fleet)
{
	struct roster *roster = &fleet->roster;

	if (roster->is_up || roster->has_ended_grace || roster_next_ns(fleet) > fleet->now_ns)
		return false;
	/* The bridge was stopped, so it could not look for the engine: it has another lease for that. */
	if (fleet->config.grace_ns && fleet->now_ns - fleet->ticked_ns >= fleet->config.lease_ns) {
		roster->more_ns =
			fleet->now_ns - roster->since_ns - fleet->config.grace_ns + fleet->config.lease_ns;
		return false;
	}
	roster->has_ended_grace = true;
	return true;
}
