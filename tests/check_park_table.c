/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever an operation is, however its buffer is named, on every kind of file and ring: parked or not
 * it ends as it does on a ring that does not park, with the same bytes, and takes no more buffers from its
 * group. And it parks where ctx_op(3) says so. Method: everything is combined with everything by loops, so
 * that no cell of that table can be forgotten. Each cell is acted out on an ordinary ring and on the one that
 * is tested; what is seen of it is written down as text, which must be the same. While an operation is
 * parked, what it waits for comes three times and is taken away again before it is given to it.
 */
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "feature.h"
#include "support/park_cells.h"
#include "support/parking.h"

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4)
#endif
#ifndef IORING_CQE_F_NOTIF
#define IORING_CQE_F_NOTIF (1U << 3)
#endif
#define CQE_F_BUF_MORE (1U << 4) /* IORING_CQE_F_BUF_MORE, Linux 6.12 */
#define PBUF_RING_INC 2		 /* IOU_PBUF_RING_INC, Linux 6.12 */
#define OP_READ_MULTISHOT 49	 /* IORING_OP_READ_MULTISHOT, Linux 6.7 */

#define BUFFERS 8u
#define ROOM 16u /* of each */
#define ROUNDS 3u
#define GROUP 7

/* ---- the bed that one cell is acted out in */

struct
try {
	struct probe probe;
	struct iovec iov;
	struct msghdr message;
	char own[ROOM];
};

struct bed {
	struct cell cell;
	struct ctx_ring *ring;
	struct io_uring adopted;
	struct ctx_context *ctx;
	struct io_uring_buf_ring *buffers;
	struct pair pair;
	unsigned filled; /* bytes in the way of what is sent */
	unsigned sent;
	unsigned cursor; /* bytes taken from an incremental group */
	struct try tries[ROUNDS];
	char (*memory)[ROOM]; /* BUFFERS of them */
	char text[8192];      /* what was seen */
};

static __attribute__((format(printf, 2, 3))) void note(struct bed *bed, const char *format, ...)
{
	size_t length = strlen(bed->text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(bed->text + length, sizeof(bed->text) - length, format, arguments);
	va_end(arguments);
}

static const char *describe(const struct cell *cell)
{
	static char text[256];

	snprintf(text, sizeof(text), "%s, %s buffer, %s, ring: %s%s", forms[cell->form],
		 namings[cell->naming], files[cell->file], rings[cell->ring].name,
		 cell->parks ? "" : ", not parking");
	return text;
}

/* One turn of the loop that the ring is in. */
static void turn(struct bed *bed, uint64_t timeout_ns)
{
	struct __kernel_timespec time = {.tv_nsec = (long long)timeout_ns};
	struct io_uring_cqe *cqe;

	if (bed->cell.ring != ADOPTED) {
		int delivered = ctx_ring_dispatch(bed->ring, timeout_ns);
		ck_assert_msg(delivered >= 0 || delivered == -EAGAIN || delivered == -EBUSY, "%s: %s",
			      describe(&bed->cell), strerror(-delivered));
		return;
	}
	ck_assert_int_ge(ctx_ring_submit(bed->ring), 0);
	io_uring_wait_cqe_timeout(&bed->adopted, &cqe, &time);
	while (!io_uring_peek_cqe(&bed->adopted, &cqe)) {
		ctx_ring_filter(bed->ring, cqe, NULL, NULL);
		io_uring_cqe_seen(&bed->adopted, cqe);
	}
	ctx_ring_dispatch(bed->ring, 0);
}

static void settle(struct bed *bed)
{
	for (unsigned i = 0; i < 6; i++)
		turn(bed, 0);
}

static struct ctx_ring *open_ring(struct bed *bed)
{
	const struct cell *cell = &bed->cell;
	bool parks = cell->parks && cell->ring != BY_FLAG;
	struct ctx_ring_options options = {.flags = rings[cell->ring].flags | (parks ? CTX_RING_PARK : 0),
					   .setup_flags = rings[cell->ring].setup_flags};
	struct ctx_ring *ring;

	if (cell->ring == ADOPTED) {
		struct io_uring_params params = {0};
		ck_assert_ok(io_uring_queue_init_params(rings[ADOPTED].entries, &bed->adopted, &params));
		ck_assert_ok(ctx_ring_adopt(&bed->adopted, NULL, &ring));
	} else {
		ck_assert_ok(ctx_ring_open(rings[cell->ring].entries, &options, &ring));
		ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0); /* makes it this thread's */
	}
	return ring;
}

