/* SPDX-License-Identifier: MIT */
/* Contexts that end with a peer, a descriptor or a process: which events end them, and whose. */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "support/sources.h"

/* Under ThreadSanitizer only the poller's: see backends_here(). */
TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

/* ---- hang-ups */

START_TEST(a_peer_that_closes_ends_it)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0), *below = child_of(ctx);

	handle_what_came(ring);
	ck_assert_live(ctx);
	close(pair.far);
	await_end(ring, ctx);
	ck_assert_cancelled(ctx);
	/* Another thread may still be spreading the end. */
	await_end(ring, below);
	ck_assert_cancelled(below);
	struct ctx_cause cause = cause_of(ctx);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_HANGUP);
	ck_assert(cause.code & POLLHUP);
	ck_assert_int_eq(cause.error, -ECANCELED);
	ck_assert_str_eq(cause.text, "the peer closed the connection");
	ck_assert(cause_of(below).inherited);
	ctx_finish(below);
	ctx_finish(ctx);
	close(pair.near);
	backend_end(ring);
}
END_TEST

/* Goal: who sends no more is gone, unless the protocol is one whose clients go on reading. */
START_TEST(half_a_hang_up_counts_by_default)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *whole = hangup_of(ring, pair.near, CTX_HANGUP_WHOLE),
			   *half = hangup_of(ring, pair.near, 0);

	ck_assert_ok(shutdown(pair.far, SHUT_WR));
	await_end(ring, half);
	handle_what_came(ring);
	ck_assert_live(whole);
	ck_assert(cause_of(half).code & POLLRDHUP);
	ck_assert_int_eq(cause_of(half).code & POLLHUP, 0);
	ck_assert_str_eq(cause_of(half).text, "the peer ended its sending, or closed the connection");
	close(pair.far);
	await_end(ring, whole);
	ctx_finish(half);
	ctx_finish(whole);
	close(pair.near);
	backend_end(ring);
}
END_TEST

/* What the manual says of TCP: an orderly close is half a hang-up, a reset is a whole one. */
START_TEST(a_tcp_peer_closes_by_halves_and_resets_wholly)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair orderly = tcp_new(), reset = tcp_new();
	const struct linger at_once = {.l_onoff = 1};
	struct ctx_context *half = hangup_of(ring, orderly.near, 0),
			   *whole = hangup_of(ring, orderly.near, CTX_HANGUP_WHOLE),
			   *broken = hangup_of(ring, reset.near, CTX_HANGUP_WHOLE);

	close(orderly.far);
	await_end(ring, half);
	handle_what_came(ring);
	ck_assert_live(whole);
	ck_assert_ok(setsockopt(reset.far, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	close(reset.far);
	await_end(ring, broken);
	ck_assert_str_eq(cause_of(broken).text, "the connection was reset or timed out");
	/* Its error is left to the program. */
	ck_assert_int_eq(recv(reset.near, &(char){0}, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	/* It answers with a reset. */
	ck_assert_int_eq(write(orderly.near, "x", 1), 1);
	await_end(ring, whole);
	ctx_finish(half);
	ctx_finish(whole);
	ctx_finish(broken);
	close(orderly.near);
	close(reset.near);
	backend_end(ring);
}
END_TEST

/* As printf ... | nc -N, and what an HTTP server does between the request and its answer. */
static void ask_and_end_sending(const struct pair *pair)
{
	ck_assert_int_eq(write(pair->far, "GET /\n", 6), 6);
	ck_assert_ok(shutdown(pair->far, SHUT_WR));
}

START_TEST(a_client_that_half_closes_is_gone_or_has_its_answer)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair impatient = tcp_new(), patient = tcp_new();
	char text[8];

	ask_and_end_sending(&impatient);
	ask_and_end_sending(&patient);
	/* What it has sent is not read yet. */
	struct ctx_context *gone = hangup_of(ring, impatient.near, 0),
			   *waits = hangup_of(ring, patient.near, CTX_HANGUP_WHOLE);
	await_end(ring, gone);
	handle_what_came(ring);
	ck_assert_live(waits);
	ck_assert_int_eq(read(patient.near, text, sizeof(text)), 6);
	handle_what_came(ring);
	ck_assert_live(waits);
	ck_assert_int_eq(write(patient.near, "answer", 6), 6);
	ck_assert_int_eq(read(patient.far, text, sizeof(text)), 6);
	ctx_finish(gone);
	ctx_finish(waits);
	pair_end(impatient);
	pair_end(patient);
	backend_end(ring);
}
END_TEST

START_TEST(one_that_has_hung_up_before_ends_it_in_a_dispatch_not_in_the_call)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();

	close(pair.far);
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	if (ring)
		ck_assert_live(ctx);
	await_end(ring, ctx);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_HANGUP);
	ctx_finish(ctx);
	close(pair.near);
	backend_end(ring);
}
END_TEST

