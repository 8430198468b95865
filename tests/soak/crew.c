/* SPDX-License-Identifier: MIT */
#include "soak/crew.h"
#include "park_late.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFER (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)
/* Of the program's own requests: no tag of the library's. */
#define FOREIGN 0x1234

static const struct ring_kind {
	const char *name;
	unsigned setup_flags, flags;
	bool adopted;
} kinds[] = {
	{"an ordinary ring", 0, 0, false},
	{"a deferring ring", DEFER, 0, false},
	{"a parking ring", 0, CTX_RING_PARK, false},
	{"a parking, deferring ring", DEFER, CTX_RING_PARK, false},
	{"a ring with one timer", 0, CTX_RING_ONE_TIMER, false},
	{"a deferring ring with linked timeouts", DEFER, CTX_RING_LINKED_TIMEOUTS, false},
	{"a ring of a single issuer", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, 0, false},
	{"an adopted ring", 0, 0, true},
	{"an adopted, deferring ring", DEFER, 0, true},
};

/* ---- buffers that the program provides */

static void give_buffer(struct crew *crew, unsigned number)
{
	io_uring_buf_ring_add(crew->buffer_ring, (char *)crew->buffers + (size_t)number * CREW_BUFFER_SIZE,
			      CREW_BUFFER_SIZE, (unsigned short)number, io_uring_buf_ring_mask(CREW_BUFFERS),
			      0);
	io_uring_buf_ring_advance(crew->buffer_ring, 1);
}

void crew_give_back_buffer(struct crew *crew, unsigned flags)
{
	unsigned number = flags >> IORING_CQE_BUFFER_SHIFT;

	must(crew->buffers && number < CREW_BUFFERS, "buffer %u was never given", number);
	give_buffer(crew, number);
}

static void provide_buffers(struct crew *crew)
{
	struct io_uring_buf_reg registration = {.ring_entries = CREW_BUFFERS, .bgid = 1};

	crew->buffer_ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(crew->buffer_ring != MAP_FAILED, "no memory");
	registration.ring_addr = (uintptr_t)crew->buffer_ring;
	if (io_uring_register_buf_ring(ctx_ring_uring(crew->ring), &registration,
				       0)) { /* before Linux 5.19 */
		munmap(crew->buffer_ring, 4096);
		return;
	}
	io_uring_buf_ring_init(crew->buffer_ring);
	crew->buffers = malloc((size_t)CREW_BUFFERS * CREW_BUFFER_SIZE);
	must(crew->buffers, "no memory");
	for (unsigned i = 0; i < CREW_BUFFERS; i++)
		give_buffer(crew, i);
}

static void take_buffers_away(struct crew *crew)
{
	if (!crew->buffers)
		return;
	munmap(crew->buffer_ring, 4096);
	free(crew->buffers);
	crew->buffers = NULL;
}

/* ---- opening */

static void foreign_came(struct ctx_ring *ring, const struct io_uring_cqe *cqe, void *data)
{
	struct crew *crew = data;

	(void)ring;
	must(cqe->user_data == FOREIGN && crew->foreign, "a completion %llx of nobody",
	     (unsigned long long)cqe->user_data);
	crew->foreign--;
}

static int adopt(struct crew *crew, unsigned entries, const struct ctx_ring_options *options)
{
	int error = io_uring_queue_init(entries, &crew->uring, options->setup_flags);

	if (error)
		return error;
	error = ctx_ring_adopt(&crew->uring, options, &crew->ring);
	if (error)
		io_uring_queue_exit(&crew->uring);
	return error;
}

/* After how long operations are parked: at once, soon, or hardly ever. For all rings of the process. */
static void choose_parking(struct chance *chance)
{
	static const uint64_t after_ns[] = {0, 1000000, 20000000, 1000000000};

	park_late_after_ns = after_ns[chance_below(chance, 4)];
}

void crew_open_ring(struct crew *crew)
{
	struct chance *chance = &crew->actor->chance;
	const struct ring_kind *kind = &kinds[chance_below(chance, sizeof(kinds) / sizeof(kinds[0]))];
	unsigned entries = 2u << chance_below(chance, 7);
	struct ctx_ring_options options = {.flags = kind->flags,
					   .setup_flags = kind->setup_flags,
					   .cq_entries = chance_one_in(chance, 3) ? entries : 0,
					   .foreign = foreign_came,
					   .data = crew};

	choose_parking(chance);
	actor_note(kind->name);
	crew->adopted = kind->adopted;
	actors_lock_mappings();
	int error = kind->adopted ? adopt(crew, entries, &options)
				  : ctx_ring_open(entries, &options, &crew->ring);
	if (error == -EINVAL) { /* the kernel lacks a flag */
		crew->adopted = false;
		error = ctx_ring_open(entries, NULL, &crew->ring);
	}
	actors_unlock_mappings();
	must(error == 0, "%s of %u entries: %d", kind->name, entries, error);
	crew_dispatch(crew, 0);
	if (chance_one_in(chance, 2))
		provide_buffers(crew);
	count(&verdict_counts.rings);
}

