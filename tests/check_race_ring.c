/* SPDX-License-Identifier: MIT */
/*
 * Operations that end by themselves at the moment they are cancelled, 10,000 of each kind.
 *
 * In each round WIDTH operations wait under one context. A second thread brings about
 * their ends one after the other while the first cancels: the context, or each operation;
 * or the second thread cancels the context in the middle of it. Whatever happens, each
 * operation has exactly one final completion, it is a result or -ECANCELED, and what
 * a cancelled one did not take is still there. Both outcomes must have been seen.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "support/rings.h"
#include "sys.h"

#define WIDTH 50u
#define ROUNDS 200u

#define OPCODE_WAITID 50
#define OPCODE_FUTEX_WAIT 51

struct race {
	const struct race_kind *kind;
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct probe probes[WIDTH];
	struct pair pairs[WIDTH];
	char buffers[WIDTH][16];
	uint32_t words[WIDTH];
	int made[WIDTH]; /* descriptors of a round, -1: none */
	struct __kernel_timespec times[WIDTH];
	siginfo_t infos[WIDTH];
	int listener, fd;
	pid_t child;
	struct sockaddr_un address;
	socklen_t address_size;
	unsigned seed, seed_other;
	unsigned cancel_at; /* where the second thread cancels the context; WIDTH: it does not */
	bool stop;
	pthread_barrier_t barrier;
	pthread_t thread;
	unsigned finished, cancelled;
};

struct race_kind {
	const char *name;
	void (*open)(struct race *race);
	void (*round)(struct race *race); /* before each */
	void (*start)(struct race *race, struct io_uring_sqe *sqe, unsigned i);
	void (*end)(struct race *race, unsigned i); /* on the second thread; NULL: they end by themselves */
	/* After each round: whether i finished with res, or was cancelled. */
	void (*check)(struct race *race, unsigned i, bool finished, int res);
	void (*done)(struct race *race); /* after each round */
	void (*close)(struct race *race);
	int finished_res; /* the result of one that finished; 1: any that is not negative */
	unsigned flags;	  /* IOSQE_* */
	int opcode;	  /* that the kernel may lack; 0: none */
};

/* ---- recv, read of a pipe */

static void open_pairs(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++)
		race->pairs[i] = pair_new();
}

static void open_pipes(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++) {
		race->pairs[i] = pipe_new();
		ck_assert_ok(fcntl(race->pairs[i].near, F_SETFL, 0));
	}
}

static void close_pairs(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++)
		pair_end(race->pairs[i]);
}

static void start_recv(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	io_uring_prep_recv(sqe, race->pairs[i].near, race->buffers[i], 8, 0);
}

static void start_read(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	io_uring_prep_read(sqe, race->pairs[i].near, race->buffers[i], 8, 0);
}

static void end_by_byte(struct race *race, unsigned i)
{
	ck_assert_int_eq(write(race->pairs[i].far, "x", 1), 1);
}

/* The byte is either delivered or still there: never both, never lost. */
static void check_byte(struct race *race, unsigned i, bool finished, int res)
{
	struct pollfd fd = {.fd = race->pairs[i].near, .events = POLLIN};
	char byte;

	if (finished)
		ck_assert_int_eq(res, 1);
	ck_assert_int_eq(poll(&fd, 1, 0), finished ? 0 : 1);
	if (!finished)
		ck_assert_int_eq(read(race->pairs[i].near, &byte, 1), 1);
}

/* ---- poll and read of an eventfd */

static void open_eventfds(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++)
		race->pairs[i].near = eventfd(0, EFD_CLOEXEC);
}

static void close_eventfds(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++)
		close(race->pairs[i].near);
}

static void start_poll(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	io_uring_prep_poll_add(sqe, race->pairs[i].near, POLLIN);
}

static void end_by_event(struct race *race, unsigned i)
{
	ck_assert_ok(eventfd_write(race->pairs[i].near, 1));
}

