/* SPDX-License-Identifier: MIT */
/*
 * Parked receives: what it costs to end them, and what a message costs, beside receives that are pending in
 * the kernel, multishot receives, plain epoll with recv(2), and Boost.Asio where it is installed.
 */
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>

#include "ours.h"
#ifdef HAVE_ASIO
#include "asio.h"
#endif

#define CONNECTIONS_MAX 9000u
#define MESSAGE 32
#define ROOM 256
#define BURST 64u

static int near_fds[CONNECTIONS_MAX], far_fds[CONNECTIONS_MAX];
static unsigned connections;
static unsigned random_state = 1;

static unsigned chance(unsigned below)
{
	random_state = random_state * 1103515245u + 12345u;
	return (random_state >> 8) % below;
}

/*
 * Processor time of this thread. One thread reads and writes the messages, so its time says what both cost,
 * whatever else the machine does. Where only a few operations are ended, the call of this costs too much.
 */
static uint64_t cpu_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void open_unix(unsigned count)
{
	for (connections = 0; connections < count; connections++) {
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
			bench_fail("socketpair: %s", strerror(errno));
		near_fds[connections] = fds[0];
		far_fds[connections] = fds[1];
	}
}

static void open_tcp(unsigned count)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 64) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		bench_fail("listen: %s", strerror(errno));
	for (connections = 0; connections < count; connections++) {
		far_fds[connections] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(far_fds[connections], (struct sockaddr *)&address, size))
			bench_fail("connect: %s", strerror(errno));
		near_fds[connections] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (near_fds[connections] < 0)
			bench_fail("accept: %s", strerror(errno));
	}
	close(listener);
}

static void close_all(void)
{
	for (unsigned i = 0; i < connections; i++) {
		close(near_fds[i]);
		close(far_fds[i]);
	}
}

/* ---- ending them */

struct idle {
	unsigned operations, flags; /* CTX_OP_PARK, or 0 */
	unsigned *order; /* in which the operations begin; operation i is on connection i modulo the number of
			    connections */
	struct ours ours;
	bool asio;
#ifdef HAVE_ASIO
	struct asio *other;
#endif
};

static char idle_buffer[ROOM];

static double end_ours(struct idle *idle)
{
	struct ctx_context *ctx;
	bench_check(ctx_with_cancel(ctx_background(), NULL, &ctx), "ctx_with_cancel");
	for (unsigned n = 0; n < idle->operations; n++) {
		unsigned i = idle->order[n];
		io_uring_prep_recv(ours_get_sqe(&idle->ours, ctx, i), near_fds[i % connections], idle_buffer,
				   ROOM, 0);
		ctx_op_set_flags(&idle->ours.ops[i], idle->flags);
	}
	bench_check(ctx_ring_submit(idle->ours.ring), "ctx_ring_submit");
	for (int i = 0; i < 3; i++)
		bench_check(ctx_ring_dispatch(idle->ours.ring, 0), "ctx_ring_dispatch");
	uint64_t begin_ns = bench_now_ns();
	ours_cancel(&idle->ours, ctx, idle->operations);
	uint64_t took_ns = bench_now_ns() - begin_ns;
	ctx_unref(ctx);
	return (double)took_ns / idle->operations;
}

static double end_asio(struct idle *idle)
{
	uint64_t begin_ns = 0;
#ifdef HAVE_ASIO
	asio_start(idle->other, idle->order, idle->operations);
	begin_ns = bench_now_ns();
	asio_cancel(idle->other, idle->operations);
#endif
	return (double)(bench_now_ns() - begin_ns) / idle->operations;
}

/* The median over so many rounds that these have some ten thousand operations together. */
static double run_idle(void *data)
{
	struct idle *idle = data;
	double times[513];
	unsigned rounds = idle->operations < 4096 ? 8192 / idle->operations + 1 : 3;
	for (unsigned i = 0; i < rounds; i++)
		times[i] = idle->asio ? end_asio(idle) : end_ours(idle);
	return bench_median(times, rounds);
}

static unsigned *order_new(unsigned count, bool shuffled)
{
	unsigned *order = bench_allocate(count, sizeof(*order));
	for (unsigned i = 0; i < count; i++)
		order[i] = i;
	for (unsigned i = count - 1; shuffled && i; i--) {
		unsigned other = chance(i + 1), kept = order[i];
		order[i] = order[other];
		order[other] = kept;
	}
	return order;
}

