/* SPDX-License-Identifier: MIT */
/* Contexts that end with a peer, a descriptor or a process; whoever watches, and whatever happens meanwhile.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "support/sources.h"
#include "poller.h"

/* Under ThreadSanitizer only the poller's: see backends_here(). */
TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

static struct ctx_context *hangup_of(struct ctx_ring *ring, int fd, unsigned flags)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_hangup(ctx_background(), ring, fd, flags, "peer", &ctx));
	ck_assert_ptr_nonnull(ctx);
	return ctx;
}

static struct ctx_context *fd_of(struct ctx_ring *ring, int fd, short events)
{
	struct ctx_context *ctx = NULL;

	ck_assert_ok(ctx_with_fd(ctx_background(), ring, fd, events, "fd", &ctx));
	ck_assert_ptr_nonnull(ctx);
	return ctx;
}

/* Lets whatever has come be handled. */
static void settle(struct ctx_ring *ring)
{
	struct pair pair = pipe_new();
	struct ctx_context *ctx = fd_of(ring, pair.near, POLLIN);

	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_end(ring, ctx);
	ctx_finish(ctx);
	pair_end(pair);
}

/* ---- hang-ups */

START_TEST(a_peer_that_closes_ends_it)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0), *below = child_of(ctx);

	settle(ring);
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
	settle(ring);
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
	settle(ring);
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
	settle(ring);
	ck_assert_live(waits);
	ck_assert_int_eq(read(patient.near, text, sizeof(text)), 6);
	settle(ring);
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
	settle(ring);
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
	settle(ring);
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
	settle(ring);
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
		ck_assert_int_eq(poll(&poll_fd, 1, 10000), 1);
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
		settle(ring);
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

/* ---- callbacks, forks */

static void note_thread(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	__atomic_store_n((pid_t *)data, gettid(), __ATOMIC_RELEASE);
}

static bool is_noted(void *data)
{
	return __atomic_load_n((pid_t *)data, __ATOMIC_ACQUIRE) != 0;
}

/* On a ring in its dispatch; else on the worker, so that a slow one delays no other event. */
START_TEST(callbacks_run_in_the_dispatch_or_on_the_worker)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	struct ctx_callback callback = {0};
	pid_t where = 0;

	ck_assert_ok(ctx_callback_add(ctx, &callback, note_thread, &where, NULL));
	close(pair.far);
	await_end(ring, ctx);
	ck_assert(test_until(is_noted, &where));
	if (ring)
		ck_assert_int_eq(where, gettid());
	else
		ck_assert_int_ne(where, gettid());
	ctx_finish(ctx);
	close(pair.near);
	backend_end(ring);
}
END_TEST

struct forked {
	struct ctx_context *ctx;
	struct pair pair;
};

static int watch_anew(void *data)
{
	struct forked *forked = data;
	struct pair pair = pair_new();
	struct ctx_context *ctx;

	if (ctx_with_hangup(ctx_background(), NULL, pair.near, 0, NULL, &ctx))
		return 1;
	close(pair.far);
	if (ctx_wait(ctx, SOON))
		return 2;
	/* The inherited one is watched by nobody, and goes without touching the parent's. */
	if (ctx_err(forked->ctx))
		return 3;
	ctx_finish(forked->ctx);
	ctx_finish(ctx);
	close(forked->pair.far);
	return 0;
}

START_TEST(a_forked_child_has_a_poller_of_its_own)
{
	struct ctx_ring *ring = backend_ring(_i);
	struct forked forked = {.pair = pair_new()};

	forked.ctx = hangup_of(ring, forked.pair.near, 0);
	/* The library's threads have come to rest: AddressSanitizer's allocator may be locked by one that
	 * starts. */
	struct ctx_context *timed = timed_child_of(ctx_background(), MILLISECOND);
	ck_assert_ok(ctx_wait(timed, SOON));
	ctx_finish(timed);
	settle(ring);
	ck_assert_int_eq(test_in_child(watch_anew, &forked), 0);
	settle(ring);
	ck_assert_live(forked.ctx);
	close(forked.pair.far);
	await_end(ring, forked.ctx);
	ctx_finish(forked.ctx);
	close(forked.pair.near);
	backend_end(ring);
}
END_TEST

