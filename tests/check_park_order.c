/* SPDX-License-Identifier: MIT */
/*
 * Several operations on one descriptor and direction end in the order in which they began, and so their bytes
 * are in order, whether or not the kernel knows attempts that do not wait for this file: without them the
 * kernel serves several that wait in any order. Each test is done as the kernel is, and as Linux 6.1 is.
 */
#include <pthread.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <termios.h>

#include "support/rings.h"

#define OPS 8u

/* The loop variable: a kind of ring, and whether the kernel is taken for an old one. */
#define ON_EACH_KERNEL(test_case, test) \
	tcase_add_loop_test(test_case, test, 0, test_mode() == TEST_PLAIN ? 1 : 4)

static struct ctx_ring *parking_ring(int i)
{
	if (i / 2)
		ck_assert_ok(setenv("CTXRING_FEATURES", "no-rw-nowait,no-kept-buffers,no-epoll-wait", 1));
	return ring_with(parking_kind(i), 16, NULL);
}

/* ---- files */

enum file {
	UNIX,
	TCP,
	PIPE,
	FIFO,
	TERMINAL,
	FILES
};

/* The same pipe as a FIFO, which has no attempts on any kernel. */
static struct pair fifo_new(void)
{
	struct pair pipe = pipe_new(), fifo;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe.near);
	fifo.near = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe.far);
	fifo.far = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fifo.near, 0);
	ck_assert_int_ge(fifo.far, 0);
	pair_end(pipe);
	return fifo;
}

static struct pair terminal_new(void)
{
	int controls = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;
	char name[64];

	ck_assert_int_ge(controls, 0);
	ck_assert_ok(grantpt(controls));
	ck_assert_ok(unlockpt(controls));
	ck_assert_ok(ptsname_r(controls, name, sizeof(name)));
	int terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(terminal, 0);
	ck_assert_ok(tcgetattr(terminal, &raw));
	cfmakeraw(&raw);
	ck_assert_ok(tcsetattr(terminal, TCSANOW, &raw));
	return (struct pair){terminal, controls};
}

static struct pair file_new(enum file file)
{
	switch (file) {
	case UNIX:
		return pair_new();
	case TCP:
		return tcp_new();
	case PIPE:
		return pipe_new();
	case FIFO:
		return fifo_new();
	default:
		return terminal_new();
	}
}

/* ---- reads */

/* Reads in their forms; of a socket receives among them. */
static void begin_read(struct ctx_ring *ring, const struct ctx_context *ctx, struct probe *probe, int fd,
		       struct iovec *iov, unsigned form)
{
	struct io_uring_sqe *sqe = probe_start(ring, ctx, probe);

	if (form % 3 == 0)
		io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, (uint64_t)-1);
	else if (form % 3 == 1)
		io_uring_prep_readv(sqe, fd, iov, 1, (uint64_t)-1);
	else
		io_uring_prep_recv(sqe, fd, iov->iov_base, iov->iov_len, 0);
}

static void read_in_order(int i, enum file file)
{
	struct ctx_ring *ring = parking_ring(i);
	struct pair pair = file_new(file);
	unsigned forms = file == UNIX || file == TCP ? 3 : 2;

	for (unsigned round = 0; round < 30; round++) {
		struct probe probes[OPS];
		struct iovec iovs[OPS];
		char sink[OPS + 1] = "";
		for (unsigned n = 0; n < OPS; n++) {
			iovs[n] = (struct iovec){&sink[n], 1};
			begin_read(ring, ctx_background(), &probes[n], pair.near, &iovs[n],
				   (n + round) % forms);
		}
		park(ring, OPS);
		if (test_own_table())
			ck_assert_uint_eq(test_count_in_flight(true), OPS);
		ck_assert_int_eq(write(pair.far, "abcdefgh", OPS), OPS);
		await_probes(ring, probes, OPS);
		ck_assert_str_eq(sink, "abcdefgh");
	}
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	ring_end(ring);
	close(pair.far);
}

START_TEST(reads_of_a_unix_socket_end_in_order)
{
	read_in_order(_i, UNIX);
}
END_TEST

START_TEST(reads_of_a_tcp_connection_end_in_order)
{
	read_in_order(_i, TCP);
}
END_TEST

START_TEST(reads_of_a_pipe_end_in_order)
{
	read_in_order(_i, PIPE);
}
END_TEST

