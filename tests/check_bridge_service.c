/* SPDX-License-Identifier: MIT */
/*
 * Two hosts with real services, and the bridges of both in a thread of this process, over the fake engine:
 * programs share and join by the public calls, as they do in a fleet.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "fleet_bridge.h"
#include "log.h"
#include "support/engine_fake.h"
#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

#define MS 1000000ull
/* Longer than a busy machine holds up the thread of the bridges: they would lose their leases. */
#define LEASE_NS (1500 * MS)

struct host {
	const char *name;
	struct service service;
	struct ctxd_client *client;
	struct config config;
	struct bridge *bridge; /* NULL: it does not run. */
};

static struct host hosts[2];
static struct host *const a = &hosts[0], *const b = &hosts[1];
static struct engine_fake *fake;
static char id[CTXD_GLOBAL_ID_TEXT];

/* ---- the bridges, and their thread */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards bridges, exits and the engine */
static pthread_t thread;
static bool is_over;
static enum bridge_exit exits[2];

static int open_fake(void *data, const char *name, const struct engine_events *events,
		     struct engine **ret_engine, char *reason, size_t reason_size)
{
	(void)data;
	(void)reason;
	(void)reason_size;
	*ret_engine = engine_fake_open(fake, name, events);
	return 0;
}

static void bridge_begin(struct host *host)
{
	char reason[200];
	const struct bridge_options options = {.socket = host->service.socket,
					       .config = &host->config,
					       .engine_open = open_fake,
					       .signal_fd = -1};

	pthread_mutex_lock(&lock);
	ck_assert_int_eq(bridge_open(&options, &host->bridge, reason, sizeof(reason)), BRIDGE_GO_ON);
	pthread_mutex_unlock(&lock);
}

static void bridge_end(struct host *host)
{
	pthread_mutex_lock(&lock);
	bridge_close(host->bridge);
	host->bridge = NULL;
	pthread_mutex_unlock(&lock);
}

