/* SPDX-License-Identifier: MIT */
/*
 * Task groups on a ring in which the first success ends the rest. Members are requests of one or more
 * operations; the test plays the servers at the far ends of their sockets.
 */
#include <pthread.h>

#include "list.h"
#include "support/rings.h"

#define FIRST "another task of the group was first"

static struct ctx_taskgroup *group_below(const struct ctx_context *parent, struct ctx_ring *ring,
					 unsigned limit, uint64_t delay_ns)
{
	const struct ctx_taskgroup_options options = {
		.flags = CTX_TASKGROUP_FIRST, .limit = limit, .delay_ns = delay_ns, .ring = ring};
	struct ctx_taskgroup *group = NULL;

	ck_assert_ok(ctx_taskgroup_new_with_options(parent, &options, "group", &group));
	ck_assert_ptr_nonnull(group);
	return group;
}

static struct ctx_taskgroup *group_on(struct ctx_ring *ring, uint64_t delay_ns)
{
	return group_below(ctx_background(), ring, 0, delay_ns);
}

/* A request: a "?" is sent and one byte of answer received, which is "+" for good ones. */
struct request {
	struct probe send, recv; /* begin with the operation, from which the callbacks find the request */
	struct pair pair;
	struct ctx_taskgroup *member;  /* while it runs */
	const struct ctx_context *ctx; /* a reference to its context */
	unsigned begun;
	char answer;
	int error; /* what its function returns */
};

static void answer_came(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = container_of((struct probe *)op, struct request, recv);

	probe_count(ring, op, completion);
	if (completion->res == 0)
		ck_assert_int_le(ctx_taskgroup_fail(request->member, -EPIPE, "no answer"), 0);
	else if (completion->res > 0 && request->answer != '+')
		ck_assert_ok(ctx_taskgroup_fail(request->member, -EBADMSG, "answer %c", request->answer));
}

static void question_sent(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct request *request = container_of((struct probe *)op, struct request, send);

	probe_count(ring, op, completion);
	if (completion->res != 1)
		return;
	memset(&request->recv, 0, sizeof(request->recv));
	ctx_op_init(&request->recv.op, answer_came, 0);
	struct io_uring_sqe *sqe = ctx_taskgroup_get_sqe(request->member, &request->recv.op);
	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_recv(sqe, request->pair.near, &request->answer, 1, 0);
	ck_assert_int_ge(ctx_ring_submit(ring), 0);
}

static int ask(struct ctx_taskgroup *member, void *data)
{
	struct request *request = data;

	request->begun++;
	if (request->error)
		return request->error;
	request->member = member;
	request->ctx = ctx_ref(ctx_taskgroup_context(member));
	memset(&request->send, 0, sizeof(request->send));
	ctx_op_init(&request->send.op, question_sent, 0);
	struct io_uring_sqe *sqe = ctx_taskgroup_get_sqe(member, &request->send.op);
	ck_assert_ptr_nonnull(sqe);
	io_uring_prep_send(sqe, request->pair.near, "?", 1, MSG_NOSIGNAL);
	return 0;
}

static void requests_init(struct request *requests, unsigned count)
{
	memset(requests, 0, count * sizeof(*requests));
	for (unsigned i = 0; i < count; i++)
		requests[i].pair = pair_new();
}

/* ring is NULL when it has been closed. A ring that parks has to hear of each descriptor that is closed. */
static void requests_end(struct ctx_ring *ring, struct request *requests, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		ctx_unref(requests[i].ctx);
		ck_assert_ok(ring ? ctx_ring_close_fd(ring, requests[i].pair.near)
				  : close(requests[i].pair.near));
		close(requests[i].pair.far);
	}
}

static void start(struct ctx_taskgroup *group, struct request *request, const char *name)
{
	ck_assert_ok(ctx_taskgroup_start_on_ring(group, ask, request, name));
}

/* Dispatches until the server of the request has the question. */
static void await_question(struct ctx_ring *ring, const struct request *request)
{
	uint64_t end_ns = clock_now_ns() + SOON;
	char question;

	ck_assert_int_ge(ctx_ring_submit(ring), 0);
	while (recv(request->pair.far, &question, 1, MSG_DONTWAIT) != 1) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
}

static void answer(const struct request *request, char byte)
{
	ck_assert_int_eq(send(request->pair.far, &byte, 1, MSG_NOSIGNAL), 1);
}

static void ck_assert_winner(struct ctx_taskgroup *group, const void *data)
{
	void *winner = NULL;

	ck_assert_ok(ctx_taskgroup_first(group, &winner));
	ck_assert_ptr_eq(winner, data);
}

