/* SPDX-License-Identifier: MIT */
/*
 * Cancels and lists across hosts, over an engine without a network. fleet_service.h says what the service of
 * each host does; it checks that no wish is told twice, and that entries come in their order.
 */
#include <stdio.h>
#include <string.h>

#include "support/fleet_world.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

#define MILLISECOND 1000000ull
#define SECOND NS_PER_SECOND

/* A context of host 0 that host 1 has joined twice, and host 2 once. */
static struct world *joined_world(unsigned hosts)
{
	struct world *world = world_new(1, hosts);
	unsigned context = world_context(world, 0, 0);

	world_join(world, 1, context, 0);
	world_join(world, 1, context, 0);
	world_join(world, 2, context, 0);
	world_run(world, SECOND);
	return world;
}

static const struct fleet_host_report *report_of(const struct world_cancel *cancel, const char *host)
{
	for (unsigned i = 0; i < cancel->outcome.host_count; i++)
		if (strcmp(cancel->hosts[i].host, host) == 0)
			return &cancel->hosts[i];
	ck_abort_msg("%s has not reported", host);
}

static unsigned live_mirrors(const struct world *world)
{
	unsigned count = 0;

	for (unsigned i = 0; i < world->mirror_count; i++)
		count += !world->mirrors[i]->is_ended;
	return count;
}

/* ---- cancels */

/* Asked by another host, by one that has joined, and by the owner's host itself. */
START_TEST(a_cancel_is_summed_over_all_hosts)
{
	static const unsigned askers[] = {3, 1, 0};
	struct world *world = joined_world(4);
	struct world_cancel *cancel = world_cancel(world, askers[_i], 0, "root", 0, 0);

	world_run(world, 10 * MILLISECOND);
	ck_assert(cancel->is_done && cancel->outcome.error == 0);
	ck_assert_uint_eq(cancel->outcome.hosts_asked, 3);
	ck_assert_uint_eq(cancel->outcome.hosts_silent, 0);
	ck_assert_uint_eq(cancel->outcome.host_count, 3);
	ck_assert_uint_eq(cancel->outcome.report.asked, 4);
	ck_assert_uint_eq(cancel->outcome.report.ended, 4);
	ck_assert_uint_eq(cancel->outcome.report.operations, 4 * SERVICE_OPERATIONS);
	ck_assert_uint_eq(report_of(cancel, "host-0")->report.ended, 1);
	ck_assert_uint_eq(report_of(cancel, "host-1")->report.ended, 2);
	ck_assert_uint_eq(report_of(cancel, "host-2")->report.ended, 1);
	ck_assert_uint_eq(live_mirrors(world), 0);
	world_free(world);
}
END_TEST

START_TEST(a_dry_run_ends_nothing)
{
	struct world *world = joined_world(4);
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", FLEET_CANCEL_DRY_RUN, 0);

	world_run(world, 10 * MILLISECOND);
	ck_assert(cancel->is_done && cancel->outcome.error == 0);
	ck_assert_uint_eq(cancel->outcome.report.asked, 4);
	ck_assert_uint_eq(cancel->outcome.report.ended, 0);
	ck_assert_uint_eq(live_mirrors(world), 3);
	ck_assert(!world->contexts[0].is_ended);
	world_free(world);
}
END_TEST

START_TEST(who_may_not_cancel_is_refused)
{
	struct world *world = joined_world(4);
	struct world_cancel *cancel = world_cancel(world, 3, 0, "somebody", 0, 0);

	world_run(world, 10 * MILLISECOND);
	ck_assert(cancel->is_done);
	ck_assert_int_eq(cancel->outcome.error, -EPERM);
	ck_assert_uint_eq(cancel->outcome.hosts_asked, 1);
	ck_assert_int_eq(report_of(cancel, "host-0")->error, -EPERM);
	ck_assert_uint_eq(live_mirrors(world), 3);
	world_free(world);
}
END_TEST

START_TEST(a_cancel_of_what_has_ended_says_so)
{
	struct world *world = joined_world(4);

	world_end(world, 0);
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, 0);
	world_run(world, 10 * MILLISECOND);
	ck_assert(cancel->is_done);
	ck_assert_int_eq(cancel->outcome.error, -EALREADY);
	world_free(world);
}
END_TEST

