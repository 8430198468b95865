/* SPDX-License-Identifier: MIT */
/* Contexts that end under pressure: real pressure of the processors, made by a few children that do nothing
 * else. */
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "support/sources.h"

#define SPINNERS_MAX 64

static struct ctx_pressure wanted(int priority)
{
	return (struct ctx_pressure){
		.resource = CTX_RESOURCE_CPU, .stall_ns = 100 * MILLISECOND, .priority = priority};
}

/* Tests of real events need the kernel's and this user's consent. */
static struct ctx_context *pressure_of(struct ctx_ring *ring, int priority)
{
	struct ctx_pressure pressure = wanted(priority);
	struct ctx_context *ctx = NULL;
	int error = ctx_with_pressure(ctx_background(), ring, &pressure, "pressure", &ctx);

	if (error == -ENOENT || error == -EOPNOTSUPP || error == -EACCES)
		test_skip("no pressure stall information here, or not for this user");
	ck_assert_ok(error);
	return ctx;
}

/*
 * Three times as many as there are processors, a process group led by the one returned; each ends by itself
 * after half a minute at the latest. That one makes the others: to make them here, with a sanitizer and on a
 * busy machine, could take longer than from one event to the next, and two would be there before the first
 * look.
 */
static pid_t spin_all(void)
{
	long others = sysconf(_SC_NPROCESSORS_ONLN) * 3 - 1;

	if (others >= SPINNERS_MAX)
		test_skip("too many processors to keep busy");
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		setpgid(0, 0);
		setpriority(PRIO_PROCESS, 0, 19); /* other tests go on */
		while (others-- && fork())
			;
		alarm(30);
		for (;;)
			;
	}
	setpgid(pid, pid);
	return pid;
}

static void spin_end(pid_t pid)
{
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/*
 * Live, or ended by a later event. Two seconds at least lie between two, but who is held up may see the first
 * of them late; those that one event ends follow each other at once.
 */
static void ck_assert_comes_after(const struct ctx_context *ctx, const struct ctx_context *before)
{
	if (ctx_err(ctx))
		ck_assert_uint_gt(cause_of(ctx).time_ns, cause_of(before).time_ns + NS_PER_SECOND / 5);
}

/*
 * Contexts of these priorities, of which none can have ended before the last was there: a machine that is
 * busy already gives the first event after 100 ms.
 */
static void pressures_of(struct ctx_ring *const *rings, const int *priorities, unsigned count,
			 struct ctx_context **ret_ctx)
{
	for (;;) {
		uint64_t begin_ns = clock_now_ns();
		for (unsigned i = 0; i < count; i++)
			ret_ctx[i] = pressure_of(rings[i], priorities[i]);
		if (clock_now_ns() - begin_ns < 50 * MILLISECOND)
			return;
		for (unsigned i = 0; i < count; i++)
			ctx_finish(ret_ctx[i]);
	}
}

/* Method: four contexts of three priorities, the middle one twice; ends are looked at in the order in which
 * they come, each event ending a whole priority. */
START_TEST(the_lowest_priority_goes_first_and_as_a_whole)
{
	struct ctx_ring *ring = backend_ring(_i), *rings[] = {ring, ring, ring, ring};
	struct ctx_context *made[4];

	pressures_of(rings, (const int[]){7, 2, 2, -1}, 4, made);
	struct ctx_context *last = made[0], *second = made[1], *too = made[2], *first = made[3];
	pid_t spinners = spin_all();

	await_end(ring, first);
	await_end(ring, second);
	await_end(ring, too);
	ck_assert_comes_after(second, first);
	ck_assert_comes_after(too, first);
	ck_assert_comes_after(last, second);
	ck_assert_comes_after(last, too);
	struct ctx_cause cause = cause_of(first);
	spin_end(spinners);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_PRESSURE);
	ck_assert_int_eq(cause.code, CTX_RESOURCE_CPU);
	ck_assert_str_eq(cause.text, "cpu pressure: some 100 ms in 2 s");
	ctx_finish(first);
	ctx_finish(second);
	ctx_finish(too);
	ctx_finish(last);
	backend_end(ring);
}
END_TEST

/* One trigger for a ring and the library's thread: still one event for one priority. */
START_TEST(priorities_hold_across_pollers)
{
	struct ctx_ring *ring = ring_of(_i), *rings[] = {ring, NULL};
	struct ctx_context *made[2];

	pressures_of(rings, (const int[]){5, 3}, 2, made);
	struct ctx_context *later = made[0], *sooner = made[1];
	pid_t spinners = spin_all();

	await_end(ring, sooner);
	ck_assert_comes_after(later, sooner);
	spin_end(spinners);
	ctx_finish(sooner);
	ctx_finish(later);
	ring_end(ring);
}
END_TEST