/* Short waits, since the bridges may change, and the engine has no descriptor. */
static void *run_bridges(void *data)
{
	(void)data;
	for (bool is_done = false; !is_done; usleep(300)) {
		pthread_mutex_lock(&lock);
		for (unsigned i = 0; i < 2; i++)
			if (hosts[i].bridge && exits[i] == BRIDGE_GO_ON)
				exits[i] = bridge_turn(hosts[i].bridge, 0);
		is_done = is_over;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void engine_stop(bool is_stopped)
{
	pthread_mutex_lock(&lock);
	engine_fake_stop(fake, is_stopped);
	pthread_mutex_unlock(&lock);
}

static bool is_served(void *data)
{
	const struct host *host = data;

	pthread_mutex_lock(&lock);
	bool served = bridge_counts(host->bridge).is_served && engine_fake_has_lease(fake, host->name);
	pthread_mutex_unlock(&lock);
	return served;
}

static bool has_no_lease(void *data)
{
	const struct host *host = data;

	pthread_mutex_lock(&lock);
	bool has_lease = engine_fake_has_lease(fake, host->name);
	pthread_mutex_unlock(&lock);
	return !has_lease;
}

/* ---- the hosts */

static void host_begin(struct host *host, const char *name, const char *more)
{
	char configuration[400], reason[200];

	snprintf(configuration, sizeof(configuration),
		 "fleet_engine = redis://nowhere\nfleet_host = %s\nfleet_lease = 1500ms\n%s", name, more);
	*host = (struct host){.name = name, .config = config_default};
	ck_assert_ok(
		config_parse(configuration, strlen(configuration), &host->config, reason, sizeof(reason)));
	service_start(&host->service, configuration);
	bridge_begin(host);
}

static void set_up_with(const char *more)
{
	log_set_level(LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN); /* As ctxd-fleet does. */
	fake = engine_fake_new(1, LEASE_NS);
	is_over = false;
	exits[0] = exits[1] = BRIDGE_GO_ON;
	host_begin(a, "a", more);
	host_begin(b, "b", more);
	ck_assert_ok(pthread_create(&thread, NULL, run_bridges, NULL));
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(test_until(is_served, &hosts[i]));
		hosts[i].client = client_of(&hosts[i].service);
	}
}

static void set_up(void)
{
	set_up_with("fleet_grace = 20s\n");
}

static void set_up_impatient(void)
{
	set_up_with("fleet_grace = 300ms\n");
}

static void set_up_open(void)
{
	set_up_with("fleet_grace = 20s\nfleet_cancel = nobody root\nfleet_list = all\n");
}

static void take_down(void)
{
	pthread_mutex_lock(&lock);
	is_over = true;
	pthread_mutex_unlock(&lock);
	ck_assert_ok(pthread_join(thread, NULL));
	for (unsigned i = 0; i < 2; i++) {
		ctxd_close(hosts[i].client);
		bridge_close(hosts[i].bridge);
		service_end(&hosts[i].service);
	}
	engine_fake_free(fake);
}

/* ---- contexts */

/* A context of a that hosts may join; id has its global id. */
static struct ctx_context *shared(uint64_t timeout_ns)
{
	struct ctx_context *ctx;

	if (timeout_ns)
		ck_assert_ok(ctx_with_timeout(ctx_background(), timeout_ns, NULL, &ctx));
	else
		ck_assert_ok(ctx_with_cancel(ctx_background(), "of a", &ctx));
	ck_assert_ok(ctxd_share(a->client, ctx, NULL, CTXD_FLEET, NULL));
	ck_assert_ok(ctxd_global_id_of(a->client, ctx, id));
	return ctx;
}

static struct ctx_context *joined(unsigned flags)
{
	struct ctx_context *ctx;

	ck_assert_ok(ctxd_join_remote(b->client, id, "joined", flags, &ctx));
	return ctx;
}

/* Waits for its end. */
static struct ctx_cause end_of(struct ctx_context *ctx)
{
	ck_assert_ok(ctx_wait(ctx, 30 * NS_PER_SECOND));
	return cause_of(ctx);
}

static bool is_mirrored(void)
{
	return await_listed(b->client, CTXD_SHARED, 1) &&
	       strcmp(list_of(b->client, CTXD_SHARED).entries[0].host, "a") == 0;
}

/* ---- ends */

START_TEST(a_cancel_on_one_host_ends_the_join_on_the_other)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);

	ck_assert_live(join);
	ck_assert(is_mirrored());
	ctx_cancel_cause(owner, -EPIPE, "the client left");
	struct ctx_cause cause = end_of(join);
	ck_assert_int_eq(ctx_err(join), -ECANCELED);
	ck_assert_int_eq(cause.error, -EPIPE);
	ck_assert_str_eq(cause.text, "the client left");
	ck_assert_str_eq(cause.host, "a");
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

START_TEST(an_optimistic_join_ends_as_well)
{
	struct ctx_context *owner = shared(0), *join = joined(0);

	ck_assert_live(join);
	ck_assert(await_listed(a->client, CTXD_JOINED, 1));
	ctx_cancel(owner);
	ck_assert_str_eq(end_of(join).host, "a");
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

static bool is_known_to_have_ended(void *data)
{
	(void)data;
	return list_of(a->client, CTXD_SHARED).entries[0].ended_ns;
}

START_TEST(a_late_join_is_born_done)
{
	struct ctx_context *owner = shared(0);

	ctx_cancel_cause(owner, 0, "over");
	ck_assert(test_until(is_known_to_have_ended, NULL));
	struct ctx_context *join = joined(CTXD_JOIN_WAIT);
	ck_assert_cancelled(join);
	ck_assert_str_eq(cause_of(join).text, "over");
	ck_assert_str_eq(cause_of(join).host, "a");
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

START_TEST(deadlines_cross)
{
	struct ctx_context *owner = shared(3600 * NS_PER_SECOND), *join = joined(CTXD_JOIN_WAIT);
	uint64_t before_ns = ctx_deadline_ns(owner), after_ns = ctx_deadline_ns(join);

	ck_assert_uint_ge(after_ns, before_ns);
	ck_assert_uint_lt(after_ns, before_ns + 60 * NS_PER_SECOND);
	ck_assert_ok(ctx_set_deadline(owner, clock_now_ns() + 50 * MS));
	ck_assert_int_eq(end_of(join).kind, CTX_CAUSE_DEADLINE);
	ck_assert_expired(join);
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

/* When the last program has left, the mirror goes, and a lease later the join on the owner's host. */
START_TEST(what_nobody_joins_any_more_is_left)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);

	ctx_unref(join);
	ck_assert(await_listed(b->client, CTXD_SHARED, 0));
	ck_assert(await_listed(a->client, CTXD_JOINED, 0));
	ck_assert_live(owner);
	ctx_unref(owner);
}
END_TEST

/* ---- links that break */

START_TEST(a_bridge_of_the_joiner_can_be_started_again)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);

	bridge_end(b);
	ck_assert(await_listed(b->client, CTXD_SHARED, 0));
	ck_assert_live(join);
	/* It keeps no state, so it would take its own lease for that of another bridge. */
	ck_assert(test_until(has_no_lease, b));
	bridge_begin(b);
	ck_assert(is_mirrored());
	ctx_cancel_cause(owner, 0, "after the restart");
	ck_assert_str_eq(end_of(join).text, "after the restart");
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