static void set_nonblock(int fd, bool on)
{
	ck_assert_ok(fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0));
}

/* The same pipe as a FIFO: opened by name. */
static int reopened(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, flags | O_CLOEXEC);
	ck_assert_int_ge(again, 0);
	close(fd);
	return again;
}

/* near is the end that is operated on. */
static struct pair open_file(const struct cell *cell)
{
	struct pair pair;

	const int little = 4096;

	/* With little room, so that it is soon full. */
	if (is_socket(cell->file)) {
		pair = cell->file == TCP ? tcp_new() : pair_new();
		ck_assert_ok(setsockopt(pair.near, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)));
		return pair;
	}
	pair = pipe_new();
	ck_assert_int_ge(fcntl(pair.near, F_SETPIPE_SZ, little), little);
	if (cell->file == FIFO || cell->file == FIFO_NONBLOCK)
		pair = (struct pair){reopened(pair.near, O_RDONLY), reopened(pair.far, O_WRONLY)};
	return sends(cell->form) ? (struct pair){pair.far, pair.near} : pair;
}

static int operated_fd(const struct bed *bed)
{
	return is_registered(bed->cell.file) ? 0 : bed->pair.near;
}

static void await(struct bed *bed, const struct probe *probe, unsigned mores)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	while (!probe->finals && probe->mores < mores) {
		turn(bed, MILLISECOND);
		ck_assert_msg(clock_now_ns() < end_ns, "%s: never ended", describe(&bed->cell));
	}
}

