/* SPDX-License-Identifier: MIT */
/* CTXRING_DEBUG: what the library says on stderr of the errors of its functions, and how often. */
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "debug.h"
#include "op.h"
#include "support/rings.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN);

static int captured_fd = -1, stderr_fd = -1;

/* From here on stderr goes to memory, and the library explains errors if setting is "1". */
static void begin_capture(const char *setting)
{
	if (setting)
		ck_assert_ok(setenv("CTXRING_DEBUG", setting, 1));
	else
		ck_assert_ok(unsetenv("CTXRING_DEBUG"));
	captured_fd = memfd_create("stderr", MFD_CLOEXEC);
	stderr_fd = fcntl(2, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_ge(captured_fd, 0);
	ck_assert_int_eq(dup2(captured_fd, 2), 2);
	debug_read_environment();
}

/* Ends that, and returns what was written. */
static const char *end_capture(void)
{
	static char text[600 * 1100];

	ck_assert_int_eq(dup2(stderr_fd, 2), 2);
	ssize_t size = pread(captured_fd, text, sizeof(text) - 1, 0);
	ck_assert_int_ge(size, 0);
	text[size] = '\0';
	close(captured_fd);
	close(stderr_fd);
	unsetenv("CTXRING_DEBUG");
	debug_read_environment();
	return text;
}

static unsigned count_lines(const char *text)
{
	unsigned count = 0;

	for (; (text = strchr(text, '\n')); text++)
		count++;
	return count;
}

/* Checks that text is one line, which is "ctxring: ", what format says, and a place in this program. */
static void __attribute__((format(printf, 2, 3))) check_line(const char *text, const char *format, ...)
{
	static const char at[] = "; called at 0x";
	char wanted[500];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(wanted, sizeof(wanted), format, arguments);
	va_end(arguments);
	ck_assert_uint_eq(count_lines(text), 1);
	ck_assert_int_eq(strncmp(text, "ctxring: ", 9), 0);
	const char *place = strstr(text, at);
	ck_assert_msg(place && strlen(wanted) == (size_t)(place - text - 9) &&
			      !strncmp(text + 9, wanted, strlen(wanted)),
		      "said: %swanted: ctxring: %s", text, wanted);
	const char *file = strchr(place + sizeof(at), ',');
	ck_assert_msg(file && (!strncmp(file, ", check", 7)) && strstr(file, "+0x"), "said: %s", text);
}

START_TEST(null_argument_is_named)
{
	struct ctx_context *ctx;

	begin_capture("1");
	ck_assert_int_eq(ctx_with_cancel(ctx_background(), NULL, NULL), -EINVAL);
	check_line(end_capture(), "ctx_with_cancel returned -EINVAL: argument ret_ctx is NULL");
	begin_capture("1");
	ck_assert_int_eq(ctx_with_timeout(NULL, 1, NULL, &ctx), -EINVAL);
	check_line(end_capture(), "ctx_with_timeout returned -EINVAL: argument parent is NULL");
	begin_capture("1");
	ck_assert_int_eq(ctx_cancel((struct ctx_context *)ctx_background()), -EINVAL);
	check_line(end_capture(),
		   "ctx_cancel returned -EINVAL: the context never ends by itself: it is a root, a "
		   "value, or was made by ctx_without_cancel");
	begin_capture("1");
	ck_assert_int_eq(ctx_ring_submit(NULL), -EINVAL);
	check_line(end_capture(), "ctx_ring_submit returned -EINVAL: argument ring is NULL");
	begin_capture("1");
	ck_assert_int_eq(ctxio_close(NULL, -1), -EINVAL);
	check_line(end_capture(), "ctxio_close returned -EINVAL: argument ctx is NULL");
	begin_capture("1");
	ck_assert_int_eq(ctxd_watch(NULL, 0), -EINVAL);
	check_line(end_capture(), "ctxd_watch returned -EINVAL: argument client is NULL");
}
END_TEST

START_TEST(done_context_is_explained_by_its_cause)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_taskgroup *group;

	ck_assert_ok(ctx_taskgroup_new(ctx, 1, NULL, &group));
	ck_assert_ok(ctx_cancel_cause(ctx, -EPIPE, "left"));
	long tid = syscall(SYS_gettid);
	const void *site = cause_of(ctx).site;
	begin_capture("1");
	ck_assert_int_eq(ctx_set_deadline(ctx, 1), -EALREADY);
	check_line(end_capture(),
		   "ctx_set_deadline returned -EALREADY: the context is done: cancelled by a call in thread "
		   "%ld at "
		   "%p, EPIPE: left",
		   tid, site);
	begin_capture("1");
	ck_assert_int_eq(ctx_taskgroup_start(group, (ctx_task_fn)(uintptr_t)1, NULL, NULL), -ECANCELED);
	check_line(end_capture(),
		   "ctx_taskgroup_start returned -ECANCELED: the context is done: inherited from %u.%u: "
		   "cancelled by "
		   "a call in thread %ld at %p, EPIPE: left",
		   (unsigned)ctx_id(ctx), (unsigned)(ctx_id(ctx) >> 32), tid, site);
	ctx_taskgroup_free(group);
	ctx_unref(ctx);
}
END_TEST

