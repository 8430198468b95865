/* SPDX-License-Identifier: MIT */
/* Whether the queue of a socket has descriptors, and how much of it is looked at for that. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "passed.h"
#include "support/contexts.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN);

enum {
	PACKETS = 40,
	LOOKED_AT = 16,
};

/* Sends a packet, with a descriptor unless that is -1. */
static void send_packet(int to, int fd)
{
	union passed_one room;
	char byte = 'p';
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0)
		passed_attach(&header, &room, &fd, 1);
	ck_assert_int_eq(sendmsg(to, &header, MSG_NOSIGNAL), 1);
}

/* A socket whose peer has sent so many packets and hung up, with a descriptor in the packet of that number.
 */
static int queue_of(unsigned packets, unsigned with_descriptor)
{
	int ends[2];

	ck_assert_ok(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	for (unsigned i = 0; i < packets; i++)
		send_packet(ends[1], i == with_descriptor ? ends[1] : -1);
	close(ends[1]);
	return ends[0];
}

static unsigned packets_left(int fd)
{
	unsigned count = 0;
	char byte;

	while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
		count++;
	return count;
}

START_TEST(descriptors_are_found)
{
	static const struct {
		unsigned packets, with_descriptor;
		bool nothing;
	} queues[] = {{0, PACKETS, true}, {LOOKED_AT, PACKETS, true}, {1, 0, false}, {LOOKED_AT, 15, false}};

	for (unsigned i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		int fd = queue_of(queues[i].packets, queues[i].with_descriptor);
		ck_assert_int_eq(passed_nothing(fd, LOOKED_AT), queues[i].nothing);
		close(fd);
	}
}
END_TEST

/* Who hangs up on many clients at once does not look at all that they have sent. */
START_TEST(no_more_packets_are_looked_at_than_asked_for)
{
	int fd = queue_of(PACKETS, PACKETS);

	ck_assert(!passed_nothing(fd, LOOKED_AT));
	ck_assert_uint_eq(packets_left(fd), PACKETS - LOOKED_AT);
	close(fd);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("passed");
	TCase *queues = test_case(suite, "queues");

	tcase_add_test(queues, descriptors_are_found);
	tcase_add_test(queues, no_more_packets_are_looked_at_than_asked_for);
	return suite;
}