static void nothing_gone(struct poller_entry *watched)
{
	(void)watched;
}

static void nothing_ready(struct poller_entry *watched, uint32_t events)
{
	(void)watched;
	(void)events;
}

static int stop_twice(void *data)
{
	struct poller_entry *watched = data;

	/* Who gets true frees it: that is one. */
	return poller_stop(watched) && !poller_stop(watched) ? 0 : 1;
}

/* Goal: a cancel in one thread of a forked child and a release in another do not both free the source. */
START_TEST(an_inherited_watch_is_stopped_by_one)
{
	struct pair pair = pair_new();
	struct poller_entry watched = {
		.fd = pair.near, .events = POLLIN, .ready = nothing_ready, .gone = nothing_gone};

	ck_assert_ok(poller_add(&watched));
	ck_assert_int_eq(test_in_child(stop_twice, &watched), 0);
	ck_assert(poller_stop(&watched));
	ck_assert(!poller_stop(&watched));
	pair_end(pair);
}
END_TEST

/* ---- rings: the poll is no operation of the program's */

START_TEST(a_ring_counts_drains_and_runs_as_if_there_were_no_watch)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);

	ck_assert_uint_eq(test_count_operations(), 0);
	ck_assert_ok(ctx_ring_run(ring, NULL));
	ck_assert_ok(ctx_ring_drain(ring, ctx, 0, NULL, 0, NULL));
	ck_assert_ok(ctx_ring_drain(ring, ctx_background(), 0, NULL, 0, NULL));
	ck_assert_live(ctx);
	ring_end(ring);
	/* Nobody watches it any more. */
	close(pair.far);
	ck_assert_live(ctx);
	ck_assert_ok(ctx_cancel(ctx));
	ctx_unref(ctx);
	close(pair.near);
}
END_TEST

/* An event that draining meets is kept for the next dispatch: drain calls nobody. */
START_TEST(draining_ends_no_context)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new(), busy = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	struct probe probe;
	char sink[1];

	probe_recv(ring, ctx_background(), &probe, busy.near, sink, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	close(pair.far);
	ck_assert_int_eq(ctx_ring_drain(ring, ctx_background(), 20 * MILLISECOND, NULL, 0, NULL), -ETIMEDOUT);
	ck_assert_live(ctx);
	await_end(ring, ctx);
	ck_assert_int_eq(write(busy.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ctx_finish(ctx);
	ring_end(ring);
	pair_end(busy);
	close(pair.near);
}
END_TEST

START_TEST(a_run_until_a_source_ends_with_it)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);
	struct probe probe;
	char sink[1];

	probe_recv(ring, ctx, &probe, pair.near, sink, 1);
	ck_assert_ok(shutdown(pair.far, SHUT_RD));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	close(pair.far);
	ck_assert_ok(ctx_ring_run(ring, ctx));
	await_probes(ring, &probe, 1);
	ck_assert_cancelled(ctx);
	ctx_finish(ctx);
	ring_end(ring);
	close(pair.near);
}
END_TEST

static void *make_here(void *ring)
{
	struct ctx_context *ctx;
	struct pair pair = pair_new();
	intptr_t result = ctx_with_hangup(ctx_background(), ring, pair.near, 0, NULL, &ctx);

	pair_end(pair);
	return (void *)result;
}

START_TEST(only_the_owner_makes_one_on_a_ring)
{
	struct ctx_ring *ring = ring_of(_i);
	pthread_t thread;
	void *result;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(pthread_create(&thread, NULL, make_here, ring));
	pthread_join(thread, &result);
	ck_assert_int_eq((intptr_t)result, -EPERM);
	ring_end(ring);
}
END_TEST

/* More than the queue has room for, and more than one table of polls. */
START_TEST(many_on_a_small_ring)
{
	struct ctx_ring *ring = ring_with(_i, 2, NULL);
	struct ctx_context *contexts[100];
	struct pair pairs[100];

	for (int i = 0; i < 100; i++) {
		pairs[i] = pair_new();
		contexts[i] = hangup_of(ring, pairs[i].near, 0);
	}
	for (int i = 0; i < 100; i++)
		close(pairs[i].far);
	for (int i = 0; i < 100; i++)
		await_end(ring, contexts[i]);
	for (int i = 0; i < 100; i++) {
		ctx_finish(contexts[i]);
		close(pairs[i].near);
	}
	ring_end(ring);
}
END_TEST