/* ---- any descriptor */

START_TEST(an_event_that_was_asked_for_ends_it_and_no_other)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *urgent = fd_of(ring, pair.near, POLLPRI),
			   *readable = fd_of(ring, pair.near, POLLIN),
			   *either = fd_of(ring, pair.near, POLLIN | POLLPRI);

	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_end(ring, readable);
	await_end(ring, either);
	handle_what_came(ring);
	ck_assert_live(urgent);
	struct ctx_cause cause = cause_of(readable);
	ck_assert_int_eq(cause.kind, CTX_CAUSE_FD);
	ck_assert_int_eq(cause.code, POLLIN);
	char text[64];
	snprintf(text, sizeof(text), "descriptor %d is readable", pair.near);
	ck_assert_str_eq(cause.text, text);
	close(pair.far);
	await_end(ring, urgent);
	ck_assert(cause_of(urgent).code & POLLHUP);
	ctx_finish(urgent);
	ctx_finish(readable);
	ctx_finish(either);
	close(pair.near);
	backend_end(ring);
}
END_TEST

START_TEST(regular_files_and_bad_arguments_are_refused)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct ctx_context *ctx = (struct ctx_context *)1;
	const struct ctx_context *root = ctx_background();
	struct pair pair = pipe_new();
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), directory = open("/", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(ctx_with_fd(root, ring, file, POLLIN, NULL, &ctx), -EPERM);
	ck_assert_int_eq(ctx_with_fd(root, ring, directory, POLLIN, NULL, &ctx), -EPERM);
	ck_assert_int_eq(ctx_with_fd(root, ring, -1, POLLIN, NULL, &ctx), -EBADF);
	ck_assert_int_eq(ctx_with_fd(root, ring, 1 << 20, POLLIN, NULL, &ctx), -EBADF);
	ck_assert_int_eq(ctx_with_fd(NULL, ring, pair.near, POLLIN, NULL, &ctx), -EINVAL);
	ck_assert_int_eq(ctx_with_fd(root, ring, pair.near, POLLIN, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ctx_with_fd(root, ring, pair.near, (short)0x4000, NULL, &ctx), -EINVAL);
	ck_assert_int_eq(ctx_with_hangup(root, ring, pair.near, 0, NULL, &ctx), -ENOTSOCK);
	ck_assert_int_eq(ctx_with_hangup(root, ring, -1, 0, NULL, &ctx), -EBADF);
	ck_assert_int_eq(ctx_with_hangup(root, ring, pair.near, 1, NULL, &ctx), -EINVAL);
	ck_assert_int_eq(ctx_with_process(root, ring, pair.near, NULL, &ctx), -EBADF);
	ck_assert_int_eq(ctx_with_process(root, ring, directory, NULL, &ctx), -EBADF);
	ck_assert_int_eq(ctx_with_process(root, ring, -1, NULL, &ctx), -EBADF);
	ck_assert_ptr_eq(ctx, (struct ctx_context *)1);
	close(file);
	close(directory);
	pair_end(pair);
	backend_end(ring);
}
END_TEST

START_TEST(a_child_of_a_done_parent_is_born_done)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct ctx_context *parent = child_of(ctx_background()), *ctx;
	struct pair pair = pair_new();

	ck_assert_ok(ctx_cancel_cause(parent, -EPIPE, "before"));
	ck_assert_ok(ctx_with_hangup(parent, ring, pair.near, 0, NULL, &ctx));
	ck_assert_cancelled(ctx);
	ck_assert_int_eq(cause_of(ctx).error, -EPIPE);
	ctx_finish(ctx);
	ctx_finish(parent);
	pair_end(pair);
	backend_end(ring);
}
END_TEST