START_TEST(what_is_out_of_range_is_refused)
{
	struct ctx_ring *ring = backend_ring(_i);
	const struct ctx_context *root = ctx_background();
	struct ctx_context *ctx;
	struct ctx_pressure pressure = wanted(0);

	ck_assert_int_eq(ctx_with_pressure(root, ring, NULL, NULL, &ctx), -EINVAL);
	pressure.full = true;
	ck_assert_int_eq(ctx_with_pressure(root, ring, &pressure, NULL, &ctx), -EINVAL);
	pressure = (struct ctx_pressure){.resource = (enum ctx_resource)9};
	ck_assert_int_eq(ctx_with_pressure(root, ring, &pressure, NULL, &ctx), -EINVAL);
	pressure = (struct ctx_pressure){.resource = CTX_RESOURCE_IO, .window_ns = 11 * NS_PER_SECOND};
	ck_assert_int_eq(ctx_with_pressure(root, ring, &pressure, NULL, &ctx), -EINVAL);
	pressure = (struct ctx_pressure){.resource = CTX_RESOURCE_IO, .window_ns = 100 * MILLISECOND};
	ck_assert_int_eq(ctx_with_pressure(root, ring, &pressure, NULL, &ctx), -EINVAL);
	pressure = (struct ctx_pressure){.resource = CTX_RESOURCE_IO, .stall_ns = 3 * NS_PER_SECOND};
	ck_assert_int_eq(ctx_with_pressure(root, ring, &pressure, NULL, &ctx), -EINVAL);
	pressure = (struct ctx_pressure){.resource = CTX_RESOURCE_MEMORY, .file = "/proc/no-such-file"};
	ck_assert_int_eq(ctx_with_pressure(root, ring, &pressure, NULL, &ctx), -ENOENT);
	backend_end(ring);
}
END_TEST

static bool has_resource_right(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};

	ck_assert_ok(syscall(SYS_capget, &header, data));
	return data[0].effective & 1u << CAP_SYS_RESOURCE;
}

START_TEST(a_short_window_asks_for_a_right)
{
	struct ctx_pressure pressure = {.resource = CTX_RESOURCE_MEMORY, .window_ns = 500 * MILLISECOND};
	struct ctx_context *ctx = NULL;
	int error = ctx_with_pressure(ctx_background(), NULL, &pressure, NULL, &ctx);

	ctx_unref(ctx);
	if (error == -ENOENT || error == -EOPNOTSUPP || error == -EACCES)
		test_skip("no pressure stall information here, or not for this user");
	ck_assert_int_eq(error, has_resource_right() ? 0 : -EINVAL);
}
END_TEST

static bool cgroup_root(char *path, size_t size)
{
	char line[512];
	FILE *mounts = fopen("/proc/self/mounts", "re");
	bool found = false;

	while (mounts && !found && fgets(line, sizeof(line), mounts)) {
		char point[256], type[32];
		found = sscanf(line, "%*s %255s %31s", point, type) == 2 && strcmp(type, "cgroup2") == 0;
		if (found)
			snprintf(path, size, "%s", point);
	}
	if (mounts)
		fclose(mounts);
	return found;
}

/* Goal: a trigger that fails ends its contexts, saying so, instead of being ready for ever. */
START_TEST(a_cgroup_that_goes_ends_its_contexts)
{
	struct ctx_ring *ring = backend_ring(_i);
	char root[256], directory[300], file[330];
	struct ctx_pressure pressure = {.resource = CTX_RESOURCE_MEMORY, .file = file};
	struct ctx_context *ctx, *other;

	if (!cgroup_root(root, sizeof(root)))
		test_skip("no cgroup v2");
	snprintf(directory, sizeof(directory), "%s/ctxring-test-%d", root, getpid());
	snprintf(file, sizeof(file), "%s/memory.pressure", directory);
	if (mkdir(directory, 0755))
		test_skip("no cgroup can be made");
	int error = ctx_with_pressure(ctx_background(), ring, &pressure, NULL, &ctx);
	if (error) {
		rmdir(directory);
		test_skip("no pressure file in a cgroup");
	}
	pressure.priority = 5;
	ck_assert_ok(ctx_with_pressure(ctx_background(), ring, &pressure, NULL, &other));
	ck_assert_ok(rmdir(directory));
	await_end(ring, ctx);
	await_end(ring, other);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_PRESSURE);
	ck_assert_str_eq(cause_of(other).text,
			 "memory pressure cannot be watched any more: its file is gone");
	ctx_finish(ctx);
	ctx_finish(other);
	backend_end(ring);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("source_pressure");
	TCase *tests = source_case(suite, "pressure");
	/* These take all processors for seconds: where nothing else is to be seen one of each is enough. */
	int backends = test_mode() == TEST_NORMAL ? backends_here() : 1;
	tcase_add_loop_test(tests, the_lowest_priority_goes_first_and_as_a_whole, 0, backends);
	ON_EACH_BACKEND(tests, what_is_out_of_range_is_refused);
	ON_EACH_BACKEND(tests, a_cgroup_that_goes_ends_its_contexts);
	tcase_add_test(tests, a_short_window_asks_for_a_right);
	TCase *rings = test_case_ring(suite, "rings");
	tcase_add_checked_fixture(rings, warm_poller, NULL);
	tcase_add_loop_test(rings, priorities_hold_across_pollers, ring_kind_first(), ring_kind_first() + 1);
	return suite;
}
