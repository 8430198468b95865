/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls that come to their end at the moment their context is ended, 5,000 of each kind. Whatever
 * happens a call returns its result or the context's error, and what it did not take is still there. Both
 * outcomes must have been seen.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "support/blockers.h"
#include "support/race.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED);

struct fight {
	const struct blocker *blocker;
	struct ctx_context *ctx;
	struct scene scene;
	ssize_t result;
	unsigned seed, round, spread; /* how far apart both ends are brought about, at most */
};

static void prepare(void *data)
{
	struct fight *fight = data;

	ck_assert(scene_prepare(&fight->scene, fight->blocker));
	fight->scene.hasty = true;
	fight->ctx = fight->round++ % 2 ? child_of(ctx_background()) : timed_child_of(ctx_background(), HOUR);
}

static void make_call(void *data)
{
	struct fight *fight = data;

	fight->result = fight->blocker->call(&fight->scene, fight->ctx);
}

static void bring_about_both(void *data)
{
	struct fight *fight = data;
	bool cancel_first = fight->round % 3 == 0;

	spin(&fight->seed, 3000);
	if (cancel_first)
		ctx_cancel(fight->ctx);
	fight->blocker->finish(&fight->scene);
	if (!cancel_first) {
		spin(&fight->seed, fight->spread);
		ctx_cancel(fight->ctx);
	}
}

static int bytes_in(int fd)
{
	int count = -1;

	ck_assert_ok(ioctl(fd, FIONREAD, &count));
	return count;
}

/* Nothing is lost: what the call did not take is there for the next one. */
static void check_rest(struct fight *fight)
{
	struct scene *scene = &fight->scene;
	bool taken = fight->result >= 0;
	const char *name = fight->blocker->name;
	int fd;

	if (!strncmp(name, "rec", 3) || !strncmp(name, "read", 4) || !strcmp(name, "splice"))
		ck_assert_int_eq(bytes_in(scene->fds[0]), taken ? 0 : 8);
	if (!strcmp(name, "splice"))
		ck_assert_int_eq(bytes_in(scene->fds[2]), taken ? 8 : 0);
	if (!strcmp(name, "accept")) {
		fcntl(scene->fds[0], F_SETFL, O_NONBLOCK);
		fd = accept4(scene->fds[0], NULL, NULL, SOCK_CLOEXEC);
		ck_assert(taken == (fd < 0));
		if (fd >= 0)
			close(fd);
	}
}

static int judge(void *data)
{
	struct fight *fight = data;
	const struct blocker *blocker = fight->blocker;
	bool cancelled = fight->result == -ECANCELED;

	/* A futex that was changed before the call slept is an end of its own. */
	if (!cancelled && !(blocker->call == blockers[15].call && fight->result == -EAGAIN))
		ck_assert_msg(blocker->result < 0 ? fight->result >= 0 : fight->result == blocker->result,
			      "%s: %zd", blocker->name, fight->result);
	check_rest(fight);
	if (blocker->result < 0 && fight->result >= 0)
		close((int)fight->result);
	scene_end(&fight->scene);
	ctx_unref(fight->ctx);
	return cancelled;
}

START_TEST(a_call_ends_or_is_ended)
{
	const struct blocker *blocker = &blockers[_i];
	static struct fight fight;
	const struct race race = {blocker->name, prepare, make_call, bring_about_both, judge};
	/* A process for each, which takes a while to end, or a directory. */
	bool costly = !strcmp(blocker->name, "waitid") || !strcmp(blocker->name, "openat");

	if (!blocker->finish || (blocker->needs_ring && test_no_uring()))
		return;
	fight = (struct fight){.blocker = blocker, .seed = test_seed(), .spread = costly ? 1000000 : 3000};
	race_run(&race, &fight, test_scaled(costly ? 2000 : 5000));
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("race blocking");
	TCase *all = test_case_calls(suite, "all");

	tcase_add_loop_test(all, a_call_ends_or_is_ended, 0, (int)blocker_count);
	return suite;
}