static void check_poll(struct race *race, unsigned i, bool finished, int res)
{
	eventfd_t count;

	if (finished)
		ck_assert_int_eq(res, POLLIN);
	ck_assert_ok(eventfd_read(race->pairs[i].near, &count));
}

static void check_event(struct race *race, unsigned i, bool finished, int res)
{
	struct pollfd fd = {.fd = race->pairs[i].near, .events = POLLIN};
	eventfd_t count;

	if (finished)
		ck_assert_int_eq(res, 8);
	ck_assert_int_eq(poll(&fd, 1, 0), finished ? 0 : 1);
	if (!finished)
		ck_assert_ok(eventfd_read(race->pairs[i].near, &count));
}

/* ---- accept and connect, on unix sockets */

static void listen_with(struct race *race, int backlog)
{
	race->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	race->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(race->listener, 0);
	/* Without a name the kernel finds a free abstract one. */
	ck_assert_ok(bind(race->listener, (struct sockaddr *)&race->address, sizeof(sa_family_t)));
	ck_assert_ok(listen(race->listener, backlog));
	race->address_size = sizeof(race->address);
	ck_assert_ok(getsockname(race->listener, (struct sockaddr *)&race->address, &race->address_size));
}

static void open_listener(struct race *race)
{
	listen_with(race, 2 * WIDTH);
}

static void close_listener(struct race *race)
{
	close(race->listener);
}

static void no_descriptors(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++)
		race->made[i] = -1;
}

static void start_accept(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	(void)i;
	io_uring_prep_accept(sqe, race->listener, NULL, NULL, SOCK_CLOEXEC);
}

static int connect_now(struct race *race)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(connect(fd, (struct sockaddr *)&race->address, race->address_size));
	return fd;
}

static void end_by_connect(struct race *race, unsigned i)
{
	race->made[i] = connect_now(race);
}

static void check_fd(struct race *race, unsigned i, bool finished, int res)
{
	(void)race;
	(void)i;
	if (finished)
		ck_assert_ok(close(res));
}

static unsigned accept_the_rest(int listener)
{
	unsigned count = 0;

	for (struct pollfd fd = {.fd = listener, .events = POLLIN}; poll(&fd, 1, 0) == 1; count++)
		ck_assert_ok(close(accept(listener, NULL, NULL)));
	return count;
}

/* Each connection was delivered or waits in the listener. */
static void done_accept(struct race *race)
{
	unsigned finished = 0;

	for (unsigned i = 0; i < WIDTH; i++) {
		finished += race->probes[i].last.res >= 0;
		close(race->made[i]);
	}
	ck_assert_uint_eq(finished + accept_the_rest(race->listener), WIDTH);
}

/* Others wait in the queue already, so that a connect blocks until one is accepted. */
static void open_full_listener(struct race *race)
{
	listen_with(race, 0);
	race->fd = connect_now(race);
}