/* As when a server gives up because those that it asks on other hosts were stopped first. */
START_TEST(a_cancel_has_worked_if_only_the_owner_was_faster)
{
	struct world *world = joined_world(4);

	world->hosts[0].ends_early = true;
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, 0);
	world_run(world, 10 * MILLISECOND);
	ck_assert(cancel->is_done);
	ck_assert_int_eq(cancel->outcome.error, 0);
	ck_assert_uint_eq(cancel->outcome.report.ended, 3);
	ck_assert_int_eq(report_of(cancel, "host-0")->error, -EALREADY);
	world_free(world);
}
END_TEST

START_TEST(a_silent_owner_is_named)
{
	struct world *world = joined_world(4);

	world_cut(world, 0, true);
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, 0);
	world_run(world, 2 * WORLD_BEAT_NS);
	ck_assert(cancel->is_done);
	ck_assert_int_eq(cancel->outcome.error, -EHOSTUNREACH);
	ck_assert(cancel->outcome.hosts_silent == 1 && report_of(cancel, "host-0")->is_silent);
	world_free(world);
}
END_TEST

START_TEST(a_silent_joiner_is_named)
{
	struct world *world = joined_world(4);

	world_cut(world, 2, true);
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, SECOND);
	world_run(world, SECOND + 2 * WORLD_BEAT_NS);
	ck_assert(cancel->is_done && cancel->outcome.error == 0);
	ck_assert_uint_eq(cancel->outcome.hosts_asked, 3);
	ck_assert_uint_eq(cancel->outcome.hosts_silent, 1);
	ck_assert(report_of(cancel, "host-2")->is_silent);
	ck_assert_uint_eq(report_of(cancel, "host-1")->report.ended, 2);
	ck_assert_uint_eq(cancel->outcome.report.ended, 3);
	world_free(world);
}
END_TEST

/* The services of the joiners, then that of the owner, take longer than is waited for. */
START_TEST(a_report_waits_for_operations_and_not_for_ever)
{
	struct world *world = joined_world(4);

	world->hosts[1].reap_ns = 3 * SECOND;
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, 5 * SECOND);
	world_run(world, 2900 * MILLISECOND);
	ck_assert(!cancel->is_done);
	world_run(world, 200 * MILLISECOND);
	ck_assert(cancel->is_done);
	ck_assert_uint_eq(cancel->outcome.hosts_silent, 0);

	unsigned other = world_context(world, 0, 0);
	world->hosts[0].reap_ns = 60 * SECOND;
	cancel = world_cancel(world, 3, other, "root", 0, SECOND);
	world_run(world, SECOND + 2 * WORLD_BEAT_NS);
	ck_assert(cancel->is_done);
	ck_assert_int_eq(cancel->outcome.error, -ETIMEDOUT);
	ck_assert(report_of(cancel, "host-0")->is_silent);
	/* Its answer comes too late, and has no effect. */
	world_run(world, 60 * SECOND);
	ck_assert_uint_eq(world_counts(world, 0).cancels, 0);
	world_free(world);
}
END_TEST

/* The report is lost, and the cancel is sent again: the service is told of it once, as check_seen_once()
 * holds. */
START_TEST(a_lost_report_is_sent_again)
{
	struct world *world = joined_world(4);
	struct engine_chaos all_lost = {
		.lost = 100, .delay_min_ns = MILLISECOND, .delay_max_ns = MILLISECOND};
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, 0);

	/* The cancel is on its way; of what follows, nothing arrives. */
	world_run(world, MILLISECOND / 2);
	engine_fake_chaos(world->fake, &all_lost);
	world_run(world, 500 * MILLISECOND);
	ck_assert(world->contexts[0].is_ended && !cancel->is_done);
	engine_fake_chaos(world->fake, &world_calm);
	world_run(world, 2 * WORLD_BEAT_NS);
	ck_assert(cancel->is_done && cancel->outcome.error == 0);
	/* The joiners were told of the end before they were asked again, or asked in time. */
	ck_assert_uint_eq(cancel->outcome.hosts_asked, 3);
	ck_assert_uint_eq(cancel->outcome.host_count, 3);
	world_free(world);
}
END_TEST

