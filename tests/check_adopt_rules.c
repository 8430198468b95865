/* SPDX-License-Identifier: MIT */
/*
 * Adopted rings whose program does what the rules of ctxring(7) do not allow, or that forbid what the library
 * needs: nothing waits for ever, and nothing spins.
 */
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "support/rings.h"
#include "support/uring.h"

struct adopted {
	struct io_uring uring;
	struct ctx_ring *ring;
	struct pair pair;
	char byte;
	uint64_t foreign[64];
	int foreign_res[64];
	unsigned foreign_count, seen; /* completions, of all kinds */
};

/* IOSQE_IO_DRAIN cannot be refused without IOSQE_CQE_SKIP_SUCCESS. */
static bool drains_are_refused(void)
{
	return test_mode() != TEST_PLAIN;
}

static void queue(struct adopted *adopted, int kind, unsigned entries)
{
	*adopted = (struct adopted){.pair = pair_new()};
	ck_assert_ok(io_uring_queue_init(entries, &adopted->uring, setup_flags_of(kind)));
}

static void adopt(struct adopted *adopted, int kind, unsigned entries)
{
	queue(adopted, kind, entries);
	ck_assert_ok(ctx_ring_adopt(&adopted->uring, NULL, &adopted->ring));
}

static void adopted_end(struct adopted *adopted)
{
	ring_end(adopted->ring);
	io_uring_queue_exit(&adopted->uring);
	pair_end(adopted->pair);
}

static void own_nop(struct adopted *adopted, uint64_t user_data, unsigned flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&adopted->uring);

	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_nop(sqe);
	sqe->user_data = user_data;
	sqe->flags = (uint8_t)flags;
}

static int sort(struct adopted *adopted, const struct io_uring_cqe *cqe)
{
	int kind = ctx_ring_filter(adopted->ring, cqe, NULL, NULL);

	ck_assert_int_ge(kind, 0);
	adopted->seen++;
	if (kind == CTX_FILTER_FOREIGN) {
		ck_assert_uint_lt(adopted->foreign_count, 64);
		adopted->foreign_res[adopted->foreign_count] = cqe->res;
		adopted->foreign[adopted->foreign_count++] = cqe->user_data;
	}
	return kind;
}

/* One turn of the program's loop; waits at most that long for a completion. */
static void turn(struct adopted *adopted, uint64_t timeout_ns)
{
	struct __kernel_timespec time = {.tv_sec = (long long)(timeout_ns / NS_PER_SECOND),
					 .tv_nsec = (long long)(timeout_ns % NS_PER_SECOND)};
	struct io_uring_cqe *cqe;

	int error = io_uring_submit_and_wait_timeout(&adopted->uring, &cqe, 1, &time, NULL);
	ck_assert(error >= 0 || error == -ETIME || error == -EINTR);
	while (!io_uring_peek_cqe(&adopted->uring, &cqe)) {
		sort(adopted, cqe);
		io_uring_cqe_seen(&adopted->uring, cqe);
	}
}

static void await(struct adopted *adopted, const struct probe *probe)
{
	for (uint64_t end_ns = clock_now_ns() + SOON; !probe->finals; turn(adopted, SOON))
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	ck_assert_uint_eq(probe->finals, 1);
}

/* ---- IOSQE_IO_DRAIN */