START_TEST(handler_may_cause_an_explanation)
{
	struct ctx_context *ctx = child_of(ctx_background());

	begin_capture("1");
	errno = ENOTTY;
	ck_assert_int_eq(ctx_cancel_from_signal(ctx, SIGTERM), -EINVAL);
	ck_assert_int_eq(errno, ENOTTY);
	const char *text = end_capture();
	ck_assert_uint_eq(count_lines(text), 1);
	ck_assert_ptr_nonnull(
		strstr(text, "ctx_cancel_from_signal returned -EINVAL: the context was not prepared by "
			     "ctx_signal_prepare; called at 0x"));
	ctx_finish(ctx);
	begin_capture("1");
	ck_assert_int_eq(ctx_err(NULL), -EINVAL);
	text = end_capture();
	ck_assert_uint_eq(count_lines(text), 1);
	ck_assert_ptr_nonnull(strstr(text, "ctx_err returned -EINVAL: argument ctx is NULL; called at 0x"));
	/* To find out the file, dladdr(3) is called, which is not async-signal-safe. */
	ck_assert_ptr_null(strchr(text, ','));
}
END_TEST

START_TEST(each_place_is_explained_once)
{
	void *value;

	begin_capture("1");
	for (int i = 0; i < 10; i++)
		ctx_value(NULL, NULL, &value);
	ck_assert_uint_eq(count_lines(end_capture()), 1);
	begin_capture("1");
	for (int i = 0; i < 10; i++) {
		ctx_value(NULL, NULL, &value);
		ctx_value(NULL, NULL, &value);
	}
	ck_assert_uint_eq(count_lines(end_capture()), 2);
	/* Another error at the same place is another explanation. */
	begin_capture("1");
	for (int i = 0; i < 10; i++)
		ctx_value(i % 2 ? ctx_background() : NULL, NULL, &value);
	ck_assert_uint_eq(count_lines(end_capture()), 2);
}
END_TEST

START_TEST(errno_stays_as_it_is)
{
	begin_capture("1");
	errno = EXDEV;
	ck_assert_int_eq(ctx_wait(NULL, 0), -EINVAL);
	ck_assert_int_eq(errno, EXDEV);
	ck_assert_uint_eq(count_lines(end_capture()), 1);
}
END_TEST

START_TEST(nothing_is_said_unless_it_is_wanted)
{
	static const char *const settings[] = {NULL, "", "0", "yes", "11"};

	for (unsigned i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		begin_capture(settings[i]);
		ck_assert_int_eq(ctx_wait(NULL, 0), -EINVAL);
		ck_assert_ptr_null(ctx_ring_get_sqe(NULL, NULL, NULL));
		ck_assert_str_eq(end_capture(), "");
	}
}
END_TEST

START_TEST(number_of_explanations_is_bounded)
{
	begin_capture("1");
	for (uintptr_t key = 1; key <= 3000; key++)
		debug_tell_event(key, "event");
	const char *text = end_capture();
	ck_assert_uint_eq(count_lines(text), 1024 + 1);
	ck_assert_ptr_nonnull(strstr(text, "ctxring: there is no room to remember more explanations"));
}
END_TEST

static void *call_often(void *data)
{
	(void)data;
	for (int i = 0; i < 100; i++)
		ctx_wait(NULL, 0);
	return NULL;
}

