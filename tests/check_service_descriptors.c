/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a client gives the service and that are closed slowly or never: whatever message brings
 * them, nobody else waits for that, nothing is left of it, and the service ends. Each test gives some and
 * then is a client that wants to be served.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/raw.h"
#include "support/stuck.h"

TEST_MODES(TEST_NORMAL | TEST_ASAN | TEST_DENIED);

#define SOON (30 * NS_PER_SECOND)
#define STRANGER 65007
#define TABLE_SEALS (0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* ---- a packet of any form */

struct packet {
	const char *what;
	bool greeted;
	size_t size; /* 0: empty; SIZE_MAX: of the message */
	struct wire_message message;
	unsigned fd_count;
};

static const struct packet packets[] = {
	{"what should be a pipe", true, SIZE_MAX, {.type = WIRE_SHARE, .serial = 2}, 1},
	{"what was joined", true, SIZE_MAX, {.type = WIRE_REJOIN, .serial = 2, .rejoin.old_id = {3, 3}}, 1},
	{"what should be a table",
	 false,
	 SIZE_MAX,
	 {.type = WIRE_HELLO, .serial = 1, .hello = {WIRE_VERSION, WIRE_VERSION, WIRE_PUBLISH, "raw"}},
	 1},
	{"with what needs none", true, SIZE_MAX, {.type = WIRE_LIST, .serial = 2, .list.kinds = 1}, 2},
	{"more than any message has", true, SIZE_MAX, {.type = WIRE_SHARE, .serial = 2}, 4},
	{"as many as there can be", true, SIZE_MAX, {.type = WIRE_SHARE, .serial = 2}, RAW_FDS_MAX},
	{"empty, with one", true, 0, {0}, 1},
	{"empty, with two", true, 0, {0}, 2},
	{"empty, with many, and not greeted", false, 0, {0}, RAW_FDS_MAX},
	{"too long", true, WIRE_SIZE_MAX + 100, {0}, 1},
	{"cut", true, 3, {0}, 3},
	{"before the greeting", false, SIZE_MAX, {.type = WIRE_SHARE, .serial = 2}, 1},
};
#define PACKETS (sizeof(packets) / sizeof(packets[0]))

static void send_packet(int fd, const struct packet *packet, const int *fds)
{
	uint8_t bytes[WIRE_SIZE_MAX + 100] = {0};
	struct wire_message message = packet->message;
	size_t size = packet->size;

	message.share.mode = message.type == WIRE_SHARE ? 0600 : message.share.mode;
	if (size == SIZE_MAX)
		size = wire_pack(&message, bytes);
	raw_send(fd, bytes, size, fds, packet->fd_count);
}

/* Sends it to the service, which has the only copies left when it receives them. */
static void give_away(const struct service *service, int fd, const struct packet *packet,
		      struct lingering *lingering)
{
	int fds[RAW_FDS_MAX];

	for (unsigned i = 0; i < packet->fd_count; i++)
		fds[i] = lingering->fd;
	kill(service->pid, SIGSTOP);
	send_packet(fd, packet, fds);
	close(lingering->fd);
	lingering->fd = -1;
	kill(service->pid, SIGCONT);
}

/* Somebody else is served. */
static void serves(const struct service *service)
{
	close(raw_greeted(service));
}

START_TEST(a_socket_that_lingers_holds_up_nobody)
{
	struct service service = {.loop = SERVICE_LOOP(_i % 2)};
	const struct packet *packet = &packets[_i / 2];
	struct wire_message message;

	service_start(&service, NULL);
	struct lingering lingering = lingering_open();
	int fd = packet->greeted ? raw_greeted(&service) : raw_dial(&service);
	give_away(&service, fd, packet, &lingering);
	/* Whoever sent that is told so. */
	while (raw_receive(fd, &message))
		ck_assert_msg(message.type == WIRE_GOODBYE, "%s", packet->what);
	serves(&service);
	close(fd);
	serves(&service);
	service_end(&service);
	lingering_close(&lingering);
}
END_TEST

/*
 * Goal: what a client has sent and the service has not received goes with the connection, and as slowly.
 * Method: a broken message is the first of several packets; and a client comes while the service ends.
 */
