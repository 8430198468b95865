/* SPDX-License-Identifier: MIT */
/*
 * Hedged requests: asks three replicas the same question, the second one 20 ms after the first, and the third
 * one 20 ms later. The first answer ends the other requests, and their work stops at their servers, too.
 *
 *	hedge [WORK WORK WORK]
 *
 * WORK is how many milliseconds a replica works for its answer, or "fails": it closes the connection at once,
 * and then the next one is asked without waiting for its time. Without arguments the third replica answers.
 *
 * The replicas are processes of their own, on ports of the loopback interface. Each one serves one client: it
 * works under a context that ends when that client has gone (ctx_with_hangup), and reports what became of the
 * work.
 */
#include "example.h"
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define REPLICAS 3
#define DELAY_NS (20 * NSEC_PER_MSEC)
#define FAILS UINT64_MAX
#define WORK_MS_MAX UINT64_C(3600000)

/* ---- a replica: its process */

static const char *work_for(int fd, const struct ctx_context *ctx, uint64_t work_ms)
{
	/* It is no work to wait, but the work of a real server is interrupted in the same way. */
	if (ctx_wait(ctx, work_ms * NSEC_PER_MSEC) == 0)
		return "stopped its work, since its client had gone";
	if (send(fd, "answer\n", 7, MSG_NOSIGNAL) != 7)
		return "could not send its answer";
	return "answered";
}

static const char *serve(int listen_fd, uint64_t work_ms)
{
	struct ctx_context *ctx;
	char question[16];
	const char *outcome;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || recv(fd, question, sizeof(question), 0) <= 0)
		return "got no question";
	if (work_ms == FAILS) {
		close(fd);
		return "closed the connection";
	}
	if (ctx_with_hangup(ctx_background(), NULL, fd, 0, "request", &ctx))
		return "made no context";
	outcome = work_for(fd, ctx, work_ms);
	ctx_finish(ctx);
	close(fd);
	return outcome;
}

/* ---- a replica as the client sees it */

struct replica {
	int number;
	pid_t pid;
	int report_fd; /* the replica writes here what became of the work */
	struct sockaddr_in address;
	bool asked;
	/* The request: connect, send, receive, one after the other. */
	int fd;
	struct ctx_taskgroup *member;
	struct ctx_op connect, send, receive;
	char answer[16];
};

static int replica_start(struct replica *replica, int number, uint64_t work_ms)
{
	uint16_t port = 0;
	int report[2], listen_fd = listen_on_loopback(&port);

	if (listen_fd < 0 || pipe(report) < 0)
		return -errno;
	*replica = (struct replica){.number = number, .fd = -1, .report_fd = report[0]};
	replica->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	replica->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	replica->pid = fork();
	if (replica->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(report[0]);
		dprintf(report[1], "replica %d %s\n", number, serve(listen_fd, work_ms));
		_exit(0);
	}
	close(listen_fd);
	close(report[1]);
	return replica->pid < 0 ? -errno : 0;
}

/* Prints what the replica reports, or that it was never asked. False: it reports nothing. */
static bool replica_report(const struct replica *replica)
{
	struct pollfd report = {.fd = replica->report_fd, .events = POLLIN};
	char line[80] = "";
	bool reported = true;

	if (!replica->asked)
		printf("replica %d was not asked\n", replica->number);
	else if (poll(&report, 1, 30000) == 1 && read(replica->report_fd, line, sizeof(line) - 1) > 0)
		printf("%s", line);
	else
		reported = false;
	kill(replica->pid, SIGKILL);
	waitpid(replica->pid, NULL, 0);
	close(replica->report_fd);
	return reported;
}

/* ---- a request: the callbacks of its three operations */

static void received(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct replica *replica = container_of(op, struct replica, receive);

	(void)ring;
	/* A negative result is a failure anyway. Only we know that no data is one. */
	if (completion->res == 0)
		ctx_taskgroup_fail(replica->member, -EPIPE, "no answer");
	if (completion->res > 0)
		replica->answer[strcspn(replica->answer, "\n")] = '\0';
	close(replica->fd); /* which tells the replica that its client has gone */
}

