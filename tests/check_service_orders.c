/* SPDX-License-Identifier: MIT */
/*
 * Orders to end that meet a full queue, a service that ends or reads its configuration again, and what the
 * log says of them; and what those who joined could do to each other's end.
 */
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/raw.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)

static bool await_log(const struct service *service, const char *text)
{
	uint64_t end_ns = clock_now_ns() + SOON;
	bool found;

	while (!(found = service_logged(service, text)) && clock_now_ns() < end_ns)
		poll(NULL, 0, 2);
	return found;
}

static unsigned count_logged(const struct service *service, const char *text)
{
	char line[4096];
	FILE *file = fopen(service->log, "re");
	unsigned count = 0;

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, text) != NULL;
	fclose(file);
	return count;
}

/* ---- a full queue */

struct news {
	unsigned seen, lost;
};

static void take_news(struct ctxd_client *client, const struct ctxd_event *event, void *data)
{
	struct news *news = data;

	(void)client;
	news->seen += event->kind != CTXD_EVENT_LOST;
	news->lost += (unsigned)event->lost;
}

static void make_news(struct ctxd_client *client, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct ctx_context *ctx = child_of(ctx_background());
		ck_assert_ok(ctxd_share(client, ctx, NULL, 0, NULL));
		ctx_finish(ctx);
	}
}

START_TEST(cancels_that_meet_a_full_queue_are_given_once_and_not_lost)
{
	enum {
		COUNT = 20
	};
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "slow = 60s\nreply = 30ms\n");
	struct news news = {0};
	struct ctxd_options silent = {.flags = CTXD_OWN_DISPATCH},
			    slow = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = &news};
	/* The owner says nothing either: its pipes tell nobody. */
	struct ctxd_client *owner = client_with(&service, &silent), *joiner = client_with(&service, &slow),
			   *other = client_of(&service);
	struct ctx_context *ctx[COUNT], *joined[COUNT];
	struct ctxd_id ids[COUNT];
	struct ctxd_report report;

	for (int i = 0; i < COUNT; i++) {
		ctx[i] = child_of(ctx_background());
		ck_assert_ok(ctxd_share(owner, ctx[i], NULL, 0, &ids[i]));
		ck_assert_ok(ctxd_join(joiner, ids[i], &joined[i]));
	}
	ctxd_dispatch(joiner, 0);
	ck_assert_ok(ctxd_watch(joiner, CTXD_SHARED));
	make_news(other, 2500);
	for (int i = 0; i < COUNT; i++) {
		struct ctxd_target target = {.id = ids[i]};
		ck_assert_ok(ctxd_cancel(other, &target, 0, -EPIPE, "to all", 0, &report));
		ck_assert_uint_eq(report.asked, 2);
		ck_assert_uint_eq(report.silent, 2);
		ck_assert_int_eq(ctxd_cancel(other, &target, 0, 0, "again", 0, NULL), -EALREADY);
		ck_assert_live(joined[i]);
	}
	uint64_t end_ns = clock_now_ns() + SOON;
	for (int i = 0; i < COUNT; i++) {
		while (!ctx_err(joined[i]) && clock_now_ns() < end_ns)
			ck_assert_int_ge(ctxd_dispatch(joiner, 10 * MILLISECOND), 0);
		ck_assert_cancelled(joined[i]);
		ck_assert_int_eq(cause_of(joined[i]).error, -EPIPE);
		ck_assert_str_eq(cause_of(joined[i]).text, "to all");
		ck_assert_live(ctx[i]);
	}
	/* News went missing instead, and is counted. */
	while (!news.lost && clock_now_ns() < end_ns)
		ck_assert_int_ge(ctxd_dispatch(joiner, 10 * MILLISECOND), 0);
	ck_assert_uint_gt(news.lost, 0);
	for (int i = 0; i < COUNT; i++) {
		ctx_finish(joined[i]);
		while (!ctx_err(ctx[i]) && clock_now_ns() < end_ns)
			ck_assert_int_ge(ctxd_dispatch(owner, 10 * MILLISECOND), 0);
		ctx_finish(ctx[i]);
	}
	ctxd_close(other);
	ctxd_close(joiner);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