void crew_warm_up(void)
{
	struct ctx_ring_options options = {.flags = CTX_RING_PARK};
	struct ctx_op ops[4];
	struct channel channel;
	struct ctx_ring *ring;

	channel_open(&channel, CHANNEL_UNIX);
	must(ctx_ring_open(8, &options, &ring) == 0, "no ring");
	for (unsigned i = 0; i < 4; i++) {
		ctx_op_init(&ops[i], NULL, 0);
		struct io_uring_sqe *sqe = ctx_ring_get_sqe(ring, ctx_background(), &ops[i]);
		must(sqe, "no SQE");
		if (i == 0)
			io_uring_prep_recv(sqe, channel.near, NULL, 1, 0);
		else if (i == 1)
			io_uring_prep_read(sqe, channel.near, NULL, 1, 0);
		else if (i == 2)
			io_uring_prep_send(sqe, channel.near, NULL, 1, 0);
		else
			io_uring_prep_write(sqe, channel.near, NULL, 1, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
	}
	must(ctx_ring_dispatch(ring, 0) >= 0, "dispatch");
	must(ctx_ring_close(ring, SOAK_SOON_NS, NULL, 0, NULL) == 0, "close");
	close(channel.near);
	channel_close_far(&channel);
}

/* ---- delivering */

static void filter_all(struct crew *crew, uint64_t timeout_ns)
{
	struct __kernel_timespec bound = {.tv_sec = (long long)(timeout_ns / NS_PER_SECOND),
					  .tv_nsec = (long long)(timeout_ns % NS_PER_SECOND)};
	struct io_uring_cqe *cqe;

	while (io_uring_wait_cqe_timeout(&crew->uring, &cqe, &bound) == 0) {
		if (ctx_ring_filter(crew->ring, cqe, NULL, NULL) == CTX_FILTER_FOREIGN)
			foreign_came(crew->ring, cqe, crew);
		io_uring_cqe_seen(&crew->uring, cqe);
		bound = (struct __kernel_timespec){0};
	}
}

static void begin_foreign(struct crew *crew)
{
	struct io_uring_sqe *sqe = crew->closing ? NULL : io_uring_get_sqe(&crew->uring);

	if (!sqe)
		return;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, FOREIGN);
	crew->foreign++;
}

void crew_dispatch(struct crew *crew, uint64_t timeout_ns)
{
	if (crew->adopted && chance_one_in(&crew->actor->chance, 4))
		begin_foreign(crew);
	int delivered = ctx_ring_dispatch(crew->ring, timeout_ns);
	must(delivered >= 0 || delivered == -EINTR || delivered == -EBUSY || delivered == -EAGAIN,
	     "dispatch: %d", delivered);
	if (crew->adopted)
		filter_all(crew, timeout_ns);
}

/* ---- closing */

static void tell_stuck(const struct ctx_stuck *stuck, unsigned number)
{
	char text[200];

	for (unsigned i = 0; i < number; i++) {
		ctx_format_stuck(&stuck[i], text, sizeof(text));
		fprintf(stderr, "soak: held: %s\n", text);
	}
}

static int close_it(struct crew *crew)
{
	struct ctx_stuck stuck[8];
	unsigned number = 0;
	actors_lock_mappings();
	int error = ctx_ring_close(crew->ring, SOAK_SOON_NS, stuck, 8, &number);
	actors_unlock_mappings();
	if (error == -ETIMEDOUT)
		tell_stuck(stuck, number < 8 ? number : 8);
	return error;
}

static void finish_adopted(struct crew *crew)
{
	struct io_uring_cqe *cqe;

	/* What the program prepared last may not have been submitted. */
	must(io_uring_submit(&crew->uring) >= 0, "submit");
	while (crew->foreign) {
		must(io_uring_wait_cqe(&crew->uring, &cqe) == 0, "wait");
		foreign_came(NULL, cqe, crew);
		io_uring_cqe_seen(&crew->uring, cqe);
	}
	actors_lock_mappings();
	io_uring_queue_exit(&crew->uring);
	actors_unlock_mappings();
}

void crew_close_ring(struct crew *crew)
{
	int error;

	actor_note("closing a ring");
	crew->closing = true;
	for (unsigned i = 0; i < CREW_CALLBACKS; i++)
		if (crew->callbacks[i].scope && ctx_callback_stop(crew->callbacks[i].id)) {
			scope_drop(crew->callbacks[i].scope);
			crew->callbacks[i].scope = NULL;
		}
	for (unsigned tries = 0; (error = close_it(crew)) == -EBUSY && crew->adopted && tries < 1000; tries++)
		filter_all(crew, 1000);
	must(error == 0, "ctx_ring_close: %d", error);
	for (unsigned i = 0; i < CREW_OPERATIONS; i++)
		must(!crew->operations[i].used, "an operation without an end after ctx_ring_close");
	if (crew->adopted)
		finish_adopted(crew);
	take_buffers_away(crew);
	crew->ring = NULL;
	crew->closing = false;
}
