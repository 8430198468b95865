/* SPDX-License-Identifier: MIT */
/* A parked operation does not hold its registered buffer. When another one takes its place meanwhile, the
 * operation ends with an error, and writes nowhere else. */
#include <sys/mman.h>
#include <sys/uio.h>

#include "support/parking.h"

/* What a read_fixed that has waited comes to when its buffer has been replaced meanwhile by this one. */
static int read_after(struct iovec other, unsigned flags, int kind, char *memory)
{
	struct ctx_ring *ring = ring_of(kind);
	struct iovec iov = {memory, 4096};
	struct pair pair = pair_new();
	struct probe probe;
	const __u64 tag = 0;

	ck_assert_int_eq(ctx_ring_dispatch(ring, 0), 0);
	ck_assert_ok(io_uring_register_buffers(ctx_ring_uring(ring), &iov, 1));
	io_uring_prep_read_fixed(probe_start(ring, ctx_background(), &probe), pair.near, memory, 16, 0, 0);
	ck_assert_ok(ctx_op_set_flags(&probe.op, flags));
	park(ring, 1);
	ck_assert_int_eq(io_uring_register_buffers_update_tag(ctx_ring_uring(ring), 0, &other, &tag, 1), 1);
	ck_assert_int_eq(write(pair.far, "fixed", 5), 5);
	await_probes(ring, &probe, 1);
	ck_assert_ok(ctx_ring_close_fd(ring, pair.near));
	close(pair.far);
	ring_end(ring);
	return probe.last.res;
}

/* It ends with an error, or with the bytes where they were wanted: nothing else is written to. */
START_TEST(a_registered_buffer_that_was_replaced_is_an_error)
{
	char *memory = two_pages();
	const struct iovec none = {0}, elsewhere = {memory + 4096, 4096}, same = {memory, 4096};
	int kind = parking_kind(_i);

	ck_assert_int_eq(read_after(none, 0, kind, memory), -EFAULT);
	ck_assert_int_eq(read_after(elsewhere, 0, kind, memory), -EFAULT);
	for (unsigned i = 0; i < 2 * 4096; i++)
		ck_assert(!memory[i]);
	ck_assert_int_eq(read_after(same, 0, kind, memory), 5);
	ck_assert_str_eq(memory, "fixed");
	/* The kernel holds it for what is there. */
	memset(memory, 0, 2 * 4096);
	ck_assert_int_eq(read_after(elsewhere, CTX_OP_PENDING, kind, memory), 5);
	ck_assert_str_eq(memory, "fixed");
	munmap(memory, 2 * 4096);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("park_registered");
	TCase *held = test_case_ring(suite, "held");

	ON_EACH_PARKING(held, a_registered_buffer_that_was_replaced_is_an_error);
	return suite;
}