START_TEST(queued_bytes_of_a_user_have_an_end_that_is_logged_once)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "slow = 60s\nqueued_bytes = 8K\n");
	struct news news = {0};
	struct ctxd_options slow = {.flags = CTXD_OWN_DISPATCH, .event = take_news, .data = &news};
	struct ctxd_client *watchers[2], *other = client_of(&service);
	enum {
		COUNT = 600
	};

	for (int i = 0; i < 2; i++) {
		watchers[i] = client_with(&service, &slow);
		ck_assert_ok(ctxd_watch(watchers[i], CTXD_SHARED));
	}
	make_news(other, COUNT);
	ck_assert(await_log(&service, "event=quota"));
	ck_assert_uint_eq(count_logged(&service, "event=quota"), 1);
	ck_assert(service_logged(&service, "limit=8192"));
	uint64_t end_ns = clock_now_ns() + SOON;
	while (news.seen + news.lost < 2 * 2 * COUNT && clock_now_ns() < end_ns)
		for (int i = 0; i < 2; i++)
			ck_assert_int_ge(ctxd_dispatch(watchers[i], MILLISECOND), 0);
	ck_assert_uint_ge(news.seen + news.lost, 2 * 2 * COUNT);
	ck_assert_uint_gt(news.lost, 0);
	for (int i = 0; i < 2; i++)
		ctxd_close(watchers[i]);
	ctxd_close(other);
	service_end(&service); /* fails when not all came back */
}
END_TEST

/* ---- signals */

static void configure(const struct service *service, const char *text)
{
	service_configure(service, text);
	kill(service->pid, SIGHUP);
}

START_TEST(a_configuration_that_is_read_again_counts_from_then_on_unless_it_is_wrong)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "contexts = 1\n");
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *ctx[3];

	for (int i = 0; i < 3; i++)
		ctx[i] = child_of(ctx_background());
	ck_assert_ok(ctxd_share(client, ctx[0], NULL, 0, NULL));
	ck_assert_int_eq(ctxd_share(client, ctx[1], NULL, 0, NULL), -EDQUOT);
	configure(&service, "contexts = 2\n");
	ck_assert(await_log(&service, "event=reload"));
	ck_assert_ok(ctxd_share(client, ctx[1], NULL, 0, NULL));
	configure(&service, "contexts = many\n");
	ck_assert(await_log(&service, "event=config"));
	ck_assert_int_eq(ctxd_share(client, ctx[2], NULL, 0, NULL), -EDQUOT);
	ck_assert_uint_eq(count_logged(&service, "event=reload"), 1);
	/* Below what is in use: nothing of that is taken away. */
	configure(&service, "contexts = 1\n");
	uint64_t end_ns = clock_now_ns() + SOON;
	while (count_logged(&service, "event=reload") < 2 && clock_now_ns() < end_ns)
		poll(NULL, 0, 2);
	ck_assert_live(ctx[0]);
	ck_assert_live(ctx[1]);
	ck_assert_int_eq(ctxd_share(client, ctx[2], NULL, 0, NULL), -EDQUOT);
	for (int i = 0; i < 3; i++)
		ctx_finish(ctx[i]);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

struct asker {
	struct ctxd_client *client;
	struct ctxd_id id;
	struct ctxd_report report;
	int result;
	_Atomic bool done;
};

static void *ask(void *data)
{
	struct asker *asker = data;
	struct ctxd_target target = {.id = asker->id};

	asker->result = ctxd_cancel(asker->client, &target, 0, 0, "unfinished", SOON, &asker->report);
	asker->done = true;
	return NULL;
}