static void ck_assert_no_winner(struct ctx_taskgroup *group)
{
	void *winner;

	ck_assert_int_eq(ctx_taskgroup_first(group, &winner), -ENOENT);
}

/* ---- ends */

START_TEST(the_first_answer_ends_the_other_requests)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, 0);
	struct request requests[4];
	struct ctx_failure failures[4];

	requests_init(requests, 4);
	for (int i = 0; i < 4; i++)
		start(group, &requests[i], "replica");
	for (int i = 0; i < 4; i++)
		await_question(ring, &requests[i]);
	ck_assert_no_winner(group);
	ck_assert_live(ctx_taskgroup_context(group));
	answer(&requests[2], '+');
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[2]);
	struct ctx_cause cause = cause_of(ctx_taskgroup_context(group));
	ck_assert_int_eq(cause.kind, CTX_CAUSE_CALL);
	ck_assert_int_eq(cause.error, -ECANCELED);
	ck_assert_str_eq(cause.text, FIRST);
	ck_assert_ptr_nonnull(cause.site);
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 4), 3);
	for (int i = 0; i < 4; i++) {
		ck_assert_uint_eq(requests[i].begun, 1);
		if (i == 2) {
			ck_assert_probe(&requests[i].recv, 1, CTX_OP_FINISHED);
			continue;
		}
		ck_assert_probe(&requests[i].recv, -ECANCELED, CTX_OP_CANCELLED);
		ck_assert_cancelled(requests[i].ctx);
		ck_assert_str_eq(cause_of(requests[i].ctx).text, FIRST);
		ck_assert(cause_of(requests[i].ctx).inherited);
	}
	for (int i = 0; i < 3; i++)
		ck_assert(failures[i].consequence);
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(group, ask, &requests[0], NULL), -ECANCELED);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 4);
	ring_end(ring);
}
END_TEST

START_TEST(a_failure_ends_only_its_member_and_starts_the_next)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, HOUR);
	struct request requests[4];
	struct ctx_failure failures[3];

	requests_init(requests, 4);
	for (int i = 0; i < 4; i++)
		start(group, &requests[i], "replica");
	await_question(ring, &requests[0]);
	ck_assert_uint_eq(requests[1].begun, 0);
	answer(&requests[0], '-');
	await_question(ring, &requests[1]);
	ck_assert_cancelled(requests[0].ctx);
	ck_assert_str_eq(cause_of(requests[0].ctx).text, "answer -");
	ck_assert_uint_eq(requests[2].begun, 0);
	shutdown(requests[1].pair.far, SHUT_RDWR);
	await_question(ring, &requests[2]);
	ck_assert_live(ctx_taskgroup_context(group));
	answer(&requests[2], '+');
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[2]);
	ck_assert_uint_eq(requests[3].begun, 0);
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 3), 2);
	ck_assert_int_eq(failures[0].error, -EBADMSG);
	ck_assert_str_eq(failures[0].text, "replica: answer -");
	ck_assert(!failures[0].consequence);
	ck_assert_int_eq(failures[1].error, -EPIPE);
	ck_assert_str_eq(failures[1].text, "replica: no answer");
	ck_assert(!failures[1].consequence);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 4);
	ring_end(ring);
}
END_TEST

START_TEST(when_all_have_failed_the_group_has)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, HOUR);
	static struct request requests[300];
	struct ctx_failure failures[2];

	for (int i = 0; i < 300; i++) {
		requests[i].error = -ECONNREFUSED - (i & 1);
		start(group, &requests[i], i ? "other" : "first");
	}
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECONNREFUSED);
	ck_assert_no_winner(group);
	ck_assert_live(ctx_taskgroup_context(group));
	ck_assert_int_eq(ctx_taskgroup_failures(group, failures, 2), 300);
	ck_assert_str_eq(failures[0].text, "first");
	ck_assert_str_eq(failures[1].text, "other");
	for (int i = 0; i < 300; i++)
		ck_assert_uint_eq(requests[i].begun, 1);
	ctx_taskgroup_free(group);
	ring_end(ring);
}
END_TEST

/* Goal: members that are queued behind one that runs, and all fail in their functions, start one after the
 * other. */
START_TEST(failing_functions_take_turns_without_recursion)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, HOUR);
	static struct request requests[2000];

	requests_init(requests, 1);
	start(group, &requests[0], NULL);
	for (int i = 1; i < 2000; i++) {
		requests[i].error = -EPROTO;
		requests[i].begun = 0;
		start(group, &requests[i], NULL);
	}
	await_question(ring, &requests[0]);
	answer(&requests[0], '-');
	ck_assert_int_eq(ctx_taskgroup_wait(group), -EBADMSG);
	for (int i = 0; i < 2000; i++)
		ck_assert_uint_eq(requests[i].begun, 1);
	ck_assert_int_eq(ctx_taskgroup_failures(group, NULL, 0), 2000);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 1);
	ring_end(ring);
}
END_TEST