static void compare_ends(unsigned operations, unsigned count, bool shuffled, unsigned setup_flags)
{
	unsigned *order = order_new(operations, shuffled);
	struct idle sides[3] = {{.flags = CTX_OP_PARK}, {.flags = 0}, {.asio = true}};
	const bench_side functions[] = {run_idle, run_idle, run_idle};
	void *data[] = {&sides[0], &sides[1], &sides[2]};
	struct bench_turns turns;
	char name[64];
#ifdef HAVE_ASIO
	unsigned side_count = 3;
#else
	unsigned side_count = 2;
#endif
	snprintf(name, sizeof(name), "end %u%s, %s", operations, shuffled ? " shuffled" : "",
		 setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		goto out;
	open_unix(count);
	for (unsigned i = 0; i < side_count; i++) {
		sides[i].operations = operations;
		sides[i].order = order;
		if (i < 2)
			ours_open(&sides[i].ours, LOAD_ENTRIES_MAX, setup_flags, 0, operations);
#ifdef HAVE_ASIO
		else
			sides[i].other = asio_open(near_fds, connections, operations);
#endif
	}
	for (unsigned i = 0; i < side_count; i++)
		functions[i](
			data[i]); /* once before it is measured, so that tables have grown to their size */
	bench_take_turns(&turns, bench.quick ? 5 : 15, side_count, functions, data);
	bench_report(name, bench_turns_median(&turns, 0), "ns/op", bench_turns_ratio(&turns, 0, 1),
		     "pending in the kernel", NULL);
	bench_report("pending", bench_turns_median(&turns, 1), "ns/op", NAN, name, NULL);
#ifdef HAVE_ASIO
	bench_report(name, bench_turns_median(&turns, 0), "ns/op", bench_turns_ratio(&turns, 0, 2),
		     "Boost.Asio on epoll", shuffled || operations > CONNECTIONS_MAX ? NULL : "<= 0.5");
	bench_report("Boost.Asio", bench_turns_median(&turns, 2), "ns/op", NAN, name, NULL);
	asio_close(sides[2].other);
#endif
	ours_close(&sides[0].ours);
	ours_close(&sides[1].ours);
	close_all();
out:
	free(order);
}

/* ---- messages */

enum reader_kind {
	PARKED,
	AT_ONCE, /* parked, each receive at once */
	PENDING,
	MULTISHOT,
	EPOLL,
	READERS
};

struct reader {
	enum reader_kind kind;
	unsigned setup_flags, messages;
};

struct traffic {
	struct ctx_ring *ring;
	struct ctx_context *ctx;
	struct ctx_op *ops;
	unsigned flags; /* of each receive */
	char (*buffers)[ROOM];
	uint64_t bytes;
	bool ending;
	struct io_uring_buf_ring *provided;
	unsigned provided_mask;
};

static struct traffic traffic;

static void receive(unsigned i)
{
	io_uring_prep_recv(ctx_ring_get_sqe(traffic.ring, traffic.ctx, &traffic.ops[i]), near_fds[i],
			   traffic.buffers[i], ROOM, 0);
	if (traffic.flags)
		ctx_op_set_flags(&traffic.ops[i], traffic.flags);
}

static void received(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	if (completion->res <= 0)
		return;
	traffic.bytes += (unsigned)completion->res;
	receive((unsigned)op->data);
}

#define PROVIDED 1024u

static void receive_many(unsigned i)
{
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(traffic.ring, traffic.ctx, &traffic.ops[i]);
	io_uring_prep_recv_multishot(sqe, near_fds[i], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 1;
}

static void received_many(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	(void)ring;
	if (completion->res > 0)
		traffic.bytes += (unsigned)completion->res;
	if (completion->flags & IORING_CQE_F_BUFFER) {
		unsigned id = completion->flags >> IORING_CQE_BUFFER_SHIFT;
		io_uring_buf_ring_add(traffic.provided, traffic.buffers[id], ROOM, (unsigned short)id,
				      (int)traffic.provided_mask, 0);
		io_uring_buf_ring_advance(traffic.provided, 1);
	}
	if (!completion->more && !traffic.ending)
		receive_many((unsigned)op->data);
}

static void provide(void)
{
	struct io_uring_buf_reg registration = {.ring_entries = PROVIDED, .bgid = 1};
	if (posix_memalign((void **)&traffic.provided, 4096, PROVIDED * sizeof(struct io_uring_buf)))
		bench_fail("no memory");
	memset(traffic.provided, 0, PROVIDED * sizeof(struct io_uring_buf));
	registration.ring_addr = (uint64_t)(uintptr_t)traffic.provided;
	bench_check(io_uring_register_buf_ring(ctx_ring_uring(traffic.ring), &registration, 0),
		    "io_uring_register_buf_ring");
	traffic.provided_mask = (unsigned)io_uring_buf_ring_mask(PROVIDED);
	for (unsigned i = 0; i < PROVIDED; i++)
		io_uring_buf_ring_add(traffic.provided, traffic.buffers[i], ROOM, (unsigned short)i,
				      (int)traffic.provided_mask, (int)i);
	io_uring_buf_ring_advance(traffic.provided, PROVIDED);
}

/* Writes to different connections, as many at a time as a busy server finds ready. */
static unsigned write_burst(unsigned left)
{
	static const char message[MESSAGE];
	unsigned count = connections < BURST ? connections : BURST, step = connections / count;
	if (count > left)
		count = left;
	unsigned first = chance(connections);
	for (unsigned k = 0; k < count; k++)
		if (write(far_fds[(first + k * step) % connections], message, MESSAGE) != MESSAGE)
			bench_fail("write: %s", strerror(errno));
	return count;
}

static void read_by_epoll(int epoll, uint64_t until)
{
	struct epoll_event events[256];
	while (traffic.bytes < until) {
		int count = epoll_wait(epoll, events, 256, -1);
		for (int i = 0; i < count; i++) {
			ssize_t size =
				recv(near_fds[events[i].data.u32], traffic.buffers[0], ROOM, MSG_DONTWAIT);
			if (size > 0)
				traffic.bytes += (uint64_t)size;
		}
	}
}

static double move(const struct reader *reader, int epoll, unsigned messages)
{
	uint64_t begin_ns = cpu_now_ns();
	for (unsigned sent = 0; sent < messages;) {
		sent += write_burst(messages - sent);
		uint64_t until = (uint64_t)sent * MESSAGE;
		if (reader->kind == EPOLL)
			read_by_epoll(epoll, until);
		while (traffic.bytes < until)
			bench_check(ctx_ring_dispatch(traffic.ring, CTX_FOREVER), "ctx_ring_dispatch");
	}
	traffic.bytes = 0;
	return (double)(cpu_now_ns() - begin_ns) / messages;
}

static void ring_open_for(const struct reader *reader)
{
	struct ctx_ring_options options = {.setup_flags = reader->setup_flags,
					   .flags = reader->kind == PARKED ? CTX_RING_PARK : 0,
					   .cq_entries = 2 * CONNECTIONS_MAX};
	bench_check(ctx_ring_open(1024, &options, &traffic.ring), "ctx_ring_open");
	bench_check(ctx_with_cancel(ctx_background(), NULL, &traffic.ctx), "ctx_with_cancel");
	traffic.flags = reader->kind == AT_ONCE ? CTX_OP_PARK : 0;
	if (reader->kind == MULTISHOT)
		provide();
	for (unsigned i = 0; i < connections; i++) {
		ctx_op_init(&traffic.ops[i], reader->kind == MULTISHOT ? received_many : received, i);
		reader->kind == MULTISHOT ? receive_many(i) : receive(i);
	}
	bench_check(ctx_ring_submit(traffic.ring), "ctx_ring_submit");
}

/* Leaves no message on the sockets, for the next side would have to read it. */
static double run_messages(void *data)
{
	const struct reader *reader = data;
	unsigned slots = connections > PROVIDED ? connections : PROVIDED;
	int epoll = -1;
	traffic = (struct traffic){.ops = bench_allocate(slots, sizeof(struct ctx_op)),
				   .buffers = bench_allocate(slots, ROOM)};
	if (reader->kind == EPOLL) {
		epoll = epoll_create1(EPOLL_CLOEXEC);
		for (unsigned i = 0; i < connections; i++) {
			struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = i};
			epoll_ctl(epoll, EPOLL_CTL_ADD, near_fds[i], &event);
		}
	} else {
		ring_open_for(reader);
	}
	move(reader, epoll, reader->messages / 10 + connections);
	double result = move(reader, epoll, reader->messages);
	traffic.ending = true;
	if (epoll >= 0)
		close(epoll);
	else
		bench_check(ctx_ring_close(traffic.ring, CTX_FOREVER, NULL, 0, NULL), "ctx_ring_close");
	ctx_finish(traffic.ctx);
	free(traffic.ops);
	free(traffic.buffers);
	free(traffic.provided);
	return result;
}

static void compare_messages(unsigned count, bool tcp, unsigned setup_flags)
{
	static const char *const against[READERS] = {NULL, NULL, "recv pending", "multishot recv",
						     "epoll and recv(2)"};
	struct reader readers[READERS];
	const bench_side functions[] = {run_messages, run_messages, run_messages, run_messages, run_messages};
	void *data[READERS];
	struct bench_turns turns;
	char name[64], at_once[96];
	snprintf(name, sizeof(name), "message, %u %s, %s", count, tcp ? "TCP" : "unix",
		 setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	tcp ? open_tcp(count) : open_unix(count);
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.kind = (enum reader_kind)i,
					     .setup_flags = setup_flags,
					     .messages = bench.quick ? 5000 : 20000};
		data[i] = &readers[i];
	}
	bench_take_turns(&turns, bench.quick ? 5 : 11, READERS, functions, data);
	for (unsigned i = PENDING; i < READERS; i++) {
		const char *goal = count < 64 ? "<= 1.1" : tcp ? "<= 0.95" : "<= 0.9";
		bench_report(name, bench_turns_median(&turns, 0), "ns", bench_turns_ratio(&turns, 0, i),
			     against[i], i == PENDING && setup_flags ? goal : NULL);
		bench_report(against[i], bench_turns_median(&turns, i), "ns", NAN, name, NULL);
	}
	snprintf(at_once, sizeof(at_once), "%s, with CTX_OP_PARK", name);
	bench_report(at_once, bench_turns_median(&turns, AT_ONCE), "ns",
		     bench_turns_ratio(&turns, AT_ONCE, PENDING), against[PENDING], NULL);
	close_all();
}