START_TEST(an_entry_of_the_program_that_drains_is_refused_at_once)
{
	struct adopted adopted;
	struct probe probe;

	if (!drains_are_refused())
		return;
	adopt(&adopted, _i, 16);
	probe_recv(adopted.ring, ctx_background(), &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	own_nop(&adopted, 7, IOSQE_IO_DRAIN);
	own_nop(&adopted, 8, 0);
	while (adopted.foreign_count < 2)
		turn(&adopted, SOON);
	ck_assert_uint_eq(adopted.foreign[0], 7);
	ck_assert_int_eq(adopted.foreign_res[0], -EOPNOTSUPP);
	ck_assert_int_eq(adopted.foreign_res[1], 0);
	ck_assert_uint_eq(probe.finals, 0);
	adopted_end(&adopted);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
}
END_TEST

/* Goal: the kernel holds back what it meets together with such an entry; ours are not among that. */
START_TEST(an_entry_that_drains_from_before_the_adoption_is_waited_for)
{
	struct adopted adopted;
	struct probe probe;
	struct ctx_context *ctx = child_of(ctx_background());

	if (!drains_are_refused()) {
		ctx_finish(ctx);
		return;
	}
	queue(&adopted, _i, 16);
	/* The drain waits for the program's receive, and is in the kernel before the adoption. */
	struct pair own = pair_new();
	struct io_uring_sqe *sqe = io_uring_get_sqe(&adopted.uring);
	io_uring_prep_recv(sqe, own.near, &adopted.byte, 1, 0);
	sqe->user_data = 5;
	own_nop(&adopted, 6, IOSQE_IO_DRAIN);
	ck_assert_int_eq(io_uring_submit(&adopted.uring), 2);
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring));
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), -EBUSY);
	ck_assert_int_eq(ctx_ring_close(adopted.ring, MILLISECOND, NULL, 0, NULL), -ETIMEDOUT);
	/* Closing has ended what was staged. What is left of the greeting goes when the program's drain does.
	 */
	ck_assert_int_eq(write(own.far, "x", 1), 1);
	while (adopted.foreign_count < 2)
		turn(&adopted, SOON);
	await(&adopted, &probe);
	ck_assert_int_eq(adopted.foreign_res[0], 1);
	ck_assert_int_eq(adopted.foreign_res[1], 0);
	adopted_end(&adopted);
	pair_end(own);
	ctx_finish(ctx);
}
END_TEST

/* Method: prepared, not submitted: with the library's first entry right behind it. */
START_TEST(an_entry_that_drains_and_is_prepared_when_adopted_does_no_harm)
{
	struct adopted adopted;
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probe;

	if (!drains_are_refused()) {
		ctx_finish(ctx);
		return;
	}
	queue(&adopted, _i, 16);
	own_nop(&adopted, 5, 0);
	own_nop(&adopted, 6, IOSQE_IO_DRAIN);
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring));
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, &adopted.byte, 1);
	int sent = ctx_ring_submit(adopted.ring);
	ck_assert(sent == 1 || sent == -EBUSY); /* the kernel may run the greeting on a thread of its own */
	for (unsigned i = 0; i < 5; i++) {
		own_nop(&adopted, 10 + i, 0);
		turn(&adopted, SOON);
	}
	while (adopted.foreign_count < 7)
		turn(&adopted, SOON);
	ck_assert_uint_eq(probe.finals, 0);
	ck_assert_ok(ctx_cancel(ctx));
	await(&adopted, &probe);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

/*
 * Goal: close keeps its bound whatever the kernel does. Method: what makes the kernel refuse draining entries
 * is left out, as on a kernel that cannot, and one of the program's waits for our poll for ever.
 */
START_TEST(closing_behind_an_entry_that_never_ends_keeps_its_bound)
{
	struct adopted adopted;
	unsigned stuck = 1;

	test_setenv("CTXRING_FEATURES", "none");
	adopt(&adopted, RING_ORDINARY, 16);
	own_nop(&adopted, 7, IOSQE_IO_DRAIN);
	ck_assert_int_eq(io_uring_submit(&adopted.uring), 1);
	ck_assert_int_eq(ctx_ring_close(adopted.ring, _i ? 20 * MILLISECOND : 0, NULL, 0, &stuck),
			 -ETIMEDOUT);
	ck_assert_uint_eq(stuck, 0);
	/* A cancel that does not stand in the queue: now it can be closed. */
	struct io_uring_sync_cancel_reg all = {
		.fd = -1, .flags = IORING_ASYNC_CANCEL_ANY, .timeout = {.tv_sec = -1, .tv_nsec = -1}};
	ck_assert_int_ge(io_uring_register_sync_cancel(&adopted.uring, &all), 0);
	adopted_end(&adopted);
}
END_TEST

/* ---- chains */

