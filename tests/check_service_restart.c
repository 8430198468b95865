/* SPDX-License-Identifier: MIT */
/* The service dies and comes back; owners are stopped; clients do not read. */
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/rings.h"
#include "support/service.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

struct news {
	_Atomic unsigned away, back, ended, lost, added;
};

static void take_news(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	struct news *news = data;

	(void)client;
	news->away += event->kind == CTXD_EVENT_AWAY;
	news->back += event->kind == CTXD_EVENT_BACK;
	news->ended += event->kind == CTXD_EVENT_ENDED;
	news->added += event->kind == CTXD_EVENT_ADDED;
	news->lost += (unsigned)event->lost;
}

static bool is_back(void *data)
{
	return ((struct news *)data)->back > 0;
}

static bool is_away(void *data)
{
	return ((struct news *)data)->away > 0;
}

static struct ctxd_client *newsreader(const struct service *service, struct news *news)
{
	struct ctxd_options options = {.event = take_news, .data = news};

	return client_with(service, &options);
}

START_TEST(everything_is_there_again_after_a_restart)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct news owner_news = {0}, joiner_news = {0};
	struct ctxd_client *owner = newsreader(&service, &owner_news),
			   *joiner = newsreader(&service, &joiner_news);
	struct ctx_context *ctx[3], *joined[2], *below, *other;
	struct ctxd_id ids[3], id, below_id;
	char name[16];

	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		ck_assert_ok(ctx_with_cancel(ctx_background(), name, &ctx[i]));
		ck_assert_ok(ctxd_share(owner, ctx[i], name, 0640, &ids[i]));
	}
	for (int i = 0; i < 2; i++)
		ck_assert_ok(ctxd_join(joiner, ids[i], &joined[i]));
	below = child_of(joined[0]);
	ck_assert_ok(ctxd_share(joiner, below, "below", 0, &below_id));
	service_kill(&service);
	ck_assert(test_until(is_away, &owner_news));
	/* Without the service: what needs it says so, an owner's end needs nobody. */
	ck_assert_int_eq(ctxd_join(joiner, ids[2], &other), -ENOTCONN);
	ck_assert_int_eq(ctxd_id_of(owner, ctx[0], &id), -ENOTCONN);
	ctx_cancel_cause(ctx[1], 0, "while it was dead");
	ck_assert_ok(ctx_wait(joined[1], SOON));
	ck_assert_str_eq(cause_of(joined[1]).text, "while it was dead");
	service_restart(&service);
	ck_assert(test_until(is_back, &owner_news));
	ck_assert(test_until(is_back, &joiner_news));
	ck_assert(await_listed(owner, CTXD_JOINED, 1));
	ck_assert(await_listed(owner, CTXD_SHARED, 3));
	struct listing listing = list_of(owner, CTXD_SHARED);
	unsigned found = 0;
	for (unsigned i = 0; i < listing.count; i++) {
		const struct ctxd_entry *entry = &listing.entries[i];
		found |= 1u * !strcmp(entry->name, "c0") + 2u * !strcmp(entry->name, "c2") +
			 4u * !strcmp(entry->name, "below");
		if (!strcmp(entry->name, "below"))
			ck_assert_uint_eq(entry->depth, 1);
		else
			ck_assert_uint_eq(entry->mode, 0640);
		ck_assert_int_eq(entry->pid, getpid());
	}
	ck_assert_uint_eq(found, 7);
	/* Other ids: the old ones are stale. */
	ck_assert_int_eq(ctxd_join(joiner, ids[0], &other), -ESTALE);
	struct ctxd_target stale = {.id = ids[0]};
	ck_assert_int_eq(ctxd_cancel(joiner, &stale, 0, 0, NULL, 0, NULL), -ESTALE);
	ck_assert_ok(ctxd_id_of(owner, ctx[0], &id));
	ck_assert_uint_ne(id.epoch, ids[0].epoch);
	/* And it can do what it could. */
	struct ctxd_target target = {.id = id};
	struct ctxd_report report;
	ck_assert_ok(ctxd_cancel(owner, &target, 0, -EPIPE, "after", SOON, &report));
	ck_assert_uint_eq(report.asked, 2);
	ck_assert_ok(ctx_wait(below, SOON));
	ck_assert_int_eq(cause_of(below).kind, CTX_CAUSE_SERVICE);
	ck_assert_int_eq(cause_of(below).error, -EPIPE);
	ctx_finish(below);
	for (int i = 0; i < 2; i++)
		ctx_finish(joined[i]);
	for (int i = 0; i < 3; i++)
		ctx_finish(ctx[i]);
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