/* Whether a process, not reaped, has ended. */
static bool has_ended(void *data)
{
	siginfo_t info = {0};

	return !waitid(P_PID, (id_t)((struct service *)data)->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       info.si_pid;
}

static void service_ends(struct service *service)
{
	int status;

	ck_assert(test_until(has_ended, service));
	ck_assert_int_eq(waitpid(service->pid, &status, 0), service->pid);
	service->pid = 0;
	ck_assert_int_eq(status, 0);
}

static bool has_no_socket(void *data)
{
	const struct service *service = data;

	return access(service->socket, F_OK) && errno == ENOENT;
}

/*
 * Goal: who waits for a cancel is answered by a service that was asked to end meanwhile. Method: the owner
 * obeys only after the service has said that it ends; until then it waits, and takes nobody new.
 */
START_TEST(asked_to_end_it_answers_cancels_under_way_first)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "reply = 1h\ndrain = 1h\n");
	struct ctxd_options silent = {.flags = CTXD_OWN_DISPATCH}, late = {.socket = service.socket};
	struct ctxd_client *owner = client_with(&service, &silent), *client = client_of(&service), *none;
	struct ctx_context *ctx = child_of(ctx_background());
	struct asker asker = {.client = client};
	pthread_t thread;

	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &asker.id));
	ck_assert_ok(pthread_create(&thread, NULL, ask, &asker));
	struct listing listing;
	do
		listing = list_of(client, CTXD_SHARED);
	while (!listing.entries[0].ended_ns);
	kill(service.pid, SIGTERM);
	ck_assert(await_log(&service, "event=stop"));
	ck_assert(test_until(has_no_socket, &service)); /* what it says comes first */
	ck_assert_int_eq(ctxd_connect(&late, &none), -ENOENT);
	/* It serves those who are there. */
	ck_assert_uint_eq(list_of(client, CTXD_SHARED).count, 1);
	while (!asker.done)
		ctxd_dispatch(owner, 10 * MILLISECOND);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(asker.result);
	ck_assert_uint_eq(asker.report.ended, 1);
	service_ends(&service);
	ck_assert_uint_eq(count_logged(&service, "event=cancel"), 1);
	ctx_finish(ctx);
	ctxd_close(client);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

/* Goal: whoever has enough of waiting says so again. */
START_TEST(asked_twice_it_ends_at_once)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "reply = 1h\ndrain = 1h\n");
	struct ctxd_options silent = {.flags = CTXD_OWN_DISPATCH};
	struct ctxd_client *owner = client_with(&service, &silent), *client = client_of(&service);
	struct ctx_context *ctx = child_of(ctx_background());
	struct asker asker = {.client = client};
	pthread_t thread;

	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &asker.id));
	ck_assert_ok(pthread_create(&thread, NULL, ask, &asker));
	struct listing listing;
	do
		listing = list_of(client, CTXD_SHARED);
	while (!listing.entries[0].ended_ns);
	kill(service.pid, SIGTERM);
	ck_assert(await_log(&service, "event=stop"));
	ck_assert(!has_ended(&service));
	kill(service.pid, SIGTERM);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(asker.result);
	ck_assert_uint_eq(asker.report.silent, 1);
	service_ends(&service);
	ctx_finish(ctx);
	ctxd_close(client);
	ctxd_close(owner);
	service_end(&service);
}
END_TEST

