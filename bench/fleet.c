/* SPDX-License-Identifier: MIT */
/*
 * Contexts across hosts, for bench/fleet.sh, which starts what this program needs: two hosts with ctxd and
 * ctxd-fleet, whose sockets are $FLEET_SOCKET_A and $FLEET_SOCKET_B, and a Redis at $FLEET_ENGINE.
 *
 *	fleet [OPTION...]    the time from a cancel on host A to a completion in a ring on host B, beside a
 *message through the same engine, and beside a cancel that only crosses processes of host A fleet share COUNT
 *shares contexts with the fleet, and holds them until its input ends fleet join COUNT     the same, and
 *another process joins them on host B; says "joined" and waits for a line of its input; then cancels what
 *they have in common, and prints how long that took to be seen
 */
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ours.h"

#define JOINED_MAX 20000
#define TURN_ROUNDS 50

/* What takes turns: a message through the engine, and cancels. */
enum side {
	SIDE_ENGINE,
	SIDE_LOCAL_THREAD, /* joined on the same host; the thread of the client dispatches */
	SIDE_LOCAL_OWN,	   /* the ring of the joiner dispatches the client */
	SIDE_FLEET_THREAD, /* joined on another host */
	SIDE_FLEET_OWN,
	SIDES
};

/* Memory that both processes share. */
struct board {
	_Atomic uint32_t round;	  /* the round that the other process is ready for */
	_Atomic uint32_t turn;	  /* the round that the ids belong to */
	_Atomic uint64_t seen_ns; /* when the other process saw what it waits for; 0: not yet */
	struct ctxd_id id;
	char global_id[CTXD_GLOBAL_ID_TEXT];
	uint64_t ended_ns[JOINED_MAX]; /* when the end of each joined context was seen */
	struct ctxd_id ids[JOINED_MAX];
	char global_ids[JOINED_MAX][CTXD_GLOBAL_ID_TEXT];
};

static struct board *board;
static double *values[SIDES];
static unsigned rounds;

static struct ctxd_client *connect_client(const char *variable, unsigned flags)
{
	struct ctxd_options options = {.socket = getenv(variable), .flags = flags};
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

	/* Sleeps between looks, since spinning would take a processor away from those that are measured. */
	while (!(seen_ns = atomic_exchange(&board->seen_ns, 0)))
		poll(NULL, 0, 1);
	return seen_ns;
}

static void end_other(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	if (status)
		bench_fail("the other process ended with %d", status);
}

/* ---- the engine: one stream, and a reader that waits for its next entry */

static int connect_engine(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *text = getenv("FLEET_ENGINE"), *colon = text ? strchr(text, ':') : NULL;
	int fd = bench_check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	char host[64] = "";

	if (colon)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (!colon || inet_pton(AF_INET, host, &address.sin_addr) != 1)
		bench_fail("FLEET_ENGINE is not ADDRESS:PORT");
	address.sin_port = htons((uint16_t)atoi(colon + 1));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		bench_fail("the engine: %s", strerror(errno));
	return fd;
}

static void engine_send(int fd, const char *command)
{
	if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0)
		bench_fail("the engine: %s", strerror(errno));
}

static ssize_t engine_receive(int fd, char *answer, size_t size)
{
	ssize_t received = recv(fd, answer, size - 1, 0);

	if (received <= 0)
		bench_fail("the engine ended the connection");
	answer[received] = '\0';
	return received;
}

static void engine_write(int fd)
{
	char answer[256];

	engine_send(fd, "XADD bench:fleet MAXLEN ~ 100 * m 0123456789012345678901234567890123456789\r\n");
	engine_receive(fd, answer, sizeof(answer));
}

static void engine_wait(int fd)
{
	char answer[1024];

	engine_send(fd, "XREAD BLOCK 30000 STREAMS bench:fleet $\r\n");
	engine_receive(fd, answer, sizeof(answer));
}

/* ---- the other process, which waits in its ring with a receive under the joined context */