START_TEST(both_services_can_be_started_again)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);

	for (unsigned i = 0; i < 2; i++) {
		service_kill(&hosts[i].service);
		service_restart(&hosts[i].service);
		ck_assert(test_until(is_served, &hosts[i]));
	}
	ck_assert(await_listed(a->client, CTXD_JOINED, 1));
	ck_assert(is_mirrored());
	ck_assert_live(join);
	ctx_cancel_cause(owner, 0, "after the restart");
	ck_assert_str_eq(end_of(join).text, "after the restart");
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

/* The result is 0: the answer is that the context has ended. */
START_TEST(a_join_of_a_host_that_is_gone_is_born_done)
{
	struct ctx_context *owner = shared(0);

	bridge_end(a);
	ck_assert(test_until(has_no_lease, a));
	struct ctx_context *join = joined(CTXD_JOIN_WAIT);
	ck_assert_cancelled(join);
	ck_assert_int_eq(cause_of(join).kind, CTX_CAUSE_HOST);
	ck_assert_str_eq(cause_of(join).host, "a");
	ctx_unref(join);
	ctx_unref(owner);
	bridge_begin(a);
}
END_TEST

START_TEST(a_lost_link_ends_joins_after_the_grace)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);
	struct ctx_context *survivor = joined(CTXD_JOIN_WAIT | CTXD_JOIN_SURVIVE);

	engine_stop(true);
	struct ctx_cause cause = end_of(join);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_UNREACHABLE);
	ck_assert_str_eq(cause.host, "a");
	ck_assert_live(survivor);
	ck_assert_live(owner);
	engine_stop(false);
	ctx_cancel_cause(owner, 0, "at last");
	ck_assert_str_eq(end_of(survivor).text, "at last");
	ctx_unref(survivor);
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

/* ---- the fleet */

static int take_report(const struct ctxd_host_report *report, void *data)
{
	struct ctxd_host_report *reports = data;

	reports[strcmp(report->host, "a") ? 1 : 0] = *report;
	return 0;
}

static struct ctxd_id id_of_shared(struct ctx_context *owner)
{
	struct ctxd_id shared_id;

	ck_assert_ok(ctxd_id_of(a->client, owner, &shared_id));
	return shared_id;
}

/* fleet_cancel names root, so a cancel of root on b ends a's context and what b has joined, and says so. */
START_TEST(a_cancel_across_hosts_reports_both)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);
	struct ctxd_host_report reports[2] = {0};
	struct ctxd_report sum;

	if (geteuid() != 0)
		test_skip("the name of this user is not known");
	ck_assert_ok(ctxd_fleet_cancel(b->client, "a", id_of_shared(owner), CTXD_DRY_RUN, 0, NULL, 0, &sum,
				       take_report, reports));
	ck_assert_live(owner);
	ck_assert_ok(ctxd_fleet_cancel(b->client, "a", id_of_shared(owner), 0, -EINTR, "stop it",
				       5 * NS_PER_SECOND, &sum, take_report, reports));
	struct ctx_cause cause = end_of(owner);
	ck_assert_int_eq(cause.error, -EINTR);
	ck_assert_ptr_eq(strstr(cause.text, "stop it"), cause.text);
	ck_assert_ptr_nonnull(strstr(cause.text, "root on b"));
	/* Both say where it was asked, and by whom. */
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(cause.host, "b");
		ck_assert_int_eq(cause.pid, getpid());
		cause = end_of(join);
		ck_assert_int_eq(cause.kind, CTX_CAUSE_SERVICE);
		ck_assert_ptr_nonnull(strstr(cause.text, "root on b"));
	}
	ck_assert_str_eq(reports[0].host, "a");
	ck_assert_int_eq(reports[0].error, 0);
	ck_assert_str_eq(reports[1].host, "b");
	ck_assert_uint_ge(sum.asked, 2);
	ck_assert_uint_ge(sum.ended, 1);
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

