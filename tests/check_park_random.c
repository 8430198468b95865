/* SPDX-License-Identifier: MIT */
/*
 * Goal: whatever is sent, in whatever pieces, while receives that park begin, complete and are cancelled,
 * every byte arrives once and in order, and every end is seen. Method: a thread writes a known sequence to
 * many channels of all kinds, with what is known to make receives come up short: passed descriptors, urgent
 * data, datagrams, half-closes, resets; the owner of the ring does to its operations what chance says, and
 * compares. The seed is printed.
 */
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "support/rings.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_TSAN | TEST_DENIED | TEST_PLAIN);

#define CHANNELS 24
#define OPS 4
#define PIECE_MAX 3000

enum channel_kind {
	UNIX_STREAM,
	TCP,
	SEQPACKET,
	DATAGRAM,
	PIPE,
	CHANNEL_KINDS
};

struct channel;

struct receive {
	struct ctx_op op;
	struct channel *channel;
	unsigned number; /* order in which they began */
	bool used, done;
	int res;
	struct iovec iov;
	struct msghdr message;
	char buffer[PIECE_MAX];
};

struct channel {
	enum channel_kind kind;
	struct pair pair; /* near is read, far is written */
	/* the writer's */
	unsigned sent, limit;
	bool urgent_sent, resets, closed;
	/* the reader's */
	struct ctx_context *ctx;
	struct receive receives[OPS];
	unsigned begun, checked, got, packets;
	bool ended;
};

static struct channel channels[CHANNELS];
static int nothing; /* a descriptor that is passed */

static unsigned chance(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % below;
}

static char byte_at(unsigned position)
{
	return (char)((position * 2654435761u) >> 13);
}

static bool is_packet(const struct channel *channel)
{
	return channel->kind == SEQPACKET || channel->kind == DATAGRAM;
}

/* ---- the writer */

static void send_piece(struct channel *channel, const char *bytes, unsigned size, bool pass)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	struct iovec iov = {(void *)(uintptr_t)bytes, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (pass) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &nothing, sizeof(int));
	}
	ssize_t sent = channel->kind == PIPE ? write(channel->pair.far, bytes, size)
					     : sendmsg(channel->pair.far, &message, MSG_NOSIGNAL);
	ck_assert_int_eq(sent, (int)size);
	channel->sent += size;
}