START_TEST(threads_explain_once_and_in_whole_lines)
{
	pthread_t threads[4];

	begin_capture("1");
	for (unsigned i = 0; i < 4; i++)
		ck_assert_ok(pthread_create(&threads[i], NULL, call_often, NULL));
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	check_line(end_capture(), "ctx_wait returned -EINVAL: argument ctx is NULL");
}
END_TEST

/* ---- rings */

static struct ctx_ring *open_ring(unsigned entries, unsigned flags)
{
	struct ctx_ring_options options = {.flags = flags};
	struct ctx_ring *ring;

	ck_assert_ok(ctx_ring_open(entries, &options, &ring));
	ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0); /* this thread is the owner from here on */
	return ring;
}

START_TEST(operation_is_explained)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = open_ring(8, 0);
	struct ctx_completion completion;
	static struct ctx_op op;

	begin_capture("1");
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, ctx, &op));
	check_line(end_capture(),
		   "ctx_ring_get_sqe returned NULL: the operation was not initialised by ctx_op_init");
	begin_capture("1");
	ck_assert_int_eq(ctx_op_result(&op, &completion), -EINPROGRESS);
	check_line(end_capture(),
		   "ctx_op_result returned -EINPROGRESS: the operation was not initialised by ctx_op_init");
	ctx_op_init(&op, NULL, 0);
	begin_capture("1");
	ck_assert_int_eq(ctx_op_set_timeout(&op, 1), -EINVAL);
	check_line(end_capture(),
		   "ctx_op_set_timeout returned -EINVAL: ctx_ring_get_sqe was not called for the "
		   "operation before");
	io_uring_prep_nop(ctx_ring_get_sqe(ring, ctx, &op));
	begin_capture("1");
	ck_assert_ptr_null(ctx_ring_get_sqe(ring, ctx, &op));
	check_line(end_capture(),
		   "ctx_ring_get_sqe returned NULL: the operation is in flight: its final completion "
		   "was not delivered");
	begin_capture("1");
	ck_assert_int_eq(ctx_op_set_flags(&op, CTX_OP_PARK | CTX_OP_PENDING), -EINVAL);
	check_line(end_capture(),
		   "ctx_op_set_flags returned -EINVAL: CTX_OP_PARK and CTX_OP_PENDING are both set");
	ck_assert_int_eq(ctx_ring_dispatch(ring, SOON), 1);
	ck_assert_ok(ctx_cancel(ctx));
	begin_capture("1");
	ck_assert_ptr_nonnull(ctx_ring_get_sqe(ring, ctx, &op));
	check_line(end_capture(),
		   "ctx_ring_get_sqe began an operation that will complete with -ECANCELED: the context is "
		   "done: "
		   "cancelled by a call in thread %ld at %p",
		   syscall(SYS_gettid), cause_of(ctx).site);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	ctx_unref(ctx);
}
END_TEST

START_TEST(operation_of_a_group_is_explained)
{
	struct ctx_ring *ring = open_ring(8, 0);
	struct ctx_taskgroup *group;
	static struct ctx_op op;

	ck_assert_ok(ctx_taskgroup_new_on_ring(ctx_background(), ring, NULL, &group));
	begin_capture("1");
	ck_assert_ptr_null(ctx_taskgroup_get_sqe(group, &op));
	check_line(end_capture(),
		   "ctx_taskgroup_get_sqe returned NULL: the operation was not initialised by ctx_op_init");
	ctx_taskgroup_free(group);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
}
END_TEST

struct stranger {
	struct ctx_ring *ring;
	long tid;
};

static void *submit_as_stranger(void *data)
{
	struct stranger *stranger = data;

	stranger->tid = syscall(SYS_gettid);
	ck_assert_int_eq(ctx_ring_submit(stranger->ring), -EPERM);
	return NULL;
}

START_TEST(ring_of_another_thread_is_explained)
{
	struct stranger stranger = {.ring = open_ring(8, 0)};
	pthread_t thread;

	begin_capture("1");
	ck_assert_ok(pthread_create(&thread, NULL, submit_as_stranger, &stranger));
	pthread_join(thread, NULL);
	check_line(end_capture(),
		   "ctx_ring_submit returned -EPERM: the ring belongs to thread %ld, and thread %ld called",
		   syscall(SYS_gettid), stranger.tid);
	ck_assert_ok(ctx_ring_close(stranger.ring, SOON, NULL, 0, NULL));
}
END_TEST

