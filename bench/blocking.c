/* SPDX-License-Identifier: MIT */
/*
 * What a blocking call under a context costs, beside the same call by hand, which submits a request to an
 * io_uring and waits for it, and beside the plain system call, which nothing can end.
 */
#include <liburing.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "bench.h"
#include "ctxring.h"

#define MESSAGE 64u
#define FILL (60u * 1024)
#define FILE_BLOCK 4096u
#define ENTRIES 4u

enum work {
	WORK_RECV, /* recv of data that has arrived */
	WORK_READ, /* read of data that is in a pipe */
	WORK_FILE, /* pread of a file that is in the page cache */
	WORK_PING_PONG,
};

enum way {
	WAY_OURS,
	WAY_RING,
	WAY_CALL,
	WAYS
};

static const char *const way_names[] = {"ctxio", "submit-and-wait by hand", "plain system call"};

struct side {
	enum work work;
	enum way way;
	bool deadline;
	unsigned rounds;
	struct ctx_context *ctx;
	int in, out;
	struct io_uring *ring; /* of WAY_RING */
};

static void prepare(const struct side *side, struct io_uring_sqe *sqe, void *buffer)
{
	if (side->work == WORK_READ)
		io_uring_prep_read(sqe, side->in, buffer, MESSAGE, (uint64_t)-1);
	else if (side->work == WORK_FILE)
		io_uring_prep_read(sqe, side->in, buffer, FILE_BLOCK, 0);
	else
		io_uring_prep_recv(sqe, side->in, buffer, MESSAGE, 0);
}

/* One request as a careful program makes it. A deadline is passed to the wait. */
static ssize_t submit_and_wait(struct side *side)
{
	struct __kernel_timespec left = {.tv_sec = 3600};
	struct io_uring_cqe *cqe;
	int error = side->deadline ? io_uring_submit_and_wait_timeout(side->ring, &cqe, 1, &left, NULL)
				   : io_uring_submit_and_wait(side->ring, 1);

	bench_check(error, "submit and wait");
	bench_check(io_uring_peek_cqe(side->ring, &cqe), "io_uring_peek_cqe");
	ssize_t result = cqe->res;
	io_uring_cqe_seen(side->ring, cqe);
	return result;
}

static ssize_t take_by_call(const struct side *side, void *buffer)
{
	if (side->work == WORK_READ)
		return read(side->in, buffer, MESSAGE);
	if (side->work == WORK_FILE)
		return pread(side->in, buffer, FILE_BLOCK, 0);
	return recv(side->in, buffer, MESSAGE, 0);
}

static ssize_t take_by_us(const struct side *side, void *buffer)
{
	if (side->work == WORK_READ)
		return ctxio_read(side->ctx, side->in, buffer, MESSAGE);
	if (side->work == WORK_FILE)
		return ctxio_pread(side->ctx, side->in, buffer, FILE_BLOCK, 0);
	return ctxio_recv(side->ctx, side->in, buffer, MESSAGE, 0);
}

static void take(struct side *side, void *buffer)
{
	ssize_t result;

	switch (side->way) {
	case WAY_OURS:
		result = take_by_us(side, buffer);
		break;
	case WAY_RING:
		prepare(side, io_uring_get_sqe(side->ring), buffer);
		result = submit_and_wait(side);
		break;
	default:
		result = take_by_call(side, buffer);
		break;
	}
	if (result != (side->work == WORK_FILE ? FILE_BLOCK : MESSAGE))
		bench_fail("%s: %zd", way_names[side->way], result);
}

static void give(struct side *side, const void *buffer)
{
	ssize_t result;

	if (side->way == WAY_OURS) {
		result = ctxio_send(side->ctx, side->out, buffer, MESSAGE, 0);
	} else if (side->way == WAY_RING) {
		io_uring_prep_send(io_uring_get_sqe(side->ring), side->out, buffer, MESSAGE, 0);
		result = submit_and_wait(side);
	} else {
		result = send(side->out, buffer, MESSAGE, 0);
	}
	if (result != MESSAGE)
		bench_fail("%s: %zd sent", way_names[side->way], result);
}

static void fill(const struct side *side)
{
	static const char bytes[FILL];

	if (side->work != WORK_FILE && write(side->out, bytes, sizeof(bytes)) != sizeof(bytes))
		bench_fail("write: %s", strerror(errno));
}

/* Measures calls that find their data ready. Writing the data is not measured. */
static double run_ready(struct side *side)
{
	char buffer[FILE_BLOCK];
	uint64_t spent_ns = 0;

	for (unsigned done = 0; done < side->rounds; done += FILL / MESSAGE) {
		fill(side);
		uint64_t start_ns = bench_now_ns();
		for (unsigned i = 0; i < FILL / MESSAGE; i++)
			take(side, buffer);
		spent_ns += bench_now_ns() - start_ns;
	}
	unsigned batches = (side->rounds + FILL / MESSAGE - 1) / (FILL / MESSAGE);
	return (double)spent_ns / (batches * (FILL / MESSAGE));
}