/* A fifth of the messages is lost, and some come twice, for many cancels at once. */
START_TEST(cancels_survive_loss)
{
	struct world *world = world_new(7, 4);
	struct engine_chaos lossy = {
		.lost = 20, .doubled = 20, .delay_min_ns = MILLISECOND, .delay_max_ns = 20 * MILLISECOND};
	unsigned done = 0;

	for (unsigned i = 0; i < 30; i++) {
		world_context(world, 0, 0);
		world_join(world, 1, i, 0);
		world_join(world, 2, i, 0);
	}
	world_run(world, SECOND);
	engine_fake_chaos(world->fake, &lossy);
	for (unsigned i = 0; i < 30; i++) {
		world_cancel(world, 3, i, "root", 0, 10 * SECOND);
		world_run(world, 100 * MILLISECOND);
	}
	world_run(world, 10 * SECOND + 2 * WORLD_BEAT_NS);
	for (unsigned i = 0; i < 30; i++) {
		ck_assert(world->cancels[i]->is_done);
		done += world->cancels[i]->outcome.error == 0;
		ck_assert(world->contexts[i].is_ended);
	}
	printf("%u of 30 cancels were reported\n", done);
	ck_assert_uint_ge(done, 28);
	world_free(world);
}
END_TEST

/* The bridge of the owner, then that of the asker, is killed while operations are reaped. */
START_TEST(a_bridge_that_is_started_again_is_asked_again)
{
	struct world *world = joined_world(4);

	world->hosts[0].reap_ns = SECOND;
	struct world_cancel *cancel = world_cancel(world, 3, 0, "root", 0, 5 * SECOND);
	world_run(world, SECOND / 2);
	world_bridge_kill(world, (unsigned)_i);
	world_bridge_start(world, (unsigned)_i);
	world_run(world, 5 * SECOND + 2 * WORLD_BEAT_NS);
	/* The next bridge of the owner finds the context ended; one of the asker knows of nothing. */
	ck_assert(_i == 3 ? cancel->is_lost : cancel->is_done && cancel->outcome.error == -EALREADY);
	cancel = world_cancel(world, 3, world_context(world, 0, 0), "root", 0, 0);
	world->hosts[0].reap_ns = 0;
	world_run(world, SECOND);
	ck_assert(cancel->is_done && cancel->outcome.error == 0);
	world_run(world, 20 * SECOND);
	ck_assert_uint_eq(world_counts(world, 0).cancels, 0);
	world_free(world);
}
END_TEST

/* One host asks for more than its part; another still gets through. */
START_TEST(cancels_are_limited)
{
	struct world *world = world_new(1, 3);
	unsigned refused = 0;

	world->hosts[0].reap_ns = SECOND;
	for (unsigned i = 0; i < 101; i++)
		world_context(world, 0, 0);
	for (unsigned i = 0; i < 100; i++)
		world_cancel(world, 1, i, "root", 0, 5 * SECOND);
	world_run(world, SECOND / 2);
	struct world_cancel *other = world_cancel(world, 2, 100, "root", 0, 5 * SECOND);
	ck_assert_uint_eq(world_counts(world, 0).cancels, 64);
	world_run(world, 2 * SECOND);
	for (unsigned i = 0; i < 100; i++)
		refused += world->cancels[i]->is_done && world->cancels[i]->outcome.error == -EDQUOT;
	ck_assert_uint_eq(refused, 36);
	ck_assert(other->is_done && other->outcome.error == 0);
	/* Reports that were kept make room. */
	struct world_cancel *late = world_cancel(world, 1, 0, "root", 0, 0);
	world_run(world, SECOND);
	ck_assert(late->is_done && late->outcome.error == -EALREADY);
	world_run(world, 20 * SECOND);
	ck_assert_uint_eq(world_counts(world, 0).cancels, 0);
	ck_assert_uint_eq(world_counts(world, 1).cancels_asked, 0);
	world_free(world);
}
END_TEST

START_TEST(what_cannot_be_asked_is_refused_at_once)
{
	struct world *world = world_new(1, 2);
	struct fleet *fleet = world->hosts[0].fleet;
	struct fleet_cancel cancel = {.id = {1, 1}};

	ck_assert_int_eq(fleet_cancel(fleet, "Host", &cancel, NULL, world->now_ns), -EINVAL);
	cancel.error = 5;
	ck_assert_int_eq(fleet_cancel(fleet, "host-1", &cancel, NULL, world->now_ns), -EINVAL);
	cancel.error = 0;
	cancel.id.number = 0;
	ck_assert_int_eq(fleet_cancel(fleet, "host-1", &cancel, NULL, world->now_ns), -EINVAL);
	ck_assert_int_eq(fleet_list(fleet, "host-0", CTXD_SHARED, 1, NULL, world->now_ns), -EINVAL);
	ck_assert_int_eq(fleet_list(fleet, "host-1", 0, 1, NULL, world->now_ns), -EINVAL);
	ck_assert_int_eq(fleet_list(fleet, "host-1", 16, 1, NULL, world->now_ns), -EINVAL);
	ck_assert_int_eq(fleet_probe(fleet, "", world->now_ns), -EINVAL);
	/* Numbers that nothing has. */
	fleet_cancel_allow(fleet, 99, world->now_ns);
	fleet_report(fleet, 99, 0, NULL, world->now_ns);
	fleet_list_end(fleet, 99, 0, world->now_ns);
	ck_assert_int_eq(fleet_list_entry(fleet, 99, NULL, world->now_ns), -ENOENT);
	world_free(world);
}
END_TEST

