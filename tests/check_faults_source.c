/* SPDX-License-Identifier: MIT */
/*
 * Sources when the k-th system call or allocation fails: the error is a documented one, and nothing is left
 * behind, no descriptor, no memory, no blocked signal.
 */
#include <signal.h>
#include <sys/syscall.h>

#include "source.h"
#include "support/faults.h"
#include "support/sources.h"

TEST_MODES(TEST_FAULTS);

static void ck_assert_documented(int result)
{
	ck_assert_msg(result == 0 || result == -ENOMEM || result == -EMFILE || result == -EAGAIN,
		      "unexpected error: %s", strerror(-result));
}

static void end(struct ctx_context **ctx)
{
	ctx_finish(*ctx);
	*ctx = NULL;
}

/* Each kind once; what was made is ended and released. */
static void use(struct ctx_ring *ring, const struct pair *pair, int pidfd)
{
	const struct ctx_context *root = ctx_background();
	struct ctx_pressure pressure = {.resource = CTX_RESOURCE_CPU};
	struct ctx_context *ctx = NULL, *other = NULL;
	sigset_t signals, before, after;

	ck_assert_documented(ctx_with_hangup(root, ring, pair->near, 0, "fault", &ctx));
	ck_assert_documented(ctx_with_fd(root, ring, pair->near, POLLPRI, "fault", &other));
	end(&ctx);
	end(&other);
	ck_assert_documented(ctx_with_process(root, ring, pidfd, "fault", &ctx));
	end(&ctx);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	int error = ctx_with_signals(root, ring, &signals, "fault", &ctx);
	ck_assert_documented(error);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	if (error)
		ck_assert_int_eq(sigismember(&after, SIGUSR1), sigismember(&before, SIGUSR1));
	end(&ctx);
	error = ctx_with_pressure(root, ring, &pressure, "fault", &ctx);
	if (error != -ENOENT && error != -EOPNOTSUPP && error != -EACCES)
		ck_assert_documented(error);
	end(&ctx);
	if (ring)
		ctx_ring_dispatch(ring, 0);
}

static unsigned run(int backend, uint64_t calls, unsigned k, bool for_ever)
{
	struct ctx_ring *ring = backend_ring(backend);
	struct pair pair = pair_new();
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (ring)
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	faults_arm(calls, k, for_ever, 0);
	use(ring, &pair, pidfd);
	unsigned failed = faults_disarm();
	backend_end(ring);
	close(pidfd);
	pair_end(pair);
	return failed;
}

START_TEST(any_resource_fails_once)
{
	for (unsigned k = 1; run(_i, FAULTS_RESOURCES, k, false); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(any_resource_fails_from_then_on)
{
	for (unsigned k = 1; run(_i, FAULTS_RESOURCES, k, true); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

/* Without memory for the text of the cause the context ends all the same, and says what kind it was. */
START_TEST(an_event_without_memory_still_ends_its_context)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx;

	ck_assert_ok(ctx_with_hangup(ctx_background(), ring, pair.near, 0, NULL, &ctx));
	faults_arm(FAULT(SYS_CALL_ALLOCATE), 1, true, 0);
	close(pair.far);
	await_end(ring, ctx);
	faults_disarm();
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_HANGUP);
	ck_assert_str_eq(cause_of(ctx).text, "");
	ctx_finish(ctx);
	close(pair.near);
	backend_end(ring);
}
END_TEST

static struct ctx_context *ending;

static void *cancel_ending(void *unused)
{
	ck_assert_ok(ctx_cancel(ending));
	return unused;
}

/* It is watched by its context, and not yet by the ring. */
static void end_parent_and_memory(struct source *source)
{
	pthread_t thread;

	(void)source;
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_ending, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	faults_arm(FAULT(SYS_CALL_ALLOCATE), 1, true, 0);
}

/* Goal: a letter that another thread posted meanwhile does not outlive a source that could not be made. */
START_TEST(one_that_ends_while_it_fails_leaves_no_letter)
{
	static const struct source_ops ops = {.kind = CTX_CAUSE_FD, .started = end_parent_and_memory};
	struct ctx_ring *ring = backend_ring(ON_ORDINARY_RING);
	struct pair pair = pair_new();
	struct ctx_context *ctx = NULL;

	ending = child_of(ctx_background());
	struct source_request request = {.parent = ending, .events = POLLIN};
	struct source *source = source_new(sizeof(*source), &ops, ring);
	ck_assert_ptr_nonnull(source);
	source->fd = pair.near;
	int error = source_begin(source, &request, &ctx);
	faults_disarm();
	ck_assert_int_eq(error, -ENOMEM);
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	ctx_finish(ending);
	pair_end(pair);
	backend_end(ring);
}
END_TEST

/* The first use in a process: the thread and its descriptors. */
START_TEST(the_poller_starts_when_it_can)
{
	struct pair pair = pipe_new();
	struct ctx_context *ctx = NULL;
	unsigned k = 1;

	for (; !ctx; k++) {
		ck_assert_uint_lt(k, 100);
		faults_arm(FAULTS_RESOURCES, k, false, 0);
		int error = ctx_with_fd(ctx_background(), NULL, pair.near, POLLIN, NULL, &ctx);
		faults_disarm();
		ck_assert_documented(error);
	}
	ck_assert_uint_gt(k, 4);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	ck_assert_ok(ctx_wait(ctx, SOON));
	ctx_finish(ctx);
	pair_end(pair);
	test_baseline();
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_source");
	TCase *tests = source_case(suite, "faults");
	ON_EACH_BACKEND(tests, any_resource_fails_once);
	ON_EACH_BACKEND(tests, any_resource_fails_from_then_on);
	ON_EACH_BACKEND(tests, an_event_without_memory_still_ends_its_context);
	if (backends_here() > ON_ORDINARY_RING)
		tcase_add_test(tests, one_that_ends_while_it_fails_leaves_no_letter);
	TCase *cold = test_case(suite, "cold");
	tcase_add_test(cold, the_poller_starts_when_it_can);
	return suite;
}