/* The other thread of the ping-pong: answers by the same kind of call. */
static void *echo(void *data)
{
	struct io_uring ring;
	struct side side = *(struct side *)data;
	char buffer[MESSAGE] = {0};

	side.ring = &ring;
	if (side.way == WAY_RING)
		bench_check(io_uring_queue_init(ENTRIES, side.ring, 0), "io_uring_queue_init");
	for (unsigned i = 0; i < side.rounds; i++) {
		take(&side, buffer);
		give(&side, buffer);
	}
	if (side.way == WAY_RING)
		io_uring_queue_exit(side.ring);
	return NULL;
}

static double run_ping_pong(struct side *side)
{
	struct side near = *side, other = *side;
	char buffer[MESSAGE] = {0};
	int back[2];
	pthread_t thread;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, back))
		bench_fail("socketpair: %s", strerror(errno));
	other.out = back[0];
	near.in = back[1];
	if (pthread_create(&thread, NULL, echo, &other))
		bench_fail("no thread");
	uint64_t start_ns = bench_now_ns();
	for (unsigned i = 0; i < side->rounds; i++) {
		give(&near, buffer);
		take(&near, buffer);
	}
	double spent = (double)(bench_now_ns() - start_ns) / side->rounds;
	pthread_join(thread, NULL);
	close(back[0]);
	close(back[1]);
	return spent;
}

static double run_side(void *data)
{
	struct side *side = data;

	return side->work == WORK_PING_PONG ? run_ping_pong(side) : run_ready(side);
}

static void open_files(struct side *side)
{
	char path[] = "/tmp/ctxring-bench-XXXXXX";
	int fds[2];

	if (side->work == WORK_FILE) {
		fds[0] = fds[1] = mkstemp(path);
		unlink(path);
		if (fds[0] < 0 || ftruncate(fds[0], FILE_BLOCK))
			bench_fail("%s: %s", path, strerror(errno));
	} else if (side->work == WORK_READ ? pipe(fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) {
		bench_fail("no descriptors: %s", strerror(errno));
	}
	side->in = fds[0];
	side->out = fds[1];
}

static void run_case(const char *name, enum work work, bool deadline)
{
	struct side sides[WAYS];
	struct io_uring ring;
	bench_side run[WAYS];
	void *data[WAYS];
	struct bench_turns turns;
	struct ctx_context *ctx;

	if (!bench_wanted(name))
		return;
	bench_check(deadline ? ctx_with_timeout(ctx_background(), 3600000000000ull, "bench", &ctx)
			     : ctx_with_cancel(ctx_background(), "bench", &ctx),
		    "context");
	for (unsigned way = 0; way < WAYS; way++) {
		sides[way] = (struct side){.work = work,
					   .ring = &ring,
					   .way = (enum way)way,
					   .deadline = deadline,
					   .rounds = work == WORK_PING_PONG ? 4000 : 10000,
					   .ctx = ctx};
		open_files(&sides[way]);
		if (way == WAY_RING)
			bench_check(io_uring_queue_init(ENTRIES, &ring, 0), "io_uring_queue_init");
		run[way] = run_side;
		data[way] = &sides[way];
	}
	bench_take_turns(&turns, bench.quick ? 9 : 31, WAYS, run, data);
	bench_report(name, bench_turns_median(&turns, WAY_OURS), "ns",
		     bench_turns_ratio(&turns, WAY_OURS, WAY_RING), way_names[WAY_RING], "<= 1.00");
	bench_report(name, bench_turns_median(&turns, WAY_CALL), "ns",
		     bench_turns_ratio(&turns, WAY_OURS, WAY_CALL), way_names[WAY_CALL], NULL);
	for (unsigned way = 0; way < WAYS; way++) {
		close(sides[way].in);
		close(sides[way].out);
		if (way == WAY_RING)
			io_uring_queue_exit(&ring);
	}
	ctx_finish(ctx);
}

int main(int count, char **arguments)
{
	bench_start("blocking", count, arguments);
	run_case("recv of 64 bytes that are there", WORK_RECV, false);
	run_case("recv of 64 bytes that are there, deadline", WORK_RECV, true);
	run_case("read of 64 bytes from a pipe", WORK_READ, false);
	run_case("read of 64 bytes from a pipe, deadline", WORK_READ, true);
	run_case("pread of 4 KiB from the page cache", WORK_FILE, false);
	run_case("ping-pong of two threads", WORK_PING_PONG, false);
	run_case("ping-pong of two threads, deadline", WORK_PING_PONG, true);
	return 0;
}