START_TEST(a_parent_that_ends_first_ends_the_watch)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct ctx_context *parent = child_of(ctx_background()), *ctx;
	struct pair pair = pair_new();

	ck_assert_ok(ctx_with_hangup(parent, ring, pair.near, 0, NULL, &ctx));
	ck_assert_ok(ctx_cancel(parent));
	ck_assert_cancelled(ctx);
	close(pair.far);
	handle_what_came(ring);
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_CALL);
	ctx_finish(ctx);
	ctx_finish(parent);
	close(pair.near);
	backend_end(ring);
}
END_TEST

/* ---- closed descriptors */

/*
 * Goal: who has lost its descriptor neither ends by the file that has its number now, nor takes that file's
 * watch away. Method: a stale watch, the number given to another socket, which is watched, and the stale one
 * released.
 */
START_TEST(a_number_that_was_reused_is_anothers)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair old = pair_new(), fresh = pair_new();
	struct ctx_context *stale = hangup_of(ring, old.near, 0), *bystander = hangup_of(ring, old.near, 0);

	ck_assert_int_eq(dup3(fresh.near, old.near, O_CLOEXEC), old.near);
	struct ctx_context *ctx = hangup_of(ring, old.near, 0);
	ctx_finish(stale);
	handle_what_came(ring);
	ck_assert_live(ctx);
	close(fresh.far);
	await_end(ring, ctx);
	/* A ring's poll holds the old file, whose peer has not gone; epoll has dropped it. */
	ck_assert_live(bystander);
	ctx_finish(ctx);
	ctx_finish(bystander);
	close(old.near);
	close(old.far);
	close(fresh.near);
	backend_end(ring);
}
END_TEST

START_TEST(a_lost_file_that_lives_on_elsewhere_still_tells_its_own)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair old = pair_new(), fresh = pair_new();
	struct ctx_context *ctx = hangup_of(ring, old.near, 0);
	int elsewhere = dup(old.near);

	ck_assert_int_eq(dup3(fresh.near, old.near, O_CLOEXEC), old.near);
	struct ctx_context *other = hangup_of(ring, old.near, 0);
	close(old.far);
	await_end(ring, ctx);
	ck_assert_live(other);
	/* Back at its old number. */
	ck_assert_int_eq(dup3(elsewhere, old.near, O_CLOEXEC), old.near);
	struct ctx_context *again = hangup_of(ring, old.near, 0);
	await_end(ring, again);
	ck_assert_live(other);
	ctx_finish(ctx);
	ctx_finish(other);
	ctx_finish(again);
	close(elsewhere);
	close(old.near);
	pair_end(fresh);
	backend_end(ring);
}
END_TEST

/* Goal: nothing of the library keeps a socket open. The peer sees the end of file when the program closes it.
 */
START_TEST(after_a_release_a_close_reaches_the_peer)
{
	struct ctx_ring *ring = backend_ring(_i);

	for (int ended = 0; ended < 2; ended++) {
		struct pair pair = tcp_new();
		struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
		struct pollfd poll_fd = {.fd = pair.far, .events = POLLIN};
		if (ended)
			ck_assert_ok(ctx_cancel(ctx));
		else
			ctx_unref(ctx);
		close(pair.near);
		if (ring)
			ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		ck_assert_int_eq(poll(&poll_fd, 1, 30000), 1);
		ck_assert_int_eq(read(pair.far, &(char){0}, 1), 0);
		close(pair.far);
		if (ended)
			ctx_unref(ctx);
	}
	backend_end(ring);
}
END_TEST

/* ---- races */

struct race {
	struct ctx_context *ctx;
	struct pair pair;
	pthread_barrier_t barrier;
	unsigned seed;
};

static void *close_peer(void *data)
{
	struct race *race = data;
	unsigned seed = race->seed;

	pthread_barrier_wait(&race->barrier);
	spin(&seed, 2000);
	close(race->pair.far);
	return NULL;
}

static void *end_by_hand(void *data)
{
	struct race *race = data;
	unsigned seed = race->seed + 1;

	pthread_barrier_wait(&race->barrier);
	spin(&seed, 2000);
	if (race->seed & 256)
		ctx_cancel(race->ctx);
	ctx_unref(race->ctx);
	return NULL;
}