static void turn(struct ctxd_client *client)
{
	int result = ctxd_dispatch(client, 10 * MILLISECOND);

	ck_assert(result >= 0 || result == -EINTR);
}

/* Has a client without a thread come back. */
static bool comes_back(struct ctxd_client *client, struct news *news)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	while (!news->back && clock_now_ns() < end_ns)
		turn(client);
	return news->back;
}

static struct ctxd_client *by_hand(const struct service *service, struct news *news)
{
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = news};

	return client_with(service, &options);
}

/* Goal: a deadline that moved while nobody could tell holds for all again, whoever comes back first. */
START_TEST(a_deadline_that_moved_without_the_service_reaches_who_joined)
{
	struct service service = {.loop = SERVICE_LOOP(_i & 1)};
	service_start(&service, NULL);
	struct news owner_news = {0}, joiner_news = {0};
	struct ctxd_client *owner = by_hand(&service, &owner_news), *joiner = by_hand(&service, &joiner_news);
	uint64_t first_ns = clock_now_ns() + HOUR, then_ns = first_ns + HOUR;
	uint64_t end_ns = clock_now_ns() + SOON;
	struct ctx_context *ctx, *joined;
	struct ctxd_id id;

	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), first_ns, "moves", &ctx));
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	service_kill(&service);
	ck_assert_ok(ctx_set_deadline(ctx, then_ns));
	service_restart(&service);
	if (_i & 2) {
		ck_assert(comes_back(joiner, &joiner_news));
		ck_assert(comes_back(owner, &owner_news));
	} else {
		ck_assert(comes_back(owner, &owner_news));
		ck_assert(comes_back(joiner, &joiner_news));
	}
	while (ctx_deadline_ns(joined) != then_ns && clock_now_ns() < end_ns)
		turn(joiner);
	ck_assert_uint_eq(ctx_deadline_ns(joined), then_ns);
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

/*
 * Goal: depth counts from the top, also for what was shared below something whose owner had not come back.
 * Method: a chain of three comes back from its end, at a depth that allows it (0) and one that does not (1).
 */
START_TEST(depth_is_counted_from_the_top_whoever_comes_back_first)
{
	struct service service = {.loop = NULL};
	service_start(&service, "depth = 2\n");
	struct news news[4] = {0};
	struct ctxd_client *clients[4];
	struct ctx_context *joined[4] = {0}, *work[4];
	struct ctxd_id id;
	bool too_deep = _i == 1;

	for (int i = 0; i < 4; i++) {
		clients[i] = by_hand(&service, &news[i]);
		if (i)
			ck_assert_ok(ctxd_join(clients[i], id, &joined[i]));
		work[i] = child_of(i ? joined[i] : ctx_background());
		if (i < 3)
			ck_assert_ok(ctxd_share(clients[i], work[i], NULL, 0, &id));
	}
	service_kill(&service);
	if (too_deep)
		service_configure(&service, "depth = 1\n");
	service_restart(&service);
	for (int i = 3; i >= 0; i--)
		ck_assert(comes_back(clients[i], &news[i]));
	struct listing listing = list_of(clients[0], CTXD_SHARED);
	ck_assert_uint_eq(listing.count, too_deep ? 2 : 3);
	for (unsigned i = 0; i < listing.count; i++) {
		unsigned place = listing.entries[i].ctx_id == ctx_id(work[0])	? 0
				 : listing.entries[i].ctx_id == ctx_id(work[1]) ? 1
										: 2;
		ck_assert_uint_eq(listing.entries[i].depth, place);
	}
	/* What did not stay is known no more, nor what it would stand below. */
	ck_assert_int_eq(ctxd_share(clients[3], work[3], NULL, 0, NULL), too_deep ? 0 : -EMLINK);
	/* The end reaches all of it, whatever the service knows. */
	ctx_cancel_cause(work[0], 0, "from the top");
	for (int i = 1; i < 4; i++)
		while (!ctx_err(work[i]))
			turn(clients[i]);
	for (int i = 3; i >= 0; i--) {
		ctx_finish(work[i]);
		ctx_finish(joined[i]);
		ctxd_close(clients[i]);
	}
	service_end(&service);
}
END_TEST