START_TEST(a_drain_in_the_middle_of_a_chain_says_so)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct adopted adopted;
	struct probe probe;

	adopt(&adopted, _i, 16);
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	own_nop(&adopted, 1, IOSQE_IO_LINK);
	ck_assert_ok(ctx_cancel(ctx));
	ck_assert_int_eq(ctx_ring_drain(adopted.ring, ctx, SOON, NULL, 0, NULL), -EBUSY);
	own_nop(&adopted, 2, 0);
	ck_assert_ok(ctx_ring_drain(adopted.ring, ctx, SOON, NULL, 0, NULL));
	await(&adopted, &probe);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

/* ---- completions that are shown twice, or are strangers' */

/* A drain notes them in the queue; then the program takes all out by value, and shows the copies. */
START_TEST(copies_of_what_a_drain_has_noted_do_not_count_again)
{
	struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	struct ctx_context *ctx, *own;
	struct io_uring_cqe copies[64], *cqe;
	struct adopted adopted;
	struct probe probe;
	unsigned count = 0;

	queue(&adopted, _i % RING_KINDS, 16);
	bool advance_first = _i >= RING_KINDS;
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, &options, &adopted.ring));
	/* One of each request of ours: kernel timeout, wake-up, poll, cancel. */
	ck_assert_ok(ctx_with_hangup(ctx_background(), adopted.ring, adopted.pair.far, 0, NULL, &own));
	ck_assert_ok(ctx_with_movable_deadline(ctx_background(), clock_now_ns() + HOUR, NULL, &ctx));
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	ck_assert_ok(ctx_set_deadline(ctx, clock_now_ns() + 100 * MILLISECOND));
	ctx_finish(own);
	ck_assert_ok(ctx_ring_drain(adopted.ring, ctx, SOON, NULL, 0, NULL));
	while (!io_uring_peek_cqe(&adopted.uring, &cqe)) {
		copies[count++] = *cqe;
		if (advance_first) {
			io_uring_cqe_seen(&adopted.uring, cqe);
			continue;
		}
		sort(&adopted, &copies[count - 1]);
		io_uring_cqe_seen(&adopted.uring, cqe);
	}
	for (unsigned i = 0; advance_first && i < count; i++)
		sort(&adopted, &copies[i]);
	ck_assert_uint_gt(count, 1);
	ck_assert_uint_eq(adopted.foreign_count, 0);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_DEADLINE);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

/* Goal: every user_data with our tag that is no operation's, sent by the program itself, counts for nothing.
 */
START_TEST(strangers_that_look_like_requests_of_ours_count_for_nothing)
{
	const uint64_t tag = 0xc781ull << 48;
	struct ctx_context *ctx = timed_child_of(ctx_background(), 30 * NS_PER_SECOND);
	struct ctx_ring_options options = {.flags = CTX_RING_ONE_TIMER};
	struct adopted adopted;
	struct probe probe;

	queue(&adopted, _i, 64);
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, &options, &adopted.ring));
	probe_recv(adopted.ring, ctx, &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	for (uint64_t kind = 0; kind < 4; kind++)
		for (uint64_t slot = 0; slot < 20; slot++)
			for (uint64_t number = 0; number < 4; number += 3) {
				if (kind < 3 && slot == 1)
					continue; /* is the operation's own */
				own_nop(&adopted, tag | kind << 46 | number << 24 | slot, 0);
				turn(&adopted, 0);
				adopted.foreign_count = 0;
			}
	ck_assert_uint_eq(probe.finals, 0);
	/* What has never been given out goes to the program. */
	own_nop(&adopted, tag | 3ull << 46 | 1000ull << 24 | 1, 0);
	turn(&adopted, SOON);
	ck_assert_uint_eq(adopted.foreign_count, 1);
	/* The wake-up works still. */
	ck_assert_int_eq(write(adopted.pair.far, "x", 1), 1);
	await(&adopted, &probe);
	ck_assert_probe(&probe, 1, CTX_OP_FINISHED);
	adopted_end(&adopted);
	ctx_finish(ctx);
}
END_TEST

/* ---- restrictions */