START_TEST(events_race_with_cancels_and_releases)
{
	struct ctx_ring *ring = backend_ring(_i);
	unsigned seed = test_seed();

	for (unsigned turn = 0; turn < test_scaled(2000); turn++) {
		struct race race = {.pair = pair_new(), .seed = seed = seed * 1664525u + 1013904223u};
		pthread_t threads[2];
		race.ctx = hangup_of(ring, race.pair.near, 0);
		const struct ctx_context *kept = turn & 1 ? ctx_ref(race.ctx) : NULL;
		ck_assert_ok(pthread_barrier_init(&race.barrier, NULL, 2));
		ck_assert_ok(pthread_create(&threads[0], NULL, close_peer, &race));
		ck_assert_ok(pthread_create(&threads[1], NULL, end_by_hand, &race));
		if (ring)
			ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
		if (kept)
			await_end(ring, kept);
		ctx_unref(kept);
		close(race.pair.near);
		pthread_barrier_destroy(&race.barrier);
	}
	backend_end(ring);
}
END_TEST

#define CROWD 1000u

/* Goal: of a thousand connections that go at random, in bursts, each ends exactly its own. */
START_TEST(each_of_a_thousand_peers_ends_exactly_its_own)
{
	static struct ctx_context *contexts[CROWD];
	static struct pair pairs[CROWD];
	static unsigned order[CROWD];
	struct ctx_ring *ring = backend_ring(_i);
	unsigned seed = test_seed(), count = test_scaled(CROWD);

	raise_descriptor_limit();
	for (unsigned i = 0; i < count; i++) {
		pairs[i] = pair_new();
		contexts[i] = hangup_of(ring, pairs[i].near, i & 1 ? CTX_HANGUP_WHOLE : 0);
		order[i] = i;
	}
	for (unsigned i = count; i-- > 1;) {
		seed = seed * 1664525u + 1013904223u;
		unsigned other = (seed >> 8) % (i + 1), kept = order[i];
		order[i] = order[other];
		order[other] = kept;
	}
	for (unsigned done = 0; done < count;) {
		unsigned until = done + 1 + (seed = seed * 1664525u + 1013904223u, (seed >> 8) % 40);
		until = until < count ? until : count;
		for (unsigned i = done; i < until; i++)
			close(pairs[order[i]].far);
		for (unsigned i = done; i < until; i++)
			await_end(ring, contexts[order[i]]);
		done = until;
		for (unsigned i = 0; i < count; i++)
			ck_assert_int_eq(ctx_err(contexts[order[i]]), i < done ? -ECANCELED : 0);
	}
	for (unsigned i = 0; i < count; i++) {
		ctx_finish(contexts[i]);
		close(pairs[i].near);
	}
	backend_end(ring);
}
END_TEST

/* ---- processes */

static pid_t start_child(int status, int signo, int *ret_pidfd, int *ret_gate)
{
	struct pair gate = pipe_new();
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(gate.far);
		(void)!read(gate.near, &(char){0}, 1);
		if (signo)
			raise(signo);
		_exit(status);
	}
	close(gate.near);
	*ret_gate = gate.far;
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	ck_assert_int_ge(*ret_pidfd, 0);
	return pid;
}

START_TEST(a_process_that_ends_is_told_with_its_status_and_not_reaped)
{
	static const int signals[] = {0, SIGKILL};
	struct ctx_ring *ring = backend_ring(_i);

	for (int i = 0; i < 2; i++) {
		struct ctx_context *ctx;
		int pidfd, gate, status;
		char text[CTX_CAUSE_TEXT_MAX];
		pid_t pid = start_child(3, signals[i], &pidfd, &gate);
		ck_assert_ok(ctx_with_process(ctx_background(), ring, pidfd, "child", &ctx));
		close(pidfd);
		handle_what_came(ring);
		ck_assert_live(ctx);
		close(gate);
		await_end(ring, ctx);
		struct ctx_cause cause = cause_of(ctx);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(cause.kind, CTX_CAUSE_PROCESS);
		ck_assert_int_eq(cause.code, status);
		snprintf(text, sizeof(text),
			 i ? "process %d was killed by signal 9" : "process %d exited with status 3", pid);
		ck_assert_str_eq(cause.text, text);
		ctx_finish(ctx);
	}
	backend_end(ring);
}
END_TEST

START_TEST(a_process_that_was_reaped_before_ends_it_soon)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct ctx_context *ctx;
	int pidfd, gate;
	pid_t pid = start_child(3, 0, &pidfd, &gate);

	close(gate);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_ok(ctx_with_process(ctx_background(), ring, pidfd, NULL, &ctx));
	await_end(ring, ctx);
	/* Known from Linux 6.15 on. */
	if (cause_of(ctx).code != -1)
		ck_assert_int_eq(cause_of(ctx).code, 3 << 8);
	ctx_finish(ctx);
	close(pidfd);
	backend_end(ring);
}
END_TEST

