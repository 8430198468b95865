/* SPDX-License-Identifier: MIT */
/* What a ctx ring costs when nothing is cancelled: the same operations on a ctx ring and with plain liburing.
 */
#include "ours.h"
#include "raw.h"
#include "recording.h"

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
	bool is_raw;
	bool bounded; /* each wait has a bound, ours the deadline of the context */
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
		while (raw->completed < batch && side->bounded)
			raw_dispatch_bounded(raw, 1);
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

/* What a side is compared with. */
struct other {
	const char *name, *goal;
	bool registered;
};

static void compare(const char *what, enum work work, unsigned setup_flags, bool bounded,
		    const struct other *others, unsigned count)
{
	struct side sides[3] = {{.work = work, .bounded = bounded}};
	const bench_side run[] = {run_side, run_side, run_side};
	void *data[] = {&sides[0], &sides[1], &sides[2]};
	struct bench_turns turns;
	char name[64];

	snprintf(name, sizeof(name), "%s, %s", what, setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	ours_open(&sides[0].ours, 64, setup_flags, bounded ? CTX_RING_ONE_TIMER : 0, BATCH);
	bench_check(bounded ? ctx_with_timeout(ctx_background(), 3600000000000ull, "work", &sides[0].ctx)
			    : ctx_with_cancel(ctx_background(), "work", &sides[0].ctx),
		    "context");
	for (unsigned i = 0; i < count; i++) {
		struct side *raw = &sides[i + 1];
		*raw = (struct side){.work = work, .bounded = bounded, .is_raw = true};
		raw_open(&raw->raw, 64, setup_flags, BATCH);
		if (others[i].registered)
			raw_register(&raw->raw);
	}
	rounds = work == WORK_PING_PONG ? 4000 : 1000;
	bench_take_turns(&turns, bench.quick ? 21 : 61, count + 1, run, data);
	for (unsigned i = 0; i < count; i++) {
		bench_report(name, bench_turns_median(&turns, 0), "ns/op",
			     bench_turns_ratio(&turns, 0, i + 1), others[i].name, others[i].goal);
		bench_report(others[i].name, bench_turns_median(&turns, i + 1), "ns/op", NAN, name, NULL);
		raw_close(&sides[i + 1].raw);
	}
	ctx_finish(sides[0].ctx);
	ours_close(&sides[0].ours);
}

struct recorded {
	struct side side;
	struct recording recording;
};

static double run_unrecorded(void *data)
{
	struct recorded *recorded = data;
	return run_side(&recorded->side);
}

static double run_recorded(void *data)
{
	struct recorded *recorded = data;
	recording_begin(&recorded->recording);
	double result = run_side(&recorded->side);
	recording_end(&recorded->recording);
	return result;
}

/* Compares a ctx ring whose operations are recorded with itself while nobody records. */
static void compare_recorded(unsigned setup_flags)
{
	struct recorded recorded = {.side = {.work = WORK_NOP}};
	const bench_side run[] = {run_unrecorded, run_recorded};
	void *data[] = {&recorded, &recorded};
	char name[64];

	snprintf(name, sizeof(name), "NOP, batch 32, while recording, %s",
		 setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	ours_open(&recorded.side.ours, 64, setup_flags, 0, BATCH);
	bench_check(ctx_with_cancel(ctx_background(), "work", &recorded.side.ctx), "context");
	recording_open(&recorded.recording);
	rounds = 1000;
	recording_compare(name, "ns/op", bench.quick ? 21 : 61, run, data, &recorded.recording);
	recording_close(&recorded.recording);
	ctx_finish(recorded.side.ctx);
	ours_close(&recorded.side.ours);
}

int main(int count, char **arguments)
{
	static const unsigned flags[] = {LOAD_RING_ORDINARY, LOAD_RING_DEFER};
	const struct other nop = {"raw liburing", "<= 1.15", false};
	const struct other ping_pong[] = {{"raw liburing", "<= 1.00", false},
					  {"raw liburing, registered fd", "<= 1.02", true}};
	const struct other bounded = {"raw liburing, bounded waits", "<= 1.00", false};
	const struct other file = {"raw liburing", NULL, false};

	bench_start("submit", count, arguments);
	load_open(1);
	for (unsigned r = 0; r < 2; r++) {
		compare("NOP, batch 32", WORK_NOP, flags[r], false, &nop, 1);
		compare_recorded(flags[r]);
		compare("recv/send ping-pong", WORK_PING_PONG, flags[r], false, ping_pong, 2);
		compare("recv/send ping-pong, deadline", WORK_PING_PONG, flags[r], true, &bounded, 1);
		compare("4 KiB cached file read, batch 32", WORK_FILE_READ, flags[r], false, &file, 1);
	}
	load_close();
	return 0;
}