/* ---- waking up */

struct echo {
	unsigned setup_flags, flags, rounds;
	struct ctx_ring *ring;
	struct ctx_op op;
	char buffer[ROOM];
	bool over;
};

static void answer(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct echo *echo = (struct echo *)(uintptr_t)op->data;
	if (completion->res <= 0) {
		echo->over = true;
		return;
	}
	if (write(near_fds[0], echo->buffer, (size_t)completion->res) < 0)
		bench_fail("write: %s", strerror(errno));
	io_uring_prep_recv(ctx_ring_get_sqe(ring, ctx_background(), op), near_fds[0], echo->buffer, ROOM, 0);
}

static void *echo_thread(void *data)
{
	struct echo *echo = data;
	ctx_op_init(&echo->op, answer, (uint64_t)(uintptr_t)echo);
	io_uring_prep_recv(ctx_ring_get_sqe(echo->ring, ctx_background(), &echo->op), near_fds[0],
			   echo->buffer, ROOM, 0);
	while (!echo->over)
		ctx_ring_dispatch(echo->ring, CTX_FOREVER);
	bench_check(ctx_ring_close(echo->ring, CTX_FOREVER, NULL, 0, NULL), "ctx_ring_close");
	return NULL;
}

/* The median time until a byte that was sent to a sleeping thread has come back. */
static double run_echo(void *data)
{
	struct echo *echo = data;
	struct ctx_ring_options options = {.setup_flags = echo->setup_flags, .flags = echo->flags};
	double *times = bench_allocate(echo->rounds, sizeof(*times)), median;
	pthread_t thread;
	char byte = 0;
	open_unix(1);
	echo->over = false;
	bench_check(ctx_ring_open(8, &options, &echo->ring), "ctx_ring_open");
	bench_check(-pthread_create(&thread, NULL, echo_thread, echo), "pthread_create");
	for (unsigned i = 0; i < echo->rounds; i++) {
		uint64_t begin_ns = bench_now_ns();
		if (write(far_fds[0], &byte, 1) != 1 || read(far_fds[0], &byte, 1) != 1)
			bench_fail("echo: %s", strerror(errno));
		times[i] = (double)(bench_now_ns() - begin_ns);
	}
	shutdown(far_fds[0], SHUT_WR);
	pthread_join(thread, NULL);
	median = bench_median(times, echo->rounds);
	free(times);
	close_all();
	return median;
}