START_TEST(what_was_never_received_holds_up_nobody)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct lingering lingering = lingering_open(), late = lingering_open();
	struct wire_message message;

	service_start(&service, NULL);
	int fd = raw_greeted(&service);
	kill(service.pid, SIGSTOP);
	raw_send(fd, "?", 1, NULL, 0);
	raw_send(fd, "", 0, NULL, 0);
	raw_send(fd, "", 0, &lingering.fd, 1);
	raw_send(fd, "?", 1, &lingering.fd, 1);
	close(lingering.fd);
	lingering.fd = -1;
	kill(service.pid, SIGCONT);
	while (raw_receive(fd, &message))
		;
	serves(&service);
	close(fd);
	serves(&service);
	kill(service.pid, SIGSTOP);
	fd = raw_dial(&service);
	raw_send(fd, "?", 1, &late.fd, 1);
	close(late.fd);
	late.fd = -1;
	kill(service.pid, SIGTERM);
	kill(service.pid, SIGCONT);
	service_end(&service);
	close(fd);
	lingering_close(&lingering);
	lingering_close(&late);
}
END_TEST

/* ---- nothing is left */

struct held {
	pid_t pid;
	unsigned count;
};

static unsigned count_fds(pid_t pid)
{
	char path[64];
	struct stat status;
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		count += lstat(path, &status) == 0;
	}
	return count;
}

static bool holds_no_more(void *data)
{
	const struct held *held = data;

	return count_fds(held->pid) <= held->count;
}

START_TEST(each_packet_leaves_no_descriptor)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_message message;
	int pipe_fds[2], fds[RAW_FDS_MAX];

	service_start(&service, NULL);
	ck_assert_ok(pipe(pipe_fds));
	for (unsigned i = 0; i < RAW_FDS_MAX; i++)
		fds[i] = pipe_fds[0];
	struct held held = {service.pid, 0};
	for (size_t i = 0; i < 2 * PACKETS; i++) {
		int fd = packets[i / 2].greeted ? raw_greeted(&service) : raw_dial(&service);
		if (i == 1) /* its closer for this user is there, with what that needs */
			held.count = count_fds(service.pid);
		send_packet(fd, &packets[i / 2], fds);
		while (raw_receive(fd, &message) && message.type != WIRE_RESULT)
			;
		close(fd);
	}
	ck_assert(test_until(holds_no_more, &held));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	service_end(&service);
}
END_TEST

/* ---- pipes that are none */

START_TEST(a_fifo_is_no_pipe_however_it_was_opened)
{
	static const int flags[] = {O_PATH, O_RDONLY | O_NONBLOCK, O_RDWR};
	struct service service = {.loop = SERVICE_LOOP(_i)};
	char path[100];

	service_start(&service, NULL);
	snprintf(path, sizeof(path), "%s/fifo", service.directory);
	ck_assert_ok(mkfifo(path, 0600));
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		int fd = raw_greeted(&service), fifo = open(path, flags[i] | O_CLOEXEC);
		ck_assert_int_ge(fifo, 0);
		send_packet(fd, &packets[0], &fifo);
		raw_thrown_out(fd, -EPROTO);
		close(fifo);
	}
	int pipe_fds[2], fd = raw_greeted(&service);
	ck_assert_ok(pipe(pipe_fds));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe_fds[0]);
	int link = open(path, O_PATH | O_CLOEXEC);
	send_packet(fd, &packets[0], &link);
	raw_thrown_out(fd, -EPROTO);
	close(link);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	snprintf(path, sizeof(path), "%s/fifo", service.directory);
	unlink(path);
	service_end(&service);
}
END_TEST

/* ---- a file system that does not answer */

struct silent_client {
	const struct service *service;
	const char *reason;
};

static int give_silent_file(int channel, void *data)
{
	const struct service *service = data;
	struct silent_fs fs;
	const char *reason;
	char step;

	if (!silent_fs_mount(&fs, &reason)) {
		fprintf(stderr, "%s\n", reason);
		tell(channel, 'n');
		return 0;
	}
	int file = open(fs.file, O_RDWR | O_CLOEXEC), fd = raw_greeted(service);
	ck_assert_int_ge(file, 0);
	send_packet(fd, &packets[0], &file);
	int other = raw_greeted(service);
	send_packet(other, &packets[6], &file); /* an empty one */
	tell(channel, 'y');
	while (recv(channel, &step, 1, 0) == 1 && step != 'e')
		;
	silent_fs_end(&fs);
	close(file);
	return 0;
}