START_TEST(reads_of_a_fifo_end_in_order)
{
	read_in_order(_i, FIFO);
}
END_TEST

START_TEST(reads_of_a_terminal_end_in_order)
{
	read_in_order(_i, TERMINAL);
}
END_TEST

START_TEST(reads_of_a_timer_end_in_order)
{
	struct ctx_ring *ring = parking_ring(_i);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec often = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 1000000};
	struct probe probes[OPS];
	uint64_t counts[OPS] = {0};
	uint64_t end_ns = clock_now_ns() + SOON;

	for (unsigned i = 0; i < OPS; i++)
		io_uring_prep_read(probe_start(ring, ctx_background(), &probes[i]), timer, &counts[i],
				   sizeof(counts[i]), (uint64_t)-1);
	park(ring, OPS);
	ck_assert_ok(timerfd_settime(timer, 0, &often, NULL));
	while (!probes[OPS - 1].finals) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, 100 * MILLISECOND), 0);
		for (unsigned i = 1; i < OPS; i++)
			ck_assert_uint_le(probes[i].finals, probes[i - 1].finals);
		ck_assert_uint_lt(clock_now_ns(), end_ns);
	}
	for (unsigned i = 0; i < OPS; i++) {
		ck_assert_probe(&probes[i], sizeof(counts[i]), CTX_OP_FINISHED);
		ck_assert_uint_ge(counts[i], 1);
	}
	ring_end(ring);
	close(timer);
}
END_TEST

/* Idle reads stay out of the kernel, also where they cannot be attempted. */
START_TEST(ending_idle_reads_needs_no_kernel)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pairs[FILES];
	struct probe probes[FILES][2];
	char sinks[FILES][2] = {{0}};

	for (unsigned i = 0; i < FILES; i++)
		pairs[i] = file_new((enum file)i);
	for (unsigned round = 0; round < 3; round++) {
		struct ctx_context *ctx = child_of(ctx_background());
		struct ctx_batch batch;
		for (unsigned i = 0; i < FILES; i++)
			for (unsigned n = 0; n < 2; n++)
				io_uring_prep_read(probe_start(ring, ctx, &probes[i][n]), pairs[i].near,
						   &sinks[i][n], 1, (uint64_t)-1);
		park(ring, 2 * FILES);
		ck_assert_ok(ctx_cancel(ctx));
		ck_assert_ok(ctx_ring_last_batch(ring, &batch));
		ck_assert_uint_eq(batch.unsent, 2 * FILES);
		ck_assert_uint_eq(batch.sqes, 0);
		ck_assert_uint_eq(batch.enters, 0);
		for (unsigned i = 0; i < FILES; i++)
			await_probes(ring, probes[i], 2);
		for (unsigned i = 0; i < FILES; i++)
			ck_assert_probe(&probes[i][1], -ECANCELED, CTX_OP_CANCELLED);
		ctx_finish(ctx);
	}
	/* And what comes then is all there, in order. */
	for (unsigned i = 0; i < FILES; i++) {
		for (unsigned n = 0; n < 2; n++)
			io_uring_prep_read(probe_start(ring, ctx_background(), &probes[i][n]), pairs[i].near,
					   &sinks[i][n], 1, (uint64_t)-1);
		ck_assert_int_eq(write(pairs[i].far, "ab", 2), 2);
	}
	for (unsigned i = 0; i < FILES; i++) {
		await_probes(ring, probes[i], 2);
		ck_assert_int_eq(memcmp(sinks[i], "ab", 2), 0);
		ck_assert_ok(ctx_ring_close_fd(ring, pairs[i].near));
		close(pairs[i].far);
	}
	ring_end(ring);
}
END_TEST

/* ---- somebody else who reads */

#define NUMBERS 20000u

static struct {
	struct pair pair;
	bool seen[NUMBERS]; /* by the thief */
} theft;

static void *steal(void *data)
{
	uint32_t number;

	(void)data;
	while (read(theft.pair.near, &number, sizeof(number)) == sizeof(number))
		theft.seen[number] = true;
	return NULL;
}

static void *write_numbers(void *data)
{
	(void)data;
	for (uint32_t i = 0; i < NUMBERS; i++)
		ck_assert_int_eq(write(theft.pair.far, &i, sizeof(i)), sizeof(i));
	close(theft.pair.far);
	return NULL;
}