START_TEST(it_can_be_killed_again_and_again)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct news news = {0};
	struct ctxd_client *owner = newsreader(&service, &news), *joiner = client_of(&service);
	struct ctx_context *ctx[40], *joined[40];
	struct ctxd_id id;

	for (int i = 0; i < 40; i++) {
		ctx[i] = child_of(ctx_background());
		ck_assert_ok(ctxd_share(owner, ctx[i], NULL, 0, &id));
		ck_assert_ok(ctxd_join(joiner, id, &joined[i]));
	}
	for (int round = 0; round < 5; round++) {
		service_kill(&service);
		service_restart(&service);
	}
	ck_assert(await_listed(joiner, CTXD_SHARED, 40));
	ck_assert(await_listed(joiner, CTXD_JOINED, 40));
	for (int i = 0; i < 40; i++) {
		ctx_cancel(ctx[i]);
		ck_assert_ok(ctx_wait(joined[i], SOON));
		ctx_finish(joined[i]);
		ctx_finish(ctx[i]);
	}
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

START_TEST(a_patient_client_waits_for_the_first_service)
{
	struct service service = {.loop = NULL};
	service_start(&service, NULL);
	service_kill(&service);
	struct news news = {0};
	struct ctxd_options options = {.flags = CTXD_PATIENT, .event = take_news, .data = &news};
	struct ctxd_options impatient = {.socket = service.socket};
	struct ctxd_client *client, *none;
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_int_eq(ctxd_connect(&impatient, &none), -ECONNREFUSED);
	client = client_with(&service, &options);
	ck_assert_int_eq(ctxd_share(client, ctx, "x", 0, NULL), -ENOTCONN);
	service_restart(&service);
	uint64_t end_ns = clock_now_ns() + SOON;
	int result;
	while ((result = ctxd_share(client, ctx, "x", 0, NULL)) == -ENOTCONN && clock_now_ns() < end_ns)
		poll(NULL, 0, 1);
	ck_assert_ok(result);
	ctx_finish(ctx);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- a stopped owner */

static int share_and_stop(int channel, void *data)
{
	struct ctxd_options options = {.flags = CTXD_PUBLISH};
	struct ctxd_client *client = client_with(data, &options);
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "stopped", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "stopped", 0, NULL));
	tell(channel, 's');
	ck_assert_ok(ctx_wait(ctx, 2 * SOON));
	tell(channel, cause_of(ctx).kind == CTX_CAUSE_SERVICE ? 'c' : '?');
	expect(channel, 'e');
	return 0;
}

START_TEST(a_stopped_owner_protects_nobody_who_joined)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service,
		      "reply = 2s\n"); /* in which the one who joined answers, also on a busy machine */
	struct other owner = other_start(share_and_stop, &service);
	struct ctx_context *joined;
	struct ctxd_report report;
	int status;

	expect(owner.channel, 's');
	struct ctxd_client *client = client_of(&service);
	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "stopped", &joined));
	kill(owner.pid, SIGSTOP);
	ck_assert_int_eq(waitpid(owner.pid, &status, WUNTRACED), owner.pid);
	struct listing listing = list_of(client, CTXD_SHARED);
	ck_assert_uint_eq(listing.count, 1);
	struct ctxd_target target = {.id = listing.entries[0].id};
	ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "stopped", 0, &report));
	ck_assert_cancelled(joined);
	ck_assert_int_eq(cause_of(joined).kind, CTX_CAUSE_SERVICE);
	ck_assert_uint_eq(report.asked, 2);
	ck_assert_uint_eq(report.ended, 1);
	ck_assert_uint_eq(report.silent, 1);
	/* The order waits for it. */
	kill(owner.pid, SIGCONT);
	expect(owner.channel, 'c');
	tell(owner.channel, 'e');
	ck_assert_int_eq(other_end(&owner), 0);
	ctx_finish(joined);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- by id, in a process that publishes itself */