/* False: this kernel has no such group. */
static bool provide(struct bed *bed)
{
	struct {
		uint64_t ring_addr;
		uint32_t ring_entries;
		uint16_t bgid, flags;
		uint64_t reserved[3];
	} group = {(uint64_t)(uintptr_t)bed->buffers,
		   BUFFERS,
		   GROUP,
		   is_incremental(bed->cell.naming) ? PBUF_RING_INC : 0,
		   {0}};
	struct probe probe;

	if (bed->cell.naming == PLAIN)
		return true;
	if (is_legacy(bed->cell.naming)) {
		io_uring_prep_provide_buffers(probe_start(bed->ring, ctx_background(), &probe), bed->memory,
					      (int)ROOM, (int)BUFFERS, GROUP, 0);
		await(bed, &probe, UINT_MAX);
		return probe.last.res >= 0;
	}
	if (syscall(__NR_io_uring_register, ctx_ring_uring(bed->ring)->ring_fd, IORING_REGISTER_PBUF_RING,
		    &group, 1))
		return false;
	for (unsigned i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(bed->buffers, bed->memory[i], ROOM, (unsigned short)i,
				      io_uring_buf_ring_mask(BUFFERS), (int)i);
	io_uring_buf_ring_advance(bed->buffers, (int)BUFFERS);
	return true;
}

/* ---- operations */

static void take_note(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion);

static void prepare_in(struct bed *bed, struct try *try, struct io_uring_sqe *sqe)
{
	/* A group's buffers have the size, a bundle takes all there is. */
	bool selects = bed->cell.naming != PLAIN;
	unsigned size = is_bundle(bed->cell.naming) || bed->cell.form == RECV_MULTISHOT ? 0 : ROOM;
	void *memory = selects ? NULL : try->own;
	int fd = operated_fd(bed);

	switch (bed->cell.form) {
	case RECV:
	case RECV_ALL:
	case RECV_MULTISHOT:
		io_uring_prep_recv(sqe, fd, memory, size, bed->cell.form == RECV_ALL ? MSG_WAITALL : 0);
		if (bed->cell.form == RECV_MULTISHOT)
			sqe->ioprio |= IORING_RECV_MULTISHOT;
		break;
	case RECVMSG:
	case RECVMSG_ALL:
		io_uring_prep_recvmsg(sqe, fd, &try->message,
				      bed->cell.form == RECVMSG_ALL ? MSG_WAITALL : 0);
		break;
	case READ:
		io_uring_prep_read(sqe, fd, memory, ROOM, (uint64_t)-1);
		break;
	case READV:
		io_uring_prep_readv(sqe, fd, &try->iov, 1, (uint64_t)-1);
		break;
	case READ_FIXED:
		io_uring_prep_read_fixed(sqe, fd, bed->memory[try - bed->tries], ROOM, (uint64_t)-1, 0);
		break;
	default:
		io_uring_prep_rw(OP_READ_MULTISHOT, sqe, fd, NULL, 0, (uint64_t)-1);
		break;
	}
}

static void prepare_out(struct bed *bed, struct try *try, struct io_uring_sqe *sqe)
{
	bool selects = bed->cell.naming != PLAIN;
	unsigned size = selects ? 0 : ROOM;
	void *memory = selects ? NULL : try->own;
	int fd = operated_fd(bed);

	switch (bed->cell.form) {
	case SEND:
	case SEND_ALL:
		io_uring_prep_send(sqe, fd, memory, size, bed->cell.form == SEND_ALL ? MSG_WAITALL : 0);
		break;
	case SENDMSG:
	case SENDMSG_ALL:
		io_uring_prep_sendmsg(sqe, fd, &try->message,
				      bed->cell.form == SENDMSG_ALL ? MSG_WAITALL : 0);
		break;
	case WRITE:
		io_uring_prep_write(sqe, fd, memory, ROOM, (uint64_t)-1);
		break;
	case WRITEV:
		io_uring_prep_writev(sqe, fd, &try->iov, 1, (uint64_t)-1);
		break;
	case WRITE_FIXED:
		io_uring_prep_write_fixed(sqe, fd, bed->memory[try - bed->tries], ROOM, (uint64_t)-1, 0);
		break;
	default:
		io_uring_prep_send_zc(sqe, fd, memory, size, 0, 0);
		break;
	}
}

static void start(struct bed *bed, unsigned index)
{
	struct try *try = &bed->tries[index];

	memset(try, 0, sizeof(*try));
	memset(try->own, sends(bed->cell.form) ? (int)('A' + index) : 0, ROOM);
	try->iov = (struct iovec){bed->cell.naming == PLAIN ? try->own : NULL, ROOM};
	try->message = (struct msghdr){.msg_iov = &try->iov, .msg_iovlen = 1};
	ctx_op_init(&try->probe.op, take_note, (uint64_t)(uintptr_t)bed);
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(bed->ring, bed->ctx, &try->probe.op);
	if (sends(bed->cell.form))
		prepare_out(bed, try, sqe);
	else
		prepare_in(bed, try, sqe);
	if (bed->cell.naming != PLAIN) {
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = GROUP;
	}
	if (is_bundle(bed->cell.naming))
		sqe->ioprio |= IORING_RECVSEND_BUNDLE;
	if (is_registered(bed->cell.file))
		sqe->flags |= IOSQE_FIXED_FILE;
	if (bed->cell.parks && (bed->cell.ring == BY_FLAG || bed->cell.ring == ADOPTED))
		ck_assert_ok(ctx_op_set_flags(&try->probe.op, CTX_OP_PARK));
	settle(bed);
}

/* Where the bytes of a completion are. */
static const char *bytes_of(struct bed *bed, const struct try *try, const struct ctx_completion *completion)
{
	if (bed->cell.form == READ_FIXED)
		return bed->memory[try - bed->tries];
	if (!(completion->flags & IORING_CQE_F_BUFFER))
		return try->own;
	if (is_incremental(bed->cell.naming))
		return bed->memory[0] + bed->cursor;
	return bed->memory[completion->flags >> IORING_CQE_BUFFER_SHIFT];
}

/* Each completion is written down, and the bytes that it brought are wiped out. */
static void take_note(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct bed *bed = (struct bed *)(uintptr_t)op->data;
	struct try *try = (struct try *)op;
	const struct ctx_completion *c = completion;

	probe_count(ring, op, completion);
	if (sends(bed->cell.form) && c->res > 0 && !(c->flags & IORING_CQE_F_NOTIF))
		bed->sent += (unsigned)c->res;
	if (sends(bed->cell.form) && is_bundle(bed->cell.naming))
		return; /* how many go together depends on what room there happens to be */
	note(bed, "%td: res %d end %d%s%s", try - bed->tries, c->res, c->end, c->more ? " more" : "",
	     c->flags & IORING_CQE_F_NOTIF ? " notification" : "");
	if (c->flags & IORING_CQE_F_BUFFER)
		note(bed, " buffer %u%s", c->flags >> IORING_CQE_BUFFER_SHIFT,
		     c->flags & CQE_F_BUF_MORE ? " and more of it" : "");
	if (!sends(bed->cell.form) && c->res > 0) {
		char *bytes = (char *)(uintptr_t)bytes_of(bed, try, completion);
		note(bed, " \"%.*s\"", c->res, bytes);
		memset(bytes, 0, (size_t)c->res);
	}
	if ((c->flags & IORING_CQE_F_BUFFER) && c->res > 0)
		bed->cursor += (unsigned)c->res;
	note(bed, "\n");
}

/* ---- what the manual says */

/* Reads and writes of such a file can be attempted: it is tried on another one, once. */
static bool knows_nowait(const struct cell *cell)
{
	static enum {
		UNKNOWN,
		NO,
		YES
	} known[FILES][2];
	bool out = sends(cell->form);
	char byte = 0;
	struct iovec iov = {&byte, 1};

	if (known[cell->file][out] == UNKNOWN) {
		struct pair pair = open_file(cell);
		int flags = feature_of_rw_nowait(pair.near);
		ssize_t size = out ? pwritev2(pair.near, &iov, 1, -1, flags)
				   : preadv2(pair.near, &iov, 1, -1, flags);
		known[cell->file][out] = size < 0 && errno == EOPNOTSUPP ? NO : YES;
		pair_end(pair);
	}
	return known[cell->file][out] == YES;
}

/* The table in ctx_op(3), of one operation that waits. */
static bool is_to_park(const struct bed *bed)
{
	const struct cell *cell = &bed->cell;
	bool nonblock = is_nonblock(cell->file), selects = cell->naming != PLAIN;

	if (!cell->parks || cell->ring == ADOPTED || is_registered(cell->file) || is_multishot(cell->form))
		return false;
	switch (cell->form) {
	case RECV:
	case RECVMSG:
		return true;
	case READ:
	case READV:
	case READ_FIXED:
		return (!selects && knows_nowait(cell)) || !nonblock;
	case RECV_ALL:
	case SEND:
	case SEND_ALL:
	case SENDMSG:
		return !selects;
	case WRITE:
	case WRITEV:
	case WRITE_FIXED:
		return !selects && knows_nowait(cell);
	default:
		return false;
	}
}

/*
 * What waits is parked. A socket that finds room by itself, as TCP does while it moves what is under way, may
 * have an attempt under way at this moment, which is not parked: that ends it, or parks it again.
 */
static void check_parked(struct bed *bed, const struct probe *probe)
{
	uint64_t end_ns = clock_now_ns() + SOON;

	if (!test_own_table())
		return; /* nothing tells */
	while (!probe->finals && test_count_in_flight(true) != is_to_park(bed)) {
		turn(bed, MILLISECOND);
		ck_assert_msg(clock_now_ns() < end_ns, "%s: is parked: %u", describe(&bed->cell),
			      test_count_in_flight(true));
	}
}

/* ---- receiving */

static bool wants_all(const struct bed *bed)
{
	return bed->cell.form == RECV_ALL || bed->cell.form == RECVMSG_ALL;
}

static unsigned size_of_text(const struct bed *bed, unsigned index)
{
	if (wants_all(bed))
		return ROOM;
	return is_bundle(bed->cell.naming) ? ROOM * 2 + 1 + index : 5 + index;
}

static void feed(struct bed *bed, unsigned index)
{
	unsigned size = size_of_text(bed, index);
	char text[64];

	for (unsigned i = 0; i < size; i++)
		text[i] = (char)((index ? 'A' : 'a') + i % 26);
	unsigned first = wants_all(bed) ? 5 : size;
	ck_assert_int_eq(write(bed->pair.far, text, first), first);
	settle(bed);
	if (size > first)
		ck_assert_int_eq(write(bed->pair.far, text + first, size - first), size - first);
}

static void steal(int fd, unsigned size)
{
	char sink[64];

	for (ssize_t taken; size; size -= (unsigned)taken) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		ck_assert_int_eq(poll(&poll_fd, 1, -1), 1);
		taken = read(fd, sink, size);
		ck_assert_int_gt(taken, 0);
	}
}