static const struct restricted {
	const char *name;
	unsigned forbidden; /* an operation code; of CHOICES */
	unsigned flags;	    /* that are allowed, besides those */
	int expected;
} restricted[] = {
	{"all that is needed", 256, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS, 0},
	{"no POLL_ADD", IORING_OP_POLL_ADD, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS, -EACCES},
	{"no ASYNC_CANCEL", IORING_OP_ASYNC_CANCEL, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS, -EACCES},
	{"no TIMEOUT", IORING_OP_TIMEOUT, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS, -EACCES},
	{"no LINK_TIMEOUT", IORING_OP_LINK_TIMEOUT, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS, 0},
	{"no IOSQE_IO_LINK", 256, IOSQE_CQE_SKIP_SUCCESS, 0},
	{"no IOSQE_CQE_SKIP_SUCCESS", 256, IOSQE_IO_LINK, 0},
	{"no flags", 256, 0, 0},
};

#define RESTRICTED (int)(sizeof(restricted) / sizeof(restricted[0]))

static void restrict_ring(const struct hand *hand, const struct restricted *to)
{
	static const uint8_t allowed[] = {IORING_OP_NOP,	  IORING_OP_RECV,    IORING_OP_POLL_ADD,
					  IORING_OP_ASYNC_CANCEL, IORING_OP_TIMEOUT, IORING_OP_LINK_TIMEOUT};
	struct io_uring_restriction restrictions[8];
	unsigned count = 0;

	for (size_t i = 0; i < sizeof(allowed); i++)
		if (allowed[i] != to->forbidden)
			restrictions[count++] = (struct io_uring_restriction){
				.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = allowed[i]};
	restrictions[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
							      .sqe_flags = (uint8_t)to->flags};
	int fd = hand->uring.ring_fd;
	ck_assert_ok(syscall(__NR_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, restrictions, count));
	ck_assert_ok(syscall(__NR_io_uring_register, fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
}

/* Deadlines, own timeouts and cancels reach operations on what is allowed. */
static void exercise(struct adopted *adopted)
{
	struct ctx_context *timed = timed_child_of(ctx_background(), 50 * MILLISECOND);
	struct ctx_context *ctx = child_of(ctx_background());
	struct probe probes[3];

	probe_recv(adopted->ring, timed, &probes[0], adopted->pair.near, &adopted->byte, 1);
	probe_recv(adopted->ring, ctx_background(), &probes[1], adopted->pair.near, &adopted->byte, 1);
	ck_assert_ok(ctx_op_set_timeout(&probes[1].op, 5 * MILLISECOND));
	probe_recv(adopted->ring, ctx, &probes[2], adopted->pair.near, &adopted->byte, 1);
	ck_assert_int_ge(ctx_ring_submit(adopted->ring), 1);
	await(adopted, &probes[0]);
	await(adopted, &probes[1]);
	ck_assert_ok(ctx_cancel(ctx));
	await(adopted, &probes[2]);
	ck_assert_probe(&probes[0], -ECANCELED, CTX_OP_DEADLINE);
	ck_assert_probe(&probes[1], -ECANCELED, CTX_OP_TIMEOUT);
	ck_assert_probe(&probes[2], -ECANCELED, CTX_OP_CANCELLED);
	ctx_finish(timed);
	ctx_finish(ctx);
}

START_TEST(restrictions_that_forbid_what_is_needed_are_refused_others_done_without)
{
	const struct restricted *to = &restricted[_i];
	struct adopted adopted = {.pair = pair_new()};
	char words[512] = "";
	struct hand hand;

	ck_assert(hand_make(&hand, 16, IORING_SETUP_R_DISABLED));
	restrict_ring(&hand, to);
	adopted.uring = hand.uring;
	int error = ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring);
	ck_assert_msg(error == to->expected, "%s: %d", to->name, error);
	if (!error) {
		exercise(&adopted);
		ring_end(adopted.ring);
	} else {
		ck_assert_int_gt(ctx_ring_explain(error, words, sizeof(words)), 0);
		ck_assert_ptr_nonnull(strstr(words, "restrictions"));
		/* Nothing of the library's is left in it. */
		hand.uring = adopted.uring;
		ck_assert_int_ge(hand_enter(&hand, 0), 0);
		ck_assert_uint_eq(io_uring_cq_ready(&hand.uring), 0);
	}
	hand_end(&hand);
	pair_end(adopted.pair);
}
END_TEST

START_TEST(an_io_uring_of_one_entry_is_adopted)
{
	struct adopted adopted;

	adopt(&adopted, _i, 1);
	exercise(&adopted);
	adopted_end(&adopted);
}
END_TEST

/* Method: the thread that made the io_uring is the only one that may use it. */
static void *make_single_issuer(void *uring)
{
	ck_assert_ok(io_uring_queue_init(8, uring, IORING_SETUP_SINGLE_ISSUER));
	return NULL;
}

START_TEST(an_io_uring_of_another_thread_is_refused_and_left_as_it_was)
{
	struct ctx_ring *ring = NULL;
	struct io_uring uring;
	pthread_t thread;

	ck_assert_ok(pthread_create(&thread, NULL, make_single_issuer, &uring));
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_int_eq(ctx_ring_adopt(&uring, NULL, &ring), -EPERM);
	ck_assert_ptr_null(ring);
	ck_assert_uint_eq(io_uring_sq_ready(&uring), 0);
	io_uring_queue_exit(&uring);
}
END_TEST

/* Goal: what may be restricted is adopted only when that could be tried. */
START_TEST(with_entries_prepared_what_may_be_restricted_is_not_adopted)
{
	struct adopted adopted = {.pair = pair_new()};
	struct hand hand;

	ck_assert(hand_make(&hand, 16, IORING_SETUP_R_DISABLED));
	restrict_ring(&hand, &restricted[0]);
	adopted.uring = hand.uring;
	own_nop(&adopted, 1, 0);
	ck_assert_int_eq(ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring), -EBUSY);
	ck_assert_int_eq(io_uring_submit(&adopted.uring), 1);
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring));
	turn(&adopted, 0);
	ck_assert_uint_eq(adopted.foreign_count, 1);
	exercise(&adopted);
	ring_end(adopted.ring);
	hand_end(&hand);
	pair_end(adopted.pair);
}
END_TEST

