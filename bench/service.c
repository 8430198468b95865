/* SPDX-License-Identifier: MIT */
/*
 * Contexts across processes. Measured are the time from the owner's cancel to the completion in the ring of
 * the other process, beside a wake by eventfd between the same two processes; and how often a second one pair
 * of clients can share, join and cancel.
 *
 * $CTXD_SOCKET names the socket of a service that the caller has started, as bench/service.sh does.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ours.h"

/* Memory that both processes share. */
struct board {
	_Atomic uint32_t round;	  /* the round that the other process is ready for */
	_Atomic uint64_t seen_ns; /* when the other process saw the end; 0: not yet */
	_Atomic uint32_t turn;	  /* the round that id belongs to */
	struct ctxd_id id;
};

static struct board *board;
static unsigned rounds;

static struct ctxd_client *connect_client(unsigned flags)
{
	struct ctxd_options options = {.flags = flags};
	struct ctxd_client *client;
	char words[200];
	int result = ctxd_connect(&options, &client);

	if (result) {
		ctxd_explain(result, words, sizeof(words));
		bench_fail("%s", words);
	}
	return client;
}

static void await_round(uint32_t round)
{
	while (atomic_load(&board->round) != round)
		poll(NULL, 0, 0);
	/* Waits until the other process sleeps: to wake it is a part of what is measured. */
	poll(NULL, 0, 1);
}

static uint64_t await_seen(void)
{
	uint64_t seen_ns;

	/* Sleeps between looks, since spinning would take a processor away from the process that takes the
	 * time. */
	while (!(seen_ns = atomic_exchange(&board->seen_ns, 0)))
		poll(NULL, 0, 1);
	return seen_ns;
}

/*
 * Gives each of the two processes a processor of its own. Where the scheduler puts them decides between 3 and
 * 30 us, and it does not decide alike in the two cases that are compared.
 */
static void pin(unsigned processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1 && sched_setaffinity(0, sizeof(set), &set))
		bench_fail("sched_setaffinity: %s", strerror(errno));
}

static pid_t start_other(void (*function)(int), int fd)
{
	pid_t pid;

	atomic_store(&board->round, 0);
	atomic_store(&board->seen_ns, 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(1);
		function(fd);
		_exit(0);
	}
	return pid;
}

static void end_other(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	if (status)
		bench_fail("the other process ended with %d", status);
}

/* ---- a wake: the other process reads an eventfd */

static void wait_eventfd(int fd)
{
	uint64_t count;

	for (unsigned i = 1; i <= rounds; i++) {
		atomic_store(&board->round, i);
		if (read(fd, &count, sizeof(count)) < 0)
			_exit(1);
		atomic_store(&board->seen_ns, bench_now_ns());
	}
}

static void wake_eventfd(double *values)
{
	int fd = bench_check(eventfd(0, EFD_CLOEXEC), "eventfd");
	pid_t other = start_other(wait_eventfd, fd);
	uint64_t one = 1;

	for (unsigned i = 1; i <= rounds; i++) {
		await_round(i);
		uint64_t start_ns = bench_now_ns();
		if (write(fd, &one, sizeof(one)) < 0)
			bench_fail("write: %s", strerror(errno));
		values[i - 1] = (double)(await_seen() - start_ns);
	}
	end_other(other);
	close(fd);
}

/* ---- a cancel: the other process waits in its ring, with a receive under the joined context */

static bool own_dispatch;
static struct ctxd_client *client;
static bool ended;

static void service_ready(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	ctxd_dispatch(client, 0);
	if (!completion->more)
		io_uring_prep_poll_multishot(ctx_ring_get_sqe(ring, ctx_background(), op), ctxd_fd(client),
					     POLLIN);
}

static void receive_ended(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	(void)completion;
	atomic_store(&board->seen_ns, bench_now_ns());
	ended = true;
}

static void receive_under_joined(int fd)
{
	struct ctx_ring *ring;
	struct ctx_op poll_op, receive;
	char buffer[16];
	int pair[2];

	(void)fd;
	client = connect_client(own_dispatch ? CTXD_OWN_DISPATCH : 0);
	bench_check(ctx_ring_open(64, NULL, &ring), "ctx_ring_open");
	bench_check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	ctx_op_init(&poll_op, service_ready, 0);
	ctx_op_init(&receive, receive_ended, 0);
	if (own_dispatch)
		io_uring_prep_poll_multishot(ctx_ring_get_sqe(ring, ctx_background(), &poll_op),
					     ctxd_fd(client), POLLIN);
	for (unsigned i = 1; i <= rounds; i++) {
		struct ctx_context *joined;
		while (atomic_load(&board->turn) != i)
			poll(NULL, 0, 0);
		bench_check(ctxd_join(client, board->id, &joined), "ctxd_join");
		io_uring_prep_recv(ctx_ring_get_sqe(ring, joined, &receive), pair[0], buffer, sizeof(buffer),
				   0);
		ended = false;
		ctx_ring_dispatch(ring, 0);
		atomic_store(&board->round, i);
		while (!ended)
			bench_check(ctx_ring_dispatch(ring, CTX_FOREVER), "ctx_ring_dispatch");
		ctx_finish(joined);
	}
}

