/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever happens to operations that take provided buffers while they are parked, attempted, given to
 * the kernel, quicker elsewhere or cancelled, each buffer is either in its group or handed over, and each
 * byte arrives once and in order. Method: many channels share one small group; the owner of the ring does to
 * their operations what chance says, gives back each buffer that is handed over, and counts. The seed is
 * printed.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "support/rings.h"

#define CHANNELS 8u
#define OPS 3u
#define BUFFERS 16u
#define ROOM 32u
#define GROUP 5
#define TURNS 6000u

enum group_kind {
	FROM_RING,
	FROM_LEGACY,
	GROUP_KINDS
};

struct channel;

struct take {
	struct ctx_op op;
	struct channel *channel;
	bool under_way;
	unsigned number; /* order in which they began */
};

struct channel {
	struct pair pair;
	bool is_pipe;
	unsigned written, got, begun, ended;
	struct take takes[OPS];
};

static struct {
	struct ctx_ring *ring;
	enum group_kind kind;
	struct io_uring_buf_ring *buffers;
	char memory[BUFFERS][ROOM];
	bool out[BUFFERS]; /* handed over, and not given back */
	unsigned provides; /* under way */
	struct channel channels[CHANNELS];
	unsigned seed;
} bed;

static unsigned chance(unsigned below)
{
	bed.seed = bed.seed * 1103515245u + 12345u;
	return (bed.seed >> 8) % below;
}

static char byte_at(unsigned position)
{
	return (char)((position * 2654435761u) >> 13);
}

/* ---- buffers */

static void note_provided(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	ck_assert_int_ge(completion->res, 0);
	bed.provides--;
	free(op);
}

static void provide(unsigned first, unsigned count)
{
	if (bed.kind == FROM_LEGACY) {
		struct ctx_op *op = calloc(1, sizeof(*op));
		ctx_op_init(op, note_provided, 0);
		io_uring_prep_provide_buffers(ctx_ring_get_sqe(bed.ring, ctx_background(), op),
					      bed.memory[first], (int)ROOM, (int)count, GROUP, (int)first);
		bed.provides++;
		return;
	}
	for (unsigned i = 0; i < count; i++)
		io_uring_buf_ring_add(bed.buffers, bed.memory[first + i], ROOM, (unsigned short)(first + i),
				      io_uring_buf_ring_mask(BUFFERS), (int)i);
	io_uring_buf_ring_advance(bed.buffers, (int)count);
}

static void make_group(void)
{
	struct io_uring_buf_reg group = {
		.ring_addr = (uint64_t)(uintptr_t)bed.buffers, .ring_entries = BUFFERS, .bgid = GROUP};

	if (bed.kind == FROM_RING)
		ck_assert_ok(io_uring_register_buf_ring(ctx_ring_uring(bed.ring), &group, 0));
	provide(0, BUFFERS);
}

/* ---- operations */

static void note_taken(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct take *take = (struct take *)op;
	struct channel *channel = take->channel;
	bool brought = completion->flags & IORING_CQE_F_BUFFER;
	unsigned id = completion->flags >> IORING_CQE_BUFFER_SHIFT;

	(void)ring;
	take->under_way = false;
	ck_assert(completion->res > 0 ? brought
				      : completion->res == -ECANCELED || completion->res == -ENOBUFS);
	for (int i = 0; i < completion->res; i++)
		ck_assert_int_eq(bed.memory[id][i], byte_at(channel->got++));
	if (completion->res > 0) { /* none that began later was served before it */
		ck_assert_uint_ge(take->number, channel->ended);
		channel->ended = take->number;
	}
	if (!brought)
		return;
	ck_assert_uint_lt(id, BUFFERS);
	ck_assert(!bed.out[id]);
	bed.out[id] = true;
}

static void begin(struct channel *channel, struct take *take)
{
	static struct iovec iov = {NULL, ROOM};
	static struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	ctx_op_init(&take->op, note_taken, 0);
	take->channel = channel;
	take->under_way = true;
	take->number = ++channel->begun;
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(bed.ring, ctx_background(), &take->op);
	switch (channel->is_pipe ? 2 + chance(2) : chance(4)) {
	case 0:
		io_uring_prep_recv(sqe, channel->pair.near, NULL, ROOM, 0);
		break;
	case 1:
		io_uring_prep_recvmsg(sqe, channel->pair.near, &message, 0);
		break;
	case 2:
		io_uring_prep_read(sqe, channel->pair.near, NULL, ROOM, (uint64_t)-1);
		break;
	default:
		io_uring_prep_readv(sqe, channel->pair.near, &iov, 1, (uint64_t)-1);
		break;
	}
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
}

static void write_some(struct channel *channel)
{
	char bytes[3 * ROOM];
	unsigned size = 1 + chance(sizeof(bytes));

	if (channel->written - channel->got > 4 * sizeof(bytes))
		return;
	for (unsigned i = 0; i < size; i++)
		bytes[i] = byte_at(channel->written++);
	ck_assert_int_eq(write(channel->pair.far, bytes, size), (int)size);
}