/*
 * Goal: restrictions that are found later, as those of a task or of a program that keeps no flags, end
 * operations, and the loop does not turn for nothing.
 */
START_TEST(restrictions_that_are_found_late_end_operations_and_spin_nothing)
{
	const struct restricted *to = &restricted[_i];
	struct adopted adopted = {.pair = pair_new()};
	struct probe probes[2];
	struct hand hand;

	ck_assert(hand_make(&hand, 16, IORING_SETUP_R_DISABLED));
	restrict_ring(&hand, to);
	adopted.uring = hand.uring;
	adopted.uring.flags = 0;
	own_nop(&adopted, 1, 0);
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring));
	io_uring_prep_nop(probe_start(adopted.ring, ctx_background(), &probes[0]));
	(void)ctx_ring_submit(adopted.ring);
	for (unsigned i = 0; i < 10; i++)
		turn(&adopted, 0);
	ck_assert_uint_eq(adopted.foreign_count, 1);
	unsigned before = adopted.seen;
	for (unsigned i = 0; i < 50; i++)
		turn(&adopted, 0);
	ck_assert_uint_le(adopted.seen - before, 1);
	probe_recv(adopted.ring, ctx_background(), &probes[1], adopted.pair.near, &adopted.byte, 1);
	ck_assert_ok(ctx_op_set_timeout(&probes[1].op, MILLISECOND));
	(void)ctx_ring_submit(adopted.ring);
	for (uint64_t end_ns = clock_now_ns() + SOON; !probes[0].finals || !probes[1].finals;) {
		ck_assert_uint_lt(clock_now_ns(), end_ns);
		ck_assert_int_ge(ctx_ring_dispatch(adopted.ring, 0), 0);
		turn(&adopted, MILLISECOND);
		if (to->forbidden == IORING_OP_TIMEOUT && !probes[1].finals)
			(void)ctx_op_cancel(adopted.ring, &probes[1].op); /* nothing else bounds it */
	}
	ck_assert_uint_eq(probes[0].finals + probes[1].finals, 2);
	if (to->forbidden == IORING_OP_POLL_ADD || to->forbidden == IORING_OP_ASYNC_CANCEL)
		ck_assert_int_eq(probes[1].last.res, -EACCES);
	ring_end(adopted.ring);
	hand_end(&hand);
	pair_end(adopted.pair);
}
END_TEST