static void cancel_across(double *values, bool own)
{
	struct ctxd_client *owner = connect_client(own ? CTXD_OWN_DISPATCH : 0);
	own_dispatch = own;
	atomic_store(&board->turn, 0);
	pid_t other = start_other(receive_under_joined, -1);

	for (unsigned i = 1; i <= rounds; i++) {
		struct ctx_context *ctx;
		bench_check(ctx_with_cancel(ctx_background(), "request", &ctx), "ctx_with_cancel");
		bench_check(ctxd_share(owner, ctx, NULL, 0, &board->id), "ctxd_share");
		atomic_store(&board->turn, i);
		await_round(i);
		uint64_t start_ns = bench_now_ns();
		ctx_cancel(ctx);
		values[i - 1] = (double)(await_seen() - start_ns);
		ctx_unref(ctx);
		if (own)
			ctxd_dispatch(owner, 0);
	}
	end_other(other);
	ctxd_close(owner);
}

static double percentile(double *values, unsigned percent)
{
	qsort(values, rounds, sizeof(*values), bench_compare);
	return values[(size_t)rounds * percent / 100];
}

static void report_wakes(void)
{
	double *bare = bench_allocate(rounds, sizeof(*bare)), *own = bench_allocate(rounds, sizeof(*own)),
	       *thread = bench_allocate(rounds, sizeof(*thread));

	pin(0);
	wake_eventfd(bare);
	cancel_across(own, true);
	cancel_across(thread, false);
	double bare_p50 = percentile(bare, 50), own_p50 = percentile(own, 50),
	       thread_p50 = percentile(thread, 50);
	bench_report("bare eventfd wake, p50", bare_p50, "ns", NAN, NULL, NULL);
	bench_report("bare eventfd wake, p99", percentile(bare, 99), "ns", NAN, NULL, NULL);
	bench_report("cancel across, own dispatch, p50", own_p50, "ns", own_p50 / bare_p50,
		     "bare eventfd wake", "<= 2");
	bench_report("cancel across, own dispatch, p99", percentile(own, 99), "ns", NAN, NULL, NULL);
	bench_report("cancel across, client's thread, p50", thread_p50, "ns", thread_p50 / bare_p50,
		     "bare eventfd wake", NULL);
	bench_report("cancel across, client's thread, p99", percentile(thread, 99), "ns", NAN, NULL, NULL);
	free(bare);
	free(own);
	free(thread);
}

/* ---- how many a second */

static void report_rates(void)
{
	struct ctxd_client *owner = connect_client(0), *joiner = connect_client(0);
	uint64_t start_ns = bench_now_ns();

	for (unsigned i = 0; i < rounds; i++) {
		struct ctx_context *ctx, *joined;
		struct ctxd_id id;
		bench_check(ctx_with_cancel(ctx_background(), "request", &ctx), "ctx_with_cancel");
		bench_check(ctxd_share(owner, ctx, NULL, 0, &id), "ctxd_share");
		bench_check(ctxd_join(joiner, id, &joined), "ctxd_join");
		ctx_cancel(ctx);
		bench_check(ctx_wait(joined, CTX_FOREVER), "ctx_wait");
		ctx_finish(joined);
		ctx_unref(ctx);
	}
	double seconds = (double)(bench_now_ns() - start_ns) / 1e9;
	bench_report("share, join, cancel, seen", rounds / seconds, "per s", NAN, NULL, NULL);
	ctxd_close(joiner);
	ctxd_close(owner);
}

/* ---- many contexts and clients: held until the input ends, while bench/service.sh measures ctxd */

static void hold(unsigned clients, unsigned contexts)
{
	struct ctxd_client **all = bench_allocate(clients, sizeof(struct ctxd_client *));
	char end;

	for (unsigned i = 0; i < clients; i++)
		all[i] = connect_client(CTXD_OWN_DISPATCH);
	for (unsigned i = 0; i < contexts; i++) {
		struct ctx_context *ctx;
		bench_check(ctx_with_cancel(ctx_background(), "held", &ctx), "ctx_with_cancel");
		bench_check(ctxd_share(all[i % clients], ctx, NULL, 0, NULL), "ctxd_share");
	}
	puts("held");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &end, 1);
	_exit(0);
}

/* Holds so many contexts in its table, while bench/service.sh measures ctxtool. */
static void hold_contexts(unsigned contexts)
{
	char end;

	for (unsigned i = 0; i < contexts; i++) {
		struct ctx_context *ctx;
		bench_check(ctx_with_cancel(ctx_background(), "one of many", &ctx), "ctx_with_cancel");
	}
	puts("held");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &end, 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "hold") == 0) {
		hold((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "contexts") == 0) {
		hold_contexts((unsigned)atoi(argv[2]));
		return 0;
	}
	bench_start("service", argc, argv);
	rounds = bench.quick ? 500 : 5000;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		bench_fail("mmap: %s", strerror(errno));
	if (bench_wanted("wakes"))
		report_wakes();
	if (bench_wanted("rates"))
		report_rates();
	return 0;
}