/* Of a grandchild, which is not ours to wait for. */
START_TEST(a_strangers_status_is_told_to_whom_the_kernel_tells_it)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair numbers = pipe_new(), gate = pipe_new(), end = pipe_new();
	struct ctx_context *ctx;
	pid_t pid, child = fork();

	if (child == 0) {
		close(gate.far);
		close(end.far);
		pid = fork();
		if (pid == 0) {
			(void)!read(gate.near, &(char){0}, 1);
			_exit(5);
		}
		(void)!write(numbers.far, &pid, sizeof(pid));
		(void)!read(end.near, &(char){0}, 1);
		_exit(waitpid(pid, NULL, 0) == pid ? 0 : 1);
	}
	ck_assert_int_eq(read(numbers.near, &pid, sizeof(pid)), sizeof(pid));
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	ck_assert_ok(ctx_with_process(ctx_background(), ring, pidfd, NULL, &ctx));
	close(gate.far);
	await_end(ring, ctx);
	ck_assert_int_eq(cause_of(ctx).code, geteuid() == 0 ? 5 << 8 : -1);
	close(end.far);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ctx_finish(ctx);
	close(pidfd);
	close(gate.near);
	close(end.near);
	pair_end(numbers);
	backend_end(ring);
}
END_TEST

/* ---- adopted rings and other people's loops */

START_TEST(errors_have_words)
{
	static const enum ctx_cause_kind kinds[] = {CTX_CAUSE_HANGUP, CTX_CAUSE_FD, CTX_CAUSE_PROCESS,
						    CTX_CAUSE_SIGNAL, CTX_CAUSE_PRESSURE};
	char text[256];

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (int error = 0; error > -134; error--)
			ck_assert_int_gt(ctx_source_explain(kinds[i], error, text, sizeof(text)), 0);
	ctx_source_explain(CTX_CAUSE_PRESSURE, -EINVAL, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "multiple of 2 s"));
	ctx_source_explain(CTX_CAUSE_HANGUP, -ENOTSOCK, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "ctx_with_fd"));
	ck_assert_int_eq(ctx_source_explain(CTX_CAUSE_CALL, -EINVAL, text, sizeof(text)), -EINVAL);
	ck_assert_int_eq(ctx_source_explain(CTX_CAUSE_FD, -EINVAL, NULL, 1), -EINVAL);
	ck_assert_int_gt(ctx_source_explain(CTX_CAUSE_FD, -EINVAL, NULL, 0), 0);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("source");
	TCase *tests = source_case(suite, "everywhere");

	ON_EACH_BACKEND(tests, a_peer_that_closes_ends_it);
	ON_EACH_BACKEND(tests, half_a_hang_up_counts_by_default);
	ON_EACH_BACKEND(tests, a_tcp_peer_closes_by_halves_and_resets_wholly);
	ON_EACH_BACKEND(tests, a_client_that_half_closes_is_gone_or_has_its_answer);
	ON_EACH_BACKEND(tests, one_that_has_hung_up_before_ends_it_in_a_dispatch_not_in_the_call);
	ON_EACH_BACKEND(tests, an_event_that_was_asked_for_ends_it_and_no_other);
	ON_EACH_BACKEND(tests, regular_files_and_bad_arguments_are_refused);
	ON_EACH_BACKEND(tests, a_child_of_a_done_parent_is_born_done);
	ON_EACH_BACKEND(tests, a_parent_that_ends_first_ends_the_watch);
	ON_EACH_BACKEND(tests, a_number_that_was_reused_is_anothers);
	ON_EACH_BACKEND(tests, a_lost_file_that_lives_on_elsewhere_still_tells_its_own);
	ON_EACH_BACKEND(tests, after_a_release_a_close_reaches_the_peer);
	ON_EACH_BACKEND(tests, events_race_with_cancels_and_releases);
	ON_EACH_BACKEND(tests, each_of_a_thousand_peers_ends_exactly_its_own);
	ON_EACH_BACKEND(tests, a_process_that_ends_is_told_with_its_status_and_not_reaped);
	ON_EACH_BACKEND(tests, a_process_that_was_reaped_before_ends_it_soon);
	ON_EACH_BACKEND(tests, a_strangers_status_is_told_to_whom_the_kernel_tells_it);
	tcase_add_test(tests, errors_have_words);
	return suite;
}
