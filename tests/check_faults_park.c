/* SPDX-License-Identifier: MIT */
/*
 * Rings that park when the k-th system call or allocation fails, once or from then on: each operation ends
 * exactly once, those on one descriptor get their data in order, nothing waits for ever and nothing is left
 * behind.
 */
#include <sys/uio.h>

#include "park_fd.h"
#include "park_late.h"
#include "ring.h"
#include "support/faults.h"
#include "support/rings.h"

TEST_MODES(TEST_FAULTS);

#define OPS 6u
#define SENDS 4u
#define IDLE 4u
#define BLOCK 3000u

/* Operations that receive from one descriptor. */
struct lane {
	struct pair pair;
	bool is_pipe;
	unsigned begun, written;
	struct probe probes[OPS];
	struct iovec iovs[OPS];
	struct msghdr messages[OPS];
	char sinks[OPS][8];
};

enum {
	UNIX,
	TCP,
	PIPE,
	LANES
};

struct scenario {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct lane lanes[LANES];
	struct pair full, idle;
	unsigned filled; /* bytes in the way of sends */
	struct probe sends[SENDS], idles[IDLE], accepts[2];
	int listener, client;
	bool idle_closed;
	char blocks[SENDS][BLOCK], sink[8];
};

/* The loop variable: the kind of ring, and what is looked at or done without besides. */
static const char *const features[] = {NULL, "park-check", "none"};
#define VARIANTS 5

static void ck_assert_documented(int result)
{
	ck_assert_msg(result >= 0 || result == -ENOMEM || result == -EMFILE || result == -EAGAIN ||
			      result == -EBUSY || result == -EINTR || result == -ETIMEDOUT,
		      "unexpected error: %s", strerror(-result));
}

static char byte_at(unsigned position)
{
	return (char)('a' + position % 26);
}

static void feed(struct lane *lane, unsigned count)
{
	for (; count; count--) {
		char byte = byte_at(lane->written++);
		ck_assert_int_eq(write(lane->pair.far, &byte, 1), 1);
	}
}

static unsigned size_of(unsigned i)
{
	return 2 + i % 3;
}

static bool takes_all(const struct lane *lane, unsigned i)
{
	return !lane->is_pipe && i % OPS == 3;
}

/* Every form that parks, in turn. */
static void begin(struct scenario *scenario, struct lane *lane)
{
	unsigned i = lane->begun++, size = size_of(i);
	struct io_uring_sqe *sqe = probe_start(scenario->ring, ctx_background(), &lane->probes[i]);
	int fd = lane->pair.near;

	lane->iovs[i] = (struct iovec){lane->sinks[i], size};
	lane->messages[i] = (struct msghdr){.msg_iov = &lane->iovs[i], .msg_iovlen = 1};
	switch (lane->is_pipe ? 4 + i % 2 : i % OPS) {
	case 0:
	case 1:
		io_uring_prep_recv(sqe, fd, lane->sinks[i], size, 0);
		break;
	case 2:
		io_uring_prep_recvmsg(sqe, fd, &lane->messages[i], 0);
		break;
	case 3:
		io_uring_prep_recv(sqe, fd, lane->sinks[i], size, MSG_WAITALL);
		break;
	case 4:
		io_uring_prep_read(sqe, fd, lane->sinks[i], size, (uint64_t)-1);
		break;
	default:
		io_uring_prep_readv(sqe, fd, &lane->iovs[i], 1, (uint64_t)-1);
		break;
	}
}

/* What they brought, in the order in which they began, is what was sent. */
static void check_lane(const struct lane *lane)
{
	unsigned position = 0;

	for (unsigned i = 0; i < lane->begun; i++) {
		const struct probe *probe = &lane->probes[i];
		ck_assert_uint_eq(probe->finals, 1);
		if (probe->last.res < 0)
			ck_assert_int_eq(probe->last.res, -ENOMEM);
		else if (takes_all(lane, i))
			ck_assert_int_eq(probe->last.res, (int)size_of(i));
		for (int n = 0; n < probe->last.res; n++, position++)
			ck_assert_msg(lane->sinks[i][n] == byte_at(position), "operation %u: %.*s at %u", i,
				      probe->last.res, lane->sinks[i], position);
	}
	ck_assert_uint_le(position, lane->written);
}