/* Reads as many as there are at a time until the end; each has a greater number than the one before. */
static void read_numbers(struct ctx_ring *ring, bool *seen)
{
	struct probe probes[4];
	uint32_t numbers[4], next = 0;

	for (bool ended = false; !ended;) {
		for (unsigned i = 0; i < 4; i++)
			io_uring_prep_read(probe_start(ring, ctx_background(), &probes[i]), theft.pair.near,
					   &numbers[i], sizeof(numbers[i]), (uint64_t)-1);
		await_probes(ring, probes, 4);
		for (unsigned i = 0; i < 4; i++) {
			ck_assert(probes[i].last.res == 0 || (probes[i].last.res == 4 && !ended));
			ended |= !probes[i].last.res;
			if (ended)
				continue;
			ck_assert_uint_ge(numbers[i], next);
			ck_assert_uint_lt(numbers[i], NUMBERS);
			next = numbers[i] + 1;
			seen[numbers[i]] = true;
		}
	}
}

/* Somebody is quicker between the answer that there is something and the read: that waits in the kernel then.
 */
START_TEST(what_another_reader_takes_is_not_waited_for_here)
{
	static bool seen[NUMBERS];
	struct ctx_ring *ring = parking_ring(_i);
	pthread_t thief, writer;

	for (unsigned i = 0; i < 2; i++) {
		memset(theft.seen, 0, sizeof(theft.seen));
		memset(seen, 0, sizeof(seen));
		theft.pair = i ? fifo_new() : pipe_new();
		ck_assert_ok(pthread_create(&thief, NULL, steal, NULL));
		ck_assert_ok(pthread_create(&writer, NULL, write_numbers, NULL));
		read_numbers(ring, seen);
		ck_assert_ok(pthread_join(thief, NULL));
		ck_assert_ok(pthread_join(writer, NULL));
		for (uint32_t n = 0; n < NUMBERS; n++)
			ck_assert_msg(seen[n] != theft.seen[n], "%u came %s", n, seen[n] ? "twice" : "never");
		ck_assert_ok(ctx_ring_close_fd(ring, theft.pair.near));
	}
	ring_end(ring);
}
END_TEST

/* ---- writes */

#define BLOCK 300000u
#define BLOCKS 4u

static void begin_write(struct ctx_ring *ring, struct probe *probe, int fd, struct iovec *iov, unsigned form)
{
	struct io_uring_sqe *sqe = probe_start(ring, ctx_background(), probe);

	if (form == 0)
		io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, (uint64_t)-1);
	else if (form == 1)
		io_uring_prep_writev(sqe, fd, iov, 1, (uint64_t)-1);
	else
		io_uring_prep_send(sqe, fd, iov->iov_base, iov->iov_len, 0);
}

static unsigned read_some(int fd, char *to, size_t room)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	ssize_t size = poll(&poll_fd, 1, 0) == 1 ? read(fd, to, room) : 0;

	return size > 0 ? (unsigned)size : 0;
}

static unsigned ended(const struct probe *probes)
{
	unsigned count = 0;

	for (unsigned i = 0; i < BLOCKS; i++)
		count += probes[i].finals;
	return count;
}

/* What arrives is of each block as much as its result says, one block after the other. */
static void check_blocks(const char *bytes, unsigned size, const struct probe *probes)
{
	unsigned at = 0;

	for (unsigned i = 0; i < BLOCKS; i++) {
		ck_assert_int_gt(probes[i].last.res, 0);
		for (int n = 0; n < probes[i].last.res; n++, at++)
			ck_assert_msg(at < size && bytes[at] == (char)('a' + i), "byte %u is of block %c", at,
				      at < size ? bytes[at] : '-');
	}
	ck_assert_uint_eq(at, size);
}