/* False: the test is to be skipped. */
static bool give_silent(struct service *service, struct other *ret_other)
{
	char answer = 0;

	*ret_other = other_start(give_silent_file, service);
	struct pollfd input = {.fd = ret_other->channel, .events = POLLIN};
	ck_assert_int_eq(poll(&input, 1, 30000), 1);
	ck_assert_int_eq((int)recv(ret_other->channel, &answer, 1, 0), 1);
	if (answer == 'y')
		return true;
	other_end(ret_other);
	service_end(service);
	return false;
}

START_TEST(a_file_that_cannot_be_closed_holds_up_nobody_nor_the_end)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct other other;

	service_start(&service, NULL);
	if (!give_silent(&service, &other))
		test_skip("needs /dev/fuse, and the right to mount");
	serves(&service);
	service_end(&service);
	tell(other.channel, 'e');
	ck_assert_int_eq(other_end(&other), 0);
}
END_TEST

START_TEST(killed_with_a_file_that_cannot_be_closed_it_is_dead_and_hangs_up)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_message message;
	struct other other;

	service_start(&service, NULL);
	int fd = raw_greeted(&service);
	if (!give_silent(&service, &other))
		test_skip("needs /dev/fuse, and the right to mount");
	serves(&service);
	service_kill(&service);
	ck_assert(!raw_receive(fd, &message));
	service_restart(&service);
	serves(&service);
	close(fd);
	tell(other.channel, 'e');
	ck_assert_int_eq(other_end(&other), 0);
	service_end(&service);
}
END_TEST

/* ---- how much one user leaves to be closed */

/*
 * Three messages, each with as many descriptors as there can be. The service has the only copies when it
 * receives them. The closer is quick with all descriptors of the first message but the last, at which it is
 * stuck. Those of the other two messages then wait behind that one, and they are more than the 256 that may
 * wait.
 */
static int give_too_much(int channel, void *data)
{
	const struct service *service = data;
	struct wire_message message;
	struct lingering lingering[3];
	int fds[RAW_FDS_MAX], clients[3];
	struct rlimit limit;

	/* So many may be on their way, also of copies of this test. */
	ck_assert_ok(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	ck_assert_ok(setrlimit(RLIMIT_NOFILE, &limit));
	ck_assert_ok(setresgid(STRANGER, STRANGER, STRANGER));
	ck_assert_ok(setresuid(STRANGER, STRANGER, STRANGER));
	for (int i = 0; i < 3; i++) {
		lingering[i] = lingering_open();
		clients[i] = raw_greeted(service);
	}
	tell(channel, 's');
	expect(channel, 'g');
	for (int i = 0; i < 3; i++) {
		for (unsigned j = 0; j < RAW_FDS_MAX; j++)
			fds[j] = lingering[i].fd;
		send_packet(clients[i], &packets[5], fds);
		close(lingering[i].fd);
		lingering[i].fd = -1;
	}
	tell(channel, 'c');
	for (int i = 0; i < 3; i++)
		while (raw_receive(clients[i], &message))
			;
	raw_thrown_out(raw_dial(service), -EDQUOT);
	tell(channel, 'r');
	expect(channel, 'e');
	for (int i = 0; i < 3; i++) {
		lingering_close(&lingering[i]);
		close(clients[i]);
	}
	return 0;
}

START_TEST(who_leaves_too_much_to_be_closed_is_refused_and_others_are_not)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};

	if (getuid() != 0)
		test_skip("needs root, to be several users");
	service_start(&service, "fds = 100\n");
	struct other other = other_start(give_too_much, &service);
	expect(other.channel, 's');
	kill(service.pid, SIGSTOP);
	tell(other.channel, 'g');
	expect(other.channel, 'c');
	kill(service.pid, SIGCONT);
	expect(other.channel, 'r');
	serves(&service);
	tell(other.channel, 'e');
	ck_assert_int_eq(other_end(&other), 0);
	service_end(&service);
}
END_TEST

/* ---- a closer that is killed */

#define CLOSERS_MAX 8