/* There is something, and when it is attempted there is not. */
static void tease_with_data(struct bed *bed)
{
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(write(bed->pair.far, "stolen", 6), 6);
		steal(bed->pair.near, 6);
		settle(bed);
	}
}

static void receive(struct bed *bed)
{
	struct probe *probe = &bed->tries[0].probe;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (!is_multishot(bed->cell.form) || !i) {
			probe = &bed->tries[i].probe;
			start(bed, i);
			check_parked(bed, probe);
			if (test_count_in_flight(true))
				tease_with_data(bed);
		}
		if (!probe->finals)
			feed(bed, i);
		await(bed, probe, i + 1);
	}
	/* There is something when it begins, and then the end. */
	if (!is_multishot(bed->cell.form))
		ck_assert_int_eq(write(bed->pair.far, "last", 4), 4);
	for (unsigned i = 0; i < 2 && !is_multishot(bed->cell.form); i++) {
		start(bed, i);
		if (!i && wants_all(bed))
			close(bed->pair.far);
		await(bed, &bed->tries[i].probe, 1);
		if (!i && !wants_all(bed))
			close(bed->pair.far);
	}
	if (is_multishot(bed->cell.form)) {
		ctx_op_cancel(bed->ring, &probe->op);
		await(bed, probe, UINT_MAX);
		close(bed->pair.far);
	}
	bed->pair.far = -1;
}