/* By default no user of another host may cancel anything. */
START_TEST(a_cancel_that_is_not_allowed_is_refused)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);

	ck_assert_int_eq(
		ctxd_fleet_cancel(b->client, "a", id_of_shared(owner), 0, 0, NULL, 0, NULL, NULL, NULL),
		-EPERM);
	ck_assert_live(owner);
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

struct seen {
	struct ctxd_host hosts[2];
	unsigned host_count, shared, joined, mirrors;
};

static int see_host(const struct ctxd_host *host, void *data)
{
	struct seen *seen = data;

	if (seen->host_count < 2)
		seen->hosts[seen->host_count] = *host;
	seen->host_count++;
	return 0;
}

static int see_entry(const struct ctxd_host *host, const struct ctxd_entry *entry, void *data)
{
	struct seen *seen = data;

	if (!entry)
		return see_host(host, data);
	seen->shared += entry->kind == CTXD_SHARED;
	seen->joined += entry->kind == CTXD_JOINED;
	seen->mirrors += entry->kind == CTXD_SHARED && entry->host[0];
	return 0;
}

START_TEST(the_hosts_and_what_they_have_are_listed)
{
	struct ctx_context *owner = shared(0), *join = joined(CTXD_JOIN_WAIT);
	struct seen seen = {0};

	ck_assert_ok(ctxd_fleet_hosts(b->client, 5 * NS_PER_SECOND, see_host, &seen));
	ck_assert_uint_eq(seen.host_count, 2);
	ck_assert_str_eq(seen.hosts[0].name, "b");
	ck_assert_int_eq(seen.hosts[0].state, CTXD_HOST_SELF);
	ck_assert_str_eq(seen.hosts[1].name, "a");
	ck_assert_int_eq(seen.hosts[1].state, CTXD_HOST_ALIVE);
	ck_assert_uint_eq(seen.hosts[1].joins_out, 1);

	seen = (struct seen){0};
	ck_assert_ok(ctxd_fleet_list(b->client, NULL, CTXD_SHARED | CTXD_JOINED, 5 * NS_PER_SECOND, see_entry,
				     &seen));
	ck_assert_uint_eq(seen.host_count, 2);
	ck_assert_int_eq(seen.hosts[0].error, 0);
	ck_assert_int_eq(seen.hosts[1].error, 0);
	/* On a the context and the bridge's join; on b the mirror and the program's join. */
	ck_assert_uint_eq(seen.shared, 2);
	ck_assert_uint_eq(seen.mirrors, 1);
	ck_assert_uint_eq(seen.joined, 2);
	ctx_unref(join);
	ctx_unref(owner);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("bridge_service");
	TCase *ends = test_case(suite, "ends");
	TCase *links = test_case(suite, "links");
	TCase *impatient = test_case(suite, "grace");
	TCase *fleet = test_case(suite, "fleet");

	tcase_add_checked_fixture(ends, set_up, take_down);
	tcase_add_test(ends, a_cancel_on_one_host_ends_the_join_on_the_other);
	tcase_add_test(ends, an_optimistic_join_ends_as_well);
	tcase_add_test(ends, a_late_join_is_born_done);
	tcase_add_test(ends, deadlines_cross);
	tcase_add_test(ends, what_nobody_joins_any_more_is_left);
	tcase_add_test(ends, a_cancel_that_is_not_allowed_is_refused);
	tcase_add_checked_fixture(links, set_up, take_down);
	tcase_add_test(links, a_bridge_of_the_joiner_can_be_started_again);
	tcase_add_test(links, both_services_can_be_started_again);
	tcase_add_test(links, a_join_of_a_host_that_is_gone_is_born_done);
	tcase_add_checked_fixture(impatient, set_up_impatient, take_down);
	tcase_add_test(impatient, a_lost_link_ends_joins_after_the_grace);
	tcase_add_checked_fixture(fleet, set_up_open, take_down);
	tcase_add_test(fleet, a_cancel_across_hosts_reports_both);
	tcase_add_test(fleet, the_hosts_and_what_they_have_are_listed);
	return suite;
}