static void compare_wakes(unsigned setup_flags)
{
	struct echo sides[2] = {{.flags = CTX_RING_PARK}, {.flags = 0}};
	const bench_side functions[] = {run_echo, run_echo};
	void *data[] = {&sides[0], &sides[1]};
	struct bench_turns turns;
	char name[64];
	snprintf(name, sizeof(name), "wake and answer, p50, %s", setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	for (unsigned i = 0; i < 2; i++) {
		sides[i].setup_flags = setup_flags;
		sides[i].rounds = 2000;
	}
	bench_take_turns(&turns, bench.quick ? 3 : 11, 2, functions, data);
	bench_report(name, bench_turns_median(&turns, 0), "ns", bench_turns_ratio(&turns, 0, 1),
		     "recv pending", "<= 1.03");
	bench_report("recv pending", bench_turns_median(&turns, 1), "ns", NAN, name, NULL);
}

/* ---- memory */

static double kernel_memory(void)
{
	char line[128];
	double kilobytes = 0;
	FILE *file = fopen("/proc/meminfo", "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Slab: %lf kB", &kilobytes) == 1)
			break;
	if (file)
		fclose(file);
	return kilobytes * 1024;
}

/* The memory of one idle connection without its socket. That of the kernel is estimated from all of its
 * caches. */