static void end_channel(struct channel *channel)
{
	struct linger at_once = {.l_onoff = 1};

	channel->closed = true;
	if (channel->resets)
		ck_assert_ok(setsockopt(channel->pair.far, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	if (channel->kind == DATAGRAM) /* has no end of its own: an empty one stands for it */
		ck_assert_int_eq(send(channel->pair.far, "", 0, 0), 0);
	else if (channel->resets || channel->kind == PIPE)
		close(channel->pair.far);
	else
		ck_assert_ok(shutdown(channel->pair.far, SHUT_WR));
}

static void write_some(struct channel *channel, unsigned *seed)
{
	char bytes[PIECE_MAX];
	unsigned size = 1 + (chance(seed, 4) ? chance(seed, 40) : chance(seed, PIECE_MAX - 1));

	if (channel->sent >= channel->limit) {
		end_channel(channel);
		return;
	}
	if (channel->kind <= TCP && !channel->urgent_sent && !chance(seed, 20)) {
		ssize_t sent = send(channel->pair.far, "!", 1, MSG_OOB | MSG_NOSIGNAL);
		if (channel->kind == TCP || errno != EOPNOTSUPP) /* unix sockets: by the kernel's options */
			ck_assert_int_eq(sent, 1);
		channel->urgent_sent = true;
	}
	for (unsigned i = 0; i < size; i++)
		bytes[i] = byte_at(channel->sent + i);
	send_piece(channel, bytes, size, channel->kind == UNIX_STREAM && !chance(seed, 5));
}

static void *writer(void *data)
{
	unsigned seed = *(unsigned *)data, open = CHANNELS;

	while (open) {
		struct channel *channel = &channels[chance(&seed, CHANNELS)];
		for (unsigned burst = chance(&seed, 4); burst && !channel->closed; burst--) {
			write_some(channel, &seed);
			open -= channel->closed;
		}
		spin(&seed, 2000);
	}
	return NULL;
}

/* ---- the reader */

/* What came of the oldest receives, in the order in which they began: the order of the bytes. */
static void compare(struct channel *channel)
{
	for (;;) {
		struct receive *receive = NULL;
		for (unsigned i = 0; i < OPS; i++)
			if (channel->receives[i].used && channel->receives[i].number == channel->checked)
				receive = &channel->receives[i];
		if (!receive || !receive->done)
			return;
		for (int i = 0; i < receive->res; i++)
			ck_assert_msg(receive->buffer[i] == byte_at(channel->got + (unsigned)i),
				      "channel %d of kind %d: byte %u is wrong", (int)(channel - channels),
				      channel->kind, channel->got + (unsigned)i);
		if (receive->res > 0) {
			ck_assert(!channel->ended);
			channel->got += (unsigned)receive->res;
		} else if (receive->res != -ECANCELED) {
			ck_assert_msg(receive->res == 0 || (channel->resets && receive->res == -ECONNRESET),
				      "channel of kind %d: %d", channel->kind, receive->res);
			channel->ended = true;
		}
		receive->used = false;
		channel->checked++;
	}
}

static void received(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct receive *receive = (struct receive *)op;

	(void)ring;
	ck_assert(receive->used && !receive->done);
	receive->done = true;
	receive->res = completion->res;
	compare(receive->channel);
}

static void begin(struct ctx_ring *ring, struct channel *channel, unsigned *seed)
{
	struct receive *receive = channel->receives;
	unsigned size = 1 + (chance(seed, 2) ? chance(seed, 60) : chance(seed, PIECE_MAX - 1));
	int fd = channel->pair.near;

	while (receive < channel->receives + OPS && receive->used)
		receive++;
	if (receive == channel->receives + OPS)
		return;
	if (is_packet(channel))
		size = PIECE_MAX;
	receive->channel = channel;
	receive->used = true;
	receive->done = false;
	receive->number = channel->begun++;
	receive->iov = (struct iovec){receive->buffer, size};
	receive->message = (struct msghdr){.msg_iov = &receive->iov, .msg_iovlen = 1};
	ctx_op_init(&receive->op, received, 0);
	struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, channel->ctx, &receive->op);
	switch (channel->kind == PIPE ? 4 + chance(seed, 2) : chance(seed, 6)) {
	case 0:
	case 1:
		io_uring_prep_recv(sqe, fd, receive->buffer, size, 0);
		break;
	case 2:
		io_uring_prep_recv(sqe, fd, receive->buffer, size, is_packet(channel) ? 0 : MSG_WAITALL);
		break;
	case 3:
		io_uring_prep_recvmsg(sqe, fd, &receive->message, 0);
		break;
	case 4:
		io_uring_prep_read(sqe, fd, receive->buffer, size, 0);
		break;
	default:
		io_uring_prep_readv(sqe, fd, &receive->iov, 1, 0);
		break;
	}
	if (!chance(seed, 20))
		ck_assert_ok(ctx_op_set_timeout(&receive->op, (1 + chance(seed, 20)) * 100000ull));
}

static void do_something(struct ctx_ring *ring, struct channel *channel, unsigned *seed)
{
	unsigned what = chance(seed, 40);

	if (what < 24) {
		if (!channel->ended)
			begin(ring, channel, seed);
	} else if (what < 29) {
		struct receive *receive = &channel->receives[chance(seed, OPS)];
		if (receive->used && !receive->done)
			ctx_op_cancel(ring, &receive->op);
	} else if (what == 29) {
		ck_assert_ok(ctx_cancel(channel->ctx));
		if (chance(seed, 2))
			ck_assert_ok(ctx_ring_drain(ring, channel->ctx, SOON, NULL, 0, NULL));
		ctx_unref(channel->ctx);
		channel->ctx = child_of(ctx_background());
	} else if (what == 30) {
		ck_assert_int_ge(ctx_ring_submit(ring), 0);
	} else if (what < 36) {
		ck_assert_int_ge(ctx_ring_dispatch(ring, 0), 0);
	} else {
		ck_assert_int_ge(ctx_ring_dispatch(ring, MILLISECOND / 5), 0);
	}
}

static void open_channel(struct channel *channel, unsigned i, unsigned *seed)
{
	int fds[2];

	memset(channel, 0, sizeof(*channel));
	channel->kind = (enum channel_kind)(i % CHANNEL_KINDS);
	channel->limit = 2000 + chance(seed, 60000);
	channel->ctx = child_of(ctx_background());
	switch (channel->kind) {
	case UNIX_STREAM:
		channel->pair = pair_new();
		break;
	case TCP:
		channel->pair = tcp_new();
		channel->resets = !chance(seed, 3);
		break;
	case PIPE:
		channel->pair = pipe_new();
		break;
	default:
		ck_assert_ok(socketpair(
			AF_UNIX, (channel->kind == SEQPACKET ? SOCK_SEQPACKET : SOCK_DGRAM) | SOCK_CLOEXEC, 0,
			fds));
		channel->pair = (struct pair){fds[0], fds[1]};
	}
}

static bool all_ended(void)
{
	for (unsigned i = 0; i < CHANNELS; i++)
		if (!channels[i].ended)
			return false;
	return true;
}

static void tell_what_is_missing(void)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		const struct channel *channel = &channels[i];
		unsigned waiting = 0;
		for (unsigned n = 0; n < OPS; n++)
			waiting += channel->receives[n].used && !channel->receives[n].done;
		if (!channel->ended)
			fprintf(stderr,
				"channel %u, kind %d%s%s: %u of %u bytes, closed %d, %u receives wait\n", i,
				channel->kind, channel->resets ? ", resets" : "",
				channel->urgent_sent ? ", urgent" : "", channel->got, channel->sent,
				channel->closed, waiting);
	}
	ck_abort_msg("a wake-up was lost");
}

