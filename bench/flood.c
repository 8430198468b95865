/* SPDX-License-Identifier: MIT */
/*
 * How long a new client of ctxd waits for its first answer, from connect(2) to WELCOME, while another client
 * sends as much as it can within the default quotas. This program starts a ctxd for it. If it runs as root,
 * the client that floods is another user than the one that is measured. The goal is for the 99th percentile.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bench.h"
#include "wire.h"

#define NOBODY 65534
/* A little below the quotas of a user: 256 connections and 65,536 joins. */
#define CONNECTIONS 200
#define JOINS 65000
#define SAMPLES_MAX 100000
/* The quota of descriptors of a user that is set here. */
#define FDS_MAX 14000

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static char directory[] = "/tmp/ctxring-bench.XXXXXX";
static pid_t service;
static uint64_t serial;

/* ---- the protocol */

static bool send_bytes(int fd, const void *bytes, size_t size, int attached)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (attached >= 0) {
		memset(&control, 0, sizeof(control));
		header.msg_control = control.bytes;
		header.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *first = CMSG_FIRSTHDR(&header);
		first->cmsg_level = SOL_SOCKET;
		first->cmsg_type = SCM_RIGHTS;
		first->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(first), &attached, sizeof(attached));
	}
	return sendmsg(fd, &header, MSG_NOSIGNAL) >= 0;
}

static bool say_with(int fd, struct wire_message message, int attached)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	message.serial = ++serial;
	return send_bytes(fd, bytes, wire_pack(&message, bytes), attached);
}

static bool say(int fd, struct wire_message message)
{
	return say_with(fd, message, -1);
}

/* Receives the answer to the last message. The kernel closes descriptors that come with it: no room is given
 * for them. */
static bool hear(int fd, struct wire_message *ret_message)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	do {
		ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
		memset(ret_message, 0, sizeof(*ret_message));
		if (size <= 0)
			return false;
		/* How many descriptors came is not known here: try each number that may be right. */
		for (unsigned fds = 0; fds <= WIRE_FDS_MAX; fds++)
			if (!wire_unpack(bytes, (size_t)size, fds, true, ret_message))
				break;
	} while (ret_message->serial != serial && ret_message->type != WIRE_GOODBYE);
	return ret_message->type != WIRE_GOODBYE;
}

static const struct wire_message hello = {
	.type = WIRE_HELLO,
	.hello = {.version_min = WIRE_VERSION, .version_max = WIRE_VERSION, .process = "flood"}};

/* Connects and sends the first message. Returns the socket, or -1 when the service refuses. */
static int dial_with(struct wire_message first, int attached)
{
	struct wire_message answer;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    say_with(fd, first, attached) && hear(fd, &answer))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int dial(void)
{
	return dial_with(hello, -1);
}

/* ---- the service */

static void end_service(void)
{
	static const char *const names[] = {"ctxd.sock", "ctxd.sock.lock", "ctxd.conf", "log"};
	char path[128];

	if (service > 0) {
		kill(service, SIGTERM);
		waitpid(service, NULL, 0);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
}

static void start_service(void)
{
	char path[128], config[128], log[128];
	int fd;

	if (!mkdtemp(directory))
		bench_fail("mkdtemp: %s", strerror(errno));
	chmod(directory, 0755);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/ctxd.sock", directory);
	snprintf(config, sizeof(config), "%s/ctxd.conf", directory);
	snprintf(log, sizeof(log), "%s/log", directory);
	snprintf(path, sizeof(path), "fds = %u\n", FDS_MAX);
	fd = open(config, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, path, strlen(path)) < 0)
		bench_fail("%s: %s", config, strerror(errno));
	close(fd);
	service = fork();
	if (service == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO);
		execl("build/ctxd", "ctxd", "--socket", address.sun_path, "--config", config, (char *)NULL);
		_exit(127);
	}
	atexit(end_service);
	for (unsigned i = 0; (fd = dial()) < 0; i++) {
		if (waitpid(service, NULL, WNOHANG) || i > 10000)
			bench_fail("build/ctxd does not answer");
		poll(NULL, 0, 1);
	}
	close(fd);
}