/* The processes of the service, the oldest first; how many. */
static unsigned closers_of(const struct service *service, pid_t closers[CLOSERS_MAX])
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", service->pid, service->pid);
	FILE *file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (count < CLOSERS_MAX && fscanf(file, "%d", &closers[count]) == 1)
		count++;
	fclose(file);
	return count;
}

struct expected {
	const struct service *service;
	unsigned count; /* of closers */
	pid_t other_than;
};

static bool has_closers(void *data)
{
	const struct expected *expected = data;
	pid_t closers[CLOSERS_MAX];

	return closers_of(expected->service, closers) == expected->count &&
	       closers[expected->count - 1] != expected->other_than;
}

/* What waited behind that at which it was stuck is closed by the next one. */
START_TEST(what_a_killed_closer_has_left_another_one_closes)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_message message;
	pid_t closers[CLOSERS_MAX];
	int pipe_fds[2], fds[RAW_FDS_MAX];

	service_start(&service, NULL);
	struct held held = {service.pid, count_fds(service.pid)};
	struct lingering lingering = lingering_open();
	ck_assert_ok(pipe(pipe_fds));
	for (unsigned i = 0; i < RAW_FDS_MAX; i++)
		fds[i] = pipe_fds[0];
	int fd = raw_greeted(&service);
	give_away(&service, fd, &packets[0], &lingering);
	raw_thrown_out(fd, -EPROTO);
	fd = raw_greeted(&service);
	send_packet(fd, &packets[5], fds);
	while (raw_receive(fd, &message))
		;
	close(fd);
	ck_assert(test_until(has_closers, &(struct expected){&service, 2, 0}));
	ck_assert_uint_eq(closers_of(&service, closers), 2);
	ck_assert_ok(kill(closers[1], SIGKILL));
	ck_assert(test_until(holds_no_more, &held));
	serves(&service);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	service_end(&service);
	lingering_close(&lingering);
}
END_TEST

START_TEST(the_services_own_closer_is_replaced_when_it_is_killed)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	pid_t closers[CLOSERS_MAX];

	service_start(&service, NULL);
	ck_assert(test_until(has_closers, &(struct expected){&service, 1, 0}));
	ck_assert_uint_eq(closers_of(&service, closers), 1);
	ck_assert_ok(kill(closers[0], SIGKILL));
	ck_assert(test_until(has_closers, &(struct expected){&service, 1, closers[0]}));
	service_end(&service);
}
END_TEST

/* It hangs up on the clients of a service that was killed, and on nobody else. */
START_TEST(sockets_that_a_killed_service_had_inherited_go_on)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	struct wire_message message;
	pid_t closers[CLOSERS_MAX];
	int pair[2];

	ck_assert_ok(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	service_start(&service, NULL);
	int fd = raw_greeted(&service);
	ck_assert(test_until(has_closers, &(struct expected){&service, 1, 0}));
	ck_assert_uint_eq(closers_of(&service, closers), 1);
	struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, closers[0], 0), .events = POLLIN};
	ck_assert_int_ge(ended.fd, 0);
	service_kill(&service);
	ck_assert(!raw_receive(fd, &message));
	ck_assert_int_eq(poll(&ended, 1, 30000), 1);
	ck_assert_int_eq((int)send(pair[0], "?", 1, MSG_NOSIGNAL), 1);
	service_restart(&service);
	service_end(&service);
	close(ended.fd);
	close(fd);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

/* ---- tables of the dead */

static int die_with_table(int channel, void *data)
{
	struct wire_message publish = raw_hello, message;
	const int *table = data;
	struct service service = {0};

	strcpy(service.socket, getenv("CTXD_SOCKET"));
	publish.hello.flags = WIRE_PUBLISH;
	int fd = raw_dial(&service);
	raw_send_message(fd, &publish, table, 1);
	ck_assert(raw_receive(fd, &message));
	ck_assert_int_eq(message.type, WIRE_WELCOME);
	tell(channel, 'd');
	expect(channel, 'e');
	return 0;
}

#define TABLE_SIZE (8ul << 20)