/* ---- lists */

START_TEST(a_list_has_all_entries)
{
	static const unsigned counts[] = {0, 1, 1000, 20000};
	struct world *world = world_new(1, 2);

	world->hosts[0].entries = counts[_i];
	struct world_list *list = world_list(world, 1, 0, SECOND);
	world_run(world, SECOND);
	ck_assert(list->is_done && list->error == 0 && list->count == counts[_i] && list->restarts == 0);
	ck_assert_uint_eq(world_counts(world, 0).lists, 0);
	ck_assert_uint_eq(world_counts(world, 1).lists_asked, 0);
	world_free(world);
}
END_TEST

START_TEST(a_list_can_be_refused)
{
	struct world *world = world_new(1, 2);

	world->hosts[0].list_error = -EACCES;
	struct world_list *list = world_list(world, 1, 0, SECOND);
	world_run(world, SECOND);
	ck_assert(list->is_done && list->error == -EACCES);
	world_free(world);
}
END_TEST

START_TEST(a_host_that_does_not_answer_is_silent)
{
	struct world *world = world_new(1, 2);

	world_cut(world, 0, true);
	struct world_list *list = world_list(world, 1, 0, SECOND);
	world_run(world, SECOND);
	ck_assert(list->is_done && list->error == -EHOSTUNREACH);
	world_free(world);
}
END_TEST

/* The service of the other host does not go on. */
START_TEST(a_list_may_be_incomplete)
{
	struct world *world = world_new(1, 2);

	world->hosts[0].entries = 20000;
	world->hosts[0].entries_ready = 5000;
	struct world_list *list = world_list(world, 1, 0, 5 * SECOND);
	world_run(world, SECOND);
	ck_assert(list->count > 0 && !list->is_done);
	world_run(world, 4 * SECOND);
	ck_assert(list->is_done && list->error == -ETIMEDOUT);
	/* The other host knows that nobody waits. */
	world_run(world, 10 * MILLISECOND);
	ck_assert_uint_eq(world->hosts[0].task_count, 0);
	world_free(world);
}
END_TEST

/* The service gives a page of seven in a turn. They leave in full batches. */
START_TEST(pages_of_a_list_share_batches)
{
	struct world *world = world_new(1, 2);

	world->hosts[0].entries = 1000;
	world->hosts[0].entries_ready = 7;
	struct world_list *list = world_list(world, 1, 0, 5 * SECOND);
	world_run(world, 10 * MILLISECOND);
	uint64_t sent = world_counts(world, 0).sent;
	while (world->hosts[0].entries_ready < 1000) {
		world->hosts[0].entries_ready += 7;
		world_run(world, 2 * MILLISECOND);
	}
	world_run(world, 10 * MILLISECOND);
	ck_assert(list->is_done && list->error == 0 && list->count == 1000 && list->restarts == 0);
	ck_assert_uint_le(world_counts(world, 0).sent - sent, 12);
	world_free(world);
}
END_TEST

/* The service has stopped after a page: the host that asks once more gets that page. */
START_TEST(a_page_does_not_wait_for_ever)
{
	struct world *world = world_new(1, 2);

	world->hosts[0].entries = 1000;
	world->hosts[0].entries_ready = 7;
	struct world_list *list = world_list(world, 1, 0, 5 * SECOND);
	world_run(world, WORLD_BEAT_NS / 2 + 10 * MILLISECOND);
	ck_assert(list->count == 7 && !list->is_done);
	world_run(world, 5 * SECOND);
	ck_assert(list->is_done && list->error == -ETIMEDOUT);
	world_free(world);
}
END_TEST