/* ---- sending */

static void fill(struct bed *bed)
{
	static const char filler[4096];
	const size_t sizes[] = {sizeof(filler), ROOM, 1};

	set_nonblock(bed->pair.near, true);
	for (unsigned i = 0; i < 3; i++)
		for (ssize_t size; (size = write(bed->pair.near, filler, sizes[i])) > 0;)
			bed->filled += (unsigned)size;
	set_nonblock(bed->pair.near, is_nonblock(bed->cell.file));
}

/* Takes what is there; what is not filler is written down. */
static void drain(struct bed *bed, char *message)
{
	static char sink[65536];
	ssize_t size = read(bed->pair.far, sink, sizeof(sink));
	unsigned filler = size < (ssize_t)bed->filled ? (unsigned)(size > 0 ? size : 0) : bed->filled;

	bed->filled -= filler;
	for (ssize_t i = filler; i < size; i++, bed->sent--)
		*message++ = sink[i];
	*message = 0;
}

/* Begins with text, and returns where the next byte is to go. */
static char *drained(char *text)
{
	return text + strlen(text);
}

static void drain_until_final(struct bed *bed, const struct probe *probe)
{
	uint64_t end_ns = clock_now_ns() + SOON;
	char got[BUFFERS * ROOM * 2] = "";

	while (!probe->finals || bed->filled || bed->sent) {
		drain(bed, drained(got));
		turn(bed, MILLISECOND / 10);
		ck_assert_msg(clock_now_ns() < end_ns, "%s: never ended", describe(&bed->cell));
	}
	note(bed, is_bundle(bed->cell.naming) ? "%s" : "the peer got \"%s\"\n", got);
}