static void sent(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct replica *replica = container_of(op, struct replica, send);
	struct io_uring_sqe *sqe;

	if (completion->res < 0) {
		close(replica->fd);
		return;
	}
	ctx_op_init(&replica->receive, received, 0);
	sqe = ctx_taskgroup_get_sqe(replica->member, &replica->receive);
	io_uring_prep_recv(sqe, replica->fd, replica->answer, sizeof(replica->answer) - 1, 0);
	ctx_ring_submit(ring);
}

static void connected(struct ctx_ring *ring, struct ctx_op *op, const struct ctx_completion *completion)
{
	struct replica *replica = container_of(op, struct replica, connect);
	struct io_uring_sqe *sqe;

	if (completion->res < 0) {
		close(replica->fd);
		return;
	}
	ctx_op_init(&replica->send, sent, 0);
	sqe = ctx_taskgroup_get_sqe(replica->member, &replica->send);
	io_uring_prep_send(sqe, replica->fd, "question", 8, MSG_NOSIGNAL);
	ctx_ring_submit(ring);
}

/* Asks a replica. Called when it is its turn, or not at all. */
static int ask(struct ctx_taskgroup *member, void *data)
{
	struct replica *replica = data;
	struct io_uring_sqe *sqe;

	printf("asks replica %d\n", replica->number);
	replica->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (replica->fd < 0)
		return -errno;
	replica->asked = true;
	replica->member = member;
	ctx_op_init(&replica->connect, connected, 0);
	sqe = ctx_taskgroup_get_sqe(member, &replica->connect);
	if (!sqe) {
		close(replica->fd);
		return -ENOMEM;
	}
	io_uring_prep_connect(sqe, replica->fd, (struct sockaddr *)&replica->address,
			      sizeof(replica->address));
	return 0;
}

/* Asks the replicas. 0: *ret_first was the first to answer. */
static int ask_all(struct ctx_ring *ring, struct replica *replicas, struct replica **ret_first)
{
	const struct ctx_taskgroup_options options = {
		.flags = CTX_TASKGROUP_FIRST, .delay_ns = DELAY_NS, .ring = ring};
	struct ctx_taskgroup *group;
	struct ctx_failure failures[REPLICAS];
	void *first;
	char name[32];
	int error, count;

	error = ctx_taskgroup_new_with_options(ctx_background(), &options, "question", &group);
	if (error)
		return error;
	for (int i = 0; i < REPLICAS && !error; i++) {
		snprintf(name, sizeof(name), "replica %d", replicas[i].number);
		error = ctx_taskgroup_start_on_ring(group, ask, &replicas[i], name);
	}
	if (!error)
		error = ctx_taskgroup_wait(group);
	count = ctx_taskgroup_failures(group, failures, REPLICAS);
	for (int i = 0; i < count; i++)
		if (!failures[i].consequence)
			printf("failed: %s\n", failures[i].text);
	if (!error && ctx_taskgroup_first(group, &first) == 0)
		*ret_first = first;
	ctx_taskgroup_free(group);
	return error;
}

int main(int argc, char **argv)
{
	uint64_t work_ms[REPLICAS] = {60000, 60000, 1};
	struct replica replicas[REPLICAS], *first = NULL;
	struct ctx_ring *ring;
	bool all = true;
	int error;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 1 && argc != 1 + REPLICAS) {
		fprintf(stderr, "usage: hedge [WORK WORK WORK]\n");
		return 2;
	}
	for (int i = 0; i < argc - 1; i++)
		if (!strcmp(argv[i + 1], "fails")) {
			work_ms[i] = FAILS;
		} else if (!parse_number(argv[i + 1], WORK_MS_MAX, &work_ms[i])) {
			fprintf(stderr, "hedge: %s: neither a number of milliseconds nor \"fails\"\n",
				argv[i + 1]);
			return 2;
		}
	for (int i = 0; i < REPLICAS; i++) {
		error = replica_start(&replicas[i], i + 1, work_ms[i]);
		if (error) {
			fprintf(stderr, "hedge: no replica: %s\n", strerror(-error));
			return 1;
		}
	}
	ring = open_ring(16, NULL);
	if (!ring)
		return 1;
	error = ask_all(ring, replicas, &first);
	if (first)
		printf("replica %d was first: %s\n", first->number, first->answer);
	else
		printf("no answer: %s\n", strerror(-error));
	ctx_ring_close(ring, CTX_FOREVER, NULL, 0, NULL);
	for (int i = 0; i < REPLICAS; i++)
		all = replica_report(&replicas[i]) && all;
	return first && all ? 0 : 1;
}