static void measure_memory(unsigned flags, unsigned setup_flags)
{
	double kernel[9], heap = 0;
	char name[64];
	snprintf(name, sizeof(name), "memory, %s, %s", flags ? "parked" : "pending",
		 setup_flags ? "defer" : "ordinary");
	if (!bench_wanted(name))
		return;
	open_unix(8000);
	for (unsigned turn = 0; turn < 9; turn++) {
		struct ours ours;
		ours_open(&ours, 1024, setup_flags, 0, connections);
		double before = kernel_memory();
		size_t heap_before = mallinfo2().uordblks + mallinfo2().hblkhd;
		for (unsigned i = 0; i < connections; i++) {
			io_uring_prep_recv(ours_get_sqe(&ours, ctx_background(), i), near_fds[i], idle_buffer,
					   ROOM, 0);
			ctx_op_set_flags(&ours.ops[i], flags);
		}
		bench_check(ctx_ring_submit(ours.ring), "ctx_ring_submit");
		for (int i = 0; i < 3; i++)
			bench_check(ctx_ring_dispatch(ours.ring, 0), "ctx_ring_dispatch");
		kernel[turn] = (kernel_memory() - before) / connections;
		heap = (double)(mallinfo2().uordblks + mallinfo2().hblkhd - heap_before) / connections;
		ours_close(&ours);
	}
	bench_report(name, bench_median(kernel, 9), "bytes", NAN, "in the kernel", NULL);
	bench_report(name, heap + sizeof(struct ctx_op), "bytes", NAN, "with struct ctx_op", NULL);
	close_all();
}

int main(int count, char **arguments)
{
	static const unsigned ends[] = {16, 256, 4096, CONNECTIONS_MAX};
	static const unsigned readers[] = {1, 64, 512, 4096};
	struct rlimit limit;
	bench_start("park", count, arguments);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		bench_fail("getrlimit: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (unsigned i = 0; i < 8; i++) {
		unsigned most = limit.rlim_cur > 200 ? (unsigned)(limit.rlim_cur - 100) / 2 : 16;
		unsigned number = ends[i / 2] < most ? ends[i / 2] : most;
		compare_ends(number, number, i % 2, LOAD_RING_DEFER);
	}
	compare_ends(60000, 512, false, LOAD_RING_DEFER);
	compare_ends(60000, 512, true, LOAD_RING_DEFER);
	compare_ends(4096, 4096, false, LOAD_RING_ORDINARY);
	for (unsigned tcp = 0; tcp < 2; tcp++)
		for (unsigned i = 0; i < 4; i++)
			compare_messages(readers[i], tcp, LOAD_RING_DEFER);
	compare_messages(512, false, LOAD_RING_ORDINARY);
	compare_messages(512, true, LOAD_RING_ORDINARY);
	compare_wakes(LOAD_RING_ORDINARY);
	compare_wakes(LOAD_RING_DEFER);
	measure_memory(CTX_OP_PARK, LOAD_RING_DEFER);
	measure_memory(0, LOAD_RING_DEFER);
	return 0;
}