static void send_all(struct bed *bed)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct probe *probe = &bed->tries[i].probe;
		if (!bed->filled)
			fill(bed);
		start(bed, i);
		if (probe->finals + probe->mores && probe->last.res < 0) {
			await(bed, probe, UINT_MAX); /* refused: only its notification may come later */
			continue;
		}
		check_parked(bed, probe);
		for (unsigned n = 0; n < 3; n++, bed->filled--) {
			steal(bed->pair.far, 1);
			settle(bed);
		}
		drain_until_final(bed, probe);
	}
	/*
	 * And one for which there is room. A bundle takes as many buffers as there happens to be room for, so
	 * bundles are sent until none is left.
	 */
	while (bed->filled)
		drain(bed, bed->text + sizeof(bed->text) - 1);
	do {
		start(bed, 0);
		drain_until_final(bed, &bed->tries[0].probe);
	} while (is_bundle(bed->cell.naming) && bed->tries[0].probe.last.res > 0);
}

/* ---- what is left */

/* Nothing but what was delivered has been written to. */
static void check_untouched(const struct bed *bed)
{
	for (unsigned i = 0; !sends(bed->cell.form) && i < BUFFERS; i++)
		for (unsigned n = 0; n < ROOM; n++)
			ck_assert_msg(!bed->memory[i][n],
				      "%s: byte %u of buffer %u was written, and that is not said:\n%s",
				      describe(&bed->cell), n, i, bed->text);
}