static int succeed(struct ctx_taskgroup *member, void *data)
{
	(void)member;
	(*(unsigned *)data)++;
	return 0;
}

START_TEST(a_member_without_operations_ends_with_its_function)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, 0);
	unsigned ran = 0;

	ck_assert_ok(ctx_taskgroup_start_on_ring(group, succeed, &ran, NULL));
	ck_assert_cancelled(ctx_taskgroup_context(group));
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(group, succeed, &ran, NULL), -ECANCELED);
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &ran);
	ck_assert_uint_eq(ran, 1);
	ctx_taskgroup_free(group);
	ring_end(ring);
}
END_TEST

static int begin_chain(struct ctx_taskgroup *member, void *data)
{
	struct request *request = data;

	request->begun++;
	ctx_op_init(&request->send.op, probe_count, 0);
	struct io_uring_sqe *sqe = ctx_taskgroup_get_sqe(member, &request->send.op);
	io_uring_prep_send(sqe, request->pair.near, "?", 1, MSG_NOSIGNAL);
	sqe->flags |= IOSQE_IO_LINK;
	ctx_op_init(&request->recv.op, probe_count, 0);
	sqe = ctx_taskgroup_get_sqe(member, &request->recv.op);
	io_uring_prep_recv(sqe, request->pair.near, &request->answer, 1, 0);
	return 0;
}

START_TEST(a_member_can_be_a_chain)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, 0);
	struct request requests[2];

	requests_init(requests, 2);
	for (int i = 0; i < 2; i++)
		ck_assert_ok(ctx_taskgroup_start_on_ring(group, begin_chain, &requests[i], NULL));
	await_question(ring, &requests[0]);
	await_question(ring, &requests[1]);
	ck_assert_no_winner(group);
	answer(&requests[1], '+');
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[1]);
	ck_assert_probe(&requests[0].recv, -ECANCELED, CTX_OP_CANCELLED);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 2);
	ring_end(ring);
}
END_TEST

/* ---- turns */

START_TEST(the_next_starts_when_the_delay_is_over)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, MILLISECOND);
	struct request requests[4];

	requests_init(requests, 4);
	for (int i = 0; i < 4; i++)
		start(group, &requests[i], NULL);
	for (int i = 0; i < 4; i++)
		await_question(ring, &requests[i]);
	answer(&requests[3], '+');
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[3]);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 4);
	ring_end(ring);
}
END_TEST

/* Goal: members start by time in a wait, too, in which the program does nothing else. */
START_TEST(members_start_in_a_wait)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, MILLISECOND);
	struct request requests[3];

	requests_init(requests, 3);
	for (int i = 0; i < 3; i++)
		start(group, &requests[i], NULL);
	answer(&requests[2], '+'); /* it is there before it is asked for */
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[2]);
	ck_assert_uint_eq(requests[1].begun, 1);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 3);
	ring_end(ring);
}
END_TEST

START_TEST(no_more_run_than_the_limit)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_below(ctx_background(), ring, 2, 1);
	struct request requests[4];

	requests_init(requests, 4);
	for (int i = 0; i < 4; i++)
		start(group, &requests[i], NULL);
	await_question(ring, &requests[0]);
	await_question(ring, &requests[1]);
	ck_assert_uint_eq(requests[2].begun, 0);
	answer(&requests[1], '-');
	await_question(ring, &requests[2]);
	ck_assert_uint_eq(requests[3].begun, 0);
	answer(&requests[0], '+');
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[0]);
	ck_assert_uint_eq(requests[3].begun, 0);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 4);
	ring_end(ring);
}
END_TEST

/* ---- parents */

static void *cancel_in_thread(void *data)
{
	ctx_cancel(data);
	return NULL;
}