/* ---- the floods: each of these functions prepares what it needs and then never returns */

static int fds[CONNECTIONS];
static int ready_fd;

static void dial_all(void)
{
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if ((fds[i] = dial()) < 0)
			_exit(1);
}

static void ready(void)
{
	if (write(ready_fd, "r", 1) != 1)
		_exit(1);
}

static int pipe_end(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		_exit(1);
	close(ends[1]);
	return ends[0];
}

static struct ctxd_id share_below(int fd, struct ctxd_id parent, uint64_t ctx_id)
{
	struct wire_message answer, message = {.type = WIRE_SHARE,
					       .share = {.parent = parent,
							 .ctx_id = ctx_id,
							 .deadline_ns = CTX_FOREVER,
							 .mode = 0644,
							 .flags = WIRE_MOVABLE}};
	int end = pipe_end();

	if (!say_with(fd, message, end) || !hear(fd, &answer))
		_exit(1);
	close(end);
	return answer.result.error ? (struct ctxd_id){0} : answer.result.id;
}

static void join(int fd, struct ctxd_id id, unsigned count)
{
	struct wire_message answer, message = {.type = WIRE_JOIN, .join = {.id = id, .uid = UINT32_MAX}};

	for (unsigned i = 0; i < count; i++)
		if (!say(fd, message) || !hear(fd, &answer))
			_exit(1);
}

static struct wire_message about(enum wire_type type, struct ctxd_id id)
{
	return (struct wire_message){.type = type, .attach = {.id = id, .ctx_id = 77}};
}

static void drop_answers(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) > 0)
		;
}

/* Sends the same message over all connections, as fast as the service takes them. */
static void say_for_ever(struct wire_message message, int attached)
{
	uint8_t bytes[WIRE_SIZE_MAX];

	message.serial = 1;
	size_t size = wire_pack(&message, bytes);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
	ready();
	for (;;) {
		unsigned said = 0;
		for (unsigned i = 0; i < CONNECTIONS; i++) {
			drop_answers(fds[i]);
			for (unsigned k = 0; k < 32 && send_bytes(fds[i], bytes, size, attached); k++)
				said++;
		}
		if (!said)
			poll(NULL, 0, 1);
	}
}

static struct ctxd_id join_many(void)
{
	dial_all();
	struct ctxd_id id = share_below(fds[0], (struct ctxd_id){0}, 1);
	join(fds[1], id, JOINS);
	return id;
}

static void leave_without_match(void)
{
	say_for_ever(about(WIRE_LEAVE, join_many()), -1);
}

static void attach_without_match(void)
{
	say_for_ever(about(WIRE_ATTACH, join_many()), -1);
}

/* Shares a context below a chain of joins that is as deep as is allowed. After the first time it is shared
 * already. */
static void share_deep(void)
{
	struct ctxd_id id = join_many();

	for (unsigned depth = 1; depth < 16; depth++) {
		join(fds[0], id, 1);
		id = share_below(fds[0], id, depth + 1);
	}
	for (unsigned i = 0; i < CONNECTIONS; i++)
		join(fds[i], id, 1);
	say_for_ever(
		(struct wire_message){
			.type = WIRE_SHARE,
			.share = {.parent = id, .ctx_id = 99, .deadline_ns = CTX_FOREVER, .mode = 0644}},
		pipe_end());
}

static void list_all(void)
{
	join_many();
	say_for_ever((struct wire_message){.type = WIRE_LIST, .list = {.kinds = CTXD_DEAD}}, -1);
}

static void list_behind(void)
{
	join_many();
	say_for_ever((struct wire_message){.type = WIRE_LIST, .list = {.cursor = 1u << 30, .kinds = 15}}, -1);
}

static void move_many(void)
{
	struct ctxd_id id = join_many();
	struct wire_message message = {.type = WIRE_MOVE, .move = {.id = id}};

	ready();
	for (uint64_t i = 1;; i++) {
		message.move.deadline_ns = bench_now_ns() + i;
		if (!say(fds[0], message))
			_exit(1);
		if (i % 100 == 0)
			drop_answers(fds[1]);
	}
}