/* Takes all buffers, with another socket. */
static void count_left(struct bed *bed)
{
	struct pair spare = pair_new();
	struct probe probe;

	note(bed, "left:");
	for (unsigned i = 0; bed->cell.naming != PLAIN && i <= BUFFERS; i++) {
		ck_assert_int_eq(write(spare.far, "0123456789abcdef", ROOM), ROOM);
		struct io_uring_sqe *sqe = probe_start(bed->ring, ctx_background(), &probe);
		io_uring_prep_recv(sqe, spare.near, NULL, ROOM, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = GROUP;
		await(bed, &probe, UINT_MAX);
		note(bed, " %u: %d", probe.last.flags >> IORING_CQE_BUFFER_SHIFT, probe.last.res);
	}
	note(bed, "\n");
	ctx_ring_close_fd(bed->ring, spare.near);
	close(spare.far);
}

/* ---- all of it */

static void make(struct bed *bed, const struct cell *cell, char *memory)
{
	memset(bed, 0, sizeof(*bed));
	memset(memory, 0, 2 * 4096);
	bed->cell = *cell;
	bed->buffers = (struct io_uring_buf_ring *)(uintptr_t)memory;
	bed->memory = (char(*)[ROOM])(memory + 4096);
	for (unsigned i = 0; sends(cell->form) && i < BUFFERS; i++)
		memset(bed->memory[i], (int)('a' + i), ROOM);
	bed->ring = open_ring(bed);
	bed->ctx = child_of(ctx_background());
	bed->pair = open_file(cell);
	set_nonblock(bed->pair.near, is_nonblock(cell->file));
	if (sends(cell->form))
		set_nonblock(bed->pair.far, true);
}

static void unmake(struct bed *bed)
{
	ck_assert_ok(ctx_ring_close_fd(bed->ring, bed->pair.near));
	ck_assert_ok(ctx_ring_close(bed->ring, SOON, NULL, 0, NULL));
	if (bed->cell.ring == ADOPTED)
		io_uring_queue_exit(&bed->adopted);
	ctx_finish(bed->ctx);
	if (bed->pair.far >= 0)
		close(bed->pair.far);
}

/* False: not on this kernel. */
static bool act(struct bed *bed, const struct cell *cell, char *memory)
{
	struct iovec fixed = {memory + 4096, BUFFERS * ROOM};
	bool possible;

	make(bed, cell, memory);
	possible = provide(bed);
	if (is_registered(cell->file))
		ck_assert_ok(io_uring_register_files(ctx_ring_uring(bed->ring), &bed->pair.near, 1));
	if (cell->form == READ_FIXED || cell->form == WRITE_FIXED)
		ck_assert_ok(io_uring_register_buffers(ctx_ring_uring(bed->ring), &fixed, 1));
	if (possible) {
		if (sends(cell->form))
			send_all(bed);
		else
			receive(bed);
		check_untouched(bed);
		count_left(bed);
	}
	unmake(bed);
	return possible;
}

/* Of several parts of a buffer that is taken bit by bit the kernel itself counts the last (Linux 6.18). */
static bool is_broken(const struct cell *cell)
{
	return (cell->form == RECV_ALL || cell->form == RECVMSG_ALL) && is_incremental(cell->naming);
}

static void compare(struct cell cell, char *memory)
{
	static struct bed bed, reference;

	cell.parks = false;
	if (is_broken(&cell) || !act(&reference, &cell, memory))
		return;
	cell.parks = true;
	ck_assert(act(&bed, &cell, memory));
	ck_assert_msg(!strcmp(bed.text, reference.text), "%s:\n%sbut when it does not park:\n%s",
		      describe(&cell), bed.text, reference.text);
}

/* The kernel knows no such operations: one file is enough to see that. */
static bool is_refused(enum form form, enum naming naming)
{
	bool takes = form == RECV || form == RECV_ALL || form == RECV_MULTISHOT || form == SEND ||
		     form == SEND_ALL;

	if (is_bundle(naming))
		return !takes;
	return naming != PLAIN && !takes && form != RECVMSG && form != RECVMSG_ALL && form != READ &&
	       form != READV && form != READ_MULTISHOT;
}

static void compare_all(enum ring ring)
{
	char *memory = two_pages();
	struct cell cell = {.ring = ring};

	for (unsigned form = 0; form < FORMS; form++)
		for (unsigned naming = 0; naming < NAMINGS && form != FORMS_IN; naming++)
			for (unsigned file = 0; file < (is_refused(form, naming) ? UNIX + 1 : FILES);
			     file++) {
				cell.form = (enum form)form;
				cell.naming = (enum naming)naming;
				cell.file = (enum file)file;
				compare(cell, memory);
			}
	munmap(memory, 2 * 4096);
}

START_TEST(every_operation_ends_as_it_does_where_nothing_parks)
{
	compare_all((enum ring)_i);
}
END_TEST

/* As on a kernel that knows no attempts of reads and writes, and on which vain ones take the buffer. */
START_TEST(every_operation_ends_so_on_old_kernels)
{
	ck_assert_ok(setenv("CTXRING_FEATURES", "no-rw-nowait,no-kept-buffers,no-epoll-wait", 1));
	compare_all((enum ring)_i);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_table");
	TCase *table = test_case_ring(suite, "table");

	for (int ring = 0; ring < RINGS; ring++) {
		/* Those that find most, where each takes long. */
		bool few = test_mode() == TEST_ASAN || test_is_emulated();
		bool plain = test_mode() == TEST_PLAIN;
		if (plain ? ring != DEFER : !few || ring == DEFER || ring == OF_ONE)
			tcase_add_loop_test(table, every_operation_ends_as_it_does_where_nothing_parks, ring,
					    ring + 1);
		if (plain ? 0 : few ? ring == ORDINARY : ring <= DEFER)
			tcase_add_loop_test(table, every_operation_ends_so_on_old_kernels, ring, ring + 1);
	}
	return suite;
}