/* ---- adopted rings and other people's loops */

START_TEST(in_an_adopted_ring_the_watch_is_internal)
{
	struct io_uring uring;
	struct ctx_ring *ring;
	struct pair pair = pair_new(), idle = pair_new();
	struct io_uring_cqe *cqe;

	ck_assert_ok(io_uring_queue_init(8, &uring, setup_flags_of(_i)));
	ck_assert_ok(ctx_ring_adopt(&uring, NULL, &ring));
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0), *released = hangup_of(ring, idle.near, 0);
	close(pair.far);
	while (!ctx_err(ctx)) {
		ck_assert_ok(io_uring_wait_cqe(&uring, &cqe));
		ck_assert_int_eq(ctx_ring_filter(ring, cqe, NULL, NULL), CTX_FILTER_INTERNAL);
		io_uring_cqe_seen(&uring, cqe);
	}
	ck_assert_int_eq(cause_of(ctx).kind, CTX_CAUSE_HANGUP);
	/* A loop that waits for completions learns of the release, and lets the file go. */
	ctx_unref(released);
	close(idle.near);
	struct pollfd poll_fd = {.fd = idle.far, .events = POLLIN};
	uint64_t end_ns = clock_now_ns() + SOON;
	while (poll(&poll_fd, 1, 0) == 0) {
		struct __kernel_timespec moment = {.tv_nsec = MILLISECOND};
		ck_assert_uint_lt(clock_now_ns(), end_ns);
		if (io_uring_wait_cqe_timeout(&uring, &cqe, &moment))
			continue;
		ck_assert_int_eq(ctx_ring_filter(ring, cqe, NULL, NULL) == CTX_FILTER_OP, 0);
		io_uring_cqe_seen(&uring, cqe);
	}
	struct ctx_context *left = hangup_of(ring, idle.far, 0);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	/* Nothing of ours is left in it: what comes is the program's. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
	io_uring_prep_nop(sqe);
	sqe->user_data = 1;
	ck_assert_int_eq(io_uring_submit_and_wait(&uring, 1), 1);
	unsigned head, ours = 0;
	io_uring_for_each_cqe(&uring, head, cqe) ours += cqe->user_data >> 48 == 0xc781;
	ck_assert_uint_eq(ours, 0);
	io_uring_queue_exit(&uring);
	ctx_finish(left);
	ctx_finish(ctx);
	close(pair.near);
	close(idle.far);
}
END_TEST

START_TEST(an_outer_loop_is_woken_by_the_event)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	struct pollfd poll_fd = {.fd = ctx_ring_fd(ring), .events = POLLIN};
	struct ctx_context *ctx = hangup_of(ring, pair.near, 0);

	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	close(pair.far);
	while (!ctx_err(ctx)) {
		ck_assert_int_eq(poll(&poll_fd, 1, 20000), 1);
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
	ctx_finish(ctx);
	ring_end(ring);
	close(pair.near);
}
END_TEST

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
	ON_EACH_BACKEND(tests, callbacks_run_in_the_dispatch_or_on_the_worker);
	ON_EACH_BACKEND(tests, a_forked_child_has_a_poller_of_its_own);
	tcase_add_test(tests, an_inherited_watch_is_stopped_by_one);
	tcase_add_test(tests, errors_have_words);
	if (test_mode() == TEST_TSAN)
		return suite;
	TCase *rings = test_case_ring(suite, "rings");
	tcase_add_checked_fixture(rings, warm_poller, NULL);
	ON_EACH_RING(rings, a_ring_counts_drains_and_runs_as_if_there_were_no_watch);
	ON_EACH_RING(rings, draining_ends_no_context);
	ON_EACH_RING(rings, a_run_until_a_source_ends_with_it);
	ON_EACH_RING(rings, only_the_owner_makes_one_on_a_ring);
	ON_EACH_RING(rings, many_on_a_small_ring);
	ON_EACH_RING(rings, in_an_adopted_ring_the_watch_is_internal);
	ON_EACH_RING(rings, an_outer_loop_is_woken_by_the_event);
	return suite;
}