/* As ctxring(7) warns: the kernel does not tell the library's completions from the program's. */
START_TEST(an_eventfd_of_the_program_is_signalled_for_ours_too)
{
	struct adopted adopted;
	struct probe probe;
	uint64_t signalled;
	int fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	adopt(&adopted, _i, 16);
	ck_assert_ok(io_uring_register_eventfd(&adopted.uring, fd));
	probe_recv(adopted.ring, ctx_background(), &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	ck_assert_int_eq(write(adopted.pair.far, "x", 1), 1);
	ck_assert_int_eq(read(fd, &signalled, sizeof(signalled)), sizeof(signalled));
	await(&adopted, &probe);
	ck_assert_uint_eq(adopted.foreign_count, 0);
	adopted_end(&adopted);
	close(fd);
}
END_TEST

/* Goal: a wake-up poll that fails again and again, here since its descriptor is gone, does not keep the loop
 * turning. */
START_TEST(a_wake_up_that_cannot_be_had_is_tried_now_and_then)
{
	struct adopted adopted;
	struct probe probe;
	int before = dup(0);

	ck_assert_int_ge(before, 0);
	close(before);
	queue(&adopted, _i, 16);
	/* The lowest free descriptor becomes that of the mailbox. */
	int lowest = dup(adopted.pair.near);
	close(lowest);
	own_nop(&adopted, 1, 0);
	ck_assert_ok(ctx_ring_adopt(&adopted.uring, NULL, &adopted.ring));
	close(lowest);
	uint64_t end_ns = clock_now_ns() + 200 * MILLISECOND;
	while (clock_now_ns() < end_ns)
		turn(&adopted, 20 * MILLISECOND);
	/* Two for each rest of 50 ms, and the greeting: far fewer than turns of a loop that spins. */
	ck_assert_uint_lt(adopted.seen, 40);
	int again = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(again, lowest);
	probe_recv(adopted.ring, ctx_background(), &probe, adopted.pair.near, &adopted.byte, 1);
	ck_assert_int_eq(ctx_ring_submit(adopted.ring), 1);
	adopted_end(&adopted);
	ck_assert_probe(&probe, -ECANCELED, CTX_OP_CANCELLED);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("adopt_rules");
	TCase *rules = test_case_ring(suite, "rules");

	ON_EACH_RING(rules, an_entry_of_the_program_that_drains_is_refused_at_once);
	ON_EACH_RING(rules, an_entry_that_drains_from_before_the_adoption_is_waited_for);
	ON_EACH_RING(rules, an_entry_that_drains_and_is_prepared_when_adopted_does_no_harm);
	tcase_add_loop_test(rules, closing_behind_an_entry_that_never_ends_keeps_its_bound, 0, 2);
	ON_EACH_RING(rules, a_drain_in_the_middle_of_a_chain_says_so);
	tcase_add_loop_test(rules, copies_of_what_a_drain_has_noted_do_not_count_again, 0,
			    test_mode() == TEST_PLAIN ? 1 : 2 * RING_KINDS);
	ON_EACH_RING(rules, strangers_that_look_like_requests_of_ours_count_for_nothing);
	tcase_add_loop_test(rules, restrictions_that_forbid_what_is_needed_are_refused_others_done_without, 0,
			    RESTRICTED);
	ON_EACH_RING(rules, an_io_uring_of_one_entry_is_adopted);
	tcase_add_test(rules, an_io_uring_of_another_thread_is_refused_and_left_as_it_was);
	tcase_add_test(rules, with_entries_prepared_what_may_be_restricted_is_not_adopted);
	tcase_add_loop_test(rules, restrictions_that_are_found_late_end_operations_and_spin_nothing, 0,
			    RESTRICTED);
	ON_EACH_RING(rules, an_eventfd_of_the_program_is_signalled_for_ours_too);
	ON_EACH_RING(rules, a_wake_up_that_cannot_be_had_is_tried_now_and_then);
	return suite;
}