static void write_in_order(int i, enum file file)
{
	static char blocks[BLOCKS][BLOCK], arrived[BLOCKS * BLOCK];
	struct ctx_ring *ring = parking_ring(i);
	struct pair pair = file_new(file);
	int fd = file == TERMINAL ? pair.near : pair.far, other = fd == pair.near ? pair.far : pair.near;
	unsigned forms = file == UNIX || file == TCP ? 3 : 2;

	for (unsigned round = 0; round < 3; round++) {
		struct probe probes[BLOCKS];
		struct iovec iovs[BLOCKS];
		unsigned size = 0, size_before;
		uint64_t end_ns = clock_now_ns() + SOON;
		for (unsigned n = 0; n < BLOCKS; n++) {
			memset(blocks[n], (int)('a' + n), BLOCK);
			iovs[n] = (struct iovec){blocks[n], BLOCK};
			begin_write(ring, &probes[n], fd, &iovs[n], (n + round) % forms);
		}
		ck_assert_int_eq(ctx_ring_submit(ring), BLOCKS);
		do {
			size_before = size;
			ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
			size += read_some(other, arrived + size, sizeof(arrived) - size);
			ck_assert_uint_lt(clock_now_ns(), end_ns);
		} while (ended(probes) < BLOCKS || size != size_before);
		await_probes(ring, probes, BLOCKS);
		unsigned due = 0;
		for (unsigned n = 0; n < BLOCKS; n++)
			due += (unsigned)probes[n].last.res;
		while (size < due) /* of TCP some may still be under way */
			size += read_some(other, arrived + size, sizeof(arrived) - size);
		check_blocks(arrived, size, probes);
	}
	ck_assert_ok(ctx_ring_close_fd(ring, fd));
	ring_end(ring);
	close(other);
}

START_TEST(writes_to_a_unix_socket_do_not_interleave)
{
	write_in_order(_i, UNIX);
}
END_TEST

START_TEST(writes_to_a_tcp_connection_do_not_interleave)
{
	write_in_order(_i, TCP);
}
END_TEST

START_TEST(writes_to_a_pipe_do_not_interleave)
{
	write_in_order(_i, PIPE);
}
END_TEST

START_TEST(writes_to_a_fifo_do_not_interleave)
{
	write_in_order(_i, FIFO);
}
END_TEST

/*
 * Less room than makes the socket writable again is enough for a send that begins: as it does where nothing
 * parks. The peer may wait for it.
 */
START_TEST(a_send_finds_room_of_which_nobody_tells)
{
	struct ctx_ring *ring = parking_ring(_i);
	struct pair pair = pair_new();
	struct probe probe;
	char block[1000] = "", sink[1000];

	while (send(pair.near, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	io_uring_prep_send(probe_start(ring, ctx_background(), &probe), pair.near, block, sizeof(block), 0);
	park(ring, 1);
	ck_assert_ok(ctx_op_cancel(ring, &probe.op));
	await_probes(ring, &probe, 1);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(read(pair.far, sink, sizeof(sink)), sizeof(sink));
	ck_assert_int_eq(poll(&(struct pollfd){.fd = pair.near, .events = POLLOUT}, 1, 0), 0);
	io_uring_prep_send(probe_start(ring, ctx_background(), &probe), pair.near, block, sizeof(block), 0);
	await_probes(ring, &probe, 1);
	ck_assert_probe(&probe, sizeof(block), CTX_OP_FINISHED);
	ring_end(ring);
	pair_end(pair);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_order");
	TCase *reads = test_case_ring(suite, "reads"), *writes = test_case_ring(suite, "writes");

	ON_EACH_KERNEL(reads, reads_of_a_unix_socket_end_in_order);
	ON_EACH_KERNEL(reads, reads_of_a_tcp_connection_end_in_order);
	ON_EACH_KERNEL(reads, reads_of_a_pipe_end_in_order);
	ON_EACH_KERNEL(reads, reads_of_a_fifo_end_in_order);
	ON_EACH_KERNEL(reads, reads_of_a_terminal_end_in_order);
	ON_EACH_KERNEL(reads, reads_of_a_timer_end_in_order);
	ON_EACH_KERNEL(reads, ending_idle_reads_needs_no_kernel);
	ON_EACH_KERNEL(reads, what_another_reader_takes_is_not_waited_for_here);
	ON_EACH_KERNEL(writes, writes_to_a_unix_socket_do_not_interleave);
	ON_EACH_KERNEL(writes, writes_to_a_tcp_connection_do_not_interleave);
	ON_EACH_KERNEL(writes, writes_to_a_pipe_do_not_interleave);
	ON_EACH_KERNEL(writes, writes_to_a_fifo_do_not_interleave);
	ON_EACH_KERNEL(writes, a_send_finds_room_of_which_nobody_tells);
	return suite;
}