START_TEST(a_service_that_is_asked_to_end_records_what_is_under_way_and_ends_no_work)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "reply = 10s\ndrain = 100ms\n");
	struct ctxd_options silent = {.flags = CTXD_OWN_DISPATCH};
	struct ctxd_client *quiet = client_with(&service, &silent), *owner = client_of(&service),
			   *joiner = client_of(&service);
	struct ctx_context *slow = child_of(ctx_background()), *ctx = child_of(ctx_background()), *joined;
	struct asker asker = {.client = joiner};
	struct ctxd_id id;
	pthread_t thread;

	ck_assert_ok(ctxd_share(quiet, slow, NULL, 0, &asker.id));
	ck_assert_ok(ctxd_share(owner, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	ck_assert_ok(pthread_create(&thread, NULL, ask, &asker));
	/* It counts as ended when the order is given. */
	struct listing listing;
	do
		listing = list_of(owner, CTXD_SHARED);
	while (!listing.entries[0].ended_ns && !listing.entries[1].ended_ns);
	kill(service.pid, SIGTERM);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_ok(asker.result);
	ck_assert_uint_eq(asker.report.silent, 1);
	service_ends(&service);
	ck_assert_uint_eq(count_logged(&service, "event=cancel"), 1);
	ck_assert(service_logged(&service, "cause=\"unfinished\""));
	ck_assert_live(ctx);
	ck_assert_live(joined);
	ctx_cancel_cause(ctx, 0, "without it");
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_str_eq(cause_of(joined).text, "without it");
	ctx_finish(joined);
	ctx_finish(ctx);
	ctx_finish(slow);
	ctxd_close(joiner);
	ctxd_close(owner);
	ctxd_close(quiet);
	service_end(&service);
}
END_TEST

/* ---- the record of a cancel */

START_TEST(each_cancel_leaves_one_line_that_its_text_cannot_break)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, "log_level = error\n");
	struct ctxd_client *client = client_of(&service), *joiner = client_of(&service);
	struct ctx_context *ctx, *joined;
	struct ctxd_id id;
	struct ctxd_report report;
	char text[CTXD_ID_TEXT], part[200];

	ck_assert_ok(ctx_with_cancel(ctx_background(), "a \"label\"", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, NULL, 0, &id));
	ck_assert_ok(ctxd_join(joiner, id, &joined));
	struct ctxd_target target = {.id = id};
	ck_assert_ok(ctxd_cancel(client, &target, CTXD_DRY_RUN, 0, "dry", 0, &report));
	ck_assert_uint_eq(count_logged(&service, "event=cancel"), 0);
	ck_assert_ok(ctxd_cancel(client, &target, 0, -EPIPE, "x\"\nevent=cancel uid=0", SOON, &report));
	/* The cause, which the first of both lines has, too, looks like the second. */
	snprintf(part, sizeof(part), "event=cancel uid=%u pid=%d process=", getuid(), getpid());
	ck_assert(await_log(&service, part));
	ck_assert_uint_eq(count_logged(&service, "event=request uid="), 1);
	ck_assert_uint_eq(count_logged(&service, "uid="), 2);
	ctxd_format_id(id, text, sizeof(text));
	snprintf(part, sizeof(part), "target=%s owner=%d ", text, getpid());
	ck_assert(service_logged(&service, part));
	snprintf(part, sizeof(part), "error=%d cause=\"x", -EPIPE);
	ck_assert(service_logged(&service, part));
	ck_assert(service_logged(&service, "asked=2 ended=2 silent=0 batches=0 operations=0"));
	ctx_finish(joined);
	ctx_finish(ctx);
	ctxd_close(joiner);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- those who joined, and the pipe that they have in common */

enum {
	OWNER = 65006,
	JOINER = 65007
};

static void become(uid_t uid)
{
	ck_assert_ok(setgroups(0, NULL));
	ck_assert_ok(setresgid(uid, uid, uid));
	ck_assert_ok(setresuid(uid, uid, uid));
}

static int share_with_all(int channel, void *data)
{
	struct ctx_context *ctx;

	become(OWNER);
	struct ctxd_client *client = client_of(data);
	ck_assert_ok(ctx_with_cancel(ctx_background(), "for all", &ctx));
	ck_assert_ok(ctxd_share(client, ctx, "for all", 0644, NULL));
	tell(channel, 's');
	expect(channel, 'e');
	ctx_cancel(ctx);
	tell(channel, 'e');
	expect(channel, 'x');
	return 0;
}

/* The pipe of what it joined: made by another user. */
static int find_pipe(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct stat status;
		if (!fstat(fd, &status) && S_ISFIFO(status.st_mode) && status.st_uid == OWNER)
			return fd;
	}
	return -1;
}

