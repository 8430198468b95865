/* SPDX-License-Identifier: MIT */
/*
 * What it costs to cancel pending operations, for each of them. Measured is the time from the call of
 * ctx_cancel, or from the first cancel SQE of the side that is written by hand, until the last completion has
 * been dispatched. Submitting the operations is not measured.
 */
#include "load.h"
#include "ours.h"
#include "raw.h"

#include <dirent.h>

/* One side of a comparison. */
struct side {
	struct load load;
	bool raw;
	enum raw_way way;
};

static unsigned thread_count(void)
{
	unsigned count = 0;
	DIR *tasks = opendir("/proc/self/task");
	if (!tasks)
		bench_fail("/proc/self/task: %s", strerror(errno));
	while (readdir(tasks))
		count++;
	closedir(tasks);
	return count;
}

/* Each operation of LOAD_WORKER sleeps in a worker thread of its own: waits until all of these exist, for at
 * most a second. */
static void wait_for_workers(const struct load *load)
{
	uint64_t start_ns = bench_now_ns();
	while (load->kind == LOAD_WORKER && thread_count() < load->pending + 3 &&
	       bench_now_ns() - start_ns < 1000000000)
		usleep(200);
}

static double run_ours(const struct load *load)
{
	struct ours ours;
	struct ctx_context *contexts[LOAD_GROUPS_MAX + 1];
	uint64_t total_ns = 0;
	bench_check(ctx_with_cancel(ctx_background(), "idle", &contexts[0]), "ctx_with_cancel");
	ours_open(&ours, load_entries(load), load->setup_flags, 0, load->pending);
	for (unsigned n = 0; n < load->repeats; n++) {
		for (unsigned group = 1; group <= load->groups; group++)
			bench_check(ctx_with_cancel(ctx_background(), "victims", &contexts[group]),
				    "ctx_with_cancel");
		ours_fill(&ours, load, contexts);
		wait_for_workers(load);
		uint64_t start_ns = bench_now_ns();
		for (unsigned group = 1; group <= load->groups; group++)
			ours_cancel(&ours, contexts[group], load->victims);
		total_ns += bench_now_ns() - start_ns;
		for (unsigned group = 1; group <= load->groups; group++)
			ctx_unref(contexts[group]);
	}
	ctx_finish(contexts[0]);
	ours_close(&ours);
	return (double)total_ns / load->repeats / load->groups / load->victims;
}

static double run_raw(const struct load *load, enum raw_way way)
{
	struct raw raw;
	uint64_t total_ns = 0;
	raw_open(&raw, load_entries(load), load->setup_flags, load->pending);
	for (unsigned n = 0; n < load->repeats; n++) {
		raw_fill(&raw, load, way);
		wait_for_workers(load);
		uint64_t start_ns = bench_now_ns();
		for (unsigned group = 1; group <= load->groups; group++)
			raw_cancel(&raw, load, way, group);
		total_ns += bench_now_ns() - start_ns;
		raw_clear(&raw, load);
	}
	raw_close(&raw);
	return (double)total_ns / load->repeats / load->groups / load->victims;
}

static double run_side(void *data)
{
	const struct side *side = data;
	return side->raw ? run_raw(&side->load, side->way) : run_ours(&side->load);
}

/* ---- a ring that keeps the only worker busy, so that queued reads stay queued */

struct plug {
	struct io_uring ring;
	unsigned limits[2];
};

static void plug_set(struct plug *plug, unsigned workers)
{
	plug->limits[0] = workers;
	plug->limits[1] = 0;
	bench_check(io_uring_register_iowq_max_workers(&plug->ring, plug->limits),
		    "io_uring_register_iowq_max_workers");
}

/* For queued reads allows one worker and lets it sleep. For LOAD_WORKER allows as many as there are
 * operations. */