START_TEST(ring_from_before_a_fork_is_explained)
{
	struct ctx_ring *ring = open_ring(8, 0);
	int status;

	begin_capture("1");
	pid_t child = fork();
	if (!child)
		_exit(ctx_ring_dispatch(ring, 0) != -EPERM);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	check_line(end_capture(),
		   "ctx_ring_dispatch returned -EPERM: the ring was opened in process %d, before a fork: "
		   "here it can "
		   "only be closed",
		   (int)getpid());
	ck_assert_int_eq(status, 0);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
}
END_TEST

START_TEST(chain_that_is_too_long_is_explained)
{
	struct ctx_ring *ring = open_ring(2, CTX_RING_ONE_TIMER);
	struct ctx_op ops[4];

	for (unsigned i = 0; i < 4; i++) {
		ctx_op_init(&ops[i], NULL, 0);
		struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, ctx_background(), &ops[i]);
		io_uring_prep_nop(sqe);
		sqe->flags |= i < 3 ? IOSQE_IO_LINK : 0;
	}
	begin_capture("1");
	ck_assert_int_eq(ctx_ring_dispatch(ring, SOON), 4);
	ck_assert_str_eq(end_capture(),
			 "ctxring: a chain of 4 operations completes with -E2BIG: with linked timeouts it "
			 "takes 4 entries, and the queue of the ring has 2\n");
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
}
END_TEST

START_TEST(descriptor_that_was_closed_under_a_parked_operation_is_explained)
{
	struct ctx_context *ctx = child_of(ctx_background());
	struct ctx_ring *ring = open_ring(8, CTX_RING_PARK);
	struct ctx_op op;
	char byte, wanted[200];
	int fds[2];

	ck_assert_ok(pipe2(fds, O_CLOEXEC));
	ctx_op_init(&op, NULL, 0);
	io_uring_prep_read(ctx_ring_get_sqe(ring, ctx, &op), fds[0], &byte, 1, (uint64_t)-1);
	ck_assert_ok(ctx_op_set_flags(&op, CTX_OP_PARK));
	while (op_from_public(&op)->phase != OP_PARKED)
		ck_assert_int_ge(ctx_ring_dispatch(ring, 1000000), 0);
	begin_capture("1");
	close(fds[0]);
	ck_assert_ok(ctx_cancel(ctx));
	snprintf(wanted, sizeof(wanted),
		 "ctxring: descriptor %d was closed by close(2) while an operation was parked on it: close "
		 "it by "
		 "ctx_ring_close_fd\n",
		 fds[0]);
	ck_assert_str_eq(end_capture(), wanted);
	close(fds[1]);
	ck_assert_ok(ctx_ring_close(ring, SOON, NULL, 0, NULL));
	ctx_unref(ctx);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("debug");
	TCase *calls = test_case(suite, "calls");

	tcase_add_test(calls, null_argument_is_named);
	tcase_add_test(calls, done_context_is_explained_by_its_cause);
	tcase_add_test(calls, handler_may_cause_an_explanation);
	tcase_add_test(calls, each_place_is_explained_once);
	tcase_add_test(calls, errno_stays_as_it_is);
	tcase_add_test(calls, nothing_is_said_unless_it_is_wanted);
	tcase_add_test(calls, number_of_explanations_is_bounded);
	tcase_add_test(calls, threads_explain_once_and_in_whole_lines);
	if (test_mode() == TEST_TSAN)
		return suite;
	TCase *rings = test_case_ring(suite, "rings");
	tcase_add_test(rings, operation_is_explained);
	tcase_add_test(rings, operation_of_a_group_is_explained);
	tcase_add_test(rings, ring_of_another_thread_is_explained);
	tcase_add_test(rings, ring_from_before_a_fork_is_explained);
	tcase_add_test(rings, chain_that_is_too_long_is_explained);
	tcase_add_test(rings, descriptor_that_was_closed_under_a_parked_operation_is_explained);
	return suite;
}