/* Acts as a process that has published a table and shares as much as it may, and that obeys no order. */
static uint64_t share_many(void)
{
	struct wire_message publish = hello;
	struct stat status;
	int table = memfd_create("ctxring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	publish.hello.flags = WIRE_PUBLISH;
	if (ftruncate(table, 65536) ||
	    fcntl(table, F_ADD_SEALS, 0x10 | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
	    fstat(table, &status) || (fds[0] = dial_with(publish, table)) < 0)
		_exit(1);
	for (unsigned i = 1; i < CONNECTIONS; i++)
		if ((fds[i] = dial()) < 0)
			_exit(1);
	for (unsigned i = 0; i < FDS_MAX - 4 * CONNECTIONS; i++)
		share_below(fds[0], (struct ctxd_id){0}, i + 1);
	return status.st_ino;
}

static void cancel_by_table(void)
{
	uint64_t table = share_many();

	say_for_ever(
		(struct wire_message){.type = WIRE_CANCEL,
				      .cancel = {.table = table, .ctx_id = 1ull << 40, .error = -ECANCELED}},
		-1);
}

/* Asks for more cancels than may be under way at a time, and obeys none. */
static void cancel_and_ignore(void)
{
	struct wire_message message = {.type = WIRE_CANCEL};

	message.cancel.table = share_many();
	ready();
	for (uint64_t i = 0;; i++) {
		message.cancel.ctx_id = i % 8000;
		if (!say(fds[1 + i % (CONNECTIONS - 1)], message))
			_exit(1);
		drop_answers(fds[1 + i % (CONNECTIONS - 1)]);
		drop_answers(fds[0]);
	}
}

static void cancel_many(void)
{
	dial_all();
	ready();
	for (;;) {
		struct ctxd_id id = share_below(fds[0], (struct ctxd_id){0}, 1);
		for (unsigned i = 1; i < CONNECTIONS; i++)
			join(fds[i], id, 50);
		if (!say(fds[1], (struct wire_message){.type = WIRE_CANCEL, .cancel = {.id = id}}))
			_exit(1);
		for (unsigned i = 1; i < CONNECTIONS; i++)
			drop_answers(fds[i]);
		for (unsigned i = 1; i < CONNECTIONS; i++)
			for (unsigned k = 0; k < 50; k++)
				say(fds[i], about(WIRE_LEAVE, id));
	}
}

/* Shares and unshares contexts while 32 connections, the most that may, watch that. They read either nothing
 * or all. */
static void watch_and_change(bool read_all)
{
	struct wire_message answer;

	dial_all();
	for (unsigned i = 1; i <= 32; i++)
		if (!say(fds[i], (struct wire_message){.type = WIRE_WATCH, .watch = {.kinds = 15}}) ||
		    !hear(fds[i], &answer))
			_exit(1);
	ready();
	for (unsigned round = 0;; round++) {
		struct ctxd_id id = share_below(fds[0], (struct ctxd_id){0}, 1);
		say(fds[0], (struct wire_message){.type = WIRE_UNSHARE, .id = id});
		for (unsigned i = 1; read_all && round % 50 == 0 && i <= 32; i++)
			drop_answers(fds[i]);
	}
}

static void watch_slowly(void)
{
	watch_and_change(false);
}

static void watch_all(void)
{
	watch_and_change(true);
}

static void come_and_go(void)
{
	ready();
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
			say(fd, hello);
		close(fd);
	}
}

/* Sends half of a message, one that is too large and an empty one, each on a connection of its own. */
static void break_packets(void)
{
	static uint8_t bytes[3 * WIRE_SIZE_MAX];
	static const size_t sizes[] = {20, sizeof(bytes), 0, WIRE_SIZE_MAX};

	wire_pack(&hello, bytes);
	ready();
	for (unsigned i = 0;; i++) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
			send(fd, bytes, sizes[i % 4], MSG_NOSIGNAL);
		close(fd);
	}
}

/* A process takes everything up to its quota and ends, again and again. */
static void end_with_everything(void)
{
	ready();
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			ready_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
			share_many();
			struct ctxd_id id = share_below(fds[1], (struct ctxd_id){0}, 1);
			join(fds[0], id, JOINS / 2);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}