START_TEST(the_end_of_the_parent_ends_all)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_context *parent = timed_child_of(ctx_background(), HOUR);
	struct ctx_taskgroup *group = group_below(parent, ring, 0, HOUR);
	struct request requests[2];
	pthread_t thread;

	requests_init(requests, 2);
	start(group, &requests[0], NULL);
	start(group, &requests[1], NULL);
	await_question(ring, &requests[0]);
	ck_assert_ok(pthread_create(&thread, NULL, cancel_in_thread, parent));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ECANCELED);
	ck_assert_ok(pthread_join(thread, NULL));
	ck_assert_no_winner(group);
	ck_assert_uint_eq(requests[1].begun, 0);
	ctx_taskgroup_free(group);
	ctx_finish(parent);
	requests_end(ring, requests, 2);

	parent = timed_child_of(ctx_background(), HOUR);
	group = group_below(parent, ring, 0, HOUR);
	requests_init(requests, 2);
	start(group, &requests[0], NULL);
	start(group, &requests[1], NULL);
	ck_assert_ok(ctx_set_deadline(parent, clock_now_ns() + 10 * MILLISECOND));
	ck_assert_int_eq(ctx_taskgroup_wait(group), -ETIME);
	ck_assert_no_winner(group);
	ck_assert_uint_eq(requests[1].begun, 0);
	ctx_taskgroup_free(group);
	ctx_finish(parent);
	requests_end(ring, requests, 2);
	ring_end(ring);
}
END_TEST

/* ---- freeing */

static struct ctx_taskgroup *to_free;

static void free_in_callback(struct ctx_ring *ring, struct ctx_op *op,
			     const struct ctx_completion *completion)
{
	probe_count(ring, op, completion);
	ctx_taskgroup_free(to_free);
	to_free = NULL;
}

static bool ring_rests(struct ctx_ring *ring)
{
	ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
	return test_count_operations() == 0;
}

/* Goal: freed in a callback of a member, alone or with others that run and wait, it goes with the last
 * member. */
START_TEST(freed_in_a_callback_it_goes_with_its_last_member)
{
	struct ctx_ring *ring = ring_of(_i);
	struct request requests[3];

	for (unsigned count = 1; count <= 3; count++) {
		requests_init(requests, 3);
		to_free = group_below(ctx_background(), ring, 2, 0);
		struct ctx_taskgroup *group = to_free;
		for (unsigned i = 0; i < count; i++)
			start(group, &requests[i], NULL);
		await_question(ring, &requests[0]);
		while (!requests[0].recv.op.callback)
			ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
		requests[0].recv.op.callback = free_in_callback;
		answer(&requests[0], '+');
		while (to_free || !ring_rests(ring))
			ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND), 0);
		ck_assert_uint_eq(requests[2].begun, 0);
		requests_end(ring, requests, 3);
	}
	ring_end(ring);
}
END_TEST

static int free_in_function(struct ctx_taskgroup *member, void *data)
{
	(void)member;
	ck_assert_int_eq(ctx_taskgroup_wait(to_free), -EDEADLK);
	ctx_taskgroup_free(to_free);
	return *(int *)data;
}

START_TEST(freed_in_a_members_function_it_goes_afterwards)
{
	struct ctx_ring *ring = ring_of(_i);
	int results[] = {0, -EPIPE};

	for (int i = 0; i < 2; i++) {
		to_free = group_on(ring, 0);
		ck_assert_ok(ctx_taskgroup_start_on_ring(to_free, free_in_function, &results[i], NULL));
	}
	ring_end(ring);
}
END_TEST

static void free_in_end(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	ctx_taskgroup_free(data);
}

/* Goal: the success of a member whose function ends it at once runs a callback that frees the group. */
START_TEST(freed_by_a_callback_of_its_context_it_goes_afterwards)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, 0);
	struct ctx_callback callback = {0};
	unsigned ran = 0;

	ck_assert_ok(ctx_callback_add(ctx_taskgroup_context(group), &callback, free_in_end, group, NULL));
	ck_assert_ok(ctx_taskgroup_start_on_ring(group, succeed, &ran, NULL));
	ck_assert_uint_eq(ran, 1);
	ring_end(ring);
}
END_TEST

START_TEST(freeing_ends_and_waits)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, MILLISECOND);
	struct request requests[3];

	requests_init(requests, 3);
	start(group, &requests[0], NULL);
	await_question(ring, &requests[0]);
	ctx_taskgroup_free(group_on(ring, 0));
	group = (ctx_taskgroup_free(group), group_on(ring, HOUR));
	start(group, &requests[1], NULL);
	start(group, &requests[2], NULL);
	ctx_taskgroup_free(group);
	ck_assert_uint_eq(requests[2].begun, 0);
	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	requests_end(ring, requests, 3);
	ring_end(ring);
}
END_TEST

START_TEST(a_ring_closed_first_leaves_a_group_that_can_be_freed)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, HOUR);
	struct request requests[3];

	requests_init(requests, 3);
	for (int i = 0; i < 3; i++)
		start(group, &requests[i], NULL);
	await_question(ring, &requests[0]);
	ring_end(ring);
	ck_assert_uint_eq(requests[1].begun, 0);
	ctx_taskgroup_free(group);
	requests_end(NULL, requests, 3);
}
END_TEST