/* ---- the scenario */

static void fill(struct scenario *scenario)
{
	const int small = 4096;
	char filler[1024] = "";
	ssize_t size;

	scenario->full = pair_new();
	ck_assert_ok(setsockopt(scenario->full.near, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	while ((size = send(scenario->full.near, filler, sizeof(filler), MSG_DONTWAIT)) > 0)
		scenario->filled += (unsigned)size;
	for (unsigned i = 0; i < SENDS; i++)
		memset(scenario->blocks[i], (int)('A' + i), BLOCK);
}

static int listener_new(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(listen(listener, 4)); /* on a port that the kernel finds */
	return listener;
}

static int connected_to(int listener)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_ok(getsockname(listener, (struct sockaddr *)&address, &size));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_ok(connect(fd, (struct sockaddr *)&address, size));
	return fd;
}

static void prepare(struct scenario *scenario)
{
	memset(scenario, 0, sizeof(*scenario));
	scenario->lanes[UNIX].pair = pair_new();
	scenario->lanes[TCP].pair = tcp_new();
	scenario->lanes[PIPE].pair = pipe_new();
	scenario->lanes[PIPE].is_pipe = true;
	scenario->idle = pair_new();
	scenario->listener = listener_new();
	scenario->client = -1;
	fill(scenario);
}

static void start(struct scenario *scenario)
{
	struct ctx_ring *ring = scenario->ring;

	for (unsigned i = 0; i < OPS; i++)
		for (unsigned n = 0; n < LANES; n++)
			if (i < 4) /* the others come later */
				begin(scenario, &scenario->lanes[n]);
	for (unsigned i = 0; i < SENDS; i++)
		io_uring_prep_send(probe_start(ring, ctx_background(), &scenario->sends[i]),
				   scenario->full.near, scenario->blocks[i], BLOCK, i % 2 ? MSG_WAITALL : 0);
	for (unsigned i = 0; i < IDLE; i++) {
		probe_recv(ring, i || !scenario->ctx ? ctx_background() : scenario->ctx, &scenario->idles[i],
			   scenario->idle.near, scenario->sink, sizeof(scenario->sink));
		if (i == 1)
			ck_assert_ok(ctx_op_set_timeout(&scenario->idles[i].op, MILLISECOND / 2));
	}
	for (unsigned i = 0; i < 2; i++) {
		io_uring_prep_accept(probe_start(ring, ctx_background(), &scenario->accepts[i]),
				     scenario->listener, NULL, NULL, SOCK_CLOEXEC);
		ck_assert_ok(ctx_op_set_flags(&scenario->accepts[i].op, CTX_OP_CLOSE_FD));
	}
}

static void turn(struct scenario *scenario)
{
	ck_assert_documented(ctx_ring_dispatch(scenario->ring, 0));
}

static void take_some(struct scenario *scenario)
{
	static char sink[16384];

	while (scenario->filled) {
		size_t size = scenario->filled < sizeof(sink) ? scenario->filled : sizeof(sink);
		ssize_t got = recv(scenario->full.far, sink, size, MSG_DONTWAIT);
		ck_assert_int_gt(got, 0);
		scenario->filled -= (unsigned)got;
	}
}

/* Everything that a program does with parked operations; what fails is skipped. */
static void use(struct scenario *scenario, int i)
{
	struct ctx_ring_options options = {.setup_flags = setup_flags_of(parking_kind(i)),
					   .flags = CTX_RING_PARK};
	int error = ctx_ring_open(16, &options, &scenario->ring);

	ck_assert_documented(error);
	if (error)
		return;
	if (ctx_with_cancel(ctx_background(), "fault", &scenario->ctx))
		scenario->ctx = NULL;
	ck_assert_documented(ctx_ring_dispatch(scenario->ring, 0)); /* the first use may be refused */
	start(scenario);
	ck_assert_documented(ctx_ring_submit(scenario->ring));
	turn(scenario);
	for (unsigned n = 0; n < LANES; n++)
		feed(&scenario->lanes[n], 5 + n);
	turn(scenario);
	take_some(scenario);
	scenario->client = connected_to(scenario->listener);
	turn(scenario);
	if (scenario->ctx)
		ck_assert_ok(ctx_cancel(scenario->ctx));
	for (unsigned n = 0; n < LANES; n++) {
		begin(scenario, &scenario->lanes[n]);
		begin(scenario, &scenario->lanes[n]);
		feed(&scenario->lanes[n], 3);
	}
	turn(scenario);
	error = ctx_op_cancel(scenario->ring, &scenario->idles[2].op);
	ck_assert(error == 0 || error == -EALREADY);
	ck_assert_ok(ctx_ring_close_fd(scenario->ring, scenario->idle.near));
	scenario->idle_closed = true;
	turn(scenario);
}

/* ---- afterwards */

static void check_sends(struct scenario *scenario)
{
	for (unsigned i = 0; i < SENDS; i++) {
		const struct probe *probe = &scenario->sends[i];
		ck_assert_uint_eq(probe->finals, 1);
		if (probe->last.res < 0)
			ck_assert_int_eq(probe->last.res, -ENOMEM);
		else if (i % 2)
			ck_assert_int_eq(probe->last.res, BLOCK);
	}
}

/* Reads what was sent while sends go on, and compares. */
static void finish_sends(struct scenario *scenario)
{
	static char got[SENDS * BLOCK];
	unsigned count = 0, expected = 0;
	uint64_t end_ns = clock_now_ns() + SOON;

	take_some(scenario);
	for (unsigned i = 0; i < SENDS; i++)
		while (!scenario->sends[i].finals) {
			ssize_t size =
				recv(scenario->full.far, got + count, sizeof(got) - count, MSG_DONTWAIT);
			count += size > 0 ? (unsigned)size : 0;
			ck_assert_int_ge(ctx_ring_dispatch(scenario->ring, MILLISECOND / 10), 0);
			ck_assert_msg(clock_now_ns() < end_ns, "send %u never ended", i);
		}
	for (ssize_t size;
	     (size = recv(scenario->full.far, got + count, sizeof(got) - count, MSG_DONTWAIT)) > 0;)
		count += (unsigned)size;
	check_sends(scenario);
	for (unsigned i = 0; i < SENDS; i++)
		for (int n = 0; n < scenario->sends[i].last.res; n++, expected++)
			ck_assert_msg(got[expected] == (char)('A' + i), "a byte of send %c where %u's belong",
				      got[expected], i);
	ck_assert_uint_eq(count, expected);
}

static void check_idles(struct scenario *scenario)
{
	char byte;

	await_probes(scenario->ring, scenario->idles, IDLE);
	for (unsigned i = 0; i < IDLE; i++)
		if (scenario->idles[i].last.res != -ENOMEM)
			ck_assert_int_eq(scenario->idles[i].last.res, -ECANCELED);
	/* Closed, with nothing that keeps it open. */
	ck_assert_int_eq(recv(scenario->idle.far, &byte, 1, MSG_DONTWAIT), 0);
}

static void finish(struct scenario *scenario)
{
	for (unsigned n = 0; n < LANES; n++) {
		struct lane *lane = &scenario->lanes[n];
		feed(lane, 2 * OPS * 4);
		await_probes(scenario->ring, lane->probes, lane->begun);
		check_lane(lane);
	}
	finish_sends(scenario);
	check_idles(scenario);
	ring_end(scenario->ring);
	for (unsigned i = 0; i < 2; i++) {
		const struct probe *probe = &scenario->accepts[i];
		ck_assert_uint_eq(probe->finals, 1);
		ck_assert(probe->last.res >= 0 || probe->last.res == -ECANCELED ||
			  probe->last.res == -ENOMEM);
		if (probe->last.res >= 0)
			close(probe->last.res);
	}
}

static void clean(struct scenario *scenario)
{
	for (unsigned n = 0; n < LANES; n++)
		pair_end(scenario->lanes[n].pair);
	pair_end(scenario->full);
	if (!scenario->idle_closed)
		close(scenario->idle.near);
	close(scenario->idle.far);
	close(scenario->listener);
	if (scenario->client >= 0)
		close(scenario->client);
	if (scenario->ctx)
		ctx_finish(scenario->ctx);
}

static unsigned run_scenario(int i, uint64_t calls, unsigned k, bool for_ever, int error)
{
	static struct scenario scenario;

	if (features[i / 2])
		setenv("CTXRING_FEATURES", features[i / 2], 1);
	prepare(&scenario);
	faults_arm(calls, k, for_ever, error);
	use(&scenario, i);
	unsigned failed = faults_disarm();
	if (scenario.ring)
		finish(&scenario);
	clean(&scenario);
	return failed;
}

START_TEST(any_resource_fails_once)
{
	for (unsigned k = 1; run_scenario(_i, FAULTS_RESOURCES, k, false, 0); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(any_resource_fails_from_then_on)
{
	/* Without the one that hands a SINGLE_ISSUER ring to its first user: then there is no ring to use. */
	const uint64_t calls = FAULTS_RESOURCES & ~FAULT(SYS_CALL_URING_REGISTER);

	for (unsigned k = 1; run_scenario(_i, calls, k, true, 0); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

/* What epoll_ctl(2) says where a user may watch no more. */
START_TEST(nothing_more_can_be_watched)
{
	static const int errors[] = {ENOSPC, ENOMEM};

	for (unsigned e = 0; e < 2; e++)
		for (unsigned k = 1; run_scenario(_i, FAULT(SYS_CALL_EPOLL_CTL), k, e, errors[e]); k++)
			ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(nothing_can_be_learned)
{
	const uint64_t calls =
		FAULT(SYS_CALL_GETSOCKOPT) | FAULT(SYS_CALL_SETSOCKOPT) | FAULT(SYS_CALL_SOCKET);

	for (unsigned e = 0; e < 2; e++)
		for (unsigned k = 1; run_scenario(_i, calls, k, e, 0); k++)
			ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(any_wait_fails_once)
{
	static const int errors[] = {EAGAIN, EBUSY, EINTR, ENOMEM};

	for (unsigned e = 0; e < 4; e++)
		for (unsigned k = 1; run_scenario(_i, FAULT(SYS_CALL_URING_ENTER), k, false, errors[e]); k++)
			ck_assert_uint_lt(k, 1000);
	for (unsigned k = 1;
	     run_scenario(_i, FAULT(SYS_CALL_EPOLL_WAIT) | FAULT(SYS_CALL_POLL), k, false, EINTR); k++)
		ck_assert_uint_lt(k, 1000);
}
END_TEST

START_TEST(the_kernel_takes_part)
{
	for (unsigned most = 1; most < 4; most++) {
		faults_limit_submit(most);
		run_scenario(_i, 0, 1, false, 0);
		faults_limit_submit(0);
	}
}
END_TEST

/* ---- one by one */

/* The kernel serves several receives that wait on one socket in any order: they wait for each other here. */
START_TEST(what_cannot_be_watched_is_served_in_order)
{
	for (int for_ever = 0; for_ever < 2; for_ever++) {
		struct ctx_ring *ring = ring_of(parking_kind(_i));
		struct pair pair = pair_new();
		struct probe probes[8], timed;
		char sink[8];
		faults_arm(FAULT(SYS_CALL_EPOLL_CTL), 1, for_ever, ENOSPC);
		for (int i = 0; i < 8; i++) {
			struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), &probes[i]);
			if (i % 3 == 1)
				io_uring_prep_read(sqe, pair.near, &sink[i], 1, 0);
			else
				io_uring_prep_recv(sqe, pair.near, &sink[i], 1, 0);
			ck_assert_int_ge(ctx_ring_submit(ring), 0);
			ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
		}
		for (int i = 0; i < 8; i++) {
			char byte = byte_at((unsigned)i);
			ck_assert_int_eq(write(pair.far, &byte, 1), 1);
		}
		await_probes(ring, probes, 8);
		ck_assert_int_eq(memcmp(sink, "abcdefgh", 8), 0);
		probe_recv(ring, ctx_background(), &timed, pair.near, sink, 1);
		ck_assert_ok(ctx_op_set_timeout(&timed.op, MILLISECOND));
		probe_recv(ring, ctx_background(), &probes[0], pair.near, sink, 1);
		await_probes(ring, &timed, 1);
		ck_assert_probe(&timed, -ECANCELED, CTX_OP_TIMEOUT);
		ck_assert_uint_gt(faults_disarm(), 0);
		ck_assert_int_eq(write(pair.far, "x", 1), 1);
		await_probes(ring, probes, 1);
		ck_assert_probe(&probes[0], 1, CTX_OP_FINISHED);
		ring_end(ring);
		pair_end(pair);
	}
}
END_TEST

START_TEST(a_part_that_came_is_kept_where_nothing_can_be_watched)
{
	struct ctx_ring *ring = ring_of(parking_kind(_i));
	struct pair pair = pair_new();
	struct probe probes[3];
	char sink[20];

	faults_arm(FAULT(SYS_CALL_EPOLL_CTL) | FAULT(SYS_CALL_GETSOCKOPT), 1, true, ENOMEM);
	for (int i = 0; i < 2; i++)
		io_uring_prep_recv(probe_start(ring, ctx_background(), &probes[i]), pair.near, &sink[10 * i],
				   10, MSG_WAITALL);
	probe_recv(ring, ctx_background(), &probes[2], pair.near, sink, 1);
	for (int i = 0; i < 14; i++) {
		char byte = byte_at((unsigned)i);
		ck_assert_int_eq(write(pair.far, &byte, 1), 1);
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	}
	await_probes(ring, probes, 1);
	ck_assert_probe(&probes[0], 10, CTX_OP_FINISHED);
	ck_assert_ok(ctx_op_cancel(ring, &probes[1].op));
	await_probes(ring, probes, 2);
	ck_assert_probe(&probes[1], 4, CTX_OP_FINISHED);
	ck_assert_int_eq(memcmp(sink, "abcdefghijklmn", 14), 0);
	ck_assert_uint_gt(faults_disarm(), 0);
	ring_end(ring);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_CANCELLED);
	pair_end(pair);
}
END_TEST

/* One that waits in the kernel for the old file holds up none on the new one. */
START_TEST(another_file_is_not_held_up_by_what_could_not_be_watched)
{
	struct ctx_ring *ring = ring_of(parking_kind(_i));
	struct pair pair = pair_new();
	int listener = listener_new(), client = -1;
	struct probe old, accept, probe;
	char sink[8];

	faults_arm(FAULT(SYS_CALL_EPOLL_CTL), 1, true, ENOSPC);
	probe_recv(ring, ctx_background(), &old, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	client = connected_to(listener);
	close(pair.near);
	io_uring_prep_accept(probe_start(ring, ctx_background(), &accept), listener, NULL, NULL,
			     SOCK_CLOEXEC);
	await_probes(ring, &accept, 1);
	ck_assert_int_eq(accept.last.res, pair.near);
	probe_recv(ring, ctx_background(), &probe, pair.near, sink, sizeof(sink));
	ck_assert_int_eq(write(client, "abc", 3), 3);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 3, CTX_OP_FINISHED);
	await_probes(ring, &old, 1);
	ck_assert_probe(&old, -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_uint_gt(faults_disarm(), 0);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ring_end(ring);
	close(pair.far);
	close(client);
	close(listener);
}
END_TEST

/* Goal: a ring does not wake again and again for operations that cannot be parked. */
START_TEST(what_could_not_be_watched_stays_in_the_kernel)
{
	struct ctx_ring *ring = ring_of(parking_kind(_i));
	struct pair pair = pair_new();
	struct probe probe;
	char sink;

	park_late_after_ns = MILLISECOND;
	faults_arm(FAULT(SYS_CALL_EPOLL_CTL), 1, true, ENOSPC);
	probe_recv(ring, ctx_background(), &probe, pair.near, &sink, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_uint_eq(ring->park->late, 1);
	for (uint64_t end_ns = clock_now_ns() + SOON; ring->park->late;) {
		ck_assert_int_eq(ctx_ring_dispatch(ring, MILLISECOND), 0);
		ck_assert(clock_now_ns() < end_ns);
	}
	while (heap_contains(&ring->times.sweep.node))
		ck_assert_int_eq(ctx_ring_dispatch(ring, MILLISECOND), 0);
	ck_assert_uint_eq(faults_disarm(), 1);
	ck_assert_int_eq(write(pair.far, "x", 1), 1);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* Attempts, and what goes the usual way. */
START_TEST(what_the_kernel_did_not_take_is_not_done_to_the_next_file)
{
	struct ctx_ring *ring = ring_of(parking_kind(_i));
	struct pair pair = pair_new(), next;
	struct probe probes[4];
	char sink[8];

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	for (int i = 0; i < 4; i++) {
		probe_recv(ring, ctx_background(), &probes[i], pair.near, sink, sizeof(sink));
		ck_assert_ok(ctx_op_set_flags(&probes[i].op, i % 2 ? CTX_OP_PENDING : 0));
	}
	faults_arm(FAULT(SYS_CALL_URING_ENTER), 1, true, EAGAIN);
	ck_assert_int_eq(ctx_ring_submit(ring), -EAGAIN);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ck_assert_uint_gt(faults_disarm(), 0);
	next = pair_new();
	ck_assert_int_eq(next.near, pair.near);
	ck_assert_int_eq(write(next.far, "abc", 3), 3);
	await_probes(ring, probes, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_probe(&probes[i], -ECANCELED, CTX_OP_CANCELLED);
	ck_assert_int_eq(recv(next.near, sink, sizeof(sink), MSG_DONTWAIT), 3);
	ring_end(ring);
	close(pair.far);
	pair_end(next);
}
END_TEST

/* There was no memory to note that the kernel holds one, or to take its completion. */
START_TEST(closing_reaches_what_could_not_be_counted)
{
	for (unsigned k = 1, failed = 1; failed; k++) {
		struct ctx_ring *ring = ring_of(parking_kind(_i));
		struct pair pair = pair_new();
		struct probe probes[2];
		char sink[8], byte;
		ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
		for (int i = 0; i < 2; i++) {
			probe_recv(ring, ctx_background(), &probes[i], pair.near, sink, sizeof(sink));
			ck_assert_ok(ctx_op_set_flags(&probes[i].op, i ? 0 : CTX_OP_PENDING));
		}
		faults_arm(FAULT(SYS_CALL_ALLOCATE), k, false, 0);
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		failed = faults_disarm();
		ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
		ck_assert_int_eq(recv(pair.far, &byte, 1, MSG_DONTWAIT), 0);
		await_probes(ring, probes, 2);
		for (int i = 0; i < 2; i++)
			ck_assert(probes[i].last.res == -ECANCELED || probes[i].last.res == -ENOMEM);
		ring_end(ring);
		close(pair.far);
	}
}
END_TEST

static unsigned enters_of_a_close(struct ctx_ring *ring)
{
	struct pair pair = pair_new();
	struct probe probe;
	char sink;

	probe_recv(ring, ctx_background(), &probe, pair.near, &sink, 1);
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	faults_arm(0, 1, false, 0);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	unsigned enters = faults_count(SYS_CALL_URING_ENTER);
	faults_disarm();
	await_probes(ring, &probe, 1);
	close(pair.far);
	return enters;
}

/* AT_FDCWD is no descriptor that would have to be counted. */
START_TEST(an_openat_does_not_make_closes_dear)
{
	struct ctx_ring *ring = ring_with(parking_kind(_i), 8, NULL);
	struct pair pair = pair_new();
	struct probe pending, open;
	char sink;

	probe_recv(ring, ctx_background(), &pending, pair.near, &sink, 1);
	ck_assert_ok(ctx_op_set_flags(&pending.op, CTX_OP_PENDING));
	ck_assert_int_eq(ctx_ring_submit(ring), 1);
	ck_assert_uint_eq(enters_of_a_close(ring), 0);
	io_uring_prep_openat(probe_start(ring, ctx_background(), &open), AT_FDCWD, "/dev/null", O_CLOEXEC, 0);
	await_probes(ring, &open, 1);
	ck_assert_int_ge(open.last.res, 0);
	close(open.last.res);
	ck_assert_uint_eq(enters_of_a_close(ring), 0);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

/* The receive waits in the kernel, since it could not be watched. The attempt to send has failed, unseen. */
START_TEST(a_send_of_the_old_file_does_not_go_to_the_new)
{
	ck_assert_ok(setenv("CTXRING_FEATURES", "park-check", 1));
	struct ctx_ring *ring = ring_with(parking_kind(_i), 8, NULL);
	struct pair old = pair_new(), new = pair_new();
	struct probe receive, sending, fresh;
	static char block[65536];
	char sink[8], first;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	while (send(old.near, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	faults_arm(FAULT(SYS_CALL_EPOLL_CTL), 1, true, ENOSPC);
	probe_recv(ring, ctx_background(), &receive, old.near, sink, 1);
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	for (int i = 0; i < 3; i++)
		ctx_ring_dispatch(ring, 0);
	faults_disarm();
	io_uring_prep_send(probe_start(ring, ctx_background(), &sending), old.near, "S", 1, 0);
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	ck_assert_int_eq(dup3(new.near, old.near, O_CLOEXEC), old.near);
	probe_recv(ring, ctx_background(), &fresh, old.near, sink, 1);
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	await_probes(ring, &sending, 1);
	await_probes(ring, &receive, 1);
	ck_assert_int_eq(recv(new.far, &first, 1, MSG_DONTWAIT), -1);
	ck_assert_probe(&sending, -EBADF, CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(old);
	pair_end(new);
}
END_TEST

/* Goal: wherever the kernel has no room to submit, what is seen while room is made is acted upon at once, and
 * not when the next time comes. */
START_TEST(readiness_seen_while_room_is_made_is_acted_upon)
{
	struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	struct ctx_ring *ring = ring_with(parking_kind(_i), 1, &options);
	struct pair pairs[2] = {pair_new(), pair_new()};
	struct probe receive, pending;
	char sinks[2];

	for (unsigned k = 1; k < 8; k++) {
		probe_recv(ring, ctx_background(), &receive, pairs[0].near, &sinks[0], 1);
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
		for (int i = 0; i < 4; i++)
			ctx_ring_dispatch(ring, MILLISECOND);
		struct ctx_context *timed = timed_child_of(ctx_background(), 10 * NS_PER_SECOND);
		ck_assert_int_eq(write(pairs[0].far, "x", 1), 1);
		probe_recv(ring, timed, &pending, pairs[1].near, &sinks[1], 1);
		ck_assert_ok(ctx_op_set_flags(&pending.op, CTX_OP_PENDING));
		faults_arm(FAULT(SYS_CALL_URING_ENTER), k, false, EBUSY);
		while (!receive.finals)
			ctx_ring_dispatch(ring, CTX_FOREVER);
		faults_disarm();
		ck_assert_uint_eq(pending.finals, 0);
		ctx_cancel(timed);
		await_probes(ring, &pending, 1);
		ctx_finish(timed);
	}
	ring_end(ring);
	pair_end(pairs[0]);
	pair_end(pairs[1]);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("faults_park");
	TCase *faults = test_case_ring(suite, "faults"), *single = test_case_ring(suite, "single");

	tcase_add_loop_test(faults, any_resource_fails_once, 0, VARIANTS);
	tcase_add_loop_test(faults, any_resource_fails_from_then_on, 0, VARIANTS);
	tcase_add_loop_test(faults, nothing_more_can_be_watched, 0, VARIANTS);
	tcase_add_loop_test(faults, nothing_can_be_learned, 0, VARIANTS);
	tcase_add_loop_test(faults, any_wait_fails_once, 0, VARIANTS);
	tcase_add_loop_test(faults, the_kernel_takes_part, 0, VARIANTS);
	tcase_add_loop_test(single, what_cannot_be_watched_is_served_in_order, 0, 2);
	tcase_add_loop_test(single, a_part_that_came_is_kept_where_nothing_can_be_watched, 0, 2);
	tcase_add_loop_test(single, another_file_is_not_held_up_by_what_could_not_be_watched, 0, 2);
	tcase_add_loop_test(single, what_could_not_be_watched_stays_in_the_kernel, 0, 2);
	tcase_add_loop_test(single, what_the_kernel_did_not_take_is_not_done_to_the_next_file, 0, 2);
	tcase_add_loop_test(single, closing_reaches_what_could_not_be_counted, 0, 2);
	tcase_add_loop_test(single, an_openat_does_not_make_closes_dear, 0, 2);
	tcase_add_loop_test(single, a_send_of_the_old_file_does_not_go_to_the_new, 0, 2);
	tcase_add_loop_test(single, readiness_seen_while_room_is_made_is_acted_upon, 0, 2);
	return suite;
}