static int publish(int channel, void *data)
{
	struct ctx_context *parent, *child;

	(void)data;
	setenv("CTXRING_PUBLISH", "1", 1);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "published", &parent));
	ck_assert_ok(ctx_with_cancel(parent, "child", &child));
	uint64_t id = ctx_id(child);
	tell(channel, 'p');
	ck_assert_int_eq((int)write(channel, &id, sizeof(id)), (int)sizeof(id));
	ck_assert_ok(ctx_wait(child, 2 * SOON));
	bool right = !ctx_err(parent) && cause_of(child).kind == CTX_CAUSE_SERVICE &&
		     strcmp(cause_of(child).text, "by id") == 0;
	tell(channel, right ? 'c' : '?');
	expect(channel, 'e');
	return 0;
}

START_TEST(any_context_of_a_published_program_can_be_ended_by_id)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	/* The table of this test's process is not inherited: the child makes one, and is published with it.
	 */
	struct other other = other_start(publish, &service);
	struct ctxd_report report;
	struct ctxd_entry entry;
	uint64_t id;
	int fd;

	expect(other.channel, 'p');
	ck_assert_int_eq((int)read(other.channel, &id, sizeof(id)), (int)sizeof(id));
	ck_assert(await_listed(client, CTXD_PROCESS, 2));
	ck_assert_ok(ctxd_table(client, CTXD_PROCESS, other.pid, &entry, &fd));
	close(fd);
	struct ctxd_target target = {.table = entry.table, .ctx_id = id + (1ull << 32)};
	ck_assert_int_eq(ctxd_cancel(client, &target, 0, 0, NULL, 0, &report), -ENOENT);
	target.ctx_id = id;
	ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "by id", SOON, &report));
	ck_assert_uint_eq(report.ended, 1);
	expect(other.channel, 'c');
	int result = ctxd_cancel(client, &target, 0, 0, NULL, 0, &report);
	ck_assert(result == -ENOENT || result == -EALREADY);
	/* Killed, its table stays for a while. */
	other_kill(&other);
	uint64_t end_ns = clock_now_ns() + SOON;
	while ((result = ctxd_table(client, CTXD_DEAD, entry.pid, &entry, &fd)) == -ENOENT &&
	       clock_now_ns() < end_ns)
		;
	ck_assert_ok(result);
	close(fd);
	ck_assert_int_eq(entry.kind, CTXD_DEAD);
	/* An id of a process that is gone: nothing, whoever has its number now. */
	ck_assert_int_eq(ctxd_cancel(client, &target, 0, 0, NULL, 0, &report), -ENOENT);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- reaping */

struct reader {
	const struct service *service;
	int kind;
	pthread_barrier_t ready;
};

static void *read_under_joined(void *data)
{
	struct reader *reader = data;
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH};
	struct ctx_ring *ring = ring_of(reader->kind);
	struct ctxd_client *client = client_with(reader->service, &options);
	struct pair pair = pair_new();
	struct probe probes[50], poll_probe = {.finals = 1};
	struct ctx_context *polling = child_of(ctx_background());
	struct ctx_context *joined;
	static char sink[16];

	ck_assert_ok(ctxd_join_name(client, (uid_t)-1, "reaped", &joined));
	for (int i = 0; i < 50; i++)
		probe_recv(ring, joined, &probes[i], pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 50);
	ctxd_dispatch(client, 0);
	pthread_barrier_wait(&reader->ready);
	while (!probes[0].finals) {
		if (poll_probe.finals)
			io_uring_prep_poll_add(probe_start(ring, polling, &poll_probe), ctxd_fd(client),
					       POLLIN);
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
		if (poll_probe.finals)
			ctxd_dispatch(client, 0);
	}
	await_probes(ring, probes, 50);
	for (int i = 0; i < 50; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	struct ctx_batch batch;
	ck_assert_ok(ctx_ring_last_batch(ring, &batch));
	ck_assert_uint_eq(batch.operations, 50);
	ck_assert_uint_eq(batch.enters, in_kernel(reader->kind, 1));
	/* The order's second answer goes when the batch is complete. */
	ctxd_dispatch(client, 0);
	pthread_barrier_wait(&reader->ready);
	ctx_finish(polling);
	ctx_finish(joined);
	ctxd_close(client);
	ring_end(ring);
	pair_end(pair);
	return NULL;
}