START_TEST(a_lost_part_of_a_list_is_asked_for_again)
{
	struct world *world = world_new((unsigned)_i + 1, 2);
	struct engine_chaos lossy = {
		.lost = 30, .doubled = 20, .delay_min_ns = MILLISECOND, .delay_max_ns = MILLISECOND};

	world->hosts[0].entries = 1500;
	engine_fake_chaos(world->fake, &lossy);
	struct world_list *list = world_list(world, 1, 0, 120 * SECOND);
	world_run(world, 120 * SECOND);
	ck_assert(list->is_done && list->error == 0 && list->count == 1500);
	world_free(world);
}
END_TEST

/* The engine takes nothing for a while: the bridge says so, and its queue stays small. */
START_TEST(a_list_does_not_fill_the_queue)
{
	struct world *world = world_new(1, 2);
	struct engine_chaos full = {.refused = 100, .delay_min_ns = MILLISECOND, .delay_max_ns = MILLISECOND};

	world->hosts[0].entries = 50000;
	struct world_list *list = world_list(world, 1, 0, 10 * SECOND);
	world_run(world, 2 * MILLISECOND);
	engine_fake_chaos(world->fake, &full);
	for (unsigned i = 0; i < 100; i++) {
		fleet_tick(world->hosts[0].fleet, world->now_ns);
		world_service_turn(&world->hosts[0]);
	}
	engine_fake_chaos(world->fake, &world_calm);
	world_run(world, 10 * SECOND);
	ck_assert_uint_eq(world_counts(world, 0).dropped, 0);
	ck_assert(list->is_done && list->error == 0 && list->restarts == 0);
	world_free(world);
}
END_TEST

START_TEST(a_list_goes_on_after_a_bridge_was_started_again)
{
	struct world *world = world_new(1, 2);

	world->hosts[0].entries = 20000;
	world->hosts[0].entries_ready = 5000;
	struct world_list *list = world_list(world, 1, 0, 10 * SECOND);
	world_run(world, SECOND / 2);
	world->hosts[0].entries_ready = 0;
	world_bridge_kill(world, (unsigned)_i);
	world_bridge_start(world, (unsigned)_i);
	world_run(world, 10 * SECOND);
	if (_i == 0)
		ck_assert(list->is_done && list->error == 0 && list->restarts > 0);
	else
		ck_assert(list->is_lost);
	ck_assert_uint_eq(world->hosts[0].task_count, 0);
	world_free(world);
}
END_TEST

START_TEST(lists_are_limited)
{
	struct world *world = world_new(1, 3);
	unsigned refused = 0;

	world->hosts[0].is_service_down = true;
	for (unsigned i = 0; i < 100; i++)
		world_list(world, 1, 0, 5 * SECOND);
	world_run(world, SECOND);
	ck_assert_uint_eq(world_counts(world, 0).lists, 64);
	for (unsigned i = 0; i < 100; i++)
		refused += world->lists[i]->is_done && world->lists[i]->error == -EDQUOT;
	ck_assert_uint_eq(refused, 36);
	struct world_list *other = world_list(world, 2, 0, SECOND);
	world->hosts[0].is_service_down = false;
	world_run(world, SECOND);
	ck_assert(other->is_done && other->error == 0);
	world_free(world);
}
END_TEST

/* Bar F12, without the engine: the processor time for lists of 100 hosts with 1,000 entries each. */
START_TEST(a_hundred_hosts_are_listed_fast)
{
	struct world *world = world_new(1, 101);

	for (unsigned i = 0; i < 100; i++) {
		world->hosts[i].entries = 1000;
		world_list(world, 100, i, 2 * SECOND);
	}
	uint64_t before_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
	world_run(world, 2 * SECOND);
	uint64_t used_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - before_ns;
	for (unsigned i = 0; i < 100; i++)
		ck_assert(world->lists[i]->is_done && world->lists[i]->error == 0);
	printf("100 lists of 1,000 entries: %g s of processor time, of all hosts, %g MB\n",
	       (double)used_ns / 1e9, (double)world->hosts[0].sent_bytes * 100 / 1e6);
	world_free(world);
}
END_TEST

/* ---- what is known of hosts */

static void on_host(const struct fleet_host_info *info, void *data)
{
	struct fleet_host_info *infos = data;

	ck_assert_int_eq(strncmp(info->host, "host-", 5), 0);
	infos[info->host[5] - '0'] = *info;
}