/* Takes some of it away before those that wait get it. */
static void read_some(struct channel *channel)
{
	struct pollfd poll_fd = {.fd = channel->pair.near, .events = POLLIN};
	char bytes[ROOM];
	ssize_t size = poll(&poll_fd, 1, 0) == 1 ? read(channel->pair.near, bytes, 1 + chance(ROOM)) : 0;

	/* Only when nothing has been taken out of the file, and not delivered yet. */
	for (ssize_t i = 0; i < size; i++)
		ck_assert_int_eq(bytes[i], byte_at(channel->got++));
}

static bool is_idle(const struct channel *channel)
{
	for (unsigned i = 0; i < OPS; i++)
		if (channel->takes[i].under_way)
			return false;
	return true;
}

static void give_back(void)
{
	unsigned id = chance(BUFFERS);

	if (!bed.out[id])
		return;
	bed.out[id] = false;
	provide(id, 1);
}

static void act(void)
{
	struct channel *channel = &bed.channels[chance(CHANNELS)];
	struct take *take = &channel->takes[chance(OPS)];

	switch (chance(8)) {
	case 0:
	case 1:
		write_some(channel);
		break;
	case 2:
		if (take->under_way)
			ctx_op_cancel(bed.ring, &take->op);
		break;
	case 3:
		if (is_idle(channel))
			read_some(channel);
		break;
	case 4:
	case 5:
		if (!take->under_way)
			begin(channel, take);
		break;
	case 6:
		give_back();
		give_back();
		give_back();
		break;
	default:
		ck_assert_int_ge(ctx_ring_submit(bed.ring), 0);
		ck_assert_int_ge(ctx_ring_dispatch(bed.ring, 0), 0);
		break;
	}
}

/* Takes all that there are in the group, with a socket of its own. */
static unsigned count_left(void)
{
	struct pair spare = pair_new();
	struct probe probe;
	unsigned count = 0;

	for (;; count++) {
		ck_assert_int_eq(write(spare.far, "x", 1), 1);
		struct io_uring_sqe *sqe = probe_start(bed.ring, ctx_background(), &probe);
		io_uring_prep_recv(sqe, spare.near, NULL, ROOM, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = GROUP;
		await_probes(bed.ring, &probe, 1);
		if (probe.last.res < 0)
			break;
	}
	ck_assert_int_eq(probe.last.res, -ENOBUFS);
	ck_assert_ok(ctx_ring_close_fd(bed.ring, spare.near));
	close(spare.far);
	return count;
}

static void end_all(void)
{
	unsigned out = 0;

	for (unsigned i = 0; i < CHANNELS; i++)
		for (unsigned n = 0; n < OPS; n++) {
			struct take *take = &bed.channels[i].takes[n];
			if (take->under_way)
				ctx_op_cancel(bed.ring, &take->op);
		}
	for (unsigned i = 0; i < CHANNELS; i++)
		while (!is_idle(&bed.channels[i]))
			ck_assert_int_ge(ctx_ring_dispatch(bed.ring, 100 * MILLISECOND), 0);
	while (bed.provides)
		ck_assert_int_ge(ctx_ring_dispatch(bed.ring, 100 * MILLISECOND), 0);
	for (unsigned i = 0; i < BUFFERS; i++)
		out += bed.out[i];
	ck_assert_uint_eq(out + count_left(), BUFFERS);
}

/* The loop variable: the kind of ring, of group, and whether the kernel is taken for an old one. */
START_TEST(no_buffer_and_no_byte_is_lost)
{
	if (_i / 4)
		ck_assert_ok(setenv("CTXRING_FEATURES", "no-rw-nowait,no-kept-buffers,no-epoll-wait", 1));
	memset(&bed, 0, sizeof(bed));
	bed.seed = test_seed();
	bed.kind = (enum group_kind)(_i / 2 % GROUP_KINDS);
	bed.buffers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bed.ring = ring_with(parking_kind(_i), 8, NULL);
	ck_assert_int_eq(ctx_ring_dispatch(bed.ring, 0), 0);
	make_group();
	for (unsigned i = 0; i < CHANNELS; i++) {
		bed.channels[i].is_pipe = i % 2;
		bed.channels[i].pair = i % 2 ? pipe_new() : pair_new();
	}
	for (unsigned i = 0; i < test_scaled(TURNS * 4); i++)
		act();
	end_all();
	for (unsigned i = 0; i < CHANNELS; i++) {
		ck_assert_ok(ctx_ring_close_fd(bed.ring, bed.channels[i].pair.near));
		close(bed.channels[i].pair.far);
	}
	ring_end(bed.ring);
	munmap(bed.buffers, 4096);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_buffers");
	TCase *all = test_case_ring(suite, "all");

	for (int i = 0; i < 8; i++)
		if (test_mode() != TEST_PLAIN || (i % 2 == 0 && i < 4))
			tcase_add_loop_test(all, no_buffer_and_no_byte_is_lost, i, i + 1);
	return suite;
}