/* ---- forks and bad use */

static int use_in_child(void *data)
{
	struct ctx_taskgroup *group = data;
	void *winner;

	if (ctx_taskgroup_wait(group) != -EPERM || ctx_taskgroup_first(group, &winner) != -EPERM ||
	    ctx_taskgroup_start_on_ring(group, ask, NULL, NULL) != -EPERM)
		return 1;
	ctx_taskgroup_free(group);
	return 0;
}

START_TEST(a_forked_child_leaves_the_parents_group_alone)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup *group = group_on(ring, HOUR);
	struct request requests[2];

	requests_init(requests, 2);
	start(group, &requests[0], NULL);
	start(group, &requests[1], NULL);
	await_question(ring, &requests[0]);
	test_settle();
	ck_assert_int_eq(test_in_child(use_in_child, group), 0);
	answer(&requests[0], '-');
	await_question(ring, &requests[1]);
	answer(&requests[1], '+');
	ck_assert_ok(ctx_taskgroup_wait(group));
	ck_assert_winner(group, &requests[1]);
	ctx_taskgroup_free(group);
	requests_end(ring, requests, 2);
	ring_end(ring);
}
END_TEST

static int misuse(struct ctx_taskgroup *member, void *data)
{
	void *winner;

	ck_assert_int_eq(ctx_taskgroup_wait(member), -EINVAL);
	ctx_taskgroup_free(member);
	ck_assert_int_eq(ctx_taskgroup_first(member, &winner), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(member, succeed, data, NULL), -EINVAL);
	ck_assert_live(ctx_taskgroup_context(member));
	(*(unsigned *)data)++;
	return 0;
}

START_TEST(bad_use_is_refused)
{
	struct ctx_ring *ring = ring_of(_i);
	struct ctx_taskgroup_options options = {.limit = 1, .ring = ring};
	struct ctx_taskgroup *group = NULL;
	struct probe probe = {0};
	unsigned ran = 0;

	ck_assert_int_eq(ctx_taskgroup_new_with_options(ctx_background(), &options, NULL, &group), -EINVAL);
	options.limit = 0;
	ck_assert_ok(ctx_taskgroup_new_with_options(ctx_background(), &options, NULL, &group));
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(group, succeed, &ran, NULL), -EINVAL);
	ctx_taskgroup_free(group);
	group = group_on(ring, 0);
	ctx_op_init(&probe.op, probe_count, 0);
	ck_assert_ptr_null(ctx_taskgroup_get_sqe(group, &probe.op));
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(group, NULL, &ran, NULL), -EINVAL);
	ck_assert_int_eq(ctx_taskgroup_start_on_ring(NULL, succeed, &ran, NULL), -EINVAL);
	ck_assert_ok(ctx_taskgroup_start_on_ring(group, misuse, &ran, NULL));
	ck_assert_uint_eq(ran, 1);
	ctx_taskgroup_free(group);
	ring_end(ring);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("taskgroup_first_ring");
	TCase *ends = test_case_ring(suite, "ends"), *turns = test_case_ring(suite, "turns"),
	      *others = test_case_ring(suite, "others");

	ON_EACH_RING(ends, the_first_answer_ends_the_other_requests);
	ON_EACH_RING(ends, a_failure_ends_only_its_member_and_starts_the_next);
	ON_EACH_RING(ends, when_all_have_failed_the_group_has);
	ON_EACH_RING(ends, failing_functions_take_turns_without_recursion);
	ON_EACH_RING(ends, a_member_without_operations_ends_with_its_function);
	ON_EACH_RING(ends, a_member_can_be_a_chain);
	ON_EACH_RING(ends, the_end_of_the_parent_ends_all);
	ON_EACH_RING(turns, the_next_starts_when_the_delay_is_over);
	ON_EACH_RING(turns, members_start_in_a_wait);
	ON_EACH_RING(turns, no_more_run_than_the_limit);
	ON_EACH_RING(others, freed_in_a_callback_it_goes_with_its_last_member);
	ON_EACH_RING(others, freed_in_a_members_function_it_goes_afterwards);
	ON_EACH_RING(others, freed_by_a_callback_of_its_context_it_goes_afterwards);
	ON_EACH_RING(others, freeing_ends_and_waits);
	ON_EACH_RING(others, a_ring_closed_first_leaves_a_group_that_can_be_freed);
	ON_EACH_RING(others, a_forked_child_leaves_the_parents_group_alone);
	ON_EACH_RING(others, bad_use_is_refused);
	return suite;
}