START_TEST(what_is_known_of_hosts_can_be_seen)
{
	struct world *world = joined_world(4);
	struct fleet_host_info infos[4] = {{.host = ""}};
	struct fleet_link_info link;

	world_run(world, 3 * WORLD_BEAT_NS);
	fleet_hosts_visit(world->hosts[0].fleet, on_host, infos);
	ck_assert_str_eq(infos[1].host, "host-1");
	ck_assert_str_eq(infos[3].host, "");
	ck_assert_uint_eq(infos[1].incarnation, world->hosts[1].config.incarnation);
	ck_assert_uint_eq(infos[1].joins_in, 1);
	ck_assert_uint_eq(infos[1].joins_out, 0);
	ck_assert(infos[1].lease_seen_ns && !infos[1].lease_absent_ns && infos[1].heard_ns);
	ck_assert(infos[1].received > 0 && infos[1].sent > 0);
	/* The joiner has measured the answer to its JOIN; messages take a millisecond each way. */
	fleet_hosts_visit(world->hosts[1].fleet, on_host, infos);
	ck_assert_uint_eq(infos[0].joins_out, 2);
	ck_assert_uint_eq(infos[0].round_trip_ns, 2 * MILLISECOND);
	/* A PROBE measures it to any host. */
	ck_assert_ok(fleet_probe(world->hosts[1].fleet, "host-3", world->now_ns));
	ck_assert_ok(fleet_probe(world->hosts[1].fleet, NULL, world->now_ns));
	world_run(world, 10 * MILLISECOND);
	fleet_hosts_visit(world->hosts[1].fleet, on_host, infos);
	ck_assert_uint_eq(infos[3].round_trip_ns, 2 * MILLISECOND);
	link = fleet_link_info(world->hosts[1].fleet);
	ck_assert(link.is_up && link.is_lease_held && link.since_ns && link.lease_seen_ns > link.since_ns);
	/* A host that is gone. */
	world_bridge_kill(world, 1);
	world_run(world, 8 * SECOND);
	fleet_hosts_visit(world->hosts[0].fleet, on_host, infos);
	ck_assert(infos[1].lease_absent_ns > infos[1].lease_seen_ns);
	world_free(world);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("fleet_requests");
	TCase *cancels = test_case(suite, "cancels"), *lists = test_case(suite, "lists"),
	      *hosts = test_case(suite, "hosts");

	tcase_add_loop_test(cancels, a_cancel_is_summed_over_all_hosts, 0, 3);
	tcase_add_test(cancels, a_dry_run_ends_nothing);
	tcase_add_test(cancels, who_may_not_cancel_is_refused);
	tcase_add_test(cancels, a_cancel_of_what_has_ended_says_so);
	tcase_add_test(cancels, a_cancel_has_worked_if_only_the_owner_was_faster);
	tcase_add_test(cancels, a_silent_owner_is_named);
	tcase_add_test(cancels, a_silent_joiner_is_named);
	tcase_add_test(cancels, a_report_waits_for_operations_and_not_for_ever);
	tcase_add_test(cancels, a_lost_report_is_sent_again);
	tcase_add_test(cancels, cancels_survive_loss);
	tcase_add_loop_test(cancels, a_bridge_that_is_started_again_is_asked_again, 0, 1);
	tcase_add_loop_test(cancels, a_bridge_that_is_started_again_is_asked_again, 3, 4);
	tcase_add_test(cancels, cancels_are_limited);
	tcase_add_test(cancels, what_cannot_be_asked_is_refused_at_once);
	tcase_add_loop_test(lists, a_list_has_all_entries, 0, 4);
	tcase_add_test(lists, a_list_can_be_refused);
	tcase_add_test(lists, a_host_that_does_not_answer_is_silent);
	tcase_add_test(lists, a_list_may_be_incomplete);
	tcase_add_test(lists, pages_of_a_list_share_batches);
	tcase_add_test(lists, a_page_does_not_wait_for_ever);
	tcase_add_loop_test(lists, a_lost_part_of_a_list_is_asked_for_again, 0, 5);
	tcase_add_test(lists, a_list_does_not_fill_the_queue);
	tcase_add_loop_test(lists, a_list_goes_on_after_a_bridge_was_started_again, 0, 2);
	tcase_add_test(lists, lists_are_limited);
	tcase_add_test(lists, a_hundred_hosts_are_listed_fast);
	tcase_add_test(hosts, what_is_known_of_hosts_can_be_seen);
	return suite;
}