static void close_channel(struct ctx_ring *ring, struct channel *channel)
{
	ck_assert_msg(channel->resets || channel->got == channel->sent, "kind %d: %u of %u bytes",
		      channel->kind, channel->got, channel->sent);
	ck_assert_ok(ctx_ring_close_fd(ring, channel->pair.near));
	if (channel->kind != PIPE && !channel->resets)
		close(channel->pair.far);
}

START_TEST(every_byte_arrives_once_and_in_order_and_every_end_is_seen)
{
	/* Only those that park promise an order. */
	struct ctx_ring *ring = ring_with(_i ? RING_PARKING_DEFER : RING_PARKING, 16, NULL);
	unsigned seed = test_seed(), rounds = test_scaled(10);

	nothing = eventfd(0, EFD_CLOEXEC);
	for (unsigned round = 0; round < rounds; round++) {
		pthread_t thread;
		for (unsigned i = 0; i < CHANNELS; i++)
			open_channel(&channels[i], i, &seed);
		unsigned writer_seed = seed + 1;
		uint64_t end_ns = clock_now_ns() + 2 * SOON;
		ck_assert_ok(pthread_create(&thread, NULL, writer, &writer_seed));
		while (!all_ended()) {
			do_something(ring, &channels[chance(&seed, CHANNELS)], &seed);
			if (clock_now_ns() >= end_ns)
				tell_what_is_missing();
		}
		ck_assert_ok(pthread_join(thread, NULL));
		for (unsigned i = 0; i < CHANNELS; i++) {
			close_channel(ring, &channels[i]);
			ctx_finish(channels[i].ctx);
		}
		ck_assert_ok(ctx_ring_run(ring, NULL));
	}
	ring_end(ring);
	close(nothing);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_random");
	TCase *random = test_case_ring(suite, "random");

	tcase_add_loop_test(random, every_byte_arrives_once_and_in_order_and_every_end_is_seen, 0,
			    test_mode() == TEST_PLAIN ? 1 : 2);
	return suite;
}