struct joiner {
	struct ctxd_client *clients[SIDES];
	struct ctx_op poll_ops[SIDES], receive;
	struct ctx_ring *ring;
	int pair[2], engine;
	bool ended;
};
static struct joiner joiner;

static void service_ready(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	ctxd_dispatch(joiner.clients[op->data], 0);
	if (!completion->more)
		io_uring_prep_poll_multishot(ctx_ring_get_sqe(ring, ctx_background(), op),
					     ctxd_fd(joiner.clients[op->data]), POLLIN);
}

static void receive_ended(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	(void)op;
	(void)completion;
	atomic_store(&board->seen_ns, bench_now_ns());
	joiner.ended = true;
}

static void joiner_connect(enum side side, const char *variable, bool own)
{
	joiner.clients[side] = connect_client(variable, own ? CTXD_OWN_DISPATCH : 0);
	if (!own)
		return;
	ctx_op_init(&joiner.poll_ops[side], service_ready, side);
	io_uring_prep_poll_multishot(ctx_ring_get_sqe(joiner.ring, ctx_background(), &joiner.poll_ops[side]),
				     ctxd_fd(joiner.clients[side]), POLLIN);
}

/* Waits for the end of what was shared for this round. */
static void joiner_wait(enum side side, uint32_t round)
{
	struct ctx_context *joined;
	char buffer[16];

	if (side == SIDE_FLEET_THREAD || side == SIDE_FLEET_OWN)
		bench_check(ctxd_join_remote(joiner.clients[side], board->global_id, NULL, CTXD_JOIN_WAIT,
					     &joined),
			    "ctxd_join_remote");
	else
		bench_check(ctxd_join(joiner.clients[side], board->id, &joined), "ctxd_join");
	io_uring_prep_recv(ctx_ring_get_sqe(joiner.ring, joined, &joiner.receive), joiner.pair[0], buffer,
			   sizeof(buffer), 0);
	joiner.ended = false;
	ctx_ring_dispatch(joiner.ring, 0);
	atomic_store(&board->round, round);
	while (!joiner.ended)
		bench_check(ctx_ring_dispatch(joiner.ring, CTX_FOREVER), "ctx_ring_dispatch");
	ctx_finish(joined);
}

static void join_across(void)
{
	bench_check(ctx_ring_open(64, NULL, &joiner.ring), "ctx_ring_open");
	bench_check(socketpair(AF_UNIX, SOCK_STREAM, 0, joiner.pair), "socketpair");
	ctx_op_init(&joiner.receive, receive_ended, 0);
	joiner_connect(SIDE_LOCAL_THREAD, "FLEET_SOCKET_A", false);
	joiner_connect(SIDE_LOCAL_OWN, "FLEET_SOCKET_A", true);
	joiner_connect(SIDE_FLEET_THREAD, "FLEET_SOCKET_B", false);
	joiner_connect(SIDE_FLEET_OWN, "FLEET_SOCKET_B", true);
	joiner.engine = connect_engine();
	for (uint32_t round = 1; round <= rounds * SIDES; round++) {
		enum side side = (round - 1) % SIDES;

		while (atomic_load(&board->turn) != round)
			ctx_ring_dispatch(joiner.ring, 1000000);
		if (side != SIDE_ENGINE) {
			joiner_wait(side, round);
			continue;
		}
		atomic_store(&board->round, round);
		engine_wait(joiner.engine);
		atomic_store(&board->seen_ns, bench_now_ns());
	}
}

/* ---- this process */