/* ---- measuring */

struct flood {
	const char *name;
	void (*run)(void);
};

static const struct flood floods[] = {
	{"nothing", NULL},
	{"LEAVE without match, 65,000 joins", leave_without_match},
	{"ATTACH without match, 65,000 joins", attach_without_match},
	{"SHARE below a deep chain", share_deep},
	{"CANCEL by table, 13,200 shared", cancel_by_table},
	{"CANCEL, nobody obeys", cancel_and_ignore},
	{"CANCEL of what 10,000 joined", cancel_many},
	{"MOVE of what 65,000 joined", move_many},
	{"LIST of 65,000", list_all},
	{"LIST with a cursor that is gone", list_behind},
	{"WATCH by 32 that read nothing", watch_slowly},
	{"WATCH by 32 that read all", watch_all},
	{"connect, HELLO, close", come_and_go},
	{"half, huge and empty packets", break_packets},
	{"ends with everything at its quota", end_with_everything},
};

static pid_t start_flood(const struct flood *flood)
{
	int ends[2];
	char byte;

	bench_check(pipe2(ends, O_CLOEXEC), "pipe2");
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		close(ends[0]);
		ready_fd = ends[1];
		if (getuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY))
			_exit(1);
		flood->run();
		_exit(0);
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1)
		bench_fail("%s: cannot be prepared", flood->name);
	close(ends[0]);
	return pid;
}

struct samples {
	unsigned count;
	double waited_ms[SAMPLES_MAX], worked_ms[SAMPLES_MAX];
};

static uint64_t worked_ns(void)
{
	struct timespec time;
	clockid_t clock;

	if (clock_getcpuclockid(service, &clock) || clock_gettime(clock, &time))
		bench_fail("ctxd is gone");
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void measure(struct samples *samples, uint64_t until_ns)
{
	while (bench_now_ns() < until_ns && samples->count < SAMPLES_MAX) {
		uint64_t worked = worked_ns(), start_ns = bench_now_ns();
		int fd = dial();
		if (fd < 0)
			bench_fail("HELLO was refused");
		samples->waited_ms[samples->count] = (double)(bench_now_ns() - start_ns) / 1e6;
		samples->worked_ms[samples->count++] = (double)(worked_ns() - worked) / 1e6;
		close(fd);
		poll(NULL, 0, 1);
	}
}

static void report_one(const struct flood *flood, const char *what, double value, const char *goal)
{
	char name[128];

	snprintf(name, sizeof(name), "%s: %s", flood->name, what);
	bench_report(name, value, "ms", NAN, NULL, goal);
}

static void report(const struct flood *flood, struct samples *samples)
{
	unsigned count = samples->count;

	qsort(samples->waited_ms, count, sizeof(double), bench_compare);
	qsort(samples->worked_ms, count, sizeof(double), bench_compare);
	report_one(flood, "p50", samples->waited_ms[count / 2], NULL);
	report_one(flood, "p99", samples->waited_ms[(size_t)count * 99 / 100], "<= 50");
	report_one(flood, "max", samples->waited_ms[count - 1], NULL);
	report_one(flood, "p99 of work", samples->worked_ms[(size_t)count * 99 / 100], "<= 50");
	report_one(flood, "max of work", samples->worked_ms[count - 1], NULL);
}

/* Measures while the flood goes on, and for a moment after it was killed, when the service cleans up what it
 * had. */
static void run_case(const struct flood *flood)
{
	struct samples *samples = bench_allocate(1, sizeof(*samples));
	uint64_t during_ns = bench.quick ? 500000000 : 4000000000, after_ns = 500000000;
	pid_t pid = flood->run ? start_flood(flood) : 0;

	measure(samples, bench_now_ns() + during_ns);
	if (pid) {
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		measure(samples, bench_now_ns() + after_ns);
	}
	report(flood, samples);
	free(samples);
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	bench_start("flood", argc, argv);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	start_service();
	for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++)
		if (bench_wanted(floods[i].name))
			run_case(&floods[i]);
	return 0;
}