static int drain(int channel, void *data)
{
	struct ctxd_options options = {.flags = CTXD_OWN_DISPATCH};
	struct ctx_context *joined;
	char path[64], bytes[4096];
	ssize_t size;

	become(JOINER);
	struct ctxd_client *client = client_with(data, &options);
	ck_assert_ok(ctxd_join_name(client, OWNER, "for all", &joined));
	int fd = find_pipe();
	ck_assert_int_ge(fd, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* Nobody who joined can hold it open for writing, or let others do so. */
	ck_assert_int_eq(open(path, O_WRONLY | O_CLOEXEC), -1);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_eq(fchmod(fd, 0666), -1);
	ck_assert_int_eq((int)write(fd, "x", 1), -1);
	tell(channel, 'j');
	/* Takes what the owner says from under the others. */
	struct pollfd input = {.fd = fd, .events = POLLIN};
	do {
		poll(&input, 1, 30000);
		size = read(fd, bytes, sizeof(bytes));
	} while (size > 0 || (size < 0 && errno == EAGAIN));
	tell(channel, 'd');
	expect(channel, 'x');
	return 0;
}

START_TEST(who_joined_cannot_keep_the_end_from_others)
{
	if (getuid() != 0)
		test_skip("needs root, to be several users");
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	struct other owner = other_start(share_with_all, &service), drainer;
	struct ctxd_client *client = client_of(&service);
	struct ctx_context *joined;

	expect(owner.channel, 's');
	drainer = other_start(drain, &service);
	expect(drainer.channel, 'j');
	ck_assert_ok(ctxd_join_name(client, OWNER, "for all", &joined));
	tell(owner.channel, 'e');
	ck_assert_ok(ctx_wait(joined, SOON));
	ck_assert_cancelled(joined);
	expect(drainer.channel, 'd');
	expect(owner.channel, 'e');
	tell(drainer.channel, 'x');
	tell(owner.channel, 'x');
	ck_assert_int_eq(other_end(&drainer), 0);
	ck_assert_int_eq(other_end(&owner), 0);
	ctx_finish(joined);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/* ---- contexts that would stand above themselves */

static struct ctxd_id answered_id(int fd)
{
	struct wire_message answer;

	ck_assert(raw_receive(fd, &answer));
	ck_assert_int_eq(answer.type, WIRE_RESULT);
	ck_assert_int_eq(answer.result.error, 0);
	return answer.result.id;
}

START_TEST(two_that_say_they_stand_above_each_other_are_refused)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	service_start(&service, NULL);
	int one = raw_greeted(&service), two = raw_greeted(&service), pipes[2][2];
	struct wire_message again = {.type = WIRE_REJOIN, .serial = 2},
			    share = {.type = WIRE_SHARE,
				     .serial = 3,
				     .share = {.ctx_id = 1, .deadline_ns = CTX_FOREVER, .mode = 0600}};

	ck_assert_ok(pipe(pipes[0]));
	ck_assert_ok(pipe(pipes[1]));
	again.rejoin = (struct wire_rejoin){.old_id = {1, 1}, .ctx_id = 9, .deadline_ns = CTX_FOREVER};
	raw_send_message(one, &again, &pipes[1][0], 1);
	share.share.parent = answered_id(one);
	raw_send_message(two, &again, &pipes[0][0], 1);
	struct ctxd_id upper = answered_id(two);
	raw_send_message(one, &share, &pipes[0][0], 1);
	answered_id(one);
	share.share.parent = upper;
	raw_send_message(two, &share, &pipes[1][0], 1);
	raw_thrown_out(two, -EPROTO);
	close(one);
	for (int i = 0; i < 2; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service orders");
	TCase *queue = test_case(suite, "queue"), *signals = test_case(suite, "signals"),
	      *record = test_case(suite, "record"), *joiners = test_case(suite, "joiners");

	ON_EACH_LOOP(queue, cancels_that_meet_a_full_queue_are_given_once_and_not_lost);
	ON_EACH_LOOP(queue, queued_bytes_of_a_user_have_an_end_that_is_logged_once);
	ON_EACH_LOOP(signals, a_configuration_that_is_read_again_counts_from_then_on_unless_it_is_wrong);
	ON_EACH_LOOP(signals, asked_to_end_it_answers_cancels_under_way_first);
	ON_EACH_LOOP(signals, asked_twice_it_ends_at_once);
	ON_EACH_LOOP(signals, a_service_that_is_asked_to_end_records_what_is_under_way_and_ends_no_work);
	ON_EACH_LOOP(record, each_cancel_leaves_one_line_that_its_text_cannot_break);
	ON_EACH_LOOP(joiners, who_joined_cannot_keep_the_end_from_others);
	ON_EACH_LOOP(joiners, two_that_say_they_stand_above_each_other_are_refused);
	return suite;
}