static double measure(enum side side, struct ctxd_client *owner, int engine, uint32_t round)
{
	struct ctx_context *ctx;
	uint64_t start_ns;

	if (side == SIDE_ENGINE) {
		atomic_store(&board->turn, round);
		await_round(round);
		start_ns = bench_now_ns();
		engine_write(engine);
		return (double)(await_seen() - start_ns);
	}
	bench_check(ctx_with_cancel(ctx_background(), "request", &ctx), "ctx_with_cancel");
	bench_check(ctxd_share(owner, ctx, NULL, 0600 | CTXD_FLEET, &board->id), "ctxd_share");
	bench_check(ctxd_global_id_of(owner, ctx, board->global_id), "ctxd_global_id_of");
	atomic_store(&board->turn, round);
	await_round(round);
	start_ns = bench_now_ns();
	ctx_cancel(ctx);
	double took_ns = (double)(await_seen() - start_ns);
	ctx_unref(ctx);
	return took_ns;
}

/* The percentile of a part of the rounds. */
static double percentile(enum side side, unsigned first, unsigned count, unsigned percent)
{
	double *copy = bench_allocate(count, sizeof(*copy)), value;

	memcpy(copy, values[side] + first, count * sizeof(*copy));
	qsort(copy, count, sizeof(*copy), bench_compare);
	value = copy[(size_t)count * percent / 100];
	free(copy);
	return value;
}

static double parts_p50(enum side local, unsigned first, unsigned count)
{
	return percentile(SIDE_ENGINE, first, count, 50) + 2 * percentile(local, first, count, 50);
}

static void report_fleet(enum side fleet, enum side local, const char *how, const char *goal_p50,
			 const char *goal_p99)
{
	double ratios[BENCH_TURNS_MAX];
	unsigned turns = 0;
	char name[64];

	for (unsigned first = 0; first < rounds && turns < BENCH_TURNS_MAX; first += TURN_ROUNDS)
		ratios[turns++] =
			percentile(fleet, first, TURN_ROUNDS, 50) / parts_p50(local, first, TURN_ROUNDS);
	snprintf(name, sizeof(name), "cancel across hosts, %s, p50", how);
	bench_report(name, percentile(fleet, 0, rounds, 50), "ns", bench_median(ratios, turns),
		     "engine and two across processes", goal_p50);
	snprintf(name, sizeof(name), "cancel across hosts, %s, p99", how);
	bench_report(name, percentile(fleet, 0, rounds, 99), "ns",
		     percentile(fleet, 0, rounds, 99) / parts_p50(local, 0, rounds),
		     "engine and two across, p50", goal_p99);
}

static void report_across(void)
{
	struct ctxd_client *owner = connect_client("FLEET_SOCKET_A", 0);
	int engine = connect_engine();
	pid_t other = fork();

	if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		join_across();
		_exit(0);
	}
	for (unsigned side = 0; side < SIDES; side++)
		values[side] = bench_allocate(rounds, sizeof(double));
	for (uint32_t round = 1; round <= rounds * SIDES; round++) {
		enum side side = (round - 1) % SIDES;
		values[side][(round - 1) / SIDES] = measure(side, owner, engine, round);
	}
	end_other(other);
	bench_report("message through the engine, p50", percentile(SIDE_ENGINE, 0, rounds, 50), "ns", NAN,
		     NULL, NULL);
	bench_report("cancel across processes, client's thread, p50",
		     percentile(SIDE_LOCAL_THREAD, 0, rounds, 50), "ns", NAN, NULL, NULL);
	bench_report("cancel across processes, own dispatch, p50", percentile(SIDE_LOCAL_OWN, 0, rounds, 50),
		     "ns", NAN, NULL, NULL);
	report_fleet(SIDE_FLEET_THREAD, SIDE_LOCAL_THREAD, "client's thread", "<= 1.3", "<= 3");
	report_fleet(SIDE_FLEET_OWN, SIDE_LOCAL_OWN, "own dispatch", NULL, NULL);
	ctxd_close(owner);
}

/* ---- many contexts */

static struct ctx_context *share_many(struct ctxd_client *owner, unsigned count)
{
	struct ctx_context *above, *ctx;