START_TEST(the_joiners_operations_are_reaped_in_a_batch_and_reported)
{
	struct service service = {.loop = "ring"};
	service_start(&service, NULL);
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx;
	struct ctxd_report report = {0};
	struct reader reader = {.service = &service, .kind = _i / 2};
	struct ctxd_id id;
	pthread_t thread;

	ck_assert_ok(ctx_with_cancel(ctx_background(), "reaped", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "reaped", 0, &id));
	pthread_barrier_init(&reader.ready, NULL, 2);
	ck_assert_ok(pthread_create(&thread, NULL, read_under_joined, &reader));
	pthread_barrier_wait(&reader.ready);
	if (_i & 1) {
		struct ctxd_target target = {.id = id};
		ck_assert_ok(ctxd_cancel(client, &target, 0, 0, "reap", SOON, &report));
		ck_assert_uint_eq(report.asked, 2);
		ck_assert_uint_eq(report.ended, 2);
		ck_assert_uint_eq(report.batches, 1);
		ck_assert_uint_eq(report.operations, 50);
		ck_assert_uint_eq(report.cancelled, 50);
		ck_assert_uint_eq(report.sqes, in_kernel(reader.kind, 50));
		ck_assert_uint_eq(report.enters, in_kernel(reader.kind, 1));
		ck_assert_uint_eq(report.held, 0);
	} else {
		ctx_cancel(ctx);
	}
	pthread_barrier_wait(&reader.ready);
	ck_assert_ok(pthread_join(thread, NULL));
	pthread_barrier_destroy(&reader.ready);
	ctx_finish(ctx);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

START_TEST(an_operation_under_a_released_joined_context_is_still_reached)
{
	struct service service = {.loop = "ring"};
	service_start(&service, NULL);
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH};
	struct ctxd_client *owner = client_of(&service), *joiner = client_with(&service, &options);
	struct ctx_context *ctx = child_of(ctx_background()), *joined;
	struct ctx_ring *ring = ring_of(_i);
	struct pollfd input = {.fd = ctxd_fd(joiner), .events = POLLIN};
	struct pair pair = pair_new();
	struct probe probe = {0};
	struct ctxd_id id;
	static char sink[16];

	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	probe_recv(ring, joined, &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ctx_unref(joined); /* only the operation holds it */
	ck_assert_int_ge(ctxd_dispatch(joiner, 0), 0);
	ctx_cancel(ctx);
	ck_assert_int_eq(poll(&input, 1, 30000), 1);
	ck_assert_int_ge(ctxd_dispatch(joiner, 0), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	ctxd_close(joiner);
	ring_end(ring);
	pair_end(pair);
	ctx_finish(ctx);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

/* ---- readers that do not read */

static void share_and_end(struct ctxd_client *owner)
{
	struct ctx_context *ctx = child_of(ctx_background());

	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, NULL));
	ctx_finish(ctx);
}

START_TEST(a_watcher_that_does_not_read_loses_events_and_is_told)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "slow = 60s\n");
	struct news news = {0};
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = &news};
	struct ctxd_client *watcher = client_with(&service, &options), *owner = client_of(&service);
	unsigned shared = 0;

	ck_assert_ok(ctxd_watch(watcher, CTXD_SHARED));
	for (unsigned i = 0; i < 3000; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, NULL));
		ctx_finish(ctx);
		shared++;
	}
	/* All that happened is heard or counted. */
	uint64_t end_ns = clock_now_ns() + SOON;
	while (news.added + news.ended + news.lost < 2 * shared && clock_now_ns() < end_ns)
		turn(watcher);
	ck_assert_uint_ge(news.added + news.ended + news.lost, 2 * shared);
	ck_assert_uint_gt(news.lost, 0);
	ctxd_close(owner);
	ctxd_close(watcher);
	service_end(&service);
}
END_TEST