static int new_table(void **ret_memory)
{
	int fd = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_ok(ftruncate(fd, TABLE_SIZE));
	*ret_memory = mmap(NULL, TABLE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(*ret_memory, MAP_FAILED);
	ck_assert_ok(fcntl(fd, F_ADD_SEALS, TABLE_SEALS));
	return fd;
}

START_TEST(the_table_of_a_dead_process_cannot_be_filled_afterwards)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	char *memory;
	struct stat status;
	int fd, table = new_table((void **)&memory);

	service_start(&service, "retain_bytes = 1M\n");
	struct ctxd_client *client = client_of(&service);
	strcpy(memory + 5000, "as it was");
	struct other other = other_start(die_with_table, &table);
	expect(other.channel, 'd');
	pid_t pid = other.pid;
	other_kill(&other);
	ck_assert(await_listed(client, CTXD_DEAD, 1));
	memset(memory, 'x', TABLE_SIZE);
	ck_assert_ok(ctxd_table(client, CTXD_DEAD, pid, NULL, &fd));
	ck_assert_ok(fstat(fd, &status));
	ck_assert_int_eq(status.st_size, TABLE_SIZE);
	ck_assert_int_le(status.st_blocks * 512, 1 << 20);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & TABLE_SEALS, TABLE_SEALS);
	char kept[16] = "";
	ck_assert_int_eq((int)pread(fd, kept, sizeof(kept), 5000), (int)sizeof(kept));
	ck_assert_str_eq(kept, "as it was");
	close(fd);
	munmap(memory, TABLE_SIZE);
	close(table);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

START_TEST(a_table_that_is_too_large_when_its_process_dies_is_not_kept)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	char *memory;
	int table = new_table((void **)&memory);

	service_start(&service, "retain_bytes = 1M\n");
	struct ctxd_client *client = client_of(&service);
	memset(memory, 'x', TABLE_SIZE / 2);
	struct held before = {service.pid, count_fds(service.pid)};
	struct other other = other_start(die_with_table, &table);
	expect(other.channel, 'd');
	other_kill(&other);
	ck_assert(await_listed(client, CTXD_PROCESS, 1));
	ck_assert(test_until(holds_no_more, &before));
	ck_assert_uint_eq(list_of(client, CTXD_DEAD).count, 0);
	munmap(memory, TABLE_SIZE);
	close(table);
	ctxd_close(client);
	service_end(&service);
}
END_TEST

/*
 * What the file system of huge pages has is no memfd to the service: its numbers are its own, and one of them
 * may be that of another process's table.
 */
START_TEST(a_table_of_huge_pages_is_none)
{
	struct service service = {.loop = SERVICE_LOOP(_i)};
	int table = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (table < 0 || ftruncate(table, TABLE_SIZE) || fcntl(table, F_ADD_SEALS, TABLE_SEALS))
		test_skip("needs files of huge pages");
	service_start(&service, NULL);
	int fd = raw_dial(&service);
	send_packet(fd, &packets[2], &table);
	raw_thrown_out(fd, -EPROTO);
	close(table);
	service_end(&service);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("service descriptors");
	TCase *descriptors = test_case(suite, "descriptors");

	tcase_add_loop_test(descriptors, a_socket_that_lingers_holds_up_nobody, 0, 2 * PACKETS);
	ON_EACH_LOOP(descriptors, what_was_never_received_holds_up_nobody);
	ON_EACH_LOOP(descriptors, each_packet_leaves_no_descriptor);
	ON_EACH_LOOP(descriptors, a_fifo_is_no_pipe_however_it_was_opened);
	ON_EACH_LOOP(descriptors, a_file_that_cannot_be_closed_holds_up_nobody_nor_the_end);
	ON_EACH_LOOP(descriptors, killed_with_a_file_that_cannot_be_closed_it_is_dead_and_hangs_up);
	ON_EACH_LOOP(descriptors, who_leaves_too_much_to_be_closed_is_refused_and_others_are_not);
	ON_EACH_LOOP(descriptors, what_a_killed_closer_has_left_another_one_closes);
	ON_EACH_LOOP(descriptors, the_services_own_closer_is_replaced_when_it_is_killed);
	ON_EACH_LOOP(descriptors, sockets_that_a_killed_service_had_inherited_go_on);
	ON_EACH_LOOP(descriptors, the_table_of_a_dead_process_cannot_be_filled_afterwards);
	ON_EACH_LOOP(descriptors, a_table_that_is_too_large_when_its_process_dies_is_not_kept);
	ON_EACH_LOOP(descriptors, a_table_of_huge_pages_is_none);
	return suite;
}