	bench_check(ctx_with_cancel(ctx_background(), "all", &above), "ctx_with_cancel");
	for (unsigned i = 0; i < count; i++) {
		bench_check(ctx_with_cancel(above, "one of many", &ctx), "ctx_with_cancel");
		bench_check(ctxd_share(owner, ctx, NULL, 0600 | CTXD_FLEET, &board->ids[i]), "ctxd_share");
		bench_check(ctxd_global_id_of(owner, ctx, board->global_ids[i]), "ctxd_global_id_of");
	}
	return above;
}

static _Atomic unsigned ended_count;

static void note_end(struct ctx_callback *callback, const struct ctx_context *ctx, void *data)
{
	(void)callback;
	(void)ctx;
	*(uint64_t *)data = bench_now_ns();
	atomic_fetch_add(&ended_count, 1);
}

/*
 * Joins all, says so, and waits for their ends. The last join on host B waits for its answer, which comes
 * after those of all others.
 */
static void join_many(unsigned count, bool local)
{
	struct ctxd_client *client = connect_client(local ? "FLEET_SOCKET_A" : "FLEET_SOCKET_B", 0);
	struct ctx_callback *callbacks = bench_allocate(count, sizeof(*callbacks));
	struct ctx_context *joined;

	for (unsigned i = 0; i < count; i++) {
		unsigned flags = i + 1 == count ? CTXD_JOIN_WAIT : 0;
		if (local)
			bench_check(ctxd_join(client, board->ids[i], &joined), "ctxd_join");
		else
			bench_check(ctxd_join_remote(client, board->global_ids[i], NULL, flags, &joined),
				    "ctxd_join_remote");
		bench_check(ctx_callback_add(joined, &callbacks[i], note_end, &board->ended_ns[i], NULL),
			    "ctx_callback_add");
	}
	atomic_store(&board->round, 1);
	while (atomic_load(&ended_count) < count)
		poll(NULL, 0, 1);
}

static void measure_many(unsigned count, bool local)
{
	struct ctxd_client *owner;
	struct ctx_context *above;
	double *took = bench_allocate(count, sizeof(*took));
	char line[16];
	pid_t other = fork();

	if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (atomic_load(&board->turn) != 1)
			poll(NULL, 0, 1);
		join_many(count, local);
		_exit(0);
	}
	owner = connect_client("FLEET_SOCKET_A", 0);
	above = share_many(owner, count);
	atomic_store(&board->turn, 1);
	while (atomic_load(&board->round) != 1) {
		if (waitpid(other, NULL, WNOHANG) == other)
			bench_fail("the other process has ended");
		poll(NULL, 0, 1);
	}
	puts("joined");
	fflush(stdout);
	(void)!fgets(line, sizeof(line), stdin);
	uint64_t start_ns = bench_now_ns();
	ctx_cancel(above);
	uint64_t returned_ns = bench_now_ns();
	end_other(other);
	for (unsigned i = 0; i < count; i++)
		took[i] = (double)(board->ended_ns[i] - start_ns) / 1e6;
	qsort(took, count, sizeof(*took), bench_compare);
	printf("call %.3f p50 %.3f p99 %.3f max %.3f\n", (double)(returned_ns - start_ns) / 1e6,
	       took[count / 2], took[(size_t)count * 99 / 100], took[count - 1]);
	ctxd_close(owner);
}

static void hold_many(unsigned count)
{
	struct ctxd_client *owner = connect_client("FLEET_SOCKET_A", 0);
	char end;

	share_many(owner, count);
	puts("held");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &end, 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;

	bench.name = "fleet";
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		bench_fail("mmap: %s", strerror(errno));
	if (count > JOINED_MAX)
		bench_fail("at most %d contexts", JOINED_MAX);
	if (count && strcmp(argv[1], "share") == 0) {
		hold_many(count);
		return 0;
	}
	if (count && (strcmp(argv[1], "join") == 0 || strcmp(argv[1], "local") == 0)) {
		measure_many(count, strcmp(argv[1], "local") == 0);
		return 0;
	}
	bench_start("fleet", argc, argv);
	rounds = bench.quick ? 500 : 3000;
	if (bench_wanted("across"))
		report_across();
	return 0;
}