/*
 * Goal: a queue that finds the user's bytes used up is no dead end. Method: one watcher that never reads uses
 * all of them, so that of the events of a second one nothing is ever queued; it must hear of the loss when it
 * reads, and of what comes after.
 */
START_TEST(without_bytes_for_a_queue_a_watcher_is_told_once_it_reads)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "slow = 60s\nqueued_bytes = 8K\n");
	struct news none = {0}, news = {0};
	struct ctxd_options hog_options = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = &none};
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = &news};
	struct ctxd_client *hog = client_with(&service, &hog_options), *owner = client_of(&service);
	struct ctxd_client *watcher = client_with(&service, &options);
	uint64_t end_ns = clock_now_ns() + SOON;
	unsigned shared = 0;

	ck_assert_ok(ctxd_watch(hog, CTXD_SHARED));
	while (!service_logged(&service, "quota=queued_bytes") && clock_now_ns() < end_ns)
		share_and_end(owner);
	ck_assert_ok(ctxd_watch(watcher, CTXD_SHARED));
	for (; shared < 1000; shared++)
		share_and_end(owner);
	while (news.added + news.ended + news.lost < 2 * shared && clock_now_ns() < end_ns)
		turn(watcher);
	ck_assert_uint_ge(news.added + news.ended + news.lost, 2 * shared);
	ck_assert_uint_gt(news.lost, 0);
	ctxd_close(owner);
	ctxd_close(watcher);
	ctxd_close(hog);
	service_end(&service);
}
END_TEST

START_TEST(who_reads_nothing_for_long_is_thrown_out_and_others_go_on)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "slow = 100ms\n");
	struct news news = {0};
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = &news};
	struct ctxd_client *watcher = client_with(&service, &options), *owner = client_of(&service);
	uint64_t end_ns = clock_now_ns() + SOON;

	ck_assert_ok(ctxd_watch(watcher, CTXD_SHARED));
	while (!service_logged(&service, "error=ETIMEDOUT") && clock_now_ns() < end_ns) {
		struct ctx_context *ctx = child_of(ctx_background());
		ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, NULL));
		ctx_finish(ctx);
	}
	ck_assert(service_logged(&service, "error=ETIMEDOUT"));
	ck_assert(await_listed(owner, CTXD_PROCESS, 1));
	ctxd_close(owner);
	ctxd_close(watcher);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service restart");
	TCase *restart = test_case(suite, "restart"), *orders = test_case(suite, "orders"),
	      *reaping = test_case_ring(suite, "reaping"), *slow = test_case(suite, "slow");

	ON_EACH_LOOP(restart, everything_is_there_again_after_a_restart);
	tcase_add_loop_test(restart, a_deadline_that_moved_without_the_service_reaches_who_joined, 0, 4);
	tcase_add_loop_test(restart, depth_is_counted_from_the_top_whoever_comes_back_first, 0, 2);
	ON_EACH_LOOP(restart, it_can_be_killed_again_and_again);
	tcase_add_test(restart, a_patient_client_waits_for_the_first_service);
	ON_EACH_LOOP(orders, a_stopped_owner_protects_nobody_who_joined);
	ON_EACH_LOOP(orders, any_context_of_a_published_program_can_be_ended_by_id);
	tcase_add_loop_test(reaping, the_joiners_operations_are_reaped_in_a_batch_and_reported,
			    ring_kind_first() * 2, ring_kind_end() * 2);
	ON_EACH_RING(reaping, an_operation_under_a_released_joined_context_is_still_reached);
	ON_EACH_LOOP(slow, a_watcher_that_does_not_read_loses_events_and_is_told);
	ON_EACH_LOOP(slow, without_bytes_for_a_queue_a_watcher_is_told_once_it_reads);
	ON_EACH_LOOP(slow, who_reads_nothing_for_long_is_thrown_out_and_others_go_on);
	return suite;
}
