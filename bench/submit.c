/* SPDX-License-Identifier: MIT */
/* What a ctx ring costs when nothing is cancelled: the same operations on a ctx ring and with plain liburing.
 */
#include "ours.h"
#include "raw.h"

#define BATCH 32u
#define BLOCK 4096u
#define FILE_BLOCKS 1024u
#define MESSAGE 64u

enum work {
	WORK_NOP,
	WORK_PING_PONG,
	WORK_FILE_READ
};

struct side {
	enum work work;
	unsigned setup_flags;
	bool is_raw;
	struct raw raw;
	struct ours ours;
	struct ctx_context *ctx;
};

static char blocks[BATCH][BLOCK];
static unsigned rounds;

static void prepare(enum work work, struct io_uring_sqe *sqe, unsigned i, unsigned round)
{
	int *pair = load_files.pairs[0];
	switch (work) {
	case WORK_NOP:
		io_uring_prep_nop(sqe);
		break;
	case WORK_PING_PONG: /* one message each round, in alternating directions; its receive is submitted
				before its send */
		if (i == 0)
			io_uring_prep_recv(sqe, pair[round % 2], blocks[0], MESSAGE, 0);
		else
			io_uring_prep_send(sqe, pair[(round + 1) % 2], blocks[1], MESSAGE, 0);
		break;
	case WORK_FILE_READ:
		io_uring_prep_read(sqe, load_files.regular, blocks[i], BLOCK,
				   (uint64_t)((round * 61 + i * 37) % FILE_BLOCKS) * BLOCK);
		break;
	}
}

static unsigned batch_of(enum work work)
{
	return work == WORK_PING_PONG ? 2 : BATCH;
}

static void raw_rounds(struct side *side, unsigned batch)
{
	struct raw *raw = &side->raw;
	for (unsigned round = 0; round < rounds; round++) {
		raw->completed = 0;
		for (unsigned i = 0; i < batch; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&raw->ring);
			prepare(side->work, sqe, i, round);
			io_uring_sqe_set_data(sqe, &raw->ops[i]);
		}
		while (raw->completed < batch)
			raw_dispatch(raw, 1);
	}
}

static void our_rounds(struct side *side, unsigned batch)
{
	for (unsigned round = 0; round < rounds; round++) {
		side->ours.completed = 0;
		for (unsigned i = 0; i < batch; i++)
			prepare(side->work, ours_get_sqe(&side->ours, side->ctx, i), i, round);
		ours_reap(&side->ours, batch);
	}
}

static double run_side(void *data)
{
	struct side *side = data;
	unsigned batch = batch_of(side->work);
	uint64_t start_ns = bench_now_ns();
	if (side->is_raw)
		raw_rounds(side, batch);
	else
		our_rounds(side, batch);
	return (double)(bench_now_ns() - start_ns) / rounds / batch;
}

static void compare(const char *what, enum work work, unsigned setup_flags, const char *goal)
{
	struct side ours = {.work = work, .setup_flags = setup_flags}, raw = ours;
	const bench_side sides[] = {run_side, run_side};
	void *data[] = {&ours, &raw};
	struct bench_turns turns;
	char name[64];
	snprintf(name, sizeof(name), "%s, %s", what, setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	raw.is_raw = true;
	raw_open(&raw.raw, 64, setup_flags, BATCH);
	ours_open(&ours.ours, 64, setup_flags, 0, BATCH);
	bench_check(ctx_with_cancel(ctx_background(), "work", &ours.ctx), "ctx_with_cancel");
	rounds = work == WORK_PING_PONG ? 4000 : 1000;
	bench_take_turns(&turns, bench.quick ? 21 : 61, 2, sides, data);
	bench_report(name, bench_turns_median(&turns, 0), "ns/op", bench_turns_ratio(&turns, 0, 1),
		     "raw liburing", goal);
	bench_report("raw liburing", bench_turns_median(&turns, 1), "ns/op", NAN, name, NULL);
	ctx_finish(ours.ctx);
	ours_close(&ours.ours);
	raw_close(&raw.raw);
}

int main(int count, char **arguments)
{
	static const unsigned flags[] = {LOAD_RING_ORDINARY, LOAD_RING_DEFER};
	bench_start("submit", count, arguments);
	load_open(1);
	for (unsigned r = 0; r < 2; r++) {
		compare("NOP, batch 32", WORK_NOP, flags[r], "<= 1.25");
		compare("recv/send ping-pong", WORK_PING_PONG, flags[r], "<= 1.03");
		compare("4 KiB cached file read, batch 32", WORK_FILE_READ, flags[r], NULL);
	}
	load_close();
	return 0;
}
