/* SPDX-License-Identifier: MIT */
/* ctxtool fleet: lists the hosts of the fleet, with their leases, round trips, joins and counts. */
#include "commands.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_json.h"
#include "monotonic.h"
#include "service.h"
#include "terminal.h"
#include "usage.h"

static const char help[] =
	"Usage: ctxtool fleet [OPTION...]\n"
	"List the hosts of the fleet as ctxd-fleet of this host knows them: when each was heard last and\n"
	"its lease seen, the round trip to it, how many contexts of this host it has joined (IN) and\n"
	"this host of it (OUT), and how often messages were missing or did not fit.\n"
	"\n"
	"  -t, --timeout=SECONDS  wait so long for hosts that do not answer, 1 by default\n"
	"  -j, --json             print JSON\n"
	"  -h, --help             print this text\n"
	"\n"
	"Exit codes: 0 all hosts answered, 1 a host is silent or gone, 2 wrong usage, 3 a host\n"
	"refused, 4 no service, no fleet, no memory, or the output failed.\n";

static int add_host(const struct ctxd_host *host, void *data)
{
	return forest_add_host(data, host);
}

static const char *age_text(uint64_t time_ns, uint64_t now_ns, char buffer[16])
{
	if (!time_ns)
		return "-";
	return duration_text(now_ns > time_ns ? now_ns - time_ns : 0, buffer);
}

static enum colour host_colour(enum ctxd_host_state state)
{
	return state == CTXD_HOST_SELF || state == CTXD_HOST_ALIVE ? COLOUR_GREEN
	       : state == CTXD_HOST_SILENT			   ? COLOUR_YELLOW
								   : COLOUR_RED;
}

static void print_host(const struct ctxd_host *host, int width, uint64_t now_ns)
{
	char name[4 * CTX_HOST_MAX], heard[16], lease[16], trip[16];

	printf("%-*s  %s%-9s%s  %7s  %7s  %7s  %5u  %5u  %7" PRIu64 "  %5" PRIu64 "  %7" PRIu64 "\n", width,
	       escape(host->name, name, sizeof(name)), colour(host_colour(host->state)),
	       host_state_name(host->state), colour(COLOUR_PLAIN), age_text(host->heard_ns, now_ns, heard),
	       host->lease_absent_ns ? "gone" : age_text(host->lease_seen_ns, now_ns, lease),
	       host->round_trip_ns ? duration_text(host->round_trip_ns, trip) : "-", host->joins_in,
	       host->joins_out, host->resyncs, host->gaps, host->dropped);
}

static void print_hosts(const struct forest *forest)
{
	char name[4 * CTX_HOST_MAX];
	int width = 4;

	for (size_t i = 0; i < forest->host_count; i++) {
		int needed = (int)strlen(escape(forest->hosts[i].name, name, sizeof(name)));
		if (needed > width)
			width = needed;
	}
	printf("%s%-*s  %-9s  %7s  %7s  %7s  %5s  %5s  %7s  %5s  %7s%s\n", colour(COLOUR_BOLD), width, "HOST",
	       "STATE", "HEARD", "LEASE", "TRIP", "IN", "OUT", "RESYNCS", "GAPS", "DROPPED",
	       colour(COLOUR_PLAIN));
	for (size_t i = 0; i < forest->host_count; i++)
		print_host(&forest->hosts[i], width, forest->now_ns);
}

static int print_json(const struct forest *forest)
{
	json_t *document = json_object();

	json_object_set_new(document, "hosts", hosts_json(forest->hosts, forest->host_count, forest->now_ns));
	int failed = json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(document);
	if (failed)
		fprintf(stderr, "ctxtool fleet: cannot write the JSON, or not enough memory for it\n");
	return failed ? EXIT_TROUBLE : EXIT_OK;
}

static int print_fleet(uint64_t wait_ns, bool json)
{
	struct forest forest = {0};
	int code = EXIT_OK;

	if (!service_client()) {
		service_complain();
		return EXIT_TROUBLE;
	}
	int result = ctxd_fleet_hosts(service_client(), wait_ns, add_host, &forest);
	forest.now_ns = monotonic_ns();
	if (result)
		code = fleet_complain("ctxtool fleet", result);
	else if (json)
		code = print_json(&forest);
	else
		print_hosts(&forest);
	int complaint = fleet_complain_of_hosts(forest.hosts, forest.host_count, forest.now_ns);
	forest_free(&forest);
	return code > complaint ? code : complaint;
}

int fleet_run(int argc, char **argv)
{
	static const struct option known[] = {{"timeout", required_argument, NULL, 't'},
					      {"json", no_argument, NULL, 'j'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	uint64_t wait_ns = FLEET_WAIT_DEFAULT_NS;
	bool json = false;
	int letter;

	optind = 1;
	while ((letter = next_option("ctxtool fleet", argc, argv, "t:jh", known)) != -1) {
		if (letter == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (letter == 't' && fleet_parse_seconds(optarg, &wait_ns)) {
			complain_of_usage("ctxtool fleet", "not a time of up to 86400 seconds", optarg);
			return EXIT_USAGE;
		}
		if (letter == '?') {
			fputs("Try 'ctxtool fleet --help'.\n", stderr);
			return EXIT_USAGE;
		}
		json |= letter == 'j';
	}
	if (optind < argc) {
		complain_of_usage("ctxtool fleet", "it takes no operand", argv[optind]);
		return EXIT_USAGE;
	}
	return print_fleet(wait_ns, json);
}