static void plug_open(struct plug *plug, const struct load *load)
{
	bench_check(io_uring_queue_init(8, &plug->ring, 0), "io_uring_queue_init");
	plug_set(plug, load->kind == LOAD_QUEUED_READ ? 1 : load->pending + 8);
	if (load->kind != LOAD_QUEUED_READ)
		return;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&plug->ring);
	io_uring_prep_openat(sqe, AT_FDCWD, load_files.fifo, O_RDONLY | O_CLOEXEC, 0);
	io_uring_sqe_set_data64(sqe, 1);
	sqe->flags |= IOSQE_ASYNC;
	bench_check(io_uring_submit(&plug->ring), "io_uring_submit");
	uint64_t start_ns = bench_now_ns();
	unsigned threads = thread_count();
	while (thread_count() == threads && bench_now_ns() - start_ns < 100000000)
		usleep(200);
}

static void plug_close(struct plug *plug, const struct load *load)
{
	struct io_uring_cqe *cqe;
	if (load->kind == LOAD_QUEUED_READ) {
		int writer = open(load_files.fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		bench_check(io_uring_wait_cqe(&plug->ring, &cqe), "io_uring_wait_cqe");
		if (cqe->res >= 0)
			close(cqe->res);
		close(writer);
	}
	io_uring_queue_exit(&plug->ring);
}

/* ---- comparisons */

static const char *const kind_names[] = {"recv", "poll", "timeout", "queued file read", "open in worker"};
static const char *const way_names[] = {"raw, submission order",
					"raw, newest first in chunks",
					"raw, one enter each",
					"raw ANY|ALL",
					"raw FD|ALL",
					"raw shared user_data"};
static const char *const victim_names[] = {"newest", "oldest", "random"};

static unsigned repeats_for(unsigned pending)
{
	return pending >= 16384 ? 1 : pending >= 4096 ? 2 : pending >= 256 ? 24 : 100;
}

static unsigned turns_for(unsigned pending)
{
	if (bench.quick)
		return pending >= 4096 ? 3 : 5;
	return pending >= 4096 ? 7 : 11;
}

static const char *goal_of(const struct side *side)
{
	const struct load *load = &side->load;
	if (load->kind != LOAD_RECV || load->victims < load->pending)
		return NULL;
	if (side->way == RAW_ANY)
		return load->pending == 4096 ? "<= 0.1" : NULL;
	if (side->way == RAW_NEWEST)
		return load->pending == 60000 ? "<= 1.1" : NULL;
	if (side->way != RAW_BATCH)
		return NULL;
	return load->pending == 60000 ? "<= 0.3" : load->pending == 256 ? "<= 1.1" : NULL;
}

/* Compares our cancel with each of the ways. All sides take turns. */
static void compare(const char *name, struct load load, const enum raw_way *ways, unsigned way_count)
{
	struct side sides[7];
	bench_side functions[7];
	void *data[7];
	struct bench_turns turns;
	struct plug plug;
	bool plugged = load.kind == LOAD_QUEUED_READ || load.kind == LOAD_WORKER;
	if (!bench_wanted(name))
		return;
	for (unsigned i = 0; i <= way_count; i++) {
		sides[i] = (struct side){.load = load, .raw = i, .way = i ? ways[i - 1] : RAW_BATCH};
		sides[i].load.one_fd = i && sides[i].way == RAW_FD;
		functions[i] = run_side;
		data[i] = &sides[i];
	}
	if (plugged)
		plug_open(&plug, &load);
	bench_take_turns(&turns, turns_for(load.pending), way_count + 1, functions, data);
	if (plugged)
		plug_close(&plug, &load);
	for (unsigned i = 1; i <= way_count; i++)
		bench_report(name, bench_turns_median(&turns, 0), "ns/op", bench_turns_ratio(&turns, 0, i),
			     way_names[sides[i].way], goal_of(&sides[i]));
	for (unsigned i = 1; i <= way_count; i++)
		if (sides[i].way != RAW_BATCH || !bench.quick)
			bench_report(way_names[sides[i].way], bench_turns_median(&turns, i), "ns/op", NAN,
				     name, NULL);
}

static const char *ring_name(unsigned setup_flags)
{
	return setup_flags == LOAD_RING_DEFER ? "defer" : "ordinary";
}

/*
 * The ways for a kind of operation, best first. Submission order is the best one for timeouts. Those behind
 * the third take a time that grows with the square of pending. Returns how many there are.
 */
static unsigned ways_for(enum load_kind kind, unsigned pending, const enum raw_way **ret_ways)
{
	static const enum raw_way polled[] = {RAW_BATCH, RAW_NEWEST, RAW_ENTERS, RAW_ANY, RAW_FD, RAW_SHARED};
	static const enum raw_way timeouts[] = {RAW_BATCH, RAW_ENTERS, RAW_ANY};
	bool is_polled = kind == LOAD_RECV || kind == LOAD_POLL;

	*ret_ways = is_polled ? polled : timeouts;
	if (bench.quick && kind == LOAD_RECV && pending >= 4096)
		return pending == 4096 ? 6 : 2;
	if (bench.quick || kind >= LOAD_QUEUED_READ)
		return 1;
	if (is_polled)
		return pending > 4096 ? 3 : 6;
	return pending > 4096 ? 2 : 3;
}

/* All pending operations are one group, which is cancelled as a whole. */
static void whole(enum load_kind kind, unsigned setup_flags, unsigned pending)
{
	const enum raw_way *ways;
	struct load load = {.kind = kind,
			    .setup_flags = setup_flags,
			    .pending = pending,
			    .victims = pending,
			    .groups = 1,
			    .repeats = repeats_for(pending)};
	unsigned way_count = ways_for(kind, pending, &ways);
	char name[64];
	if (kind == LOAD_WORKER)
		load.repeats = 2;
	snprintf(name, sizeof(name), "%s, %u pending, %s", kind_names[kind], pending, ring_name(setup_flags));
	compare(name, load, ways, way_count);
}

/*
 * Cancels 64 operations of one context among many of another. That is too short to be measured once, so
 * several such groups are cancelled one after the other.
 */
static void few(enum load_kind kind, unsigned setup_flags, unsigned pending, enum load_victims which)
{
	static const enum raw_way ways[] = {RAW_BATCH};
	struct load load = {.kind = kind,
			    .setup_flags = setup_flags,
			    .pending = pending,
			    .victims = 64,
			    .groups = LOAD_GROUPS_MAX,
			    .which = which,
			    .repeats = 1};
	char name[64];
	snprintf(name, sizeof(name), "64 %s of %u %ss, %s", victim_names[which], pending, kind_names[kind],
		 ring_name(setup_flags));
	load_choose(&load);
	compare(name, load, ways, 1);
	load_forget(&load);
}

/* ---- old operations below many newer ones */

#define SHARDS 16u
#define SHARD_ENTRIES 4096u /* their completion queues have twice as many, and so 256 buckets */

/* The operations of one load on several rings, number i on ring i % rings. */
struct shards {
	struct load load;
	unsigned rings, op_flags;
};

static void shards_fill(struct ours *ours, const struct shards *shards, struct ctx_context *const *contexts)
{
	for (unsigned i = 0; i < shards->load.pending; i++) {
		struct ours *on = &ours[i % shards->rings];
		unsigned n = i / shards->rings;
		load_prepare(&shards->load, ours_get_sqe(on, contexts[load_group(&shards->load, i)], n), i);
		bench_check(ctx_op_set_flags(&on->ops[n], shards->op_flags), "ctx_op_set_flags");
	}
	for (unsigned ring = 0; ring < shards->rings; ring++)
		bench_check(ctx_ring_submit(ours[ring].ring), "ctx_ring_submit");
}

static unsigned shards_dispatch(struct ours *ours, unsigned rings)
{
	unsigned completed = 0;

	for (unsigned ring = 0; ring < rings; ring++) {
		bench_check(ctx_ring_dispatch(ours[ring].ring, 0), "ctx_ring_dispatch");
		completed += ours[ring].completed;
	}
	return completed;
}

static double run_shards(void *data)
{
	const struct shards *shards = data;
	struct ours ours[SHARDS];
	struct ctx_context *contexts[LOAD_GROUPS_MAX + 1];
	unsigned groups = shards->load.groups, count = 0;

	for (unsigned group = 0; group <= groups; group++)
		bench_check(ctx_with_cancel(ctx_background(), NULL, &contexts[group]), "ctx_with_cancel");
	for (unsigned ring = 0; ring < shards->rings; ring++)
		ours_open(&ours[ring], shards->rings > 1 ? SHARD_ENTRIES : load_entries(&shards->load),
			  shards->load.setup_flags, 0, shards->load.pending / shards->rings + 1);
	shards_fill(ours, shards, contexts);
	for (unsigned turn = 0; turn < 4; turn++) /* parked operations are tried once */
		shards_dispatch(ours, shards->rings);
	uint64_t start_ns = bench_now_ns();
	for (unsigned group = 1; group <= groups; group++) {
		bench_check(ctx_cancel(contexts[group]), "ctx_cancel");
		for (count += shards->load.victims; shards_dispatch(ours, shards->rings) < count;)
			;
	}
	double took_ns = (double)(bench_now_ns() - start_ns);
	for (unsigned group = 0; group <= groups; group++)
		ctx_finish(contexts[group]);
	for (unsigned ring = 0; ring < shards->rings; ring++)
		ours_close(&ours[ring]);
	return took_ns / groups / shards->load.victims;
}

/*
 * Ends 64 operations of one context below tens of thousands of newer ones. The kernel finds a pending one
 * only by walking past the newer ones in its bucket. A ring has one bucket for each 32 entries of its
 * completion queue, and at most 256. Among 60,000 operations that are 234 steps, each of which misses the
 * caches. Several rings have more buckets together. What is parked is not in the kernel.
 *
 * Two further ways were measured by hand, and are not taken. To cancel an old operation and begin it anew
 * puts it at the head of its bucket; but that cancel is the search that is to be avoided. Values of user_data
 * that put operations which begin together into the same 8 buckets let one walk bring the way to all of them
 * into the caches: 2.8 us each. But a cancel of all 60,000 is 1.25 times as dear then, since what is
 * cancelled stays in its bucket until its chunk is done.
 */
static void old_ones(unsigned setup_flags)
{
	static const char *const names[] = {"one ring", "16 rings", "parked"};
	struct shards sides[3];
	const bench_side functions[] = {run_shards, run_shards, run_shards};
	void *data[] = {&sides[0], &sides[1], &sides[2]};
	struct bench_turns turns;
	char name[64];

	if (!bench_wanted("64 below 60000 newer"))
		return;
	for (unsigned i = 0; i < 3; i++) {
		sides[i] = (struct shards){.rings = i == 1 ? SHARDS : 1,
					   .op_flags = i == 2 ? CTX_OP_PARK : 0,
					   .load = {.kind = LOAD_RECV,
						    .setup_flags = setup_flags,
						    .pending = 60000,
						    .victims = 64,
						    .groups = LOAD_GROUPS_MAX,
						    .which = LOAD_OLDEST}};
		load_choose(&sides[i].load);
	}
	bench_take_turns(&turns, bench.quick ? 3 : 7, 3, functions, data);
	for (unsigned i = 0; i < 3; i++) {
		load_forget(&sides[i].load);
		snprintf(name, sizeof(name), "64 below 60000 newer, %s, %s", names[i],
			 ring_name(setup_flags));
		bench_report(name, bench_turns_median(&turns, i) / 1000, "us/op", NAN, NULL, "<= 3");
	}
}

/*
 * What one receive costs among 60,000 pending ones, divided by what it costs among 256. The same of the best
 * order by hand shows how much of that is the kernel's: memory that is in no cache any more.
 */
static void growth(unsigned setup_flags)
{
	struct side sides[4];
	const bench_side functions[] = {run_side, run_side, run_side, run_side};
	void *data[] = {&sides[0], &sides[1], &sides[2], &sides[3]};
	struct bench_turns turns;
	char name[64], raw_name[64];
	for (unsigned i = 0; i < 4; i++) {
		unsigned pending = i % 2 ? 256 : 60000;
		sides[i] = (struct side){.raw = i >= 2,
					 .way = i == 2 ? RAW_NEWEST : RAW_BATCH,
					 .load = {.kind = LOAD_RECV,
						  .setup_flags = setup_flags,
						  .pending = pending,
						  .victims = pending,
						  .groups = 1,
						  .repeats = i % 2 ? 60 : 1}};
	}
	snprintf(name, sizeof(name), "one recv of 60000 pending, %s", ring_name(setup_flags));
	if (!bench_wanted(name))
		return;
	bench_take_turns(&turns, bench.quick ? 5 : 11, 4, functions, data);
	bench_report(name, bench_turns_median(&turns, 0), "ns/op", bench_turns_ratio(&turns, 0, 1),
		     "one of 256 pending", "<= 1.5");
	bench_report(name, bench_turns_median(&turns, 0), "ns/op", bench_turns_ratio(&turns, 0, 2),
		     way_names[RAW_NEWEST], "<= 1.1");
	snprintf(raw_name, sizeof(raw_name), "raw, newest first, 60000 pending, %s", ring_name(setup_flags));
	bench_report(raw_name, bench_turns_median(&turns, 2), "ns/op", bench_turns_ratio(&turns, 2, 3),
		     "raw, one of 256 pending", NULL);
	bench_report("raw, one of 256 pending", bench_turns_median(&turns, 3), "ns/op", NAN, raw_name, NULL);
}

/* How many calls of io_uring_enter(2) carry the cancels of a group, as its struct ctx_batch says. */
static void enters(unsigned setup_flags, unsigned pending)
{
	struct load load = {
		.kind = LOAD_RECV, .setup_flags = setup_flags, .pending = pending, .victims = pending};
	struct ours ours;
	struct ctx_context *ctx;
	struct ctx_batch batch;
	char name[64];
	snprintf(name, sizeof(name), "io_uring_enter calls, group of %u, %s", pending,
		 ring_name(setup_flags));
	if (!bench_wanted(name))
		return;
	bench_check(ctx_with_cancel(ctx_background(), NULL, &ctx), "ctx_with_cancel");
	ours_open(&ours, load_entries(&load), setup_flags, 0, pending);
	ours_fill(&ours, &load, (struct ctx_context *[]){NULL, ctx});
	ours_cancel(&ours, ctx, pending);
	bench_check(ctx_ring_last_batch(ours.ring, &batch), "ctx_ring_last_batch");
	ctx_unref(ctx);
	ours_close(&ours);
	bench_report(name, batch.enters, "calls", NAN, NULL, pending <= 256 ? "<= 1" : NULL);
}

int main(int count, char **arguments)
{
	static const unsigned flags[] = {LOAD_RING_ORDINARY, LOAD_RING_DEFER};
	static const unsigned pending[] = {16, 256, 4096, 60000};
	bench_start("cancel", count, arguments);
	load_open(LOAD_PAIRS_MAX);
	for (unsigned r = 0; r < 2; r++) {
		growth(flags[r]);
		old_ones(flags[r]);
		enters(flags[r], 256);
		enters(flags[r], 4096);
	}
	for (unsigned kind = LOAD_RECV; kind <= LOAD_WORKER; kind++)
		for (unsigned r = 0; r < 2; r++)
			for (unsigned n = 0; n < 4; n++) {
				if (kind >= LOAD_QUEUED_READ &&
				    pending[n] > (kind == LOAD_WORKER ? 256 : 4096))
					continue;
				if (bench.quick && kind != LOAD_RECV && (r == 0 || pending[n] < 256))
					continue;
				whole(kind, flags[r], pending[n]);
			}
	for (unsigned kind = LOAD_RECV; kind <= LOAD_TIMEOUT; kind++)
		for (unsigned r = 0; r < 2; r++)
			for (unsigned which = LOAD_NEWEST; which <= LOAD_RANDOM; which++)
				for (unsigned n = bench.quick ? 3 : 2; n < 4; n++)
					if (!bench.quick || (kind == LOAD_RECV && r == 1))
						few(kind, flags[r], pending[n], which);
	load_close();
	return 0;
}