static void start_connect(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	race->made[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	io_uring_prep_connect(sqe, race->made[i], (struct sockaddr *)&race->address, race->address_size);
}

static void end_by_accept(struct race *race, unsigned i)
{
	struct pollfd fd = {.fd = race->listener, .events = POLLIN};

	(void)i;
	if (poll(&fd, 1, 0) == 1)
		ck_assert_ok(close(accept(race->listener, NULL, NULL)));
}

static void done_connect(struct race *race)
{
	for (unsigned i = 0; i < WIDTH; i++)
		close(race->made[i]);
	accept_the_rest(race->listener);
	close(race->fd);
	race->fd = connect_now(race);
}

static void close_full_listener(struct race *race)
{
	close(race->fd);
	close(race->listener);
}

/* ---- what ends by itself: a timeout, an open and a read of a file in a worker */

static void start_timeout(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	spin(&race->seed, 0);
	race->times[i] = (struct __kernel_timespec){.tv_nsec = (long long)((race->seed >> 8) % 200000)};
	io_uring_prep_timeout(sqe, &race->times[i], 0, 0);
}

static void start_openat(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	(void)race;
	(void)i;
	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
}

static void open_file(struct race *race)
{
	race->fd = memfd_create("race", MFD_CLOEXEC);
	ck_assert_int_eq(write(race->fd, "0123456789", 10), 10);
}

static void start_file_read(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	io_uring_prep_read(sqe, race->fd, race->buffers[i], 10, 0);
}

static void check_file_read(struct race *race, unsigned i, bool finished, int res)
{
	if (finished) {
		ck_assert_int_eq(res, 10);
		ck_assert_int_eq(memcmp(race->buffers[i], "0123456789", 10), 0);
	}
}

static void close_file(struct race *race)
{
	close(race->fd);
}

/* ---- futex and waitid */

static void start_futex(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	race->words[i] = 0;
	io_uring_prep_nop(sqe);
	sqe->opcode = OPCODE_FUTEX_WAIT;
	sqe->fd = 2 | 128; /* FUTEX2_SIZE_U32 | FUTEX2_PRIVATE */
	sqe->addr = (uint64_t)(uintptr_t)&race->words[i];
	sqe->addr2 = 0;
	sqe->addr3 = 0xffffffff;
}

static void end_by_futex(struct race *race, unsigned i)
{
	__atomic_store_n(&race->words[i], 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &race->words[i], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

/* One child, that all wait for without reaping it. */
static void round_child(struct race *race)
{
	race->child = fork();
	if (race->child == 0) {
		pause();
		_exit(0);
	}
	ck_assert_int_gt(race->child, 0);
}

static void start_waitid(struct race *race, struct io_uring_sqe *sqe, unsigned i)
{
	io_uring_prep_nop(sqe);
	sqe->opcode = OPCODE_WAITID;
	sqe->fd = race->child;
	sqe->len = P_PID;
	sqe->file_index = WEXITED | WNOWAIT;
	sqe->addr2 = (uint64_t)(uintptr_t)&race->infos[i];
}

static void end_by_kill(struct race *race, unsigned i)
{
	if (i == WIDTH / 2)
		ck_assert_ok(kill(race->child, SIGKILL));
}

static void done_child(struct race *race)
{
	ck_assert_int_eq(waitpid(race->child, NULL, 0), race->child);
}

static const struct race_kind kinds[] = {
	{.name = "poll",
	 .open = open_eventfds,
	 .start = start_poll,
	 .end = end_by_event,
	 .check = check_poll,
	 .close = close_eventfds,
	 .finished_res = 1},
	{.name = "recv",
	 .open = open_pairs,
	 .start = start_recv,
	 .end = end_by_byte,
	 .check = check_byte,
	 .close = close_pairs,
	 .finished_res = 1},
	{.name = "recv in a worker",
	 .open = open_pairs,
	 .start = start_recv,
	 .end = end_by_byte,
	 .check = check_byte,
	 .close = close_pairs,
	 .finished_res = 1,
	 .flags = IOSQE_ASYNC},
	{.name = "read of a pipe",
	 .open = open_pipes,
	 .start = start_read,
	 .end = end_by_byte,
	 .check = check_byte,
	 .close = close_pairs,
	 .finished_res = 1},
	{.name = "read of an eventfd",
	 .open = open_eventfds,
	 .start = start_read,
	 .end = end_by_event,
	 .check = check_event,
	 .close = close_eventfds,
	 .finished_res = 1},
	{.name = "accept",
	 .open = open_listener,
	 .round = no_descriptors,
	 .start = start_accept,
	 .end = end_by_connect,
	 .check = check_fd,
	 .done = done_accept,
	 .close = close_listener,
	 .finished_res = 1},
	{.name = "connect",
	 .open = open_full_listener,
	 .round = no_descriptors,
	 .start = start_connect,
	 .end = end_by_accept,
	 .done = done_connect,
	 .close = close_full_listener,
	 .finished_res = 1},
	{.name = "timeout", .start = start_timeout, .finished_res = -ETIME},
	{.name = "openat", .start = start_openat, .check = check_fd, .finished_res = 1, .flags = IOSQE_ASYNC},
	{.name = "read of a file",
	 .open = open_file,
	 .start = start_file_read,
	 .check = check_file_read,
	 .close = close_file,
	 .finished_res = 1,
	 .flags = IOSQE_ASYNC},
	{.name = "futex wait",
	 .start = start_futex,
	 .end = end_by_futex,
	 .finished_res = 1,
	 .opcode = OPCODE_FUTEX_WAIT},
	{.name = "waitid",
	 .round = round_child,
	 .start = start_waitid,
	 .end = end_by_kill,
	 .done = done_child,
	 .finished_res = 1,
	 .opcode = OPCODE_WAITID},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- the rounds */

static void *second_thread(void *data)
{
	struct race *race = data;

	for (;;) {
		pthread_barrier_wait(&race->barrier);
		if (race->stop)
			return NULL;
		spin(&race->seed_other, 20000);
		for (unsigned i = 0; i < WIDTH; i++) {
			if (i == race->cancel_at)
				ctx_cancel(race->ctx);
			if (race->kind->end)
				race->kind->end(race, i);
			spin(&race->seed_other, 300);
		}
		pthread_barrier_wait(&race->barrier);
	}
}

static void cancel_by(struct race *race, unsigned how)
{
	spin(&race->seed, 40000);
	if (how == 0)
		ck_assert_ok(ctx_cancel(race->ctx));
	else if (how == 1)
		for (unsigned i = 0; i < WIDTH; i++)
			ctx_op_cancel(race->ring, &race->probes[i].op);
}

static void one_round(struct race *race, unsigned how)
{
	const struct race_kind *kind = race->kind;

	race->ctx = child_of(ctx_background());
	race->cancel_at = how == 2 ? (race->seed >> 8) % WIDTH : WIDTH;
	if (kind->round)
		kind->round(race);
	for (unsigned i = 0; i < WIDTH; i++) {
		struct io_uring_sqe *sqe = probe_start(race->ring, race->ctx, &race->probes[i]);
		kind->start(race, sqe, i);
		sqe->flags |= (uint8_t)kind->flags;
	}
	ck_assert_int_eq(ctx_ring_submit(race->ring), WIDTH);
	pthread_barrier_wait(&race->barrier);
	cancel_by(race, how);
	await_probes(race->ring, race->probes, WIDTH);
	pthread_barrier_wait(&race->barrier);
	for (unsigned i = 0; i < WIDTH; i++) {
		const struct ctx_completion *last = &race->probes[i].last;
		bool finished = last->end == CTX_OP_FINISHED;
		ck_assert_int_eq(finished, last->res != -ECANCELED);
		if (finished && kind->finished_res == 1)
			ck_assert_int_ge(last->res, 0);
		else if (finished)
			ck_assert_int_eq(last->res, kind->finished_res);
		race->finished += finished;
		race->cancelled += !finished;
		if (kind->check)
			kind->check(race, i, finished, last->res);
	}
	if (kind->done)
		kind->done(race);
	ctx_finish(race->ctx);
}

static void run_race(const struct race_kind *kind, int ring_kind)
{
	static struct race race;
	unsigned rounds = test_scaled(ROUNDS);

	race = (struct race){.kind = kind, .seed = test_seed()};
	race.seed_other = race.seed ^ 0x5bd1e995;
	race.ring = ring_of(ring_kind);
	/* The ring is used before the probe, which a disabled one would refuse. */
	ck_assert_int_eq(ctx_ring_dispatch(race.ring, 0), 0);
	if (kind->opcode && !kernel_has(race.ring, kind->opcode))
		test_skip("this kernel lacks the operation");
	if (kind->open)
		kind->open(&race);
	ck_assert_ok(pthread_barrier_init(&race.barrier, NULL, 2));
	ck_assert_ok(pthread_create(&race.thread, NULL, second_thread, &race));
	for (unsigned i = 0; i < rounds || (!(race.finished && race.cancelled) && i < 20 * ROUNDS); i++)
		one_round(&race, i % 3);
	race.stop = true;
	pthread_barrier_wait(&race.barrier);
	ck_assert_ok(pthread_join(race.thread, NULL));
	pthread_barrier_destroy(&race.barrier);
	if (kind->close)
		kind->close(&race);
	ring_end(race.ring);
	ck_assert_msg(race.finished && race.cancelled, "%s: %u finished, %u cancelled", kind->name,
		      race.finished, race.cancelled);
}

START_TEST(an_operation_and_its_cancel_have_one_outcome)
{
	run_race(&kinds[_i], RING_ORDINARY);
}
END_TEST

START_TEST(an_operation_that_parks_and_its_cancel_have_one_outcome)
{
	run_race(&kinds[_i], RING_PARKING);
}
END_TEST

START_TEST(an_operation_that_parks_and_its_cancel_have_one_outcome_on_a_defer_ring)
{
	run_race(&kinds[_i], RING_PARKING_DEFER);
}
END_TEST

START_TEST(an_operation_and_its_cancel_have_one_outcome_on_a_defer_ring)
{
	run_race(&kinds[_i], RING_DEFER);
}
END_TEST

/* ---- deadline against completion */

START_TEST(a_deadline_at_the_moment_of_completion_has_one_outcome)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	unsigned seed = test_seed(), finished = 0, expired = 0;
	char byte;

	for (unsigned i = 0; i < test_scaled(2000) || (!(finished && expired) && i < 20000); i++) {
		struct ctx_context *ctx = timed_child_of(ctx_background(), 60000);
		struct probe probe;

		probe_recv(ring, ctx, &probe, pair.near, &byte, 1);
		ctx_ring_submit(ring);
		/* Either before the deadline or behind it. */
		uint64_t at_ns = ctx_deadline_ns(ctx) - 20000;
		spin(&seed, 0);
		/* Where only its owner's entries let the kernel act, the owner must sometimes enter before
		 * the data is there. */
		for (at_ns += (seed >> 8) % 40000; clock_now_ns() < at_ns;)
			if (i % 2)
				ctx_ring_dispatch(ring, 0);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_probes(ring, &probe, 1);
		if (probe.last.res == 1) {
			ck_assert_int_eq(probe.last.end, CTX_OP_FINISHED);
			finished++;
		} else {
			ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
			ck_assert_expired(ctx);
			ck_assert_int_eq(read(pair.near, &byte, 1), 1);
			expired++;
		}
		ctx_finish(ctx);
	}
	ck_assert(finished && expired);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* ---- accepted descriptors */

#define ACCEPTS 1500u

struct connector {
	struct race race;
	int fds[ACCEPTS];
	pthread_t thread;
};

static void *connect_all(void *data)
{
	struct connector *connector = data;

	for (unsigned i = 0; i < ACCEPTS; i++) {
		connector->fds[i] = connect_now(&connector->race);
		spin(&connector->race.seed, 500);
	}
	return NULL;
}

/*
 * Goal: of 1,500 accepts that race with their cancellation, the descriptors that are delivered,
 * closed by the flag or never made are all, and nothing else is open afterwards.
 */
START_TEST(racing_accepts_leak_no_descriptor)
{
	static struct connector connector;
	static struct probe probes[ACCEPTS];
	unsigned delivered = 0, before, left;

	raise_descriptor_limit();
	connector.race.seed = test_seed();
	struct ctx_ring *ring = ring_with(_i, 256, NULL);
	struct ctx_context *ctx = child_of(ctx_background());
	listen_with(&connector.race, 4096);
	before = test_count_fds();
	for (unsigned i = 0; i < ACCEPTS; i++) {
		io_uring_prep_accept(probe_start(ring, ctx, &probes[i]), connector.race.listener, NULL, NULL,
				     SOCK_CLOEXEC);
		ck_assert_ok(ctx_op_set_flags(&probes[i].op, CTX_OP_CLOSE_FD));
	}
	ck_assert_int_eq(ctx_ring_submit(ring), ACCEPTS);
	ck_assert_ok(pthread_create(&connector.thread, NULL, connect_all, &connector));
	/* Some are delivered before the cancel, some are in the queue at its moment. */
	while (!probes[ACCEPTS / 4].finals)
		ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
	ck_assert_ok(ctx_cancel(ctx));
	await_probes(ring, probes, ACCEPTS);
	ck_assert_ok(pthread_join(connector.thread, NULL));
	for (unsigned i = 0; i < ACCEPTS; i++) {
		if (probes[i].last.res < 0) {
			ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
			continue;
		}
		ck_assert_int_eq(probes[i].last.end, CTX_OP_FINISHED);
		delivered++;
		ck_assert_ok(close(probes[i].last.res));
	}
	left = accept_the_rest(connector.race.listener);
	for (unsigned i = 0; i < ACCEPTS; i++)
		close(connector.fds[i]);
	ck_assert_uint_ge(delivered, ACCEPTS / 4);
	ck_assert_uint_le(delivered + left, ACCEPTS);
	ck_assert_uint_eq(test_count_fds(), before);
	close(connector.race.listener);
	ring_end(ring);
	ctx_finish(ctx);
}
END_TEST

/* ---- from another thread */

struct canceller {
	struct ctx_context *ctx;
	unsigned seed;
	uint32_t go;
};

static void *cancel_soon(void *data)
{
	struct canceller *canceller = data;

	while (!__atomic_load_n(&canceller->go, __ATOMIC_ACQUIRE))
		;
	spin(&canceller->seed, 60000);
	ctx_cancel(canceller->ctx);
	return NULL;
}

/* Goal: a cancel is not lost between the owner's last look and its wait in the kernel. */
START_TEST(a_cancel_by_another_thread_reaches_an_owner_that_is_about_to_wait)
{
	struct ctx_ring *ring = ring_of(_i);
	struct pair pair = pair_new();
	unsigned seed = test_seed();
	char buffer[8];

	for (unsigned i = 0; i < test_scaled(2000); i++) {
		struct canceller canceller = {.ctx = child_of(ctx_background()), .seed = seed + i};
		struct probe probe;
		pthread_t thread;

		ck_assert_ok(pthread_create(&thread, NULL, cancel_soon, &canceller));
		probe_recv(ring, canceller.ctx, &probe, pair.near, buffer, sizeof(buffer));
		__atomic_store_n(&canceller.go, 1, __ATOMIC_RELEASE);
		spin(&seed, 60000);
		for (uint64_t start = clock_now_ns(); !probe.finals;) {
			ck_assert_int_ge(ctx_ring_dispatch(ring, SOON), 0);
			ck_assert_uint_lt(clock_now_ns() - start, SOON);
		}
		ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_ok(pthread_join(thread, NULL));
		ctx_finish(canceller.ctx);
	}
	ring_end(ring);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("race_ring");
	TCase *outcomes = test_case_ring(suite, "outcomes"), *others = test_case_ring(suite, "others");

	tcase_add_loop_test(outcomes, an_operation_and_its_cancel_have_one_outcome, 0, KINDS);
	tcase_add_loop_test(outcomes, an_operation_that_parks_and_its_cancel_have_one_outcome, 0, KINDS);
	if (test_mode() != TEST_PLAIN)
		tcase_add_loop_test(outcomes,
				    an_operation_that_parks_and_its_cancel_have_one_outcome_on_a_defer_ring,
				    0, KINDS);
	if (test_mode() != TEST_PLAIN)
		tcase_add_loop_test(outcomes, an_operation_and_its_cancel_have_one_outcome_on_a_defer_ring, 0,
				    KINDS);
	ON_EACH_RING(others, a_deadline_at_the_moment_of_completion_has_one_outcome);
	ON_EACH_RING(others, racing_accepts_leak_no_descriptor);
	ON_EACH_RING(others, a_cancel_by_another_thread_reaches_an_owner_that_is_about_to_wait);
	return suite;
}
